"""Operators on concepts as a small network: AND, IN COMMON and IGNORE of two Gaussians, one latent at a time.

The network sees, for one latent, the two concepts' means and log-variances and answers with those of the result. It is
the same for every latent, so what it learns cannot depend on which factor a latent holds. Letters: B batch, M latents,
C concepts, P pairs. Higgins et al., arXiv 1707.03389; that it is a 1x1 convolution is as a public re-implementation has it, the
hidden layer and its width are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from workings.checks import as_int, check_tensor
from workings.disentangling.concepts import OPERATORS, OperatorPairs
from workings.disentangling.ensembles import LinearEnsemble
from workings.disentangling.networks import initialise
from workings.disentangling.objectives import kl_diag_gaussians
from workings.disentangling.scan import Gaussian
from workings.runs.progress import progress
from workings.seeding import torch_generator


class RecombinationNet(nn.Module):
    """4-hidden-2R with ReLU, applied to each latent by itself (a 1x1 convolution); R operators with an output pair each.

    Permuting the latents of both inputs permutes the result in the same way. Parameters: 4 h + h + 2 R h + 2 R.
    """

    def __init__(self, hidden: int = 64, n_ops: int = len(OPERATORS)):
        super().__init__()
        self.n_ops = as_int(n_ops, "n_ops", minimum=1)
        hidden = as_int(hidden, "hidden", minimum=1)
        self.linears = nn.ModuleList([nn.Linear(4, hidden), nn.Linear(hidden, 2 * self.n_ops)])

    def forward(self, first: Gaussian, second: Gaussian, operator: torch.Tensor) -> Gaussian:
        """The results (B, M) of ``operator`` (B,) int, 0..R-1, on concepts ``first`` and ``second``, each (B, M) twice.

        Raises ``ValueError`` for an operator out of range or shapes that differ.
        """
        inputs = _stacked(first, second)
        operator = _check_operator(operator, self.n_ops, len(inputs))
        answers = self.linears[1](torch.relu(self.linears[0](inputs)))  # (B, M, 2 R)
        return _chosen(answers, operator)


def recombination_net(hidden: int = 64, n_ops: int = len(OPERATORS), *, generator: torch.Generator) -> RecombinationNet:
    """A :class:`RecombinationNet` with weights drawn from ``generator`` (CPU)."""
    with torch.device("meta"):
        model = RecombinationNet(hidden, n_ops)
    return initialise(model.to_empty(device="cpu"), generator)


class RecombinationJob(NamedTuple):
    """One training: ``concepts`` (C, M), what a symbols' network makes of every concept; ``targets`` (C, M), what results
    should be, for instance matched to pictures' codes; and the ``seed``."""

    concepts: Gaussian
    targets: Gaussian
    seed: int


def train_recombinations(
    jobs: Sequence[RecombinationJob],
    pairs: Sequence[OperatorPairs],
    steps: int,
    *,
    hidden: int = 64,
    batch: int = 64,
    learning_rate: float = 1e-3,
) -> list[RecombinationNet]:
    """One trained :class:`RecombinationNet` per job: ``mean KL(target of the result || answer)`` minimised by Adam.

    ``pairs[r]`` holds the pairs of operator r and the row of their results. A step takes ``batch`` pairs, of each
    operator equally many on average. The symbols' and the vision model stand still: the tables of ``jobs`` take no
    gradient. With targets from :func:`workings.disentangling.scan.matched_gaussian` this has, up to a constant, the gradient of the
    mean KL from the codes of all pictures of the result. A job's result depends on the job, the pairs and the settings.

    Raises ``ValueError`` for no job or an operator without pairs, ``FloatingPointError`` for a loss that was not finite.
    """
    steps, batch = as_int(steps, "steps", minimum=1), as_int(batch, "batch", minimum=1)
    if not jobs or not pairs or any(len(one.first) == 0 for one in pairs):
        raise ValueError("give at least one job, and at least one pair for every operator.")
    nets = [
        recombination_net(hidden, len(pairs), generator=torch_generator(job.seed, "recombine", "weights")).to(
            job.concepts.mu
        )
        for job in jobs
    ]
    ensemble = LinearEnsemble([net.linears for net in nets])
    stack = lambda tables: Gaussian(*(torch.stack(part).detach() for part in zip(*tables, strict=True)))
    concepts, targets = stack([job.concepts for job in jobs]), stack([job.targets for job in jobs])  # (S, C, M)
    table = torch.stack([torch.cat(column) for column in zip(*pairs, strict=True)], dim=1)  # (P, 3)
    counts = torch.tensor([len(one.first) for one in pairs])
    starts = counts.cumsum(0) - counts
    streams = [torch_generator(job.seed, "recombine", "pairs") for job in jobs]
    each = torch.arange(len(jobs))[:, None]
    optimiser = torch.optim.Adam(ensemble.parameters, lr=learning_rate, fused=True)
    for _ in progress(range(steps), "training steps"):
        operator = torch.stack([torch.randint(len(pairs), (batch,), generator=s) for s in streams])  # (S, B)
        draw = torch.stack([torch.rand(batch, generator=s) for s in streams])
        row = starts[operator] + (draw * counts[operator]).long().clamp(max=counts[operator] - 1)
        first, second, result = table[row].unbind(dim=2)  # (S, B)
        take = lambda tables, index: Gaussian(tables.mu[each, index], tables.logvar[each, index])
        inputs = _stacked(take(concepts, first), take(concepts, second))  # (S, B, M, 4)
        answers = ensemble(inputs.flatten(1, 2)).view(*inputs.shape[:3], -1)
        answer = _chosen(answers, operator)
        loss = kl_diag_gaussians(*take(targets, result), *answer).sum(dim=2).mean(dim=1)
        optimiser.zero_grad()
        loss.sum().backward()  # the terms share no weight, so each network follows its own gradient
        optimiser.step()
    if not bool(torch.isfinite(loss).all()):
        raise FloatingPointError("a loss was not finite; lower learning_rate.")
    ensemble.write_back()
    return [net.eval() for net in nets]


def _stacked(first: Gaussian, second: Gaussian) -> torch.Tensor:
    parts = (*first, *second)
    for part in parts:
        check_tensor(part, "a concept's mean or log-variance")
    if len({part.shape for part in parts}) != 1 or parts[0].dim() < 2:
        raise ValueError(f"means and log-variances must be of one shape (B, M), got {[tuple(p.shape) for p in parts]}.")
    return torch.stack(parts, dim=-1)


def _chosen(answers: torch.Tensor, operator: torch.Tensor) -> Gaussian:
    """Of ``answers`` (..., M, 2 R) the pair of ``operator`` (...)."""
    both = answers.unflatten(-1, (-1, 2))  # (..., M, R, 2)
    index = operator[..., None, None, None].expand(*both.shape[:-2], 1, 2)
    return Gaussian(*both.gather(-2, index).squeeze(-2).unbind(dim=-1))


def _check_operator(operator: torch.Tensor, n_ops: int, batch: int) -> torch.Tensor:
    check_tensor(operator, "operator", floating=False)
    if operator.is_floating_point() or operator.dtype == torch.bool:
        raise TypeError(f"operator must be integers, got {operator.dtype}.")
    if operator.shape != (batch,):
        raise ValueError(f"operator must be ({batch},), one number per pair, got {tuple(operator.shape)}.")
    if batch and not bool(((operator >= 0) & (operator < n_ops)).all()):
        raise ValueError(f"operator must be in 0..{n_ops - 1}, got {int(operator.min())} to {int(operator.max())}.")
    return operator.long()
