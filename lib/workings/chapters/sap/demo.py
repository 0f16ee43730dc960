"""The digits experiments of the chapter `sap`.

They compute in float64: a small network is as fast that way, and what is printed is then the same on
every processor. Every SAP network draws from its own named stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

from workings.chapters.sap.settings import Settings
from workings.robustness.attacks import attack_gradient, fgsm_step
from workings.robustness.data import Split
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import sample_softmax
from workings.robustness.layers import configure, insert_dropout, insert_sap
from workings.robustness.sap import stochastic_activation_pruning
from workings.runs.parallel import thread_map
from workings.runs.progress import counter
from workings.seeding import torch_generator
from workings.training import ShuffledBatches

AT_ONCE = 5  # passes that go through the network as one batch, where there are few images


def train_cnns(train: Split, seeds: Sequence[int], epochs: int) -> list[nn.Module]:
    """One network per seed by :func:`~workings.robustness.digits.train_digits_cnn`, two at a time, with one progress bar."""
    steps = epochs * ShuffledBatches(len(train.labels), 64, 0).per_epoch
    with counter(len(seeds) * steps, "training steps") as tick:
        return thread_map(lambda seed: train_digits_cnn(train, seed, epochs=epochs, on_step=tick), seeds, label=None)


def with_sap(model: nn.Module, seed: int, fraction: float = 1.0, backward: str = "mask") -> nn.Module:
    """A copy of ``model`` with SAP after every ReLU, drawing from a stream named after ``fraction`` and ``backward``."""
    device = next(model.parameters()).device
    masks = torch_generator(seed, "sap", str(fraction), backward, device=device)
    return insert_sap(model, fraction=fraction, backward=backward, generator=masks)


def with_dropout(model: nn.Module, seed: int) -> nn.Module:
    """A copy of ``model`` with test-time dropout that keeps the share of active neurons which SAP-100 keeps."""
    return insert_dropout(model, generator=torch_generator(seed, "dropout"))


def gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eot_samples: int) -> torch.Tensor:
    """Gradient of the cross-entropy at ``x``, averaged over ``eot_samples`` masks: shape of ``x``. One serves all radii."""
    return attack_gradient(model, "cross-entropy", eot_samples)(x, y)


def accuracies(samples: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Accuracy of one pass (mean over passes) and of the mean softmax, from ``samples`` (S, B, K)."""
    single = (samples.argmax(dim=2) == y).double().mean()
    return float(single), float((samples.mean(dim=0).argmax(dim=1) == y).double().mean())


def sd(values: np.ndarray) -> np.ndarray:
    """Sample standard deviation over the first axis, the seeds (``ddof=1``; 0 for a single seed)."""
    return np.std(values, axis=0, ddof=min(1, len(values) - 1))


def accuracy_by_radius(
    victim: nn.Module, x: torch.Tensor, y: torch.Tensor, grad: torch.Tensor, epsilons: Iterable[float], mc_samples: int
) -> list[tuple[float, float]]:
    """:func:`accuracies` of ``victim`` on the FGSM images of one gradient ``grad``, radius by radius."""
    return [accuracies(sample_softmax(victim, fgsm_step(x, grad, eps), mc_samples, AT_ONCE), y) for eps in epsilons]


def softmax_samples(
    models: Sequence[nn.Module], test: Split, seeds: Sequence[int], settings: Settings
) -> list[dict[str, torch.Tensor]]:
    """For each of ``models`` softmax samples (S, B, K) on all of ``test``: dense and SAP-100, clean and at ``settings.eps``.

    Keys: ``"dense"``, ``"sap"`` and ``"dropout"``, clean; ``"dense attacked"``; ``"mask"``, ``"identity"`` and ``"transfer"``:
    SAP-100 attacked with its own gradients under each rule, and with the dense network's.
    """
    x, y = test
    pairs = list(zip(models, seeds, strict=True))
    rules = ("mask", "identity")

    def own(job: tuple[nn.Module, int, str]) -> torch.Tensor:
        model, seed, rule = job
        return gradient(with_sap(model, seed, backward=rule), x, y, settings.eot_samples)

    def dense(job: tuple[nn.Module, int]) -> dict[str, torch.Tensor]:
        model, seed = job
        dropped = sample_softmax(with_dropout(model, seed), x, settings.clean_mc_samples)
        return {"grad": gradient(model, x, y, 1), "dense": sample_softmax(model, x, 1), "dropout": dropped}

    grads = iter(thread_map(own, [(*pair, rule) for pair in pairs for rule in rules]))
    found = thread_map(dense, pairs)
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
        number = {"sap": settings.clean_mc_samples}
        return {kind: sample_softmax(sap, z, number.get(kind, settings.mc_samples)) for kind, z in inputs.items()}

    pruned = thread_map(passes, [(*pair, inputs) for pair, inputs in zip(pairs, images, strict=True)])
    return [base | more for base, more in zip(found, pruned, strict=True)]


