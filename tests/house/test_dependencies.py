"""Who may import whom. Parts never import each other; kernels import no plotting, widgets or house."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from workings import PARTS
from workings.house import checkout
from workings.house.refresh import imported_names

LIB = checkout.root() / "lib" / "workings"
KERNELS = sorted(path for part in PARTS for path in (LIB / part).glob("**/*.py"))
FLOOR_BELOW = sorted(LIB.glob("*.py"))
PLOTTING = {"matplotlib", "ipywidgets", "IPython", "seaborn", "plotly", "pylab"}
PLOTTERS = {"figures.py", "controls.py"}  # the only modules that may draw


def imports(path: Path) -> set[str]:
    return imported_names(path, LIB)


def crossings(part: str, names: set[str]) -> set[str]:
    """The imports among ``names`` that lead from ``part`` into another part."""
    return {name for name in names for other in PARTS if other != part and f"{name}.".startswith(f"workings.{other}.")}


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(LIB)))
def test_a_kernel_imports_no_other_part_no_plotting_and_no_house(path):
    names = imports(path)
    part = path.relative_to(LIB).parts[0]
    assert not crossings(part, names)
    assert not {name for name in names if name.split(".")[0] in PLOTTING}
    assert not {n for n in names if n.startswith(("workings.house", "workings.figures", "workings.controls"))}


@pytest.mark.parametrize("path", FLOOR_BELOW, ids=lambda path: path.name)
def test_the_floor_below_knows_no_part_and_only_plotters_plot(path):
    names = imports(path)
    assert not crossings("", names)
    if path.name not in PLOTTERS:
        assert not {name for name in names if name.split(".")[0] in PLOTTING}


def test_the_rule_sees_a_crossing_in_each_spelling():
    assert crossings("robustness", {"workings.uncertainty.conformal"})
    assert crossings("robustness", {"workings.uncertainty"})
    assert not crossings("robustness", {"workings.robustness.sap", "workings.calibration"})


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(LIB)))
def test_a_kernel_never_prints_or_seeds_globally(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name != "print", f"{path.name}:{node.lineno} prints"
            assert name not in {"np.random.seed", "numpy.random.seed", "torch.manual_seed", "random.seed"}, node.lineno


@pytest.mark.parametrize("module", ["workings", "workings.ledger", "workings.ledger_page", "workings.record"])
def test_what_the_book_needs_loads_without_torch_numpy_or_matplotlib(module):
    code = f"import sys, {module}; bad = {{'torch', 'numpy', 'matplotlib'}} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_conformal_kernels_load_without_torch():
    code = "import sys, workings.uncertainty.conformal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
