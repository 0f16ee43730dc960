"""How disentangled is a code? Active latents, correlations, mutual information and the beta-VAE score.

Codes are (N, M), one row per observation and one column per latent; factors are (N, K) classes. Tensors on any
device and numpy arrays are accepted; results are numpy arrays or floats, computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from scipy.stats import rankdata

from workings.checks import as_finite_array, as_float, as_generator, as_int, as_tensor, check_tensor, one_of
from workings.disentangling.factor_grid import as_sizes, paired_factors


class FactorData(Protocol):
    """What the score asks of data: :class:`workings.disentangling.factor_grid.FactorGrid` is one."""

    sizes: tuple[int, ...]

    def observations(self, factors: torch.Tensor) -> Any: ...


class BetaVaeScore(NamedTuple):
    """Accuracy of the linear classifier on fresh points (``score``) and on its own training points."""

    score: float
    train_score: float


class MutualInformationGap(NamedTuple):
    """``mig`` is the mean of ``per_factor`` (K,); both in [0, 1]."""

    mig: float
    per_factor: np.ndarray


def kl_per_latent(kl: Any) -> np.ndarray:
    """Mean nats each latent carries, (M,), from ``kl`` (B, M) of a batch; (M,) means pass through.

    Raises ``ValueError`` for a negative KL (rounding of 1e-4 nats allowed), NaN or infinity.
    """
    kl = as_finite_array(kl, "kl", ndim=(1, 2))
    if kl.min() < -1e-4:
        raise ValueError(f"kl must not be negative, got {kl.min():g}; pass the KL itself, not a log-variance.")
    return kl.mean(axis=0) if kl.ndim == 2 else kl.copy()


ACTIVE = 0.1
"""Nats above which a latent counts as used: the mean of one below can follow a factor perfectly, a thousandth high."""


def active_units(kl: Any, threshold: float = ACTIVE) -> np.ndarray:
    """Which latents are used: (M,) bool, mean KL above ``threshold`` nats. ``kl`` (B, M) or its mean (M,)."""
    return kl_per_latent(kl) > as_float(threshold, "threshold", minimum=0.0)


def _codes_and_factors(codes: Any, factors: Any) -> tuple[np.ndarray, np.ndarray]:
    codes = as_finite_array(codes, "codes", ndim=2)
    factors = as_finite_array(factors, "factors", ndim=2)
    if len(codes) != len(factors):
        raise ValueError(f"codes and factors must have one row an observation, got {len(codes)} and {len(factors)}.")
    constant = np.flatnonzero((factors == factors[0]).all(axis=0))
    if len(constant):
        raise ValueError(f"factor(s) {constant.tolist()} never change, nothing can be told about them; leave them out.")
    return codes, factors


def _unit_columns(x: np.ndarray) -> np.ndarray:
    """Columns centred and scaled to length 1; a constant column becomes zero."""
    # The largest entry becomes 1: squares neither overflow nor vanish, and a constant column has a mean of exactly 1.
    x = x / np.maximum(np.abs(x).max(axis=0), np.finfo(np.float64).tiny)
    x = x - x.mean(axis=0)
    return x / np.maximum(np.linalg.norm(x, axis=0), np.finfo(np.float64).tiny)


def latent_factor_correlation(codes: Any, factors: Any, kind: str = "pearson") -> np.ndarray:
    """Correlation of every latent with every factor, (M, K) in [-1, 1]; a constant latent has correlation 0.

    ``codes`` (N, M), ``factors`` (N, K). ``kind="spearman"`` correlates ranks (ties share their mean rank), so any
    increasing curve counts as 1. Neither sees a relation without a trend, such as an angle and its cosine.
    Raises ``ValueError`` for different lengths, values that are not finite and a factor that never changes.
    """
    one_of(kind, "kind", ("pearson", "spearman"))
    codes, factors = _codes_and_factors(codes, factors)
    if kind == "spearman":
        codes, factors = rankdata(codes, axis=0), rankdata(factors, axis=0)
    return np.clip(_unit_columns(codes).T @ _unit_columns(factors), -1.0, 1.0)


def _gap(strength: np.ndarray, name: str) -> np.ndarray:
    """Largest minus second largest entry of each column."""
    if len(strength) < 2:
        raise ValueError(f"{name} must have at least 2 latents, got {len(strength)}; a gap needs a second best.")
    second, best = np.sort(strength, axis=0)[-2:]
    return best - second


def corr_gap(corr: Any) -> np.ndarray:
    """Best minus second best ``|corr|`` of each factor, (K,) in [0, 1], from ``corr`` (M, K), M >= 2."""
    return _gap(np.abs(as_finite_array(corr, "corr", ndim=2)), "corr")


def _binned(column: np.ndarray, bins: int) -> np.ndarray:
    """Bin 0 .. bins - 1 of each value; equal widths from minimum to maximum, the last bin closed."""
    edges = np.linspace(column.min(), column.max(), bins + 1)
    return np.clip(np.searchsorted(edges, column, side="right") - 1, 0, bins - 1)


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy in nats of the last axis of ``counts``."""
    p = counts / counts.sum(axis=-1, keepdims=True)
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)


def _information(codes: Any, factors: Any, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information (M, K) and the entropies of the factors (K,), in nats."""
    bins = as_int(bins, "bins", minimum=2)
    codes, factors = _codes_and_factors(codes, factors)
    if (factors != np.rint(factors)).any():
        raise ValueError(
            "factors must be discrete classes, got numbers with a fraction; pass classes (0, 1, 2, ...), not values."
        )
    labels = [np.unique(column, return_inverse=True)[1] for column in factors.T]
    entropies = np.array([_entropy(np.bincount(label)) for label in labels])
    information = np.zeros((codes.shape[1], len(labels)))
    for m, column in enumerate(codes.T):
        place = _binned(column, bins)
        for k, label in enumerate(labels):
            width = label.max() + 1
            joint = np.bincount(place * width + label, minlength=bins * width).reshape(bins, width)
            information[m, k] = _entropy(joint.sum(axis=1)) + entropies[k] - _entropy(joint.ravel())
    return np.clip(information, 0.0, entropies), entropies


def mutual_information(codes: Any, factors: Any, bins: int = 20) -> np.ndarray:
    """Mutual information in nats of every binned latent with every factor, (M, K), between 0 and the factor's entropy.

    ``codes`` (N, M) are cut into ``bins`` bins of equal width between each latent's minimum and maximum, as the
    histogram discretiser of disentanglement_lib does; ``factors`` (N, K) are classes. It is the plug-in estimate:
    for independent columns it is not 0 but about ``(bins - 1) (classes - 1) / (2 N)``.
    Raises ``ValueError`` for factors that are not classes or never change, different lengths, values not finite.
    """
    return _information(codes, factors, bins)[0]


def mutual_information_gap(codes: Any, factors: Any, bins: int = 20) -> MutualInformationGap:
    """Does one latent alone know each factor? ``(I_best - I_second) / H(factor)``, and its mean over the factors.

    Arguments and errors as :func:`mutual_information`; at least 2 latents. 1: one latent determines the factor and no
    other knows anything of it. 0: the best is matched by another (copies), or none knows anything. A factor with
    more classes than ``bins`` cannot reach 1 (32 equally likely classes in 20 bins: 0.85). Latents are taken one by one:
    a factor that needs two of them (an angle as cosine and sine) scores near 0, and one latent may hold several factors.
    Chen et al., arXiv 1802.04942, with binned posterior means, as disentanglement_lib computes it.
    """
    information, entropies = _information(codes, factors, bins)
    per_factor = _gap(information, "codes") / entropies
    return MutualInformationGap(float(per_factor.mean()), per_factor)


class _Reader:
    """Codes (n, M) float64 of factor vectors (n, K), encoded in batches, or looked up when encoded once for all."""

    def __init__(self, encode: Callable[[Any], Any], data: FactorData, sizes: tuple[int, ...], batch_size: int):
        self.encode, self.data, self.sizes, self.batch_size = encode, data, sizes, batch_size
        self.low = self.high = self.table = None

    def encode_once(self) -> None:
        cells = torch.arange(math.prod(self.sizes)).split(self.batch_size)
        self.table = torch.cat([self._encode(torch.stack(torch.unravel_index(c, self.sizes), -1)) for c in cells])

    def _encode(self, factors: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            codes = self.encode(self.data.observations(factors))
        if isinstance(codes, (tuple, list)):
            raise TypeError("encode must return the means only; pass for instance lambda x: vae.encode(x)[0].")
        codes = as_tensor(codes, "codes").detach().cpu().double()
        if codes.ndim != 2 or len(codes) != len(factors) or codes.shape[1] == 0:
            raise ValueError(f"encode must give ({len(factors)}, M) codes for this batch, got {tuple(codes.shape)}.")
        if not torch.isfinite(codes).all():
            raise ValueError("encode gave codes that are not finite; repair the model before scoring it.")
        low, high = codes.amin(0), codes.amax(0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        return codes

    def __call__(self, factors: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            return torch.cat([self._encode(batch) for batch in factors.split(self.batch_size)])
        cell = torch.zeros(len(factors), dtype=torch.int64, device=factors.device)
        for k, size in enumerate(self.sizes):
            cell = cell * size + factors[:, k]
        return self.table[cell.cpu()]

    def live(self) -> np.ndarray:
        """(M,) bool: the latent varies by more than float32 rounding of its own size."""
        return (self.high - self.low > 1e-6 * torch.maximum(self.low.abs(), self.high.abs())).numpy()


def _points(
    read: _Reader, fixable: torch.Tensor, n_points: int, n_pairs: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n_points, M), mean |difference| over each point's pairs, and labels (n_points,): the shared factor."""
    drawn = torch.randint(len(fixable), (n_points,), generator=generator, device=generator.device)
    shared = fixable.to(drawn.device)[drawn]
    total = None
    for start in range(0, n_points * n_pairs, read.batch_size):
        pair = torch.arange(start, min(start + read.batch_size, n_points * n_pairs), device=drawn.device)
        point = pair // n_pairs
        first, second = paired_factors(read.sizes, shared[point], len(pair), generator)
        distance = (read(first) - read(second)).abs_()
        total = distance.new_zeros(n_points, distance.shape[1]) if total is None else total
        total.index_add_(0, point.cpu(), distance)
    return (total / n_pairs).numpy(), shared.cpu().numpy()


def beta_vae_score(
    encode: Callable[[Any], Any],
    data: FactorData,
    *,
    n_pairs: int = 64,
    n_train: int = 10_000,
    n_eval: int = 5_000,
    generator: torch.Generator,
    factors: Sequence[int] | None = None,
    batch_size: int = 4096,
    encode_once: bool | None = None,
) -> BetaVaeScore:
    """Can a linear classifier tell which factor was held fixed? Accuracy on fresh points, in [0, 1], chance 1/K.

    One point: draw the factor y to fix, then ``n_pairs`` (the paper's L) pairs of observations that share the class of
    y and nothing else on purpose; the feature is the mean over pairs of ``|mu(x1) - mu(x2)|`` (M,). A multinomial logistic
    regression (scikit-learn, L2 with C = 1, lbfgs to a gradient of 1e-6) predicts y. This is the metric of Higgins et al.,
    ICLR 2017 (beta-VAE), with the constants of disentanglement_lib; that arXiv 1606.05579 words it the same way is not
    claimed.

    ``encode`` maps a batch of observations to posterior means (B, M); it must be in evaluation mode and treat each
    observation on its own. ``data`` has ``sizes`` and ``observations(factors)`` for classes 0 .. size - 1, (B, K).
    ``factors`` names those that may be held fixed (default: all with at least 2 classes). When the grid has fewer
    cells than the score would encode (``2 n_pairs (n_train + n_eval)``), each cell is encoded once and looked up, which
    changes nothing but the time; ``encode_once`` forces either way. Memory grows with ``batch_size`` and, when
    encoded once, by 8 M bytes a cell, not with the number of pairs.

    Features are standardised (mean and standard deviation over the training points), so that the score does not change
    when a latent is scaled, flipped or moved elsewhere in the code. disentanglement_lib leaves them as they are, and its
    L2 penalty then favours latents of large scale; for codes of scale about 1 the two agree within 0.02,
    for a rotated code ten times smaller it can give 0.1 less. Price: a
    collapsed latent whose tiny mean still depends on the image counts in full here. A latent that varies by less than a
    millionth of its size is dead and counts as 0.

    Know its limits. The score is about 1.0 for a code that copies its latents, for one that misses one factor (the
    others identify it by their absence), and for most rotations: x and y of one size rotated by 40 degrees still
    score 1.0 and only at 45, where both leave the same trace, fall to 1 - 1/K. More pairs raise it for an entangled code
    too, so compare scores of one ``n_pairs`` only. Read it beside :func:`mutual_information_gap`.

    Raises ``ValueError`` for fewer than 2 factors to fix, a factor without a training point, codes of a wrong shape or not
    finite; ``TypeError`` when ``encode`` returns (mean, log-variance).
    """
    from sklearn.linear_model import LogisticRegression

    n_pairs, n_train, n_eval, batch_size = (
        as_int(value, name, minimum=1)
        for value, name in ((n_pairs, "n_pairs"), (n_train, "n_train"), (n_eval, "n_eval"), (batch_size, "batch_size"))
    )
    as_generator(generator)
    sizes = as_sizes(data.sizes)
    fixable = [k for k, size in enumerate(sizes) if size > 1] if factors is None else list(factors)
    fixable = [as_int(k, "an entry of factors", minimum=0, maximum=len(sizes) - 1) for k in fixable]
    if len(fixable) < 2 or len(set(fixable)) < len(fixable):
        raise ValueError(f"the score needs at least 2 different factors to fix, got {fixable} of sizes {sizes}.")
    single = [k for k in fixable if sizes[k] == 1]
    if single:
        raise ValueError(f"factor(s) {single} have one class, so they are always shared; leave them out of factors.")
    read = _Reader(encode, data, sizes, batch_size)
    if encode_once is None:
        encode_once = math.prod(sizes) <= 2 * n_pairs * (n_train + n_eval)
    if encode_once:
        read.encode_once()
    choice = torch.tensor(fixable)
    train, train_label = _points(read, choice, n_train, n_pairs, generator)
    test, test_label = _points(read, choice, n_eval, n_pairs, generator)
    missing = sorted(set(fixable) - set(train_label.tolist()))
    if missing:
        raise ValueError(f"factor(s) {missing} were never drawn in {n_train} training points; raise n_train.")
    spread = train.std(axis=0)
    live = read.live() & (spread > 0)
    centre, scale = train.mean(axis=0), np.where(live, spread, 1.0)
    train, test = (np.where(live, (x - centre) / scale, 0.0) for x in (train, test))
    model = LogisticRegression(C=1.0, tol=1e-6, max_iter=5000).fit(train, train_label)
    return BetaVaeScore(float(model.score(test, test_label)), float(model.score(train, train_label)))


def linear_probe(codes: torch.Tensor, values: torch.Tensor, seen: torch.Tensor, degree: int = 1) -> np.ndarray:
    """RMS error of reading the factors off ``codes``, (2,): on the ``seen`` rows (N,) bool and on the others.

    A least-squares fit of ``values`` (N, K) on the seen rows from the codes (N, M), and with ``degree`` 2 from their
    squares and products too; errors in standard deviations of each factor over all rows, mean over factors.
    """
    check_tensor(codes, "codes")
    values, seen = check_tensor(values, "values", floating=False), check_tensor(seen, "seen", floating=False)
    if codes.dim() != 2 or values.dim() != 2 or len(values) != len(codes):
        raise ValueError(
            f"codes (N, M) and values (N, K) need as many rows, got {(*codes.shape,)} and {(*values.shape,)}."
        )
    if seen.shape != (len(codes),) or seen.dtype != torch.bool or not 1 < int(seen.sum()) < len(codes):
        raise ValueError(
            f"seen must be ({len(codes)},) bool with two rows seen and one not, got {seen.dtype} {(*seen.shape,)}."
        )
    if not bool(torch.isfinite(codes).all() and torch.isfinite(values).all()):
        raise ValueError("codes and values must be finite; drop or repair the other rows first.")
    codes, values = codes.detach().cpu(), values.detach().cpu().double()
    z = codes.double()
    z = (z - z[seen].mean(dim=0)) / z[seen].std(dim=0).clamp(min=1e-6)
    columns = [torch.ones(len(z), 1, dtype=z.dtype), z]
    if degree == 2:
        left, right = torch.triu_indices(z.shape[1], z.shape[1])
        columns.append(z[:, left] * z[:, right])
    x = torch.cat(columns, dim=1).numpy()
    y = ((values - values.mean(dim=0)) / values.std(dim=0)).numpy()
    keep = seen.cpu().numpy()
    wrong = (x @ np.linalg.lstsq(x[keep], y[keep], rcond=1e-8)[0] - y) ** 2
    return np.array([np.sqrt(wrong[rows].mean(axis=0)).mean() for rows in (keep, ~keep)])
