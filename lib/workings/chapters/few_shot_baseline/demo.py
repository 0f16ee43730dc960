"""What the chapter `few_shot_baseline` measures: one function an experiment, on glyphs, handwriting or photographs alike.

Every function takes a network or its features and a :class:`~workings.chapters.omniglot_data.Collection` of classes that the
network never saw, and gives numbers per episode, so that methods are compared on the same episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from workings.chapters.few_shot_baseline.settings import Settings
from workings.chapters.omniglot_data import Collection
from workings.few_shot.episodes import Episodes, EpisodeSampler
from workings.few_shot.evaluation import centroid_accuracy
from workings.few_shot.finetuning import transductive_finetune, tune_classifiers
from workings.few_shot.glyphs import make_glyphs
from workings.few_shot.hardness import episode_hardness
from workings.few_shot.networks import Conv4, conv4
from workings.few_shot.pretraining import train_classifier
from workings.few_shot.prototypes import cosine_logits
from workings.seeding import numpy_generator, torch_generator

BALANCED = (5, 5, 5, 5, 5)
UNBALANCED = (13, 6, 3, 2, 1)
"""Query images per class of a 5-way episode: as many in all, evenly and not."""

METHODS: dict[str, dict[str, Any]] = {
    "fine-tuning": {"entropy_weight": 0.0},
    "transductive": {},
    "batch-norm only": {"norm_mode": "batch-only"},
    "entropy only": {"norm_mode": "eval"},
}
"""Ways to tune the whole network, as options of :func:`~workings.few_shot.finetuning.transductive_finetune`."""


def glyph_collections(settings: Settings) -> tuple[Collection, Collection]:
    """Invented characters: those of the first ``base_alphabets`` alphabets to train on, the others for episodes."""
    s = settings
    glyphs = make_glyphs(
        s.alphabets, s.characters, s.drawers, numpy_generator(0, "glyphs"), size=s.size
    )  # the same data for every network
    images, labels, groups = (torch.from_numpy(part) for part in glyphs[:3])
    base = groups < s.base_alphabets
    split = s.base_alphabets * s.characters
    return (
        Collection(images[base], labels[base], groups[base]),
        Collection(images[~base], labels[~base] - split, groups[~base] - s.base_alphabets),
    )


def train_network(
    base: Collection, seed: int, settings: Settings, classes: int | None = None
) -> tuple[Conv4, torch.Tensor]:
    """A Conv4 trained on the first ``classes`` base classes, all by default, and its losses (steps,).

    Whatever their number, the steps are as many.
    """
    s = settings
    base = base.first(classes or base.classes)
    net = conv4(torch_generator(seed, "network"), width=s.width, classes=base.classes, size=s.size)
    net = net.to(memory_format=torch.channels_last)
    trained = train_classifier(
        net, base.images, base.labels, s.steps, seed, batch=min(s.batch, len(base.images)), lr=s.lr
    )
    return net, trained.losses


def draw_episodes(
    novel: Collection, way: int, shot: int, query: int, count: int, name: str, *, within: bool = False, seed: int = 0
) -> Episodes:
    """``count`` episodes of the stream ``name``, the same for every network that gives the same ``seed``.

    ``within`` keeps each inside one group.
    """
    source = torch_generator(seed, "episodes", name, way, shot, query)
    groups = novel.groups.cpu() if within else None
    return EpisodeSampler(novel.labels.cpu(), way, shot, query, source, groups=groups).sample(count)


def way_curve(features: torch.Tensor, novel: Collection, settings: Settings, query: int = 5) -> dict[int, float]:
    """Mean 1-shot accuracy of the untuned classifier for each number of ways."""
    draw = lambda way: draw_episodes(novel, way, 1, query, settings.curve_episodes, "ways")
    return {way: float(centroid_accuracy(features, draw(way), block=20).mean()) for way in settings.ways}


def shot_curve(features: torch.Tensor, novel: Collection, settings: Settings, query: int = 5) -> dict[int, float]:
    """Mean 5-way accuracy of the untuned classifier for each number of shots, over four times the episodes of a way."""
    draw = lambda shot: draw_episodes(novel, 5, shot, query, 4 * settings.curve_episodes, "shots")
    return {shot: float(centroid_accuracy(features, draw(shot)).mean()) for shot in settings.shots}


def log_fit(curve: dict[int, float]) -> float:
    """R squared of the least-squares line of a curve's values over the logarithm of its keys."""
    x, y = np.log(list(curve)), np.array(list(curve.values()))
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def episode_images(collection: Collection, episodes: Episodes, number: int) -> tuple[torch.Tensor, ...]:
    """Support images, their labels, query images and theirs, of one episode."""
    support, query = episodes.support[number].flatten(), episodes.query[number].flatten()
    at = lambda where: collection.images[where.to(collection.images.device)]
    return at(support), episodes.support_labels(), at(query), episodes.query_labels()


