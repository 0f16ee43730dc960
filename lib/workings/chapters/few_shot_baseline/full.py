"""The full tier of the chapter `few_shot_baseline`: the same measurements on Omniglot, and on CIFAR-FS where there is a GPU.

What is finished is stored episode by episode, so that an interrupted run goes on where it stopped; networks are checkpointed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from workings import paths
from workings.chapters import cifar_fs
from workings.chapters.few_shot_baseline import handwriting
from workings.chapters.few_shot_baseline.demo import (
    METHODS,
    UNBALANCED,
    correlation_error,
    draw_episodes,
    glyph_collections,
    hardness_points,
    head_accuracies,
    log_fit,
    over_networks,
    shot_curve,
    tuned_accuracies,
    way_curve,
)  # fmt: skip
from workings.chapters.few_shot_baseline.settings import Settings
from workings.chapters.omniglot_data import Collection, omniglot
from workings.few_shot.evaluation import accuracy_summary, centroid_accuracy
from workings.few_shot.finetuning import transductive_finetune
from workings.few_shot.networks import conv4, resnet12, wide_resnet
from workings.few_shot.pretraining import network_features, train_classifier
from workings.few_shot.prototypes import cosine_logits, support_init
from workings.robustness.cifar import fast_autocast
from workings.runs.parallel import cpu_threads
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.statistics import standard_error

Rows = list[dict[str, Any]]
TABLES = ("untuned", "tuned", "curves", "heads", "hardness", "seconds", *handwriting.TABLES)


DECIDES = (
    "seeds", "size", "lr", "full_width", "full_batch", "full_steps", "full_tuned", "tune_epochs", "tune_lr", "cifar_steps",
    "cifar_batch", "cifar_tuned", "cifar_network", "device", "full_classes", "full_cells", "full_loop",
)  # fmt: skip
"""Settings on which the stored results depend; the page's own cells have others."""


class Study(NamedTuple):
    """A data set of the full tier: what is trained on, by name, what episodes are made of, and its sizes."""

    name: str
    trained_on: dict[str, Collection]
    novel: Collection
    seeds: tuple[int, ...]
    tuned: int  # episodes of each network and shot that are tuned as a whole
    within: bool  # whether tuned episodes stay inside one group


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """The full tier: ``untuned``, ``tuned``, ``curves``, ``heads``, ``hardness``, ``seconds`` and, on handwriting, the tables
    of :mod:`workings.chapters.few_shot_baseline.handwriting`; each row with its data set.

    ``data_root`` is a folder with the two archives of :mod:`workings.chapters.omniglot_data`; without one the data are fetched.
    """
    with cpu_threads(1 if settings.device == "cpu" else None):  # small batches: threads would wait for each other
        return run_protocol(settings, data_root)


def run_protocol(settings: Settings, data_root: str | Path | None = None) -> dict[str, Rows]:
    """As :func:`run`, on the number of threads that torch has."""
    folder = paths.runs_root() / "few_shot_baseline" / ("dry" if settings.dry_run else "full")
    tables: dict[str, Rows] = {name: [] for name in TABLES}
    for name in settings.data:
        told = {"data": name} | ({"network": settings.cifar_network} if name == "cifar_fs" else {})
        study = studies(name, settings, data_root)
        store = Store(folder / f"{file_stem(name, settings)}.jsonl", {key: getattr(settings, key) for key in DECIDES})
        for part, rows in study_tables(study, settings, store, folder).items():
            tables[part] += [{**told, **row} for row in rows]
    return tables


def file_stem(name: str, settings: Settings) -> str:
    """How the files of the data ``name`` begin; another network than the WRN-28-10 has its own, beside those of that one."""
    return name if name != "cifar_fs" or settings.cifar_network == "wide" else f"{name}-{settings.cifar_network}"


def studies(name: str, settings: Settings, data_root: str | Path | None) -> Study:
    """The data of one study; in a dry run invented characters stand for them."""
    s = settings
    if name == "omniglot":
        base, novel = glyph_collections(s) if s.dry_run else omniglot(data_root, s.size)
        return Study(name, {"train": base}, novel, s.seeds, s.full_tuned, True)
    if s.dry_run:
        base, novel = (c._replace(images=c.images.expand(-1, 3, -1, -1)) for c in glyph_collections(s))
        base, more, novel = base.first(40), base, novel
    else:
        base, more, novel = cifar_fs.collections(data_root)
    return Study(name, {"train": base, "train+val": more}, novel, s.seeds[:1], s.cifar_tuned, False)


