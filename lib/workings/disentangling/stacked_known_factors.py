"""Small known-factor models trained side by side, each as :func:`train_known_factor` would have trained it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from workings.checks import as_int
from workings.disentangling.factor_channel import channel_posterior
from workings.disentangling.known_factor import KnownFactorModel, Purchases
from workings.disentangling.objectives import bernoulli_nll, capacity_schedule
from workings.disentangling.stacked_vaes import WindowMeans, step_noise
from workings.disentangling.stacks import StackedLinears
from workings.runs.progress import progress
from workings.training import ShuffledBatches


def train_known_factor_stack(
    models: Sequence[KnownFactorModel],
    seeds: Sequence[int],
    factors: torch.Tensor,
    pictures: torch.Tensor,
    steps: int,
    *,
    c_max: float,
    rising: int,
    batch: int = 128,
    learning_rate: float = 1e-3,
    rate_learning_rate: float = 1e-2,
    learn_rates: bool = True,
    window: int = 50,
    keep_at: Sequence[int] = (),
) -> list[Purchases]:
    """Train ``models`` in place, one a seed, on ``factors`` (N, K) and ``pictures`` (N, C, H, W); one result each.

    Decoders are of one shape and fully connected with ReLU (:class:`MLPDecoder`). Model s ends where
    :func:`train_known_factor` with ``seed=seeds[s]`` and the same settings would have ended, up to the rounding of
    sums; ``keep_at`` holds for every model. Raises ``ValueError`` for other numbers of models and seeds, none, or
    shapes that differ, and ``FloatingPointError`` when a loss was not finite.
    """
    steps, window = as_int(steps, "steps", minimum=1), as_int(window, "window", minimum=1)
    if len(models) != len(seeds):
        raise ValueError(f"give a seed for each model, got {len(models)} models and {len(seeds)} seeds.")
    decoder = StackedLinears([model.decoder.linears for model in models])
    split = torch.stack([model.channel.logits.detach() for model in models]).requires_grad_(learn_rates)  # (S, K)
    flat = pictures.flatten(1)
    orders = [ShuffledBatches(len(flat), min(batch, len(flat)), seed) for seed in seeds]
    groups = [{"params": decoder.parameters, "lr": learning_rate}, {"params": [split], "lr": rate_learning_rate}]
    optimiser = torch.optim.Adam(groups if learn_rates else groups[:1], fused=True)
    windows = WindowMeans(window, steps)
    kept: list[list[KnownFactorModel]] = [[] for _ in models]

    def write_back(capacity: float) -> None:
        decoder.write_back()
        for model, logits in zip(models, split.detach(), strict=True):
            model.channel.logits.data.copy_(logits)
            model.channel.set_capacity(capacity)

    for step in progress(range(steps), "training steps"):
        chosen = torch.cat([order(step) for order in orders])
        f, x = factors[chosen].view(len(models), -1, factors.shape[1]), flat[chosen]
        capacity = capacity_schedule(step, c_max, rising)
        rates = capacity * torch.softmax(split, dim=1)  # (S, K)
        mean, logvar = channel_posterior(rates[:, None], f)
        logits = decoder(mean + torch.exp(0.5 * logvar) * step_noise(seeds, step, f))
        nll = bernoulli_nll(logits.flatten(0, 1), x).view(len(models), -1)  # (S, B)
        optimiser.zero_grad()
        nll.mean(dim=1).sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
        windows.add(nll, rates)
        if step + 1 in keep_at:
            write_back(capacity)
            for copies, model in zip(kept, models, strict=True):
                copies.append(copy.deepcopy(model).eval())
    write_back(capacity)
    runs = zip(windows.histories(), kept, strict=True)
    return [Purchases(history.kl.sum(dim=1), history.kl, history.nll, copies) for history, copies in runs]
