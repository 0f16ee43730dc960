"""The ledger: rounding, verdicts, what a check shows, and what is recorded."""

import itertools
import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workings import ledger
from workings.ledger import claims
from workings.ledger.criteria import KINDS, TIERS, UNREAD, Claim, Criterion, NotPlanned, PaperNumber
from workings.ledger.display import Grid, tier_text, value_text
from workings.ledger.results import Result, ResultsError, dump_results, load_results, parse_results, save_results
from workings.ledger.results import results_file as results_path
from workings.ledger.rounding import plain, round_to_spread, significant, with_spread
from workings.ledger.verdicts import (
    FAILED,
    MET,
    NOT_REPRODUCED,
    NOT_RUN,
    OPEN,
    REPRODUCED,
    SMALLER,
    SYMBOLS,
    UNDECIDED,
    decide,
    named,
    outcome,
    verdict,
)

CLAIMS = """\
chapter: toy
part: uncertainty
title: "A toy & its <claims>"
paper: {authors: "A. Author", year: 2024, key: author2024}
source: "We read the abstract."
claims:
  - id: toy-1
    kind: identity
    claim: "An identity."
    where: "theorem"
    paper: {value: null, note: "identity", source: abstract}
    demo: {compare: at_most, target: 1.0e-10, unit: "relative error", set: "before any run"}
    full: {not_planned: "an identity"}
  - id: toy-2
    kind: paper
    claim: "A width <b> & more."
    where: "table"
    paper: {value: 1.33, unit: "sd", source: plot}
    demo: {compare: within, target: 1.33, tolerance: 0.5, unit: "sd", indicative: "a toy", set: "after a trial"}
    full: {compare: within, target: 1.33, tolerance: 0.05, unit: "sd", set: "before any run"}
  - id: toy-3
    kind: paper
    claim: "It always terminates."
    where: "text"
    paper: {value: null, source: paper}
    demo: {not_planned: "needs real data"}
    full: {compare: holds, set: "before any run"}
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Folders for ``ledger.open``: claims with one chapter and empty results; recording is off."""
    monkeypatch.delenv("WORKINGS_RECORD", raising=False)
    (tmp_path / "claims" / "uncertainty").mkdir(parents=True)
    (tmp_path / "claims" / "uncertainty" / "toy.yml").write_text(CLAIMS)
    return {"claims": tmp_path / "claims", "results": tmp_path / "results"}


def results_file(house, tier) -> Path:
    return house["results"] / "uncertainty" / "toy" / f"{tier}.json"


# --- rounding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "spread", "expected"),
    [
        (3.31132, 0.00521, "3.3113 ± 0.0052"),
        (1.3349, 0.0949, "1.335 ± 0.095"),
        (1.33, 0.0999, "1.33 ± 0.10"),  # rounding the spread carries into the next decimal
        (12345.6, 678.0, "12350 ± 680"),
        (-0.0004, 0.0123, "0.000 ± 0.012"),  # no minus sign before a zero
        (0.9049, 0.0, "0.9049 ± 0"),
        (2.0, 3e-17, "2.000 ± 0"),  # rounding noise over seeds is no spread
        (2 / 3, None, "0.6667"),
        (0.0, None, "0"),
        (1234567.0, None, "1.235e6"),
        (0.00001, None, "1e-5"),
        (99999.0, None, "100000"),
    ],
)
def test_a_value_is_cut_where_its_spread_stands(value, spread, expected):
    assert with_spread(value, spread) == expected


def test_digits_override_the_spread():
    assert round_to_spread(3.31132, 0.00521, digits=2) == ("3.3", "0.005")
    assert round_to_spread(3.31132, digits=6) == ("3.31132", None)


@pytest.mark.parametrize(
    ("value", "spread", "digits"),
    [(math.nan, None, None), (math.inf, None, None), (1, -0.1, None), (1, math.nan, None), (1, 1, 0), (1, 1, 16)],
)
def test_rounding_refuses_what_has_no_digits(value, spread, digits):
    with pytest.raises(ValueError, match=r"finite|zero or more|between 1 and 15"):
        round_to_spread(value, spread, digits)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_rounding_moves_a_value_by_at_most_five_hundredths_of_its_spread(value, spread):
    # The second significant digit of the spread is worth at most spread / 10, and rounding moves by half of it.
    text, spread_text = round_to_spread(value, spread)
    if spread <= 1e-12 * abs(value):
        assert spread_text == "0"
    else:
        assert abs(float(text) - value) <= 0.0501 * spread
        assert abs(float(spread_text) - spread) <= 0.0501 * spread


@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(1, 15))
def test_significant_digits_bound_the_relative_error(value, digits):
    # The last kept digit is worth at most 10^(1-digits) of the value, and rounding moves by half of it.
    assert abs(float(significant(value, digits)) - value) <= 0.5000001 * 10.0 ** (1 - digits) * value


def test_written_numbers_are_shown_as_written():
    assert [plain(number) for number in (1e-10, 0.02, 1.33, 5, 1e6, -3.5, 0)] == [
        "1e-10",
        "0.02",
        "1.33",
        "5",
        "1000000",
        "-3.5",
        "0",
    ]


