"""Part robustness: kernels of the chapters `sap` and `sap_erratum`."""

from workings import require_torch as _require_torch

_require_torch("robustness")
