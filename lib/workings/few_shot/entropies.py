"""What unlabelled query images can say: the entropy of their predictions, one by one and on average."""

from __future__ import annotations

from workings import require_torch
from workings.checks import all_finite, check_tensor, values_hidden

with require_torch("few_shot.entropies"):
    import torch


def shannon_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Mean entropy in nats of the softmax of ``logits`` (..., N, K), over all N: shape (...), between 0 and log K.

    Computed from log-softmax, so logits of any size give finite values and gradients. The gradient by one logit of a row is
    -p_j (log p_j + H) / N. Raises ``ValueError`` for a NaN or an infinite logit.
    """
    log_p = _logits(logits).log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean(dim=-1)


def marginal_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of the *average* prediction over the N rows of ``logits`` (..., N, K): shape (...), at most log K.

    It is largest when the classes are predicted equally often. Minus this plus :func:`shannon_entropy` is minus the mutual
    information between image and prediction (Boudiaf et al., NeurIPS 2020, arXiv 2008.11297).
    """
    log_p = _logits(logits).log_softmax(dim=-1)
    log_mean = log_p.logsumexp(dim=-2) - torch.log(torch.tensor(float(logits.shape[-2]), dtype=log_p.dtype))
    return -(log_mean.exp() * log_mean).sum(dim=-1)


def information_maximisation(
    support_logits: torch.Tensor,
    support_labels: torch.Tensor,
    query_logits: torch.Tensor,
    entropy_weight: float = 1.0,
    marginal_weight: float = 1.0,
) -> torch.Tensor:
    """Cross-entropy + ``entropy_weight`` · :func:`shannon_entropy` - ``marginal_weight`` · :func:`marginal_entropy`: shape (...).

    ``support_logits`` (..., N, K) with ``support_labels`` (..., N) int64, ``query_logits`` (..., M, K) without labels; in nats.
    With both weights 1 it is the loss of Boudiaf et al. (arXiv 2008.11297), up to its own weights. Raises ``ValueError`` for
    labels of another shape or outside 0..K-1.
    """
    log_p = _logits(support_logits).log_softmax(dim=-1)
    labels = check_tensor(support_labels, "support_labels", floating=False)
    if labels.dtype != torch.int64:
        raise TypeError(f"support_labels must be int64, got {labels.dtype}; convert them with .long().")
    if labels.shape != log_p.shape[:-1]:
        raise ValueError(f"support_labels must have shape {tuple(log_p.shape[:-1])}, got {tuple(labels.shape)}.")
    if not values_hidden(labels) and (labels.min() < 0 or labels.max() >= log_p.shape[-1]):
        raise ValueError(f"support_labels must be 0..{log_p.shape[-1] - 1}, got {labels.min()}..{labels.max()}.")
    loss = -log_p.gather(-1, labels[..., None])[..., 0].mean(dim=-1)
    query_logits = _logits(query_logits)
    if query_logits.shape[-1] != log_p.shape[-1] or query_logits.shape[:-2] != log_p.shape[:-2]:
        raise ValueError(
            f"support and query logits must agree in all but N and M, got {tuple(log_p.shape)} and {tuple(query_logits.shape)}."
        )
    return loss + entropy_weight * shannon_entropy(query_logits) - marginal_weight * marginal_entropy(query_logits)


def _logits(logits: torch.Tensor) -> torch.Tensor:
    logits = check_tensor(logits, "logits")
    if logits.ndim < 2 or 0 in logits.shape:
        raise ValueError(f"logits must have shape (..., N, K) with at least one entry, got {tuple(logits.shape)}.")
    if not values_hidden(logits) and not all_finite(logits):
        raise ValueError("logits hold NaN or infinity; lower the learning rate or look at the network's features.")
    return logits
