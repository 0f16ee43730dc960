"""Networks trained in a stack end where each would have ended alone."""

import pytest
import torch

from workings.disentangling.networks import mlp_vae
from workings.disentangling.stacked_vaes import train_stack
from workings.disentangling.training import annealed_capacity, fixed_beta, train_vae
from workings.seeding import generator

PICTURES = torch.rand(100, 1, 4, 4, dtype=torch.float64, generator=generator(0, "pictures"))


def fresh(seed: int, hidden=(8, 6)):
    return mlp_vae(4, 3, hidden, generator=generator(seed, "start")).double()


@pytest.mark.parametrize("objective", [fixed_beta(2.0), annealed_capacity(10.0, 3.0, 20, 0.5)])
def test_a_stack_ends_where_each_network_would_have_ended_alone(objective):
    seeds, steps = (3, 0, 7), 45
    stack = train_stack([fresh(s) for s in seeds], seeds, PICTURES, objective, steps, batch=16, window=10)
    for found, seed in zip(stack, seeds, strict=True):
        alone = fresh(seed)
        adam = torch.optim.Adam(alone.parameters(), lr=2e-3)
        history = train_vae(alone, PICTURES, steps, objective, seed=seed, batch=16, optimiser=adam, window=10)
        # float64: sums in another order, 45 steps of Adam, whose steps are of size 2e-3
        for mine, other in zip(found.model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-10)
        assert found.seed == seed and torch.equal(found.history.steps, history.steps)
        torch.testing.assert_close(found.history.nll, history.nll, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found.history.kl, history.kl, rtol=1e-8, atol=1e-10)


def test_copies_are_the_networks_of_the_steps_asked_for():
    models = [fresh(0), fresh(1)]
    stack = train_stack(models, (0, 1), PICTURES, fixed_beta(1.0), 12, batch=16, keep_at=(5, 12))
    short = train_stack([fresh(0), fresh(1)], (0, 1), PICTURES, fixed_beta(1.0), 5, batch=16)
    for found, cut in zip(stack, short, strict=True):
        first, last = found.kept
        for mine, other, end, now in zip(
            first.parameters(), cut.model.parameters(), last.parameters(), found.model.parameters(), strict=True
        ):
            assert torch.equal(mine, other) and torch.equal(end, now) and end is not now


def test_networks_of_several_shapes_or_none_or_without_a_seed_are_refused():
    for models, seeds, why in (
        ([fresh(0), fresh(1, (8, 7))], (0, 1), "all of one shape"),
        ([], (), "all of one shape"),
        ([fresh(0)], (0, 1), "a seed for each"),
    ):
        with pytest.raises(ValueError, match=why):
            train_stack(models, seeds, PICTURES, fixed_beta(1.0), 1)


def test_a_loss_that_is_not_finite_is_an_error():
    broken = fresh(0)
    with torch.no_grad():
        broken.decoder.linears[-1].bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        train_stack([broken], (0,), PICTURES, fixed_beta(1.0), 1)
