"""The full tier (b) of the chapter `giraffe`: a public language model on LongChat-Lines under scaled frequencies.

The model is opened by :mod:`workings.chapters.public_models`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from workings import paths
from workings.chapters.giraffe.settings import SCALINGS
from workings.chapters.public_models import Opened, encode, rotary_modules
from workings.language_models.lines_task import longchat_prompt, parse_number, read_longchat_jsonl
from workings.language_models.rope_scaling import scale_frequencies
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import numpy_generator

# As in the toy, except that by-parts and YaRN ramp between 1 and 32 turns, their papers' own.
LLM_SCALINGS: dict[str, tuple[str, dict[str, Any]]] = {
    **SCALINGS,
    "by-parts 4": ("ntk_by_parts", {"factor": 4.0}),
    "YaRN 4": ("yarn", {"factor": 4.0}),
    "dynamic NTK": ("dynamic_ntk", {}),
}


@dataclass(frozen=True)
class LLMSettings:
    """Sizes of the language-model runs. Lines are about 23.4 tokens each."""

    model: str = "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    device: str = "cuda"
    seed: int = 0
    trained_length: int = 2048
    kinds: tuple[str, ...] = (
        "RoPE", "linear 2", "linear 4", "linear 8", "power 0.5", "truncated", "NTK 4", "dynamic NTK", "by-parts 4", "YaRN 4",
    )  # fmt: skip
    lines: tuple[int, ...] = (50, 100, 150, 200, 300, 400)
    double: int = 200  # the entry of ``lines`` that is about twice the trained length
    cases: int = 50
    max_new: int = 35
    memory_share: float = 0.6  # of the free memory, for one batch
    tuned: tuple[str, ...] = ("RoPE", "linear 4", "power 0.5", "truncated")
    rank: int = 16
    tune_steps: int = 200
    tune_batch: int = 8
    tune_tokens: int = 4096
    tune_lr: float = 1e-4
    min_characters: int = 20_480  # shorter documents are left out, as in the paper
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> LLMSettings:
        """Sizes for one GPU; on a CPU (a local model only) fewer cases and lengths; ``dry_run`` a tiny random model."""
        device = device or device_here()
        if dry_run:
            return cls(
                model="random", device=device, trained_length=128, kinds=("RoPE", "linear 4", "dynamic NTK"), lines=(1, 2),
                double=2, cases=3, max_new=3, tuned=("RoPE", "linear 4"), rank=2, tune_steps=2, tune_batch=2, tune_tokens=64,
                min_characters=100, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(
                device=device, kinds=("RoPE", "linear 4", "truncated"), lines=(50, 100, 200), cases=5, tune_steps=0
            )
        return cls(device=device)


class Case(NamedTuple):
    """One prompt, the number that answers it, and its number of lines."""

    prompt: str
    expected: int
    n_lines: int


@torch.no_grad()
def set_frequencies(model: nn.Module, theta: torch.Tensor, attention_factor: float = 1.0) -> None:
    """Make every rotary module of a `transformers` model use ``theta`` (d/2,) and ``attention_factor``; in place.

    Frequencies are kept in float32. Nothing else is cached in a Llama of transformers 4.45 or later.
    """
    for module in rotary_modules(model):
        if module.inv_freq.shape != theta.shape:
            raise ValueError(f"the model has frequencies {tuple(module.inv_freq.shape)}, got {tuple(theta.shape)}.")
        module.inv_freq = theta.to(device=module.inv_freq.device, dtype=torch.float32)
        module.attention_scaling = float(attention_factor)


def cases_of(settings: LLMSettings, data_root: str | Path | None = None) -> dict[int, list[Case]]:
    """The first ``cases`` prompts for each number of lines.

    From ``<n>_lines.jsonl`` under ``data_root`` (the real LongChat-Lines, one file per length) where it stands; else
    prompts in the same format, made here.
    """
    table = {}
    for n in settings.lines:
        file = None if data_root is None else Path(data_root) / f"{n}_lines.jsonl"
        if file is not None and file.is_file():
            read = read_longchat_jsonl(file)[: settings.cases]
            table[n] = [Case(record.prompt, record.expected, record.n_lines) for record in read]
        else:
            rng = numpy_generator(settings.seed, "longchat", n)
            table[n] = [Case(*longchat_prompt(rng, n), n) for _ in range(settings.cases)]
    return table


def bytes_per_sequence(config: Any, tokens: int, width: int = 2) -> int:
    """Memory that one sequence of ``tokens`` takes while it is read: keys and values of all layers, activations of one.

    ``width`` is the size of a number in bytes. Attention is taken to be computed in pieces (no T x T matrix).
    """
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    cache = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * head
    return width * tokens * (cache + 12 * config.hidden_size + 4 * config.intermediate_size)


def free_memory(device: str) -> int:
    """Free bytes on a CUDA device, or of the machine; 2 GiB where the system does not tell."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info()[0]
    try:
        with open("/proc/meminfo") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 2 << 30


