"""The channel with known factors: exact rates, unit variance, and a decoder that buys by water-filling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.objectives import gaussian_kl
from workings.disentangling.rate_distortion import reverse_water_filling
from workings.seeding import torch_generator


def channel(logits: list[float], capacity: float) -> FactorChannel:
    made = FactorChannel(len(logits), capacity).double()
    with torch.no_grad():
        made.logits.copy_(torch.tensor(logits))
    return made


def factors(n: int, k: int, name: str = "f") -> torch.Tensor:
    """Standardised factors that are nothing like Gaussian: the grid of a sprite's position."""
    return standardise(torch.randint(0, 32, (n, k), generator=torch_generator(0, name)).double())


@settings(max_examples=60, deadline=None)
@given(logits=st.lists(st.floats(-30, 30), min_size=1, max_size=6), capacity=st.floats(0, 50))
def test_rates_are_never_negative_and_sum_to_the_capacity_at_any_logits(logits, capacity):
    made = channel(logits, capacity)
    assert (made.rates >= 0).all()
    # The capacity is stored in single precision: 6e-8 of its value.
    assert made.rates.sum().item() == pytest.approx(capacity, rel=1e-6)


def test_the_rates_start_equal_and_follow_the_softmax_and_the_capacity():
    made = FactorChannel(4, 2.0)
    assert made.rates.tolist() == [0.5] * 4
    made.set_capacity(6.0)
    assert made.rates.tolist() == [1.5] * 4
    assert channel([math.log(1), math.log(3)], 2.0).rates.tolist() == pytest.approx([0.5, 1.5])


def test_the_mean_kl_over_the_data_is_the_rate_exactly():
    f = factors(1000, 3)
    made = channel([1.0, -1.0, 0.3], 5.0)
    kl = gaussian_kl(*made.posterior(f)).mean(0)
    # No sampling: E f^2 = 1 over the rows by construction, so this is arithmetic in double precision.
    torch.testing.assert_close(kl, made.rates, rtol=1e-12, atol=1e-12)


