"""Fetch a file once: announced size, resumed after a break, checked, and put in place whole.

Nothing here prints. The progress bar is tqdm's, in a notebook or on a terminal only. Several processes may ask for the same
file at once: one fetches it and the others wait for it.

Why not `pooch` with `filelock`: pooch starts over after a break, so a data set of a gigabyte may never arrive on a poor connection,
and it neither refuses a file of another size before fetching it nor says what to do when the disk is full. Around these three
it would leave the hashing and the rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workings import paths
from workings.runs import locks
from workings.runs.progress import bar

_CHUNK = 1 << 16


class FetchError(OSError):
    """A file could not be fetched; the message says what to do."""


class Offline(FetchError):
    """The server cannot be reached, or the connection broke; what has arrived is kept for the next try."""


class Refused(FetchError):
    """The server answered with an error."""


class Corrupt(FetchError, ValueError):
    """The file has arrived whole but is not the expected one; it has been deleted."""


class DiskFull(FetchError):
    """No space left on the device; what has arrived is kept."""


@dataclass(frozen=True)
class Fetched:
    """What a download did: ``resumed_from`` bytes were there before, ``received`` came now."""

    path: Path
    size: int
    sha256: str
    resumed_from: int
    received: int
    from_cache: bool


def cache_dir() -> Path:
    """Where fetched data are kept: ``$WORKINGS_DATA``, or ``~/.cache/workings``.

    Raises ``FileNotFoundError`` where neither is known, as for a user without a home folder.
    """
    try:
        return Path(os.environ.get("WORKINGS_DATA") or Path.home() / ".cache" / "workings").expanduser()
    except RuntimeError:
        raise FileNotFoundError(
            "there is no home folder to keep fetched data in; set WORKINGS_DATA to a folder that can be written."
        ) from None


def sha256_of(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits."""
    return _digest(path, "sha256")


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def download(
    url: str,
    path: Path | str,
    sha256: str | None = None,
    *,
    md5: str | None = None,
    size: int | None = None,
    progress: bool = True,
    timeout: float = 30.0,
) -> Fetched:
    """Fetch ``url`` to ``path`` unless the right file is there already.

    The bytes gather in ``path.part``; an interrupted download goes on from there (HTTP Range), or starts over
    where the server cannot. Other processes that ask for the same file wait until it is there. Only a file whose SHA-256 (or MD5, where its source publishes no other; and ``size`` in bytes, when given) is right takes the
    name ``path``, by one rename. ``progress`` shows a bar in a notebook or on a terminal.

    Raises ``ValueError`` for an address that is not http(s), a malformed checksum, or a wrong file standing at
    ``path``; :class:`Offline`, :class:`Refused`, :class:`Corrupt` or :class:`DiskFull` otherwise.
    """
    path, check = Path(path), _Check.of(sha256, md5)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"only http and https addresses are fetched, got {url!r}; open local files by their path.")
    with writing(path, size):
        if path.exists():
            return _already(url, path, check)
        part = path.with_name(path.name + ".part")
        with locks.locked(path.with_name(path.name + ".lock")):
            if path.exists():  # another process has fetched it while this one waited
                return _already(url, path, check)
            if part.exists() and check.found(part) == check.wanted:  # stopped between the last byte and the rename
                start, received = part.stat().st_size, 0
            else:
                start, received = _receive(url, part, size, progress, timeout)
                _verify(url, part, check, size)
            os.replace(part, path)
    return Fetched(path, path.stat().st_size, check.sha256(path), start, received, False)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Around what another library fetches into ``folder``: one process at a time, and :func:`writing`'s errors."""
    with writing(folder), locks.locked(folder / "fetching.lock"):
        yield


@dataclass(frozen=True)
class _Check:
    """A checksum that is ``wanted`` of a file: ``kind`` "sha256" or "md5"."""

    kind: str
    wanted: str

    @classmethod
    def of(cls, sha256: str | None, md5: str | None) -> _Check:
        given = [cls(kind, value.lower()) for kind, value in (("sha256", sha256), ("md5", md5)) if value is not None]
        if len(given) != 1:
            raise ValueError("give one checksum: sha256, or md5 where the file's source publishes no other.")
        digits = {"sha256": 64, "md5": 32}[given[0].kind]
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", given[0].wanted):
            raise ValueError(f"{given[0].kind} must be {digits} hexadecimal digits, got {given[0].wanted!r}.")
        return given[0]

    def __str__(self) -> str:
        return {"sha256": "SHA-256", "md5": "MD5"}[self.kind]

    def found(self, path: Path) -> str:
        return _digest(path, self.kind)

    def sha256(self, path: Path) -> str:
        """The SHA-256 of a file that was found right."""
        return self.wanted if self.kind == "sha256" else sha256_of(path)


