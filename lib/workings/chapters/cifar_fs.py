"""CIFAR-FS: the hundred classes of CIFAR-100 in 64 to train on, 16 to validate and 20 for episodes (Bertinetto et al., 2019)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch

from workings.chapters.omniglot_data import Collection
from workings.runs import fetch
from workings.runs.fetch import cache_dir

VALIDATION = [
    "beaver",
    "otter",
    "flatfish",
    "shark",
    "lamp",
    "television",
    "beetle",
    "butterfly",
    "sea",
    "camel",
    "cattle",
    "crab",
    "crocodile",
    "maple_tree",
    "motorcycle",
    "tractor",
]
TEST = [
    "whale",
    "poppy",
    "rose",
    "sweet_pepper",
    "telephone",
    "bed",
    "table",
    "wardrobe",
    "leopard",
    "plain",
    "chimpanzee",
    "fox",
    "snail",
    "worm",
    "baby",
    "man",
    "woman",
    "bicycle",
    "pickup_truck",
    "rocket",
]
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in the paper


def collections(data_root: str | Path | None = None) -> tuple[Collection, Collection, Collection]:
    """Train, train and validation together, and test: 600 images of each class, standardised, 32 pixels wide.

    Read by ``torchvision.datasets.CIFAR100`` under ``data_root``, or fetched.
    """
    try:
        from torchvision.datasets import CIFAR100
    except ImportError:
        raise RuntimeError("CIFAR-100 is read by torchvision, which is not installed; pip install it.") from None
    root = cache_dir() / "cifar100" if data_root is None else Path(data_root)
    with fetch.alone(root) if data_root is None else contextlib.nullcontext():
        parts = [CIFAR100(str(root), train=train, download=data_root is None) for train in (True, False)]
    pixels = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2)
    labels = torch.cat([torch.tensor(part.targets) for part in parts])
    return split(pixels, labels, list(parts[0].classes))


def split(pixels: torch.Tensor, labels: torch.Tensor, names: list[str]) -> tuple[Collection, Collection, Collection]:
    """Train, train and validation, and test of ``pixels`` (N, 3, H, W) uint8 with ``labels`` (N,) into ``names``."""
    missing = sorted({*VALIDATION, *TEST} - set(names))
    if missing:
        raise ValueError(f"the classes {missing} are missing; CIFAR-FS is made of the fine labels of CIFAR-100.")
    train = [name for name in names if name not in VALIDATION and name not in TEST]
    return tuple(_only(pixels, labels, [names.index(n) for n in part]) for part in (train, train + VALIDATION, TEST))


def _only(pixels: torch.Tensor, labels: torch.Tensor, classes: list[int]) -> Collection:
    number = torch.full((int(labels.max()) + 1,), -1)
    number[classes] = torch.arange(len(classes))
    keep = number[labels] >= 0
    images = (pixels[keep].float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SD)[:, None, None]
    return Collection(images, number[labels[keep]], torch.zeros(int(keep.sum()), dtype=torch.int64))


def flip_and_shift(images: torch.Tensor, generator: torch.Generator, pad: int = 4) -> torch.Tensor:
    """Each image (B, C, H, W) mirrored with probability one half and moved by up to ``pad`` pixels, edges reflected."""
    count, _, high, wide = images.shape
    draw = lambda top: torch.randint(top, (count,), generator=generator, device=images.device)
    mirrored = torch.where(draw(2).bool()[:, None, None, None], images.flip(3), images)
    padded = torch.nn.functional.pad(mirrored, (pad,) * 4, mode="reflect")
    rows = draw(2 * pad + 1)[:, None] + torch.arange(high, device=images.device)
    columns = draw(2 * pad + 1)[:, None] + torch.arange(wide, device=images.device)
    batch = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
