"""A peer that is missing where benchmarks are run again keeps what was measured before, with its day."""

import importlib.util
import sys

from workings.runs import checkout

SPEC = importlib.util.spec_from_file_location("bench_run", checkout.root() / "benchmarks" / "run.py")
before = list(sys.path)
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)
sys.path[:] = before


def row(number, theirs=None, note=""):
    return {"id": f"r{number}", "theirs": theirs, "note": note}


def test_a_row_without_its_peer_is_the_last_one_that_was_measured():
    old = [row(1, 2.0, "fast"), row(2, 3.0), row(3)]
    new = [row(1, None, "not installed"), row(2, 5.0), row(3, None, "not installed"), row(4, None, "not installed")]
    found = bench.kept(new, old, "2026-01-02T03:04:05Z")
    assert found[0] == row(1, 2.0, "fast; measured on 2026-01-02, not installed in the latest run")
    assert found[1:] == new[1:]  # measured again; never measured
    again = bench.kept(new, found, "2026-09-09T00:00:00Z")
    assert again[0] == found[0], "the day stays that of the measurement"


def test_a_row_that_has_no_number_by_its_nature_is_not_taken_for_a_missing_peer():
    assert bench.kept([row(1, None, "refuses this size")], [row(1, 2.0)], "2026-01-02") == [
        row(1, None, "refuses this size")
    ]
