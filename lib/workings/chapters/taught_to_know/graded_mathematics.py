"""Real graded answers: four models' solutions of 1,319 grade-school problems, and estimators that read only their words.

The solutions come with the data set GSM8K (Cobbe et al., arXiv 2110.14168): two sizes of one model family, each with two ways to answer, and
whether each answer is right. No token probabilities come with them, so the estimators here are logistic regressions on how often
words and word pairs stand in a text (TF-IDF weights), split by question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workings.calibration import auroc, bootstrap_ci, ece_positive
from workings.chapters import json_lines
from workings.chapters.taught_to_know.public_tables import find
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.runs.progress import progress
from workings.seeding import numpy_generator

NAME = "example_model_solutions.jsonl"
SHA256 = "4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b"
_ADDRESS = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/" + NAME
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def load(root: str | Path | None = None) -> list[dict[str, Any]]:
    """One dictionary per question; the file may also be called ``gsm8k_example_model_solutions.jsonl``."""
    name = NAME if root is None or (Path(root) / NAME).is_file() else f"gsm8k_{NAME}"
    path = find(name, SHA256, _ADDRESS, root, "gsm8k")
    return json_lines.read(path)


def made_up(n: int) -> list[dict[str, Any]]:
    """Invented questions and answers for a dry run: an answer that says "well" is right more often."""
    rng = numpy_generator(0, "graded mathematics", "made up")
    words = ("apples", "pears", "plums", "nuts")
    out = []
    for i in range(n):
        row: dict[str, Any] = {"question": f"{words[i % 4]} and {words[rng.integers(4)]}?"}
        for model in MODELS:
            right = bool(rng.random() < 0.5)
            row[model] = {"is_correct": right, "solution": "well" if right == (rng.random() < 0.8) else "hm"}
        out.append(row)
    return out


def _scores(train: Sequence[str], grades: np.ndarray, tests: list[Sequence[str]], seed: int) -> list[np.ndarray]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\d+|[^\W\d]+|[-+*/=<>]+")
    model = LogisticRegression(C=1.0, max_iter=500, random_state=seed)
    model.fit(words.fit_transform(train), grades)
    return [model.predict_proba(words.transform(texts))[:, 1] for texts in tests]


def grades(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """1 where an answer is right, else 0, by model."""
    return {m: np.array([float(row[m]["is_correct"]) for row in rows]) for m in MODELS}


def run(rows: list[dict[str, Any]], settings: ModelSettings) -> list[dict[str, Any]]:
    """One row per (reads, trained on, tested on), see :func:`estimators`; ``reads`` is "question" or "answer", its words."""
    texts = {("question", m): [row["question"] for row in rows] for m in MODELS}
    texts |= {("answer", m): [row[m]["solution"] for row in rows] for m in MODELS}
    return estimators(texts, grades(rows), settings, _scores)


def estimators(
    inputs: dict[tuple[str, str], list[Any]],
    right: dict[str, np.ndarray],
    settings: ModelSettings,
    score: Callable[[Sequence[Any], np.ndarray, list[Sequence[Any]], int], list[np.ndarray]],
) -> list[dict[str, Any]]:
    """One row per (reads, trained on, tested on): AUROC and ECE with 95% bootstrap intervals over questions.

    ``inputs`` holds what an estimator reads, by (reads, model); one whose reads begin with "question" reads nothing of an answer and
    is tested on its own model only. ``score(train, grades, tests, seed)`` fits and gives the confidences of each test. Every question
    is scored once, by an estimator trained on the other folds.
    """
    s, n = settings, len(next(iter(right.values())))
    fold = numpy_generator(s.seed, "folds").permutation(n) % s.folds
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for reads, source in progress(list(inputs), "estimators of graded answers"):
        targets = (source,) if reads.startswith("question") else MODELS
        for k in range(s.folds):
            inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            tests = [[inputs[reads, m][i] for i in outside] for m in targets]
            scores = score([inputs[reads, source][i] for i in inside], right[source][inside], tests, s.seed)
            for m, p in zip(targets, scores, strict=True):
                found.setdefault((reads, source, m), np.empty(n))[outside] = p
    out = []
    for (reads, source, target), p in found.items():
        low_high = bootstrap_ci(
            auroc,
            p,
            right[target],
            rng=numpy_generator(s.seed, "bootstrap", reads, source, target),
            resamples=s.resamples,
        )
        out.append({
            "reads": reads, "trained": source, "tested": target, "answers": n, "right": float(right[target].mean()),
            "auroc": low_high.estimate, "low": low_high.low, "high": low_high.high, "ece": ece_positive(p, right[target]),
        })  # fmt: skip
    return out


def transfer(table: list[dict[str, Any]]) -> tuple[float, float]:
    """AUROC of another model's estimator minus the own one's, over the twelve pairs: mean, and standard deviation over the four
    models tested."""
    own = {r["tested"]: r["auroc"] for r in table if r["reads"] == "answer" and r["trained"] == r["tested"]}
    by_target = [
        np.mean(
            [r["auroc"] - own[m] for r in table if r["reads"] == "answer" and r["tested"] == m and r["trained"] != m]
        )
        for m in own
    ]
    return float(np.mean(by_target)), float(np.std(by_target, ddof=1))
