"""Reverse water-filling against brute force, and the linear beta-VAE against one trained by gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from workings.disentangling.rate_distortion import (
    channel_information,
    gaussian_rate,
    linear_beta_vae_optimum,
    reverse_water_filling,
    shuffled_code_nll,
)
from workings.seeding import torch_generator

VARIANCES = st.lists(st.floats(0.01, 100.0), min_size=1, max_size=8)
CAPACITY = st.floats(0.0, 30.0)


def test_the_worked_example_of_the_chapter():
    rates, theta = reverse_water_filling((16, 4, 1), 2.0)
    assert theta == pytest.approx(math.sqrt(16 * 4) * math.exp(-2), rel=1e-12)  # 1.0827, above 1: the third stays off
    assert np.round(rates, 4).tolist() == [1.3466, 0.6534, 0.0]


@pytest.mark.parametrize("variances", [(16.0, 4.0, 1.0), (1.0, 9.0, 2.0, 0.3), (3.0, 3.0, 1.0)])
@pytest.mark.parametrize("capacity", [0.1, 1.0, 2.0, 6.0])
def test_no_other_way_to_spend_the_nats_leaves_less_error(variances, capacity):
    lam = np.array(variances)

    def distortion(rates):
        return float((lam * np.exp(-2 * rates)).sum())

    start = np.full(len(lam), capacity / len(lam))
    brute = minimize(
        distortion,
        start,
        jac=lambda r: -2 * lam * np.exp(-2 * r),
        bounds=[(0, None)] * len(lam),
        constraints={"type": "eq", "fun": lambda r: r.sum() - capacity},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    rates, theta = reverse_water_filling(variances, capacity)
    # SLSQP stops when the error changes by 1e-14; the rates, at the flat bottom, are good to about its root.
    np.testing.assert_allclose(rates, brute.x, atol=1e-5)
    assert distortion(rates) <= brute.fun + 1e-9
    np.testing.assert_allclose(lam * np.exp(-2 * rates), np.minimum(lam, theta), rtol=1e-12)


@settings(max_examples=80, deadline=None)
@given(variances=VARIANCES, capacity=CAPACITY)
def test_the_rates_sum_to_the_capacity_and_the_level_is_the_root_of_the_budget(variances, capacity):
    rates, theta = reverse_water_filling(variances, capacity)
    assert (rates >= 0).all() and rates.sum() == pytest.approx(capacity, abs=1e-10)
    lam = np.array(variances)

    def overspent(log_theta):
        return np.maximum(0, 0.5 * (np.log(lam) - log_theta)).sum() - capacity

    if capacity > 1e-3:
        root = brentq(overspent, np.log(lam.min()) - 2 * capacity - 1, np.log(lam.max()), xtol=1e-13)
        assert math.log(theta) == pytest.approx(root, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(variances=VARIANCES, capacity=CAPACITY, scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_scale_moves_only_the_level_and_order_moves_only_the_order(variances, capacity, scale, seed):
    rates, theta = reverse_water_filling(variances, capacity)
    scaled = reverse_water_filling(scale * np.array(variances), capacity)
    np.testing.assert_allclose(scaled.rates, rates, atol=1e-10)
    assert scaled.theta == pytest.approx(scale * theta, rel=1e-10)
    order = np.random.default_rng(seed).permutation(len(variances))
    np.testing.assert_allclose(
        reverse_water_filling(np.array(variances)[order], capacity).rates, rates[order], atol=1e-12
    )


def test_the_first_nats_go_to_the_largest_variance_and_equal_ones_share():
    rates, theta = reverse_water_filling((1.0, 5.0, 4.0), 1e-3)
    np.testing.assert_allclose(rates, [0, 1e-3, 0], atol=1e-15)
    assert theta == pytest.approx(5 * math.exp(-2e-3))
    np.testing.assert_allclose(reverse_water_filling((2.0, 2.0, 2.0, 2.0), 3.0).rates, 0.75)
    rates, theta = reverse_water_filling((1.0, 5.0, 4.0), 0.0)
    assert rates.tolist() == [0, 0, 0] and theta == pytest.approx(5.0)


def test_more_capacity_never_takes_from_a_factor_and_switches_them_on_in_order():
    lam, ladder = (16.0, 4.0, 1.0), np.linspace(0, 5, 101)
    rates = np.array([reverse_water_filling(lam, c).rates for c in ladder])
    assert (np.diff(rates, axis=0) >= -1e-12).all()
    # Factor 2 starts when factor 1 is down to 4: C = ln(16 / 4) / 2; factor 3 when both are down to 1.
    assert (rates[:, 1] > 1e-12).tolist() == (ladder > 0.5 * math.log(4) + 1e-12).tolist()
    assert (rates[:, 2] > 1e-12).tolist() == (ladder > 0.5 * math.log(64) + 1e-12).tolist()


def test_a_factor_that_never_varies_is_never_bought_and_huge_budgets_stay_finite():
    rates, _ = reverse_water_filling((0.0, 1.0, 0.0), 3.0)
    assert rates.tolist() == [0.0, 3.0, 0.0]
    rates, theta = reverse_water_filling((4.0, 1.0), 2000.0)
    assert rates.sum() == pytest.approx(2000.0) and np.isfinite(rates).all() and theta == 0.0  # exp(-2000) underflows


def test_the_gaussian_rate_is_the_log_of_the_shrinkage_and_zero_when_nothing_is_needed():
    assert gaussian_rate(16.0, 1.0) == pytest.approx(math.log(4))
    assert gaussian_rate([1.0, 4.0, 0.0], 4.0).tolist() == [0.0, 0.0, 0.0]
    assert gaussian_rate(np.ones((2, 1)), np.ones((1, 3))).shape == (2, 3)
    # N(0, v) and an observation of it with noise: the nats of the best code equal the mutual information.
    v, noise = 3.0, 0.5
    left = v * noise / (v + noise)  # error variance of the posterior mean
    assert gaussian_rate(v, left) == pytest.approx(0.5 * math.log(1 + v / noise))


@settings(max_examples=60, deadline=None)
@given(variances=VARIANCES, capacity=st.floats(0.01, 20.0))
def test_the_weight_beta_is_the_water_level_of_its_own_rate(variances, capacity):
    rates, theta = reverse_water_filling(variances, capacity)
    kl, post_var, active = linear_beta_vae_optimum(variances, theta)
    np.testing.assert_allclose(kl, rates, atol=1e-9)
    assert ((kl > 1e-9) <= active).all() and (post_var[~active] == 1.0).all() and (kl[~active] == 0.0).all()
    # The mean KL with a matched aggregate, E mu^2 = 1 - s, is -ln(s) / 2.
    np.testing.assert_allclose(kl, -0.5 * np.log(post_var), atol=1e-12)


def test_a_latent_is_active_only_above_beta():
    kl, post_var, active = linear_beta_vae_optimum((4.0, 1.0, 1.0 + 1e-9, 0.0), 1.0)
    assert active.tolist() == [True, False, True, False]
    assert post_var.tolist() == pytest.approx([0.25, 1.0, 1.0, 1.0])
    assert kl.tolist() == pytest.approx([math.log(2), 0.0, 0.0, 0.0], abs=1e-8)


def test_a_linear_beta_vae_trained_by_gradient_ends_at_the_closed_form():
    # Exact expectations over Gaussian data with covariance S (no sampling): with encoder N(A x, diag s),
    # decoder W z, E|x - W z|^2 = tr(S) - 2 tr(W A S) + tr(W (A S A' + diag s) W').
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch_generator(0, "basis"), dtype=torch.float64))[0]
    eigvals = torch.tensor([16.0, 4.0, 1.5, 0.5], dtype=torch.float64)
    covariance, beta = rotation @ torch.diag(eigvals) @ rotation.T, 1.0
    a, w = (0.3 * torch.randn(4, 4, generator=torch_generator(0, n), dtype=torch.float64) for n in ("a", "w"))
    logvar = torch.zeros(4, dtype=torch.float64)
    parameters = [p.requires_grad_() for p in (a, w, logvar)]
    optimiser = torch.optim.Adam(parameters, lr=0.04)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1200)

    def kl_per_latent():
        second = (a @ covariance * a).sum(1)  # E mu_k^2
        return 0.5 * (second + logvar.exp() - logvar - 1)

    for _ in range(1200):
        code = a @ covariance @ a.T + torch.diag(logvar.exp())
        error = covariance.trace() - 2 * (w @ a @ covariance).trace() + (w @ code @ w.T).trace()
        loss = error / 2 + beta * kl_per_latent().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    kl, post_var, active = linear_beta_vae_optimum(eigvals, beta)
    assert active.tolist() == [True, True, True, False]
    trained, order = kl_per_latent().detach().sort(descending=True)
    np.testing.assert_allclose(trained.numpy(), kl, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(logvar.detach().exp()[order].numpy(), post_var, rtol=0.02)
    # The error left is the water level on active axes and the whole variance on the idle one.
    assert error.item() == pytest.approx(np.minimum(eigvals.numpy(), beta).sum(), rel=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reverse_water_filling((1.0, -1.0), 1.0), "variances must be at least 0"),
        (lambda: reverse_water_filling((0.0, 0.0), 1.0), "all 0"),
        (lambda: reverse_water_filling((), 1.0), "empty"),
        (lambda: reverse_water_filling((1.0, np.nan), 1.0), "NaN"),
        (lambda: reverse_water_filling((1.0, np.inf), 1.0), "infinite"),
        (lambda: reverse_water_filling([[1.0]], 1.0), "dimension"),
        (lambda: reverse_water_filling((1.0,), -1.0), "capacity"),
        (lambda: reverse_water_filling((1.0,), np.inf), "capacity"),
        (lambda: linear_beta_vae_optimum((1.0,), 0.0), "beta"),
        (lambda: linear_beta_vae_optimum((-1.0,), 1.0), "eigvals"),
        (lambda: gaussian_rate(1.0, 0.0), "distortion must be above 0"),
        (lambda: gaussian_rate(-1.0, 1.0), "variance"),
    ],
)
def test_bad_values_are_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("n", [2, 5])
def test_a_shuffled_code_costs_the_mean_picture_at_no_nats_and_each_picture_at_many(n):
    pictures = torch.rand(n, 1, 2, 3, generator=torch_generator(0, "pictures"), dtype=torch.float64)
    order = torch.randperm(n, generator=torch_generator(1, "order"))
    none, many = shuffled_code_nll(pictures, [0.0, 8.0], order).tolist()
    entropy = lambda p: float(-(p * p.log() + (1 - p) * (1 - p).log()).flatten(1).sum(dim=1).mean())
    assert none == pytest.approx(entropy(pictures.mean(dim=0, keepdim=True)), abs=1e-5)
    assert many == pytest.approx(entropy(pictures), abs=1e-5)


def test_channel_information_has_its_limits():
    assert channel_information(16, 0.0) == pytest.approx(0.0, abs=1e-9)
    assert channel_information(16, 7.0) == pytest.approx(math.log(16), abs=1e-6)
    for rate in (0.3, 1.0, 2.5, 4.0):
        told = channel_information(16, rate)
        assert 0 < told < min(rate, math.log(16))  # never more than is paid, or than there is to tell
        assert told > channel_information(16, rate - 0.1)


def test_channel_information_of_two_places_is_that_of_the_binary_gaussian_channel():
    rate, rng = 0.8, np.random.default_rng(0)
    share = 1 - math.exp(-2 * rate)
    f = rng.choice([-1.0, 1.0], 400_000)
    z = math.sqrt(share) * f + math.exp(-rate) * rng.standard_normal(len(f))
    log_odds = 2 * math.sqrt(share) * z * f / (1 - share)
    samples = math.log(2) - np.logaddexp(0, -log_odds)
    # four standard errors: a false alarm once in 16,000 draws of the seed
    assert abs(samples.mean() - channel_information(2, rate)) < 4 * samples.std() / math.sqrt(len(f))


def one_hot(n: int) -> torch.Tensor:
    return torch.eye(n).view(n, 1, 1, n)


def test_shuffled_code_nll_is_the_pixel_entropy_of_what_the_decoder_cannot_tell():
    n = 8
    ends = shuffled_code_nll(one_hot(n), [0.0, 8.0], torch.arange(n))
    alone = -(math.log(1 / n) / n + (1 - 1 / n) * math.log(1 - 1 / n)) * n  # n pixels, each on once in n
    np.testing.assert_allclose(ends, [alone, 0.0], atol=1e-6)


def test_shuffled_code_nll_agrees_with_drawing_codes():
    pictures, order, rate, n = one_hot(6), torch.tensor([3, 0, 5, 1, 4, 2]), 1.2, 200_000
    share, rng = 1 - math.exp(-2 * rate), np.random.default_rng(1)
    points = ((np.arange(6) - 2.5) / np.std(np.arange(6)))[order.numpy()]
    i = rng.integers(6, size=n)
    z = math.sqrt(share) * points[i] + math.exp(-rate) * rng.standard_normal(n)
    weight = np.exp(-((z[:, None] - math.sqrt(share) * points) ** 2) / (2 * (1 - share)))
    mean = (weight / weight.sum(1, keepdims=True)) @ np.eye(6)
    x = np.eye(6)[i]
    nll = -(x * np.log(mean) + (1 - x) * np.log1p(-mean)).sum(1)
    found = float(shuffled_code_nll(pictures, [rate], order)[0])
    assert abs(nll.mean() - found) < 4 * nll.std() / math.sqrt(n)  # false alarm once in 16,000 seeds


def test_the_order_of_a_code_matters_only_where_pictures_have_neighbours():
    order = torch.randperm(8, generator=torch_generator(0, "shuffle"))
    rates = [0.5, 1.0, 2.0]
    same = shuffled_code_nll(one_hot(8), rates, torch.arange(8))
    # all pairs of one-hot pictures are equally far apart, so any order is as good: only rounding remains
    torch.testing.assert_close(shuffled_code_nll(one_hot(8), rates, order), same)
    ramp = torch.tril(torch.ones(8, 8)).view(8, 1, 1, 8)  # neighbours differ in one pixel
    assert (shuffled_code_nll(ramp, rates, order) > shuffled_code_nll(ramp, rates, torch.arange(8)) + 0.05).all()


@pytest.mark.parametrize("order", [[0, 1, 1], [0, 1], [1, 2, 3]])
def test_an_order_that_is_no_permutation_is_refused(order):
    with pytest.raises(ValueError, match="permutation"):
        shuffled_code_nll(one_hot(3), [1.0], torch.tensor(order))
