"""Argument checks shared by every kernel.

Each check returns the value it accepted (converted where that is its job) or raises an error that
says what was given, what is allowed and what to do. Nothing here imports torch: a tensor is
recognised by its ``detach`` method.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np


def as_array(x: Any, name: str, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """``x`` as a non-empty float64 array without NaN; infinities are allowed.

    Torch tensors on any device are copied to the host. ``ndim`` is the number (or the allowed
    numbers) of dimensions. Raises ``ValueError`` for an empty array, a NaN or a wrong shape and
    ``TypeError`` for something that is not numeric.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu().numpy()
    try:
        array = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}: {error}.") from None
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if array.ndim not in allowed:
            wanted = " or ".join(str(d) for d in allowed)
            raise ValueError(f"{name} must have {wanted} dimension(s), got shape {array.shape}; reshape it first.")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}); at least one value is needed.")
    if np.isnan(array).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
        raise ValueError(f"{name} contains NaN (first at index {where}); drop or repair those entries first.")
    return array


def as_finite_array(x: Any, name: str, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Like :func:`as_array`, and infinities are refused as well."""
    array = as_array(x, name, ndim=ndim)
    if not np.isfinite(array).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} contains an infinite value (first at index {where}); every entry must be finite.")
    return array


def as_int(value: Any, name: str, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """``value`` as an int in ``[minimum, maximum]``; floats and bools are refused (``TypeError``)."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got the bool {value!r}.")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}.") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}.")
    if maximum is not None and number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}.")
    return number


def as_float(
    value: Any,
    name: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    open_ends: bool = False,
    finite: bool = True,
) -> float:
    """``value`` as a float within bounds (``open_ends=True`` excludes the bounds themselves)."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got the bool {value!r}.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}.") from None
    left, right = ("(", ")") if open_ends else ("[", "]")
    inside = minimum < number < maximum if open_ends else minimum <= number <= maximum
    if not inside or (finite and not math.isfinite(number)):
        raise ValueError(f"{name} must be in {left}{minimum:g}, {maximum:g}{right}, got {number!r}.")
    return number


def as_probability(value: Any, name: str) -> float:
    """A level strictly between 0 and 1 (``alpha``, ``gamma``)."""
    return as_float(value, name, minimum=0.0, maximum=1.0, open_ends=True)


def one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    """``value`` if it is one of ``allowed``, else ``ValueError`` listing them."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}.")
    return value
