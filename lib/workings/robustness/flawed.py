"""The FLAWED 2018 re-implementation of SAP: not SAP, kept to show what the first attack really attacked.

Differences from SAP, read in the public code of both (erratum: Dhillon and Carlini, arXiv
2010.00071): the tensor pruned is the convolution's output *before* batch-norm and activation; the
keeps are independent; the budget is twice the layer's size; automatic differentiation runs
through the keep probability.
"""

from __future__ import annotations

import torch

from workings.checks import as_float, one_of
from workings.robustness.bpda import pretend
from workings.robustness.closed_forms import flat_map, rounded_back, sap_probabilities
from workings.robustness.sap import BACKWARD_RULES
from workings.seeding import fresh


def poisson_survival(p: torch.Tensor, budget: float) -> torch.Tensor:
    """Keep probability of the flawed mask, ``1 - exp(-budget p)``; shape of ``p``."""
    budget = as_float(budget, "budget", minimum=0.0)
    return -torch.expm1(-budget * p)


def poisson_activation_pruning(
    h: torch.Tensor,
    budget: float,
    generator: torch.Generator | None = None,
    backward: str = "pathwise",
) -> torch.Tensor:
    """The flawed mask: each ``h_j`` kept *independently* with ``k_j = 1 - exp(-budget p_j)``, over ``k_j + 1e-8``.

    ``h`` (B, ...), ``p_j = |h_j| / sum_k |h_k|`` over the example's whole map; shape and dtype of ``h``.
    The 2018 code used ``budget = 2a`` and ``backward="pathwise"`` (autodiff through ``k``); ``"mask"``
    and ``"identity"`` are here for comparison. Unbiased too, up to the 1e-8.

    Raises ``ValueError`` for non-finite activations or a negative budget.
    """
    one_of(backward, "backward", BACKWARD_RULES)
    as_float(budget, "budget", minimum=0.0)
    flat = flat_map(h)
    with torch.no_grad():
        p = sap_probabilities(flat)  # also refuses NaN
        uniform = torch.rand(flat.shape, dtype=flat.dtype, device=flat.device, generator=fresh(generator))
        kept = uniform < poisson_survival(p, budget)
    if backward == "pathwise":
        total = flat.abs().sum(dim=1, keepdim=True)
        p = flat.abs() / torch.where(total > 0, total, 1)
    pruned = torch.where(kept, flat / (poisson_survival(p, budget) + 1e-8), 0)
    if backward == "identity":
        pruned = pretend(pruned.detach(), flat)
    return rounded_back(pruned, h)
