"""Retrieval accuracy and perplexity, on models whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from workings.language_models.decoder import TinyDecoder
from workings.language_models.evaluation import answer_hits, perplexity_by_position, retrieval_accuracy, token_nll
from workings.language_models.lines_task import IGNORE, Lines, lines_batch, lines_in
from workings.seeding import torch_generator

KEYS, VALUES = 40, 6
LINES = lines_batch(50, 12, 4, n_keys=KEYS, n_values=VALUES, generator=torch_generator(0, "lines"))


class Reader(nn.Module):
    """Answers by looking the key up in the lines; ``wrong`` questions (by number) get another value."""

    def __init__(self, wrong: tuple[int, ...] = ()):
        super().__init__()
        self.wrong = wrong
        self.unused = nn.Parameter(torch.zeros(1))
        self.lm_head = nn.Identity()
        self.calls: list[dict] = []

    def states(self, tokens: torch.Tensor, **options) -> torch.Tensor:
        self.calls.append({"rows": len(tokens), "training": self.training, "grad": torch.is_grad_enabled(), **options})
        logits = torch.zeros(*tokens.shape, KEYS + VALUES)
        for b, row in enumerate(tokens.tolist()):
            table = dict(zip(row[:24:2], row[1:24:2], strict=True))
            for q, t in enumerate(range(24, len(row), 2)):
                value = table[row[t]]
                if q in self.wrong:
                    value = KEYS + (value - KEYS + 1) % VALUES
                logits[b, t, value] = 1.0
        return logits


def tiny(**options) -> TinyDecoder:
    return TinyDecoder(
        KEYS + VALUES, width=16, embedding_std=1.0, **options, generator=torch_generator(0, "m")
    ).double()


def test_a_reader_scores_one_and_errors_are_seen_where_they_are():
    assert retrieval_accuracy(Reader(), LINES) == 1.0
    hits = answer_hits(Reader(wrong=(1,)), LINES)
    assert hits.dtype == torch.bool and hits.shape == (50, 4)
    assert torch.equal(hits, torch.tensor([True, False, True, True]).expand(50, 4))
    assert retrieval_accuracy(Reader(wrong=(1, 3)), LINES) == 0.5


def test_an_untrained_model_guesses():
    lines = lines_batch(400, 12, 4, n_keys=KEYS, n_values=VALUES, generator=torch_generator(1, "lines"))
    # It may answer with any of 46 tokens and knows nothing: at most 1/6 right; 1600 answers, standard deviation 0.0093.
    assert retrieval_accuracy(tiny(), lines) < 1 / VALUES + 5 * 0.0093


def test_rows_are_answered_in_order_whatever_the_batch_size():
    net = tiny()
    whole = answer_hits(net, LINES, batch_size=50)
    assert all(torch.equal(answer_hits(net, LINES, batch_size=size), whole) for size in (1, 7, 500))
    alone = torch.cat([answer_hits(net, Lines(*(t[b : b + 1] for t in LINES))) for b in range(50)])
    assert torch.equal(alone, whole)


def test_measuring_takes_no_gradient_and_leaves_the_mode_as_it_was():
    for training in (True, False):
        reader = Reader().train(training)
        retrieval_accuracy(reader, LINES, batch_size=20, theta=None)
        assert reader.training is training
        assert [c["rows"] for c in reader.calls] == [20, 20, 10]
        assert not any(c["training"] or c["grad"] for c in reader.calls) and all("theta" in c for c in reader.calls)


def test_position_options_reach_the_model():
    net = tiny()
    base = token_nll(net, LINES.tokens)
    assert (token_nll(net, LINES.tokens, theta=net.theta / 4) - base).abs().max() > 1e-3
    quarter = token_nll(net, LINES.tokens, positions=torch.arange(31) / 4)
    torch.testing.assert_close(token_nll(net, LINES.tokens, theta=net.theta / 4), quarter, rtol=0, atol=1e-6)


def test_nll_is_the_log_probability_of_the_next_token():
    net, tokens = tiny(), LINES.tokens[:3]
    logp = net(tokens).log_softmax(-1)
    expected = torch.tensor([[-logp[b, t, tokens[b, t + 1]].item() for t in range(31)] for b in range(3)])
    # The kernel takes the softmax in float32: errors of about 1e-6.
    torch.testing.assert_close(token_nll(net, tokens), expected.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(token_nll(net, tokens, batch_size=1), token_nll(net, tokens), rtol=0, atol=1e-5)
    assert token_nll(net, tokens).dtype == torch.float64


def test_a_uniform_model_has_the_size_of_the_vocabulary_as_perplexity():
    net = tiny()
    net.lm_head.weight.data.zero_()
    curve = perplexity_by_position(net, LINES.tokens)
    torch.testing.assert_close(curve, torch.full((31,), 46.0).double(), rtol=1e-6, atol=0)


def test_perplexity_is_the_exponential_of_the_mean_over_sequences_at_each_position():
    net = tiny()
    nll = token_nll(net, LINES.tokens)
    curve = perplexity_by_position(net, LINES.tokens, batch_size=11)
    assert curve.shape == (31,) and (curve >= 1).all()
    expected = [math.exp(sum(nll[b, t].item() for b in range(50)) / 50) for t in range(31)]
    torch.testing.assert_close(curve, torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_position_t_of_the_curve_is_the_prediction_from_t_plus_one_tokens():
    net, tokens = tiny(), LINES.tokens[:8].clone()
    before = perplexity_by_position(net, tokens)
    tokens[:, 20] = (tokens[:, 20] + 1) % 46  # a target at entry 19, context from entry 20 on
    moved = (perplexity_by_position(net, tokens) - before).abs() > 1e-6
    assert not moved[:19].any() and moved[19:].all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (Lines(LINES.tokens, torch.full_like(LINES.targets, IGNORE)), "at least one"),
        (Lines(LINES.tokens, LINES.targets[:, :-1]), "one shape"),
        (Lines(LINES.tokens[:0], LINES.targets[:0]), "at least one"),
        (Lines(LINES.tokens, LINES.targets.clone().index_fill_(0, torch.tensor([3]), 7)), "equally many"),
    ],
)
def test_batches_without_clear_questions_are_refused(lines, message):
    with pytest.raises(ValueError, match=message):
        answer_hits(tiny(), lines)


def test_nothing_to_predict_is_refused():
    for tokens in (torch.zeros(3, dtype=torch.int64), LINES.tokens[:, :1], LINES.tokens[:0]):
        with pytest.raises(ValueError, match="T of at least 2"):
            token_nll(tiny(), tokens)
    with pytest.raises(ValueError, match="batch_size"):
        token_nll(tiny(), LINES.tokens, batch_size=0)


def test_longer_sequences_keep_their_questions():
    for length in (64, 128):
        lines = lines_batch(2, lines_in(length, 8), 8, generator=torch_generator(0, "l"))
        assert ((lines.targets != IGNORE).sum(1) == 8).all()
