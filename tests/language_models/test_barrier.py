"""The relaxed log barrier, its weights, its schedule and the running mean, against their definitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models.barrier import (
    EXTENSIONS,
    RunningMean,
    barrier_multipliers,
    barrier_penalty,
    mu_schedule,
    relaxed_log_barrier,
)
from workings.language_models.multiplier_rules import DualAscent, LogBarrier, QuadraticPenalty, quadratic_penalty

POSITIVE = st.floats(1e-3, 5.0)
GRID = torch.linspace(-3, 2, 501, dtype=torch.float64)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(POSITIVE, POSITIVE, st.sampled_from(EXTENSIONS))
def test_it_is_the_logarithm_inside_and_continues_smoothly(mu, s, extension):
    inside = -s * torch.linspace(1, 50, 30, dtype=torch.float64)
    found = relaxed_log_barrier(inside, mu, s, extension)
    torch.testing.assert_close(found, -mu * (-inside).log(), rtol=1e-10, atol=1e-10)
    just = relaxed_log_barrier(row(-s, -s * (1 - 1e-9)), mu, s, extension)
    assert abs(just[1] - just[0]) < 1e-7 * mu  # continuous, with the slope mu / s
    slopes = (
        barrier_multipliers(row(-s * (1 + 1e-9)), mu, s, extension),
        barrier_multipliers(row(-s * (1 - 1e-9)), mu, s, extension),
    )
    torch.testing.assert_close(*slopes, rtol=1e-7, atol=0)


@settings(max_examples=40, deadline=None)
@given(POSITIVE, st.sampled_from(EXTENSIONS), st.sampled_from(["mean", "sum"]))
def test_the_weights_are_the_derivative(mu, extension, reduction):
    values = GRID[::7].clone().requires_grad_()
    barrier_penalty(values, mu, None, extension, reduction).backward()
    weights = barrier_multipliers(values, mu, None, extension, reduction)
    torch.testing.assert_close(values.grad, weights, rtol=1e-9, atol=1e-12)
    assert bool((weights > 0).all()) and not weights.requires_grad
    if extension == "linear" and reduction == "sum":
        by_formula = torch.tensor([mu / max(-c, mu**2) for c in GRID[::7].tolist()], dtype=torch.float64)
        torch.testing.assert_close(weights, by_formula, rtol=1e-12, atol=0)
        assert weights.max() <= 1 / mu * (1 + 1e-12)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("mu", [1.0, 0.3, 0.05])
def test_it_rises_and_is_convex(extension, mu):
    steps = relaxed_log_barrier(GRID, mu, None, extension).diff()
    assert bool((steps > 0).all()) and bool((steps.diff() > -1e-12).all())


def test_the_quadratic_continuation_has_a_continuous_second_derivative_and_the_linear_one_has_not():
    second = {}
    for extension in EXTENSIONS:
        z = row(-0.25 - 1e-6, -0.25 + 1e-6).requires_grad_()
        (first,) = torch.autograd.grad(relaxed_log_barrier(z, 0.5, 0.25, extension).sum(), z, create_graph=True)
        (second[extension],) = torch.autograd.grad(first.sum(), z)
    torch.testing.assert_close(second["quadratic"], row(8.0, 8.0), rtol=1e-4, atol=0)  # mu / s^2
    torch.testing.assert_close(second["linear"], row(8.0, 0.0), rtol=1e-4, atol=1e-12)


def test_it_tends_to_the_wall():
    for mu in (1.0, 0.1, 1e-2, 1e-4):
        assert float(relaxed_log_barrier(row(-1.0), mu)) == pytest.approx(0.0, abs=1e-12)
    sizes = [relaxed_log_barrier(row(-0.3, 0.3), mu) for mu in (1e-1, 1e-2, 1e-3, 1e-4)]
    inside, outside = torch.stack(sizes).abs().T.tolist()
    assert inside == sorted(inside, reverse=True) and inside[-1] < 2e-4
    assert outside == sorted(outside) and outside[-1] > 1e3


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_gradcheck(extension):
    z = row(-2.0, -0.5, -0.05, 0.3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: relaxed_log_barrier(x, 0.3, None, extension), (z,))


def test_schedules_reach_both_ends_at_a_constant_ratio_or_difference():
    steps = [mu_schedule(t, 50) for t in range(50)]
    assert steps[0] == 1.0 and steps[-1] == 1e-2
    ratios = [b / a for a, b in itertools.pairwise(steps)]
    assert max(ratios) - min(ratios) < 1e-12 and max(ratios) < 1
    line = [mu_schedule(t, 50, 2.0, 0.5, "linear") for t in range(50)]
    assert line[0] == 2.0 and line[-1] == 0.5
    assert [b - a for a, b in itertools.pairwise(line)] == pytest.approx([-1.5 / 49] * 49)
    assert mu_schedule(0, 1) == 1e-2


@settings(max_examples=40, deadline=None)
@given(st.floats(0.0, 0.99), st.lists(st.floats(-100, 100), min_size=1, max_size=12))
def test_the_running_mean_is_its_weighted_sum(decay, values):
    mean, plain = RunningMean(decay), RunningMean(decay, debias=False)
    for value in values:
        found, raw = mean.update(row(value)), plain.update(row(value))
    weights = torch.tensor([(1 - decay) * decay**j for j in range(len(values))][::-1], dtype=torch.float64)
    direct = (weights * torch.tensor(values, dtype=torch.float64)).sum()
    torch.testing.assert_close(raw[0], direct, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0], direct / weights.sum(), rtol=1e-9, atol=1e-9)


def test_a_constant_is_its_own_running_mean_from_the_first_value():
    mean = RunningMean(0.95)
    assert all(float(mean.update(row(3.5))[0]) == pytest.approx(3.5, rel=1e-12) for _ in range(5))
    with pytest.raises(RuntimeError, match="before the first"):
        _ = RunningMean(0.5).mean


# ---------------------------------------------------------------- rules


def test_the_barriers_rule_follows_its_schedule_and_then_stays():
    rule, values = LogBarrier(10), row(-0.5, 0.2)
    for step in (0, 4, 9):
        mu = mu_schedule(step, 10)
        torch.testing.assert_close(rule(values, step), row(mu / max(0.5, mu**2), 1 / mu) / 2, rtol=1e-12, atol=0)
    assert torch.equal(rule(values, 40), rule(values, 9))


def test_dual_ascent_adds_up_the_violations_and_stops_at_its_bounds():
    rule = DualAscent(0.5, lambda_max=2.0)
    found = [rule(row(c), t)[0].item() for t, c in enumerate([1.0, 2.0, 9.0, -1.0, -9.0])]
    assert found == pytest.approx([0.5, 1.5, 2.0, 1.5, 0.0])
    logs = DualAscent(0.1, start=1.0, log_space=True)
    first, second = logs(row(2.0), 0)[0].item(), logs(row(-1.0), 1)[0].item()
    assert first == pytest.approx(math.exp(0.2)) and second == pytest.approx(first * math.exp(-0.1 * first))


def test_dual_ascent_finds_the_multiplier_of_a_problem_that_is_solved():
    """Minimise (x - 3)^2 / 2 subject to x <= 1: the minimum for a weight is x = 3 - weight, the multiplier is 2."""
    rule, x = DualAscent(0.2), 3.0
    for step in range(200):
        x = 3.0 - rule(row(x - 1.0), step)[0].item()
    assert x == pytest.approx(1.0, abs=1e-9) and rule.weights[0].item() == pytest.approx(2.0, abs=1e-9)


def test_the_penaltys_rule_is_its_derivative():
    values = row(-0.5, 0.0, 0.3, 2.0).requires_grad_()
    quadratic_penalty(values, 3.0).backward()
    assert torch.equal(values.grad, QuadraticPenalty(3.0)(values, 0))
    assert values.grad.tolist() == pytest.approx([0.0, 0.0, 0.9, 6.0])


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: relaxed_log_barrier(row(0.0), 0.0), "mu must be"),
        (lambda: relaxed_log_barrier(row(0.0), 1.0, -1.0), "s must be"),
        (lambda: relaxed_log_barrier(row(float("nan")), 1.0), "NaN"),
        (lambda: relaxed_log_barrier(row(0.0), 1.0, extension="cubic"), "extension must be one of"),
        (lambda: barrier_multipliers(torch.zeros(2, 2), 1.0), r"\(k,\)"),
        (lambda: barrier_penalty(row(0.0), 1.0, reduction="max"), "reduction must be one of"),
        (lambda: mu_schedule(5, 5), "step must be at most 4"),
        (lambda: mu_schedule(0, 5, end=0.0), "end must be"),
        (lambda: RunningMean(1.0), "decay must be"),
        (lambda: RunningMean(0.5).update(row(float("inf"))), "finite"),
        (lambda: LogBarrier(0), "total must be"),
        (lambda: LogBarrier(5, s=0.0), "s must be"),
        (lambda: DualAscent(0.0), "lr must be"),
        (lambda: DualAscent(0.1, log_space=True), "start above 0"),
        (lambda: DualAscent(0.1, 1.0, start=2.0), "at most lambda_max"),
        (lambda: DualAscent(0.1)(row(float("nan")), 0), "finite number"),
        (lambda: QuadraticPenalty(-1.0), "weight must be"),
    ],
)
def test_bad_input_is_refused(work, message):
    with pytest.raises(ValueError, match=message):
        work()


def test_a_running_mean_and_a_dual_keep_their_shape():
    mean, rule = RunningMean(0.5), DualAscent(0.1)
    mean.update(row(1.0)), rule(row(1.0), 0)
    with pytest.raises(ValueError, match="keep its shape"):
        mean.update(row(1.0, 2.0))
    with pytest.raises(ValueError, match="keep their shape"):
        rule(row(1.0, 2.0), 1)
