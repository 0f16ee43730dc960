"""Rotary position embedding: frequencies, cosine and sine tables, and the rotation itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import forward_ad

from workings.checks import as_float, as_int, as_tensor, check_tensor, in_transform, one_of, values_hidden

LAYOUTS = ("half", "interleaved")
_BLOCK = 1 << 20  # numbers of x rotated at a time by one CPU thread, so that its passes stay in the cache


def rope_frequencies(d: int, base: float = 10000.0, *, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Frequencies of the pairs of a head, in radians per position: ``theta_i = base^(-2i/d)``, shape (d/2,).

    ``theta_0 = 1`` is the fastest. ``d`` is the head size, even; ``base`` exceeds 1.
    Raises ``ValueError`` for an odd or non-positive ``d`` or a base of 1 or less.
    Source: Su et al., arXiv 2104.09864, section 3.2.2.
    """
    d = even_size(d)
    base = as_float(base, "base", minimum=1.0, open_ends=True)
    exponents = torch.arange(0, d, 2, dtype=torch.float64) / d
    return torch.pow(torch.tensor(base, dtype=torch.float64), -exponents).to(dtype)


def even_size(d: int, name: str = "d") -> int:
    """``d`` as an even int of at least 2; else ``ValueError`` (the rotation acts on pairs)."""
    d = as_int(d, name, minimum=2)
    if d % 2:
        raise ValueError(f"{name} must be even, since the rotation acts on pairs of coordinates; got {d}.")
    return d


def as_frequencies(theta: torch.Tensor) -> torch.Tensor:
    """Frequencies (d/2,) in float64; ``ValueError`` unless they are one non-empty row of finite numbers >= 0."""
    check_tensor(theta, "theta", floating=False)
    if theta.dim() != 1 or not len(theta) or not theta.is_floating_point():
        raise ValueError(f"theta must be real of shape (d/2,), got {theta.dtype} of shape {tuple(theta.shape)}.")
    if not values_hidden(theta) and not bool((torch.isfinite(theta) & (theta >= 0)).all()):
        raise ValueError("theta contains a negative or non-finite frequency; start from rope_frequencies(d, base).")
    return theta.to(torch.float64)


def as_positions(positions: Any, device: torch.device | None = None) -> torch.Tensor:
    """Positions (T,) or (B, T), whole or real numbers, as float64.

    Raises ``ValueError`` for another shape or a non-finite entry, and ``TypeError`` for bools, complex
    numbers and half precision: float16 holds whole numbers up to 2048 only and bfloat16 up to 256.
    """
    given = as_tensor(positions, "positions")
    given = given.to(device)
    if given.dtype in (torch.float16, torch.bfloat16):
        limit = 2048 if given.dtype == torch.float16 else 256
        raise TypeError(f"positions in {given.dtype} lose whole numbers beyond {limit}; pass int64 or float32 ones.")
    if given.dtype == torch.bool or given.is_complex():
        raise TypeError(f"positions must be whole or real numbers, got {given.dtype}.")
    if given.dim() not in (1, 2):
        raise ValueError(f"positions must have shape (T,) or (B, T), got {tuple(given.shape)}.")
    given = given.to(torch.float64)
    if not values_hidden(given) and not bool(torch.isfinite(given).all()):
        raise ValueError("positions contain NaN or an infinite value; every position must be finite.")
    return given


