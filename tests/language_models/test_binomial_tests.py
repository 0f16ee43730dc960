"""Tails of the binomial and the Poisson-binomial law, against exact fractions and closed forms."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workings.language_models.binomial_tests import (
    binomial_tail_log10,
    clopper_pearson,
    critical_hits,
    poisson_binomial_tail_log10,
    power,
    queries_needed,
    rejects,
    shared_signature_log10_bound,
)


def log10_of(x: Fraction) -> float:
    """log10 of a positive fraction to double precision, however small it is."""
    shift = x.numerator.bit_length() - x.denominator.bit_length()
    scaled = x / Fraction(2) ** shift  # between 1/2 and 2
    return math.log10(scaled.numerator / scaled.denominator) + shift * math.log10(2)


def exact_tail(k: int, n: int, p: float) -> Fraction:
    p = Fraction(p)
    return sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))


GRID = [(n, p) for n in (1, 2, 10, 60, 150) for p in (1e-12, 1e-6, 1e-2, 0.5, 0.97)]


@pytest.mark.parametrize(("n", "p"), GRID)
def test_the_tail_agrees_with_exact_fractions_to_1e_10(n, p):
    some = sorted({0, 1, n // 3, n // 2, n - 1, n} & set(range(n + 1)))
    exact = [log10_of(exact_tail(k, n, p)) for k in some]
    np.testing.assert_allclose(binomial_tail_log10(some, n, p), exact, rtol=0, atol=1e-10)


def test_it_goes_on_where_double_precision_has_given_up():
    assert stats.binom.logsf(99, 100, 1e-5) == -math.inf
    assert stats.binomtest(100, 100, 1e-5, alternative="greater").pvalue == 0
    assert binomial_tail_log10(100, 100, 1e-5) == pytest.approx(-500, abs=1e-10)
    k, n = 900, 1000  # the sheet's extreme corner: the tail is its first term, up to 1e-10 of it
    first = math.log10(math.comb(n, k)) - 12 * k
    assert binomial_tail_log10(k, n, 1e-12) == pytest.approx(first, abs=1e-10)


@given(st.integers(1, 200), st.floats(1e-3, 1 - 1e-3), st.data())
def test_it_agrees_with_scipy_where_scipy_is_finite(n, p, data):
    k = data.draw(st.integers(0, n))
    with np.errstate(divide="ignore"):
        theirs = stats.binom.logsf(k - 1, n, p) / math.log(10)
    if math.isfinite(theirs) and theirs > -280:
        assert binomial_tail_log10(k, n, p) == pytest.approx(theirs, abs=1e-8)  # scipy's own error included


@given(st.integers(1, 60), st.floats(1e-9, 0.9), st.floats(1.0, 1.1))
def test_it_falls_with_the_hits_and_rises_with_p0(n, p, more):
    tails = binomial_tail_log10(np.arange(n + 1), n, p)
    assert tails[0] == 0 and (np.diff(tails) <= 0).all()
    assert tails[-1] == pytest.approx(n * math.log10(p), abs=1e-9)
    assert (binomial_tail_log10(np.arange(n + 1), n, min(p * more, 1.0)) >= tails - 1e-12).all()


def test_the_ends_of_p0():
    assert binomial_tail_log10([0, 1, 5], 5, 0.0).tolist() == [0, -math.inf, -math.inf]
    assert binomial_tail_log10([0, 1, 5], 5, 1.0).tolist() == [0, 0, 0]


def test_all_arguments_broadcast():
    found = binomial_tail_log10(np.array([[1], [2]]), np.array([4, 9]), 0.25)
    assert found.shape == (2, 2)
    assert found[1, 0] == pytest.approx(math.log10(1 - 0.75**4 - 4 * 0.25 * 0.75**3), abs=1e-12)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=7), st.data())
def test_the_poisson_binomial_tail_is_the_sum_over_all_outcomes(probs, data):
    k = data.draw(st.integers(0, len(probs)))
    exact = sum(
        math.prod(Fraction(p) if hit else 1 - Fraction(p) for p, hit in zip(probs, hits, strict=True))
        for hits in product((0, 1), repeat=len(probs))
        if sum(hits) >= k
    )
    found = poisson_binomial_tail_log10(k, probs)
    assert found == (pytest.approx(log10_of(exact), abs=1e-10) if exact else -math.inf)


@given(st.lists(st.floats(-300.0, 0.0), min_size=1, max_size=12), st.randoms(), st.data())
def test_the_order_of_queries_does_not_matter_and_the_largest_probability_bounds_the_tail(logs, random, data):
    k = data.draw(st.integers(0, len(logs)))
    found = poisson_binomial_tail_log10(k, log10_probs=logs)
    shuffled = logs[:]
    random.shuffle(shuffled)
    assert poisson_binomial_tail_log10(k, log10_probs=shuffled) == pytest.approx(float(found), abs=1e-9)
    assert found <= poisson_binomial_tail_log10(k, log10_probs=[max(logs)] * len(logs)) + 1e-9


@pytest.mark.parametrize("p", [1e-12, 1e-3, 0.4])
def test_equal_probabilities_give_the_binomial_tail(p):
    for k in (0, 1, 7, 40):
        assert poisson_binomial_tail_log10(k, [p] * 40) == pytest.approx(
            float(binomial_tail_log10(k, 40, p)), abs=1e-10
        )


def test_probabilities_below_the_least_double_are_given_as_logarithms():
    assert poisson_binomial_tail_log10(2, log10_probs=[-400.0, -500.0, -3.0]) == pytest.approx(-403, abs=1e-10)
    rows = poisson_binomial_tail_log10(1, log10_probs=[[-2.0, -math.inf], [0.0, -5.0]])
    np.testing.assert_allclose(rows, [-2, 0], atol=1e-12)


def test_one_shared_signature_says_no_more_with_ten_hits_than_with_six():
    guess = -5 * math.log10(32)
    found = shared_signature_log10_bound(guess, [0, 1, 4, 6, 10], 10)
    np.testing.assert_allclose(found, [0, guess + 1, guess + math.log10(2), guess, guess])
    assert 10**guess == pytest.approx(3.0e-8, rel=0.01)
    assert shared_signature_log10_bound(-0.5, 1, 10) == 0  # never more than certain


@pytest.mark.parametrize(
    "beginnings", [[0] * 6, list(range(6)), [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2], [3, 3, 3, 1, 1, 1]]
)
@pytest.mark.parametrize("law", [[0.125] * 8, [0.4, 0.3, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01]])
def test_the_bound_of_one_signature_holds_for_any_answers_to_six_queries(beginnings, law):
    """Every fixed list of answers, the signature drawn by ``law``: the exact chance of k hits or more is below the bound."""
    hits = np.array([beginnings.count(s) for s in range(8)])
    for k in range(1, 7):
        exact = np.asarray(law)[hits >= k].sum()
        assert exact <= 10 ** shared_signature_log10_bound(math.log10(max(law)), k, 6) + 1e-12
    if beginnings == list(range(6)) and law[0] == law[-1]:  # ... and reached where all answers differ
        assert np.asarray(law)[hits >= 1].sum() == pytest.approx(
            10 ** float(shared_signature_log10_bound(math.log10(0.125), 1, 6))
        )


@given(st.integers(1, 60), st.floats(1e-6, 0.9), st.floats(1e-9, 0.5))
def test_the_critical_number_keeps_the_level_and_one_hit_less_would_break_it(n, p0, alpha):
    k = critical_hits(n, p0, alpha)
    assert 1 <= k <= n + 1
    if k <= n:
        assert rejects(float(binomial_tail_log10(k, n, p0)), alpha)
    assert not rejects(float(binomial_tail_log10(k - 1, n, p0)), alpha)


def test_a_tail_that_equals_the_level_rejects_though_its_logarithm_is_rounded():
    for power_of_ten in range(1, 13):
        for n in range(1, 7):
            p0, alpha = 10.0**-power_of_ten, 10.0 ** -(power_of_ten * n)
            if alpha > 1e-60:
                assert critical_hits(n, p0, alpha) == n  # n hits have the probability p0^n, which is alpha; n - 1 more
    assert [critical_hits(*cell) for cell in ((1, 1e-6, 1e-6), (2, 1e-3, 1e-6), (3, 1e-2, 1e-6))] == [1, 2, 3]
    assert queries_needed(1e-6, 1e-6, 1.0, 0.99) == 1
    assert rejects(-6.0, 1e-6) and not rejects(-6.0 + 1e-9, 1e-6) and rejects(-math.inf, 1e-6)
    for bad in (0.5, math.nan):
        with pytest.raises(ValueError, match="log10_p"):
            rejects(bad, 1e-6)


def test_power_is_the_chance_to_reach_the_critical_number():
    assert critical_hits(10, 1e-4, 1e-6) == 2
    rates = np.array([0.0, 0.1, 0.5, 1.0])
    by_hand = 1 - (1 - rates) ** 10 - 10 * rates * (1 - rates) ** 9
    np.testing.assert_allclose(power(10, 1e-4, 1e-6, rates), by_hand, atol=1e-12)
    assert power(1, 0.5, 1e-6, 1.0) == 0  # one query cannot reject


@given(st.integers(1, 40), st.floats(1e-6, 0.3))
def test_power_rises_with_the_activation_and_equals_the_size_at_p0(n, p0):
    rates = np.linspace(0, 1, 20)
    assert (np.diff(power(n, p0, 1e-3, rates)) >= -1e-12).all()
    assert power(n, p0, 1e-3, p0) <= 1e-3 * (1 + 1e-9)


def test_the_fewest_queries_reach_the_power_and_one_less_does_not():
    n = queries_needed(1e-6, 1e-6, 0.3, 0.95)
    assert power(n, 1e-6, 1e-6, 0.3) >= 0.95 > power(n - 1, 1e-6, 1e-6, 0.3)
    with pytest.raises(ValueError, match="most"):
        queries_needed(0.4, 1e-6, 0.41, 0.95, most=20)
    with pytest.raises(ValueError, match="above p0"):
        queries_needed(0.4, 1e-6, 0.4, 0.95)


def test_the_fewest_queries_are_found_by_trying_all():
    """Against scipy, one number of queries after another; asked for a hair less than what each new best number reaches."""
    p0, alpha, rate, best = 0.05, 0.01, 0.4, 0.0
    for n in range(1, 60):
        hits = next((k for k in range(n + 1) if stats.binom.sf(k - 1, n, p0) <= alpha), n + 1)
        reached = stats.binom.sf(hits - 1, n, rate)
        if reached > best:
            best = reached
            assert queries_needed(p0, alpha, rate, best * (1 - 1e-9)) == n
    assert best > 0.99


def test_the_size_of_the_test_in_simulation():
    # 200,000 tests at level 0.05: the share of rejections has a standard error of at most 0.0005; 0.0025 is five of them.
    n, p0, alpha = 10, 0.1, 0.05
    hits = np.random.default_rng(0).binomial(n, p0, 200_000)
    share = (hits >= critical_hits(n, p0, alpha)).mean()
    exact = 10 ** float(binomial_tail_log10(critical_hits(n, p0, alpha), n, p0))
    assert share == pytest.approx(exact, abs=0.0025) and exact <= alpha


def test_clopper_pearson_against_beta_quantiles_and_a_closed_form():
    k = np.arange(11)
    low, high = clopper_pearson(k, 10, 0.9)
    np.testing.assert_allclose(low[1:], stats.beta.ppf(0.05, k[1:], 11 - k[1:]), rtol=1e-9)
    np.testing.assert_allclose(high[:-1], stats.beta.ppf(0.95, k[:-1] + 1, 10 - k[:-1]), rtol=1e-9)
    assert (low[0], high[-1]) == (0, 1)
    low, high = clopper_pearson(10, 10, 0.95, "lower")
    assert low == pytest.approx(0.05 ** (1 / 10)) and high == 1
    assert low == pytest.approx(0.7411, abs=5e-5)


@given(st.integers(1, 30), st.floats(0.01, 0.99))
def test_clopper_pearson_covers_at_least_as_often_as_it_says(n, p):
    k = np.arange(n + 1)
    low, high = clopper_pearson(k, n, 0.9)
    covered = stats.binom.pmf(k, n, p)[(low <= p) & (p <= high)].sum()
    assert covered >= 0.9 - 1e-9


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: binomial_tail_log10(11, 10, 0.1), "at most n, got 11"),
        (lambda: binomial_tail_log10(-1, 10, 0.1), "k must be at least 0"),
        (lambda: binomial_tail_log10(1.5, 10, 0.1), "whole numbers, got 1.5"),
        (lambda: binomial_tail_log10(1, 0, 0.1), "n must be at least 1"),
        (lambda: binomial_tail_log10(1, 10, 1.2), "p0 must be in"),
        (lambda: binomial_tail_log10(1, 10, -0.2), "p0 must be in"),
        (lambda: binomial_tail_log10(1, 10, math.nan), "NaN"),
        (lambda: binomial_tail_log10([1, 2], 10, [0.1, 0.2, 0.3]), "shape"),
        (lambda: poisson_binomial_tail_log10(3, [0.1, 0.2]), "3 hits in 2 queries"),
        (lambda: poisson_binomial_tail_log10(1, [0.1, 1.2]), "probs must be in"),
        (lambda: poisson_binomial_tail_log10(1), "either"),
        (lambda: poisson_binomial_tail_log10(1, [0.1], log10_probs=[-1.0]), "either"),
        (lambda: poisson_binomial_tail_log10(1, log10_probs=[0.5]), "at most 0"),
        (lambda: shared_signature_log10_bound(1.0, 1, 10), "at most 0"),
        (lambda: shared_signature_log10_bound(-1.0, 11, 10), "at most n"),
        (lambda: critical_hits(10, 2.0, 0.1), "p0 must be in"),
        (lambda: critical_hits(10, 0.1, 0.0), "alpha must be in"),
        (lambda: power(0, 0.1, 0.1, 0.5), "n must be at least 1"),
        (lambda: power(10, 0.1, 0.1, 1.5), "activation must be in"),
        (lambda: clopper_pearson(3, 2), "at most n"),
        (lambda: clopper_pearson(1, 2, 1.0), "level must be in"),
        (lambda: clopper_pearson(1, 2, 0.9, "both"), "side must be one of"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
