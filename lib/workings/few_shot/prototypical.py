"""Prototypical logits of an episode and their negative log-likelihood, for one episode or a batch of them.

Snell, Swersky and Zemel, arXiv 1703.05175: a query belongs to the class whose mean support feature, the prototype, is
nearest. "sqeuclidean" measures the *squared* distance; the cosine form is that of the authors' code of arXiv 2108.01662.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy, normalize, one_hot

from workings.checks import as_float, check_tensor, one_of, values_hidden

METRICS = ("sqeuclidean", "cosine")


def prototypical_logits(
    support: torch.Tensor,
    labels: torch.Tensor,
    query: torch.Tensor,
    metric: str = "sqeuclidean",
    scale: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    """Logits (..., Q, K) of the queries: how close each is to the mean support feature of each of the K classes.

    ``support`` (..., S, D) and ``query`` (..., Q, D) are features; leading dimensions count episodes. ``labels`` (S,) are
    the support's classes 0..K-1, the same order in every episode; each class needs at least one. Features are multiplied
    by ``scale`` c (a positive number, or a tensor with one element that may be trained):

    * "sqeuclidean": minus the squared distance, ``-c^2 |q - p_k|^2``;
    * "cosine": ``c^2 cos(q, p_k)``. A query or a prototype that is zero has cosine 0 with everything.

    Raises ``ValueError`` for shapes that do not fit, NaN, classes that are not 0..K-1 or lack support, and an unknown
    metric; ``TypeError`` for what is no floating-point tensor or, for ``labels``, no tensor of whole numbers.
    """
    one_of(metric, "metric", METRICS)
    support, query = _features(support, "support"), _features(query, "query")
    if support.shape[-1] != query.shape[-1] or support.shape[:-2] != query.shape[:-2]:
        raise ValueError(
            f"support {tuple(support.shape)} and query {tuple(query.shape)} must agree in their last dimension and in the "
            "leading ones; give features (..., S, D) and (..., Q, D) of the same network and episodes."
        )
    if support.dtype != query.dtype:
        raise TypeError(f"support is {support.dtype} and query {query.dtype}; convert one of them.")
    weights = _averaging(labels, support)
    if isinstance(scale, torch.Tensor):
        if scale.numel() != 1:
            raise ValueError(f"scale must have one element, got shape {tuple(scale.shape)}.")
        scale = scale.reshape(())
    else:
        scale = as_float(scale, "scale", minimum=0.0, open_ends=True)
    prototypes = weights @ support  # (..., K, D)
    if metric == "cosine":
        cosines = normalize(query, dim=-1) @ normalize(prototypes, dim=-1).transpose(-1, -2)
        return scale**2 * cosines
    gaps = query.unsqueeze(-2) - prototypes.unsqueeze(-3)  # no |q|^2 - 2qp + |p|^2, which cancels badly in float32
    return -(scale**2) * gaps.square().sum(dim=-1)


def episode_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Difficulty of an episode: the mean over its queries of ``-log softmax(logits)[label]``, natural logarithm.

    ``logits`` (..., Q, K), ``labels`` (Q,) for all episodes or (..., Q), whole numbers in 0..K-1. Returns (...): one
    number per episode, at least 0, ``log K`` for constant logits. Differentiable in ``logits``.

    Raises ``ValueError`` for shapes that do not fit, NaN and labels out of range, ``TypeError`` for wrong dtypes.
    """
    check_tensor(logits, "logits")
    if logits.dim() < 2 or logits.numel() == 0:
        raise ValueError(f"logits must have shape (..., queries, classes), got {tuple(logits.shape)}.")
    _no_nan(logits, "logits")
    labels = _whole(labels, "labels")
    lead, (n, way) = logits.shape[:-2], logits.shape[-2:]
    if labels.shape not in ((n,), logits.shape[:-1]):
        raise ValueError(f"labels must have shape {(n,)} or {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}.")
    if not values_hidden(labels) and (labels.min() < 0 or labels.max() >= way):
        raise ValueError(f"labels must be in 0..{way - 1}, got {int(labels.min())} to {int(labels.max())}.")
    labels = labels.expand(logits.shape[:-1]).reshape(-1)
    losses = cross_entropy(logits.reshape(-1, way), labels, reduction="none")
    return losses.reshape(*lead, n).mean(dim=-1)


def _averaging(labels: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """The matrix (K, S) that turns support features into class means."""
    labels = _whole(labels, "labels")
    if labels.shape != support.shape[-2:-1]:
        raise ValueError(
            f"labels must have shape ({support.shape[-2]},), one per support item, got {tuple(labels.shape)}."
        )
    way = int(labels.max()) + 1
    counts = torch.bincount(labels, minlength=way) if labels.min() >= 0 else labels.new_zeros(1)
    if (counts == 0).any():
        raise ValueError(
            f"labels must be 0..K-1 with at least one support item each, got {sorted(set(labels.tolist()))}; "
            "number the classes of the episode by their place in it."
        )
    return (one_hot(labels, way).to(support.dtype) / counts).T


def _features(x: Any, name: str) -> torch.Tensor:
    check_tensor(x, name)
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"{name} must have shape (..., items, features), got {tuple(x.shape)}.")
    return _no_nan(x, name)


def _no_nan(x: torch.Tensor, name: str) -> torch.Tensor:
    if not values_hidden(x) and bool(x.isnan().any()):
        raise ValueError(f"{name} contains NaN; look at the network or the images that gave it.")
    return x


def _whole(labels: Any, name: str) -> torch.Tensor:
    check_tensor(labels, name, floating=False)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{name} must be whole numbers (torch.int64), got {labels.dtype}; they are places of classes.")
    if labels.numel() == 0:
        raise ValueError(f"{name} is empty; at least one item is needed.")
    return labels.long()
