"""The experiments of the demo of `beta_vae_capacity`: the known-factor channel, and small VAEs on squares and on blobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from workings.chapters.beta_vae_capacity.settings import FACTORS, Settings
from workings.disentangling.blobs import blob_images
from workings.disentangling.dsprites_data import factor_values
from workings.disentangling.ensembles import Fitted, Job, train_known_factor_ensemble, train_many, train_vae_ensemble
from workings.disentangling.evaluation import Evaluation, evaluate_vae
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, RateHistory
from workings.disentangling.networks import VAE, MLPDecoder, initialise, mlp_vae
from workings.disentangling.objectives import gaussian_kl
from workings.disentangling.rate_distortion import FactorVariances, factor_variances
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.disentangling.training import annealed_capacity, fixed_beta
from workings.runs.parallel import thread_map
from workings.seeding import torch_generator

_COLUMNS = [3, 4, 1, 0, 2]  # FACTORS in the order of dSprites


class FactorData(NamedTuple):
    """Sprites for the known-factor channel: ``images`` (N, 1, 16, 16), ``factors`` (N, 5) standardised, ``values`` (N, 5).

    ``grid`` (3, 6, 10, 16, 16, 256) holds all pictures they are drawn from, by shape, scale, orientation, x and y.
    """

    images: torch.Tensor
    factors: torch.Tensor
    values: torch.Tensor
    grid: torch.Tensor


def factor_data(settings: Settings) -> FactorData:
    """A random subset of the even sub-grid, all shapes; columns in the order of :data:`FACTORS`."""
    everything = small_sprites(None, None, range(0, 40, 4))
    data = _random_subset(everything, settings.sprites, "sprites")
    values = factor_values(data.classes)[:, _COLUMNS]
    grid = everything.images.flatten(1).unflatten(0, everything.grid().sizes)
    return FactorData(data.images, standardise(values.float()), values, grid)


def sprite_variances(data: FactorData) -> FactorVariances:
    """The two variances of each factor over the whole grid, in the order of :data:`FACTORS`."""
    found = factor_variances(data.grid.flatten(0, 4), data.grid.shape[:5])
    return FactorVariances(found.alone[_COLUMNS], found.moving[_COLUMNS])


def known_factor_runs(data: FactorData, settings: Settings) -> dict[str, list[RateHistory]]:
    """The known-factor experiment over the seeds, with learned rates ("learned") and, for comparison, equal ones ("equal").

    The learned runs keep models, one at each of ``settings.factor_stops``.
    """

    def work(kind: str) -> list[RateHistory]:
        decoders = [
            initialise(
                MLPDecoder(16, len(FACTORS), (settings.factor_hidden,) * 2),
                torch_generator(seed, "capacity", "decoder"),
            )
            for seed in settings.seeds
        ]
        return train_known_factor_ensemble(
            [KnownFactorModel(FactorChannel(len(FACTORS)), decoder) for decoder in decoders], settings.seeds,
            data.factors, data.images, settings.factor_steps, c_max=settings.factor_c_max,
            rising=settings.factor_rising, batch=settings.batch, learning_rate=settings.learning_rate,
            learn_rates=kind == "learned", window=_window(settings.factor_steps),
            keep_at=settings.factor_stop_steps if kind == "learned" else (),
        )  # fmt: skip

    kinds = ("learned", "equal")
    return dict(zip(kinds, thread_map(work, kinds), strict=True))


def squares(settings: Settings) -> SmallSprites:
    """A random subset of the squares of the even sub-grid: six scales, ten orientations, 16 x 16 positions."""
    return _random_subset(small_sprites(0, None, range(0, 40, 4)), settings.squares, "squares")


def square_start(seed: int, settings: Settings) -> VAE:
    """The untrained VAE for squares of ``seed``."""
    return mlp_vae(16, settings.latents, (settings.vae_hidden,) * 2, generator=torch_generator(seed, "capacity", "vae"))


def square_vaes(images: torch.Tensor, settings: Settings) -> dict[str, list[Fitted]]:
    """VAEs on squares, four kinds of training from the same starts with the same number of steps, each over the seeds.

    "gamma = 10" and "gamma = 1000": the target rises from ``c_min`` to ``c_max`` nats, held with that weight (the names
    follow the settings); the former keeps copies at ``vae_stops``. "beta = 1" and "beta = 4": a fixed weight.
    """
    annealed = lambda gamma: annealed_capacity(gamma, settings.c_max, settings.vae_rising, settings.c_min)
    objectives = {f"gamma = {gamma:g}": annealed(gamma) for gamma in (settings.gamma, settings.paper_gamma)}
    objectives |= {f"beta = {beta:g}": fixed_beta(beta) for beta in settings.betas}

    def work(name: str) -> list[Fitted]:
        return train_vae_ensemble(
            [square_start(seed, settings) for seed in settings.seeds], settings.seeds, images, objectives[name],
            settings.vae_steps, batch=settings.batch, window=_window(settings.vae_steps),
            learning_rate=settings.learning_rate,
            keep_at=settings.vae_stop_steps if name == f"gamma = {settings.gamma:g}" else (),
        )  # fmt: skip

    return dict(zip(objectives, thread_map(work, objectives), strict=True))


def evaluate(model: VAE, images: torch.Tensor, factors: torch.Tensor, seed: int) -> Evaluation:
    """:func:`evaluate_vae` with the noise of ``seed``."""
    return evaluate_vae(model, images, factors, torch_generator(seed, "capacity", "measure"))


def blob_data(settings: Settings, height: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Blobs at uniform positions, y within the middle ``height`` of its range: images (N, 1, 16, 16), positions (N, 2)."""
    position = torch.rand(settings.blobs, 2, generator=torch_generator(0, "capacity", "blobs"))
    position[:, 1] = 0.5 + height * (position[:, 1] - 0.5)
    return blob_images(position), position


