"""Objectives of the beta-VAE family: KL to the prior, likelihoods, beta-VAE and capacity losses.

Sums run over pixels and over latents, means over the batch only; otherwise beta and gamma would
mean something else at every image size. Everything is in nats. Letters: B batch, M latents.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from workings.checks import as_float, as_int, check_tensor, values_hidden


def gaussian_kl(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL of ``N(mu, exp(logvar))`` to ``N(0, 1)``, one value per latent: ``(mu^2 + e^logvar - logvar - 1) / 2``.

    ``mu`` and ``logvar`` (B, M) to (B, M) nats, each at least 0; zero iff ``mu = 0`` and ``logvar = 0``.
    Sum over the last axis for the KL of the whole code. Raises ``ValueError`` when the shapes differ.
    Higgins et al., arXiv 1606.05579; Kingma and Welling, arXiv 1312.6114, appendix B.
    """
    _same_shape(mu, logvar, "mu", "logvar")
    return 0.5 * (mu.square() + (torch.expm1(logvar) - logvar))


def kl_diag_gaussians(
    mu1: torch.Tensor, logvar1: torch.Tensor, mu2: torch.Tensor, logvar2: torch.Tensor
) -> torch.Tensor:
    """``KL(N(mu1, e^logvar1) || N(mu2, e^logvar2))``, one value per latent.

    ``((mu1 - mu2)^2 e^-logvar2 + e^(logvar1 - logvar2) - (logvar1 - logvar2) - 1) / 2``, (B, M) each to
    (B, M) nats. Not symmetric. With ``mu2 = logvar2 = 0`` it is :func:`gaussian_kl`. Raises
    ``ValueError`` when the shapes differ.
    """
    _same_shape(mu1, logvar1, "mu1", "logvar1")
    _same_shape(mu1, mu2, "mu1", "mu2")
    _same_shape(mu1, logvar2, "mu1", "logvar2")
    gap = logvar1 - logvar2
    return 0.5 * ((mu1 - mu2).square() * torch.exp(-logvar2) + (torch.expm1(gap) - gap))


