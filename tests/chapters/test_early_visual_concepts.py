"""The chapter early_visual_concepts: small sprites, networks trained side by side, and the measures of its demo."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters import sprite_runs
from workings.chapters.early_visual_concepts import full as full
from workings.chapters.early_visual_concepts.demo import (
    LatentStatistics,
    _hold_out_row,
    chosen_squares,
    disentanglement_scores,
    excess_nats,
    hand_made_codes,
    held_out_block,
    hold_out_errors,
    latent_statistics,
    overlap_curve,
    principal_components,
    sampling_statistics,
    train_betas,
    traversals,
    unfamiliar_pictures,
)
from workings.chapters.early_visual_concepts.live import packed, rounded, unpacked
from workings.chapters.early_visual_concepts.settings import HOLD_OUT_BETAS, SAMPLINGS, Settings
from workings.disentangling.dsprites_data import DSprites, factor_values, sub_grid
from workings.disentangling.dsprites_renderer import render_dsprites
from workings.disentangling.ensembles import Job, flat_then_linear, train_many
from workings.disentangling.metrics import linear_probe
from workings.disentangling.networks import VAE, he_vae, mlp_vae
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, pixel_entropy
from workings.disentangling.sprites16 import small_sprites
from workings.seeding import torch_generator
from workings.show.live import load_weights
from workings.statistics import mean_and_sd
from workings.training import ShuffledBatches


@pytest.fixture(scope="module")
def sprites():
    return small_sprites()


# --- small sprites ------------------------------------------------------------------------------------------------


def test_small_sprites_are_the_block_means_of_the_exact_sprites(sprites):
    assert sprites.images.shape == (1536, 1, 16, 16) and sprites.names == ("scale", "pos_x", "pos_y")
    for row in (0, 777, 1535):
        large = render_dsprites(sprites.classes[row : row + 1])[0].double()
        means = large.view(16, 4, 16, 4).mean(dim=(1, 3))
        assert torch.equal(sprites.images[row, 0].double(), means)  # sixteenths: exact in float32
    assert sprites.values[-1].tolist() == pytest.approx([1.0, 30 / 31, 30 / 31])


def test_a_small_sprite_moves_along_its_own_axis(sprites):
    ink = sprites.images[:, 0] / sprites.images.sum(dim=(1, 2, 3))[:, None, None]
    along = torch.arange(16) + 0.5
    x, y = (ink.sum(dim=1) * along).sum(1), (ink.sum(dim=2) * along).sum(1)
    # Centre (16 + 32 pos) / 4 in small pixels; whole-pixel fill moves it by at most half a large pixel, 1/8.
    for centre, column in ((x, 1), (y, 2)):
        assert (centre - (4 + 8 * sprites.values[:, column])).abs().max() <= 0.125 + 1e-5


def test_the_grid_is_numbered_as_the_rows_are_and_a_chosen_part_is_no_grid(sprites):
    grid = sprites.grid()
    assert grid.sizes == (6, 16, 16)
    assert torch.equal(grid.observations(torch.tensor([[5, 15, 14]])), sprites.images[5 * 256 + 15 * 16 + 14][None])
    with pytest.raises(ValueError, match="one entry for each of the"):
        sprites.select(torch.arange(1000)).grid()


def test_a_stride_keeps_every_so_manyth_position_and_other_shapes_can_be_had():
    assert len(small_sprites(stride=10).images) == 6 * 4 * 4
    mixed = small_sprites(None, [0, 5], [0, 7], stride=16)
    assert mixed.names == ("shape", "scale", "orientation", "pos_x", "pos_y") and len(mixed.images) == 3 * 2 * 2 * 4
    with pytest.raises(ValueError, match="stride"):
        small_sprites(stride=0)


# --- many networks at once ----------------------------------------------------------------------------------------


def slow_training(job: Job, steps: int, batch: int) -> VAE:
    """The same training written plainly: one network, autograd, Adam."""
    model = he_vae(16, 3, (8,), torch_generator(job.seed, "many", "weights")).to(job.pictures.dtype)
    order, noise = ShuffledBatches(len(job.pictures), batch, job.seed), torch_generator(job.seed, "many", "noise")
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 if step / steps < 0.7 else 1 - 0.95 * (step / steps - 0.7) / 0.3)
        x = job.pictures[order(step)]
        mu, logvar = model.encode(x)
        eps = torch.randn(mu.shape, generator=noise, dtype=x.dtype)
        z = mu + torch.exp(logvar / 2) * eps if job.noisy else mu
        loss = bernoulli_nll(model.decode(z), x).mean() + job.beta * gaussian_kl(mu, logvar).sum(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def test_networks_trained_side_by_side_are_those_trained_alone():
    pictures = small_sprites(stride=4, dtype=torch.float64).images
    jobs = [Job(pictures, 4.0, 0), Job(pictures[:100], 0.5, 1), Job(pictures, 0.0, 0, noisy=False)]
    together = train_many(jobs, 20, latent_dim=3, hidden=(8,), batch=16, group=2)
    for job, model in zip(jobs, together, strict=True):
        assert not model.training
        # Float64: the two ways differ by the rounding of sums only; 1e-9 allows Adam to stretch it for 20 steps.
        for a, b in zip(model.parameters(), slow_training(job, 20, 16).parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-9, rtol=0)


def test_the_start_keeps_the_variance_that_a_relu_network_needs():
    model = he_vae(16, 8, (256, 256), torch_generator(0, "start"))
    weights = model.encoder.linears[1].weight
    # 65,536 weights: the sample variance is within 1.3 % (4 sd for a uniform law) of 2 / 256.
    assert weights.var().item() / (2 / 256) == pytest.approx(1.0, abs=0.015)


def test_the_rate_is_flat_and_then_falls_to_a_twentieth():
    assert flat_then_linear(0.0) == flat_then_linear(0.7) == 1.0
    assert flat_then_linear(0.85) == pytest.approx(0.525) and flat_then_linear(1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([], "jobs is empty"),
        ([Job(torch.zeros(20, 1, 16, 16), -1.0, 0)], "beta"),
        ([Job(torch.zeros(20, 1, 16, 16), 1.0, 0), Job(torch.zeros(20, 1, 8, 8), 1.0, 0)], "one size"),
        ([Job(torch.zeros(4, 1, 16, 16), 1.0, 0)], "batch"),
        ([Job(torch.full((20, 1, 16, 16), 2.0), 1.0, 0)], r"\[0, 1\]"),
    ],
)
def test_jobs_that_cannot_be_trained_are_refused(jobs, message):
    with pytest.raises(ValueError, match=message):
        train_many(jobs, 2, batch=8)


# --- measures -----------------------------------------------------------------------------------------------------


class Known(VAE):
    """An encoder that knows the factors of given sprites, and a decoder that returns the logits it is told."""

    def __init__(self, mu, logvar, logits):
        torch.nn.Module.__init__(self)
        self.found, self.logits = (mu, logvar), logits

    def encode(self, x):
        return self.found

    def decode(self, z):
        return self.logits


def test_the_excess_of_a_perfect_picture_is_zero_and_of_a_grey_one_is_what_it_loses(sprites):
    x = sprites.images[:50].double()
    zeros = torch.zeros(50, 3, dtype=torch.float64)
    perfect = Known(zeros, zeros, torch.logit(x, eps=1e-12))
    assert excess_nats(perfect, x).abs().max() < 1e-6  # 256 pixels, each off by at most 1e-12 ln 1e12
    grey = Known(zeros, zeros, torch.zeros_like(x))
    expected = 256 * math.log(2) - pixel_entropy(x)
    assert torch.allclose(excess_nats(grey, x), expected)


def known_statistics(sprites, mu, sd):
    """The statistics of a network with posterior means ``mu`` and widths ``sd`` and half-grey pictures."""
    logvar = 2 * torch.log(torch.as_tensor(sd)).expand_as(mu)
    return latent_statistics(Known(mu, logvar, torch.zeros_like(sprites.images)), sprites)


def test_one_latent_each_is_recognised_and_a_rotation_is_not(sprites):
    codes = hand_made_codes(sprites.values)
    good = known_statistics(sprites, codes["one latent each"].float(), 0.1)
    assert good.one_latent_per_factor and good.active.all() and good.gap == pytest.approx(1.0, abs=1e-5)
    turned = known_statistics(sprites, codes["rotated"].float(), 0.1)
    assert not turned.one_latent_per_factor and turned.best_corr[1] == pytest.approx(math.sqrt(0.5), abs=1e-5)
    assert not known_statistics(
        sprites, codes["scale missing"].float(), torch.tensor([1.0, 0.1, 0.1])
    ).one_latent_per_factor


def test_a_collapsed_latent_that_whispers_a_factor_does_not_count(sprites):
    mu = hand_made_codes(sprites.values)["one latent each"].float() * torch.tensor([0.001, 1.0, 1.0])
    found = known_statistics(sprites, mu, torch.tensor([1.0, 0.1, 0.1]))
    assert found.active.tolist() == [False, True, True]
    assert found.best_corr[0] < 1e-12 and found.best_corr[1] > 0.99 and not found.one_latent_per_factor


def test_a_spare_active_latent_or_a_shared_one_fails_the_claim():
    kl, eye = np.ones(4), np.eye(4)[:, :3]
    assert LatentStatistics(kl * [1, 1, 1, 0], np.array([1, 1, 1, 0], bool), eye, 0.0, 0.0).one_latent_per_factor
    assert not LatentStatistics(kl, np.ones(4, bool), eye, 0.0, 0.0).one_latent_per_factor
    both = np.array([[1, 0.95, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert not LatentStatistics(kl, np.array([1, 1, 1, 0], bool), both, 0.0, 0.0).one_latent_per_factor


def test_overlap_of_the_smallest_square_falls_by_a_tenth_a_pixel():
    # Ten columns of pixels; a step is 32/31 pixel, so step t has moved by t or t + 1 whole pixels.
    curve = overlap_curve(0, range(12))
    assert curve[0] == 1.0 and curve[10] == curve[11] == 0.0
    assert all(abs(curve[t] - (1 - t / 10)) <= 0.1 + 1e-6 for t in range(11))
    assert (np.diff(curve) <= 0).all()


def test_the_score_of_a_rotated_position_code_is_two_thirds_and_a_missing_factor_costs_nothing(sprites):
    settings = replace(Settings.demo(), n_train=600, n_eval=900)
    codes = hand_made_codes(sprites.values)
    scores = {name: disentanglement_scores(z, sprites, settings) for name, z in codes.items()}
    assert scores["one latent each"] == {"score": 1.0, "mig": pytest.approx(1.0), "gap": pytest.approx(1.0)}
    # 1/3 (scale) + 2/3 x 1/2; standard error sqrt(0.22 / 900) = 0.016, four of them 0.063.
    assert scores["rotated"]["score"] == pytest.approx(2 / 3, abs=0.065)
    assert scores["scale missing"]["score"] == 1.0 and scores["scale missing"]["mig"] == pytest.approx(2 / 3)
    assert scores["constant"]["score"] == pytest.approx(1 / 3, abs=0.065) and scores["constant"]["mig"] == 0.0


def test_principal_components_are_uncorrelated_and_sorted(sprites):
    cov = torch.cov(principal_components(sprites.images, 5).t())
    assert torch.allclose(cov, torch.diag(cov.diag()), atol=1e-9)
    assert (cov.diag().diff() <= 0).all()


def test_the_linear_probe_reads_a_linear_code_exactly_and_a_square_only_at_degree_two(sprites):
    values = sprites.values
    seen = ~held_out_block(values)
    mixed = values @ torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    assert linear_probe(mixed, values, seen).max() < 1e-6
    squares = values**2
    assert linear_probe(torch.cat([squares, torch.sqrt(values)], dim=1), squares**1, seen).max() < 1e-6
    root = torch.sqrt(values)
    assert linear_probe(root, values, seen).max() > 0.01 and linear_probe(root, values, seen, degree=2).max() < 1e-6


def test_the_probe_is_fitted_on_the_seen_rows_only():
    z = torch.randn(200, 2, generator=torch_generator(0, "probe"), dtype=torch.float64)
    seen = torch.arange(200) < 100
    upside_down = torch.where(seen[:, None], z, -z)  # the law changes where nobody looked
    error = linear_probe(z, upside_down, seen)
    assert error[0] < 1e-9 and error[1] > 1.5


@pytest.mark.parametrize(("noisy", "reads"), [(True, False), (False, True)])
def test_the_held_out_probe_reads_no_latent_that_carries_nothing(sprites, noisy, reads):
    class Whisperer:  # its means are the factors, a thousandth high, in noise of width 1
        def encode(self, images):
            rows = [int((sprites.images == image).flatten(1).all(dim=1).nonzero()[0]) for image in images]
            mu = (sprites.values[rows] / 1000).float()
            return mu, torch.zeros_like(mu)

        def decode(self, codes):
            return torch.zeros(len(codes), 1, 16, 16)

    row = _hold_out_row(Whisperer(), sprites, held_out_block(sprites.values), noisy)
    for name in ("probe", "quadratic_probe"):
        assert (row[f"{name}_seen"] < 0.01, row[f"{name}_held"] < 0.01) == (reads, reads)


def test_a_probe_of_nothing_errs_by_one_standard_deviation(sprites):
    seen = torch.arange(1536) % 2 == 0  # half of each factor's values on both sides, except y, which alternates
    error = linear_probe(torch.zeros(1536, 2), sprites.values[:, :2], seen)
    assert error == pytest.approx([1.0, 1.0], abs=1e-3)


def test_the_held_out_block_is_the_large_lower_right_eighth(sprites):
    held = held_out_block(sprites.values)
    assert held.sum() == 3 * 8 * 8
    block = sprites.values[held]
    assert block.min(dim=0).values.tolist() == pytest.approx([0.8, 16 / 31, 16 / 31])


# --- the experiments, a few steps long ----------------------------------------------------------------------------


def test_the_demo_experiments_run_and_have_one_entry_for_each_seed(sprites):
    settings = replace(
        Settings.full(dry_run=True), steps=3, hold_out_steps=3, hidden=(8,), latents=4, betas=(0.05, 1.0, 4.0, 8.0),
        strides=(1, 5),
    )  # fmt: skip
    models = train_betas(sprites, settings)
    assert set(models) == {(b, s) for b in settings.betas for s in settings.seeds}
    samplings = sampling_statistics(models, sprites, settings)
    both = {(kind, k, 4.0) for kind in SAMPLINGS for k in (1, 5)}
    assert set(samplings) == both | {("sparse", 1, 8.0), ("sparse", 5, 8.0)}
    assert all(len(one) == 3 for one in samplings.values())
    held_out = hold_out_errors(sprites, settings)
    assert tuple(held_out) == tuple(HOLD_OUT_BETAS) and all(len(rows) == 3 for rows in held_out.values())
    assert all(row["excess_held"] > 0 and row["probe_held"] > 0 for rows in held_out.values() for row in rows)
    assert settings.trainings == len(models) + 2 * 3 + 3 + 3 * 3
    moved = traversals(models[4.0, 0], sprites, [0, 3], [-1.0, 0.0, 1.0])
    assert moved.shape == (2, 3, 16, 16) and not torch.equal(moved[0, 0], moved[0, 2])


def test_pressure_closes_latents(sprites):
    settings = replace(Settings.demo(), steps=250)
    free, shut = (
        latent_statistics(m, sprites)
        for m in settings.train([Job(sprites.images, 0.05, 0), Job(sprites.images, 50.0, 0)])
    )
    assert free.active.sum() >= 4 and shut.active.sum() == 0
    assert free.excess < shut.excess


def test_unfamiliar_pictures_are_what_their_names_say(sprites):
    unfamiliar = unfamiliar_pictures(sprites)
    assert all(p.shape == (1, 1, 16, 16) and p.min() >= 0 and p.max() <= 1 for p in unfamiliar.values())
    assert unfamiliar["nothing"].sum() == 0
    one = sprites.grid().observations(torch.tensor([[1, 1, 8]])).sum()
    assert unfamiliar["two, apart"].sum() == pytest.approx(2 * one.item(), rel=0.2)


def test_mean_and_spread_are_those_of_a_sample():
    assert mean_and_sd([1.0, 3.0]) == (2.0, pytest.approx(math.sqrt(2))) and mean_and_sd([5.0]) == (5.0, 0.0)


# --- the full tier's tables ---------------------------------------------------------------------------------------


def test_the_full_values_follow_from_the_tables():
    row = lambda beta, gap, score, **more: {"beta": beta, "gap": gap, "score": score, **more}
    main = [
        row(4.0, 0.8, 0.9, seed=0, nll_mean=40.0, followed=True, active=5),
        row(4.0, 0.6, 0.7, seed=1, nll_mean=50.0, followed=True, active=7),
        row(1.0, 0.2, 0.9, seed=0),
        row(1.0, 0.2, 0.9, seed=1),
    ]
    gaps = (("sparse", 1, 0.9), ("sparse", 8, 0.3), ("random", 8, 0.7), ("block", 8, 0.1))
    strides = [row(4.0, g, 1.0, sampling=s, stride=k, seed=0, gap_seen=g + 0.1 * (s == "block")) for s, k, g in gaps]
    held = [
        {"kind": k, "seed": 2, "held": h, "probe_held": p}
        for k, h, p in (("beta-VAE", 5, 1), ("VAE", 3, 2), ("autoencoder", 4, 3))
    ]
    found = full.full_values({"main": main, "strides": strides, "corner": held})
    values = {name: one["value"] for name, one in found.items()}
    assert values["evc-1"] == 1 and values["evc-2"] == pytest.approx(0.5) and values["evc-6"] == pytest.approx(-0.1)
    assert found["evc-2"]["spread"] == pytest.approx(math.sqrt(0.02)) and found["evc-2"]["seeds"] == [0, 1]
    assert values["evc-3"] == pytest.approx(0.6) and values["evc-4"] == 1 and values["evc-7"] == pytest.approx(-0.1)
    assert all(one["too_small"] is None for one in found.values())  # 45 nats are below 46
    assert set(full.full_values({"main": main, "strides": [], "corner": []})) == {"evc-1", "evc-2", "evc-6"}
    main[0]["nll_mean"] = 60.0
    assert "55 nats" in full.full_values({"main": main, "strides": [], "corner": []})["evc-1"]["too_small"]


@pytest.mark.parametrize(
    ("best", "holds"), [((4, 4, 8), True), ((1, 4, 8), True), ((4, 4, 4), False), ((4, 1, 8), False)]
)
def test_sparser_data_need_more_pressure_when_the_best_beta_rises(best, holds):
    strides = [
        {"beta": float(beta), "gap": 0.5 if beta == top else 0.3, "gap_seen": 0.1, "seed": 0, "sampling": kind, "stride": k}
        for k, top in zip((1, 2, 4), best, strict=True) for beta in (1, 4, 8) for kind in ("sparse", "block")
    ]  # fmt: skip
    main = [
        {"beta": b, "seed": 0, "gap": 1, "score": 1, "nll_mean": 9, "followed": True, "active": 5} for b in (1.0, 4.0)
    ]
    assert full.best_betas(strides) == dict(zip((1, 2, 4), best, strict=True))
    assert full.full_values({"main": main, "strides": strides, "corner": []})["evc-8"]["value"] is holds


def test_both_full_tiers_run_what_the_chapter_says_that_it_needs():
    for device, side in (("cpu", 21), ("cuda", 75)):
        sizes = full.FullSettings.here(device=device)
        main = len(sizes.networks) * len(sizes.betas) * len(sizes.seeds)
        sparse, others = (1 + len(sizes.strides)) * len(sizes.stride_betas), 2 * len(sizes.strides)
        samplings = (sparse + others) * len(sizes.side_seeds)
        assert (main, samplings + len(HOLD_OUT_BETAS) * len(sizes.side_seeds)) == (12, side)
        words = Settings.needs.shortened if device == "cpu" else Settings.needs.paper
        assert f"{sizes.steps:,} steps" in words and f"{side} " in words and f"{sizes.side_steps:,}" in words
    runs = [sizes.run(network, 4.0, 1, 2000) for network in sizes.networks]
    assert [run.name for run in runs] == ["fc64-beta4-2000-lr0.01-b64-seed1", "burgess64-beta4-2000-lr0.0005-b64-seed1"]


@pytest.mark.parametrize("place", ["demo", "full"])
def test_both_samplings_choose_equally_many_and_the_random_one_spreads_over_all_positions(sprites, place):
    if place == "demo":
        choose = lambda *way: chosen_squares(sprites, *way).classes
    else:
        large = DSprites(classes=sub_grid(0, None, 0, range(0, 32, 2), range(0, 32, 2)))
        choose = lambda kind, stride, seed: full.chosen(large, kind, 2 * stride, seed).classes
    sparse, first, second = choose("sparse", 5, 0), choose("random", 5, 0), choose("random", 5, 1)
    assert len(sparse) == len(first) == len(second) == 96 and len(first.unique(dim=0)) == 96
    assert set(sparse[:, 3].tolist()) == {0, 10, 20, 30} and not torch.equal(first, second)
    # 96 of 1,536 without replacement: one of 16 columns (96 pictures) is missed with a chance of about 0.0015.
    assert len(first[:, 3].unique()) == len(first[:, 4].unique()) == 16
    with pytest.raises(ValueError, match="sampling"):
        choose("dense", 5, 0)
    if place == "full":
        block = choose("block", 5, 0)
        assert len(block) == 96 and set(block[:, 3].tolist()) == set(block[:, 4].tolist()) == {12, 14, 16, 18}


def test_a_dry_run_of_the_full_tier_fills_every_table_and_goes_on_where_it_was_stopped(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    small = lambda *, generator: mlp_vae(64, 10, (8,), generator=generator)  # in place of 14 million weights
    monkeypatch.setattr(sprite_runs, "fc_vae", small)
    sizes = replace(full.FullSettings.here(dry_run=True, device="cpu"), seeds=(0,), betas=(4.0,))
    calls, train = [], full.train

    def stopped(*args, **options):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(args[0].name)
        return train(*args, **options)

    monkeypatch.setattr(full, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        full.all_tables(sizes)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    monkeypatch.setattr(full, "train", train)
    tables = full.all_tables(sizes)
    assert {name: len(rows) for name, rows in tables.items()} == {"main": 1, "conv": 1, "strides": 4, "corner": 3}
    assert len(before) == 3 and all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert {row["data"] for rows in tables.values() for row in rows} == {"128 drawn"}
    assert {(row["sampling"], row["trained_on"]) for row in tables["strides"]} == {
        ("sparse", 128),
        ("sparse", 32),
        ("random", 32),
        ("block", 32),
    }
    monkeypatch.setattr(full, "train", lambda *_, **__: pytest.fail("a measured training was begun again"))
    assert tables == full.all_tables(sizes)


def test_a_dry_run_has_sprites_of_every_factor_and_a_corner_to_hide():
    sprites, source = full.load_sprites(full.FullSettings.here(dry_run=True, device="cpu"))
    assert sprites.sizes == (2, 2, 2, 4, 4) and source == "128 drawn"
    held = held_out_block(factor_values(sprites.classes)[:, [1, 3, 4]])
    part = full.some(sprites, ~held)
    assert 0 < held.sum() < 64 and len(part) == 128 - held.sum()
    assert torch.equal(part.images(torch.tensor([3])), sprites.images(torch.nonzero(~held)[3]))


def test_layers_are_rounded_to_the_nearest_where_no_input_tells_of_another():
    generator = torch_generator(5, "rounded")
    weight, bias = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 6), (7,)))
    inputs = torch.cat([torch.eye(6), -torch.eye(6)]).double()  # uncorrelated, and with means of 0
    steps, fine, exponents = rounded(weight, bias, inputs, inputs @ weight.T + bias)
    scale = 2 ** (exponents / 8)
    assert torch.equal(steps, (weight / scale[:, None]).round()) and torch.equal(fine, (6 * bias / scale).round())
    most = torch.maximum(weight.abs().amax(dim=1) / 4, 6 * bias.abs() / 45)
    assert bool((scale >= most * (1 - 1e-12)).all()) and bool((scale < 1.1 * most).all())  # the next power of 2^(1/8)


def test_weights_rounded_for_the_pictures_lose_less_than_weights_rounded_one_by_one(sprites):
    model = he_vae(16, 8, (64, 64), torch_generator(3, "packed")).double()
    layer, inputs = model.encoder.linears[0], sprites.images[::5].flatten(1).double()
    weight, bias, wanted = layer.weight.detach(), layer.bias.detach(), layer(inputs).detach()

    def lost(steps, bias, exponents, x):
        return float((x @ (steps * 2 ** (exponents / 8)[:, None]).T + bias - wanted).square().mean())

    for shrunk in (1.0, 0.8):  # what the layers below do to the inputs is made up for
        steps, fine, exponents = rounded(weight, bias, shrunk * inputs, wanted)
        scale = 2 ** (exponents / 8)
        alone = (weight / scale[:, None]).round()
        found = lost(steps, fine * scale / 6, exponents, shrunk * inputs)
        assert found < 0.2 * lost(alone, bias, exponents, inputs)


def test_a_packed_network_keeps_its_functions_with_its_latents_in_another_order(sprites):
    model, order = he_vae(16, 8, (64, 64), torch_generator(3, "packed")), [5, 0, 7, 2, 1, 6, 4, 3]
    packs = packed(model, order, sprites.images)
    assert {part: (len(values), values.dtype) for part, values in packs.items()} == {
        "codes": (21248, np.int8), "scales": (528, np.int8), "biases": (528, np.int8),
    }  # fmt: skip
    assert np.abs(packs["codes"]).max() <= 40 and np.abs(packs["biases"]).max() <= 45
    found = unpacked({f"m {part}": values.astype(np.float32) for part, values in packs.items()}, "m")
    images = sprites.images.double()
    with torch.no_grad():
        for one, other in zip(model.double().encode(images), found.encode(images), strict=True):
            assert (one[:, order] - other).abs().mean() < 0.1 * one.std()
        codes = model.encode(images)[0]
        wanted = model.decode(codes)
        assert (found.decode(codes[:, order]) - wanted).abs().mean() < 0.15 * wanted.std()


def test_the_stored_networks_show_what_the_page_says_of_their_seeds(sprites):
    stored = load_weights("early_visual_concepts")
    models = {seed: unpacked(stored, f"4 {seed}") for seed in (0, 1, 2)}
    corr = {seed: latent_statistics(model.float(), sprites).corr for seed, model in models.items()}
    followed = {seed: np.abs(one).argmax(axis=0) for seed, one in corr.items()}
    assert followed[0].tolist() == followed[1].tolist() and len(set(followed[0])) == 3
    best = {seed: one[followed[seed], range(3)] for seed, one in corr.items()}
    assert (best[0] * best[1] < -0.8).all(), "the same axes with their ends exchanged"
    assert (np.abs(best[2][1:]) > 0.8).all() and best[2][0] < 0.1
    # As the figure says it: which latent goes furthest over the six sizes, at each of the 256 positions, and whether by more
    # than its noise (the root of its mean variance).
    for seed, model in models.items():
        with torch.no_grad():
            mu, logvar = (part.view(6, 256, 8) for part in model.encode(sprites.images))
        far, most = (mu.amax(dim=0) - mu.amin(dim=0)).max(dim=1)
        heard = far > logvar.exp().mean(dim=0).sqrt().gather(1, most[:, None])[:, 0]
        places = torch.bincount(most[heard], minlength=8) / 256
        if seed < 2:
            assert places.argmax() == 2 and places[2] > 0.95
        else:
            assert places.max() < 0.25 and 0.25 < 1 - places.sum() < 0.75
