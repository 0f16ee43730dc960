"""One set of pins, in the lock and in environment.yml; lower bounds only in the package."""

import re
import subprocess
import sys

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
