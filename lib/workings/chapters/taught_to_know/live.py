"""What the live figure of the page (book/assets/live/taught_to_know.js) is compared with: kernels and arguments."""

from collections.abc import Callable, Sequence

import numpy as np

from workings.calibration import (
    auroc,
    expected_calibration_error,
    fit_temperature,
    reliability_curve,
    top_label,
)
from workings.chapters.taught_to_know.demo import ASKED, LIKELIHOOD, PROBE, PROMPT, Run, logit, probability
from workings.seeding import numpy_generator


def kept(run: Run) -> dict[str, np.ndarray]:
    """The numbers that the page holds: log-odds on the test answers by method, and which of the answers are right."""
    of = {"prompt": PROMPT, "probe": PROBE, "asked": ASKED, "likelihood": LIKELIHOOD}
    odds = {name: run.odds[method] for name, method in of.items()}
    return odds | {"posterior": logit(run.answers.test.posterior).numpy(), "right": run.answers.test.right.numpy()}


def decisions(p: Sequence[float], y: Sequence[int]) -> list[list[float]]:
    """Confidence of the decision, and whether it is true (1 or 0)."""
    confidence, decision = top_label(p)
    return [confidence.tolist(), (decision == np.asarray(y)).astype(int).tolist()]


def curve(conf: Sequence[float], correct: Sequence[int], bins: int, even: bool) -> list[float]:
    """Mean confidence, share right and share of the answers, for each bin that is not empty."""
    found = reliability_curve(conf, correct, bins, "uniform" if even else "quantile")
    return np.stack([found.confidence, found.accuracy, found.count / len(conf)], axis=1).ravel().tolist()


def errors(conf: Sequence[float], correct: Sequence[int], bins: int, even: bool) -> list[float]:
    """The mean and the largest gap."""
    binning = "uniform" if even else "quantile"
    return [expected_calibration_error(conf, correct, bins, norm, binning) for norm in ("l1", "max")]


def inverse_temperature(z: Sequence[float], y: Sequence[int]) -> float:
    """1 / T of :func:`fit_temperature`, 0 where no finite T is best."""
    return 1 / fit_temperature(z, y).temperature


def loss(z: Sequence[float], y: Sequence[int]) -> float:
    """Mean negative log-likelihood of the log-odds ``z``, in nats."""
    return fit_temperature(z, y).nll_at_1


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    rng = numpy_generator(0, "live cases")
    told = [([0.0, 0.0, 0.1, 0.3, 0.3, 0.5, 0.7, 0.95, 1.0, 1.0], [0, 1, 0, 1, 0, 1, 1, 0, 1, 0])]  # on edges of bins
    odds = [
        ([-1.5, -1.5, 0.2, 0.2, 3.0], [0, 1, 0, 1, 0]),
        ([1.0, 2.0, 3.0], [1, 0, 0]),
    ]  # the second has no best temperature
    for middle, width, n in (
        (1.0, 0.7, 60),
        (3.0, 0.2, 40),
        (-2.0, 0.3, 40),
        (10.0, 20.0, 40),
        (0.1, 0.07, 40),
    ):  # sure, unsure, cold, hot
        z = rng.normal(middle, width, n).round(3)
        odds.append((z.tolist(), (rng.random(n) < probability(z / max(width, 1.0))).astype(int).tolist()))
    told += [(probability(np.array(z)).round(6).tolist(), y) for z, y in odds]
    binned = [(*one, bins, even) for one in told[:4] for bins in (1, 7, 30) for even in (True, False)]
    binned += [(*one, 10, even) for one in told[4:] for even in (True, False)]
    return {
        "probability": (lambda z: probability(np.array(z)), [(odds[2][0],), ([-40.0, 0.0, 40.0],)]),
        "topLabel": (decisions, told),
        "curve": (curve, binned),
        "ece": (errors, binned),
        "auroc": (auroc, [*odds, *told]),
        "nll": (loss, odds),
        "inverseTemperature": (inverse_temperature, odds),
    }
