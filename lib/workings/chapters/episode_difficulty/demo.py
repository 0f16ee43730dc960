"""What the chapter `episode_difficulty` runs: difficulties of frozen networks, and the lesson in controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from workings.chapters.episode_difficulty.settings import Settings
from workings.few_shot.difficulty_sampling import A, DifficultyStats, importance_weight, normalising_factor
from workings.few_shot.episodes import Episodes, EpisodeSampler
from workings.few_shot.glyphs import make_glyphs
from workings.few_shot.networks import conv4
from workings.few_shot.pretraining import network_features, train_classifier
from workings.few_shot.prototypical import episode_nll, prototypical_logits
from workings.seeding import numpy_generator, torch_generator
from workings.training import ShuffledBatches

SCALES = tuple(float(c) for c in np.geomspace(1.0, 8.0, 25))
"""Scales c of the cosine head among which the one with the smallest loss on base episodes is taken."""
LEARNERS = ("regular", "uniform", "permuted")
ENDS = ("easy", "hard")
"""Two more ways of sampling, which only the demo trains: the weights of one half of the difficulties."""
HARD_CONTROL = "permuted hard"
"""The control of "hard": its own weights of that half, in random order."""


class Drawings(NamedTuple):
    """Pictures (N, 1, 28, 28) with their characters (N,) and alphabets (N,), int64; ``base`` (N,): those for training."""

    images: torch.Tensor
    characters: torch.Tensor
    alphabets: torch.Tensor
    base: torch.Tensor


def drawings(settings: Settings) -> Drawings:
    """The glyphs of this chapter; characters of the first ``base_alphabets`` alphabets are for training."""
    found = make_glyphs(
        settings.alphabets,
        settings.characters,
        settings.drawers,
        numpy_generator(settings.seed, "episode difficulty", "glyphs"),
    )
    alphabets = torch.from_numpy(found.alphabets)
    return Drawings(
        torch.from_numpy(found.images),
        torch.from_numpy(found.characters),
        alphabets,
        alphabets < settings.base_alphabets,
    )


def networks(data: Drawings, settings: Settings) -> list[nn.Module]:
    """One Conv4 for each of ``settings.widths``, trained by cross-entropy on the base characters, each from its own seed."""
    images, labels = data.images[data.base], data.characters[data.base]
    images = images.contiguous(memory_format=torch.channels_last)
    made = []
    for seed, width in enumerate(settings.widths):
        net = conv4(torch_generator(seed, "episode difficulty"), width=width, classes=int(labels.max()) + 1)
        batch = min(128, len(images))
        steps = settings.epochs * ShuffledBatches(len(images), batch, seed).per_epoch
        train_classifier(net.to(memory_format=torch.channels_last), images, labels, steps, seed, batch=batch)
        made.append(net)
    return made


def novel_episodes(data: Drawings, episodes: int, settings: Settings, name: str = "novel") -> Episodes:
    """``episodes`` random episodes of the novel characters; indices into all of ``data``."""
    return _episodes(data, ~data.base, episodes, settings.query, settings, name)


def base_episodes(data: Drawings, episodes: int, settings: Settings, name: str = "base") -> Episodes:
    """``episodes`` random episodes of the base characters; indices into all of ``data``."""
    return _episodes(data, data.base, episodes, settings.query, settings, name)


def _episodes(data: Drawings, mask: torch.Tensor, episodes: int, query: int, settings: Settings, name: str) -> Episodes:
    where = mask.nonzero()[:, 0]
    generator = torch_generator(settings.seed, "episode difficulty", "episodes", name)
    found = EpisodeSampler(data.characters[where], settings.way, settings.shot, query, generator).sample(episodes)
    return Episodes(found.classes, where[found.support], where[found.query])


def redrawn(episodes: Episodes, labels: torch.Tensor, repeats: int, generator: torch.Generator) -> Episodes:
    """Each episode ``repeats`` times with the same classes and other images: G episodes become G x ``repeats``, set by set.

    ``labels`` (N,) are those of the data that the episodes index; every class has equally many items.
    """
    order = labels.argsort(stable=True)
    per_class = len(labels) // (int(labels.max()) + 1)
    table = order.reshape(-1, per_class)  # (classes, items)
    classes = episodes.classes.repeat_interleave(repeats, dim=0)
    shot, query = episodes.support.shape[2], episodes.query.shape[2]
    keys = torch.rand(*classes.shape, per_class, generator=generator)
    items = table[classes].gather(2, keys.argsort(dim=2)[..., : shot + query])
    return Episodes(classes, items[..., :shot], items[..., shot:])


def difficulties(
    features: torch.Tensor,
    episodes: Episodes,
    metric: str = "sqeuclidean",
    scale: float = 1.0,
    block: int = 500,
) -> tuple[np.ndarray, np.ndarray]:
    """Difficulty (nats) and accuracy of every episode under a head on frozen ``features`` (N, D): two arrays (E,)."""
    hard, right = [], []
    labels, truth = episodes.support_labels(), episodes.query_labels()
    for start in range(0, len(episodes.classes), block):
        part = episodes.only(slice(start, start + block))
        support, query = features[part.support.flatten(1)], features[part.query.flatten(1)]
        logits = prototypical_logits(support, labels, query, metric, scale)
        hard.append(episode_nll(logits, truth))
        right.append((logits.argmax(dim=-1) == truth).double().mean(dim=-1))
    return torch.cat(hard).double().numpy(), torch.cat(right).numpy()


@torch.no_grad()
def cosines(features: torch.Tensor, episodes: Episodes) -> torch.Tensor:
    """Cosine of every query with every prototype, (E, Q, K): logits of the cosine head at scale 1."""
    parts = []
    for start in range(0, len(episodes.classes), 250):
        part = episodes.only(slice(start, start + 250))
        support, query = features[part.support.flatten(1)], features[part.query.flatten(1)]
        parts.append(prototypical_logits(support, episodes.support_labels(), query, "cosine"))
    return torch.cat(parts)


def fitted_scale(features: torch.Tensor, episodes: Episodes, scales: Iterable[float] = SCALES) -> float:
    """The scale of the cosine head with the smallest mean difficulty over ``episodes`` of base characters."""
    found, truth = cosines(features, episodes), episodes.query_labels()
    return min(scales, key=lambda c: float(episode_nll(c**2 * found, truth).mean()))


def distance_to_uniform(z: np.ndarray, weights: np.ndarray) -> float:
    """Largest gap between the weighted distribution of ``z`` (n,) and the uniform one on [-A, A]."""
    order = np.argsort(z)
    flat = np.clip((z[order] + A) / (2 * A), 0.0, 1.0)
    share = np.cumsum(weights[order]) / weights.sum()
    before = share - weights[order] / weights.sum()
    return float(max(np.abs(share - flat).max(), np.abs(before - flat).max()))


def half_way(difficulty: np.ndarray) -> float:
    """The distance to uniform with the weights for the uniform target, over that without: below 1 is nearer."""
    z = DifficultyStats("offline").fit(difficulty).standardise(difficulty)
    return distance_to_uniform(z, importance_weight(z, "uniform")) / distance_to_uniform(z, np.ones_like(z))


@dataclass(frozen=True)
class Heads:
    """What one network says of the novel episodes: by head ("cosine", "sqeuclidean") difficulties and accuracies (E,)."""

    features: torch.Tensor
    scale: float
    difficulty: dict[str, np.ndarray]
    accuracy: dict[str, np.ndarray]


def heads(net: nn.Module, data: Drawings, episodes: Episodes, settings: Settings) -> Heads:
    """Features of all ``data``, the fitted scale, and both heads on ``episodes``."""
    features = network_features(net.features, data.images)
    scale = fitted_scale(features, base_episodes(data, min(300, settings.episodes), settings, "scale"))
    found = {
        "cosine": difficulties(features, episodes, "cosine", scale),
        "sqeuclidean": difficulties(features, episodes, "sqeuclidean"),
    }
    return Heads(features, scale, {k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()})


def principal_components(images: torch.Tensor, fitted: torch.Tensor, number: int) -> torch.Tensor:
    """Scores (N, number) of ``images`` on the leading principal components of those ``fitted`` (N,), of mean square 1 there."""
    pixels = images.flatten(1).double()
    centred = pixels - pixels[fitted].mean(dim=0)
    _, axes = torch.linalg.eigh(centred[fitted].T @ centred[fitted])
    axes = axes.flip(1)[:, :number]
    axes = axes * axes.gather(0, axes.abs().argmax(dim=0)[None]).sign()  # a processor's choice of sign is none of ours
    scores = centred @ axes
    return (scores / scores[fitted].square().mean().sqrt()).float()


class Checkpoint(NamedTuple):
    """One look at the learners, S seeds x T ways of sampling, after ``step`` steps.

    ``accuracy`` (S, T, E): of every test episode. ``fresh_mean`` and ``fresh_sd`` (S, T): of the difficulties of fresh base
    episodes. ``tracked`` (S, T): the mean that the online statistics hold; ``tracked_sd`` likewise.
    """

    step: int
    accuracy: np.ndarray
    fresh_mean: np.ndarray
    fresh_sd: np.ndarray
    tracked: np.ndarray
    tracked_sd: np.ndarray


class Learners:
    """Small networks, one for each seed and way of sampling, trained side by side on the same episodes.

    Each is components -> 128 -> ReLU -> 64, a prototypical network with the squared distance; first weights are uniform within
    1 / sqrt(fan-in). The weights have the leading
    dimensions (S, T): the learners of one seed start alike and see the same episodes in the same order.
    """

    def __init__(self, inputs: int, seeds: tuple[int, ...], ways: int, hidden: int = 128, outputs: int = 64):
        draw = [torch_generator(seed, "episode difficulty", "learner") for seed in seeds]
        make = lambda *shape: torch.stack([(2 * torch.rand(*shape, generator=g) - 1) / shape[0] ** 0.5 for g in draw])
        first, second = make(inputs, hidden), make(hidden, outputs)
        spread = lambda w: w[:, None].repeat(1, ways, 1, 1).requires_grad_()
        zeros = lambda n: torch.zeros(len(seeds), ways, 1, n, requires_grad=True)
        self.parameters = [spread(first), zeros(hidden), spread(second), zeros(outputs)]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Features (S, T, n, outputs) of inputs (S, n, inputs), or (n, inputs) for all."""
        w1, b1, w2, b2 = self.parameters
        x = x[:, None] if x.dim() == 3 else x
        return (x @ w1 + b1).relu() @ w2 + b2

    def losses(self, x: torch.Tensor, episodes: list[Episodes]) -> torch.Tensor:
        """Difficulties (S, T, B) of one batch of B episodes per seed; ``x`` (N, inputs) is the data they index."""
        items = [torch.cat([e.support.flatten(1), e.query.flatten(1)], dim=1) for e in episodes]  # S times (B, items)
        some = episodes[0]
        out = self(torch.stack([x[i.flatten()] for i in items]))
        out = out.unflatten(2, items[0].shape)  # (S, T, B, items, outputs)
        support, query = out.split([some.support[0].numel(), some.query[0].numel()], dim=3)
        return episode_nll(prototypical_logits(support, some.support_labels(), query), some.query_labels())


