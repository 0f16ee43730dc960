"""The set-up cell on a bare machine: nothing but Jupyter, nothing but the notebook file, the package from git."""

import ast
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

import stamp
from refresh import read_script
from workings.runs import checkout
from workings.runs.imports import imported_files

ROOT = checkout.root()
SCRIPT = checkout.notebook_scripts("conformal_set_size")[0]


def git(*arguments, cwd):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A git repository of its own, tagged as the set-up cell expects, from the files as they stand."""
    folder = tmp_path_factory.mktemp("source")
    names = ["lib", "claims", "results", "pyproject.toml", "README.md", "LICENSE"]
    for name in names:
        subprocess.run(["cp", "-r", str(ROOT / name), str(folder)], check=True)
    git("init", "-q", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-qm", "state under test", cwd=folder)
    git("tag", checkout.tag(), cwd=folder)
    return f"git+{folder.as_uri()}@{checkout.tag()}"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A fresh virtual environment with Jupyter's kernel and nbclient, and none of our libraries."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", "ipykernel", "nbclient"], capture_output=True, text=True
    )
    if done.returncode:
        message = "no package index within reach: the set-up cell cannot be proved here"
        pytest.fail(message + done.stderr[-500:]) if os.environ.get("CI") else pytest.skip(message)
    return python


@pytest.mark.network
def test_the_notebook_alone_sets_itself_up_and_runs(bare, source, tmp_path):
    notebook = nbformat.read(SCRIPT.with_suffix(".ipynb"), as_version=4)
    expected = [cell.get("outputs", []) for cell in notebook.cells]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, tmp_path / "only.ipynb")
    code = (
        "import nbformat, nbclient; n = nbformat.read('only.ipynb', 4);"
        "nbclient.NotebookClient(n, timeout=600, kernel_name='python3').execute(); nbformat.write(n, 'done.ipynb')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WORKINGS", "PYTEST"))}
    environment |= {"WORKINGS_SOURCE": source, "WORKINGS_QUIET": "1"}
    done = subprocess.run(
        [str(bare), "-W", "ignore", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    executed = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    said = "".join(o.get("text", "") for o in executed.cells[1].outputs)
    assert re.search(r"Environment: workings \d+\.\d+\.\d+(\.dev\d+)? .*Python 3\.\d+", said)
    assert "torch" not in said, "this chapter must not bring torch along"
    # The ledger travels inside the package: the notebook ends with the same table as in the book.
    table = [
        o for outputs in expected for o in outputs if "css-12: demo" in str(o.get("data", {}).get("text/plain", ""))
    ]
    again = [
        o
        for c in executed.cells
        for o in c.get("outputs", [])
        if "css-12: demo" in str(o.get("data", {}).get("text/plain", ""))
    ]
    assert [o.data["text/plain"] for o in again] == [o.data["text/plain"] for o in table] and table


# What Jupyter and Colab bring along, and names of packages that differ from those of their modules.
THERE = {"IPython", "ipywidgets"}
PACKAGES = {"sklearn": "scikit-learn", "yaml": "pyyaml", "pydantic_core": "pydantic"}


def top_level_imports(text):
    """Modules that ``text`` imports when it is loaded; those inside functions are asked for later, if at all."""
    found = set()
    waiting = list(ast.parse(text).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
        waiting += list(ast.iter_child_nodes(node))
    return found - set(sys.stdlib_module_names) - {"workings"}


# The package is missing until somebody runs a command, which is printed and not run.
ABSENT = """
import importlib.util, json, subprocess, sys, types
installed = []
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "workings" and not installed:
            raise ModuleNotFoundError(name, name=name)
def run(command, **options):
    installed.append(print(json.dumps(command)))
    return types.SimpleNamespace(returncode=0)
