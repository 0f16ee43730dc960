"""The store of a long run: an interruption loses nothing, and nothing is computed twice."""

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workings.runs import store as stores
from workings.runs.store import Store


@dataclasses.dataclass(frozen=True)
class Settings:
    splits: int = 3
    alpha: float = 0.1
    sizes: tuple[int, ...] = (1, 2)


def filled(path, count=3):
    store = Store(path, Settings())
    for number in range(count):
        store.put(f"split {number}", [number, 0.1 + 0.2])
    return store


def test_what_was_put_is_there_after_a_restart(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    filled(path)
    again = Store(path, Settings())
    assert len(again) == 3 and again.done("split 2") and not again.done("split 3")
    assert again.get("split 1") == [1, 0.1 + 0.2]  # to the last bit
    with pytest.raises(KeyError, match="'split 3' has not been computed yet; 3 keys are done"):
        again.get("split 3")


def test_a_result_is_the_same_before_and_after_a_restart(tmp_path):
    store = Store(tmp_path / "a", {})
    store.put("k", {"pair": (1, 2), 3: None})
    assert store.get("k") == {"pair": [1, 2], "3": None} == Store(tmp_path / "a", {}).get("k")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_keeps_every_whole_line_and_can_go_on(tmp_path, data):
    path = tmp_path / "run.jsonl"
    path.unlink(missing_ok=True)
    filled(path)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, 1000)) * len(content) // 1000
    path.write_bytes(content[:cut])
    whole = max(content[:cut].count(b"\n") - 1, 0)  # the first line holds the settings
    store = Store(path, Settings())
    assert [store.done(f"split {number}") for number in range(3)] == [number < whole for number in range(3)]
    for number in range(whole, 3):
        store.put(f"split {number}", [number, 0.1 + 0.2])
    told = lambda text: [{**json.loads(line), "made": None} for line in text.splitlines()]
    assert told(path.read_bytes()) == told(content)  # all but when and how fast


def test_a_damaged_line_before_the_last_is_named(tmp_path):
    path = tmp_path / "run.jsonl"
    filled(path)
    lines = path.read_text().splitlines(keepends=True)
    for number, line, words in [
        (3, '{"key": "split 1", "payl\n', ":3: damaged line"),
        (3, '{"key": "split 1"}\n', ":3: damaged line: expected a key and a payload"),
        (3, '{"key": 1, "payload": 1}\n', ":3: damaged line: expected a key and a payload"),
        (3, '{"key": "split 1", "payload": NaN}\n', ":3: damaged line: NaN is not a result"),
        (3, "[]\n", ":3: damaged line: expected an object"),
        (
            3,
            '{"key": "split 1", "payload": 1, "made": {"cpu": "x"}}\n',
            ":3: damaged line: 'made' must say commit, cpu",
        ),
        (3, "\n", ":3: damaged line"),
        (3, lines[1], ":3: damaged line: key 'split 0' stands twice"),
        (1, lines[1], ":1: damaged line: expected the settings"),
        (1, '{"settings": 1}\n', ":1: damaged line: expected the settings"),
        (4, '{"key": "split 2", "payl\n', ":4: damaged line"),  # it has its end, so it was not cut while written
    ]:
        path.write_text("".join([*lines[: number - 1], line, *lines[number:]]))
        before = path.read_bytes()
        with pytest.raises(ValueError, match=words):
            Store(path, Settings())
        assert path.read_bytes() == before


def test_bytes_that_are_no_text_are_named_too(tmp_path):
    path = tmp_path / "run.jsonl"
    filled(path)
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(ValueError, match=":5: damaged line"):
        Store(path, Settings())


def test_results_of_other_settings_are_refused_with_what_changed(tmp_path):
    path = tmp_path / "run.jsonl"
    filled(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"\(alpha was 0\.1, is 0\.2; sizes was \[1, 2\], is \[1\]\).*delete the file"):
        Store(path, Settings(alpha=0.2, sizes=(1,)))
    with pytest.raises(ValueError, match="splits was 3, is 'absent'"):
        Store(path, {"alpha": 0.1, "sizes": [1, 2]})
    assert path.read_bytes() == before
    assert len(Store(path, {"splits": 3, "alpha": 0.1, "sizes": (1, 2)})) == 3


