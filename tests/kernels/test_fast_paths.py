"""A fast path is taken only where it computes what the plain calls compute."""

import accelerate
import pytest
import torch
from torch import nn

from workings.disentangling.layers import Downsample, Upsample, run_stack
from workings.disentangling.networks import burgess_vae
from workings.seeding import torch_generator


def make(size=32):
    model = burgess_vae(3, 1, size, generator=torch_generator(0, "net"))
    return model, torch.rand(2, 1, size, size, generator=torch_generator(0, "x"))


def slow(model):
    model.encoder.fast = model.decoder.fast = False
    return model


def test_weights_that_live_elsewhere_are_brought_in_before_they_are_used():
    model, x = make()
    expected = slow(model)(x)
    model, _ = make()
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))  # weights on the meta device between calls
    for found, wanted in zip(model(x), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", [Downsample, Upsample])
@pytest.mark.parametrize("way", ["forward", "_conv_forward", "pre-hook", "hook", "global hook"])
def test_a_layer_that_does_more_than_its_class_is_called(kind, way):
    if kind is Upsample and way == "_conv_forward":
        pytest.skip("transposed convolutions have no such method")
    with torch.no_grad():
        layers = nn.ModuleList([kind(1, 2), kind(2, 1)])
        for p in layers.parameters():
            p.copy_(torch.rand(p.shape, generator=torch_generator(0, way)))
        x = torch.rand(1, 1, 8, 8, generator=torch_generator(1, way))
        plain = run_stack(layers, x, relu_last=False)
        last, handle = layers[1], None
        if way == "forward":
            last.forward = lambda h: 2 * kind.forward(last, h)
        elif way == "_conv_forward":
            last._conv_forward = lambda *a: 2 * nn.Conv2d._conv_forward(last, *a)
        elif way == "pre-hook":
            last.register_forward_pre_hook(lambda layer, inputs: (0 * inputs[0],))
        elif way == "hook":
            last.register_forward_hook(lambda layer, inputs, output: 2 * output)
        else:
            handle = nn.modules.module.register_module_forward_hook(lambda layer, inputs, output: 2 * output)
        changed = run_stack(layers, x, relu_last=False)
        called = run_stack(layers, x, relu_last=False, fast=False)
        if handle is not None:
            handle.remove()
    torch.testing.assert_close(changed, called)
    assert not torch.allclose(changed, plain)


def test_a_transform_gets_the_layers_one_by_one():
    model, x = make()
    mean = lambda image: model.encode(image[None])[0].sum()
    gradients = torch.func.vmap(torch.func.grad(mean))(x)
    for image, gradient in zip(x, gradients, strict=True):
        leaf = image.clone().requires_grad_()
        mean(leaf).backward()
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-6)
