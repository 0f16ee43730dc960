"""The known-factor experiment: give a decoder the true factors through noise and measure which gets capacity first.

Burgess et al., arXiv 1804.03599, Figure 3, replace the encoder by one noisy channel per factor. Here the channel
is :class:`FactorChannel`, whose rates sum to the capacity at every step, so nothing has to be enforced by a penalty.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from workings.checks import as_float, as_int
from workings.disentangling.factor_channel import FactorChannel
from workings.disentangling.objectives import bernoulli_nll, capacity_schedule
from workings.disentangling.training import Pictures, WindowMeans
from workings.training import ShuffledBatches, fit


class KnownFactorModel(nn.Module):
    """A :class:`FactorChannel` and a decoder of its noisy factors; ``decoder`` maps (B, K) to logits (B, C, H, W)."""

    def __init__(self, channel: FactorChannel, decoder: nn.Module):
        super().__init__()
        self.channel = channel
        self.decoder = decoder

    def forward(self, f: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Logits (B, C, H, W) of standardised factors ``f`` (B, K) after the channel's noise, from ``generator``."""
        return self.decoder(self.channel(f, generator))


class RateHistory(NamedTuple):
    """How the rates grew during training, one row per window of steps, float64 on the CPU.

    ``capacity`` (T,) nats in all; ``rates`` (T, K) nats per factor, with sum ``capacity``; ``nll`` (T,) nats per image.
    Each is the mean over the window. ``kept``: copies of the model as it was at the steps asked for.
    """

    capacity: torch.Tensor
    rates: torch.Tensor
    nll: torch.Tensor
    kept: list[KnownFactorModel]


def train_known_factor(
    model: KnownFactorModel,
    factors: torch.Tensor,
    pictures: torch.Tensor | Pictures,
    steps: int,
    *,
    c_max: float,
    rising: int,
    seed: int,
    batch: int = 128,
    learning_rate: float = 1e-3,
    rate_learning_rate: float = 1e-2,
    learn_rates: bool = True,
    window: int = 50,
    keep_at: Sequence[int] = (),
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    progress: bool = False,
) -> RateHistory:
    """Train decoder and rates in place while the capacity rises from 0 to ``c_max`` nats over ``rising`` steps.

    Minimises the mean Bernoulli NLL of ``pictures`` (N, C, H, W) given their standardised ``factors`` (N, K); Adam at
    ``learning_rate`` for the decoder and ``rate_learning_rate`` for the channel. There is no KL term: the rates sum to
    the capacity by construction. ``learn_rates=False`` leaves them equal, the baseline. Everything random follows
    from ``seed``. ``keep_at``: numbers of finished steps, increasing, after which the model is copied; not to be had
    together with ``checkpoint``, with which a run resumes as in :func:`workings.disentangling.training.train_vae`.

    Raises ``ValueError`` when factors and pictures differ in number, for a step in ``keep_at`` beyond ``steps``, and
    as :func:`workings.training.fit` and :func:`capacity_schedule`.
    """
    steps, window = as_int(steps, "steps", minimum=1), as_int(window, "window", minimum=1)
    if factors.ndim != 2 or len(factors) != len(pictures):
        raise ValueError(f"factors must be ({len(pictures)}, K), one row per picture, got {tuple(factors.shape)}.")
    kept_steps = [as_int(step, "a step of keep_at", minimum=1, maximum=steps) for step in keep_at]
    if kept_steps != sorted(set(kept_steps)):
        raise ValueError(f"keep_at must increase, got {kept_steps}.")
    if checkpoint is not None and (kept_steps or as_int(checkpoint_every, "checkpoint_every", minimum=1) % window):
        raise ValueError("with a checkpoint, leave keep_at empty and make checkpoint_every a multiple of window.")
    capacity_schedule(0, c_max, rising)  # bad settings are refused before training
    batch = min(batch, len(factors))
    order = ShuffledBatches(len(factors), batch, seed)
    take = pictures.__getitem__ if isinstance(pictures, torch.Tensor) else pictures.images
    settings = {
        "steps": steps, "seed": seed, "batch": batch, "images": len(pictures), "window": window, "c_max": float(c_max),
        "rising": rising, "learn_rates": learn_rates,
    }  # fmt: skip
    recorder = WindowMeans(window, steps, checkpoint, settings)
    kept: list[KnownFactorModel] = []

    def batches(step: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        indices = order(step)
        return step, factors[indices.to(factors.device)], take(indices)

    def loss(net: KnownFactorModel, item: tuple[int, torch.Tensor, torch.Tensor], noise: torch.Generator):
        step, f, x = item
        net.channel.set_capacity(capacity_schedule(step, c_max, rising))
        nll = bernoulli_nll(net(f, noise), x)
        recorder.add(nll, net.channel.rates[None])
        return nll.mean()

    def after(step: int, value: torch.Tensor) -> None:
        recorder.close(step, value)
        if step + 1 in kept_steps:
            kept.append(copy.deepcopy(model).eval())

    model.channel.logits.requires_grad_(learn_rates)
    groups = [
        {"params": model.decoder.parameters(), "lr": as_float(learning_rate, "learning_rate", minimum=0.0)},
        {"params": [model.channel.logits], "lr": as_float(rate_learning_rate, "rate_learning_rate", minimum=0.0)},
    ]
    fit(
        model, loss, batches, torch.optim.Adam(groups if learn_rates else groups[:1], fused=True), steps, seed=seed,
        checkpoint=checkpoint, checkpoint_every=None if checkpoint is None else checkpoint_every, on_step=after,
        progress=progress, settings=settings,
    )  # fmt: skip
    history = recorder.history()
    return RateHistory(history.kl.sum(dim=1), history.kl, history.nll, kept)


def onset_capacity(run: RateHistory, threshold: float = 0.3) -> list[float]:
    """Capacity in nats at which each factor's rate first exceeds ``threshold`` nats, for good; ``inf`` if it never does.

    "For good": from there to the end of training the rate stays above. A list of K floats.
    """
    threshold = as_float(threshold, "threshold", minimum=0.0)
    if run.rates.dim() != 2 or run.capacity.shape != run.rates.shape[:1]:
        shapes = f"{tuple(run.rates.shape)} and {tuple(run.capacity.shape)}"
        raise ValueError(f"rates must be (T, K) and capacity (T,), got {shapes}.")
    below = run.rates <= threshold  # (T, K)
    onsets = []
    for column in below.T:
        last = int(column.nonzero()[-1]) if column.any() else -1
        onsets.append(float(run.capacity[last + 1]) if last + 1 < len(column) else float("inf"))
    return onsets
