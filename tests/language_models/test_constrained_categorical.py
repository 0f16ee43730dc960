"""The constrained categorical problem against its conditions of optimality and a brute-force optimiser."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from workings.language_models.constrained_categorical import solve_constrained_categorical
from workings.seeding import numpy_generator


def problem(seed: int, n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = numpy_generator(seed, "problem")
    return rng.dirichlet(np.full(n, 0.7)), np.sort(rng.uniform(-2, 9, n))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 500), st.floats(0.02, 0.98), st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0, 30.0, 3e3]), st.booleans()
)
def test_the_conditions_of_optimality_hold(seed, share, mu, upper):
    p, v = problem(seed)
    mean = float(p @ v)
    low, high = v[p > 0].min(), v[p > 0].max()
    bound = low + share * (mean - low) if upper else high - share * (high - mean)
    found = solve_constrained_categorical(p, v, bound, "at_most" if upper else "at_least", mu=mu)
    assert found.residual < 1e-10
    assert found.pi.sum() == pytest.approx(1.0, abs=1e-10) and found.pi.min() >= 0 and found.multiplier > 0
    sign = 1 if upper else -1
    slack = sign * (bound - found.mean)
    if mu == 0:
        assert abs(slack) < 1e-8 * (high - low)
    else:
        assert slack > 0 and found.multiplier * slack == pytest.approx(mu, rel=1e-8)
    assert found.excess >= -1e-12


@pytest.mark.parametrize("seed", range(8))
def test_the_barriers_cost_is_at_most_mu_above_the_best_and_its_weight_tends_to_the_multiplier(seed):
    p, v = problem(seed)
    bound = (v.min() + float(p @ v)) / 2
    best = solve_constrained_categorical(p, v, bound)
    gaps = []
    for mu in np.geomspace(1, 1e-6, 13):
        found = solve_constrained_categorical(p, v, bound, mu=mu)
        assert 0 < found.excess - best.excess <= mu
        gaps.append(abs(found.multiplier - best.multiplier))
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-3 * best.multiplier


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mu", [0.0, 0.2])
def test_a_general_optimiser_finds_the_same(seed, mu):
    p, v = problem(seed, 5)
    bound = (v.min() + 2 * float(p @ v)) / 3
    objective = lambda pi: float(-(p * np.log(pi)).sum() - (mu * np.log(max(bound - pi @ v, 1e-300)) if mu else 0.0))
    inside = {"type": "ineq", "fun": lambda pi: bound - pi @ v - (1e-9 if mu else 0.0)}
    start = solve_constrained_categorical(p, v, bound, mu=1.0).pi * 0.7
    start[v.argmin()] += 1 - start.sum()  # feasible, and not the answer
    result = minimize(
        objective, start, constraints=[{"type": "eq", "fun": lambda pi: pi.sum() - 1}, inside], bounds=[(1e-9, 1)] * 5,
        method="SLSQP", options={"ftol": 1e-14, "maxiter": 500},
    )  # fmt: skip
    found = solve_constrained_categorical(p, v, bound, mu=mu)
    assert objective(found.pi) <= result.fun + 1e-9
    np.testing.assert_allclose(found.pi, result.x, atol=2e-4)


def test_by_hand():
    """Two outcomes, 0 and 1, each a half: a mean of at most 1/4 is kept best by (3/4, 1/4)."""
    found = solve_constrained_categorical([0.5, 0.5], [0, 1], 0.25)
    np.testing.assert_allclose(found.pi, [0.75, 0.25], atol=1e-12)
    assert found.excess == pytest.approx(-0.5 * np.log(1.5) - 0.5 * np.log(0.5))
    assert found.multiplier == pytest.approx(4 / 3)  # 0.5 / (1 - lambda/4) = 0.75


def test_a_bound_that_p_keeps_costs_nothing():
    p, v = problem(3)
    found = solve_constrained_categorical(p, v, float(p @ v) + 0.1)
    np.testing.assert_allclose(found.pi, p, atol=1e-12)
    assert found.multiplier == 0 and found.excess == pytest.approx(0.0, abs=1e-12)


def test_turning_all_signs_changes_nothing():
    p, v = problem(4)
    bound = v.min() * 0.4 + float(p @ v) * 0.6
    one = solve_constrained_categorical(p, v, bound, mu=0.05)
    other = solve_constrained_categorical(p, -v, -bound, "at_least", mu=0.05)
    np.testing.assert_allclose(one.pi, other.pi, atol=1e-12)
    assert one.mean == pytest.approx(-other.mean) and one.multiplier == pytest.approx(other.multiplier)


def test_impossible_outcomes_stay_impossible():
    found = solve_constrained_categorical([0.0, 0.5, 0.5], [-100, 0, 1], 0.25)
    np.testing.assert_allclose(found.pi, [0, 0.75, 0.25], atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.5, 0.5], [0, 1], 0.0), {}, "bound must be above 0"),
        (([0.5, 0.5], [0, 1], 1.0), {"sense": "at_least"}, "bound must be below 1"),
        (([0.5, 0.5], [0, 1, 2], 0.5), {}, "one shape"),
        (([0.5, 0.4], [0, 1], 0.5), {}, "sum to 1"),
        (([0.5, 0.5], [0, np.inf], 0.5), {}, "infinite"),
        (([0.5, 0.5], [0, 1], 0.5), {"mu": -1.0}, "mu must be"),
        (([0.5, 0.5], [0, 1], 0.5), {"sense": "below"}, "sense must be one of"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        solve_constrained_categorical(*arguments, **options)
