"""Repeated recalibration on cached scores: the Monte-Carlo reference for the expected set size.

The model is fixed and every held-out point is scored once; one repeat only re-draws which of the points calibrate and
which test. This is the experiment that one sample of scores is claimed to replace.

Source: protocol of Dhillon, Deligiannidis and Rainforth (AISTATS 2024, arXiv 2306.07254) and their code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workings.checks import as_array, as_finite_array, as_int, as_numpy_generator
from workings.uncertainty.conformal import Level, conformal_rank

SizeFunction = Callable[[float], Any]


@dataclass(frozen=True)
class MonteCarloSize:
    """One entry per repeat, shape (repeats,): threshold, mean set size and coverage on the test points.

    Repeats share the same points, so they are not independent: the spread of ``sizes`` is the spread over splits of
    these points, and does not shrink to a standard error by the root of ``repeats``.
    """

    thresholds: np.ndarray
    sizes: np.ndarray
    coverages: np.ndarray

    @property
    def mean_size(self) -> float:
        """Monte-Carlo average of the set size."""
        return float(self.sizes.mean())

    @property
    def mean_coverage(self) -> float:
        """Average share of test points whose set holds the true label."""
        return float(self.coverages.mean())


def resplit(n_total: int, n_cal: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random split of ``0..n_total-1`` into ``n_cal`` calibration indices and the remaining test indices.

    Raises ``ValueError`` unless ``1 <= n_cal < n_total``.
    """
    n_total = as_int(n_total, "n_total", minimum=2)
    n_cal = as_int(n_cal, "n_cal", minimum=1, maximum=n_total - 1)
    order = as_numpy_generator(generator).permutation(n_total)
    return order[:n_cal], order[n_cal:]


def monte_carlo_size(
    scores: Any,
    n_cal: int,
    alpha: Level,
    repeats: int,
    generator: np.random.Generator,
    *,
    all_scores: Any = None,
    size_function: SizeFunction | None = None,
) -> MonteCarloSize:
    """Set size and coverage over ``repeats`` random calibration splits of cached scores.

    ``scores`` (N,): scores of the true labels. Give one of

    - ``all_scores`` (N, L): scores of every label; a point's size is its number of scores at most the threshold;
    - ``size_function``: takes the threshold and returns the set size, a number (the same for all points, e.g.
      ``residual_cum_factor()``) or one per point, shape (N,), e.g. ``lambda tau: interval_size(lo, hi, tau)``. With
      ``k > n_cal`` the threshold is +inf, and so may be the size.

    Each repeat costs O(N) (or O(NL)) time; memory beside the inputs is that of one repeat.
    """
    scores = as_finite_array(scores, "scores", ndim=1)
    total, repeats = len(scores), as_int(repeats, "repeats", minimum=1)
    if (all_scores is None) == (size_function is None):
        raise ValueError("give exactly one of all_scores and size_function.")
    if all_scores is not None:
        table = as_finite_array(all_scores, "all_scores", ndim=2)
        if len(table) != total:
            raise ValueError(f"all_scores must have one row per score ({total}), got {len(table)} rows.")
    k = conformal_rank(n_cal, alpha)
    thresholds, sizes, coverages = np.empty(repeats), np.empty(repeats), np.empty(repeats)
    for repeat in range(repeats):
        cal, test = resplit(total, n_cal, generator)
        tau = float(np.partition(scores[cal], k - 1)[k - 1]) if k <= n_cal else np.inf
        if size_function is None:
            sizes[repeat] = np.count_nonzero(table[test] <= tau) / len(test)
        else:
            sizes[repeat] = _mean_size(size_function(tau), test, total)
        thresholds[repeat] = tau
        coverages[repeat] = np.mean(scores[test] <= tau)
    return MonteCarloSize(thresholds, sizes, coverages)


def _mean_size(size: Any, test: np.ndarray, total: int) -> float:
    size = as_array(size, "size_function(tau)", ndim=(0, 1))
    if size.ndim == 1 and len(size) != total:
        raise ValueError(f"size_function must return a number or one size per point ({total}), got {len(size)}.")
    if (size < 0).any():
        raise ValueError(f"size_function must return sizes of at least 0, got {float(size.min())!r}; clip it.")
    return float(size) if size.ndim == 0 else float(size[test].mean())