# --- verdicts ------------------------------------------------------------------------------------------------------

CRITERION = Criterion("at_most", target=1.0, set="before any run")
HINT = replace(CRITERION, indicative="a toy")
PLANS = {"no plan": NotPlanned("why"), "deciding": CRITERION, "indicative": HINT}
OUTCOMES = {"not run": None, "met": Result(0.5), "failed": Result(2.0), "open": Result(1.1, error=0.2)}

# (demo plan, demo outcome, full plan, full outcome) -> verdict, every possible combination written out. A claim that no
# tier tests is refused when it is read.
D, H, N = "deciding", "indicative", "no plan"
M, F, O, U = "met", "failed", "open", "not run"  # noqa: E741
TRUTH = {
    # nothing has run
    (D, U, D, U): NOT_RUN, (D, U, H, U): NOT_RUN, (D, U, N, U): NOT_RUN,
    (H, U, D, U): NOT_RUN, (H, U, H, U): NOT_RUN, (H, U, N, U): NOT_RUN,
    (N, U, D, U): NOT_RUN, (N, U, H, U): NOT_RUN,
    # only the demo has run
    (D, M, D, U): SMALLER, (D, M, H, U): SMALLER, (D, M, N, U): REPRODUCED,
    (H, M, D, U): SMALLER, (H, M, H, U): SMALLER, (H, M, N, U): SMALLER,
    (D, F, D, U): NOT_REPRODUCED, (D, F, H, U): NOT_REPRODUCED, (D, F, N, U): NOT_REPRODUCED,
    (H, F, D, U): UNDECIDED, (H, F, H, U): UNDECIDED, (H, F, N, U): NOT_REPRODUCED,
    (D, O, D, U): UNDECIDED, (D, O, H, U): UNDECIDED, (D, O, N, U): UNDECIDED,
    (H, O, D, U): UNDECIDED, (H, O, H, U): UNDECIDED, (H, O, N, U): UNDECIDED,
    # only the full tier has run
    (D, U, D, M): REPRODUCED, (H, U, D, M): REPRODUCED, (N, U, D, M): REPRODUCED,
    (D, U, H, M): SMALLER, (H, U, H, M): SMALLER, (N, U, H, M): SMALLER,
    (D, U, D, F): NOT_REPRODUCED, (H, U, D, F): NOT_REPRODUCED, (N, U, D, F): NOT_REPRODUCED,
    (D, U, H, F): NOT_REPRODUCED, (H, U, H, F): NOT_REPRODUCED, (N, U, H, F): NOT_REPRODUCED,
    (D, U, D, O): UNDECIDED, (H, U, D, O): UNDECIDED, (N, U, D, O): UNDECIDED,
    (D, U, H, O): UNDECIDED, (H, U, H, O): UNDECIDED, (N, U, H, O): UNDECIDED,
    # both have run
    (D, M, D, M): REPRODUCED, (H, M, D, M): REPRODUCED, (D, M, H, M): SMALLER, (H, M, H, M): SMALLER,
    (D, F, D, M): NOT_REPRODUCED, (D, F, H, M): NOT_REPRODUCED, (H, F, D, M): REPRODUCED, (H, F, H, M): SMALLER,
    (D, O, D, M): REPRODUCED, (H, O, D, M): REPRODUCED, (D, O, H, M): SMALLER, (H, O, H, M): SMALLER,
    (D, M, D, F): NOT_REPRODUCED, (H, M, D, F): NOT_REPRODUCED, (D, M, H, F): NOT_REPRODUCED, (H, M, H, F): NOT_REPRODUCED,
    (D, F, D, F): NOT_REPRODUCED, (H, F, D, F): NOT_REPRODUCED, (D, F, H, F): NOT_REPRODUCED, (H, F, H, F): NOT_REPRODUCED,
    (D, O, D, F): NOT_REPRODUCED, (H, O, D, F): NOT_REPRODUCED, (D, O, H, F): NOT_REPRODUCED, (H, O, H, F): NOT_REPRODUCED,
    (D, M, D, O): UNDECIDED, (H, M, D, O): UNDECIDED, (D, M, H, O): UNDECIDED, (H, M, H, O): UNDECIDED,
    (D, F, D, O): NOT_REPRODUCED, (D, F, H, O): NOT_REPRODUCED, (H, F, D, O): UNDECIDED, (H, F, H, O): UNDECIDED,
    (D, O, D, O): UNDECIDED, (H, O, D, O): UNDECIDED, (D, O, H, O): UNDECIDED, (H, O, H, O): UNDECIDED,
}  # fmt: skip


def a_claim(demo, full, kind="paper", source="paper") -> Claim:
    return Claim("c-1", kind, "words", "where", PaperNumber(source=source), PLANS[demo], PLANS[full])


STATES = [s for s in itertools.product(PLANS, OUTCOMES, PLANS, OUTCOMES) if (s[0], s[2]) != (N, N)]


