"""How far trained networks agree on which episodes are hard: one number for all of them, and its standard error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workings.few_shot.difficulty_diagnostics import rank_agreement
from workings.seeding import numpy_generator


def least_agreement(difficulties: np.ndarray) -> float:
    """Of each scoring the smallest rank correlation with another one, averaged: ``difficulties`` (M, n), M >= 2 of n episodes.

    Two scorings have one correlation, and that is the value. Raises ``ValueError`` for a single scoring.
    """
    found = rank_agreement(difficulties)
    if len(found) < 2:
        raise ValueError("difficulties hold one scoring; agreement needs at least 2, of networks or heads.")
    np.fill_diagonal(found, np.inf)  # each agrees with itself
    return float(found.min(axis=1).mean())


def agreement_error(difficulties: np.ndarray, seeds: Sequence[int], draws: int = 500) -> float:
    """Standard error of :func:`least_agreement` of ``difficulties`` (M, n) by networks of the ``seeds`` (M,).

    The episodes' part is a bootstrap over them. The networks' part is a jackknife over seeds, and needs three: with two seeds
    it is left out, and the error too small.
    """
    source = numpy_generator(0, "episode difficulty", "agreement")
    episodes = difficulties.shape[1]
    drawn = [least_agreement(difficulties[:, source.integers(episodes, size=episodes)]) for _ in range(draws)]
    square = np.var(drawn, ddof=1)
    of, each = np.asarray(seeds), np.unique(seeds)
    if len(each) > 2:
        square += (len(each) - 1) * np.var([least_agreement(difficulties[of != seed]) for seed in each])
    return float(np.sqrt(square))
