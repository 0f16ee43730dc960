"""Independent pieces of work on the two cores that a demo may use."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from workings.runs.progress import counter

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_map(
    work: Callable[[Item], Result], items: Iterable[Item], label: str | None = "working", *, delay: float = 2.0
) -> list[Result]:
    """``[work(item) for item in items]``, computed by two threads; the results are in the order of ``items``.

    For numerical work that releases the interpreter's lock (torch, numpy). ``work`` must draw from generators of its own, so
    that the order of execution changes nothing. An error in ``work`` is raised here. Long work shows a progress bar called
    ``label`` with the time left, after ``delay`` seconds; with ``None`` there is no bar, for work that draws its own.
    """
    items = list(items)
    with ThreadPoolExecutor(2) as pool:
        if label is None:
            return list(pool.map(work, items))
        with counter(len(items), label, delay=delay) as tick:

            def counted(item: Item) -> Result:
                result = work(item)
                tick()
                return result

            return list(pool.map(counted, items))


@contextlib.contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Within the block torch computes on so many CPU threads (``None``: as many as before); they are put back at its end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