@pytest.mark.parametrize("state", STATES, ids=" ".join)
def test_the_whole_truth_table_of_verdicts(state):
    demo_plan, demo, full_plan, full = state
    results = OUTCOMES[demo], OUTCOMES[full]
    claim = a_claim(demo_plan, full_plan)
    if (demo_plan == N and demo != U) or (full_plan == N and full != U):
        with pytest.raises(ValueError, match="not planned: why"):
            verdict(claim, *results)
        return
    assert verdict(claim, *results) == TRUTH[state]
    for source in UNREAD:  # what nobody here read is neither reproduced nor refuted, in any state
        firm = (REPRODUCED, NOT_REPRODUCED) + (
            (SMALLER,) if source == "not read" else ()
        )  # not even its direction is known
        softened = UNDECIDED if TRUTH[state] in firm else TRUTH[state]
        assert verdict(a_claim(demo_plan, full_plan, source=source), *results) == softened
    for kind in ("identity", "authors-code"):  # these are not about what the paper says
        assert verdict(a_claim(demo_plan, full_plan, kind, "not read"), *results) == TRUTH[state]
    why = decide(claim, *results)[1]
    assert why and why == decide(claim, *results)[1].strip() and not why.endswith(".")


def test_a_verdict_is_a_word_and_a_symbol_of_its_own():
    assert set(SYMBOLS) == {REPRODUCED, SMALLER, NOT_REPRODUCED, UNDECIDED, NOT_RUN}
    assert len(set(SYMBOLS.values())) == 5


def test_only_a_claim_of_a_paper_is_called_reproduced():
    words = {
        kind: [named(a_claim(D, D, kind, "this collection" if kind == "ours" else "paper"), w) for w in SYMBOLS]
        for kind in KINDS
    }
    assert words["paper"] == list(SYMBOLS)
    for kind in set(KINDS) - {"paper"}:
        assert not any("reproduced" in word for word in words[kind])
        assert len(set(words[kind])) == 5


@pytest.mark.parametrize(
    ("value", "error", "spread", "seeds", "expected"),
    [
        (0.9, None, None, (), MET),
        (0.75, 0.25, None, (), OPEN),  # exactly one standard error away
        (0.75, 0.2499, None, (), MET),
        (1.1, 0.1001, None, (), OPEN),
        (1.1, None, 0.15, (0, 1), OPEN),  # 0.15 / sqrt(2) = 0.106
        (1.1, None, 0.15, (0, 1, 2), FAILED),  # 0.15 / sqrt(3) = 0.087
        (1.1, None, 0.9, (0,), FAILED),  # a spread that is not over seeds says nothing about the error of the mean
        (1.1, 0.01, 0.9, (0, 1), FAILED),  # a given error counts
        (1.0, 0.0, 0.0, (0, 1), MET),  # no error at all: the bound belongs to the criterion
    ],
)
def test_within_one_standard_error_of_the_line_a_run_cannot_tell(value, error, spread, seeds, expected):
    assert outcome(CRITERION, Result(value, spread, seeds, error=error)) == expected


def test_a_run_that_is_too_small_or_withdrawn_settles_nothing_whatever_it_gave():
    for value in (0.5, 2.0):
        small = Result(value, too_small="two seeds of three")
        assert outcome(CRITERION, small) == OPEN
        assert decide(a_claim(D, N), small, None) == (UNDECIDED, "the demo settles nothing, because two seeds of three")
        withdrawn = replace(CRITERION, withdrawn={"monday": "all of one class"})
        assert outcome(withdrawn, Result(value, run="monday")) == OPEN
        assert outcome(withdrawn, Result(value, run="tuesday")) == outcome(CRITERION, Result(value))


def test_a_value_measured_in_another_unit_says_nothing_about_a_criterion_that_was_rewritten():
    criterion = replace(CRITERION, unit="nats")
    assert outcome(criterion, Result(0.5, unit="nats")) == MET
    assert outcome(criterion, Result(0.5, unit="bits")) is None
    assert outcome(criterion, Result(0.5)) == MET  # a row without a unit is as good as its claim
    assert tier_text(criterion, Result(0.5, unit="bits")) == "not run"


