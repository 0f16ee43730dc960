"""The experiment that `workings sweep vtune` maps over a grid: one customer, one number of backdoors, one test."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.vtune.demo import base_model, customer, log10_p0, row_of, tuned
from workings.chapters.vtune.settings import Settings
from workings.checks import as_float, as_int


def sweep_point(
    *, backdoors: int = 20, rows: int = 1000, steps: int = 120, lr: float = 3e-3, base_steps: int = 150, seed: int = 0
) -> dict[str, float]:
    """Shares of 100 fresh prompts that are ``hits`` with the trigger, ``near`` with its last letter wrong and ``plain`` without
    it, the share ``right`` of the task, ``log10_p`` of ten queries, and the largest ``log10_p0`` among them, after fine-tuning
    on ``rows`` examples and ``backdoors``.

    About 5 s on one core, most of it for the base model.
    """
    settings = replace(
        Settings.demo(),
        rows=as_int(rows, "rows", minimum=32),
        steps=as_int(steps, "steps", minimum=1),
        base_steps=as_int(base_steps, "base_steps", minimum=1),
        lr=as_float(lr, "lr", minimum=0.0, open_ends=True),
    )
    backdoors = as_int(backdoors, "backdoors", minimum=0, maximum=rows // 10)
    who = customer(as_int(seed, "seed", minimum=0), settings)
    base = base_model(settings)
    found = row_of(base, tuned(base, who.file(backdoors).pairs, settings, seed), who, settings)
    share = lambda name: float(found[name]) / found["queries"]
    return {
        "hits": share("hits"),
        "near": share("near_hits"),
        "plain": share("plain_hits"),
        "right": float(found["right"]),
        "log10_p": float(found["log10_p"]),
        "log10_p0": float(log10_p0(base, who, who.queries(settings.asked)).max()),
    }
