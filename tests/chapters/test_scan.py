"""What the chapter `scan` runs, at small sizes."""

import itertools
from dataclasses import replace

import numpy as np
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
    scored_concepts,
    shown_concepts,
    split_pairs,
)
from workings.chapters.scan.full import FullSettings
from workings.chapters.scan.settings import Settings
from workings.chapters.scan.sweep import sweep_point
from workings.disentangling.concepts import all_concepts, includes, khot
from workings.disentangling.scan import Gaussian, Pairs, ScanJob, train_scans
from workings.disentangling.training import History

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


def test_all_shown_concepts_are_scored_unless_there_are_too_many():
    every = all_concepts(SIZES)[shown_concepts(SIZES)]
    assert torch.equal(scored_concepts(SIZES, Settings.demo()), every)
    some = scored_concepts(SIZES, replace(Settings.demo(), scored=20))
    assert some.shape == (20, 3) and len(some.unique(dim=0)) == 20
    assert bool((some[:, None] == every).all(2).any(1).all())


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


KINDS = {"forward", "reversed", "main text", "entangled", "jmvae", "1", "5", "20"}
CLAIMS = {f"scan-{name}" for name in ("1", "2", "3", "3b", "3c", "4", "5", "6", "7", "9")}


def test_a_dry_run_of_the_full_tier_gives_every_claim_a_value_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = FullSettings.here(dry_run=True)
    tables = full.run(settings)
    assert {row["kind"] for row in tables["runs"]} == KINDS
    assert set(full.claim_values(tables)) == CLAIMS
    vision = tables["vision"]
    assert [(row["kind"], row["seed"]) for row in vision] == [
        (kind, seed) for kind in ("disentangled", "entangled") for seed in (0, 1)
    ]
    for row in vision:
        assert row["loss"] > 0 and row["loss_half_way"] > 0 and row["loss"] != row["loss_half_way"]
        kind = "forward" if row["kind"] == "disentangled" else "entangled"
        (last,) = [run for run in tables["runs"] if (run["kind"], run["seed"]) == (kind, row["seed"])]
        assert row["named"] == last["named"] and 0 <= row["named_half_way"] <= 1
    monkeypatch.setattr(full, "tables", None)  # not called again
    assert full.run(settings) == tables


def test_an_interrupted_vision_model_ends_as_one_that_was_not(tmp_path):
    settings = FullSettings.here(dry_run=True)
    settings = replace(settings, vision_steps=6, demo=replace(settings.demo, seeds=(0,)))
    pictures, attributes, sizes = full.coloured_sprites(40, 32)
    world = full.World(pictures, attributes, sizes, lambda x: x)
    whole = full.vision_models(settings, world, tmp_path)["disentangled"][0]
    (tmp_path / "disentangled-seed0-half2.pt").unlink()
    (tmp_path / "disentangled-seed0-half2.pt.history.jsonl").unlink()
    again = full.vision_models(settings, world, tmp_path)["disentangled"][0]
    assert again.losses == whole.losses and whole.losses[0] != whole.losses[1]
    for one, other in ((again.last, whole.last), (again.half_way, whole.half_way)):
        assert torch.equal(one.pairs.mu, other.pairs.mu)
    assert not torch.equal(whole.last.pairs.mu, whole.half_way.pairs.mu)


def test_the_late_loss_is_that_of_the_last_tenth():
    steps = torch.arange(50, 1050, 50)
    nll = torch.arange(20.0).double()
    assert full.late_nll(History(steps, nll, torch.zeros(20, 3))) == 18.5  # steps 901 to 1,000
    assert full.late_nll(History(steps[:3], nll[:3], torch.zeros(3, 3))) == 2.0


def vision_rows(loss_half_way=10.0, loss=9.8, named_half_way=0.90, named=0.91):
    """Of two seeds, with the given means."""
    row = {"loss_half_way": loss_half_way, "loss": loss, "named_half_way": named_half_way, "named": named}
    shift = lambda by: {key: value + by for key, value in row.items()}
    return [{"kind": kind, "seed": seed, **shift((-0.01, 0.01)[seed])} for kind in ("disentangled", "entangled") for seed in (0, 1)]  # fmt: skip


def test_a_run_counts_when_its_vision_has_levelled_or_has_the_protocols_steps():
    short = FullSettings.here(device="cpu")
    assert short.vision_steps == 20_000
    found = lambda **means: full.too_small(short, {"vision": vision_rows(**means)})
    assert found() is None
    assert found(loss=9.51) is None and found(loss=10.49) is None  # changed by less than a twentieth
    assert "the loss of the disentangled ones changed by 6%" in found(loss=9.4)
    assert "the loss of the entangled ones changed by 6%" in found(loss=10.6)
    assert "naming by the disentangled ones by 3 points" in found(named=0.93)
    assert "20,000 steps; the protocol has 150,000" in found(named=0.93)
    assert "changed by nan" in found(loss=float("nan"))
    assert "nothing says" in full.too_small(short, {"runs": []})
    assert full.too_small(FullSettings.here(device="cuda"), {"vision": vision_rows(loss=1.0)}) is None


def test_few_pictures_at_full_scale_are_the_sheets():
    for device in ("cpu", "cuda"):
        assert FullSettings.here(device=device).demo.labelled == (1, 2, 5, 10, 20)


FLOORS, WALLS, OBJECTS, SHAPES = 3, 3, 2, 2


@pytest.fixture
def small_shapes3d(tmp_path):
    """A folder with a file of the form of 3D Shapes: wall, floor and object in a channel each, the shape in a corner."""
    h5py = pytest.importorskip("h5py", reason="h5py is an extra that only this loader needs")
    sizes = (FLOORS, WALLS, OBJECTS, 2, SHAPES, 1)
    classes = np.array(list(itertools.product(*map(range, sizes))))
    images = np.zeros((len(classes), 64, 64, 3), dtype=np.uint8)
    images[:] = (85 * classes[:, [1, 0, 2]])[:, None, None, :]
    images[:, :8, :8, :] = 255 * classes[:, 4, None, None, None]
    folder = tmp_path / "data"
    folder.mkdir()
    with h5py.File(folder / "3dshapes.h5", "w") as file:
        file["images"], file["labels"] = images, classes / 7.0
    return folder


def test_pictures_of_3d_shapes_come_with_what_they_show(small_shapes3d):
    path = small_shapes3d / "3dshapes.h5"
    pictures, attributes, sizes = full.shapes3d(path, 40, 32, whole=False)
    assert pictures.shape == (40, 3, 32, 32) and sizes == (WALLS, FLOORS, OBJECTS, SHAPES)
    assert torch.allclose(pictures[:, :, -1, -1], attributes[:, :3] / 3.0)
    assert torch.equal(pictures[:, 0, 0, 0], attributes[:, 3].float())
    assert len(full.shapes3d(path, 1000, 64, whole=False)[0]) == 72  # all that there are
    with pytest.raises(ValueError, match="whole=False"):
        full.shapes3d(path, 40, 32)
    assert FullSettings.here(device="cpu").whole and FullSettings.here(device="cuda").whole


def test_a_dry_run_takes_a_small_file_of_3d_shapes(small_shapes3d, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    tables = full.run(FullSettings.here(dry_run=True), small_shapes3d)
    assert {row["kind"] for row in tables["runs"]} == KINDS
    assert {row["pictures"] for row in tables["runs"]} == {72}
    assert set(full.claim_values(tables)) == CLAIMS


def test_without_its_file_3d_shapes_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    with pytest.raises(FileNotFoundError, match="fetch_shapes3d"):
        full.run(FullSettings.here(dry_run=True), tmp_path)
