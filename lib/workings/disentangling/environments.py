"""The small worlds one episode at a time, behind the interface of Gymnasium."""

from __future__ import annotations

from typing import Any

import numpy as np

from workings.checks import as_int
from workings.disentangling.domains import DomainSpec
from workings.disentangling.worlds import ReachWorld, SeekAvoidWorld
from workings.seeding import numpy_generator


class WorldEnv:
    """One copy of ``world`` in ``domain``: ``reset`` and ``step`` as Gymnasium defines them, whole pictures as observations.

    Observations are (size, size, 3) uint8. An episode is ``world.horizon`` steps and then *truncated*: it is a limit of
    time, no state ends it. Two environments of other domains that are reset with one seed and given the same actions go
    through the same states and show other pictures. Gymnasium itself is not needed; :func:`as_gymnasium` makes an
    environment of its class.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, world: SeekAvoidWorld | ReachWorld, domain: DomainSpec):
        if not isinstance(world, (SeekAvoidWorld, ReachWorld)):
            raise TypeError(f"world must be a SeekAvoidWorld or a ReachWorld, got {type(world).__name__}.")
        self.world, self.domain = world, world.check(domain)
        self.n_actions = len(world.actions)
        self.shape = (world.size, world.size, 3)
        self._streams: tuple[np.random.Generator, np.random.Generator] | None = None
        self._left = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The first observation of an episode, and its ``look`` and ``state``. The first call needs a ``seed``."""
        if seed is not None:
            seed = as_int(seed, "seed", minimum=0)
            self._streams = (numpy_generator(seed, "looks"), numpy_generator(seed, "states"))
        if self._streams is None:
            raise ValueError("the first reset needs a seed, an integer of at least 0: reset(seed=0).")
        looks = self.world.draw_looks(self.domain, 1, self._streams[0])
        self._look, self._state = looks[0], self.world.start(self.domain, looks, self._streams[1])[0]
        self._left = self.world.horizon
        return self._observation(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated (always False), truncated, and the look and state.

        Raises ``ValueError`` for an action that there is not and for a step before the first or after the last one.
        """
        action = as_int(action, "action", minimum=0, maximum=self.n_actions - 1)
        if self._left == 0:
            raise ValueError("no episode is running: call reset() before the first step and after a truncated one.")
        self._state, reward = self.world.step_one(self.domain, self._look, self._state, action, self._streams[1])
        self._left -= 1
        return self._observation(), reward, False, self._left == 0, self._info()

    def render(self) -> np.ndarray:
        """The present picture (size, size, 3) uint8; ``ValueError`` before the first ``reset``."""
        if self._streams is None:
            raise ValueError("there is nothing to render before the first reset(seed=0).")
        return self._observation()

    def close(self) -> None:
        """Nothing to close."""

    def _observation(self) -> np.ndarray:
        return self.world.frame(self._look, self._state)

    def _info(self) -> dict[str, Any]:
        return {"look": self._look.copy(), "state": self._state.copy()}


class SeekAvoidEnv(WorldEnv):
    """:class:`WorldEnv` of ``SeekAvoidWorld.hues(size=size, ...)``: ``options`` are further settings of that world."""

    def __init__(self, domain: DomainSpec, size: int = 16, **options: int | str):
        super().__init__(SeekAvoidWorld.hues(size=size, **options), domain)


class ReachEnv(WorldEnv):
    """:class:`WorldEnv` of ``ReachWorld(size, ...)``: ``options`` are further settings of that world."""

    def __init__(self, domain: DomainSpec, size: int = 24, **options: int | float):
        super().__init__(ReachWorld(size=size, **options), domain)


def as_gymnasium(env: WorldEnv) -> Any:
    """``env`` as a ``gymnasium.Env`` with its spaces, for the libraries that ask for one.

    Raises ``RuntimeError`` when Gymnasium is not installed (``pip install gymnasium``). A first ``reset`` without a seed
    takes one from Gymnasium's own generator.
    """
    if not isinstance(env, WorldEnv):
        raise TypeError(f"env must be a WorldEnv, got {type(env).__name__}.")
    try:
        import gymnasium
    except ModuleNotFoundError:
        raise RuntimeError("as_gymnasium needs Gymnasium, which is not installed: pip install gymnasium.") from None

    class Wrapped(gymnasium.Env):
        metadata = WorldEnv.metadata
        render_mode = WorldEnv.render_mode
        observation_space = gymnasium.spaces.Box(0, 255, env.shape, np.uint8)
        action_space = gymnasium.spaces.Discrete(env.n_actions)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            if seed is None and env._streams is None:
                seed = int(self.np_random.integers(2**31))
            return env.reset(seed=seed, options=options)

        def step(self, action):
            return env.step(action)

        def render(self):
            return env.render()

    return Wrapped()
