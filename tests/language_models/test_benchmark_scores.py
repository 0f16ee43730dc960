"""Weights, intervals, releases, correlations and a judge's errors, by hand and in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workings.language_models.benchmark_scores import (
    active_questions,
    aggregate,
    bootstrap_overall,
    judge_confusion,
    leaked_share,
    pearson,
    spearman,
)

CATEGORY = {"a": "x", "b": "x", "c": "y"}


def test_equal_weights_are_not_the_mean_of_questions():
    scores, task = [1, 1, 1, 1, 1, 1, 0, 0.5], ["a"] * 6 + ["b", "c"]
    found = aggregate(scores, task, CATEGORY)
    assert found.tasks == {"a": 1.0, "b": 0.0, "c": 0.5} and found.categories == {"x": 0.5, "y": 0.5}
    assert found.overall == 0.5 != np.mean(scores)


def test_a_task_counts_the_same_however_many_questions_it_has():
    few = aggregate([1, 0, 0.5], ["a", "b", "c"], CATEGORY)
    many = aggregate([1] * 50 + [0] * 3 + [0.5] * 7, ["a"] * 50 + ["b"] * 3 + ["c"] * 7, CATEGORY)
    assert few == many


@pytest.mark.parametrize(
    ("scores", "task", "category", "error", "word"),
    [
        ([1, 0], ["a", "b"], CATEGORY, ValueError, "no question of the tasks"),
        ([1, 0, 1], ["a", "b", "z"], CATEGORY, ValueError, "no category"),
        ([1, 0, 100], ["a", "b", "c"], CATEGORY, ValueError, "divide points by 100"),
        ([1, 0, np.nan], ["a", "b", "c"], CATEGORY, ValueError, "scores"),
        ([1, 0], ["a", "b", "c"], CATEGORY, ValueError, "2 scores but 3 tasks"),
        ([], [], CATEGORY, ValueError, "scores"),
        ([1], ["a"], {}, TypeError, "category"),
        ([1], "a", {"a": "x"}, TypeError, "not one text"),
    ],
)
def test_what_has_no_mean_is_refused(scores, task, category, error, word):
    with pytest.raises(error, match=word):
        aggregate(scores, task, category)


def test_the_width_of_an_interval_falls_with_the_root_of_the_number_of_questions():
    # Half-widths of percentile bootstraps with 4000 draws vary by a few per cent; the ratio's tolerance is 15 %.
    rng, widths = np.random.default_rng(0), []
    for size in (100, 400):
        scores = np.tile([0.0, 1.0], 3 * size // 2)
        low, high = bootstrap_overall(scores, ["a"] * size + ["b"] * size + ["c"] * size, CATEGORY, 4000, rng=rng)
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_intervals_cover_as_often_as_they_say():
    # 400 simulated models, 60 questions a task, 95 % intervals: the share has a standard error of 0.011; the within-task spread is
    # too small by sqrt(59/60), so about 94.5 % are expected; 0.90 to 0.985 is 3.5 standard errors and more either way.
    rng, held = np.random.default_rng(3), 0
    task = ["a"] * 60 + ["b"] * 60 + ["c"] * 60
    chance = np.repeat([0.3, 0.6, 0.5], 60)
    truth = aggregate(chance, task, CATEGORY).overall
    for _ in range(400):
        low, high = bootstrap_overall((rng.random(180) < chance).astype(float), task, CATEGORY, 300, rng=rng)
        held += low <= truth <= high
    assert 0.90 <= held / 400 <= 0.985


def test_a_removal_date_equal_to_the_release_removes():
    questions = [
        {"released": "2024-06-24"}, {"released": "2024-06-24", "removed": "2024-08-31"}, {"released": "2024-08-31", "removed": None},
        {"released": "2024-11-25", "removed": ""},
    ]  # fmt: skip
    at = {day: active_questions(questions, day) for day in ("2024-06-24", "2024-08-30", "2024-08-31", "2024-11-25")}
    assert [len(found) for found in at.values()] == [2, 2, 2, 3]
    assert at["2024-08-31"] == [questions[0], questions[2]]
    assert active_questions(at["2024-08-31"], "2024-08-31") == at["2024-08-31"]
    for bad in ("2024-6-24", None, "today"):
        with pytest.raises(ValueError, match="date"):
            active_questions(questions, bad)
    with pytest.raises(ValueError, match="question 0"):
        active_questions([{}], "2024-06-24")


def test_the_leaked_share_is_that_of_a_counted_rotation():
    for period in (1, 4, 6):
        ages = np.arange(period)  # right after a refresh
        assert [leaked_share(period, leak) for leak in range(8)] == [float((ages >= leak).mean()) for leak in range(8)]
    assert [leaked_share(6, t) for t in (0, 1, 6)] == [1.0, 5 / 6, 0.0]


def test_a_judge_is_undone_by_hand_and_in_simulation():
    passed, failed = judge_confusion([0.38, 0.34], [0.68, 0.52], [0.42, 0.46])
    assert np.allclose(passed * 50, [18, 16]) and np.allclose(failed * 50, [3, 7])  # v1, zebra: whole answers of 50
    rng = np.random.default_rng(0)
    for _ in range(200):
        right, said = rng.random((2, 30)) < rng.random((2, 1))
        found = judge_confusion(right.mean(), said.mean(), (right != said).mean())
        assert np.allclose(found, [(said & ~right).mean(), (right & ~said).mean()])


@pytest.mark.parametrize(
    ("rates", "word"),
    [
        ((0.4, 0.7, 0.2), "rarely"),
        ((0.5, 0.5, 1.1), "error_rate"),
        ((0.1, 0.1, 0.9), "too high"),
        ((np.nan, 0.5, 0.5), "true_rate"),
    ],
)
def test_rates_that_no_judge_can_have(rates, word):
    with pytest.raises(ValueError, match=word):
        judge_confusion(*rates)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=20))
def test_correlations_are_those_of_scipy(pairs):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        with pytest.raises(ValueError, match="constant"):
            pearson(x, y)
        return
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_a_perfect_correlation_is_not_rounded_beyond_one():
    rng = np.random.default_rng(0)
    for _ in range(200):  # unclipped, about one in nine comes out above 1 in magnitude
        x = rng.normal(size=7)
        assert 1 - 1e-12 <= pearson(x, 3 * x + 1) <= 1 and -1 <= pearson(x, 1 - 3 * x) <= -1 + 1e-12
