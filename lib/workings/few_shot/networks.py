"""Three backbones of few-shot learning, from (B, channels, H, W) images to (B, classes) logits.

Each has a method ``features``: what its last, linear layer sees. Weights come from a generator of the caller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from workings import require_torch
from workings.checks import as_generator, as_int

with require_torch("few_shot.networks"):
    import torch
    import torch.nn.functional as F
    from torch import nn


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class Conv4(nn.Module):
    """Four times 3x3 convolution, batch-norm, ReLU and 2x2 max pool, then a linear layer.

    Vinyals et al., NeurIPS 2016 (arXiv 1606.04080). Images are ``size`` pixels wide, at least 16; the features have
    ``width`` · (size // 16)² entries: 1,600 for 64 filters and 84 pixels, ``width`` for 28 pixels.
    """

    __constants__ = ("size",)

    def __init__(self, channels: int = 1, width: int = 64, classes: int = 64, size: int = 28):
        super().__init__()
        channels, width = as_int(channels, "channels", minimum=1), as_int(width, "width", minimum=1)
        size, classes = as_int(size, "size", minimum=16), as_int(classes, "classes", minimum=1)
        self.channels, self.size = channels, size
        blocks: list[nn.Module] = []
        for inputs in (channels, width, width, width):
            convolution = nn.Conv2d(inputs, width, 3, padding=1)
            blocks += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width * (size // 16) ** 2, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, size, size) to (B, width · (size // 16)²)."""
        _check_images(x, self.channels, self.size)
        return self.blocks(x).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))


class ResidualBlock(nn.Module):
    """Three 3x3 convolutions with batch-norm, a 1x1 shortcut, leaky ReLU of slope 0.1, then a 2x2 max pool."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        layers: list[nn.Module] = []
        for k, number in enumerate((inputs, outputs, outputs)):
            layers += [_convolution(number, outputs), nn.BatchNorm2d(outputs)] + ([nn.LeakyReLU(0.1)] if k < 2 else [])
        self.main = nn.Sequential(*layers)
        shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        return F.max_pool2d(F.leaky_relu(self.main(x) + self.shortcut(x), 0.1), 2)


class ResNet12(nn.Module):
    """Four residual blocks of three convolutions, the average over places, a linear layer.

    With the default widths it is the network of Lee et al., CVPR 2019 (arXiv 1904.03758), without its dropout: 12,424,320
    weights before the last layer for 3 channels.
    """

    def __init__(self, channels: int = 3, classes: int = 64, widths: Sequence[int] = (64, 160, 320, 640)):
        super().__init__()
        self.channels = as_int(channels, "channels", minimum=1)
        if len(widths) != 4:
            raise ValueError(f"widths must be four numbers of filters, got {len(widths)}.")
        numbers = [self.channels, *(as_int(width, "widths", minimum=1) for width in widths)]
        pairs = itertools.pairwise(numbers)
        self.blocks = nn.Sequential(*(ResidualBlock(inputs, outputs) for inputs, outputs in pairs))
        self.head = nn.Linear(numbers[-1], as_int(classes, "classes", minimum=1))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W), at least 16 pixels wide and high, to (B, last width)."""
        _check_images(x, self.channels)
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))


class WideBlock(nn.Module):
    """Batch-norm, ReLU, 3x3 convolution, twice, added to the input (through a 1x1 convolution where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), _convolution(inputs, outputs, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), _convolution(outputs, outputs)
        project = inputs != outputs or stride != 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        h = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(h))))


class WideResNet(nn.Module):
    """Wide residual network: a stem, three stages of ``units`` blocks, batch-norm, ReLU, average, a linear layer.

    Zagoruyko and Komodakis, BMVC 2016 (arXiv 1605.07146). ``units=4, widen=10`` is WRN-28-10, with 36,479,194 weights for
    10 classes.
    """

    def __init__(self, channels: int = 3, classes: int = 64, units: int = 4, widen: int = 10):
        super().__init__()
        self.channels = as_int(channels, "channels", minimum=1)
        units, widen = as_int(units, "units", minimum=1), as_int(widen, "widen", minimum=1)
        self.stem, inputs, blocks = _convolution(self.channels, 16), 16, []
        for width, stride in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
            for unit in range(units):
                blocks.append(WideBlock(inputs, width, stride if unit == 0 else 1))
                inputs = width
        self.blocks, self.norm = nn.Sequential(*blocks), nn.BatchNorm2d(inputs)
        self.head = nn.Linear(inputs, as_int(classes, "classes", minimum=1))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, 64 · widen)."""
        _check_images(x, self.channels)
        return F.relu(self.norm(self.blocks(self.stem(x)))).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes)."""
        return self.head(self.features(x))


def conv4(
    generator: torch.Generator, *, channels: int = 1, width: int = 64, classes: int = 64, size: int = 28
) -> Conv4:
    """:class:`Conv4` with weights drawn from ``generator``: see :func:`draw_weights`."""
    as_generator(generator)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw first weights from its global generator
        model = Conv4(channels, width, classes, size)
    return draw_weights(model, generator)


def resnet12(
    generator: torch.Generator, *, channels: int = 3, classes: int = 64, widths: Sequence[int] = (64, 160, 320, 640)
) -> ResNet12:
    """:class:`ResNet12` with weights drawn from ``generator``: see :func:`draw_weights`."""
    as_generator(generator)
    with torch.random.fork_rng(devices=[]):
        model = ResNet12(channels, classes, widths)
    return draw_weights(model, generator)


def wide_resnet(
    generator: torch.Generator, *, channels: int = 3, classes: int = 64, units: int = 4, widen: int = 10
) -> WideResNet:
    """:class:`WideResNet`, WRN-28-10 by default, with weights drawn from ``generator``: see :func:`draw_weights`."""
    as_generator(generator)
    with torch.random.fork_rng(devices=[]):
        model = WideResNet(channels, classes, units, widen)
    return draw_weights(model, generator)


def draw_weights(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw the weights of ``model`` anew, in place, from ``generator`` (CPU); returns ``model``.

    Convolutions: Gaussian with variance 2 / fan-in (He et al., arXiv 1502.01852). Linear layers: uniform within
    1 / sqrt(fan-in). Biases 0, batch-norm 1 and 0 with fresh statistics.
    """
    as_generator(generator)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            shape, fan_in = module.weight.shape, module.weight[0].numel()
            with torch.no_grad():
                if isinstance(module, nn.Linear):
                    module.weight.copy_((2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(fan_in))
                else:
                    module.weight.copy_(torch.randn(shape, generator=generator) * math.sqrt(2.0 / fan_in))
                if module.bias is not None:
                    module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def _check_images(x: torch.Tensor, channels: int, size: int | None = None) -> None:
    if x.ndim != 4 or x.shape[1] != channels or (size is not None and tuple(x.shape[2:]) != (size, size)):
        wide = "H, W" if size is None else f"{size}, {size}"
        raise ValueError(f"images must have shape (B, {channels}, {wide}), got {tuple(x.shape)}.")
