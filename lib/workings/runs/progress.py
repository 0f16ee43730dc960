"""Live progress bars that leave nothing behind in stored outputs.

They are silent where ``WORKINGS_QUIET`` is set, as `make refresh` and the notebook tests do. Where ``WORKINGS_TERMINAL``
names a terminal (``workings run`` sets it) they are drawn there, past the notebook that is being executed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeVar

Item = TypeVar("Item")


def bar(items: Iterable[Item] | None = None, **options: Any) -> Any:
    """A tqdm bar with the time left that removes itself; ``options`` are tqdm's."""
    options = {"leave": False, **options}
    if os.environ.get("WORKINGS_QUIET"):
        options["disable"] = True
    terminal = _terminal(os.environ.get("WORKINGS_TERMINAL"))
    if terminal is None:
        from tqdm.auto import tqdm

        return tqdm(items, **options)
    from tqdm.std import tqdm

    line = 1 + len(getattr(tqdm, "_instances", ()))  # below the bar of cells, and below one another
    return tqdm(items, file=terminal, position=line, **options)


def progress(items: Iterable[Item], label: str, *, total: int | None = None) -> Iterator[Item]:
    """Iterate over ``items`` behind a :func:`bar` called ``label``."""
    if os.environ.get("WORKINGS_QUIET"):
        yield from items
        return
    yield from bar(items, desc=label, total=total)


@contextlib.contextmanager
def counter(total: int, label: str, *, delay: float = 2.0) -> Iterator[Callable[[], None]]:
    """A bar for work that is not one loop: call what is given once for each of ``total`` pieces, from any thread.

    It appears only when the work has lasted ``delay`` seconds, even if no piece is done by then.
    """
    if os.environ.get("WORKINGS_QUIET"):
        yield lambda: None
        return
    lock, over = threading.Lock(), threading.Event()
    with bar(total=total, desc=label, delay=delay) as shown:

        def tick() -> None:
            with lock:
                shown.update()

        def appear() -> None:
            if not over.wait(delay):
                with lock:
                    shown.refresh()

        waiting = threading.Thread(target=appear, daemon=True)
        waiting.start()
        try:
            yield tick
        finally:
            over.set()
            waiting.join()


@functools.cache
def _terminal(name: str | None) -> TextIO | None:
    """The terminal called ``name``, open for writing; ``None`` where it cannot be opened."""
    if not name:
        return None
    try:
        return open(name, "w")
    except OSError:
        return None
