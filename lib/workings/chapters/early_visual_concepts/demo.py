"""The chapter `early_visual_concepts`: its sizes and the experiments of its demo, on squares of 16 x 16 pixels.

A trained network is judged by a :class:`Report` on the whole grid of sprites. Correlations of latents that carry next
to nothing are set to 0 there: the mean of a collapsed latent can follow a factor perfectly, a thousandth high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.chapters.early_visual_concepts.settings import KINDS, Settings
from workings.disentangling.dsprites import render_dsprites
from workings.disentangling.dsprites_data import sub_grid
from workings.disentangling.factor_grid import FactorGrid
from workings.disentangling.many_vaes import Job
from workings.disentangling.metrics import (
    active_units,
    beta_vae_score,
    corr_gap,
    latent_factor_correlation,
    linear_probe,
    mutual_information_gap,
)
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.disentangling.traversal import traversal_grid
from workings.seeding import generator


class Report(NamedTuple):
    """What one network does on a set of sprites. M latents, K factors; nats are means over the images.

    ``kl`` (M,) nats a latent; ``active`` (M,) bool, above 0.1 nat; ``corr`` (M, K) Pearson, 0 where not active;
    ``excess`` nats of the reconstruction from posterior means above the entropy of the grey pixels; ``mig``.
    """

    kl: np.ndarray
    active: np.ndarray
    corr: np.ndarray
    excess: float
    mig: float

    @property
    def order(self) -> np.ndarray:
        """Latents by falling KL, (M,)."""
        return np.argsort(-self.kl, kind="stable")

    @property
    def best(self) -> np.ndarray:
        """Largest |corr| of each factor, (K,)."""
        return np.abs(self.corr).max(axis=0)

    @property
    def gap(self) -> float:
        """Best minus second best |corr|, mean over the factors: 1 for one latent a factor and nothing else."""
        return float(corr_gap(self.corr).mean())

    @property
    def one_latent_each(self) -> bool:
        """Claim 1 at the demo: as many active latents as factors, each factor followed by its own at |corr| >= 0.9."""
        own = len(set(np.abs(self.corr).argmax(axis=0).tolist())) == self.corr.shape[1]
        return bool(self.active.sum() == self.corr.shape[1] and own and (self.best >= 0.9).all())


def pixel_entropy(images: torch.Tensor) -> torch.Tensor:
    """The least Bernoulli NLL of grey ``images`` (N, ...): ``-sum x ln x + (1 - x) ln (1 - x)``, (N,) nats."""
    return (torch.special.entr(images) + torch.special.entr(1 - images)).flatten(1).sum(dim=1)


@torch.no_grad()
def codes_of(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Posterior means (N, M)."""
    return model.encode(images)[0]


