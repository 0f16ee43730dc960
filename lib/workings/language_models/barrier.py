"""A wall made of a logarithm: the relaxed log barrier, the weights that it gives to constraints, and how its strength falls.

A constraint is a number ``C`` that has to be at most 0. Axes: k constraints.
"""

from __future__ import annotations

import math

import torch

from workings.checks import as_float, as_int, check_tensor, one_of, values_hidden

EXTENSIONS = ("linear", "quadratic")
REDUCTIONS = ("mean", "sum")
SCHEDULES = ("geometric", "linear")


def relaxed_log_barrier(
    values: torch.Tensor, mu: float, s: float | None = None, extension: str = "linear"
) -> torch.Tensor:
    """The barrier of each constraint value ``C``: shape and dtype of ``values``, finite everywhere, increasing and convex.

    ``-mu log(-C)`` where ``C <= -s``. Above, where the logarithm would run away, its continuation: with
    ``extension="linear"`` the tangent ``mu C / s + mu - mu log s``; with ``"quadratic"`` the parabola
    ``mu (((C/s + 2)^2 - 1) / 2 - log s)`` with the same second derivative at ``-s``. ``s`` is ``mu**2`` by default: as ``mu``
    falls the barrier tends to 0 for ``C < 0`` and to infinity for ``C > 0``. Raises ``ValueError`` unless ``mu`` and ``s`` are
    positive and ``values`` are numbers.

    Sources: Dhillon et al., arXiv 2410.21533, figure 1 (``s = mu**2``); for the parabola Hauser and Saccon, CDC 2006.
    """
    mu, s = _strength(mu, s)
    one_of(extension, "extension", EXTENSIONS)
    values = _checked(values)
    inside = -mu * (-values).clamp_min(s).log()
    outside = (mu / s) * values + (mu - mu * math.log(s))
    if extension == "quadratic":
        outside = mu * (((values / s + 2).square() - 1) / 2 - math.log(s))
    return torch.where(values <= -s, inside, outside)


def barrier_penalty(
    values: torch.Tensor, mu: float, s: float | None = None, extension: str = "linear", reduction: str = "mean"
) -> torch.Tensor:
    """What is added to the objective: the mean (or the sum) of :func:`relaxed_log_barrier` over ``values`` (k,); a scalar."""
    one_of(reduction, "reduction", REDUCTIONS)
    barriers = relaxed_log_barrier(_row(values), mu, s, extension)
    return barriers.mean() if reduction == "mean" else barriers.sum()


def barrier_multipliers(
    values: torch.Tensor, mu: float, s: float | None = None, extension: str = "linear", reduction: str = "mean"
) -> torch.Tensor:
    """The weight of each constraint's gradient, the derivative of :func:`barrier_penalty`: (k,), positive, without a graph.

    With the linear extension ``mu / max(-C, s)``, at most ``mu / s``; divided by ``k`` with ``reduction="mean"``. It estimates
    the constraint's Lagrange multiplier. Arguments and errors as for :func:`barrier_penalty`.
    """
    mu, s = _strength(mu, s)
    one_of(extension, "extension", EXTENSIONS)
    one_of(reduction, "reduction", REDUCTIONS)
    values = _row(values).detach()
    weights = mu / (-values).clamp_min(s)
    if extension == "quadratic":
        weights = torch.where(values <= -s, weights, (mu / s) * (values / s + 2))
    return weights / len(values) if reduction == "mean" else weights


def mu_schedule(step: int, total: int, start: float = 1.0, end: float = 1e-2, kind: str = "geometric") -> float:
    """The barrier's strength at ``step`` of ``0..total - 1``: from ``start`` to ``end``, both reached exactly.

    ``"geometric"`` multiplies by the same factor at every step, ``"linear"`` adds the same number. With ``total`` 1 it is
    ``end``. Raises ``ValueError`` for a step outside the range and for strengths that are not positive.
    """
    total = as_int(total, "total", minimum=1)
    step = as_int(step, "step", minimum=0, maximum=total - 1)
    start = as_float(start, "start", minimum=0.0, open_ends=True)
    end = as_float(end, "end", minimum=0.0, open_ends=True)
    one_of(kind, "kind", SCHEDULES)
    if step == total - 1:
        return end
    share = step / (total - 1)
    if kind == "linear":
        return start + (end - start) * share
    return start * (end / start) ** share


class RunningMean:
    """A mean that forgets: ``m <- decay m + (1 - decay) value``, from 0; shape of the first value, float64, without a graph.

    After t values it weighs the one j steps back by ``(1 - decay) decay^j``. These weights sum to ``1 - decay^t``;
    ``debias`` divides by that, so that equal values give that value from the first on. ``decay`` in [0, 1): 0 keeps only the newest.
    """

    def __init__(self, decay: float, debias: bool = True):
        self.decay = as_float(decay, "decay", minimum=0.0, maximum=1.0)
        if self.decay == 1.0:
            raise ValueError(
                "decay must be below 1, got 1.0: a mean that never takes in a value; use for instance 0.9."
            )
        self.debias = bool(debias)
        self.count, self._sum = 0, None

    def update(self, value: torch.Tensor) -> torch.Tensor:
        """Take in ``value`` and return the mean. ``ValueError`` for another shape than before, or a value that is not finite."""
        value = check_tensor(value, "value").detach().double()
        if not values_hidden(value) and not bool(torch.isfinite(value).all()):
            raise ValueError("value must be finite: one infinite or undefined value would stay in the mean for good.")
        if self._sum is None:
            self._sum = torch.zeros_like(value)
        if value.shape != self._sum.shape:
            raise ValueError(f"value must keep its shape {tuple(self._sum.shape)}, got {tuple(value.shape)}.")
        self.count += 1
        self._sum = self.decay * self._sum + (1 - self.decay) * value
        return self.mean

    @property
    def mean(self) -> torch.Tensor:
        """The mean now; ``RuntimeError`` before the first value."""
        if self._sum is None:
            raise RuntimeError("there is no mean before the first value; call update(value).")
        return self._sum / (1 - self.decay**self.count) if self.debias else self._sum.clone()


def _strength(mu: float, s: float | None) -> tuple[float, float]:
    mu = as_float(mu, "mu", minimum=0.0, open_ends=True)
    return mu, as_float(mu**2 if s is None else s, "s", minimum=0.0, open_ends=True)


def _checked(values: torch.Tensor) -> torch.Tensor:
    check_tensor(values, "values")
    if not values_hidden(values) and bool(values.isnan().any()):
        raise ValueError("values contains NaN; a constraint whose value is not a number is neither met nor broken.")
    return values


def _row(values: torch.Tensor) -> torch.Tensor:
    if _checked(values).dim() != 1 or not len(values):
        raise ValueError(f"values must be (k,), one number for each constraint, got shape {tuple(values.shape)}.")
    return values
