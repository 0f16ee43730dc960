"""Accuracy over many episodes, and what its spread says."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from workings import require_torch
from workings.checks import as_finite_array, as_int, check_tensor
from workings.few_shot.episodes import Episodes
from workings.few_shot.prototypes import cosine_logits, support_init

with require_torch("few_shot.evaluation"):
    import torch


class AccuracySummary(NamedTuple):
    """Accuracies of n episodes: ``mean``, ``sd`` between episodes (n - 1 below the line), ``half_width`` of the 95% interval
    of the mean, 1.96 sd / sqrt(n), the 5% and the 95% quantile ``low`` and ``high`` of single episodes, and ``episodes`` n."""

    mean: float
    sd: float
    half_width: float
    low: float
    high: float
    episodes: int


class PairedDifference(NamedTuple):
    """Mean of a - b over the same n episodes, ``half_width`` of its 95% interval, 1.96 ``sd`` / sqrt(n), and n ``episodes``."""

    mean: float
    half_width: float
    sd: float
    episodes: int


def accuracy_summary(accuracy: Any) -> AccuracySummary:
    """Summary of ``accuracy`` (n,), one number per independent episode, n at least 2, in the unit they are given in."""
    values = _episodes(accuracy, "accuracy")
    sd = float(values.std(ddof=1))
    low, high = np.quantile(values, [0.05, 0.95])
    half = 1.96 * sd / math.sqrt(len(values))
    return AccuracySummary(float(values.mean()), sd, half, float(low), float(high), len(values))


def paired_difference(a: Any, b: Any) -> PairedDifference:
    """How much better ``a`` is than ``b``, both (n,) over the *same* n >= 2 episodes in the same order.

    What makes an episode easy makes it easy for both, and cancels in a - b: the interval is narrower than that of two
    separate samples. Raises ``ValueError`` when the lengths differ.
    """
    a, b = _episodes(a, "a"), _episodes(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"a and b must hold the same episodes, got {len(a)} and {len(b)} of them.")
    sd = float((a - b).std(ddof=1))
    return PairedDifference(float((a - b).mean()), 1.96 * sd / math.sqrt(len(a)), sd, len(a))


def centroid_accuracy(features: torch.Tensor, episodes: Episodes, relu: bool = True, block: int = 500) -> torch.Tensor:
    """Share of queries that the untuned classifier gets right, for each episode: (E,) float64.

    ``features`` (N, D) are those of the whole data set, computed once; ``episodes`` index them. The classifier is
    :func:`~workings.few_shot.prototypes.support_init`; ties go to the first class. ``block`` episodes are taken at a time.
    """
    features = check_tensor(features, "features")
    if features.ndim != 2:
        raise ValueError(f"features must have shape (N, D), one row per item of the data, got {tuple(features.shape)}.")
    if not isinstance(episodes, Episodes):
        raise TypeError(f"episodes must be Episodes, as EpisodeSampler.sample gives, got {type(episodes).__name__}.")
    shapes = tuple(tuple(check_tensor(part, "a part of episodes", floating=False).shape) for part in episodes)
    if [len(shape) for shape in shapes] != [2, 3, 3] or len({shape[:2] for shape in shapes}) > 1:
        raise ValueError(
            f"episodes must have shapes (E, K), (E, K, s) and (E, K, q), got {shapes}; use EpisodeSampler."
        )
    if 0 in (*shapes[1], *shapes[2], *features.shape):
        raise ValueError("there are no features, episodes, support or query items; sample at least one of each.")
    largest = max(int(episodes.support.max()), int(episodes.query.max()))
    least = min(int(episodes.support.min()), int(episodes.query.min()))
    if largest >= len(features) or least < 0:
        raise ValueError(
            f"episodes point to items {least} to {largest}, features hold {len(features)}; they belong to other data."
        )
    right, truth = [], episodes.query_labels().to(features.device)
    for start in range(0, len(episodes.classes), as_int(block, "block", minimum=1)):
        part = episodes.only(slice(start, start + block))
        weight, bias = support_init(features[part.support.flatten(1)], part.support_labels(), part.way, relu)
        guess = cosine_logits(features[part.query.flatten(1)], weight, bias, relu).argmax(dim=-1)
        right.append((guess == truth).double().mean(dim=1))
    return torch.cat(right).cpu()


def _episodes(values: Any, name: str) -> np.ndarray:
    array = as_finite_array(values, name, ndim=1)
    if len(array) < 2:
        raise ValueError(f"{name} holds {len(array)} episode; a spread needs at least two.")
    return array
