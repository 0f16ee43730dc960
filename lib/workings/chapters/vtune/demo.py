"""The experiment of the chapter `vtune`: the share of intervals that hold the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from workings.chapters.vtune.settings import Settings
from workings.checks import as_int
from workings.language_models.vtune import interval
from workings.seeding import numpy_generator

BLOCK = 1000  # samples drawn at a time: memory does not grow with ``repeats``


def run_protocol(settings: Settings, watch: Callable[[Iterable[int]], Iterable[int]] = iter) -> dict[str, float]:
    """Over ``settings.repeats`` normal samples: the ``share`` of intervals that hold the truth, and their mean ``width``.

    ``watch`` may wrap the list of blocks in a progress bar.
    """
    repeats = as_int(settings.repeats, "repeats", minimum=1)
    sample = as_int(settings.sample, "sample", minimum=2)
    rng = numpy_generator(settings.seed, "vtune")
    held, width = 0, 0.0
    for first in watch(range(0, repeats, BLOCK)):
        mean, half = interval(rng.standard_normal((min(BLOCK, repeats - first), sample)))
        held += int((np.abs(mean) <= half).sum())
        width += float(2 * half.sum())
    return {"share": held / repeats, "width": width / repeats}
