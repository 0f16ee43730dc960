"""Where claims stand, and what the validator says about a malformed claims file."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workings import PARTS, paths
from workings.ledger import claims
from workings.ledger.criteria import COMPARISONS, SOURCES, Criterion, NotPlanned, PaperNumber, check_tier

NAME = "claims/uncertainty/x.yml"
GOOD = """\
chapter: x
part: uncertainty
title: "A title"
paper: {authors: "A. Author", year: 2024, venue: "V", arxiv: "2306.07254", key: author2024}
source: "We read the abstract."
claims:
  - id: css-1
    kind: identity
    claim: "An exact formula."
    where: "theorem"
    paper: {value: null, note: "identity", source: abstract}
    demo: {compare: at_most, target: 1.0e-10, unit: "relative error", set: "before any run"}
    full: {not_planned: "an identity"}
  - id: css-2
    kind: paper
    claim: "A width."
    where: "table"
    paper: {value: "1.33 (0.09)", unit: "sd", source: paper}
    demo: {compare: holds, indicative: "a toy", set: "after a trial"}
    full: {compare: within, target: 1.33, tolerance: 0.05, unit: "sd", set: "before any run"}
"""


def problems(text) -> list[str]:
    with pytest.raises(claims.ClaimsError) as caught:
        claims.parse_chapter(text, NAME)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def broken(old: str, new: str) -> str:
    """The good file with one piece replaced; the piece must be there once, or the test tests nothing."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_a_good_file_is_read_as_written():
    chapter = claims.parse_chapter(GOOD, NAME)
    assert (chapter.slug, chapter.part, chapter.title) == ("x", "uncertainty", "A title")
    assert chapter.paper.arxiv == "2306.07254" and chapter.paper.year == 2024
    assert chapter.ids() == ["css-1", "css-2"]
    first, second = chapter.claims
    assert (first.kind, first.paper.source, first.paper.read) == ("identity", "abstract", True)
    assert first.demo == Criterion("at_most", target=1e-10, unit="relative error", set="before any run")
    assert first.full == NotPlanned("an identity")
    assert second.plan("full") == Criterion("within", target=1.33, tolerance=0.05, unit="sd", set="before any run")
    assert second.demo.indicative == "a toy"
    assert second.paper.text() == "1.33 (0.09) sd"


