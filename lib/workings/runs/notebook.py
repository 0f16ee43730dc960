"""Run a chapter at a tier: papermill fills in the parameters cell and keeps the executed notebook."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workings import TIERS, paths
from workings.runs import checkout, isolation, provenance
from workings.runs.needs import Needs, OutOfMemory


def needs(slug: str) -> Needs | None:
    """What the full tier of ``slug`` takes; ``None`` for a chapter that does not say, ``ValueError`` for an unknown one."""
    return checkout.chapter_settings(slug).needs


def run(
    slug: str, tier: str = "full", *, dry_run: bool = False, data_root: str | None = None, out: Path | None = None
) -> Path:
    """Execute the script of ``slug`` at ``tier``; the notebook goes to ``runs/<slug>/`` and results to the ledger.

    The stored notebook beside the script plays no part, so a script that was not refreshed is run as it stands. Settings
    of the user's own IPython, Jupyter and Matplotlib are left out (see ``runs.isolation``).

    A ``dry_run`` takes a few steps on generated data, to show that the path works, and records nothing. A full run leaves what the
    page's live figure computes with as it was.
    ``data_root`` is a folder with the real data, where it is already on this machine.
    Raises ``ValueError`` for an unknown slug or tier, ``RuntimeError`` when a cell raised or a package is missing, and
    :class:`OutOfMemory` when memory ran out, also where the system killed the notebook's process for it.
    """
    if tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}.")
    try:
        import papermill
        from nbclient.exceptions import DeadKernelError
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"running a chapter needs {error.name}, which is not installed: `make env-full`, or pip install 'workings[full]'."
        ) from None

    script = checkout.notebook_scripts(slug)[0]
    out = out or paths.runs_root() / script.stem
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{tier}{'-dry' if dry_run else ''}.ipynb"
    parameters: dict[str, object] = {"tier": tier, "dry_run": dry_run}
    if data_root is not None:
        parameters["data_root"] = str(Path(data_root).expanduser().resolve())
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / f"{script.stem}.ipynb"
        _write_unexecuted(script, source)
        variables = {"WORKINGS_RECORD": "0" if dry_run else "1", "WORKINGS_TERMINAL": _terminal()}
        try:
            with (
                isolation.environment(**variables),
                _page_unchanged(paths.results_root() / script.parent.name / slug, tier),
            ):
                papermill.execute_notebook(
                    source,
                    target,
                    parameters,
                    cwd=script.parent,
                    kernel_name="python3",
                    language="python",
                    progress_bar=True,
                )
        except papermill.PapermillExecutionError as error:
            if error.ename == OutOfMemory.__name__:
                raise OutOfMemory(error.evalue) from error
            raise RuntimeError(
                f"cell {error.cell_index} of {paths.shown(script)} ended with {error.ename}: {error.evalue} "
                f"The notebook as far as it came is {paths.shown(target)}."
            ) from error
        except DeadKernelError as error:
            known = needs(slug)
            advice = f" {known.advice()}." if known and tier == "full" else ""
            raise OutOfMemory(
                f"the notebook's process was killed, most likely by the system because memory ran out.{advice}"
            ) from error
    return target


@contextmanager
def _page_unchanged(results: Path, tier: str) -> Iterator[None]:
    """Whatever a full run writes of the page's live figure in the folder ``results`` is undone: the page shows the demo's networks."""
    kept = {file: file.read_bytes() for file in results.glob("live*.json")} if tier == "full" else {}
    try:
        yield
    finally:
        for file, content in kept.items():
            if not file.is_file() or file.read_bytes() != content:
                paths.write_atomically(file, content.decode("utf-8"))


def _write_unexecuted(script: Path, target: Path) -> None:
    """The notebook that ``script`` describes, without outputs, at ``target``: what is run is the script, as it stands.

    Raises ``ValueError`` where the tier would have no cell to go to: the run would be the demo, whatever was asked for.
    """
    try:
        import jupytext
    except ModuleNotFoundError:
        raise RuntimeError(
            "running a chapter needs jupytext, which is not installed: `make env-full`, or pip install 'workings[full]'."
        ) from None
    notebook = jupytext.read(script)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1 or not re.search(r"(?m)^tier\s*=", tagged[0].source):
        raise ValueError(
            f'{paths.shown(script)} must have exactly one cell that begins `# %% tags=["parameters"]` and sets the tier; '
            f"there are {len(tagged)}. Without it every run would be the demo."
        )
    jupytext.write(notebook, target)


def _terminal() -> str:
    """The name of the terminal that stderr is, for the notebook's progress bars; empty where it is none."""
    try:
        return os.ttyname(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # a file or a pipe; no file at all; a system without terminals
        return ""


def closing_line(executed: Path) -> str | None:
    """What an executed full run printed of its time and memory; ``None`` where it printed nothing."""
    import nbformat

    for cell in nbformat.read(executed, as_version=4).cells:
        for output in cell.get("outputs", []):
            for line in output.get("text", "").splitlines():
                if line.startswith(provenance.CLOSING):
                    return line
    return None
