"""Fully connected layers of S networks of one shape, held as stacks of weights.

Networks so small that a training step is mostly overhead share it when stacked: one batched matrix product a layer.
Nothing passes between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class StackedLinears:
    """S networks of linear layers, ``networks[s][k]`` layer k of network s, with ReLU between the layers.

    ``parameters``: the stacked weights (S, inputs, outputs) and biases (S, 1, outputs), copies with gradients of their
    own; :meth:`write_back` puts them into the layers. Raises ``ValueError`` for no network or shapes that differ.
    """

    def __init__(self, networks: Sequence[Sequence[nn.Linear]]):
        shapes = {tuple(tuple(linear.weight.shape) for linear in layers) for layers in networks}
        if len(shapes) != 1:
            raise ValueError(
                f"give at least one network, all of one shape; got {len(networks)} of {len(shapes)} shapes."
            )
        self.networks = networks
        stack = lambda tensors: torch.stack([tensor.detach() for tensor in tensors]).requires_grad_()
        self.weights = [stack([linear.weight.t() for linear in same]) for same in zip(*networks, strict=True)]
        self.biases = [stack([linear.bias[None] for linear in same]) for same in zip(*networks, strict=True)]
        self.parameters = [*self.weights, *self.biases]

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """Each network on its own rows: (S, B, inputs) to (S, B, outputs)."""
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = F.relu(h) if k < last else h
        return h

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the stacked weights into the networks' layers."""
        for s, layers in enumerate(self.networks):
            for linear, weight, bias in zip(layers, self.weights, self.biases, strict=True):
                linear.weight.copy_(weight[s].t())
                linear.bias.copy_(bias[s, 0])
