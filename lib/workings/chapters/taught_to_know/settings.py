"""Sizes of the chapter `taught_to_know`: of its toy, and of the runs on real answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from workings.chapters.public_models import PACKAGED
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the toy: the page is the same at both tiers, and the full tier adds :class:`ModelSettings`."""

    seeds: tuple[int, ...] = (0, 1, 2)
    width: int = 48
    layers: int = 2
    heads: int = 4
    mlp: int = 96
    pretrain_steps: int = 250
    pretrain_batch: int = 64
    pretrain_lr: float = 5e-3
    weak_step: int = 125  # the weak model is the same training, stopped here
    asked: float = 0.2  # share of pre-training rows that end with a question about the answer
    says_yes: float = 0.95  # share of "yes" among them, whatever the answer is
    graded: int = 1000
    few: int = 100  # and this many, on the curve of sizes
    many: int = 4000
    known: tuple[int, ...] = (0, 1, 2, 3)  # domains of the graded answers
    held_out: tuple[int, ...] = (4, 5)
    test: int = 1200
    probe_steps: int = 250
    probe_lr: float = 1e-3
    steps: int = 125  # of LoRA
    lr: float = 3e-3
    rank: int = 8
    alpha: float = 32.0
    batch: int = 32
    regulariser: float = 1.0
    resamples: int = 200
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="estimators of confidence on a small public model and on real graded answers, with bootstrap intervals",
        gpu="one CUDA GPU with about 16 GB (an estimate: no run on a GPU is recorded)",
        shortened="the same on the model of 135 million parameters, with fewer steps",
        settings=("settings.Settings", "settings.ModelSettings"),
        lower={"batch": "answers of a training step", "read": "answers that are read at once"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """The page's own cells stay at the demo's sizes; ``dry_run`` makes them a few steps small."""
        if not dry_run:
            return cls.demo()
        return replace(
            cls.demo(), pretrain_steps=40, weak_step=30, pretrain_batch=32, graded=60, few=20, many=80, test=300, probe_steps=4,
            steps=3, batch=8, resamples=10, seeds=(0, 1), dry_run=True,
        )  # fmt: skip


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the runs on a public language model and on real graded answers."""

    model: str = PACKAGED
    device: str = "cpu"
    seed: int = 0
    trained_length: int = 2048
    questions: int = 2400  # asked; the answers are graded
    train: int = 1000
    held_out: str = "capital"  # the type of question that no training row has
    large: str = "country"  # the type with the most answers: held out in trainings of its own
    large_rows: int = 600  # and so many of its answers are tested
    examples: int = 4  # solved ones before each question
    new_tokens: int = 8
    read: int = 32  # answers that are read at once
    probe_steps: int = 400
    probe_lr: float = 1e-3
    steps: int = 1000
    lr: float = 1e-4
    rank: int = 8
    alpha: float = 32.0
    batch: int = 32
    regulariser: float = 1.0
    resamples: int = 1000
    folds: int = 5  # of the graded mathematics answers
    released: tuple[int, ...] = (1000, 18_000)  # of the authors' graded answers that an estimator is trained on
    per_subject: int = 100  # multiple-choice questions of each subject that are asked
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False) -> ModelSettings:
        """Sizes for one GPU; on a CPU fewer and larger steps of smaller batches; ``dry_run`` a tiny random model."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if dry_run:
            return cls(
                model="random", device=device, trained_length=256, questions=40, train=16, examples=0, new_tokens=2, read=16, probe_steps=3,
                steps=1, rank=2, batch=2, resamples=5, folds=2, released=(8,), per_subject=8, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(steps=120, lr=5e-4, batch=8, released=(1000,), per_subject=20)
        return cls(device=device)
