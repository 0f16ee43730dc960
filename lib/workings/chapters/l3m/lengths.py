"""What lengths of responses tell: the least that a mean length costs, an interval over prompts, and whether a run has levelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from workings.language_models import topic_language as toy
from workings.language_models.constrained_categorical import solve_constrained_categorical
from workings.statistics import mean_and_sd


def least_rise_of(p: Sequence[float], lengths: Sequence[float], mean: float) -> float:
    """The least rise of the log-perplexity, in nats per token, of a model with one law of lengths for every prompt, whose mean is ``mean``.

    The data's responses have ``lengths`` (L,) with probabilities ``p`` (L,), and the model no others. The loss depends on a model's
    law of lengths ``pi`` as ``Z sum_l q_l (-log pi_l)``, where ``q`` is the law that the loss teaches and ``Z`` the mean of ``1/l``
    over the data. So it is Z times the excess of the constrained categorical problem on q. That the words become worse is not
    counted. A mean beyond the data's lengths is taken as one just inside them.
    """
    p, lengths = np.asarray(p, dtype=float), np.asarray(lengths, dtype=float)
    law = toy.response_weighted_law(p, lengths)
    inside = min(max(mean, lengths.min() + 1e-3), lengths.max() - 1e-3)
    sense = "at_most" if inside <= float(law @ lengths) else "at_least"
    return float((p / lengths).sum()) * solve_constrained_categorical(law, lengths, inside, sense).excess


def least_rise_in(responses: Sequence[int], low: float, high: float) -> float:
    """:func:`least_rise_of` the mean in ``[low, high]`` where it is smallest, for the lengths of the data's ``responses``; 0 where the
    mean that the loss teaches is itself inside."""
    counts = sorted(Counter(responses).items())
    if len(counts) < 2:
        return 0.0  # one length: there is no law to bend
    lengths, times = (np.array(column, dtype=float) for column in zip(*counts, strict=True))
    p = times / times.sum()
    taught = float(toy.response_weighted_law(p, lengths) @ lengths)
    return 0.0 if low <= taught <= high else least_rise_of(p, lengths, low if taught < low else high)


def mean_over_prompts(lengths: Sequence[Sequence[float]]) -> tuple[float, float]:
    """The mean of responses' ``lengths``, a row per prompt, all prompts asked equally often, and the half width of its 95 % interval.

    Responses to one prompt are no independent draws: the interval is that of the prompts' means.
    """
    if len({len(row) for row in lengths}) != 1:
        raise ValueError("the prompts were not asked equally often; give rows of one length, a row per prompt.")
    mean, sd = mean_and_sd([float(np.mean(row)) for row in lengths])
    return mean, 1.96 * sd / len(lengths) ** 0.5


def has_levelled(means: Sequence[float], width: float) -> bool:
    """Whether the mean of the last fifth of ``means``, one per step, differs from that of the fifth before by at most ``width``."""
    fifth = len(means) // 5 or 1
    if len(means) < 2 * fifth:
        raise ValueError(f"{len(means)} steps have no two fifths to compare; train for two steps or more.")
    last, before = np.mean(means[-fifth:]), np.mean(means[-2 * fifth : -fifth])
    return bool(abs(last - before) <= width)
