"""BPDA: run one function forward and differentiate another backward, at the input or inside a network.

Athalye, Carlini and Wagner, arXiv 1802.00420, Section 4 (backward pass differentiable approximation).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from workings.checks import check_tensor

Function = Callable[[torch.Tensor], torch.Tensor]


class _Pretend(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: torch.Tensor) -> None:
        pass

    @staticmethod
    def jvp(ctx: Any, of_value: torch.Tensor | None, of_surrogate: torch.Tensor) -> torch.Tensor:
        return of_surrogate.clone()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor):
        return None, g


def pretend(value: torch.Tensor, surrogate: torch.Tensor) -> torch.Tensor:
    """A tensor equal to ``value`` bit for bit whose gradient flows into ``surrogate`` instead.

    Raises ``ValueError`` if the two differ in shape.
    """
    check_tensor(value, "the forward value", floating=False)
    check_tensor(surrogate, "the surrogate's output", floating=False)
    if value.shape != surrogate.shape:
        raise ValueError(
            f"the surrogate's output must have the shape of the forward value, {tuple(value.shape)}, "
            f"got {tuple(surrogate.shape)}; choose a backward_fn that keeps it."
        )
    return _Pretend.apply(value.detach(), surrogate.to(value.dtype))


def identity(x: torch.Tensor) -> torch.Tensor:
    """``x``: the straight-through surrogate."""
    return x


def bpda(forward_fn: Function, backward_fn: Function = identity) -> Function:
    """The function with the value of ``forward_fn`` and the vector-Jacobian product of ``backward_fn``.

    ``forward_fn`` runs without a graph, so it may be random or not differentiable; gradients into
    its parameters are lost, those into ``backward_fn``'s are kept. Both get copies of their own, so either may
    work in place: neither sees what the other did, and ``x`` stays as it is.
    Raises ``ValueError`` (on the call) if the two outputs differ in shape.
    """

    def wrapped(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            value = forward_fn(x.clone())
        return pretend(value, x if backward_fn is identity else backward_fn(x.clone()))

    return wrapped


class BPDALayer(nn.Module):
    """A layer of a network under :func:`bpda`; ``layer`` is the real one, ``surrogate`` what gradients see."""

    __constants__ = ("surrogate",)

    def __init__(self, layer: nn.Module, surrogate: Function = identity):
        super().__init__()
        self.layer = layer
        self.surrogate = surrogate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer's output; any shape that the layer takes."""
        return bpda(self.layer, self.surrogate)(x)


def wrap_bpda(
    model: nn.Module, layers: type[nn.Module] | tuple[type[nn.Module], ...], surrogate: Function = identity
) -> nn.Module:
    """A copy of ``model`` in which every module of a type in ``layers`` is put under BPDA with ``surrogate``.

    This is BPDA on *inner* layers: any attack library that differentiates the copy attacks with the
    surrogate's gradient. Raises ``ValueError`` when no module matches.
    """
    return replace_modules(copy.deepcopy(model), layers, lambda layer: BPDALayer(layer, surrogate))


def replace_modules(
    model: nn.Module,
    types: type[nn.Module] | tuple[type[nn.Module], ...],
    make: Callable[[nn.Module], nn.Module],
) -> nn.Module:
    """``model`` with each module of ``types`` replaced by ``make(module)``, in place; returns the new root.

    A module used in two places gets one replacement in both. What ``make`` puts inside is not searched.
    Raises ``ValueError`` when nothing matches.
    """
    if isinstance(model, types):
        return make(model)
    new: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def visit(parent: nn.Module) -> None:
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            if isinstance(child, types):
                if id(child) not in new:
                    new[id(child)] = make(child)
                parent._modules[name] = new[id(child)]
            elif id(child) not in seen:
                seen.add(id(child))
                visit(child)

    visit(model)
    if not new:
        wanted = ", ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
        raise ValueError(
            f"{type(model).__name__} has no module of type {wanted}; activations called as functions cannot be "
            "found, make them modules (for instance nn.ReLU())."
        )
    return model