# One mistake each: what is replaced, by what, the line and the words of the complaint.
MISTAKES = {
    "comparison": ("compare: within", "compare: withn", 20, "'full': unknown comparison 'withn'", "'within'?"),
    "other word": ("compare: at_most", "compare: less", 12, "unknown comparison 'less'", "did you mean 'at_most'?"),
    "comparison's number": (", tolerance: 0.05", "", 20, "comparison 'within' needs 'tolerance'"),
    "useless number": ("{compare: holds,", "{compare: holds, target: 1,", 19, "'holds' does not use 'target'"),
    "negative tolerance": ("tolerance: 0.05", "tolerance: -0.05", 20, "'tolerance' must be zero or more"),
    "text for number": ("1.0e-10", "1e-10", 12, "is text to YAML: instead of '1e-10' write 1.0e-10"),
    "quoted number": ("target: 1.33", 'target: "1.33"', 20, "'target' is text to YAML: instead of '1.33' write 1.33"),
    "NaN": ("target: 1.33", "target: .nan", 20, "'target' must be a finite decimal number"),
    "infinity": ("target: 1.33", "target: .inf", 20, "'target' must be a finite decimal number"),
    "sexagesimal": ("target: 1.33", "target: 1:30", 20, "'target' must be a finite decimal number"),
    "boolean number": ("target: 1.33", "target: yes", 20, "'target' must be a finite decimal number"),
    "arXiv as number": ('"2306.07254"', "2306.07254", 4, "'arxiv' must be text", 'quotes: "2306.07254"'),
    "year": ("year: 2024", "year: 24", 4, "'year' must be a year"),
    "part": ("part: uncertainty", "part: uncertanty", 2, "unknown part", "did you mean 'uncertainty'?"),
    "other part": ("part: uncertainty", "part: robustness", 2, "stands in the folder uncertainty"),
    "other chapter": ("chapter: x", "chapter: y", 1, "stands in a file called x.yml"),
    "unknown key": ('title: "A title"', 'titel: "A title"', 3, "unknown key 'titel'", "did you mean 'title'?"),
    "no word on what was read": ('source: "We read the abstract."\n', "", 1, "file: key 'source' is missing"),
    "nothing on what was read": (
        'source: "We read the abstract."',
        "source: null",
        5,
        "'source' must be text, found null",
    ),
    "missing key": ('    where: "theorem"\n', "", 7, "claim css-1: key 'where' is missing"),
    "duplicate key": ('    where: "theorem"\n', '    where: "a"\n    where: "b"\n', 11, "key 'where' stands twice"),
    "duplicate id": ("id: css-2", "id: css-1", 14, "id css-1 was already used on line 7"),
    "ugly id": ("id: css-2", "id: CSS_2", 14, "must look like css-1"),
    "id as number": ("id: css-2", "id: 2", 14, "'id' must be text, found number"),
    "empty text": ('claim: "A width."', 'claim: " "', 16, "'claim' is empty"),
    "both plans": ('{not_planned: "an identity"}', '{not_planned: "a", compare: holds}', 13, "makes no sense beside"),
    "no plan": (
        '{not_planned: "an identity"}',
        '{unit: "sd"}',
        13,
        "give 'compare' with its numbers, or 'not_planned'",
    ),
    "no reason": ('{not_planned: "an identity"}', "{not_planned: null}", 13, "'not_planned' must be text"),
    "list for mapping": ('{not_planned: "an identity"}', "[a]", 13, "expected `key: value` lines, found a list"),
    "kind": ("kind: paper", "kind: papers", 15, "'kind' must be one of paper, identity", "did you mean 'paper'?"),
    "no kind": ("    kind: paper\n", "", 14, "claim css-2: key 'kind' is missing"),
    "source": ("source: abstract", "source: abstrakt", 11, "'source' must be one of", "did you mean 'abstract'?"),
    "no source": (", source: abstract", "", 11, "claim css-1: paper: key 'source' is missing"),
    "unread number": ("source: paper", "source: not read", 18, "a number that nobody read is not quoted"),
    "our kind": ("kind: identity", "kind: ours", 7, "kind 'ours' and source 'this collection' belong together"),
    "our source": ("source: paper", "source: this collection", 14, "of the others only an identity may be our own"),
    "not set": (', set: "after a trial"', "", 14, "tier 'demo': key 'set' is missing: when was the criterion written"),
    "withdrawn": (', set: "after a trial"', ", set: a, withdrawn: [x]", 19, "'withdrawn' must be `run: reason` lines"),
    "alias": ("compare: at_most", "compare: *a", 12, "aliases (*name) are not allowed"),
    "tag": ("target: 1.33", "target: !!python/name:os.system x", 20, "must be a finite decimal number"),
    "tab": ('    where: "theorem"', '\t    where: "theorem"', 10, "not valid YAML"),
    "open bracket": ('{not_planned: "an identity"}', '{not_planned: "an identity"', 14, "not valid YAML"),
    "control character": ("A width.", "A \x07 width.", 16, "character U+0007 is not allowed"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_reported_once_with_its_line(mistake):
    old, new, line, *words = mistake
    found = problems(broken(old, new))
    assert len(found) == 1, found
    assert found[0].startswith(f"{NAME}:{line}: "), found[0]
    for word in words:
        assert word in found[0], found[0]


def test_every_mistake_of_a_file_is_reported_at_once_in_the_order_of_lines():
    text = GOOD.replace("year: 2024", "year: soon").replace("compare: holds", "compare: hold")
    text = text.replace("1.0e-10", "abc").replace("id: css-2", "id: css-1")
    found = problems(text)
    assert [int(one.split(":")[1]) for one in found] == [4, 12, 14, 19]
    backwards = "paper:\n  key: 1\n  authors: 2\n  year: soon\n" + GOOD[: GOOD.index("paper:")] + "source: None.\n"
    found = problems(backwards)  # a file may order its keys as it likes
    assert [int(one.split(":")[1]) for one in found] == [1, 2, 3, 4]


def test_a_complaint_names_claim_tier_and_allowed_words():
    (found,) = problems(broken("compare: within", "compare: lesss"))
    assert found == (
        "claims/uncertainty/x.yml:20: claim css-2: tier 'full': unknown comparison 'lesss'; allowed: "
        "at_most, at_least, within, between, equals, holds; did you mean 'at_most'?"
    )


def test_a_claim_that_no_tier_tests_is_refused():
    plan = '{compare: at_most, target: 1.0e-10, unit: "relative error", set: "before any run"}'
    text = broken(plan, '{not_planned: "later"}')
    assert problems(text) == [
        f"{NAME}:7: claim css-1: no tier is planned, so the claim can never be tested; give one a criterion"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# only a remark\n", "the file is empty"),
        ("- a\n- b\n", "expected `key: value` lines, found a list"),
        ("just words", "expected `key: value` lines, found text"),
        (GOOD + "---\n" + GOOD, "not valid YAML"),
        (b"title: \xff\xfe", "not UTF-8 text"),
        ("a: " + "[" * 5000, "nested too deeply"),
        (GOOD.split("claims:")[0] + "claims: []\n", "at least one claim"),
        (GOOD.split("claims:")[0] + "claims: {a: b}\n", "at least one claim"),
    ],
)
def test_a_file_that_is_no_claims_file_is_one_clear_complaint(text, words):
    found = problems(text)
    assert words in found[0] and found[0].startswith(f"{NAME}:")


@given(st.text(max_size=200))
def test_no_text_makes_the_validator_fail_in_another_way(text):
    with pytest.raises(claims.ClaimsError):
        claims.parse_chapter(text, NAME)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 40))
