"""The full tier of the chapter `sap_erratum`: the erratum's table on CIFAR-10 with a ResNet-20.

{dense, flawed, faithful} x {2018 attack, pathwise PGD, mask EOT, BPDA identity + EOT, transfer} at 8/255, and a radius
sweep. On a GPU the sizes are those of the sheet; on a CPU fewer images, steps, passes and masks, as every row says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workings import paths
from workings.chapters.sap_erratum.demo import FLAWED, Attack, Attacked, Defence, run_attack
from workings.chapters.sap_erratum.settings import RULES, Settings
from workings.robustness.cifar import accuracy, train_resnet20
from workings.robustness.data import Split, as_unit_float, cifar10
from workings.robustness.evaluation import robust_accuracies
from workings.robustness.networks import resnet20
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import generator
from workings.training import ShuffledBatches, load_checkpoint, load_weights

PIXEL = 1 / 255


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier. ``slope`` 0 is the ReLU net of the SAP paper, 0.1 the leaky one of the 2018 attack."""

    device: str = "cuda"
    seed: int = 0
    slope: float = 0.1
    epochs: int = 40
    batch: int = 256
    images: int = 1000
    chunk: int = 250
    eps: float = 8 * PIXEL
    radii: tuple[float, ...] = (2 * PIXEL, 4 * PIXEL, 16 * PIXEL, 32 * PIXEL)
    steps: int = 100
    masks: tuple[int, ...] = (1, 10)
    passes: int = 100
    old_steps: int = 500  # the public 2018 attack: Adam, step 0.1 in 0..255 units
    old_step: float = 0.1 * PIXEL
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The sheet's sizes where there is a GPU; on a CPU a smaller run with the SAP chapter's ReLU checkpoint.

        There the 2018 attack has 40 steps in place of 500, lengthened so that its path stays 6.25 radii.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dry_run:
            return cls(
                device=device, slope=0.0, epochs=1, batch=16, images=4, chunk=4, radii=(16 * PIXEL,), steps=1, masks=(1,),
                passes=2, old_steps=2, old_step=PIXEL, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(
                device=device, slope=0.0, epochs=20, images=100, chunk=100, radii=(32 * PIXEL,), steps=20, masks=(1,), passes=20, old_steps=40,
                old_step=6.25 * 8 * PIXEL / 40,
            )  # fmt: skip
        return cls(device=device)


def runs_folder() -> Path:
    """Where long runs keep their state: ``WORKINGS_RUNS``, or ``runs/`` of the checkout."""
    return paths.runs_root()


def checkpoint_file(settings: FullSettings) -> Path:
    """``runs/resnet20/relu-seed0.pt`` or ``leaky-seed0.pt``: shared by the chapters of this part."""
    if settings.dry_run:
        return runs_folder() / "sap_erratum" / "dry.pt"
    return runs_folder() / "resnet20" / f"{'relu' if settings.slope == 0 else 'leaky'}-seed{settings.seed}.pt"


def load_split(root: str | Path | None, split: str, settings: FullSettings) -> Split:
    """CIFAR-10's ``split``: a folder of images (or its ``.npz``) under ``root``, else torchvision's files there.

    A dry run generates noise images in their place; without ``root`` the data are fetched into ``.cache/cifar10``.
    """
    if settings.dry_run:
        source = generator(settings.seed, "erratum", "noise images", split)
        images = torch.randint(0, 256, (32, 3, 32, 32), generator=source, dtype=torch.uint8)
        return Split(images, torch.arange(32) % 10)
    if root is None:
        return cifar10(runs_folder().parent / ".cache" / "cifar10", split, download=True)
    root = Path(root)
    folder = (root / split).is_dir() or (root / f"{split}.npz").is_file()
    return cifar10(root, split, source="imagefolder" if folder else "torchvision")


def network(settings: FullSettings, root: str | Path | None) -> nn.Module:
    """The trained ResNet-20: read from :func:`checkpoint_file` when its training is complete, else trained (or resumed)."""
    file = checkpoint_file(settings)
    size = 32 if settings.dry_run else 50_000
    wanted = settings.epochs * ShuffledBatches(size, settings.batch, settings.seed).per_epoch
    if file.is_file() and len(load_checkpoint(file)["losses"]) == wanted:
        net = resnet20(generator(settings.seed, "resnet20", "init"), slope=settings.slope).to(settings.device)
        return load_weights(net, file).eval()
    data = load_split(root, "train", settings)
    options = dict(slope=settings.slope, batch=settings.batch, device=settings.device)
    return train_resnet20(data, settings.epochs, settings.seed, file, progress=not settings.dry_run, **options)[0]


def cells(settings: FullSettings) -> list[tuple[str, str, int, float]]:
    """(defence, attack, masks, radius) of the table: the grid at 8/255, then the radius sweep."""
    eps = settings.eps
    table = [(name, kind, 1, eps) for name in ("flawed", "faithful") for kind in ("2018", *RULES, "transfer")]
    table = [("dense", "transfer", 1, 0.0), ("dense", "2018", 1, eps), ("dense", "transfer", 1, eps),
             ("flawed", "transfer", 1, 0.0), ("faithful", "transfer", 1, 0.0), *table]  # fmt: skip
    table += [("faithful", rule, 1, radius) for radius in settings.radii for rule in ("pathwise", "identity")]
    more = [k for k in settings.masks if k > 1]
    return table + [(name, rule, k, eps) for k in more for name in ("faithful", "flawed") for rule in RULES]


DEFENCES: dict[str, Defence | None] = {"dense": None, "flawed": FLAWED, "faithful": Defence()}


def one_cell(net: nn.Module, test: Split, cell: tuple[str, str, int, float], settings: FullSettings) -> dict[str, Any]:
    """Accuracies of one cell on the first ``settings.images`` images of ``test``, with its circumstances."""
    name, kind, masks, eps = cell
    defence, device = DEFENCES[name], settings.device
    attack = generator(settings.seed, "erratum", "full attack", device=device)
    source = generator(settings.seed, "erratum", "full evaluation", device=device)
    model = net if defence is None else defence.build(net, "mask", source)
    passes = 1 if defence is None else settings.passes
    old = settings.old_step / eps if eps > 0 else 0.0
    sizes = Attack(settings.steps, masks, 2.5 / settings.steps, settings.old_steps, old)
    sums, nans, count = dict.fromkeys(("single", "mean-softmax", "all"), 0.0), 0, 0
    for start in range(0, settings.images, settings.chunk):
        stop = min(start + settings.chunk, settings.images)
        x = as_unit_float(test.images[start:stop].to(device))
        y = test.labels[start:stop].to(device)
        found = run_attack(net, defence, kind, x, y, eps, sizes, attack) if eps > 0 else Attacked(x, 0)
        result = robust_accuracies(model, found.images, y, passes)
        sums = {rule: total + result[rule].value * len(y) for rule, total in sums.items()}
        nans, count = nans + found.nans, count + len(y)
    steps = 0 if eps == 0 else settings.old_steps if kind == "2018" else settings.steps
    return {
        "defence": name, "attack": kind if eps > 0 else "none", "masks": masks, "radius": round(eps / PIXEL, 3),
        "single": sums["single"] / count, "mean": sums["mean-softmax"] / count, "all": sums["all"] / count,
        "images": count, "steps": steps, "passes": passes, "nans": nans, "device": device,
    }  # fmt: skip


@Settings.needs.guard
def cifar_table(settings: FullSettings, data_root: str | Path | None = None) -> list[dict[str, Any]]:
    """The whole table; what an earlier, interrupted run finished (under ``runs/``) is not computed again."""
    kind = "dry" if settings.dry_run else f"full-{settings.device}"
    store = Store(runs_folder() / "sap_erratum" / f"{kind}.jsonl", settings)
    return run_table(settings, store, data_root, watch=lambda jobs: progress(jobs, "cells"))


def run_table(
    settings: FullSettings,
    store: Store,
    root: str | Path | None = None,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """One row a cell of :func:`cells`, through ``store``; ``watch`` may draw a progress bar."""
    jobs = cells(settings)
    keys = ["/".join(map(str, (*cell[:3], round(cell[3] / PIXEL, 3)))) for cell in jobs]
    missing = [(key, cell) for key, cell in zip(keys, jobs, strict=True) if not store.done(key)]
    if missing:
        net, test = network(settings, root), load_split(root, "test", settings)
        clean = accuracy(net, test.images.to(settings.device), test.labels.to(settings.device))
        for key, cell in watch(missing):
            row = {**one_cell(net, test, cell, settings), "dense_test_accuracy": clean}
            store.put(key, row)
    return [store.get(key) for key in keys]


def find(rows: Iterable[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The first row whose entries are ``wanted``; ``LookupError`` when there is none."""
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            return row
    raise LookupError(f"no row of the table has {wanted}.")
