"""What the chapter `scan` runs, at small sizes."""

import pytest
import torch

from workings.chapters.scan import full
from workings.chapters.scan.demo import (
    as_claimed,
    draw_pictures,
    explained,
    held_out,
    labelled_rows,
    matched_table,
    rooms,
    shown_concepts,
    split_pairs,
)
from workings.chapters.scan.full import FullSettings
from workings.chapters.scan.settings import Settings
from workings.chapters.scan.sweep import sweep_point
from workings.disentangling.concepts import all_concepts, includes, khot
from workings.disentangling.scan import Gaussian, Pairs, ScanJob, train_scans

SIZES = (4, 4, 3)


def test_a_perfect_code_explains_everything_and_noise_nothing():
    world = rooms()
    codes = torch.cat([world.attributes.float(), torch.linspace(0, 1, 768)[torch.randperm(768, generator=torch.Generator().manual_seed(0))][:, None]], 1)  # fmt: skip
    shares = explained(codes, world.attributes, SIZES)
    assert torch.allclose(shares[:3], torch.eye(3).double(), atol=1e-9)
    # Of noise, K - 1 of 767 degrees of freedom are explained by chance: 0.004; 0.03 is far above.
    assert shares[3].max() < 0.03


def test_held_out_combinations_are_a_quarter_and_never_shown():
    concepts = all_concepts(SIZES)
    shown = shown_concepts(SIZES)
    assert int((~shown).sum()) == 4 * 4  # four combinations, with any shape or none
    assert not bool(includes(concepts[shown][:, None], held_out(SIZES)).any())


def test_the_operators_tests_share_no_pair_with_their_training():
    for name, split in split_pairs(SIZES, Settings.demo()).items():
        keys = [set(zip(part.first.tolist(), part.second.tolist(), strict=True)) for part in split]
        assert keys[0] and keys[1] and not keys[0] & keys[1]
        shown = shown_concepts(SIZES)
        assert bool(shown[split.train.result].all())
        assert bool(shown[split.test.result].any()) != (name == "and")


def test_few_labelled_pictures_show_every_value_equally_often():
    world = rooms()
    rows = labelled_rows(world.attributes, SIZES, 5, seed=0)
    assert len(rows) == 5 * 11
    assert (world.attributes[rows[:5], 0] == 0).all() and (world.attributes[rows[-5:], 2] == 2).all()


def test_an_ideal_code_gives_deviations_as_claimed():
    world = rooms()
    # four evenly spread values have the deviation 1.118, three 0.816
    mu = (world.attributes - torch.tensor([1.5, 1.5, 1.0])) / torch.tensor([1.118, 1.118, 0.816])
    pairs = Pairs(0.95 * mu, torch.full_like(mu, 0.08).log(), world.attributes)
    (symbols,) = train_scans([ScanJob(pairs, 0)], SIZES, 600, learning_rate=3e-3)
    right, of = as_claimed(symbols, pairs, SIZES)
    assert of == 33 and right >= 30
    table, there = matched_table(pairs.select(pairs.assignments[:, 0] > 0), SIZES)
    assert table.mu.shape == (99, 3)
    assert torch.equal(there, all_concepts(SIZES)[:, 0] != 0)
    assert torch.isfinite(symbols.encode(khot(all_concepts(SIZES), SIZES)).mu).all()


def test_drawn_pictures_have_the_gaussians_mean_and_deviation():
    q = Gaussian(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 1.0]]).log().clamp(min=-50))
    # The first latent's deviation is e^-25, the second's 1.
    drawn = torch.logit(draw_pictures(q, lambda z: z, 4000, 0).double(), eps=1e-12)[0]
    assert drawn[:, 0].mean().item() == pytest.approx(1.0, abs=1e-5) and drawn[:, 0].std() < 1e-5
    assert drawn[:, 1].mean().item() == pytest.approx(-2.0, abs=0.08)  # five standard errors
    assert drawn[:, 1].std().item() == pytest.approx(1.0, abs=0.06)


def test_the_sweep_measures_what_it_says():
    found = sweep_point(vision_steps=20, steps=20, labelled=2)
    assert set(found) == {"accuracy", "diversity", "named", "as_claimed"}
    assert 0 <= found["accuracy"] <= 1 and found["diversity"] >= 0
    with pytest.raises(ValueError, match="direction"):
        sweep_point(direction="up")


def test_coloured_sprites_have_their_colours_and_shapes():
    pictures, attributes, sizes = full.coloured_sprites(60, 32)
    assert pictures.shape == (60, 3, 32, 32) and sizes == SIZES
    assert pictures.min() >= 0 and pictures.max() <= 1
    red = attributes[:, 0] == 0
    corner = pictures[red, :, 0, 0]
    assert (corner[:, 0] == 1).all() and (corner[:, 2] == corner.min(1).values).all()
    assert {int(s) for s in attributes[:, 2]} == {0, 1, 2}


def test_a_dry_run_of_the_full_tier_gives_every_claim_a_value_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = FullSettings.here(dry_run=True)
    tables = full.run(settings)
    values = full.claim_values(tables)
    assert {row["kind"] for row in tables["runs"]} == {"forward", "reversed", "main text", "entangled", "jmvae", "1", "5", "20"}  # fmt: skip
    assert set(values) == {"scan-1", "scan-2", "scan-3", "scan-3b", "scan-3c", "scan-4", "scan-5", "scan-6", "scan-7", "scan-9"}  # fmt: skip
    monkeypatch.setattr(full, "tables", None)  # not called again
    assert full.run(settings) == tables
