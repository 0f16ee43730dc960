"""Conformal thresholds and set-size estimates beside other libraries.

(a) Which order statistic each library really takes as threshold: the scores are 1..n, so the threshold names its rank.
    Read through the public interface at the level as a user writes it (0.1, or a confidence of 0.9).
(b) Seconds for the threshold of 10^6 scores.
(c) The unknown-factor estimator against a direct implementation with an (m, K, m) cube of comparisons.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/conformal_set_size.py [rows.json]
"""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from fractions import Fraction
from importlib import metadata
from typing import Any

import numpy as np
from timing import interleaved, ratio

from workings.uncertainty.conformal import conformal_threshold, threshold_exceedance
from workings.uncertainty.scores import lac, true_label
from workings.uncertainty.set_size import dkw_radius, expected_set_size_unknown

Grid = tuple[range, tuple[str, ...]]  # calibration sizes, levels
GRIDS: dict[str, Grid] = {
    "usual": (range(5, 2001), ("0.01", "0.05", "0.1", "0.2", "0.3")),
    "fine": (range(5, 151), tuple(f"{i / 100:.2f}" for i in range(1, 100))),
}
Threshold = Callable[[np.ndarray, str], float]  # scores, alpha -> threshold


# --- the peers: name -> (distribution, maker of (rank reader, function to time)) --------------------------------------


def _confidence(alpha: str) -> float:
    return float(1 - Fraction(alpha))  # the decimal a user would type


def _mapie_regression() -> tuple[Threshold, Threshold]:
    from mapie.regression import SplitConformalRegressor
    from mapie.utils import _compute_regression_quantile
    from sklearn.base import BaseEstimator, RegressorMixin

    class Zero(RegressorMixin, BaseEstimator):
        fitted_ = True

        def fit(self, X: Any, y: Any) -> Zero:
            return self

        def predict(self, X: Any) -> np.ndarray:
            return np.zeros(len(X))

    def public(scores: np.ndarray, alpha: str) -> float:
        X = np.zeros((len(scores), 1))
        regressor = SplitConformalRegressor(Zero(), confidence_level=_confidence(alpha), prefit=True)
        return float(regressor.conformalize(X, scores).predict_interval(X[:1])[1][0, 1, 0])

    def core(scores: np.ndarray, alpha: str) -> float:
        return float(_compute_regression_quantile(scores[:, None], np.array([_confidence(alpha)]))[0, 0])

    return public, core


def _mapie_classification() -> tuple[Threshold, Threshold]:
    from mapie.classification import SplitConformalClassifier
    from mapie.utils import _compute_classification_quantile
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        fitted_ = True
        classes_ = np.array([0, 1])

        def fit(self, X: Any, y: Any) -> Given:
            return self

        def predict(self, X: Any) -> np.ndarray:
            return np.zeros(len(X), int)

        def predict_proba(self, X: Any) -> np.ndarray:
            return np.stack([X[:, 0], 1 - X[:, 0]], axis=1)

    def public(scores: np.ndarray, alpha: str) -> float:
        scale = scores.max() + 1  # LAC scores lie in [0, 1]
        X = 1 - scores[:, None] / scale
        classifier = SplitConformalClassifier(
            Given(), confidence_level=_confidence(alpha), prefit=True, conformity_score="lac"
        )
        classifier.conformalize(X, np.zeros(len(scores), int)).predict_set(X[:1])
        return float(classifier._mapie_classifier.conformity_score_function_.quantiles_[0] * scale)

    def core(scores: np.ndarray, alpha: str) -> float:
        return float(_compute_classification_quantile(scores[:, None], np.array([float(alpha)]))[0])

    return public, core


def _crepes() -> tuple[Threshold, Threshold]:
    from crepes import ConformalRegressor

    def public(scores: np.ndarray, alpha: str) -> float:
        interval = ConformalRegressor().fit(scores).predict_int(np.zeros(1), confidence=_confidence(alpha))
        return float(interval[0, 1])

    return public, public


def _torchcp() -> tuple[Threshold, Threshold]:
    import torch
    from torchcp.utils.common import calculate_conformal_value

    def public(scores: np.ndarray, alpha: str) -> float:
        return float(calculate_conformal_value(torch.from_numpy(scores), float(alpha)))

    return public, public