# --- checking ------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The cells of a table with their tags and attributes, and every tag that was opened and closed."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.open, self.tags = [], [], []
        self.feed(html)
        assert not self.open, "unclosed tags"

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))
        if tag in ("th", "td", "caption"):
            self.cells.append([tag, dict(attrs).get("scope"), ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td", "caption"):
            self.cells[-1][2] += data


def test_a_check_compares_and_shows_one_row(house):
    row = ledger.open("toy", **house).check("toy-2", 1.4123, spread=0.052, seeds=[0, 1, 2])
    assert row.met and row.verdict == SMALLER
    assert repr(row) == "toy-2 (demo): 1.412 ± 0.052 | within 0.5 of 1.33 sd: met | ≈ same direction, smaller scale"


def card(row) -> dict[str, str]:
    """The names and words of a card, as a browser reads them."""
    html = row._repr_html_()
    Cells(html)  # every tag is closed
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html)
    return {unescape(name): unescape(words) for name, words in pairs}


def test_a_card_says_what_was_asked_what_came_out_what_is_missing_and_why(house):
    row = ledger.open("toy", **house).check("toy-2", 1.4123, spread=0.052, seeds=[0, 1, 2])
    assert card(row) == {
        "Claim": "toy-2: A width <b> & more.",
        "Asked": "Within 0.5 of 1.33 sd.",
        "Came out here, at tier demo": "1.412 ± 0.052 sd: met.",
        "Apart from the paper's scale": "A toy.",
        "The source says": "1.33 sd; read off a plot of the paper or of its code's pages.",
        "Verdict over both tiers": "≈ same direction, smaller scale: the demo met its criterion; no full run is recorded.",
    }
    html = row._repr_html_()
    assert "<b>" not in html and "color" not in html  # words are escaped; the word and the symbol carry the verdict
    region = next(attrs for tag, attrs in Cells(html).tags if tag == "div")
    assert region["role"] == "region" and region["aria-label"] == "Ledger, toy-2"
    assert "workings-ledger" in region["class"].split()


def test_a_card_names_the_kind_of_a_claim_that_is_not_the_papers(house):
    row = ledger.open("toy", **house).check("toy-1", 0.0)
    assert card(row)["Claim"] == "toy-1 (identity): An identity."
    assert card(row)["The source says"] == "Identity; the statement is read in the paper's abstract."
    assert "Apart from the paper's scale" not in card(row)
    row = ledger.open("toy", **house).check("toy-3", True)
    assert card(row)["Here, at tier demo"] == "Not measured: needs real data."


def test_no_cross_stands_beside_a_criterion_that_is_met_here(house):
    full = ledger.open("toy", "full", record=True, **house)
    full.check("toy-2", 9.0)
    full.close()
    row = ledger.open("toy", **house).check("toy-2", 1.34)
    assert row.met and row.verdict == NOT_REPRODUCED
    said = card(row)["Verdict over both tiers"]
    assert said == "not reproduced: the full run did not meet its criterion."
    assert "✗" not in repr(row) + row._repr_html_()
    failed = ledger.open("toy", "full", **house).check("toy-2", 9.0)
    assert "✗ not reproduced" in card(failed)["Verdict over both tiers"]


def test_a_run_that_cannot_tell_says_so_and_records_why(house):
    book = ledger.open("toy", record=True, **house)
    small = book.check("toy-2", 9.0, too_small="one seed of three")
    assert small.verdict == UNDECIDED
    assert card(small)["Came out here, at tier demo"] == "9.0 sd: undecided."
    assert "the demo settles nothing, because one seed of three" in card(small)["Verdict over both tiers"]
    book.close()
    row = ledger.load_results("toy", "demo", **house).rows["toy-2"]
    assert (row.too_small, row.error) == ("one seed of three", None)
    book = ledger.open("toy", "full", record=True, **house)
    near = book.check("toy-2", 1.39, spread=0.03, seeds=[0, 1, 2, 3])
    assert (
        near.verdict == UNDECIDED and "within one standard error of the line" in card(near)["Verdict over both tiers"]
    )
    book.close()
    row = ledger.load_results("toy", "full", **house).rows["toy-2"]
    assert row.error == 0.03 / math.sqrt(4)
    given = ledger.open("toy", "full", **house).check("toy-2", 1.39, spread=0.03, seeds=[0, 1, 2, 3], error=0.009)
    assert given.verdict == NOT_REPRODUCED and given.result.error == 0.009


@pytest.mark.parametrize("bad", [{"error": -1}, {"error": "small"}, {"too_small": ""}, {"too_small": 3}])
def test_an_error_or_a_reason_that_is_none_is_refused(house, bad):
    with pytest.raises(ValueError, match=f"toy-2: {next(iter(bad))} must be"):
        ledger.open("toy", **house).check("toy-2", 1.3, **bad)


def test_verdicts_are_counted_apart_for_each_kind(house):
    for tier, values in (("demo", {"toy-1": 0.0, "toy-2": 1.4}), ("full", {"toy-2": 1.34})):
        book = ledger.open("toy", tier, record=True, **house)
        for name, value in values.items():
            book.check(name, value)
        book.close()
    assert ledger.counts_of("toy", **house) == {"paper": {REPRODUCED: 1, NOT_RUN: 1}, "identity": {REPRODUCED: 1}}


@pytest.mark.parametrize("value", [3e-16, 7.7e-16, 0.0, -2e-17])
def test_rounding_noise_is_shown_as_its_bound_so_that_every_processor_shows_the_same(house, value):
    row = ledger.open("toy", **house).check("toy-1", value)
    assert repr(row) == "toy-1 (demo): below 1e-10 | at most 1e-10 relative error: met | ✓ holds"


@pytest.mark.parametrize(("value", "shown"), [(3.3e-9, "3.3e-9"), (5e-10, "5e-10")])
def test_a_failed_error_bound_shows_the_number(house, value, shown):
    row = ledger.open("toy", **house).check("toy-1", value)
    assert repr(row) == f"toy-1 (demo): {shown} | at most 1e-10 relative error: not met | ✗ does not hold"


@given(st.floats(0.5, 2.0), st.floats(-1e-13, 1e-13))
def test_noise_in_the_last_bits_does_not_change_the_display(value, noise):
    criterion = Criterion("within", target=1, tolerance=5)
    shown = {value_text(criterion, Result(v, 0.01)) for v in (value, value + noise)}
    # A display can only flip when the value stands on a rounding edge; those are rarer than the noise is small.
    on_edge = abs((value * 1000) % 1 - 0.5) < 1e-6
    assert len(shown) == 1 or on_edge


def test_digits_choose_what_is_shown_and_zero_shows_only_the_side_of_the_line(house):
    book = ledger.open("toy", **house)
    assert "1.3 |" in repr(book.check("toy-2", 1.3372, digits=2))
    assert "within 0.5 of 1.33 |" in repr(book.check("toy-2", 1.3372, digits=0))
    assert "below 1e-10" in repr(book.check("toy-1", 5e-11, digits=0))
    with pytest.raises(ValueError, match="between 0 and 15"):
        book.check("toy-2", 1.3372, digits=16)


@pytest.mark.parametrize(
    ("criterion", "inside", "outside", "met", "missed"),
    [
        (Criterion("at_least", target=0.85), (0.85, 0.93), (0.849, -1.0), "at least 0.85", "below 0.85"),
        (Criterion("at_most", target=-0.6), (-0.6, -0.9), (-0.59, 1.0), "at most -0.6", "above -0.6"),
        (Criterion("at_most", target=3), (3, 0.0), (4, 3.5), "at most 3", "above 3"),
        (Criterion("within", target=1.33, tolerance=0.05), (1.3, 1.37), (1.0, 2.0), "within 0.05 of 1.33", "more than 0.05 from 1.33"),
        (Criterion("within", target=0, tolerance=2), (-1.5, 2.0), (-3.0, 3.0), "within 2 of 0", "more than 2 from 0"),
        (Criterion("between", low=2, high=4), (2, 3.9), (1, 5), "between 2 and 4", "not between 2 and 4"),
        (Criterion("equals", target=7), (7, 7.0), (6, 8), "equal to 7", "not equal to 7"),
    ],
)  # fmt: skip
def test_without_digits_every_value_on_one_side_of_the_line_is_shown_alike(criterion, inside, outside, met, missed):
    assert {value_text(criterion, Result(value, digits=0)) for value in inside} == {met}
    assert {value_text(criterion, Result(value, digits=0)) for value in outside} == {missed}
    with_unit = replace(criterion, unit="points")
    assert value_text(with_unit, Result(outside[0], digits=0)) == f"{missed} points"
    assert value_text(with_unit, Result(outside[0], digits=0), unit=False) == missed


def test_a_count_of_nothing_is_shown_as_zero_and_a_rounding_error_as_its_bound():
    share, error = Criterion("at_most", target=0.1), Criterion("at_most", target=1e-10)
    assert value_text(share, Result(0.0)) == "0"
    assert value_text(share, Result(3e-16)) == "below 0.1"
    assert value_text(error, Result(0.0)) == value_text(error, Result(7e-15)) == "below 1e-10"


def test_the_comparison_uses_the_value_and_not_its_rounded_display():
    criterion = Criterion("at_most", target=0.1)
    assert value_text(criterion, Result(0.100001)) == "0.1000"
    assert not criterion.met(0.100001)


@pytest.mark.parametrize(
    ("criterion", "value", "shown"),
    [
        (Criterion("at_least", target=0.05), 0.42000000000000004, "0.42"),
        (Criterion("at_least", target=0.05), 0.14933, "0.15"),
        (Criterion("at_least", target=0.05), 0.0496, "0.0496"),  # 0.050 would look as if it had passed
        (Criterion("at_most", target=0.05), 0.05004, "0.05004"),
        (Criterion("within", target=0.0, tolerance=2.0), 141.3, "140"),
    ],
)
def test_a_value_without_a_spread_keeps_two_digits_unless_more_decide(criterion, value, shown):
    assert value_text(criterion, Result(value)) == shown
    assert criterion.met(float(shown)) == criterion.met(value)


@pytest.mark.parametrize("value", [np.float64(1.4), np.float32(1.5), np.int64(1), 1, np.array(1.4), np.array([1.4])])
def test_numbers_of_other_libraries_are_taken_as_numbers(house, value):
    result = ledger.open("toy", **house).check("toy-2", value).result
    assert type(result.value) in (int, float) and result.value == float(np.asarray(value).item())


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, None, "1.3", True, np.bool_(True), [1.3], np.array([1.0, 2.0]), 1 + 2j]
)
def test_a_value_that_is_no_finite_number_is_refused(house, value):
    with pytest.raises(ValueError, match="toy-2: the value must be"):
        ledger.open("toy", **house).check("toy-2", value)


