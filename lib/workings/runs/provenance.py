"""The circumstances of a run: which code, which versions, which machine, how long, how much memory.

Nothing is imported to find out: versions come from the installed metadata, and torch is asked only
when the run has already loaded it. No path of the machine is recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from workings import __version__, paths

LIBRARIES = ("numpy", "scipy", "torch", "torchvision", "scikit-learn", "quantile-forest")
CLOSING = "This run took"
_CODE = ("lib", "claims", "pyproject.toml", ":(glob)notebooks/**/*.py")


class Stopwatch:
    """Seconds since it was made, by a clock that never jumps; :meth:`add` counts an earlier session in."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._earlier = 0.0

    def add(self, seconds: float) -> None:
        """Count ``seconds`` of an earlier, interrupted session as well."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"seconds must be zero or more and finite, got {seconds!r}.")
        self._earlier += float(seconds)

    @property
    def seconds(self) -> float:
        """Elapsed seconds, earlier sessions included."""
        return self._earlier + time.monotonic() - self._start


def circumstances(stopwatch: Stopwatch | None = None, seeds: Iterable[int] = ()) -> dict[str, Any]:
    """Everything worth knowing about the present run, as plain JSON values.

    Keys: ``date`` (UTC), ``commit``, ``dirty``, ``python``, ``versions``, ``hardware`` (``cpu``, ``cores``,
    ``memory_gib``, ``gpu``), ``wall_s``, ``peak_memory_mib``, ``peak_gpu_memory_mib``, ``seeds``. What cannot
    be found out is ``None``.
    """
    commit, dirty = code_state()
    return {
        "date": utc_now(),
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "versions": versions(),
        "hardware": hardware(),
        "wall_s": None if stopwatch is None else round(stopwatch.seconds, 1),
        "peak_memory_mib": peak_memory_mib(),
        "peak_gpu_memory_mib": _peak_gpu_memory_mib(),
        "seeds": sorted({int(seed) for seed in seeds}),
    }


def utc_now() -> str:
    """The time in UTC to the second, such as ``2025-11-21T00:58:12Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def code_state(root: Path | None = None, parts: Sequence[str] = _CODE) -> tuple[str | None, bool | None]:
    """``(commit, dirty)`` of the code: git's HEAD, and whether ``parts`` (git's path patterns) differ from it.

    ``parts`` are kernels, claims and notebooks unless given. Results and stored outputs do not count, because a refresh rewrites them. A package that pip installed
    from a repository knows its commit too. ``(None, None)`` when nothing is known.
    """
    root = paths.checkout_root() if root is None else Path(root)
    if root is None:
        return _installed_commit(), None
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():  # an unpacked copy inside some other repository
        return None, None
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *parts)
    return commit or None, None if changes is None or not commit else bool(changes)


def why_no_commit(root: Path) -> str | None:
    """Why git does not tell the commit of the checkout at ``root``, with the remedy; ``None`` where it does or has nothing to tell."""
    if not (Path(root) / ".git").exists():
        return None
    code, _, error = _ask_git(root, "rev-parse", "--show-toplevel")
    if code == 0:
        return None
    if code is None:
        return "git is not installed, so no commit can be named. Install git."
    if "dubious ownership" in error:
        return (
            "git refuses to read the history, because the folder belongs to another user, so no commit can be named. Allow "
            "it: git config --global --add safe.directory '*' (or the folder's path instead of the star)."
        )
    return f"git does not read the history, so no commit can be named: {(error.strip().splitlines() or ['no reason given'])[0]}"


def commit_day(root: Path, commit: str) -> str | None:
    """The day of ``commit`` in the checkout at ``root``, such as ``2025-11-21``; ``None`` where git does not say."""
    return _git(root, "show", "--no-patch", "--format=%cs", commit)


def versions() -> dict[str, str]:
    """Version of this package and of each library of :data:`LIBRARIES` that is installed."""
    found = {"workings": __version__}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, and the GPU if torch already uses one."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpu": gpu_name(),
    }


def gpu_name() -> str | None:
    """The GPU that torch would use; ``None`` where torch is not loaded or sees none."""
    cuda = _cuda()
    return None if cuda is None else cuda.get_device_name()


def closing_line(stopwatch: Stopwatch) -> str:
    """What a run took so far: ``This run took 8.3 min; peak memory 2050 MiB, no GPU.``"""
    seconds, memory, gpu = stopwatch.seconds, peak_memory_mib(), _peak_gpu_memory_mib()
    took = f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
    took = took if seconds < 7200 else f"{seconds / 3600:.1f} h"
    words = ["peak memory unknown" if memory is None else f"peak memory {memory:.0f} MiB"]
    words.append("no GPU" if gpu is None else f"peak GPU memory {gpu:.0f} MiB")
    return f"{CLOSING} {took}; {', '.join(words)}."


def peak_memory_mib() -> float | None:
    """Largest resident memory of this process so far, in MiB; ``None`` where the system does not say."""
    with contextlib.suppress(OSError, ValueError):  # Linux: unlike ru_maxrss, not inherited from the parent
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return _maxrss_mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.platform)


def environment_line(device: str | None = None) -> str:
    """One line for a notebook: ``Environment: workings 0.1.0 | Python 3.11.7 | numpy 2.4.6 | device cpu``.

    ``device`` is shown as given. ``"auto"`` asks torch (and imports it) when it is installed; ``None`` asks
    torch only when it is loaded already, and says ``cpu`` otherwise.
    """
    found = versions()
    words = [f"workings {found['workings']}", f"Python {platform.python_version()}"]
    words += [f"{name} {found[name]}" for name in ("numpy", "torch") if name in found]
    if device == "auto" and "torch" in found:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device is None or device == "auto":
        device = "cpu" if _cuda() is None else "cuda"
    return "Environment: " + " | ".join([*words, f"device {device}"])


def _maxrss_mib(maxrss: int, system: str) -> float:
    """macOS counts bytes, everyone else KiB."""
    return round(maxrss / (1024**2 if system == "darwin" else 1024), 1)


def _git(root: Path, *arguments: str) -> str | None:
    code, output, _ = _ask_git(root, *arguments)
    return output.strip() if code == 0 else None


def _ask_git(root: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Git's exit status, output and complaint; status ``None`` where there is no git or it does not answer."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        command = ["git", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, env=environment)
    except (OSError, subprocess.SubprocessError):
        return None, "", ""
    return done.returncode, done.stdout, done.stderr


def _installed_commit() -> str | None:
    """The commit that pip noted down when it installed the package from a repository (PEP 610)."""
    try:
        text = metadata.distribution("workings").read_text("direct_url.json")
        return json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _cuda() -> Any:
    """torch.cuda when torch is loaded and sees a GPU; it is never imported for this."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and cuda.is_available() else None


def _peak_gpu_memory_mib() -> float | None:
    cuda = _cuda()
    return None if cuda is None else round(cuda.max_memory_allocated() / 1024**2, 1)
