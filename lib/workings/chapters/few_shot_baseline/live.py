"""What the live figure of the page (book/assets/live/few_shot_baseline.js) is compared with: kernels and arguments."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from workings.few_shot.entropies import marginal_entropy, shannon_entropy
from workings.few_shot.finetuning import tune_classifiers
from workings.few_shot.prototypes import cosine_logits, support_init
from workings.seeding import torch_generator

Rows = Sequence[Sequence[float]]


def init(features: Rows, labels: Sequence[int], way: int) -> list[float]:
    """Rows of the classifier of :func:`support_init`, without ReLU, one after another."""
    return support_init(_double(features), list(labels), way, relu=False)[0].flatten().tolist()


def logits(features: Rows, weight: Rows, bias: Sequence[float]) -> list[float]:
    """:func:`cosine_logits` without ReLU, row by row."""
    return cosine_logits(_double(features), _double(weight), _double(bias), relu=False).flatten().tolist()


def entropy(rows: Rows) -> float:
    """:func:`shannon_entropy` of rows of logits."""
    return float(shannon_entropy(_double(rows)))


def marginal(rows: Rows) -> float:
    """:func:`marginal_entropy` of rows of logits."""
    return float(marginal_entropy(_double(rows)))


def tune(
    support: Rows, labels: Sequence[int], query: Rows, steps: int, lr: float, alpha: float, beta: float
) -> list[float]:
    """Weight, row by row, and bias of :func:`tune_classifiers` after ``steps``, without ReLU."""
    weight, bias = tune_classifiers(
        _double(support), list(labels), _double(query), steps=steps, lr=lr, entropy_weight=alpha, marginal_weight=beta, relu=False
    )  # fmt: skip
    return [*weight.flatten().tolist(), *bias.tolist()]


def _double(values: Sequence) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def circle(*degrees: float) -> list[list[float]]:
    """Points on the unit circle, to three decimals."""
    return [[round(math.cos(math.radians(d)), 3), round(math.sin(math.radians(d)), 3)] for d in degrees]


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    draw = lambda *shape: torch.randn(*shape, generator=torch_generator(0, "live"), dtype=torch.float64).round(
        decimals=3
    )
    three, labels = circle(88.0, 105.0, 240.0), [0, 1, 2]
    five, twice = (
        circle(88.0, 52.0, 105.0, 111.0, 240.0, 238.0, 310.0, 300.0, 175.0, 190.0),
        [k // 2 for k in range(10)],
    )
    points, rows = draw(24, 2).tolist(), [draw(7, k).tolist() for k in (2, 3, 5)]
    extreme = [[-40.0, 0.0, 40.0], [0.0, 0.0, 0.0], [12.0, 12.5, -3.0]]
    ends = list(itertools.product((0, 1, 14, 50), ((0.0, 0.0), (1.0, 0.0), (3.0, 3.0))))
    return {
        "init": (init, [(three, labels, 3), (five, twice, 5), (points, [k % 4 for k in range(24)], 4)]),
        "logits": (logits, [(points, three, [0.0, 0.5, -1.0]), ([[0.0, 0.0], [3.0, -4.0]], five[:2], [0.25, -0.5])]),
        "entropy": (entropy, [(one,) for one in (*rows, extreme)]),
        "marginal": (marginal, [(one,) for one in (*rows, extreme)]),
        "tune": (
            tune,
            [(three, labels, points, steps, 0.05, *weights) for steps, weights in ends]
            + [(five, twice, points, 50, 0.05, *weights) for weights in ((3.0, 0.0), (1.0, 1.0), (0.0, 3.0))]
            + [(circle(88.0, 105.0), [0, 1], points[:2], 25, 0.05, 1.0, 0.0)],
        ),
    }  # fmt: skip
