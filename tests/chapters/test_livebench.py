"""What the chapter `livebench` runs: its leaderboard arithmetic by hand, its simulated models, its full tier's three ways."""

import base64
import dataclasses
import json
import pickle
import sys
import types
import zlib
from datetime import datetime

import numpy as np
import pytest

from workings.chapters.livebench import (
    demo,
    full,
    leaderboard,
    own_model,
    paper_tables,
    published,
    stored_answers,
    stored_files,
)
from workings.chapters.livebench.settings import Settings
from workings.chapters.livebench.sweep import sweep_point
from workings.language_models.benchmark_scores import pearson, spearman
from workings.runs.fetch import sha256_of
from workings.runs.store import Store

DRY = Settings.full(dry_run=True)
CATEGORIES = '{"X": ["a", "b"], "Y": ["c"]}'


def board(table, release="r"):
    return leaderboard.parse(release, table, CATEGORIES)


def test_a_table_by_hand():
    found = board("model,a,b,c\nm,10,30,50\nn,0,0,\no,90,70,60\n")
    assert found.models == ["m", "n", "o"] and np.isnan(found.scores[1, 2])
    whole = found.complete()
    assert whole.models == ["m", "o"] and whole.overall().tolist() == [35.0, 70.0]
    (row,) = leaderboard.summary([found])
    assert (row["models"], row["dropped"], row["best"], row["best_overall"], row["mean"]) == (2, 1, "o", 70.0, 52.5)


def test_an_update_by_hand():
    first = board("model,a,b,c\nm,10,10,10\nn,20,20,20\no,30,30,30\np,40,40,40\n", "one")
    second = board("model,a,b,c\no,29,29,29\nn,19,19,19\nm,9,9,9\nq,1,1,1\n", "two")
    (row,) = leaderboard.updates([first, second])
    assert (row["models"], row["mean_change"], row["fell"]) == (3, -1.0, 3) and row["rank"] == pytest.approx(1)


def test_how_surely_a_part_goes_best_or_worst_with_the_whole():
    drawn = np.random.default_rng(0)
    whole = drawn.normal(0, 1, 40)
    parts = np.stack([whole, whole + drawn.normal(0, 1, 40), drawn.normal(0, 1, 40)])  # r of 1, about 0.7 and about 0
    best, worst = (leaderboard.standing(parts, whole, 400, lowest=lowest) for lowest in (False, True))
    r = [pearson(part, whole) for part in parts]
    assert best[0]["lead"] == pytest.approx(r[0] - r[1]) and best[2]["lead"] == pytest.approx(r[2] - r[0])
    assert worst[2]["lead"] == pytest.approx(r[1] - r[2]) and worst[0]["lead"] == pytest.approx(r[2] - r[0])
    assert [row["share"] for row in best] == [1, 0, 0] and worst[2]["share"] > 0.9
    # a sample of the models changes r by about (1 - r^2)/sqrt(n): 0 for the first, 0.08 and 0.16 for the others
    assert 0.04 < best[0]["lead_error"] < 0.16 < worst[2]["lead_error"] < 0.32
    assert leaderboard.standing(parts, whole, 400) == best  # drawn from a stream of their own
    level = np.stack([whole + drawn.normal(0, 1, 40) for _ in range(2)])
    shares = [row["share"] for row in leaderboard.standing(level, whole, 400)]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0.02
    own = leaderboard.standing(parts[:2], parts[:2], 50)  # each row with itself: both are 1
    assert [row["lead"] for row in own] == pytest.approx([0, 0])


def test_the_error_of_a_rank_correlation_is_its_spread_over_samples_of_models():
    drawn = np.random.default_rng(1)
    before = drawn.normal(0, 1, 30)
    after = before + drawn.normal(0, 0.7, 30)
    again = [spearman(before[at], after[at]) for at in leaderboard.drawn_models(30, 500, "ranks")]
    assert leaderboard.rank_error(before, after, 500) == pytest.approx(np.std(again, ddof=1))
    assert leaderboard.rank_error(before, 2 * before, 50) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "word"),
    [("", "column 'model'"), ("model,a\n", "column 'model'"), ("model,z\nm,1\n", "no category"), ("model,a\nm,x\n", "no number"), ("model,a,b\nm,1\nn,1,2\n", "different length")],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(table, word):
    with pytest.raises(ValueError, match=word):
        board(table)


