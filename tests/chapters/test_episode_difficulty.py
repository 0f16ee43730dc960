"""What the chapter `episode_difficulty` runs, at tiny sizes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters.episode_difficulty import demo, full
from workings.chapters.episode_difficulty.agreement import agreement_error, least_agreement
from workings.chapters.episode_difficulty.settings import Settings
from workings.chapters.episode_difficulty.sweep import sweep_point
from workings.few_shot.difficulty_diagnostics import rank_agreement
from workings.few_shot.difficulty_sampling import A, DifficultyStats, effective_sample_size, importance_weight
from workings.few_shot.prototypical import episode_nll, prototypical_logits
from workings.runs.store import Store
from workings.seeding import numpy_generator, torch_generator

TINY = Settings.full(dry_run=True)


@pytest.fixture(scope="module")
def data():
    return demo.drawings(TINY)


def test_novel_episodes_hold_no_character_that_was_trained_on(data):
    episodes = demo.novel_episodes(data, 20, TINY)
    for items in (episodes.support, episodes.query):
        assert not data.base[items].any()
        np.testing.assert_array_equal(data.characters[items], episodes.classes[:, :, None].expand(items.shape))
    assert data.base[demo.base_episodes(data, 20, TINY).query].all()


def test_redrawn_episodes_keep_their_classes_and_change_their_pictures(data):
    drawn = demo.novel_episodes(data, 4, TINY)
    again = demo.redrawn(drawn, data.characters, 3, torch_generator(0, "again"))
    assert torch.equal(again.classes, drawn.classes.repeat_interleave(3, dim=0))
    for one in (again.support, again.query):
        assert torch.equal(data.characters[one], again.classes[:, :, None].expand(one.shape))
    both = torch.cat([again.support, again.query], dim=2).flatten(0, 1)
    assert all(len(set(row.tolist())) == len(row) for row in both)
    assert len({tuple(row.flatten().tolist()) for row in again.support}) > 4


def test_difficulties_are_those_of_the_kernels_one_by_one(data):
    features = torch.randn(len(data.images), 6, generator=torch_generator(0, "features"))
    episodes = demo.novel_episodes(data, 7, TINY)
    hard, right = demo.difficulties(features, episodes, "cosine", 3.0, block=3)
    for i in range(7):
        support, query = features[episodes.support[i].flatten()], features[episodes.query[i].flatten()]
        logits = prototypical_logits(support, episodes.support_labels(), query, "cosine", 3.0)
        assert hard[i] == pytest.approx(float(episode_nll(logits, episodes.query_labels())), rel=1e-5)
        assert right[i] == pytest.approx(float((logits.argmax(1) == episodes.query_labels()).double().mean()))


def test_the_fitted_scale_has_the_smallest_loss_of_the_grid(data):
    features = data.images.flatten(1)
    episodes = demo.base_episodes(data, 20, TINY)
    losses = [demo.difficulties(features, episodes, "cosine", c)[0].mean() for c in demo.SCALES]
    assert demo.fitted_scale(features, episodes) == demo.SCALES[int(np.argmin(losses))]


def test_principal_components_have_mean_square_one_and_do_not_see_new_pictures(data):
    few = data.alphabets < 2
    scores = demo.principal_components(data.images, few, 5)
    assert scores[few].square().mean().item() == pytest.approx(1.0, rel=1e-5)
    variances = scores[few].var(dim=0)
    assert (variances.diff() <= 1e-6).all()
    changed = data.images.clone()
    changed[~few] = 0.5
    torch.testing.assert_close(demo.principal_components(changed, few, 5)[few], scores[few])


def test_a_learner_is_a_prototypical_network_with_two_layers(data):
    few = data.alphabets < 2
    x = demo.principal_components(data.images, few, 10)
    learners = demo.Learners(10, (0, 1), 2)
    w1, b1, w2, b2 = (p.detach() for p in learners.parameters)
    assert torch.equal(w1[0, 0], w1[0, 1]) and not torch.equal(w1[0, 0], w1[1, 0])
    batches = [demo.novel_episodes(data, 3, TINY, str(s)) for s in range(2)]
    losses = learners.losses(x, batches)
    assert losses.shape == (2, 2, 3)
    for s, episodes in enumerate(batches):
        features = (x @ w1[s, 1] + b1[s, 1]).relu() @ w2[s, 1] + b2[s, 1]
        np.testing.assert_allclose(losses[s, 1].detach(), demo.difficulties(features, episodes)[0], rtol=1e-4)


def test_learners_of_a_seed_part_only_when_the_weights_set_in_and_seeds_do_not_touch(data):
    warm = replace(TINY, looks=(100,), learner_steps=100)
    found = demo.train_learners(data, warm)[0].accuracy  # 100 steps of weight 1
    assert (found[:, 0] == found[:, 1]).all() and (found[:, 0] == found[:, 2]).all()
    later = demo.train_learners(data, replace(TINY, looks=(120,)))[0]
    assert not np.allclose(later.fresh_mean[:, 0], later.fresh_mean[:, 1], rtol=1e-4)
    assert not np.allclose(later.fresh_mean[:, 1], later.fresh_mean[:, 2], rtol=1e-4)
    alone = demo.train_learners(data, replace(TINY, seeds=(1,), looks=(120,)))[0]
    np.testing.assert_allclose(alone.fresh_mean[0], later.fresh_mean[1], rtol=1e-3)


def test_easy_and_hard_part_with_the_weights_and_do_not_touch_the_others(data):
    late = replace(TINY, looks=(100, 120))
    ways = demo.LEARNERS + demo.ENDS
    warm, later = demo.train_learners(data, late, ways=ways)
    assert (warm.accuracy == warm.accuracy[:, :1]).all()  # 100 steps of weight 1, on the same episodes
    assert not np.allclose(later.fresh_mean[:, 3], later.fresh_mean[:, 4], rtol=1e-4)
    for some, at in ((demo.LEARNERS, slice(0, 3)), (demo.ENDS, slice(3, 5))):
        alone = demo.train_learners(data, late, ways=some)[-1]
        np.testing.assert_allclose(alone.fresh_mean, later.fresh_mean[:, at], rtol=1e-3)


def test_a_learner_of_easy_episodes_follows_their_weights_alone(data, monkeypatch):
    asked, weigh = [], DifficultyStats.weigh
    monkeypatch.setattr(DifficultyStats, "weigh", lambda s, x, *a: asked.append(a) or weigh(s, x, *a))
    demo.train_learners(data, replace(TINY, learner_steps=2, seeds=(0,)), ways=demo.LEARNERS + demo.ENDS)
    assert asked == 2 * [("uniform",), ("uniform",), ("uniform",), ("easy",), ("hard",)]


def test_the_distance_to_uniform_of_known_samples():
    middles = (np.arange(1000) + 0.5) / 1000 * 2 * A - A
    assert demo.distance_to_uniform(middles, np.ones(1000)) == pytest.approx(0.0005, abs=1e-9)
    assert demo.distance_to_uniform(np.zeros(5), np.ones(5)) == pytest.approx(0.5)
    half = demo.distance_to_uniform(middles, (middles < 0).astype(float))
    assert half == pytest.approx(0.5, abs=1e-3)


def test_on_normal_difficulties_the_weights_do_reach_the_uniform_target():
    # 2,000 quantiles of a normal: without weights the gap to uniform is about 0.16
    from scipy import stats

    x = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    assert demo.half_way(x) < 0.15
    assert demo.half_way(stats.gamma(1.0).ppf((np.arange(2000) + 0.5) / 2000)) > 0.7


def test_a_full_run_goes_on_where_it_stopped_and_compares_on_equal_episodes(tmp_path, monkeypatch):
    small = replace(TINY, full_heads=("cosine",), full_seeds=(0,), full_samplers=("regular", "uniform", "permuted"))
    store = Store(tmp_path / "one.jsonl", {})
    first = full.on_omniglot(small, store, None)
    assert {row["sampling"] for row in first["omniglot"]} == {"regular", "uniform", "permuted"}
    (gap,) = [row for row in first["gains"] if (row["sampling"], row["over"]) == ("uniform", "regular")]
    accuracy = {row["sampling"]: row["accuracy"] for row in first["omniglot"]}
    assert gap["points"] == pytest.approx(100 * (accuracy["uniform"] - accuracy["regular"]))
    assert all(0 <= row["half_way"] <= 1 for row in first["omniglot"])
    monkeypatch.setattr(full, "train_episodes", lambda *a, **k: pytest.fail("it trained again"))
    assert full.on_omniglot(small, Store(tmp_path / "one.jsonl", {}), None) == first


def scorings(seeds, episodes=400, noise=1.0, stream="scorings"):
    """Difficulties of what all share plus noise of each one's own: their rank correlations are about 1 / (1 + noise^2)."""
    source = numpy_generator(0, stream)
    return source.normal(size=episodes) + noise * source.normal(size=(len(seeds), episodes))


