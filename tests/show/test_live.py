"""The cases of live figures: what is stored, what is compared, what is refused."""

import json
import math

import numpy as np
import pytest
import torch

import live_weights
from workings.show.controls import Axis, Control, Frame
from workings.show.live import keep_cases, keep_weights, load_weights

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


def test_weights_are_stored_in_half_precision_and_given_as_stored(tmp_path):
    array = np.linspace(-3, 70, 12).reshape(3, 4)
    fresh = keep_weights(SLUG, {"a": array}, record=False, results=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is written or missed"
    kept = keep_weights(SLUG, {"a": array}, record=True, results=tmp_path)
    for given in (fresh, kept, load_weights(SLUG, results=tmp_path)):
        assert given["a"].dtype == np.float32 and np.array_equal(
            given["a"], array.astype(np.float16).astype(np.float32)
        )
    again = keep_weights(SLUG, {"a": array + 0.5}, record=False, results=tmp_path)
    assert np.array_equal(again["a"], kept["a"]), "another training does not change what the page runs"


def test_small_whole_numbers_are_stored_as_letters(tmp_path):
    array = np.arange(-45, 46, dtype=np.int8).reshape(7, 13)
    fresh = keep_weights(SLUG, {"a": array, "b": [0.5]}, record=False, results=tmp_path)
    kept = keep_weights(SLUG, {"a": torch.from_numpy(array), "b": [0.5]}, record=True, results=tmp_path)
    for given in (fresh, kept, load_weights(SLUG, results=tmp_path)):
        assert given["a"].dtype == np.float32 and np.array_equal(given["a"], array) and given["b"].tolist() == [0.5]
    stored = json.loads((tmp_path / "uncertainty" / SLUG / "live_weights.json").read_text())["arrays"]["a"]
    assert (
        stored["shape"] == [7, 13]
        and stored["letters"].isprintable()
        and [ord(one) - 80 for one in stored["letters"]] == list(range(-45, 46))
    )
    for wrong in (46, -46, -128):
        with pytest.raises(ValueError, match="holds numbers from -45 to 45"):
            keep_weights(SLUG, {"a": np.full(3, wrong, np.int8)}, record=False, results=tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [{"b": np.zeros((3, 4))}, {"a": np.zeros((4, 3))}, {"a": np.full((3, 4), 1e5)}, {"a": np.full((3, 4), np.nan)}],
)
def test_arrays_of_another_name_or_shape_and_what_half_precision_cannot_hold_are_refused(tmp_path, arrays):
    keep_weights(SLUG, {"a": np.ones((3, 4))}, record=True, results=tmp_path)
    with pytest.raises(ValueError, match="holds"):
        keep_weights(SLUG, arrays, record=False, results=tmp_path)


def test_weights_that_were_changed_are_refused_by_the_library_and_by_the_book(tmp_path):
    with pytest.raises(FileNotFoundError, match="make refresh"):
        load_weights(SLUG, results=tmp_path)
    keep_weights(SLUG, {"a": np.ones(3)}, record=True, results=tmp_path)
    scripts = tmp_path / "html" / "_static" / "live"
    scripts.mkdir(parents=True)
    with pytest.raises(ValueError, match="no script"):
        live_weights.put(tmp_path / "html", tmp_path)
    (scripts / f"{SLUG}.js").write_text("// a script")
    live_weights.put(tmp_path / "html", tmp_path)
    before, script = (scripts / f"{SLUG}.js").read_text().splitlines()
    assert script == "// a script" and before.startswith(f'workingsLive.networks["{SLUG}"] = {{"a":{{"shape":[3],')
    file = tmp_path / "uncertainty" / SLUG / "live_weights.json"
    file.write_text(file.read_text().replace('"shape": [', '"shape": [1, '))
    for refused in (load_weights, lambda slug, results: live_weights.put(tmp_path / "html", results)):
        with pytest.raises(ValueError, match="changed by hand"):
            refused(SLUG, results=tmp_path)
