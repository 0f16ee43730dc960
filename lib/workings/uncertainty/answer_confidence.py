"""Is an answer right, and how sure was the model that gave it: grading by rule, and confidence from token probabilities."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from workings.checks import as_array, as_finite_array, one_of

GRADING = ("exact", "substring", "numeric")
NORMS = ("product", "mean")
LONGEST = 200_000
"""Characters of an answer that are read; a longer one is graded wrong, so that no answer takes unbounded time."""
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]{0,40})?\.?\d{1,40}(?:[eE][-+]?\d{1,3})?")


def _plain(text: str) -> str:
    """Letters and digits in one form: compatibility characters and case folded, punctuation as spaces, spaces single."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in text).split())


def last_number(text: str) -> float | None:
    """The last number written in ``text`` ("1,250.5", "-3", "2e3"), or ``None``. Commas between digits are left out."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def grade_answers(answers: Sequence[str], gold: Sequence[str], mode: str = "exact") -> np.ndarray:
    """Which answers are right: (n,) bool.

    Texts are compared without case, accents' encoding, punctuation and extra spaces. ``"exact"``: they are equal. ``"substring"``: the words
    of ``gold`` stand in the answer one after the other, as whole words (generous: "not Paris" counts as "Paris"). ``"numeric"``:
    the last number of the answer equals the last number of ``gold`` to a relative 1e-9. An empty answer, one without a
    number, and one of more than :data:`LONGEST` characters are wrong.

    Raises ``ValueError`` for different lengths or a ``gold`` that is empty (or has no number), ``TypeError`` for what is not a str.
    """
    one_of(mode, "mode", GRADING)
    if isinstance(answers, str) or isinstance(gold, str):
        raise TypeError("answers and gold must be lists of str, got one str; put it into a list.")
    if len(answers) != len(gold):
        raise ValueError(f"answers and gold must have one length, got {len(answers)} and {len(gold)}.")
    right = np.zeros(len(gold), dtype=bool)
    for i, (answer, wanted) in enumerate(zip(answers, gold, strict=True)):
        for name, text in (("answers", answer), ("gold", wanted)):
            if not isinstance(text, str):
                raise TypeError(f"{name}[{i}] must be a str, got {type(text).__name__}.")
        target = last_number(wanted) if mode == "numeric" else _plain(wanted)
        if target is None or target == "":
            what = "number" if mode == "numeric" else "letter or digit"
            raise ValueError(f"gold[{i}] = {wanted[:40]!r} has no {what}; nothing could be right.")
        if len(answer) > LONGEST:
            continue
        if mode == "numeric":
            given = last_number(answer)
            right[i] = given is not None and math.isclose(given, target, rel_tol=1e-9)
        elif mode == "exact":
            right[i] = _plain(answer) == target
        else:
            right[i] = f" {target} " in f" {_plain(answer)} "
    return right


def sequence_confidence(log_probs: Any, lengths: Any = None, mode: str = "product") -> np.ndarray:
    """Confidence of whole answers from the log-probabilities of their tokens: (n,) in [0, 1].

    ``log_probs`` (n, T) in nats, at most 0; ``lengths`` (n,), all T by default, says how many tokens of each row count.
    ``"product"`` is the probability of the answer, ``exp(sum)``: it falls with length and is split among all wordings of one answer.
    ``"mean"`` is the geometric mean per token, ``exp(mean)``: no probability of anything, but comparable across lengths.

    Raises ``ValueError`` for positive or NaN log-probabilities and lengths outside 1..T.
    """
    one_of(mode, "mode", NORMS)
    logp = as_array(log_probs, "log_probs", ndim=2)
    if logp.max() > 1e-6:
        raise ValueError(f"log_probs must be at most 0, got {logp.max():.3g}; pass log-probabilities, not logits.")
    n, tokens = logp.shape
    lengths = np.full(n, tokens) if lengths is None else as_finite_array(lengths, "lengths", ndim=1)
    if len(lengths) != n or lengths.min() < 1 or lengths.max() > tokens or (lengths != np.round(lengths)).any():
        raise ValueError(f"lengths must be {n} whole numbers in 1..{tokens}, one per row of log_probs.")
    total = np.where(np.arange(tokens) < lengths[:, None], logp, 0.0).sum(axis=1)
    return np.minimum(np.exp(total if mode == "product" else total / lengths), 1.0)
