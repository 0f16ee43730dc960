"""Who may import whom: import-linter's contracts in pyproject.toml, and what it cannot see."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rooms
from workings import PARTS
from workings.runs import checkout

ROOT = checkout.root()
LIB = ROOT / "lib" / "workings"
KERNELS = sorted(path for part in PARTS for path in (LIB / part).glob("**/*.py"))
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def lint(cwd):
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_contracts_are_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("where", "line", "contract"),
    [
        ("robustness/attacks.py", "import workings.uncertainty.scores", "A part imports no other part"),
        ("robustness/attacks.py", "from workings.chapters.sap import settings", "A kernel knows no settings"),
        ("uncertainty/scores.py", "import matplotlib", "A kernel knows no settings"),
        ("uncertainty/scores.py", "from workings import ledger", "A kernel knows no settings"),
        ("ledger/verdicts.py", "import workings.robustness.sap", "What parts share"),
        ("runs/store.py", "import workings.ledger.claims", "Runs know no ledger"),
        ("chapters/sap/demo.py", "import workings.show.figures", "Only what is shown draws"),
        ("chapters/sap/demo.py", "import workings.chapters.giraffe.settings", "A chapter runs no other chapter"),
    ],
)
def test_each_contract_sees_what_it_forbids(tmp_path, where, line, contract):
    import shutil

    shutil.copytree(LIB, tmp_path / "workings", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "workings" / where
    file.write_text(file.read_text() + f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert re.search(rf"{contract}.* BROKEN", done.stdout)


def test_every_part_and_every_chapter_is_under_contract():
    named = {module for contract in CONTRACTS for module in contract.get("modules", [])}
    chapters = {f"workings.chapters.{file.parent.name}" for file in LIB.glob("chapters/*/__init__.py")}
    assert named == {f"workings.{part}" for part in PARTS} | chapters
    assert all((LIB / part / "__init__.py").is_file() for part in PARTS)


def test_the_drawing_in_contributing_is_that_of_the_code():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert rooms.drawn(text, rooms.drawing()) == text, "run `python tools/rooms.py`"


def private_names_of_others(path):
    """Names with one underscore that ``path`` takes from another module of the library, as "module._name"."""
    tree, modules, found = ast.parse(path.read_text(encoding="utf-8")), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "workings":
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    found.append(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            owner = LIB.parent / modules[node.value.id].replace(".", "/")
            is_module = owner.with_suffix(".py").is_file() or owner.is_dir()
            if is_module and node.attr.startswith("_") and not node.attr.startswith("__"):
                found.append(f"{modules[node.value.id]}.{node.attr}")
    return found


def test_no_module_uses_what_another_keeps_to_itself(tmp_path):
    found = {str(path.relative_to(LIB)): private_names_of_others(path) for path in sorted(LIB.rglob("*.py"))}
    assert {name: names for name, names in found.items() if names} == {}
    (tmp_path / "x.py").write_text(
        "from workings.runs import fetch\nfrom workings.runs.fetch import _digest\nfetch._receive(1)\nfetch.download(2)\n"
    )
    assert private_names_of_others(tmp_path / "x.py") == ["workings.runs.fetch._digest", "workings.runs.fetch._receive"]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(LIB)))
def test_a_kernel_never_prints_or_seeds_globally(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name != "print", f"{path.name}:{node.lineno} prints"
            assert name not in {"np.random.seed", "numpy.random.seed", "torch.manual_seed", "random.seed"}, node.lineno


@pytest.mark.parametrize("module", ["workings", "workings.ledger", "workings.runs.provenance"])
def test_what_the_book_needs_loads_without_torch_numpy_or_matplotlib(module):
    code = f"import sys, {module}; bad = {{'torch', 'numpy', 'matplotlib'}} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_conformal_kernels_load_without_torch():
    code = "import sys, workings.uncertainty.conformal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
