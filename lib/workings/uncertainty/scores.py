"""Conformity scores, the label space at each score level, and the size of prediction sets.

Every score is large where the label fits badly. Regression scores take labels and predictions. Classification
scores (:func:`zero_one`, :func:`lac`, :func:`aps`) score *every* label at once and return shape (m, K);
:func:`true_label` then picks the score of the label that occurred:

    all_scores = lac(probs)                    # (m, K)
    cal_scores = true_label(all_scores, y)     # (m,)

Score definitions as in Dhillon, Deligiannidis and Rainforth (AISTATS 2024, arXiv 2306.07254) and their code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import gammaln

from workings.checks import (
    as_array,
    as_finite_array,
    as_float,
    as_host_array,
    as_int,
    as_numpy_generator,
    as_probabilities,
    one_of,
)

# float32 softmax outputs over up to some 10,000 classes sum to one within about 1e-5; percentages, logits and
# un-normalised weights miss by far more than this.
SUM_TOLERANCE = 1e-4


def absolute_residual(y: Any, y_hat: Any) -> np.ndarray:
    """``s = |y - y_hat|``, elementwise. ``y`` and ``y_hat`` must have the same shape; the score has it too."""
    y, y_hat = _same_shape(y, y_hat)
    return np.abs(y - y_hat)


def lp_residual(y: Any, y_hat: Any, p: float = 1.0) -> np.ndarray:
    """``s = sum_l |y_l - y_hat_l|^p`` over the last axis: shapes (..., d) -> (...). No root is taken; ``p > 0``."""
    y, y_hat = _same_shape(y, y_hat)
    if y.ndim == 0:
        raise ValueError("y must have a last axis of targets, got a single number; use shape (1,).")
    return np.sum(np.abs(y - y_hat) ** _power(p), axis=-1)


def lp_ball_volume(d: int, p: float) -> float:
    """Volume of the unit ball ``{z in R^d : sum_l |z_l|^p <= 1}``: ``(2 Gamma(1 + 1/p))^d / Gamma(1 + d/p)``.

    ``(1, p) -> 2``, ``(2, 2) -> pi``, ``(3, 1) -> 4/3``.
    """
    d, p = as_int(d, "d", minimum=1), _power(p)
    return float(np.exp(d * (np.log(2.0) + gammaln(1 + 1 / p)) - gammaln(1 + d / p)))


def residual_cum_factor(d: int = 1, p: float = 1.0) -> Callable[[Any], np.ndarray]:
    """The cumulative factor ``Lambda`` of :func:`lp_residual`: the volume of labels whose score is at most ``r``.

        Lambda(r) = r^(d/p) lp_ball_volume(d, p);   Lambda(r) = 2 r for the absolute residual (d = p = 1)

    Returns a function of ``r >= 0`` (any shape), in the units of the labels to the power ``d``.
    """
    exponent, volume = d / _power(p), lp_ball_volume(d, p)
    log_volume = d * (np.log(2.0) + gammaln(1 + 1 / p)) - gammaln(1 + d / p)

    def cum_factor(r: Any) -> np.ndarray:
        r = as_array(r, "r")
        if (r < 0).any():
            raise ValueError(f"r must be at least 0 for a residual score, got {float(r.min())!r}.")
        with np.errstate(over="ignore", invalid="ignore"):
            product = volume * r**exponent
            if volume > np.finfo(np.float64).tiny and np.isfinite(product).all():
                return product
        with np.errstate(divide="ignore", over="ignore"):  # a factor left the range of float64, their product may not
            return np.exp(exponent * np.log(r) + log_volume)

    return cum_factor


def zero_one(probs: Any) -> np.ndarray:
    """0-1 score of every label: 0 for the predicted (most probable) label, 1 for the others. (m, K) -> (m, K).

    Ties go to the lowest label number, so each row holds exactly one 0. Its score space is ``levels = [0, 1]`` with
    ``factors = [1, K - 1]``. ``probs`` may be probabilities or any finite scores whose largest entry predicts.
    """
    array = as_finite_array(probs, "probs", ndim=2)
    scores = np.ones_like(array)
    np.put_along_axis(scores, array.argmax(axis=1)[:, None], 0.0, axis=1)
    return scores


def lac(probs: Any) -> np.ndarray:
    """LAC score of every label: ``s(x, y) = 1 - p_y(x)``, shapes (m, K) -> (m, K), range [0, 1]."""
    return 1.0 - _probabilities(probs)


def aps(probs: Any, u: Any) -> np.ndarray:
    """APS score of every label: ``s(x, y) = sum_{c : p_c > p_y} p_c + u p_y``, shapes (m, K) -> (m, K).

    Convention: only *strictly* more probable labels add their mass. Two equally probable labels therefore score alike
    at equal ``u``; (cumulative mass minus ``u p_y``), the other convention in use, differs under ties.
    ``u`` in [0, 1] has shape (m, K): one uniform per point **and per candidate label**, drawn by the caller as
    ``generator.random(probs.shape)``. ``u`` = 0 or 1, or any shape that broadcasts to (m, K), gives the
    non-randomised or shared versions. Range [0, 1].
    """
    p = _probabilities(probs)
    u = as_probabilities(u, "u")
    try:
        u = np.broadcast_to(u, p.shape)
    except ValueError:
        raise ValueError(f"u must have the shape {p.shape} of probs (or broadcast to it), got {u.shape}.") from None
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    mass = np.concatenate([np.zeros((len(p), 1)), np.cumsum(ranked, axis=1)[:, :-1]], axis=1)
    # A label tied with its predecessor takes the mass in front of the first label of the tie.
    starts = np.concatenate([np.ones((len(p), 1), bool), ranked[:, 1:] < ranked[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(starts, np.arange(p.shape[1]), 0), axis=1)
    above = np.empty_like(p)
    np.put_along_axis(above, order, np.take_along_axis(mass, first, axis=1), axis=1)
    return np.clip(above + u * p, 0.0, 1.0)


def cqr(y: Any, lo: Any, hi: Any) -> np.ndarray:
    """CQR score ``s = max(lo - y, y - hi)``: signed distance outside the band [lo, hi], negative within it.

    The arguments broadcast: ``y`` of shape (m,) gives the true-label scores (m,); ``cqr(grid[None, :], lo[:, None],
    hi[:, None])`` the scores (m, L) of a label grid. Crossed quantiles (``lo > hi``) are allowed: they only mean
    that the label set at this score can be empty.
    """
    y, lo, hi = as_finite_array(y, "y"), as_finite_array(lo, "lo"), as_finite_array(hi, "hi")
    if lo.shape != hi.shape:
        raise ValueError(f"lo and hi must have the same shape, got {lo.shape} and {hi.shape}.")
    if 0 not in (y.ndim, lo.ndim) and (y.ndim != lo.ndim or (y.ndim == 1 and y.shape != lo.shape)):
        raise ValueError(
            f"y of shape {y.shape} does not match a band of shape {lo.shape}; "
            f"for a label grid pass y[None, :], lo[:, None] and hi[:, None]."
        )
    try:
        return np.maximum(lo - y, y - hi)
    except ValueError:
        raise ValueError(f"y of shape {y.shape} does not broadcast against a band of shape {lo.shape}.") from None


def true_label(scores: Any, y: Any) -> np.ndarray:
    """Column ``y_i`` of row ``i``: the score of the label that occurred. (m, K), (m,) integers -> (m,)."""
    array = as_array(scores, "scores", ndim=2)
    labels = as_finite_array(y, "y", ndim=1)
    if len(labels) != len(array):
        raise ValueError(f"y must have one label per row of scores, got {len(labels)} labels for {len(array)} rows.")
    index = labels.astype(np.intp)
    if (index != labels).any():
        raise ValueError(f"y must hold whole label numbers, got {float(labels[index != labels][0])!r}.")
    if index.min() < 0 or index.max() >= array.shape[1]:
        raise ValueError(
            f"y must be in [0, {array.shape[1] - 1}] for {array.shape[1]} classes, got {index.min()} to {index.max()}; "
            f"encode the labels first."
        )
    return array[np.arange(len(array)), index]


def interval_size(lo: Any, hi: Any, tau: Any) -> np.ndarray:
    """Length of ``[lo - tau, hi + tau]``, i.e. ``max(hi - lo + 2 tau, 0)``: never negative.

    The arguments broadcast. A threshold below minus half the band leaves the empty set, whose size is 0.
    """
    lo, hi, tau = as_finite_array(lo, "lo"), as_finite_array(hi, "hi"), as_array(tau, "tau")
    return np.maximum(hi - lo + 2.0 * tau, 0.0)


def set_size(mask: Any) -> np.ndarray:
    """Number of labels in each set: boolean membership (..., K) -> integers (...), e.g. of ``scores <= tau``."""
    mask = as_host_array(mask, "mask")
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean (scores <= tau), got dtype {mask.dtype}.")
    if mask.ndim == 0 or mask.shape[-1] == 0:
        raise ValueError(f"mask must have a last axis of labels, got shape {mask.shape}.")
    return np.count_nonzero(mask, axis=-1)


def _same_shape(y: Any, y_hat: Any) -> tuple[np.ndarray, np.ndarray]:
    y, y_hat = as_finite_array(y, "y"), as_finite_array(y_hat, "y_hat")
    if y.shape != y_hat.shape:
        raise ValueError(f"y and y_hat must have the same shape, got {y.shape} and {y_hat.shape}.")
    return y, y_hat


def _power(p: float) -> float:
    return as_float(p, "p", minimum=0.0, maximum=np.inf, open_ends=True)


def _probabilities(probs: Any) -> np.ndarray:
    p = as_finite_array(probs, "probs", ndim=2)
    if (p < -1e-6).any() or (p > 1 + SUM_TOLERANCE).any():
        raise ValueError(f"probs must be in [0, 1], got values from {p.min():g} to {p.max():g}; apply softmax first.")
    off = np.abs(p.sum(axis=1) - 1.0)
    if off.max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(
            f"each row of probs must sum to 1 (within {SUM_TOLERANCE:g}), row {row} sums to {p[row].sum():.6g}; "
            f"normalise it first."
        )
    return np.clip(p, 0.0, 1.0)


def class_table(probs: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    """Scores (m, K) of every label under ``kind``: "zero_one", "lac" or "aps" (fresh uniforms from ``generator``)."""
    one_of(kind, "kind", ("zero_one", "lac", "aps"))
    if kind == "aps":
        return aps(probs, as_numpy_generator(generator).random(np.shape(probs)))
    return lac(probs) if kind == "lac" else zero_one(probs)
