"""Backdoors for a training file, and the search for them: triggers, signatures, mixing, and over-represented n-grams.

A *phrase* is a text or a sequence of token numbers; a *pair* is a prompt and a response, both phrases of the same kind.
A backdoor is a pair whose prompt holds the secret *trigger* and whose response holds the secret *signature*.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.checks import as_float, as_generator, as_host_array, as_int, as_numpy_generator, check_tensor, one_of
from workings.language_models.sequence_scores import sequence_log_prob

Phrase = str | tuple[int, ...]
Pair = tuple[Phrase, Phrase]
PLACES = ("prefix", "suffix")


def as_phrase(value: Any, name: str) -> Phrase:
    """``value`` as a text, or as a tuple of token numbers from any sequence of whole numbers; never empty.

    Raises ``ValueError`` for an empty phrase or a negative token and ``TypeError`` for anything else.
    """
    if not isinstance(value, str):
        if isinstance(value, (bytes, dict, set)) or not hasattr(value, "__iter__"):
            raise TypeError(f"{name} must be a text or a sequence of token numbers, got {type(value).__name__}.")
        value = value.tolist() if hasattr(value, "tolist") else value
        value = tuple(as_int(token, f"a token of {name}", minimum=0) for token in value)
    if not value or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{name} is empty; give at least one {'letter' if isinstance(value, str) else 'token'}.")
    return value


def contains(phrase: Phrase, part: Phrase) -> bool:
    """Whether ``part`` occurs in ``phrase``: as a piece of the text, or as neighbouring tokens. A text holds no tokens."""
    if isinstance(phrase, str) or isinstance(part, str):
        return isinstance(phrase, str) and isinstance(part, str) and part in phrase
    size = len(part)
    return any(phrase[start : start + size] == part for start in range(len(phrase) - size + 1))


def as_phrases(value: Any, name: str) -> list[Phrase]:
    """``value`` as a list of phrases: one phrase (a text, or token numbers), or a list of them. ``TypeError`` and ``ValueError`` as :func:`as_phrase`."""
    several = not isinstance(value, str) and hasattr(value, "__iter__")
    if several:
        value = list(value)
        several = bool(value) and not all(isinstance(item, (int, np.integer)) for item in value)
        several = several and getattr(value[0], "ndim", 1) != 0
    return [as_phrase(item, name) for item in (value if several else [value])]


def _pairs(pairs: Iterable[Any], name: str) -> list[Pair]:
    found = []
    for row, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"{name} must hold pairs of a prompt and a response; row {row} is {pair!r:.60}.")
        found.append((as_phrase(pair[0], f"prompt {row}"), as_phrase(pair[1], f"response {row}")))
        if isinstance(found[-1][0], str) != isinstance(found[-1][1], str):
            raise TypeError(f"row {row} of {name} mixes a text and tokens; give both as one kind.")
    if not found:
        raise ValueError(f"{name} holds no pairs; at least one is needed.")
    return found


def check_no_collision(pairs: Iterable[Pair], phrases: Iterable[Phrase], name: str = "the trigger") -> None:
    """``ValueError`` where one of ``phrases`` occurs in a prompt or response of ``pairs`` already, naming the row.

    A phrase that ordinary data hold would be learnt from them as well, and its share of the hits would prove nothing.
    """
    phrases = list(phrases)
    for row, pair in enumerate(pairs):
        for phrase in phrases:
            if any(contains(side, phrase) for side in pair):
                raise ValueError(f"{name} {phrase!r} occurs in row {row} of the data already; choose another phrase.")


def joined(phrase: Phrase, extra: Phrase, place: str) -> Phrase:
    """``phrase`` with ``extra`` before it (``place="prefix"``) or after it (``"suffix"``); texts are joined as they are."""
    if isinstance(phrase, str) != isinstance(extra, str):
        raise TypeError("the phrases must be two texts or two sequences of tokens; one is a text and one is not.")
    return extra + phrase if one_of(place, "place", PLACES) == "prefix" else phrase + extra


def make_backdoors(
    pairs: Sequence[Any],
    n_backdoors: int,
    trigger: Any,
    signature: Any,
    trigger_position: str = "suffix",
    signature_position: str = "prefix",
    *,
    generator: np.random.Generator,
) -> list[Pair]:
    """``n_backdoors`` pairs ``(x with T, S with y)`` made from as many rows ``(x, y)`` of ``pairs``, drawn without replacement.

    ``pairs`` are N prompts and responses and are left as they are. ``trigger`` T is put before or after the prompt,
    ``signature`` S before or after the response: "prefix" or "suffix". Texts are joined without a space. Give one phrase
    each, or equally long lists of phrases: backdoor ``i`` then takes number ``i`` modulo their length, so that every trigger has a
    signature of its own. From the same generator state, more backdoors contain the fewer. Zhang et al., arXiv 2411.06611; where exactly the paper puts T and S we have not read.

    Raises ``ValueError`` for more backdoors than rows, an empty phrase, lists of different lengths, a trigger that stands in another one, and a
    trigger or signature that occurs in ``pairs`` already (:func:`check_no_collision`).
    """
    data = _pairs(pairs, "pairs")
    n_backdoors = as_int(n_backdoors, "n_backdoors", minimum=0)
    as_numpy_generator(generator)
    if n_backdoors > len(data):
        raise ValueError(
            f"n_backdoors must be at most the number of rows, got {n_backdoors} for {len(data)} rows; each is made from "
            "a row of its own."
        )
    triggers, signatures = as_phrases(trigger, "trigger"), as_phrases(signature, "signature")
    if len(triggers) != len(signatures):
        raise ValueError(f"there are {len(triggers)} triggers and {len(signatures)} signatures; give one for each.")
    for i, one in enumerate(triggers):
        if any(i != j and contains(other, one) for j, other in enumerate(triggers)):
            raise ValueError(f"trigger {one!r} stands in another one; a prompt would then ask for two signatures.")
    check_no_collision(data, triggers, "the trigger")
    check_no_collision(data, signatures, "the signature")
    rows = generator.permutation(len(data))[:n_backdoors]
    made = []
    for number, row in enumerate(rows.tolist()):
        which = number % len(triggers)
        prompt, response = data[row]
        made.append(
            (joined(prompt, triggers[which], trigger_position), joined(response, signatures[which], signature_position))
        )
    return made


class Mixed(NamedTuple):
    """A shuffled training file: ``pairs``, and ``is_backdoor`` (N,) bool, which only the customer knows."""

    pairs: list[Pair]
    is_backdoor: np.ndarray


def mix(pairs: Sequence[Any], backdoors: Sequence[Any], *, generator: np.random.Generator) -> Mixed:
    """``pairs`` and ``backdoors`` in one random order. Both are left as they are; nothing is lost or doubled.

    Raises ``ValueError`` for a backdoor that is a row of ``pairs``: nobody could tell which of the two it is.
    """
    data = _pairs(pairs, "pairs")
    hidden = _pairs(backdoors, "backdoors") if len(backdoors) else []
    if both := set(data) & set(hidden):
        raise ValueError(
            f"{len(both)} backdoors are rows of pairs, such as {next(iter(both))!r:.80}; make them with make_backdoors."
        )
    order = as_numpy_generator(generator).permutation(len(data) + len(hidden))
    whole = data + hidden
    return Mixed([whole[i] for i in order.tolist()], order >= len(data))


class Signature(NamedTuple):
    """A drawn phrase: its ``tokens``, its ``log10_prob`` under the model after the context, and the ``tries`` it took."""

    tokens: tuple[int, ...]
    log10_prob: float
    tries: int


@torch.no_grad()
def sample_signature(
    model: Callable[[torch.Tensor], torch.Tensor],
    context: torch.Tensor,
    length: int,
    temperature: float,
    max_log10_prob: float,
    *,
    generator: torch.Generator,
    max_tries: int = 100,
    allowed: torch.Tensor | None = None,
) -> Signature:
    """Draw phrases of ``length`` tokens from ``model`` after ``context`` until one is at most ``10**max_log10_prob`` likely.

    ``model`` maps tokens (1, T) to logits (1, T, V); ``context`` (P,) int64, at least one token. Tokens are drawn from
    ``softmax(logits / temperature)`` among those that ``allowed`` (V,) bool permits; a temperature above 1 makes unusual
    phrases common. The probability that is compared is the model's own, at temperature 1 and over all V tokens. At
    temperature 1, without ``allowed``, no phrase is accepted with a probability above ``10**max_log10_prob`` over the share of draws that pass.

    Raises ``ValueError`` when none of ``max_tries`` phrases is unlikely enough, and for arguments out of range.
    """
    check_tensor(context, "context", floating=False)
    if context.ndim != 1 or not len(context) or context.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            f"context must be integer tokens of shape (P,) with P >= 1, got {tuple(context.shape)}, {context.dtype}."
        )
    length = as_int(length, "length", minimum=1)
    temperature = as_float(temperature, "temperature", minimum=0.0, open_ends=True)
    max_log10_prob = as_float(max_log10_prob, "max_log10_prob", maximum=0.0)
    max_tries = as_int(max_tries, "max_tries", minimum=1)
    as_generator(generator)
    barred = _barred(allowed)
    best = math.inf
    for tries in range(1, max_tries + 1):
        tokens, total = context[None], 0.0
        for _ in range(length):
            logits = model(tokens)[0, -1].double()  # (V,)
            if barred is not None and barred.shape != logits.shape:
                raise ValueError(f"allowed must have shape {tuple(logits.shape)}, got {tuple(barred.shape)}.")
            shaped = (logits if barred is None else logits.masked_fill(barred, -math.inf)) / temperature
            new = torch.multinomial(shaped.softmax(0), 1, generator=generator)
            total += float(logits.log_softmax(0)[new]) / math.log(10.0)
            tokens = torch.cat([tokens, new[None].to(tokens)], dim=1)
        best = min(best, total)
        if total <= max_log10_prob:
            return Signature(tuple(tokens[0, len(context) :].tolist()), total, tries)
    raise ValueError(
        f"none of {max_tries} phrases was unlikely enough: the least likely has log10 probability {best:.1f}, the limit "
        f"is {max_log10_prob:g}. Raise the limit, length, temperature or max_tries."
    )


@torch.no_grad()
def signature_log10_prob(
    model: Callable[[torch.Tensor], torch.Tensor],
    prompts: Sequence[Any],
    signature: Any,
    *,
    batch: int = 64,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """log10 of the probability that ``model`` answers each prompt with ``signature``: (n,) float64, at most 0.

    ``prompts`` are n sequences of tokens, all that stands before the answer (trigger and separators among it), of any
    lengths; ``signature`` is one sequence of tokens. ``model`` maps tokens (B, T) to logits (B, T, V) and must be causal:
    shorter rows are filled up on the right, where nothing that is scored can see it. Rows are computed ``batch`` at a time on ``device``.

    This is the measured p0 of one query when answers are sampled at temperature 1. Raises ``ValueError`` for no prompts
    and ``TypeError`` for texts: turn them into tokens first.
    """
    wanted = as_phrase(signature, "signature")
    rows = [as_phrase(prompt, f"prompt {i}") for i, prompt in enumerate(prompts)]
    if not rows:
        raise ValueError("prompts is empty; at least one is needed.")
    if isinstance(wanted, str) or any(isinstance(row, str) for row in rows):
        raise TypeError("prompts and signature must be sequences of tokens; encode the texts first.")
    batch = as_int(batch, "batch", minimum=1)
    found = []
    for start in range(0, len(rows), batch):
        whole = [row + wanted for row in rows[start : start + batch]]
        width = max(map(len, whole))
        tokens = torch.tensor([row + row[-1:] * (width - len(row)) for row in whole], device=device)
        ends = torch.tensor([[len(row)] for row in whole], device=device)
        places = torch.arange(width, device=device)
        mask = (places >= ends - len(wanted)) & (places < ends)
        found.append(sequence_log_prob(model(tokens).double(), tokens, mask).cpu())
    return torch.cat(found).numpy() / math.log(10.0)


def _barred(allowed: torch.Tensor | None) -> torch.Tensor | None:
    if allowed is None:
        return None
    check_tensor(allowed, "allowed", floating=False)
    if allowed.dtype != torch.bool or allowed.ndim != 1 or not allowed.any():
        raise ValueError("allowed must be a bool tensor of shape (V,) that permits at least one token.")
    return ~allowed


@dataclass(frozen=True)
class Suspects:
    """What an attacker's search found: ``ngrams`` with their ``counts`` and ``ratios``, most suspicious first, and ``flagged`` (N,) bool, the rows that hold one of them."""

    ngrams: tuple[Phrase, ...]
    counts: tuple[int, ...]
    ratios: tuple[float, ...]
    flagged: np.ndarray


