"""How well a random network does: predictions from several passes, accuracy under a stated rule."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from workings.checks import as_int, check_tensor, one_of, values_hidden
from workings.robustness.attacks import check_labels

ACCURACY_RULES = ("single", "mean-softmax", "all", "any")


class Accuracy(NamedTuple):
    """``value`` in [0, 1] over ``count`` examples, with its binomial ``standard_error`` sqrt(v (1 - v) / count)."""

    value: float
    standard_error: float
    count: int


@torch.no_grad()
def sample_softmax(model: nn.Module, x: torch.Tensor, samples: int, at_once: int = 1) -> torch.Tensor:
    """Softmax outputs of ``samples`` independent passes: (samples, B, K).

    With ``at_once`` > 1 that many copies of ``x`` go through the network as one batch, which is faster for small batches. It
    gives the same law where the network draws afresh for each example of a batch, as the layers of this library do.
    """
    samples, at_once = as_int(samples, "samples", minimum=1), as_int(at_once, "at_once", minimum=1)
    check_tensor(x, "x", floating=False)
    if at_once == 1:
        return torch.stack([model(x.clone()).softmax(dim=1) for _ in range(samples)])
    parts = []
    for start in range(0, samples, at_once):
        copies = min(at_once, samples - start)
        outputs = model(x.repeat(copies, *[1] * (x.dim() - 1))).softmax(dim=1)
        parts.append(outputs.reshape(copies, len(x), -1))
    return torch.cat(parts)


@torch.no_grad()
def mc_predict(model: nn.Module, x: torch.Tensor, samples: int) -> torch.Tensor:
    """Mean softmax of ``samples`` passes: (B, K), rows sum to 1. The SAP paper averages 100 (official code)."""
    samples = as_int(samples, "samples", minimum=1)
    check_tensor(x, "x", floating=False)
    total = model(x.clone()).softmax(dim=1)
    for _ in range(samples - 1):
        total += model(x.clone()).softmax(dim=1)
    return total / samples


@torch.no_grad()
def robust_accuracies(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, samples: int, at_once: int = 1
) -> dict[str, Accuracy]:
    """Accuracy of a random network on ``x`` (B, ...) with labels ``y`` (B,), by every rule, from the same passes.

    - ``"single"``: share of correct passes, mean over examples: the accuracy of one query;
    - ``"mean-softmax"``: the argmax of the mean softmax is right: the paper's prediction;
    - ``"all"``: right in every pass; ``"any"``: right in at least one.

    Always all <= single <= any, and all four agree for a deterministic network. ``x`` may be
    adversarial, but it must not have been chosen on these same passes. ``at_once`` as in :func:`sample_softmax`.
    Raises for labels out of range.
    """
    samples = as_int(samples, "samples", minimum=1)
    check_tensor(x, "x", floating=False)
    hits = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    total: torch.Tensor | None = None
    at_once = as_int(at_once, "at_once", minimum=1)
    for start in range(0, samples, at_once):
        probabilities = sample_softmax(model, x, min(at_once, samples - start), at_once)  # (copies, B, K)
        if total is None:
            check_labels(probabilities[0], y)
            total = torch.zeros_like(probabilities[0])
        if not bool(torch.isfinite(probabilities).all()):
            raise ValueError("the model gives NaN or infinite outputs; an accuracy of those would mean nothing.")
        total += probabilities.sum(dim=0)
        hits += (probabilities.argmax(dim=2) == y).sum(dim=0)
    right = {
        "single": hits.double() / samples,
        "mean-softmax": (total.argmax(dim=1) == y).double(),
        "all": (hits == samples).double(),
        "any": (hits > 0).double(),
    }
    return {rule: _accuracy(float(right[rule].mean()), len(x)) for rule in ACCURACY_RULES}


def robust_accuracy(
    model: nn.Module, x_adv: torch.Tensor, y: torch.Tensor, samples: int, rule: str = "mean-softmax"
) -> Accuracy:
    """One rule of :func:`robust_accuracies`: ``"single"``, ``"mean-softmax"``, ``"all"`` or ``"any"``."""
    one_of(rule, "rule", ACCURACY_RULES)
    return robust_accuracies(model, x_adv, y, samples)[rule]


def gradient_alignment(g1: torch.Tensor, g2: torch.Tensor) -> torch.Tensor:
    """Cosine between two gradients, example by example: (B,) in [-1, 1]; 0 where either is zero.

    ``g1``, ``g2`` (B, ...) of one shape. Raises ``ValueError`` for different shapes or non-finite entries.
    """
    check_tensor(g1, "g1")
    check_tensor(g2, "g2")
    if g1.shape != g2.shape or g1.dim() < 2:
        raise ValueError(f"gradients must be two (B, ...) tensors of one shape, got {g1.shape} and {g2.shape}.")
    units = []
    for name, g in (("g1", g1), ("g2", g2)):
        flat = g.flatten(1).double()
        peak = flat.abs().amax(dim=1, keepdim=True)
        if not values_hidden(peak) and not bool(torch.isfinite(peak).all()):
            raise ValueError(f"{name} contains NaN or infinite entries; replace them by 0 and count them first.")
        flat = flat / torch.where(peak > 0, peak, 1)
        norm = flat.norm(dim=1, keepdim=True)
        units.append(flat / torch.where(norm > 0, norm, 1))
    return (units[0] * units[1]).sum(dim=1).clamp(-1, 1).to(g1.dtype)


def _accuracy(value: float, count: int) -> Accuracy:
    value = min(max(value, 0.0), 1.0)
    return Accuracy(value, math.sqrt(value * (1 - value) / count), count)
