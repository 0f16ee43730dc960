"""The chapter `sap`: its helpers for digits, its fixed prunings, and its resumable CIFAR-10 table."""

import json

import numpy as np
import pytest
import torch

from workings.chapters.sap import demo, full, programs
from workings.chapters.sap.settings import LAMBDAS, Settings
from workings.robustness.closed_forms import joint_survival, survival_probability
from workings.robustness.data import Split, balanced_counts, class_counts, digits
from workings.robustness.networks import digits_cnn
from workings.runs import checkout
from workings.seeding import torch_generator


def net():
    return digits_cnn(torch_generator(0, "test net")).double().eval()


def images(n=12):
    x = torch.rand(n, 1, 8, 8, generator=torch_generator(1, "images"), dtype=torch.float64)
    return Split(x, torch.arange(n) % 10)


def test_the_accuracy_of_one_pass_and_of_the_mean_differ_as_they_should():
    # Three passes over two images: the first is right twice of three, with little confidence, the second always.
    first = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]])
    second = torch.tensor([[0.2, 0.8]] * 3)
    single, mean = demo.accuracies(torch.stack([first, second], dim=1), torch.tensor([0, 1]))
    assert single == pytest.approx(5 / 6) and mean == 0.5  # the mean softmax of the first image is (0.43, 0.57)


def test_a_pruned_network_draws_from_a_stream_named_after_fraction_and_rule():
    x = images().images
    one, again = (demo.with_sap(net(), 0, 0.5)(x) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, demo.with_sap(net(), 0, 0.5, "identity")(x))


def test_digits_training_ticks_once_per_step_and_two_threads_change_nothing():
    train = Split(*(part[:130] for part in digits(dtype=torch.float64)[0]))
    both = demo.train_cnns(train, (0, 1), 1)
    assert next(both[0].parameters()).dtype == torch.float64
    ticks = []
    alone = demo.train_digits_cnn(train, 1, epochs=1, on_step=lambda: ticks.append(1))
    assert len(ticks) == 130 // 64
    for a, b in zip(both[1].parameters(), alone.parameters(), strict=True):
        assert torch.equal(a, b)


def test_images_aimed_at_a_fixed_pruning_are_shown_to_the_same_one_and_to_others(monkeypatch):
    """At radius 0 each column is the clean accuracy of one fixed pruning, whatever the row."""
    settings = Settings(prunings=3, eps=0.0)
    test = images()
    table = demo.pruning_transfer(net(), test, 0, settings)
    assert table.shape == (3, 4) and np.array_equal(table, np.repeat(table[:1], 3, axis=0))
    masks = torch_generator(0, "sap", "fixed pruning", 1)
    second = demo.insert_sap(net(), generator=masks)(test.images).argmax(1)
    assert table[0, 1] == float((second == test.labels).double().mean())


@pytest.mark.parametrize("rule", ["mask", "pathwise"])
def test_images_are_aimed_at_a_fixed_pruning_by_the_rule_that_is_asked_for(rule):
    settings, test = Settings(prunings=2, eps=0.1), images()
    table = demo.pruning_transfer(net(), test, 0, settings, rule)
    masks = lambda number: torch_generator(0, "sap", "fixed pruning", number)
    aimed = demo.insert_sap(net(), backward=rule, generator=masks(1))
    moved = test.images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(torch.nn.functional.cross_entropy(aimed(moved), test.labels), moved)
    shown = (test.images + 0.1 * slope.sign()).clamp(0, 1)
    for column in range(2):
        found = demo.insert_sap(net(), generator=masks(column))(shown).argmax(1)
        assert table[1, column] == float((found == test.labels).double().mean())


def test_curves_begin_at_the_clean_accuracy_and_hold_every_rule_for_both_fractions():
    settings = Settings.full(dry_run=True)
    found = demo.attack_curves([net()], images(), (0,), settings)
    rules = {"mask", "identity", "pathwise", "dense"}
    for name in ("SAP-25", "SAP-100"):
        assert {rule for defence, rule in found if defence == name} == rules
        clean = [found[name, rule][0, 0] for rule in rules]
        assert all(np.array_equal(value, clean[0]) for value in clean)
    assert found["dense", "dense"].shape == (1, len(settings.epsilons) + 1, 2)


