"""What the live figure of the page (book/assets/live/conformal_set_size.js) is compared with: kernels and arguments."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from workings.uncertainty.conformal import conformal_rank, threshold_exceedance
from workings.uncertainty.scores import residual_cum_factor
from workings.uncertainty.set_size import dkw_radius, expected_set_size_known, min_sample_for_interval
from workings.uncertainty.set_size_exact import expected_set_size_exact

LAWS = {"uniform": stats.uniform, "exponential": stats.expon, "normal": stats.halfnorm}


def exceedance(p: float, n: int, k: int) -> float:
    """:func:`threshold_exceedance` for a rank ``k``."""
    return threshold_exceedance(p, n, k=k)


def estimate(scores: Sequence[float], n: int, alpha: float, r_max: float, gamma: float) -> list[float]:
    """The estimate and both ends of its interval, for residual scores."""
    found = expected_set_size_known(scores, n, alpha, residual_cum_factor(), 0.0, r_max, gamma)
    return [found.point, found.lower, found.upper]


def truth(law: str, n: int, alpha: float) -> float:
    """The expected width where the law of the scores is known."""
    end = 1.0 if law == "uniform" else math.inf
    return expected_set_size_exact(LAWS[law].cdf, n, alpha, residual_cum_factor(), 0.0, end)


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    plans = ((10, 0.1), (9, 0.7), (149, 0.18), (200, 0.1), (1995, 0.02))
    scores = np.abs(np.random.default_rng(7).standard_normal(60)).round(2).tolist()  # 60 scores, some of them equal
    ranks = [(n, conformal_rank(n, alpha)) for n, alpha in plans]
    levels = (0.0, 1e-3, 0.3, 0.82, 0.9, 0.98, 1.0)
    samples = (scores, [0.0, 2.5], [1.5, 0.5, 1.5, 1.5])
    return {
        "rank": (conformal_rank, [*plans, (9, 0.05), (1999, 0.29)]),
        "exceedance": (exceedance, [(p, *one) for one in ranks for p in levels]),
        "radius": (dkw_radius, [(10, 0.1), (250, 0.01), (1995, 0.5)]),
        "wall": (min_sample_for_interval, [(0.1, 0.1), (0.02, 0.37)]),
        "estimate": (estimate, [(s, *plan, 8.0, gamma) for s in samples for plan in plans for gamma in (0.1, 0.45)]),
        "truth": (truth, [(law, *plan) for law, plan in itertools.product(LAWS, plans)]),
    }
