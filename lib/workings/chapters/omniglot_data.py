"""Omniglot as two collections of characters: one to train on and one, of other alphabets, to make episodes of.

Without a folder, ``torchvision.datasets.Omniglot`` fetches the usual halves: 964 characters of 30 alphabets to train on, 659 of
20 others for episodes. With ``data_root``, a folder that holds ``omniglot_images_background_small1.zip`` and
``..._small2.zip`` of the publishers, the first set of five alphabets is trained on, and those alphabets of the second set that
are not in the first make the episodes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from workings.checks import as_int
from workings.runs import fetch
from workings.runs.fetch import cache_dir

ZIPS = ("omniglot_images_background_small1.zip", "omniglot_images_background_small2.zip")


class Collection(NamedTuple):
    """Images (N, C, size, size) float32 in [0, 1] with ink at 1, ``labels`` (N,) 0, 1, ... and ``groups`` (N,), both int64.

    A group is an alphabet, or whatever else makes classes alike.
    """

    images: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1

    def first(self, classes: int) -> Collection:
        """Only the first ``classes`` classes."""
        keep = self.labels < as_int(classes, "classes", minimum=1, maximum=self.classes)
        return Collection(self.images[keep], self.labels[keep], self.groups[keep])

    def to(self, device: str | torch.device) -> Collection:
        """The same collection on ``device``."""
        return Collection(*(part.to(device) for part in self))


def omniglot(data_root: str | Path | None = None, size: int = 28) -> tuple[Collection, Collection]:
    """Characters to train on and characters for episodes, ``size`` pixels wide.

    Raises ``FileNotFoundError`` when ``data_root`` lacks one of the two archives, ``ValueError`` for an archive without images
    or with one that cannot be read.
    """
    size = as_int(size, "size", minimum=8, maximum=105)
    if data_root is None:
        return _torchvision(size)
    files = [Path(data_root) / name for name in ZIPS]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"there is no {file.name} in {str(data_root)!r}; leave data_root out to fetch Omniglot."
            )
    base = _archive(files[0], size)
    known = {alphabet for alphabet, _, _ in base}
    novel = [item for item in _archive(files[1], size) if item[0] not in known]
    return _collection(base), _collection(novel)


def _archive(file: Path, size: int) -> list[tuple[str, str, np.ndarray]]:
    """(alphabet, character, drawing) of every image of an archive, sorted by name.

    Names that begin with a point (resource forks, for instance) are no images.
    """
    with zipfile.ZipFile(file) as archive:
        pictures = (name for name in archive.namelist() if name.endswith(".png"))
        names = sorted(name for name in pictures if not name.rpartition("/")[2].startswith("."))
        if not names:
            raise ValueError(f"{file.name} holds no PNG images; it is not an archive of Omniglot.")
        return [(name.split("/")[-3], name.split("/")[-2], _drawing(archive, name, size)) for name in names]


def _drawing(archive: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(archive.read(name))) as picture:
            return _shrunk(picture, size)
    except (OSError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:  # Pillow's errors name no file
        file = Path(str(archive.filename)).name
        raise ValueError(f"{name!r} in {file} is no readable image ({error}).") from None


def _collection(items: list[tuple[str, str, np.ndarray]]) -> Collection:
    pixels = [picture for _, _, picture in items]
    alphabets = np.array([alphabet for alphabet, _, _ in items])
    characters = np.array([f"{alphabet}/{character}" for alphabet, character, _ in items])
    number = lambda names: torch.from_numpy(np.unique(names, return_inverse=True)[1].astype(np.int64))
    return Collection(torch.from_numpy(np.stack(pixels))[:, None], number(characters), number(alphabets))


def _shrunk(picture, size: int) -> np.ndarray:
    """A drawing (size, size) float32 with ink at 1: each pixel is the share of ink in its part of the original."""
    from PIL import Image

    return 1.0 - np.asarray(picture.convert("L").resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 255.0


def _torchvision(size: int) -> tuple[Collection, Collection]:
    try:
        from torchvision.datasets import Omniglot
    except ImportError:
        raise RuntimeError("Omniglot is read by torchvision, which is not installed; pip install it.") from None
    parts = []
    for background in (True, False):
        with fetch.alone(cache_dir() / "omniglot"):
            data = Omniglot(str(cache_dir() / "omniglot"), background=background, download=True)
        names = data._characters  # "alphabet/character", in the order of the labels
        pictures = [(_shrunk(picture, size), names[label]) for picture, label in data]
        labels = torch.from_numpy(np.unique([name for _, name in pictures], return_inverse=True)[1].astype(np.int64))
        alphabets = [Path(name).parts[0] for _, name in pictures]
        groups = torch.from_numpy(np.unique(alphabets, return_inverse=True)[1].astype(np.int64))
        parts.append(Collection(torch.from_numpy(np.stack([p for p, _ in pictures]))[:, None], labels, groups))
    return parts[0], parts[1]
