"""What the recorded values say about a claim: four verdicts, computed and never typed."""

from __future__ import annotations

from workings.ledger.criteria import Claim, Criterion, NotPlanned
from workings.ledger.results import Result

REPRODUCED = "reproduced"
SMALLER = "same direction, smaller scale"
NOT_REPRODUCED = "not reproduced"
NOT_RUN = "not run"
SYMBOLS = {REPRODUCED: "✓", SMALLER: "≈", NOT_REPRODUCED: "✗", NOT_RUN: "–"}
"""The four verdicts and the symbol beside each word."""


def verdict(claim: Claim, demo: Result | None, full: Result | None) -> str:
    """What the two tiers together say about a claim. Pure; criteria are compared with the values here.

    A tier *decides* when its criterion is not marked indicative. Per tier: ``-`` no result (not run or not
    planned), ``yes``/``no`` criterion met or not by a deciding tier, ``(yes)``/``(no)`` by an indicative one.

    ========  ==================  =============================
    full      demo                verdict
    ========  ==================  =============================
    no, (no)  anything            not reproduced
    yes       no                  not reproduced
    yes       -, yes, (yes), (no) reproduced
    (yes)     no                  not reproduced
    (yes)     -, yes, (yes), (no) same direction, smaller scale
    \\-        no, (no)            not reproduced
    \\-        yes, full planned   same direction, smaller scale
    \\-        yes, full unplanned reproduced
    \\-        (yes)               same direction, smaller scale
    \\-        \\-                   not run
    ========  ==================  =============================

    In words: a failed run at full scale, or failing a demo that decides, settles the matter; an indicative
    demo that fails is overruled by a full run. A demo alone reproduces a claim only when it decides and
    nothing larger is planned. Raises ``ValueError`` for a result of a tier that is not planned.
    """
    for tier, plan, result in (("demo", claim.demo, demo), ("full", claim.full, full)):
        if result is not None and isinstance(plan, NotPlanned):
            raise ValueError(f"{claim.id} has a result at tier {tier!r}, which is not planned: {plan.not_planned}.")
    demo_met = None if demo is None else claim.demo.met(demo.value)
    full_met = None if full is None else claim.full.met(full.value)
    demo_decides = isinstance(claim.demo, Criterion) and claim.demo.indicative is None
    if full_met is False or (demo_met is False and (demo_decides or full_met is None)):
        return NOT_REPRODUCED
    if full_met:
        return SMALLER if claim.full.indicative else REPRODUCED
    if demo_met is None:
        return NOT_RUN
    return REPRODUCED if demo_decides and isinstance(claim.full, NotPlanned) else SMALLER
