"""The pieces of a claims file: claims, the criteria that test them, and what they say of the paper.

All are pydantic dataclasses: they are checked when a file is read and when somebody makes one in Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Strict, Tag, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from workings import TIERS, paths
from workings.ledger.rounding import plain

_FORBID = ConfigDict(extra="forbid")

COMPARISONS: dict[str, tuple[str, ...]] = {
    "at_most": ("target",),
    "at_least": ("target",),
    "within": ("target", "tolerance"),
    "between": ("low", "high"),
    "equals": ("target",),
    "holds": (),
}
"""The comparisons and the numbers each one needs."""

KINDS = {
    "paper": "claims of the paper",
    "identity": "identities",
    "authors-code": "comparisons with the authors' code",
    "ours": "claims of this collection",
}
"""The four kinds of claims, which are never counted together. An *identity* holds by construction or by a proof: a run checks
our code, not the world. *authors-code* repeats a run of the authors' code, whose number the paper does not print."""

SOURCES = {
    "paper": "read in the paper",
    "abstract": "read in the paper's abstract",
    "plot": "read off a plot of the paper or of its code's pages",
    "official code": "read in the authors' code or its pages",
    "our run of the authors' code": "from our own run of the authors' code",
    "later paper": "read in a later paper",
    "quoted by others": "as others quote it; not read in the paper",
    "not read": "not read",
    "this collection": "no source: this collection's own claim",
}
"""Where what a row says of the paper comes from."""
UNREAD = ("quoted by others", "not read")

_OTHER_WORDS = {"less": "at_most", "max": "at_most", "<=": "at_most", "more": "at_least", "min": "at_least"}
_OTHER_WORDS |= {">=": "at_least", "close": "within", "approx": "within", "range": "between", "==": "equals"}
_OTHER_WORDS |= {"equal": "equals", "true": "holds", "boolean": "holds"}

ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")


def _misfit(what: str) -> PydanticCustomError:
    """A complaint that is a whole sentence and does not begin with the key's name."""
    return PydanticCustomError("misfit", "{what}", {"what": what})


def _one_of(known: Iterable[str]) -> AfterValidator:
    def check(word: str) -> str:
        if word not in known:
            hint = paths.did_you_mean(word, list(known)).rstrip(".")
            raise ValueError(f"must be one of {', '.join(known)}; found {word!r}{hint}")
        return word

    return AfterValidator(check)


def _one_line(words: str) -> str:
    words = " ".join(words.split())
    if not words:
        raise ValueError("is empty")
    return words


def _finite(value: Any) -> Any:
    """A number as YAML or Python gives it. YAML reads ``1e-10``, without a dot, as text: say how to write it."""
    if isinstance(value, str):
        try:
            finite = math.isfinite(float(value))
        except ValueError:
            finite = False
        if finite:
            mantissa, _, power = value.lower().partition("e")
            better = f"{float(mantissa)!r}e{int(power):+d}" if power else value.strip()
            raise ValueError(f"is text to YAML: instead of {value!r} write {better}")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"must be a finite decimal number, found {getattr(value, 'value', value)!r}")
    return value


def _number_or_text(value: Any) -> Any:
    return value if value is None else _one_line(value) if isinstance(value, str) else _finite(value)


def _in_range(low: float, high: float, words: str) -> AfterValidator:
    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be {words}, found {plain(value)}")
        return value

    return AfterValidator(check)


def _known_comparison(word: str) -> str:
    if word not in COMPARISONS:
        words = [*COMPARISONS, *_OTHER_WORDS]
        hint = paths.did_you_mean(word, words).rstrip(".")
        hint = re.sub(r"'([^']+)'", lambda close: repr(_OTHER_WORDS.get(close[1], close[1])), hint)
        raise _misfit(f"unknown comparison {word!r}; allowed: {', '.join(COMPARISONS)}{hint}")
    return word


def _at_least_one(claims: tuple) -> tuple:
    if not claims:
        raise _misfit("'claims' must be a list with at least one claim")
    return claims


def _like_an_id(word: str) -> str:
    if not ID.fullmatch(word):
        raise ValueError(f"{word!r} must look like css-1: small letters, digits, hyphens")
    return word


Text = Annotated[str, Strict(), AfterValidator(_one_line)]
Number = Annotated[Any, BeforeValidator(_finite)]


