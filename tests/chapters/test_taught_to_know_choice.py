"""Multiple-choice questions of the chapter `taught_to_know`: read from folders of every published form, asked, graded and judged."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from workings.chapters.public_models import NotHere, open_model
from workings.chapters.taught_to_know import choice_questions, full, multiple_choice, released_answers, self_knowledge
from workings.chapters.taught_to_know.choice_questions import Choice
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.ledger.results import check_table
from workings.runs.store import Store
from workings.uncertainty.confidence_estimators import option_logits

S = ModelSettings.here(dry_run=True)
SCIQ = {"question": "What melts?", "correct_answer": "ice", "distractor1": "fire", "distractor2": "air", "distractor3": "light", "support": ""}  # fmt: skip
OPEN = {"id": "1", "question_stem": "The sun is", "choices": {"text": ["hot", "cold", "wet", "far away"], "label": list("ABCD")}, "answerKey": "A"}  # fmt: skip
ARC = {"id": "2", "question": "Which one sinks?", "choices": {"text": ["cork", "stone", "oil"], "label": ["1", "2", "3"]}, "answerKey": "2"}  # fmt: skip
COMMON = {"id": "3", "question": "Where is a pen?", "question_concept": "pen", "choices": {"label": list("ABCDE"), "text": ["sea", "sky", "desk", "sun", "ice"]}, "answerKey": "C"}  # fmt: skip
MMLU = {"question": "2 + 2 is", "subject": "algebra", "choices": ["1", "2", "4", "8"], "answer": 2}
PUBLISHED = {
    "sciq/data/train-00000-of-00001": [SCIQ],
    "openbookqa/main/train-00000-of-00001": [OPEN],
    "openbookqa/additional/train-00000-of-00001": [OPEN | {"fact1": "x", "clarity": 1.0}],
    "ai2_arc/ARC-Easy/train-00000-of-00001": [ARC],
    "commonsense_qa/data/train-00000-of-00001": [COMMON],
    "commonsense_qa/data/test-00000-of-00001": [COMMON | {"question": "never read", "answerKey": ""}],
    "mmlu/all/test-00000-of-00001": [
        MMLU,
        MMLU | {"question": "3 + 3 is", "choices": ["6", "5", "7", "9"], "answer": 0},
    ],
    "mmlu/algebra/test-00000-of-00001": [MMLU],
    "mmlu/all/auxiliary_train-00000-of-00001": [MMLU | {"question": "never read"}],
    "mmlu/all/dev-00000-of-00001": [MMLU | {"question": "never read"}],
}


def lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def write(root, files, **changed):
    for place, rows in (files | {k.replace("__", "/"): v for k, v in changed.items()}).items():
        file = root / f"{place}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(rows if isinstance(rows, str) else lines(rows), encoding="utf-8")
    return root


def as_parquet_reads(rows):
    """Lists inside cells come out of Parquet as arrays."""
    array = lambda v: (
        np.array(v, dtype=object) if isinstance(v, list) else {k: array(x) for k, x in v.items()} if isinstance(v, dict) else v
    )  # fmt: skip
    return [{k: array(v) for k, v in row.items()} for row in rows]


def by_stem(questions):
    return {q.stem: q for q in questions}


def the_published_ones(found):
    train, test = by_stem(found.train), by_stem(found.test)
    assert set(train) == {"What melts?", "The sun is", "Which one sinks?", "Where is a pen?"} and len(found.train) == 4
    assert set(test) == {"2 + 2 is", "3 + 3 is"} and len(found.test) == 2
    assert train["The sun is"] == Choice("openbookqa", "The sun is", ("hot", "cold", "wet", "far away"), 0)
    assert train["Which one sinks?"] == Choice("ai2_arc", "Which one sinks?", ("cork", "stone", "oil"), 1)
    assert train["Where is a pen?"].options[train["Where is a pen?"].gold] == "desk"
    melts = train["What melts?"]
    assert set(melts.options) == {"ice", "fire", "air", "light"} and melts.options[melts.gold] == "ice"
    assert test["2 + 2 is"] == Choice("algebra", "2 + 2 is", ("1", "2", "4", "8"), 2)
    assert found.left_out == {
        "there before": 2,
        "a test question too": 0,
    }  # openbookqa's second form, and mmlu's subject


def test_every_set_is_read_from_json_lines_as_published(tmp_path):
    the_published_ones(choice_questions.load(write(tmp_path, PUBLISHED)))


def test_every_set_is_read_from_parquet_as_published(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    for place in PUBLISHED:
        file = tmp_path / f"{place}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    of = lambda path: as_parquet_reads(PUBLISHED[path.relative_to(tmp_path).with_suffix("").as_posix()])
    monkeypatch.setattr(released_answers.importlib.util, "find_spec", lambda name: "there")
    monkeypatch.setattr(pandas, "read_parquet", lambda path: pandas.DataFrame(of(path)))
    the_published_ones(choice_questions.load(tmp_path))


def test_every_set_is_read_from_real_parquet_files(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas

    for place, rows in PUBLISHED.items():
        file = tmp_path / f"{place}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pandas.DataFrame(rows).to_parquet(file)
    the_published_ones(choice_questions.load(tmp_path))


def test_the_right_option_of_sciq_stands_in_any_place(tmp_path):
    found = choice_questions.load(
        write(tmp_path, PUBLISHED, sciq__train=[SCIQ | {"question": f"{i}?"} for i in range(200)])
    )
    asked = [q for q in found.train if q.kind == "sciq"]
    assert len(asked) == 201 and all(q.options[q.gold] == "ice" for q in asked)
    places = np.bincount([q.gold for q in asked], minlength=4)
    # a quarter each, within five standard errors: false alarm 6e-7 each, and the draw is fixed by the questions
    assert np.abs(places / 201 - 0.25).max() < 5 * (0.25 * 0.75 / 201) ** 0.5


def test_the_form_and_names_of_the_authors_own_files_are_read_too(tmp_path):
    own = lambda row: {
        "id": "x", "answerKey": row["answerKey"],
        "question": {
            "stem": row.get("question_stem", row.get("question")),
            "choices": [dict(zip(("text", "label"), o, strict=True)) for o in zip(*map(row["choices"].get, ("text", "label")), strict=True)],
        },
    }  # fmt: skip
    files = {
        "sciq/train": [SCIQ],
        "allenai/openbookqa/Data/Main/train": [own(OPEN)],
        "ai2_arc/ARC-Easy/ARC-Easy-Train": [own(ARC)],
        "tau/commonsense_qa/train_rand_split": [own(COMMON)],
        "tau/commonsense_qa/dev_rand_split": [own(COMMON) | {"answerKey": "A"}],
        "mmlu/test": [MMLU | {"answer": "C"}, MMLU | {"question": "3 + 3 is", "choices": ["6", "5", "7", "9"], "answer": "A"}],
    }  # fmt: skip
    found = choice_questions.load(write(tmp_path, files))
    the_published_ones(found._replace(left_out={"there before": 2, "a test question too": 0}))


def test_what_is_missing_is_said_with_where_it_is_published(tmp_path):
    for root in (None, tmp_path, tmp_path / "not there"):
        with pytest.raises(NotHere) as missing:
            choice_questions.load(root)
        assert all(name in str(missing.value) for name in choice_questions.HUB.values())
    write(tmp_path, {k: v for k, v in PUBLISHED.items() if not k.startswith("sciq")})
    (tmp_path / "sciq" / "data").mkdir(parents=True)  # an empty folder
    (tmp_path / "sciq" / "train.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # never opened
    with pytest.raises(NotHere, match="the train files of allenai/sciq in a folder sciq") as missing:
        choice_questions.load(tmp_path)
    assert "mmlu" not in str(missing.value)


def test_no_question_of_the_test_is_trained_on(tmp_path):
    """A test question that stands in a training set too, in other case, marks and with other options, is left out there."""
    leak = ARC | {
        "question": "2 +  2 IS?",
        "choices": {"text": ["four", "five"], "label": ["A", "B"]},
        "answerKey": "A",
    }
    twice = COMMON | {"question": "where is  a PEN?"}
    found = choice_questions.load(
        write(tmp_path, PUBLISHED, **{"ai2_arc__ARC-Easy__train-00000-of-00001": [ARC, leak, leak]}, commonsense_qa__train=[twice])
    )  # fmt: skip
    words = lambda q: choice_questions._words(q.stem)
    assert not {words(q) for q in found.train} & {words(q) for q in found.test}
    assert found.left_out == {"a test question too": 2, "there before": 3} and len(found.train) == 4
    for examples in (0, 1):
        s = dataclasses.replace(S, examples=examples, train=60, per_subject=3)
        shown, train, test = multiple_choice.drawn(choice_questions.made_up(40), s)
        assert len(shown) == examples and len(train) == 40 - examples and not {*shown} & {*train}
        assert sorted(q.kind for q in test) == ["s"] * 3 + ["t"] * 3
        assert not {q.stem for q in test} & {q.stem for q in [*shown, *train]}
    with pytest.raises(NotHere, match="at least 10 questions"):
        multiple_choice.drawn(choice_questions.made_up(9), S)


def test_same_words_with_other_options_are_two_questions_of_the_test(tmp_path):
    other = MMLU | {"choices": ["-1", "-2", "4", "8"]}
    found = choice_questions.load(write(tmp_path, PUBLISHED, mmlu__test=[other, MMLU | {"choices": MMLU["choices"][::-1], "answer": 1}]))  # fmt: skip
    assert [q.options for q in found.test if q.stem == "2 + 2 is"] == [("1", "2", "4", "8"), ("-1", "-2", "4", "8")]


def test_rows_that_cannot_be_asked_are_counted(tmp_path):
    rows = [
        ARC | {"answerKey": ""}, ARC | {"answerKey": None}, MMLU | {"answerKey": "D"}, ARC | {"question": " "},
        ARC | {"question": "a", "choices": {"text": ["x", "x", "y"], "label": list("ABC")}, "answerKey": "B"},
        ARC | {"question": "b", "choices": {"text": ["x", "x", "y"], "label": list("ABC")}, "answerKey": "C"},
        ARC | {"question": "c\u2028d", "answerKey": 1},  # a line separator inside a text; a number is a label here
    ]  # fmt: skip
    found = choice_questions.load(write(tmp_path, PUBLISHED, ai2_arc__train=rows, mmlu__test=[MMLU | {"question": "hidden", "answer": -1}]))  # fmt: skip
    assert found.left_out["no answer key"] == 3 and found.left_out["an empty text"] == 1
    assert found.left_out["the right option stands twice"] == 1
    train = by_stem(found.train)
    assert train["b"].gold == 2 and train["c\u2028d"].gold == 0
    assert (
        "2 + 2 is" not in train and found.left_out["a test question too"] == 1
    )  # choices without labels are A, B, ...
    assert "hidden" not in by_stem(found.test)


@pytest.mark.parametrize(
    ("place", "rows", "said"),
    [
        ("sciq/train", [{"question": "?", "answer": "x"}], r"train\.jsonl, row 1: no column correct_answer, distractor1"),
        ("openbookqa/train", [OPEN, ARC], r"row 2: no column question_stem; allenai/openbookqa has"),
        ("mmlu/test", [{k: v for k, v in MMLU.items() if k != "subject"}], "no column subject; cais/mmlu has"),
        ("ai2_arc/train", [ARC | {"answerKey": "E"}], "the answer is 'E', which is none of the options 1, 2, 3"),
        ("ai2_arc/train", [ARC | {"answerKey": 0}], "the answer is '0'"),
        ("mmlu/test", [MMLU | {"answer": 4}], "the answer is '4', which is none of the options A, B, C, D"),
        ("mmlu/test", [MMLU | {"answer": 1.5}], "the answer is '1.5'"),
        ("mmlu/test", ['{"question": "x", "subject": "y", "choices": ["a", "b"], "answer": Infinity}'], "row 1: cannot convert"),
        ("mmlu/test", [MMLU | {"answer": [1]}], "row 1:"),
        ("mmlu/test", [MMLU | {"choices": "abcd"}], "neither a list of options"),
        ("mmlu/test", [MMLU | {"choices": ["only one"]}], "2 to 8 options"),
        ("mmlu/test", [MMLU | {"choices": list("abcdefghi")}], "2 to 8 options"),
        ("mmlu/test", [MMLU | {"choices": ["a", None, "c"]}], "column choices must hold text, found None"),
        ("ai2_arc/train", [ARC | {"choices": {"text": ["a", "b"], "label": ["A", "A "]}, "answerKey": "A"}], "different labels"),
        ("ai2_arc/train", [ARC | {"question": 7}], "column question must hold text, found 7"),
        ("ai2_arc/train", ['{"question": "\\ud800", "choices": ["a", "b"], "answerKey": "A"}'], "row 1: .*surrogates"),
        ("ai2_arc/train", ["[1]"], "must be an object with columns, found list"),
        ("ai2_arc/train", ['{"question": '], r"train\.jsonl cannot be read"),
        ("ai2_arc/train", ["[" * 100_000], r"train\.jsonl cannot be read"),
    ],
)  # fmt: skip
def test_another_form_is_refused_with_file_and_column(tmp_path, place, rows, said):
    raw = all(isinstance(row, str) for row in rows)
    with pytest.raises(ValueError, match=said):
        choice_questions.load(write(tmp_path, PUBLISHED | {place: "\n".join(rows) if raw else rows}))


@pytest.fixture
def opened(tmp_path):
    pytest.importorskip("transformers")
    return open_model(S, None, tmp_path)


def test_the_answer_is_the_best_of_the_questions_own_letters_and_graded_by_it(opened):
    """Against the logits of each question alone, with every option right in turn."""
    shown = [Choice("x", "One?", ("a", "b"), 1)]
    model = multiple_choice.Chooser(opened, S, shown)
    texts = [("Short?", 2), ("A longer question, with a line\nbreak?", 5), ("Mid size?", 3), ("Eight?", 8)]
    for gold in range(2):
        group = [Choice("x", stem, tuple("stuvwxyz"[:n]), gold) for stem, n in texts]
        rows = model.answer(group)
        for question, row in zip(group, rows, strict=True):
            text = "One?\nA. a\nB. b\nAnswer: B\n\n" + question.text()
            assert model.tokenizer.decode(model.before(question)) == text and text.endswith("\nAnswer:")
            with torch.no_grad():
                logits = opened.model(torch.tensor([model.encode(text)])).logits
            own = option_logits(logits, torch.ones(logits.shape[:2]), model.letters[: len(question.options)])[0]
            assert row["chosen"] == int(own.argmax()) < len(question.options)
            assert row["log_p"] == pytest.approx(float(own.max()), abs=1e-4)
            assert row["right"] == (row["chosen"] == gold)
            said = model.tokenizer.decode(model.with_answer(row))
            assert said[: len(text)] == text and said[-1] == choice_questions.LETTERS[row["chosen"]]
            assert model.question(json.loads(json.dumps(row))) == question  # as a store gives it back


def test_of_a_question_without_end_the_end_is_read(opened):
    model = multiple_choice.Chooser(opened, S)
    tokens = model.before(Choice("x", "long " * 2000, ("a", "b"), 0))
    assert len(tokens) == multiple_choice.LONGEST and model.tokenizer.decode(tokens).endswith("A. a\nB. b\nAnswer:")


def test_rows_by_subject_hold_the_ranks_they_name():
    """Two subjects ranked perfectly and upside down; pooled, every pair across them counts too."""
    test = [{"kind": kind, "right": bool(i % 2)} for kind in "st" for i in range(10)] + [{"kind": "u", "right": True}]
    odds = np.array([(1 if r["kind"] == "s" else -1) * (1 if r["right"] else -1) for r in test], dtype=float)
    pooled, mean, *each = multiple_choice.of_method("m", odds, test, S, {"kept": 0.5})
    assert (pooled["subject"], mean["subject"]) == (multiple_choice.POOLED, multiple_choice.MEAN)
    assert [row["auroc"] for row in each] == [1.0, 0.0, None] and [row["answers"] for row in each] == [10, 10, 1]
    assert mean["auroc"] == 0.5 and mean["subjects"] == 2 and 0 <= mean["low"] <= mean["high"] <= 1
    assert pooled["answers"] == 21 and pooled["accuracy"] == pytest.approx(11 / 21) and pooled["kept"] == 0.5
    # right: five at +1, six at -1 (one of u, whose sign is -1); wrong: five at -1, five at +1
    assert pooled["auroc"] == pytest.approx((5 * (5 + 2.5) + 6 * 2.5) / 110)


def test_claims_on_choices_compare_what_they_name():
    rows = [
        {"method": method, "subject": subject, "answers": 600, "auroc": auroc, "ece": ece}
        for method, found in (
            ("asked", {multiple_choice.POOLED: (0.5, 0.3), multiple_choice.MEAN: (0.9, None), "s": (0.5, 0.1), "t": (0.6, 0.1), "u": (None, 0.1)}),
            ("LoRA + Prompt", {multiple_choice.POOLED: (0.9, 0.12), multiple_choice.MEAN: (0.1, None), "s": (0.7, 0.1), "t": (0.7, 0.1), "u": (None, 0.1)}),
        )
        for subject, (auroc, ece) in found.items()
    ]  # fmt: skip
    tables = {"sampling": [], "graded": [], "embedded": [], "self": [], "choice": rows}
    first, second = full.claim_values(tables)
    assert (first["claim"], second["claim"]) == ("ttk-21", "ttk-22") and first["too_small"] is None
    # differences 0.2 and 0.1: mean 0.15, standard deviation 0.1 / sqrt 2, standard error 0.05
    assert first["value"] == pytest.approx(0.15) and first["error"] == pytest.approx(0.05)
    assert second["value"] == pytest.approx(0.4)
    for row in rows:
        row["answers"] = 499
    assert all("500 were asked for" in value["too_small"] for value in full.claim_values(tables))


@pytest.mark.filterwarnings("default")  # transformers speaks about its own future
def test_a_random_model_goes_through_and_resumes(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    found = choice_questions.made_up(40)
    before = {name: value.clone() for name, value in opened.model.state_dict().items()}
    rows = multiple_choice.run(opened, S, found, multiple_choice.where(tmp_path, "m", S, found))
    assert all(torch.equal(value, opened.model.state_dict()[name]) for name, value in before.items())
    methods = ["likelihood", "asked", "Probe", "LoRA", "LoRA + Prompt"]
    assert {(r["method"], r["subject"]) for r in rows} == {(m, k) for m in methods for k in ("s", "t", multiple_choice.POOLED, multiple_choice.MEAN)}  # fmt: skip
    assert {r["answers"] for r in rows} == {8, 16}
    check_table(rows, lambda key, what: pytest.fail(f"{key}: {what}"), "choice")  # the record takes them
    assert all(0 <= r["kept"] <= 1 and 0 <= r["ece"] <= 1 for r in rows if r["subject"] == multiple_choice.POOLED)
    monkeypatch.setattr(multiple_choice.Chooser, "answer", None)  # nothing is asked again
    monkeypatch.setattr(self_knowledge, "train_adapters", None)
    monkeypatch.setattr(self_knowledge, "train_probe", None)
    assert multiple_choice.run(opened, S, found, multiple_choice.where(tmp_path, "m", S, found)) == rows
    with pytest.raises(ValueError, match="questions was"):
        multiple_choice.where(tmp_path, "m", S, found._replace(test=found.test[1:]))


def test_the_full_tier_reads_the_users_folder_and_says_what_it_left_out(tmp_path, monkeypatch):
    """The other parts stand aside; a random model answers the questions of a folder, and then of one that is not there."""
    pytest.importorskip("transformers")
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    model = open_model(S, None, tmp_path)
    s = dataclasses.replace(S, dry_run=False, examples=2, train=12)
    monkeypatch.setattr(
        multiple_choice.Chooser, "single", lambda self, words: [self.encode(word)[-1] for word in words]
    )
    monkeypatch.setattr(full, "open_model", lambda *_: model)
    away = lambda *_, **__: (_ for _ in ()).throw(NotHere("another part"))
    for module, name in (
        ("public_tables", "tables"),
        ("graded_mathematics", "load"),
        ("released_answers", "load"),
        ("self_knowledge", "run"),
    ):
        monkeypatch.setattr(getattr(full, module), name, away)
    many = [COMMON | {"question": f"Where is number {i}?"} for i in range(20)]
    test = [MMLU | {"question": f"{i} + 4 is", "subject": "ab"[i % 2], "answer": i % 4} for i in range(24)]
    write(tmp_path, PUBLISHED, commonsense_qa__more__train=many, mmlu__more__test=test)
    tables = full.run_protocol(s, tmp_path / "runs", data_root=tmp_path)
    said = [row["message"] for row in tables["note"]]
    assert (
        said[-1] == "Run: a public model on multiple-choice questions."
        and [line[:7] for line in said].count("Not run") == 5
    )
    assert "Multiple-choice questions left out, there before: 2." in said
    assert {row["subject"] for row in tables["choice"]} == {
        "a",
        "b",
        "algebra",
        multiple_choice.POOLED,
        multiple_choice.MEAN,
    }
    assert [row["claim"] for row in tables["values"]] == ["ttk-21", "ttk-22"]
    gone = full.run_protocol(s, tmp_path / "runs", data_root=tmp_path / "runs")
    assert gone["choice"] == [] and "allenai/sciq" in gone["note"][-1]["message"]


def test_a_half_done_run_goes_on(opened, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    found, path = choice_questions.made_up(20), tmp_path / "store.jsonl"
    whole = multiple_choice.run(opened, S, found, Store(path, {}))
    kept = path.read_text().splitlines()
    path.write_text("\n".join(kept[: len(kept) // 2]) + "\n")
    assert multiple_choice.run(opened, S, found, Store(path, {})) == whole
