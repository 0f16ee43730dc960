"""Episodes and class means of few-shot learning beside easyfsl and learn2learn.

(a) What an episode is: every sampler gives distinct classes, distinct items, and the numbers asked for.
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
MISSING = {
    "easyfsl": "not installed",
    "learn2learn": "not installed",
    "torchmeta": "not installed: it needs torch below 1.10; its loss is derived anew under the chapter on difficulty",
}


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


def _learn2learn_tasks(labels: torch.Tensor) -> Any:
    """The fastest of learn2learn's ways to an episode: a function that gives a list of items with their ``index``."""
    from learn2learn.data import MetaDataset
    from learn2learn.data.transforms import FusedNWaysKShots

    class Numbered(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, place: int) -> tuple[int, int]:
            return place, int(labels[place])

    return FusedNWaysKShots(MetaDataset(Numbered()), n=WAY, k=SHOT + QUERY)


def _check_episode(items: torch.Tensor, labels: torch.Tensor) -> None:
    """``RuntimeError`` unless ``items`` are those of one episode, class by class."""
    of = labels[items].view(WAY, SHOT + QUERY)
    if (of != of[:, :1]).any() or len(of[:, 0].unique()) != WAY or len(items.unique()) != len(items):
        raise RuntimeError("an episode is not what was asked for; compare the samplers before timing them.")


def _rows(repeats: int) -> list[dict[str, Any]]:
    what = f"{EPISODES:,} episodes of {WAY} ways, {SHOT} + {QUERY} items, 300 classes of 20"
    found = [_row(f"episodes-{name}", name, what, note) for name, note in MISSING.items() if _version(name) is None]
    labels = torch.arange(300).repeat_interleave(20)
    ours = EpisodeSampler(labels, WAY, SHOT, QUERY, torch_generator(0, "benchmark"))
    one = ours.sample(1)
    _check_episode(torch.cat([one.support, one.query], dim=2).flatten(), labels)
    samplers = {"ours": lambda: ours.sample(EPISODES)}
    notes = {"easyfsl": "distinct classes and items in both", "learn2learn": "FusedNWaysKShots: which items, without loading them; distinct classes and items in both"}  # fmt: skip
    if _version("easyfsl") is not None:
        theirs = _task_sampler(labels)
        _check_episode(torch.tensor(next(iter(theirs))), labels)
        samplers["easyfsl"] = lambda: list(theirs)
    if _version("learn2learn") is not None:
        task = _learn2learn_tasks(labels)
        _check_episode(torch.tensor([item.index for item in task(None)]), labels)
        samplers["learn2learn"] = lambda: [task(None) for _ in range(EPISODES)]
    seconds = interleaved(samplers, repeats, warmup=1)
    for name in [name for name in samplers if name != "ours"]:
        both = {"ours": seconds["ours"], "theirs": seconds[name]}
        found.append(_row(f"episodes-{name}", f"{name} {_version(name)}", what, notes[name], both))
    if _version("easyfsl") is None:
        return found
    from easyfsl.methods.utils import compute_prototypes

    peer = f"easyfsl {_version('easyfsl')}"
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
