"""The data and the experiments of the demo of the chapter `conformal_set_size`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from workings.uncertainty import scores as score
from workings.uncertainty.set_size import (
    expected_set_size_known,
)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's 1,797 real handwritten digits: pixels (1797, 64) in [0, 16] and classes (1797,)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x, y


def interval_ends(
    counts: Iterable[int],
    n: int,
    alpha: float,
    gamma: float,
    r_max: float,
    repeats: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Lower and upper ends for half-normal scores: shape (len(counts), repeats, 2), one fresh sample a repeat."""
    factor = score.residual_cum_factor()
    ends = [
        [
            (guess.lower, guess.upper)
            for guess in (
                expected_set_size_known(np.abs(generator.standard_normal(m)), n, alpha, factor, 0.0, r_max, gamma)
                for _ in range(repeats)
            )
        ]
        for m in counts
    ]
    return np.array(ends)
