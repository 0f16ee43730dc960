"""Split conformal prediction: which order statistic is the threshold, and how that order statistic behaves.

A fixed model gives every labelled point a score ``R = s(X, Y)``; a large score means a bad fit. The threshold of
split conformal prediction is one order statistic of ``n`` calibration scores,

    k = ceil((1 - alpha) (n + 1)),    tau = R_(k)  (the k-th smallest; +inf if k > n),

and the prediction set ``{y : s(x, y) <= tau}`` is closed. What is known about ``tau`` follows from ``k`` and ``n``:

    P(tau >= r) = B(G(r)),    B(p) = P(Binomial(n, p) <= k - 1) = P(Beta(k, n + 1 - k) > p),    G(r) = P(R < r).

Source: Dhillon, Deligiannidis and Rainforth, "On the Expected Size of Conformal Prediction Sets", AISTATS 2024,
arXiv 2306.07254.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.special import betainc

from workings.checks import as_array, as_int, as_probabilities, exact_decimal

LONG = 50_000  # scores from which bracketing the threshold pays
Level = float | str | Fraction | Decimal


def exact_level(alpha: Level, name: str = "alpha") -> Fraction:
    """The level as an exact fraction strictly between 0 and 1.

    A float (also NumPy's ``float32`` and ``float64``) stands for the shortest decimal that prints it, so ``0.1`` is
    one tenth and not the binary number beside it; so is ``1 - 0.9``, which misses it by rounding
    (:func:`workings.checks.exact_decimal`). Write ``"1/3"`` or ``Fraction(1, 3)`` for a level without a finite
    decimal. Raises ``ValueError`` outside (0, 1) or for text that is not a number, ``TypeError`` for other types.
    """
    if isinstance(alpha, (float, np.float32)) and 0 < alpha < 1:
        text = exact_decimal(float(alpha))
    elif isinstance(alpha, np.generic):
        text = np.format_float_positional(alpha) if isinstance(alpha, np.floating) else str(alpha)
    elif isinstance(alpha, (str, Fraction, Decimal, float, int)) and not isinstance(alpha, bool):
        text = str(alpha)
    else:
        raise TypeError(
            f"{name} must be a float, a string such as '0.1' or '1/10', a Fraction or a Decimal, "
            f"got {alpha!r} of type {type(alpha).__name__}."
        )
    try:
        level = Fraction(text)
    except (ValueError, ZeroDivisionError, InvalidOperation):
        raise ValueError(f"{name} must be a number in (0, 1), got {alpha!r}.") from None
    if not 0 < level < 1:
        raise ValueError(f"{name} must be in (0, 1), got {alpha!r}.")
    return level


def conformal_rank(n: int, alpha: Level) -> int:
    """Rank of the threshold among ``n`` calibration scores: ``k = ceil((1 - alpha)(n + 1))``, between 1 and ``n + 1``.

    ``k = n + 1`` means that no calibration score is large enough: the threshold is +infinity. The arithmetic is
    rational on the decimal value of ``alpha`` (:func:`exact_level`); in floating point the same formula is one too
    high for, e.g., ``(149, 0.18)`` and ``(9, 0.7)``. Raises ``ValueError`` for ``n < 1`` or ``alpha`` outside (0, 1).
    """
    n = as_int(n, "n", minimum=1)
    level = exact_level(alpha)
    return -((level.numerator - level.denominator) * (n + 1) // level.denominator)


def conformal_threshold(scores: Any, alpha: Level) -> np.ndarray | float:
    """The split conformal threshold: the ``k``-th smallest score along the last axis, +inf if ``k > n``.

    ``scores`` has shape (..., n): one calibration set a row. Returns shape (...), a ``float`` for one set. A score of
    +inf is allowed and means "fits no threshold". Raises ``ValueError`` for NaN, -inf or an empty array.
    """
    array = as_array(scores, "scores")
    if array.ndim == 0:
        raise ValueError("scores must have at least one dimension, got a single number; wrap it in a list.")
    if array.min() == -np.inf:
        raise ValueError("scores contains -inf; every score must be a number or +inf.")
    n = array.shape[-1]
    k = conformal_rank(n, alpha)
    if array.ndim == 1:
        return float(_kth_smallest(array, k)) if k <= n else math.inf
    if k > n:
        return np.full(array.shape[:-1], np.inf)
    return np.partition(array, k - 1, axis=-1)[..., k - 1]


def _kth_smallest(values: np.ndarray, k: int) -> float:
    """The ``k``-th smallest entry (counted from 1) of a one-dimensional array, exactly.

    In a long array, two entries of a sorted thin sample bracket it first (the idea of Floyd and Rivest), and only
    what lies between them is partitioned. A bracket that misses, possible for ordered data, is simply not used.
    """
    n = len(values)
    if n >= LONG:
        sample = np.sort(values[:: n // 4096])
        centre, reach = k * len(sample) // n, 2 * math.isqrt(len(sample))  # at least four standard errors of the rank
        low, high = sample[max(centre - reach, 0)], sample[min(centre + reach, len(sample) - 1)]
        below = np.count_nonzero(values < low)
        between = values[(values >= low) & (values <= high)]
        if below < k <= below + len(between):
            values, k = between, k - below
    return np.partition(values, k - 1)[k - 1]


def threshold_exceedance(G: Any, n: int, alpha: Level | None = None, *, k: int | None = None) -> np.ndarray | float:
    """Probability that the threshold reaches a level: ``B(G) = P(tau >= r)`` where ``G = P(R < r)``.

        B(p) = sum_{i=0}^{k-1} C(n, i) p^i (1 - p)^(n - i) = P(Beta(k, n + 1 - k) > p)

    ``G`` holds values of the *strict* distribution function, any shape, in [0, 1]; the result has the same shape
    (``float`` for a number). ``B`` decreases, ``B(0) = 1``, ``B(1) = 0`` (and ``B = 1`` throughout if ``k = n + 1``),
    and its integral over [0, 1] is ``k/(n + 1)``. Give ``alpha``, or the rank ``k`` itself.
    """
    n = as_int(n, "n", minimum=1)
    k = _rank(n, alpha, k)
    p = as_probabilities(G, "G")
    if k > n:
        value = np.ones_like(p)
    else:
        value = betainc(n + 1 - k, k, 1.0 - p)  # the tail of Beta(k, n + 1 - k), by symmetry
    return float(value) if p.ndim == 0 else value


def _rank(n: int, alpha: Level | None, k: int | None) -> int:
    """The rank from exactly one of ``alpha`` and ``k``."""
    if (alpha is None) == (k is None):
        raise ValueError("give exactly one of alpha and k.")
    return conformal_rank(n, alpha) if k is None else as_int(k, "k", minimum=1, maximum=n + 1)


@dataclass(frozen=True)
class CoverageDistribution:
    """Coverage of one calibrated predictor as a random variable: ``Beta(a, b)``; a point mass at 1 if ``b = 0``."""

    a: int
    b: int

    @property
    def mean(self) -> float:
        """``a/(a + b) = k/(n + 1)``: the coverage averaged over calibration sets."""
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        """``ab/((a + b)^2 (a + b + 1))``."""
        total = self.a + self.b
        return self.a * self.b / (total**2 * (total + 1))

    @property
    def std(self) -> float:
        """Square root of :attr:`variance`."""
        return self.variance**0.5

    def exceedance(self, level: Any) -> np.ndarray | float:
        """``P(coverage > level)`` for levels in [0, 1], any shape."""
        return threshold_exceedance(level, self.a + self.b - 1, k=self.a)


def coverage_distribution(n: int, alpha: Level) -> CoverageDistribution:
    """Distribution, over calibration sets of ``n`` continuous scores, of the coverage of the resulting predictor.

    ``Beta(k, n + 1 - k)`` with ``k`` from :func:`conformal_rank`: a threshold at the ``k``-th order statistic covers
    ``F(R_(k))``, the ``k``-th of ``n`` uniform order statistics. Tied scores can only raise the coverage.
    """
    n = as_int(n, "n", minimum=1)
    k = conformal_rank(n, alpha)
    return CoverageDistribution(a=k, b=n + 1 - k)
