"""How a notebook's cells stand on its page: plumbing and answers folded, each fold named by what it hides.

The notebook itself is left as it is: in Jupyter and on Colab every cell is open. What an author may ask for, by tags
and metadata of a cell, stands in CONTRIBUTING.md, *What a page folds*.
"""

import re

PREDICT = re.compile(r"\*\*Predict\b")
FOLD = re.compile(r"<details[^>]*>\s*<summary>.*?</summary>\s*", re.S)
END = re.compile(r"\s*</details>\s*\Z")
PLUMBING = "Set-up: installing, settings, imports"
ANSWER = "Show the answer"
METHOD = "# agrees with the kernel"  # such a cell is the method itself: never folded


def arranged(notebook):
    """``notebook``, the content of an ``.ipynb`` file, as its page shows it: new cells, the given ones unchanged."""
    cells = [dict(cell, source="".join(cell["source"])) for cell in notebook["cells"]]
    cells = _plumbing(cells)
    cells = _answers(cells)
    return notebook | {"cells": [_named(cell) if cell["cell_type"] == "code" else cell for cell in cells]}


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


def _named(cell):
    """A code cell with its fold named by what the fold hides; a check of a claim is folded, and its row stays."""
    if "book.check(" in cell["source"] and METHOD not in cell["source"] and "remove-input" not in _tags(cell):
        cell = _tagged(cell, "hide-input", "wk-check")
    if "hide-input" not in _tags(cell):
        return cell
    mystnb = cell["metadata"].get("mystnb", {})
    if "code_prompt_show" in mystnb:
        return cell
    what = _hides(cell)
    mystnb = mystnb | {"code_prompt_show": f"Show {what}", "code_prompt_hide": f"Hide {what}"}
    return cell | {"metadata": cell["metadata"] | {"mystnb": mystnb}}


def _hides(cell):
    source, page = cell["source"], _html(cell)
    if _is_control(cell):
        return "the slider's code"
    if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
        return "the plot's code"
    if "book.check(" in source:
        return "how this is checked"
    if "workings-ledger" in page or "<table" in page:
        return "the table's code"
    drawn = re.search(r"\b(?:fig|ax|axes)\b|imshow|png_bytes", source)
    defined = re.findall(r"(?m)^def (\w+)", source)
    if drawn:
        return "the drawing's code"
    if defined:
        return "the helper's code" if len(defined) == 1 else "the helpers' code"
    return "the code"
