"""What the page shows of a full run: its tables (see :func:`workings.chapters.scan.full.run`) as grids of texts, and whether it counts."""

from __future__ import annotations

import textwrap

import numpy as np

from workings.chapters.scan.full import (
    LOSS_LEVEL,
    NAMED_LEVEL,
    PROTOCOL_STEPS,
    READER_LEVEL,
    Tables,
    changes,
    too_small,
)
from workings.ledger.display import Grid
from workings.statistics import mean_and_sd

DATA = {"sprites": "Coloured dSprites drawn here", "shapes3d": "3D Shapes"}
KINDS = {
    "forward": "SCAN",
    "reversed": "KL reversed",
    "main text": "the main text's weights",
    "entangled": "entangled vision",
    "jmvae": "JMVAE",
}
OPERATORS = {"and": "AND", "in_common": "IN COMMON", "ignore": "IGNORE"}


def standing(tables: Tables) -> str:
    """Whether a run with ``tables`` is there, on what, and whether it decides anything."""
    runs = tables.get("runs")
    if not runs:
        return "No full run is recorded."
    first, seeds = runs[0], {row["seed"] for row in runs}
    words = f"{DATA[first['data']]}, {first['pictures']:,} pictures of {first['size']} x {first['size']} pixels, "
    words += f"{len(seeds)} seeds, {first['steps']:,} steps a vision model ({first['device']}; the protocol has {PROTOCOL_STEPS:,})."
    why = too_small(first["steps"], tables)
    counts = "It counts." if why is None else f"It decides nothing: {why}."
    return "\n".join(textwrap.fill(part, 72) for part in (words, counts))


def grids(tables: Tables) -> list[Grid]:
    """What was measured, as means and standard deviations over the seeds; nothing where no run is recorded."""
    if not tables.get("runs"):
        return []
    return [runs_grid(tables), reader_grid(tables), operators_grid(tables), vision_grid(tables)]


def runs_grid(tables: Tables) -> Grid:
    """Accuracy, diversity and naming, a row per kind of symbols' network."""
    rows = []
    for kind in dict.fromkeys(row["kind"] for row in tables["runs"]):
        own = [row for row in tables["runs"] if row["kind"] == kind]
        name = KINDS.get(kind, f"{kind} pictures per value")
        rows.append((name, *(_over([row[key] for row in own]) for key in ("accuracy", "diversity", "named"))))
    head = (
        "symbols' network",
        "accuracy",
        "diversity KL (nats, lower is more various)",
        "named rightly, worst attribute",
    )
    return Grid("Pictures drawn for symbols, and pictures named: mean ± standard deviation over the seeds", head, rows)


def reader_grid(tables: Tables) -> Grid:
    """How well each attribute is read, a row per attribute."""
    kinds = [of for of in dict.fromkeys(row["of"] for row in tables["reader"]) if of != "pictures"]
    rows = []
    for name in dict.fromkeys(row["attribute"] for row in tables["reader"]):
        cells = []
        for of in ("pictures", *kinds):
            own = [row for row in tables["reader"] if (row["of"], row["attribute"]) == (of, name)]
            cells.append(_over([row["accuracy"] for row in own]))
            cells += [] if of == "pictures" else [_over([row["named"] for row in own])]
        rows.append((name, *cells))
    columns = [
        words for kind in kinds for words in (f"drawn again, {kind} vision", f"named from its code, {kind} vision")
    ]
    caption = f"Share read as the picture shows, on pictures kept from the reader's training (asked: {READER_LEVEL} of real ones)"
    return Grid(caption, ("attribute", "real pictures", *columns), rows)


def operators_grid(tables: Tables) -> Grid:
    """Both scores of the operators' results, beside the symbols of the same results."""
    rows = []
    for operator in dict.fromkeys(row["operator"] for row in tables["operators"]):
        own = [row for row in tables["operators"] if row["operator"] == operator]
        keys = ("accuracy", "own", "diversity", "own_diversity")
        rows.append((OPERATORS[operator], *(_over([row[key] for row in own]) for key in keys)))
    head = ("operator", "accuracy", "of its own symbol", "diversity KL", "of its own symbol")
    return Grid("Operators' results and the symbols of the same results", head, rows)


def vision_grid(tables: Tables) -> Grid:
    """What says whether the vision models have levelled, a row per kind."""
    rows = []
    for kind, (loss, named) in changes(tables["vision"]).items():
        mean = lambda key, kind=kind: np.mean([row[key] for row in tables["vision"] if row["kind"] == kind])
        level = loss <= LOSS_LEVEL and named <= NAMED_LEVEL
        told = [f"{mean('loss_half_way'):.1f} to {mean('loss'):.1f} ({loss:.1%})"]
        told.append(f"{mean('named_half_way'):.3f} to {mean('named'):.3f} ({100 * named:.1f} points)")
        rows.append((kind, *told, "yes" if level else "no"))
    head = ("vision", "loss above the floor (nats), half way to end", "named rightly, half way to end", "levelled")
    caption = f"Levelled: a change of at most {LOSS_LEVEL:.0%} in the loss and {100 * NAMED_LEVEL:.0f} points in naming"
    return Grid(caption, head, rows)


def _over(values: list[float | None]) -> str:
    """Mean and deviation of ``values`` in three decimals, as far as they are known."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean, sd = mean_and_sd(known)
    return f"{mean:.3f}" if len(known) == 1 else f"{mean:.3f} ± {sd:.3f}"
