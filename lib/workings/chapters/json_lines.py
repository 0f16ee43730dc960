"""JSON lines, as several chapters' data come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path | str) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, in order; empty lines are passed over.

    A line ends at a line feed and nowhere else: a text may hold other characters at which :meth:`str.splitlines` parts, such as
    U+2028. Raises ``ValueError`` for a line that is no JSON.
    """
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line.strip()]
