"""Stacks of 4x4 convolutions that halve an image, or transposed ones that double it, ReLU between.

Parameters, names and results are those of ``nn.Conv2d`` and ``nn.ConvTranspose2d``. On a CPU a stack
is one differentiable function, which saves time in three places: channels lie last in memory (the
library's backward pass is slower with channels first), the gradient passes the ReLUs in place (a
fresh map of megabytes costs more in page faults than the arithmetic on it), and a transposed
convolution to few channels is one matrix product and a sum of patches.

It is kept because a full tier on a CPU trains for hours: a step of the Burgess network on 64 images takes 1.4 times the
processor time with the plain layers at 32 x 32 pixels (55 against 40 ms, channels first or last), and at 64 x 64 pixels
1.5 times with channels first, 1.2 times with channels last (176 and 134 against 114 ms; one thread, least of 7 rounds).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from workings.checks import check_tensor, in_transform

FEW_CHANNELS = 4  # up to here the sum of patches is faster than the library's transposed convolution


class Downsample(nn.Conv2d):
    """Convolution of kernel 4, stride 2, padding 1: (B, inputs, H, W) to (B, outputs, H / 2, W / 2), H and W even."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 4, stride=2, padding=1)


class Upsample(nn.ConvTranspose2d):
    """Transposed convolution of kernel 4, stride 2, padding 1: (B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 4, stride=2, padding=1)


def run_stack(layers: nn.ModuleList, x: torch.Tensor, *, relu_last: bool, fast: bool = True) -> torch.Tensor:
    """``x`` (B, C, H, W) through ``layers``, all :class:`Downsample` or all :class:`Upsample`, with ReLU between.

    ``relu_last`` puts a ReLU behind the last layer too. The fast way is taken on a CPU, outside autocast and
    ``torch.func``, while calling each layer is nothing but its class's convolution of weights that lie on the CPU: no
    hooks, no ``forward`` of the instance's own (wrappers that offload or quantise set one). It has first derivatives
    only; ``fast=False`` calls the layers one by one, which second derivatives need.
    """
    if check_tensor(x, "x").dim() != 4:
        raise ValueError(f"x must be (B, C, H, W), got shape {tuple(x.shape)}.")
    kind = type(layers[0])
    one_kind = kind in (Downsample, Upsample) and all(
        type(layer) is kind and not is_changed(layer) and not _apart(layer, x) for layer in layers
    )
    if fast and one_kind and x.is_cpu and not torch.is_autocast_enabled("cpu") and not in_transform():
        parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
        return _Stack.apply(x, kind is Upsample, relu_last, *parameters)
    for k, layer in enumerate(layers):
        x = layer(x)
        if relu_last or k + 1 < len(layers):
            x = torch.relu(x)
    return x


def is_changed(module: nn.Module) -> bool:
    """Whether calling ``module`` is more than the ``forward`` of its class: hooks, or a method of the instance's own."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    own = {"forward", "_conv_forward", "__call__"} & set(module.__dict__)
    return any(hooks) or bool(own) or nn.modules.module._has_any_global_hook()


def _apart(layer: nn.Module, x: torch.Tensor) -> bool:
    """Whether a weight of ``layer`` is missing or does not lie where ``x`` lies."""
    return any(p is None or p.device != x.device for p in (layer.weight, layer.bias))


class _Stack(torch.autograd.Function):
    """``relu(conv(... relu(conv(x)) ...))`` in one piece, so that its backward pass owns the maps between."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, transposed: bool, relu_last: bool, *parameters: torch.Tensor
    ) -> torch.Tensor:
        weights, biases = parameters[::2], parameters[1::2]
        maps = [channels_last(x)]  # the input of every layer, then the output
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            if not transposed:
                h = F.conv2d(maps[-1], weight, bias, stride=2, padding=1)
            elif weight.shape[1] <= FEW_CHANNELS:
                h = sum_of_patches(maps[-1], weight, bias)
            else:
                h = F.conv_transpose2d(maps[-1], weight, bias, stride=2, padding=1)
            if relu_last or k + 1 < len(weights):
                h.relu_()
            maps.append(h)
        ctx.transposed, ctx.relu_last = transposed, relu_last
        ctx.save_for_backward(*weights, *maps[:-1], *maps[-1:] * relu_last)
        return maps[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        layers = (len(ctx.needs_input_grad) - 3) // 2
        weights, maps = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        found: list[torch.Tensor | None] = []
        grad = channels_last(grad)
        if ctx.relu_last:
            grad = torch.ops.aten.threshold_backward(grad, maps[-1], 0)  # not in place: this gradient is the caller's
        for k in reversed(range(layers)):
            grad, *of_layer = torch.ops.aten.convolution_backward(
                grad,
                maps[k],
                weights[k],
                [weights[k].shape[1 if ctx.transposed else 0]],
                stride=[2, 2],
                padding=[1, 1],
                dilation=[1, 1],
                transposed=ctx.transposed,
                output_padding=[0, 0],
                groups=1,
                output_mask=[k > 0 or ctx.needs_input_grad[0], *ctx.needs_input_grad[3 + 2 * k : 5 + 2 * k]],
            )
            found[:0] = of_layer
            if k > 0:
                torch.ops.aten.threshold_backward(grad, maps[k], 0, grad_input=grad)
        return grad, None, None, *found


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """``x`` (B, C, H, W), the same values, with the C values of one pixel side by side in memory.

    With one channel the two orders are the same memory and only the strides tell the library which is
    meant, but ``x.contiguous(memory_format=torch.channels_last)`` leaves those as they are.
    """
    if check_tensor(x, "x", floating=False).dim() != 4:
        raise ValueError(f"x must be (B, C, H, W), got shape {tuple(x.shape)}.")
    if x.shape[1] == 1:
        return x.contiguous().view(len(x), *x.shape[2:], 1).permute(0, 3, 1, 2)
    return x.contiguous(memory_format=torch.channels_last)


def sum_of_patches(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Transposed convolution of kernel 4, stride 2, padding 1, as one product and a sum of overlapping patches.

    Every input pixel (C values) makes a 4x4 patch of each output channel, ``patch = weight^T pixel``;
    the patches of neighbours lie two pixels apart and are added. ``x`` (B, C, H, W), ``weight``
    (C, outputs, 4, 4) and ``bias`` (outputs,) to (B, outputs, 2 H, 2 W).
    """
    for name, given in (("x", x), ("weight", weight), ("bias", bias)):
        check_tensor(given, name)
    if (
        x.dim() != 4
        or weight.shape[:1] != x.shape[1:2]
        or weight.shape[2:] != (4, 4)
        or bias.shape != weight.shape[1:2]
    ):
        shapes = ", ".join(str(tuple(t.shape)) for t in (x, weight, bias))
        raise ValueError(f"x, weight and bias must be (B, C, H, W), (C, outputs, 4, 4) and (outputs,), got {shapes}.")
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H W, C), a view when channels are last
    patches = weight.flatten(1).t().expand(len(x), -1, -1).bmm(pixels.transpose(1, 2))  # (B, 16 outputs, H W)
    size = (2 * x.shape[2], 2 * x.shape[3])
    return F.fold(patches, size, kernel_size=4, stride=2, padding=1).add_(bias.view(-1, 1, 1))
