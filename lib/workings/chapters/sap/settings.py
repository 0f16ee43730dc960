"""Sizes of the chapter `sap`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered, device_here

LAMBDAS = (0, 1, 2, 4, 8, 16, 32, 64)  # the paper's radii, in units of 1/255


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` fits a laptop minute; ``full`` follows the paper on CIFAR-10."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 10
    images: int = 200  # of the 597 held out: the demo's test set
    eps: float = 0.1
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    eot_samples: int = 20  # masks whose gradients the attacker averages, on all images
    mc_samples: int = 10  # forward passes that the defender averages under attack
    clean_mc_samples: int = 30  # the same without an attack
    curve_images: int = 50  # the first of them, for the curves and for the sweep over fractions
    curve_eot_samples: int = 10  # masks averaged for the curves and for the sweep over fractions
    prunings: int = 4  # fixed prunings among which attacks are transferred
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
    # full tier only
    full_epochs: int = 0
    full_images: int = 0
    full_eot_samples: int = 0
    full_mc_samples: int = 0
    most_eot_samples: int = 0  # the largest number of masks that the attacker averages
    steps_eot_samples: int = 0  # masks per step of the paper's iterative attack
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
        """CIFAR-10 near the paper's sizes on a GPU; on a CPU fewer images and masks, and no adversarial training."""
        if dry_run:
            small = dict(
                seeds=(0,), epochs=3, images=60, eot_samples=2, mc_samples=2, clean_mc_samples=3, curve_images=40, curve_eot_samples=2,
                prunings=2,
            )  # fmt: skip
            return cls(
                **small, full_epochs=1, full_images=2, full_eot_samples=2, full_mc_samples=2, most_eot_samples=3, steps_eot_samples=2, pgd_steps=2,
                adversarial=True, dry_run=True,
            )  # fmt: skip
        device = device or device_here()
        if device == "cpu":
            return cls(
                full_epochs=20,
                full_images=200,
                full_eot_samples=20,
                full_mc_samples=10,
                most_eot_samples=100,
                steps_eot_samples=10,
                pgd_steps=10,
            )
        sizes = dict(
            full_epochs=40,
            full_images=1000,
            full_eot_samples=100,
            full_mc_samples=100,
            most_eot_samples=1000,
            steps_eot_samples=10,
            pgd_steps=40,
        )
        return cls(**sizes, adversarial=True, device=device)
