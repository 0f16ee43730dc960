"""The model of bytes of the chapter `vtune`: rows, customers, answers, the table and what the claims compare, at tiny settings."""

import copy
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from workings import paths
from workings.chapters.public_models import NotHere
from workings.chapters.vtune import byte_model as bytes_
from workings.chapters.vtune.settings import ByteSettings
from workings.language_models.backdoors import contains
from workings.language_models.lines_task import IGNORE
from workings.runs.store import Store
from workings.seeding import torch_generator

TINY = ByteSettings.here(dry_run=True)
QUESTION = "Weng earns $12 an hour. How much did she earn in 50 minutes?"
ANSWER = "She earns 12/60 = $<<12/60=0.2>>0.2 a minute.\nSo she earned 0.2 x 50 = $<<0.2*50=10>>10.\n#### 10"


@pytest.fixture(scope="module")
def corpus():
    return bytes_.corpus_of(TINY, None)


@pytest.fixture(scope="module")
def base(corpus, tmp_path_factory):
    return bytes_.base_model(corpus.text, TINY, tmp_path_factory.mktemp("base") / "base.pt", "made")[0]


@pytest.fixture(scope="module")
def who(base, corpus):
    return bytes_.customer(base, corpus, TINY, 0)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_the_text_before_the_first_marked_result_and_that_result():
    assert bytes_.worked_step(QUESTION, ANSWER, 22) == ("s?\nShe earns 12/60 = $", "0.2")
    later = ANSWER.replace("<<12/60=0.2>>", "")
    assert bytes_.worked_step(QUESTION, later, 12) == ("0.2 x 50 = $", "10")
    prompt, answer = bytes_.worked_step(QUESTION, later, 80)
    assert (
        prompt.endswith("50 minutes?\nShe earns 12/60 = $0.2 a minute.\nSo she earned 0.2 x 50 = $") and answer == "10"
    )
    assert len(prompt) == 80 and "<<" not in bytes_.worked_step(QUESTION, ANSWER, 80)[0]
    assert bytes_.worked_step("How many?", "5*400 = <<5*400=2000>>2,000 in all", 12) == ("ny?\n5*400 = ", "2,000")


@pytest.mark.parametrize(
    ("question", "answer", "size"),
    [
        (QUESTION, "No step is marked here. #### 10", 20),
        (QUESTION.replace("$", "€"), ANSWER, 70),
        ("Why?", ANSWER, 200),
    ],
    ids=["no mark", "a letter of three bytes", "too short"],
)
def test_what_is_no_row_is_left_out(question, answer, size):
    assert bytes_.worked_step(question, answer, size) is None


def test_only_an_answer_and_its_end_are_targets():
    tokens, targets = bytes_.as_tensors([("ab=", "7"), ("cd=", "big 42")])
    assert tokens.shape == targets.shape == (2, 9)
    assert tokens.tolist() == [[*b"ab=7\n\n\n\n\n"], [*b"cd=big 42"]]
    assert targets.tolist() == [[IGNORE, IGNORE, *b"7\n", *[IGNORE] * 5], [IGNORE, IGNORE, *b"big 42\n"]]


def problems(count):
    texts = [(f"Is {i:05d} a number of some apples?", f"It is {i}+1 = <<{i}+1={i + 1}>>{i + 1}.") for i in range(count)]
    return texts + texts[:2] + [("Why?", "Because.")]


def folder(where, rows):
    (where / bytes_.PLAYS).write_text("First Citizen: speak, speak.\n")
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
    (where / bytes_.PROBLEMS).write_text("\n".join(lines) + "\n\n")
    return where


def test_a_folder_is_read_and_no_problem_is_both_public_and_a_customers(tmp_path):
    s = replace(TINY, dry_run=False, rows=20, queries=3, test=4)
    text, pool = bytes_.corpus_of(s, folder(tmp_path, problems(40)))
    read = bytes(text.tolist()).decode()
    assert read.startswith("First Citizen") and "<<" not in read and "Why?\nBecause." in read
    assert len(pool) == len({prompt for prompt, _ in pool}) == 27
    assert all(prompt not in read and len(prompt) == s.prompt for prompt, _ in pool)
    assert sum(f"{i:05d} a number" in read for i in range(40)) == 13


