"""Normality, agreement of ranks, and the share of the class set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workings.few_shot.difficulty_diagnostics import class_set_icc, normality_report, rank_agreement


def quantiles(law, n: int) -> np.ndarray:
    return law.ppf((np.arange(n) + 0.5) / n)


def test_the_quantiles_of_a_normal_are_a_straight_line():
    found = normality_report(3.0 + 2.0 * quantiles(stats.norm, 2000))
    assert found.n == 2000
    assert found.mean == pytest.approx(3.0)
    assert found.sd == pytest.approx(2.0, rel=0.01)
    assert found.skew == pytest.approx(0.0, abs=1e-9)
    assert found.excess_kurtosis == pytest.approx(0.0, abs=0.05)
    assert found.probability_plot_r > 0.9999


def test_an_exponential_is_skewed_by_two_and_bends_the_plot():
    found = normality_report(quantiles(stats.expon, 20_000))
    assert found.skew == pytest.approx(2.0, rel=0.05)
    assert found.excess_kurtosis == pytest.approx(6.0, rel=0.15)
    # corr(expon quantile, normal quantile) = E[-ln(1 - Phi(Z)) Z], 0.9032 by quadrature
    assert found.probability_plot_r == pytest.approx(0.9032, abs=0.002)
    assert found.shapiro_p is None


def test_the_same_slight_skew_is_accepted_at_100_values_and_rejected_at_2000():
    law = stats.gamma(18.0)  # skewness 2 / sqrt(18) = 0.47
    few, many = (normality_report(quantiles(law, n)) for n in (100, 2000))
    assert few.shapiro_p > 0.05
    assert many.shapiro_p < 1e-6
    assert few.skew == pytest.approx(0.47, abs=0.06)
    assert many.skew == pytest.approx(0.47, abs=0.03)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-100, 100))
def test_shape_does_not_see_unit_and_origin(seed, unit, shift):
    x = np.random.default_rng(seed).gamma(3.0, size=50)
    one, other = normality_report(x), normality_report(unit * x + shift)
    for name in ("skew", "excess_kurtosis", "probability_plot_r"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("bad", [[1.0] * 7, [2.0] * 20, [*range(20), np.nan], [[1.0] * 9]])
def test_samples_without_a_shape_are_refused(bad):
    with pytest.raises(ValueError, match=r"x|values"):
        normality_report(bad)


def test_ranks_agree_as_scipy_says_ties_included():
    table = np.random.default_rng(0).integers(0, 6, size=(3, 40)).astype(float)
    np.testing.assert_allclose(rank_agreement(table), stats.spearmanr(table, axis=1).statistic, atol=1e-12)


def test_any_increasing_map_leaves_the_agreement_and_a_decreasing_one_turns_it():
    x = np.random.default_rng(0).normal(size=30)
    found = rank_agreement(np.stack([x, np.exp(x), -(x**3)]))
    np.testing.assert_allclose(found, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], [1.0, 2.0, 3.0]])
def test_scorings_that_rank_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="difficulties"):
        rank_agreement(bad)


def test_the_share_of_the_class_set_by_hand():
    # sets (1, 3) and (5, 7): B = 2 * var(2, 6) = 16, W = 2, so (16 - 2) / (16 + 2)
    assert class_set_icc([[1.0, 3.0], [5.0, 7.0]]) == pytest.approx(14 / 18)
    assert class_set_icc([[1.0, 1.0], [2.0, 2.0]]) == pytest.approx(1.0)
    assert class_set_icc([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]) == pytest.approx(-0.5)


def test_the_share_is_found_in_a_sum_of_two_known_variances():
    # 400 sets of 10, variances 0.7 and 0.3: the standard error of the share is about
    # (1 - 0.7)(1 + 9 * 0.7) sqrt(2 / (10 * 9 * 399)) = 0.016; 0.075 is 4.6 of them
    rng = np.random.default_rng(0)
    values = np.sqrt(0.7) * rng.normal(size=(400, 1)) + np.sqrt(0.3) * rng.normal(size=(400, 10))
    assert class_set_icc(values) == pytest.approx(0.7, abs=0.075)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-10, 10))
def test_the_share_sees_neither_unit_nor_origin_nor_order(seed, unit, shift):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 4))
    again = unit * rng.permuted(values, axis=1)[rng.permutation(5)] + shift
    assert class_set_icc(again) == pytest.approx(class_set_icc(values), abs=1e-9)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [[1.0], [2.0]], [[3.0, 3.0], [3.0, 3.0]], [[1.0, np.nan], [2.0, 3.0]]])
def test_tables_without_a_variance_to_share_are_refused(bad):
    with pytest.raises(ValueError, match="difficulties"):
        class_set_icc(bad)
