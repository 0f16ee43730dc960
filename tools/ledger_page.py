"""The book's ledger page and benchmark page, made from claims and recorded results when the book is built.

Needs PyYAML and pydantic, and nothing else. Both functions return MyST Markdown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from workings import PARTS, paths
from workings.ledger.claims import load_all
from workings.ledger.criteria import KINDS, Chapter, Claim, Criterion
from workings.ledger.display import KINDS_OF_ONE, sentence, source_text, value_text, with_symbol
from workings.ledger.results import Result, Results, ResultsError, check_table, is_number, load_results, read_json
from workings.ledger.rounding import significant
from workings.ledger.verdicts import (
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    SMALLER,
    SYMBOLS,
    UNDECIDED,
    decide,
    open_because,
    outcome,
)

_INTRODUCTION = """# The ledger

Every claim that a chapter tests, and a verdict that is computed from what was asked and what runs measured. Open a claim to see
both, where the paper's number was read, and when the criterion was set.
"""

_WORDS = f"""```{{dropdown}} What the words mean
Four kinds of claims are counted apart: those **of the paper**; **identities**, which hold by construction or by a proof, so that a
run checks our code; **comparisons with the authors' code**, where we ran both programs; and **this collection's own** claims.

- **{with_symbol(REPRODUCED)}** (an identity *holds*, a program *agrees*): a run met a criterion that decides the claim.
- **{with_symbol(SMALLER)}**: a run met its criterion, but at a scale, or on data, that makes it only a hint.
- **{with_symbol(NOT_REPRODUCED)}**: a run that could have met the criterion did not.
- **{with_symbol(UNDECIDED)}**: the run was too small, could not have come out otherwise, or lies within one standard error of the line;
  a demo failed where only a full run would decide; or nobody here read what the paper says.
- **{with_symbol(NOT_RUN)}**: nothing has been measured yet.

*Demo* runs in the notebook on two processor cores in a minute or two. *Full* is the experiment at the paper's scale
or as near as its row says. A number after ± is the standard deviation over the recorded seeds or splits; for the mean of
many generated samples it is the standard error. Where the value itself would differ between machines, only its side of the
line is given: "at least 0.85" or "below 0.85".
```
"""

_BENCH_INTRODUCTION = """# Benchmarks

Our kernels beside named peers: the same arrays, one process, interleaved repeats. A ratio is the peer's figure over
ours, with a 95% interval of the median over repeats in brackets; above 1, ours is the faster or the leaner. `make bench` repeats it.
"""

_BENCH_KEYS = ("id", "chapter", "what", "ours", "peer", "theirs", "unit", "ratio", "ratio_low", "ratio_high")
_BENCH_OPTIONAL = ("repeats", "note")
_BENCH_REMEDY = "`make bench` writes this file; do not edit it. Restore it from git, or delete it and run it again."


def ledger_markdown(claims: Path | None = None, results: Path | None = None) -> str:
    """The ledger page: what the verdicts mean, how often each was reached, and one line per claim that opens.

    A claim's line has its id as anchor and leads to the cell that measures it. Raises ``ClaimsError`` or ``ResultsError``
    for a malformed file.
    """
    chapters = sorted(load_all(claims), key=lambda chapter: PARTS.index(chapter.part))
    entries = [_Entry(chapter, claim, *_recorded(chapter, results)) for chapter in chapters for claim in chapter.claims]
    if not entries:
        return f"{_INTRODUCTION}\nNo chapter has claims yet.\n"
    pieces = [_INTRODUCTION, _counts(entries), _WORDS]
    for part in PARTS:
        of_part = [entry for entry in entries if entry.chapter.part == part]
        pieces += [f"## {part.replace('_', ' ').capitalize()}\n"] if of_part else []
        for _, same in groupby(of_part, key=lambda entry: entry.chapter.slug):
            of_chapter = list(same)
            chapter, demo, full = of_chapter[0].chapter, of_chapter[0].demo, of_chapter[0].full
            pieces.append(f"### {escaped(chapter.title)}\n")
            pieces.append("\n".join(entry.html() for entry in of_chapter) + "\n")
            pieces.append(_circumstances(chapter, demo, full))
    return "\n".join(pieces)


def _recorded(chapter: Chapter, results: Path | None) -> tuple[Results | None, Results | None]:
    return load_results(chapter, "demo", results), load_results(chapter, "full", results)


class _Entry:
    """One claim with what was recorded for it."""

    def __init__(self, chapter: Chapter, claim: Claim, demo: Results | None, full: Results | None):
        self.chapter, self.claim, self.demo, self.full = chapter, claim, demo, full
        self.results = [None if tier is None else tier.rows.get(claim.id) for tier in (demo, full)]
        self.verdict, self.why = decide(claim, *self.results)

    def html(self) -> str:
        """A line that opens. Raw HTML without an empty line, so that no word of a claim can turn into markup."""
        claim, word = self.claim, with_symbol(self.verdict, self.claim)
        names = [("Verdict", f"{word}: {self.why}.")]
        for tier, plan, result in zip(("Demo", "Full"), (claim.demo, claim.full), self.results, strict=True):
            names.append((tier, _tier(plan, result)))
        names += [("Where", sentence(claim.where)), ("The source says", sentence(source_text(claim)))]
        plans = {
            tier: plan for tier, plan in (("Demo", claim.demo), ("Full", claim.full)) if isinstance(plan, Criterion)
        }
        names.append(("Criteria set", " ".join(f"{tier}: {sentence(plan.set)}" for tier, plan in plans.items())))
        lines = "".join(f"<dt>{name}</dt><dd>{escape(words)}</dd>" for name, words in names)
        kind = "" if claim.kind == "paper" else f' <span class="wk-kind">({KINDS_OF_ONE[claim.kind]})</span>'
        return (
            f'<details class="wk-claim" id="{claim.id}" data-part="{self.chapter.part}" data-kind="{claim.kind}" '
            f'data-verdict="{self.verdict}"><summary><strong>{claim.id}</strong>{kind} <span class="wk-said">{escape(claim.claim)}</span> '
            f'<span class="wk-verdict">{escape(word)}</span></summary>\n<dl>{lines}</dl>\n'
            f'<p><a href="{self._link()}">{"The cell that measures it" if "#" in self._link() else "The chapter"}</a></p></details>'
        )

    def _link(self) -> str:
        """The address, from book/generated/, of the claim's anchor in its chapter, or of the chapter where it has none yet."""
        root = paths.checkout_root()
        script = None if root is None else root / "notebooks" / self.chapter.part / f"{self.chapter.slug}.py"
        waits = (
            script is not None
            and script.is_file()
            and f'id="{self.claim.id}"' not in script.read_text(encoding="utf-8")
        )
        return f"../../notebooks/{self.chapter.part}/{self.chapter.slug}.html{'' if waits else f'#{self.claim.id}'}"


