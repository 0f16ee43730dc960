"""Prototypical logits of an episode and their negative log-likelihood, for one episode or a batch of them.

Snell, Swersky and Zemel, arXiv 1703.05175: a query belongs to the class whose mean support feature, the prototype, is
nearest. "sqeuclidean" measures the *squared* distance; the cosine form is that of the authors' code of arXiv 2108.01662.
"""

from __future__ import annotations

from typing import Any

from workings import require_torch
from workings.checks import all_finite, as_float, check_tensor, one_of, values_hidden
from workings.few_shot.prototypes import check_episode_labels, class_prototypes, way_of

with require_torch("few_shot.prototypical"):
    import torch
    from torch.nn.functional import cross_entropy, normalize

METRICS = ("sqeuclidean", "cosine")


def prototypical_logits(
    support: torch.Tensor,
    labels: Any,
    query: torch.Tensor,
    metric: str = "sqeuclidean",
    scale: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    """Logits (..., Q, K) of the queries: how close each is to the mean support feature of each of the K classes.

    ``support`` (..., S, D) and ``query`` (..., Q, D) are features; leading dimensions count episodes. ``labels``, (S,) for
    all of them or (..., S), are the support's classes 0..K-1; each class needs at least one. Features are multiplied by
    ``scale`` c (a positive number, or a tensor with one element that may be trained):

    * "sqeuclidean": minus the squared distance, ``-c^2 |q - p_k|^2``;
    * "cosine": ``c^2 cos(q, p_k)``. A query or a prototype that is zero has cosine 0 with everything.

    Raises ``ValueError`` for shapes that do not fit, NaN or infinity, classes that are not 0..K-1 or lack support, and an
    unknown metric; ``TypeError`` for features that are no floating-point tensor and labels that are no whole numbers.
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
    if isinstance(scale, torch.Tensor):
        if scale.numel() != 1:
            raise ValueError(f"scale must have one element, got shape {tuple(scale.shape)}.")
        scale = scale.reshape(())
    else:
        scale = as_float(scale, "scale", minimum=0.0, open_ends=True)
    prototypes = class_prototypes(support, labels, way_of(labels))  # (..., K, D)
    if metric == "cosine":
        cosines = normalize(query, dim=-1) @ normalize(prototypes, dim=-1).transpose(-1, -2)
        return scale**2 * cosines
    centre = prototypes.mean(dim=-2, keepdim=True).detach()  # distances do not see it, and near it nothing cancels
    p, q = prototypes - centre, query - centre
    products = q @ p.transpose(-1, -2)
    squares = q.square().sum(dim=-1).unsqueeze(-1) + p.square().sum(dim=-1).unsqueeze(-2)
    return scale**2 * (2 * products - squares)


def episode_nll(logits: torch.Tensor, labels: Any) -> torch.Tensor:
    """Difficulty of an episode: the mean over its queries of ``-log softmax(logits)[label]``, natural logarithm.

    ``logits`` (..., Q, K), ``labels`` (Q,) for all episodes or (..., Q), whole numbers in 0..K-1. Returns (...): one
    number per episode, at least 0, ``log K`` for constant logits. Differentiable in ``logits``.

    Raises ``ValueError`` for shapes that do not fit, NaN and labels out of range, ``TypeError`` for wrong dtypes.
    """
    check_tensor(logits, "logits")
    if logits.dim() < 2 or logits.numel() == 0:
        raise ValueError(f"logits must have shape (..., queries, classes), got {tuple(logits.shape)}.")
    if not values_hidden(logits) and bool(logits.isnan().any()):
        raise ValueError("logits hold NaN; look at the features and the scale that gave them.")
    lead, (n, way) = logits.shape[:-2], logits.shape[-2:]
    labels = check_episode_labels(labels, logits.shape[:-1], way, "labels", every=False).to(logits.device)
    labels = labels.expand(logits.shape[:-1]).reshape(-1)
    losses = cross_entropy(logits.reshape(-1, way), labels, reduction="none")
    return losses.reshape(*lead, n).mean(dim=-1)


def _features(x: Any, name: str) -> torch.Tensor:
    check_tensor(x, name)
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"{name} must have shape (..., items, features), got {tuple(x.shape)}.")
    if not values_hidden(x) and not all_finite(x):
        raise ValueError(f"{name} holds NaN or infinity; look at the network or the images that gave it.")
    return x
