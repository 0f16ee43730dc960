"""AUROC, temperature and risk-coverage of :mod:`workings.calibration`: slow definitions, closed forms, limits, bad input."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score

from workings.calibration import auroc, fit_temperature, risk_coverage
from workings.seeding import numpy_generator

steady = settings(derandomize=True, deadline=None)
CASES = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=30)  # few values: many ties


@steady
@given(CASES)
def test_auroc_is_the_share_of_pairs_with_ties_as_one_half(cases):
    scores, labels = zip(*cases, strict=True)
    assume(0 < sum(labels) < len(labels))
    pairs = [(a > b) + (a == b) / 2 for a, x in cases if x for b, y in cases if not y]
    assert auroc(scores, labels) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auroc(np.exp(scores), labels) == auroc(scores, labels)  # an increasing map
    assert auroc(-np.array(scores), labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_auroc_of_constant_and_of_infinite_scores():
    assert auroc([3.0] * 4, [0, 1, 1, 0]) == 0.5
    assert auroc([-math.inf, 0, math.inf], [0, 0, 1]) == 1.0


TINY, HUGE = np.nextafter(0, 1), np.finfo(float).max
TURNED = np.invert(np.array([-1.5]).view(np.int64)).view(np.float64)[0]  # its bits are those of -1.5, each turned
EDGES = (-math.inf, -HUGE, -1.5, -1.0, np.nextafter(-1, 0), -TINY, -0.0, 0.0, TINY, 1.0, np.nextafter(1, 2), TURNED, HUGE, math.inf)  # fmt: skip


@steady
@given(st.lists(st.tuples(st.sampled_from(EDGES), st.booleans()), min_size=2, max_size=20))
def test_auroc_orders_numbers_of_either_sign_as_numbers(cases):
    scores, labels = zip(*cases, strict=True)
    assume(0 < sum(labels) < len(labels))
    pairs = [(a > b) + (a == b) / 2 for a, x in cases if x for b, y in cases if not y]
    assert auroc(scores, labels) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@pytest.mark.parametrize("low", EDGES)
@pytest.mark.parametrize("high", EDGES)
def test_auroc_of_two_scores_is_their_order(low, high):
    assert auroc([low, high], [0, 1]) == (high > low) + (high == low) / 2


def test_auroc_leaves_the_scores_as_they_are():
    scores = np.array([-0.0, 0.5, -2.0])
    auroc(scores, [0, 1, 1])
    assert np.array_equal(scores.view(np.int64), np.array([-0.0, 0.5, -2.0]).view(np.int64))


def test_auroc_of_many_scores_equals_scikit_learn():
    rng = numpy_generator(0, "auroc")
    y = rng.integers(0, 2, 5000)
    scores = np.round(rng.normal(size=5000) + y, 2)  # ties
    assert auroc(scores, y) == pytest.approx(roc_auc_score(y, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [1, 1], "both classes"),
        ([0.1, 0.2], [0, 0], "both classes"),
        ([0.1, np.nan], [0, 1], "NaN"),
        ([0.1], [0, 1], "one entry per"),
        ([0.1, 0.2], [0, 2], "0/1"),
        ([], [], "empty"),
    ],
)
def test_auroc_refuses_what_ranks_nothing(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        auroc(scores, labels)


def nll(z, y, t):
    return float(np.mean(np.logaddexp(0, np.where(y == 1, -z, z) / t)))


def drawn(n=400, seed=0):
    rng = numpy_generator(seed, "temperature")
    z = rng.normal(0.5, 2, n)
    return z, (rng.random(n) < 1 / (1 + np.exp(-z / 1.7))).astype(float)


def test_the_temperature_is_the_minimum_and_scales_with_the_logits():
    z, y = drawn()
    found = fit_temperature(z, y)
    slow = minimize_scalar(lambda t: nll(z, y, math.exp(t)), bounds=(-3, 3), method="bounded", options={"xatol": 1e-12})
    assert found.temperature == pytest.approx(math.exp(slow.x), rel=1e-6)
    assert abs(found.gradient) < 1e-8 and not found.at_infinity and not found.at_zero
    assert found.nll == pytest.approx(nll(z, y, found.temperature), abs=1e-12)
    assert found.nll_at_1 == pytest.approx(nll(z, y, 1.0), abs=1e-12) and found.nll <= found.nll_at_1
    for scale in (1e-6, 0.3, 40.0, 1e9):
        assert fit_temperature(scale * z, y).temperature == pytest.approx(scale * found.temperature, rel=1e-9)


def test_two_classes_as_columns_are_the_log_odds():
    z, y = drawn()
    columns = np.stack([np.zeros_like(z), z], axis=1) + numpy_generator(1, "shift").normal(size=(len(z), 1))
    assert fit_temperature(columns, y).temperature == pytest.approx(fit_temperature(z, y).temperature, rel=1e-9)


def test_three_classes_against_a_slow_search():
    rng = numpy_generator(2, "temperature")
    z = rng.normal(size=(300, 3)) * 3
    p = np.exp(z / 2.5) / np.exp(z / 2.5).sum(axis=1, keepdims=True)
    y = (rng.random((300, 1)) > p.cumsum(axis=1)).sum(axis=1)
    loss = lambda t: float(np.mean(np.log(np.exp(z / t).sum(axis=1)) - z[np.arange(300), y] / t))
    slow = minimize_scalar(lambda t: loss(math.exp(t)), bounds=(-2, 3), method="bounded", options={"xatol": 1e-12})
    found = fit_temperature(z, y)
    assert found.temperature == pytest.approx(math.exp(slow.x), rel=1e-6)
    assert found.nll == pytest.approx(loss(found.temperature), abs=1e-12)


def test_scores_that_say_the_opposite_or_nothing_have_no_finite_temperature():
    z, y = drawn()
    for logits in (-z, np.zeros_like(z)):
        found = fit_temperature(logits, y)
        assert found.at_infinity and found.temperature == math.inf
        assert found.nll == pytest.approx(math.log(2))
    assert fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0]).nll == pytest.approx(math.log(3))


def test_scores_that_separate_the_classes_want_temperature_zero():
    found = fit_temperature([-2.0, -1.0, 1.0, 3.0], [0, 0, 1, 1])
    assert found.at_zero and found.temperature == 0 and found.nll == 0


def test_huge_logits_do_not_overflow():
    z, y = drawn()
    assert fit_temperature(1e300 * z, y).temperature > 0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([0.1, math.inf], [0, 1], "infinite"),
        ([0.1, math.nan], [0, 1], "NaN"),
        ([0.1, 0.2], [0, 2], "0/1"),
        ([[0.1, 0.2]], [2], r"0\.\.1"),
        ([[0.1], [0.2]], [0, 0], "at least 2 classes"),
        ([[0.1, 0.2]], [0, 1], "one per row"),
    ],
)
def test_what_has_no_temperature_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, labels)


@steady
@given(CASES)
def test_risk_and_coverage_case_by_case(cases):
    conf, correct = (np.array(column, dtype=float) for column in zip(*cases, strict=True))
    curve = risk_coverage(conf, correct)
    thresholds = sorted(set(conf), reverse=True)
    expected = [(float((conf >= t).mean()), 1 - float(correct[conf >= t].mean())) for t in thresholds]
    assert curve.coverage == pytest.approx([c for c, _ in expected], abs=1e-12)
    assert curve.risk == pytest.approx([r for _, r in expected], abs=1e-12)
    weights = np.diff(curve.coverage, prepend=0)
    assert curve.area == pytest.approx(float(weights @ curve.risk), abs=1e-12)
    assert curve.risk[-1] == pytest.approx(1 - correct.mean(), abs=1e-12)
    order = numpy_generator(0, "order").permutation(len(conf))
    again = risk_coverage(conf[order], correct[order])
    assert again.area == pytest.approx(curve.area, abs=1e-12)


def test_a_perfect_order_has_the_least_area():
    perfect = risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0])
    assert perfect.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2]) and perfect.area == pytest.approx(5 / 24)
    with pytest.raises(ValueError, match="one entry per"):
        risk_coverage([0.5], [1, 0])