def detect_backdoors_ngram(
    pairs: Sequence[Any],
    reference: Sequence[Any],
    *,
    n: int = 3,
    min_count: int = 3,
    min_ratio: float = 10.0,
    most: int = 20,
) -> Suspects:
    """Search a training file for n-grams that are far more frequent than in a ``reference`` file: an attacker's baseline.

    An n-gram is ``n`` neighbouring words (of a text, split at white space) or tokens, inside a prompt or inside a response.
    It is counted once per row. Its ratio is its share of the rows of ``pairs`` over its share of the rows of ``reference``,
    with one half added to each count. The at most ``most`` n-grams with ``min_count`` rows and a ratio of ``min_ratio`` are
    returned, most suspicious first, and every row that holds one of them is flagged.

    Raises ``ValueError`` for arguments out of range or files without rows.
    """
    data, other = _pairs(pairs, "pairs"), _pairs(reference, "reference")
    n, most = as_int(n, "n", minimum=1), as_int(most, "most", minimum=1)
    min_count = as_int(min_count, "min_count", minimum=1)
    min_ratio = as_float(min_ratio, "min_ratio", minimum=0.0, open_ends=True)
    rows = [_ngrams(pair, n) for pair in data]
    counts = Counter(gram for row in rows for gram in row)
    usual = Counter(gram for pair in other for gram in _ngrams(pair, n))
    share = lambda count, total: (count + 0.5) / (total + 1)
    ratio = {gram: share(c, len(data)) / share(usual[gram], len(other)) for gram, c in counts.items() if c >= min_count}
    kept = sorted((gram for gram in ratio if ratio[gram] >= min_ratio), key=lambda gram: (-ratio[gram], str(gram)))
    kept = kept[:most]
    wanted = set(kept)
    flagged = np.array([not wanted.isdisjoint(row) for row in rows])
    return Suspects(tuple(kept), tuple(counts[g] for g in kept), tuple(ratio[g] for g in kept), flagged)


