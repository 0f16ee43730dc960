"""torch.func transforms kernels where mathematics allows; elsewhere a sentence says what to do."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call, jvp, vmap

from workings.disentangling.objectives import bernoulli_nll, gaussian_kl
from workings.language_models.decoder import TinyDecoder
from workings.language_models.rotary import LAYOUTS, apply_rotary, rope_frequencies
from workings.language_models.xpos import apply_xpos
from workings.robustness.bpda import bpda
from workings.robustness.closed_forms import sap_probabilities
from workings.robustness.sap import stochastic_activation_pruning
from workings.seeding import torch_generator

# Torch's own words about itself, at the first jvp and where attention has no batching rule yet.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning"),
]
THETA = rope_frequencies(6)


def randn(*shape, name="x", dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(0, "transforms", name), dtype=dtype)


def rows(function, *tensors):
    return torch.stack([function(*row) for row in zip(*tensors, strict=True)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmap_of_a_rotation_is_the_rotation_of_each_row(layout):
    x, places, theta = (
        randn(4, 3, 6),
        randn(4, 3, name="p"),
        THETA * torch.rand(4, 1, generator=torch_generator(0, "t")),
    )
    for function, tensors in (
        (lambda v: apply_rotary(v, range(3), THETA, layout=layout), (x,)),
        (lambda v, p: apply_rotary(v, p, THETA, layout=layout), (x, places)),
        (lambda v, t: apply_rotary(v, range(3), t, layout=layout), (x, theta)),
        (lambda v, p: apply_xpos(v, v, p, THETA, layout=layout)[1], (x, places)),
    ):
        torch.testing.assert_close(vmap(function)(*tensors), rows(function, *tensors))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tangent_of_a_rotation_is_the_rotated_tangent(layout):
    x, tangent = randn(3, 6), randn(3, 6, name="tangent")
    function = lambda v: apply_rotary(v, range(3), THETA, layout=layout)
    value, found = jvp(function, (x,), (tangent,))
    torch.testing.assert_close(value, function(x))
    torch.testing.assert_close(found, function(tangent))  # a rotation is linear
    with forward_ad.dual_level():
        dual = function(forward_ad.make_dual(x, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, function(tangent))


def test_likelihoods_go_through_vmap_and_jvp():
    logits, x = randn(5, 4), torch.rand(5, 4, generator=torch_generator(0, "pixels"), dtype=torch.float64)
    torch.testing.assert_close(
        vmap(lambda a, v: bernoulli_nll(a[None], v[None])[0])(logits, x), bernoulli_nll(logits, x)
    )
    torch.testing.assert_close(vmap(gaussian_kl)(logits, x), gaussian_kl(logits, x))
    _, slope = jvp(lambda a: bernoulli_nll(a, x), (logits,), (torch.ones_like(logits),))
    torch.testing.assert_close(slope, (logits.sigmoid() - x).sum(dim=1))  # d nll / d logit = sigmoid - x


def test_a_decoder_goes_through_vmap_over_tokens_and_weights_and_through_jvp():
    model = TinyDecoder(7, 8, 1, generator=torch_generator(0, "net")).double()
    tokens = torch.randint(7, (3, 5), generator=torch_generator(0, "tokens"))
    torch.testing.assert_close(vmap(lambda t: model(t[None])[0])(tokens), model(tokens))
    weights = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in model.named_parameters()}
    both = vmap(lambda w: functional_call(model, w, (tokens,)))(weights)
    for k in range(2):
        torch.testing.assert_close(both[k], functional_call(model, {n: w[k] for n, w in weights.items()}, (tokens,)))
    plain = {name: p.detach() for name, p in model.named_parameters()}
    head = lambda w: functional_call(model, {**plain, "lm_head.weight": w}, (tokens,))
    _, found = jvp(head, (plain["lm_head.weight"],), (plain["lm_head.weight"],))
    torch.testing.assert_close(found, head(plain["lm_head.weight"]))  # linear in the output layer


def test_a_surrogate_goes_through_vmap_grad_and_jvp():
    function = bpda(torch.sign, torch.tanh)
    x = randn(4, 3)
    assert torch.equal(vmap(function)(x), torch.sign(x))
    slope = 1 - x.tanh().square()
    torch.testing.assert_close(vmap(torch.func.grad(lambda v: function(v).sum()))(x), slope)
    value, tangent = jvp(function, (x,), (torch.ones_like(x),))
    assert torch.equal(value, torch.sign(x))
    torch.testing.assert_close(tangent, slope)


@pytest.mark.parametrize(
    "transform",
    [vmap, torch.func.grad, lambda f: lambda h: jvp(f, (h,), (h,))],
    ids=["vmap", "grad", "jvp"],
)
def test_random_pruning_says_that_it_cannot_be_transformed(transform):
    h = torch.rand(3, 2, 5, generator=torch_generator(0, "h"))
    for function in (stochastic_activation_pruning, sap_probabilities):
        with pytest.raises(NotImplementedError, match=r"torch\.func .* torch\.autograd"):
            transform(lambda v, f=function: f(v).sum())(h)


def test_second_derivatives_of_a_surrogate_are_those_of_the_surrogate():
    x = randn(4).requires_grad_()
    [slope] = torch.autograd.grad(bpda(torch.sign, torch.tanh)(x).sum(), x, create_graph=True)
    [curve] = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(curve, (-2 * x.tanh() * (1 - x.tanh().square())).detach())
