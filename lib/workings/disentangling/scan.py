"""SCAN: symbols in the latent space of a vision model that has learnt first and is frozen.

A concept is a diagonal Gaussian over the latents: narrow in what the symbol names, as wide as the prior in what it leaves
open. The symbol's network learns it from the codes of pictures of which the symbol holds. Letters: B batch, M latents,
K places of a k-hot code (:func:`workings.disentangling.concepts.khot`), N pictures.
Higgins et al., arXiv 1707.03389.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from workings.checks import as_float, as_int, check_tensor, one_of, values_hidden
from workings.disentangling.concepts import khot, random_parts
from workings.disentangling.ensembles import VAEEnsemble, draw_noise
from workings.disentangling.networks import VAE, MLPDecoder, MLPEncoder, initialise, reparameterise
from workings.disentangling.objectives import bernoulli_nll, gaussian_kl, kl_diag_gaussians
from workings.runs.progress import progress
from workings.seeding import torch_generator
from workings.training import ShuffledBatches

DIRECTIONS = ("forward", "reversed")


class Gaussian(NamedTuple):
    """A diagonal Gaussian, or a batch of them: ``mu`` and ``logvar`` of one shape (..., M)."""

    mu: torch.Tensor
    logvar: torch.Tensor

    @property
    def deviation(self) -> torch.Tensor:
        """Standard deviations, of the same shape."""
        return torch.exp(0.5 * self.logvar)


# --- the best Gaussian of a concept -----------------------------------------------------------------------------------


def matched_gaussian(mu: torch.Tensor, logvar: torch.Tensor) -> Gaussian:
    """The Gaussian (M,) with the mean and variance of a mixture of N Gaussians ``mu``, ``logvar`` (N, M) of equal weight.

    ``m = mean mu_i`` and ``variance = mean (sigma_i^2 + (mu_i - m)^2)``. Of all diagonal Gaussians q it has the least
    ``mean_i KL(N_i || q)``, and for every q that mean is ``KL(matched || q)`` plus a constant: N pictures teach no more
    than their matched Gaussian. Raises ``ValueError`` for shapes that differ or N = 0. Moment matching; Bishop, Pattern
    Recognition and Machine Learning, section 10.7.
    """
    mu, logvar = _check_codes(mu, logvar)
    mean = mu.mean(dim=0)
    return Gaussian(mean, torch.log((torch.exp(logvar) + (mu - mean).square()).mean(dim=0)))


def forward_optimum(mu: torch.Tensor, logvar: torch.Tensor, lam: float = 1.0, beta: float = 0.0) -> Gaussian:
    """The Gaussian q (M,) of least ``lam mean_i KL(N_i || q) + beta KL(q || prior)``, for N Gaussians (N, M).

    With ``beta = 0`` it is :func:`matched_gaussian`, whatever ``lam > 0``. Else the fixed point of
    ``mean = lam m / (lam + beta v)`` and ``beta v^2 + (lam - beta) v = lam M``, where ``m`` is the mean of ``mu`` and
    ``M = mean(sigma_i^2 + (mu_i - mean)^2)``. Where ``m = 0`` and ``M = 1``, ``v`` is 1 for any weights. ``lam = 0`` gives
    the prior. Raises ``ValueError`` for negative weights, both 0, or shapes that differ. Derived here.
    """
    mu, logvar = _check_codes(mu, logvar)
    lam, beta = _check_weights(lam, beta)
    matched = matched_gaussian(mu, logvar)
    if beta == 0.0:
        return matched
    m, least = matched.mu, torch.exp(matched.logvar)  # M = least + (m - mean)^2
    mean, variance = m, least
    for _ in range(500):
        second = least + (m - mean).square()
        root = torch.sqrt((lam - beta) ** 2 + 4 * beta * lam * second)
        # of the two forms of the root, the one that does not subtract two nearly equal numbers
        new = (root - (lam - beta)) / (2 * beta) if lam < beta else 2 * lam * second / (lam - beta + root)
        mean = lam * m / (lam + beta * new)
        if not values_hidden(new) and bool(((new - variance).abs() <= 1e-7 * new).all()):
            variance = new
            break
        variance = new
    return Gaussian(mean, torch.log(variance))


def reversed_optimum(mu: torch.Tensor, logvar: torch.Tensor, lam: float = 1.0, beta: float = 0.0) -> Gaussian:
    """The Gaussian q (M,) of least ``lam mean_i KL(q || N_i) + beta KL(q || prior)``, for N Gaussians (N, M).

    A product of Gaussians: ``precision = (lam P + beta) / (lam + beta)`` with ``P = mean 1 / sigma_i^2``, and ``mean =
    lam mean(mu_i / sigma_i^2) / (lam P + beta)``. As narrow as a single picture's code, however far the pictures lie
    apart. Raises ``ValueError`` as :func:`forward_optimum`. Derived here.
    """
    mu, logvar = _check_codes(mu, logvar)
    lam, beta = _check_weights(lam, beta)
    precision = torch.exp(-logvar)
    total = lam * precision.mean(dim=0) + beta
    return Gaussian(lam * (mu * precision).mean(dim=0) / total, torch.log((lam + beta) / total))


# --- the network and its loss -----------------------------------------------------------------------------------------


class SymbolVAE(VAE):
    """A small VAE of k-hot codes (B, K) in the latents of a vision model: K-hidden-2M and back, ReLU, Bernoulli logits (B, K).

    ``sizes`` are the numbers of values of the attributes, K their sum. One hidden layer of 100 in Higgins et al., arXiv
    1707.03389, as two public re-implementations have it.
    """

    __constants__ = ("sizes",)

    def __init__(self, sizes: Sequence[int], latent_dim: int, hidden: int = 100):
        self_sizes = tuple(as_int(k, "sizes", minimum=1) for k in sizes)
        shape = (sum(self_sizes), 1, 1)
        super().__init__(MLPEncoder(shape, latent_dim, (hidden,)), MLPDecoder(shape, latent_dim, (hidden,)))
        self.sizes = self_sizes

    def encode(self, x: torch.Tensor) -> Gaussian:
        """Codes (B, K) to the concepts' Gaussians, mean and log-variance each (B, M).

        A row of zeros, the symbol that names nothing, is answered too: by the biases alone, and as :func:`train_scans` never
        shows such a symbol, nothing says that the answer is near the prior. Raises ``ValueError`` for another width.
        """
        check_tensor(x, "symbols")
        if x.dim() != 2 or x.shape[1] != sum(self.sizes):
            raise ValueError(f"symbols must be (B, {sum(self.sizes)}) for sizes {self.sizes}, got {tuple(x.shape)}.")
        return Gaussian(*self.encoder(x[:, :, None, None]))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents (B, M) to the logits (B, K) of a symbol; :func:`workings.disentangling.concepts.read_symbol` reads them."""
        return self.decoder(z).flatten(1)

    def forward(
        self, x: torch.Tensor, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``(logits, mu, logvar)`` of codes (B, K), as :class:`VAE`."""
        mu, logvar = self.encode(x)
        return self.decode(mu if generator is None else reparameterise(mu, logvar, generator)), mu, logvar


def symbol_vae(sizes: Sequence[int], latent_dim: int, hidden: int = 100, *, generator: torch.Generator) -> SymbolVAE:
    """A :class:`SymbolVAE` with weights drawn from ``generator`` (CPU)."""
    with torch.device("meta"):  # torch's layers would draw from its global generator
        model = SymbolVAE(sizes, latent_dim, hidden)
    return initialise(model.to_empty(device="cpu"), generator)


def scan_loss(
    logits: torch.Tensor, y: torch.Tensor, q_y: tuple[torch.Tensor, torch.Tensor],
    q_x: tuple[torch.Tensor, torch.Tensor], beta: float = 1.0, lam: float = 10.0, direction: str = "forward",
) -> torch.Tensor:  # fmt: skip
    """``mean [ -log p(y|z) + beta KL(q_y || prior) + lam KL(q_x || q_y) ]``, to be minimised; a scalar in nats.

    ``logits`` and ``y`` (B, K): the decoder's logits for a code drawn from ``q_y``, and the k-hot symbol. ``q_y`` and
    ``q_x``: mean and log-variance, each (B, M), of the symbol and of a picture of which it holds. A row of zeros in ``y``
    names nothing and so holds of every picture; its first term is ``sum ln(1 + e^logit)``. No gradient goes into
    ``q_x``: vision is frozen. ``direction="reversed"`` takes ``KL(q_y || q_x)``, the order that the paper argues against.
    Raises ``ValueError`` for negative weights, another direction, or shapes that do not fit (an encoder of another
    width). Higgins et al., arXiv 1707.03389; the default weights are those of its appendix.
    """
    one_of(direction, "direction", DIRECTIONS)
    beta, lam = as_float(beta, "beta", minimum=0.0), as_float(lam, "lam", minimum=0.0)
    frozen = tuple(check_tensor(part, "q_x's mean or log-variance").detach() for part in q_x)
    if q_y[0].shape != frozen[0].shape:
        raise ValueError(
            f"q_y and q_x must be of one shape (B, M), got {tuple(q_y[0].shape)} and {tuple(frozen[0].shape)}; "
            "the symbols' network needs as many latents as the vision model."
        )
    order = (*frozen, *q_y) if direction == "forward" else (*q_y, *frozen)
    tie = kl_diag_gaussians(*order).sum(dim=-1)
    return (bernoulli_nll(logits, y) + beta * gaussian_kl(*q_y).sum(dim=-1) + lam * tie).mean()


class Pairs(NamedTuple):
    """Pictures as a frozen vision model codes them, and what they show.

    ``mu`` and ``logvar`` (N, M); ``assignments`` (N, A), every attribute named as a rule.
    """

    mu: torch.Tensor
    logvar: torch.Tensor
    assignments: torch.Tensor

    def select(self, keep: torch.Tensor) -> Pairs:
        """The rows that ``keep`` (N,) bool, or a tensor of row numbers, names."""
        return Pairs(self.mu[keep], self.logvar[keep], self.assignments[keep])


@torch.no_grad()
def code_pictures(vision: VAE, pictures: torch.Tensor, assignments: torch.Tensor, batch: int = 1000) -> Pairs:
    """:class:`Pairs` of ``pictures`` (N, C, H, W) and ``assignments`` (N, A), coded by ``vision``.

    Raises ``ValueError`` when ``vision`` is in training mode or takes gradients (call :func:`~workings.disentangling.networks.freeze`): its codes are
    stored, so it must not change any more; and for other numbers of pictures and assignments.
    """
    if vision.training or any(parameter.requires_grad for parameter in vision.parameters()):
        raise ValueError("the vision model is still in training; call freeze(model) once it has learnt.")
    check_tensor(pictures, "pictures")
    check_tensor(assignments, "assignments", floating=False)
    if len(pictures) != len(assignments) or len(pictures) == 0:
        raise ValueError(f"give one assignment per picture, got {len(pictures)} and {len(assignments)}.")
    batch = as_int(batch, "batch", minimum=1)
    parts = [vision.encode(part.clone()) for part in pictures.split(batch)]  # it may work in place
    return Pairs(*(torch.cat(part) for part in zip(*parts, strict=True)), assignments)


class ScanJob(NamedTuple):
    """One training of a symbols' network: its pairs and ``seed``, the weights and the order of the KL."""

    pairs: Pairs
    seed: int
    lam: float = 10.0
    beta: float = 1.0
    direction: str = "forward"


def train_scans(
    jobs: Sequence[ScanJob],
    sizes: Sequence[int],
    steps: int,
    *,
    hidden: int = 100,
    batch: int = 64,
    learning_rate: float = 1e-3,
    avoid: torch.Tensor | None = None,
    parts: bool = True,
) -> list[SymbolVAE]:
    """One trained :class:`SymbolVAE` per job, in the order of ``jobs``: :func:`scan_loss` minimised by Adam.

    A step takes ``batch`` pictures, says of each a random part of what it shows (:func:`random_parts`; without ``parts`` all
    of it, and the network never sees an attribute left open) and ties the symbol's Gaussian to the picture's. ``avoid`` (C, A): concepts
    that no symbol includes (only with ``parts``). The networks are trained side by side; a job's result depends on the job and the settings
    and not on the other jobs (up to the rounding of sums).

    Raises ``ValueError`` for no job, another direction, negative weights, pairs of different widths, ``avoid`` without
    ``parts`` (select the pairs before), and
    ``FloatingPointError`` when a loss was not finite.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    if not jobs:
        raise ValueError("jobs is empty; give at least one ScanJob(pairs, seed).")
    if avoid is not None and not parts:
        raise ValueError("avoid needs parts: a full description is not opened; leave out the pairs that include it.")
    widths = {(job.pairs.mu.shape[1], job.pairs.mu.dtype) for job in jobs}
    if len(widths) > 1:
        raise ValueError(f"all pairs need codes of one width and dtype, got {sorted(map(str, widths))}.")
    for job in jobs:
        one_of(job.direction, "direction", DIRECTIONS)
        _check_weights(job.lam, job.beta)
    (width, dtype), like = widths.pop(), jobs[0].pairs.mu
    models = [
        symbol_vae(sizes, width, hidden, generator=torch_generator(job.seed, "scan", "weights")).to(like)
        for job in jobs
    ]
    if any(len(job.pairs.mu) < 1 for job in jobs):
        raise ValueError("a job has no pairs; give at least one picture.")
    ensemble = VAEEnsemble(models)
    column = lambda values: torch.tensor(values, dtype=dtype, device=like.device)[:, None]
    lam, beta = column([job.lam for job in jobs]), column([job.beta for job in jobs])
    forward = column([float(job.direction == "forward") for job in jobs])
    optimiser = torch.optim.Adam(ensemble.parameters, lr=learning_rate, fused=True)
    feeds = [_Feed(job, sizes, batch, avoid, parts) for job in jobs]
    streams = [torch_generator(job.seed, "scan", "noise") for job in jobs]
    for step in progress(range(steps), "training steps"):
        rows = [feed(step) for feed in feeds]
        mu_x, logvar_x, y = (torch.stack(part) for part in zip(*rows, strict=True))  # (S, B, M) twice, (S, B, K)
        mu, logvar = ensemble.encoder(y).chunk(2, dim=2)
        noise = draw_noise(streams, mu)
        logits = ensemble.decoder(mu + torch.exp(0.5 * logvar) * noise)
        nll = bernoulli_nll(logits.flatten(0, 1), y.flatten(0, 1)).view(len(jobs), -1)
        cover = kl_diag_gaussians(mu_x, logvar_x, mu, logvar).sum(dim=2)
        pick = kl_diag_gaussians(mu, logvar, mu_x, logvar_x).sum(dim=2)
        tie = torch.where(forward > 0, cover, pick)
        loss = (nll + beta * gaussian_kl(mu, logvar).sum(dim=2) + lam * tie).mean(dim=1)
        optimiser.zero_grad()
        loss.sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
    if not bool(torch.isfinite(loss).all()):
        raise FloatingPointError("a loss was not finite; lower learning_rate or lam.")
    ensemble.write_back()
    return [model.eval() for model in models]


class _Feed:
    """The pairs of a job by step, drawn in blocks: a picture's code (B, M) twice, and the k-hot symbol (B, K) of (a part of) it."""

    BLOCK = 100

    def __init__(self, job: ScanJob, sizes: Sequence[int], batch: int, avoid: torch.Tensor | None, parts: bool):
        self.job, self.sizes, self.avoid, self.parts = job, sizes, avoid, parts
        self.batch = min(batch, len(job.pairs.mu))
        self.times = math.ceil(batch / self.batch)  # with fewer pictures than a batch, each is shown several times
        self.order = ShuffledBatches(len(job.pairs.mu), self.batch, job.seed, "scan")
        self.size = batch

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        block, inside = divmod(step, self.BLOCK)
        if inside == 0:
            first = block * self.BLOCK * self.times
            rows = torch.stack([self.order(first + i) for i in range(self.BLOCK * self.times)])
            self.rows = rows.view(self.BLOCK, -1)[:, : self.size]
            shown = self.job.pairs.assignments[self.rows.flatten()]
            source = torch_generator(self.job.seed, "scan", "parts", block)
            said = random_parts(shown, source, avoid=self.avoid) if self.parts else shown
            self.codes = khot(said, self.sizes).to(self.job.pairs.mu).view(self.BLOCK, self.size, -1)
        rows = self.rows[inside]
        return self.job.pairs.mu[rows], self.job.pairs.logvar[rows], self.codes[inside]


def _check_codes(mu: torch.Tensor, logvar: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    check_tensor(mu, "mu")
    check_tensor(logvar, "logvar")
    if mu.shape != logvar.shape or mu.dim() != 2 or len(mu) == 0:
        raise ValueError(f"mu and logvar must be (N, M), N at least 1; got {tuple(mu.shape)}, {tuple(logvar.shape)}.")
    return mu, logvar


def _check_weights(lam: float, beta: float) -> tuple[float, float]:
    lam, beta = as_float(lam, "lam", minimum=0.0), as_float(beta, "beta", minimum=0.0)
    if lam + beta == 0.0:
        raise ValueError("lam and beta are both 0: every Gaussian would be as good; give one of them a weight.")
    return lam, beta
