"""Grade a program: what the benchmark's own program makes of an answer before it runs it, what it lets pass, and a strict rule beside it.

Programs read standard input and print, or are a function that is called with arguments. The prelude, the body made of a program and the
comparisons are those of LiveBench's copy of LiveCodeBench's program, as its public code did them in November 2026; what differs: every test here
has a process of its own, so nothing that a program keeps in memory reaches the next test, and standard input is a real file.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from workings.language_models.answer_extraction import as_text
from workings.language_models.grading import Grade, grader
from workings.language_models.sandbox import Sandbox

_MODULES = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools", "functools",
    "operator", "io", "sys", "json",
)  # fmt: skip
PRELUDE = "".join(
    [
        *(f"from {name} import *\n" for name in (*_MODULES, "builtins", "typing")),
        *(f"import {name}\n" for name in _MODULES),
        "exit = quit = None\n",
    ]
)
"""What stands before every program by the official rule: names of sixteen modules, and no ``exit`` or ``quit``."""

_RECURSION = "import sys\nsys.setrecursionlimit(6 * 10**5)\n"
_CALL = """\
import io, json, sys
sys.setrecursionlimit(6 * 10**5)
out, sys.stdout = sys.stdout, io.StringIO()
names["__name__"] = "answer"
exec(compile({program!r}, "answer.py", "exec"), names)
given = [json.loads(line) for line in sys.stdin.read().split("\\n")]
if isinstance(given[0], dict) and all(key.lstrip("-").isdigit() for key in given[0]):
    given = [{{int(key): value for key, value in given[0].items()}}]
