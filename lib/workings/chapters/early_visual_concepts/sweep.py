"""The experiment that `workings sweep early_visual_concepts` maps over a grid: one small VAE on squares."""

from __future__ import annotations

from workings.chapters.early_visual_concepts.demo import latent_statistics
from workings.chapters.early_visual_concepts.settings import Settings
from workings.checks import as_float, as_int
from workings.disentangling.many_vaes import Job
from workings.disentangling.sprites16 import small_sprites


def sweep_point(*, beta: float = 4.0, stride: int = 1, steps: int = 3000, seed: int = 0) -> dict[str, float]:
    """What a VAE at ``beta`` does on all squares after seeing every ``stride``-th position each way.

    ``kl``: nats through the code; ``active``: latents above 0.1 nat; ``gap``: best minus second best |correlation|, mean
    over the factors; ``excess``: nats of the reconstruction above the least possible; ``mig``; ``one_latent_each`` is 1
    where every factor has a latent of its own and there is no other. About 4 s on one core.
    """
    as_float(beta, "beta", minimum=0.0)
    everything = small_sprites()
    seen = everything if as_int(stride, "stride", minimum=1) == 1 else small_sprites(stride=2 * stride)
    (model,) = Settings(steps=as_int(steps, "steps", minimum=1)).train([Job(seen.images, beta, seed)])
    found = latent_statistics(model, everything)
    return {
        "kl": float(found.kl.sum()),
        "active": float(found.active.sum()),
        "gap": found.gap,
        "excess": found.excess,
        "mig": float(found.mig),
        "one_latent_each": float(found.one_latent_per_factor),
    }
