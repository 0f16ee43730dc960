"""Part language_models: kernels of the chapter `giraffe`."""

from workings import require_torch as _require_torch

_require_torch("language_models")
