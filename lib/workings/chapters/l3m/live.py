"""What the live figure of the page (book/assets/live/l3m.js) is compared with: kernels and arguments."""

import itertools
from collections.abc import Callable, Sequence

from workings.language_models.constrained_categorical import solve_constrained_categorical


def solved(p: Sequence[float], values: Sequence[float], bound: float, mu: float) -> list[float]:
    """Mean, multiplier, excess and law of :func:`solve_constrained_categorical`, in one list."""
    point = solve_constrained_categorical(p, values, bound, mu=mu)
    return [point.mean, point.multiplier, point.excess, *point.pi.tolist()]


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    lengths, flat = list(range(3, 15)), [1 / 12] * 12
    tries = [(flat, lengths, *one) for one in itertools.product((3.2, 5.0, 8.4, 11.0), (1.0, 0.1, 1e-2, 1e-4, 0.0))]
    tries += [([0.2, 0.5, 0.3], [1.0, 2.5, 7.0], 2.0, mu) for mu in (0.0, 0.3, 1e-3)]
    return {"solve": (solved, tries)}
