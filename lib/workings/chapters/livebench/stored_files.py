"""The published questions, answers and judgments in a folder: which files are there, what is missing, and their rows.

Each of the three kinds (:data:`KINDS`) may stand in the folder as one file ``<kind>.jsonl``, or in a folder of that name that holds JSON lines
or the Parquet files of the public data set (``data/...-00000-of-00001.parquet``) at any depth. They may also stand in folders named after the six
categories, as the public data sets of questions are named and as the authors' program lays out all three. JSON lines are read line by line, Parquet in small batches; Parquet
needs the package pyarrow.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.public_models import NotHere
from workings.runs.fetch import sha256_of

KINDS = ("model_answer", "model_judgment", "question")
CATEGORIES = ("coding", "data_analysis", "instruction_following", "language", "math", "reasoning")
"""Names of the public data sets of questions, and of the categories in their rows."""
_ENDS = (".jsonl", ".parquet")


def find(root: str | Path | None, kind: str) -> list[Path]:
    """The files of one of :data:`KINDS` in the folder ``root``, in order; empty where there are none."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if root is None:
        return []
    folder = Path(root)
    for end in _ENDS:
        if (one := folder / f"{kind}{end}").is_file():
            return [one]
    files = [p for name in (kind, *CATEGORIES) if (folder / name).is_dir() for p in sorted((folder / name).rglob("*"))]
    return [p for p in files if p.suffix in _ENDS and _kind(p.relative_to(folder)) == kind]


def _kind(path: Path) -> str | None:
    """What a file in a folder of questions, answers or judgments holds; in a checkout of the authors' program all three lie side by side."""
    named = [kind for kind in KINDS if kind in path.parts[:-1]]
    return named[0] if named else "question" if path.suffix == ".parquet" or path.stem == "question" else None


def missing(root: str | Path | None, kinds: tuple[str, ...] = KINDS) -> list[str]:
    """Those of ``kinds`` that the folder ``root`` does not hold."""
    return [kind for kind in kinds if not find(root, kind)]


def used(root: str | Path | None) -> list[dict[str, Any]]:
    """One row per file of any kind in ``root``: its kind, name, size in bytes and SHA-256, for the record of a run."""
    folder = Path(root or ".")
    return [
        {
            "kind": kind, "file": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path),
        }
        for kind in KINDS
        for path in find(root, kind)
    ]  # fmt: skip


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines or Parquet file, one at a time, with days as texts; ``ValueError`` names the line that is none."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{paths.shown(path)}:{number} is not JSON: {error}.") from None
            if not isinstance(found, dict):
                raise ValueError(f"{paths.shown(path)}:{number} is no object.")
            yield found


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise NotHere(f"{paths.shown(path)} is Parquet: pip install pyarrow, or save it as JSON lines.")
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(batch_size=64):
        for row in batch.to_pylist():
            yield {key: _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    """Parquet keeps days as moments in time; the graders read them as texts."""
    return value.isoformat() if isinstance(value, (datetime.date, datetime.datetime)) else value


def every_row(root: str | Path, kind: str) -> Iterator[dict[str, Any]]:
    """The rows of all files of one kind in ``root``."""
    for path in find(root, kind):
        yield from rows(path)