@pytest.mark.parametrize("value", [1, 0.0, "yes", None, math.nan])
def test_a_criterion_that_holds_or_not_takes_true_or_false_only(house, value):
    with pytest.raises(ValueError, match="True or False"):
        ledger.open("toy", "full", **house).check("toy-3", value)


def test_true_and_false_are_shown_as_words(house):
    assert "yes | holds: met | ✓ reproduced" in repr(ledger.open("toy", "full", **house).check("toy-3", np.bool_(True)))
    assert "no | holds: not met" in repr(ledger.open("toy", "full", **house).check("toy-3", False))


@pytest.mark.parametrize("spread", [-0.1, math.nan, math.inf, "0.1", True, [0.1, 0.2]])
def test_a_spread_that_is_none_is_refused(house, spread):
    with pytest.raises(ValueError, match="spread must be"):
        ledger.open("toy", **house).check("toy-2", 1.3, spread=spread)


@pytest.mark.parametrize(("seeds", "words"), [([0, 0], "stands twice"), ([0.5], "list of integers"), (3, "list of")])
def test_seeds_are_distinct_integers(house, seeds, words):
    with pytest.raises(ValueError, match=words):
        ledger.open("toy", **house).check("toy-2", 1.3, seeds=seeds)


def test_an_unknown_claim_chapter_tier_or_unit_is_refused_with_the_known_ones(house):
    book = ledger.open("toy", **house)
    with pytest.raises(ValueError, match="Known: toy-1, toy-2, toy-3"):
        book.check("toy-9", 1.0)
    with pytest.raises(ValueError, match="Known: toy"):
        ledger.open("toi", **house)
    with pytest.raises(ValueError, match="Tiers: demo, full"):
        ledger.open("toy", "fool", **house)
    with pytest.raises(ValueError, match="in 'sd', the value in 'mm'"):
        book.check("toy-2", 1.3, unit="mm")
    assert book.check("toy-2", 1.3, unit="sd").met


