"""Graders of LiveBench's data-analysis tasks: column type, join, reformatting; and the small table readers they need.

Official rules in our own words, and a strict rule of this book's; see
:mod:`workings.language_models.grading_reasoning`. Source: White et al. 2024 (arXiv 2406.19314) and the authors' code.
"""

from __future__ import annotations

import csv
import html.parser
import io
import json
import math
import re
from typing import Any, NamedTuple

from workings.checks import one_of
from workings.language_models import pandas_rows
from workings.language_models.answer_extraction import (
    canonical,
    fenced_blocks,
    final_answer,
    solution_tags,
)
from workings.language_models.column_mappings import official_mapping, python_literal, strict_mapping
from workings.language_models.grading import Grade, OfficialError, grader, official_box

FORMATS = ("csv", "tsv", "json", "jsonl", "html", "markdown")
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_MARKS = {"csv": ",", "tsv": "\t"}
_JSON_BLOCK, _HTML_BLOCK = (re.compile(rf"```{kind}\n(.*?)```", re.DOTALL) for kind in ("json", "html"))
_FENCE_LINE = re.compile(r"(?m)^```.*\n?")
_PHRASE = re.compile(r"(?i)^\s*(?:Here|Input)\b.*?\b(?:format|table)\s*[:)]\s*")
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
        boxed = official_box(answer)
        if boxed is None:
            raise OfficialError("a box without balanced braces")
        found, rule = boxed.replace("\\text{", "").replace("}", "").replace("\\", ""), "box"
    gold, said = clean(truth), clean(found)
    if said == gold:
        return Grade(1.0, f"{rule}, equal", found)
    if gold and said.endswith(gold):
        return Grade(1.0, f"{rule}, ends with the truth", found)
    return Grade(0.0, f"{rule}, differs", found)


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

    ``truth`` is a dict or the text of one. The tag (may span lines), else all of the answer, read as a Python literal; if it is none, the
    last python block in it, else the last json block, else the last between any fences, else a box, with every null as None. Pairs whose
    column is None are dropped, and one that is empty counts as wrong and as missed twice. Strict: the same F1, not rounded, of the
    tag, the last block or the last ``{...}`` in the text, JSON or Python.
    """
    gold = python_literal(truth) if isinstance(truth, str) else truth
    if not isinstance(gold, dict) or not gold:
        raise ValueError(f"truth must be a mapping of columns that is not empty, got {truth!r}.")
    value, rule, found = (strict_mapping if strict else official_mapping)(answer)
    if not isinstance(value, dict):
        return Grade(0.0, f"{rule}, not a mapping", found)
    if strict:
        missing = {"null", "None", None}
        said = {k: v for k, v in value.items() if not _is_in(k, missing) and not _is_in(v, missing)}
    else:
        said = {k: v for k, v in value.items() if v is not None}
    if not said:
        return Grade(0.0, f"{rule}, an empty mapping", found)
    right, wrong, missed = join_counts(gold, said)
    if not strict:
        missed += sum(name in said and not said[name] for name in gold)
    f1 = 2 * right / (2 * right + wrong + missed)
    return Grade(f1 if strict else round(f1 * 100) / 100, rule, found)


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
    dropped. JSON may be a list of records, records by index, columns of cells, or ``data`` with a ``schema``. ``None`` also where records have so many
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
    return None if found is None else _as_table(*found)


def _as_table(header: list, body: list) -> Table | None:
    names = [str(name).strip() for name in header]
    if not names or len(set(names)) < len(names) or any(len(row) != len(names) for row in body):
        return None
    keep = [i for i, name in enumerate(names) if name != "index"]
    return Table([names[i] for i in keep], [[_cell(row[i]) for i in keep] for row in body])


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


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except _UNREADABLE:
        return None


def _records(records: list[dict]) -> tuple[list, list]:
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) * len(records) > MOST_CELLS:
        raise _TooManyCells(
            f"{len(records):,} records with {len(names):,} keys would be more than {MOST_CELLS:,} cells"
        )
    return names, [[record.get(name) for name in names] for record in records]


def _json(text: str) -> tuple[list, list] | None:
    value = json.loads(text)
    if isinstance(value, dict) and "schema" in value and isinstance(value.get("data"), list):
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

    Tag, else all of the answer; in it the last json block, else the last html block, else all without fences; a leading "Here is ...
    format:" is removed. Same number and order of rows, same *set* of columns, cells as in :func:`same_tables`. Rows of CSV, TSV and
    Markdown are read as pandas reads them, short ones filled, and Markdown before 2025-04-25 with its line of dashes and without its first
    column. A second attempt, for CSV, JSON lines and a TSV that cannot be read, starts at the line that is the header or keeps the lines that are records.
    The authors let pandas guess one type for each column; here each cell is read by itself. Records that would make more than
    :data:`MOST_CELLS` cells are not compared. Strict: the last fenced block of any kind, full rows only, no second attempt, and the columns in the truth's order.
    """
    one_of(target, "target", FORMATS)
    gold = read_table(truth, target) if isinstance(truth, str) else None
    if gold is None:
        raise ValueError(f"truth is not a table in the format {target!r}; give it as text in that format.")
    try:
        return _strict_reformat(gold, answer, target) if strict else _official_reformat(truth, answer, target, rules)
    except _TooManyCells as error:
        return Grade(0.0, f"{'strict: ' if strict else ''}not compared: {error}", answer)


