"""Training the ResNet-20 on CIFAR-10, with the whole data set on the device and a checkpoint after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from workings.checks import as_float, as_int, check_tensor, one_of
from workings.robustness.attacks import attack_gradient, fgsm_step
from workings.robustness.data import Split, as_unit_float, cifar10, random_crop_flip
from workings.robustness.networks import ResNet, resnet20
from workings.seeding import torch_generator
from workings.training import ShuffledBatches, Trained, fit, one_cycle


def fast_autocast(device: str | torch.device) -> torch.dtype | None:
    """bfloat16 where ``device`` computes with it in hardware, else ``None`` (stay in float32).

    A CPU without such instructions emulates bfloat16: a training step of the ResNet-20 then took twelve times as long as in
    float32. The CPU is asked for its instructions (AVX512-BF16 or AMX), never for its name; one that does not answer counts as
    without. A CUDA device is asked in the same way.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.bfloat16 if _cpu_has_bfloat16() else None


def _cpu_has_bfloat16() -> bool:
    queries = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(query is not None and query() for query in queries)


def train_resnet20(
    data: Split | str | Path,
    epochs: int,
    seed: int,
    checkpoint: str | Path | None = None,
    *,
    source: str = "torchvision",
    slope: float = 0.0,
    batch: int = 256,
    peak_rate: float = 0.4,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    device: str | torch.device = "cpu",
    autocast: torch.dtype | str | None = "auto",
    on_epoch: Callable[[int, ResNet, torch.Tensor], None] | None = None,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
) -> tuple[ResNet, Trained]:
    """The SAP paper's ResNet-20, trained on CIFAR-10 with a one-cycle schedule; returned in ``eval`` mode.

    ``data`` is the training split (uint8) or the ``root`` that :func:`cifar10` reads with
    ``source``. SGD with momentum and weight decay 1e-4 as in the paper; random crops of the image
    padded by 4 and mirroring; no label smoothing. The paper's 150 epochs at 0.5 / 0.05 / 0.005 are
    replaced by ``epochs`` with one cosine cycle up to ``peak_rate``; that is this collection's choice.

    ``autocast`` is the dtype of mixed precision, ``None`` for none, or ``"auto"`` for :func:`fast_autocast`'s choice.
    ``on_epoch(epoch, model, losses)`` is called after each epoch (from 1) with that epoch's losses, in
    training mode; :func:`fit` saves ``checkpoint`` each epoch and resumes from it.
    """
    epochs = as_int(epochs, "epochs", minimum=1)
    as_float(peak_rate, "peak_rate", minimum=0.0, open_ends=True)
    if isinstance(autocast, str):
        one_of(autocast, "autocast", ("auto",))
        autocast = fast_autocast(device)
    split = data if isinstance(data, Split) else cifar10(data, "train", source=source)
    split = split.to(device)
    model = resnet20(torch_generator(seed, "resnet20", "init"), slope=slope)
    model = model.to(device=device, memory_format=torch.channels_last)
    order = ShuffledBatches(len(split.labels), batch, seed)
    steps = epochs * order.per_epoch

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        index = order(step).to(device)
        return split.images[index], split.labels[index]

    def loss(net: nn.Module, pair: Any, noise: torch.Generator) -> torch.Tensor:
        images, labels = pair
        inputs = as_unit_float(random_crop_flip(images, noise)).contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(net(inputs).float(), labels)

    epoch_losses: list[torch.Tensor] = []

    def after_step(step: int, value: torch.Tensor) -> None:
        if on_step is not None:
            on_step(step, value)
        epoch_losses.append(value)
        if (step + 1) % order.per_epoch == 0:
            if on_epoch is not None:
                on_epoch((step + 1) // order.per_epoch, model, torch.stack(epoch_losses))
                model.train()
            epoch_losses.clear()

    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trainable, lr=peak_rate, momentum=momentum, weight_decay=weight_decay, nesterov=True)
    result = fit(
        model,
        loss,
        batches,
        optimiser,
        steps,
        seed=seed,
        schedule=one_cycle(steps, warmup=0.25),
        autocast=autocast,
        checkpoint=checkpoint,
        checkpoint_every=None if checkpoint is None else order.per_epoch,
        on_step=after_step,
        progress=progress,
        settings={"epochs": epochs, "batch": batch, "images": len(split.labels)},
    )
    return model.eval(), result


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, batch: int = 500) -> float:
    """Share of uint8 ``images`` (N, 3, H, W) that ``model``, in eval mode, classifies as ``labels`` (N,)."""
    check_tensor(labels, "labels", floating=False)
    if labels.shape != (len(images),) or len(labels) == 0 or labels.is_floating_point():
        raise ValueError(
            f"labels must be ({len(images)},) integers, one per image and at least one, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    training = model.training
    model.eval()
    right = 0
    for start in range(0, len(labels), as_int(batch, "batch", minimum=1)):
        logits = model(as_unit_float(images[start : start + batch]))
        right += int((logits.argmax(dim=1) == labels[start : start + batch]).sum())
    model.train(training)
    return right / len(labels)


def train_adversarial(
    train: Split, epochs: int, seed: int, checkpoint: Path | None, *, batch: int, device: str, progress: bool = False
) -> ResNet:
    """ResNet-20 trained on 80% clean and 20% FGSM images of ``train`` (radius 2/255), returned in ``eval`` mode.

    The FGSM images are made on the network as it stood after the previous epoch. ``checkpoint`` is a file that is saved each
    epoch and resumed from, or ``None``. Section 4.1.3 of the SAP paper; the one-cycle schedule in place of the paper's steps is
    this collection's choice. Mixed precision by :func:`fast_autocast`.
    """
    split = train.to(device)
    model = resnet20(torch_generator(seed, "resnet20", "init")).to(device)
    attacker = resnet20(torch_generator(seed, "resnet20", "init")).to(device).eval()
    order = ShuffledBatches(len(split.labels), batch, seed)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step % order.per_epoch == 0:  # also the first step after resuming: checkpoints stand at epoch ends
            attacker.load_state_dict(model.state_dict())
        index = order(step).to(device)
        return split.images[index], split.labels[index]

    def loss(net: nn.Module, pair: tuple[torch.Tensor, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        x, y = as_unit_float(random_crop_flip(pair[0], noise)), pair[1]
        some = max(1, len(y) // 5)
        with torch.autocast(torch.device(device).type, enabled=False):
            x[:some] = fgsm_step(x[:some], attack_gradient(attacker, "cross-entropy")(x[:some], y[:some]), 2 / 255)
        return F.cross_entropy(net(x).float(), y)

    steps = epochs * order.per_epoch
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=0.4, momentum=0.9, weight_decay=1e-4, nesterov=True)
    every = order.per_epoch if checkpoint is not None else None
    fit(
        model, loss, batches, optimiser, steps, seed=seed, schedule=one_cycle(steps, warmup=0.25),
        autocast=fast_autocast(device), checkpoint=checkpoint, checkpoint_every=every, progress=progress,
        settings={"epochs": epochs, "batch": batch, "images": len(split.labels), "loss": "adversarial"},
    )  # fmt: skip
    return model.eval()
