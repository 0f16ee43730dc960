"""Stochastic Activation Pruning of one layer, with three explicit backward rules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from workings.checks import as_tensor, one_of
from workings.robustness.closed_forms import (
    flat_map,
    number_of_draws,
    rounded_back,
    sap_probabilities,
    survival_and_single_draw,
    survival_probability,
)
from workings.robustness.multinomial import multinomial_occupancy
from workings.seeding import fresh

BACKWARD_RULES = ("pathwise", "mask", "identity")


class _Prune(torch.autograd.Function):
    """``kept * h / q`` forward; the backward rule is chosen by the caller. All tensors are (B, a)."""

    @staticmethod
    def forward(ctx: Any, h: torch.Tensor, kept: torch.Tensor, q: torch.Tensor, rule: str, *extra: torch.Tensor):
        ctx.rule = rule
        if rule != "identity":
            ctx.save_for_backward(kept, q, *extra)
        return torch.where(kept, h / q, 0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: torch.Tensor):
        if ctx.rule == "identity":
            return g, None, None, None, *[None] * (len(ctx.needs_input_grad) - 4)
        kept, q, *extra = ctx.saved_tensors
        through = torch.where(kept, g / q, 0)  # g m
        if ctx.rule == "mask":
            return through, None, None, None
        sign, p, w = extra
        # d/dh_k sum_j g_j h_j m_j = g_k m_k (1 - w_k) + s_k sum_j g_j m_j s_j p_j w_j; no 0/0, no cancellation
        common = (through * sign * p * w).sum(dim=1, keepdim=True)
        return through * (1 - w) + sign * common, None, None, None, None, None, None


def stochastic_activation_pruning(
    h: torch.Tensor,
    fraction: float = 1.0,
    backward: str = "mask",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Prune a batch of activation maps at random: ``M(h)_j = h_j 1[N_j >= 1] / q_j``; shape and dtype of ``h``.

    ``h`` (B, ...); each example's whole map is one categorical distribution ``p_j = |h_j| / sum_k |h_k|``
    from which ``r = floor(fraction * a)`` neurons are drawn with replacement; ``N`` are the counts and
    ``q_j = 1 - (1 - p_j)^r``. Unbiased: ``E[M(h)] = h``. ``fraction=math.inf`` gives ``h`` back.
    Zeros, and all-zero examples, stay zero. ``generator`` lives on ``h``'s device.

    ``backward`` chooses what the backward pass multiplies an incoming gradient ``g`` with:

    - ``"mask"``: ``g * m``, mask and scale as constants (the official operator; noisy, with mean ``g`` if ``g`` does not depend
      on the mask);
    - ``"identity"``: ``g`` itself (straight-through, BPDA; adds no noise of its own);
    - ``"pathwise"``: what automatic differentiation through ``1/q(p(h))`` gives for the drawn set
      (mean ``J^T g``, see :func:`~workings.robustness.closed_forms.pathwise_jacobian`; biased).

    Source: Dhillon et al., arXiv 1803.01442, Algorithm 1; the rules: arXiv 2010.00071 and this book.
    Raises ``ValueError`` for non-finite activations, a negative fraction or one that gives no draw.
    """
    one_of(backward, "backward", BACKWARD_RULES)
    flat = flat_map(h)
    r = number_of_draws(fraction, flat.shape[1])
    with torch.no_grad():
        p = sap_probabilities(flat)
        pathwise = backward == "pathwise"
        q, *share = survival_and_single_draw(p, r) if pathwise else (survival_probability(p, r),)
        kept = p > 0 if math.isinf(r) else multinomial_occupancy(p, r, fresh(generator))
        kept &= q > 0  # a denormal p whose q rounds to 0 counts as never drawn
        q = torch.where(kept, q, 1)
        extra = (flat.sign(), p, *share) if pathwise else ()
    return rounded_back(_Prune.apply(flat, kept, q, backward, *extra), h)


def matched_dropout(h: torch.Tensor, keep: float | torch.Tensor, generator: torch.Generator | None = None):
    """Inverted dropout: each entry kept with probability ``keep`` and divided by it; shape and dtype of ``h``.

    ``keep`` in (0, 1] is one number or one per example (B,); :func:`kept_share` gives the share that
    SAP keeps. The mask is a constant of the backward pass. The baseline for SAP: as many activations are kept, whatever
    their size. Raises ``ValueError`` for another shape of ``keep`` or a value outside (0, 1].
    """
    flat = flat_map(h)
    share = as_tensor(keep, "keep").to(dtype=flat.dtype, device=flat.device)
    if share.dim() > 1 or (share.dim() == 1 and len(share) != len(flat)):
        raise ValueError(f"keep must be a number or ({len(flat)},), got shape {tuple(share.shape)}.")
    if not bool(((share > 0) & (share <= 1)).all()):
        raise ValueError(f"keep must be in (0, 1], got {keep!r}.")
    share = share.reshape(-1, 1)
    uniform = torch.rand(flat.shape, dtype=flat.dtype, device=flat.device, generator=fresh(generator))
    return rounded_back(torch.where(uniform < share, flat / share, 0), h)


def kept_share(h: torch.Tensor, fraction: float = 1.0) -> torch.Tensor:
    """Expected share of the *non-zero* activations that SAP keeps: (B,) in (0, 1]; 1 for an all-zero map.

    Zeros are left out of the count, since pruning them changes nothing.
    """
    flat = flat_map(h)
    q = survival_probability(sap_probabilities(flat), number_of_draws(fraction, flat.shape[1]))
    alive = (flat != 0).sum(dim=1)
    return torch.where(alive > 0, q.sum(dim=1) / alive.clamp(min=1), 1).clamp(max=1)
