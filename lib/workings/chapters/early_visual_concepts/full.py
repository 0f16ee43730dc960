"""The full tier of the chapter `early_visual_concepts`: all of dSprites at 64 x 64 pixels.

:func:`run` returns every table; the notebook and ``workings run`` call nothing else. The main comparison (beta 1 and 4) is
made with the fully connected and with the convolutional network; then follow the spacing of positions, at equal
numbers of pictures, and the held-out block. Without a GPU there are fewer steps; every row says how many it had.

A run may be stopped at any moment: trainings resume from checkpoints in ``runs/sprites/`` (``WORKINGS_RUNS`` names
another ``runs``), at most 500 steps before the place where they were stopped, and what was measured is not measured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workings import paths
from workings.chapters.early_visual_concepts.demo import active_latents, held_out_block
from workings.chapters.early_visual_concepts.settings import HOLD_OUT_BETAS, SAMPLINGS, Settings
from workings.chapters.sprite_runs import CORRELATED, Run, encoder, measure, train, trained
from workings.checks import one_of
from workings.disentangling.dsprites_data import DSprites, factor_values, sub_grid
from workings.disentangling.dsprites_file import FILE_NAME, load_dsprites_npz
from workings.disentangling.metrics import ACTIVE, linear_probe
from workings.disentangling.objectives import bernoulli_nll
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import generator

Table = list[dict[str, Any]]


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier. ``side_steps`` and ``side_seeds`` are those of the strides and of the held-out block."""

    device: str = "cuda"
    steps: int = 300_000
    networks: tuple[str, ...] = ("fc", "burgess")
    betas: tuple[float, ...] = (1.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch: int = 64
    strides: tuple[int, ...] = (4, 8)  # of the 32 positions, each way
    stride_betas: tuple[float, ...] = (4.0, 8.0)
    hold_out: bool = True
    side_seeds: tuple[int, ...] = (0, 1, 2)
    side_steps: int = 50_000
    n_images: int = 3000
    n_train: int = 400
    n_eval: int = 200
    dry_run: bool = False

    @classmethod
    def here(cls, *, dry_run: bool = False, device: str | None = None) -> FullSettings:
        """The sizes for this machine: without a GPU 30,000 steps, one stride, and 10,000 steps at the side."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dry_run:
            return cls(
                device=device, steps=2, seeds=(0, 1), batch=16, strides=(16,), stride_betas=(4.0,), side_seeds=(0,), side_steps=2, n_images=64,
                n_train=40, n_eval=20, dry_run=True,
            )  # fmt: skip
        if device == "cpu":
            return cls(device=device, steps=30_000, strides=(8,), stride_betas=(4.0,), side_steps=10_000)
        return cls(device=device)

    def run(self, network: str, beta: float, seed: int, steps: int) -> Run:
        """``network`` "fc" with Adagrad at 1e-2, as for the paper's 2D shapes, or "burgess" with Adam at 5e-4."""
        rate = {"fc": 1e-2, "burgess": 5e-4}[network]
        return Run(network, "beta", beta, steps, seed, batch=self.batch, learning_rate=rate)


@Settings.needs.guard
def run(settings: FullSettings, data_root: str | Path | None = None) -> dict[str, Table]:
    """Every table of the full tier, by name; ``data_root`` is the folder of the published file, if there is one.

    "main" and "conv": one row per beta and seed, fully connected and convolutional. "strides": one per sampling, beta
    and seed. "corner": one per network of the held-out block and seed. A table that is not planned is empty.
    """
    sprites, source = load_sprites(settings, data_root)
    tables = {
        name: main_rows(settings, sprites, network) if network in settings.networks else []
        for name, network in (("main", "fc"), ("conv", "burgess"))
    }
    tables["strides"] = stride_rows(settings, sprites)
    tables["corner"] = hold_out_rows(settings, sprites)
    return {name: [{**row, "data": source} for row in rows] for name, rows in tables.items()}


def runs_folder(settings: FullSettings) -> Path:
    """Where checkpoints are kept; a dry run keeps its own."""
    runs = paths.runs_root()
    return runs / ("sprites-dry" if settings.dry_run else "sprites")


def _measured(folder: Path, settings: FullSettings, sprites: DSprites) -> Store:
    """What was measured of the trainings in ``folder``, by the name of the run."""
    sizes = {name: getattr(settings, name) for name in ("n_images", "n_train", "n_eval")}
    return Store(folder / f"early-measured-{'-'.join(map(str, sizes.values()))}.jsonl", sizes | {"on": len(sprites)})


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
    """The rows of ``sprites`` that ``keep``, (N,) bool or row numbers, names."""
    return DSprites(
        sprites.packed[keep.to(sprites.packed.device)], classes=sprites.classes[keep], device=sprites.packed.device
    )


def main_rows(settings: FullSettings, sprites: DSprites, network: str) -> Table:
    """One row per beta and seed: what :func:`sprite_runs.measure` found, flat."""
    cells = [(b, s) for b in settings.betas for s in settings.seeds]
    return [
        _row(settings.run(network, beta, seed, settings.steps), sprites, sprites, runs_folder(settings), settings)
        for beta, seed in progress(cells, f"trainings, {network}")
    ]


def chosen(sprites: DSprites, sampling: str, stride: int, seed: int) -> DSprites:
    """Part of ``sprites``: those at every ``stride``-th position each way ("sparse"), or as many drawn by ``seed`` ("random")."""
    sparse = (sprites.classes[:, 3:] % stride == 0).all(dim=1)
    if one_of(sampling, "sampling", SAMPLINGS) == "sparse":
        return some(sprites, sparse)
    count = int(sparse.sum())
    order = torch.randperm(len(sparse), generator=generator(seed, "evc", "few pictures", count))
    return some(sprites, order[:count].sort().values)


def stride_rows(settings: FullSettings, sprites: DSprites) -> Table:
    """One row per sampling, stride, beta and seed: trained on :func:`chosen` sprites, measured on all of them.

    Stride 1 is "sparse" with nothing left out; it has as many steps as the others.
    """
    strides = ([("sparse", 1)] if settings.strides else []) + [(s, k) for k in settings.strides for s in SAMPLINGS]
    cells = [(*way, beta, seed) for way in strides for beta in settings.stride_betas for seed in settings.side_seeds]
    rows = []
    for sampling, stride, beta, seed in progress(cells, "spacing of positions"):
        seen = sprites if stride == 1 else chosen(sprites, sampling, stride, seed)
        run = settings.run("fc", beta, seed, settings.side_steps)
        row = _row(run, seen, sprites, runs_folder(settings) / f"{sampling}{stride}", settings)
        rows.append({"sampling": sampling, "stride": stride, **row})
    return rows


def hold_out_rows(settings: FullSettings, sprites: DSprites) -> Table:
    """One row per network and seed: nats an image (posterior mean) and linear probe errors, seen and held out.

    Here the autoencoder keeps the noise, whose width it is free to make as small as it likes.
    """
    if not settings.hold_out:
        return []
    held = held_out_block(factor_values(sprites.classes)[:, [1, 3, 4]])
    draw = generator(0, "evc", "hold-out images")
    pick = [torch.nonzero(mask)[:, 0] for mask in (~held, held)]
    pick = [rows[torch.randint(len(rows), (settings.n_images,), generator=draw)] for rows in pick]
    values = factor_values(sprites.classes[torch.cat(pick)])[:, [1, 3, 4]]
    seen = torch.arange(2 * settings.n_images) < settings.n_images
    folder, pictures, rows = runs_folder(settings) / "hold-out", some(sprites, ~held), []
    measured = _measured(folder, settings, sprites)
    for name, seed in progress([(v, s) for v in HOLD_OUT_BETAS for s in settings.side_seeds], "held-out block"):
        run = settings.run("fc", HOLD_OUT_BETAS[name], seed, settings.side_steps)
        if not measured.done(run.name):
            train(run, pictures, folder, device=settings.device)
            model = trained(run, folder, settings.device)
            nll = [_nll(model, sprites.images(part)) for part in pick]
            keep = None if name == "autoencoder" else active_latents(model, sprites.images(pick[0]))
            codes = torch.cat([encoder(model, keep)(sprites.images(part)).cpu() for part in pick])
            probe = linear_probe(codes, values, seen)
            found = {"seen": nll[0], "held": nll[1], "probe_seen": float(probe[0]), "probe_held": float(probe[1])}
            measured.put(run.name, found | {"device": _device(settings)})
        rows.append({"kind": name, "beta": run.strength, "seed": seed, "steps": run.steps, **measured.get(run.name)})
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
    measured = _measured(folder, settings, sprites)
    if not measured.done(run.name):
        train(run, seen, folder, device=settings.device)
        model = trained(run, folder, settings.device)
        sizes = dict(n_images=settings.n_images, n_train=settings.n_train, n_eval=settings.n_eval)
        found = measure(run, model, sprites, **sizes, active_above=ACTIVE)
        kl, corr, latent = found["kl_per_latent"], found["corr"], found["latent"]
        own = len(set(latent.values())) == len(CORRELATED) and all(kl[latent[name]] > ACTIVE for name in CORRELATED)
        row = {
            "beta": run.strength, "seed": run.seed, "steps": run.steps, "batch": run.batch, "trained_on": len(seen),
            "kl": found["kl"], "active": sum(nats > ACTIVE for nats in kl), "nll_mean": found["nll_mean"], "nll_sampled": found["nll_sampled"],
            **{f"corr_{name}": corr[name] for name in CORRELATED},
            "gap": sum(found["gap"].values()) / len(CORRELATED), "followed": own and min(corr.values()) > 0.9,
            "mig": found["mig"], "score": found["score"], "kls": ", ".join(f"{nats:.2f}" for nats in sorted(kl, reverse=True)),
            "device": _device(settings),
        }  # fmt: skip
        measured.put(run.name, row)
    return dict(measured.get(run.name))


def mean(rows: Table, column: str, **where: Any) -> float:
    """Mean of ``column`` over the rows that agree with ``where``."""
    values = [row[column] for row in rows if all(row[name] == value for name, value in where.items())]
    return sum(values) / len(values)


def full_values(tables: dict[str, Table]) -> dict[str, float]:
    """The ledger's value of each claim that was measured, from the ``tables`` of :func:`run`."""
    main, strides, held = (tables[name] for name in ("main", "strides", "corner"))
    values: dict[str, float] = {
        "evc-1": sum(row["followed"] and 4 <= row["active"] <= 6 for row in main if row["beta"] == 4.0),
        "evc-2": mean(main, "gap", beta=4.0) - mean(main, "gap", beta=1.0),
        "evc-6": mean(main, "score", beta=4.0) - mean(main, "score", beta=1.0),
    }
    if strides:
        farthest = max(row["stride"] for row in strides)
        gap = lambda stride: mean(strides, "gap", beta=4.0, sampling="sparse", stride=stride)
        values["evc-3"] = gap(1) - gap(farthest)
    if held:
        better = [
            mean(held, c, kind="beta-VAE") < min(mean(held, c, kind=k) for k in ("VAE", "autoencoder"))
            for c in ("held", "probe_held")
        ]
        values["evc-4"] = sum(better)
    return values
