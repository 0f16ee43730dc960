r"""Graders of LiveBench's mathematics tasks: multiple choice, AIME, olympiad, and AMPS_Hard expressions.

Official rules in our own words, and a strict rule of this book's; see
:mod:`workings.language_models.grading_reasoning`. Source: White et al. 2024 (arXiv 2406.19314) and the authors' code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from workings.language_models.answer_extraction import canonical, final_answer, last_boxed, solution_tags
from workings.language_models.edit_distance import levenshtein
from workings.language_models.equivalence import equivalent
from workings.language_models.grading import Grade, OfficialError, grader, official_box

_UNREAD = "not a number"
_WHOLE_NUMBERS = re.compile(r"\s*\d{1,9}\s*(?:,\s*\d{1,9}\s*)*")
_DIGITS = re.compile(r"\d+")
_OPENERS = ("\\text{", "\\textbf{", "\\mathrm{", "\\overline{")
_WRAPPERS, _ANGLES = str.maketrans("", "", "${}\\"), str.maketrans("", "", "<>")


def _unboxed(text: str) -> str:
    return text.replace("\\text{", "").replace("}", "").replace("\\", "")


@grader
def score_multiple_choice(truth: str, answer: str, *, value: str | None = None, rules: str, strict: bool) -> Grade:
    """A letter A to E of a competition (AMC, SMC), 0 or 1; ``value`` is the right option's text, if it is known.

    Any of: a tag of one repeated letter; the letter four times in a row *anywhere*; a box with the letter; the value within
    the last 20 + len(value) characters; a last line that is the letter, with or without stars, or has it between its first "(" and
    the next bracket. Strict: the final answer is the letter, repeated or in parentheses, or the value.
    """
    if not isinstance(truth, str) or truth not in tuple("ABCDE"):
        raise ValueError(f"truth must be one capital letter from A to E, got {truth!r}.")
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"value must be the text of an option, or None, got {value!r}.")
    low = truth.lower()
    if strict:
        found, place = final_answer(answer)
        said = canonical(found).strip("()")
        right = bool(said) and (set(said) == {low} or (value is not None and said == canonical(value)))
        return Grade(float(right), f"strict: the {place or 'text'}", found)
    tags = solution_tags(answer)
    if tags and set(tags[-1].lower()) == {low} and len(set(tags[-1])) == 1:
        return Grade(1.0, "tag of one letter", tags[-1])
    if truth * 4 in answer:
        return Grade(1.0, "letter four times in a row, anywhere", truth * 4)
    boxed = official_box(answer)
    if boxed is not None and _unboxed(boxed).lower() == low:
        return Grade(1.0, "box", boxed)
    if value is not None and value in answer[-(20 + len(value)) :]:
        return Grade(1.0, "value near the end", value)
    line = answer.strip().rpartition("\n")[2].lower()
    if line.strip().replace("*", "") == low or (
        ")" in line and line.partition("(")[2].split("(", 1)[0].split(")", 1)[0] == low
    ):
        return Grade(1.0, "last line", line)
    return Grade(0.0, "no letter found that is right", line)


@grader
def score_aime(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """An integer of three digits, ``truth`` such as ``"025"``, 0 or 1.

    The digits anywhere within the last 50 characters. (The authors also ask a tag for one repeated character, which is the
    multiple-choice rule; a tag with another number earns nothing by itself.) Strict: the final answer is the number.
    """
    if not isinstance(truth, str) or not truth.isascii() or not truth.isdigit() or len(truth) > 20:
        raise ValueError(f"truth must be a text of digits such as '025', got {truth!r}.")
    if strict:
        found, place = final_answer(answer)
        said = found.replace(",", "").strip()
        right = said.isascii() and said.isdigit() and len(said) <= 20 and int(said) == int(truth)
        return Grade(float(right), f"strict: the {place or 'text'}", found)
    if len(truth) == 1 and (tags := solution_tags(answer)) and set(tags[-1]) == {truth}:
        return Grade(1.0, "tag of one repeated character", tags[-1])
    near = answer[-50:]
    return Grade(1.0 if truth in near else 0.0, "last 50 characters", near)


def _numbers(parts: Sequence[str], unwrap: bool = False) -> list[int | str] | None:
    """Integers with a sentinel for what is none, not even without dollars, braces and brackets (``unwrap``); ``None`` where nothing is a number."""
    out: list[int | str] = []
    for part in parts:
        try:
            out.append(int(part))
        except ValueError:
            if unwrap:
                out += _numbers([part.translate(_WRAPPERS).replace("boxed", "").translate(_ANGLES)]) or [_UNREAD]
            else:
                out.append(_UNREAD)
    return None if set(out) <= {_UNREAD} else out


def _digits(part: str) -> str:
    """The first run of digits, raised and lowered ones among them."""
    if part.isascii():
        found = _DIGITS.search(part)
        return found[0] if found else ""
    return "".join(itertools.takewhile(str.isdigit, itertools.dropwhile(lambda sign: not sign.isdigit(), part)))


@grader
def score_olympiad(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """The order of a proof's masked formulae, ``truth`` such as ``"3,1,2"``: ``1 - d / max(lengths)`` with the edit distance.

    Integers of the last line that says "answer:" (or of the line after it), the last word of each item; else of a box; else
    the first digits of each item of the last line; else those of what follows the last "answer:" (or of the whole answer), as far as
    the first item after the first that holds anything else. Strict: the same score of the final answer's integers.
    """
    if not isinstance(truth, str) or not _WHOLE_NUMBERS.fullmatch(truth):
        raise ValueError(f"truth must be whole numbers between commas, such as '3,1,2', got {truth!r}.")
    gold = [int(part) for part in truth.split(",")]
    if strict:
        found, place = final_answer(answer)
        said: list[int | str] | None = _numbers([_digits(part) for part in found.split(",")])
        rule = f"strict: the {place or 'text'}"
    else:
        said, rule, found = _official_numbers(answer)
    if not said:
        return Grade(0.0, f"{rule}, no number", found)
    return Grade(1.0 - levenshtein(said, gold) / max(len(said), len(gold)), rule, found)


def _official_numbers(answer: str) -> tuple[list[int | str] | None, str, str]:
    lines = answer.lower().strip().split("\n")
    places = [i for i, line in enumerate(lines) if "answer:" in line]
    if places:
        clean = lambda text: text.replace("answer:", "").replace("**", "").replace(".", "").strip()
        found = clean(lines[places[-1]].split("answer:")[1])
        if not found and places[-1] + 1 < len(lines):
            found = clean(lines[places[-1] + 1])
        said = _numbers([part.strip().rpartition(" ")[2] for part in found.split(",")], unwrap=True)
        if said is not None:
            return said, "answer line", found
    if "\\boxed" in answer:
        boxed = official_box(answer)
        found = _unboxed(answer if boxed is None else boxed)
        said = _numbers([part.strip() for part in found.strip().split(",")])
        if said is not None:
            return said, "box", found
    found = lines[-1]
    said = _numbers([digits for part in found.split(",") if (digits := _digits(part))])
    if said is not None:
        return said, "last line", found
    tail, said = answer.lower().rpartition("answer:")[2], []
    for i, part in enumerate(map(str.strip, tail.split(","))):
        digits = _digits(part)
        if digits and digits != "₂":
            try:
                said.append(int(digits))
            except ValueError:
                raise OfficialError("digits that are no number") from None
        if i and len(digits) < len(part):
            break
    return said, "numbers anywhere", tail


def normalise_latex(text: str) -> str:
    r"""One spelling for a final answer in LaTeX: sizing and spacing macros off, ``\dfrac`` as ``\frac``, ``\cdot`` as ``*``.

    Text wrappers are taken off, ``\frac12`` and ``\sqrt2`` get their braces, ``100,000`` loses its comma, and what stands left
    of the last "=" is dropped.
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}.")
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\(?:left|right|[bB]ig+[lr]?)(?![A-Za-z])|\\[,;!:]|\\ |\$", "", text).replace("\n", " ")
    text = re.sub(r"\\cdot(?![A-Za-z])|\\times(?![A-Za-z])", "*", text)
    for opener in _OPENERS:  # a wrapper goes with the first brace that closes, whatever stands between
        first, *rest = text.split(opener)
        text = first + "".join(part.replace("}", "", 1) for part in rest)
    text = text.rsplit("=", 1)[-1]
    text = re.sub(r"(frac)([^{\\ ])([^{\\ ])", r"\1{\2}{\3}", text)
    text = re.sub(r"(sqrt)([^{\[\\ ])", r"\1{\2}", text)
    if text.strip().replace(",", "").isdigit():
        text = text.replace(",", "")
    return text.strip()


