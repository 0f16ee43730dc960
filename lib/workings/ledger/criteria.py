"""The pieces of a claims file: claims, the criteria that test them, and what they say of the paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from workings import TIERS, paths
from workings.ledger.rounding import plain

COMPARISONS: dict[str, tuple[str, ...]] = {
    "at_most": ("target",),
    "at_least": ("target",),
    "within": ("target", "tolerance"),
    "between": ("low", "high"),
    "equals": ("target",),
    "holds": (),
}
"""The comparisons and the numbers each one needs."""


@dataclass(frozen=True)
class Criterion:
    """What counts as reproduced at one tier, decided before the run.

    ``indicative`` is the reason why meeting it is only a hint at this scale, or ``None``.
    """

    compare: str
    target: float | None = None
    tolerance: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    indicative: str | None = None

    def met(self, value: float | bool) -> bool:
        """Whether ``value`` satisfies the criterion; bounds belong to it.

        Two decimals such as 1.28 and 1.33 are 0.05 apart for a reader and a few 1e-17 more for a
        processor, so ``within`` forgives four units in the last place.
        """
        if self.compare == "holds":
            return bool(value)
        if self.compare == "at_most":
            return bool(value <= self.target)
        if self.compare == "at_least":
            return bool(value >= self.target)
        if self.compare == "within":
            slack = 4 * math.ulp(max(abs(value), abs(self.target)))
            return bool(abs(value - self.target) <= self.tolerance + slack)
        if self.compare == "between":
            return bool(self.low <= value <= self.high)
        return bool(value == self.target)

    def text(self) -> str:
        """The criterion in words: ``within 0.05 of 1.33 target sd``."""
        if self.compare == "holds":
            return "holds"
        if self.compare == "within":
            words = f"within {plain(self.tolerance)} of {plain(self.target)}"
        elif self.compare == "between":
            words = f"between {plain(self.low)} and {plain(self.high)}"
        else:
            lead = {"at_most": "at most", "at_least": "at least", "equals": "equal to"}[self.compare]
            words = f"{lead} {plain(self.target)}"
        return f"{words} {self.unit}" if self.unit else words


@dataclass(frozen=True)
class NotPlanned:
    """A tier at which the claim is not tested, and why."""

    reason: str


@dataclass(frozen=True)
class PaperNumber:
    """The paper's figure: a number, a text such as ``1.33 (.09)``, or nothing."""

    value: float | str | None = None
    unit: str | None = None
    note: str | None = None

    def text(self) -> str:
        """The figure with its unit and note; ``no number`` when the paper gives none."""
        if self.value is None:
            return self.note or "no number"
        shown = self.value if isinstance(self.value, str) else plain(self.value)
        shown = f"{shown} {self.unit}" if self.unit else shown
        return f"{shown} ({self.note})" if self.note else shown


@dataclass(frozen=True)
class Claim:
    """One claim: its words, where the paper makes it, the paper's figure and two criteria."""

    id: str
    claim: str
    where: str
    paper: PaperNumber
    demo: Criterion | NotPlanned
    full: Criterion | NotPlanned

    def plan(self, tier: str) -> Criterion | NotPlanned:
        """The criterion of ``tier`` (``demo`` or ``full``)."""
        return self.demo if check_tier(tier) == "demo" else self.full


@dataclass(frozen=True)
class Reference:
    """The paper: ``key`` is its key in the bibliography."""

    authors: str
    year: int
    key: str
    venue: str | None = None
    arxiv: str | None = None
    doi: str | None = None


@dataclass(frozen=True)
class Chapter:
    """A chapter's claims file."""

    slug: str
    part: str
    title: str
    paper: Reference
    claims: tuple[Claim, ...]

    def ids(self) -> list[str]:
        """The claims' ids, in order."""
        return [claim.id for claim in self.claims]

    def claim(self, claim_id: str) -> Claim:
        """The claim called ``claim_id``; otherwise ``ValueError`` with the known ids."""
        for claim in self.claims:
            if claim.id == claim_id:
                return claim
        hint = paths.did_you_mean(str(claim_id), self.ids())
        raise ValueError(f"{self.slug} has no claim {claim_id!r}{hint} Known: {', '.join(self.ids())}.")


def check_tier(tier: Any) -> str:
    """``tier`` if it is ``demo`` or ``full``, else ``ValueError``."""
    if tier not in TIERS:
        hint = paths.did_you_mean(str(tier), TIERS)
        raise ValueError(f"Unknown tier {tier!r}{hint} Tiers: {', '.join(TIERS)}.")
    return tier
