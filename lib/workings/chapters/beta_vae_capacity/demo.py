"""The chapter `beta_vae_capacity`: its sizes and the experiments of its demo.

Four of them, from exact to trained: a linear VAE in closed form, a code with its order shuffled, the
known-factor channel, and small VAEs on squares and on blobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from workings.chapters.beta_vae_capacity.settings import FACTORS, Settings
from workings.disentangling.dsprites_data import factor_values
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, Purchases
from workings.disentangling.many_vaes import Job, train_many
from workings.disentangling.metrics import latent_factor_correlation
from workings.disentangling.networks import VAE, MLPDecoder, initialise, mlp_vae, reparameterise
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.disentangling.stacked_known_factors import train_known_factor_stack
from workings.disentangling.stacked_vaes import Fitted, train_stack
from workings.disentangling.training import annealed_capacity, fixed_beta
from workings.runs.parallel import two_at_a_time
from workings.seeding import generator

_COLUMNS = [3, 4, 1, 0, 2]  # the same in the order of dSprites


class FactorData(NamedTuple):
    """Sprites for the known-factor channel: ``images`` (N, 1, 16, 16), ``factors`` (N, 5) standardised, ``values`` (N, 5)."""

    images: torch.Tensor
    factors: torch.Tensor
    values: torch.Tensor


def factor_data(settings: Settings) -> FactorData:
    """A random subset of the even sub-grid, all shapes; columns in the order of :data:`FACTORS`."""
    data = _some(small_sprites(None, None, range(0, 40, 4)), settings.sprites, "sprites")
    values = factor_values(data.classes)[:, _COLUMNS]
    return FactorData(data.images, standardise(values.float()), values)


def factor_purchases(data: FactorData, settings: Settings) -> dict[str, list[Purchases]]:
    """The known-factor experiment over the seeds, with learned rates ("learned") and, for comparison, equal ones ("equal").

    The learned runs keep models, one at each of ``settings.factor_stops``.
    """
    stops = [_step_at(c, 0.0, settings.factor_c_max, settings.factor_rising) for c in settings.factor_stops]

    def work(kind: str) -> list[Purchases]:
        decoders = [
            initialise(
                MLPDecoder(16, len(FACTORS), (settings.factor_hidden,) * 2), generator(seed, "capacity", "decoder")
            )
            for seed in settings.seeds
        ]
        return train_known_factor_stack(
            [KnownFactorModel(FactorChannel(len(FACTORS)), decoder) for decoder in decoders], settings.seeds,
            data.factors, data.images, settings.factor_steps, c_max=settings.factor_c_max,
            rising=settings.factor_rising, batch=settings.batch, learning_rate=settings.learning_rate,
            learn_rates=kind == "learned", window=_window(settings.factor_steps),
            keep_at=stops if kind == "learned" else (),
        )  # fmt: skip

    kinds = ("learned", "equal")
    return dict(zip(kinds, two_at_a_time(work, kinds), strict=True))


def squares(settings: Settings) -> SmallSprites:
    """A random subset of the squares of the even sub-grid: six scales, ten orientations, 16 x 16 positions."""
    return _some(small_sprites(0, None, range(0, 40, 4)), settings.squares, "squares")


def square_vaes(images: torch.Tensor, settings: Settings) -> dict[str, list[Fitted]]:
    """VAEs on squares, four kinds of training from the same starts, each over the seeds.

    "annealed": the target rises from ``c_min`` to ``c_max`` nats, held with ``gamma``; "heavy": the same with
    ``heavy_gamma``; "beta = 1" and so on: a fixed price of each of ``betas``. The annealed ones keep copies at ``vae_stops``.
    """
    annealed = lambda gamma: annealed_capacity(gamma, settings.c_max, settings.vae_rising, settings.c_min)
    stops = [_step_at(c, settings.c_min, settings.c_max, settings.vae_rising) for c in settings.vae_stops[:-1]]
    plans = {
        "annealed": (annealed(settings.gamma), settings.vae_steps, [*stops, settings.vae_steps]),
        "heavy": (annealed(settings.heavy_gamma), settings.vae_steps, []),
    } | {f"beta = {beta:g}": (fixed_beta(beta), settings.beta_steps, []) for beta in settings.betas}

    def work(name: str) -> list[Fitted]:
        objective, steps, keep_at = plans[name]
        models = [
            mlp_vae(16, settings.latents, (settings.vae_hidden,) * 2, generator=generator(seed, "capacity", "vae"))
            for seed in settings.seeds
        ]
        return train_stack(
            models, settings.seeds, images, objective, steps, batch=settings.batch, window=_window(steps),
            learning_rate=settings.learning_rate, keep_at=keep_at,
        )  # fmt: skip

    return dict(zip(plans, two_at_a_time(work, plans), strict=True))


class Measured(NamedTuple):
    """Nats an image of a trained VAE: ``kl`` (M,) a latent, ``nll`` with sampled codes, ``nll_mean`` with posterior means.

    ``corr`` (M, K): |Pearson| of every posterior mean with every factor given.
    """

    kl: torch.Tensor
    nll: float
    nll_mean: float
    corr: torch.Tensor

    def matched(self, least: float = 0.9) -> bool:
        """Whether every factor has a latent of its own with |corr| above ``least``."""
        best, latent = self.corr.max(dim=0)
        return bool((best > least).all()) and len(set(latent.tolist())) == len(latent)


@torch.no_grad()
def measure(model: VAE, images: torch.Tensor, factors: torch.Tensor, seed: int) -> Measured:
    """What the chapter reads of ``model`` on ``images`` (N, 1, H, W) with ``factors`` (N, K)."""
    mu, logvar = model.encode(images)
    z = reparameterise(mu, logvar, generator(seed, "capacity", "measure"))
    nll, nll_mean = (float(bernoulli_nll(model.decode(code), images).mean()) for code in (z, mu))
    corr = torch.as_tensor(latent_factor_correlation(mu, factors)).abs()
    return Measured(gaussian_kl(mu, logvar).double().mean(dim=0), nll, nll_mean, corr)


def pixel_entropy(images: torch.Tensor) -> float:
    """Mean entropy of the pixels of grey ``images``, nats an image: the least value their NLL can take."""
    x = images.double()
    return -float((torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum() / len(x))


def blob_images(position: torch.Tensor, width: float = 1.5) -> torch.Tensor:
    """Gaussian blobs (N, 1, 16, 16) with peak 1 at ``position`` (N, 2), (x, y) in [0, 1], which stay 3 pixels off the rim."""
    pixel = torch.arange(16) + 0.5
    centre = 16 * (0.2 + 0.6 * position)
    profile = torch.exp(-((pixel - centre[..., None]) ** 2) / (2 * width**2))  # (N, 2, 16)
    return (profile[:, 1, :, None] * profile[:, 0, None, :])[:, None]


def blob_data(settings: Settings, height: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Blobs at uniform positions, y within the middle ``height`` of its range: images (N, 1, 16, 16), positions (N, 2)."""
    position = torch.rand(settings.blobs, 2, generator=generator(0, "capacity", "blobs"))
    position[:, 1] = 0.5 + height * (position[:, 1] - 0.5)
    return blob_images(position), position


def blob_vaes(images: torch.Tensor, beta: float, seeds: Sequence[int], settings: Settings) -> list[VAE]:
    """VAEs on blobs at ``beta``, one for each of ``seeds``, from the wider start of :func:`he_vae`."""
    return train_many(
        [Job(images, beta, seed) for seed in seeds], settings.blob_steps, latent_dim=settings.latents,
        hidden=(settings.blob_hidden,) * 2, batch=settings.batch, group=(len(seeds) + 1) // 2,
    )  # fmt: skip


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


def _some(data: SmallSprites, count: int, name: str) -> SmallSprites:
    order = torch.randperm(len(data.images), generator=generator(0, "capacity", name))
    return data.select(order[:count])


def _step_at(capacity: float, c_min: float, c_max: float, rising: int) -> int:
    """The first step at which the target has reached ``capacity``."""
    return max(1, int(np.ceil((capacity - c_min) / (c_max - c_min) * rising)))


def _window(steps: int) -> int:
    """About forty windows a run."""
    return max(1, steps // 40)
