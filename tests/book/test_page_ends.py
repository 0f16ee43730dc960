"""What stands around a chapter's text: made from the claims file, the front page's file and the notebook."""

import html
import json
import re

import pytest

from workings.ledger.claims import load_all
from workings.ledger.criteria import SOURCES
from workings.runs import checkout


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.syspath_prepend(str(checkout.root() / "tools"))
    import page_ends

    return page_ends


CHAPTERS = load_all()
CLAIMS = """\
chapter: trial
part: uncertainty
title: "A trial"
paper: {authors: "A. Author", year: 2024, key: author2024}
source: "Of the paper we read the body, not the appendix <A>."
claims:
  - id: t-1
    kind: paper
    claim: "A width."
    where: "Figure 2"
    paper: {value: 1.33, unit: "sd", source: plot}
    demo: {compare: holds, set: "before any run"}
    full: {not_planned: "a trial"}
  - id: t-2
    kind: paper
    claim: "A height."
    where: "Table 1"
    paper: {source: not read}
    demo: {compare: holds, set: "before any run"}
    full: {not_planned: "a trial"}
"""


def test_what_was_read_is_said_for_the_paper_and_for_each_claim_in_words(ends, monkeypatch, tmp_path):
    monkeypatch.setattr(ends, "ROOT", tmp_path)
    for kind, name, content in (
        ("claims", "trial.yml", CLAIMS),
        ("notebooks", "trial.ipynb", json.dumps({"source": '<a id="t-1"></a>'})),  # an anchor for the first claim only
    ):
        file = tmp_path / kind / "uncertainty" / name
        file.parent.mkdir(parents=True)
        file.write_text(content)
    said = ends.what_was_read("trial", "uncertainty")
    assert "<p>Of the paper we read the body, not the appendix &lt;A&gt;.</p>" in said and "What was read" in said
    assert f'<li><a href="#t-1">t-1</a>: {html.escape(SOURCES["plot"])}</li>' in said
    assert f"<li>t-2: {SOURCES['not read']}</li>" in said


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.slug)
def test_every_chapter_s_page_begins_with_what_was_read_of_its_paper(ends, chapter):
    assert re.search(r"\bread\b", chapter.source) and re.search(r"\b(numbers?|Values|accuracies)\b", chapter.source)
    assert chapter.source.endswith(".") and len(re.findall(r"[.?!](?= [A-Z]|$)", chapter.source)) <= 2
    front = {chapter.slug: {"title": "A name"}}
    cells = [{"cell_type": "markdown", "source": "# Old\n\nText.", "id": "a", "metadata": {}}]
    first, *_ = ends.with_ends({"cells": cells}, chapter.slug, chapter.part, 1, front)["cells"]
    assert html.escape(chapter.source) in first["source"]
    assert first["source"].count("<li>") == len(chapter.claims)


def test_the_page_takes_its_title_from_the_front_page_s_file_and_a_notebook_without_one_is_named(
    ends, monkeypatch, tmp_path
):
    monkeypatch.setattr(ends, "what_was_read", lambda *_: "")
    front = {"sap": {"title": "A name"}, "sap_erratum": {"title": "Another", "after": ["sap"]}}
    cells = [{"cell_type": "markdown", "source": ["# Old\n", "\n", "Text with \\1."], "id": "a", "metadata": {}}]
    page = ends.with_ends({"cells": cells}, "sap_erratum", "robustness", 2, front)["cells"]
    assert page[0]["source"].startswith("# Another\n\n") and "Text with \\1." in page[0]["source"]
    assert 'Read before it: <a href="../robustness/sap.html">A name</a>.' in page[0]["source"]
    with pytest.raises(SystemExit, match="does not begin with a title"):
        ends.with_ends({"cells": [cells[0] | {"source": "No title"}]}, "sap", "robustness", 1, front)


def test_a_bibtex_entry_has_its_braces_and_its_address(ends):
    entry = ends.bibtex("sap", "notebooks/robustness/sap", "SAP: is this defence real?")
    assert entry.startswith("@incollection{workings_sap,") and entry.count("{") == entry.count("}")
    assert "notebooks/robustness/sap.html}" in entry and "title = {SAP: is this defence real?}" in entry


def test_the_kernels_of_a_notebook_are_those_that_it_imports(ends):
    import kernel_page

    code = (
        "from workings.uncertainty import scores as score\nfrom workings.uncertainty.conformal import conformal_rank\n"
    )
    cells = [
        {"cell_type": "code", "source": code + "from workings.show.figures import use_style\n"},
        {"cell_type": "code", "source": "%pip x"},
    ]
    used = kernel_page.used_by({"cells": cells})
    assert ("uncertainty.conformal", "conformal_rank") in used and ("uncertainty.scores", "absolute_residual") in used
    assert not any(module.startswith("show") for module, _ in used)


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("def f(a: int, *, b: float = 2.0, **rest): ...", "f(a: int, *, b: float = 2.0, **rest)"),
        ("def f(x, /, y=1, *more, z) -> None: ...", "f(x, y = 1, *more, z)"),
        ("class C:\n    def __init__(self, n: int = 3): ...", "C(n: int = 3)"),
        ("class D:\n    point: float\n    upper: float | None = None", "D(point: float, upper: float | None = None)"),
    ],
)
def test_a_signature_is_written_as_in_the_code(ends, source, call):
    import ast

    import kernel_page

    node = ast.parse(source).body[0]
    words = kernel_page._init(node) if isinstance(node, ast.ClassDef) else kernel_page._arguments(node)
    assert kernel_page._call(node.name, words) == call
