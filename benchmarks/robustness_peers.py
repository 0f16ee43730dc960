"""Attacks, multinomial draws and calibration errors beside other libraries.

(a) FGSM and PGD on a deterministic network from the same start: largest difference of any iterate, seconds a step.
(b) Which of 16,384 neurons are drawn in 16,384 draws, for 128 maps: seconds beside ``torch.multinomial``.
(c) AutoAttack's version for random networks on the faithful SAP network: with plain automatic differentiation, and
    with the same network wrapped by :func:`~workings.robustness.bpda.wrap_bpda`. How much accuracy is left.
(d) Expected calibration error off the bin edges, and where a confidence is exactly 1.

Run with the peers' environment (``requirements/peers.in``):
    PYTHONPATH=lib:benchmarks python benchmarks/robustness_peers.py [rows.json]
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio
from torch import nn

from workings.calibration import expected_calibration_error
from workings.robustness.attacks import attack_gradient, fgsm, pgd_linf
from workings.robustness.bpda import wrap_bpda
from workings.robustness.data import digits
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import robust_accuracies
from workings.robustness.layers import SAPLayer, insert_sap
from workings.robustness.multinomial import multinomial_occupancy
from workings.seeding import numpy_generator, torch_generator

EPS = 0.25  # radius on digits in [0, 1]
IMAGES = 150
STEPS = 15  # of the attacks under (a); a step that is no binary fraction, so that rounding can show
STEP = 2.5 * EPS / STEPS
EOT = 4  # gradients averaged per step of EOTPGD
FRACTION = 0.5  # draws per activation of the SAP network
APGD_STEPS = 50  # of the APGD that takes every image; rand itself has 100
PASSES = 30  # fresh passes that judge an attack
RULES = {"single": f"mean of {PASSES} single passes", "mean-softmax": f"argmax of the mean softmax of {PASSES} passes"}
JUDGED = {  # what stands on both sides of a row under (c)
    "rand": (
        "ours: the same attack with our BPDA (identity); on fresh masks; images that erred in one clean pass "
        "come back unattacked and count as they are"
    ),
    "apgd": "ours: the same attack with our BPDA (identity); on fresh masks; no image is filtered",
    "pgd": "ours: pgd_linf, margin loss, identity rule, 15 steps, 5 masks; peer: its rand; on fresh masks",
}

DISTRIBUTIONS = {  # name of the import -> name on the package registry
    "torchattacks": "torchattacks",
    "foolbox": "foolbox",
    "art": "adversarial-robustness-toolbox",
    "pyautoattack": "pyautoattack",
    "torchmetrics": "torchmetrics",
    "netcal": "netcal",
}


@functools.lru_cache
def _load(name: str) -> tuple[str, ModuleType | str]:
    """Name with version, and the module, or why there is none."""
    distribution = DISTRIBUTIONS[name]
    try:
        version = f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution, "not installed"
    try:
        return version, importlib.import_module(name)
    except ImportError as error:
        return version, f"installed but not importable: {error}"


def _row(row_id: str, chapter: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": chapter, "what": what, "peer": peer, "note": "", **empty, **values}


def _times(ours: list[float], theirs: list[float], steps: int = 1) -> dict[str, Any]:
    """The columns of a row about time; seconds a step where an attack has several."""
    middle, low, high = ratio(ours, theirs)
    seconds = {"ours": float(np.median(ours)) / steps, "theirs": float(np.median(theirs)) / steps, "unit": "s"}
    return {**seconds, "ratio": middle, "ratio_low": low, "ratio_high": high, "repeats": len(ours)}


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.lru_cache
def _digits_and_network() -> tuple[torch.Tensor, torch.Tensor, nn.Module]:
    """150 test images, their labels, and the trained CNN (eval mode, parameters without gradients)."""
    train, test = digits()
    with _threads(1):
        network = train_digits_cnn(train, seed=0)
    return test.images[:IMAGES], test.labels[:IMAGES], network.requires_grad_(False)


def _busy() -> str:
    """For a note: that the machine had more to do than it has cores, where it tells. Threads then wait in line."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    return f"; the machine was busy (load {load:.1f} on {cores} cores)" if load > cores + 0.5 else ""


