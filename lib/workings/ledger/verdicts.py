"""What the recorded values say about a claim: five verdicts, computed and never typed."""

from __future__ import annotations

from workings.ledger.criteria import SOURCES, Claim, Criterion, NotPlanned
from workings.ledger.results import Result

REPRODUCED = "reproduced"
SMALLER = "same direction, smaller scale"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NOT_RUN = "not run"
SYMBOLS = {REPRODUCED: "✓", SMALLER: "≈", NOT_REPRODUCED: "✗", UNDECIDED: "?", NOT_RUN: "–"}
"""The five verdicts and the symbol beside each word."""

WORDS = {
    "paper": {},
    "identity": {REPRODUCED: "holds", SMALLER: "holds at smaller scale", NOT_REPRODUCED: "does not hold"},
    "authors-code": {
        REPRODUCED: "agrees with the authors' code",
        SMALLER: "agrees at smaller scale",
        NOT_REPRODUCED: "differs from the authors' code",
    },
    "ours": {REPRODUCED: "holds", SMALLER: "holds at smaller scale", NOT_REPRODUCED: "does not hold"},
}
"""How a verdict is called for each kind of claim, where it is not called as for a paper's."""

MET, FAILED, OPEN = "met", "not met", "undecided"
"""What one run says: its criterion is met, is not met, or the run cannot tell."""


def named(claim: Claim, word: str) -> str:
    """The verdict ``word`` as it is called for a claim of this kind."""
    return WORDS[claim.kind].get(word, word)


def open_because(plan: Criterion, result: Result) -> str | None:
    """Why a run cannot tell whether the criterion is met; ``None`` when it can."""
    if result.run in plan.withdrawn:
        return plan.withdrawn[result.run]
    if result.too_small:
        return result.too_small
    error = result.standard_error()
    if error and plan.margin(result.value) <= error:
        return "the value lies within one standard error of the line"
    return None


def outcome(plan: Criterion | NotPlanned, result: Result | None) -> str | None:
    """:data:`MET`, :data:`FAILED` or :data:`OPEN`; ``None`` without a run, or when it measured something else.

    A row says in which unit its value is. When the criterion was rewritten for another quantity since, the old value
    says nothing about it.
    """
    if result is None or isinstance(plan, NotPlanned) or (result.unit is not None and result.unit != plan.unit):
        return None
    if open_because(plan, result):
        return OPEN
    return MET if plan.met(result.value) else FAILED


def verdict(claim: Claim, demo: Result | None, full: Result | None) -> str:
    """What the two tiers together say about a claim. Pure; criteria are compared with the values here.

    A tier *decides* when its criterion is not marked indicative. Per tier: ``-`` no result (not run or not planned),
    ``yes``/``no`` criterion met or not by a deciding tier, ``(yes)``/``(no)`` by an indicative one, ``?`` a run that
    cannot tell: too small, withdrawn, or within one standard error of the line.

    ========  =======================  =============================
    full      demo                     verdict
    ========  =======================  =============================
    no, (no)  anything                 not reproduced
    anything  no                       not reproduced
    yes       -, yes, (yes), (no), ?   reproduced
    (yes)     -, yes, (yes), (no), ?   same direction, smaller scale
    ?         -, yes, (yes), (no), ?   undecided
    \\-        ?                        undecided
    \\-        (no), full planned       undecided
    \\-        (no), full unplanned     not reproduced
    \\-        yes, full planned        same direction, smaller scale
    \\-        yes, full unplanned      reproduced
    \\-        (yes)                    same direction, smaller scale
    \\-        \\-                       not run
    ========  =======================  =============================

    In words: a failed run at full scale, or failing a demo that decides, settles the matter. An indicative demo that
    fails is overruled by a full run, so it settles nothing while that run is still planned. A demo alone reproduces a
    claim only when it decides and nothing larger is planned. What nobody here read of a
    paper is neither reproduced nor refuted: both become undecided; and where not even others quote it, nobody here knows its direction either. Raises ``ValueError`` for a result of a tier that is not planned.
    """
    return decide(claim, demo, full)[0]


def decide(claim: Claim, demo: Result | None, full: Result | None) -> tuple[str, str]:
    """The verdict and, in words, why."""
    for tier, plan, result in (("demo", claim.demo, demo), ("full", claim.full, full)):
        if result is not None and isinstance(plan, NotPlanned):
            raise ValueError(f"{claim.id} has a result at tier {tier!r}, which is not planned: {plan.not_planned}.")
    word, why = _decide(claim, demo, full)
    decided = (REPRODUCED, NOT_REPRODUCED) + ((SMALLER,) if claim.paper.source == "not read" else ())
    if word in decided and claim.kind == "paper" and not claim.paper.read:
        why += f", but the paper's own statement was not read here ({SOURCES[claim.paper.source]})"
        return UNDECIDED, why
    return word, why


def _decide(claim: Claim, demo: Result | None, full: Result | None) -> tuple[str, str]:
    here, there = outcome(claim.demo, demo), outcome(claim.full, full)
    larger_planned = isinstance(claim.full, Criterion)
    decides = isinstance(claim.demo, Criterion) and claim.demo.indicative is None
    if there == FAILED:
        return NOT_REPRODUCED, "the full run did not meet its criterion"
    if here == FAILED and decides:
        return NOT_REPRODUCED, "the demo, which decides, did not meet its criterion"
    if there == MET and claim.full.indicative:
        return SMALLER, "the full run met its criterion, at a scale, or on data, that makes it only a hint"
    if there == MET:
        return REPRODUCED, "the full run met its criterion"
    if there == OPEN:
        return UNDECIDED, f"the full run settles nothing, because {open_because(claim.full, full)}"
    if here == OPEN:
        return UNDECIDED, f"the demo settles nothing, because {open_because(claim.demo, demo)}"
    if here == FAILED and larger_planned:
        return UNDECIDED, "the demo did not meet its criterion, but only a full run would decide, and none is recorded"
    if here == FAILED:
        return NOT_REPRODUCED, "the demo did not meet its criterion, and nothing larger is planned"
    if here == MET and larger_planned:
        return SMALLER, "the demo met its criterion; no full run is recorded"
    if here == MET and decides:
        return REPRODUCED, "the demo met its criterion, and nothing larger is needed"
    if here == MET:
        return SMALLER, "the demo met its criterion, at a scale, or on data, that makes it only a hint"
    return NOT_RUN, "no run that tests this claim is recorded"
