"""The chapter `giraffe`: its measurements, its control experiments and the resumable runs from scratch."""

import dataclasses
import math
import threading

import pytest
import torch

from workings.chapters.giraffe import demo as study
from workings.chapters.giraffe import scratch as scratch
from workings.chapters.giraffe.demo import Base
from workings.chapters.giraffe.settings import Settings
from workings.language_models.lines_task import IGNORE, Lines, lines_batch
from workings.runs.store import Store
from workings.seeding import generator

TINY = dataclasses.replace(Settings.full(dry_run=True), seeds=(0,), zero_shot=("RoPE", "linear 4"))


@pytest.fixture(scope="module")
def base():
    return study.lines_base(0, TINY)


@pytest.fixture(scope="module")
def text_base():
    return study.character_base(0, TINY)


def test_the_distance_of_a_question_is_counted_to_the_value_behind_its_key():
    # keys 5, 6, 7 with values 20, 21, 22; then 6 and 5 are asked at positions 6 and 8
    tokens = torch.tensor([[5, 20, 6, 21, 7, 22, 6, 21, 5, 20]])
    targets = torch.full_like(tokens, IGNORE)
    targets[0, 6], targets[0, 8] = 21, 20
    assert study.distances(Lines(tokens, targets)).tolist() == [[6 - 3, 8 - 1]]


def test_every_distance_points_at_the_answer():
    lines = lines_batch(8, 20, 5, generator=generator(0, "lines"))
    back = study.distances(lines)
    places = (lines.targets != IGNORE).nonzero()[:, 1].view(8, 5)
    assert torch.equal(lines.tokens.gather(1, places - back), lines.targets.gather(1, places))
    assert int(back.min()) >= 1


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [({1: 0.99, 2: 0.9, 4: 0.8, 8: 0.4}, 4), ({1: 0.7, 2: 0.9}, 0), ({1: 0.9, 2: 0.7, 4: 0.95}, 1), ({8: 0.9, 1: 0.9}, 8)],
)  # fmt: skip
def test_reach_stops_at_the_first_failure(accuracy, expected):
    assert study.reach(accuracy) == expected


def test_linear_scaling_of_a_model_is_its_reading_of_divided_positions(base):
    lines = study.test_lines(0, 2, TINY)
    scaled = base.model(lines.tokens, **study.options_of("linear 4", base.model.theta, TINY.length))
    divided = base.model(lines.tokens, positions=torch.arange(128) / 4)
    assert torch.allclose(scaled, divided, atol=1e-5)  # float32 sums of 64 terms near 1


def test_without_rotation_every_clock_stands():
    theta = torch.tensor([1.0, 0.1])
    assert study.options_of("no rotation", theta, 64)["theta"].tolist() == [0.0, 0.0]


def test_an_unknown_change_is_refused_with_the_list():
    with pytest.raises(ValueError, match="no change 'linear 3'; there are: RoPE, linear 2"):
        study.options_of("linear 3", torch.ones(4), 64)


def test_the_window_changes_nothing_within_it_and_something_beyond(base):
    narrow = study.windowed(base.model, TINY.length)
    short, long = study.test_lines(0, 1, TINY).tokens, study.test_lines(0, 4, TINY).tokens
    assert torch.allclose(narrow(short), base.model(short), atol=1e-6)
    assert not torch.allclose(narrow(long)[:, -1], base.model(long)[:, -1], atol=1e-3)
    assert base.model.window is None


def test_a_narrow_model_cannot_tell_what_stands_beyond_its_window(base):
    narrow, tokens = study.windowed(base.model, TINY.length), study.test_lines(0, 2, TINY).tokens
    other = tokens.clone()
    # one layer, and the key shift looks one further back: the last token depends on the last L + 1
    other[:, : 2 * TINY.length - TINY.length - 1] = 0
    assert torch.allclose(narrow(tokens)[:, -1], narrow(other)[:, -1], atol=1e-5)


def test_fine_tuning_leaves_the_base_as_it_was(base):
    before = [p.clone() for p in base.model.parameters()]
    rows = study.tuned_cell(base, "linear 4", TINY)
    assert all(torch.equal(a, b) for a, b in zip(before, base.model.parameters(), strict=True))
    own = {row["multiple"] for row in rows if row["eval"] == "linear 4"}
    assert own == {1, 2, 4, 8} and {row["train"] for row in rows} == {"linear 4"}
    assert {row["multiple"] for row in rows if row["eval"] == "linear 16"} == {8}


def test_randomised_positions_are_a_way_to_train_not_to_read(base):
    rows = study.tuned_cell(base, study.RANDOMISED, TINY)
    assert {row["eval"] for row in rows} == {"linear 4", "RoPE"}


def test_the_pairing_experiment_starts_from_the_same_weights(base):
    found = study.layout_cell(base, TINY)
    plain = study.retrieval(base, ["RoPE"], TINY, multiples=[1])[0]["accuracy"]
    rows = {(row["kind"], row["layout"]): row for row in found["rows"]}
    assert rows["RoPE", "half"]["before"] == plain and len(rows) == 4
    assert [len(row["losses"]) for row in found["curves"]] == [TINY.layout_steps] * 4
    losses = {(row["kind"], row["layout"]): row["losses"] for row in found["curves"]}
    assert len({tuple(values) for values in losses.values()}) == 4, "two cells are the same experiment"


