"""Run the tests in stages, all of them whatever fails, and sum up at the end.

    python tools/run_tests.py [OPTIONS OF PYTEST]                  kernels and tools, notebooks, built pages
    python tools/run_tests.py --chapter SLUG [OPTIONS OF PYTEST]   what a change of one chapter needs

Called by `make test` and `make check`. The exit status is the worst of all stages'. Options go to every stage; a stage
in which they choose no test counts as passed, unless that is so in each. The last lines name the tests that failed:
whoever sees only the end of a long log sees what matters.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NOTHING_CHOSEN = 5  # pytest's exit status
# Cells are given far longer than the budget of a whole notebook (tools/budget.py): this only ends what hangs.
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg", "--nbval-cell-timeout", "1200"]

NAMED, WIDTH = 12, 300  # failed tests that the summary names, and letters of what each said


class Stage(NamedTuple):
    """A name for the summary, and commands that run one after another until one fails."""

    name: str
    commands: list[list[str]]


class Done(NamedTuple):
    name: str
    status: int
    seconds: float
    failures: tuple[str, ...] = ()


def workers() -> int:
    """Processes for the tests: one for each core, at least two and, for the sake of memory, at most four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return max(2, min(4, cores))


def stages(chapter: str | None, options: list[str]) -> list[Stage]:
    """The stages of `make test`, or of `make check` for one ``chapter``."""
    pytest = [sys.executable, "-m", "pytest"]
    parallel = [*pytest, "-n", str(workers())]
    spread = [*parallel, "--dist", "loadgroup"]  # a file's tests together, slow ones by themselves (tests/conftest.py)
    whole = [*parallel, "--dist", "loadscope"]  # the cells of a notebook together
    if chapter is not None:
        return [
            Stage("rules and mathematics", [[*spread, "-q", *tests_of(chapter), *options]]),
            Stage("notebook", [[*pytest, "-q", *NBVAL, f"notebooks/{part_of(chapter)}/{chapter}.ipynb", *options]]),
        ]
    return [
        Stage("kernels and tools", [[*spread, "tests", "--ignore=tests/book", *options]]),
        Stage("notebooks", [[*whole, *NBVAL, *notebooks(), *options]]),
        Stage("built pages", [["make", "--no-print-directory", "book"], [*spread, "tests/book", *options]]),
    ]


def notebooks() -> list[str]:
    """The notebooks that have a script: others in the same folders are nobody's chapter."""
    scripts = (path for path in ROOT.glob("notebooks/*/*.py") if not path.name.startswith("."))
    found = (path.with_suffix(".ipynb") for path in scripts)
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.exists())


def part_of(chapter: str) -> str:
    """The part in which ``chapter`` stands; ends the program for a name that is none."""
    found = sorted(ROOT.glob(f"notebooks/*/{chapter}.py")) if chapter.isidentifier() else []
    if not found:
        known = ", ".join(sorted(path.stem for path in ROOT.glob("notebooks/*/*.py")))
        sys.exit(f"\nSay which chapter: make check NOTEBOOK=conformal_set_size\nThere are: {known}.\n")
    return found[0].parent.name


def tests_of(chapter: str) -> list[str]:
    """The tests that a change of ``chapter`` can turn red: rules, its part's mathematics, its own."""
    part = part_of(chapter)
    own = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(f"tests/chapters/test_{chapter}*.py"))
    always = ["tests/test_notebooks.py", "tests/test_dependencies.py", "tests/ledger/test_claims.py"]
    return [*always, *([f"tests/{part}"] if (ROOT / "tests" / part).is_dir() else []), *own]


def run(stage: Stage) -> Done:
    """Run ``stage``; the status is that of the command that failed, or 0."""
    print(f"\n=== {stage.name} ===", flush=True)
    began, status = time.monotonic(), 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        for command in stage.commands:
            asked = [f"--junitxml={report}", "-o", "junit_logging=no"] if "pytest" in command else []
            status = subprocess.call([*command, *asked], cwd=ROOT, env=environment)
            if status:
                break
        return Done(stage.name, status, time.monotonic() - began, failures(report))


def failures(report: Path) -> tuple[str, ...]:
    """A line for each failed test in pytest's ``report`` (JUnit's XML); none where there is no whole report."""
    try:
        tests = ElementTree.parse(report).iter("testcase")
    except (OSError, ElementTree.ParseError):
        return ()
    found = []
    for test in tests:
        for wrong in (part for part in test if part.tag in ("failure", "error")):
            said = " ".join(f"{wrong.get('message') or ''} {wrong.text or ''}".split())
            found.append(f"{test.get('classname')}::{test.get('name')}: {said}"[:WIDTH])
    return tuple(found)


def duration(seconds: float) -> str:
    """``seconds`` in words: ``12 s``, ``3 min 4 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def summary(done: list[Done], options: list[str]) -> tuple[str, int]:
    """What is printed at the end, and the exit status: the worst, where no chosen test in one stage is none at all."""
    chosen = [stage for stage in done if stage.status != NOTHING_CHOSEN]
    excused = bool(options and chosen)
    width = max(len(stage.name) for stage in done)
    lines, worst = ["", "=== summary ==="], 0
    for stage in done:
        nothing = stage.status == NOTHING_CHOSEN
        word = "no test chosen" if nothing else "failed" if stage.status else "passed"
        status = 0 if nothing and excused else stage.status
        worst = max(worst, 1 if status < 0 else status)  # a negative status is a signal's
        code = f" (exit status {stage.status})" if status else ""
        lines.append(f"{stage.name:<{width}}  {word}{code}, {duration(stage.seconds)}")
    failed = [line for stage in done for line in stage.failures]
    lines += [f"  {line}" for line in failed[:NAMED]]
    if len(failed) > NAMED:
        lines.append(f"  and {len(failed) - NAMED} more")
    if not chosen and options:
        lines.append(f"Nowhere is a test that {shlex.join(options)} chooses.")
    return "\n".join(lines), worst


def main(words: list[str]) -> int:
    chapter = None
    if words[:1] == ["--chapter"]:
        chapter, words = (words[1] if len(words) > 1 else ""), words[2:]
    done: list[Done] = []
    try:
        for stage in stages(chapter, words):
            done.append(run(stage))
    except KeyboardInterrupt:
        print(*(summary(done, words)[0].splitlines() if done else []), "stopped by hand", sep="\n")
        return 130
    said, status = summary(done, words)
    print(said, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
