"""Recorded results: ``results/<part>/<slug>/<tier>.json``, read with care and written whole.

```json
{"schema": 1, "chapter": "...", "part": "...", "tier": "demo",
 "rows": {"css-1": {"value": 3e-16, "spread": null, "seeds": [], "unit": null, "criterion": "...", "run": "..."}},
 "tables": {"name": [{"column": 1.0}]},
 "runs": {"2025-11-21T00:58:12Z": {"commit": "...", "versions": {}, "...": "..."}}}
```

A row points to the run that measured it, so that a file merged from two sessions stays honest about each.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from workings import paths
from workings.ledger.criteria import Chapter, NotPlanned, check_tier

SCHEMA = 1
REMEDY = "Runs write this file; do not edit it. Restore it from git, or delete it and run the chapter again."


class ResultsError(ValueError):
    """A results file that is not what a run writes."""


def _measured(value: Any) -> Any:
    if not isinstance(value, bool) and not is_number(value):
        raise ValueError("expected a finite number, or true or false")
    return value


def _positive(value: Any) -> Any:
    if not is_number(value) or value < 0:
        raise ValueError("expected a number of zero or more")
    return value


Measured, Positive = Annotated[Any, BeforeValidator(_measured)], Annotated[Any, BeforeValidator(_positive)]
Cell = Annotated[Any, BeforeValidator(lambda cell: cell if cell is None or isinstance(cell, str) else _measured(cell))]
Table = TypeAdapter(list[dict[StrictStr, Cell]])


@dataclass(frozen=True, config={"extra": "forbid"})
class Result:
    """One measured value: its spread (standard deviation over ``seeds``), unit and the run it came from.

    ``error`` is the standard error of the value; ``too_small`` the reason why the run is too small to settle the claim.
    """

    value: Measured
    spread: Positive | None = None
    seeds: tuple[StrictInt, ...] = ()
    unit: StrictStr | None = None
    criterion: StrictStr | None = None
    digits: Annotated[StrictInt, Field(ge=0, le=15)] | None = None
    run: StrictStr | None = None
    error: Positive | None = None
    too_small: StrictStr | None = None

    def standard_error(self) -> float | None:
        """``error``, or that of a mean over the seeds; ``None`` where neither is known."""
        if self.error is None and self.spread is not None and len(self.seeds) > 1:
            return self.spread / math.sqrt(len(self.seeds))
        return self.error


@dataclass(frozen=True, config={"extra": "ignore"})
class Run:
    """The circumstances of a run, as :func:`workings.runs.provenance.circumstances` gives them; more keys are welcome."""

    date: StrictStr
    commit: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{7,64}$")] | None
    dirty: StrictBool | None
    python: StrictStr
    versions: dict[str, Any]
    hardware: dict[str, Any]
    wall_s: Positive | None
    peak_memory_mib: Positive | None
    seeds: list[StrictInt]


@dataclass(frozen=True, config={"extra": "forbid"})
class File:
    """A results file as JSON."""

    schema: StrictInt
    chapter: StrictStr
    part: StrictStr
    tier: StrictStr
    rows: dict[str, Result]
    runs: dict[str, Run]
    tables: dict[str, list[dict[StrictStr, Cell]]] = dataclasses.field(default_factory=dict)


_FILE = TypeAdapter(File)
_ABOUT_KEYS = {"missing": "key {key!r} is missing", "unexpected_keyword_argument": "unknown key {key!r}"}
_WORDS = {**_ABOUT_KEYS, "dataclass_type": "expected an object"}


@dataclasses.dataclass(frozen=True)
class Results:
    """A results file: rows by claim id, named tables of flat rows, circumstances by run."""

    slug: str
    part: str
    tier: str
    rows: dict[str, Result] = dataclasses.field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def merged(self, newer: Results) -> Results:
        """This file with the rows, tables and runs of ``newer`` in their place; unused runs are dropped."""
        rows = {**self.rows, **newer.rows}
        used = {row.run for row in rows.values()} | set(newer.runs)
        runs = {key: run for key, run in {**self.runs, **newer.runs}.items() if key in used}
        return dataclasses.replace(self, rows=rows, tables={**self.tables, **newer.tables}, runs=runs)


def results_file(part: str, slug: str, tier: str, results: Path | None = None) -> Path:
    """The path of a results file under ``results`` (default: where results are read from)."""
    folder = paths.results_root() if results is None else Path(results)
    return folder / part / slug / f"{check_tier(tier)}.json"


def load_results(chapter: Chapter, tier: str, results: Path | None = None) -> Results | None:
    """The recorded results of a chapter at a tier; ``None`` when it has not been run.

    Raises :class:`ResultsError`, naming file, key and remedy, for a file that no run would have written.
    """
    file = results_file(chapter.part, chapter.slug, tier, results)
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    return parse_results(text, chapter, tier, paths.shown(file))


def save_results(new: Results, chapter: Chapter, results: Path | None = None) -> Path:
    """Merge ``new`` into the file on disk and write it atomically. A broken file is never overwritten."""
    folder = paths.writable_results_root() if results is None else Path(results)
    file = results_file(new.part, new.slug, new.tier, folder)
    old = load_results(chapter, new.tier, folder)
    paths.write_atomically(file, dump_results(new if old is None else old.merged(new), chapter))
    return file


def dump_results(results: Results, chapter: Chapter) -> str:
    """The file's text: rows in the order of the claims, so that two runs differ only where they differ."""
    ordered = [claim_id for claim_id in chapter.ids() if claim_id in results.rows]
    content = {
        "schema": SCHEMA,
        "chapter": results.slug,
        "part": results.part,
        "tier": results.tier,
        "rows": {claim_id: _row(results.rows[claim_id]) for claim_id in ordered},
        "tables": dict(sorted(results.tables.items())),
        "runs": dict(sorted(results.runs.items())),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row(result: Result) -> dict[str, Any]:
    """A row as JSON; the two newest keys only where they say something, so that older rows stay as they were written."""
    row = dataclasses.asdict(result)
    return {key: value for key, value in row.items() if value is not None or key not in ("error", "too_small")}


def parse_results(text: str | bytes, chapter: Chapter, tier: str, name: str) -> Results:
    """Validate a results file's text; ``name`` stands before each complaint."""
    content = read_json(text, name, REMEDY)
    try:
        rows = _FILE.validate_python(content).rows
    except ValidationError as error:
        raise ResultsError("\n".join(f"{name}: {line}. {REMEDY}" for line in complaints(error))) from None
    wrong = [
        (key, f"expected {value!r}, found {content[key]!r}")
        for key, value in {"schema": SCHEMA, "chapter": chapter.slug, "part": chapter.part, "tier": tier}.items()
        if content[key] != value
    ]
    for claim_id, row in rows.items():
        where = f"rows.{claim_id}"
        if claim_id not in chapter.ids():
            hint = paths.did_you_mean(claim_id, chapter.ids())
            wrong.append((where, f"the chapter has no such claim{hint} Delete the row if it was renamed"))
            continue
        plan = chapter.claim(claim_id).plan(tier)
        if isinstance(plan, NotPlanned):
            wrong.append((where, f"this tier is not planned for the claim ({plan.not_planned})"))
        elif (plan.compare == "holds") != isinstance(row.value, bool):
            kind = "true or false" if plan.compare == "holds" else "a finite number"
            wrong.append((f"{where}.value", f"expected {kind}, found {row.value!r}"))
        if row.run not in content["runs"]:
            wrong.append((f"{where}.run", f"there is no run {row.run!r} under 'runs'"))
    if wrong:
        raise ResultsError("\n".join(f"{name}: {key}: {what}. {REMEDY}" for key, what in wrong))
    return Results(chapter.slug, chapter.part, tier, rows, content.get("tables", {}), content["runs"])


def complaints(error: ValidationError, where: str = "") -> list[str]:
    """Pydantic's errors with the key first: ``rows.css-1.spread: expected a number of zero or more, found -1``."""
    lines = []
    for one in error.errors():
        *outer, key = one["loc"] or [None]
        place = where
        for piece in outer if one["type"] in _ABOUT_KEYS else one["loc"]:
            place += f"[{piece}]" if isinstance(piece, int) else f".{piece}" if place else str(piece)
        what = (
            one["msg"]
            .removeprefix("Value error, ")
            .replace("Input should be", "expected")
            .replace("a valid integer", "a whole number")
            .replace("a valid ", "a ")
        )
        said = _WORDS.get(one["type"], "").format(key=key) or what.replace("a dictionary", "an object")
        if one["type"] not in _ABOUT_KEYS:
            said += f", found {one['input']!r}"
        lines.append(f"{place or 'the file'}: {said}")
    return lines


def read_json(text: str | bytes, name: str, remedy: str) -> Any:
    """JSON without NaN and without repeated keys; :class:`ResultsError` naming ``name`` otherwise."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        for key in keys:
            if keys.count(key) > 1:
                raise ResultsError(f"{name}: key {key!r} stands twice. {remedy}")
        return dict(items)

    def constant(word: str) -> None:
        raise ResultsError(f"{name}: {word} is not a measured value. {remedy}")

    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise ResultsError(f"{name}:{error.lineno}: not valid JSON ({error.msg}). {remedy}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{name}: cannot be read ({type(error).__name__}). {remedy}") from None


def check_table(table: Any, fail: Callable[[str, str], None], where: str) -> None:
    """A table is a list of flat objects whose cells are texts, finite numbers, true/false or null."""
    try:
        Table.validate_python(table)
    except ValidationError as error:
        fail(*complaints(error, where)[0].split(": ", 1))


def is_number(value: Any) -> bool:
    """A finite int or float; a bool is no number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
