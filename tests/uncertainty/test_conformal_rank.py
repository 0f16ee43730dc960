"""Rank, threshold and the law of the threshold in split conformal prediction."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workings.uncertainty.conformal import (
    conformal_rank,
    conformal_threshold,
    coverage_distribution,
    exact_level,
    threshold_exceedance,
)

# The same examples on every run, and no time limit: a busy machine is no counterexample.
steady = settings(derandomize=True, deadline=None)

BAD_LEVELS = [
    0.0,
    1.0,
    -0.1,
    1.5,
    math.nan,
    math.inf,
    "0",
    "1",
    "ten per cent",
    "1/0",
    Fraction(3, 2),
    Decimal("NaN"),
    1,
]


def float_rank(n: int, alpha: float) -> int:
    """The pitfall: the rank computed in floating point, as the official code does."""
    return math.ceil((1 - alpha) * (n + 1))


# --- rank ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha", "k"), [(99, 0.1, 90), (199, 0.1, 180), (19, 0.1, 18), (8, 0.1, 9)])
def test_rank_meets_the_hand_computed_oracles(n, alpha, k):
    assert conformal_rank(n, alpha) == k


@pytest.mark.parametrize(("n", "alpha", "exact", "wrong"), [(149, 0.18, 123, 124), (9, 0.7, 3, 4)])
def test_floating_point_rank_is_one_too_high_where_ours_is_exact(n, alpha, exact, wrong):
    assert conformal_rank(n, alpha) == exact
    assert float_rank(n, alpha) == wrong


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_floating_point_rank_happens_to_be_right_at_the_usual_levels(alpha):
    assert all(conformal_rank(n, alpha) == float_rank(n, alpha) for n in range(1, 2001))


@steady
@given(st.integers(1, 10**9), st.integers(1, 9999))
def test_rank_is_the_smallest_whose_average_coverage_reaches_the_level(n, ten_thousandths):
    k = conformal_rank(n, ten_thousandths / 10_000)
    wanted = 1 - Fraction(ten_thousandths, 10_000)
    assert Fraction(k, n + 1) >= wanted > Fraction(k - 1, n + 1)
    assert 1 <= k <= n + 1


def test_every_spelling_of_a_tenth_means_a_tenth():
    spellings = [0.1, "0.1", "1/10", "1e-1", Fraction(1, 10), Decimal("0.1"), np.float64(0.1), np.float32(0.1)]
    assert {exact_level(a) for a in spellings} == {Fraction(1, 10)}
    assert {conformal_rank(99, a) for a in spellings} == {90}


def test_a_third_needs_no_decimal():
    assert conformal_rank(8, "1/3") == conformal_rank(8, Fraction(1, 3)) == 6


@pytest.mark.parametrize("alpha", BAD_LEVELS)
def test_levels_outside_the_open_unit_interval_are_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be"):
        conformal_rank(10, alpha)


@pytest.mark.parametrize("alpha", [None, True, [0.1], 0.1j])
def test_levels_that_are_no_numbers_are_refused(alpha):
    with pytest.raises(TypeError, match="alpha must be"):
        conformal_rank(10, alpha)


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-5, ValueError), (10.0, TypeError), (True, TypeError)])
def test_calibration_sizes_below_one_or_not_whole_are_refused(n, error):
    with pytest.raises(error, match="n must be"):
        conformal_rank(n, 0.1)


# --- threshold -------------------------------------------------------------------------------------------------------


@steady
@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 99))
def test_threshold_is_the_ranked_order_statistic(scores, hundredths):
    k = conformal_rank(len(scores), hundredths / 100)
    expected = sorted(scores)[k - 1] if k <= len(scores) else math.inf
    assert conformal_threshold(scores, hundredths / 100) == expected


def test_threshold_is_infinite_only_when_the_rank_exceeds_n():
    assert conformal_threshold(np.arange(8.0), 0.1) == math.inf
    assert conformal_threshold(np.arange(9.0), 0.1) == 8.0


def test_threshold_ignores_the_order_of_the_scores_and_leaves_them_alone():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=101)
    before = scores.copy()
    assert conformal_threshold(generator.permutation(scores), 0.1) == conformal_threshold(scores, 0.1)
    assert np.array_equal(scores, before)


def test_a_batch_of_calibration_sets_is_thresholded_row_by_row():
    scores = np.random.default_rng(1).normal(size=(3, 4, 50))
    batch = conformal_threshold(scores, 0.1)
    assert batch.shape == (3, 4)
    assert all(batch[i] == conformal_threshold(scores[i], 0.1) for i in np.ndindex(3, 4))
    assert np.array_equal(conformal_threshold(scores[..., :5], 0.1), np.full((3, 4), np.inf))


@pytest.mark.parametrize("alpha", [0.0001, 0.1, 0.5, 0.9, 0.99999])
@pytest.mark.parametrize(
    "kind", ["smooth", "heavy-tailed", "tied", "constant", "rising", "falling", "periodic", "infinite"]
)
def test_long_arrays_have_the_same_threshold_as_their_sorted_copy(kind, alpha):
    """Above 50,000 scores the threshold is bracketed first; data that fool the bracket must not change it."""
    generator, n = np.random.default_rng(18), 60_001
    scores = {
        "smooth": lambda: generator.random(n),
        "heavy-tailed": lambda: generator.standard_cauchy(n),
        "tied": lambda: generator.integers(0, 3, n).astype(float),
        "constant": lambda: np.zeros(n),
        "rising": lambda: np.arange(n, dtype=float),
        "falling": lambda: -np.arange(n, dtype=float),
        "periodic": lambda: np.where(np.arange(n) % (n // 4096), generator.random(n), 5.0),  # the sample sees only 5.0
        "infinite": lambda: np.where(generator.random(n) < 0.3, np.inf, generator.random(n)),
    }[kind]()
    k = conformal_rank(n, alpha)
    assert conformal_threshold(scores, alpha) == np.sort(scores)[k - 1]


def test_an_infinite_score_counts_as_a_score():
    assert conformal_threshold([*range(18), math.inf], 0.1) == 17
    assert conformal_threshold([*range(17), math.inf, math.inf], 0.1) == math.inf


def test_tensors_are_welcome():
    torch = pytest.importorskip("torch")
    assert conformal_threshold(torch.arange(1.0, 100.0), 0.1) == 90.0


@pytest.mark.parametrize("scores", [[1.0, math.nan], [], [[]], 3.0, [1.0, -math.inf]])
def test_bad_scores_give_no_threshold(scores):
    with pytest.raises(ValueError, match="scores"):
        conformal_threshold(scores, 0.5)


# --- B, the probability that the threshold reaches a level -----------------------------------------------------------


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.5), (9, 0.1), (19, 0.3), (99, 0.1), (1000, 0.05)])
def test_exceedance_is_a_binomial_cdf_and_a_beta_tail(n, alpha):
    G, k = np.linspace(0, 1, 201), conformal_rank(n, alpha)
    ours = threshold_exceedance(G, n, alpha)
    # Three independent evaluations of a probability in double precision: 1e-12 leaves room for n = 1000 terms.
    assert np.allclose(ours, stats.binom.cdf(k - 1, n, G), rtol=0, atol=1e-12)
    assert np.allclose(ours, stats.beta.sf(G, k, n + 1 - k), rtol=0, atol=1e-12)
    terms = [math.comb(n, i) * Fraction(1, 3) ** i * Fraction(2, 3) ** (n - i) for i in range(k)]
    assert threshold_exceedance(1 / 3, n, alpha) == pytest.approx(float(sum(terms)), abs=1e-12)


@pytest.mark.parametrize(("n", "alpha"), [(9, 0.1), (99, 0.1), (2000, 0.01)])
def test_exceedance_falls_from_exactly_one_to_exactly_zero(n, alpha):
    values = threshold_exceedance(np.linspace(0, 1, 1001), n, alpha)
    assert values[0] == 1.0
    assert values[-1] == 0.0
    assert (np.diff(values) <= 0).all()


def test_exceedance_is_one_everywhere_when_the_threshold_is_infinite():
    assert np.array_equal(threshold_exceedance([0.0, 0.5, 1.0], 8, 0.1), np.ones(3))


@pytest.mark.parametrize(("n", "alpha"), [(8, 0.1), (9, 0.1), (30, 0.25), (99, 0.1)])
def test_area_under_exceedance_is_the_average_coverage(n, alpha):
    # Gauss-Legendre with 60 nodes is exact for polynomials up to degree 119 > n, so only rounding is left.
    nodes, weights = np.polynomial.legendre.leggauss(60)
    area = weights / 2 @ threshold_exceedance((nodes + 1) / 2, n, alpha)
    assert area == pytest.approx(conformal_rank(n, alpha) / (n + 1), abs=1e-12)


def test_exceedance_keeps_its_digits_in_both_tails():
    # k = n = 9: B(p) = 1 - p^9, close to 1 for small p and about 9(1 - p) near 1, where 1 - p^9 would cancel.
    assert threshold_exceedance(1 - 2.0**-50, 9, k=9) == pytest.approx(9 * 2.0**-50, rel=1e-12)
    assert 1 - threshold_exceedance(0.01, 9, k=9) == pytest.approx(1e-18, abs=1e-16)
    assert threshold_exceedance(0.9, 1000, k=400) == pytest.approx(stats.binom.cdf(399, 1000, 0.9), rel=1e-9)


def test_exceedance_with_tied_scores_needs_the_strict_distribution_function():
    """All 3^n calibration sets are enumerated, so both sides are exact up to rounding."""
    n, alpha, p = 4, 0.3, {0: 0.5, 1: 0.3, 2: 0.2}
    k = conformal_rank(n, alpha)
    for level in p:
        truth = sum(
            math.prod(p[r] for r in scores)
            for scores in itertools.product(p, repeat=n)
            if sorted(scores)[k - 1] >= level
        )
        strict = sum(q for r, q in p.items() if r < level)
        wrong = sum(q for r, q in p.items() if r <= level)
        assert threshold_exceedance(strict, n, alpha) == pytest.approx(truth, abs=1e-12)
        assert abs(threshold_exceedance(min(wrong, 1.0), n, alpha) - truth) > 0.05


def test_sets_must_be_closed_to_cover_tied_scores():
    """Exact coverage by enumeration: {s <= tau} reaches 1 - alpha, {s < tau} does not."""
    n, alpha, p = 4, 0.3, {0: 0.5, 1: 0.3, 2: 0.2}
    closed = opened = 0.0
    for scores in itertools.product(p, repeat=n):
        chance, tau = math.prod(p[r] for r in scores), conformal_threshold(scores, alpha)
        closed += chance * sum(q for r, q in p.items() if r <= tau)
        opened += chance * sum(q for r, q in p.items() if r < tau)
    assert closed >= 1 - alpha
    assert opened < 1 - alpha


@pytest.mark.parametrize("G", [[-0.1, 0.5], [0.5, 1.1], [math.nan], []])
def test_exceedance_refuses_what_is_no_probability(G):
    with pytest.raises(ValueError, match="G"):
        threshold_exceedance(G, 10, 0.1)


@pytest.mark.parametrize("arguments", [{}, {"alpha": 0.1, "k": 3}, {"k": 0}, {"k": 12}])
def test_exceedance_wants_a_level_or_a_valid_rank(arguments):
    with pytest.raises(ValueError, match="k"):
        threshold_exceedance(0.5, 10, **arguments)


# --- coverage --------------------------------------------------------------------------------------------------------


def test_coverage_distribution_agrees_with_scipy():
    law = coverage_distribution(99, 0.1)
    beta = stats.beta(90, 10)
    assert (law.a, law.b) == (90, 10)
    assert law.mean == pytest.approx(beta.mean(), rel=1e-14)
    assert law.variance == pytest.approx(beta.var(), rel=1e-12)
    assert law.std == pytest.approx(beta.std(), rel=1e-12)
    assert law.exceedance(0.88) == pytest.approx(beta.sf(0.88), abs=1e-12)


def test_coverage_is_certain_when_the_threshold_is_infinite():
    law = coverage_distribution(5, 0.1)
    assert (law.mean, law.variance, law.b) == (1.0, 0.0, 0)


def test_simulated_coverage_follows_the_beta_law():
    """20,000 calibration sets of 49 uniform scores, whose coverage is the threshold itself.

    False alarms: mean, 5 standard errors, 6e-7; variance, 5 standard errors, 6e-7; whole law (Kolmogorov-Smirnov),
    p < 1e-6. Together below 3e-6. Power: the rank 46 instead of 45 shifts the mean by 67 standard errors.
    """
    repeats, law = 20_000, coverage_distribution(49, 0.1)
    coverage = conformal_threshold(np.random.default_rng(2).random((repeats, 49)), 0.1)
    beta = stats.beta(law.a, law.b)
    assert law.mean == 45 / 50
    assert abs(coverage.mean() - law.mean) < 5 * law.std / math.sqrt(repeats)
    fourth = float(beta.stats("k")) + 3  # kurtosis: Var(s^2) is about variance^2 (kurtosis - 1) / repeats
    assert abs(coverage.var() - law.variance) < 5 * law.variance * math.sqrt((fourth - 1) / repeats)
    assert stats.kstest(coverage, beta.cdf).pvalue > 1e-6
