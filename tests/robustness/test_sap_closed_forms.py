"""The closed forms against full enumeration of all ordered draws, and their limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.robustness.closed_forms import (
    expected_survivors,
    joint_survival,
    number_of_draws,
    pathwise_jacobian,
    sap_probabilities,
    sap_variance,
    single_draw_share,
    survival_and_single_draw,
    survival_probability,
)
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None)
MAP = torch.tensor([[0.6, -0.25, 0.1, 0.0, 0.05]], dtype=torch.float64) * 3
ROWS = st.lists(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4), min_size=1, max_size=3)


def every_sequence(p: torch.Tensor, draws: int):
    """All ordered draws with their probability and the drawn set (a,) bool: the definition itself."""
    a = p.shape[0]
    for sequence in itertools.product(range(a), repeat=draws):
        drawn = torch.zeros(a, dtype=torch.bool)
        drawn[list(sequence)] = True
        yield math.prod(float(p[j]) for j in sequence), drawn


@steady
@given(ROWS)
def test_probabilities_sum_to_one_or_to_zero_for_an_all_zero_row(rows):
    h = torch.tensor(rows, dtype=torch.float32)
    p = sap_probabilities(h)
    expected = (h != 0).any(dim=1).float()
    torch.testing.assert_close(p.sum(dim=1), expected, rtol=0, atol=1e-6)  # a few float32 roundings
    assert (p >= 0).all() and not p.isnan().any()


@steady
@given(ROWS, st.sampled_from([2.0**-30, 0.5, -1.0, -8.0, 2.0**20]), st.permutations(range(4)))
def test_probabilities_ignore_scale_and_sign_and_follow_permutations(rows, scale, order):
    h = torch.tensor(rows, dtype=torch.float64)
    p = sap_probabilities(h)
    assert torch.equal(p, sap_probabilities(h * scale))  # powers of two: no rounding
    torch.testing.assert_close(p[:, order], sap_probabilities(h[:, order]), rtol=1e-14, atol=0)


def test_the_whole_map_of_an_example_is_one_distribution():
    # Per-channel or per-batch normalisation are the classical mistakes.
    h = torch.rand(3, 4, 5, 6, generator=torch_generator(0, "map"))
    p = sap_probabilities(h)
    assert p.shape == (3, 120)
    torch.testing.assert_close(p, h.flatten(1) / h.sum(dim=(1, 2, 3))[:, None])
    assert torch.equal(p[1:2], sap_probabilities(h[1:2]))


@pytest.mark.parametrize("size", [3e38, 1e-44])
def test_probabilities_survive_huge_and_tiny_float32_activations(size):
    torch.testing.assert_close(sap_probabilities(torch.full((2, 4), size)), torch.full((2, 4), 0.25))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_activations_are_refused(bad):
    h = torch.ones(2, 3)
    h[1, 1] = bad
    for kernel in (sap_probabilities, lambda x: expected_survivors(x, 3), lambda x: sap_variance(x, 3)):
        with pytest.raises(ValueError, match="NaN or infinite"):
            kernel(h)


@pytest.mark.parametrize(
    ("h", "error"),
    [
        (torch.ones(3), ValueError),
        (torch.ones(0, 3), ValueError),
        (torch.ones(2, 3).long(), TypeError),
        ([1.0], TypeError),
    ],
)
def test_what_is_no_batch_of_activations_is_refused(h, error):
    with pytest.raises(error, match="h must be"):
        sap_probabilities(h)


def test_survival_at_its_ends():
    p = torch.tensor([0.0, 0.3, 1.0])
    assert torch.equal(survival_probability(p, 0), torch.zeros(3))
    torch.testing.assert_close(survival_probability(p, 1), p)
    assert survival_probability(p, 9)[0] == 0 and survival_probability(p, 9)[2] == 1
    assert torch.equal(survival_probability(p, math.inf), torch.tensor([0.0, 1.0, 1.0]))


def test_survival_is_accurate_for_tiny_probabilities_in_float32():
    p = torch.tensor(1e-9)
    assert float(1 - (1 - p) ** 10_000) == 0.0  # the naive formula
    assert float(survival_probability(p, 10_000)) == pytest.approx(9.99995e-6, rel=1e-6)


@steady
@given(st.floats(0, 1), st.integers(0, 500), st.integers(1, 500))
def test_survival_grows_with_draws_and_stays_a_probability(p, r, more):
    q = survival_probability(torch.tensor([p], dtype=torch.float64), r)
    bigger = survival_probability(torch.tensor([p], dtype=torch.float64), r + more)
    assert 0 <= q <= bigger + 1e-15 and bigger <= 1
    assert float(q) == pytest.approx(1 - (1 - p) ** r, abs=1e-12)


@pytest.mark.parametrize(("p", "r"), [(-0.1, 3), (1.1, 3), (math.nan, 3), (0.5, -1)])
def test_survival_refuses_what_is_no_probability_and_negative_draws(p, r):
    with pytest.raises(ValueError, match="must be"):
        survival_probability(torch.tensor([p]), r)


def test_the_values_of_the_erratum_sheets_example():
    # p = (.6, .2, .1, 0, .1), five draws: worked by hand as 1 - .4^5, 1 - .8^5, 1 - .9^5.
    q = survival_probability(torch.tensor([0.6, 0.2, 0.1, 0.0, 0.1]), 5)
    torch.testing.assert_close(q, torch.tensor([0.98976, 0.67232, 0.40951, 0.0, 0.40951]), rtol=0, atol=5e-6)


@pytest.mark.parametrize("draws", [1, 2, 4])
def test_every_closed_form_equals_enumeration(draws):
    # float64 sums of at most 625 terms: agreement to 1e-12.
    p, h = sap_probabilities(MAP)[0], MAP[0]
    q = survival_probability(p, draws)
    scale = torch.where(q > 0, 1 / q, 0)
    single = torch.zeros(5, dtype=torch.float64)
    pair = torch.zeros(5, 5, dtype=torch.float64)
    mean, square = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    once = torch.zeros(5, dtype=torch.float64)
    for weight, drawn in every_sequence(p, draws):
        output = h * drawn * scale
        single += weight * drawn.double()
        pair += weight * torch.outer(drawn.double(), drawn.double())
        mean += weight * output
        square += weight * output**2
    for sequence in itertools.product(range(5), repeat=draws):
        counts = torch.bincount(torch.tensor(sequence), minlength=5)
        once += math.prod(float(p[j]) for j in sequence) * (counts == 1).double()
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(q, single, **close)
    torch.testing.assert_close(joint_survival(p[None], draws)[0], pair, **close)
    torch.testing.assert_close(mean, h, **close)  # unbiased
    torch.testing.assert_close(sap_variance(MAP, draws)[0], square - mean**2, **close)
    torch.testing.assert_close(expected_survivors(MAP, draws)[0], single.sum(), **close)
    torch.testing.assert_close((single_draw_share(p, draws) * q), once, **close)


@pytest.mark.parametrize("draws", [1, 2, 4])
def test_the_pathwise_jacobian_equals_the_enumerated_mean_of_autodiff(draws):
    def output(h, drawn):
        p = h.abs() / h.abs().sum()
        return torch.where(drawn, h / torch.where(drawn, 1 - (1 - p) ** draws, 1), 0)

    p, h = sap_probabilities(MAP)[0], MAP[0]
    mean = torch.zeros(5, 5, dtype=torch.float64)
    for weight, drawn in every_sequence(p, draws):
        if weight > 0:
            mean += weight * torch.autograd.functional.jacobian(lambda x, d=drawn: output(x, d), h)
    torch.testing.assert_close(pathwise_jacobian(MAP, draws)[0], mean, rtol=0, atol=1e-12)


@steady
@given(ROWS, st.integers(1, 50))
def test_eulers_identity_holds_and_the_jacobian_is_not_the_identity(rows, draws):
    h = torch.tensor(rows, dtype=torch.float64)
    jacobian = pathwise_jacobian(h, draws)
    # Relative to the largest activation: a sum of four float64 terms.
    scale = float(h.abs().max()) + 1e-300
    torch.testing.assert_close((jacobian @ h[..., None])[..., 0], h, rtol=0, atol=1e-12 * scale)


def test_the_true_derivative_of_the_mean_output_is_the_identity_and_autodiff_misses_it():
    # Differentiating the enumerated expectation, probabilities included, gives 1; the pathwise rule does not.
    draws = 3

    def expectation(h):
        p = h.abs() / h.abs().sum()
        total = torch.zeros_like(h)
        for sequence in itertools.product(range(3), repeat=draws):
            drawn = torch.zeros(3, dtype=torch.bool)
            drawn[list(sequence)] = True
            total = total + p[list(sequence)].prod() * torch.where(drawn, h / (1 - (1 - p) ** draws), 0)
        return total

    h = torch.tensor([0.5, -1.5, 0.25], dtype=torch.float64)
    true = torch.autograd.functional.jacobian(expectation, h)
    torch.testing.assert_close(true, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (pathwise_jacobian(h[None], draws)[0] - true).abs().max() > 0.1


@pytest.mark.parametrize(("rp", "left"), [(0.1, 0.049), (1.0, 0.418), (2.0, 0.687), (5.0, 0.966)])
def test_the_gradient_left_by_autodiff_has_the_sheets_values(rp, left):
    r = 10**7
    share = single_draw_share(torch.tensor([rp / r], dtype=torch.float64), r)
    assert 1 - float(share) == pytest.approx(left, abs=5e-4)


@pytest.mark.parametrize("r", [1, 2, 7, 1000, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_closed_forms_at_once_are_those_of_the_two_functions(r, dtype):
    p = torch.tensor([[0.0, 1e-9, 0.1, 0.9, 1.0]], dtype=dtype)
    q, w = survival_and_single_draw(p, r)
    assert torch.equal(q, survival_probability(p, r)) and torch.equal(w, single_draw_share(p, r))
    with pytest.raises(ValueError, match="at least 1"):
        survival_and_single_draw(p, 0)


def test_the_single_draw_share_at_its_limits():
    assert torch.equal(single_draw_share(torch.tensor([0.0, 1.0]), 5), torch.tensor([1.0, 0.0]))
    assert torch.equal(single_draw_share(torch.tensor([0.0, 0.4, 1.0]), 1), torch.ones(3))
    assert torch.equal(single_draw_share(torch.tensor([0.0, 0.4]), math.inf), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("fraction", [0.25, 1.0, 4.0])
def test_flat_maps_keep_one_minus_exp_minus_f_and_peaked_maps_keep_less(fraction):
    a = 4096
    flat = torch.full((1, a), 2.0, dtype=torch.float64)
    peaked = torch.rand(1, a, generator=torch_generator(0, "peaked"), dtype=torch.float64) ** 6
    r = number_of_draws(fraction, a)
    share = float(expected_survivors(flat, r)) / a
    assert share == pytest.approx(1 - math.exp(-fraction), abs=1 / a)  # (1 - 1/a)^(fa) against exp(-f)
    assert float(expected_survivors(peaked, r)) / a < share - 0.05
    assert float(expected_survivors(flat, r)) <= min(r, a)


def test_joint_survival_is_below_independence_and_its_diagonal_is_q():
    p = sap_probabilities(torch.rand(2, 30, generator=torch_generator(0, "joint"), dtype=torch.float64))
    q, joint = survival_probability(p, 20), joint_survival(p, 20)
    assert torch.equal(joint.diagonal(dim1=1, dim2=2), q)
    off = ~torch.eye(30, dtype=torch.bool)
    assert (joint < q[:, :, None] * q[:, None, :])[:, off].all()
    assert torch.equal(joint, joint.transpose(1, 2))
    one = joint_survival(torch.tensor([[0.5, 0.5]]), 1)  # one draw cannot hit two neurons
    assert torch.equal(one, torch.tensor([[[0.5, 0.0], [0.0, 0.5]]]))


def test_variance_vanishes_with_many_draws_and_for_zeros():
    assert float(sap_variance(MAP, 10**6).max()) == pytest.approx(0.0, abs=1e-12)
    assert sap_variance(MAP, 3)[0, 3] == 0
    assert torch.equal(sap_variance(torch.zeros(2, 3), 3), torch.zeros(2, 3))
    assert sap_variance(torch.ones(2, 3, 4), 3).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("fraction", "size", "draws"), [(1.0, 7, 7), (0.5, 7, 3), (0.29, 100, 29), (1.1, 10, 11), (2.0, 3, 6), (0.1, 64, 6)]
)
def test_the_number_of_draws_is_the_floor_of_the_true_product(fraction, size, draws):
    assert number_of_draws(fraction, size) == draws  # 0.29 * 100 is 28.999999999999996 in float64


@pytest.mark.parametrize("fraction", [-0.5, math.nan, 0.0, 0.01, -math.inf])
def test_a_fraction_that_gives_no_draw_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction"):
        number_of_draws(fraction, 64)
    assert number_of_draws(math.inf, 64) == math.inf


def test_probabilities_that_are_being_differentiated_give_no_warning(recwarn):
    p = torch.tensor([0.1, 0.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(survival_probability(p, 3).sum(), p)
    assert torch.allclose(slope, 3 * (1 - p.detach()) ** 2) and not list(recwarn)
