"""The experiment that `workings sweep darla` maps over a grid: one encoder, and the agents that act on its code."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.darla.demo import act, code_table, see
from workings.chapters.darla.settings import Settings
from workings.checks import as_float, as_int


def sweep_point(
    *, beta: float = 1.0, penalty: float = 0.0, steps: int = 2000, pictures: int = 4000, seed: int = 0
) -> dict[str, float]:
    """An encoder at ``beta``, and agents on its code with ``penalty`` on their inputs: what it is and what they keep.

    ``mig``, ``explained`` and ``nats`` of the encoder; ``source`` and ``target``: mean returns of the agents, of 0.75. About
    4 s on one core.
    """
    settings = replace(
        Settings.demo(),
        betas=(as_float(beta, "beta", minimum=0.0),),
        seeds=(as_int(seed, "seed", minimum=0),),
        vision_steps=as_int(steps, "steps", minimum=1),
        pictures=as_int(pictures, "pictures", minimum=64),
    )
    group = see(settings)[settings.betas[0]]
    found = act(settings.world(), settings.domains(), code_table(group), settings.seeds, settings, penalty)
    encoder = group[0]
    return {
        "mig": encoder.mig,
        "explained": encoder.explained,
        "nats": float(encoder.kl.sum()),
        "source": float(found.source[0]),
        "target": float(found.target[0]),
    }
