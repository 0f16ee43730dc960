"""The digits experiments of the chapter `sap`.

They compute in float64: a small network is as fast that way, and what is printed is then the same on
every processor. Every SAP network draws from its own named stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from workings.chapters.sap.settings import Settings
from workings.robustness.attacks import attack_gradient, fgsm_step
from workings.robustness.data import Split, digits
from workings.robustness.evaluation import sample_softmax
from workings.robustness.layers import insert_dropout, insert_sap
from workings.robustness.networks import digits_cnn
from workings.robustness.sap import stochastic_activation_pruning
from workings.runs.parallel import two_at_a_time
from workings.runs.progress import counter
from workings.seeding import generator as stream
from workings.training import ShuffledBatches, fit


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
