"""Repeated recalibration on cached scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from workings.uncertainty.conformal import conformal_rank, conformal_threshold
from workings.uncertainty.monte_carlo import monte_carlo_size, resplit
from workings.uncertainty.scores import interval_size, lac, residual_cum_factor, set_size, true_label
from workings.uncertainty.set_size import expected_set_size_known
from workings.uncertainty.set_size_exact import expected_set_size_exact

TWICE = residual_cum_factor()


def all_splits(scores, n_cal, alpha, size):
    """Average size and coverage over every possible split, by enumeration; ``size(tau, test)``."""
    sizes, coverages, points = [], [], range(len(scores))
    for cal in itertools.combinations(points, n_cal):
        test = np.array([i for i in points if i not in cal])
        tau = conformal_threshold(scores[list(cal)], alpha)
        sizes.append(size(tau, test))
        coverages.append(np.mean(scores[test] <= tau))
    return np.array(sizes), np.array(coverages)


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_split_uses_every_point_once():
    cal, test = resplit(50, 20, np.random.default_rng(0))
    assert (len(cal), len(test)) == (20, 30)
    assert sorted([*cal, *test]) == list(range(50))


def test_a_split_depends_on_the_generator_alone():
    first, again, other = (resplit(50, 20, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_set_of_points_calibrates_equally_often():
    """The 10 pairs out of 5 points, 5000 draws; chi-square with 9 degrees of freedom, false alarm 1e-6."""
    generator, counts = np.random.default_rng(3), dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for _ in range(5000):
        counts[tuple(sorted(resplit(5, 2, generator)[0].tolist()))] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


# --- sizes and coverage ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_monte_carlo_average_is_that_of_all_possible_splits(alpha):
    """8 points, 70 splits, 3000 draws: within 5 standard errors, false alarm 6e-7 for each of the two averages."""
    generator = np.random.default_rng(4)
    table = lac(generator.dirichlet(np.ones(4), 8))
    scores = true_label(table, generator.integers(0, 4, 8))
    sizes, coverages = all_splits(scores, 4, alpha, lambda tau, test: set_size(table[test] <= tau).mean())
    result = monte_carlo_size(scores, 4, alpha, 3000, generator, all_scores=table)
    assert abs(result.mean_size - sizes.mean()) < 5 * sizes.std() / math.sqrt(3000)
    assert abs(result.mean_coverage - coverages.mean()) < 5 * coverages.std() / math.sqrt(3000)
    # By exchangeability the average coverage over all splits is exactly k/(n + 1), for any tie-free scores.
    assert coverages.mean() == pytest.approx(conformal_rank(4, alpha) / 5, abs=1e-12)


def test_each_repeat_is_the_split_it_says():
    generator = np.random.default_rng(5)
    scores, lo = generator.random(30), generator.random(30)
    hi = lo + generator.random(30)
    result = monte_carlo_size(
        scores, 12, 0.2, 4, np.random.default_rng(6), size_function=lambda t: interval_size(lo, hi, t)
    )
    replay = np.random.default_rng(6)
    for tau, size, coverage in zip(result.thresholds, result.sizes, result.coverages, strict=True):
        cal, test = resplit(30, 12, replay)
        assert tau == conformal_threshold(scores[cal], 0.2)
        assert size == pytest.approx(interval_size(lo[test], hi[test], tau).mean(), rel=1e-14)
        assert coverage == np.mean(scores[test] <= tau)


def test_label_table_and_size_function_agree():
    generator = np.random.default_rng(7)
    table = lac(generator.dirichlet(np.ones(5), 60))
    scores = true_label(table, generator.integers(0, 5, 60))
    by_table = monte_carlo_size(scores, 25, 0.1, 20, np.random.default_rng(8), all_scores=table)
    by_function = monte_carlo_size(
        scores, 25, 0.1, 20, np.random.default_rng(8), size_function=lambda tau: set_size(table <= tau)
    )
    assert np.allclose(by_table.sizes, by_function.sizes, rtol=1e-14)
    assert np.array_equal(by_table.coverages, by_function.coverages)


def test_sets_are_closed_so_that_tied_scores_are_covered():
    scores = np.array([0.0] * 90 + [1.0] * 10)  # a 0-1 score
    table = np.stack([np.zeros(100), np.ones(100)], axis=1)
    result = monte_carlo_size(scores, 50, 0.2, 200, np.random.default_rng(9), all_scores=table)
    assert result.mean_coverage >= 0.8
    assert result.mean_size >= 1.0
    # Open sets {s < tau} would cover nothing whenever the threshold is 0, which it nearly always is here.
    assert np.mean(result.thresholds == 0.0) > 0.9


def test_an_infinite_threshold_admits_every_label():
    table = np.random.default_rng(10).random((20, 3))
    result = monte_carlo_size(table[:, 0], 8, 0.1, 5, np.random.default_rng(11), all_scores=table)
    assert (result.thresholds == np.inf).all()
    assert (result.sizes == 3.0).all()
    assert (result.coverages == 1.0).all()
    interval = monte_carlo_size(table[:, 0], 8, 0.1, 5, np.random.default_rng(11), size_function=TWICE)
    assert (interval.sizes == np.inf).all()


def test_monte_carlo_meets_the_exact_size_with_fresh_data():
    """300 independent data sets, one split each, so that the repeats are independent: 4 standard errors, 6e-5."""
    generator, exact = np.random.default_rng(12), expected_set_size_exact(stats.halfnorm.cdf, 100, 0.1, TWICE, 0, 10)
    sizes = [
        monte_carlo_size(np.abs(generator.normal(size=150)), 100, 0.1, 1, generator, size_function=TWICE).mean_size
        for _ in range(300)
    ]
    assert abs(np.mean(sizes) - exact) < 4 * np.std(sizes) / math.sqrt(300)


def test_pooling_models_hides_that_each_has_its_own_expected_size():
    """Two models, residuals of scale 1 and 2. Each interval (false alarm 1e-6) holds its own model's size; the pooled
    average, which the reference code compares with, lies outside both, and its spread is mostly that of the models.
    """
    generator, runs, estimates = np.random.default_rng(13), [], []
    for scale in (1.0, 2.0):
        scores = scale * np.abs(generator.normal(size=8000))
        estimates.append(expected_set_size_known(scores, 500, 0.1, TWICE, 0, 20, gamma=1e-6))
        runs.append(monte_carlo_size(scores, 500, 0.1, 200, generator, size_function=TWICE))
        truth = expected_set_size_exact(lambda r, s=scale: stats.halfnorm.cdf(r / s), 500, 0.1, TWICE, 0, 20)
        assert estimates[-1].contains(truth)
        assert estimates[-1].contains(runs[-1].mean_size)
    pooled = np.concatenate([run.sizes for run in runs])
    assert not any(estimate.contains(pooled.mean()) for estimate in estimates)
    assert pooled.std() > 4 * max(run.sizes.std() for run in runs)


def test_the_generator_fixes_the_result():
    scores = np.random.default_rng(14).random(40)
    first, again = (monte_carlo_size(scores, 20, 0.1, 6, np.random.default_rng(15), size_function=TWICE) for _ in "ab")
    assert np.array_equal(first.sizes, again.sizes)


def test_tensors_are_resplit_too():
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(16).random((40, 3))
    ours = monte_carlo_size(table[:, 0], 20, 0.2, 5, np.random.default_rng(17), all_scores=table)
    theirs = monte_carlo_size(
        torch.tensor(table[:, 0]), 20, 0.2, 5, np.random.default_rng(17), all_scores=torch.tensor(table)
    )
    assert np.array_equal(ours.sizes, theirs.sizes)


# --- bad input -------------------------------------------------------------------------------------------------------

SCORES = np.linspace(0, 1, 10)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((SCORES, 10, 0.1, 3), {"size_function": TWICE}, "n_cal must be at most 9"),
        ((SCORES, 0, 0.1, 3), {"size_function": TWICE}, "at least 1"),
        ((SCORES, 5, 0.1, 0), {"size_function": TWICE}, "repeats must be"),
        ((SCORES, 5, 1.0, 3), {"size_function": TWICE}, "alpha must be"),
        (([], 5, 0.1, 3), {"size_function": TWICE}, "empty"),
        (([0.5, math.nan, 1.0], 1, 0.1, 3), {"size_function": TWICE}, "NaN"),
        (([0.5, math.inf, 1.0], 1, 0.1, 3), {"size_function": TWICE}, "infinite"),
        ((SCORES, 5, 0.1, 3), {}, "exactly one"),
        ((SCORES, 5, 0.1, 3), {"size_function": TWICE, "all_scores": np.ones((10, 2))}, "exactly one"),
        ((SCORES, 5, 0.1, 3), {"all_scores": np.ones((9, 2))}, "one row per score"),
        ((SCORES, 5, 0.1, 3), {"all_scores": np.ones(10)}, "dimension"),
        ((SCORES, 5, 0.3, 3), {"size_function": lambda tau: np.ones(5)}, "one size per point"),
        ((SCORES, 5, 0.3, 3), {"size_function": lambda tau: -1.0}, "clip it"),  # the unclipped CQR width
        ((SCORES, 5, 0.3, 3), {"size_function": lambda tau: math.nan}, "NaN"),
    ],
)
def test_bad_input_is_refused_before_any_split(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        monte_carlo_size(*arguments, np.random.default_rng(0), **options)


@pytest.mark.parametrize("generator", [None, 0, np.random])
def test_randomness_must_come_from_a_generator(generator):
    with pytest.raises(TypeError, match="default_rng"):
        resplit(10, 5, generator)
