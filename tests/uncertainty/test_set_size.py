"""Expected set size: the exact formula, the plug-in estimators and their intervals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from workings.uncertainty import set_size as module
from workings.uncertainty.conformal import conformal_rank, conformal_threshold, threshold_exceedance
from workings.uncertainty.scores import (
    absolute_residual,
    cqr,
    interval_size,
    lac,
    residual_cum_factor,
    true_label,
    zero_one,
)
from workings.uncertainty.set_size import (
    SetSizeEstimate,
    dkw_radius,
    expected_set_size_discrete,
    expected_set_size_known,
    expected_set_size_unknown,
    min_sample_for_interval,
    staircase,
)
from workings.uncertainty.set_size_exact import expected_set_size_exact

# The same examples on every run, and no time limit: a busy machine is no counterexample.
steady = settings(derandomize=True, deadline=None)

TWICE = residual_cum_factor()  # Lambda(r) = 2r

# The half-normal toy: scores |N(0, 1)|, label space 2r below r, n = 200 calibration scores at alpha = 0.1.
TOY_N, TOY_ALPHA, TOY_TRUTH = 200, 0.1, 3.312041


def uniform_cdf(r):
    return np.clip(r, 0.0, 1.0)


def toy_scores(generator, m=TOY_N):
    return np.abs(generator.normal(size=m))


def two_classes(generator, m):
    """Points with p = (t, 1 - t), t uniform, and labels drawn from p: returns (m, 2) LAC scores and labels.

    The probability of the label drawn has density 2q, so the score R = 1 - q has G(r) = 1 - (1 - r)^2; the two labels
    together put label space 2r at scores up to r. Both ways of estimating the size therefore apply.
    """
    t = generator.random(m)
    scores = lac(np.stack([t, 1 - t], axis=1))
    return scores, (generator.random(m) > t).astype(int)


def two_class_cdf(r):
    return 1 - (1 - np.clip(r, 0, 1)) ** 2


def known_loop(scores, n, alpha, cum_factor, r_min, r_max, shift=0.0, strict=True):
    """The estimator written out as in the paper sheet, one cell at a time."""
    k, edges, total = conformal_rank(n, alpha), [r_min, *sorted(scores), r_max], 0.0
    for left, right in itertools.pairwise(edges):
        below = sum(r < right for r in scores) if strict else sum(r <= right for r in scores)
        G = min(max(below / len(scores) + shift, 0.0), 1.0)
        total += stats.binom.cdf(k - 1, n, G) * (cum_factor(right) - cum_factor(left))
    return float(total)


def unknown_cube(cal_scores, all_scores, n, alpha, shift=0.0):
    """The estimator as an (m', L, m) cube of comparisons, the way of the official code."""
    G = (cal_scores[None, None, :] < all_scores[:, :, None]).mean(axis=2)
    return float(threshold_exceedance(np.clip(G + shift, 0, 1), n, alpha).sum(axis=1).mean())


# --- radius and sample size ------------------------------------------------------------------------------------------


def test_dkw_radius_on_paper():
    assert dkw_radius(200, 2 / math.e**4) == pytest.approx(0.1)
    assert dkw_radius(150, 0.1) < 0.1 <= dkw_radius(149, 0.1)


def test_one_hundred_and_fifty_scores_are_needed_at_the_usual_levels():
    assert min_sample_for_interval(0.1, 0.1) == 150
    assert min_sample_for_interval("1/10", 0.1) == 150


@steady
@given(st.floats(0.01, 0.9), st.floats(0.001, 0.9))
def test_min_sample_is_the_first_whose_radius_is_below_alpha(alpha, gamma):
    m = min_sample_for_interval(alpha, gamma)
    assert dkw_radius(m, gamma) < alpha * (1 + 1e-12)
    assert m == 1 or dkw_radius(m - 1, gamma) > alpha * (1 - 1e-12)


@pytest.mark.parametrize(("m", "slope"), [(120, 2.0), (200, 0.0)])
def test_upper_end_follows_r_max_below_the_wall_and_ignores_it_above(m, slope):
    # At n = 10^5 the exceedance of the last cell, B(1 - delta), is 1 or 0 to within 1e-6 on either side of m = 150.
    scores = toy_scores(np.random.default_rng(0), m)
    upper = [expected_set_size_known(scores, 10**5, 0.1, TWICE, 0, r_max, gamma=0.1).upper for r_max in (10, 11)]
    assert upper[1] - upper[0] == pytest.approx(slope, abs=1e-5)


# --- exact expected size ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.5), (19, 0.1), (99, 0.1), (149, 0.18), (5000, 0.05)])
def test_exact_size_of_uniform_scores_is_twice_the_average_coverage(n, alpha):
    exact = expected_set_size_exact(uniform_cdf, n, alpha, TWICE, 0, 1)
    assert exact == pytest.approx(2 * conformal_rank(n, alpha) / (n + 1), rel=1e-10)


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.1), (19, 0.3), (99, 0.1), (10_000, 0.1)])
def test_exact_size_of_exponential_scores_is_a_harmonic_sum(n, alpha):
    exact = expected_set_size_exact(stats.expon.cdf, n, alpha, TWICE, 0, math.inf)
    assert exact == pytest.approx(2 * sum(1 / (n - i) for i in range(conformal_rank(n, alpha))), rel=1e-10)


