"""Small VAEs of one shape trained side by side on one set of pictures, each as :func:`train_vae` would have trained it.

At 16 x 16 pixels a training step is half overhead. Stacked, S networks share it, and nothing passes between them:
each has its own seed, batches, noise and gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch

from workings.checks import as_int, check_tensor
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.disentangling.stacks import StackedLinears
from workings.disentangling.training import History, Objective
from workings.runs.progress import progress
from workings.seeding import generator
from workings.training import ShuffledBatches


class Fitted(NamedTuple):
    """A trained VAE, its seed and history, and copies of it from the steps asked for."""

    seed: int
    model: VAE
    history: History
    kept: list[VAE]


def train_stack(
    models: Sequence[VAE],
    seeds: Sequence[int],
    pictures: torch.Tensor,
    objective: Objective,
    steps: int,
    *,
    batch: int = 64,
    learning_rate: float = 2e-3,
    window: int = 50,
    keep_at: Sequence[int] = (),
) -> list[Fitted]:
    """Train ``models`` in place, one a seed, on ``pictures`` (N, C, H, W) with Adam; one :class:`Fitted` each.

    ``models`` are fully connected and of one shape (:func:`mlp_vae`). Model s ends where ``train_vae(model, pictures,
    steps, objective, seed=seeds[s])`` with Adam at ``learning_rate`` would have ended, up to the rounding of sums.
    ``keep_at``: numbers of finished steps after which the models are copied.

    Raises ``ValueError`` for other numbers of models and seeds, none, or shapes that differ, and
    ``FloatingPointError`` when a loss was not finite.
    """
    steps, window = as_int(steps, "steps", minimum=1), as_int(window, "window", minimum=1)
    if len(models) != len(seeds):
        raise ValueError(f"give a seed for each model, got {len(models)} models and {len(seeds)} seeds.")
    encoder = StackedLinears([model.encoder.linears for model in models])
    decoder = StackedLinears([model.decoder.linears for model in models])
    flat = pictures.flatten(1)
    orders = [ShuffledBatches(len(flat), min(batch, len(flat)), seed) for seed in seeds]
    optimiser = torch.optim.Adam(encoder.parameters + decoder.parameters, lr=learning_rate, fused=True)
    windows = WindowMeans(window, steps)
    kept: list[list[VAE]] = [[] for _ in models]
    for step in progress(range(steps), "training steps"):
        x = flat[torch.cat([order(step) for order in orders])].view(len(models), -1, flat.shape[1])
        mu, logvar = encoder(x).chunk(2, dim=2)  # (S, B, M)
        logits = decoder(mu + torch.exp(0.5 * logvar) * step_noise(seeds, step, mu))
        nll = bernoulli_nll(logits.flatten(0, 1), x.flatten(0, 1)).view(len(models), -1)  # (S, B)
        kl = gaussian_kl(mu, logvar)
        optimiser.zero_grad()
        # The terms share no weight, so each network follows its own gradient.
        sum(objective(nll[s], kl[s], step) for s in range(len(models))).backward()
        optimiser.step()
        windows.add(nll, kl.mean(dim=1))
        if step + 1 in keep_at:
            encoder.write_back()
            decoder.write_back()
            for s, model in enumerate(models):
                kept[s].append(copy.deepcopy(model).eval())
    encoder.write_back()
    decoder.write_back()
    found = zip(seeds, models, windows.histories(), kept, strict=True)
    return [Fitted(seed, model.eval(), history, copies) for seed, model, history, copies in found]


def step_noise(seeds: Sequence[int], step: int, like: torch.Tensor) -> torch.Tensor:
    """The noise of :func:`workings.training.fit` at ``step``, for each of S seeds, of the shape of ``like`` (S, ...)."""
    check_tensor(like, "like")
    streams = (generator(seed, "fit", "loss", step) for seed in seeds)
    return torch.stack([torch.randn(like.shape[1:], generator=stream, dtype=like.dtype) for stream in streams])


class WindowMeans:
    """Means of NLL (S, B) and nats (S, M) over windows of steps, as :func:`train_vae` records them, for S runs."""

    def __init__(self, window: int, steps: int):
        self.window, self.steps = window, steps
        self.ends: list[int] = []
        self.rows: list[torch.Tensor] = []
        self.sum: torch.Tensor | float = 0.0
        self.done = self.start = 0

    def add(self, nll: torch.Tensor, nats: torch.Tensor) -> None:
        """Count one more step."""
        self.sum = self.sum + torch.cat([nll.detach().mean(dim=1, keepdim=True), nats.detach()], dim=1).double()
        self.done += 1
        if self.done % self.window == 0 or self.done == self.steps:
            self.rows.append(self.sum / (self.done - self.start))
            self.ends.append(self.done)
            self.sum, self.start = 0.0, self.done

    def histories(self) -> list[History]:
        """One :class:`History` a run; ``FloatingPointError`` when a value is not finite."""
        table = torch.stack(self.rows)  # (T, S, 1 + M)
        if not torch.isfinite(table).all():
            raise FloatingPointError("a loss was not finite; lower learning_rate.")
        return [History(torch.tensor(self.ends), run[:, 0], run[:, 1:]) for run in table.unbind(1)]
