"""Where claims and results stand, in a checkout and in an installed package.

A checkout keeps them at ``<root>/claims`` and ``<root>/results``, beside ``lib/``. An installed
package carries copies at ``workings/_claims`` and ``workings/_results``, so that a notebook opened
without the repository can still show its ledger. ``WORKINGS_RESULTS`` names another results folder.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path(__file__).resolve().parent
# Not allowed to write, or a file stands where a folder is asked for.
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class ChapterName(NamedTuple):
    """The two words that name a chapter everywhere: its part and its slug."""

    part: str
    slug: str


def checkout_root() -> Path | None:
    """The folder above ``lib/`` when the package is used from a checkout, else ``None``."""
    root = _PACKAGE.parents[1]
    inside = _PACKAGE.parent.name == "lib" and (root / "pyproject.toml").is_file() and (root / "claims").is_dir()
    return root if inside else None


def claims_root() -> Path:
    """The folder that holds ``<part>/<slug>.yml``. Raises ``FileNotFoundError`` when there is none."""
    root = checkout_root()
    folder = _PACKAGE / "_claims" if root is None else root / "claims"
    if not folder.is_dir():
        raise FileNotFoundError(
            "No claims folder: this copy of the package is neither a checkout nor a full installation. "
            "Install it again with pip, or clone the repository and work there."
        )
    return folder


def results_root() -> Path:
    """The folder that recorded results are read from; it need not exist yet."""
    override = _from_environment("WORKINGS_RESULTS")
    if override is not None:
        return override
    root = checkout_root()
    return _PACKAGE / "_results" if root is None else root / "results"


def writable_results_root() -> Path:
    """The folder that new results are written to.

    ``WORKINGS_RESULTS``, else the checkout's ``results/``, else ``results/`` in the working folder:
    an installed package never writes into itself.
    """
    if os.environ.get("WORKINGS_RESULTS") or checkout_root() is not None:
        return results_root()
    return Path("results")


def runs_root() -> Path:
    """The folder in which long runs keep what they have computed; it need not exist yet.

    ``WORKINGS_RUNS``, else the checkout's ``runs/``, else ``runs/`` in the working folder.
    """
    override = _from_environment("WORKINGS_RUNS")
    if override is not None:
        return override
    root = checkout_root()
    return Path("runs") if root is None else root / "runs"


def _from_environment(name: str) -> Path | None:
    """The folder that the variable ``name`` gives, if it is set. ``FileNotFoundError`` for ``~`` without a home folder."""
    given = os.environ.get(name)
    if not given:
        return None
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            f"there is no home folder for {Path(given).parts[0]!r}; give {name} an absolute path."
        ) from None


@contextlib.contextmanager
def writing_run(path: Path) -> Iterator[None]:
    """Around what opens or places the file ``path`` of a long run: a refusal names it and ``WORKINGS_RUNS``."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise OSError(
            error.errno,
            f"{shown(path)} cannot be written ({error.strerror}); set WORKINGS_RUNS to a folder that can be, or give "
            "another file",
        ) from None


def list_chapters(claims: Path | None = None) -> list[ChapterName]:
    """Every chapter that has a claims file, sorted by part and slug."""
    folder = claims_root() if claims is None else Path(claims)
    return sorted(ChapterName(file.parent.name, file.stem) for file in folder.glob("*/*.yml"))


def find_part(slug: str, claims: Path | None = None) -> str:
    """The part that chapter ``slug`` belongs to. Unknown slug: ``ValueError`` with the known ones."""
    chapters = list_chapters(claims)
    parts = [chapter.part for chapter in chapters if chapter.slug == slug]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise ValueError(f"Chapter {slug!r} stands in several parts: {', '.join(parts)}. Rename all but one.")
    known = [chapter.slug for chapter in chapters]
    raise ValueError(f"Unknown chapter {slug!r}{did_you_mean(str(slug), known)} Known: {', '.join(known) or 'none'}.")


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """``"; did you mean 'x' or 'y'?"`` with the closest known words, or ``"."`` when none is close."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else "."


def shown(path: Path) -> str:
    """``path`` for a message: relative to the checkout where it lies inside, with forward slashes."""
    root = checkout_root()
    if root is not None:
        with contextlib.suppress(ValueError):
            return Path(path).resolve().relative_to(root).as_posix()
    return Path(path).as_posix()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file in the same folder, then one rename.

    A reader sees the old file or the new one, never a part. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes the file private; results are for everyone
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