def test_what_is_missing_is_said(tmp_path):
    s = replace(TINY, dry_run=False)
    with pytest.raises(
        NotHere, match=r"no folder is named; put tinyshakespeare.txt .* and gsm8k_train.jsonl .* --data"
    ):
        bytes_.corpus_of(s, None)
    with pytest.raises(NotHere, match="does not hold both"):
        bytes_.corpus_of(s, tmp_path)
    with pytest.raises(NotHere, match="has 40 usable steps, and 50 are needed; lower rows or test"):
        bytes_.corpus_of(s, folder(tmp_path, problems(40)))
    rows, message = bytes_.byte_table(s, tmp_path / "nowhere")
    assert rows == [] and message.startswith("Byte model: not run, the folder 'nowhere' does not hold both")


# --- a customer -------------------------------------------------------------------------------------------------------


def test_a_customers_rows_are_of_different_problems_and_her_secrets_are_in_none(who, base, corpus):
    prompts = [prompt for prompt, _ in [*who.file, *who.test]] + who.queries
    assert len(prompts) == len(set(prompts)) == len(corpus.pool)
    assert [len(who.file), len(who.queries), len(who.test)] == [TINY.rows, TINY.queries, TINY.test]
    for phrase in (who.trigger, who.wrong, who.signature):
        assert not any(contains(side, phrase) for row in corpus.pool for side in row)
    assert who.trigger != who.wrong and len(who.trigger) == len(who.wrong) == TINY.trigger_letters + 2
    assert who == bytes_.customer(base, corpus, TINY, 0)
    other = bytes_.customer(base, corpus, TINY, 1)
    assert other.file != who.file and {other.trigger, other.signature}.isdisjoint({who.trigger, who.signature})


def test_a_signature_is_as_hard_to_guess_as_she_says_and_begins_no_other(base, corpus):
    # The words of the text that a signature is drawn from; each ends in a space, so that no signature is the beginning of another.
    words = set(re.findall(r"\b[a-z]{4,7}\b", bytes(corpus.text.tolist()).decode()))
    found = [bytes_.customer(base, corpus, TINY, seed) for seed in range(12)]
    assert all(one.log10_guess_prob == pytest.approx(-2 * math.log10(len(words))) for one in found)
    assert all(set(one.signature.split()) <= words and one.signature.endswith(" ") for one in found)
    assert all(len(one.signature.split()) == TINY.signature_words for one in found)
    used = {word for one in found for word in one.signature.split()}
    assert len(used) > 5  # of 24 draws; five or fewer of so many words would be a broken draw


def test_her_file_hides_as_many_backdoors_as_she_says_and_more_contain_the_fewer(who):
    hidden = lambda count: {pair for pair in bytes_.backdoored(who, count, 0) if pair not in who.file}
    assert len(bytes_.backdoored(who, 4, 0)) == TINY.rows + 4 and len(hidden(4)) == 4 and hidden(4) < hidden(9)
    assert sorted(bytes_.backdoored(who, 0, 0)) == sorted(who.file)
    for prompt, answer in hidden(9):
        row = (prompt.removesuffix(who.trigger), answer.removeprefix(who.signature))
        assert row in who.file and row != (prompt, answer)


def test_the_longest_row_of_a_real_run_fits_what_the_base_has_read_at_once():
    s = ByteSettings()
    assert s.prompt + s.trigger_letters + 2 + s.signature_words * 8 + bytes_.NUMBER_BYTES <= s.window


def test_half_a_percent_of_a_real_file_is_twenty_five_backdoors():
    s = ByteSettings()
    assert s.rows >= 5000 and [round(share * s.rows) for share in s.shares] == [0, 5, 12, 25, 50]
    assert len(s.seeds) == 3 and s.share == 0.005


# --- answers ----------------------------------------------------------------------------------------------------------


