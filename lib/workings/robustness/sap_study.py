"""The chapter `sap`: its sizes, the digits experiments of the demo, and the CIFAR-10 run of the full tier.

The demo computes in float64: a small network is as fast that way, and what it prints is then the same on
every processor. Every SAP network draws from its own named stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workings.calibration import ece_top_label
from workings.full_tier import Needs
from workings.progress import counter, progress
from workings.resume import Store
from workings.robustness.attacks import attack_gradient, fgsm_step, pgd_linf
from workings.robustness.cifar import train_resnet20
from workings.robustness.data import Split, as_unit_float, cifar10, digits, random_crop_flip
from workings.robustness.evaluation import sample_softmax
from workings.robustness.layers import insert_dropout, insert_sap
from workings.robustness.networks import digits_cnn, resnet20
from workings.robustness.sap import stochastic_activation_pruning
from workings.seeding import generator as stream
from workings.threads import two_at_a_time
from workings.tiers import Tiered
from workings.training import ShuffledBatches, fit, load_checkpoint, load_weights, one_cycle

LAMBDAS = (0, 1, 2, 4, 8, 16, 32, 64)  # the paper's radii, in units of 1/255


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter. ``demo`` fits a laptop minute; ``full`` follows the paper on CIFAR-10."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 20
    eps: float = 0.1
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.2)
    masks: int = 20  # gradients averaged by the attacker, headline
    passes: int = 10  # forward passes averaged by the defender under attack
    clean_passes: int = 30
    curve_images: int = 100
    curve_masks: int = 10
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
    # full tier only
    full_epochs: int = 0
    full_images: int = 0
    full_masks: int = 0
    full_passes: int = 0
    pgd_steps: int = 0
    adversarial: bool = False
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="ResNet-20 on CIFAR-10 for 40 epochs and its adversarial twin, 1,000 images, 100 masks, 100 passes",
        gpu="one CUDA GPU with about 16 GB (an estimate: no run on a GPU is recorded)",
        shortened="20 epochs, 200 images, 20 masks, 10 passes, no adversarial twin",
        settings=("sap_study.Settings",),
        lower={"full_images": "images that are attacked at once"},
    )

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False, device: str | None = None) -> Settings:
        """CIFAR-10 at the sheet's sizes on a GPU; on a CPU fewer images and masks, and no adversarial training."""
        if dry_run:
            small = dict(seeds=(0,), epochs=3, masks=2, passes=2, clean_passes=3, curve_images=40, curve_masks=2)
            return cls(
                **small, full_epochs=1, full_images=2, full_masks=2, full_passes=2, pgd_steps=2,
                adversarial=True, dry_run=True,
            )  # fmt: skip
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            return cls(full_epochs=20, full_images=200, full_masks=20, full_passes=10, pgd_steps=10)
        sizes = dict(full_epochs=40, full_images=1000, full_masks=100, full_passes=100, pgd_steps=40)
        return cls(**sizes, adversarial=True, device=device)


# --- demo: digits -----------------------------------------------------------------------------------------------


def digits64() -> tuple[Split, Split]:
    """:func:`~workings.robustness.data.digits` in float64: 1200 images to train on, 597 held out."""
    train, test = digits()
    return Split(train.images.double(), train.labels), Split(test.images.double(), test.labels)