def batch_that_fits(config: Any, tokens: int, free: int, share: float, width: int, most: int) -> int:
    """How many sequences of ``tokens`` fit in ``share`` of ``free`` bytes, at most ``most``; 0 when not even one does."""
    return max(0, min(most, math.floor(share * free / bytes_per_sequence(config, tokens, width))))


@torch.no_grad()
def answers(opened: Opened, prompts: Sequence[list[int]], max_new: int) -> list[str]:
    """Greedy continuations of prompts of different lengths, in one batch padded on the left."""
    model, tokenizer = opened.model, opened.tokenizer
    device, longest = next(model.parameters()).device, max(map(len, prompts))
    pad = tokenizer.eos_token_id
    tokens = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    out = model.generate(
        input_ids=tokens, attention_mask=mask, max_new_tokens=max_new, do_sample=False, temperature=None, top_p=None,
        pad_token_id=pad,
    )  # fmt: skip
    return [tokenizer.decode(row[longest:], skip_special_tokens=True) for row in out]


def set_scaling(opened: Opened, name: str, settings: LLMSettings, seq_len: int | None = None) -> None:
    """Put the scaling ``name`` of :data:`LLM_SCALINGS` on the model, always starting from its own frequencies."""
    kind, options = LLM_SCALINGS[name]
    extra = {"seq_len": seq_len} if kind == "dynamic_ntk" else {}
    changed = scale_frequencies(opened.theta, kind, orig_len=settings.trained_length, **options, **extra)
    set_frequencies(opened.model, *changed)


def longchat_rows(
    opened: Opened, names: Iterable[str], table: dict[int, list[Case]], settings: LLMSettings, store: Store, *,
    train: str = "none", watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:  # fmt: skip
    """Accuracy on LongChat-Lines under each scaling and number of lines; every case goes to ``store`` as it is answered.

    Scored by the first number in the answer, as the paper does. A length that does not fit in memory gives a row
    whose accuracy is None.
    """
    for name, n in watch([(name, n) for name in names for n in table]):
        coded = [encode(opened.tokenizer, case.prompt) for case in table[n]]
        longest = max(map(len, coded)) + settings.max_new
        width = next(opened.model.parameters()).element_size()
        batch = batch_that_fits(
            opened.model.config, longest, free_memory(settings.device), settings.memory_share, width, len(coded)
        )
        todo = [i for i in range(len(coded)) if not store.done(_key(train, name, n, i))]
        if not batch:
            continue
        set_scaling(opened, name, settings, seq_len=longest)
        for start in range(0, len(todo), batch):
            part = todo[start : start + batch]
            for i, text in zip(part, answers(opened, [coded[i] for i in part], settings.max_new), strict=True):
                hit = parse_number(text) == table[n][i].expected
                store.put(_key(train, name, n, i), {"hit": hit, "answer": text[:80], "tokens": len(coded[i])})
    return [_row(train, name, n, len(table[n]), opened, settings, store) for name in names for n in table]


def _key(train: str, name: str, n: int, i: int) -> str:
    return f"{train}/{name}/{n}/{i}"


def _row(
    train: str, name: str, n: int, cases: int, opened: Opened, settings: LLMSettings, store: Store
) -> dict[str, Any]:
    done = [store.get(_key(train, name, n, i)) for i in range(cases) if store.done(_key(train, name, n, i))]
    return {
        "model": opened.name, "train": train, "eval": name, "lines": n, "cases": len(done), "device": settings.device,
        "tokens": round(sum(d["tokens"] for d in done) / len(done)) if done else None,
        "accuracy": sum(d["hit"] for d in done) / len(done) if done else None,
    }  # fmt: skip


def llm_folder(settings: LLMSettings) -> Path:
    """Where the runs of this model keep their state."""
    name = "dry" if settings.dry_run else settings.model.rsplit("/", 1)[-1].lower()
    return paths.runs_root() / "giraffe" / f"llm-{name}-{settings.device}"
