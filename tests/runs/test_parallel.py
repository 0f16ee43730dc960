"""Two at a time: the same results in the same order, and errors that are not swallowed."""

import threading

import numpy as np
import pytest

from workings.runs.parallel import thread_map


def test_the_results_are_those_of_a_loop_in_its_order():
    work = lambda seed: np.random.default_rng(seed).standard_normal(3).tolist()
    assert thread_map(work, range(7)) == [work(seed) for seed in range(7)]


def test_two_pieces_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=120)  # passes only if both threads are inside
    assert thread_map(lambda _: meeting.wait() >= 0, range(2)) == [True, True]


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        thread_map(lambda x: 1 / x, [1, 0])
