"""Concepts as partial assignments: what a symbol names, its k-hot code, the operations on it, and how to score pictures of it.

An *assignment* gives each of A attributes a value 0..K_a - 1, or -1 where it leaves the attribute open. (1, -1, 2) is "a
yellow wall and a beam, in whatever colour". Assignments stand as integer tensors (..., A). Sets of attributes, in effect:
a concept with fewer attributes is a more general one.
Higgins et al., arXiv 1707.03389; the operations as sets are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from workings.checks import as_generator, as_int, check_tensor, one_of, values_hidden

OPEN = -1
OPERATORS = ("and", "in_common", "ignore")


# --- codes ------------------------------------------------------------------------------------------------------------


def khot(assignments: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The k-hot codes (..., sum K_a) float32, 0 or 1, of ``assignments`` (..., A) over attributes of ``sizes``.

    Each attribute has a block of K_a places; the block of an open attribute is all zeros, so that a row's sum is the
    number of attributes that it names. What names nothing (all -1) is no concept, but it has a code, all zeros: that of
    "anything", which IN COMMON and IGNORE may leave. Raises ``ValueError`` for a label out of range and ``TypeError`` for
    labels that are no integers. Higgins et al., arXiv 1707.03389.
    """
    sizes = _check_sizes(sizes)
    labels = _check_assignments(assignments, sizes)
    blocks = [(labels[..., a, None] == torch.arange(k, device=labels.device)) for a, k in enumerate(sizes)]
    return torch.cat(blocks, dim=-1).float()


