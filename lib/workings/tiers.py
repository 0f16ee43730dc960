"""The two tiers of a chapter, as a base for its settings."""

from __future__ import annotations

from typing import Self

from workings.checks import one_of

TIERS = ("demo", "full")


class Tiered:
    """Base of a chapter's frozen ``Settings``, which has the class methods ``demo()`` and ``full(*, dry_run)``."""

    @classmethod
    def for_tier(cls, tier: str, *, dry_run: bool = False) -> Self:
        """Settings of ``tier``, "demo" or "full"; ``dry_run`` makes the full ones a few steps small.

        Raises ``ValueError`` for another tier.
        """
        return cls.full(dry_run=dry_run) if one_of(tier, "tier", TIERS) == "full" else cls.demo()
