"""Images as tensors: scikit-learn's digits and CIFAR-10, and random crops of a whole batch at once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from workings.checks import as_generator, as_int, check_tensor, one_of
from workings.runs import fetch
from workings.seeding import numpy_generator

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Split(NamedTuple):
    """Images (N, C, H, W) and labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor

    def to(self, device: str | torch.device) -> Split:
        """The same split on ``device``."""
        return Split(self.images.to(device), self.labels.to(device))


def digits(train_size: int = 1200, dtype: torch.dtype = torch.float32) -> tuple[Split, Split]:
    """Scikit-learn's 1797 handwritten 8x8 digits in [0, 1]: ``(train, test)``, the same split every time.

    Images are (N, 1, 8, 8) of ``dtype``, the integer grey values 0..16 divided by 16, which is exact. The order is one
    fixed permutation; ``train_size=1200`` leaves 597 for testing. In float64 a small network computes nearly as fast, and
    what it gives to two decimals is then the same on every processor. Raises ``ValueError`` for a size outside 1..1796.
    """
    from sklearn.datasets import load_digits

    train_size = as_int(train_size, "train_size", minimum=1, maximum=1796)
    bunch = load_digits()
    order = numpy_generator(0, "digits", "split").permutation(len(bunch.target))
    images = torch.from_numpy(bunch.images[order] / 16.0).to(dtype)[:, None]  # (N, 1, 8, 8)
    labels = torch.from_numpy(bunch.target[order].astype(np.int64))
    return Split(images[:train_size], labels[:train_size]), Split(images[train_size:], labels[train_size:])


def cifar10(root: str | Path, split: str = "train", *, source: str = "torchvision", download: bool = False) -> Split:
    """CIFAR-10 as uint8 images (N, 3, 32, 32) and labels (N,), shuffled: N = 50,000 (train) or 10,000 (test).

    The order is one fixed permutation for each split and N, the same for both sources, so that the first n images are a
    random sample of all classes. (A folder lists one class after the other: without the permutation its first images
    would all be airplanes.)

    ``source="torchvision"`` reads ``torchvision.datasets.CIFAR10`` under ``root`` and fetches it (170
    MB) only with ``download=True``. ``source="imagefolder"`` reads an existing copy laid out as
    ``root/<split>/<class>/<name>.jpg|png`` (the ten class names of :data:`CIFAR10_CLASSES`) and keeps
    the decoded pixels, not shuffled, beside it as ``root/<split>.npz``, which also serves where the folder is gone. A copy of JPEG files
    differs slightly from the original pixels: say in the record which one was used.

    Raises ``FileNotFoundError`` when nothing is there, ``ValueError`` for an incomplete folder.
    """
    one_of(split, "split", ("train", "test"))
    one_of(source, "source", ("torchvision", "imagefolder"))
    root = Path(root)
    found = _cifar10_folder(root, split) if source == "imagefolder" else _cifar10_torchvision(root, split, download)
    order = numpy_generator(0, "cifar10", "order", split).permutation(len(found.labels))
    return Split(found.images[order], found.labels[order])


def class_counts(labels: torch.Tensor, classes: int = 10) -> list[int]:
    """How many of ``labels`` (N,) there are of each of the ``classes``: integers that sum to N.

    Raises ``ValueError`` for no labels, or labels that are not integers in 0..classes-1.
    """
    classes = as_int(classes, "classes", minimum=1)
    check_tensor(labels, "labels", floating=False)
    if labels.dim() != 1 or len(labels) == 0 or labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be a non-empty (N,) tensor of integers, got {labels.dtype} of {tuple(labels.shape)}."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(
            f"labels must be in 0..{classes - 1}, got values from {low} to {high}; give the number of classes."
        )
    return torch.bincount(labels.long().cpu(), minlength=classes).tolist()


def balanced_counts(labels: torch.Tensor, classes: int = 10) -> list[int]:
    """:func:`class_counts` of ``labels``, refused where they cannot be a random sample of equally frequent classes.

    Each count of such a sample is Binomial(N, 1 / classes). Raises ``ValueError`` when a count lies so far out that the
    chance of one as far out or farther is below 1e-6 (both sides together). So a true random sample of ten classes is refused
    at most once in 100,000 times, while 7 or more images of one class alone are always refused.
    """
    counts = class_counts(labels, classes)
    for label, count in enumerate(counts):
        if _binomial_tails(count, len(labels), 1 / classes) < 1e-6:
            raise ValueError(
                f"{count} of {len(labels)} images are of class {label}, which a random sample of {classes} equally frequent "
                f"classes would hardly ever give (counts {counts}); shuffle the images before taking the first ones."
            )
    return counts


def _binomial_tails(count: int, n: int, p: float) -> float:
    """Chance that a Binomial(n, p) number is at least as far out as ``count``: twice the smaller tail, at most 1."""
    from scipy.stats import binom

    return float(min(1.0, 2 * min(binom.cdf(count, n, p), binom.sf(count - 1, n, p))))