def rotary_tables(
    positions: Any, theta: torch.Tensor, *, scale: float | torch.Tensor = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """``scale * cos(m theta_i)`` and ``scale * sin(m theta_i)``: two tables (T, d/2), or (B, T, d/2).

    ``positions`` (T,) or (B, T), real; ``theta`` (d/2,) in radians per position; the tables are on the
    positions' device. Angles are formed in float64 and taken modulo one turn before rounding, so a
    float32 table errs by about 1e-7 at any position. ``scale`` is a positive number (YaRN's attention
    factor; given to both q and k it enters the scores squared) or a table of that shape (xPos).
    Gradients reach ``theta`` if it asks for them. Raises ``ValueError`` for bad shapes or values.
    """
    positions = as_positions(positions)
    angle = positions[..., None] * as_frequencies(theta).to(positions.device)
    if dtype != torch.float64:
        angle = angle - (angle.detach() * (0.5 / math.pi)).round() * (2 * math.pi)
        angle = angle.to(torch.float32)
    cos, sin = angle.cos(), angle.sin()
    if isinstance(scale, torch.Tensor):
        fits = all(n in (1, m) for n, m in zip(reversed(scale.shape), reversed(angle.shape), strict=False))
        if not fits or scale.dim() > angle.dim():
            raise ValueError(f"a scale table must fit {tuple(angle.shape)}, got shape {tuple(scale.shape)}.")
        if not values_hidden(scale) and not bool(torch.isfinite(scale).all()):
            raise ValueError("the scale table contains NaN or an infinite value; every entry must be finite.")
        scale = scale.to(device=angle.device, dtype=angle.dtype)
        cos, sin = cos * scale, sin * scale
    elif as_float(scale, "scale", minimum=0.0, open_ends=True) != 1.0:
        cos, sin = cos * float(scale), sin * float(scale)
    return cos.to(dtype), sin.to(dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str = "half") -> torch.Tensor:
    """Rotate the pairs of ``x`` (..., T, d): ``(a, b) -> (a cos - b sin, b cos + a sin)``; shape and dtype of ``x``.

    ``cos`` and ``sin`` are :func:`rotary_tables`, (T, d/2) or (B, T, d/2) with ``x`` (B, ..., T, d).
    Pair ``i`` is ``(x[i], x[i + d/2])`` in the layout ``"half"`` (Hugging Face LLaMA weights) and
    ``(x[2i], x[2i+1])`` in ``"interleaved"`` (Meta's weights, the RoFormer paper);
    :func:`layout_permutation` goes from one to the other. Computed in float32 at least and rounded
    once. The backward pass is the opposite rotation and keeps nothing but the tables.
    Raises ``ValueError`` for an unknown layout, an odd ``d`` or tables that do not fit ``x``.
    """
    one_of(layout, "layout", LAYOUTS)
    for name, given in (("x", x), ("cos", cos), ("sin", sin)):
        check_tensor(given, name)
    cos, sin = _fitted(x, cos), _fitted(x, sin)
    if cos.requires_grad or sin.requires_grad or torch.compiler.is_compiling() or in_transform() or _dual(x, cos, sin):
        return _formula(x.to(cos.dtype), cos, sin, layout).to(x.dtype)
    if x.requires_grad and torch.is_grad_enabled():
        return _Rotate.apply(x, cos, sin, layout, 1)
    return _rotated(x, cos, sin, layout, 1)


def apply_rotary(
    x: torch.Tensor,
    positions: Any,
    theta: torch.Tensor,
    *,
    layout: str = "half",
    scale: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    """Rotary embedding of queries or keys ``x`` (..., T, d) at ``positions`` (T,) or (B, T); shape and dtype of ``x``.

    Pair ``i`` at position ``m`` is turned by ``m theta_i`` and multiplied by ``scale``, so that
    ``q_m . k_n`` depends on ``m - n`` only. Tables in float64 for a float64 ``x``, else float32, whatever
    the precision of ``x``. It is :func:`rotary_tables` followed by :func:`rotate`; a model calls the
    first once per batch. Raises ``ValueError`` or ``TypeError`` as those two do.
    Source: Su et al., arXiv 2104.09864, equation 34.
    """
    check_tensor(x, "x", floating=False)
    check_tensor(theta, "theta", floating=False)
    if not x.is_floating_point() or x.dim() < 2:
        raise ValueError(f"x must be real of shape (..., T, d), got {x.dtype} of shape {tuple(x.shape)}.")
    d = even_size(x.shape[-1], "the head size (last dimension of x)")
    if theta.shape != (d // 2,):
        raise ValueError(f"theta must have shape ({d // 2},) for a head size of {d}, got {tuple(theta.shape)}.")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    cos, sin = rotary_tables(as_positions(positions, x.device), theta, scale=scale, dtype=dtype)
    return rotate(x, cos, sin, layout)


def layout_permutation(d: int) -> torch.Tensor:
    """Index (d,) that takes the half layout to the interleaved one: ``x_interleaved = x_half[..., index]``.

    ``index[2i] = i`` and ``index[2i+1] = i + d/2``. Used on the rows of a head's query and key
    projections (both, and only those) it turns a model of one layout into the same model of the other.
    Its inverse is ``torch.argsort(index)``. Raises ``ValueError`` for an odd ``d``.
    """
    return torch.arange(even_size(d)).reshape(2, -1).T.reshape(-1)


def _fitted(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """``table`` in the dtype of the computation, with ones inserted so that it broadcasts against half of ``x``."""
    d = even_size(x.shape[-1], "the head size (last dimension of x)")
    wanted = (x.shape[-2], d // 2) if x.dim() > 1 else None
    if wanted is None or table.shape[-2:] != wanted or table.dim() not in (2, 3):
        raise ValueError(
            f"x of shape {tuple(x.shape)} needs tables (T, d/2) or (B, T, d/2) with its T and d, got {tuple(table.shape)}; "
            "check the number of positions and of frequencies."
        )
    if table.dim() == 3:
        if x.dim() < 3 or table.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"positions of {table.shape[0]} sequences do not fit x of shape {tuple(x.shape)}.")
        table = table.reshape(table.shape[0], *[1] * (x.dim() - 3), *wanted)
    return table.to(torch.promote_types(torch.promote_types(x.dtype, table.dtype), torch.float32))


def _dual(*tensors: torch.Tensor) -> bool:
    """Whether one of them carries a tangent of forward-mode differentiation."""
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def _formula(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str) -> torch.Tensor:
    """The rotation as one expression, for automatic differentiation through the tables and for compilers."""
    if layout == "half":
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


class _Rotate(torch.autograd.Function):
    """The rotation (``sign`` 1) or its transpose (-1), each the other's derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str, sign: int):
        ctx.save_for_backward(cos, sin)
        ctx.layout, ctx.sign = layout, sign
        return _rotated(x, cos, sin, layout, sign)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor):
        return _Rotate.apply(g, *ctx.saved_tensors, ctx.layout, -ctx.sign), None, None, None, None


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str, sign: int) -> torch.Tensor:
    """A new tensor, written block by block along T; the tables are in the dtype of the computation."""
    if layout == "interleaved" and not _pairs_are_complex(x):
        x = x.contiguous()
    out = torch.empty_like(x)
    same = x.dtype == cos.dtype
    one_pass = same and (layout == "interleaved" or torch.get_num_threads() > 1)  # threads wait after each pass
    if x.device.type != "cpu" or x.numel() <= _BLOCK or one_pass:
        step = max(x.shape[-2], 1)
    else:
        step = max(1, _BLOCK * x.shape[-2] // x.numel())
    for block, target, c, s in zip(*(t.split(step, dim=-2) for t in (x, out, cos, sin)), strict=True):
        if same:
            _write(block, c, s, layout, sign, target)
        else:
            wide = block.to(cos.dtype)
            target.copy_(_write(wide, c, s, layout, sign, torch.empty_like(wide)))
    return out


def _write(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, layout: str, sign: int, out: torch.Tensor):
    """``x`` turned by ``sign`` times the angle, into ``out``; all in one dtype."""
    if layout == "interleaved":
        turn = torch.complex(cos, sin if sign > 0 else -sin)
        torch.mul(_as_complex(x), turn, out=_as_complex(out))
        return out
    a, b = x.chunk(2, dim=-1)
    first, second = out.chunk(2, dim=-1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-sign)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=sign)
    return out


def _as_complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _pairs_are_complex(x: torch.Tensor) -> bool:
    """Whether neighbouring numbers of ``x`` can be read as complex ones without a copy."""
    return x.stride(-1) == 1 and x.storage_offset() % 2 == 0 and all(s % 2 == 0 for s in x.stride()[:-1])