def test_exact_size_of_exponential_scores_prints_as_in_the_sheet():
    assert expected_set_size_exact(stats.expon.cdf, 99, 0.1, TWICE, 0, math.inf) == pytest.approx(
        4.696818527, abs=5e-10
    )


def test_exact_size_of_the_half_normal_toy():
    exact = expected_set_size_exact(stats.halfnorm.cdf, TOY_N, TOY_ALPHA, TWICE, 0, math.inf)
    direct = integrate.quad(
        lambda r: 2 * threshold_exceedance(stats.halfnorm.cdf(r), TOY_N, TOY_ALPHA), 0, 8, epsrel=1e-12
    )
    assert exact == pytest.approx(direct[0], rel=1e-10)
    assert exact == pytest.approx(3.3120, abs=5e-5)


def test_exact_size_is_cut_at_r_max():
    exact = expected_set_size_exact(stats.expon.cdf, 99, 0.1, TWICE, 0, 2.0)
    direct = integrate.quad(lambda r: 2 * threshold_exceedance(-np.expm1(-r), 99, 0.1), 0, 2, epsrel=1e-12)[0]
    assert exact == pytest.approx(direct, rel=1e-10)


def test_exact_size_survives_a_singular_factor_and_another_scale_of_the_score():
    # Squaring |y - y_hat| changes the score and its factor, not the sets.
    squared = expected_set_size_exact(lambda r: uniform_cdf(np.sqrt(r)), 99, 0.1, residual_cum_factor(1, 2), 0, 1)
    assert squared == pytest.approx(1.8, rel=1e-10)


def test_exact_size_is_all_label_space_when_the_threshold_is_infinite():
    assert expected_set_size_exact(uniform_cdf, 8, 0.1, TWICE, 0, 1) == 2.0
    assert expected_set_size_exact(stats.expon.cdf, 8, 0.1, TWICE, 0, math.inf) == math.inf


def test_exact_size_admits_that_it_is_infinite():
    with pytest.raises(ValueError, match="too heavy"):
        expected_set_size_exact(stats.halfcauchy.cdf, 9, 0.1, TWICE, 0, math.inf)  # the mean of a maximum of Cauchys


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda r: r, 99, 0.1, TWICE, 0, 2), "cdf must"),
        ((lambda r: 0.5 + 0 * r, 99, 0.1, TWICE, 0, math.inf), "never reaches 1"),
        ((uniform_cdf, 99, 0.1, TWICE, 1, 0), "r_max must be"),
        ((uniform_cdf, 99, 1.1, TWICE, 0, 1), "alpha must be"),
        ((uniform_cdf, 99, 0.1, lambda r: r * np.nan, 0, 1), "NaN"),
    ],
)
def test_exact_size_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        expected_set_size_exact(*arguments)


# --- staircase and known factor --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [1, 8])  # one decimal: many ties
def test_known_factor_estimate_is_the_sum_over_cells(decimals):
    scores = np.round(toy_scores(np.random.default_rng(1), 60), decimals)
    estimate = expected_set_size_known(scores, 99, 0.1, residual_cum_factor(1, 2), 0, 5, gamma=0.1)
    delta = dkw_radius(60, 0.1)
    for value, shift in [(estimate.point, 0.0), (estimate.lower, delta), (estimate.upper, -delta)]:
        # Two summation orders of 61 positive terms, and SciPy's two evaluations of B agree to 1e-13.
        assert value == pytest.approx(known_loop(scores, 99, 0.1, residual_cum_factor(1, 2), 0, 5, shift), rel=1e-12)


