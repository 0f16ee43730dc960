"""The chapter `giraffe`: its measurements, its control experiments and the resumable runs from scratch."""

import dataclasses
import math
import threading

import pytest
import torch

from workings.chapters.giraffe import demo as study
from workings.chapters.giraffe import scratch, values
from workings.chapters.giraffe.demo import TrainedModel
from workings.chapters.giraffe.settings import Settings
from workings.language_models.lines_task import IGNORE, Lines, lines_batch
from workings.runs.store import Store
from workings.seeding import torch_generator

TINY = dataclasses.replace(Settings.full(dry_run=True), seeds=(0,), zero_shot=("RoPE", "linear 4"))


@pytest.fixture(scope="module")
def base():
    return study.trained_lines_model(0, TINY)


@pytest.fixture(scope="module")
def text_base():
    return study.trained_character_model(0, TINY)


def test_the_distance_of_a_question_is_counted_to_the_value_behind_its_key():
    # keys 5, 6, 7 with values 20, 21, 22; then 6 and 5 are asked at positions 6 and 8
    tokens = torch.tensor([[5, 20, 6, 21, 7, 22, 6, 21, 5, 20]])
    targets = torch.full_like(tokens, IGNORE)
    targets[0, 6], targets[0, 8] = 21, 20
    assert study.answer_distances(Lines(tokens, targets)).tolist() == [[6 - 3, 8 - 1]]


def test_every_distance_points_at_the_answer():
    lines = lines_batch(8, 20, 5, generator=torch_generator(0, "lines"))
    back = study.answer_distances(lines)
    places = (lines.targets != IGNORE).nonzero()[:, 1].view(8, 5)
    assert torch.equal(lines.tokens.gather(1, places - back), lines.targets.gather(1, places))
    assert int(back.min()) >= 1


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [({1: 0.99, 2: 0.9, 4: 0.5, 8: 0.4}, 4), ({1: 0.7, 2: 0.3, 4: 0.6}, 1), ({1: 0.4, 2: 0.2, 4: 0.25}, 4), ({8: 0.9, 1: 0.9}, 8)],
)  # fmt: skip
def test_the_longest_length_stops_at_the_first_that_has_less_than_half(accuracy, expected):
    assert values.longest_length(accuracy) == expected


def curves(**by_name):
    """Rows of retrieval: accuracies at 1, 2, 4, 8 times L of two seeds, by "train>eval"."""
    return [
        {"seed": seed, "train": name.split(">")[0], "eval": name.split(">")[1], "multiple": m, "accuracy": a}
        for name, seeds in by_name.items() for seed, curve in enumerate(seeds) for m, a in zip((1, 2, 4, 8), curve, strict=True)
    ]  # fmt: skip


MEASURED = curves(**{
    "none>RoPE": ([1.0, 0.5, 0.3, 0.1], [0.9, 0.6, 0.4, 0.2]),
    "RoPE>RoPE": ([1.0, 0.6, 0.2, 0.1], [1.0, 0.6, 0.2, 0.1]),
    "linear 4>linear 4": ([0.9, 0.8, 0.8, 0.2], [1.0, 0.9, 0.4, 0.4]),
    "linear 4>linear 8": ([0.0, 0.0, 0.0, 0.7], [0.0, 0.0, 0.0, 0.8]),
    "power 0.5>power 0.5": ([1.0, 0.2, 0.1, 0.0], [1.0, 0.4, 0.2, 0.0]),
    "truncated>truncated": ([0.8, 0.6, 0.4, 0.1], [0.9, 0.7, 0.4, 0.1]),
    "randomised>linear 4": ([0.7, 0.5, 0.4, 0.1], [0.8, 0.6, 0.1, 0.1]),
})  # fmt: skip


