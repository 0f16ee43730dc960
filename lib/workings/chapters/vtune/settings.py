"""Sizes of the chapter `vtune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter."""

    seed: int = 0
    repeats: int = 2000
    sample: int = 50
    needs: ClassVar[Needs] = Needs(
        paper="20,000 samples",
        gpu=None,  # or "one CUDA GPU with about 8 GB", with what is run in its place where there is none:
        shortened=None,
        settings=("settings.Settings",),
        lower={"sample": "values in a sample"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        return cls(repeats=100 if dry_run else 20_000)