def test_a_non_strict_count_would_shift_the_staircase_by_one_score():
    scores = toy_scores(np.random.default_rng(1), 60)
    point = expected_set_size_known(scores, 99, 0.1, TWICE, 0, 5).point
    wrong = known_loop(scores, 99, 0.1, TWICE, 0, 5, strict=False)
    assert point - wrong > 0.05


def test_staircase_is_the_integrand_and_its_area_the_estimate():
    scores = np.array([2.0, 1.0, 1.0])
    stairs = staircase(scores, 9, 0.5, TWICE, 0.0, 4.0, gamma=0.1)
    assert stairs.edges.tolist() == [0, 1, 1, 2, 4]
    assert stairs.cumulative.tolist() == [0, 2, 2, 4, 8]
    # Strictly below the right ends 1, 1, 2, 4 lie 0, 0, 2 and 3 of 3 scores.
    assert np.array_equal(stairs.point, threshold_exceedance([0, 0, 2 / 3, 1], 9, 0.5))
    r = (np.arange(40_000) + 0.5) / 10_000  # midpoints of [0, 4]; steps fall on cell borders, so the sum is exact
    G = (scores[None, :] < r[:, None]).mean(axis=1)
    assert stairs.estimate().point == pytest.approx(2 * threshold_exceedance(G, 9, 0.5).sum() / 10_000, rel=1e-10)
    assert stairs.estimate() == expected_set_size_known(scores, 9, 0.5, TWICE, 0.0, 4.0, gamma=0.1)


@steady
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=50),
    st.integers(1, 500),
    st.integers(1, 99),
    st.floats(1e-6, 0.999),
)
def test_lower_end_point_and_upper_end_are_in_order(scores, n, hundredths, gamma):
    estimate = expected_set_size_known(scores, n, hundredths / 100, TWICE, 0, 10, gamma=gamma)
    slack = 1e-11  # rounding of at most 51 terms that sum to at most 20
    assert 0 <= estimate.lower <= estimate.point + slack
    assert estimate.point <= estimate.upper + slack
    assert estimate.upper <= 20 + slack


def test_raising_the_distribution_function_gives_the_lower_end():
    scores, delta = toy_scores(np.random.default_rng(2), 400), dkw_radius(400, 0.1)
    estimate = expected_set_size_known(scores, 99, 0.1, TWICE, 0, 5, gamma=0.1)
    raised, sunk = (known_loop(scores, 99, 0.1, TWICE, 0, 5, shift) for shift in (delta, -delta))
    assert estimate.lower == pytest.approx(raised)
    assert estimate.upper == pytest.approx(sunk)
    assert estimate.lower < estimate.point < estimate.upper  # the swapped version has them the other way round


