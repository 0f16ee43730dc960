"""Episodes of few-shot learning: a few classes, a few labelled images of each, and other images to be classified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from workings import require_torch
from workings.checks import as_generator, as_host_array, as_int

with require_torch("few_shot.episodes"):
    import torch

_BLOCK = 1 << 20  # numbers shuffled at a time: memory does not grow with the number of episodes


class Episodes(NamedTuple):
    """E episodes of K ways as indices into the data, int64.

    ``classes`` (E, K): the label in the data of each way; ``support`` (E, K, s) and ``query`` (E, K, q): indices of its items.
    Within an episode the label of an item is the place 0..K-1 of its class, not its label in the data.
    """

    classes: torch.Tensor
    support: torch.Tensor
    query: torch.Tensor

    @property
    def way(self) -> int:
        """K, the number of classes of an episode."""
        return self.classes.shape[1]

    def only(self, which: Any) -> Episodes:
        """The episodes ``which``: indices, a slice or a mask over the first dimension."""
        return Episodes(self.classes[which], self.support[which], self.query[which])

    def support_labels(self) -> torch.Tensor:
        """Labels (K s,) of ``support`` flattened class by class: 0, ..., 0, 1, ..."""
        return torch.arange(self.way).repeat_interleave(self.support.shape[2])

    def query_labels(self) -> torch.Tensor:
        """Labels (K q,) of ``query`` flattened class by class: 0, ..., 0, 1, ..."""
        return torch.arange(self.way).repeat_interleave(self.query.shape[2])


class EpisodeSampler:
    """Draws episodes of ``way`` classes with ``shot`` support and ``query`` query items each, all without replacement.

    ``labels`` (N,): whole numbers, the class of each item; they need not be consecutive. Classes are drawn uniformly, then
    items of each class uniformly. ``groups`` (N,), whole numbers, keeps an episode inside one group, for instance an alphabet: a
    group is drawn uniformly among those with at least ``way`` classes, then classes within it; a class belongs to one group.
    ``sample(E)`` draws E episodes at once from ``generator``; iterating gives one at a time, without end.

    Raises ``TypeError`` for labels that are not whole numbers and ``ValueError`` when there are fewer than ``way`` classes (in
    every group), when a class has fewer than ``shot + query`` items, or when a class stands in two groups.
    """

    def __init__(self, labels: Any, way: int, shot: int, query: int, generator: torch.Generator, *, groups: Any = None):
        labels = _whole(labels, "labels")
        self.way = as_int(way, "way", minimum=1)
        self.shot = as_int(shot, "shot", minimum=1)
        self.query = as_int(query, "query", minimum=0)
        self.generator = as_generator(generator)
        classes, first, place, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
        if len(classes) < way:
            raise ValueError(f"way is {way}, but labels hold {len(classes)} class(es); lower way or add classes.")
        if counts.min() < shot + query:
            few = int(counts.argmin())
            raise ValueError(
                f"class {classes[few]} has {counts[few]} item(s), fewer than shot + query = {shot + query}; "
                "leave out such classes or lower shot or query."
            )
        self._classes = classes  # (C,)
        self._items = _table(np.argsort(place, kind="stable"), counts)  # (C, most), the items of each class first
        self._counts = counts
        if groups is None:
            self._members, self._sizes = np.arange(len(classes))[None], np.array([len(classes)])
        else:
            self._members, self._sizes = self._by_group(_whole(groups, "groups"), labels, place, first)

    def _by_group(
        self, groups: np.ndarray, labels: np.ndarray, place: np.ndarray, first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The classes (G, most) of each group that has enough of them, and how many those are (G,)."""
        if groups.shape != labels.shape:
            raise ValueError(f"groups must have one entry per label, {labels.shape}, got {groups.shape}.")
        of_class = groups[first]
        if (of_class[place] != groups).any():
            torn = int(labels[np.argmax(of_class[place] != groups)])
            raise ValueError(f"class {torn} stands in more than one group; a class belongs to one group.")
        counts = np.unique(of_class, return_counts=True)[1]
        if counts.max() < self.way:
            raise ValueError(
                f"way is {self.way}, but the largest group has {counts.max()} class(es); lower way or leave groups out."
            )
        enough = counts >= self.way
        return _table(np.argsort(of_class, kind="stable"), counts)[enough], counts[enough]

    def sample(self, episodes: int) -> Episodes:
        """``episodes`` new episodes."""
        episodes = as_int(episodes, "episodes", minimum=1)
        widest = max(self._members.shape[1], self.way * self._items.shape[1])
        step = max(1, _BLOCK // widest)
        parts = [self._some(min(step, episodes - start)) for start in range(0, episodes, step)]
        return Episodes(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _some(self, episodes: int) -> Episodes:
        group = np.zeros(episodes, dtype=np.int64)
        if len(self._sizes) > 1:
            group = torch.randint(len(self._sizes), (episodes,), generator=self.generator).numpy()
        place = _distinct(self._sizes[group], self._members.shape[1], self.way, self.generator)
        chosen = self._members[group[:, None], place]  # (E, K)
        flat = chosen.ravel()
        place = _distinct(self._counts[flat], self._items.shape[1], self.shot + self.query, self.generator)
        taken = torch.from_numpy(self._items[flat[:, None], place].reshape(episodes, self.way, -1))
        return Episodes(torch.from_numpy(self._classes[chosen]), taken[:, :, : self.shot], taken[:, :, self.shot :])

    def __iter__(self) -> Iterator[Episodes]:
        while True:
            yield self.sample(1)


def _table(order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``order`` cut into rows of ``counts`` entries, (len(counts), most); the rest of a short row is not to be read."""
    starts = (np.cumsum(counts) - counts)[:, None]
    return order[np.minimum(starts + np.arange(counts.max()), len(order) - 1)]


def _distinct(sizes: np.ndarray, most: int, count: int, generator: torch.Generator) -> np.ndarray:
    """``count`` distinct numbers below ``sizes`` (rows,) in random order, (rows, count) int64, ``most`` the largest size.

    The first ``count`` swaps of a Fisher-Yates shuffle: entry k trades places with a random one of those from k on. It takes
    ``count`` random numbers per row, where sorting random keys takes ``most``.
    """
    rows = np.arange(len(sizes))
    uniform = torch.rand(len(sizes), count, generator=generator, dtype=torch.float64).numpy()
    other = np.arange(count) + (uniform * (sizes[:, None] - np.arange(count))).astype(np.int64)
    pool = np.broadcast_to(np.arange(most), (len(sizes), most)).copy()
    for k in range(count):
        here = pool[:, k].copy()
        pool[:, k] = pool[rows, other[:, k]]
        pool[rows, other[:, k]] = here
    return pool[:, :count]


def _whole(values: Any, name: str) -> np.ndarray:
    """One-dimensional whole numbers as int64."""
    array = as_host_array(values, name)
    if array.dtype.kind not in "iu":
        hint = (
            "; numpy.unique(labels, return_inverse=True)[1] makes numbers of names" if array.dtype.kind in "USO" else ""
        )
        raise TypeError(f"{name} must be whole numbers, got {array.dtype}{hint}.")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape (N,) with at least one entry, got {array.shape}.")
    return array.astype(np.int64)