@torch.no_grad()
def redrawn(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Reconstructions from posterior means, as pixel probabilities, shape of ``images``."""
    return model.decode(codes_of(model, images)).sigmoid()


@torch.no_grad()
def excess_nats(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Nats by which the reconstruction from the posterior mean exceeds :func:`pixel_entropy`, (N,)."""
    return bernoulli_nll(model.decode(codes_of(model, images)), images) - pixel_entropy(images)


@torch.no_grad()
def active_latents(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Which latents carry more than :data:`~workings.disentangling.metrics.ACTIVE` nats on ``images``, (M,) bool."""
    kl = torch.cat([gaussian_kl(*model.encode(part)) for part in images.split(500)])
    return torch.from_numpy(active_units(kl.cpu()))


@torch.no_grad()
def report(model: VAE, sprites: SmallSprites) -> Report:
    """Judge ``model`` on all of ``sprites``."""
    mu, logvar = model.encode(sprites.images)
    kl = gaussian_kl(mu, logvar).mean(dim=0).double().numpy()
    active = active_units(kl)
    corr = latent_factor_correlation(mu, sprites.values) * active[:, None]
    mig = mutual_information_gap(mu * torch.from_numpy(active), sprites.factors).mig
    return Report(kl, active, corr, float(excess_nats(model, sprites.images).mean()), mig)


def train_betas(sprites: SmallSprites, settings: Settings) -> dict[tuple[float, int], VAE]:
    """(beta, seed) -> network, for every beta: the headline ones with all seeds, the others with a few."""
    keys = [(b, s) for b in settings.betas for s in (settings.seeds if b in settings.headline else settings.few)]
    return dict(zip(keys, settings.train([Job(sprites.images, *key) for key in keys]), strict=True))


def overlap_curve(scale: int, steps: Iterable[int]) -> np.ndarray:
    """Share of its pixels that a 64 x 64 square of class ``scale`` keeps when pos_x moves by ``steps`` classes, (T,)."""
    steps = list(steps)
    images = render_dsprites(sub_grid(0, scale, 0, [0, *[s for s in steps if s]], 15)).flatten(1).bool()
    shared = (images & images[:1]).sum(dim=1) / images[0].sum()
    found = dict(zip([0, *sorted(s for s in steps if s)], shared.tolist(), strict=True))
    return np.array([found[s] for s in steps])


def traversals(model: VAE, sprites: SmallSprites, dims: Sequence[int], values: Sequence[float]) -> torch.Tensor:
    """Pixel probabilities (len(dims), len(values), 16, 16) as one latent moves, the others at the middle sprite's code."""
    middle = sprites.values.sub(sprites.values.mean(dim=0)).square().sum(dim=1).argmin()
    start = codes_of(model, sprites.images[middle : middle + 1])[0]
    return traversal_grid(lambda z: model.decode(z).sigmoid(), start, dims, values)[:, :, 0]


def hand_made_codes(values: torch.Tensor, angle: float = np.pi / 4) -> dict[str, torch.Tensor]:
    """Codes built from the factor ``values`` (N, 3) of scale, x and y, each standardised: name -> (N, 3) float64.

    "one latent each": the factors; "rotated": x and y turned by ``angle``; "scale missing": its latent held at 0;
    "constant": nothing.
    """
    z = (values - values.mean(dim=0)) / values.std(dim=0)
    turned = z.clone()
    turned[:, 1] = np.cos(angle) * z[:, 1] + np.sin(angle) * z[:, 2]
    turned[:, 2] = -np.sin(angle) * z[:, 1] + np.cos(angle) * z[:, 2]
    missing = z.clone()
    missing[:, 0] = 0.0
    return {"one latent each": z, "rotated": turned, "scale missing": missing, "constant": torch.zeros_like(z)}


def principal_components(images: torch.Tensor, n: int) -> torch.Tensor:
    """The first ``n`` principal components of flattened ``images``, (N, n) float64."""
    flat = images.flatten(1).double()
    flat = flat - flat.mean(dim=0)
    return flat @ torch.linalg.eigh(flat.t() @ flat)[1].flip(1)[:, :n]


def judge(codes: torch.Tensor, sprites: SmallSprites, settings: Settings, seed: int = 0) -> dict[str, float]:
    """The beta-VAE score, the MIG and the mean correlation gap of ``codes`` (N, M) of all ``sprites``."""
    grid = FactorGrid(sprites.grid().sizes, codes)
    score = beta_vae_score(
        lambda z: z, grid, n_pairs=settings.pairs, n_train=settings.n_train, n_eval=settings.n_eval,
        generator=generator(seed, "evc", "score"),
    )  # fmt: skip
    gap = corr_gap(latent_factor_correlation(codes, sprites.values)).mean()
    return {"score": score.score, "mig": mutual_information_gap(codes, sprites.factors).mig, "gap": float(gap)}


def judge_models(
    models: Mapping[tuple[float, int], VAE], sprites: SmallSprites, settings: Settings
) -> dict[float, list[dict[str, float]]]:
    """beta -> one :func:`judge` a seed, for the headline betas; latents that are not active are left out (set to 0)."""
    found: dict[float, list[dict[str, float]]] = {beta: [] for beta in settings.headline}
    for (beta, seed), model in models.items():
        if beta in found:
            active = torch.from_numpy(report(model, sprites).active)
            found[beta].append(judge(codes_of(model, sprites.images) * active, sprites, settings, seed))
    return found


def stride_sweep(
    models: Mapping[tuple[float, int], VAE], sprites: SmallSprites, settings: Settings
) -> dict[tuple[float, int], list[Report]]:
    """(beta, stride) -> a report a seed *on the whole grid*, of networks that saw every stride-th position only.

    Stride 1 is taken from ``models``. Number of steps and batch are the same for every stride.
    """
    keys = [(beta, stride) for beta in settings.stride_betas for stride in settings.strides if stride > 1]
    jobs = [Job(small_sprites(stride=2 * stride).images, b, s) for b, stride in keys for s in settings.few]
    trained = iter(settings.train(jobs))
    found = {(b, 1): [report(models[b, s], sprites) for s in settings.few] for b in settings.stride_betas}
    found.update({key: [report(next(trained), sprites) for _ in settings.few] for key in keys})
    return {(b, stride): found[b, stride] for b in settings.stride_betas for stride in settings.strides}


def held_out(values: torch.Tensor) -> torch.Tensor:
    """(N,) bool from ``values`` (N, 3) of scale, x, y: the large sprites of the lower right quarter.

    Scale at least 0.8, x and y above 1/2.
    """
    scale, x, y = values.unbind(1)
    return (scale > 0.79) & (x > 0.5) & (y > 0.5)


def hold_out(sprites: SmallSprites, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Kind -> one row a seed: excess nats and probe errors, seen and held out, and the network itself.

    Kinds are :data:`KINDS`: beta 4, beta 1, and an autoencoder without noise and KL. None sees :func:`held_out`.
    """
    held = held_out(sprites.values)
    pictures = sprites.images[~held]
    weights = dict(zip(KINDS, ((4.0, True), (1.0, True), (0.0, False)), strict=True))
    jobs = [Job(pictures, beta, seed, noisy) for beta, noisy in weights.values() for seed in settings.few]
    trained = iter(settings.train(jobs, settings.hold_out_steps))
    return {
        kind: [_hold_out_row(next(trained), sprites, held, noisy) for _ in settings.few]
        for kind, (_, noisy) in weights.items()
    }


def _hold_out_row(model: VAE, sprites: SmallSprites, held: torch.Tensor, noisy: bool) -> dict[str, Any]:
    """Where there is noise, latents that are not active on the seen pictures are left out of the code (set to 0)."""
    excess = excess_nats(model, sprites.images)
    codes = codes_of(model, sprites.images)
    if noisy:
        codes = codes * active_latents(model, sprites.images[~held])
    row: dict[str, Any] = {"seen": float(excess[~held].mean()), "held": float(excess[held].mean()), "model": model}
    for name, degree in (("probe", 1), ("probe2", 2)):
        row[f"{name}_seen"], row[f"{name}_held"] = linear_probe(codes, sprites.values, ~held, degree).tolist()
    return row


def strange_pictures(sprites: SmallSprites) -> dict[str, torch.Tensor]:
    """Name -> (1, 1, 16, 16): pictures unlike those of training, which hold one upright square each."""
    grid = sprites.grid()
    square = lambda scale, x, y: grid.observations(torch.tensor([[scale, x, y]]))
    other = lambda shape: small_sprites(shape, [5], 0, stride=16).images[:1].roll((4, 4), dims=(2, 3))
    turned = small_sprites(0, [5], [5], stride=16).images[:1].roll((4, 4), dims=(2, 3))
    return {
        "a square": square(3, 8, 8),
        "two, apart": torch.maximum(square(1, 1, 8), square(1, 14, 8)),
        "two, close": torch.maximum(square(1, 6, 6), square(1, 9, 10)),
        "turned": turned,
        "ellipse": other(1),
        "heart": other(2),
        "nothing": torch.zeros_like(square(0, 0, 0)),
    }
