"""The public leaderboard tables of LiveBench: read, checked, and what the chapter computes from them."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from workings import paths
from workings.chapters.livebench.paper_tables import CATEGORIES, ICLR, TASK_CORRELATIONS, V1
from workings.language_models.benchmark_scores import pearson, spearman
from workings.runs.fetch import cache_dir, download, sha256_of
from workings.seeding import numpy_generator
from workings.statistics import standard_error

_ADDRESS = "https://raw.githubusercontent.com/LiveBench/livebench.github.io/main/public/{name}"
RELEASES = ("2024-06-24", "2024-07-26", "2024-08-31", "2024-11-25", "2025-04-02", "2025-05-30")
SHA256 = {
    "table_2024_06_24.csv": "df181166a5a670a5b7678ee02f96c6896d8a88a503aec20243234b698d25a8c0",
    "table_2024_07_26.csv": "670dc4af2497d2daca7b5179f9558854163d954a95939bc4a7d71d8fce298a85",
    "table_2024_08_31.csv": "8c66d248110076378f7eb58aaeef524c65bba6dff0b55f190fd9ac8e92d73b2a",
    "table_2024_11_25.csv": "17ca6b3d122921d24b591d0da52566c5552ed4f4001ae9d83a11b2712325aae4",
    "table_2025_04_02.csv": "d7fd6a3e461cff4f96569093553789115e87adeb9cd95dca043bafa51ff2acaa",
    "table_2025_05_30.csv": "c1215f3df5b2e0a5fe69907c101d29922bf783b011df9ba82638c0145cb4c64c",
    "categories_2024_06_24.json": "08fa233f92ca970a786f4ab8ea09639bce4c9dcbc88565254989e0bd34d08bfa",
    "categories_2024_07_26.json": "31382962c060909421a3f2d8fe9f2194daadc252f654647daa8f684efbbe674b",
    "categories_2024_08_31.json": "31382962c060909421a3f2d8fe9f2194daadc252f654647daa8f684efbbe674b",
    "categories_2024_11_25.json": "31382962c060909421a3f2d8fe9f2194daadc252f654647daa8f684efbbe674b",
    "categories_2025_04_02.json": "182ba3b11478a1f1768020fc79b6817b5698054333d768a8c6c800f65cd90cfa",
    "categories_2025_05_30.json": "f79b260f8c39b9763007dda694c2ee3f11b9898e17a85ee1c353c8a0b5a8de22",
}
FIRST, SECOND, THIRD = RELEASES[:3]
# Names of the paper's rows in the public tables, where they differ.
NAMES = {
    "llama-3.1-405b": "meta-llama-3.1-405b-instruct-turbo", "llama-3.1-70b": "meta-llama-3.1-70b-instruct-turbo",
    "llama-3.1-8b": "meta-llama-3.1-8b-instruct-turbo", "gpt-4o-mini": "gpt-4o-mini-2024-07-18", "gemma-2-27b": "gemma-2-27b-it",
    "gemma-2-9b": "gemma-2-9b-it", "qwen2.5-7b": "qwen2.5-7b-instruct-turbo", "phi-3-mini-128k": "phi-3-mini-128k-instruct",
    "phi-3-mini-4k": "phi-3-mini-4k-instruct",
}  # fmt: skip


@dataclass(frozen=True)
class Leaderboard:
    """Scores in points: ``scores`` (models, tasks), NaN where a cell is empty; ``category`` task -> category."""

    release: str
    models: list[str]
    tasks: list[str]
    scores: np.ndarray
    category: dict[str, str]

    def complete(self) -> Leaderboard:
        """Without the models that miss a task, as the benchmark itself drops them."""
        whole = ~np.isnan(self.scores).any(axis=1)
        names = [name for name, keep in zip(self.models, whole, strict=True) if keep]
        return Leaderboard(self.release, names, self.tasks, self.scores[whole], self.category)

    def by_category(self) -> dict[str, np.ndarray]:
        """Plain mean over the tasks of each category: (models,)."""
        groups: dict[str, list[int]] = {}
        for i, task in enumerate(self.tasks):
            groups.setdefault(self.category[task], []).append(i)
        return {name: self.scores[:, places].mean(axis=1) for name, places in sorted(groups.items())}

    def overall(self) -> np.ndarray:
        """Plain mean over the categories: (models,)."""
        return np.mean(list(self.by_category().values()), axis=0)


def parse(release: str, table: str, categories: str) -> Leaderboard:
    """A leaderboard from the text of its CSV table and of its JSON list of categories.

    Raises ``ValueError`` for a table without models, a task without a category or a cell that is no number.
    """
    rows = list(csv.reader(io.StringIO(table)))
    if len(rows) < 2 or rows[0][:1] != ["model"]:
        raise ValueError(f"the table of {release} does not begin with a column 'model' followed by models.")
    tasks = rows[0][1:]
    category = {task: name for name, names in json.loads(categories).items() for task in names}
    lost = sorted(set(tasks) - set(category))
    if lost:
        raise ValueError(f"the tasks {lost} of {release} have no category.")
    try:
        scores = np.array([[float(cell) if cell.strip() else np.nan for cell in row[1:]] for row in rows[1:]])
    except ValueError as error:
        raise ValueError(
            f"the table of {release} has a cell that is no number, or rows of different length: {error}."
        ) from None
    return Leaderboard(release, [row[0] for row in rows[1:]], tasks, scores, {task: category[task] for task in tasks})


def load(release: str, root: str | Path | None = None) -> Leaderboard:
    """The table of ``release``, from the folder ``root``, or fetched from the benchmark's site; checked by its SHA-256.

    Raises ``FileNotFoundError`` or ``ValueError`` for a file in ``root`` that is missing or another one.
    """
    texts = []
    for kind, end in (("table", "csv"), ("categories", "json")):
        name = f"{kind}_{release.replace('-', '_')}.{end}"
        if name not in SHA256:
            raise ValueError(f"release must be one of {', '.join(RELEASES)}, got {release!r}.")
        if root is None:
            path = cache_dir() / "livebench" / name
            download(_ADDRESS.format(name=name), path, SHA256[name])
        else:
            path = next(
                (p for p in (Path(root) / name, Path(root) / "livebench_leaderboard" / name) if p.is_file()), None
            )
            if path is None:
                raise FileNotFoundError(
                    f"{paths.shown(Path(root))} holds no {name}; put the public table there, or give no folder to fetch it."
                )
            if sha256_of(path) != SHA256[name]:
                raise ValueError(
                    f"{paths.shown(path)} is not the table that the record was made from (another SHA-256)."
                )
        texts.append(path.read_text(encoding="utf-8"))
    return parse(release, *texts)


def made_up(release: str, rng: np.random.Generator, models: int = 12) -> Leaderboard:
    """A small leaderboard of the usual tasks with drawn scores, for a dry run."""
    category = {task: CATEGORIES[i % 6] for i, task in enumerate(TASK_CORRELATIONS)}
    skill = np.linspace(20, 60, models)[:, None]
    scores = np.clip(skill + rng.normal(0, 5, (models, len(category))), 0, 100)
    return Leaderboard(release, [f"model {i}" for i in range(models)], list(category), scores, category)


def summary(boards: list[Leaderboard]) -> list[dict[str, Any]]:
    """One row per release: complete models, mean and median of the overall score, the best model, and how many miss a task."""
    out = []
    for board in boards:
        whole = board.complete()
        overall = whole.overall()
        best = int(np.argmax(overall))
        out.append({
            "release": board.release, "models": len(whole.models), "dropped": len(board.models) - len(whole.models),
            "tasks": len(board.tasks), "mean": float(overall.mean()), "median": float(np.median(overall)),
            "best": whole.models[best], "best_overall": float(overall[best]),
        })  # fmt: skip
    return out


def common(first: Leaderboard, second: Leaderboard) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the models that both have complete, and their two overall scores."""
    one, two = (dict(zip(b.complete().models, b.complete().overall(), strict=True)) for b in (first, second))
    names = [name for name in one if name in two]
    return names, np.array([one[n] for n in names]), np.array([two[n] for n in names])


