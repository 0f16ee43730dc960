"""SCAN's loss beside torch's own distributions and beside the formulas of a public re-implementation.

(a) KL of diagonal Gaussians and the three terms of the loss on fixed tensors: largest difference. The peer's terms are
    those of miyosuda/scan (TensorFlow 1, which no longer installs), written out here from its formulas: sums over the
    batch, where ours are means.
(b) Seconds for the KL and its gradient, for 4,096 pairs of 32 latents.
(c) Seconds for twelve symbols' networks of 50 steps, side by side and one after the other.
(d) Seconds for drawing 6,000 rooms, at once and one at a time; a second at most was asked for.

Run with: PYTHONPATH=lib:benchmarks python benchmarks/scan.py [rows.json]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional as F

from workings.disentangling.concepts import khot
from workings.disentangling.objectives import kl_diag_gaussians
from workings.disentangling.rooms import FACTOR_SIZES, render_rooms
from workings.disentangling.scan import Pairs, ScanJob, scan_loss, train_scans
from workings.seeding import torch_generator

SIZES = (16, 16, 16, 3)  # 51 places, as in the peer


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "scan", "what": what, "peer": peer, "note": "", **empty, **values}


def _gaussians(batch: int) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    draw = torch_generator(0, "bench", "scan")
    make = lambda: (torch.randn(batch, 32, generator=draw), torch.randn(batch, 32, generator=draw) - 1.0)
    return make(), make()


def _peer_loss(logits, y, q_y, q_x, beta: float, lam: float) -> torch.Tensor:
    """The peer's loss of a batch, by its formulas: every term summed over batch and latents."""
    (m_y, l_y), (m_x, l_x) = q_y, q_x
    reconstruction = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
    prior = -0.5 * (1 + l_y - m_y**2 - l_y.exp()).sum()
    tie = 0.5 * (l_y - l_x + (l_x.exp() + (m_x - m_y) ** 2) / l_y.exp() - 1).sum()
    return reconstruction + beta * prior + lam * tie


def agreement_rows() -> list[dict[str, Any]]:
    q_y, q_x = _gaussians(64)
    normal = lambda q: Independent(Normal(q[0], torch.exp(0.5 * q[1])), 1)
    gap = (kl_diag_gaussians(*q_x, *q_y).sum(1) - kl_divergence(normal(q_x), normal(q_y))).abs()
    relative = float((gap / kl_divergence(normal(q_x), normal(q_y))).max())
    y = khot(torch.stack([torch.arange(64) % k for k in SIZES], dim=1), SIZES)
    logits = torch.randn(64, 51, generator=torch_generator(0, "bench", "logits"))
    ours = float(scan_loss(logits, y, q_y, q_x, 1.0, 10.0))
    theirs = float(_peer_loss(logits, y, q_y, q_x, 1.0, 10.0)) / 64
    return [
        _row("scan-kl-agreement", "KL of 64 pairs of Gaussians: largest relative difference", "torch.distributions", ours=relative, theirs=0.0, unit="relative", repeats=1),
        _row("scan-loss-agreement", "SCAN loss of one batch of 64", "miyosuda/scan, by its formulas", ours=ours, theirs=theirs, unit="nats per pair", repeats=1, note="theirs is a sum over the batch, divided by 64 here"),
    ]  # fmt: skip


def time_rows(repeats: int = 21) -> list[dict[str, Any]]:
    q_y, q_x = _gaussians(4096)
    parts = [part.requires_grad_() for part in q_y]

    def run(kl: Any) -> None:
        for part in parts:
            part.grad = None
        kl().mean().backward()

    ours = lambda: run(lambda: kl_diag_gaussians(*q_x, *parts).sum(1))
    normal = lambda q: Independent(Normal(q[0], torch.exp(0.5 * q[1])), 1)
    theirs = lambda: run(lambda: kl_divergence(normal(q_x), normal(parts)))
    seconds = interleaved({"ours": ours, "theirs": theirs}, repeats)
    middle, low, high = ratio(seconds["ours"], seconds["theirs"])
    draw = torch_generator(0, "bench", "pairs")
    shown = torch.stack([torch.randint(k, (500,), generator=draw) for k in SIZES], dim=1)
    pairs = Pairs(torch.randn(500, 32, generator=draw), torch.full((500, 32), -2.0), shown)
    jobs = [ScanJob(pairs, seed) for seed in range(12)]
    both = interleaved(
        {"together": lambda: train_scans(jobs, SIZES, 50), "alone": lambda: [train_scans([job], SIZES, 50) for job in jobs]}, 5, 1
    )  # fmt: skip
    gain = ratio(both["together"], both["alone"])
    median = lambda values: float(np.median(values))
    return [
        _row("scan-kl-time", "KL of 4,096 pairs of 32 latents, with its gradient", "torch.distributions", ours=median(seconds["ours"]), theirs=median(seconds["theirs"]), unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=repeats),
        _row("scan-training-time", "twelve symbols' networks, 50 steps, side by side", "the same, one after the other", ours=median(both["together"]), theirs=median(both["alone"]), unit="s", ratio=gain[0], ratio_low=gain[1], ratio_high=gain[2], repeats=5),
    ]  # fmt: skip


def drawing_rows(rooms: int = 6000, repeats: int = 5) -> list[dict[str, Any]]:
    draw = torch_generator(0, "bench", "rooms")
    classes = torch.stack([torch.randint(k, (rooms,), generator=draw) for k in FACTOR_SIZES], dim=1)
    seconds = interleaved(
        {"together": lambda: render_rooms(classes), "alone": lambda: [render_rooms(room[None]) for room in classes]}, repeats, 1
    )  # fmt: skip
    gain = ratio(seconds["together"], seconds["alone"])
    median = lambda values: float(np.median(values))
    return [
        _row("scan-rooms-time", f"{rooms:,} rooms drawn at once", "the same, one at a time", ours=median(seconds["together"]), theirs=median(seconds["alone"]), unit="s", ratio=gain[0], ratio_low=gain[1], ratio_high=gain[2], repeats=repeats),
    ]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: some seconds on one core."""
    return [*agreement_rows(), *time_rows(), *drawing_rows()]


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
