"""The two small models of the Giraffe chapter and how they are trained.

The lines model is trained on sequences of 64 tokens to look up a value by its key; with ``rope_base=100`` nine of its
16 frequencies complete a turn within them, about LLaMA's share (41 of 64 within 2048). The character model learns
sentences of the tiny grammar. Every function that trains takes the position options of ``TinyDecoder.states``.
"""

from __future__ import annotations

import copy

import torch

from workings.language_models import grammar
from workings.language_models.decoder import TinyDecoder
from workings.language_models.training import lines_batches, next_token_batches, train_decoder
from workings.seeding import torch_generator
from workings.training import Trained

N_KEYS, N_VALUES = 288, 16
LENGTH = 64  # the trained length L, in tokens
ROPE_BASE = 100.0


def lines_model(generator: torch.Generator, *, n_keys: int = N_KEYS, **options) -> TinyDecoder:
    """One block of width 64 with key shift (76k parameters) over ``n_keys`` key and 16 value tokens.

    ``options`` replace any argument of ``TinyDecoder`` (``window=64``, ``positions="none"``, ``n_layers=2``).
    """
    chosen = {"width": 64, "n_layers": 1, "n_heads": 2, "mlp_width": 128, "key_shift": True, "rope_base": ROPE_BASE}
    return TinyDecoder(n_keys + N_VALUES, **{**chosen, **options}, generator=generator)


def character_model(generator: torch.Generator, **options) -> TinyDecoder:
    """Two blocks of width 64 without key shift over the 26 characters of the grammar; ``options`` as for lines."""
    chosen = {"width": 64, "n_layers": 2, "n_heads": 2, "mlp_width": 128, "rope_base": ROPE_BASE}
    return TinyDecoder(len(grammar.ALPHABET), **{**chosen, **options}, generator=generator)


def character_corpus(seed: int, name: str = "train", n_sentences: int = 5900) -> torch.Tensor:
    """Codes of a text of the grammar, about 45 characters per sentence; other names give independent texts."""
    return grammar.encode(grammar.sentences(n_sentences, torch_generator(seed, "characters", name)))


def train_lines(
    model: TinyDecoder,
    seed: int,
    steps: int = 600,
    *,
    length: int = LENGTH,
    n_queries: int = 8,
    n_keys: int = N_KEYS,
    batch: int = 32,
    lr: float = 4e-3,
    stream: str = "lines",
    **options,
) -> Trained:
    """Train ``model`` in place on fresh lines of ``length`` tokens, loss on the asked values only; returns the losses.

    ``options`` are those of :func:`~workings.language_models.training.train_decoder`.
    """
    batches = lines_batches(
        seed, stream, batch=batch, length=length, n_queries=n_queries, n_keys=n_keys, n_values=N_VALUES
    )
    told = {"batch": batch, "length": length, "n_queries": n_queries, "n_keys": n_keys, "stream": stream}
    return train_decoder(model, batches, steps, seed=seed, lr=lr, settings=told, **options)


def train_characters(
    model: TinyDecoder,
    codes: torch.Tensor,
    seed: int,
    steps: int = 600,
    *,
    length: int = LENGTH,
    batch: int = 32,
    lr: float = 3e-3,
    stream: str = "characters",
    **options,
) -> Trained:
    """Train ``model`` in place to predict the next character in windows of ``codes``; otherwise as :func:`train_lines`."""
    batches = next_token_batches(codes, seed, stream, batch=batch, length=length)
    told = {"batch": batch, "length": length, "codes": len(codes), "stream": stream}
    return train_decoder(model, batches, steps, seed=seed, lr=lr, settings=told, **options)


def fine_tune_lines(model: TinyDecoder, seed: int, steps: int = 100, **options) -> tuple[TinyDecoder, Trained]:
    """A fine-tuned copy of a lines model, and its losses: length 128, 16 queries, batch 16, rate 1e-3 by default."""
    tuned = copy.deepcopy(model)
    chosen = {"length": 2 * LENGTH, "n_queries": 16, "batch": 16, "lr": 1e-3, "stream": "lines, fine-tuning"}
    return tuned, train_lines(tuned, seed, steps, **{**chosen, **options})


def fine_tune_characters(
    model: TinyDecoder, codes: torch.Tensor, seed: int, steps: int = 80, **options
) -> tuple[TinyDecoder, Trained]:
    """A fine-tuned copy of a character model, and its losses: length 128, batch 16, rate 1e-3 by default."""
    tuned = copy.deepcopy(model)
    chosen = {"length": 2 * LENGTH, "batch": 16, "lr": 1e-3, "stream": "characters, fine-tuning"}
    return tuned, train_characters(tuned, codes, seed, steps, **{**chosen, **options})
