"""Notebooks are executed with settings of their own, so that no set-up of whoever runs them reaches a stored output.

IPython's configuration and start-up files, a ``matplotlibrc``, a kernel of the same name elsewhere: none of them counts.
A home folder is not needed either.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from workings import paths

# What would reach a notebook's process from outside. (`JUPYTER_PATH` and the others that are set below are replaced.)
DROPPED = ("PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONHOME", "MATPLOTLIBRC", "IPYTHON_SUPPRESS_CONFIG_ERRORS")
FOLDERS = ("WORKINGS_RESULTS", "WORKINGS_RUNS", "WORKINGS_DATA")


def variables() -> dict[str, str | None]:
    """Environment variables for the process that executes a notebook; ``None`` stands for one to be dropped.

    Their folders are under the checkout's ``.cache``, or a temporary one where that cannot be written. Folders that the
    caller names by ``WORKINGS_RESULTS``, ``WORKINGS_RUNS`` and ``WORKINGS_DATA`` become absolute: the notebook
    runs in another folder than the caller.
    """
    home = _home()
    kernel = home / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"debugger": True},
    }
    text = json.dumps(spec)
    if not kernel.is_file() or kernel.read_text(encoding="utf-8") != text:
        paths.write_atomically(kernel, text)
    found: dict[str, str | None] = dict.fromkeys(DROPPED)
    found |= {
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PATH": str(home / "jupyter"),
        "JUPYTER_CONFIG_DIR": str(home / "jupyter" / "config"),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(home / "jupyter" / "runtime"),
        "MPLCONFIGDIR": str(_matplotlib(home)),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    for name in FOLDERS:
        if os.environ.get(name):
            found[name] = str(Path(os.environ[name]).expanduser().resolve())
    return found


@contextlib.contextmanager
def environment(**more: str) -> Iterator[None]:
    """This process's environment with :func:`variables` and ``more``; what was there before comes back at the end."""
    with changed({**variables(), **more}):
        yield


@contextlib.contextmanager
def changed(new: Mapping[str, str | None]) -> Iterator[None]:
    """``os.environ`` with ``new`` values (``None``: without the variable) until the end."""
    before = {name: os.environ.get(name) for name in new}
    _set(new)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _home() -> Path:
    """A folder for this Python's settings of notebooks; made if need be."""
    root = paths.checkout_root()
    name = f"notebooks-{sys.version_info.major}.{sys.version_info.minor}"
    if root is not None:
        with contextlib.suppress(OSError):
            (root / ".cache" / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root / ".cache" / name):
                return root / ".cache" / name
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"workings-{user}" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _matplotlib(home: Path) -> Path:
    """Matplotlib's folder, its list of fonts made beforehand: making it in a notebook would leave a remark there."""
    try:
        folder = home / f"matplotlib-{metadata.version('matplotlib')}"
    except metadata.PackageNotFoundError:
        return home / "matplotlib"
    if not list(folder.glob("fontlist*.json")):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", "import matplotlib.font_manager"]
        env = {**os.environ, "MPLCONFIGDIR": str(folder), "MPLBACKEND": "agg"}
        subprocess.run(command, env=env, capture_output=True, check=False)
    return folder
