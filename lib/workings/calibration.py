"""Calibration of probabilities: do events told with confidence 0.8 happen in 80 of 100 cases?

Two numbers go by the name of ECE for a yes/no question and differ: :func:`ece_top_label` (is the
*decision* right as often as its confidence says) and :func:`ece_positive` (does "yes" happen as
often as its probability says). Both are :func:`expected_calibration_error` of different columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq

from workings.checks import (
    as_array,
    as_finite_array,
    as_host_array,
    as_int,
    as_numpy_generator,
    as_probabilities,
    as_probability,
    one_of,
)


class ReliabilityCurve(NamedTuple):
    """One entry per *non-empty* bin: its edges, mean confidence, share correct, and number of cases."""

    lower: np.ndarray
    upper: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


class BrierParts(NamedTuple):
    """``reliability - resolution + uncertainty = binned``, the Brier score of the bin-wise mean forecast."""

    reliability: float
    resolution: float
    uncertainty: float
    binned: float


class Temperature(NamedTuple):
    """``temperature`` of :func:`fit_temperature`, the ``nll`` (nats per case) there and at 1, and the slope ``gradient`` of the NLL by 1/T.

    ``at_infinity``: no finite temperature is best, because the scores say nothing or the opposite; ``temperature`` is then infinite.
    ``at_zero``: the scores separate the classes, so that every smaller temperature is better; ``temperature`` is then 0.
    """

    temperature: float
    nll: float
    nll_at_1: float
    gradient: float
    at_infinity: bool
    at_zero: bool


class RiskCoverage(NamedTuple):
    """``coverage`` (k,) the share of cases that are answered, rising to 1, ``risk`` (k,) the share of errors among them, and ``area``.

    ``area`` is the mean risk over the thresholds that let in one more case each (AURC).
    """

    coverage: np.ndarray
    risk: np.ndarray
    area: float


class Interval(NamedTuple):
    """A statistic with the ends of its bootstrap interval."""

    estimate: float
    low: float
    high: float


def _confidences(conf: Any, name: str = "conf") -> np.ndarray:
    """Checked float64 (n,). Where the least and the largest are in [0, 1], all are, and none is NaN: two looks, not four."""
    array = as_host_array(conf, name)
    if array.dtype == np.float64 and array.ndim == 1 and array.size and array.min() >= 0 and array.max() <= 1:
        return array  # a NaN is its array's least, and fails the comparison
    return as_probabilities(conf, name, ndim=1)


def _outcomes(correct: Any, size: int, name: str = "correct") -> np.ndarray:
    """Checked 0/1, (n,). Whole numbers keep their type: with the least and the largest in 0..1, nothing else is among them."""
    array = as_host_array(correct, name)
    if array.dtype == bool:
        array = array.view(np.int8)  # the same bytes
    if array.dtype.kind in "iu" and array.shape == (size,) and size and array.min() >= 0 and array.max() <= 1:
        return array
    correct = as_finite_array(array, name, ndim=1)
    if len(correct) != size:
        raise ValueError(f"{name} must have one entry per confidence ({size}), got {len(correct)}.")
    if not np.isin(correct, (0.0, 1.0)).all():
        raise ValueError(f"{name} must hold 0/1 or booleans, got {correct[~np.isin(correct, (0.0, 1.0))][0]:g}.")
    return correct


def bin_edges(conf: np.ndarray, n_bins: int, binning: str = "uniform") -> np.ndarray:
    """The ``n_bins + 1`` edges: equal widths over [0, 1], or equal shares of ``conf`` (quantiles)."""
    return _edges(as_finite_array(conf, "conf", ndim=1), n_bins, binning)


def _edges(conf: np.ndarray, n_bins: int, binning: str) -> np.ndarray:
    n_bins = as_int(n_bins, "n_bins", minimum=1)
    if one_of(binning, "binning", ("uniform", "quantile")) == "uniform":
        return np.arange(n_bins + 1) / n_bins
    return np.quantile(conf, np.arange(n_bins + 1) / n_bins)


def _bins(
    conf: np.ndarray, n_bins: int, binning: str, closed: str
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The edges, and what tells the bin 0..n-1 of values in [0, 1]: ``[lo, hi)`` and the last bin closed, or ``(lo, hi]`` and the first.

    ``conf`` was checked before. A bin of equal widths is found by a multiplication; where that comes within rounding of an edge, by
    a search.
    """
    edges = _edges(conf, n_bins, binning)
    side = "right" if one_of(closed, "closed", ("left", "right")) == "left" else "left"
    search = lambda values: np.clip(np.searchsorted(edges, values, side=side) - 1, 0, len(edges) - 2)

    def multiply(values: np.ndarray) -> np.ndarray:
        times = values * n_bins
        times += 1e-9
        whole = np.floor(times)
        place = whole.astype(np.intp)
        times -= whole
        near = np.flatnonzero(times < 2e-9)
        if len(near):
            place[near] = search(values[near])
        return place

    return edges, search if binning != "uniform" or n_bins > 100_000 else multiply


