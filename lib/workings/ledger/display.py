"""How the ledger looks: one row, the whole table, a plain grid. Texts are rounded and the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from workings.ledger.criteria import Claim, Criterion, NotPlanned
from workings.ledger.results import Result
from workings.ledger.rounding import NOISE, SMALL, plain, significant, with_spread
from workings.ledger.verdicts import NOT_RUN, SYMBOLS


class Row:
    """One checked claim: ``result``, ``met`` (both ``None`` at a tier that is not planned) and ``verdict``.

    Its display is a small table, its repr one line.
    """

    def __init__(self, claim: Claim, tier: str, result: Result | None, verdict: str):
        self.claim, self.tier, self.result, self.verdict = claim, tier, result, verdict
        self.plan = claim.plan(tier)
        self.met = None if result is None else self.plan.met(result.value)

    def _cells(self) -> list[str]:
        if self.result is None:
            return ["not recorded", f"not planned at this tier: {self.plan.not_planned}", with_symbol(self.verdict)]
        met = "met" if self.met else "not met"
        value = value_text(self.plan, self.result, unit=False)
        return [value, f"{self.plan.text()}: {met}", with_symbol(self.verdict)]

    def __repr__(self) -> str:
        return f"{self.claim.id} ({self.tier}): {' | '.join(self._cells())}"

    def _repr_html_(self) -> str:
        head = ["Claim", "Verdict, all tiers", f"Here, {self.tier}", "Counts as reproduced if", "Paper or source"]
        name = f"{self.claim.id}: {self.claim.claim}"
        value, criterion, word = self._cells()
        row = [name, word, value, criterion, self.claim.paper.text()]
        return html_table(f"Ledger, {self.claim.id}", head, [row])


class Elsewhere:
    """What :meth:`Ledger.check` returns when the claim is measured at another tier."""

    def __init__(self, claim_id: str, at: str):
        self.claim_id, self.at = claim_id, at

    def __repr__(self) -> str:
        return f"{self.claim_id}: this cell measures it at tier {self.at!r} only"


class Grid:
    """A plain table of texts for a notebook, with a caption; its repr is one line a row."""

    def __init__(self, caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]):
        self.caption, self.head = caption, tuple(head)
        self.rows = [tuple(row) for row in rows]
        wrong = [row for row in self.rows if len(row) != len(self.head)]
        if wrong:
            raise ValueError(f"every row needs {len(self.head)} cells, as the head has; got {wrong[0]!r}.")

    def __repr__(self) -> str:
        return "\n".join([self.caption, " | ".join(self.head), *(" | ".join(row) for row in self.rows)])

    def _repr_html_(self) -> str:
        return html_table(self.caption, self.head, self.rows)


class Table:
    """The chapter's ledger; ``rows`` holds id, claim, paper, demo, full and verdict as texts."""

    HEAD = ("Id", "Verdict", "Claim", "Demo here", "Full here", "Paper or source")  # a phone shows the first ones

    def __init__(self, title: str, rows: list[tuple[str, ...]]):
        self.title, self.rows = title, rows

    def __repr__(self) -> str:
        lines = [f"Ledger of {self.title}"]
        lines += [f"{row[0]}: demo {row[3]} | full {row[4]} | {row[5]}" for row in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(name, word, claim, demo, full, paper) for name, claim, paper, demo, full, word in self.rows]
        return html_table(f"Ledger of {self.title}", self.HEAD, rows)


def value_text(criterion: Criterion, result: Result, *, unit: bool = True) -> str:
    """A measured value as a reader should see it (with its unit), and the same on every machine.

    Without a spread it keeps two significant digits, or as many of four as show on which side of the criterion it is.

    An error that is rounding noise (not a plain zero under a bound above 1e-6), or any value shown with ``digits=0``, appears as its bound
    (``below 1e-10``): its own digits would mean nothing and differ from processor to processor.
    """
    value = result.value
    if criterion.compare == "holds":
        return "yes" if value else "no"
    met = criterion.met(value)
    upper = criterion.compare == "at_most" and criterion.target > 0
    around_zero = criterion.compare == "within" and criterion.target == 0
    bound = criterion.target if upper else criterion.tolerance if around_zero else None
    exact_zero = value == 0 and bound is not None and bound > SMALL  # a count of nothing, not a rounding error
    if met and bound is not None and (result.digits == 0 or (abs(value) < NOISE and not exact_zero)):
        text = f"below {plain(bound)}"
    elif result.digits == 0:
        return "as required" if met else "outside"
    elif isinstance(value, int) and not result.spread:
        text = str(value)
    else:
        digits = result.digits
        if digits is None and not result.spread:  # nothing says that a third digit means anything, unless it decides
            agrees = lambda n: criterion.met(float(significant(value, n))) == met
            digits = next((n for n in (2, 3) if agrees(n)), 4)
        text = with_spread(value, result.spread, digits)
    return f"{text} {criterion.unit}" if unit and criterion.unit else text


def tier_text(plan: Criterion | NotPlanned, result: Result | None) -> str:
    """A tier's cell: the value, ``not run`` or ``not planned``."""
    if isinstance(plan, NotPlanned):
        return "not planned"
    return NOT_RUN if result is None else value_text(plan, result)


def with_symbol(word: str) -> str:
    """``✓ reproduced``: the symbol is decoration, the word carries the meaning."""
    return f"{SYMBOLS[word]} {word}"


def html_table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that a screen reader can walk (caption, scopes) and a narrow screen can scroll."""
    heads = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = ""
    for first, *cells in rows:
        body += (
            f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
        )
    label = escape(caption)
    return (
        f'<div class="workings-ledger" role="region" aria-label="{label}" tabindex="0" style="overflow-x: auto">\n'
        f"<table>\n<caption>{label}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>"
    )
