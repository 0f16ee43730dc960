"""The two tiers of a chapter, as a base for its settings."""

from __future__ import annotations

from typing import ClassVar, Self

from workings import TIERS
from workings.checks import one_of
from workings.runs.needs import Needs


def device_here() -> str:
    """ "cuda" where torch finds a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Tiered:
    """Base of a chapter's frozen ``Settings``, which has the class methods ``demo()`` and ``full(*, dry_run)``.

    ``needs`` says what its full tier takes.
    """

    needs: ClassVar[Needs | None] = None

    @classmethod
    def for_tier(cls, tier: str, *, dry_run: bool = False) -> Self:
        """Settings of ``tier``, "demo" or "full"; ``dry_run`` makes the full ones a few steps small.

        For "full" it prints which device is taken and what the run needs. Raises ``ValueError`` for another tier.
        """
        if one_of(tier, "tier", TIERS) == "demo":
            return cls.demo()
        if cls.needs is not None:
            print(cls.needs.statement(dry_run=dry_run))
        return cls.full(dry_run=dry_run)
