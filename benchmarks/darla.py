"""The kernels of the chapter `darla` beside other libraries.

(a) Agreement of the losses and targets with their formulas, written out here, on fixed tensors.
(b) Environment steps a second: one copy of each world with its interface, many copies of the first at once, and
    Gymnasium's own vectorised environments around the same world.
(c) Whether Gymnasium's ``check_env`` accepts the environments.
(d) DQN from pixels beside that of stable-baselines3: exact returns of the greedy policies after equally many steps.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/darla.py [rows.json]
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio

from workings.disentangling.domains import DomainSpec
from workings.disentangling.environments import ReachEnv, SeekAvoidEnv, WorldEnv, as_gymnasium
from workings.disentangling.perceptual import darla_vision_loss
from workings.disentangling.value_learning import double_q_target, greedy_policies, train_dqn
from workings.disentangling.worlds import SeekAvoidWorld

ROOMS = DomainSpec.product(wall=range(8), floor=range(8), kind=(0, 1))
TABLES = DomainSpec.product(table=range(8), target=range(8))


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "darla", "what": what, "peer": peer, "note": "", **empty, **values}


def _gymnasium() -> str | None:
    """Its name with version, or None where it is not installed."""
    try:
        return f"Gymnasium {metadata.version('gymnasium')}"
    except metadata.PackageNotFoundError:
        return None


def agreement_rows() -> list[dict[str, Any]]:
    """Largest difference from the formulas as public programs write them: sums over features, double Q by indexing."""
    source = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=source, dtype=torch.float64)
    x, xhat, mu, logvar, w = normal(32, 192), normal(32, 192), normal(32, 8), normal(32, 8), normal(192, 20)
    theirs = torch.nn.functional.mse_loss(xhat @ w, x @ w, reduction="sum") / 32
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    posterior = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    theirs = theirs + 3 * torch.distributions.kl_divergence(posterior, prior).sum(dim=1).mean()
    ours = darla_vision_loss(x, xhat, mu, logvar, lambda rows: rows @ w, 3.0)
    loss = float(((ours - theirs) / theirs).abs())
    reward, done, q, old = normal(64), torch.rand(64, generator=source) < 0.3, normal(64, 5), normal(64, 5)
    indexed = reward + 0.9 * (1 - done.double()) * old[range(64), q.argmax(1)]
    target = float((double_q_target(reward, done, q, old, 0.9) - indexed).abs().max())
    what = "agreement: largest relative difference"
    return [
        _row("loss-agreement", f"vision loss, {what}", "sums and torch.distributions (written here)", ours=loss, theirs=0.0, unit="relative", repeats=1),
        _row("target-agreement", f"double Q target, {what}", "indexing (written here)", ours=target, theirs=0.0, unit="reward", repeats=1),
    ]  # fmt: skip


def _single(env: WorldEnv, steps: int) -> Callable[[], Any]:
    def go() -> None:
        env.reset(seed=0)
        for step in range(steps):
            if env.step(step % env.n_actions)[3]:
                env.reset()

    return go


def _batch(steps: int, copies: int) -> Callable[[], Any]:
    world, rng = SeekAvoidWorld.hues(size=16, horizon=20, rule="reach"), np.random.default_rng(0)

    def go() -> None:
        looks = world.draw_looks(ROOMS, copies, rng)
        state = world.start(ROOMS, looks, rng)
        for step in range(steps // copies):
            state, _ = world.step(ROOMS, looks, state, np.full(copies, step % 3), rng)
            world.render(looks, state)

    return go


def _vector(steps: int, copies: int) -> Callable[[], Any]:
    import gymnasium

    make = lambda: as_gymnasium(SeekAvoidEnv(ROOMS, size=16, horizon=20, rule="reach"))
    envs = gymnasium.vector.SyncVectorEnv([make] * copies)

    def go() -> None:
        envs.reset(seed=0)
        for step in range(steps // copies):
            envs.step(np.full(copies, step % 3))

    return go


def speed_rows(steps: int = 3200, copies: int = 64, repeats: int = 7) -> list[dict[str, Any]]:
    """Steps with their pictures a second, on one core, at 16 x 16 pixels."""
    name = _gymnasium()
    room, table = SeekAvoidEnv(ROOMS, size=16, horizon=20, rule="reach"), ReachEnv(TABLES, size=16, horizon=20)
    work = {"one": _single(room, steps), "reach": _single(table, steps), "batch": _batch(steps, copies)}
    if name:
        work["vector"] = _vector(steps, copies)
    seconds = interleaved(work, repeats)
    rate = {key: steps / float(np.median(times)) for key, times in seconds.items()}
    what, unit = f"environment steps, {copies} copies", "steps/s"
    rows = [
        _row("steps-one", "environment steps, one copy", "none", ours=rate["one"], unit=unit, repeats=repeats),
        _row("steps-reach", "environment steps, one copy of the arm", "none", ours=rate["reach"], unit=unit, repeats=repeats),
    ]  # fmt: skip
    if name is None:
        return [*rows, _row("steps-vector", what, "Gymnasium", ours=rate["batch"], unit=unit, note="not installed")]
    middle, low, high = ratio(seconds["batch"], seconds["vector"])
    values = {"ours": rate["batch"], "theirs": rate["vector"], "ratio": middle, "ratio_low": low, "ratio_high": high}
    return [*rows, _row("steps-vector", what, f"{name} SyncVectorEnv", **values, unit=unit, repeats=repeats)]


def check_rows() -> list[dict[str, Any]]:
    """How many of the two environments ``check_env`` accepts."""
    name, what = _gymnasium(), "environments that check_env accepts"
    if name is None:
        return [_row("check-env", what, "Gymnasium", ours=2, unit="of 2", note="not installed")]
    from gymnasium.utils.env_checker import check_env

    accepted = 0
    for env in (SeekAvoidEnv(ROOMS, horizon=5), ReachEnv(TABLES, horizon=5)):
        check_env(as_gymnasium(env), skip_render_check=True)
        accepted += 1
    return [_row("check-env", what, name, ours=2, theirs=accepted, unit="of 2", repeats=1)]


def _baselines(world: SeekAvoidWorld, domain: DomainSpec, steps: int, seed: int, mean: float, spread: float) -> Any:
    """stable-baselines3's DQN after ``steps`` steps in ``domain``, on pictures standardised by ``mean`` and ``spread``."""
    import gymnasium
    from stable_baselines3 import DQN

    class Standardised(gymnasium.ObservationWrapper):
        def __init__(self, env: Any):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Box(-9, 9, (3 * world.size**2,), np.float32)

        def observation(self, picture: np.ndarray) -> np.ndarray:
            return ((picture.transpose(2, 0, 1).reshape(-1) / 255 - mean) / spread).astype(np.float32)

    agent = DQN(
        "MlpPolicy", Standardised(as_gymnasium(WorldEnv(world, domain))), learning_rate=1e-3, buffer_size=20_000,
        learning_starts=100, batch_size=64, gamma=0.9, train_freq=4, gradient_steps=1, target_update_interval=800,
        exploration_fraction=0.5, exploration_final_eps=0.1, policy_kwargs={"net_arch": [64, 64]}, seed=seed, device="cpu",
    )  # fmt: skip
    return agent.learn(steps)


