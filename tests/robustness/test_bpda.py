"""BPDA: forward value of one function, vector-Jacobian product of another."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workings.robustness.bpda import BPDALayer, bpda, identity, pretend, wrap_bpda
from workings.robustness.layers import SAPLayer, configure, insert_sap
from workings.robustness.networks import digits_cnn
from workings.seeding import torch_generator


def batch(n=3, a=5):
    return torch.randn(n, a, dtype=torch.float64, generator=torch_generator(0, "x"))


def test_the_forward_value_is_exact_bit_for_bit():
    x = batch() * 1e-7 + 1.0  # x + (f(x) - x) would lose digits here
    f = lambda t: (t * 3).round() / 7
    assert torch.equal(bpda(f)(x.requires_grad_(True)), f(x))


@pytest.mark.parametrize("surrogate", [identity, torch.sigmoid, lambda t: t @ torch.ones(5, 5, dtype=t.dtype)])
def test_the_vector_jacobian_product_is_the_surrogates(surrogate):
    x, g = batch().requires_grad_(True), batch().flip(0)
    (ours,) = torch.autograd.grad(bpda(torch.sign, surrogate)(x), x, g)
    (theirs,) = torch.autograd.grad(surrogate(x), x, g)
    assert torch.equal(ours, theirs)


def test_a_forward_function_without_gradient_works():
    x = batch().requires_grad_(True)
    out = bpda(lambda t: torch.from_numpy(t.detach().numpy().round()))(x)
    out.sum().backward()
    assert torch.equal(out, x.detach().round()) and torch.equal(x.grad, torch.ones_like(x))


def test_a_surrogate_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 5\), got \(3,\)"):
        bpda(torch.sign, lambda t: t.sum(dim=1))(batch())
    with pytest.raises(ValueError, match="backward_fn that keeps it"):
        pretend(torch.ones(2, 2), torch.ones(1, 2))


def test_bpda_over_pathwise_sap_inside_a_network_equals_saps_identity_rule():
    # The point of the chapter: any attack library that differentiates the wrapped model gets the identity rule.
    dense = digits_cnn(torch_generator(0, "net")).eval()
    x = torch.rand(4, 1, 8, 8, generator=torch_generator(0, "images")).requires_grad_(True)
    grads = []
    for wrapped in (True, False):
        net = insert_sap(dense, backward="pathwise", generator=torch_generator(0, "mask"))
        net = wrap_bpda(net, SAPLayer) if wrapped else configure(net, backward="identity")
        grads.append(torch.autograd.grad(net(x).square().sum(), x)[0])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-6, atol=1e-9)


def test_wrapping_leaves_the_original_alone_and_values_unchanged():
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval(), generator=torch_generator(0, "mask"))
    x = torch.rand(4, 1, 8, 8, generator=torch_generator(0, "images"))
    wrapped = wrap_bpda(net, SAPLayer)
    expected = net(x)
    configure(wrapped, generator=torch_generator(0, "mask"))
    assert torch.equal(wrapped(x), expected)
    assert not any(isinstance(m, BPDALayer) for m in net.modules())
    with pytest.raises(ValueError, match="no module of type Tanh"):
        wrap_bpda(net, nn.Tanh)


def test_parameters_before_the_wrapped_layer_still_get_gradients():
    net = nn.Sequential(nn.Linear(5, 5).double(), BPDALayer(nn.Threshold(0.5, 0.0)))
    net(batch()).sum().backward()
    assert net[0].weight.grad.abs().sum() > 0
