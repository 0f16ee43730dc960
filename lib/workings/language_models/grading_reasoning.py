"""Graders of LiveBench's reasoning tasks: web of lies, zebra puzzle, house traversal, spatial.

Each is ``score(truth, answer, *, rules, strict) -> Grade``. The official rules follow the authors' scorers, release by release,
with their oddities; ``strict=True`` is this book's own rule: find the final answer the same way for every task
(:func:`~workings.language_models.answer_extraction.final_answer`), then compare item by item. Source: White et al. 2024
(arXiv 2406.19314), Appendix A, and the authors' code, in our own words.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from workings.language_models.answer_extraction import (
    bold_spans,
    canonical,
    final_answer,
    has_box,
    last_boxed,
    solution_tags,
)
from workings.language_models.grading import Grade, OfficialError, grader, half_all_half_share

_WORDS = ("yes", "no", "unknown")
_TRIPLES = tuple(", ".join(triple) for triple in itertools.product(_WORDS, repeat=3))
_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_DIGIT_OF = {word: str(n) for n, word in enumerate(_NUMBERS)}
_SOLIDS = ("tetrahedra", "tetrahedron", "triangle", "square")


def _texts(truth: Any, name: str = "truth") -> list[str]:
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"{name} must be a text that is not empty, got {truth!r}.")
    return truth.split(",")


def _tags(answer: str) -> list[str]:
    return solution_tags(answer) or solution_tags(answer, opener="</solution>")


def _box(answer: str) -> str | None:
    """The last box as the authors read it; an error where their program has one."""
    found = last_boxed(answer)
    if found is None and has_box(answer) and "\\boxed " not in answer:
        start = max(answer.rfind("\\boxed"), -1)
        start = start if start >= 0 else answer.rfind("\\fbox")
        name = "\\boxed" if answer.startswith("\\boxed", start) else "\\fbox"
        rest = answer[start + len(name) :]
        if not rest.startswith("{") and _closes(rest):
            raise OfficialError("no brace follows \\boxed at once")
    return found


def _closes(text: str) -> bool:
    depth = 0
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return True
    return False


def _between_stars(line: str) -> list[str]:
    """Spans between two runs of stars, the second at least as long as the first, which has two or more."""
    spans, opened = [], None
    for run in re.finditer(r"\*{2,}", line):
        if opened is None or len(run[0]) < len(opened[0]):
            opened = opened or run
        else:
            spans.append(line[opened.end() : run.start()])
            opened = None
    return spans


def _normalised(item: str) -> str:
    """An item of a list for the strict rules: number words as digits, the word "position" dropped."""
    text = canonical(item.replace("position", " "))
    return _DIGIT_OF.get(text, text)


@grader
def score_web_of_lies(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Three people, ``truth`` such as ``"yes, no, yes"``: who tells the truth?

    Until April 2025 0 or 1. Cascade: the tag, with its case; the last three of yes, no, unknown among bold words; a box; the
    latest of the 27 triples in the text. Right if equal to the truth, or if it holds the truth and the counts of yes, no and
    unknown (which holds a "no") add to 3. From 2025-04-02 no bold step, split at commas without trimming, and half of the
    score for the share. Strict: three words, in any case and spacing.
    """
    parts = [part.strip().lower() for part in _texts(truth)]
    wanted = truth.lower()
    if any(part not in _WORDS for part in parts):
        raise ValueError(f"truth must be yes, no or unknown between commas, got {truth!r}.")
    if strict:
        found, place = final_answer(answer)
        said = re.findall(r"\b(?:yes|no|unknown)\b", found.lower())
        return Grade(float(said == parts), f"strict: words of the {place or 'text'}", found)
    later = rules >= "2025-04-02"
    parsed, rule = None, "nothing found"
    if tags := _tags(answer):
        parsed, rule = tags[-1], "tag"
    if parsed is None and not later:
        words = [w.lower().replace(",", "").replace(".", "") for span in bold_spans(answer) for w in span.split()]
        last = [word for word in words if word in _WORDS][-3:]
        if last:
            parsed, rule = ", ".join(last), "bold words"
    if parsed is None or not parsed.strip():
        boxed = _box(answer.replace("\\textbf{", "\\boxed{"))
        if boxed is not None:
            parsed, rule = boxed, "box"
    if parsed is None:
        lowered = answer.lower()
        ends = [(lowered.find(triple), triple) for triple in _TRIPLES]
        place, triple = max(ends, key=lambda pair: pair[0])
        if place >= 0:
            parsed, rule = triple, "latest triple in the text"
    if not parsed:
        return Grade(0.0, rule)
    if later:
        said = parsed.split(",")
        right = sum(a == b for a, b in zip(said, wanted.split(","), strict=False))
        return Grade(half_all_half_share(right, len(parts)), f"{rule}, split at commas", parsed)
    if parsed == wanted:
        return Grade(1.0, f"{rule}, equal", parsed)
    counts = sum(parsed.count(word) for word in _WORDS)
    held = counts == 3 and wanted in parsed
    return Grade(float(held), f"{rule}, {'holds the truth' if held else 'another text'}", parsed)


