"""Two measures of a language model: what it retrieves, and how well it predicts at each position.

All functions take the position options of ``TinyDecoder.states`` (theta, attention_factor, ...), so one model can be
measured under many; they leave the model's mode and weights as they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from workings.checks import as_int, check_tensor
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lines_task import IGNORE, Lines


def answer_hits(model: TinyDecoder, lines: Lines, *, batch_size: int = 16, **position_options) -> torch.Tensor:
    """Whether each asked value is the model's likeliest token: bool (B, q), on the CPU, queries in order.

    The true values of earlier queries stand in the sequence (teacher forcing). ``ValueError`` for sequences that do
    not all ask equally many questions, at least one.
    """
    asked = (lines.targets != IGNORE).sum(dim=1)  # (B,)
    if lines.tokens.shape != lines.targets.shape or not len(asked) or int(asked.min()) < 1 or (asked != asked[0]).any():
        raise ValueError(
            "tokens and targets must have one shape (B, T), and every row equally many targets, at least one; "
            f"got {tuple(lines.tokens.shape)}, {tuple(lines.targets.shape)} and {sorted(set(asked.tolist()))} targets."
        )
    hits = []
    with _evaluating(model):
        for tokens, targets in zip(*_chunks(model, batch_size, lines.tokens, lines.targets), strict=True):
            wanted = targets != IGNORE
            logits = model.lm_head(model.states(tokens, **position_options)[wanted])  # (B q, V)
            hits.append((logits.argmax(dim=1) == targets[wanted]).cpu())
    return torch.cat(hits).view(len(asked), -1)


def retrieval_accuracy(model: TinyDecoder, lines: Lines, *, batch_size: int = 16, **position_options) -> float:
    """Share of asked values that are the model's likeliest token, in [0, 1]; see :func:`answer_hits`."""
    return answer_hits(model, lines, batch_size=batch_size, **position_options).double().mean().item()


def token_nll(model: TinyDecoder, tokens: torch.Tensor, *, batch_size: int = 16, **position_options) -> torch.Tensor:
    """``-log p(token t + 1 | tokens 0..t)`` in nats, for t = 0..T-2: float64 (B, T - 1) on the CPU, from ``tokens`` (B, T)."""
    check_tensor(tokens, "tokens", floating=False)
    if tokens.ndim != 2 or tokens.shape[1] < 2 or not len(tokens):
        raise ValueError(f"tokens must have shape (B, T) with T of at least 2, got {tuple(tokens.shape)}.")
    losses = []
    with _evaluating(model):
        for (chunk,) in zip(*_chunks(model, batch_size, tokens), strict=True):
            logits = model(chunk[:, :-1], **position_options)  # (B, T - 1, V)
            losses.append(
                F.cross_entropy(logits.transpose(1, 2).float(), chunk[:, 1:], reduction="none").double().cpu()
            )
    return torch.cat(losses)


def perplexity_by_position(
    model: TinyDecoder, tokens: torch.Tensor, *, batch_size: int = 16, **position_options
) -> torch.Tensor:
    """Perplexity against the length of the context: (T - 1,) float64, at least 1, from ``tokens`` (B, T).

    Entry t is ``exp`` of the mean over sequences of the negative log-probability of token t + 1, which was predicted
    from t + 1 tokens. For a range of positions average before the exponential: ``token_nll(...)[:, a:b].mean().exp()``.
    """
    return token_nll(model, tokens, batch_size=batch_size, **position_options).mean(dim=0).exp()


@contextlib.contextmanager
def _evaluating(model: TinyDecoder) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _chunks(model: TinyDecoder, batch_size: int, *tensors: torch.Tensor) -> list[list[torch.Tensor]]:
    """Each tensor in chunks of ``batch_size`` rows on the model's device."""
    batch_size = as_int(batch_size, "batch_size", minimum=1)
    device = next(model.parameters()).device
    return [list(tensor.to(device).split(batch_size)) for tensor in tensors]
