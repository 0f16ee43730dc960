"""JMVAE: one latent space learnt from pictures and symbols at once, the baseline of the chapter on SCAN.

Three encoders (of a picture with its symbol, of the picture alone, of the symbol alone) and two decoders, all fully
connected. Letters: B batch, M latents, K places of a k-hot code.
Suzuki, Nakayama and Matsuo, "Joint multimodal learning with deep generative models", arXiv 1611.01891 (its JMVAE-kl).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from workings.checks import as_float, as_int, check_tensor
from workings.disentangling.concepts import khot, random_parts
from workings.disentangling.ensembles import LinearEnsemble, draw_noise, flat_then_linear
from workings.disentangling.networks import MLPDecoder, MLPEncoder, initialise
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, kl_diag_gaussians
from workings.disentangling.scan import Gaussian
from workings.runs.progress import progress
from workings.seeding import torch_generator
from workings.training import ShuffledBatches


class JMVAE(nn.Module):
    """Encoders of pictures ``shape`` (C, H, W), of k-hot codes (K,) over ``sizes``, and of both; decoders of each.

    ``hidden``: widths of the picture's and the joint layers; the symbol's own networks have one layer of
    ``symbol_hidden``.
    """

    __constants__ = ("shape", "sizes")

    def __init__(
        self,
        shape: tuple[int, int, int],
        sizes: Sequence[int],
        latent_dim: int,
        hidden: Sequence[int] = (256, 256),
        symbol_hidden: int = 100,
    ):
        super().__init__()
        self.shape, self.sizes, hidden = tuple(shape), tuple(sizes), tuple(hidden)
        width = sum(self.sizes)
        both = math.prod(self.shape) + width
        self.joint_encoder = MLPEncoder((both, 1, 1), latent_dim, hidden)
        self.image_encoder = MLPEncoder(self.shape, latent_dim, hidden)
        self.symbol_encoder = MLPEncoder((width, 1, 1), latent_dim, (symbol_hidden,))
        self.image_decoder = MLPDecoder(self.shape, latent_dim, hidden[::-1])
        self.symbol_decoder = MLPDecoder((width, 1, 1), latent_dim, (symbol_hidden,))

    def encode_joint(self, x: torch.Tensor, y: torch.Tensor) -> Gaussian:
        """Pictures (B, C, H, W) with their symbols (B, K) to means and log-variances (B, M)."""
        return Gaussian(*self.joint_encoder(torch.cat([x.flatten(1), y], dim=1)[:, :, None, None]))

    def encode_image(self, x: torch.Tensor) -> Gaussian:
        """Pictures (B, C, H, W) alone to means and log-variances (B, M)."""
        return Gaussian(*self.image_encoder(x))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Gaussian:
        """The joint posterior of pictures and symbols, :meth:`encode_joint`."""
        return self.encode_joint(x, y)

    def encode_symbol(self, y: torch.Tensor) -> Gaussian:
        """Symbols (B, K) alone to means and log-variances (B, M)."""
        return Gaussian(*self.symbol_encoder(y[:, :, None, None]))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (B, M) to the logits (B, C, H, W) of pictures."""
        return self.image_decoder(z)

    def decode_symbol(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (B, M) to the logits (B, K) of symbols."""
        return self.symbol_decoder(z).flatten(1)


def jmvae_terms(
    nll_x: torch.Tensor, nll_y: torch.Tensor, joint: tuple[torch.Tensor, torch.Tensor],
    image: tuple[torch.Tensor, torch.Tensor], symbol: tuple[torch.Tensor, torch.Tensor], beta: float, alpha: float,
) -> torch.Tensor:  # fmt: skip
    """The loss (B,) in nats: ``nll_x + nll_y + beta KL(q_xy || prior) + alpha [KL(q_xy || q_x) + KL(q_xy || q_y)]``.

    ``nll_x`` and ``nll_y`` (B,) of codes drawn from the joint posterior; ``joint``, ``image`` and ``symbol``: mean and
    log-variance (B, M) of the three posteriors. The symbol stands second in its KL, as in SCAN's forward order.
    Raises ``ValueError`` for negative weights or shapes that differ. Suzuki et al., arXiv 1611.01891, eq. 4 (beta 1).
    """
    beta, alpha = as_float(beta, "beta", minimum=0.0), as_float(alpha, "alpha", minimum=0.0)
    check_tensor(nll_x, "nll_x")
    check_tensor(nll_y, "nll_y")
    if nll_x.shape != joint[0].shape[:-1] or nll_y.shape != nll_x.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (nll_x, nll_y, joint[0]))
        raise ValueError(f"nll_x and nll_y must be (B,) and the posteriors (B, M), got {shapes}.")
    near = kl_diag_gaussians(*joint, *image) + kl_diag_gaussians(*joint, *symbol)
    return nll_x + nll_y + beta * gaussian_kl(*joint).sum(dim=-1) + alpha * near.sum(dim=-1)


class JMVAEJob(NamedTuple):
    """One training: ``pictures`` (N, C, H, W) in [0, 1], their ``assignments`` (N, A), the weights and the ``seed``."""

    pictures: torch.Tensor
    assignments: torch.Tensor
    seed: int
    beta: float = 1.0
    alpha: float = 1.0


def train_jmvaes(
    jobs: Sequence[JMVAEJob],
    sizes: Sequence[int],
    steps: int,
    *,
    latent_dim: int = 8,
    hidden: Sequence[int] = (64, 64),
    batch: int = 64,
    learning_rate: float = 3e-3,
    avoid: torch.Tensor | None = None,
) -> list[JMVAE]:
    """One trained :class:`JMVAE` per job: the mean of :func:`jmvae_terms`, minimised by Adam.

    Symbols are random parts of what a picture shows (:func:`random_parts`, with ``avoid``), as for SCAN; weights of the
    picture's networks start with variance ``2 / inputs`` and the rate follows :func:`flat_then_linear`, as the part's
    VAEs. A job's result depends on the job and the settings only (up to the rounding of sums). Raises ``ValueError`` for
    no job, fewer pictures than ``batch``, or negative weights, and ``FloatingPointError`` for a loss that was not finite.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    if not jobs:
        raise ValueError("jobs is empty; give at least one JMVAEJob(pictures, assignments, seed).")
    weights = {(as_float(job.beta, "beta", minimum=0.0), as_float(job.alpha, "alpha", minimum=0.0)) for job in jobs}
    if len(weights) > 1:
        raise ValueError("the jobs of one call share beta and alpha; call again for other weights.")
    beta, alpha = weights.pop()
    shape = tuple(jobs[0].pictures.shape[1:])
    models = [_start(shape, sizes, latent_dim, hidden, job) for job in jobs]
    group = lambda name: LinearEnsemble([getattr(model, name).linears for model in models])
    joint, image, symbol, draw, say = (
        group(name) for name in ("joint_encoder", "image_encoder", "symbol_encoder", "image_decoder", "symbol_decoder")
    )
    parts = (joint, image, symbol, draw, say)
    optimiser = torch.optim.Adam([p for part in parts for p in part.parameters], lr=learning_rate, fused=True)
    orders = [ShuffledBatches(len(job.pictures), batch, job.seed, "jmvae") for job in jobs]
    streams = [torch_generator(job.seed, "jmvae", "draws") for job in jobs]
    flat = [job.pictures.flatten(1) for job in jobs]
    for step in progress(range(steps), "training steps"):
        for settings in optimiser.param_groups:
            settings["lr"] = learning_rate * flat_then_linear(step / steps)
        rows = [order(step) for order in orders]
        x = torch.stack([own[row] for own, row in zip(flat, rows, strict=True)])  # (S, B, pixels)
        said = [
            khot(random_parts(job.assignments[row], stream, avoid=avoid), sizes)
            for job, row, stream in zip(jobs, rows, streams, strict=True)
        ]
        y = torch.stack(said).to(x)
        q_xy, q_x, q_y = (net.chunk(2, dim=2) for net in (joint(torch.cat([x, y], dim=2)), image(x), symbol(y)))
        noise = draw_noise(streams, q_xy[0])
        z = q_xy[0] + torch.exp(0.5 * q_xy[1]) * noise
        nll = [
            bernoulli_nll(net(z).flatten(0, 1), t.flatten(0, 1)).view(len(jobs), -1) for net, t in ((draw, x), (say, y))
        ]
        loss = jmvae_terms(*nll, q_xy, q_x, q_y, beta, alpha).mean(dim=1)
        optimiser.zero_grad()
        loss.sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
    if not bool(torch.isfinite(loss).all()):
        raise FloatingPointError("a loss was not finite; lower learning_rate.")
    for part in parts:
        part.write_back()
    return [model.eval() for model in models]


def _start(
    shape: tuple[int, int, int], sizes: Sequence[int], latent_dim: int, hidden: Sequence[int], job: JMVAEJob
) -> JMVAE:
    with torch.device("meta"):
        model = JMVAE(shape, sizes, latent_dim, hidden)
    model = initialise(model.to_empty(device="cpu"), torch_generator(job.seed, "jmvae", "weights"))
    with torch.no_grad():
        for net in (model.joint_encoder, model.image_encoder, model.image_decoder):
            for linear in net.linears:
                linear.weight.mul_(math.sqrt(6.0))  # He et al., arXiv 1502.01852
    return model.to(job.pictures.dtype)
