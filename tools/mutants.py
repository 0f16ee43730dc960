"""Change a kernel in small ways and see whether its tests notice.

    python tools/mutants.py lib/workings/uncertainty/conformal.py tests/uncertainty/test_conformal_rank.py

Each mutant is the module with one change: another operator, comparison or constant, two arguments swapped, a clamp, ``abs``
or minus sign removed. It is written into a copy of the library in a temporary folder, and the tests given run against that copy
until the first failure. A mutant that no test notices survives: either a test is missing, or the change makes no difference (the
line in question is then listed all the same; look at it). A survivor that was read and computes the same stands in tests/mutants_alike.yml
and is counted apart. Lines that only check arguments or word an error are left out: they
have tests of their own, and their mutants say little about formulas. ``--sample N`` takes N mutants at random, ``--record``
adds the score to results/mutants.json. ``--all`` takes every kernel in turn (or those whose path holds the words given), each
with the tests of its part that import it; kernels whose score is already recorded for the same source are passed over.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
import functools
import hashlib
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import yaml

from workings import PARTS
from workings.runs import imports

LOADED = (np, scipy.special, scipy.stats, torch)  # before the forks, so that each of them need not
ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "results" / "mutants.json"
ALIKE = ROOT / "tests" / "mutants_alike.yml"
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
CLAMPS = {
    "clamp",
    "clamp_",
    "clip",
    "abs",
    "detach",
    "contiguous",
    "sign",
    "neg_",
    "neg",
    "sqrt",
    "square",
    "log",
    "exp",
}
SYMMETRIC = {
    "isclose",
    "allclose",
    "maximum",
    "minimum",
    "max",
    "min",
    "logaddexp",
    "gcd",
    "transpose",
    "swapaxes",
}  # with two arguments; swapped, they say the same
CHECKS = ("as_", "check_", "one_of", "_check")
SHAPERS = {"reshape", "view"}  # to which numpy lets any negative length stand for the one to be found


class Mutant(NamedTuple):
    """One change: ``line`` of the module, what stood there and what stands there now, and the whole new source."""

    line: int
    before: str
    after: str
    source: str


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Each expression in ``node`` that can be changed, with what replaces it."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield node, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        if isinstance(node.op, (ast.Mult, ast.Div)):  # one factor lost: 1 / zeta in place of factor / zeta
            yield node, node.left
            left = ast.Constant(1) if isinstance(node.op, ast.Div) else None
            yield node, ast.BinOp(left, node.op, node.right) if left else node.right
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield node, ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node, node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield node, ast.Constant(node.value + 1)
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in CLAMPS:
            module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "torch", "math")
            if not module or node.args:
                yield node, node.args[0] if module else node.func.value
        same = len(node.args) == 2 and ast.unparse(node.func).rpartition(".")[2] in SYMMETRIC
        if len(node.args) >= 2 and not same and not any(isinstance(a, ast.Starred) for a in node.args[:2]):
            yield node, ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)


def formulas(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of function bodies, without docstrings, annotations, defaults, checks of arguments, and errors."""

    def visit(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, (ast.Raise, ast.Assert, ast.arguments, ast.JoinedStr, ast.Subscript, ast.AnnAssign)):
            return
        if isinstance(node, ast.If) and all(isinstance(child, ast.Raise) for child in node.body):
            return
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name.startswith(CHECKS):
                return
        yield node
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in SHAPERS:
            for child in [node.func, *(a for a in node.args if ast.unparse(a) != "-1")]:
                yield from visit(child)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)) and not getattr(function, "seen", False):
            for inner in ast.walk(function):
                inner.seen = True
            body = function.body if isinstance(function.body, list) else [function.body]
            for statement in body:
                if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                    yield from visit(statement)


