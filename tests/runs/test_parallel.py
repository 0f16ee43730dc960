"""Two at a time: the same results in the same order, and errors that are not swallowed."""

import threading

import numpy as np
import pytest

from workings.runs.parallel import two_at_a_time


def test_the_results_are_those_of_a_loop_in_its_order():
    work = lambda seed: np.random.default_rng(seed).standard_normal(3).tolist()
    assert two_at_a_time(work, range(7)) == [work(seed) for seed in range(7)]


def test_two_pieces_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=120)  # passes only if both threads are inside
    assert two_at_a_time(lambda _: meeting.wait() >= 0, range(2)) == [True, True]


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        two_at_a_time(lambda x: 1 / x, [1, 0])
