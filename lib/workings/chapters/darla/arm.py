"""Reaching with a Jaco arm from pictures: a world whose looks vary, one episode at a time, and pictures of all its looks.

Needs `dm_control` (with MuJoCo and the arm's model), imported when the first picture or movement is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import torch

from workings.chapters.darla import arm_looks
from workings.chapters.darla.arm_model import ARM_JOINTS, CONTROL, FINGERS, LARGEST, TIMESTEP, ArmModel
from workings.checks import as_float, as_int, as_numpy_generator, one_of
from workings.disentangling.domains import DomainSpec
from workings.disentangling.environments import WorldEnv
from workings.runs.progress import progress
from workings.seeding import numpy_generator

JOINTS = ARM_JOINTS + FINGERS
HOME = (1.367, 2.707, 4.935, 2.854, 1.068, 1.08)  # the hand points down, the palm 0.25 m above the table's middle
OPEN = 0.6  # angle of the fingers, rad
TARGET_HEIGHT = 0.05  # of the object's middle, m


@dataclasses.dataclass(frozen=True)
class ArmWorld:
    """A Jaco arm on a table, and an object that its palm should get to; seen from the front at ``size`` x ``size`` pixels.

    ``state`` (21,): nine joint angles (six of the arm, three of the fingers), their velocities, and where the object is
    (3,) m; the object lies within ``spread`` m of the table's middle, in x and in y. A ``look`` (6,) are the whole numbers
    of :mod:`~workings.chapters.darla.arm_looks`; it stays for an episode and nothing of it enters the movement. Seven
    actions: wait, or turn base, shoulder or elbow at 36 degrees a second either way for ``repeat`` control steps of 0.04 s.
    A step pays 1 while the palm is within ``radius`` m of the object's middle, under ``rule`` "distance" (for debugging)
    minus their distance in m. An episode is ``horizon`` steps. After Higgins et al., arXiv 1707.08475; sizes are ours.

    The model is compiled when it is first used and belongs to the world; :meth:`close` frees it.
    """

    size: int = 64
    repeat: int = 5
    horizon: int = 50
    radius: float = 0.1
    spread: float = 0.2
    rule: str = "reach"
    names = arm_looks.FACTORS
    actions = ("wait", "base +", "base -", "shoulder +", "shoulder -", "elbow +", "elbow -")

    def __post_init__(self) -> None:
        for name in ("size", "repeat", "horizon"):
            as_int(getattr(self, name), name, minimum=1)
        as_float(self.radius, "radius", minimum=0.0, open_ends=True)
        as_float(self.spread, "spread", minimum=0.0, maximum=0.3)
        one_of(self.rule, "rule", ("reach", "distance"))

    @functools.cached_property
    def _model(self) -> ArmModel:
        return ArmModel(self.size)

    def close(self) -> None:
        """Free the compiled model; the next use compiles another."""
        model = self.__dict__.pop("_model", None)
        if model is not None:
            model.close()

    def check(self, domain: DomainSpec) -> DomainSpec:
        """``domain`` if it is one of this world, else ``ValueError``."""
        return arm_looks.check(domain)

    def draw_looks(self, domain: DomainSpec, n: int, generator: np.random.Generator) -> np.ndarray:
        """Looks (n, 6) of ``n`` episodes."""
        return domain.draw(n, generator)

    def start(self, domain: DomainSpec, looks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """States (N, 21) at the beginning of an episode, for ``looks`` (N, 6): near :data:`HOME`, at rest."""
        return np.stack([self._resting(generator, (0.4, 0.3, 0.3, 0.1, 0.1, 0.1)) for _ in looks])

    def poses(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """States (n, 21) of arms at rest in all sorts of poses, for the pictures of the vision stage. Nothing moves."""
        return np.stack([self._resting(generator, (0.6, 0.5, 0.5, 0.6, 0.6, 1.5)) for _ in range(n)])

    def _resting(self, generator: np.random.Generator, width: tuple[float, ...]) -> np.ndarray:
        """A state at rest, each joint uniform within ``width`` (6,) of :data:`HOME`, drawn until the arm touches nothing."""
        generator = as_numpy_generator(generator)
        joints = np.full(JOINTS, OPEN)
        for _ in range(1000):
            joints[:ARM_JOINTS] = np.clip(
                HOME + np.array(width) * generator.uniform(-1, 1, ARM_JOINTS), *self._model.ranges.T
            )
            if not self._model.touches(joints):
                break
        else:
            raise RuntimeError(
                "no pose without contact was found in 1000 draws; the arm's model is not the expected one."
            )
        target = [*generator.uniform(-self.spread, self.spread, 2), TARGET_HEIGHT]
        return np.concatenate([joints, np.zeros(JOINTS), target])

    def step_one(
        self, domain: DomainSpec, look: np.ndarray, state: np.ndarray, action: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """State (21,) and reward after ``action`` in ``state``. Draws nothing, and does not look at ``look``."""
        joints, velocities, target = np.split(state, [JOINTS, 2 * JOINTS])
        joints, velocities = self._model.move(joints, velocities, self._wanted(action), self.repeat)
        after = np.concatenate([joints, velocities, target])
        distance = self.distance(after)
        return after, float(distance <= self.radius) if self.rule == "reach" else -distance

    def distance(self, state: np.ndarray) -> float:
        """How far the palm is from the object's middle in ``state`` (21,), in m."""
        return float(np.linalg.norm(self._model.palm(state[:JOINTS]) - state[2 * JOINTS :]))

    def frame(self, look: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The picture (size, size, 3) uint8 of ``state`` (21,) in ``look`` (6,)."""
        return self._model.picture(state[:JOINTS], state[2 * JOINTS :], arm_looks.look_of(look))

    def scripted(self, state: np.ndarray) -> int:
        """An action that knows the ``state`` (21,): the turn that would bring the palm nearest, were the arm without mass."""
        seconds = self.repeat * CONTROL * TIMESTEP
        distances = []
        for action in range(len(self.actions)):
            after = state.copy()
            after[:3] = np.clip(after[:3] + seconds * self._wanted(action), *self._model.ranges[:3].T)
            distances.append(self.distance(after))
        return int(np.argmin(distances))

    def _wanted(self, action: int) -> np.ndarray:
        """Velocities (3,) of base, shoulder and elbow, rad/s."""
        wanted = np.zeros(3)
        if action:
            wanted[(action - 1) // 2] = LARGEST if action % 2 else -LARGEST
        return wanted


class ArmEnv(WorldEnv):
    """:class:`~workings.disentangling.environments.WorldEnv` of an :class:`ArmWorld` in ``domain``; several may share one world.

    ``close`` frees the world's model.
    """

    def __init__(self, domain: DomainSpec, world: ArmWorld | None = None):
        world = ArmWorld() if world is None else world
        if not isinstance(world, ArmWorld):
            raise TypeError(f"world must be an ArmWorld, got {type(world).__name__}.")
        self.world, self.domain = world, world.check(domain)
        self.n_actions, self.shape = len(world.actions), (world.size, world.size, 3)
        self._streams, self._left = None, 0

    def close(self) -> None:
        """Free the model; the next use compiles another."""
        self.world.close()


class ArmPictures(NamedTuple):
    """``pictures`` (N, 3, size, size) uint8, with what they show: ``looks`` (N, 6) and ``states`` (N, 21)."""

    pictures: torch.Tensor
    looks: np.ndarray
    states: np.ndarray

    def floats(self, first: int | None = None) -> torch.Tensor:
        """The pictures (N, 3, size, size), or the ``first`` of them, as float32 in [0, 1]."""
        return self.pictures[:first].float() / 255


def load_pictures(world: ArmWorld, domain: DomainSpec, n: int, seed: int) -> ArmPictures:
    """``n`` pictures of ``domain``, poses and looks drawn independently: what the vision stage sees. Equal seeds, equal pictures.

    Poses are of :meth:`ArmWorld.poses`. A picture takes some milliseconds and 12 kB.
    """
    n, domain = as_int(n, "n", minimum=1), world.check(domain)
    looks = world.draw_looks(domain, n, numpy_generator(seed, "arm", "looks"))
    states = world.poses(n, numpy_generator(seed, "arm", "poses"))
    pictures = np.empty((n, 3, world.size, world.size), dtype=np.uint8)
    for k in progress(range(n), "pictures"):
        pictures[k] = world.frame(looks[k], states[k]).transpose(2, 0, 1)
    return ArmPictures(torch.from_numpy(pictures), looks, states)
