"""The mapping of columns that an answer spells: as the authors' program finds and reads it, and by the strict rule.

Source: White et al. 2024 (arXiv 2406.19314) and the authors' code, in our own words.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from workings.language_models.answer_extraction import as_text, fenced_blocks, has_box, last_boxed, solution_tags
from workings.language_models.grading import official_box

_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_NO_VALUE = object()
_WARNS = re.compile(r"\\|\d[A-Za-z]")  # what Python's tokeniser may warn about
_NEVER_FIRST = frozenset("ACDEGHIJKLMOPQSVWXYZacdeghijklmnopqtvwxyz_`*<>/|&%$!?@,;:=)]}^")
"""Signs with which no Python literal begins: not with a name but True, False, None and set(), nor with a prefix but those of texts."""


def python_literal(text: str) -> Any:
    """The Python or JSON value that ``text`` spells; ``None`` where it spells none. Nothing is executed."""
    text = as_text(text, "text").strip()
    value = _python_value(text)
    if value is not _NO_VALUE:
        return value
    try:
        return json.loads(text)
    except _UNREADABLE:
        return None


def _python_value(text: str) -> Any:
    """The value of a Python literal, or :data:`_NO_VALUE`."""
    if not text or text[0] in _NEVER_FIRST:
        return _NO_VALUE
    try:
        if _WARNS.search(text) is None:
            return ast.literal_eval(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except _UNREADABLE:
        return _NO_VALUE


_FENCES = tuple(re.compile(f"```{language}(.*?)```") for language in ("python", "json", ""))
_QUOTED = re.compile(r"\\text{['\"](.*?)['\"]}")


def official_mapping(answer: str) -> tuple[Any, str, str]:
    """What the authors' program reads as the answer (None where it is no Python literal), where it finds that, and its text.

    :class:`~workings.language_models.grading.OfficialError` where their program ends in an error.
    """
    answer = as_text(answer)
    tags = solution_tags(answer, dotall=True)
    text, rule = (tags[-1].strip(), "tag") if tags else (answer, "whole answer")
    value = _python_value(text)
    if value is not _NO_VALUE:
        return value, rule, text
    joined, found = text.replace("\n", ""), text
    for fence in _FENCES if "```" in joined else ():
        if blocks := fence.findall(joined):
            found, rule = blocks[-1], f"{rule}, fenced block" if tags else "fenced block"
            break
    else:
        if "\\boxed" in text and (boxed := official_box(joined)) is not None:
            found, rule = _QUOTED.sub(r"'\1'", boxed).replace("\\", ""), "box"
    value = _python_value(found.replace("null", "None"))
    return None if value is _NO_VALUE else value, rule, found


def strict_mapping(answer: str) -> tuple[Any, str, str]:
    """The Python or JSON value in the last tag, else fenced block, box or pair of braces, else all of the answer; where it stands, and its text."""
    answer = as_text(answer)
    tags = solution_tags(answer, dotall=True)
    if tags:
        found, rule = tags[-1], "tag"
        inner = [content for _, content in fenced_blocks(found)]
        found = inner[-1] if inner else found
    elif blocks := [text for kind, text in fenced_blocks(answer) if kind in ("python", "json", "")] or re.findall(
        r"```(?:python|json)?([^`]*)```", answer
    ):
        found, rule = blocks[-1], "fenced block"
    elif has_box(answer) and (boxed := last_boxed(answer.replace("\n", ""))) is not None:
        found, rule = _QUOTED.sub(r"'\1'", boxed).replace("\\", ""), "box"
    elif "}" in answer and "{" in answer:
        end = answer.rfind("}")
        found, rule = answer[answer.rfind("{", 0, end) : end + 1], "last braces"
    else:
        found, rule = answer, "whole answer"
    return python_literal(found.replace("\n", " ")), f"strict: {rule}", found
