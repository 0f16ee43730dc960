"""Four UCI regression tables, checksummed: airfoil, concrete, red wine and parkinsons.

The files are the ones of the repository treforevans/uci_datasets (MIT) at a pinned commit; the UCI
originals are CC BY 4.0. Columns are already centred; the target stands last.
"""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workings import paths
from workings.checks import as_int, as_numpy_generator, one_of
from workings.runs.fetch import cache_dir, download, sha256_of, writing

_COMMIT = "f0737523712fe66a1640e4b980b927e8490b58eb"
_ADDRESS = "https://raw.githubusercontent.com/treforevans/uci_datasets/{commit}/uci_datasets/{name}/data.csv.gz"


@dataclass(frozen=True)
class _Pinned:
    rows: int
    features: int
    sha256: str


TABLES = {
    "airfoil": _Pinned(1503, 5, "1cce82516ac9e564fba52f55d817eb147fc39085f5d7b958ad15b92f4207f23e"),
    "concrete": _Pinned(1030, 8, "542c5d9a0d301bdb47550280398dcbbe2fb8404631fc945de1ea6df9ade741c6"),
    "parkinsons": _Pinned(5875, 20, "d20ffd9c9e5053a03fff0b770e7b0e076bf856a34538198303c897b6cc6addde"),
    "wine": _Pinned(1599, 11, "e2ca3346651ddb43fbc6a1355e70e74b7ce68f93059e04405e9cb749c219eae2"),
}
"""Rows, features and SHA-256 of each file."""


@dataclass(frozen=True)
class UCITable:
    """Features ``x`` (rows, features) and target ``y`` (rows,), float64; ``source`` says where they came from."""

    x: np.ndarray
    y: np.ndarray
    source: str
    sha256: str | None
    feature_names: tuple[str, ...] | None = None


def load_uci(
    name: str, root: Path | str | None = None, download: bool = False, *, verify: bool = True, progress: bool = True
) -> UCITable:
    """Read the table ``name`` ("airfoil", "concrete", "parkinsons" or "wine": red wine).

    ``root`` is a folder that holds ``<name>.csv.gz``; without one the cache folder (``WORKINGS_DATA``, or
    ``~/.cache/workings``) is used and, with ``download=True``, filled from the pinned source. ``verify=False``
    skips checksum and shape, for generated tables. Raises ``ValueError`` for an unknown name, a wrong checksum or
    a table that is not numbers, and ``FileNotFoundError``, with the remedy, when the file is not there.
    """
    one_of(name, "name", tuple(TABLES))
    pinned = TABLES[name]
    folder = cache_dir() / "uci" if root is None else Path(root)
    file = folder / f"{name}.csv.gz"
    if download and root is None:
        _fetch(name, file, progress)
    with writing(file):
        there = file.is_file()
    if not there:
        remedy = "put it there" if root is not None else "call load_uci(..., download=True), or pass root=FOLDER"
        raise FileNotFoundError(f"{paths.shown(file)} is not there: {remedy}. The file comes from {address(name)}.")
    found = sha256_of(file)
    if verify and found != pinned.sha256:
        raise ValueError(
            f"{paths.shown(file)} is not the pinned table: SHA-256 {pinned.sha256} expected, {found} found. "
            f"Delete it and fetch it again from {address(name)}."
        )
    table = _parse(file)
    if verify and table.shape != (pinned.rows, pinned.features + 1):
        raise ValueError(f"{paths.shown(file)} has shape {table.shape}, not {(pinned.rows, pinned.features + 1)}.")
    source = f"UCI {name}, treforevans/uci_datasets at {_COMMIT[:12]}" if verify else f"unverified table {file.name}"
    return UCITable(table[:, :-1], table[:, -1], source, found)


def address(name: str) -> str:
    """Where the pinned file of table ``name`` is published."""
    return _ADDRESS.format(commit=_COMMIT, name=one_of(name, "name", tuple(TABLES)))


def synthetic_table(name: str, rows: int, generator: np.random.Generator, folder: Path | str | None = None) -> UCITable:
    """A generated stand-in for table ``name`` with its number of features, for dry runs.

    ``y = sin(x_0) + x_1 / 2 + 0.3 noise`` on standard normal features. With ``folder`` it is also written to
    ``<folder>/<name>.csv.gz``, in the real file's format, for ``load_uci(name, root=folder, verify=False)``.
    """
    features = TABLES[one_of(name, "name", tuple(TABLES))].features
    x = as_numpy_generator(generator).normal(size=(as_int(rows, "rows", minimum=1), features))
    y = np.sin(x[:, 0]) + x[:, 1] / 2 + 0.3 * generator.normal(size=rows)
    if folder is not None:
        text = io.StringIO()
        np.savetxt(text, np.column_stack([x, y]), delimiter=",", fmt="%.17g")
        content = gzip.compress(text.getvalue().encode(), mtime=0)
        paths.write_atomically(Path(folder) / f"{name}.csv.gz", content)
    return UCITable(x, y, f"generated stand-in for {name}", None)


def _fetch(name: str, file: Path, progress: bool) -> None:
    download(address(name), file, TABLES[name].sha256, progress=progress)


def _parse(file: Path) -> np.ndarray:
    try:
        text = gzip.decompress(file.read_bytes()).decode("ascii")
        if not text.strip():
            raise ValueError("it is empty")
        table = np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2, dtype=np.float64)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(
            f"{paths.shown(file)} cannot be read as a compressed table of numbers: {error}. "
            "Delete it and fetch it again."
        ) from None
    if table.shape[0] < 1 or table.shape[1] < 2 or not np.isfinite(table).all():
        raise ValueError(f"{paths.shown(file)} must hold finite numbers, features then target; shape {table.shape}.")
    return table
