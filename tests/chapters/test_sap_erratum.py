"""The chapter `sap_erratum`: its defences, attacks, images, SPSA reference and resumable table."""

import json
from dataclasses import replace

import pytest
import torch

from workings.chapters.sap_erratum import full
from workings.chapters.sap_erratum.demo import (
    PROGRAM_2018,
    Attack,
    Defence,
    Trained,
    alignment_curves,
    demo_attack,
    five_differences,
    mean_margin,
    measure,
    one_neuron,
    over_seeds,
    run_attack,
)
from workings.chapters.sap_erratum.full import FullSettings, cells, find, run_table, stored
from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.robustness.data import Split
from workings.robustness.layers import PoissonPruningLayer, SAPLayer, pruning_layers
from workings.robustness.networks import digits_cnn
from workings.runs.store import Store
from workings.seeding import torch_generator

pytestmark = pytest.mark.filterwarnings("default")


def net():
    return digits_cnn(torch_generator(0, "test net")).eval()


def images(n=6):
    x = torch.rand(n, 1, 8, 8, generator=torch_generator(1, "images"))
    return x, torch.arange(n) % 10


def test_a_defence_puts_the_named_layer_at_the_named_place():
    flawed = PROGRAM_2018.build(net(), "pathwise")
    layers = list(pruning_layers(flawed))
    assert len(layers) == 3 and all(
        isinstance(layer, PoissonPruningLayer) and layer.fraction == 2.0 for layer in layers
    )
    sap = list(pruning_layers(Defence(fraction=0.5).build(net(), "mask")))
    assert len(sap) == 4 and all(isinstance(layer, SAPLayer) and layer.enabled for layer in sap)


def test_matched_places_prune_the_same_number_of_layers():
    for law in ("poisson", "multinomial"):
        counts = [
            sum(layer.enabled for layer in pruning_layers(Defence(law, place, 1.0, True).build(net(), "mask")))
            for place in ("convolutions", "activations")
        ]
        assert counts == [3, 3]


def test_every_attack_stays_in_the_ball_and_the_box_and_counts_no_nan():
    x, y = images()
    for kind in ATTACKS:
        found = run_attack(net(), Defence(), kind, x, y, 0.1, Attack(2, 1, 1.0, 3, 1.0), torch_generator(2, "a"))
        assert (found.images - x).abs().max() <= 0.1 + 1e-6 and found.nans == 0
        assert found.images.min() >= 0 and found.images.max() <= 1


def test_transfer_ignores_the_defence_and_takes_the_dense_gradient():
    x, y = images()
    sizes = Attack(2, 3, 1.0, 3, 1.0)
    hidden = run_attack(net(), Defence(), "transfer", x, y, 0.1, sizes, torch_generator(2, "a")).images
    assert torch.equal(hidden, run_attack(net(), None, "identity", x, y, 0.1, sizes).images)


def test_masks_in_one_batch_average_to_the_same_gradient():
    """Without randomness the copies change nothing; with it, 400 masks of one image agree with single passes on average."""
    x, y = images(2)
    x, dense = x.double(), net().double()
    assert torch.allclose(mean_margin(dense, x, y, 4), mean_margin(dense, x, y, 1))
    pruned = Defence().build(dense, "mask", torch_generator(3, "copies"))
    single = torch.stack([mean_margin(pruned, x, y, 1) for _ in range(400)]).detach()
    many = torch.stack([mean_margin(pruned, x, y, 20) for _ in range(20)]).detach()
    error = (2 * single.var(0) / 400).sqrt()
    assert ((many.mean(0) - single.mean(0)).abs() <= 5 * error).all()  # two comparisons: 1 false alarm in a million


def test_an_unknown_attack_or_law_is_refused():
    x, y = images()
    with pytest.raises(ValueError, match="kind must be one of"):
        run_attack(net(), None, "magic", x, y, 0.1, Attack(1, 1, 1.0, 1, 1.0))
    with pytest.raises(ValueError, match="law must be one of"):
        Defence("binomial").build(net(), "mask")


def test_the_old_attack_gets_as_many_gradients_as_the_others():
    sizes = demo_attack(Settings.demo(), 5)
    assert sizes.old_steps == sizes.steps * sizes.eot_samples
    assert sizes.step * sizes.steps == pytest.approx(2.5) and sizes.old_step * sizes.old_steps == pytest.approx(6.25)


def test_four_times_the_steps_keep_the_path_or_the_step():
    settings = Settings.demo()
    short = demo_attack(settings, 1)
    same_path, same_step = demo_attack(settings, 1, 4), demo_attack(settings, 1, 4, path=10.0)
    assert same_path.steps == same_step.steps == 4 * short.steps
    assert same_path.steps * same_path.step == pytest.approx(2.5) and same_step.step == pytest.approx(short.step)