def test_two_networks_agree_once_and_the_error_is_the_scatter_over_episodes():
    table = scorings((0, 1))
    assert least_agreement(table) == pytest.approx(rank_agreement(table)[0, 1])
    scatter = np.std([least_agreement(scorings((0, 1), stream=f"scorings {k}")) for k in range(200)])
    assert agreement_error(table, (0, 1)) == pytest.approx(scatter, rel=0.3)
    with pytest.raises(ValueError, match="at least 2"):
        least_agreement(table[:1])


def test_a_network_that_disagrees_shows_in_the_error_of_three():
    alike, stray = scorings((0, 1, 2), noise=0.3), scorings((0, 1, 2), noise=0.3)
    stray[2] = stray[2, ::-1]
    assert least_agreement(stray) < 0.2 < 0.8 < least_agreement(alike)
    assert agreement_error(stray, (0, 1, 2), 100) > 0.3 > agreement_error(alike, (0, 1, 2), 100)


def test_one_network_agrees_with_none_and_two_are_told_once(tmp_path):
    pair = replace(TINY, full_heads=("cosine",), full_seeds=(0, 1), full_samplers=("regular",))
    (row,) = full.on_omniglot(pair, Store(tmp_path / "two.jsonl", {}), None)["agreement"]
    assert row["networks"] == 2 and -1 <= row["least"] <= 1 and row["error"] > 0
    alone = replace(pair, full_seeds=(0,))
    assert full.on_omniglot(alone, Store(tmp_path / "one.jsonl", {}), None)["agreement"] == []