def drawn_models(models: int, draws: int, *names: str) -> np.ndarray:
    """Places of ``models`` models drawn with replacement, ``draws`` times: (draws, models); the same for the same ``names``."""
    return numpy_generator(0, "models", *names).integers(0, models, (draws, models))


def correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlations along the last axis of two arrays that broadcast; NaN where one of the two is constant."""
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    norms = np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1))
    return np.divide((x * y).sum(axis=-1), norms, out=np.full(np.shape(norms), np.nan), where=norms > 0)


def rank_error(before: np.ndarray, after: np.ndarray, draws: int) -> float:
    """Standard error of Spearman's correlation over models: its spread over ``draws`` bootstrap samples of the models."""
    drawn = drawn_models(len(before), draws, "ranks")
    ranks = [stats.rankdata(values[drawn], axis=1) for values in (before, after)]
    return float(np.nanstd(correlations(*ranks), ddof=1))


def standing(parts: np.ndarray, whole: np.ndarray, draws: int, *, lowest: bool = False) -> list[dict[str, float]]:
    """How surely each row of ``parts`` (k, models) correlates best (``lowest``: worst) with ``whole`` (models,) or its own row of (k, models).

    ``lead``: by how much its correlation is above the best of the others (below the worst of them), negative where it is not first;
    ``lead_error``: the spread of that over ``draws`` bootstrap samples of the models; ``share``: of these samples, in how many it is first. Samples
    in which something is constant say nothing and are left out.
    """
    sign = -1.0 if lowest else 1.0
    whole = np.broadcast_to(whole, parts.shape)
    ahead = lambda r: np.stack([r[k] - np.delete(r, k, axis=0).max(axis=0) for k in range(len(r))])
    lead = ahead(sign * correlations(parts, whole))
    drawn = drawn_models(parts.shape[1], draws, "standing")
    again = ahead(sign * np.stack([correlations(p[drawn], w[drawn]) for p, w in zip(parts, whole, strict=True)]))
    again = again[:, np.isfinite(again).all(axis=0)]
    return [
        {"lead": float(one), "lead_error": float(row.std(ddof=1)), "share": float((row > 0).mean())}
        for one, row in zip(lead, again, strict=True)
    ]


