"""The full tier of `scan`: convolutional vision on 3D Shapes, or on coloured dSprites where its file is not given."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workings import paths
from workings.chapters.scan.demo import (
    Vision,
    World,
    as_claimed,
    beats,
    held_out,
    jmvae_runs,
    named_rightly,
    operator_runs,
    operator_scores,
    ratio_and_error,
    score_symbols,
    split_pairs,
    symbol_runs,
)
from workings.chapters.scan.settings import Settings
from workings.chapters.scan.sprite_reader import train_sprite_reader
from workings.disentangling.dsprites_data import sub_grid
from workings.disentangling.dsprites_renderer import block_average, packed_dsprites, unpack_images
from workings.disentangling.networks import VAE, ConvDecoder, ConvEncoder, freeze, initialise
from workings.disentangling.objectives import pixel_entropy
from workings.disentangling.rooms import hsv_to_rgb
from workings.disentangling.scan import ScanJob, SymbolVAE, code_pictures, train_scans
from workings.disentangling.shapes3d_file import FILE_NAME, Shapes3D
from workings.disentangling.training import History, fixed_beta, train_vae
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd
from workings.training import ShuffledBatches, fit

SECOND = 1000  # added to the seed of a vision model in its second half
PROTOCOL_STEPS = 150_000  # of each vision model
FEW = (1, 2, 5, 10, 20)  # labelled pictures per value of an attribute
HUES = 16
SPRITE_SIZES = (4, 4, 3)
SPRITE_NAMES = ("background", "sprite", "shape")
SHAPES3D_NAMES = ("wall", "floor", "object", "shape")
TABLES = "tables, with each data set's own reader"  # in the store; another name when what is measured changes

Tables = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier. ``here()`` picks those of the machine: the sheet's with CUDA, shortened ones without."""

    pictures: int
    size: int
    vision_steps: int
    reader_steps: int
    demo: Settings
    batch: int = 64
    channels: tuple[int, ...] = (32, 32, 64, 64)
    device: str = "cpu"
    whole: bool = True  # of 3D Shapes the published file only; else any file of its form

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The settings of ``device`` (default: CUDA where there is one); ``dry_run``: a few steps on a few pictures."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dry_run:
            return cls(400, 32, 4, 10, Settings.full(dry_run=True), batch=16, channels=(8, 8, 8), whole=False)
        seeds = Settings().seeds
        if device.startswith("cuda"):
            demo = Settings(
                seeds, 16, 256, 4.0, 0.1, 20_000, 1e-3, scan_steps=50_000, recombination_steps=20_000, labelled=FEW
            )
            return cls(50_000, 64, PROTOCOL_STEPS, 10_000, demo, device=device)
        demo = Settings(seeds, 10, 128, 4.0, 0.1, 20_000, 1e-3, scan_steps=3000, recombination_steps=3000, labelled=FEW)
        return cls(8000, 32, 20_000, 1500, demo, channels=(32, 32, 64))


@Settings.needs.guard
def run(settings: FullSettings | Settings, data_root: str | Path | None = None) -> Tables:
    """The whole full tier: tables "runs" (one row per kind and seed), "operators" (one per operator and seed), "vision"
    (one per kind of vision and seed, from :func:`levels`) and "reader" (from :func:`readings`).

    ``data_root``: the folder of ``3dshapes.h5`` (:func:`~workings.disentangling.shapes3d_file.fetch_shapes3d` fetches it);
    without it coloured sprites are drawn here. A dry run takes a smaller file of the same form. Finished vision models and
    results are kept under ``runs/scan``, so that an interrupted run goes on where it stopped. Raises ``FileNotFoundError``
    where ``data_root`` has no such file.
    """
    if isinstance(settings, Settings):
        settings = FullSettings.here(dry_run=settings.vision_steps <= 10)
    return run_protocol(settings, data_root)


def run_protocol(settings: FullSettings, data_root: str | Path | None = None) -> Tables:
    """:func:`run` without the answer to a full memory."""
    data = "sprites" if data_root is None else "shapes3d"
    name, folder = f"{data}{settings.size}-{settings.vision_steps}", paths.runs_root() / "scan"
    store = Store(folder / f"{name}.jsonl", settings)
    if not store.done(TABLES):
        store.put(TABLES, tables(settings, load(settings, data_root), folder / name, data))
    return store.get(TABLES)


