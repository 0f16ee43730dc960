"""Ensembles: S small fully connected networks of one shape, trained side by side.

A step of a network this small is mostly overhead. In an ensemble the S networks share it: the weights of each layer are
one tensor, and a layer is one batched matrix product. Nothing passes between the networks. Each has its own batches,
noise and gradient, and ends where it would have ended alone, up to the rounding of sums.

``torch.func.vmap`` over ``functional_call`` with ``stack_module_state`` computes the same and was tried first. A step
took 1.6 to 1.9 times the processor time (one thread, in milliseconds, least of five rounds: 6.2 against 3.6 for 3 VAEs
with 128 hidden units, 9.9 against 6.3 for 10 VAEs with 64, 8.0 against 4.2 for 5 VAEs with 64), so the products are
written out here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from workings.checks import as_float, as_int, check_tensor
from workings.disentangling.factor_channel import channel_posterior
from workings.disentangling.known_factor import KnownFactorModel, RateHistory
from workings.disentangling.layers import is_changed
from workings.disentangling.networks import VAE, MLPDecoder, MLPEncoder, he_vae
from workings.disentangling.objectives import bernoulli_nll, capacity_schedule, gaussian_kl
from workings.disentangling.training import History, Objective, WindowMeans
from workings.runs.parallel import thread_map
from workings.runs.progress import counter, progress
from workings.seeding import torch_generator
from workings.training import ShuffledBatches


class LinearEnsemble:
    """S networks of linear layers with ReLU between them; ``networks[s][k]`` is layer k of network s.

    Only the layers are given, so that a network with another activation between them would be computed as if it had ReLU.

    ``parameters``: the stacked weights (S, inputs, outputs) and biases (S, 1, outputs), copies with gradients of their
    own; :meth:`write_back` puts them into the layers. Raises ``ValueError`` for no network, shapes that differ, and
    layers whose call is more than ``torch.nn.Linear`` (a hook, a class or a ``forward`` of their own, no bias).
    """

    def __init__(self, networks: Sequence[Sequence[nn.Linear]]):
        for linear in (linear for layers in networks for linear in layers):
            if type(linear) is not nn.Linear or linear.bias is None or is_changed(linear):
                raise ValueError(
                    "an ensemble computes plain linear layers with a bias only; a layer here "
                    f"({type(linear).__name__}) is hooked, of another class or without a bias. "
                    "Take that off, or train the networks one by one."
                )
        shapes = {tuple(tuple(linear.weight.shape) for linear in layers) for layers in networks}
        if len(shapes) != 1:
            raise ValueError(
                f"give at least one network, all of one shape; got {len(networks)} of {len(shapes)} shapes."
            )
        self.networks = networks
        stack = lambda tensors: torch.stack([tensor.detach() for tensor in tensors]).requires_grad_()
        self.weights = [stack([linear.weight.t() for linear in same]) for same in zip(*networks, strict=True)]
        self.biases = [stack([linear.bias[None] for linear in same]) for same in zip(*networks, strict=True)]
        self.parameters = [*self.weights, *self.biases]

    def __call__(self, h: torch.Tensor) -> torch.Tensor:
        """Each network on its own rows: (S, B, inputs) to (S, B, outputs)."""
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            h = F.relu(h) if k < last else h
        return h

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the stacked weights into the networks' layers."""
        for s, layers in enumerate(self.networks):
            for linear, weight, bias in zip(layers, self.weights, self.biases, strict=True):
                linear.weight.copy_(weight[s].t())
                linear.bias.copy_(bias[s, 0])