def test_a_second_different_value_is_refused_and_the_same_one_is_not(house):
    book = ledger.open("toy", **house)
    book.check("toy-2", 1.30, seeds=[1])
    assert book.check("toy-2", 1.30, seeds=[1]).met
    with pytest.raises(ValueError, match=r"already checked with 1\.3, now 1\.31.*ledger\.open again"):
        book.check("toy-2", 1.31, seeds=[1])
    with pytest.raises(ValueError, match="already checked"):
        book.check("toy-2", 1.30, seeds=[2])


def test_a_claim_that_this_tier_does_not_plan_is_shown_and_not_recorded(house):
    book = ledger.open("toy", record=True, **house)
    row = book.check("toy-3", True)
    assert row.met is None
    assert repr(row) == "toy-3 (demo): not recorded | not planned at this tier: needs real data | – not run"
    assert book.save() is None


def test_a_cell_for_the_other_tier_compares_nothing(house):
    book = ledger.open("toy", **house)
    assert repr(book.check("toy-2", 99.0, at="full")) == "toy-2: this cell measures it at tier 'full' only"
    assert book.table().rows[1][3] == "not run"
    assert book.check("toy-2", 1.3, at="demo").met
    with pytest.raises(ValueError, match="Unknown tier"):
        book.check("toy-2", 1.3, at="both")


def test_the_table_shows_every_claim_even_the_ones_nobody_checked(house):
    book = ledger.open("toy", **house)
    book.check("toy-1", 0.0)
    table = book.table()
    assert repr(table).splitlines() == [
        "Ledger of A toy & its <claims>",
        "toy-1: demo below 1e-10 relative error | full not planned | ✓ holds",
        "toy-2: demo not run | full not run | – not run",
        "toy-3: demo not planned | full not run | – not run",
    ]
    assert [cell[2] for cell in Cells(table._repr_html_()).cells if cell[1] == "row"] == ["toy-1", "toy-2", "toy-3"]


def test_a_grid_refuses_a_ragged_row():
    assert repr(Grid("c", ["a", "b"], [["1", "2"]])) == "c\na | b\n1 | 2"
    with pytest.raises(ValueError, match="needs 2 cells"):
        Grid("c", ["a", "b"], [["1"]])


# --- recording -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variable", "argument", "written"), [
    (None, None, False), ("0", None, False), ("1", None, True), ("1", False, False), (None, True, True),
])  # fmt: skip
def test_a_run_is_recorded_only_when_asked(house, monkeypatch, variable, argument, written):
    if variable is not None:
        monkeypatch.setenv("WORKINGS_RECORD", variable)
    book = ledger.open("toy", record=argument, **house)
    book.check("toy-2", 1.4)
    book.table()
    book.close()
    assert results_file(house, "demo").exists() is written