def tables(settings: FullSettings, world: World, folder: Path, data: str = "sprites") -> Tables:
    """Everything that is measured on ``world``, which is called ``data``; vision models are kept in ``folder``."""
    demo = settings.demo
    trained = vision_models(settings, world, folder)
    found = {kind: [one.last for one in models] for kind, models in trained.items()}
    symbols = symbol_runs(found, world, demo)
    about = {"pictures": len(world.pictures), "size": settings.size, "steps": settings.vision_steps, "device": settings.device, "data": data}  # fmt: skip
    runs = []
    for kind, networks in symbols.items():
        seen = found["entangled" if kind == "entangled" else "disentangled"]
        for network, vision, seed in zip(networks, seen, demo.seeds, strict=True):
            scores = score_symbols(network.encode, vision.model.decode, world, demo, seed)
            right, of = as_claimed(network, vision.pairs, world.sizes)
            named = named_rightly(vision.pairs, network.decode, world.sizes, seed)
            runs.append({"kind": str(kind), "seed": seed, "accuracy": scores.accuracy, "diversity": scores.diversity, "named": float(named.min()), "as_claimed": right / max(1, of), **about})  # fmt: skip
    for model, seed in zip(jmvae_runs(world, demo), demo.seeds, strict=True):
        scores = score_symbols(model.encode_symbol, model.decode, world, demo, seed)
        runs.append({"kind": "jmvae", "seed": seed, "accuracy": scores.accuracy, "diversity": scores.diversity, "named": None, "as_claimed": None, **about})  # fmt: skip
    splits = split_pairs(world.sizes, demo)
    nets = operator_runs(symbols["forward"], found["disentangled"], splits, world, demo)
    rows = []
    for net, network, vision, seed in zip(nets, symbols["forward"], found["disentangled"], demo.seeds, strict=True):
        for operator, (made, own) in operator_scores(net, network, vision, splits, world, demo, seed).items():
            known = lambda value: value if math.isfinite(value) else None  # of full descriptions nothing is open
            rows.append({"operator": operator, "seed": seed, "accuracy": made.accuracy, "own": own.accuracy, "diversity": known(made.diversity), "own_diversity": known(own.diversity)})  # fmt: skip
    named = {"disentangled": symbols["forward"], "entangled": symbols["entangled"]}
    return {
        "runs": runs,
        "operators": rows,
        "vision": levels(trained, runs, world, demo),
        "reader": readings(found, named, world, demo, SPRITE_NAMES if data == "sprites" else SHAPES3D_NAMES),
    }


KEPT = 10
"""One picture in so many, the last ones, is kept from the reader's training."""


def readings(
    found: dict[str, list[Vision]], symbols: dict[str, list[SymbolVAE]], world: World, demo: Settings, names: tuple[str, ...]
) -> list[dict[str, Any]]:  # fmt: skip
    """How well ``world.read`` reads, a row per attribute: on pictures that it was not trained on, and on what vision makes of them.

    ``of`` is "pictures", or the kind of the vision model (with its ``seed``) that coded them and drew them again from the
    mean code; ``accuracy`` is the share that is read as the picture shows. Beside it, of a vision model, ``named``: the
    share that the symbols' network names rightly from a code. Where both are low, the code has not kept the attribute; where
    only ``accuracy`` is, the reader fails on blurred pictures.
    """
    cut = _cut(world.pictures)
    pictures, attributes = world.pictures[cut:], world.attributes[cut:]
    shares = lambda x: (world.read(x) == attributes).double().mean(dim=0).tolist()
    line = lambda of, seed, read, said: [{"of": of, "seed": seed, "attribute": n, "accuracy": r, "named": s, "pictures": len(pictures)} for n, r, s in zip(names, read, said, strict=True)]  # fmt: skip
    rows = line("pictures", None, shares(pictures), [None] * len(names))
    for kind, visions in found.items():
        for vision, network, seed in zip(visions, symbols[kind], demo.seeds, strict=True):
            with torch.no_grad():
                again = torch.cat([torch.sigmoid(vision.model.decode(mu)) for mu in vision.pairs.mu[cut:].split(1000)])
            said = named_rightly(vision.pairs, network.decode, world.sizes, seed).tolist()
            rows += line(kind, seed, shares(again), said)
    return rows


def _cut(pictures: torch.Tensor) -> int:
    """How many of ``pictures``, the first ones, a reader is trained on."""
    return len(pictures) * (KEPT - 1) // KEPT