def _cifar10_torchvision(root: Path, split: str, download: bool) -> Split:
    from torchvision.datasets import CIFAR10

    try:
        with fetch.alone(Path(root)) if download else contextlib.nullcontext():
            data = CIFAR10(str(root), train=split == "train", download=download)
    except RuntimeError:
        raise FileNotFoundError(
            f"CIFAR-10 is not under {str(root)!r}; pass download=True (170 MB, once), "
            "or source='imagefolder' for a copy laid out as <split>/<class>/<image>."
        ) from None
    images = torch.from_numpy(np.ascontiguousarray(data.data.transpose(0, 3, 1, 2)))
    return Split(images, torch.tensor(data.targets, dtype=torch.int64))


def _cifar10_folder(root: Path, split: str) -> Split:
    cache = root / f"{split}.npz"
    folder = root / split
    if not folder.is_dir():
        if cache.is_file() and (known := _read_cache(cache, None)) is not None:  # carried without its folder
            return known
        raise FileNotFoundError(f"no folder {str(folder)!r}; it must hold one folder of images per CIFAR-10 class.")
    from PIL import Image

    listing = [_image_files(folder / name) for name in CIFAR10_CLASSES]
    key = _listing_key(folder, listing)
    if cache.is_file() and (known := _read_cache(cache, key)) is not None:
        return known
    pixels, labels = [], []
    for label, files in enumerate(listing):
        for file in files:
            try:
                with Image.open(file) as image:
                    array = np.asarray(image.convert("RGB"))
            except OSError as error:  # Pillow's errors name no file
                raise ValueError(f"{str(file)!r} is no readable image ({error}); replace or delete it.") from None
            if array.shape != (32, 32, 3):
                raise ValueError(f"{str(file)!r} has shape {array.shape}; CIFAR-10 images are 32x32 in colour.")
            pixels.append(array.transpose(2, 0, 1))
            labels.append(label)
    images = np.stack(pixels)
    try:
        _write_cache(cache, key=np.asarray(key), images=images, labels=np.asarray(labels, dtype=np.int64))
    except OSError as error:
        warnings.warn(
            f"the decoded images could not be kept as {str(cache)!r} ({error}), so the next call decodes them again.",
            stacklevel=3,
        )
    return Split(torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64))


def _image_files(folder: Path) -> list[Path]:
    """The images of one class in order; names that begin with a point (resource forks, for instance) are no images."""
    names = (p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    files = sorted(p for p in names if not p.name.startswith("."))
    if not files:
        raise ValueError(f"{str(folder)!r} holds no .jpg or .png image; every CIFAR-10 class needs some.")
    return files


def _listing_key(folder: Path, listing: list[list[Path]]) -> str:
    """A hash of names, sizes and times of change: another key means other images."""
    digest = hashlib.sha256()
    for file in itertools.chain.from_iterable(listing):
        seen = file.stat()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{seen.st_size}\0{seen.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read_cache(cache: Path, key: str | None) -> Split | None:
    """What was kept of the images with this key (any with ``None``); ``None`` for other ones, or a damaged file."""
    try:
        with np.load(cache) as stored:
            if key is None or ("key" in stored and str(stored["key"]) == key):
                return Split(torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"]))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass
    return None


def _write_cache(cache: Path, **arrays: np.ndarray) -> None:
    """Whole or not at all, by way of a name of this process's own."""
    handle, partial = tempfile.mkstemp(dir=cache.parent, prefix=f".{cache.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, cache)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def as_unit_float(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """uint8 images 0..255 as floats in [0, 1] (division by 255), same shape and device; ``TypeError`` for another dtype."""
    check_tensor(images, "images", floating=False)
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8 (0..255), got {images.dtype}; float images are already scaled.")
    return images.to(dtype) / 255.0


def random_crop_flip(images: torch.Tensor, generator: torch.Generator, padding: int = 4) -> torch.Tensor:
    """Each image shifted at random by up to ``padding`` pixels (zeros move in) and mirrored with probability 1/2.

    ``images`` (N, C, H, W) of any dtype, on the generator's device; the result has the same shape
    and dtype. Shifts are uniform on ``{-padding, ..., padding}`` for both axes, independent per image:
    the usual random crop of the zero-padded image. Everything runs on the images' device.
    """
    padding = as_int(padding, "padding", minimum=0)
    as_generator(generator)
    check_tensor(images, "images", floating=False)
    if images.dim() != 4 or images.shape[0] == 0:
        raise ValueError(f"images must be a non-empty (N, C, H, W) tensor, got shape {tuple(images.shape)}.")
    n, channels, height, width = images.shape
    device = images.device
    shift = torch.randint(0, 2 * padding + 1, (2, n), generator=generator, device=device)
    mirror = torch.randint(0, 2, (n,), generator=generator, device=device).bool()
    padded = torch.nn.functional.pad(images, (padding,) * 4)  # (N, C, H + 2P, W + 2P)
    rows = shift[0][:, None] + torch.arange(height, device=device)  # (N, H)
    columns = torch.arange(width, device=device).expand(n, width)
    columns = shift[1][:, None] + torch.where(mirror[:, None], width - 1 - columns, columns)  # (N, W)
    index = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
