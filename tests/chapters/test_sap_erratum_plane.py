"""The erratum's network with two inputs: exact means and gradients against enumeration, differences and the library's SAP."""

from itertools import product

import pytest
import torch

from workings.chapters.given_draws import drawn_set
from workings.chapters.sap_erratum import plane
from workings.robustness.closed_forms import joint_survival, survival_probability
from workings.robustness.sap import BACKWARD_RULES, stochastic_activation_pruning
from workings.seeding import torch_generator

X = torch.tensor([[0.4, 0.25], [-1.1, 0.9]], dtype=torch.float64)
DRAWS = 3


def net():
    dice = torch_generator(5, "test plane")
    sizes = {"W1": (8, 2), "b1": (8,), "W2": (8, 8), "b2": (8,), "v": (8,), "c": (1,)}
    return {name: torch.randn(size, generator=dice, dtype=torch.float64) for name, size in sizes.items()}


def test_chances_of_kept_sets_are_those_of_every_list_of_draws():
    p = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    sets, chance = plane.kept_sets(p, DRAWS)
    wanted = dict.fromkeys(map(tuple, sets.tolist()), 0.0)
    for drawn in product(range(4), repeat=DRAWS):
        wanted[tuple(j in drawn for j in range(4))] += float(p[0, list(drawn)].prod())
    assert chance[0].tolist() == pytest.approx([wanted[tuple(one)] for one in sets.tolist()], abs=1e-15)
    assert chance[1].tolist() == [1.0] + [0.0] * 15  # nothing to draw from
    both = (sets[:, :, None] & sets[:, None, :]).double()
    joint = torch.einsum("bs,sij->bij", chance, both)
    assert torch.allclose(joint[:1], joint_survival(p[:1], DRAWS), atol=1e-14)


def test_the_exact_gradient_is_that_of_the_mean_output():
    step = 1e-5 * torch.eye(2, dtype=torch.float64)
    for x, wanted in zip(X, plane.limit_gradient(net(), X, DRAWS, "true"), strict=True):
        up, down = plane.mean_output(net(), x + step, DRAWS), plane.mean_output(net(), x - step, DRAWS)
        assert torch.allclose((up - down) / 2e-5, wanted, rtol=1e-6)


def test_mean_and_limits_are_what_the_librarys_layer_gives_on_average():
    n, network = 20_000, net()
    for rule in BACKWARD_RULES:
        dice = torch_generator(11, "many", rule)
        x = X[:1].expand(n, -1).clone().requires_grad_()
        prune = lambda h: stochastic_activation_pruning(h, DRAWS / 8, rule, dice)  # noqa: B023
        z = prune(plane.second_layer(network, prune(plane.first_layer(network, x)))) @ network["v"] + network["c"]
        g = torch.autograd.grad(z.sum(), x)[0]
        found = [
            (z, plane.mean_output(network, X[:1], DRAWS)),
            (g, plane.limit_gradient(network, X[:1], DRAWS, rule)[0]),
        ]
        for sample, wanted in found:  # nine numbers within five standard errors: false alarm below 6e-6
            assert ((sample.mean(0) - wanted).abs() <= 5 * sample.std(0) / n**0.5).all()


@pytest.mark.parametrize("rule", BACKWARD_RULES)
def test_gradients_of_given_draws_are_those_of_automatic_differentiation(rule):
    network, dice = net(), torch.rand(6, 2 * DRAWS, generator=torch_generator(2, "dice"), dtype=torch.float64)
    x = X[0].clone().requires_grad_()

    def pruned(h, kept):
        p = h / h.sum(1, keepdim=True)
        q = torch.where(p > 0, 1 - (1 - p) ** DRAWS, 1)
        out = torch.where(kept, h / (q.detach() if rule == "mask" else q), 0)
        return h + (out - h).detach() if rule == "identity" else out

    h = plane.first_layer(network, x[None]).expand(6, -1)
    h2 = plane.second_layer(network, pruned(h, drawn_set(h[0].detach(), dice[:, :DRAWS])))
    kept2 = torch.cat([drawn_set(one, row[None]) for one, row in zip(h2.detach(), dice[:, DRAWS:], strict=True)])
    wanted = torch.autograd.grad((pruned(h2, kept2) @ network["v"]).mean(), x)[0]
    assert torch.allclose(plane.sampled_gradient(network, X[0], dice, rule), wanted, rtol=1e-12)


def test_draws_of_numbers_have_the_chances_of_the_layer():
    n, h = 20_000, torch.tensor([3.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    kept = drawn_set(h, torch.rand(n, 5, generator=torch_generator(4, "dice"), dtype=torch.float64)).double()
    q = survival_probability(h / h.sum(), 5)
    assert ((kept.mean(0) - q).abs() <= 5 * (q * (1 - q) / n).sqrt()).all()  # false alarm below 2e-6


def test_a_walk_has_steps_of_one_length_and_follows_the_exact_gradient_uphill():
    network = net()
    dice = torch.rand(4, 2, 2 * DRAWS, generator=torch_generator(6, "dice"), dtype=torch.float64)
    path = plane.walk(network, X[0], dice, DRAWS, "true", 0.01, 1)
    assert path.shape == (5, 2) and torch.allclose(path.diff(dim=0).norm(dim=1), torch.full((4,), 0.01).double())
    assert (plane.mean_output(network, path, DRAWS).diff() > 0).all()
    silent = {name: 0 * part for name, part in network.items()}
    for rule in ("true", *BACKWARD_RULES):
        assert torch.equal(plane.walk(silent, X[0], dice, DRAWS, rule, 0.01, -1), X[0].expand(5, 2))


def test_training_is_settled_by_the_seed_and_separates_disc_and_ring():
    one, right = plane.train_plane(1, steps=150)
    again, _ = plane.train_plane(1, steps=150)
    assert right > 0.8 and all(torch.equal(one[name], again[name]) for name in one)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rule"):
        plane.limit_gradient(net(), X, DRAWS, "dense")
    with pytest.raises(ValueError, match="rule"):
        plane.sampled_gradient(net(), X[0], torch.rand(2, 6, dtype=torch.float64), "true")
