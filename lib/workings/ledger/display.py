"""How the ledger looks: one row, the whole table, a plain grid. Texts are rounded and the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape

from workings.ledger.criteria import SOURCES, Claim, Criterion, NotPlanned
from workings.ledger.results import Result
from workings.ledger.rounding import NOISE, SMALL, plain, significant, with_spread
from workings.ledger.verdicts import NOT_REPRODUCED, NOT_RUN, SYMBOLS, named, outcome

KINDS_OF_ONE = {"identity": "identity", "authors-code": "the authors' code", "ours": "this collection's own"}


class Row:
    """One checked claim: ``result``, ``met`` (both ``None`` at a tier that is not planned), ``verdict`` and ``why``.

    Its display is a card that says in words what was asked, what came out, what separates it from the paper's scale, and
    why the verdict is what it is; its repr is one line.
    """

    def __init__(self, claim: Claim, tier: str, result: Result | None, verdict: str, why: str = ""):
        self.claim, self.tier, self.result, self.verdict, self.why = claim, tier, result, verdict, why
        self.plan = claim.plan(tier)
        self.met = None if result is None else self.plan.met(result.value)

    def _outcome(self) -> str:
        return outcome(self.plan, self.result) or "not recorded"

    def _verdict(self) -> str:
        """No cross stands beside a criterion that is met here: then the other tier decided, and the words say so."""
        word = named(self.claim, self.verdict)
        return word if self.met and self.verdict == NOT_REPRODUCED else with_symbol(self.verdict, self.claim)

    def parts(self) -> list[tuple[str, str]]:
        """The card's names and words."""
        card = [("Claim", about(self.claim))]
        if self.result is None:
            card.append((f"Here, at tier {self.tier}", f"Not measured: {self.plan.not_planned}."))
        else:
            card += [
                ("Asked", sentence(self.plan.text() if self.plan.compare != "holds" else self.plan.unit or "It holds")),
                (f"Came out here, at tier {self.tier}", f"{value_text(self.plan, self.result)}: {self._outcome()}."),
            ]
            if self.plan.indicative:
                card.append(("Apart from the paper's scale", sentence(self.plan.indicative)))
        card.append(("The source says", sentence(source_text(self.claim))))
        card.append(("Verdict over both tiers", f"{self._verdict()}: {self.why}." if self.why else self._verdict()))
        return card

    def __repr__(self) -> str:
        if self.result is None:
            cells = ["not recorded", f"not planned at this tier: {self.plan.not_planned}"]
        else:
            value = value_text(self.plan, self.result, unit=False)
            cells = [value, f"{self.plan.text()}: {self._outcome()}"]
        return f"{self.claim.id} ({self.tier}): {' | '.join([*cells, self._verdict()])}"

    def _repr_html_(self) -> str:
        label = f"Ledger, {self.claim.id}"
        lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>\n" for name, words in self.parts())
        return f'<div class="workings-ledger workings-verdict" role="region" aria-label="{label}">\n<dl>\n{lines}</dl>\n</div>'


def about(claim: Claim) -> str:
    """``css-6 (agreement with the authors' code): Airfoil noise ...``; a claim of the paper needs no name of its kind."""
    kind = "" if claim.kind == "paper" else f" ({KINDS_OF_ONE[claim.kind]})"
    return f"{claim.id}{kind}: {claim.claim}"


def source_text(claim: Claim) -> str:
    """The paper's figure and where it comes from: ``0.065 accuracy lost (0.898 dense, 0.833 SAP-100); read in the paper``."""
    if claim.kind == "ours":
        return SOURCES[claim.paper.source]
    unsaid = claim.paper.value is not None or claim.paper.source == "this collection"
    about_it = "" if unsaid else "the statement is "
    return f"{claim.paper.text()}; {about_it}{SOURCES[claim.paper.source]}"


