"""A number in a folded answer, a caption or an alternative text stands near what it speaks of.

Each decimal number there must be printed or written in code within four cells, up to rounding: printed, and then nbval holds it; or in an
``assert`` about what a figure shows, which fails when the figure drifts.
"""

import re

import nbformat
import pytest

from workings.runs import checkout

NEAR = 4  # cells
SAID = re.compile(r"(?<![\w.\\/-])(\d+\.\d+)(?![\w.]*\d)")
HELD = re.compile(r"(?<!\w)\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
NOTEBOOKS = [path.with_suffix(".ipynb") for path in checkout.notebook_scripts()]


def held(cell):
    """Every number in the source and the printed outputs of a code cell."""
    if cell.cell_type != "code":
        return set()
    texts = [cell.source]
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
    words = re.sub(r"base64,[A-Za-z0-9+/=]+", "", "\n".join(map(str, texts)))
    return {float(number) for number in HELD.findall(words)}


def said(cell):
    """The texts of a cell that nothing compares: folded answers, or a figure's caption and alternative text."""
    if cell.cell_type == "markdown":
        return re.findall(r"(?s)<details>.*?</details>", cell.source)
    about = cell.metadata.get("mystnb", {})
    return [about.get("image", {}).get("alt", ""), about.get("figure", {}).get("caption", "")]


def stands(number, known):
    """Whether ``number`` is one of ``known`` rounded, as it is or as a percentage."""
    half = 0.5 * 10.0 ** -len(number.split(".")[1]) + 1e-12
    return any(abs(value * factor - float(number)) <= half for value in known for factor in (1, 100, 0.01))


def loose(cells):
    """``(cell, number)`` for every number that stands nowhere near."""
    known = [held(cell) for cell in cells]
    return [
        (place, number)
        for place, cell in enumerate(cells)
        for text in said(cell)
        for number in SAID.findall(text)
        if not stands(number, set().union(*known[max(0, place - NEAR) : place + NEAR + 1]))
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_numbers_in_answers_captions_and_alternative_texts_stand_near_what_they_speak_of(path):
    assert loose(nbformat.read(path, as_version=4).cells) == []


def test_a_number_that_drifted_is_found():
    cells = [
        nbformat.v4.new_code_cell("print(share)", outputs=[nbformat.v4.new_output("stream", text="0.473\n")]),
        nbformat.v4.new_markdown_cell("<details>\n\nAbout 0.47, or 47.3%, and not 0.52.\n\n</details>"),
        nbformat.v4.new_code_cell("", metadata={"mystnb": {"image": {"alt": "A line that ends near 0.65."}}}),
        nbformat.v4.new_code_cell(
            "assert abs(end - 0.91) < 0.02", metadata={"mystnb": {"figure": {"caption": "It ends at 0.91."}}}
        ),
    ]
    assert loose(cells) == [(1, "0.52"), (2, "0.65")]
