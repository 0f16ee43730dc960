"""The experiment that `workings sweep scan` maps over a grid: one vision model and one symbols' network on rooms."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.scan.demo import (
    as_claimed,
    held_out,
    labelled_rows,
    named_rightly,
    rooms,
    score_symbols,
)
from workings.chapters.scan.settings import Settings
from workings.checks import as_float, as_int, one_of
from workings.disentangling.ensembles import Job, train_many
from workings.disentangling.networks import freeze
from workings.disentangling.scan import DIRECTIONS, ScanJob, code_pictures, train_scans


def sweep_point(
    *,
    vision_beta: float = 2.0,
    lam: float = 10.0,
    beta: float = 1.0,
    direction: str = "forward",
    labelled: int = 192,
    vision_steps: int = 1200,
    steps: int = 1500,
    seed: int = 0,
) -> dict[str, float]:
    """Scores of SCAN on rooms whose vision model has ``vision_beta``, with weights ``lam`` and ``beta`` of its loss.

    ``accuracy`` and ``diversity`` (nats, lower is more diverse) of pictures drawn for symbols, ``named``: pictures named
    rightly in the worst attribute, ``as_claimed``: share of deviations narrow or wide as they should be. ``labelled``:
    pictures per value of an attribute, at most those that there are.
    """
    one_of(direction, "direction", DIRECTIONS)
    as_int(labelled, "labelled", minimum=1)
    settings = replace(
        Settings.demo(),
        beta=as_float(vision_beta, "vision_beta", minimum=0.0),
        vision_steps=as_int(vision_steps, "vision_steps", minimum=1),
        scan_steps=as_int(steps, "steps", minimum=1),
    )
    world = rooms()
    (model,) = train_many(
        [Job(world.pictures, settings.beta, as_int(seed, "seed", minimum=0))], settings.vision_steps,
        latent_dim=settings.latents, hidden=(settings.hidden,) * 2, learning_rate=settings.vision_rate,
    )  # fmt: skip
    pairs = code_pictures(freeze(model), world.pictures, world.attributes)
    few = pairs.select(labelled_rows(world.attributes, world.sizes, labelled, seed))
    (symbols,) = train_scans(
        [ScanJob(few, seed, lam, beta, direction)], world.sizes, settings.scan_steps, batch=settings.scan_batch,
        learning_rate=settings.scan_rate, avoid=held_out(world.sizes),
    )  # fmt: skip
    scores = score_symbols(symbols.encode, model.decode, world, settings, seed)
    right, of = as_claimed(symbols, pairs, world.sizes)
    return {
        "accuracy": scores.accuracy,
        "diversity": scores.diversity,
        "named": float(named_rightly(pairs, symbols.decode, world.sizes, seed).min()),
        "as_claimed": right / max(1, of),
    }
