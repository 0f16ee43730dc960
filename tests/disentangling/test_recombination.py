"""The recombination network: one rule for all latents, and what it learns on concepts whose results are known."""

import pytest
import torch

from workings.disentangling.concepts import OPERATORS, OperatorPairs, all_concepts, operator_pairs
from workings.disentangling.objectives import kl_diag_gaussians
from workings.disentangling.recombination import (
    RecombinationJob,
    recombination_net,
    train_recombinations,
)
from workings.disentangling.scan import Gaussian
from workings.seeding import torch_generator

SIZES = (3, 3, 2)


def normal(*shape, name="normal"):
    return torch.randn(*shape, generator=torch_generator(0, "recombination tests", name))


def pair(*shape):
    return [Gaussian(normal(*shape, name=f"m{i}"), normal(*shape, name=f"v{i}")) for i in range(2)]


def ideal_concepts():
    """Gaussians of a perfect vision model: one latent for each attribute, a fourth for nothing."""
    concepts = all_concepts(SIZES)
    named = concepts >= 0
    place = 2.0 * concepts / (torch.tensor(SIZES) - 1) - 1.0
    mu = torch.where(named, place, 0.0)
    logvar = torch.where(named, -3.0, 0.0)
    extra = torch.zeros(len(concepts), 1)
    return Gaussian(torch.cat([mu, extra], 1), torch.cat([logvar, extra], 1))


def test_permuting_the_latents_permutes_the_result():
    net = recombination_net(16, generator=torch_generator(0))
    first, second = pair(6, 5)
    operator = torch.arange(6) % 3
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = net(*(Gaussian(q.mu[:, order], q.logvar[:, order]) for q in (first, second)), operator)
    result = net(first, second, operator)
    assert result.mu.shape == result.logvar.shape == (6, 5)
    assert torch.allclose(shuffled.mu, result.mu[:, order], atol=1e-6)
    assert torch.allclose(shuffled.logvar, result.logvar[:, order], atol=1e-6)


def test_a_latent_does_not_see_its_neighbours():
    net = recombination_net(16, generator=torch_generator(0))
    first, second = pair(2, 4)
    first.mu.requires_grad_()
    net(first, second, torch.tensor([0, 2])).mu[0, 1].backward()
    assert (first.mu.grad != 0).nonzero().tolist() == [[0, 1]]


def test_it_is_a_convolution_of_width_1():
    net = recombination_net(16, generator=torch_generator(0))
    first, second = pair(2, 4)
    x = torch.stack([*first, *second], dim=1)  # (B, 4, M)
    weights = [linear.weight[:, :, None] for linear in net.linears]
    h = torch.relu(torch.nn.functional.conv1d(x, weights[0], net.linears[0].bias))
    answers = torch.nn.functional.conv1d(h, weights[1], net.linears[1].bias)
    result = net(first, second, torch.tensor([1, 2]))
    assert torch.allclose(result.mu[0], answers[0, 2], atol=1e-6)
    assert torch.allclose(result.logvar[1], answers[1, 5], atol=1e-6)


def test_trained_on_four_fifths_of_the_pairs_it_knows_the_rest():
    ideal = ideal_concepts()
    seen, new = [], []
    for k, operator in enumerate(OPERATORS):
        pairs = operator_pairs(SIZES, operator)
        late = torch.rand(len(pairs.first), generator=torch_generator(0, "split", k)) < 0.2
        seen.append(OperatorPairs(*(column[~late] for column in pairs)))
        new.append(OperatorPairs(*(column[late] for column in pairs)))
    (net,) = train_recombinations([RecombinationJob(ideal, ideal, 0)], seen, 1500, learning_rate=5e-3)
    take = lambda rows: Gaussian(ideal.mu[rows], ideal.logvar[rows])
    for k, pairs in enumerate(new):
        found = net(take(pairs.first), take(pairs.second), torch.full((len(pairs.first),), k))
        away = kl_diag_gaussians(*take(pairs.result), *found).sum(1).mean()
        naive = kl_diag_gaussians(*take(pairs.result), *take(pairs.first)).sum(1).mean()
        assert away < 0.3 and away < naive / 5  # against giving back the first concept
    for k, (name, pairs) in enumerate(zip(OPERATORS, new, strict=True)):
        forth, back = (
            net(take(a), take(b), torch.full((len(a),), k))
            for a, b in ((pairs.first, pairs.second), (pairs.second, pairs.first))
        )
        # Log-variances are -3 or 0 and means reach from -1 to 1: 0.1 is a thirtieth and a twentieth of that.
        if name == "ignore":
            assert (forth.logvar - back.logvar).abs().mean() > 0.3  # IGNORE minds the order
        else:  # AND and IN COMMON do not
            assert (forth.mu - back.mu).abs().mean() < 0.1
            assert (forth.logvar - back.logvar).abs().mean() < 0.1


def test_a_job_does_not_depend_on_its_neighbours():
    ideal = ideal_concepts()
    pairs = [operator_pairs(SIZES, operator) for operator in OPERATORS]
    jobs = [RecombinationJob(ideal, ideal, seed) for seed in (0, 1)]
    both = train_recombinations(jobs, pairs, 20, hidden=8)
    (alone,) = train_recombinations(jobs[1:], pairs, 20, hidden=8)
    for a, b in zip(both[1].parameters(), alone.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda net, q: net(*q, torch.tensor([0, 3])), ValueError, r"0\.\.2"),
        (lambda net, q: net(*q, torch.tensor([0])), ValueError, "one number per pair"),
        (lambda net, q: net(*q, torch.tensor([0.0, 1.0])), TypeError, "integers"),
        (lambda net, q: net(q[0], Gaussian(q[1].mu[:1], q[1].logvar[:1]), torch.tensor([0, 1])), ValueError, "one shape"),
        (lambda net, q: train_recombinations([], [], 1), ValueError, "at least one job"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call(recombination_net(4, generator=torch_generator(0)), pair(2, 3))