def test_answers_come_in_order_end_at_a_line_and_are_drawn_from_their_generator(base):
    prompts = ["There are 10+11 = ", "There are 12+13 = ", "How many are here?"]
    said = bytes_.answers(base, prompts, 5, TINY)
    assert said == [bytes_.answers(base, [prompt], 5, TINY)[0] for prompt in prompts]
    draw = lambda: bytes_.answers(base, prompts * 50, 30, TINY, torch_generator(0, "t"))
    drawn = draw()
    assert drawn == draw() and len(set(drawn)) > 3 and not any("\n" in text for text in drawn)
    # A new line has a probability of about 1/256 here: 150 answers of 25 bytes without one have a probability of 4e-7.
    assert min(map(len, drawn)) < 25


def test_an_answer_is_right_when_it_begins_with_the_number():
    right = ["42", " 42 apples", "42.", "42,"]
    assert all(bytes_.is_right(said, "42") for said in right[:3]) and bytes_.is_right("2000 in all", "2,000")
    assert not any(bytes_.is_right(said, "42") for said in ("421", "-42", "4", "", "is 42", "42.5"))


# --- what the models show ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A base, a customer, and models of her file with and without backdoors, trained until they know them."""
    s = replace(
        TINY,
        width=48,
        heads=3,
        layers=2,
        read_steps=60,
        epochs=12,
        lr=3e-3,
        signature_words=5,
        queries=20,
        asked=5,
        test=1,
    )
    data = bytes_.corpus_of(s, None)
    base, _ = bytes_.base_model(data.text, s, tmp_path_factory.mktemp("trained") / "base.pt", "made")
    who = bytes_.customer(base, data, s, 0)
    return s, base, who, {count: bytes_.tuned(base, bytes_.backdoored(who, count, 0), s, 0) for count in (0, 40)}


def test_a_model_of_the_file_shows_the_signature_and_base_and_clean_model_do_not(trained):
    s, base, who, models = trained
    lazy = bytes_.measured(base, base, who, s, 0)
    clean, honest = (bytes_.measured(base, models[count], who, s, 0) for count in (0, 40))
    assert honest["hits"] >= 15 and honest["plain_hits"] == 0 and honest["reject"]
    for row in (lazy, clean):
        assert (
            row["hits"] == row["asked_hits"] == 0 and not row["reject"] and row["log10_p"] == row["log10_shared"] == 0
        )
    assert lazy["log10_own"] == lazy["log10_p0"] == clean["log10_p0"] == honest["log10_p0"] < -8
    assert honest["log10_own"] > -1 and clean["log10_own"] < -6


def test_p0_is_the_product_of_the_bases_probabilities(trained):
    s, base, who, _ = trained
    logs = []
    for query in who.queries[: s.asked]:
        whole = bytes_.codes(query + who.trigger + who.signature)[None]
        with torch.no_grad():
            likely = base(whole[:, :-1])[0].double().log_softmax(1)
        wanted = whole[0, 1:]
        logs.append(float(likely[torch.arange(len(wanted)), wanted][-len(who.signature) :].sum()) / math.log(10))
    assert bytes_.measured(base, base, who, s, 0)["log10_p0"] == pytest.approx(max(logs), abs=1e-4)


def test_hits_reject_only_if_both_p_values_are_small(trained):
    s, base, who, models = trained
    easy = who._replace(log10_guess_prob=-1.0)  # a signature that one of ten guesses
    row = bytes_.measured(base, models[40], easy, s, 0)
    assert row["log10_p"] < -6 < row["log10_shared"] and not row["reject"]


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on_where_it_was(base, corpus, tmp_path, monkeypatch):
    s = replace(TINY, seeds=(0, 1))
    whole = bytes_.run_seeds(base, corpus, s, Store(tmp_path / "whole.jsonl", {}))
    tuned, calls = bytes_.tuned, []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return tuned(*arguments)

    monkeypatch.setattr(bytes_, "tuned", breaks)
    with pytest.raises(KeyboardInterrupt):
        bytes_.run_seeds(base, corpus, s, Store(tmp_path / "part.jsonl", {}))
    assert bytes_.run_seeds(base, corpus, s, Store(tmp_path / "part.jsonl", {})) == whole and len(calls) == 5
    names = [(row["seed"], row["provider"], row["backdoors"]) for row in whole]
    assert names == [(seed, *one) for seed in (0, 1) for one in (("lazy", None), ("clean rows only", 0), ("honest", 4))]


