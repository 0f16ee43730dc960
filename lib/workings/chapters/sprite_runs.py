"""Trainings on all of dSprites, for the full tiers: one run by its settings, resumable, and what is measured after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workings.checks import one_of
from workings.disentangling.dsprites_data import DSprites, factor_values
from workings.disentangling.dsprites_renderer import block_average
from workings.disentangling.metrics import (
    beta_vae_score,
    corr_gap,
    latent_factor_correlation,
    mutual_information_gap,
)
from workings.disentangling.networks import VAE, burgess_vae, fc_vae
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.disentangling.training import History, Objective, annealed_capacity, fixed_beta, train_vae
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.training import load_weights

CORRELATED = ("scale", "pos_x", "pos_y")  # the factors that a single latent can follow


@dataclass(frozen=True)
class Run:
    """One training: ``network`` "burgess" or "fc"; ``rule`` "beta" or "capacity" with its weight ``strength``.

    ``strength`` is beta, or gamma with the target rising to ``c_max`` nats over ``rising`` steps. ``size`` is 64
    or, for the Burgess network, 32 (every 2x2 block of pixels averaged).
    """

    network: str
    rule: str
    strength: float
    steps: int
    seed: int
    size: int = 64
    batch: int = 64
    c_max: float = 0.0
    rising: int = 0
    learning_rate: float = 5e-4

    @property
    def name(self) -> str:
        """File name of the run: every setting that distinguishes it."""
        rule = f"{self.rule}{self.strength:g}" + (f"-c{self.c_max:g}-{self.rising}" if self.rule == "capacity" else "")
        rate = f"lr{self.learning_rate:g}-b{self.batch}"
        return f"{self.network}{self.size}-{rule}-{self.steps}-{rate}-seed{self.seed}"

    def model(self) -> VAE:
        """The untrained network, ten latents; its weights depend on the seed and the network only."""
        start = torch_generator(self.seed, "sprite_runs", self.network)
        if one_of(self.network, "network", ("burgess", "fc")) == "fc":
            if self.size != 64:
                raise ValueError(f"the fc network is for 64 pixels, got size={self.size}.")
            return fc_vae(generator=start)
        return burgess_vae(size=self.size, generator=start)

    def objective(self) -> Objective:
        """What the run minimises, by step."""
        if one_of(self.rule, "rule", ("beta", "capacity")) == "beta":
            return fixed_beta(self.strength)
        return annealed_capacity(self.strength, self.c_max, self.rising)

    def optimiser(self, model: VAE) -> torch.optim.Optimizer:
        """Adagrad for the fc network, Adam for the other, as in the two papers' settings."""
        if self.network == "fc":
            return torch.optim.Adagrad(model.parameters(), lr=self.learning_rate)
        return torch.optim.Adam(model.parameters(), lr=self.learning_rate, fused=True)


class Sized:
    """The images of ``sprites`` at ``size`` pixels (64 or 32), as :func:`train_vae` takes them."""

    def __init__(self, sprites: DSprites, size: int):
        self.sprites, self.factor = sprites, 64 // one_of(size, "size", (64, 32))

    def __len__(self) -> int:
        return len(self.sprites)

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, size, size) of ``indices`` (B,), float32."""
        x = self.sprites.images(indices)
        return x if self.factor == 1 else block_average(x, self.factor)


def train(run: Run, sprites: DSprites, folder: Path, *, device: str = "cpu", progress: bool = True) -> History:
    """Train ``run`` to its checkpoint in ``folder`` (resuming one that is there); the history, with the time kept.

    Seconds of every sitting go to ``<name>.seconds.jsonl`` in the same folder.
    """
    model = run.model().to(device)
    folder.mkdir(parents=True, exist_ok=True)
    clock = Store(folder / f"{run.name}.seconds.jsonl", {"run": run.name})
    start, threads = time.perf_counter(), torch.get_num_threads()
    history = train_vae(
        model, Sized(sprites, run.size), run.steps, run.objective(), seed=run.seed, batch=run.batch,
        optimiser=run.optimiser(model), checkpoint=folder / f"{run.name}.pt", checkpoint_every=500, progress=progress,
    )  # fmt: skip
    if not clock.done("seconds"):
        clock.put("seconds", {"last_sitting": time.perf_counter() - start, "threads": threads, "device": device})
    return history


def trained(run: Run, folder: Path, device: str = "cpu") -> VAE:
    """The network of a finished ``run``, in eval mode."""
    return load_weights(run.model().to(device), folder / f"{run.name}.pt").eval()


def encoder(model: VAE, keep: torch.Tensor | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Posterior means (B, M) of images, without gradients; 0 in the latents that ``keep`` (M,) bool does not mark."""

    @torch.no_grad()
    def encode(x: torch.Tensor) -> torch.Tensor:
        codes = torch.cat([model.encode(part)[0] for part in x.split(500)])
        return codes if keep is None else codes * keep.to(codes)

    return encode


