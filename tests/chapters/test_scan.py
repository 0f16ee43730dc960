"""What the chapter `scan` runs, at small sizes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings.chapters.scan import full, record
from workings.chapters.scan import sprite_reader as sprites
from workings.chapters.scan.demo import (
    World,
    as_claimed,
    beats,
    draw_pictures,
    explained,
    held_out,
    labelled_rows,
    matched_table,
    ratio_and_error,
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


@pytest.fixture(scope="module")
def sprites32():
    return full.coloured_sprites(2000, 32)


def blurred(pictures, times):
    """Blurred ``times`` times by 1, 2, 1 in both directions; each time adds a variance of 1/2 pixel squared."""
    for _ in range(times):
        for axis in (2, 3):
            ahead, behind = (pictures.roll(by, axis) for by in (1, -1))
            pictures = (ahead + 2 * pictures + behind) / 4
    return pictures


def test_the_sprites_reader_reads_pictures_that_it_was_not_trained_on_and_blurred_ones(sprites32):
    pictures, attributes, _ = sprites32
    read = sprites.train_sprite_reader(pictures[:1500], attributes[:1500, 2], 400)
    share = lambda x: (read(x) == attributes[1500:]).double().mean(dim=0)
    assert (share(pictures[1500:]) >= full.READER_LEVEL).all()
    # Blurred by a deviation of one pixel; it was trained on sharp ones only.
    assert (share(blurred(pictures[1500:], 2)) >= 0.95).all()
    assert torch.equal(read(pictures[:3]), read(pictures[:2000])[:3])  # a picture's reading is its own


def test_the_inside_of_every_sprite_has_more_pixels_than_are_taken_for_it(sprites32):
    pictures, _, _ = sprites32
    assert float((sprites.sprite_mask(pictures) == 1).sum(dim=(1, 2)).min()) >= sprites.FAR


def test_moments_do_not_change_when_a_mask_is_moved_turned_or_enlarged():
    mask = torch.zeros(1, 40, 40)
    mask[0, 10:17, 12:15], mask[0, 15:20, 15:22] = 1.0, 0.5
    found = sprites.sprite_moments(mask)
    assert found.shape == (1, 12) and found.dtype == torch.float64
    for other in (mask.roll((5, 9), (1, 2)), mask.transpose(1, 2).flip(1)):  # a quarter turn
        assert torch.allclose(sprites.sprite_moments(other), found, rtol=1e-9, atol=1e-12)
    # Twice as large, each pixel is four: the moments of a pixel itself differ a little.
    twice = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.allclose(sprites.sprite_moments(twice), found, rtol=0.02, atol=0.002)
    # Half a square: c_11 = (w^2 + h^2) / 12 / (w h) and |c_20| = |w^2 - h^2| / 12 / (w h), less a pixel's own 1/12.
    bar = torch.zeros(1, 40, 40)
    bar[0, 5:15, 3:23] = 1.0
    c20, c11 = sprites.sprite_moments(bar)[0, :2].tolist()
    assert c11 == pytest.approx((20**2 - 1 + 10**2 - 1) / 12 / 200) and c20 == pytest.approx((20**2 - 10**2) / 12 / 200)
    assert not sprites.sprite_moments(torch.zeros(1, 8, 8)).any()


def test_bad_pictures_and_masks_are_refused(sprites32):
    pictures, attributes, _ = sprites32
    with pytest.raises(ValueError, match="3, size, size"):
        sprites.sprite_colours(pictures[:, :1])
    with pytest.raises(ValueError, match="finite"):
        sprites.sprite_colours(pictures[:1] / 0.0)
    with pytest.raises(ValueError, match="N, size, size"):
        sprites.sprite_moments(pictures)
    with pytest.raises(ValueError, match="one shape per picture"):
        sprites.train_sprite_reader(pictures, attributes[:5, 2], 10)


def test_the_readers_shares_are_those_of_the_kept_tenth():
    attributes = torch.tensor([[0, 0, 0]] * 18 + [[1, 0, 2], [1, 1, 2]])
    world = World(torch.zeros(20, 3, 8, 8), attributes, SIZES, lambda x: torch.tensor([[1, 0, 0], [1, 0, 2]]))
    rows = full.readings({}, {}, world, Settings.demo(), full.SPRITE_NAMES)
    assert [(row["attribute"], row["accuracy"], row["pictures"]) for row in rows] == [
        ("background", 1.0, 2),
        ("sprite", 0.5, 2),
        ("shape", 0.5, 2),
    ]
    assert {row["of"] for row in rows} == {"pictures"}


def test_better_in_both_worse_in_one_or_undecided():
    ours = np.array([[0.80, 0.05], [0.82, 0.06], [0.81, 0.04]])
    # By how much ours are the more accurate and the more diverse (the lower in the second), seed by seed.
    judged = lambda accuracy, diversity: beats(ours, ours - np.stack([accuracy, np.negative(diversity)], axis=1))
    clear, open_, lost = (0.1, 0.2, 0.1), (0.1, -0.2, 0.1), (-0.1, -0.2, -0.1)
    assert judged(clear, clear) == (True, None)
    for pair in ((clear, lost), (lost, clear), (lost, open_), (open_, lost), (lost, lost)):
        assert judged(*pair) == (False, None)
    within = "over 3 seeds the paired difference in %s is within its standard error"
    assert judged(open_, clear) == (False, within % "accuracy")
    assert judged(clear, open_) == (False, within % "diversity")
    assert judged(open_, open_) == (False, within % "accuracy and in diversity")


def test_the_error_of_a_ratio_is_that_of_many_repetitions():
    source = np.random.default_rng(0)
    below = 2.0 + 0.2 * source.standard_normal((4000, 20))
    above = 5.0 + 0.5 * source.standard_normal((4000, 20)) + (below - 2.0)  # they go together
    found = np.array([ratio_and_error(a, b) for a, b in zip(above, below, strict=True)])
    # The deviation of 4,000 ratios is known to 1.1 %; the mean of their squared errors, as 19 degrees of freedom, to 0.5 %.
    assert (found[:, 1] ** 2).mean() ** 0.5 == pytest.approx(found[:, 0].std(), rel=0.05)
    assert ratio_and_error(3.0 * below[0], below[0]) == pytest.approx((3.0, 0.0), abs=1e-12)


def measured_rows():
    """Tables of three seeds whose numbers are easy to follow."""
    level = {"forward": 0.8, "reversed": 0.9, "main text": 0.5, "entangled": 0.6, "20": 0.79, "jmvae": 0.7}
    nats = {"forward": 0.1, "reversed": 0.6}
    runs = [
        {"kind": kind, "seed": seed, "accuracy": value + shift, "diversity": nats.get(kind, 0.2) + shift, "named": 0.9 + shift, "as_claimed": 0.5 + shift}
        for kind, value in level.items()
        for seed, shift in enumerate((-0.01, 0.0, 0.01))
    ]  # fmt: skip
    operators = [
        {"operator": name, "seed": seed, "accuracy": 0.7 - lost + shift, "own": 0.7, "diversity": 0.1}
        for name, lost in (("and", 0.1), ("in_common", 0.2))
        for seed, shift in enumerate((-0.02, 0.0, 0.02))
    ]
    return {"runs": runs, "operators": operators}


def test_claims_are_judged_with_their_spread_seed_by_seed():
    found = full.claim_values(measured_rows())
    for name, mean in (("1", 0.5), ("3", 0.8), ("3b", 0.1), ("4", 0.9)):
        assert found[f"scan-{name}"][:2] == pytest.approx((mean, 0.01))
    for name, mean in (("5", 0.01), ("7", 0.2), ("9", 0.3)):  # the seeds move together
        assert found[f"scan-{name}"][:2] == pytest.approx((mean, 0.0), abs=1e-12)
    assert found["scan-6"][:2] == pytest.approx((0.2, 0.02))  # of the worst operator
    # (b_i - 6 f_i) is -5 shift_i: deviation 0.05, over sqrt 3 seeds and the mean 0.1 below the line
    assert found["scan-2"].value == pytest.approx(6.0) and found["scan-2"].error == pytest.approx(0.05 / 3**0.5 / 0.1)
    assert found["scan-2"].spread is None
    assert found["scan-3c"].value is True and found["scan-3c"].too_small is None


def test_a_record_is_shown_with_its_spread_and_says_whether_it_counts():
    assert record.standing({"runs": []}) == "No full run is recorded." and record.grids({"runs": []}) == []
    tables = measured_rows()
    for row in tables["runs"]:
        row.update(data="sprites", pictures=8000, size=32, steps=20_000, device="cpu")
    for row in tables["operators"]:
        row["own_diversity"] = None
    kept = [{"of": "entangled", "seed": seed, "attribute": "shape", "accuracy": 0.5 + seed / 10, "named": 0.4, "pictures": 800} for seed in (0, 1)]  # fmt: skip
    tables |= {"reader": READ + kept, "vision": vision_rows(loss=9.7)}
    runs, reader, operators, vision = record.grids(tables)
    assert runs.rows[0] == ("SCAN", "0.800 ± 0.010", "0.100 ± 0.010", "0.900 ± 0.010")
    assert ("20 pictures per value", "0.790 ± 0.010", "0.200 ± 0.010", "0.900 ± 0.010") in runs.rows
    assert reader.rows[0] == ("background", "0.980", "-", "-")
    assert reader.rows[2] == ("shape", "0.980", "0.550 ± 0.071", "0.400 ± 0.000")
    assert operators.rows[1] == ("IN COMMON", "0.500 ± 0.020", "0.700 ± 0.000", "0.100 ± 0.000", "-")
    assert vision.rows[0] == ("disentangled", "10.0 to 9.7 (3.0%)", "0.900 to 0.910 (1.0 points)", "yes")
    said = record.standing(tables)
    assert "8,000 pictures of 32 x 32 pixels, 3 seeds" in said and said.endswith("It counts.")
    tables["vision"] = vision_rows(loss=9.0)
    assert record.grids(tables)[3].rows[0][-1] == "no" and "changed by 10%" in record.standing(tables)


KINDS = {"forward", "reversed", "main text", "entangled", "jmvae", "1", "5", "20"}
CLAIMS = {f"scan-{name}" for name in ("1", "2", "3", "3b", "3c", "4", "5", "6", "7", "9")}


def test_a_dry_run_of_the_full_tier_gives_every_claim_a_value_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = FullSettings.here(dry_run=True)
    tables = full.run(settings)
    assert {row["kind"] for row in tables["runs"]} == KINDS and {row["data"] for row in tables["runs"]} == {"sprites"}
    assert len(tables["reader"]) == 3 * (1 + 2 * 2) and {row["pictures"] for row in tables["reader"]} == {40}
    assert {row["of"] for row in tables["reader"] if row["named"] is None} == {"pictures"}
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
    shown = record.grids(tables)
    assert [len(grid.rows) for grid in shown] == [len(KINDS), 3, 3, 2]
    said = record.standing(tables)
    assert "4 steps a vision model" in " ".join(said.split()) and max(map(len, said.splitlines())) <= 72
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


READ = [
    {"of": "pictures", "seed": None, "attribute": name, "accuracy": 0.98, "named": None, "pictures": 800}
    for name in full.SPRITE_NAMES
]


def vision_rows(loss_half_way=10.0, loss=9.8, named_half_way=0.90, named=0.91):
    """Of two seeds, with the given means."""
    row = {"loss_half_way": loss_half_way, "loss": loss, "named_half_way": named_half_way, "named": named}
    shift = lambda by: {key: value + by for key, value in row.items()}
    return [{"kind": kind, "seed": seed, **shift((-0.01, 0.01)[seed])} for kind in ("disentangled", "entangled") for seed in (0, 1)]  # fmt: skip


def test_a_run_counts_when_its_vision_has_levelled_or_has_the_protocols_steps():
    short = FullSettings.here(device="cpu")
    assert short.vision_steps == 20_000
    found = lambda **means: full.too_small(short.vision_steps, {"vision": vision_rows(**means), "reader": READ})
    assert found() is None
    assert found(loss=9.51) is None and found(loss=10.49) is None  # changed by less than a twentieth
    assert "the loss of the disentangled ones changed by 6%" in found(loss=9.4)
    assert "the loss of the entangled ones changed by 6%" in found(loss=10.6)
    assert "naming by the disentangled ones by 3 points" in found(named=0.93)
    assert "20,000 steps; the protocol has 150,000" in found(named=0.93)
    assert "changed by nan" in found(loss=float("nan"))
    assert "nothing says that they have levelled" in full.too_small(short.vision_steps, {"runs": [], "reader": READ})
    long = FullSettings.here(device="cuda")
    assert full.too_small(long.vision_steps, {"vision": vision_rows(loss=1.0), "reader": READ}) is None


def test_a_run_whose_pictures_are_read_badly_decides_nothing_however_long():
    for settings in (FullSettings.here(device="cpu"), FullSettings.here(device="cuda")):
        badly = [{**row, "accuracy": 0.97} if row["attribute"] == "shape" else row for row in READ]
        why = full.too_small(settings.vision_steps, {"vision": vision_rows(), "reader": badly})
        assert "shape (97%)" in why and "sprite (" not in why
        assert "nothing says how well" in full.too_small(settings.vision_steps, {"vision": vision_rows()})
        drawn_again = [
            {"of": "disentangled", "seed": 0, "attribute": "shape", "accuracy": 0.3, "named": 0.4, "pictures": 5}
        ]
        assert full.too_small(settings.vision_steps, {"vision": vision_rows(), "reader": READ + drawn_again}) is None


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
    assert {row["pictures"] for row in tables["runs"]} == {72} and {row["data"] for row in tables["runs"]} == {
        "shapes3d"
    }
    assert [row["attribute"] for row in tables["reader"][:4]] == list(full.SHAPES3D_NAMES)
    assert set(full.claim_values(tables)) == CLAIMS


def test_without_its_file_3d_shapes_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    with pytest.raises(FileNotFoundError, match="fetch_shapes3d"):
        full.run(FullSettings.here(dry_run=True), tmp_path)
