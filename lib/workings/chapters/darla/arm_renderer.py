"""dm_control with a renderer that needs no screen: `MUJOCO_GL` is chosen before the first import, and never overwritten."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from typing import Any

from workings.chapters.public_models import NotHere

INSTALL = 'pip install dm_control gymnasium "mujoco<4"'
SECONDS = 120  # before a renderer that does not answer counts as none

# Run by a Python of its own: a failed import leaves parts behind, and a broken driver may end the process.
_PROBE = """
import os, sys
try:
    from dm_control import mujoco
    physics = mujoco.Physics.from_xml_string("<mujoco/>")
    if {render}:
        physics.render(8, 8, camera_id=-1)
    code = 0
except BaseException as error:
    lines = str(error).strip().splitlines() or [""]
    print(f"{{type(error).__name__}}: {{lines[0].rstrip('.')}}")
    code = 1
sys.stdout.flush()
os._exit(code)
"""


def candidates(platform: str | None = None) -> tuple[str, ...]:
    """The values of `MUJOCO_GL` to try where the reader set none: on Linux "egl", then the slower "osmesa"; elsewhere "glfw"."""
    return ("egl", "osmesa") if (platform or sys.platform).startswith("linux") else ("glfw",)


def failure(backend: str, *, render: bool = True) -> str | None:
    """Why a fresh Python with `MUJOCO_GL` = ``backend`` renders no picture, in one line; ``None`` when it does.

    Without ``render`` it only loads a model. Takes about a second.
    """
    environment = {**os.environ, "MUJOCO_GL": backend, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _PROBE.format(render=render)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    if done.returncode == 0:
        return None
    said = done.stdout.strip().splitlines()
    return said[-1] if said else f"Python ended with code {done.returncode}"


def choose() -> str:
    """Set `MUJOCO_GL` to a renderer that works without a screen, and return it.

    The reader's own value is tried and kept, whatever it is. Where dm_control has been imported already, its choice has
    been made and is returned. Raises :class:`~workings.chapters.public_models.NotHere` when dm_control is not installed, does
    not start, or draws nothing: what was tried, what it said, what to install.
    """
    if "dm_control._render" in sys.modules:
        made = sys.modules["dm_control._render"].BACKEND
        if made is None:
            raise NotHere("dm_control was imported without a renderer; set MUJOCO_GL and start Python again.")
        return str(made)
    if importlib.util.find_spec("dm_control") is None:
        raise NotHere(f"dm_control is not installed; {INSTALL}")
    own = os.environ.get("MUJOCO_GL")
    tried: dict[str, str] = {}
    for backend in (own,) if own else candidates():
        error = failure(backend)
        if error is None:
            os.environ["MUJOCO_GL"] = backend
            return backend
        tried[backend] = error
    raise NotHere(_explained(tried, own))


def _explained(tried: dict[str, str], own: str | None) -> str:
    broken = failure("off", render=False)
    if broken is not None:
        versions = " and ".join(f"{name} {_version(name)}" for name in ("dm_control", "mujoco"))
        return (
            f"{versions} do not start together ({broken}). They must fit: dm_control 1.0.50 works with mujoco 3.17 and not "
            f"with 4.0; {INSTALL}"
        )
    said = "; ".join(f"MUJOCO_GL={backend} gave {error}" for backend, error in tried.items())
    if own:
        return f"{said}. That value is your own; unset MUJOCO_GL to have {' and '.join(candidates())} tried."
    return (
        f"no renderer works without a screen: {said}. Install one (Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or "
        "libosmesa6 for the slow one), or set MUJOCO_GL to one that works here before Python starts."
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(version unknown)"


def open_dm_control() -> Any:
    """The module ``dm_control``, with ``dm_control.mjcf`` loaded; the first call chooses the renderer (:func:`choose`)."""
    choose()
    if importlib.util.find_spec("triton") is not None:
        import triton  # noqa: F401  torch loads it late, and ends with a segmentation fault if Mesa's copy of LLVM is there first

    import dm_control
    import dm_control.mjcf

    return dm_control
