"""The full tier of the chapter `sap`: CIFAR-10 with a ResNet-20."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from workings import paths
from workings.calibration import ece_top_label
from workings.chapters.sap.demo import accuracies, gradient, with_sap
from workings.chapters.sap.settings import LAMBDAS, Settings
from workings.robustness.attacks import attack_gradient, fgsm_step, pgd_linf
from workings.robustness.cifar import train_adversarial, train_resnet20
from workings.robustness.data import Split, as_unit_float, balanced_counts, cifar10
from workings.robustness.evaluation import sample_softmax
from workings.robustness.layers import ACTIVATIONS, TestTimeDropout, insert_dropout, insert_pruning
from workings.robustness.networks import resnet20
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import torch_generator
from workings.training import ShuffledBatches, load_checkpoint, load_weights


def _cifar(settings: Settings, root: str | Path | None) -> tuple[Split, Split, str]:
    """Train and test split and where they came from; generated noise in a dry run."""
    if settings.dry_run:
        noise = torch_generator(0, "sap", "dry")
        sizes = (16, settings.full_images)
        splits = [
            Split(
                torch.randint(0, 256, (n, 3, 32, 32), generator=noise, dtype=torch.uint8),
                torch.randint(0, 10, (n,), generator=noise),
            )
            for n in sizes
        ]
        return splits[0], splits[1], "generated noise"
    root = Path(root) if root is not None else paths.runs_root() / "data"
    folder = any((root / name).exists() for name in ("train", "train.npz"))
    source = "imagefolder" if folder else "torchvision"
    train, test = (cifar10(root, part, source=source, download=source == "torchvision") for part in ("train", "test"))
    order = torch.randperm(len(test.labels), generator=torch_generator(0, "sap", "test images"))[: settings.full_images]
    return train, Split(test.images[order], test.labels[order]), f"CIFAR-10 ({source})"


def _networks(settings: Settings, train: Split) -> dict[str, Callable[[], nn.Module]]:
    """The networks of the full tier by name, made when asked for; training resumes from ``runs/resnet20/``.

    A checkpoint there (``relu-seed0.pt`` on a CPU, ``relu-seed0-40.pt`` on a GPU) that holds all
    ``settings.full_epochs`` is used as it is, whatever made it: delete the file to train again.
    """
    folder, batch = paths.runs_root() / "resnet20", 16 if settings.dry_run else 256
    folder.mkdir(parents=True, exist_ok=True)
    tail = "dry" if settings.dry_run else "40" if settings.device != "cpu" else ""
    name = "relu-seed0" + (f"-{tail}" if tail else "")
    sizes = dict(
        epochs=settings.full_epochs, seed=0, batch=batch, device=settings.device, progress=not settings.dry_run
    )
    file = folder / f"{name}.pt"

    def plain() -> nn.Module:
        steps = settings.full_epochs * ShuffledBatches(len(train.labels), batch, 0).per_epoch
        if file.is_file() and len(load_checkpoint(file)["losses"]) == steps:
            return load_weights(resnet20(torch_generator(0, "resnet20", "init")).to(settings.device), file).eval()
        return train_resnet20(train, checkpoint=file, **sizes)[0]

    made: dict[str, Callable[[], nn.Module]] = {"": plain}
    if settings.adversarial:
        made["ADV"] = lambda: train_adversarial(train, checkpoint=folder / f"adv-{name}.pt", **sizes)
    return made


def _measure(samples: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    single, mean = accuracies(samples, y)
    ece = ece_top_label(samples.mean(dim=0).double().cpu().numpy(), y.cpu().numpy(), 10)
    return {"single": single, "mean": mean, "ece": float(ece)}


def _jobs(settings: Settings) -> list[tuple[str, str, str]]:
    """(network, defence, attack) of every measurement; :func:`_attacked` says what the attacks are."""
    kinds = [("dense", "dense"), ("SAP-100", "mask"), ("SAP-100", "identity"), ("SAP-100", "dense")]
    jobs = [("", *kind) for kind in kinds]
    jobs += [("", "SAP-100", "mask, one"), ("", "SAP-100", "mask, many"), ("", "dropout 0.1", "mask")]
    jobs += [("", "dense", "PGD"), ("", "SAP-100", "PGD identity")]
    jobs += [("", "dense", "steps"), ("", "SAP-100", "steps mask"), ("", "SAP-100", "steps dense")]
    jobs += [("", f"SAP f={f:g}", "none") for f in (0.25, 0.5, 1.0, 2.0)] + [("", "dropout", "none")]
    if settings.adversarial:
        jobs += [("ADV", *kind) for kind in kinds[:2]]
    return jobs


def _defended(model: nn.Module, defence: str, backward: str, device: torch.device) -> nn.Module:
    """``model`` under ``defence``: "dense", "SAP-100", "SAP f=...", "dropout" (as many kept as by SAP-100) or "dropout 0.1"."""
    masks = torch_generator(0, "dropout", device=device)
    if defence == "dense":
        return model
    if defence == "dropout":
        return insert_dropout(model, generator=masks)
    if defence.startswith("dropout"):
        keep = 1 - float(defence.split()[1])
        return insert_pruning(model, ACTIVATIONS, lambda: TestTimeDropout(keep, "mask", masks))
    return with_sap(model, 0, float(defence.partition("=")[2] or 1.0), backward)


def _attacked(
    model: nn.Module, defence: str, attack: str, x: torch.Tensor, y: torch.Tensor, settings: Settings
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(radius in 1/255, masks averaged per gradient, attacked images) for each radius of ``attack``.

    "mask", "identity", "dense": one step with the gradient of the defence under that rule, or of the dense network; "mask, one"
    and "mask, many" average other numbers of masks. "PGD": ``pgd_steps`` steps on the margin with path 2.5 radii, on SAP by the
    identity rule with one mask. "steps": the paper's iterative attack, steps of 1/255 and ten masks, Section 4.5. "none": no attack.
    """
    if attack == "none":
        yield 0, 0, x
        return
    kind, *rule = attack.replace(",", "").split()
    if kind in ("PGD", "steps"):
        backward = rule[0] if rule else "dense"
        target = model if backward == "dense" else _defended(model, defence, backward, x.device)
        samples = 1 if backward == "dense" or kind == "PGD" else settings.steps_eot_samples
        for lam in (1, 2, 4, 8) if kind == "PGD" else (1, 2, 4):
            eps = lam / 255
            step, steps = (2.5 * eps / settings.pgd_steps, settings.pgd_steps) if kind == "PGD" else (1 / 255, lam)
            climb = attack_gradient(target, "margin" if kind == "PGD" else "cross-entropy", samples)
            yield lam, samples, pgd_linf(climb, x, y, eps, step, steps)
        return
    numbers = {"one": 1, "many": settings.most_eot_samples}
    samples = 1 if kind == "dense" else numbers[rule[0]] if rule else settings.full_eot_samples
    target = model if kind == "dense" else _defended(model, defence, kind, x.device)
    grad = gradient(target, x, y, samples)
    for lam in LAMBDAS if attack == "mask" or defence == "dense" else (1, 2, 4, 8):
        yield lam, samples, fgsm_step(x, grad, lam / 255)


