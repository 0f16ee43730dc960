"""The time and memory that a notebook may take, and what a slow machine changes in it."""

import pytest

import budget


@pytest.mark.parametrize(
    ("seconds", "mib", "slow", "said"),
    [
        (119, 4095, 1.0, None),
        (121, 100, 1.0, "ran 121 s"),
        (121, 100, 1.1, None),
        (265, None, 2.2, "ran 265 s"),
        (10, 4097, 4.0, "used 4097 MiB"),  # a slow machine has no smaller memory
        (10, None, 1.0, None),
    ],
)
def test_twice_the_budget_is_the_limit_and_time_grows_with_a_slow_machine(seconds, mib, slow, said):
    wrong = budget.over_budget(seconds, mib, slow)
    assert wrong is None if said is None else wrong.startswith(said)


@pytest.mark.parametrize(("loop", "expected"), [(0.007, 1.0), (0.014, 1.0), (0.035, 2.5), (0.5, 4.0)])
def test_slowness_is_the_median_time_of_the_loop_over_the_laptops(monkeypatch, loop, expected):
    lasts = [loop, loop, loop, 9.0, 9.0]  # two of five runs are disturbed
    stamps = iter([stamp for i, length in enumerate(lasts) for stamp in (100.0 * i, 100.0 * i + length)])
    monkeypatch.setattr(budget.time, "perf_counter", lambda: next(stamps))
    assert budget.slowness(tries=5) == pytest.approx(expected)


def test_the_loop_is_long_enough_to_be_timed_and_short_enough_to_be_run_often():
    assert 5 < budget.slowness(tries=1) * budget.LOOP_MS < 100