def reliability_curve(
    conf: Any, correct: Any, n_bins: int = 10, binning: str = "uniform", closed: str = "left"
) -> ReliabilityCurve:
    """Mean confidence against share correct, bin by bin; empty bins are left out.

    ``conf`` (n,) in [0, 1], ``correct`` (n,) 0/1. ``closed="left"`` means bins ``[lo, hi)`` and a closed last bin,
    ``"right"`` means ``(lo, hi]`` and a closed first one, so that no confidence (1.0, 0.0) is ever dropped.
    ``binning="quantile"`` gives bins of (about) equal counts; equal confidences stay together.

    Raises ``ValueError`` for NaN, values outside [0, 1], different lengths or no data.
    """
    conf = _confidences(conf)
    correct = _outcomes(correct, len(conf))
    edges, find = _bins(conf, n_bins, binning, closed)
    bins = len(edges) - 1
    total, counts = np.zeros(bins), np.zeros(2 * bins, np.int64)
    for start in range(0, len(conf), 1 << 15):  # as many as stay in a processor's cache
        part = slice(start, start + (1 << 15))
        place = find(conf[part])
        total += np.bincount(place, conf[part], minlength=bins)
        place *= 2  # even numbers take the wrong ones of a bin, odd numbers the right ones
        np.add(place, correct[part], out=place, casting="unsafe")
        counts += np.bincount(place, minlength=2 * bins)
    right, count = counts[1::2], counts.reshape(bins, 2).sum(axis=1)
    full = count > 0
    weight = count[full]
    return ReliabilityCurve(edges[:-1][full], edges[1:][full], total[full] / weight, right[full] / weight, weight)


def expected_calibration_error(
    conf: Any,
    correct: Any,
    n_bins: int = 10,
    norm: str = "l1",
    binning: str = "uniform",
    closed: str = "left",
) -> float:
    """Distance between confidence and share correct over bins; 0 is perfect, in [0, 1].

    With bin weights ``n_b / n`` and gaps ``|acc_b - conf_b|``: ``"l1"`` the weighted mean gap (ECE; Guo et al.,
    arXiv 1706.04599, eq. 3), ``"l2"`` the root of the weighted mean square, ``"max"`` the largest gap of a
    non-empty bin; always l1 <= l2 <= max. Arguments and errors as :func:`reliability_curve`. Equals
    torchmetrics' ``binary_calibration_error`` off the bin edges; that one puts a confidence of exactly
    1.0 into an extra bin (its issue 3510).
    """
    one_of(norm, "norm", ("l1", "l2", "max"))
    curve = reliability_curve(conf, correct, n_bins, binning, closed)
    gap = np.abs(curve.accuracy - curve.confidence)
    weight = curve.count / curve.count.sum()
    if norm == "l1":
        return float(weight @ gap)
    if norm == "l2":
        return float(np.sqrt(weight @ gap**2))
    return float(gap.max())