def bernoulli_nll(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``-log p(x)`` of independent Bernoulli pixels: ``sum_i softplus(l_i) - x_i l_i``, in nats per image.

    ``logits`` and ``x`` (B, ...) to (B,). ``x`` in [0, 1]; for grey values between, this is the
    cross-entropy, whose smallest value is the entropy of ``x`` and not 0. Raises ``ValueError`` for
    different shapes and, on the CPU, for ``x`` outside [0, 1] (on an accelerator the look would stall
    the queue, so it is left out there); ``TypeError`` when ``x`` is not floating point.
    """
    _same_shape(logits, x, "logits", "x")
    _check_pixels(x)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(dim=1)


def pixel_entropy(x: torch.Tensor) -> torch.Tensor:
    """Entropy of independent Bernoulli pixels with means ``x``: ``-sum_i (x_i ln x_i + (1 - x_i) ln(1 - x_i))``.

    ``x`` (B, ...) in [0, 1] to (B,) nats, each at least 0 and at most ln 2 times the number of pixels. It is the
    smallest :func:`bernoulli_nll` that any logits reach on ``x``, namely those of ``x`` itself; 0 for pixels that are
    0 or 1. Errors as :func:`bernoulli_nll`. Cover and Thomas, Elements of Information Theory, chapter 2.
    """
    _check_pixels(check_tensor(x, "x", floating=False))
    if x.dim() < 1:
        raise ValueError("x must be (B, ...), got a single number.")
    return (torch.special.entr(x) + torch.special.entr(1 - x)).flatten(1).sum(dim=1)


def squared_error(xhat: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``sum_i (xhat_i - x_i)^2``: (B, ...) each to (B,). No mean and no factor 1/2.

    Half of it is the Gaussian negative log-likelihood of unit variance, up to its constant. Raises
    ``ValueError`` when the shapes differ.
    """
    _same_shape(xhat, x, "xhat", "x")
    return (xhat - x).square().flatten(1).sum(dim=1)


def beta_vae_loss(nll: torch.Tensor, kl: torch.Tensor, beta: float | torch.Tensor) -> torch.Tensor:
    """``mean(nll) + beta mean(sum_j kl_j)``, to be minimised; ``beta=1`` is the negative ELBO.

    ``nll`` (B,) and ``kl`` (B, M) in nats give a scalar. ``beta=0`` is maximum likelihood of an
    autoencoder with noise. ``beta`` may be a 0-dim tensor (then its value is not looked at). Raises
    ``ValueError`` for ``beta < 0`` and for shapes that do not fit. Higgins et al., arXiv 1606.05579.
    """
    _fit_together(nll, kl)
    if not isinstance(beta, torch.Tensor):
        beta = as_float(beta, "beta", minimum=0.0)
    return nll.mean() + beta * kl.sum(dim=1).mean()


def capacity_loss(
    nll: torch.Tensor, kl: torch.Tensor, capacity: float | torch.Tensor, gamma: float | torch.Tensor
) -> torch.Tensor:
    """``mean(nll) + gamma |mean(sum_j kl_j) - C|``, to be minimised.

    ``nll`` (B,) and ``kl`` (B, M) in nats give a scalar. The mean over the batch comes before the
    absolute value: images of 5 and 15 nats meet ``C = 10`` exactly. With ``C = 0`` this is
    :func:`beta_vae_loss` with ``beta = gamma``. The slope in each image's KL is ``+-gamma / B``, and
    0 where the mean KL equals ``C``. ``capacity`` and ``gamma`` may be 0-dim tensors (then their values
    are not looked at), which a captured CUDA graph needs. Raises ``ValueError`` for a negative
    number or shapes that do not fit. Burgess et al., arXiv 1804.03599, eq. 8.
    """
    _fit_together(nll, kl)
    if not isinstance(capacity, torch.Tensor):
        capacity = as_float(capacity, "capacity", minimum=0.0)
    if not isinstance(gamma, torch.Tensor):
        gamma = as_float(gamma, "gamma", minimum=0.0)
    return nll.mean() + gamma * (kl.sum(dim=1).mean() - capacity).abs()


def capacity_schedule(step: int, c_max: float, n_steps: int, c_min: float = 0.0) -> float:
    """The target capacity in nats: a line from ``c_min`` at step 0 to ``c_max`` at ``n_steps``, then flat.

    ``step`` counts optimiser updates (not loss evaluations), from 0. Raises ``ValueError`` for a
    negative step, ``n_steps < 1``, a negative ``c_min`` or ``c_max < c_min``, and ``TypeError`` when
    ``step`` or ``n_steps`` is no integer. Burgess et al., arXiv 1804.03599.
    """
    step = as_int(step, "step", minimum=0)
    n_steps = as_int(n_steps, "n_steps", minimum=1)
    c_min = as_float(c_min, "c_min", minimum=0.0)
    c_max = as_float(c_max, "c_max", minimum=c_min)
    return c_max if step >= n_steps else c_min + (c_max - c_min) * (step / n_steps)


def normalised_beta(beta: float, n_latent: int, n_pixels: int) -> float:
    """``beta M / N``: the pressure per latent over the evidence per pixel, to carry ``beta`` between sizes.

    ``n_pixels`` counts every value of an image (channels included). ``beta=4`` with 10 latents at
    64x64 is 0.0098. Higgins et al., "beta-VAE", ICLR 2017.
    """
    beta = as_float(beta, "beta", minimum=0.0)
    return beta * as_int(n_latent, "n_latent", minimum=1) / as_int(n_pixels, "n_pixels", minimum=1)


def _same_shape(a: torch.Tensor, b: torch.Tensor, name_a: str, name_b: str) -> None:
    check_tensor(a, name_a)  # integers wrap around: 236 - 255 is 237 in uint8
    check_tensor(b, name_b)
    if a.shape != b.shape or a.dim() < 1:
        raise ValueError(
            f"{name_a} and {name_b} must have one shape (B, ...), got {tuple(a.shape)} and {tuple(b.shape)}; "
            "broadcasting is refused because it would change the sum."
        )


def _check_pixels(x: torch.Tensor) -> None:
    """Floating point and, on the CPU, in [0, 1]; on an accelerator looking at the values would stall the queue."""
    if not x.is_floating_point():
        raise TypeError(f"x must be floating point in [0, 1], got {x.dtype}; convert it with x.to(logits.dtype).")
    if x.device.type == "cpu" and x.numel() and not values_hidden(x):
        low, high = (v.item() for v in torch.aminmax(x.detach()))
        if not (low >= 0.0 and high <= 1.0):
            raise ValueError(f"x must be in [0, 1], got values from {low:g} to {high:g}; scale the images first.")


def _fit_together(nll: torch.Tensor, kl: torch.Tensor) -> None:
    check_tensor(nll, "nll")
    check_tensor(kl, "kl")
    if kl.ndim != 2 or nll.ndim != 1 or len(nll) != len(kl) or len(nll) == 0:
        raise ValueError(
            f"nll must be (B,) and kl (B, M) with B >= 1, got {tuple(nll.shape)} and {tuple(kl.shape)}; "
            "pass one likelihood per image and one KL per image and latent, not yet averaged."
        )