def _without_phrase(text: str) -> str:
    head, tail = text[:500], text[500:]
    return (_PHRASE.sub("", head) + tail).strip()


def _strict_reformat(gold: Table, answer: str, target: str) -> Grade:
    text, rule = answer, "strict: whole answer"
    if tags := solution_tags(answer, dotall=True):
        text, rule = tags[-1].strip(), "strict: tag"
    if blocks := fenced_blocks(text):
        text, rule = blocks[-1][1], f"{rule}, fenced block"
    text = _FENCE_LINE.sub("", text).replace("```", "").replace("&amp;", "&").strip()
    text = _without_phrase(text)
    found = _read(text, target)
    same = found is not None and same_tables(gold, found, ordered_columns=True)
    return Grade(float(same), f"{rule}{'' if found else ', no table'}", text)


def _official_reformat(truth: str, answer: str, target: str, rules: str) -> Grade:
    text, rule = answer, "whole answer"
    if tags := solution_tags(answer, dotall=True):
        text, rule = tags[-1].strip(), "tag"
    if blocks := _JSON_BLOCK.findall(text) or _HTML_BLOCK.findall(text):
        text, rule = blocks[-1].strip(), f"{rule}, fenced block"
    else:
        text = text.split("\n", 1)[-1] if text.startswith("```") and "\n" in text else text
        text = text.replace("&amp;", "&").replace("```", "").strip()
    text = _without_phrase(text)
    gold, found = _read_official(truth, target, rules), _read_official(text, target, rules)
    if gold is not None and found is not None and same_tables(gold, found):
        return Grade(1.0, rule, text)
    again = None
    if gold is not None and (target in ("csv", "jsonl") or (target == "tsv" and found is None)):
        again = _amid_chatter(truth, text, target)
    if again is not None and same_tables(gold, again):
        return Grade(1.0, f"{rule}, amid other text", text)
    return Grade(0.0, f"{rule}, {'differs' if found or again else 'no table'}", text)


def _read_official(text: str, kind: str, rules: str) -> Table | None:
    """As the authors' program reads it; an answer that it cannot read is ``None``."""
    if kind == "html" and "<th" not in text.lower():  # columns without names
        return None
    if kind == "json" and text.lstrip().startswith("{"):
        value = _json_value(text)
        if isinstance(value, dict) and "schema" not in value and not all(isinstance(v, dict) for v in value.values()):
            return None  # columns, not records
    if kind not in ("csv", "tsv", "markdown"):
        return _read(text, kind)
    later = rules >= "2025-04-25"
    try:
        if kind == "markdown":
            return _as_table(*(pandas_rows.piped_rows if later else pandas_rows.piped_rows_with_dashes)(text))
        return _as_table(*pandas_rows.separated_rows(text, _MARKS[kind]))
    except (ValueError, csv.Error):
        return None


def _amid_chatter(truth: str, text: str, kind: str) -> Table | None:
    """JSON lines: all lines that are records with the truth's keys. CSV and TSV: what begins at the line with the truth's header."""
    if kind == "jsonl":
        names = _json_lines(truth)[0]
        lines = [line for line in text.strip().split("\n") if len(line) > 1 and line[0] == "{" and line[-1] == "}"]
        records = [_json_value(line) for line in lines if all(name in line for name in names)]
        records = [record for record in records if isinstance(record, dict)]
        return _as_table(*_records(records)) if records else None
    names = next(row for row in csv.reader(io.StringIO(truth), delimiter=_MARKS[kind]) if row)
    try:
        rows = pandas_rows.rows_below_header(text, _MARKS[kind], _MARKS[kind].join(names).strip())
    except (ValueError, csv.Error):
        return None
    return None if rows is None else _as_table(*rows)