def train_learners(
    data: Drawings,
    settings: Settings,
    watch: Callable[[Iterable[int]], Iterable[int]] = iter,
    ways: tuple[str, ...] = LEARNERS,
) -> list[Checkpoint]:
    """The lesson in controls: learners trained in these ``ways`` from each of ``settings.seeds``, looked at after ``settings.looks``.

    "regular" averages the losses of a batch; "uniform", "easy" and "hard" weigh them by online statistics for that target,
    normalised by the effective sample size; "permuted" computes the weights of "uniform" for itself and hands them out in random
    order, and "permuted hard" those of "hard". Learners of one seed start alike and see the same episodes, also in two calls with
    other ``ways``.
    """
    few = data.alphabets < settings.learner_alphabets
    x = principal_components(data.images, few, settings.learner_components)
    learners = Learners(x.shape[1], settings.seeds, len(ways))
    optimiser = torch.optim.Adam(learners.parameters, lr=1e-3)
    base = few.nonzero()[:, 0]
    samplers = [
        EpisodeSampler(
            data.characters[base],
            settings.way,
            settings.shot,
            settings.learner_query,
            torch_generator(seed, "episode difficulty", "training episodes"),
        )
        for seed in settings.seeds
    ]
    shuffles = [numpy_generator(seed, "episode difficulty", "permutations") for seed in settings.seeds]
    track = [[DifficultyStats("online", warmup=100 * settings.batch) for _ in ways] for _ in settings.seeds]
    test = _episodes(data, ~data.base, settings.test_episodes, settings.test_query, settings, "test")
    fresh = _episodes(data, few, settings.fresh_episodes, settings.learner_query, settings, "fresh")
    found = []
    for step in watch(range(settings.learner_steps)):
        drawn = [sampler.sample(settings.batch) for sampler in samplers]
        episodes = [Episodes(e.classes, base[e.support], base[e.query]) for e in drawn]
        losses = learners.losses(x, episodes)
        seen = losses.detach().double().numpy()
        scaled = np.empty_like(seen)
        for s, shuffle in enumerate(shuffles):
            for t, name in enumerate(ways):
                target = name.removeprefix("permuted ")
                w = track[s][t].weigh(seen[s, t], target if target in ENDS else "uniform")
                if name == "regular":
                    w = np.ones_like(w)
                elif name.startswith("permuted"):
                    w = shuffle.permutation(w)
                scaled[s, t] = w * normalising_factor(w, "ess")
        optimiser.zero_grad()
        (losses * torch.from_numpy(scaled).to(losses)).sum().backward()
        optimiser.step()
        if step + 1 in settings.looks:
            found.append(_look(step + 1, learners, x, test, fresh, track))
    return found


@torch.no_grad()
def _look(
    step: int,
    learners: Learners,
    x: torch.Tensor,
    test: Episodes,
    fresh: Episodes,
    track: list[list[DifficultyStats]],
) -> Checkpoint:
    features = learners(x)  # (S, T, N, outputs)
    shape = features.shape[:2]
    flat = features.flatten(0, 1)
    accuracy = np.stack([difficulties(one, test)[1] for one in flat]).reshape(*shape, -1)
    hard = np.stack([difficulties(one, fresh)[0] for one in flat]).reshape(*shape, -1)
    tracked = np.array([[one.mean for one in row] for row in track])
    spread = np.array([[one.variance for one in row] for row in track]) ** 0.5
    return Checkpoint(step, accuracy, hard.mean(axis=-1), hard.std(axis=-1, ddof=1), tracked, spread)