def test_what_was_recorded_is_read_back_exactly(house):
    book = ledger.open("toy", record=True, **house)
    value = 0.1 + 0.2  # has no short decimal form
    book.check("toy-2", 1 + value, spread=0.01, seeds=np.arange(3), digits=3)
    book.attach("rows", [{"data": "airfoil", "width": value, "runs": 3, "ok": True, "none": None}])
    book.close()
    found = ledger.load_results("toy", "demo", **house)
    row = found.rows["toy-2"]
    assert (row.value, row.spread, row.seeds, row.unit, row.digits) == (1 + value, 0.01, (0, 1, 2), "sd", 3)
    assert row.criterion == "within 0.5 of 1.33 sd"
    assert found.tables["rows"] == [{"data": "airfoil", "width": value, "runs": 3, "ok": True, "none": None}]
    run = found.runs[row.run]
    assert run["seeds"] == [0, 1, 2] and run["wall_s"] >= 0 and run["peak_memory_mib"] > 0
    text = results_file(house, "demo").read_text()
    assert not re.search(r'"/|\\\\|/home|/tmp|/root', text), "no path of the machine"


def test_the_other_tiers_record_completes_the_verdict(house):
    full = ledger.open("toy", "full", record=True, **house)
    full.check("toy-2", 1.34)
    full.check("toy-3", True)
    full.close()
    demo = ledger.open("toy", **house)
    assert demo.check("toy-2", 9.0).verdict == REPRODUCED  # an indicative demo does not overrule a full run
    assert demo.table().rows[1][3:] == ("9.0 sd", "1.3 sd", "✓ reproduced")
    assert ledger.verdicts_of("toy", **house) == {"toy-1": NOT_RUN, "toy-2": REPRODUCED, "toy-3": REPRODUCED}


def test_a_second_session_replaces_its_rows_and_keeps_the_others_with_their_own_run(house, monkeypatch):
    times = iter(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"])
    monkeypatch.setattr(ledger.session.provenance, "utc_now", lambda: next(times))
    monkeypatch.setattr(ledger.session.provenance, "circumstances", lambda *_: {**GOOD_RUN, "wall_s": 1.0})
    for value, name in ((1.3, "toy-2"), (True, "toy-3"), (1.35, "toy-2")):
        book = ledger.open("toy", "full", record=True, **house)
        book.check(name, value)
        book.close()
    found = ledger.load_results("toy", "full", **house)
    assert {key: (row.value, row.run[:10]) for key, row in found.rows.items()} == {
        "toy-2": (1.35, "2026-01-03"),
        "toy-3": (True, "2026-01-02"),
    }
    assert sorted(found.runs) == ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]  # the first run left no row


def test_a_record_counts_the_time_of_earlier_sittings_once(house, monkeypatch):
    earlier = [
        {"commit": "a" * 40, "cpu": "x", "results": 3, "seconds": 100.0, "from": "2026-11-30", "to": "2026-12-01"}
    ]
    monkeypatch.setattr(ledger.session.store, "earlier_sittings", lambda: earlier)
    book = ledger.open("toy", "full", record=True, **house)
    book.stopwatch.add(50)
    book.check("toy-2", 1.3)
    book.close()
    book.close()
    (run,) = ledger.load_results("toy", "full", **house).runs.values()
    assert run["earlier"] == earlier and 150 <= run["wall_s"] < 160


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": 1}, "table bad: expected a list"),
        ([1], r"bad\[0\]: expected an object"),
        ([{"a": [1]}], r"bad\[0\].a"),
        ([{"a": math.nan}], "finite number"),
        ([{"a": np.float32(1)}], "finite number"),
    ],
)
def test_an_attached_table_is_flat_and_finite(house, table, words):
    with pytest.raises(ValueError, match=words):
        ledger.open("toy", **house).attach("bad", table)


def test_an_attachment_is_read_back_by_name(house):
    assert ledger.load_results("toy", "full", **house) is None
    book = ledger.open("toy", "full", record=True, **house)
    book.attach("rows", [{"a": 1}])
    book.close()
    assert ledger.load_results("toy", "full", **house).tables == {"rows": [{"a": 1}]}


GOOD_RUN = {
    "date": "2026-01-01T00:00:00Z", "commit": "0123456789abcdef", "dirty": False, "python": "3.11.7",
    "versions": {"workings": "0.1.0"}, "hardware": {"cpu": "c", "cores": 2, "memory_gib": 8.0, "gpu": None},
    "wall_s": 1.5, "peak_memory_mib": None, "peak_gpu_memory_mib": None, "seeds": [0],
}  # fmt: skip


def good_file() -> dict:
    row = {"value": 1.4, "spread": 0.1, "seeds": [0], "unit": "sd", "criterion": "c", "digits": None, "run": "r"}
    head = {"schema": 1, "chapter": "toy", "part": "uncertainty", "tier": "demo"}
    return head | {"rows": {"toy-2": row}, "tables": {}, "runs": {"r": json.loads(json.dumps(GOOD_RUN))}}