def test_samples_have_unit_variance_and_the_stated_noise():
    n = 200_000
    f, made = factors(n, 3), channel([1.0, -1.0, 0.3], 3.0)
    z = made(f, torch_generator(0, "noise")).detach()
    mean, logvar = (t.detach() for t in made.posterior(f))
    r = made.rates.detach()
    torch.testing.assert_close(logvar[0], -2 * r)
    # Var of a mean of n: z has variance 1, so sd 1 / sqrt(n). z^2 has variance at most that of a Gaussian, 2
    # (uniform factors have lighter tails), and noise^2 / e^(-2r) is chi-square with variance 2. Nine checks at
    # 5 standard deviations: at most 9 * 5.7e-7 false alarms.
    assert (z.mean(0).abs() < 5 / math.sqrt(n)).all()
    assert (((z**2).mean(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()
    assert ((((z - mean) ** 2).mean(0) / torch.exp(-2 * r) - 1).abs() < 5 * math.sqrt(2 / n)).all()


def test_the_nats_that_arrive_are_the_rate_when_the_factor_is_gaussian():
    # For jointly Gaussian f and z the mutual information is -ln(1 - corr^2) / 2 = r: the KL's bound is tight.
    n = 200_000
    f = standardise(torch.randn(n, 2, generator=torch_generator(0, "gauss"), dtype=torch.float64))
    made = channel([0.0, math.log(3)], 2.0)
    z = made(f, torch_generator(0, "noise")).detach()
    for k, r in enumerate((0.5, 1.5)):
        corr = np.corrcoef(f[:, k], z[:, k])[0, 1]
        # sd of Fisher's arctanh(corr) is 1 / sqrt(n); 5 of them, twice: 1.2e-6 false alarms.
        assert abs(np.arctanh(corr) - np.arctanh(math.sqrt(1 - math.exp(-2 * r)))) < 5 / math.sqrt(n)


def test_a_closed_channel_passes_only_noise_and_its_gradient_is_zero_and_not_nan():
    f = factors(50, 3)
    made = channel([0.0, 1.0, -1.0], 0.0)
    same = made(f, torch_generator(0, "noise"))
    other = made(factors(50, 3, "g"), torch_generator(0, "noise"))
    assert torch.equal(same, other)
    same.square().sum().backward()
    assert torch.equal(made.logits.grad, torch.zeros(3, dtype=torch.float64))
    # A factor whose share underflows to nothing beside an open one.
    made = channel([0.0, -2000.0], 3.0)
    made(factors(50, 2), torch_generator(0, "noise")).square().sum().backward()
    assert made.rates[1] == 0 and torch.isfinite(made.logits.grad).all()


def test_gradients_of_open_channels_are_those_of_finite_differences():
    f = factors(6, 3)
    made = channel([0.2, -0.4, 1.1], 2.5)
    mean, logvar = made.posterior(f)
    assert mean.requires_grad and logvar.requires_grad

    def outputs(logits):
        return torch.func.functional_call(made, {"logits": logits}, (f, torch_generator(0, "noise")))

    assert torch.autograd.gradcheck(outputs, (made.logits.detach().clone().requires_grad_(),))


def test_the_noise_comes_from_the_generator_alone():
    f, made = factors(5, 2), channel([0.0, 0.0], 1.0)
    torch.manual_seed(1)
    first = made(f, torch_generator(7, "noise"))
    torch.manual_seed(2)
    assert torch.equal(first, made(f, torch_generator(7, "noise")))
    assert not torch.equal(first, made(f, torch_generator(8, "noise")))


def test_capacity_travels_with_the_weights():
    saved = channel([0.5, 1.0], 7.0).state_dict()
    fresh = FactorChannel(2).double()
    fresh.load_state_dict(saved)
    assert fresh.capacity.item() == 7.0 and fresh.rates.sum().item() == pytest.approx(7.0)


def test_learned_rates_and_decoder_buy_gaussian_factors_by_water_filling():
    # x_k = sqrt(var_k) f_k, decoded from z_k by the best linear map: error var_k e^(-2 r_k), in closed form.
    # So only the rates are learned here, and they must end at reverse water-filling.
    variances, capacity = torch.tensor([16.0, 4.0, 1.0], dtype=torch.float64), 2.0
    made = channel([0.0, 0.0, 0.0], capacity)
    optimiser = torch.optim.Adam(made.parameters(), lr=0.05)
    for _ in range(800):
        loss = (variances * torch.exp(-2 * made.rates)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # The third factor's share goes to 0 as a softmax does, slowly; 0.02 nats is what is left after 800 steps.
    np.testing.assert_allclose(made.rates.detach(), reverse_water_filling(variances, capacity).rates, atol=0.02)


def test_standardise_gives_mean_zero_and_population_variance_one():
    f = torch.randint(0, 40, (300, 3), generator=torch_generator(0, "f"))
    made = standardise(f)
    assert (
        made.dtype == torch.float32 == standardise(f.float()).dtype and standardise(f.double()).dtype == torch.float64
    )
    wide = standardise(f.double())
    torch.testing.assert_close(wide.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(wide.square().mean(0), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(standardise(5 * f.double() - 3), wide)
    torch.testing.assert_close(standardise(-f.double()), -wide)
    # Sums in double precision: a large offset does not eat the digits of a float32 column beyond its own rounding.
    offset = f.float() + 1e5
    torch.testing.assert_close(
        standardise(offset).double().square().mean(0), torch.ones(3, dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FactorChannel(0), ValueError, "n_factors"),
        (lambda: FactorChannel(2.0), TypeError, "n_factors"),
        (lambda: FactorChannel(2, -1.0), ValueError, "capacity"),
        (lambda: FactorChannel(2).set_capacity(math.inf), ValueError, "capacity"),
        (lambda: FactorChannel(2).set_capacity(math.nan), ValueError, "capacity"),
        (lambda: FactorChannel(2)(torch.zeros(4, 3), torch_generator(0)), ValueError, "one column per factor"),
        (lambda: FactorChannel(2)(torch.zeros(2), torch_generator(0)), ValueError, "one column per factor"),
        (lambda: standardise(torch.zeros(3)), ValueError, r"\(N, K\)"),
        (lambda: standardise(torch.zeros(0, 3)), ValueError, r"\(N, K\)"),
        (lambda: standardise(torch.tensor([[1.0, 2.0], [1.0, 3.0]])), ValueError, r"\[0\] of f are constant"),
        (lambda: standardise(torch.full((7, 1), 0.1)), ValueError, "constant"),
        (lambda: standardise(torch.tensor([[1.0], [math.nan]])), ValueError, "finite"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, error, message):
    with pytest.raises(error, match=message):
        call()