@steady
@given(st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_estimate_scales_with_the_score_and_ignores_order(c, random):
    scores = toy_scores(np.random.default_rng(3), 80).tolist()
    base = expected_set_size_known(scores, 120, 0.1, TWICE, 0, 4, gamma=0.2)
    random.shuffle(scores)
    scaled = expected_set_size_known(c * np.array(scores), 120, 0.1, TWICE, 0, c * 4, gamma=0.2)
    assert scaled.point == pytest.approx(c * base.point, rel=1e-10)
    assert scaled.lower == pytest.approx(c * base.lower, rel=1e-10)
    assert scaled.upper == pytest.approx(c * base.upper, rel=1e-10)


def test_duplicating_the_sample_keeps_the_point_and_narrows_the_band():
    scores = toy_scores(np.random.default_rng(4), 80)
    once, twice = (expected_set_size_known(s, 120, 0.1, TWICE, 0, 4, gamma=0.1) for s in (scores, np.tile(scores, 2)))
    assert twice.point == pytest.approx(once.point, rel=1e-12)
    assert once.lower < twice.lower < twice.upper < once.upper


def test_estimate_converges_to_the_exact_size_as_the_sample_grows():
    # Samples without randomness: mid-quantiles. The distribution function is off by 1/(2m), so the error is O(1/m).
    errors = []
    for m in (100, 1000, 10_000):
        scores = stats.halfnorm.ppf((np.arange(m) + 0.5) / m)
        errors.append(abs(expected_set_size_known(scores, TOY_N, TOY_ALPHA, TWICE, 0, 6).point - TOY_TRUTH))
    assert errors[0] < 0.05
    assert errors[1] < errors[0] / 5
    assert errors[2] < 5e-4


def test_one_sample_answers_for_every_calibration_size_and_level():
    """One sample of 3,000 scores, 24 pairs (n, alpha). The band holds for all pairs at once: false alarm <= 1e-6."""
    scores = toy_scores(np.random.default_rng(5), 3000)
    for n, alpha in itertools.product([20, 50, 200, 1000, 3000, 20_000], [0.05, 0.1, 0.2, 0.5]):
        truth = expected_set_size_exact(stats.halfnorm.cdf, n, alpha, TWICE, 0, 10)
        assert expected_set_size_known(scores, n, alpha, TWICE, 0, 10, gamma=1e-6).contains(truth)


def test_all_label_space_is_expected_when_the_threshold_is_infinite():
    estimate = expected_set_size_known([0.5, 1.0], 8, 0.1, TWICE, 0, 4, gamma=0.1)
    assert (estimate.lower, estimate.point, estimate.upper) == (8.0, 8.0, 8.0)


def test_predictions_outside_the_label_range_break_the_usual_r_max():
    """max(y) - min(y) bounds the residuals of a forest, not those of an extrapolating line."""
    y, forest, line = np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.5, 1.5]), np.array([-1.0, 1.0, 4.5])
    r_max = float(np.ptp(y))
    assert expected_set_size_known(absolute_residual(y, forest), 3, 0.5, TWICE, 0, r_max).point > 0
    with pytest.raises(ValueError, match="bounds that hold for every score"):
        expected_set_size_known(absolute_residual(y, line), 3, 0.5, TWICE, 0, r_max)
    # Without the check, the last cell is negative and the estimate silently too small.
    unchecked = known_loop(absolute_residual(y, line), 8, 0.1, TWICE, 0, r_max)
    honest = expected_set_size_known(absolute_residual(y, line), 8, 0.1, TWICE, 0, 2.5).point
    assert unchecked < honest


# --- discrete scores -------------------------------------------------------------------------------------------------


def test_zero_one_estimate_depends_on_the_accuracy_alone():
    scores = np.array([0.0] * 88 + [1.0] * 12)
    estimate = expected_set_size_discrete(scores, [0, 1], [1, 9], 99, 0.1, gamma=0.1)
    delta = dkw_radius(100, 0.1)
    assert estimate.point == pytest.approx(1 + 9 * threshold_exceedance(0.88, 99, 0.1), rel=1e-12)
    assert estimate.lower == pytest.approx(
        threshold_exceedance(delta, 99, 0.1) + 9 * threshold_exceedance(min(0.88 + delta, 1), 99, 0.1), rel=1e-12
    )
    assert estimate.upper == pytest.approx(1 + 9 * threshold_exceedance(0.88 - delta, 99, 0.1), rel=1e-12)


def test_non_strict_count_on_a_zero_one_score_would_lose_nearly_the_whole_set():
    scores = np.array([0.0] * 88 + [1.0] * 12)
    wrong_G = np.array([(scores <= r).mean() for r in (0, 1)])  # 0.88 and 1 instead of 0 and 0.88
    wrong = float(threshold_exceedance(wrong_G, 99, 0.1) @ [1, 9])
    assert wrong < 1
    assert expected_set_size_discrete(scores, [0, 1], [1, 9], 99, 0.1).point > 5


def test_discrete_formula_is_exact_when_the_sample_has_the_true_frequencies():
    """Every calibration set of 4 scores is enumerated; the sample of ten realises P = (0.5, 0.3, 0.2) exactly."""
    p, factors, n, alpha = {0: 0.5, 1: 0.3, 2: 0.2}, {0: 1.0, 1: 2.5, 2: 4.0}, 4, 0.3
    truth = 0.0
    for scores in itertools.product(p, repeat=n):
        tau = conformal_threshold(scores, alpha)
        truth += math.prod(p[r] for r in scores) * sum(f for r, f in factors.items() if r <= tau)
    sample = [0] * 5 + [1] * 3 + [2] * 2
    assert expected_set_size_discrete(sample, [0, 1, 2], [1, 2.5, 4], n, alpha).point == pytest.approx(truth, abs=1e-12)


