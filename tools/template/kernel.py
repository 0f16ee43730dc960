"""Kernels of the chapter `{{slug}}`. Replace this example by what the paper teaches.

The example: the mean of a sample and its interval by Student's t.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from workings.checks import as_finite_array


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
