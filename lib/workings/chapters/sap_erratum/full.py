"""The full tier of the chapter `sap_erratum`: the erratum's table on CIFAR-10 with a ResNet-20.

The dense network, the 2018 program and SAP, each under the 2018 attack, sign PGD with the three backward rules, and transfer, at
8/255; then larger and smaller radii. On a CPU there are fewer images, steps, passes and masks than on a GPU; every row says how many.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workings import paths
from workings.chapters.sap_erratum.demo import PROGRAM_2018, SAP, Attack, Attacked, Defence, run_attack
from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.robustness.cifar import accuracy, train_resnet20
from workings.robustness.data import Split, as_unit_float, balanced_counts, cifar10
from workings.robustness.evaluation import robust_accuracies
from workings.robustness.networks import resnet20
from workings.robustness.sap import BACKWARD_RULES
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import torch_generator
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
    eot_samples: tuple[int, ...] = (1, 10)
    mc_samples: int = 100
    old_steps: int = 500  # the public 2018 attack: Adam, step 0.1 in 0..255 units
    old_step: float = 0.1 * PIXEL
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The sizes for the device: on a CPU a smaller run, with the ReLU network that the chapter `sap` trains."""
        device = device or device_here()
        if dry_run:
            return cls(
                device=device, slope=0.0, epochs=1, batch=16, images=4, chunk=4, radii=(16 * PIXEL,), steps=1, eot_samples=(1,),
                mc_samples=2, old_steps=2, old_step=PIXEL, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(
                device=device, slope=0.0, epochs=20, images=300, chunk=100, radii=(32 * PIXEL,), steps=20,
                eot_samples=(1,), mc_samples=20,
            )  # fmt: skip
        return cls(device=device)


def checkpoint_file(settings: FullSettings) -> Path:
    """``runs/resnet20/relu-seed0.pt`` or ``leaky-seed0.pt``: shared by the chapters of this part."""
    if settings.dry_run:
        return paths.runs_root() / "sap_erratum" / "dry.pt"
    return paths.runs_root() / "resnet20" / f"{'relu' if settings.slope == 0 else 'leaky'}-seed{settings.seed}.pt"


def load_split(root: str | Path | None, split: str, settings: FullSettings) -> tuple[Split, str]:
    """CIFAR-10's ``split`` and where it came from: a folder of images (or its ``.npz``) under ``root``, else torchvision's files.

    A dry run generates noise images in their place; without ``root`` it is ``runs/data``, as in the chapter `sap`, and what is
    missing there is fetched.
    """
    if settings.dry_run:
        source = torch_generator(settings.seed, "erratum", "noise images", split)
        images = torch.randint(0, 256, (32, 3, 32, 32), generator=source, dtype=torch.uint8)
        return Split(images, torch.arange(32) % 10), "generated noise"
    own, root = root is not None, paths.runs_root() / "data" if root is None else Path(root)
    folder = (root / split).is_dir() or (root / f"{split}.npz").is_file()
    source = "imagefolder" if folder else "torchvision"
    return cifar10(root, split, source=source, download=not own), f"CIFAR-10 ({source})"


def network(settings: FullSettings, root: str | Path | None) -> nn.Module:
    """The trained ResNet-20: read from :func:`checkpoint_file` when its training is complete, else trained (or resumed)."""
    file = checkpoint_file(settings)
    size = 32 if settings.dry_run else 50_000
    wanted = settings.epochs * ShuffledBatches(size, settings.batch, settings.seed).per_epoch
    if file.is_file() and len(load_checkpoint(file)["losses"]) == wanted:
        net = resnet20(torch_generator(settings.seed, "resnet20", "init"), slope=settings.slope).to(settings.device)
        return load_weights(net, file).eval()
    data, _ = load_split(root, "train", settings)
    options = dict(slope=settings.slope, batch=settings.batch, device=settings.device)
    return train_resnet20(data, settings.epochs, settings.seed, file, progress=not settings.dry_run, **options)[0]


def cells(settings: FullSettings) -> list[tuple[str, str, int, float]]:
    """(defence, attack, masks per step, radius) of the table: everything at 8/255, then the other radii."""
    eps = settings.eps
    table = [(name, "transfer", 1, 0.0) for name in DEFENCES]  # radius 0: clean accuracy
    table += [("dense", "2018", 1, eps), ("dense", "transfer", 1, eps)]
    table += [(name, kind, 1, eps) for name in ("2018 program", "SAP") for kind in ATTACKS]
    table += [("SAP", rule, 1, radius) for radius in settings.radii for rule in ("pathwise", "identity")]
    more = [k for k in settings.eot_samples if k > 1]
    return table + [(name, rule, k, eps) for k in more for name in ("SAP", "2018 program") for rule in BACKWARD_RULES]


DEFENCES: dict[str, Defence | None] = {"dense": None, "2018 program": PROGRAM_2018, "SAP": SAP}


def one_cell(net: nn.Module, test: Split, cell: tuple[str, str, int, float], settings: FullSettings) -> dict[str, Any]:
    """Accuracies of one cell on the first ``settings.images`` images of ``test`` (shuffled by its loader), with its sizes."""
    name, kind, eot_samples, eps = cell
    defence, device = DEFENCES[name], settings.device
    attack = torch_generator(settings.seed, "erratum", "full attack", device=device)
    fresh = torch_generator(settings.seed, "erratum", "full evaluation", device=device)
    model = net if defence is None else defence.build(net, "mask", fresh)
    mc_samples = 1 if defence is None else settings.mc_samples
    old = settings.old_step / eps if eps > 0 else 0.0
    sizes = Attack(settings.steps, eot_samples, 2.5 / settings.steps, settings.old_steps, old)
    sums, nans, count = dict.fromkeys(("single", "mean-softmax", "all"), 0.0), 0, 0
    for start in range(0, settings.images, settings.chunk):
        stop = min(start + settings.chunk, settings.images)
        x = as_unit_float(test.images[start:stop].to(device))
        y = test.labels[start:stop].to(device)
        found = run_attack(net, defence, kind, x, y, eps, sizes, attack) if eps > 0 else Attacked(x, 0)
        result = robust_accuracies(model, found.images, y, mc_samples)
        sums = {rule: total + result[rule].value * len(y) for rule, total in sums.items()}
        nans, count = nans + found.nans, count + len(y)
    steps = 0 if eps == 0 else settings.old_steps if kind == "2018" else settings.steps
    return {
        "defence": name, "attack": kind if eps > 0 else "none", "masks": eot_samples, "radius": round(eps / PIXEL, 3),
        "single": sums["single"] / count, "mean": sums["mean-softmax"] / count, "all": sums["all"] / count,
        "images": count, "steps": steps, "passes": mc_samples, "nans": nans, "device": device,
    }  # fmt: skip


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The CIFAR-10 run as the table ``"cifar"``: one row per cell of :func:`cells`, at the sizes for the device that is there.

    Each row holds the accuracy of one pass (``single``), of the mean softmax (``mean``) and of all passes together (``all``), the
    dense network's accuracy on the whole test set, the data and how many images there are of each class (``class_counts``, in the
    order of the labels), and the sizes. ``data_root`` is a folder with CIFAR-10, or ``None`` to fetch it. What an earlier,
    interrupted run finished (under ``runs/sap_erratum/``) is not computed again.
    """
    here = FullSettings.here(dry_run=settings.dry_run)
    kind = "dry" if here.dry_run else f"full-{here.device}"
    store = Store(paths.runs_root() / "sap_erratum" / f"{kind}.jsonl", stored(here))
    return {"cifar": run_table(here, store, data_root, watch=lambda jobs: progress(jobs, "cells"))}


def stored(settings: FullSettings) -> dict[str, Any]:
    """What identifies a store of results: ``settings``, and that its images are a shuffled sample.

    Stores from before the loader shuffled the images hold images of one class and must not be continued.
    """
    return {**dataclasses.asdict(settings), "test_images": "the first of the shuffled test set"}


def run_table(
    settings: FullSettings,
    store: Store,
    root: str | Path | None = None,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """One row per cell of :func:`cells`, through ``store``; ``watch`` may draw a progress bar.

    Raises ``ValueError`` when the test images are not a mixture of the classes.
    """
    jobs = cells(settings)
    keys = ["/".join(map(str, (*cell[:3], round(cell[3] / PIXEL, 3)))) for cell in jobs]
    missing = [(key, cell) for key, cell in zip(keys, jobs, strict=True) if not store.done(key)]
    if missing:
        net, (test, data) = network(settings, root), load_split(root, "test", settings)
        counts = " ".join(map(str, balanced_counts(test.labels[: settings.images])))
        clean = accuracy(net, test.images.to(settings.device), test.labels.to(settings.device))
        for key, cell in watch(missing):
            row = one_cell(net, test, cell, settings)
            store.put(key, {**row, "data": data, "class_counts": counts, "dense_test_accuracy": clean})
    return [store.get(key) for key in keys]


def find(rows: Iterable[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The first row whose entries are ``wanted``; ``LookupError`` when there is none."""
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            return row
    raise LookupError(f"no row of the table has {wanted}.")
