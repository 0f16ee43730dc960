"""Three ways to choose the weights of constraints during training: a log barrier, dual ascent, a quadratic penalty.

Each is called once per training step with the values ``C`` (k,) of the constraints (at most 0 where they hold) and the step, and
gives the weight (k,) of each constraint's gradient. Values and weights are float64 tensors without a graph.
"""

from __future__ import annotations

import math

import torch

from workings.checks import as_float, as_int, check_tensor, one_of, values_hidden
from workings.language_models.barrier import EXTENSIONS, REDUCTIONS, barrier_multipliers, mu_schedule


class LogBarrier:
    """Weights ``mu / max(-C, s)`` with a ``mu`` that falls from ``start`` to ``end`` over ``total`` steps: nothing is learnt.

    ``s`` is ``mu**2`` where it is not given. The other arguments are those of
    :func:`~workings.language_models.barrier.barrier_multipliers` and :func:`~workings.language_models.barrier.mu_schedule`.
    Source: Dhillon et al., arXiv 2410.21533.
    """

    def __init__(
        self,
        total: int,
        *,
        start: float = 1.0,
        end: float = 1e-2,
        s: float | None = None,
        schedule: str = "geometric",
        extension: str = "linear",
        reduction: str = "mean",
    ):
        self.total = as_int(total, "total", minimum=1)
        mu_schedule(0, self.total, start, end, schedule)  # says what is wrong with them
        self.start, self.end, self.schedule = start, end, schedule
        self.s = None if s is None else as_float(s, "s", minimum=0.0, open_ends=True)
        self.extension = one_of(extension, "extension", EXTENSIONS)
        self.reduction = one_of(reduction, "reduction", REDUCTIONS)

    def mu(self, step: int) -> float:
        """The strength at ``step``; after the last step of the schedule it stays at its end."""
        step = as_int(step, "step", minimum=0)
        return mu_schedule(min(step, self.total - 1), self.total, self.start, self.end, self.schedule)

    def __call__(self, values: torch.Tensor, step: int) -> torch.Tensor:
        """The weights (k,) at ``step`` for constraint values (k,)."""
        return barrier_multipliers(as_values(values), self.mu(step), self.s, self.extension, self.reduction)


class DualAscent:
    """Weights that are learnt: ``lambda <- max(0, lambda + lr C)``, from ``start``, at most ``lambda_max`` if given.

    With ``log_space`` the logarithm is learnt, as in safe RLHF: ``log lambda <- log lambda + lr C lambda``, which needs a
    ``start`` above 0. An object belongs to one training run: it remembers its weights.
    Source: Dai et al., arXiv 2310.12773 (the form in log space).
    """

    def __init__(self, lr: float, lambda_max: float | None = None, *, start: float = 0.0, log_space: bool = False):
        self.lr = as_float(lr, "lr", minimum=0.0, open_ends=True)
        self.lambda_max = (
            None if lambda_max is None else as_float(lambda_max, "lambda_max", minimum=0.0, open_ends=True)
        )
        self.start = as_float(start, "start", minimum=0.0)
        self.log_space = bool(log_space)
        if self.log_space and self.start == 0:
            raise ValueError(
                "log_space=True needs a start above 0: a weight of 0 could never grow; use for instance 0.1."
            )
        if self.lambda_max is not None and self.start > self.lambda_max:
            raise ValueError(f"start must be at most lambda_max, got {self.start:g} and {self.lambda_max:g}.")
        self.weights: torch.Tensor | None = None

    def __call__(self, values: torch.Tensor, step: int) -> torch.Tensor:
        """Move the weights by one step and return them, (k,)."""
        values = as_values(values)
        before = torch.full_like(values, self.start) if self.weights is None else self.weights
        if before.shape != values.shape:
            raise ValueError(f"values must keep their shape {tuple(before.shape)}, got {tuple(values.shape)}.")
        if self.log_space:
            # The exponent is bounded: one wild value must not make the weight infinite for good.
            now = before * (self.lr * values * before).clamp(-50.0, 50.0).exp()
        else:
            now = (before + self.lr * values).clamp_min(0.0)
        self.weights = now.clamp_max(math.inf if self.lambda_max is None else self.lambda_max)
        return self.weights.clone()


class QuadraticPenalty:
    """Weights ``weight max(0, C)``: the gradient of :func:`quadratic_penalty`. Nothing is learnt and nothing falls."""

    def __init__(self, weight: float):
        self.weight = as_float(weight, "weight", minimum=0.0, open_ends=True)

    def __call__(self, values: torch.Tensor, step: int) -> torch.Tensor:
        """The weights (k,) for constraint values (k,)."""
        return self.weight * as_values(values).clamp_min(0.0)


def quadratic_penalty(values: torch.Tensor, weight: float) -> torch.Tensor:
    """``weight / 2 * sum max(0, C)^2`` over constraint values (k,): a scalar, 0 where every constraint holds.

    Its minimum always breaks an active constraint a little: by ``lambda / weight``, with the constraint's multiplier lambda.
    """
    weight = as_float(weight, "weight", minimum=0.0, open_ends=True)
    return weight / 2 * check_tensor(values, "values").clamp_min(0.0).square().sum()


def as_values(values: torch.Tensor) -> torch.Tensor:
    """Constraint values (k,) in float64 without a graph; ``ValueError`` unless they are one row of finite numbers."""
    values = check_tensor(values, "values").detach().double()
    finite = values_hidden(values) or bool(torch.isfinite(values).all())
    if values.dim() != 1 or not len(values) or not finite:
        raise ValueError(
            f"values must be one finite number for each constraint, (k,), got shape {tuple(values.shape)}."
        )
    return values