class Trained(NamedTuple):
    """A vision model after its ``last`` step and as it was ``half_way``, and the ``losses`` near both, half way first.

    A loss is the mean NLL of the last tenth of the steps of that half, in nats a picture above the least that any model of
    pixels can have (:func:`~workings.disentangling.objectives.pixel_entropy`).
    """

    last: Vision
    half_way: Vision
    losses: tuple[float, float]


def vision_models(settings: FullSettings, world: World, folder: Path) -> dict[str, list[Trained]]:
    """Convolutional vision models of every seed at both betas, trained or resumed, each in two halves.

    The second half goes on with the first one's optimiser, under the seed plus :data:`SECOND`.
    """
    demo, found = settings.demo, {}
    pictures = world.pictures.to(settings.device)
    floor = float(torch.cat([pixel_entropy(part) for part in world.pictures.split(1000)]).mean())
    jobs = [(kind, beta, seed) for kind, beta in (("disentangled", demo.beta), ("entangled", demo.entangled_beta)) for seed in demo.seeds]  # fmt: skip
    for kind, beta, seed in progress(jobs, "vision models"):
        shape = dict(img_channels=3, size=settings.size, channels=settings.channels)
        with torch.device("meta"):
            model = VAE(ConvEncoder(demo.latents, **shape), ConvDecoder(demo.latents, **shape))
        model = initialise(model.to_empty(device="cpu"), torch_generator(seed, "scan chapter", "vision"))
        model = model.to(settings.device)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        first = settings.vision_steps // 2
        looks, losses = [], []
        for half, steps in enumerate((first, settings.vision_steps - first)):
            history = train_vae(
                model, pictures, steps, fixed_beta(beta), seed=seed + half * SECOND, batch=settings.batch,
                optimiser=optimiser, checkpoint=folder / f"{kind}-seed{seed}-half{half + 1}.pt",
            )  # fmt: skip
            seen = freeze(copy.deepcopy(model).cpu())
            looks.append(Vision(seen, code_pictures(seen, world.pictures, world.attributes)))
            losses.append(late_nll(history) - floor)
        found.setdefault(kind, []).append(Trained(looks[1], looks[0], (losses[0], losses[1])))
    return found


def late_nll(history: History) -> float:
    """Mean NLL of the windows in the last tenth of ``history``, at least of its last one."""
    late = history.steps > 0.9 * int(history.steps[-1])
    return float(history.nll[late].mean())


def levels(
    trained: dict[str, list[Trained]], runs: list[dict[str, Any]], world: World, demo: Settings
) -> list[dict[str, Any]]:
    """What says whether the vision models have levelled, a row per kind and seed.

    ``loss_half_way`` and ``loss`` are those of :class:`Trained`; ``named_half_way`` and ``named``: pictures named rightly in
    the worst attribute, by symbols' networks trained on the codes of half way and of the end (the latter from ``runs``).
    """
    rows = []
    for kind, models in trained.items():
        jobs = [
            ScanJob(m.half_way.pairs, s, demo.lam, demo.symbol_beta) for m, s in zip(models, demo.seeds, strict=True)
        ]
        networks = train_scans(
            jobs, world.sizes, demo.scan_steps, batch=demo.scan_batch, learning_rate=demo.scan_rate, avoid=held_out(world.sizes)
        )  # fmt: skip
        of = "entangled" if kind == "entangled" else "forward"
        last = {row["seed"]: row["named"] for row in runs if row["kind"] == of}
        for network, model, seed in zip(networks, models, demo.seeds, strict=True):
            early = float(named_rightly(model.half_way.pairs, network.decode, world.sizes, seed).min())
            rows.append({"kind": kind, "seed": seed, "loss_half_way": model.losses[0], "loss": model.losses[1], "named_half_way": early, "named": last[seed]})  # fmt: skip
    return rows


# --- data -------------------------------------------------------------------------------------------------------------