def attack_curves(
    models: Sequence[nn.Module], test: Split, seeds: Sequence[int], settings: Settings
) -> dict[tuple[str, str], np.ndarray]:
    """FGSM curves on the first ``curve_images``: (defence, whose gradient) -> (models, radii + 1, 2) of :func:`accuracies`.

    The first radius is 0. Defences "dense", "SAP-100", "SAP-25", "dropout"; gradients "mask",
    "identity", "pathwise" (the defence's own) and "dense" (transferred).
    """
    x, y = test.images[: settings.curve_images], test.labels[: settings.curve_images]
    fractions = {"SAP-25": 0.25, "SAP-100": 1.0}
    kinds = {
        "SAP-25": ("mask", "pathwise", "identity", "dense"),
        "SAP-100": ("mask", "identity", "dense", "pathwise"),
        "dropout": ("mask",),
        "dense": ("dense",),
    }

    def attacked(job: tuple[str, nn.Module, int]) -> dict[tuple[str, str], np.ndarray]:
        name, model, seed = job
        mc_samples = 1 if name == "dense" else settings.mc_samples
        dropped = with_dropout(model, seed)

        def grad(rule: str) -> torch.Tensor:
            if rule == "dense":
                return gradient(model, x, y, 1)
            source = dropped if name == "dropout" else with_sap(model, seed, fractions[name], rule)
            return gradient(source, x, y, settings.curve_eot_samples)

        grads = {rule: grad(rule) for rule in kinds[name]}
        victim = {"dense": model, "dropout": dropped}.get(name) or with_sap(model, seed, fractions[name])
        clean = accuracies(sample_softmax(victim, x, mc_samples, AT_ONCE), y)
        return {
            (name, rule): np.array([clean, *accuracy_by_radius(victim, x, y, g, settings.epsilons, mc_samples)])
            for rule, g in grads.items()
        }

    pairs = list(zip(models, seeds, strict=True))
    rows = iter(thread_map(attacked, [(name, *pair) for name in kinds for pair in pairs]))
    found: dict[tuple[str, str], np.ndarray] = {}
    for _ in kinds:
        curves = [next(rows) for _ in pairs]
        found |= {key: np.stack([row[key] for row in curves]) for key in curves[0]}
    return found


def fraction_sweep(model: nn.Module, test: Split, seed: int, settings: Settings) -> dict[str, np.ndarray]:
    """Clean and FGSM accuracy at each of ``settings.fractions``: name -> (fractions, 2) of :func:`accuracies`.

    Names "clean", "mask", "identity": no attack, and one at ``settings.eps`` under that backward rule.
    """
    x, y = test.images[: settings.curve_images], test.labels[: settings.curve_images]

    def at(fraction: float) -> dict[str, tuple[float, float]]:
        victim = with_sap(model, seed, fraction)
        row = {"clean": accuracies(sample_softmax(victim, x, settings.mc_samples, AT_ONCE), y)}
        for rule in ("mask", "identity"):
            grad = gradient(with_sap(model, seed, fraction, rule), x, y, settings.curve_eot_samples)
            row[rule] = accuracy_by_radius(victim, x, y, grad, [settings.eps], settings.mc_samples)[0]
        return row

    found = thread_map(at, settings.fractions)
    rows = {name: [row[name] for row in found] for name in ("clean", "mask", "identity")}
    return {name: np.array(row) for name, row in rows.items()}


def pruning_transfer(
    model: nn.Module, test: Split, seed: int, settings: Settings, backward: str = "mask"
) -> np.ndarray:
    """Accuracy (P, P + 1) when the FGSM images aimed at one fixed pruning are shown to another.

    A fixed pruning is SAP-100 that starts every pass from the same random numbers. Row i: images aimed at pruning i at radius
    ``settings.eps``, with the gradient of that very pruning (the rule ``backward``, one pass). Column j: the pruning that sees them; the
    last column is the mean softmax of all P = ``settings.prunings`` prunings.
    """
    x, y = test
    sap = insert_sap(model)

    def fixed(number: int) -> nn.Module:
        return configure(sap, generator=torch_generator(seed, "sap", "fixed pruning", number))

    table = np.zeros((settings.prunings, settings.prunings + 1))
    for i in range(settings.prunings):
        images = fgsm_step(x, gradient(configure(fixed(i), backward=backward), x, y, 1), settings.eps)
        outputs = torch.cat([sample_softmax(fixed(j), images, 1) for j in range(settings.prunings)])  # (P, B, K)
        table[i, :-1] = (outputs.argmax(dim=2) == y).double().mean(dim=1)
        table[i, -1] = accuracies(outputs, y)[1]
    return table


def mask_picture(layer: torch.Tensor, fraction: float) -> np.ndarray:
    """One pruning of ``layer`` (1, 16, 8, 8), its maps in a 4 x 4 grid (32, 32): 0 zero before, 1 dropped, 2 kept."""
    out = stochastic_activation_pruning(layer, fraction, generator=torch_generator(4, "slider"))
    state = (layer > 0).int() + (out > 0).int()
    return state.reshape(4, 4, 8, 8).permute(0, 2, 1, 3).reshape(32, 32).numpy()