def test_each_network_gets_other_images_and_the_end_of_the_test_set_wraps():
    x, y = torch.arange(10.0).reshape(10, 1), torch.arange(10)
    shown = [Trained(seed, net(), Split(x, y)).images(4).labels.tolist() for seed in range(3)]
    assert shown == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_clean_accuracy_needs_no_attack_and_seeds_are_summarised_with_n_minus_one():
    x, y = images()
    trained = Trained(0, net(), Split(x, y))
    row = measure(trained, None, "transfer", 0.0, 6, Attack(1, 1, 1.0, 1, 1.0), 3)
    assert row["single"] == row["mean"] == float((net()(x).argmax(1) == y).double().mean()) and row["moved"] == 0
    assert over_seeds([{"single": 0.0}, {"single": 1.0}]) == (0.5, pytest.approx(0.5**0.5))


def test_five_differences_are_all_measured():
    rows = five_differences(4000)
    assert len(rows) == 5 and all(row["differ"] is True for row in rows)
    assert (rows[3]["SAP"], rows[3]["2018 program"]) == ("0.632", "0.865")


def test_one_neuron_is_unbiased_and_its_pathwise_slope_is_not():
    h = torch.tensor([1.0])
    found = one_neuron(h, 64, 4000, torch_generator(5, "neuron"))
    assert abs(found.output[0] - 1) < 5 * found.output_error[0] and abs(found.mask[0] - 1) < 5 * found.mask_error[0]
    assert found.pathwise[0] < 0.5  # 0.418 and a little, by the closed form


def test_alignment_curves_have_one_row_for_each_number_of_masks():
    settings = Settings.full(dry_run=True)
    x, y = images(4)
    probe = alignment_curves(Trained(0, net(), Split(x, y)), Defence(), settings)
    assert probe.cosine["mask"].shape == (len(settings.probe_eot_samples), settings.probe_images)


def test_the_table_resumes_and_names_its_circumstances(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = FullSettings.here(dry_run=True, device="cpu")
    store = Store(tmp_path / "t.jsonl", stored(settings))
    rows = run_table(settings, store)
    assert len(rows) == len(cells(settings)) == len(store)
    assert run_table(settings, Store(tmp_path / "t.jsonl", stored(settings))) == rows
    assert all(row["device"] == "cpu" and row["images"] == 4 for row in rows)
    json.dumps(rows, allow_nan=False)
    assert all(row["data"] == "generated noise" and row["class_counts"] == "1 1 1 1 0 0 0 0 0 0" for row in rows)
    assert find(rows, defence="SAP", attack="identity", radius=8.0)["masks"] == 1
    with pytest.raises(LookupError, match="no row"):
        find(rows, defence="nobody")


def test_a_store_of_unshuffled_images_is_not_continued(tmp_path):
    settings = FullSettings.here(device="cpu")
    Store(tmp_path / "t.jsonl", settings)
    with pytest.raises(ValueError, match="test_images was 'absent'"):
        Store(tmp_path / "t.jsonl", stored(settings))


def test_test_images_of_one_class_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = replace(FullSettings.here(dry_run=True, device="cpu"), images=20)
    airplanes = Split(torch.zeros(32, 3, 32, 32, dtype=torch.uint8), torch.zeros(32, dtype=torch.int64))
    monkeypatch.setattr(full, "load_split", lambda *_: (airplanes, "a folder in class order"))
    with pytest.raises(ValueError, match="20 of 20 images are of class 0"):
        run_table(settings, Store(tmp_path / "t.jsonl", stored(settings)))


def test_the_entry_point_gives_the_table_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    tables = full.run(Settings.full(dry_run=True))
    assert list(tables) == ["cifar"] and len(tables["cifar"]) == len(cells(FullSettings.here(dry_run=True)))


def test_a_gpu_gets_the_papers_attack_and_a_cpu_a_smaller_sample():
    gpu, cpu = FullSettings.here(device="cuda"), FullSettings.here(device="cpu")
    assert (gpu.images, gpu.steps, gpu.eot_samples, gpu.mc_samples, gpu.old_steps) == (1000, 100, (1, 10), 100, 500)
    assert (cpu.images, cpu.slope, cpu.epochs, cpu.old_steps) == (300, 0.0, 20, 500)
    assert gpu.old_step == cpu.old_step == pytest.approx(0.1 / 255)
    assert {cell[2] for cell in cells(gpu)} == {1, 10} and {cell[2] for cell in cells(cpu)} == {1}


def test_without_a_folder_the_images_are_looked_for_where_the_chapter_sap_keeps_them(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(full, "cifar10", lambda root, split, **options: asked.append((root, split, options)))
    assert full.load_split(None, "test", FullSettings())[1] == "CIFAR-10 (torchvision)"
    (tmp_path / "runs" / "data" / "test").mkdir(parents=True)
    assert full.load_split(None, "test", FullSettings())[1] == "CIFAR-10 (imagefolder)"
    full.load_split(tmp_path, "test", FullSettings())
    place, ways = tmp_path / "runs" / "data", [("torchvision", True), ("imagefolder", True), ("torchvision", False)]
    expected = [(root, *way) for root, way in zip((place, place, tmp_path), ways, strict=True)]
    assert [(root, options["source"], options["download"]) for root, _, options in asked] == expected
