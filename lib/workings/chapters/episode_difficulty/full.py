"""The full tier of the chapter `episode_difficulty`: episodic training on Omniglot, and the small learner trained on."""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from workings import paths
from workings.chapters.episode_difficulty.agreement import agreement_error, least_agreement
from workings.chapters.episode_difficulty.demo import (
    LEARNERS,
    difficulties,
    drawings,
    half_way,
    redrawn,
    train_learners,
)
from workings.chapters.episode_difficulty.settings import Settings
from workings.chapters.omniglot_data import Collection, omniglot
from workings.few_shot.difficulty_diagnostics import class_set_icc, normality_report
from workings.few_shot.difficulty_sampling import DifficultyStats
from workings.few_shot.episodes import Episodes, EpisodeSampler
from workings.few_shot.evaluation import paired_difference
from workings.few_shot.meta_gradients import weighted_episode_loss
from workings.few_shot.networks import Conv4, conv4
from workings.few_shot.pretraining import network_features
from workings.few_shot.prototypical import episode_nll, prototypical_logits
from workings.runs.parallel import cpu_threads
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator, torch_generator
from workings.statistics import mean_and_sd

Rows = list[dict[str, Any]]
PAIRS = (
    ("online", "regular"), ("online", "permuted"), ("online", "uniform"), ("uniform", "regular"), ("uniform", "permuted"),
    ("easy", "regular"), ("hard", "regular"), ("curriculum", "regular"),
)  # fmt: skip
"""Which ways of sampling are compared: the first minus the second, on the same episodes."""
OFFLINE = ("uniform", "easy", "hard", "curriculum")
"""Ways of sampling whose difficulties a frozen network gives: the one of the same head and seed trained by "regular"."""


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """The full tier: ``learners`` and ``learner_gains`` of the small learner, and the tables of :func:`on_omniglot`.

    ``data_root`` is a folder with the two archives of :mod:`workings.chapters.omniglot_data`; without one the data are fetched.
    """
    with cpu_threads(1 if settings.device == "cpu" else None):  # small batches: threads would wait for each other
        return run_protocol(settings, data_root)


