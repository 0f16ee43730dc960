"""Entropy of predictions, of their average, and the loss made of both."""

import math

import pytest
import torch
import torch.nn.functional as F

from workings.few_shot.entropies import information_maximisation, marginal_entropy, shannon_entropy
from workings.seeding import torch_generator


def randn(*shape, name="x"):
    return torch.randn(*shape, generator=torch_generator(0, "entropies", name), dtype=torch.float64)


def test_uniform_predictions_have_entropy_log_k_and_certain_ones_none():
    for k in (2, 5, 20):
        assert shannon_entropy(torch.zeros(3, k)).item() == pytest.approx(math.log(k))
        certain = 1e3 * F.one_hot(torch.arange(k), k).double()
        assert shannon_entropy(certain).item() == 0.0
        assert marginal_entropy(certain).item() == pytest.approx(math.log(k))  # certain, and every class as often
        assert marginal_entropy(certain[:1].repeat(4, 1)).item() == pytest.approx(0.0, abs=1e-12)


def test_both_are_the_textbook_formulas_and_ignore_a_shift():
    z = 3 * randn(7, 4)
    p = z.softmax(dim=1)
    torch.testing.assert_close(shannon_entropy(z), torch.distributions.Categorical(probs=p).entropy().mean())
    mean = torch.distributions.Categorical(probs=p.mean(dim=0)).entropy()
    torch.testing.assert_close(marginal_entropy(z), mean)
    shift = 10 * randn(7, 1, name="shift")
    torch.testing.assert_close(shannon_entropy(z + shift), shannon_entropy(z))
    torch.testing.assert_close(marginal_entropy(z + shift), marginal_entropy(z))


def test_mutual_information_is_never_negative():
    z = 2 * randn(50, 6, 4)  # fifty sets of six predictions
    assert (marginal_entropy(z) - shannon_entropy(z) >= -1e-12).all()


def test_the_gradient_by_a_logit_is_minus_p_times_log_p_plus_h():
    z = (2 * randn(1, 5)).requires_grad_()
    h = shannon_entropy(z)
    [slope] = torch.autograd.grad(h, z)
    p = z.detach().softmax(dim=1)
    torch.testing.assert_close(slope, -p * (p.log() + h.detach()))


@pytest.mark.parametrize("function", [shannon_entropy, marginal_entropy])
def test_huge_logits_give_finite_values_and_gradients(function):
    z = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 200.0]], requires_grad=True)
    value = function(z)
    [slope] = torch.autograd.grad(value, z)
    assert torch.isfinite(value) and torch.isfinite(slope).all()
    assert torch.autograd.gradcheck(function, (randn(3, 4).requires_grad_(),))


def test_the_loss_is_the_sum_of_its_three_parts_for_each_episode():
    s, q = randn(2, 6, 3), randn(2, 8, 3, name="q")
    y = torch.tensor([[0, 1, 2, 0, 1, 2], [2, 2, 0, 1, 0, 1]])
    found = information_maximisation(s, y, q, 0.7, 0.3)
    for k in range(2):
        parts = F.cross_entropy(s[k], y[k]) + 0.7 * shannon_entropy(q[k]) - 0.3 * marginal_entropy(q[k])
        torch.testing.assert_close(found[k], parts)


def test_what_has_no_entropy_is_refused():
    z = torch.zeros(2, 3)
    for function in (shannon_entropy, marginal_entropy):
        for wrong, error, match in (
            (z * torch.nan, ValueError, "NaN"),
            (torch.full((2, 3), torch.inf), ValueError, "infinity"),
            (z[0], ValueError, "shape"),
            (z.long(), TypeError, "floating"),
        ):
            with pytest.raises(error, match=match):
                function(wrong)
    y = torch.tensor([0, 2])
    for labels, query, error, match in (
        (y + 1, z, ValueError, r"0\.\.2"),
        (y[:1], z, ValueError, "shape"),
        (y.float(), z, TypeError, "int64"),
        (y, torch.zeros(2, 4), ValueError, "agree"),
    ):
        with pytest.raises(error, match=match):
            information_maximisation(z, labels, query)