def test_the_claims_compare_paired_seeds():
    found = values.retrieval_values(MEASURED, Settings.demo())
    half = math.sqrt(0.5)  # sd of two values is their distance times this
    expected = {
        "gir-1": (0.35, 0.1 * half),
        "gir-2": (3.0, 2 * half),  # 4 for the first seed, 2 for the second
        "gir-3": (0.45, 0.1 * half),
        "gir-4": (0.2, 0.0),  # both differences have the mean 0.2; the first is taken
        "gir-5": (0.05, 0.1 * half),  # the lead at L; the loss at 4L is 0.45
        "gir-6": (0.375, 0.25 * half),
        # linear 2.5/3 and 2.3/3, the best of the others truncated with 1.8/3 and 2.0/3
        "gir-12": (0.5 / 3, 0.4 / 3 * half),
    }
    assert set(found) == set(expected)
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair, abs=1e-12), name


def test_what_was_not_measured_is_left_out_and_a_ratio_to_nothing_too():
    rows = [row for row in MEASURED if row["train"] != "power 0.5"]
    assert set(values.retrieval_values(rows, Settings.demo())) == {"gir-1", "gir-2", "gir-3", "gir-4", "gir-6"}
    blind = [{**row, "accuracy": 0.0} for row in MEASURED]
    assert "gir-6" not in values.retrieval_values(blind, Settings.demo())


@pytest.mark.parametrize(
    ("near", "far", "at_4", "holds"), [(1.5, 1.55, 0.3, True), (1.5, 1.6, 0.3, False), (1.5, 1.5, 0.5, False)]
)
def test_the_window_claim_needs_flat_perplexity_and_lost_retrieval(near, far, at_4, holds):
    text = [{"seed": 0, "train": "window L", "near": near, "far": far}]
    assert values.window_holds(text, curves(**{"window L>RoPE": ([1.0, 0.5, at_4, 0.1],)})) is holds


@pytest.mark.parametrize(("truncated", "told"), [(0.97, False), (0.98, True)])
def test_methods_that_are_right_nearly_always_are_not_ranked(truncated, told):
    rows = curves(
        **{
            "linear 4>linear 4": ([1.0, 1.0, 0.99, 0.6],),
            "truncated>truncated": ([1.0, 1.0, truncated, 0.6],),
            "power 0.5>power 0.5": ([0.9, 0.9, 0.7, 0.4],),
            "randomised>linear 4": ([0.9, 0.9, 0.9, 0.8],),
        }
    )
    found = values.cannot_tell(rows)
    assert ("gir-4" in found) is told and ("gir-12" in found) is told
    assert "gir-5" not in found and "gir-6" not in found and "gir-2" in found


@pytest.mark.parametrize(("randomised", "linear", "told"), [(0.97, 1.0, False), (1.0, 0.97, False), (0.98, 0.98, True)])
def test_randomised_positions_are_not_judged_where_linear_scaling_is_right_too(randomised, linear, told):
    rows = curves(
        **{
            "linear 4>linear 4": ([1.0, 1.0, linear, 0.6],),
            "randomised>linear 4": ([0.7, 0.8, randomised, 0.8],),  # only the accuracy at 4L counts
        }
    )
    assert ("gir-6" in values.cannot_tell(rows)) is told


def test_a_run_whose_models_did_not_learn_decides_nothing(finished):
    settings, folder, tables = finished
    store = Store(folder / "cells.jsonl", settings)
    rows = {part: [r for job in scratch.all_jobs(settings) if job[0] == part for r in store.get("/".join(map(str, job)))]
            for part in scratch.PARTS}  # fmt: skip
    assert values.base_accuracy(rows["lines"]) < values.LEARNT
    assert {row["claim"] for row in tables["values"]} >= {
        "gir-1",
        "gir-9",
        "gir-10",
    }  # a dry run goes through every door
    real = dataclasses.replace(settings, dry_run=False)
    decided, (note,) = scratch.claim_values(rows, real)
    assert decided == [] and "too small to decide" in note["message"]
    for row in rows["lines"]:
        if (row["train"], row["eval"], row["multiple"]) == ("none", "RoPE", 1):
            row["accuracy"] = 0.95
    decided, (note,) = scratch.claim_values(rows, real)
    assert {row["claim"] for row in decided} >= {"gir-1", "gir-9", "gir-10"} and "0.95" in note["message"]


