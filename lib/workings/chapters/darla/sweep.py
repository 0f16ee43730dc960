"""The experiment that `workings sweep darla` maps over a grid."""

from __future__ import annotations

from workings.chapters.darla.demo import run_protocol
from workings.chapters.darla.settings import Settings


def sweep_point(*, sample: int = 50, repeats: int = 500, seed: int = 0) -> dict[str, float]:
    """One point of ``workings sweep``: :func:`run_protocol` for samples of ``sample`` values."""
    return run_protocol(Settings(seed=seed, repeats=repeats, sample=sample))