def blob_vaes(images: torch.Tensor, beta: float, seeds: Sequence[int], settings: Settings) -> list[VAE]:
    """VAEs on blobs at ``beta``, one for each of ``seeds``, from the wider start of :func:`he_vae`."""
    return train_many(
        [Job(images, beta, seed) for seed in seeds], settings.blob_steps, latent_dim=settings.latents,
        hidden=(settings.blob_hidden,) * 2, batch=settings.batch, group=(len(seeds) + 1) // 2,
    )  # fmt: skip


class BlobRuns(NamedTuple):
    """VAEs on blobs of one kind: over which part of its range y moves (``height``), the ``models``, what they do."""

    height: float
    beta: float
    models: list[VAE]
    evaluations: list[Evaluation]


def blob_runs(settings: Settings) -> dict[str, BlobRuns]:
    """VAEs on blobs: "low" and "high" beta with y free, and "narrow", the high beta with y in a third of its range."""
    low, high = settings.betas
    found = {}
    for name, beta, height in (("low", low, 1.0), ("high", high, 1.0), ("narrow", high, 0.33)):
        seeds = settings.blob_seeds[: 5 if name == "narrow" else None]
        images, position = blob_data(settings, height)
        models = blob_vaes(images, beta, seeds, settings)
        evaluations = [evaluate(model, images, position, seed) for seed, model in zip(seeds, models, strict=True)]
        found[name] = BlobRuns(height, beta, models, evaluations)
    return found


@torch.no_grad()
def latent_maps(model: VAE, side: int = 24, height: float = 1.0) -> torch.Tensor:
    """Posterior means (M, side, side) of blobs over their range (rows y, columns x), as :func:`blob_data`; largest KL first."""
    line = torch.linspace(0, 1, side)
    y, x = torch.cartesian_prod(0.5 + height * (line - 0.5), line).unbind(1)
    mu, logvar = model.encode(blob_images(torch.stack([x, y], dim=1)))
    order = gaussian_kl(mu, logvar).mean(dim=0).argsort(descending=True)
    return mu[:, order].T.reshape(-1, side, side)


def tiled(pictures: torch.Tensor, gap: int = 1) -> np.ndarray:
    """Pictures (R, C, H, W) as one array: R rows of C tiles with ``gap`` pixels of NaN between them."""
    rows, columns, height, width = pictures.shape
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
    for i, j in np.ndindex(rows, columns):
        top, left = i * (height + gap), j * (width + gap)
        sheet[top : top + height, left : left + width] = pictures[i, j].detach().numpy()
    return sheet


def _random_subset(data: SmallSprites, count: int, name: str) -> SmallSprites:
    order = torch.randperm(len(data.images), generator=torch_generator(0, "capacity", name))
    return data.select(order[:count])


def _window(steps: int) -> int:
    """About forty windows per run."""
    return max(1, steps // 40)
