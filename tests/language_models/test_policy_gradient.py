"""The policy gradient against exact enumeration of a small model's sequences."""

from __future__ import annotations

import itertools

import pytest
import torch

from workings.language_models.decoder import TinyDecoder
from workings.language_models.policy_gradient import policy_gradient_surrogate
from workings.language_models.sequence_scores import sequence_log_prob
from workings.seeding import torch_generator

EXACT = {"rtol": 0.0, "atol": 1e-10}


@pytest.fixture(scope="module")
def policy():
    """All nine responses of two tokens of a model, their log-probabilities, scores, and the gradient of the mean score."""
    net = TinyDecoder(3, 8, 1, 2, embedding_std=1.0, generator=torch_generator(0, "m")).double()
    tokens = torch.tensor([(0, *pair) for pair in itertools.product(range(3), repeat=2)])
    mask = torch.tensor([False, True, True]).expand(9, 3)
    logp = sequence_log_prob(net(tokens), tokens, mask)
    scores = torch.randn(9, generator=torch_generator(0, "scores"), dtype=torch.float64)
    weight = net.blocks[0].attention.v_proj.weight
    (exact,) = torch.autograd.grad((logp.exp() * scores).sum(), weight, retain_graph=True)
    assert exact.abs().max() > 1e-3
    return logp, scores, weight, exact


def expected(policy, scores, baseline, n=2):
    """The exact mean of the estimated gradient over all batches of ``n`` responses."""
    logp, _, weight, _ = policy
    chance, total = logp.exp().detach(), 0.0
    for batch in itertools.product(range(9), repeat=n):
        i = list(batch)
        total = total + chance[i].prod() * policy_gradient_surrogate(logp[i], scores[i], baseline)
    return torch.autograd.grad(total, weight, retain_graph=True)[0]


@pytest.mark.parametrize(("baseline", "n", "factor"), [(None, 1, 1.0), (None, 2, 1.0), ("loo", 2, 1.0), ("loo", 3, 1.0), ("mean", 2, 0.5), ("mean", 3, 2 / 3)])  # fmt: skip
def test_the_expected_gradient_is_exact_up_to_the_baselines_known_factor(policy, baseline, n, factor):
    torch.testing.assert_close(expected(policy, policy[1], baseline, n), factor * policy[3], **EXACT)


@pytest.mark.parametrize("baseline", [None, "loo", "mean"])
def test_a_constant_added_to_all_scores_changes_nothing_in_expectation(policy, baseline):
    torch.testing.assert_close(
        expected(policy, policy[1] + 7.0, baseline), expected(policy, policy[1], baseline), **EXACT
    )


def test_a_baseline_makes_the_estimate_quieter(policy):
    """Exact variance over all pairs, of one entry, for scores with a large common part."""
    logp, scores, weight, _ = policy
    chance, spread = logp.exp().detach(), {}
    for baseline in (None, "loo"):
        first = second = 0.0
        for i in map(list, itertools.product(range(9), repeat=2)):
            surrogate = policy_gradient_surrogate(logp[i], scores[i] + 10.0, baseline)
            value = torch.autograd.grad(surrogate, weight, retain_graph=True)[0][0, 0]
            first, second = first + chance[i].prod() * value, second + chance[i].prod() * value**2
        spread[baseline] = float(second - first**2)
    assert spread["loo"] < 0.1 * spread[None]


def test_nothing_flows_back_through_the_scores():
    logp = torch.zeros(4, requires_grad=True)
    scores = torch.arange(4.0, requires_grad=True)
    policy_gradient_surrogate(logp, scores).backward()
    assert scores.grad is None
    torch.testing.assert_close(logp.grad, (torch.arange(4.0) - 1.5) / 4)


@pytest.mark.parametrize(
    ("log_probs", "scores", "baseline", "message"),
    [
        (torch.zeros(3), torch.zeros(2), "mean", r"both be \(B,\)"),
        (torch.zeros(2, 2), torch.zeros(2, 2), "mean", r"both be \(B,\)"),
        (torch.zeros(2), torch.tensor([0.0, float("nan")]), "mean", "finite"),
        (torch.zeros(1), torch.zeros(1), "loo", "at least 2"),
        (torch.zeros(2), torch.zeros(2), "median", "baseline must be one of"),
    ],
)
def test_bad_input_is_refused(log_probs, scores, baseline, message):
    with pytest.raises(ValueError, match=message):
        policy_gradient_surrogate(log_probs, scores, baseline)
