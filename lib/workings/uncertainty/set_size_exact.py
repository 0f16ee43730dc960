"""Exact expected size of conformal prediction sets for a known score distribution.

    E|C| = int_{r_min}^{r_max} B(G(r)) dLambda(r) = E[Lambda(tau)] - Lambda(r_min),    tau cut to [r_min, r_max]

The threshold is ``tau = G^-1(b)`` with ``b`` from ``Beta(k, n + 1 - k)``. Writing ``b`` as the quantile of a standard
normal ``z`` makes the integrand a smooth function under a bell curve, whatever ``n``; Gauss-Legendre panels on ``z``
then converge fast, and neither a singular ``Lambda`` (like ``r^(1/p)`` at 0) nor a long tail needs special care.

Source: Dhillon, Deligiannidis and Rainforth, "On the Expected Size of Conformal Prediction Sets", AISTATS 2024,
arXiv 2306.07254 (the formula); the change of variables is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import betaincc, betainccinv, betaincinv, ndtr, ndtri

from workings.checks import as_array, as_float
from workings.uncertainty.conformal import Level, conformal_rank, threshold_exceedance

Z_END = 9.0  # P(|z| > 9) = 2e-19
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def expected_set_size_exact(
    cdf: Callable[[np.ndarray], np.ndarray],
    n: int,
    alpha: Level,
    cum_factor: Callable[[np.ndarray], np.ndarray],
    r_min: float,
    r_max: float,
    rtol: float = 1e-11,
) -> float:
    """Expected size over calibration set and test point, in the units of ``cum_factor``.

    ``cdf``: continuous distribution function of the score; ``cum_factor``: ``Lambda(r)``, label space with score at
    most ``r``; both take and return arrays. ``r_max`` may be ``math.inf``. Oracles: uniform scores on [0, 1] with
    ``Lambda = 2r`` give ``2k/(n + 1)``; exponential scores give ``2 sum_{i=0}^{k-1} 1/(n - i)``. If ``k > n`` every
    set is everything: ``Lambda(r_max) - Lambda(r_min)``.

    Relative error about ``rtol`` (at best about 1e-12) where ``Lambda`` and ``cdf`` are smooth inside the range.
    Raises ``ValueError`` if the tail is too heavy for the integral to converge or if the panels do not settle.
    """
    r_min = as_float(r_min, "r_min")
    r_max = as_float(r_max, "r_max", minimum=r_min, finite=False)
    rtol = as_float(rtol, "rtol", minimum=0.0, maximum=1.0, open_ends=True)
    k = conformal_rank(n, alpha)
    base = _value(cum_factor, r_min, "cum_factor")
    if k > n:
        return _value(cum_factor, r_max, "cum_factor") - base
    z_low = _to_normal(_value(cdf, r_min, "cdf"), n, k)
    if math.isinf(r_max):
        z_high, beyond = Z_END, 0.0
    else:
        p_max = _value(cdf, r_max, "cdf")
        z_high = _to_normal(p_max, n, k)
        beyond = threshold_exceedance(p_max, n, k=k) * (_value(cum_factor, r_max, "cum_factor") - base)

    def integrand(z: np.ndarray) -> np.ndarray:
        p = np.where(z < 0, betaincinv(k, n + 1 - k, ndtr(z)), betainccinv(k, n + 1 - k, ndtr(-z)))
        r = _invert(cdf, np.minimum(p, 1 - 2.0**-53), r_min, r_max)
        gain = as_array(cum_factor(r), "cum_factor(r)") - base
        return gain * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)

    previous, panels = math.inf, 8
    while panels <= 1024:
        pieces = _panel_sums(integrand, z_low, z_high, panels)
        total = float(pieces.sum()) + beyond
        heavy = math.isinf(r_max) and pieces[-1] > 1e-9 * total  # the last panel should hold next to nothing
        if abs(total - previous) <= rtol * abs(total) and not heavy:
            return total
        previous, panels = total, 2 * panels
    if heavy:
        raise ValueError("the expected size does not converge: the tail of the score is too heavy; cut it at r_max.")
    raise ValueError(
        f"the integral did not settle to rtol={rtol:g}; cdf and cum_factor must be continuous and smooth inside "
        f"(r_min, r_max), or ask for a larger rtol."
    )


def _panel_sums(f: Callable[[np.ndarray], np.ndarray], a: float, b: float, panels: int) -> np.ndarray:
    """Gauss-Legendre sums of ``f`` on ``panels`` equal pieces of [a, b]: shape (panels,)."""
    edges = np.linspace(a, b, panels + 1)
    half = np.diff(edges)[:, None] / 2  # (panels, 1)
    z = edges[:-1, None] + half * (1 + NODES)  # (panels, nodes)
    return np.sum(f(z.ravel()).reshape(z.shape) * WEIGHTS * half, axis=1)


def _invert(cdf: Callable[[np.ndarray], np.ndarray], p: np.ndarray, r_min: float, r_max: float) -> np.ndarray:
    """Smallest levels with ``cdf(level) >= p``, by bisection to the last bit; ``r_max`` where there is none."""
    low = np.full_like(p, r_min)
    if math.isinf(r_max):
        step = 1.0
        while (_checked(cdf, low + step) < p).any():
            step *= 2.0
            if not math.isfinite(r_min + step):
                raise ValueError("cdf never reaches 1; it must be a distribution function.")
        high = low + step
    else:
        high = np.full_like(p, r_max)
    for _ in range(1100):  # halving reaches adjacent floating-point numbers long before
        middle = low + (high - low) / 2
        if not ((middle > low) & (middle < high)).any():
            break
        reached = _checked(cdf, middle) >= p
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    return high


def _to_normal(p: float, n: int, k: int) -> float:
    """Normal quantile of ``P(Beta <= p)``, cut to [-Z_END, Z_END]."""
    upper = float(betaincc(k, n + 1 - k, p))
    z = -ndtri(upper) if upper < 0.5 else ndtri(1.0 - upper)
    return float(np.clip(z, -Z_END, Z_END))


def _checked(cdf: Callable[[np.ndarray], np.ndarray], r: np.ndarray) -> np.ndarray:
    value = as_array(cdf(r), "cdf(r)")
    if value.shape != r.shape or (value < 0).any() or (value > 1).any():
        raise ValueError("cdf must return one probability in [0, 1] per level.")
    return value


def _value(function: Callable[[np.ndarray], np.ndarray], r: float, name: str) -> float:
    value = as_array(function(np.array([r])), f"{name}(r)", ndim=1)
    if name == "cdf" and not 0 <= value[0] <= 1:
        raise ValueError(f"cdf must be in [0, 1], got {float(value[0])!r}.")
    return float(value[0])
