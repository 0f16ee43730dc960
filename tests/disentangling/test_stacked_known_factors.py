"""Known-factor models trained in a stack end where each would have ended alone."""

import pytest
import torch

from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, train_known_factor
from workings.disentangling.networks import MLPDecoder, initialise
from workings.disentangling.stacked_known_factors import train_known_factor_stack
from workings.seeding import generator

PICTURES = torch.rand(90, 1, 4, 4, dtype=torch.float64, generator=generator(0, "pictures"))
FACTORS = standardise(torch.randn(90, 3, dtype=torch.float64, generator=generator(0, "factors")))
PLAN = dict(c_max=6.0, rising=30, batch=16, learning_rate=2e-3, window=10)


def fresh(seed: int) -> KnownFactorModel:
    decoder = initialise(MLPDecoder(4, 3, (8, 6)), generator(seed, "start"))
    return KnownFactorModel(FactorChannel(3), decoder).double()


@pytest.mark.parametrize("learn_rates", [True, False])
def test_a_stack_ends_where_each_model_would_have_ended_alone(learn_rates):
    seeds, steps = (3, 0, 7), 45
    models = [fresh(seed) for seed in seeds]
    together = train_known_factor_stack(
        models, seeds, FACTORS, PICTURES, steps, learn_rates=learn_rates, keep_at=(20, 45), **PLAN
    )
    # float64: sums in another order, 45 steps of Adam, whose steps are of size 2e-3 and 1e-2
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)
    for found, model, seed in zip(together, models, seeds, strict=True):
        alone = fresh(seed)
        wanted = train_known_factor(
            alone, FACTORS, PICTURES, steps, seed=seed, learn_rates=learn_rates, keep_at=(20, 45), **PLAN
        )
        for a, b in zip(found[:3], wanted[:3], strict=True):
            close(a, b)
        for mine, other in zip([model, *found.kept], [alone, *wanted.kept], strict=True):
            assert mine is not other and mine.channel.capacity == other.channel.capacity
            for a, b in zip(mine.parameters(), other.parameters(), strict=True):
                close(a, b)
        assert bool((model.channel.logits != 0).any()) == learn_rates


def test_a_model_without_a_seed_is_refused_and_so_is_a_loss_that_is_not_finite():
    with pytest.raises(ValueError, match="a seed for each"):
        train_known_factor_stack([fresh(0)], (0, 1), FACTORS, PICTURES, 1, **PLAN)
    broken = fresh(0)
    with torch.no_grad():
        broken.decoder.linears[-1].bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        train_known_factor_stack([broken], (0,), FACTORS, PICTURES, 1, **PLAN)
