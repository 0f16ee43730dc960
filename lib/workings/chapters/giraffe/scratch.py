"""The full tier (a) of the chapter `giraffe`: its experiments again from scratch, longer and wider, without downloads.

L = 256 in place of 64. With a GPU: width 256, four blocks, 20,000 steps (the sizes planned). Without one: width 128, one
block for the lines and two for the characters, for about a quarter of an hour on two cores. Every row says which.
The first steps are at L/4, a quarter of the lines: retrieval among a hundred lines is hard to learn from nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.giraffe import demo as study
from workings.chapters.giraffe.settings import RANDOMISED, Settings
from workings.chapters.giraffe.values import (
    LEARNT,
    base_accuracy,
    cannot_tell,
    layout_values,
    over_seeds,
    retrieval_values,
    window_holds,
)
from workings.runs.parallel import thread_map
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here

PARTS = ("lines", "distances", "layouts", "characters")
_RANGES = {"at_1": (0.5, 1.0), "at_3": (2.0, 3.0), "at_4": (3.0, 4.0)}  # of positions, in units of L


def scratch_settings(*, dry_run: bool = False, device: str | None = None) -> Settings:
    """The planned sizes where there is a GPU, smaller ones on a CPU; ``dry_run`` a few steps of a tiny model.

    Base 1000 lets 56% of the frequencies complete a turn within 256 tokens, as base 100 does within 64. There are 1,100
    keys, because a sequence of 8L = 2,048 tokens holds a thousand lines.
    """
    device = device or device_here()
    if dry_run:
        return Settings(
            seeds=(0, 1), length=32, base=30.0, width=16, mlp=16, n_keys=130, warm_steps=2, steps=4, batch=2, queries=4, tune_steps=2,
            tune_batch=2, layout_steps=2, sequences=2, zero_shot=("RoPE", "linear 4"), tuned=("linear 4", RANDOMISED),
            scales=(4, 8), char_steps=3, char_batch=2, char_tune_steps=2, char_tune_batch=2, char_windows=2,
            char_sentences=60, char_tuned=("RoPE", RANDOMISED), device=device, dry_run=True,
        )  # fmt: skip
    common = dict(
        length=256, base=1000.0, n_keys=1100, queries=16, gamma=256.0, device=device,
        char_tuned=("RoPE", "linear 4", "NTK 4", "truncated", RANDOMISED),
    )  # fmt: skip
    if device == "cpu":
        return Settings(
            width=128, mlp=256, warm_steps=600, steps=600, batch=16, lr=3e-3, tune_steps=100, tune_batch=8, layout_steps=100, sequences=16,
            tune_lr=1e-3, char_steps=500, char_batch=8, char_lr=3e-3, char_tune_steps=80, char_tune_batch=4, char_windows=16, **common,
        )  # fmt: skip
    return Settings(
        width=256, heads=4, mlp=512, layers=4, warm_steps=4_000, warm_lr=1e-3, steps=16_000, batch=32, lr=1e-3, tune_steps=500, tune_batch=16, tune_lr=3e-4,
        layout_steps=500, sequences=64, char_layers=4, char_steps=5_000, char_batch=32, char_lr=1e-3, char_tune_steps=300,
        char_tune_batch=16, char_windows=128, char_sentences=60_000, **common,
    )  # fmt: skip


@Settings.needs.guard
def scratch_tables(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """The tables of :data:`PARTS`; what an earlier, interrupted run finished (under ``runs/``) is not computed again."""
    folder = paths.runs_root() / "giraffe" / ("dry" if settings.dry_run else f"scratch-{settings.device}")
    store = Store(folder / "cells.jsonl", settings)
    return run_jobs(settings, store, folder, watch=lambda jobs: progress(jobs, "cells"))


def all_jobs(settings: Settings) -> list[tuple[str, int, str]]:
    """(part, seed, what to do): all the work, in order."""
    s = settings
    jobs = [("lines", seed, name) for name in ("none", "window L", *s.tuned) for seed in s.seeds]
    jobs += [(part, seed, "all") for part in ("distances", "layouts") for seed in s.seeds]
    return jobs + [("characters", seed, name) for name in ("none", *s.char_tuned) for seed in s.seeds]


def run_jobs(
    settings: Settings, store: Store, folder: Path, watch: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> dict[str, list[dict[str, Any]]]:
    """Every cell through ``store``, with the trained models in ``folder``; then the tables, means over seeds.

    On a CPU two cells are computed at a time; each draws from streams of its own, so the order changes nothing.
    """
    jobs = all_jobs(settings)
    missing = [job for job in jobs if not store.done(_key(job))]
    lock = threading.Lock()
    bases: dict[tuple[str, int], study.TrainedModel] = {}

    def train(which: tuple[str, int]) -> None:
        make = study.trained_character_model if which[0] == "characters" else study.trained_lines_model
        base = make(which[1], settings, folder / f"{which[0]}-{which[1]}.pt", every=100)
        with lock:
            bases[which] = base

    def compute(job: tuple[str, int, str]) -> None:
        rows = _rows_of(bases[_model(job)], job, settings)
        with lock:
            store.put(_key(job), rows)

    wanted = list(dict.fromkeys(_model(job) for job in missing))
    for work, items in ((train, wanted), (compute, missing)):
        at_once = 2 if settings.device == "cpu" else 1
        for group in watch([items[i : i + at_once] for i in range(0, len(items), at_once)]):
            thread_map(work, group, label=None)
    rows = {part: [row for job in jobs if job[0] == part for row in store.get(_key(job))] for part in PARTS}
    values, note = claim_values(rows, settings)
    return {
        "values": values,
        "note": note,
        "lines": lines_table(rows["lines"], settings),
        "distances": distances_table(rows["distances"], settings),
        "layouts": layouts_table(rows["layouts"], settings),
        "characters": characters_table(rows["characters"], settings),
    }


def _key(job: tuple[str, int, str]) -> str:
    return "/".join(map(str, job))


def _model(job: tuple[str, int, str]) -> tuple[str, int]:
    return ("characters" if job[0] == "characters" else "lines"), job[1]


def _rows_of(base: study.TrainedModel, job: tuple[str, int, str], settings: Settings) -> list[dict[str, Any]]:
    part, _, name = job
    if part == "characters":
        return study.fine_tuned_perplexity(base, name, settings)
    if part == "distances":
        return study.retrieval_by_distance(base, settings)
    if part == "layouts":
        return study.compare_layouts(base, settings)["rows"]
    if name == "none":
        return study.retrieval_rows(base, settings.zero_shot, settings)
    if name == "window L":
        return study.windowed_retrieval(base, settings)
    return study.fine_tuned_retrieval(base, name, settings)


def claim_values(
    rows: dict[str, list[dict[str, Any]]], settings: Settings
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows ``claim``, ``value``, ``sd``, ``seeds``, ``too_small``, and a note; no rows where the models did not learn.

    A run decides only if the trained models answer at least :data:`~workings.chapters.giraffe.values.LEARNT` of their
    questions at L. A dry run hands all over, to go through every door.
    """
    learnt = base_accuracy(rows["lines"])
    said = f"From scratch on {settings.device}: the trained models answer {learnt:.2f} of their questions at L"
    if learnt < LEARNT and not settings.dry_run:
        return [], [{"message": f"{said}, fewer than {LEARNT}: the run is too small to decide anything."}]
    text = with_spans(rows["characters"], near=(0.5, 1.0), far=(3.0, 4.0))
    values = {**retrieval_values(rows["lines"], settings), **layout_values(rows["layouts"])}
    seeds = len(settings.seeds)
    open_for = cannot_tell(rows["lines"])
    table = [
        {"claim": name, "value": value, "sd": sd, "seeds": seeds, "too_small": open_for.get(name)}
        for name, (value, sd) in values.items()
    ]
    holds = window_holds(text, rows["lines"])
    table.append({"claim": "gir-9", "value": holds, "sd": None, "seeds": seeds, "too_small": None})
    return table, [{"message": f"{said}."}]


