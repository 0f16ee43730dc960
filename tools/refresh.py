"""Re-execute the notebooks from their scripts and store the outputs, the same bytes wherever possible."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from workings.runs import checkout
from workings.runs.imports import imported_files

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
        coalesce_streams=True,  # one output for each stream, however the kernel cut it
        extra_arguments=["--log-level=ERROR"],  # the kernel's own remarks on its connection are not the reader's
        record_timing=False,
        resources={"metadata": {"path": str(script.parent)}},
    )
    client.execute()
    tidy(notebook)
    return notebook, time.monotonic() - began


def fingerprint(script: Path) -> str:
    """Checksum of all that decides a notebook's outputs: script, imported library files, claims, full record, pins."""
    root, part = checkout.root(), script.parent.name
    others = [
        root / "claims" / part / f"{script.stem}.yml",
        root / "results" / part / script.stem / "full.json",
        root / "requirements" / "full.lock",
    ]
    digest = hashlib.sha256()
    for path in [script, *sorted(imported_files(script, root / "lib" / "workings")), *others]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() if path.is_file() else b"absent")
    return digest.hexdigest()


def up_to_date(script: Path) -> bool:
    """Whether the stored notebook was executed from exactly what stands here now."""
    import nbformat

    target = script.with_suffix(".ipynb")
    if not target.is_file():
        return False
    stored = nbformat.read(target, as_version=4)
    if stored.metadata.get("workings", {}).get("made_from") != fingerprint(script):
        return False
    sources = lambda notebook: [cell.source for cell in notebook.cells]
    return sources(stored) == sources(read_script(script))  # else someone has edited the notebook itself


def refresh(slug: str | None = None, *, record: bool = True, force: bool = False) -> list[tuple[str, float | None]]:
    """Execute and re-pair every notebook, or the one called ``slug``; returns (slug, seconds) pairs.

    A notebook that was made from exactly what stands here is left alone (seconds ``None``) unless ``force``.
    """
    import nbformat

    done: list[tuple[str, float | None]] = []
    for script in checkout.notebook_scripts(slug):
        if not force and up_to_date(script):
            done.append((script.stem, None))
            continue
        made_from = fingerprint(script)
        notebook, seconds = execute(script, record=record)
        notebook.metadata["workings"] = {"made_from": made_from}
        nbformat.validate(notebook)
        target = script.with_suffix(".ipynb")
        scratch = target.with_suffix(".ipynb.part")
        nbformat.write(notebook, scratch)
        os.replace(scratch, target)
        done.append((script.stem, seconds))
    return done
