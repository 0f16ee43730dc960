"""The cases of live figures: what is stored, what is compared, what is refused."""

import json
import math

import numpy as np
import pytest

from workings.show.controls import Axis, Control, Frame
from workings.show.live import keep_cases

SLUG = "conformal_set_size"
CASES = {"root": (math.sqrt, [(2.0,), (9.0,)]), "twice": (lambda x: 2 * np.asarray(x), [([1.0, 0.1],)])}


@pytest.fixture
def file(tmp_path):
    keep_cases(SLUG, CASES, record=True, results=tmp_path)
    return tmp_path / "uncertainty" / SLUG / "live.json"


def test_cases_are_stored_by_function_with_arguments_and_results(file):
    kept = json.loads(file.read_text())
    assert kept["chapter"] == SLUG and list(kept["functions"]) == ["root", "twice"]
    assert kept["functions"]["root"][1] == [[9.0], 3.0]
    assert kept["functions"]["twice"] == [[[[1.0, 0.1]], [2.0, 0.2]]]


def test_a_file_that_agrees_is_left_as_it_is(file, tmp_path):
    text = file.read_text().replace("1.4142135623731", "1.41421356237310")
    file.write_text(text)
    for record in (False, True):
        keep_cases(SLUG, CASES, record=record, results=tmp_path)
    assert file.read_text() == text


@pytest.mark.parametrize(
    "change", [("3.0", "3.00000001"), ('"root"', '"other"'), ("[9.0]", "[8.0]"), ("0.2]", "0.2, 1]")]
)
def test_a_file_that_disagrees_is_refused_and_written_again_when_recording(file, tmp_path, change):
    before = file.read_text()
    file.write_text(before.replace(*change))
    assert file.read_text() != before
    with pytest.raises(ValueError, match=f"make refresh NOTEBOOK={SLUG}"):
        keep_cases(SLUG, CASES, record=False, results=tmp_path)
    keep_cases(SLUG, CASES, record=True, results=tmp_path)
    assert file.read_text() == before


def test_without_a_file_nothing_is_written_or_missed(tmp_path):
    keep_cases(SLUG, CASES, record=False, results=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [math.inf, math.nan, None])
def test_what_json_cannot_say_exactly_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="bad: a case must hold"):
        keep_cases(SLUG, {"bad": (lambda x: wrong, [(1.0,)])}, record=True, results=tmp_path)


def test_a_control_names_its_script():
    frames = [Frame(b"\x89PNG\r\n\x1a\n" + bytes([i]), f"a picture of the value number {i}") for i in range(2)]
    made = lambda live: Control("one", [Axis("m", ("1", "2"))], frames, caption="One slider.", live=live).to_html()
    assert made("some_chapter").startswith('<figure class="wk-control" id="one" data-live="some_chapter">')
    assert "data-live" not in made(None)
    with pytest.raises(ValueError, match="name of a script"):
        made('x" onload="')
