"""The full tier of `scan`: convolutional vision on 3D Shapes, or on coloured dSprites where its file is not given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from workings import paths
from workings.chapters.scan.demo import (
    Vision,
    World,
    as_claimed,
    jmvae_runs,
    named_rightly,
    operator_runs,
    operator_scores,
    score_symbols,
    split_pairs,
    symbol_runs,
)
from workings.chapters.scan.settings import Settings
from workings.disentangling.dsprites_data import sub_grid
from workings.disentangling.dsprites_renderer import block_average, packed_dsprites, unpack_images
from workings.disentangling.networks import VAE, ConvDecoder, ConvEncoder, freeze, initialise
from workings.disentangling.rooms import hsv_to_rgb
from workings.disentangling.scan import code_pictures
from workings.disentangling.shapes3d_file import FILE_NAME, Shapes3D
from workings.disentangling.training import fixed_beta, train_vae
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.training import ShuffledBatches, fit

PROTOCOL_STEPS = 150_000  # of each vision model
HUES = 16
SPRITE_SIZES = (4, 4, 3)  # background, sprite, shape
SHAPES3D_SIZES = (10, 10, 10, 4)  # wall, floor, object, shape


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

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The settings of ``device`` (default: CUDA where there is one); ``dry_run``: a few steps on a few pictures."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dry_run:
            return cls(400, 32, 4, 10, Settings.full(dry_run=True), batch=16, channels=(8, 8, 8), device="cpu")
        seeds = Settings().seeds
        if device.startswith("cuda"):
            demo = Settings(seeds, 16, 256, 4.0, 0.1, 20_000, 1e-3, scan_steps=50_000, recombination_steps=20_000)
            return cls(50_000, 64, PROTOCOL_STEPS, 10_000, demo, device=device)
        demo = Settings(seeds, 10, 128, 4.0, 0.1, 2000, 1e-3, scan_steps=3000, recombination_steps=3000)
        return cls(8000, 32, 2000, 1500, demo, channels=(32, 32, 64))


@Settings.needs.guard
def run(settings: FullSettings | Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The whole full tier: tables "runs" (one row per kind and seed) and "operators" (one row per operator and seed).

    ``data_root``: the folder of ``3dshapes.h5``; without it coloured sprites are drawn here. Finished vision models and
    results are kept under ``runs/scan``, so that an interrupted run goes on where it stopped.
    """
    if isinstance(settings, Settings):
        settings = FullSettings.here(dry_run=settings.vision_steps <= 10)
    return run_protocol(settings, data_root)


def run_protocol(settings: FullSettings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """:func:`run` without the answer to a full memory."""
    world, reader_accuracy = load(settings, data_root)
    name = f"{'shapes3d' if data_root is not None else 'sprites'}{settings.size}-{settings.vision_steps}"
    folder = paths.runs_root() / "scan"
    store = Store(folder / f"{name}.jsonl", settings)
    if not store.done("tables"):
        store.put("tables", tables(settings, world, reader_accuracy, folder / name))
    return store.get("tables")


def tables(
    settings: FullSettings, world: World, reader_accuracy: float, folder: Path
) -> dict[str, list[dict[str, Any]]]:
    """Everything that is measured on ``world``; vision models are kept in ``folder``."""
    demo = settings.demo
    found = vision_models(settings, world, folder)
    symbols = symbol_runs(found, world, demo)
    about = {"pictures": len(world.pictures), "size": settings.size, "steps": settings.vision_steps, "device": settings.device, "reader": reader_accuracy}  # fmt: skip
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
            rows.append({"operator": operator, "seed": seed, "accuracy": made.accuracy, "own": own.accuracy, "diversity": made.diversity if math.isfinite(made.diversity) else None})  # fmt: skip
    return {"runs": runs, "operators": rows}


def vision_models(settings: FullSettings, world: World, folder: Path) -> dict[str, list[Vision]]:
    """Convolutional vision models of every seed at both betas, trained or resumed."""
    demo, found = settings.demo, {}
    jobs = [(kind, beta, seed) for kind, beta in (("disentangled", demo.beta), ("entangled", demo.entangled_beta)) for seed in demo.seeds]  # fmt: skip
    for kind, beta, seed in progress(jobs, "vision models"):
        shape = dict(img_channels=3, size=settings.size, channels=settings.channels)
        with torch.device("meta"):
            model = VAE(ConvEncoder(demo.latents, **shape), ConvDecoder(demo.latents, **shape))
        model = initialise(model.to_empty(device="cpu"), torch_generator(seed, "scan chapter", "vision"))
        model = model.to(settings.device)
        train_vae(
            model, world.pictures.to(settings.device), settings.vision_steps, fixed_beta(beta), seed=seed, batch=settings.batch,
            optimiser=torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), checkpoint=folder / f"{kind}-seed{seed}.pt",
        )  # fmt: skip
        model = freeze(model.cpu())
        found.setdefault(kind, []).append(Vision(model, code_pictures(model, world.pictures, world.attributes)))
    return found


