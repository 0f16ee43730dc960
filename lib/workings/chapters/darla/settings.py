"""Sizes of the chapter `darla`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.disentangling.domains import DomainSpec
from workings.disentangling.worlds import SeekAvoidWorld
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter's demo and of its full tier.

    Eight hues; the source has walls and floors of ``source_hues``, the target of ``target_hues``. Every (beta, seed) is one
    encoder. ``experience`` moves of a random policy are what an agent learns from in the demo; ``dqn_steps`` and
    ``a2c_steps`` are the updates of the full tier's agents.
    """

    size: int = 8
    object_size: int = 4
    small_object: int = 2
    stride: int = 1
    horizon: int = 1
    rule: str = "approach"
    hues: int = 8
    source_hues: tuple[int, ...] = (0, 1, 2)
    target_hues: tuple[int, ...] = (5, 6, 7)
    betas: tuple[float, ...] = (0.02, 0.3, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    pictures: int = 4000
    latents: int = 8
    vision_hidden: int = 64
    vision_steps: int = 1500
    vision_batch: int = 64
    learning_rate: float = 3e-3
    explained: float = 0.85  # the share of the pictures' variance that a chosen beta has to explain
    small_beta: float = 0.6
    small_steps: int = 700
    denoiser_steps: int = 600
    denoiser_hidden: int = 64
    bottleneck: int = 32
    room_steps: int = 300
    experience: int = 1000
    agents: int = 2  # agents per encoder, whose returns are averaged
    penalty: float = 0.01  # on the inputs of the agents that have one
    agent_hidden: int = 32
    agent_steps: int = 500
    dqn_steps: int = 0
    a2c_steps: int = 0
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="a sequential version of the page's world at 32x32 pixels: 20 encoders, DQN on each of them, from pixels and on the true factors, A2C on those compared, five seeds; a quarter to half an hour on two cores",
        gpu=None,
        shortened=None,
        settings=("settings.Settings",),
        lower={"pictures": "pictures of the vision stage", "vision_hidden": "units in a layer"},
    )

    @classmethod
    def demo(cls, *, dry_run: bool = False) -> Settings:
        """The page's experiments; ``dry_run`` keeps their shape and shrinks every number."""
        if dry_run:
            return cls(
                seeds=(0, 1), pictures=80, vision_hidden=8, vision_steps=4, small_steps=4, room_steps=4,
                denoiser_steps=4, experience=200, agents=2, agent_steps=60,
            )  # fmt: skip
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The sequential world; ``dry_run`` keeps its shape and shrinks every number."""
        sequential = {"size": 32, "object_size": 6, "stride": 2, "horizon": 20, "rule": "reach"}
        if dry_run:
            small = {**sequential, "size": 12, "object_size": 4, "stride": 1, "horizon": 3}
            return cls(
                **small, betas=(0.5, 6.0), seeds=(0, 1), pictures=200, vision_hidden=8, experience=50, vision_steps=3,
                dqn_steps=5, a2c_steps=3, explained=0.0, dry_run=True,
            )  # fmt: skip
        return cls(
            **sequential, pictures=8000, vision_hidden=96, vision_steps=3000, learning_rate=2e-3, agent_hidden=64,
            betas=(0.3, 3.0, 12.0, 36.0), dqn_steps=12_000, a2c_steps=6000,
        )  # fmt: skip

    def world(self, object_size: int | None = None) -> SeekAvoidWorld:
        """The world of hues, with objects of ``object_size`` (default: the settings' own)."""
        return SeekAvoidWorld.hues(
            self.hues, size=self.size, object_size=object_size or self.object_size, stride=self.stride,
            horizon=self.horizon, rule=self.rule,
        )  # fmt: skip

    def domains(self) -> dict[str, DomainSpec]:
        """The three domains: "unsupervised" (all hues), "source" and "target"."""
        hues = {"unsupervised": range(self.hues), "source": self.source_hues, "target": self.target_hues}
        return {name: DomainSpec.product(wall=own, floor=own, kind=(0, 1)) for name, own in hues.items()}
