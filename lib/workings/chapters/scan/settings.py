"""Sizes of the chapter `scan`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's demo; the full tier's are in :mod:`~workings.chapters.scan.full`."""

    seeds: tuple[int, ...] = (0, 1, 2)
    latents: int = 6
    hidden: int = 64
    beta: float = 2.0
    entangled_beta: float = 0.05
    vision_steps: int = 1200
    vision_rate: float = 3e-3
    lam: float = 10.0  # the appendix's weights of the symbols' loss
    symbol_beta: float = 1.0
    main_lam: float = 1.0  # the main text's
    main_beta: float = 10.0
    scan_steps: int = 1500
    scan_batch: int = 32
    scan_rate: float = 2e-3
    labelled: tuple[int, ...] = (1, 5, 20)  # pictures per value of an attribute
    recombination_steps: int = 1500
    recombination_rate: float = 2e-3
    jmvae_alpha: float = 1.0
    drawn: int = 64  # pictures per symbol when it is scored
    scored: int = 200  # symbols that are scored, at most
    pairs_tested: int = 80  # per operator
    late: float = 0.2  # share of the operators' pairs that are kept for the test
    needs: ClassVar[Needs] = Needs(
        paper="3D Shapes (or coloured dSprites) at 64 x 64 pixels, six vision models of 150,000 steps, symbols in 50,000",
        gpu="one CUDA GPU with about 8 GB (an estimate: no run on a GPU is recorded)",
        shortened="coloured dSprites at 32 x 32 pixels, six vision models of 20,000 steps, symbols in 3,000",
        settings=("full.FullSettings",),
        lower={"pictures": "pictures that are kept in memory", "batch": "pictures of a training step"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The demo's sizes; ``dry_run`` makes every training a few steps."""
        if dry_run:
            return cls(
                seeds=(0, 1), vision_steps=10, scan_steps=10, recombination_steps=10, drawn=8, pairs_tested=10, hidden=16,
            )  # fmt: skip
        return cls()