def with_spans(rows: Iterable[dict[str, Any]], **spans: tuple[float, float]) -> list[dict[str, Any]]:
    """Rows of perplexity with one more number for each of ``spans``: perplexity over positions start L to stop L."""
    return [{**row, **{name: study.perplexity_at(row, *span) for name, span in spans.items()}} for row in rows]


def _sizes(settings: Settings, task: str) -> dict[str, Any]:
    characters = task == "characters"
    return {
        "L": settings.length, "width": settings.width, "layers": settings.char_layers if characters else settings.layers,
        "steps": settings.char_steps if characters else settings.warm_steps + settings.steps, "seeds": len(settings.seeds), "device": settings.device,
    }  # fmt: skip


def lines_table(rows: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One row per (train, eval): accuracy ``at_1`` .. ``at_8`` times L and its spread ``sd_1`` ..; None where not measured."""
    table = []
    for train, name in dict.fromkeys((row["train"], row["eval"]) for row in rows):
        out: dict[str, Any] = {"train": train, "eval": name}
        for multiple in settings.multiples:
            try:
                stats = over_seeds(rows, "accuracy", train=train, eval=name, multiple=multiple)
            except LookupError:
                stats = (None, None)
            out[f"at_{multiple}"], out[f"sd_{multiple}"] = stats
        table.append({**out, **_sizes(settings, "lines")})
    return table


def distances_table(rows: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One row per bin of distances, ``from`` and ``to`` in units of L: unscaled accuracy at 4L, and its spread."""
    table = []
    for start, stop in sorted({(row["from"], row["to"]) for row in rows}):
        mean, spread = over_seeds(rows, "accuracy", **{"from": start})
        row = {"eval": "RoPE", "from": start, "to": stop, "accuracy": mean, "sd": spread}
        table.append({**row, **_sizes(settings, "lines")})
    return table


def layouts_table(rows: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One row per (kind, layout): accuracy at L ``before`` and ``after`` fine-tuning, with spreads."""
    table = []
    for kind, layout in study.LAYOUT_CASES:
        out: dict[str, Any] = {"kind": kind, "layout": layout}
        for value in ("before", "after"):
            out[value], out[f"sd_{value}"] = over_seeds(rows, value, kind=kind, layout=layout)
        table.append({**out, "tune_steps": settings.layout_steps, **_sizes(settings, "lines")})
    return table


def characters_table(rows: list[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """One row per (train, eval): perplexity in positions L/2 to L (``at_1``), 2L to 3L (``at_3``), 3L to 4L (``at_4``)."""
    measured = with_spans(rows, **_RANGES)
    table = []
    for train, name in dict.fromkeys((row["train"], row["eval"]) for row in rows):
        out: dict[str, Any] = {"train": train, "eval": name}
        for key in _RANGES:
            out[key], out[f"sd_{key[3:]}"] = over_seeds(measured, key, train=train, eval=name)
        table.append({**out, **_sizes(settings, "characters")})
    return table