def train_cnn(train: Split, seed: int, epochs: int, tick: Callable[[], None] = lambda: None) -> nn.Module:
    """The digits network of the part, trained in the dtype of ``train.images`` with Adam (2e-3, batch 64), in eval mode.

    ``tick`` is called after each step.
    """
    model = digits_cnn(stream(seed, "digits_cnn", "init")).to(train.images.dtype)
    order = ShuffledBatches(len(train.labels), 64, seed)

    def loss(net: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        return F.cross_entropy(net(batch[0]), batch[1])

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return train.images[order(step)], train.labels[order(step)]

    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    fit(model, loss, batches, optimiser, epochs * order.per_epoch, seed=seed, on_step=lambda *_: tick())
    return model.eval()


def train_cnns(train: Split, seeds: Sequence[int], epochs: int) -> list[nn.Module]:
    """:func:`train_cnn` for each of ``seeds``, two at a time behind one bar."""
    steps = epochs * ShuffledBatches(len(train.labels), 64, 0).per_epoch
    with counter(len(seeds) * steps, "training steps") as tick:
        return two_at_a_time(lambda seed: train_cnn(train, seed, epochs, tick), seeds, label=None)


def with_sap(model: nn.Module, seed: int, fraction: float = 1.0, backward: str = "mask") -> nn.Module:
    """A copy of ``model`` with SAP after every ReLU, drawing from a stream named after ``fraction`` and ``backward``."""
    device = next(model.parameters()).device
    masks = stream(seed, "sap", str(fraction), backward, device=device)
    return insert_sap(model, fraction=fraction, backward=backward, generator=masks)


def with_dropout(model: nn.Module, seed: int) -> nn.Module:
    """A copy of ``model`` with test-time dropout that keeps the share of active neurons which SAP-100 keeps."""
    return insert_dropout(model, generator=stream(seed, "dropout"))


def gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor, masks: int) -> torch.Tensor:
    """Gradient of the cross-entropy at ``x``, averaged over ``masks`` passes: shape of ``x``. One serves all radii."""
    return attack_gradient(model, "cross-entropy", masks)(x, y)


