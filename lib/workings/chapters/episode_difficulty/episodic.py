"""Episodic training of a Conv4 with every way of sampling, on handwriting and on photographs: the long part of the full tier.

Each finished training is one row of the store, and so is each frozen network that scores episodes for others. A copy of the store
lets another machine go on.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from workings.chapters import cifar_fs
from workings.chapters.episode_difficulty.demo import difficulties, drawings, redrawn
from workings.chapters.episode_difficulty.settings import Settings
from workings.chapters.omniglot_data import Collection, omniglot
from workings.few_shot.difficulty_sampling import DifficultyStats
from workings.few_shot.episodes import Episodes, EpisodeSampler
from workings.few_shot.meta_gradients import weighted_episode_loss
from workings.few_shot.networks import Conv4, conv4
from workings.few_shot.pretraining import network_features
from workings.few_shot.prototypical import episode_nll, prototypical_logits
from workings.robustness.cifar import fast_autocast
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator, torch_generator

OFFLINE = ("uniform", "easy", "hard", "curriculum")
"""Ways of sampling whose difficulties a frozen network gives: the one of the same head and seed trained by "regular"."""
NAMES = {"omniglot": "Omniglot", "cifar_fs": "CIFAR-FS"}


class Study(NamedTuple):
    """A data set: classes to train on, classes to test on, and the number of ways of a training episode."""

    base: Collection
    novel: Collection
    way: int


class Frozen(NamedTuple):
    """A network that no longer learns, as far as it scores episodes: ``features`` (N, D) of the data to train on, and its scale."""

    features: torch.Tensor
    scale: float


def collections(name: str, settings: Settings, data_root: str | Path | None) -> Study:
    """The data called ``name``, "omniglot" or "cifar_fs"; invented characters stand for both in a dry run."""
    s = settings
    way = s.full_way if name == "omniglot" else min(s.full_way, 5)
    if not s.dry_run:
        if name == "omniglot":
            return Study(*omniglot(data_root, s.full_size), way)
        train, _, test = cifar_fs.collections(data_root)
        return Study(train, test, way)
    data, split = drawings(s), s.base_alphabets * s.characters
    images = data.images if name == "omniglot" else data.images.expand(-1, 3, -1, -1)
    groups = data.alphabets if name == "omniglot" else torch.zeros_like(data.alphabets)
    base, novel = data.base, ~data.base
    return Study(
        Collection(images[base], data.characters[base], groups[base]),
        Collection(images[novel], data.characters[novel] - split, groups[novel]),
        way,
    )


def train_all(name: str, settings: Settings, store: Store, data_root: str | Path | None) -> None:
    """Train what the store of the data ``name`` lacks: heads x seeds x ways of sampling."""
    s = settings
    jobs = [f"{head}/{seed}/{how}" for head in s.full_heads for seed in s.full_seeds for how in s.full_samplers]
    missing = [key for key in jobs if not store.done(key)]
    if not missing:
        return
    study = collections(name, s, data_root)
    study = study._replace(base=study.base.to(s.device), novel=study.novel.to(s.device))
    tests = compared_episodes(study, s)
    for key in missing:
        head, seed, how = key.split("/")
        train_one(study, head, int(seed), how, tests, s, store)


def train_one(
    study: Study, head: str, seed: int, how: str, tests: dict[int, Episodes], settings: Settings, store: Store
) -> None:
    """One training, stored; that of "regular" stores its network too, and the others of :data:`OFFLINE` read it."""
    frozen = None
    if how in OFFLINE:
        if not store.done(f"{head}/{seed}/frozen"):
            raise ValueError(f"{how!r} needs the frozen network that scores episodes; train 'regular' first.")
        net, scale = unpacked(store.get(f"{head}/{seed}/frozen"), study, settings)
        frozen = Frozen(network_features(net.features, study.base.images).cpu(), scale)
    looks: list[Look] = []
    trained = train_episodes(study, head, seed, how, settings, frozen, tests=tests, looks=looks)
    if how == "regular" and not store.done(f"{head}/{seed}/frozen"):
        store.put(f"{head}/{seed}/frozen", packed(*trained))
    found = {"looks": [[look.step, look.right] for look in looks], "precision": precision(settings)}
    found |= {"bn_scope": settings.bn_scope}
    if how == "regular":
        found |= _diagnosed(*trained, head, study, tests, settings)
    store.put(f"{head}/{seed}/{how}", found | {"scale": trained[1]})


def precision(settings: Settings) -> str:
    """The numbers that convolutions of a training compute with: "bfloat16" where a CPU has them in hardware, else "float32"."""
    fast = torch.device(settings.device).type == "cpu" and fast_autocast(settings.device) is not None
    return "bfloat16" if fast else "float32"


# Episodes


def sampler(data: Collection, way: int, query: int, settings: Settings, name: str, seed: int = 0) -> EpisodeSampler:
    """Episodes within one group, of the stream ``name`` and ``seed``."""
    source = torch_generator(seed, "episode difficulty", "omniglot", name)
    return EpisodeSampler(data.labels.cpu(), way, settings.shot, query, source, groups=data.groups.cpu())


def compared_ways(study: Study, settings: Settings) -> tuple[int, ...]:
    """The numbers of ways of test episodes: that of training first, then the others for which the classes suffice."""
    most = max(len(study.novel.labels[study.novel.groups == g].unique()) for g in study.novel.groups.unique())
    return tuple(dict.fromkeys((study.way, *(way for way in settings.full_test_ways if way <= most))))


def compared_episodes(study: Study, settings: Settings) -> dict[int, Episodes]:
    """The episodes on which all trainings are compared, by their number of ways."""
    s = settings
    draw = lambda way: sampler(study.novel, way, s.full_test_query, s, "test").sample(s.full_episodes)
    return {way: draw(way) for way in compared_ways(study, s)}


def redrawn_sets(study: Study, settings: Settings) -> Episodes:
    """``full_sets`` sets of classes with ``full_per_set`` episodes each."""
    s = settings
    sets = sampler(study.novel, study.way, s.full_test_query, s, "sets").sample(s.full_sets)
    source = torch_generator(0, "episode difficulty", "redrawn")
    return redrawn(sets, study.novel.labels.cpu(), s.full_per_set, source)


# Training


class Look(NamedTuple):
    """After ``step`` steps: ``right``, by ways (as text), how many queries of each test episode were named rightly."""

    step: int
    right: dict[str, list[int]]


def train_episodes(
    study: Study,
    head: str,
    seed: int,
    how: str,
    settings: Settings,
    frozen: Frozen | None = None,
    *,
    tests: dict[int, Episodes] | None = None,
    looks: list[Look] | None = None,
) -> tuple[Conv4, float]:
    """A Conv4 trained by episodes with one way of sampling, and its scale (1 for the squared distance).

    "regular" averages losses; "online" weighs them for the uniform target by statistics tracked on the way; "permuted" computes
    the same weights and hands them out in random order; the others are targets whose difficulties the ``frozen`` network gives.
    Support and query pass through batch-norm separately, as :func:`both_features` says. Adam, with the rate of
    :func:`learning_rate`. With ``tests`` the network is looked at half way and at the end, into ``looks``.
    """
    s, base = settings, study.base
    if how in OFFLINE and frozen is None:
        raise ValueError(f"{how!r} needs the frozen network that scores episodes; train 'regular' first.")
    source = torch_generator(seed, "episode difficulty", "full")
    net = empty(study, s, source)
    scale = torch.ones(1, device=s.device, requires_grad=head == "cosine")
    optimiser = torch.optim.Adam([*net.blocks.parameters(), *([scale] if scale.requires_grad else [])], lr=1e-3)
    draw = sampler(base, study.way, s.full_query, s, "training", seed)
    shuffle = numpy_generator(seed, "episode difficulty", "full permutations")
    if how in OFFLINE:
        known = sampler(base, study.way, s.full_query, s, "scored", seed).sample(s.full_episodes)
        stats = DifficultyStats("offline").fit(scores(frozen, head, known))
    else:
        stats = DifficultyStats("online", warmup=100 * s.full_batch)
    fast = precision(s) == "bfloat16"
    net.train()
    for step in progress(range(s.full_steps), f"{head}, {how}, seed {seed}"):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, s.full_halve)
        if tests and step == s.full_steps // 2:
            looks.append(look(step, net, float(scale.detach()), head, study, tests))
        episodes = draw.sample(s.full_batch)
        with torch.autocast(s.device, torch.bfloat16, enabled=fast):
            features = both_features(net, base, episodes, s.bn_scope)
        losses = head_losses(*(part.float() for part in features), head, scale, episodes)
        weights = np.ones(s.full_batch)
        if how != "regular":
            seen = scores(frozen, head, episodes) if frozen else losses.detach().double().cpu().numpy()
            share = step / max(s.full_steps - 1, 1) if how == "curriculum" else None
            weights = stats.weigh(seen, how if how in OFFLINE else "uniform", share)
        if how == "permuted":
            weights = shuffle.permutation(weights)
        optimiser.zero_grad()
        weighted_episode_loss(losses, weights, "ess").backward()
        optimiser.step()
    if tests:
        looks.append(look(s.full_steps, net, float(scale.detach()), head, study, tests))
    return net.eval(), float(scale.detach())


def learning_rate(step: int, halve: int) -> float:
    """0.001, halved after every ``halve`` steps; constant where ``halve`` is 0."""
    return 1e-3 * 0.5 ** (step // halve if halve else 0)


def empty(study: Study, settings: Settings, source: torch.Generator) -> Conv4:
    """An untrained Conv4 for the images of ``study``."""
    images = study.base.images
    net = conv4(source, channels=images.shape[1], width=settings.full_width, classes=1, size=images.shape[-1])
    return net.to(settings.device, memory_format=torch.channels_last)  # on a CPU up to 1.7 times faster


def both_features(
    net: Conv4, data: Collection, episodes: Episodes, bn_scope: str = "batch"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, K s, D) of the support and (B, K q, D) of the queries, of all episodes in one pass each.

    With ``bn_scope`` "episode" one episode after the other passes, support and then query: batch-norm in training mode
    takes its statistics from each alone, and the running ones move 2 B times. It changes nothing in eval mode.
    """
    items = [part.flatten(1).to(data.images.device) for part in (episodes.support, episodes.query)]
    if bn_scope == "batch":
        return tuple(net.features(data.images[one.flatten()]).unflatten(0, one.shape) for one in items)
    each = [[net.features(data.images[part]) for part in pair] for pair in zip(*items, strict=True)]
    support, query = zip(*each, strict=True)
    return torch.stack(support), torch.stack(query)


