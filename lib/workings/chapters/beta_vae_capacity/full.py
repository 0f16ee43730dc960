"""The full tier of `beta_vae_capacity`: all of dSprites, resumable; smaller where there is no GPU."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workings import paths
from workings.chapters.beta_vae_capacity.settings import FACTORS, Settings
from workings.chapters.sprite_runs import Run, Sized, measure, train, trained
from workings.disentangling.dsprites_data import DSprites, factor_values, sub_grid
from workings.disentangling.dsprites_file import FILE_NAME, load_dsprites_npz
from workings.disentangling.factor_channel import FactorChannel, standardise
from workings.disentangling.known_factor import KnownFactorModel, RateHistory, onset_capacity, train_known_factor
from workings.disentangling.networks import BurgessDecoder, initialise
from workings.disentangling.objectives import capacity_schedule
from workings.disentangling.training import on_target
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import torch_generator


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier. ``here()`` picks those of the machine: the paper's with CUDA, shortened ones without.

    ``runs`` are the VAEs; the known-factor decoders take ``factor_steps`` steps at ``size`` pixels. ``grid`` names the
    part of dSprites that is used (``None``: all of it).
    """

    runs: tuple[Run, ...]
    size: int
    factor_steps: int
    factor_batch: int
    factor_c_max: float = 25.0
    factor_seeds: tuple[int, ...] = (0, 1, 2)
    images: int = 3000
    score_points: tuple[int, int] = (2000, 1000)
    device: str = "cpu"
    grid: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The settings of ``device`` (default: CUDA where there is one); ``dry_run``: a few steps on a few sprites."""
        device = device or device_here()
        if dry_run:
            grid = ((0, 1, 2), (0, 5), (0, 10), (0, 15, 31), (0, 15, 31))
            runs = _runs(size=32, steps=4, rising=2, light_seeds=(0,), seeds=(0,))
            return cls(runs, 32, 4, 16, factor_seeds=(0,), images=100, score_points=(40, 20), device="cpu", grid=grid)
        if device.startswith("cuda"):
            return cls(_runs(64, 300_000, 100_000, (0, 1, 2), (0, 1, 2)), 64, 100_000, 128, device=device)
        return cls(_short_runs(), 32, 4000, 64, score_points=(400, 200), device="cpu")


def _runs(size: int, steps: int, rising: int, light_seeds: Iterable[int], seeds: Iterable[int]) -> tuple[Run, ...]:
    """gamma 1000, beta 4 and beta 1 for each of ``seeds``, gamma 100 for ``light_seeds``; C rises to 25 nats."""
    capacity = lambda gamma, seed: Run("burgess", "capacity", gamma, steps, seed, size=size, c_max=25.0, rising=rising)
    beta = lambda strength, seed: Run("burgess", "beta", strength, steps, seed, size=size)
    rows = [(capacity(1000.0, seed), beta(4.0, seed), beta(1.0, seed)) for seed in seeds]
    return tuple(run for kind in zip(*rows, strict=True) for run in kind) + tuple(
        capacity(100.0, seed) for seed in light_seeds
    )


def _short_runs() -> tuple[Run, ...]:
    """What two cores can do, at 32 pixels: the paper's schedule for its first 20,000 steps (C reaches 5 nats), beta for 8,000.

    A quarter of the pixels has a quarter of the nats, so gamma 1000 and 100 at 64 pixels are 250 and 25 here; 1000
    itself is run too. One run of gamma 25 follows the paper's whole rise, 25 nats in 100,000 steps. Last, three
    runs whose C rises to 25 nats in 3,000 steps, 33 times faster.
    """
    slow = lambda gamma, seed: Run("burgess", "capacity", gamma, 20_000, seed, size=32, c_max=25.0, rising=100_000)
    fast = lambda gamma, seed: Run("burgess", "capacity", gamma, 8000, seed, size=32, c_max=25.0, rising=3000)
    beta = lambda strength, seed: Run("burgess", "beta", strength, 8000, seed, size=32)
    fixed = tuple(beta(strength, seed) for strength in (4.0, 1.0) for seed in (0, 1, 2))
    annealed = tuple(slow(gamma, seed) for gamma in (1000.0, 25.0) for seed in (0, 1, 2))
    whole = Run("burgess", "capacity", 25.0, 100_000, 0, size=32, c_max=25.0, rising=100_000)
    return (*fixed, *annealed, slow(250.0, 0), whole, fast(1000.0, 0), fast(1000.0, 1), fast(100.0, 0))


@Settings.needs.guard
def run(settings: FullSettings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The whole full tier: tables "runs" (one row per VAE), "known" (per known-factor run) and "curves" (per window).

    ``data_root``: the folder of the published dSprites file; without it the sprites are drawn here.
    """
    sprites = load(settings, data_root)
    runs = run_table(settings, sprites)
    known, curves = known_factor_table(settings, sprites)
    return {"runs": runs, "known": known, "curves": curves}


def load(settings: FullSettings, data_root: str | Path | None = None) -> DSprites:
    """dSprites on the settings' device: the published file where ``data_root`` holds it, else drawn here."""
    if settings.grid is not None:
        return DSprites(classes=sub_grid(*settings.grid), device=settings.device)
    if data_root is not None:
        packed, classes = load_dsprites_npz(Path(data_root) / FILE_NAME)
        return DSprites(packed, classes=classes, device=settings.device)
    return DSprites(device=settings.device)


def folder() -> Path:
    """Where trainings are kept: ``runs/sprites``, or under the folder ``WORKINGS_RUNS``."""
    return paths.runs_root() / "sprites"


