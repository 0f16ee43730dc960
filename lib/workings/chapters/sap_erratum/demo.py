"""The chapter `sap_erratum`: its sizes, its defences and attacks, and the loops of its demo.

A *defence* is a law of the mask, a place in the network and a number of draws per neuron; an *attack* is a backward rule and
an optimiser. Everything in the chapter is a cell (defence, attack, radius, seed), measured by
:func:`measure`. Attack and evaluation never share masks. Each network is measured on other images of the test set, so that the
spread over networks holds the error of the sample too. All compute in float64, so that what is printed is the same on every
processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.checks import one_of
from workings.robustness.attacks import (
    eot_gradient,
    margin_loss,
    pgd_linf,
    random_search_linf,
    spsa_gradient,
)
from workings.robustness.closed_forms import joint_survival, number_of_draws, sap_probabilities, survival_probability
from workings.robustness.data import Split, digits
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import gradient_alignment, robust_accuracies
from workings.robustness.layers import ACTIVATIONS, configure, insert_poisson_pruning, insert_sap, pruning_layers
from workings.robustness.poisson_pruning import poisson_activation_pruning, poisson_survival
from workings.robustness.sap import BACKWARD_RULES, stochastic_activation_pruning
from workings.runs.parallel import thread_map
from workings.runs.progress import counter
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd

Key = TypeVar("Key")


class Defence(NamedTuple):
    """``law`` "multinomial" or "poisson"; ``place`` "activations" or "convolutions"; ``fraction``: draws per neuron.

    ``matched`` leaves out the activation behind the first linear layer, so that both places have the same number of
    layers in the small network.
    """

    law: str = "multinomial"
    place: str = "activations"
    fraction: float = 1.0
    matched: bool = False

    def build(self, dense: nn.Module, rule: str, masks: torch.Generator | None = None) -> nn.Module:
        """A copy of ``dense`` with this defence, whose backward rule is ``rule`` and which draws from ``masks``."""
        laws = {"multinomial": insert_sap, "poisson": insert_poisson_pruning}
        insert = laws[one_of(self.law, "law", tuple(laws))]
        convolutions = one_of(self.place, "place", ("activations", "convolutions")) == "convolutions"
        after = nn.Conv2d if convolutions else ACTIVATIONS
        model = insert(dense, after=after, fraction=self.fraction, backward=rule, generator=masks)
        if self.matched and not convolutions:
            list(pruning_layers(model))[-1].enabled = False
        return model


SAP = Defence()
PROGRAM_2018 = Defence("poisson", "convolutions", 2.0)


class Trained(NamedTuple):
    """One trained dense network, the seed it came from and its held-out images."""

    seed: int
    net: nn.Module
    test: Split

    def images(self, number: int) -> Split:
        """``number`` of the held-out images: the first for seed 0, the next for seed 1 and so on, from the start again at the end."""
        index = (torch.arange(number) + self.seed * number) % len(self.test.labels)
        return Split(self.test.images[index], self.test.labels[index])


def train_networks(settings: Settings) -> list[Trained]:
    """The small digit network, trained once per seed of ``settings.seeds``."""
    train, test = digits(dtype=torch.float64)
    train_one = lambda seed: Trained(seed, train_digits_cnn(train, seed, epochs=settings.epochs), test)
    return thread_map(train_one, settings.seeds)


class Attack(NamedTuple):
    """An attack's sizes: ``step`` and ``old_step`` (the 2018 attack's) are in units of the radius.

    ``copies``: how many masks go through the network as one batch, in the attack and in the evaluation. It changes the speed of
    small networks on few images, and which random numbers an image gets, not the law.
    """

    steps: int
    eot_samples: int
    step: float
    old_steps: int
    old_step: float
    copies: int = 1


def demo_attack(settings: Settings, eot_samples: int, stretch: int = 1, path: float = 2.5) -> Attack:
    """Sign PGD with ``settings.steps * stretch`` steps whose sizes add up to ``path`` radii.

    The 2018 attack gets as many gradients, one per step, and its own path of 6.25 radii.
    """
    steps = settings.steps * stretch
    return Attack(steps, eot_samples, path / steps, steps * eot_samples, 6.25 / (steps * eot_samples), copies=5)


def mean_margin(model: nn.Module, x: torch.Tensor, y: torch.Tensor, copies: int) -> torch.Tensor:
    """Margin loss (B,), the mean of ``copies`` passes that go through the network as one batch, each image with its own masks."""
    many = margin_loss(model(x.repeat(copies, *[1] * (x.dim() - 1))), y.repeat(copies))
    return many.reshape(copies, len(y)).mean(dim=0)


class Attacked(NamedTuple):
    """Adversarial images and the number of NaN gradient entries that were set to 0 on the way."""

    images: torch.Tensor
    nans: int


def run_attack(
    dense: nn.Module, defence: Defence | None, kind: str, x: torch.Tensor, y: torch.Tensor, eps: float,
    sizes: Attack, masks: torch.Generator | None = None,
) -> Attacked:  # fmt: skip
    """Margin-loss attack ``kind`` (one of :data:`ATTACKS`) on ``dense`` under ``defence`` (None: the dense net itself).

    "2018": autodiff, one mask per step, signs fed into Adam. The three rules: sign PGD with ``sizes.eot_samples`` masks per
    step, drawn from ``masks``. "transfer": sign PGD on the dense network.
    """
    one_of(kind, "kind", ATTACKS)
    nans = 0
    rule = "pathwise" if kind == "2018" else kind
    model = dense if defence is None or kind == "transfer" else defence.build(dense, rule, masks)
    samples = 1 if kind in ("2018", "transfer") or model is dense else sizes.eot_samples
    copies = samples if samples <= sizes.copies else math.gcd(samples, sizes.copies)

    def gradient(point: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal nans
        found = eot_gradient(lambda z: mean_margin(model, z, labels, copies), point, samples // copies)
        nans += found.nans
        return found.mean

    if kind == "2018":
        step, steps, optimiser = sizes.old_step * eps, sizes.old_steps, "sign-adam"
    else:
        step, steps, optimiser = sizes.step * eps, sizes.steps, "sign"
    return Attacked(pgd_linf(gradient, x, y, eps, step, steps, optimizer=optimiser), nans)


def measure(
    trained: Trained, defence: Defence | None, kind: str, eps: float, images: int, sizes: Attack, mc_samples: int
) -> dict[str, Any]:
    """One cell: accuracy under attack by the single-pass and the mean-of-passes rule, with the NaN count.

    ``eps=0`` measures clean accuracy. ``moved`` is the mean size of the change, in radii (at most 1). Masks of the attack and of
    the evaluation come from different streams.
    """
    seed, dense = trained.seed, trained.net
    x, y = trained.images(images)
    found = Attacked(x, 0)
    if eps > 0:
        masks = torch_generator(seed, "erratum", "attack", device=x.device)
        found = run_attack(dense, defence, kind, x, y, eps, sizes, masks)
    fresh = torch_generator(seed, "erratum", "evaluate", device=x.device)
    model = dense if defence is None else defence.build(dense, "mask", fresh)
    result = robust_accuracies(model, found.images, y, 1 if defence is None else mc_samples, sizes.copies)
    moved = float((found.images - x).abs().mean()) / eps if eps > 0 else 0.0
    return {
        "seed": seed, "attack": kind, "eps": eps, "single": result["single"].value, "mean": result["mean-softmax"].value,
        "moved": moved, "nans": found.nans,
    }  # fmt: skip


def over_seeds(rows: Iterable[dict[str, Any]], rule: str = "single") -> tuple[float, float]:
    """Mean and sample standard deviation (``ddof=1``) over seeds of the entry ``rule`` ("single", "mean" or "moved")."""
    return mean_and_sd(row[rule] for row in rows)


def _over_networks(
    nets: Sequence[Trained], keys: Iterable[Key], work: Callable[[Trained, Key], dict[str, Any]]
) -> dict[Key, list[dict[str, Any]]]:
    """``{key: [work(net, key) for net in nets]}``; every cell draws from streams of its own, so two can run at a time."""
    keys = list(keys)
    rows = iter(thread_map(lambda cell: work(*cell), [(net, key) for key in keys for net in nets]))
    return {key: [next(rows) for _ in nets] for key in keys}


def backward_rules(
    nets: Sequence[Trained], defence: Defence | None, kinds: Iterable[str], settings: Settings
) -> dict[str, list[dict[str, Any]]]:
    """Attack ``kind`` -> one row per network, at the radius and sizes of the main comparison."""
    sizes = demo_attack(settings, settings.eot_samples)
    common = settings.eps, settings.images, sizes, settings.mc_samples
    return _over_networks(nets, kinds, lambda net, kind: measure(net, defence, kind, *common))


def fraction_grid(
    nets: Sequence[Trained], settings: Settings, eps: float
) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """(law, place, fraction) -> rows under pathwise PGD at radius ``eps`` (0: clean), with the same layers pruned in all."""
    sizes = demo_attack(settings, settings.grid_eot_samples)
    common = settings.grid_images, sizes, settings.mc_samples
    cells = [(law, place, fraction) for law in ("poisson", "multinomial")
             for place in ("convolutions", "activations") for fraction in (0.5, 1.0, 2.0)]  # fmt: skip
    return _over_networks(nets, cells, lambda net, cell: measure(net, Defence(*cell, True), "pathwise", eps, *common))


def radius_sweep(
    nets: Sequence[Trained], settings: Settings, fraction: float
) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """Backward rule -> radius -> rows, for SAP of ``fraction`` under PGD; radius 0 is clean accuracy, the same for every rule."""
    sizes = demo_attack(settings, settings.sweep_eot_samples)
    common = settings.sweep_images, sizes, settings.mc_samples
    defence = Defence(fraction=fraction)
    cells = [("mask", 0.0), *((rule, eps) for rule in BACKWARD_RULES for eps in settings.radii)]
    rows = _over_networks(nets, cells, lambda net, cell: measure(net, defence, *cell, *common))
    return {
        rule: {0.0: rows["mask", 0.0]} | {eps: rows[rule, eps] for eps in settings.radii} for rule in BACKWARD_RULES
    }


def checklist(nets: Sequence[Trained], settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """What :func:`backward_rules` leaves open of the questions to the pathwise attack on SAP: name -> one row per network.

    All at ``settings.fraction``. More steps are tried in two ways: with the same path (the steps are half as long) and
    with the same step.
    """
    defence, eps = Defence(fraction=settings.fraction), settings.eps

    def cell(net: Trained, radius: float = eps, **sizes: float) -> dict[str, Any]:
        size = demo_attack(settings, settings.eot_samples, **sizes)
        return measure(net, defence, "pathwise", radius, settings.images, size, settings.mc_samples)

    questions: dict[str, Callable[[Trained], dict[str, Any]]] = {
        "2 x the steps, same path": lambda net: cell(net, stretch=2),
        "2 x the steps, same step": lambda net: cell(net, stretch=2, path=5.0),
        "radius 0.5": lambda net: cell(net, 0.5),
        "random search": lambda net: _random_search(net, defence, settings),
    }
    return _over_networks(nets, questions, lambda net, name: questions[name](net))


def _random_search(trained: Trained, defence: Defence, settings: Settings) -> dict[str, Any]:
    seed, eps = trained.seed, settings.eps
    x, y = trained.images(settings.images)
    masks = torch_generator(seed, "erratum", "search")
    model = defence.build(trained.net, "mask", masks)
    with torch.no_grad():
        score = lambda point, labels: mean_margin(model, point, labels, settings.sweep_eot_samples)
        adv = random_search_linf(score, x, y, eps, settings.tries, generator=masks)
    configure(model, generator=torch_generator(seed, "erratum", "evaluate"))
    result = robust_accuracies(model, adv, y, settings.mc_samples, at_once=5)
    single, mean = result["single"].value, result["mean-softmax"].value
    moved = float((adv - x).abs().mean()) / eps
    return {"seed": seed, "attack": "search", "eps": eps, "single": single, "mean": mean, "moved": moved, "nans": 0}


class Alignment(NamedTuple):
    """``cosine[rule]`` (numbers of masks, probe images) with the reference; ``ceiling`` (images,): the reference with itself."""

    cosine: dict[str, torch.Tensor]
    ceiling: torch.Tensor


def alignment_curves(trained: Trained, defence: Defence, settings: Settings) -> Alignment:
    """Cosine of each rule's gradient, averaged over K masks, with the SPSA reference, at clean images.

    The masks of a smaller K are among those of a larger one. The reference is two independent halves; ``ceiling`` estimates the cosine of the whole with the truth
    from that of the halves, ``sqrt(2 c / (1 + c))`` (Spearman-Brown).
    """
    seed, dense, test = trained
    x, y = test.images[: settings.probe_images], test.labels[: settings.probe_images]
    draws = torch_generator(seed, "erratum", "probe")
    model = defence.build(dense, "mask", draws)
    cosine = {}
    with counter(2 + len(BACKWARD_RULES) * len(settings.probe_eot_samples), "gradients") as tick:
        halves = []
        for _ in range(2):
            halves.append(spsa_gradient(model, x, y, settings.spsa_pairs, settings.spsa_width, draws))
            tick()
        agreement = gradient_alignment(*halves).clamp(min=0)
        ceiling = (2 * agreement / (1 + agreement)).sqrt()
        for rule in BACKWARD_RULES:
            configure(model, backward=rule)
            found, total, done = [], torch.zeros_like(x), 0
            for k in settings.probe_eot_samples:
                more = k - done
                total += more * eot_gradient(lambda z, n=more: mean_margin(model, z, y, n), x, 1).mean
                done = k
                found.append(gradient_alignment(total / k, halves[0] + halves[1]))
                tick()
            cosine[rule] = torch.stack(found)
    return Alignment(cosine, ceiling)


class Neuron(NamedTuple):
    """Moments of one neuron's output and slopes: each (len(h),), with standard errors."""

    output: torch.Tensor
    output_error: torch.Tensor
    pathwise: torch.Tensor
    pathwise_error: torch.Tensor
    mask: torch.Tensor
    mask_error: torch.Tensor


