"""The page on sweeps: its arithmetic, its table from the recorded file, and files that nobody measured."""

import copy
import json
import math
import re

import pytest

import sweep_page
from workings.ledger.results import ResultsError
from workings.runs import checkout, sweep

PAGE = checkout.root() / "book" / "sweeps.md"
MEASURED = {
    "schema": 1,
    "sweep": {"chapter": "sap", "grid": ["seed=0:8"], "points": 8, "repeats": 2, "empty_points": 100},
    "rows": [
        {"workers": 1, "wall_s": [18.0, 19.0], "point_s": [2.0, 2.1], "start_s": [2.0, 2.5]},
        {"workers": 2, "wall_s": [10.8, 11.0], "point_s": [2.2, 2.3], "start_s": [2.0, 2.1]},
    ],
    "empty": {"wall_s": [2.9, 2.6], "point_s": [0.002, 0.001]},
    "circumstances": {"date": "2026-01-02T03:04:05Z", "commit": "abcdef" * 7, "hardware": {"cores": 2, "cpu": "Test"}},
}


def page(folder, content):
    (folder / sweep_page.FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    return sweep_page.scaling_markdown(folder).replace("\u00a0", " ")


def changed(path, value):
    content = copy.deepcopy(MEASURED)
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return content


def test_the_table_shows_the_least_of_the_repeats_and_what_follows(tmp_path):
    said = page(tmp_path, MEASURED)
    assert "| 1 | 18.0 s | 2.00 s | 2.00 s | 1.00 | 89% |" in said
    assert "| 2 | 10.8 s | 2.20 s | 2.00 s | 1.67 | 81% |" in said
    assert "two workers are 1.82 times as fast" in said  # 16 / 8.8
    assert "10% longer" in said
    assert "on disk took 5.0 ms" in said  # (2.6 - 2.0) / 100 - 0.001


def test_the_arithmetic_is_labelled_and_says_where_it_stops_paying(tmp_path):
    said = page(tmp_path, MEASURED)
    assert "by arithmetic" in said and "Nobody ran this" in said and "Assumed and not measured" in said
    assert "$h$ = 5.0 ms is measured above" in said
    assert "about 440 workers or 220 machines" in said  # 2.2 s / 5 ms
    assert "must last at least 1.00 s" in said  # 200 workers at 5 ms


def test_where_handling_was_too_little_to_tell_the_schedulers_limit_is_assumed(tmp_path):
    said = page(tmp_path, changed(["empty", "wall_s"], [1.9]))
    assert "took too little to tell" in said and "$h$ = 1.0 ms is assumed for the scheduler" in said


@pytest.mark.parametrize("machines", [1, 3, 100, 5000])
def test_a_plan_is_never_faster_than_its_workers_or_its_client(machines):
    found = sweep_page.plan(1000, 2.0, 0.004, 3.0, machines)
    assert found.whole == 3.0 + max(math.ceil(1000 / (2 * machines)) * 2.0, 4.0)
    assert found.whole >= 3.0 + 1000 * 2.0 / found.workers
    assert found.gain <= found.workers


def test_more_machines_never_slow_a_plan_and_stop_helping():
    times = [sweep_page.plan(10_000, 2.0, 0.004, 3.0, machines).whole for machines in (1, 10, 100, 250, 1000, 10_000)]
    assert times == sorted(times, reverse=True)
    assert times[-1] == times[-2] == 43.0  # 10,000 points at 4 ms, after the start


def test_without_a_measurement_the_page_says_so(tmp_path):
    assert "Not measured yet" in sweep_page.scaling_markdown(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["rows"], [], "rows: expected one for 1 worker"),
        (["rows", 0, "wall_s"], "fast", r"rows\[0\].wall_s: expected a list of positive"),
        (["rows", 1, "point_s"], [-1.0], r"rows\[1\].point_s"),
        (["rows", 1, "wall_s"], [1.0], r"rows\[1\]: expected a sweep to last longer"),
        (["sweep", "points"], 0, "sweep.points"),
        (["sweep", "grid"], "seed=1", "sweep.grid"),
        (["empty"], {}, "empty: expected two lists"),
        (["empty", "point_s"], [], "empty.point_s"),
        (["circumstances"], None, "circumstances: expected an object"),
    ],
)
def test_a_file_edited_into_nonsense_is_refused(tmp_path, path, value, message):
    with pytest.raises(ResultsError, match=message):
        page(tmp_path, changed(path, value))


def test_a_file_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(ResultsError, match="not valid JSON"):
        page(tmp_path, "{")
    with pytest.raises(ResultsError, match="NaN is not a measured value"):
        page(tmp_path, '{"rows": NaN}')


def test_the_recorded_file_is_whole_and_its_numbers_stand_nowhere_else():
    said = sweep_page.scaling_markdown()
    assert "Not measured yet" not in said
    assert not re.search(r"\d(\.\d+)? (s|ms|min)\b", PAGE.read_text()), "figures come from the recorded file"


def test_the_page_names_the_settings_of_every_chapters_experiment():
    text = PAGE.read_text()
    for script in checkout.notebook_scripts():
        (line,) = [line for line in text.splitlines() if line.startswith(f"- `{script.stem}`:")]
        assert re.findall(r"`(\w+)`", line)[1:] == list(sweep.experiment(script.stem).defaults)