@contextlib.contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Around what fetches the file ``path``: :class:`FetchError` or :class:`DiskFull` with the remedy when it cannot be
    written. ``size`` is its number of bytes, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno in paths.REFUSALS and not isinstance(error, FetchError):
            raise FetchError(
                error.errno,
                f"{paths.shown(path)} cannot be written ({error.strerror}); set WORKINGS_DATA to a folder that can, or "
                "pass one as the local root",
            ) from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                error.errno,
                f"no space left for {paths.shown(path)}"
                f"{'' if size is None else f' ({size} bytes in all)'}; free some, or set WORKINGS_DATA to a "
                "folder on a larger disk. What has arrived is kept and the next call goes on from there",
            ) from None
        raise


def _already(url: str, path: Path, check: _Check) -> Fetched:
    """The file that stands at ``path``; ``ValueError`` when it is another one."""
    found = check.found(path)
    if found != check.wanted:
        raise ValueError(
            f"{paths.shown(path)} is not the expected file: {check} {check.wanted} expected, {found} found. "
            f"Delete it to fetch it again from {url}."
        )
    return Fetched(path, path.stat().st_size, check.sha256(path), 0, 0, True)


def _receive(url: str, part: Path, size: int | None, progress: bool, timeout: float) -> tuple[int, int]:
    """Append the missing bytes of ``url`` to ``part``: (bytes kept from before, bytes received now)."""
    start = part.stat().st_size if part.exists() else 0
    if size is not None and start >= size:  # whole but wrong, or too long: no use going on from there
        start = 0
    headers = {"User-Agent": "workings", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    received = 0
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            if urllib.parse.urlsplit(response.url).scheme not in ("http", "https"):
                raise Refused(f"{url} leads to {response.url!r}, which is not fetched; only http and https are.")
            if not _continues(response, start):
                start = 0
            total = _total(response, start)
            if size is not None and total is not None and total != size:
                raise Refused(
                    f"{url} offers {total} bytes where {size} were expected, so nothing was fetched: the file behind "
                    f"the address has changed. {_by_hand(url, part)}"
                )
            with open(part, "ab" if start else "wb") as file, _bar(part, total, start, progress) as tick:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    received += len(chunk)
                    tick(len(chunk))
                    if size is not None and start + received > size:
                        break  # more than announced: the size check below refuses it
            if total is not None and start + received < total:
                raise http.client.IncompleteRead(b"", total - start - received)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:  # nothing left to send, or a part that does not fit: start over
            part.unlink(missing_ok=True)
            return _receive(url, part, size, progress, timeout)
        raise Refused(
            f"the server answered {error.code} ({error.reason}) for {url}. Try later. {_by_hand(url, part)}"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, OSError) and reason.errno in (errno.ENOSPC, errno.EDQUOT):
            raise reason from None
        kept = part.stat().st_size if part.exists() else 0
        raise Offline(
            f"{url} could not be fetched ({type(reason).__name__}: {reason}). {kept} bytes have arrived and are kept: "
            f"call again to go on. {_by_hand(url, part)}"
        ) from None
    return start, received


def _continues(response: Any, start: int) -> bool:
    """Whether the answer goes on at byte ``start``; a server that ignores Range sends all (200)."""
    if not start or response.status != 206:
        return False
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start


def _total(response: Any, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _verify(url: str, part: Path, check: _Check, size: int | None) -> None:
    length = part.stat().st_size
    wrong = None
    if size is not None and length != size:
        wrong = f"{size} bytes expected, {length} found"
    elif (found := check.found(part)) != check.wanted:
        wrong = f"{check} {check.wanted} expected, {found} found"
    if wrong:
        part.unlink()
        raise Corrupt(
            f"what came from {url} is not the expected file: {wrong}. It has been deleted. Call again; if it happens "
            f"twice, the file behind the address has changed or something on the way alters it."
        )


def _by_hand(url: str, part: Path) -> str:
    path = paths.shown(part.with_name(part.name.removesuffix(".part")))
    return (
        f"Without a network: fetch {url} on another machine and put the file at {path}, or pass the folder "
        "that holds it as the local root."
    )


@contextlib.contextmanager
def _bar(part: Path, total: int | None, start: int, progress: bool) -> Iterator[Any]:
    """A function that counts bytes, behind a bar where somebody can see one."""
    notebook = "ipykernel" in sys.modules
    if not progress or os.environ.get("WORKINGS_QUIET") or not (notebook or sys.stderr.isatty()):
        yield lambda count: None
        return
    name = part.name.removesuffix(".part")
    with bar(desc=name, total=total, initial=start, unit="B", unit_scale=True) as shown:
        yield shown.update