@grader
def score_zebra(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """A zebra puzzle: who has what?

    Before 2024-11-25 one word, 0 or 1: the last ``***word***`` of letters, digits and underscores, else the last word of the
    text; a digit equals its word. From then on a list between commas, half for all and half for the share: tags (the last
    items of several), else a box, else a last line with the right number of commas; an item is right if it *holds* the truth.
    Strict: the same number of items, each equal; digits and number words are the same.
    """
    wanted = _texts(truth)
    if strict:
        found, place = final_answer(answer)
        said = [_normalised(part) for part in found.split(",")]
        ours = [_normalised(part) for part in wanted]
        right = sum(a == b for a, b in zip(said, ours, strict=False)) if len(said) == len(ours) else 0
        score = half_all_half_share(right, len(ours))
        return Grade(score if len(ours) > 1 else float(right == 1), f"strict: items of the {place or 'text'}", found)
    if rules < "2024-11-25":
        spans = re.findall(r"\*\*\*(\w+)\*\*\*", answer)
        words = spans or re.findall(r"\b\w+\b", answer)[-1:]
        if not words:
            return Grade(0.0, "no word")
        said, target = words[-1].lower(), truth.lower()
        spelled = {str(n): word for n, word in enumerate(_NUMBERS[1:10], start=1)}.get(words[-1])
        right = said == target or spelled == target or said + " movies" == target
        return Grade(float(right), "bold word" if spans else "last word", words[-1])
    found, rule = _tags(answer), "tag"
    if not found and (boxed := _box(answer)) is not None:
        found, rule = [boxed.replace("\\text{", "").replace("}", "").replace("\\", "")], "box"
    if not found:
        line = answer.strip().split("\n")[-1]
        if line.count(",") == len(wanted) - 1:
            found, rule = [line], "last line"
    if not found:
        return Grade(0.0, "nothing found")
    if len(found) > 1:
        said, rule = ",".join(found).split(",")[-len(wanted) :], "last items of several tags"
    else:
        said = found[0].split(",")
    clean = lambda item: item.strip().lower().replace("-", " ")
    right = sum(clean(gold) in clean(item).replace("position", "") for gold, item in zip(wanted, said, strict=False))
    return Grade(half_all_half_share(right, len(wanted)), rule, ",".join(said))


@grader
def score_house_traversal(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Names in the order in which houses are passed, ``truth`` with spaces between them; withdrawn by the authors. 0 or 1.

    The names in order inside the last bold span, or the last bold spans holding one name each, in order. Strict: the final
    answer is those names, between commas or spaces, and nothing else.
    """
    names = " ".join(_texts(truth)).lower().split()
    if strict:
        found, place = final_answer(answer)
        said = canonical(found.replace(",", " ").replace("->", " ")).split()
        return Grade(float(said == [canonical(n) for n in names]), f"strict: names of the {place or 'text'}", found)
    spans = [span for line in answer.lower().split("\n") for span in _between_stars(line)]
    if not spans:
        return Grade(0.0, "no bold span")
    if len(spans) >= len(names) and all(n in s for n, s in zip(names, spans[-len(names) :], strict=True)):
        return Grade(1.0, "last bold spans", ", ".join(spans[-len(names) :]))
    places = [spans[-1].find(name) for name in names]
    rising = all(a < b for a, b in itertools.pairwise([-1, *places]))
    return Grade(float(rising), "last bold span", spans[-1])


@grader
def score_spatial(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """A shape or a count, 0 or 1.

    Any of the last three bold spans equals the truth in any case, or is its number word; for four solids holding the truth is
    enough while the span is shorter than twice the truth's length plus five; else a box, exactly. Strict: the final answer equals the truth.
    """
    wanted = " ".join(_texts(truth)).strip().lower()
    if strict:
        found, place = final_answer(answer)
        return Grade(float(_normalised(found) == _normalised(wanted)), f"strict: the {place or 'text'}", found)
    spans = [span.strip().lower() for span in re.findall(r"\*\*([^*]+)\*\*", answer)[-3:]]
    for span in reversed(spans):
        if span == wanted or _DIGIT_OF.get(span) == wanted:
            return Grade(1.0, "one of the last three bold spans", span)
        if wanted in _SOLIDS and wanted in span and len(span) < 2 * len(wanted) + 5:
            return Grade(1.0, "bold span holds the solid", span)
    boxed = _box(answer)
    if boxed is not None:
        said = boxed.replace("\\text{", "").replace("}", "").strip().lower()
        return Grade(float(said == wanted), "box", said)
    return Grade(0.0, "bold spans differ" if spans else "no bold span", spans[-1] if spans else None)
