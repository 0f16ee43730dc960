"""Randomised positions for training: uneven steps that teach a model distances in between."""

from __future__ import annotations

import torch

from workings.checks import as_float, as_generator, as_int


def random_positions(
    batch: int,
    length: int,
    generator: torch.Generator | None,
    max_step: float = 2.0,
    *,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Increasing positions (batch, length): cumulated steps ``u ~ U(0, max_step)``, never beyond ``length``.

    A row whose last position exceeds ``length`` is shrunk as a whole to end at it. In tokens; used in
    training only, with ordinary positions at evaluation. float64 by default: float32 would merge
    neighbours at long lengths. The result is on the generator's device.
    Raises ``ValueError`` for sizes below 1 or a step that is not positive.
    Source: Pal et al., arXiv 2308.10882, code.
    """
    batch, length = as_int(batch, "batch", minimum=1), as_int(length, "length", minimum=1)
    max_step = as_float(max_step, "max_step", minimum=0.0, open_ends=True)
    device = "cpu" if generator is None else as_generator(generator).device
    uniform = torch.rand((batch, length), dtype=torch.float64, generator=generator, device=device)
    positions = (max_step * (1 - uniform)).cumsum(dim=1)  # steps in (0, max_step]: never a repeated position
    last = positions[:, -1:]
    return torch.where(last > length, positions / last * length, positions).to(dtype)
