"""A network may work in place; what it is given stays what it was, and a surrogate sees the original."""

import torch
from torch import nn

from workings.robustness.bpda import BPDALayer, bpda, identity, wrap_bpda
from workings.seeding import torch_generator


class Threshold(nn.Module):
    """0/1 in place: no useful gradient."""

    def forward(self, x):
        return x.gt_(0.5)


def net(inplace):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace), nn.Linear(8, 8), nn.ReLU(inplace), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=torch_generator(0, "weights", *p.shape)))
    return model


def gradient(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).square().sum(), x)[0]


def test_the_gradient_through_a_surrogate_does_not_depend_on_how_the_layer_is_written():
    x = torch.randn(5, 6, generator=torch_generator(0, "x"))
    for surrogate in (nn.functional.softplus, identity, torch.tanh):
        found = gradient(wrap_bpda(net(True), nn.ReLU, surrogate), x)
        assert torch.equal(found, gradient(wrap_bpda(net(False), nn.ReLU, surrogate), x))


def test_images_survive_a_layer_that_works_in_place():
    x = torch.rand(4, 5, generator=torch_generator(0, "images"))
    before = x.clone()
    out = BPDALayer(Threshold())(x)
    assert torch.equal(out, (before > 0.5).float()) and torch.equal(x, before)


def test_a_surrogate_that_works_in_place_spoils_neither_the_images_nor_the_gradient():
    x = torch.randn(4, 5, generator=torch_generator(0, "images"))
    before = x.clone()
    gradient_of = lambda f: torch.autograd.grad(bpda(torch.sign, f)(leaf).sum(), leaf)[0]
    leaf = x.requires_grad_()
    assert torch.equal(gradient_of(lambda v: v.mul_(3.0)), torch.full_like(x, 3.0))
    assert torch.equal(x.detach(), before)
