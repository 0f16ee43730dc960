"""Sizes of the chapter `sap_erratum`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.robustness.sap import BACKWARD_RULES
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

ATTACKS = ("2018", *BACKWARD_RULES, "transfer")


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` fits a laptop minute; :mod:`~workings.chapters.sap_erratum.full` adds the full tier's."""

    seed: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 8
    eps: float = 0.25  # radius of the main comparison, pixels in [0, 1]
    fraction: float = 0.5  # draws per neuron in the main comparison; the paper's own is 1
    images: int = 20
    steps: int = 10
    eot_samples: int = 4  # K, masks whose gradients are averaged at each step
    mc_samples: int = 10  # evaluation passes
    sweep_images: int = 20
    sweep_eot_samples: int = 2
    radii: tuple[float, ...] = (0.1, 0.25, 0.5)
    fractions: tuple[float, ...] = (0.5, 1.0)
    grid_images: int = 20
    grid_eot_samples: int = 2
    probe_eot_samples: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    probe_images: int = 6
    spsa_pairs: int = 800  # of each of the reference's two halves
    spsa_width: float = 0.1
    tries: int = 60  # of the random search
    draws: int = 4000  # of the one-neuron and two-mask experiments
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="ResNet-20 on CIFAR-10 for 40 epochs, 1,000 images, 100 steps, 1 and 10 masks, 100 passes, 500 steps of the 2018 attack",
        gpu="one CUDA GPU with about 8 GB (an estimate: no run on a GPU is recorded)",
        shortened="20 epochs, 300 images, 20 steps, one mask, 20 passes, 500 steps of the 2018 attack",
        settings=("full.FullSettings",),
        lower={"chunk": "images that are attacked at once", "batch": "images of a training step"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The demo's own cells are kept at the full tier; ``dry_run`` shrinks every number."""
        if not dry_run:
            return cls()
        return cls(
            epochs=2, images=10, steps=2, eot_samples=1, mc_samples=2, sweep_images=10, sweep_eot_samples=1, grid_images=10,
            grid_eot_samples=1, probe_eot_samples=(1, 2, 4), probe_images=2, spsa_pairs=50, tries=3, draws=500, dry_run=True,
        )  # fmt: skip
