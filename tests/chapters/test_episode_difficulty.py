"""What the chapter `episode_difficulty` runs, at tiny sizes."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters import cifar_fs
from workings.chapters.episode_difficulty import demo, episodic, full, tables
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


def test_the_control_of_hard_follows_its_weights_and_hands_them_out_in_another_order(data, monkeypatch):
    asked, given, weigh, factor = [], [], DifficultyStats.weigh, demo.normalising_factor
    monkeypatch.setattr(DifficultyStats, "weigh", lambda s, x, *a: asked.append((a, weigh(s, x, *a))) or asked[-1][1])
    monkeypatch.setattr(demo, "normalising_factor", lambda w, how: given.append(w) or factor(w, how))
    demo.train_learners(data, replace(TINY, seeds=(0,), looks=(120,)), ways=(demo.HARD_CONTROL,))
    assert {target for target, _ in asked} == {("hard",)}
    unequal = [(w, to) for (_, w), to in zip(asked, given, strict=True) if len(set(w)) > 1]
    assert len(unequal) > 10 and all(sorted(w) == sorted(to) for w, to in unequal)
    assert any((w != to).any() for w, to in unequal)


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


SMALL = replace(TINY, full_data=("omniglot",), full_heads=("cosine",), full_seeds=(0,))


@pytest.mark.parametrize("name", ["omniglot", "cifar_fs"])
def test_a_full_run_goes_on_where_it_stopped_and_compares_on_equal_episodes(tmp_path, monkeypatch, name):
    file, work, done = tmp_path / f"{name}.jsonl", episodic.train_episodes, []

    def cut(study, head, seed, how, *args, **options):
        if how == "easy" and len(done) == 4:
            raise KeyboardInterrupt
        done.append(how)
        return work(study, head, seed, how, *args, **options)

    monkeypatch.setattr(episodic, "train_episodes", cut)
    with pytest.raises(KeyboardInterrupt):
        episodic.train_all(name, SMALL, Store(file, {}), None)
    assert done == ["regular", "online", "permuted", "uniform"]
    copied = tmp_path / "elsewhere.jsonl"  # another machine goes on with a copy of the store
    copied.write_bytes(file.read_bytes())
    done.append("resumed")
    episodic.train_all(name, SMALL, store := Store(copied, {}), None)
    assert done[4:] == ["resumed", "easy", "hard", "curriculum"]
    found = tables.tables_of(name, SMALL, store)
    episodic.train_all(name, SMALL, whole := Store(tmp_path / "whole.jsonl", {}), None)
    assert tables.tables_of(name, SMALL, whole) == found
    assert {row["sampling"] for row in found["omniglot"]} == set(SMALL.full_samplers)
    assert {row["data"] for rows in found.values() for row in rows} <= {name}
    assert [row["way"] for row in found["omniglot"] if row["sampling"] == "easy"] == [3, 2]
    accuracy = {(row["sampling"], row["way"]): row["accuracy"] for row in found["omniglot"]}
    for gap in found["gains"]:
        if gap["over"] == "regular" and gap["sampling"] != "stopped":
            both = [accuracy[how, gap["way"]] for how in (gap["sampling"], "regular")]
            assert gap["points"] == pytest.approx(100 * (both[0] - both[1]))
    early = {row["way"]: row["half_way"] for row in found["omniglot"] if row["sampling"] == "regular"}
    (gap,) = tables.points(found["gains"], "stopped", "regular", data=name)
    assert gap["points"] == pytest.approx(100 * (early[3] - accuracy["regular", 3]))
    assert len(tables.points(found["gains"], "stopped", "regular", way=2, data=name)) == 1


def test_a_folder_decides_by_what_it_holds_which_data_are_trained_on(tmp_path):
    here = replace(SMALL, dry_run=False)
    assert full.data_sets(here, None) == full.data_sets(here, tmp_path) == ("omniglot",)
    (tmp_path / "cifar-100-python").mkdir()
    assert full.data_sets(here, tmp_path) == ("cifar_fs",)
    (tmp_path / full.ZIPS[0]).touch()
    assert full.data_sets(here, tmp_path) == ("omniglot", "cifar_fs")
    assert full.data_sets(SMALL, tmp_path) == ("omniglot",)


def test_photographs_are_read_from_such_a_folder_and_trained_on(tmp_path, monkeypatch):
    labels = torch.arange(100).repeat_interleave(8)
    pixels = torch.randint(0, 256, (800, 3, 32, 32), dtype=torch.uint8, generator=torch_generator(0, "pixels"))
    names = [*cifar_fs.VALIDATION, *cifar_fs.TEST, *(f"other{k}" for k in range(64))]
    parts = cifar_fs.split(pixels, labels, names)
    asked = []
    monkeypatch.setattr(cifar_fs, "collections", lambda root: asked.append(root) or parts)
    study = episodic.collections("cifar_fs", replace(SMALL, dry_run=False, full_way=20), tmp_path)
    assert asked == [tmp_path] and (study.base.classes, study.novel.classes, study.way) == (64, 20, 5)
    assert list(episodic.compared_episodes(study, replace(SMALL, full_test_ways=(5, 20)))) == [5, 20]
    net, _ = episodic.train_episodes(study, "cosine", 0, "regular", SMALL)
    assert net.features(study.novel.images[:2]).shape == (2, 4 * SMALL.full_width)


def tiny_study():
    return episodic.collections("omniglot", SMALL, None)


def test_a_stored_network_scores_as_the_one_that_was_trained():
    study = tiny_study()
    net, scale = episodic.train_episodes(study, "cosine", 0, "regular", SMALL)
    other, same = episodic.unpacked(json.loads(json.dumps(episodic.packed(net, scale))), study, SMALL)
    assert same == scale != 1.0
    x = study.base.images[:50]
    torch.testing.assert_close(other.features(x), net.features(x), rtol=0, atol=0)


def test_looked_up_scores_are_the_losses_of_the_frozen_network():
    study = tiny_study()
    net, scale = episodic.train_episodes(study, "cosine", 0, "regular", SMALL)
    frozen = episodic.Frozen(episodic.network_features(net.features, study.base.images), scale)
    episodes = episodic.sampler(study.base, 3, 2, SMALL, "some").sample(5)
    losses = episodic.head_losses(*episodic.both_features(net, study.base, episodes), "cosine", scale, episodes)
    np.testing.assert_allclose(episodic.scores(frozen, "cosine", episodes), losses.detach(), rtol=1e-4)


def test_batch_norm_sees_all_episodes_of_a_batch_or_one_at_a_time():
    study = tiny_study()
    net = episodic.empty(study, SMALL, torch_generator(0, "scope")).train()
    episodes = episodic.sampler(study.base, 3, 2, SMALL, "scope").sample(3)
    nets = {scope: copy.deepcopy(net) for scope in ("batch", "episode", "by hand")}
    found = {scope: episodic.both_features(nets[scope], study.base, episodes, scope) for scope in ("batch", "episode")}
    by_hand = nets["by hand"]
    for k in range(3):
        for part, items in enumerate((episodes.support[k], episodes.query[k])):
            alone = by_hand.features(study.base.images[items.flatten()])
            torch.testing.assert_close(found["episode"][part][k], alone, rtol=0, atol=0)
    for name, value in by_hand.state_dict().items():  # the running statistics too
        assert torch.equal(nets["episode"].state_dict()[name], value), name
    for part, items in enumerate((episodes.support, episodes.query)):
        together = net.features(study.base.images[items.flatten()])
        torch.testing.assert_close(found["batch"][part].flatten(0, 1), together, rtol=0, atol=0)
        assert not torch.allclose(found["batch"][part], found["episode"][part], rtol=1e-3)
    net.eval()
    still = [episodic.both_features(net, study.base, episodes, scope) for scope in ("batch", "episode")]
    for one, other in zip(*still, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_features_of_an_episode_depend_on_the_others_of_its_batch_or_not():
    study = tiny_study()
    net = episodic.empty(study, SMALL, torch_generator(0, "scope")).train()
    episodes = episodic.sampler(study.base, 3, 2, SMALL, "scope").sample(3)
    others = episodic.sampler(study.base, 3, 2, SMALL, "others").sample(2)
    joined = type(episodes)(*(torch.cat([a[:1], b]) for a, b in zip(episodes, others, strict=True)))
    first = lambda some, scope: episodic.both_features(net, study.base, some, scope)[1][0]
    torch.testing.assert_close(first(episodes, "episode"), first(joined, "episode"), rtol=0, atol=0)
    assert not torch.allclose(first(episodes, "batch"), first(joined, "batch"), rtol=1e-3)


def test_training_with_statistics_of_an_episode_is_its_own_run_and_that_of_the_batch_the_old_one(tmp_path, monkeypatch):
    study = tiny_study()
    trained = lambda **how: episodic.train_episodes(study, "cosine", 0, "regular", replace(SMALL, **how))[0]
    same = lambda one, other: torch.equal(one.blocks[0].weight, other.blocks[0].weight)
    monkeypatch.setattr(episodic, "precision", lambda settings: "float32")
    assert same(trained(), trained(bn_scope="batch")) and not same(trained(), trained(bn_scope="episode"))
    assert same(trained(full_batch=1), trained(full_batch=1, bn_scope="episode"))  # one episode is the whole batch
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    few = replace(SMALL, full_samplers=("regular",), long_seeds=(0, 1))
    for scope in ("batch", "episode"):
        rows = full.run(replace(few, bn_scope=scope))["omniglot"]
        assert {row["bn_scope"] for row in rows} == {scope}
    stores = sorted((tmp_path / "episode_difficulty").glob("dry-omniglot*.jsonl"))
    assert [file.name for file in stores] == ["dry-omniglot-episode.jsonl", "dry-omniglot.jsonl"]
    told = [json.loads(file.read_text().splitlines()[0])["settings"] for file in stores]
    assert told[0].pop("bn_scope") == "episode" and told[0] == told[1]  # a store of earlier days is gone on with
    with pytest.raises(ValueError, match=r"bn_scope.*'batch', 'episode'"):
        replace(SMALL, bn_scope="set")


def test_ways_of_a_seed_start_alike_and_part_when_the_weights_set_in(monkeypatch):
    study, looked = tiny_study(), {}
    monkeypatch.setattr(episodic, "precision", lambda settings: "float32")
    for steps in (100, 104):
        for how in ("regular", "online", "permuted"):
            long = replace(SMALL, full_steps=steps, full_batch=4)
            net, _ = episodic.train_episodes(study, "cosine", 0, how, long)
            looked[how, steps] = net.blocks[0].weight.detach().clone()
    assert torch.equal(looked["regular", 100], looked["online", 100])
    assert torch.equal(looked["regular", 100], looked["permuted", 100])
    assert not torch.allclose(looked["regular", 104], looked["online", 104])
    assert not torch.allclose(looked["permuted", 104], looked["online", 104])


def test_the_learning_rate_halves_and_a_rate_of_nothing_trains_nothing(monkeypatch):
    assert [episodic.learning_rate(step, 250) for step in (0, 249, 250, 500)] == [1e-3, 1e-3, 5e-4, 2.5e-4]
    assert episodic.learning_rate(10**6, 0) == 1e-3
    study = tiny_study()
    moved, _ = episodic.train_episodes(study, "cosine", 0, "regular", SMALL)
    monkeypatch.setattr(episodic, "learning_rate", lambda step, halve: 0.0)
    still, scale = episodic.train_episodes(study, "cosine", 0, "regular", SMALL)
    first = episodic.empty(study, SMALL, torch_generator(0, "episode difficulty", "full"))
    assert torch.equal(still.blocks[0].weight, first.blocks[0].weight) and scale == 1.0
    assert not torch.equal(moved.blocks[0].weight, first.blocks[0].weight)


def test_half_precision_is_used_only_where_a_processor_has_it(monkeypatch):
    monkeypatch.setattr(episodic, "fast_autocast", lambda device: torch.bfloat16)
    assert episodic.precision(SMALL) == "bfloat16"
    assert episodic.precision(replace(SMALL, device="cuda")) == "float32"
    monkeypatch.setattr(episodic, "fast_autocast", lambda device: None)
    assert episodic.precision(SMALL) == "float32"


def test_test_episodes_have_the_ways_of_training_first_and_only_those_for_which_there_are_classes():
    study = tiny_study()
    episodes = episodic.compared_episodes(
        study, replace(SMALL, full_test_ways=(2, 3, 6))
    )  # an alphabet has 5 characters
    assert list(episodes) == [3, 2] and all(len(some.classes) == SMALL.full_episodes for some in episodes.values())
    for some in episodes.values():
        groups = study.novel.groups[some.support[:, :, 0]]
        assert (groups == groups[:, :1]).all()


def test_a_table_of_gains_is_empty_until_a_run_says_its_ways():
    old = [{"head": "cosine", "seed": 0, "sampling": "online", "over": "regular", "points": 3.0, "half_width": 1.0}]
    grid, titles = tables.gain_grid(old, TINY), tables.heading(old, TINY)
    assert len(titles) == 2 + 4 and titles[2] == "Omniglot, squared distance, 2 ways"
    assert grid == []
    assert tables.points(old, "online", "regular") == []
    new = [
        {**old[0], "data": "cifar_fs", "way": 5, "training_way": 5, "seed": seed, "points": value}
        for seed, value in enumerate((1.0, 2.0))
    ]
    grid = tables.gain_grid(old + new, TINY)
    assert tables.heading(old + new, TINY)[2:] == ["CIFAR-FS, cosine, 5 ways"]
    assert grid == [["online", "regular", "+1.5 (0.7)"]]
    elsewhere = {**new[0], "sampling": "hard", "head": "sqeuclidean"}
    assert tables.gain_grid([*new, elsewhere], TINY) == [
        ["online", "regular", "+1.5 (0.7)", "not run"],
        ["hard", "regular", "not run", "+1.0 (0.0)"],
    ]
    both = [{**one, "head": head} for one in new for head in ("cosine", "sqeuclidean")]
    both[1]["points"] = 3.0  # seed 0, the other head
    assert tables.seed_means(both) == [2.0, 2.0]


def test_the_control_stands_beside_both_kinds_of_weights_at_the_ways_of_training_only():
    case = {"data": "omniglot", "head": "cosine", "seed": 1, "training_way": 5, "way": 5, "half_width": 0.5}
    rows = [
        {**case, "sampling": "uniform", "over": "permuted", "points": -2.0},
        {**case, "sampling": "online", "over": "permuted", "points": 1.0},
        {**case, "sampling": "online", "over": "regular", "points": 7.0},
        {**case, "sampling": "online", "over": "permuted", "points": 9.0, "way": 20},
    ]
    assert tables.beside_control(rows) == [["Omniglot, cosine", "1", "+1.0 ± 0.5", "-2.0 ± 0.5"]]
    assert tables.beside_control([]) == []


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
    pair = replace(SMALL, full_seeds=(0, 1), full_samplers=("regular",))
    episodic.train_all("omniglot", pair, store := Store(tmp_path / "two.jsonl", {}), None)
    (row,) = tables.tables_of("omniglot", pair, store)["agreement"]
    assert row["networks"] == 2 and -1 <= row["least"] <= 1 and row["error"] > 0
    assert tables.tables_of("omniglot", replace(pair, full_seeds=(0,)), store)["agreement"] == []


def test_an_offline_target_needs_the_frozen_network(tmp_path):
    with pytest.raises(ValueError, match="regular"):
        episodic.train_episodes(tiny_study(), "cosine", 0, "hard", SMALL)
    with pytest.raises(ValueError, match="regular"):
        episodic.train_all("omniglot", replace(SMALL, full_samplers=("hard",)), Store(tmp_path / "x.jsonl", {}), None)


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
    pair = lambda one, other, points, way=5, seed=0, data="omniglot": {
        "head": "cosine", "seed": seed, "sampling": one, "over": other, "points": points, "half_width": 0.5, "data": data,
        "way": way, "training_way": 5,
    }  # fmt: skip
    row = lambda head, early, way=5, data="omniglot": {
        "head": head, "sampling": "regular", "accuracy": 0.9, "half_way": early, "data": data, "way": way, "training_way": 5
    }  # fmt: skip
    found_in = {
        "learner_gains": gains,
        "omniglot": [
            row("cosine", 0.895), row("cosine", 0.888), row("sqeuclidean", 0.9), row("cosine", 0.5, 20),
            row("cosine", 0.5, 5, "cifar_fs"),
        ],
        "diagnostics": [
            {"head": "cosine", "seed": s, "skew": 0.1, "probability_plot_r": 0.9 + s / 10, "to_uniform": 0.4}
            | {"class_share": 0.6, "data": "omniglot"}
            for s in (0, 1)
        ],
        "agreement": [{"networks": 2, "least": 0.7, "error": 0.02, "data": "omniglot"}],
        "gains": [
            pair("uniform", "regular", 0.7), pair("uniform", "permuted", 0.2), pair("online", "uniform", -0.4),
            pair("uniform", "easy", 0.9), pair("uniform", "hard", 2.0), pair("uniform", "curriculum", 0.8),
            pair("uniform", "curriculum", 0.4, seed=1), pair("hard", "regular", -1.5), pair("online", "stopped", -0.1),
            pair("online", "permuted", 0.3), pair("online", "permuted", 1.1, way=20),
            pair("uniform", "regular", 9.0, data="cifar_fs"),
        ],
    }  # fmt: skip
    settings = replace(TINY, full_heads=("cosine",))
    found = full.values(found_in, settings)
    assert found["usd-13"]["value"] == 1.0
    assert found["usd-1"]["value"] == pytest.approx(0.95)
    assert found["usd-4"]["value"] == pytest.approx(-0.3)  # 0.2 - 0.5, over permuted
    assert found["usd-6"]["value"] == 1
    assert found["usd-5"]["value"] == pytest.approx(0.4)
    means = {"usd-16": 0.6, "usd-17": 0.3, "usd-18": -0.1, "usd-19": -1.5, "usd-20": 1.1}  # over a curriculum by least
    assert {claim: found[claim]["value"] for claim in means} == pytest.approx(means)
    assert "usd-7" not in found  # no squared-distance head was run
    assert (found["usd-2"]["value"], found["usd-2"]["error"]) == (0.7, 0.02) and "spread" not in found["usd-2"]
    assert "usd-9" not in found  # it is about the small learner
    assert found["usd-2"]["too_small"] is None  # 0.85 points on average, with 5 ways and of handwriting
    found_in["omniglot"].append(row("sqeuclidean", 0.87))  # and now 1.5
    late = full.values(found_in, settings)
    assert "1.5 points in its last half" in late["usd-2"]["too_small"] == late["usd-20"]["too_small"]
    assert "too_small" not in late["usd-13"]
    elsewhere = {name: [r for r in rows if r.get("data") == "cifar_fs"] for name, rows in found_in.items()}
    assert set(full.values(elsewhere | {"learner_gains": gains}, settings)) == {"usd-13", "usd-14", "usd-15"}
