"""The time and memory that a notebook may take, and what a slow machine changes in it."""

import os
import subprocess
import sys

import pytest

import budget


@pytest.mark.parametrize(
    ("seconds", "mib", "slow", "said"),
    [
        (269, 4095, 1.0, None),
        (271, 100, 1.0, "used 271 s of processor time"),
        (271, 100, 1.1, None),
        (600, None, 2.2, "used 600 s of processor time"),
        (10, 4097, 4.0, "used 4097 MiB"),  # a slow machine has no smaller memory
        (None, None, 1.0, None),
    ],
)
def test_the_limit_is_three_times_the_budget_and_grows_with_a_slow_processor(seconds, mib, slow, said):
    wrong = budget.over_budget(seconds, mib, slow)
    assert wrong is None if said is None else wrong.startswith(said)


@pytest.mark.parametrize(("loop", "expected"), [(0.007, 1.0), (0.014, 1.0), (0.035, 2.5), (0.5, 4.0)])
def test_slowness_is_the_median_time_of_the_loop_over_the_laptops(monkeypatch, loop, expected):
    lasts = [loop, loop, loop, 9.0, 9.0]  # two of five runs are disturbed
    stamps = iter([stamp for i, length in enumerate(lasts) for stamp in (100.0 * i, 100.0 * i + length)])
    monkeypatch.setattr(budget.time, "thread_time", lambda: next(stamps))
    assert budget.slowness(tries=5) == pytest.approx(expected)


def test_the_time_of_a_kernel_is_what_it_has_worked_and_not_what_it_has_waited():
    code = "import time\nwhile time.process_time() < 0.5: pass\nprint(time.process_time(), flush=True)\nfor _ in iter(input, ''): pass"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as at_work:
        used = float(at_work.stdout.readline())
        assert budget.kernel_seconds(at_work.pid) == pytest.approx(used, abs=0.2)  # the system counts in hundredths
        if os.path.exists("/proc/self/status"):
            assert 3 < budget.kernel_peak_mib(at_work.pid) < 200
        at_work.communicate("\n")
    assert budget.kernel_seconds(at_work.pid) is None


def test_a_notebook_has_one_line():
    said = budget.line("a.ipynb", 61.25, 40.0, None, 1.5)
    assert (
        said
        == "a.ipynb:  61.2 s of processor time of 90 (processor 1.5 times slower), 40 s by the clock, memory not measured"
    )
