"""The book's page of long runs, made from claims and records when the book is built: what each cost, and what it changed.

Needs what `ledger_page` needs. Returns MyST Markdown.
"""

from __future__ import annotations

from pathlib import Path

from ledger_page import escaped, run_text, seconds_text, table
from workings import PARTS
from workings.ledger.claims import load_all
from workings.ledger.criteria import Chapter, Claim, Criterion
from workings.ledger.display import with_symbol
from workings.ledger.results import Results, is_number, load_results
from workings.ledger.verdicts import decide

_INTRODUCTION = """---
myst:
  html_meta:
    "description lang=en": "The recorded full runs of every chapter: when, on what, how long, and which verdicts they changed."
---

# Long runs

A demo takes under a minute or two and is repeated at every change. A *full* run takes up to hours, is made once and recorded. This
page says of each chapter what its recorded run cost and which verdicts it changed. It is made from the records.

The time is that of the pass that wrote the record. Long runs go on where they were stopped, and what an earlier pass had finished is
not in it. `workings run SLUG --tier full` repeats one.
"""


def long_runs_markdown(claims: Path | None = None, results: Path | None = None) -> str:
    """The page; raises ``ClaimsError`` or ``ResultsError`` for a malformed file."""
    chapters = sorted(load_all(claims), key=lambda chapter: PARTS.index(chapter.part))
    found = [(chapter, load_results(chapter, "full", results)) for chapter in chapters]
    rows = [(chapter.title, *_cost(full)) for chapter, full in found]
    pieces = [_INTRODUCTION, table(("Chapter", "Day", "Time", "Memory", "On"), rows)]
    for chapter, full in found:
        pieces.append(f"## {escaped(chapter.title)}\n")
        if full is None:
            pieces.append(_waiting(chapter))
            continue
        pieces += [f"- {escaped(run_text(run))}" for run in full.runs.values()]
        pieces.append("")
        changed = changes(chapter, load_results(chapter, "demo", results), full)
        if changed:
            lines = [(claim.id, claim.claim, before, after) for claim, before, after in changed]
            pieces.append(table(("Claim", "It says", "Demo alone", "With the full run"), lines))
        else:
            pieces.append("It changed no verdict.\n")
    return "\n".join(pieces)


def changes(chapter: Chapter, demo: Results | None, full: Results) -> list[tuple[Claim, str, str]]:
    """Claims whose verdict the full run changed: the claim, the verdict of the demo alone, and the one that stands now."""
    out = []
    for claim in chapter.claims:
        row = None if demo is None else demo.rows.get(claim.id)
        before = decide(claim, row, None)[0]
        after = decide(claim, row, full.rows.get(claim.id))[0]
        if before != after:
            out.append((claim, with_symbol(before, claim), with_symbol(after, claim)))
    return out


def _cost(full: Results | None) -> tuple[str, str, str, str]:
    """Day, time, memory and machine of the newest run of a record."""
    if full is None or not full.runs:
        return ("not run", "–", "–", "–")
    run = full.runs[max(full.runs)]
    hardware, memory = run.get("hardware", {}), run.get("peak_memory_mib")
    return (
        run.get("date", "unknown")[:10],
        seconds_text(run["wall_s"]) if is_number(run.get("wall_s")) else "–",
        f"{memory / 1024:.1f} GiB" if is_number(memory) else "–",
        str(hardware.get("gpu") or f"{hardware.get('cores')} cores"),
    )


def _waiting(chapter: Chapter) -> str:
    """What a chapter without a record waits for."""
    waiting = [claim.id for claim in chapter.claims if isinstance(claim.full, Criterion)]
    if not waiting:
        return "No full run is planned: its claims do not depend on scale.\n"
    return f"Not run. It would decide {escaped(', '.join(waiting))}.\n"
