"""Tables of the episodic trainings of :mod:`workings.chapters.episode_difficulty.episodic`, from what is stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from workings.chapters.episode_difficulty.agreement import agreement_error, least_agreement
from workings.chapters.episode_difficulty.demo import half_way
from workings.chapters.episode_difficulty.episodic import NAMES, shares
from workings.chapters.episode_difficulty.settings import Settings
from workings.few_shot.difficulty_diagnostics import class_set_icc, normality_report
from workings.few_shot.evaluation import paired_difference
from workings.runs.store import Store
from workings.statistics import mean_and_sd

Rows = list[dict[str, Any]]
PAIRS = (
    ("online", "regular"), ("online", "permuted"), ("online", "uniform"), ("online", "stopped"),
    ("uniform", "regular"), ("uniform", "permuted"), ("uniform", "stopped"),
    ("uniform", "easy"), ("uniform", "hard"), ("uniform", "curriculum"),
    ("permuted", "regular"), ("easy", "regular"), ("hard", "regular"), ("curriculum", "regular"), ("stopped", "regular"),
)  # fmt: skip
"""Which ways of sampling are compared: the first minus the second, on the same episodes. "stopped" is "regular" half way."""
SHOWN = ("online", "uniform", "permuted", "stopped", "easy", "hard", "curriculum")
"""The ways of sampling in the order of the page's tables; each is compared with "regular"."""


def tables_of(name: str, settings: Settings, store: Store) -> dict[str, Rows]:
    """``omniglot`` (accuracies; the name of the table is older than the second data set), ``gains``, ``diagnostics`` and
    ``agreement`` of the data ``name``."""
    s = settings
    rows, gains, diagnostics = [], [], []
    for head in s.full_heads:
        for seed in s.full_seeds:
            stored = {how: store.get(f"{head}/{seed}/{how}") for how in s.full_samplers}
            told = {"data": name, "head": head, "seed": seed}
            ways = list(map(int, stored["regular"]["looks"][-1][1]))
            for way in ways:
                found = {how: shares(one, way, s.full_test_query) for how, one in stored.items()}
                found["stopped"] = shares(stored["regular"], way, s.full_test_query, at=0)
                for how, one in stored.items():
                    early = shares(one, way, s.full_test_query, at=0)
                    rows.append(
                        {**told, "sampling": how, "way": way, "training_way": ways[0], "scale": one["scale"]}
                        | {"accuracy": float(found[how].mean()), "half_way": float(early.mean())}
                        | {"precision": one["precision"], "bn_scope": one.get("bn_scope", "batch")}
                    )
                for how, other in PAIRS:
                    if how in found and other in found:
                        gap = paired_difference(found[how], found[other])
                        gains.append(
                            {**told, "way": way, "training_way": ways[0], "sampling": how, "over": other}
                            | {"points": 100 * gap.mean, "half_width": 100 * gap.half_width}
                        )
            hard = stored["regular"]["difficulty"]
            shape = normality_report(hard)
            diagnostics.append(
                {**told, "skew": shape.skew, "probability_plot_r": shape.probability_plot_r}
                | {"to_uniform": half_way(np.array(hard)), "class_share": class_set_icc(stored["regular"]["by_set"])}
            )
    return {"omniglot": rows, "gains": gains, "diagnostics": diagnostics, "agreement": _agreement(name, s, store)}


def _agreement(name: str, settings: Settings, store: Store) -> Rows:
    """One row for all networks trained by "regular", ``least`` and its ``error``; none where there is one network only."""
    trained = [(head, seed) for head in settings.full_heads for seed in settings.full_seeds]
    if len(trained) < 2:
        return []
    table = np.array([store.get(f"{head}/{seed}/regular")["difficulty"] for head, seed in trained])
    error = agreement_error(table, [seed for _, seed in trained])
    return [{"data": name, "networks": len(trained), "least": least_agreement(table), "error": error}]


def points(
    rows: Rows, one: str, other: str, *, head: str | None = None, way: int | None = None, data: str = "omniglot"
) -> Rows:
    """Rows of ``gains`` for one pair; of every head, and with the ways of training where ``way`` is not given.

    Rows of an earlier, smaller run, which do not say their ways, are left out.
    """
    at = lambda row: row.get("way") == (row.get("training_way") if way is None else way)
    named = [row for row in rows if row.get("way") and row["data"] == data]
    return [r for r in named if (r["sampling"], r["over"]) == (one, other) and at(r) and head in (None, r["head"])]


def seed_means(rows: Rows) -> list[float]:
    """Points averaged over heads, one number per seed, so that a seed counts once."""
    seeds = sorted({row["seed"] for row in rows})
    return [float(np.mean([row["points"] for row in rows if row["seed"] == seed])) for seed in seeds]


ASKED = (
    ("uniform", "permuted"), ("online", "permuted"), ("online", "uniform"), ("uniform", "stopped"), ("online", "stopped"),
    ("uniform", "easy"), ("uniform", "hard"), ("uniform", "curriculum"),
)  # fmt: skip
"""Pairs of ways of sampling that the claims ask about besides those over "regular"."""


def cases(rows: Rows, settings: Settings) -> list[tuple[str, str, int]]:
    """(data, head, ways) that ``rows`` of ``gains`` hold; those that a run on Omniglot would hold where there are none."""
    found = list(dict.fromkeys((r["data"], r["head"], r["way"]) for r in rows if r.get("way")))
    return found or [("omniglot", head, way) for head in settings.full_heads for way in settings.full_test_ways]


HEADS = {"sqeuclidean": "squared distance", "cosine": "cosine"}
"""What the heads of :data:`~workings.chapters.episode_difficulty.settings.Settings` are called in the page's tables."""


def beside_control(rows: Rows) -> list[list[str]]:
    """Cells of a table: what "online" and "uniform" gain over "permuted" at the ways of training, a row per head and seed."""
    asked = [row for row in rows if row["over"] == "permuted" and row["way"] == row["training_way"]]
    said = {
        (row["data"], row["head"], row["seed"], row["sampling"]): f"{row['points']:+.1f} ± {row['half_width']:.1f}"
        for row in asked
    }
    cases = dict.fromkeys(key[:3] for key in said)
    return [
        [f"{NAMES[data]}, {HEADS[head]}", str(seed), *(said[data, head, seed, how] for how in ("online", "uniform"))]
        for data, head, seed in cases
    ]


def heading(rows: Rows, settings: Settings) -> list[str]:
    """Column titles of :func:`gain_grid`, one for each of :func:`cases` after those of the pair."""
    return [
        "sampling",
        "over",
        *(f"{NAMES[data]}, {HEADS[head]}, {way} ways" for data, head, way in cases(rows, settings)),
    ]


def gain_grid(rows: Rows, settings: Settings) -> list[list[str]]:
    """Cells of a table: points of each way of sampling over "regular" and of the pairs :data:`ASKED`, mean over seeds (standard
    deviation), a column for each of :func:`cases`; "not run" where ``rows`` of ``gains`` hold none, and no row for a pair that
    they hold nowhere."""
    pairs = [*((how, "regular") for how in SHOWN), *ASKED]
    at = cases(rows, settings)
    cell = lambda pair, data, head, way: _cell(points(rows, *pair, head=head, way=way, data=data))
    grid = [[*pair, *(cell(pair, *case) for case in at)] for pair in pairs]
    return [line for line in grid if set(line[2:]) != {"not run"}]


def _cell(rows: Rows) -> str:
    if not rows:
        return "not run"
    mean, sd = mean_and_sd(row["points"] for row in rows)
    return f"{mean:+.1f} ({sd:.1f})"
