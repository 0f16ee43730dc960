"""The book's ledger page and benchmark page, made from claims and recorded results when the book is built.

Needs PyYAML and nothing else. Both functions return MyST Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from workings import PARTS, paths
from workings.ledger.claims import load_all
from workings.ledger.criteria import Chapter, Claim, Criterion
from workings.ledger.display import tier_text, value_text, with_symbol
from workings.ledger.results import Result, Results, ResultsError, check_table, is_number, load_results, read_json
from workings.ledger.rounding import significant
from workings.ledger.verdicts import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SMALLER, verdict

_INTRODUCTION = f"""# The ledger

Every chapter tests the claims of its paper. What counts as reproduced is written down before the recorded run, in
the chapter's claims file, which also says what was set after a trial; a run records what it measured; the verdict is computed from the two.

- **{with_symbol(REPRODUCED)}**: a run met a criterion that decides the claim.
- **{with_symbol(SMALLER)}**: a run met its criterion, but at a scale, or on data, that makes it only a hint.
- **{with_symbol(NOT_REPRODUCED)}**: a run that could have met the criterion did not.
- **{with_symbol(NOT_RUN)}**: nothing has been measured yet.

*Demo* runs in the notebook on two processor cores in a minute or two. *Full* is the experiment at the paper's scale
or as near as its row says. A number after ± is the standard deviation over the recorded seeds or splits; for the mean of
many generated samples it is the standard error. "As required" and "outside" stand where the value itself would differ
between machines and only its side of the criterion is stable. Each id leads to the cell that measured it.
"""

_BENCH_INTRODUCTION = """# Benchmarks

