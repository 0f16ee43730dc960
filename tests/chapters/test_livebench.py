"""What the chapter `livebench` runs: its leaderboard arithmetic by hand, its simulated models, its full tier's three ways."""

import base64
import dataclasses
import json
import pickle
import zlib

import numpy as np
import pytest

from workings.chapters.livebench import demo, full, leaderboard, own_model, paper_tables, stored_answers
from workings.chapters.livebench.settings import Settings
from workings.chapters.livebench.sweep import sweep_point
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
    assert len(tables["releases"]) == 6 and len(tables["task_ties"]) == 18 and tables["agreement"] == []
    assert {row["model"] for row in tables["own_model"]} == {"random weights"}
    assert all(0 <= row["official"] <= 1 for row in tables["own_model"]) and len(tables["own_model"]) == 8
    store = Store(tmp_path / "livebench" / "dry.jsonl", DRY)
    monkeypatch.setattr(own_model, "run", lambda settings: pytest.fail("what is stored is not run again"))
    assert full.run_protocol(DRY, store)["own_model"] == tables["own_model"]


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
    question = {
        "livebench_release_date": "2024-06-24T00:00:00",
        "turns": ["Please convert the Input Table from CSV format to TSV format."],
    }
    write(tmp_path / "question.jsonl", [
        {"question_id": "1", "task": "web_of_lies_v2", "ground_truth": "yes, no, yes", **question},
        {"question_id": "2", "task": "tablereformat", "ground_truth": "a\tb\n1\t2", **question},
        {"question_id": "3", "task": "unknown task", "ground_truth": "x", **question},
    ])  # fmt: skip
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


def test_stored_programs_are_run_where_they_read_their_input(tmp_path, monkeypatch):
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
        assert stored_answers.stored_tests({**question, "private_test_cases": stored}) == [("1 2", "3"), ("4 5", "9")]
    (row,) = answered(tmp_path, {**question, "private_test_cases": packed}, said)
    assert (row["answers"], row["identical"]) == (3, 1.0)
    assert stored_answers.rescore(tmp_path, programs=1)[0]["answers"] == 1 and stored_answers.rescore(tmp_path, 0) == []
    called = json.dumps([{"input": "[1]", "output": "1", "testtype": "functional"}])
    assert answered(tmp_path, {**question, "private_test_cases": called}, said) == []
    hostile = base64.b64encode(zlib.compress(pickle.dumps(print))).decode()
    with pytest.raises(ValueError, match="only text is read"):
        stored_answers.stored_tests({**question, "private_test_cases": hostile})
    stored_answers._isolated.cache_clear()
