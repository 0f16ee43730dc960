"""A store for long runs: what has been computed survives an interruption and is not computed twice.

One JSON object a line, only ever appended to. The first line holds the fingerprint of the settings, so that
results of other settings are never mixed in. A line half written when the power went is dropped. Two processes may
write to one file: each takes the file's lock for a line, and takes over what the other has stored. Each line says by
which code, on which processor and in how many seconds it was made, so that a run which goes on elsewhere can name its parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from workings import paths
from workings.runs import locks, provenance

_FOUND: dict[Path, tuple[dict[str, Any], ...]] = {}  # by file: what it held when this process first opened it
_MADE = ("commit", "cpu", "date", "seconds")


class Store:
    """Results by key in the file ``path``; ``settings`` is the run's dataclass or a mapping of plain values.

    Opening an existing file reads it back. Raises ``ValueError`` when it was made with other settings, when a
    line other than the last is damaged, or when a key stands twice, and ``OSError`` naming ``WORKINGS_RUNS`` when
    the file cannot be written.
    """

    def __init__(self, path: Path | str, settings: Any):
        self.path = Path(path)
        self._done: dict[str, Any] = {}
        self._settings = _plain(settings)
        self._read_to, self._lines = 0, 0  # bytes and lines of the file that are known here
        self._made: list[dict[str, Any]] = []  # of the results that are known here
        with paths.writing_run(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as file:
            self._catch_up(file)
            if not self._lines:
                self._write(file, json.dumps({"settings": self._settings}))
        _FOUND.setdefault(self.path.resolve(), tuple(self._made))
        self._since = time.monotonic()

    def __len__(self) -> int:
        return len(self._done)

    def done(self, key: str) -> bool:
        """Whether ``key`` has a result."""
        return key in self._done

    def get(self, key: str) -> Any:
        """The result stored under ``key``; ``KeyError`` when there is none."""
        if key not in self._done:
            raise KeyError(f"{key!r} has not been computed yet; {len(self)} keys are done.")
        return self._done[key]

    def put(self, key: str, payload: Any) -> None:
        """Store ``payload`` (JSON values, every number finite) and return when it is on disk.

        Where another process has stored ``key`` in the meantime, its result stands and nothing is written. Raises
        ``ValueError`` for a key that this store has done already, a NaN or infinity, ``TypeError`` for a key that is no
        text or a payload that JSON cannot hold, and ``RuntimeError`` when the file has been deleted or cut meanwhile.
        """
        if not isinstance(key, str):
            raise TypeError(f"key must be a text, got {key!r} of type {type(key).__name__}.")
        if key in self._done:
            raise ValueError(f"{key!r} is already done; ask store.done(key) before computing it again.")
        now = time.monotonic()
        made = _here() | {"date": provenance.utc_now(), "seconds": round(now - self._since, 3)}
        try:
            line = json.dumps({"key": key, "payload": payload, "made": made}, allow_nan=False)
        except ValueError as error:
            raise ValueError(f"{key!r} cannot be stored: {error}. Every number must be finite.") from None
        except TypeError as error:
            raise TypeError(f"{key!r} cannot be stored: {error}. Turn arrays into lists of floats first.") from None
        with self._open() as file:
            self._catch_up(file)
            if key not in self._done:
                self._write(file, line)
                self._done[key] = json.loads(line)["payload"]
        self._since = now

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        """The file, open at its end, with its lock held."""
        with paths.writing_run(self.path):
            opened = self.path.open("a+b", buffering=0)
        with opened as file, locks.holding(file):
            yield file

    def _write(self, file: IO[bytes], line: str) -> None:
        """Append ``line`` and return when it is on disk."""
        try:
            file.write(line.encode() + b"\n")
            os.fsync(file.fileno())
        except OSError:  # disk full: leave no half line for the next one to land on
            os.truncate(self.path, self._read_to)
            raise
        self._read_to += len(line.encode()) + 1
        self._lines += 1

    def _catch_up(self, file: IO[bytes]) -> None:
        """Take over the lines that are not known here yet; a last one without its end was cut, and is dropped."""
        size = file.seek(0, os.SEEK_END)
        if size < self._read_to:
            raise RuntimeError(
                f"{paths.shown(self.path)} has been deleted or cut while this run was writing to it. Run again: what "
                "the file still holds is kept."
            )
        file.seek(self._read_to)
        content = file.readall() if hasattr(file, "readall") else file.read()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=self._lines + 1):
            entry = self._entry(number, line)
            if number == 1:
                self._check_settings(entry)
                continue
            if set(entry) - {"made"} != {"key", "payload"} or not isinstance(entry["key"], str):
                raise self._damage(number, "expected a key and a payload")
            made = entry.get("made", dict.fromkeys(_MADE))  # lines of an older version do not say
            if not isinstance(made, dict) or set(made) != set(_MADE):
                raise self._damage(number, f"'made' must say {', '.join(_MADE)}")
            if entry["key"] in self._done:
                raise self._damage(number, f"key {entry['key']!r} stands twice")
            self._done[entry["key"]] = entry["payload"]
            self._made.append(made)
        self._lines += len(content[:whole].splitlines())
        self._read_to += whole
        if whole < len(content):
            os.truncate(self.path, self._read_to)

    def _entry(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise self._damage(number, str(error)) from None
        if not isinstance(entry, dict):
            raise self._damage(number, f"expected an object, found {type(entry).__name__}")
        return entry

    def _check_settings(self, first: dict[str, Any]) -> None:
        if set(first) != {"settings"} or not isinstance(first["settings"], dict):
            raise self._damage(1, "expected the settings of the run")
        old, new = first["settings"], self._settings
        if old != new:
            pairs = [(key, old.get(key, "absent"), new.get(key, "absent")) for key in sorted({*old, *new})]
            changes = "; ".join(f"{key} was {was!r}, is {now!r}" for key, was, now in pairs if was != now)
            raise ValueError(
                f"{paths.shown(self.path)} holds results of other settings ({changes}). Go back to those settings to "
                "resume, or delete the file (or choose another) to start afresh."
            )

    def _damage(self, number: int, what: str) -> ValueError:
        return ValueError(
            f"{paths.shown(self.path)}:{number}: damaged line: {what}. Lines before it may be kept by hand; "
            "otherwise delete the file and run again."
        )


def earlier_sittings() -> list[dict[str, Any]]:
    """What stores held when this process first opened them: by ``commit`` and ``cpu``, how many ``results``, the ``seconds``
    they took (time that two stores share counts once; ``None`` where the lines do not say) and the days ``from`` and ``to``
    which they were made."""
    found: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for made in itertools.chain.from_iterable(_FOUND.values()):
        found.setdefault((made["commit"], made["cpu"]), []).append(made)
    sittings = []
    for (commit, cpu), rows in found.items():
        known = [row for row in rows if row["date"] is not None and row["seconds"] is not None]
        days = sorted(row["date"][:10] for row in known)
        first, last, seconds = (days[0], days[-1], round(_covered(known), 1)) if known else (None, None, None)
        sittings.append(
            {"commit": commit, "cpu": cpu, "results": len(rows), "seconds": seconds, "from": first, "to": last}
        )
    return sorted(sittings, key=lambda one: (str(one["from"]), str(one["commit"])))


def _covered(rows: list[dict[str, Any]]) -> float:
    """Seconds of the union of the times in which ``rows`` were made, each from ``seconds`` before its ``date`` to it."""
    ends = [(datetime.fromisoformat(row["date"]).timestamp(), row["seconds"]) for row in rows]
    total, reached = 0.0, -math.inf
    for start, end in sorted((end - seconds, end) for end, seconds in ends):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def go_on(unfinished: Path, runs: Path) -> list[Path]:
    """Copy the stores (``*.jsonl``) under ``unfinished`` to the same places under ``runs``, unless one is there; those copied."""
    copied = []
    for file in sorted(Path(unfinished).rglob("*.jsonl")):
        target = Path(runs) / file.relative_to(unfinished)
        if not target.exists():
            with paths.writing_run(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            copied.append(target)
    return copied


@functools.cache
def _here() -> dict[str, Any]:
    """The code and the processor of this process, for the lines it writes."""
    commit, dirty = provenance.code_state()
    hardware = provenance.hardware()
    return {
        "commit": f"{commit} with uncommitted changes" if commit and dirty else commit,
        "cpu": f"{hardware['gpu'] or hardware['cpu']}",
    }


def _plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON reads them back (tuples become lists)."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        settings = dataclasses.asdict(settings)
    if not isinstance(settings, Mapping):
        raise TypeError(f"settings must be a dataclass or a mapping, got {type(settings).__name__}.")
    try:
        return json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise type(error)(f"settings must hold plain finite values: {error}.") from None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not a result")
