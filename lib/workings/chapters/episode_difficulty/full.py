"""The full tier of the chapter `episode_difficulty`: episodic training of a Conv4, and the small learner trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from workings import paths
from workings.chapters.episode_difficulty.demo import LEARNERS, drawings, train_learners
from workings.chapters.episode_difficulty.episodic import train_all
from workings.chapters.episode_difficulty.settings import Settings
from workings.chapters.episode_difficulty.tables import points, seed_means, tables_of
from workings.chapters.omniglot_data import ZIPS
from workings.few_shot.evaluation import paired_difference
from workings.runs.parallel import cpu_threads
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.statistics import mean_and_sd

Rows = list[dict[str, Any]]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """The full tier: ``learners`` and ``learner_gains`` of the small learner, and of each of :func:`data_sets` the tables of
    :func:`~workings.chapters.episode_difficulty.tables.tables_of`.

    ``data_root`` is a folder with the two archives of :mod:`workings.chapters.omniglot_data`, or with CIFAR-100 as torchvision
    unpacks it; without one the data are fetched.
    """
    with cpu_threads(1 if settings.device == "cpu" else None):  # small batches: threads would wait for each other
        return run_protocol(settings, data_root)


def run_protocol(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """As :func:`run`, on the number of threads that torch has; every finished training is stored and not repeated."""
    folder = paths.runs_root() / "episode_difficulty"
    kind = "dry" if settings.dry_run else settings.device
    told = {key: value for key, value in asdict(settings).items() if key.startswith(("long_", "learner_"))}
    rows = long_learners(settings, Store(folder / f"{kind}-learners.jsonl", told))
    found: dict[str, Rows] = {}
    own = ("full_data",)  # the stores are one for each data set
    told = {key: value for key, value in asdict(settings).items() if key.startswith("full_") and key not in own}
    scope = "" if settings.bn_scope == "batch" else f"-{settings.bn_scope}"  # stores of before know the batch only
    told |= {"bn_scope": settings.bn_scope} if scope else {}
    for name in data_sets(settings, data_root):
        store = Store(folder / f"{kind}-{name}{scope}.jsonl", told)
        train_all(name, settings, store, data_root)
        for table, some in tables_of(name, settings, store).items():
            found.setdefault(table, []).extend(some)
    return {**rows, **found}


def data_sets(settings: Settings, data_root: str | Path | None) -> tuple[str, ...]:
    """The data of the episodic trainings: what the folder ``data_root`` holds, ``settings.full_data`` without one."""
    if data_root is None or settings.dry_run:
        return settings.full_data
    marks = {"omniglot": ZIPS[0], "cifar_fs": "cifar-100-python"}
    return tuple(name for name, mark in marks.items() if (Path(data_root) / mark).exists()) or settings.full_data


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


# What the ledger is given


LEVEL = 1.0
"""Points: where regular training gained more in its last half, with any head, the run is too short to decide anything."""


def unfinished(rows: Rows) -> str | None:
    """Why the run on Omniglot is too small for a verdict, by ``rows`` of its table ``omniglot``; None where it is not.

    Levelled is asked with the ways of training.
    """
    late: dict[str, list[float]] = {}
    for row in rows:
        if row["sampling"] == "regular" and row["data"] == "omniglot" and row["way"] == row["training_way"]:
            late.setdefault(row["head"], []).append(100 * (row["accuracy"] - row["half_way"]))
    most = max((float(np.mean(gained)) for gained in late.values()), default=0.0)
    return f"regular training still gained {most:.1f} points in its last half" if most > LEVEL else None


def values(tables: dict[str, Rows], settings: Settings) -> dict[str, dict[str, Any]]:
    """What the full tier says of each claim that it has run: value, spread, seeds, and why it may be too small to decide."""
    last, found = tables["learner_gains"][-1], {}
    for claim, name in (("usd-13", "regular"), ("usd-14", "permuted"), ("usd-15", "stopped")):
        spread = last[f"over_{name}_sd"]
        found[claim] = {"value": last[f"over_{name}"], "spread": spread, "seeds": settings.long_seeds}
    here = {
        name: [r for r in tables[name] if r["data"] == "omniglot"] for name in ("omniglot", "diagnostics", "agreement")
    }
    if not here["omniglot"]:
        return found
    common = {"seeds": settings.full_seeds, "too_small": unfinished(here["omniglot"])}

    def put(claim: str, some: list[float]) -> None:
        if some:
            mean, spread = mean_and_sd(some)
            found[claim] = {"value": mean, "spread": spread, **common}

    by_head = lambda key, head: [row[key] for row in here["diagnostics"] if row["head"] == head]
    put("usd-1", by_head("probability_plot_r", "cosine"))
    for row in here["agreement"]:  # one number for all networks: it has no spread over seeds
        found["usd-2"] = {"value": row["least"], "error": row["error"], **common}
    put("usd-7", by_head("skew", "sqeuclidean"))
    put("usd-8", by_head("to_uniform", "cosine"))
    put("usd-12", by_head("class_share", "cosine"))

    pairs = lambda one, other, **where: points(tables["gains"], one, other, **where)
    put("usd-5", [abs(row["points"]) for row in pairs("online", "uniform")])
    ends_of = lambda rows: [row["points"] - row["half_width"] for row in rows]
    low = lambda rows: float(np.mean(ends_of(rows)))
    if pairs("uniform", "regular"):
        every = [
            ends_of(pairs("uniform", other, head=head))
            for head in settings.full_heads
            for other in ("regular", "permuted")
        ]
        least, spread = mean_and_sd(min(every, key=np.mean))
        found["usd-4"] = {"value": least, "spread": spread, **common}
        above = sum(low(pairs("uniform", "regular", head=head)) > 0 for head in settings.full_heads)
        found["usd-6"] = {"value": above, **common}
    others = [seed_means(pairs("uniform", other)) for other in ("easy", "hard", "curriculum")]
    if all(others):
        put("usd-16", min(others, key=np.mean))
    put("usd-17", seed_means(pairs("online", "permuted")))
    put("usd-18", seed_means(pairs("online", "stopped")))
    put("usd-19", seed_means(pairs("hard", "regular")))
    put("usd-20", seed_means(pairs("online", "permuted", way=20)))
    return found