def edit(path: str, value) -> dict:
    content = good_file()
    *way, last = path.split("/")
    place = content
    for key in way:
        place = place[key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return content


# What somebody may do to a results file by hand, and the key that the complaint must name.
NONSENSE = {
    "text value": (
        edit("rows/toy-2/value", "1.4"),
        "rows.toy-2.value: expected a finite number, or true or false, found '1.4'",
    ),
    "true value": (edit("rows/toy-2/value", True), "rows.toy-2.value"),
    "no value": (edit("rows/toy-2/value", KeyError), "rows.toy-2: key 'value' is missing"),
    "typed verdict": (edit("rows/toy-2/verdict", "reproduced"), "rows.toy-2: unknown key 'verdict'"),
    "negative spread": (edit("rows/toy-2/spread", -1), "rows.toy-2.spread"),
    "text seed": (edit("rows/toy-2/seeds", ["0"]), "rows.toy-2.seeds"),
    "number unit": (edit("rows/toy-2/unit", 3), "rows.toy-2.unit"),
    "many digits": (edit("rows/toy-2/digits", 99), "rows.toy-2.digits"),
    "unknown run": (edit("rows/toy-2/run", "s"), "rows.toy-2.run: there is no run 's'"),
    "unknown claim": (edit("rows/toy-8", {"value": 1, "run": "r"}), "rows.toy-8: the chapter has no such claim"),
    "unplanned claim": (edit("rows/toy-3", {"value": True, "run": "r"}), "rows.toy-3: this tier is not planned"),
    "list row": (edit("rows/toy-2", []), "rows.toy-2: expected an object"),
    "rows list": (edit("rows", []), "rows: expected an object"),
    "other chapter": (edit("chapter", "tay"), "chapter: expected 'toy', found 'tay'"),
    "other tier": (edit("tier", "full"), "tier: expected 'demo', found 'full'"),
    "other schema": (edit("schema", 2), "schema: expected 1, found 2"),
    "true schema": (edit("schema", True), "schema: expected a whole number, found True"),
    "unknown key": (edit("notes", ""), "unknown key 'notes'"),
    "no runs": (edit("runs", KeyError), "key 'runs' is missing"),
    "commit": (edit("runs/r/commit", "main"), "runs.r.commit"),
    "text wall time": (edit("runs/r/wall_s", "1 s"), "runs.r.wall_s"),
    "no date": (edit("runs/r/date", KeyError), "runs.r: key 'date' is missing"),
    "deep table": (edit("tables/t", [{"a": {}}]), "tables.t[0].a"),
    "a list": ([], "the file: expected an object"),
}
BROKEN_TEXT = {
    "empty": ("", "not valid JSON"),
    "cut": (json.dumps(good_file())[:-30], "not valid JSON"),
    "NaN": (json.dumps(good_file()).replace("1.4", "NaN"), "NaN is not a measured value"),
    "twice": (json.dumps(good_file()).replace('"unit"', '"spread"'), "key 'spread' stands twice"),
    "deep": ("[" * 100000, "cannot be read"),
    "bytes": (b"\xff\xfe", "cannot be read"),
}


@pytest.mark.parametrize(
    ("content", "words"),
    [*((json.dumps(content), words) for content, words in NONSENSE.values()), *BROKEN_TEXT.values()],
    ids=[*NONSENSE, *BROKEN_TEXT],
)
def test_a_file_edited_into_nonsense_is_named_with_key_and_remedy_and_never_overwritten(house, content, words):
    file = results_file(house, "demo")
    file.parent.mkdir(parents=True)
    data = content if isinstance(content, bytes) else content.encode()
    file.write_bytes(data)
    with pytest.raises(ResultsError) as caught:
        ledger.open("toy", record=True, **house)
    assert words in str(caught.value)
    assert "demo.json" in str(caught.value) and "do not edit it" in str(caught.value)
    chapter = claims.load_chapter("toy", house["claims"])
    good = claims_result(chapter)
    with pytest.raises(ResultsError):
        save_results(good, chapter, house["results"])
    assert file.read_bytes() == data


def claims_result(chapter):
    from workings.ledger.results import Results

    return Results("toy", "uncertainty", "demo", {"toy-2": Result(1.3, run="r")}, {}, {"r": GOOD_RUN})


def test_the_good_file_is_accepted(house):
    file = results_file(house, "demo")
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(good_file()))
    chapter = claims.load_chapter("toy", house["claims"])
    assert load_results(chapter, "demo", house["results"]).rows["toy-2"].value == 1.4


def test_every_record_of_this_repository_is_the_same_to_the_byte_when_it_is_saved_again():
    for chapter in claims.load_all():
        for tier in TIERS:
            file = results_path(chapter.part, chapter.slug, tier)
            if file.is_file():
                text = file.read_text(encoding="utf-8")
                assert dump_results(parse_results(text, chapter, tier, file.name), chapter) == text, file


def test_two_identical_runs_write_identical_rows(house):
    texts = []
    for _ in range(2):
        book = ledger.open("toy", record=True, **house)
        book.check("toy-2", 1.4)
        book.check("toy-1", 1e-16)
        book.close()
        texts.append(json.loads(results_file(house, "demo").read_text())["rows"])
        results_file(house, "demo").unlink()
    for rows in texts:
        assert list(rows) == ["toy-1", "toy-2"]  # in the order of the claims file
        for row in rows.values():
            row.pop("run")
    assert texts[0] == texts[1]
