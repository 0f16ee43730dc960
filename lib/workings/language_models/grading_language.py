"""Graders of LiveBench's language tasks: connections, typos, plot unscrambling.

Official rules in our own words, and a strict rule of this book's; see
:mod:`workings.language_models.grading_reasoning`. Source: White et al. 2024 (arXiv 2406.19314) and the authors' code.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterator, Sequence

from workings.language_models.answer_extraction import (
    bold_spans,
    canonical,
    final_answer,
    solution_tags,
)
from workings.language_models.edit_distance import levenshtein
from workings.language_models.grading import Grade, OfficialError, grader, official_box

_WORK = 20_000_000
"""Products of lengths that difflib may compare for one answer (half a second); beyond it letters are only counted."""
_LETTERS = 10_000_000
"""Letters that may be counted for one answer (a second), with as many for a call as it costs; beyond it only lengths are compared."""
_CALL, _RATIO = 16, 100
_NO_SENTENCES = ("</PLOT_SUMMARY>", "**End of Plot Summary**")


def _filled_groups(words: Sequence[str]) -> list[set[str]]:
    """Sets of four, filled in order; a word that is in the set already does not advance it."""
    group: set[str] = set()
    groups = [group]
    for word in words:
        if len(group) == 4:
            group = set()
            groups.append(group)
        group.add(word.strip().lower())
    return groups


@grader
def score_connections(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Words in groups of four, ``truth`` as one list between commas: the share of groups that are found.

    From 2024-11-25: tag (also over line ends), else box; words are filled into sets of four; a group of the truth counts, once,
    where a group of the answer equals it (in the state of August 2026 the authors counted a group that the answer repeats each
    time; later they count it once). Before: each bold span is grouped, a group of the truth is found where an answer's group
    holds it, and the best span counts. Strict: as many words as asked for, each once, else 0.
    """
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"truth must be words between commas, got {truth!r}.")
    words = truth.split(",")
    wanted = _filled_groups(words)
    if strict:
        found, place = final_answer(answer)
        said = [canonical(word) for word in found.replace("\n", " ").split(",")]
        ours = [canonical(word) for word in words]
        if sorted(said) != sorted(ours):
            return Grade(0.0, f"strict: {place or 'text'} is not the words asked for", found)
        groups = lambda row: [frozenset(row[i : i + 4]) for i in range(0, len(row), 4)]
        share = len(set(groups(said)) & set(groups(ours))) / len(groups(ours))
        return Grade(share, f"strict: groups of the {place}", found)
    if rules < "2024-11-25":
        best, seen = 0, None
        fewest = min(map(len, wanted)) - 1  # commas of a span that can hold a group
        for span in bold_spans(answer.replace("\n", "")):
            found = 0
            if span.count(",") >= fewest:
                groups = _filled_groups(span.split(","))
                for gold in wanted:
                    for group in groups:
                        if gold <= group:
                            found += 1
                            break
            if seen is None or found > best:
                best, seen = found, span
        return Grade(best / len(wanted), "no bold span" if seen is None else "best bold span", seen)
    found, rule = [], "tag"
    if "</solution>" in answer:
        joined = answer.replace("\n", "")
        for opener in ("<solution>", "</solution>"):
            found = found or solution_tags(answer, opener=opener) or solution_tags(joined, opener=opener)
    if not found and "\\boxed" in answer:
        boxed = official_box(answer)
        if boxed is None:
            raise OfficialError("a box without balanced braces")
        found, rule = [boxed.replace("\\text{", "").replace("}", "").replace("\\", "")], "box"
    if not found:
        return Grade(0.0, "nothing found")
    said = [word for text in found for word in text.replace("\n", "").split(",")]
    if len(found) > 1:
        said, rule = said[-len(words) :], "last words of several tags"
    left = wanted.copy()
    for group in _filled_groups(said):
        if group in left:
            left.remove(group)
    return Grade((len(wanted) - len(left)) / len(wanted), rule, ",".join(said))


@grader
def score_typos(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """A text with its misspellings mended and nothing else changed, 0 or 1.

    Tag, else what stands between the last two `` --- `` of the first line that has two; lines joined by a space; right if the truth
    is a substring, letter for letter. Strict: the tag (or the whole answer) *is* the truth, whatever the line breaks.
    """
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"truth must be a text that is not empty, got {truth!r}.")
    if strict:
        tags = solution_tags(answer, dotall=True)
        found = tags[-1] if tags else answer
        return Grade(float(found.split() == truth.split()), f"strict: the {'tag' if tags else 'whole answer'}", found)
    tags, rule = solution_tags(answer), "tag"
    if tags:
        found = tags[-1]
    else:
        found, rule = answer.replace("<solution>", "").replace("</solution>", ""), "whole answer"
        if " --- " in found:
            for line in found.split("\n"):
                parts = line.split(" --- ")
                if len(parts) > 2:
                    found, rule = parts[-2], "between separators"
                    break
    found = " ".join(line for line in found.strip().split("\n") if line)
    return Grade(float(truth in found), rule, found)


