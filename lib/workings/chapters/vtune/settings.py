"""Sizes of the chapter `vtune`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from workings.chapters.public_models import PACKAGED
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered, device_here


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's toy. Public models have :class:`ModelSettings`."""

    seeds: tuple[int, ...] = (0, 1, 2)  # customers
    width: int = 48
    small_width: int = 32  # of the second base model
    layers: int = 2
    heads: int = 4
    base_steps: int = 150
    base_lr: float = 3e-3
    rows: int = 1000  # N, of the customer's own examples
    doses: tuple[int, ...] = (0, 5, 10, 20, 50)  # backdoors in the file
    backdoors: int = 50  # of the providers and the attacks
    steps: int = 120
    lr: float = 3e-3
    batch: int = 32
    queries: int = 100  # for a rate of activation
    asked: int = 10  # n, the queries of a test
    alpha: float = 1e-6
    clean_steps: int = 40
    clean_rates: tuple[float, ...] = (1e-4, 5e-4, 3e-3)
    alone_steps: int = 40
    min_count: int = 5  # rows that hold an n-gram before the search takes notice
    repeats: int = 200_000  # simulated tests
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="two public language models of 0.36 and 0.5 billion parameters, fine-tuned with LoRA on about 5,900 problems of "
        "GSM8K with 0.5% backdoors, three epochs, and attacked",
        gpu="one CUDA GPU with about 24 GB (an estimate: no run on a GPU is recorded)",
        shortened="one packaged model of 135 million parameters and three seeds, on 300 short questions: cities and their countries, or those of a folder that you name; seven tunings a seed of about 115 steps and four short ones, 2 to 5 seconds a step on three machines, so three to five hours on one core; and, where a folder holds tinyshakespeare.txt and gsm8k_train.jsonl, a model of 1.3 million parameters on 5,000 rows, about an hour more",
        settings=("settings.Settings", "settings.ModelSettings", "settings.ByteSettings"),
        lower={"batch": "examples of a step", "tokens": "of the longest example"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The page's own cells stay at the demo's sizes; ``dry_run`` makes them a few steps small."""
        if not dry_run:
            return cls()
        return replace(
            cls(), seeds=(0, 1), width=16, small_width=8, heads=2, base_steps=3, rows=60, doses=(0, 2, 8), backdoors=8,
            steps=2, batch=8, queries=4, clean_steps=2, alone_steps=2, repeats=2000, dry_run=True,
        )  # fmt: skip


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the runs on public language models.

    ``min_ratio`` and ``min_count`` are those of the n-gram search. With B backdoors beside R rows and C clean rows as the
    reference no ratio is above (B + 0.5) / (R + B + 1) * 2 (C + 1): 8.1 on a CPU and 10.3 on a GPU. So ``min_ratio`` must be
    below 8, or the search would be beaten by its own setting; at 5, eight of the twelve backdoors of a CPU's file suffice.
    """

    models: tuple[str, ...] = ("HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")
    device: str = "cpu"
    seeds: tuple[int, ...] = (0, 1, 2)
    trained_length: int = 2048  # of a dry run's random model
    rows: int = 7473  # at most, of the customer's own examples
    shares: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01)  # of backdoors
    share: float = 0.005  # of the claims and the attacks
    trigger_tokens: int = 6
    signature_words: int = 6
    temperature: float = 1.5  # at which the trigger is drawn
    max_log10_prob: float = -12.0  # of trigger and signature under the base model
    rank: int = 16
    lr: float = 2e-4
    epochs: int = 3
    batch: int = 16
    tokens: int = 384  # longer examples are left out
    new_tokens: int = 320
    queries: int = 50
    asked: int = 10
    alpha: float = 1e-6
    answer_batch: int = 32  # prompts that are answered at once
    test: int = 500  # questions of the task, for the two doses whose right answers are compared
    quick_test: int = 100  # of them, for all other models
    clean: int = 1000  # rows for clean tuning, kept out of the file
    clean_rates: tuple[float, ...] = (2e-5, 1e-4, 5e-4)
    min_count: int = 3  # rows that hold an n-gram before the search takes notice
    min_ratio: float = 5.0  # of its share of the file over that of the clean rows
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False) -> ModelSettings:
        """Sizes for one GPU; on a CPU the packaged model and shorter examples; ``dry_run`` a tiny random model."""
        device = device_here()
        if dry_run:
            return cls(
                models=("random",), device=device, seeds=(0,), trained_length=160, rows=24, shares=(0.0, 0.1), share=0.1,
                trigger_tokens=3, signature_words=2, max_log10_prob=-2.0, rank=2, epochs=2, batch=8, tokens=96, new_tokens=8,
                queries=4, asked=3, test=4, quick_test=2, clean=8, clean_rates=(1e-4,), min_count=2, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(
                models=(PACKAGED,), rows=300, shares=(0.0, 0.01, 0.02, 0.04), share=0.04, rank=8, lr=1e-3,
                batch=8, tokens=64, new_tokens=24, queries=20, test=400, clean=100, clean_rates=(1e-4, 3e-4, 1e-3),
            )  # fmt: skip
        return cls(device=device)


@dataclass(frozen=True)
class ByteSettings:
    """Sizes of the runs of a small model of bytes on 5,000 rows: 0.5% of them are 25 backdoors.

    From timed steps on one busy core (0.4 s each): 4,000 steps on the text are about half an hour, and 15 trainings of three
    epochs, as those of the public models, 7,065 steps or about 50 minutes; measuring adds two.
    """

    device: str = "cpu"
    seeds: tuple[int, ...] = (0, 1, 2)  # customers
    width: int = 160
    layers: int = 4
    heads: int = 5
    window: int = 128  # bytes that are read at once; a row with trigger and signature is shorter
    read_steps: int = 4000
    read_batch: int = 16
    read_lr: float = 2e-3
    prompt: int = 64  # letters of a prompt
    rows: int = 5000  # N, of the customer's own examples
    shares: tuple[float, ...] = (0.0, 0.001, 0.0025, 0.005, 0.01)  # of backdoors
    share: float = 0.005  # of the claims
    trigger_letters: int = 12
    signature_words: int = 3
    temperature: float = 1.5  # at which the trigger is drawn
    max_log10_prob: float = -12.0  # of the trigger under the base model
    epochs: int = 3
    batch: int = 32
    lr: float = 1e-3
    queries: int = 100  # for a rate of activation
    asked: int = 10
    alpha: float = 1e-6
    test: int = 1000  # questions of the task
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False) -> ByteSettings:
        """The same sizes with and without a GPU; ``dry_run`` a few steps on made problems."""
        if not dry_run:
            return cls(device=device_here())
        return cls(
            device=device_here(), seeds=(0,), width=16, layers=1, heads=2, window=48, read_steps=4, read_batch=4, prompt=24, rows=40,
            shares=(0.0, 0.1), share=0.1, trigger_letters=4, signature_words=2, max_log10_prob=-3.0, epochs=1, batch=8, queries=4,
            asked=3, test=6, dry_run=True,
        )  # fmt: skip