def top_label(p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and decision of each case: ``(n,)`` float and ``(n,)`` int.

    ``p`` (n,) is the probability of "yes": confidence ``max(p, 1 - p)``, decision 1 where ``p >= 0.5``. ``p`` (n, K)
    holds class probabilities: the largest and its (first) index.
    """
    given, p = p, as_finite_array(p, "p", ndim=(1, 2))
    if p.ndim == 1:
        p = _confidences(given, "p")
        return np.maximum(p, 1.0 - p), (p >= 0.5).astype(np.int64)
    if p.shape[1] < 2:
        raise ValueError(f"p must have at least 2 classes, got shape {p.shape}; for 'yes' alone pass a flat array.")
    if p.min() < -1e-6 or np.abs(p.sum(axis=1) - 1.0).max() > 1e-3:
        raise ValueError("each row of p must be class probabilities: not negative, summing to 1 (apply a softmax).")
    return np.minimum(p.max(axis=1), 1.0), p.argmax(axis=1)


def ece_top_label(p: Any, y: Any, n_bins: int = 10, **options: Any) -> float:
    """ECE of the decision: its confidence against whether it equals ``y`` (n,).

    The variant of the code of "taught to know" (Kapoor et al., arXiv 2406.08391) and of class probabilities
    (n, K). ``options`` as :func:`expected_calibration_error`.
    """
    conf, decision = top_label(p)
    y = as_finite_array(y, "y", ndim=1)
    if len(y) != len(conf):
        raise ValueError(f"y must have one label per case ({len(conf)}), got {len(y)}.")
    classes = 2 if np.ndim(p) == 1 else np.shape(p)[1]
    if not np.isin(y, np.arange(classes)).all():
        raise ValueError(f"y must hold labels 0..{classes - 1}, got values from {y.min():g} to {y.max():g}.")
    return expected_calibration_error(conf, decision == y, n_bins, **options)


def ece_positive(p: Any, y: Any, n_bins: int = 10, **options: Any) -> float:
    """ECE of the probability of "yes" itself: ``p`` (n,) against ``y`` (n,) in {0, 1}. Not :func:`ece_top_label`."""
    return expected_calibration_error(p, y, n_bins, **options)


def brier_score(p: Any, y: Any) -> float:
    """Mean squared error of the probability, ``mean (p - y)^2`` in [0, 1]; ``p`` (n,) in [0, 1], ``y`` (n,) 0/1."""
    p = _confidences(p, "p")
    return float(np.mean((p - _outcomes(y, len(p), "y")) ** 2))


def brier_decomposition(p: Any, y: Any, n_bins: int = 10, binning: str = "uniform", closed: str = "left") -> BrierParts:
    """Murphy's split of the Brier score of the binned forecast (each ``p`` replaced by its bin's mean).

    With bin weights ``w_b``, mean forecast ``f_b``, share of ones ``o_b`` and overall share ``o``: reliability
    ``sum w_b (f_b - o_b)^2`` (0 is calibrated), resolution ``sum w_b (o_b - o)^2`` (more is better),
    uncertainty ``o (1 - o)``. Murphy, J. Appl. Meteorology 12, 1973. Errors as :func:`reliability_curve`.
    """
    p = _confidences(p, "p")
    y = _outcomes(y, len(p), "y")
    _, find = _bins(p, n_bins, binning, closed)
    place = find(p)
    curve = reliability_curve(p, y, n_bins, binning, closed)
    weight = curve.count / len(p)
    mean = np.zeros(place.max() + 1)
    mean[np.unique(place)] = curve.confidence
    base = y.mean()
    return BrierParts(
        reliability=float(weight @ (curve.confidence - curve.accuracy) ** 2),
        resolution=float(weight @ (curve.accuracy - base) ** 2),
        uncertainty=float(base * (1.0 - base)),
        binned=float(np.mean((mean[place] - y) ** 2)),
    )


def auroc(scores: Any, labels: Any) -> float:
    """Probability that a case of label 1 has a higher score than one of label 0, ties counting one half; in [0, 1].

    ``scores`` (n,) are any numbers, infinities included, ``labels`` (n,) 0/1. It depends on the order of the scores alone: an increasing
    map (a temperature) changes nothing, and turning all signs gives 1 minus it. By ranks, after Mann and Whitney (1947), in
    O(n log n).

    Raises ``ValueError`` for NaN, different lengths, no data, and where one of the classes is missing.
    """
    scores = as_array(scores, "scores", ndim=1)
    labels = _outcomes(labels, len(scores), "labels")
    ones = int(labels.sum())
    if ones in (0, len(labels)):
        raise ValueError(
            f"labels must hold both classes, got {len(labels)} times {labels[0]:g}: without pairs there is nothing to rank."
        )
    hit, rises = _ranked(scores, labels)
    if rises.all():
        won = float(np.flatnonzero(hit).sum() - ones * (ones - 1) // 2)  # the zeros below each one
    else:
        starts = np.concatenate([[0], np.flatnonzero(rises) + 1])
        hits = np.add.reduceat(hit, starts, dtype=np.int64)  # of each value
        zeros = np.diff(np.append(starts, len(hit))) - hits
        won = float(hits @ (2 * np.cumsum(zeros) - zeros)) / 2
    return won / (float(ones) * (len(labels) - ones))


def _ranked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels in order of their scores, (n,) booleans, and (n - 1,) whether the score rises to the next.

    Numbers of one sign are in the order of their bits (negative ones when these are turned), and the place of the sign takes
    the label: each half is sorted as plain whole numbers, several times faster than places are sorted by their scores.
    """
    bits = (scores + 0.0).view(np.int64)  # + 0.0 turns -0.0 into 0.0
    keys = bits >> 63  # all ones where the sign is set
    keys ^= bits
    keys <<= 1
    keys |= labels == 1
    keys = keys.view(np.uint64)
    rest = np.flatnonzero(scores < 0)
    if len(rest):
        keys = np.concatenate([keys[rest], keys[np.flatnonzero(scores >= 0)]])
    keys[: len(rest)].sort()
    keys[len(rest) :].sort()
    rises = (keys[1:] ^ keys[:-1]) > 1
    rises[max(len(rest) - 1, 0) : len(rest)] = True  # from the last negative score to the first that is not
    return (keys & np.uint64(1)).astype(bool), rises


