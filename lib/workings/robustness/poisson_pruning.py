"""The re-implementation of SAP of 2018: not SAP, kept to show what the first attack really attacked.

Differences from SAP, read in the public code of both (erratum: Dhillon and Carlini, arXiv
2010.00071): the tensor pruned is the convolution's output *before* batch-norm and activation; the
keeps are independent; the mean number of draws is twice the layer's size; automatic differentiation runs
through the keep probability.
"""

from __future__ import annotations

import torch

from workings.checks import as_float, check_tensor, one_of
from workings.robustness.bpda import pretend
from workings.robustness.closed_forms import flat_map, rounded_back, sap_probabilities
from workings.robustness.sap import BACKWARD_RULES
from workings.seeding import fresh


def poisson_survival(p: torch.Tensor, mean_draws: float) -> torch.Tensor:
    """Probability ``1 - exp(-mean_draws p)`` that an activation is kept; shape of ``p``.

    ``p`` in [0, 1]; ``mean_draws`` >= 0 is the mean number of draws from the whole map (2018: ``2a``). Raises ``ValueError`` for a
    negative or infinite ``mean_draws``.
    """
    mean_draws = as_float(mean_draws, "mean_draws", minimum=0.0)
    return -torch.expm1(-mean_draws * check_tensor(p, "p"))


def poisson_activation_pruning(
    h: torch.Tensor,
    mean_draws: float,
    generator: torch.Generator | None = None,
    backward: str = "pathwise",
) -> torch.Tensor:
    """Each ``h_j`` is kept *independently* with ``k_j = 1 - exp(-mean_draws p_j)`` and divided by ``k_j + 1e-8``; else 0.

    ``h`` (B, ...), ``p_j = |h_j| / sum_k |h_k|`` over the example's whole map; shape and dtype of ``h``.
    The 2018 code used ``mean_draws = 2a`` and ``backward="pathwise"`` (autodiff through ``k``); ``"mask"``
    and ``"identity"`` are here for comparison. Unbiased too, up to the 1e-8.

    Raises ``ValueError`` for non-finite activations or a negative mean_draws.
    """
    one_of(backward, "backward", BACKWARD_RULES)
    as_float(mean_draws, "mean_draws", minimum=0.0)
    flat = flat_map(h)
    with torch.no_grad():
        p = sap_probabilities(flat)  # also refuses NaN
        uniform = torch.rand(flat.shape, dtype=flat.dtype, device=flat.device, generator=fresh(generator))
        kept = uniform < poisson_survival(p, mean_draws)
    if backward == "pathwise":
        total = flat.abs().sum(dim=1, keepdim=True)
        p = flat.abs() / torch.where(total > 0, total, 1)
    pruned = torch.where(kept, flat / (poisson_survival(p, mean_draws) + 1e-8), 0)
    if backward == "identity":
        pruned = pretend(pruned.detach(), flat)
    return rounded_back(pruned, h)
