"""What the live figure of the page (book/assets/live/episode_difficulty.js) is compared with: kernels and arguments."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from workings.few_shot.difficulty_sampling import (
    TARGETS,
    DifficultyStats,
    effective_sample_size,
    ess_fraction,
    importance_weight,
    target_pdf,
    truncated_normal_pdf,
)

Numbers = Sequence[float]


def share(name: str, progress: float) -> float | None:
    """``progress`` as the kernels want it: for the curriculum only."""
    return progress if name == "curriculum" else None


def target(z: Numbers, name: str, progress: float) -> np.ndarray:
    """:func:`target_pdf`, to which a progress is given that only the curriculum uses."""
    return target_pdf(z, name, share(name, progress))


def weigh(z: Numbers, name: str, progress: float, outside: str) -> np.ndarray:
    """:func:`importance_weight`, likewise."""
    return importance_weight(z, name, share(name, progress), outside)


def fraction(name: str, progress: float) -> float:
    """:func:`ess_fraction`, likewise."""
    return ess_fraction(name, share(name, progress))


def standardise(x: Numbers) -> np.ndarray:
    """Difficulties by their own mean and standard deviation, as :class:`DifficultyStats` has them offline."""
    return DifficultyStats("offline").fit(x).standardise(x)


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    z = [-3.0, -2.58, -1.4, 0.0, 0.35, 2.0, 2.58, 2.6, 4.0]
    stages = [(name, done) for name in TARGETS for done in ((0.0, 0.34, 0.5, 1.0) if name == "curriculum" else (0.2,))]
    draw = np.random.default_rng(3)
    return {
        "normal": (truncated_normal_pdf, [(z, loc) for loc in (-2.58, 0.0, 1.3, 2.58)]),
        "target": (target, [(z, *stage) for stage in stages]),
        "weigh": (weigh, [(z, *stage, outside) for stage, outside in itertools.product(stages, ("one", "zero"))]),
        "size": (
            effective_sample_size,
            [([1.0, 3.0],), ([0.0, 0.0],), (draw.random(16).round(3).tolist(),), ([7.0] * 9,)],
        ),
        "fraction": (fraction, stages),
        "standardise": (standardise, [([1.0, 3.0, 2.2],), (draw.normal(1.0, 0.3, 40).round(3).tolist(),)]),
    }