def _run_job(model: nn.Module, defence: str, attack: str, test: Split, settings: Settings) -> list[dict[str, Any]]:
    """The rows of one measurement, one per radius."""
    x, y = as_unit_float(test.images), test.labels
    mc_samples = 1 if defence == "dense" else settings.full_mc_samples
    victim = _defended(model, defence, "mask", x.device)
    return [
        {"lambda": lam, "masks": masks, "passes": mc_samples, **_measure(sample_softmax(victim, z, mc_samples), y)}
        for lam, masks, z in _attacked(model, defence, attack, x, y, settings)
    ]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The CIFAR-10 run as the table ``"fgsm"``: one row for each (network, defence, attack, radius).

    Each row holds the accuracy of one pass (``single``) and of the mean softmax (``mean``) with its binomial
    ``standard_error``, the calibration error ``ece``, and what was run: images and how many there are of each class
    (``class_counts``, in the order of the labels), masks, passes, PGD steps, epochs, device, data. ``data_root`` is a folder with
    CIFAR-10, or ``None`` to fetch it. A run that was interrupted goes on from ``runs/sap/``.
    """
    file = "dry.jsonl" if settings.dry_run else f"full-{settings.device}.jsonl"
    # A store from before the loader shuffled the images holds another sample of them, so it must not be continued.
    facts = {**dataclasses.asdict(settings), "test_images": "a random sample of the shuffled test set"}
    store = Store(paths.runs_root() / "sap" / file, facts)
    train, test, source = _cifar(settings, data_root)
    counts = " ".join(map(str, balanced_counts(test.labels)))
    test = test.to(settings.device)
    makers, models, rows = _networks(settings, train), {}, []
    device = torch.cuda.get_device_name() if settings.device == "cuda" else f"CPU, {torch.get_num_threads()} thread"
    for network, defence, attack in progress(_jobs(settings), "measurements"):
        key = f"{network or 'plain'}/{defence}/{attack}"
        if not store.done(key):
            if network not in models:
                models[network] = makers[network]().float().eval()
            store.put(key, _run_job(models[network], defence, attack, test, settings))
        for row in store.get(key):
            error = float(np.sqrt(row["mean"] * (1 - row["mean"]) / len(test.labels)))
            steps = (
                settings.pgd_steps if attack.startswith("PGD") else row["lambda"] if attack.startswith("steps") else 1
            )
            facts = dict(
                images=len(test.labels),
                steps=steps,
                epochs=settings.full_epochs,
                device=device,
                data=source,
                class_counts=counts,
            )
            name = f"{network}+{defence}" if network else defence
            rows.append({"defence": name, "gradient": attack, **row, "standard_error": error, **facts})
    return {"fgsm": rows}


def find(rows: Sequence[dict[str, Any]], defence: str, gradient: str, lam: int) -> dict[str, Any]:
    """The one row of :func:`run`'s table with these three; ``KeyError`` when there is none."""
    for row in rows:
        if (row["defence"], row["gradient"], row["lambda"]) == (defence, gradient, lam):
            return row
    raise KeyError(f"no row for {defence}, gradient {gradient}, lambda {lam}.")


def error_of_difference(
    rows: Sequence[dict[str, Any]], one: tuple[str, str, int], two: tuple[str, str, int], kind: str = "mean"
) -> float:
    """Standard error of the difference of two accuracies in :func:`run`'s table; ``one`` and ``two`` as in :func:`find`.

    ``kind`` names the accuracy, "single" or "mean". Both are taken as binomial and independent, which is rather too large: they
    are of the same images, and "single" is a mean over passes. ``KeyError`` when a row is missing.
    """
    found = [find(rows, *where) for where in (one, two)]
    return math.sqrt(sum(row[kind] * (1 - row[kind]) / row["images"] for row in found))
