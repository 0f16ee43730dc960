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
from workings.disentangling.metrics import ACTIVE, corr_gap, latent_factor_correlation, linear_probe
from workings.disentangling.networks import VAE
from workings.disentangling.objectives import bernoulli_nll
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd

Table = list[dict[str, Any]]

FULL_SAMPLINGS = (*SAMPLINGS, "block")
CONVERGED = 46.0
"""Nats: twice what public networks, trained to the end, lose at beta 4."""


@dataclass(frozen=True)
class FullSettings:
    """Sizes of the full tier. ``side_steps`` and ``side_seeds`` are those of the strides and of the held-out block."""

    device: str = "cuda"
    steps: int = 300_000
    networks: tuple[str, ...] = ("fc", "burgess")
    betas: tuple[float, ...] = (1.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch: int = 64
    strides: tuple[int, ...] = (2, 4, 8)  # of the 32 positions, each way
    stride_betas: tuple[float, ...] = (1.0, 4.0, 8.0, 16.0)  # of sparse positions
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
        device = device or device_here()
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
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, Table]:
    """Every table of :func:`all_tables`, at the sizes for the device that is there (:class:`FullSettings`).

    ``data_root`` is the folder of the published file, if there is one.
    """
    return all_tables(FullSettings.here(dry_run=settings.dry_run), data_root)


