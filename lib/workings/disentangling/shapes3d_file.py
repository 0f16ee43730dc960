"""3D Shapes: the published file of 480,000 pictures of a room with one object, fetched, checked and read in parts.

``3dshapes.h5`` (256 MiB) holds ``images`` (480000, 64, 64, 3) uint8 and ``labels`` (480000, 6) float64: all combinations of
six factors, the last fastest. It stands in the public bucket that google-deepmind/3d-shapes (Apache-2.0) names. The package
h5py reads it, and is imported only when a file is opened.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workings import paths
from workings.checks import check_tensor
from workings.runs import fetch

FILE_NAME = "3dshapes.h5"
ADDRESS = f"https://storage.googleapis.com/3d-shapes/{FILE_NAME}"
SHA256 = "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785"
"""SHA-256 of the published file, 267,573,662 bytes, as TensorFlow Datasets lists it."""
FACTOR_NAMES = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
FACTOR_SIZES = (10, 10, 10, 8, 4, 15)
SIDE = 64


class Shapes3D:
    """Pictures of a file of the form of ``3dshapes.h5``, read as they are asked for.

    ``sizes``: how many values each of the six factors takes; ``classes`` (N, 6) int64: their ranks, row by row. A file
    with fewer values per factor is taken with ``whole=False``. Close it with :meth:`close`, or use it in a ``with`` block.

    Raises ``FileNotFoundError`` where there is none, ``RuntimeError`` where h5py is not installed, and ``ValueError`` for
    a file of another form: other arrays, shapes or types, rows that are not all combinations in order, or, with
    ``whole``, other numbers of values than the published file's.
    """

    def __init__(self, path: str | Path, *, whole: bool = True):
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{paths.shown(path)} is not there; call fetch_shapes3d(), or fetch it: {ADDRESS}.")
        try:
            import h5py
        except ModuleNotFoundError:
            raise RuntimeError("reading 3D Shapes needs h5py, which is not installed; pip install h5py.") from None
        try:
            self._file = h5py.File(path, "r")
        except OSError:
            raise ValueError(f"{paths.shown(path)} is no HDF5 file; delete it and fetch it again: {ADDRESS}.") from None
        try:
            self._images, labels = self._checked(paths.shown(path))
            self.sizes, self.classes = _ranks(labels, paths.shown(path))
            if whole and self.sizes != FACTOR_SIZES:
                raise ValueError(
                    f"{paths.shown(path)} has {self.sizes} values of {FACTOR_NAMES}, not {FACTOR_SIZES}; "
                    "for a part of the data set say whole=False."
                )
        except BaseException:
            self._file.close()
            raise

    def _checked(self, name: str) -> tuple[Any, np.ndarray]:
        missing = [key for key in ("images", "labels") if key not in self._file]
        if missing:
            raise ValueError(f"{name} has no array {' and '.join(missing)}; it is another file.")
        images, labels = self._file["images"], self._file["labels"]
        if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(f"{name}: images must be uint8 (N, {SIDE}, {SIDE}, 3), got {images.dtype} {images.shape}.")
        if labels.shape != (len(images), len(FACTOR_NAMES)) or len(images) == 0:
            raise ValueError(f"{name}: labels must be ({len(images)}, 6), got {labels.shape}.")
        return images, np.asarray(labels, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.classes)

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, 64, 64) float32 in [0, 1] of rows ``indices`` (B,), in the order given, repeats allowed.

        Raises ``ValueError`` for a row that is not there and ``TypeError`` for indices that are no integers.
        """
        check_tensor(indices, "indices", floating=False)
        if indices.is_floating_point() or indices.dtype == torch.bool:
            raise TypeError(f"indices must be integers, got {indices.dtype}.")
        if indices.dim() != 1 or len(indices) == 0:
            raise ValueError(f"indices must be (B,) with B at least 1, got {tuple(indices.shape)}.")
        if not bool(((indices >= 0) & (indices < len(self))).all()):
            raise ValueError(f"indices must be in 0..{len(self) - 1}, got {indices.min()} to {indices.max()}.")
        rows, back = np.unique(indices.cpu().numpy(), return_inverse=True)  # h5py wants rising rows
        pictures = torch.from_numpy(self._images[rows][back])
        return pictures.permute(0, 3, 1, 2).float().div_(255.0)

    def close(self) -> None:
        """Close the file; pictures can no longer be read."""
        self._file.close()

    def __enter__(self) -> Shapes3D:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def fetch_shapes3d(root: str | Path | None = None, *, progress: bool = True) -> Path:
    """Fetch the published file unless it is in ``root``; its path, for :class:`Shapes3D`. Known by its :data:`SHA256`.

    ``root`` defaults to ``shapes3d`` in the cache folder. Raises what :func:`workings.runs.fetch.download` raises.
    """
    path = (fetch.cache_dir() / "shapes3d" if root is None else Path(root)) / FILE_NAME
    return fetch.download(ADDRESS, path, SHA256, progress=progress).path


def _ranks(labels: np.ndarray, name: str) -> tuple[tuple[int, ...], torch.Tensor]:
    """Numbers of values, and the rank of every label; ``ValueError`` unless the rows are all combinations in order."""
    found = [np.unique(column, return_inverse=True) for column in labels.T]
    sizes = tuple(len(values) for values, _ in found)
    classes = np.stack([ranks.reshape(-1) for _, ranks in found], axis=1)
    if (
        math.prod(sizes) != len(classes)
        or (np.ravel_multi_index(tuple(classes.T), sizes) != np.arange(len(classes))).any()
    ):
        raise ValueError(f"{name}: its rows are not all combinations of the factors in order, the last fastest.")
    return sizes, torch.from_numpy(classes)
