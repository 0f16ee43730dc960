"""Activation checkpointing runs a layer twice: both runs draw the same numbers, or the second is refused."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from workings.disentangling.factor_channel import FactorChannel
from workings.disentangling.networks import mlp_vae
from workings.robustness.layers import MatchedDropout, SAPLayer, insert_poisson_pruning, pruning_layers
from workings.seeding import torch_generator


def poisson_layer(source):
    model = insert_poisson_pruning(nn.Sequential(nn.Conv2d(1, 1, 1)), fraction=1.0, backward="mask", generator=source)
    return next(pruning_layers(model))


LAYERS = {
    "SAP": lambda source: SAPLayer(1.0, "mask", source),
    "dropout": lambda source: MatchedDropout(1.0, "mask", source),
    "Poisson": poisson_layer,
}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_with_the_global_generator_the_backward_pass_meets_the_forward_masks(name, reentrant):
    layer = LAYERS[name](None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(20):
            h = (torch.rand(2, 30) + 0.1).requires_grad_()
            out = checkpoint(lambda v: layer(v) * 1.0, h, use_reentrant=reentrant)
            out.sum().backward()
            assert torch.equal(h.grad != 0, out != 0)  # the gradient of a kept one is its scale, of a dropped one 0
            torch.testing.assert_close(h.grad * h.detach(), out.detach())


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_with_a_generator_of_its_own_a_second_run_is_refused(name, reentrant):
    layer = LAYERS[name](torch_generator(0, "masks"))
    h = (torch.rand(2, 30, generator=torch_generator(0, "h")) + 0.1).requires_grad_()
    out = checkpoint(lambda v: layer(v) * v, h, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match="generator=None"):
        out.sum().backward()
    layer(h).sum().backward()  # without checkpointing nothing is refused
    assert h.grad is not None


def test_the_noise_of_a_code_is_not_drawn_twice():
    x = torch.rand(2, 1, 4, 4, generator=torch_generator(0, "x")).requires_grad_()
    model = mlp_vae(4, 2, (8,), generator=torch_generator(0, "net"))
    logits, *_ = checkpoint(model, x, torch_generator(0, "noise"), use_reentrant=False)
    with pytest.raises(RuntimeError, match="would draw other numbers"):
        logits.sum().backward()
    f = torch.randn(3, 2, generator=torch_generator(0, "f")).requires_grad_()
    z = checkpoint(lambda v: FactorChannel(2, 3.0)(v, torch_generator(0, "noise")).square(), f, use_reentrant=False)
    with pytest.raises(RuntimeError, match="would draw other numbers"):
        z.sum().backward()
