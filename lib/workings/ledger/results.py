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

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from workings import paths
from workings.ledger.criteria import Chapter, Criterion, NotPlanned, check_tier

SCHEMA = 1
REMEDY = "Runs write this file; do not edit it. Restore it from git, or delete it and run the chapter again."


class ResultsError(ValueError):
    """A results file that is not what a run writes."""


@dataclass(frozen=True)
class Result:
    """One measured value: its spread (standard deviation over ``seeds``), unit and the run it came from."""

    value: float | bool
    spread: float | None = None
    seeds: tuple[int, ...] = ()
    unit: str | None = None
    criterion: str | None = None
    digits: int | None = None
    run: str | None = None


@dataclass(frozen=True)
class Results:
    """A results file: rows by claim id, named tables of flat rows, circumstances by run."""

    slug: str
    part: str
    tier: str
    rows: dict[str, Result] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def merged(self, newer: Results) -> Results:
        """This file with the rows, tables and runs of ``newer`` in their place; unused runs are dropped."""
        rows = {**self.rows, **newer.rows}
        used = {row.run for row in rows.values()} | set(newer.runs)
        runs = {key: run for key, run in {**self.runs, **newer.runs}.items() if key in used}
        return replace(self, rows=rows, tables={**self.tables, **newer.tables}, runs=runs)


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
        "rows": {claim_id: asdict(results.rows[claim_id]) for claim_id in ordered},
        "tables": dict(sorted(results.tables.items())),
        "runs": dict(sorted(results.runs.items())),
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def parse_results(text: str | bytes, chapter: Chapter, tier: str, name: str) -> Results:
    """Validate a results file's text; ``name`` stands before each complaint."""
    content = read_json(text, name, REMEDY)
    check = _Checker(name)
    check.keys(content, "the file", ("schema", "chapter", "part", "tier", "rows", "runs"), ("tables",))
    expected = {"schema": SCHEMA, "chapter": chapter.slug, "part": chapter.part, "tier": tier}
    for key, value in expected.items():
        if content[key] != value or isinstance(content[key], bool):
            check.fail(key, f"expected {value!r}, found {content[key]!r}")
    runs, tables = content["runs"], content.get("tables", {})
    check.of(runs, "runs", dict, "an object")
    for key, run in runs.items():
        check.run(run, f"runs.{key}")
    check.of(content["rows"], "rows", dict, "an object")
    rows = {}
    for claim_id, row in content["rows"].items():
        if claim_id not in chapter.ids():
            hint = paths.did_you_mean(claim_id, chapter.ids())
            check.fail(f"rows.{claim_id}", f"the chapter has no such claim{hint} Delete the row if it was renamed")
        rows[claim_id] = check.row(row, f"rows.{claim_id}", chapter.claim(claim_id).plan(tier), runs)
    check.of(tables, "tables", dict, "an object")
    for key, table in tables.items():
        check.table(table, f"tables.{key}")
    return Results(chapter.slug, chapter.part, tier, rows, tables, runs)


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
    if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
        fail(where, "expected a list of objects, one a row")
    for number, row in enumerate(table):
        for key, cell in row.items():
            flat = cell is None or isinstance(cell, (str, bool, int, float))
            if not isinstance(key, str) or not flat or (isinstance(cell, float) and not math.isfinite(cell)):
                fail(
                    f"{where}[{number}].{key}", f"expected a text, a finite number, true/false or null, found {cell!r}"
                )


def is_number(value: Any) -> bool:
    """A finite int or float; a bool is no number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class _Checker:
    """Complaints that name the file, the key and the remedy."""

    def __init__(self, name: str):
        self.name = name

    def fail(self, key: str, what: str) -> None:
        raise ResultsError(f"{self.name}: {key}: {what}. {REMEDY}")

    def of(self, value: Any, key: str, kinds: type | tuple[type, ...], words: str) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            self.fail(key, f"expected {words}, found {value!r}")

    def keys(self, value: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
        self.of(value, where, dict, "an object")
        for key in required:
            if key not in value:
                self.fail(where, f"key {key!r} is missing")
        for key in value:
            if key not in (*required, *optional):
                self.fail(where, f"unknown key {key!r}")

    def row(self, row: Any, where: str, plan: Criterion | NotPlanned, runs: dict[str, Any]) -> Result:
        self.keys(row, where, ("value", "run"), ("spread", "seeds", "unit", "criterion", "digits"))
        if isinstance(plan, NotPlanned):
            self.fail(where, f"this tier is not planned for the claim ({plan.reason})")
        value, spread, seeds = row["value"], row.get("spread"), row.get("seeds", [])
        if plan.compare == "holds":
            self.of(value, f"{where}.value", bool, "true or false")
        elif not is_number(value):
            self.fail(f"{where}.value", f"expected a finite number, found {value!r}")
        if spread is not None and not (is_number(spread) and spread >= 0):
            self.fail(f"{where}.spread", f"expected null or a number of zero or more, found {spread!r}")
        self.of(seeds, f"{where}.seeds", list, "a list of integers")
        for seed in seeds:
            self.of(seed, f"{where}.seeds", int, "a list of integers")
        for key in ("unit", "criterion"):
            if row.get(key) is not None:
                self.of(row[key], f"{where}.{key}", str, "a text or null")
        digits = row.get("digits")
        if digits is not None:
            self.of(digits, f"{where}.digits", int, "an integer or null")
            if not 0 <= digits <= 15:
                self.fail(f"{where}.digits", f"expected 0 to 15, found {digits}")
        self.of(row["run"], f"{where}.run", str, "the key of a run")
        if row["run"] not in runs:
            self.fail(f"{where}.run", f"there is no run {row['run']!r} under 'runs'")
        return Result(value, spread, tuple(seeds), row.get("unit"), row.get("criterion"), digits, row["run"])

    def run(self, run: Any, where: str) -> None:
        self.of(run, where, dict, "an object")
        for key, kinds, words in (
            ("date", str, "a text"),
            ("commit", str, "a text or null"),
            ("dirty", bool, "true, false or null"),
            ("python", str, "a text"),
            ("versions", dict, "an object"),
            ("hardware", dict, "an object"),
            ("wall_s", (int, float), "a number or null"),
            ("peak_memory_mib", (int, float), "a number or null"),
            ("seeds", list, "a list of integers"),
        ):
            if run.get(key) is not None:
                self.of(run[key], f"{where}.{key}", kinds, words)
            elif words.endswith("null") and key in run:
                continue
            else:
                self.fail(where, f"key {key!r} is missing")
        if run["commit"] is not None and not re.fullmatch(r"[0-9a-f]{7,64}", run["commit"]):
            self.fail(f"{where}.commit", f"expected a commit's hexadecimal name, found {run['commit']!r}")

    def table(self, table: Any, where: str) -> None:
        check_table(table, self.fail, where)