def test_files_in_a_folder_are_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no table_2024_06_24"):
        leaderboard.load("2024-06-24", tmp_path)
    (tmp_path / "table_2024_06_24.csv").write_text("model,a\nm,1\n")
    with pytest.raises(ValueError, match="another SHA-256"):
        leaderboard.load("2024-06-24", tmp_path)
    with pytest.raises(ValueError, match="release must be one of"):
        leaderboard.load("2020-01-01", tmp_path)


def test_the_copied_rows_add_up_within_their_rounding():
    # Seven numbers rounded to one decimal: at most 0.05 from the overall score and 0.05 from the mean of six.
    assert len(paper_tables.V1) == 10 and len(paper_tables.ICLR) == 17 and len(paper_tables.TASK_CORRELATIONS) == 18
    assert max(map(paper_tables.largest_gap, (paper_tables.V1, paper_tables.ICLR))) <= 0.1 + 1e-9


def test_a_perfect_and_tidy_model_gets_every_point_and_an_empty_one_none():
    for name, task in demo.TASKS.items():
        for i in range(4):
            question = task.make(np.random.default_rng(i))
            content = task.solve(np.random.default_rng(0), question, 1.0)
            answer = demo.written(name, content, 0)
            assert demo.grade(name, question.truth, answer).score == 1, (name, answer)
            assert demo.grade(name, question.truth, answer, strict=True).score == 1, (name, answer)
            assert demo.grade(name, question.truth, "").score == 0


def test_the_whole_run_is_the_same_again_and_in_range():
    first, second = (demo.run_models(DRY, 0) for _ in range(2))
    for rule in ("official", "strict"):
        assert first[rule].shape == (6, 8 * DRY.questions) and np.array_equal(first[rule], second[rule])
        assert first[rule].min() >= 0 and first[rule].max() <= 1
    assert not np.array_equal(first["official"], demo.run_models(DRY, 1)["official"])


def test_contamination_follows_the_formula():
    never = demo.measured_history(0.0, 0.1, 0.5)
    assert never == pytest.approx(1 - 0.5 * 0.9 ** np.arange(13))
    steady = demo.measured_history(1 / 6, 0.1, 0.5, months=40)
    assert steady[-1] == pytest.approx(1 - 0.5 * np.mean(0.9 ** np.arange(6)))
    assert demo.measured_history(1.0, 0.3, 0.2) == pytest.approx([0.2] * 13)
    assert [demo.counted_leaked_share(6, t) for t in (0, 2, 6)] == pytest.approx([1, 4 / 6, 0])
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="refresh"):
            demo.measured_history(bad, 0.1, 0.5)


def test_a_guessed_order_scores_less_the_longer_it_is():
    # Means of 40 proofs; the standard error of a mean is below 5 points, the differences are 25 points and more.
    found = demo.masking(0, 0.0)
    assert found["easy"] > found["medium"] + 10 > found["hard"] + 5
    assert demo.masking(0, 1.0) == {"easy": 100.0, "medium": 100.0, "hard": 100.0}


def test_small_pieces():
    assert demo.wrong_puzzles(6) == 0 and demo.judge_errors(0) < 1e-12
    assert demo.plot_after_swaps(0, 0) == 1.0 and 0 < demo.plot_after_swaps(0, 40) < 0.3
    assert 0.85 <= demo.coverage(40, draws=100, questions=10) <= 1.0
    assert set(sweep_point()) == {"measured", "leaked", "rank"}


