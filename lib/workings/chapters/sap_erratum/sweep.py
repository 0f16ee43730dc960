"""The experiment that `workings sweep sap_erratum` maps over a grid: one defence under one attack, on digits."""

from __future__ import annotations

import torch

from workings.chapters.sap_erratum.demo import PROGRAM_2018, Defence, Trained, demo_attack, measure
from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.checks import as_float, as_int, one_of
from workings.robustness.data import digits
from workings.robustness.digits import train_digits_cnn


def sweep_point(
    *,
    fraction: float = 0.5,
    attack: str = "pathwise",
    eps: float = 0.25,
    program_2018: bool = False,
    images: int = 30,
    steps: int = 15,
    eot_samples: int = 5,
    mc_samples: int = 20,
    epochs: int = 30,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy by one pass, ``single``, and by the mean of ``mc_samples`` passes, ``mean``, under ``attack`` at radius ``eps``.

    The defence is SAP with ``fraction`` draws per neuron, or the 2018 program (``program_2018``), which has 2 whatever
    ``fraction`` says. The gradients of ``eot_samples`` masks are averaged at each step. Attacks: "2018", "pathwise", "mask", "identity", "transfer". ``clean_single`` and ``clean_mean`` are without an
    attack; ``nans`` counts gradient entries that were not a number. About 3 s on one core.
    """
    one_of(attack, "attack", ATTACKS)
    as_float(eps, "eps", minimum=0.0, open_ends=True)
    as_float(fraction, "fraction", minimum=0.0, open_ends=True)
    for name, value in (
        ("images", images),
        ("steps", steps),
        ("eot_samples", eot_samples),
        ("mc_samples", mc_samples),
        ("epochs", epochs),
    ):
        as_int(value, name, minimum=1)
    train, test = digits(dtype=torch.float64)
    trained = Trained(seed, train_digits_cnn(train, seed, epochs=epochs), test)
    defence = PROGRAM_2018 if program_2018 else Defence(fraction=fraction)
    sizes = demo_attack(Settings(steps=steps), eot_samples)
    clean, found = (measure(trained, defence, attack, radius, images, sizes, mc_samples) for radius in (0.0, eps))
    return {
        "single": found["single"],
        "mean": found["mean"],
        "clean_single": clean["single"],
        "clean_mean": clean["mean"],
        "nans": float(found["nans"]),
    }
