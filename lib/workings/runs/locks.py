"""Locks between processes, kept by the operating system: they end with the process that holds them, however it ends."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FAR = 1 << 40  # on Windows a byte that no file of ours reaches is locked


class Busy(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def holding(file: IO[bytes] | int, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an open ``file``; others who ask for it wait, or get :class:`Busy` with ``wait=False``.

    On a file system without locks nothing is held and nobody is stopped.
    """
    handle = file if isinstance(file, int) else file.fileno()
    held = _take(handle, wait)
    try:
        yield
    finally:
        if held:
            _give_back(handle)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock named by the file ``path``, which is made for it and removed at the end."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with holding(handle, wait=wait):
                if not _is(handle, path):  # who held it has removed the file while we waited
                    continue
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):
                        path.unlink()
                return
        finally:
            os.close(handle)


def _is(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _take(handle: int, wait: bool) -> bool:
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Busy("another process holds the lock") from None
        except OSError:  # a file system without locks
            return False
        return True
    import msvcrt  # type: ignore[import-not-found, unused-ignore]

    while True:
        os.lseek(handle, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        except OSError:
            if not wait:
                raise Busy("another process holds the lock") from None
            time.sleep(0.05)
        else:
            return True


def _give_back(handle: int) -> None:
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_UN)
        return
    import msvcrt  # type: ignore[import-not-found, unused-ignore]

    os.lseek(handle, _FAR, os.SEEK_SET)
    msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined, unused-ignore]
