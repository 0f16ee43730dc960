"""Re-execute the notebooks from their scripts and store the outputs, the same bytes wherever possible."""

from __future__ import annotations

import os
import time
from pathlib import Path

from workings.house import checkout

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# What a stored output must not depend on: threads, progress bars, a user's matplotlib settings.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "WORKINGS_QUIET": "1",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}


def read_script(script: Path):
    """The notebook that ``script`` describes: Jupytext's reading, stable cell ids, no outputs."""
    import jupytext

    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
    return notebook


def tidy(notebook) -> None:
    """Drop from an executed notebook what differs from machine to machine without meaning."""
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)


def execute(script: Path, *, record: bool) -> tuple[object, float]:
    """Run ``script`` top to bottom in a fresh kernel; returns the notebook and the seconds it took."""
    from nbclient import NotebookClient

    notebook = read_script(script)
    os.environ.update(ENVIRONMENT)
    os.environ["WORKINGS_RECORD"] = "1" if record else "0"
    began = time.monotonic()
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(script.parent)}},
    )
    client.execute()
    tidy(notebook)
    return notebook, time.monotonic() - began


def refresh(slug: str | None = None, *, record: bool = True) -> list[tuple[str, float]]:
    """Execute and re-pair every notebook, or the one called ``slug``; returns (slug, seconds) pairs."""
    import nbformat

    done = []
    for script in checkout.notebook_scripts(slug):
        notebook, seconds = execute(script, record=record)
        nbformat.validate(notebook)
        target = script.with_suffix(".ipynb")
        scratch = target.with_suffix(".ipynb.part")
        nbformat.write(notebook, scratch)
        os.replace(scratch, target)
        done.append((script.stem, seconds))
    return done
