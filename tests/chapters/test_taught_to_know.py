"""What the chapter `taught_to_know` runs, at sizes of seconds: the toy, the authors' tables, graded answers, and a random model."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import torch

from workings.chapters.public_models import NotHere
from workings.chapters.taught_to_know import (
    answerer,
    demo,
    embedded_answers,
    full,
    graded_mathematics,
    live,
    multiple_choice,
    packaged_questions,
    public_tables,
    released_answers,
    self_knowledge,
)
from workings.chapters.taught_to_know.settings import ModelSettings, Settings
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lora import LoRALinear
from workings.runs import checkout
from workings.seeding import torch_generator
from workings.show.live import load_weights
from workings.uncertainty import noisy_votes as votes

TINY = Settings.full(dry_run=True)


@pytest.fixture(scope="module")
def model() -> TinyDecoder:
    return demo.pretrained(0, TINY).strong


@pytest.fixture(scope="module")
def data(model) -> demo.Graded:
    return demo.graded(model, votes.vote_questions(50, TINY.known, torch_generator(0, "test")))


def test_the_pretraining_rows_hold_right_answers_and_a_yes_that_knows_nothing():
    tokens, targets = demo.pretraining_batch(4000, Settings.demo(), torch_generator(0, "rows"))
    assert torch.equal(tokens[:, demo.FILLER], targets[:, 0]) and torch.equal(tokens[:, demo.NAME], targets[:, 1])
    said = targets[targets[:, 2] == votes.ASK, 3]
    assert set(said.tolist()) == {votes.NO, votes.YES}
    assert (targets[targets[:, 2] == votes.END, 3] == -100).all()
    # shares of 0.2 of 4,000 and of 0.95 of those, within five standard errors: false alarm 6e-7 each
    assert abs(len(said) / 4000 - 0.2) < 5 * (0.2 * 0.8 / 4000) ** 0.5
    assert abs(float((said == votes.YES).double().mean()) - 0.95) < 5 * (0.95 * 0.05 / len(said)) ** 0.5


def test_answers_are_greedy_and_graded_by_the_hidden_class(model):
    questions = votes.vote_questions(50, TINY.known, torch_generator(0, "test"))
    found = demo.graded(model, questions)
    with torch.no_grad():
        first = model(found.tokens[:, : demo.FILLER])[:, -1].log_softmax(1)
        second = model(found.tokens[:, : demo.NAME])[:, -1].log_softmax(1)
    assert torch.equal(first.argmax(1), found.tokens[:, demo.FILLER])
    torch.testing.assert_close(second.amax(1), found.name)
    assert torch.equal(found.right, (found.tokens[:, demo.NAME] == questions.truth).long())
    assert (found.tokens[:, -1] == votes.ASK).all()


def test_the_weak_model_is_an_earlier_stage_of_the_same_training():
    models = demo.pretrained(0, TINY)
    short = dataclasses.replace(TINY, pretrain_steps=TINY.pretrain_steps, weak_step=1)
    assert not torch.equal(models.weak.lm_head.weight, models.strong.lm_head.weight)
    assert torch.equal(demo.pretrained(0, short).strong.lm_head.weight, models.strong.lm_head.weight)


def test_lora_leaves_its_base_alone_and_starts_from_it(model, data):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    some = data._replace(right=torch.arange(50) % 2)
    one, two = (demo.lora(model, some, 0, TINY, prompt=True) for _ in range(2))
    assert torch.equal(one(data.tokens), two(data.tokens))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
    adapters = [layer for layer in one.modules() if isinstance(layer, LoRALinear)]
    assert len(adapters) == 6 * TINY.layers
    for layer in adapters:
        layer.enabled = False
    torch.testing.assert_close(one(data.tokens), demo.asking(model)(data.tokens))


def test_the_words_head_sees_neither_the_answer_nor_the_order_of_the_votes(data):
    some = data._replace(right=torch.arange(50) % 2)
    head = demo.words_head(some, 0, TINY)
    other = data.tokens.clone()
    other[:, demo.FILLER :] = votes.BEGIN
    other[:, 2 : votes.PROMPT - 1] = data.tokens[:, 2 : votes.PROMPT - 1].flip(1)
    torch.testing.assert_close(head(other), head(data.tokens))


def test_a_probe_can_learn_what_is_in_the_state(model, data):
    """Labels that are a function of the last token are learnt: the state holds its token."""
    tokens = data.tokens.clone()
    tokens[:, demo.NAME] = votes.FIRST_NAME + torch.arange(50) % votes.N_CLASSES
    some = data._replace(tokens=tokens, right=tokens[:, demo.NAME] % 2)
    settings = dataclasses.replace(TINY, probe_steps=200, batch=32)
    odds = demo.probe(model, some, 0, settings)(tokens)
    assert float(((odds > 0).long() == some.right).double().mean()) > 0.9


def test_quality_of_known_confidences():
    right = torch.tensor([0, 1, 0, 1])
    found = demo.quality(np.array([-1.0, 1.0, -1.0, 1.0]), right)
    p = 1 / (1 + np.exp(-1))
    assert found["auroc"] == 1 and found["ece"] == pytest.approx(1 - p) and found["mean"] == pytest.approx(0.5)
    assert demo.probability(np.array([-1e4, 0, 1e4])).tolist() == [0, 0.5, 1]


# --- the full tier ----------------------------------------------------------------------------------------------------


def test_macro_means_skip_empty_cells_and_validation_rows(tmp_path):
    column = public_tables.GRADER
    header = ["dataset", f"{column}ece_counting".replace(".", "\\."), f"{column}auroc_counting", "split", "model"]
    header += [f"{column}ece_likelihood", f"{column}auroc_likelihood"]
    rows = [["a", "0.1", "0.5", "test", "m", "0.2", ""], ["b", "0.3", "0.7", "test", "m", "0.4", ""], ["c", "9", "9", "validation", "m", "9", "9"]]  # fmt: skip
    table = [dict(zip((h.replace("\\", "") for h in header), row, strict=True)) for row in rows]
    (found,) = public_tables.sampling(table)
    assert found["subjects"] == 2 and found["auroc_counting"] == pytest.approx(0.6)
    assert found["ece_counting"] == pytest.approx(0.2) and found["auroc_likelihood"] is None


def test_means_of_the_probe_are_over_test_rows_by_format_and_read_no_seconds():
    column = public_tables.GRADER
    plain, graded = {"unc_auroc": "0.5", "unc_ece": "0.2"}, {column + "unc_auroc": "0.6", column + "unc_ece": "0.3"}
    of = lambda mode, found, split="test": {"train_mode": "oe", "eval_mode": mode, "split": split} | found
    table = [
        of("choice", plain),
        of("choice", plain | {"unc_auroc": "0.7"}),
        of("choice", {"unc_auroc": "0.9", "unc_ece": "0.9"}, "validation"),
        of("oe", plain | graded),
        of("oe", {column + "unc_auroc": "", column + "unc_ece": "0.5"}),
    ]  # no column ts
    choice, free = public_tables.probe(table)
    assert (choice["rows"], choice["auroc"], choice["ece"]) == (2, pytest.approx(0.6), pytest.approx(0.2))
    assert (free["tested"], free["rows"], free["auroc"], free["ece"]) == ("oe", 2, 0.6, 0.4)
    assert set(free) == {"trained", "tested", "rows", "auroc", "ece"}


def test_another_file_than_the_recorded_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no sampling_results\.csv"):
        public_tables.read("sampling_results.csv", tmp_path)
    (tmp_path / "sampling_results.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="another SHA-256"):
        public_tables.read("sampling_results.csv", tmp_path)


def test_an_estimator_of_words_finds_the_word_that_tells():
    settings = dataclasses.replace(ModelSettings.here(dry_run=True), folds=3)
    table = graded_mathematics.run(graded_mathematics.made_up(400), settings)
    by = {(row["reads"], row["trained"], row["tested"]): row for row in table}
    assert len(table) == 4 + 16
    for model in graded_mathematics.MODELS:
        # "well" tells 80 of 100 grades: AUROC 0.8; the question tells nothing. 400 answers: standard error at most 0.03.
        assert abs(by["answer", model, model]["auroc"] - 0.8) < 0.13
        assert abs(by["question", model, model]["auroc"] - 0.5) < 0.15
    difference, _ = graded_mathematics.transfer(table)
    assert abs(difference) < 0.1


def test_claim_values_compare_what_they_name():
    row = lambda auroc, ece, kept=0.5: {
        "auroc": auroc, "low": auroc - 0.02, "high": auroc + 0.02, "ece": ece, "ece_decision": ece / 2, "answers": 600,
        "accuracy": 0.5, "kept": kept,
    }  # fmt: skip
    methods = {
        "asked, plain": row(0.45, 0.3), "asked, options": row(0.55, 0.25), "likelihood": row(0.8, 0.1), "Probe": row(0.7, 0.1),
        "LoRA + Prompt": row(0.75, 0.06, 0.49), "LoRA + Prompt, free": row(0.74, 0.1, 0.3),
    }  # fmt: skip
    own = [{"method": name, "test": "seen", **found} for name, found in methods.items()]
    own.append({"method": "LoRA + Prompt", "test": "held out: country", **row(0.65, 0.2)})
    own.append({"method": "likelihood, sentences", "test": "seen", **row(0.7, 0.3), "confidence": 0.1})
    embedded = [
        {"reads": reads, "trained": trained, "tested": "a", "auroc": value}
        for reads, trained, value in (
            ("question's states", "a", 0.55), ("answer's states", "a", 0.65), ("answer's states", "b", 0.9), ("answer's words", "a", 0.6),
            ("question's states", "a", 0.57), ("answer's states", "a", 0.67), ("answer's words", "a", 0.6),
        )
    ]  # fmt: skip
    tables = {"sampling": [], "graded": [], "embedded": embedded, "self": own, "choice": []}
    values = full.claim_values(tables)
    found = {value["claim"]: value["value"] for value in values}
    expected = {
        "ttk-1": 0.55, "ttk-2": 0.25, "ttk-3": 0.3, "ttk-4": 0.2, "ttk-5": 0.05, "ttk-6": -0.05, "ttk-8": 0.65, "ttk-11": 1.0,
        "ttk-12": 20.0, "ttk-13": 0.04, "ttk-14": 0.4, "ttk-16": 0.15, "ttk-18": 0.56, "ttk-19": 0.06, "ttk-20": 0.1,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    assert all(value["too_small"] is None for value in values)
    error = {value["claim"]: value["error"] for value in values}
    apart = 100 * ((0.5 * 0.5 + 0.49 * 0.51) / 300) ** 0.5  # the rows hold shares alone: as if of different questions
    assert error["ttk-11"] == pytest.approx(apart)
    own[4]["lost_error"] = 0.004
    error = {value["claim"]: value["error"] for value in full.claim_values(tables)}
    assert error["ttk-11"] == pytest.approx(0.4) and error["ttk-12"] > 3
    own[6]["answers"] = 242  # the type held out in trainings of its own
    reasons = {value["claim"]: value["too_small"] for value in full.claim_values(tables)}
    assert reasons.pop("ttk-8") == "242 test answers; 500 were asked for" and set(reasons.values()) == {None}
    for entry in own:
        entry["answers"] = 100
    assert all("500 were asked for" in v["too_small"] for v in full.claim_values(tables | {"embedded": []}))


def test_the_error_of_lost_answers_is_that_of_their_paired_difference():
    before, after = [1] * 60 + [0] * 40, [1] * 55 + [0] * 5 + [1] * 3 + [0] * 37  # five are lost and three are won
    # differences of 1, -1 and 0 with mean 0.02: their sum of squares is 8
    assert self_knowledge.lost_error(before, after) == pytest.approx(((8 - 100 * 0.02**2) / 99 / 100) ** 0.5)
    assert self_knowledge.lost_error(before, before) == 0 and self_knowledge.lost_error(before, None) is None


def test_a_row_of_an_infinite_temperature_is_called_so():
    row = {"method": self_knowledge.SCALED, "auroc": 0.5, "confidence": 0.5}
    assert "T infinite" in self_knowledge.called(row)
    for other in ({"confidence": 0.4}, {"auroc": None}, {"method": "kind of question"}):
        assert self_knowledge.called(row | other) == (row | other)["method"]


def test_what_a_full_run_measures_is_checked_once():
    """A check of the toy stands aside at the full tier where the real model's value of the same claim follows."""
    page = (checkout.root() / "notebooks/uncertainty/taught_to_know.py").read_text(encoding="utf-8")
    checks = re.findall(r'ledger_\.check\(\s*"(ttk-\d+)"(.*?)\)\n', page, re.DOTALL)
    always = {claim for claim, rest in checks if 'at="demo"' not in rest}
    source = (checkout.root() / "lib/workings/chapters/taught_to_know/full.py").read_text(encoding="utf-8")
    measured = set(re.findall(r'add\(\s*"(ttk-\d+)"', source))
    assert "ttk-15" in always and len(measured) == 20 and not always & measured


