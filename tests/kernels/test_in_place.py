"""A network may work in place; what it is given stays what it was, and a surrogate sees the original."""

import inspect

import pytest
import torch
from torch import nn

from kernels.examples import EXAMPLES
from kernels.test_every_kernel import REFUSALS, arrays, run, same
from workings.disentangling.networks import VAE
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


class Beginning:
    """Puts a step in front of a network or function of the caller's: its first tensor of floats is halved."""

    def __init__(self, in_place: bool):
        self.in_place, self.calls = in_place, 0

    def halved(self, inputs):
        k = next((k for k, v in enumerate(inputs) if isinstance(v, torch.Tensor) and v.is_floating_point()), None)
        if k is None:
            return inputs
        self.calls += 1
        return (*inputs[:k], inputs[k].mul_(0.5) if self.in_place else inputs[k] * 0.5, *inputs[k + 1 :])

    def before(self, value):
        """``value`` with the step in front: networks and functions, also those in lists; anything else as it is."""
        if isinstance(value, nn.Module):
            first = value.encoder if isinstance(value, VAE) else value
            first.register_forward_pre_hook(lambda module, inputs: self.halved(inputs))
        elif inspect.isfunction(value):
            return lambda *args, **options: value(*self.halved(args), **options)
        elif type(value) in (list, tuple, dict):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            made = {key: self.before(item) for key, item in pairs}
            return made if isinstance(value, dict) else type(value)(made.values())
        return value


def with_beginning(name, in_place):
    """The example's arguments with the step in front of what it calls, their tensors as they were, and the step."""
    step = Beginning(in_place)
    arguments = step.before(EXAMPLES[name]())
    return arguments, {path: v.detach().clone() for path, v in arrays(arguments).items() if torch.is_tensor(v)}, step


def takes_a_network(name):
    flat = lambda value: (
        [v for item in (value.values() if isinstance(value, dict) else value) for v in flat(item)]
        if isinstance(value, (list, tuple, dict))
        else [value]
    )
    return any(isinstance(v, nn.Module) or inspect.isfunction(v) for v in flat(EXAMPLES[name]()))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if takes_a_network(name)])
def test_a_network_that_begins_in_place_changes_neither_what_the_caller_gave_nor_the_result(name):
    arguments, before, step = with_beginning(name, in_place=True)
    try:
        found = run(name, arguments)
    except REFUSALS as refusal:
        assert str(refusal)
        return
    for path, value in before.items():
        assert torch.equal(arrays(arguments)[path].detach(), value), f"{name} lets the network change {path}"
    assert same(found, run(name, with_beginning(name, in_place=False)[0]), 1e-5)
    assert step.calls or name not in CALLED, f"{name} never called the network"


# The walk above would be empty if it did not reach these.
CALLED = {
    "robustness.attacks.fgsm",
    "robustness.attacks.eot_gradient",
    "robustness.attacks.pgd_linf",
    "robustness.attacks.random_search_linf",
    "robustness.attacks.spsa_gradient",
    "robustness.evaluation.sample_softmax",
    "robustness.evaluation.mc_predict",
    "robustness.evaluation.robust_accuracies",
    "disentangling.evaluation.evaluate_vae",
    "disentangling.perceptual.frozen_codes",
    "disentangling.scan.code_pictures",
    "disentangling.traversal.traversal_grid",
    "few_shot.pretraining.network_features",
}


def test_the_walk_reaches_the_kernels_that_hand_the_callers_images_to_a_network():
    assert all(takes_a_network(name) for name in CALLED)
