"""Episodes of a wanted difficulty by importance weights: proposal, five targets, weights, effective sample size.

Arnold, Dhillon, Ravichandran and Soatto, arXiv 2108.01662, and the authors' code. A difficulty is standardised, ``z``, and
taken to come from a standard normal cut off at ``-a`` and ``a``; training uses the weight target(z) / proposal(z).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erfi, ndtr

from workings.checks import as_array, as_finite_array, as_float, as_int, one_of

TARGETS = ("regular", "uniform", "easy", "hard", "curriculum")
OUTSIDE = ("one", "zero")
NORMALISATIONS = ("ess", "sum", "mean")
A = 2.58
"""Half-width of the interval in standard deviations, as in the authors' code: 99% of a normal lies inside."""
SMALL = 1e-3
"""A density below this counts as zero in the authors' code."""


def truncated_normal_pdf(z: Any, loc: float = 0.0, a: float = A) -> np.ndarray:
    """Density at ``z`` (any shape) of a normal with mean ``loc`` and variance 1, cut off at ``-a`` and ``a``; 0 outside.

    ``scipy.stats.truncnorm(-a - loc, a - loc, loc).pdf``. Raises ``ValueError`` for NaN, ``a <= 0`` or a ``loc`` so far
    out that the interval has no mass in double precision.
    """
    z, a = as_array(z, "z"), as_float(a, "a", minimum=0.0, open_ends=True)
    loc = as_float(loc, "loc")
    mass = _mass(loc, a)
    if mass < 1e-300:
        raise ValueError(f"loc must be near [-a, a] = [{-a:g}, {a:g}], got {loc!r}: the interval has no mass there.")
    density = np.exp(-0.5 * (np.clip(z, -a, a) - loc) ** 2) / math.sqrt(2 * math.pi) / mass
    return np.where(np.abs(z) <= a, density, 0.0)


def target_pdf(z: Any, target: str, progress: float | None = None, a: float = A) -> np.ndarray:
    """Density of a target at standardised difficulties ``z`` (any shape); all of it lies on ``[-a, a]``.

    "regular" is the proposal itself; "uniform" is flat; "easy" is flat on ``[-a, 0]`` and "hard" on ``[0, a]``;
    "curriculum" is a truncated normal whose mean runs from ``-a`` to ``a`` as ``progress`` (only for it) goes from 0 to 1.

    Raises ``ValueError`` for an unknown target, NaN, and a progress that is missing, unwanted or outside [0, 1].
    """
    one_of(target, "target", TARGETS)
    z, a = as_array(z, "z"), as_float(a, "a", minimum=0.0, open_ends=True)
    if target in ("regular", "curriculum"):
        return truncated_normal_pdf(z, curriculum_mean(target, progress, a), a)
    _progress(target, progress)
    low, high = {"uniform": (-a, a), "easy": (-a, 0.0), "hard": (0.0, a)}[target]
    return np.where((z >= low) & (z <= high), 1.0 / (high - low), 0.0)


def curriculum_mean(target: str, progress: float | None = None, a: float = A) -> float:
    """Mean of the normal behind a target: 0 for "regular", ``(2 progress - 1) a`` for "curriculum"."""
    one_of(target, "target", ("regular", "curriculum"))
    share = _progress(target, progress)
    return 0.0 if share is None else (2.0 * share - 1.0) * as_float(a, "a", minimum=0.0, open_ends=True)


def importance_weight(
    z: Any, target: str, progress: float | None = None, outside: str = "one", a: float = A
) -> np.ndarray:
    """Importance weights target(z) / proposal(z) of standardised difficulties ``z``: float64, same shape, at least 0.

    ``outside`` says what an episode with ``|z| > a`` gets. "one" is the rule of the authors' code: weight 1 wherever
    both densities are below 0.001, target / (proposal + 0.001) where only the proposal is. With ``a = 2.58`` that means
    weight 1 outside *under every target*, and the plain ratio inside. "zero" is what the mathematics says: 0 outside.

    Raises ``ValueError`` as :func:`target_pdf` does, and for another ``outside``.
    """
    one_of(outside, "outside", OUTSIDE)
    z = as_array(z, "z")
    p, q = target_pdf(z, target, progress, a), truncated_normal_pdf(z, 0.0, a)
    if outside == "zero":
        return np.divide(p, q, out=np.zeros_like(z), where=q > 0)
    ratio = np.divide(p, q, out=np.ones_like(z), where=q >= SMALL)
    return np.where((q < SMALL) & (p >= SMALL), p / (q + SMALL), ratio)