called = getattr(names["Solution"](), {function!r}) if "Solution" in names else names[{function!r}]
found = called(*given)
json.dumps(found)
def plain(value):
    if isinstance(value, dict):
        return {{plain(key): plain(item) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
out.write(repr(plain(found)))
out.flush()
"""


def extract_code(answer: str) -> str:
    """The program in an answer: the lines between the last two lines that hold three backquotes.

    A single fence at the end is dropped; without a fence the whole text is the program (the authors' later code reads none there).
    """
    lines = as_text(answer).split("\n")
    fences = [i for i, line in enumerate(lines) if "```" in line]
    if len(fences) >= 2:
        return "\n".join(lines[fences[-2] + 1 : fences[-1]])
    if fences and not any(line.strip() for line in lines[fences[0] + 1 :]):
        return "\n".join(lines[: fences[0]])
    return "\n".join(lines)


def benchmark_script(program: str) -> str:
    """What the official rule runs of a ``program`` that reads standard input: :data:`PRELUDE`, its first imports, and all else in a function.

    So an ``if __name__ == "__main__"`` at its end is unwrapped (and does not run elsewhere), ``global`` does not find its variables, a later
    ``from ... import *`` is a fault, and a script may end with any exit status.
    """
    return PRELUDE + _as_function(as_text(program, "program"))


def _as_function(program: str) -> str:
    try:
        tree = ast.parse(program)
        last = tree.body[-1]
        if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
            program = "\n".join(ast.unparse(part) for part in (*tree.body[:-1], *last.body))
    except (SyntaxError, ValueError, IndexError, RecursionError, MemoryError):
        pass  # it is run as it stands, and ends in the error that it holds
    lines = program.split("\n")
    imports = next((i for i, line in enumerate(lines) if not line.startswith(("from ", "import "))), len(lines))
    body = "".join(f"\t{line}\n" for line in lines[imports:])
    head = "\n".join(lines[:imports])
    return f"{_RECURSION}__name__ = 'answer'\n{head}\ndef code():\n{body}try:\n\tcode()\nexcept SystemExit:\n\tpass\n"


def _is_close(found: list[str], expected: list[str]) -> bool:
    """Whether the lines are numbers, not all of them integers, and equal to 1e-5 of their size."""
    if len(found) != len(expected) or all(a.isdigit() and b.isdigit() for a, b in zip(found, expected, strict=True)):
        return False
    try:
        pairs = [(float(a), float(b)) for a, b in zip(found, expected, strict=True)]
    except ValueError:
        return False
    return all(a == b or abs(a - b) <= 1e-8 + 1e-5 * abs(b) for a, b in pairs)


def _same_lines(found: str, expected: str, strict: bool) -> str | None:
    """How a printed output is the expected one ("" if to the letter but for white space), or ``None``."""
    if [line.strip() for line in found.strip().splitlines()] == [line.strip() for line in expected.strip().split("\n")]:
        return ""
    if strict:
        return None
    printed = [line for line in found.splitlines() if line]
    wanted = [line.strip() for line in expected.split("\n") if line]
    if printed == wanted:
        return "empty lines left out"
    return "numbers to 1e-5" if _is_close(printed, wanted) else None


def _same_value(found: str, expected: str, strict: bool) -> str | None:
    """How a returned value, in Python's notation, is the expected one, in JSON ("" if equal), or ``None``."""
    try:
        value = ast.literal_eval(found)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    wanted = json.loads(expected)
    if isinstance(wanted, dict) and all(key.lstrip("-").isdigit() for key in wanted):
        wanted = {int(key): item for key, item in wanted.items()}
    if (list(value) if isinstance(value, tuple) else value) == wanted:
        return ""
    if strict or not isinstance(wanted, list) or not wanted:
        return None
    inner = (
        [list(item) if isinstance(item, tuple) else item for item in value]
        if isinstance(value, (list, tuple))
        else value
    )
    return "the first item alone" if wanted[0] in (value, inner) else None


def _checked_tests(truth: Any, function: str | None) -> list[tuple[str, str]]:
    tests = list(truth) if isinstance(truth, (list, tuple)) else []
    if not tests or any(not isinstance(pair, (tuple, list)) or len(pair) != 2 for pair in tests):
        raise ValueError("truth must be a list of pairs (standard input, expected output) that is not empty.")
    if function is not None:
        if not as_text(function, "function").isidentifier():
            raise ValueError(f"function must be the name of a function, got {function!r}.")
        for given, expected in tests:
            for text in (*str(given).split("\n"), expected):
                try:
                    json.loads(text)
                except ValueError as error:
                    raise ValueError(
                        f"with function the tests are JSON, an argument a line and the expected value; got {text!r:.80} ({error})."
                    ) from error
    return tests


@grader
def score_code(
    truth: Sequence[tuple[str, str]],
    answer: str,
    *,
    function: str | None = None,
    prefix: str = "",
    limit_s: float = 6.0,
    require: Iterable[str] = (),
    sandbox: Sandbox | None = None,
    rules: str,
    strict: bool,
) -> Grade:
    """Whether a program passes all tests, 0 or 1; ``truth`` is a list of (standard input, expected output).

    The program of :func:`extract_code`; for a completion ``prefix`` and a new line are put in front unless it begins with it. With
    ``function`` the program is not a script: a test is JSON, one argument a line, and the function of that name, of the class ``Solution`` if there is
    one, must return the expected value. Each test is one run of :meth:`~workings.language_models.sandbox.Sandbox.run` with ``limit_s`` seconds,
    in ``sandbox`` if one is given (best one with :data:`PRELUDE`). Official: a script is run as :func:`benchmark_script`, a function after :data:`PRELUDE`; an output also passes
    without its empty lines or with numbers (one a line) equal to 1e-5, a value also if it is the *first item* of the expected list; the rule says so.
    Strict: a script runs as it stands, its lines must be equal but for white space at their ends, and a value as a whole. ``require`` names layers
    of isolation without which no program is run.
    """
    tests = _checked_tests(truth, function)
    program = extract_code(answer)
    prefix = as_text(prefix, "prefix")
    if not program.startswith(prefix):
        program = f"{prefix}\n{program}"
    if function is not None:
        call = _CALL.format(program=program, function=function)
        script = f"exec(compile({call!r}, 'call.py', 'exec'), {{'names': globals()}})"
    else:
        script = program if strict else _as_function(program)
    given = function is not None or not strict
    compare = _same_lines if function is None else _same_value
    leniently: list[str] = []
    with Sandbox(PRELUDE) if sandbox is None else contextlib.nullcontext(sandbox) as used:
        if given and used.prelude != PRELUDE:
            script, given = PRELUDE + script, False
        for number, (text, expected) in enumerate(tests, start=1):
            found = used.run(script, text, limit_s=limit_s, require=require, prelude=given)
            if found.status != "ok":
                return Grade(0.0, f"test {number}: {found.status}", program)
            how = compare(found.stdout, expected, strict)
            if how is None:
                return Grade(0.0, f"test {number}: another output", program)
            if how:
                leniently.append(how)
    return Grade(1.0, "all tests passed" + (f", {len(leniently)} with {leniently[0]}" if leniently else ""), program)