def updates(boards: list[Leaderboard], draws: int = 2000) -> list[dict[str, Any]]:
    """One row per pair of successive releases, and one for the first and third: Spearman correlation and change of mean and median.

    ``rank_error`` and ``mean_error`` are standard errors over the models, from ``draws`` bootstrap samples and from the spread of the changes.
    """
    pairs = [*itertools.pairwise(boards)]
    if len(boards) > 2:
        pairs.append((boards[0], boards[2]))
    out = []
    for first, second in pairs:
        names, before, after = common(first, second)
        if len(names) < 3:
            continue
        out.append({
            "from": first.release, "to": second.release, "models": len(names), "rank": spearman(before, after),
            "mean_change": float((after - before).mean()), "median_change": float(np.median(after) - np.median(before)),
            "fell": int((after < before).sum()), "rank_error": rank_error(before, after, draws),
            "mean_error": standard_error(after - before),
        })  # fmt: skip
    return out


def ties(board: Leaderboard, draws: int = 2000) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pearson correlations with the overall score, by task and by category.

    ``rest`` is the correlation with the overall score of the *other* categories, which does not contain the task itself. ``printed`` is the
    paper's Table 6. Categories carry their correlations with one another. A task's ``lead``, ``lead_error`` and ``first`` say how surely it is the
    one that goes best with the overall score, a category's ``behind``, ``behind_error`` and ``last`` how surely it goes worst with it
    (``last_rest``: with the other categories), over ``draws`` bootstrap samples of the models (:func:`standing`).
    """
    whole = board.complete()
    overall, groups = whole.overall(), whole.by_category()
    others = lambda name: np.mean([v for other, v in groups.items() if other != name], axis=0)
    best = standing(whole.scores.T, overall, draws)
    table = np.array(list(groups.values()))
    worst = standing(table, overall, draws, lowest=True)
    worst_rest = standing(table, np.array([others(name) for name in groups]), draws, lowest=True)
    tasks = [
        {
            "task": task, "category": whole.category[task], "overall": pearson(whole.scores[:, i], overall),
            "rest": pearson(whole.scores[:, i], others(whole.category[task])), "printed": TASK_CORRELATIONS.get(task),
            "lead": best[i]["lead"], "lead_error": best[i]["lead_error"], "first": best[i]["share"],
        }
        for i, task in enumerate(whole.tasks)
    ]  # fmt: skip
    categories = [
        {"category": name, "overall": pearson(v, overall), "rest": pearson(v, others(name))}
        | {other: pearson(v, w) for other, w in groups.items()}
        | {"behind": one["lead"], "behind_error": one["lead_error"], "last": one["share"], "last_rest": rest["share"]}
        for (name, v), one, rest in zip(groups.items(), worst, worst_rest, strict=True)
    ]
    return sorted(tasks, key=lambda row: -row["overall"]), categories


def transcribed(board: Leaderboard, rows: dict[str, tuple[float, ...]]) -> list[dict[str, Any]]:
    """One row per transcribed row of the paper that ``board`` has: the largest difference in points, overall and by category."""
    whole = board.complete()
    overall, groups = whole.overall(), whole.by_category()
    out = []
    for name, printed in rows.items():
        listed = name if name in whole.models else NAMES.get(name, name)
        if listed not in whole.models:
            continue
        i = whole.models.index(listed)
        found = [float(overall[i]), *(float(groups[group][i]) for group in CATEGORIES)]
        gaps = [abs(a - b) for a, b in zip(found, printed, strict=True)]
        worst = int(np.argmax(gaps))
        out.append({
            "model": name, "printed": printed[0], "recomputed": found[0], "gap": max(gaps), "overall_gap": gaps[0],
            "where": ("overall", *CATEGORIES)[worst],
        })  # fmt: skip
    return out


def tables(boards: dict[str, Leaderboard], draws: int = 2000) -> dict[str, list[dict[str, Any]]]:
    """Everything that the chapter shows of the public tables, with ``draws`` bootstrap samples of the models."""
    listed = [boards[release] for release in RELEASES if release in boards]
    tasks, categories = ties(boards[THIRD], draws)
    scatter = []
    for to in (SECOND, THIRD):
        names, before, after = common(boards[FIRST], boards[to])
        scatter += [
            {"to": to, "model": n, "before": float(a), "after": float(b)}
            for n, a, b in zip(names, before, after, strict=True)
        ]
    return {
        "releases": summary(listed), "updates": updates(listed, draws), "task_ties": tasks, "category_ties": categories,
        "rows_v1": transcribed(boards[FIRST], V1), "rows_iclr": transcribed(boards[RELEASES[3]], ICLR), "scatter": scatter,
    }  # fmt: skip
