"""Proposal, targets, weights, effective sample size, and statistics of the difficulty."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from workings.few_shot.difficulty_sampling import (
    NORMALISATIONS,
    TARGETS,
    A,
    DifficultyStats,
    curriculum_mean,
    effective_sample_size,
    ess_fraction,
    importance_weight,
    normalising_factor,
    target_pdf,
    truncated_normal_pdf,
)

CASES = [(name, None) for name in TARGETS[:-1]] + [("curriculum", p) for p in (0.0, 0.1, 0.5, 0.8, 1.0)]
Z = np.linspace(-A, A, 101)


@pytest.mark.parametrize("loc", [0.0, 1.0, -A, A, 5.0])
@pytest.mark.parametrize("a", [0.5, A, 4.0])
def test_the_proposal_is_scipys_truncated_normal(loc, a):
    z = np.linspace(-a - 1, a + 1, 41)
    theirs = stats.truncnorm(-a - loc, a - loc, loc=loc).pdf(z)
    np.testing.assert_allclose(truncated_normal_pdf(z, loc, a), theirs, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize(("target", "progress"), CASES)
def test_every_target_has_mass_one_on_the_interval_and_none_outside(target, progress):
    pdf = lambda z: float(target_pdf(z, target, progress))
    assert quad(pdf, -A, A, points=[0.0], epsabs=1e-12)[0] == pytest.approx(1.0, abs=1e-9)
    assert pdf(A + 1e-9) == pdf(-A - 1e-9) == 0.0


@pytest.mark.parametrize(("target", "progress"), CASES)
def test_weights_have_mean_one_under_the_proposal_and_the_ess_of_the_closed_form(target, progress):
    q = lambda z: float(truncated_normal_pdf(z))
    w = lambda z: float(importance_weight(z, target, progress))
    first = quad(lambda z: q(z) * w(z), -A, A, points=[0.0], epsabs=1e-12)[0]
    second = quad(lambda z: q(z) * w(z) ** 2, -A, A, points=[0.0], epsabs=1e-12)[0]
    assert first == pytest.approx(1.0, abs=1e-9)
    assert ess_fraction(target, progress) == pytest.approx(first**2 / second, rel=1e-9)


def test_the_published_constants():
    assert float(importance_weight(0.0, "uniform")) == pytest.approx(0.480981, abs=5e-7)
    assert ess_fraction("uniform") == pytest.approx(0.399092, abs=5e-7)
    assert ess_fraction("easy") == ess_fraction("hard") == pytest.approx(0.199546, abs=5e-7)
    assert ess_fraction("curriculum", 0.5) == pytest.approx(1.0, abs=1e-12)
    assert ess_fraction("curriculum", 0.0) == pytest.approx(0.0657, abs=5e-5)
    assert ess_fraction("curriculum", 1.0) == pytest.approx(ess_fraction("curriculum", 0.0), rel=1e-12)
    assert ess_fraction("regular") == 1.0


def test_the_ess_of_a_sample_goes_to_the_closed_form():
    # The proposal's 20,000 mid-quantiles: no chance, and an error of order 1/n in the tails.
    z = stats.truncnorm(-A, A).ppf((np.arange(20_000) + 0.5) / 20_000)
    for target, progress in CASES:
        share = effective_sample_size(importance_weight(z, target, progress)) / len(z)
        assert share == pytest.approx(ess_fraction(target, progress), rel=5e-3), (target, progress)


def test_weights_turn_the_moments_of_the_proposal_into_those_of_the_target():
    moment = lambda target, power: quad(
        lambda z: z**power * float(truncated_normal_pdf(z) * importance_weight(z, target)), -A, A, points=[0.0]
    )[0]
    assert moment("uniform", 1) == pytest.approx(0.0, abs=1e-9)
    assert moment("uniform", 2) == pytest.approx(A**2 / 3, rel=1e-9)
    assert moment("easy", 1) == pytest.approx(-A / 2, rel=1e-9)
    assert moment("hard", 1) == pytest.approx(A / 2, rel=1e-9)


def test_uniform_weights_are_symmetric_and_grow_away_from_the_middle():
    w = importance_weight(Z, "uniform")
    np.testing.assert_allclose(w, w[::-1], rtol=1e-12)
    assert (np.diff(w[50:]) > 0).all()
    factor = math.erf(A / math.sqrt(2)) * math.sqrt(2 * math.pi) / (2 * A)
    np.testing.assert_allclose(w, factor * np.exp(Z**2 / 2), rtol=1e-12)


def test_easy_and_hard_are_mirror_images_and_twice_the_uniform_on_their_half():
    np.testing.assert_allclose(importance_weight(Z, "easy"), importance_weight(-Z, "hard"), rtol=1e-12)
    left = Z < -1e-9
    np.testing.assert_allclose(importance_weight(Z, "easy")[left], 2 * importance_weight(Z, "uniform")[left])
    assert (importance_weight(Z, "easy")[Z > 1e-9] == 0).all()


@given(st.floats(0, 1), st.floats(-4, 4))
def test_a_curriculum_runs_the_same_way_backwards_and_forwards(progress, z):
    forward = importance_weight(z, "curriculum", progress, "zero")
    backward = importance_weight(-z, "curriculum", 1 - progress, "zero")
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-12)


def test_half_way_the_curriculum_is_the_regular_sampling():
    z = np.linspace(-4, 4, 33)
    assert (importance_weight(z, "curriculum", 0.5) == 1.0).all()
    assert (importance_weight(z, "regular") == 1.0).all()


def test_the_curriculum_begins_easy_and_ends_hard():
    assert curriculum_mean("curriculum", 0.0) == -A
    assert curriculum_mean("curriculum", 1.0) == A
    assert curriculum_mean("curriculum", 0.75) == pytest.approx(A / 2)


@pytest.mark.parametrize(("target", "progress"), CASES)
def test_outside_the_interval_the_code_says_one_and_the_mathematics_nothing(target, progress):
    z = np.array([-np.inf, -3.0, -A - 1e-9, A + 1e-9, 3.0, np.inf])
    assert (importance_weight(z, target, progress) == 1.0).all()
    assert (importance_weight(z, target, progress, "zero") == 0.0).all()
    inside = np.linspace(-A, A, 9)
    np.testing.assert_array_equal(
        importance_weight(inside, target, progress), importance_weight(inside, target, progress, "zero")
    )


def test_on_a_wider_interval_the_codes_threshold_reaches_inside():
    # a = 4: the proposal at 3.6 is 0.0006, below 0.001, and the uniform target 0.125 is not
    proposal = float(stats.norm.pdf(3.6)) / math.erf(4 / math.sqrt(2))
    found = float(importance_weight(3.6, "uniform", a=4.0))
    assert found == pytest.approx(0.125 / (proposal + 0.001), rel=1e-12)
    assert float(importance_weight(3.6, "uniform", outside="zero", a=4.0)) == pytest.approx(0.125 / proposal)
    assert float(importance_weight(3.6, "easy", a=4.0)) == 1.0  # both densities are below 0.001


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_weights_keep_the_shape(shape):
    assert importance_weight(np.zeros(shape), "uniform").shape == shape


weights = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=20)


@given(weights, st.floats(1e-6, 1e6))
def test_an_effective_sample_size_is_between_one_and_the_sample_and_knows_no_scale(w, factor):
    size = float(effective_sample_size(w))
    if max(w) == 0:
        assert size == 0.0
    else:
        assert 1 - 1e-9 <= size <= len(w) * (1 + 1e-9)
        assert float(effective_sample_size(np.array(w) * factor)) == pytest.approx(size, rel=1e-9)


def test_effective_sample_sizes_by_hand():
    assert effective_sample_size([2.0, 2.0, 2.0]) == 3.0
    assert effective_sample_size([0.0, 7.0, 0.0]) == 1.0
    assert effective_sample_size([1.0, 3.0]) == pytest.approx(1.6)
    assert effective_sample_size([0.0, 0.0]) == 0.0
    assert effective_sample_size([1e200, 1e200]) == 2.0
    np.testing.assert_allclose(effective_sample_size([[1.0, 1.0], [0.0, 1.0]]), [2.0, 1.0])


def test_factors_by_hand():
    w = [1.0, 3.0]
    assert normalising_factor(w, "ess") == pytest.approx(10 / 16)
    assert normalising_factor(w, "sum") == pytest.approx(1 / 4)
    assert normalising_factor(w, "mean") == pytest.approx(1 / 2)
    for name in NORMALISATIONS:
        assert normalising_factor([1.0] * 5, name) == pytest.approx(0.2)
    assert normalising_factor([0.0, 0.0], "ess") == normalising_factor([0.0, 0.0], "sum") == 1.0


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=10))
def test_the_codes_factor_is_the_self_normalised_one_times_a_ratio_of_sums(w):
    w = np.array(w)
    ratio = (w**2).sum() / w.sum()
    assert normalising_factor(w, "ess") == pytest.approx(normalising_factor(w, "sum") * ratio, rel=1e-9)


# Statistics


def test_offline_statistics_are_mean_and_sample_variance():
    values = np.random.default_rng(0).gamma(2.0, size=50)
    found = DifficultyStats("offline").fit(values)
    assert (found.mean, found.variance) == (pytest.approx(values.mean()), pytest.approx(values.var(ddof=1)))
    np.testing.assert_allclose(found.standardise(values), stats.zscore(values, ddof=1))
    np.testing.assert_array_equal(found.weigh(values, "hard"), importance_weight(found.standardise(values), "hard"))
    assert found.mean == pytest.approx(values.mean())  # weighing takes nothing in


def test_the_moving_averages_by_hand():
    tracked = DifficultyStats("online")
    tracked.update(1.0)
    assert (tracked.mean, tracked.variance, tracked.seen) == (1.0, None, 1)
    tracked.update(3.0)
    assert (tracked.mean, tracked.variance) == (pytest.approx(1.2), 4.0)
    tracked.update(2.2)  # around the old mean 1.2: 0.9 * 4 + 0.1 * 1; around the new one it would be 3.681
    assert (tracked.mean, tracked.variance) == (pytest.approx(1.3), pytest.approx(3.7))


def test_an_episode_is_weighed_before_it_is_taken_in():
    tracked = DifficultyStats("online").update([1.0, 3.0])
    mean, sd = tracked.mean, math.sqrt(tracked.variance)
    assert tracked.weigh([2.5]) == importance_weight((2.5 - mean) / sd, "uniform")
    assert tracked.seen == 3
    # the second of a batch sees the first
    again, one_by_one = DifficultyStats("online").update([1.0, 3.0]), DifficultyStats("online").update([1.0, 3.0])
    batch = again.weigh([2.5, 0.5, 1.0], "easy")
    singles = [float(one_by_one.weigh([v], "easy")[0]) for v in (2.5, 0.5, 1.0)]
    np.testing.assert_allclose(batch, singles)
    assert again.mean == one_by_one.mean


def test_the_warm_up_counts_episodes_and_still_learns():
    stream = np.random.default_rng(0).normal(size=30)
    warm, cold = DifficultyStats("online", warmup=20), DifficultyStats("online")
    w, v = warm.weigh(stream), cold.weigh(stream)
    assert (w[:20] == 1).all()
    np.testing.assert_array_equal(w[20:], v[20:])
    assert (v[:2] == 1).all()
    assert (v[2:] != 1).any()
    assert warm.mean == cold.mean


def test_the_tracked_mean_has_the_variance_that_theory_says():
    # i.i.d. normal stream: mean of the tracked mean 0, its variance (1 - b)/(1 + b) = 0.0526. 4,000 independent streams of 100:
    # the variance estimate has a relative standard error of sqrt(2/4000) = 2.2%, 10% is 4.5 of them; the mean's is 0.0036.
    rng = np.random.default_rng(0)
    means = [DifficultyStats("online").update(stream).mean for stream in rng.normal(size=(4000, 100))]
    assert np.var(means) == pytest.approx(0.1 / 1.9, rel=0.1)
    assert np.mean(means) == pytest.approx(0.0, abs=4.5 * 0.0036)


def test_the_tracked_variance_is_that_of_a_new_value_about_the_old_mean():
    # E(v - old mean)^2 = 1 + 0.0526 for the same stream; with the new mean it would be 0.81 of that.
    rng = np.random.default_rng(1)
    found = [DifficultyStats("online").update(stream).variance for stream in rng.normal(size=(4000, 100))]
    # sd of one tracked variance is about sqrt(0.0526 * 2) * 1.05 = 0.34, of the mean 0.0054; 0.025 is 4.6 of them
    assert np.mean(found) == pytest.approx(1 + 0.1 / 1.9, abs=0.025)


def test_a_constant_stream_is_no_division_by_zero():
    for known in (DifficultyStats("online").update([2.0, 2.0, 2.0]), DifficultyStats("offline").fit([2.0, 2.0])):
        assert known.variance == 0.0
        np.testing.assert_array_equal(known.standardise([1.0, 2.0, 5.0]), [0.0, 0.0, 0.0])
        np.testing.assert_array_equal(known.weigh([2.0, 2.0]), [1.0, 1.0])


@settings(max_examples=30)
@given(st.lists(st.floats(0, 100), min_size=3, max_size=30), st.floats(0.1, 50), st.floats(-50, 50))
def test_weights_do_not_see_the_unit_of_the_difficulty(stream, unit, shift):
    one, other = DifficultyStats("online"), DifficultyStats("online")
    one.update(stream)
    other.update([unit * v + shift for v in stream])
    assert other.mean == pytest.approx(unit * one.mean + shift, rel=1e-9, abs=1e-9)
    assert other.variance == pytest.approx(unit**2 * one.variance, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: importance_weight(0.0, "flat"), ValueError, "'uniform'"),
        (lambda: importance_weight(0.0, "curriculum"), ValueError, "progress"),
        (lambda: importance_weight(0.0, "curriculum", 1.2), ValueError, r"\[0, 1\]"),
        (lambda: importance_weight(0.0, "curriculum", -0.1), ValueError, r"\[0, 1\]"),
        (lambda: importance_weight(0.0, "uniform", 0.5), ValueError, "curriculum"),
        (lambda: importance_weight(0.0, "uniform", outside="drop"), ValueError, "outside"),
        (lambda: importance_weight(math.nan, "uniform"), ValueError, "NaN"),
        (lambda: importance_weight("easy", "uniform"), TypeError, "numbers"),
        (lambda: importance_weight(0.0, "uniform", a=0.0), ValueError, "a must"),
        (lambda: truncated_normal_pdf(0.0, 60.0), ValueError, "no mass"),
        (lambda: ess_fraction("curriculum"), ValueError, "progress"),
        (lambda: ess_fraction("both"), ValueError, "target"),
        (lambda: effective_sample_size([-1.0, 2.0]), ValueError, "at least 0"),
        (lambda: effective_sample_size([math.inf]), ValueError, "infinite"),
        (lambda: effective_sample_size(3.0), ValueError, "one weight per episode"),
        (lambda: normalising_factor([1.0], "batch"), ValueError, "normalise"),
        (lambda: normalising_factor([[1.0]], "ess"), ValueError, "dimension"),
        (lambda: DifficultyStats("both"), ValueError, "mode"),
        (lambda: DifficultyStats("online", momentum=1.0), ValueError, "momentum"),
        (lambda: DifficultyStats("online", momentum=-0.1), ValueError, "momentum"),
        (lambda: DifficultyStats("online", warmup=-1), ValueError, "warmup"),
        (lambda: DifficultyStats("online", warmup=1.5), TypeError, "warmup"),
        (lambda: DifficultyStats("online").fit([1.0, 2.0]), ValueError, "update"),
        (lambda: DifficultyStats("offline").update(1.0), ValueError, "fit"),
        (lambda: DifficultyStats("offline").fit([1.0]), ValueError, "at least 2"),
        (lambda: DifficultyStats("offline").fit([1.0, math.nan]), ValueError, "NaN"),
        (lambda: DifficultyStats("offline").standardise([1.0]), ValueError, "fit"),
        (lambda: DifficultyStats("online").update(1.0).standardise([1.0]), ValueError, "two"),
        (lambda: DifficultyStats("online").weigh([math.inf]), ValueError, "infinite"),
        (lambda: DifficultyStats("online").weigh(1.0), ValueError, "dimension"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call()
