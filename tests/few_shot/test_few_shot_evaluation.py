"""Accuracy over episodes, paired differences, hardness and its line."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from workings.few_shot.episodes import Episodes, EpisodeSampler
from workings.few_shot.evaluation import accuracy_summary, centroid_accuracy, paired_difference
from workings.few_shot.hardness import episode_hardness, hardness_line_area
from workings.few_shot.prototypes import cosine_logits, support_init
from workings.seeding import numpy_generator, torch_generator


def randn(*shape, name="x"):
    return torch.randn(*shape, generator=torch_generator(0, "evaluation", name), dtype=torch.float64)


def test_a_summary_is_the_textbook_one_with_n_minus_one():
    values = np.array([0.2, 0.4, 0.9, 0.5])
    found = accuracy_summary(values)
    assert found.mean == pytest.approx(0.5)
    assert found.sd == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 3))
    assert found.half_width == pytest.approx(1.96 * found.sd / 2)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.05, 0.95]))) and found.episodes == 4
    assert accuracy_summary(torch.tensor([0.5, 0.5])).sd == 0


def test_intervals_hold_the_mean_about_95_times_in_100():
    # 2,000 intervals of 100 draws each; the share that hold is binomial, sd 0.0049 at 0.95. Four of them: false alarm 6e-5
    # (the normal 1.96 in place of Student's 1.984 costs 0.003).
    draws = numpy_generator(0, "intervals").normal(3.0, 2.0, (2000, 100))
    held = [abs((s := accuracy_summary(row)).mean - 3.0) <= s.half_width for row in draws]
    assert np.mean(held) == pytest.approx(0.947, abs=0.02)


def test_a_paired_interval_drops_what_both_share():
    rng = numpy_generator(0, "pairs")
    episode = rng.normal(0, 10, 500)  # easy or hard for both
    a, b = episode + rng.normal(1, 1, 500), episode + rng.normal(0, 1, 500)
    found = paired_difference(a, b)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert found.half_width == pytest.approx(1.96 * np.std(a - b, ddof=1) / math.sqrt(500))
    assert abs(found.mean - 1) < 4 * math.sqrt(2 / 500)
    assert found.half_width < accuracy_summary(a).half_width / 4
    assert paired_difference(b, a).mean == -found.mean
    assert paired_difference(a, a).half_width == 0


def test_the_accuracy_of_a_block_of_episodes_is_that_of_each_by_hand():
    features, labels = randn(60, 6), torch.arange(6).repeat_interleave(10)
    episodes = EpisodeSampler(labels, 4, 2, 5, torch_generator(0, "e")).sample(30)
    for relu in (True, False):
        found = centroid_accuracy(features, episodes, relu, block=7)
        for k in range(30):
            support, query = (part[k].flatten() for part in (episodes.support, episodes.query))
            start = support_init(features[support], episodes.support_labels(), 4, relu)
            guess = cosine_logits(features[query], *start, relu).argmax(dim=1)
            assert found[k].item() == pytest.approx((guess == episodes.query_labels()).double().mean().item())


def test_features_that_are_their_class_are_always_right_and_noise_is_right_by_chance():
    labels = torch.arange(8).repeat_interleave(20)
    episodes = EpisodeSampler(labels, 5, 1, 15, torch_generator(0, "e")).sample(400)
    assert centroid_accuracy(torch.eye(8)[labels], episodes).min() == 1.0
    noise = torch.randn(160, 10, generator=torch_generator(0, "noise"))
    # Features are the same in all episodes, so only the mean over relabellings is chance; it strays by under 0.03 here.
    assert centroid_accuracy(noise, episodes, relu=False).mean().item() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_queries_on_orthonormal_prototypes_have_the_least_hardness_that_rectified_features_allow(k):
    eye, y = torch.eye(k, dtype=torch.float64), torch.arange(k)
    for relu in (True, False):
        assert episode_hardness(eye, y, eye, y, relu).item() == pytest.approx(math.log(k - 1) - 1)
    same = torch.ones(k, 3, dtype=torch.float64)
    assert episode_hardness(same, y, same, y).item() == pytest.approx(math.log(k - 1))


def test_hardness_is_the_mean_log_odds_and_keeps_its_bounds():
    y, yq = torch.arange(5).repeat(2), torch.tensor([0, 1, 1, 4, 2, 3, 3])
    for k in range(20):
        s, q = randn(10, 6, name=f"s{k}"), randn(7, 6, name=f"q{k}")
        for relu, bound in ((False, 2.0), (True, 1.0)):
            p = cosine_logits(q, *support_init(s, y, 5, relu), relu).softmax(dim=1)[torch.arange(7), yq]
            found = episode_hardness(s, y, q, yq, relu)
            torch.testing.assert_close(found, ((1 - p) / p).log().mean())
            assert abs(found.item() - math.log(4)) <= bound


def test_with_two_ways_it_is_the_wrong_cosine_minus_the_right_one():
    s, q, yq = randn(2, 4), randn(6, 4, name="q"), torch.tensor([0, 1, 1, 0, 0, 1])
    z = cosine_logits(q, *support_init(s, [0, 1], 2, False), False)
    expected = (z.gather(1, 1 - yq[:, None]) - z.gather(1, yq[:, None])).mean()
    torch.testing.assert_close(episode_hardness(s, [0, 1], q, yq), expected)


def test_rectified_support_alone_has_its_own_value_and_bound():
    # Class means (1, 0) and (0, 1) after rectifying, (1, -1) and (0, 1) before; the query is along (-1, 1).
    s, q = (
        torch.tensor([[2.0, -2.0], [0.0, 3.0]], dtype=torch.float64),
        torch.tensor([[-1.0, 1.0]], dtype=torch.float64),
    )
    of = lambda relu, label: episode_hardness(s, [0, 1], q, [label], relu).item()
    assert of("support", 0) == pytest.approx(math.sqrt(2)) and of("support", 1) == pytest.approx(-math.sqrt(2))
    assert of(False, 0) == pytest.approx(1 + math.sqrt(1 / 2)) and of(True, 0) == pytest.approx(1)
    y, yq = torch.arange(5).repeat(2), torch.tensor([0, 1, 1, 4, 2, 3, 3])
    for k in range(20):
        s, q = randn(10, 6, name=f"s{k}"), randn(7, 6, name=f"q{k}")
        p = cosine_logits(q, *support_init(s, y, 5, True), False).softmax(dim=1)[torch.arange(7), yq]
        found = episode_hardness(s, y, q, yq, "support")
        torch.testing.assert_close(found, ((1 - p) / p).log().mean())
        torch.testing.assert_close(found, episode_hardness(s.relu(), y, q, yq))
        assert abs(found.item() - math.log(4)) <= math.sqrt(2)
    with pytest.raises(ValueError, match="relu must be one of 'support', got 'query'"):
        episode_hardness(s, y, q, yq, "query")


def test_a_block_of_episodes_has_the_hardness_of_each():
    s, q, y = randn(3, 4, 6), randn(3, 8, 6, name="q"), torch.tensor([0, 0, 1, 1])
    yq = torch.tensor([0, 1] * 4)
    found = episode_hardness(s, y, q, yq)
    torch.testing.assert_close(found, torch.stack([episode_hardness(a, y, b, yq) for a, b in zip(s, q, strict=True)]))


def test_the_area_under_an_exact_line_is_that_of_its_triangle():
    x = np.linspace(-1, 5, 9)
    found = hardness_line_area(x, 90 - 12 * x)
    assert found.slope == pytest.approx(-12) and found.intercept == pytest.approx(90)
    assert found.r == pytest.approx(-1) and found.area == pytest.approx(90 * (90 / 12) / 2)


def test_the_line_is_that_of_scipy():
    rng = numpy_generator(0, "line")
    x = rng.normal(2, 1, 200)
    y = 80 - 10 * x + rng.normal(0, 8, 200)
    line, found = stats.linregress(x, y), hardness_line_area(x, y)
    assert (found.slope, found.intercept, found.r) == pytest.approx((line.slope, line.intercept, line.rvalue))


def test_what_has_no_line_or_no_odds_is_refused():
    up = np.arange(5.0)
    for x, y, match in (
        (up, 10 * up, "does not fall"),
        (up, np.full(5, 50.0), "does not fall"),
        (np.ones(5), up, "the same for every episode"),
        (np.full(5, 1e9) + 1e-7 * up, up, "the same for every episode"),
        (up, -5 - up, "not above 0"),
        (up[:1], up[:1], "2 or more"),
        (up, up[:3], "the same 2 or more"),
        (up * np.nan, up, "NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            hardness_line_area(x, y)
    x, y = torch.ones(2, 3), torch.tensor([0, 1])
    for labels, query_labels, match in (
        ([0, 0], y, "one class only"),
        ([0, 2], y, "class 1 has no support"),
        (y, [0, 2], "query_labels must be 0..1"),
        (y, [0], "one per item"),
    ):
        with pytest.raises(ValueError, match=match):
            episode_hardness(x, labels, x, query_labels)
    with pytest.raises(ValueError, match="NaN"):
        episode_hardness(x * torch.nan, y, x, y)


def test_what_has_no_spread_or_other_episodes_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        accuracy_summary([0.5])
    with pytest.raises(ValueError, match="same episodes"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="NaN"):
        accuracy_summary([0.5, float("nan")])
    labels = torch.arange(3).repeat_interleave(4)
    episodes = EpisodeSampler(labels, 2, 1, 2, torch_generator(0)).sample(3)
    with pytest.raises(ValueError, match="belong to other data"):
        centroid_accuracy(randn(5, 2), episodes)
    with pytest.raises(TypeError, match="EpisodeSampler"):
        centroid_accuracy(randn(12, 2), tuple(episodes))
    with pytest.raises(ValueError, match="no features, episodes, support or query"):
        centroid_accuracy(randn(12, 2), Episodes(episodes.classes, episodes.support, episodes.query[:, :, :0]))