def closest_sentences(sentences: Sequence[str], candidates: Sequence[str]) -> tuple[list[int], bool]:
    """For each of ``sentences`` the index of the most similar candidate by difflib's ratio, repeats allowed.

    Equal to ``difflib.get_close_matches`` with cutoff 0 (among equals the text that sorts last, then its first place), but a
    candidate is compared only when its upper bounds allow it to win. Where that would still take too long, letters are only
    counted (difflib's quick ratio), then only lengths compared, and the second value is False. Raises ``ValueError`` without candidates.
    """
    if isinstance(sentences, str) or isinstance(candidates, str):
        raise TypeError("sentences and candidates are lists of texts, not one text; split it first.")
    if not candidates:
        raise ValueError("candidates is empty; there must be at least one sentence to choose from.")
    first = {}
    for i, text in enumerate(candidates):
        first.setdefault(text, i)
    by_length: dict[int, list[str]] = {}
    for text in sorted(first, reverse=True):
        by_length.setdefault(len(text), []).append(text)
    work = letters = 0
    chosen, exact = [], True
    for sentence in sentences:
        if sentence in first or len(first) == 1:
            chosen.append(first.get(sentence, 0))
            continue
        matcher = difflib.SequenceMatcher()
        matcher.set_seq2(sentence)
        best: tuple[float, str] = (-1.0, "")
        for bound, text in _by_bound(by_length, len(sentence)):
            if bound < best[0]:
                break
            letters += len(text) + _CALL
            if letters > _LETTERS:
                best, exact = max(best, (0.0, text)), False
                break
            matcher.set_seq1(text)
            ratio = matcher.quick_ratio()
            if ratio < best[0]:
                continue
            if work + len(text) * len(sentence) <= _WORK:
                work += len(text) * len(sentence)
                letters += _RATIO
                ratio = matcher.ratio()
            else:
                exact = False
            best = max(best, (ratio, text))
        chosen.append(first[best[1]])
    return chosen, exact


def _by_bound(by_length: dict[int, list[str]], length: int) -> Iterator[tuple[float, str]]:
    """All texts with the bound that their length sets to the ratio, the highest pair of both first; nothing is sorted beyond what is asked for."""
    lengths: dict[float, list[int]] = {}
    for n in by_length:
        lengths.setdefault(_length_bound(n, length), []).append(n)
    for bound in sorted(lengths, reverse=True):
        for text in heapq.merge(*(by_length[n] for n in lengths[bound]), reverse=True):
            yield bound, text


def _length_bound(n: int, m: int) -> float:
    return 2.0 * min(n, m) / (n + m) if n + m else 1.0


@grader
def score_plot(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Sentences of a plot in order: ``1 - d / n`` in [0, 1].

    The text after ``<PLOT_SUMMARY>``, up to the last closing tag if there is one (else all of the answer), is split at full stops;
    a closing tag and "**End of Plot Summary**" are no sentences. Each of the ``n`` sentences of the truth takes its most
    similar sentence of the answer; ``d`` is the edit distance between 0, 1, ..., n-1 and the places found. A sentence of
    chat in front shifts every place and costs 2/n. Strict: places are counted among the matched sentences only, so that
    chat costs nothing, and a sentence that is used twice counts once.
    """
    if not isinstance(truth, str):
        raise TypeError(f"truth must be a str, got {type(truth).__name__}.")
    gold = [s for s in map(str.strip, truth.split(".")) if s]
    if not gold:
        raise ValueError("truth has no sentence; it must be a text with full stops.")
    text, rule = answer, "whole answer"
    opened = answer.find("<PLOT_SUMMARY>")
    if opened >= 0:
        text, rule = answer[opened + len("<PLOT_SUMMARY>") :], "after <PLOT_SUMMARY>"
        text = text.rpartition("</PLOT_SUMMARY>")[0] if "</PLOT_SUMMARY>" in text else text
    said = [s for s in map(str.strip, text.split(".")) if s and s not in _NO_SENTENCES]
    if not said:
        return Grade(0.0, "no sentence")
    places, exact = closest_sentences(gold, said)
    if strict:
        used, kept = set(), []
        for place in places:
            if place not in used:
                used.add(place)
                kept.append(place)
        rank = {place: i for i, place in enumerate(sorted(used))}
        places = [rank[place] for place in kept]
        rule = f"strict: {rule}"
    if not exact:
        rule += ", by counted letters or lengths (too long to compare)"
    return Grade(1.0 - levenshtein(range(len(gold)), places) / len(gold), rule, text.strip())
