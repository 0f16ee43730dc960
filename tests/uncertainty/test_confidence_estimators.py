"""Heads, option logits, last tokens and the Jensen-Shannon divergence: closed forms, padding on any side, bad input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.seeding import torch_generator
from workings.uncertainty.confidence_estimators import (
    ConfidenceProbe,
    jensen_shannon,
    last_token_states,
    last_tokens,
    option_logits,
    single_tokens,
)

steady = settings(derandomize=True, deadline=None)
LOGITS = st.lists(st.floats(-60, 60), min_size=1, max_size=6)


def normal(*shape: int, name: str = "x") -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64)


@steady
@given(LOGITS, st.integers(0, 1000), st.floats(-5, 5))
def test_the_divergence_is_symmetric_bounded_and_blind_to_a_shift(logits, seed, shift):
    p = torch.tensor(logits, dtype=torch.float64)
    q = p + 3 * torch.randn(len(p), generator=torch_generator(seed, "q"), dtype=torch.float64)
    found = float(jensen_shannon(p, q))
    assert 0 <= found <= math.log(2) + 1e-12
    assert found == pytest.approx(float(jensen_shannon(q, p)), abs=1e-12)
    assert found == pytest.approx(float(jensen_shannon(p + shift, q)), abs=1e-12)
    assert float(jensen_shannon(p, p + shift)) == pytest.approx(0, abs=1e-12)
    a, b = p.softmax(0).numpy(), q.softmax(0).numpy()
    m = (a + b) / 2
    kl = lambda u, v: sum(x * math.log(x / y) for x, y in zip(u, v, strict=True) if x > 0)
    assert found == pytest.approx((kl(a, m) + kl(b, m)) / 2, abs=1e-9)


def test_disjoint_distributions_are_ln_2_apart_also_with_impossible_tokens():
    p, q = torch.tensor([0.0, -math.inf]), torch.tensor([-math.inf, 0.0])
    assert float(jensen_shannon(p, q)) == pytest.approx(math.log(2))
    assert float(jensen_shannon(p, p)) == 0
    assert float(jensen_shannon(torch.tensor([500.0, 0.0]), torch.tensor([0.0, 500.0]))) == pytest.approx(math.log(2))


def test_the_divergence_has_the_gradient_of_its_formula():
    p, q = normal(3, 5, name="p").requires_grad_(), normal(3, 5, name="q").requires_grad_()
    assert torch.autograd.gradcheck(jensen_shannon, (p, q))


def test_the_divergence_refuses_other_shapes():
    with pytest.raises(ValueError, match="one shape"):
        jensen_shannon(normal(2, 3), normal(3, 2))
    with pytest.raises(ValueError, match="one shape"):
        jensen_shannon(torch.zeros(2, 0), torch.zeros(2, 0))
    with pytest.raises(TypeError, match="floating point"):
        jensen_shannon(torch.zeros(2, dtype=torch.int64), torch.zeros(2))


MASKS = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])


def test_the_last_real_token_is_found_on_any_side_of_the_padding():
    assert last_tokens(MASKS).tolist() == [2, 4, 2, 4]
    states = normal(4, 5, 3)
    found = last_token_states(states, MASKS.bool())
    assert all(torch.equal(found[i], states[i, j]) for i, j in enumerate((2, 4, 2, 4)))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[0, 0, 0]], "row 0 of attention_mask has no token"),
        ([[1, 1, 1], [1, 0, 1]], "row 1 of attention_mask has padding between"),
        ([[1, 2, 1]], "0 and 1 only"),
        ([1, 1], r"must be \(B, T\)"),
    ],
)
def test_masks_that_no_tokenizer_makes_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        last_tokens(torch.tensor(mask))


def test_states_and_mask_must_fit():
    with pytest.raises(ValueError, match=r"\(B, T, D\)"):
        last_token_states(normal(4, 6, 3), MASKS)


def test_option_logits_are_the_softmax_over_the_options_alone():
    logits = normal(4, 5, 7)
    found = option_logits(logits, MASKS, (6, 2))
    for i, j in enumerate((2, 4, 2, 4)):
        a, b = logits[i, j, 6], logits[i, j, 2]
        assert float(found[i, 0]) == pytest.approx(float(a - torch.logaddexp(a, b)), abs=1e-12)
    assert torch.allclose(found.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))
    more = logits + 3.0
    torch.testing.assert_close(option_logits(more, MASKS, (6, 2)), found)


@pytest.mark.parametrize("options", [(1,), (1, 1), (1, 7), ()])
def test_options_that_cannot_be_compared_are_refused(options):
    with pytest.raises(ValueError, match="at least 2 different tokens below 7"):
        option_logits(normal(4, 5, 7), MASKS, options)


def test_options_are_single_tokens():
    assert single_tokens([[5], [9]], (" no", " yes")) == [5, 9]
    with pytest.raises(ValueError, match="'yes' is 2 tokens"):
        single_tokens([[5], [9, 1]], ("no", "yes"))
    with pytest.raises(ValueError, match="the same token"):
        single_tokens([[5], [5]])
    with pytest.raises(ValueError, match="at least 2 options"):
        single_tokens([[5]])


def test_a_probe_draws_from_its_generator_and_nothing_else():
    make = lambda: ConfidenceProbe(6, (8, 4), generator=torch_generator(0, "probe"))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two = make(), make()
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    x = torch.randn(5, 3, 6, generator=torch_generator(0, "states"))
    logits = one(x)
    assert logits.shape == (5, 3, 2)
    torch.testing.assert_close(one.log_odds(x), logits[..., 1] - logits[..., 0])
    torch.testing.assert_close(torch.sigmoid(one.log_odds(x)), logits.softmax(-1)[..., 1])


def test_the_weights_of_a_wide_probe_have_xaviers_variance():
    """300 x 200 normal draws: mean and mean square stay within five of their standard errors (false alarm 6e-7 each)."""
    weight = ConfidenceProbe(300, (200,), generator=torch_generator(1, "probe")).layers[0].weight.detach().numpy()
    ratio = float(np.mean(weight**2)) * 500 / 2
    assert abs(ratio - 1) < 5 * (2 / weight.size) ** 0.5
    assert abs(float(np.mean(weight))) < 5 * (2 / 500 / weight.size) ** 0.5


def test_a_probe_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="d_in must be at least 1"):
        ConfidenceProbe(0, generator=torch_generator(0, "x"))
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        ConfidenceProbe(3, generator=None)
    with pytest.raises(TypeError, match="floating point"):
        ConfidenceProbe(3, generator=torch_generator(0, "x"))(torch.zeros(2, 3, dtype=torch.int64))
