"""See, freeze, act, transfer on the Jaco arm: the optional part of the chapter's full tier.

Vision is trained on pictures of all looks, with the error in the features of a denoising autoencoder; agents are trained
in the source on the frozen code, or on pixels, and measured in source and target without another update.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from workings import paths
from workings.chapters.darla import arm_looks
from workings.chapters.darla.arm import ArmEnv, ArmPictures, ArmWorld, load_pictures
from workings.chapters.darla.arm_renderer import choose
from workings.chapters.darla.arm_settings import ArmSettings
from workings.chapters.public_models import NotHere
from workings.disentangling.denoising import DenoisingAutoencoder, FeatureMap, train_denoiser
from workings.disentangling.domains import DomainSpec
from workings.disentangling.ensembles import flat_then_linear
from workings.disentangling.networks import VAE, ConvDecoder, ConvEncoder, freeze, initialise
from workings.disentangling.objectives import beta_vae_loss, gaussian_kl
from workings.disentangling.perceptual import equal_variance_scale, frozen_codes, perceptual_loss, standardise_by
from workings.disentangling.value_learning import AgentStack, a2c_loss, discounted_returns
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator, torch_generator
from workings.training import ShuffledBatches, fit

Features = Callable[[np.ndarray], torch.Tensor]  # frames (B, size, size, 3) uint8 to features (B, D)
Policy = Callable[[np.ndarray, dict[str, Any]], int]  # a frame and the step's info to an action


def rows_or_note(*, dry_run: bool, asked: bool) -> list[dict[str, Any]]:
    """The table "arm" of the full tier: :func:`run`'s rows, or one row ``note`` that says why there are none.

    A dry run tries the arm wherever dm_control is installed; the full sizes are run only where they were ``asked`` for.
    """
    if not (dry_run or asked):
        return [
            {"note": "Not run: the Jaco arm. It takes hours on a GPU: ask for it with full.run(settings, arm=True)."}
        ]
    settings = ArmSettings.dry() if dry_run else ArmSettings.full()
    name = "arm-dry" if dry_run else "arm"
    try:
        choose()  # before there is a store
        return run(settings, Store(paths.runs_root() / "darla" / f"{name}.jsonl", settings))
    except NotHere as missing:
        return [{"note": f"Not run: the Jaco arm. {missing}"}]


def run(settings: ArmSettings, store: Store) -> list[dict[str, Any]]:
    """One row per code and seed: algorithm, code, seed, and zero-shot returns in source and target.

    Beside them the returns of a random policy and of a script that knows the state (no bound: an agent may be better). What
    is in ``store`` is not run again; checkpoints of the vision stage lie beside its file.
    Raises :class:`~workings.chapters.public_models.NotHere` where dm_control or a renderer is missing.
    """
    world, domains = settings.world(), arm_looks.domains()
    kinds: list[tuple[str, float | None]] = [("pixels", None), *((f"beta {beta:g}", beta) for beta in settings.betas)]
    todo = [(kind, beta, seed) for kind, beta in kinds for seed in settings.seeds if not store.done(f"{kind}/{seed}")]
    try:
        if not store.done("ends"):
            store.put("ends", _ends(world, domains, settings))
        if todo:
            seen = load_pictures(world, domains["unsupervised"], settings.pictures, seed=0)
            features = _denoiser(seen, settings) if any(beta is not None for _, beta, _ in todo) else None
        for kind, beta, seed in todo:
            look = (
                pixel_look(seen) if beta is None else code_look(see(seen, features, beta, seed, settings, store), seen)
            )
            policy = greedy(act(world, domains["source"], look, seed, settings), look, len(world.actions))
            store.put(
                f"{kind}/{seed}",
                [mean_return(world, domains[name], policy, settings.episodes) for name in ("source", "target")],
            )
    finally:
        world.close()
    rows = []
    for kind, _ in kinds:
        for seed in settings.seeds:
            source, target = store.get(f"{kind}/{seed}")
            rows.append({"algorithm": "a2c", "code": kind, "seed": seed, "source": source, "target": target})
    return [row | store.get("ends") for row in rows]


# --- see --------------------------------------------------------------------------------------------------------------


def _denoiser(seen: ArmPictures, settings: ArmSettings) -> FeatureMap:
    """The bottleneck of a denoising autoencoder of ``seen``, frozen. Trained on the CPU."""
    model = DenoisingAutoencoder(
        tuple(seen.pictures.shape[1:]), bottleneck=settings.bottleneck, channels=settings.channels,
        generator=torch_generator(0, "arm", "denoiser"),
    )  # fmt: skip
    train_denoiser(
        model, seen.floats(), settings.denoiser_steps, seed=0, batch=settings.batch, learning_rate=10 * settings.learning_rate
    )  # fmt: skip
    return freeze(FeatureMap(model, "bottleneck"))


def see(seen: ArmPictures, features: FeatureMap, beta: float, seed: int, settings: ArmSettings, store: Store) -> VAE:
    """A convolutional beta-VAE of ``seen``, frozen, on the settings' device.

    Its error is :func:`~workings.disentangling.perceptual.perceptual_loss` in ``features``, times what gives it the size of
    the pixels' error, so that one ``beta`` means the same in both.
    """
    sizes = {"img_channels": 3, "size": settings.size, "channels": settings.channels, "hidden": settings.hidden}
    model = VAE(ConvEncoder(settings.latents, **sizes), ConvDecoder(settings.latents, **sizes))
    initialise(model, torch_generator(seed, "arm", "weights")).to(settings.device)
    scale = equal_variance_scale(seen.floats(2000), features)
    features = features.to(settings.device)
    order = ShuffledBatches(len(seen.pictures), settings.batch, seed)

    def loss(net: VAE, x: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        logits, mu, logvar = net(x, noise)
        error = perceptual_loss(x, torch.sigmoid(logits), features)
        return beta_vae_loss(scale * error, gaussian_kl(mu, logvar), beta)

    batches = lambda step: seen.pictures[order(step)].to(settings.device).float() / 255
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    folder = store.path.with_suffix("")
    folder.mkdir(exist_ok=True)
    fit(
        model, loss, batches, optimiser, settings.vision_steps, seed=seed, checkpoint=folder / f"see-{beta:g}-{seed}.pt",
        checkpoint_every=2000, progress=True, settings={"beta": beta, "batch": settings.batch, "scale": scale},
    )  # fmt: skip
    features.to("cpu")
    return freeze(model)


def code_look(encoder: VAE, seen: ArmPictures) -> Features:
    """Frames to posterior means (B, M), standardised by the pictures of the vision stage."""
    device = next(encoder.parameters()).device
    code = lambda pictures: torch.cat(
        [frozen_codes(encoder, part.to(device).float() / 255).cpu() for part in pictures.split(1000)]
    )
    reference = code(seen.pictures)
    return lambda frames: standardise_by(code(_channels_first(frames)), reference)


def pixel_look(seen: ArmPictures) -> Features:
    """Frames to all their pixels (B, 3 size size), standardised by the pictures of the vision stage together."""
    some = seen.pictures[:2000].float()
    mean, spread = some.mean(), some.std()
    return lambda frames: ((_channels_first(frames).float() - mean) / spread).flatten(1)


def _channels_first(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


# --- act --------------------------------------------------------------------------------------------------------------


def act(world: ArmWorld, domain: DomainSpec, look: Features, seed: int, settings: ArmSettings) -> AgentStack:
    """One advantage actor-critic agent on ``look``, trained in ``domain``: the loss of the chapter's small world, frames as they come.

    Its outputs are the logits of the actions and, last, the value. An episode's end is a limit of time, so returns look
    beyond it; all copies begin anew together. Mnih et al., arXiv 1602.01783.
    """
    n = len(world.actions)
    envs = [ArmEnv(domain, world) for _ in range(settings.copies)]
    first = np.stack([env.reset(seed=seed * 1000 + k)[0] for k, env in enumerate(envs)])
    agent = AgentStack([seed], look(first).shape[1], settings.agent_hidden, n + 1)
    optimiser = torch.optim.Adam(agent.layers.parameters, lr=settings.agent_rate, fused=True)
    choices = numpy_generator(seed, "arm", "choices")
    features, over = look(first), False
    for step in progress(range(settings.a2c_steps), "steps of A2C"):
        for group in optimiser.param_groups:
            group["lr"] = settings.agent_rate * flat_then_linear(step / settings.a2c_steps)
        if over:
            features = look(np.stack([env.reset()[0] for env in envs]))
        seen, taken, paid = [], [], []
        for _ in range(settings.roll):
            with torch.no_grad():
                chance = agent(features)[0, :, :n].softmax(dim=-1).numpy()
            u = choices.random((len(envs), 1))
            actions = np.minimum((u > np.cumsum(chance, axis=-1)).sum(axis=-1), n - 1)
            frames, rewards, _, ends, _ = zip(
                *(env.step(int(a)) for env, a in zip(envs, actions, strict=True)), strict=True
            )
            seen.append(features)
            taken.append(torch.from_numpy(actions))
            paid.append(torch.tensor(rewards))
            features, over = look(np.stack(frames)), ends[0]
        with torch.no_grad():
            last = agent(features)[0, :, n]
        rewards = torch.stack(paid)
        returns = discounted_returns(rewards, torch.zeros_like(rewards, dtype=torch.bool), last, settings.gamma)
        out = agent(torch.cat(seen))[0]  # (roll copies, n + 1)
        optimiser.zero_grad()
        a2c_loss(out[:, :n], out[:, n], torch.cat(taken), returns.flatten()).backward()
        optimiser.step()
    agent.layers.write_back()
    return agent


def greedy(agent: AgentStack, look: Features, n_actions: int) -> Policy:
    """The policy that takes the likeliest of ``n_actions`` actions."""
    return lambda frame, info: int(agent.greedy(look(frame[None]), n_actions))


def mean_return(world: ArmWorld, domain: DomainSpec, policy: Policy, episodes: int) -> float:
    """The mean return of ``policy`` over ``episodes``: those with the seeds 0, 1, ..., equal in their states in every domain."""
    env, total = ArmEnv(domain, world), 0.0
    for seed in range(episodes):
        frame, info = env.reset(seed=seed)
        truncated = False
        while not truncated:
            frame, reward, _, truncated, info = env.step(policy(frame, info))
            total += reward
    return total / episodes


def _ends(world: ArmWorld, domains: dict[str, DomainSpec], settings: ArmSettings) -> dict[str, float]:
    """Returns of a random and of the scripted policy in source and target, named as in a row."""
    found = {}
    for domain in ("source", "target"):
        moves = numpy_generator(0, "arm", "random policy")  # the same moves in either
        policies: dict[str, Policy] = {
            "random": lambda frame, info, moves=moves: int(moves.integers(len(world.actions))),
            "scripted": lambda frame, info: world.scripted(info["state"]),
        }
        for name, policy in policies.items():
            found[f"{name}_{domain}"] = mean_return(world, domains[domain], policy, settings.episodes)
    return found