@dataclass(frozen=True, config=_FORBID)
class Criterion:
    """What counts as reproduced at one tier, decided before the run.

    ``indicative`` is the reason why meeting it is only a hint at this scale, or ``None``. ``set`` says when the criterion
    was written and what was known then; what begins with "before" is checked against git. ``withdrawn`` maps recorded runs
    to the reason why they settle nothing.
    """

    compare: Annotated[Text, AfterValidator(_known_comparison)]
    target: Number | None = None
    tolerance: Annotated[Number, _in_range(0, math.inf, "zero or more")] | None = None
    low: Number | None = None
    high: Number | None = None
    unit: Text | None = None
    indicative: Text | None = None
    set: Text | None = None
    withdrawn: dict[Text, Text] = field(default_factory=dict)

    @model_validator(mode="after")
    def _has_its_numbers(self) -> Criterion:
        numbers = {"target": self.target, "tolerance": self.tolerance, "low": self.low, "high": self.high}
        given = {key for key, value in numbers.items() if value is not None}
        needed = COMPARISONS[self.compare]
        wrong = {key: f"comparison {self.compare!r} needs {key!r}" for key in needed if key not in given}
        wrong |= {
            key: f"comparison {self.compare!r} does not use {key!r}; remove it" for key in given.difference(needed)
        }
        if not wrong and self.compare == "between" and self.low > self.high:
            wrong = {"low": f"'low' ({plain(self.low)}) is above 'high' ({plain(self.high)})"}
        if wrong:
            errors = [InitErrorDetails(type=_misfit(what), loc=(key,), input=None) for key, what in wrong.items()]
            raise ValidationError.from_exception_data("Criterion", errors)
        return self

    def met(self, value: float | bool) -> bool:
        """Whether ``value`` satisfies the criterion; bounds belong to it.

        Two decimals such as 1.28 and 1.33 are 0.05 apart for a reader and a few 1e-17 more for a
        processor, so ``within`` forgives four units in the last place.
        """
        if self.compare == "holds":
            return bool(value)
        if self.compare == "within":
            slack = 4 * math.ulp(max(abs(value), abs(self.target)))
            return bool(abs(value - self.target) <= self.tolerance + slack)
        low, high = self.bounds()
        return bool(low <= value <= high)

    def margin(self, value: float | bool) -> float:
        """The distance between ``value`` and the nearest line that it could cross; infinite where there is no line."""
        if self.compare in ("holds", "equals"):
            return math.inf
        return min(abs(value - bound) for bound in self.bounds() if math.isfinite(bound))

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value that satisfies a criterion on numbers."""
        if self.compare == "within":
            return self.target - self.tolerance, self.target + self.tolerance
        if self.compare == "between":
            return self.low, self.high
        return (
            -math.inf if self.compare == "at_most" else self.target,
            math.inf if self.compare == "at_least" else self.target,
        )

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


@dataclass(frozen=True, config=_FORBID)
class NotPlanned:
    """A tier at which the claim is not tested, and why."""

    not_planned: Text


def _kind_of_plan(plan: Any) -> str:
    return "no" if isinstance(plan, NotPlanned) or (isinstance(plan, dict) and "not_planned" in plan) else "yes"


Plan = Annotated[Annotated[Criterion, Tag("yes")] | Annotated[NotPlanned, Tag("no")], Discriminator(_kind_of_plan)]


@dataclass(frozen=True, kw_only=True, config=_FORBID)
class PaperNumber:
    """The paper's figure: a number, a text such as ``1.33 (.09)``, or nothing; ``source`` is a key of :data:`SOURCES`."""

    value: Annotated[Any, BeforeValidator(_number_or_text)] = None
    unit: Text | None = None
    note: Text | None = None
    source: Annotated[Text, _one_of(SOURCES)]

    @model_validator(mode="after")
    def _quotes_only_what_was_read(self) -> PaperNumber:
        if self.source == "not read" and self.value is not None:
            raise _misfit("a number that nobody read is not quoted; give its source, or null for 'value'")
        return self

    @property
    def read(self) -> bool:
        """Whether somebody here read what the row says of the paper."""
        return self.source not in UNREAD

    def text(self) -> str:
        """The figure with its unit and note; ``no number`` when the paper gives none."""
        if self.value is None:
            return self.note or "no number"
        shown = self.value if isinstance(self.value, str) else plain(self.value)
        shown = f"{shown} {self.unit}" if self.unit else shown
        return f"{shown} ({self.note})" if self.note else shown


@dataclass(frozen=True, config=_FORBID)
class Claim:
    """One claim: its words, its kind (a key of :data:`KINDS`), where the paper makes it, the paper's figure, two criteria."""

    id: Annotated[Text, AfterValidator(_like_an_id)]
    kind: Annotated[Text, _one_of(KINDS)]
    claim: Text
    where: Text
    paper: PaperNumber
    demo: Plan
    full: Plan

    @model_validator(mode="after")
    def _is_tested_somewhere(self) -> Claim:
        if isinstance(self.demo, NotPlanned) and isinstance(self.full, NotPlanned):
            raise _misfit("no tier is planned, so the claim can never be tested; give one a criterion")
        own = self.paper.source == "this collection"
        if own != (self.kind == "ours") and not (own and self.kind == "identity"):
            raise _misfit(
                "kind 'ours' and source 'this collection' belong together; of the others only an identity may be our own"
            )
        for tier in TIERS:
            if getattr(self.plan(tier), "set", "") is None:
                raise _misfit(
                    f"tier {tier!r}: key 'set' is missing: when was the criterion written, and what was known?"
                )
        return self

    def plan(self, tier: str) -> Criterion | NotPlanned:
        """The criterion of ``tier`` (``demo`` or ``full``)."""
        return self.demo if check_tier(tier) == "demo" else self.full


@dataclass(frozen=True, config=_FORBID)
class Reference:
    """The paper: ``key`` is its key in the bibliography."""

    authors: Text
    year: Annotated[Number, _in_range(1900, 2100, "a year such as 2024")]
    key: Text
    venue: Text | None = None
    arxiv: Text | None = None
    doi: Text | None = None


@dataclass(frozen=True, config=_FORBID)
class Chapter:
    """A chapter's claims file. ``source`` says in one or two sentences what of the paper was read and where its numbers come from."""

    chapter: Text
    part: Text
    title: Text
    paper: Reference
    source: Text
    claims: Annotated[tuple[Claim, ...], AfterValidator(_at_least_one)]

    @property
    def slug(self) -> str:
        return self.chapter

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