# --- (a) the same attack, step for step ------------------------------------------------------------------------------

Attack = Callable[[int], torch.Tensor]  # number of steps -> the images after them


def _torchattacks(library: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Attack]:
    def pgd(steps: int) -> torch.Tensor:
        return library.PGD(network, eps=EPS, alpha=STEP, steps=steps, random_start=False)(x, y)

    def eotpgd(steps: int) -> torch.Tensor:
        return library.EOTPGD(network, eps=EPS, alpha=STEP, steps=steps, eot_iter=EOT, random_start=False)(x, y)

    return {"FGSM": lambda steps: library.FGSM(network, eps=EPS)(x, y), "PGD": pgd, "EOTPGD": eotpgd}


def _foolbox(library: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Attack]:
    model = library.PyTorchModel(network, bounds=(0, 1), device="cpu")
    criterion = library.criteria.Misclassification(y)

    def once(steps: int) -> torch.Tensor:
        return library.attacks.LinfFastGradientAttack(random_start=False).run(model, x, criterion, epsilon=EPS)

    def pgd(steps: int) -> torch.Tensor:
        attack = library.attacks.LinfPGD(abs_stepsize=STEP, steps=steps, random_start=False)
        return attack.run(model, x, criterion, epsilon=EPS)

    return {"FGSM": once, "PGD": pgd}


