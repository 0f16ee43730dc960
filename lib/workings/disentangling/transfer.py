"""How much of an agent's return survives in another domain, and how to rank encoders without looking at it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from workings.checks import as_finite_array, as_float, as_probability
from workings.disentangling.metrics import latent_factor_correlation


class MeanInterval(NamedTuple):
    """A mean over seeds and the ends of its interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Any, level: float = 0.95) -> MeanInterval:
    """Student's interval for the mean of ``values`` (n,), one per seed, n at least 2.

    Exact for independent normal values; a rough one for anything else.
    """
    values = as_finite_array(values, "values", ndim=1)
    level = as_probability(level, "level")
    if len(values) < 2:
        raise ValueError("an interval needs at least 2 values, one per seed; got 1.")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return MeanInterval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


class TransferReport(NamedTuple):
    """Returns of one kind of agent over seeds, in the source and in the target domain.

    ``source`` and ``target``: means with intervals. ``kept``: the share of the source's gain over the random policy that is
    left in the target, each measured from the random policy of its domain and in units of what is possible there; 1 is
    perfect transfer, 0 no better than random. ``source_gap`` and ``target_gap``: how far the mean is from the optimum.
    """

    source: MeanInterval
    target: MeanInterval
    kept: MeanInterval
    source_gap: float
    target_gap: float


def transfer_report(
    source: Any,
    target: Any,
    *,
    random: tuple[float, float] | None,
    optimal: tuple[float, float] | None,
    level: float = 0.95,
) -> TransferReport:
    """Report on returns ``source`` and ``target`` (n,), one pair per seed, n at least 2.

    ``random`` and ``optimal``: the returns of the random and of the best policy in the source and in the target. They are
    needed, because a return means nothing without them: ``ValueError`` where they are None, where the optimum is not above
    random, or where an agent is no better than random in the source, so that nothing can be kept.
    """
    source, target = as_finite_array(source, "source", ndim=1), as_finite_array(target, "target", ndim=1)
    if source.shape != target.shape:
        raise ValueError(f"source and target must have one value per seed each, got {len(source)} and {len(target)}.")
    ends = []
    for name, pair in (("random", random), ("optimal", optimal)):
        if pair is None or np.shape(pair) != (2,):
            raise ValueError(f"{name} must be the {name} policy's returns in source and target, got {pair!r}.")
        ends.append([as_float(value, name) for value in pair])
    (low_s, low_t), (high_s, high_t) = ends
    if not (high_s > low_s and high_t > low_t):
        raise ValueError(f"the optimal returns must be above the random ones, got {ends[1]} and {ends[0]}.")
    gain_s, gain_t = (source - low_s) / (high_s - low_s), (target - low_t) / (high_t - low_t)
    if (gain_s <= 0).any():
        raise ValueError("an agent is no better than random in the source: it has learnt nothing that could transfer.")
    left, right = mean_interval(source, level), mean_interval(target, level)
    return TransferReport(left, right, mean_interval(gain_t / gain_s, level), high_s - left.mean, high_t - right.mean)


def disentanglement_agreement(codes_a: Any, kl_a: Any, codes_b: Any, kl_b: Any, *, active_above: float = 0.01) -> float:
    """How far two encoders of the same pictures agree on their latents, in [0, 1]: the UDR score of a pair.

    ``codes_a`` (N, M) and ``codes_b`` (N, K): posterior means of the same N pictures; ``kl_a`` (M,) and ``kl_b`` (K,): mean
    nats of each latent, of which those above ``active_above`` count. With ``R`` the absolute Spearman correlations, each
    active latent scores the square of its largest entry over the sum of its entries, and the score is the mean over the
    active latents of both. It is 1 when each latent follows exactly one of the other, and 0 when a code has no active
    latent. It needs no factor and no reward. Duan et al., arXiv 1905.12614.
    """
    codes_a, codes_b = as_finite_array(codes_a, "codes_a", ndim=2), as_finite_array(codes_b, "codes_b", ndim=2)
    kl_a, kl_b = as_finite_array(kl_a, "kl_a", ndim=1), as_finite_array(kl_b, "kl_b", ndim=1)
    active_above = as_float(active_above, "active_above", minimum=0.0)
    if len(codes_a) != len(codes_b) or len(codes_a) < 2:
        raise ValueError(f"both codes need the same pictures, at least 2; got {len(codes_a)} and {len(codes_b)} rows.")
    if codes_a.shape[1:] != kl_a.shape or codes_b.shape[1:] != kl_b.shape:
        raise ValueError(
            f"give one KL per latent: codes have {codes_a.shape[1]} and {codes_b.shape[1]} latents, kl_a and kl_b "
            f"{len(kl_a)} and {len(kl_b)} entries."
        )
    a, b = codes_a[:, kl_a > active_above], codes_b[:, kl_b > active_above]
    if a.shape[1] == 0 or b.shape[1] == 0:
        return 0.0
    r = np.abs(latent_factor_correlation(a, b, "spearman"))
    scores = [r.max(axis=axis) ** 2 / np.maximum(r.sum(axis=axis), 1e-12) for axis in (0, 1)]
    return float(np.concatenate(scores).mean())
