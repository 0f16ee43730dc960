"""Train a :class:`~workings.language_models.decoder.TinyDecoder` on tokens and targets, under any positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from workings.checks import as_float, as_int
from workings.language_models.decoder import TinyDecoder
from workings.language_models.grammar import random_windows
from workings.language_models.lines_task import IGNORE, lines_batch, lines_in
from workings.language_models.random_positions import random_positions as draw_positions
from workings.seeding import torch_generator
from workings.training import Trained, fit, one_cycle

Batches = Callable[[int], tuple[torch.Tensor, torch.Tensor]]


def lines_batches(
    seed: int, stream: str, *, batch: int, length: int, n_queries: int, n_keys: int, n_values: int
) -> Batches:
    """Fresh lines for every training step: a function from the step to ``tokens`` and ``targets``, (batch, length) each.

    Step ``t`` draws from the stream ``(stream, t)`` of ``seed``, so that a resumed training sees the same sequences.
    See :func:`~workings.language_models.lines_task.lines_batch` for the sequences and its errors.
    """
    n_lines = lines_in(length, n_queries)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        source = torch_generator(seed, stream, step)
        return lines_batch(batch, n_lines, n_queries, n_keys=n_keys, n_values=n_values, generator=source)

    return batches


def next_token_batches(codes: torch.Tensor, seed: int, stream: str, *, batch: int, length: int) -> Batches:
    """Random windows of ``codes`` (N,) and the same windows one token later: (batch, length) each, for every step.

    Step ``t`` draws from the stream ``(stream, t)`` of ``seed``. ``ValueError`` for a text of ``length`` tokens or fewer.
    """
    length = as_int(length, "length", minimum=1)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        windows = random_windows(codes, batch, length + 1, torch_generator(seed, stream, step))
        return windows[:, :-1], windows[:, 1:]

    return batches


def train_decoder(
    model: TinyDecoder,
    batches: Batches,
    steps: int,
    *,
    seed: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.98),
    weight_decay: float = 0.01,
    warmup: int = 20,
    clip_norm: float = 1.0,
    random_positions: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **position_options,
) -> Trained:
    """Minimise the cross-entropy at every target that is not :data:`~workings.language_models.lines_task.IGNORE`.

    ``batches(t)`` gives ``tokens`` and ``targets`` (B, T) of step ``t``. AdamW with the peak rate ``lr``, ``betas`` and
    ``weight_decay``; the rate rises for ``warmup`` steps and then falls to zero on a cosine; gradients are scaled down to
    a norm of ``clip_norm``. ``random_positions`` draws the steps between neighbouring tokens from U(0, 2) anew in every
    training step (Pal et al., arXiv 2308.10882). ``position_options`` are those of ``TinyDecoder.states``; ``checkpoint``,
    ``checkpoint_every``, ``on_step`` and ``progress`` those of :func:`workings.training.fit`.

    A checkpoint remembers ``random_positions``, ``position_options`` and ``settings``, and refuses others. ``settings`` says
    in plain values what ``batches`` is, such as its batch size, length and stream: of a function nothing can be seen.

    Trains ``model`` in place and returns its losses in nats. Raises ``ValueError`` for a rate that is not positive, fewer
    than one step, or both ``positions`` and ``random_positions``.
    """
    steps = as_int(steps, "steps", minimum=1)
    lr = as_float(lr, "lr", minimum=0.0, open_ends=True)
    warmup = as_int(warmup, "warmup", minimum=0)
    if random_positions and "positions" in position_options:
        raise ValueError("give either positions or random_positions=True, not both.")

    def loss(model: TinyDecoder, pair: tuple[torch.Tensor, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        tokens, targets = (tensor.to(noise.device) for tensor in pair)
        options = dict(position_options)
        if random_positions:
            options["positions"] = draw_positions(*tokens.shape, noise)
        asked = targets != IGNORE
        return F.cross_entropy(model.lm_head(model.states(tokens, **options)[asked]), targets[asked])

    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=weight_decay)
    schedule = one_cycle(steps, warmup=min(warmup / steps, 1.0), start=0.05, end=0.0)
    return fit(
        model, loss, batches, optimiser, steps, seed=seed, schedule=schedule, clip_norm=clip_norm, checkpoint=checkpoint,
        checkpoint_every=checkpoint_every, on_step=on_step, progress=progress,
        settings={**(settings or {}), **_told(random_positions, position_options)},
    )  # fmt: skip


def _told(random_positions: bool, position_options: Mapping[str, Any]) -> dict[str, Any]:
    """What of the positions decides a training, in plain values; nothing where positions are the usual ones."""
    plain = {name: x.tolist() if isinstance(x, torch.Tensor) else x for name, x in position_options.items()}
    return {**plain, **({"random_positions": True} if random_positions else {})}
