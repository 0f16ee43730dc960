"""A denoising autoencoder whose layers have names, and the rectangles that hide parts of its input.

The network learns to fill in what is hidden, so its layers come to hold what a picture is made of.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from workings.checks import as_float, as_generator, as_int, check_tensor, one_of
from workings.disentangling.networks import initialise
from workings.disentangling.objectives import squared_error
from workings.training import ShuffledBatches, fit, one_cycle


def mask_rectangles(x: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One rectangle of every image set to 0: the masked images, like ``x`` (B, C, H, W), and where, (B, 1, H, W) bool.

    Height and width are uniform on 1..H and 1..W, then the place is uniform over those where it fits; so the mean share
    that is hidden is ``(H + 1)(W + 1) / (4 H W)``. The rest keeps its values. ``generator`` is a CPU one. Higgins et al.,
    arXiv 1707.08475, mask one random rectangle; how its sides are drawn is our choice.
    """
    check_tensor(x, "x")
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x must be (B, C, H, W) with at least one pixel, got {tuple(x.shape)}.")
    u = torch.rand(2, 2, len(x), 1, generator=as_generator(generator))
    inside = []
    for side, (extent, place) in zip(x.shape[2:], u, strict=True):
        length = 1 + (extent * side).long().clamp(max=side - 1)
        start = (place * (side - length + 1)).long().clamp(max=side - 1)
        line = torch.arange(side)
        inside.append((line >= start) & (line < start + length))  # (B, side)
    mask = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(x.device)
    return x.masked_fill(mask, 0.0), mask


class DenoisingAutoencoder(nn.Module):
    """Images to a bottleneck and back, with ELU between the layers, which have names: see :meth:`features`.

    ``shape`` is (channels, height, width). Convolutions of kernel 4 and stride 2, ``channels`` filters each ("conv1",
    "conv2", ...), then linear layers of widths ``hidden`` ("hidden1", ...), then a linear "bottleneck"; back through linear
    layers only, to the "reconstruction", which is not squashed. ``generator`` draws the weights. Raises ``ValueError``
    when the image cannot be halved that often. The paper's network, as public programs give it, has convolutions
    and a bottleneck of 100; arXiv 1707.08475.
    """

    __constants__ = ("shape",)

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        bottleneck: int = 100,
        hidden: Sequence[int] = (),
        channels: Sequence[int] = (),
        generator: torch.Generator,
    ):
        super().__init__()
        as_generator(generator)
        self.shape = tuple(as_int(n, "shape", minimum=1) for n in shape)
        if len(self.shape) != 3:
            raise ValueError(f"shape must be (channels, height, width), got {shape!r}.")
        for width in (*channels, *hidden):
            as_int(width, "a layer's width", minimum=1)
        folds = 2 ** len(channels)
        if self.shape[1] % folds or self.shape[2] % folds:
            raise ValueError(f"height and width must be divisible by {folds} for {len(channels)} convolutions.")
        first = math.prod(self.shape)
        if channels:
            first = channels[-1] * (self.shape[1] // folds) * (self.shape[2] // folds)
        widths = [first, *hidden, as_int(bottleneck, "bottleneck", minimum=1)]
        with torch.device("meta"):
            self.convs = nn.ModuleList(
                nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise([self.shape[0], *channels])
            )
            self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
            back = [*reversed(widths[1:] if not channels else widths), math.prod(self.shape)]
            self.decoder = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(back))
        initialise(self.to_empty(device="cpu"), generator)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, from the first to the last."""
        convs = [f"conv{k + 1}" for k in range(len(self.convs))]
        hidden = [f"hidden{k + 1}" for k in range(len(self.encoder) - 1)]
        return (*convs, *hidden, "bottleneck", "reconstruction")

    def features(self, x: torch.Tensor, layer: str = "bottleneck") -> torch.Tensor:
        """What ``layer`` makes of images (B, C, H, W): (B, n) in rows, after the ELU for "conv" and "hidden" layers.

        "bottleneck" and "reconstruction" are linear. No noise is added. ``ValueError`` for another name.
        """
        one_of(layer, "layer", self.layers)
        check_tensor(x, "x")
        if x.dim() != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x must be (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}.")
        h, names = x, iter(self.layers)
        for conv in self.convs:
            h = F.elu(conv(h))
            if next(names) == layer:
                return h.flatten(1)
        h = h.flatten(1)
        for linear in self.encoder[:-1]:
            h = F.elu(linear(h))
            if next(names) == layer:
                return h
        h = self.encoder[-1](h)
        if next(names) == layer:
            return h
        for linear in self.decoder[:-1]:
            h = F.elu(linear(h))
        return self.decoder[-1](h)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The reconstruction (B, C, H, W) of images (B, C, H, W)."""
        return self.features(x, "reconstruction").unflatten(1, self.shape)


class FeatureMap(nn.Module):
    """One layer of a :class:`DenoisingAutoencoder` as a module of its own: (B, C, H, W) to (B, n)."""

    __constants__ = ("layer",)

    def __init__(self, autoencoder: DenoisingAutoencoder, layer: str = "bottleneck"):
        super().__init__()
        if not isinstance(autoencoder, DenoisingAutoencoder):
            raise TypeError(f"autoencoder must be a DenoisingAutoencoder, got {type(autoencoder).__name__}.")
        self.autoencoder, self.layer = autoencoder, one_of(layer, "layer", autoencoder.layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, n) of images (B, C, H, W)."""
        return self.autoencoder.features(x, self.layer)


def train_denoiser(
    model: DenoisingAutoencoder, pictures: torch.Tensor, steps: int, *, seed: int, batch: int = 64, learning_rate: float = 2e-3
) -> torch.Tensor:  # fmt: skip
    """Train ``model`` in place to give back the *clean* one of ``pictures`` (N, C, H, W) from a masked copy.

    Minimises the squared error, summed over pixels and averaged over the batch, with Adam. Returns the loss (steps,) of every step;
    the model ends in eval mode. Everything random follows from ``seed``. Raises ``ValueError`` for no picture.
    """
    check_tensor(pictures, "pictures")
    if pictures.dim() != 4 or len(pictures) == 0:
        raise ValueError(f"pictures must be (N, C, H, W) with at least one, got {tuple(pictures.shape)}.")
    steps = as_int(steps, "steps", minimum=1)
    order = ShuffledBatches(len(pictures), min(batch, len(pictures)), seed)
    rate = as_float(learning_rate, "learning_rate", minimum=0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, fused=True)

    def loss(net: DenoisingAutoencoder, x: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        masked, _ = mask_rectangles(x, noise)
        return squared_error(net(masked), x).mean()

    trained = fit(
        model, loss, lambda step: pictures[order(step)], optimiser, steps, seed=seed, schedule=one_cycle(steps)
    )
    model.eval()
    return trained.losses
