"""What counts as changed for a notebook, and that a refresh stores what a fresh run gives."""

import json

import refresh
from workings.runs import checkout, stored


def test_the_fingerprint_follows_script_library_claims_and_record(tmp_path, monkeypatch):
    root = tmp_path
    files = {
        "notebooks/p/s.py": "from workings import a\n",
        "lib/workings/__init__.py": "",
        "lib/workings/a.py": "from .b import x\n",
        "lib/workings/b.py": "x = 1\n",
        "lib/workings/unrelated.py": "y = 1\n",
        "claims/p/s.yml": "",
        "requirements/full.lock": "",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(checkout, "root", lambda: root)
    script = root / "notebooks/p/s.py"
    before = refresh.fingerprint(script)
    (root / "lib/workings/unrelated.py").write_text("y = 2\n")
    assert refresh.fingerprint(script) == before
    for name in (
        "lib/workings/b.py",
        "claims/p/s.yml",
        "results/p/s/full.json",
        "requirements/full.lock",
        "notebooks/p/s.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("from workings import a  # changed\n")
        after = refresh.fingerprint(script)
        assert after != before, name
        before = after


def test_a_notebook_that_was_never_executed_is_not_up_to_date(tmp_path):
    script = tmp_path / "new.py"
    script.write_text("x = 1\n")
    assert not refresh.up_to_date(script)


def test_a_notebook_is_up_to_date_until_it_or_its_inputs_are_touched(tmp_path, monkeypatch):
    script = tmp_path / "story.py"
    script.write_text("# %%\nx = 1\n")
    monkeypatch.setattr(refresh, "fingerprint", lambda _: "inputs")
    plain = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    script.with_suffix(".ipynb").write_text(stored.seal(plain, "inputs"))
    assert refresh.up_to_date(script)
    script.with_suffix(".ipynb").write_text(stored.seal(plain, "other inputs"))
    assert not refresh.up_to_date(script)
    edited = json.loads(stored.seal(plain, "inputs"))
    edited["metadata"]["vscode"] = {}
    script.with_suffix(".ipynb").write_text(json.dumps(edited))
    assert not refresh.up_to_date(script)
    script.with_suffix(".ipynb").write_text("<<<<<<< HEAD\n")
    assert not refresh.up_to_date(script)


def test_another_systems_line_ends_change_no_fingerprint(tmp_path, monkeypatch):
    script = tmp_path / "notebooks" / "p" / "s.py"
    script.parent.mkdir(parents=True)
    (tmp_path / "lib" / "workings").mkdir(parents=True)
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    script.write_bytes(b"x = 1\ny = 2\n")
    before = refresh.fingerprint(script)
    script.write_bytes(b"x = 1\r\ny = 2\r\n")
    assert refresh.fingerprint(script) == before
