"""Disentangling: beta-VAEs, capacity, and the data and measures they need."""

from workings import require_torch as _require_torch

_require_torch("disentangling")
