"""Two workers must collect the same tests by the same names, or neither of them runs a single one."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _collection(hash_seed: int) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }  # not this run's worker
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=plain | {"PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_tests_are_called_the_same_in_another_process_a_second_later():
    first = _collection(hash_seed=1)
    time.sleep(1.5)  # a name that holds the time, such as a compressed file's, is another name now
    second = _collection(hash_seed=2)
    names = []
    for run, output in [(run, run.communicate()[0]) for run in (first, second)]:  # both end before one is judged
        assert run.returncode == 0, output[-2000:]
        names.append([line for line in output.splitlines() if "::" in line])
    assert len(names[0]) > 1000
    differing = [pair for pair in zip(*names, strict=False) if pair[0] != pair[1]]
    assert names[0] == names[1], (
        f"{len(differing)} names depend on the process or the time, such as {differing[:2]}: give them an id"
    )
