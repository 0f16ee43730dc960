"""Graders of LiveBench's reasoning tasks: web of lies, zebra puzzle, house traversal, spatial.

Each is ``score(truth, answer, *, rules, strict) -> Grade``. The official rules follow the authors' scorers, release by release,
with their oddities; ``strict=True`` is this book's own rule: find the final answer the same way for each of these tasks
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
    solution_tags,
)
from workings.language_models.grading import Grade, grader, half_all_half_share, official_box

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
_SPELLED = {str(n): word for n, word in enumerate(_NUMBERS[1:10], start=1)}
_SOLIDS = ("tetrahedra", "tetrahedron", "triangle", "square")
_STARRED = re.compile(r"\*\*\*(\w+)\*\*\*")
_PLAIN_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_RUN_OF_STARS, _PAIRED_STARS = "*" * 9, re.compile(r"(\*{2,})(.*?)\1")
_WORD = re.compile(r"\w+")


def _texts(truth: Any, name: str = "truth") -> list[str]:
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"{name} must be a text that is not empty, got {truth!r}.")
    return truth.split(",")


def _tags(answer: str) -> list[str]:
    if "</solution>" not in answer:
        return []
    return solution_tags(answer) or solution_tags(answer, opener="</solution>")


def _star_spans(text: str, most: int) -> list[str]:
    """The last spans, as many as ``most`` or more, on one line between two equal runs of two or more stars.

    The first run is taken as long as a second one allows. Among runs of nine stars and more, which nobody writes, trying all
    lengths would take forever: there the second run only has to be at least as long as the first.
    """
    if "***" not in text:
        return bold_spans(text)
    if _RUN_OF_STARS not in text:
        return [span for _, span in _PAIRED_STARS.findall(text)[-most:]]
    return [span for line in text.split("\n") for span in _between_stars(line)]


def _between_stars(line: str) -> list[str]:
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

    Until April 2025 0 or 1. Cascade: the tag, with its case (a closing tag may open it); the last three of yes, no, unknown among
    bold words; a box; the latest of the 27 triples in the text. Right if equal to the truth, or if it holds the truth and the counts
    of yes, no and unknown (which holds a "no") add to 3. From 2025-04-02 no bold step, tags that open as tags do, no text wrapper
    in a box, split at commas without trimming, and half of the score for the share. Strict: three words, in any case and spacing.
    """
    parts = [part.strip().lower() for part in _texts(truth)]
    wanted = truth.lower()
    for part in parts:
        if part not in _WORDS:
            raise ValueError(f"truth must be yes, no or unknown between commas, got {truth!r}.")
    if strict:
        found, place = final_answer(answer)
        said = re.findall(r"\b(?:yes|no|unknown)\b", found.lower())
        return Grade(float(said == parts), f"strict: words of the {place or 'text'}", found)
    later = rules >= "2025-04-02"
    parsed, rule = None, "nothing found"
    if tags := solution_tags(answer) if later else _tags(answer):
        parsed, rule = tags[-1], "tag"
    if parsed is None and not later:
        words = [w.lower().replace(",", "").replace(".", "") for span in bold_spans(answer) for w in span.split()]
        last = [word for word in words if word in _WORDS][-3:]
        if last:
            parsed, rule = ", ".join(last), "bold words"
    if parsed is None or not parsed.strip():
        boxed = official_box(answer.replace("\\textbf{", "\\boxed{"))
        if boxed is not None:
            parsed, rule = boxed.replace("\\text{", "").replace("}", "") if later else boxed, "box"
    if parsed is None:
        lowered, last = answer.lower(), -1
        for triple in _TRIPLES:
            place = lowered.find(triple)
            if place > last:
                last, parsed, rule = place, triple, "latest triple in the text"
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
        if spans := _STARRED.findall(answer):
            word = spans[-1]
        elif backwards := _WORD.search(answer[::-1]):
            word = backwards[0][::-1]
        else:
            return Grade(0.0, "no word")
        said, target = word.lower(), truth.lower()
        right = said == target or _SPELLED.get(word) == target or said + " movies" == target
        return Grade(float(right), "bold word" if spans else "last word", word)
    found, rule = _tags(answer), "tag"
    if not found and (boxed := official_box(answer)) is not None:
        found, rule = [boxed.replace("\\text{", "").replace("}", "").replace("\\", "")], "box"
    if not found:
        line = answer.strip().rpartition("\n")[2]
        if line.count(",") == len(wanted) - 1:
            found, rule = [line], "last line"
    if not found:
        return Grade(0.0, "nothing found")
    if len(found) > 1:
        said, rule = ",".join(found).split(",")[-len(wanted) :], "last items of several tags"
    else:
        said = found[0].split(",")
    right = 0
    for gold, item in zip(wanted, said, strict=False):
        read = item.strip().lower().replace("-", " ").replace("position", "")
        right += gold.strip().lower().replace("-", " ") in read
    return Grade(half_all_half_share(right, len(wanted)), rule, ",".join(said))


@grader
def score_house_traversal(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Names in the order in which houses are passed, ``truth`` with spaces between them; withdrawn by the authors. 0 or 1.

    The names in order inside the last bold span, or the last bold spans are those names, one each, in order. Strict: the final
    answer is those names, between commas or spaces, and nothing else.
    """
    _texts(truth)
    names = truth.lower().replace(",", " ").split()
    if strict:
        found, place = final_answer(answer)
        said = canonical(found.replace(",", " ").replace("->", " ")).split()
        return Grade(float(said == [canonical(n) for n in names]), f"strict: names of the {place or 'text'}", found)
    spans = _star_spans(answer.lower(), len(names))
    if not spans:
        return Grade(0.0, "no bold span")
    if spans[-len(names) :] == names:
        return Grade(1.0, "last bold spans", ", ".join(spans[-len(names) :]))
    span, place, rising = spans[-1], -1, True
    for name in names:
        last, place = place, span.find(name)
        if place <= last:
            rising = False
            break
    return Grade(float(rising), "last bold span", span)


@grader
def score_spatial(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """A shape or a count, 0 or 1.

    The whole answer is the truth; or any of the last three bold spans equals it in any case, or is its number word; for four solids
    holding the truth is enough while the span is shorter than twice the truth's length plus five; else a box, letter for letter but
    without wrappers for text and bold. Strict: the final answer equals the truth.
    """
    _texts(truth)
    wanted = truth.strip().lower()
    if strict:
        found, place = final_answer(answer)
        return Grade(float(_normalised(found) == _normalised(wanted)), f"strict: the {place or 'text'}", found)
    if answer == truth:
        return Grade(1.0, "the whole answer", answer)
    spans = [span.strip().lower() for span in _PLAIN_BOLD.findall(answer)[-3:]]
    for span in reversed(spans):
        if span == wanted or _DIGIT_OF.get(span) == wanted:
            return Grade(1.0, "one of the last three bold spans", span)
        if wanted in _SOLIDS and wanted in span and len(span) < 2 * len(wanted) + 5:
            return Grade(1.0, "bold span holds the solid", span)
    boxed = official_box(answer)
    if boxed is not None:
        said = boxed.replace("\\textbf{", "").replace("\\mathbf{", "").replace("\\text{", "").replace("}", "")
        return Grade(float(said == truth), "box", said)
    return Grade(0.0, "bold spans differ" if spans else "no bold span", spans[-1] if spans else None)
