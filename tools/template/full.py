"""The full tier of the chapter `{{slug}}`."""

from __future__ import annotations

from workings.chapters.{{slug}}.demo import run_protocol
from workings.chapters.{{slug}}.settings import Settings
from workings.runs.progress import progress


@Settings.needs.guard
def full_protocol(settings: Settings) -> dict[str, float]:
    """:func:`run_protocol` behind a progress bar; a memory that runs out is answered with the setting to lower."""
    return run_protocol(settings, watch=lambda blocks: progress(blocks, "blocks of samples"))
