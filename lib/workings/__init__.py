"""Workings: machine-learning papers, re-derived and re-run.

The package holds the tested kernels that the chapters call. Importing it is cheap: no part,
no torch and no plotting is loaded until asked for.
"""

from importlib import metadata as _metadata

try:
    __version__ = _metadata.version("workings")
except _metadata.PackageNotFoundError:  # used from a checkout that was never installed
    __version__ = "0.0.0+checkout"

TIERS = ("demo", "full")
PARTS = ("robustness", "uncertainty", "few_shot", "disentangling", "language_models")