@torch.no_grad()
def measure(
    run: Run, model: VAE, sprites: DSprites, *, n_images: int = 3000, n_train: int = 400, n_eval: int = 200,
    active_above: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """What the ledger reads of a trained ``run``, on ``n_images`` images drawn at random with replacement.

    Nats per image: ``kl`` and ``kl_per_latent``; ``nll_mean`` with posterior means, ``nll_sampled`` with sampled codes.
    ``corr`` is the largest |Pearson| over latents of scale, x and y, with ``latent`` which one it is and ``gap``
    to the second. ``score`` is the beta-VAE metric (64 pairs a point, ``n_train`` and ``n_eval`` points) and ``mig`` the mutual information gap over the five factors,
    with ``mig_per_factor``. Latents under ``active_above`` nats count as 0 in all of these: the mean of a collapsed latent
    can follow a factor perfectly at negligible amplitude. Adds the settings of the run.
    """
    noise = torch_generator(run.seed, "sprite_runs", "measure")
    pictures = Sized(sprites, run.size)
    indices = torch.randint(len(sprites), (n_images,), generator=noise)
    rows = []
    for part in indices.split(500):
        x = pictures.images(part)
        mu, logvar = model.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=noise).to(mu)
        nlls = [bernoulli_nll(model.decode(code), x)[:, None] for code in (mu, z)]
        rows.append(torch.cat([*nlls, gaussian_kl(mu, logvar), mu], dim=1).double().cpu())
    table = torch.cat(rows)
    latents = (table.shape[1] - 2) // 2
    nll, kl = table[:, :2].mean(dim=0), table[:, 2 : 2 + latents].mean(dim=0)
    keep = kl >= active_above
    codes = table[:, 2 + latents :] * keep
    classes = sprites.classes[indices]
    corr = np.abs(latent_factor_correlation(codes, factor_values(classes)[:, [1, 3, 4]]))
    order = np.argsort(-corr, axis=0)
    best = np.take_along_axis(corr, order, axis=0)
    mig, per_factor = mutual_information_gap(codes, classes)
    score = beta_vae_score(
        lambda x: encoder(model, keep)(x if run.size == 64 else block_average(x, 2)), sprites, n_pairs=64,
        n_train=n_train, n_eval=n_eval, generator=torch_generator(run.seed, "sprite_runs", "score"),
    )  # fmt: skip
    return {
        **asdict(run),
        "nll_mean": nll[0].item(),
        "nll_sampled": nll[1].item(),
        "kl": kl.sum().item(),
        "kl_per_latent": kl.tolist(),
        "corr": dict(zip(CORRELATED, best[0].tolist(), strict=True)),
        "gap": dict(zip(CORRELATED, corr_gap(corr).tolist(), strict=True)),
        "latent": dict(zip(CORRELATED, order[0].tolist(), strict=True)),
        "mig": float(mig),
        "mig_per_factor": per_factor.tolist(),
        "score": score.score,
    }
