"""A reader of coloured sprites: colours from the pixels, the shape from moments of the sprite that turning does not change.

A small convolutional network, trained on the few thousand pictures of the full tier, took one shape in four for another;
this one is made for what it reads. It knows that a picture is one sprite in one colour on one ground, so it is no reader of
anything else. It is trained on sharp pictures, and the shape of one blurred by a pixel or two is read as well (measured: a
deviation of 2 of 32 pixels costs nothing). A blob without a shape must still be called something; squares are the nearest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from workings.checks import as_int, check_tensor
from workings.disentangling.networks import freeze, initialise
from workings.disentangling.rooms import HUES, room_colours
from workings.seeding import torch_generator
from workings.training import ShuffledBatches, fit

ORDER = 5  # of the highest moments
FAR = 20  # pixels of 32 x 32 that are taken for the sprite's inside; the sprites here have 33 and more of them
WIDTH = 64


def sprite_colours(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours (N, 3) of ground and sprite in ``pictures`` (N, 3, size, size).

    The ground: the median of the pixels on the edge. The sprite: the median of those furthest from the ground in colour,
    20 of 32 x 32. Raises ``ValueError`` for another shape or numbers that are not finite.
    """
    x = _check_pictures(pictures).flatten(2)
    size = pictures.shape[-1]
    edge = torch.ones(size, size, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    ground = x[:, :, edge.flatten()].median(dim=2).values
    away = (x - ground[:, :, None]).square().sum(dim=1)
    far = away.topk(max(1, FAR * size**2 // 32**2), dim=1).indices
    return ground, x.gather(2, far[:, None].expand(-1, 3, -1)).median(dim=2).values


def sprite_mask(pictures: torch.Tensor) -> torch.Tensor:
    """How far each pixel of ``pictures`` (N, 3, size, size) is sprite: (N, size, size) in [0, 1].

    Its place between the two :func:`sprite_colours`, stretched to twice about one half and cut: a blurred edge becomes
    steeper and stays where it was, and what hardly differs from the ground is ground.
    """
    ground, sprite = (colour[:, :, None, None] for colour in sprite_colours(pictures))
    between = sprite - ground
    place = ((pictures - ground) * between).sum(dim=1) / between.square().sum(dim=1).clamp(min=1e-6)
    return (2.0 * (place - 0.5) + 0.5).clamp(0.0, 1.0)


def sprite_moments(masks: torch.Tensor) -> torch.Tensor:
    """Twelve moments (N, 12) float64 of ``masks`` (N, size, size) that moving, turning and scaling them leaves as they are.

    Of the complex moments ``c_pq = mean (x + iy)^p (x - iy)^q`` about the mask's centre, in units of the root of its area:
    turning by t multiplies c_pq by ``e^{i (p - q) t}``. So the absolute values of orders 2 to 5 (:data:`ORDER`) are
    invariant, and so are the real parts of ``c_20 conj(c_21)^2`` and ``c_30 conj(c_21)^3``. Flusser, "On the independence of
    rotation moment invariants", Pattern Recognition 33 (2000). An empty mask has moments of 0.
    """
    check_tensor(masks, "masks")
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks must be (N, size, size), got {tuple(masks.shape)}.")
    m = masks.double()
    line = torch.arange(m.shape[-1], dtype=torch.float64)
    area = m.sum(dim=(1, 2)).clamp(min=1e-3)
    powers = torch.arange(ORDER + 1)
    x, y = (
        (((line - (m.sum(dim=axis) @ line / area)[:, None]) / area.sqrt()[:, None])[..., None] ** powers)
        for axis in (1, 2)
    )
    real = (y.transpose(1, 2) @ (m @ x)) / area[:, None, None]  # (N, power of y, power of x)
    names, weights = _complex_moments()
    c = torch.einsum("ijk,nkj->ni", weights, real.to(weights.dtype))
    c20, c21, c30 = (c[:, names.index(name)] for name in ((2, 0), (2, 1), (3, 0)))
    phases = [(c20 * c21.conj() ** 2).real, (c30 * c21.conj() ** 3).real]
    return torch.cat([c.abs(), torch.stack(phases, dim=1)], dim=1)


@functools.cache
def _complex_moments() -> tuple[list[tuple[int, int]], torch.Tensor]:
    """The (p, q) of orders 2 to :data:`ORDER` with p >= q, and what each takes (., power of x, power of y) of the real ones."""
    names = [(p, n - p) for n in range(2, ORDER + 1) for p in range(n, -1, -1) if p >= n - p]
    weights = torch.zeros(len(names), ORDER + 1, ORDER + 1, dtype=torch.complex128)
    for row, (p, q) in enumerate(names):
        for j in range(p + 1):
            for k in range(q + 1):
                weights[row, j + k, p + q - j - k] += (
                    math.comb(p, j) * math.comb(q, k) * 1j ** (p - j) * (-1j) ** (q - k)
                )
    return names, weights


def train_sprite_reader(
    pictures: torch.Tensor, shapes: torch.Tensor, steps: int, *, names: int = 4, n_shapes: int = 3, batch: int = 256
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from pictures (N, 3, size, size) to attributes (N, 3): ground and sprite hue in ``names`` bins, and shape.

    Colours are read without training, as the nearest of :func:`~workings.disentangling.rooms.room_colours`. The shape is
    said by a network of one hidden layer on the standardised :func:`sprite_moments`, trained for ``steps`` on ``pictures``
    with their ``shapes`` (N,), as they are (nothing is blurred). Raises ``ValueError`` for other shapes of the arguments.
    """
    steps = as_int(steps, "steps", minimum=1)
    if shapes.shape != pictures.shape[:1]:
        raise ValueError(f"give one shape per picture, got {tuple(shapes.shape)} for {len(pictures)} pictures.")
    moments = lambda x: torch.cat([sprite_moments(sprite_mask(part)) for part in x.split(1000)])
    seen = moments(pictures)
    centre, width = seen.mean(dim=0), seen.std(dim=0).clamp(min=1e-9)
    standard = lambda found: ((found - centre) / width).float()
    inputs = standard(seen)
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(inputs.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_shapes))
    net = initialise(net.to_empty(device="cpu"), torch_generator(0, "scan chapter", "sprite reader"))
    order = ShuffledBatches(len(inputs), min(batch, len(inputs)), 0, "sprite reader")

    def loss(model: nn.Module, rows: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        return F.cross_entropy(model(inputs[rows]), shapes[rows])

    fit(net, loss, order, torch.optim.Adam(net.parameters(), lr=3e-3), steps, seed=0)
    net = freeze(net)
    tables = room_colours()

    @torch.no_grad()
    def read_part(x: torch.Tensor) -> torch.Tensor:
        hues = [
            (colour[:, None] - table.to(colour)).square().sum(dim=2).argmin(dim=1) * names // HUES
            for colour, table in zip(sprite_colours(x), tables, strict=True)
        ]
        return torch.stack([*hues, net(standard(sprite_moments(sprite_mask(x)))).argmax(dim=1)], dim=1)

    return lambda x: torch.cat([read_part(part) for part in x.split(1000)])


def _check_pictures(pictures: torch.Tensor) -> torch.Tensor:
    check_tensor(pictures, "pictures")
    if pictures.dim() != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(
            f"pictures must be (N, 3, size, size), got {tuple(pictures.shape)}; give square ones in colour."
        )
    if not bool(torch.isfinite(pictures).all()):
        raise ValueError("pictures must be finite; look at the decoder that drew them.")
    return pictures
