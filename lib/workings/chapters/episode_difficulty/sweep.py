"""The experiment that `workings sweep episode_difficulty` maps over a grid: weights for a target on skewed difficulties."""

from __future__ import annotations

import numpy as np

from workings.checks import as_float, as_int
from workings.few_shot.difficulty_diagnostics import normality_report
from workings.few_shot.difficulty_sampling import DifficultyStats, effective_sample_size, importance_weight
from workings.seeding import numpy_generator


def sweep_point(
    *, skewness: float = 0.5, episodes: int = 1000, samples: int = 50, target: str = "uniform", seed: int = 0
) -> dict[str, float]:
    """One point of ``workings sweep``: difficulties from a gamma law of the given ``skewness``, weighed for ``target``.

    From ``samples`` sets of ``episodes`` difficulties: ``probability_plot_r``, the share ``effective`` of the sample, and
    ``mean`` and ``variance`` of the standardised difficulty under the weights (0 and 2.22 for a uniform target that is met).
    """
    skewness = as_float(skewness, "skewness", minimum=0.0, open_ends=True)
    episodes, samples = as_int(episodes, "episodes", minimum=8), as_int(samples, "samples", minimum=1)
    if target == "curriculum":
        raise ValueError("target must be 'uniform', 'easy', 'hard' or 'regular' here, got 'curriculum'.")
    importance_weight(0.0, target)
    generator = numpy_generator(seed, "sweep", "difficulties")
    found = []
    for x in generator.gamma(4 / skewness**2, size=(samples, episodes)):
        z = DifficultyStats("offline").fit(x).standardise(x)
        w = importance_weight(z, target)
        mean = np.average(z, weights=w)
        variance = np.average((z - mean) ** 2, weights=w)
        shape = normality_report(x).probability_plot_r
        found.append((shape, float(effective_sample_size(w)) / episodes, float(mean), float(variance)))
    names = ("probability_plot_r", "effective", "mean", "variance")
    return dict(zip(names, (float(v) for v in np.mean(found, axis=0)), strict=True))
