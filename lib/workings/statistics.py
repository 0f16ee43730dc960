"""What several seeds gave, in two numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def mean_and_sd(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1 below the line) of ``values``, one a seed; the latter is 0 for a single one."""
    array = np.array(list(values), dtype=np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0