def _tier(plan: Any, result: Result | None) -> str:
    """One tier in sentences: what came out, what was asked, and what separates it from the paper's scale."""
    if not isinstance(plan, Criterion):
        return sentence(f"not planned: {plan.not_planned}")
    asked = plan.text() if plan.compare != "holds" else plan.unit or "it holds"
    said = outcome(plan, result)
    came = "not run" if said is None else f"{value_text(plan, result, unit=False)}: {said}"
    because = open_because(plan, result) if said is not None else None
    words = [sentence(came + (f", because {because}" if because else "")), sentence(f"asked: {asked}")]
    if result is not None and result.criterion not in (None, plan.text()):
        words.append(sentence(f"when it ran, the criterion was: {result.criterion}"))
    if plan.indicative:
        words.append(sentence(f"only a hint: {plan.indicative}"))
    return " ".join(words)


def _counts(entries: list[_Entry]) -> str:
    """How often each verdict was reached: the kinds side by side, one line for the whole book and one for each chapter."""
    found = Counter((entry.chapter.title, entry.claim.kind, entry.verdict) for entry in entries)
    titles = list(dict.fromkeys(entry.chapter.title for entry in entries))
    rows = []
    for name, among in [("All chapters", titles), *((title, [title]) for title in titles)]:
        cells = []
        for kind in KINDS:
            numbers = {word: sum(found[title, kind, word] for title in among) for word in SYMBOLS}
            cells.append(", ".join(f"{SYMBOLS[word]} {number}" for word, number in numbers.items() if number) or " ")
        rows.append((name, *cells))
    legend = " · ".join(with_symbol(word) for word in SYMBOLS)
    head = ("Chapter", *(name[:1].upper() + name[1:] for name in KINDS.values()))
    return f"## Counts\n\n{escaped(legend)}\n\n{table(head, rows)}"


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
        pieces.append(f"## {escaped(titles.get(slug, slug))}\n")
        for (what, ours), same in groupby(
            of_chapter, key=lambda row: (row["what"], _with_unit(row["ours"], row["unit"]))
        ):
            rows = [
                (row["peer"], _with_unit(row["theirs"], row["unit"]), _ratio(row), row.get("repeats"), row.get("note"))
                for row in same
            ]
            pieces.append(f"**{escaped(what)}.** Ours: {escaped(ours)}.\n")
            pieces.append(table(("Peer", "Theirs", "Ratio", "Repeats", "Note"), rows))
    pieces.append(_dropdown("Circumstances", _flat(bench["circumstances"])))
    return "\n".join([_BENCH_INTRODUCTION, *pieces])


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
        words.append(f"wall time {seconds_text(run['wall_s'])}")
    for one in run.get("earlier", []):
        told = f"{one['results']} result{'s' * (one['results'] != 1)} of an earlier sitting ({one['from'] or 'day unknown'}, commit "
        told += f"{(one['commit'] or 'unknown')[:12]}, {one['cpu'] or 'processor unknown'}"
        words.append(told + (f", {seconds_text(one['seconds'])})" if one["seconds"] is not None else ")"))
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


def seconds_text(seconds: float) -> str:
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


def escaped(text: str) -> str:
    """Plain words as Markdown: every character that could start markup is escaped, pipes and dollars too."""
    if isinstance(text, _Raw):
        return text
    return re.sub(r"([\\`*_{}\[\]<>#|$~^@])", r"\\\1", " ".join(text.split()))


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    head = list(head)
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        cells = [escaped(cell if isinstance(cell, str) else _cell(cell)) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _dropdown(title: str, lines: list[str]) -> str:
    items = "\n".join(f"- {escaped(line)}" for line in lines)
    return f"```{{dropdown}} {title}\n{items}\n```\n"
