"""Training a VAE of the part: the objectives as functions of the step, and what is recorded on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from workings import paths
from workings.checks import as_float, as_int
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import (
    bernoulli_nll,
    beta_vae_loss,
    capacity_loss,
    capacity_schedule,
    gaussian_kl,
)
from workings.runs.store import Store
from workings.training import ShuffledBatches, fit

Objective = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


class Pictures(Protocol):
    """What can be trained on besides a tensor: it has a length and gives the images (B, C, H, W) of some indices."""

    def __len__(self) -> int: ...

    def images(self, indices: torch.Tensor) -> torch.Tensor: ...


class History(NamedTuple):
    """Training as seen from its batches, one row per window of steps, on the CPU in float64.

    ``steps`` (T,) steps done at the end of the window; ``nll`` (T,) mean nats per image, with sampled
    codes; ``kl`` (T, M) mean nats per image and latent.
    """

    steps: torch.Tensor
    nll: torch.Tensor
    kl: torch.Tensor


@dataclasses.dataclass(frozen=True)
class FixedBeta:
    """The objective of :func:`fixed_beta`."""

    beta: float

    def __call__(self, nll: torch.Tensor, kl: torch.Tensor, step: int) -> torch.Tensor:
        """The loss at ``step``, from ``nll`` (B,) and ``kl`` (B, M)."""
        return beta_vae_loss(nll, kl, self.beta)


@dataclasses.dataclass(frozen=True)
class AnnealedCapacity:
    """The objective of :func:`annealed_capacity`."""

    gamma: float
    c_max: float
    n_steps: int
    c_min: float

    def __call__(self, nll: torch.Tensor, kl: torch.Tensor, step: int) -> torch.Tensor:
        """The loss at ``step``, from ``nll`` (B,) and ``kl`` (B, M)."""
        return capacity_loss(nll, kl, capacity_schedule(step, self.c_max, self.n_steps, self.c_min), self.gamma)


def fixed_beta(beta: float) -> Objective:
    """``mean nll + beta mean KL`` at every step. Higgins et al., arXiv 1606.05579."""
    return FixedBeta(as_float(beta, "beta", minimum=0.0))


def annealed_capacity(gamma: float, c_max: float, n_steps: int, c_min: float = 0.0) -> Objective:
    """``mean nll + gamma |mean KL - C(step)|`` with ``C`` rising linearly. Burgess et al., arXiv 1804.03599, eq. 8."""
    gamma = as_float(gamma, "gamma", minimum=0.0)
    capacity_schedule(0, c_max, n_steps, c_min)  # bad settings are refused before training
    return AnnealedCapacity(gamma, float(c_max), n_steps, float(c_min))


def _named(objective: Objective) -> dict[str, float | str]:
    """``objective`` as settings: its name and, of a dataclass, its fields. Another function is not looked into."""
    fields = dataclasses.asdict(objective) if dataclasses.is_dataclass(objective) else {}
    return {"objective": type(objective).__name__, **fields} if fields else {}


def train_vae(
    model: VAE,
    pictures: torch.Tensor | Pictures,
    steps: int,
    objective: Objective,
    *,
    seed: int,
    batch: int = 64,
    optimiser: torch.optim.Optimizer | None = None,
    window: int = 50,
    autocast: torch.dtype | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    progress: bool = False,
) -> History:
    """Train ``model`` in place on Bernoulli ``pictures`` (N, C, H, W) in [0, 1] and return what it recorded.

    A step takes the next ``batch`` of a shuffled epoch, draws one code per image and minimises
    ``objective(nll, kl, step)`` with ``nll`` (batch,) and ``kl`` (batch, M). ``optimiser`` defaults to Adam at
    5e-4. Everything random follows from ``seed``. With a ``checkpoint`` the run resumes from it, bit for bit
    on a CPU with the same threads; the history is kept beside it, in ``<checkpoint>.history.jsonl``, and starts
    anew when the checkpoint is gone. A checkpoint of other settings is refused, those of ``objective`` among them
    where it is :func:`fixed_beta` or :func:`annealed_capacity` (or another dataclass).

    Raises ``ValueError`` when ``checkpoint_every`` is no multiple of ``window`` (a window would be cut in two),
    and as :func:`workings.training.fit`.
    """
    window = as_int(window, "window", minimum=1)
    if checkpoint is not None and as_int(checkpoint_every, "checkpoint_every", minimum=1) % window:
        raise ValueError(f"checkpoint_every must be a multiple of window, got {checkpoint_every} and {window}.")
    order = ShuffledBatches(len(pictures), min(batch, len(pictures)), seed)
    take = pictures.__getitem__ if isinstance(pictures, torch.Tensor) else pictures.images
    settings = {
        "steps": steps, "seed": seed, "batch": batch, "images": len(pictures), "window": window, **_named(objective),
    }  # fmt: skip
    recorder = WindowMeans(window, steps, checkpoint, settings)

    def batches(step: int) -> tuple[int, torch.Tensor]:
        return step, take(order(step))

    def loss(net: VAE, item: tuple[int, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        step, x = item
        logits, mu, logvar = net(x.clone(), noise)  # it may work in place, and x is compared with
        nll, kl = bernoulli_nll(logits, x), gaussian_kl(mu, logvar)
        recorder.add(nll, kl)
        return objective(nll, kl, step)

    if optimiser is None:
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    fit(
        model, loss, batches, optimiser, steps, seed=seed, autocast=autocast, checkpoint=checkpoint,
        checkpoint_every=None if checkpoint is None else checkpoint_every, on_step=recorder.close, progress=progress,
        settings=settings,
    )  # fmt: skip
    return recorder.history()


class WindowMeans:
    """Means of the NLL and of each latent's nats over windows of steps, of one training or of several side by side.

    ``add`` once and ``close`` once per step. With a ``checkpoint`` the means are written beside it as they are made, in
    ``<checkpoint>.history.jsonl`` under ``settings``, so that a resumed run has all of them. Raises ``ValueError`` when
    that file is gone and the checkpoint is not.
    """

    def __init__(
        self,
        window: int,
        steps: int,
        checkpoint: str | Path | None = None,
        settings: dict | None = None,
    ):
        self.window, self.steps = as_int(window, "window", minimum=1), steps
        if checkpoint is not None:
            history = Path(f"{checkpoint}.history.jsonl")
            if not Path(checkpoint).exists():  # its history belongs to a run that is gone
                history.unlink(missing_ok=True)
            elif not history.exists():
                raise ValueError(
                    f"the history of {paths.shown(Path(checkpoint))} is gone ({history.name}); delete the checkpoint "
                    "too, and train again."
                )
        self.store = None if checkpoint is None else Store(Path(f"{checkpoint}.history.jsonl"), settings or {})
        self.rows: dict[int, list] = {}
        self.sum: torch.Tensor | None = None
        self.count = 0

    def add(self, nll: torch.Tensor, kl: torch.Tensor) -> None:
        """Count a step: ``nll`` (..., B) and ``kl`` (..., B, M) in nats; leading dimensions are trainings side by side."""
        row = torch.cat([nll.detach().mean(dim=-1, keepdim=True), kl.detach().mean(dim=-2)], dim=-1).double()
        self.sum = row if self.sum is None else self.sum + row
        self.count += 1

    def close(self, step: int, loss: torch.Tensor | None = None) -> None:
        """End ``step`` (from 0), and the window if it is its last; takes what ``fit`` gives to ``on_step``."""
        done = step + 1
        if done % self.window and done != self.steps:
            return
        row = (self.sum / self.count).tolist()
        self.sum, self.count = None, 0
        if self.store is None:
            self.rows[done] = row
        elif not self.store.done(str(done)):
            self.store.put(str(done), row)

    def table(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps done at the end of each window (T,), and the means (T, ..., 1 + M), NLL first, in float64."""
        ends = range(self.window, self.steps + self.window, self.window)
        steps = [min(end, self.steps) for end in ends]
        rows = [self.rows[s] if self.store is None else self.store.get(str(s)) for s in steps]
        return torch.tensor(steps), torch.tensor(rows, dtype=torch.float64)

    def history(self) -> History:
        """The :class:`History` of a single training."""
        steps, table = self.table()
        return History(steps, table[:, 0], table[:, 1:])


def target(history: History, c_min: float, c_max: float, rising: int) -> torch.Tensor:
    """Mean target capacity (T,) of each window of ``history``, to compare with its KL."""
    windows = history.steps.shape
    if len(windows) != 1 or windows[0] == 0 or history.kl.dim() != 2 or history.kl.shape[:1] != windows:
        raise ValueError(
            f"history must have steps (T,) and kl (T, M), T >= 1; got {(*windows,)}, {(*history.kl.shape,)}."
        )
    ends = history.steps.tolist()
    starts = [0, *ends[:-1]]
    means = [
        np.mean([capacity_schedule(step, c_max, rising, c_min) for step in range(a, b)])
        for a, b in zip(starts, ends, strict=True)
    ]
    return torch.tensor(means, dtype=torch.float64)


def on_target(history: History, c_min: float, c_max: float, rising: int, within: float = 0.5) -> float:
    """Share of windows whose mean KL is less than ``within`` nats from the target, after the first tenth of training."""
    wanted = target(history, c_min, c_max, rising)
    away = (history.kl.sum(dim=1) - wanted).abs()
    late = history.steps > 0.1 * history.steps[-1]
    return float((away[late] < within).double().mean())
