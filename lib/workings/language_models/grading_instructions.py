"""Graders of LiveBench's instruction following: sixteen instructions that a program can check.

Source: White et al. 2024 (arXiv 2406.19314), which takes them from IFEval (Zhou et al. 2023); in our own words. One check
differs in kind: sentences are counted by end marks, where the authors use a trained splitter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from workings.checks import as_int
from workings.language_models.answer_extraction import as_text
from workings.language_models.grading import Grade, grader, half_all_half_share

_SENTENCE_MARK = re.compile(r"[.,?!'\"]")
_STARS, _DASHES = re.compile(r"(?m)^[^\S\n]*\*[^*].*"), re.compile(r"(?m)^[^\S\n]*-")
_POSTSCRIPTS = {"P.S.": re.compile(r"p\.\s?s\."), "P.P.S": re.compile(r"p\.\s?p\.\s?s")}
_RELATIONS = {"at least": lambda n, k: n >= k, "less than": lambda n, k: n < k}


def _compare(count: int, relation: str, number: int) -> bool:
    if relation not in _RELATIONS:
        raise ValueError(f"relation must be 'at least' or 'less than', got {relation!r}.")
    return _RELATIONS[relation](count, as_int(number, "number", minimum=0))


def _words(words: Sequence[str]) -> Sequence[str]:
    if isinstance(words, str) or not words:
        raise ValueError(f"words must be a list of words that is not empty, got {words!r}.")
    return words


def _paragraphs(text: str, mark: str) -> list[str] | None:
    """Parts between marks; empty ones may stand at the ends only (else None)."""
    parts = [part.strip() for part in re.split(mark, text)]
    parts = parts[1:] if parts and not parts[0] else parts
    parts = parts[:-1] if parts and not parts[-1] else parts
    return None if not all(parts) else parts


def _nth_first_word(text: str, total: int, place: int, word: str) -> bool:
    """Paragraphs end at two line ends; blank ones are not counted in the total, but they are where the place is looked up."""
    parts = text.split("\n\n")
    place = as_int(place, "place", minimum=1)
    filled = sum(not (part.isspace() or not part) for part in parts)
    if filled != as_int(total, "total", minimum=1) or place > filled or not parts[place - 1].split():
        return False
    first = parts[place - 1].split(maxsplit=1)[0].lstrip("'").lstrip('"')
    return _SENTENCE_MARK.split(first, maxsplit=1)[0].lower() == word.lower()


def _is_json(text: str) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    text = text.removesuffix("```").strip()
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(text: str) -> bool:
    """A line has "<<", something, and ">>"; what stands between the first and the last of them is more than brackets and blanks."""
    if "<<" not in text:
        return False
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _has_postscript(text: str, mark: str) -> bool:
    known = _POSTSCRIPTS.get(mark.strip())
    if known is None:
        known = re.compile(r"\s+".join(r"\s*".join(map(re.escape, word)) for word in mark.lower().split()))
    return known.search(text.lower()) is not None


def _two_responses(text: str) -> bool:
    parts = [part.strip() for part in text.split("******")]
    kept = [part for i, part in enumerate(parts) if part or 0 < i < len(parts) - 1]
    return len(kept) == 2 and all(kept) and kept[0] != kept[1]


CHECKS: dict[str, Callable[..., bool]] = {
    "include keywords": lambda text, words: all(re.search(re.escape(w), text, re.IGNORECASE) for w in _words(words)),
    "forbidden words": lambda text, words: (
        not any(re.search(rf"\b{re.escape(w)}\b", text, re.IGNORECASE) for w in _words(words))
    ),
    "number of words": lambda text, relation, number: _compare(len(re.findall(r"\w+", text)), relation, number),
    "number of sentences": lambda text, relation, number: _compare(
        sum(re.search(r"\w", part) is not None for part in re.split(r"[.!?]+", text)), relation, number
    ),
    "number of paragraphs": lambda text, number: (
        (parts := _paragraphs(text, r"\s?\*\*\*\s?")) is not None and len(parts) == as_int(number, "number", minimum=1)
    ),
    "first word of a paragraph": _nth_first_word,
    "bullets": lambda text, number: (
        len(_STARS.findall(text)) + len(_DASHES.findall(text)) == as_int(number, "number", minimum=0)
    ),
    "title": _has_title,
    "sections": lambda text, mark, number: (
        len(re.findall(rf"{re.escape(mark.strip())}\s?\d+", text)) >= as_int(number, "number", minimum=1)
    ),
    "json": _is_json,
    "two responses": _two_responses,
    "repeat the prompt first": lambda text, prompt: text.strip().lower().startswith(prompt.strip().lower()),
    "end phrase": lambda text, phrase: text.strip().strip('"').lower().endswith(phrase.strip().lower()),
    "quotation": lambda text: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"',
    "postscript": _has_postscript,
    "constrained option": lambda text, options: any(option in text for option in _words(options)),
}
"""Name of each instruction and its check: ``check(text, **options) -> bool``."""


def follows(name: str, text: str, **options: Any) -> bool:
    """Whether ``text`` follows the instruction ``name`` of :data:`CHECKS` with its ``options``.

    Raises ``ValueError`` for an unknown instruction and ``TypeError`` or ``ValueError`` for options it does not take.
    """
    if name not in CHECKS:
        raise ValueError(f"there is no instruction {name!r}; there are: {', '.join(CHECKS)}.")
    text = as_text(text, "text")
    try:
        return bool(text.strip()) and bool(CHECKS[name](text, **options))
    except TypeError as error:
        raise TypeError(f"instruction {name!r}: {error}.") from None


@grader(latest="2025-05-30")
def score_instructions(truth: Sequence[tuple[str, dict[str, Any]]], answer: str, *, rules: str, strict: bool) -> Grade:
    """Half for following all instructions, half for the share that is followed; ``truth`` is a list of (name, options).

    The rule names what was not followed. Releases from 2025-11-25 use other checkers, which are not here: ``ValueError`` for those, and
    without ``rules`` the checks are those of 2025-05-30, the last release before. Strict: a keyword counts as a whole word only.
    """
    if rules >= "2025-11-25":
        raise ValueError(f"from 2025-11-25 the benchmark uses other instructions (IFBench), got rules = {rules!r}.")
    pairs = list(truth) if isinstance(truth, (list, tuple)) else []
    if not pairs or any(len(pair) != 2 or not isinstance(pair[1], dict) for pair in pairs):
        raise ValueError("truth must be a list of (instruction, options) that is not empty.")
    broken = [name for name, options in pairs if not _followed(name, answer, options, strict)]
    rule = "all followed" if not broken else "not followed: " + ", ".join(broken)
    score = half_all_half_share(len(pairs) - len(broken), len(pairs))
    return Grade(score, f"strict: {rule}" if strict else rule, None)


def _followed(name: str, answer: str, options: dict[str, Any], strict: bool) -> bool:
    if strict and name == "include keywords":
        words = _words(options.get("words", ()))
        return all(re.search(rf"\b{re.escape(word)}\b", answer, re.IGNORECASE) for word in words)
    return follows(name, answer, **options)
