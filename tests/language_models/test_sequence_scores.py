"""Log-probabilities of sequences and log-perplexities against direct sums."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models.decoder import TinyDecoder
from workings.language_models.sequence_scores import response_log_perplexity, sequence_log_prob, token_log_probs
from workings.seeding import torch_generator

B, T, V = 5, 8, 7


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch_generator(seed, "scores")
    return torch.randn(B, T, V, generator=source, dtype=torch.float64), torch.randint(V, (B, T), generator=source)


def lengths_mask(lengths: list[int], prompt: int = 2) -> torch.Tensor:
    places = torch.arange(T)[None]
    return (places >= prompt) & (places < prompt + torch.tensor(lengths)[:, None])


def test_one_sequence_is_torchs_cross_entropy():
    logits, tokens = drawn()
    mask = lengths_mask([3, 6, 1, 4, 5])
    found = sequence_log_prob(logits, tokens, mask)
    for row, length in enumerate([3, 6, 1, 4, 5]):
        part = slice(2, 2 + length)
        direct = F.cross_entropy(logits[row, 1 : 1 + length], tokens[row, part], reduction="sum")
        torch.testing.assert_close(found[row], -direct, rtol=0, atol=1e-12)
    terms = token_log_probs(logits, tokens, mask)
    assert terms.shape == (B, T - 1) and torch.equal(terms != 0, mask[:, 1:])
    torch.testing.assert_close(sequence_log_prob(logits[:, :-1], tokens, mask), found, rtol=0, atol=0)


def test_all_sequences_of_a_model_have_probability_one_together():
    net = TinyDecoder(3, 8, 1, 2, embedding_std=1.0, generator=torch_generator(0, "m")).double()
    tokens = torch.cartesian_prod(torch.tensor([1]), *[torch.arange(3)] * 4)  # all 81 continuations of the token 1
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, 0] = False
    assert sequence_log_prob(net(tokens), tokens, mask).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_padding_and_what_stands_outside_the_mask_have_no_influence():
    net = TinyDecoder(V, 8, 2, 2, embedding_std=1.0, generator=torch_generator(0, "m")).double()
    _, tokens = drawn()
    mask = lengths_mask([3, 3, 2, 1, 4])
    padded = torch.cat([tokens, torch.full((B, 5), V - 1)], dim=1)
    wide = F.pad(mask, (0, 5))
    for normalise in ("response", "token"):
        short = response_log_perplexity(net(tokens), tokens, mask, normalise)
        torch.testing.assert_close(
            response_log_perplexity(net(padded), padded, wide, normalise), short, rtol=0, atol=1e-12
        )
    odd = tokens.clone()
    odd[:, 0] = -100  # a mark of "ignore" where nothing is scored
    torch.testing.assert_close(
        sequence_log_prob(net(tokens), odd, mask), sequence_log_prob(net(tokens), tokens, mask), rtol=0, atol=0
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, T - 2), min_size=B, max_size=B), st.integers(0, 10))
def test_the_two_normalisations_are_two_weightings(lengths, seed):
    logits, tokens = drawn(seed)
    mask, n = lengths_mask(lengths), torch.tensor(lengths, dtype=torch.float64)
    nll = -sequence_log_prob(logits, tokens, mask)
    by_response = response_log_perplexity(logits, tokens, mask)
    by_token = response_log_perplexity(logits, tokens, mask, "token")
    torch.testing.assert_close(by_response, (nll / n).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(by_token, nll.sum() / n.sum(), rtol=1e-12, atol=0)
    if len(set(lengths)) == 1:
        torch.testing.assert_close(by_response, by_token, rtol=1e-12, atol=0)


def test_the_two_normalisations_differ_where_lengths_do():
    tokens = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]])
    logits = torch.zeros(2, 4, 2, dtype=torch.float64)
    logits[0, :, 1] = 10.0  # the long response is nearly certain, the short one costs log 2
    mask = torch.tensor([[0, 1, 1, 1], [0, 1, 0, 0]]).bool()
    sure = F.softplus(torch.tensor(-10.0, dtype=torch.float64))
    log2 = torch.tensor(2.0, dtype=torch.float64).log()
    torch.testing.assert_close(response_log_perplexity(logits, tokens, mask), (sure + log2) / 2)
    torch.testing.assert_close(response_log_perplexity(logits, tokens, mask, "token"), (3 * sure + log2) / 4)


def test_gradients_are_right_and_stay_inside_the_mask():
    logits, tokens = drawn()
    mask = lengths_mask([2, 3, 1, 4, 2])
    leaf = logits[:, :, :].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sequence_log_prob(x, tokens, mask), (leaf,))
    sequence_log_prob(leaf, tokens, mask).sum().backward()
    assert torch.equal(leaf.grad.abs().sum(2) > 0, F.pad(mask[:, 1:], (0, 1)))  # column t - 1 decides about token t


def test_half_precision_is_summed_in_single():
    logits, tokens = drawn()
    mask = lengths_mask([6] * B)
    half = sequence_log_prob(logits.bfloat16(), tokens, mask)
    assert half.dtype == torch.float32
    torch.testing.assert_close(
        half.double(), sequence_log_prob(logits.bfloat16().double(), tokens, mask), rtol=1e-5, atol=0
    )


def bad(**changes):
    logits, tokens = drawn()
    given = {"logits": logits, "tokens": tokens, "mask": lengths_mask([3] * B), **changes}
    return given["logits"], given["tokens"], given["mask"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"mask": torch.ones(B, T).bool()}, ValueError, "first token"),
        ({"mask": torch.ones(B, T)}, TypeError, "must be bool"),
        ({"mask": lengths_mask([3] * B)[:, :-1]}, ValueError, "shape of tokens"),
        ({"tokens": torch.full((B, T), V)}, ValueError, r"must be in \[0, 6\]"),
        ({"tokens": torch.zeros(B, T)}, TypeError, "int64"),
        ({"tokens": torch.zeros(B).long()}, ValueError, r"\(B, T\)"),
        ({"logits": torch.zeros(B, T - 2, V)}, ValueError, "logits must be"),
        ({"logits": torch.zeros(B, T, V).long()}, TypeError, "floating"),
    ],
)
def test_bad_input_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        sequence_log_prob(*bad(**changes))


def test_an_empty_response_has_no_perplexity():
    logits, tokens, _ = bad()
    empty = lengths_mask([3, 3, 0, 3, 3])
    assert float(sequence_log_prob(logits, tokens, empty)[2]) == 0.0
    with pytest.raises(ValueError, match="at least one scored token"):
        response_log_perplexity(logits, tokens, empty)
    with pytest.raises(ValueError, match="normalise must be one of"):
        response_log_perplexity(logits, tokens, lengths_mask([3] * B), "sequence")
