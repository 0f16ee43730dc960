"""The vision stage of DARLA: a beta-VAE whose reconstructions are compared in the features of a frozen network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from workings.checks import as_float, as_int, check_tensor
from workings.disentangling.ensembles import VAEEnsemble, draw_noise, flat_then_linear
from workings.disentangling.networks import VAE, he_vae
from workings.disentangling.objectives import beta_vae_loss, gaussian_kl, squared_error
from workings.runs.parallel import thread_map
from workings.runs.progress import counter
from workings.seeding import torch_generator
from workings.training import ShuffledBatches

Features = Callable[[torch.Tensor], torch.Tensor]


def perceptual_loss(x: torch.Tensor, xhat: torch.Tensor, features: Features | None = None) -> torch.Tensor:
    """``|J(xhat) - J(x)|^2`` per image: images (B, ...) each to (B,). A sum over features, no mean and no factor 1/2.

    ``features`` is ``J``; ``None`` is the identity, the squared error of the pixels. The gradient goes through ``J`` to
    ``xhat`` and never into the weights of ``J``, nor to ``x``. ``J`` must give one row per image. Raises ``ValueError`` when
    a module ``J`` is in training mode (it might be noisy), or when shapes do not fit. Higgins et al., arXiv 1707.08475.
    """
    check_tensor(x, "x")
    check_tensor(xhat, "xhat")
    if x.shape != xhat.shape or x.dim() < 2:
        raise ValueError(f"x and xhat must have one shape (B, ...), got {tuple(x.shape)} and {tuple(xhat.shape)}.")
    if features is None:
        return squared_error(xhat, x.detach())
    apply = features
    if isinstance(features, nn.Module):
        if any(part.training for part in features.modules()):
            raise ValueError(
                "features is in training mode, in which layers may add noise; call freeze(features), or .eval()."
            )
        fixed = {name: value.detach() for name, value in features.named_parameters()}
        apply = lambda images: functional_call(features, fixed, (images,))
    elif not callable(features):
        raise TypeError(f"features must be a function or a module, got {type(features).__name__}.")
    with torch.no_grad():
        wanted = check_tensor(apply(x), "what features gives")
    found = apply(xhat)
    if found.shape != wanted.shape or found.dim() < 2 or len(found) != len(x):
        raise ValueError(f"features must give one row per image, got {tuple(found.shape)} for {len(x)} images.")
    return squared_error(found, wanted)


def darla_vision_loss(
    x: torch.Tensor,
    xhat: torch.Tensor,
    mu: torch.Tensor,
    logvar: torch.Tensor,
    features: Features | None,
    beta: float,
) -> torch.Tensor:
    """``mean |J(xhat) - J(x)|^2 + beta mean KL(q(z|x) || N(0, 1))``, a scalar to be minimised.

    Images (B, ...), ``mu`` and ``logvar`` (B, M). Raises as :func:`perceptual_loss` and
    :func:`~workings.disentangling.objectives.beta_vae_loss`. Higgins et al., arXiv 1707.08475.
    """
    return beta_vae_loss(perceptual_loss(x, xhat, features), gaussian_kl(mu, logvar), beta)


@torch.no_grad()
def equal_variance_scale(pictures: torch.Tensor, features: Features | None) -> float:
    """The factor that gives the loss in features the size of the loss on pixels, for a model that knows only the mean.

    ``E|x - E x|^2 / E|J(x) - E J(x)|^2`` over ``pictures`` (N, ...). With it one ``beta`` has the same price in both: nats
    per share of the variance that is explained. Raises ``ValueError`` for fewer than 2 pictures or features that do not vary.
    """
    check_tensor(pictures, "pictures")
    if pictures.dim() < 2 or len(pictures) < 2:
        raise ValueError(f"pictures must be (N, ...) with N at least 2, got {tuple(pictures.shape)}.")
    rows = (pictures.flatten(1), (pictures if features is None else features(pictures)).flatten(1))
    pixels, found = (float((row.double() - row.double().mean(0)).square().sum(1).mean()) for row in rows)
    if not found > 0:
        raise ValueError("the features are the same for every picture; there is nothing to scale.")
    return pixels / found


class VisionJob(NamedTuple):
    """One training: ``pictures`` (N, C, H, W) in [0, 1], the weight ``beta`` of the KL, and the ``seed`` of everything."""

    pictures: torch.Tensor
    beta: float
    seed: int


def train_vision(
    jobs: Sequence[VisionJob],
    steps: int,
    *,
    features: Features | None = None,
    scale: float = 1.0,
    latent_dim: int = 8,
    hidden: Sequence[int] = (64, 64),
    batch: int = 64,
    learning_rate: float = 3e-3,
    group: int = 10,
) -> list[VAE]:
    """One VAE per job, in the order of ``jobs``: ``scale`` times :func:`perceptual_loss` plus ``beta`` times the KL, by Adam.

    The networks are :func:`~workings.disentangling.networks.he_vae`; the sigmoid of the decoder's output is the picture
    that is compared. Networks of a ``group`` are trained side by side, two groups at a time on threads. A job's result
    depends on the job and the settings, not on the other jobs (up to the rounding of sums). The models come back in eval
    mode. Raises ``ValueError`` for no job, pictures of different sizes or dtypes, a negative beta or scale, or fewer
    pictures than ``batch``.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    scale = as_float(scale, "scale", minimum=0.0)
    if not jobs:
        raise ValueError("jobs is empty; give at least one VisionJob(pictures, beta, seed).")
    for job in jobs:
        as_float(job.beta, "beta", minimum=0.0)
        if check_tensor(job.pictures, "pictures").dim() != 4:
            raise ValueError(f"pictures must be (N, C, H, W), got {tuple(job.pictures.shape)}.")
        if len(job.pictures) < batch:
            raise ValueError(f"a job needs at least {batch} pictures, one batch, got {len(job.pictures)}.")
    kinds = {(tuple(job.pictures.shape[1:]), job.pictures.dtype) for job in jobs}
    if len(kinds) > 1:
        raise ValueError(f"all jobs need pictures of one size and dtype, got {sorted(map(str, kinds))}.")
    shape, dtype = tuple(jobs[0].pictures.shape[1:]), jobs[0].pictures.dtype
    models = [
        he_vae(shape, latent_dim, hidden, torch_generator(job.seed, "vision", "weights")).to(dtype) for job in jobs
    ]
    pairs = list(zip(models, jobs, strict=True))
    groups = [pairs[i : i + group] for i in range(0, len(pairs), as_int(group, "group", minimum=1))]
    with counter(len(groups) * steps, "training steps") as tick:
        work = lambda part: _train_group(part, steps, features, scale, batch, learning_rate, tick)
        thread_map(work, groups, label=None)
    return [model.eval() for model in models]


