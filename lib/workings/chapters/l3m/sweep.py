"""The experiment that `workings sweep l3m` maps over a grid: one constrained run of the toy."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.l3m.demo import length_constraint, pretrained, summary, tuned
from workings.chapters.l3m.settings import Settings
from workings.checks import as_float, as_int
from workings.language_models.multiplier_rules import LogBarrier


def sweep_point(
    *, low: float = 4.0, high: float = 6.0, end: float = 0.01, decay: float = 0.9, steps: int = 300, seed: int = 0
) -> dict[str, float]:
    """One run with the barrier's strength falling to ``end``: mean length, share of responses outside, rise of the
    log-perplexity in nats per token, and the step from which the mean stays inside. About five seconds on one core.
    """
    settings = replace(Settings.demo(), steps=as_int(steps, "steps", minimum=20))
    settings = replace(settings, decay=as_float(decay, "decay", minimum=0.0, maximum=1.0))
    interval = (as_float(low, "low"), as_float(high, "high"))
    base = pretrained(seed, settings)
    plain = tuned(base, seed, settings)
    run = tuned(base, seed, settings, [length_constraint(interval, settings)], LogBarrier(settings.steps, end=end))
    return summary(run, plain, interval, settings)
