"""What the difficulties of many episodes look like: normality, agreement of networks, the share of the class set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from workings.checks import as_finite_array

SHAPIRO_MAX = 5000
"""Shapiro and Wilk's p-value is accurate up to this number of values."""


@dataclass(frozen=True)
class NormalityReport:
    """How normal a sample is: effect sizes, and a p-value that depends on ``n`` as much as on the shape.

    ``skew`` and ``excess_kurtosis`` are 0 for a normal; ``probability_plot_r`` is the correlation of the sorted sample with
    a normal's quantiles, 1 for a straight line; ``shapiro_p`` is None above 5,000 values.
    """

    n: int
    mean: float
    sd: float
    skew: float
    excess_kurtosis: float
    probability_plot_r: float
    shapiro_p: float | None


def normality_report(x: Any) -> NormalityReport:
    """:class:`NormalityReport` of a sample (n,), n >= 8. Moments divide by n, ``sd`` by n - 1.

    Raises ``ValueError`` for NaN, infinite values, fewer than 8 values, or a sample whose values are all equal.
    """
    x = as_finite_array(x, "x", ndim=1)
    if len(x) < 8:
        raise ValueError(f"x needs at least 8 values to say anything about their distribution, got {len(x)}.")
    if _flat(x):
        raise ValueError(f"all {len(x)} values of x equal {x[0]:.6g}; a constant has no shape to compare.")
    return NormalityReport(
        n=len(x),
        mean=float(x.mean()),
        sd=float(x.std(ddof=1)),
        skew=float(stats.skew(x)),
        excess_kurtosis=float(stats.kurtosis(x)),
        probability_plot_r=float(stats.probplot(x)[1][2]),
        shapiro_p=float(stats.shapiro(x).pvalue) if len(x) <= SHAPIRO_MAX else None,
    )


def rank_agreement(difficulties: Any) -> np.ndarray:
    """Spearman's rank correlations (M, M) between M scorings of the same episodes, ``difficulties`` (M, n), n >= 3.

    Ties get their mean rank. Raises ``ValueError`` for NaN and for a row that is constant, whose ranks mean nothing.
    """
    table = as_finite_array(difficulties, "difficulties", ndim=2)
    if table.shape[1] < 3:
        raise ValueError(f"difficulties needs at least 3 episodes (columns), got shape {table.shape}.")
    for i, row in enumerate(table):
        if _flat(row):
            raise ValueError(f"row {i} of difficulties is constant; it ranks no episode above another.")
    return np.atleast_2d(np.corrcoef(stats.rankdata(table, axis=1)))


def class_set_icc(difficulties: Any) -> float:
    """Share of the variance of the difficulty between class sets: the one-way intra-class correlation ICC(1).

    ``difficulties`` (G, R): G class sets, each with R episodes that differ only in their images (G, R >= 2). With the mean
    squares B between and W within the sets it is ``(B - W) / (B + (R - 1) W)``: 1 when only the classes count, about 0 when
    only the images do, and as low as ``-1/(R - 1)`` by chance. Shrout and Fleiss, Psychological Bulletin 86 (1979), 420-428.

    Raises ``ValueError`` for NaN, too few sets or episodes, or values that are all equal.
    """
    table = as_finite_array(difficulties, "difficulties", ndim=2)
    sets, repeats = table.shape
    if sets < 2 or repeats < 2:
        raise ValueError(f"difficulties needs at least 2 class sets with 2 episodes each, got shape {table.shape}.")
    if _flat(table):
        raise ValueError("all difficulties are equal; there is no variance to share out.")
    means = table.mean(axis=1)
    between = repeats * means.var(ddof=1)
    within = ((table - means[:, None]) ** 2).sum() / (sets * (repeats - 1))
    return float((between - within) / (between + (repeats - 1) * within))


def _flat(x: np.ndarray) -> bool:
    """Whether all values are one, up to rounding."""
    return bool(np.ptp(x) <= 1e-12 * np.abs(x).max())
