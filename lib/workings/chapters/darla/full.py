"""The full tier of the chapter `darla`: a sequential world at 32 x 32 pixels, learnt with DQN and with A2C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from workings import paths
from workings.chapters.darla import arm_run
from workings.chapters.darla.demo import (
    Encoder,
    all_scenes,
    code_table,
    describe,
    pixel_table,
    rank_interval,
    train_jobs,
    true_factors,
    unsupervised_choice,
    vision_data,
)
from workings.chapters.darla.settings import Settings
from workings.disentangling.perceptual import VisionJob
from workings.disentangling.transfer import mean_interval
from workings.disentangling.value_learning import greedy_policies, train_a2c, train_dqn
from workings.runs.store import Store

CONTROLS = ("aligned", "rotated")
"""The true factors as codes, each number one factor or a mixture of all."""


@Settings.needs.guard
def run(
    settings: Settings, data_root: str | Path | None = None, *, arm: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """The full tier: tables "encoders" (one row per encoder) and "returns" (one row per algorithm, code and seed).

    Codes are "pixels", one "beta ..." per strength, and as a control that needs no encoder the true factors, "aligned" and
    "rotated". Stages that are in the store under ``runs/`` are not run again. ``data_root`` is not used: the world is drawn here. Table
    "arm" is the optional Jaco arm, :func:`workings.chapters.darla.arm_run.rows_or_note`, at full size only with ``arm``.
    """
    name = "dry" if settings.dry_run else "full"
    tables = run_protocol(settings, Store(paths.runs_root() / "darla" / f"{name}.jsonl", settings))
    return tables | {"arm": arm_run.rows_or_note(dry_run=settings.dry_run, asked=arm)}


def run_protocol(settings: Settings, store: Store) -> dict[str, list[dict[str, Any]]]:
    """See, choose beta without looking at returns, act; what is in ``store`` is not run again."""
    world, domains = settings.world(), settings.domains()
    scenes = all_scenes(world)
    data = vision_data(world, domains["unsupervised"], settings.pictures)
    seen: dict[float, list[dict[str, Any]]] = {}
    for beta in settings.betas:
        key = f"see/{beta:g}"
        if not store.done(key):
            jobs = [VisionJob(data, beta, seed) for seed in settings.seeds]
            models = train_jobs(jobs, settings, settings.vision_steps)
            group = [describe(m, job.beta, job.seed, data, scenes) for m, job in zip(models, jobs, strict=True)]
            store.put(key, [_packed(encoder) for encoder in group])
        seen[beta] = store.get(key)
    encoders = {beta: [_unpacked(row) for row in rows] for beta, rows in seen.items()}
    chosen, table = unsupervised_choice(encoders, settings.explained)
    agreement = {row.beta: row.agreement for row in table}
    rows = [
        {
            "beta": beta, "seed": e.seed, "mig": e.mig, "explained": e.explained, "nats": float(e.kl.sum()),
            "agreement": agreement[beta], "chosen": beta == chosen,
        }
        for beta, group in encoders.items()
        for e in group
    ]  # fmt: skip
    kinds: dict[str, torch.Tensor] = {"pixels": pixel_table(scenes)}
    kinds |= {f"beta {beta:g}": code_table(group) for beta, group in encoders.items()}
    kinds |= {name: true_factors(settings, rotated=name == "rotated") for name in CONTROLS}
    compared = ["pixels", f"beta {settings.betas[0]:g}", f"beta {chosen:g}", *CONTROLS]
    returns = []
    for algorithm in ("dqn", "a2c"):
        for kind, codes in kinds.items():
            if algorithm == "a2c" and kind not in compared:
                continue
            key = f"{algorithm}/{kind}"
            if not store.done(key):
                store.put(key, _act(algorithm, codes, settings))
            for seed, source, target in zip(settings.seeds, *store.get(key), strict=True):
                returns.append({"algorithm": algorithm, "code": kind, "seed": seed, "source": source, "target": target})
    for domain in ("source", "target"):
        returns_of = {"random": world.random_return(domains[domain]), "optimal": world.optimal_return(domains[domain])}
        for row in returns:
            row |= {f"{policy}_{domain}": value for policy, value in returns_of.items()}
    return {"encoders": rows, "returns": returns}


def claim_values(tables: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """What the claims of the full tier compare: for darla-1, -2 and -10 in how many algorithms one code is ahead, and -6.

    Ahead means that the lower end of the 95% interval over seeds of the difference of target returns is above 0: of the chosen
    code less pixels, less the entangled code, and of the aligned factors less the rotated ones. A record from before the
    aligned and rotated factors had agents has no -10.
    """
    chosen = next(f"beta {row['beta']:g}" for row in tables["encoders"] if row["chosen"])
    entangled = f"beta {min(row['beta'] for row in tables['encoders']):g}"
    target = {(row["algorithm"], row["code"], row["seed"]): row["target"] for row in tables["returns"]}
    seeds = sorted({row["seed"] for row in tables["returns"]})

    def ahead(code: str, rival: str) -> int:
        gaps = [
            [target[algorithm, code, seed] - target[algorithm, rival, seed] for seed in seeds]
            for algorithm in ("dqn", "a2c")
        ]
        return sum(mean_interval(gap).low > 0 for gap in gaps)

    pairs = np.array([[row["mig"], target["dqn", f"beta {row['beta']:g}", row["seed"]]] for row in tables["encoders"]])
    found = {
        "darla-1": ahead(chosen, "pixels"),
        "darla-2": ahead(chosen, entangled),
        "darla-6": rank_interval(pairs).low,
    }
    if any(row["code"] in CONTROLS for row in tables["returns"]):
        found["darla-10"] = ahead(*CONTROLS)
    return found


def _act(algorithm: str, codes: torch.Tensor, settings: Settings) -> list[list[float]]:
    """Exact source and target returns, one per seed, of greedy policies learnt with ``algorithm``."""
    world, domains = settings.world(), settings.domains()
    hidden = (settings.agent_hidden,) * 2
    if algorithm == "dqn":
        agents = train_dqn(
            world, domains["source"], codes, settings.dqn_steps, seeds=settings.seeds, hidden=hidden, double=True
        )
    else:
        agents = train_a2c(world, domains["source"], codes, settings.a2c_steps, seeds=settings.seeds, hidden=hidden)
    policies = greedy_policies(agents, codes)
    return [[world.expected_return(domains[name], policy) for policy in policies] for name in ("source", "target")]


def _packed(encoder: Encoder) -> dict[str, Any]:
    return {
        "beta": encoder.beta, "seed": encoder.seed, "codes": np.round(encoder.codes.double().numpy(), 4).tolist(),
        "kl": encoder.kl.tolist(), "explained": encoder.explained, "mig": encoder.mig,
    }  # fmt: skip


def _unpacked(row: dict[str, Any]) -> Encoder:
    codes, kl = torch.tensor(row["codes"]), torch.tensor(row["kl"], dtype=torch.float64)
    return Encoder(row["beta"], row["seed"], None, codes, kl, row["explained"], row["mig"])