def fit_temperature(logits: Any, labels: Any) -> Temperature:
    """The temperature T > 0 that minimises the negative log-likelihood of ``logits / T``, exactly.

    ``logits`` (n,) are those of "yes" (the log-odds) with ``labels`` (n,) 0/1, or (n, K) with ``labels`` in 0..K-1. The likelihood is
    concave in ``beta = 1 / T``, so its slope has one zero, found by bracketing. Where the slope at ``beta = 0`` points down, no finite T
    is best: the scores are no better than a constant, and ``at_infinity`` says so (the scaled probability is then 1/2, or 1/K,
    which looks well calibrated on balanced classes and knows nothing). Where the likelihood rises for ever (separable scores) ``at_zero``
    is set. Guo et al., arXiv 1706.04599, section 4.2, fit the same number by gradient descent.

    Raises ``ValueError`` for infinite or NaN logits, labels outside the classes and different lengths.
    """
    z = as_finite_array(logits, "logits", ndim=(1, 2))
    if z.ndim == 1:
        y = _outcomes(labels, len(z), "labels")
        margins = np.where(y == 1, -z, z)[:, None]  # (n, 1): the other class's logit above that of the label
    else:
        if z.shape[1] < 2:
            raise ValueError(
                f"logits must have at least 2 classes, got shape {z.shape}; for log-odds pass a flat array."
            )
        y = as_finite_array(labels, "labels", ndim=1)
        if len(y) != len(z) or not np.isin(y, np.arange(z.shape[1])).all():
            raise ValueError(f"labels must be {len(z)} whole numbers in 0..{z.shape[1] - 1}, one per row of logits.")
        rows, y = np.arange(len(z)), y.astype(np.int64)
        margins = z - z[rows, y][:, None]
        margins = np.delete(margins.ravel(), rows * z.shape[1] + y).reshape(len(z), -1)
    scale = np.abs(margins).max()
    if scale == 0:
        return Temperature(
            np.inf, float(np.log(margins.shape[1] + 1)), float(np.log(margins.shape[1] + 1)), 0.0, True, False
        )
    unit = margins / scale  # numbers of order one, whatever the units of the logits

    def nll(beta: float) -> float:
        return float(
            np.mean(np.logaddexp.reduce(np.concatenate([beta * unit, np.zeros((len(unit), 1))], axis=1), axis=1))
        )

    def slope(beta: float) -> float:
        e = beta * unit
        top = np.maximum(e.max(axis=1, keepdims=True), 0.0)
        weights = np.exp(e - top)
        return float(np.mean((weights * unit).sum(axis=1) / (weights.sum(axis=1) + np.exp(-top[:, 0]))))

    flat = nll(0.0)
    at_1 = nll(float(scale))
    if slope(0.0) >= 0:
        return Temperature(np.inf, flat, at_1, slope(0.0) * float(scale), True, False)
    if unit.max() <= 0:
        return Temperature(0.0, 0.0, at_1, 0.0, False, True)
    high = 1.0
    while slope(high) < 0:
        high *= 2.0
    beta = brentq(slope, 0.0, high, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=500)
    return Temperature(float(scale / beta), nll(beta), at_1, slope(beta) * float(scale), False, False)


