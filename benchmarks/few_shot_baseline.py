"""Episodes and class means of few-shot learning beside easyfsl and learn2learn.

(a) What an episode is: every sampler gives distinct classes, distinct items, and the numbers asked for; ours and easyfsl's draw
    classes and support items uniformly.
(b) Prototypes of the same features: largest difference. Logits of easyfsl's PrototypicalNetworks: minus the plain distance to them,
    where the paper of that method, and ours, has its square.
    Entropy of the queries, and the losses that easyfsl's TIM and TransductiveFinetuning minimise, in double precision: they stand
    inside its loops, so what is compared is the logits after ten steps of Adam on the prototypes, theirs by their loop and ours by
    the same steps on our loss. Its TransductiveFinetuning leaves the network as it is, takes one step on the sum of both terms and
    classifies by the plain distance; the loop of the paper, and ours, tunes the whole network, in two steps, by cosines.
(c) Seconds for 10,000 episodes (5 ways, 1 shot, 15 queries, 300 classes of 20 items), and for prototypes of 20 ways;
    and for 9,000 invented characters of the chapter's demo, which no peer draws.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/few_shot_baseline.py [rows.json]
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import torch
from scipy.stats import chisquare
from timing import interleaved, ratio

from workings.few_shot.entropies import information_maximisation, shannon_entropy
from workings.few_shot.episodes import EpisodeSampler
from workings.few_shot.glyphs import make_glyphs
from workings.few_shot.prototypes import class_prototypes
from workings.few_shot.prototypical import prototypical_logits
from workings.seeding import numpy_generator, torch_generator

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


def _check_uniform(episodes: torch.Tensor, labels: torch.Tensor) -> None:
    """``RuntimeError`` unless ``episodes`` (E, items) draw all classes, and all items as support, equally often.

    Chi-squared tests at 1e-6. The classes of an episode are distinct, which makes counts a little more even than independent draws
    would. Queries are left out: items of one class come together, and counts of all of them would scatter far more.
    """
    first = episodes[:, :: SHOT + QUERY]
    for drawn, kinds in ((labels[first], int(labels.max()) + 1), (first, len(labels))):
        if chisquare(torch.bincount(drawn.flatten(), minlength=kinds).numpy()).pvalue < 1e-6:
            raise RuntimeError(f"{kinds} classes or items are not drawn equally often.")


def _check_distances() -> None:
    """``RuntimeError`` unless our logits are minus the square of easyfsl's, which are minus the plain distance."""
    from easyfsl.methods import PrototypicalNetworks

    draw = lambda name, count: torch.randn(count, 64, generator=torch_generator(0, name), dtype=torch.float64)
    support, query, labels = draw("support", 25), draw("query", 75), torch.arange(5).repeat_interleave(5)
    method = PrototypicalNetworks(torch.nn.Identity())
    method.process_support_set(support, labels)
    theirs, ours = method(query), prototypical_logits(support, labels, query)
    if not torch.allclose(ours, -theirs.square(), rtol=1e-9) or torch.allclose(ours, theirs, rtol=0.1):
        raise RuntimeError("easyfsl's logits are no longer minus the distance; read its code before comparing.")


def _agreement(name: str, peer: str, what: str, gap: float, unit: str, note: str = "") -> dict[str, Any]:
    """A row that says how far two results are apart at most."""
    return {**_row(name, peer, f"{what}: largest difference", note), "ours": gap, "theirs": 0.0, "unit": unit}


