"""Rotary frequencies for contexts longer than the trained one: eleven kinds of change."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from workings.checks import as_float, as_int, as_tensor, exact_decimal, one_of
from workings.language_models.rotary import as_frequencies
from workings.language_models.truncated_basis import as_length, scale_power_truncate, truncate_frequencies


class Scaled(NamedTuple):
    """Changed frequencies (d/2,) and the number that multiplies both the rotated q and the rotated k."""

    theta: torch.Tensor
    attention_factor: float


class _Given(NamedTuple):
    """What a kind may use besides its own options; lengths in tokens."""

    factor: float
    orig_len: float | None
    base: float | None
    seq_len: float | None

    def trained_length(self, kind: str) -> float:
        if self.orig_len is None:
            raise ValueError(f"kind {kind!r} needs orig_len, the number of tokens the model was trained on.")
        return self.orig_len


def scale_frequencies(
    theta: torch.Tensor,
    kind: str,
    *,
    factor: float = 1.0,
    orig_len: float | None = None,
    base: float | None = None,
    seq_len: float | None = None,
    **options,
) -> Scaled:
    """Change rotary frequencies ``theta`` (d/2,), radians per position, by one of :data:`KINDS`; dtype of ``theta``.

    ``factor = s >= 1`` is the wanted context over ``orig_len = L``, the trained one in tokens; ``seq_len``
    is the current length (dynamic_ntk, longrope); ``base`` is needed by ``yarn`` with ``ramp="index"``
    only, and only if ``theta`` is not a geometric sequence. Kinds and their options:

    - ``default``: unchanged.
    - ``linear``: ``theta / s`` (position interpolation, arXiv 2306.15595).
    - ``power`` (``exponent=0.5``): ``(theta/s) (1 - 2i/d)^exponent``.
    - ``truncated`` (``turn_len=orig_len``, ``cut_at``, ``low``, ``level``, ``hard=False``): ``theta / s``, then
      :func:`~workings.language_models.truncated_basis.truncate_frequencies`.
    - ``ntk``: base times ``s^(d/(d-2))``, so ``theta_0`` stays and the last is divided by exactly ``s``.
    - ``dynamic_ntk`` (``alpha=factor``): ``ntk`` at ``alpha l/L - (alpha - 1)`` for a length ``l > L``, else unchanged.
    - ``ntk_by_parts`` (``alpha=1, beta=32``): ``(1-g) theta/s + g theta`` where ``g`` rises linearly from 0 at
      ``alpha`` to 1 at ``beta`` turns ``r = L theta / 2 pi`` within the trained length.
    - ``yarn`` (``beta_fast=32, beta_slow=1, ramp="turns"``, ``truncate=True``, ``attention_factor``, ``mscale``,
      ``mscale_all_dim``): the same blend and the attention factor ``0.1 ln s + 1``. ``ramp="turns"`` is the
      paper's (arXiv 2309.00071); ``"index"`` is transformers' one, linear in the index ``i``.
    - ``llama3`` (``low_freq_factor=1, high_freq_factor=4``): by parts between those numbers of turns.
    - ``longrope`` (``short_factor``, ``long_factor``: d/2 numbers each): ``theta / short_i``, or ``long_i`` when
      ``seq_len > L``; attention factor ``sqrt(1 + ln s / ln L)`` (arXiv 2402.13753).
    - ``proportional`` (``fraction=1``): the first ``floor(fraction d/2)`` frequencies over ``s``, the others 0.

    At ``s = 1`` every kind but power, truncated, longrope and proportional (which act through their own
    options) is the identity. Raises ``ValueError`` for a factor below 1, an unknown kind, cut-offs in the
    wrong order, lengths that are not positive or a ``theta`` that is not one row of finite numbers
    >= 0, and ``TypeError`` for an option that the kind does not have.
    Source of power and truncated: Pal et al., arXiv 2308.10882, and its code.
    """
    one_of(kind, "kind", KINDS)
    function = _FUNCTIONS[kind]
    allowed = list(inspect.signature(function).parameters)[2:]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(f"kind {kind!r} has no option {', '.join(unknown)}; it has: {', '.join(allowed) or 'none'}.")
    given = _Given(
        as_float(factor, "factor", minimum=1.0),
        None if orig_len is None else as_length(orig_len, "orig_len"),
        None if base is None else as_float(base, "base", minimum=1.0, open_ends=True),
        None if seq_len is None else as_length(seq_len, "seq_len"),
    )
    changed, attention = function(as_frequencies(theta), given, **options)
    return Scaled(changed.to(theta.dtype), attention)


def _default(theta: torch.Tensor, given: _Given) -> tuple[torch.Tensor, float]:
    return theta, 1.0


def _linear(theta: torch.Tensor, given: _Given) -> tuple[torch.Tensor, float]:
    return theta / given.factor, 1.0


def _power(theta: torch.Tensor, given: _Given, exponent: float = 0.5) -> tuple[torch.Tensor, float]:
    return scale_power_truncate(theta, factor=given.factor, exponent=exponent), 1.0


def _truncated(
    theta: torch.Tensor,
    given: _Given,
    turn_len: float | None = None,
    cut_at: float | None = None,
    low: float | None = None,
    level: float | None = None,
    hard: bool = False,
) -> tuple[torch.Tensor, float]:
    if cut_at is None:
        turn_len = given.trained_length("truncated") if turn_len is None else as_length(turn_len, "turn_len")
        cut_at = 2 * math.pi / turn_len
    return truncate_frequencies(theta / given.factor, cut_at, low=low, level=level, hard=hard), 1.0


def _ntk(theta: torch.Tensor, given: _Given) -> tuple[torch.Tensor, float]:
    return _change_of_base(theta, given.factor), 1.0


def _dynamic_ntk(theta: torch.Tensor, given: _Given, alpha: float | None = None) -> tuple[torch.Tensor, float]:
    alpha = given.factor if alpha is None else as_float(alpha, "alpha", minimum=1.0)
    trained = given.trained_length("dynamic_ntk")
    length = trained if given.seq_len is None else max(given.seq_len, trained)
    return _change_of_base(theta, alpha * length / trained - (alpha - 1)), 1.0


def _ntk_by_parts(
    theta: torch.Tensor, given: _Given, alpha: float = 1.0, beta: float = 32.0
) -> tuple[torch.Tensor, float]:
    names = ("alpha", "beta")
    return _blend(
        theta, given.factor, _ramp_in_turns(theta, given.trained_length("ntk_by_parts"), alpha, beta, names)
    ), 1.0


def _yarn(
    theta: torch.Tensor,
    given: _Given,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    ramp: str = "turns",
    truncate: bool = True,
    attention_factor: float | None = None,
    mscale: float | None = None,
    mscale_all_dim: float | None = None,
) -> tuple[torch.Tensor, float]:
    one_of(ramp, "ramp", ("turns", "index"))
    trained = given.trained_length("yarn")
    if ramp == "turns":
        keep = _ramp_in_turns(theta, trained, beta_slow, beta_fast, ("beta_slow", "beta_fast"))
    else:
        base = _base_of(theta) if given.base is None else given.base
        keep = _ramp_in_index(theta, trained, base, beta_slow, beta_fast, truncate)
    if attention_factor is None:
        growth = 0.1 * math.log(given.factor)
        attention_factor = growth + 1
        if (mscale is None) != (mscale_all_dim is None):
            raise ValueError(
                "mscale and mscale_all_dim act only together (YaRN divides one by the other); give both or none."
            )
        if mscale and mscale_all_dim:
            attention_factor = (growth * mscale + 1) / (growth * mscale_all_dim + 1)
    return _blend(theta, given.factor, keep), _attention(attention_factor)


def _llama3(
    theta: torch.Tensor, given: _Given, low_freq_factor: float = 1.0, high_freq_factor: float = 4.0
) -> tuple[torch.Tensor, float]:
    names = ("low_freq_factor", "high_freq_factor")
    trained = given.trained_length("llama3")
    return _blend(theta, given.factor, _ramp_in_turns(theta, trained, low_freq_factor, high_freq_factor, names)), 1.0


def _longrope(
    theta: torch.Tensor,
    given: _Given,
    short_factor: Sequence[float] | None = None,
    long_factor: Sequence[float] | None = None,
    attention_factor: float | None = None,
) -> tuple[torch.Tensor, float]:
    trained = given.trained_length("longrope")
    is_long = given.seq_len is not None and given.seq_len > trained
    name, chosen = ("long_factor", long_factor) if is_long else ("short_factor", short_factor)
    divisor = as_tensor([] if chosen is None else chosen, name).to(dtype=torch.float64, device=theta.device)
    if divisor.shape != theta.shape or not bool((torch.isfinite(divisor) & (divisor > 0)).all()):
        raise ValueError(f"kind 'longrope' needs {name}: {len(theta)} finite numbers > 0, got {chosen!r}.")
    if attention_factor is None:
        attention_factor = math.sqrt(1 + math.log(given.factor) / math.log(trained)) if given.factor > 1 else 1.0
    return theta / divisor, _attention(attention_factor)


def _proportional(theta: torch.Tensor, given: _Given, fraction: float = 1.0) -> tuple[torch.Tensor, float]:
    fraction = as_float(fraction, "fraction", minimum=0.0, maximum=1.0)
    kept = torch.arange(len(theta), device=theta.device) < math.floor(exact_decimal(fraction) * len(theta))
    return torch.where(kept, theta / given.factor, 0.0), 1.0


_FUNCTIONS: dict[str, Callable[..., tuple[torch.Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "power": _power,
    "truncated": _truncated,
    "ntk": _ntk,
    "dynamic_ntk": _dynamic_ntk,
    "ntk_by_parts": _ntk_by_parts,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
    "proportional": _proportional,
}
KINDS = tuple(_FUNCTIONS)


def _attention(value: float) -> float:
    return as_float(value, "attention_factor", minimum=0.0, open_ends=True)


def _change_of_base(theta: torch.Tensor, factor: float) -> torch.Tensor:
    """``theta`` for a base larger by ``factor^(d/(d-2))``: ``theta_i factor^(-2i/(d-2))``, here with n = d/2."""
    n = as_int(len(theta), "the number of frequencies for an NTK kind", minimum=2)
    return theta * factor ** (-torch.arange(n, dtype=torch.float64, device=theta.device) / (n - 1))


def _blend(theta: torch.Tensor, factor: float, keep: torch.Tensor) -> torch.Tensor:
    """Interpolated where ``keep`` is 0, unchanged where it is 1."""
    return (1 - keep) * theta / factor + keep * theta


def _ramp_in_turns(
    theta: torch.Tensor, trained: float, slow: float, fast: float, names: tuple[str, str]
) -> torch.Tensor:
    """0 up to ``slow`` turns within the trained length, 1 from ``fast`` turns on, linear between."""
    slow, fast = _ordered(slow, fast, names)
    return ((trained * theta / (2 * math.pi) - slow) / (fast - slow)).clamp(0, 1)


def _ramp_in_index(
    theta: torch.Tensor, trained: float, base: float, slow: float, fast: float, truncate: bool
) -> torch.Tensor:
    """The ramp of transformers: linear in the index, between those that make ``fast`` and ``slow`` turns."""
    slow, fast = _ordered(slow, fast, ("beta_slow", "beta_fast"))
    n = len(theta)
    first, last = (n * math.log(trained / (turns * 2 * math.pi)) / math.log(base) for turns in (fast, slow))
    if truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * n - 1)
    width = last - first if last != first else 0.001
    return 1 - ((torch.arange(n, dtype=torch.float64, device=theta.device) - first) / width).clamp(0, 1)


def _ordered(slow: float, fast: float, names: tuple[str, str]) -> tuple[float, float]:
    slow, fast = (as_float(v, n, minimum=0.0) for v, n in zip((slow, fast), names, strict=True))
    if slow >= fast:
        raise ValueError(f"{names[0]} must be below {names[1]}, got {slow:g} and {fast:g}; swap them.")
    return slow, fast


def _base_of(theta: torch.Tensor) -> float:
    """The base of a geometric ``theta``; ``ValueError`` if it is not geometric from 1 downwards."""
    n = len(theta)
    if n > 1 and float(theta[-1]) > 0:
        base = float(theta[-1]) ** (-n / (n - 1))
        geometric = base ** (-torch.arange(n, dtype=torch.float64, device=theta.device) / n)
        if base > 1 and bool(torch.allclose(theta, geometric, rtol=1e-5, atol=0)):
            return base
    raise ValueError("these frequencies are not base^(-2i/d), so their base cannot be read off; pass base=.")
