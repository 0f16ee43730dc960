"""Ranking and calibration of a million scores, temperature and adapters, beside what a reader would use.

(a) AUROC and ECE on 10^6 scores: scikit-learn, torchmetrics, netcal. Difference and time.
(b) The temperature of 10^5 log-odds: our solver against gradient steps as in the authors' code (AdamW, 2,000 steps), and netcal.
(c) An adapter with copied weights beside peft's: largest difference of outputs.
(d) Calibration error where conventions part: lm-polygraph's 20 bins on scores of which some lie on edges, torchmetrics on scores of exactly 1.

    PYTHONPATH=lib:benchmarks python benchmarks/taught_to_know.py [rows.json]
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio
from torch import nn

from workings.calibration import auroc, ece_positive, fit_temperature
from workings.language_models.lora import LoRALinear
from workings.seeding import numpy_generator, torch_generator

SCORES, LOGITS = 1_000_000, 100_000
Peer = Callable[[np.ndarray, np.ndarray], float]


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "taught_to_know", "what": what, "peer": peer, "note": "", **empty, **values}


def scores(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences strictly inside (0, 1), off the edges of the bins, and grades that follow them loosely."""
    rng = numpy_generator(0, "benchmark", "scores")
    p = rng.random(n) * 0.998 + 0.001
    return p, (rng.random(n) < p**1.3).astype(np.int64)


def _sklearn_auroc() -> Peer:
    from sklearn.metrics import roc_auc_score

    return lambda p, y: float(roc_auc_score(y, p))


def _torchmetrics_auroc() -> Peer:
    from torchmetrics.functional.classification import binary_auroc

    return lambda p, y: float(binary_auroc(torch.from_numpy(p), torch.from_numpy(y)))


def _torchmetrics_ece(norm: str = "l1") -> Peer:
    from torchmetrics.functional.classification import binary_calibration_error

    return lambda p, y: float(binary_calibration_error(torch.from_numpy(p), torch.from_numpy(y), n_bins=10, norm=norm))


def _netcal_ece() -> Peer:
    from netcal.metrics import ECE

    return lambda p, y: float(ECE(bins=10).measure(p, y))


MEASURES: tuple[tuple[str, str, Peer, Callable[[], Peer]], ...] = (
    ("auroc-scikit-learn", "scikit-learn", auroc, _sklearn_auroc),
    ("auroc-torchmetrics", "torchmetrics", auroc, _torchmetrics_auroc),
    ("ece-torchmetrics", "torchmetrics", ece_positive, _torchmetrics_ece),
    ("ece-netcal", "netcal", ece_positive, _netcal_ece),
)


def _version(distribution: str) -> str | None:
    try:
        return f"{distribution} {metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return None


def measure_rows(n: int = SCORES, repeats: int = 7) -> list[dict[str, Any]]:
    """Agreement first, then interleaved times."""
    p, y = scores(n)
    rows = []
    for row_id, distribution, ours, make in MEASURES:
        what = f"{row_id.split('-')[0].upper()} of {n:,} scores"
        peer = _version(distribution)
        try:
            theirs = make() if peer else None
        except ImportError as error:
            rows.append(_row(f"ttk-{row_id}", what, peer, note=f"installed but not importable: {error}"))
            continue
        if theirs is None:
            rows.append(_row(f"ttk-{row_id}", what, distribution, note="not installed"))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            apart = abs(ours(p, y) - theirs(p, y))
            seconds = interleaved({"ours": lambda o=ours: o(p, y), "theirs": lambda t=theirs: t(p, y)}, repeats)
        middle, low, high = ratio(seconds["ours"], seconds["theirs"])
        rows.append(_row(
            f"ttk-{row_id}", what, peer, ours=float(np.median(seconds["ours"])), theirs=float(np.median(seconds["theirs"])),
            unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=repeats, note=f"the two differ by {apart:.1e}",
        ))  # fmt: skip
    return rows


def _by_gradient(z: np.ndarray, y: np.ndarray) -> float:
    """The temperature as the authors' code fits it: exp(tau) by AdamW, 2,000 steps, cosine."""
    logits, labels = torch.from_numpy(z), torch.from_numpy(y).double()
    tau = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([tau], lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 2000)
    for _ in range(2000):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits / tau.exp(), labels).backward()
        optimiser.step()
        schedule.step()
    return float(tau.exp())


def _by_netcal(z: np.ndarray, y: np.ndarray) -> float:
    """netcal takes probabilities and keeps 1 / T."""
    from netcal.scaling import TemperatureScaling

    scaling = TemperatureScaling()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaling.fit(1 / (1 + np.exp(-z)), y, random_state=0)
    return 1 / float(scaling.weights[0])