def _art(library: Any, network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Attack]:
    evasion = importlib.import_module("art.attacks.evasion")
    classifiers = importlib.import_module("art.estimators.classification")
    classifier = classifiers.PyTorchClassifier(
        network, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    images, labels = x.numpy(), y.numpy()

    def once(steps: int) -> torch.Tensor:
        attack = evasion.FastGradientMethod(classifier, eps=EPS, batch_size=len(images))
        return torch.from_numpy(attack.generate(images, labels))

    def pgd(steps: int) -> torch.Tensor:
        attack = evasion.ProjectedGradientDescent(
            classifier, eps=EPS, eps_step=STEP, max_iter=steps, batch_size=len(images), verbose=False
        )
        return torch.from_numpy(attack.generate(images, labels))

    return {"FGSM": once, "PGD": pgd}


ATTACKS = {
    "torchattacks": (_torchattacks, ("FGSM", "PGD", "EOTPGD")),
    "foolbox": (_foolbox, ("FGSM", "PGD")),
    "art": (_art, ("FGSM", "PGD")),
}
NOTES = {
    ("foolbox", "PGD"): "its wrapper for random networks averages logits; here gradients are averaged",
    ("art", "PGD"): (
        "its EOT (a transformation of x) and its BPDA (a preprocessor's estimate_gradient(x, grad)) act on the input; "
        "the interface has no hook for an inner layer such as SAP"
    ),
}


def _our_attacks(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Attack]:
    gradients = {name: attack_gradient(network, "cross-entropy", k) for name, k in (("PGD", 1), ("EOTPGD", EOT))}
    return {
        "FGSM": lambda steps: fgsm(network, x, y, EPS),
        **{name: functools.partial(pgd_linf, g, x, y, EPS, STEP) for name, g in gradients.items()},
    }


def attack_rows(repeats: int = 31) -> list[dict[str, Any]]:
    """For each attack of each library: largest difference over all iterates, and the time of a step (one thread)."""
    x, y, network = _digits_and_network()
    ours, rows = _our_attacks(network, x, y), []
    theirs: dict[tuple[str, str], Attack] = {}
    for name, (make, _) in ATTACKS.items():
        library = _load(name)[1]
        if not isinstance(library, str):
            theirs |= {(name, attack): function for attack, function in make(library, network, x, y).items()}
    with _threads(1):
        for attack, steps in (("FGSM", 1), ("PGD", STEPS), ("EOTPGD", STEPS)):
            peers = [name for name, (_, attacks) in ATTACKS.items() if attack in attacks]
            timed = {"ours": functools.partial(ours[attack], steps)}
            timed |= {
                name: functools.partial(theirs[name, attack], steps) for name in peers if (name, attack) in theirs
            }
            seconds = interleaved(timed, repeats)
            chapter = "sap" if attack == "FGSM" else "sap_erratum"
            setting = f"{attack}, cross-entropy, {IMAGES} digits, eps = {EPS}" + (f", {steps} steps" * (steps > 1))
            setting += f", {EOT} gradients a step" if attack == "EOTPGD" else ""
            for name in peers:
                peer, library = _load(name)
                ids = [f"{kind}-{DISTRIBUTIONS[name]}-{attack.lower()}" for kind in ("iterates", "step-time")]
                whats = [f"{setting}: largest difference of an iterate", f"{setting}: time of a step, one thread"]
                if isinstance(library, str):
                    rows += [_row(i, chapter, what, peer, note=library) for i, what in zip(ids, whats, strict=True)]
                    continue
                pairs = ((ours[attack](t), theirs[name, attack](t)) for t in range(1, steps + 1))
                gap = max(float((a - b).abs().max()) for a, b in pairs)
                note = NOTES.get((name, attack), "")
                values = {"ours": gap, "theirs": 0.0, "unit": "of the grey scale", "repeats": 1, "note": note}
                rows.append(_row(ids[0], chapter, whats[0], peer, **values))
                rows.append(_row(ids[1], chapter, whats[1], peer, **_times(seconds["ours"], seconds[name], steps)))
    return rows


# --- (b) multinomial occupancy ---------------------------------------------------------------------------------------


def multinomial_rows(examples: int = 128, size: int = 16384, repeats: int = 9) -> list[dict[str, Any]]:
    """Seconds for the drawn set of ``examples`` maps of ``size`` neurons with ``size`` draws; 1 and 2 threads."""
    h = torch.randn(examples, size, generator=torch_generator(0, "bench", "maps")).abs()
    p, rows = h / h.sum(dim=1, keepdim=True), []
    draws = torch_generator(0, "bench", "ours"), torch_generator(0, "bench", "torch")

    def torch_set() -> torch.Tensor:
        drawn = torch.zeros(p.shape, dtype=torch.bool)
        return drawn.scatter_(1, torch.multinomial(p, size, replacement=True, generator=draws[1]), True)

    functions = {
        "ours": lambda: multinomial_occupancy(p, size, draws[0]),
        "torch": lambda: torch.multinomial(p, size, replacement=True, generator=draws[1]),
        "torch set": torch_set,
    }
    what = f"which of {size:,} neurons are drawn in {size:,} draws, {examples} maps"
    for threads in (1, 2):
        with _threads(threads):
            seconds = interleaved(functions, repeats, warmup=1)
        whole = ratio(seconds["ours"], seconds["torch set"])[0]
        note = f"the peer's time is that of its draws; with the set made from them the ratio is {whole:.1f}{_busy()}"
        named = f"{what}; {threads} thread{'s' * (threads > 1)}"
        peer = f"torch.multinomial {torch.__version__.split('+')[0]}"
        values = _times(seconds["ours"], seconds["torch"])
        rows.append(_row(f"multinomial-threads-{threads}", "sap", named, peer, **values, note=note))
    return rows


# --- (c) AutoAttack on a random network ------------------------------------------------------------------------------


def _judge(x: torch.Tensor, y: torch.Tensor) -> dict[str, tuple[float, float]]:
    """Accuracy of the SAP network on ``x``, with its standard error, by fresh masks that no attack has seen."""
    network = _digits_and_network()[2]
    judge = insert_sap(network, fraction=FRACTION, generator=torch_generator(0, "bench", "judge"))
    by_rule = robust_accuracies(judge, x, y, PASSES)
    return {rule: (by_rule[rule].value, by_rule[rule].standard_error) for rule in RULES}


def _auto_attack(library: Any, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """AutoAttack ``rand`` as a user runs it, and its APGD on the cross-entropy for every image."""
    with torch.random.fork_rng(devices=[]):  # it seeds torch's global generator
        attack = library.AutoAttack(model, eps=EPS, norm="Linf", version="rand", seed=0)
        start = time.perf_counter()
        images, labels = attack.run_standard_evaluation(x, y, batch_size=len(x))
        seconds = time.perf_counter() - start
        base = importlib.import_module("pyautoattack.autopgd_base")
        settings = {"n_iter": APGD_STEPS, "eot_iter": 20, "device": "cpu", "logger": logging.getLogger("auto-attack")}
        torch.manual_seed(0)
        every = base.APGDAttack(model, eps=EPS, norm="Linf", loss="ce", **settings).perturb(x, y, best_loss=True)
    own = float((labels == y).double().mean())
    return {"seconds": seconds, "own": own, "rand": _judge(images, y), "apgd": _judge(every, y)}


def auto_attack_rows(images: int = IMAGES) -> list[dict[str, Any]]:
    """Accuracy left on ``images`` digits by AutoAttack, with and without our BPDA, and by our own PGD (one thread)."""
    x, y, network = _digits_and_network()
    x, y = x[:images], y[:images]
    peer, library = _load("pyautoattack")
    alone = f"{peer} on automatic differentiation"
    attacked = f"SAP (f = {FRACTION}) digits network, {images} images, eps = {EPS}"
    own = f"AutoAttack rand on the {attacked}: accuracy left by its own count"
    own_note = "decided by one pass on the clean image and one on the image found; ours: the same attack with our BPDA"
    time_what = f"attack on the {attacked}: our PGD (identity, 15 steps, 5 masks) and AutoAttack rand"
    judged = {
        (attack, rule): f"{name} on the {attacked}: accuracy left, {text}"
        for attack, name in (
            ("rand", "AutoAttack rand"),
            ("apgd", f"APGD-CE of AutoAttack ({APGD_STEPS} steps)"),
            ("pgd", "our PGD"),
        )
        for rule, text in RULES.items()
    }
    ids = {key: f"attack-on-sap-{key[0]}-{key[1]}" for key in judged}
    if isinstance(library, str):
        whats = {
            "attack-on-sap-rand-own-count": own,
            **{ids[key]: what for key, what in judged.items()},
            "attack-on-sap-time": time_what,
        }
        return [_row(row_id, "sap_erratum", what, peer, note=library) for row_id, what in whats.items()]

    def sap(backward: str) -> nn.Module:
        return insert_sap(
            network, fraction=FRACTION, backward=backward, generator=torch_generator(0, "bench", backward)
        )

    with _threads(1):
        plain = _auto_attack(library, sap("pathwise"), x, y)
        wrapped = _auto_attack(library, wrap_bpda(sap("pathwise"), SAPLayer), x, y)
        start = time.perf_counter()
        mine = pgd_linf(attack_gradient(sap("identity"), "margin", 5), x, y, EPS, 2.5 * EPS / 15, 15)
        seconds = time.perf_counter() - start
    values = {"ours": wrapped["own"], "theirs": plain["own"], "repeats": 1, "note": own_note}
    rows = [_row("attack-on-sap-rand-own-count", "sap_erratum", own, alone, **values)]
    sides = {"rand": (wrapped["rand"], plain["rand"]), "apgd": (wrapped["apgd"], plain["apgd"])}
    sides["pgd"] = _judge(mine, y), plain["rand"]
    for (attack, rule), what in judged.items():
        (ours, error), (theirs, their_error) = (side[rule] for side in sides[attack])
        note = f"{JUDGED[attack]}; standard errors {error:.3f} and {their_error:.3f}"
        values = {"ours": ours, "theirs": theirs, "repeats": 1, "note": note}
        rows.append(_row(ids[attack, rule], "sap_erratum", what, alone, **values))
    values = {"ours": seconds, "theirs": plain["seconds"], "unit": "s", "ratio": plain["seconds"] / seconds}
    rows.append(_row("attack-on-sap-time", "sap_erratum", time_what, alone, **values, repeats=1))
    return rows


# --- (d) calibration errors ------------------------------------------------------------------------------------------

Metric = Callable[[np.ndarray, np.ndarray, int], float]  # confidences, outcomes, bins


def _torchmetrics_error(library: Any, norm: str) -> Metric:
    metric = library.functional.classification.binary_calibration_error
    return lambda p, y, bins: float(metric(torch.from_numpy(p), torch.from_numpy(y), bins, norm))


def _netcal_error(library: Any, norm: str) -> Metric:
    metrics = importlib.import_module("netcal.metrics")
    make = {"l1": metrics.ECE, "max": metrics.MCE}[norm]
    return lambda p, y, bins: float(make(bins).measure(p, y))


METRICS = {"torchmetrics": (_torchmetrics_error, ("l1", "l2", "max")), "netcal": (_netcal_error, ("l1", "max"))}


def _random_forecasts(datasets: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Beta-distributed confidences, outcomes that happen less often than told, and a number of bins."""
    rng = numpy_generator(0, "bench", "forecasts")
    for _ in range(datasets):
        p = rng.beta(*rng.uniform(0.5, 3.0, 2), int(rng.integers(50, 2000)))
        yield p, (rng.random(len(p)) < p**1.3).astype(np.int64), int(rng.integers(5, 21))


def calibration_rows(datasets: int = 50) -> list[dict[str, Any]]:
    """Largest difference over random forecasts; then two small cases in which a confidence lies on an edge."""
    forecasts = list(_random_forecasts(datasets))
    right_half = np.repeat([1, 1, 0], [20, 10, 10])  # 20 right at 0.93; at exactly 1.0 ten right and ten wrong
    saturated = np.repeat([0.93, 1.0], 20), right_half, 10
    on_edge = np.repeat([0.55, 0.6, 0.65], 20), np.repeat([1, 0, 1], 20), 10
    rows = []
    for name, (make, norms) in METRICS.items():
        peer, library = _load(name)
        for norm in norms:
            cases = {
                "off-edges": f"calibration error ({norm}), {datasets} random data sets: largest difference",
                "at-one": f"calibration error ({norm}), 10 bins: 20 right at 0.93, 10 of 20 right at exactly 1.0",
                "on-edge": f"calibration error ({norm}), 10 bins: 20 right at 0.55 and 0.65, 20 wrong at 0.6",
            }
            ids = {case: f"ece-{name}-{norm}-{case}" for case in cases}
            if isinstance(library, str):
                rows += [_row(ids[case], "sap", what, peer, note=library) for case, what in cases.items()]
                continue
            metric = make(library, norm)
            gap = max(abs(expected_calibration_error(p, y, k, norm) - metric(p, y, k)) for p, y, k in forecasts)
            rows.append(_row(ids["off-edges"], "sap", cases["off-edges"], peer, ours=gap, theirs=0.0, repeats=datasets))
            for case, (p, y, k) in (("at-one", saturated), ("on-edge", on_edge)):
                left, right = (expected_calibration_error(p, y, k, norm, closed=side) for side in ("left", "right"))
                value = metric(p, y, k)
                rows.append(
                    _row(
                        ids[case],
                        "sap",
                        cases[case],
                        peer,
                        ours=left,
                        theirs=value,
                        repeats=1,
                        note=_edge_note(left, right, value, case),
                    )
                )
    return rows


def _edge_note(left: float, right: float, theirs: float, case: str) -> str:
    if abs(left - theirs) < 1e-9:
        return "equal"
    if abs(right - theirs) < 1e-9:
        return f"its bins are (lo, hi]: equal to ours with closed='right' ({right:.4f})"
    return "it puts a confidence of exactly 1.0 into a bin of its own" if case == "at-one" else ""


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about four minutes on one core, most of them for AutoAttack."""
    logger = logging.getLogger("auto-attack")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn of what they will change
        logger.setLevel(logging.ERROR)  # and AutoAttack of networks that are random
        try:
            return [*attack_rows(), *multinomial_rows(), *auto_attack_rows(), *calibration_rows()]
        finally:
            logger.setLevel(level)


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
