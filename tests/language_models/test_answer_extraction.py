"""Extraction agrees with the regular expressions it replaces, and takes no longer on a text that is all braces."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models.answer_extraction import (
    bold_spans,
    canonical,
    fenced_blocks,
    final_answer,
    items,
    last_boxed,
    last_line,
    solution_tags,
    strip_think,
)
from workings.language_models.edit_distance import levenshtein

PIECES = st.lists(st.sampled_from(["<solution>", "</solution>", "a", "\n", "<", "**", "b,"]), max_size=14).map("".join)


@given(PIECES)
def test_tags_are_those_of_the_regular_expression(text):
    assert solution_tags(text) == re.findall(r"<solution>(.*?)</solution>", text)
    assert solution_tags(text, dotall=True) == re.findall(r"(?s)<solution>(.*?)</solution>", text)
    assert solution_tags(text, opener="</solution>") == re.findall(r"</solution>(.*?)</solution>", text)


def test_a_box_is_found_by_counting_braces():
    assert last_boxed(r"\boxed{1} then \boxed{\frac{a}{b}}") == r"\frac{a}{b}"
    assert last_boxed(r"\fbox{$x$}") == "x"
    assert last_boxed(r"so \boxed 12$ end") == "12"
    for text in (r"\boxed{a", r"\boxed5", "no box", r"{\boxed", ""):
        assert last_boxed(text) is None
    assert last_boxed("\\boxed{" + "{" * 5000 + "}" * 5001) == "{" * 5000 + "}" * 5000


def test_think_blocks_go_and_an_open_one_stays_unless_asked():
    assert strip_think("a<think>x</think>b<think>y\n</think>c") == "abc"
    assert strip_think("a<think>yes") == "a<think>yes" and strip_think("a<think>yes", unclosed=True) == "a"


def test_bold_spans_do_not_cross_lines():
    assert bold_spans("**a** b **c\nd** **e**") == ["a", " "]


def test_blocks_lines_and_items():
    assert fenced_blocks("t\n```python\nx = 1\n```\n```\ny\n```\n```") == [("python", "x = 1\n"), ("", "y\n")]
    assert last_line("a\n  b  \n\n") == "b" and last_line(" \n") == ""
    assert items("Yes,  no ,\tUNKNOWN.") == ["yes", "no", "unknown"]
    assert canonical("Skate-Park\u00a0X.") == "skate park x"


@pytest.mark.parametrize(
    ("text", "answer", "place"),
    [
        ("<SOLUTION>\nyes,\nno\n</SOLUTION>", "yes,\nno", "tag"),
        (r"thus \boxed{\text{yes}}", "yes", "box"),
        ("it is **blue**.", "blue", "bold"),
        ("long\nAnswer: 5.", "5", "last line"),
        ("<think>yes", "", ""),
        ("", "", ""),
    ],
)
def test_the_final_answer_is_found_the_same_way_for_every_task(text, answer, place):
    assert final_answer(text) == (answer, place)


def test_what_is_no_text_is_refused():
    for function in (
        strip_think,
        solution_tags,
        last_boxed,
        bold_spans,
        fenced_blocks,
        last_line,
        final_answer,
        canonical,
        items,
    ):
        with pytest.raises(TypeError, match="must be a str"):
            function(3)
    with pytest.raises(ValueError, match="opener"):
        solution_tags("x", opener="")


# --- edit distance ----------------------------------------------------------------------------------------------------


def reference(a, b):
    """The whole table, as in a textbook."""
    d = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    d[:, 0], d[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return int(d[-1, -1])


def test_the_distance_is_that_of_the_whole_table_on_a_thousand_lists():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        a, b = (rng.integers(0, 4, rng.integers(0, 12)).tolist() for _ in range(2))
        assert levenshtein(a, b) == reference(a, b)


def test_long_lists_take_the_rows_and_give_the_same():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 5, 90).tolist(), rng.integers(0, 5, 120).tolist()
    assert levenshtein(a, b) == levenshtein(b, a) == reference(a, b)
    assert levenshtein([[x] for x in a], [[x] for x in b]) == reference(a, b)  # items that cannot be hashed


LISTS = st.lists(st.integers(0, 3), max_size=8)


@given(LISTS, LISTS, LISTS)
def test_it_is_a_metric_between_its_bounds(a, b, c):
    d = levenshtein
    assert d(a, b) == d(b, a) and (d(a, b) == 0) == (a == b) and d(a, c) <= d(a, b) + d(b, c)
    assert abs(len(a) - len(b)) <= d(a, b) <= max(len(a), len(b))


def test_an_item_in_front_shifts_every_place_and_costs_two():
    for n in (3, 10, 300):
        assert levenshtein(range(n), range(1, n + 1)) == 2


@pytest.mark.parametrize("bad", [3, None, {"a": 1}, iter([])])
def test_what_is_no_sequence_is_refused(bad):
    with pytest.raises(TypeError, match="sequence"):
        levenshtein(bad, "a")
