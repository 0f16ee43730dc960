"""How a notebook's cells stand on its page: plumbing and answers folded, each fold named by what it hides.

The notebook itself is left as it is: in Jupyter and on Colab every cell is open. What an author may ask for, by tags
and metadata of a cell, stands in CONTRIBUTING.md, *What a page folds*.

A cell that checks a claim is folded, whatever else it computes, and of it only the code: its row of the ledger, and what it
printed or drew, stay open where they are. Three kinds of such cells keep their code open: a method (it asserts that it agrees
with the kernel), a control, and one tagged ``open``, for an experiment that the page explains and checks in one cell.
"""

import re

PREDICT = re.compile(r"\*\*Predict\b")
FOLD = re.compile(r"<details[^>]*>\s*<summary>.*?</summary>\s*", re.S)
END = re.compile(r"\s*</details>\s*\Z")
EMPTY = re.compile(r"<table(?!.*<tbody>\s*<tr).*</table>", re.S)
WAITING = "Show the code that fills tables and checks claims after a full run"
PLUMBING = "Set-up: installing, settings, imports"
ANSWER = "Show the answer"
METHOD = "# agrees with the kernel"  # such a cell is the method itself: never folded
CHECK = re.compile(r"\bledger_\.check\(")


def arranged(notebook):
    """``notebook``, the content of an ``.ipynb`` file, as its page shows it: new cells, the given ones unchanged."""
    cells = [dict(cell, source="".join(cell["source"])) for cell in notebook["cells"]]
    cells = [_quiet(cell) if cell["cell_type"] == "code" else cell for cell in cells]
    cells = _plumbing(cells)
    cells = _waiting(_answers(cells))
    named = [
        _named(cell, _next_drawing(cells[at + 1 :])) if cell["cell_type"] == "code" else cell
        for at, cell in enumerate(cells)
    ]
    return notebook | {"cells": named}


def _markdown(name, text):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def _tags(cell):
    return cell["metadata"].get("tags", [])


def _tagged(cell, *tags, without=()):
    kept = [tag for tag in _tags(cell) if tag not in without]
    return cell | {"metadata": cell["metadata"] | {"tags": [*kept, *(tag for tag in tags if tag not in kept)]}}


def _plumbing(cells):
    """Everything from the first code cell to the one before the second text, the parameters among it, in one fold."""
    first = next((at for at, cell in enumerate(cells) if cell["cell_type"] == "code"), None)
    if first is None:
        return cells
    end = next((at for at in range(first, len(cells)) if cells[at]["cell_type"] != "code"), len(cells))
    inside = cells[first:end]
    if not any("parameters" in _tags(cell) for cell in inside):
        return cells
    opened = _markdown("set-up", f'<details class="wk-quiet">\n<summary>{PLUMBING}</summary>\n')
    plain = [_tagged(cell, without=("hide-input",)) for cell in inside]
    return [*cells[:first], opened, *plain, _markdown("set-up-end", "</details>\n"), *cells[end:]]


def _answers(cells):
    """Put what gives an answer away inside the fold of that answer.

    A run of cells is folded with the text before it where that ends with a fold in the exercises, or where the cells are tagged
    ``answer``; and with the fold that the text after it begins with, where the text before it asks for a prediction. There the
    code that is shown stays open, and only what it printed or drew is folded. A control stays open: moving it is the way to see.
    """
    out, at, exercises, asked = [], 0, False, False
    while at < len(cells):
        cell = cells[at]
        if cell["cell_type"] != "code":
            heads = re.findall(r"(?m)^## +(.*)", cell["source"])
            exercises = heads[-1].startswith("Exercises") if heads else exercises
            questions = [found.end() for found in PREDICT.finditer(cell["source"])]
            after = cell["source"][questions[-1] :] if questions else ""
            asked = bool(questions) and not FOLD.search(after) and "\n## " not in after
            out.append(cell)
            at += 1
            continue
        end = at
        while end < len(cells) and cells[end]["cell_type"] == "code":
            end += 1
        run = cells[at:end]
        tagged = [one for one in run if "answer" in _tags(one)]
        before = out[-1] if out else None
        follows = cells[end]["source"] if end < len(cells) and cells[end]["cell_type"] == "markdown" else ""
        closed = before is not None and before["cell_type"] == "markdown" and END.search(before["source"])
        opens = FOLD.match(follows.lstrip())
        if closed and (exercises or tagged):
            folded = run if exercises else tagged
            out[-1] = before | {"source": END.sub("\n", before["source"])}
            out += [_tagged(one, without=("hide-input", "answer")) for one in folded]
            out.append(_markdown(f"answer-{at}", "</details>\n"))
            out += [one for one in run if one not in folded]
        elif opens and asked and not any(map(_is_control, run)):
            shown, hidden = _parted(run)
            out += shown
            out.append(_markdown(f"answer-{at}", follows.lstrip()[: opens.end()]))
            out += hidden
            cells = [*cells[:end], cells[end] | {"source": follows.lstrip()[opens.end() :]}, *cells[end + 1 :]]
        elif tagged:
            for one in run:
                if one in tagged:
                    name = f"answer-{at}-{one['id']}"
                    out.append(_markdown(name, f"<details>\n<summary>{ANSWER}</summary>\n"))
                    out += [_tagged(one, without=("answer",)), _markdown(name + "-end", "</details>\n")]
                else:
                    out.append(one)
        else:
            out += run
        asked, at = False, end
    return out


