"""The command `workings`: what it says where it cannot do what was asked."""

import subprocess
import sys

import pytest

from workings import cli, paths
from workings.runs import checkout, notebook

# Makes a package look as if it were not installed.
WITHOUT = """
import importlib.abc, sys
class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Wall())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.partition(".")[0] in {missing!r} else find(name, *rest)
"""


def without(missing, code, cwd=None):
    program = WITHOUT.format(missing=tuple(missing)) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [
        ("torch", ["needs", "early_visual_concepts"], "workings[torch]"),
        ("papermill", ["run", "conformal_set_size", "--tier", "demo"], "workings[full]"),
        ("jupytext", ["run", "conformal_set_size", "--tier", "demo"], "workings[full]"),
        ("distributed", ["sweep", "conformal_set_size", "--grid", "seed=0"], "distributed"),
    ],
)
def test_a_missing_package_is_named_with_what_brings_it(missing, words, extra, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    done = without([missing], f"from workings import cli\nsys.exit(cli.main({words!r}))")
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert missing in said[0].lower().replace("pytorch", "torch") and "pip install" in said[0] and extra in said[0]


@pytest.mark.parametrize(
    "module",
    [
        "robustness.sap",
        "disentangling.metrics",
        "language_models.rotary",
        "few_shot.episodes",
        "uncertainty.confidence_estimators",
        "training",
    ],
)
def test_a_part_without_torch_names_the_extra(module):
    done = without(["torch"], f"import workings.{module}")
    assert done.stderr.strip().splitlines()[-1].endswith("not installed: pip install 'workings[torch]'.")


def test_no_module_of_a_part_ends_in_a_bare_error_without_torch():
    code = (
        "import importlib, pkgutil, workings\n"
        "for part in workings.PARTS:\n"
        "    for found in pkgutil.iter_modules([f'{workings.__path__[0]}/{part}'], f'workings.{part}.'):\n"
        "        if not found.name.rpartition('.')[2].startswith('_'):\n"
        "            try:\n"
        "                importlib.import_module(found.name)\n"
        "            except ModuleNotFoundError as error:\n"
        "                print(found.name, error)\n"
    )
    done = without(["torch"], code)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and any(line.startswith("workings.few_shot.hardness ") for line in said), done.stderr
    assert [line for line in said if not line.endswith("pip install 'workings[torch]'.")] == []


@pytest.mark.parametrize("module", ["uncertainty.set_size", "few_shot.difficulty_sampling", "few_shot.glyphs"])
def test_kernels_of_numbers_alone_need_no_torch(module):
    assert without(["torch"], f"import workings.{module}").returncode == 0


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """As if this were the package of an environment, and the caller stood in an empty folder."""
    monkeypatch.setattr(paths, "checkout_root", lambda: None)
    monkeypatch.setattr(paths, "claims_root", lambda: checkout_claims)
    monkeypatch.chdir(tmp_path)
    return tmp_path


checkout_claims = checkout.root() / "claims"


def test_an_installed_command_without_a_clone_says_to_clone(installed, capsys):
    assert cli.main(["run", "conformal_set_size"]) == 2
    assert "Clone the repository, run `make env-full`" in capsys.readouterr().err


def test_an_installed_command_inside_a_clone_names_the_clones_own(installed, capsys, monkeypatch):
    for name in ("lib/workings/runs", "claims", "notebooks/part"):
        (installed / name).mkdir(parents=True)
    monkeypatch.chdir(installed / "notebooks" / "part")
    assert cli.main(["run", "conformal_set_size"]) == 2
    assert "you stand in a clone that has" in (said := capsys.readouterr().err) and ".venv/" in said


def test_needs_works_without_a_clone(installed, capsys):
    assert cli.main(["needs", "conformal_set_size"]) == 0
    assert capsys.readouterr().out.startswith("uncertainty/conformal_set_size\n    Full tier on the CPU")
    assert cli.main(["needs", "conformal_set_sise"]) == 2
    assert "did you mean 'conformal_set_size'" in capsys.readouterr().err


def test_a_refused_history_is_told_before_a_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("workings.runs.provenance.why_no_commit", lambda root: "git refuses.")
    monkeypatch.setattr(notebook, "run", lambda *_, **__: tmp_path / "x.ipynb")
    monkeypatch.setattr(notebook, "closing_line", lambda _: None)
    assert cli.main(["run", "conformal_set_size", "--tier", "demo"]) == 0
    assert capsys.readouterr().err == "workings: git refuses.\n"


def test_a_run_goes_on_with_the_stores_of_another_machine(monkeypatch, capsys, tmp_path):
    (tmp_path / "results/unfinished/toy").mkdir(parents=True)
    (tmp_path / "results/unfinished/toy/full.jsonl").write_text('{"settings": {}}\n')
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(notebook, "run", lambda *_, **__: tmp_path / "x.ipynb")
    monkeypatch.setattr(notebook, "closing_line", lambda _: None)
    for said in ("toy/full.jsonl", "none"):
        assert cli.main(["run", "conformal_set_size", "--go-on"]) == 0
        assert f"{said}.\n" in capsys.readouterr().out.split("Stores taken over")[1]
    assert (tmp_path / "runs/toy/full.jsonl").is_file()


def test_the_runs_folder_is_one_for_all(monkeypatch, tmp_path):
    monkeypatch.delenv("WORKINGS_RUNS", raising=False)
    assert paths.runs_root() == checkout.root() / "runs"
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    assert paths.runs_root() == tmp_path
    monkeypatch.delenv("WORKINGS_RUNS")
    monkeypatch.setattr(paths, "checkout_root", lambda: None)
    assert str(paths.runs_root()) == "runs"


@pytest.mark.parametrize(
    ("name", "root"), [("WORKINGS_RUNS", paths.runs_root), ("WORKINGS_RESULTS", paths.writable_results_root)]
)
def test_a_home_folder_that_is_not_there_is_an_error_that_names_the_variable(monkeypatch, name, root):
    monkeypatch.setenv(name, "~who-is-not-here/x")
    with pytest.raises(FileNotFoundError, match=f"no home folder for '~who-is-not-here'; give {name} an absolute path"):
        root()


def test_help_speaks_to_readers_only():
    said = cli.build_parser().format_help()
    assert all(word in said for word in ("list", "run", "needs", "sweep"))
    assert not any(word in said for word in ("refresh", "stamp", "address", "``"))
