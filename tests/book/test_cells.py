"""What a page folds: set-up, answers with everything that gives them away, and each fold named by what it hides."""

import copy
import json
import re

import pytest

from workings.runs import checkout

NOTEBOOKS = [path.with_suffix(".ipynb") for path in checkout.notebook_scripts()]
CONTROL = {"output_type": "execute_result", "data": {"text/html": '<figure class="wk-control">'}, "metadata": {}}
IMAGE = {"output_type": "display_data", "data": {"image/png": "x"}, "metadata": {}}


def text(source):
    return {"cell_type": "markdown", "id": str(hash(source)), "metadata": {}, "source": source}


def printed(words):
    return {"output_type": "stream", "name": "stdout", "text": words}


def code(source, *outputs, tags=(), **mystnb):
    metadata = {"tags": list(tags)} | ({"mystnb": mystnb} if mystnb else {})
    return {"cell_type": "code", "id": source[:8], "metadata": metadata, "source": source, "outputs": list(outputs)}


@pytest.fixture
def arranged(monkeypatch):
    monkeypatch.syspath_prepend(str(checkout.root() / "tools"))
    import cells

    return lambda *given: cells.arranged({"cells": list(given)})["cells"]


def table(rows):
    html = f'<div class="workings-ledger"><table><thead><tr><th>a</th></tr></thead><tbody>{rows}</tbody></table></div>'
    return {"output_type": "execute_result", "data": {"text/html": html}, "metadata": {}}


def empty(output):
    page = "".join(output.get("data", {}).get("text/html", ""))
    return "workings-ledger" in page and "<tbody>" in page and not re.search(r"<tbody>\s*<tr", page)


def walk(cells):
    """``(depth of folds, cell)`` of every code cell, and the summaries in order."""
    depth, found, names = 0, [], []
    for cell in cells:
        if cell["cell_type"] == "code":
            found.append((depth, cell))
        else:
            names += re.findall(r"<summary>(.*?)</summary>", cell["source"])
            depth += cell["source"].count("<details") - cell["source"].count("</details>")
    assert depth == 0, "every fold that opens closes"
    return found, names


SETUP = [text("# A title"), code("install", tags=["hide-input"]), code("tier", tags=["parameters"]), code("import x", tags=["hide-input"])]  # fmt: skip


def test_set_up_parameters_and_imports_stand_in_one_fold(arranged):
    found, names = walk(arranged(*SETUP, text("## One"), code("a = 1")))
    assert [depth for depth, _ in found] == [1, 1, 1, 0] and names == ["Set-up: installing, settings, imports"]
    assert not any("hide-input" in cell["metadata"]["tags"] for _, cell in found)


def test_what_checks_an_exercise_is_folded_with_its_solution(arranged):
    fold = "<details>\n<summary>Show the solution</summary>\n\nSeven.\n\n</details>\n"
    page = arranged(
        text(f"## Exercises\n\n**1.** How many?\n\n{fold}"), code("count()", printed("7"), tags=["hide-input"]), text(f"**2.** And now?\n\n{fold}\n## References")
    )  # fmt: skip
    found, names = walk(page)
    assert [depth for depth, _ in found] == [1] and names == ["Show the solution"] * 2
    assert "hide-input" not in found[0][1]["metadata"]["tags"], "one fold, not a fold in a fold"


def test_after_a_prediction_the_method_stays_open_and_what_it_gives_is_folded_with_the_answer(arranged):
    page = arranged(
        text("> **Predict.** Up or down?"), code("run()", printed("up")), code("plot()", IMAGE, tags=["hide-input"]),
        text("<details>\n<summary>Show the answer</summary>\n\nUp.\n\n</details>\n\n## Next"), code("more()", printed("open")),
    )  # fmt: skip
    found, names = walk(page)
    assert [(depth, len(cell["outputs"])) for depth, cell in found] == [(0, 0), (1, 1), (1, 1), (0, 1)]
    assert names == ["Show the answer"] and "remove-input" in found[1][1]["metadata"]["tags"]


def test_an_answer_that_stands_in_its_own_cell_is_folded_where_it_is_tagged(arranged):
    found, names = walk(arranged(text("What comes out?"), code("a", printed("1"), tags=["answer"]), code("b")))
    assert [depth for depth, _ in found] == [1, 0] and names == ["Show the answer"]
    asked = text("> **Predict.** ...\n\n<details>\n<summary>Show the answer</summary>\n\nOne.\n\n</details>")
    found, names = walk(arranged(asked, code("a", printed("1"), tags=["answer"]), code("b", printed("2"))))
    assert [depth for depth, _ in found] == [1, 0] and names == ["Show the answer"]


def test_tables_that_no_run_has_filled_are_one_fold_and_filled_ones_stay(arranged):
    row = "<tr><td>1</td></tr>"
    page = arranged(
        text("## At full scale"), code("a", table(row), tags=["hide-input"]), code("b", table(""), tags=["hide-input"]),
        code("c", table(""), tags=["hide-input"]), code('if tier == "full":\n    ledger_.check("x", 1)', tags=["hide-input"]), text("## Next"),
    )  # fmt: skip
    found, names = walk(page)
    assert [(depth, len(cell["outputs"])) for depth, cell in found] == [(0, 1), (1, 0), (1, 0), (1, 0)]
    assert names == ["Show the code that fills tables and checks claims after a full run"]