def trained(study: Study, which: str, seed: int, settings: Settings, folder: Path) -> nn.Module:
    """The network of ``study`` trained on its part ``which``, from its checkpoint where there is one."""
    s, data = settings, study.trained_on[which]
    colour = study.name == "cifar_fs"
    net = empty(study, which, seed, s).to(s.device, memory_format=torch.channels_last)
    data = data.to(s.device)
    steps, batch = (s.cifar_steps, s.cifar_batch) if colour else (s.full_steps, s.full_batch)
    train_classifier(
        net, data.images, data.labels, steps, seed, batch=min(batch, len(data.images)), lr=0.1 if colour else s.lr,
        augment=cifar_fs.flip_and_shift if colour else None, checkpoint=folder / f"{file_stem(study.name, s)}-{which}-seed{seed}.pt",
        checkpoint_every=max(steps // 8, 1), progress=True,
        autocast=fast_autocast(s.device) if colour and s.device == "cuda" else None,
    )  # fmt: skip
    return net


def empty(study: Study, which: str, seed: int, settings: Settings) -> nn.Module:
    """The untrained network for the part ``which`` of ``study``; the two large ones are narrow in a dry run."""
    s, data = settings, study.trained_on[which]
    source = torch_generator(seed, "full", study.name, which)
    network = s.cifar_network if study.name == "cifar_fs" else "conv4"
    if network == "wide":
        return wide_resnet(source, classes=data.classes, **({"units": 1, "widen": 1} if s.dry_run else {}))
    if network == "resnet12":
        return resnet12(source, classes=data.classes, **({"widths": (4, 4, 8, 8)} if s.dry_run else {}))
    size, channels = data.images.shape[-1], data.images.shape[1]
    return conv4(source, channels=channels, width=s.full_width, classes=data.classes, size=size)


def study_tables(study: Study, settings: Settings, store: Store, folder: Path) -> dict[str, Rows]:
    """All tables of one study; every network is trained first."""
    s = settings
    jobs = [(which, seed) for which in study.trained_on for seed in study.seeds]
    nets = {job: trained(study, *job, s, folder) for job in jobs}
    novel = study.novel.to(s.device)
    features = {job: network_features(net, novel.images) for job, net in nets.items()}
    untuned = [
        {"trained_on": which, "seed": seed, **row}
        for which, seed in jobs
        for row in _untuned(features[which, seed], novel, s)
    ]
    tuned = []
    for which, seed in jobs:
        for shot in (1, 5):
            rows = _tuned(nets[which, seed], study._replace(novel=novel), which, seed, shot, s, store)
            tuned += [{"trained_on": which, "seed": seed, "shot": shot, **row} for row in rows]
    found: dict[str, Rows] = {"untuned": untuned, "tuned": tuned, "curves": [], "heads": [], "hardness": []}
    main = [job for job in jobs if job[0] == "train"]
    room = fitting(novel, s)
    for which, seed in main:
        for kind, curve in (("ways", way_curve), ("shots", shot_curve)):
            values = curve(features[which, seed], novel, room)
            found["curves"] += [{"seed": seed, "kind": kind, "at": at, "accuracy": v} for at, v in values.items()]
            found["curves"].append({"seed": seed, "kind": f"{kind}, R squared", "at": 0, "accuracy": log_fit(values)})
        for balance, counts in (("balanced", (5,) * 5), ("unbalanced", UNBALANCED)):
            heads = head_accuracies(features[which, seed], novel, replace(s, heads=5 * s.heads), counts)
            found["heads"] += [
                {
                    "seed": seed,
                    "queries": balance,
                    "episode": k,
                    **{name: 100 * float(v[k]) for name, v in heads.items()},
                }
                for k in range(len(heads["untuned"]))
            ]
    for k, job in enumerate(main):  # hardness by the network of the next seed: it plays no part in the comparison
        other = main[(k + 1) % len(main)]
        if other != job:
            row = _hardness(features[other], features[job], novel, room, job[1])
            found["hardness"].append({"seed": job[1], **row})
    found["seconds"] = [_seconds(nets[main[0]], features[main[0]], novel, s, store)]
    if study.name == "omniglot":
        z, base = [features[job] for job in main], study.trained_on["train"].to(s.device)
        found["curves"] += handwriting.shots_rows(z, novel, room)
        found |= handwriting.tables_of(base, [nets[job] for job in main], z, novel, room, store)
    return found


def fitting(novel: Collection, settings: Settings) -> Settings:
    """Settings with as many ways as the collection has classes, and shots that leave five queries."""
    fewest = int(torch.bincount(novel.labels.cpu()).min())
    ways = tuple(way for way in settings.ways if way <= novel.classes)
    shots = tuple(shot for shot in settings.shots if shot + 5 <= fewest)
    return replace(
        settings, ways=ways, shots=shots, hard_ways=tuple(w for w in settings.hard_ways if w <= novel.classes)
    )


def _untuned(features: torch.Tensor, novel: Collection, settings: Settings) -> Rows:
    """The untuned classifier: mean, spread and interval, in percent, over ways, shots, and where classes come from."""
    rows = []
    count = 20 if settings.dry_run else 1000
    for way, shot, within in ((5, 1, False), (5, 5, False), (5, 1, True), (5, 5, True), (20, 1, True)):
        largest = int(torch.bincount(_groups_of_classes(novel)).max()) if within else novel.classes
        if way > largest:
            continue
        query = min(15, int(torch.bincount(novel.labels.cpu()).min()) - shot)
        episodes = draw_episodes(novel, way, shot, query, count, "full", within=within)
        found = accuracy_summary(100 * centroid_accuracy(features, episodes))
        rows.append({"way": way, "shot": shot, "within": within, **found._asdict()})
    return rows


def _groups_of_classes(novel: Collection) -> torch.Tensor:
    labels, groups = novel.labels.cpu(), novel.groups.cpu()
    return torch.stack([groups[labels == k][0] for k in range(novel.classes)])


def _tuned(net: nn.Module, study: Study, which: str, seed: int, shot: int, settings: Settings, store: Store) -> Rows:
    """One row per episode: accuracy of the untuned classifier and of every method, in percent. Each seed has episodes of its own."""
    fewest = int(torch.bincount(study.novel.labels.cpu()).min())
    query = min(15, fewest - shot)
    count = study.tuned if shot == 1 else max(2, study.tuned // 2)
    first = study.seeds.index(seed) * count
    episodes = draw_episodes(study.novel, 5, shot, query, count * len(study.seeds), "tuned", within=study.within)
    options = {"augment": cifar_fs.flip_and_shift} if study.name == "cifar_fs" else {}
    numbers = range(first, first + count)
    for number in progress(numbers, f"episodes of {study.name}, {shot}-shot, seed {seed}"):
        name = f"{which}/{seed}/{shot}/{number}"
        if not store.done(name):
            store.put(name, tuned_accuracies(net, study.novel, episodes, number, settings, **options))
    done = [store.get(f"{which}/{seed}/{shot}/{number}") for number in numbers]
    return [
        {"episode": number, **{name: 100 * value for name, value in row.items()}}
        for number, row in zip(numbers, done, strict=True)
    ]


def _hardness(
    phi: torch.Tensor, features: torch.Tensor, novel: Collection, settings: Settings, seed: int
) -> dict[str, float]:
    """Correlation, slope and area of the two lines of accuracy over hardness, over episodes of this ``seed`` alone."""
    points = hardness_points(phi, features, novel, settings, seed=seed)
    found: dict[str, float] = {}
    for method in ("untuned", "tuned"):
        found |= handwriting.line_of(points["hardness"], points[method], method, settings)
    return {**found, "episodes": len(points["hardness"])}


def _seconds(
    net: nn.Module, features: torch.Tensor, novel: Collection, settings: Settings, store: Store
) -> dict[str, float]:
    """Median time of an episode (5 ways, 1 shot, 15 queries each where there are so many): untuned and transductive."""
    if not store.done("seconds"):
        query = min(15, int(torch.bincount(novel.labels.cpu()).min()) - 1)
        episodes = draw_episodes(novel, 5, 1, query, 5, "seconds")
        taken: dict[str, list[float]] = {"untuned": [], "transductive": []}
        for k in range(5):
            support, items = (novel.images[part[k].flatten()] for part in (episodes.support, episodes.query))
            start = time.perf_counter()
            _untuned_guess(net, support, episodes.support_labels(), items)
            middle = time.perf_counter()
            transductive_finetune(
                net, support, episodes.support_labels(), items, epochs=settings.tune_epochs, lr=settings.tune_lr
            ).logits(items).cpu()
            taken["untuned"].append(middle - start)
            taken["transductive"].append(time.perf_counter() - middle)
        store.put("seconds", {name: float(np.median(values)) for name, values in taken.items()})
    found = store.get("seconds")
    return {**found, "ratio": found["transductive"] / found["untuned"]}


@torch.no_grad()
def _untuned_guess(net: nn.Module, support: torch.Tensor, labels: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    return cosine_logits(net(items), *support_init(net(support), labels, int(labels.max()) + 1)).argmax(dim=1).cpu()


def untuned_grid(rows: Rows) -> list[list[str]]:
    """Cells of a table of ``untuned`` rows: one line per setting, averaged over networks."""
    table = []
    for key in dict.fromkeys((r["data"], r["trained_on"], r["way"], r["shot"], r["within"]) for r in rows):
        group = [r for r in rows if (r["data"], r["trained_on"], r["way"], r["shot"], r["within"]) == key]
        numbers = [f"{np.mean([r[name] for r in group]):.1f}" for name in ("mean", "sd")]
        table.append([data_name(group), key[1], str(key[2]), str(key[3]), "yes" if key[4] else "no", *numbers])
    return table


def tuned_grid(rows: Rows) -> list[list[str]]:
    """Cells of a table of ``tuned`` rows: gains over the untuned classifier with their intervals, all networks together."""
    table = []
    for data, which, shot in dict.fromkeys((r["data"], r["trained_on"], r["shot"]) for r in rows):
        found = [gain(rows, data, method, shot, which) for method in METHODS]
        cells = [f"{d.mean():+.1f} ± {1.96 * standard_error(d):.1f}" for d in found]
        name = data_name([r for r in rows if r["data"] == data])
        table.append([name, which, str(shot), str(len(found[0])), *cells])
    return table


NAMES = {"omniglot": "Omniglot", "cifar_fs": "CIFAR-FS"}


def data_name(rows: Rows) -> str:
    """What the tables call the data of ``rows``, with the network where it is not the paper's."""
    name, network = NAMES[rows[0]["data"]], rows[0].get("network", "wide")
    return name if network == "wide" else f"{name}, {'ResNet-12' if network == 'resnet12' else 'Conv4'}"


def accuracies(rows: Rows, data: str, method: str, shot: int = 1, which: str = "train") -> np.ndarray:
    """Accuracy in percent of ``method`` in every tuned episode of all networks, in the order of the episodes."""
    wanted = (data, shot, which)
    return np.array([r[method] for r in rows if (r["data"], r["shot"], r["trained_on"]) == wanted])


def gain(rows: Rows, data: str, method: str, shot: int = 1, which: str = "train") -> np.ndarray:
    """Points of ``method`` over the untuned classifier, one number per episode."""
    return accuracies(rows, data, method, shot, which) - accuracies(rows, data, "initialisation", shot, which)


def values(tables: dict[str, Rows], settings: Settings) -> dict[str, tuple[float, dict[str, Any]]]:
    """What the ledger compares at this tier: value and options of each claim whose data were run."""
    found: dict[str, tuple[float, dict[str, Any]]] = {}
    data = {row["data"] for row in tables["tuned"]}
    seeds = lambda name: sorted({row["seed"] for row in tables["tuned"] if row["data"] == name})
    add = lambda claim, d, name: found.update(
        {claim: (float(d.mean()), {"error": standard_error(d), "seeds": seeds(name), "digits": 2})}
    )
    if "cifar_fs" in data:
        start = accuracies(tables["tuned"], "cifar_fs", "initialisation")
        if settings.cifar_network == "wide" or settings.dry_run:  # its line is of a WRN-28-10
            add("fsb-1", start, "cifar_fs")
        add("fsb-2", gain(tables["tuned"], "cifar_fs", "fine-tuning"), "cifar_fs")
        add("fsb-3", gain(tables["tuned"], "cifar_fs", "transductive"), "cifar_fs")
        both = [accuracies(tables["tuned"], "cifar_fs", "transductive", 1, part) for part in ("train+val", "train")]
        add("fsb-4", both[0] - both[1], "cifar_fs")
        five = lambda method: gain(tables["tuned"], "cifar_fs", method, 5)
        add("fsb-16", five("fine-tuning"), "cifar_fs")
        add("fsb-17", five("transductive") - five("fine-tuning"), "cifar_fs")
    if "omniglot" in data:
        whole = gain(tables["tuned"], "omniglot", "transductive")
        add("fsb-15", whole, "omniglot")
        add("fsb-14", gain(tables["tuned"], "omniglot", "batch-norm only") - whole / 2, "omniglot")
        heads = {
            (method, case): over_networks(recorded_heads(tables["heads"], method, case))
            for method in ("entropy", "with marginal")
            for case in ("balanced", "unbalanced")
        }
        add("fsb-11", heads["entropy", "balanced"], "omniglot")
        add("fsb-12", heads["with marginal", "balanced"], "omniglot")
        add("fsb-13", heads["with marginal", "balanced"] - heads["with marginal", "unbalanced"], "omniglot")
        five = {method: gain(tables["tuned"], "omniglot", method, 5) for method in handwriting.LOOPS}
        add("fsb-19", five["fine-tuning"], "omniglot")
        add("fsb-20", five["transductive"] - five["fine-tuning"], "omniglot")
        found |= _omniglot_means(tables, seeds("omniglot"))
        found |= handwriting.values(tables, settings)
    return found


def recorded_curves(rows: Rows, kind: str, data: str = "omniglot") -> list[list[tuple[int, float]]]:
    """Points (ways or shots, accuracy from 0 to 1) of ``curves`` rows of ``kind`` "ways" or "shots", one list a network.

    An empty list when there are no such rows.
    """
    here = [r for r in rows if (r["data"], r["kind"]) == (data, kind)]
    return [[(r["at"], r["accuracy"]) for r in here if r["seed"] == k] for k in dict.fromkeys(r["seed"] for r in here)]


def recorded_heads(rows: Rows, method: str, case: str, data: str = "omniglot") -> list[np.ndarray]:
    """Points of a classifier tuned alone over the untuned one, per episode (n,), one array a network.

    ``rows`` are those of ``heads``, ``method`` is "entropy" or "with marginal", ``case`` "balanced" or "unbalanced"; an empty
    list when there are no such rows.
    """
    here = [r for r in rows if (r["data"], r["queries"]) == (data, case)]
    seeds = dict.fromkeys(r["seed"] for r in here)
    return [np.array([r[method] - r["untuned"] for r in here if r["seed"] == k]) for k in seeds]


def _omniglot_means(tables: dict[str, Rows], seeds: list[int]) -> dict[str, tuple[float, dict[str, Any]]]:
    """Claims of Omniglot whose value is a mean over networks, with the spread between them."""
    here = {name: [row for row in rows if row["data"] == "omniglot"] for name, rows in tables.items()}
    straight = ("ways, R squared", "shots, 20 ways, R squared")  # with five ways the shots meet a ceiling
    fits = [min(r["accuracy"] for r in here["curves"] if r["seed"] == k and r["kind"] in straight) for k in seeds]
    falls = [(row["untuned_r"], row["episodes"]) for row in here["hardness"]]  # each network has episodes of its own
    spreads = [r["sd"] for r in here["untuned"] if (r["way"], r["shot"], r["within"]) == (5, 1, False)]
    found = {}
    for claim, numbers in (("fsb-7", fits), ("fsb-8", [r for r, _ in falls]), ("fsb-9", spreads)):
        spread = float(np.std(numbers, ddof=1))
        found[claim] = (float(np.mean(numbers)), {"spread": spread, "seeds": seeds, "digits": 2})
    of_networks = found["fsb-8"][1]["spread"] / np.sqrt(len(falls))
    of_episodes = np.sqrt(np.sum([correlation_error(*fall) ** 2 for fall in falls])) / len(falls)
    found["fsb-8"][1]["error"] = float(max(of_networks, of_episodes))  # three networks may agree by chance
    ratio = here["seconds"][0]["ratio"]
    return {**found, "fsb-10": (float(ratio), {"seeds": seeds[:1], "digits": 2})}