def run_protocol(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """As :func:`run`, on the number of threads that torch has; every finished training is stored and not repeated."""
    folder = paths.runs_root() / "episode_difficulty"
    kind = "dry" if settings.dry_run else settings.device
    told = {key: value for key, value in asdict(settings).items() if key.startswith(("long_", "learner_"))}
    rows = long_learners(settings, Store(folder / f"{kind}-learners.jsonl", told))
    told = {key: value for key, value in asdict(settings).items() if key.startswith("full_")}
    return {**rows, **on_omniglot(settings, Store(folder / f"{kind}-omniglot.jsonl", told), data_root)}


# The small learner, trained on


def long_learners(settings: Settings, store: Store) -> dict[str, Rows]:
    """``learners``: accuracy by seed, way of sampling and step; ``learner_gains``: paired differences in points by step."""
    data = drawings(settings)
    for seed in settings.long_seeds:
        if not store.done(str(seed)):
            one = replace(settings, seeds=(seed,), learner_steps=settings.long_steps, looks=settings.long_looks)
            found = train_learners(
                data, one, watch=lambda steps, seed=seed: progress(steps, f"small learner, seed {seed}")
            )
            store.put(str(seed), [[look.step, look.accuracy[0].tolist()] for look in found])
    looks = {seed: {step: np.array(acc) for step, acc in store.get(str(seed))} for seed in settings.long_seeds}
    rows = [
        {"seed": seed, "sampling": name, "step": step, "accuracy": float(acc[t].mean())}
        for seed, found in looks.items()
        for step, acc in found.items()
        for t, name in enumerate(LEARNERS)
    ]
    gains = []
    for step in settings.long_looks:
        row: dict[str, Any] = {"step": step}
        pairs = {
            "regular": [(found[step][1], found[step][0]) for found in looks.values()],
            "permuted": [(found[step][1], found[step][2]) for found in looks.values()],
            "stopped": [(found[step][1], found[settings.long_looks[0]][0]) for found in looks.values()],
        }
        for name, both in pairs.items():
            each = [100 * paired_difference(a, b).mean for a, b in both]
            row |= {f"over_{name}": float(np.mean(each)), f"over_{name}_sd": float(np.std(each, ddof=1))}
        gains.append(row)
    return {"learners": rows, "learner_gains": gains}


# Omniglot


def collections(settings: Settings, data_root: str | Path | None) -> tuple[Collection, Collection]:
    """Characters to train on and characters to test on; invented ones in a dry run."""
    if not settings.dry_run:
        return omniglot(data_root)
    data, split = drawings(settings), settings.base_alphabets * settings.characters
    base, novel = data.base, ~data.base
    return (
        Collection(data.images[base], data.characters[base], data.alphabets[base]),
        Collection(data.images[novel], data.characters[novel] - split, data.alphabets[novel] - settings.base_alphabets),
    )


def on_omniglot(settings: Settings, store: Store, data_root: str | Path | None) -> dict[str, Rows]:
    """``omniglot``: accuracy by head, seed and way of sampling; ``gains``: paired differences; of "regular", ``diagnostics`` of
    each network and the ``agreement`` of all, one row."""
    base, novel = (part.to(settings.device) for part in collections(settings, data_root))
    test = _sample(novel, settings, settings.full_episodes, "test")
    sets = redrawn_sets(novel, settings)
    for head in settings.full_heads:
        for seed in settings.full_seeds:
            frozen: tuple[Conv4, torch.Tensor] | None = None
            names = [name for name in settings.full_samplers if not store.done(f"{head}/{seed}/{name}")]
            if any(name in OFFLINE for name in names) and "regular" not in names:
                names = ["regular", *names]  # its network is needed to score episodes
            for name in names:
                trained = train_episodes(base, head, seed, name, settings, frozen)
                if name == "regular":
                    frozen = trained.last
                if not store.done(f"{head}/{seed}/{name}"):
                    found = _measured(*trained.last, head, novel, test, sets, settings)
                    early = _accuracy(*trained.half_way, head, novel, test)
                    store.put(f"{head}/{seed}/{name}", {**found, "half_way": early})
    return omniglot_tables(settings, store)


def redrawn_sets(data: Collection, settings: Settings) -> Episodes:
    """``full_sets`` sets of classes with ``full_per_set`` episodes each."""
    sets = _sample(data, settings, settings.full_sets, "sets")
    return redrawn(sets, data.labels.cpu(), settings.full_per_set, torch_generator(0, "episode difficulty", "redrawn"))


def _sample(data: Collection, settings: Settings, episodes: int, name: str, seed: int = 0) -> Episodes:
    return _sampler(data, settings, name, seed).sample(episodes)


def _sampler(data: Collection, settings: Settings, name: str, seed: int) -> EpisodeSampler:
    source = torch_generator(seed, "episode difficulty", "omniglot", name)
    way, query = settings.full_way, settings.full_query
    return EpisodeSampler(data.labels.cpu(), way, settings.shot, query, source, groups=data.groups.cpu())


class Trained(NamedTuple):
    """A network and its scale after the ``last`` step, and as they were ``half_way``."""

    last: tuple[Conv4, torch.Tensor]
    half_way: tuple[Conv4, torch.Tensor]


def train_episodes(
    base: Collection,
    head: str,
    seed: int,
    sampling: str,
    settings: Settings,
    frozen: tuple[Conv4, torch.Tensor] | None = None,
) -> Trained:
    """A Conv4 trained by episodes with one way of sampling, and its scale (1 for the squared distance).

    "regular" averages losses; "online" weighs them for the uniform target by statistics tracked on the way; "permuted" computes
    the same weights and hands them out in random order; the others are targets whose difficulties the ``frozen`` network gives.
    Support and query of a batch pass through batch-norm separately, all episodes of the batch together. Adam, rate 1e-3.
    """
    s = settings
    net = conv4(torch_generator(seed, "episode difficulty", "full"), width=s.full_width, classes=1).to(s.device)
    net = net.to(memory_format=torch.channels_last)  # on a CPU up to 1.7 times faster
    scale = torch.ones(1, device=s.device, requires_grad=head == "cosine")
    optimiser = torch.optim.Adam([*net.blocks.parameters(), *([scale] if scale.requires_grad else [])], lr=1e-3)
    sampler = _sampler(base, s, "training", seed)
    shuffle = numpy_generator(seed, "episode difficulty", "full permutations")
    offline = sampling in OFFLINE
    if offline:
        if frozen is None:
            raise ValueError(f"{sampling!r} needs the frozen network that scores episodes; train 'regular' first.")
        known = _scores(*frozen, head, base, _sample(base, s, s.full_episodes, "scored", seed))
        stats = DifficultyStats("offline").fit(known)
    else:
        stats = DifficultyStats("online", warmup=100 * s.full_batch)
    half_way = net, scale
    net.train()
    for step in progress(range(s.full_steps), f"{head}, {sampling}, seed {seed}"):
        if step == s.full_steps // 2:
            half_way = copy.deepcopy(net).eval(), scale.detach().clone()
        episodes = sampler.sample(s.full_batch)
        losses = _losses(net, scale, head, base, episodes)
        seen = losses.detach().double().cpu().numpy()
        if offline:
            seen = _scores(*frozen, head, base, episodes)
        share = step / max(s.full_steps - 1, 1) if sampling == "curriculum" else None
        weights = np.ones(len(seen))
        if sampling != "regular":
            weights = stats.weigh(seen, sampling if offline else "uniform", share)
        if sampling == "permuted":
            weights = shuffle.permutation(weights)
        optimiser.zero_grad()
        weighted_episode_loss(losses, weights, "ess").backward()
        optimiser.step()
    return Trained((net.eval(), scale.detach()), half_way)


def _losses(net: nn.Module, scale: torch.Tensor, head: str, data: Collection, episodes: Episodes) -> torch.Tensor:
    """Losses (B,) of a batch of episodes, with gradients."""
    device = data.images.device
    support, query = (part.flatten(1).to(device) for part in (episodes.support, episodes.query))
    features = lambda items: net.features(data.images[items.flatten()]).unflatten(0, items.shape)
    logits = prototypical_logits(features(support), episodes.support_labels().to(device), features(query), head, scale)
    return episode_nll(logits, episodes.query_labels().to(device))


@torch.no_grad()
def _scores(net: Conv4, scale: torch.Tensor, head: str, data: Collection, episodes: Episodes) -> np.ndarray:
    """Difficulties of ``episodes`` under a frozen network: (B,) float64."""
    return _losses(net, scale, head, data, episodes).double().cpu().numpy()


def _measured(
    net: Conv4,
    scale: torch.Tensor,
    head: str,
    novel: Collection,
    test: Episodes,
    sets: Episodes,
    settings: Settings,
) -> dict[str, Any]:
    """What the store keeps of one training: accuracies and difficulties of the test episodes, and those of the class sets."""
    features = network_features(net.features, novel.images).cpu()
    hard, right = difficulties(features, test, head, float(scale), block=100)
    by_set, _ = difficulties(features, sets, head, float(scale), block=100)
    shape = (settings.full_sets, settings.full_per_set)
    return {
        "accuracy": right.tolist(),
        "difficulty": hard.tolist(),
        "by_set": by_set.reshape(shape).tolist(),
        "scale": float(scale),
    }


def _accuracy(net: Conv4, scale: torch.Tensor, head: str, novel: Collection, test: Episodes) -> float:
    """Mean accuracy on the test episodes."""
    features = network_features(net.features, novel.images).cpu()
    return float(difficulties(features, test, head, float(scale), block=100)[1].mean())


def omniglot_tables(settings: Settings, store: Store) -> dict[str, Rows]:
    """The tables of :func:`on_omniglot` from what is stored."""
    rows, gains, diagnostics = [], [], []
    for head in settings.full_heads:
        for seed in settings.full_seeds:
            found = {name: store.get(f"{head}/{seed}/{name}") for name in settings.full_samplers}
            for name, one in found.items():
                rows.append(
                    {"head": head, "seed": seed, "sampling": name, "accuracy": float(np.mean(one["accuracy"]))}
                    | {"half_way": one["half_way"], "scale": one["scale"]}
                )
            for name, other in PAIRS:
                if name in found and other in found:
                    gap = paired_difference(found[name]["accuracy"], found[other]["accuracy"])
                    gains.append(
                        {"head": head, "seed": seed, "sampling": name, "over": other}
                        | {"points": 100 * gap.mean, "half_width": 100 * gap.half_width}
                    )
            shape = normality_report(found["regular"]["difficulty"])
            diagnostics.append(
                {
                    "head": head,
                    "seed": seed,
                    "skew": shape.skew,
                    "probability_plot_r": shape.probability_plot_r,
                    "to_uniform": half_way(np.array(found["regular"]["difficulty"])),
                    "class_share": class_set_icc(found["regular"]["by_set"]),
                }
            )
    return {"omniglot": rows, "gains": gains, "diagnostics": diagnostics, "agreement": _agreement(settings, store)}


def _agreement(settings: Settings, store: Store) -> Rows:
    """One row for all networks trained by "regular", ``least`` and its ``error``; none where there is one network only."""
    trained = [(head, seed) for head in settings.full_heads for seed in settings.full_seeds]
    if len(trained) < 2:
        return []
    table = np.array([store.get(f"{head}/{seed}/regular")["difficulty"] for head, seed in trained])
    error = agreement_error(table, [seed for _, seed in trained])
    return [{"networks": len(trained), "least": least_agreement(table), "error": error}]


LEVEL = 1.0
"""Points: where regular training gained more in its last half, with any head, the run is too short to decide anything."""


def unfinished(rows: Rows) -> str | None:
    """Why the run on Omniglot is too small for a verdict, by ``rows`` of its table ``omniglot``; None where it is not."""
    late = {}
    for row in rows:
        if row["sampling"] == "regular":
            late.setdefault(row["head"], []).append(100 * (row["accuracy"] - row["half_way"]))
    most = max((float(np.mean(points)) for points in late.values()), default=0.0)
    return f"regular training still gained {most:.1f} points in its last half" if most > LEVEL else None


def values(tables: dict[str, Rows], settings: Settings) -> dict[str, dict[str, Any]]:
    """What the full tier says of each claim that it has run: value, spread, seeds, and why it may be too small to decide."""
    last, found = tables["learner_gains"][-1], {}
    for claim, name in (("usd-13", "regular"), ("usd-14", "permuted"), ("usd-15", "stopped")):
        spread = last[f"over_{name}_sd"]
        found[claim] = {"value": last[f"over_{name}"], "spread": spread, "seeds": settings.long_seeds}
    common = {"seeds": settings.full_seeds, "too_small": unfinished(tables["omniglot"])}

    def put(claim: str, some: list[float]) -> None:
        if some:
            mean, spread = mean_and_sd(some)
            found[claim] = {"value": mean, "spread": spread, **common}

    by_head = lambda key, head: [row[key] for row in tables["diagnostics"] if row["head"] == head]
    put("usd-1", by_head("probability_plot_r", "cosine"))
    for row in tables["agreement"]:  # one number for all networks: it has no spread over seeds
        found["usd-2"] = {"value": row["least"], "error": row["error"], **common}
    put("usd-7", by_head("skew", "sqeuclidean"))
    put("usd-8", by_head("to_uniform", "cosine"))
    put("usd-12", by_head("class_share", "cosine"))

    def pairs(one: str, other: str, head: str | None = None) -> Rows:
        wanted = [row for row in tables["gains"] if (row["sampling"], row["over"]) == (one, other)]
        return [row for row in wanted if head in (None, row["head"])]

    put("usd-5", [abs(row["points"]) for row in pairs("online", "uniform")])
    ends_of = lambda rows: [row["points"] - row["half_width"] for row in rows]
    low = lambda rows: float(np.mean(ends_of(rows)))
    if pairs("uniform", "regular"):
        every = [
            ends_of(pairs("uniform", other, head)) for head in settings.full_heads for other in ("regular", "permuted")
        ]
        least, spread = mean_and_sd(min(every, key=np.mean))
        found["usd-4"] = {"value": least, "spread": spread, **common}
        above = sum(low(pairs("uniform", "regular", head)) > 0 for head in settings.full_heads)
        found["usd-6"] = {"value": above, **common}
    return found
