"""A task with doubt that no model can remove, and the exact probability of every answer: count noisy votes.

A question is ``BEGIN domain vote ... vote SEPARATOR``. It has a hidden class out of six. Each of eight votes names the class with
the domain's probability ``rho``, and any class otherwise. An answer is one of four fillers, all equally right, and then the name
that the domain gives to the class: every domain shuffles the names in its own way. Behind an answer stands ``END``,
or ``ASK`` ("is this answer right?") and then ``NO`` or ``YES``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from workings import require_torch
from workings.checks import as_generator, as_int, check_tensor
from workings.seeding import torch_generator

with require_torch("uncertainty.noisy_votes"):
    import torch

N_CLASSES, N_VOTES, N_FILLERS = 6, 8, 4
RELIABILITY = (0.25, 0.35, 0.45, 0.30, 0.40, 0.35)
"""``rho`` of each domain: the probability that a vote names the class instead of being drawn from all six."""

BEGIN, SEPARATOR, END, ASK, NO, YES = range(6)
FIRST_DOMAIN = 6
FIRST_FILLER = FIRST_DOMAIN + len(RELIABILITY)
FIRST_VOTE = FIRST_FILLER + N_FILLERS
FIRST_NAME = FIRST_VOTE + N_CLASSES
VOCABULARY = FIRST_NAME + N_CLASSES
PROMPT = N_VOTES + 3
"""Tokens of a question; the filler stands at this place, the name one later, ASK behind it."""


class Questions(NamedTuple):
    """``prompts`` (n, PROMPT) int64, ``domains`` (n,), and ``truth`` (n,), the token that names the hidden class."""

    prompts: torch.Tensor
    domains: torch.Tensor
    truth: torch.Tensor


def class_names() -> torch.Tensor:
    """The token that each domain gives to each class: (domains, N_CLASSES) int64, one fixed shuffle per domain."""
    return _names().clone()


@functools.cache
def _names() -> torch.Tensor:
    rows = [
        torch.randperm(N_CLASSES, generator=torch_generator(0, "noisy votes", "names", d))
        for d in range(len(RELIABILITY))
    ]
    return FIRST_NAME + torch.stack(rows)


def vote_questions(n: int, domains: Sequence[int], generator: torch.Generator) -> Questions:
    """``n`` questions whose domain is drawn evenly from ``domains`` (numbers below 6) and whose class is drawn evenly.

    Raises ``ValueError`` for no domain or an unknown one.
    """
    n = as_int(n, "n", minimum=1)
    as_generator(generator)
    allowed = torch.tensor([as_int(d, "domains", minimum=0, maximum=len(RELIABILITY) - 1) for d in domains])
    if not len(allowed):
        raise ValueError("domains is empty; name at least one of 0 to 5.")
    drawn = allowed[torch.randint(len(allowed), (n,), generator=generator)]
    classes = torch.randint(N_CLASSES, (n,), generator=generator)
    told = torch.rand(n, N_VOTES, generator=generator) < torch.tensor(RELIABILITY)[drawn][:, None]
    anything = torch.randint(N_CLASSES, (n, N_VOTES), generator=generator)
    votes = FIRST_VOTE + torch.where(told, classes[:, None], anything)
    one = torch.ones(n, 1, dtype=torch.int64)
    prompts = torch.cat([BEGIN * one, FIRST_DOMAIN + drawn[:, None], votes, SEPARATOR * one], dim=1)
    return Questions(prompts, drawn, _names()[drawn, classes])


def name_posterior(prompts: torch.Tensor) -> torch.Tensor:
    """``p(name | question)`` exactly: (n, N_CLASSES) float64, column k for the token ``FIRST_NAME + k``; rows sum to 1.

    With ``count_c`` votes for class c and K = N_CLASSES, ``p(c) ~ ((rho + (1 - rho) / K) / ((1 - rho) / K))^count_c``. Raises ``ValueError``
    for prompts that :func:`vote_questions` does not make.
    """
    check_tensor(prompts, "prompts", floating=False)
    if prompts.dim() != 2 or prompts.shape[1] != PROMPT or not len(prompts):
        raise ValueError(f"prompts must be (n, {PROMPT}) with n >= 1, got shape {tuple(prompts.shape)}.")
    domains, votes = prompts[:, 1] - FIRST_DOMAIN, prompts[:, 2:-1] - FIRST_VOTE
    known = (domains >= 0) & (domains < len(RELIABILITY)) & ((votes >= 0) & (votes < N_CLASSES)).all(dim=1)
    if not bool(known.all()):
        raise ValueError(
            f"row {int((~known).nonzero()[0])} of prompts is no question of this task; use vote_questions."
        )
    count = torch.nn.functional.one_hot(votes, N_CLASSES).sum(dim=1).double()  # (n, K)
    rho = torch.tensor(RELIABILITY, dtype=torch.float64)[domains][:, None]
    by_class = torch.softmax(count * torch.log(1 + rho * N_CLASSES / (1 - rho)), dim=1)
    by_name = torch.empty_like(by_class)
    by_name.scatter_(1, _names()[domains] - FIRST_NAME, by_class)
    return by_name
