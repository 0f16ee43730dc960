"""Graders of LiveBench's data-analysis tasks: column type, join, reformatting; and the small table readers they need.

Official rules in our own words, and a strict rule of this book's; see
:mod:`workings.language_models.grading_reasoning`. Source: White et al. 2024 (arXiv 2406.19314) and the authors' code.
"""

from __future__ import annotations

import ast
import csv
import html.parser
import io
import itertools
import json
import math
import re
import warnings
from typing import Any, NamedTuple

from workings.checks import one_of
from workings.language_models.answer_extraction import (
    canonical,
    fenced_blocks,
    final_answer,
    has_box,
    last_boxed,
    solution_tags,
)
from workings.language_models.grading import Grade, OfficialError, grader

FORMATS = ("csv", "tsv", "json", "jsonl", "html", "markdown")
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_MISSING = {"", "nan", "null", "none", "na", "n/a", "<na>"}
MOST_CELLS = 1_000_000
"""Cells of a table that are filled in: records that each have keys of their own ask for rows times keys, which nobody wrote."""


class _TooManyCells(Exception):
    """A text of records that would make a table of more than :data:`MOST_CELLS` cells."""


class Table(NamedTuple):
    """Column names, and rows of cells as numbers (float, NaN where missing) or stripped text."""

    columns: list[str]
    rows: list[list[float | str]]


@grader
def score_cta(truth: str, answer: str, *, rules: str, strict: bool) -> Grade:
    """The type of a table's column, 0 or 1.

    Without case and without anything but letters, digits and underscores, the answer (a box's content, if there is one) equals the
    truth or *ends with* it. Strict: the final answer equals the truth.
    """
    if not isinstance(truth, str) or not truth.strip():
        raise ValueError(f"truth must be a text that is not empty, got {truth!r}.")
    if strict:
        found, place = final_answer(answer)
        return Grade(float(canonical(found) == canonical(truth)), f"strict: the {place or 'text'}", found)
    clean = lambda text: re.sub(r"\W", "", text.lower())
    found, rule = answer, "whole answer"
    if "\\boxed{" in answer:
        boxed = last_boxed(answer)
        if boxed is None:
            raise OfficialError("a box without balanced braces")
        found, rule = boxed.replace("\\text{", "").replace("}", "").replace("\\", ""), "box"
    gold, said = clean(truth), clean(found)
    if said == gold:
        return Grade(1.0, f"{rule}, equal", found)
    if gold and said.endswith(gold):
        return Grade(1.0, f"{rule}, ends with the truth", found)
    return Grade(0.0, f"{rule}, differs", found)