# --- unknown factor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [1, 3, 15])  # from many ties to none
def test_unknown_factor_estimate_equals_the_cube_of_comparisons(decimals):
    scores, y = two_classes(np.random.default_rng(6), 300)
    scores = np.round(scores, decimals)
    cal, delta = true_label(scores, y), dkw_radius(300, 0.1)
    estimate = expected_set_size_unknown(cal, scores, 99, 0.1, gamma=0.1)
    for value, shift in [(estimate.point, 0.0), (estimate.lower, delta), (estimate.upper, -delta)]:
        assert value == pytest.approx(unknown_cube(cal, scores, 99, 0.1, shift), abs=1e-12)


def test_zero_one_scores_give_the_same_through_all_three_doors():
    generator = np.random.default_rng(7)
    probs = generator.dirichlet(np.full(4, 0.3), 250)
    y = np.array([generator.choice(4, p=row) for row in probs])
    scores = zero_one(probs)
    cal = true_label(scores, y)
    unknown = expected_set_size_unknown(cal, scores, 80, 0.1, gamma=0.1)
    discrete = expected_set_size_discrete(cal, [0, 1], [1, 3], 80, 0.1, gamma=0.1)
    for end in ("point", "lower", "upper"):
        assert getattr(unknown, end) == pytest.approx(getattr(discrete, end), rel=1e-12)


def test_unknown_factor_agrees_with_the_known_one_when_the_input_is_irrelevant():
    """y ~ U(-1, 1), y_hat = 0: label cells of width 2/L have score |y|, whose factor is 2r on [0, 1]."""
    cells = 20_000
    grid = -1 + 2 * (np.arange(cells) + 0.5) / cells
    scores = np.abs(np.random.default_rng(8).uniform(-1, 1, 200))
    known = expected_set_size_known(scores, 150, 0.1, TWICE, 0, 1, gamma=0.1)
    unknown = expected_set_size_unknown(scores, np.tile(np.abs(grid), (3, 1)), 150, 0.1, weight=2 / cells, gamma=0.1)
    for end in ("point", "lower", "upper"):
        # A score inside a cell of the grid misplaces at most two cells times the step of B there; steps sum to 1.
        assert getattr(unknown, end) == pytest.approx(getattr(known, end), abs=2 * 2 / cells)


def test_weights_may_differ_from_label_to_label():
    scores, y = two_classes(np.random.default_rng(9), 100)
    cal = true_label(scores, y)
    columns = [expected_set_size_unknown(cal, scores[:, [j]], 60, 0.1).point for j in (0, 1)]
    assert expected_set_size_unknown(cal, scores, 60, 0.1, weight=[1.5, 0.25]).point == pytest.approx(
        1.5 * columns[0] + 0.25 * columns[1], rel=1e-12
    )
    assert expected_set_size_unknown(cal, scores, 60, 0.1, weight=2.0).point == pytest.approx(
        2 * sum(columns), rel=1e-12
    )


@pytest.mark.parametrize("weight", [1.0, [0.5, 2.0]])
def test_working_in_chunks_changes_nothing(monkeypatch, weight):
    scores, y = two_classes(np.random.default_rng(10), 101)
    cal = true_label(scores, y)
    whole = expected_set_size_unknown(cal, scores, 60, 0.1, weight=weight).point
    monkeypatch.setattr(module, "CHUNK", 7)
    assert expected_set_size_unknown(cal, scores, 60, 0.1, weight=weight).point == pytest.approx(whole, rel=1e-13)


def test_reusing_the_calibration_points_does_not_count_a_point_against_itself():
    scores = np.random.default_rng(11).random(50)
    own = scores[:, None]  # the only label of each point is its true one
    others = np.array([(np.delete(scores, i) < scores[i]).sum() / 50 for i in range(50)])
    expected = threshold_exceedance(others, 30, 0.2).mean()
    assert expected_set_size_unknown(scores, own, 30, 0.2).point == pytest.approx(expected, rel=1e-12)
    with_itself = threshold_exceedance(others + 1 / 50, 30, 0.2).mean()  # what <= would have counted
    assert abs(with_itself - expected) > 0.01


