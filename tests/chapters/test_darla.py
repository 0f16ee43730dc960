"""What the chapter `darla` runs, at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters.darla import demo, live
from workings.chapters.darla.full import claim_values, run_protocol
from workings.chapters.darla.settings import Settings
from workings.disentangling.domains import assert_conjunction_heldout
from workings.runs.store import Store
from workings.show.live import keep_weights, load_weights

DRY = Settings.full(dry_run=True)
TINY = Settings.demo(dry_run=True)


def test_the_domains_of_the_chapter_are_a_test_of_transfer():
    domains = Settings.demo().domains()
    assert_conjunction_heldout(domains["source"], domains["target"], domains["unsupervised"])
    rooms = demo.two_room_domains()
    assert_conjunction_heldout(rooms["source"], rooms["target"], rooms["unsupervised"], strict=True)


def test_the_demo_runs_from_seeing_to_acting():
    encoders = demo.see(TINY)
    assert [len(group) for group in encoders.values()] == [2] * len(TINY.betas)
    beta, table = demo.unsupervised_choice(encoders, -1.0)
    assert beta == max(table, key=lambda row: row.agreement).beta
    assert demo.unsupervised_choice(encoders, 2.0)[0] == max(table, key=lambda row: row.explained).beta
    returns = demo.act_on_all(demo.tables(encoders, TINY), TINY)
    assert set(returns) == {"pixels", *TINY.betas, "aligned", "rotated"}
    for found in returns.values():
        assert found.source.shape == (2,) and np.abs(found.target).max() <= 0.75 + 1e-9
    interval, pairs = demo.rank_correlation(encoders, returns, resamples=20)
    assert pairs.shape == (2 * len(TINY.betas), 2) and interval.low <= interval.mean <= interval.high


def test_rotated_factors_hold_the_same_and_differ_for_each_seed():
    aligned, rotated = (demo.true_factors(TINY, rotated=turn) for turn in (False, True))
    assert np.allclose(aligned.norm(dim=2), rotated.norm(dim=2), atol=1e-4)
    assert not np.allclose(rotated[0], rotated[1])


def test_losses_are_compared_on_the_same_pictures_and_the_rooms_are_walked():
    compared = demo.losses_compared(demo.denoiser(TINY), TINY)
    scenes = demo.all_scenes(TINY.world(TINY.small_object))
    for group in compared.values():
        assert all(0 <= demo.kind_accuracy(encoder, scenes) <= 1 for encoder in group)
    rooms = demo.two_rooms(TINY, (0.02, 1.0))
    assert rooms.optimal == (1.0, 1.0) and rooms.random == (0.0, 0.0)
    assert set(rooms.codes) == {0.02, 1.0}


def test_encoders_for_agents_can_be_trained_through_a_denoiser_of_their_own_room():
    beta = TINY.betas[0]
    eyes, other = (demo.denoiser(TINY, TINY.object_size, seed=seed) for seed in (0, 1))
    assert torch.equal(eyes.data, demo.vision_data(TINY.world(), TINY.domains()["unsupervised"], TINY.pictures))
    first = [next(one.autoencoder.parameters()) for one in (eyes, other)]
    assert not torch.equal(*first), "a denoiser's seed draws its weights"
    seen = demo.see(TINY, (beta,), eyes)[beta]
    plain = demo.see(TINY, (beta,))[beta]
    assert [one.seed for one in seen] == list(TINY.seeds)
    # The first step of both starts at the same weights; the gradient goes through other features.
    assert all(not torch.equal(a.codes, b.codes) for a, b in zip(seen, plain, strict=True))
    assert set(demo.losses_compared(demo.denoiser(TINY), TINY, ("bottleneck",))) == {"bottleneck"}


def test_a_linear_rule_reads_the_kind_from_the_true_factors():
    scenes = demo.all_scenes(TINY.world())
    codes = demo.true_factors(TINY, rotated=True)[0]
    encoder = demo.Encoder(0.0, 0, None, codes, None, 1.0, 0.0)
    assert demo.kind_accuracy(encoder, scenes) == 1.0


def test_the_full_tier_is_stored_stage_by_stage_and_goes_on(tmp_path):
    store = Store(tmp_path / "runs.jsonl", DRY)
    tables = run_protocol(DRY, store)
    n = len(DRY.betas) * len(DRY.seeds)
    assert len(tables["encoders"]) == n and sum(row["chosen"] for row in tables["encoders"]) == len(DRY.seeds)
    assert {row["algorithm"] for row in tables["returns"]} == {"dqn", "a2c"}
    done = len(store)
    assert run_protocol(DRY, Store(tmp_path / "runs.jsonl", DRY)) == tables and len(store) == done
    other = replace(DRY, pictures=100)
    with pytest.raises(ValueError, match=r"runs\.jsonl"):
        Store(tmp_path / "runs.jsonl", other)


def test_the_true_factors_have_agents_of_both_algorithms_and_an_older_record_goes_on(tmp_path):
    """The control adds stages and settles none of the others: a store that was filled without it is read and completed."""
    tables = run_protocol(DRY, whole := Store(tmp_path / "whole.jsonl", DRY))
    older = Store(tmp_path / "older.jsonl", DRY)
    keys = [f"see/{beta:g}" for beta in DRY.betas] + ["dqn/pixels", "a2c/pixels"]
    keys += [f"dqn/beta {beta:g}" for beta in DRY.betas]
    for key in keys:
        older.put(key, whole.get(key))
    assert run_protocol(DRY, Store(tmp_path / "older.jsonl", DRY)) == tables
    for algorithm in ("dqn", "a2c"):
        codes = {row["code"] for row in tables["returns"] if row["algorithm"] == algorithm}
        assert codes >= {"pixels", "aligned", "rotated"}
    assert set(claim_values(tables)) == {"darla-1", "darla-2", "darla-6", "darla-10"}
    without = tables | {"returns": [row for row in tables["returns"] if row["code"] not in ("aligned", "rotated")]}
    assert set(claim_values(without)) == {"darla-1", "darla-2", "darla-6"}


def test_the_control_counts_the_algorithms_in_which_aligned_factors_are_ahead():
    encoders = [
        {"beta": beta, "seed": seed, "mig": 0.1 * seed, "chosen": beta == 3.0}
        for beta in (0.3, 3.0)
        for seed in range(5)
    ]
    earned = {"pixels": 1.0, "beta 0.3": 1.0, "beta 3": 1.0, "aligned": 2.0, "rotated": 1.0}
    rows = [
        {"algorithm": algorithm, "code": code, "seed": seed, "target": value + 0.01 * seed * (code == "aligned")}
        for algorithm in ("dqn", "a2c")
        for code, value in earned.items()
        for seed in range(5)
    ]
    tables = {"encoders": encoders, "returns": rows}
    assert claim_values(tables)["darla-10"] == 2
    level = [row | {"target": 1.0} if row["algorithm"] == "a2c" else row for row in rows]
    found = claim_values(tables | {"returns": level})
    assert (found["darla-10"], found["darla-1"], found["darla-2"]) == (1, 0, 0), "a tie is not ahead"


def test_a_denoisers_features_are_a_code_without_a_vae():
    found, scenes = demo.denoiser(TINY), demo.all_scenes(TINY.world(TINY.small_object))
    table = demo.feature_table(found, scenes)
    assert table.shape == (len(scenes.pictures), TINY.bottleneck) and not table.requires_grad
    with torch.no_grad():
        by_hand = found.autoencoder.features(scenes.pictures, "bottleneck")
        data = found.autoencoder.features(found.data, "bottleneck")
    assert torch.allclose(table, (by_hand - data.mean(dim=0)) / data.std(dim=0), atol=1e-5)
    earned = demo.act(TINY.world(TINY.small_object), TINY.domains(), table, TINY.seeds, TINY)
    assert earned.target.shape == (len(TINY.seeds),)


def test_the_live_figures_networks_are_the_agents_of_the_page(monkeypatch, tmp_path):
    """What the figure is compared with, at hues that the world has, is what the page's agents expect: up to half precision."""
    world, domains, low, high = TINY.world(), TINY.domains(), *TINY.betas[:2]
    scenes, encoders = demo.all_scenes(world), demo.see(TINY, (low, high))
    tables = {"pixels": demo.pixel_table(scenes)} | {
        name: demo.code_table(encoders[beta]) for name, beta in (("entangled", low), ("chosen", high))
    }
    returns = {name: demo.act(world, domains, table, TINY.seeds, TINY) for name, table in tables.items()}
    at = TINY.agents  # the first agent of the second seed
    arrays = live.arrays(
        {"entangled": encoders[low][1], "chosen": encoders[high][1]},
        {"penalised": (returns["pixels"], at)} | {name: (found, at) for name, found in returns.items()},
        demo.vision_data(world, domains["unsupervised"], TINY.pictures),
        scenes.pictures,
    )
    keep_weights("darla", arrays, record=True, results=tmp_path)
    monkeypatch.setattr(live, "load_weights", lambda slug: load_weights(slug, results=tmp_path))
    cases = live.cases()
    for wall, floor, kind, place in ((1, 2, 1, 2), (7, 8, 0, -1)):
        scene = world.index(np.array([[wall - 1, floor - 1]]), np.array([[kind, place]]))
        picture = cases["picture"][0](wall, floor, kind, place)
        assert np.array_equal(picture, scenes.pictures[scene].numpy().reshape(-1))
        for name, found in returns.items():
            expected = found.agents(found.table[:, scene])[at, 0].detach().numpy()
            assert np.abs(cases["values"][0](name, wall, floor, kind, place).numpy() - expected).max() < 0.02
    assert cases["reward"][0](1, 2).tolist() == [-1, 0, 1] and cases["reward"][0](0, 2).tolist() == [0.5, 0, -0.5]
