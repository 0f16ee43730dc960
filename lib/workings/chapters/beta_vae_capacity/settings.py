"""Sizes of the chapter `beta_vae_capacity`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

FACTORS = ("x", "y", "scale", "shape", "orientation")  # the order of this chapter: that in which they get capacity


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's demo; the full tier's are in :mod:`~workings.chapters.beta_vae_capacity.full`."""

    seeds: tuple[int, ...] = (0, 1, 2)
    linear_steps: int = 800
    sprites: int = 8000  # of the even sub-grid's 46,080
    factor_steps: int = 1600
    factor_hidden: int = 128
    factor_c_max: float = 20.0
    factor_stops: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 15.0, 17.0, 20.0)
    squares: int = 8000  # of the even sub-grid's 15,360
    latents: int = 5
    vae_hidden: int = 128
    gamma: float = 10.0
    c_min: float = 1.0
    c_max: float = 12.0
    vae_steps: int = 1600
    vae_stops: tuple[float, ...] = (4.0, 8.0, 12.0)
    betas: tuple[float, float] = (1.0, 4.0)
    paper_gamma: float = 1000.0
    blobs: int = 4000
    blob_hidden: int = 64
    blob_steps: int = 1000
    blob_seeds: tuple[int, ...] = tuple(range(10))
    batch: int = 64
    learning_rate: float = 2e-3
    needs: ClassVar[Needs] = Needs(
        paper="twelve VAEs of 300,000 steps on 737,280 sprites at 64 x 64 pixels, and known factors over 100,000 steps from three seeds",
        gpu="one CUDA GPU with about 4 GB (an estimate: no run on a GPU is recorded)",
        shortened="at 32 x 32 pixels, seventeen VAEs of 8,000, 20,000 and (one) 100,000 steps, and known factors over 4,000",
        settings=("full.FullSettings",),
        lower={"factor_batch": "sprites of a known-factor step", "images": "sprites that a VAE is measured on"},
    )

    @property
    def factor_stop_steps(self) -> list[int]:
        """The steps at which the known-factor channel's capacity has reached each of ``factor_stops``."""
        return [_first_step(c, 0.0, self.factor_c_max, self.factor_rising) for c in self.factor_stops]

    @property
    def vae_stop_steps(self) -> list[int]:
        """The steps at which the VAE's target has reached each of ``vae_stops``; the last is the end of training."""
        steps = [_first_step(c, self.c_min, self.c_max, self.vae_rising) for c in self.vae_stops[:-1]]
        return [*steps, self.vae_steps]

    @property
    def factor_rising(self) -> int:
        """Steps during which the known-factor channel's capacity rises."""
        return max(1, self.factor_steps * 9 // 10)

    @property
    def vae_rising(self) -> int:
        """Steps during which the VAE's target capacity rises."""
        return max(1, self.vae_steps * 8 // 10)

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The demo's sizes; ``dry_run`` makes every training a few steps."""
        if dry_run:
            return cls(
                sprites=300, factor_steps=60, squares=300, vae_steps=20, blobs=200, blob_steps=5, batch=16,
            )  # fmt: skip
        return cls()


def _first_step(capacity: float, c_min: float, c_max: float, rising: int) -> int:
    """The first step at which a target that rises from ``c_min`` to ``c_max`` over ``rising`` steps has reached ``capacity``."""
    return max(1, math.ceil((capacity - c_min) / (c_max - c_min) * rising))