def test_outer_gamma_widens_both_ends_by_hoeffding_and_stays_within_the_possible():
    scores, y = two_classes(np.random.default_rng(12), 2000)
    cal = true_label(scores, y)
    inner = expected_set_size_unknown(cal, scores, 200, 0.4, gamma=0.05)
    outer = expected_set_size_unknown(cal, scores, 200, 0.4, gamma=0.05, outer_gamma=0.05)
    margin = 2 * math.sqrt(math.log(2 / 0.05) / 4000)
    assert outer.point == inner.point
    assert outer.lower == pytest.approx(inner.lower - margin)
    assert outer.upper == pytest.approx(inner.upper + margin)
    tiny = expected_set_size_unknown(cal[:5], scores[:5], 4, 0.8, gamma=0.05, outer_gamma=0.05)
    assert (tiny.lower, tiny.upper) == (0.0, 2.0)
    capped = expected_set_size_unknown(cal, scores, 200, 0.4, gamma=0.05, outer_gamma=0.05, max_size=1.5)
    assert capped.upper - inner.upper == pytest.approx(0.75 * margin)


def test_a_label_grid_misses_the_sets_that_leave_it():
    """Bands reaching beyond the observed labels: the grid's answer is capped by the label range, the size is not."""
    lo, hi = np.full(200, 0.5), np.full(200, 2.5)
    y = np.random.default_rng(13).uniform(-1, 1, 200)
    cells = 100
    grid = y.min() + (np.arange(cells) + 0.5) * np.ptp(y) / cells
    cal, table = cqr(y, lo, hi), cqr(grid[None, :], lo[:, None], hi[:, None])
    gridded = expected_set_size_unknown(cal, table, 100, 0.1, weight=np.ptp(y) / cells).point
    assert gridded <= np.ptp(y) * (1 + 1e-12)
    assert interval_size(lo, hi, conformal_threshold(cal, 0.1)).mean() > gridded + 0.5


# --- statistical guarantees ------------------------------------------------------------------------------------------


def test_interval_misses_the_truth_no_more_often_than_promised():
    """500 data sets of 200 half-normal scores, gamma = 0.1: at most 0.1 + 3 standard errors may miss, 70 of 500.

    If the miss rate were exactly 0.1, 70 would be exceeded with probability 0.0015; the observed rate is near 0,
    because DKW guards the whole distribution and the size needs it at one place. So a band of a sixth of the width is
    run beside it: it misses far too often, and shows that the count can fail.
    """
    generator, misses, thin_misses = np.random.default_rng(14), 0, 0
    thin = dkw_radius(TOY_N, 0.1) / 6
    gamma_of_thin = 2 * math.exp(-2 * TOY_N * thin**2)  # above 1, so the thin band is built by hand
    assert gamma_of_thin > 1
    G = np.arange(TOY_N + 1) / TOY_N
    heights = [threshold_exceedance(np.clip(G + shift, 0, 1), TOY_N, TOY_ALPHA) for shift in (thin, -thin)]
    for _ in range(500):
        scores = toy_scores(generator)
        stairs = staircase(scores, TOY_N, TOY_ALPHA, TWICE, 0, 6, gamma=0.1)
        misses += not stairs.estimate().contains(TOY_TRUTH)
        low, high = (h @ np.diff(stairs.cumulative) for h in heights)
        thin_misses += not low <= TOY_TRUTH <= high
    assert misses <= 70
    assert thin_misses > 70


def test_interval_of_the_unknown_factor_misses_no_more_often_than_promised():
    """As above for LAC on two classes, with the widened interval: total level 0.1, 70 of 500, false alarm < 0.0015."""
    truth = expected_set_size_exact(two_class_cdf, 200, 0.1, TWICE, 0, 1)
    generator, misses = np.random.default_rng(15), 0
    for _ in range(500):
        scores, y = two_classes(generator, 200)
        estimate = expected_set_size_unknown(true_label(scores, y), scores, 200, 0.1, gamma=0.05, outer_gamma=0.05)
        misses += not estimate.contains(truth)
    assert misses <= 70


def test_estimators_are_centred_on_the_exact_size():
    """Mean of 2000 estimates against the truth: 3 standard errors, false alarm 0.003 each (fixed seeds).

    The plug-in is not unbiased, but at m = 200 its bias is below what 2000 repeats resolve (a standard error of
    about 0.005). Power: using the rank k + 1 or k - 1 moves the truth by about 0.03, six standard errors.
    """
    generator = np.random.default_rng(16)
    known = [expected_set_size_known(toy_scores(generator), TOY_N, TOY_ALPHA, TWICE, 0, 6).point for _ in range(2000)]
    assert abs(np.mean(known) - TOY_TRUTH) < 3 * np.std(known) / math.sqrt(2000)
    truth = expected_set_size_exact(two_class_cdf, 200, 0.1, TWICE, 0, 1)
    unknown = []
    for _ in range(2000):
        scores, y = two_classes(generator, 200)
        unknown.append(expected_set_size_unknown(true_label(scores, y), scores, 200, 0.1).point)
    assert abs(np.mean(unknown) - truth) < 3 * np.std(unknown) / math.sqrt(2000)


