"""Linear VAEs, trained on the exact loss: a case whose optimum has a closed form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from workings.checks import as_float, as_int
from workings.seeding import torch_generator


class LinearVAEs(NamedTuple):
    """Trained linear VAEs, R of them: ``kl`` (R, K) mean nats per latent, largest first, and ``encoder`` (R, K, K).

    Row k of an encoder is the direction that latent k reads, in the order of ``kl``.
    """

    kl: torch.Tensor
    encoder: torch.Tensor


def linear_vaes(eigvals: Sequence[float], betas: Sequence[float], steps: int, seed: int) -> LinearVAEs:
    """Train a linear VAE with K latents for each of ``betas`` on ``x ~ N(0, diag(eigvals))``; float64, no sampling.

    ``z = A x + s eps``, ``xhat = W z``, loss ``E|x - xhat|^2 / 2 + beta KL``, whose expectation over data and noise is
    ``tr((I - W A) L (I - W A)^T) / 2 + sum_k s_k^2 |w_k|^2 / 2 + beta sum_k (a_k L a_k^T + s_k^2 - ln s_k^2 - 1) / 2``
    with ``L = diag(eigvals)``. L-BFGS from small random weights, all runs in one sum.
    """
    spread = torch.tensor([as_float(v, "an eigenvalue", minimum=0.0) for v in eigvals], dtype=torch.float64)
    beta = torch.tensor([as_float(b, "beta", minimum=0.0) for b in betas], dtype=torch.float64)
    size, source = len(spread), torch_generator(seed, "capacity", "linear")
    draw = lambda: 0.1 * torch.randn(len(beta), size, size, generator=source, dtype=torch.float64)
    encoder, decoder = draw().requires_grad_(), draw().requires_grad_()
    logvar = torch.zeros(len(beta), size, dtype=torch.float64, requires_grad=True)
    weights = [encoder, decoder, logvar]
    optimiser = torch.optim.LBFGS(weights, max_iter=as_int(steps, "steps", minimum=1), line_search_fn="strong_wolfe")

    def nats() -> torch.Tensor:
        return 0.5 * ((encoder.square() * spread).sum(-1) + logvar.exp() - logvar - 1)

    def loss() -> torch.Tensor:
        missed = torch.eye(size, dtype=torch.float64) - decoder @ encoder
        error = 0.5 * (missed.square() * spread).sum((-2, -1)) + 0.5 * (decoder.square().sum(-2) * logvar.exp()).sum(-1)
        optimiser.zero_grad()
        total = (error + beta * nats().sum(-1)).sum()
        total.backward()
        return total

    optimiser.step(loss)
    kl, order = nats().detach().sort(dim=-1, descending=True)
    return LinearVAEs(kl, encoder.detach().take_along_dim(order[..., None], dim=-2))
