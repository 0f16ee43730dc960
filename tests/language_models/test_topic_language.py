"""The language with two knobs: its laws, and the law of lengths that a response-averaged loss teaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models import topic_language as toy
from workings.seeding import torch_generator


def drawn(n: int = 6000, noise: float = 0.1):
    source = torch_generator(0, "language")
    return toy.topic_responses(toy.topic_prompts(n, source), range(3, 15), source, noise=noise)


def test_a_response_is_words_then_an_end_then_padding():
    tokens, mask = drawn()
    lengths = mask.sum(1)
    rows = torch.arange(len(tokens))
    assert bool((tokens[rows, 1 + lengths] == toy.END).all()) and bool((tokens[~mask][:, None][2:] >= 0).all())
    assert bool(((tokens == toy.END).sum(1) == 1).all())
    words = mask & (tokens != toy.END)
    assert bool(((tokens[words] >= toy.FIRST_WORD) & (tokens[words] < toy.VOCABULARY)).all())
    behind = torch.arange(tokens.shape[1])[None] >= 2 + lengths[:, None]
    assert bool((tokens[behind] == toy.PAD).all()) and not bool(mask[behind].any()) and not bool(mask[:, :2].any())


def test_lengths_and_topics_come_evenly():
    tokens, mask = drawn()
    # Normal bounds at 4.5 standard deviations on 12 and 6 binomial counts: false alarms below 2e-4 together.
    for values, first, k in ((mask.sum(1), 3, 12), (tokens[:, 1], toy.FIRST_TOPIC, 6)):
        counts = torch.bincount(values - first, minlength=k).double()
        n, p = len(tokens), 1 / k
        assert len(counts) == k and bool(((counts - n * p).abs() < 4.5 * (n * p * (1 - p)) ** 0.5).all())


def test_without_noise_the_topic_decides_every_word():
    tokens, mask = drawn(600, noise=0.0)
    for row, length in zip(tokens.tolist(), mask.sum(1).tolist(), strict=True):
        topic = row[1] - toy.FIRST_TOPIC
        step = 1 if topic < 3 else -1
        words = [(4 * topic + step * t) % 12 + toy.FIRST_WORD for t in range(length - 1)]
        assert row[2 : 1 + length] == words


def test_the_noise_jumps_as_often_as_it_should():
    tokens, _ = drawn(4000, noise=0.3)
    topics = tokens[:, 1] - toy.FIRST_TOPIC
    first = (tokens[:, 2] != toy.FIRST_WORD + (4 * topics) % 12).double()
    p = 0.3 * 11 / 12  # a jump may land where it would have gone
    assert abs(float(first.mean()) - p) < 4.5 * (p * (1 - p) / 4000) ** 0.5  # false alarm below 1e-5


def test_spelling():
    assert toy.spelled([1, 6, 14, 15, 2, 0]) == "<3> fox gnu ."
    with pytest.raises(ValueError, match="must be in"):
        toy.spelled([99])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.integers(2, 9))
def test_the_taught_law_minimises_the_response_averaged_loss_and_has_the_harmonic_mean(seed, n):
    rng = np.random.default_rng(seed)
    p, lengths = rng.dirichlet(np.ones(n)), np.sort(rng.choice(np.arange(1, 40), n, replace=False)).astype(float)
    q = toy.response_weighted_law(p, lengths)
    assert q.sum() == pytest.approx(1.0) and q @ lengths == pytest.approx(1 / (p / lengths).sum())
    loss = lambda pi: float(-(p / lengths * np.log(pi)).sum())
    for other in rng.dirichlet(np.ones(n), 20):
        assert loss(np.maximum(other, 1e-12)) >= loss(np.maximum(q, 1e-300)) - 1e-12


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda g: toy.topic_prompts(0, g), "n must be"),
        (lambda g: toy.topic_responses(torch.zeros(2, 2).long(), [3], g), "topic_prompts"),
        (lambda g: toy.topic_responses(torch.zeros(2, 3).long(), [3], g), r"\(B, 2\)"),
        (lambda g: toy.topic_responses(toy.topic_prompts(2, g), [1], g), "lengths must be"),
        (lambda g: toy.topic_responses(toy.topic_prompts(2, g), [], g), "lengths is empty"),
        (lambda g: toy.topic_responses(toy.topic_prompts(2, g), [3], g, noise=2.0), "noise must be"),
        (lambda g: toy.response_weighted_law([0.5, 0.5], [0, 1]), "positive"),
        (lambda g: toy.response_weighted_law([0.5, 0.4], [1, 2]), "sum to 1"),
    ],
)
def test_bad_input_is_refused(work, message):
    with pytest.raises(ValueError, match=message):
        work(torch_generator(0, "bad"))