# --- bad input -------------------------------------------------------------------------------------------------------

OK = np.array([[0.1, 0.9], [0.4, 0.6]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dkw_radius(0, 0.1), "m must be"),
        (lambda: dkw_radius(10, 1.0), "gamma must be"),
        (lambda: min_sample_for_interval(0, 0.1), "alpha must be"),
        (lambda: min_sample_for_interval(0.1, 0), "gamma must be"),
        (lambda: expected_set_size_known([], 9, 0.1, TWICE, 0, 1), "empty"),
        (lambda: expected_set_size_known([math.nan], 9, 0.1, TWICE, 0, 1), "NaN"),
        (lambda: expected_set_size_known([math.inf], 9, 0.1, TWICE, 0, 1), "infinite"),
        (lambda: expected_set_size_known([[0.5]], 9, 0.1, TWICE, 0, 1), "dimension"),
        (lambda: expected_set_size_known([0.5, 1.5], 9, 0.1, TWICE, 0, 1), "r_min, r_max"),
        (lambda: expected_set_size_known([0.5, -0.5], 9, 0.1, TWICE, 0, 1), "r_min, r_max"),
        (lambda: expected_set_size_known([0.5], 9, 0.1, TWICE, 1, 0), "r_max must be"),
        (lambda: expected_set_size_known([0.5], 9, 0.1, TWICE, 0, math.inf), "r_max must be"),
        (lambda: expected_set_size_known([0.5], 0, 0.1, TWICE, 0, 1), "n must be"),
        (lambda: expected_set_size_known([0.5], 9, 1.0, TWICE, 0, 1), "alpha must be"),
        (lambda: expected_set_size_known([0.5], 9, 0.1, TWICE, 0, 1, gamma=0.0), "gamma must be"),
        (lambda: expected_set_size_known([0.5], 9, 0.1, lambda r: -r, 0, 1), "must not decrease"),
        (lambda: expected_set_size_known([0.5], 9, 0.1, lambda r: 2.0, 0, 1), "one value per level"),
        (lambda: expected_set_size_discrete([0, 2], [0, 1], [1, 2], 9, 0.1), "among levels"),
        (lambda: expected_set_size_discrete([0, 1], [1, 0], [1, 2], 9, 0.1), "strictly increasing"),
        (lambda: expected_set_size_discrete([0, 1], [0, 1], [1, 2, 3], 9, 0.1), "pair up"),
        (lambda: expected_set_size_discrete([0, 1], [0, 1], [1, -2], 9, 0.1), "at least 0"),
        (lambda: expected_set_size_unknown([0.1], [0.1, 0.9], 9, 0.1), "dimension"),
        (lambda: expected_set_size_unknown([], OK, 9, 0.1), "empty"),
        (lambda: expected_set_size_unknown([0.1, math.nan], OK, 9, 0.1), "cal_scores contains NaN"),
        (lambda: expected_set_size_unknown([0.1], OK * math.inf, 9, 0.1), "all_scores contains"),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, weight=[1, 1, 1]), "one per label"),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, weight=-1), "weight must be"),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, outer_gamma=0.1), "give gamma too"),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, max_size=2), "outer_gamma"),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, gamma=0.1, outer_gamma=1), "outer_gamma must be"),
        (
            lambda: expected_set_size_unknown([0.1], OK, 8, 0.1, gamma=0.1, outer_gamma=0.1, max_size=1.5),
            "below the estimate",
        ),
        (lambda: expected_set_size_unknown([0.1], OK, 9, 0.1, gamma=0.1, outer_gamma=0.1, max_size=3), "max_size"),
        (lambda: SetSizeEstimate(1.0).contains(1.0), "no interval"),
    ],
)
def test_bad_input_is_refused_with_a_reason_here_too(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tensors_give_the_same_estimate():
    torch = pytest.importorskip("torch")
    scores, y = two_classes(np.random.default_rng(17), 60)
    cal = true_label(scores, y)
    ours = expected_set_size_unknown(torch.tensor(cal), torch.tensor(scores), 99, 0.1, gamma=0.1)
    assert ours == expected_set_size_unknown(cal, scores, 99, 0.1, gamma=0.1)