def one_neuron(h: torch.Tensor, size: int, draws: int, masks: torch.Generator) -> Neuron:
    """Output and own slope of neuron 0 of a map (h, 1, 1, ..., 1) of ``size`` neurons, SAP at fraction 1, ``draws`` masks."""
    rows: list[list[tuple[float, float]]] = []
    with counter(len(h), "values of h") as tick:
        for value in h.tolist():
            maps = torch.ones(draws, size, dtype=torch.float64)
            maps[:, 0] = value
            stats = []
            for rule in ("pathwise", "mask"):
                point = maps.clone().requires_grad_(True)
                out = stochastic_activation_pruning(point, 1.0, rule, masks)[:, 0]
                (slope,) = torch.autograd.grad(out.sum(), point)
                stats += [out.detach(), slope[:, 0]]
            rows.append([(float(s.mean()), float(s.std()) / math.sqrt(draws)) for s in (stats[0], stats[1], stats[3])])
            tick()
    table = torch.tensor(rows)  # (len(h), 3, 2)
    return Neuron(*(table[:, i, j] for i in range(3) for j in range(2)))


def five_differences(draws: int, seed: int = 0) -> list[dict[str, Any]]:
    """The five differences of claim err-1, each measured on the two layers: rows of (what, SAP, 2018 program, differ)."""
    masks = torch_generator(seed, "erratum", "differences")
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU()
    )
    behind = [[type(m[0]).__name__ for m in model if isinstance(m, nn.Sequential)]
              for model in (insert_sap(net), insert_poisson_pruning(net))]  # fmt: skip
    last = [isinstance(model[-1], nn.Sequential) for model in (insert_sap(net), insert_poisson_pruning(net))]
    h = torch.tensor([[3.0, 2.0, 1.0, 1.0]], dtype=torch.float64).repeat(draws, 1)
    p = sap_probabilities(h[:1])
    q, k = survival_probability(p, 4)[0], poisson_survival(p, 8.0)[0]
    kept_sap = stochastic_activation_pruning(h, 1.0, "mask", masks) != 0
    kept_2018 = poisson_activation_pruning(h, 8.0, masks, "mask") != 0
    both = [float((kept[:, 0] & kept[:, 1]).double().mean()) for kept in (kept_sap, kept_2018)]
    expect = [float(joint_survival(p, 4)[0, 0, 1]), float(k[0] * k[1])]
    error = 4 * math.sqrt(0.25 / draws)
    law = all(abs(b - e) < error for b, e in zip(both, expect, strict=True)) and float(q[0] * q[1]) - both[0] > 0
    flat = torch.ones(1, 1000, dtype=torch.float64)
    share = float(survival_probability(sap_probabilities(flat), number_of_draws(1.0, 1000)).mean())
    share_2018 = float(poisson_survival(sap_probabilities(flat), 2000.0).mean())
    shown = (
        stochastic_activation_pruning(h, 1.0, "mask", masks).amax(0),
        poisson_activation_pruning(h, 8.0, masks).amax(0),
    )
    scale = torch.allclose(shown[0], h[0] / q) and torch.allclose(shown[1], h[0] / (k + 1e-8))
    wrong = {"ReLU"}, {"Conv2d"}
    return [
        {"what": "tensor that is pruned", "SAP": "output of the activation", "2018 program": "output of the convolution",
         "differ": tuple(set(b) for b in behind) == wrong},
        {"what": "the network's last activation", "SAP": "pruned", "2018 program": "not pruned", "differ": last == [True, False]},
        {"what": "two neurons of one map", "SAP": "compete for the draws", "2018 program": "independent", "differ": law},
        {"what": "share kept, flat layer", "SAP": f"{share:.3f}", "2018 program": f"{share_2018:.3f}",
         "differ": abs(share - (1 - math.exp(-1))) < 1e-3 and abs(share_2018 - (1 - math.exp(-2))) < 1e-3},
        {"what": "survivors are divided by", "SAP": "1 - (1 - p)^a", "2018 program": "1 - exp(-2ap) + 1e-8", "differ": scale},
    ]  # fmt: skip
