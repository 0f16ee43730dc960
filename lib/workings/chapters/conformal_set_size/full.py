"""The full tier of the chapter `conformal_set_size`: the protocol of the authors' code.

A quarter of the data trains a forest, a quarter calibrates, the rest
tests; 10 training splits, 100 calibration splits of each. Every held-out point is scored once per
training split, so that a calibration split is only a choice of indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from workings import paths
from workings.chapters.conformal_set_size.demo import digits
from workings.chapters.conformal_set_size.settings import Settings
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.uncertainty import scores as score
from workings.uncertainty.conformal import conformal_threshold
from workings.uncertainty.scores import class_table
from workings.uncertainty.set_size import (
    SetSizeEstimate,
    estimate_classes,
    expected_set_size_known,
    expected_set_size_unknown,
)
from workings.uncertainty.uci import load_uci, synthetic_table

# (data set, score): the rows of the full run. Regression rows first, then the handwritten digits.
ROWS = (
    ("airfoil", "l1"),
    ("concrete", "l1"),
    ("wine", "l1"),
    ("airfoil", "cqr"),
    ("digits", "zero_one"),
    ("digits", "lac"),
    ("digits", "aps"),
)


GRID = 100  # midpoints of the label range at which CQR scores are evaluated, as in the authors' code


@dataclass(frozen=True)
class Scored:
    """One trained model's held-out points, scored once.

    ``own`` (N,): score of each point's true label. ``estimate(cal)``: the estimator on the calibration indices.
    ``size(tau, test)``: mean size of the test sets at a threshold.
    """

    own: np.ndarray
    estimate: Callable[[np.ndarray], SetSizeEstimate]
    size: Callable[[float, np.ndarray], float]


def _standardised(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def _residual_scores(x, y, train, held, settings: Settings, seed: int) -> Scored:
    from sklearn.ensemble import RandomForestRegressor

    n, alpha, gamma = len(train), settings.alpha, settings.gamma
    forest = RandomForestRegressor(settings.trees, random_state=seed).fit(x[train], y[train])
    own = score.absolute_residual(y[held], forest.predict(x[held]))
    r_max = float(y.max() - y.min())  # forests predict inside the range of labels
    factor = score.residual_cum_factor()
    return Scored(
        own,
        lambda cal: expected_set_size_known(own[cal], n, alpha, factor, 0.0, r_max, gamma),
        lambda tau, test: float(factor(np.asarray(tau))),
    )


def _cqr_scores(x, y, train, held, settings: Settings, seed: int) -> Scored:
    try:
        from quantile_forest import RandomForestQuantileRegressor
    except ModuleNotFoundError:
        raise RuntimeError("the CQR row needs quantile-forest, which is not installed; pip install it.") from None

    n, alpha, gamma = len(train), settings.alpha, settings.gamma
    forest = RandomForestQuantileRegressor(settings.trees, random_state=seed).fit(x[train], y[train])
    lo, hi = forest.predict(x[held], quantiles=[alpha / 2, 1 - alpha / 2]).T
    own = score.cqr(y[held], lo, hi)
    edges = np.linspace(y.min(), y.max(), GRID + 1)
    middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    table = score.cqr(middles[None, :], lo[:, None], hi[:, None])  # (N, GRID)
    return Scored(
        own,
        lambda cal: expected_set_size_unknown(own[cal], table[cal], n, alpha, width, gamma),
        lambda tau, test: float(score.interval_size(lo[test], hi[test], tau).mean()),
    )


def _class_scores(kind: str) -> Callable[..., Scored]:
    def scored(x, y, train, held, settings: Settings, seed: int) -> Scored:
        from sklearn.ensemble import RandomForestClassifier

        n, alpha, gamma = len(train), settings.alpha, settings.gamma
        forest = RandomForestClassifier(settings.trees, random_state=seed).fit(x[train], y[train])
        probs = np.zeros((len(held), int(y.max()) + 1))
        probs[:, forest.classes_] = forest.predict_proba(x[held])
        table = class_table(probs, kind, np.random.default_rng(seed))
        own = score.true_label(table, y[held])

        return Scored(
            own,
            lambda cal: estimate_classes(kind, own[cal], table[cal], n, alpha, gamma),
            lambda tau, test: float((table[test] <= tau).sum(1).mean()),
        )

    return scored


SCORERS: dict[str, Callable[..., Scored]] = {
    "l1": _residual_scores,
    "cqr": _cqr_scores,
    "zero_one": _class_scores("zero_one"),
    "lac": _class_scores("lac"),
    "aps": _class_scores("aps"),
}


def _data(name: str, settings: Settings, root: Path | None) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        x, y = digits()
        return (x[:400], y[:400]) if settings.dry_run else (x, y)
    if settings.dry_run:
        table = synthetic_table(name, 240, np.random.default_rng(settings.seed))
    else:
        table = load_uci(name, root=root, download=root is None)
    return _standardised(table.x, table.y)


def _one_training_split(name: str, kind: str, x, y, split: int, settings: Settings) -> list[list[float]]:
    """``calibration_splits`` rows of [lower, point, upper, size, coverage] for one trained model."""
    generator = np.random.default_rng([settings.seed, ROWS.index((name, kind)), split])
    order = generator.permutation(len(y))
    n = len(y) // 4
    scored = SCORERS[kind](x, y, order[:n], order[n:], settings, split)
    rows = []
    for _ in range(settings.calibration_splits):
        shuffled = generator.permutation(len(scored.own))
        cal, test = shuffled[:n], shuffled[n:]
        guess = scored.estimate(cal)
        tau = conformal_threshold(scored.own[cal], settings.alpha)
        covered = float((scored.own[test] <= tau).mean())
        rows.append([guess.lower, guess.point, guess.upper, scored.size(tau, test), covered])
    return rows


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The full tier: ``protocol``, one row per (data set, score), and ``seeds``, the same for each seed by itself.

    The protocol runs once for each of ``settings.seeds``, with a store of its own under ``runs/``, so an interrupted run
    goes on where it stopped. ``data_root`` is a folder with the UCI tables; without one they are fetched.
    """
    folder = paths.runs_root() / "conformal_set_size"
    root = None if data_root is None else Path(data_root)
    found: list[tuple[int, list[dict[str, Any]]]] = []
    for seed in settings.seeds:
        one = replace(settings, seed=seed, seeds=(seed,))
        store = Store(folder / f"{'dry' if settings.dry_run else 'full'}-seed{seed}.jsonl", one)
        found.append((seed, run_protocol(one, store, root, watch=_bar(f"training splits, seed {seed}"))))
    by_seed = [{**row, "seed": seed} for seed, rows in found for row in rows]
    return {"protocol": over_seeds(by_seed), "seeds": by_seed}


