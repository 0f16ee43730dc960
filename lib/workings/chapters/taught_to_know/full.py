"""The full tier of the chapter `taught_to_know`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workings.chapters.taught_to_know.demo import run_protocol
from workings.chapters.taught_to_know.settings import Settings
from workings.runs.progress import progress


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The full tier: its tables by name, here one with one row.

    ``data_root`` is a folder with the data; this example draws its own. A memory that runs out is answered with the
    setting to lower.
    """
    return {"protocol": [run_protocol(settings, watch=lambda blocks: progress(blocks, "blocks of samples"))]}
