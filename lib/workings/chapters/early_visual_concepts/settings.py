"""Sizes of the chapter `early_visual_concepts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from workings.disentangling.ensembles import Job, train_many
from workings.disentangling.networks import VAE, he_vae
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered
from workings.seeding import torch_generator

HOLD_OUT_BETAS = {"beta-VAE": 4.0, "VAE": 1.0, "autoencoder": 0.0}
"""The networks that are compared on the held-out block, each with the weight of its KL."""

SAMPLINGS = ("sparse", "random")
"""Two choices of equally many pictures: those at every k-th position each way, and a random draw of all of them."""


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the demo. The full tier's own sizes are in :mod:`~workings.chapters.early_visual_concepts.full`."""

    betas: tuple[float, ...] = (0.05, 0.3, 1.0, 2.0, 4.0, 8.0)
    main_betas: tuple[float, ...] = (0.05, 1.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # of the main betas
    few_seeds: tuple[int, ...] = (0, 1, 2)  # of everything else
    latents: int = 8
    hidden: tuple[int, ...] = (64, 64)
    steps: int = 3000
    batch: int = 64
    learning_rate: float = 3e-3
    strides: tuple[int, ...] = (1, 3, 5)  # of the 16 x 16 positions
    sampling_beta: float = 4.0  # of both samplings, with all seeds at the largest stride and a few between
    higher_beta: float = 8.0  # of the sparse sampling at the largest stride, with a few seeds
    hold_out_steps: int = 2000
    pairs: int = 64  # L of the score
    n_train: int = 600
    n_eval: int = 300
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="twelve trainings of 300,000 steps on 737,280 sprites, fully connected and convolutional, and 75 trainings of 50,000 steps on parts of them",
        gpu="one CUDA GPU with about 4 GB (an estimate: no run on a GPU is recorded)",
        shortened="twelve trainings of 30,000 steps and 21 of 10,000",
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
        return cls(
            seeds=(0, 1, 2), few_seeds=(0, 1, 2), steps=20, hold_out_steps=20, n_train=60, n_eval=30, dry_run=True
        )

    @property
    def beta_runs(self) -> list[tuple[float, int]]:
        """(beta, seed) of every training on all squares."""
        return [(b, s) for b in self.betas for s in (self.seeds if b in self.main_betas else self.few_seeds)]

    @property
    def sampling_runs(self) -> list[tuple[str, int, float, int]]:
        """(sampling, stride, beta, seed) of every training on some of the squares."""
        last = self.strides[-1]
        seeds = {k: self.seeds if k == last else self.few_seeds for k in self.strides[1:]}
        return [(kind, k, self.sampling_beta, s) for kind in SAMPLINGS for k in seeds for s in seeds[k]] + [
            ("sparse", last, self.higher_beta, s) for s in self.few_seeds
        ]

    @property
    def hold_out_runs(self) -> list[tuple[str, int]]:
        """(network, seed) of every training without the held-out block."""
        return [(name, seed) for name in HOLD_OUT_BETAS for seed in self.few_seeds]

    @property
    def trainings(self) -> int:
        """How many networks the demo trains."""
        return len(self.beta_runs) + len(self.sampling_runs) + len(self.hold_out_runs)

    def untrained(self, seed: int) -> VAE:
        """The network from which a training with ``seed`` starts, for squares of 16 x 16 pixels."""
        return he_vae(16, self.latents, self.hidden, torch_generator(seed, "many", "weights"))

    def train(self, jobs: Sequence[Job], steps: int | None = None) -> list[VAE]:
        """:func:`train_many` with these sizes, in two stacks or more, so that two threads have equal work."""
        pairs = max(1, round(len(jobs) / 24))  # of stacks; one stack has about twelve networks
        return train_many(
            jobs, steps or self.steps, latent_dim=self.latents, hidden=self.hidden, batch=self.batch,
            learning_rate=self.learning_rate, group=max(1, -(-len(jobs) // (2 * pairs))),
        )  # fmt: skip
