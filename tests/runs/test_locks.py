"""Locks between processes: one at a time, and none left behind."""

import subprocess
import sys

import pytest

from workings.runs import locks

ADD = """
import pathlib, sys
from workings.runs import locks
folder = pathlib.Path(sys.argv[1])
for _ in range(50):
    with locks.locked(folder / "lock"):
        number = int((folder / "count").read_text())
        (folder / "count").write_text(str(number + 1))
"""


def test_who_holds_the_lock_is_alone(tmp_path):
    (tmp_path / "count").write_text("0")
    adding = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in adding] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"
    assert [file.name for file in tmp_path.iterdir()] == ["count"]


def test_who_does_not_want_to_wait_is_told(tmp_path):
    with locks.locked(tmp_path / "lock"), pytest.raises(locks.Busy), locks.locked(tmp_path / "lock", wait=False):
        pass
    with locks.locked(tmp_path / "lock", wait=False):
        pass
    assert not list(tmp_path.iterdir())


def test_an_error_inside_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), locks.locked(tmp_path / "lock"):
        raise KeyError
    with locks.locked(tmp_path / "lock", wait=False):
        pass
