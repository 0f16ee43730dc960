"""The chapter `beta_vae_capacity`: its sizes and the experiments of its demo.

Four of them, from exact to trained: a linear VAE in closed form, a code with its order shuffled, the
known-factor channel, and small VAEs on squares and on blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from workings.checks import as_float, as_int
from workings.disentangling.dsprites_data import factor_values
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, Purchases
from workings.disentangling.many_vaes import Job, train_many
from workings.disentangling.metrics import latent_factor_correlation
from workings.disentangling.networks import VAE, MLPDecoder, initialise, mlp_vae, reparameterise
from workings.disentangling.objectives import bernoulli_nll, capacity_schedule, gaussian_kl
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.disentangling.stacked_known_factors import train_known_factor_stack
from workings.disentangling.stacked_vaes import Fitted, train_stack
from workings.disentangling.training import History, annealed_capacity, fixed_beta
from workings.full_tier import Needs
from workings.seeding import generator
from workings.threads import two_at_a_time
from workings.tiers import Tiered

FACTORS = ("x", "y", "scale", "shape", "orientation")  # the order of this chapter: as they are bought
_COLUMNS = [3, 4, 1, 0, 2]  # the same in the order of dSprites


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's demo; the full tier's are in :mod:`beta_vae_capacity_full`."""

    seeds: tuple[int, ...] = (0, 1, 2)
    linear_steps: int = 800
    sprites: int = 8000  # of the even sub-grid's 46,080
    factor_steps: int = 1600
    factor_hidden: int = 128
    factor_c_max: float = 20.0
    factor_stops: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 17.0, 20.0)
    squares: int = 8000  # of the even sub-grid's 15,360
    latents: int = 5
    vae_hidden: int = 128
    gamma: float = 10.0
    c_min: float = 1.0
    c_max: float = 12.0
    vae_steps: int = 1600
    vae_stops: tuple[float, ...] = (4.0, 8.0, 12.0)
    beta_steps: int = 900
    betas: tuple[float, float] = (1.0, 4.0)
    heavy_gamma: float = 1000.0
    blobs: int = 4000
    blob_hidden: int = 64
    blob_steps: int = 1000
    blob_seeds: tuple[int, ...] = tuple(range(10))
    batch: int = 64
    learning_rate: float = 2e-3
    needs: ClassVar[Needs] = Needs(
        paper="twelve VAEs of 300,000 steps on 737,280 sprites at 64 x 64 pixels, and known factors over 100,000 steps from three seeds",
        gpu="one CUDA GPU with about 4 GB (an estimate: no run on a GPU is recorded)",
        shortened="at 32 x 32 pixels, seventeen VAEs of 8,000, 20,000 and (one) 100,000 steps, and known factors over 4,000",
        settings=("beta_vae_capacity_full.FullSettings",),
        lower={"factor_batch": "sprites of a known-factor step", "images": "sprites that a VAE is measured on"},
    )

    @property
    def factor_rising(self) -> int:
        """Steps during which the known-factor channel's capacity rises."""
        return max(1, self.factor_steps * 9 // 10)

    @property
    def vae_rising(self) -> int:
        """Steps during which the VAE's target capacity rises."""
        return max(1, self.vae_steps * 8 // 10)

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The demo's sizes; ``dry_run`` makes every training a few steps."""
        if dry_run:
            return cls(
                sprites=300, factor_steps=60, squares=300, vae_steps=20, beta_steps=10, blobs=200,
                blob_steps=5, batch=16,
            )  # fmt: skip
        return cls()


class LinearVAEs(NamedTuple):
    """Trained linear VAEs, R of them: ``kl`` (R, K) mean nats a latent, largest first, and ``encoder`` (R, K, K).

    Row k of an encoder is the direction that latent k reads, in the order of ``kl``.
    """

    kl: torch.Tensor
    encoder: torch.Tensor


def linear_vaes(eigvals: Sequence[float], betas: Sequence[float], steps: int, seed: int) -> LinearVAEs:
    """Train a linear VAE with K latents for each of ``betas`` on ``x ~ N(0, diag(eigvals))``; float64, no sampling.

    ``z = A x + s eps``, ``xhat = W z``, loss ``E|x - xhat|^2 / 2 + beta KL``, whose expectation over data and noise is
    ``tr((I - W A) L (I - W A)^T) / 2 + sum_k s_k^2 |w_k|^2 / 2 + beta sum_k (a_k L a_k^T + s_k^2 - ln s_k^2 - 1) / 2``
    with ``L = diag(eigvals)``. L-BFGS from small random weights, all runs in one sum.
    """
    spread = torch.tensor([as_float(v, "an eigenvalue", minimum=0.0) for v in eigvals], dtype=torch.float64)
    beta = torch.tensor([as_float(b, "beta", minimum=0.0) for b in betas], dtype=torch.float64)
    size, source = len(spread), generator(seed, "capacity", "linear")
    draw = lambda: 0.1 * torch.randn(len(beta), size, size, generator=source, dtype=torch.float64)
    encoder, decoder = draw().requires_grad_(), draw().requires_grad_()
    logvar = torch.zeros(len(beta), size, dtype=torch.float64, requires_grad=True)
    weights = [encoder, decoder, logvar]
    optimiser = torch.optim.LBFGS(weights, max_iter=as_int(steps, "steps", minimum=1), line_search_fn="strong_wolfe")

    def nats() -> torch.Tensor:
        return 0.5 * ((encoder.square() * spread).sum(-1) + logvar.exp() - logvar - 1)

    def loss() -> torch.Tensor:
        missed = torch.eye(size, dtype=torch.float64) - decoder @ encoder
        error = 0.5 * (missed.square() * spread).sum((-2, -1)) + 0.5 * (decoder.square().sum(-2) * logvar.exp()).sum(-1)
        optimiser.zero_grad()
        total = (error + beta * nats().sum(-1)).sum()
        total.backward()
        return total

    optimiser.step(loss)
    kl, order = nats().detach().sort(dim=-1, descending=True)
    return LinearVAEs(kl, encoder.detach().take_along_dim(order[..., None], dim=-2))


def shuffled_code_nll(pictures: torch.Tensor, rates: Iterable[float], order: torch.Tensor) -> torch.Tensor:
    """NLL (T,) of the best possible decoder when picture i is sent as code point ``order[i]``; nats, exact to 1e-6.

    ``pictures`` (n, ...) in [0, 1], equally likely. Code points are n equally spaced numbers, standardised, sent through
    ``z = sqrt(1 - e^(-2 r)) f + e^(-r) eps`` for each r in ``rates`` (T,), at most 8. The best decoder answers with the mean picture
    given z, so the NLL is the expected sum of its pixels' entropies. ``order`` (n,) is a permutation: neither the KL,
    which is r, nor the information in z depends on it.
    """
    flat = pictures.flatten(1).double()
    if sorted(order.tolist()) != list(range(len(flat))):
        raise ValueError(f"order must be a permutation of 0..{len(flat) - 1}, got {order.tolist()}.")
    points = standardise(torch.arange(len(flat), dtype=torch.float64)[:, None])[order, 0]  # (n,)
    found = []
    for rate in rates:
        z, share = _codes(rate)
        log_density = -((z[:, None] - share**0.5 * points) ** 2) / (2 * (1 - share))  # (Z, n), up to a constant
        density = log_density.exp().mean(1) / (2 * np.pi * (1 - share)) ** 0.5
        mean = (torch.softmax(log_density, dim=1) @ flat).clamp(0, 1)  # (Z, pixels)
        entropy = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum(1)
        found.append(float((density * entropy).sum() * (z[1] - z[0])))
    return torch.tensor(found, dtype=torch.float64)


def channel_information(places: int, rate: float) -> float:
    """Nats that ``z = sqrt(1 - e^(-2 r)) f + e^(-r) eps`` tells about which of ``places`` equally spaced, equally likely f.

    The mutual information, by quadrature to 1e-6, for a rate up to 8; at most ``rate``, which is what the KL charges, and at most ln(places).
    """
    points = standardise(torch.arange(as_int(places, "places", minimum=2), dtype=torch.float64)[:, None])[:, 0]
    z, share = _codes(rate)
    log_density = -((z[:, None] - share**0.5 * points) ** 2) / (2 * (1 - share)) - 0.5 * np.log(2 * np.pi * (1 - share))
    mixture = torch.logsumexp(log_density, dim=1) - np.log(places)
    entropy = -float((mixture.exp() * mixture).sum() * (z[1] - z[0]))
    return entropy - 0.5 * float(np.log(2 * np.pi * np.e * (1 - share)))


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


def target(history: History, c_min: float, c_max: float, rising: int) -> torch.Tensor:
    """Mean target capacity (T,) of each window of ``history``, to compare with its KL."""
    ends = history.steps.tolist()
    starts = [0, *ends[:-1]]
    means = [
        np.mean([capacity_schedule(step, c_max, rising, c_min) for step in range(a, b)])
        for a, b in zip(starts, ends, strict=True)
    ]
    return torch.tensor(means, dtype=torch.float64)


def on_target(history: History, c_min: float, c_max: float, rising: int, within: float = 0.5) -> float:
    """Share of windows whose mean KL is less than ``within`` nats from the target, after the first tenth of training."""
    away = (history.kl.sum(dim=1) - target(history, c_min, c_max, rising)).abs()
    late = history.steps > 0.1 * history.steps[-1]
    return float((away[late] < within).double().mean())


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


def _codes(rate: float) -> tuple[torch.Tensor, float]:
    """Points (Z,) in [-8, 8], half the noise's deviation apart, and the signal's share ``1 - e^(-2 rate)``."""
    rate = as_float(rate, "a rate", minimum=0.0, maximum=8.0)
    return torch.linspace(-8, 8, 32 * int(np.ceil(np.exp(rate))) + 1, dtype=torch.float64), -np.expm1(-2 * rate)


def _some(data: SmallSprites, count: int, name: str) -> SmallSprites:
    order = torch.randperm(len(data.images), generator=generator(0, "capacity", name))
    return data.select(order[:count])


def _step_at(capacity: float, c_min: float, c_max: float, rising: int) -> int:
    """The first step at which the target has reached ``capacity``."""
    return max(1, int(np.ceil((capacity - c_min) / (c_max - c_min) * rising)))


def _window(steps: int) -> int:
    """About forty windows a run."""
    return max(1, steps // 40)