def test_linear_scaling_of_a_model_is_its_reading_of_divided_positions(base):
    lines = study.lines_for_testing(0, 2, TINY)
    scaled = base.model(lines.tokens, **study.scaling_options("linear 4", base.model.theta, TINY.length))
    divided = base.model(lines.tokens, positions=torch.arange(128) / 4)
    assert torch.allclose(scaled, divided, atol=1e-5)  # float32 sums of 64 terms near 1


def test_without_rotation_every_clock_stands():
    theta = torch.tensor([1.0, 0.1])
    assert study.scaling_options("no rotation", theta, 64)["theta"].tolist() == [0.0, 0.0]


def test_an_unknown_change_is_refused_with_the_list():
    with pytest.raises(ValueError, match="no scaling 'linear 3'; there are: RoPE, linear 2"):
        study.scaling_options("linear 3", torch.ones(4), 64)


def test_the_window_changes_nothing_within_it_and_something_beyond(base):
    narrow = study.windowed(base.model, TINY.length)
    short, long = study.lines_for_testing(0, 1, TINY).tokens, study.lines_for_testing(0, 4, TINY).tokens
    assert torch.allclose(narrow(short), base.model(short), atol=1e-6)
    assert not torch.allclose(narrow(long)[:, -1], base.model(long)[:, -1], atol=1e-3)
    assert base.model.window is None


def test_a_narrow_model_cannot_tell_what_stands_beyond_its_window(base):
    narrow, tokens = study.windowed(base.model, TINY.length), study.lines_for_testing(0, 2, TINY).tokens
    other = tokens.clone()
    # one layer, and the key shift looks one further back: the last token depends on the last L + 1
    other[:, : 2 * TINY.length - TINY.length - 1] = 0
    assert torch.allclose(narrow(tokens)[:, -1], narrow(other)[:, -1], atol=1e-5)


def test_fine_tuning_leaves_the_base_as_it_was(base):
    before = [p.clone() for p in base.model.parameters()]
    rows = study.fine_tuned_retrieval(base, "linear 4", TINY)
    assert all(torch.equal(a, b) for a, b in zip(before, base.model.parameters(), strict=True))
    own = {row["multiple"] for row in rows if row["eval"] == "linear 4"}
    assert own == {1, 2, 4, 8} and {row["train"] for row in rows} == {"linear 4"}
    assert {row["multiple"] for row in rows if row["eval"] == "linear 16"} == {8}


def test_randomised_positions_are_a_way_to_train_not_to_read(base):
    rows = study.fine_tuned_retrieval(base, study.RANDOMISED, TINY)
    assert {row["eval"] for row in rows} == {"linear 4", "RoPE"}


def test_the_pairing_experiment_starts_from_the_same_weights(base):
    found = study.compare_layouts(base, TINY)
    plain = study.retrieval_rows(base, ["RoPE"], TINY, multiples=[1])[0]["accuracy"]
    rows = {(row["kind"], row["layout"]): row for row in found["rows"]}
    assert rows["RoPE", "half"]["before"] == plain and len(rows) == 4
    assert [len(row["losses"]) for row in found["curves"]] == [TINY.layout_steps] * 4
    losses = {(row["kind"], row["layout"]): row["losses"] for row in found["curves"]}
    assert len({tuple(values) for values in losses.values()}) == 4, "two cells are the same experiment"


def test_a_model_that_knows_nothing_has_a_perplexity_of_its_alphabet(text_base):
    with torch.no_grad():
        flat = TrainedModel(0, study.windowed(text_base.model, 10_000))
        flat.model.lm_head.weight.zero_()
    (row,) = study.perplexity_rows(flat, ["RoPE"], TINY)
    assert len(row["nll"]) == 16
    assert study.perplexity_at(row, 0.5, 1) == pytest.approx(26, rel=1e-5)  # float32 logits
    assert study.perplexity_at(row, 3, 4) == pytest.approx(26, rel=1e-5)


def test_perplexity_of_a_range_is_taken_after_the_mean():
    row = {"nll": [math.log(2)] * 2 + [math.log(8)] * 2 + [0.0] * 12}
    assert study.perplexity_at(row, 0, 1) == pytest.approx(4)
    assert study.perplexity_at(row, 0.5, 1) == pytest.approx(8)


