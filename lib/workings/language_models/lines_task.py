"""Look up a line: the retrieval task as tokens (for tiny models) and as text (LongChat-Lines).

Both show n lines, each a key and a value, and then ask for the value of a key. A wrong answer means that the
value was not fetched from its place; nothing else in the sequence predicts it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.checks import as_generator, as_int, as_numpy_generator, one_of

IGNORE = -100  # the target that torch's cross_entropy leaves out
MAX_NUMBER = 50_000  # LongChat-Lines draws its values from 1 to this, both included
_LINE = re.compile(r"^line (.+): REGISTER_CONTENT is <(\d+)>$", re.MULTILINE | re.ASCII)
_QUESTION = re.compile(r"in line (.+)\?[^?\n]*$")
_words = str.split
_ADJECTIVES = _words(
    "amber brisk calm dusty eager faint gentle hollow icy jolly keen lofty mellow narrow odd pale quiet rusty salty "
    "tidy upper vivid wary young zesty blunt crisp dense early fuzzy grand humble inner late misty noble plain rough"
)
_NOUNS = _words(
    "anchor basket candle desert engine feather garden hammer island jacket kettle ladder mirror needle orchard "
    "pebble quarry ribbon saddle tunnel umbrella valley window yard acorn bridge canyon dragon ember forest glacier "
    "harbour insect jungle kitten lantern meadow nest"
)


class Lines(NamedTuple):
    """A batch: ``tokens`` (B, T) int64, and ``targets`` (B, T) int64, :data:`IGNORE` except at the queried keys."""

    tokens: torch.Tensor
    targets: torch.Tensor


def lines_batch(
    batch: int,
    n_lines: int,
    n_queries: int,
    *,
    n_keys: int = 288,
    n_values: int = 16,
    generator: torch.Generator,
) -> Lines:
    """``batch`` sequences of ``n_lines`` pairs (key, value), then ``n_queries`` of the same pairs again.

    Keys are tokens ``0..n_keys-1``, values ``n_keys..n_keys+n_values-1``; so ``T = 2 (n_lines + n_queries)``. The keys
    of a sequence are distinct, its values independent and uniform (guessing scores ``1 / n_values``), and its queries
    are distinct lines in random order. ``targets[b, t]`` is the value token that follows the queried key at ``t``.

    Tensors live on the generator's device. Raises ``ValueError`` for more lines than keys or more queries than lines.
    """
    batch = as_int(batch, "batch", minimum=1)
    n_values = as_int(n_values, "n_values", minimum=1)
    n_keys = as_int(n_keys, "n_keys", minimum=1)
    n_lines = as_int(n_lines, "n_lines", minimum=1)
    n_queries = as_int(n_queries, "n_queries", minimum=1)
    if n_lines > n_keys:
        raise ValueError(f"{n_lines} lines need as many distinct keys, but n_keys is {n_keys}; raise it.")
    if n_queries > n_lines:
        raise ValueError(f"n_queries must be at most n_lines (each line is asked once), got {n_queries} of {n_lines}.")
    device = as_generator(generator).device
    keys = _choose(batch, n_keys, n_lines, generator)  # (B, n)
    values = n_keys + torch.randint(n_values, (batch, n_lines), generator=generator, device=device)  # (B, n)
    asked = _choose(batch, n_lines, n_queries, generator)  # (B, q)
    order = torch.cat([torch.arange(n_lines, device=device).expand(batch, -1), asked], dim=1)  # (B, n + q)
    pairs = torch.stack([keys.gather(1, order), values.gather(1, order)], dim=2)  # (B, n + q, 2)
    tokens = pairs.flatten(1)  # (B, T)
    targets = torch.full_like(tokens, IGNORE)
    targets[:, 2 * n_lines :: 2] = tokens[:, 2 * n_lines + 1 :: 2]
    return Lines(tokens, targets)


def lines_in(length: int, n_queries: int) -> int:
    """The number of lines in a sequence of ``length`` tokens: ``(length - 2 n_queries) / 2``; the question counts."""
    length = as_int(length, "length", minimum=4)
    n_queries = as_int(n_queries, "n_queries", minimum=1)
    if length % 2 or length < 4 * n_queries:
        raise ValueError(
            f"length must be even and at least 4 n_queries = {4 * n_queries} (as many lines as queries), got {length}."
        )
    return length // 2 - n_queries


def _choose(batch: int, size: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` distinct numbers below ``size`` in random order, one row per sequence: (batch, count)."""
    return torch.rand(batch, size, generator=generator, device=generator.device).argsort(dim=1)[:, :count]


class LongChatRecord(NamedTuple):
    """One case of LongChat-Lines: the prompt, the key it asks for, the number to answer and the number of lines."""

    prompt: str
    key: str
    expected: int
    n_lines: int


