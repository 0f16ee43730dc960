"""The ledger of a chapter: hand it what was measured, it compares, shows and records.

```python
ledger_ = ledger.open("conformal_set_size", tier=tier)
ledger_.check("css-2", difference, spread=0.003, seeds=[0, 1, 2])
ledger_.table()
```

A run is recorded only when ``WORKINGS_RECORD=1`` is set (``make refresh`` and ``workings run`` set it) or with
``record=True``. What is displayed is rounded, so that it is the same text on every machine.
"""

from __future__ import annotations

import math
import operator
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workings.ledger.claims import load_chapter
from workings.ledger.criteria import KINDS, TIERS, Chapter, Claim, Criterion, NotPlanned, check_tier
from workings.ledger.display import Elsewhere, Row, Table, tier_text, with_symbol
from workings.ledger.results import Result, Results, check_table, save_results
from workings.ledger.results import load_results as _load_results
from workings.ledger.verdicts import SYMBOLS, decide, verdict
from workings.runs import provenance, store


def open(
    slug: str,
    tier: str = "demo",
    *,
    record: bool | None = None,
    claims: Path | None = None,
    results: Path | None = None,
) -> Ledger:
    """Open the ledger of chapter ``slug`` at ``tier`` (``demo`` or ``full``) and start its stopwatch.

    ``record``: write the results file; ``None`` asks the environment variable ``WORKINGS_RECORD``.
    ``claims`` and ``results`` name other folders than the repository's. Raises ``ValueError`` for an unknown
    chapter or tier and for a malformed claims or results file.
    """
    recording = os.environ.get("WORKINGS_RECORD") == "1" if record is None else bool(record)
    return Ledger(load_chapter(slug, claims), check_tier(tier), recording, results)


def load_results(slug: str, tier: str, *, claims: Path | None = None, results: Path | None = None) -> Results | None:
    """What was recorded for chapter ``slug`` at ``tier``; ``None`` when it has not been run."""
    return _load_results(load_chapter(slug, claims), check_tier(tier), results)


def verdicts_of(slug: str, *, claims: Path | None = None, results: Path | None = None) -> dict[str, str]:
    """The verdict on each claim of chapter ``slug``, from its recorded results."""
    chapter = load_chapter(slug, claims)
    found = [_load_results(chapter, tier, results) for tier in TIERS]
    rows = [{} if one is None else one.rows for one in found]
    return {claim.id: verdict(claim, *(row.get(claim.id) for row in rows)) for claim in chapter.claims}


def counts_of(slug: str, *, claims: Path | None = None, results: Path | None = None) -> dict[str, dict[str, int]]:
    """How often each verdict was reached, for each kind of claim apart: ``{"paper": {"reproduced": 2}, "ours": {...}}``.

    Kinds and verdicts stand in the order of :data:`KINDS` and :data:`SYMBOLS`; what does not occur is left out.
    """
    kinds = {claim.id: claim.kind for claim in load_chapter(slug, claims).claims}
    found = Counter((kinds[name], word) for name, word in verdicts_of(slug, claims=claims, results=results).items())
    counts = {kind: {word: found[kind, word] for word in SYMBOLS if found[kind, word]} for kind in KINDS}
    return {kind: words for kind, words in counts.items() if words}


def attachment(slug: str, tier: str, name: str, results: Path | None = None) -> list[dict[str, Any]] | None:
    """The table ``name`` of the recorded run of ``slug`` at ``tier``; ``None`` where nothing is recorded."""
    recorded = load_results(slug, tier, results=results)
    return None if recorded is None else recorded.tables.get(name)


