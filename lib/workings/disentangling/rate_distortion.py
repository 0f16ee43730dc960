"""Closed forms of the rate-distortion problem that a beta-VAE solves: which factors get capacity first.

For independent Gaussian factors and squared error the answer is reverse water-filling; a linear
beta-VAE walks along the same curve, with ``beta`` as the water level. Rates are in nats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.checks import as_finite_array, as_float, as_int, check_tensor, values_hidden
from workings.disentangling.factor_channel import standardise
from workings.disentangling.objectives import pixel_entropy


class WaterFilling(NamedTuple):
    """``rates`` (K,) in nats, at least 0, and the water level ``theta``; factor k keeps distortion ``min(var_k, theta)``."""

    rates: np.ndarray
    theta: float


class LinearOptimum(NamedTuple):
    """Per latent (K,): ``kl`` in nats, posterior variance ``post_var`` in (0, 1], and whether it is ``active``."""

    kl: np.ndarray
    post_var: np.ndarray
    active: np.ndarray


def gaussian_rate(variance: Any, distortion: Any) -> np.ndarray:
    """Nats needed to describe ``N(0, variance)`` within mean squared error ``distortion``: ``max(0, ln(v / D) / 2)``.

    Arrays broadcast; float64. ``variance`` finite and at least 0, ``distortion`` finite and above 0
    (exactness costs infinitely many nats), else ``ValueError``. Cover and Thomas, Theorem 10.3.2.
    """
    variance = _variances(as_finite_array(variance, "variance"), "variance")
    distortion = as_finite_array(distortion, "distortion")
    if (distortion <= 0.0).any():
        raise ValueError(f"distortion must be above 0, got {distortion.min():g}; no finite rate reaches 0.")
    return np.maximum(0.0, 0.5 * (_log(variance) - np.log(distortion)))


def reverse_water_filling(variances: Any, capacity: float) -> WaterFilling:
    """The rates that leave the least total squared error when they sum to ``capacity`` nats.

    ``R_k = max(0, ln(var_k / theta) / 2)`` with the ``theta`` at which ``sum R_k = C``. Factors at or
    below the water level ``theta`` get nothing. Multiplying all variances by c multiplies
    ``theta`` by c and leaves the rates alone; ``C = 0`` gives the largest variance as ``theta``.

    A variance of 0 is a component that never changes: it takes nothing and has rate 0.

    ``variances`` (K,) finite, at least 0, not all 0; ``capacity`` finite, at least 0; else
    ``ValueError``. Cover and Thomas, Theorem 10.3.3; the reading of Burgess et al., arXiv 1804.03599.
    """
    variances = _variances(as_finite_array(variances, "variances", ndim=1), "variances")
    capacity = as_float(capacity, "capacity", minimum=0.0)
    if not variances.any():
        raise ValueError("variances are all 0, so there is nothing to spend nats on; give at least one above 0.")
    logs = _log(variances)
    largest_first = np.sort(logs)[::-1]
    k = np.arange(1, len(logs) + 1)
    # Were exactly the k largest factors active, ln theta would be mean_k(ln var) - 2 C / k. For every k this
    # is at most the true level, since a sum without the positive parts is smaller; and one k is right.
    log_theta = np.max(np.cumsum(largest_first) / k - 2.0 * capacity / k)
    return WaterFilling(np.maximum(0.0, 0.5 * (logs - log_theta)), float(np.exp(log_theta)))


def linear_beta_vae_optimum(eigvals: Any, beta: float) -> LinearOptimum:
    """Where a linear beta-VAE ends on data with covariance eigenvalues ``eigvals``, each latent on one axis.

    Loss ``|x - xhat|^2 / 2 + beta KL``. Latent k is active iff ``eigval_k > beta``; then its posterior
    variance is ``beta / eigval_k`` and its mean KL ``ln(eigval_k / beta) / 2``. The others sit at the
    prior (variance 1, KL 0). So ``beta`` is the water level ``theta`` of :func:`reverse_water_filling`.

    ``eigvals`` (K,) finite and at least 0, ``beta`` finite and above 0, else ``ValueError``. The loss
    has rotated optima too when eigenvalues are equal. Derived in the chapter.
    """
    eigvals = _variances(as_finite_array(eigvals, "eigvals", ndim=1), "eigvals")
    beta = as_float(beta, "beta", minimum=0.0, maximum=np.inf, open_ends=True)
    active = eigvals > beta
    post_var = np.ones_like(eigvals)
    post_var[active] = beta / eigvals[active]
    return LinearOptimum(gaussian_rate(eigvals, beta), post_var, active)


class FactorVariances(NamedTuple):
    """Two variances per factor (K,), summed over pixels: of the mean picture when only the factor is known (``alone``),
    and of the picture when only the factor moves (``moving``)."""

    alone: np.ndarray
    moving: np.ndarray


def factor_variances(images: torch.Tensor, sizes: Sequence[int]) -> FactorVariances:
    """How much each factor of a grid moves the picture; ``images`` (N, ...) in grid order, ``N = prod(sizes)``, last fastest.

    ``alone``: ``sum_pixels Var_k E[x | f_k]``, the first-order effect. ``moving``: ``sum_pixels E Var[x | all but f_k]``,
    the total effect. They agree iff the factors' effects add up; otherwise ``alone`` is smaller. All combinations are
    equally likely, variances are the population's. Sobol's indices times the total variance.

    Raises ``ValueError`` when the number of images is not the product of ``sizes``.
    """
    check_tensor(images, "images")
    sizes = [as_int(size, "a size", minimum=1) for size in sizes]
    if len(images) != np.prod(sizes):
        raise ValueError(f"images must be all {np.prod(sizes)} combinations of sizes {sizes}, got {len(images)}.")
    grid = images.flatten(1).unflatten(0, sizes)
    alone, moving = [], []
    for k in range(len(sizes)):
        others = [axis for axis in range(len(sizes)) if axis != k]
        given = grid.mean(dim=others) if others else grid
        alone.append(float(given.double().var(dim=0, unbiased=False).sum()))
        moving.append(float(grid.var(dim=k, unbiased=False).sum(dim=-1).double().mean()))
    return FactorVariances(np.array(alone), np.array(moving))


def _variances(values: np.ndarray, name: str) -> np.ndarray:
    if (values < 0.0).any():
        raise ValueError(f"{name} must be at least 0, got {values.min():g}; pass variances, not deviations.")
    return values


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm with ``ln 0 = -inf`` and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(values)


def shuffled_code_nll(pictures: torch.Tensor, rates: Iterable[float], order: torch.Tensor) -> torch.Tensor:
    """NLL (T,) of the best possible decoder when picture i is sent as code point ``order[i]``; nats, exact to 1e-6.

    ``pictures`` (n, ...) in [0, 1], equally likely. Code points are n equally spaced numbers, standardised, sent through
    ``z = sqrt(1 - e^(-2 r)) f + e^(-r) eps`` for each r in ``rates`` (T,), at most 8. The best decoder answers with the mean picture
    given z, so the NLL is the expected sum of its pixels' entropies. ``order`` (n,) is a permutation: neither the KL,
    which is r, nor the information in z depends on it.
    """
    check_tensor(pictures, "pictures")
    check_tensor(order, "order", floating=False)
    inside = values_hidden(pictures) or bool(((pictures >= 0) & (pictures <= 1)).all())
    if pictures.dim() < 2 or len(pictures) < 2 or not inside:
        raise ValueError(
            f"pictures must be (n, ...) in [0, 1] with n of at least 2, got shape {tuple(pictures.shape)}."
        )
    flat = pictures.detach().flatten(1).double()
    if sorted(order.tolist()) != list(range(len(flat))):
        raise ValueError(f"order must be a permutation of 0..{len(flat) - 1}, got {order.tolist()}.")
    points = standardise(torch.arange(len(flat), dtype=torch.float64)[:, None])[order, 0]  # (n,)
    found = []
    for rate in rates:
        z, share = _codes(rate)
        log_density = -((z[:, None] - share**0.5 * points) ** 2) / (2 * (1 - share))  # (Z, n), up to a constant
        density = log_density.exp().mean(1) / (2 * np.pi * (1 - share)) ** 0.5
        entropy = pixel_entropy((torch.softmax(log_density, dim=1) @ flat).clamp(0, 1))  # (Z,), of the mean picture
        found.append((density * entropy).sum() * (z[1] - z[0]))
    return torch.stack(found) if found else flat.new_zeros(0)


def channel_information(places: int, rate: float) -> float:
    """Nats that ``z = sqrt(1 - e^(-2 r)) f + e^(-r) eps`` tells about which of ``places`` equally spaced, equally likely f.

    The mutual information, by quadrature to 1e-6, for a rate up to 8; at most ``rate``, which is what the KL charges, and at most ln(places).
    """
    points = standardise(torch.arange(as_int(places, "places", minimum=2), dtype=torch.float64)[:, None])[:, 0]
    z, share = _codes(rate)
    log_density = -((z[:, None] - share**0.5 * points) ** 2) / (2 * (1 - share)) - 0.5 * np.log(2 * np.pi * (1 - share))
    mixture = torch.logsumexp(log_density, dim=1) - np.log(places)
    entropy = -float((mixture.exp() * mixture).sum() * (z[1] - z[0]))
    return entropy - 0.5 * float(np.log(2 * np.pi * np.e * (1 - share)))


def _codes(rate: float) -> tuple[torch.Tensor, float]:
    """Points (Z,) in [-8, 8], half the noise's deviation apart, and the signal's share ``1 - e^(-2 rate)``."""
    rate = as_float(rate, "a rate", minimum=0.0, maximum=8.0)
    return torch.linspace(-8, 8, 32 * int(np.ceil(np.exp(rate))) + 1, dtype=torch.float64), -np.expm1(-2 * rate)
