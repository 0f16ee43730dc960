"""The chapter `early_visual_concepts`: the experiments of its demo, on squares of 16 x 16 pixels.

What a trained network's code carries is measured on the whole grid of squares (:class:`LatentStatistics`). Latents that
carry less than 0.1 nat count as 0 in correlations and scores: the mean of such a latent can correlate perfectly with a
factor at an amplitude that the noise hides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.chapters.early_visual_concepts.settings import HOLD_OUT_BETAS, SAMPLINGS, Settings
from workings.checks import as_int, one_of
from workings.disentangling.dsprites_data import sub_grid
from workings.disentangling.dsprites_renderer import render_dsprites
from workings.disentangling.ensembles import Job
from workings.disentangling.factor_grid import FactorGrid
from workings.disentangling.metrics import (
    active_units,
    beta_vae_score,
    corr_gap,
    latent_factor_correlation,
    linear_probe,
    mutual_information_gap,
)
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, pixel_entropy
from workings.disentangling.sprites16 import SmallSprites, small_sprites
from workings.disentangling.traversal import traversal_grid
from workings.seeding import torch_generator


class LatentStatistics(NamedTuple):
    """What the M latents of one network carry, and what its pictures lose; means over the images, K factors.

    ``kl`` (M,) nats per latent; ``active`` (M,) bool, above 0.1 nat; ``corr`` (M, K) Pearson, 0 where not active;
    ``excess`` nats of the reconstruction from posterior means above the entropy of the grey pixels; ``mig`` the mutual
    information gap.
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
    def best_corr(self) -> np.ndarray:
        """Largest |corr| of each factor, (K,)."""
        return np.abs(self.corr).max(axis=0)

    @property
    def gap(self) -> float:
        """Best minus second best |corr|, mean over the factors: 1 for one latent per factor and nothing else.

        With one active latent the second best is 0, and the gap is the mean |corr| of that latent.
        """
        return float(corr_gap(self.corr).mean())

    @property
    def one_latent_per_factor(self) -> bool:
        """Claim 1 at the demo: as many active latents as factors, each factor followed by its own at |corr| >= 0.9."""
        own = len(set(np.abs(self.corr).argmax(axis=0).tolist())) == self.corr.shape[1]
        return bool(self.active.sum() == self.corr.shape[1] and own and (self.best_corr >= 0.9).all())


