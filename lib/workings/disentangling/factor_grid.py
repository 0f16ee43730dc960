"""Data whose every observation is named by a vector of factor classes: a full grid, nothing missing.

Factor k takes the classes 0 .. sizes[k] - 1. Cells are numbered in C order, the last factor fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from workings.checks import as_generator, as_int, as_tensor


def as_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    """``sizes`` as a tuple of at least one positive int; ``ValueError`` or ``TypeError`` otherwise."""
    checked = tuple(as_int(size, f"sizes[{k}]", minimum=1) for k, size in enumerate(sizes))
    if not checked:
        raise ValueError("sizes is empty; give the number of classes of each factor, for instance (6, 16, 16).")
    return checked


def draw_factors(sizes: Sequence[int], n: int, generator: torch.Generator) -> torch.Tensor:
    """``n`` factor vectors, uniform and independent: (n, K) int64 on the generator's device."""
    sizes = as_sizes(sizes)
    n = as_int(n, "n", minimum=1)
    # In float64 floor(u * size) never reaches size, and its bias is below size / 2**53.
    u = torch.rand(n, len(sizes), generator=as_generator(generator), device=generator.device, dtype=torch.float64)
    return (u * u.new_tensor(sizes)).long()


def paired_factors(
    sizes: Sequence[int], fixed: int | torch.Tensor, n: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """``n`` pairs of uniform factor vectors that share the class of one factor: two (n, K) int64 tensors.

    ``fixed`` is the index of the shared factor, one for all pairs or one for each, (n,). The other factors are
    drawn separately for the two members and agree only by chance. The two draws of a pair follow each other
    in the stream of a CPU generator, so drawing 3 pairs and then 5 gives the pairs of drawing 8.
    Step 2 of the metric of Higgins et al., ICLR 2017.

    Raises ``ValueError`` for a factor index outside 0 .. K - 1 or a wrong number of them.
    """
    as_generator(generator)
    sizes = as_sizes(sizes)
    n = as_int(n, "n", minimum=1)
    if isinstance(fixed, torch.Tensor) and fixed.ndim:
        if fixed.shape != (n,) or fixed.is_floating_point():
            raise ValueError(f"fixed must be one int or {n} ints, got {fixed.dtype} of shape {tuple(fixed.shape)}.")
        if fixed.min() < 0 or fixed.max() >= len(sizes):
            raise ValueError(f"fixed must hold factor indices 0..{len(sizes) - 1}, got {fixed.min()} to {fixed.max()}.")
        shared = fixed.to(generator.device).long()
    else:
        index = as_int(fixed, "fixed", minimum=0, maximum=len(sizes) - 1)
        shared = torch.full((n,), index, device=generator.device)
    pairs = draw_factors(sizes, 2 * n, generator).view(n, 2, len(sizes))
    first, second = pairs[:, 0], pairs[:, 1]
    return first, torch.where(torch.arange(len(sizes), device=shared.device) == shared[:, None], first, second)


class FactorGrid:
    """All ``prod(sizes)`` observations of a Cartesian grid of factors, looked up by factor classes.

    ``observations`` (prod(sizes), ...) holds one observation a cell, in C order (last factor fastest), on any
    device. Raises ``ValueError`` when their number is not the number of cells.
    """

    def __init__(self, sizes: Sequence[int], observations: Any):
        self.sizes = as_sizes(sizes)
        self.cells = as_tensor(observations, "observations")
        if self.cells.ndim == 0 or len(self.cells) != math.prod(self.sizes):
            raise ValueError(
                f"observations must hold one entry for each of the {math.prod(self.sizes)} cells of sizes {self.sizes},"
                f" got shape {tuple(self.cells.shape)}."
            )

    def __len__(self) -> int:
        return len(self.cells)

    def index(self, factors: torch.Tensor) -> torch.Tensor:
        """Cell numbers (...) int64 of factor classes (..., K) int; ``ValueError`` for a class that does not exist."""
        factors = as_tensor(factors, "factors")
        if factors.is_floating_point() or factors.is_complex() or factors.dtype == torch.bool:
            raise TypeError(f"factors must hold integer classes, got {factors.dtype}; pass classes, not values.")
        if factors.ndim == 0 or factors.shape[-1] != len(self.sizes):
            raise ValueError(f"factors must be (..., {len(self.sizes)}), got shape {tuple(factors.shape)}.")
        if bool(((factors < 0) | (factors >= factors.new_tensor(self.sizes))).any()):
            raise ValueError(f"factors must lie in 0 .. size - 1 for sizes {self.sizes}; a class is out of range.")
        cell = torch.zeros(factors.shape[:-1], dtype=torch.int64, device=factors.device)
        for k, size in enumerate(self.sizes):
            cell = cell * size + factors[..., k]
        return cell

    def factors(self, index: Any = None) -> torch.Tensor:
        """Factor classes (..., K) int64 of cell numbers (...); all cells in order when ``index`` is None."""
        cell = torch.arange(len(self)) if index is None else as_tensor(index, "index")
        if cell.is_floating_point() or cell.is_complex() or cell.dtype == torch.bool:
            raise TypeError(f"index must hold cell numbers, got {cell.dtype}.")
        if cell.numel() and (cell.min() < 0 or cell.max() >= len(self)):
            raise ValueError(f"index must lie in 0..{len(self) - 1}, got {cell.min()} to {cell.max()}.")
        return torch.stack(torch.unravel_index(cell, self.sizes), dim=-1)

    def observations(self, factors: torch.Tensor) -> torch.Tensor:
        """The observations (..., *) of factor classes (..., K)."""
        return self.cells[self.index(factors).to(self.cells.device)]

    def sample_factors(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``n`` uniform factor vectors (n, K) int64."""
        return draw_factors(self.sizes, n, generator)
