"""The tables of the book's page on sweeps, from ``results/sweep_scaling.json``: what was measured, and arithmetic on it.

Needs nothing beyond the standard library. `benchmarks/sweep_scaling.py` writes the file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from workings import paths
from workings.ledger.results import ResultsError, is_number, read_json
from workings.ledger.rounding import significant

FILE = "sweep_scaling.json"
SCHEDULER_S = 1e-3
"""Assumed, not measured: what one scheduler takes for a task when hundreds of workers ask it."""
LARGE = 10_000  # points of the sweep that the arithmetic is about
MACHINES = (1, 10, 100, 1000)
PER_MACHINE = 2  # workers, as here

_REMEDY = "`benchmarks/sweep_scaling.py` writes this file; do not edit it. Restore it from git, or run it again."


class Measured(NamedTuple):
    """The least of the repeats, in seconds: a whole sweep, the median point in it, and a sweep with nothing to compute."""

    workers: int
    wall: float
    point: float
    start: float


class Plan(NamedTuple):
    """A sweep of many points on many machines, by arithmetic. Seconds; ``gain`` is over one worker."""

    machines: int
    workers: int
    compute: float
    handling: float
    whole: float
    gain: float


def plan(points: int, point_s: float, handling_s: float, start_s: float, machines: int) -> Plan:
    """``start + max(ceil(N / W) p, N h)``: workers compute ``p`` a point in rounds, one client takes ``h`` a point.

    ``W`` is :data:`PER_MACHINE` workers a machine. ``gain`` compares with one worker, ``start + N p``.
    """
    workers = PER_MACHINE * machines
    compute, handling = math.ceil(points / workers) * point_s, points * handling_s
    whole = start_s + max(compute, handling)
    return Plan(machines, workers, compute, handling, whole, (start_s + points * point_s) / whole)


def scaling_markdown(results: Path | None = None) -> str:
    """The measured table and the arithmetic, as Markdown; says so when nothing was measured.

    Raises ``ResultsError`` for a malformed file.
    """
    file = (paths.results_root() if results is None else Path(results)) / FILE
    if not file.is_file():
        return "Not measured yet: `benchmarks/sweep_scaling.py` fills this section.\n"
    content = _read(file)
    about, facts = content["sweep"], content["circumstances"]
    one, two = (_least(row) for row in content["rows"])
    empty = {key: min(values) for key, values in content["empty"].items()}
    handling = (empty["wall_s"] - one.start) / about["empty_points"] - empty["point_s"]
    head = ("Workers", "Whole sweep", "One point", "Start", "Times faster", "Computing")
    rows = [
        (
            str(row.workers),
            _seconds(row.wall),
            _seconds(row.point),
            _seconds(row.start),
            significant(one.wall / row.wall, 3),
            f"{100 * about['points'] * row.point / (row.workers * row.wall):.0f}%",
        )
        for row in (one, two)
    ]
    without = (one.wall - one.start) / (two.wall - two.start)
    hardware = facts.get("hardware", {})
    versions = ", ".join(
        f"{name} {facts.get('versions', {}).get(name, 'unknown')}" for name in ("workings", "numpy", "distributed")
    )
    commit = f"commit {str(facts.get('commit'))[:12]}" + (" with uncommitted changes" if facts.get("dirty") else "")
    return "\n".join(
        [
            f"Measured on {hardware.get('cores')} cores of {hardware.get('cpu')}, {str(facts.get('date'))[:10]}, {commit}; "
            f"Python {facts.get('python')}, {versions}. {about['points']} points of `{about['chapter']}` "
            f"(`--grid {' '.join(about['grid'])}`), the least of {about['repeats']} repeats:",
            "",
            _table(head, rows),
            f"*Computing* is the share of the workers' time that went into points. *Start* is the same command with two points that compute nothing: Python, the chapter's library and the workers. Without "
            f"it, two workers are {significant(without, 3)} times as fast as one. {_slower(two.point / one.point)} Handing out a point, "
            f"taking its result and putting it on disk took {_seconds(handling) if handling > 0 else 'too little to tell'} (from "
            f"{about['empty_points']} points that compute nothing, less the start).",
            "",
            *_arithmetic(two.point, handling, two.start),
        ]
    )


def _arithmetic(point: float, measured: float, start: float) -> list[str]:
    handling = max(measured, SCHEDULER_S)
    whose = "measured above" if measured >= SCHEDULER_S else "assumed for the scheduler, more than measured above"
    plans = [plan(LARGE, point, handling, start, machines) for machines in MACHINES]
    rows = [
        (
            f"{p.machines:,}", f"{p.workers:,}", _seconds(p.compute), _seconds(p.handling), _seconds(p.whole),
            f"{p.gain:,.0f}", f"{100 * p.gain / p.workers:.0f}%",
        )
        for p in plans
    ]  # fmt: skip
    hundred = PER_MACHINE * 100
    head = (
        "Machines",
        "Workers",
        "Computing",
        "Handling",
        "Whole sweep",
        "Times faster than one worker",
        "Of the ideal",
    )
    most = point / handling
    return [
        "### A hundred machines, by arithmetic",
        "",
        f"Nobody ran this. {LARGE:,} points of {_seconds(point)}, machines like this one with {PER_MACHINE} workers each. With $N$ points of "
        "$p$ seconds, $W$ workers, a start of $s$ and $h$ seconds of handling a point, all of it at one client and one scheduler,",
        "",
        "$$T(W) = s + \\max\\left(\\left\\lceil N / W \\right\\rceil p,\\; N h\\right).$$",
        "",
        f"Here $s$ = {_seconds(start)} and $p$ = {_seconds(point)} are measured, and $h$ = {_seconds(handling)} is {whose}. "
        f"Assumed and not measured: one scheduler handles at most {1 / SCHEDULER_S:,.0f} points a second; the machines are there and hold "
        "the package; the network costs nothing beside a point; no machine fails.",
        "",
        _table(head, rows),
        f"**Where it stops paying.** One more worker helps as long as $W < p / h$, about {_round(most)} workers or "
        f"{_round(most / PER_MACHINE)} machines at {_seconds(point)} a point. From there on results come in as fast as they can be "
        f"taken, and more machines wait. For {hundred} workers, a hundred machines, a point must last at least {_seconds(hundred * handling)}: "
        "shorter ones belong together in one point. And a sweep never uses more workers than it has points.",
        "",
    ]


def _least(row: dict[str, Any]) -> Measured:
    return Measured(row["workers"], *(min(row[key]) for key in ("wall_s", "point_s", "start_s")))


def _slower(ratio: float) -> str:
    percent = round(100 * (ratio - 1))
    if percent <= 0:
        return "A point takes no longer when two are computed at a time."
    return f"A point takes {percent}% longer when two are computed at a time: the cores share memory and clock."


def _round(number: float) -> str:
    return f"{float(significant(number, 2)):,.0f}"


def _seconds(seconds: float) -> str:
    """Three digits (two of milliseconds) and the unit, which stay on one line."""
    if seconds < 0.1:
        return f"{significant(1000 * seconds, 2)}\u00a0ms"
    if seconds < 120:
        return f"{significant(seconds, 3)}\u00a0s"
    return f"{significant(seconds / 60, 3)}\u00a0min" if seconds < 7200 else f"{significant(seconds / 3600, 3)}\u00a0h"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _read(file: Path) -> dict[str, Any]:
    name = paths.shown(file)

    def need(true: bool, where: str, what: str) -> None:
        if not true:
            raise ResultsError(f"{name}: {where}: expected {what}. {_REMEDY}")

    def seconds(value: Any, where: str) -> None:
        good = isinstance(value, list) and value and all(is_number(x) and x > 0 for x in value)
        need(good, where, "a list of positive numbers")

    content = read_json(file.read_bytes(), name, _REMEDY)
    need(isinstance(content, dict), "the file", "an object")
    for key, kind, what in (
        ("sweep", dict, "an object"),
        ("circumstances", dict, "an object"),
        ("rows", list, "a list"),
    ):
        need(isinstance(content.get(key), kind), key, what)
    about = content["sweep"]
    for key in ("points", "repeats", "empty_points"):
        need(isinstance(about.get(key), int) and about[key] > 0, f"sweep.{key}", "a whole number above zero")
    need(isinstance(about.get("chapter"), str), "sweep.chapter", "the name of a chapter")
    need(isinstance(about.get("grid"), list) and all(isinstance(w, str) for w in about["grid"]), "sweep.grid", "texts")
    rows = content["rows"]
    need(
        [isinstance(row, dict) and row.get("workers") for row in rows] == [1, 2], "rows", "one for 1 worker, one for 2"
    )
    for number, row in enumerate(rows):
        for key in ("wall_s", "point_s", "start_s"):
            seconds(row.get(key), f"rows[{number}].{key}")
        need(min(row["wall_s"]) > min(row["start_s"]), f"rows[{number}]", "a sweep to last longer than its start")
    need(
        isinstance(content.get("empty"), dict) and set(content["empty"]) == {"wall_s", "point_s"}, "empty", "two lists"
    )
    seconds(content["empty"]["wall_s"], "empty.wall_s")
    points = content["empty"]["point_s"]
    need(isinstance(points, list) and points and all(map(is_number, points)), "empty.point_s", "a list of numbers")
    return content