def test_the_full_table_resumes_and_every_row_names_data_and_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    settings = Settings.full(dry_run=True)
    rows = full.run(settings)["fgsm"]
    assert full.run(settings)["fgsm"] == rows
    assert all(row["data"] == "generated noise" and row["images"] == 2 for row in rows)
    assert all(sum(map(int, row["class_counts"].split())) == row["images"] for row in rows)
    json.dumps(rows, allow_nan=False)
    assert [row["lambda"] for row in rows if row["defence"] == "dense" and row["gradient"] == "dense"] == list(LAMBDAS)
    assert full.find(rows, "SAP-100", "PGD identity", 8)["masks"] == 1
    most, per_step = settings.most_eot_samples, settings.steps_eot_samples
    assert [full.find(rows, "SAP-100", f"mask, {n}", 2)["masks"] for n in ("one", "many")] == [1, most]
    assert full.find(rows, "dropout 0.1", "mask", 1)["masks"] == settings.full_eot_samples
    iterated = [full.find(rows, "SAP-100", attack, 4) for attack in ("steps mask", "steps dense")]
    assert [(row["masks"], row["steps"]) for row in iterated] == [(per_step, 4), (1, 4)]
    with pytest.raises(KeyError, match="no row"):
        full.find(rows, "nobody", "mask", 1)


def test_the_error_of_a_difference_is_that_of_two_independent_shares():
    rows = [
        {"defence": name, "gradient": "mask", "lambda": 1, "images": 100, "mean": mean, "single": 0.5}
        for name, mean in (("a", 0.8), ("b", 0.9), ("c", 1.0))
    ]
    one, two, sure = (("a", "mask", 1), ("b", "mask", 1), ("c", "mask", 1))
    assert full.error_of_difference(rows, one, two) == pytest.approx((0.16 + 0.09) ** 0.5 / 10)
    assert full.error_of_difference(rows, sure, sure) == 0.0
    assert full.error_of_difference(rows, one, two, "single") == pytest.approx(0.5**0.5 / 10)
    with pytest.raises(KeyError, match="no row for nobody"):
        full.error_of_difference(rows, one, ("nobody", "mask", 1))


def test_images_of_one_class_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    same = Split(torch.zeros(30, 3, 32, 32, dtype=torch.uint8), torch.zeros(30, dtype=torch.int64))
    monkeypatch.setattr(full, "_cifar", lambda *_: (same, same, "a folder in class order"))
    with pytest.raises(ValueError, match="30 of 30 images are of class 0"):
        full.run(Settings.full(dry_run=True))


def recorded_rows():
    for path in sorted((checkout.root() / "results" / "robustness").glob("*/full.json")):
        for table in json.loads(path.read_text())["tables"].values():
            yield from ((path.parent.name, row) for row in table)


def test_every_recorded_row_is_of_a_mixture_of_classes():
    """The rows say how many images there are of each class; counts that no random sample would give are refused."""
    for slug, row in recorded_rows():
        if "class_counts" in row:
            counts = torch.tensor([int(count) for count in row["class_counts"].split()])
            assert balanced_counts(torch.repeat_interleave(torch.arange(10), counts)) == counts.tolist()
            assert counts.sum() == row["images"] and row["data"]
        else:  # the one record that was made before: the next test draws its sample again
            assert (slug, row["images"], row["data"]) == ("sap", 200, "CIFAR-10 (imagefolder)")


