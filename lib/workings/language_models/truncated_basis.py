"""The power basis and the truncated basis of the Giraffe paper, and the order in which they combine."""

from __future__ import annotations

import math

import torch

from workings.checks import as_float, check_tensor
from workings.language_models.rotary import as_frequencies


def scale_power_truncate(
    theta: torch.Tensor,
    *,
    factor: float = 1.0,
    exponent: float = 0.0,
    turn_len: float | None = None,
    hard: bool = False,
) -> torch.Tensor:
    """Scale, then power, then cut, in the order of the Giraffe code: frequencies (d/2,), dtype of ``theta``.

    ``theta / factor``, times ``(1 - 2i/d)^exponent``, then :func:`truncate_frequencies` at one turn within ``turn_len``
    tokens (``None`` leaves the cut out). Source: Pal et al., arXiv 2308.10882, code.
    """
    factor = as_float(factor, "factor", minimum=1.0)
    exponent = as_float(exponent, "exponent", minimum=0.0)
    changed = as_frequencies(theta) / factor
    shrink = 1 - torch.arange(len(theta), dtype=torch.float64, device=theta.device) / len(theta)
    changed = changed * shrink**exponent
    if turn_len is not None:
        changed = truncate_frequencies(changed, 2 * math.pi / as_length(turn_len, "turn_len"), hard=hard)
    return changed.to(theta.dtype)


def truncate_frequencies(
    theta: torch.Tensor, at: float, *, low: float | None = None, level: float | None = None, hard: bool = False
) -> torch.Tensor:
    """Three-valued truncation of frequencies: ``theta`` where ``>= at``, ``level`` where ``>= low``, else 0.

    In radians per position. Defaults as in the Giraffe code: ``low = at/8``, ``level = at/16``. ``hard``
    sets ``low = at``: there is no middle level. With the level a second cut zeroes it (``level < low``), so
    only the hard cut is idempotent. Raises ``ValueError`` when ``low > at``.
    """
    check_tensor(theta, "theta")
    at = as_float(at, "at", minimum=0.0)
    low = at if hard else as_float(at / 8 if low is None else low, "low", minimum=0.0)
    level = as_float(at / 16 if level is None else level, "level", minimum=0.0)
    if low > at:
        raise ValueError(f"the lower cut-off must not exceed the upper one, got low={low:g} and at={at:g}; swap them.")
    middle = torch.where(theta >= low, torch.full_like(theta, level), torch.zeros_like(theta))
    return torch.where(theta >= at, theta, middle)


def as_length(value: float, name: str) -> float:
    """A length in tokens as a float > 0; else ``ValueError``."""
    return as_float(value, name, minimum=0.0, open_ends=True)