def effective_sample_size(weights: Any) -> np.ndarray:
    """Effective sample size ``(sum w)^2 / sum w^2`` along the last axis: (..., n) to (...).

    Between 1 and n, the same for any positive multiple of the weights; 0 where all of them are 0. Raises ``ValueError``
    for a negative, infinite or missing weight.
    """
    w = _weights(weights)
    largest = w.max(axis=-1, keepdims=True)
    w = np.divide(w, largest, out=np.zeros_like(w), where=largest > 0)  # no overflow of the squares
    squares = (w**2).sum(axis=-1)
    return np.divide(w.sum(axis=-1) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)


def ess_fraction(target: str, progress: float | None = None, a: float = A) -> float:
    """Share of a large sample from the proposal that the weights leave effective: ``1 / integral of p^2 / q``.

    In closed form, with the rule "zero" outside. For "uniform" it is
    ``4 a^2 / (2 pi erf(a / sqrt 2) erfi(a / sqrt 2))``; "easy" and "hard" have half of it; for "curriculum" with mean m it is
    ``Z_m^2 exp(-m^2) / (Z_0 (Phi(a - 2m) - Phi(-a - 2m)))``, where Z_m is the mass of the normal with mean m on [-a, a].
    """
    one_of(target, "target", TARGETS)
    a = as_float(a, "a", minimum=0.0, maximum=30.0, open_ends=True)
    if target in ("regular", "curriculum"):
        m = curriculum_mean(target, progress, a)
        return float(_mass(m, a) ** 2 * math.exp(-m * m) / (_mass(0.0, a) * _mass(2 * m, a)))
    _progress(target, progress)
    flat = 4 * a * a / (2 * math.pi * _mass(0.0, a) * float(erfi(a / math.sqrt(2))))
    return flat if target == "uniform" else flat / 2


def normalising_factor(weights: Any, normalise: str = "ess") -> float:
    """The number by which ``sum_i w_i grad_i`` is multiplied in a batch of B episodes with ``weights`` (B,).

    "ess": ``sum w^2 / (sum w)^2``, one over the effective sample size (the authors' code); "sum": ``1 / sum w``, the
    self-normalised estimate; "mean": ``1 / B``, the unbiased one. Where all weights are 0, so is the gradient, and
    "ess" and "sum" give 1. Raises ``ValueError`` for a negative or infinite weight and an unknown name.
    """
    one_of(normalise, "normalise", NORMALISATIONS)
    w = _weights(weights, ndim=1)
    if normalise == "mean":
        return 1.0 / len(w)
    total = float(w.sum())
    if total == 0.0:
        return 1.0
    return 1.0 / total if normalise == "sum" else 1.0 / float(effective_sample_size(w))


