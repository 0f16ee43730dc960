"""The experiment that `workings sweep conformal_set_size` maps over a grid: the estimate on half-normal scores."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from workings.checks import as_int
from workings.seeding import numpy_generator
from workings.uncertainty.set_size import (
    expected_set_size_known,
)
from workings.uncertainty.set_size_exact import expected_set_size_exact


def sweep_point(
    *, m: int = 200, n: int = 200, alpha: float = 0.1, gamma: float = 0.1, sets: int = 200, seed: int = 0
) -> dict[str, float]:
    """One point of ``workings sweep``: the estimate on ``sets`` samples of ``m`` half-normal scores, beside the truth.

    The toy of the chapter: prediction intervals of width ``2 r`` for absolute residuals of a standard normal. Gives
    the exact expected width ``truth``, the ``mean`` and ``sd`` of the estimates, and ``misses``, the share of
    samples whose interval at ``gamma`` leaves the truth out.
    """
    width, largest = (lambda r: 2.0 * r), 8.0
    truth = expected_set_size_exact(stats.halfnorm.cdf, n, alpha, width, 0.0, math.inf)
    generator = numpy_generator(seed, "sweep", "half-normal")
    samples = np.abs(generator.standard_normal((as_int(sets, "sets", minimum=2), as_int(m, "m", minimum=1))))
    found = [expected_set_size_known(sample, n, alpha, width, 0.0, largest, gamma) for sample in samples]
    misses = [not one.lower <= truth <= one.upper for one in found]
    points = np.array([one.point for one in found])
    return {
        "truth": float(truth),
        "mean": float(points.mean()),
        "sd": float(points.std(ddof=1)),
        "misses": float(np.mean(misses)),
    }
