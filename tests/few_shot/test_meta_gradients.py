"""Weighted gradients of a batch of episodes, and MAML's inner loop."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from workings import seeding
from workings.few_shot.difficulty_sampling import NORMALISATIONS, importance_weight, normalising_factor
from workings.few_shot.meta_gradients import maml_inner, weighted_episode_gradient, weighted_episode_loss

W = np.array([0.5, 2.0, 0.0])


def losses_of(theta: torch.Tensor) -> torch.Tensor:
    """Three losses with gradients that are known: theta_0^2, theta_0 theta_1, sin(theta_1)."""
    return torch.stack([theta[0] ** 2, theta[0] * theta[1], theta[1].sin()])


def theta(**options) -> torch.Tensor:
    return torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True, **options)


JACOBIAN = np.array([[1.4, 0.0], [-1.3, 0.7], [0.0, math.cos(-1.3)]])


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_the_weighted_gradient_by_hand(normalise):
    at = theta()
    (found,) = weighted_episode_gradient(losses_of(at), W, [at], normalise)
    factor = {"ess": 4.25 / 6.25, "sum": 1 / 2.5, "mean": 1 / 3}[normalise]
    np.testing.assert_allclose(found.numpy(), factor * W @ JACOBIAN, rtol=1e-12)


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_weights_of_one_give_the_gradient_of_the_mean_loss(normalise):
    at, other = theta(), theta()
    (found,) = weighted_episode_gradient(losses_of(at), np.ones(3), [at], normalise)
    losses_of(other).mean().backward()
    torch.testing.assert_close(found, other.grad)


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_the_gradient_is_that_of_finite_differences_with_the_weights_held(normalise):
    at = theta()
    (found,) = weighted_episode_gradient(losses_of(at), W, [at], normalise)
    for i in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[i] = 1e-6
        high, low = (weighted_episode_loss(losses_of((at + s).detach()), W, normalise) for s in (step, -step))
        assert found[i].item() == pytest.approx((high - low).item() / 2e-6, rel=1e-6)


def test_no_gradient_flows_through_weights_that_came_from_the_losses():
    at = theta()
    losses = losses_of(at)
    held = losses.exp()  # a tensor with a graph, as careless code would pass it
    (found,) = weighted_episode_gradient(losses, held, [at], "mean")
    np.testing.assert_allclose(found.numpy(), held.detach().numpy() @ JACOBIAN / 3, rtol=1e-12)


def test_the_codes_gradient_is_longer_than_the_self_normalised_one_by_a_ratio_of_sums():
    ess, total = (weighted_episode_gradient(losses_of(at := theta()), W, [at], name)[0] for name in ("ess", "sum"))
    torch.testing.assert_close(ess, total * (W**2).sum() / W.sum())


def test_on_average_uniform_weights_lengthen_the_codes_step_by_two_and_a_half():
    # E[w^2] / E[w] = 1 / 0.399 for large batches
    rng = np.random.default_rng(0)
    z = rng.normal(size=200_000)
    w = importance_weight(z[np.abs(z) <= 2.58], "uniform")
    assert normalising_factor(w, "ess") / normalising_factor(w, "sum") == pytest.approx(1 / 0.399092, rel=0.02)


def test_weights_that_are_all_zero_give_no_gradient():
    for name in NORMALISATIONS:
        (found,) = weighted_episode_gradient(losses_of(at := theta()), np.zeros(3), [at], name)
        assert (found == 0).all()


def test_a_parameter_without_influence_gets_zeros():
    at, idle = theta(), torch.ones(2, 2, requires_grad=True)
    _, second = weighted_episode_gradient(losses_of(at), W, [at, idle])
    assert torch.equal(second, torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("losses", "weights", "words"),
    [
        (torch.ones(3), np.ones(2), "one per episode"),
        (torch.ones(2, 2), np.ones(2), "shape"),
        (torch.tensor([1.0, math.nan]), np.ones(2), "NaN"),
        (torch.ones(2), [-1.0, 1.0], "at least 0"),
        (torch.ones(2), [math.nan, 1.0], "NaN"),
    ],
)
def test_losses_and_weights_that_do_not_fit_are_refused(losses, weights, words):
    with pytest.raises(ValueError, match=words):
        weighted_episode_loss(losses, weights)


def test_losses_without_a_graph_and_an_empty_list_of_parameters_are_refused():
    with pytest.raises(ValueError, match="no_grad"):
        weighted_episode_gradient(torch.ones(2), np.ones(2), [torch.ones(1, requires_grad=True)])
    with pytest.raises(ValueError, match="parameters"):
        weighted_episode_gradient(losses_of(theta()), W, [])
    with pytest.raises(ValueError, match="parameter 0 requires no gradient"):
        weighted_episode_gradient(losses_of(theta()), W, [theta().detach()])


# MAML's inner loop on a quadratic: loss(x) = (x - x*)' A (x - x*) / 2, so x_t = x* + (I - lr A)^t (x_0 - x*).

SIZE = 3
LR = 0.1


class Point(nn.Module):
    def __init__(self, start: torch.Tensor):
        super().__init__()
        self.x = nn.Parameter(start)

    def forward(self) -> torch.Tensor:
        return self.x


def quadratic() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = seeding.torch_generator(0, "quadratic")
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64)
    root = draw(SIZE, SIZE)
    return root @ root.T + torch.eye(SIZE), draw(SIZE), draw(SIZE)


def bowl(matrix: torch.Tensor, best: torch.Tensor):
    return lambda net: 0.5 * (net() - best) @ matrix @ (net() - best)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_the_inner_loop_is_gradient_descent_on_a_quadratic(steps):
    matrix, best, start = quadratic()
    fast = maml_inner(Point(start.clone()), bowl(matrix, best), LR, steps)
    power = torch.linalg.matrix_power(torch.eye(SIZE, dtype=torch.float64) - LR * matrix, steps)
    torch.testing.assert_close(fast["x"].detach(), best + power @ (start - best))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_the_outer_gradient_holds_the_power_and_the_first_order_one_does_not(steps):
    matrix, best, start = quadratic()
    goal = torch.ones(SIZE, dtype=torch.float64)
    power = torch.linalg.matrix_power(torch.eye(SIZE, dtype=torch.float64) - LR * matrix, steps)
    for first_order, factor in ((False, power), (True, torch.eye(SIZE, dtype=torch.float64))):
        model = Point(start.clone())
        fast = maml_inner(model, bowl(matrix, best), LR, steps, first_order=first_order)
        (fast["x"] @ goal).backward()
        torch.testing.assert_close(model.x.grad, factor.T @ goal)


def small_net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def support() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 4, generator=seeding.torch_generator(0, "support")), torch.tensor([0, 1, 2, 0, 1, 2])


def test_a_network_adapts_as_plain_gradient_descent_does_and_is_left_as_it_was():
    x, y = support()
    model, twin = small_net(), small_net()
    before = copy.deepcopy(model.state_dict())
    fast = maml_inner(model, lambda net: nn.functional.cross_entropy(net(x), y), 0.2, 3)
    optimiser = torch.optim.SGD(twin.parameters(), lr=0.2)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    for name, value in twin.named_parameters():
        torch.testing.assert_close(fast[name], value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_only_the_head_adapts_when_only_it_is_named():
    x, y = support()
    model = small_net()
    fast = maml_inner(model, lambda net: nn.functional.cross_entropy(net(x), y), 0.2, 2, names=["3.weight", "3.bias"])
    own = dict(model.named_parameters())
    assert fast["0.weight"] is own["0.weight"]
    assert not torch.equal(fast["3.weight"], own["3.weight"])
    model.eval()
    loss = nn.functional.cross_entropy(functional_call(model, fast, (x,)), y)
    loss.backward()
    assert own["0.weight"].grad.abs().max() > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": -0.1}, "lr"),
        ({"steps": -1}, "steps"),
        ({"names": ["4.weight"]}, "4.weight"),
        ({"names": []}, "no parameter"),
        ({"loss": lambda net: net(support()[0])}, "one finite number"),
        ({"loss": lambda net: net(support()[0]).sum() * math.nan}, "one finite number"),
    ],
)
def test_inner_loops_that_make_no_sense_are_refused(change, words):
    arguments = {"loss": lambda net: net(support()[0]).square().sum(), "lr": 0.1, "steps": 1} | change
    with pytest.raises(ValueError, match=words):
        maml_inner(small_net(), **arguments)
