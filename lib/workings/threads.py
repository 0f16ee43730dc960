"""Independent pieces of work on the two cores that a demo may use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def two_at_a_time(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[work(item) for item in items]``, two at a time on threads, in the order of ``items``.

    For numerical work that releases the interpreter's lock (torch, numpy). ``work`` must draw from generators of its own, so
    that the order of execution changes nothing; an error in it is raised here.
    """
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))