Our kernels beside named peers: the same arrays, one process, interleaved repeats. A ratio is the peer's figure over
ours, with the range over repeats in brackets; above 1, ours is the faster or the leaner. `make bench` repeats it.
"""

_BENCH_KEYS = ("id", "chapter", "what", "ours", "peer", "theirs", "unit", "ratio", "ratio_low", "ratio_high")
_BENCH_OPTIONAL = ("repeats", "note")
_BENCH_REMEDY = "`make bench` writes this file; do not edit it. Restore it from git, or delete it and run it again."


def ledger_markdown(claims: Path | None = None, results: Path | None = None) -> str:
    """The ledger page: what the verdicts mean, one table a part with one line a claim, and the runs' circumstances.

    Ids link to the anchors ``<a id="css-1"></a>`` in the notebooks. Raises ``ClaimsError`` or ``ResultsError`` for a
    malformed file.
    """
    chapters = load_all(claims)
    pieces = [_INTRODUCTION]
    for part in PARTS:
        of_part = [chapter for chapter in chapters if chapter.part == part]
        if of_part:
            pieces.append(_part_section(part, of_part, results))
    if len(pieces) == 1:
        pieces.append("No chapter has claims yet.\n")
    return "\n".join(pieces)


def bench_markdown(results: Path | None = None) -> str:
    """The benchmark page from ``results/bench.json``; says so when it has not been run.

    Raises ``ResultsError`` for a malformed file.
    """
    file = (paths.results_root() if results is None else Path(results)) / "bench.json"
    if not file.is_file():
        return f"{_BENCH_INTRODUCTION}\nNot run yet: `make bench` measures and fills this page.\n"
    bench = _read_bench(file)
    pieces = [] if bench["rows"] else ["Nothing was measured.\n"]
    titles = {chapter.slug: chapter.title for chapter in load_all()}
    for slug, of_chapter in groupby(
        sorted(bench["rows"], key=lambda row: row["chapter"]), key=lambda row: row["chapter"]
    ):
        pieces.append(f"## {_escape(titles.get(slug, slug))}\n")
        for (what, ours), same in groupby(
            of_chapter, key=lambda row: (row["what"], _with_unit(row["ours"], row["unit"]))
        ):
            rows = [
                (row["peer"], _with_unit(row["theirs"], row["unit"]), _ratio(row), row.get("repeats"), row.get("note"))
                for row in same
            ]
            pieces.append(f"**{_escape(what)}.** Ours: {_escape(ours)}.\n")
            pieces.append(_table(("Peer", "Theirs", "Ratio", "Repeats", "Note"), rows))
    pieces.append(_dropdown("Circumstances", _flat(bench["circumstances"])))
    return "\n".join([_BENCH_INTRODUCTION, *pieces])


def _part_section(part: str, chapters: list[Chapter], results: Path | None) -> str:
    rows, circumstances = [], []
    for chapter in chapters:
        demo, full = (load_results(chapter, tier, results) for tier in ("demo", "full"))
        rows += [_claim_row(part, chapter.slug, claim, demo, full) for claim in chapter.claims]
        circumstances.append(_circumstances(chapter, demo, full))
    head = ("Id", "Verdict", "Claim", "Demo", "Full", "Paper or source")
    title = part.replace("_", " ").capitalize()
    return "\n".join([f"## {title}\n", _table(head, rows), *circumstances])


def _claim_row(part: str, slug: str, claim: Claim, demo: Results | None, full: Results | None) -> tuple[str, ...]:
    found = [None if results is None else results.rows.get(claim.id) for results in (demo, full)]
    cells = [_tier_cell(plan, result) for plan, result in zip((claim.demo, claim.full), found, strict=True)]
    page = f"../../notebooks/{part}/{slug}.html"  # from book/generated/
    link = _Raw(f'<a href="{page}#{claim.id}">{claim.id}</a>')
    return (link, with_symbol(verdict(claim, *found)), claim.claim, *cells, claim.paper.text())


def _tier_cell(plan: Any, result: Result | None) -> str:
    if not isinstance(plan, Criterion) or result is None:
        text = tier_text(plan, result)
    else:
        text = value_text(plan, result, unit=False)
    if isinstance(plan, Criterion):
        text = f"{text} ({plan.text()})"
        if result is not None and result.criterion not in (None, plan.text()):
            text += f"; when it ran, the criterion was: {result.criterion}"
    return text


def _circumstances(chapter: Chapter, demo: Results | None, full: Results | None) -> str:
    lines = []
    for results in filter(None, (demo, full)):
        for key, run in results.runs.items():
            ids = [claim_id for claim_id, row in results.rows.items() if row.run == key]
            lines.append(f"{results.tier}, {', '.join(ids) or 'tables only'}: {run_text(run)}")
    return _dropdown(f"Circumstances of the runs: {chapter.title}", lines or ["No run has been recorded yet."])


def run_text(run: dict[str, Any]) -> str:
    """A run in one line: when, which code, with what, on what, how long."""
    commit = run.get("commit")
    code = "commit unknown" if not commit else f"commit {commit[:12]}"
    if run.get("dirty"):
        code += " with uncommitted changes"
    words = [run.get("date", "date unknown"), code, f"Python {run.get('python', 'unknown')}"]
    words += [f"{name} {version}" for name, version in run.get("versions", {}).items()]
    hardware = run.get("hardware", {})
    machine = [f"{hardware.get('cores')} cores of {hardware.get('cpu')}"]
    machine += [f"{hardware['memory_gib']:g} GiB memory"] if is_number(hardware.get("memory_gib")) else []
    words += [*machine, str(hardware["gpu"]) if hardware.get("gpu") else "no GPU"]
    if is_number(run.get("wall_s")):
        words.append(f"wall time {_seconds(run['wall_s'])}")
    if is_number(run.get("peak_memory_mib")):
        words.append(f"peak memory {run['peak_memory_mib']:.0f} MiB")
    if is_number(run.get("peak_gpu_memory_mib")):
        words.append(f"peak GPU memory {run['peak_gpu_memory_mib']:.0f} MiB")
    words.append(f"seeds {_ranges(run['seeds'])}" if run.get("seeds") else "no seeds")
    return "; ".join(words)


def _read_bench(file: Path) -> dict[str, Any]:
    name = paths.shown(file)

    def fail(key: str, what: str) -> None:
        raise ResultsError(f"{name}: {key}: {what}. {_BENCH_REMEDY}")

    bench = read_json(file.read_bytes(), name, _BENCH_REMEDY)
    if not isinstance(bench, dict) or not isinstance(bench.get("circumstances"), dict) or "rows" not in bench:
        fail("the file", "expected an object with 'rows' and 'circumstances'")
    check_table(bench["rows"], fail, "rows")
    for number, row in enumerate(bench["rows"]):
        for key in _BENCH_KEYS:
            if key not in row:
                fail(f"rows[{number}]", f"key {key!r} is missing")
        for key in row:
            if key not in _BENCH_KEYS + _BENCH_OPTIONAL:
                fail(f"rows[{number}]", f"unknown key {key!r}{paths.did_you_mean(key, _BENCH_KEYS).rstrip('.')}")
        for key in ("ratio", "ratio_low", "ratio_high"):
            if row[key] is not None and not is_number(row[key]):
                fail(f"rows[{number}].{key}", f"expected a number or null, found {row[key]!r}")
    return bench


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return "–"
    ends = [significant(row[key], 3) for key in ("ratio_low", "ratio_high") if row[key] is not None]
    return significant(row["ratio"], 3) + (f" ({' to '.join(ends)})" if ends else "")


def _with_unit(value: Any, unit: str | None) -> str:
    if not is_number(value):
        return _cell(value)
    text = str(value) if isinstance(value, int) else significant(value, 3)
    return f"{text} {unit}" if unit else text


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _flat(content: dict[str, Any], before: str = "") -> list[str]:
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{before}{key}, ")
        else:
            lines.append(f"{before}{key}: {', '.join(map(str, value)) if isinstance(value, list) else _cell(value)}")
    return lines


class _Raw(str):
    """Markdown that is already written: not escaped again."""


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)


def _escape(text: str) -> str:
    """Plain words as Markdown: every character that could start markup is escaped, pipes and dollars too."""
    if isinstance(text, _Raw):
        return text
    return re.sub(r"([\\`*_{}\[\]<>#|$~^@])", r"\\\1", " ".join(text.split()))


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [_escape(cell if isinstance(cell, str) else _cell(cell)) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _dropdown(title: str, lines: list[str]) -> str:
    items = "\n".join(f"- {_escape(line)}" for line in lines)
    return f"```{{dropdown}} {title}\n{items}\n```\n"
