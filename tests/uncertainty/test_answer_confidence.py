"""Grading answers by rule, also hostile ones, and confidence from token probabilities."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.uncertainty.answer_confidence import grade_answers, last_number, sequence_confidence

steady = settings(derandomize=True, deadline=None)


def test_three_modes_on_answers_that_tell_them_apart():
    answers = ["Paris", "paris.", "It is Paris, of course", "Parisian", "not Paris", "", "Lyon"]
    gold = ["Paris"] * len(answers)
    assert grade_answers(answers, gold).tolist() == [True, True, False, False, False, False, False]
    assert grade_answers(answers, gold, "substring").tolist() == [True, True, True, False, True, False, False]


def test_numbers_are_read_at_the_end_and_by_value():
    answers = ["so 1,250.0 apples", "12 of 13", "-3", "none", "2.5e1", "25"]
    gold = ["#### 1250", "12", "-3.0", "4", "25", "A: 25"]
    assert grade_answers(answers, gold, "numeric").tolist() == [True, False, True, False, True, True]
    assert last_number("a.b") is None and last_number("x = 7.") == 7


def test_two_ways_to_write_one_letter_are_one_answer():
    assert grade_answers(["Bogota\u0301"], ["Bogot\u00e1"])[0]
    assert grade_answers(["\uff30aris"], ["Paris"])[0]


@pytest.mark.parametrize("mode", ["exact", "substring", "numeric"])
@pytest.mark.parametrize(
    "answer",
    ["x" * 1_000_000, "{" * 50_000, "1" * 100_000, "1," * 90_000, "\x00\ud800", "(" * 9_999 + "a" * 9_999, "\u202e"],
)
def test_a_hostile_answer_is_wrong_and_no_error(answer, mode):
    assert not grade_answers([answer], ["42"], mode)[0]


@pytest.mark.parametrize(
    ("answers", "gold", "mode", "error", "message"),
    [
        (["a"], ["a", "b"], "exact", ValueError, "one length"),
        ("a", ["a"], "exact", TypeError, "lists of str"),
        ([None], ["a"], "exact", TypeError, r"answers\[0\] must be a str"),
        (["a"], ["?!"], "exact", ValueError, "no letter or digit"),
        (["a"], ["b"], "numeric", ValueError, "no number"),
        (["a"], ["b"], "fuzzy", ValueError, "mode must be one of"),
    ],
)
def test_what_cannot_be_graded_is_refused(answers, gold, mode, error, message):
    with pytest.raises(error, match=message):
        grade_answers(answers, gold, mode)


@steady
@given(st.lists(st.lists(st.floats(-30, 0), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(1, 3))
def test_confidence_is_the_product_or_the_geometric_mean(log_probs, length):
    product = sequence_confidence(log_probs, [length] * len(log_probs))
    mean = sequence_confidence(log_probs, [length] * len(log_probs), "mean")
    for row, a, b in zip(log_probs, product, mean, strict=True):
        p = math.prod(math.exp(v) for v in row[:length])
        assert a == pytest.approx(p, abs=1e-12) and b == pytest.approx(p ** (1 / length), rel=1e-9)
        assert a <= b + 1e-12


def test_all_tokens_count_by_default_and_impossible_ones_give_zero():
    assert sequence_confidence([[-1.0, -2.0]])[0] == pytest.approx(math.exp(-3))
    assert sequence_confidence([[-np.inf, 0.0], [0.0, 0.0]]).tolist() == [0.0, 1.0]
    assert sequence_confidence([[9e-7, 9e-7]]).tolist() == [1.0]  # rounding above 0 gives no confidence above 1


@pytest.mark.parametrize(
    ("log_probs", "lengths", "message"),
    [
        ([[0.5, 0.0]], None, "at most 0"),
        ([[-1.0, np.nan]], None, "NaN"),
        ([[-1.0, -1.0]], [3], r"1\.\.2"),
        ([[-1.0, -1.0]], [0], r"1\.\.2"),
        ([[-1.0, -1.0]], [1.5], r"1\.\.2"),
        ([[-1.0, -1.0]], [1, 1], "1 whole numbers"),
    ],
)
def test_what_are_no_log_probabilities_is_refused(log_probs, lengths, message):
    with pytest.raises(ValueError, match=message):
        sequence_confidence(log_probs, lengths)
