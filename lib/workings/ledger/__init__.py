"""The ledger: what papers claim, what runs measured, and the verdict that follows.

``verdicts`` is where a verdict is computed, ``criteria`` where a value is compared, ``claims`` and ``results`` read the two
kinds of files, ``session`` is what a notebook opens.
"""

from .display import Grid
from .rounding import round_to_spread
from .session import Ledger, attachment, counts_of, load_results, open, verdicts_of
from .verdicts import verdict

__all__ = [
    "Grid",
    "Ledger",
    "attachment",
    "counts_of",
    "load_results",
    "open",
    "round_to_spread",
    "verdict",
    "verdicts_of",
]