class VAEEnsemble:
    """The encoders and decoders of S fully connected VAEs of one shape (:func:`mlp_vae`) as two ensembles.

    Raises ``ValueError`` as :class:`LinearEnsemble`, and for an encoder or decoder that computes something else than the
    layers of :class:`MLPEncoder` and :class:`MLPDecoder` with ReLU.
    """

    def __init__(self, models: Sequence[VAE]):
        for model in models:
            _check_relu(model.encoder, MLPEncoder)
            _check_relu(model.decoder, MLPDecoder)
        self.encoder = LinearEnsemble([model.encoder.linears for model in models])
        self.decoder = LinearEnsemble([model.decoder.linears for model in models])
        self.parameters = self.encoder.parameters + self.decoder.parameters

    def nll_and_kl(
        self,
        x: torch.Tensor,
        noise: Callable[[torch.Tensor], torch.Tensor],
        noisy: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """NLL (S, B) and KL (S, B, M) in nats of the networks on their images ``x`` (S, B, pixels).

        ``noise(mu)`` gives the standard normal numbers of the shape of ``mu`` (S, B, M). ``noisy`` (S, 1, 1) scales them:
        1 samples a network's codes, 0 takes the posterior means.
        """
        mu, logvar = self.encoder(x).chunk(2, dim=2)
        deviation = torch.exp(0.5 * logvar) if noisy is None else noisy * torch.exp(0.5 * logvar)
        logits = self.decoder(mu + deviation * noise(mu))
        return bernoulli_nll(logits.flatten(0, 1), x.flatten(0, 1)).view(len(x), -1), gaussian_kl(mu, logvar)

    def write_back(self) -> None:
        """Copy the stacked weights into the networks."""
        self.encoder.write_back()
        self.decoder.write_back()


# --- one objective, one set of pictures, several seeds ----------------------------------------------------------------


class Fitted(NamedTuple):
    """A trained VAE, its seed and history, and copies of it from the steps asked for."""

    seed: int
    model: VAE
    history: History
    kept: list[VAE]


def train_vae_ensemble(
    models: Sequence[VAE],
    seeds: Sequence[int],
    pictures: torch.Tensor,
    objective: Objective,
    steps: int,
    *,
    batch: int = 64,
    learning_rate: float = 2e-3,
    window: int = 50,
    keep_at: Sequence[int] = (),
) -> list[Fitted]:
    """Train ``models`` in place, one per seed, on ``pictures`` (N, C, H, W) with Adam; one :class:`Fitted` per model.

    ``models`` are fully connected and of one shape (:func:`mlp_vae`). Model s ends where ``train_vae(model, pictures,
    steps, objective, seed=seeds[s])`` with Adam at ``learning_rate`` would have ended, up to the rounding of sums.
    ``keep_at``: numbers of finished steps after which the models are copied.

    Raises ``ValueError`` for other numbers of models and seeds, none, or shapes that differ, and
    ``FloatingPointError`` when a loss was not finite.
    """
    steps = as_int(steps, "steps", minimum=1)
    _check_seeds(models, seeds)
    ensemble = VAEEnsemble(models)
    flat = pictures.flatten(1)
    orders = [ShuffledBatches(len(flat), min(batch, len(flat)), seed) for seed in seeds]
    optimiser = torch.optim.Adam(ensemble.parameters, lr=learning_rate, fused=True)
    means = WindowMeans(window, steps)
    kept: list[list[VAE]] = [[] for _ in models]
    for step in progress(range(steps), "training steps"):
        x = flat[torch.cat([order(step) for order in orders])].view(len(models), -1, flat.shape[1])
        nll, kl = ensemble.nll_and_kl(x, lambda mu, step=step: _noise_of_fit(seeds, step, mu))
        optimiser.zero_grad()
        # The terms share no weight, so each network follows its own gradient.
        sum(objective(nll[s], kl[s], step) for s in range(len(models))).backward()
        optimiser.step()
        means.add(nll, kl)
        means.close(step)
        if step + 1 in keep_at:
            ensemble.write_back()
            _keep(kept, models)
    ensemble.write_back()
    found = zip(seeds, models, _histories(means), kept, strict=True)
    return [Fitted(seed, model.eval(), history, copies) for seed, model, history, copies in found]


# --- known factors ----------------------------------------------------------------------------------------------------


def train_known_factor_ensemble(
    models: Sequence[KnownFactorModel],
    seeds: Sequence[int],
    factors: torch.Tensor,
    pictures: torch.Tensor,
    steps: int,
    *,
    c_max: float,
    rising: int,
    batch: int = 128,
    learning_rate: float = 1e-3,
    rate_learning_rate: float = 1e-2,
    learn_rates: bool = True,
    window: int = 50,
    keep_at: Sequence[int] = (),
) -> list[RateHistory]:
    """Train ``models`` in place, one per seed, on ``factors`` (N, K) and ``pictures`` (N, C, H, W); one result per model.

    Decoders are of one shape and fully connected with ReLU (:class:`MLPDecoder`). Model s ends where
    :func:`train_known_factor` with ``seed=seeds[s]`` and the same settings would have ended, up to the rounding of
    sums; ``keep_at`` holds for every model. Raises ``ValueError`` for other numbers of models and seeds, none, or
    shapes that differ, and ``FloatingPointError`` when a loss was not finite.
    """
    steps = as_int(steps, "steps", minimum=1)
    _check_seeds(models, seeds)
    for model in models:
        _check_relu(model.decoder, MLPDecoder)
    decoder = LinearEnsemble([model.decoder.linears for model in models])
    split = torch.stack([model.channel.logits.detach() for model in models]).requires_grad_(learn_rates)  # (S, K)
    flat = pictures.flatten(1)
    orders = [ShuffledBatches(len(flat), min(batch, len(flat)), seed) for seed in seeds]
    groups = [{"params": decoder.parameters, "lr": learning_rate}, {"params": [split], "lr": rate_learning_rate}]
    optimiser = torch.optim.Adam(groups if learn_rates else groups[:1], fused=True)
    means = WindowMeans(window, steps)
    kept: list[list[KnownFactorModel]] = [[] for _ in models]

    def write_back(capacity: float) -> None:
        decoder.write_back()
        for model, logits in zip(models, split.detach(), strict=True):
            model.channel.logits.data.copy_(logits)
            model.channel.set_capacity(capacity)

    for step in progress(range(steps), "training steps"):
        chosen = torch.cat([order(step) for order in orders])
        f, x = factors[chosen].view(len(models), -1, factors.shape[1]), flat[chosen]
        capacity = capacity_schedule(step, c_max, rising)
        rates = capacity * torch.softmax(split, dim=1)  # (S, K)
        mean, logvar = channel_posterior(rates[:, None], f)
        logits = decoder(mean + torch.exp(0.5 * logvar) * _noise_of_fit(seeds, step, f))
        nll = bernoulli_nll(logits.flatten(0, 1), x).view(len(models), -1)  # (S, B)
        optimiser.zero_grad()
        nll.mean(dim=1).sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
        means.add(nll, rates[:, None])
        means.close(step)
        if step + 1 in keep_at:
            write_back(capacity)
            _keep(kept, models)
    write_back(capacity)
    runs = zip(_histories(means), kept, strict=True)
    return [RateHistory(history.kl.sum(dim=1), history.kl, history.nll, copies) for history, copies in runs]


# --- many betas, seeds and sets of pictures ---------------------------------------------------------------------------


class Job(NamedTuple):
    """One training: ``pictures`` (N, C, H, W) in [0, 1], the weight ``beta`` of the KL, and the ``seed`` of everything.

    ``noisy=False`` decodes the posterior mean, not a sample; with ``beta=0`` that is a plain autoencoder.
    """

    pictures: torch.Tensor
    beta: float
    seed: int
    noisy: bool = True


def train_many(
    jobs: Sequence[Job],
    steps: int,
    *,
    latent_dim: int = 8,
    hidden: Sequence[int] = (64, 64),
    batch: int = 64,
    learning_rate: float = 3e-3,
    group: int = 10,
) -> list[VAE]:
    """One trained :func:`he_vae` per job, in the order of ``jobs``: ``mean nll + beta mean KL`` minimised by Adam.

    The learning rate is ``learning_rate`` times :func:`flat_then_linear`. ``group`` networks form an ensemble, and two
    ensembles run at a time on threads. A job's result depends on the job and the settings, not on the other jobs (up to
    the rounding of sums). The dtype is that of the pictures.

    Raises ``ValueError`` for no job, pictures of different sizes or dtypes, a negative beta, or fewer pictures than
    ``batch``.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    if not jobs:
        raise ValueError("jobs is empty; give at least one Job(pictures, beta, seed).")
    kinds = {(tuple(job.pictures.shape[1:]), job.pictures.dtype) for job in jobs}
    if len(kinds) > 1:
        raise ValueError(f"all jobs need pictures of one size and dtype, got {sorted(map(str, kinds))}.")
    for job in jobs:
        as_float(job.beta, "beta", minimum=0.0)
    size, dtype = tuple(jobs[0].pictures.shape[1:]), jobs[0].pictures.dtype
    models = [he_vae(size, latent_dim, hidden, torch_generator(job.seed, "many", "weights")).to(dtype) for job in jobs]
    pairs = list(zip(models, jobs, strict=True))
    groups = [pairs[i : i + group] for i in range(0, len(pairs), as_int(group, "group", minimum=1))]
    with counter(len(groups) * steps, "training steps") as tick:
        thread_map(lambda pairs: _train_jobs(pairs, steps, batch, learning_rate, tick), groups, label=None)
    return [model.eval() for model in models]


def flat_then_linear(progress: float) -> float:
    """Factor of the learning rate at ``progress`` in [0, 1]: 1 for seven tenths of a training, then a line to 1/20."""
    return min(1.0, 1.0 - 0.95 * (progress - 0.7) / 0.3)


def _train_jobs(
    pairs: Sequence[tuple[VAE, Job]], steps: int, batch: int, learning_rate: float, tick: Callable[[], None]
) -> None:
    models, jobs = zip(*pairs, strict=True)
    ensemble = VAEEnsemble(models)
    pictures = [job.pictures.flatten(1) for job in jobs]
    orders = [ShuffledBatches(len(job.pictures), batch, job.seed) for job in jobs]
    streams = [torch_generator(job.seed, "many", "noise") for job in jobs]
    beta = pictures[0].new_tensor([job.beta for job in jobs])
    noisy = pictures[0].new_tensor([job.noisy for job in jobs])[:, None, None]
    optimiser = torch.optim.Adam(ensemble.parameters, lr=learning_rate, fused=True)
    for step in range(steps):
        for settings in optimiser.param_groups:
            settings["lr"] = learning_rate * flat_then_linear(step / steps)
        x = torch.stack([own[order(step)] for own, order in zip(pictures, orders, strict=True)])  # (S, B, pixels)
        nll, kl = ensemble.nll_and_kl(x, lambda mu: draw_noise(streams, mu), noisy)
        optimiser.zero_grad()
        # The terms share no weight, so each network follows its own gradient.
        (nll.mean(dim=1) + beta * kl.sum(dim=2).mean(dim=1)).sum().backward()
        optimiser.step()
        tick()
    ensemble.write_back()


# --- what the trainings share -----------------------------------------------------------------------------------------


def draw_noise(streams: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers of the shape, dtype and device of ``like`` (S, ...), row s from the CPU generator ``streams[s]``.

    So a network draws the same alone and among others. Raises ``ValueError`` for other numbers of rows and generators.
    """
    check_tensor(like, "like")
    if len(streams) != len(like):
        raise ValueError(f"give a generator for each row, got {len(streams)} generators and {len(like)} rows.")
    rows = [torch.randn(like.shape[1:], generator=stream, dtype=like.dtype) for stream in streams]
    return torch.stack(rows).to(like.device)


def _noise_of_fit(seeds: Sequence[int], step: int, like: torch.Tensor) -> torch.Tensor:
    """The noise of :func:`workings.training.fit` at ``step``, for each of S seeds, of the shape of ``like`` (S, ...)."""
    return draw_noise([torch_generator(seed, "fit", "loss", step) for seed in seeds], like)


def _check_relu(network: nn.Module, kind: type[nn.Module]) -> None:
    if type(network).forward is not kind.forward or is_changed(network):
        raise ValueError(
            f"an ensemble computes the layers of {kind.__name__} only; a network here ({type(network).__name__}) is "
            "hooked or has a forward of its own. Train such networks one by one."
        )
    activation = getattr(network, "activation", torch.relu)
    if activation not in (torch.relu, F.relu) and not isinstance(activation, nn.ReLU):
        raise ValueError(
            f"an ensemble computes ReLU between its layers, and a network here has {activation!r}; give it ReLU, or train "
            "the networks one by one."
        )


def _check_seeds(models: Sequence[nn.Module], seeds: Sequence[int]) -> None:
    if len(models) != len(seeds):
        raise ValueError(f"give a seed for each model, got {len(models)} models and {len(seeds)} seeds.")


def _keep(kept: list[list], models: Sequence[nn.Module]) -> None:
    for copies, model in zip(kept, models, strict=True):
        copies.append(copy.deepcopy(model).eval())


def _histories(means: WindowMeans) -> list[History]:
    """One :class:`History` per network; ``FloatingPointError`` when a value is not finite."""
    steps, table = means.table()  # (T,), (T, S, 1 + M)
    if not torch.isfinite(table).all():
        raise FloatingPointError("a loss was not finite; lower learning_rate.")
    return [History(steps, run[:, 0], run[:, 1:]) for run in table.unbind(1)]
