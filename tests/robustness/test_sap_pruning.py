"""The pruning function: exact survivors, unbiased on average, and three backward rules that differ.

Statistical tests use one fixed seed each; thresholds of 5 standard errors or more, so that a correct
kernel fails for fewer than one seed in a hundred thousand.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.robustness.closed_forms import (
    expected_survivors,
    joint_survival,
    pathwise_jacobian,
    sap_probabilities,
    sap_variance,
    survival_probability,
)
from workings.robustness.sap import kept_share, matched_dropout, stochastic_activation_pruning
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=50)
RULES = ("mask", "identity", "pathwise")
MAP = torch.tensor([[2.0, -1.0, 0.5, 0.0, 0.25, 3.0, 1.0, -0.1]], dtype=torch.float64)


def prune(h, fraction=1.0, backward="mask", name="sap"):
    return stochastic_activation_pruning(h, fraction, backward, torch_generator(0, name))


@steady
@given(st.integers(1, 4), st.integers(1, 40), st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 10**6))
def test_survivors_are_exactly_h_over_q_and_never_more_than_the_draws(rows, size, fraction, seed):
    h = torch.randn(rows, size + 1, generator=torch_generator(seed, "h"), dtype=torch.float64)
    out = prune(h, fraction)
    draws = math.floor(fraction * (size + 1))
    q = survival_probability(sap_probabilities(h), draws)
    kept = out != 0
    assert torch.equal(out[kept], (h / q)[kept])
    assert (kept.sum(dim=1) <= draws).all() and (kept.sum(dim=1) >= 1).all()


def test_the_probabilities_are_those_of_the_whole_map_not_of_a_channel_or_the_batch():
    # Channels of very different size: any other normalisation gives other survivor values.
    h = torch.rand(3, 4, 5, 5, generator=torch_generator(0, "map")) * torch.tensor([1.0, 10.0, 0.1, 3.0])[:, None, None]
    h = h * torch.tensor([1.0, 100.0, 0.01])[:, None, None, None]
    out = prune(h)
    flat = h.flatten(1)
    q = survival_probability(flat / flat.sum(dim=1, keepdim=True), 100)
    kept = out.flatten(1) != 0
    torch.testing.assert_close(out.flatten(1)[kept], (flat / q)[kept], rtol=1e-5, atol=0)  # float32
    assert 60 < kept.sum() < 300


def test_one_draw_leaves_exactly_one_neuron_and_the_norm_on_it():
    out = prune(MAP.expand(500, 8), 1 / 8)
    assert ((out != 0).sum(dim=1) == 1).all()
    # q = p = |h| / |h|_1, so the survivor carries sign(h) |h|_1: almost nothing of h itself is left.
    torch.testing.assert_close(out.abs().sum(dim=1), MAP.abs().sum().expand(500))


@pytest.mark.parametrize("fraction", [0.5, 1.0, 2.0])
def test_the_mean_and_variance_over_a_hundred_thousand_draws_match_the_closed_forms(fraction):
    n, draws = 100_000, math.floor(8 * fraction)
    out = prune(MAP.expand(n, 8), fraction, name=f"mean {fraction}")
    variance = sap_variance(MAP, draws)[0]
    assert ((out.mean(0) - MAP[0]).abs() <= 5 * (variance / n).sqrt()).all()
    # Two-point law (0 or h/q): the sample variance has standard error h^2 |1-2q| sqrt(q(1-q)/n) / q^2, at
    # leading order; where q is near 1/2 the next order v/n is left, hence the second term.
    q = survival_probability(sap_probabilities(MAP), draws)[0]
    error = torch.where(q > 0, MAP[0] ** 2 * (1 - 2 * q).abs() * (q * (1 - q) / n).sqrt() / q**2, 0) + 10 * variance / n
    assert ((out.var(0) - variance).abs() <= 5 * error).all()


def test_pairs_survive_together_as_multinomial_draws_not_as_independent_coins():
    n = 100_000
    h = torch.ones(1, 10, dtype=torch.float64)
    kept = (prune(h.expand(n, 10), 1.0, name="pairs") != 0).double()
    p = sap_probabilities(h)
    q, joint = float(survival_probability(p, 10)[0, 0]), float(joint_survival(p, 10)[0, 0, 1])
    both = (kept.T @ kept / n)[torch.triu(torch.ones(10, 10), 1).bool()]
    error = math.sqrt(joint * (1 - joint) / n)
    assert (both - joint).abs().max() < 5 * error
    # The same tolerance refuses independent masks: q^2 is more than 9 standard errors away from the formula.
    assert q * q - joint > 9 * error


def test_flat_maps_keep_the_share_one_minus_one_over_e():
    out = prune(torch.ones(200, 4096))
    share = float((out != 0).double().mean())
    expected = float(expected_survivors(torch.ones(1, 4096), 4096)) / 4096
    # Standard deviation of a row's share is sqrt(0.0972 / 4096) = 0.0049 (occupancy), 200 rows.
    assert abs(share - expected) < 5 * 0.0049 / math.sqrt(200)
    assert expected == pytest.approx(1 - math.exp(-1), abs=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_all_zero_rows_stay_zero_forward_and_never_give_nan(rule):
    h = torch.zeros(3, 6)
    h[1] = torch.arange(6.0)
    h.requires_grad_(True)
    out = prune(h, 1.0, rule)
    assert (out[[0, 2]] == 0).all() and out.isfinite().all()
    out.sum().backward()
    assert h.grad.isfinite().all()


@pytest.mark.parametrize("rule", RULES)
def test_a_single_neuron_with_all_the_mass_has_finite_gradients(rule):
    # log1p(-1) is infinite: plain autodiff through q gives NaN here.
    h = torch.zeros(2, 5, dtype=torch.float64)
    h[:, 2] = torch.tensor([4.0, -1e-300], dtype=torch.float64)
    h.requires_grad_(True)
    out = prune(h, 1.0, rule)
    assert torch.equal(out, h)
    (out * torch.arange(5.0)).sum().backward()
    assert torch.equal(h.grad[:, 2], torch.tensor([2.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 5), (2, 3, 4, 4)])
def test_shape_and_dtype_are_kept(shape, dtype):
    h = torch.rand(shape, generator=torch_generator(0, "shape")).to(dtype).requires_grad_(True)
    out = prune(h)
    assert out.shape == h.shape and out.dtype == dtype
    out.sum().backward()
    assert h.grad.shape == h.shape and h.grad.dtype == dtype


def test_many_draws_approach_the_input_and_infinitely_many_give_it_back():
    torch.testing.assert_close(prune(MAP, 1e5), MAP, rtol=1e-6, atol=0)
    assert torch.equal(prune(MAP, math.inf), MAP)


def test_the_same_seed_gives_the_same_mask_under_every_rule():
    h = torch.rand(4, 600, generator=torch_generator(0, "h"))
    first = prune(h)
    for rule in RULES:
        assert torch.equal(first, prune(h, 1.0, rule))
    assert not torch.equal(first, prune(h, name="another stream"))


def test_a_rows_law_does_not_depend_on_its_companions():
    # Kept shares of the same row beside small and beside huge maps: two samples of 20,000.
    n = 20_000
    h = torch.rand(1, 30, generator=torch_generator(0, "h"), dtype=torch.float64)
    q = survival_probability(sap_probabilities(h), 30)[0]
    for scale in (1e-6, 1e6):
        batch = torch.stack([h.expand(n, 30), (torch.rand(n, 30, dtype=torch.float64) * scale)], dim=1).flatten(0, 1)
        kept = (prune(batch, name=f"companions {scale}")[::2] != 0).double().mean(0)
        assert ((kept - q).abs() < 5 * (q * (1 - q) / n).sqrt() + 1e-9).all()


def test_mask_rule_multiplies_with_mask_and_scale():
    h = MAP.clone().requires_grad_(True)
    out = prune(h)
    g = torch.arange(1.0, 9.0, dtype=torch.float64)[None]
    out.backward(g)
    q = survival_probability(sap_probabilities(MAP), 8)
    expected = torch.where(out != 0, g / q, 0)
    assert torch.equal(h.grad, expected)


def test_identity_rule_passes_the_gradient_untouched_also_to_dropped_neurons():
    h = MAP.clone().requires_grad_(True)
    out = prune(h, 0.5, "identity")
    g = torch.randn(1, 8, dtype=torch.float64, generator=torch_generator(0, "g"))
    out.backward(g)
    assert (out == 0).any()
    assert torch.equal(h.grad, g)


@pytest.mark.parametrize("fraction", [0.25, 1.0, 3.0])
def test_pathwise_rule_equals_automatic_differentiation_through_the_scale(fraction):
    h = torch.randn(6, 16, dtype=torch.float64, generator=torch_generator(0, "h"))
    h[:, 3] = 0.0
    g = torch.randn(6, 16, dtype=torch.float64, generator=torch_generator(0, "g"))
    ours = h.clone().requires_grad_(True)
    out = prune(ours, fraction, "pathwise")
    out.backward(g)
    theirs = h.clone().requires_grad_(True)
    p = theirs.abs() / theirs.abs().sum(dim=1, keepdim=True)
    q = 1 - (1 - p) ** math.floor(16 * fraction)
    torch.where(out != 0, theirs / torch.where(out != 0, q, 1), 0).backward(g)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)  # the naive q cancels digits


@pytest.mark.parametrize(("rule", "fraction"), [("mask", 0.5), ("pathwise", 0.5), ("mask", 1.0), ("pathwise", 1.0)])
def test_mean_gradients_are_the_identity_for_mask_and_the_jacobian_for_pathwise(rule, fraction):
    n, draws = 60_000, math.floor(8 * fraction)
    g = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, 0.25, -1.0, 2.0], dtype=torch.float64)
    h = MAP.repeat(n, 1).requires_grad_(True)
    prune(h, fraction, rule, name=f"grad {rule}").backward(g.expand(n, 8))
    mean, error = h.grad.mean(0), h.grad.std(0) / math.sqrt(n)
    alive = MAP[0] != 0  # a zero is never drawn, so its own gradient is 0 under both rules
    to_identity = (mean - g).abs()[alive]
    jacobian = pathwise_jacobian(MAP, draws)[0].T @ g
    to_jacobian = (mean - jacobian).abs()[alive]
    if rule == "mask":
        assert (to_identity <= 5 * error[alive]).all()
        assert (to_jacobian > 8 * error[alive]).sum() >= 4  # the test can tell the two apart
    else:
        assert (to_jacobian <= 5 * error[alive] + 1e-12).all()
        assert (to_identity > 8 * error[alive]).sum() >= 4
    assert mean[3] == 0


@pytest.mark.parametrize(
    ("h", "options", "error", "message"),
    [
        (torch.tensor([[1.0, math.nan]]), {}, ValueError, "NaN or infinite"),
        (torch.tensor([[1.0, -math.inf]]), {}, ValueError, "NaN or infinite"),
        (torch.ones(2, 3), {"fraction": -1.0}, ValueError, "fraction must be in"),
        (torch.ones(2, 3), {"fraction": 0.1}, ValueError, "gives no draw"),
        (torch.ones(2, 3), {"fraction": math.nan}, ValueError, "fraction"),
        (torch.ones(2, 3), {"backward": "straight-through"}, ValueError, "'pathwise', 'mask', 'identity'"),
        (torch.ones(3), {}, ValueError, "batch"),
        (torch.ones(0, 3), {}, ValueError, "non-empty"),
        (torch.ones(2, 3).long(), {}, TypeError, "floating point"),
    ],
)
def test_bad_input_is_refused(h, options, error, message):
    with pytest.raises(error, match=message):
        stochastic_activation_pruning(h, **options)


def test_matched_dropout_keeps_its_share_and_is_unbiased():
    n, keep = 40_000, 0.3
    out = matched_dropout(MAP.expand(n, 8), keep, torch_generator(0, "dropout"))
    kept = (out != 0).double().mean(0)
    alive = MAP[0] != 0
    error = 5 * math.sqrt(keep * (1 - keep) / n)
    assert ((kept - keep).abs() < error)[alive].all()
    assert ((out.mean(0) - MAP[0]).abs() <= MAP[0].abs() * error / keep).all()
    assert torch.equal(matched_dropout(MAP, 1.0), MAP)


def test_dropout_is_matched_to_the_share_of_live_neurons_that_sap_keeps():
    h = torch.randn(5, 300, generator=torch_generator(0, "h")).relu()
    share = kept_share(h, 1.0)
    torch.testing.assert_close(share * (h > 0).sum(dim=1), expected_survivors(h, 300))
    out = matched_dropout(h.repeat(400, 1), share.repeat(400), torch_generator(0, "matched"))
    found = (out != 0).sum(dim=1).double().reshape(400, 5).mean(0)
    assert ((found - expected_survivors(h, 300)).abs() < 5 * math.sqrt(300 / 4 / 400)).all()
    assert float(kept_share(torch.zeros(1, 4), 1.0)) == 1.0


@pytest.mark.parametrize("keep", [0.0, 1.5, -0.1, math.nan, torch.tensor([0.5, 0.5, 0.5])])
def test_dropout_refuses_what_is_no_keep_probability(keep):
    with pytest.raises(ValueError, match="keep must be"):
        matched_dropout(torch.ones(2, 3), keep)
