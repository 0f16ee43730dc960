"""Weights and losses of episodes beside SciPy and a published formula: agreement first, then time.

(a) The truncated normal beside ``scipy.stats.truncnorm``, whose general ``pdf`` checks and broadcasts its shape arguments.
(b) Prototypical losses of a batch of episodes beside torchmeta's ``prototypical_loss``, derived anew here because the package
    needs torch below 1.10: it forms every difference of a query and a prototype, ours a matrix product around the centre.
(c) What online weights add to a training step: seconds of 16 weights beside those of a training step of Conv4-64.

    PYTHONPATH=lib:benchmarks python benchmarks/episode_difficulty.py [rows.json]
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import numpy as np
import torch
from scipy import stats
from timing import interleaved, ratio

from workings.few_shot.difficulty_sampling import DifficultyStats, normalising_factor, truncated_normal_pdf
from workings.few_shot.prototypical import episode_nll, prototypical_logits

REPEATS = 30


def _row(name: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": f"episode_difficulty/{name}", "chapter": "episode_difficulty", "what": what, "peer": peer, **empty, "note": "", **values}  # fmt: skip


def _times(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    middle, low, high = ratio(ours, theirs)
    seconds = {"ours": float(np.median(ours)), "theirs": float(np.median(theirs)), "unit": "s"}
    return {**seconds, "ratio": middle, "ratio_low": low, "ratio_high": high, "repeats": len(ours)}


def proposal_rows() -> list[dict[str, Any]]:
    """(a) Density of 100,000 standardised difficulties under a truncated normal with mean 1."""
    z, a, loc = np.random.default_rng(0).normal(size=100_000), 2.58, 1.0
    ours = lambda: truncated_normal_pdf(z, loc, a)
    theirs = lambda: stats.truncnorm.pdf(z, -a - loc, a - loc, loc=loc)
    gap = float(np.abs(ours() - theirs()).max())
    seconds = interleaved({"ours": ours, "theirs": theirs}, REPEATS)
    peer, what = f"scipy {metadata.version('scipy')} truncnorm", "density of 100,000 values"
    return [
        _row("proposal-agreement", f"{what}: largest difference", peer, ours=gap, theirs=0.0, unit="density", repeats=1),
        _row("proposal-time", what, peer, **_times(seconds["ours"], seconds["theirs"])),
    ]  # fmt: skip


def loss_rows() -> list[dict[str, Any]]:
    """(b) Losses of 16 episodes of 20 ways, 1 shot and 5 queries, 64 features; forward and backward."""
    source = torch.Generator().manual_seed(0)
    way, queries, size, batch = 20, 5, 64, 16
    support = torch.randn(batch, way, size, generator=source)
    query = torch.randn(batch, way * queries, size, generator=source).requires_grad_()
    labels, asked = torch.arange(way), torch.arange(way).repeat_interleave(queries)

    def ours() -> torch.Tensor:
        loss = episode_nll(prototypical_logits(support, labels, query), asked).mean()
        return torch.autograd.grad(loss, query)[0]

    def theirs() -> torch.Tensor:
        distances = ((support.unsqueeze(2) - query.unsqueeze(1)) ** 2).sum(-1)  # (batch, way, queries)
        loss = torch.nn.functional.cross_entropy(-distances, asked.expand(batch, -1))
        return torch.autograd.grad(loss, query)[0]

    gap = float((ours() - theirs()).abs().max() / theirs().abs().max())
    seconds = interleaved({"ours": ours, "theirs": theirs}, REPEATS)
    peer, what = "torchmeta's loss, derived anew", "loss and gradient of 16 20-way episodes"
    return [
        _row("loss-agreement", f"{what}: largest difference", peer, ours=gap, theirs=0.0, unit="of the largest gradient", repeats=1),
        _row("loss-time", what, peer, **_times(seconds["ours"], seconds["theirs"])),
    ]  # fmt: skip


def overhead_rows() -> list[dict[str, Any]]:
    """(c) One batch of online weights with their factor, beside a regular training step of a Conv4-64 on 16 5-way episodes."""
    from workings.few_shot.networks import conv4

    net = conv4(torch.Generator().manual_seed(0), width=64, classes=1)
    images = torch.rand(16 * 30, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(net.blocks.parameters())
    labels, asked = torch.arange(5), torch.arange(5).repeat_interleave(5)
    losses = np.random.default_rng(0).gamma(9.0, 0.1, size=16)
    stats_online = DifficultyStats("online").update(losses)

    def weigh() -> float:
        return normalising_factor(stats_online.weigh(losses, "uniform"), "ess")

    def step() -> None:
        features = net.features(images).unflatten(0, (16, 30))
        loss = episode_nll(prototypical_logits(features[:, :5], labels, features[:, 5:]), asked).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    seconds = interleaved({"ours": weigh, "theirs": step}, 7)
    ours, theirs = (float(np.median(seconds[name])) for name in ("ours", "theirs"))
    note = f"not two ways to one result: the weights are an addition, of {ours / theirs:.3%} of the step"
    what = "online weights of 16 episodes, beside a regular step of Conv4-64 on their 480 pictures"
    return [_row("overhead", what, "the step itself", ours=ours, theirs=theirs, unit="s", repeats=7, note=note)]


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: about half a minute on one core."""
    return [*proposal_rows(), *loss_rows(), *overhead_rows()]


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