def risk_coverage(conf: Any, correct: Any) -> RiskCoverage:
    """What is gained by answering only where confidence is high: risk against coverage, from the surest case on.

    ``conf`` (n,) are any scores (higher is surer), ``correct`` (n,) 0/1. Cases of equal confidence enter together, so the curve has one
    point per distinct confidence and does not depend on the order of the cases. El-Yaniv and Wiener, JMLR 11, 2010.

    Raises ``ValueError`` for NaN, different lengths or no data.
    """
    conf = as_array(conf, "conf", ndim=1)
    correct = _outcomes(correct, len(conf), "correct")
    order = np.argsort(-conf, kind="stable")
    errors = np.cumsum(1.0 - correct[order])
    last = np.append(np.flatnonzero(np.diff(conf[order])), len(conf) - 1)  # where a group of equal confidences ends
    answered = last + 1.0
    risk = errors[last] / answered
    return RiskCoverage(answered / len(conf), risk, float(np.average(risk, weights=np.diff(answered, prepend=0.0))))


def bootstrap_ci(
    metric: Callable[..., float],
    *columns: Any,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 1000,
    by: Any = None,
) -> Interval:
    """Percentile bootstrap interval of ``metric(*columns)``.

    ``columns`` are arrays of one length n, resampled together with replacement. With ``by`` (n,) whole
    groups are drawn instead of single cases (questions with several answers, subjects): cases within
    a group are not independent. Binned metrics such as ECE are biased upwards by noise, more so in
    resamples: read their interval as spread, not as coverage. Efron, Annals of Statistics 7, 1979.

    Raises ``ValueError`` for no columns, different lengths, fewer than 2 groups, or a NaN metric.
    """
    level = as_probability(level, "level")
    resamples = as_int(resamples, "resamples", minimum=1)
    if not columns:
        raise ValueError("bootstrap_ci needs at least one column of data, for instance bootstrap_ci(metric, p, y).")
    arrays = [as_host_array(c, "a column") for c in columns]
    if any(a.ndim == 0 for a in arrays):
        raise ValueError("each column must hold one entry per case, got a single number.")
    as_numpy_generator(rng, "rng")
    size = len(arrays[0])
    lengths = [len(a) for a in arrays] + ([len(by)] if by is not None else [])
    if size == 0 or any(n != size for n in lengths):
        raise ValueError(f"columns (and by) must have one common length above 0, got {lengths}.")
    if by is None:
        groups = None
    else:
        _, label = np.unique(as_host_array(by, "by"), return_inverse=True)
        order = np.argsort(label, kind="stable")
        groups = np.split(order, np.cumsum(np.bincount(label))[:-1])
        if len(groups) < 2:
            raise ValueError("by names a single group; a bootstrap over groups needs at least 2.")
    values = np.empty(resamples)
    for i in range(resamples):
        if groups is None:
            index = rng.integers(0, size, size)
        else:
            index = np.concatenate([groups[g] for g in rng.integers(0, len(groups), len(groups))])
        values[i] = metric(*(a[index] for a in arrays))
    estimate = float(metric(*arrays))
    if not np.isfinite(estimate) or not np.isfinite(values).all():
        raise ValueError("metric gave NaN or infinity on the data or on a resample; it must be defined on all of them.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
