"""Argument checks shared by every kernel.

Each check returns the value it accepted (converted where that is its job) or raises an error that
says what was given, what is allowed and what to do. Torch is imported only by what makes or asks for
torch objects: elsewhere a tensor is recognised by its ``detach`` method.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

# What a probability may miss [0, 1] by: a few roundings of the type that it was computed in.
_ROUNDING = {"torch.bfloat16": 1.6e-2, "torch.float16": 2e-3, "float16": 2e-3}


def as_array(x: Any, name: str, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """``x`` as a non-empty float64 array without NaN; infinities are allowed.

    Torch tensors on any device are copied to the host. ``ndim`` is the number (or the allowed
    numbers) of dimensions. Raises ``ValueError`` for an empty array, a NaN or a wrong shape and
    ``TypeError`` for something that is not numeric, or not a plain number each: masked entries, complex
    numbers, dates.
    """
    x = as_host_array(x, name)
    if x.dtype.kind in "cmM":
        what = "complex numbers" if x.dtype.kind == "c" else "dates or durations"
        raise TypeError(f"{name} must be real numbers, got {what} ({x.dtype}); convert them to what is meant first.")
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


def as_host_array(x: Any, name: str) -> np.ndarray:
    """``x`` as a numpy array of its own dtype (bfloat16 as float32), on the host, without a graph.

    Raises ``TypeError`` for a masked array, alone or in a list, whose mask numpy would drop without a word, and for a
    sparse tensor.
    """
    if _masked(x):
        raise TypeError(
            f"{name} is a masked array or holds one, and its mask would be ignored; pass name.compressed(), or fill the masked "
            "entries with what they should count as."
        )
    if values_hidden(x):
        raise NotImplementedError(
            f"{name} has to be looked at on the host, and torch.func.vmap hides its values; call this row by row."
        )
    if hasattr(x, "detach"):
        x = x.detach()
        if str(x.layout) != "torch.strided":
            raise TypeError(f"{name} must be a dense tensor, got the layout {x.layout}; call .to_dense() first.")
        x = x.cpu().resolve_conj().resolve_neg()
        if str(x.dtype) == "torch.bfloat16" or "float8" in str(x.dtype):
            x = x.float()
        return x.numpy()
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}: {error}.") from None


def _masked(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(_masked(item) for item in x)
    return isinstance(x, np.ma.MaskedArray)


def as_tensor(x: Any, name: str) -> torch.Tensor:
    """``x`` as a torch tensor: a tensor as it is, all else by way of numpy, whatever its strides.

    Raises ``TypeError`` for a masked array and for what has no numeric dtype.
    """
    import torch

    if isinstance(x, torch.Tensor):
        return x
    if isinstance(x, (list, tuple)) and any(isinstance(item, torch.Tensor) for item in x):
        return torch.as_tensor(x)
    array = as_host_array(x, name)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    try:
        return torch.as_tensor(array)
    except TypeError as error:
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}: {error}.") from None


def as_probabilities(x: Any, name: str, *, ndim: int | tuple[int, ...] | None = None) -> np.ndarray:
    """Like :func:`as_finite_array`, for entries in [0, 1].

    What misses the interval by rounding (1e-6, and more for 16-bit numbers) is put on its end. Raises
    ``ValueError`` for what is further away.
    """
    slack = _ROUNDING.get(str(getattr(x, "dtype", "")), 1e-6)
    array = as_finite_array(x, name, ndim=ndim)
    low, high = array.min(), array.max()
    if low < -slack or high > 1.0 + slack:
        raise ValueError(f"{name} must be in [0, 1], got {low:.9g} to {high:.9g}; pass probabilities, not logits.")
    return array if low >= 0 and high <= 1 else np.clip(array, 0.0, 1.0)


def as_generator(value: Any, name: str = "generator") -> torch.Generator:
    """``value`` if it is a ``torch.Generator``, else ``TypeError``."""
    import torch

    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"{name} must be a torch.Generator, got {type(value).__name__}; "
            "use workings.seeding.torch_generator(seed, 'a name')."
        )
    return value


def as_numpy_generator(value: Any, name: str = "generator") -> np.random.Generator:
    """``value`` if it is a ``numpy.random.Generator``, else ``TypeError``."""
    if not isinstance(value, np.random.Generator):
        raise TypeError(
            f"{name} must be a numpy.random.Generator, got {type(value).__name__}; use numpy.random.default_rng(seed)."
        )
    return value


def check_tensor(x: Any, name: str, *, floating: bool = True) -> torch.Tensor:
    """``x`` if it is a torch tensor, of floating-point numbers unless ``floating=False``; else ``TypeError``."""
    import torch

    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(x).__name__}; use torch.as_tensor.")
    if floating and not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}; convert it, for instance with .float().")
    return x


def all_finite(x: torch.Tensor) -> bool:
    """Whether no entry is NaN or infinite. A finite sum says so, thirty times faster than a look at each entry."""
    x = check_tensor(x, "x", floating=False).detach()
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def values_hidden(*tensors: Any) -> bool:
    """Whether the values of one of ``tensors`` cannot be looked at: ``torch.func.vmap`` is running over it."""
    batched = getattr(getattr(sys.modules.get("torch"), "_C", None), "_functorch", None)
    return batched is not None and any(_is_batched(batched, tensor) for tensor in tensors)


def _is_batched(functorch: Any, tensor: Any) -> bool:
    if not hasattr(tensor, "detach"):
        return False
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def in_transform() -> bool:
    """Whether a function transform (``torch.func``'s vmap, grad, jvp, ...) is running."""
    functorch = getattr(getattr(sys.modules.get("torch"), "_C", None), "_functorch", None)
    return functorch is not None and functorch.peek_interpreter_stack() is not None


@functools.lru_cache(maxsize=1024)
def exact_decimal(value: float) -> Fraction:
    """The decimal number that a float stands for, as an exact fraction.

    A float whose shortest text has at most 10 digits is that text: 0.1 is one tenth. A longer text that is within
    rounding of a decimal of at most 12 digits is that decimal: ``1 - 0.9`` is one tenth too. So is a float32 number
    within rounding of a decimal of at most 6 digits, such as ``torch.tensor(0.7).item()``. Anything else is its
    shortest text, such as 0.3333333333333333.
    """
    text = repr(float(value))
    exact = Fraction(text)
    if sum(c.isdigit() for c in text.split("e")[0].lstrip("-0.")) <= 10:
        return exact
    single = math.isfinite(value) and float(np.float32(value)) == value
    for digits, slack in ((6, 2.0**-22 if single else 0.0), (12, 2.0**-51)):
        near = Fraction(round(exact, digits))
        if near and abs(near - exact) <= Fraction(slack) * max(abs(near), 1):
            return near
    return Fraction(np.format_float_positional(np.float32(value))) if single else exact


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
