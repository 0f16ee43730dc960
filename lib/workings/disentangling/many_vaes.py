"""Many small VAEs of one shape trained side by side, as stacks of weights.

A demo compares dozens of networks so small that a training step is mostly overhead. Stacked, S networks take a
step together in one batched matrix product a layer, and nothing passes between them: every network has its own
pictures, weight of the KL, batches and noise, and ends where it would have ended alone, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from workings.checks import as_float, as_int
from workings.disentangling.networks import VAE, mlp_vae
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.disentangling.stacks import StackedLinears
from workings.runs.parallel import two_at_a_time
from workings.runs.progress import counter
from workings.seeding import generator
from workings.training import ShuffledBatches


class Job(NamedTuple):
    """One training: ``pictures`` (N, 1, H, W) in [0, 1], the weight ``beta`` of the KL, and the ``seed`` of everything.

    ``noisy=False`` decodes the posterior mean, not a sample; with ``beta=0`` that is a plain autoencoder.
    """

    pictures: torch.Tensor
    beta: float
    seed: int
    noisy: bool = True


def he_vae(size: int, latent_dim: int, hidden: Sequence[int], source: torch.Generator) -> VAE:
    """An :func:`mlp_vae` with weights of variance ``2 / inputs``, which keeps a ReLU network's signal from fading.

    The library's own start has a sixth of that variance. He et al., arXiv 1502.01852.
    """
    model = mlp_vae(size, latent_dim, hidden, generator=source)
    with torch.no_grad():
        for linear in _linears(model):
            linear.weight.mul_(math.sqrt(6.0))
    return model


def train_many(
    jobs: Sequence[Job],
    steps: int,
    *,
    latent_dim: int = 8,
    hidden: Sequence[int] = (64, 64),
    batch: int = 64,
    learning_rate: float = 3e-3,
    group: int = 10,
) -> list[VAE]:
    """One trained network a job, in the order of ``jobs``: ``mean nll + beta mean KL`` minimised by Adam.

    The rate is ``learning_rate`` for seven tenths of the steps, then falls in a line to a twentieth. ``group`` networks
    are stacked, and two stacks run at a time on threads. A job's result depends on the job and the settings, not on
    its company (up to the rounding of sums). The dtype is that of the pictures.

    Raises ``ValueError`` for no job, pictures of different sizes or dtypes, a negative beta, or fewer pictures than
    ``batch``.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    if not jobs:
        raise ValueError("jobs is empty; give at least one Job(pictures, beta, seed).")
    kinds = {(tuple(job.pictures.shape[1:]), job.pictures.dtype) for job in jobs}
    if len(kinds) > 1:
        raise ValueError(f"all jobs need pictures of one size and dtype, got {sorted(map(str, kinds))}.")
    for job in jobs:
        as_float(job.beta, "beta", minimum=0.0)
    size, dtype = jobs[0].pictures.shape[-1], jobs[0].pictures.dtype
    models = [he_vae(size, latent_dim, hidden, generator(job.seed, "many", "weights")).to(dtype) for job in jobs]
    pairs = list(zip(models, jobs, strict=True))
    stacks = [pairs[i : i + group] for i in range(0, len(pairs), as_int(group, "group", minimum=1))]
    with counter(len(stacks) * steps, "training steps") as tick:
        two_at_a_time(lambda stack: _train(stack, steps, batch, learning_rate, tick), stacks, label=None)
    return [model.eval() for model in models]


def _linears(model: VAE) -> list[torch.nn.Linear]:
    return [*model.encoder.linears, *model.decoder.linears]


def _rate(progress: float) -> float:
    return min(1.0, 1.0 - 0.95 * (progress - 0.7) / 0.3)


def _train(
    stack: Sequence[tuple[VAE, Job]], steps: int, batch: int, learning_rate: float, tick: Callable[[], None]
) -> None:
    models, jobs = zip(*stack, strict=True)
    encoder = StackedLinears([model.encoder.linears for model in models])
    decoder = StackedLinears([model.decoder.linears for model in models])
    pictures = [job.pictures.flatten(1) for job in jobs]
    orders = [ShuffledBatches(len(job.pictures), batch, job.seed) for job in jobs]
    noises = [generator(job.seed, "many", "noise") for job in jobs]
    beta = pictures[0].new_tensor([job.beta for job in jobs])
    noisy = pictures[0].new_tensor([job.noisy for job in jobs])[:, None, None]
    optimiser = torch.optim.Adam(encoder.parameters + decoder.parameters, lr=learning_rate, fused=True)
    for step in range(steps):
        for settings in optimiser.param_groups:
            settings["lr"] = learning_rate * _rate(step / steps)
        x = torch.stack([own[order(step)] for own, order in zip(pictures, orders, strict=True)])  # (S, B, pixels)
        mu, logvar = encoder(x).chunk(2, dim=2)  # (S, B, M)
        eps = torch.stack([torch.randn(mu.shape[1:], generator=noise, dtype=x.dtype) for noise in noises])
        logits = decoder(mu + noisy * torch.exp(0.5 * logvar) * eps)
        nll = bernoulli_nll(logits.flatten(0, 1), x.flatten(0, 1)).view(len(jobs), -1).mean(dim=1)  # (S,)
        kl = gaussian_kl(mu, logvar).sum(dim=2).mean(dim=1)
        optimiser.zero_grad()
        (nll + beta * kl).sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
        tick()
    encoder.write_back()
    decoder.write_back()
