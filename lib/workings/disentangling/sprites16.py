"""Sprites for the demos of the part: a sub-grid of dSprites, averaged down to 16 x 16 grey pixels.

Sixteen times fewer pixels make a training a matter of seconds. They also change what a loss weight means: an
image holds about a sixteenth of the nats, so the same beta presses about sixteen times harder than at 64 x 64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from workings.checks import as_int
from workings.disentangling.dsprites_data import factor_values, sub_grid
from workings.disentangling.dsprites_renderer import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    SIZE,
    block_average,
    packed_dsprites,
    unpack_images,
)
from workings.disentangling.factor_grid import FactorGrid


class SmallSprites(NamedTuple):
    """A sub-grid of sprites: ``images`` (N, 1, 16, 16) in [0, 1] and their dSprites ``classes`` (N, 5), in dSprites order."""

    images: torch.Tensor
    classes: torch.Tensor

    @property
    def varying(self) -> tuple[int, ...]:
        """Which of the five factors take more than one class here, in dSprites order."""
        return tuple(k for k in range(len(FACTOR_SIZES)) if bool((self.classes[:, k] != self.classes[0, k]).any()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the varying factors."""
        return tuple(FACTOR_NAMES[k] for k in self.varying)

    @property
    def factors(self) -> torch.Tensor:
        """Classes (N, K) int64 of the varying factors."""
        return self.classes[:, list(self.varying)]

    @property
    def values(self) -> torch.Tensor:
        """Values (N, K) float64 of the varying factors: scale 0.5..1, orientation in radians, positions 0..1."""
        return factor_values(self.classes)[:, list(self.varying)]

    def grid(self) -> FactorGrid:
        """The images as a factor grid over the varying factors, numbered by rank, as the metric takes them.

        Raises ``ValueError`` when rows were left out, so that not every combination is there.
        """
        return FactorGrid([len(column.unique()) for column in self.factors.unbind(1)], self.images)

    def select(self, keep: torch.Tensor) -> SmallSprites:
        """The rows that ``keep`` (N,) bool, or a tensor of row numbers, names."""
        return SmallSprites(self.images[keep], self.classes[keep])


def small_sprites(
    shapes: int | Iterable[int] | None = 0,
    scales: int | Iterable[int] | None = None,
    orientations: int | Iterable[int] | None = 0,
    *,
    stride: int = 2,
    dtype: torch.dtype = torch.float32,
) -> SmallSprites:
    """Sprites of a sub-grid at 16 x 16 pixels: every 4 x 4 block of the 64 x 64 image averaged.

    ``shapes``, ``scales`` and ``orientations`` are dSprites classes (``None``: all of them); positions take every
    ``stride``-th class of 0..31, from 0. The defaults are the squares of the early_visual_concepts chapter: 6 scales,
    one orientation, 16 x 16 positions, 1,536 images.
    Raises ``ValueError`` or ``TypeError`` for classes that do not exist, as :func:`sub_grid`.
    """
    positions = range(0, FACTOR_SIZES[3], as_int(stride, "stride", minimum=1, maximum=FACTOR_SIZES[3] - 1))
    classes = sub_grid(shapes, scales, orientations, positions, positions)
    parts = [block_average(unpack_images(packed_dsprites(part), dtype), SIZE // 16) for part in classes.split(8192)]
    return SmallSprites(torch.cat(parts), classes)
