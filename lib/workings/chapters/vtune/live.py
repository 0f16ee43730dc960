"""What the live figure of the page (book/assets/live/vtune.js) is compared with: kernels and arguments."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from workings.language_models.binomial_tests import (
    binomial_tail_log10,
    critical_hits,
    shared_signature_log10_bound,
)


def log10_pmf(n: int, p0: float) -> np.ndarray:
    """log10 P(Bin(n, p0) = j) for j from 0 to ``n``, shape (n + 1,)."""
    return stats.binom.logpmf(np.arange(n + 1), n, p0) / math.log(10)


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    counts = ((0, 10), (1, 10), (3, 10), (10, 10), (7, 25), (31, 60), (60, 60))
    chances, guesses = (1e-12, 1e-4, 0.03, 0.75), (-5 * math.log10(26), -0.4)
    return {
        "tail": (binomial_tail_log10, [(*one, p0) for one in counts for p0 in chances]),
        "critical": (critical_hits, list(itertools.product((1, 10, 60), (1e-8, 1e-3, 0.2), (1e-6, 0.05)))),
        "shared": (
            lambda guess, k, n: float(shared_signature_log10_bound(guess, k, n)),
            [(guess, *one) for guess in guesses for one in counts],
        ),
        "pmf": (log10_pmf, [(1, 0.5), (10, 1e-4), (60, 1e-12), (60, 0.7)]),
    }
