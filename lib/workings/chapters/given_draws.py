"""Draws whose dice are given as numbers, so that Python and the reader's browser draw the same neurons."""

from __future__ import annotations

import torch


def drawn_set(weights: torch.Tensor, dice: torch.Tensor, *, distinct: bool = False) -> torch.Tensor:
    """Which neurons are drawn at least once: bool (n, a), from ``dice`` (n, r) in [0, 1), one number per draw.

    A draw takes the first neuron whose cumulated weight (of ``weights`` (a,)) is above its number times their sum. With ``distinct``
    the weight of a drawn neuron is 0 from then on; when none is left, nothing is drawn.
    """
    left = weights.expand(len(dice), -1).clone()
    drawn = torch.zeros(left.shape, dtype=torch.bool)
    for number in dice.T:
        cumulated = left.cumsum(1)
        height = (number * cumulated[:, -1])[:, None]
        hit = torch.searchsorted(cumulated, height, right=True).clamp(max=left.shape[1] - 1)
        drawn |= torch.zeros_like(drawn).scatter(1, hit, left.gather(1, hit) > 0)
        if distinct:
            left = torch.where(drawn, 0, left)
    return drawn
