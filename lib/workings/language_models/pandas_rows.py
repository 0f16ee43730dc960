"""Rows as pandas reads them from text with marks between cells, which is what the authors' scorer of tables compares.

Rows that are too short are filled with None. Where the first row is longer than the header, its cells in front are names of rows, and
no row may be longer than it. Source: pandas' documented rules for ``read_csv``, and White et al. 2024 (arXiv 2406.19314), in our own words.
"""

from __future__ import annotations

import csv
import io
import itertools

Rows = tuple[list[str], list[list[str | None]]]


def separated_rows(text: str, mark: str) -> Rows:
    """Header and rows of CSV (``mark`` is a comma) or TSV; ``ValueError`` where there is none or a row is too long."""
    return _fitted([row for row in csv.reader(io.StringIO(text), delimiter=mark) if row])


def rows_below_header(text: str, mark: str, header: str) -> Rows | None:
    """The same from the first line that is ``header`` on, up to the first row that is too long; ``None`` without such a line."""
    lines = text.strip().split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip() == header), None)
    if start is None:
        return None
    rows = [row for row in csv.reader(io.StringIO("\n".join(lines[start:])), delimiter=mark) if row]
    width = max(map(len, rows[:2]))
    return _fitted(list(itertools.takewhile(lambda row: len(row) <= width, rows)))


def piped_rows(text: str) -> Rows:
    """Header and rows of Markdown: the second line is no row, whatever it says, and what stands outside the outer bars is dropped."""
    lines = text.strip().split("\n")
    names, rows = _fitted([_cells(line) for line in [lines[0], *lines[2:]] if line.strip()])
    return names[1:-1], [row[1:-1] for row in rows]


def piped_rows_with_dashes(text: str) -> Rows:
    """Markdown as it was read before 2025-04-25: the line of dashes is a row, and the first column names rows, so that it is not compared.

    A column without a name is called by its place.
    """
    names, rows = _fitted([_cells(line) for line in text.split("\n") if line.strip()])
    named = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
    return named[:1] + named[2:], [row[:1] + row[2:] for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _fitted(rows: list[list[str]]) -> Rows:
    if not rows:
        raise ValueError("there is no row.")
    names, body = rows[0], rows[1:]
    width = max(map(len, rows[:2]))
    if any(len(row) > width for row in body):
        raise ValueError("a row is longer than the first ones.")
    extra = width - len(names)
    return names, [[*row, *[None] * (width - len(row))][extra:] for row in body]
