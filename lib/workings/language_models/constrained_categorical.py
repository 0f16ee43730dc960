"""The smallest constrained problem that has everything: a distribution close to p whose mean obeys a bound. In closed form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from workings.checks import as_finite_array, as_float, as_probabilities, one_of

SENSES = ("at_most", "at_least")


class ConstrainedCategorical(NamedTuple):
    """The solution ``pi`` (L,), its ``mean``, the constraint's ``multiplier``, the ``excess`` and the largest ``residual``.

    ``excess`` is ``-sum p log(pi / p)`` in nats, what the constraint costs. ``residual`` is by how much the conditions of optimality are missed.
    """

    pi: np.ndarray
    mean: float
    multiplier: float
    excess: float
    residual: float


def solve_constrained_categorical(
    p: Any, values: Any, bound: float, sense: str = "at_most", *, mu: float = 0.0
) -> ConstrainedCategorical:
    """Minimise ``-sum_l p_l log pi_l`` over distributions ``pi`` with ``sum_l pi_l values_l`` at most (or at least) ``bound``.

    With ``mu = 0`` the constraint is kept exactly, and ``pi_l = p_l / (1 + lambda (v_l - bound))``, with ``lambda = 0`` where p
    itself obeys it. With ``mu > 0`` the log barrier ``-mu log(bound - mean)`` takes its place:
    ``pi_l = p_l / (1 + lambda (v_l - mean))`` and ``lambda = mu / (bound - mean)``. The excess is then at most ``mu`` above that of
    ``mu = 0``, to which all tends as ``mu`` falls. (``sense="at_least"`` is the same with the signs of values and bound turned.)

    ``p`` (L,) sums to 1; outcomes of probability 0 stay at 0. ``values`` (L,) are finite. Raises ``ValueError`` for shapes that differ,
    for a negative ``mu``, and for a bound that no distribution with all of p's outcomes can keep.
    """
    p = as_probabilities(p, "p", ndim=1)
    v = as_finite_array(values, "values", ndim=1)
    one_of(sense, "sense", SENSES)
    bound = as_float(bound, "bound")
    mu = as_float(mu, "mu", minimum=0.0)
    if v.shape != p.shape:
        raise ValueError(f"p and values must have one shape, got {p.shape} and {v.shape}.")
    if abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"p must sum to 1, got {p.sum():.9g}; divide it by its sum.")
    p = p / p.sum()
    sign = 1.0 if sense == "at_most" else -1.0
    keep = p > 0
    weights, v, b = p[keep], sign * v[keep], sign * bound
    least = v.min()
    if b <= least:
        side, word = ("above", "smallest") if sense == "at_most" else ("below", "largest")
        raise ValueError(
            f"bound must be {side} {sign * least:g}, the {word} value that p allows, got {bound:g}: the mean of a "
            "distribution that keeps every outcome cannot reach it."
        )
    free = mu == 0 and float(weights @ v) <= b
    # u = 1 - lambda (centre - least) is the denominator at the smallest value: it stays away from 0, so nothing cancels.
    weight = lambda u: (1 - u + mu) / (b - least)
    centre = lambda u: b - mu * (b - least) / (1 - u + mu) if mu else b
    shape = lambda u: weights / (u + weight(u) * (v - least))
    gap = lambda u: float(shape(u) @ (v - centre(u)))
    smallest = float(weights[v == least].sum())
    at = 1.0 if free or smallest == 1.0 else brentq(gap, smallest, 1.0, xtol=1e-300, rtol=1e-15, maxiter=500)
    lam = weight(at)
    found = shape(at)
    found = found / found.sum()  # one up to rounding; a sum that is off would move the mean
    pi = np.zeros_like(p)
    pi[keep] = found
    mean = float(found @ v)
    return ConstrainedCategorical(
        pi,
        sign * mean,
        float(lam),
        float(-(weights * np.log(found / weights)).sum()),
        _residual(weights, v, b, mu, found, lam),
    )


def _residual(p: np.ndarray, v: np.ndarray, bound: float, mu: float, pi: np.ndarray, lam: float) -> float:
    """How far (pi, lambda) misses: sum one, stationarity, the bound, and ``lambda (bound - mean) = mu``."""
    mean, scale = float(pi @ v), float(np.ptp(v)) or 1.0
    where = bound if mu == 0 else mean
    return float(
        max(
            abs(pi.sum() - 1),
            np.abs(pi * (1 + lam * (v - where)) - p).max(),
            max(0.0, (mean - bound) / scale),
            abs(lam * (bound - mean) - mu) / max(1.0, mu),
        )
    )