@pytest.mark.parametrize("payload", [math.nan, [1.0, math.inf], {"a": -math.inf}, float(np.float64("nan"))])
def test_what_is_no_number_is_refused_and_leaves_no_trace(tmp_path, payload):
    store = filled(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(ValueError, match=r"'k' cannot be stored: .*Every number must be finite"):
        store.put("k", payload)
    assert not store.done("k") and (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize("payload", [np.zeros(2), np.float32(1), {1, 2}, object()])
def test_what_json_cannot_hold_is_refused_with_the_remedy(tmp_path, payload):
    with pytest.raises(TypeError, match="Turn arrays into lists"):
        filled(tmp_path / "a").put("k", payload)


def test_a_key_is_a_text_and_is_put_once(tmp_path):
    store = filled(tmp_path / "a")
    with pytest.raises(ValueError, match="'split 1' is already done"):
        store.put("split 1", 0)
    for key in (1, None, ("a", 1)):
        with pytest.raises(TypeError, match="key must be a text"):
            store.put(key, 0)


@pytest.mark.parametrize("wrong", [None, 3, Settings, [1]])
def test_settings_are_a_dataclass_or_a_mapping(tmp_path, wrong):
    with pytest.raises(TypeError, match="a dataclass or a mapping"):
        Store(tmp_path / "a", wrong)
    with pytest.raises(ValueError, match="plain finite values"):
        Store(tmp_path / "a", {"alpha": math.nan})


def test_a_full_disk_leaves_no_half_line_behind(tmp_path, monkeypatch):
    store = filled(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()

    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.put("k", [1, 2, 3])
    assert (tmp_path / "a").read_bytes() == before and not store.done("k")
    store.put("k", [1, 2, 3])
    assert Store(tmp_path / "a", Settings()).get("k") == [1, 2, 3]


CHILD = """
import pathlib, sys, time
from workings.runs.store import Store
folder = pathlib.Path(sys.argv[1])
store = Store(folder / "run.jsonl", {"splits": 60})
for number in range(60):
    key = str(number)
    if store.done(key):
        continue
    while number == 59 and not (folder / "may end").exists():  # else it might end before it is killed
        (folder / "waiting").touch()
        time.sleep(0.001)
    with open(folder / "computed.txt", "a") as file:
        file.write(key + "\\n")
    store.put(key, [number] * 2000)
    with open(folder / "stored.txt", "a") as file:
        file.write(key + "\\n")
    time.sleep(0.002)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_run_goes_on_where_it_stopped_with_nothing_lost_and_nothing_twice(tmp_path):
    moments, kills, log = random.Random(0), 4, tmp_path / "stored.txt"
    size = lambda: log.stat().st_size if log.exists() else 0
    for _ in range(kills):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)])
        start = size()
        # Wait until this child has stored something, where anything is left, then kill it at some moment of its work.
        while child.poll() is None and size() == start and not (tmp_path / "waiting").exists():
            time.sleep(0.001)
        time.sleep(moments.random() * 0.03)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    (tmp_path / "may end").touch()
    assert subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)]).returncode == 0
    store = Store(tmp_path / "run.jsonl", {"splits": 60})
    assert len(store) == 60
    assert all(store.get(str(number)) == [number] * 2000 for number in range(60))
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert sorted(int(json.loads(line)["key"]) for line in lines[1:]) == list(range(60))
    # What had been stored was never computed again: a key is repeated only where a kill fell between the two.
    computed = (tmp_path / "computed.txt").read_text().split()
    assert len(computed) - len(set(computed)) <= kills
    stored = (tmp_path / "stored.txt").read_text().split()
    assert len(stored) == len(set(stored))


def test_two_stores_of_one_file_see_each_others_results(tmp_path):
    first, second = Store(tmp_path / "a", Settings()), Store(tmp_path / "a", Settings())
    first.put("x", 1)
    second.put("x", 2)  # computed twice: the first stands
    second.put("y", 3)
    first.put("z", 4)
    assert (second.get("x"), first.get("y")) == (1, 3)
    assert len(Store(tmp_path / "a", Settings())) == 3


def test_a_file_deleted_under_a_run_is_not_filled_with_half_a_run(tmp_path):
    store = filled(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(RuntimeError, match="has been deleted or cut while this run was writing"):
        store.put("k", 1)
    assert len(filled(tmp_path / "a")) == 3


WRITER = """
import pathlib, sys
from workings.runs.store import Store
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
(folder / name).touch()
while len(list(folder.glob("writer-*"))) < 3:
    pass
store = Store(folder / "run.jsonl", {"keys": 40})
for number in range(40):
    if not store.done(str(number)):
        store.put(str(number), [number] * 500)
"""


def test_three_processes_that_write_at_once_leave_every_key_once(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, f"writer-{number}"], stderr=subprocess.PIPE) for number in range(3)]
    for writer in writers:
        assert writer.communicate()[1] == b"" and writer.returncode == 0
    store = Store(tmp_path / "run.jsonl", {"keys": 40})  # refuses a key that stands twice
    assert len(store) == 40 and all(store.get(str(number)) == [number] * 500 for number in range(40))


def sittings(path):
    """What a process that opens ``path`` alone is told of earlier ones."""
    code = "import json, sys; from workings.runs import store; kept = store.Store(sys.argv[1], {}); print(json.dumps(store.earlier_sittings()))"
    return json.loads(subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True).stdout)


def test_a_run_that_goes_on_elsewhere_names_its_parts_and_sums_their_time(tmp_path):
    line = lambda key, **made: json.dumps({"key": key, "payload": 1} | ({"made": made} if made else {}))
    there = {"commit": "a" * 40, "cpu": "some processor"}
    path = tmp_path / "a"
    path.write_text(
        "\n".join(
            [
                json.dumps({"settings": {}}),
                line("x", **there, date="2026-11-30T10:00:00Z", seconds=2.5),
                line("y", **there, date="2026-12-01T10:00:00Z", seconds=1.5),
                line("y, in part", **there, date="2026-12-01T09:59:59Z", seconds=1.0),  # within those
                line("z"),
                "",
            ]
        )
    )
    unknown = {"commit": None, "cpu": None, "results": 1, "seconds": None, "from": None, "to": None}
    known = {**there, "results": 3, "seconds": 4.5, "from": "2026-11-30", "to": "2026-12-01"}
    assert sittings(path) == [known, unknown]
    here = Store(path, {})
    here.put("w", 2)
    made = json.loads(path.read_text().splitlines()[-1])["made"]
    assert made["commit"] and made["cpu"] and 0 <= made["seconds"] < 60
    assert [one["results"] for one in sittings(path)] == [3, 1, 1]


def test_a_store_is_taken_over_unless_one_is_there(tmp_path):
    kept, runs = tmp_path / "unfinished", tmp_path / "runs"
    for name in ("one/a.jsonl", "two/b.jsonl"):
        (kept / name).parent.mkdir(parents=True)
        filled(kept / name)
    (runs / "two").mkdir(parents=True)
    filled(runs / "two/b.jsonl", 1)
    assert stores.go_on(kept, runs) == [runs / "one/a.jsonl"]
    assert len(Store(runs / "one/a.jsonl", Settings())) == 3 and len(Store(runs / "two/b.jsonl", Settings())) == 1
    assert stores.go_on(tmp_path / "nowhere", runs) == []


def test_what_this_process_computes_is_no_earlier_sitting(tmp_path):
    code = (
        "import json, sys; from workings.runs import store; store.Store(sys.argv[1], {}).put('a', 1);"
        "again = store.Store(sys.argv[1], {}); print(json.dumps([again.get('a'), store.earlier_sittings()]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, check=True)
    assert json.loads(done.stdout) == [1, []]
