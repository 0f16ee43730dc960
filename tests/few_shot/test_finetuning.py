"""Fine-tuning on one episode: against a plain re-implementation, and what must not change."""

import copy
import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workings.few_shot.entropies import information_maximisation
from workings.few_shot.finetuning import NORM_MODES, transductive_finetune, tune_classifiers
from workings.few_shot.networks import draw_weights
from workings.few_shot.prototypes import cosine_logits, support_init
from workings.seeding import torch_generator

Y = torch.tensor([0, 1, 2, 0, 1, 2])


def randn(*shape, name="x", dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(0, "finetuning", name), dtype=dtype)


def plain_net():
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 6))
    return draw_weights(net, torch_generator(0, "plain")).double()


def normed_net():
    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 6))
    return draw_weights(net, torch_generator(0, "normed")).double()


def episode():
    return randn(6, 1, 4, 4, name="support"), Y, randn(9, 1, 4, 4, name="query")


def frozen(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def by_hand(net, support, labels, query, lr, epochs, transductive, decay_only=False):
    """The loop of the official code with Adam written out: one set of moments, two steps an epoch."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        z = net(support).clamp(min=0)
        means = torch.stack([z[labels == k].mean(dim=0) for k in range(int(labels.max()) + 1)])
    weight = (means / means.norm(dim=1, keepdim=True)).requires_grad_()
    bias = torch.zeros(len(means), dtype=weight.dtype, requires_grad=True)
    values = [*net.parameters(), weight, bias]
    first, second, t = [torch.zeros_like(v) for v in values], [torch.zeros_like(v) for v in values], 0

    def logits(x):
        z = net(x).clamp(min=0)
        return (z / z.norm(dim=1, keepdim=True)) @ weight.T + bias

    def adam(gradients):
        nonlocal t
        t += 1
        for v, g, m, s in zip(values, gradients, first, second, strict=True):
            m.mul_(0.9).add_(0.1 * g)
            s.mul_(0.999).add_(0.001 * g * g)
            v.data -= lr * (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)).sqrt() + 1e-8)

    for _ in range(epochs):
        adam(torch.autograd.grad(F.cross_entropy(logits(support), labels), values))
        if transductive:
            p = logits(query).softmax(dim=1)
            adam(torch.autograd.grad(-(p * p.log()).sum(dim=1).mean(), values))
        if decay_only:
            adam([torch.zeros_like(v) for v in values])
    with torch.no_grad():
        return logits(query)


@pytest.mark.parametrize("transductive", [True, False])
def test_without_batch_norm_it_is_the_loop_written_out(transductive):
    support, labels, query = episode()
    found = transductive_finetune(
        plain_net(), support, labels, query, lr=0.01, epochs=8, entropy_weight=float(transductive)
    )
    expected = by_hand(plain_net(), support, labels, query, 0.01, 8, transductive)
    torch.testing.assert_close(found.logits(query), expected, atol=1e-6, rtol=0)


def test_leaving_the_second_step_out_is_not_a_step_with_a_zero_gradient():
    support, labels, query = episode()
    found = transductive_finetune(plain_net(), support, labels, query, lr=0.01, epochs=8, entropy_weight=0)
    decayed = by_hand(plain_net(), support, labels, query, 0.01, 8, False, decay_only=True)
    assert (found.logits(query) - decayed).abs().max() > 1e-3


@pytest.mark.parametrize("mode", NORM_MODES)
def test_the_network_of_the_caller_is_untouched_statistics_included(mode):
    net = normed_net().train()
    before = frozen(net)
    found = transductive_finetune(net, *episode(), lr=0.01, epochs=3, norm_mode=mode)
    assert net.training and all(p.grad is None for p in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not found.backbone.training and found.backbone is not net


def test_no_epochs_is_the_initialisation():
    support, labels, query = episode()
    net = normed_net().eval()
    found = transductive_finetune(net, support, labels, query, epochs=0)
    with torch.no_grad():
        expected = cosine_logits(net(query), *support_init(net(support), labels, 3))
    assert torch.equal(found.logits(query), expected)
    assert [len(part) for part in found.trace] == [0, 0, 0]


def test_what_each_mode_moves():
    support, labels, query = episode()
    start = frozen(normed_net())
    moved = {}
    for mode in NORM_MODES:
        net = transductive_finetune(normed_net(), support, labels, query, lr=0.01, epochs=3, norm_mode=mode).backbone
        moved[mode] = {name for name, value in net.state_dict().items() if not torch.equal(value, start[name])}
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    weights = set(start) - statistics
    # With batch statistics a bias before batch-norm has a gradient of rounding only; Adam may move it all the same.
    assert moved["eval"] == weights and moved["batch-only"] == statistics
    assert statistics <= moved["train"] and weights - {"0.bias"} <= moved["train"]


def test_batch_only_moves_the_statistics_to_those_of_the_episode():
    support, labels, query = episode()
    net = transductive_finetune(normed_net(), support, labels, query, epochs=4, norm_mode="batch-only").backbone
    first, mean = normed_net()[0], torch.zeros(3, dtype=torch.float64)
    for _ in range(4):
        for batch in (support, query):
            mean = 0.9 * mean + 0.1 * first(batch).mean(dim=(0, 2, 3)).detach()
    torch.testing.assert_close(net[1].running_mean, mean)


def test_batches_go_through_in_chunks_with_statistics_of_their_own():
    support, labels, query = episode()
    whole, parts = (
        transductive_finetune(normed_net(), support, labels, query, epochs=1, norm_mode="batch-only", chunk=chunk)
        for chunk in (9, 4)
    )
    assert whole.backbone[1].num_batches_tracked == 2 and parts.backbone[1].num_batches_tracked == 2 + 3
    same = [
        transductive_finetune(plain_net(), support, labels, query, lr=0.01, epochs=3, chunk=chunk).logits(query)
        for chunk in (9, 2)
    ]
    torch.testing.assert_close(*same)


def test_renumbered_classes_permute_the_logits():
    support, labels, query = episode()
    turn = torch.tensor([2, 0, 1])
    a = transductive_finetune(normed_net(), support, labels, query, lr=0.01, epochs=5).logits(query)
    b = transductive_finetune(normed_net(), support, turn[labels], query, lr=0.01, epochs=5).logits(query)
    torch.testing.assert_close(b[:, turn], a, atol=1e-6, rtol=0)


def test_there_is_no_way_to_pass_query_labels():
    assert "query_labels" not in inspect.signature(transductive_finetune).parameters
    assert "query_labels" not in inspect.signature(tune_classifiers).parameters


def test_the_trace_holds_what_happened_before_each_step():
    support, labels, query = episode()
    found = transductive_finetune(plain_net(), support, labels, query, lr=0.01, epochs=30)
    net = plain_net()
    with torch.no_grad():
        start = support_init(net(support), labels, 3)
        first = F.cross_entropy(cosine_logits(net(support), *start), labels)
    torch.testing.assert_close(found.trace.support_loss[0], first)
    assert found.trace.support_loss[-1] < first and found.trace.query_entropy[-1] < found.trace.query_entropy[0]
    torch.testing.assert_close(found.trace.marginal.sum(dim=1), torch.ones(30, dtype=torch.float64))
    plain = transductive_finetune(plain_net(), support, labels, query, epochs=2, entropy_weight=0)
    assert plain.trace.query_entropy.shape == (0,) and plain.trace.marginal.shape == (0, 3)


def test_frozen_weights_stay_and_augmentation_draws_from_its_generator():
    support, labels, query = episode()
    net = plain_net()
    net[1].weight.requires_grad_(False)
    found = transductive_finetune(net, support, labels, query, lr=0.01, epochs=2)
    assert torch.equal(found.backbone[1].weight, net[1].weight) and not torch.equal(
        found.backbone[3].weight, net[3].weight
    )
    shaken = lambda x, g: x + torch.randn(x.shape, generator=g, dtype=x.dtype)
    run = lambda seed: transductive_finetune(
        plain_net(), support, labels, query, lr=0.01, epochs=2, augment=shaken, generator=torch_generator(seed)
    ).logits(query)
    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    with torch.no_grad():  # a caller's no_grad does not stop the training
        again = transductive_finetune(plain_net(), support, labels, query, lr=0.01, epochs=2)
    assert not torch.equal(again.backbone[3].weight, plain_net()[3].weight)


def test_accuracy_is_the_share_of_largest_logits_at_the_label():
    support, labels, query = episode()
    found = transductive_finetune(plain_net(), support, labels, query, epochs=1)
    guess = found.logits(query).argmax(dim=1)
    assert found.accuracy(query, guess) == 1.0 and found.accuracy(query, (guess + 1) % 3) == 0.0


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"support_labels": [0, 1, 1, 0, 1, 3]}, ValueError, "class 2 has no support item"),
        ({"support_labels": list("abcabc")}, TypeError, "number the classes"),
        ({"support_labels": Y.double()}, TypeError, "whole numbers"),
        ({"support_labels": [-1, 0, 1, 0, 1, 1]}, ValueError, "got -1"),
        ({"query": randn(3, 1, 5, 5)}, ValueError, "images of one shape"),
        ({"query": randn(3, 1, 4, 4).float()}, TypeError, "one dtype"),
        ({"norm_mode": "batch"}, ValueError, "norm_mode must be one of"),
        ({"epochs": -1}, ValueError, "epochs"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"entropy_weight": float("nan")}, ValueError, "entropy_weight"),
        ({"augment": lambda x, g: x}, TypeError, r"torch\.Generator"),
        ({"support": randn(6, 1, 4, 4) * torch.nan}, ValueError, "NaN"),
    ],
)
def test_an_episode_that_cannot_be_is_refused(change, error, match):
    support, labels, query = episode()
    given = {"support": support, "support_labels": labels, "query": query, "epochs": 1, **change}
    with pytest.raises(error, match=match):
        transductive_finetune(plain_net(), **given)


def features():
    return randn(2, 6, 5, name="s"), randn(2, 9, 5, name="q")


def test_classifiers_of_many_episodes_are_those_of_each_by_itself():
    s, q = features()
    weight, bias = tune_classifiers(s, Y, q, steps=10, lr=0.05, marginal_weight=1.0)
    for k in range(2):
        alone = tune_classifiers(s[k], Y, q[k], steps=10, lr=0.05, marginal_weight=1.0)
        torch.testing.assert_close((weight[k], bias[k]), alone)


def test_no_steps_give_the_start_and_history_holds_every_step():
    s, q = features()
    torch.testing.assert_close(tune_classifiers(s, Y, q, steps=0), support_init(s, Y, 3))
    weights, biases = tune_classifiers(s, Y, q, steps=6, lr=0.05, history=True)
    assert weights.shape == (7, 2, 3, 5) and biases.shape == (7, 2, 3)
    torch.testing.assert_close((weights[-1], biases[-1]), tune_classifiers(s, Y, q, steps=6, lr=0.05))


def test_a_step_is_one_adam_step_on_the_sum_of_the_terms():
    s, q = features()
    weight, bias = (v.clone().requires_grad_() for v in support_init(s[0], Y, 3))
    loss = information_maximisation(cosine_logits(s[0], weight, bias), Y, cosine_logits(q[0], weight, bias), 0.5, 0.8)
    slopes = torch.autograd.grad(loss, (weight, bias))
    found = tune_classifiers(s[0], Y, q[0], steps=1, lr=0.01, entropy_weight=0.5, marginal_weight=0.8)
    for value, slope, new in zip((weight, bias), slopes, found, strict=True):  # Adam's first step has the length lr
        torch.testing.assert_close(new, value.detach() - 0.01 * slope / (slope.abs() + 1e-8))


def test_the_loss_falls_and_features_keep_no_graph():
    s, q = features()
    s.requires_grad_()
    value = lambda w, b: information_maximisation(
        cosine_logits(s, w, b), Y.expand(2, 6), cosine_logits(q, w, b)
    ).detach()
    before = value(*support_init(s.detach(), Y, 3))
    found = tune_classifiers(s, Y, q, steps=50, lr=0.02, marginal_weight=1.0)
    assert (value(*found) < before).all() and not found[0].requires_grad and s.grad is None
