"""The chapter `sap_erratum`: its sizes, its defences and attacks, and the loops of its demo.

A *defence* is a law of the mask, a place in the network and a budget; an *attack* is a backward rule and
an optimiser. Everything in the chapter is a cell (defence, attack, radius, seed), measured by
:func:`measure`. Attack and evaluation never share masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from workings.chapters.sap_erratum.settings import ATTACKS, RULES, Settings
from workings.checks import one_of
from workings.robustness.attacks import (
    attack_gradient,
    eot_gradient,
    gradient_free,
    margin_loss,
    pgd_linf,
    random_search_linf,
)
from workings.robustness.closed_forms import joint_survival, number_of_draws, sap_probabilities, survival_probability
from workings.robustness.data import Split, digits
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import gradient_alignment, robust_accuracies
from workings.robustness.flawed import poisson_activation_pruning, poisson_survival
from workings.robustness.layers import ACTIVATIONS, configure, insert_flawed, insert_sap, pruning_layers
from workings.robustness.sap import stochastic_activation_pruning
from workings.runs.parallel import two_at_a_time
from workings.runs.progress import counter, progress
from workings.seeding import generator
from workings.statistics import mean_and_sd

Key = TypeVar("Key")


class Defence(NamedTuple):
    """``law`` "multinomial" or "independent"; ``place`` "activations" or "convolutions"; ``budget`` draws / size.

    ``matched`` leaves out the activation behind the first linear layer, so that both places have the same number of
    layers in the small network.
    """

    law: str = "multinomial"
    place: str = "activations"
    budget: float = 1.0
    matched: bool = False

    def build(self, dense: nn.Module, rule: str, source: torch.Generator | None = None) -> nn.Module:
        """A copy of ``dense`` with this defence, whose backward rule is ``rule``."""
        insert = (
            insert_sap if one_of(self.law, "law", ("multinomial", "independent")) == "multinomial" else insert_flawed
        )
        convolutions = one_of(self.place, "place", ("activations", "convolutions")) == "convolutions"
        after = nn.Conv2d if convolutions else ACTIVATIONS
        model = insert(dense, after=after, fraction=self.budget, backward=rule, generator=source)
        if self.matched and not convolutions:
            list(pruning_layers(model))[-1].enabled = False
        return model


FLAWED = Defence("independent", "convolutions", 2.0)


class Trained(NamedTuple):
    """One trained dense network, the seed it came from and its held-out images."""

    seed: int
    net: nn.Module
    test: Split


def train_networks(settings: Settings) -> list[Trained]:
    """The small digit network, once for each of ``settings.seeds``."""
    train, test = digits()
    train_one = lambda seed: Trained(seed, train_digits_cnn(train, seed, epochs=settings.epochs), test)
    return two_at_a_time(train_one, settings.seeds)


class Attack(NamedTuple):
    """An attack's sizes: ``step`` and ``old_step`` are in units of the radius."""

    steps: int
    masks: int
    step: float
    old_steps: int
    old_step: float


def demo_attack(settings: Settings, masks: int, stretch: int = 1) -> Attack:
    """Sign PGD with path 2.5 eps; the 2018 attack gets as many gradients, one a step, and its own path of 6.25 eps."""
    steps = settings.steps * stretch
    return Attack(steps, masks, 2.5 / steps, steps * masks, 6.25 / (steps * masks))


class Attacked(NamedTuple):
    """Adversarial images and the number of NaN gradient entries that were set to 0 on the way."""

    images: torch.Tensor
    nans: int


