"""The full tier of the chapter `early_visual_concepts`: the fully connected network on all of dSprites at 64 x 64.

On a CPU the main comparison only, with fewer steps; with a GPU also the stride sweep and the held-out block. Every row
says how many steps it had. Trainings resume from ``runs/sprites/`` (``WORKINGS_RUNS`` names another ``runs``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workings import paths
from workings.chapters.early_visual_concepts.demo import active_latents, held_out
from workings.chapters.early_visual_concepts.settings import Settings
from workings.chapters.sprite_runs import CORRELATED, Run, encoder, measure, train, trained
from workings.disentangling.dsprites_data import DSprites, factor_values, sub_grid
from workings.disentangling.dsprites_file import FILE_NAME, load_dsprites_npz
from workings.disentangling.metrics import ACTIVE, linear_probe
from workings.disentangling.objectives import bernoulli_nll
from workings.runs.progress import progress
from workings.seeding import generator

VARIANTS = {
    "beta-VAE": 4.0,
    "VAE": 1.0,
    "autoencoder": 0.0,
}  # of the held-out block; beta 0 leaves the noise free to vanish


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier: the main runs, and what only a GPU does (``strides`` beyond 1, ``hold_out``)."""

    device: str = "cuda"
    steps: int = 300_000
    betas: tuple[float, ...] = (1.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch: int = 64
    strides: tuple[int, ...] = (2, 4, 8)  # of the 32 positions, each way
    hold_out: bool = True
    side_seeds: tuple[int, ...] = (0, 1, 2)  # of strides and hold-out
    side_steps: int = 50_000
    n_images: int = 3000
    n_train: int = 400
    n_eval: int = 200
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The sizes for this machine: without a GPU 2,000 steps and the main runs only."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dry_run:
            return cls(
                device=device, steps=2, seeds=(0, 1), batch=16, strides=(16,), side_seeds=(0,), side_steps=2, n_images=64,
                n_train=40, n_eval=20, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(device=device, steps=2000, strides=(), hold_out=False)
        return cls(device=device)

    def run(self, beta: float, seed: int, steps: int) -> Run:
        """The fully connected network of the paper's 2D shapes: Adagrad at 1e-2."""
        return Run("fc", "beta", beta, steps, seed, batch=self.batch, learning_rate=1e-2)


def runs_folder(settings: FullSettings) -> Path:
    """Where checkpoints are kept; a dry run keeps its own."""
    runs = paths.runs_root()
    return runs / ("sprites-dry" if settings.dry_run else "sprites")


@Settings.needs.guard
def load_sprites(settings: FullSettings, data_root: str | Path | None = None) -> tuple[DSprites, str]:
    """All of dSprites and where it came from: the published file in ``data_root``, or drawn; a dry run draws 128."""
    if settings.dry_run:
        corners = range(0, 32, 8)
        return DSprites(
            classes=sub_grid((0, 1), (0, 5), (0, 10), corners, corners), device=settings.device
        ), "128 drawn"
    if data_root is not None and (Path(data_root) / FILE_NAME).is_file():
        return DSprites(load_dsprites_npz(Path(data_root) / FILE_NAME)[0], device=settings.device), "published file"
    return DSprites(device=settings.device), "drawn"


def some(sprites: DSprites, keep: torch.Tensor) -> DSprites:
    """The rows of ``sprites`` that ``keep`` (N,) bool marks."""
    return DSprites(
        sprites.packed[keep.to(sprites.packed.device)], classes=sprites.classes[keep], device=sprites.packed.device
    )


@Settings.needs.guard
def main_rows(settings: FullSettings, sprites: DSprites, source: str) -> list[dict[str, Any]]:
    """One row a beta and seed: what :func:`sprite_runs.measure` found, flat."""
    folder = runs_folder(settings)
    rows = []
    for beta, seed in progress([(b, s) for b in settings.betas for s in settings.seeds], "trainings"):
        run = settings.run(beta, seed, settings.steps)
        rows.append({**_row(run, sprites, sprites, folder, settings), "data": source})
    return rows


@Settings.needs.guard
def stride_rows(settings: FullSettings, sprites: DSprites, source: str) -> list[dict[str, Any]]:
    """One row a stride, beta and seed: trained on every stride-th position each way, measured on all sprites."""
    rows = []
    cells = [(k, b, s) for k in settings.strides for b in settings.betas for s in settings.side_seeds]
    for stride, beta, seed in progress(
        [(1, b, s) for b in settings.betas for s in settings.side_seeds if cells] + cells, "strides"
    ):
        seen = some(sprites, (sprites.classes[:, 3:] % stride == 0).all(dim=1))
        run = settings.run(beta, seed, settings.side_steps)
        row = _row(run, seen, sprites, runs_folder(settings) / f"stride{stride}", settings)
        rows.append({"stride": stride, **row, "data": source})
    return rows


@Settings.needs.guard
def hold_out_rows(settings: FullSettings, sprites: DSprites, source: str) -> list[dict[str, Any]]:
    """One row a variant and seed: nats an image (posterior mean) and linear probe errors, seen and held out."""
    if not settings.hold_out:
        return []
    held = held_out(factor_values(sprites.classes)[:, [1, 3, 4]])
    draw = generator(0, "evc", "hold-out images")
    pick = [torch.nonzero(mask)[:, 0] for mask in (~held, held)]
    pick = [rows[torch.randint(len(rows), (settings.n_images,), generator=draw)] for rows in pick]
    values = factor_values(sprites.classes[torch.cat(pick)])[:, [1, 3, 4]]
    seen = torch.arange(2 * settings.n_images) < settings.n_images
    rows = []
    for name, seed in progress([(v, s) for v in VARIANTS for s in settings.side_seeds], "held-out block"):
        run, folder = settings.run(VARIANTS[name], seed, settings.side_steps), runs_folder(settings) / "hold-out"
        train(run, some(sprites, ~held), folder, device=settings.device)
        model = trained(run, folder, settings.device)
        nll = [_nll(model, sprites.images(rows)) for rows in pick]
        keep = None if name == "autoencoder" else active_latents(model, sprites.images(pick[0]))
        codes = torch.cat([encoder(model, keep)(sprites.images(rows)).cpu() for rows in pick])
        probe = linear_probe(codes, values, seen)
        rows.append(
            {"kind": name, "beta": run.strength, "seed": seed, "steps": run.steps, "seen": nll[0], "held": nll[1],
             "probe_seen": float(probe[0]), "probe_held": float(probe[1]), "device": _device(settings), "data": source}
        )  # fmt: skip
    return rows


@torch.no_grad()
def _nll(model: torch.nn.Module, images: torch.Tensor) -> float:
    parts = [bernoulli_nll(model(part)[0], part) for part in images.split(500)]
    return float(torch.cat(parts).mean())


def _device(settings: FullSettings) -> str:
    return torch.cuda.get_device_name() if settings.device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"


def _row(run: Run, seen: DSprites, sprites: DSprites, folder: Path, settings: FullSettings) -> dict[str, Any]:
    """Train ``run`` on ``seen`` (or resume), measure on ``sprites``. ``followed``: scale, x and y each have a latent of
    their own, active, at |corr| > 0.9."""
    train(run, seen, folder, device=settings.device)
    model = trained(run, folder, settings.device)
    sizes = dict(n_images=settings.n_images, n_train=settings.n_train, n_eval=settings.n_eval)
    found = measure(run, model, sprites, **sizes, active_above=ACTIVE)
    kl, corr, latent = found["kl_per_latent"], found["corr"], found["latent"]
    own = len(set(latent.values())) == len(CORRELATED) and all(kl[latent[name]] > ACTIVE for name in CORRELATED)
    return {
        "beta": run.strength, "seed": run.seed, "steps": run.steps, "batch": run.batch, "trained_on": len(seen),
        "kl": found["kl"], "active": sum(nats > ACTIVE for nats in kl), "nll_mean": found["nll_mean"], "nll_sampled": found["nll_sampled"],
        **{f"corr_{name}": corr[name] for name in CORRELATED},
        "gap": sum(found["gap"].values()) / len(CORRELATED), "followed": own and min(corr.values()) > 0.9,
        "mig": found["mig"], "score": found["score"], "kls": ", ".join(f"{nats:.2f}" for nats in sorted(kl, reverse=True)),
        "device": _device(settings),
    }  # fmt: skip


def mean(rows: list[dict[str, Any]], column: str, **where: Any) -> float:
    """Mean of ``column`` over the rows that agree with ``where``."""
    values = [row[column] for row in rows if all(row[name] == value for name, value in where.items())]
    return sum(values) / len(values)


def full_values(
    main: list[dict[str, Any]], strides: list[dict[str, Any]], held: list[dict[str, Any]]
) -> dict[str, float]:
    """The ledger's value of each claim that was measured, from the tables of the full tier."""
    values: dict[str, float] = {
        "evc-1": sum(row["followed"] and 4 <= row["active"] <= 6 for row in main if row["beta"] == 4.0),
        "evc-2": mean(main, "gap", beta=4.0) - mean(main, "gap", beta=1.0),
        "evc-6": mean(main, "score", beta=4.0) - mean(main, "score", beta=1.0),
    }
    if strides:
        sparse = max(row["stride"] for row in strides)
        values["evc-3"] = mean(strides, "gap", beta=4.0, stride=1) - mean(strides, "gap", beta=4.0, stride=sparse)
    if held:
        wins = [
            mean(held, c, kind="beta-VAE") < min(mean(held, c, kind=k) for k in ("VAE", "autoencoder"))
            for c in ("held", "probe_held")
        ]
        values["evc-4"] = sum(wins)
    return values