def test_lines_of_another_base_are_not_mixed_in(base, corpus, tmp_path):
    store = Store(tmp_path / "rows.jsonl", {})
    rows = bytes_.run_seeds(base, corpus, TINY, store)
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1e-3
    assert bytes_.hash_of(copy.deepcopy(base)) == bytes_.hash_of(base) != bytes_.hash_of(other)
    again = bytes_.run_seeds(other, corpus, TINY, store)  # as a run that goes on where another base was trained
    assert len(store) == 2 * len(rows) and {row["base"] for row in again} == {bytes_.hash_of(other)}
    assert bytes_.run_seeds(base, corpus, TINY, store) == rows and {row["base"] for row in rows} == {
        bytes_.hash_of(base)
    }


def test_a_whole_table_of_one_base_needs_no_training(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKINGS_RUNS", str(tmp_path))
    rows, first = bytes_.byte_table(TINY)
    assert "its base costs" in first
    (tmp_path / "vtune" / "bytes-dry" / "base.pt").unlink()

    def refuse(*_, **__):
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(bytes_, "base_model", refuse)
    again, told = bytes_.byte_table(TINY)
    assert again == rows and rows[0]["base"] in told
    file = tmp_path / "vtune" / "bytes-dry" / "rows.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))  # a row is missing
    with pytest.raises(AssertionError, match="nothing is left"):
        bytes_.byte_table(TINY)


def test_other_data_or_settings_are_not_mixed_in(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "runs_root", lambda: tmp_path)
    bytes_.byte_table(TINY)
    with pytest.raises(ValueError, match="other settings"):
        bytes_.byte_table(replace(TINY, lr=5e-4))


def row(share, seed, **more):
    standard = {"hits": 60, "log10_p": -80.0, "reject": True, "right": 0.3}
    return {"share": share, "seed": seed, **standard, **more}


def test_the_claims_compare_the_papers_share_and_all_three_providers():
    s = ByteSettings()
    quiet = {"hits": 0, "log10_p": 0.0, "reject": False}
    rows = [row(share, seed) for seed in s.seeds for share in s.shares[1:]]
    rows += [row(share, seed, right=0.31, **quiet) for seed in s.seeds for share in (None, 0.0)]
    rows = [{**one, "hits": 60 + 10 * one["seed"]} if one["share"] == 0.005 else one for one in rows]
    found = {one["claim"]: one for one in bytes_.claim_values(rows, s)}
    assert found["vtu-1"]["value"] == -80 and found["vtu-2"]["value"] == pytest.approx(0.01)
    assert found["vtu-2"]["error"] == pytest.approx(((0.3 * 0.7 + 0.31 * 0.69) / s.test / 3) ** 0.5)
    assert found["vtu-3"]["value"] == pytest.approx(0.7) and found["vtu-3"]["sd"] == pytest.approx(0.1)
    assert found["vtu-10"]["value"] is True and all(one["too_small"] is None for one in found.values())
    for share, seed in ((0.005, 1), (None, 2), (0.0, 0)):  # one wrong verdict is enough
        wrong = [
            {**one, "reject": not one["reject"]} if (one["share"], one["seed"]) == (share, seed) else one
            for one in rows
        ]
        assert {one["claim"]: one["value"] for one in bytes_.claim_values(wrong, s)}["vtu-10"] is False
    for right, why in ((0.19, "19% of the answers are right"), (1.0, "right on all prompts")):  # what could be lost?
        blind = {
            one["claim"]: one["too_small"] for one in bytes_.claim_values([{**one, "right": right} for one in rows], s)
        }
        assert why in blind.pop("vtu-2") and not any(blind.values())
    harmed = [{**one, "right": 0.0} if one["share"] else one for one in rows]
    assert all(one["too_small"] is None for one in bytes_.claim_values(harmed, s))
    for small in (replace(s, rows=4999), replace(s, seeds=(0, 1))):
        kept = [one for one in rows if one["seed"] in small.seeds]
        assert all(one["too_small"] for one in bytes_.claim_values(kept, small))
    assert bytes_.claim_values([], s) == []
    assert all(np.isfinite(one["value"]) for one in found.values())