def _waiting(cells):
    """Put what a full run has yet to fill into one fold: a page shows what exists, not empty tables one below the other."""
    out, run = [], []
    for cell in [*cells, None]:
        if cell and cell["cell_type"] == "code" and (_is_empty(cell) or (run and _shows_nothing(cell))):
            run.append(_tagged(cell | {"outputs": []}, without=("hide-input",)))
            continue
        if run:
            out.append(_markdown(f"waiting-{len(out)}", f'<details class="wk-quiet">\n<summary>{WAITING}</summary>\n'))
            out += [*run, _markdown(f"waiting-{len(out)}-end", "</details>\n")]
            run = []
        out += [cell] if cell else []
    return out


def _is_empty(cell):
    """Whether a cell shows a table of the ledger without a row, and nothing else."""
    found = [output.get("data", {}).get("text/html") for output in cell["outputs"]]
    return bool(found) and all(
        one and "workings-ledger" in "".join(one) and EMPTY.search("".join(one)) for one in found
    )


def _shows_nothing(cell):
    return not cell["outputs"] and ("hide-input" in _tags(cell) or 'if tier == "full"' in cell["source"])


def _parted(run):
    """The code of ``run`` that stays open, and what goes into the fold: outputs, and cells whose code is folded anyway."""
    shown, hidden = [], []
    for cell in run:
        if "hide-input" in _tags(cell):
            (hidden if cell["outputs"] else shown).append(cell)
        else:
            shown.append(cell | {"outputs": []})
            if cell["outputs"]:
                hidden.append(_tagged(cell, "remove-input") | {"id": f"{cell['id']}-out"[:64]})
    return shown, hidden


def _html(cell):
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in cell["outputs"])


def _is_control(cell):
    return "wk-control" in _html(cell)


def _is_plot(cell):
    return any("image/png" in output.get("data", {}) for output in cell["outputs"])


def _next_drawing(cells):
    """``("plot" or "slider", its code)`` of the next drawing, with the helpers right before it; or two empty texts."""
    code = ""
    for cell in cells:
        code = f"{code}\n{cell['source']}" if cell["cell_type"] == "code" else ""
        kind = cell["cell_type"] == "code" and ("slider" if _is_control(cell) else "plot" if _is_plot(cell) else "")
        if kind:
            return kind, code
    return "", ""


def _quiet(cell):
    """A check of a claim with its code folded, unless that code is to be read."""
    reads = METHOD in cell["source"] or _is_control(cell) or "open" in _tags(cell)
    return cell if reads or not CHECK.search(cell["source"]) else _tagged(cell, "hide-input", "wk-check")


def _named(cell, drawing):
    """A code cell with its fold named by what the fold hides; ``drawing`` is what :func:`_next_drawing` gives."""
    if "hide-input" not in _tags(cell):
        return cell
    mystnb = cell["metadata"].get("mystnb", {})
    if "code_prompt_show" in mystnb:
        return cell
    what = _hides(cell, drawing)
    mystnb = mystnb | {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return cell | {"metadata": cell["metadata"] | {"mystnb": mystnb}}


def _hides(cell, drawing):
    source, page = cell["source"], _html(cell)
    whole = 'if tier == "full"' in source
    if _is_control(cell):
        return "the slider's code"
    if _is_plot(cell):
        return "the plot's code"
    if CHECK.search(source):
        return "how the full run is checked" if whole else "how this is checked"
    if "workings-ledger" in page or "<table" in page:
        return "the table's code"
    drawn = re.search(r"\b(?:fig|ax|axes)\b|imshow|png_bytes", source)
    defined = re.findall(r"(?m)^def (\w+)", source)
    if drawn:
        return "the drawing's code"
    if defined:
        return "the helper's code" if len(defined) == 1 else "the helpers' code"
    if cell["outputs"]:
        return "how these numbers are computed"
    kind, code = drawing
    if any(re.search(rf"\b{name}\b", code) for name in _given(source)):
        return f"what the next {kind} is drawn from"
    return "what comes from the full run" if whole else "what the next cells use"


def _given(source):
    """Names that a cell's own lines, not those inside of others, give a value."""
    return {name for found in re.findall(r"(?m)^(\w+(?:, *\w+)*) \|?= ", source) for name in re.split(", *", found)}
