"""Kernels of the chapter `{{slug}}`. Replace this example by what the paper teaches.

The example: the mean of a sample, its interval by Student's t, and the share of intervals that hold the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from workings.checks import as_finite_array, as_int
from workings.full_tier import Needs
from workings.progress import progress
from workings.seeding import numpy_generator
from workings.tiers import Tiered

BLOCK = 1000  # samples drawn at a time: memory does not grow with ``repeats``


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter."""

    seed: int = 0
    repeats: int = 2000
    sample: int = 50
    needs: ClassVar[Needs] = Needs(
        paper="20,000 samples",
        gpu=None,  # or "one CUDA GPU with about 8 GB", with what is run in its place where there is none:
        shortened=None,
        settings=("{{slug}}.Settings",),
        lower={"sample": "values in a sample"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        return cls(repeats=100 if dry_run else 20_000)


def mean_and_standard_error(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error along the last axis: ``mean(x)`` and ``sd(x)/sqrt(n)`` with ``n - 1`` in the variance.

    ``x`` has shape (..., n) with ``n >= 2``; both results have shape (...). Raises ``ValueError`` for NaN, an
    infinite value or fewer than two values.
    """
    x = as_finite_array(x, "x")
    if x.ndim == 0 or x.shape[-1] < 2:
        raise ValueError(f"x needs at least 2 values along its last axis, got shape {x.shape}.")
    return x.mean(-1), x.std(-1, ddof=1) / np.sqrt(x.shape[-1])


def interval(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval for the mean along the last axis: mean and half-width, each of shape (...).

    The half-width is the 97.5% quantile of Student's t with ``n - 1`` degrees of freedom, times the standard error.
    """
    mean, error = mean_and_standard_error(x)
    return mean, stats.t.ppf(0.975, np.shape(x)[-1] - 1) * error


def run_protocol(settings: Settings, watch: Callable[[Iterable[int]], Iterable[int]] = iter) -> dict[str, float]:
    """Over ``settings.repeats`` normal samples: the ``share`` of intervals that hold the truth, and their mean ``width``.

    ``watch`` may wrap the list of blocks in a progress bar.
    """
    repeats = as_int(settings.repeats, "repeats", minimum=1)
    sample = as_int(settings.sample, "sample", minimum=2)
    rng = numpy_generator(settings.seed, "{{slug}}")
    held, width = 0, 0.0
    for first in watch(range(0, repeats, BLOCK)):
        mean, half = interval(rng.standard_normal((min(BLOCK, repeats - first), sample)))
        held += int((np.abs(mean) <= half).sum())
        width += float(2 * half.sum())
    return {"share": held / repeats, "width": width / repeats}


@Settings.needs.guard
def full_protocol(settings: Settings) -> dict[str, float]:
    """:func:`run_protocol` behind a progress bar; a memory that runs out is answered with the setting to lower."""
    return run_protocol(settings, watch=lambda blocks: progress(blocks, "blocks of samples"))


def sweep_point(*, sample: int = 50, repeats: int = 500, seed: int = 0) -> dict[str, float]:
    """One point of ``workings sweep``: :func:`run_protocol` for samples of ``sample`` values."""
    return run_protocol(Settings(seed=seed, repeats=repeats, sample=sample))
