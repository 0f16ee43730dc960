"""How the recorded tables of the chapter `giraffe` are shown: a grid for each table that has rows, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workings.ledger.display import Grid

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]


def grids(tables: Tables) -> list[Grid]:
    """One grid for each table of the full run that has rows; sizes that all rows share stand in its caption."""
    return [make(tables[name]) for name, make in _GRIDS.items() if tables.get(name)]


def position_curves(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Perplexity of the table ``real text`` by the last position of each block, for each scaling."""
    end = "to_"
    return {row["eval"]: {int(key[len(end) :]): row[key] for key in row if key.startswith(end)} for row in rows}


def number(value: float | None, spread: float | None = None) -> str:
    """Two places, with the spread where there is one, and a dash where nothing was measured."""
    if value is None:
        return "–"
    return f"{value:.2f}" + (f" ± {spread:.2f}" if spread is not None else "")


def _sizes(row: Row) -> str:
    return (
        f"L = {row['L']}, width {row['width']}, blocks {row['layers']}, {row['steps']:,} steps, {row['seeds']} seeds, {row['device']}"
    )  # fmt: skip


def _at(row: Row, *multiples: int) -> list[str]:
    return [number(row[f"at_{m}"], row[f"sd_{m}"]) for m in multiples]


def _lines(rows: Sequence[Row]) -> Grid:
    body = [[row["train"], row["eval"], *_at(row, 1, 2, 4, 8)] for row in rows]
    return Grid(
        f"From scratch: retrieval accuracy ({_sizes(rows[0])})",
        ["fine-tuned", "read as", "at L", "2L", "4L", "8L"],
        body,
    )


def _distances(rows: Sequence[Row]) -> Grid:
    body = [[f"{row['from']:g} to {row['to']:g}", number(row["accuracy"], row["sd"])] for row in rows]
    return Grid("From scratch: unscaled accuracy at 4L by distance in units of L", ["distance", "accuracy"], body)


def _layouts(rows: Sequence[Row]) -> Grid:
    body = [
        [row["kind"], row["layout"], *(number(row[c], row[f"sd_{c}"]) for c in ("before", "after"))] for row in rows
    ]
    caption = f"From scratch: accuracy at L before and after {rows[0]['tune_steps']} steps in each layout"
    return Grid(caption, ["kind", "layout", "before", "after"], body)


def _characters(rows: Sequence[Row]) -> Grid:
    body = [[row["train"], row["eval"], *_at(row, 1, 3, 4)] for row in rows]
    return Grid(
        f"From scratch: perplexity of text ({_sizes(rows[0])})",
        ["fine-tuned", "read as", "L/2 to L", "2L to 3L", "3L to 4L"],
        body,
    )


def _language_model(rows: Sequence[Row]) -> Grid:
    body = [
        [row["train"], row["eval"], *(str(row[c]) for c in ("lines", "tokens")), number(row["accuracy"]), str(row["cases"])]
        for row in rows
    ]  # fmt: skip
    caption = f"{rows[0]['model']} on LongChat-Lines ({rows[0]['device']})"
    return Grid(caption, ["fine-tuned", "read as", "lines", "tokens", "accuracy", "cases"], body)


def _real_text(rows: Sequence[Row]) -> Grid:
    first = rows[0]
    body = [
        [row["eval"], number(row["within"]), number(row["beyond"]), number(row["loss"], row["sd_loss"])] for row in rows
    ]
    caption = (
        f"{first['model']}: perplexity on {first['texts']} texts of {first['tokens']:,} tokens, trained on {first['L']:,} "
        "(last column: nats per token beyond L more than with a restart at L, mean and spread over the texts)"
    )
    return Grid(caption, ["read as", "within L", "beyond L", "against a restart"], body)


_GRIDS = {
    "lines": _lines, "distances": _distances, "layouts": _layouts, "characters": _characters,
    "language model": _language_model, "real text": _real_text,
}  # fmt: skip
