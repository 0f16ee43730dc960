"""What several seeds or episodes gave: mean, spread, and the error of the mean."""

from __future__ import annotations

from collections.abc import Iterable

from workings.checks import as_array


def mean_and_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 below the line) of ``values``, one per seed; the latter is 0 for a single one.

    Raises ``ValueError`` for no values or NaN.
    """
    array = as_array(values if hasattr(values, "__array__") else list(values), "values", ndim=1)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0


def standard_error(values: Iterable[float]) -> float:
    """Of the mean of two or more ``values``: their standard deviation (n - 1 below the line) over the root of their number.

    Raises ``ValueError`` for fewer than two values or NaN.
    """
    array = as_array(values if hasattr(values, "__array__") else list(values), "values", ndim=1)
    if len(array) < 2:
        raise ValueError("a standard error needs two values or more; give more seeds or episodes.")
    return float(array.std(ddof=1) / len(array) ** 0.5)
