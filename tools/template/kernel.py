"""Kernels of the chapter `{{slug}}`. Replace this example by what the paper teaches.

The example: the mean of a sample with its standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from workings.checks import as_finite_array
from workings.full_tier import Needs
from workings.tiers import Tiered


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
        lower={"repeats": "samples"},
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
