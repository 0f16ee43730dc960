"""Two networks: a small CNN for 8x8 digits and the pre-activation ResNet-20 for 32x32 images.

Every activation is a module of its own, so that a pruning layer can be inserted after each.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from workings.checks import as_float, as_generator, as_int, one_of


def activation(slope: float = 0.0) -> nn.Module:
    """ReLU for ``slope=0``, else leaky ReLU with that negative slope in (0, 1)."""
    slope = as_float(slope, "slope", minimum=0.0, maximum=1.0)
    return nn.ReLU() if slope == 0.0 else nn.LeakyReLU(slope)


def initialise(model: nn.Module, generator: torch.Generator, rule: str = "msra") -> nn.Module:
    """Draw the weights of ``model`` anew, in place, from ``generator`` (CPU); returns ``model``.

    Convolutions and linear layers by ``rule``: ``"msra"`` Gaussian with variance ``2 / fan_in`` and zero
    bias (He et al., arXiv 1502.01852, eq. 10; the SAP paper's rule); ``"uniform"`` weights and
    biases uniform within ``1 / sqrt(fan_in)``, which is what PyTorch does by default. Batch-norm: weight 1, bias 0.
    """
    one_of(rule, "rule", ("msra", "uniform"))
    as_generator(generator)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            with torch.no_grad():
                for value in (module.weight, module.bias):
                    if value is None:
                        continue
                    if rule == "uniform":
                        value.copy_((2 * torch.rand(value.shape, generator=generator) - 1) / math.sqrt(fan_in))
                    elif value is module.weight:
                        value.copy_(torch.randn(value.shape, generator=generator) * math.sqrt(2.0 / fan_in))
                    else:
                        value.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def digits_cnn(generator: torch.Generator, *, slope: float = 0.0, classes: int = 10) -> nn.Sequential:
    """A small network for digits: (B, 1, 8, 8) in [0, 1] to (B, classes) logits, four activations.

    3x3 convolutions with 16, 32 (stride 2) and 32 filters, then linear 64 and linear ``classes``.
    The four activation maps have 1024, 512, 512 and 64 entries. Weights start by the ``"uniform"`` rule.
    """
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),  # (B, 16, 8, 8)
        activation(slope),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (B, 32, 4, 4)
        activation(slope),
        nn.Conv2d(32, 32, 3, padding=1),  # (B, 32, 4, 4)
        activation(slope),
        nn.Flatten(),  # (B, 512)
        nn.Linear(512, 64),
        activation(slope),
        nn.Linear(64, as_int(classes, "classes", minimum=2)),
    )
    return initialise(model, generator, "uniform")


class PreActivationBlock(nn.Module):
    """``x + conv(act(bn(conv(act(bn(x))))))``; with ``project`` the shortcut is a 1x1 convolution.

    He et al., arXiv 1603.05027, Figure 1 (b). The projection reads the block's first activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, project: bool, slope: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = activation(slope)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.act2 = activation(slope)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = self.act1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.act2(self.norm2(self.conv1(h)))
        return shortcut + self.conv2(h)


class ResNet(nn.Module):
    """Pre-activation ResNet for 32x32 images: (B, 3, 32, 32) in [0, 1] to (B, classes) logits.

    Input batch-norm with weight fixed at 1, stem convolution to 16 channels, three stages of
    ``units`` two-convolution blocks with 16, 32 and 64 filters and strides 1, 2, 2 (a 1x1
    projection on the first block of each stage), then batch-norm, activation, global average pool
    and a linear layer: ``6 units + 2`` weighted layers and ``6 units + 1`` activations.
    """

    def __init__(self, units: int = 3, classes: int = 10, slope: float = 0.0):
        super().__init__()
        units = as_int(units, "units", minimum=1)
        classes = as_int(classes, "classes", minimum=2)
        self.input_norm = nn.BatchNorm2d(3)
        self.input_norm.weight.requires_grad_(False)
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        blocks = []
        channels = 16
        for filters, stride in ((16, 1), (32, 2), (64, 2)):
            for unit in range(units):
                first = unit == 0
                blocks.append(PreActivationBlock(channels, filters, stride if first else 1, first, slope))
                channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.act = activation(slope)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of images (B, 3, H, W) in [0, 1]."""
        h = self.blocks(self.stem(self.input_norm(x)))  # (B, 64, H / 4, W / 4)
        h = self.act(self.norm(h)).mean(dim=(2, 3))  # (B, 64)
        return self.head(h)


def resnet20(generator: torch.Generator, *, slope: float = 0.0, classes: int = 10) -> ResNet:
    """The SAP paper's CIFAR-10 network (official notebook): 20 weighted layers, 19 activation maps.

    ``slope=0`` is the paper's ReLU; ``slope=0.1`` the leaky ReLU of the erratum's code. One 32x32
    image has 188,416 activations in all.
    """
    return initialise(ResNet(units=3, classes=classes, slope=slope), generator)
