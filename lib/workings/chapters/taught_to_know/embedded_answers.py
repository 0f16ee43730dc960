"""The graded mathematics answers as a small language model reads them: heads on its frozen states, beside heads on the words.

The model gave none of these answers; its states stand in for a sentence embedding. A question's embedding is the mean of the last states
over its tokens, an answer's the mean over the answer's tokens behind the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workings.chapters.taught_to_know import graded_mathematics
from workings.chapters.taught_to_know.answerer import Answerer, padded
from workings.chapters.taught_to_know.graded_mathematics import MODELS
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator

QUESTIONS = 600  # drawn at random; each has an answer of every model
LONGEST = 512  # tokens of a question, and of an answer, that are read
BLOCK = 20


@torch.no_grad()
def embed(model: Answerer, row: dict[str, Any]) -> dict[str, list[float]]:
    """Mean states of the question and of each model's answer, by name, to four decimals."""
    asked = model.encode(row["question"] + "\n")[:LONGEST]
    read = model.model.model(input_ids=torch.tensor([asked], device=model.s.device), use_cache=True)
    cache = read.past_key_values
    cache.batch_repeat_interleave(len(MODELS))
    said = padded([model.encode(row[m]["solution"] or "?")[:LONGEST] for m in MODELS], model.fill, model.s.device)
    mask = torch.cat([said.mask.new_ones(len(MODELS), len(asked)), said.mask], dim=1)
    states, _ = model.forward(said.tokens, mask, cache, logits=0)
    weight = said.mask[:, :, None].float()
    means = (states.float() * weight).sum(dim=1) / weight.sum(dim=1)
    found = {"question": read.last_hidden_state[0].float().mean(dim=0)} | dict(zip(MODELS, means, strict=True))
    return {name: [round(v, 4) for v in state.tolist()] for name, state in found.items()}


def _scores(train: Sequence[Any], grades: np.ndarray, tests: list[Sequence[Any]], seed: int) -> list[np.ndarray]:
    """Logistic regression on standardised states, its penalty chosen by cross-validation inside the training part."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    penalties = {"logisticregression__C": np.logspace(-5, 0, 6)}
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    model = GridSearchCV(head, penalties, cv=folds, scoring="neg_log_loss").fit(np.array(train), grades)
    return [model.predict_proba(np.array(states))[:, 1] for states in tests]


def run(model: Answerer, rows: list[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    """As :func:`workings.chapters.taught_to_know.graded_mathematics.run`, on a draw of the questions.

    ``reads`` is "question's states", "answer's states", or, for the same questions, "question's words" and "answer's words".
    """
    s = model.s
    drawn = numpy_generator(s.seed, "embedded questions").permutation(len(rows))[:QUESTIONS]
    chosen = [rows[i] for i in drawn]
    states: list[dict[str, list[float]]] = []
    for start in progress(range(0, len(chosen), BLOCK), "reading graded answers"):
        if not store.done(f"states/{start}"):
            store.put(f"states/{start}", [embed(model, row) for row in chosen[start : start + BLOCK]])
        states += store.get(f"states/{start}")
    right = graded_mathematics.grades(chosen)
    inputs = {("question's states", m): [row["question"] for row in states] for m in MODELS}
    inputs |= {("answer's states", m): [row[m] for row in states] for m in MODELS}
    found = graded_mathematics.estimators(inputs, right, s, _scores)
    words = graded_mathematics.run(chosen, s)
    return found + [row | {"reads": f"{row['reads']}'s words"} for row in words]


def own(table: list[dict[str, Any]], reads: str) -> np.ndarray:
    """AUROC of the heads that read ``reads``, each on the model it was made for: (models,)."""
    return np.array([r["auroc"] for r in table if r["reads"] == reads and r["trained"] == r["tested"]])
