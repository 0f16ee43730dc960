"""Graded answers that the authors released: another model's answers, judged by an estimator on a public model.

They publish, for each of their models, a table of questions, answers and grades (``Llama-2-7b-hf-20k-oe`` of their organisation
``calibration-tuning`` on the Hugging Face hub). It was not at hand here, so no checksum is known and nothing is fetched: put its files
``train...`` and ``validation...`` (Parquet as published, or CSV or JSON lines) into a folder of that name in the data folder. The columns
are those of the authors' code: context, target_prompt, output, query_label.
"""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workings import paths
from workings.chapters import json_lines
from workings.chapters.public_models import NotHere, Opened
from workings.chapters.taught_to_know.answerer import WAYS, Answerer
from workings.chapters.taught_to_know.self_knowledge import quality, remove_adapters, train_adapters
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator

NAME = "Llama-2-7b-hf-20k-oe"
COLUMNS = ("context", "target_prompt", "output", "query_label")
LONGEST = 512  # tokens of a question, and of an answer, that are read


def load(root: str | Path | None) -> dict[str, list[dict[str, Any]]]:
    """Rows by split, ``train`` and ``validation``: ``asked``, ``said`` and ``right``; rows without a grade are left out.

    Raises :class:`NotHere` where the files or the library that reads them are missing, and ``ValueError`` for other columns.
    """
    folder = None if root is None else next((p for p in (Path(root) / NAME, Path(root)) if _files(p, "train")), None)
    if folder is None or not _files(folder, "validation"):
        raise NotHere(
            f"no folder {NAME} with files train... and validation... in the data folder; see released_answers.py."
        )
    return {split: _graded(folder, split) for split in ("train", "validation")}


def _files(folder: Path, split: str) -> list[Path]:
    named = [*folder.glob(f"{split}*"), *folder.glob(f"data/{split}*")]
    return sorted(p for p in named if p.suffix in (".parquet", ".csv", ".jsonl"))


def _graded(folder: Path, split: str) -> list[dict[str, Any]]:
    found = []
    for path in _files(folder, split):
        for row in table(path):
            missing = [column for column in COLUMNS if column not in row]
            if missing:
                raise ValueError(
                    f"{paths.shown(path)} has no column {', '.join(missing)}; it must have {', '.join(COLUMNS)}."
                )
            grade = str(row["query_label"]).strip()
            if grade in (
                "0",
                "1",
                "0.0",
                "1.0",
            ):  # the authors mark an answer that they could not grade by another number
                asked = f"{row['context'] or ''}{row['target_prompt'] or ''}"
                found.append({"asked": asked, "said": str(row["output"] or "").strip(), "right": grade[0] == "1"})
    return found


def table(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet, CSV or JSON-lines file; :class:`NotHere` where the library that reads Parquet is missing."""
    if path.suffix == ".jsonl":
        return json_lines.read(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if importlib.util.find_spec("pyarrow") is None:
        raise NotHere(f"{paths.shown(path)} is Parquet: pip install pyarrow, or save it as CSV.")
    import pandas as pd

    read = pd.read_parquet(path).astype(object)
    return read.where(read.notna(), None).to_dict("records")  # pandas would put NaN where a text is missing


def made_up(n: int) -> dict[str, list[dict[str, Any]]]:
    """Invented rows for a dry run."""
    rng = numpy_generator(0, "released answers")
    rows = [{"asked": f"Q: {i}\nA:", "said": "ab"[int(rng.integers(2))], "right": bool(i % 2)} for i in range(2 * n)]
    return {"train": rows[:n], "validation": rows[n:]}


class Judge(Answerer):
    """As :class:`Answerer`, for answers of another model, which come as text."""

    def with_answer(self, row: dict[str, Any], way: str | None = None) -> list[int]:
        behind = [] if way is None else self.encode(WAYS[way][0])
        return self.encode(row["asked"])[-LONGEST:] + list(row["tokens"]) + behind

    def tokenised(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the tokens of their answers, all of one kind."""
        return [row | {"kind": "released", "tokens": self.encode(" " + row["said"])[:LONGEST]} for row in rows]


def run(opened: Opened, s: ModelSettings, rows: dict[str, list[dict[str, Any]]], store: Store) -> list[dict[str, Any]]:
    """One row per method: asking, and LoRA + Prompt trained on each number of answers in ``s.released``: AUROC, ECE, intervals.

    All are tested on the released validation answers. A training set is drawn without replacement; a number above that of the rows
    takes all of them.
    """
    judge = Judge(opened, s)
    train, test = judge.tokenised(rows["train"]), judge.tokenised(rows["validation"])
    right = np.array([float(row["right"]) for row in test])
    order = numpy_generator(s.seed, "released answers", "order").permutation(len(train))

    def odds(n: int) -> list[float]:
        if n == 0:
            return judge.read(test, "plain").tolist()
        with global_seed(s.seed, "released answers"):
            train_adapters(judge, [train[i] for i in order[:n]], prompt=True, regulariser=s.regulariser)
        try:
            with torch.no_grad():
                return judge.read(test, "plain").tolist()
        finally:
            remove_adapters(judge.model)

    out = []
    for n in (0, *s.released):
        n = min(n, len(train))
        name = "asked" if n == 0 else f"LoRA + Prompt, {n} answers"
        if not store.done(name):
            store.put(name, odds(n))
        found = quality(np.array(store.get(name)), right, s, name)
        out.append({"method": name, "trained": n, "answers": len(test), "right": float(right.mean())} | found)
    return out
