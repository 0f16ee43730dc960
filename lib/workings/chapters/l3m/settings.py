"""Sizes of the chapter `l3m`: of its toy, and of the runs on a public language model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from workings.chapters.public_models import PACKAGED
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered, device_here


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the toy: the page is the same at both tiers, and the full tier adds :class:`ModelSettings`."""

    seeds: tuple[int, ...] = (0, 1, 2)
    shortest: int = 3  # tokens of a response in the data, its end counted
    longest: int = 14
    width: int = 32
    heads: int = 2
    mlp: int = 64
    pretrain_steps: int = 200
    pretrain_lr: float = 5e-3
    steps: int = 300
    lr: float = 2e-3
    batch: int = 32  # responses of the data, and as many of the model's own, in each step
    scale: float = 5.0  # tokens that count as 1 in a constraint on length
    decay: float = 0.9  # of the running mean
    concise: tuple[float, float] = (4.0, 6.0)
    verbose: tuple[float, float] = (10.0, 12.0)
    middle: tuple[float, float] = (8.0, 10.0)  # of the run with two kinds of constraints
    uses: float = 0.3  # and at most so many uses of one word in a response
    dual_steps: tuple[float, ...] = (0.02, 0.2, 1.0)  # step sizes of dual ascent
    test: int = 2000  # responses of a measurement
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="length intervals on a small public model with adapters, three intervals and three rules, three seeds, on the "
        "prompts and responses of a folder (such as GSM8K's gsm8k_train.jsonl) or of UltraChat",
        gpu="one CUDA GPU with about 40 GB (an estimate: no run on a GPU is recorded)",
        shortened="200 steps of 6 responses of the data and 6 of the model's own, adapters on the last ten of 30 layers, three intervals and "
        "three dual ascents on two seeds, on the model of 135 million parameters and a folder with gsm8k_train.jsonl, of which 476 "
        "questions and first lines of an answer are short enough; 15 to 30 minutes a run of one processor core that multiplies bfloat16, "
        "and 3 GB, and each of its 14 runs is kept",
        settings=("settings.Settings", "settings.ModelSettings"),
        lower={
            "micro": "responses that are differentiated at once",
            "at_once": "responses that are sampled at once in a measurement",
        },
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """The page's own cells stay at the demo's sizes; ``dry_run`` makes them a few steps small."""
        if not dry_run:
            return replace(cls.demo(), device=device or "cpu")
        return cls(pretrain_steps=3, steps=24, batch=4, test=40, dual_steps=(0.2,), seeds=(0, 1), dry_run=True)


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the runs on a public language model. Lengths are in its tokens, the end token counted."""

    model: str = PACKAGED
    device: str = "cpu"
    seed: int = 0  # of a dry run's random model
    trained_length: int = 2048
    seeds: tuple[int, ...] = (0, 1, 2)
    intervals: tuple[tuple[float, float], ...] = ((0.5, 0.7), (0.8, 0.95), (1.1, 1.3))  # times the tuned model's mean
    dual_steps: tuple[float, ...] = (0.02, 0.2, 1.0)
    dual_seeds: tuple[int, ...] = (0, 1, 2)  # of the dual ascents; among the seeds
    steps: int = 1500
    lr: float = 2e-4
    rank: int = 16
    adapted_layers: int | None = None  # so many of the last layers get adapters; None: all
    chat: bool = True  # prompts in the model's chat form, else with a line's end behind
    first_line: bool = False  # of a response of the data, its first line alone
    half_products: bool = False  # products of training in bfloat16; sampling and measuring are never
    batch: int = 32  # responses of the data, and as many of the model's own, in each step
    micro: int = 16  # responses that are differentiated at once
    prompt_tokens: int = 256  # prompts that are longer, with their chat form, are left out
    response_tokens: int = 192  # and responses of the data that are longer
    new_tokens: int = 320  # a sampled response is cut off here: above every interval
    decay: float = 0.9
    held_out: float = 0.2  # of the examples, for measuring
    test: int = 512  # responses of a measurement at least: as many held-out prompts, or all of them, equally often
    at_once: int = 64  # and so many of them in the model at once
    examples: int = 20_000
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False) -> ModelSettings:
        """Sizes for one GPU; on a CPU first lines of short questions, fewer steps and two seeds; ``dry_run`` a tiny random model."""
        device = device_here()
        if dry_run:
            return cls(
                model="random", device=device, trained_length=64, seeds=(0,), intervals=((0.5, 0.7), (0.8, 0.95)),
                dual_steps=(0.2,), dual_seeds=(0,), steps=2, rank=2, adapted_layers=1, batch=3, micro=2, prompt_tokens=16, response_tokens=6,
                new_tokens=6, test=4, examples=40, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(
                seeds=(0, 1), intervals=((0.7, 0.85), (0.85, 0.95), (1.05, 1.25)), dual_seeds=(0, 1), steps=200, lr=1e-3, rank=8,
                adapted_layers=10, chat=False, first_line=True, half_products=fast_half_products(), batch=6, micro=6, prompt_tokens=45,
                response_tokens=16, new_tokens=26, test=256, at_once=32,
            )  # fmt: skip
        return cls(device=device)


def fast_half_products() -> bool:
    """Whether this processor multiplies bfloat16 by instructions of its own: without them such products take longer, not shorter."""
    import torch

    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
