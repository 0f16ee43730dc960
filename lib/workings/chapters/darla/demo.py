"""The experiments of the chapter `darla`: see, act, transfer; two losses; and a split in which seeing goes wrong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from workings.calibration import bootstrap_ci
from workings.chapters.darla.settings import Settings
from workings.disentangling.denoising import DenoisingAutoencoder, FeatureMap, train_denoiser
from workings.disentangling.domains import DomainSpec
from workings.disentangling.metrics import mutual_information_gap
from workings.disentangling.networks import VAE, freeze
from workings.disentangling.objectives import gaussian_kl, squared_error
from workings.disentangling.perceptual import (
    VisionJob,
    equal_variance_scale,
    frozen_codes,
    standardise_by,
    train_vision,
)
from workings.disentangling.transfer import MeanInterval, disentanglement_agreement, mean_interval
from workings.disentangling.value_learning import AgentStack, fit_q, greedy_policies
from workings.disentangling.worlds import SeekAvoidWorld
from workings.seeding import numpy_generator, torch_generator


class Scenes(NamedTuple):
    """Every scene of a world: ``pictures`` (N, 3, H, W) and ``factors`` (N, 4): wall, floor, kind and place of the object."""

    pictures: torch.Tensor
    factors: np.ndarray


def all_scenes(world: SeekAvoidWorld) -> Scenes:
    """The scenes of ``world``, in its order."""
    looks, state = world.scenes()
    return Scenes(torch.from_numpy(world.render(looks, state)), np.concatenate([looks, state], axis=1))


def vision_data(world: SeekAvoidWorld, domain: DomainSpec, n: int, seed: int = 0) -> torch.Tensor:
    """``n`` pictures (n, 3, H, W) of ``domain`` as a random policy meets them: the starts of ``n`` episodes."""
    looks = world.draw_looks(domain, n, numpy_generator(seed, "darla", "looks"))
    state = world.start(domain, looks, numpy_generator(seed, "darla", "states"))
    return torch.from_numpy(world.render(looks, state))


class Encoder(NamedTuple):
    """A trained, frozen encoder and what it does with every scene of its world.

    ``codes`` (scenes, M): posterior means, standardised by the data of the vision stage; ``kl`` (M,) nats per latent;
    ``explained``: the share of the pictures' variance that its reconstructions explain; ``mig``: the mutual information gap.
    """

    beta: float
    seed: int
    model: VAE | None
    codes: torch.Tensor
    kl: torch.Tensor
    explained: float
    mig: float


@torch.no_grad()
def describe(model: VAE, beta: float, seed: int, data: torch.Tensor, scenes: Scenes) -> Encoder:
    """``model`` frozen and measured: on ``data`` where its vision stage counts, on ``scenes`` where all of them do."""
    freeze(model)
    mu, logvar = model.encode(data)
    wrong = squared_error(torch.sigmoid(model.decode(mu)), data).mean()
    explained = 1 - float(wrong / squared_error(data.mean(dim=0).expand_as(data), data).mean())
    codes = standardise_by(frozen_codes(model, scenes.pictures), mu)
    factors = scenes.factors[:, np.ptp(scenes.factors, axis=0) > 0]
    mig = float(mutual_information_gap(codes, factors)[0])
    return Encoder(beta, seed, model, codes, gaussian_kl(mu, logvar).double().mean(dim=0), explained, mig)


def see(
    settings: Settings, betas: Sequence[float] | None = None, eyes: Denoiser | None = None
) -> dict[float, list[Encoder]]:
    """The vision stage: an encoder for each beta and seed, trained on pictures of all hues with the squared error.

    With ``eyes`` (:func:`denoiser`) pictures are compared in the bottleneck of its network, the loss scaled by
    :func:`equal_variance_scale`; nothing else differs.
    """
    world, domain = settings.world(), settings.domains()["unsupervised"]
    data, scenes = vision_data(world, domain, settings.pictures), all_scenes(world)
    betas = settings.betas if betas is None else betas
    jobs = [VisionJob(data, beta, seed) for beta in betas for seed in settings.seeds]
    models = train_jobs(jobs, settings, settings.vision_steps, None if eyes is None else eyes.features())
    found = [describe(model, job.beta, job.seed, data, scenes) for model, job in zip(models, jobs, strict=True)]
    return {beta: [one for one in found if one.beta == beta] for beta in betas}


def train_jobs(
    jobs: Sequence[VisionJob], settings: Settings, steps: int, features: FeatureMap | None = None
) -> list[VAE]:
    """:func:`train_vision` with the sizes of ``settings``; a loss in ``features`` is scaled for the pictures of the first job."""
    scale = 1.0 if features is None else equal_variance_scale(jobs[0].pictures, features)
    return train_vision(
        jobs, steps, latent_dim=settings.latents, hidden=(settings.vision_hidden,) * 2, batch=min(settings.vision_batch, settings.pictures),
        learning_rate=settings.learning_rate, features=features, scale=scale,
    )  # fmt: skip


class Choice(NamedTuple):
    """For one beta, means over its encoders: ``agreement`` of pairs, ``explained`` variance, active ``nats``."""

    beta: float
    agreement: float
    explained: float
    nats: float


def unsupervised_choice(encoders: dict[float, list[Encoder]], least: float) -> tuple[float, list[Choice]]:
    """The beta whose encoders agree most among those that explain at least ``least`` of the variance, and the table.

    No reward, no factor and no return enters. Where no beta explains as much, the one that explains most is taken.
    """
    table = []
    for beta, group in encoders.items():
        agreement = [
            disentanglement_agreement(a.codes, a.kl, b.codes, b.kl) for a, b in itertools.combinations(group, 2)
        ]
        explained, nats = (
            float(np.mean(column)) for column in zip(*((e.explained, float(e.kl.sum())) for e in group), strict=True)
        )
        table.append(Choice(beta, float(np.mean(agreement)), explained, nats))
    enough = [row for row in table if row.explained >= least]
    best = max(enough, key=lambda row: row.agreement) if enough else max(table, key=lambda row: row.explained)
    return best.beta, table


class Returns(NamedTuple):
    """Exact returns (seeds,) in the source and in the target, each the mean of a few agents; and the agents themselves.

    ``agents`` acts on ``table`` (agents of all seeds, scenes, D), the agents of one seed side by side.
    """

    source: np.ndarray
    target: np.ndarray
    agents: AgentStack
    table: torch.Tensor


def act(
    world: SeekAvoidWorld,
    domains: dict[str, DomainSpec],
    table: torch.Tensor,
    seeds: Sequence[int],
    settings: Settings,
    penalty: float = 0.0,
) -> Returns:
    """Agents that learn from random moves in the source, on ``table`` (S, scenes, D) or (scenes, D), and their returns.

    For each seed ``settings.agents`` agents, each with moves of its own: the same for every table.
    """
    source, rewards = domains["source"], world.rewards()
    wide = (table if table.dim() == 3 else table.expand(len(seeds), -1, -1)).repeat_interleave(settings.agents, dim=0)
    own = [seed * 100 + k for seed in seeds for k in range(settings.agents)]
    places, actions = [], []
    for seed in own:
        looks = world.draw_looks(source, settings.experience, numpy_generator(seed, "darla", "agent looks"))
        state = world.start(source, looks, numpy_generator(seed, "darla", "agent states"))
        places.append(world.index(looks, state))
        actions.append(numpy_generator(seed, "darla", "agent moves").integers(0, 3, settings.experience))
    paid = torch.from_numpy(rewards[np.stack(places), np.stack(actions)])
    features = torch.stack([seen[place] for seen, place in zip(wide, places, strict=True)])
    agents = fit_q(
        features, torch.from_numpy(np.stack(actions)), paid, settings.agent_steps, seeds=own,
        hidden=(settings.agent_hidden,) * 2, input_penalty=penalty,
    )  # fmt: skip
    return returns_of(world, domains, agents, wide, len(seeds))


def returns_of(
    world: SeekAvoidWorld, domains: dict[str, DomainSpec], agents: AgentStack, table: torch.Tensor, seeds: int
) -> Returns:
    """The exact returns of the greedy policies of ``agents`` on ``table``, averaged over the agents of each of ``seeds``."""
    policies = greedy_policies(agents, table)
    source, target = (
        np.array([world.expected_return(domains[name], policy) for policy in policies]).reshape(seeds, -1).mean(axis=1)
        for name in ("source", "target")
    )
    return Returns(source, target, agents, table)


def pixel_table(scenes: Scenes) -> torch.Tensor:
    """What an agent sees that acts on pixels: (scenes, pixels), standardised by all scenes together, not pixel by pixel."""
    flat = scenes.pictures.flatten(1)
    return (flat - flat.mean()) / flat.std()


def code_table(encoders: Sequence[Encoder]) -> torch.Tensor:
    """The codes of ``encoders``, one slice each: (S, scenes, M)."""
    return torch.stack([encoder.codes for encoder in encoders])


@torch.no_grad()
def feature_table(found: Denoiser, scenes: Scenes) -> torch.Tensor:
    """What an agent sees that acts on the bottleneck of a denoiser, without a VAE: (scenes, features), standardised by its data."""
    features = found.features()
    return standardise_by(features(scenes.pictures), features(found.data))


def true_factors(settings: Settings, *, rotated: bool) -> torch.Tensor:
    """The best code there is: the four true factors of every scene, standardised, (seeds, scenes, 4).

    With ``rotated`` each seed's copy is turned by a random rotation of its own, so that every number is a mixture of all.
    """
    factors = torch.from_numpy(all_scenes(settings.world()).factors).float()
    factors = standardise_by(factors, factors)
    if not rotated:
        return factors.repeat(len(settings.seeds), 1, 1)
    turns = [torch.randn(4, 4, generator=torch_generator(seed, "darla", "rotation")) for seed in settings.seeds]
    return torch.stack([factors @ torch.linalg.qr(turn)[0] for turn in turns])


def tables(encoders: dict[float, list[Encoder]], settings: Settings) -> dict[str | float, torch.Tensor]:
    """What agents can look at: "pixels", the codes of each beta, and the true factors, "aligned" and "rotated"."""
    return {
        "pixels": pixel_table(all_scenes(settings.world())),
        **{beta: code_table(group) for beta, group in encoders.items()},
        "aligned": true_factors(settings, rotated=False),
        "rotated": true_factors(settings, rotated=True),
    }


def act_on_all(
    looks_at: dict[str | float, torch.Tensor], settings: Settings, penalty: float = 0.0
) -> dict[str | float, Returns]:
    """Returns of agents on each of ``looks_at`` (:func:`tables`), from the same experience for each seed."""
    world, domains = settings.world(), settings.domains()
    return {name: act(world, domains, table, settings.seeds, settings, penalty) for name, table in looks_at.items()}


def rank_correlation(
    encoders: dict[float, list[Encoder]], returns: dict[str | float, Returns], resamples: int = 2000
) -> tuple[MeanInterval, np.ndarray]:
    """:func:`rank_interval` of the mutual information gap with the target return; also the pairs (encoders, 2)."""
    pairs = np.array(
        [[e.mig, r] for beta, group in encoders.items() for e, r in zip(group, returns[beta].target, strict=True)]
    )
    return rank_interval(pairs, resamples), pairs


def rank_interval(pairs: np.ndarray, resamples: int = 2000) -> MeanInterval:
    """Spearman's correlation of the two columns of ``pairs`` (n, 2), with a 95% bootstrap interval over the rows.

    In a resample in which a column is constant the correlation counts as 0.
    """

    def correlation(x: np.ndarray, y: np.ndarray) -> float:
        x, y = stats.rankdata(x), stats.rankdata(y)
        return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0

    rng = numpy_generator(0, "darla", "bootstrap")
    return MeanInterval(*bootstrap_ci(correlation, pairs[:, 0], pairs[:, 1], rng=rng, resamples=resamples))


# --- two losses for a small object ------------------------------------------------------------------------------------


class Denoiser(NamedTuple):
    """The trained, frozen denoising autoencoder, its ``losses`` and the ``data`` it was trained on."""

    autoencoder: DenoisingAutoencoder
    losses: torch.Tensor
    data: torch.Tensor

    def features(self, layer: str = "bottleneck") -> FeatureMap:
        """A layer of the autoencoder as a function of pictures."""
        return FeatureMap(self.autoencoder, layer).eval()


def denoiser(settings: Settings, object_size: int | None = None, seed: int = 0) -> Denoiser:
    """A denoising autoencoder for the world with objects of ``object_size`` (default: the small ones).

    ``seed`` draws its weights, its batches and its masks; the pictures are those of :func:`vision_data`.
    """
    world = settings.world(object_size or settings.small_object)
    data = vision_data(world, settings.domains()["unsupervised"], settings.pictures)
    model = DenoisingAutoencoder(
        tuple(data.shape[1:]), bottleneck=settings.bottleneck, hidden=(settings.denoiser_hidden,),
        generator=torch_generator(seed, "darla", "denoiser"),
    )  # fmt: skip
    losses = train_denoiser(model, data, settings.denoiser_steps, seed=seed)
    return Denoiser(freeze(model), losses, data)


def kind_accuracy(encoder: Encoder, scenes: Scenes) -> float:
    """The share of scenes whose kind of object a linear rule reads from the code; fitted on half of them, tried on the rest."""
    x = np.c_[np.ones(len(encoder.codes)), encoder.codes.double().numpy()]
    sign = np.where(scenes.factors[:, 2] == 1, 1.0, -1.0)
    order = numpy_generator(0, "darla", "probe").permutation(len(x))
    fitted, tried = order[::2], order[1::2]
    weights = np.linalg.lstsq(x[fitted], sign[fitted], rcond=1e-8)[0]
    return float((np.sign(x[tried] @ weights) == sign[tried]).mean())


def losses_compared(
    found: Denoiser, settings: Settings, names: Sequence[str] = ("pixels", "bottleneck")
) -> dict[str, list[Encoder]]:
    """Encoders of the world with a small object: "pixels" compares pixels, "bottleneck" that layer of the denoiser, scaled.

    ``names`` are what to compare. All have the beta ``settings.small_beta`` and, by :func:`equal_variance_scale`, losses of one size.
    """
    scenes = all_scenes(settings.world(settings.small_object))
    jobs = [VisionJob(found.data, settings.small_beta, seed) for seed in settings.seeds]
    encoders = {}
    for name in names:
        models = train_jobs(jobs, settings, settings.small_steps, None if name == "pixels" else found.features(name))
        encoders[name] = [describe(m, j.beta, j.seed, found.data, scenes) for m, j in zip(models, jobs, strict=True)]
    return encoders


# --- the literal split of DeepMind Lab --------------------------------------------------------------------------------


class Rooms(NamedTuple):
    """The counter-example: returns on ``pixels`` and on codes of each beta, with the random and the best return."""

    pixels: Returns
    codes: dict[float, Returns]
    random: tuple[float, float]
    optimal: tuple[float, float]


def two_room_domains() -> dict[str, DomainSpec]:
    """Hat and can in room A, cake and balloon in rooms A and B; the target is hat and can in room B.

    Kinds 0 to 3 are hat, can, cake and balloon; rooms are a wall and the floor of the same number.
    """
    rooms = lambda pairs: DomainSpec(SeekAvoidWorld.names, tuple((room, room, kind) for room, kind in pairs))
    source = rooms(((0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3)))
    return {"source": source, "unsupervised": source, "target": rooms(((1, 0), (1, 1)))}


def two_rooms(settings: Settings, betas: Sequence[float]) -> Rooms:
    """The split with vision data as poor as the task's: encoders of ``betas`` see the source and nothing else."""
    world = SeekAvoidWorld.two_rooms(size=settings.size, object_size=settings.object_size)
    domains, scenes = two_room_domains(), all_scenes(world)
    data = vision_data(world, domains["unsupervised"], settings.pictures)
    jobs = [VisionJob(data, beta, seed) for beta in betas for seed in settings.seeds]
    models = train_jobs(jobs, settings, settings.room_steps)
    pixels = act(world, domains, pixel_table(scenes), settings.seeds, settings)
    codes = {}
    for beta in betas:
        group = [describe(m, beta, j.seed, data, scenes) for m, j in zip(models, jobs, strict=True) if j.beta == beta]
        codes[beta] = act(world, domains, code_table(group), settings.seeds, settings)
    ends = lambda measure: (measure(domains["source"]), measure(domains["target"]))
    return Rooms(pixels, codes, ends(world.random_return), ends(world.optimal_return))


def difference(a: np.ndarray, b: np.ndarray) -> MeanInterval:
    """``a - b`` (seeds,) seed by seed: the mean and its 95% interval."""
    return mean_interval(a - b)