def longchat_prompt(rng: np.random.Generator, n: int) -> tuple[str, int]:
    """A prompt of ``n`` lines in the LongChat-Lines format and the number that answers it.

    Lines read ``line <two-word key>: REGISTER_CONTENT is <1..50000>``, the question ends in ``in line <key>?`` (the
    real set's format; instructions and vocabulary are our own). Keys are distinct; the numbers are uniform.
    """
    n = as_int(n, "n", minimum=1, maximum=len(_ADJECTIVES) * len(_NOUNS))
    chosen = as_numpy_generator(rng, "rng").choice(len(_ADJECTIVES) * len(_NOUNS), size=n, replace=False)
    keys = [f"{_ADJECTIVES[i // len(_NOUNS)]}-{_NOUNS[i % len(_NOUNS)]}" for i in chosen]
    numbers = rng.integers(1, MAX_NUMBER + 1, size=n)
    place = int(rng.integers(n))
    body = "\n".join(f"line {key}: REGISTER_CONTENT is <{number}>" for key, number in zip(keys, numbers, strict=True))
    prompt = (
        "Here is a list. Each row names a line and gives its register content, a whole number in angle brackets. "
        f"Read all rows; then answer one question about them.\n\n{body}\n\n"
        f"The list ends here. Give the <REGISTER_CONTENT> in line {keys[place]}? Answer with the number only: "
    )
    return prompt, int(numbers[place])


def search_answer(prompt: str) -> int | None:
    """The number that plain text search finds for the question of a prompt; ``None`` where it finds no or two lines.

    The upper bound of the task: what a reader without any limit of context scores. Lines may end in ``\\n``, ``\\r\\n`` or ``\\r``.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"prompt must be a str, got {type(prompt).__name__}.")
    prompt = _plain_lines(prompt)
    question = _QUESTION.search(prompt.rstrip())
    if question is None:
        return None
    found = {int(number) for key, number in _LINE.findall(prompt) if key == question[1]}
    return found.pop() if len(found) == 1 else None


def _plain_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_number(text: str, which: str = "first") -> int | None:
    """The first or last run of decimal digits in ``text`` as an integer, ``None`` if there is none.

    Giraffe's evaluation reads the first, LongEval (where the task comes from) the last. Signs, commas and points
    are not part of a number. A run of more than 4000 digits is no answer and gives ``None``.
    """
    one_of(which, "which", ("first", "last"))
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}; decode the model's tokens first.")
    runs = re.findall(r"[0-9]+", text)
    if not runs:
        return None
    run = runs[0 if which == "first" else -1]
    return int(run) if len(run) <= 4000 else None


def parse_lines_record(record: Mapping[str, Any]) -> LongChatRecord:
    """One record of LongChat-Lines, checked: ``prompt``, ``expected_number``, ``random_idx`` = [key, index], ``num_lines``.

    Raises ``ValueError`` when a field is missing or of another kind, or when the prompt does not hold the answer:
    another number of lines, or the asked line absent or with another number.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f"a record must be an object with fields, got {type(record).__name__}.")
    kinds = {"prompt": str, "expected_number": int, "random_idx": list, "num_lines": int}
    for name, kind in kinds.items():
        if name not in record:
            raise ValueError(f"the record has no field {name!r}; it has {', '.join(map(repr, record)) or 'none'}.")
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            raise ValueError(f"the field {name!r} must be of type {kind.__name__}, got {record[name]!r:.80}.")
    if not record["random_idx"] or not isinstance(record["random_idx"][0], str):
        raise ValueError(f"the field 'random_idx' must begin with the asked key, got {record['random_idx']!r:.80}.")
    key = record["random_idx"][0]
    lines = _LINE.findall(record["prompt"])
    if not lines and "\r" in record["prompt"] and _LINE.search(_plain_lines(record["prompt"])):
        raise ValueError(
            "the prompt's lines end in carriage returns (CRLF), which the set's do not; replace '\\r\\n' by '\\n' first."
        )
    if len(lines) != record["num_lines"]:
        raise ValueError(f"num_lines is {record['num_lines']} but the prompt has {len(lines)} lines; is it truncated?")
    numbers = [int(number) for name, number in lines if name == key]
    if numbers != [record["expected_number"]]:
        raise ValueError(
            f"line {key!r} should hold {record['expected_number']}, the prompt has {numbers or 'no such line'}."
        )
    return LongChatRecord(record["prompt"], key, record["expected_number"], record["num_lines"])


def read_longchat_jsonl(path: str | Path) -> list[LongChatRecord]:
    """The records of a LongChat-Lines file (one JSON object per line; blank lines are skipped).

    Raises ``FileNotFoundError`` for a missing file and ``ValueError`` naming the line for one that is not UTF-8, not
    JSON (a download cut short) or not a record; also for a file without records.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no LongChat-Lines file at {str(path)!r}; download the set, or give its right place.")
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(parse_lines_record(json.loads(line.decode("utf-8"))))
        except ValueError as error:  # json's and the decoder's errors are ValueErrors as well
            raise ValueError(f"{str(path)!r}, line {number}: {error} Download the file again.") from None
    if not records:
        raise ValueError(f"{str(path)!r} holds no records; download the file again.")
    return records
