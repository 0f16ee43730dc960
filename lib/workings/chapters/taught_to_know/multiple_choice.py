"""What a public language model knows about its own answers to multiple-choice questions: taught on four public sets, tested on MMLU.

The answer is the most probable of a question's own letters, so it is graded exactly. Answers and estimators are kept when they are done.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workings.calibration import bootstrap_ci
from workings.chapters.public_models import NotHere, Opened
from workings.chapters.taught_to_know.answerer import Answerer
from workings.chapters.taught_to_know.choice_questions import LETTERS, Choice, Questions
from workings.chapters.taught_to_know.self_knowledge import adapted, answers, logit, probed, quality
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.runs.store import Store
from workings.seeding import numpy_generator
from workings.uncertainty.confidence_estimators import option_logits

LONGEST = 1024  # tokens of a question with its options that are read; of a longer one, the last
POOLED, MEAN = "all together", "mean of subjects"


def drawn(found: Questions, s: ModelSettings) -> tuple[list[Choice], list[Choice], list[Choice]]:
    """Solved examples and questions to train on, which do not overlap, and at most ``s.per_subject`` test questions of each subject."""
    order = numpy_generator(s.seed, "choice, training").permutation(len(found.train))
    train = [found.train[i] for i in order[: s.examples + s.train]]
    asked: Counter[str] = Counter()
    test = []
    for i in numpy_generator(s.seed, "choice, test").permutation(len(found.test)):
        asked[found.test[i].kind] += 1
        if asked[found.test[i].kind] <= s.per_subject:
            test.append(found.test[i])
    if len(train) < s.examples + 10 or len(asked) < 2:
        raise NotHere(
            "at least 10 questions to train on and 2 subjects of MMLU are needed; the data folder holds fewer."
        )
    return train[: s.examples], train[s.examples :], test


class Chooser(Answerer):
    """As :class:`Answerer`, where an answer is the letter of an option."""

    def __init__(self, opened: Opened, settings: ModelSettings, examples: Sequence[Choice] = ()):
        super().__init__(opened, settings)
        self.shown = self.encode("".join(f"{q.text()} {LETTERS[q.gold]}\n\n" for q in examples))
        self.letters = self.single([f" {letter}" for letter in LETTERS])

    def question(self, row: dict[str, Any]) -> Choice:
        return Choice(row["kind"], row["stem"], tuple(row["options"]), row["gold"])

    def before(self, question: Choice, *, sentences: bool = False) -> list[int]:
        return self.shown + self.encode(question.text())[-LONGEST:]

    @torch.no_grad()
    def answer(self, group: Sequence[Choice], *, sentences: bool = False) -> list[dict[str, Any]]:
        """The most probable of a question's own options, its probability among them, and whether it is the right one."""
        rest, mask, past = self.begin([self.before(q) for q in group])
        _, logits = self.forward(rest.tokens, mask, past, logits=1)
        each = option_logits(logits.float(), rest.mask[:, -1:], self.letters).cpu()
        rows = []
        for question, logs in zip(group, each, strict=True):
            logs = logs[: len(question.options)].log_softmax(dim=0)
            best = int(logs.argmax())
            rows.append(question._asdict() | {
                "tokens": [self.letters[best]], "chosen": best, "right": best == question.gold, "log_p": float(logs[best]),
            })  # fmt: skip
        return rows


def run(opened: Opened, s: ModelSettings, found: Questions, store: Store) -> list[dict[str, Any]]:
    """Rows of method and ``subject``: each subject, all test answers pooled (intervals draw whole subjects), and the mean AUROC of the subjects.

    ``kept`` is the accuracy on the first 300 test questions after tuning and ``before`` that of the model before; ``left_out`` counts questions.
    """
    examples, train_on, test_on = drawn(found, s)
    model = Chooser(opened, s, examples)
    train, test = answers(model, store, train_on, "choice, training"), answers(model, store, test_on, "choice, test")
    grades, sets = torch.tensor([int(r["right"]) for r in train]), {"test": test}

    def once(name: str, compute: Callable[[], Any]) -> Any:
        if not store.done(name):
            store.put(name, compute())
        return store.get(name)

    tuned = {
        name: once(name, lambda prompt=prompt: adapted(model, train, sets, "test", prompt=prompt, weight=s.regulariser))
        for name, prompt in (("LoRA", False), ("LoRA + Prompt", True))
    }
    by_method = {
        "asked": once("asked", lambda: model.read(test, "plain").tolist()),
        "likelihood": [logit(np.exp(r["log_p"])) for r in test],
        "Probe": once("Probe", lambda: probed(model, train, grades, sets))["test"],
    } | {name: result["odds"]["test"] for name, result in tuned.items()}
    before = float(np.mean([r["right"] for r in test[:300]]))
    out = []
    for name, odds in by_method.items():
        more = {
            "before": before,
            "kept": tuned[name]["kept"] if name in tuned else before,
            "left_out": sum(found.left_out.values()),
        }
        out += of_method(name, np.array(odds), test, s, more)
    return out


def of_method(name: str, odds: np.ndarray, test: list, s: ModelSettings, more: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of one method, those of all answers first."""
    right = np.array([float(r["right"]) for r in test])
    kinds = np.array([r["kind"] for r in test])
    row = lambda subject, where: {"method": name, "subject": subject, "answers": int(where.sum()), "accuracy": float(right[where].mean())}  # fmt: skip
    every = np.ones(len(test), dtype=bool)
    pooled = row(POOLED, every) | quality(odds, right, s, f"choice, {name}", by=kinds) | more
    each = [
        row(kind, kinds == kind) | quality(odds[kinds == kind], right[kinds == kind], s, f"choice, {name}, {kind}")
        for kind in sorted(set(kinds.tolist()))
    ]
    ranks = np.array([one["auroc"] for one in each if one["auroc"] is not None])
    mean = row(MEAN, every) | {"subjects": len(ranks), "auroc": None, "low": None, "high": None}
    if len(ranks):
        rng = numpy_generator(s.seed, "bootstrap", "subjects", name)
        ci = bootstrap_ci(lambda values: float(values.mean()), ranks, rng=rng, resamples=s.resamples)
        mean |= {"auroc": ci.estimate, "low": ci.low, "high": ci.high}
    return [pooled, mean, *each]


def where(folder: Path, name: str, settings: ModelSettings, found: Questions) -> Store:
    """The store of one model's run on these questions; other questions are refused."""
    digest = hashlib.sha256(repr((found.train, found.test)).encode("utf-8", "backslashreplace")).hexdigest()
    return Store(folder / "choice.jsonl", {"settings": repr(settings), "model": name, "questions": digest})