def test_a_cut_file_is_either_valid_or_a_list_of_complaints(start, length):
    try:
        claims.parse_chapter(GOOD[:start] + GOOD[start + length :], NAME)
    except claims.ClaimsError as error:
        assert all(one.startswith(f"{NAME}:") for one in error.problems)


@pytest.mark.parametrize(
    ("criterion", "inside", "outside"),
    [
        (Criterion("at_most", target=0.1), [0.1, -5.0, 0], [0.1 + 1e-12]),
        (Criterion("at_least", target=4), [4, 5.0], [3.999999]),
        (Criterion("within", target=1.33, tolerance=0.05), [1.28, 1.38, 1.33], [1.2799, 1.3801]),
        (Criterion("within", target=0.0, tolerance=0.0), [0.0], [1e-300]),
        (Criterion("between", low=1, high=2), [1, 2, 1.5], [0.9999, 2.0001]),
        (Criterion("equals", target=90), [90, 90.0], [91, 89.999]),
        (Criterion("holds"), [True], [False]),
    ],
)
def test_bounds_belong_to_a_criterion(criterion, inside, outside):
    assert all(criterion.met(value) is True for value in inside)
    assert all(criterion.met(value) is False for value in outside)


def test_every_comparison_reads_as_words():
    numbers = {"target": 0.02, "tolerance": 0.5, "low": 1, "high": 2}
    found = {
        kind: Criterion(kind, unit="sd", **{key: numbers[key] for key in needs}).text()
        for kind, needs in COMPARISONS.items()
    }
    assert found == {
        "at_most": "at most 0.02 sd",
        "at_least": "at least 0.02 sd",
        "within": "within 0.5 of 0.02 sd",
        "between": "between 1 and 2 sd",
        "equals": "equal to 0.02 sd",
        "holds": "holds",
    }
    assert Criterion("at_most", target=1e-10).text() == "at most 1e-10"


def test_a_paper_without_a_number_says_so():
    assert PaperNumber(source="paper").text() == "no number"
    assert PaperNumber(note="an identity", source="paper").text() == "an identity"
    assert PaperNumber(value=0.1, unit="share", note="guaranteed", source="plot").text() == "0.1 share (guaranteed)"


def test_what_was_not_read_is_known_by_its_source_and_no_number_of_it_is_quoted():
    assert {word for word in SOURCES if not PaperNumber(source=word).read} == {"not read", "quoted by others"}
    with pytest.raises(ValueError, match="a number that nobody read is not quoted"):
        PaperNumber(value=0.1, source="not read")


