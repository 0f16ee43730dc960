"""What the full tier of `few_shot_baseline` asks of handwriting beyond the page's own cells.

Fewer characters to train on, episodes of many ways or of few queries, and the whole loop against hardness. Every network or
episode is stored when it is done, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from workings.chapters.few_shot_baseline.demo import draw_episodes, log_fit, tuned_accuracies
from workings.chapters.few_shot_baseline.settings import Settings
from workings.chapters.omniglot_data import Collection
from workings.few_shot.episodes import Episodes
from workings.few_shot.evaluation import centroid_accuracy
from workings.few_shot.hardness import episode_hardness, hardness_line_area
from workings.few_shot.networks import conv4
from workings.few_shot.pretraining import network_features, train_classifier
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd, standard_error

Rows = list[dict[str, Any]]
TABLES = ("classes", "cells", "loop")
LOOPS = ("fine-tuning", "transductive")
"""Of the ways to tune a whole network those that run with many ways, few queries and against hardness."""


def fewest(novel: Collection) -> int:
    """Images of the class that has fewest."""
    return int(torch.bincount(novel.labels.cpu()).min())


def shuffled(base: Collection, seed: int) -> Collection:
    """The same images with the classes numbered in a random order of this ``seed``, so that the first few stem from all groups."""
    order = torch.randperm(base.classes, generator=torch_generator(seed, "full", "order of classes"))
    return base._replace(labels=order[base.labels.cpu()].to(base.labels.device))


def class_rows(
    base: Collection, novel: Collection, features: Sequence[torch.Tensor], settings: Settings, store: Store
) -> Rows:
    """Accuracy (%) of the untuned classifier, 5-way 1-shot, by the number of characters that the network was trained on.

    ``features`` are those of the networks of ``settings.seeds``, which saw all characters; those of fewer are trained here, for as
    many steps, on a random choice of each seed, in which fewer are always among more.
    """
    s = settings
    query = min(15, fewest(novel) - 1)
    episodes = draw_episodes(novel, 5, 1, query, 20 if s.dry_run else 1000, "full")
    rows: Rows = []
    for seed, known in zip(s.seeds, features, strict=True):
        for count in s.full_classes:
            if not store.done(f"classes/{count}/{seed}"):
                z = network_features(_network_of(shuffled(base, seed).first(count), seed, s), novel.images)
                store.put(f"classes/{count}/{seed}", 100 * float(centroid_accuracy(z, episodes).mean()))
            rows.append({"seed": seed, "classes": count, "accuracy": store.get(f"classes/{count}/{seed}")})
        whole = 100 * float(centroid_accuracy(known, episodes).mean())
        rows.append({"seed": seed, "classes": base.classes, "accuracy": whole})
    return rows


def _network_of(base: Collection, seed: int, settings: Settings) -> nn.Module:
    s = settings
    size, channels = base.images.shape[-1], base.images.shape[1]
    source = torch_generator(seed, "full", "fewer classes")
    net = conv4(source, channels=channels, width=s.full_width, classes=base.classes, size=size)
    net = net.to(s.device, memory_format=torch.channels_last)
    batch = min(s.full_batch, len(base.images))
    train_classifier(net, base.images, base.labels, s.full_steps, seed, batch=batch, lr=s.lr, progress=True)
    return net


def cell_rows(nets: Sequence[nn.Module], novel: Collection, settings: Settings, store: Store) -> Rows:
    """One row per tuned episode within a group: accuracy (%) of the untuned classifier and of :data:`LOOPS`.

    ``settings.full_cells`` holds (ways, shots, queries per class, episodes of each network); each network has episodes of its own.
    """
    rows: Rows = []
    for way, shot, wanted, count in settings.full_cells:
        query = min(wanted, fewest(novel) - shot)
        total = count * len(nets)
        episodes = draw_episodes(novel, way, shot, query, total, "cells", within=True)
        for k, (seed, net) in enumerate(zip(settings.seeds, nets, strict=True)):
            what = f"{way}-way {shot}-shot episodes of {query} queries, seed {seed}"
            for number in progress(range(k * count, (k + 1) * count), what):
                key = f"cells/{way}/{shot}/{query}/{seed}/{number}"
                if not store.done(key):
                    store.put(key, tuned_accuracies(net, novel, episodes, number, settings, LOOPS))
                told = {"seed": seed, "way": way, "shot": shot, "query": query, "episode": number}
                rows.append(told | {name: 100 * value for name, value in store.get(key).items()})
    return rows


def loop_rows(
    nets: Sequence[nn.Module], features: Sequence[torch.Tensor], novel: Collection, settings: Settings, store: Store
) -> Rows:
    """Lines of accuracy over hardness for the untuned classifier and for the whole transductive loop, same episodes.

    One row per network; hardness is by the network of the next seed. None where there is one network only.
    """
    rows: Rows = []
    for k, (seed, net) in enumerate(zip(settings.seeds, nets, strict=True)):
        phi = features[(k + 1) % len(nets)]
        if len(nets) < 2:
            break
        points: dict[str, list[float]] = {"hardness": [], "initialisation": [], "transductive": []}
        for key, episodes, number in _loop_episodes(novel, seed, settings):
            if not store.done(key):
                hard = float(_hardness(phi, episodes.only(slice(number, number + 1))))
                right = tuned_accuracies(net, novel, episodes, number, settings, ("transductive",))
                store.put(key, {"hardness": hard} | {name: 100 * value for name, value in right.items()})
            for name, value in store.get(key).items():
                points[name].append(value)
        row: dict[str, Any] = {"seed": seed, "episodes": len(points["hardness"])}
        for name, method in (("untuned", "initialisation"), ("loop", "transductive")):
            row |= line_of(points["hardness"], points[method], name, settings)
        rows.append(row)
    return rows


def _loop_episodes(novel: Collection, seed: int, settings: Settings) -> Iterator[tuple[str, Episodes, int]]:
    for way in settings.hard_ways:
        for shot in settings.hard_shots:
            episodes = draw_episodes(novel, way, shot, 5, settings.full_loop, "loop", seed=seed)
            for number in progress(range(settings.full_loop), f"{way}-way {shot}-shot loop, seed {seed}"):
                yield f"loop/{way}/{shot}/{seed}/{number}", episodes, number


def _hardness(phi: torch.Tensor, episode: Episodes) -> torch.Tensor:
    """Hardness of one episode by the features ``phi`` (N, D) of another network."""
    support, query = phi[episode.support[0].flatten()], phi[episode.query[0].flatten()]
    return episode_hardness(support, episode.support_labels(), query, episode.query_labels())


def line_of(hardness: Sequence[float], accuracy: Sequence[float], name: str, settings: Settings) -> dict[str, float]:
    """Slope, intercept, r and area of a line as ``name``_slope and so on; zeros in a dry run whose line does not fall."""
    try:
        line = hardness_line_area(hardness, accuracy)._asdict()
    except ValueError:
        if not settings.dry_run:
            raise
        line = dict.fromkeys(("slope", "intercept", "r", "area"), 0.0)  # a few steps of training: no line to speak of
    return {f"{name}_{key}": value for key, value in line.items()}


def shots_of_many(features: torch.Tensor, novel: Collection, settings: Settings, way: int = 20) -> dict[int, float]:
    """Mean accuracy of the untuned classifier within groups for each number of shots, with so many ways that none is near 100%."""
    s = settings
    draw = lambda shot: draw_episodes(novel, way, shot, 5, s.curve_episodes, "shots of many", within=True)
    return {shot: float(centroid_accuracy(features, draw(shot), block=20).mean()) for shot in s.shots}


def shots_rows(features: Sequence[torch.Tensor], novel: Collection, settings: Settings) -> Rows:
    """Rows of ``curves``: :func:`shots_of_many` of each network, and the R squared of its line over the logarithm of shots."""
    rows: Rows = []
    for seed, z in zip(settings.seeds, features, strict=True):
        curve = shots_of_many(z, novel, settings)
        rows += [{"seed": seed, "kind": "shots, 20 ways", "at": at, "accuracy": v} for at, v in curve.items()]
        rows.append({"seed": seed, "kind": "shots, 20 ways, R squared", "at": 0, "accuracy": log_fit(curve)})
    return rows


def cell_gain(rows: Rows, way: int, shot: int, query: int, method: str, over: str = "initialisation") -> np.ndarray:
    """Points of ``method`` over ``over`` in each episode of a cell, (n,); empty where the cell was not run."""
    here = [r for r in rows if (r["way"], r["shot"], r["query"]) == (way, shot, query)]
    return np.array([r[method] - r[over] for r in here])


def interval(gain: np.ndarray) -> str:
    """Mean of ``gain`` (n,) with its 95% interval over episodes; "not run" for none."""
    if len(gain) < 2:
        return "not run"
    return f"{gain.mean():+.1f} ± {1.96 * standard_error(gain):.1f}"


def cell_grid(rows: Rows, settings: Settings) -> list[list[str]]:
    """Cells of a table of ``cells`` rows: one line per (ways, shots, queries), "not run" where the record has none."""
    table = []
    for way, shot, query, _ in settings.full_cells:
        found = [cell_gain(rows, way, shot, query, name) for name in LOOPS]
        both = cell_gain(rows, way, shot, query, "transductive", "fine-tuning")
        table.append([str(way), str(shot), str(query), str(len(both)), *map(interval, (*found, both))])
    return table


def class_curve(rows: Rows) -> dict[int, list[float]]:
    """Accuracies (%) of the networks by the number of characters trained on, fewest first; empty without rows."""
    counts = sorted({r["classes"] for r in rows})
    return {count: [r["accuracy"] for r in rows if r["classes"] == count] for count in counts}


def loop_grid(rows: Rows) -> list[list[str]]:
    """Cells of a table of ``loop`` rows, one line per network; a line that says "not run" where there are none."""
    numbers = lambda r: [
        f"{r['untuned_area']:.0f}",
        f"{r['loop_area']:.0f}",
        f"{r['untuned_r']:.2f}",
        f"{r['loop_r']:.2f}",
    ]
    return [[str(r["seed"]), str(r["episodes"]), *numbers(r)] for r in rows] or [["-", "not run", *4 * ["-"]]]


def values(tables: dict[str, Rows], settings: Settings) -> dict[str, tuple[float, dict[str, Any]]]:
    """What the ledger compares of these tables: value and options of each claim that was run."""
    found: dict[str, tuple[float, dict[str, Any]]] = {}
    seeds = list(settings.seeds)
    cells, classes, loop = (tables.get(name, []) for name in ("cells", "classes", "loop"))
    for claim, cell, over in (("fsb-5", (20, 1, 15), "initialisation"), ("fsb-6", (5, 1, 1), "fine-tuning")):
        gain = cell_gain(cells, *cell, "transductive", over)
        if len(gain) > 1:
            found[claim] = (float(gain.mean()), {"error": standard_error(gain), "seeds": seeds, "digits": 2})
    curve = list(class_curve(classes).values())
    steps = [many - few for few, many in zip(curve[0], curve[-1], strict=True)] if curve else []
    areas = [row["loop_area"] - row["untuned_area"] for row in loop]
    for claim, numbers in (("fsb-18", areas), ("fsb-21", steps)):
        if len(numbers) > 1:
            mean, spread = mean_and_sd(numbers)
            found[claim] = (mean, {"spread": spread, "seeds": seeds, "digits": 2})
    return found


def tables_of(
    base: Collection,
    nets: Sequence[nn.Module],
    features: Sequence[torch.Tensor],
    novel: Collection,
    settings: Settings,
    store: Store,
) -> dict[str, Rows]:
    """The three tables of :data:`TABLES`; ``nets`` and ``features`` are those of ``settings.seeds``."""
    return {
        "classes": class_rows(base, novel, features, settings, store),
        "cells": cell_rows(nets, novel, settings, store),
        "loop": loop_rows(nets, features, novel, settings, store),
    }
