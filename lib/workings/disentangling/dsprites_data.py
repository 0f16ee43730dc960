"""dSprites as a data set: bit-packed in memory, drawn here or read from the published file.

The published file is ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`` of google-deepmind/dsprites-dataset
(Apache-2.0). One of its members is a pickle, which can run code when it is opened: it never is, here.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from workings import fetch, paths
from workings.checks import as_int
from workings.disentangling.dsprites import (
    FACTOR_NAMES,
    FACTOR_SIZES,
    N_BYTES,
    N_IMAGES,
    SIZE,
    as_classes,
    as_integers,
    dsprites_classes,
    dsprites_index,
    packed_dsprites,
    unpack_images,
)
from workings.disentangling.factor_grid import draw_factors

FILE_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
ADDRESS = f"https://raw.githubusercontent.com/google-deepmind/dsprites-dataset/master/{FILE_NAME}"
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
"""MD5 of the published file, as several public data loaders state it. It tells a damaged or exchanged file, not a
forged one; what is read is checked besides (:func:`load_dsprites_npz`)."""

REFERENCE_CRC32 = {
    (0, 0, 0, 0, 0): 0xCBFDFD84,
    (0, 2, 4, 16, 16): 0xE178DA8D,
    (0, 5, 0, 30, 30): 0x24815733,
    (0, 5, 20, 0, 30): 0xBB9BDD74,
    (1, 0, 28, 30, 2): 0x5F6B0760,
    (1, 3, 8, 4, 26): 0xD620B1EE,
    (1, 5, 0, 16, 16): 0x1121F793,
    (1, 5, 16, 8, 8): 0x05E4F47D,
    (2, 0, 0, 0, 0): 0xF592E80C,
    (2, 3, 12, 10, 20): 0x1AE2EB6C,
    (2, 5, 0, 16, 16): 0x8BF27633,
    (2, 4, 36, 28, 6): 0xF7875A0F,
}
"""CRC-32 of the packed bits of twelve published images, by factor classes."""

_SUB_GRID_ON = (3_351_215, 2_629_531, 2_040_233)  # published images: every 4th orientation, every 2nd position
_ROWS_AT_A_TIME = 4096


class DSprites(torch.utils.data.Dataset):
    """Sprites by number, one bit a pixel: (image (1, 64, 64) float32, classes (5,) int64) each.

    ``packed`` (N, 512) uint8 holds the images of ``classes`` (N, 5), in that order; without it they are drawn;
    without ``classes`` it is the whole set (378 MB). The bits live on ``device``, where batches are unpacked;
    ``classes`` stay on the host. ``transform`` takes a batch (B, 1, 64, 64) and returns one.

    When ``classes`` are all combinations of some values, as :func:`sub_grid` gives them, the set is a factor
    grid: ``sizes`` counts the values of each factor, and :meth:`sample_factors` and :meth:`observations` speak of
    ranks 0 .. size - 1 among them (in the whole set a rank is the class itself).

    Raises ``ValueError`` or ``TypeError`` for bits or classes of a wrong shape, type or number.
    """

    def __init__(
        self,
        packed: torch.Tensor | None = None,
        *,
        classes: torch.Tensor | None = None,
        device: str | torch.device = "cpu",
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ):
        if packed is not None:
            packed = torch.as_tensor(packed)
            if packed.dtype != torch.uint8:
                raise TypeError(f"packed must be uint8 (eight pixels a byte), got {packed.dtype}.")
            if packed.dim() != 2 or packed.shape[1] != N_BYTES:
                raise ValueError(f"packed must be (N, {N_BYTES}), got shape {tuple(packed.shape)}.")
            wanted = N_IMAGES if classes is None else len(classes)
            if len(packed) != wanted:
                raise ValueError(
                    f"packed holds {len(packed)} images where classes name {wanted}; give both for a subset."
                )
        whole = classes is None
        self.classes = as_classes(dsprites_classes(torch.arange(N_IMAGES)) if whole else classes).cpu()
        if self.classes.dim() != 2 or len(self.classes) == 0:
            raise ValueError(f"classes must be (N, 5) with at least one row, got shape {tuple(self.classes.shape)}.")
        if packed is None:
            packed = packed_dsprites(None if whole else self.classes, device=device)
        self.packed = packed.to(device).contiguous()
        self.transform = transform
        levels = [torch.arange(n) for n in FACTOR_SIZES] if whole else [c.unique() for c in self.classes.unbind(1)]
        complete = math.prod(map(len, levels)) == len(self.classes)
        self._grid = complete and (whole or torch.equal(torch.cartesian_prod(*levels), self.classes))
        self._sizes = tuple(map(len, levels))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        i = as_int(i, "i")
        if not -len(self) <= i < len(self):
            raise IndexError(f"image {i} of {len(self)}.")
        i %= len(self)
        return self.images(torch.tensor([i]))[0], self.classes[i]

    def __getitems__(self, indices: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Several items at once: what a ``DataLoader`` asks for a batch."""
        rows = torch.as_tensor(indices)
        return list(zip(self.images(rows), self.classes[rows], strict=True))

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Images (B, 1, 64, 64) float32 of rows ``indices`` (B,), transformed, on the device of the bits."""
        indices = as_integers(torch.as_tensor(indices), "indices")
        if indices.dim() != 1:
            raise ValueError(f"indices must be (B,), got shape {tuple(indices.shape)}.")
        if indices.numel() and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"indices must be in [0, {len(self) - 1}], got {indices.min()} to {indices.max()}.")
        batch = unpack_images(self.packed.index_select(0, indices.to(self.packed.device)))
        return batch if self.transform is None else self.transform(batch)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each of the five factors; ``ValueError`` unless the set is a factor grid."""
        if not self._grid:
            raise ValueError("these classes are not all combinations of some values in dSprites order; use sub_grid.")
        return self._sizes

    def sample_factors(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``n`` uniform factor vectors, as ranks: (n, 5) int64 on the generator's device."""
        return draw_factors(self.sizes, n, generator)

    def observations(self, factors: torch.Tensor) -> torch.Tensor:
        """Images (n, 1, 64, 64) of factor vectors ``factors`` (n, 5), given as ranks 0 .. size - 1."""
        factors, sizes = as_integers(torch.as_tensor(factors), "factors"), self.sizes
        if factors.dim() != 2 or factors.shape[1] != len(sizes):
            raise ValueError(f"factors must be (n, {len(sizes)}), got shape {tuple(factors.shape)}.")
        if ((factors < 0) | (factors >= factors.new_tensor(sizes))).any():
            raise ValueError(f"factors must be ranks 0 .. size - 1 for sizes {sizes}; one is out of range.")
        row = factors[:, 0]
        for factor in range(1, len(sizes)):
            row = row * sizes[factor] + factors[:, factor]
        return self.images(row)


def sub_grid(
    shapes: int | Iterable[int] | None = None,
    scales: int | Iterable[int] | None = None,
    orientations: int | Iterable[int] | None = None,
    pos_x: int | Iterable[int] | None = None,
    pos_y: int | Iterable[int] | None = None,
) -> torch.Tensor:
    """Classes (N, 5) int64 of all combinations of the given classes, in the order of dSprites; ``None``: every one.

    Raises ``ValueError`` for a class out of range, given twice, or none at all; ``TypeError`` for no integer.
    """
    levels = []
    for given, name, size in zip((shapes, scales, orientations, pos_x, pos_y), FACTOR_NAMES, FACTOR_SIZES, strict=True):
        if given is None:
            given = range(size)
        values = list(given) if isinstance(given, Iterable) and getattr(given, "ndim", 1) else [given]
        values = sorted(as_int(value, f"class of {name}", minimum=0, maximum=size - 1) for value in values)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"classes of {name} must be at least one, each once, got {values}; None means all.")
        levels.append(torch.tensor(values))
    return torch.cartesian_prod(*levels)