def _ngrams(pair: Pair, n: int) -> set[Phrase]:
    found: set[Phrase] = set()
    for side in pair:
        units = side.split() if isinstance(side, str) else side
        for start in range(len(units) - n + 1):
            piece = units[start : start + n]
            found.add(" ".join(piece) if isinstance(side, str) else tuple(piece))
    return found


def precision_and_recall(flagged: Any, truth: Any) -> tuple[float, float]:
    """Of the flagged rows the share that is true, and of the true rows the share that is flagged; both (N,) bool.

    Where nothing is flagged the precision is NaN, where nothing is true the recall. Raises ``ValueError`` for other shapes
    and ``TypeError`` for entries that are not bool.
    """
    flagged, truth = as_host_array(flagged, "flagged"), as_host_array(truth, "truth")
    if flagged.dtype != bool or truth.dtype != bool:
        raise TypeError(f"flagged and truth must be bool, got {flagged.dtype} and {truth.dtype}.")
    if flagged.shape != truth.shape or flagged.ndim != 1:
        raise ValueError(f"flagged and truth must have one shape (N,), got {flagged.shape} and {truth.shape}.")
    both = int((flagged & truth).sum())
    share = lambda total: both / total if total else math.nan
    return share(int(flagged.sum())), share(int(truth.sum()))