def tuned_accuracies(
    net: nn.Module,
    novel: Collection,
    episodes: Episodes,
    number: int,
    settings: Settings,
    methods: Iterable[str] = tuple(METHODS),
    **options: Any,
) -> dict[str, float]:
    """Accuracy in one episode of the untuned classifier and of each of the ``methods`` of :data:`METHODS`, by name."""
    support, labels, query, truth = episode_images(novel, episodes, number)
    found: dict[str, float] = {}
    for name, method in {"initialisation": {"epochs": 0}, **{name: METHODS[name] for name in methods}}.items():
        given = {"epochs": settings.tune_epochs, "lr": settings.tune_lr, **options, **method}
        if "augment" in given:
            given["generator"] = torch_generator(number, "augment", name, device=str(support.device))
        adapted = transductive_finetune(net, support, labels, query, **given)
        found[name] = adapted.accuracy(query, truth)
    return found


def with_counts(episodes: Episodes, counts: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Query items (E, sum of counts) of which the first class has ``counts[0]`` and so on, and their labels."""
    items = torch.cat([episodes.query[:, way, :count] for way, count in enumerate(counts)], dim=1)
    return items, torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def head_accuracies(
    features: torch.Tensor, novel: Collection, settings: Settings, counts: Sequence[int] = BALANCED
) -> dict[str, torch.Tensor]:
    """Accuracy (E,) on frozen features of classifiers tuned alone: untuned, with the entropy, with the marginal term as well.

    Five ways, one shot, within a group; ``counts`` says how many query images each class has.
    """
    s = settings
    episodes = draw_episodes(novel, 5, 1, max(UNBALANCED), s.heads, "heads", within=True)
    items, truth = with_counts(episodes, counts)
    support, query = features[episodes.support.flatten(1)], features[items]
    truth = truth.to(features.device)
    right = lambda weight, bias: (cosine_logits(query, weight, bias).argmax(dim=-1) == truth).double().mean(dim=1).cpu()
    tune = lambda steps, marginal: tune_classifiers(
        support, episodes.support_labels(), query, steps=steps, lr=s.head_lr, marginal_weight=marginal
    )
    rules = {"untuned": (0, 0.0), "entropy": (s.head_steps, 0.0), "with marginal": (s.head_steps, 1.0)}
    return {name: right(*tune(*rule)) for name, rule in rules.items()}


def hardness_points(
    phi: torch.Tensor, features: torch.Tensor, novel: Collection, settings: Settings, query: int = 5, seed: int = 0
) -> dict[str, list[float]]:
    """Episodes over many ways and shots: ``way``, ``shot``, ``hardness`` by the network of ``phi``, and two accuracies.

    ``untuned`` and ``tuned`` are percent of the queries, the latter by a classifier tuned with the marginal term on frozen features.
    Another ``seed`` draws other episodes.
    """
    s = settings
    found: dict[str, list[float]] = {name: [] for name in ("way", "shot", "hardness", "untuned", "tuned")}
    for way in s.hard_ways:
        for shot in s.hard_shots:
            episodes = draw_episodes(novel, way, shot, query, s.hard_episodes, "hardness", seed=seed)
            labels, truth = episodes.support_labels(), episodes.query_labels()
            places = episodes.support.flatten(1), episodes.query.flatten(1)
            values = episode_hardness(phi[places[0]], labels, phi[places[1]], truth)
            support, queries = features[places[0]], features[places[1]]
            tuned = tune_classifiers(support, labels, queries, steps=s.head_steps, lr=s.head_lr, marginal_weight=1.0)
            guess = cosine_logits(queries, *tuned).argmax(dim=-1).cpu()
            found["way"] += [way] * s.hard_episodes
            found["shot"] += [shot] * s.hard_episodes
            found["hardness"] += values.cpu().tolist()
            found["untuned"] += (100 * centroid_accuracy(features, episodes)).tolist()
            found["tuned"] += (100 * (guess == truth).double().mean(dim=1)).tolist()
    return found


def correlation_error(r: float, episodes: int) -> float:
    """Standard error of a correlation ``r`` over ``episodes`` random episodes: (1 - r^2) / sqrt(episodes - 1).

    Raises ``ValueError`` for fewer than 3 episodes or ``r`` outside -1 to 1.
    """
    if episodes < 3 or not -1 <= r <= 1:
        raise ValueError(f"r must lie in -1 to 1 and episodes be 3 or more, got r = {r} and {episodes} episodes.")
    return float((1 - r**2) / np.sqrt(episodes - 1))


def tuned_rows(
    nets: Sequence[nn.Module], novel: Collection, settings: Settings, shot: int = 1, query: int = 15
) -> list[dict[str, float]]:
    """:func:`tuned_accuracies` within groups, ``settings.tuned`` episodes of each network, and other episodes for each."""
    count = settings.tuned
    episodes = draw_episodes(novel, 5, shot, query, count * len(nets), "tuned", within=True)
    return [
        tuned_accuracies(net, novel, episodes, k * count + number, settings)
        for k, net in enumerate(nets)
        for number in range(count)
    ]


def gains(rows: Iterable[dict[str, float]], method: str, base: str = "initialisation") -> np.ndarray:
    """Accuracy of ``method`` minus that of ``base`` in each episode, in points (n,)."""
    return np.array([100 * (row[method] - row[base]) for row in rows])


def over_networks(values: Sequence[np.ndarray]) -> np.ndarray:
    """One number per episode (n,): the average over networks of ``values`` (n,) each, for networks that share their episodes.

    What counts as one independent draw is then an episode, not an episode of a network.
    """
    return np.stack([np.asarray(value) for value in values]).mean(axis=0)