def load(settings: FullSettings, data_root: str | Path | None) -> World:
    """The world of the full tier with its reader, trained on nine tenths of the pictures.

    Sprites are read by :func:`~workings.chapters.scan.sprite_reader.train_sprite_reader`, 3D Shapes by :func:`train_reader`.
    """
    if data_root is None:
        pictures, attributes, sizes = coloured_sprites(settings.pictures, settings.size)
        cut = _cut(pictures)
        read = train_sprite_reader(pictures[:cut], attributes[:cut, 2], settings.reader_steps)
    else:
        pictures, attributes, sizes = shapes3d(
            Path(data_root) / FILE_NAME, settings.pictures, settings.size, whole=settings.whole
        )
        cut = _cut(pictures)
        read = train_reader(pictures[:cut], attributes[:cut], sizes, settings)
    return World(pictures, attributes, sizes, read)


def coloured_sprites(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """``count`` random dSprites of the two largest sizes, any place and angle, in colour on a paler coloured ground.

    Pictures (N, 3, size, size), attributes (N, 3) background, sprite and shape, and their sizes. Hues as in the rooms.
    """
    source = torch_generator(0, "scan chapter", "sprites")
    grid = sub_grid(None, (4, 5), None, None, None)
    classes = grid[torch.randint(len(grid), (count,), generator=source)]
    masks = torch.cat([unpack_images(packed_dsprites(part), torch.float32) for part in classes.split(4096)])
    masks = block_average(masks, 64 // size) if size < 64 else masks
    hues = torch.randint(HUES, (count, 2), generator=source)
    line = torch.linspace(0.0, 0.5, HUES)[hues]
    colour = lambda hue, saturation, value: hsv_to_rgb(torch.stack([hue, hue.new_full(hue.shape, saturation), hue.new_full(hue.shape, value)], 1))[:, :, None, None]  # fmt: skip
    ground, sprite = colour(line[:, 0], 0.4, 1.0), colour(line[:, 1], 1.0, 0.9)
    pictures = masks * sprite + (1 - masks) * ground
    return pictures, torch.cat([hues * 4 // HUES, classes[:, :1]], dim=1), SPRITE_SIZES


def shapes3d(
    path: Path, count: int, size: int, *, whole: bool = True
) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """``count`` random pictures of 3D Shapes at ``size`` pixels, or all where the file has fewer, and what they show.

    Pictures (N, 3, size, size), attributes (N, 4) wall, floor and object hue and shape, and their sizes. Without ``whole`` a
    smaller file of the same form will do. Raises as :class:`~workings.disentangling.shapes3d_file.Shapes3D`.
    """
    with Shapes3D(path, whole=whole) as data:
        chosen = [1, 0, 2, 4]
        source = torch_generator(0, "scan chapter", "shapes3d")
        rows = torch.randperm(len(data), generator=source)[:count]
        parts = [
            data.images(part) for part in progress(rows.split(1000), "pictures", total=math.ceil(len(rows) / 1000))
        ]
        pictures = torch.cat([block_average(part, 64 // size) if size < 64 else part for part in parts])
        return pictures, data.classes[rows][:, chosen], tuple(data.sizes[a] for a in chosen)


def train_reader(
    pictures: torch.Tensor, attributes: torch.Tensor, sizes: tuple[int, ...], settings: FullSettings
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A small convolutional classifier of the attributes, trained on all that it is given."""
    with torch.device("meta"):
        net = ConvEncoder(sum(sizes), img_channels=3, size=settings.size, channels=(16, 32, 32), hidden=(64,))
    net = initialise(net.to_empty(device="cpu"), torch_generator(0, "scan chapter", "reader")).to(settings.device)
    order = ShuffledBatches(len(pictures), min(64, len(pictures)), 0, "reader")

    def loss(model: nn.Module, rows: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        logits = model(pictures[rows].to(settings.device))[0]  # its second half of outputs is not used
        target = attributes[rows].to(settings.device)
        return sum(F.cross_entropy(block, target[:, a]) for a, block in enumerate(logits.split(sizes, dim=1)))

    fit(net, loss, order, torch.optim.Adam(net.parameters(), lr=1e-3), settings.reader_steps, seed=0)
    net = freeze(net.cpu())

    @torch.no_grad()
    def read(x: torch.Tensor) -> torch.Tensor:
        logits = torch.cat([net(part)[0] for part in x.split(1000)])
        return torch.stack([block.argmax(dim=1) for block in logits.split(sizes, dim=1)], dim=1)

    return read


# --- the ledger -------------------------------------------------------------------------------------------------------


LOSS_LEVEL = 0.05
"""Share: where the vision models' loss above its floor still changed by more in their last half, a run decides nothing."""
NAMED_LEVEL = 0.02
"""Share of pictures: as much may naming change between the vision models of half way and of the end."""


READER_LEVEL = 0.98
"""Share: a reader that reads less of any attribute of the pictures kept from it decides nothing.

Set after a first reader, a small convolutional network, had read three sprites' shapes in four; before any run with this one.
"""


def too_small(vision_steps: int, tables: Tables) -> str | None:
    """Why a run settles no claim, or ``None``: its pictures are read well, and its vision models have the protocol's steps
    (``vision_steps``) or have levelled.

    Read well: each attribute of the pictures kept from the reader at :data:`READER_LEVEL` or more. Levelled: for either kind of vision, as means over the seeds, the loss above its floor changed by at most
    :data:`LOSS_LEVEL` of what it was half way, and the share of pictures that is named rightly by at most
    :data:`NAMED_LEVEL`. Set before any run of this length. ``tables`` are those of :func:`run`.
    """
    read = {row["attribute"]: row["accuracy"] for row in tables.get("reader", ()) if row["of"] == "pictures"}
    if not read:
        return "nothing says how well the drawn pictures are read"
    badly = [f"{name} ({share:.0%})" for name, share in read.items() if not share >= READER_LEVEL]
    if badly:
        return f"the reader takes too much of real pictures for something else: {', '.join(badly)}"
    if vision_steps >= PROTOCOL_STEPS:
        return None
    begin = f"vision models of {vision_steps:,} steps; the protocol has {PROTOCOL_STEPS:,}"
    if not tables.get("vision"):
        return f"{begin}, and nothing says that they have levelled"
    reasons = []
    for kind, (loss, named) in changes(tables["vision"]).items():
        if not loss <= LOSS_LEVEL:
            reasons.append(f"the loss of the {kind} ones changed by {loss:.0%} in the last half")
        if not named <= NAMED_LEVEL:
            reasons.append(f"naming by the {kind} ones by {100 * named:.0f} points")
    return f"{begin}, and {', '.join(reasons)}" if reasons else None


def changes(vision: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """By kind of vision, from rows of :func:`levels`: what changed in the last half, as means over the seeds.

    The loss above its floor, as a share of what it was half way, and the share of pictures that is named rightly.
    """
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in vision):
        mean = lambda key, kind=kind: float(np.mean([row[key] for row in vision if row["kind"] == kind]))
        loss = abs(mean("loss") - mean("loss_half_way")) / max(abs(mean("loss_half_way")), 1e-12)
        found[kind] = loss, abs(mean("named") - mean("named_half_way"))
    return found


class Measured(NamedTuple):
    """What the ledger is told of a claim: the value, its deviation over the seeds or its standard error, and why it settles nothing."""

    value: float | bool
    spread: float | None = None
    error: float | None = None
    too_small: str | None = None


def claim_values(found: Tables) -> dict[str, Measured]:
    """What the ledger's full tier reads of the tables, by claim; differences are taken seed by seed."""
    column = lambda kind, key: np.array([row[key] for row in found["runs"] if row["kind"] == kind], dtype=float)
    accuracy = lambda kind: column(kind, "accuracy")
    diversity = lambda kind: column(kind, "diversity")
    both = lambda kind: np.stack([accuracy(kind), diversity(kind)], axis=1)
    ahead, tie = beats(both("forward"), both("jmvae"))
    times, error = ratio_and_error(diversity("reversed"), diversity("forward"))
    lost = [
        mean_and_sd([r["own"] - r["accuracy"] for r in found["operators"] if r["operator"] == operator])
        for operator in dict.fromkeys(row["operator"] for row in found["operators"])
    ]
    return {
        "scan-1": Measured(*mean_and_sd(column("forward", "as_claimed"))),
        "scan-2": Measured(times, error=error),
        "scan-3": Measured(*mean_and_sd(accuracy("forward"))),
        "scan-3b": Measured(*mean_and_sd(diversity("forward"))),
        "scan-3c": Measured(ahead, too_small=tie),
        "scan-4": Measured(*mean_and_sd(column("forward", "named"))),
        "scan-5": Measured(*mean_and_sd(accuracy("forward") - accuracy("20"))),
        "scan-6": Measured(*max(lost)),
        "scan-7": Measured(*mean_and_sd(accuracy("forward") - accuracy("entangled"))),
        "scan-9": Measured(*mean_and_sd(accuracy("forward") - accuracy("main text"))),
    }