def all_tables(settings: FullSettings, data_root: str | Path | None = None) -> dict[str, Table]:
    """The tables of the full tier by name, trained and measured, or read where that is done.

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
    """Part of ``sprites``, equally many in three ways.

    "sparse": those at every ``stride``-th position each way; "random": as many, drawn by ``seed``; "block": those at as many
    positions side by side, in the middle.
    """
    sparse = (sprites.classes[:, 3:] % stride == 0).all(dim=1)
    if one_of(sampling, "sampling", FULL_SAMPLINGS) == "sparse":
        return some(sprites, sparse)
    if sampling == "random":
        count = int(sparse.sum())
        order = torch.randperm(len(sparse), generator=torch_generator(seed, "evc", "few pictures", count))
        return some(sprites, order[:count].sort().values)
    places = [column.unique(return_inverse=True)[1] for column in sprites.classes[:, 3:].unbind(1)]
    sides = [len(column.unique()) for column in sprites.classes[sparse, 3:].unbind(1)]
    starts = [(int(place.max()) + 1 - side) // 2 for place, side in zip(places, sides, strict=True)]
    inside = [(p >= start) & (p < start + side) for p, start, side in zip(places, starts, sides, strict=True)]
    return some(sprites, inside[0] & inside[1])


def stride_rows(settings: FullSettings, sprites: DSprites) -> Table:
    """One row per sampling, stride, beta and seed: trained on :func:`chosen` sprites, measured on all of them.

    ``gap_seen`` is the correlation gap on the sprites of the training. Stride 1 leaves nothing out; it has as many steps
    as the others. The samplings that are not sparse are trained at beta 4 only.
    """
    if not settings.strides:
        return []
    cells = [
        (sampling, stride, beta, seed)
        for sampling in FULL_SAMPLINGS
        for stride in ((1, *settings.strides) if sampling == "sparse" else settings.strides)
        for beta in (settings.stride_betas if sampling == "sparse" else (4.0,))
        for seed in settings.side_seeds
    ]
    rows = []
    for sampling, stride, beta, seed in progress(cells, "spacing of positions"):
        seen = sprites if stride == 1 else chosen(sprites, sampling, stride, seed)
        run = settings.run("fc", beta, seed, settings.side_steps)
        row = _row(run, seen, sprites, runs_folder(settings) / f"{sampling}{stride}", settings)
        row.setdefault("gap_seen", row["gap"])
        rows.append({"sampling": sampling, "stride": stride, **row})
    return rows


@torch.no_grad()
def _gap(model: VAE, sprites: DSprites, n_images: int, seed: int) -> float:
    """Correlation gap, mean over scale, x and y, on random ``sprites``; latents that are not active on them count as 0."""
    indices = torch.randint(len(sprites), (n_images,), generator=torch_generator(seed, "evc", "seen pictures"))
    images = sprites.images(indices)
    codes = encoder(model, active_latents(model, images))(images).cpu()
    return float(
        corr_gap(latent_factor_correlation(codes, factor_values(sprites.classes[indices])[:, [1, 3, 4]])).mean()
    )


def hold_out_rows(settings: FullSettings, sprites: DSprites) -> Table:
    """One row per network and seed: nats an image (posterior mean) and linear probe errors, seen and held out.

    Here the autoencoder keeps the noise, whose width it is free to make as small as it likes.
    """
    if not settings.hold_out:
        return []
    held = held_out_block(factor_values(sprites.classes)[:, [1, 3, 4]])
    draw = torch_generator(0, "evc", "hold-out images")
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
        if seen is not sprites:
            row["gap_seen"] = _gap(model, seen, settings.n_images, run.seed)
        measured.put(run.name, row)
    return dict(measured.get(run.name))


def mean(rows: Table, column: str, **where: Any) -> float:
    """Mean of ``column`` over the rows that agree with ``where``."""
    values = [row[column] for row in rows if all(row[name] == value for name, value in where.items())]
    return sum(values) / len(values)


def full_values(tables: dict[str, Table]) -> dict[str, dict[str, Any]]:
    """What the ledger is told of each claim that was measured: the arguments of ``check``, from the ``tables`` of :func:`run`.

    Differences are paired over seeds, with their standard deviation. While the fully connected networks at beta 4 lose
    more than :data:`CONVERGED` nats, no run settles a claim.
    """
    main, strides, held = (tables[name] for name in ("main", "strides", "corner"))
    nll = mean(main, "nll_mean", beta=4.0)
    small = (
        None
        if nll <= CONVERGED
        else f"at beta 4 the networks still lose {nll:.0f} nats, where public ones lose about 23"
    )
    difference = lambda rows, column, first, second: {
        **_paired(_by_seed(rows, column, **first), _by_seed(rows, column, **second)),
        "too_small": small,
    }
    met = [row["followed"] and 4 <= row["active"] <= 6 for row in main if row["beta"] == 4.0]
    values: dict[str, dict[str, Any]] = {
        "evc-1": {"value": sum(met), "seeds": sorted(_by_seed(main, "gap", beta=4.0)), "too_small": small},
        "evc-2": difference(main, "gap", {"beta": 4.0}, {"beta": 1.0}),
        "evc-6": difference(main, "score", {"beta": 4.0}, {"beta": 1.0}),
    }
    if strides:
        last = max(row["stride"] for row in strides)
        sparse = lambda stride: {"beta": 4.0, "sampling": "sparse", "stride": stride}
        values["evc-3"] = difference(strides, "gap", sparse(1), sparse(last))
        values["evc-7"] = difference(strides, "gap_seen", sparse(last) | {"sampling": "block"}, sparse(last))
        best = best_betas(strides)
        if {1, 2, 4} <= set(best):
            holds = best[2] >= best[1] and best[4] > best[1]
            values["evc-8"] = {"value": holds, "seeds": sorted({row["seed"] for row in strides}), "too_small": small}
    if held:
        better = [
            mean(held, c, kind="beta-VAE") < min(mean(held, c, kind=k) for k in ("VAE", "autoencoder"))
            for c in ("held", "probe_held")
        ]
        values["evc-4"] = {"value": sum(better), "seeds": sorted({row["seed"] for row in held}), "too_small": small}
    return values


def best_betas(strides: Table) -> dict[int, float]:
    """Stride -> the beta with the largest mean correlation gap, of the sparse samplings; empty where one beta was trained."""
    sparse = [row for row in strides if row["sampling"] == "sparse"]
    betas = sorted({row["beta"] for row in sparse})
    gap = lambda stride, beta: mean(sparse, "gap", stride=stride, beta=beta)
    return {k: max(betas, key=lambda b: gap(k, b)) for k in sorted({r["stride"] for r in sparse}) if len(betas) > 1}


def _by_seed(rows: Table, column: str, **where: Any) -> dict[int, float]:
    return {row["seed"]: row[column] for row in rows if all(row[name] == value for name, value in where.items())}


def _paired(first: dict[int, float], second: dict[int, float]) -> dict[str, Any]:
    seeds = sorted(first.keys() & second.keys())
    value, spread = mean_and_sd(first[seed] - second[seed] for seed in seeds)
    return {"value": value, "spread": spread if len(seeds) > 1 else None, "seeds": seeds}
