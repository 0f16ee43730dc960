"""The experiment that `workings sweep sap` maps over a grid: SAP on digits, without an attack, under the paper's, and under an adaptive one."""

from __future__ import annotations

import torch

from workings.chapters.sap.demo import accuracies, gradient, with_sap
from workings.checks import as_float, as_int
from workings.robustness.attacks import fgsm_step
from workings.robustness.data import digits
from workings.robustness.digits import train_digits_cnn
from workings.robustness.evaluation import sample_softmax


def sweep_point(
    *,
    eps: float = 0.1,
    fraction: float = 1.0,
    eot_samples: int = 20,
    mc_samples: int = 10,
    images: int = 200,
    epochs: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracies of one network on the first ``images`` held-out digits; of SAP by the mean of ``mc_samples`` passes.

    ``dense`` and ``sap``: clean. ``dense_attacked``: FGSM at radius ``eps``. ``mask`` and ``identity``: SAP keeping the draws
    ``fraction`` allows, under FGSM with the gradients of ``eot_samples`` of its own masks averaged, by that backward rule. About 8 s on one core.
    """
    eps, fraction = as_float(eps, "eps", minimum=0.0), as_float(fraction, "fraction", minimum=0.0, open_ends=True)
    for name, value in (
        ("eot_samples", eot_samples),
        ("mc_samples", mc_samples),
        ("images", images),
        ("epochs", epochs),
    ):
        as_int(value, name, minimum=1)
    train, test = digits(dtype=torch.float64)
    x, y = test.images[:images], test.labels[:images]
    model = train_digits_cnn(train, seed, epochs=epochs)
    sap = with_sap(model, seed, fraction)
    found = {
        "dense": accuracies(sample_softmax(model, x, 1), y),
        "sap": accuracies(sample_softmax(sap, x, mc_samples), y),
        "dense_attacked": accuracies(sample_softmax(model, fgsm_step(x, gradient(model, x, y, 1), eps), 1), y),
    }
    for rule in ("mask", "identity"):
        grad = gradient(with_sap(model, seed, fraction, rule), x, y, eot_samples)
        found[rule] = accuracies(sample_softmax(sap, fgsm_step(x, grad, eps), mc_samples), y)
    return {name: mean for name, (_, mean) in found.items()}