def factor_values(classes: torch.Tensor) -> torch.Tensor:
    """Values (..., 5) float64 of factor classes (..., 5): shape 0, 1, 2; scale 0.5 + 0.1 k, in [0.5, 1];
    orientation 2 pi r / 39, in [0, 2 pi], both ends included; positions i / 31, in [0, 1].

    Raises as :func:`workings.disentangling.dsprites.as_classes`.
    """
    shape, scale, turn, i, j = as_classes(classes).double().unbind(-1)
    return torch.stack([shape, 0.5 + 0.1 * scale, 2 * math.pi * turn / 39, i / 31, j / 31], dim=-1)


def load_dsprites_npz(path: Path | str, *, sha256: str | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The published file as bits (737280, 512) uint8 and classes (737280, 5) int64.

    Only ``imgs`` and ``latents_classes`` are read, 4096 rows at a time (about 40 MB beyond the result), by their
    plain array headers; nothing is unpickled. Checked: shapes and types, pixels 0 and 1, the order of the rows,
    :data:`REFERENCE_CRC32`, and the pixel counts of a sub-grid of 46,080 images. ``sha256`` is checked when given.

    Raises ``FileNotFoundError``, or ``ValueError`` for a file that is damaged or another one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{paths.shown(path)} is not there; call fetch_dsprites(), or fetch it from {ADDRESS}.")
    if sha256 is not None and (found := fetch.sha256_of(path)) != sha256.lower():
        raise ValueError(f"{paths.shown(path)} is not the file asked for: SHA-256 {sha256} expected, {found} found.")
    packed = _packed_from(path, N_IMAGES)
    _check_content(packed, path)
    return packed, dsprites_classes(torch.arange(N_IMAGES))


def fetch_dsprites(root: Path | str | None = None, *, progress: bool = True) -> Path:
    """Fetch the published file unless it is in ``root``; its path, for :func:`load_dsprites_npz`.

    ``root`` defaults to ``dsprites`` in the cache folder (``WORKINGS_DATA``, or ``~/.cache/workings``). An
    interrupted download goes on where it stopped. The file is known by its :data:`MD5`.

    Raises ``ValueError`` for another file standing there, and what :func:`workings.fetch.download` raises.
    """
    path = (fetch.cache_dir() / "dsprites" if root is None else Path(root)) / FILE_NAME
    if path.exists():
        if (found := _md5_of(path)) != MD5:
            raise ValueError(
                f"{paths.shown(path)} is not the published file: MD5 {MD5} expected, {found} found. "
                f"Delete it to fetch it again from {ADDRESS}."
            )
        return path
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (part.exists() and _md5_of(part) == MD5):  # else stopped between the last byte and the rename
        fetch._receive(ADDRESS, part, None, progress, 30.0)
        if (found := _md5_of(part)) != MD5:
            part.unlink()
            raise fetch.Corrupt(
                f"what came from {ADDRESS} is not the published file: MD5 {MD5} expected, {found} found. It has been "
                "deleted. Call again; if it happens twice, the file behind the address has changed."
            )
    os.replace(part, path)
    return path


def _md5_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _packed_from(path: Path, rows: int) -> torch.Tensor:
    """Bits (rows, 512) of an archive that holds the first ``rows`` images, with every check of the arrays."""
    packed = torch.empty(rows, N_BYTES, dtype=torch.uint8)
    try:
        with zipfile.ZipFile(path) as archive:
            for start, given in _rows(archive, "latents_classes", (rows, 6), np.dtype(np.int64)):
                expected = dsprites_classes(torch.arange(start, start + len(given))).numpy()
                if (given[:, 0] != 0).any() or (given[:, 1:] != expected).any():
                    raise ValueError("its latents_classes are not the factor classes in order")
            for start, given in _rows(archive, "imgs", (rows, SIZE, SIZE), np.dtype(np.uint8)):
                if given.max() > 1:
                    raise ValueError(f"its imgs must be 0 or 1, and hold {given.max()}")
                bits = np.packbits(given.reshape(len(given), -1), axis=1)
                packed[start : start + len(given)] = torch.from_numpy(bits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{paths.shown(path)} cannot be read as dSprites: {str(error).rstrip('.')}. "
            f"Delete it and fetch it again from {ADDRESS}."
        ) from None
    return packed


def _rows(
    archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype
) -> Iterator[tuple[int, np.ndarray]]:
    """First row and content of consecutive blocks of rows of the array ``name``."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"it holds no array {name!r}, only {', '.join(archive.namelist()[:6]) or 'nothing'}")
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its array {name!r} has the unknown format version {version}")
        header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        found_shape, fortran, found = header(stream)
        if found.hasobject:
            raise ValueError(f"its array {name!r} holds pickled objects, which are never opened here")
        if (found_shape, fortran, found) != (shape, False, dtype):
            order = ", column-major" if fortran else ""
            raise ValueError(f"its array {name!r} must be {dtype} {shape}, and is {found} {found_shape}{order}")
        stride = dtype.itemsize * math.prod(shape[1:])
        for start in range(0, shape[0], _ROWS_AT_A_TIME):
            count = min(_ROWS_AT_A_TIME, shape[0] - start)
            content = stream.read(count * stride)
            if len(content) < count * stride:
                raise ValueError(f"its array {name!r} ends early")
            yield start, np.frombuffer(content, dtype).reshape(count, *shape[1:])
        if stream.read(1):  # reading to the end also lets zipfile check its own CRC-32
            raise ValueError(f"its array {name!r} goes on after the last row")


def _check_content(packed: torch.Tensor, path: Path) -> None:
    """``ValueError`` unless whole-set bits (737280, 512) agree with the published images at the reference points."""
    for classes, expected in REFERENCE_CRC32.items():
        found = zlib.crc32(packed[dsprites_index(torch.tensor(classes))].numpy().tobytes())
        if found != expected:
            raise ValueError(
                f"{paths.shown(path)} is not dSprites: image {classes} has CRC-32 {found:08x}, not {expected:08x}."
            )
    for shape, expected in enumerate(_SUB_GRID_ON):
        rows = dsprites_index(sub_grid(shape, None, range(0, 40, 4), range(0, 32, 2), range(0, 32, 2)))
        found = int(np.unpackbits(packed[rows].numpy()).sum(dtype=np.int64))
        if found != expected:
            raise ValueError(
                f"{paths.shown(path)} is not dSprites: its sub-grid of shape {shape} has {found} pixels on, not {expected}."
            )
