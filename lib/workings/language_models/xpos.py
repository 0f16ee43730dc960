"""xPos: rotary embedding with a factor that decays with distance."""

from __future__ import annotations

import math
from typing import Any

import torch

from workings.checks import as_float, values_hidden
from workings.language_models.rotary import apply_rotary, as_positions, even_size


def xpos_scales(
    d: int,
    positions: Any,
    gamma: float = 512.0,
    *,
    centred: bool = True,
    centre: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The factors ``zeta_i^((n - c)/gamma)`` of rotated queries: (T, d/2), or (B, T, d/2) for positions (B, T).

    ``zeta_i = (2i + 0.4 d) / (1.4 d)`` in (0, 1). Queries are multiplied by the table and keys by its
    inverse, so the score of pair ``i`` is RoPE's times ``zeta_i^((n-m)/gamma)`` whatever the centre ``c``.
    ``c`` is the middle of each row of positions (so that numbers stay small), 0 with ``centred=False``, or
    ``centre``; q and k of one product need the same one, so fix it when they hold different positions.
    ``gamma`` in tokens: larger is weaker. Raises ``ValueError`` for bad input and for a table that ``dtype``
    cannot hold together with its inverse. Source: Sun et al., arXiv 2212.10554, equation 13.
    """
    d = even_size(d)
    gamma = as_float(gamma, "gamma", minimum=0.0, open_ends=True)
    positions = as_positions(positions)
    if centre is not None:
        positions = positions - as_float(centre, "centre")
    elif centred and positions.numel():
        positions = positions - (positions.amin(-1, keepdim=True) + positions.amax(-1, keepdim=True)) / 2
    zeta = (torch.arange(0, d, 2, dtype=torch.float64, device=positions.device) + 0.4 * d) / (1.4 * d)
    log_scale = positions[..., None] / gamma * zeta.log()
    limit = math.log(torch.finfo(dtype).max)
    largest = float(log_scale.abs().max()) if log_scale.numel() and not values_hidden(log_scale) else 0.0
    if largest > min(limit, -math.log(torch.finfo(dtype).tiny)):
        raise ValueError(
            f"xPos factors reach e^{largest:.0f}, which {dtype} cannot hold; "
            "centre the positions, raise gamma or use a wider dtype."
        )
    return log_scale.exp().to(dtype)


def apply_xpos(
    q: torch.Tensor,
    k: torch.Tensor,
    positions: Any,
    theta: torch.Tensor,
    *,
    gamma: float = 512.0,
    layout: str = "half",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotated and xPos-scaled queries and keys (..., T, d) at the same positions, (T,) or (B, T); shapes and dtypes kept.

    The score ``q_n . k_m`` is the sum over pairs of RoPE's term times ``zeta_i^((n-m)/gamma)``: it decays
    into the past (and grows into the future, which a causal mask must remove before the softmax).
    Products are best taken in float32. See :func:`xpos_scales`; the layout must be the weights' own.
    """
    dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    positions = as_positions(positions, q.device)
    scales = xpos_scales(q.shape[-1], positions, gamma, dtype=dtype)
    return (
        apply_rotary(q, positions, theta, layout=layout, scale=scales),
        apply_rotary(k, positions, theta, layout=layout, scale=1 / scales),
    )