@torch.no_grad()
def posterior_means(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Posterior means (N, M)."""
    return model.encode(images)[0]


@torch.no_grad()
def reconstruct(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Reconstructions from posterior means, as pixel probabilities, shape of ``images``."""
    return model.decode(posterior_means(model, images)).sigmoid()


@torch.no_grad()
def excess_nats(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Nats by which the reconstruction from the posterior mean exceeds :func:`pixel_entropy`, (N,)."""
    return bernoulli_nll(model.decode(posterior_means(model, images)), images) - pixel_entropy(images)


@torch.no_grad()
def active_latents(model: VAE, images: torch.Tensor) -> torch.Tensor:
    """Which latents carry more than :data:`~workings.disentangling.metrics.ACTIVE` nats on ``images``, (M,) bool."""
    kl = torch.cat([gaussian_kl(*model.encode(part)) for part in images.split(500)])
    return torch.from_numpy(active_units(kl.cpu()))


@torch.no_grad()
def latent_statistics(model: VAE, sprites: SmallSprites) -> LatentStatistics:
    """What the latents of ``model`` carry and what its reconstructions lose, over all of ``sprites``."""
    mu, logvar = model.encode(sprites.images)
    kl = gaussian_kl(mu, logvar).mean(dim=0).double().numpy()
    active = active_units(kl)
    corr = latent_factor_correlation(mu, sprites.values) * active[:, None]
    mig = mutual_information_gap(mu * torch.from_numpy(active), sprites.factors).mig
    return LatentStatistics(kl, active, corr, float(excess_nats(model, sprites.images).mean()), mig)


def train_betas(sprites: SmallSprites, settings: Settings) -> dict[tuple[float, int], VAE]:
    """(beta, seed) -> network trained on all of ``sprites``, in the order of ``settings.beta_runs``."""
    keys = settings.beta_runs
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
    start = posterior_means(model, sprites.images[middle : middle + 1])[0]
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


def disentanglement_scores(
    codes: torch.Tensor, sprites: SmallSprites, settings: Settings, seed: int = 0
) -> dict[str, float]:
    """The beta-VAE score, the MIG and the mean correlation gap of ``codes`` (N, M) of all ``sprites``."""
    grid = FactorGrid(sprites.grid().sizes, codes)
    score = beta_vae_score(
        lambda z: z, grid, n_pairs=settings.pairs, n_train=settings.n_train, n_eval=settings.n_eval,
        generator=torch_generator(seed, "evc", "score"),
    )  # fmt: skip
    gap = corr_gap(latent_factor_correlation(codes, sprites.values)).mean()
    return {"score": score.score, "mig": mutual_information_gap(codes, sprites.factors).mig, "gap": float(gap)}


def model_scores(
    models: Mapping[tuple[float, int], VAE], sprites: SmallSprites, settings: Settings
) -> dict[float, list[dict[str, float]]]:
    """beta -> the :func:`disentanglement_scores` of each seed, for the main betas; latents that are not active count as 0."""
    found: dict[float, list[dict[str, float]]] = {beta: [] for beta in settings.main_betas}
    for (beta, seed), model in models.items():
        if beta in found:
            codes = posterior_means(model, sprites.images) * active_latents(model, sprites.images)
            found[beta].append(disentanglement_scores(codes, sprites, settings, seed))
    return found


def chosen_squares(sprites: SmallSprites, sampling: str, stride: int, seed: int) -> SmallSprites:
    """Part of the 16 x 16 x 6 ``sprites``: equally many for both samplings.

    "sparse": those at every ``stride``-th position each way, from the first; "random": as many, drawn from all of them by
    ``seed`` without replacement.
    """
    one_of(sampling, "sampling", SAMPLINGS)
    sparse = (sprites.factors[:, 1:] % (2 * as_int(stride, "stride", minimum=1)) == 0).all(dim=1)
    if sampling == "sparse":
        return sprites.select(sparse)
    order = torch.randperm(len(sparse), generator=torch_generator(seed, "evc", "few pictures", int(sparse.sum())))
    return sprites.select(order[: int(sparse.sum())].sort().values)


def sampling_statistics(
    models: Mapping[tuple[float, int], VAE], sprites: SmallSprites, settings: Settings
) -> dict[tuple[str, int, float], list[LatentStatistics]]:
    """(sampling, stride, beta) -> statistics per seed, *on all squares*, of networks that saw :func:`chosen_squares` only.

    Stride 1, where every square is chosen, is taken from ``models``. Number of steps and batch are the same everywhere.
    """
    keys = settings.sampling_runs
    jobs = [Job(chosen_squares(sprites, kind, k, seed).images, beta, seed) for kind, k, beta, seed in keys]
    found: dict[tuple[str, int, float], list[LatentStatistics]] = {}
    for beta, seeds in ((settings.sampling_beta, settings.seeds), (settings.higher_beta, settings.few_seeds)):
        found["sparse", 1, beta] = [latent_statistics(models[beta, seed], sprites) for seed in seeds]
    for (kind, k, beta, _), model in zip(keys, settings.train(jobs), strict=True):
        found.setdefault((kind, k, beta), []).append(latent_statistics(model, sprites))
    found["random", 1, settings.sampling_beta] = found["sparse", 1, settings.sampling_beta]
    return found


def held_out_block(values: torch.Tensor) -> torch.Tensor:
    """(N,) bool from ``values`` (N, 3) of scale, x, y: the large sprites of the lower right quarter.

    Scale at least 0.8, x and y above 1/2.
    """
    scale, x, y = values.unbind(1)
    return (scale > 0.79) & (x > 0.5) & (y > 0.5)


def hold_out_errors(sprites: SmallSprites, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Network -> one row per seed: excess nats and probe errors, seen and held out, and the ``model`` itself.

    The networks are those of ``HOLD_OUT_BETAS``: beta 4, beta 1, and an autoencoder without noise and KL. None sees the
    pictures of :func:`held_out_block`.
    """
    held = held_out_block(sprites.values)
    pictures = sprites.images[~held]
    keys = settings.hold_out_runs
    jobs = [Job(pictures, HOLD_OUT_BETAS[name], seed, noisy=name != "autoencoder") for name, seed in keys]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in HOLD_OUT_BETAS}
    for (name, _), model in zip(keys, settings.train(jobs, settings.hold_out_steps), strict=True):
        found[name].append(_hold_out_row(model, sprites, held, noisy=name != "autoencoder"))
    return found


def probed_codes(model: VAE, sprites: SmallSprites, held: torch.Tensor, noisy: bool) -> torch.Tensor:
    """Posterior means (N, M) as a probe reads them. Where there is noise, latents not active on seen pictures are 0."""
    codes = posterior_means(model, sprites.images)
    return codes * active_latents(model, sprites.images[~held]) if noisy else codes


def _hold_out_row(model: VAE, sprites: SmallSprites, held: torch.Tensor, noisy: bool) -> dict[str, Any]:
    excess = excess_nats(model, sprites.images)
    codes = probed_codes(model, sprites, held, noisy)
    row: dict[str, Any] = {"model": model}
    row["excess_seen"], row["excess_held"] = float(excess[~held].mean()), float(excess[held].mean())
    for name, degree in (("probe", 1), ("quadratic_probe", 2)):
        row[f"{name}_seen"], row[f"{name}_held"] = linear_probe(codes, sprites.values, ~held, degree).tolist()
    return row


def unfamiliar_pictures(sprites: SmallSprites) -> dict[str, torch.Tensor]:
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
