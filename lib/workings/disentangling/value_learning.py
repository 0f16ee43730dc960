"""Learning to act on a given representation: targets, losses, and small agents trained side by side.

The agents see a world through a table of features with one row for each of its scenes, so nothing is rendered or encoded
twice; several of them (other seeds, other representations) share every step, as in :mod:`workings.disentangling.ensembles`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from workings.checks import as_finite_array, as_float, as_int, check_tensor
from workings.disentangling.domains import DomainSpec
from workings.disentangling.ensembles import LinearEnsemble, flat_then_linear
from workings.disentangling.networks import initialise
from workings.disentangling.worlds import SeekAvoidWorld
from workings.runs.progress import progress
from workings.seeding import numpy_generator, torch_generator
from workings.training import ShuffledBatches

# --- targets and losses -----------------------------------------------------------------------------------------------


def q_target(reward: torch.Tensor, done: torch.Tensor, q_next: torch.Tensor, gamma: float) -> torch.Tensor:
    """``r + gamma max_a Q(s', a)``, and ``r`` alone where ``done``: (...) from ``q_next`` (..., A). No gradient.

    ``reward`` (...) of floats, ``done`` (...) bool, true where the episode *ended* (a limit of time is no end). ``gamma``
    in [0, 1]; with 0 the target is the reward. Mnih et al., Nature 518, 2015.
    """
    return _target(reward, done, _values(q_next, reward, "q_next").amax(dim=-1), gamma)


def double_q_target(
    reward: torch.Tensor, done: torch.Tensor, q_next: torch.Tensor, q_next_frozen: torch.Tensor, gamma: float
) -> torch.Tensor:
    """As :func:`q_target`, but ``q_next`` (..., A) chooses the action and ``q_next_frozen`` (..., A) values it.

    With ``q_next_frozen = q_next`` it is :func:`q_target`; it is never above the target of ``q_next_frozen``. Van Hasselt
    et al., arXiv 1509.06461.
    """
    chosen = _values(q_next, reward, "q_next").argmax(dim=-1, keepdim=True)
    frozen = _values(q_next_frozen, reward, "q_next_frozen")
    if frozen.shape != q_next.shape:
        raise ValueError(f"q_next and q_next_frozen must have one shape, got {(*q_next.shape,)}, {(*frozen.shape,)}.")
    return _target(reward, done, frozen.gather(-1, chosen).squeeze(-1), gamma)


def _values(q: torch.Tensor, reward: torch.Tensor, name: str) -> torch.Tensor:
    check_tensor(q, name)
    check_tensor(reward, "reward")
    if q.shape[:-1] != reward.shape or q.dim() < 1 or q.shape[-1] == 0:
        raise ValueError(f"{name} must be (..., A) for rewards (...), got {tuple(q.shape)} and {tuple(reward.shape)}.")
    return q.detach()


def _target(reward: torch.Tensor, done: torch.Tensor, value: torch.Tensor, gamma: float) -> torch.Tensor:
    gamma = as_float(gamma, "gamma", minimum=0.0, maximum=1.0)
    if check_tensor(done, "done", floating=False).dtype != torch.bool or done.shape != reward.shape:
        raise ValueError(f"done must be {tuple(reward.shape)} bool, got {tuple(done.shape)} {done.dtype}.")
    return reward.detach() + gamma * value.masked_fill(done, 0.0)


def discounted_returns(reward: torch.Tensor, done: torch.Tensor, bootstrap: torch.Tensor, gamma: float) -> torch.Tensor:
    """``R_t = r_t + gamma R_(t+1)``, with ``R_T`` the ``bootstrap`` value: (T, ...) from ``reward`` and ``done`` (T, ...).

    ``bootstrap`` (...) is the value of the state after the last step; ``done`` cuts the sum. Sutton and Barto, chapter 3.
    """
    check_tensor(reward, "reward")
    check_tensor(bootstrap, "bootstrap")
    if reward.dim() < 1 or len(reward) == 0 or bootstrap.shape != reward.shape[1:]:
        raise ValueError(
            f"reward must be (T, ...) with T at least 1 and bootstrap (...), got {tuple(reward.shape)} and "
            f"{tuple(bootstrap.shape)}."
        )
    if check_tensor(done, "done", floating=False).shape != reward.shape:
        raise ValueError(f"done must be {tuple(reward.shape)} bool, got {tuple(done.shape)} {done.dtype}.")
    found, value = [], bootstrap.detach()
    for step in reversed(range(len(reward))):
        value = _target(reward[step], done[step], value, gamma)
        found.append(value)
    return torch.stack(found[::-1])


def a2c_loss(
    logits: torch.Tensor,
    values: torch.Tensor,
    actions: torch.Tensor,
    returns: torch.Tensor,
    *,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
) -> torch.Tensor:
    """``mean(-(R - V) log pi(a) + v (R - V)^2 - h H(pi))`` over the last axis, to be minimised.

    ``logits`` (..., N, A), ``values``, ``actions`` (whole numbers below A) and ``returns`` (..., N) give (...). The advantage
    ``R - V`` carries no gradient in the first term. Mnih et al., arXiv 1602.01783, without its threads.
    """
    check_tensor(logits, "logits")
    check_tensor(values, "values")
    check_tensor(returns, "returns")
    check_tensor(actions, "actions", floating=False)
    shape = logits.shape[:-1]
    if logits.dim() < 2 or 0 in logits.shape or not values.shape == actions.shape == returns.shape == shape:
        raise ValueError(
            f"logits must be (..., N, A) and values, actions and returns (..., N), got {tuple(logits.shape)}, "
            f"{tuple(values.shape)}, {tuple(actions.shape)} and {tuple(returns.shape)}."
        )
    _check_actions(actions, logits.shape[-1])
    value_weight = as_float(value_weight, "value_weight", minimum=0.0)
    entropy_weight = as_float(entropy_weight, "entropy_weight", minimum=0.0)
    log_pi = logits.log_softmax(dim=-1)
    taken = log_pi.gather(-1, actions.long()[..., None]).squeeze(-1)
    advantage = returns.detach() - values
    entropy = -(log_pi.exp() * log_pi).sum(dim=-1)
    each = -advantage.detach() * taken + value_weight * advantage.square() - entropy_weight * entropy
    return each.mean(dim=-1)


def _check_actions(actions: torch.Tensor, n_actions: int) -> None:
    if actions.is_floating_point() or actions.dtype == torch.bool:
        raise TypeError(f"actions must be whole numbers, got {actions.dtype}.")
    if actions.numel() and not (int(actions.min()) >= 0 and int(actions.max()) < n_actions):
        raise ValueError(
            f"actions must be from 0 to {n_actions - 1}, got {int(actions.min())} to {int(actions.max())}."
        )


# --- episodic control -------------------------------------------------------------------------------------------------


class EpisodicControl:
    """A table of the largest return that followed each action in each state; other states take the mean of neighbours.

    States are vectors of one length. Per action at most ``capacity`` of them are kept, and the one updated longest ago
    gives way. The value of a stored state is its largest return, of another state the mean over the ``k`` nearest
    stored ones (over all, if there are fewer), of an action never tried 0. Blundell et al., arXiv 1606.04460.
    """

    def __init__(self, n_actions: int, k: int = 11, capacity: int = 10_000):
        self.n_actions = as_int(n_actions, "n_actions", minimum=1)
        self.k, self.capacity = as_int(k, "k", minimum=1), as_int(capacity, "capacity", minimum=1)
        self._tables: list[dict[bytes, tuple[np.ndarray, float]]] = [{} for _ in range(self.n_actions)]
        self._width: int | None = None

    def __len__(self) -> int:
        """Stored pairs of state and action."""
        return sum(len(table) for table in self._tables)

    def update(self, state: np.ndarray, action: int, value: float) -> None:
        """Note that the return ``value`` followed ``action`` in ``state`` (D,)."""
        state = self._rows(as_finite_array(state, "state", ndim=1)[None])[0]
        table = self._tables[as_int(action, "action", minimum=0, maximum=self.n_actions - 1)]
        value, key = as_float(value, "value"), state.tobytes()
        if key in table:
            value = max(value, table.pop(key)[1])
        elif len(table) == self.capacity:
            del table[next(iter(table))]  # a dictionary keeps the order of insertion
        table[key] = (state, value)
        self._width = len(state)

    def values(self, states: np.ndarray) -> np.ndarray:
        """The values (N, n_actions) of every action in ``states`` (N, D)."""
        states = self._rows(as_finite_array(states, "states", ndim=2))
        found = np.zeros((len(states), self.n_actions))
        for action, table in enumerate(self._tables):
            if not table:
                continue
            places, returns = (np.array(column) for column in zip(*table.values(), strict=True))
            distance = ((states[:, None] - places[None]) ** 2).sum(axis=2)
            k = min(self.k, len(returns))
            nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
            found[:, action] = returns[nearest].mean(axis=1)
            for row, state in enumerate(states):
                if (key := state.tobytes()) in table:
                    found[row, action] = table[key][1]
        return found

    def _rows(self, states: np.ndarray) -> np.ndarray:
        if self._width is not None and states.shape[1] != self._width:
            raise ValueError(f"states must have {self._width} entries, as those stored, got {states.shape[1]}.")
        return np.ascontiguousarray(states) + 0.0  # -0 and 0 are one state


# --- agents side by side ----------------------------------------------------------------------------------------------


class AgentStack:
    """S small ReLU networks from features to one number per action (and more ``outputs``), with weights of their seeds."""

    def __init__(self, seeds: Sequence[int], inputs: int, hidden: Sequence[int], outputs: int):
        if not seeds:
            raise ValueError("seeds is empty; give one seed per agent.")
        widths = [as_int(w, "a layer's width", minimum=1) for w in (inputs, *hidden, outputs)]
        with torch.device("meta"):
            empty = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.networks = [
            initialise(copy.deepcopy(empty).to_empty(device="cpu"), torch_generator(seed, "agent", "weights"))
            for seed in seeds
        ]
        self.seeds, self.inputs = tuple(seeds), widths[0]
        self.layers = LinearEnsemble(self.networks)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs (S, B, outputs) for features (S, B, inputs), or (B, inputs) that all agents share."""
        if features.dim() == 2:
            features = features.expand(len(self.seeds), *features.shape)
        if features.dim() != 3 or features.shape[0] != len(self.seeds) or features.shape[2] != self.inputs:
            raise ValueError(
                f"features must be ({len(self.seeds)}, B, {self.inputs}) for these agents, got {tuple(features.shape)}; "
                "an agent works with the encoder that it was trained on."
            )
        return self.layers(features.to(self.layers.weights[0].dtype))

    @torch.no_grad()
    def greedy(self, features: torch.Tensor, n_actions: int = 3) -> torch.Tensor:
        """The action (S, B) with the largest of the first ``n_actions`` outputs."""
        return self(features)[..., :n_actions].argmax(dim=-1)


def fit_q(
    features: torch.Tensor,
    actions: torch.Tensor,
    rewards: torch.Tensor,
    steps: int,
    *,
    seeds: Sequence[int],
    n_actions: int = 3,
    hidden: Sequence[int] = (32, 32),
    batch: int = 64,
    learning_rate: float = 3e-3,
    input_penalty: float = 0.0,
) -> AgentStack:
    """Fitted Q-learning of decisions that end an episode: agents that predict the reward of the action taken.

    ``features`` (S, N, D), or (N, D) for all agents, ``actions`` (S, N) whole numbers and ``rewards`` (S, N): the
    experience of S agents with ``seeds``. Minimises the mean squared error of ``Q(s, a)`` to :func:`q_target`, which is the
    reward because nothing follows, by Adam at ``learning_rate`` times
    :func:`~workings.disentangling.ensembles.flat_then_linear`. ``input_penalty`` times the sum over the D inputs of the
    length of the weights that leave it is added (a group lasso): inputs that say nothing about the reward are switched off.
    """
    check_tensor(features, "features")
    check_tensor(rewards, "rewards")
    _check_actions(check_tensor(actions, "actions", floating=False), as_int(n_actions, "n_actions", minimum=1))
    wide = features if features.dim() == 3 else features[None]
    if wide.dim() != 3 or actions.shape != rewards.shape or actions.shape != (len(seeds), wide.shape[1]):
        raise ValueError(
            f"features must be (S, N, D) or (N, D), actions and rewards (S, N), for {len(seeds)} seeds; got "
            f"{tuple(features.shape)}, {tuple(actions.shape)} and {tuple(rewards.shape)}."
        )
    if len(wide) not in (1, len(seeds)) or 0 in wide.shape:
        raise ValueError(f"features must have a slice for each of {len(seeds)} seeds, got {tuple(features.shape)}.")
    steps, input_penalty = as_int(steps, "steps", minimum=1), as_float(input_penalty, "input_penalty", minimum=0.0)
    agents = AgentStack(seeds, wide.shape[2], hidden, n_actions)
    wide, rewards = wide.float().expand(len(seeds), -1, -1), rewards.float()
    orders = [ShuffledBatches(wide.shape[1], min(batch, wide.shape[1]), seed, "agent") for seed in seeds]
    done = torch.ones(len(seeds), orders[0].batch, dtype=torch.bool)
    row = torch.arange(len(seeds))[:, None]
    optimiser = torch.optim.Adam(agents.layers.parameters, lr=learning_rate, fused=True)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * flat_then_linear(step / steps)
        chosen = torch.stack([order(step) for order in orders])  # (S, B)
        q = agents(wide[row, chosen])
        target = q_target(rewards[row, chosen], done, q, 0.0)
        taken = q.gather(-1, actions[row, chosen].long()[..., None]).squeeze(-1)
        optimiser.zero_grad()
        loss = (taken - target).square().mean(dim=1).sum()  # each agent follows its own gradient
        if input_penalty > 0:
            loss = loss + input_penalty * agents.layers.weights[0].square().sum(dim=2).add(1e-12).sqrt().sum()
        loss.backward()
        optimiser.step()
    agents.layers.write_back()
    return agents


def train_dqn(
    world: SeekAvoidWorld,
    domain: DomainSpec,
    table: torch.Tensor,
    steps: int,
    *,
    seeds: Sequence[int],
    gamma: float = 0.9,
    copies: int = 4,
    hidden: Sequence[int] = (64, 64),
    batch: int = 64,
    capacity: int = 20_000,
    learning_rate: float = 1e-3,
    target_every: int = 200,
    double: bool = True,
) -> AgentStack:
    """DQN agents, one per seed, trained in ``domain`` of ``world``; with ``double`` the targets are :func:`double_q_target`.

    ``table`` (S, scenes, D), or (scenes, D) for all agents: the features of every scene, in the order of
    ``world.scenes()``. At every one of ``steps`` each agent moves ``copies`` copies of the world, stores what happened and
    takes one batch from its memory of the last ``capacity`` moves. The share of random actions falls from 1 to 0.1 over the
    first half. The frozen network is renewed every ``target_every`` steps. An episode's end is a limit of time, so targets
    look beyond it. Mnih et al., Nature 518, 2015.
    """
    table = _check_table(world, table, len(seeds))
    steps, capacity = (
        as_int(steps, "steps", minimum=1),
        as_int(capacity, "capacity", minimum=as_int(copies, "copies", minimum=1)),
    )
    gamma = as_float(gamma, "gamma", minimum=0.0, maximum=1.0)
    agents = AgentStack(seeds, table.shape[2], hidden, len(world.actions))
    frozen = copy.deepcopy(agents.layers)
    scenes = _Copies(world, domain, seeds, copies)
    memory = torch.zeros(4, len(seeds), capacity, dtype=torch.float32)  # scene, action, reward, next scene
    optimiser = torch.optim.Adam(agents.layers.parameters, lr=learning_rate, fused=True)
    generators = [numpy_generator(seed, "agent", "choices") for seed in seeds]
    row, filled = torch.arange(len(seeds))[:, None], 0
    never = torch.zeros(len(seeds), batch, dtype=torch.bool)
    for step in progress(range(steps), "steps of DQN"):
        explore = max(0.1, 1.0 - 1.8 * step / steps)
        before = torch.from_numpy(scenes.index)
        greedy = agents.greedy(_look(table, row, before), len(world.actions)).numpy()
        u = np.stack([g.random((2, copies)) for g in generators])
        actions = np.where(u[:, 0] < explore, (u[:, 1] * len(world.actions)).astype(int), greedy)
        reward, after = scenes.step(actions)
        place = (filled + torch.arange(copies)) % capacity
        memory[:, :, place] = torch.stack(
            [before, torch.from_numpy(actions), torch.from_numpy(reward), torch.from_numpy(after)]
        ).float()
        filled += copies
        known = min(filled, capacity)
        chosen = torch.from_numpy(np.stack([g.integers(0, known, batch) for g in generators]))
        then, action, paid, now = (part[row, chosen] for part in memory)
        with torch.no_grad():
            seen = _look(table, row, now.long())
            q_frozen = frozen(seen)
            target = (
                double_q_target(paid, never, agents(seen), q_frozen, gamma)
                if double
                else q_target(paid, never, q_frozen, gamma)
            )
        q = agents(_look(table, row, then.long())).gather(-1, action.long()[..., None]).squeeze(-1)
        optimiser.zero_grad()
        (q - target).square().mean(dim=1).sum().backward()
        optimiser.step()
        if (step + 1) % target_every == 0:
            for old, new in zip(frozen.parameters, agents.layers.parameters, strict=True):
                old.data.copy_(new.data)
    agents.layers.write_back()
    return agents


def train_a2c(
    world: SeekAvoidWorld,
    domain: DomainSpec,
    table: torch.Tensor,
    steps: int,
    *,
    seeds: Sequence[int],
    gamma: float = 0.9,
    copies: int = 16,
    roll: int = 5,
    hidden: Sequence[int] = (64, 64),
    learning_rate: float = 2e-3,
    entropy_weight: float = 0.01,
) -> AgentStack:
    """Advantage actor-critic agents, one per seed, trained in ``domain`` of ``world``; ``table`` as in :func:`train_dqn`.

    Each of ``steps`` updates follows ``roll`` moves of ``copies`` copies of the world and minimises :func:`a2c_loss`. The
    outputs of an agent are the logits of its actions and, last, the value. The learning rate falls as
    :func:`~workings.disentangling.ensembles.flat_then_linear`. Mnih et al., arXiv 1602.01783.
    """
    table = _check_table(world, table, len(seeds))
    steps, roll = as_int(steps, "steps", minimum=1), as_int(roll, "roll", minimum=1)
    gamma, n_actions = as_float(gamma, "gamma", minimum=0.0, maximum=1.0), len(world.actions)
    agents = AgentStack(seeds, table.shape[2], hidden, n_actions + 1)
    scenes = _Copies(world, domain, seeds, as_int(copies, "copies", minimum=1))
    optimiser = torch.optim.Adam(agents.layers.parameters, lr=learning_rate, fused=True)
    generators = [numpy_generator(seed, "agent", "choices") for seed in seeds]
    row = torch.arange(len(seeds))[:, None]
    for step in progress(range(steps), "steps of A2C"):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * flat_then_linear(step / steps)
        seen, taken, paid = [], [], []
        for _ in range(roll):
            before = torch.from_numpy(scenes.index)
            with torch.no_grad():
                chance = agents(_look(table, row, before))[..., :n_actions].softmax(dim=-1).numpy()
            u = np.stack([g.random((copies, 1)) for g in generators])
            actions = np.minimum((u > np.cumsum(chance, axis=-1)).sum(axis=-1), n_actions - 1)
            reward, _ = scenes.step(actions)
            seen.append(before)
            taken.append(torch.from_numpy(actions))
            paid.append(torch.from_numpy(reward).float())
        with torch.no_grad():
            last = agents(_look(table, row, torch.from_numpy(scenes.index)))[..., n_actions]
        rewards = torch.stack(paid)
        returns = discounted_returns(rewards, torch.zeros_like(rewards, dtype=torch.bool), last, gamma)
        flat = lambda parts: torch.cat(list(parts), dim=1)  # (S, roll * copies)
        out = agents(_look(table, row, flat(seen)))
        loss = a2c_loss(
            out[..., :n_actions], out[..., n_actions], flat(taken), flat(returns), entropy_weight=entropy_weight
        )
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    agents.layers.write_back()
    return agents


class _Copies:
    """``copies`` copies of a world for each of S agents; an episode that is over is followed by another."""

    def __init__(self, world: SeekAvoidWorld, domain: DomainSpec, seeds: Sequence[int], copies: int):
        self.world, self.domain = world, domain
        self.size = (len(seeds), copies)
        self.looks_from, self.states_from = (
            [numpy_generator(seed, "agent", name) for seed in seeds] for name in ("looks", "states")
        )
        self.left = np.empty(self.size, dtype=int)
        self._begin(np.ones(self.size, dtype=bool))
        # Copies begin at different times of an episode, so that a batch holds all of them.
        self.left[:] = 1 + np.arange(copies) * world.horizon // copies

    def _begin(self, over: np.ndarray) -> None:
        fresh_looks = np.stack([self.world.draw_looks(self.domain, self.size[1], g) for g in self.looks_from])
        looks = fresh_looks if not hasattr(self, "looks") else np.where(over[..., None], fresh_looks, self.looks)
        fresh = np.stack(
            [self.world.start(self.domain, own, g) for own, g in zip(looks, self.states_from, strict=True)]
        )
        self.state = fresh if not hasattr(self, "looks") else np.where(over[..., None], fresh, self.state)
        self.looks = looks
        self.left = np.where(over, self.world.horizon, self.left)
        self.index = self.world.index(self.looks, self.state)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewards (S, copies), and the scenes (S, copies) that followed, before new episodes begin."""
        moved = [
            self.world.step(self.domain, looks, state, own, g)
            for looks, state, own, g in zip(self.looks, self.state, actions, self.states_from, strict=True)
        ]
        self.state = np.stack([state for state, _ in moved])
        after = self.index = self.world.index(self.looks, self.state)
        self.left -= 1
        if (self.left == 0).any():
            self._begin(self.left == 0)
        return np.stack([reward for _, reward in moved]), after


def _check_table(world: SeekAvoidWorld, table: torch.Tensor, n_agents: int) -> torch.Tensor:
    if not isinstance(world, SeekAvoidWorld):
        raise TypeError(f"world must be a SeekAvoidWorld, got {type(world).__name__}.")
    check_tensor(table, "table")
    n = len(world.scenes()[0])
    wide = table if table.dim() == 3 else table[None]
    if wide.dim() != 3 or wide.shape[1] != n or len(wide) not in (1, n_agents) or wide.shape[2] == 0:
        raise ValueError(
            f"table must be ({n_agents}, {n}, D) or ({n}, D), one row per scene of the world, got {tuple(table.shape)}."
        )
    return wide.detach().float()


def _look(table: torch.Tensor, row: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
    """Features (S, B, D) of scenes (S, B)."""
    return table[0][scene] if len(table) == 1 else table[row, scene]


def greedy_policies(agents: AgentStack, table: torch.Tensor, n_actions: int = 3) -> np.ndarray:
    """Probabilities (S, scenes, n_actions), 1 for the greedy action of each agent in each scene of ``table``."""
    if not isinstance(agents, AgentStack):
        raise TypeError(f"agents must be an AgentStack, got {type(agents).__name__}.")
    best: Callable[[torch.Tensor], torch.Tensor] = lambda features: agents.greedy(features, n_actions)
    return torch.nn.functional.one_hot(best(check_tensor(table, "table")), n_actions).double().numpy()
