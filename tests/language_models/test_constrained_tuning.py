"""Constraints on means, the objective's gradient against its parts, and a small training that has to obey."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from workings.language_models import topic_language as toy
from workings.language_models.barrier import barrier_penalty
from workings.language_models.constrained_tuning import (
    ConstrainedFineTuner,
    MeanConstraint,
    decoder_sampler,
    response_length,
    steps_to_stay,
    train_constrained,
    uses_of,
)
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate, response_mask
from workings.language_models.multiplier_rules import DualAscent, LogBarrier, QuadraticPenalty
from workings.language_models.sequence_scores import response_log_perplexity, sequence_log_prob
from workings.seeding import torch_generator


def model(width: int = 16) -> TinyDecoder:
    return TinyDecoder(
        toy.VOCABULARY, width, 1, 2, 2 * width, positions="learned", max_len=16, generator=torch_generator(0, "model")
    )


def prompts(step: int, n: int = 16) -> torch.Tensor:
    return toy.topic_prompts(n, torch_generator(0, "prompts", step))


def task(step: int, n: int = 16):
    source = torch_generator(0, "task", step)
    return toy.topic_responses(toy.topic_prompts(n, source), range(3, 15), source)


def flat(net: TinyDecoder) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()])


# ---------------------------------------------------------------- one constraint


def test_an_interval_is_two_constraints_in_units_of_the_scale():
    length = MeanConstraint(response_length, 4, 6, scale=5.0)
    assert length.values(torch.tensor(7.0)).tolist() == pytest.approx([-0.6, 0.2])
    assert length.holds(4.0) and length.holds(6.0) and not length.holds(6.01) and not length.holds(3.99)
    only = MeanConstraint(uses_of(5), upper=0.3)
    assert only.values(torch.tensor(0.5)).tolist() == pytest.approx([0.2]) and only.holds(-9.0)


def test_scores_count_what_the_mask_marks():
    tokens = torch.tensor([[5, 5, 7, 5, 2], [5, 5, 2, 0, 0]])
    mask = response_mask(tokens, 2, prompt=1)
    assert response_length(tokens, mask).tolist() == [4.0, 2.0]
    assert uses_of(5)(tokens, mask).tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lower": 2, "upper": 1}, ValueError, "lower 2 above upper 1"),
        ({}, ValueError, "no bound"),
        ({"lower": 1, "scale": 0.0}, ValueError, "scale must be"),
        ({"lower": float("nan")}, ValueError, "lower must be"),
        ({"score": 3, "lower": 1}, TypeError, "function"),
    ],
)
def test_a_constraint_that_makes_no_sense_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        MeanConstraint(**{"score": response_length, **options})


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda t, m: torch.full((len(t),), torch.nan), "not finite for 16 of 16"),
        (lambda t, m: torch.zeros(3), "one number per response"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(score, message):
    tuner = ConstrainedFineTuner([MeanConstraint(score, upper=1.0)], LogBarrier(5))
    with pytest.raises(ValueError, match=message):
        tuner.loss(model(), task(0), task(1), 0)


def test_the_tuner_says_what_it_needs():
    length = MeanConstraint(response_length, 4, 6)
    with pytest.raises(ValueError, match="need a rule"):
        ConstrainedFineTuner([length])
    with pytest.raises(TypeError, match="MeanConstraint"):
        ConstrainedFineTuner([response_length], LogBarrier(3))
    with pytest.raises(ValueError, match="own responses"):
        ConstrainedFineTuner([length], LogBarrier(3)).loss(model(), task(0), None, 0)
    with pytest.raises(ValueError, match="pass a sampler"):
        train_constrained(model(), ConstrainedFineTuner([length], LogBarrier(3)), task, None, 3, seed=0, lr=1e-3)
    used = ConstrainedFineTuner([])
    train_constrained(model(), used, task, None, 1, seed=0, lr=1e-3)
    with pytest.raises(ValueError, match="steps behind it"):
        train_constrained(model(), used, task, None, 1, seed=0, lr=1e-3)


# ---------------------------------------------------------------- the objective's gradient


@pytest.mark.parametrize(
    "rule", [LogBarrier(9), DualAscent(0.3, start=0.2), QuadraticPenalty(2.0)], ids=lambda r: type(r).__name__
)
@pytest.mark.parametrize("baseline", [None, "mean"])
def test_the_gradient_is_the_tasks_plus_each_constraints_by_its_weight(rule, baseline):
    net, sampled = model().double(), task(7, 12)
    kinds = [MeanConstraint(response_length, 4, 6, scale=5.0), MeanConstraint(uses_of(12), upper=0.1, scale=0.5)]
    tuner = ConstrainedFineTuner(kinds, copy.deepcopy(rule), decay=0.0, baseline=baseline)
    tuner.loss(net, task(0), sampled, 3).backward()
    found = flat(net)
    record = tuner.history[0]

    net.zero_grad()
    tokens, mask = task(0)
    total = response_log_perplexity(net(tokens), tokens, mask)
    assert record.log_perplexity == pytest.approx(float(total.detach()))
    logp = sequence_log_prob(net(sampled[0]), *sampled)
    lengths, uses = (kind.scores(*sampled) for kind in kinds)
    values = [(4 - lengths) / 5, (lengths - 6) / 5, (uses - 0.1) / 0.5]  # c(y) of the three bounds, one by one
    assert record.values == pytest.approx([float(v.mean()) for v in values])
    assert record.means == pytest.approx([float(lengths.mean()), float(uses.mean())])
    for weight, value in zip(record.weights, values, strict=True):
        centre = value.mean() if baseline else 0.0
        constants = 0.0 if baseline else {0: 4 / 5, 1: -6 / 5, 2: -0.1 / 0.5}[[id(v) for v in values].index(id(value))]
        total = (
            total + weight * ((value - centre - constants) * logp).mean()
        )  # a bound is a constant: no part of the score
    total.backward()
    torch.testing.assert_close(found, flat(net), rtol=1e-9, atol=1e-12)


def test_the_weights_are_the_barriers_derivative_at_the_running_mean():
    length = MeanConstraint(response_length, 4, 6, scale=5.0)
    tuner, rule = ConstrainedFineTuner([length], LogBarrier(50), decay=0.8), LogBarrier(50)
    net = model()
    for step in range(4):
        tuner.loss(net, task(0), task(10 + step), step)
    sums = [record.means[0] for record in tuner.history]
    weights = torch.tensor([0.2 * 0.8**j for j in range(4)][::-1], dtype=torch.float64)
    mean = (weights * torch.tensor(sums, dtype=torch.float64)).sum() / weights.sum()
    values = length.values(mean).requires_grad_()
    barrier_penalty(values, rule.mu(3)).backward()
    assert tuner.history[-1].values == pytest.approx(values.tolist())
    assert tuner.history[-1].weights == pytest.approx(values.grad.tolist())


def test_without_constraints_it_is_ordinary_tuning():
    net, (tokens, mask) = model(), task(0)
    for normalise in ("response", "token"):
        found = ConstrainedFineTuner([], normalise=normalise).loss(net, (tokens, mask), None, 0)
        torch.testing.assert_close(found, response_log_perplexity(net(tokens), tokens, mask, normalise))


# ---------------------------------------------------------------- training


def mean_length(net: TinyDecoder) -> float:
    out = generate(net, prompts(0, 1000), 14, temperature=1.0, generator=torch_generator(0, "g"), stop=toy.END)
    return float(response_mask(out, toy.END, prompt=2).sum(1).double().mean())


def test_a_training_moves_the_mean_to_either_side_and_the_same_seed_moves_it_alike():
    """40 steps from a model that has learnt nothing: the direction has to be right, by more than four standard errors
    (0.13 tokens each for 1,000 responses with a standard deviation of about 4)."""
    ends = {}
    for interval in ((2, 3), (12, 14), (12, 14)):
        net = model()
        length = MeanConstraint(response_length, *interval, scale=2.0)
        train_constrained(
            net,
            ConstrainedFineTuner([length], LogBarrier(40)),
            task,
            decoder_sampler(prompts, 14, toy.END),
            40,
            seed=0,
            lr=5e-3,
        )
        ends.setdefault(interval, []).append(mean_length(net))
    assert ends[2, 3][0] < ends[12, 14][0] - 1.0
    assert ends[12, 14][0] == ends[12, 14][1]


class WithAWeightThatDoesNothing(torch.nn.Module):
    """Its gradient is zero, so that a step of AdamW multiplies it by 1 - rate * weight_decay: the rate can be read off."""

    def __init__(self):
        super().__init__()
        self.net, self.idle = model(), torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, tokens):
        return self.net(tokens) + 0.0 * self.idle.float()


@pytest.mark.parametrize(("steps", "warmup"), [(12, 4), (12, 0), (5, 20)])
def test_the_rate_rises_for_the_warm_up_and_falls_to_zero_on_a_cosine(steps, warmup):
    net, lr, decay = WithAWeightThatDoesNothing(), 0.01, 0.5
    seen = [1.0]
    train_constrained(
        net, ConstrainedFineTuner([]), task, None, steps, seed=0, lr=lr, weight_decay=decay, warmup=warmup,
        on_step=lambda step, loss: seen.append(float(net.idle.detach())),
    )  # fmt: skip
    rates = [(1 - after / before) / decay for before, after in itertools.pairwise(seen)]
    rise = min(warmup, steps)
    up = [0.05 + 0.95 * math.sin(math.pi * t / (2 * rise)) ** 2 for t in range(rise)]
    down = [math.cos(math.pi * t / (2 * (steps - rise))) ** 2 for t in range(steps - rise)]
    assert rates == pytest.approx([lr * factor for factor in up + down], rel=1e-6, abs=1e-9)


def test_the_sampler_counts_a_response_without_an_end_as_the_longest():
    net = model()
    net.lm_head.weight.data[toy.END] = 0.0
    net.lm_head.weight.data *= 0.0
    net.lm_head.weight.data[5] = 1.0  # the mean of the last state decides; END is never the only choice
    sample = decoder_sampler(prompts, 6, toy.END, temperature=1.0)
    tokens, mask = sample(net, 0, torch_generator(0, "g"))
    ended = (tokens[:, 2:] == toy.END).any(1)
    assert len(tokens) == 16 and not bool(ended.all())  # none is dropped
    assert bool((mask.sum(1)[~ended] == tokens.shape[1] - 2).all()) and tokens.shape[1] == 8


def test_steps_to_stay_looks_for_the_last_time_outside():
    length = MeanConstraint(response_length, 4, 6)
    assert steps_to_stay([5.0] * 30, length, 10) == 10
    assert steps_to_stay([9.0] * 30, length, 10) == 31
    assert steps_to_stay([9.0] * 10 + [5.0] * 20, length, 1) == 11
    assert steps_to_stay([5.0] * 10 + [9.0] + [5.0] * 19, length, 1) == 12
    with pytest.raises(ValueError, match="at least window"):
        steps_to_stay([5.0] * 3, length, 10)


def test_sampling_reads_the_prompt_once_however_long_the_responses(monkeypatch):
    """What makes a run cheap: the whole model is called for the prompt, and every later token takes one short step."""
    calls, whole = [], TinyDecoder.states
    monkeypatch.setattr(
        TinyDecoder,
        "states",
        lambda net, tokens, **options: calls.append(tokens.shape) or whole(net, tokens, **options),
    )
    decoder_sampler(lambda t: prompts(t, 32), 14, toy.END)(model(32), 0, torch_generator(0, "g"))
    assert calls == [(32, 2)]
