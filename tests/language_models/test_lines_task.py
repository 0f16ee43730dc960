"""The lines task: the token sequences, the text prompts, reading numbers, and files that are not what they should be."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models import lines_task
from workings.language_models.lines_task import (
    IGNORE,
    lines_batch,
    lines_in,
    longchat_prompt,
    parse_lines_record,
    parse_number,
    read_longchat_jsonl,
    search_answer,
)
from workings.seeding import numpy_generator, torch_generator


@settings(max_examples=60, deadline=None)
@given(
    n_lines=st.integers(1, 40),
    asked=st.integers(1, 40),
    spare=st.integers(0, 20),
    n_values=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_every_question_asks_a_different_line_and_its_target_is_that_lines_value(n_lines, asked, spare, n_values, seed):
    n_queries, n_keys = min(asked, n_lines), n_lines + spare
    batch = lines_batch(3, n_lines, n_queries, n_keys=n_keys, n_values=n_values, generator=torch_generator(seed, "l"))
    length = 2 * (n_lines + n_queries)
    assert batch.tokens.shape == batch.targets.shape == (3, length) and batch.tokens.dtype == torch.int64
    for row, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        keys, values = row[0::2], row[1::2]
        assert all(0 <= k < n_keys for k in keys) and all(n_keys <= v < n_keys + n_values for v in values)
        table = dict(zip(keys[:n_lines], values[:n_lines], strict=True))
        assert len(table) == n_lines  # distinct keys
        assert len(set(keys[n_lines:])) == n_queries  # distinct questions
        assert all(table[k] == v for k, v in zip(keys[n_lines:], values[n_lines:], strict=True))
        wanted = [IGNORE] * (2 * n_lines) + [t for k in keys[n_lines:] for t in (table[k], IGNORE)]
        assert targets == wanted


def test_keys_values_and_questions_are_uniform():
    n, lines, asked = 20_000, 4, 2
    batch = lines_batch(n, lines, asked, n_keys=8, n_values=5, generator=torch_generator(0, "l"))
    keys, values = batch.tokens[:, : 2 * lines : 2], batch.tokens[:, 1 : 2 * lines : 2] - 8
    place = (keys[:, None, :] == batch.tokens[:, 2 * lines :: 2, None]).int().argmax(-1)  # (n, asked)
    for sample, size in (
        (keys[:, 0], 8),
        (keys[:, 3], 8),
        (values[:, 0], 5),
        (values[:, 3], 5),
        (place[:, 0], 4),
        (place[:, 1], 4),
    ):
        counts = torch.bincount(sample, minlength=size).double()
        # Normal bound at 4.5 standard deviations on 34 binomial counts: false alarm below 3e-4.
        assert ((counts - n / size).abs() < 4.5 * (n / size * (1 - 1 / size)) ** 0.5).all()


def test_the_same_generator_state_gives_the_same_batch():
    first, again = (lines_batch(2, 5, 2, generator=torch_generator(7, "l")) for _ in range(2))
    other = lines_batch(2, 5, 2, generator=torch_generator(8, "l"))
    assert torch.equal(first.tokens, again.tokens) and not torch.equal(first.tokens, other.tokens)


def test_the_length_counts_the_question():
    assert lines_in(64, 8) == 24 and lines_in(128, 16) == 48 and lines_in(512, 8) == 248
    for length in (64, 128, 256, 512):
        assert lines_batch(1, lines_in(length, 8), 8, generator=torch_generator(0, "l")).tokens.shape[1] == length


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 9, 1, 8), "distinct keys"),
        ((2, 3, 4, 8), "n_queries"),
        ((0, 3, 1, 8), "batch"),
        ((2, 3, 0, 8), "n_queries"),
    ],
)
def test_impossible_batches_are_refused(arguments, message):
    batch, n_lines, n_queries, n_keys = arguments
    with pytest.raises(ValueError, match=message):
        lines_batch(batch, n_lines, n_queries, n_keys=n_keys, generator=torch_generator(0, "l"))


@pytest.mark.parametrize(("length", "n_queries"), [(65, 8), (30, 8), (2, 1)])
def test_impossible_lengths_are_refused(length, n_queries):
    with pytest.raises(ValueError, match="length"):
        lines_in(length, n_queries)


# ---------------------------------------------------------------- prompts in words


@pytest.mark.parametrize("n", [1, 2, 30, 700])
def test_text_search_answers_every_prompt(n):
    rng = numpy_generator(0, "prompt", n)
    for _ in range(20):
        prompt, expected = longchat_prompt(rng, n)
        lines = [line for line in prompt.split("\n") if line.startswith("line ")]
        assert len(lines) == n == len({line.split(":")[0] for line in lines})
        assert all(1 <= int(line.split("<")[1].rstrip(">")) <= 50_000 for line in lines)
        assert search_answer(prompt) == expected


def test_numbers_and_places_of_prompts_are_uniform():
    rng = numpy_generator(0, "prompt")
    answers = np.array([longchat_prompt(rng, 3)[1] for _ in range(4000)])
    # A uniform mean errs by 50000 / sqrt(12 * 4000) = 228; five of those (false alarm 6e-7). Both ends are approached.
    assert abs(answers.mean() - 25_000.5) < 1141 and answers.min() < 200 and answers.max() > 49_800
    places = []
    for _ in range(3000):
        prompt, expected = longchat_prompt(rng, 3)
        lines = [line for line in prompt.split("\n") if line.startswith("line ")]
        places.append([f"<{expected}>" in line for line in lines].index(True))
    # 1000 expected of each, standard deviation 26; five of those.
    assert (np.abs(np.bincount(places, minlength=3) - 1000) < 130).all()


def test_text_search_gives_up_rather_than_guess():
    row = "line a-b: REGISTER_CONTENT is <7>\n"
    ask = "\nTell me the number in line a-b? "
    assert search_answer(row + ask) == 7
    assert search_answer(row + "line a-b: REGISTER_CONTENT is <8>\n" + ask) is None
    assert search_answer(row + "\nTell me the number in line c-d? ") is None
    assert search_answer(row) is None
    assert search_answer("line xa-b: REGISTER_CONTENT is <3>\n" + row + ask) == 7  # whole keys only
    assert search_answer("line ad hoc-day: REGISTER_CONTENT is <3>\n\nthe number in line ad hoc-day? I need it. ") == 3


def test_a_prompt_needs_at_least_one_line_and_not_more_than_there_are_keys():
    for n in (0, 100_000):
        with pytest.raises(ValueError, match="n must be"):
            longchat_prompt(numpy_generator(0), n)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("The content is <2416>.", 2416, 2416),
        ("In line 3 it is 77", 3, 77),
        ("none", None, None),
        ("", None, None),
        ("-12.5", 12, 5),
        ("007", 7, 7),
        ("٣ and 4", 4, 4),  # digits of other scripts are no answer
        ("9" * 5000, None, None),  # longer than Python's int() accepts
    ],
)
def test_first_and_last_number_of_an_answer(text, first, last):
    assert parse_number(text) == parse_number(text, "first") == first
    assert parse_number(text, "last") == last


@given(st.integers(0, 10**12), st.text(alphabet="abc <>.\n", max_size=9), st.text(alphabet="abc <>.\n", max_size=9))
def test_a_single_number_is_found_in_any_surroundings(number, before, after):
    assert parse_number(f"{before}{number}{after}") == parse_number(f"{before}{number}{after}", "last") == number


def test_parse_number_refuses_what_is_not_text():
    with pytest.raises(ValueError, match="which"):
        parse_number("3", "middle")
    with pytest.raises(TypeError, match="decode"):
        parse_number(["3"])


# ---------------------------------------------------------------- files


def record(seed: int = 0, n: int = 4) -> dict:
    """A record as the data set has it, made here."""
    prompt, expected = longchat_prompt(numpy_generator(seed, "record"), n)
    key = prompt.rsplit("in line ", 1)[1].split("?")[0]
    return {"prompt": prompt, "expected_number": expected, "random_idx": [key, 0], "num_lines": n, "token_size": 99}


def write(path, records) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return str(path)


def test_a_written_file_is_read_back(tmp_path):
    records = [record(seed, n) for seed, n in enumerate((1, 5, 40))]
    read = read_longchat_jsonl(write(tmp_path / "lines.jsonl", records))
    assert [(r.prompt, r.expected, r.n_lines, r.key) for r in read] == [
        (r["prompt"], r["expected_number"], r["num_lines"], r["random_idx"][0]) for r in records
    ]
    assert all(search_answer(r.prompt) == r.expected for r in read)


def test_a_file_cut_short_names_the_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    write(path, [record(0), record(1), record(2)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"lines\.jsonl', line 3: .*[Dd]ownload"):
        read_longchat_jsonl(path)


def test_a_file_of_another_kind_names_the_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    for content, message in (
        (b"<html>not found</html>\n", "line 1"),
        (json.dumps(record()).encode() + b"\n\n[1, 2]\n", "line 3: a record must be an object"),
        (b"\xff\xfe\x00\n", "line 1"),
        (b"\n  \n", "no records"),
        (b"", "no records"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_longchat_jsonl(path)
    with pytest.raises(FileNotFoundError, match="download"):
        read_longchat_jsonl(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": None}, "'prompt' must be of type str"),
        ({"expected_number": "12"}, "'expected_number' must be of type int"),
        ({"expected_number": True}, "'expected_number' must be of type int"),
        ({"expected_number": -1}, "should hold -1"),
        ({"num_lines": 5}, "truncated"),
        ({"random_idx": []}, "random_idx"),
        ({"random_idx": ["no-such", 0]}, "no such line"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(change, message):
    assert parse_lines_record(record()).n_lines == 4
    with pytest.raises(ValueError, match=message):
        parse_lines_record({**record(), **change})


def test_a_record_without_a_field_says_which():
    for name in ("prompt", "expected_number", "random_idx", "num_lines"):
        with pytest.raises(ValueError, match=f"no field '{name}'"):
            parse_lines_record({k: v for k, v in record().items() if k != name})


def test_numbers_reach_both_their_ends(monkeypatch):
    monkeypatch.setattr(lines_task, "MAX_NUMBER", 2)
    prompt, _ = longchat_prompt(numpy_generator(0, "ends"), 60)
    assert set(re.findall(r"<(\d+)>", prompt)) == {"1", "2"}  # one is missing with probability 2^-59