class Ledger:
    """The open ledger of one chapter. ``stopwatch`` counts the wall time of the session."""

    def __init__(self, chapter: Chapter, tier: str, record: bool, results: Path | None = None):
        self.chapter = chapter
        self.tier = tier
        self.recording = record
        self.stopwatch = provenance.Stopwatch()
        self._folder = results
        self._run = provenance.utc_now()
        self._rows: dict[str, Result] = {}
        self._tables: dict[str, list[dict[str, Any]]] = {}
        other = "full" if tier == "demo" else "demo"
        self._other = _load_results(chapter, other, results)
        if record:  # a broken file is found before the run, not after it
            _load_results(chapter, tier, results)

    def check(
        self,
        claim_id: str,
        value: float | bool,
        *,
        spread: float | None = None,
        seeds: Iterable[int] = (),
        unit: str | None = None,
        digits: int | None = None,
        at: str | None = None,
        error: float | None = None,
        too_small: str | None = None,
    ) -> Row | Elsewhere:
        """Compare ``value`` with the criterion of ``claim_id`` at this tier; keep it and show one row.

        ``at`` names the tier this cell measures for, where the other tier measures the claim in another way: at the
        other tier nothing is compared.
        ``spread`` is the standard deviation over ``seeds``, ``error`` the standard error of ``value``; where it is not given,
        that of a mean over the seeds is computed. Within one standard error of the line the verdict is *undecided*, and
        so it is when ``too_small`` gives a reason why this run cannot settle the claim. ``digits`` fixes the significant digits shown
        (0: only whether the criterion is met). Comparison and record use the value as given. A claim that is not
        planned at this tier is shown as such and not recorded, so that one cell serves both tiers. Raises
        ``ValueError`` for an unknown claim, a value that is no finite number (or not true/false for a ``holds``
        criterion), another unit than the criterion's, and a second, different value for the same claim.
        """
        claim = self.chapter.claim(claim_id)
        if at is not None and check_tier(at) != self.tier:
            return Elsewhere(claim_id, at)
        plan = claim.plan(self.tier)
        if isinstance(plan, NotPlanned):
            return Row(claim, self.tier, None, *self._decide(claim))
        if unit is not None and unit != plan.unit:
            raise ValueError(f"{claim_id}: the criterion is in {plan.unit!r}, the value in {unit!r}; convert it first.")
        if digits is not None and not 0 <= digits <= 15:
            raise ValueError(f"digits must be between 0 and 15, got {digits}.")
        result = Result(
            _measured(value, claim_id, plan),
            _spread(spread, claim_id),
            _seeds(seeds, claim_id),
            plan.unit,
            plan.text(),
            digits,
            self._run,
            _spread(error, claim_id, "error"),
            _reason(too_small, claim_id),
        )
        result = replace(result, error=result.standard_error())
        earlier = self._rows.setdefault(claim_id, result)
        if replace(earlier, digits=digits) != result:
            raise ValueError(
                f"{claim_id} was already checked with {earlier.value!r}, now {result.value!r}: one value per claim. "
                "To start over, run the cell with ledger.open again."
            )
        self._rows[claim_id] = result
        return Row(claim, self.tier, result, *self._decide(claim))

    def attach(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Keep a table beside the rows in the results file: flat dicts of texts, finite numbers, true/false, None."""

        def fail(key: str, what: str) -> None:
            raise ValueError(f"table {key}: {what}.")

        check_table(rows, fail, name)
        self._tables[name] = [dict(row) for row in rows]

    def table(self) -> Table:
        """Every claim of the chapter: paper, demo, full and verdict. Saves first when recording.

        At the full tier it also prints the run's wall time and peak memory; the demo's outputs hold nothing that varies.
        """
        if self.recording:
            self.save()
        if self.tier == "full":
            print(provenance.closing_line(self.stopwatch))
        rows, reasons = [], []
        for claim in self.chapter.claims:
            demo, full = self._results(claim)
            cells = (claim.claim, claim.paper.text(), tier_text(claim.demo, demo), tier_text(claim.full, full))
            word, why = self._decide(claim)
            rows.append((claim.id, *cells, with_symbol(word, claim)))
            reasons.append(why)
        return Table(self.chapter.title, rows, reasons)

    def save(self) -> Path | None:
        """Merge this session into ``results/<part>/<slug>/<tier>.json``; ``None`` when there is nothing to save."""
        if not self._rows and not self._tables:
            return None
        seeds = {seed for row in self._rows.values() for seed in row.seeds}
        run = provenance.circumstances(self.stopwatch, seeds)
        if earlier := store.earlier_sittings():
            run["earlier"] = earlier  # a run that was interrupted took the time of all its sittings
            run["wall_s"] = round(run["wall_s"] + sum(one["seconds"] or 0.0 for one in earlier), 1)
        new = Results(
            self.chapter.slug, self.chapter.part, self.tier, dict(self._rows), dict(self._tables), {self._run: run}
        )
        return save_results(new, self.chapter, self._folder)

    def close(self) -> None:
        """Save when recording; otherwise nothing."""
        if self.recording:
            self.save()

    def _results(self, claim: Claim) -> tuple[Result | None, Result | None]:
        here = self._rows.get(claim.id)
        there = None if self._other is None else self._other.rows.get(claim.id)
        return (here, there) if self.tier == "demo" else (there, here)

    def _decide(self, claim: Claim) -> tuple[str, str]:
        return decide(claim, *self._results(claim))


def _measured(value: Any, claim_id: str, plan: Criterion) -> float | int | bool:
    """A Python scalar out of a Python, numpy or torch one."""
    got = f"{claim_id}: the value must be %s, got {value!r} of type {type(value).__name__}."
    if hasattr(value, "item"):
        try:
            value = value.item()
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(got % "a single number") from None
    if plan.compare == "holds":
        if not isinstance(value, bool):
            raise ValueError(got % "True or False")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(got % "a finite number")
    return value if isinstance(value, int) else float(value)


def _reason(words: Any, claim_id: str) -> str | None:
    if words is not None and not (isinstance(words, str) and words.strip()):
        raise ValueError(f"{claim_id}: too_small must be None or the reason in words, got {words!r}.")
    return words


def _spread(spread: Any, claim_id: str, name: str = "spread") -> float | None:
    if spread is None:
        return None
    try:
        number = math.nan if isinstance(spread, (str, bool)) else float(spread)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{claim_id}: {name} must be None or a number of zero or more, got {spread!r}.")
    return number


def _seeds(seeds: Iterable[int], claim_id: str) -> tuple[int, ...]:
    try:
        numbers = tuple(operator.index(seed) for seed in seeds)
    except TypeError:
        raise ValueError(f"{claim_id}: seeds must be a list of integers, got {seeds!r}.") from None
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{claim_id}: a seed stands twice in {list(numbers)}; a repeated seed is not a repeat run.")
    return numbers
