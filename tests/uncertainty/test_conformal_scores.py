"""Conformity scores, cumulative factors and set sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from workings.uncertainty.conformal import conformal_threshold
from workings.uncertainty.scores import (
    absolute_residual,
    aps,
    cqr,
    interval_size,
    lac,
    lp_ball_volume,
    lp_residual,
    residual_cum_factor,
    set_size,
    true_label,
    zero_one,
)

# The same examples on every run, and no time limit: a busy machine is no counterexample.
steady = settings(derandomize=True, deadline=None)

PROBS = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])


def aps_loop(probs, u):
    """APS by its definition, one label at a time."""
    out = np.empty_like(probs)
    for i, row in enumerate(probs):
        for y, p in enumerate(row):
            out[i, y] = sum(q for q in row if q > p) + u[i, y] * p
    return out


def aps_cumulative(probs, u):
    """The other convention: cumulative mass up to and including the label, minus (1 - u) of its own."""
    out = np.empty_like(probs)
    for i, row in enumerate(probs):
        order = np.argsort(-row, kind="stable")
        out[i, order] = np.cumsum(row[order])
    return out - (1 - u) * probs


# --- regression ------------------------------------------------------------------------------------------------------


def test_residual_scores_on_paper():
    assert absolute_residual([1.0, -2.0], [3.0, 1.0]).tolist() == [2.0, 3.0]
    assert lp_residual([[3.0, 4.0]], [[0.0, 0.0]], p=2).tolist() == [25.0]  # no root is taken
    assert lp_residual([[3.0, 4.0]], [[0.0, 0.0]]).tolist() == [7.0]


@pytest.mark.parametrize(("d", "p", "volume"), [(1, 0.5, 2), (1, 7, 2), (2, 2, math.pi), (3, 1, 4 / 3), (2, 1, 2)])
def test_ball_volumes_of_known_shapes(d, p, volume):
    assert lp_ball_volume(d, p) == pytest.approx(volume, rel=1e-13)


@pytest.mark.parametrize("p", [0.7, 1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_ball_volume_is_the_integral_over_its_slices(d, p):
    slices = integrate.quad(lambda z: 2 * (1 - z**p) ** ((d - 1) / p), 0, 1, epsabs=1e-11)[0]
    assert lp_ball_volume(d, p) == pytest.approx(slices * lp_ball_volume(d - 1, p), rel=1e-8)  # quad's accuracy


def test_a_high_power_makes_the_ball_a_cube():
    assert lp_ball_volume(3, 1e6) == pytest.approx(8.0, rel=1e-5)


def test_absolute_residual_has_twice_its_level_of_label_space():
    assert residual_cum_factor()(np.array([0.0, 0.5, 3.0])).tolist() == [0.0, 1.0, 6.0]
    assert residual_cum_factor(1, 2)(9.0) == pytest.approx(6.0)


@steady
@given(st.integers(1, 4), st.floats(0.5, 4), st.floats(0.1, 10), st.floats(0.1, 10))
def test_stretching_the_labels_stretches_their_volume(d, p, r, c):
    factor = residual_cum_factor(d, p)  # labels times c: scores times c^p, volumes times c^d
    assert factor(c**p * r) == pytest.approx(c**d * factor(r), rel=1e-9)


def test_cumulative_factor_counts_the_labels_of_a_two_target_score():
    """Share of a fine grid of labels with score at most r; the exponent 1/p (that of one target) is far off."""
    axis = (np.arange(1000) + 0.5) / 500 - 1  # midpoints of [-1, 1]
    labels = np.stack(np.meshgrid(axis, axis), axis=-1)
    area = np.mean(lp_residual(labels, np.zeros_like(labels), p=1.5) <= 0.5) * 4
    # Only the 4,000 or so boundary cells of 4e-6 each can be miscounted, and errors on the two sides cancel.
    assert residual_cum_factor(2, 1.5)(0.5) == pytest.approx(area, abs=2e-3)
    assert lp_ball_volume(2, 1.5) * 0.5 ** (1 / 1.5) > 1.5 * area


def test_cqr_score_is_the_signed_distance_to_the_band():
    assert cqr([0.0, 1.5, 4.0], [1.0, 1.0, 1.0], [3.0, 3.0, 3.0]).tolist() == [1.0, -0.5, 1.0]


def test_cqr_scores_a_label_grid_by_broadcasting():
    grid, lo, hi = np.linspace(-1, 2, 7), np.array([0.0, 0.5]), np.array([1.0, 0.7])
    scores = cqr(grid[None, :], lo[:, None], hi[:, None])
    assert scores.shape == (2, 7)
    assert np.array_equal(scores[1], cqr(grid, np.full(7, 0.5), np.full(7, 0.7)))


@steady
@given(st.floats(-2, 2), st.floats(-0.5, 2), st.floats(-1.5, 2))
def test_interval_size_measures_the_labels_the_threshold_admits(lo, width, tau):
    cells = 20_000
    grid = -7 + 14 * (np.arange(cells) + 0.5) / cells  # covers [lo - tau, lo + width + tau]
    admitted = np.count_nonzero(cqr(grid, np.full(cells, lo), np.full(cells, lo + width)) <= tau) * 14 / cells
    assert interval_size(lo, lo + width, tau) == pytest.approx(admitted, abs=2 * 14 / cells)  # a cell at each end


def test_a_threshold_below_minus_half_the_band_leaves_an_empty_set_not_a_negative_one():
    lo, hi, tau = np.array([0.0, 0.0]), np.array([1.0, 4.0]), -1.0
    unclipped = hi - lo + 2 * tau
    assert interval_size(lo, hi, tau).tolist() == [0.0, 2.0]
    assert unclipped.tolist() == [-1.0, 2.0]
    assert unclipped.mean() != interval_size(lo, hi, tau).mean()


def test_an_infinite_threshold_admits_the_whole_line():
    assert interval_size(0.0, 1.0, math.inf) == math.inf


# --- classification --------------------------------------------------------------------------------------------------


def test_classification_scores_on_paper():
    assert zero_one(PROBS).tolist() == [[0, 1, 1], [1, 1, 0]]
    assert np.allclose(lac(PROBS), [[0.5, 0.7, 0.8], [0.9, 0.8, 0.3]])
    assert np.allclose(aps(PROBS, np.zeros((2, 3))), [[0, 0.5, 0.8], [0.9, 0.7, 0]])
    assert np.allclose(aps(PROBS, np.full((2, 3), 0.5)), [[0.25, 0.65, 0.9], [0.95, 0.8, 0.35]])
    assert np.allclose(aps(PROBS, 1.0), [[0.5, 0.8, 1.0], [1.0, 0.9, 0.7]])


def test_zero_one_predicts_the_first_of_tied_labels():
    assert zero_one([[0.4, 0.4, 0.2]]).tolist() == [[0, 1, 1]]
    assert zero_one([[-3.0, 5.0]]).tolist() == [[1, 0]]  # logits will do


@pytest.mark.parametrize("rounding", [1, 2, 9])  # one decimal: nearly every row has ties
def test_aps_agrees_with_the_slow_definition(rounding):
    generator = np.random.default_rng(0)
    counts = np.round(generator.dirichlet(np.ones(6), size=200) * 10**rounding)
    probs = counts / counts.sum(axis=1, keepdims=True)
    u = generator.random(probs.shape)
    # The same sums of at most six terms in another order: a few units of 1e-16.
    assert np.allclose(aps(probs, u), aps_loop(probs, u), rtol=0, atol=1e-14)


def test_aps_conventions_part_under_ties():
    tied, u = np.array([[0.4, 0.4, 0.2]]), np.full((1, 3), 0.5)
    assert np.allclose(aps(tied, u), [[0.2, 0.2, 0.9]])
    assert np.allclose(aps_cumulative(tied, u), [[0.2, 0.6, 0.9]])
    assert np.allclose(aps(PROBS, u[0]), aps_cumulative(PROBS, u[0]))  # no ties, no difference


def test_aps_moves_with_the_labels():
    generator = np.random.default_rng(1)
    probs, u, order = generator.dirichlet(np.ones(5), 20), generator.random((20, 5)), generator.permutation(5)
    assert np.allclose(aps(probs[:, order], u[:, order]), aps(probs, u)[:, order], rtol=0, atol=1e-15)


def test_aps_uses_the_uniform_of_each_candidate_label():
    u = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    slope = aps(PROBS, u + 0.1) - aps(PROBS, u)
    assert np.allclose(slope, 0.1 * PROBS)
    assert not np.allclose(aps(PROBS, u), aps(PROBS, u[:, :1]))  # one draw shared by the labels is another score


def test_aps_score_of_the_true_label_is_uniform_under_the_true_probabilities():
    """20,000 labels drawn from their own probabilities. False alarm: Kolmogorov-Smirnov p < 1e-6."""
    generator = np.random.default_rng(2)
    probs = generator.dirichlet(np.ones(4), 20_000)
    y = (generator.random((20_000, 1)) > np.cumsum(probs, axis=1)[:, :-1]).sum(axis=1)
    scores = true_label(aps(probs, generator.random(probs.shape)), y)
    assert stats.kstest(scores, "uniform").pvalue > 1e-6


def test_true_label_picks_one_score_per_row():
    assert true_label(lac(PROBS), [2, 0]).tolist() == pytest.approx([0.8, 0.9])
    assert true_label(lac(PROBS), np.array([2.0, 0.0])).tolist() == pytest.approx([0.8, 0.9])


def test_lac_sets_can_be_empty_and_are_counted_so():
    sizes = set_size(lac(PROBS) <= 0.4)
    assert sizes.tolist() == [0, 1]
    assert set_size(np.ones((2, 3, 4), bool)).tolist() == [[4, 4, 4], [4, 4, 4]]


def test_float32_softmax_outputs_are_probabilities():
    logits = np.random.default_rng(3).normal(size=(50, 1000)).astype(np.float32) * 8
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = lac(exps / exps.sum(axis=1, keepdims=True))
    assert scores.dtype == np.float64
    assert (scores >= 0).all()


def test_tensors_are_scored_too():
    torch = pytest.importorskip("torch")
    probs = torch.softmax(torch.tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True), dim=1)
    assert conformal_threshold(true_label(lac(probs), torch.tensor([1, 0])), 0.5) == pytest.approx(
        1 - 1 / (1 + np.e**-1)
    )
    assert set_size(torch.tensor([[True, False]])).tolist() == [1]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: absolute_residual([1.0, 2.0], [1.0]), "same shape"),
        (lambda: absolute_residual([[1.0], [2.0]], [1.0, 2.0]), "same shape"),  # would broadcast to (2, 2)
        (lambda: absolute_residual([math.nan], [1.0]), "NaN"),
        (lambda: absolute_residual([math.inf], [1.0]), "infinite"),
        (lambda: absolute_residual([], []), "empty"),
        (lambda: lp_residual(1.0, 2.0), "last axis"),
        (lambda: lp_residual([1.0], [2.0], p=0), "p must be"),
        (lambda: lp_ball_volume(0, 2), "d must be"),
        (lambda: lp_ball_volume(2, -1), "p must be"),
        (lambda: lp_ball_volume(2, math.inf), "p must be"),
        (lambda: residual_cum_factor()(-1.0), "at least 0"),
        (lambda: lac([[0.5, 0.6]]), "sum to 1"),
        (lambda: lac([[50.0, 50.0]]), "softmax"),
        (lambda: lac([[-0.1, 1.1]]), "softmax"),
        (lambda: lac([0.5, 0.5]), "dimension"),
        (lambda: lac([[0.5, math.nan]]), "NaN"),
        (lambda: aps(PROBS, np.full((2, 3), 1.01)), "u must be in"),
        (lambda: aps(PROBS, np.full((2, 3), -0.01)), "u must be in"),
        (lambda: aps(PROBS, np.zeros(2)), "u must have the shape"),
        (lambda: aps(PROBS, np.zeros((3, 3))), "u must have the shape"),
        (lambda: zero_one([[math.inf, 1.0]]), "infinite"),
        (lambda: true_label(lac(PROBS), [0, 3]), r"in \[0, 2\]"),
        (lambda: true_label(lac(PROBS), [0, -1]), r"in \[0, 2\]"),
        (lambda: true_label(lac(PROBS), [0, 0.5]), "whole label numbers"),
        (lambda: true_label(lac(PROBS), [0]), "one label per row"),
        (lambda: cqr([0.0, 1.0], [0.0], [1.0]), "does not match"),
        (lambda: cqr([0.0, 1.0, 2.0], [0.0, 0.0], [1.0, 1.0]), "does not match"),
        (lambda: cqr([[0.0, 1.0]], [[0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]]), "broadcast"),
        (lambda: cqr([0.0, 1.0], [[0.0], [1.0]], [[1.0], [2.0]]), "label grid"),
        (lambda: cqr([0.0], [0.0], [[1.0]]), "same shape"),
        (lambda: interval_size(0.0, 1.0, math.nan), "NaN"),
        (lambda: set_size(np.zeros((2, 0), bool)), "last axis"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("mask", [[[0, 1]], [[0.5]], "yes"])
def test_set_size_wants_a_boolean_mask(mask):
    with pytest.raises(TypeError, match="boolean"):
        set_size(mask)


@pytest.mark.parametrize(("d", "r"), [(400, 150.0), (400, 1e-3), (1200, 230.0), (60, 1e6)])
def test_the_cumulative_factor_in_many_dimensions_is_a_product_whose_parts_leave_float64(d, r):
    """The cross-polytope's volume (2 r)^d / d! as a sum of d logarithms: the volume or the power alone is 0 or infinite."""
    expected = np.exp(np.sum(np.log(2 * r / np.arange(1, d + 1))))
    assert residual_cum_factor(d, 1)(np.array([r, 0.0])) == pytest.approx([expected, 0.0], rel=1e-9)
    assert (d, r) != (400, 150.0) or (0 < expected < np.inf and lp_ball_volume(d, 1) == 0)
