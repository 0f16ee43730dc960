"""What the live figure of the page (book/assets/live/sap.js) is compared with: kernels and arguments."""

import itertools
from collections.abc import Callable, Sequence

import torch

from workings.chapters.sap.programs import CHANNELS, PROGRAMS, divisor, prune_by_numbers
from workings.robustness.closed_forms import sap_variance
from workings.seeding import torch_generator


def doubles(values: Sequence) -> torch.Tensor:
    """``values`` as the tensor that the kernels take."""
    return torch.tensor(values, dtype=torch.float64)


def survival(h: Sequence[float], draws: int, program: str) -> torch.Tensor:
    """:func:`divisor` of a list."""
    return divisor(doubles(h), draws, program)


def variance(h: Sequence[float], draws: int, program: str) -> torch.Tensor:
    """Equation (2) of the page, for the maps over which ``program`` shares its draws."""
    maps = CHANNELS if program == "channels" else 1
    return sap_variance(doubles(h).reshape(maps, -1), draws // maps).reshape(-1)


def prunings(h: Sequence[float], dice: Sequence[Sequence[float]], program: str) -> torch.Tensor:
    """:func:`prune_by_numbers` of lists, one pruning after the other."""
    return prune_by_numbers(doubles(h), doubles(dice), program).reshape(-1)


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    page, flat, peak = [6, 4, 3, 3, 2, 2, 1, 1, 1, 1, 0, 0], [2] * 12, [13, *[1] * 11]
    plans = [(h, r, program) for h, r in ((page, 3), (page, 36), (flat, 12), (peak, 36)) for program in PROGRAMS]
    dice = {r: torch.rand(2, r, generator=torch_generator(0, "live", r), dtype=torch.float64) for r in (3, 12, 36)}
    rows = {r: [[round(one, 6) for one in row] for row in numbers.tolist()] for r, numbers in dice.items()}
    rows[3].append([0.0, 0.999999, 0.5])
    return {
        "survival": (survival, [*plans, ([0] * 12, 12, "sap")]),
        "variance": (variance, [*plans, ([0] * 12, 12, "channels")]),
        "prunings": (prunings, [(h, rows[r], one) for (h, r), one in itertools.product(((page, 3), (page, 12), (peak, 36)), PROGRAMS)]),
    }  # fmt: skip