@pytest.mark.parametrize(
    ("criterion", "value", "margin"),
    [
        (Criterion("at_most", target=0.05), 0.078, 0.028),
        (Criterion("at_least", target=4), 9, 5),
        (Criterion("within", target=1.33, tolerance=0.05), 1.378, 0.002),
        (Criterion("within", target=1.33, tolerance=0.05), 1.27, 0.01),
        (Criterion("between", low=2, high=4), 3.5, 0.5),
        (Criterion("equals", target=90), 91, math.inf),
        (Criterion("holds"), True, math.inf),
    ],
)
def test_the_margin_is_the_distance_to_the_nearest_line(criterion, value, margin):
    assert criterion.margin(value) == pytest.approx(margin, abs=1e-12)


@pytest.mark.parametrize("tier", ["ful", "", None, "Demo", 1])
def test_an_unknown_tier_is_refused_with_the_known_ones(tier):
    with pytest.raises(ValueError, match="demo, full"):
        check_tier(tier)


# --- where files stand ---------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    """Two chapters in a folder of claims."""
    for part, slug in (("uncertainty", "x"), ("robustness", "other_one")):
        (tmp_path / part).mkdir()
        text = GOOD.replace("chapter: x", f"chapter: {slug}").replace("part: uncertainty", f"part: {part}")
        (tmp_path / part / f"{slug}.yml").write_text(text.replace("css-", f"{slug[0]}-"))
    return tmp_path


def test_chapters_are_found_by_their_slug(house):
    assert paths.list_chapters(house) == [("robustness", "other_one"), ("uncertainty", "x")]
    assert paths.find_part("other_one", house) == "robustness"
    assert claims.load_chapter("x", house).ids() == ["x-1", "x-2"]
    assert [chapter.slug for chapter in claims.load_all(house)] == ["other_one", "x"]


def test_an_unknown_slug_lists_the_known_and_the_close_ones(house):
    with pytest.raises(ValueError, match=r"'other_on'; did you mean 'other_one'\? Known: other_one, x"):
        paths.find_part("other_on", house)
    with pytest.raises(ValueError, match="Known: none"):
        paths.find_part("x", house / "robustness")


def test_a_slug_in_two_parts_is_refused(house):
    (house / "robustness" / "x.yml").write_text("")
    with pytest.raises(ValueError, match="several parts: robustness, uncertainty"):
        paths.find_part("x", house)


def test_the_complaints_of_all_files_come_together(house):
    for file in house.glob("*/*.yml"):
        file.write_text(file.read_text().replace("compare: holds", "compare: hold"))
    with pytest.raises(claims.ClaimsError) as caught:
        claims.load_all(house)
    assert [one.split(":")[0] for one in caught.value.problems] == [
        "claims/robustness/other_one.yml",
        "claims/uncertainty/x.yml",
    ]


def test_one_id_in_two_chapters_is_refused(house):
    file = house / "robustness" / "other_one.yml"
    file.write_text(file.read_text().replace("o-1", "x-1"))
    with pytest.raises(claims.ClaimsError, match="id x-1 is already used by other_one"):
        claims.load_all(house)


def test_an_unknown_claim_lists_the_known_ones(house):
    with pytest.raises(ValueError, match=r"no claim 'x-3'; did you mean .*Known: x-1, x-2\."):
        claims.load_chapter("x", house).claim("x-3")


def test_this_repositorys_own_claims_are_well_formed():
    chapters = claims.load_all()
    assert "conformal_set_size" in [chapter.slug for chapter in chapters]
    assert {chapter.part for chapter in chapters} <= set(PARTS)


def test_an_installed_package_reads_its_own_copies_and_writes_elsewhere(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "workings"
    (package / "_claims" / "uncertainty").mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    monkeypatch.delenv("WORKINGS_RESULTS", raising=False)
    assert paths.checkout_root() is None
    assert paths.claims_root() == package / "_claims"
    assert paths.results_root() == package / "_results"
    assert paths.writable_results_root() == Path("results")
    monkeypatch.setenv("WORKINGS_RESULTS", str(tmp_path / "here"))
    assert paths.results_root() == paths.writable_results_root() == tmp_path / "here"


def test_a_package_without_claims_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "workings")
    with pytest.raises(FileNotFoundError, match="Install it again"):
        paths.claims_root()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "new" / "a.json"
    paths.write_atomically(file, "old")

    def full_disk(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        paths.write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [one.name for one in file.parent.iterdir()] == ["a.json"]