# --- data -------------------------------------------------------------------------------------------------------------


def load(settings: FullSettings, data_root: str | Path | None) -> tuple[World, float]:
    """The world of the full tier, read by a small trained network, and that network's accuracy on pictures kept from it."""
    if data_root is None:
        pictures, attributes, sizes = coloured_sprites(settings.pictures, settings.size)
    else:
        pictures, attributes, sizes = shapes3d(Path(data_root) / FILE_NAME, settings.pictures, settings.size)
    read, accuracy = train_reader(pictures, attributes, sizes, settings)
    return World(pictures, attributes, sizes, read), accuracy


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


def shapes3d(path: Path, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """``count`` random pictures of 3D Shapes at ``size`` pixels, and their wall, floor and object hue and shape."""
    with Shapes3D(path) as data:
        source = torch_generator(0, "scan chapter", "shapes3d")
        rows = torch.randperm(len(data), generator=source)[:count]
        parts = [data.images(part) for part in progress(rows.split(1000), "pictures", total=math.ceil(count / 1000))]
        pictures = torch.cat([block_average(part, 64 // size) if size < 64 else part for part in parts])
        return pictures, data.classes[rows][:, [1, 0, 2, 4]], SHAPES3D_SIZES


def train_reader(
    pictures: torch.Tensor, attributes: torch.Tensor, sizes: tuple[int, ...], settings: FullSettings
) -> tuple[Callable[[torch.Tensor], torch.Tensor], float]:
    """A small convolutional classifier of the attributes, trained on nine tenths, and its accuracy on the rest."""
    with torch.device("meta"):
        net = ConvEncoder(sum(sizes), img_channels=3, size=settings.size, channels=(16, 32, 32), hidden=(64,))
    net = initialise(net.to_empty(device="cpu"), torch_generator(0, "scan chapter", "reader")).to(settings.device)
    cut = len(pictures) * 9 // 10
    order = ShuffledBatches(cut, min(64, cut), 0, "reader")

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

    return read, float((read(pictures[cut:]) == attributes[cut:]).double().mean())


# --- the ledger -------------------------------------------------------------------------------------------------------


def too_small(settings: FullSettings) -> str | None:
    """Why a run of these sizes settles no claim, or ``None``: words are tied to what the vision tells apart."""
    if settings.vision_steps >= PROTOCOL_STEPS:
        return None
    return f"vision models of {settings.vision_steps:,} steps; the protocol has {PROTOCOL_STEPS:,}"


def claim_values(found: dict[str, list[dict[str, Any]]]) -> dict[str, float | bool]:
    """What the ledger's full tier reads of the tables, by claim."""
    mean = lambda kind, key: sum(r[key] for r in found["runs"] if r["kind"] == kind) / sum(r["kind"] == kind for r in found["runs"])  # fmt: skip
    accuracy = lambda kind: mean(kind, "accuracy")
    diversity = lambda kind: mean(kind, "diversity")
    operators = {row["operator"] for row in found["operators"]}
    lost = [
        sum(r["own"] - r["accuracy"] for r in found["operators"] if r["operator"] == o)
        / sum(r["operator"] == o for r in found["operators"])
        for o in operators
    ]
    return {
        "scan-1": mean("forward", "as_claimed"),
        "scan-2": diversity("reversed") / diversity("forward"),
        "scan-3": accuracy("forward"),
        "scan-3b": diversity("forward"),
        "scan-3c": accuracy("forward") > accuracy("jmvae") and diversity("forward") < diversity("jmvae"),
        "scan-4": mean("forward", "named"),
        "scan-5": accuracy("forward") - accuracy("20"),
        "scan-6": max(lost),
        "scan-7": accuracy("forward") - accuracy("entangled"),
        "scan-9": accuracy("forward") - accuracy("main text"),
    }