def _puncc_base() -> tuple[Threshold, Threshold]:
    from deel.puncc.api.calibration import BaseCalibrator

    def public(scores: np.ndarray, alpha: str) -> float:
        calibrator = BaseCalibrator(
            nonconf_score_func=lambda y_pred, y_true: y_true, pred_set_func=lambda y_pred, scores_quantile: y_pred
        )
        calibrator.fit(y_pred=scores, y_true=scores)
        return float(calibrator.compute_quantile(alpha=float(alpha)))

    return public, public


def _puncc_score() -> tuple[Threshold, Threshold]:
    from deel.puncc.api.calibration import ScoreCalibrator

    def public(scores: np.ndarray, alpha: str) -> float:
        calibrator = ScoreCalibrator(lambda z: z)
        calibrator.fit(scores)
        accepted = scores[calibrator.is_conformal(scores, alpha=float(alpha))]
        return float(accepted.max())

    return public, public


PEERS: dict[str, tuple[str, Callable[[], tuple[Threshold, Threshold]]]] = {
    "MAPIE regression": ("mapie", _mapie_regression),
    "MAPIE classification": ("mapie", _mapie_classification),
    "crepes": ("crepes", _crepes),
    "TorchCP": ("torchcp", _torchcp),
    "puncc BaseCalibrator": ("puncc", _puncc_base),
    "puncc ScoreCalibrator": ("puncc", _puncc_score),
}


def _load(peer: str) -> tuple[str, tuple[Threshold, Threshold] | str]:
    """Name with version, and the peer's two functions, or why there are none."""
    distribution, make = PEERS[peer]
    try:
        name = f"{peer} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return peer, "not installed"
    try:
        return name, make()
    except ImportError as error:
        return name, f"installed but not importable: {error}"


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "conformal_set_size", "what": what, "peer": peer, "note": "", **empty, **values}


# --- (a) ranks -------------------------------------------------------------------------------------------------------


def exact_rank(n: int, alpha: str) -> int:
    """The smallest k with k/(n + 1) >= 1 - alpha, by definition and independently of the kernel."""
    wanted = (1 - Fraction(alpha)) * (n + 1)
    return next(k for k in range(max(1, int(wanted) - 1), n + 2) if k >= wanted)


def count_ranks(threshold: Threshold, grid: Grid) -> dict[str, int]:
    """Over all (n, alpha) of a grid: equal to the exact rank, too high, too low, refused.

    ``refused_small_n`` counts the errors where the exact rank exceeds n, ``refused`` the others; ``worst`` is the
    largest distance in ranks. An infinite threshold has rank n + 1.
    """
    counts = dict.fromkeys(("exact", "high", "low", "refused", "refused_small_n", "worst"), 0)
    for n in grid[0]:
        scores = np.arange(1.0, n + 1)
        for alpha in grid[1]:
            k = exact_rank(n, alpha)
            try:
                tau = threshold(scores, alpha)
            except ValueError:
                counts["refused" if k <= n else "refused_small_n"] += 1
                continue
            rank = n + 1 if math.isinf(tau) else round(tau)
            counts["exact" if rank == k else "high" if rank > k else "low"] += 1
            counts["worst"] = max(counts["worst"], abs(rank - k))
    return counts


def rank_rows(name: str) -> list[dict[str, Any]]:
    """One row a library: cells of the (n, alpha) grid ``name`` with the exact rank."""
    sizes, levels = GRIDS[name]
    unit = f"of {len(sizes) * len(levels)}"
    listed = ", ".join(levels) if len(levels) < 10 else f"{levels[0]}, {levels[1]}, ..., {levels[-1]}"
    what = f"cells with the exact rank, n = {sizes[0]}..{sizes[-1]}, alpha in {{{listed}}}"
    ours = count_ranks(conformal_threshold, GRIDS[name])["exact"]
    rows = []
    for peer in PEERS:
        version, functions = _load(peer)
        row_id = f"rank-{name}-{peer.lower().replace(' ', '-')}"
        if isinstance(functions, str):
            rows.append(_row(row_id, what, version, ours=ours, unit=unit, note=functions))
            continue
        c = count_ranks(functions[0], GRIDS[name])
        note = (
            f"too high {c['high']}, too low {c['low']} (by at most {c['worst']}); error although n suffices "
            f"{c['refused']}; error where the threshold is infinite {c['refused_small_n']}"
        )
        rows.append(_row(row_id, what, version, ours=ours, theirs=c["exact"], unit=unit, repeats=1, note=note))
    return rows


