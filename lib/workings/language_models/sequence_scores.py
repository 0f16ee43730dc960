"""How probable a language model finds whole responses: log-probabilities of sequences, and log-perplexity per token.

Axes: B sequences, T tokens, V vocabulary. All logarithms are natural.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from workings.checks import check_tensor, one_of, values_hidden

NORMALISATIONS = ("response", "token")


def sequence_log_prob(logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """``log p(response | what stands before it)`` in nats: (B,), the sum of ``log p(token_t | tokens before t)`` where ``mask``.

    ``logits`` (B, T, V), or (B, T - 1, V) without the last column, are a causal model's answer to ``tokens`` (B, T): column
    t tells the distribution of token t + 1. ``mask`` (B, T) bool is True at the tokens that are scored, such as
    :func:`~workings.language_models.generation.response_mask`; what it leaves out (prompt, padding) has no influence, if the
    model is causal. Values are at most 0, and 0 for a row without a scored token. Differentiable in ``logits``; computed in
    float32 at least.

    Raises ``ValueError`` for shapes that do not fit, a token outside the vocabulary, and a mask that scores the first token,
    which nothing predicts; ``TypeError`` for a mask that is not bool.
    """
    return token_log_probs(logits, tokens, mask).sum(dim=1)


def token_log_probs(logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The terms of :func:`sequence_log_prob`, with its arguments: (B, T - 1); the entry t - 1 belongs to token t, 0 outside ``mask``."""
    check_tensor(logits, "logits")
    check_tensor(tokens, "tokens", floating=False)
    check_tensor(mask, "mask", floating=False)
    if tokens.dim() != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, T) with T >= 2, got shape {tuple(tokens.shape)}.")
    rows, length = tokens.shape
    if logits.dim() != 3 or logits.shape[0] != rows or logits.shape[1] not in (length, length - 1):
        raise ValueError(
            f"logits must be ({rows}, {length}, V) or ({rows}, {length - 1}, V) for tokens of shape ({rows}, {length}), "
            f"got {tuple(logits.shape)}."
        )
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool, got {mask.dtype}; pass for instance mask.bool().")
    if mask.shape != tokens.shape:
        raise ValueError(f"mask must have the shape of tokens {tuple(tokens.shape)}, got {tuple(mask.shape)}.")
    if tokens.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"tokens must be int64 or int32, got {tokens.dtype}; call .long().")
    scored = mask[:, 1:]
    wanted = tokens[:, 1:].long().masked_fill(~scored, 0)
    if not values_hidden(tokens, mask):
        if bool(mask[:, 0].any()):
            raise ValueError("mask scores the first token, but nothing predicts it; set mask[:, 0] = False.")
        if wanted.numel() and (int(wanted.min()) < 0 or int(wanted.max()) >= logits.shape[2]):
            raise ValueError(
                f"scored tokens must be in [0, {logits.shape[2] - 1}], got {int(wanted.min())} to {int(wanted.max())}."
            )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if logits.shape[1] == length:  # the last column predicts nothing: a target for it is cheaper than a copy without it
        wanted = F.pad(wanted, (0, 1))
    terms = -F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
    terms = terms[:, : length - 1]  # (B, T - 1)
    return torch.where(scored, terms, torch.zeros((), dtype=terms.dtype, device=terms.device))


def response_log_perplexity(
    logits: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor, normalise: str = "response"
) -> torch.Tensor:
    """Mean log-perplexity of the responses in nats per token, >= 0: a scalar that can be minimised.

    ``normalise="response"`` averages ``-log p(y) / |y|`` over the responses, so that each *response* weighs the same;
    ``"token"`` divides the sum of all ``-log p(y)`` by the number of tokens, so that each *token* does. They agree when all
    responses have one length. They differ otherwise: under "response" a token of a short response weighs more, and a model
    trained on it learns the law of lengths ``p(l) / l`` (normalised) in the place of ``p(l)``. Arguments and errors as for
    :func:`sequence_log_prob`; ``ValueError`` as well for a row without a scored token.
    """
    one_of(normalise, "normalise", NORMALISATIONS)
    total = sequence_log_prob(logits, tokens, mask)  # (B,)
    lengths = mask.sum(dim=1)
    if not len(total) or (not values_hidden(lengths) and bool((lengths == 0).any())):
        raise ValueError("every row needs at least one scored token; leave out the rows whose mask is empty.")
    if normalise == "token":
        return -total.sum() / lengths.sum()
    return -(total / lengths).mean()
