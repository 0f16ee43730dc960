"""Re-execute the notebooks from their scripts and store the outputs, the same bytes wherever possible."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from workings import paths
from workings.runs import checkout, isolation, stored
from workings.runs.imports import imported_files

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# What a stored output must not depend on, besides a user's own settings: threads, progress bars, the order of sets.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WORKINGS_QUIET": "1", "PYTHONHASHSEED": "0"}


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
    began = time.monotonic()
    with isolation.environment(**ENVIRONMENT, WORKINGS_RECORD="1" if record else "0"):
        client = NotebookClient(
            notebook,
            timeout=None,  # a busy machine may take its time
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
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") if path.is_file() else b"absent")
    return digest.hexdigest()


def up_to_date(script: Path) -> bool:
    """Whether the stored notebook was executed from exactly what stands here now, and nothing has touched it since."""
    target = script.with_suffix(".ipynb")
    if not target.is_file():
        return False
    try:
        found = stored.read(target)
    except ValueError:
        return False
    return stored.made_from(found) == fingerprint(script) and stored.untouched(found)


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
        nbformat.validate(notebook)
        plain = json.loads(nbformat.writes(notebook))
        paths.write_atomically(script.with_suffix(".ipynb"), stored.seal(plain, made_from))
        done.append((script.stem, seconds))
    return done