def head_losses(
    support: torch.Tensor, query: torch.Tensor, head: str, scale: torch.Tensor | float, episodes: Episodes
) -> torch.Tensor:
    """Losses (B,) of a batch of episodes with these features."""
    device = query.device
    logits = prototypical_logits(support, episodes.support_labels().to(device), query, head, scale)
    return episode_nll(logits, episodes.query_labels().to(device))


def scores(frozen: Frozen, head: str, episodes: Episodes) -> np.ndarray:
    """Difficulties of ``episodes`` under a frozen network: (B,) float64. Its features are looked up, not computed again."""
    return difficulties(frozen.features, episodes, head, frozen.scale, block=100)[0]


def look(step: int, net: Conv4, scale: float, head: str, study: Study, tests: dict[int, Episodes]) -> Look:
    """The test episodes by the network as it is; it goes on learning afterwards."""
    features = network_features(net.features, study.novel.images).cpu()
    right = {}
    for way, episodes in tests.items():
        share = difficulties(features, episodes, head, scale, block=100)[1]
        right[str(way)] = np.rint(share * episodes.query[0].numel()).astype(int).tolist()
    return Look(step, right)


def _diagnosed(
    net: Conv4, scale: float, head: str, study: Study, tests: dict[int, Episodes], settings: Settings
) -> dict[str, Any]:
    """Difficulties of the test episodes with the ways of training, and those of the class sets."""
    features = network_features(net.features, study.novel.images).cpu()
    hard, _ = difficulties(features, tests[study.way], head, scale, block=100)
    by_set, _ = difficulties(features, redrawn_sets(study, settings), head, scale, block=100)
    return {"difficulty": hard.tolist(), "by_set": by_set.reshape(settings.full_sets, settings.full_per_set).tolist()}


# A network as a text of the store


def packed(net: nn.Module, scale: float) -> dict[str, Any]:
    """Weights of the layers before the last, and the scale, as JSON can hold them."""
    buffer = io.BytesIO()
    torch.save({name: value.cpu() for name, value in net.blocks.state_dict().items()}, buffer)
    return {"weights": base64.b64encode(buffer.getvalue()).decode(), "scale": scale}


def unpacked(stored: dict[str, Any], study: Study, settings: Settings) -> tuple[Conv4, float]:
    """The network and the scale that :func:`packed` stored, in eval mode."""
    net = empty(study, settings, torch_generator(0, "episode difficulty", "unpacked"))
    buffer = io.BytesIO(base64.b64decode(stored["weights"]))
    net.blocks.load_state_dict(torch.load(buffer, weights_only=True, map_location=settings.device))
    return net.eval(), float(stored["scale"])


def shares(stored: dict[str, Any], way: int, query: int, at: int = -1) -> np.ndarray:
    """Accuracy (E,) of the test episodes with ``way`` ways at look ``at`` of a stored training, 0 half way and -1 at the end."""
    right: Sequence[int] = stored["looks"][at][1][str(way)]
    return np.array(right) / (way * query)