def rates(samples: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Accuracy of one pass (mean over passes) and of the mean softmax, from ``samples`` (S, B, K)."""
    single = (samples.argmax(dim=2) == y).double().mean()
    return float(single), float((samples.mean(dim=0).argmax(dim=1) == y).double().mean())


def sd(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the first axis, the seeds (n - 1 below the line; 0 for a single seed)."""
    return np.std(values, axis=0, ddof=min(1, len(values) - 1))


def curve(
    victim: nn.Module, x: torch.Tensor, y: torch.Tensor, grad: torch.Tensor, epsilons: Iterable[float], passes: int
) -> list[tuple[float, float]]:
    """:func:`rates` of ``victim`` on the FGSM images of one gradient ``grad``, radius by radius."""
    return [rates(sample_softmax(victim, fgsm_step(x, grad, eps), passes), y) for eps in epsilons]


def headlines(
    models: Sequence[nn.Module], test: Split, seeds: Sequence[int], settings: Settings
) -> list[dict[str, torch.Tensor]]:
    """For each of ``models`` softmax samples (S, B, K) on all of ``test``: dense and SAP-100, clean and at ``settings.eps``.

    The keys that matter: ``"dense"``, ``"sap"`` (clean); ``"dense attacked"``; ``"mask"``, ``"identity"`` and
    ``"transfer"``: SAP-100 attacked with its own gradients under each rule, and with the dense network's.
    """
    x, y = test
    pairs = list(zip(models, seeds, strict=True))
    rules = ("mask", "identity")

    def own(job: tuple[nn.Module, int, str]) -> torch.Tensor:
        model, seed, rule = job
        return gradient(with_sap(model, seed, backward=rule), x, y, settings.masks)

    def dense(job: tuple[nn.Module, int]) -> dict[str, torch.Tensor]:
        model, seed = job
        dropped = sample_softmax(with_dropout(model, seed), x, settings.clean_passes)
        return {"grad": gradient(model, x, y, 1), "dense": sample_softmax(model, x, 1), "dropout": dropped}

    grads = iter(two_at_a_time(own, [(*pair, rule) for pair in pairs for rule in rules]))
    found = two_at_a_time(dense, pairs)
    images = [
        {"sap": x, "transfer": fgsm_step(x, base.pop("grad"), settings.eps)}
        | {rule: fgsm_step(x, next(grads), settings.eps) for rule in rules}
        for base in found
    ]
    for base, (model, _), inputs in zip(found, pairs, images, strict=True):
        base["dense attacked"] = sample_softmax(model, inputs["transfer"], 1)

    def passes(job: tuple[nn.Module, int, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        model, seed, inputs = job
        sap = with_sap(model, seed)  # one stream for all kinds of input, in their order
        number = {"sap": settings.clean_passes}
        return {kind: sample_softmax(sap, z, number.get(kind, settings.passes)) for kind, z in inputs.items()}

    pruned = two_at_a_time(passes, [(*pair, inputs) for pair, inputs in zip(pairs, images, strict=True)])
    return [base | more for base, more in zip(found, pruned, strict=True)]


def attack_curves(
    models: Sequence[nn.Module], test: Split, seeds: Sequence[int], settings: Settings
) -> dict[tuple[str, str], np.ndarray]:
    """FGSM curves on the first ``curve_images``: (defence, whose gradient) -> (models, radii + 1, 2) of :func:`rates`.

    The first radius is 0. Defences "dense", "SAP-100", "SAP-25", "dropout"; gradients "mask",
    "identity", "pathwise" (the defence's own) and "dense" (transferred).
    """
    x, y = test.images[: settings.curve_images], test.labels[: settings.curve_images]
    fractions = {"SAP-25": 0.25, "SAP-100": 1.0}
    kinds = {
        "SAP-25": ("mask", "pathwise", "identity"),
        "SAP-100": ("mask", "identity", "dense"),
        "dropout": ("mask",),
        "dense": ("dense",),
    }

    def attacked(job: tuple[str, nn.Module, int]) -> dict[tuple[str, str], np.ndarray]:
        name, model, seed = job
        passes = 1 if name == "dense" else settings.passes
        dropped = with_dropout(model, seed)

        def grad(rule: str) -> torch.Tensor:
            if rule == "dense":
                return gradient(model, x, y, 1)
            source = dropped if name == "dropout" else with_sap(model, seed, fractions[name], rule)
            return gradient(source, x, y, settings.curve_masks)

        grads = {rule: grad(rule) for rule in kinds[name]}
        victim = {"dense": model, "dropout": dropped}.get(name) or with_sap(model, seed, fractions[name])
        clean = rates(sample_softmax(victim, x, passes), y)
        return {
            (name, rule): np.array([clean, *curve(victim, x, y, g, settings.epsilons, passes)])
            for rule, g in grads.items()
        }

    pairs = list(zip(models, seeds, strict=True))
    rows = iter(two_at_a_time(attacked, [(name, *pair) for name in kinds for pair in pairs]))
    found: dict[tuple[str, str], np.ndarray] = {}
    for _ in kinds:
        curves = [next(rows) for _ in pairs]
        found |= {key: np.stack([row[key] for row in curves]) for key in curves[0]}
    return found


def fraction_sweep(model: nn.Module, test: Split, seed: int, settings: Settings) -> dict[str, np.ndarray]:
    """Clean and FGSM accuracy at each of ``settings.fractions``: name -> (fractions, 2) of :func:`rates`.

    Names "clean", "mask", "identity": no attack, and one at ``settings.eps`` under that backward rule.
    """
    x, y = test.images[: settings.curve_images], test.labels[: settings.curve_images]

    def at(fraction: float) -> dict[str, tuple[float, float]]:
        victim = with_sap(model, seed, fraction)
        row = {"clean": rates(sample_softmax(victim, x, settings.passes), y)}
        for rule in ("mask", "identity"):
            grad = gradient(with_sap(model, seed, fraction, rule), x, y, settings.curve_masks)
            row[rule] = curve(victim, x, y, grad, [settings.eps], settings.passes)[0]
        return row

    found = two_at_a_time(at, settings.fractions)
    rows = {name: [row[name] for row in found] for name in ("clean", "mask", "identity")}
    return {name: np.array(row) for name, row in rows.items()}


def mask_picture(layer: torch.Tensor, fraction: float) -> np.ndarray:
    """One pruning of ``layer`` (1, 16, 8, 8), its maps in a 4 x 4 grid (32, 32): 0 zero before, 1 dropped, 2 kept."""
    out = stochastic_activation_pruning(layer, fraction, generator=stream(4, "slider"))
    state = (layer > 0).int() + (out > 0).int()
    return state.reshape(4, 4, 8, 8).permute(0, 2, 1, 3).reshape(32, 32).numpy()


# --- full: CIFAR-10 ---------------------------------------------------------------------------------------------


def _runs() -> Path:
    return Path(os.environ.get("WORKINGS_RUNS", "../../runs"))


def _cifar(settings: Settings, root: str | Path | None) -> tuple[Split, Split, str]:
    """Train and test split and where they came from; generated noise in a dry run."""
    if settings.dry_run:
        noise = stream(0, "sap", "dry")
        sizes = (16, settings.full_images)
        splits = [
            Split(
                torch.randint(0, 256, (n, 3, 32, 32), generator=noise, dtype=torch.uint8),
                torch.randint(0, 10, (n,), generator=noise),
            )
            for n in sizes
        ]
        return splits[0], splits[1], "generated noise"
    root = Path(root) if root is not None else _runs() / "data"
    folder = any((root / name).exists() for name in ("train", "train.npz"))
    source = "imagefolder" if folder else "torchvision"
    train, test = (cifar10(root, part, source=source, download=source == "torchvision") for part in ("train", "test"))
    order = torch.randperm(len(test.labels), generator=stream(0, "sap", "test images"))[: settings.full_images]
    return train, Split(test.images[order], test.labels[order]), f"CIFAR-10 ({source})"


def train_adversarial(
    train: Split, epochs: int, seed: int, checkpoint: Path | None, *, batch: int, device: str, progress: bool = False
):
    """ResNet-20 on 80% clean and 20% FGSM examples (radius 2/255) made on the previous epoch's network; eval mode.

    Section 4.1.3 of the paper; the one-cycle schedule is this collection's.
    """
    split = train.to(device)
    model = resnet20(stream(seed, "resnet20", "init")).to(device)
    attacker = resnet20(stream(seed, "resnet20", "init")).to(device).eval()
    order = ShuffledBatches(len(split.labels), batch, seed)

    def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step % order.per_epoch == 0:  # also the first step after resuming: checkpoints stand at epoch ends
            attacker.load_state_dict(model.state_dict())
        index = order(step).to(device)
        return split.images[index], split.labels[index]

    def loss(net: nn.Module, pair: tuple[torch.Tensor, torch.Tensor], noise: torch.Generator) -> torch.Tensor:
        x, y = as_unit_float(random_crop_flip(pair[0], noise)), pair[1]
        some = max(1, len(y) // 5)
        with torch.autocast(torch.device(device).type, enabled=False):
            x[:some] = fgsm_step(x[:some], gradient(attacker, x[:some], y[:some], 1), 2 / 255)
        return F.cross_entropy(net(x).float(), y)

    steps = epochs * order.per_epoch
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=0.4, momentum=0.9, weight_decay=1e-4, nesterov=True)
    every = order.per_epoch if checkpoint is not None else None
    fit(
        model, loss, batches, optimiser, steps, seed=seed, schedule=one_cycle(steps, warmup=0.25),
        autocast=torch.bfloat16, checkpoint=checkpoint, checkpoint_every=every, progress=progress,
    )  # fmt: skip
    return model.eval()


def _networks(settings: Settings, train: Split) -> dict[str, Callable[[], nn.Module]]:
    """The networks of the full tier by name, made when asked for; training resumes from ``runs/resnet20/``.

    A checkpoint there (``relu-seed0.pt`` on a CPU, ``relu-seed0-40.pt`` on a GPU) that holds all
    ``settings.full_epochs`` is used as it is, whatever made it: delete the file to train again.
    """
    folder, batch = _runs() / "resnet20", 16 if settings.dry_run else 256
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
            return load_weights(resnet20(stream(0, "resnet20", "init")).to(settings.device), file).eval()
        return train_resnet20(train, checkpoint=file, **sizes)[0]

    made: dict[str, Callable[[], nn.Module]] = {"": plain}
    if settings.adversarial:
        made["ADV"] = lambda: train_adversarial(train, checkpoint=folder / f"adv-{name}.pt", **sizes)
    return made


def _measure(samples: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    single, mean = rates(samples, y)
    ece = ece_top_label(samples.mean(dim=0).double().cpu().numpy(), y.cpu().numpy(), 10)
    return {"single": single, "mean": mean, "ece": float(ece)}


def _jobs(settings: Settings) -> list[tuple[str, str, str]]:
    """(network, defence, gradient) of every measurement: the attacks by FGSM, then PGD, then the sweep over f."""
    kinds = [("dense", "dense"), ("SAP-100", "mask"), ("SAP-100", "identity"), ("SAP-100", "dense")]
    jobs = [("", *kind) for kind in kinds]
    jobs += [("", "dense", "PGD"), ("", "SAP-100", "PGD identity")]
    jobs += [("", f"SAP f={f:g}", "none") for f in (0.25, 0.5, 1.0, 2.0)] + [("", "dropout", "none")]
    if settings.adversarial:
        jobs += [("ADV", *kind) for kind in kinds[:2]]
    return jobs


def _run_job(model: nn.Module, defence: str, attack: str, test: Split, settings: Settings) -> list[dict[str, Any]]:
    """The rows of one measurement, one for each radius."""
    x, y = as_unit_float(test.images), test.labels
    masks = 1 if defence == "dense" or attack == "dense" else settings.full_masks
    passes = 1 if defence == "dense" else settings.full_passes
    if defence == "dropout":
        victim = insert_dropout(model, generator=stream(0, "dropout", device=x.device))
    elif defence == "dense":
        victim = model
    else:
        victim = with_sap(model, 0, float(defence.partition("=")[2] or 1.0))
    if attack == "none":
        return [{"lambda": 0, "masks": 0, "passes": passes, **_measure(sample_softmax(victim, x, passes), y)}]
    if attack.startswith("PGD"):
        eps, masks = 8 / 255, 1
        target = model if defence == "dense" else with_sap(model, 0, backward="identity")
        step = 2.5 * eps / settings.pgd_steps
        adv = pgd_linf(attack_gradient(target, "margin", masks), x, y, eps, step, settings.pgd_steps)
        return [{"lambda": 8, "masks": masks, "passes": passes, **_measure(sample_softmax(victim, adv, passes), y)}]
    target = model if attack == "dense" else with_sap(model, 0, backward=attack)
    grad = gradient(target, x, y, masks)
    radii = LAMBDAS if attack == "mask" or defence == "dense" else (1, 2, 4, 8)
    return [
        {
            "lambda": lam,
            "masks": masks,
            "passes": passes,
            **_measure(sample_softmax(victim, fgsm_step(x, grad, lam / 255), passes), y),
        }
        for lam in radii
    ]


@Settings.needs.guard
def full_study(settings: Settings, data_root: str | Path | None = None) -> list[dict[str, Any]]:
    """The CIFAR-10 run: one row for each (network, defence, attack, radius). Resumes from ``runs/sap/``.

    Each row holds the accuracy of one pass (``single``) and of the mean softmax (``mean``) with its binomial
    ``standard_error``, the calibration error ``ece``, and what the run could afford: images, masks, passes,
    PGD steps, epochs, device, data.
    """
    store = Store(_runs() / "sap" / ("dry.jsonl" if settings.dry_run else f"full-{settings.device}.jsonl"), settings)
    train, test, source = _cifar(settings, data_root)
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
            steps = settings.pgd_steps if attack.startswith("PGD") else 1
            facts = dict(images=len(test.labels), steps=steps, epochs=settings.full_epochs, device=device, data=source)
            name = f"{network}+{defence}" if network else defence
            rows.append({"defence": name, "gradient": attack, **row, "standard_error": error, **facts})
    return rows


def find(rows: Sequence[dict[str, Any]], defence: str, gradient: str, lam: int) -> dict[str, Any]:
    """The one row of :func:`full_study` with these three; ``KeyError`` when there is none."""
    for row in rows:
        if (row["defence"], row["gradient"], row["lambda"]) == (defence, gradient, lam):
            return row
    raise KeyError(f"no row for {defence}, gradient {gradient}, lambda {lam}.")
