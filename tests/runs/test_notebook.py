"""`workings run` executes the script as it stands, at the tier that was asked for, or says why not."""

import nbformat
import pytest

from workings.runs import checkout, notebook, stored

pytestmark = pytest.mark.filterwarnings("default")  # papermill and nbclient warn about each other
TAGGED = '# %% tags=["parameters"]\ntier = "demo"\ndry_run = False\n\n'


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """Writes a script of its own for the chapter ``story``, with a stored notebook that says something else."""
    script = tmp_path / "notebooks" / "story.py"
    script.parent.mkdir()
    monkeypatch.setattr(checkout, "notebook_scripts", lambda slug=None: [script])
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))

    def write(text):
        script.write_text(text)
        cell = nbformat.v4.new_code_cell("print('stale')", metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), script.with_suffix(".ipynb"))
        return script

    return write


def test_the_script_is_run_and_not_the_stored_notebook(chapter, tmp_path):
    chapter(TAGGED + "# %%\nprint('fresh', tier, dry_run)\n")
    target = notebook.run("story", "full", dry_run=True)
    assert target == tmp_path / "runs" / "story" / "full-dry.ipynb"
    said = [output["text"] for cell in stored.read(target)["cells"] for output in cell.get("outputs", [])]
    assert "".join(said[0]).strip() == "fresh full True" and len(said) == 1


@pytest.mark.parametrize(("tier", "left"), [("full", "demo's"), ("demo", "new")])
def test_only_a_demo_changes_what_the_pages_figure_computes_with(chapter, tmp_path, monkeypatch, tier, left):
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path / "results"))
    file = tmp_path / "results" / "notebooks" / "story" / "live_weights.json"
    file.parent.mkdir(parents=True)
    file.write_text("demo's")
    chapter(TAGGED + f"# %%\nfrom pathlib import Path\nPath({str(file)!r}).write_text('new')\n")
    notebook.run("story", tier)
    assert file.read_text() == left


@pytest.mark.parametrize(
    "script", ['tier = "demo"\n', "# %%\nprint(1)\n", TAGGED + TAGGED, TAGGED.replace("tier =", "t =")]
)
def test_a_script_whose_tier_cannot_be_set_is_refused_before_it_runs(chapter, script):
    chapter(script)
    with pytest.raises(
        ValueError, match=r"must have exactly one cell that begins .* Without it every run would be the demo"
    ):
        notebook.run("story", "full")


def test_a_cell_that_raises_ends_in_one_sentence(chapter):
    chapter(TAGGED + "# %%\nraise KeyError('no such thing')\n")
    with pytest.raises(
        RuntimeError, match=r"^cell \d+ of .*story\.py ended with KeyError: 'no such thing'.*demo\.ipynb\.$"
    ):
        notebook.run("story", "demo")


def test_what_is_missing_is_named_with_its_extra(chapter, monkeypatch):
    chapter(TAGGED)
    monkeypatch.setitem(__import__("sys").modules, "papermill", None)
    with pytest.raises(RuntimeError, match=r"needs papermill, which is not installed.*workings\[full\]"):
        notebook.run("story", "demo")
