"""Poisson activation pruning, the layer of the 2018 program: what it is, and each way in which it is not SAP."""

from __future__ import annotations

import math

import pytest
import torch

from workings.robustness.closed_forms import joint_survival, sap_probabilities, survival_probability
from workings.robustness.poisson_pruning import poisson_activation_pruning, poisson_survival
from workings.robustness.sap import stochastic_activation_pruning
from workings.seeding import torch_generator

MAP = torch.tensor([[0.6, -0.2, 0.1, 0.0, 0.1]], dtype=torch.float64)


def test_keep_probabilities_have_the_worked_values():
    keep = poisson_survival(sap_probabilities(MAP), 10)
    expected = torch.tensor([[0.99752, 0.86466, 0.63212, 0.0, 0.63212]], dtype=torch.float64)
    torch.testing.assert_close(keep, expected, rtol=0, atol=5e-6)


def test_survivors_are_h_over_the_keep_probability():
    out = poisson_activation_pruning(MAP.expand(200, 5), 10, torch_generator(0, "x"))
    keep = poisson_survival(sap_probabilities(MAP), 10)
    kept = out != 0
    torch.testing.assert_close(out[kept], (MAP / (keep + 1e-8)).expand(200, 5)[kept], rtol=1e-14, atol=0)
    assert not kept[:, 3].any()


def test_it_is_unbiased_too():
    n = 100_000
    out = poisson_activation_pruning(MAP.expand(n, 5), 5, torch_generator(0, "mean"))
    assert ((out.mean(0) - MAP[0]).abs() <= 5 * out.std(0) / math.sqrt(n) + 1e-7).all()


def test_its_pairs_are_independent_where_sap_has_negative_association():
    n, a = 100_000, 10
    h = torch.ones(1, a, dtype=torch.float64)
    kept = (poisson_activation_pruning(h.expand(n, a), a, torch_generator(0, "pairs")) != 0).double()
    k = float(poisson_survival(torch.tensor(1 / a), a))
    both = (kept.T @ kept / n)[torch.triu(torch.ones(a, a), 1).bool()]
    error = math.sqrt(k * k * (1 - k * k) / n)
    assert (both - k * k).abs().max() < 5 * error
    p = sap_probabilities(h)
    q, sap = float(survival_probability(p, a)[0, 0]), float(joint_survival(p, a)[0, 0, 1])
    assert 1 - sap / q**2 > 5 * error / k**2  # SAP's pairs would be seen to depend at this tolerance


@pytest.mark.parametrize(("fraction", "share"), [(1.0, 0.632), (2.0, 0.865)])
def test_twice_the_draws_keep_more_of_a_flat_map(fraction, share):
    h = torch.ones(50, 4096)
    poisson = (poisson_activation_pruning(h, fraction * 4096, torch_generator(0, "share")) != 0).double().mean()
    # 50 x 4096 independent keeps: standard error sqrt(0.24 / 204800) = 0.0011.
    assert float(poisson) == pytest.approx(share, abs=0.006)
    sap = (stochastic_activation_pruning(h, 1.0, generator=torch_generator(0, "sap")) != 0).double().mean()
    assert float(sap) == pytest.approx(0.632, abs=0.006)


@pytest.mark.parametrize(("fraction", "left"), [(1.0, 0.418), (2.0, 0.687)])
def test_autodiff_leaves_more_of_the_own_gradient_at_twice_the_draws(fraction, left):
    # One output's derivative by its own input, mean over masks, flat map: 1 - b e^-b / (1 - e^-b).
    a, n = 400, 400
    h = torch.ones(n, a, dtype=torch.float64, requires_grad=True)
    out = poisson_activation_pruning(h, fraction * a, torch_generator(0, "grad"))
    (grad,) = torch.autograd.grad(out[:, :100].sum(), h)
    own = grad[:, :100].mean() - grad[:, 100:].mean()  # the common part of the scale's derivative cancels
    error = float(grad[:, :100].mean(dim=1).std()) / math.sqrt(n)
    assert float(own) == pytest.approx(left, abs=5 * error + 5e-4)


def test_mask_and_identity_rules_are_there_for_comparison():
    g = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]], dtype=torch.float64)
    keep = poisson_survival(sap_probabilities(MAP), 5) + 1e-8
    for rule in ("mask", "identity"):
        h = MAP.clone().requires_grad_(True)
        out = poisson_activation_pruning(h, 5, torch_generator(0, "rule"), rule)
        (grad,) = torch.autograd.grad(out, h, g)
        expected = g if rule == "identity" else torch.where(out != 0, g / keep, 0)
        assert torch.equal(grad, expected)


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_all_rules_draw_the_same_numbers_at_any_scale_of_the_map(scale):
    h = scale * MAP.expand(50, 5)
    outs = [
        poisson_activation_pruning(h, 3, torch_generator(0, "scale"), backward=rule)
        for rule in ("mask", "identity", "pathwise")
    ]
    for out in outs[1:]:
        torch.testing.assert_close(out, outs[0], rtol=1e-12, atol=0)
    assert (outs[0] != 0).any() and (outs[0][:, :3] == 0).any()


@pytest.mark.parametrize("rule", ["mask", "identity", "pathwise"])
def test_zero_rows_and_single_live_neurons_give_no_nan(rule):
    h = torch.zeros(2, 4)
    h[1, 2] = 3.0
    h.requires_grad_(True)
    out = poisson_activation_pruning(h, 8, torch_generator(0, "zero"), rule)
    out.sum().backward()
    assert out.isfinite().all() and h.grad.isfinite().all() and (out[0] == 0).all()


def test_it_differs_from_sap_in_the_law_even_at_the_same_number_of_draws():
    p = sap_probabilities(MAP)
    assert (poisson_survival(p, 5) - survival_probability(p, 5)).abs().max() > 0.02


@pytest.mark.parametrize(
    ("h", "mean_draws", "message"),
    [
        (torch.tensor([[1.0, math.nan]]), 4, "NaN"),
        (torch.ones(2, 3), -1.0, "mean_draws"),
        (torch.ones(2, 3), math.inf, "mean_draws"),
        (torch.ones(3), 4, "batch"),
    ],
)
def test_bad_input_is_refused(h, mean_draws, message):
    with pytest.raises(ValueError, match=message):
        poisson_activation_pruning(h, mean_draws)
