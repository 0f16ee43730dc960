"""Latent traversals: move one latent, hold the others, and look at what the decoder draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from workings.checks import as_int, as_tensor, values_hidden

Decoder = Callable[[torch.Tensor], torch.Tensor]


def traversal_grid(decode: Decoder, z0: torch.Tensor, dims: Sequence[int], values: Any) -> torch.Tensor:
    """One row per latent in ``dims``, one column per value: (len(dims), T, ...).

    Entry (d, t) is ``decode(z)`` for ``z = z0`` except ``z[dims[d]] = values[t]``. ``decode`` maps (B, M) to (B, ...) and
    is called once, without gradients, on all ``len(dims) * T`` codes, in the dtype and on the device of ``z0`` (M,),
    which is left as it is. ``values`` (T,): latent units, that is standard deviations of the prior.

    Raises ``ValueError`` for a latent that does not exist, no latents or values, values that are not finite, or a
    decoder that loses rows; ``TypeError`` for a ``z0`` that is not a tensor of floats.
    """
    if not isinstance(z0, torch.Tensor) or not z0.is_floating_point():
        raise TypeError(f"z0 must be a tensor of floats, got {getattr(z0, 'dtype', type(z0).__name__)}.")
    if z0.ndim != 1 or len(z0) == 0:
        raise ValueError(f"z0 must be one code (M,), got shape {tuple(z0.shape)}; pass for instance mu[0].")
    chosen = [as_int(dim, f"dims[{i}]", minimum=0, maximum=len(z0) - 1) for i, dim in enumerate(dims)]
    if not chosen:
        raise ValueError("dims is empty; name at least one latent to move.")
    values = as_tensor(values, "values").to(dtype=z0.dtype, device=z0.device)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values must be (T,) with T >= 1, got shape {tuple(values.shape)}.")
    if any(not values_hidden(given) and not bool(torch.isfinite(given).all()) for given in (values, z0)):
        raise ValueError("values and z0 must be finite.")
    rows, columns = len(chosen), len(values)
    moved = torch.arange(len(z0), device=z0.device) == torch.tensor(chosen, device=z0.device)[:, None]  # (D, M)
    codes = torch.where(moved[:, None], values[:, None], z0.detach())  # (D, T, M)
    with torch.no_grad():
        drawn = decode(codes.flatten(0, 1))
    if len(drawn) != rows * columns:
        raise ValueError(f"decode must keep the batch: {rows * columns} codes gave {len(drawn)} outputs.")
    return drawn.unflatten(0, (rows, columns))


def latent_traversal(decode: Decoder, z0: torch.Tensor, dim: int, values: Any) -> torch.Tensor:
    """``decode`` along latent ``dim`` through ``z0`` (M,): (T, ...), entry t with ``z[dim] = values[t]``.

    The single row of :func:`traversal_grid`, with its conditions and errors.
    """
    return traversal_grid(decode, z0, [as_int(dim, "dim", minimum=0)], values)[0]
