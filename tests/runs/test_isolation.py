"""What whoever runs a notebook has set up for themselves reaches no output, and a home folder is not needed."""

import json
import os
import subprocess
import sys

import pytest

from workings.runs import checkout, isolation

ROOT = checkout.root()
SCRIPT = """# %%
1
2

# %%
import matplotlib as mpl
import matplotlib.pyplot as plt

print(mpl.rcParams["axes.facecolor"], "started" in globals())
_ = plt.plot([1, 2])
plt.show()

# %%
import os

print(os.environ["WORKINGS_RESULTS"])
"""
RUN = """
import json, pathlib, sys
import refresh
notebook, _ = refresh.execute(pathlib.Path(sys.argv[1]), record=False)
print(json.dumps([cell.outputs for cell in notebook.cells]))
"""
CONFIG = """
c.InteractiveShell.ast_node_interactivity = "all"
c.InlineBackend.figure_formats = {"svg"}
c.InteractiveShellApp.exec_lines = ["started = True"]
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Outputs of three cells, executed for a user whose every setting is in the way, from the folder ``elsewhere``."""
    folder = tmp_path_factory.mktemp("user")
    home = folder / "home"
    files = {
        "home/.ipython/profile_default/ipython_kernel_config.py": CONFIG,
        "home/.ipython/profile_default/ipython_config.py": CONFIG,
        "home/.ipython/profile_default/startup/00.py": "started = True\n",
        "home/.config/matplotlib/matplotlibrc": "axes.facecolor: black\n",
        "rc/matplotlibrc": "axes.facecolor: black\n",
        "start.py": "started = True\n",
        "jupyter/kernels/python3/kernel.json": json.dumps(
            {"argv": ["false"], "display_name": "x", "language": "python"}
        ),
        "notebooks/story.py": SCRIPT,
        "elsewhere/here": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    mine = {
        "HOME": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "MATPLOTLIBRC": str(folder / "rc"),
        "JUPYTER_PATH": str(folder / "jupyter"),
        "PYTHONSTARTUP": str(folder / "start.py"),
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("lib", "tools")),
        "WORKINGS_RESULTS": "out",
    }
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder / "notebooks" / "story.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder / "elsewhere", env={**os.environ, **mine})
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_no_setting_of_the_users_ipython_or_matplotlib_reaches_an_output(outputs):
    _, (numbers, figure, _) = outputs
    assert [output["data"]["text/plain"] for output in numbers] == ["2"], "one output: that of the last line"
    assert figure[0]["text"] == "white False\n"
    assert set(figure[1]["data"]) == {"image/png", "text/plain"}


def test_a_results_folder_is_relative_to_who_calls(outputs):
    folder, (_, _, environment) = outputs
    assert environment[0]["text"].strip() == str(folder / "elsewhere" / "out")


def test_without_a_home_folder_notebooks_run_all_the_same(tmp_path):
    (tmp_path / "story.py").write_text("# %%\nprint('ran')\n")
    mine = {"PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("lib", "tools")), "HOME": "/nonexistent/home"}
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(tmp_path / "story.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **mine})
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])[0][0]["text"] == "ran\n"


def test_the_callers_environment_comes_back(monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "mine.py")
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), isolation.environment(MORE="1"):
        assert "PYTHONSTARTUP" not in os.environ and os.environ["MORE"] == "1" and os.environ["IPYTHONDIR"]
        raise KeyError
    assert dict(os.environ) == before


def test_a_checkout_that_cannot_be_written_has_its_settings_in_a_temporary_folder(monkeypatch, tmp_path):
    (tmp_path / ".cache").write_text("a file, where the folder should be")
    monkeypatch.setattr(isolation.paths, "checkout_root", lambda: tmp_path)
    monkeypatch.setattr(isolation.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    assert isolation._home().is_relative_to(tmp_path / "temporary")
