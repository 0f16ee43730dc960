"""The experiment that `workings sweep sap_erratum` maps over a grid: one defence under one attack, on digits."""

from __future__ import annotations

from workings.chapters.sap_erratum.demo import FLAWED, Defence, Trained, demo_attack, measure
from workings.chapters.sap_erratum.settings import ATTACKS, Settings
from workings.checks import as_float, as_int, one_of
from workings.robustness.data import digits
from workings.robustness.digits import train_digits_cnn


def sweep_point(
    *,
    fraction: float = 0.5,
    attack: str = "pathwise",
    eps: float = 0.25,
    flawed: bool = False,
    images: int = 30,
    steps: int = 15,
    masks: int = 5,
    passes: int = 20,
    epochs: int = 30,
    seed: int = 0,
) -> dict[str, float]:
    """Accuracy by one pass, ``single``, and by the mean of ``passes``, ``mean``, under ``attack`` at radius ``eps``.

    The defence is SAP with budget ``fraction``, or the 2018 program (``flawed``), which has its own budget of 2 whatever
    ``fraction`` says. Attacks: "2018", "pathwise", "mask", "identity", "transfer". ``clean_single`` and ``clean_mean`` are without an
    attack; ``nans`` counts gradient entries that were not a number. About 3 s on one core.
    """
    one_of(attack, "attack", ATTACKS)
    as_float(eps, "eps", minimum=0.0, open_ends=True)
    as_float(fraction, "fraction", minimum=0.0, open_ends=True)
    for name, value in (("images", images), ("steps", steps), ("masks", masks), ("passes", passes), ("epochs", epochs)):
        as_int(value, name, minimum=1)
    train, test = digits()
    trained = Trained(seed, train_digits_cnn(train, seed, epochs=epochs), test)
    defence = FLAWED if flawed else Defence(budget=fraction)
    sizes = demo_attack(Settings(steps=steps), masks)
    clean, found = (measure(trained, defence, attack, radius, images, sizes, passes) for radius in (0.0, eps))
    return {
        "single": found["single"],
        "mean": found["mean"],
        "clean_single": clean["single"],
        "clean_mean": clean["mean"],
        "nans": float(found["nans"]),
    }