# --- (b) time of a threshold -----------------------------------------------------------------------------------------


def time_rows(size: int = 10**6, repeats: int = 31) -> list[dict[str, Any]]:
    """Seconds for one threshold of ``size`` random scores at alpha = 0.1, all libraries interleaved."""
    scores = np.random.default_rng(0).random(size)
    what, rows = f"threshold of {size:,} scores, alpha = 0.1", []
    peers = {peer: _load(peer) for peer in PEERS}
    functions = {"ours": lambda: conformal_threshold(scores, "0.1")}
    for peer, (_, loaded) in peers.items():
        if not isinstance(loaded, str):
            functions[peer] = lambda core=loaded[1]: core(scores, "0.1")
    seconds = interleaved(functions, repeats)
    mine = float(np.median(seconds["ours"]))
    for peer, (name, loaded) in peers.items():
        row_id = f"time-{peer.lower().replace(' ', '-')}"
        if peer not in seconds:
            rows.append(_row(row_id, what, name, ours=mine, unit="s", note=loaded))
            continue
        middle, low, high = ratio(seconds["ours"], seconds[peer])
        values = {"ours": mine, "theirs": float(np.median(seconds[peer])), "unit": "s", "repeats": repeats}
        rows.append(_row(row_id, what, name, **values, ratio=middle, ratio_low=low, ratio_high=high))
    return rows


# --- (c) unknown-factor estimator against the cube --------------------------------------------------------------------


def cube_estimate(
    cal_scores: np.ndarray, all_scores: np.ndarray, n: int, alpha: str, gamma: float
) -> tuple[float, float, float]:
    """Point, lower and upper end by comparing every label score with every calibration score at once."""
    G = (cal_scores[None, None, :] < all_scores[:, :, None]).mean(axis=2)
    delta = dkw_radius(len(cal_scores), gamma)
    band = (G, np.minimum(G + delta, 1.0), np.maximum(G - delta, 0.0))
    return tuple(float(threshold_exceedance(g, n, alpha).sum(axis=1).mean()) for g in band)


def _peak(function: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def estimator_rows(m: int = 5000, classes: int = 10, repeats: int = 15) -> list[dict[str, Any]]:
    """Agreement, time and peak memory at ``m`` points and ``classes`` labels, n = m, alpha = gamma = 0.1."""
    generator = np.random.default_rng(1)
    probs = generator.dirichlet(np.full(classes, 0.3), m)
    y = (generator.random((m, 1)) > np.cumsum(probs, axis=1)[:, :-1]).sum(axis=1)
    scores = lac(probs)
    cal = true_label(scores, y)

    def ours() -> Any:
        return expected_set_size_unknown(cal, scores, m, "0.1", gamma=0.1)

    def cube() -> tuple[float, float, float]:
        return cube_estimate(cal, scores, m, "0.1", 0.1)

    estimate, reference = ours(), cube()
    gap = max(abs(a - b) for a, b in zip((estimate.point, estimate.lower, estimate.upper), reference, strict=True))
    seconds = interleaved({"ours": ours, "cube": cube}, repeats)
    middle, low, high = ratio(seconds["ours"], seconds["cube"])
    memory = _peak(ours), _peak(cube)
    what, peer = f"expected set size with interval, m = n = {m}, K = {classes}", "boolean cube (written here)"
    return [
        _row(
            "estimator-agreement", f"{what}: largest difference", peer, ours=gap, theirs=0.0, unit="classes", repeats=1
        ),
        _row(
            "estimator-time",
            what,
            peer,
            ours=float(np.median(seconds["ours"])),
            theirs=float(np.median(seconds["cube"])),
            unit="s",
            ratio=middle,
            ratio_low=low,
            ratio_high=high,
            repeats=repeats,
        ),
        _row(
            "estimator-memory",
            f"{what}: peak beside the inputs",
            peer,
            ours=memory[0],
            theirs=memory[1],
            unit="MB",
            ratio=memory[1] / memory[0],
            repeats=1,
            note="tracemalloc",
        ),
    ]


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about a minute on one core."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn where a threshold is infinite
        return [*rank_rows("usual"), *rank_rows("fine"), *time_rows(), *estimator_rows()]


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
