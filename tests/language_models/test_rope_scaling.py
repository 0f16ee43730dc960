"""The kinds of scaling: closed forms written out in plain Python, limits, order and bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models.rope_scaling import KINDS, scale_frequencies
from workings.language_models.rotary import apply_rotary, rope_frequencies
from workings.language_models.truncated_basis import scale_power_truncate, truncate_frequencies
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=60)
LLAMA = rope_frequencies(128)  # trained on 2048 tokens
L = 2048
CLOSE = dict(rtol=1e-12, atol=0)  # float64: a few roundings
OPTIONS = {  # those that make factor = 1 the identity
    "power": {"exponent": 0.0},
    "truncated": {"turn_len": 1e9},
    "longrope": {"short_factor": [1.0] * 64, "long_factor": [1.0] * 64},
}


def scaled(kind, factor=4.0, theta=LLAMA, **options):
    return scale_frequencies(theta, kind, factor=factor, orig_len=L, **options)


def plain(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seq_len", [None, 10, L])
def test_a_factor_of_one_changes_nothing(kind, seq_len):
    theta, attention_factor = scaled(kind, 1.0, seq_len=seq_len, **OPTIONS.get(kind, {}))
    torch.testing.assert_close(theta, LLAMA, **CLOSE)
    assert attention_factor == 1.0
    index = scaled("yarn", 1.0, ramp="index")
    torch.testing.assert_close(index.theta, LLAMA, **CLOSE)
    assert index.attention_factor == 1.0


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("yarn", "longrope")])
def test_only_yarn_and_longrope_change_the_size_of_the_scores(kind):
    assert scaled(kind, 16.0, seq_len=9000).attention_factor == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_frequencies_keep_their_dtype_and_their_number(kind):
    options = OPTIONS["longrope"] if kind == "longrope" else {}
    theta = scale_frequencies(LLAMA.float(), kind, factor=2.0, orig_len=L, **options).theta
    assert theta.dtype == torch.float32 and theta.shape == (64,)


@steady
@given(
    st.sampled_from(["linear", "ntk", "dynamic_ntk", "ntk_by_parts", "yarn", "llama3"]),
    st.floats(1, 64),
    st.integers(2, 64),
    st.floats(2, 1e6),
)
def test_these_kinds_lie_between_no_change_and_the_linear_one_and_keep_the_order(kind, factor, half, base):
    theta = rope_frequencies(2 * half, base)
    if kind == "dynamic_ntk":  # alpha 1 at the length factor * L
        new = scale_frequencies(theta, kind, orig_len=L, seq_len=factor * L).theta
    else:
        new = scale_frequencies(theta, kind, factor=factor, orig_len=L).theta
    slack = 1 + 1e-12
    assert (new <= theta * slack).all() and (new * slack >= theta / factor).all()
    assert (new[1:] <= new[:-1] * slack).all()


def test_linear_scaling_divides_the_positions():
    x = torch.randn(2, 40, 128, generator=torch_generator(0, "x"), dtype=torch.float64)
    positions = torch.arange(40)
    interpolated = apply_rotary(x, positions, scaled("linear", 4.0).theta)
    torch.testing.assert_close(interpolated, apply_rotary(x, positions / 4, LLAMA), rtol=0, atol=1e-12)
    assert scaled("linear", 4.0).theta[0] == 0.25


def test_the_power_basis_keeps_the_fastest_frequency_and_shrinks_the_slow_ones_most():
    by_hand = [10000 ** (-2 * i / 128) * (1 - 2 * i / 128) ** 0.5 for i in range(64)]
    torch.testing.assert_close(scaled("power", 1.0).theta, plain(by_hand), **CLOSE)
    weak, strong = (scaled("power", 1.0, exponent=k).theta for k in (0.25, 2.0))
    assert weak[0] == strong[0] == 1.0
    assert (strong[1:] < weak[1:]).all()
    assert ((weak / LLAMA)[1:] < (weak / LLAMA)[:-1]).all()
    torch.testing.assert_close(scaled("power", 4.0).theta, plain(by_hand) / 4, **CLOSE)


def test_the_truncated_basis_keeps_freezes_and_zeroes():
    new = scaled("truncated", 1.0).theta
    at = 2 * math.pi / 2048
    by_hand = [t if t >= at else (at / 16 if t >= at / 8 else 0.0) for t in LLAMA.tolist()]
    torch.testing.assert_close(new, plain(by_hand), **CLOSE)
    kept, level, zero = (int(n.sum()) for n in (new == LLAMA, (new != LLAMA) & (new > 0), new == 0))
    assert kept == 41 and level > 0 and zero > 0 and kept + level + zero == 64
    # a shorter turn_len cuts more; explicit cut-offs are taken as they are
    turning = LLAMA.ge(2 * math.pi / 64)
    assert torch.equal(scaled("truncated", 1.0, turn_len=64).theta == LLAMA, turning)
    explicit = scaled("truncated", 1.0, cut_at=0.1, low=0.01, level=0.05).theta
    by_hand = [t if t >= 0.1 else (0.05 if t >= 0.01 else 0.0) for t in LLAMA.tolist()]
    torch.testing.assert_close(explicit, plain(by_hand), **CLOSE)


def test_a_second_truncation_zeroes_the_level_and_only_the_hard_cut_is_idempotent():
    once = scaled("truncated", 1.0).theta
    twice = scaled("truncated", 1.0, theta=once).theta
    level = (once > 0) & (once < 2 * math.pi / L)
    assert level.any() and (twice[level] == 0).all() and torch.equal(twice[~level], once[~level])
    hard = scaled("truncated", 1.0, hard=True).theta
    assert torch.equal(scaled("truncated", 1.0, theta=hard, hard=True).theta, hard)
    assert torch.equal(hard, scaled("proportional", 1.0, fraction=41 / 64).theta)


def test_scale_comes_before_power_and_power_before_the_cut():
    factor, k, turn_len = 4.0, 0.5, 2048
    at, by_hand = 2 * math.pi / turn_len, []
    for i, t in enumerate(LLAMA.tolist()):
        t = t / factor * (1 - i / 64) ** k
        by_hand.append(t if t >= at else (at / 16 if t >= at / 8 else 0.0))
    torch.testing.assert_close(
        scale_power_truncate(LLAMA, factor=factor, exponent=k, turn_len=turn_len), plain(by_hand), **CLOSE
    )
    # the same order in the kind, and the other order is visibly another basis
    assert torch.equal(scaled("truncated", 4.0).theta, scale_power_truncate(LLAMA, factor=4.0, turn_len=L))
    kept = int((scaled("truncated", 4.0).theta >= at).sum())
    assert kept == sum(t / 4 >= at for t in LLAMA.tolist()) < 41
    assert torch.equal(scale_power_truncate(LLAMA, factor=4.0), scaled("linear", 4.0).theta)
    assert torch.equal(scale_power_truncate(LLAMA, exponent=0.5), scaled("power", 1.0).theta)
    assert torch.equal(
        scale_power_truncate(LLAMA, turn_len=L, hard=True),
        truncate_frequencies(LLAMA, 2 * math.pi / L, low=2 * math.pi / L, level=0.0),
    )


@steady
@given(st.floats(1, 64), st.integers(2, 64), st.floats(2, 1e6))
def test_ntk_is_a_larger_base_with_both_ends_where_they_should_be(factor, half, base):
    d = 2 * half
    theta = rope_frequencies(d, base)
    new = scale_frequencies(theta, "ntk", factor=factor).theta
    assert new[0] == theta[0]
    torch.testing.assert_close(new[-1], theta[-1] / factor, **CLOSE)
    torch.testing.assert_close(new, rope_frequencies(d, base * factor ** (d / (d - 2))), rtol=1e-11, atol=0)


def test_dynamic_ntk_follows_the_current_length():
    for short in (None, 1, 2048):
        torch.testing.assert_close(scaled("dynamic_ntk", 8.0, seq_len=short).theta, LLAMA, **CLOSE)
    torch.testing.assert_close(
        scaled("dynamic_ntk", 1.0, seq_len=5 * L).theta, scaled("ntk", 5.0).theta, **CLOSE
    )  # alpha = 1: NTK at l/L
    torch.testing.assert_close(
        scaled("dynamic_ntk", 3.0, seq_len=2 * L).theta, scaled("ntk", 3 * 2 - 2).theta, **CLOSE
    )  # alpha l/L - (alpha - 1) = 4
    assert torch.equal(
        scaled("dynamic_ntk", 1.0, seq_len=4096, alpha=3.0).theta, scaled("dynamic_ntk", 3.0, seq_len=4096).theta
    )


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 32.0), (1.0, 4.0), (2.0, 10.0)])
def test_by_parts_is_linear_below_alpha_turns_unchanged_above_beta_and_a_ramp_between(alpha, beta):
    by_hand = []
    for t in LLAMA.tolist():
        r = L * t / (2 * math.pi)
        keep = 0.0 if r < alpha else 1.0 if r > beta else (r - alpha) / (beta - alpha)
        by_hand.append((1 - keep) * t / 4 + keep * t)
    new = scaled("ntk_by_parts", 4.0, alpha=alpha, beta=beta).theta
    torch.testing.assert_close(new, plain(by_hand), **CLOSE)
    turns = L * LLAMA / (2 * math.pi)
    torch.testing.assert_close(new[turns < alpha], LLAMA[turns < alpha] / 4, **CLOSE)
    torch.testing.assert_close(new[turns > beta], LLAMA[turns > beta], **CLOSE)
    assert (turns < alpha).any() and (turns > beta).any()


def test_yarn_is_by_parts_with_a_factor_for_queries_and_for_keys():
    new = scaled("yarn", 16.0)
    torch.testing.assert_close(new.theta, scaled("ntk_by_parts", 16.0).theta, **CLOSE)
    assert new.attention_factor == pytest.approx(0.1 * math.log(16) + 1, rel=1e-12)
    # in the scores it stands squared: 1/t with sqrt(1/t) = 0.1 ln s + 1
    q = torch.randn(6, 128, generator=torch_generator(0, "q"), dtype=torch.float64)
    turned, tempered = (apply_rotary(q, torch.arange(6), new.theta, scale=f) for f in (1.0, new.attention_factor))
    torch.testing.assert_close(
        tempered @ tempered.T, (0.1 * math.log(16) + 1) ** 2 * (turned @ turned.T), rtol=1e-12, atol=1e-12
    )
    assert scaled("yarn", 16.0, attention_factor=1.5).attention_factor == 1.5
    both = scaled("yarn", 16.0, mscale=1.0, mscale_all_dim=0.5).attention_factor
    assert both == pytest.approx((0.1 * math.log(16) + 1) / (0.05 * math.log(16) + 1), rel=1e-12)


def test_the_two_ramps_of_yarn_agree_at_both_ends_and_differ_between():
    turns, index, sharp = (
        scaled("yarn", 16.0, **options).theta
        for options in ({}, {"ramp": "index"}, {"ramp": "index", "truncate": False})
    )
    assert turns[0] == index[0] == LLAMA[0]
    torch.testing.assert_close(turns[-1], index[-1], **CLOSE)
    assert (turns / index - 1).abs().max() > 0.1 and (sharp / index - 1).abs().max() > 0.01
    # its ramp is linear in the index: between i_lo = floor(...) and i_hi = ceil(...) of the sheet
    lo = math.floor(128 * math.log(L / (32 * 2 * math.pi)) / (2 * math.log(1e4)))
    hi = math.ceil(128 * math.log(L / (2 * math.pi)) / (2 * math.log(1e4)))
    keep = [1 - min(max((i - lo) / (hi - lo), 0), 1) for i in range(64)]
    torch.testing.assert_close(index, LLAMA * plain(keep) + LLAMA / 16 * (1 - plain(keep)), **CLOSE)


def test_the_ramp_in_the_index_takes_the_base_from_geometric_frequencies_and_asks_for_it_otherwise():
    theta = rope_frequencies(32, base=100.0)
    inferred = scale_frequencies(theta, "yarn", factor=4.0, orig_len=64, ramp="index")
    told = scale_frequencies(theta, "yarn", factor=4.0, orig_len=64, ramp="index", base=100.0)
    torch.testing.assert_close(inferred.theta, told.theta, **CLOSE)
    bent = scale_frequencies(theta, "power").theta
    with pytest.raises(ValueError, match="pass base="):
        scale_frequencies(bent, "yarn", factor=4.0, orig_len=64, ramp="index")
    assert scale_frequencies(bent, "yarn", factor=4.0, orig_len=64, ramp="index", base=100.0).theta.isfinite().all()


def test_llama3_leaves_short_waves_divides_long_ones_and_blends_between():
    theta, factor, trained = rope_frequencies(128, 500_000.0), 8.0, 8192
    by_hand = []
    for t in theta.tolist():
        wave = 2 * math.pi / t
        if wave < trained / 4:
            by_hand.append(t)
        elif wave > trained:
            by_hand.append(t / factor)
        else:
            sigma = (trained / wave - 1) / 3
            by_hand.append((1 - sigma) * t / factor + sigma * t)
    new = scale_frequencies(theta, "llama3", factor=factor, orig_len=trained).theta
    torch.testing.assert_close(new, plain(by_hand), rtol=1e-11, atol=0)
    assert torch.equal(new, scale_frequencies(theta, "ntk_by_parts", factor=8.0, orig_len=8192, beta=4.0).theta)


def test_longrope_switches_to_the_long_factors_beyond_the_trained_length():
    short, long = [1.0 + i / 64 for i in range(64)], [2.0 + i for i in range(64)]
    for seq_len, divisor in [(None, short), (L, short), (L + 1, long)]:
        new = scaled("longrope", 4.0, seq_len=seq_len, short_factor=short, long_factor=long)
        torch.testing.assert_close(new.theta, LLAMA / plain(divisor), **CLOSE)
        assert new.attention_factor == pytest.approx(math.sqrt(1 + math.log(4) / math.log(L)), rel=1e-12)


def test_proportional_keeps_the_first_frequencies_over_the_factor_and_stops_the_others():
    new = scaled("proportional", 2.0, fraction=0.3).theta
    assert torch.equal(new[:19], LLAMA[:19] / 2) and (new[19:] == 0).all()  # floor(0.3 * 64) = 19
    assert (scaled("proportional", fraction=0.0).theta == 0).all()


def test_frozen_frequencies_survive_every_kind():
    theta = scaled("truncated", 1.0, hard=True).theta
    for kind in ("linear", "power", "truncated", "ntk", "ntk_by_parts", "yarn", "llama3"):
        new = scaled(kind, 4.0, theta=theta).theta
        assert (new[41:] == 0).all() and new.isfinite().all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: scaled("Linear"), ValueError, "kind must be one of 'default', 'linear'"),
        (lambda: scaled("linear", 0.5), ValueError, r"factor must be in \[1"),
        (lambda: scaled("linear", math.nan), ValueError, "factor must be in"),
        (lambda: scaled("linear", "4x"), TypeError, "factor must be a number"),
        (lambda: scaled("linear", exponent=0.5), TypeError, "'linear' has no option exponent; it has: none"),
        (lambda: scaled("power", k=0.5), TypeError, "no option k; it has: exponent"),
        (lambda: scaled("power", exponent=-1.0), ValueError, "exponent must be in"),
        (lambda: scaled("truncated", cut_at=0.1, low=0.2), ValueError, "lower cut-off.*low=0.2 and at=0.1"),
        (lambda: scaled("truncated", turn_len=0), ValueError, "turn_len must be in"),
        (lambda: scale_power_truncate(LLAMA, turn_len=-5), ValueError, "turn_len must be in"),
        (lambda: scale_power_truncate(LLAMA, factor=0.9), ValueError, "factor must be in"),
        (lambda: scaled("ntk_by_parts", alpha=32, beta=1), ValueError, "alpha must be below beta, got 32 and 1"),
        (lambda: scaled("yarn", beta_fast=1, beta_slow=32), ValueError, "beta_slow must be below beta_fast"),
        (lambda: scaled("yarn", ramp="index", beta_fast=1, beta_slow=32), ValueError, "beta_slow must be below"),
        (lambda: scaled("yarn", ramp="linear"), ValueError, "ramp must be one of"),
        (lambda: scaled("yarn", attention_factor=0.0), ValueError, "attention_factor must be in"),
        (lambda: scaled("llama3", low_freq_factor=4, high_freq_factor=4), ValueError, "low_freq_factor must be below"),
        (lambda: scaled("dynamic_ntk", alpha=0.5), ValueError, "alpha must be in"),
        (lambda: scaled("dynamic_ntk", seq_len=0), ValueError, "seq_len must be in"),
        (lambda: scaled("proportional", fraction=1.5), ValueError, "fraction must be in"),
        (lambda: scaled("longrope"), ValueError, "needs short_factor: 64"),
        (lambda: scaled("longrope", seq_len=9999, short_factor=[1.0] * 64), ValueError, "needs long_factor"),
        (lambda: scaled("longrope", short_factor=[0.0] * 64), ValueError, "finite numbers > 0"),
        (lambda: scale_frequencies(LLAMA, "yarn", factor=2.0), ValueError, "needs orig_len"),
        (lambda: scale_frequencies(LLAMA, "linear", orig_len=0), ValueError, "orig_len must be in"),
        (lambda: scale_frequencies(LLAMA, "linear", orig_len=-2048), ValueError, "orig_len must be in"),
        (lambda: scale_frequencies(LLAMA, "yarn", orig_len=64, base=1.0), ValueError, "base must be in"),
        (lambda: scale_frequencies(LLAMA[None], "linear"), ValueError, r"\(d/2,\)"),
        (lambda: scale_frequencies(LLAMA[:0], "linear"), ValueError, r"\(d/2,\)"),
        (lambda: scale_frequencies(LLAMA.long(), "linear"), ValueError, "must be real"),
        (lambda: scale_frequencies(-LLAMA, "linear"), ValueError, "negative or non-finite"),
        (lambda: scale_frequencies(LLAMA * math.inf, "linear"), ValueError, "negative or non-finite"),
        (lambda: scale_frequencies(LLAMA[:1], "ntk", factor=2.0), ValueError, "number of frequencies for an NTK"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
