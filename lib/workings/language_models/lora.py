"""Low-rank adaptation: train a product of two thin matrices beside a frozen linear layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from workings.checks import as_float, as_generator, as_int

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")


class LoRALinear(nn.Module):
    """``base(x) + (alpha / rank) B A x`` with ``base`` frozen, ``A`` (rank, in) and ``B`` (out, rank).

    ``A`` starts uniform within ``1 / sqrt(in)``, drawn from ``generator`` (CPU), ``B`` at zero: the layer starts as
    ``base``. It has ``rank (in + out)`` trainable numbers. Source: Hu et al., arXiv 2106.09685, section 4.1.

    While the layer trains, ``dropout`` of what enters ``A`` (not ``base``) is set to zero and the rest divided by
    ``1 - dropout``, as in peft; drawn from torch's global generator, which :func:`workings.training.fit` seeds.
    """

    __constants__ = ("scale",)

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator, dropout: float = 0.0):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"base must be an nn.Linear, got {type(base).__name__}.")
        rank = as_int(rank, "rank", minimum=1, maximum=min(base.in_features, base.out_features))
        self.base = base.requires_grad_(False)
        self.scale = as_float(alpha, "alpha", minimum=0.0, open_ends=True) / rank
        dropout = as_float(dropout, "dropout", minimum=0.0, maximum=1.0)
        self.dropout = nn.Dropout(dropout) if dropout else None
        start = (2 * torch.rand(rank, base.in_features, generator=as_generator(generator)) - 1) / math.sqrt(
            base.in_features
        )
        self.A = nn.Parameter(start.to(base.weight))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.enabled = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        out = self.base(x)
        if not self.enabled:
            return out
        if self.dropout is not None:
            x = self.dropout(x)
        return out + self.scale * F.linear(F.linear(x, self.A), self.B)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain linear layer with weight ``W + (alpha / rank) B A``; this layer stays as it is."""
        base = self.base
        plain = nn.utils.skip_init(
            nn.Linear,
            base.in_features,
            base.out_features,
            bias=base.bias is not None,
            device=base.weight.device,
            dtype=base.weight.dtype,
        )
        plain.weight.copy_(base.weight + self.scale * self.B @ self.A)
        if base.bias is not None:
            plain.bias.copy_(base.bias)
        return plain


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    names: Sequence[str] = PROJECTIONS,
    *,
    generator: torch.Generator,
    dropout: float = 0.0,
) -> nn.Module:
    """Freeze ``model`` and put a :class:`LoRALinear` in place of each linear layer called one of ``names``; in place.

    A name is the last part of a module's path ("q_proj"); ``dropout`` as in :class:`LoRALinear`. Returns ``model``. Raises ``ValueError`` when a name matches
    no linear layer, or the model has LoRA layers already.
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a list of str, got one str; write [{names!r}].")
    if any(isinstance(module, LoRALinear) for module in model.modules()):
        raise ValueError("the model has LoRA layers already; merge them first with merge_lora(model).")
    places = [
        (parent, child)
        for parent in model.modules()
        for child, layer in parent._modules.items()  # named_children() leaves out a layer's second name
        if child in names and isinstance(layer, nn.Linear)
    ]
    missing = sorted(set(names) - {child for _, child in places})
    if missing or not places:
        raise ValueError(
            f"no linear layer is called {', '.join(missing) or '(no names given)'}; see model.named_modules()."
        )
    model.requires_grad_(False)
    made: dict[int, LoRALinear] = {}  # a layer that stands in two places gets one adapter in both
    for parent, child in places:
        layer = getattr(parent, child)
        if id(layer) not in made:
            made[id(layer)] = LoRALinear(layer, rank, alpha, generator, dropout)
        setattr(parent, child, made[id(layer)])
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Replace every :class:`LoRALinear` of ``model`` by its merged plain layer, in place; returns ``model``.

    Where ``model`` itself is one, its merged layer is what is returned. The merged layers can be trained; what :func:`add_lora` froze elsewhere stays frozen.
    """
    if isinstance(model, LoRALinear):
        return model.merged()
    made: dict[int, nn.Linear] = {}  # a layer that stands in two places stays one layer
    for parent in list(model.modules()):
        for child, layer in list(parent._modules.items()):
            if isinstance(layer, LoRALinear):
                made.setdefault(id(layer), layer.merged())
                setattr(parent, child, made[id(layer)])
    return model


@contextlib.contextmanager
def lora_disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model computes what it did before :func:`add_lora`: the reference model without a copy."""
    layers = [module for module in model.modules() if isinstance(module, LoRALinear)]
    before = [layer.enabled for layer in layers]
    try:
        for layer in layers:
            layer.enabled = False
        yield model
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled
