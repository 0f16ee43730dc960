"""Calibration metrics against a slow loop, closed forms and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.calibration import (
    bootstrap_ci,
    brier_decomposition,
    brier_score,
    ece_positive,
    ece_top_label,
    expected_calibration_error,
    reliability_curve,
    top_label,
)

steady = settings(derandomize=True, deadline=None)
# Values on a grid of 1/40 hit the bin edges (multiples of 1/10, 1/8, ...) often: where conventions differ.
CASES = st.lists(st.tuples(st.integers(0, 40).map(lambda k: k / 40), st.booleans()), min_size=1, max_size=30)
BINS = st.sampled_from([1, 2, 5, 8, 10])
CLOSED = st.sampled_from(["left", "right"])
NORM = st.sampled_from(["l1", "l2", "max"])


def slow_bins(conf, edges, closed):
    """The definition, case by case: [lo, hi) and a closed last bin, or (lo, hi] and a closed first one."""
    bins = [[] for _ in range(len(edges) - 1)]
    for i, c in enumerate(conf):
        inside = [
            b
            for b in range(len(bins))
            if ((edges[b] <= c < edges[b + 1] or (b == len(bins) - 1 and c == edges[-1])) and closed == "left")
            or ((edges[b] < c <= edges[b + 1] or (b == 0 and c == edges[0])) and closed == "right")
        ]
        assert len(inside) == 1, "every confidence belongs to exactly one bin"
        bins[inside[0]].append(i)
    return bins


def slow_ece(conf, correct, n_bins, norm, closed):
    gaps, weights = [], []
    for members in slow_bins(conf, [k / n_bins for k in range(n_bins + 1)], closed):
        if members:
            mean = math.fsum(conf[i] for i in members) / len(members)
            right = sum(correct[i] for i in members) / len(members)
            gaps.append(abs(mean - right))
            weights.append(len(members) / len(conf))
    if norm == "l1":
        return math.fsum(g * w for g, w in zip(gaps, weights, strict=True))
    if norm == "l2":
        return math.sqrt(math.fsum(g * g * w for g, w in zip(gaps, weights, strict=True)))
    return max(gaps)


@steady
@given(CASES, BINS, NORM, CLOSED)
def test_the_error_equals_a_slow_loop_over_cases_also_on_bin_edges(cases, n_bins, norm, closed):
    conf, correct = zip(*cases, strict=True)
    found = expected_calibration_error(conf, correct, n_bins, norm=norm, closed=closed)
    assert found == pytest.approx(slow_ece(conf, correct, n_bins, norm, closed), abs=1e-12)  # 30 float64 terms


def test_confidences_of_exactly_one_and_zero_are_never_dropped():
    # The official code's bins [lo, hi) lose 1.0; then this would be 0.
    for closed in ("left", "right"):
        assert expected_calibration_error([1.0] * 4, [0, 0, 0, 1], closed=closed) == pytest.approx(0.75)
        assert expected_calibration_error([0.0] * 4, [0, 0, 0, 1], closed=closed) == pytest.approx(0.25)
        assert reliability_curve([0.0, 1.0], [0, 1], closed=closed).count.sum() == 2


@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("n_bins", [1, 7, 10, 15, 1000])
def test_bins_next_to_an_edge_are_those_of_a_search(n_bins, closed):
    """A confidence one rounding off an edge, beside many that are not: more than one block of them."""
    edges = np.arange(n_bins + 1) / n_bins
    near = np.concatenate([edges, np.nextafter(edges, -1), np.nextafter(edges, 2)]).clip(0, 1)
    conf = np.concatenate([np.random.default_rng(0).random(40_000), near])
    curve = reliability_curve(conf, np.zeros(len(conf)), n_bins, closed=closed)
    side = "right" if closed == "left" else "left"
    place = np.clip(np.searchsorted(edges, conf, side=side) - 1, 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins)
    assert (curve.count == count[count > 0]).all()
    mean = np.bincount(place, conf, minlength=n_bins)[count > 0] / count[count > 0]
    np.testing.assert_allclose(curve.confidence, mean, rtol=1e-13)  # ours is a sum of two blocks' sums


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int64, np.uint64, np.float32])
def test_outcomes_of_any_type_give_the_same_curve(kind):
    """Counted by whole numbers, in more than one block; the share correct is a quotient of two counts."""
    rng = np.random.default_rng(0)
    conf, right = rng.random(40_000), rng.random(40_000) < 0.3
    wanted = reliability_curve(conf, right.astype(float))
    found = reliability_curve(conf, right.astype(kind))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    place = np.minimum((conf * 10).astype(int), 9)
    assert found.accuracy.tolist() == [right[place == b].sum() / (place == b).sum() for b in range(10)]
    assert brier_score(conf, right.astype(kind)) == brier_score(conf, right.astype(float))


@pytest.mark.parametrize("where", [0, 20_000, 39_999])
def test_one_bad_number_among_many_good_ones_is_refused(where):
    conf, right = np.full(40_000, 0.5), np.ones(40_000, np.int64)
    for bad, message in ((math.nan, "NaN"), (math.inf, "infinite"), (1.01, "not logits"), (-0.01, "not logits")):
        wrong = conf.copy()
        wrong[where] = bad
        with pytest.raises(ValueError, match=message):
            ece_positive(wrong, right)
    for bad in (-1, 2):
        wrong = right.copy()
        wrong[where] = bad
        with pytest.raises(ValueError, match="0/1"):
            ece_positive(conf, wrong)


def test_the_closed_side_decides_where_an_edge_belongs():
    left = reliability_curve([0.5, 0.6], [1, 0], 2, closed="left")
    right = reliability_curve([0.5, 0.6], [1, 0], 2, closed="right")
    assert left.count.tolist() == [2] and left.lower.tolist() == [0.5]
    assert right.count.tolist() == [1, 1] and right.upper.tolist() == [0.5, 1.0]


@steady
@given(CASES, BINS, CLOSED, st.sampled_from(["uniform", "quantile"]))
def test_norms_are_ordered_and_bounded(cases, n_bins, closed, binning):
    conf, correct = zip(*cases, strict=True)
    l1, l2, worst = (
        expected_calibration_error(conf, correct, n_bins, norm=n, closed=closed, binning=binning)
        for n in ("l1", "l2", "max")
    )
    assert 0 <= l1 <= l2 + 1e-12 and l2 <= worst + 1e-12 and worst <= 1


@steady
@given(CASES, BINS, NORM, st.randoms(use_true_random=False))
def test_the_order_of_cases_does_not_matter(cases, n_bins, norm, shuffler):
    mixed = list(cases)
    shuffler.shuffle(mixed)
    a, b = (expected_calibration_error(*zip(*c, strict=True), n_bins, norm=norm) for c in (cases, mixed))
    assert a == pytest.approx(b, abs=1e-12)


@steady
@given(CASES)
def test_one_bin_gives_the_gap_of_the_means(cases):
    conf, correct = zip(*cases, strict=True)
    expected = abs(np.mean(conf) - np.mean(correct))
    for norm in ("l1", "l2", "max"):
        for binning in ("uniform", "quantile"):
            found = expected_calibration_error(conf, correct, 1, norm=norm, binning=binning)
            assert found == pytest.approx(expected, abs=1e-12)


@steady
@given(st.integers(0, 40), st.lists(st.booleans(), min_size=1, max_size=20), NORM, BINS)
def test_constant_confidence_gives_its_distance_to_the_share_correct(k, correct, norm, n_bins):
    found = expected_calibration_error([k / 40] * len(correct), correct, n_bins, norm=norm)
    assert found == pytest.approx(abs(k / 40 - np.mean(correct)), abs=1e-12)


def test_perfectly_calibrated_bins_give_zero():
    conf = np.repeat([0.25, 0.5, 0.75], 4)
    correct = [1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]
    for norm in ("l1", "l2", "max"):
        assert expected_calibration_error(conf, correct, norm=norm) == 0.0


def test_quantile_bins_have_equal_counts_and_keep_equal_values_together():
    rng = np.random.default_rng(0)
    conf = rng.random(1000) ** 4
    curve = reliability_curve(conf, rng.random(1000) < conf, 10, binning="quantile")
    assert curve.count.sum() == 1000 and set(curve.count.tolist()) <= {99, 100, 101}
    # Tied values fill several quantiles; they are never split, and the closed side says what joins them.
    tied = {c: reliability_curve([0.3] * 50 + [0.9], [1] * 51, 5, "quantile", c) for c in ("left", "right")}
    assert tied["left"].count.tolist() == [51] and tied["right"].count.tolist() == [50, 1]


def test_the_curve_leaves_out_empty_bins_and_holds_the_bins_means():
    curve = reliability_curve([0.1, 0.15, 0.92], [0, 1, 1], 10)
    np.testing.assert_allclose(curve.lower, [0.1, 0.9])
    np.testing.assert_allclose(curve.upper, [0.2, 1.0])
    np.testing.assert_allclose(curve.confidence, [0.125, 0.92])
    np.testing.assert_allclose(curve.accuracy, [0.5, 1.0])
    assert curve.count.tolist() == [2, 1]


def test_top_label_of_a_yes_probability_and_of_class_probabilities():
    conf, decision = top_label([0.2, 0.5, 0.9])
    np.testing.assert_allclose(conf, [0.8, 0.5, 0.9])
    assert decision.tolist() == [0, 1, 1]
    conf, decision = top_label([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    np.testing.assert_allclose(conf, [0.5, 0.4])
    assert decision.tolist() == [1, 0]


def test_top_label_error_and_positive_class_error_are_two_different_numbers():
    # 100 cases told "no" with 0.9, all in truth "no": the decision is always right (told 0.9),
    # "yes" never happens (told 0.1): both gaps 0.1. With 20 confident errors they part.
    p = [0.1] * 80 + [0.9] * 20
    y = [0] * 80 + [0] * 20
    assert ece_top_label(p, y) == pytest.approx(abs(0.9 - 0.8))
    assert ece_positive(p, y) == pytest.approx(0.8 * 0.1 + 0.2 * 0.9)


@steady
@given(CASES)
def test_top_label_error_does_not_change_when_yes_and_no_are_renamed(cases):
    p, y = (np.array(v, dtype=float) for v in zip(*cases, strict=True))
    keep = p != 0.5  # there the decision is a matter of convention
    if keep.any():
        p, y = p[keep], y[keep]
        assert ece_top_label(p, y) == pytest.approx(ece_top_label(1 - p, 1 - y), abs=1e-12)


def test_two_class_columns_give_the_same_top_label_error_as_the_yes_column():
    rng = np.random.default_rng(1)
    p = rng.random(200)
    y = (rng.random(200) < p).astype(int)
    assert ece_top_label(np.stack([1 - p, p], axis=1), y) == pytest.approx(ece_top_label(p, y), abs=1e-12)


def test_a_calibrated_forecaster_has_small_error_and_an_overconfident_one_a_known_error():
    # 40,000 cases in 10 bins: each gap has standard error below 0.5 / sqrt(4000) = 0.008, the mean |gap| is 0.006.
    rng = np.random.default_rng(2)
    p = rng.random(40_000)
    assert ece_positive(p, rng.random(40_000) < p) < 0.015
    told = np.where(p > 0.5, 1.0, 0.0)  # sure of everything: wrong with probability min(p, 1-p), mean 1/4
    assert ece_top_label(told, rng.random(40_000) < p) == pytest.approx(0.25, abs=5 * 0.433 / 200)


def test_the_brier_score_has_its_worked_values():
    assert brier_score([1.0, 0.0], [1, 0]) == 0.0
    assert brier_score([0.0, 1.0], [1, 0]) == 1.0
    assert brier_score([0.5, 0.5, 0.8], [1, 0, 1]) == pytest.approx((0.25 + 0.25 + 0.04) / 3)


@steady
@given(CASES, BINS, CLOSED, st.sampled_from(["uniform", "quantile"]))
def test_reliability_minus_resolution_plus_uncertainty_is_the_binned_brier_score(cases, n_bins, closed, binning):
    p, y = zip(*cases, strict=True)
    parts = brier_decomposition(p, y, n_bins, binning, closed)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(parts.binned, abs=1e-12)
    assert parts.reliability >= 0 and parts.resolution >= 0 and 0 <= parts.uncertainty <= 0.25


@steady
@given(st.lists(st.tuples(st.sampled_from([0.05, 0.35, 0.65, 0.95]), st.booleans()), min_size=1, max_size=30))
def test_with_one_forecast_value_a_bin_the_binned_score_is_the_brier_score(cases):
    p, y = zip(*cases, strict=True)
    assert brier_decomposition(p, y).binned == pytest.approx(brier_score(p, y), abs=1e-12)


def test_the_bootstrap_interval_covers_as_often_as_it_says():
    # 300 data sets of 60 coin flips: the 80% percentile interval of a mean covers about 80% (binomial
    # discreteness and the percentile method cost a little). Standard error 2.3%; the bounds are 4 of them wide.
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        data = rng.random(60) < 0.4
        interval = bootstrap_ci(np.mean, data, rng=rng, level=0.8, resamples=200)
        assert interval.low <= interval.estimate <= interval.high
        hits += interval.low <= 0.4 <= interval.high
    assert 0.70 < hits / 300 < 0.90


def test_the_bootstrap_matches_the_normal_interval_of_a_mean():
    rng = np.random.default_rng(4)
    data = rng.normal(size=2000)
    interval = bootstrap_ci(np.mean, data, rng=rng, resamples=4000)
    half = 1.96 * data.std() / math.sqrt(2000)
    # Quantiles of 4000 resamples: standard error of an end is about 0.05 half-widths.
    assert interval.low == pytest.approx(data.mean() - half, abs=0.25 * half)
    assert interval.high == pytest.approx(data.mean() + half, abs=0.25 * half)
    assert interval.estimate == data.mean()


def test_resampling_keeps_columns_together_and_repeats_with_the_seed():
    p = np.linspace(0, 1, 50)
    y = (p > 0.5).astype(float)
    perfect = lambda a, b: float(np.mean((a > 0.5) == b))
    interval = bootstrap_ci(perfect, p, y, rng=np.random.default_rng(0), resamples=50)
    assert interval == (1.0, 1.0, 1.0)
    one, two = (bootstrap_ci(np.mean, p, rng=np.random.default_rng(7), resamples=50) for _ in range(2))
    assert one == two


def test_resampling_by_group_widens_the_interval_of_repeated_cases():
    # 40 groups of 25 identical cases carry 40 facts, not 1000: the interval must be about 5 times wider.
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(40), 25)
    data = rng.normal(size=40)[group]
    width = {}
    for by in (None, group):
        interval = bootstrap_ci(np.mean, data, rng=rng, resamples=800, by=by)
        width[by is None] = interval.high - interval.low
    assert 4 < width[False] / width[True] < 6.2


def test_groups_of_different_size_are_drawn_whole():
    group = np.array(["a", "b", "b", "b", "c", "c"])
    seen = []
    bootstrap_ci(
        lambda g: float(seen.append(tuple(g)) or 0), group, rng=np.random.default_rng(0), resamples=60, by=group
    )
    for sample in seen[:-1]:
        assert sample.count("b") % 3 == 0 and sample.count("c") % 2 == 0
        assert sample.count("a") + sample.count("b") / 3 + sample.count("c") / 2 == 3


@pytest.mark.parametrize(
    ("conf", "correct", "message"),
    [
        ([0.5, math.nan], [0, 1], "NaN"),
        ([0.5, math.inf], [0, 1], "infinite"),
        ([0.5, 1.2], [0, 1], r"\[0, 1\]"),
        ([0.5, -0.1], [0, 1], "not logits"),
        ([0.5, 0.6], [0], "one entry per confidence"),
        ([], [], "empty"),
        ([0.5, 0.6], [0, 2], "0/1"),
        ([0.5, 0.6], [0, math.nan], "NaN"),
        ([[0.5], [0.6]], [0, 1], "dimension"),
    ],
)
def test_bad_confidences_and_outcomes_are_refused(conf, correct, message):
    for kernel in (expected_calibration_error, reliability_curve, brier_score, brier_decomposition, ece_positive):
        with pytest.raises(ValueError, match=message):
            kernel(conf, correct)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"n_bins": 0}, ValueError),
        ({"n_bins": 2.5}, TypeError),
        ({"norm": "l3"}, ValueError),
        ({"binning": "equal"}, ValueError),
        ({"closed": "both"}, ValueError),
    ],
)
def test_bad_options_are_refused(options, error):
    with pytest.raises(error, match=next(iter(options))):
        expected_calibration_error([0.5], [1], **options)


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([[0.2, 0.9]], [1], "softmax"),
        ([[1.0]], [0], "at least 2 classes"),
        ([0.2, 0.7], [0, 2], "labels 0..1"),
        ([[0.2, 0.8]], [0, 1], "one label per case"),
        ([0.2, 1.7], [0, 1], r"\[0, 1\]"),
    ],
)
def test_bad_top_labels_are_refused(p, y, message):
    with pytest.raises(ValueError, match=message):
        ece_top_label(p, y)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ((), {}, "at least one column"),
        (([1, 2], [1]), {}, "common length"),
        (([],), {}, "common length"),
        (([1.0, 2.0],), {"by": [1]}, "common length"),
        (([1.0, 2.0],), {"by": [1, 1]}, "single group"),
        (([1.0, 2.0],), {"level": 1.0}, "level"),
        (([1.0, math.nan],), {}, "NaN"),
    ],
)
def test_a_bootstrap_of_nothing_is_refused(columns, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ci(lambda *c: float(np.mean(c[0])), *columns, rng=np.random.default_rng(0), **options)


def saturated(n=2000):
    rng = np.random.default_rng(6)
    p = np.clip(rng.random(n), 0.001, 0.999).astype(np.float32).astype(np.float64)
    return p, (rng.random(n) < p**2).astype(int)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_off_the_edges_it_equals_torchmetrics(norm):
    functional = pytest.importorskip(
        "torchmetrics.functional.classification", reason="torchmetrics lives in the benchmark environment"
    )
    torch = pytest.importorskip("torch")
    p, y = saturated()
    for n_bins in (7, 10, 15):
        theirs = functional.binary_calibration_error(torch.tensor(p), torch.tensor(y), n_bins=n_bins, norm=norm)
        assert ece_positive(p, y, n_bins, norm=norm) == pytest.approx(float(theirs), rel=1e-6)


def test_off_the_edges_it_equals_netcal():
    metrics = pytest.importorskip("netcal.metrics", reason="netcal lives in the benchmark environment")
    p, y = saturated()
    assert ece_positive(p, y, 10) == pytest.approx(float(metrics.ECE(10).measure(p, y)), rel=1e-6)
