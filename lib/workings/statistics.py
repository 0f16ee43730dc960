"""What several seeds gave, in two numbers."""

from __future__ import annotations

from collections.abc import Iterable

from workings.checks import as_array


def mean_and_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 below the line) of ``values``, one per seed; the latter is 0 for a single one.

    Raises ``ValueError`` for no values or NaN.
    """
    array = as_array(list(values), "values", ndim=1)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0
