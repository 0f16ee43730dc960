"""Sizes of the chapter `sap`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

LAMBDAS = (0, 1, 2, 4, 8, 16, 32, 64)  # the paper's radii, in units of 1/255


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` fits a laptop minute; ``full`` follows the paper on CIFAR-10."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 20
    eps: float = 0.1
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    masks: int = 20  # gradients averaged by the attacker, headline
    passes: int = 10  # forward passes averaged by the defender under attack
    clean_passes: int = 30
    curve_images: int = 100
    curve_masks: int = 10
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
    # full tier only
    full_epochs: int = 0
    full_images: int = 0
    full_masks: int = 0
    full_passes: int = 0
    pgd_steps: int = 0
    adversarial: bool = False
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="ResNet-20 on CIFAR-10 for 40 epochs and its adversarial twin, 1,000 images, 100 masks, 100 passes",
        gpu="one CUDA GPU with about 16 GB (an estimate: no run on a GPU is recorded)",
        shortened="20 epochs, 200 images, 20 masks, 10 passes, no adversarial twin",
        settings=("settings.Settings",),
        lower={"full_images": "images that are attacked at once"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """CIFAR-10 at the sheet's sizes on a GPU; on a CPU fewer images and masks, and no adversarial training."""
        if dry_run:
            small = dict(seeds=(0,), epochs=3, masks=2, passes=2, clean_passes=3, curve_images=40, curve_masks=2)
            return cls(
                **small, full_epochs=1, full_images=2, full_masks=2, full_passes=2, pgd_steps=2,
                adversarial=True, dry_run=True,
            )  # fmt: skip
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            return cls(full_epochs=20, full_images=200, full_masks=20, full_passes=10, pgd_steps=10)
        sizes = dict(full_epochs=40, full_images=1000, full_masks=100, full_passes=100, pgd_steps=40)
        return cls(**sizes, adversarial=True, device=device)
