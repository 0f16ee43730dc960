"""Texts mean the same however their lines end and their accents are coded."""

import unicodedata

import numpy as np
import pytest

from workings.language_models.lines_task import longchat_prompt, parse_lines_record, search_answer
from workings.language_models.qa_task import alter_answer, presence_accuracy


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_answer_is_found_whatever_ends_a_line(end):
    prompt, number = longchat_prompt(np.random.default_rng(0), 20)
    assert search_answer(prompt.replace("\n", end)) == number


def test_a_record_with_carriage_returns_is_told_so():
    prompt, number = longchat_prompt(np.random.default_rng(0), 5)
    key = prompt.rsplit("in line ", 1)[1].split("?")[0]
    record = {"prompt": prompt, "expected_number": number, "random_idx": [key, 0], "num_lines": 5}
    assert parse_lines_record(record).expected == number
    with pytest.raises(ValueError, match="CRLF"):
        parse_lines_record({**record, "prompt": prompt.replace("\n", "\r\n")})
    with pytest.raises(ValueError, match="truncated"):
        parse_lines_record({**record, "num_lines": 6})


def test_an_accent_counts_the_same_composed_and_apart():
    composed, apart = (unicodedata.normalize(form, "in Zürich, près de l'été") for form in ("NFC", "NFD"))
    assert composed != apart
    for output, reference in ((composed, apart), (apart, composed), (apart, apart)):
        assert presence_accuracy([output], [reference]) == 1.0
    assert presence_accuracy(["Zurich"], ["Zürich"]) == 0.0  # another letter is another letter


def test_what_is_no_text_is_refused():
    rng = np.random.default_rng(0)
    for bad in (lambda: search_answer(None), lambda: alter_answer(rng, 5, "5"), lambda: alter_answer(rng, "5", 5)):
        with pytest.raises(TypeError, match="must be a str"):
            bad()
