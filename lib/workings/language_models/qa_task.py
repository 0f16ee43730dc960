"""Questions about a text: score by presence, and altered numbers that memory cannot answer.

The two measures of Giraffe (arXiv 2308.10882): FreeFormQA and AlteredNumericQA.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from workings.checks import as_numpy_generator

_NUMBER = re.compile(r"[0-9]+(,[0-9]{3})*(\.[0-9]+)?")
YEARS = (1000, 2100)  # integers in this range, both ends included, count as years
YEAR_STEP = 10


def presence_accuracy(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Share of outputs that contain their reference, stripped of white space at both ends, as a substring.

    In [0, 1]; case matters, the way accents are coded does not: both are compared in Unicode's composed form (NFC). It is a lenient score: "in 2024" contains the reference "2".
    Raises ``ValueError`` for no or unequally many items, or a blank reference (every output would contain it), and
    ``TypeError`` for a plain string or an item that is not one.
    """
    for name, items in (("outputs", outputs), ("references", references)):
        if isinstance(items, str):
            raise TypeError(f"{name} must be a list of str, got one str; put it in a list.")
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise TypeError(f"{name}[{i}] must be a str, got {item!r:.60} of type {type(item).__name__}.")
    if len(outputs) != len(references) or len(outputs) == 0:
        raise ValueError(
            f"as many outputs as references are needed, at least one; got {len(outputs)}, {len(references)}."
        )
    wanted = [unicodedata.normalize("NFC", reference).strip() for reference in references]
    if not all(wanted):
        raise ValueError(f"references[{wanted.index('')}] is blank, so any output would contain it; drop the item.")
    found = (unicodedata.normalize("NFC", output) for output in outputs)
    return sum(w in output for w, output in zip(wanted, found, strict=True)) / len(wanted)


def alter_number(rng: np.random.Generator, s: str) -> str:
    """Another number in the shape of ``s``: digits, optional thousands commas, an optional decimal point.

    A year (an integer 1000 to 2100) moves by 1 to 10, up or down, uniformly among those that keep four digits. In
    any other number every digit is drawn anew, the first one from 1 to 9 where ``s`` has several digits before the
    point and does not begin with 0; commas and point stay. The result never equals ``s`` and has as many digits.

    Raises ``ValueError`` for a string that is not such a number and ``TypeError`` for anything but a string.
    """
    as_numpy_generator(rng, "rng")
    if not isinstance(s, str):
        raise TypeError(f"s must be a str such as '1987', got {s!r} of type {type(s).__name__}.")
    if _NUMBER.fullmatch(s) is None:
        raise ValueError(f"s must be a number such as '42', '1,500' or '2.75' without sign or unit, got {s!r}.")
    if len(s) == 4 and s.isdigit() and YEARS[0] <= int(s) <= YEARS[1]:
        year = int(s)
        near = [y for y in range(year - YEAR_STEP, year + YEAR_STEP + 1) if y != year and y >= 1000]
        return str(near[rng.integers(len(near))])
    whole = s.split(".")[0]
    leading = len(whole) > 1 and s[0] != "0"
    while True:  # ends: at most one draw in nine repeats s
        drawn = [c if c in ",." else str(rng.integers(1 if leading and i == 0 else 0, 10)) for i, c in enumerate(s)]
        if (altered := "".join(drawn)) != s:
            return altered


def alter_answer(rng: np.random.Generator, text: str, answer: str) -> tuple[str, str]:
    """``text`` with every occurrence of the number ``answer`` replaced by one altered number, and that number.

    An occurrence stands alone: "2" inside "2024", "1,200", "0.2" or "2.5" is another number and stays; a full stop or
    comma that ends a phrase does not hide one. The altered number is one that does not occur in ``text``.

    Raises ``ValueError`` where ``answer`` is not a number, does not occur, or all numbers of its shape are in use.
    """
    for name, value in (("text", text), ("answer", answer)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {value!r:.60} of type {type(value).__name__}.")
    found = re.compile(rf"(?<![0-9])(?<![0-9][.,]){re.escape(answer)}(?![.,]?[0-9])")
    altered = ""
    for _ in range(1000):
        altered = alter_number(rng, answer)
        if not re.search(rf"(?<![0-9])(?<![0-9][.,]){re.escape(altered)}(?![.,]?[0-9])", text):
            break
    else:
        raise ValueError(f"every number in the shape of {answer!r} seems to occur in the text; choose another answer.")
    changed, count = found.subn(altered, text)
    if count == 0:
        raise ValueError(f"{answer!r} does not occur in the text as a number of its own; nothing to alter.")
    return changed, altered