def _bar(label: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    return lambda jobs: progress(jobs, label)


def over_seeds(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per (data set, score): means over the seeds of every number of :func:`summarise`, and their number.

    ``point_se`` and ``size_se`` are standard errors over the seeds (sample standard deviation over the root of their
    number; None for a single seed), ``runs`` is the sum.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["score"]), []).append(row)
    table = []
    for (name, kind), group in groups.items():
        numbers = [key for key in group[0] if key not in ("data", "score", "seed", "runs")]
        out: dict[str, Any] = {"data": name, "score": kind, "seeds": len(group)}
        out |= {key: float(np.mean([row[key] for row in group])) for key in numbers}
        for key in ("point", "size"):
            spread = np.std([row[key] for row in group], ddof=1) if len(group) > 1 else None
            out[f"{key}_se"] = None if spread is None else float(spread / math.sqrt(len(group)))
        table.append({**out, "runs": sum(row["runs"] for row in group)})
    return table


def run_protocol(
    settings: Settings,
    store: Store,
    root: Path | None = None,
    rows: Iterable[tuple[str, str]] = ROWS,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """The full protocol; one dictionary of :func:`summarise` for each (data set, score) in ``rows``.

    What is already in ``store`` is not run again, so an interrupted run goes on where it stopped.
    ``root`` is a folder with the UCI tables; without one they are fetched (checksummed) and kept.
    ``watch`` may wrap the list of jobs in a progress bar.
    """
    rows = list(rows)
    loaded: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    jobs = [(name, kind, split) for name, kind in rows for split in range(settings.train_splits)]
    for name, kind, split in watch(jobs):
        key = f"{name}/{kind}/{split}"
        if store.done(key):
            continue
        if name not in loaded:
            loaded[name] = _data(name, settings, root)
        store.put(key, _one_training_split(name, kind, *loaded[name], split, settings))
    blocks = {row: [store.get(f"{row[0]}/{row[1]}/{s}") for s in range(settings.train_splits)] for row in rows}
    return [{"data": name, "score": kind, **summarise(blocks[name, kind])} for name, kind in rows]


def summarise(blocks: list[list[list[float]]]) -> dict[str, Any]:
    """Summary of one row of the protocol from its training splits' [lower, point, upper, size, coverage] blocks.

    ``size`` is the Monte-Carlo average over all runs (the reference); ``interval_error`` the share of runs whose
    interval misses it (by more than 1e-9, so not by rounding); ``interval_error_own`` the share that misses the average of the run's own trained model, to
    which the guarantee refers. ``*_sd`` are standard deviations over all runs given (of one seed, in the protocol).
    """
    runs = np.asarray(blocks)  # (train splits, calibration splits, 5)
    lower, point, upper, size, covered = np.moveaxis(runs, -1, 0)
    reference, own = size.mean(), size.mean(axis=1, keepdims=True)
    missed = lambda truth: float(((truth < lower - 1e-9) | (truth > upper + 1e-9)).mean())  # beyond rounding
    return {
        "size": float(reference),
        "size_sd": float(size.std()),
        "point": float(point.mean()),
        "point_sd": float(point.std()),
        "lower": float(lower.mean()),
        "lower_sd": float(lower.std()),
        "upper": float(upper.mean()),
        "upper_sd": float(upper.std()),
        "abs_error": float(np.abs(point - reference).mean()),
        "interval_error": missed(reference),
        "interval_error_own": missed(own),
        "miscoverage": float(1 - covered.mean()),
        "runs": int(size.size),
    }
