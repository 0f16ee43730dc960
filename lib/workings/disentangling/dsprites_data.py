"""dSprites as a data set: bit-packed in memory, sub-grids of factors, batches. The published file: ``dsprites_file``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from workings.checks import as_int, as_tensor
from workings.disentangling.dsprites import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    N_BYTES,
    N_IMAGES,
    as_classes,
    as_integers,
    dsprites_classes,
    packed_dsprites,
    unpack_images,
)
from workings.disentangling.dsprites_file import fetch_dsprites as fetch_dsprites
from workings.disentangling.dsprites_file import load_dsprites_npz as load_dsprites_npz
from workings.disentangling.factor_grid import draw_factors


class DSprites(torch.utils.data.Dataset):
    """Sprites by number, one bit a pixel: (image (1, 64, 64) float32, classes (5,) int64) each.

    ``packed`` (N, 512) uint8 holds the images of ``classes`` (N, 5), in that order; without it they are drawn;
    without ``classes`` it is the whole set (378 MB). The bits live on ``device``, where batches are unpacked;
    ``classes`` stay on the host. ``transform`` takes a batch (B, 1, 64, 64) and returns one.

    When ``classes`` are all combinations of some values, as :func:`sub_grid` gives them, the set is a factor
    grid: ``sizes`` counts the values of each factor, and :meth:`sample_factors` and :meth:`observations` speak of
    ranks 0 .. size - 1 among them (in the whole set a rank is the class itself).

    Raises ``ValueError`` or ``TypeError`` for bits or classes of a wrong shape, type or number.
    """

    def __init__(
        self,
        packed: torch.Tensor | None = None,
        *,
        classes: torch.Tensor | None = None,
        device: str | torch.device = "cpu",
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        if packed is not None:
            packed = as_tensor(packed, "packed")
            if packed.dtype != torch.uint8:
                raise TypeError(f"packed must be uint8 (eight pixels a byte), got {packed.dtype}.")
            if packed.dim() != 2 or packed.shape[1] != N_BYTES:
                raise ValueError(f"packed must be (N, {N_BYTES}), got shape {tuple(packed.shape)}.")
            wanted = N_IMAGES if classes is None else len(classes)
            if len(packed) != wanted:
                raise ValueError(
                    f"packed holds {len(packed)} images where classes name {wanted}; give both for a subset."
                )
        whole = classes is None
        self.classes = as_classes(dsprites_classes(torch.arange(N_IMAGES)) if whole else classes).cpu()
        if self.classes.dim() != 2 or len(self.classes) == 0:
            raise ValueError(f"classes must be (N, 5) with at least one row, got shape {tuple(self.classes.shape)}.")
        if packed is None:
            packed = packed_dsprites(None if whole else self.classes, device=device)
        self.packed = packed.to(device).contiguous()
        self.transform = transform
        levels = [torch.arange(n) for n in FACTOR_SIZES] if whole else [c.unique() for c in self.classes.unbind(1)]
        complete = math.prod(map(len, levels)) == len(self.classes)
        self._grid = complete and (whole or torch.equal(torch.cartesian_prod(*levels), self.classes))
        self._sizes = tuple(map(len, levels))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        i = self._row(i)
        return self.images(torch.tensor([i]))[0], self.classes[i]

    def _row(self, i: int) -> int:
        """Row number of index ``i``, which may count from the end."""
        i = as_int(i, "i")
        if not -len(self) <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}.")
        return i % len(self)

    def __getitems__(self, indices: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Several items at once: what a ``DataLoader`` asks for a batch."""
        rows = torch.tensor([self._row(i) for i in indices], dtype=torch.int64)
        return list(zip(self.images(rows), self.classes[rows], strict=True))

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, 64, 64) float32 of rows ``indices`` (B,), transformed, on the device of the bits."""
        indices = as_integers(as_tensor(indices, "indices"), "indices")
        if indices.dim() != 1:
            raise ValueError(f"indices must be (B,), got shape {tuple(indices.shape)}.")
        if indices.numel() and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices must be in [0, {len(self) - 1}], got {indices.min()} to {indices.max()}.")
        batch = unpack_images(self.packed.index_select(0, indices.to(self.packed.device)))
        return batch if self.transform is None else self.transform(batch)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each of the five factors; ``ValueError`` unless the set is a factor grid."""
        if not self._grid:
            raise ValueError("these classes are not all combinations of some values in dSprites order; use sub_grid.")
        return self._sizes

    def sample_factors(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``n`` uniform factor vectors, as ranks: (n, 5) int64 on the generator's device."""
        return draw_factors(self.sizes, n, generator)

    def observations(self, factors: torch.Tensor) -> torch.Tensor:
        """Images (n, 1, 64, 64) of factor vectors ``factors`` (n, 5), given as ranks 0 .. size - 1."""
        factors, sizes = as_integers(as_tensor(factors, "factors"), "factors"), self.sizes
        if factors.dim() != 2 or factors.shape[1] != len(sizes):
            raise ValueError(f"factors must be (n, {len(sizes)}), got shape {tuple(factors.shape)}.")
        if ((factors < 0) | (factors >= factors.new_tensor(sizes))).any():
            raise ValueError(f"factors must be ranks 0 .. size - 1 for sizes {sizes}; one is out of range.")
        row = factors[:, 0]
        for factor in range(1, len(sizes)):
            row = row * sizes[factor] + factors[:, factor]
        return self.images(row)


def sub_grid(
    shapes: int | Iterable[int] | None = None,
    scales: int | Iterable[int] | None = None,
    orientations: int | Iterable[int] | None = None,
    pos_x: int | Iterable[int] | None = None,
    pos_y: int | Iterable[int] | None = None,
) -> torch.Tensor:
    """Classes (N, 5) int64 of all combinations of the given classes, in the order of dSprites; ``None``: every one.

    Raises ``ValueError`` for a class out of range, given twice, or none at all; ``TypeError`` for no integer.
    """
    levels = []
    for given, name, size in zip((shapes, scales, orientations, pos_x, pos_y), FACTOR_NAMES, FACTOR_SIZES, strict=True):
        if given is None:
            given = range(size)
        values = list(given) if isinstance(given, Iterable) and getattr(given, "ndim", 1) else [given]
        values = sorted(as_int(value, f"class of {name}", minimum=0, maximum=size - 1) for value in values)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"classes of {name} must be at least one, each once, got {values}; None means all.")
        levels.append(torch.tensor(values))
    return torch.cartesian_prod(*levels)


def factor_values(classes: torch.Tensor) -> torch.Tensor:
    """Values (..., 5) float64 of factor classes (..., 5): shape 0, 1, 2; scale 0.5 + 0.1 k, in [0.5, 1];
    orientation 2 pi r / 39, in [0, 2 pi], both ends included; positions i / 31, in [0, 1].

    Raises as :func:`workings.disentangling.dsprites.as_classes`.
    """
    shape, scale, turn, i, j = as_classes(classes).double().unbind(-1)
    return torch.stack([shape, 0.5 + 0.1 * scale, 2 * math.pi * turn / 39, i / 31, j / 31], dim=-1)
