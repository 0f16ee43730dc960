"""Losses of long responses a few rows at a time: the same gradient as in one pass, without the logits of all rows at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import nn

from workings.checks import as_int
from workings.language_models.constrained_tuning import Batch, ConstrainedFineTuner, MeanConstraint, Rule, StepRecord
from workings.language_models.policy_gradient import policy_gradient_surrogate
from workings.language_models.sequence_scores import sequence_log_prob


class Logits(nn.Module):
    """A `transformers` model as a function from tokens to logits.

    With ``rounded`` the products of a pass that is differentiated have bfloat16 factors; those of a pass without a gradient never.
    """

    def __init__(self, model: nn.Module, *, rounded: bool = False):
        super().__init__()
        self.model, self.rounded = model, rounded

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) of ``tokens`` (B, T). Padding stands behind a response, where a causal model does not look back at it."""
        return self.tail(tokens, tokens.shape[1])

    def tail(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """The last ``count`` columns of the logits of ``tokens`` (B, T), (B, count, V); no others are computed."""
        rounded = self.rounded and torch.is_grad_enabled()
        with torch.autocast(tokens.device.type, torch.bfloat16) if rounded else contextlib.nullcontext():
            logits = self.model(
                input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False, logits_to_keep=count
            ).logits
        return logits.float() if rounded else logits


class PiecewiseTuner(ConstrainedFineTuner):
    """A :class:`~workings.language_models.constrained_tuning.ConstrainedFineTuner` that passes ``micro`` rows through the model at a time.

    The task's log-perplexity is averaged over responses, and a response's weight in the loss depends on no other row's
    log-probability: so the gradients of the pieces add up to that of one pass.
    """

    def __init__(
        self, constraints: Sequence[MeanConstraint], rule: Rule | None = None, *, decay: float = 0.9, micro: int
    ):
        super().__init__(constraints, rule, decay=decay)
        self.micro = as_int(micro, "micro", minimum=1)

    def loss(self, model: nn.Module, task: Batch, sampled: Batch | None, step: int) -> torch.Tensor:
        """As that of the class above; the value is the task's log-perplexity plus the surrogate's."""
        per_response = -1.0 / (len(task[0]) * task[1].sum(dim=1))
        total, logp = linear_in_pieces(model, *task, per_response, self.micro)
        objective = float((per_response * logp).sum())
        if not self.constraints:
            self.history.append(StepRecord(step, objective, (), (), ()))
            return total
        if sampled is None:
            raise ValueError("constraints are about the model's own responses; pass sampled=(tokens, mask).")
        broken = self._broken(sampled, step, objective)
        at = torch.zeros(len(broken), device=sampled[0].device, requires_grad=True)
        (slopes,) = torch.autograd.grad(policy_gradient_surrogate(at, broken, self.baseline), at)  # the same everywhere
        return total + linear_in_pieces(model, *sampled, slopes, self.micro)[0]


def linear_in_pieces(
    model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor, micro: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """``sum_j weights[j] log p(response j)``, a scalar with its gradient, and the log-probabilities (B,) without one.

    ``tokens`` and ``mask`` (B, T) as in :func:`~workings.language_models.sequence_scores.sequence_log_prob`; ``weights`` (B,) are
    constants. Only ``micro`` rows are in the model at a time: their gradients are computed here, and the scalar's graph holds their
    sum. So it can be differentiated once, and only by the parameters of ``model``.
    """
    wanted = [p for p in model.parameters() if p.requires_grad]
    sums, value, logp = [torch.zeros_like(p) for p in wanted], 0.0, []
    for row, scored, weight in _pieces(tokens, mask, micro, weights):
        found = _log_probs(model, row, scored)
        part = (weight.to(found.dtype) * found).sum()
        for total, piece in zip(sums, torch.autograd.grad(part, wanted, allow_unused=True), strict=True):
            if piece is not None:
                total += piece
        value, logp = value + part.detach(), [*logp, found.detach()]
    slope = sum((p * total).sum() for p, total in zip(wanted, sums, strict=True))
    return value + slope - slope.detach(), torch.cat(logp)


@torch.no_grad()
def scored_in_pieces(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor, micro: int) -> torch.Tensor:
    """The log-probabilities (B,) of responses, ``micro`` rows in the model at a time."""
    pieces = _pieces(tokens, mask, micro)
    return torch.cat([_log_probs(model, row, scored) for row, scored in pieces])


def _log_probs(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """:func:`~workings.language_models.sequence_scores.sequence_log_prob` without logits in front of the first scored token, where
    ``model`` has a method ``tail(tokens, count)`` that gives those of the last columns alone."""
    first = max(int(mask.any(dim=0).nonzero().min()), 1)
    asked, count = tokens[:, :-1], tokens.shape[1] - first
    logits = model.tail(asked, count) if hasattr(model, "tail") else model(asked)[:, -count:]
    return sequence_log_prob(logits, tokens[:, first - 1 :], mask[:, first - 1 :])


def _pieces(
    tokens: torch.Tensor, mask: torch.Tensor, micro: int, *more: torch.Tensor
) -> list[tuple[torch.Tensor, ...]]:
    """At most ``micro`` rows each, without the columns behind the last scored token of the piece."""
    found = []
    for parts in zip(*(part.split(micro) for part in (tokens, mask, *more)), strict=True):
        width = int(parts[1].any(dim=0).nonzero().max()) + 1
        found.append((parts[0][:, :width], parts[1][:, :width], *parts[2:]))
    return found
