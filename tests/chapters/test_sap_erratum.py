"""The chapter `sap_erratum`: its defences, attacks, gradient-free reference and resumable table."""

import json

import pytest
import torch
from torch import nn

from workings.chapters.sap_erratum.demo import (
    FLAWED,
    Attack,
    Defence,
    Trained,
    alignment_curves,
    demo_attack,
    five_differences,
    measure,
    one_neuron,
    over_seeds,
    run_attack,
)
from workings.chapters.sap_erratum.full import FullSettings, cells, find, run_table
from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.robustness.attacks import gradient_free, margin_loss
from workings.robustness.evaluation import gradient_alignment
from workings.robustness.layers import FlawedPruningLayer, SAPLayer, pruning_layers
from workings.robustness.networks import digits_cnn
from workings.runs.store import Store
from workings.seeding import generator

pytestmark = pytest.mark.filterwarnings("default")


def net():
    return digits_cnn(generator(0, "test net")).eval()


def images(n=6):
    x = torch.rand(n, 1, 8, 8, generator=generator(1, "images"))
    return x, torch.arange(n) % 10


def test_a_defence_puts_the_named_layer_at_the_named_place():
    flawed = FLAWED.build(net(), "pathwise")
    layers = list(pruning_layers(flawed))
    assert len(layers) == 3 and all(isinstance(layer, FlawedPruningLayer) and layer.fraction == 2.0 for layer in layers)
    sap = list(pruning_layers(Defence(budget=0.5).build(net(), "mask")))
    assert len(sap) == 4 and all(isinstance(layer, SAPLayer) and layer.enabled for layer in sap)


def test_matched_places_prune_the_same_number_of_layers():
    for law in ("independent", "multinomial"):
        counts = [
            sum(layer.enabled for layer in pruning_layers(Defence(law, place, 1.0, True).build(net(), "mask")))
            for place in ("convolutions", "activations")
        ]
        assert counts == [3, 3]


def test_every_attack_stays_in_the_ball_and_the_box_and_counts_no_nan():
    x, y = images()
    for kind in ATTACKS:
        found = run_attack(net(), Defence(), kind, x, y, 0.1, Attack(2, 1, 1.0, 3, 1.0), generator(2, "a"))
        assert (found.images - x).abs().max() <= 0.1 + 1e-6 and found.nans == 0
        assert found.images.min() >= 0 and found.images.max() <= 1


def test_transfer_ignores_the_defence_and_takes_the_dense_gradient():
    x, y = images()
    sizes = Attack(2, 3, 1.0, 3, 1.0)
    hidden = run_attack(net(), Defence(), "transfer", x, y, 0.1, sizes, generator(2, "a")).images
    assert torch.equal(hidden, run_attack(net(), None, "identity", x, y, 0.1, sizes).images)


def test_an_unknown_attack_or_law_is_refused():
    x, y = images()
    with pytest.raises(ValueError, match="kind must be one of"):
        run_attack(net(), None, "magic", x, y, 0.1, Attack(1, 1, 1.0, 1, 1.0))
    with pytest.raises(ValueError, match="law must be one of"):
        Defence("poisson").build(net(), "mask")


def test_the_old_attack_gets_as_many_gradients_as_the_others():
    sizes = demo_attack(Settings.demo(), 5)
    assert sizes.old_steps == sizes.steps * sizes.masks
    assert sizes.step * sizes.steps == pytest.approx(2.5) and sizes.old_step * sizes.old_steps == pytest.approx(6.25)


def test_the_gradient_free_reference_finds_the_gradient_of_a_smooth_deterministic_network():
    # 64 random directions a dimension: the noise is about sqrt(64 / 4000) of the gradient, a cosine of 0.99.
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(10, 64, generator=generator(3, "w")))
    x, y = images(3)
    point = x.clone().requires_grad_(True)
    (exact,) = torch.autograd.grad(margin_loss(model(point), y).sum(), point)
    found = gradient_free(model, x, y, 4000, 1e-3, generator(4, "u"))
    assert gradient_alignment(found, exact).min() > 0.97
    assert (found.norm() / exact.norm() - 1).abs() < 0.1


def test_clean_accuracy_needs_no_attack_and_seeds_are_summarised_with_n_minus_one():
    x, y = images()
    trained = Trained(0, net(), type("Pair", (), {"images": x, "labels": y})())
    row = measure(trained, None, "transfer", 0.0, 6, Attack(1, 1, 1.0, 1, 1.0), 3)
    assert row["single"] == row["mean"] == float((net()(x).argmax(1) == y).double().mean())
    assert over_seeds([{"single": 0.0}, {"single": 1.0}]) == (0.5, pytest.approx(0.5**0.5))


def test_five_differences_are_all_measured():
    rows = five_differences(4000)
    assert len(rows) == 5 and all(row["differ"] is True for row in rows)
    assert (rows[3]["faithful"], rows[3]["flawed"]) == ("0.632", "0.865")


def test_one_neuron_is_unbiased_and_its_pathwise_slope_is_not():
    h = torch.tensor([1.0])
    found = one_neuron(h, 64, 4000, generator(5, "neuron"))
    assert abs(found.output[0] - 1) < 5 * found.output_error[0] and abs(found.mask[0] - 1) < 5 * found.mask_error[0]
    assert found.pathwise[0] < 0.5  # 0.418 and a little, by the closed form


def test_alignment_curves_have_one_row_for_each_number_of_masks():
    settings = Settings.full(dry_run=True)
    x, y = images(4)
    probe = alignment_curves(Trained(0, net(), type("Pair", (), {"images": x, "labels": y})()), Defence(), settings)
    assert probe.cosine["mask"].shape == (len(settings.samples), settings.probe_images)


def test_the_table_resumes_and_names_its_circumstances(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    settings = FullSettings.here(dry_run=True, device="cpu")
    store = Store(tmp_path / "t.jsonl", settings)
    rows = run_table(settings, store)
    assert len(rows) == len(cells(settings)) == len(store)
    assert run_table(settings, Store(tmp_path / "t.jsonl", settings)) == rows
    assert all(row["device"] == "cpu" and row["images"] == 4 for row in rows)
    json.dumps(rows, allow_nan=False)
    assert find(rows, defence="faithful", attack="identity", radius=8.0)["masks"] == 1
    with pytest.raises(LookupError, match="no row"):
        find(rows, defence="nobody")


def test_a_gpu_gets_the_sheets_sizes_and_a_cpu_the_small_ones():
    gpu, cpu = FullSettings.here(device="cuda"), FullSettings.here(device="cpu")
    assert (gpu.images, gpu.steps, gpu.masks, gpu.passes, gpu.old_steps) == (1000, 100, (1, 10), 100, 500)
    assert (cpu.images, cpu.slope, cpu.epochs) == (100, 0.0, 20)
    assert {cell[2] for cell in cells(gpu)} == {1, 10} and {cell[2] for cell in cells(cpu)} == {1}
