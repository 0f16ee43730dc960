"""What every grader shares: the grade with its trace, the releases whose rules differ, and the frame around a rule."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workings.checks import one_of
from workings.language_models.answer_extraction import as_text, last_boxed, strip_think

RELEASES = (
    "2024-06-24",
    "2024-07-26",
    "2024-08-31",
    "2024-11-25",
    "2025-04-02",
    "2025-04-25",
    "2025-05-30",
    "2025-11-25",
    "2025-12-23",
    "2026-01-08",
)
"""Releases of LiveBench, oldest first; a grader's ``rules`` names one of them."""

LATEST = RELEASES[-1]
_BRACE = re.compile(r"[{}]")
LONGEST = 200_000
"""Characters of an answer that are graded; a longer one scores 0, so that no answer can take unbounded time."""


@dataclass(frozen=True, init=False)
class Grade:
    """A score in [0, 1], the ``rule`` that gave it, and the part of the answer that the rule looked at."""

    score: float
    rule: str
    found: str | None = None

    def __init__(self, score: float, rule: str, found: str | None = None) -> None:
        fields = (
            self.__dict__
        )  # one grade a call: the dataclass's own way of setting a frozen field takes three times as long
        fields["score"], fields["rule"], fields["found"] = score, rule, found

    def __float__(self) -> float:
        return float(self.score)


class OfficialError(Exception):
    """The authors' program ends in an error on this answer, which scores 0 there."""


def check_rules(rules: str) -> str:
    """``rules`` if it is a release of LiveBench, else ``ValueError`` with the list."""
    return one_of(rules, "rules", RELEASES)


def grader(rule: Callable[..., Grade] | None = None, *, latest: str = LATEST) -> Callable[..., Any]:
    """Frame around ``rule(truth, answer, *, rules, strict, ...)``: any answer gets a grade, never an exception.

    ``answer`` is a str or UTF-8 bytes. Think blocks are dropped (an unclosed one only by the strict rule). An empty answer
    and one of more than :data:`LONGEST` characters score 0. Where the authors' program fails on an answer, the official
    rule scores 0 and says so. A wrong *truth*, ``rules`` or option raises ``ValueError`` or ``TypeError``: that is the caller's mistake.
    ``rules`` is ``latest`` unless the caller names a release; ``@grader(latest=...)`` is for a rule that ends before the last one.
    """
    if rule is None:
        return functools.partial(grader, latest=latest)
    check_rules(latest)

    @functools.wraps(rule)
    def graded(truth: Any, answer: str | bytes, *, rules: str = latest, strict: bool = False, **options: Any) -> Grade:
        if rules is not latest:
            check_rules(rules)
        if strict is not False and strict is not True:
            raise TypeError(f"strict must be True or False, got {strict!r}.")
        text = answer if isinstance(answer, str) else as_text(answer)
        if "<think>" in text:
            text = strip_think(text, unclosed=strict)
        if len(text) > LONGEST:
            return Grade(0.0, f"longer than {LONGEST:,} characters, not read")
        if not text or text.isspace():
            rule(truth, "-", rules=rules, strict=strict, **options)  # a wrong truth is refused all the same
            return Grade(0.0, "empty answer")
        try:
            if not options:
                return rule(truth, text, rules=rules, strict=strict)
            return rule(truth, text, rules=rules, strict=strict, **options)
        except OfficialError as error:
            return Grade(0.0, f"official program fails: {error}")

    return graded


def official_box(answer: str) -> str | None:
    r"""The argument of the last box (:func:`~workings.language_models.answer_extraction.last_boxed`), as the authors' program reads it.

    ``None`` where there is no box or its braces do not balance. :class:`OfficialError` where their program ends in an error: the
    braces balance, and something stands between ``\boxed`` and the first of them.
    """
    name = "\\boxed" if "\\boxed" in answer else "\\fbox"
    start = answer.rfind(name)
    if start < 0:
        return None
    found = last_boxed(answer)
    if found is None and not answer.startswith("{", start + len(name)) and _closes(answer, start):
        raise OfficialError("no brace follows \\boxed at once")
    return found


def _closes(text: str, start: int) -> bool:
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if brace[0] == "{":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return True
    return False


def half_all_half_share(right: int, total: int) -> float:
    """LiveBench's partial credit: half for all right, half for the share that is right. In [0, 1]."""
    if total < 1 or not 0 <= right <= total:
        raise ValueError(f"need 0 <= right <= total and total >= 1, got right = {right}, total = {total}.")
    return ((right == total) + right / total) / 2
