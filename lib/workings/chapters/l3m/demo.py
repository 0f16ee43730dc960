"""What the chapter `l3m` runs on its toy language: pre-training, tuning with and without constraints, and measuring."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from workings.chapters.l3m.lengths import least_rise_of
from workings.chapters.l3m.settings import Settings
from workings.language_models import topic_language as toy
from workings.language_models.constrained_tuning import (
    Batch,
    ConstrainedFineTuner,
    MeanConstraint,
    Rule,
    StepRecord,
    decoder_sampler,
    response_length,
    steps_to_stay,
    train_constrained,
    uses_of,
)
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate, response_mask
from workings.language_models.sequence_scores import response_log_perplexity
from workings.runs.parallel import thread_map
from workings.seeding import torch_generator

RARE = toy.FIRST_WORD + 4  # the word that one run has to use less often


def data_lengths(settings: Settings) -> range:
    """The lengths of the data's responses, all equally likely."""
    return range(settings.shortest, settings.longest + 1)


def task_batch(seed: int, stream: str, step: int, n: int, settings: Settings) -> Batch:
    """``n`` prompts and responses of the toy language, those of ``step`` of a stream of ``seed``."""
    source = torch_generator(seed, stream, step)
    return toy.topic_responses(toy.topic_prompts(n, source), data_lengths(settings), source)


def pretrained(seed: int, settings: Settings) -> TinyDecoder:
    """A model of one block trained from scratch on the language, every token weighing the same."""
    s = settings
    model = TinyDecoder(
        toy.VOCABULARY, s.width, 1, s.heads, s.mlp, positions="learned", max_len=2 + s.longest,
        generator=torch_generator(seed, "model"),
    )  # fmt: skip
    task = lambda step: task_batch(seed, "pre-training", step, s.batch, s)
    train_constrained(
        model, ConstrainedFineTuner([], normalise="token"), task, None, s.pretrain_steps, seed=seed, lr=s.pretrain_lr
    )
    return model


class Tuned(NamedTuple):
    """A tuned model, what its steps recorded, and what was measured on fresh prompts: see :func:`measured`."""

    model: TinyDecoder
    history: list[StepRecord]
    found: dict[str, Any]


def tuned(
    base: TinyDecoder,
    seed: int,
    settings: Settings,
    constraints: Sequence[MeanConstraint] = (),
    rule: Rule | None = None,
    *,
    decay: float | None = None,
) -> Tuned:
    """A copy of ``base`` tuned for ``settings.steps`` on the same data, under ``constraints`` weighed by ``rule``."""
    s, model = settings, copy.deepcopy(base)
    prompts = lambda step: toy.topic_prompts(s.batch, torch_generator(seed, "prompts to answer", step))
    history = train_constrained(
        model,
        ConstrainedFineTuner(constraints, rule, decay=s.decay if decay is None else decay),
        lambda step: task_batch(seed, "tuning", step, s.batch, s),
        decoder_sampler(prompts, s.longest, toy.END),
        s.steps,
        seed=seed,
        lr=s.lr,
    )
    return Tuned(model, history, measured(model, seed, s))


@torch.no_grad()
def measured(model: TinyDecoder, seed: int, settings: Settings) -> dict[str, Any]:
    """On fresh prompts: ``lengths`` and ``uses`` of the rare word (test,) in sampled responses, and the data's ``log_perplexity``.

    The log-perplexity is in nats per token, averaged over responses, on data that are the same for every model of a seed.
    """
    s = settings
    prompt = toy.topic_prompts(s.test, torch_generator(seed, "test prompts"))
    out = generate(
        model, prompt, s.longest, temperature=1.0, generator=torch_generator(seed, "test samples"), stop=toy.END
    )
    mask = response_mask(out, toy.END, prompt=2)
    tokens, wanted = task_batch(seed, "test data", 0, s.test, s)
    return {
        "lengths": response_length(out, mask),
        "uses": uses_of(RARE)(out, mask),
        "log_perplexity": float(response_log_perplexity(model(tokens[:, :-1]), tokens, wanted)),
    }


def length_constraint(interval: tuple[float, float], settings: Settings) -> MeanConstraint:
    """The mean length inside ``interval``, in tokens."""
    return MeanConstraint(response_length, *interval, scale=settings.scale, name="length")


def word_constraint(settings: Settings) -> MeanConstraint:
    """At most ``settings.uses`` uses of one word in a response, on average."""
    return MeanConstraint(uses_of(RARE), upper=settings.uses, name="uses of a word")


def in_parallel(work: Any, jobs: Sequence[tuple]) -> list[Any]:
    """``work(*job)`` for every job, two at a time, in order."""
    return thread_map(lambda job: work(*job), jobs)


def summary(run: Tuned, plain: Tuned, interval: tuple[float, float], settings: Settings) -> dict[str, float]:
    """Numbers of one run: mean length and its 95% half width, share of responses outside, perplexity's rise over ``plain``,
    the least rise that the mean length allows, and the step from which the mean stays inside."""
    lengths = run.found["lengths"]
    constraint = length_constraint(interval, settings)
    low, high = interval
    return {
        "mean": float(lengths.mean()),
        "half": float(1.96 * lengths.std() / len(lengths) ** 0.5),
        "inside": float(constraint.holds(float(lengths.mean()))),
        "outside": float(((lengths < low) | (lengths > high)).double().mean()),
        "rise": run.found["log_perplexity"] - plain.found["log_perplexity"],
        "least": least_rise(float(lengths.mean()), settings),
        "stays": float(steps_to_stay([record.means[0] for record in run.history], constraint)),
    }


def least_rise(mean: float, settings: Settings) -> float:
    """The least rise of the log-perplexity, in nats per token, of any model whose responses have this mean length
    and no length but those of the data (the few shorter ones of a tuned model are not counted).

    See :func:`workings.chapters.l3m.lengths.least_rise_of`.
    """
    lengths = data_lengths(settings)
    return least_rise_of(np.full(len(lengths), 1 / len(lengths)), lengths, mean)
