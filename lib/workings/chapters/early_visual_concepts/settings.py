"""Sizes of the chapter `early_visual_concepts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from workings.disentangling.many_vaes import Job, train_many
from workings.disentangling.networks import VAE
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

KINDS = ("beta-VAE", "VAE", "autoencoder")  # of the hold-out experiment


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the demo. The full tier's own sizes are in :mod:`~workings.chapters.early_visual_concepts.full`."""

    betas: tuple[float, ...] = (0.05, 0.3, 1.0, 2.0, 4.0, 8.0)
    headline: tuple[float, ...] = (0.05, 1.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the headline betas
    few: tuple[int, ...] = (0, 1, 2)  # of everything else
    latents: int = 8
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 3000
    batch: int = 64
    learning_rate: float = 3e-3
    strides: tuple[int, ...] = (1, 3, 5)  # of the 16 x 16 positions
    stride_betas: tuple[float, ...] = (1.0, 4.0, 8.0)
    hold_out_steps: int = 2000
    pairs: int = 64  # L of the metric
    n_train: int = 600
    n_eval: int = 300
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="six trainings of 300,000 steps on 737,280 sprites, the stride sweep and the held-out block, 50,000 steps each",
        gpu="one CUDA GPU with about 4 GB (an estimate: no run on a GPU is recorded)",
        shortened="six trainings of 2,000 steps, no stride sweep, no held-out block",
        settings=("full.FullSettings",),
        lower={"batch": "sprites of a training step", "n_images": "sprites that a network is measured on"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The demo's experiments run at the full tier too; ``dry_run`` makes them a few steps long."""
        if not dry_run:
            return cls()
        return cls(seeds=(0, 1), few=(0, 1), steps=20, hold_out_steps=20, n_train=60, n_eval=30, dry_run=True)

    def train(self, jobs: Sequence[Job], steps: int | None = None) -> list[VAE]:
        """:func:`train_many` with these sizes."""
        return train_many(
            jobs, steps or self.steps, latent_dim=self.latents, hidden=self.hidden, batch=self.batch,
            learning_rate=self.learning_rate,
        )  # fmt: skip