def test_a_control_is_never_folded(arranged):
    page = arranged(text("> **Predict.** ?"), code("Control()", CONTROL, tags=["hide-input"]), text("<details>\n<summary>Show the answer</summary>\n\nSo.\n\n</details>"))  # fmt: skip
    assert [depth for depth, _ in walk(page)[0]] == [0]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (code("fig = 1", IMAGE, tags=["hide-input"]), "Show the plot's code"),
        (code('ledger_.check("a-1", 1)', printed("a row")), "Show how this is checked"),
        (code('if tier == "full":\n    ledger_.check("a-1", 1)'), "Show how the full run is checked"),
        (code('if tier == "full":\n    ledger_.check("a-1", 1)', printed("3 runs")), "Show how the full run is checked"),
        (code('if tier == "full":\n    a = 1', tags=["hide-input"]), "Show what comes from the full run"),
        (code("print(1)", printed("1"), tags=["hide-input"]), "Show how these numbers are computed"),
        (code("def one(): ...", tags=["hide-input"]), "Show the helper's code"),
        (code("x = 1", tags=["hide-input"]), "Show what the next cells use"),
        (code("x = 1", tags=["hide-input"], code_prompt_show="Show the ten lines that fit"), "Show the ten lines that fit"),
    ],
)  # fmt: skip
def test_a_fold_says_what_it_hides(arranged, cell, name):
    (found,) = arranged(cell)
    assert found["metadata"]["mystnb"]["code_prompt_show"] == name and "hide-input" in found["metadata"]["tags"]


def test_the_method_is_never_folded(arranged):
    (found,) = arranged(code('assert mine == theirs  # agrees with the kernel\nledger_.check("a-1", 1)'))
    assert "hide-input" not in found["metadata"]["tags"]


@pytest.mark.parametrize(
    ("follows", "name"),
    [
        ([code("plot(y)", IMAGE)], "Show what the next plot is drawn from"),
        ([text("Look."), code("plot(z)", IMAGE)], "Show what the next plot is drawn from"),
        ([code("def frame(): y"), code("Control(frame)", CONTROL)], "Show what the next slider is drawn from"),
        ([code("plot(other)", IMAGE), code("plot(y)", IMAGE)], "Show what the next cells use"),
        ([code("use(y)"), text("Read."), code("plot(other)", IMAGE)], "Show what the next cells use"),
    ],
)
def test_a_fold_names_the_drawing_that_its_values_are_for(arranged, follows, name):
    first, *_ = arranged(code("y, z = 1, 2", tags=["hide-input"]), *follows)
    assert first["metadata"]["mystnb"]["code_prompt_show"] == name


def test_a_check_of_a_claim_is_folded_and_what_it_shows_stays_open(arranged):
    (found,) = arranged(code('print(1)\nledger_.check("a-1", 1)', printed("1"), table("<tr><td>1</td></tr>")))
    assert {"hide-input", "wk-check"} <= set(found["metadata"]["tags"]) and len(found["outputs"]) == 2
    (found,) = arranged(code("handbook_ledger_.check(1)"))
    assert not found["metadata"]["tags"], "only the ledger of the page checks claims"


@pytest.mark.parametrize(
    "cell", [code('ledger_.check("a-1", 1)', CONTROL), code('ledger_.check("a-1", 1)', tags=["open"])]
)
def test_a_check_in_a_control_or_in_an_open_cell_stays_open(arranged, cell):
    (found,) = arranged(cell)
    assert not {"hide-input", "wk-check"} & set(found["metadata"]["tags"])


def test_a_check_after_a_prediction_is_folded_with_the_answer_once(arranged):
    page = arranged(
        text("> **Predict.** Up or down?"), code('ledger_.check("a-1", 1)', printed("a row")),
        text("<details>\n<summary>Show the answer</summary>\n\nUp.\n\n</details>"),
    )  # fmt: skip
    found, _ = walk(page)
    assert [(depth, len(cell["outputs"])) for depth, cell in found] == [(1, 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_check_of_a_chapter_is_quiet_but_for_methods_and_what_its_author_opens(arranged, path):
    page = arranged(*json.loads(path.read_text())["cells"])
    checks = [cell for _, cell in walk(page)[0] if "ledger_.check(" in cell["source"]]
    loud = [cell for cell in checks if "wk-check" not in cell["metadata"].get("tags", [])]
    assert len(checks) > len(loud), "a chapter checks claims"
    for cell in loud:
        reads = "# agrees with the kernel" in cell["source"] or "wk-control" in json.dumps(cell["outputs"])
        assert reads or "open" in cell["metadata"].get("tags", []), cell["source"][:60]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_in_every_chapter_no_output_gives_an_answer_away(arranged, path):
    notebook = json.loads(path.read_text())
    given = copy.deepcopy(notebook["cells"])
    page = arranged(*notebook["cells"])
    assert notebook["cells"] == given, "the notebook itself is left as it is"
    found, names = walk(page)
    outputs = [
        output for cell in given if cell["cell_type"] == "code" for output in cell["outputs"] if not empty(output)
    ]
    assert [output for _, cell in found for output in cell["outputs"]] == outputs, (
        "nothing is lost, nothing changes place"
    )
    assert not [name for name in names if name == "Show code cell source"]
    asked, exercises = False, False
    for cell in page:
        if cell["cell_type"] == "markdown":
            if "**Predict" in cell["source"]:  # what stands in another section asks about the chapter as a whole
                asked = "\n## " not in cell["source"].rpartition("**Predict")[2]
            if "<details" in cell["source"]:
                asked = False
            exercises = exercises or "## Exercises" in cell["source"]
        else:
            shows = bool(cell["outputs"]) and "wk-control" not in json.dumps(cell["outputs"])
            assert not (asked and shows), f"an output before the answer: {cell['source'][:60]!r}"
    assert exercises


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_chapter_read_well_outside_the_book_too(path):
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    raw = re.findall(r"\{[a-z:]+\}`[^`]*`", text)
    assert not raw, (  # roles are Sphinx's
        f"{raw}: write a link that Jupyter and Colab show as well, [the next chapter](sap_erratum.ipynb) or [the figure](#fig-sap-turn)"
    )
