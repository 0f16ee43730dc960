"""Two small worlds for reinforcement learning from pixels, drawn and moved for many copies at a time.

A world is a family of tasks that share states, actions, transitions and rewards, and differ in how a state looks. The
``looks`` (N, 2) of a copy are whole numbers that stay for an episode; its ``state`` (N, D) are whole numbers that move.
Random numbers are taken in the same amount whatever happens, and looks and states have generators of their own: equal
generators and equal actions give equal states in domains that share their kinds of object, whatever the looks.
"""

from __future__ import annotations

import colorsys
import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from workings.checks import as_array, as_int, as_numpy_generator, one_of
from workings.disentangling.domains import DomainSpec

Colour = tuple[float, float, float]
_ARM = np.float32(0.95)  # of each colour, in a picture of the arm


def hue_palette(n: int, highest: float = 0.66) -> tuple[Colour, ...]:
    """``n`` colours (red, green, blue) in [0, 1] of equal saturation 0.8 and value 0.9, hues evenly from 0 to ``highest``."""
    n = as_int(n, "n", minimum=1)
    if not 0 <= highest <= 1:
        raise ValueError(f"highest must be a hue in [0, 1], got {highest!r}.")
    return tuple(colorsys.hsv_to_rgb(float(hue), 0.8, 0.9) for hue in np.linspace(0.0, highest, n))


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of object: its ``colour`` and what it is worth, above 0 to seek, below 0 to avoid."""

    colour: Colour
    value: float


@dataclasses.dataclass(frozen=True)
class SeekAvoidWorld:
    """A room with a wall, a floor and one object to the left or right of the viewer, who steps left, waits or steps right.

    ``state`` (N, 2): the kind of the object, and how many steps to the right of the viewer it stands (negative: left).
    Under ``rule`` "approach" a step pays ``value`` times the steps by which it came nearer; under "reach" it pays
    ``value`` when the object is reached. An object that is reached or falls out of view is followed by another, of a
    kind that the domain holds beside the present wall and floor. An episode is ``horizon`` steps. A step moves the
    picture by ``stride`` pixels; the object is a square of ``object_size`` pixels, centred on the edge between wall and
    floor. Domains name the factors wall, floor and kind. After the levels `rooms_collect_good_objects` of DeepMind Lab.
    """

    walls: tuple[Colour, ...]
    floors: tuple[Colour, ...]
    kinds: tuple[Kind, ...]
    size: int = 8
    object_size: int = 4
    stride: int = 1
    horizon: int = 1
    rule: str = "approach"
    names = ("wall", "floor", "kind")
    actions = ("left", "stay", "right")

    def __post_init__(self) -> None:
        for name in ("size", "object_size", "stride", "horizon"):
            as_int(getattr(self, name), name, minimum=1)
        one_of(self.rule, "rule", ("approach", "reach"))
        if self.object_size > min(self.size - 2 * self.stride, 2 * (self.size - self.edge)):
            raise ValueError(
                f"size must leave a step of {self.stride} pixels on either side of an object of {self.object_size}, and half "
                f"of it above the floor's lower end; got {self.size}."
            )
        if not (self.walls and self.floors and self.kinds):
            raise ValueError("a world needs at least one wall, one floor and one kind of object.")

    @classmethod
    def hues(cls, n: int = 8, **sizes: int | str) -> SeekAvoidWorld:
        """Walls and floors of ``n`` hues; black objects worth -1/2, white ones worth 1."""
        kinds = (Kind((0.0, 0.0, 0.0), -0.5), Kind((1.0, 1.0, 1.0), 1.0))
        return cls(hue_palette(n), hue_palette(n), kinds, **sizes)

    @classmethod
    def two_rooms(cls, **sizes: int | str) -> SeekAvoidWorld:
        """Rooms A (0: green walls, orange floor) and B (1: red, blue); hat, can, cake and balloon worth -1, 1, -1, 1.

        Colours of the objects as in the public level of DeepMind Lab.
        """
        colours = ((58, 31, 255), (241, 255, 30), (36, 255, 174), (255, 12, 154))
        kinds = tuple(
            Kind(tuple(c / 255 for c in colour), value)
            for colour, value in zip(colours, (-1.0, 1.0, -1.0, 1.0), strict=True)
        )
        return cls(((0.1, 0.6, 0.2), (0.8, 0.1, 0.1)), ((0.9, 0.5, 0.1), (0.1, 0.2, 0.7)), kinds, **sizes)

    @property
    def edge(self) -> int:
        """The row of pixels at which the floor begins: two thirds of the way down."""
        return 2 * self.size // 3

    @property
    def reach(self) -> int:
        """The largest number of steps at which an object is wholly in view."""
        return (self.size - self.object_size) // 2 // self.stride

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """Where an object can appear: (2 reach,) steps to the right, all but 0."""
        return np.array([o for o in range(-self.reach, self.reach + 1) if o])

    @functools.cached_property
    def _colours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kinds = [kind.colour for kind in self.kinds]
        return tuple(np.array(table, dtype=np.float32) for table in (self.walls, self.floors, kinds))

    @functools.cached_property
    def _bytes(self) -> tuple[np.ndarray, ...]:
        return tuple(_as_bytes(table) for table in self._colours)

    @functools.cached_property
    def _worth(self) -> np.ndarray:
        return np.array([kind.value for kind in self.kinds], dtype=float)

    def check(self, domain: DomainSpec) -> DomainSpec:
        """``domain`` if it is one of this world, else ``ValueError``."""
        if not isinstance(domain, DomainSpec):
            raise TypeError(f"domain must be a DomainSpec, got {type(domain).__name__}.")
        if domain.names != self.names:
            raise ValueError(f"domain must name the factors {self.names}, got {domain.names}.")
        limits = (len(self.walls), len(self.floors), len(self.kinds))
        for name, limit, column in zip(self.names, limits, domain.indices().T, strict=True):
            if column.min() < 0 or column.max() >= limit:
                raise ValueError(
                    f"{name} must be from 0 to {limit - 1} in this world, got {column.min()} to {column.max()}."
                )
        return domain

    def draw_looks(self, domain: DomainSpec, n: int, generator: np.random.Generator) -> np.ndarray:
        """Walls and floors (n, 2) of ``n`` episodes."""
        return self.check(domain).draw(n, generator)[:, :2]

    def start(self, domain: DomainSpec, looks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """States (N, 2) at the beginning of an episode, for ``looks`` (N, 2)."""
        return self._fresh(domain, looks, as_numpy_generator(generator).random((2, len(looks))))

    def _fresh(self, domain: DomainSpec, looks: np.ndarray, u: np.ndarray) -> np.ndarray:
        """States (N, 2) of new objects for ``looks`` (N, 2), by numbers ``u`` (2, N) from [0, 1)."""
        kinds, counts = _listed_kinds(self, domain)
        wall, floor = np.asarray(looks).T
        count = counts[wall, floor]
        if not count.all():
            raise ValueError("looks hold a wall and a floor that the domain does not have together.")
        which = np.minimum((u[0] * count).astype(int), count - 1)
        state = np.empty((len(count), 2), dtype=int)
        state[:, 0] = kinds[wall, floor, which]
        state[:, 1] = self.offsets[(u[1] * len(self.offsets)).astype(int)]
        return state

    def step(
        self, domain: DomainSpec, looks: np.ndarray, state: np.ndarray, actions: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """States (N, 2) and rewards (N,) after ``actions`` (N,) of 0, 1, 2 in ``state`` (N, 2)."""
        actions = _check_actions(actions, len(self.actions), len(state))
        after, reward, renewed = self._move(state[:, 0], state[:, 1], actions)
        new = self.start(domain, looks, generator)
        stays = ~renewed
        np.copyto(new[:, 0], state[:, 0], where=stays)
        np.copyto(new[:, 1], after, where=stays)
        return new, reward

    def step_one(
        self, domain: DomainSpec, look: np.ndarray, state: np.ndarray, action: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """:meth:`step` of one copy, ``look`` (2,) and ``state`` (2,): the same numbers, without the arrays.

        ``look`` must be of the domain and ``action`` one that there is: neither is checked.
        """
        after, reward, renewed = self._move(state[0], state[1], action)
        u = generator.random((2, 1))
        new = self._fresh(domain, look[None], u)[0] if renewed else np.array([state[0], after])
        return new, float(reward)

    def render(self, looks: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Pictures (N, 3, size, size), float32 in [0, 1]."""
        walls, floors, kinds = self._colours
        wall, floor = np.asarray(looks).T
        kind, offset = np.asarray(state).T
        edge, k = self.edge, self.object_size
        pictures = np.empty((len(wall), 3, self.size, self.size), dtype=np.float32)
        pictures[:, :, :edge] = walls[wall][:, :, None, None]
        pictures[:, :, edge:] = floors[floor][:, :, None, None]
        left = (self.size - k) // 2 + self.stride * offset
        columns = np.arange(self.size) - left[:, None]
        inside = (columns >= 0) & (columns < k)  # (N, width)
        band = pictures[:, :, edge - k // 2 : edge - k // 2 + k]
        np.copyto(band, kinds[kind][:, :, None, None], where=inside[:, None, None, :])
        return pictures

    def frame(self, look: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The picture of one copy, ``look`` (2,) and ``state`` (2,), as bytes (size, size, 3): :meth:`render`, rounded."""
        walls, floors, kinds = self._bytes
        edge, k = self.edge, self.object_size
        picture = np.empty((self.size, self.size, 3), dtype=np.uint8)
        picture[:edge] = walls[look[0]]
        picture[edge:] = floors[look[1]]
        left = (self.size - k) // 2 + self.stride * int(state[1])
        top = edge - k // 2
        picture[top : top + k, max(left, 0) : max(left + k, 0)] = kinds[state[0]]
        return picture

    # --- every scene at once, for exact values -------------------------------------------------------------------

    def scenes(self) -> tuple[np.ndarray, np.ndarray]:
        """Every look (N, 2) and state (N, 2) of this world, in the order of :meth:`index`."""
        shape = (len(self.walls), len(self.floors), len(self.kinds), len(self.offsets))
        wall, floor, kind, place = (a.ravel() for a in np.indices(shape))
        return np.stack([wall, floor], axis=1), np.stack([kind, self.offsets[place]], axis=1)

    def index(self, looks: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The place (N,) of each scene in :meth:`scenes`."""
        shape = (len(self.walls), len(self.floors), len(self.kinds), len(self.offsets))
        offset = state[..., 1]
        place = offset + self.reach - (offset > 0)
        return np.ravel_multi_index((looks[..., 0], looks[..., 1], state[..., 0], place), shape)

    def expected_return(self, domain: DomainSpec, policy: np.ndarray) -> float:
        """The exact mean return of an episode in ``domain`` under ``policy`` (scenes, 3), probabilities of the actions.

        The policy looks at the scene, not at the time. By backward induction over the steps of an episode.
        """
        policy = as_array(policy, "policy", ndim=2)
        _, state = self.scenes()
        if policy.shape != (len(state), 3) or (policy < 0).any() or np.abs(policy.sum(axis=1) - 1).max() > 1e-6:
            raise ValueError(
                f"policy must be ({len(state)}, 3), probabilities that add up to 1 in each row, got {policy.shape}."
            )
        return self._induction(domain, lambda gain: (policy * gain).sum(axis=1))

    def optimal_return(self, domain: DomainSpec) -> float:
        """The largest mean return of an episode that any policy reaches in ``domain``, the time known to it."""
        return self._induction(domain, lambda gain: gain.max(axis=1))

    def random_return(self, domain: DomainSpec) -> float:
        """The exact mean return of an episode in ``domain`` when every action is equally likely."""
        return self._induction(domain, lambda gain: gain.mean(axis=1))

    def rewards(self) -> np.ndarray:
        """The reward (scenes, 3) of each action in each scene."""
        _, state = self.scenes()
        return np.stack([self._move(state[:, 0], state[:, 1], np.full(len(state), a))[1] for a in range(3)], axis=1)

    def _induction(self, domain: DomainSpec, choose: Callable[[np.ndarray], np.ndarray]) -> float:
        looks, state = self.scenes()
        allowed = self._allowed(domain)[tuple(looks.T)]  # (scenes, kinds)
        here = allowed[np.arange(len(state)), state[:, 0]]  # scenes that the domain can show
        moves = [self._move(state[:, 0], state[:, 1], np.full(len(state), a)) for a in range(3)]
        following = [
            np.where(renewed, 0, self.index(looks, np.stack([state[:, 0], np.where(renewed, 1, after)], axis=1)))
            for after, _, renewed in moves
        ]
        look = looks[:, 0] * len(self.floors) + looks[:, 1]
        count = np.bincount(look, here, minlength=len(self.walls) * len(self.floors))
        mean = lambda value: (np.bincount(look, value * here, minlength=len(count)) / np.maximum(count, 1))[look]
        value = np.zeros(len(state))
        for _ in range(self.horizon):
            anew = mean(value)
            gain = [
                reward + np.where(renewed, anew, value[after])
                for (_, reward, renewed), after in zip(moves, following, strict=True)
            ]
            value = choose(np.stack(gain, axis=1))
        rows = domain.indices()
        by_look = mean(value).reshape(len(self.walls), len(self.floors), -1)[:, :, 0]
        return float(by_look[rows[:, 0], rows[:, 1]].mean())

    def _move(
        self, kind: np.ndarray, offset: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the object stands after each action, the reward, and whether another object follows; each (N,)."""
        after = offset - (actions - 1)
        value = self._worth[kind]
        reward = value * (np.abs(offset) - np.abs(after)) if self.rule == "approach" else value * (after == 0)
        return after, reward, (after == 0) | (np.abs(after) > self.reach)

    def _allowed(self, domain: DomainSpec) -> np.ndarray:
        """(walls, floors, kinds) bool: which kinds the domain holds beside each wall and floor."""
        return _allowed_kinds(self, domain)


@dataclasses.dataclass(frozen=True)
class ReachWorld:
    """A table seen from above with a two-joint arm and a round target; the tip of the arm should get to the target.

    ``state`` (N, 4): both joint angles, and the target's angle and ring, in steps. Actions: wait, or turn one of the
    joints by a step of a ``1 / angles`` turn. A step pays 1 while the tip is within ``radius`` of the target, in units of
    half the table's side. Domains name the factors table and target: hues of 8.
    """

    size: int = 24
    angles: int = 16
    radius: float = 0.25
    horizon: int = 30
    names = ("table", "target")
    actions = ("wait", "shoulder +", "shoulder -", "elbow +", "elbow -")
    link = 0.42
    _turns = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))  # of shoulder and elbow, for each action

    def __post_init__(self) -> None:
        for name in ("size", "angles", "horizon"):
            as_int(getattr(self, name), name, minimum=1)
        if not 0 < self.radius < 1:
            raise ValueError(f"radius must be between 0 and 1, got {self.radius!r}.")

    def check(self, domain: DomainSpec) -> DomainSpec:
        """``domain`` if it is one of this world, else ``ValueError``."""
        if not isinstance(domain, DomainSpec):
            raise TypeError(f"domain must be a DomainSpec, got {type(domain).__name__}.")
        values = domain.indices() if domain.names == self.names else None
        if values is None or values.min() < 0 or values.max() > 7:
            raise ValueError(f"domain must name the factors {self.names} with hues from 0 to 7, got {domain.names}.")
        return domain

    def draw_looks(self, domain: DomainSpec, n: int, generator: np.random.Generator) -> np.ndarray:
        """Hues (n, 2) of the table and of the target, of ``n`` episodes."""
        return self.check(domain).draw(n, generator)

    def start(self, domain: DomainSpec, looks: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """States (N, 4) at the beginning of an episode, for ``looks`` (N, 2)."""
        self.check(domain)
        high = np.array([self.angles, self.angles, self.angles, 3])
        return as_numpy_generator(generator).integers(0, high, (len(looks), 4))

    def step(
        self, domain: DomainSpec, looks: np.ndarray, state: np.ndarray, actions: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """States (N, 4) and rewards (N,) after ``actions`` (N,) from 0 to 4. Draws nothing."""
        self.check(domain)
        as_numpy_generator(generator)
        turn = np.array(self._turns)[_check_actions(actions, len(self.actions), len(state))]
        state = np.concatenate([(state[:, :2] + turn) % self.angles, state[:, 2:]], axis=1)
        _, tip, target = self._places(state)
        return state, self._near(tip, target).astype(float)

    def step_one(
        self, domain: DomainSpec, look: np.ndarray, state: np.ndarray, action: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, float]:
        """:meth:`step` of one copy, ``look`` (2,) and ``state`` (4,): the same numbers, without the arrays.

        ``look`` must be of the domain and ``action`` one that there is: neither is checked.
        """
        shoulder, elbow, aim, ring = state.tolist()
        turn = self._turns[action]
        shoulder, elbow = (shoulder + turn[0]) % self.angles, (elbow + turn[1]) % self.angles
        tip, target = _drawn_arm(self, shoulder, elbow)[0], _drawn_target(self, aim, ring)[0]
        return np.array([shoulder, elbow, aim, ring]), float(self._near(tip, target)[0])

    def render(self, looks: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Pictures (N, 3, size, size), float32 in [0, 1]."""
        tables, targets = self._colours
        table, colour = tables[np.asarray(looks)[:, 0]], targets[np.asarray(looks)[:, 1]]
        elbow, tip, target = self._places(np.asarray(state))
        disk, arm = self._on_target(target), self._on_arm(elbow, tip)
        flat = np.repeat(table[:, :, None], len(self._pixels), axis=2)
        np.copyto(flat, colour[:, :, None], where=disk[:, None])
        np.copyto(flat, _ARM, where=arm[:, None])
        return flat.reshape(len(flat), 3, self.size, self.size)

    def frame(self, look: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The picture of one copy, ``look`` (2,) and ``state`` (4,), as bytes (size, size, 3): :meth:`render`, rounded."""
        tables, targets = self._bytes
        shoulder, elbow, aim, ring = state.tolist()
        colours = np.stack([tables[look[0]], targets[look[1]], np.full(3, _as_bytes(_ARM))])
        drawn = np.maximum(_drawn_target(self, aim, ring)[1], _drawn_arm(self, shoulder, elbow)[1])
        return colours[drawn].reshape(self.size, self.size, 3)

    @functools.cached_property
    def _colours(self) -> tuple[np.ndarray, np.ndarray]:
        """The colours (8, 3) of tables and of targets."""
        palette = np.array(hue_palette(8), dtype=np.float32)
        return palette * 0.6, palette

    @functools.cached_property
    def _bytes(self) -> tuple[np.ndarray, ...]:
        return tuple(_as_bytes(table) for table in self._colours)

    @functools.cached_property
    def _pixels(self) -> np.ndarray:
        """The middles (pixels, 2) of all pixels, x and y."""
        axis = (np.arange(self.size) + 0.5) / self.size * 2 - 1
        return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    def _near(self, tip: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Whether (N,) each tip (N, 2) pays."""
        return np.linalg.norm(tip - target, axis=1) <= self.radius

    def _on_target(self, target: np.ndarray) -> np.ndarray:
        """Which pixels (N, pixels) show the target (N, 2)."""
        return np.linalg.norm(self._pixels - target[:, None], axis=2) < 0.17

    def _on_arm(self, elbow: np.ndarray, tip: np.ndarray) -> np.ndarray:
        """Which pixels (N, pixels) show the arm."""
        near = 2.2 / self.size
        arm = _segment_distance(self._pixels, np.zeros_like(elbow), elbow) < near
        return arm | (_segment_distance(self._pixels, elbow, tip) < near)

    def _places(self, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Elbow, tip and target (N, 2) each, the table being the square from -1 to 1."""
        first = 2 * np.pi * state[:, 0] / self.angles
        second = first + 2 * np.pi * state[:, 1] / self.angles
        aim, ring = 2 * np.pi * state[:, 2] / self.angles, np.array([0.45, 0.6, 0.75])[state[:, 3]]
        arrow = lambda angle: np.stack([np.cos(angle), np.sin(angle)], axis=1)
        elbow = self.link * arrow(first)
        return elbow, elbow + self.link * arrow(second), ring[:, None] * arrow(aim)


@functools.lru_cache(maxsize=64)
def _allowed_kinds(world: SeekAvoidWorld, domain: DomainSpec) -> np.ndarray:
    """What :meth:`SeekAvoidWorld._allowed` gives, found once."""
    allowed = np.zeros((len(world.walls), len(world.floors), len(world.kinds)), dtype=bool)
    allowed[tuple(world.check(domain).indices().T)] = True
    allowed.flags.writeable = False
    return allowed


@functools.lru_cache(maxsize=64)
def _listed_kinds(world: SeekAvoidWorld, domain: DomainSpec) -> tuple[np.ndarray, np.ndarray]:
    """Beside each wall and floor the kinds that ``domain`` holds, first and in order, and their number: (walls, floors[, kinds])."""
    allowed = _allowed_kinds(world, domain)
    return np.argsort(~allowed, axis=2, kind="stable"), allowed.sum(axis=2)


@functools.lru_cache(maxsize=1024)
def _drawn_arm(world: ReachWorld, shoulder: int, elbow: int) -> tuple[np.ndarray, np.ndarray]:
    """The tip (1, 2) of an arm at these angles, and 2 in each of the pixels (pixels,) that show it, else 0; found once."""
    joint, tip, _ = world._places(np.array([[shoulder, elbow, 0, 0]]))
    return tip, np.where(world._on_arm(joint, tip)[0], 2, 0)


@functools.lru_cache(maxsize=1024)
def _drawn_target(world: ReachWorld, aim: int, ring: int) -> tuple[np.ndarray, np.ndarray]:
    """The place (1, 2) of a target, and 1 in each of the pixels (pixels,) that show it, else 0; found once."""
    _, _, target = world._places(np.array([[0, 0, aim, ring]]))
    return target, np.where(world._on_target(target)[0], 1, 0)


def _as_bytes(colours: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] as whole numbers from 0 to 255."""
    return np.round(255 * colours).astype(np.uint8)


def _segment_distance(pixel: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance (N, P) of pixels (P, 2) from the segments between ``start`` and ``end`` (N, 2)."""
    along = end - start
    share = np.einsum("npk,nk->np", pixel[None] - start[:, None], along) / np.maximum((along**2).sum(1), 1e-12)[:, None]
    foot = start[:, None] + np.clip(share, 0, 1)[..., None] * along[:, None]
    return np.linalg.norm(pixel - foot, axis=2)


def _check_actions(actions: np.ndarray, n_actions: int, copies: int) -> np.ndarray:
    actions = np.asarray(actions)
    if actions.dtype.kind not in "iu":
        raise TypeError(f"actions must be whole numbers, got {actions.dtype}.")
    if actions.shape != (copies,):
        raise ValueError(f"actions must be ({copies},), one per copy of the world, got {actions.shape}.")
    if len(actions) and (actions.min() < 0 or actions.max() >= n_actions):
        raise ValueError(f"actions must be from 0 to {n_actions - 1}, got {actions.min()} to {actions.max()}.")
    return actions.astype(int)