def test_a_model_that_knows_nothing_has_a_perplexity_of_its_alphabet(text_base):
    with torch.no_grad():
        flat = Base(0, study.windowed(text_base.model, 10_000))
        flat.model.lm_head.weight.zero_()
    (row,) = study.perplexity(flat, ["RoPE"], TINY)
    assert len(row["nll"]) == 16
    assert study.perplexity_at(row, 0.5, 1) == pytest.approx(26, rel=1e-5)  # float32 logits
    assert study.perplexity_at(row, 3, 4) == pytest.approx(26, rel=1e-5)


def test_perplexity_of_a_range_is_taken_after_the_mean():
    row = {"nll": [math.log(2)] * 2 + [math.log(8)] * 2 + [0.0] * 12}
    assert study.perplexity_at(row, 0, 1) == pytest.approx(4)
    assert study.perplexity_at(row, 0.5, 1) == pytest.approx(8)


def test_the_spread_is_over_seeds():
    rows = [{"seed": s, "eval": "a", "accuracy": v} for s, v in enumerate((0.1, 0.2, 0.6))]
    mean, spread = study.over_seeds([*rows, {"seed": 9, "eval": "b", "accuracy": 9.0}], "accuracy", eval="a")
    assert mean == pytest.approx(0.3) and spread == pytest.approx(math.sqrt(0.07))
    with pytest.raises(LookupError, match="no row has"):
        study.over_seeds(rows, "accuracy", eval="c")


def test_by_distance_and_overall_are_one_measurement(base):
    rows = study.distance_cell(base, TINY)
    lines = study.test_lines(0, 4, TINY)
    bins = study.distances(lines).flatten() * 2 // TINY.length
    counts = [int((bins == 2 * row["from"]).sum()) for row in rows]
    overall = study.retrieval(base, ["RoPE"], TINY, multiples=[4])[0]["accuracy"]
    mixed = sum(n * row["accuracy"] for n, row in zip(counts, rows, strict=True)) / sum(counts)
    assert sum(counts) == TINY.sequences * TINY.queries and mixed == pytest.approx(overall)


def test_work_on_threads_comes_back_in_order(base):
    barrier = threading.Barrier(2, timeout=120)

    def work(which, name):
        barrier.wait()
        return [(which.seed, name)]

    bases = [base._replace(seed=seed) for seed in (0, 1)]
    assert study.over_bases(work, bases, ["a", "b"]) == [(0, "a"), (1, "a"), (0, "b"), (1, "b")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    settings = dataclasses.replace(
        scratch.scratch_settings(dry_run=True, device="cpu"), tuned=("linear 4",), seeds=(0,)
    )
    tables = scratch.run_cells(settings, Store(folder / "cells.jsonl", settings), folder)
    return settings, folder, tables


def test_a_finished_run_is_read_and_not_computed_again(finished, monkeypatch):
    settings, folder, tables = finished

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(study, "lines_base", refuse)
    monkeypatch.setattr(study, "character_base", refuse)
    assert scratch.run_cells(settings, Store(folder / "cells.jsonl", settings), folder) == tables


def test_an_interrupted_run_ends_with_the_same_tables(finished, tmp_path, monkeypatch):
    settings, _, tables = finished
    real, calls = study.layout_cell, []

    def stop(*arguments):
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "layout_cell", stop)
    with pytest.raises(KeyboardInterrupt):
        scratch.run_cells(settings, Store(tmp_path / "cells.jsonl", settings), tmp_path)
    half = len(Store(tmp_path / "cells.jsonl", settings))
    assert calls and 0 < half < len(scratch.cells(settings))
    monkeypatch.setattr(study, "layout_cell", real)
    assert scratch.run_cells(settings, Store(tmp_path / "cells.jsonl", settings), tmp_path) == tables


def test_cells_of_other_settings_are_never_mixed_in(finished):
    settings, folder, _ = finished
    with pytest.raises(ValueError, match="tune_steps was 2, is 3"):
        Store(folder / "cells.jsonl", dataclasses.replace(settings, tune_steps=3))


def test_the_tables_say_their_sizes_and_leave_no_gap_unmarked(finished):
    settings, _, tables = finished
    assert set(tables) == set(scratch.PARTS)
    row = scratch.find(tables["lines"], train="linear 4", eval="linear 8")
    assert row["at_1"] is None and row["at_8"] is not None
    assert row["device"] == "cpu" and row["L"] == settings.length and row["steps"] == 6  # 2 warm, 4 at L
    assert {r["kind"] for r in tables["layouts"]} == {"RoPE", "xPos"}
    with pytest.raises(LookupError, match="no row of the table"):
        scratch.find(tables["lines"], train="nothing")


def test_full_sizes_depend_on_the_device_and_keep_the_questions_within_the_keys():
    for device in ("cpu", "cuda"):
        settings = scratch.scratch_settings(device=device)
        longest = settings.multiples[-1] * settings.length
        assert settings.device == device and longest // 2 - settings.queries <= settings.n_keys
    assert scratch.scratch_settings(device="cuda").width > scratch.scratch_settings(device="cpu").width