def changed(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """What can be changed in a module, one expression after another, with what replaces it."""
    for node in list(formulas(tree)):
        yield from changes(node)


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a module's ``source``."""
    found, seen = [], {ast.unparse(ast.parse(source))}
    tree = ast.parse(source)
    for old, new in changed(tree):
        made = copy.deepcopy(tree, {id(old): ast.copy_location(copy.deepcopy(new), old)})
        text = ast.unparse(ast.fix_missing_locations(made))
        if text not in seen:
            seen.add(text)
            found.append(Mutant(old.lineno, ast.unparse(old), ast.unparse(new), text))
    return found


def survives(mutant: str, module: Path, tests: list[str], lib: Path, seconds: int) -> tuple[bool, float]:
    """Whether ``tests`` pass with ``mutant`` in the place of ``module`` in the copied library ``lib``, and their processor time.

    The tests run in a fork of this process, which has loaded the large libraries already. After ``seconds`` of processor time
    they are ended, which counts as noticed: how busy the machine is plays no part.
    """
    target = lib / module.relative_to(ROOT / "lib")
    kept = target.read_text()
    target.write_text(mutant)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # an endless loop ends here
        signal.alarm(20 * seconds)  # and here what waits for ever
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os.chdir(ROOT)
        sys.dont_write_bytecode = True
        os.environ["PYTHONPATH"] = os.pathsep.join([str(lib), str(ROOT / "tools")])
        sys.path.insert(0, str(lib))
        for name in [name for name in sys.modules if name.split(".")[0] == "workings"]:
            del sys.modules[name]  # loaded from the checkout; the tests must meet the copy
        code = pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-o", f"pythonpath={lib} tests tools", *tests])
        os._exit(int(code))
    _, status, used = os.wait4(child, 0)
    target.write_text(kept)
    return status == 0, used.ru_utime + used.ru_stime


def alike() -> dict[str, dict[str, str]]:
    """Changes that compute the same, by module and in words, with the reason: read by a person, listed in a file of the tests."""
    return yaml.safe_load(ALIKE.read_text(encoding="utf-8"))


def is_said(words: str, line: str, change: str) -> bool:
    """Whether ``words``, the change of a ``line``, are what the list calls ``change``: "0 -> 1", or "0 -> 1 in f(0, x)"."""
    told, _, where = change.partition(" in ")
    return words == change or (words == told and where != "" and where in line)


def score(module: Path, tests: list[str], sample: int | None, seed: int, timeout: int) -> dict:
    """Run the tests against mutants of ``module``; numbers, and the survivors in words."""
    every = mutants(module.read_text())
    chosen = every if sample is None or sample >= len(every) else random.Random(seed).sample(every, sample)
    with tempfile.TemporaryDirectory() as folder:
        lib = Path(folder) / "lib"
        shutil.copytree(ROOT / "lib", lib, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("claims", "results", "pyproject.toml"):  # what makes it a checkout
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(folder) / name)
        plain = ast.unparse(ast.parse(module.read_text()))
        passed, used = survives(plain, module, tests, lib, timeout)
        if not passed:
            raise SystemExit(f"The tests fail on the module as it is: {' '.join(tests)}. Mend that first.")
        limit = min(timeout, 30 + 5 * math.ceil(used))
        if survives("raise RuntimeError", module, tests, lib, limit)[0]:
            raise SystemExit(f"The tests pass on a module that cannot be imported: {' '.join(tests)} do not load it.")
        left = [m for m in sorted(chosen, key=lambda m: m.line) if survives(m.source, module, tests, lib, limit)[0]]
    known, lines = alike().get(module.relative_to(ROOT).as_posix(), {}), module.read_text(encoding="utf-8").splitlines()
    said = {m: f"{m.before} -> {m.after}" for m in left}
    same = {m for m in left if any(is_said(said[m], lines[m.line - 1], change) for change in known)}
    return {
        "tests": tests,
        "mutants": len(every),
        "run": len(chosen),
        "noticed": len(chosen) - len(left),
        "alike": [f"line {m.line}: {words}" for m, words in said.items() if m in same],
        "survivors": [f"line {m.line}: {words}" for m, words in said.items() if m not in same],
    }


@functools.cache
def imported(file: Path) -> set[str]:
    """What a test file imports, by dotted names."""
    return imports.names(file.read_text(encoding="utf-8"))


def tests_of(module: Path) -> list[str]:
    """The test files that import ``module``: those of its own folder; where none does, any; a module that runs only as a
    process of its own is tested by the tests of the kernels that name it."""
    name = ".".join(module.relative_to(ROOT / "lib").with_suffix("").parts)
    importing = [file for file in sorted((ROOT / "tests").rglob("test_*.py")) if name in imported(file)]
    place = ROOT / "tests" / module.parent.name
    own = [f for f in importing if f.parent == (place if place.is_dir() else ROOT / "tests")]
    found = [file.relative_to(ROOT).as_posix() for file in own or importing]
    if not found and module.stem.startswith("_"):
        starts = [f for f in module.parent.glob("*.py") if f != module and module.stem in f.read_text(encoding="utf-8")]
        found = sorted({test for kernel in starts for test in tests_of(kernel)})
    return found


def kernels() -> list[Path]:
    """Every module of kernels that has something to change, in order."""
    parts = [file for part in PARTS for file in sorted((ROOT / "lib/workings" / part).rglob("*.py"))]
    shared = [ROOT / "lib/workings" / f"{name}.py" for name in ("calibration", "statistics", "training", "seeding")]
    return [file for file in parts + shared if any(changed(ast.parse(file.read_text(encoding="utf-8"))))]


def digest(module: Path, tests: list[str]) -> str:
    """A checksum of a module and of the tests that try it."""
    files = [module, *(ROOT / test for test in tests)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def record(module: Path, found: dict) -> None:
    """Write the score of ``module`` into results/mutants.json."""
    known = recorded()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    source = digest(module, found["tests"])
    known[module.relative_to(ROOT).as_posix()] = {"commit": commit, "date": day, "source": source, **found}
    RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


def recorded() -> dict:
    """What results/mutants.json holds: module -> score."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def run(module: Path, tests: list[str], options: argparse.Namespace) -> None:
    """Score one module, say it, and record it if asked."""
    found = score(module, tests, options.sample, options.seed, options.timeout)
    name = module.relative_to(ROOT).as_posix()
    same = f", {len(found['alike'])} compute the same" if found["alike"] else ""
    print(f"{name}: {found['noticed']} of {found['run']} mutants noticed{same} ({found['mutants']} in all)", flush=True)
    for survivor in found["survivors"]:
        print("  survives,", survivor, flush=True)
    if options.record:
        record(module, found)


def run_all(options: argparse.Namespace) -> None:
    """Score every kernel whose path holds one of the words given (all without a word), unless its score is recorded."""
    for module in kernels():
        name = module.relative_to(ROOT).as_posix()
        tests = tests_of(module)
        if options.words and not any(word in name for word in options.words):
            continue
        if not tests:
            print(f"{name}: no test file imports it", flush=True)
        elif options.record and recorded().get(name, {}).get("source") == digest(module, tests):
            print(f"{name}: recorded already", flush=True)
        else:
            try:
                run(module, tests, options)
            except SystemExit as why:  # the others are scored all the same
                print(f"{name}: {why}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="a kernel's file and its test files; with --all, words of paths")
    parser.add_argument("--all", action="store_true", help="every kernel, each with the tests that import it")
    parser.add_argument("--sample", type=int, help="how many mutants of a module, drawn at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument(
        "--timeout",
        type=int,
        default=600,
        help="most seconds of processor time for one mutant, which then counts as noticed",
    )
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    parser.add_argument("--record", action="store_true", help="add the score to results/mutants.json")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    if options.all:
        run_all(options)
        return
    if not options.words or not options.words[0].endswith(".py"):
        parser.error("name a kernel's file and its tests, or say --all")
    module, tests = Path(options.words[0]).resolve(), options.words[1:] or tests_of(Path(options.words[0]).resolve())
    if options.list:
        for m in mutants(module.read_text()):
            print(f"line {m.line}: {m.before} -> {m.after}")
        return
    run(module, tests, options)


if __name__ == "__main__":
    main()