def test_the_full_tier_runs_dry_and_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    tables = full.run(DRY)
    assert len(tables["releases"]) == 6 and len(tables["task_ties"]) == 18 and set(tables) == set(full.TABLES)
    assert {row["kind"] for row in tables["files"]} == set(stored_files.KINDS)
    assert {row["task"] for row in tables["agreement"]} >= set(published.COUNTS) - set(stored_answers.CODE)
    assert {row["model"] for row in tables["own_model"]} == {"random weights"}
    assert all(0 <= row["official"] <= 1 for row in tables["own_model"]) and len(tables["own_model"]) == 8
    store = Store(tmp_path / "livebench" / "dry.jsonl", DRY)
    monkeypatch.setattr(own_model, "run", lambda settings: pytest.fail("what is stored is not run again"))
    monkeypatch.setattr(stored_answers, "rescore", lambda root: pytest.fail("what is stored is not scored again"))
    again = full.run_protocol(DRY, store)
    assert again["own_model"] == tables["own_model"] and again["published"] == tables["published"] != []


def test_what_was_not_there_is_looked_for_when_a_run_goes_on(tmp_path, monkeypatch, made_up):
    monkeypatch.setattr(own_model, "run", lambda settings: [])
    monkeypatch.setattr(full, "_published", lambda settings, store, root: {})
    store = Store(tmp_path / "run.jsonl", DRY)
    (tmp_path / "empty").mkdir()
    first = full.run_protocol(DRY, store, tmp_path / "empty")
    assert first["agreement"] == first["published"] == first["masked"] == first["files"] == [] and len(store) == 0
    monkeypatch.setattr(stored_answers, "rescore", lambda root: [{"task": "cta"}])
    assert full.run_protocol(DRY, store, made_up)["agreement"] == [{"task": "cta"}] and store.done("agreement")
    (made_up / "model_judgment.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="but no model_judgment"):
        full.run_protocol(DRY, store, made_up)


def test_a_real_model_answers_prompts_together_as_it_does_alone(tmp_path):
    pytest.importorskip("transformers")
    from workings.chapters.public_models import open_model, write_random_model

    place = write_random_model(tmp_path / "model", own_model.Packaged("random", trained_length=256))
    opened = open_model(own_model.Packaged("random"), place)
    answers = own_model.real_model(opened.model, opened.tokenizer)
    prompts = ["one", "a much longer question", "two words"]
    assert answers(prompts, 6) == [answers([prompt], 6)[0] for prompt in prompts]
    named = own_model.chosen(dataclasses.replace(Settings.full(), own_model=str(place)))
    assert (named.name, named.questions, named.tokens) == ("model", 25, 256)


def test_a_model_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(FileNotFoundError, match="own_model"):
        own_model.chosen(dataclasses.replace(DRY, own_model=str(tmp_path / "none")))


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_stored_answers_are_scored_again_and_differences_carry_their_rule(tmp_path):
    assert not stored_answers.available(tmp_path) and not stored_answers.available(None)
    assert stored_files.missing(None) == list(stored_files.KINDS) and stored_files.used(None) == []
    question = {
        "livebench_release_date": "2024-06-24T00:00:00",
        "turns": ["Please convert the Input Table from CSV format to TSV format."],
    }
    write(tmp_path / "question.jsonl", [
        {"question_id": "1", "task": "web_of_lies_v2", "ground_truth": "yes, no, yes", **question},
        {"question_id": "2", "task": "tablereformat", "ground_truth": "a\tb\n1\t2", **question},
        {"question_id": "3", "task": "unknown task", "ground_truth": "x", **question},
    ])  # fmt: skip
    assert not stored_answers.available(tmp_path)  # questions alone are for a model of one's own
    answers = [
        ("1", "M", "**yes, no, yes**"),
        ("1", "n", "**no, no, no**"),
        ("2", "M", "a\tb\n1\t2"),
        ("3", "M", "x"),
        ("1", "unjudged", "x"),
    ]
    write(tmp_path / "model_answer.jsonl", [
        {"question_id": q, "model_id": m, "choices": [{"turns": [text]}]} for q, m, text in answers
    ])  # fmt: skip
    with pytest.raises(FileNotFoundError, match="holds model_answer and question but no model_judgment"):
        stored_answers.available(tmp_path)
    write(tmp_path / "model_judgment.jsonl", [
        {"question_id": q, "model": m, "score": s} for q, m, s in (("1", "m", 1), ("1", "n", 1), ("2", "m", 1), ("3", "m", 1))
    ])  # fmt: skip
    assert stored_answers.available(tmp_path)
    found = {row["task"]: row for row in stored_answers.rescore(tmp_path)}
    assert set(found) == {"web_of_lies_v2", "tablereformat"}
    assert found["web_of_lies_v2"]["identical"] == 0.5 and "bold words" in found["web_of_lies_v2"]["differences"]
    assert found["tablereformat"]["identical"] == 1.0 and found["tablereformat"]["differences"] == ""
    assert (
        stored_answers.rules_at("2024-12-01") == "2024-11-25" and stored_answers.rules_at("2020-01-01") == "2024-06-24"
    )
    (tmp_path / "question.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"question\.jsonl:1"):
        stored_answers.rescore(tmp_path)


def test_files_are_found_where_data_sets_and_the_authors_program_put_them(tmp_path):
    places = {
        "question": ["math/data/test-00000-of-00001.parquet", "coding/LCB_generation/question.jsonl", "question/more.jsonl"],
        "model_answer": ["model_answer/data/leaderboard-00000-of-00002.parquet", "coding/LCB_generation/model_answer/m.jsonl"],
        "model_judgment": ["coding/LCB_generation/model_judgment/ground_truth_judgment.jsonl"],
    }  # fmt: skip
    for name in [*(name for names in places.values() for name in names), "coding/LCB_generation/test_cases_0.jsonl", "math/README.md", "other/question.jsonl"]:  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    for kind, names in places.items():
        assert sorted(p.relative_to(tmp_path).as_posix() for p in stored_files.find(tmp_path, kind)) == sorted(names)
    listed = stored_files.used(tmp_path)
    assert len(listed) == 6 and {row["sha256"] for row in listed} == {sha256_of(tmp_path / places["question"][0])}
    (tmp_path / "question.jsonl").write_text("{}\n\n{}\n")
    assert stored_files.find(tmp_path, "question") == [tmp_path / "question.jsonl"]  # one file at the top is all
    assert len(list(stored_files.every_row(tmp_path, "question"))) == 2
    with pytest.raises(ValueError, match="kind must be one of"):
        stored_files.find(tmp_path, "answers")


def test_parquet_is_read_in_batches_and_days_become_texts(tmp_path, monkeypatch):
    path = tmp_path / "question.parquet"
    path.write_bytes(b"not read by the stand-in")
    table = [
        {"question_id": "1", "livebench_release_date": datetime(2024, 6, 24), "turns": ["What?"], "hardness": None}
    ]

    class File:
        def __init__(self, place):
            assert place == path

        def iter_batches(self, batch_size):
            return [types.SimpleNamespace(to_pylist=lambda: table)] * 2

    monkeypatch.setattr(stored_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(stored_files.NotHere, match="pip install pyarrow"):
        list(stored_files.rows(path))
    monkeypatch.setattr(stored_files.importlib.util, "find_spec", lambda name: name)
    stand_in = types.ModuleType("pyarrow")
    stand_in.parquet = types.SimpleNamespace(ParquetFile=File)
    monkeypatch.setitem(sys.modules, "pyarrow", stand_in)
    read = list(stored_files.every_row(tmp_path, "question"))
    assert read == 2 * [table[0] | {"livebench_release_date": "2024-06-24T00:00:00"}]


def test_a_parquet_file_gives_the_rows_of_the_json_lines(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = published.made_up()["model_answer"]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "model_answer.parquet")
    assert list(stored_files.every_row(tmp_path, "model_answer")) == rows


def perfect(question):
    """An answer that the official rules of June 2024 take for right."""
    task, truth = question["task"], question["ground_truth"]
    said = {
        "AMPS_Hard": f"\\boxed{{{truth}}}", "math_comp": "BBBBB", "olympiad": f"Answer: {truth}", "web_of_lies_v2": f"**{truth}**",
        "zebra_puzzle": f"***{truth}***", "connections": f"**{truth}**", "plot_unscrambling": f"<PLOT_SUMMARY>{truth}",
        "LCB_generation": "```python\nclass Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b\n```",
        "coding_completion": "```python\nprint(sum(map(int, row)))\n```",
    }  # fmt: skip
    follow = "<<A party>> of art." if "kwargs" in question else str(truth)
    return said.get(task, follow)


@pytest.fixture
def made_up(tmp_path):
    return published.write_made_up(tmp_path / "made up")


def test_published_questions_are_asked_graded_and_averaged(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_answers, "LAYERS", {})
    stored_answers._isolated.cache_clear()
    by_prompt = {q["turns"][0]: perfect(q) for q in published.made_up()["question"]}
    asked = []

    def answers(prompts, tokens):
        asked.append(len(prompts))
        assert "Not active." not in prompts
        return ["" if prompt == "A made-up cta." else by_prompt[prompt] for prompt in prompts]

    store = Store(tmp_path / "run.jsonl", DRY)
    model = own_model.Model("Qwen2-1.5B-Instruct", answers, 1, 8)
    tables = published.run(DRY, made_up, store, model)
    found = {(row["kind"], row["name"]): row for row in tables["published"]}
    assert {name for kind, name in found if kind == "task"} == set(published.COUNTS)
    tasks = {name: row["score"] for (kind, name), row in found.items() if kind == "task"}
    assert tasks == dict.fromkeys(published.COUNTS, 100.0) | {"cta": 0.0}
    assert found["category", "data_analysis"]["score"] == pytest.approx(100 * 2 / 3)
    assert found["overall", "overall"]["score"] == pytest.approx(100 * (5 + 2 / 3) / 6)
    assert (found["overall", "overall"]["questions"], found["task", "olympiad"]["asked"]) == (19, 3)
    assert [row["level"] for row in tables["masked"]] == ["easy", "medium", "hard"]
    assert published.masking_order(tables["masked"]) == (False, "a level has a single question")
    assert "not all questions of AMPS_Hard" in published.overall_too_small(tables["published"])
    assert sum(asked) == 19 and max(asked) <= published.TOGETHER
    assert published.run(DRY, made_up, store, model) == tables and sum(asked) == 19  # nothing is asked twice
    stored_answers._isolated.cache_clear()


def test_a_tiny_random_model_answers_published_questions(made_up, tmp_path):
    pytest.importorskip("transformers")
    from workings.chapters.public_models import write_random_model

    place = write_random_model(tmp_path / "qwen2-1.5b-instruct", own_model.Packaged("random", trained_length=512))
    settings = dataclasses.replace(Settings.full(), own_model=str(place), published_tokens=3, own_questions=1)
    assert published.why_not(settings, made_up) is None
    assert "own_model" in published.why_not(dataclasses.replace(settings, own_model=""), made_up)
    assert "no published questions" in published.why_not(settings, tmp_path / "nothing")
    model = own_model.chosen(settings, "cpu", settings.published_tokens)
    assert (model.name, model.tokens) == (published.PAPERS_MODEL, 3)
    tables = published.run(settings, made_up, Store(tmp_path / "run.jsonl", settings), model)
    overall = tables["published"][-1]
    assert overall["kind"] == "overall" and 0 <= overall["score"] <= 100 and overall["questions"] == 19


def test_questions_that_cannot_be_read_or_graded_are_named_before_the_model_is_asked(made_up, tmp_path):
    def said(rows):
        write(made_up / "question.jsonl", rows)
        none = own_model.Model("none", lambda prompts, tokens: pytest.fail("asked"), 1, 8)
        with pytest.raises(ValueError) as error:
            published.run(DRY, made_up, Store(tmp_path / "run.jsonl", DRY), none)
        return str(error.value)

    rows = published.made_up()["question"]
    assert said([{**rows[0], "turns": None}]) == "question 'q0' has no turns."
    assert said([rows[0], rows[0]]) == "question 'q0' stands twice."
    assert "question 'q1' (math_comp) cannot be graded: truth must be" in said([{**rows[1], "ground_truth": "Z"}])


def test_release_and_removal_decide_which_questions_count(made_up):
    ids = {release: {q["question_id"] for q in published.active(made_up, release)} for release in ("2024-06-23", "2024-06-24", "2024-07-26")}  # fmt: skip
    assert ids["2024-06-23"] == set() and len(ids["2024-06-24"]) == 19
    assert ids["2024-07-26"] - ids["2024-06-24"] == {"to come"} and "removed" not in set.union(*ids.values())


def test_what_settles_the_claims_about_published_questions():
    levels = lambda *scores, error=1.0: [
        {"level": name, "score": score, "error": error} for name, score in zip(demo.SHARES, scores, strict=False)
    ]
    assert published.masking_order(levels(50.0, 40.0, 30.0)) == (True, None)
    assert published.masking_order(levels(50.0, 30.0, 40.0)) == (False, None)
    assert (
        published.masking_order(levels(50.0, 30.0, 29.0))[1] == "medium and hard differ by less than one standard error"
    )
    assert published.masking_order(levels(50.0, 40.0)) is None
    proof = {"task": "olympiad"}
    assert [published.level(proof | {"hardness": h}) for h in (0.1, 0.5, 0.8, 1.0, None)] == ["easy", "medium", "hard", None, None]  # fmt: skip
    assert published.level({"task": "cta", "hardness": 0.1}) is None
    whole = {
        name: {"category": "x", "active": n, "asked": n, "scores": [0.0, 1.0]} for name, n in published.COUNTS.items()
    }
    rows = published.summary(whole, "m", published.RELEASE)
    assert sum(published.COUNTS.values()) == 910 and published.overall_too_small(rows) is None
    assert rows[-1]["score"] == 50 and rows[-1]["error"] == pytest.approx(50 / 17**0.5)  # 17 tasks, each 0.5 +- 0.5
    assert "spatial are no tasks" in published.overall_too_small(published.summary(whole | {"spatial": whole["cta"]}, "m", published.RELEASE))  # fmt: skip
    assert "not those of" in published.overall_too_small(published.summary(whole, "m", "2024-07-26"))
    nothing = {"cta": {"category": "x", "active": 2, "asked": 0, "scores": []}}
    (row,) = published.summary(nothing, "m", published.RELEASE)
    assert row["score"] is None and published.levels({"easy": []}, "m") == []


DATE = {"livebench_release_date": "2024-06-24"}


def answered(folder, question, answers):
    """The row that scoring again gives for one made-up question; ``answers`` are (model, text, official score)."""
    folder.mkdir(exist_ok=True)
    write(folder / "question.jsonl", [{"question_id": "q", **DATE, **question}])
    write(folder / "model_answer.jsonl", [{"question_id": "q", "model_id": m, "choices": [{"turns": [text]}]} for m, text, _ in answers])  # fmt: skip
    write(folder / "model_judgment.jsonl", [{"question_id": "q", "model": m, "score": s} for m, _, s in answers])
    return stored_answers.rescore(folder)


def test_stored_competitions_are_scored_by_their_subtask(tmp_path):
    prompt = r"What is $6 \cdot 7$? $\textbf{(A) }41\qquad\textbf{(B) }42\qquad\textbf{(C)} ~43 $ Repeat the letter."
    assert [stored_answers.option_text(prompt, letter) for letter in "ABCD"] == ["41", "42", "43", None]
    assert stored_answers.option_text("\\textbf{(A)} no end", "A") is None
    choice = {"task": "math_comp", "ground_truth": "B", "turns": [prompt]}
    said = [("m", "BBBBB", 1), ("n", "hence it is 42", 1), ("o", "CCCCC", 1)]  # the last one against the rule
    for subtask in ("amc_12a", "2023_amc", "smc"):
        (row,) = answered(tmp_path, {**choice, "subtask": subtask}, said)
        assert (row["task"], row["answers"], row["identical"]) == ("math_comp", 3, pytest.approx(2 / 3))
    aime = {"task": "math_comp", "subtask": "aime", "ground_truth": "025", "turns": ["How many?"]}
    (row,) = answered(tmp_path, aime, [("m", "so 025", 1), ("n", "<solution>025</solution>" + "." * 60, 0)])
    assert row["identical"] == 1.0
    assert answered(tmp_path, {**choice, "subtask": "other"}, said) == []


def test_stored_instructions_are_named_as_the_graders_name_them(tmp_path):
    from workings.language_models.grading_instructions import CHECKS

    assert {name for name, _ in stored_answers.INSTRUCTIONS.values()} == set(CHECKS)
    question = {
        "task": "paraphrase", "turns": ["Say it."],
        "instruction_id_list": ["keywords:existence", "length_constraints:number_words", "detectable_format:constrained_response"],
        "kwargs": [{"keywords": ["art"], "num_words": None}, {"relation": "less than", "num_words": 6}, None],
    }  # fmt: skip
    said = [
        ("m", "My answer is no. Art.", 1),
        ("n", "My answer is no.", (0 + 2 / 3) / 2),
        ("o", "My answer is yes, party.", 0.5),
    ]
    (row,) = answered(tmp_path, question, said)
    assert row["identical"] == pytest.approx(2 / 3) and row["differences"] == "not followed: constrained option (1)"
    assert answered(tmp_path, {**question, "livebench_release_date": "2025-11-25"}, said) == []
    assert answered(tmp_path, {**question, "instruction_id_list": ["new:one", "new:two", "new:three"]}, said) == []


def test_stored_programs_are_run_on_their_input_or_called(tmp_path, monkeypatch):
    monkeypatch.setattr(
        stored_answers, "LAYERS", {}
    )  # on whatever machine the tests run; the sandbox has its own tests
    stored_answers._isolated.cache_clear()
    public = [{"input": "1 2", "output": "3", "testtype": "stdin"}]
    private = [{"input": "4 5", "output": "9", "testtype": "stdin"}]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(private)))).decode()
    question = {
        "task": "coding_completion",
        "public_test_cases": json.dumps(public),
        "partial_solution": "row = input().split()",
    }
    said = [("m", "```python\nprint(sum(map(int, row)))\n```", 1), ("n", "print(3)", 0), ("o", "print(3)", 0)]
    for stored in (json.dumps(private), packed):
        tests = stored_answers.stored_tests({**question, "private_test_cases": stored})
        assert tests == ([("1 2", "3"), ("4 5", "9")], None)
    (row,) = answered(tmp_path, {**question, "private_test_cases": packed}, said)
    assert (row["answers"], row["identical"]) == (3, 1.0)
    assert stored_answers.rescore(tmp_path, programs=1)[0]["answers"] == 1 and stored_answers.rescore(tmp_path, 0) == []
    called = {
        "task": "LCB_generation",
        "public_test_cases": json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]),
        "private_test_cases": json.dumps([{"input": "[]\n3", "output": "3", "testtype": "functional"}]),
        "original_json": {"metadata": json.dumps({"func_name": "total"})},
    }
    assert stored_answers.stored_tests(called) == ([("[1, 2]\n3", "6"), ("[]\n3", "3")], "total")
    good = (
        "```python\nclass Solution:\n    def total(self, a: List[int], b: int) -> int:\n        return sum(a) + b\n```"
    )
    said = [
        ("m", good, 1),
        ("n", "def total(a, b): return sum(a) + b", 1),
        ("o", good.replace("+ b", "+ 3 + 0 * b"), 1),
        ("p", "def total(a, b): return 6", 0),
    ]
    (row,) = answered(tmp_path, called, said)
    assert (row["answers"], row["identical"]) == (4, 1.0)
    hostile = base64.b64encode(zlib.compress(pickle.dumps(print))).decode()
    with pytest.raises(ValueError, match="only text is read"):
        stored_answers.stored_tests({**question, "private_test_cases": hostile})
    stored_answers._isolated.cache_clear()
