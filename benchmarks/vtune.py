"""Binomial tails beside SciPy, both against 60-digit arithmetic (mpmath's, checked with Python's decimal numbers).

(a) The largest error of log10 p on a grid of hits, queries (up to 1,000) and probabilities (down to 1e-12), where SciPy's is
    finite, and how many of its values are infinite or zero.
(b) Seconds for one whole tail curve, mpmath's with one running sum among them, and for the grid's tails one call each.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/vtune.py [rows.json]
"""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal, localcontext
from typing import Any

import mpmath
import numpy as np
from scipy import __version__ as scipy_version
from scipy import stats
from timing import interleaved, ratio

from workings.language_models.binomial_tests import binomial_tail_log10

QUERIES = (1, 10, 100, 1000)
CHANCES = (1e-12, 1e-8, 1e-5, 1e-2, 0.3)


def mpmath_log10(n: int, p0: float) -> list[mpmath.mpf]:
    """log10 of the tails of 0..n hits, by one running sum from the rarest, with 60 digits."""
    with mpmath.workdps(60):
        p, q, tail, out = mpmath.mpf(p0), 1 - mpmath.mpf(p0), mpmath.mpf(0), []
        for j in range(n, -1, -1):
            tail += mpmath.binomial(n, j) * p**j * q ** (n - j)
            out.append(mpmath.log10(tail))
    return out[::-1]


def exact_log10(k: int, n: int, p0: float) -> float:
    """log10 of the tail, in decimal arithmetic with 60 digits and exact binomial coefficients."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -(10**9), 10**9
        p, tail = Decimal(p0), Decimal(0)
        q = 1 - p
        for j in range(k, n + 1):
            tail += Decimal(math.comb(n, j)) * p**j * q ** (n - j)
        return float(tail.log10())


def cells() -> list[tuple[int, int, float]]:
    """(hits, queries, probability) of the grid."""
    places = lambda n: sorted({1, max(1, n // 10), max(1, n // 3), max(1, n // 2), n})
    return [(k, n, p) for n in QUERIES for p in CHANCES for k in places(n)]


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "vtune", "what": what, "peer": peer, "note": "", **empty, **values}


def _timed(row_id: str, what: str, peer: str, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """The row of two ways that were timed in turn, a number of seconds for each repeat."""
    middle, low, high = ratio(ours, theirs)
    times = {"ours": float(np.median(ours)), "theirs": float(np.median(theirs)), "unit": "s"}
    span = {"ratio": middle, "ratio_low": low, "ratio_high": high, "repeats": len(ours)}
    return _row(row_id, what, peer, **times, **span)


def accuracy_rows() -> list[dict[str, Any]]:
    """Largest errors, of SciPy where it is finite."""
    grid = cells()
    curves = {(n, p): mpmath_log10(n, p) for n in QUERIES for p in CHANCES}
    exact = np.array([float(curves[n, p][k]) for k, n, p in grid])
    again = float(np.abs(exact - [exact_log10(*cell) for cell in grid]).max())
    ours = np.array([float(binomial_tail_log10(*cell)) for cell in grid])
    with np.errstate(all="ignore"):
        logsf = np.array([stats.binom.logsf(k - 1, n, p) / math.log(10) for k, n, p in grid])
        values = [stats.binomtest(k, n, p, alternative="greater").pvalue for k, n, p in grid]
        test = np.log10(values)
    rows = []
    for name, theirs in (("binom.logsf", logsf), ("binomtest", test)):
        finite = np.isfinite(theirs)
        rows.append(
            _row(
                f"tail-error-{name}",
                f"largest error of log10 p, {len(grid)} tails with up to {max(QUERIES):,} queries",
                f"scipy {scipy_version} {name}",
                ours=float(np.abs(ours - exact).max()),
                theirs=float(np.abs(theirs - exact)[finite].max()),
                unit="log10",
                note=f"theirs where it is finite: {int((~finite).sum())} of {len(grid)} values are not; ours there alone: "
                f"{np.abs(ours - exact)[finite].max():.1e}",
            )
        )
    peer, what = f"mpmath {mpmath.__version__}, 60 digits", f"log10 p of the same {len(grid)} tails: largest difference"
    note = "ours: Python's decimal numbers, the same 60 digits; what the errors above are measured by"
    return [*rows, _row("tail-oracle", what, peer, ours=again, theirs=0.0, unit="log10", repeats=1, note=note)]


def time_rows(repeats: int = 40) -> list[dict[str, Any]]:
    """Seconds for the tails of all numbers of hits in 1,000 queries."""
    k = np.arange(1001)
    ways = {
        "ours": lambda: binomial_tail_log10(k, 1000, 1e-2),
        f"scipy {scipy_version} binom.logsf": lambda: stats.binom.logsf(k - 1, 1000, 1e-2),
        f"mpmath {mpmath.__version__}, 60 digits": lambda: mpmath_log10(1000, 1e-2),
    }
    with np.errstate(all="ignore"):
        seconds = interleaved(ways, repeats)
    what = "tails of 0 to 1,000 hits in 1,000 queries"
    return [
        _timed(row_id, what, peer, seconds["ours"], seconds[peer])
        for row_id, peer in zip(("tail-time", "tail-time-mpmath"), list(ways)[1:], strict=True)
    ]


def single_rows(repeats: int = 40) -> list[dict[str, Any]]:
    """Seconds for the tails of the grid, one call each: SciPy's test takes no arrays."""
    grid = cells()
    ways = {
        "ours": lambda: [binomial_tail_log10(*cell) for cell in grid],
        "theirs": lambda: [stats.binomtest(k, n, p, alternative="greater").pvalue for k, n, p in grid],
    }
    seconds = interleaved(ways, repeats)
    what = f"{len(grid)} tails with up to {max(QUERIES):,} queries, one call each"
    peer = f"scipy {scipy_version} binomtest"
    return [_timed("tail-time-binomtest", what, peer, seconds["ours"], seconds["theirs"])]


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: under a minute on one core."""
    return [*accuracy_rows(), *time_rows(), *single_rows()]


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
