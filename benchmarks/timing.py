"""Timing for the benchmarks: interleaved repeats in one process, and the spread of their paired ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def interleaved(
    functions: dict[str, Callable[[], Any]],
    repeats: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each call of each function, in rounds: every round runs every function once.

    Slow drift of the machine then hits all of them alike, and round ``i`` of one may be paired with round ``i`` of
    another. Every second round runs in reverse order. ``warmup`` rounds are run and not counted. With ``time.process_time`` as the
    ``clock`` waiting for a processor is not counted, nor what other processes do.
    """
    if not functions or repeats < 1 or warmup < 0:
        raise ValueError(f"need functions, repeats >= 1 and warmup >= 0, got {len(functions)}, {repeats}, {warmup}.")
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(-warmup, repeats):
        order = list(functions) if round_number % 2 == 0 else list(reversed(functions))
        for name in order:
            start = clock()
            functions[name]()
            elapsed = clock() - start
            if round_number >= 0:
                seconds[name].append(elapsed)
    return seconds


def ratio(ours: list[float], theirs: list[float], draws: int = 2000) -> tuple[float, float, float]:
    """How many times faster ours is: median of the paired ratios theirs/ours, with a 95% bootstrap interval.

    Above 1 means ours is faster. The interval is that of the median under resampling of the rounds (fixed seed).
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"need equally many timings of both, at least one, got {len(ours)} and {len(theirs)}.")
    ratios = np.asarray(theirs) / np.asarray(ours)
    picks = np.random.default_rng(0).integers(0, len(ratios), (draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[picks], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
