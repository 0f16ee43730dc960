"""One set of pins, in the lock and in environment.yml; lower bounds only in the package."""

import re
import subprocess
import sys

import pytest
import yaml

from workings.runs import checkout

ROOT = checkout.root()
sys.path.insert(0, str(ROOT / "tools"))
import lock  # noqa: E402


def pins(name):
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_environment_yml_carries_exactly_the_lock():
    stored = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = stored["dependencies"][-1]["pip"]
    assert listed == [*pins("full"), "-e ."]
    assert (ROOT / "environment.yml").read_text() == lock.environment_yml(
        (ROOT / "requirements" / "full.lock").read_text()
    )


def test_every_pin_is_exact():
    for name in ("book", "full", "peers"):
        assert pins(name)
        for pin in pins(name):
            assert re.match(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^=<>~!]+( ;.*)?$", pin), pin


def test_the_books_pins_are_among_all_pins_and_hold_no_torch():
    exact = lambda name: {pin.split(" ;")[0] for pin in pins(name)}  # markers may differ: who asks decides them
    assert exact("book") <= exact("full")
    assert not [pin for pin in pins("book") if pin.split("==")[0] in {"torch", "numpy", "scipy", "ipykernel-full"}]


def test_the_package_states_lower_bounds_only():
    project = checkout.project()
    wanted = [*project["dependencies"], *(p for extra in project["optional-dependencies"].values() for p in extra)]
    for requirement in wanted:
        assert re.fullmatch(r"[A-Za-z0-9._-]+>=[\d.]+", requirement), requirement


def test_an_old_python_is_refused_with_a_remedy(tmp_path):
    code = "import sys; sys.path.insert(0, 'tools'); import env; env.OLDEST = (9, 9); env.check_machine('book')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "needs Python 9.9" in done.stderr and "PYTHON=" in done.stderr


def test_a_full_disk_is_named_before_anything_is_installed():
    code = "import sys; sys.path.insert(0, 'tools'); import env; env.DISK_GB['book'] = 10**9; env.check_machine('book')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "Free some space" in done.stderr


def test_a_failed_install_names_the_cause(tmp_path):
    for sign, remedy in (("Temporary failure in name resolution", "network"), ("(from versions: none)", "network"), ("No space left on device", "disk is full"),
                         ("No matching distribution found for x", "pinned version")):  # fmt: skip
        code = (
            "import sys, pathlib; sys.path.insert(0, 'tools'); import env; "
            f'env.run([sys.executable, "-c", "import sys; print({sign!r}); sys.exit(1)"], pathlib.Path(sys.argv[1]))'
        )
        log = tmp_path / f"{sign[:4]}.log"
        done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 1 and sign in done.stderr and remedy in done.stderr


# --- making an environment ----------------------------------------------------------------------------------------


def copy_of_the_tool(folder, lock="packaging==1.0\n"):
    """A checkout with nothing but what `tools/env.py` reads."""
    for name in (
        "tools/env.py",
        "lib/workings/__init__.py",
        "lib/workings/runs/__init__.py",
        "lib/workings/runs/locks.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text())
    (folder / "requirements").mkdir()
    (folder / "requirements" / "book.lock").write_text(lock)
    return folder


# Stands in for the creation of an environment: it takes as long as nobody has come to wait, and counts itself.
SLOW = """
import pathlib, sys, time
sys.path.insert(0, "tools")
import env
def make(name, folder):
    with open("made.txt", "a") as file: file.write("x")
    while len(list(pathlib.Path(".").glob("here-*"))) < 2: time.sleep(0.01)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    (folder / "pyvenv.cfg").write_text("version = 3.11.7\\n")
    (folder / "workings-stamp").write_text(env.lock_stamp(name))
env.make = make
env.DISK_GB["book"] = 0
pathlib.Path(sys.argv[1]).touch()
env.set_up("book")
"""


def test_two_commands_at_once_make_an_environment_once(tmp_path):
    folder = copy_of_the_tool(tmp_path)
    start = lambda number: subprocess.Popen([sys.executable, "-c", SLOW, f"here-{number}"], cwd=folder, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True)  # fmt: skip
    both = [start(1), start(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0), ("", 0)]
    assert (folder / "made.txt").read_text() == "x" and not (folder / ".venv-book.lock").exists()


def within(folder, code):
    program = f"import sys, pathlib; sys.path.insert(0, 'tools'); import env; env.DISK_GB['book'] = 0\n{code}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)


def test_a_stamp_holds_for_every_python_that_is_new_enough_and_not_for_another_one_that_was_named(tmp_path):
    folder = copy_of_the_tool(tmp_path)
    (folder / ".venv-book" / "bin").mkdir(parents=True)
    (folder / ".venv-book" / "bin" / "python").touch()
    code = (
        "f = env.ROOT / '.venv-book'; (f / 'workings-stamp').write_text(env.lock_stamp('book'))\n"
        "ask = lambda version, named: ((f / 'pyvenv.cfg').write_text(f'home = x\\nversion = {version}.1\\n'), "
        "env.ready(f, env.lock_stamp('book'), named))[1]\n"
        "here = '.'.join(map(str, sys.version_info[:2])); other = '3.12' if here != '3.12' else '3.13'\n"
        "print(ask(here, False), ask(other, False), ask(here, True), ask(other, True), ask('3.9', False))"
    )
    done = within(folder, code)
    assert done.stdout.split() == ["True", "True", "True", "False", "False"], done.stderr


def test_a_users_variables_do_not_reach_an_installation(monkeypatch):
    import env

    for name in ("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PIP_CACHE_DIR", "kept")
    found = env.clean_environment()
    assert not {name for name in found if name.startswith("PYTHON")} and not {"PIP_TARGET", "PIP_USER"} & set(found)
    assert found["PIP_CACHE_DIR"] == "kept"


def test_an_environment_without_its_pins_is_not_stamped(tmp_path, monkeypatch):
    folder = copy_of_the_tool(tmp_path, "nbval==0.0.1\npytest==0.0.2 ; sys_platform == 'win32'\nnosuch==1.0\n")
    code = (
        "env.venv_python = lambda folder: pathlib.Path(sys.executable)\n"
        "print(env.missing(env.ROOT / '.venv-book', env.ROOT / 'requirements' / 'book.lock'))"
    )
    assert within(folder, code).stdout.strip() == "['nbval==0.0.1', 'nosuch==1.0']"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("The virtual environment was not created successfully because ensurepip is not available.", "python3-venv"),
        ("Error: [Errno 13] Permission denied: '/x/.venv-book'", "who owns this folder"),
        ("OSError: [Errno 30] Read-only file system: '/x'", "cannot be written"),
        ("something else went wrong", ""),
    ],
)
def test_a_hint_is_given_only_where_it_is_true(said, hint):
    import env

    found = env.remedy(said)
    assert hint in found and ("python3-venv" in found) == (hint == "python3-venv") and bool(found) == bool(hint)


def test_a_checkout_that_cannot_be_written_says_so(tmp_path):
    folder = copy_of_the_tool(tmp_path)
    done = within(folder, "env.FOLDERS['book'] = 'tools/env.py/below'; env.set_up('book')")
    assert done.returncode == 1 and "could not be made here" in done.stderr and "python3-venv" not in done.stderr
    assert "Traceback" not in done.stderr