def python_literal(text: str) -> Any:
    """The Python or JSON value that ``text`` spells; ``None`` where it spells none. Nothing is executed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "invalid escape" and the like, about the answer's text
        for read in (ast.literal_eval, json.loads):
            try:
                return read(text.strip())
            except _UNREADABLE:
                continue
    return None


def join_counts(truth: dict[Any, Any], answer: dict[Any, Any]) -> tuple[int, int, int]:
    """Of a mapping between columns: pairs that are right, pairs that are wrong, pairs that are missed.

    A key with another target counts as wrong and as missed, a key that is not in the truth as wrong only.
    """
    for name, value in (("truth", truth), ("answer", answer)):
        if not isinstance(value, dict):
            raise TypeError(f"{name} must be a dict from column to column, got {type(value).__name__}.")
    right = sum(key in truth and truth[key] == value for key, value in answer.items())
    return right, len(answer) - right, len(truth) - right


@grader
def score_table_join(truth: dict[str, str] | str, answer: str, *, rules: str, strict: bool) -> Grade:
    """Which column of one table is which of another: F1 of the pairs, rounded to two decimals.

    ``truth`` is a dict or the text of one. Tag (may span lines) read as a Python literal; else the last fenced block, else a
    box, else all of the answer. Strict: the same F1, not rounded, of the tag, the last block or the last ``{...}`` in the text.
    """
    gold = python_literal(truth) if isinstance(truth, str) else truth
    if not isinstance(gold, dict) or not gold:
        raise ValueError(f"truth must be a mapping of columns that is not empty, got {truth!r}.")
    tags = solution_tags(answer, dotall=True)
    blocks = [content for language, content in fenced_blocks(answer) if language in ("python", "json", "")]
    inline = re.findall(r"```(?:python|json)?([^`]*)```", answer)
    if tags:
        found, rule = tags[-1], "tag"
        inner = [content for _, content in fenced_blocks(found)]
        found = inner[-1] if inner else found
    elif blocks or inline:
        found, rule = (blocks or inline)[-1], "fenced block"
    elif has_box(answer) and (boxed := last_boxed(answer.replace("\n", ""))) is not None:
        found, rule = re.sub(r"\\text{['\"](.*?)['\"]}", r"'\1'", boxed).replace("\\", ""), "box"
    else:
        found, rule = answer, "whole answer"
        if strict and "}" in answer and "{" in answer:
            end = answer.rfind("}")
            found, rule = answer[answer.rfind("{", 0, end) : end + 1], "last braces"
    value = python_literal(found.replace("\n", " "))
    rule = f"strict: {rule}" if strict else rule
    if not isinstance(value, dict):
        return Grade(0.0, f"{rule}, not a mapping", found)
    missing = {"null", "None", None}
    said = {k: v for k, v in value.items() if not _is_in(k, missing) and not _is_in(v, missing)}
    if not said:
        return Grade(0.0, f"{rule}, an empty mapping", found)
    right, wrong, missed = join_counts(gold, said)
    f1 = 2 * right / (2 * right + wrong + missed)
    return Grade(f1 if strict else round(f1, 2), rule, found)


def _is_in(value: Any, missing: set[Any]) -> bool:
    try:
        return value in missing
    except TypeError:  # a list or a dict in the place of a column's name
        return False


def table_formats(prompt: str) -> tuple[str, str]:
    """Source and target format that a prompt names, as ``("csv", "json")``; ``ValueError`` where it names none.

    Both wordings of the benchmark: "convert the Input Table from CSV format to JSON format", and lines "Source Format: CSV"
    and "Target Format: JSON".
    """
    if not isinstance(prompt, str):
        raise TypeError(f"prompt must be a str, got {type(prompt).__name__}.")
    found = re.search(r"from (\w+) format to (\w+) format", prompt)
    if found is None:
        lines = [re.search(rf"{side} Format: *(\w+)", prompt) for side in ("Source", "Target")]
        if None in lines:
            raise ValueError("the prompt names no formats; expected 'from X format to Y format'.")
        pair = lines[0][1], lines[1][1]
    else:
        pair = found[1], found[2]
    return tuple(one_of(name.lower(), "format", FORMATS) for name in pair)


def read_table(text: str, kind: str) -> Table | None:
    """The table that ``text`` spells in the format ``kind``, one of :data:`FORMATS`; ``None`` where it spells none.

    A cell that reads as a number is a float, an empty one (or NaN, null) is NaN, the rest is text. The column ``index`` is
    dropped. JSON may be a list of records, records by index, or columns of cells by index. ``None`` also where records have so many
    different keys that the table would have more than :data:`MOST_CELLS` cells.
    """
    try:
        return _read(text, kind)
    except _TooManyCells:
        return None


def _read(text: str, kind: str) -> Table | None:
    """As :func:`read_table`, but records that would make too many cells raise :class:`_TooManyCells`."""
    one_of(kind, "kind", FORMATS)
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}.")
    readers = {
        "csv": _separated,
        "tsv": _separated,
        "json": _json,
        "jsonl": _json_lines,
        "html": _html,
        "markdown": _markdown,
    }
    try:
        found = readers[kind](text.strip(), *(("," if kind == "csv" else "\t",) if kind in ("csv", "tsv") else ()))
    except (*_UNREADABLE, csv.Error, KeyError, IndexError, AttributeError):
        return None
    if found is None or not found[0]:
        return None
    names = [str(name).strip() for name in found[0]]
    if len(set(names)) < len(names):
        return None
    keep = [i for i, name in enumerate(names) if name != "index"]
    rows = [[_cell(row[i]) for i in keep] for row in found[1] if len(row) == len(names)]
    if len(rows) < len(found[1]):
        return None
    return Table([names[i] for i in keep], rows)


def _cell(value: Any) -> float | str:
    text = "" if value is None else str(value).strip()
    if text.lower() in _MISSING:
        return math.nan
    try:
        return float(text.replace("True", "1").replace("False", "0")) if isinstance(value, bool) else float(text)
    except (ValueError, OverflowError):
        return text


def _separated(text: str, mark: str) -> tuple[list, list] | None:
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=mark) if row]
    return (rows[0], rows[1:]) if rows else None


def _records(records: list[dict]) -> tuple[list, list]:
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) * len(records) > MOST_CELLS:
        raise _TooManyCells(
            f"{len(records):,} records with {len(names):,} keys would be more than {MOST_CELLS:,} cells"
        )
    return names, [[record.get(name) for name in names] for record in records]


def _json(text: str) -> tuple[list, list] | None:
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    if isinstance(value, dict):
        inner = list(value.values())
        if inner and all(isinstance(row, dict) for row in inner):
            return _records(inner)
        if inner and all(isinstance(column, list) for column in inner):
            return list(value), [list(row) for row in zip(*inner, strict=True)]
        return None
    return _records(value) if isinstance(value, list) and all(isinstance(row, dict) for row in value) else None


def _json_lines(text: str) -> tuple[list, list]:
    return _records([json.loads(line) for line in text.splitlines() if line.strip()])


def _markdown(text: str) -> tuple[list, list] | None:
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    return (rows[0], rows[1:]) if rows else None


class _Cells(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            if not self.rows:
                self.rows.append([])
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def _html(text: str) -> tuple[list, list] | None:
    parser = _Cells()
    parser.feed(text)
    rows = [row for row in parser.rows if row]
    return (rows[0], rows[1:]) if rows else None


def same_tables(first: Table, second: Table, *, ordered_columns: bool = False) -> bool:
    """Whether two tables hold the same rows in the same order under the same set of columns (or list, ``ordered_columns``).

    Numbers are equal within 1e-6, NaN equals NaN, texts are equal letter by letter.
    """
    if len(first.rows) != len(second.rows) or sorted(first.columns) != sorted(second.columns):
        return False
    if ordered_columns and first.columns != second.columns:
        return False
    place = {name: i for i, name in reversed(list(enumerate(second.columns)))}
    order = [place[name] for name in first.columns]
    pairs = (
        (a, row[i]) for mine, row in zip(first.rows, second.rows, strict=True) for a, i in zip(mine, order, strict=True)
    )
    return all(_same_cell(a, b) for a, b in pairs)


def _same_cell(a: float | str, b: float | str) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or a == b or abs(a - b) < 1e-6
    return a == b


@grader
def score_table_reformat(truth: str, answer: str, *, target: str, rules: str, strict: bool) -> Grade:
    """The same table in another format, 0 or 1; ``target`` is one of :data:`FORMATS` (:func:`table_formats` reads a prompt).

    Tag, else a json or html block, else the answer without its fences; a leading "Here is ... format:" is removed. Same
    number and order of rows, same *set* of columns, cells as in :func:`same_tables`. For CSV, TSV and JSON lines a second
    attempt looks for the header's line amid chatter. The authors let pandas guess one type for each column; here each cell is read by itself.
    Records that would make more than :data:`MOST_CELLS` cells are not compared. Strict: no second attempt, and the columns in the truth's order.
    """
    one_of(target, "target", FORMATS)
    gold = read_table(truth, target) if isinstance(truth, str) else None
    if gold is None:
        raise ValueError(f"truth is not a table in the format {target!r}; give it as text in that format.")
    text, rule = answer, "whole answer"
    if tags := solution_tags(answer, dotall=True):
        text, rule = tags[-1].strip(), "tag"
    blocks = [content for language, content in fenced_blocks(text) if language in ("json", "html") or strict]
    if blocks:
        text, rule = blocks[-1], f"{rule}, fenced block"
    text = re.sub(r"(?m)^```.*\n?", "", text).replace("```", "").replace("&amp;", "&").strip()
    head, tail = text[:500], text[500:]
    text = re.sub(r"(?i)^\s*(?:Here|Input)\b.*?\b(?:format|table)\s*[:)]\s*", "", head) + tail
    try:
        found = _read(text, target)
        if strict:
            same = found is not None and same_tables(gold, found, ordered_columns=True)
            return Grade(float(same), f"strict: {rule}{'' if found else ', no table'}", text)
        if found is not None and same_tables(gold, found):
            return Grade(1.0, rule, text)
        again = _amid_chatter(text, target, gold)
    except _TooManyCells as error:
        return Grade(0.0, f"{'strict: ' if strict else ''}{rule}, not compared: {error}", text)
    if again is not None and same_tables(gold, again):
        return Grade(1.0, f"{rule}, from the header's line on", text)
    return Grade(0.0, f"{rule}, {'differs' if found or again else 'no table'}", text)


def _amid_chatter(text: str, kind: str, gold: Table) -> Table | None:
    """The table that begins at the line with the truth's header; trailing lines are dropped until its width fits."""
    lines = [line.strip() for line in text.split("\n")]
    if kind == "jsonl":
        kept = [line for line in lines if line.startswith("{") and line.endswith("}")]
        return _read("\n".join(kept), kind) if kept else None
    if kind not in ("csv", "tsv"):
        return None
    mark = "," if kind == "csv" else "\t"
    heads = [i for i, line in enumerate(lines) if [c.strip() for c in line.split(mark)] == gold.columns]
    if not heads:
        return None
    body = lines[heads[0] : heads[0] + 1 + len(gold.rows)]
    rest = (line for line in lines[heads[0] + 1 + len(gold.rows) :] if line)
    body += itertools.takewhile(lambda line: line.count(mark) == len(gold.columns) - 1, rest)
    return _read("\n".join(body), kind)
