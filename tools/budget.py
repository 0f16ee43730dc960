"""A pytest plugin: each notebook's time and peak memory, reported always, held to the budget.

Loaded by the `conftest.py` above. It watches nbval's items and asks the notebook's kernel, before it stops, for the
processor time it has used and for its peak memory. The budget of 45 s on the two cores of an ordinary laptop is
90 s of processor time. Every run says what each notebook took, and a notebook fails beyond three times the budget. Processor time
hardly grows when other work runs beside the notebook, so two notebooks may run at once; where the processor itself is slower than the
laptop's, measured on a fixed loop, the time allowed grows in the same proportion. The loop knows nothing of vector units, caches
and memory: with the arithmetic of an older processor a notebook took 2.2 times as long while the loop took as long as before.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

import pytest

from last_digit import reported

SECONDS, MIB = 90.0, 2048.0  # of processor time; of memory
LIMIT, LIMIT_MIB = 3.0, 2.0  # times the budget
# Rounds of the fixed loop, and what they take on the machine that the budget is meant for.
LOOP, LOOP_MS = 300_000, 14.0
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


def kernel_seconds(pid: int) -> float | None:
    """Processor time that process ``pid`` and its threads have used, in seconds; ``None`` where it is gone."""
    import psutil  # comes with ipykernel

    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return used.user + used.system


def slowness(tries: int = 7) -> float:
    """How many times more processor time the fixed loop takes here than on an ordinary laptop (at least 1, at most 4)."""

    def once() -> float:
        began, total = time.thread_time(), 0
        for i in range(LOOP):
            total += i * i % 7
        return 1e3 * (time.thread_time() - began)

    return min(4.0, max(1.0, statistics.median(once() for _ in range(tries)) / LOOP_MS))


def over_budget(seconds: float | None, mib: float | None, slow: float = 1.0) -> str | None:
    """What is wrong, or ``None``. ``seconds`` are of processor time, allowed ``slow`` times more; ``None`` is not measured."""
    wrong = []
    if seconds is not None and seconds > LIMIT * SECONDS * slow:
        wrong.append(
            f"used {seconds:.0f} s of processor time on a processor {slow:.1f} times slower than the budget's "
            f"{SECONDS:.0f} s are for"
        )
    if mib is not None and mib > LIMIT_MIB * MIB:
        wrong.append(f"used {mib:.0f} MiB; the budget is {MIB:.0f} MiB")
    return "; ".join(wrong) or None


def pytest_configure(config: pytest.Config) -> None:
    # nbval's kernels inherit this: one thread per worker, no progress bars, nothing recorded, no settings of the user's.
    os.environ.update({"WORKINGS_QUIET": "1", "WORKINGS_RECORD": "0"})
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.getoption("nbval", default=False):
        from workings.runs import isolation

        for name, value in isolation.variables().items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


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
    clock = time.time() - began
    slow = (slow + slowness()) / 2
    try:
        pid = notebook.kernel.km.provisioner.pid
    except AttributeError:
        seconds = mib = None
    else:
        seconds, mib = kernel_seconds(pid), kernel_peak_mib(pid)
    report.user_properties.append(("notebook", (notebook.nodeid, seconds, clock, mib, slow)))
    wrong = over_budget(seconds, mib, slow)
    if wrong and report.passed:
        report.outcome, report.longrepr = "failed", f"{notebook.nodeid}: {wrong}"


def line(name: str, seconds: float | None, clock: float, mib: float | None, slow: float) -> str:
    """One notebook's line of the summary."""
    time_used = "time not measured" if seconds is None else f"{seconds:5.1f} s of processor time of {SECONDS:.0f}"
    memory = "memory not measured" if mib is None else f"{mib:5.0f} MiB of {MIB:.0f}"
    return f"{name}: {time_used} (processor {slow:.1f} times slower), {clock:.0f} s by the clock, {memory}"


def pytest_terminal_summary(terminalreporter) -> None:
    rows = reported(terminalreporter, "notebook")
    if rows:
        terminalreporter.section("notebooks: processor time and peak memory")
    for name in sorted(rows):
        terminalreporter.write_line(line(*rows[name]))
