"""Find the final answer in a language model's free text: tags, boxes, bold spans, code fences.

Every function reads the text once from left to right (or a fixed number of times), so a text of a million characters or
of nothing but braces takes no longer than any other of its length. Source: White et al. 2024 (arXiv 2406.19314) and the
authors' public scorers, in our own words.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_FENCE = re.compile(r"(?m)^[ \t]*```([^\n`]*)$")
_BRACE = re.compile(r"[{}]")
_PRE_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")


def as_text(value: Any, name: str = "answer") -> str:
    """``value`` as a str; bytes are read as UTF-8, and what is not UTF-8 becomes the replacement character.

    Raises ``TypeError`` for anything else, such as None or a list.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", errors="replace")
    raise TypeError(f"{name} must be a str (or UTF-8 bytes), got {type(value).__name__}; join or decode it first.")


def strip_think(text: str, *, unclosed: bool = False) -> str:
    """``text`` without its ``<think>...</think>`` blocks.

    A block that is never closed stays, as in the authors' program; ``unclosed=True`` cuts the text where it begins.
    """
    text = as_text(text, "text")
    kept, at = [], 0
    while (start := text.find("<think>", at)) >= 0:
        end = text.find("</think>", start)
        if end < 0:
            if unclosed:
                return "".join(kept) + text[at:start]
            break
        kept.append(text[at:start])
        at = end + len("</think>")
    return "".join(kept) + text[at:]


def solution_tags(text: str, dotall: bool = False, opener: str = "<solution>") -> list[str]:
    """What stands between ``<solution>`` and the next ``</solution>``, in order.

    A match may not cross a line end unless ``dotall``. ``opener`` may be ``</solution>``, for answers that use the closing
    tag twice. Equal to ``re.findall(opener + "(.*?)</solution>", text)``, in linear time.
    """
    text, closer = text if isinstance(text, str) else as_text(text, "text"), "</solution>"
    if not opener:
        raise ValueError("opener must not be empty; the usual one is '<solution>'.")
    found: list[str] = []
    at = 0
    line_end = close = -1
    while (start := text.find(opener, at)) >= 0:
        begin = start + len(opener)
        if close < begin:
            close = text.find(closer, begin)
            if close < 0:
                break
        if not dotall and line_end < begin:
            line_end = text.find("\n", begin)
            line_end = len(text) if line_end < 0 else line_end
        if not dotall and close > line_end:
            at = start + 1
            continue
        found.append(text[begin:close])
        at = close + len(closer)
    return found


def last_boxed(text: str) -> str | None:
    r"""The argument of the last ``\boxed{...}`` (else ``\fbox{...}``), found by counting braces; dollar signs are dropped.

    Where ``\boxed`` is anywhere followed by a space, everything from the last such place to the next ``$``. ``None`` where
    there is no box, its braces do not balance, or no brace follows it at once.
    """
    text = text if isinstance(text, str) else as_text(text, "text")
    if "\\boxed " in text:
        return text.rsplit("\\boxed ", 1)[1].split("$", 1)[0]
    for name in ("\\boxed", "\\fbox"):
        start = text.rfind(name)
        if start < 0:
            continue
        begin = start + len(name)
        if not text.startswith("{", begin):
            return None
        depth = 0
        for brace in _BRACE.finditer(text, begin):
            depth += 1 if brace[0] == "{" else -1
            if depth == 0:
                return text[begin + 1 : brace.start()].replace("$", "")
        return None
    return None


def has_box(text: str) -> bool:
    r"""Whether ``\boxed`` or ``\fbox`` occurs in ``text`` at all, with or without an argument."""
    return _PRE_BOX.search(as_text(text, "text")) is not None


def bold_spans(text: str) -> list[str]:
    """What stands between pairs of ``**`` on one line, in order: ``re.findall(r"\\*\\*(.*?)\\*\\*", text)``."""
    text, spans = text if isinstance(text, str) else as_text(text, "text"), []
    for line in text.split("\n"):
        if "**" in line:
            parts = line.split("**")
            spans += parts[1 : len(parts) - 1 : 2]  # a last pair of stars without a partner opens nothing
    return spans


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """The code blocks between lines that begin with three backquotes: ``(language, content)`` in order.

    A last fence without a partner opens nothing.
    """
    text = as_text(text, "text")
    fences = list(_FENCE.finditer(text))
    pairs = zip(fences[::2], fences[1::2], strict=False)
    return [(first[1].strip().lower(), text[first.end() + 1 : second.start()]) for first, second in pairs]


def last_line(text: str) -> str:
    """The last line of ``text`` that is not blank, without white space at its ends; empty when there is none."""
    lines = as_text(text, "text").strip().splitlines()
    return lines[-1].strip() if lines else ""


def final_answer(text: str) -> tuple[str, str]:
    """Where we say the final answer stands: ``(answer, place)``; for ten of our sixteen graders, when they are strict.

    (Typos, plots, joins, tables in another format, instructions and programs have answers of many lines, and strict rules of their own.)

    Think blocks are dropped, closed or not. Then the last ``<solution>`` tag, which may span lines and be written in any
    case; else the last box; else the last bold span; else the last line, after "answer:" if it says so. Wrappers
    (``\\text{}``, ``\\textbf{}``, ``**``, dollar signs, a full stop at the end) are taken off. Both are empty where there is no text.
    """
    text = strip_think(as_text(text, "text"), unclosed=True)
    lowered = re.sub(r"(?i)<(/?)solution>", r"<\1solution>", text)
    tags = solution_tags(lowered, dotall=True)
    if tags:
        return _unwrapped(tags[-1]), "tag"
    boxed = last_boxed(text)
    if boxed is not None:
        return _unwrapped(boxed), "box"
    bold = map(str.strip, re.findall(r"\*{2,3}([^*\n]+)\*{2,3}", text))
    spans = [span for span in bold if span and not span.endswith(":")]  # a heading is no answer
    if spans:
        return _unwrapped(spans[-1]), "bold"
    line = last_line(text)
    if not line:
        return "", ""
    found = re.search(r"(?i)\banswer\s*(?:is)?\s*[:=]?\s*(.*)$", line)
    return _unwrapped(found[1] if found and found[1] else line), "last line"


def _unwrapped(text: str) -> str:
    text = re.sub(r"\\text(?:bf|it|rm)?\{([^{}]*)\}", r"\1", text.replace("**", "").replace("$", ""))
    return text.strip().removesuffix(".").strip()


def canonical(text: str) -> str:
    """``text`` for comparison: composed accents (NFKC), no case, white space and hyphens as one space, no full stop at the end."""
    text = unicodedata.normalize("NFKC", as_text(text, "text")).casefold()
    return " ".join(text.replace("-", " ").split()).strip(" .,;:!\"'")


def items(text: str) -> list[str]:
    """The parts of ``text`` between commas, each :func:`canonical`; empty ones are left out."""
    return [part for part in map(canonical, as_text(text, "text").split(",")) if part]