def sentence(words: str) -> str:
    """``words`` with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."


class Elsewhere:
    """What :meth:`Ledger.check` returns when the claim is measured at another tier."""

    def __init__(self, claim_id: str, at: str):
        self.claim_id, self.at = claim_id, at

    def __repr__(self) -> str:
        return f"{self.claim_id}: this cell measures it at tier {self.at!r} only"


class Grid:
    """A plain table of texts for a notebook, with a caption; its repr is one line per row."""

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

    def __init__(self, title: str, rows: list[tuple[str, ...]], reasons: list[str] | None = None):
        self.title, self.rows, self.reasons = title, rows, reasons or [""] * len(rows)

    def __repr__(self) -> str:
        lines = [f"Ledger of {self.title}"]
        lines += [f"{row[0]}: demo {row[3]} | full {row[4]} | {row[5]}" for row in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{word}: {why}" if why else word, claim, demo, full, paper)
            for (name, claim, paper, demo, full, word), why in zip(self.rows, self.reasons, strict=True)
        ]
        return html_table(f"Ledger of {self.title}", self.HEAD, rows)


def value_text(criterion: Criterion, result: Result, *, unit: bool = True) -> str:
    """A measured value as a reader should see it (with its unit), and the same on every machine.

    Without a spread it keeps two significant digits, or as many of four as show on which side of the criterion it is.

    An error that is rounding noise (not a plain zero under a bound above 1e-6), or any value shown with ``digits=0``, appears as its bound
    (``below 1e-10``): its own digits would mean nothing and differ from processor to processor. Under a bound that a measured
    value could reach, ``digits=0`` names the line and the side of it: ``at least 0.85``, ``below 0.85``.
    """
    value = result.value
    if criterion.compare == "holds":
        return "yes" if value else "no"
    met = criterion.met(value)
    upper = criterion.compare == "at_most" and criterion.target > 0
    around_zero = criterion.compare == "within" and criterion.target == 0
    bound = criterion.target if upper else criterion.tolerance if around_zero else None
    exact_zero = value == 0 and bound is not None and bound > SMALL  # a count of nothing, not a rounding error
    tiny = bound is not None and bound <= SMALL
    if met and bound is not None and ((result.digits == 0 and tiny) or (abs(value) < NOISE and not exact_zero)):
        text = f"below {plain(bound)}"
    elif result.digits == 0:
        text = _side(criterion, met)
    elif isinstance(value, int) and not result.spread:
        text = str(value)
    else:
        digits = result.digits
        if digits is None and not result.spread:  # nothing says that a third digit means anything, unless it decides
            agrees = lambda n: criterion.met(float(significant(value, n))) == met
            digits = next((n for n in (2, 3) if agrees(n)), 4)
        text = with_spread(value, result.spread, digits)
    return f"{text} {criterion.unit}" if unit and criterion.unit else text


def _side(criterion: Criterion, met: bool) -> str:
    """On which side of the criterion's line a value lies, without its unit: ``at least 0.85`` or ``below 0.85``."""
    if met:
        return replace(criterion, unit=None).text()
    if criterion.compare == "within":
        return f"more than {plain(criterion.tolerance)} from {plain(criterion.target)}"
    if criterion.compare == "between":
        return f"not between {plain(criterion.low)} and {plain(criterion.high)}"
    lead = {"at_least": "below", "at_most": "above", "equals": "not equal to"}[criterion.compare]
    return f"{lead} {plain(criterion.target)}"


def tier_text(plan: Criterion | NotPlanned, result: Result | None) -> str:
    """A tier's cell: the value, ``not run`` or ``not planned``."""
    if isinstance(plan, NotPlanned):
        return "not planned"
    return NOT_RUN if outcome(plan, result) is None else value_text(plan, result)


def with_symbol(word: str, claim: Claim | None = None) -> str:
    """``✓ reproduced``: the symbol is decoration, the word carries the meaning and depends on the kind of ``claim``."""
    return f"{SYMBOLS[word]} {word if claim is None else named(claim, word)}"


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
