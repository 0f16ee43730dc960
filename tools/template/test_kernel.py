"""The mathematics of `{{slug}}`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workings.{{part}}.{{slug}} import interval, mean_and_standard_error


def test_two_values_by_hand():
    mean, error = mean_and_standard_error([1.0, 3.0])
    assert (mean, error) == (2.0, 1.0)  # sd = sqrt(2), divided by sqrt(2)


def test_with_one_degree_of_freedom_the_quantile_is_that_of_a_cauchy_distribution():
    _, half = interval([1.0, 3.0])
    assert half == pytest.approx(np.tan(0.475 * np.pi), rel=1e-9)


@given(arrays(float, 5, elements=st.floats(-1e3, 1e3)), st.floats(-1e3, 1e3))
def test_a_shift_moves_the_mean_and_leaves_the_error(x, shift):
    (mean, error), (moved, same) = mean_and_standard_error(x), mean_and_standard_error(x + shift)
    np.testing.assert_allclose(moved, mean + shift, atol=1e-9)
    np.testing.assert_allclose(same, error, atol=1e-9)  # values up to 2e3, float64 eps 2e-16, five terms


def test_the_error_is_the_spread_of_the_mean():
    # 4000 means of 50 values: their sd has a relative standard error of 1/sqrt(8000) = 1.1%; 5% is 4.5 of them,
    # a false alarm in fewer than 1 of 100,000 seeds.
    x = np.random.default_rng(0).standard_normal((4000, 50))
    mean, error = mean_and_standard_error(x)
    assert mean.std() == pytest.approx(np.sqrt((error**2).mean()), rel=0.05)


@pytest.mark.parametrize("bad", [[1.0], [1.0, np.nan], [1.0, np.inf], []])
def test_bad_input_is_named(bad):
    with pytest.raises(ValueError, match="x"):
        mean_and_standard_error(bad)