def _live() -> bool:
    return not os.environ.get("WORKINGS_QUIET")


def run_table(settings: FullSettings, sprites: DSprites, place: Path | None = None) -> list[dict[str, Any]]:
    """One flat row per run: its settings and what was measured. Trains what is missing, measures what is not stored."""
    place = place or folder()
    points = dict(zip(("n_train", "n_eval"), settings.score_points, strict=True))
    store = Store(place / f"capacity-measured-{settings.images}-{len(sprites)}.jsonl", points)
    for job in progress(settings.runs, "VAEs", total=len(settings.runs)):
        if store.done(job.name):
            continue
        history = train(job, sprites, place, device=settings.device, progress=_live())
        found = measure(job, trained(job, place, settings.device), sprites, n_images=settings.images, **points)
        kept = on_target(history, 0.0, job.c_max, job.rising) if job.rule == "capacity" else None
        store.put(
            job.name,
            _flat(found)
            | {"on_target": kept, "images": len(sprites), "device": settings.device, "c_end": _last_target(job)},
        )
    return [store.get(run.name) for run in settings.runs]


def _last_target(run: Run) -> float | None:
    """C at the last step in nats; None for a fixed beta."""
    if run.rule == "beta":
        return None
    return capacity_schedule(run.steps, run.c_max, run.rising)


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """A row that a ledger can hold: per-factor dictionaries spread over columns, per-latent lists as a text."""
    row = {key: value for key, value in found.items() if not isinstance(value, (dict, list))}
    for key in ("corr", "gap"):
        row |= {f"{key}_{factor}": value for factor, value in found[key].items()}
    row["own_latents"] = len(set(found["latent"].values())) == len(found["latent"])
    row["kl_largest_first"] = " ".join(f"{value:.2f}" for value in sorted(found["kl_per_latent"], reverse=True))
    return row


def known_factor_table(
    settings: FullSettings, sprites: DSprites, place: Path | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two tables of the known-factor runs: one row per seed with the onset capacities, one per window with the rates."""
    place = place or folder()
    values = factor_values(sprites.classes)[:, [3, 4, 1, 0, 2]]
    factors = standardise(values.float()).to(settings.device)
    known, curves = [], []
    for seed in progress(settings.factor_seeds, "known factors", total=len(settings.factor_seeds)):
        run = _known_factor(settings, sprites, factors, seed, place)
        about = {"seed": seed, "size": settings.size, "steps": settings.factor_steps, "images": len(sprites)}
        onsets = dict(zip(FACTORS, onset_capacity(run), strict=True))
        known.append(
            about | {f: (None if c == float("inf") else c) for f, c in onsets.items()} | {"ordered": in_order(run)}
        )
        for capacity, rates, nll in zip(run.capacity, run.rates, run.nll, strict=True):
            row = {"seed": seed, "capacity": float(capacity), "nll": float(nll)}
            curves.append(row | dict(zip(FACTORS, rates.tolist(), strict=True)))
    return known, curves


def _known_factor(
    settings: FullSettings, sprites: DSprites, factors: torch.Tensor, seed: int, place: Path
) -> RateHistory:
    """One known-factor training, resumed from or kept in ``place``; forty windows, checkpoints between them."""
    size, steps = settings.size, settings.factor_steps
    decoder = initialise(
        BurgessDecoder(latent_dim=len(FACTORS), size=size), torch_generator(seed, "capacity", "full decoder")
    )
    model = KnownFactorModel(FactorChannel(len(FACTORS)), decoder).to(settings.device)
    window = max(1, steps // 40)
    return train_known_factor(
        model, factors, Sized(sprites, size), steps, c_max=settings.factor_c_max, rising=max(1, steps * 9 // 10),
        seed=seed, batch=settings.factor_batch, learning_rate=5e-4, window=window, progress=_live(),
        checkpoint=place / f"known{size}-{steps}-b{settings.factor_batch}-seed{seed}.pt",
        checkpoint_every=window * max(1, 1000 // window),
    )  # fmt: skip


def in_order(run: RateHistory) -> bool:
    """Whether x and y both had their onset before scale, scale before shape, shape before orientation."""
    x, y, scale, shape, orientation = onset_capacity(run)
    return max(x, y) < scale < shape < orientation


def claim_values(tables: dict[str, list[dict[str, Any]]]) -> dict[str, int | bool]:
    """What the ledger's full tier reads of the tables "runs" and "known", by claim.

    Of the annealed runs it takes those of gamma 1000 that reached their last target; a run that stopped at 5 of 25 nats
    is shown in the table and tests neither claim.
    """
    rows = tables["runs"]
    pick = lambda rule, strength: [row for row in rows if (row["rule"], row["strength"]) == (rule, strength)]
    annealed = [row for row in pick("capacity", 1000.0) if row["c_end"] == row["c_max"]]
    beta4 = pick("beta", 4.0)
    corr = lambda row: min(row[f"corr_{factor}"] for factor in ("scale", "pos_x", "pos_y"))
    good = [row["on_target"] >= 0.95 and corr(row) > 0.9 and row["own_latents"] for row in annealed]
    mean = lambda group, key: sum(row[key] for row in group) / len(group)
    sharper = mean(beta4, "nll_sampled") - mean(annealed, "nll_sampled") > 2.0
    as_good = mean(annealed, "score") >= mean(beta4, "score") - 0.02
    return {"cap-2": all(row["ordered"] for row in tables["known"]), "cap-3": sum(good), "cap-4": sharper and as_good}
