"""The table of mutation scores on the page "How we know", from ``results/mutants.json``. `make mutants` writes the file."""

from __future__ import annotations

from pathlib import Path

from ledger_page import table
from workings import paths
from workings.ledger.results import read_json

REMEDY = "`make mutants` writes this file; do not edit it. Restore it from git, or run it again."


def mutants_markdown(results: Path | None = None) -> str:
    """One line per part and a sum: mutants tried, how many compute the same, and how many of the others some test noticed. Says so
    where none was tried."""
    file = (paths.results_root() if results is None else Path(results)) / "mutants.json"
    if not file.is_file():
        return "Not measured yet: `make mutants` measures it.\n"
    found = read_json(file.read_bytes(), paths.shown(file), REMEDY)
    parts: dict[str, list[dict]] = {}
    for name, score in found.items():
        folder = Path(name).parent.name
        parts.setdefault("shared" if folder == "workings" else folder, []).append(score)
    rows = [(name.replace("_", " "), *_sums(scores)) for name, scores in sorted(parts.items())]
    rows.append(("together", *_sums(list(found.values()))))
    days = sorted(score["date"] for score in found.values())
    said = f"Measured between {days[0]} and {days[-1]}." if days[0] != days[-1] else f"Measured on {days[0]}."
    head = ("Part", "Modules", "Possible changes", "Tried", "Compute the same", "Noticed", "Share of the others")
    return f"{table(head, rows)}\n{said} A module that is not counted here has not been tried yet. Which changes no test noticed is listed in `results/mutants.json`.\n"


def _sums(scores: list[dict]) -> tuple[str, ...]:
    every, tried, noticed = (sum(score[key] for score in scores) for key in ("mutants", "run", "noticed"))
    same = sum(len(score.get("alike", [])) for score in scores)
    share = f"{noticed / (tried - same):.0%}" if tried > same else "–"
    return (str(len(scores)), f"{every:,}", f"{tried:,}", f"{same:,}", f"{noticed:,}", share)
