"""The experiment that `workings sweep beta_vae_capacity` maps over a grid: one VAE with a rising target capacity."""

from __future__ import annotations

from dataclasses import replace

import torch

from workings.chapters.beta_vae_capacity.demo import squares
from workings.chapters.beta_vae_capacity.settings import Settings
from workings.checks import as_float, as_int
from workings.disentangling.dsprites_data import factor_values
from workings.disentangling.evaluation import evaluate_vae
from workings.disentangling.networks import mlp_vae
from workings.disentangling.training import annealed_capacity, on_target, train_vae
from workings.seeding import torch_generator


def sweep_point(
    *, gamma: float = 10.0, c_max: float = 12.0, steps: int = 1600, pictures: int = 8000, seed: int = 0
) -> dict[str, float]:
    """What a VAE on squares has learnt when its target has risen from 1 to ``c_max`` nats, held with weight ``gamma``.

    ``kl``: nats through the code; ``nll`` with sampled codes and ``nll_mean`` with posterior means, nats per image;
    ``on_target``: share of the training within half a nat of the target; ``corr``: the best |correlation| of a latent with scale,
    x and y, mean of the three; ``matched`` is 1 where each has a latent of its own above 0.9. About 4 s on one core.
    """
    settings = replace(
        Settings.demo(),
        gamma=as_float(gamma, "gamma", minimum=0.0),
        c_max=as_float(c_max, "c_max", minimum=1.0, open_ends=True),
        vae_steps=as_int(steps, "steps", minimum=10),
        squares=as_int(pictures, "pictures", minimum=64),
    )
    data = squares(settings)
    model = mlp_vae(
        16, settings.latents, (settings.vae_hidden,) * 2, generator=torch_generator(seed, "capacity", "vae")
    )
    plan = (settings.c_min, settings.c_max, settings.vae_rising)
    history = train_vae(
        model, data.images, settings.vae_steps, annealed_capacity(settings.gamma, plan[1], plan[2], plan[0]),
        seed=seed, batch=settings.batch, window=max(1, settings.vae_steps // 40),
        optimiser=torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True),
    )  # fmt: skip
    noise = torch_generator(seed, "capacity", "measure")
    found = evaluate_vae(model.eval(), data.images, factor_values(data.classes)[:, [1, 3, 4]], noise)
    return {
        "kl": float(found.kl.sum()),
        "nll": found.nll,
        "nll_mean": found.nll_mean,
        "on_target": on_target(history, *plan),
        "corr": float(found.corr.amax(dim=0).mean()),
        "matched": float(found.one_latent_each()),
    }