def temperature_rows(n: int = LOGITS, repeats: int = 7) -> list[dict[str, Any]]:
    """Time and error of the temperature 2.5, by the negative log-likelihood that is left."""
    rng = numpy_generator(0, "benchmark", "temperature")
    z = rng.normal(0.5, 3.0, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-z / 2.5))).astype(np.int64)
    ours = fit_temperature(z, y)
    what, found = f"temperature of {n:,} log-odds", []
    for name, peer, fit in (
        ("gradient", "AdamW, 2,000 steps, written here after the authors' settings", _by_gradient),
        ("netcal", _version("netcal") or "netcal", _by_netcal),
    ):
        try:
            other = fit(z, y)  # its first call also imports what it needs
        except ImportError as error:
            found.append(_row(f"ttk-temperature-{name}", what, peer, note=f"not importable: {error}"))
            continue
        both = {"ours": lambda: fit_temperature(z, y), "theirs": lambda f=fit: f(z, y)}
        seconds = interleaved(both, repeats, warmup=0)  # both were called above
        middle, low, high = ratio(seconds["ours"], seconds["theirs"])
        found.append(_row(
            f"ttk-temperature-{name}", what, peer, ours=float(np.median(seconds["ours"])), theirs=float(np.median(seconds["theirs"])),
            unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=repeats,
            note=f"ours {ours.temperature:.4f}, theirs {other:.4f}",
        ))  # fmt: skip
    return found


def saturated(n: int) -> tuple[np.ndarray, np.ndarray]:
    """:func:`scores`, made over-confident by a temperature of 0.2 and kept in half precision: some are exactly 1."""
    p, y = scores(n)
    return (1 / (1 + (1 / p - 1) ** 5)).astype(np.float16).astype(float), y


def _right_closed(p: np.ndarray, y: np.ndarray) -> float:
    """ECE as lm-polygraph defines it: 20 bins (lo, hi], of which the first holds 0 as well."""
    edges = np.linspace(0.0, 1.0, 21)
    inside = [(p > low) & (p <= high) for low, high in itertools.pairwise(edges)]
    inside[0] |= p == 0
    return float(sum(part.mean() * abs(y[part].mean() - p[part].mean()) for part in inside if part.any()))


def convention_rows(n: int = LOGITS) -> list[dict[str, Any]]:
    """Values of both, where scores lie on edges."""
    rng = numpy_generator(0, "benchmark", "edges")
    p = rng.integers(0, 65, n) / 64
    on = np.isin(p, (0, 0.25, 0.5, 0.75, 1)).mean()  # edges of 20 bins, exact in every arithmetic
    y = rng.random(n) < np.where(np.floor(20 * p) % 2 == 1, p**2, p**0.5)  # too sure in every second bin [lo, hi)
    left = ece_positive(p, y, 20)
    ours, theirs = ece_positive(p, y, 20, closed="right"), _right_closed(p, y)
    found = [_row(
        "ttk-ece-lm-polygraph", f"ECE of {n:,} scores, {on:.0%} on an edge; 20 bins (lo, hi]",
        "lm-polygraph's definition, written here", ours=ours, theirs=theirs, repeats=1,
        note=f"the two differ by {abs(ours - theirs):.1e}; ours with bins [lo, hi) is {left:.4f}",
    )]  # fmt: skip
    p, y = saturated(n)
    what = f"calibration error (l2) of {n:,} scores in half precision, {np.mean(p == 1):.0%} exactly 1; 10 bins"
    name = "ttk-ece-saturated-torchmetrics"
    peer = _version("torchmetrics")
    try:
        measure = _torchmetrics_ece("l2") if peer else None
    except ImportError as error:
        return [*found, _row(name, what, peer, note=f"installed but not importable: {error}")]
    if measure is None:
        return [*found, _row(name, what, "torchmetrics", note="not installed")]
    ours, theirs = ece_positive(p, y, norm="l2"), measure(p, y)
    note = "equal" if abs(ours - theirs) < 1e-9 else "it puts a confidence of exactly 1.0 into a bin of its own"
    return [*found, _row(name, what, peer, ours=ours, theirs=theirs, repeats=1, note=note)]


def adapter_rows() -> list[dict[str, Any]]:
    """Outputs of one adapter on copied weights."""
    what = "largest difference of the outputs of an adapter, rank 8, 256 x 256, float32"
    peer = _version("peft")
    if peer is None:
        return [_row("ttk-adapter-peft", what, "peft", note="not installed")]
    import peft

    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(256, 256))
    ours = LoRALinear(base[0], 8, 32.0, torch_generator(0, "adapter"))
    with torch.no_grad():
        ours.B.copy_(torch.randn(256, 8, generator=torch_generator(0, "B")))
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=32, target_modules=["0"]))
    layer = theirs.base_model.model[0]
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(ours.A)
        layer.lora_B["default"].weight.copy_(ours.B)
    x = torch.randn(64, 256, generator=torch_generator(0, "x"))
    apart = float((ours(x) - theirs(x)).abs().max())
    return [_row("ttk-adapter-peft", what, peer, ours=apart, theirs=0.0, unit="", repeats=1)]


def rows() -> list[dict[str, Any]]:
    return [*measure_rows(), *temperature_rows(), *adapter_rows(), *convention_rows()]


if __name__ == "__main__":
    found = rows()
    for row in found:
        print(row)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w") as file:
            json.dump(found, file, indent=1)
