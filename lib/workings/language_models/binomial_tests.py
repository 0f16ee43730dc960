"""How surprising are k hits in n queries? Exact binomial tails in log10, where double precision has long given up.

A *hit* is a query whose answer shows a secret phrase. Under the null hypothesis each query is a hit with a known
probability, often so small that the p-value is far below 1e-308, the least that a double can hold. So every p-value here
is a log10. Natural logarithms are used inside; sums are taken relative to their largest term.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from workings.checks import as_array, as_finite_array, as_float, as_int, as_probabilities, as_probability, one_of

_LN10 = math.log(10.0)
_ROUNDING = 1e-12  # of log10: below it two p-values are the same
_CELLS = 4_000_000  # terms of a sum held at a time
SIDES = ("two-sided", "lower", "upper")


def _whole(x: Any, name: str, minimum: int) -> np.ndarray:
    """``x`` as int64, for whole numbers of any type."""
    array = as_finite_array(x, name)
    if (array != np.round(array)).any():
        raise ValueError(f"{name} must be whole numbers, got {array[array != np.round(array)].flat[0]:g}.")
    if array.min() < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {array.min():g}.")
    if array.max() > 2**53:
        raise ValueError(f"{name} must be at most 2**53, got {array.max():g}.")
    return array.astype(np.int64)


def _hits(k: Any, n: Any) -> tuple[np.ndarray, np.ndarray]:
    """``k`` and ``n`` broadcast against each other, 0 <= k <= n."""
    k, n = _whole(k, "k", 0), _whole(n, "n", 1)
    try:
        k, n = np.broadcast_arrays(k, n)
    except ValueError:
        raise ValueError(f"k and n must have shapes that fit together, got {k.shape} and {n.shape}.") from None
    if (k > n).any():
        place = np.unravel_index(np.argmax(k > n), k.shape)
        raise ValueError(f"k must be at most n, got {k[place]} hits in {n[place]} queries; count the queries again.")
    return k, n


def binomial_tail_log10(k: Any, n: Any, p0: Any) -> np.ndarray:
    r"""log10 of P(Bin(n, p0) >= k): ``k`` hits or more in ``n`` independent queries, each a hit with probability ``p0``.

    .. math:: p = \sum_{j=k}^{n} \binom{n}{j} p_0^j (1-p_0)^{n-j}

    ``k``, ``n`` (whole numbers, 0 <= k <= n, n >= 1) and ``p0`` in [0, 1] broadcast; the result has their shape, float64, at
    most 0, and -inf only where the tail is exactly 0 (p0 = 0 and k > 0). Error: below 1e-10 for n up to 1,000 and p0
    down to 1e-12, and it grows like ``1e-15 n log(n / p0)``. Values of k with the same n and
    p0 share one sum of at most n + 1 terms.

    ``scipy.stats.binom.logsf`` gives -inf below about 1e-308. Raises ``ValueError`` outside these ranges and for NaN.
    """
    if (type(k), type(n), type(p0)) == (int, int, float) and 0 <= k <= n > 0 and 0.0 <= p0 <= 1.0:
        return np.asarray(_one_tail(k, n, p0))  # the checks of arrays take longer than the sum
    k, n = _hits(k, n)
    p0 = as_probabilities(p0, "p0")
    try:
        k, n, p0 = np.broadcast_arrays(k, n, p0)
    except ValueError:
        raise ValueError(f"p0 must have a shape that fits k and n, got {p0.shape} and {k.shape}.") from None
    hits, queries, chance = k.ravel(), n.ravel(), p0.ravel()
    _, first, group = np.unique(queries + 1j * chance, return_index=True, return_inverse=True)  # pairs, as one number
    tails = np.empty(len(hits))
    for number, place in enumerate(first):  # one sum serves all numbers of hits with the same n and p0
        members = np.flatnonzero(group == number)
        tails[members] = _tails(hits[members], int(queries[place]), float(chance[place]))
    return tails.reshape(k.shape)


def _tails(hits: np.ndarray, n: int, p: float) -> np.ndarray:
    """log10 P(Bin(n, p) >= k) for each k of ``hits``."""
    low = int(hits.min())
    if len(hits) == 1 or p in (0.0, 1.0) or n - low >= _CELLS:
        return np.array([_one_tail(k, n, p) for k in hits.tolist()])
    from_top = np.logaddexp.accumulate(_log_terms(low, n + 1, n, p)[::-1])[::-1]
    return np.where(hits == 0, 0.0, np.minimum(from_top[hits - low] / _LN10, 0.0))


def _log_terms(start: int, stop: int, n: int, p: float) -> np.ndarray:
    """ln P(Bin(n, p) = j) for j from ``start`` to ``stop - 1``, p strictly between 0 and 1."""
    j = np.arange(start, stop, dtype=np.float64)
    choose = math.lgamma(n + 1) - special.gammaln(j + 1) - special.gammaln(n - j + 1)
    return choose + j * math.log(p) + (n - j) * math.log1p(-p)


def _one_tail(k: int, n: int, p: float) -> float:
    """log10 P(Bin(n, p) >= k) for numbers."""
    if k == 0 or p == 1.0:
        return 0.0
    if p == 0.0:
        return -math.inf
    total = -math.inf
    for start in range(k, n + 1, _CELLS):
        terms = _log_terms(start, min(start + _CELLS, n + 1), n, p)
        most = max(float(terms.max()), total)
        total = most + math.log(float(np.exp(terms - most).sum()) + math.exp(total - most))
    return min(total / _LN10, 0.0)


def poisson_binomial_tail_log10(k: int, probs: Any = None, *, log10_probs: Any = None) -> np.ndarray:
    r"""log10 of P(at least ``k`` hits) when query ``i`` is a hit with a probability of its own, independently of the others.

    ``probs`` (..., n) holds the probabilities, in [0, 1]; or give ``log10_probs`` (..., n), at most 0, for those below
    1e-308. The result has shape (...), float64. All equal, they give :func:`binomial_tail_log10`; the order does not
    matter; the tail is at most the binomial one with the largest of them. Exact: the distribution of the count is built
    query by query, in log space, in n^2 steps.

    Raises ``ValueError`` unless 0 <= k <= n and for probabilities out of range, and where neither or both are given.
    """
    if (probs is None) == (log10_probs is None):
        raise ValueError("give either probs or log10_probs, and not both.")
    if probs is not None:
        probs = as_probabilities(probs, "probs")
        with np.errstate(divide="ignore"):
            log_hit, log_miss = np.log(probs), np.log1p(-probs)
    else:
        log10_probs = as_array(log10_probs, "log10_probs")
        if log10_probs.max() > 1e-9:
            raise ValueError(f"log10_probs must be at most 0, got {log10_probs.max():g}; pass log10 of probabilities.")
        log_hit = np.minimum(log10_probs, 0.0) * _LN10
        with np.errstate(divide="ignore"):
            log_miss = np.log(-np.expm1(log_hit))
    if log_hit.ndim == 0:
        raise ValueError(
            "the probabilities must have at least one dimension, one entry per query, got a single number."
        )
    n = log_hit.shape[-1]
    k = as_int(k, "k", minimum=0)
    if k > n:
        raise ValueError(f"k must be at most the number of queries, got {k} hits in {n} queries.")
    if k == 0:
        return np.zeros(log_hit.shape[:-1])
    count = np.full((*log_hit.shape[:-1], n + 1), -np.inf)  # log P(count = j) so far
    count[..., 0] = 0.0
    for i in range(n):
        moved = count[..., :-1] + log_hit[..., i, None]
        count = count + log_miss[..., i, None]
        count[..., 1:] = np.logaddexp(count[..., 1:], moved)
    return np.minimum(special.logsumexp(count[..., k:], axis=-1) / _LN10, 0.0)


def shared_signature_log10_bound(log10_guess_prob: Any, k: Any, n: Any) -> np.ndarray:
    """log10 of an honest bound on the p-value when one signature serves all queries and the answers are not random.

    The model knows nothing of the signature, so the only randomness that counts is the secret draw of the signature. n answers
    begin in at most ``floor(n / k)`` ways that k of them share, and the signature must be one of these: the p-value is at most ``floor(n / k)`` times
    the probability of the most guessable signature, ``10**log10_guess_prob`` (at most 0; for a signature of m uniform
    draws from V tokens, ``-m log10 V``). More than half of the queries as hits say no more than all of them. The bound is
    for hits that are counted at the beginning of an answer. The result is 0 where ``k = 0`` and never above 0; arguments broadcast.
    Raises ``ValueError`` for a positive ``log10_guess_prob`` and unless 0 <= k <= n.
    """
    k, n = _hits(k, n)
    guess = as_array(log10_guess_prob, "log10_guess_prob")
    if guess.max() > 0:
        raise ValueError(f"log10_guess_prob must be at most 0, got {guess.max():g}; pass log10 of a probability.")
    try:
        return np.where(k >= 1, np.minimum(guess + np.log10(np.maximum(n // np.maximum(k, 1), 1)), 0.0), 0.0)
    except ValueError:
        raise ValueError(
            f"log10_guess_prob must have a shape that fits k and n, got {guess.shape} and {k.shape}."
        ) from None


def rejects(log10_p: float, alpha: float) -> bool:
    """Whether a p-value, given as its log10, is at most ``alpha``; one that equals it up to rounding (1e-12 of log10) is.

    Raises ``ValueError`` for a ``log10_p`` above 0 or not a number, and for alpha outside (0, 1).
    """
    alpha = as_probability(alpha, "alpha")
    log10_p = as_float(log10_p, "log10_p", maximum=0.0) if log10_p != -math.inf else -math.inf
    return log10_p <= math.log10(alpha) + _ROUNDING


def critical_hits(n: int, p0: float, alpha: float) -> int:
    """The fewest hits in ``n`` queries that reject at level ``alpha``: the least k with P(Bin(n, p0) >= k) <= alpha (:func:`rejects`).

    ``n + 1`` where not even n hits are enough: then ask more queries, or take a signature with a smaller ``p0``.
    Raises ``ValueError`` for n < 1, p0 outside [0, 1] and alpha outside (0, 1).
    """
    n, p0 = as_int(n, "n", minimum=1), as_float(p0, "p0", minimum=0.0, maximum=1.0)
    alpha = as_probability(alpha, "alpha")
    low, high = 0, n + 1  # the tail at low is above alpha (it is 1 at 0), at high it counts as below
    while high - low > 1:
        middle = (low + high) // 2
        if rejects(_one_tail(middle, n, p0), alpha):
            high = middle
        else:
            low = middle
    return high


def power(n: int, p0: float, alpha: float, activation: Any) -> np.ndarray:
    """The probability that ``n`` queries reject at level ``alpha`` when each is a hit with probability ``activation``.

    ``activation`` in [0, 1], any shape, and so is the result. 0 where not even n hits reject. See :func:`critical_hits`
    for the other arguments and the errors.
    """
    rates = as_probabilities(activation, "activation")
    needed = critical_hits(n, p0, alpha)
    if needed > n:
        return np.zeros(rates.shape)
    return 10.0 ** binomial_tail_log10(needed, n, rates)


def queries_needed(p0: float, alpha: float, activation: float, target: float, *, most: int = 10_000) -> int:
    """The fewest queries whose :func:`power` at ``activation`` is at least ``target``.

    Power is a saw in n: it drops a little where one more hit becomes necessary, so a larger n may fall below ``target``
    again. Raises ``ValueError`` where ``most`` queries are not enough, and for an activation of at most ``p0``, which no number of
    queries can tell from the null hypothesis.
    """
    p0 = as_float(p0, "p0", minimum=0.0, maximum=1.0)
    alpha, target = as_probability(alpha, "alpha"), as_probability(target, "target")
    activation = as_float(activation, "activation", minimum=0.0, maximum=1.0)
    if activation <= p0:
        raise ValueError(
            f"activation must be above p0 = {p0:g}, got {activation:g}; no number of queries tells them apart."
        )
    needed = 1
    for n in range(1, as_int(most, "most", minimum=1) + 1):
        while needed <= n and not rejects(_one_tail(needed, n, p0), alpha):
            needed += 1
        if needed <= n and 10.0 ** _one_tail(needed, n, activation) >= target:
            return n
    raise ValueError(f"{most} queries do not reach a power of {target:g}; raise most, or lower target.")


def clopper_pearson(k: Any, n: Any, level: float = 0.95, side: str = "two-sided") -> tuple[np.ndarray, np.ndarray]:
    """The exact interval of Clopper and Pearson (Biometrika 26, 1934) for the probability of a hit, after k hits in n.

    ``level`` is its confidence. ``side="lower"`` gives the one-sided interval from the lower end to 1, ``"upper"`` that
    from 0 to the upper end. ``k`` and ``n`` broadcast; both ends have their shape. They are quantiles of beta distributions,
    and cover the true probability at least as often as ``level`` says. Raises ``ValueError`` unless 0 <= k <= n, n >= 1.
    """
    k, n = _hits(k, n)
    one_of(side, "side", SIDES)
    tail = 1.0 - as_probability(level, "level")
    tail = tail / 2 if side == "two-sided" else tail
    inside = np.maximum(k, 1), np.maximum(n - k, 1)
    low = np.where(k == 0, 0.0, special.betaincinv(inside[0], n - k + 1, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, inside[1], 1.0 - tail))
    return (np.zeros(k.shape) if side == "upper" else low), (np.ones(k.shape) if side == "lower" else high)