def loss_rows() -> list[dict[str, Any]]:
    """(b) Three losses on fixed logits, and on fixed features of a 5-way 5-shot episode; ``RuntimeError`` where a loop did nothing."""
    from easyfsl.methods import TIM, TransductiveFinetuning
    from easyfsl.methods.utils import entropy

    peer, steps, lr = f"easyfsl {_version('easyfsl')}", 10, 0.1
    draw = lambda name, *shape: torch.randn(*shape, generator=torch_generator(0, name), dtype=torch.float64)
    centres, y = draw("centres", WAY, 16), torch.arange(WAY).repeat_interleave(5)
    support = centres[y] + 0.5 * draw("support", len(y), 16)
    query = (centres[:, None] + 0.5 * draw("query", WAY, QUERY, 16)).flatten(0, 1)
    logits = 3 * draw("logits", WAY * QUERY, WAY)
    gap = float((shannon_entropy(logits) - entropy(logits)).abs())
    found = [_agreement("entropy-easyfsl", peer, "mean entropy of 75 predictions", gap, "nats")]
    normalised = torch.nn.functional.normalize
    cosines = lambda x, prototypes: 10.0 * normalised(x, dim=1) @ normalised(prototypes, dim=1).T
    distances = lambda x, prototypes: -torch.cdist(x, prototypes)
    options = {"fine_tuning_steps": steps, "fine_tuning_lr": lr}
    cases = {
        "tim": (TIM, cosines, {"temperature": 10.0}, (0.1, 1.0), 0.1, "the loss of TIM, on prototypes, in both"),
        "transductive": (
            TransductiveFinetuning, distances, {}, (1.0, 0.0), 1.0,
            "its loss in both; its loop tunes prototypes alone, where the paper's tunes the network",
        ),
    }  # fmt: skip
    for name, (method, rule, more, weights, scale, note) in cases.items():
        peers = method(torch.nn.Identity(), **options, **more)
        peers.process_support_set(support, y)
        theirs = peers(query)
        prototypes = class_prototypes(support, y, WAY).clone().requires_grad_()
        before = scale * rule(query, prototypes).detach()
        adam = torch.optim.Adam([prototypes], lr=lr)
        for _ in range(steps):
            loss = information_maximisation(rule(support, prototypes), y, rule(query, prototypes), *weights)
            adam.zero_grad()
            loss.backward()
            adam.step()
        ours = scale * rule(query, prototypes).detach()
        if torch.allclose(ours, before, atol=0.1):
            raise RuntimeError(f"{method.__name__}: ten steps moved no logit by 0.1; raise lr before comparing.")
        what = f"logits of {len(query)} queries after {steps} steps of Adam on 5-shot prototypes, {method.__name__}"
        found.append(_agreement(f"{name}-easyfsl", peer, what, float((ours - theirs).abs().max()), "of a logit", note))
    return found


def _glyph_row(repeats: int) -> dict[str, Any]:
    """Seconds to draw 9,000 pictures, as many and as large as those of the chapter's demo; there is no peer."""
    draw = lambda: make_glyphs(30, 15, 20, numpy_generator(0, "glyphs"), size=20)
    seconds = interleaved({"ours": draw}, repeats, warmup=1)["ours"]
    row = _row("glyphs-whole", "none", "9,000 invented characters drawn, 20 pixels wide, one thread", "")
    return {**row, "ours": sorted(seconds)[len(seconds) // 2], "repeats": len(seconds)}


def _rows(repeats: int) -> list[dict[str, Any]]:
    what = f"{EPISODES:,} episodes of {WAY} ways, {SHOT} + {QUERY} items, 300 classes of 20"
    found = [_row(f"episodes-{name}", name, what, note) for name, note in MISSING.items() if _version(name) is None]
    found.append(_glyph_row(repeats))
    labels = torch.arange(300).repeat_interleave(20)
    ours = EpisodeSampler(labels, WAY, SHOT, QUERY, torch_generator(0, "benchmark"))
    one = ours.sample(1)
    _check_episode(torch.cat([one.support, one.query], dim=2).flatten(), labels)
    many = ours.sample(EPISODES)
    _check_uniform(torch.cat([many.support, many.query], dim=2).flatten(1), labels)
    samplers = {"ours": lambda: ours.sample(EPISODES)}
    notes = {"easyfsl": "distinct classes and items in both", "learn2learn": "FusedNWaysKShots: which items, without loading them; distinct classes and items in both"}  # fmt: skip
    if _version("easyfsl") is not None:
        theirs = _task_sampler(labels)
        _check_episode(torch.tensor(next(iter(theirs))), labels)
        _check_uniform(torch.tensor(list(theirs)), labels)
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

    _check_distances()
    peer = f"easyfsl {_version('easyfsl')}"
    x, y = torch.randn(400, 640, generator=torch_generator(0, "features")), torch.arange(20).repeat(20)
    gap = float((class_prototypes(x, y, 20) - compute_prototypes(x, y)).abs().max())
    seconds = interleaved(
        {"ours": lambda: class_prototypes(x, y, 20), "theirs": lambda: compute_prototypes(x, y)}, 20 * repeats
    )
    note = "equal within 1e-5" if gap < 1e-5 else f"largest difference {gap:.0e}"
    found.append(_row("prototypes-easyfsl", peer, "prototypes of 20 ways, 20 shots, 640 numbers", note, seconds))
    return found + loss_rows()


if __name__ == "__main__":
    table = rows()
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump(table, file, indent=1)
    for row in table:
        print(row)
