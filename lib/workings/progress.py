"""Live progress bars that leave nothing behind in stored outputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str, *, total: int | None = None) -> Iterator[Item]:
    """Iterate over ``items`` behind a bar with the time left; silent where ``WORKINGS_QUIET`` is set.

    The bar removes itself when it is done. `make refresh` and the notebook tests set
    ``WORKINGS_QUIET=1``, so that outputs hold results only.
    """
    if os.environ.get("WORKINGS_QUIET"):
        yield from items
        return
    from tqdm.auto import tqdm

    yield from tqdm(items, desc=label, total=total, leave=False)
