"""The chapter's experiment: its summary by hand, its estimators by score, and a run that is cut off."""

import numpy as np
import pytest

from workings.chapters.conformal_set_size import full as chapter
from workings.chapters.conformal_set_size.demo import interval_ends
from workings.chapters.conformal_set_size.full import over_seeds, run, run_protocol, summarise
from workings.chapters.conformal_set_size.settings import Settings
from workings.runs.store import Store
from workings.uncertainty.set_size import estimate_classes

DRY = Settings.full(dry_run=True)
ROWS = (("concrete", "l1"), ("digits", "lac"))


def test_the_summary_of_four_runs_by_hand():
    # two models, two calibration splits: [lower, point, upper, size, coverage]
    blocks = [[[1, 2, 3, 2, 0.9], [1, 2, 3, 4, 0.8]], [[5, 6, 7, 6, 1.0], [5, 6, 7, 8, 0.9]]]
    row = summarise(blocks)
    assert row["size"] == 5 and row["point"] == 4 and row["runs"] == 4
    assert row["abs_error"] == 2.0  # |2-5|, |2-5|, |6-5|, |6-5|
    assert row["interval_error"] == 0.5  # 5 lies outside [1, 3] and inside [5, 7]
    assert row["interval_error_own"] == 0.0  # the models' own averages, 3 and 7, lie on the edges
    assert row["miscoverage"] == pytest.approx(0.1)
    assert row["size_sd"] == pytest.approx(np.std([2, 4, 6, 8]))


@pytest.mark.parametrize(("beyond", "missed"), [(1e-15, 0.0), (1e-6, 0.5)])
def test_an_end_that_differs_by_rounding_is_no_miss(beyond, missed):
    for ends in ([1 + beyond, 1.1, 3], [0.5, 0.9, 1 - beyond]):  # below the lower end, above the upper
        row = summarise([[[*ends, 1, 0.9], [1, 1.1, 3, 1, 0.9]]])
        assert row["interval_error"] == row["interval_error_own"] == missed


def test_a_perfect_classifier_is_expected_to_name_one_class():
    own, table = np.zeros(200), np.tile([0.0, 1.0, 1.0], (200, 1))
    guess = estimate_classes("zero_one", own, table, 100, 0.1, 0.1)
    assert guess.point == 1.0 and guess.lower == 1.0 and guess.upper > 1.0
    with pytest.raises(ValueError, match="kind"):
        estimate_classes("raps", own, table, 100, 0.1)


def test_the_upper_end_falls_past_the_wall():
    ends = interval_ends((50, 2000), 1000, 0.1, 0.1, 8.0, 5, np.random.default_rng(0))
    assert ends.shape == (2, 5, 2)
    assert ends[0, :, 1].min() > 15 and ends[1, :, 1].max() < 4.5


def test_the_demo_and_full_settings_are_what_the_sheet_says():
    full = Settings.full()
    assert (full.alpha, full.gamma, full.train_splits, full.calibration_splits, full.trees) == (0.1, 0.1, 10, 100, 100)
    assert Settings.for_tier("demo") == Settings.demo()
    with pytest.raises(ValueError, match="tier"):
        Settings.for_tier("half")


def test_every_score_runs_through_the_protocol(tmp_path):
    pytest.importorskip("quantile_forest")
    table = run_protocol(DRY, Store(tmp_path / "all.jsonl", DRY))
    assert [(row["data"], row["score"]) for row in table] == list(chapter.ROWS)
    for row in table:
        assert row["lower"] <= row["point"] <= row["upper"] and row["runs"] == 6


def test_means_and_standard_errors_over_seeds_by_hand():
    rows = [
        {"data": "a", "score": "l1", "seed": seed, "point": point, "size": 2.0, "abs_error": 0.1, "runs": 4}
        for seed, point in enumerate((1.0, 2.0, 3.0, 6.0))
    ]
    (row,) = over_seeds(rows)
    assert row["point"] == 3.0 and row["size"] == 2.0 and row["runs"] == 16 and row["seeds"] == 4
    assert row["point_se"] == pytest.approx(np.sqrt(14 / 3) / 2)  # squares 4, 1, 0, 9 over n - 1, over the root of 4
    assert over_seeds(rows[:1])[0]["point_se"] is None


def test_the_full_tier_runs_every_seed_and_keeps_each_by_itself(tmp_path, monkeypatch):
    pytest.importorskip("quantile_forest")
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    tables = run(DRY)
    assert len(tables["protocol"]) == len(chapter.ROWS) and len(tables["seeds"]) == 2 * len(chapter.ROWS)
    assert {row["seed"] for row in tables["seeds"]} == set(DRY.seeds)
    first, second = (tables["seeds"][i] for i in (0, len(chapter.ROWS)))
    assert first["point"] != second["point"], "another seed is another draw"
    assert tables["protocol"][0]["point"] == pytest.approx((first["point"] + second["point"]) / 2)
    assert run(DRY) == tables, "what is stored is not computed again"


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    class Cut(Exception):
        pass

    def stop_after_three(jobs):
        for done, job in enumerate(jobs):
            if done == 3:
                raise Cut
            yield job

    whole = run_protocol(DRY, Store(tmp_path / "whole.jsonl", DRY), rows=ROWS)
    with pytest.raises(Cut):
        run_protocol(DRY, Store(tmp_path / "cut.jsonl", DRY), rows=ROWS, watch=stop_after_three)
    store = Store(tmp_path / "cut.jsonl", DRY)
    assert len(store) == 3, "what was measured before the cut is kept"
    assert run_protocol(DRY, store, rows=ROWS) == whole


def test_results_of_other_settings_are_not_mixed_in(tmp_path):
    Store(tmp_path / "s.jsonl", DRY)
    with pytest.raises(ValueError, match=r"s\.jsonl"):
        Store(tmp_path / "s.jsonl", Settings.full())
