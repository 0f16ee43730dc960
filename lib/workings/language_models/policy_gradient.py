"""The gradient of a mean score when the samples come from the model that is tuned."""

from __future__ import annotations

import torch

from workings.checks import check_tensor, one_of, values_hidden

BASELINES = ("mean", "loo")


def policy_gradient_surrogate(
    log_probs: torch.Tensor, scores: torch.Tensor, baseline: str | None = "mean"
) -> torch.Tensor:
    """A scalar whose gradient estimates that of the mean score ``E[c(y)]``, y drawn from the model; its value means nothing.

    ``log_probs`` (B,) are ``log p(y)`` of B samples under the model, with a graph; ``scores`` (B,) are ``c(y)``, taken as
    constants. The surrogate is ``mean((c - b) log p)``. With baseline ``None`` b is 0. ``"mean"`` subtracts the mean
    score of the batch: less noise, and the expected gradient is ``(B - 1)/B`` of the right one. ``"loo"`` subtracts the mean
    of the *other* samples, which makes it right again: B/(B - 1) times as much.

    Raises ``ValueError`` for shapes that differ, for scores that are not finite, and for ``"loo"`` with a single sample.
    Source: Williams, Machine Learning 8 (1992); Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!" (2019).
    """
    check_tensor(log_probs, "log_probs")
    scores = check_tensor(scores, "scores").detach().to(log_probs.dtype)
    if baseline is not None:
        one_of(baseline, "baseline", BASELINES)
    if log_probs.dim() != 1 or not len(log_probs) or scores.shape != log_probs.shape:
        raise ValueError(
            f"log_probs and scores must both be (B,), got shapes {tuple(log_probs.shape)} and {tuple(scores.shape)}."
        )
    if not values_hidden(scores) and not bool(torch.isfinite(scores).all()):
        raise ValueError("scores must be finite; give a response that cannot be scored a finite worst score.")
    if baseline == "loo" and len(scores) < 2:
        raise ValueError("baseline 'loo' compares each sample with the others, and there is only one; draw at least 2.")
    if baseline is not None:
        scores = scores - scores.mean()
    if baseline == "loo":
        scores = scores * (len(scores) / (len(scores) - 1))
    return (scores * log_probs).mean()
