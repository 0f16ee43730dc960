"""The backbones: shapes, published numbers of weights, and plain training."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from workings.few_shot.networks import (
    Conv4,
    ResidualBlock,
    ResNet12,
    WideResNet,
    conv4,
    draw_weights,
    resnet12,
    wide_resnet,
)
from workings.few_shot.pretraining import network_features, train_classifier
from workings.seeding import torch_generator


def weights(model):
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith("head."))


@pytest.fixture(autouse=True)
def nothing_global():
    """Networks made here without a generator draw from torch's global one, which is put back."""
    with torch.random.fork_rng(devices=[]):
        yield


def test_conv4_flattens_to_1600_at_84_pixels_and_has_113088_weights():
    model = Conv4(3, 64, 5, size=84)
    assert weights(model) == 113_088  # (27 + 1) 64 + 3 (576 + 1) 64 + 4 * 128
    with torch.device("meta"):
        shapes = Conv4(3, 64, 5, size=84)
        assert shapes.features(torch.empty(2, 3, 84, 84)).shape == (2, 1600)
    assert Conv4(1, 32, 10).features(torch.zeros(2, 1, 28, 28)).shape == (2, 32)


def test_a_resnet12_is_a_third_of_a_wide_network_in_weights_and_a_tenth_in_multiplications():
    with torch.device("meta"):
        wide, residual, x = WideResNet(classes=64), ResNet12(classes=64), torch.empty(1, 3, 32, 32)
        done = []
        for net in (wide, residual):
            with FlopCounterMode(display=False) as counted:
                net(x)
            done.append((weights(net), counted.get_total_flops()))
    (many, slow), (few, fast) = done
    assert few / many == pytest.approx(1 / 3, abs=0.02) and fast / slow == pytest.approx(0.1, abs=0.005)


def test_the_large_networks_have_the_published_numbers_of_weights():
    with torch.device("meta"):
        wide, residual = WideResNet(classes=10), ResNet12()
        assert sum(p.numel() for p in wide.parameters()) == 36_479_194  # as published for CIFAR-10
        assert weights(residual) == 12_424_320
        assert sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in wide.modules()) == 25
        assert sum(isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3) for m in residual.modules()) == 12
        assert wide.features(torch.empty(2, 3, 32, 32)).shape == (2, 640)
        assert residual.features(torch.empty(2, 3, 84, 84)).shape == (2, 640)
        assert wide(torch.empty(2, 3, 32, 32)).shape == (2, 10) and residual(torch.empty(2, 3, 32, 32)).shape == (2, 64)


@pytest.mark.parametrize(
    "make",
    [
        lambda g: conv4(g, width=4, classes=3),
        lambda g: resnet12(g, channels=1, classes=3, widths=(2, 3, 4, 5)),
        lambda g: wide_resnet(g, channels=1, classes=3, units=1, widen=1),
    ],
)
def test_a_generator_decides_the_weights_and_the_head_reads_the_features(make):
    a, b, other = (make(torch_generator(seed, "net")).eval() for seed in (0, 0, 1))
    x = torch.rand(4, 1, 28, 28, generator=torch_generator(0, "x"))
    assert torch.equal(a(x), b(x)) and not torch.equal(a(x), other(x))
    torch.testing.assert_close(a(x), F.linear(a.features(x), a.head.weight, a.head.bias))
    assert a(x).std() > 0 and torch.isfinite(a(x)).all()


def test_convolutions_start_with_variance_two_over_fan_in():
    model = draw_weights(Conv4(1, 64, 5), torch_generator(0))
    for layer, fan_in in ((0, 9), (4, 576), (8, 576)):
        values = model.blocks[layer].weight
        # The sample variance of n Gaussian values has a relative standard deviation sqrt(2 / n): five of them here.
        assert values.var().item() == pytest.approx(2 / fan_in, rel=5 * (2 / values.numel()) ** 0.5)
    assert model.head.weight.abs().max() <= 1 / 8 and model.head.bias.abs().max() == 0


def test_a_network_that_cannot_be_and_images_that_do_not_fit_are_refused():
    for make, match in (
        (lambda: Conv4(size=15), "size"),
        (lambda: Conv4(width=0), "width"),
        (lambda: ResNet12(widths=(1, 2, 3)), "four numbers"),
        (lambda: WideResNet(units=0), "units"),
        (lambda: Conv4()(torch.zeros(1, 1, 32, 32)), r"\(B, 1, 28, 28\)"),
        (lambda: ResNet12()(torch.zeros(1, 1, 32, 32)), r"\(B, 3, H, W\)"),
    ):
        with pytest.raises(ValueError, match=match):
            make()