@grader
def score_amps(
    truth: str, answer: str, *, limit_s: float = 8.0, symbolic: bool = True, rules: str, strict: bool
) -> Grade:
    r"""An expression equal to ``truth`` (LaTeX), 0 or 1.

    The tag, else the last box, else the last ``$...$`` (right of "="), normalised (:func:`normalise_latex`), "+C" removed (not of C_1);
    equal by :func:`~workings.language_models.equivalence.equivalent` within ``limit_s`` seconds; with no tag, box or mathematics, the answer
    ends with the truth. ``symbolic=False`` asks sympy for no proof: agreement at points decides. (In one version of the authors' program what is
    not found equal goes to a language model, which is asked whether the two are equal or negatives of each other; in another, a tag is
    read as it stands, expressions are compared at random points, numbers to 1e-9, and may differ by a constant. We do none of that.)
    Strict: the same, of the box or the final answer only, and a constant of integration is removed only at the end.
    """
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"truth must be an expression in LaTeX, got {truth!r}.")
    gold = normalise_latex(truth.replace("\\ ", "*"))
    if strict:
        found, place = final_answer(answer)
        said = normalise_latex(re.sub(r"\+\s*[Cc]\s*$", "", found))
        return _compared(gold, said, f"strict: the {place or 'text'}", limit_s, symbolic)
    text = re.sub(r"\+\s*[Cc](?![_{])", "", answer).replace("\n", "")
    if tags := solution_tags(text):
        return _compared(gold, normalise_latex(tags[-1]), "tag", limit_s, symbolic)
    boxed = last_boxed(text)
    if boxed is not None:
        return _compared(gold, normalise_latex(boxed), "box", limit_s, symbolic)
    found = [part for part in text.replace("$$", "$").split("$")]
    if len(found) >= 3:
        inside = found[-2] if len(found) % 2 else found[-3]
        return _compared(gold, normalise_latex(inside), "last dollars", limit_s, symbolic)
    plain = text.removesuffix(".")
    return Grade(float(plain.endswith(truth)), "no mathematics: ends with the truth", plain[-len(truth) :])


def _compared(gold: str, said: str, rule: str, limit_s: float, symbolic: bool) -> Grade:
    tolerance = 0.0 if rule.startswith("strict") else 1e-3
    verdict = equivalent(gold, said, tolerance=tolerance, limit_s=limit_s, symbolic=symbolic)
    return Grade(float(verdict.equal), f"{rule}, {verdict.how}", said)
