"""A stored notebook knows whether anything has touched it since it was executed."""

import copy
import json

import nbformat
import pytest

from workings.runs import stored


@pytest.fixture
def notebook():
    cells = [
        nbformat.v4.new_markdown_cell("# Title", id="a"),
        nbformat.v4.new_code_cell("1 + 1", id="b", execution_count=1),
        nbformat.v4.new_code_cell("print(3)", id="c", execution_count=2),
    ]
    cells[1].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    cells[2].outputs = [nbformat.v4.new_output("stream", text="3\n")]
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


def sealed(notebook):
    return json.loads(stored.seal(notebook, "0123"))


def test_a_sealed_notebook_is_untouched_wherever_its_file_goes(notebook, tmp_path):
    (tmp_path / "a.ipynb").write_text(stored.seal(notebook, "0123"))
    found = stored.read(tmp_path / "a.ipynb")
    assert stored.untouched(found) and stored.made_from(found) == "0123" and stored.fault(found) is None
    (tmp_path / "b.ipynb").write_text(json.dumps(found))  # other white space is no edit
    assert stored.untouched(stored.read(tmp_path / "b.ipynb"))
    nbformat.validate(nbformat.read(tmp_path / "a.ipynb", as_version=4))
    assert stored.seal(found, "0123") == stored.seal(notebook, "0123")


def test_every_edit_is_seen(notebook):
    edits = {
        "source": lambda n: n["cells"][1].update(source=["1 + 2"]),
        "prose": lambda n: n["cells"][0].update(source=["# Other"]),
        "outputs cleared": lambda n: n["cells"][2].update(outputs=[]),
        "an output": lambda n: n["cells"][1]["outputs"][0]["data"].update({"text/plain": ["3"]}),
        "count": lambda n: n["cells"][1].update(execution_count=7),
        "id": lambda n: n["cells"][1].update(id="z"),
        "a cell's metadata": lambda n: n["cells"][1]["metadata"].update(collapsed=True),
        "the notebook's metadata": lambda n: n["metadata"].update(vscode={}),
        "a cell more": lambda n: n["cells"].append(copy.deepcopy(n["cells"][0])),
        "inputs": lambda n: n["metadata"]["workings"].update(made_from="other"),
    }
    for name, edit in edits.items():
        edited = sealed(notebook)
        edit(edited)
        assert not stored.untouched(edited), name
        assert stored.fault(edited) is not None, name


def test_a_notebook_that_was_never_sealed_is_not_untouched_and_its_faults_are_named(notebook):
    assert not stored.untouched(notebook) and stored.fault(notebook) is None
    notebook["cells"][1]["execution_count"] = None
    assert stored.fault(notebook) == "the cell that begins '1 + 1' was not executed"
    notebook["cells"][1]["outputs"] = [{"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": []}]
    assert stored.fault(notebook) == "the cell that begins '1 + 1' holds the error KeyError: 'x'"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf{}", "begins with a byte-order mark"),
        (b"\x00\x05\x16\x07\xff", "no text in UTF-8"),
        (b'{\n<<<<<<< HEAD\n "cells": []\n}', r"a\.ipynb:2: git has left the marks of a conflict"),
        (b"", "is no notebook: "),
        (b"[]", "no list of cells"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_cause(tmp_path, content, words):
    (tmp_path / "a.ipynb").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        stored.read(tmp_path / "a.ipynb")
