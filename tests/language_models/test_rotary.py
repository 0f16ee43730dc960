"""The rotation: complex arithmetic as the oracle, distances alone in the scores, both layouts, any precision."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models import rotary
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import (
    LAYOUTS,
    apply_rotary,
    layout_permutation,
    rope_frequencies,
    rotary_tables,
    rotate,
)
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=50)
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
EXACT = dict(rtol=0, atol=1e-12)  # float64, numbers of order 1, angles below 1e3


def normal(*shape, name="x", dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64).to(dtype)


def by_complex_numbers(x, positions, theta, layout, scale=1.0):
    """The definition, pair by pair: multiply a + ib by scale * exp(i m theta). x (T, d)."""
    out = np.empty(x.shape)
    for t, m in enumerate(positions):
        for i, frequency in enumerate(theta.tolist()):
            first, second = (i, i + len(theta)) if layout == "half" else (2 * i, 2 * i + 1)
            turned = complex(x[t, first], x[t, second]) * cmath.rect(scale, float(m) * frequency)
            out[t, first], out[t, second] = turned.real, turned.imag
    return torch.from_numpy(out)


def pairs(layout, d):
    return [(i, i + d // 2) if layout == "half" else (2 * i, 2 * i + 1) for i in range(d // 2)]


# --- frequencies -------------------------------------------------------------------------------


def test_frequencies_are_powers_of_the_base():
    theta = rope_frequencies(8, base=100.0)
    torch.testing.assert_close(theta, torch.tensor([1.0, 100**-0.25, 0.1, 100**-0.75], dtype=torch.float64), **EXACT)
    assert rope_frequencies(8, dtype=torch.float32).dtype == torch.float32
    assert rope_frequencies(2).tolist() == [1.0]


@pytest.mark.parametrize(("d", "base", "length", "turning"), [(128, 1e4, 2048, 41), (32, 100.0, 64, 9)])
def test_as_many_frequencies_as_the_paper_counts_complete_a_turn_within_the_trained_length(d, base, length, turning):
    # LLaMA: 41 of 64; the small model of the chapter: 9 of 16.
    assert int((rope_frequencies(d, base) * length >= 2 * math.pi).sum()) == turning


# --- the rotation ------------------------------------------------------------------------------


@both_layouts
def test_each_pair_is_multiplied_by_a_complex_number(layout):
    theta = rope_frequencies(8)
    positions = torch.tensor([0.0, 1.0, 2.5, -3.0, 700.25])
    x = normal(5, 8)
    expected = by_complex_numbers(x, positions, theta, layout, scale=1.3)
    torch.testing.assert_close(apply_rotary(x, positions, theta, layout=layout, scale=1.3), expected, **EXACT)


@both_layouts
def test_a_known_quarter_turn(layout):
    # Angle pi/2 takes (a, b) to (-b, a): a sign or a pairing that is wrong cannot hide.
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    theta = torch.tensor([math.pi / 2, math.pi / 2], dtype=torch.float64)
    expected = {"half": [[-3.0, -4.0, 1.0, 2.0]], "interleaved": [[-2.0, 1.0, -4.0, 3.0]]}[layout]
    out = apply_rotary(x, [1], theta, layout=layout)
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float64), **EXACT)


@both_layouts
def test_each_sequence_of_a_batch_has_its_own_positions_and_all_its_heads_share_them(layout):
    theta = rope_frequencies(6)
    x = normal(2, 3, 4, 6)
    positions = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 7.5, 8.0, 20.0]])
    out = apply_rotary(x, positions, theta, layout=layout)
    for b in range(2):
        for h in range(3):
            expected = by_complex_numbers(x[b, h], positions[b], theta, layout)
            torch.testing.assert_close(out[b, h], expected, **EXACT)
    torch.testing.assert_close(apply_rotary(x[:, 0], positions, theta, layout=layout), out[:, 0], **EXACT)
    torch.testing.assert_close(apply_rotary(x, positions[:1], theta, layout=layout)[0], out[0], **EXACT)


@steady
@given(st.integers(1, 6), st.integers(1, 8), st.sampled_from(LAYOUTS), st.floats(-1e4, 1e4))
def test_the_rotation_keeps_the_norm_of_every_pair(length, half, layout, first):
    x = normal(2, length, 2 * half)
    out = apply_rotary(x, first + torch.arange(length, dtype=torch.float64), rope_frequencies(2 * half), layout=layout)
    for a, b in pairs(layout, 2 * half):
        torch.testing.assert_close(out[..., a] ** 2 + out[..., b] ** 2, x[..., a] ** 2 + x[..., b] ** 2, **EXACT)


@steady
@given(st.floats(-300, 300), st.floats(-300, 300), st.sampled_from(LAYOUTS))
def test_two_rotations_in_a_row_are_one_by_the_sum(m, n, layout):
    x, theta = normal(1, 8), rope_frequencies(8)
    twice = apply_rotary(apply_rotary(x, [m], theta, layout=layout), [n], theta, layout=layout)
    torch.testing.assert_close(twice, apply_rotary(x, [m + n], theta, layout=layout), **EXACT)


SCALINGS = [
    ("default", {}),
    ("linear", {}),
    ("power", {}),
    ("truncated", {}),
    ("ntk", {}),
    ("dynamic_ntk", {"seq_len": 256}),
    ("ntk_by_parts", {}),
    ("yarn", {}),
    ("llama3", {}),
    ("longrope", {"short_factor": [1.5] * 8, "seq_len": 32}),
    ("proportional", {"fraction": 0.5}),
]


@both_layouts
@pytest.mark.parametrize(("kind", "options"), SCALINGS)
def test_scores_depend_on_the_distance_only_after_any_scaling(layout, kind, options):
    q, k = normal(2, 12, 16, name="q"), normal(2, 12, 16, name="k")
    positions = torch.arange(12)
    theta, factor = scale_frequencies(rope_frequencies(16), kind, factor=4.0, orig_len=64, **options)

    def scores(shift):
        turned = (apply_rotary(z, positions + shift, theta, layout=layout, scale=factor) for z in (q, k))
        return torch.einsum("bnd,bmd->bnm", *turned)

    # float64 angles up to 1e3 err by 1e-13, sixteen products of order 1 by a little more
    torch.testing.assert_close(scores(1000), scores(0), rtol=0, atol=1e-10)
    if kind not in ("truncated", "proportional"):  # theirs may hold, since frozen frequencies see no position
        assert (scores(0) - torch.einsum("bnd,bmd->bnm", q, k) * factor**2).abs().max() > 0.1


def test_a_scale_on_queries_and_keys_enters_the_scores_squared():
    q, k, positions, theta = normal(6, 8, name="q"), normal(6, 8, name="k"), torch.arange(6), rope_frequencies(8)
    factor = 0.1 * math.log(16) + 1
    plain = apply_rotary(q, positions, theta) @ apply_rotary(k, positions, theta).T
    tempered = apply_rotary(q, positions, theta, scale=factor) @ apply_rotary(k, positions, theta, scale=factor).T
    torch.testing.assert_close(tempered, factor**2 * plain, **EXACT)


# --- layouts -----------------------------------------------------------------------------------


def test_the_layouts_agree_after_the_permutation_of_queries_and_keys_and_not_of_one_of_them():
    d, positions = 16, torch.arange(9) * 1.5
    theta, index = rope_frequencies(d), layout_permutation(d)
    assert index[0::2].tolist() == list(range(8)) and index[1::2].tolist() == list(range(8, 16))
    q, k = normal(9, d, name="q"), normal(9, d, name="k")
    half = [apply_rotary(z, positions, theta) for z in (q, k)]
    interleaved = [apply_rotary(z[:, index], positions, theta, layout="interleaved") for z in (q, k)]
    for one, other in zip(half, interleaved, strict=True):
        torch.testing.assert_close(one[:, index], other, **EXACT)
        torch.testing.assert_close(one, other[:, torch.argsort(index)], **EXACT)
    torch.testing.assert_close(half[0] @ half[1].T, interleaved[0] @ interleaved[1].T, **EXACT)
    assert (half[0] @ half[1].T - interleaved[0] @ half[1].T).abs().max() > 0.1


def test_the_other_layout_on_the_same_weights_gives_other_scores():
    q, k, positions, theta = normal(9, 16, name="q"), normal(9, 16, name="k"), torch.arange(9), rope_frequencies(16)
    scores = [
        apply_rotary(q, positions, theta, layout=layout) @ apply_rotary(k, positions, theta, layout=layout).T
        for layout in LAYOUTS
    ]
    assert (scores[0] - scores[1]).abs().max() > 0.1


# --- gradients ---------------------------------------------------------------------------------


@both_layouts
def test_first_and_second_derivatives_are_those_of_finite_differences(layout):
    x = normal(2, 1, 3, 4).requires_grad_()
    turn = lambda z: apply_rotary(z, [0.0, 1.0, 2.5], rope_frequencies(4), layout=layout, scale=1.3)
    assert torch.autograd.gradcheck(turn, x)
    assert torch.autograd.gradgradcheck(lambda z: turn(z) ** 2, x)


@both_layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_the_opposite_rotation(layout, dtype):
    x = normal(2, 3, 5, 8, dtype=dtype).requires_grad_()
    g = normal(2, 3, 5, 8, name="g", dtype=dtype)
    theta, positions = rope_frequencies(8), torch.arange(5)
    (got,) = torch.autograd.grad(apply_rotary(x, positions, theta, layout=layout, scale=1.2), x, g)
    assert got.dtype == dtype
    expected = apply_rotary(g.double(), -positions, theta, layout=layout, scale=1.2)
    # one rounding of numbers below 8: half a unit in the last place
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_learned_frequencies_get_their_gradient():
    theta = rope_frequencies(4).requires_grad_()
    for layout in LAYOUTS:
        turn = lambda t, layout=layout: apply_rotary(normal(2, 3, 4), [0.0, 1.0, 2.5], t, layout=layout)
        assert torch.autograd.gradcheck(turn, theta)
        torch.testing.assert_close(turn(theta).detach(), turn(theta.detach()), **EXACT)
    assert rotary_tables([30.0], theta)[0].requires_grad  # also through the float32 tables


# --- memory layout and precision ------------------------------------------------------------------


@both_layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_blocks_of_any_size_and_any_strides_give_the_same_numbers(layout, dtype, monkeypatch):
    theta, positions = rope_frequencies(8), torch.arange(7)
    x = normal(2, 3, 7, 8, dtype=dtype)
    expected = apply_rotary(x, positions, theta, layout=layout)
    before = x.clone()
    # None of these three slices can be read as complex numbers in place.
    odd_stride, odd_offset, spread = (torch.zeros(2, 3, 7, n, dtype=dtype) for n in (27, 28, 16))
    odd_stride[..., 2:10] = x
    odd_offset[..., 1:9] = x
    spread[..., ::2] = x
    views = {
        "heads after time": x.transpose(1, 2).contiguous().transpose(1, 2),
        "last dimension not the inner one": x.transpose(2, 3).contiguous().transpose(2, 3),
        "odd stride": odd_stride[..., 2:10],
        "odd offset": odd_offset[..., 1:9],
        "every other number": spread[..., ::2],
        "repeated": x[:1].expand(2, 3, 7, 8),
    }
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for block in (1, 100, 1 << 20):
            monkeypatch.setattr(rotary, "_BLOCK", block)
            for name, view in views.items():
                wanted = expected if name != "repeated" else expected[:1].expand(2, 3, 7, 8)
                got = apply_rotary(view, positions, theta, layout=layout)
                # products may be fused or not: one unit in the last place of numbers below 4
                torch.testing.assert_close(got, wanted, rtol=0, atol=2 * torch.finfo(dtype).eps, msg=f"{name}, {block}")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(x, before)


@both_layouts
def test_an_empty_sequence_stays_empty(layout):
    assert apply_rotary(torch.zeros(2, 3, 0, 8), torch.arange(0), rope_frequencies(8), layout=layout).shape == (
        2,
        3,
        0,
        8,
    )


@both_layouts
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_states_are_turned_exactly_beyond_position_2048(layout, dtype):
    # float16 has no 2049 and bfloat16 no 257: positions or angles in the states' dtype would be off by radians.
    positions = torch.tensor([0, 257, 2049, 4097, 100_003])
    theta = rope_frequencies(16)
    x = normal(3, 5, 16, dtype=dtype)
    got = apply_rotary(x, positions, theta, layout=layout)
    assert got.dtype == dtype
    expected = apply_rotary(x.double(), positions, theta, layout=layout)
    # float32 arithmetic (1e-6 for numbers below 4), then one rounding, at most eps/2 relative; tables
    # in the states' own dtype would cost about as much again
    torch.testing.assert_close(got.double(), expected, rtol=torch.finfo(dtype).eps / 2, atol=2e-6)


def test_float32_tables_are_right_to_their_last_digit_at_a_million_tokens():
    positions = torch.tensor([1_000_003, 4095, 2_000_000])
    theta = rope_frequencies(64)
    exact = [[math.cos(m * t) for t in theta.tolist()] for m in positions.tolist()]
    cos, sin = rotary_tables(positions, theta)
    assert cos.dtype == sin.dtype == torch.float32
    # an angle below pi rounded to float32 errs by 1.2e-7, its cosine by another 6e-8; an angle of a
    # million formed in float32 would err by 0.03
    torch.testing.assert_close(cos.double(), torch.tensor(exact, dtype=torch.float64), rtol=0, atol=2.5e-7)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones(3, 32), rtol=0, atol=5e-7)


def test_tables_and_states_of_mixed_precision_keep_the_states_dtype():
    cos, sin = rotary_tables(torch.arange(4), rope_frequencies(8), dtype=torch.float64)
    assert rotate(normal(4, 8, dtype=torch.float32), cos, sin).dtype == torch.float32
    half = [table.to(torch.bfloat16) for table in (cos, sin)]
    assert rotate(normal(4, 8), *half).dtype == torch.float64


def test_positions_in_a_list_or_a_numpy_array_keep_their_precision():
    theta = rope_frequencies(4)
    expected = rotary_tables(torch.tensor([123_456.789], dtype=torch.float64), theta)[1]
    for given_as in ([123_456.789], np.array([123_456.789])):
        assert torch.equal(rotary_tables(given_as, theta)[1], expected)


def test_a_scale_table_multiplies_every_angle_by_its_own_number():
    theta, positions = rope_frequencies(8), torch.arange(3)
    scale = 1 + torch.rand(3, 4, generator=torch_generator(0, "scale"), dtype=torch.float64)
    x = normal(3, 8)
    plain = apply_rotary(x, positions, theta)
    torch.testing.assert_close(
        apply_rotary(x, positions, theta, scale=scale), plain * torch.cat((scale, scale), dim=1), **EXACT
    )


# --- bad input ------------------------------------------------------------------------------------

THETA, X = rope_frequencies(8), torch.zeros(2, 3, 8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rope_frequencies(7), ValueError, "must be even.*got 7"),
        (lambda: rope_frequencies(0), ValueError, "at least 2"),
        (lambda: rope_frequencies(8.0), TypeError, "integer"),
        (lambda: rope_frequencies(8, base=1.0), ValueError, "base must be in"),
        (lambda: layout_permutation(5), ValueError, "must be even"),
        (lambda: apply_rotary(torch.zeros(3, 7), [0, 1, 2], THETA), ValueError, "head size.*must be even"),
        (lambda: apply_rotary(torch.zeros(8), [0], THETA), ValueError, r"\(\.\.\., T, d\)"),
        (lambda: apply_rotary(X.long(), [0, 1, 2], THETA), ValueError, "must be real"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA[:3]), ValueError, r"theta must have shape \(4,\)"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA[:, None]), ValueError, r"theta must have shape \(4,\)"),
        (lambda: apply_rotary(X, [0, 1, 2], -THETA), ValueError, "negative or non-finite frequency"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA * math.nan), ValueError, "negative or non-finite frequency"),
        (lambda: apply_rotary(X, [0, 1], THETA), ValueError, "check the number of positions"),
        (lambda: apply_rotary(X, 5, THETA), ValueError, r"shape \(T,\) or \(B, T\)"),
        (lambda: apply_rotary(X, torch.zeros(1, 2, 3), THETA), ValueError, r"shape \(T,\) or \(B, T\)"),
        (lambda: apply_rotary(X, torch.zeros(4, 3), THETA), ValueError, "positions of 4 sequences"),
        (lambda: apply_rotary(X[0], torch.zeros(2, 3), THETA), ValueError, "positions of 2 sequences"),
        (lambda: apply_rotary(X[:1], torch.zeros(2, 3), THETA), ValueError, "positions of 2 sequences"),
        (lambda: apply_rotary(X, [0.0, math.nan, 1.0], THETA), ValueError, "positions contain NaN"),
        (lambda: apply_rotary(X, [0.0, math.inf, 1.0], THETA), ValueError, "positions contain NaN or an infinite"),
        (lambda: apply_rotary(X, torch.zeros(3).half(), THETA), TypeError, "beyond 2048"),
        (lambda: apply_rotary(X, torch.zeros(3).bfloat16(), THETA), TypeError, "beyond 256"),
        (lambda: apply_rotary(X, np.zeros(3, dtype=np.float16), THETA), TypeError, "beyond 2048"),
        (lambda: apply_rotary(X, torch.ones(3).bool(), THETA), TypeError, "whole or real"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA, layout="split"), ValueError, "'half', 'interleaved'"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA, scale=0.0), ValueError, "scale must be in"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA, scale=torch.ones(5, 4)), ValueError, "scale table must fit"),
        (lambda: apply_rotary(X, [0, 1, 2], THETA, scale=torch.ones(3, 4) / 0), ValueError, "scale table contains"),
        (lambda: rotary_tables([0, 1], torch.ones(2, 4)), ValueError, r"\(d/2,\)"),
        (lambda: rotary_tables([0, 1], torch.ones(0)), ValueError, r"\(d/2,\)"),
        (lambda: rotary_tables([0, 1], torch.ones(4).long()), ValueError, "must be real"),
        (lambda: rotate(X, *rotary_tables([0, 1, 2], THETA[:2])), ValueError, "of frequencies"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
