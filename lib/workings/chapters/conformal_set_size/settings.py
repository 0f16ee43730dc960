"""Sizes of the chapter `conformal_set_size`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` fits a laptop minute; ``full`` is the paper's protocol."""

    alpha: float = 0.1
    gamma: float = 0.1
    seed: int = 0
    seeds: tuple[int, ...] = (0,)  # of the full tier: each is the whole protocol
    resplits: int = 200
    toy_n: int = 200
    toy_sets: int = 2000
    trees: int = 100
    train_splits: int = 0
    calibration_splits: int = 0
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="the authors' protocol, ten training splits times a hundred calibration splits of seven rows, from five seeds; three small tables are fetched, and quantile-forest has to be installed",
        gpu=None,
        shortened=None,
        settings=("settings.Settings",),
        lower={"trees": "trees of a forest", "calibration_splits": "splits whose results are kept"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The protocol of the authors' code; ``dry_run`` keeps its shape and shrinks every number."""
        if dry_run:
            return cls(trees=5, train_splits=2, calibration_splits=3, toy_sets=200, seeds=(0, 1), dry_run=True)
        return cls(train_splits=10, calibration_splits=100, seeds=(0, 1, 2, 3, 4))
