"""Classifiers made of class means: prototypes, and the cosine classifier that starts from them.

Dhillon, Chaudhari, Ravichandran and Soatto, ICLR 2020 (arXiv 1909.02729), section 3.1; prototypes: Snell, Swersky and Zemel,
NeurIPS 2017 (arXiv 1703.05175). Every function takes one episode or a whole block of them in the leading dimensions.
"""

from __future__ import annotations

from typing import Any

from workings import require_torch
from workings.checks import all_finite, as_int, as_tensor, check_tensor, values_hidden

with require_torch("few_shot.prototypes"):
    import torch
    import torch.nn.functional as F


def class_prototypes(features: torch.Tensor, labels: Any, way: int) -> torch.Tensor:
    """Mean feature of each class: (..., K, D) of ``features`` (..., N, D) with ``labels`` (N,) or (..., N) in 0..way-1.

    Differentiable in ``features``. Raises ``ValueError`` for a NaN, for a label outside 0..way-1 and for a class without a
    single item, naming it.
    """
    return _prototypes(_features(features, "features"), labels, way)


def support_init(features: torch.Tensor, labels: Any, way: int, relu: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """The classifier that the support set gives: unit rows ``weight`` (..., K, D) and zero ``bias`` (..., K).

    Features are rectified (``relu=True``), averaged per class and then brought to length 1, in this order. A class whose mean is
    zero, for instance because every feature is negative, has a row of zeros. ``features`` and ``labels`` as in
    :func:`class_prototypes`.
    """
    features = _features(features, "features")
    means = _prototypes(F.relu(features) if relu else features, labels, way)
    return _unit(means), means.new_zeros(means.shape[:-1])


def cosine_logits(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, relu: bool = True) -> torch.Tensor:
    """Logits (..., N, K) = weight · z / |z| + bias of ``features`` (..., N, D), where z is the feature, rectified first.

    ``weight`` (..., K, D) and ``bias`` (..., K) are used as they are: after :func:`support_init` the logits are cosines, after
    tuning they need not be. A feature of zeros has logits ``bias``. Raises ``ValueError`` for other shapes.
    """
    features, weight, bias = _features(features, "features"), _features(weight, "weight"), check_tensor(bias, "bias")
    if weight.shape[-1] != features.shape[-1]:
        raise ValueError(
            f"weight has {weight.shape[-1]} numbers per class and features have {features.shape[-1]}; they must be equal."
        )
    if bias.shape != weight.shape[:-1] or len({features.dtype, weight.dtype, bias.dtype}) > 1:
        raise ValueError(
            f"bias must have shape {tuple(weight.shape[:-1])} and the dtype of weight and features, got {tuple(bias.shape)}; "
            f"dtypes are {features.dtype}, {weight.dtype} and {bias.dtype}."
        )
    if weight.ndim > 2 and weight.shape[:-2] != features.shape[:-2]:
        raise ValueError(
            f"leading dimensions differ: features {tuple(features.shape[:-2])}, weight {tuple(weight.shape[:-2])}."
        )
    z = _unit(F.relu(features) if relu else features)
    return z @ weight.transpose(-1, -2) + bias[..., None, :]


def _prototypes(features: torch.Tensor, labels: Any, way: int) -> torch.Tensor:
    way = as_int(way, "way", minimum=1)
    labels = check_episode_labels(labels, features.shape[:-1], way, "labels").to(features.device)
    member = F.one_hot(labels, way).to(features.dtype).transpose(-1, -2)  # (..., K, N)
    counts = member.sum(dim=-1, keepdim=True)
    return (member @ features) / counts


def check_episode_labels(
    labels: Any, shape: tuple[int, ...], way: int, name: str = "labels", every: bool = True
) -> torch.Tensor:
    """``labels`` as int64 of shape (N,) or ``shape`` (..., N), entries in 0..way-1, with ``every`` class present.

    Raises ``TypeError`` for text or fractions and ``ValueError`` for a wrong shape, a label outside, or a missing class.
    """
    try:
        labels = as_tensor(labels, name)
    except TypeError:
        raise TypeError(f"{name} must be whole numbers 0..{way - 1}; number the classes first.") from None
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{name} must be whole numbers 0..{way - 1}, got {labels.dtype}; convert them with .long().")
    if tuple(labels.shape) not in (tuple(shape), tuple(shape[-1:])):
        raise ValueError(f"{name} must have shape {tuple(shape[-1:])}, one per item, got {tuple(labels.shape)}.")
    labels = labels.long()
    if values_hidden(labels):
        return labels
    if labels.numel() and (labels.min() < 0 or labels.max() >= way):
        raise ValueError(
            f"{name} must be 0..{way - 1} for {way} ways, got {labels.min()}..{labels.max()}; number the classes of an "
            "episode by their place in it."
        )
    if not every:
        return labels
    present = F.one_hot(labels, way).sum(dim=-2) > 0  # (..., K)
    if not present.all():
        missing = int((~present).nonzero()[0, -1])
        raise ValueError(f"class {missing} has no support item; every one of the {way} ways needs at least one.")
    return labels


def way_of(labels: Any, name: str = "labels") -> int:
    """The number of ways of an episode with ``labels`` (..., N) in 0..way-1: the largest label and 1, at least 1.

    Raises ``TypeError`` for labels that are not whole numbers; whether every class is there :func:`check_episode_labels` asks.
    """
    try:
        labels = as_tensor(labels, name)
    except TypeError:
        raise TypeError(f"{name} must be whole numbers 0, 1, ...; number the classes of an episode first.") from None
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{name} must be whole numbers 0, 1, ..., got {labels.dtype}; convert them with .long().")
    return max(int(labels.max()) + 1, 1) if labels.numel() else 1


def _features(x: torch.Tensor, name: str) -> torch.Tensor:
    x = check_tensor(x, name)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"{name} must have shape (..., N, D) with at least one entry, got {tuple(x.shape)}.")
    if not values_hidden(x) and not all_finite(x):
        raise ValueError(f"{name} hold NaN or infinity; look for a diverged network or a division by zero before this.")
    return x


def _unit(x: torch.Tensor) -> torch.Tensor:
    """Rows at length 1; a row of zeros stays, with a gradient of zeros."""
    largest = x.detach().abs().amax(dim=-1, keepdim=True)
    x = x / torch.where(largest > 0, largest, torch.ones_like(largest))  # squares neither overflow nor vanish
    square = x.square().sum(dim=-1, keepdim=True)
    return x / torch.where(square > 0, square, torch.ones_like(square)).sqrt()
