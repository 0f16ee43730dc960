"""xPos scores against RoPE's terms one by one; random positions against the law of their steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models.random_positions import random_positions
from workings.language_models.rotary import LAYOUTS, apply_rotary, rope_frequencies
from workings.language_models.xpos import apply_xpos, xpos_scales
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=50)
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def normal(*shape, name="x", dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64).to(dtype)


def scores(q, k):
    return torch.einsum("...nd,...md->...nm", q, k)


def terms_by_hand(q, k, positions, theta, gamma, layout):
    """Sum over pairs of RoPE's term times zeta_i^((n - m)/gamma), with complex numbers. q, k (T, d)."""
    d = q.shape[-1]
    if layout == "half":
        zq, zk = (torch.complex(z[:, : d // 2], z[:, d // 2 :]) for z in (q, k))
    else:
        zq, zk = (torch.complex(z[:, 0::2], z[:, 1::2]) for z in (q, k))
    distance = (positions[:, None] - positions[None, :])[..., None]  # n - m
    zeta = (torch.arange(0, d, 2, dtype=torch.float64) + 0.4 * d) / (1.4 * d)
    term = zq[:, None] * zk[None].conj() * torch.exp(1j * distance * theta)
    return (term.real * zeta ** (distance / gamma)).sum(-1)


@both_layouts
def test_xpos_scores_are_the_terms_of_rope_times_a_power_of_the_distance(layout):
    q, k, theta = normal(9, 8, name="q"), normal(9, 8, name="k"), rope_frequencies(8)
    positions = torch.arange(9, dtype=torch.float64) * 3.5
    got = scores(*apply_xpos(q, k, positions, theta, gamma=16.0, layout=layout))
    torch.testing.assert_close(got, terms_by_hand(q, k, positions, theta, 16.0, layout), rtol=1e-11, atol=1e-12)


@both_layouts
def test_xpos_scores_do_not_change_when_all_positions_are_shifted(layout):
    q, k, theta = normal(2, 3, 9, 8, name="q"), normal(2, 3, 9, 8, name="k"), rope_frequencies(8)
    positions = torch.stack((torch.arange(9.0), torch.arange(9.0) * 2))
    at = lambda shift: scores(*apply_xpos(q, k, positions + shift, theta, gamma=64.0, layout=layout))
    torch.testing.assert_close(at(1000), at(0), rtol=0, atol=1e-10)


def test_xpos_damps_the_past_and_the_more_the_farther():
    # Equal q and k of ones, no rotation: the score of distance n - m is the sum of zeta_i^((n-m)/gamma).
    ones = torch.ones(6, 8, dtype=torch.float64)
    got = scores(*apply_xpos(ones, ones, torch.arange(6), torch.zeros(4, dtype=torch.float64), gamma=4.0))
    last = got[-1]
    assert (last[1:] > last[:-1]).all() and last[-1] == pytest.approx(8)
    zeta = [(2 * i + 3.2) / 11.2 for i in range(4)]
    assert last[0] == pytest.approx(2 * sum(z ** (5 / 4) for z in zeta), rel=1e-12)


def test_the_centre_cancels_in_the_scores():
    q, k, theta, positions = normal(5, 8, name="q"), normal(5, 8, name="k"), rope_frequencies(8), torch.arange(5)
    tables = [
        xpos_scales(8, positions, 8.0, dtype=torch.float64, **options)
        for options in ({}, {"centred": False}, {"centre": 100.0})
    ]
    products = [
        scores(apply_rotary(q, positions, theta, scale=t), apply_rotary(k, positions, theta, scale=1 / t))
        for t in tables
    ]
    for other in products[1:]:
        torch.testing.assert_close(other, products[0], rtol=1e-11, atol=1e-11)
    assert (tables[1][0] == 1).all() and not torch.allclose(tables[0], tables[1])


def test_weak_decay_is_rope():
    q, k, theta, positions = normal(9, 8, name="q"), normal(9, 8, name="k"), rope_frequencies(8), torch.arange(9)
    with_xpos = scores(*apply_xpos(q, k, positions, theta, gamma=1e12))
    without = scores(apply_rotary(q, positions, theta), apply_rotary(k, positions, theta))
    torch.testing.assert_close(with_xpos, without, rtol=0, atol=1e-9)


def test_centred_positions_do_not_overflow_where_uncentred_ones_would():
    # zeta_0 = 2/7: at 60000 tokens and gamma 512 the factor is e^-147, which float32 loses and whose inverse
    # overflows; from the middle it is e^-73.
    positions = torch.arange(0, 60_001, 100)
    table = xpos_scales(64, positions)
    assert table.dtype == torch.float32
    assert (table > 0).all() and table.isfinite().all() and (1 / table).isfinite().all()
    x = normal(len(positions), 64, dtype=torch.float32)
    assert all(z.isfinite().all() for z in apply_xpos(x, x, positions, rope_frequencies(64)))
    with pytest.raises(ValueError, match=r"e\^147.*float32 cannot hold; centre"):
        xpos_scales(64, positions, centred=False)
    with pytest.raises(ValueError, match="raise gamma"):
        xpos_scales(64, positions, 128.0)


# --- random positions --------------------------------------------------------------------------


@steady
@given(st.integers(1, 5), st.integers(1, 300), st.floats(0.01, 10), st.integers(0, 10**6))
def test_random_positions_increase_and_end_within_the_length(batch, length, max_step, seed):
    positions = random_positions(batch, length, torch_generator(seed, "steps"), max_step)
    assert positions.shape == (batch, length) and positions.dtype == torch.float64
    assert (positions[:, 0] > 0).all() and (positions.diff(dim=1) > 0).all()
    assert (positions[:, -1] <= length).all()


def test_steps_are_uniform_with_half_the_largest_step_as_their_mean():
    # max_step below 1 never shrinks, so the steps themselves are seen: U(0, 0.9) has mean 0.45 and
    # standard deviation 0.9/sqrt(12); 5 standard errors of 200 000 steps (a false alarm in 2 million seeds).
    positions = random_positions(200, 1000, torch_generator(0, "mean"), 0.9)
    steps = torch.cat((positions[:, :1], positions.diff(dim=1)), dim=1)
    deviation = 0.9 / math.sqrt(12)
    assert abs(float(steps.mean()) - 0.45) < 5 * deviation / math.sqrt(200_000)
    assert float(steps.max()) <= 0.9 * (1 + 1e-9) and float(steps.max()) > 0.899
    assert float(steps.std()) == pytest.approx(deviation, rel=0.01)  # relative error of s: 5/sqrt(2e5) at most


def test_rows_that_run_over_are_shrunk_as_a_whole_and_the_others_are_left():
    # The steps of U(0, 2) have mean 1, so the sum of 400 exceeds 400 with probability 1/2 by symmetry:
    # of 2000 rows 1000, standard deviation 22.4; 5 of them is a false alarm in 2 million seeds.
    positions = random_positions(2000, 400, torch_generator(0, "rows"))
    at_end = positions[:, -1] == 400
    assert abs(int(at_end.sum()) - 1000) < 5 * math.sqrt(500)
    # The same steps with a length that never binds are the rows before shrinking, up to the factor.
    free = random_positions(2000, 400, torch_generator(0, "rows"), 0.5) * 4
    torch.testing.assert_close(positions[~at_end], free[~at_end], rtol=1e-12, atol=0)
    shrunk = free[at_end] / free[at_end][:, -1:] * 400
    torch.testing.assert_close(positions[at_end], shrunk, rtol=1e-12, atol=0)


def test_the_same_generator_state_draws_the_same_positions():
    draw = lambda name: random_positions(2, 5, torch_generator(0, name))
    assert torch.equal(draw("a"), draw("a")) and not torch.equal(draw("a"), draw("b"))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: xpos_scales(7, [0, 1]), ValueError, "must be even"),
        (lambda: xpos_scales(8, [0, 1], 0.0), ValueError, "gamma must be in"),
        (lambda: xpos_scales(8, [0.0, math.nan]), ValueError, "positions contain NaN"),
        (lambda: xpos_scales(8, torch.zeros(1, 1, 1)), ValueError, r"\(T,\) or \(B, T\)"),
        (lambda: xpos_scales(8, [0, 1], centre=math.inf), ValueError, "centre must be in"),
        (lambda: random_positions(0, 5, None), ValueError, "batch must be at least 1"),
        (lambda: random_positions(1, 0, None), ValueError, "length must be at least 1"),
        (lambda: random_positions(1, 2.5, None), TypeError, "length must be an integer"),
        (lambda: random_positions(1, 5, None, 0.0), ValueError, "max_step must be in"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
