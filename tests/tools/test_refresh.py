"""What counts as changed for a notebook, and that a refresh stores what a fresh run gives."""

import json

import refresh
from workings.runs import checkout

SCRIPT = checkout.notebook_scripts("conformal_set_size")[0]


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


def test_a_notebook_edited_by_hand_is_not_up_to_date(tmp_path, monkeypatch):
    stored = SCRIPT.with_suffix(".ipynb").read_text()
    script = tmp_path / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    monkeypatch.setattr(refresh, "fingerprint", lambda _: json.loads(stored)["metadata"]["workings"]["made_from"])
    script.with_suffix(".ipynb").write_text(stored)
    assert refresh.up_to_date(script)
    script.with_suffix(".ipynb").write_text(stored.replace("calibration", "kalibration", 1))
    assert not refresh.up_to_date(script)
