"""The published dSprites file: fetched, checked and read as bits.

It is ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`` of google-deepmind/dsprites-dataset (Apache-2.0). One of
its members is a pickle, which can run code when it is opened: it never is, here.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from workings import paths
from workings.disentangling.dsprites_renderer import (
    FACTOR_SIZES,
    N_BYTES,
    N_IMAGES,
    SIZE,
    dsprites_classes,
    dsprites_index,
)
from workings.runs import fetch

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

PIXELS_THAT_DIFFER = {
    111508: (29, 43),
    127956: (35, 36),
    151882: (17, 21),
    159073: (27, 28),
    258370: (12, 26),
    456189: (35, 37),
    475532: (28, 37),
    650103: (44, 44),
    717724: (54, 41),
}
"""Row and column of the one pixel by which a published image differs from the drawn one, by image: nine among 64,834
compared. In each a vertex lies within 0.001 / 256 pixel of where its snap changes, and the published side is
the other one. The pixel is inferred: it is the one that the other snap changes, and the flips give the published
sub-grid counts exactly. Other images, not compared, may differ likewise."""

_SUB_GRID_ON = (3_351_215, 2_629_531, 2_040_233)  # published images: every 4th orientation, every 2nd position
_ROWS_AT_A_TIME = 4096


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

    Raises ``ValueError`` for another file standing there, and what :func:`workings.runs.fetch.download` raises.
    """
    path = (fetch.cache_dir() / "dsprites" if root is None else Path(root)) / FILE_NAME
    return fetch.download(ADDRESS, path, md5=MD5, progress=progress).path


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
    grid = packed.numpy().reshape(*FACTOR_SIZES, N_BYTES)
    for shape, expected in enumerate(_SUB_GRID_ON):
        found = int(np.unpackbits(grid[shape, :, ::4, ::2, ::2]).sum(dtype=np.int64))
        if found != expected:
            raise ValueError(
                f"{paths.shown(path)} is not dSprites: its sub-grid of shape {shape} has {found} pixels on, not {expected}."
            )
