"""Run a program that nobody trusts: a process without network, children or files, with limits on time, memory and output.

Four layers, none of which needs privileges, each used where the system has it: kernel limits (always, on Unix), a network
namespace, Landlock rules for files, and a seccomp filter of system calls. :attr:`Outcome.isolation` says which held.
A program is a child of a process that has given up network and files and runs nothing of the program itself: a :class:`Sandbox` is one such
process for many programs, :func:`run_python` one for a single program.
What is *not* isolated where a layer is missing is what :data:`LAYERS` says of it. This is a sandbox for programs that language
models write, not a defence against somebody who has an unknown fault of the kernel at hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from workings.checks import as_float, as_int
from workings.language_models.answer_extraction import as_text

LAYERS = {
    "memory": "address space, number of open files, no file may grow, processor time",
    "network": "without it a program can open connections",
    "processes": "without it a program can start processes that outlive it, up to the system's own limit",
    "reading": "without it a program can read every file that you can read",
    "writing": "without it a program can make empty files and delete yours; contents it can never write",
}


@dataclass(frozen=True)
class Outcome:
    """What a program did. ``status``: ok, error, time, memory, output (too much of it), killed, or refused (a layer is missing).

    ``stdout`` and the end of ``stderr`` as text; ``isolation``: the layers of :data:`LAYERS` that held.
    """

    status: str
    stdout: str
    stderr: str
    isolation: frozenset[str]


class Sandbox:
    """A process that runs programs one after another, each in a child of its own, while the ``with`` block lasts.

    Starting Python and loading the usual modules is paid once, not for each program; nothing of a program is left to the next one. Started at
    the first :meth:`run`, and anew if a program has killed it where a layer is missing. For one thread at a time. ``prelude`` is text that you
    trust: it is run once, and a program can be given the names that it defines.
    """

    def __init__(self, prelude: str = "") -> None:
        self.prelude = as_text(prelude, "prelude")
        self._process: subprocess.Popen | None = None
        self._channel: socket.socket | None = None
        self._running: int | None = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and the program that it runs; :meth:`run` starts another one."""
        process, channel, running = self._process, self._channel, self._running
        self._process = self._channel = self._running = None
        if running is not None:
            _kill(running)
        if channel is not None:
            channel.close()
        if process is not None:
            _kill(process.pid)
            process.wait()

    def run(
        self,
        program: str,
        stdin: str = "",
        *,
        limit_s: float = 6.0,
        memory: int = 1 << 30,
        output: int = 1 << 20,
        require: Iterable[str] = (),
        prelude: bool = False,
    ) -> Outcome:
        """Run the text of a Python ``program`` with ``stdin`` and report; never longer than ``limit_s`` and a little.

        It may import what is installed here, and with ``prelude`` has the names of the sandbox's. ``memory`` (bytes of address space, at least 128 MiB) and ``output`` (bytes kept; a program that
        writes more is stopped) are limits. ``require`` names layers of :data:`LAYERS` without which the program is not run (status "refused").
        Raises ``RuntimeError`` where there are no kernel limits at all (not a Unix system), ``ValueError`` and ``TypeError`` for bad settings.
        """
        program, stdin = as_text(program, "program"), as_text(stdin, "stdin")
        limit_s = as_float(limit_s, "limit_s", minimum=0.01, maximum=3600.0)
        memory = as_int(memory, "memory", minimum=128 << 20)
        output = as_int(output, "output", minimum=1)
        required = sorted({require} if isinstance(require, str) else set(require))
        unknown = [name for name in required if name not in LAYERS]
        if unknown:
            raise ValueError(f"require names layers that there are not: {unknown}; allowed: {', '.join(LAYERS)}.")
        if os.name != "posix":
            raise RuntimeError(
                "programs are run only where the kernel can limit them (Linux, macOS); this system cannot."
            )
        with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
            job = {
                "program": program, "limit_s": limit_s, "memory": memory, "require": required, "folder": folder, "layers": sorted(LAYERS),
                "prelude": bool(prelude),
            }  # fmt: skip
            given = Path(folder) / "stdin"
            given.write_bytes(stdin.encode("utf-8", errors="replace"))
            return self._supervise(json.dumps(job).encode(), given, limit_s, output)

    def _start(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._channel is None:
            ours, theirs = socket.socketpair()
            readable = [
                sys.base_prefix,
                sys.prefix,
                "/usr",
                "/lib",
                "/lib64",
                "/etc/ld.so.cache",
                "/dev/null",
                "/dev/urandom",
            ]
            config = json.dumps(
                {"readable": readable, "packages": sysconfig.get_path("purelib"), "prelude": self.prelude}
            )
            child = Path(__file__).with_name("_sandbox_child.py")
            environment = {
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            }
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-X", "utf8", str(child), str(theirs.fileno()), config],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
                    env=environment, cwd="/", start_new_session=True,
                )  # fmt: skip
            except BaseException:
                ours.close()
                raise
            finally:
                theirs.close()
            self._channel = ours
        return self._channel

    def _supervise(self, job: bytes, given: Path, limit_s: float, output: int) -> Outcome:
        channel = self._start()
        pipes = {name: os.pipe() for name in ("out", "err")}
        try:
            try:
                with given.open("rb") as file:
                    files = [file.fileno(), *(write for _, write in pipes.values())]
                    socket.send_fds(channel, [struct.pack("!q", len(job))], files)
                    channel.sendall(job)
            finally:
                for _, write in pipes.values():
                    os.close(write)
            self._running, held = struct.unpack("!qq", _read(channel, 16))
            layers = frozenset(name for i, name in enumerate(sorted(LAYERS)) if held >> i & 1)
            stopped, out, err, code = self._collect({name: read for name, (read, _) in pipes.items()}, limit_s, output)
            self._running = None
        except BaseException:
            self.close()
            raise
        finally:
            for read, _ in pipes.values():
                os.close(read)
        text, error = out.decode("utf-8", errors="replace"), err.decode("utf-8", errors="replace")[-4000:]
        if stopped is None:
            if code == 0:
                stopped = "ok"
            elif code == 99 and not text and not error:
                stopped = "refused"
            elif "MemoryError" in error:
                stopped = "memory"
            else:
                stopped = "time" if code == -signal.SIGXCPU else "error" if code > 0 else "killed"
        return Outcome(stopped, text, error, layers)

    def _collect(self, pipes: dict[str, int], limit_s: float, output: int) -> tuple[str | None, bytes, bytes, int]:
        """Read both pipes and wait for the end, until the time is over or too much has come; then the program is killed."""
        deadline = time.monotonic() + limit_s
        kept = {name: bytearray() for name in pipes}
        stopped, code, ended = None, -signal.SIGKILL, False
        with selectors.DefaultSelector() as selector:
            for name, pipe in pipes.items():
                selector.register(pipe, selectors.EVENT_READ, name)
            selector.register(self._channel, selectors.EVENT_READ)
            while stopped is None and selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    stopped = "time"
                for key, _ in selector.select(left) if left > 0 else ():
                    if key.data is None:
                        selector.unregister(key.fileobj)
                        code, ended = self._ending(), True
                        continue
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    kept[key.data] += data
                    if len(kept["out"]) > output:
                        stopped = "output"
                    if len(kept["err"]) > output:
                        del kept["err"][: -output // 2]
        if not ended:
            _kill(self._running)
            code = self._ending()
        return stopped, bytes(kept["out"]), bytes(kept["err"]), code

    def _ending(self) -> int:
        """How the child ended; where its parent has gone with it, as if it had been killed."""
        self._channel.settimeout(10.0)
        try:
            (code,) = struct.unpack("!q", _read(self._channel, 8))
        except (EOFError, OSError):
            self.close()
            return -signal.SIGKILL
        self._channel.settimeout(None)
        return code


def _kill(leader: int) -> None:
    """Kill a process and its group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(leader, signal.SIGKILL)


def _read(channel: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        data = channel.recv(count - len(found))
        if not data:
            raise EOFError("the process that runs programs has ended.")
        found += data
    return found


def run_python(
    program: str,
    stdin: str = "",
    *,
    limit_s: float = 6.0,
    memory: int = 1 << 30,
    output: int = 1 << 20,
    require: Iterable[str] = (),
) -> Outcome:
    """Run one Python ``program`` with ``stdin`` in a sandbox of its own: :meth:`Sandbox.run`, which see, without the ``with`` block."""
    with Sandbox() as sandbox:
        return sandbox.run(program, stdin, limit_s=limit_s, memory=memory, output=output, require=require)
