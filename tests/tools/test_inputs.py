"""Strays, deleted notebooks and files that cannot be read: one line each, before anything is compiled."""

import json

import pytest

import inputs
from workings.runs import checkout

TOC = "format: jb-book\nroot: book/index\nparts:\n  - caption: P\n    chapters:\n      - file: notebooks/p/story\n"
NOTEBOOK = {"cells": [{"cell_type": "code", "source": ["1"], "execution_count": 1, "outputs": []}], "metadata": {}}


@pytest.fixture
def root(tmp_path):
    files = {"_toc.yml": TOC, "_config.yml": "title: T\n", "book/front.yml": "story: {}\n",
             "notebooks/p/story.ipynb": json.dumps(NOTEBOOK)}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_is_in_order_has_no_faults_and_strays_are_named_but_not_read(root):
    for name in ("Untitled.ipynb", "story-Copy1.ipynb", "._story.ipynb"):
        (root / "notebooks" / "p" / name).write_bytes(b"\x00\xff")
    assert inputs.faults(root) == []
    assert [path.name for path in inputs.strays(root)] == ["._story.ipynb", "Untitled.ipynb", "story-Copy1.ipynb"]


def test_this_books_own_strays_are_none():
    assert inputs.strays(checkout.root()) == []
    scripts = [path.relative_to(checkout.root()).with_suffix("") for path in checkout.notebook_scripts()]
    assert sorted(inputs.chapters(checkout.root())) == sorted(scripts), "_toc.yml and notebooks/ list the same chapters"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "notebooks/p/story.ipynb",
            None,
            "notebooks/p/story.ipynb does not exist, but _toc.yml lists it; run: make refresh",
        ),
        ("notebooks/p/story.ipynb", b"{", "notebooks/p/story.ipynb is no notebook"),
        ("notebooks/p/story.ipynb", b">>>>>>> theirs\n", "story.ipynb:1: git has left the marks of a conflict"),
        ("_toc.yml", b"<<<<<<< HEAD\n" + TOC.encode(), "_toc.yml:1: git has left the marks"),
        ("_toc.yml", b"\xef\xbb\xbf" + TOC.encode(), "_toc.yml begins with a byte-order mark"),
        ("_toc.yml", b"parts: 3\n", "_toc.yml must be a list of parts"),
        ("book/front.yml", b"a: [1\n", "book/front.yml:2: "),
        ("book/front.yml", None, "book/front.yml cannot be read"),
        ("_config.yml", b"a: \xff\n", "_config.yml is no text in UTF-8"),
    ],
)
def test_each_fault_is_one_line_with_file_and_cause(root, file, content, words):
    (root / file).unlink() if content is None else (root / file).write_bytes(content)
    (said,) = inputs.faults(root)
    assert words in said and "\n" not in said and str(root) not in said


def test_a_notebook_with_an_error_or_an_edit_is_not_compiled(root):
    broken = {
        **NOTEBOOK,
        "cells": [{**NOTEBOOK["cells"][0], "outputs": [{"output_type": "error", "ename": "E", "evalue": "x"}]}],
    }
    (root / "notebooks/p/story.ipynb").write_text(json.dumps(broken))
    (said,) = inputs.faults(root)
    assert (
        said
        == "notebooks/p/story.ipynb: the cell that begins '1' holds the error E: x; run: make refresh NOTEBOOK=story"
    )


def test_the_cause_of_a_failed_build_is_its_warnings_or_else_the_exception():
    warned = "reading sources\n\x1b[31mbook/a.md:3: WARNING: undefined label: x\x1b[39;49;00m\ndone\n"
    assert inputs.causes(warned) == ["book/a.md:3: WARNING: undefined label: x"]
    raised = (
        'Traceback (most recent call last):\n  File "tools/sphinx_ext/describe.py", line 3, in setup\n    x = {}["y"]\n'
        "KeyError: 'y'\n\nThe above exception was the direct cause of the following exception:\n\n"
        "sphinx.errors.ExtensionError: Handler <f> for event 'x' threw an exception (exception: 'y')\n\n"
        "RuntimeError: \nThere was an error in building your book. Look above for the cause.\n"
    )
    said = inputs.causes(raised)
    assert said[0] == "KeyError: 'y' (tools/sphinx_ext/describe.py:3)"
    assert said[1].startswith("sphinx.errors.ExtensionError: Handler <f>") and len(said) == 2
    assert inputs.causes("one\n\ntwo\n") == ["one", "two"]
