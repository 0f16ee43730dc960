"""Fine-tune a language model on a task while the mean of scores of its own responses obeys bounds.

Axes: B responses, T tokens, k constraints. Works with any model whose call turns tokens (B, T) into logits (B, T, V).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from workings.checks import as_float, as_int, as_tensor, check_tensor, one_of
from workings.language_models.barrier import RunningMean
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate, response_mask
from workings.language_models.policy_gradient import BASELINES, policy_gradient_surrogate
from workings.language_models.sequence_scores import NORMALISATIONS, token_log_probs
from workings.training import fit, one_cycle

Batch = tuple[torch.Tensor, torch.Tensor]
"""``tokens`` (B, T) int64 and ``mask`` (B, T) bool, True at the response's tokens (its end token counts)."""
Sampler = Callable[[nn.Module, int, torch.Generator], Batch]
Rule = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class MeanConstraint:
    """``lower <= E[score(response)] <= upper``: the mean over prompts and the model's own responses, not every response.

    ``score(tokens, mask)`` gives (B,) finite numbers. One of ``lower`` and ``upper`` may be ``None``; both make two
    constraints, k = 2. Values are divided by ``scale``, in the units of the score: choose it so that a distance worth caring about
    becomes about 1, since the weights of a barrier are made for that. Raises ``ValueError`` without a bound, for ``lower > upper``
    and for a scale that is not positive.
    """

    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    lower: float | None = None
    upper: float | None = None
    scale: float = 1.0
    name: str = "score"

    def __post_init__(self) -> None:
        if not callable(self.score):
            raise TypeError(f"score must be a function of (tokens, mask), got {type(self.score).__name__}.")
        for side in ("lower", "upper"):
            if getattr(self, side) is not None:
                as_float(getattr(self, side), side)
        as_float(self.scale, "scale", minimum=0.0, open_ends=True)
        if self.lower is None and self.upper is None:
            raise ValueError(f"the constraint on {self.name!r} has no bound; give lower, upper or both.")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(
                f"the constraint on {self.name!r} has lower {self.lower:g} above upper {self.upper:g}; swap them."
            )

    @property
    def sides(self) -> tuple[tuple[str, float, float], ...]:
        """For each bound its name, the sign of the score in ``C <= 0``, and the bound: ``C = sign (score - bound) / scale``."""
        both = (("lower", -1.0, self.lower), ("upper", 1.0, self.upper))
        return tuple((side, sign, bound) for side, sign, bound in both if bound is not None)

    def scores(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The scores (B,) of responses in float64; ``ValueError`` unless they are B finite numbers."""
        found = as_tensor(self.score(tokens, mask), f"the score {self.name!r}").detach().double()
        if found.shape != (len(tokens),):
            raise ValueError(
                f"the score {self.name!r} must give one number per response, ({len(tokens)},), got {tuple(found.shape)}."
            )
        if not bool(torch.isfinite(found).all()):
            raise ValueError(
                f"the score {self.name!r} is not finite for {int((~torch.isfinite(found)).sum())} of {len(found)} "
                "responses; give a response that cannot be scored a finite worst score."
            )
        return found

    def values(self, mean: torch.Tensor) -> torch.Tensor:
        """``C`` for each bound of a mean score, in units of ``scale``: (1,) or (2,); at most 0 where it is kept."""
        return torch.stack([sign * (mean - bound) / self.scale for _, sign, bound in self.sides])

    def holds(self, mean: float) -> bool:
        """Whether ``mean`` keeps every bound."""
        return all(sign * (mean - bound) <= 0 for _, sign, bound in self.sides)


class StepRecord(NamedTuple):
    """One training step: the task's log-perplexity in nats per token; the batch's mean score of each constraint; for each
    bound the value ``C`` of the running mean (k,) and the weight (k,) that it got."""

    step: int
    log_perplexity: float
    means: tuple[float, ...]
    values: tuple[float, ...]
    weights: tuple[float, ...]


class ConstrainedFineTuner:
    """The objective of one constrained run: a task's log-perplexity, and constraints on means weighted by ``rule``.

    ``rule(values, step)`` gives the weight of each bound (k,), see :mod:`~workings.language_models.multiplier_rules`. Its values
    come from a running mean over the batches with ``decay`` (0 uses each batch by itself). ``baseline`` is that of
    :func:`~workings.language_models.policy_gradient.policy_gradient_surrogate`, ``normalise`` that of
    :func:`~workings.language_models.sequence_scores.response_log_perplexity`. Without constraints it is ordinary fine-tuning, and
    nothing is sampled. ``history`` holds a :class:`StepRecord` for each step. An object belongs to one run.
    """

    def __init__(
        self,
        constraints: Sequence[MeanConstraint],
        rule: Rule | None = None,
        *,
        decay: float = 0.9,
        baseline: str | None = "mean",
        normalise: str = "response",
    ):
        self.constraints = tuple(constraints)
        if any(not isinstance(constraint, MeanConstraint) for constraint in self.constraints):
            raise TypeError("constraints must be MeanConstraint objects.")
        if self.constraints and not callable(rule):
            raise ValueError("constraints need a rule that weighs them; pass for instance LogBarrier(steps).")
        self.rule = rule
        self.running = RunningMean(decay)
        self.baseline = baseline if baseline is None else one_of(baseline, "baseline", BASELINES)
        self.normalise = one_of(normalise, "normalise", NORMALISATIONS)
        self.history: list[StepRecord] = []

    def loss(self, model: nn.Module, task: Batch, sampled: Batch | None, step: int) -> torch.Tensor:
        """A scalar whose gradient is that of the log-perplexity plus ``sum_i lambda_i`` times that of constraint i.

        ``task`` are responses of the data, ``sampled`` responses that the model has just drawn (``None`` without constraints).
        The weights are constants of the step: nothing flows back through them. The value itself means nothing.
        """
        if not self.constraints:
            terms, lengths = _scored(model, *task)
            objective = _log_perplexity(terms, lengths, self.normalise)
            self.history.append(StepRecord(step, float(objective.detach()), (), (), ()))
            return objective
        if sampled is None:
            raise ValueError("constraints are about the model's own responses; pass sampled=(tokens, mask).")
        n = len(task[0])
        terms, lengths = _scored(model, *_together(task, sampled))  # one pass for both
        objective = _log_perplexity(terms[:n], lengths[:n], self.normalise)
        broken = self._broken(sampled, step, float(objective.detach()))
        return objective + policy_gradient_surrogate(terms[n:].sum(dim=1), broken, self.baseline)

    def _broken(self, sampled: Batch, step: int, objective: float) -> torch.Tensor:
        """What each response of ``sampled`` adds to the broken bounds (B,), weighed by the rule.

        The running means take in the batch, and ``history`` the step, with the task's log-perplexity ``objective``.
        """
        scores = torch.stack([constraint.scores(*sampled) for constraint in self.constraints])  # (constraints, B)
        means = self.running.update(scores.mean(dim=1))
        values = torch.cat([c.values(mean) for c, mean in zip(self.constraints, means, strict=True)])  # (k,)
        weights = self.rule(values, step)
        rows = [(i, sign / c.scale) for i, c in enumerate(self.constraints) for _, sign, _ in c.sides]
        as_means = tuple(scores.mean(dim=1).tolist()), tuple(values.tolist()), tuple(weights.tolist())
        self.history.append(StepRecord(step, objective, *as_means))
        return sum(weight * slope * scores[i] for weight, (i, slope) in zip(weights, rows, strict=True))


def train_constrained(
    model: nn.Module,
    tuner: ConstrainedFineTuner,
    task: Callable[[int], Batch],
    sampler: Sampler | None,
    steps: int,
    *,
    seed: int,
    lr: float,
    weight_decay: float = 0.01,
    warmup: int = 20,
    clip_norm: float = 1.0,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
    progress: bool = False,
) -> list[StepRecord]:
    """Fine-tune ``model`` in place for ``steps`` steps of AdamW and return ``tuner.history``.

    ``task(t)`` gives the data's batch of step t. ``sampler(model, t, generator)`` draws responses from the model as it is at
    that step. The rate rises to ``lr`` over ``warmup`` steps and falls to zero on a cosine; the gradient is scaled down to a
    norm of ``clip_norm``. Raises ``ValueError`` for bad sizes and for a tuner that has been used before.
    """
    steps = as_int(steps, "steps", minimum=1)
    lr = as_float(lr, "lr", minimum=0.0, open_ends=True)
    warmup = as_int(warmup, "warmup", minimum=0)
    if tuner.history:
        raise ValueError("this tuner has steps behind it: its running mean is of another run; make a new one.")
    if tuner.constraints and sampler is None:
        raise ValueError("constraints are about the model's own responses; pass a sampler.")
    at = {"step": 0}

    def batches(step: int) -> Batch:
        at["step"] = step
        return task(step)

    def loss(model: nn.Module, batch: Batch, noise: torch.Generator) -> torch.Tensor:
        drawn = sampler(model, at["step"], noise) if tuner.constraints else None
        return tuner.loss(model, batch, drawn, at["step"])

    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=lr, weight_decay=weight_decay, fused=True)
    fit(
        model, loss, batches, optimiser, steps, seed=seed, clip_norm=clip_norm, on_step=on_step, progress=progress,
        schedule=one_cycle(steps, warmup=min(warmup / steps, 1.0), start=0.05, end=0.0),
    )  # fmt: skip
    return tuner.history


def decoder_sampler(
    prompts: Callable[[int], torch.Tensor], n_new: int, stop: int, *, temperature: float = 1.0
) -> Sampler:
    """A :data:`Sampler` for a tiny decoder: step t continues ``prompts(t)`` (B, P) by at most ``n_new`` tokens, to ``stop``.

    A response that never stops counts as ``n_new`` tokens long: it is scored as the longest, never dropped.
    """
    n_new = as_int(n_new, "n_new", minimum=1)
    temperature = as_float(temperature, "temperature", minimum=0.0, open_ends=True)

    def sample(model: TinyDecoder, step: int, generator: torch.Generator) -> Batch:
        prompt = prompts(step)
        tokens = generate(model, prompt, n_new, temperature=temperature, generator=generator, stop=stop)
        mask = response_mask(tokens, stop, prompt=prompt.shape[1])
        longest = prompt.shape[1] + int(mask.sum(dim=1).max())
        return tokens[:, :longest], mask[:, :longest]

    return sample


def response_length(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A score: the number of tokens of each response, its end token among them; (B,) float64. ``mask`` must be (B, T)."""
    if check_tensor(mask, "mask", floating=False).dim() != 2:
        raise ValueError(f"mask must be (B, T), True at the tokens of a response, got shape {tuple(mask.shape)}.")
    return mask.sum(dim=1).double()


def uses_of(token: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A score that counts ``token`` in each response: a function of (tokens, mask) that gives (B,) float64."""
    token = as_int(token, "token", minimum=0)
    return lambda tokens, mask: ((tokens == token) & mask).sum(dim=1).double()


def steps_to_stay(means: Sequence[float], constraint: MeanConstraint, window: int = 20) -> int:
    """The first step from which the mean of the last ``window`` entries of ``means`` keeps ``constraint`` to the end.

    ``means`` are a run's batch means, one per step; the answer counts steps from 1, is at least ``window``, and is
    ``len(means) + 1`` for a run that ends outside. Raises ``ValueError`` for fewer entries than ``window``.
    """
    window = as_int(window, "window", minimum=1)
    row = as_tensor(means, "means").double()
    if row.dim() != 1 or len(row) < window:
        raise ValueError(f"means must be (steps,) with at least window = {window} entries, got {tuple(row.shape)}.")
    smooth = row.unfold(0, window, 1).mean(dim=1)
    outside = [i for i, mean in enumerate(smooth.tolist()) if not constraint.holds(mean)]
    return window + (outside[-1] + 1 if outside else 0)


def _together(first: Batch, second: Batch) -> Batch:
    """Two batches as one, the shorter rows filled up behind their end."""
    width = max(first[0].shape[1], second[0].shape[1])
    rows = [[F.pad(part, (0, width - part.shape[1])) for part in batch] for batch in (first, second)]
    return torch.cat([rows[0][0], rows[1][0]]), torch.cat([rows[0][1], rows[1][1]])


def _scored(model: nn.Module, tokens: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Terms (B, T - 1) of the log-probabilities of responses, and their lengths (B,)."""
    return token_log_probs(model(tokens[:, :-1]), tokens, mask), mask.sum(dim=1)


def _log_perplexity(terms: torch.Tensor, lengths: torch.Tensor, normalise: str) -> torch.Tensor:
    if normalise == "token":
        return -terms.sum() / lengths.sum()
    return -(terms.sum(dim=1) / lengths).mean()
