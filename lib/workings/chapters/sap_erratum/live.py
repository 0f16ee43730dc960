"""What the live figure of the page (book/assets/live/sap_erratum.js) is compared with: kernels and arguments."""

import itertools
from collections.abc import Callable, Sequence

import torch

from workings.chapters.sap_erratum import plane
from workings.robustness.sap import BACKWARD_RULES
from workings.seeding import torch_generator
from workings.show.live import load_weights


def numbers(draws: int, *counts: int) -> list:
    """Numbers for masks, with six digits: (..., 2 draws)."""
    dice = torch.rand(*counts, 2 * draws, generator=torch_generator(0, "live", draws, *counts), dtype=torch.float64)
    return ((dice * 1e6).floor() / 1e6).tolist()


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    net = plane.as_network(load_weights("sap_erratum"))
    doubles = lambda values: torch.tensor(values, dtype=torch.float64)

    def mean(x1: float, x2: float, r: int) -> float:
        return float(plane.mean_output(net, doubles([[x1, x2]]), r))

    def limit(x1: float, x2: float, r: int, rule: str) -> torch.Tensor:
        return plane.limit_gradient(net, doubles([[x1, x2]]), r, rule)[0]

    def sampled(x1: float, x2: float, dice: list, rule: str) -> torch.Tensor:
        return plane.sampled_gradient(net, doubles([x1, x2]), doubles(dice), rule)

    def walk(x1: float, x2: float, dice: list, r: int, rule: str, length: float, sign: int) -> torch.Tensor:
        return plane.walk(net, doubles([x1, x2]), doubles(dice), r, rule, length, sign).reshape(-1)

    places = ((1.15, 0.35), (-1.75, 1.75), (0.1, -0.2), (0.6, -1.1))
    plans = list(itertools.product(places[:3], (2, 4, 16)))
    return {
        "mean": (mean, [(*place, r) for place in places for r in (2, 3, 16)]),
        "limit": (limit, [(*place, r, rule) for place, r in plans for rule in ("true", *BACKWARD_RULES)]),
        "sampled": (sampled, [(*place, numbers(r, 2), rule) for place, r in plans for rule in BACKWARD_RULES]),
        "walk": (walk, [(1.15, 0.35, numbers(2, 3, 2), 2, rule, 0.1, 1) for rule in ("true", *BACKWARD_RULES)]),
    }
