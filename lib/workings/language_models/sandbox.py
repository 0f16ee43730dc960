"""Run a program that nobody trusts: a process without network, children or files, with limits on time, memory and output.

Four layers, none of which needs privileges, each used where the system has it: kernel limits (always, on Unix), a network
namespace, Landlock rules for files, and a seccomp filter of system calls. :attr:`Outcome.isolation` says which held.
What is *not* isolated where a layer is missing is what :data:`LAYERS` says of it. This is a sandbox for programs that language
models write, not a defence against somebody who has an unknown fault of the kernel at hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workings.checks import as_float, as_int
from workings.language_models.answer_extraction import as_text
from workings.language_models.grading import Grade, grader

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


def run_python(
    program: str,
    stdin: str = "",
    *,
    limit_s: float = 6.0,
    memory: int = 1 << 30,
    output: int = 1 << 20,
    require: Iterable[str] = (),
) -> Outcome:
    """Run the text of a Python ``program`` with ``stdin`` in a process of its own and report; never longer than ``limit_s`` and a little.

    ``memory`` (bytes of address space, at least 128 MiB) and ``output`` (bytes kept; a program that writes more is stopped) are limits.
    ``require`` names layers of :data:`LAYERS` without which the program is not run (status "refused"). Raises ``RuntimeError`` where
    there are no kernel limits at all (not a Unix system), ``ValueError`` and ``TypeError`` for bad settings.
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
        raise RuntimeError("programs are run only where the kernel can limit them (Linux, macOS); this system cannot.")
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        config = Path(folder) / "config.json"
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
        job = {"program": program, "limit_s": limit_s, "memory": memory, "readable": readable, "require": required}
        config.write_text(json.dumps(job), encoding="utf-8")
        given = Path(folder) / "stdin"
        given.write_bytes(stdin.encode("utf-8", errors="replace"))
        return _supervise(config, given, folder, limit_s, output)


def _supervise(config: Path, given: Path, folder: str, limit_s: float, output: int) -> Outcome:
    child = Path(__file__).with_name("_sandbox_child.py")
    told, tell = os.pipe()
    environment = {"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    try:
        with given.open("rb") as file:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(child), str(config), str(tell)],
                stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(tell,), env=environment,
                cwd=folder, start_new_session=True,
            )  # fmt: skip
    except BaseException:
        os.close(told)
        raise
    finally:
        os.close(tell)
    try:
        stopped, out, err = _collect(process, limit_s, output)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
        os.set_blocking(told, False)
        try:
            layers = frozenset(json.loads(os.read(told, 4096) or b"[]"))
        except (BlockingIOError, ValueError):
            layers = frozenset()
        os.close(told)
    code = process.returncode
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


def _collect(process: subprocess.Popen, limit_s: float, output: int) -> tuple[str | None, bytes, bytes]:
    """Read both pipes until they close, the time is over or too much has come."""
    deadline = time.monotonic() + limit_s
    kept: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return "time", *map(bytes, kept.values())
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                kept[key.fileobj] += data
                if len(kept[process.stdout]) > output:
                    return "output", *map(bytes, kept.values())
                if len(kept[process.stderr]) > output:
                    del kept[process.stderr][: -output // 2]
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "time", *map(bytes, kept.values())
    return None, *map(bytes, kept.values())


def extract_code(answer: str) -> str:
    """The program in an answer: the lines between the last two lines that begin with three backquotes.

    A single fence at the end is dropped; without a fence the whole text is the program.
    """
    lines = as_text(answer).split("\n")
    fences = [i for i, line in enumerate(lines) if line.lstrip().startswith("```")]
    if len(fences) >= 2:
        return "\n".join(lines[fences[-2] + 1 : fences[-1]])
    if fences and not any(line.strip() for line in lines[fences[0] + 1 :]):
        return "\n".join(lines[: fences[0]])
    return "\n".join(lines)


@grader
def score_code(
    truth: Sequence[tuple[str, str]],
    answer: str,
    *,
    prefix: str = "",
    limit_s: float = 6.0,
    require: Iterable[str] = (),
    rules: str,
    strict: bool,
) -> Grade:
    """Whether a program passes all tests, 0 or 1; ``truth`` is a list of (standard input, expected output).

    The program of :func:`extract_code`; for a completion ``prefix`` is put in front unless it is there. Each test is one run of
    :func:`run_python` with ``limit_s`` seconds; outputs are compared line by line without white space at the ends. Strict: the same, with
    every layer of isolation required.
    """
    tests = list(truth) if isinstance(truth, (list, tuple)) else []
    if not tests or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in tests):
        raise ValueError("truth must be a list of pairs (standard input, expected output) that is not empty.")
    program = extract_code(answer)
    if not program.strip().startswith(as_text(prefix, "prefix").strip()):
        program = prefix + program
    lines = lambda text: [line.strip() for line in text.strip().split("\n")]
    for number, (given, expected) in enumerate(tests, start=1):
        found = run_python(program, given, limit_s=limit_s, require=LAYERS if strict else require)
        if found.status != "ok":
            return Grade(0.0, f"test {number}: {found.status}", program)
        if lines(found.stdout) != lines(expected):
            return Grade(0.0, f"test {number}: another output", program)
    return Grade(1.0, f"{len(tests)} tests passed", program)
