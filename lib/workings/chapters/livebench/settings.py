"""Sizes of the chapter `livebench`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` needs no model and no download; ``full`` reads the public tables."""

    seeds: tuple[int, ...] = (0, 1, 2)
    questions: int = 40  # of each of eight tasks
    draws: int = 2000  # bootstrap samples
    checked_puzzles: int = 60  # generated, and their answers counted
    coverage_sets: int = 1000
    own_model: str = (
        ""  # "" (the packaged model, or a small random network) or the folder of one that transformers can read
    )
    own_questions: int = 25  # of each of eight tasks, put to the model; two to random weights
    own_tokens: int = 256
    release: str = "2024-06-24"  # whose published questions are put to the model that own_model names
    published_questions: int = 1000  # of each task, at most
    published_tokens: int = 4096  # of an answer to one of them
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="six public leaderboard tables; a model of one's own on generated questions and, where a folder holds them, on the published ones; the stored public answers, scored again",
        gpu=None,
        shortened=None,
        settings=("settings.Settings",),
        lower={
            "own_questions": "questions put to the model",
            "own_tokens": "tokens of an answer",
            "published_tokens": "tokens of an answer to a published question",
        },
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """All public tables; ``dry_run`` makes small ones up."""
        if dry_run:
            return cls(
                seeds=(0, 1), questions=4, draws=50, checked_puzzles=4, coverage_sets=50, own_questions=1, own_tokens=2,
                published_questions=3, published_tokens=2,
                dry_run=True,
            )  # fmt: skip
        return cls()