def test_the_spread_is_over_seeds():
    rows = [{"seed": s, "eval": "a", "accuracy": v} for s, v in enumerate((0.1, 0.2, 0.6))]
    mean, spread = values.over_seeds([*rows, {"seed": 9, "eval": "b", "accuracy": 9.0}], "accuracy", eval="a")
    assert mean == pytest.approx(0.3) and spread == pytest.approx(math.sqrt(0.07))
    with pytest.raises(LookupError, match="no row has"):
        values.over_seeds(rows, "accuracy", eval="c")


def test_by_distance_and_overall_are_one_measurement(base):
    rows = study.retrieval_by_distance(base, TINY)
    lines = study.lines_for_testing(0, 4, TINY)
    bins = study.answer_distances(lines).flatten() * 2 // TINY.length
    counts = [int((bins == 2 * row["from"]).sum()) for row in rows]
    overall = study.retrieval_rows(base, ["RoPE"], TINY, multiples=[4])[0]["accuracy"]
    mixed = sum(n * row["accuracy"] for n, row in zip(counts, rows, strict=True)) / sum(counts)
    assert sum(counts) == TINY.sequences * TINY.queries and mixed == pytest.approx(overall)


def test_work_on_threads_comes_back_in_order(base):
    barrier = threading.Barrier(2, timeout=120)

    def work(which, name):
        barrier.wait()
        return [(which.seed, name)]

    bases = [base._replace(seed=seed) for seed in (0, 1)]
    assert study.over_models(work, bases, ["a", "b"]) == [(0, "a"), (1, "a"), (0, "b"), (1, "b")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    settings = dataclasses.replace(
        scratch.scratch_settings(dry_run=True, device="cpu"), tuned=("linear 4",), seeds=(0,)
    )
    tables = scratch.run_jobs(settings, Store(folder / "cells.jsonl", settings), folder)
    return settings, folder, tables


def test_a_finished_run_is_read_and_not_computed_again(finished, monkeypatch):
    settings, folder, tables = finished

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(study, "trained_lines_model", refuse)
    monkeypatch.setattr(study, "trained_character_model", refuse)
    assert scratch.run_jobs(settings, Store(folder / "cells.jsonl", settings), folder) == tables


def test_an_interrupted_run_ends_with_the_same_tables(finished, tmp_path, monkeypatch):
    settings, _, tables = finished
    real, calls = study.compare_layouts, []

    def stop(*arguments):
        calls.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "compare_layouts", stop)
    with pytest.raises(KeyboardInterrupt):
        scratch.run_jobs(settings, Store(tmp_path / "cells.jsonl", settings), tmp_path)
    half = len(Store(tmp_path / "cells.jsonl", settings))
    assert calls and 0 < half < len(scratch.all_jobs(settings))
    monkeypatch.setattr(study, "compare_layouts", real)
    assert scratch.run_jobs(settings, Store(tmp_path / "cells.jsonl", settings), tmp_path) == tables


def test_cells_of_other_settings_are_never_mixed_in(finished):
    settings, folder, _ = finished
    with pytest.raises(ValueError, match="tune_steps was 2, is 3"):
        Store(folder / "cells.jsonl", dataclasses.replace(settings, tune_steps=3))


def test_the_tables_say_their_sizes_and_leave_no_gap_unmarked(finished):
    settings, _, tables = finished
    assert set(tables) == {*scratch.PARTS, "values", "note"}
    (row,) = [r for r in tables["lines"] if (r["train"], r["eval"]) == ("linear 4", "linear 8")]
    assert row["at_1"] is None and row["at_8"] is not None
    assert row["device"] == "cpu" and row["L"] == settings.length and row["steps"] == 6  # 2 warm, 4 at L
    assert {r["kind"] for r in tables["layouts"]} == {"RoPE", "xPos"}


def test_full_sizes_depend_on_the_device_and_keep_the_questions_within_the_keys():
    for device in ("cpu", "cuda"):
        settings = scratch.scratch_settings(device=device)
        longest = settings.multiples[-1] * settings.length
        assert settings.device == device and longest // 2 - settings.queries <= settings.n_keys
    assert scratch.scratch_settings(device="cuda").width > scratch.scratch_settings(device="cpu").width
