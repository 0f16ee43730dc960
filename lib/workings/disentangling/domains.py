"""Domains of a family of tasks: which values of the factors, and which conjunctions of them, are seen where."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Hashable, Iterable

import numpy as np

from workings.checks import as_int, as_numpy_generator


@dataclasses.dataclass(frozen=True)
class DomainSpec:
    """The conjunctions of factor values that a domain holds, all equally likely.

    ``names`` are the K factors, ``rows`` the conjunctions, one value for each factor. :meth:`product` makes the domain
    in which the factors are independent. Raises ``ValueError`` for no row, a row of another length, or one that is
    given twice.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Hashable, ...], ...]

    def __post_init__(self) -> None:
        names = tuple(self.names)
        rows = tuple(tuple(_plain(value) for value in row) for row in self.rows)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"names must be different names of at least one factor, got {names}.")
        if not rows:
            raise ValueError("a domain needs at least one conjunction of factor values, got none.")
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"a conjunction must have one value for each of {names}, got {row}.")
        if len(set(rows)) != len(rows):
            twice = next(row for row in rows if rows.count(row) > 1)
            raise ValueError(f"the conjunction {twice} is given twice; every one is equally likely, so give it once.")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "rows", rows)

    @classmethod
    def product(cls, **values: Iterable[Hashable]) -> DomainSpec:
        """Every combination of the given values of each factor: ``DomainSpec.product(wall=(0, 1), kind=(0, 1))``."""
        return cls(tuple(values), tuple(itertools.product(*map(tuple, values.values()))))

    def values(self, name: str) -> set[Hashable]:
        """The values of the factor ``name`` that the domain holds."""
        if name not in self.names:
            raise ValueError(f"name must be one of {self.names}, got {name!r}.")
        return {row[self.names.index(name)] for row in self.rows}

    def indices(self) -> np.ndarray:
        """The conjunctions as an array (rows, K) of integers; ``TypeError`` where the values are no integers."""
        return self._indices.copy()

    @functools.cached_property
    def _indices(self) -> np.ndarray:
        return np.array([[as_int(value, "a factor value") for value in row] for row in self.rows])

    def draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """``n`` conjunctions (n, K), drawn uniformly with replacement."""
        n = as_int(n, "n", minimum=0)
        chosen = as_numpy_generator(generator).integers(0, len(self.rows), n)
        return self._indices[chosen]


def _plain(value: Hashable) -> Hashable:
    return value.item() if isinstance(value, np.generic) else value


def assert_conjunction_heldout(
    source: DomainSpec, target: DomainSpec, unsupervised: DomainSpec, *, strict: bool = False
) -> None:
    """Raise ``ValueError`` unless the three domains make a test of zero-shot transfer.

    No conjunction of ``target`` may be in ``source``, and every single value of ``target`` must be in ``unsupervised``,
    the data of the vision stage; with ``strict`` no conjunction of ``target`` may be there either. Also raises when the
    domains name other factors. Higgins et al., arXiv 1707.08475, the setting.
    """
    for domain in (source, target, unsupervised):
        if not isinstance(domain, DomainSpec):
            raise TypeError(f"a domain must be a DomainSpec, got {type(domain).__name__}.")
    if not source.names == target.names == unsupervised.names:
        raise ValueError(
            f"the domains must name the same factors in the same order, got {source.names}, {target.names} and "
            f"{unsupervised.names}."
        )
    forbidden = [("source", source)] + [("unsupervised", unsupervised)] * strict
    for name, domain in forbidden:
        shared = sorted(set(target.rows) & set(domain.rows), key=str)
        if shared:
            raise ValueError(
                f"target and {name} share {len(shared)} conjunction(s) of {target.names}, the first {shared[0]}; "
                "take them out of one of the two, or the test is no test of transfer."
            )
    for name in target.names:
        unseen = sorted(target.values(name) - unsupervised.values(name), key=str)
        if unseen:
            raise ValueError(
                f"the value {unseen[0]!r} of {name!r} is in the target and not in the unsupervised data; the vision stage "
                "must have seen every single value."
            )
