"""Two at a time: the same results in the same order, and errors that are not swallowed."""

import threading

import numpy as np
import pytest
import torch

from workings.runs.parallel import cpu_threads, thread_map


def test_the_results_are_those_of_a_loop_in_its_order():
    work = lambda seed: np.random.default_rng(seed).standard_normal(3).tolist()
    assert thread_map(work, range(7)) == [work(seed) for seed in range(7)]


def test_two_pieces_run_at_the_same_time():
    meeting = threading.Barrier(2, timeout=120)  # passes only if both threads are inside
    assert thread_map(lambda _: meeting.wait() >= 0, range(2)) == [True, True]


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        thread_map(lambda x: 1 / x, [1, 0])


@pytest.mark.parametrize("asked", [1, 3, None])
def test_threads_are_put_back_after_an_error_too(asked):
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), cpu_threads(asked):
        assert torch.get_num_threads() == (asked or before)
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before
