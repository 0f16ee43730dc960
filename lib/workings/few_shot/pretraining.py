"""Plain training on all the base classes at once, without episodes, and the features of a trained network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workings import require_torch
from workings.checks import as_float, as_int, check_tensor
from workings.training import ShuffledBatches, Trained, fit, one_cycle

with require_torch("few_shot.pretraining"):
    import torch
    import torch.nn.functional as F
    from torch import nn

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def train_classifier(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
    seed: int,
    *,
    batch: int = 128,
    lr: float = 0.2,
    weight_decay: float = 5e-4,
    smoothing: float = 0.1,
    augment: Augment | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    autocast: torch.dtype | None = None,
    progress: bool = False,
) -> Trained:
    """Train ``model`` in place for ``steps`` batches by cross-entropy with label smoothing; gives its losses (steps,) in nats.

    ``images`` (N, ...) and ``labels`` (N,) int64 lie on the model's device. SGD with Nesterov momentum 0.9, a one-cycle learning
    rate with its peak at ``lr``; batch-norm and biases without weight decay. ``augment(images, generator)`` alters each batch.
    With ``checkpoint`` an interrupted training goes on from it. The model is in eval mode afterwards. Errors are those of
    :func:`workings.training.fit`; ``ValueError`` too when a label is negative or there are fewer images than ``batch``.
    """
    images = check_tensor(images, "images")
    labels = check_tensor(labels, "labels", floating=False)
    if labels.is_floating_point() or labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels must be whole numbers, one per image, got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if labels.numel() and labels.min() < 0:
        raise ValueError(f"labels must be 0 or more, got {int(labels.min())}.")
    smoothing = as_float(smoothing, "smoothing", minimum=0.0, maximum=1.0)
    lr = as_float(lr, "lr", minimum=0.0, open_ends=True)
    batches = ShuffledBatches(len(images), as_int(batch, "batch", minimum=1, maximum=max(len(images), 1)), seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)

    def loss(net: nn.Module, where: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        where = where.to(images.device)
        x = images[where] if augment is None else augment(images[where], noise)
        return F.cross_entropy(net(x), labels[where].long(), label_smoothing=smoothing)

    told: dict[str, Any] = {
        "batch": batch,
        "smoothing": smoothing,
        "images": len(images),
        "augment": augment is not None,
    }
    trained = fit(
        model, loss, batches, optimiser, steps, seed=seed, schedule=one_cycle(steps), checkpoint=checkpoint,
        checkpoint_every=checkpoint_every, autocast=autocast, progress=progress, settings=told,
    )  # fmt: skip
    model.eval()
    return trained


@torch.no_grad()
def network_features(
    model: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, block: int = 500
) -> torch.Tensor:
    """What ``model`` gives for ``images`` (N, ...), ``block`` at a time, without a graph: (N, D).

    A module is put in eval mode meanwhile, so that the result does not depend on ``block``, and back afterwards. In this
    chapter's method the features are the logits over the base classes; ``model.features`` gives what stands before them.
    """
    images, block = check_tensor(images, "images"), as_int(block, "block", minimum=1)
    if not len(images):
        raise ValueError("images is empty; at least one image is needed.")
    owner = model if isinstance(model, nn.Module) else getattr(model, "__self__", None)
    training = isinstance(owner, nn.Module) and owner.training
    if training:
        owner.eval()
    try:
        return torch.cat([model(part.clone()) for part in images.split(block)])  # a network may work in place
    finally:
        if training:
            owner.train()
