"""Levenshtein's edit distance, for sequences of anything that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SMALL = 64 * 64  # cells of the table up to which plain Python is quicker than numpy


def levenshtein(a: Sequence[Any], b: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements of single items that turn ``a`` into ``b``.

    Any two sequences (str, list, tuple, array) whose items can be compared. At least ``abs(len(a) - len(b))`` and at most
    the longer length. Time grows with ``len(a) * len(b)``, memory with the longer one. Raises ``TypeError`` for what has no length.
    """
    for name, value in (("a", a), ("b", b)):
        if not hasattr(value, "__len__") or not hasattr(value, "__getitem__") or isinstance(value, dict):
            raise TypeError(f"{name} must be a sequence such as a list or a str, got {type(value).__name__}.")
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{name} has a mask, which an edit distance would ignore; pass the items to compare.")
        if isinstance(value, np.ndarray) and value.ndim != 1:
            raise ValueError(f"{name} must have one axis, got shape {value.shape}; compare one row at a time.")
    x, y = list(a), list(b)
    while x and y and _equal(x[-1], y[-1]):
        del x[-1], y[-1]
    start = 0
    while start < min(len(x), len(y)) and _equal(x[start], y[start]):
        start += 1
    x, y = x[start:], y[start:]
    if not x or not y:
        return len(x) + len(y)
    if len(x) > len(y):
        x, y = y, x
    return _plain(x, y) if len(x) * len(y) <= _SMALL else _in_rows(*_numbered(x, y))


def _equal(first: Any, second: Any) -> bool:
    same = first == second
    return same if same is True or same is False else bool(np.all(same))  # an item may be an array itself


def _plain(x: list[Any], y: list[Any]) -> int:
    row = list(range(len(x) + 1))
    for i, item in enumerate(y, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(x, start=1):
            above = row[j]
            row[j] = corner if item == other else 1 + min(corner, above, row[j - 1])
            corner = above
    return row[-1]


def _in_rows(x: np.ndarray, y: np.ndarray) -> int:
    """One row per item of the shorter ``x``. Along a row, ``d[j] = min over i <= j of t[i] + (j - i)``: a running minimum."""
    places = np.arange(len(y) + 1)
    row = places.copy()
    for i, item in enumerate(x, start=1):
        best = np.empty_like(row)
        best[0] = i
        np.minimum(row[1:] + 1, row[:-1] + (y != item), out=best[1:])
        row = np.minimum.accumulate(best - places) + places
    return int(row[-1])


def _numbered(x: list[Any], y: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Both lists with each distinct item as a number."""
    try:
        numbers: dict[Any, int] = {}
        coded = [[numbers.setdefault(item, len(numbers)) for item in items] for items in (x, y)]
    except TypeError:  # items that cannot be hashed, such as lists
        seen: list[Any] = []
        coded = []
        for items in (x, y):
            coded.append([])
            for item in items:
                at = next((i for i, other in enumerate(seen) if _equal(other, item)), None)
                if at is None:
                    at = len(seen)
                    seen.append(item)
                coded[-1].append(at)
    return np.array(coded[0]), np.array(coded[1])
