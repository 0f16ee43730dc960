"""Run a chapter at a tier: papermill fills in the parameters cell and keeps the executed notebook."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from workings import TIERS
from workings.runs import checkout, provenance
from workings.runs.needs import Needs, OutOfMemory


def needs(slug: str) -> Needs | None:
    """What the full tier of ``slug`` takes; ``None`` for a chapter that does not say, ``ValueError`` for an unknown one."""
    return checkout.chapter_settings(checkout.notebook_scripts(slug)[0].stem).needs


def run(
    slug: str, tier: str = "full", *, dry_run: bool = False, data_root: str | None = None, out: Path | None = None
) -> Path:
    """Execute ``slug`` at ``tier``; the notebook goes to ``runs/<slug>/`` and results to the ledger.

    A ``dry_run`` takes a few steps on generated data, to show that the path works, and records nothing.
    ``data_root`` is a folder with the real data, where it is already on this machine.
    Raises ``ValueError`` for an unknown slug or tier, and :class:`OutOfMemory` when memory ran out, also where the system
    killed the notebook's process for it.
    """
    if tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}.")
    import papermill
    from nbclient.exceptions import DeadKernelError

    script = checkout.notebook_scripts(slug)[0]
    out = out or checkout.root() / "runs" / script.stem
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{tier}{'-dry' if dry_run else ''}.ipynb"
    parameters: dict[str, object] = {"tier": tier, "dry_run": dry_run}
    if data_root is not None:
        parameters["data_root"] = str(Path(data_root).expanduser().resolve())
    os.environ["WORKINGS_RECORD"] = "0" if dry_run else "1"
    os.environ["WORKINGS_TERMINAL"] = _terminal()
    notebook = script.with_suffix(".ipynb")
    try:
        papermill.execute_notebook(
            notebook, target, parameters, cwd=script.parent, kernel_name="python3", progress_bar=True
        )
    except papermill.PapermillExecutionError as error:
        if error.ename != OutOfMemory.__name__:
            raise
        raise OutOfMemory(error.evalue) from error
    except DeadKernelError as error:
        known = needs(slug)
        advice = f" {known.advice()}." if known and tier == "full" else ""
        raise OutOfMemory(
            f"the notebook's process was killed, most likely by the system because memory ran out.{advice}"
        ) from error
    return target


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
