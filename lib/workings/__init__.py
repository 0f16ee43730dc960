"""Workings: machine-learning papers, re-derived and re-run.

The package holds the tested kernels that the chapters call. Importing it is cheap: no part,
no torch and no plotting is loaded until asked for.
"""

from contextlib import AbstractContextManager as _AbstractContextManager
from contextlib import nullcontext as _nullcontext
from importlib import metadata as _metadata

try:
    __version__ = _metadata.version("workings")
except _metadata.PackageNotFoundError:  # used from a checkout that was never installed
    __version__ = "0.0.0+checkout"

TIERS = ("demo", "full")
PARTS = ("robustness", "uncertainty", "few_shot", "disentangling", "language_models")


def require_torch(part: str) -> _AbstractContextManager[None]:
    """Raise ``ModuleNotFoundError`` that names the remedy where PyTorch, which ``part`` is written in, is not installed.

    Called in the ``__init__`` of a part of which every kernel counts on PyTorch; elsewhere a module that does writes
    ``with require_torch("its name"):`` and imports torch in the block.
    """
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ModuleNotFoundError(
            f"workings.{part} needs PyTorch, which is not installed: pip install 'workings[torch]'.", name="torch"
        )
    return _nullcontext()
