"""How hard an episode is, by one number, and how a method's accuracy falls with it.

Dhillon et al., ICLR 2020 (arXiv 1909.02729), section 4.4 and equation 9.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from workings import require_torch
from workings.checks import as_finite_array, one_of
from workings.few_shot.prototypes import check_episode_labels, cosine_logits, support_init, way_of

with require_torch("few_shot.hardness"):
    import torch


class HardnessLine(NamedTuple):
    """Least-squares line accuracy = ``intercept`` + ``slope`` · hardness, its correlation ``r``, and the ``area`` under it
    in the first quadrant, -intercept² / (2 slope)."""

    slope: float
    intercept: float
    r: float
    area: float


def episode_hardness(
    support: torch.Tensor, support_labels: Any, query: torch.Tensor, query_labels: Any, relu: bool | str = False
) -> torch.Tensor:
    """Mean log odds, in nats, against the true class of the queries: shape (...) for leading dimensions (...).

    ``support`` (..., N, D) and ``query`` (..., M, D) are features of a network that plays no part in the comparison, labels
    (N,) and (M,), or with the leading dimensions, are places 0..K-1. p is the softmax of the cosines to the class means,
    without temperature, and the hardness the mean of log (1 - p_y) / p_y. It lies within 2 of log(K - 1).

    Three rules are in use for negative features. ``relu=False``, the official code, keeps them. ``relu="support"``, as torchmeta
    does, rectifies the support features before their mean but no query: within sqrt 2 of log(K - 1). ``relu=True`` rectifies
    both: within 1.

    Raises ``ValueError`` for a single way, for which there are no odds, for another word in ``relu``, and for what
    :func:`~workings.few_shot.prototypes.support_init` refuses.
    """
    both = bool(relu) and not isinstance(relu, str)
    if isinstance(relu, str):
        one_of(relu, "relu", ("support",))
    way = way_of(support_labels, "support_labels")
    weight, bias = support_init(support, support_labels, way, bool(relu))
    if way == 1:
        raise ValueError("support_labels hold one class only; hardness compares at least two ways.")
    logits = cosine_logits(query, weight, bias, both)  # (..., M, K)
    truth = check_episode_labels(query_labels, logits.shape[:-1], way, "query_labels", every=False).to(logits.device)
    truth = truth.expand(logits.shape[:-1])[..., None]
    others = logits.scatter(-1, truth, -torch.inf)
    return (others.logsumexp(dim=-1) - logits.gather(-1, truth)[..., 0]).mean(dim=-1)


def hardness_line_area(hardness: Any, accuracy_percent: Any) -> HardnessLine:
    """The line of ``accuracy_percent`` (n,), in percent, over ``hardness`` (n,), one per episode, n at least 2.

    Raises ``ValueError`` when all hardness is equal, and when accuracy does not fall with hardness: then the line has no area in
    the first quadrant.
    """
    x = as_finite_array(hardness, "hardness", ndim=1)
    y = as_finite_array(accuracy_percent, "accuracy_percent", ndim=1)
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(
            f"hardness and accuracy_percent must hold the same 2 or more episodes, got {len(x)} and {len(y)}."
        )
    dx, dy = x - x.mean(), y - y.mean()
    scale = max(1.0, float(np.abs(x).max()))
    if not (dx**2).sum() > len(x) * (1e-12 * scale) ** 2:
        raise ValueError("hardness is the same for every episode; draw episodes of several ways.")
    slope = float((dx * dy).sum() / (dx**2).sum())
    intercept = float(y.mean() - slope * x.mean())
    if not slope < 0:
        raise ValueError(
            f"accuracy does not fall with hardness (slope {slope:g}): the line has no area; check that both are in order of the "
            "same episodes."
        )
    if not intercept > 0:
        raise ValueError(
            f"the line crosses hardness 0 at {intercept:g}, not above 0: it has no area in the first quadrant."
        )
    r = float((dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum()))
    return HardnessLine(slope, intercept, r, -(intercept**2) / (2 * slope))
