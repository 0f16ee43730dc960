"""Sizes of the chapter `giraffe`, and the scalings of the frequencies that it compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

BLOCKS = 4  # perplexity is kept in blocks of L / 4 positions


# Name -> kind of scale_frequencies and its options. by-parts and YaRN ramp between 1 and 4 turns, not 1 and 32: at the
# toy's length no frequency makes 32 turns.
SCALINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "RoPE": ("default", {}),
    **{f"linear {s}": ("linear", {"factor": float(s)}) for s in (2, 4, 6, 8, 16)},
    **{f"NTK {s}": ("ntk", {"factor": float(s)}) for s in (2, 4, 8)},
    "by-parts 4": ("ntk_by_parts", {"factor": 4.0, "beta": 4.0}),
    "YaRN 4": ("yarn", {"factor": 4.0, "beta_fast": 4.0}),
    "power 0.5": ("power", {}),
    "truncated": ("truncated", {}),
    "no rotation": ("proportional", {"fraction": 0.0}),
}

RANDOMISED = "randomised"  # a way to fine-tune; evaluated with ordinary positions

LAYOUT_CASES = (("RoPE", "half"), ("RoPE", "interleaved"), ("xPos", "half"), ("xPos", "interleaved"))


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's models and measurements."""

    seeds: tuple[int, ...] = (0, 1, 2)
    length: int = 64  # L, the trained length in tokens
    base: float = 100.0  # nine of 16 frequencies complete a turn within L, about LLaMA's share
    width: int = 64
    heads: int = 2
    mlp: int = 128
    layers: int = 1
    n_keys: int = 288
    warm_steps: int = 0  # at L/4 first: many lines at once are hard to learn from nothing
    steps: int = 600
    batch: int = 32
    queries: int = 8
    lr: float = 4e-3
    warm_lr: float = 4e-3
    tune_steps: int = 60
    tune_batch: int = 16
    tune_lr: float = 1e-3
    layout_steps: int = 60
    gamma: float = 64.0  # of xPos
    multiples: tuple[int, ...] = (1, 2, 4, 8)
    sequences: int = 32  # test sequences per length, each with ``queries`` questions
    zero_shot: tuple[str, ...] = (
        "RoPE", "linear 2", "linear 4", "linear 6", "linear 8", "linear 16", "NTK 4", "NTK 8", "by-parts 4", "power 0.5",
        "truncated", "no rotation",
    )  # fmt: skip
    tuned: tuple[str, ...] = ("RoPE", "linear 2", "linear 4", "linear 8", "power 0.5", "truncated", RANDOMISED)
    scales: tuple[int, ...] = (1, 2, 4, 8, 16)  # of the heat map
    char_layers: int = 2
    char_steps: int = 300
    char_batch: int = 16
    char_lr: float = 3e-3
    char_tune_steps: int = 60
    char_tune_batch: int = 8
    char_windows: int = 32
    char_sentences: int = 5900
    char_zero_shot: tuple[str, ...] = ("RoPE", "linear 4", "NTK 4", "truncated")
    char_tuned: tuple[str, ...] = ("RoPE", "linear 4", "NTK 4", "truncated")
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="models of four blocks for 20,000 steps from three seeds, and TinyLlama with 1.1 billion parameters, which is fetched, "
        "read and fine-tuned at up to 4,096 tokens and more",
        gpu="one CUDA GPU, about 8 GB for the models from scratch and about 80 GB to fine-tune TinyLlama (estimates: no run "
        "on a GPU is recorded)",
        shortened="models of one block (two for text) for about 1,200 steps; TinyLlama only from a folder, read and not fine-tuned",
        settings=("settings.Settings", "llm.LLMSettings"),
        lower={
            "batch": "sequences of a training step", "tune_batch": "of a fine-tuning step",
            "memory_share": "TinyLlama's share of the free memory",
        },
    )  # fmt: skip

    @classmethod
    def demo(cls) -> Settings:
        """Less of everything than the defaults: the whole page in a minute on two cores."""
        return cls(
            steps=500, tune_steps=40, layout_steps=30, char_steps=200, char_tune_steps=30, char_windows=16, sequences=16,
            zero_shot=tuple(name for name in cls.zero_shot if name != "NTK 8"),
            tuned=tuple(name for name in cls.tuned if name != "linear 2"),
            char_tuned=("RoPE", "linear 4", "truncated"),
        )  # fmt: skip

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """The page's own cells stay at the demo's sizes; ``dry_run`` makes them a few steps small."""
        if not dry_run:
            return replace(cls.demo(), device=device or "cpu")
        return cls(
            steps=4, batch=4, tune_steps=2, tune_batch=2, layout_steps=2, sequences=2, char_steps=3, char_batch=4,
            char_tune_steps=2, char_tune_batch=2, char_windows=2, char_sentences=60, seeds=(0, 1), dry_run=True,
        )  # fmt: skip
