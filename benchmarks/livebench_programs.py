"""Programs as a model may write them, right and wrong, for five small problems with a dozen tests or more each: pairs of the coding scorers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Test = tuple[str, str]


class Problem(NamedTuple):
    """The ``name`` of a function of a list of numbers, its ``body`` and a ``wrong`` one as expressions of ``row``, and its value."""

    name: str
    body: str
    wrong: str
    value: Callable[[list[int]], Any]


PROBLEMS = (
    Problem("largestSum", "max(sum(row[i:j]) for i in range(len(row)) for j in range(i + 1, len(row) + 1))", "max(row)", lambda row: max(sum(row[i:j]) for i in range(len(row)) for j in range(i + 1, len(row) + 1))),
    Problem("countPairs", "sum(a + b == 10 for i, a in enumerate(row) for b in row[:i])", "sum(a + b == 10 for a in row for b in row)", lambda row: sum(a + b == 10 for i, a in enumerate(row) for b in row[:i])),
    Problem("commonDivisor", "functools.reduce(math.gcd, row)", "min(map(abs, row))", lambda row: int(np.gcd.reduce(row))),
    Problem("meanOf", "sum(row) / len(row)", "sum(row) // len(row)", lambda row: sum(row) / len(row)),
    Problem("sortedOnce", "sorted(set(row))", "sorted(row)[0]", lambda row: sorted(set(row))),
)  # fmt: skip
IMPORTS = "import functools\nimport math\n"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(rng: np.random.Generator) -> list[list[int]]:
    return [rng.integers(-20, 21, int(rng.integers(2, 13))).tolist() for _ in range(int(rng.integers(12, 25)))]


def script(rng: np.random.Generator) -> tuple[list[Test], list[str], dict[str, Any]]:
    """Tests of standard input and output, answers, and the question as the authors store it."""
    problem = PROBLEMS[int(rng.integers(len(PROBLEMS)))]
    tests = [(f"{len(row)}\n{_shown(row)}", _shown(problem.value(row))) for row in _rows(rng)]
    read = "input()\nrow = list(map(int, input().split()))\n"
    tell = "print(*found) if isinstance(found, list) else print(found)\n"
    right = f"{read}found = {problem.body}\n{tell}"
    moved = right.replace("\n", "\n    ").rstrip()
    told = f"found = {problem.body}\n{tell}"
    programs = [
        IMPORTS + right, IMPORTS + right, right, f"{IMPORTS}def main():\n    {moved}\nif __name__ == '__main__':\n    main()",
        f"{IMPORTS}{read}found = {problem.wrong}\n{tell}", f"{IMPORTS}{right}exit()", f"{IMPORTS}import sys\n{right}sys.exit(0)",
        f"{IMPORTS}found = None\ndef work(row):\n    global found\n    found = {problem.body}\n{read}work(row)\n{tell}",
        f"{read}from math import *\n{told}", f"{IMPORTS}{right}print()", f"{IMPORTS}print()\n{right}", f"{IMPORTS}{read}found = {problem.body}\nprint(f'{{found:.7g}}')",
        f"{IMPORTS}{right}1 / 0", right[:-3], "print('I do not know')", f"{IMPORTS}{read}found = row[len(row)]\n{tell}",
    ]  # fmt: skip
    return tests, programs, _question(tests, None)


def function(rng: np.random.Generator) -> tuple[list[Test], list[str], dict[str, Any]]:
    """Tests of arguments and values, answers, and the question as the authors store it."""
    problem = PROBLEMS[int(rng.integers(len(PROBLEMS)))]
    tests = [(json.dumps(row), json.dumps(problem.value(row))) for row in _rows(rng)]
    head = f"class Solution:\n    def {problem.name}(self, row: List[int]) -> Any:\n        "
    plain = f"def {problem.name}(row):\n    return {problem.body}"
    programs = [
        f"{IMPORTS}{head}return {problem.body}", f"{head}return {problem.body}", plain, f"from typing import *\n{IMPORTS}{head}return {problem.body}",
        f"{head}return {problem.wrong}", f"{head}print(row)\n        return {problem.body}", f"{head}return row[len(row)]", f"{head}return",
        f"{head}found = {problem.body}\n        return tuple(found) if isinstance(found, list) else found", f"{head}return {{1}}",
        f"{head}found = {problem.body}\n        return found[0] if isinstance(found, list) else found", plain.replace(problem.name, "solve"), f"{head}return {problem.body})",
        f"{head}return {problem.body}\nif __name__ == '__main__':\n    print(Solution().{problem.name}([1, 2]))",
    ]  # fmt: skip
    return tests, programs, _question(tests, problem.name)


def _question(tests: list[Test], name: str | None) -> dict[str, Any]:
    kind = "stdin" if name is None else "functional"
    stored = [{"input": given, "output": expected, "testtype": kind} for given, expected in tests]
    metadata = {} if name is None else {"func_name": name}
    return {
        "public_test_cases": json.dumps(stored[:3]), "private_test_cases": json.dumps(stored[3:]), "partial_solution": "",
        "original_json": {"metadata": json.dumps(metadata)},
    }  # fmt: skip
