"""Accuracy of a random network under every rule, and the cosine between gradients."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workings.robustness.evaluation import (
    gradient_alignment,
    mc_predict,
    robust_accuracies,
    robust_accuracy,
    sample_softmax,
)
from workings.robustness.layers import insert_sap
from workings.robustness.networks import digits_cnn
from workings.seeding import torch_generator

steady = settings(derandomize=True, deadline=None, max_examples=60)


class Scripted(nn.Module):
    """A "random" network whose passes are written down: logits (passes, B, K)."""

    def __init__(self, passes):
        super().__init__()
        self.passes = itertools.cycle(torch.as_tensor(passes, dtype=torch.float64).unbind(0))

    def forward(self, x):
        return next(self.passes)


def test_every_rule_on_a_case_worked_by_hand():
    # Example 0 is right in both passes, example 1 in one (by more than it is wrong in the other), example 2 in none.
    sure, unsure = math.log(9.0), math.log(1.5)
    passes = [
        [[sure, 0.0], [sure, 0.0], [0.0, sure]],
        [[sure, 0.0], [0.0, unsure], [0.0, sure]],
    ]
    found = robust_accuracies(Scripted(passes), torch.zeros(3, 1), torch.zeros(3, dtype=torch.long), 2)
    assert {k: v.value for k, v in found.items()} == pytest.approx(
        {"single": 1.5 / 3, "mean-softmax": 2 / 3, "all": 1 / 3, "any": 2 / 3}
    )
    assert found["mean-softmax"].standard_error == pytest.approx(math.sqrt(2 / 3 / 3 / 3))
    assert found["all"].count == 3


def test_predictions_average_softmax_outputs_not_logits():
    passes = [[[10.0, 0.0]], [[0.0, 3.0]], [[0.0, 3.0]]]  # mean logits say 0, mean softmax says 1
    mean = mc_predict(Scripted(passes), torch.zeros(1, 1), 3)
    torch.testing.assert_close(mean, torch.tensor(passes, dtype=torch.float64).softmax(-1).mean(0))
    assert int(mean.argmax()) == 1
    assert robust_accuracy(Scripted(passes), torch.zeros(1, 1), torch.tensor([1]), 3).value == 1.0
    assert sample_softmax(Scripted(passes), torch.zeros(1, 1), 3).shape == (3, 1, 2)


@steady
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_all_is_at_most_single_is_at_most_any(samples, size, seed):
    logits = torch.randn(samples, size, 3, generator=torch_generator(seed, "z"))
    y = torch.randint(0, 3, (size,), generator=torch_generator(seed, "y"))
    found = robust_accuracies(Scripted(logits), torch.zeros(size, 1), y, samples)
    assert found["all"].value <= found["single"].value + 1e-12 <= found["any"].value + 2e-12
    hits = (logits.argmax(-1) == y).double()
    assert found["single"].value == pytest.approx(float(hits.mean()))
    assert found["all"].value == pytest.approx(float(hits.prod(0).mean()))
    assert found["any"].value == pytest.approx(float(hits.max(0).values.mean()))


def test_the_rules_agree_for_a_deterministic_network():
    net = digits_cnn(torch_generator(0, "net")).eval()
    x = torch.rand(50, 1, 8, 8, generator=torch_generator(0, "x"))
    y = torch.randint(0, 10, (50,), generator=torch_generator(0, "y"))
    values = {a.value for a in robust_accuracies(net, x, y, 4).values()}
    assert values == {float((net(x).argmax(1) == y).double().mean())}


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_passes_in_one_batch_are_the_passes_of_a_network_that_is_not_random(at_once):
    net = digits_cnn(torch_generator(4, "net")).eval().double()
    x = torch.rand(3, 1, 8, 8, generator=torch_generator(5, "x"), dtype=torch.float64)
    y = torch.tensor([0, 1, 2])
    found = sample_softmax(net, x, 5, at_once)
    assert found.shape == (5, 3, 10) and torch.allclose(found, net(x).softmax(1).expand(5, 3, 10))
    assert robust_accuracies(net, x, y, 5, at_once) == robust_accuracies(net, x, y, 5)


def test_passes_in_one_batch_draw_masks_of_their_own_and_keep_the_law():
    """Copies of one image differ, and the mean softmax over many passes is that of single passes: within 5 standard errors."""
    net = insert_sap(digits_cnn(torch_generator(4, "net")).eval().double(), generator=torch_generator(6, "masks"))
    x = torch.rand(1, 1, 8, 8, generator=torch_generator(5, "x"), dtype=torch.float64)
    many, single = sample_softmax(net, x, 600, 50)[:, 0], sample_softmax(net, x, 600)[:, 0]
    assert len(many.unique(dim=0)) > 500
    error = ((many.var(0) + single.var(0)) / 600).sqrt()
    # ten comparisons at five standard errors: a false alarm in about 6 of a million runs, and the seeds are fixed
    assert ((many.mean(0) - single.mean(0)).abs() <= 5 * error).all()


def test_a_number_of_passes_at_once_is_at_least_one():
    net = digits_cnn(torch_generator(4, "net")).eval()
    with pytest.raises(ValueError, match="at_once"):
        sample_softmax(net, torch.rand(1, 1, 8, 8), 2, 0)


def test_the_mean_of_many_passes_is_less_random_than_one():
    net = insert_sap(digits_cnn(torch_generator(0, "net")).eval(), fraction=0.5, generator=torch_generator(0, "m"))
    x = torch.rand(20, 1, 8, 8, generator=torch_generator(0, "x"))
    spread = {k: float((mc_predict(net, x, k) - mc_predict(net, x, k)).square().mean()) for k in (1, 25)}
    assert spread[25] < spread[1] / 10  # 1/25 in theory
    torch.testing.assert_close(mc_predict(net, x, 3).sum(dim=1), torch.ones(20))


@pytest.mark.parametrize(
    ("y", "samples", "rule", "error", "message"),
    [
        (torch.tensor([0, 2]), 2, "all", ValueError, "0..1"),
        (torch.tensor([0]), 2, "all", ValueError, "labels"),
        (torch.tensor([0, 1]), 0, "all", ValueError, "samples"),
        (torch.tensor([0, 1]), 2, "mean", ValueError, "'mean-softmax'"),
    ],
)
def test_bad_input_is_refused(y, samples, rule, error, message):
    with pytest.raises(error, match=message):
        robust_accuracy(Scripted(torch.zeros(1, 2, 2)), torch.zeros(2, 1), y, samples, rule)


def test_one_class_and_broken_networks_are_refused():
    with pytest.raises(ValueError, match="K = 1"):
        robust_accuracy(Scripted(torch.zeros(1, 2, 1)), torch.zeros(2, 1), torch.tensor([0, 0]), 1)
    with pytest.raises(ValueError, match="NaN"):
        robust_accuracy(Scripted(torch.full((1, 2, 2), math.nan)), torch.zeros(2, 1), torch.tensor([0, 1]), 1)


@steady
@given(st.integers(0, 10**6), st.floats(1e-20, 1e20), st.floats(1e-20, 1e20))
def test_alignment_is_the_cosine_and_ignores_scale(seed, first, second):
    g1 = torch.randn(3, 2, 4, generator=torch_generator(seed, "a"), dtype=torch.float64)
    g2 = torch.randn(3, 2, 4, generator=torch_generator(seed, "b"), dtype=torch.float64)
    cosine = nn.functional.cosine_similarity(g1.flatten(1), g2.flatten(1))
    torch.testing.assert_close(gradient_alignment(g1, g2), cosine, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient_alignment(g1 * first, g2 * second), cosine, rtol=0, atol=1e-12)


def test_alignment_at_its_ends():
    g = torch.tensor([[3.0, 4.0]])
    assert float(gradient_alignment(g, g)) == pytest.approx(1.0)
    assert float(gradient_alignment(g, -g)) == pytest.approx(-1.0)
    assert float(gradient_alignment(g, torch.tensor([[-4.0, 3.0]]))) == pytest.approx(0.0, abs=1e-7)
    assert float(gradient_alignment(g, torch.zeros(1, 2))) == 0.0  # documented: no direction, no alignment
    with pytest.raises(ValueError, match="one shape"):
        gradient_alignment(g, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="g2 contains NaN"):
        gradient_alignment(g, torch.tensor([[math.nan, 0.0]]))