def _train_group(
    pairs: Sequence[tuple[VAE, VisionJob]],
    steps: int,
    features: Features | None,
    scale: float,
    batch: int,
    learning_rate: float,
    tick: Callable[[], None],
) -> None:
    models, jobs = zip(*pairs, strict=True)
    shape = jobs[0].pictures.shape[1:]
    ensemble = VAEEnsemble(models)
    flat = [job.pictures.flatten(1) for job in jobs]
    orders = [ShuffledBatches(len(job.pictures), batch, job.seed) for job in jobs]
    streams = [torch_generator(job.seed, "vision", "noise") for job in jobs]
    beta = flat[0].new_tensor([job.beta for job in jobs])
    optimiser = torch.optim.Adam(ensemble.parameters, lr=learning_rate, fused=True)
    for step in range(steps):
        for settings in optimiser.param_groups:
            settings["lr"] = learning_rate * flat_then_linear(step / steps)
        x = torch.stack([own[order(step)] for own, order in zip(flat, orders, strict=True)])  # (S, B, pixels)
        mu, logvar = ensemble.encoder(x).chunk(2, dim=2)
        noise = draw_noise(streams, mu)
        xhat = torch.sigmoid(ensemble.decoder(mu + torch.exp(0.5 * logvar) * noise))
        images = lambda rows: rows.flatten(0, 1).unflatten(1, shape)
        error = perceptual_loss(images(x), images(xhat), features).view(len(models), -1)
        kl = gaussian_kl(mu, logvar).sum(dim=2)
        optimiser.zero_grad()
        # The terms share no weight, so each network follows its own gradient.
        (scale * error.mean(dim=1) + beta * kl.mean(dim=1)).sum().backward()
        optimiser.step()
        tick()
    ensemble.write_back()


@torch.no_grad()
def frozen_codes(encoder: VAE, pictures: torch.Tensor, width: int | None = None) -> torch.Tensor:
    """The state on which an agent acts: posterior means (N, M) of ``pictures`` (N, C, H, W), without noise or graph.

    ``width`` is the M that the agent was built for. Raises ``ValueError`` when the encoder is in training mode, when its
    code has another width, or when there is no picture.
    """
    if not isinstance(encoder, VAE):
        raise TypeError(f"encoder must be a VAE, got {type(encoder).__name__}.")
    if any(part.training for part in encoder.modules()):
        raise ValueError("the encoder is in training mode, so it is not frozen; call freeze(encoder), or .eval().")
    if check_tensor(pictures, "pictures").dim() != 4 or len(pictures) == 0:
        raise ValueError(f"pictures must be (N, C, H, W) with at least one, got {tuple(pictures.shape)}.")
    codes = torch.cat([encoder.encode(part.clone())[0] for part in pictures.split(2048)])  # it may work in place
    if width is not None and codes.shape[1] != as_int(width, "width", minimum=1):
        raise ValueError(
            f"the encoder gives codes of {codes.shape[1]} latents, the agent was built for {width}; train it on this encoder."
        )
    return codes


def standardise_by(codes: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """``codes`` (N, M) less the mean of ``reference`` (K, M), over its standard deviation; a constant column is only shifted.

    The reference is the data of the vision stage: with statistics of the source, the target would be shifted out of range.
    """
    check_tensor(codes, "codes")
    check_tensor(reference, "reference")
    if codes.dim() != 2 or reference.dim() != 2 or codes.shape[1] != reference.shape[1] or len(reference) < 2:
        raise ValueError(
            f"codes (N, M) and reference (K, M) need one width and K at least 2, got {tuple(codes.shape)} and "
            f"{tuple(reference.shape)}."
        )
    spread = reference.std(dim=0)
    return (codes - reference.mean(dim=0)) / torch.where(spread > 1e-6, spread, torch.ones_like(spread))