def run_attack(
    dense: nn.Module, defence: Defence | None, kind: str, x: torch.Tensor, y: torch.Tensor, eps: float,
    sizes: Attack, source: torch.Generator | None = None,
) -> Attacked:  # fmt: skip
    """Margin-loss attack ``kind`` (one of :data:`ATTACKS`) on ``dense`` under ``defence`` (None: the dense net itself).

    "2018": autodiff, one mask a step, signs fed into Adam. The three rules: sign PGD with ``sizes.masks`` masks a
    step. "transfer": sign PGD on the dense network.
    """
    one_of(kind, "kind", ATTACKS)
    nans = 0
    rule = "pathwise" if kind == "2018" else kind
    model = dense if defence is None or kind == "transfer" else defence.build(dense, rule, source)
    masks = 1 if kind in ("2018", "transfer") or model is dense else sizes.masks

    def gradient(point: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal nans
        found = eot_gradient(lambda z: margin_loss(model(z), labels), point, masks)
        nans += found.nans
        return found.mean

    if kind == "2018":
        step, steps, optimiser = sizes.old_step * eps, sizes.old_steps, "sign-adam"
    else:
        step, steps, optimiser = sizes.step * eps, sizes.steps, "sign"
    return Attacked(pgd_linf(gradient, x, y, eps, step, steps, optimizer=optimiser), nans)


def measure(
    trained: Trained, defence: Defence | None, kind: str, eps: float, images: int, sizes: Attack, passes: int
) -> dict[str, Any]:
    """One cell: accuracy under attack by the single-pass and the mean-of-passes rule, with the NaN count.

    ``eps=0`` measures clean accuracy. Masks of the attack and of the evaluation come from different streams.
    """
    seed, dense, test = trained
    x, y = test.images[:images], test.labels[:images]
    found = Attacked(x, 0)
    if eps > 0:
        found = run_attack(
            dense, defence, kind, x, y, eps, sizes, generator(seed, "erratum", "attack", device=x.device)
        )
    device = generator(seed, "erratum", "evaluate", device=x.device)
    model = dense if defence is None else defence.build(dense, "mask", device)
    result = robust_accuracies(model, found.images, y, 1 if defence is None else passes)
    single, mean = result["single"], result["mean-softmax"]
    return {"seed": seed, "attack": kind, "eps": eps, "single": single.value, "mean": mean.value, "nans": found.nans}


def over_seeds(rows: Iterable[dict[str, Any]], rule: str = "single") -> tuple[float, float]:
    """Mean and standard deviation (n - 1) over seeds of ``rule`` ("single" or "mean")."""
    return mean_and_sd(row[rule] for row in rows)


def _over_networks(
    nets: Sequence[Trained], keys: Iterable[Key], work: Callable[[Trained, Key], dict[str, Any]]
) -> dict[Key, list[dict[str, Any]]]:
    """``{key: [work(net, key) for net in nets]}``; every cell draws from streams of its own, so two run at a time."""
    keys = list(keys)
    rows = iter(two_at_a_time(lambda cell: work(*cell), [(net, key) for key in keys for net in nets]))
    return {key: [next(rows) for _ in nets] for key in keys}


def backward_rules(
    nets: Sequence[Trained], defence: Defence | None, kinds: Iterable[str], settings: Settings
) -> dict[str, list[dict[str, Any]]]:
    """Attack ``kind`` -> one row a network, at the headline's radius and sizes."""
    sizes = demo_attack(settings, settings.masks)
    common = settings.eps, settings.images, sizes, settings.passes
    return _over_networks(nets, kinds, lambda net, kind: measure(net, defence, kind, *common))


def budget_grid(nets: Sequence[Trained], settings: Settings) -> dict[tuple[str, str, float], list[dict[str, Any]]]:
    """(law, place, budget) -> rows under pathwise PGD: matched layers, matched budgets."""
    sizes = demo_attack(settings, settings.grid_masks)
    common = settings.eps, settings.grid_images, sizes, settings.passes
    cells = [(law, place, budget) for law in ("independent", "multinomial")
             for place in ("convolutions", "activations") for budget in (0.5, 1.0, 2.0)]  # fmt: skip
    return _over_networks(nets, cells, lambda net, cell: measure(net, Defence(*cell, True), "pathwise", *common))


def radius_sweep(
    nets: Sequence[Trained], settings: Settings, fraction: float, rule: str
) -> dict[float, list[dict[str, Any]]]:
    """Radius -> rows, for faithful SAP of ``fraction`` under PGD with ``rule``; radius 0 is clean accuracy."""
    sizes = demo_attack(settings, settings.sweep_masks)
    common = settings.sweep_images, sizes, settings.passes
    radii = (0.0, *settings.radii)
    return _over_networks(nets, radii, lambda net, eps: measure(net, Defence(budget=fraction), rule, eps, *common))


def checklist(trained: Trained, settings: Settings) -> dict[str, dict[str, Any]]:
    """The defender's four questions on one network: name -> row. All against faithful SAP at the headline's budget."""
    defence, eps = Defence(budget=settings.fraction), settings.eps
    sizes, images, passes = demo_attack(settings, settings.masks), settings.images, settings.passes

    def cell(kind: str, radius: float = eps, size: Attack = sizes) -> dict[str, Any]:
        return measure(trained, defence, kind, radius, images, size, passes)

    questions: dict[str, Callable[[], dict[str, Any]]] = {
        "pathwise PGD": lambda: cell("pathwise"),
        "four times the steps": lambda: cell("pathwise", size=demo_attack(settings, settings.masks, 4)),
        "radius 0.5": lambda: cell("pathwise", radius=0.5),
        "transfer": lambda: cell("transfer"),
        "random search": lambda: _random_search(trained, defence, settings),
        "identity rule": lambda: cell("identity"),
    }
    return {name: ask() for name, ask in progress(questions.items(), "questions")}


def _random_search(trained: Trained, defence: Defence, settings: Settings) -> dict[str, Any]:
    seed, dense, test = trained
    x, y = test.images[: settings.images], test.labels[: settings.images]
    source = generator(seed, "erratum", "search")
    model = defence.build(dense, "mask", source)
    with torch.no_grad():
        score = lambda point, labels: sum(margin_loss(model(point), labels) for _ in range(settings.sweep_masks))
        adv = random_search_linf(score, x, y, settings.eps, settings.tries, generator=source)
    configure(model, generator=generator(seed, "erratum", "evaluate"))
    result = robust_accuracies(model, adv, y, settings.passes)
    single, mean = result["single"].value, result["mean-softmax"].value
    return {"seed": seed, "attack": "search", "eps": settings.eps, "single": single, "mean": mean, "nans": 0}


class Alignment(NamedTuple):
    """``cosine[rule]`` (len(samples), probe images) with the reference; ``ceiling`` (images,): the reference with itself."""

    cosine: dict[str, torch.Tensor]
    ceiling: torch.Tensor


def alignment_curves(trained: Trained, defence: Defence, settings: Settings) -> Alignment:
    """Cosine of each rule's K-mask gradient with the gradient-free reference, at clean images.

    The reference is two independent halves; ``ceiling`` estimates the cosine of the whole with the truth
    from that of the halves, ``sqrt(2 c / (1 + c))`` (Spearman-Brown).
    """
    seed, dense, test = trained
    x, y = test.images[: settings.probe_images], test.labels[: settings.probe_images]
    source = generator(seed, "erratum", "probe")
    model = defence.build(dense, "mask", source)
    cosine = {}
    with counter(2 + len(RULES) * len(settings.samples), "gradients") as tick:
        halves = []
        for _ in range(2):
            halves.append(gradient_free(model, x, y, settings.probe_passes, settings.probe_width, source))
            tick()
        agreement = gradient_alignment(*halves).clamp(min=0)
        ceiling = (2 * agreement / (1 + agreement)).sqrt()
        for rule in RULES:
            configure(model, backward=rule)
            found = []
            for k in settings.samples:
                found.append(gradient_alignment(attack_gradient(model, samples=k)(x, y), halves[0] + halves[1]))
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


def one_neuron(h: torch.Tensor, size: int, draws: int, source: torch.Generator) -> Neuron:
    """Output and own slope of neuron 0 of a map (h, 1, 1, ..., 1) of ``size`` neurons, SAP at fraction 1, ``draws`` masks."""
    rows: list[list[tuple[float, float]]] = []
    with counter(len(h), "values of h") as tick:
        for value in h.tolist():
            maps = torch.ones(draws, size, dtype=torch.float64)
            maps[:, 0] = value
            stats = []
            for rule in ("pathwise", "mask"):
                point = maps.clone().requires_grad_(True)
                out = stochastic_activation_pruning(point, 1.0, rule, source)[:, 0]
                (slope,) = torch.autograd.grad(out.sum(), point)
                stats += [out.detach(), slope[:, 0]]
            rows.append([(float(s.mean()), float(s.std()) / math.sqrt(draws)) for s in (stats[0], stats[1], stats[3])])
            tick()
    table = torch.tensor(rows)  # (len(h), 3, 2)
    return Neuron(*(table[:, i, j] for i in range(3) for j in range(2)))


def five_differences(draws: int, seed: int = 0) -> list[dict[str, Any]]:
    """The five differences of claim err-1, each measured on the two layers: rows of (what, faithful, flawed, differ)."""
    source = generator(seed, "erratum", "differences")
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.ReLU()
    )
    behind = [[type(m[0]).__name__ for m in model if isinstance(m, nn.Sequential)]
              for model in (insert_sap(net), insert_flawed(net))]  # fmt: skip
    last = [isinstance(model[-1], nn.Sequential) for model in (insert_sap(net), insert_flawed(net))]
    h = torch.tensor([[3.0, 2.0, 1.0, 1.0]], dtype=torch.float64).repeat(draws, 1)
    p = sap_probabilities(h[:1])
    q, k = survival_probability(p, 4)[0], poisson_survival(p, 8.0)[0]
    kept_sap = stochastic_activation_pruning(h, 1.0, "mask", source) != 0
    kept_2018 = poisson_activation_pruning(h, 8.0, source, "mask") != 0
    both = [float((kept[:, 0] & kept[:, 1]).double().mean()) for kept in (kept_sap, kept_2018)]
    expect = [float(joint_survival(p, 4)[0, 0, 1]), float(k[0] * k[1])]
    error = 4 * math.sqrt(0.25 / draws)
    law = all(abs(b - e) < error for b, e in zip(both, expect, strict=True)) and float(q[0] * q[1]) - both[0] > 0
    flat = torch.ones(1, 1000, dtype=torch.float64)
    share = float(survival_probability(sap_probabilities(flat), number_of_draws(1.0, 1000)).mean())
    share_2018 = float(poisson_survival(sap_probabilities(flat), 2000.0).mean())
    shown = (
        stochastic_activation_pruning(h, 1.0, "mask", source).amax(0),
        poisson_activation_pruning(h, 8.0, source).amax(0),
    )
    scale = torch.allclose(shown[0], h[0] / q) and torch.allclose(shown[1], h[0] / (k + 1e-8))
    wrong = {"ReLU"}, {"Conv2d"}
    return [
        {"what": "tensor that is pruned", "faithful": "output of the activation", "flawed": "output of the convolution",
         "differ": tuple(set(b) for b in behind) == wrong},
        {"what": "the network's last activation", "faithful": "pruned", "flawed": "not pruned", "differ": last == [True, False]},
        {"what": "two neurons of one map", "faithful": "compete for the draws", "flawed": "independent", "differ": law},
        {"what": "share kept, flat layer", "faithful": f"{share:.3f}", "flawed": f"{share_2018:.3f}",
         "differ": abs(share - (1 - math.exp(-1))) < 1e-3 and abs(share_2018 - (1 - math.exp(-2))) < 1e-3},
        {"what": "survivors are divided by", "faithful": "1 - (1 - p)^a", "flawed": "1 - exp(-2ap) + 1e-8", "differ": scale},
    ]  # fmt: skip