def bars(n=64):
    """Pictures with a bright row, and which of four rows it is."""
    labels = torch.arange(n) % 4
    images = 0.3 * torch.rand(n, 1, 16, 16, generator=torch_generator(0, "bars"))
    images[torch.arange(n), 0, 3 * labels + 2] += 1
    return images, labels


def test_training_learns_and_a_resumed_one_ends_at_the_same_weights(tmp_path):
    images, labels = bars()
    train = lambda model, steps=40, **options: train_classifier(
        model, images, labels, steps, 0, batch=16, lr=0.05, **options
    )
    model = conv4(torch_generator(0, "net"), width=8, classes=4, size=16)
    losses = train(model).losses
    assert len(losses) == 40 and losses[-5:].mean() < losses[:5].mean() / 1.5
    assert not model.training and (model(images).argmax(dim=1) == labels).double().mean() > 0.9
    again = conv4(torch_generator(0, "net"), width=8, classes=4, size=16)
    train(again, checkpoint=tmp_path / "net.pt")
    other = conv4(torch_generator(1, "other"), width=8, classes=4, size=16)
    assert train(other, checkpoint=tmp_path / "net.pt").resumed_at == 40
    for a, b, c in zip(model.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)
    with pytest.raises(ValueError, match="smoothing"):
        train(again, smoothing=0.0, checkpoint=tmp_path / "net.pt")


def test_the_first_loss_is_the_smoothed_cross_entropy_of_the_first_batch():
    images, labels = bars(16)
    model = conv4(torch_generator(0, "net"), width=8, classes=4, size=16).train()
    log_p = model(images).log_softmax(dim=1).detach()
    target = 0.9 * F.one_hot(labels, 4) + 0.1 / 4
    found = train_classifier(model, images, labels, 1, 0, batch=16)  # the batch is all 16 images, in some order
    assert found.losses[0].item() == pytest.approx(-(target * log_p).sum(dim=1).mean().item(), rel=1e-5)


def test_augmentation_gets_the_batch_and_a_generator_and_what_it_gives_is_trained_on():
    images, labels = bars(16)
    seen = []

    def darken(batch, generator):
        seen.append((batch, generator))
        return 0 * batch

    model = conv4(torch_generator(0, "net"), width=8, classes=4, size=16).train()
    dark = F.cross_entropy(model(0 * images), labels, label_smoothing=0.1).item()
    found = train_classifier(model, images, labels, 1, 0, batch=16, augment=darken)
    [(batch, generator)] = seen
    assert isinstance(generator, torch.Generator) and batch.shape == images.shape
    assert torch.allclose(batch.sum(0), images.sum(0))  # all of them, in some order
    assert found.losses[0].item() == pytest.approx(dark, rel=1e-5)


def test_features_do_not_depend_on_the_block_and_leave_the_mode_alone():
    images, _ = bars(10)
    model = conv4(torch_generator(0, "net"), width=4, classes=3, size=16).train()
    found = [network_features(model, images, block) for block in (10, 3)]
    torch.testing.assert_close(*found)
    assert model.training and found[0].shape == (10, 3) and not found[0].requires_grad
    inner = network_features(model.features, images, 4)
    torch.testing.assert_close(F.linear(inner, model.head.weight, model.head.bias).detach(), found[0])
    assert model.training


def test_data_that_cannot_be_trained_on_are_refused():
    images, labels = bars(16)
    model = conv4(torch_generator(0, "net"), width=4, classes=4, size=16)
    for x, y, options, match in (
        (images, labels[:3], {}, "one per image"),
        (images, labels.float(), {}, "whole numbers"),
        (images, labels - 1, {}, "0 or more"),
        (images, labels, {"batch": 17}, "batch"),
        (images, labels, {"smoothing": 1.5}, "smoothing"),
    ):
        with pytest.raises(ValueError, match=match):
            train_classifier(model, x, y, 1, 0, **{"batch": 4, **options})
    with pytest.raises(ValueError, match="empty"):
        network_features(model, images[:0])


def test_a_block_of_the_resnet_has_no_activation_between_its_last_norm_and_the_sum():
    block = ResidualBlock(2, 3).double().eval()  # a new batch norm in evaluation divides by sqrt(1 + eps)
    x = torch.randn(2, 2, 8, 8, generator=torch_generator(0, "block"), dtype=torch.float64)
    norm = (1 + 1e-5) ** -0.5
    first, second, third = (layer.weight for layer in block.main if isinstance(layer, torch.nn.Conv2d))
    y = F.leaky_relu(norm * F.conv2d(x, first, padding=1), 0.1)
    y = F.leaky_relu(norm * F.conv2d(y, second, padding=1), 0.1)
    y = norm * F.conv2d(y, third, padding=1) + norm * F.conv2d(x, block.shortcut[0].weight)
    torch.testing.assert_close(block(x), F.max_pool2d(F.leaky_relu(y, 0.1), 2))
