"""Presence accuracy and altered numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models.qa_task import alter_answer, alter_number, presence_accuracy
from workings.seeding import numpy_generator


def rng(*names) -> np.random.Generator:
    return numpy_generator(0, "qa", *names)


def test_presence_is_a_substring_after_stripping_the_reference():
    assert presence_accuracy(["It was Paris, I think."], ["  Paris\n"]) == 1.0
    assert presence_accuracy(["paris"], ["Paris"]) == 0.0  # case matters
    assert presence_accuracy(["in 2024"], ["2"]) == 1.0  # lenient, and known to be
    assert presence_accuracy(["a", "b", "c", "x"], ["a", "b", "c", "d"]) == 0.75
    assert presence_accuracy(["", "yes"], ["no", "yes"]) == 0.5


@given(st.lists(st.tuples(st.text(), st.text().filter(lambda s: s.strip()), st.text()), min_size=1, max_size=8))
def test_an_output_that_quotes_its_reference_always_counts(items):
    references = [r for _, r, _ in items]
    assert presence_accuracy([a + r + b for a, r, b in items], references) == 1.0


def test_presence_refuses_what_would_score_nonsense():
    with pytest.raises(ValueError, match="blank"):
        presence_accuracy(["a", "b"], ["a", "  "])
    for outputs, references in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="as many"):
            presence_accuracy(outputs, references)
    with pytest.raises(TypeError, match="one str"):
        presence_accuracy("abc", ["a"])
    with pytest.raises(TypeError, match=r"outputs\[1\]"):
        presence_accuracy(["a", None], ["a", "b"])


NUMBERS = st.one_of(
    st.integers(0, 10**15).map(str),
    st.integers(0, 10**15).map(lambda n: f"{n:,}"),
    st.tuples(st.integers(0, 9999), st.text(alphabet="0123456789", min_size=1, max_size=4)).map(
        lambda p: f"{p[0]}.{p[1]}"
    ),
    st.text(alphabet="0123456789", min_size=1, max_size=6),
)


@given(NUMBERS, st.integers(0, 2**32))
def test_an_altered_number_is_another_number_of_the_same_shape(s, seed):
    altered = alter_number(np.random.default_rng(seed), s)
    assert altered != s
    assert re.sub("[0-9]", "9", altered) == re.sub("[0-9]", "9", s)  # digits where digits were, marks where marks were
    if len(s.split(".")[0]) > 1 and s[0] != "0":
        assert altered[0] != "0"


@pytest.mark.parametrize("year", [1000, 1005, 1066, 1987, 2099, 2100])
def test_years_move_by_one_to_ten_in_both_directions(year):
    r = rng(year)
    seen = {int(alter_number(r, str(year))) - year for _ in range(1500)}
    expected = {step for step in range(-10, 11) if step != 0 and year + step >= 1000}
    # Each of at most 20 steps is missed by 1500 uniform draws with probability below 20 * 0.95^1500 = 1e-32.
    assert seen == expected


@pytest.mark.parametrize("number", ["999", "2101", "0999", "1,987", "1987.0", "5"])
def test_other_numbers_are_drawn_anew_over_their_whole_range(number):
    r = rng(number)
    drawn = [alter_number(r, number) for _ in range(1500)]
    values = np.array([float(s.replace(",", "")) for s in drawn])
    low = 0 if number[0] == "0" or len(number) == 1 else 10 ** (len(number.split(".")[0].replace(",", "")) - 1)
    high = 10 ** len(number.split(".")[0].replace(",", ""))
    # Uniform over the range: 1500 draws miss the lowest (or highest) tenth of it with probability 0.9^1500 = 1e-69.
    assert values.min() < low + 0.1 * (high - low) + 1 and values.max() > high - 0.1 * (high - low) - 1
    assert np.abs(values - float(number.replace(",", ""))).max() > 10 or len(number) == 1


@pytest.mark.parametrize("digit", ["0", "5", "9"])
def test_a_single_digit_never_comes_back(digit):
    # Without the redraw each of 300 draws would repeat the digit with probability 0.1.
    r = rng(digit)
    assert {alter_number(r, digit) for _ in range(300)} == set("0123456789") - {digit}


@pytest.mark.parametrize("s", ["", "abc", "-5", "12%", "1,23", "3.", ".5", "1e5", " 7", "1.2.3", "٣"])
def test_what_is_not_a_number_is_refused(s):
    with pytest.raises(ValueError, match="must be a number"):
        alter_number(rng(), s)


def test_an_int_is_not_taken_for_its_text():
    with pytest.raises(TypeError, match="must be a str"):
        alter_number(rng(), 1987)


def test_every_occurrence_changes_alike_and_no_other_number_does():
    text = "In 1987 (see 1987, 1987.) 11987 and 19870 and 1987.5 and 0.1987 and 3,1987 stay; A1987b and 1987"
    changed, new = alter_answer(rng(), text, "1987")
    assert new != "1987" and 1977 <= int(new) <= 1997
    assert (
        changed
        == f"In {new} (see {new}, {new}.) 11987 and 19870 and 1987.5 and 0.1987 and 3,1987 stay; A{new}b and {new}"
    )
    changed, new = alter_answer(rng(), "2 of 12, 2.5 and 1,200; 2.", "2")
    assert changed == f"{new} of 12, 2.5 and 1,200; {new}."


def test_the_new_number_does_not_occur_in_the_text_yet():
    r = rng("fresh")
    text = "7 and 0 1 2 3 4 5 6 8"
    assert all(alter_answer(r, text, "7")[1] == "9" for _ in range(20))
    with pytest.raises(ValueError, match="every number"):
        alter_answer(r, text + " 9", "7")


def test_an_answer_that_is_not_in_the_text_is_refused():
    for text in ("nothing here", "only 72 and 7.5"):
        with pytest.raises(ValueError, match="does not occur"):
            alter_answer(rng(), text, "7")
