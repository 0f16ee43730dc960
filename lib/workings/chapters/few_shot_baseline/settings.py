"""Sizes of the chapter `few_shot_baseline`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from workings.checks import one_of
from workings.runs.needs import Needs
from workings.runs.provenance import gpu_name
from workings.runs.tiers import Tiered

CIFAR_NETWORKS = ("wide", "resnet12", "conv4")


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter; the fields at the end are those of the full tier, which runs beside the page's own cells.

    ``cifar_network`` is the network for CIFAR-FS: "wide", the paper's WRN-28-10; "resnet12", for a small GPU; or "conv4", with
    ``full_width`` filters.
    """

    seeds: tuple[int, ...] = (0, 1, 2)  # of networks; data and episodes are the same for all
    alphabets: int = 30
    base_alphabets: int = 20
    characters: int = 15
    drawers: int = 20
    size: int = 20  # pixels
    width: int = 16  # filters of Conv4
    steps: int = 184  # of pre-training, three epochs on 6,000 images
    batch: int = 96
    lr: float = 0.2
    class_counts: tuple[int, ...] = (30, 90)  # smaller numbers of base classes, at equal steps
    episodes: int = 600  # of the untuned classifier
    ways: tuple[int, ...] = (5, 10, 20, 40, 80, 150)
    shots: tuple[int, ...] = (1, 2, 5, 10)
    curve_episodes: int = 60  # of each point of these curves
    tuned: int = 6  # episodes of each network, others for each, in which all of it is tuned
    tune_epochs: int = 25
    tune_lr: float = 5e-5
    heads: int = 100  # episodes of each network whose classifier alone is tuned
    head_steps: int = 25
    head_lr: float = 0.01
    hard_ways: tuple[int, ...] = (5, 10, 20, 40)
    hard_shots: tuple[int, ...] = (1, 5)
    hard_episodes: int = 20  # of each of these settings
    data: tuple[str, ...] = ()
    full_width: int = 64
    full_batch: int = 128
    full_steps: int = 500
    full_tuned: int = 40
    full_classes: tuple[int, ...] = (17, 34, 68)  # smaller numbers of characters to train on, at equal steps
    full_cells: tuple[tuple[int, int, int, int], ...] = (  # ways, shots, queries per class, tuned episodes of each network
        (20, 1, 15, 15), (20, 5, 15, 8), (5, 1, 5, 60), (5, 1, 1, 120),
    )  # fmt: skip
    full_loop: int = 8  # episodes of each network, way and shot in which hardness meets the whole loop
    cifar_steps: int = 18_000
    cifar_batch: int = 256
    cifar_tuned: int = 300
    cifar_network: str = "wide"
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="CIFAR-FS with a WRN-28-10 trained on 64 and on 80 classes, or with a ResNet-12 where cifar_network is set to resnet12, as for a small GPU such as a T4, and Omniglot with a Conv4 of 64 filters",
        gpu="one CUDA GPU with about 16 GB (an estimate: no run on a GPU is recorded)",
        shortened="Omniglot alone, Conv4 with 64 filters on 20-pixel images, three networks; about an hour on one of two busy cores",
        settings=("settings.Settings",),
        lower={"cifar_batch": "images of a training step", "cifar_tuned": "episodes that are tuned as a whole"},
    )

    def __post_init__(self) -> None:
        one_of(self.cifar_network, "cifar_network", CIFAR_NETWORKS)

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """The page's own cells stay at the demo's sizes; without a GPU there is no CIFAR-FS. ``dry_run`` is a few steps small."""
        if dry_run:
            return cls(
                seeds=(0, 1), alphabets=8, base_alphabets=4, characters=20, drawers=16, width=4, steps=12, batch=32,
                class_counts=(20,), episodes=20, ways=(5, 10, 20), curve_episodes=3, shots=(1, 2, 5), tuned=2,
                tune_epochs=2, heads=4, head_steps=3, hard_ways=(5, 40), hard_shots=(1,), hard_episodes=3,
                data=("omniglot", "cifar_fs"), full_width=4, full_steps=6, full_tuned=2, full_classes=(20, 40),
                full_cells=((20, 1, 2, 1), (5, 5, 2, 1), (5, 1, 1, 2)), full_loop=1, cifar_steps=4, cifar_batch=16,
                cifar_tuned=2, cifar_network="conv4", dry_run=True,
            )  # fmt: skip
        device = device or ("cpu" if gpu_name() is None else "cuda")
        here = replace(cls.demo(), data=("omniglot",), device=device)
        return here if device == "cpu" else replace(here, data=("omniglot", "cifar_fs"), full_tuned=200)
