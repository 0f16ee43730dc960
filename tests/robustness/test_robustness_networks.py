"""The two networks, their seeded weights, and the training functions on the smallest of tasks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workings.robustness import cifar
from workings.robustness.cifar import accuracy, train_adversarial, train_resnet20
from workings.robustness.data import Split, digits
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import robust_accuracy
from workings.robustness.networks import ResNet, activation, digits_cnn, initialise, resnet20
from workings.seeding import deterministic, torch_generator
from workings.training import load_weights


def test_resnet20_has_20_weighted_layers_19_activations_and_its_parameter_count():
    net = resnet20(torch_generator(0, "net"))
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    plain = [m for m in convolutions if m.kernel_size == (3, 3)]
    projections = [m for m in convolutions if m.kernel_size == (1, 1)]
    assert len(plain) + 1 == 20 and len(projections) == 3
    assert [m.stride[0] for m in projections] == [1, 2, 2]
    assert sum(isinstance(m, nn.ReLU) for m in net.modules()) == 19
    # By hand: stem, six 3x3 convolutions a stage (the first of stages 2 and 3 widen), projections, head.
    stem, head = 3 * 16 * 9, 64 * 10 + 10
    stages = 6 * 16 * 16 * 9 + (16 * 32 + 5 * 32 * 32) * 9 + (32 * 64 + 5 * 64 * 64) * 9
    shortcuts = 16 * 16 + 16 * 32 + 32 * 64
    norms = 2 * (3 + 6 * 16 + (16 + 5 * 32) + (32 + 5 * 64) + 64)
    assert sum(p.numel() for p in net.parameters()) == stem + head + stages + shortcuts + norms
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_blocks_are_pre_activation_and_shortcuts_carry_the_signal():
    net = resnet20(torch_generator(0, "net")).eval()
    block = net.blocks[1]
    x = torch.randn(2, 16, 8, 8, generator=torch_generator(0, "x"))
    with torch.no_grad():
        block.conv2.weight.zero_()
    assert torch.equal(block(x), x)  # no activation after the sum
    first = net.blocks[0]
    with torch.no_grad():
        first.conv2.weight.zero_()
    torch.testing.assert_close(first(x), first.shortcut(first.act1(first.norm1(x))))


def test_the_input_norms_weight_is_fixed_at_one():
    net = resnet20(torch_generator(0, "net"))
    assert not net.input_norm.weight.requires_grad and net.input_norm.bias.requires_grad
    assert torch.equal(net.input_norm.weight, torch.ones(3))


def test_the_slope_chooses_relu_or_leaky_relu_everywhere():
    for make, count in ((digits_cnn, 4), (resnet20, 19)):
        assert sum(isinstance(m, nn.ReLU) for m in make(torch_generator(0, "n")).modules()) == count
        leaky = [m for m in make(torch_generator(0, "n"), slope=0.1).modules() if isinstance(m, nn.LeakyReLU)]
        assert len(leaky) == count and all(m.negative_slope == 0.1 for m in leaky)
    for bad in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="slope"):
            activation(bad)


def test_weights_come_from_the_generator_alone():
    torch.manual_seed(0)
    one = resnet20(torch_generator(1, "net")).state_dict()
    torch.manual_seed(5)
    two, other = resnet20(torch_generator(1, "net")).state_dict(), resnet20(torch_generator(2, "net")).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["stem.weight"], other["stem.weight"])


def test_initial_weights_have_the_variance_of_their_rule():
    net = nn.Sequential(nn.Conv2d(30, 40, 3), nn.Linear(200, 300), nn.BatchNorm2d(4))
    initialise(net, torch_generator(0, "w"))
    for layer, fan in ((net[0], 270), (net[1], 200)):
        n = layer.weight.numel()
        # Sample variance of n Gaussians: relative standard error sqrt(2 / n).
        assert float(layer.weight.detach().var()) == pytest.approx(2 / fan, rel=5 * math.sqrt(2 / n))
        assert (layer.bias == 0).all()
    initialise(net, torch_generator(0, "w"), "uniform")
    for layer, fan in ((net[0], 270), (net[1], 200)):
        bound = 1 / math.sqrt(fan)
        assert layer.weight.abs().max() <= bound and layer.weight.abs().max() > 0.99 * bound
        assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.05)
        assert (layer.bias != 0).any()
    with pytest.raises(ValueError, match="rule"):
        initialise(net, torch_generator(0, "w"), "xavier")


@pytest.mark.parametrize("options", [{"units": 0}, {"classes": 1}])
def test_networks_without_blocks_or_with_one_class_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ResNet(**options)


def test_the_digits_network_learns_and_repeats_itself():
    train, test = digits()
    with deterministic(threads=1):
        one, twin, other = (train_digits_cnn(train, seed=s, epochs=1) for s in (0, 0, 1))
        net = train_digits_cnn(train, seed=0, epochs=6)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), twin.parameters(), strict=True))
    assert not torch.equal(one[0].weight, other[0].weight)
    assert not net.training
    # Six epochs give about 0.93; 0.85 is far outside what a working loop and 597 test images allow.
    assert robust_accuracy(net, test.images, test.labels, 1).value > 0.85


def tiny_images(n=48):
    """Two classes told apart by brightness."""
    labels = torch.arange(n) % 2
    images = (
        torch.randint(0, 60, (n, 3, 32, 32), generator=torch_generator(0, "tiny")) + 150 * labels[:, None, None, None]
    )
    return Split(images.to(torch.uint8), labels)


def test_the_resnet_trains_resumes_and_loads(tmp_path):
    data, path, epochs = tiny_images(), tmp_path / "net.pt", []

    class Stop(Exception):
        pass

    def stop(epoch, model, losses):
        epochs.append((epoch, len(losses)))
        if epoch == 2:
            raise Stop

    options = {"batch": 16, "peak_rate": 0.05, "autocast": None}
    with deterministic(threads=1):
        whole, straight = train_resnet20(data, 3, 0, **options)
        with pytest.raises(Stop):
            train_resnet20(data, 3, 0, path, on_epoch=stop, **options)
        net, resumed = train_resnet20(data, 3, 0, path, **options)
    assert epochs == [(1, 3), (2, 3)] and resumed.resumed_at == 3  # stopped before the save of epoch 2
    assert torch.equal(straight.losses, resumed.losses)
    assert accuracy(net, data.images, data.labels) == accuracy(whole, data.images, data.labels)
    fresh = load_weights(resnet20(torch_generator(9, "other")), path).eval()
    assert accuracy(fresh, data.images, data.labels, batch=7) == accuracy(net, data.images, data.labels)
    with pytest.raises(ValueError, match="another architecture"):
        load_weights(digits_cnn(torch_generator(0, "n")), path)


class Brighter(nn.Module):
    """Says 1 for an image that is brighter than half, and notes whether it was in training mode."""

    def forward(self, x):
        self.trained = self.training
        bright = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 500])
def test_accuracy_is_the_share_of_right_answers_whatever_the_batch(batch):
    images = torch.tensor([0, 255, 200, 100, 255], dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 4, 4)
    labels = torch.tensor([0, 1, 1, 1, 0])  # the last two are answered wrongly
    model = Brighter().train()
    assert accuracy(model, images, labels, batch) == pytest.approx(0.6, abs=1e-15)
    assert model.training and not model.trained
    assert accuracy(model.eval(), images[:3], labels[:3], batch) == 1 and not model.training


def test_adversarial_training_moves_the_first_fifth_by_its_radius_along_the_older_networks_gradient(monkeypatch):
    kept, attackers = {}, []
    monkeypatch.setattr(cifar, "fit", lambda model, loss, batches, optimiser, steps, **rest: kept.update(locals()))
    monkeypatch.setattr(cifar, "random_crop_flip", lambda images, noise: images)

    def gradient(network, surrogate):
        attackers.append(network)
        return lambda x, y: torch.where(y.reshape(-1, 1, 1, 1) == 0, 1.0, -3.0).expand_as(x)

    monkeypatch.setattr(cifar, "attack_gradient", gradient)
    train_adversarial(tiny_images(40), 3, 0, None, batch=20, device="cpu")
    assert kept["steps"] == 6
    group = kept["optimiser"].param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, True)
    seen = []

    class Net(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.zeros(len(x), 10)

    images, labels = kept["batches"](0)
    kept["loss"](Net(), (images, labels), torch_generator(0, "noise"))
    moved = seen[0] - images / 255
    up = torch.where(labels == 0, 1.0, -1.0).reshape(-1, 1, 1, 1) * 2 / 255
    inside = (images / 255 + up).clamp(0, 1) - images / 255  # pictures stay in [0, 1]
    torch.testing.assert_close(moved[:4], inside[:4], atol=1e-6, rtol=0)
    assert moved[4:].abs().max() == 0 and inside[:4].abs().max() > 0.007
    # The attacked network is that of the epoch's start: it follows at steps 0 and 2 (two batches an epoch), and not between.
    weight = next(kept["model"].parameters())
    held = next(attackers[0].parameters())
    with torch.no_grad():
        weight += 1
    kept["batches"](1)
    assert not torch.equal(held, weight)
    kept["batches"](2)
    assert torch.equal(held, weight)


def test_weight_decay_and_augmentation_are_part_of_the_training():
    data = tiny_images(32)
    losses = [
        train_resnet20(data, 1, 0, batch=16, peak_rate=0.05, autocast=None, weight_decay=decay)[1].losses
        for decay in (1e-4, 0.5)
    ]
    assert torch.equal(losses[0][:1], losses[1][:1]) and not torch.equal(losses[0][1:], losses[1][1:])


@pytest.mark.parametrize("avx512, amx", [(False, False), (True, False), (False, True)])
def test_bfloat16_is_used_on_a_cpu_only_where_it_has_the_instructions(monkeypatch, avx512, amx):
    """The queries are replaced, and what training hands to ``fit`` is looked at, for both ways of training."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    expected = torch.bfloat16 if avx512 or amx else None
    assert cifar.fast_autocast("cpu") is expected
    handed = []
    monkeypatch.setattr(cifar, "fit", lambda *_, autocast, **__: handed.append(autocast))
    train_resnet20(tiny_images(16), 1, 0, batch=16)
    train_adversarial(tiny_images(16), 1, 0, None, batch=16, device="cpu")
    train_resnet20(tiny_images(16), 1, 0, batch=16, autocast=torch.float16)  # what is asked for is done
    assert handed == [expected, expected, torch.float16]


def test_a_cpu_that_cannot_be_asked_counts_as_without_bfloat16(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert cifar.fast_autocast("cpu") is None
    with pytest.raises(ValueError, match="autocast must be"):
        train_resnet20(tiny_images(16), 1, 0, batch=16, autocast="bfloat16")
