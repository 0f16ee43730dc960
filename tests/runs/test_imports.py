"""Which modules a script or an experiment reaches: every way to write an import, read from files or as installed."""

import importlib

import pytest

from workings.runs import checkout, imports, sweep

LIBRARY = checkout.root() / "lib" / "workings"


def state(package):
    """The checksum of a sweep's code, after both readers have agreed on the modules behind it."""
    start = [f"{package}.start"]
    folder = imports.installed(package).file.parent
    assert imports.reached(start, imports.standing_in(folder)) == imports.reached(start)
    return sweep.code_of(start[0])


@pytest.mark.parametrize("changed", ["start", "a", "sub/__init__", "sub/b", "sub/c", "d", "__init__"])
def test_every_way_to_import_a_module_of_the_package_counts(tmp_path, monkeypatch, changed):
    package = "probed_" + changed.replace("/", "_")  # a name of its own: modules stay loaded
    files = {
        "__init__": "from . import a",  # relative, from the package itself
        "start": f"import os\nfrom {package}.sub import b",  # a module taken out of a package
        "a": "x = 1",
        "sub/__init__": "from .c import y",
        "sub/b": f"def f():\n    import {package}.d",  # within a function, by its whole name
        "sub/c": "y = 2",
        "d": "z = 3",
        "never": "",
    }
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in files.items():
        path = tmp_path / package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    importlib.invalidate_caches()
    before = state(package)
    (tmp_path / package / "never.py").write_text("changed = 1")
    assert state(package) == before
    with open(tmp_path / package / f"{changed}.py", "a") as file:
        file.write("\n# changed\n")
    assert state(package) != before


def test_a_script_reaches_the_files_that_its_imports_reach(tmp_path):
    package = tmp_path / "kit"
    files = {"__init__": "", "a": "from .b import x", "b": "import os", "sub/__init__": "", "sub/c": "", "never": ""}
    for name, text in files.items():
        (package / name).with_suffix(".py").parent.mkdir(parents=True, exist_ok=True)
        (package / name).with_suffix(".py").write_text(text)
    script = tmp_path / "story.py"
    for text, expected in {
        "from kit import a\n": {"__init__", "a", "b"},
        "import kit.sub.c as c\n": {"__init__", "sub/__init__", "sub/c"},
        "import os\nprint('kit')\n": set(),
    }.items():
        script.write_text(text)
        found = imports.imported_files(script, package)
        assert {path.relative_to(package).with_suffix("").as_posix() for path in found} == expected


def test_the_imports_of_a_chapter_are_followed_to_the_bottom():
    (script,) = checkout.notebook_scripts("conformal_set_size")
    names = {path.relative_to(LIBRARY).as_posix() for path in imports.imported_files(script, LIBRARY)}
    assert {
        "uncertainty/conformal.py",
        "uncertainty/set_size.py",
        "checks.py",
        "ledger/session.py",
        "runs/store.py",
    } <= names
    assert "ledger/results.py" in names, "the package ledger imports it"
    assert {"__init__.py", "uncertainty/__init__.py"} <= names, "packages run before their modules"
    assert not {name for name in names if name.startswith("robustness/")}
