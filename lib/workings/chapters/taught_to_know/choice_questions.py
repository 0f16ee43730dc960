"""Public multiple-choice questions, read from a folder: four sets to train on, and MMLU to test on.

The data sets were not at hand here, so no checksum is known and nothing is fetched. Put their files as published on the Hugging Face hub
(Parquet, or the same as JSON lines) into the data folder, each below a folder of the set's own name: sciq, openbookqa, ai2_arc and
commonsense_qa, of which the training questions are read, and mmlu, of which the test questions are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workings import paths
from workings.chapters.public_models import NotHere
from workings.chapters.taught_to_know.released_answers import table
from workings.seeding import numpy_generator

HUB = {"sciq": "allenai/sciq", "openbookqa": "allenai/openbookqa", "ai2_arc": "allenai/ai2_arc", "commonsense_qa": "tau/commonsense_qa", "mmlu": "cais/mmlu"}  # fmt: skip
COLUMNS = {
    "sciq": ("question", "correct_answer", "distractor1", "distractor2", "distractor3"),
    "openbookqa": ("question_stem", "choices", "answerKey"),
    "ai2_arc": ("question", "choices", "answerKey"),
    "commonsense_qa": ("question", "choices", "answerKey"),
    "mmlu": ("question", "subject", "choices", "answer"),
}
TEST = "mmlu"
LETTERS = "ABCDEFGH"


class Choice(NamedTuple):
    """A question: its set or subject, its text, its options, and the place of the right one."""

    kind: str
    stem: str
    options: tuple[str, ...]
    gold: int

    def text(self) -> str:
        """As it is asked: the question, a line for each option, and "Answer:"."""
        lines = (f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=False))
        return "\n".join((self.stem, *lines, "Answer:"))


class Questions(NamedTuple):
    """Questions to train on and to test on, and how many were left out, by the reason."""

    train: list[Choice]
    test: list[Choice]
    left_out: dict[str, int]


def load(root: str | Path | None) -> Questions:
    """All questions of the five sets below ``root``, each once; what is also a test question is not trained on.

    :class:`NotHere` says what is missing and where it is published; ``ValueError`` names the file and column, or row, of another form.
    """
    folders = {name: _folder(root, name) for name in HUB}
    missing = [name for name, place in folders.items() if place is None or not _files(place, _split(name))]
    if missing:
        wanted = "; ".join(f"the {_split(name)} files of {HUB[name]} in a folder {name}" for name in missing)
        raise NotHere(f"the data folder must hold, as the Hugging Face hub has them: {wanted}.")
    left_out: Counter[str] = Counter()
    test = list(_each_once(_read(folders[TEST], TEST, left_out), left_out))
    asked = {_words(q.stem) for q in test}
    train = []
    for name in HUB:
        if name != TEST:
            train += _read(folders[name], name, left_out)
    kept = [q for q in train if _words(q.stem) not in asked]
    left_out["a test question too"] = len(train) - len(kept)
    return Questions(list(_each_once(kept, left_out)), test, dict(left_out))


def _split(name: str) -> str:
    return "test" if name == TEST else "train"


def _folder(root: str | Path | None, name: str) -> Path | None:
    places = [] if root is None else [Path(root) / name, Path(root) / HUB[name]]
    return next((place for place in places if place.is_dir()), None)


def _files(folder: Path, split: str) -> list[Path]:
    """The files of a split, named after it (``train-00000-of-00001.parquet``, ``ARC-Easy-Train.jsonl``) or in a folder of its name."""
    named = re.compile(rf"(^|[-.]){split}([-_.]|$)")
    files = (path for path in folder.rglob("*") if path.suffix in (".parquet", ".jsonl") and path.is_file())
    return sorted(path for path in files if named.search(path.name.lower()) or path.parent.name == split)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _each_once(questions: Sequence[Choice], left_out: Counter[str]) -> Iterator[Choice]:
    """Each question once, where a question is its text and its options in any order."""
    seen = set()
    for q in questions:
        key = (" ".join(q.stem.casefold().split()), frozenset(option.casefold() for option in q.options))
        if key in seen:
            left_out["there before"] += 1
        else:
            seen.add(key)
            yield q


def _read(folder: Path, name: str, left_out: Counter[str]) -> list[Choice]:
    found = []
    for path in _files(folder, _split(name)):
        try:
            rows = table(path)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{paths.shown(path)} cannot be read: {error}") from None
        for number, row in enumerate(rows, start=1):
            try:
                question = _choice(row, name)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueError(f"{paths.shown(path)}, row {number}: {error}") from None
            if isinstance(question, str):
                left_out[question] += 1
            else:
                found.append(question)
    return found


def _choice(row: Any, name: str) -> Choice | str:
    """The question in a row as published, or why it is left out."""
    if not isinstance(row, dict):
        raise ValueError(f"a question must be an object with columns, found {type(row).__name__}.")
    first = COLUMNS[name][0]
    inner = row.get("question")
    if isinstance(inner, dict) and "stem" in inner and "choices" in inner:  # the form of the authors' own JSON lines
        row = row | {first: inner["stem"], "choices": inner["choices"]}
    missing = [column for column in COLUMNS[name] if column not in row]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}; {HUB[name]} has {', '.join(COLUMNS[name])}.")
    stem = _text(row[first], first)
    if name == "sciq":
        options = tuple(" ".join(_text(row[column], column).split()) for column in COLUMNS[name][1:])
        order = numpy_generator(0, "order of options", stem).permutation(len(options)).tolist()
        question = Choice(name, stem, tuple(options[i] for i in order), order.index(0))
    else:
        labels, options = _options(row["choices"])
        gold = _place(row[COLUMNS[name][-1]], labels, counted=name == TEST)
        if gold is None:
            return "no answer key"
        question = Choice(_text(row["subject"], "subject") if name == TEST else name, stem, options, gold)
    if not all(question[:2]) or not all(question.options):
        return "an empty text"
    return "the right option stands twice" if options.count(question.options[question.gold]) > 1 else question


def _place(key: Any, labels: list[str], *, counted: bool) -> int | None:
    """The place of the right option, told by its label or, where they are ``counted``, by its number from 0; ``None`` where it is not told."""
    if key is None or str(key).strip() in ("", "-1"):
        return None
    if counted and not isinstance(key, str) and int(key) == key and 0 <= key < len(labels):
        return int(key)
    if str(key).strip() not in labels:
        raise ValueError(f"the answer is {str(key)[:20]!r}, which is none of the options {', '.join(labels)}.")
    return labels.index(str(key).strip())


def _options(choices: Any) -> tuple[list[str], tuple[str, ...]]:
    """Labels (A, B, ... where there are none) and texts, of a list of texts or of labelled texts in either form."""
    if isinstance(choices, dict) and {"text", "label"} <= set(choices):
        labels, texts = list(choices["label"]), list(choices["text"])
    elif isinstance(choices, (dict, str)) or not np.iterable(choices):
        raise ValueError("column choices holds neither a list of options nor texts with labels.")
    elif all(isinstance(one, dict) for one in choices):
        labels, texts = [one.get("label") for one in choices], [one.get("text") for one in choices]
    else:
        labels, texts = list(LETTERS[: len(choices)]), list(choices)
    labels = [str(label).strip() for label in labels]
    if not 2 <= len(texts) <= len(LETTERS) or len({*labels}) != len(texts) or len(labels) != len(texts):
        raise ValueError(f"column choices needs 2 to {len(LETTERS)} options with different labels, found {len(texts)}.")
    return labels, tuple(" ".join(_text(t, "choices").split()) for t in texts)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"column {column} must hold text, found {value!r:.40}.")
    value.encode()  # half a surrogate pair is no text
    return value.strip()


def made_up(n: int) -> Questions:
    """Invented questions of 3 to 5 options for a dry run: ``n`` to train on and two subjects of as many to test on."""
    rng = numpy_generator(0, "multiple choice")
    one = lambda kind, i: Choice(kind, f"{kind} {i}?", tuple("vwxyz"[: 3 + i % 3]), int(rng.integers(3)))
    return Questions([one("train", i) for i in range(n)], [one(kind, i) for kind in "st" for i in range(n)], {})
