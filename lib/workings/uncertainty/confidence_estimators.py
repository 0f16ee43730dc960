"""Estimators that read a language model's states or logits and tell how probable it is that its answer is right.

Axes: B rows, T tokens, D width, V vocabulary. All logarithms are natural. Source: Kapoor et al., "Large Language Models Must Be
Taught to Know What They Don't Know", NeurIPS 2024, arXiv 2406.08391.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from workings import require_torch
from workings.checks import as_generator, as_int, check_tensor, values_hidden

with require_torch("uncertainty.confidence_estimators"):
    import torch
    from torch import nn


class ConfidenceProbe(nn.Module):
    """A head from states (..., D) to the logits (..., 2) of "wrong" and "right": ReLU layers of ``widths``, Xavier-normal weights.

    Its weights are drawn from ``generator`` (CPU) and nothing else; biases start at 0. Widths 256, 128, 64 are those of the authors' code.
    """

    def __init__(self, d_in: int, widths: Sequence[int] = (256, 128, 64), *, generator: torch.Generator):
        super().__init__()
        sizes = [as_int(d_in, "d_in", minimum=1), *(as_int(w, "widths", minimum=1) for w in widths), 2]
        as_generator(generator)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
            with torch.no_grad():
                std = math.sqrt(2.0 / (inputs + outputs))
                layer.weight.copy_(std * torch.randn(outputs, inputs, generator=generator))
                layer.bias.zero_()
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(..., D) to (..., 2); ``TypeError`` for states that are not floating point."""
        return self.layers(check_tensor(states, "states"))

    def log_odds(self, states: torch.Tensor) -> torch.Tensor:
        """Logit of "right" above that of "wrong": (..., D) to (...)."""
        logits = self(states)
        return logits[..., 1] - logits[..., 0]


def last_tokens(attention_mask: torch.Tensor) -> torch.Tensor:
    """Index of the last real token of each row: (B, T) to (B,) int64, wherever the padding stands.

    ``attention_mask`` is 1 (or True) at real tokens. Padding may stand on the left, on the right or on both sides, but not inside a
    row. Raises ``ValueError`` for a row without a token, or with padding between tokens, which no tokenizer makes.
    """
    check_tensor(attention_mask, "attention_mask", floating=False)
    if attention_mask.dim() != 2 or not attention_mask.numel():
        raise ValueError(f"attention_mask must be (B, T) with at least one token, got {tuple(attention_mask.shape)}.")
    real = attention_mask != 0
    places = torch.arange(real.shape[1], device=real.device)
    last = torch.where(real, places, -1).amax(dim=1)
    if not values_hidden(attention_mask):
        if not bool(((attention_mask == 0) | (attention_mask == 1)).all()):
            raise ValueError("attention_mask must hold 0 and 1 only, 1 at the tokens to read.")
        first = torch.where(real, places, real.shape[1]).amin(dim=1)
        empty, holes = last < 0, (last - first + 1) != real.sum(dim=1)
        if bool(empty.any()):
            raise ValueError(f"row {int(empty.nonzero()[0])} of attention_mask has no token at all; leave it out.")
        if bool(holes.any()):
            raise ValueError(
                f"row {int(holes.nonzero()[0])} of attention_mask has padding between tokens; pad at the ends of a row only."
            )
    return last


def last_token_states(states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The state of each row's last real token: ``states`` (B, T, D) and ``attention_mask`` (B, T) to (B, D).

    ``states[:, -1]`` is right with padding on the left only; with padding on the right it reads the padding. Errors as
    :func:`last_tokens`, and ``ValueError`` for shapes that do not fit.
    """
    check_tensor(states, "states")
    if states.dim() != 3 or tuple(states.shape[:2]) != tuple(attention_mask.shape):
        raise ValueError(
            f"states must be (B, T, D) with a mask (B, T), got {tuple(states.shape)} and {tuple(attention_mask.shape)}."
        )
    last = last_tokens(attention_mask)
    return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


def single_tokens(encoded: Sequence[Sequence[int]], names: Sequence[str] | None = None) -> list[int]:
    """The token of each option, where each option is one token; ``ValueError`` for an option that is split, or two alike.

    ``encoded`` holds the options' tokens as a tokenizer gives them *in context* (``" yes"`` and ``"yes"`` are often different tokens), for
    instance ``[tokenizer.encode(o, add_special_tokens=False) for o in (" no", " yes")]``. ``names`` are used in messages.
    """
    words = [str(n) for n in (names if names is not None else range(len(encoded)))]
    if len(encoded) < 2 or len(words) != len(encoded):
        raise ValueError(f"at least 2 options with as many names are needed, got {len(encoded)} and {len(words)}.")
    for word, tokens in zip(words, encoded, strict=True):
        if len(tokens) != 1:
            raise ValueError(
                f"option {word!r} is {len(tokens)} tokens; only single tokens can be compared by their logits: use other words, or "
                "write the leading space with the option."
            )
    found = [as_int(tokens[0], "a token", minimum=0) for tokens in encoded]
    if len(set(found)) < len(found):
        raise ValueError(f"two options are the same token ({found}); use words that differ in their first token.")
    return found


def option_logits(logits: torch.Tensor, attention_mask: torch.Tensor, options: Sequence[int]) -> torch.Tensor:
    """Logits of the options as the next token, renormalised among the options alone: (B, len(options)) log-probabilities.

    ``logits`` (B, T, V) are a causal model's; read is the column of each row's last real token, whichever side the padding is on.
    For options (no, yes) the difference of the two columns is the log-odds of "yes". Differentiable.

    Raises ``ValueError`` for fewer than 2 options, an option twice or outside the vocabulary, and what :func:`last_tokens` refuses.
    """
    wanted = [as_int(o, "options", minimum=0) for o in options]
    check_tensor(logits, "logits")
    if logits.dim() != 3:
        raise ValueError(f"logits must be (B, T, V), got shape {tuple(logits.shape)}.")
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or max(wanted) >= logits.shape[2]:
        raise ValueError(f"options must be at least 2 different tokens below {logits.shape[2]}, got {wanted}.")
    at_last = last_token_states(logits, attention_mask)
    return at_last[:, wanted].log_softmax(dim=1)


def jensen_shannon(p_logits: torch.Tensor, q_logits: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence of two categorical distributions given by logits (..., V): (...), in nats, in [0, ln 2].

    ``JSD = (KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``. Symmetric, 0 only where p = q; logits may be shifted, and may be
    ``-inf`` at tokens that cannot come. Differentiable. Lin, IEEE Trans. Inf. Theory 37, 1991.

    Raises ``ValueError`` for shapes that differ or no class.
    """
    check_tensor(p_logits, "p_logits")
    check_tensor(q_logits, "q_logits")
    if p_logits.shape != q_logits.shape or not p_logits.dim() or not p_logits.shape[-1]:
        raise ValueError(
            f"p_logits and q_logits must have one shape (..., V), got {tuple(p_logits.shape)} and {tuple(q_logits.shape)}."
        )
    if p_logits.dtype in (torch.float16, torch.bfloat16):
        p_logits = p_logits.float()
    if q_logits.dtype in (torch.float16, torch.bfloat16):
        q_logits = q_logits.float()
    low = torch.finfo(p_logits.dtype).min
    p = p_logits.log_softmax(dim=-1).clamp_min(low)  # -inf would give 0 * inf
    q = q_logits.log_softmax(dim=-1).clamp_min(low)
    m = torch.logaddexp(p, q) - math.log(2.0)
    return ((p.exp() * (p - m)).sum(dim=-1) + (q.exp() * (q - m)).sum(dim=-1)).clamp_min(0.0) / 2
