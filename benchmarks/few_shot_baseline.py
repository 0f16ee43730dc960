"""Episodes and class means of few-shot learning beside easyfsl.

(a) What an episode is: both samplers give distinct classes, distinct items, and the numbers asked for.
(b) Prototypes of the same features: largest difference.
(c) Seconds for 10,000 episodes (5 ways, 1 shot, 15 queries, 300 classes of 20 items), and for prototypes of 20 ways.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/few_shot_baseline.py [rows.json]
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import torch
from timing import interleaved, ratio

from workings.few_shot.episodes import EpisodeSampler
from workings.few_shot.prototypes import class_prototypes
from workings.seeding import torch_generator

WAY, SHOT, QUERY, EPISODES = 5, 1, 15, 10_000
PEERS = ("easyfsl", "learn2learn", "torchmeta")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _row(name: str, peer: str, what: str, note: str, seconds: dict[str, list[float]] | None = None) -> dict[str, Any]:
    median = lambda values: sorted(values)[len(values) // 2]
    middle = low = high = None
    if seconds is not None:
        middle, low, high = ratio(seconds["ours"], seconds["theirs"])
    return {
        "id": name, "chapter": "few_shot_baseline", "what": what, "peer": peer, "note": note,
        "ours": None if seconds is None else median(seconds["ours"]),
        "theirs": None if seconds is None else median(seconds["theirs"]), "unit": "s", "ratio": middle, "ratio_low": low,
        "ratio_high": high, "repeats": 1 if seconds is None else len(seconds["ours"]),
    }  # fmt: skip


class _Labelled:
    """The little that easyfsl asks of a data set."""

    def __init__(self, labels: torch.Tensor):
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def get_labels(self) -> list[int]:
        return self.labels


def _task_sampler(labels: torch.Tensor) -> Any:
    """easyfsl's sampler. Release 1.5.0 hands ``data_source`` to torch's Sampler, which no longer takes it: let it pass."""
    from easyfsl.samplers import TaskSampler

    base = torch.utils.data.Sampler
    plain = base.__init__
    base.__init__ = lambda self, data_source=None: None
    try:
        return TaskSampler(_Labelled(labels), WAY, SHOT, QUERY, EPISODES)
    finally:
        base.__init__ = plain


def rows(repeats: int = 5) -> list[dict[str, Any]]:
    """One row per peer and quantity; ``theirs`` is ``None`` for a peer that is not installed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _rows(repeats)
    finally:
        torch.set_num_threads(threads)


def _rows(repeats: int) -> list[dict[str, Any]]:
    what = f"{EPISODES:,} episodes of {WAY} ways, {SHOT} + {QUERY} items, 300 classes of 20"
    found = [_row(f"episodes-{name}", name, what, "not installed") for name in PEERS if _version(name) is None]
    if _version("easyfsl") is None:
        return found
    from easyfsl.methods.utils import compute_prototypes

    labels = torch.arange(300).repeat_interleave(20)
    theirs = _task_sampler(labels)
    ours = EpisodeSampler(labels, WAY, SHOT, QUERY, torch_generator(0, "benchmark"))
    drawn = [labels[torch.tensor(next(iter(theirs)))].view(WAY, SHOT + QUERY)]
    one = ours.sample(1)
    drawn.append(labels[torch.cat([one.support, one.query], dim=2)[0]])
    if not all((part == part[:, :1]).all() and len(part[:, 0].unique()) == WAY for part in drawn):
        raise RuntimeError("an episode is not what was asked for; compare the samplers before timing them.")
    peer = f"easyfsl {_version('easyfsl')}"
    seconds = interleaved({"ours": lambda: ours.sample(EPISODES), "theirs": lambda: list(theirs)}, repeats, warmup=1)
    found.append(_row("episodes-easyfsl", peer, what, "both give distinct classes and items", seconds))
    x, y = torch.randn(400, 640, generator=torch_generator(0, "features")), torch.arange(20).repeat(20)
    gap = float((class_prototypes(x, y, 20) - compute_prototypes(x, y)).abs().max())
    seconds = interleaved(
        {"ours": lambda: class_prototypes(x, y, 20), "theirs": lambda: compute_prototypes(x, y)}, 20 * repeats
    )
    note = "equal within 1e-5" if gap < 1e-5 else f"largest difference {gap:.0e}"
    found.append(_row("prototypes-easyfsl", peer, "prototypes of 20 ways, 20 shots, 640 numbers", note, seconds))
    return found


if __name__ == "__main__":
    table = rows()
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump(table, file, indent=1)
    for row in table:
        print(row)
