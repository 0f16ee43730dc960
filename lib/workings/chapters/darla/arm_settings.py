"""Sizes of the run on the Jaco arm, an optional part of the full tier."""

from __future__ import annotations

from dataclasses import dataclass

from workings.chapters.darla.arm import ArmWorld
from workings.checks import as_int
from workings.runs.tiers import device_here


@dataclass(frozen=True)
class ArmSettings:
    """Every size of :func:`workings.chapters.darla.arm_run.run`.

    Each (beta, seed) is one encoder and one agent, and each seed one agent on pixels. ``betas``: the lowest is the
    entangled one. ``horizon`` is a multiple of ``roll``, so that no rollout crosses the end of an episode. Returns are
    means of ``episodes`` episodes.
    """

    size: int = 64
    repeat: int = 5
    horizon: int = 50
    radius: float = 0.1
    pictures: int = 40_000
    latents: int = 32
    channels: tuple[int, ...] = (32, 32, 64, 64)
    hidden: tuple[int, ...] = (256,)
    bottleneck: int = 100
    denoiser_steps: int = 20_000
    vision_steps: int = 100_000
    batch: int = 100
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (1.0, 175.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    agent_hidden: tuple[int, ...] = (64, 64)
    agent_rate: float = 1e-3
    a2c_steps: int = 3750
    copies: int = 16
    roll: int = 5
    gamma: float = 0.97
    episodes: int = 50
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.horizon % as_int(self.roll, "roll", minimum=1):
            raise ValueError(f"horizon must be a multiple of roll, got {self.horizon} and {self.roll}.")
        if self.batch > self.pictures:
            raise ValueError(f"batch must be at most the number of pictures, got {self.batch} and {self.pictures}.")

    @classmethod
    def full(cls) -> ArmSettings:
        """The paper's sizes as re-implementations give them; **never run by us**. On ``"cuda"`` where torch finds it.

        Sizes of the networks, beta 175, the learning rate and the batch are from memory of the paper (arXiv 1707.08475)
        and public programs; the number of steps is our guess. 300,000 moves of each of 15 agents and 10 encoders of 100,000
        steps: by our estimate some four hours with a GPU that draws a picture in a millisecond, more than a day on two cores
        with a software renderer.
        """
        return cls(device=device_here())

    @classmethod
    def dry(cls) -> ArmSettings:
        """A few steps of everything, to see that it works: some seconds, once dm_control is imported."""
        return cls(
            horizon=4, radius=0.25, pictures=24, latents=4, channels=(4, 4, 4, 4), hidden=(8,), bottleneck=6, denoiser_steps=2,
            vision_steps=2, batch=8, seeds=(0, 1), agent_hidden=(8,), a2c_steps=2, copies=2, roll=2, episodes=2,
        )  # fmt: skip

    def world(self) -> ArmWorld:
        """The world with these sizes; its caller closes it."""
        return ArmWorld(size=self.size, repeat=self.repeat, horizon=self.horizon, radius=self.radius)
