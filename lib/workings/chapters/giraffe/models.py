"""The two small models of the Giraffe chapter and how they are trained.

The lines model is trained on sequences of 64 tokens to look up a value by its key; with ``rope_base=100`` nine of its
16 frequencies complete a turn within them, about LLaMA's share (41 of 64 within 2048). The character model learns
sentences of the tiny grammar. Every function that trains takes the position options of ``TinyDecoder.states``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from workings.checks import as_float, as_int
from workings.language_models import grammar
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lines_task import IGNORE, lines_batch, lines_in
from workings.language_models.random_positions import random_positions as draw_positions
from workings.seeding import generator as stream_generator
from workings.training import Trained, fit, one_cycle

N_KEYS, N_VALUES = 288, 16
LENGTH = 64  # the trained length L, in tokens
ROPE_BASE = 100.0
WARMUP = 20  # steps


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
    """Codes of a text of the grammar, about 45 characters a sentence; other names give independent texts."""
    return grammar.encode(grammar.sentences(n_sentences, stream_generator(seed, "characters", name)))


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

    AdamW (0.9, 0.98) with weight decay 0.01, 20 steps of warm-up, cosine to zero, gradient norm at most 1. ``options``:
    ``random_positions``, ``checkpoint``, ``checkpoint_every``, ``on_step``, ``progress`` and position options.
    """
    n_lines = lines_in(length, n_queries)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = stream_generator(seed, stream, step)
        return lines_batch(batch, n_lines, n_queries, n_keys=n_keys, n_values=N_VALUES, generator=generator)

    return _train(model, batches, seed, steps, lr, **options)


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
    length = as_int(length, "length", minimum=1)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        windows = grammar.random_windows(codes, batch, length + 1, stream_generator(seed, stream, step))
        return windows[:, :-1], windows[:, 1:]

    return _train(model, batches, seed, steps, lr, **options)


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


def _train(
    model: TinyDecoder,
    batches: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    seed: int,
    steps: int,
    lr: float,
    *,
    random_positions: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
    **position_options,
) -> Trained:
    """Cross-entropy training on (tokens, targets); ``random_positions`` draws steps U(0, 2) between tokens (Giraffe)."""
    steps = as_int(steps, "steps", minimum=1)
    lr = as_float(lr, "lr", minimum=0.0, open_ends=True)
    if random_positions and "positions" in position_options:
        raise ValueError("give either positions or random_positions=True, not both.")

    def loss(model: TinyDecoder, pair: tuple[torch.Tensor, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        tokens, targets = (tensor.to(noise.device) for tensor in pair)
        options = dict(position_options)
        if random_positions:
            options["positions"] = draw_positions(*tokens.shape, noise)
        asked = targets != IGNORE
        return F.cross_entropy(model.lm_head(model.states(tokens, **options)[asked]), targets[asked])

    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = one_cycle(steps, warmup=min(WARMUP / steps, 1.0), start=0.05, end=0.0)
    return fit(
        model,
        loss,
        batches,
        optimiser,
        steps,
        seed=seed,
        schedule=schedule,
        clip_norm=1.0,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        on_step=on_step,
        progress=progress,
    )
