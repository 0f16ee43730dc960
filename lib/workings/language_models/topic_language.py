"""A language with two knobs, for trials with constraints: the prompt names a topic, and responses have a known law of lengths.

A prompt is ``BEGIN topic``. A response walks along a cycle of twelve words, from a place and in a direction that the topic sets;
now and then it jumps to any word and walks on from there. It ends with ``END``, which counts as one of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workings.checks import (
    as_finite_array,
    as_float,
    as_generator,
    as_int,
    as_probabilities,
    as_tensor,
    check_tensor,
)

PAD, BEGIN, END = 0, 1, 2
N_TOPICS, N_WORDS = 6, 12
FIRST_TOPIC, FIRST_WORD = 3, 3 + N_TOPICS
VOCABULARY = FIRST_WORD + N_WORDS
WORDS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay", "koi", "lark")


def topic_prompts(n: int, generator: torch.Generator) -> torch.Tensor:
    """``n`` prompts ``BEGIN topic`` with topics drawn evenly: (n, 2) int64."""
    topics = torch.randint(N_TOPICS, (as_int(n, "n", minimum=1),), generator=as_generator(generator))
    return torch.stack([torch.full_like(topics, BEGIN), FIRST_TOPIC + topics], dim=1)


def topic_responses(
    prompts: torch.Tensor, lengths: Sequence[int], generator: torch.Generator, *, noise: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts with a response each: ``tokens`` (B, 2 + longest) int64, and ``mask`` of the same shape, True at the response.

    The number of tokens of a response, ``END`` included, is drawn evenly from ``lengths`` (all at least 2). At each step
    the next word is drawn from all twelve with probability ``noise``, else it is the neighbour on the cycle. Behind ``END`` stands
    ``PAD``. Raises ``ValueError`` for prompts that :func:`topic_prompts` does not make and for lengths below 2.
    """
    check_tensor(prompts, "prompts", floating=False)
    as_generator(generator)
    noise = as_float(noise, "noise", minimum=0.0, maximum=1.0)
    allowed = torch.tensor([as_int(length, "lengths", minimum=2) for length in lengths])
    if not len(allowed):
        raise ValueError("lengths is empty; name at least one length.")
    if prompts.dim() != 2 or prompts.shape[1] != 2 or not len(prompts):
        raise ValueError(f"prompts must be (B, 2), got shape {tuple(prompts.shape)}; use topic_prompts.")
    topics = prompts[:, 1] - FIRST_TOPIC
    if int(topics.min()) < 0 or int(topics.max()) >= N_TOPICS or bool((prompts[:, 0] != BEGIN).any()):
        raise ValueError("each prompt must be BEGIN and a topic; use topic_prompts.")
    rows, longest = len(prompts), int(allowed.max())
    drawn = allowed[torch.randint(len(allowed), (rows,), generator=generator)]
    jumps = torch.rand(rows, longest, generator=generator) < noise
    anywhere = torch.randint(N_WORDS, (rows, longest), generator=generator)
    step = torch.where(topics < N_TOPICS // 2, 1, -1)
    at, words = (4 * topics) % N_WORDS, []  # the place of the first word
    for t in range(longest):
        at = torch.where(jumps[:, t], anywhere[:, t], at)
        words.append(at)
        at = (at + step) % N_WORDS
    places = torch.arange(longest)
    response = FIRST_WORD + torch.stack(words, dim=1)
    response[places == drawn[:, None] - 1] = END
    response[places >= drawn[:, None]] = PAD
    mask = torch.cat([torch.zeros(rows, 2, dtype=torch.bool), places < drawn[:, None]], dim=1)
    return torch.cat([prompts, response], dim=1), mask


def spelled(tokens: Any) -> str:
    """One row of tokens in words: ``<3> fox gnu .`` for a prompt with topic 3 and a response of three tokens."""
    names = {PAD: "", BEGIN: "", END: "."}
    names |= {FIRST_TOPIC + i: f"<{i}>" for i in range(N_TOPICS)} | {
        FIRST_WORD + i: word for i, word in enumerate(WORDS)
    }
    words = []
    for token in as_tensor(tokens, "tokens").tolist():
        if token not in names:
            raise ValueError(f"tokens must be in [0, {VOCABULARY - 1}], got {token}.")
        words.append(names[token])
        if token == END:
            break
    return " ".join(word for word in words if word)


def response_weighted_law(p: Any, lengths: Any) -> np.ndarray:
    """The law of lengths that a loss averaged over *responses* teaches: ``p_l / l`` over its sum, (L,) float64.

    Its mean is ``1 / sum_l p_l / l``, the harmonic mean of the lengths under ``p``. A loss averaged over tokens teaches ``p`` itself.
    ``p`` (L,) sums to 1 and ``lengths`` (L,) are positive; else ``ValueError``.
    """
    p = as_probabilities(p, "p", ndim=1)
    lengths = as_finite_array(lengths, "lengths", ndim=1)
    if p.shape != lengths.shape or lengths.min() <= 0 or abs(p.sum() - 1) > 1e-6:
        raise ValueError(
            f"p and lengths must have one shape, p sum to 1 and lengths be positive; got {p.shape}, {lengths.shape}, "
            f"a sum of {p.sum():.6g} and a least length of {lengths.min():g}."
        )
    weights = p / lengths
    return weights / weights.sum()