def learning_rows(steps: int = 16_000, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict[str, Any]]:
    """Mean return of three agents each. Both take one batch of 64 for every four steps and renew the target network every 800."""
    what = f"DQN from pixels, {steps:,} steps, {len(seeds)} agents"
    try:
        peer = f"stable-baselines3 {metadata.version('stable-baselines3')}"
    except metadata.PackageNotFoundError:
        return [_row("dqn-return", f"{what}: mean return", "stable-baselines3", note="not installed")]
    world = SeekAvoidWorld.hues(size=16, horizon=20, rule="reach")
    domain = DomainSpec.product(wall=range(3), floor=range(3), kind=(0, 1))
    pictures = torch.from_numpy(world.render(*world.scenes())).flatten(1)
    mean, spread = float(pictures.mean()), float(pictures.std())
    table = (pictures - mean) / spread
    values: dict[str, list[float]] = {}

    def ours() -> None:
        agents = train_dqn(world, domain, table, steps // 4, seeds=seeds, double=False)
        values["ours"] = [world.expected_return(domain, policy) for policy in greedy_policies(agents, table)]

    def theirs() -> None:
        values["theirs"] = []
        for seed in seeds:
            agent = _baselines(world, domain, steps, seed, mean, spread)
            with torch.no_grad():
                best = agent.q_net(table).argmax(dim=1)
            policy = torch.nn.functional.one_hot(best, 3).double().numpy()
            values["theirs"].append(world.expected_return(domain, policy))

    seconds = interleaved({"ours": ours, "theirs": theirs}, 1, warmup=0)
    found = {name: float(np.mean(of)) for name, of in values.items()}
    spans = {name: f"{min(of):.3f} to {max(of):.3f}" for name, of in values.items()}
    ends = f"random {world.random_return(domain):.3f}, best {world.optimal_return(domain):.3f}"
    once = {
        "ours": seconds["ours"][0],
        "theirs": seconds["theirs"][0],
        "ratio": seconds["theirs"][0] / seconds["ours"][0],
    }
    return [
        _row("dqn-return", f"{what}: mean return", peer, **found, unit="", repeats=len(seeds), note=f"ours {spans['ours']}, theirs {spans['theirs']}; {ends}"),
        _row("dqn-time", what, peer, **once, unit="s", repeats=1, note="timed once; ours trains the agents side by side and reads pictures from a table, theirs one after the other, each picture drawn"),
    ]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about two minutes on one core, nearly all of it stable-baselines3."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*agreement_rows(), *speed_rows(), *check_rows(), *learning_rows()]


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
