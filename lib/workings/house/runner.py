"""Run a chapter at a tier: papermill fills in the parameters cell and keeps the executed notebook."""

from __future__ import annotations

import os
from pathlib import Path

from workings.house import checkout

TIERS = ("demo", "full")


def run(
    slug: str, tier: str = "full", *, dry_run: bool = False, data_root: str | None = None, out: Path | None = None
) -> Path:
    """Execute ``slug`` at ``tier``; the notebook goes to ``runs/<slug>/`` and results to the ledger.

    A ``dry_run`` takes a few steps on generated data, to show that the path works, and records nothing.
    ``data_root`` is a folder with the real data, where it is already on this machine.
    Raises ``ValueError`` for an unknown slug or tier.
    """
    if tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {tier!r}.")
    import papermill

    script = checkout.notebook_scripts(slug)[0]
    out = out or checkout.root() / "runs" / script.stem
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{tier}{'-dry' if dry_run else ''}.ipynb"
    parameters: dict[str, object] = {"tier": tier, "dry_run": dry_run}
    if data_root is not None:
        parameters["data_root"] = str(Path(data_root).expanduser().resolve())
    os.environ["WORKINGS_RECORD"] = "0" if dry_run else "1"
    papermill.execute_notebook(
        script.with_suffix(".ipynb"), target, parameters, cwd=script.parent, kernel_name="python3", progress_bar=True
    )
    return target
