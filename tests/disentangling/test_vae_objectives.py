"""KL, likelihoods, and the two losses built from them, against distributions, limits and hand arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D
from torch.nn import functional as F

from workings.disentangling.objectives import (
    bernoulli_nll,
    beta_vae_loss,
    capacity_loss,
    capacity_schedule,
    gaussian_kl,
    kl_diag_gaussians,
    normalised_beta,
    pixel_entropy,
    squared_error,
)
from workings.seeding import torch_generator


def draw(*shape: int, name: str = "x", scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64)


# KL -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(mu=st.floats(-30, 30), logvar=st.floats(-20, 10), mu2=st.floats(-30, 30), logvar2=st.floats(-20, 10))
def test_both_kls_are_those_of_torch_distributions(mu, logvar, mu2, logvar2):
    m1, v1, m2, v2 = (torch.full((1, 1), v, dtype=torch.float64) for v in (mu, logvar, mu2, logvar2))
    p, q = D.Normal(m1, torch.exp(v1 / 2)), D.Normal(m2, torch.exp(v2 / 2))
    # float64: the sums lose at most a few units in the 16th digit of their largest term, here below 1e12.
    torch.testing.assert_close(
        gaussian_kl(m1, v1), D.kl_divergence(p, D.Normal(0.0, torch.ones_like(m1))), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(kl_diag_gaussians(m1, v1, m2, v2), D.kl_divergence(p, q), rtol=1e-10, atol=1e-10)


def test_the_kl_is_zero_only_at_the_prior_and_positive_elsewhere():
    zero = torch.zeros(3, 2, dtype=torch.float64)
    assert torch.equal(gaussian_kl(zero, zero), zero)
    for mu, logvar in ((1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)):
        assert (gaussian_kl(zero + mu, zero + logvar) > 0).all()


def test_the_kl_of_a_nearly_idle_latent_keeps_its_digits_in_single_precision():
    # KL(N(0, e^v) || N(0, 1)) = v^2 / 4 + v^3 / 12 + ...; written with exp(v) - 1 float32 would be off by 20 %.
    v = torch.tensor([[1e-3, -1e-3, 1e-2]])
    exact = v.double() ** 2 / 4 + v.double() ** 3 / 12 + v.double() ** 4 / 48
    torch.testing.assert_close(gaussian_kl(torch.zeros_like(v), v).double(), exact, rtol=1e-3, atol=0)


def test_the_kl_of_a_code_is_the_sum_over_its_latents():
    mu, logvar = draw(5, 4, name="mu"), draw(5, 4, name="logvar")
    joint = D.MultivariateNormal(mu, torch.diag_embed(torch.exp(logvar)))
    prior = D.MultivariateNormal(torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(gaussian_kl(mu, logvar).sum(1), D.kl_divergence(joint, prior))


def test_the_general_kl_reduces_to_the_prior_form_vanishes_at_equality_and_is_not_symmetric():
    mu, logvar, mu2, logvar2 = (draw(4, 3, name=n) for n in "abcd")
    zero = torch.zeros_like(mu)
    torch.testing.assert_close(kl_diag_gaussians(mu, logvar, zero, zero), gaussian_kl(mu, logvar))
    assert torch.equal(kl_diag_gaussians(mu, logvar, mu, logvar), zero)
    there, back = kl_diag_gaussians(mu, logvar, mu2, logvar2), kl_diag_gaussians(mu2, logvar2, mu, logvar)
    assert (there - back).abs().min() > 1e-3
    # By hand: KL(N(0, 1) || N(0, e^2)) = (e^-2 + 2 - 1) / 2, and the other way (e^2 - 2 - 1) / 2.
    one, two = torch.zeros(1, 1), torch.full((1, 1), 2.0)
    assert kl_diag_gaussians(one, one, one, two).item() == pytest.approx((math.exp(-2) + 1) / 2, rel=1e-6)
    assert kl_diag_gaussians(one, two, one, one).item() == pytest.approx((math.exp(2) - 3) / 2, rel=1e-6)


# Likelihoods --------------------------------------------------------------------------------------------------


def test_bernoulli_nll_sums_over_pixels_and_equals_two_library_forms():
    logits = draw(3, 2, 4, 4, name="l", scale=3.0)
    x = (draw(3, 2, 4, 4, name="x") > 0).double()
    nll = bernoulli_nll(logits, x)
    assert nll.shape == (3,)
    torch.testing.assert_close(
        nll,
        torch.stack(
            [F.binary_cross_entropy_with_logits(a, b, reduction="sum") for a, b in zip(logits, x, strict=True)]
        ),
    )
    torch.testing.assert_close(nll, -D.Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3)))
    grey = torch.sigmoid(draw(3, 2, 4, 4, name="grey"))
    torch.testing.assert_close(
        bernoulli_nll(logits, grey), (F.softplus(logits) - grey * logits).sum((1, 2, 3)), rtol=1e-12, atol=1e-12
    )


def test_the_best_constant_picture_costs_the_entropy_of_every_pixel():
    # The dSprites floor at zero KL (565.55 nats for the whole set) in miniature: 40 pictures of 6 pixels.
    x = (
        torch.rand(40, 1, 2, 3, generator=torch_generator(0, "pictures")) < torch.linspace(0.1, 0.8, 6).view(1, 1, 2, 3)
    ).double()
    p = x.mean(0, keepdim=True)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum().item()
    best = torch.logit(p)
    assert bernoulli_nll(best.expand_as(x), x).mean().item() == pytest.approx(entropy, rel=1e-12)
    for change in (0.1, -0.1):
        assert bernoulli_nll((best + change).expand_as(x), x).mean().item() > entropy
    # A grey target never costs less than its own entropy.
    assert bernoulli_nll(best, p).item() == pytest.approx(entropy, rel=1e-12)


def test_enormous_logits_neither_overflow_nor_lose_the_gradient():
    logits = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    nll = bernoulli_nll(logits, torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    assert nll.item() == 2e4
    nll.sum().backward()
    assert torch.equal(logits.grad, torch.tensor([[0.0, 0.0, 1.0, -1.0]]))


def test_squared_error_is_a_sum_without_mean_or_half():
    a, b = draw(3, 2, 2, 2, name="a"), draw(3, 2, 2, 2, name="b")
    assert squared_error(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.zeros(2, 2)).tolist() == [5.0, 9.0]
    assert torch.equal(squared_error(a, a), torch.zeros(3, dtype=torch.float64))
    normal = -D.Normal(b, 1.0).log_prob(a).sum((1, 2, 3)) - 8 * 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(squared_error(a, b) / 2, normal)


# Losses -------------------------------------------------------------------------------------------------------


def test_beta_one_is_the_negative_elbo_and_the_loss_is_linear_in_beta():
    # With x | z ~ N(z, 1), z ~ N(0, 1) and the exact posterior N(x / 2, 1 / 2), the ELBO is log N(x; 0, 2).
    # E log p(x | z) under the posterior: -log(2 pi) / 2 - ((x / 2)^2 + 1 / 2) / 2.
    x = draw(7, 1, name="x")
    nll = 0.5 * math.log(2 * math.pi) + ((x / 2) ** 2 + 0.5).squeeze(1) / 2
    kl = gaussian_kl(x / 2, torch.full_like(x, math.log(0.5)))
    evidence = D.Normal(0.0, math.sqrt(2.0)).log_prob(x).mean()
    torch.testing.assert_close(beta_vae_loss(nll, kl, 1.0), -evidence)
    at = [beta_vae_loss(nll, kl, beta).item() for beta in (0.0, 1.0, 4.0)]
    assert at[0] == pytest.approx(nll.mean().item()) and at[2] - at[0] == pytest.approx(4 * (at[1] - at[0]))


def test_losses_average_over_the_batch_and_sum_over_latents():
    nll, kl = torch.tensor([1.0, 3.0]), torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 1.0]])
    assert beta_vae_loss(nll, kl, 2.0).item() == 2.0 + 2.0 * 4.0
    assert capacity_loss(nll, kl, 1.0, 2.0).item() == 2.0 + 2.0 * 3.0
    twice = (torch.cat([nll, nll]), torch.cat([kl, kl]))
    assert beta_vae_loss(*twice, 2.0).item() == 10.0 and capacity_loss(*twice, 1.0, 2.0).item() == 8.0


@settings(max_examples=40, deadline=None)
@given(gamma=st.floats(0, 1e4), seed=st.integers(0, 1000))
def test_zero_capacity_is_the_beta_vae_with_beta_gamma_to_the_last_bit(gamma, seed):
    nll = torch.rand(6, generator=torch_generator(seed, "nll")) * 500
    mu, logvar = (torch.randn(6, 4, generator=torch_generator(seed, n)).requires_grad_() for n in ("mu", "logvar"))
    results = []
    for loss in (
        capacity_loss(nll, gaussian_kl(mu, logvar), 0.0, gamma),
        beta_vae_loss(nll, gaussian_kl(mu, logvar), gamma),
    ):
        results.append((loss, *torch.autograd.grad(loss, (mu, logvar))))
    for capacity, beta in zip(*results, strict=True):
        assert torch.equal(capacity, beta)


def test_the_batch_mean_is_taken_before_the_absolute_value():
    nll = torch.zeros(2)
    assert capacity_loss(nll, torch.tensor([[5.0], [15.0]]), 10.0, 1.0).item() == 0.0  # the mean of |KL - C| would be 5
    assert capacity_loss(nll, torch.tensor([[5.0], [25.0]]), 10.0, 1.0).item() == 5.0


def test_the_capacity_loss_is_symmetric_about_its_target_and_gamma_zero_is_pure_reconstruction():
    nll = torch.tensor([3.0, 5.0])
    for gap in (0.5, 2.0, 10.0):
        above, below = (capacity_loss(nll, torch.full((2, 2), (10 + s * gap) / 2), 10.0, 7.0).item() for s in (1, -1))
        assert above == below == 4.0 + 7.0 * gap
    assert capacity_loss(nll, torch.full((2, 2), 9.0), 3.0, 0.0).item() == 4.0


def test_the_slope_in_every_images_kl_is_gamma_over_the_batch_with_the_sign_of_the_gap():
    nll = torch.zeros(8)
    for level, sign in ((4.0, 1.0), (2.0, -1.0)):
        kl = torch.full((8, 3), level / 3, requires_grad=True)
        capacity_loss(nll, kl, 3.0, 1000.0).backward()
        assert torch.equal(kl.grad, torch.full((8, 3), sign * 1000.0 / 8))
    kl = torch.full((8, 1), 3.0, requires_grad=True)
    capacity_loss(nll, kl, 3.0, 1000.0).backward()
    assert torch.equal(kl.grad, torch.zeros(8, 1))  # at the target the subgradient is 0


def test_capacity_gamma_and_beta_may_be_tensors_of_no_dimensions():
    nll, kl = torch.rand(4, generator=torch_generator(0, "n")), torch.rand(4, 2, generator=torch_generator(0, "k"))
    c, g = torch.tensor(0.5), torch.tensor(10.0)
    assert torch.equal(capacity_loss(nll, kl, c, g), capacity_loss(nll, kl, 0.5, 10.0))
    assert torch.equal(beta_vae_loss(nll, kl, g), beta_vae_loss(nll, kl, 10.0))


# Schedule and scale -------------------------------------------------------------------------------------------


def test_the_capacity_rises_linearly_in_updates_and_then_stays():
    assert capacity_schedule(0, 25.0, 100_000) == 0.0
    assert capacity_schedule(50_000, 25.0, 100_000) == 12.5
    assert capacity_schedule(100_000, 25.0, 100_000) == 25.0 == capacity_schedule(10**9, 25.0, 100_000)
    assert capacity_schedule(0, 5.0, 10, c_min=1.0) == 1.0 and capacity_schedule(5, 5.0, 10, c_min=1.0) == 3.0
    assert capacity_schedule(3, 2.0, 10, c_min=2.0) == 2.0


@settings(max_examples=60, deadline=None)
@given(c_min=st.floats(0, 20), rise=st.floats(0, 50), n=st.integers(1, 500), step=st.integers(0, 600))
def test_the_schedule_never_falls_and_stays_within_its_ends(c_min, rise, n, step):
    here, next_ = (capacity_schedule(s, c_min + rise, n, c_min) for s in (step, step + 1))
    assert c_min <= here <= next_ <= c_min + rise


def test_normalised_beta_of_four_at_64_pixels_is_0_0098():
    assert round(normalised_beta(4.0, 10, 64 * 64), 4) == 0.0098
    # Carrying beta to another size: same pressure per latent and pixel.
    assert normalised_beta(4.0, 10, 4096) == pytest.approx(normalised_beta(0.25, 10, 256))
    assert normalised_beta(1.0, 20, 100) == 2 * normalised_beta(1.0, 10, 100)


# Hostile input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_kl(torch.zeros(2, 3), torch.zeros(3)), "one shape"),
        (lambda: kl_diag_gaussians(*[torch.zeros(2, 3)] * 3, torch.zeros(1, 3)), "logvar2"),
        (lambda: kl_diag_gaussians(torch.zeros(2, 3), torch.zeros(2, 1), *[torch.zeros(2, 3)] * 2), "logvar1"),
        (lambda: bernoulli_nll(torch.zeros(2, 1, 4), torch.zeros(2, 4)), "one shape"),
        (lambda: bernoulli_nll(torch.zeros(2, 4), torch.full((2, 4), 255.0)), "scale the images"),
        (lambda: bernoulli_nll(torch.zeros(2, 4), torch.full((2, 4), -0.1)), r"\[0, 1\]"),
        (lambda: bernoulli_nll(torch.zeros(2, 4), torch.full((2, 4), float("nan"))), r"\[0, 1\]"),
        (lambda: squared_error(torch.zeros(2, 4), torch.zeros(4)), "one shape"),
        (lambda: beta_vae_loss(torch.zeros(2), torch.zeros(2, 3), -1.0), "beta"),
        (lambda: beta_vae_loss(torch.zeros(2), torch.zeros(2, 3), float("nan")), "beta"),
        (lambda: beta_vae_loss(torch.zeros(()), torch.zeros(2, 3), 1.0), "not yet averaged"),
        (lambda: beta_vae_loss(torch.zeros(2, 1), torch.zeros(2, 3), 1.0), "not yet averaged"),
        (lambda: capacity_loss(torch.zeros(2), torch.zeros(2), 1.0, 1.0), "not yet averaged"),
        (lambda: capacity_loss(torch.zeros(0), torch.zeros(0, 3), 1.0, 1.0), "B >= 1"),
        (lambda: capacity_loss(torch.zeros(2), torch.zeros(2, 3), -1.0, 1.0), "capacity"),
        (lambda: capacity_loss(torch.zeros(2), torch.zeros(2, 3), 1.0, -1.0), "gamma"),
        (lambda: capacity_schedule(-1, 25.0, 10), "step"),
        (lambda: capacity_schedule(0, 25.0, 0), "n_steps"),
        (lambda: capacity_schedule(0, 25.0, -5), "n_steps"),
        (lambda: capacity_schedule(0, 1.0, 10, c_min=2.0), "c_max"),
        (lambda: capacity_schedule(0, 1.0, 10, c_min=-2.0), "c_min"),
        (lambda: normalised_beta(1.0, 0, 10), "n_latent"),
        (lambda: normalised_beta(-1.0, 1, 10), "beta"),
    ],
)
def test_bad_values_are_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_types_are_refused_with_a_reason():
    with pytest.raises(TypeError, match="floating point"):
        bernoulli_nll(torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.uint8))
    with pytest.raises(TypeError, match="step"):
        capacity_schedule(0.5, 25.0, 10)
    with pytest.raises(TypeError, match="n_steps"):
        capacity_schedule(0, 25.0, 1e5)


# entropy of pixels ----------------------------------------------------------------------------------------------


def test_the_pixel_entropy_is_the_smallest_nll_and_reached_at_the_pixels_own_log_odds():
    x = torch.rand(5, 3, 4, generator=torch_generator(0, "pixels"), dtype=torch.float64)
    least = pixel_entropy(x)
    assert least.shape == (5,) and torch.allclose(bernoulli_nll(torch.logit(x), x), least)
    for shift in (-0.1, 0.1):  # the NLL is strictly convex in every logit
        assert (bernoulli_nll(torch.logit(x) + shift, x) > least).all()


def test_black_and_white_pixels_have_no_entropy_and_half_grey_ones_the_most():
    assert torch.equal(pixel_entropy(torch.tensor([[0.0, 1.0], [1.0, 1.0]])), torch.zeros(2))
    half = torch.full((1, 7), 0.5, dtype=torch.float64)
    assert (
        pixel_entropy(half).item() == pytest.approx(7 * math.log(2))
        and (pixel_entropy(half - 0.01) < pixel_entropy(half)).all()
    )


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (torch.tensor([[1.5]]), ValueError),
        (torch.tensor([[-0.1]]), ValueError),
        (torch.tensor([[1]]), TypeError),
        (torch.tensor([[float("nan")]]), ValueError),
    ],
)
def test_pixels_outside_their_range_have_no_entropy(x, error):
    with pytest.raises(error, match=r"\[0, 1\]"):
        pixel_entropy(x)
