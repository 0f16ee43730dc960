"""Closed forms of the rate-distortion problem that a beta-VAE solves: which factors are bought first.

For independent Gaussian factors and squared error the answer is reverse water-filling; a linear
beta-VAE walks along the same curve, with ``beta`` as the water level. Rates are in nats.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from workings.checks import as_finite_array, as_float


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


def _variances(values: np.ndarray, name: str) -> np.ndarray:
    if (values < 0.0).any():
        raise ValueError(f"{name} must be at least 0, got {values.min():g}; pass variances, not deviations.")
    return values


def _log(values: np.ndarray) -> np.ndarray:
    """Natural logarithm with ``ln 0 = -inf`` and no warning."""
    with np.errstate(divide="ignore"):
        return np.log(values)
