"""A pytest plugin: each notebook's run time and peak memory, reported always, held to the budget.

Loaded by the `conftest.py` above. It watches nbval's items: the clock runs from a notebook's
first cell to its last, and the kernel's own peak memory is read before it stops. A notebook fails
beyond twice the budget. The budget is meant for an ordinary laptop: where a fixed loop takes longer than it
does there, as on a shared machine whose neighbours are busy, the time allowed grows in the same proportion.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

import pytest

SECONDS, MIB = 60.0, 2048.0
LOOP, LOOP_MS = (
    300_000,
    14.0,
)  # rounds of the fixed loop, and what they take on the machine that the budget is meant for
_began: dict[str, tuple[float, float]] = {}


def _is_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"


def kernel_peak_mib(pid: int) -> float | None:
    """Peak resident memory of process ``pid`` in MiB, where the system tells (Linux)."""
    try:
        with open(f"/proc/{pid}/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) / 1024


def slowness(tries: int = 7) -> float:
    """How many times longer the fixed loop takes here and now than on an ordinary laptop (at least 1, at most 4)."""

    def once() -> float:
        began, total = time.perf_counter(), 0
        for i in range(LOOP):
            total += i * i % 7
        return 1e3 * (time.perf_counter() - began)

    return min(4.0, max(1.0, statistics.median(once() for _ in range(tries)) / LOOP_MS))


def over_budget(seconds: float, mib: float | None, slow: float = 1.0) -> str | None:
    """What is wrong, or None: the limit is twice the budget, of time ``slow`` times that."""
    wrong = []
    if seconds > 2 * SECONDS * slow:
        wrong.append(
            f"ran {seconds:.0f} s on a machine {slow:.1f} times slower than the budget's {SECONDS:.0f} s are for"
        )
    if mib is not None and mib > 2 * MIB:
        wrong.append(f"used {mib:.0f} MiB; the budget is {MIB:.0f} MiB")
    return "; ".join(wrong) or None


def pytest_configure(config: pytest.Config) -> None:
    # nbval's kernels inherit this: one thread a worker, no progress bars, nothing recorded.
    os.environ.update({"WORKINGS_QUIET": "1", "WORKINGS_RECORD": "0"})
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    outcome = yield
    if not _is_cell(item):
        return
    notebook = item.parent
    if notebook.nodeid not in _began:
        _began[notebook.nodeid] = (call.start, slowness())
    cells = [other for other in item.session.items if other.parent is notebook]
    if call.when != "call" or item is not cells[-1]:
        return
    report = outcome.get_result()
    began, slow = _began[notebook.nodeid]
    seconds = time.time() - began
    slow = (slow + slowness()) / 2
    try:
        mib = kernel_peak_mib(notebook.kernel.km.provisioner.pid)
    except AttributeError:
        mib = None
    report.user_properties.append(("notebook", (notebook.nodeid, seconds, mib, slow)))
    wrong = over_budget(seconds, mib, slow)
    if wrong and report.passed:
        report.outcome, report.longrepr = "failed", f"{notebook.nodeid}: {wrong}"


def pytest_terminal_summary(terminalreporter) -> None:
    rows = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "notebook"
    ]
    if rows:
        terminalreporter.section("notebooks: run time and peak memory")
    for name, seconds, mib, slow in sorted(rows):
        memory = "memory not measured" if mib is None else f"{mib:6.0f} MiB of {MIB:.0f}"
        terminalreporter.write_line(
            f"{name}: {seconds:5.1f} s of {SECONDS:.0f} (machine {slow:.1f} times slower), {memory}"
        )