class DifficultyStats:
    """Mean and variance of the difficulty, measured once ("offline") or tracked during training ("online").

    "offline": :meth:`fit` on the difficulties that a frozen, pre-trained model gives to many episodes; variance with
    n - 1. "online": :meth:`update` with the loss of each training episode, an exponential moving average. The first value v
    is the mean. Each later one moves, with momentum b, first the variance, ``b variance + (1 - b)(v - mean)^2`` around the
    old mean (the second value sets it to ``(v - mean)^2``), and then the mean, ``b mean + (1 - b) v``. :meth:`weigh` gives
    the importance weights, each from the statistics *before* the episode is taken in.

    ``warmup`` is the number of episodes (not iterations) that get weight 1 at the start of "online". Attributes:
    ``mean`` and ``variance`` (None until known), ``seen`` (episodes).
    """

    def __init__(self, mode: str, *, momentum: float = 0.9, warmup: int = 0):
        self.mode = one_of(mode, "mode", ("offline", "online"))
        self.momentum = as_float(momentum, "momentum", minimum=0.0, maximum=1.0)
        self.warmup = as_int(warmup, "warmup", minimum=0)
        if self.momentum == 1.0:
            raise ValueError("momentum must be below 1, got 1.0: the mean would never move.")
        self.mean: float | None = None
        self.variance: float | None = None
        self.seen = 0

    def fit(self, difficulties: Any) -> DifficultyStats:
        """Set mean and variance (n - 1) from difficulties (n,), n >= 2, of one frozen model. For "offline" only."""
        self._only("offline", "fit", "update")
        x = as_finite_array(difficulties, "difficulties", ndim=1)
        if len(x) < 2:
            raise ValueError(f"difficulties needs at least 2 values for a variance, got {len(x)}.")
        self.mean, self.variance, self.seen = float(x.mean()), float(x.var(ddof=1)), len(x)
        return self

    def update(self, difficulties: Any) -> DifficultyStats:
        """Take in difficulties, a number or (n,), in their order. For "online" only."""
        self._only("online", "update", "fit")
        for value in np.atleast_1d(as_finite_array(difficulties, "difficulties", ndim=(0, 1))).tolist():
            self._take(value)
        return self

    def standardise(self, difficulties: Any) -> np.ndarray:
        """``z = (difficulty - mean) / sd``, same shape. All 0 while the variance is 0 (a constant stream).

        Raises ``ValueError`` before the variance is known: call :meth:`fit`, or :meth:`update` with two values.
        """
        if self.variance is None:
            need = "call fit first" if self.mode == "offline" else "update with at least two difficulties first"
            raise ValueError(f"mean and variance of the difficulty are not known yet; {need}.")
        x = as_finite_array(difficulties, "difficulties")
        return (x - self.mean) / math.sqrt(self.variance) if self.variance > 0 else np.zeros_like(x)

    def weigh(
        self,
        difficulties: Any,
        target: str = "uniform",
        progress: float | None = None,
        outside: str = "one",
        a: float = A,
    ) -> np.ndarray:
        """Importance weights (n,) of episodes with the given difficulties (n,), as constants: no gradient.

        "online" weighs an episode, then takes it in, then goes to the next. The weight is 1 in the warm-up and while the
        variance is unknown or 0.
        """
        x = as_finite_array(difficulties, "difficulties", ndim=1)
        if self.mode == "offline":
            z = self.standardise(x)
            return importance_weight(z, target, progress, outside, a) if self.variance > 0 else np.ones_like(x)
        z, known = np.zeros_like(x), np.zeros(len(x), dtype=bool)
        for i, value in enumerate(x.tolist()):
            if self.variance and self.seen >= self.warmup:
                z[i], known[i] = (value - self.mean) / math.sqrt(self.variance), True
            self._take(value)
        return np.where(known, importance_weight(z, target, progress, outside, a), 1.0)

    def _take(self, value: float) -> None:
        keep = self.momentum
        if self.mean is None:
            self.mean = value
        else:
            square = (value - self.mean) ** 2  # from the old mean
            self.variance = square if self.variance is None else keep * self.variance + (1 - keep) * square
            self.mean = keep * self.mean + (1 - keep) * value
        self.seen += 1

    def _only(self, mode: str, name: str, other: str) -> None:
        if self.mode != mode:
            raise ValueError(f"{name} is for {mode!r} statistics, these are {self.mode!r}; call {other} instead.")


def _mass(loc: float, a: float) -> float:
    """Probability that a normal with mean ``loc`` and variance 1 lies in [-a, a], without cancellation in the tail."""
    loc = abs(loc)
    return float(ndtr(a - loc) - ndtr(-a - loc))


def _progress(target: str, progress: float | None) -> float | None:
    """The progress of "curriculum"; None for the others."""
    if target != "curriculum":
        if progress is not None:
            raise ValueError(
                f"progress is for the target 'curriculum' only, got {progress!r} with {target!r}; drop it."
            )
        return None
    if progress is None:
        raise ValueError("target 'curriculum' needs progress, the share of training episodes done, in [0, 1].")
    return as_float(progress, "progress", minimum=0.0, maximum=1.0)


def _weights(weights: Any, ndim: int | None = None) -> np.ndarray:
    w = as_finite_array(weights, "weights", ndim=ndim)
    if w.ndim == 0:
        raise ValueError("weights must have at least one dimension, got a single number; give one weight per episode.")
    if w.min() < 0:
        raise ValueError(f"weights must be at least 0, got {w.min():.6g}; they are ratios of densities.")
    return w
