"""What a trained VAE spends, what is left to explain, and which latents follow which factors."""

from __future__ import annotations

from typing import NamedTuple

import torch

from workings.checks import check_tensor
from workings.disentangling.metrics import latent_factor_correlation
from workings.disentangling.networks import VAE, reparameterise
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl


class Evaluation(NamedTuple):
    """Nats per image of a trained VAE: ``kl`` (M,) per latent, ``nll`` with sampled codes, ``nll_mean`` with posterior means.

    ``corr`` (M, K): |Pearson| of every posterior mean with every factor given.
    """

    kl: torch.Tensor
    nll: float
    nll_mean: float
    corr: torch.Tensor

    def one_latent_each(self, least: float = 0.9) -> bool:
        """Whether every factor has a latent of its own with |corr| above ``least``."""
        best, latent = self.corr.max(dim=0)
        return bool((best > least).all()) and len(set(latent.tolist())) == len(latent)


@torch.no_grad()
def evaluate_vae(model: VAE, images: torch.Tensor, factors: torch.Tensor, generator: torch.Generator) -> Evaluation:
    """Evaluate ``model`` on ``images`` (N, C, H, W) in [0, 1] with ``factors`` (N, K); codes are drawn with ``generator``.

    Raises ``ValueError`` when images and factors differ in number.
    """
    check_tensor(images, "images")
    if factors.ndim != 2 or len(factors) != len(images):
        raise ValueError(f"factors must be ({len(images)}, K), one row per image, got {tuple(factors.shape)}.")
    mu, logvar = model.encode(images.clone())  # it may work in place
    z = reparameterise(mu, logvar, generator)
    nll, nll_mean = (float(bernoulli_nll(model.decode(code), images).mean()) for code in (z, mu))
    corr = torch.as_tensor(latent_factor_correlation(mu, factors)).abs()
    return Evaluation(gaussian_kl(mu, logvar).double().mean(dim=0), nll, nll_mean, corr)