def test_an_offline_target_needs_the_frozen_network(data):
    base, _ = full.collections(TINY, None)
    with pytest.raises(ValueError, match="regular"):
        full.train_episodes(base, "cosine", 0, "hard", TINY)


def test_the_long_training_is_reported_by_step_and_against_the_first_look(tmp_path):
    tables = full.long_learners(TINY, Store(tmp_path / "long.jsonl", {}))
    by = {(row["seed"], row["sampling"], row["step"]): row["accuracy"] for row in tables["learners"]}
    last = TINY.long_looks[-1]
    row = tables["learner_gains"][-1]
    over = np.mean([by[s, "uniform", last] - by[s, "regular", TINY.long_looks[0]] for s in TINY.long_seeds])
    assert row["over_stopped"] == pytest.approx(100 * over)


def test_weights_meet_their_target_the_worse_the_more_skewed_the_difficulty():
    mild, strong = (sweep_point(skewness=s, samples=20) for s in (0.1, 2.0))
    assert mild["probability_plot_r"] > 0.99 > strong["probability_plot_r"]
    # the uniform target's variance is a^2 / 3 = 2.22; the normal's own, 1
    assert abs(mild["variance"] - A**2 / 3) < 0.35
    assert abs(mild["mean"]) < 0.2 < abs(strong["mean"])


def test_the_share_that_is_effective_is_that_of_the_weights():
    x = np.random.default_rng(0).gamma(16.0, size=500)
    z = DifficultyStats("offline").fit(x).standardise(x)
    w = importance_weight(z, "uniform")
    assert 0.2 < float(effective_sample_size(w)) / 500 < 0.7
    assert math.isfinite(sweep_point(skewness=0.5, samples=2)["effective"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"skewness": 0.0}, "skewness"),
        ({"episodes": 7}, "episodes"),
        ({"samples": 0}, "samples"),
        ({"target": "flat"}, "target"),
        ({"target": "curriculum"}, "target"),
    ],
)
def test_a_setting_that_cannot_be_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        sweep_point(**options)


def test_values_are_the_means_of_the_tables_and_a_run_that_still_improves_decides_nothing():
    gains = [{"over_regular": 1.0, "over_permuted": -1.0, "over_stopped": -3.0}]
    gains[0] |= {f"{key}_sd": 0.5 for key in list(gains[0])}
    pair = lambda one, other, points: {
        "head": "cosine", "seed": 0, "sampling": one, "over": other, "points": points, "half_width": 0.5
    }  # fmt: skip
    row = lambda head, early: {"head": head, "sampling": "regular", "accuracy": 0.9, "half_way": early}
    tables = {
        "learner_gains": gains,
        "omniglot": [row("cosine", 0.895), row("cosine", 0.888), row("sqeuclidean", 0.9)],
        "diagnostics": [
            {"head": "cosine", "seed": s, "skew": 0.1, "probability_plot_r": 0.9 + s / 10, "to_uniform": 0.4}
            | {"class_share": 0.6}
            for s in (0, 1)
        ],
        "agreement": [{"networks": 2, "least": 0.7, "error": 0.02}],
        "gains": [
            pair("online", "permuted", 0.3),
            pair("uniform", "regular", 0.7),
            pair("uniform", "permuted", 0.2),
            pair("online", "uniform", -0.4),
        ],
    }
    found = full.values(tables, replace(TINY, full_heads=("cosine",)))
    assert found["usd-13"]["value"] == 1.0
    assert found["usd-1"]["value"] == pytest.approx(0.95)
    assert found["usd-4"]["value"] == pytest.approx(-0.3)  # 0.2 - 0.5, over permuted
    assert found["usd-6"]["value"] == 1
    assert found["usd-5"]["value"] == pytest.approx(0.4)
    assert "usd-7" not in found  # no squared-distance head was run
    assert (found["usd-2"]["value"], found["usd-2"]["error"]) == (0.7, 0.02) and "spread" not in found["usd-2"]
    assert "usd-9" not in found  # it is about the small learner
    assert found["usd-2"]["too_small"] is None  # 0.85 points on average
    tables["omniglot"].append(row("sqeuclidean", 0.87))  # and now 1.5
    late = full.values(tables, replace(TINY, full_heads=("cosine",)))
    assert "1.5 points in its last half" in late["usd-2"]["too_small"]
    assert "too_small" not in late["usd-13"]