def assignments_from_khot(codes: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The assignments (..., A) int64 whose :func:`khot` codes are ``codes`` (..., sum K_a).

    Raises ``ValueError`` for another width, numbers other than 0 and 1, or a block with more than one 1. For a decoder's
    logits take the largest of each block (:func:`read_symbol`).
    """
    sizes = _check_sizes(sizes)
    check_tensor(codes, "codes", floating=False)
    _check_width(codes, sizes, "codes")
    if not values_hidden(codes) and not bool(((codes == 0) | (codes == 1)).all()):
        raise ValueError("codes must be 0 or 1; for logits or probabilities use read_symbol.")
    found = []
    for a, block in enumerate(codes.split(sizes, dim=-1)):
        marked = (block != 0).sum(dim=-1)
        if not values_hidden(codes) and bool((marked > 1).any()):
            raise ValueError(f"attribute {a} has more than one value in a code; a block holds at most one 1.")
        found.append(torch.where(marked == 1, (block != 0).int().argmax(dim=-1), OPEN))
    return torch.stack(found, dim=-1)


def read_symbol(logits: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The most likely value (..., A) int64 of every attribute: the largest of each block of ``logits`` (..., sum K_a).

    No threshold at one half: a network that has seen most attributes left open puts most probabilities below it.
    Raises ``ValueError`` for another width.
    """
    sizes = _check_sizes(sizes)
    check_tensor(logits, "logits")
    _check_width(logits, sizes, "logits")
    return torch.stack([block.argmax(dim=-1) for block in logits.split(sizes, dim=-1)], dim=-1)


def count_concepts(sizes: Sequence[int]) -> int:
    """How many concepts name at least one attribute: ``prod (K_a + 1) - 1``. 16, 16, 16 and 3 values give 19,651."""
    return math.prod(k + 1 for k in _check_sizes(sizes)) - 1


def all_concepts(sizes: Sequence[int]) -> torch.Tensor:
    """Every concept that names at least one attribute, (:func:`count_concepts`, A) int64, open attributes first."""
    sizes = _check_sizes(sizes)
    grid = torch.cartesian_prod(*(torch.arange(OPEN, k) for k in sizes)).view(-1, len(sizes))
    return grid[1:]


# --- what holds of what -----------------------------------------------------------------------------------------------


def includes(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Whether ``a`` names all that ``b`` names, with the same values: (..., A) each to (...) bool; shapes broadcast.

    With ``a`` a full description of a picture this says that the concept ``b`` holds of it.
    """
    a, b = _check_pair(a, b)
    return ((b == OPEN) | (a == b)).all(dim=-1)


def conflicts(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Whether ``a`` and ``b`` give some attribute different values: (..., A) each to (...) bool; shapes broadcast."""
    a, b = _check_pair(a, b)
    return ((a != OPEN) & (b != OPEN) & (a != b)).any(dim=-1)


def concept_and(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What ``a`` names and what ``b`` names, (..., A) each to (..., A). Raises ``ValueError`` where they conflict."""
    a, b = _check_pair(a, b)
    if bool(conflicts(a, b).any()):
        raise ValueError(
            "AND is not defined for concepts that conflict: nothing is a red wall and a green one; "
            "leave out the pairs that conflicts(a, b) marks."
        )
    return torch.where(a == OPEN, b, a)


def concept_in_common(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What ``a`` and ``b`` both name with the same value, (..., A) each to (..., A); possibly nothing."""
    a, b = _check_pair(a, b)
    return torch.where(a == b, a, OPEN)


def concept_ignore(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What remains of ``a`` without the attributes of ``b``, (..., A) each to (..., A).

    ``b`` must be a part of ``a``: ``ValueError`` where ``includes(a, b)`` is false.
    """
    a, b = _check_pair(a, b)
    if not bool(includes(a, b).all()):
        raise ValueError("IGNORE takes away a part: b must name only what a names; leave out pairs not includes(a, b).")
    return torch.where(b == OPEN, a, OPEN)


class OperatorPairs(NamedTuple):
    """Pairs of rows of :func:`all_concepts` and the row of their result, each (P,) int64."""

    first: torch.Tensor
    second: torch.Tensor
    result: torch.Tensor


_AT_ONCE = 2**19  # pairs of concepts that are looked at together


def operator_pairs(sizes: Sequence[int], operator: str) -> OperatorPairs:
    """All pairs of concepts for which ``operator`` ("and", "in_common" or "ignore") has a result that names something.

    Sorted by the first concept, then the second. All pairs are tried, :func:`count_concepts` squared, but in blocks of first
    concepts, so that only those with a result are held. Raises ``ValueError`` for another operator.
    """
    one_of(operator, "operator", OPERATORS)
    concepts = all_concepts(sizes)
    found = []
    for rows in torch.arange(len(concepts)).split(max(1, _AT_ONCE // len(concepts))):
        a = concepts[rows][:, None]
        if operator == "and":
            defined, apply = ~conflicts(a, concepts), concept_and
        elif operator == "in_common":
            defined, apply = torch.ones(len(rows), len(concepts), dtype=torch.bool), concept_in_common
        else:
            defined, apply = includes(a, concepts), concept_ignore
        first, second = defined.nonzero(as_tuple=True)
        first = rows[first]
        result = apply(concepts[first], concepts[second])
        some = (result != OPEN).any(dim=-1)
        found.append((first[some], second[some], concept_index(result[some], sizes)))
    return OperatorPairs(*(torch.cat(part) for part in zip(*found, strict=True)))


def concept_index(assignments: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The rows (...) int64 of ``assignments`` (..., A) in :func:`all_concepts`. ``ValueError`` for one that names nothing."""
    sizes = _check_sizes(sizes)
    labels = _check_named(_check_assignments(assignments, sizes))
    index = torch.zeros(labels.shape[:-1], dtype=torch.int64, device=labels.device)
    for a, k in enumerate(sizes):
        index = index * (k + 1) + labels[..., a] + 1
    return index - 1


# --- drawing symbols --------------------------------------------------------------------------------------------------


def random_parts(
    assignments: torch.Tensor, generator: torch.Generator, *, avoid: torch.Tensor | None = None
) -> torch.Tensor:
    """A random part of each of ``assignments`` (N, A), as (N, A): what a symbol may say of such a picture.

    Each named attribute is kept with probability 1/2; where none is left, one of the named is put back, all equally
    likely. ``avoid`` (C, A): concepts that no result may include; where one does, a random one of the avoided concept's
    attributes is opened. Raises ``ValueError`` for an assignment that names nothing, and for an avoided concept of
    fewer than two attributes (opening it could leave nothing).
    """
    labels = _check_named(_check_assignments(assignments, None))
    if labels.dim() != 2:
        raise ValueError(f"assignments must be (N, A), got {tuple(labels.shape)}.")
    source = as_generator(generator)
    draw = torch.rand(labels.shape, generator=source).to(labels.device)
    named = labels != OPEN
    keep = named & (draw < 0.5)
    # Where none is kept, all draws of named attributes are at least 1/2, and the largest of them is anyone's equally.
    last = torch.where(named, draw, -1.0).argmax(dim=1, keepdim=True)
    keep |= (~keep.any(dim=1, keepdim=True)) & torch.zeros_like(keep).scatter_(1, last, True)
    part = torch.where(keep, labels, OPEN)
    if avoid is None:
        return part
    avoid = _check_assignments(avoid, None)
    if avoid.dim() != 2 or avoid.shape[1] != labels.shape[1] or bool(((avoid != OPEN).sum(1) < 2).any()):
        raise ValueError("avoid must be (C, A) concepts of at least two attributes each.")
    for concept in avoid.to(labels.device):
        names = (concept != OPEN).nonzero()[:, 0]
        pick = torch.randint(len(names), (len(labels),), generator=source).to(labels.device)
        opened = torch.zeros_like(keep).scatter_(1, names[pick][:, None], True) & includes(part, concept)[:, None]
        part = torch.where(opened, OPEN, part)
    return part


# --- scores -----------------------------------------------------------------------------------------------------------


def concept_accuracy(read: torch.Tensor, assignments: torch.Tensor) -> torch.Tensor:
    """The share of named attributes that pictures of a concept have: ``read`` (..., n, A), ``assignments`` (..., A) to (...).

    ``read`` holds what each of n pictures shows, every attribute named. Float64 in [0, 1]: the mean over the n pictures
    and over the attributes that the concept names. Raises ``ValueError`` for a concept that names nothing, pictures with
    open attributes, or shapes that do not fit. After the accuracy of Higgins et al., arXiv 1707.03389.
    """
    read, labels = _check_read(read, _check_named(_check_assignments(assignments, None)))
    named = (labels != OPEN)[..., None, :].expand(read.shape)
    right = (read == labels[..., None, :]) & named
    return right.double().sum(dim=(-2, -1)) / named.double().sum(dim=(-2, -1))


def concept_diversity(read: torch.Tensor, assignments: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """How unevenly pictures of a concept use what it leaves open: ``read`` (..., n, A), ``assignments`` (..., A) to (...).

    For each open attribute, the KL of the shares among the n pictures to the even distribution, in nats; the mean over
    open attributes, float64. 0 is even, ln K collapsed to one of K values, so **lower is more diverse**. From n
    pictures that are truly even it comes out at about ``(K - 1) / (2 n)`` and not at 0. Raises ``ValueError`` for a
    concept without an open attribute, for labels out of range, or shapes that do not fit. After the diversity of Higgins
    et al., arXiv 1707.03389.
    """
    sizes = _check_sizes(sizes)
    read, labels = _check_read(_check_assignments(read, sizes), _check_assignments(assignments, sizes))
    free = labels == OPEN
    if not bool(free.any(dim=-1).all()):
        raise ValueError("every concept must leave an attribute open; of a full description there is nothing to vary.")
    away = []
    for a, k in enumerate(sizes):
        shares = torch.stack([(read[..., a] == value).double().mean(dim=-1) for value in range(k)], dim=-1)
        away.append(math.log(k) - torch.special.entr(shares).sum(dim=-1))
    return torch.where(free, torch.stack(away, dim=-1).clamp(min=0.0), 0.0).sum(dim=-1) / free.double().sum(dim=-1)


# --- checks -----------------------------------------------------------------------------------------------------------


def _check_sizes(sizes: Sequence[int]) -> list[int]:
    sizes = [as_int(k, f"sizes[{a}]", minimum=1) for a, k in enumerate(sizes)]
    if not sizes:
        raise ValueError("sizes is empty; give the number of values of at least one attribute.")
    return sizes


def _check_assignments(labels: torch.Tensor, sizes: Sequence[int] | None) -> torch.Tensor:
    check_tensor(labels, "assignments", floating=False)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype in (torch.bool, torch.uint8):
        raise TypeError(f"assignments must be signed integers, got {labels.dtype}; -1 stands for an open attribute.")
    if labels.dim() < 1 or labels.shape[-1] == 0 or (sizes is not None and labels.shape[-1] != len(sizes)):
        wanted = "A" if sizes is None else len(sizes)
        raise ValueError(f"assignments must be (..., {wanted}), got {tuple(labels.shape)}.")
    labels = labels.long()
    high = None if sizes is None else labels.new_tensor(list(sizes))
    wrong = labels < OPEN if high is None else (labels < OPEN) | (labels >= high)
    if bool(wrong.any()):
        where = tuple(int(i) for i in wrong.nonzero()[0])
        allowed = "-1 (open) or more" if sizes is None else f"-1 (open) to {sizes[where[-1]] - 1}"
        raise ValueError(f"assignments[{', '.join(map(str, where))}] is {int(labels[where])}; allowed: {allowed}.")
    return labels


def _check_named(labels: torch.Tensor) -> torch.Tensor:
    if not bool((labels != OPEN).any(dim=-1).all()):
        raise ValueError("an assignment names nothing (all -1): that is no concept; name at least one attribute.")
    return labels


def _check_pair(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = _check_assignments(a, None), _check_assignments(b, None)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"a and b must have the same attributes, got {a.shape[-1]} and {b.shape[-1]} of them.")
    try:
        return torch.broadcast_tensors(a, b)
    except RuntimeError:
        raise ValueError(f"a and b do not fit together: {tuple(a.shape)} and {tuple(b.shape)}.") from None


def _check_read(read: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    read = _check_assignments(read, None)
    if read.dim() < 2 or read.shape[:-2] + read.shape[-1:] != labels.shape or read.shape[-2] == 0:
        raise ValueError(
            f"read must be (..., n, A) for assignments (..., A), n at least 1; got {tuple(read.shape)} and {tuple(labels.shape)}."
        )
    if bool((read == OPEN).any()):
        raise ValueError("read has open attributes (-1); say of every picture what it shows.")
    return read, labels


def _check_width(codes: torch.Tensor, sizes: list[int], name: str) -> None:
    if codes.dim() < 1 or codes.shape[-1] != sum(sizes):
        raise ValueError(f"{name} must be (..., {sum(sizes)}) for sizes {sizes}, got {tuple(codes.shape)}.")