def test_the_recorded_sample_of_sap_was_a_random_one():
    """Its loader gave the 10,000 test images class by class, 1,000 each, and the run drew 200 of them by a named stream."""
    order = torch.randperm(10_000, generator=torch_generator(0, "sap", "test images"))[:200]
    assert balanced_counts(order // 1000) == class_counts(order // 1000)


@pytest.mark.parametrize(
    "attack", ["mask", "identity", "dense", "mask, one", "PGD identity", "steps mask", "steps dense"]
)
def test_every_attack_of_the_full_tier_stays_in_its_ball(attack):
    settings = Settings.full(dry_run=True)
    x, y = images(4)
    for lam, _, moved in full._attacked(net(), "SAP-100", attack, x, y, settings):
        assert (moved - x).abs().max() <= lam / 255 + 1e-9 and moved.min() >= 0 and moved.max() <= 1


def test_the_papers_iterated_attack_takes_one_grey_level_per_step():
    x, y = images(4)
    sizes = {lam: moved for lam, _, moved in full._attacked(net(), "dense", "steps", x, y, Settings.full(dry_run=True))}
    assert list(sizes) == [1, 2, 4]
    grad = demo.gradient(net(), x, y, 1)
    assert torch.allclose(sizes[1], (x + grad.sign() / 255).clamp(0, 1))


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


LAYER = doubles([6, 4, 3, 3, 2, 2, 1, 1, 1, 1, 0, 0])


def dice(n, r=12):
    return torch.rand(n, r, generator=torch_generator(3, "dice"), dtype=torch.float64)


def test_draws_that_are_given_as_numbers_prune_by_hand():
    # The first number 0.3 of 24 is 7.2: above the 6 of neuron 1, below the 10 of neurons 1 and 2. The second is 0.
    out = programs.prune_by_numbers(LAYER, doubles([[0.3, 0.0]]))[0]
    q = 1 - (1 - LAYER[:2] / 24) ** 2
    assert out.tolist() == pytest.approx([*(LAYER[:2] / q).tolist(), *[0] * 10])
    again = programs.prune_by_numbers(LAYER, doubles([[0.3, 0.31]]), "distinct")[0]  # then 6.2 of 20: neuron 3
    assert torch.equal(again.nonzero().flatten(), torch.tensor([1, 2]))
    parts = programs.prune_by_numbers(LAYER, doubles([[0.0, 0.99]]), "channels")[0]
    assert torch.equal(parts.nonzero().flatten(), torch.tensor([0, 9]))  # one draw for each half
    assert parts[0] == pytest.approx(20) and parts[9] == pytest.approx(4)  # the sum of its half
    plain = programs.prune_by_numbers(LAYER, doubles([[0.3, 0.0]]), "undivided")[0]
    assert plain.tolist() == [6, 4, *[0] * 10]


def test_of_the_four_programs_one_is_sap_and_two_are_unbiased():
    n, alive, q = 20_000, LAYER > 0, survival_probability(LAYER / 24, 12)
    error = (q * (1 - q) / n).sqrt()[alive]
    off = {}
    for program in programs.PROGRAMS:
        outputs = programs.prune_by_numbers(LAYER, dice(n), program)[:, alive]
        own = programs.divisor(LAYER, 12, program)[alive]
        spread = (LAYER[alive] ** 2 * (1 / own - 1) / n).sqrt()
        off[program] = ((outputs.mean(0) - LAYER[alive]) / spread).abs().max()
        kept = (outputs > 0).double()
        if program == "sap":  # ten neurons and their 45 pairs within 5 standard errors: false alarm below 4e-5
            assert ((kept.mean(0) - q[alive]).abs() <= 5 * error).all()
            wanted = joint_survival(LAYER[None] / 24, 12)[0][:10, :10]
            assert ((kept.T @ kept / n - wanted).abs() <= 5 * (wanted * (1 - wanted) / n).sqrt() + 1e-12).all()
        if program == "channels":
            assert ((kept.mean(0) - q[alive]).abs() > 5 * error).all()
        if program == "distinct":
            assert kept.all()  # twelve draws, ten live neurons
    assert off["sap"] <= 5 and off["channels"] <= 5  # false alarm 1e-5
    assert off["distinct"] > 50 and off["undivided"] > 50


def test_a_silent_layer_stays_silent_and_bad_dice_are_refused():
    for program in programs.PROGRAMS:
        assert programs.prune_by_numbers(0 * LAYER, dice(3), program).tolist() == [[0.0] * 12] * 3
    for bad, words in (
        ((LAYER[:11], dice(2)), "share evenly"),
        ((LAYER[None], dice(2)), "share evenly"),
        ((LAYER, dice(2) + 1), "in \\[0, 1\\)"),
        ((LAYER, dice(2)[:, :1]), "2 draws or more"),
        ((LAYER, dice(2), "poisson"), "program"),
    ):
        with pytest.raises(ValueError, match=words):
            programs.prune_by_numbers(*bad)
