"""Expected size of conformal prediction sets: exact for a known score distribution, estimated from one sample.

Set at level ``alpha`` from ``n`` calibration scores: ``C(x) = {y : s(x, y) <= tau}``. Over calibration set and test
point its expected size integrates, over score levels ``r``, the probability that the threshold reaches ``r`` against
the label space that sits at ``r``:

    E|C| = int B(G(r)) dLambda(r) = E_X sum_y w B(G(s(X, y))),    G(r) = P(R < r),    B = threshold_exceedance

``Lambda(r)`` is the (known) amount of label space with score at most ``r``; the second form needs no such factor. The
estimators put the empirical distribution in the place of ``G`` (a point) and a DKW band around it (an interval;
raising ``G`` shrinks the set, so the raised band gives the *lower* end). The sample of ``m`` scores may be used for
any ``n`` and ``alpha``; it may be the calibration set itself, since the strict inequality keeps a point's own score
from counting against it.

Source: Dhillon, Deligiannidis and Rainforth, "On the Expected Size of Conformal Prediction Sets", AISTATS 2024,
arXiv 2306.07254, and the estimators of their code. The exact integral for a known distribution is in
``set_size_exact``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workings.checks import as_finite_array, as_float, as_int, as_probability, one_of
from workings.uncertainty.conformal import Level, conformal_rank, exact_level, threshold_exceedance

CumFactor = Callable[[np.ndarray], np.ndarray]
CHUNK = 1 << 18  # labels searched at a time: bounds the working memory at a few MB


@dataclass(frozen=True)
class SetSizeEstimate:
    """Estimate of an expected set size; ``lower`` and ``upper`` are ``None`` when no interval was asked for."""

    point: float
    lower: float | None = None
    upper: float | None = None

    def contains(self, size: float) -> bool:
        """Whether ``lower <= size <= upper``."""
        if self.lower is None or self.upper is None:
            raise ValueError("this estimate has no interval; pass gamma to the estimator.")
        return self.lower <= size <= self.upper


@dataclass(frozen=True)
class Staircase:
    """The plug-in integrand as a staircase; cell ``j`` spans ``(edges[j], edges[j + 1]]``, its area is the estimate.

    ``edges`` (m + 2,): ``r_min``, the sorted scores, ``r_max``. ``cumulative`` (m + 2,): ``Lambda(edges)``.
    ``point``, ``lower``, ``upper`` (m + 1,): height of each cell, a probability; the last two may be ``None``.
    """

    edges: np.ndarray
    cumulative: np.ndarray
    point: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None

    def estimate(self) -> SetSizeEstimate:
        """Area under each staircase: ``sum_j height_j [Lambda(edges_(j+1)) - Lambda(edges_j)]``."""
        cells = np.diff(self.cumulative)
        areas = [None if h is None else float(h @ cells) for h in (self.point, self.lower, self.upper)]
        return SetSizeEstimate(*areas)


def dkw_radius(m: int, gamma: float) -> float:
    """Half-width of the Dvoretzky-Kiefer-Wolfowitz band: ``sqrt(ln(2/gamma) / (2m))`` (Massart's constant).

    With probability at least ``1 - gamma`` the empirical distribution function of ``m`` i.i.d. values is nowhere
    further than this from the true one.
    """
    return _hoeffding(as_int(m, "m", minimum=1), as_probability(gamma, "gamma"))


def min_sample_for_interval(alpha: Level, gamma: float) -> int:
    """Smallest ``m`` with ``dkw_radius(m, gamma) < alpha``, i.e. ``m > ln(2/gamma) / (2 alpha^2)``: 150 at 0.1, 0.1.

    The last cell of the upper staircase, which ends at ``r_max`` (or holds all labels), has the height
    ``B(1 - dkw_radius(m, gamma))``. For large ``n`` that is near one below this ``m``, near zero well above it and
    about one half at it: the midpoint of the descent of the upper end, not its beginning. For small ``n`` the
    descent begins earlier and ends later. The lower end has no such limit.
    """
    alpha = float(exact_level(alpha))
    return math.floor(math.log(2.0 / as_probability(gamma, "gamma")) / (2.0 * alpha**2)) + 1


def staircase(
    scores: Any,
    n: int,
    alpha: Level,
    cum_factor: CumFactor,
    r_min: float,
    r_max: float,
    gamma: float | None = None,
) -> Staircase:
    """Heights ``B(G_hat(r))`` of the plug-in integrand on the cells between the sorted scores (continuous scores).

    ``scores`` (m,) in ``[r_min, r_max]``; ``G_hat(r)`` is the share of scores strictly below ``r``, constant on each
    cell, so the area has no quadrature error. ``gamma`` adds the band ``G_hat +- dkw_radius(m, gamma)``, clipped to
    [0, 1]. ``cum_factor`` is the non-decreasing ``Lambda``, taking and returning arrays, e.g.
    ``residual_cum_factor()``. Raises ``ValueError`` for scores outside ``[r_min, r_max]``: they would enter with
    cells of negative length.
    """
    ordered = np.sort(as_finite_array(scores, "scores", ndim=1))
    r_min = as_float(r_min, "r_min")
    r_max = as_float(r_max, "r_max", minimum=r_min)
    if ordered[0] < r_min or ordered[-1] > r_max:
        raise ValueError(
            f"scores must be in [r_min, r_max] = [{r_min:g}, {r_max:g}], got values from {ordered[0]:g} to "
            f"{ordered[-1]:g}; choose bounds that hold for every score the model can produce."
        )
    edges = np.concatenate([[r_min], ordered, [r_max]])
    heights = _exceedance_table(len(ordered), n, alpha, gamma)
    below = np.searchsorted(ordered, edges[1:], side="left")  # scores strictly below each cell's right end
    return Staircase(edges, _cumulative(cum_factor, edges), *(h if h is None else h[below] for h in heights))


def expected_set_size_known(
    scores: Any,
    n: int,
    alpha: Level,
    cum_factor: CumFactor,
    r_min: float,
    r_max: float,
    gamma: float | None = None,
) -> SetSizeEstimate:
    """Estimated expected size for a continuous score with known cumulative factor ``Lambda``: area of the staircase.

        S_hat = sum_{j=1}^{m+1} B(G_hat(r_(j))) [Lambda(r_(j)) - Lambda(r_(j-1))],   r_(0) = r_min, r_(m+1) = r_max

    Arguments as in :func:`staircase`; the result is in the units of ``Lambda``. With ``gamma`` the interval holds the
    expected size with probability at least ``1 - gamma``, for all ``n`` and ``alpha`` at once.
    """
    return staircase(scores, n, alpha, cum_factor, r_min, r_max, gamma).estimate()


def expected_set_size_discrete(
    scores: Any, levels: Any, factors: Any, n: int, alpha: Level, gamma: float | None = None
) -> SetSizeEstimate:
    """Estimated expected size for a score with finitely many values: ``sum_r B(G_hat(r)) #(r)``.

    ``levels`` (L,): all values the score can take, increasing. ``factors`` (L,): label space at each level, at least
    0. ``scores`` (m,): observed values, each one of the levels. 0-1 score with ``K`` classes: ``levels = [0, 1]``,
    ``factors = [1, K - 1]``, giving ``1 + (K - 1) B(accuracy)``. The interval is as in
    :func:`expected_set_size_known`.
    """
    ordered = np.sort(as_finite_array(scores, "scores", ndim=1))
    levels = as_finite_array(levels, "levels", ndim=1)
    factors = as_finite_array(factors, "factors", ndim=1)
    if levels.shape != factors.shape:
        raise ValueError(f"levels and factors must pair up, got {len(levels)} levels and {len(factors)} factors.")
    if (np.diff(levels) <= 0).any():
        raise ValueError(f"levels must be strictly increasing, got {levels.tolist()}; sort them and drop repeats.")
    if (factors < 0).any():
        raise ValueError(f"factors must be at least 0, got {float(factors.min())!r}.")
    if not np.isin(ordered, levels).all():
        stray = float(ordered[~np.isin(ordered, levels)][0])
        raise ValueError(f"scores must all be among levels, got {stray!r}; add the missing level and its factor.")
    below = np.searchsorted(ordered, levels, side="left")
    heights = _exceedance_table(len(ordered), n, alpha, gamma)
    return SetSizeEstimate(*(h if h is None else float(h[below] @ factors) for h in heights))


def expected_set_size_unknown(
    cal_scores: Any,
    all_scores: Any,
    n: int,
    alpha: Level,
    weight: Any = 1.0,
    gamma: float | None = None,
    outer_gamma: float | None = None,
    max_size: float | None = None,
) -> SetSizeEstimate:
    """Estimated expected size when the label space at a score level is not known: an average over points.

        S_hat = mean_i sum_y w_y B(G_hat(s(X_i, y)))

    ``cal_scores`` (m,): scores of the true labels, defining ``G_hat``. ``all_scores`` (m', L): scores of every label
    (or of the ``L`` cells of a label grid) at ``m'`` points, usually the same ones. ``weight``: label space of one
    entry, a number or shape (L,); 1 for classes, the cell width for a grid. Time O((m + m'L) log m), memory
    O(m + m'L) for the inputs and a few MB beside them: ``B`` is evaluated at the ``m + 1`` values ``G_hat`` can take
    and weighted by how much label space has that rank.

    ``gamma`` gives the paper's interval: it covers the error of ``G_hat``, but not the averaging over ``X_i``.
    ``outer_gamma`` is **this collection's own** addition: by Hoeffding's inequality both ends move out by
    ``V sqrt(ln(2/outer_gamma) / (2m'))``, ``V = max_size`` or the total weight, and the interval holds the expected
    size with probability at least ``1 - gamma - outer_gamma`` (rows i.i.d.). It is then cut to ``[0, V]``.
    """
    ordered = np.sort(as_finite_array(cal_scores, "cal_scores", ndim=1))
    table = as_finite_array(all_scores, "all_scores", ndim=2)
    rows, labels = table.shape
    weights = as_finite_array(weight, "weight", ndim=(0, 1))
    if weights.ndim == 1 and len(weights) != labels:
        raise ValueError(f"weight must be a number or one per label ({labels}), got shape {weights.shape}.")
    if (weights < 0).any():
        raise ValueError(f"weight must be at least 0, got {float(weights.min())!r}.")
    mass = _mass_by_rank(ordered, table, weights) / rows
    heights = _exceedance_table(len(ordered), n, alpha, gamma)
    point, lower, upper = (None if h is None else float(h @ mass) for h in heights)
    if outer_gamma is None:
        if max_size is not None:
            raise ValueError("max_size is only used by the wider interval; give outer_gamma too, or leave it out.")
        return SetSizeEstimate(point, lower, upper)
    if gamma is None:
        raise ValueError("outer_gamma widens the interval of gamma; give gamma too.")
    total = float(np.broadcast_to(weights, (labels,)).sum())
    largest = total if max_size is None else as_float(max_size, "max_size", minimum=0.0, maximum=total)
    if point > largest * (1 + 1e-9):
        raise ValueError(f"max_size must bound the size of every set, got {largest:g} below the estimate {point:g}.")
    margin = largest * _hoeffding(rows, as_probability(outer_gamma, "outer_gamma"))
    return SetSizeEstimate(point, max(lower - margin, 0.0), min(upper + margin, largest))


def _mass_by_rank(ordered: np.ndarray, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Label space by number of calibration scores strictly below: shape (m + 1,), summed over rows and labels."""
    mass = np.zeros(len(ordered) + 1)
    step = max(1, CHUNK // table.shape[1])
    for start in range(0, len(table), step):
        part = table[start : start + step]
        rank = np.searchsorted(ordered, part.ravel(), side="left")  # (rows * L,)
        if weights.ndim == 0:
            mass += np.bincount(rank, minlength=len(mass)) * weights
        else:
            mass += np.bincount(rank, weights=np.broadcast_to(weights, part.shape).ravel(), minlength=len(mass))
    return mass


def _exceedance_table(
    m: int, n: int, alpha: Level, gamma: float | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """``B`` at ``j/m``, ``min(j/m + delta, 1)`` and ``max(j/m - delta, 0)`` for ``j = 0..m``: point, lower, upper."""
    k = conformal_rank(n, alpha)
    G = np.arange(m + 1) / m
    point = threshold_exceedance(G, n, k=k)
    if gamma is None:
        return point, None, None
    delta = dkw_radius(m, gamma)
    lower = threshold_exceedance(np.minimum(G + delta, 1.0), n, k=k)
    upper = threshold_exceedance(np.maximum(G - delta, 0.0), n, k=k)
    return point, lower, upper


def _hoeffding(m: int, gamma: float) -> float:
    return math.sqrt(math.log(2.0 / gamma) / (2.0 * m))


def _cumulative(cum_factor: CumFactor, edges: np.ndarray) -> np.ndarray:
    values = as_finite_array(cum_factor(edges), "cum_factor(r)")
    if values.shape != edges.shape:
        raise ValueError(f"cum_factor must return one value per level, got shape {values.shape} for {edges.shape}.")
    if (np.diff(values) < 0).any():
        raise ValueError("cum_factor must not decrease: it is the amount of label space with score at most r.")
    return values


def estimate_classes(
    kind: str, own: np.ndarray, table: np.ndarray, n: int, alpha: float, gamma: float | None = None
) -> SetSizeEstimate:
    """Expected number of classes under ``kind``: the known factor (1, K - 1) for 0-1, else the unknown-factor estimate.

    ``own`` (m,): scores of the true labels. ``table`` (m, K): scores of every label at the same points.
    """
    if one_of(kind, "kind", ("zero_one", "lac", "aps")) == "zero_one":
        return expected_set_size_discrete(own, [0.0, 1.0], [1.0, table.shape[1] - 1.0], n, alpha, gamma)
    return expected_set_size_unknown(own, table, n, alpha, gamma=gamma)