def test_the_page_keeps_the_log_odds_and_grades_of_the_test_answers():
    stored = load_weights("taught_to_know")
    settings = Settings.demo()
    run = demo.run_seed(0, TINY)
    kept = live.kept(run)
    assert list(stored) == list(kept) and {one.shape for one in stored.values()} == {(settings.test,)}
    np.testing.assert_array_equal(kept["right"], run.answers.test.right)
    np.testing.assert_array_equal(kept["asked"], run.odds[demo.ASKED])
    np.testing.assert_allclose(demo.probability(kept["posterior"]), run.answers.test.posterior, atol=1e-9)
    assert set(stored["right"]) == {0.0, 1.0}
    grades = stored["right"][settings.test // 2 :]
    for n in range(20, len(grades) + 1, 10):  # what the page's slider offers always has a right and a wrong answer
        assert 0 < grades[:n].sum() < n


def test_quality_has_intervals_and_says_nothing_of_one_class():
    s = ModelSettings.here(dry_run=True)
    rng = np.random.default_rng(0)
    odds = rng.normal(size=200)
    right = (rng.random(200) < demo.probability(odds)).astype(float)
    found = self_knowledge.quality(odds, right, s, "x")
    assert found["low"] <= found["auroc"] <= found["high"]
    assert self_knowledge.quality(odds, np.ones(200), s, "x")["auroc"] is None


@pytest.mark.filterwarnings("default")  # transformers speaks about its own future
def test_the_model_part_goes_through_a_random_model_and_resumes(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("WORKINGS_QUIET", "1")
    s = ModelSettings.here(dry_run=True)
    tables = full.run_protocol(s, tmp_path)
    assert [note["message"].split(":")[0] for note in tables["note"]] == ["Run"] * 6
    rows = {(row["method"], row["test"]): row for row in tables["self"]}
    assert ("LoRA + Prompt", "held out") in rows and ("Probe", "seen") in rows
    large = {method: row for (method, test), row in rows.items() if test == f"held out: {s.large}"}
    assert set(large) >= {"likelihood", "asked, plain", "Probe", "LoRA", "LoRA + Prompt"}
    listed = packaged_questions.questions(s)
    inside = sum(q.kind == s.large for q in listed)
    assert {(row["answers"], row["trained"]) for row in large.values()} == {
        (inside, min(len(listed) - inside, s.train))
    }
    assert 0 <= rows["LoRA + Prompt", "seen"]["kept"] <= 1
    assert rows["LoRA + Prompt", "seen"]["lost_error"] >= 0 and rows["Probe", "seen"]["lost_error"] is None
    assert [row["method"] for row in tables["released"]] == ["asked", "LoRA + Prompt, 8 answers"]
    assert {row["method"] for row in tables["choice"]} >= {"asked", "likelihood", "Probe", "LoRA", "LoRA + Prompt"}
    monkeypatch.setattr(answerer.Answerer, "answer", None)  # nothing is asked again
    monkeypatch.setattr(multiple_choice.Chooser, "answer", None)
    monkeypatch.setattr(self_knowledge, "train_adapters", None)
    monkeypatch.setattr(released_answers, "train_adapters", None)
    assert full.run_protocol(s, tmp_path) == tables


GRADED = [
    {"context": "C\n", "target_prompt": "Answer:", "output": " yes ", "query_label": 1},
    {"context": None, "target_prompt": "Q", "output": "no", "query_label": 0},
    {"context": "", "target_prompt": "Q", "output": "hm", "query_label": -1},  # could not be graded
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_released_answers_are_read_from_every_form(tmp_path, suffix, monkeypatch):
    folder = tmp_path / released_answers.NAME
    folder.mkdir()
    for split in ("train-00000", "validation-00000"):
        file = folder / (split + suffix)
        if suffix == ".jsonl":
            file.write_text("\n".join(json.dumps(row) for row in GRADED))
        elif suffix == ".csv":
            with file.open("w", newline="") as out:
                rows = csv.DictWriter(out, released_answers.COLUMNS)
                rows.writeheader()
                rows.writerows(GRADED)
        else:
            file.touch()
            with pytest.raises(NotHere, match="pip install pyarrow"), monkeypatch.context() as without:
                without.setattr(released_answers.importlib.util, "find_spec", lambda name: None)
                released_answers.table(file)
            pandas = pytest.importorskip("pandas")
            monkeypatch.setattr(released_answers.importlib.util, "find_spec", lambda name: "there")
            read = functools.partial(pandas.DataFrame, GRADED)
            monkeypatch.setattr(pandas, "read_parquet", lambda path, read=read: read())
    found = released_answers.load(tmp_path)
    assert found["train"] == found["validation"] == [
        {"asked": "C\nAnswer:", "said": "yes", "right": True},
        {"asked": "Q", "said": "no", "right": False},
    ]  # fmt: skip


def test_released_answers_that_are_not_there_or_of_another_form_are_said(tmp_path):
    for root in (None, tmp_path):
        with pytest.raises(NotHere, match=released_answers.NAME):
            released_answers.load(root)
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text('{"context": "", "output": "x"}')
    with pytest.raises(ValueError, match="no column target_prompt, query_label"):
        released_answers.load(tmp_path)


def test_a_judge_reads_the_question_the_answer_and_the_question_about_it(tmp_path):
    pytest.importorskip("transformers")
    from workings.chapters.public_models import open_model

    s = ModelSettings.here(dry_run=True)
    judge = released_answers.Judge(open_model(s, None, tmp_path), s)
    (row,) = judge.tokenised([{"asked": "Who?", "said": "Me", "right": True}])
    read = judge.tokenizer.decode(judge.with_answer(row, "plain"))
    assert read == "Who? Me" + answerer.WAYS["plain"][0]
    assert judge.tokenizer.decode(judge.with_answer(row)) == "Who? Me"


def test_left_padding_and_the_cache_change_nothing(tmp_path):
    """An answer in a padded batch is the answer alone."""
    pytest.importorskip("transformers")
    from workings.chapters.public_models import open_model

    s = dataclasses.replace(ModelSettings.here(dry_run=True), new_tokens=3)
    model = answerer.Answerer(open_model(s, None, tmp_path), s)
    group = [packaged_questions.Question("symbol", about, "x") for about in ("tin", "a much longer name", "zinc")]
    together = model.answer(group)
    for question, row in zip(group, together, strict=True):
        (alone,) = model.answer([question])
        assert alone["tokens"] == row["tokens"] and alone["log_p"] == pytest.approx(row["log_p"], abs=1e-4)
    states = model.read(together, None)
    torch.testing.assert_close(states[1:2], model.read(together[1:2], None), atol=1e-5, rtol=1e-4)


def test_what_rows_begin_with_is_read_once_and_changes_nothing(tmp_path):
    """With solved examples: answers and states through the shared cache are those of the whole rows."""
    pytest.importorskip("transformers")
    from workings.chapters.public_models import open_model

    s = dataclasses.replace(ModelSettings.here(dry_run=True), new_tokens=3, examples=2)
    model = answerer.Answerer(open_model(s, None, tmp_path), s)
    kinds = ("symbol", "capital", "symbol", "symbol", "capital")
    asked = [packaged_questions.Question(kind, f"{'long ' * i}name {i}", "x") for i, kind in enumerate(kinds)]
    rows = model.answers(asked)
    assert [(row["kind"], row["about"]) for row in rows] == [(q.kind, q.about) for q in asked]
    for way in (None, "plain", "options"):
        whole = answerer.padded([model.with_answer(row, way) for row in rows], model.fill, "cpu")
        with torch.no_grad():
            states, logits = model.forward(*whole, logits=1)
        no, yes = logits[:, -1, model.options(way or "plain")].T
        torch.testing.assert_close(
            model.read(rows, way), states[:, -1] if way is None else yes - no, atol=1e-5, rtol=1e-4
        )
    for question, row in zip(asked, rows, strict=True):
        tokens = model.encode(packaged_questions.asked(question, s.examples))
        for token in row["tokens"]:  # greedy, on the whole text
            logits = model.model(torch.tensor([tokens])).logits[0, -1].detach()
            assert logits[token] == pytest.approx(float(logits.max()), abs=1e-4)
            tokens.append(token)


def test_groups_hold_one_kind_and_every_place_once():
    assert answerer.groups(list("abacab"), 2) == [[0, 2], [4], [1, 5], [3]]
    assert answerer.alike([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 5]]) == 2  # one token of the second is left
    assert answerer.alike([[1], [2, 3]]) == 0


def test_heads_on_states_find_what_tells_and_those_on_the_question_do_not(tmp_path):
    pytest.importorskip("transformers")
    from workings.chapters.public_models import open_model
    from workings.runs.store import Store

    s = dataclasses.replace(ModelSettings.here(dry_run=True), folds=3)
    model = answerer.Answerer(open_model(s, None, tmp_path), s)
    rows = graded_mathematics.made_up(200)
    table = embedded_answers.run(model, rows, Store(tmp_path / "embedded.jsonl", {}))
    # "well" tells 80 of 100 grades: AUROC 0.8; 200 answers: standard error at most 0.041, so that 0.17 is four of them.
    assert np.abs(embedded_answers.own(table, "answer's states") - 0.8).max() < 0.17
    assert np.abs(embedded_answers.own(table, "answer's words") - 0.8).max() < 0.17
    assert np.abs(embedded_answers.own(table, "question's states") - 0.5).max() < 0.17
    assert {row["trained"] for row in table if row["reads"] == "answer's states"} == set(graded_mathematics.MODELS)
    one = embedded_answers.embed(model, rows[0])
    text = model.encode(rows[0]["question"] + "\n"), model.encode(rows[0]["6b_finetuning"]["solution"])
    with torch.no_grad():
        states = model.model.model(torch.tensor([text[0] + text[1]])).last_hidden_state[0]
    np.testing.assert_allclose(one["question"], states[: len(text[0])].mean(dim=0), atol=1e-3)
    np.testing.assert_allclose(one["6b_finetuning"], states[len(text[0]) :].mean(dim=0), atol=1e-3)


def test_examples_in_sentences_hold_the_same_answers_and_are_graded_by_them():
    for kind, pairs in packaged_questions.EXAMPLES.items():
        for (about, gold), said in zip(pairs, packaged_questions.SENTENCES[kind], strict=True):
            question = packaged_questions.Question(kind, about, gold)
            assert packaged_questions.is_right(said, question, sentences=True)
            assert packaged_questions.is_right(gold, question) and said in packaged_questions.asked(
                question, sentences=True
            )
            assert kind == "number" or not packaged_questions.is_right(said, question)  # a sentence is not the word
    tin = packaged_questions.Question("symbol", "indium", "In")
    assert not packaged_questions.is_right("It is in the ground.", tin, sentences=True)
    assert packaged_questions.is_right(
        "The Netherlands", packaged_questions.Question("country", "Delft", "Netherlands")
    )