sys.meta_path.insert(0, Absent())
find, subprocess.run = importlib.util.find_spec, run
importlib.util.find_spec = lambda name, *rest: find(name, *rest) if installed else None
"""


@pytest.mark.parametrize("script", checkout.notebook_scripts(), ids=lambda path: path.stem)
def test_every_setup_cell_asks_for_all_that_its_notebook_loads(script, tmp_path):
    setup = next(cell.source for cell in read_script(script).cells if cell.cell_type == "code")
    done = subprocess.run([sys.executable, "-c", ABSENT + setup], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command = json.loads(done.stdout.splitlines()[0])
    assert command[1:4] == ["-m", "pip", "install"]
    asked = [word for word in command[4:] if not word.startswith("-")]
    assert asked[0] == f"git+{checkout.address()}@{checkout.tag()}"
    given = {re.split(r"[<>=!~ \[]", word)[0].lower() for word in [*checkout.project()["dependencies"], *asked[1:]]}
    files = [script, *imported_files(script, ROOT / "lib" / "workings")]
    needed = set().union(*(top_level_imports(path.read_text()) for path in files)) - THERE
    assert {PACKAGES.get(name, name).lower() for name in needed} <= given


def test_the_setup_cell_does_nothing_where_the_package_is_present():
    cell = next(c for c in nbformat.read(SCRIPT.with_suffix(".ipynb"), as_version=4).cells if c.cell_type == "code")
    program = "import subprocess; subprocess.run = None\n" + cell.source  # an attempt to install would now fail
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Environment: workings")


# --- the template's set-up cell, which new chapters begin with -----------------------------------------------------

TEMPLATE = re.search(
    r"(?ms)^# Set-up: .*?^print\(environment_line\(\)\)$", (ROOT / "tools" / "template" / "notebook.py").read_text()
)[0]
LIBRARY = ROOT / "lib"
# Prints the command instead of running it, and makes the package appear as pip would.
PIP = """
import json, subprocess, sys, types
def run(command, **options):
    print(json.dumps(command))
    sys.path.insert(0, {library!r})
    return types.SimpleNamespace(returncode={status})
subprocess.run = run
"""


def set_up(cwd, *, path=(), status=0, isolated="-I", ref=None):
    """What the cell prints and complains of in ``cwd``, with ``path`` where packages are looked for, stamped with ``ref``."""
    cell = stamp.stamped(TEMPLATE, checkout.address(), ref or checkout.tag())
    begin = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n" + PIP.format(library=str(LIBRARY), status=status)
    clean = [
        part for part in sys.path if part.endswith("site-packages")
    ]  # what the library needs, not the library itself
    begin += f"sys.path += {clean!r}\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    command = [sys.executable, isolated, "-S", "-c", begin + cell]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    installs = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return len(installs), done


def test_a_folder_above_a_clone_is_not_taken_for_the_package(tmp_path):
    (tmp_path / "workings" / "lib").mkdir(parents=True)  # as in Colab's folder after `git clone`
    installs, done = set_up(tmp_path, path=[tmp_path])
    assert installs == 1 and "Environment: workings" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ref", "version", "expected"),
    [("v0.1.0", "0.0.9", 1), ("v0.1.0", "0.1.0", 0), ("v0.1.0", "99.0.0", 0), ("main", "0.0.9", 0)],
)
def test_an_older_package_is_replaced_and_a_newer_one_is_taken(tmp_path, ref, version, expected):
    for name, text in {
        "__init__": f"__version__ = {version!r}",
        "runs/__init__": "",
        "runs/provenance": "environment_line = lambda: 'Environment: workings stand-in'",
    }.items():
        (tmp_path / "site" / "workings" / name).with_suffix(".py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / "workings" / name).with_suffix(".py").write_text(text)
    installs, done = set_up(tmp_path, path=[tmp_path / "site"], ref=ref)
    assert installs == expected and done.stdout.splitlines()[-1].startswith("Environment: workings"), done.stderr
    assert ("stand-in" in done.stdout) == (not expected)


def test_a_clones_own_package_comes_first_whatever_is_installed(tmp_path):
    folder = tmp_path / "clone" / "notebooks" / "part"
    folder.mkdir(parents=True)
    (tmp_path / "clone" / "lib").symlink_to(LIBRARY)
    for place in (folder, tmp_path / "clone"):
        installs, done = set_up(place)
        assert installs == 0 and done.stdout.startswith("Environment: workings"), done.stderr


def test_where_pip_fails_the_remedy_is_named(tmp_path):
    _, done = set_up(tmp_path, status=1)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("RuntimeError: Run this in a terminal, then restart: ")
    assert f"-m pip install -q git+{checkout.address()}@{checkout.tag()}" in last
