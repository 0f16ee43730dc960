"""Each grader by hand: accepted forms, the official oddities with a minimal answer each, and the strict rule beside them."""

import contextlib
import difflib
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workings.language_models import grading_language
from workings.language_models.grading import LONGEST, RELEASES, Grade, check_rules, half_all_half_share
from workings.language_models.grading_instructions import CHECKS, follows, score_instructions
from workings.language_models.grading_language import closest_sentences, score_connections, score_plot, score_typos
from workings.language_models.grading_mathematics import (
    normalise_latex,
    score_aime,
    score_amps,
    score_multiple_choice,
    score_olympiad,
)
from workings.language_models.grading_reasoning import (
    score_house_traversal,
    score_spatial,
    score_web_of_lies,
    score_zebra,
)
from workings.language_models.grading_tables import (
    FORMATS,
    MOST_CELLS,
    Table,
    join_counts,
    read_table,
    same_tables,
    score_cta,
    score_table_join,
    score_table_reformat,
    table_formats,
)

OLD, LATE = "2024-06-24", "2025-05-30"


def both(scorer, truth, answer, **options):
    return scorer(truth, answer, **options).score, scorer(truth, answer, strict=True, **options).score


# (scorer, options, truth, answer, official score, strict score): the strict rule differs where the official one is odd.
CASES = {
    "lies: tag": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "<solution>yes, no, yes</solution>", 1, 1),
    "lies: bold words": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "**Yes**, **no** and **yes**.", 1, 0),
    "lies: one bold span": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "So **yes, no, yes**.", 1, 1),
    "lies: capitals in the tag": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "<solution>Yes, No, Yes</solution>", 0, 1),
    "lies: no spaces": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "<solution>yes,no,yes</solution>", 0, 1),
    "lies: lines in the tag": (score_web_of_lies, {"rules": OLD}, "yes, no, yes", "<solution>\nyes, no, yes\n</solution>", 1, 1),
    "lies: box": (score_web_of_lies, {"rules": OLD}, "no, no, yes", r"\boxed{no, no, yes}", 1, 1),
    "lies: plain text": (score_web_of_lies, {"rules": OLD}, "no, no, yes", "not yes, yes, no but no, no, yes", 1, 0),
    "lies: contained": (score_web_of_lies, {"rules": OLD}, "no, no, yes", "<solution>It is no, no, yes!</solution>", 1, 1),
    "lies: unknown holds a no": (score_web_of_lies, {"rules": OLD}, "no, unknown, yes", "<solution> no, unknown, yes</solution>", 0, 1),
    "lies: two bold words block": (score_web_of_lies, {"rules": OLD}, "no, no, yes", "**no, no**, yes, no, no, yes", 0, 0),
    "lies v3: half": (score_web_of_lies, {"rules": LATE}, "no, no, yes", "<solution>no, no, no</solution>", 1 / 3, 0),
    "lies v3: not trimmed": (score_web_of_lies, {"rules": LATE}, "no, no, yes", "<solution>no,no,yes</solution>", 1 / 6, 1),
    "zebra old: bold": (score_zebra, {"rules": OLD}, "three", "***3***", 1, 1),
    "zebra old: last word": (score_zebra, {"rules": OLD}, "cat", "It is the cat", 1, 0),
    "zebra old: hyphen": (score_zebra, {"rules": OLD}, "cross-stitch", "***cross-stitch***", 0, 1),
    "zebra: all": (score_zebra, {"rules": LATE}, "1, cat, red, tea", "<solution>1, cat, red, tea</solution>", 1, 1),
    "zebra: half": (score_zebra, {"rules": LATE}, "1, cat, red, tea", "<solution>1, cat, red, milk</solution>", 0.375, 0.375),
    "zebra: one item too few": (score_zebra, {"rules": LATE}, "1, cat, red, tea", "<solution>1, cat, red</solution>", 0.375, 0),
    "zebra: 1 inside 12": (score_zebra, {"rules": LATE}, "1, cat", "<solution>12, cat</solution>", 1, 0.25),
    "zebra: number word": (score_zebra, {"rules": LATE}, "1, cat", "<solution>one, cat</solution>", 0.25, 1),
    "zebra: last line": (score_zebra, {"rules": LATE}, "1, cat", "so\n1, cat", 1, 1),
    "house": (score_house_traversal, {}, "ann bob eve", "thus **Ann, Bob, Eve**", 1, 1),
    "house: spans": (score_house_traversal, {}, "ann bob", "**ann** then **bob**", 1, 0),
    "house: order": (score_house_traversal, {}, "ann bob", "**bob, ann**", 0, 0),
    "spatial: word": (score_spatial, {}, "4", "**four**", 1, 1),
    "spatial: any of three": (score_spatial, {}, "4", "**4** or **5** or **6**", 1, 0),
    "spatial: solid": (score_spatial, {}, "square", "**a big square**", 1, 0),
    "spatial: long span": (score_spatial, {}, "square", "**circle triangle square**", 0, 0),
    "connections": (score_connections, {"rules": LATE}, "a,b,c,d,e,f,g,h", "<solution>h,g,f,e,a,b,c,d</solution>", 1, 1),
    "connections: half": (score_connections, {"rules": LATE}, "a,b,c,d,e,f,g,h", "<solution>a,b,c,d,e,f,g,x</solution>", 0.5, 0),
    "connections: bold ignored": (score_connections, {"rules": LATE}, "a,b,c,d", "**a, b, c, d**", 0, 1),
    "connections old: bold": (score_connections, {"rules": OLD}, "a,b,c,d", "**a, b, c, d**", 1, 1),
    "connections: a repeat is free": (score_connections, {"rules": LATE}, "a,b,c,d", "<solution>a,a,b,c,d</solution>", 1, 0),
    "typos": (score_typos, {}, "A bee. A sea.", "<solution>A bee. A sea.</solution>", 1, 1),
    "typos: separators": (score_typos, {}, "A bee.", "here --- A bee. --- done", 1, 0),
    "typos: more text": (score_typos, {}, "A bee.", "<solution>A bee. And more.</solution>", 1, 0),
    "typos: lines": (score_typos, {}, "A bee. A sea.", "A bee.\nA sea.", 1, 1),
    "plot": (score_plot, {}, "Ann wakes. Bob eats. Eve leaves.", "<PLOT_SUMMARY>Ann wakes. Bob eats. Eve leaves.", 1, 1),
    "plot: chat": (score_plot, {}, "Ann wakes. Bob eats. Eve leaves.", "Here it is. Ann wakes. Bob eats. Eve leaves.", 1 / 3, 1),
    "cta": (score_cta, {}, "country", "Country.", 1, 1),
    "cta: suffix": (score_cta, {}, "country", "not a country", 1, 0),
    "cta: box": (score_cta, {}, "country", r"so \boxed{\text{country}}", 1, 1),
    "choice: letters": (score_multiple_choice, {}, "B", "so BBBBB", 1, 0),
    "choice: anywhere": (score_multiple_choice, {}, "B", "BBBBB no wait <solution>CCCCC</solution>", 1, 0),
    "choice: parentheses": (score_multiple_choice, {}, "B", "The answer is **(B)**", 1, 1),
    "choice: value": (score_multiple_choice, {"value": "42"}, "B", "hence 42", 1, 0),
    "aime": (score_aime, {}, "025", "so **025**", 1, 1),
    "aime: leading zero": (score_aime, {}, "025", r"\boxed{25}", 0, 1),
    "aime: within 50": (score_aime, {}, "123", "no, not 123, <solution>124</solution>", 1, 0),
    "olympiad": (score_olympiad, {}, "3,1,2", "Answer: 3, 1, 2", 1, 1),
    "olympiad: next line": (score_olympiad, {}, "3,1,2", "**Answer:**\n3,1,2", 1, 1),
    "olympiad: one swapped": (score_olympiad, {}, "3,1,2", "Answer: 1,3,2", 1 / 3, 1 / 3),
    "olympiad: box": (score_olympiad, {}, "3,1,2", r"\boxed{3,1,2}", 1, 1),
    "olympiad: no number": (score_olympiad, {}, "3,1,2", "I cannot tell.", 0, 0),
    "table: csv": (score_table_reformat, {"target": "csv"}, "a,b\n1,x\n2,y", "b,a\nx,1.0\ny,2", 1, 0),
    "table: rows": (score_table_reformat, {"target": "csv"}, "a,b\n1,x\n2,y", "a,b\n2,y\n1,x", 0, 0),
    "table: chatter": (score_table_reformat, {"target": "csv"}, "a,b\n1,x\n2,y", "Sure!\na,b\n1,x\n2,y", 1, 0),
    "table: phrase": (score_table_reformat, {"target": "tsv"}, "a\tb\n1\tx", "Here is the table in TSV format:\na\tb\n1\tx", 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    scorer, options, truth, answer, official, strict = CASES[name]
    assert both(scorer, truth, answer, **options) == pytest.approx((official, strict))


def test_the_trace_names_the_rule():
    grade = score_web_of_lies("yes, no, yes", "**yes, no, yes**", rules=OLD)
    assert grade == Grade(1.0, "bold words, equal", "yes, no, yes") and float(grade) == 1.0
    assert "anywhere" in score_multiple_choice("A", "AAAA").rule
    assert score_zebra("1, cat", r"so \boxed5 and {x}", rules=LATE).rule.startswith("official program fails")
    assert score_web_of_lies("yes, no, no", "<think>yes, no, no", rules=OLD).score == 1  # an open block is read
    assert score_web_of_lies("yes, no, no", "<think>yes, no, no", strict=True).score == 0


def test_expressions_are_compared_and_the_negative_is_wrong():
    quick = {"limit_s": 0.05}  # agreement at the points decides where sympy has no time
    assert score_amps("2x\\cos(x)", r"so $\boxed{2\cos(x)\cdot x}$", **quick).score == 1
    assert score_amps("2x", r"\boxed{-2x}", **quick).score == 0
    assert score_amps("x^2", r"$F = x^{2} + C$", **quick).score == 1
    assert both(score_amps, r"\frac{1}{3}", r"\boxed{0.333}", **quick) == (1, 0)  # the authors allow 0.001
    assert score_amps("7", "it is 7.", **quick).rule.startswith("no mathematics")
    assert normalise_latex(r"\dfrac12 \cdot \sqrt2, \text{cm}") == r"\frac{1}{2} * \sqrt{2}, cm"
    assert normalise_latex("n = 100,000") == "100000"


# --- properties -------------------------------------------------------------------------------------------------------


def test_order_within_and_between_groups_does_not_matter():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(12)]
    for _ in range(30):
        groups = [list(rng.permutation(words[i : i + 4])) for i in (0, 4, 8)]
        shown = ",".join(w for i in rng.permutation(3) for w in groups[i])
        assert both(score_connections, ",".join(words), f"<solution>{shown}</solution>") == (1, 1)


def test_the_f1_of_a_join_by_hand_and_symmetric():
    gold = {"a": "x", "b": "y", "c": "z"}
    assert score_table_join(gold, "<solution>{'a': 'x', 'b': 'q'}</solution>").score == 0.4  # 2 / (2 + 1 + 2)
    assert score_table_join(gold, '```json\n{"a": "x", "d": null}\n```').score == 0.5
    assert score_table_join(gold, "{'a': 'x', 'b': 'y', 'c': 'z'}").score == 1
    assert score_table_join(gold, "mapping: {'a': 'x'}").score == 0  # the whole answer is no literal
    assert score_table_join(gold, "mapping: {'a': 'x'}", strict=True).score == 0.5
    assert score_table_join(str(gold), "<solution>{}</solution>").score == 0
    thirds = score_table_join(gold, "<solution>{'a': 'x', 'q': 1, 'r': 2}</solution>")
    assert thirds.score == 0.33  # rounded by the official rule
    rng = np.random.default_rng(0)
    for _ in range(50):
        mine, yours = ({int(k): int(rng.integers(3)) for k in rng.integers(0, 6, 4)} for _ in range(2))
        right, wrong, missed = join_counts(mine, yours)
        assert (right, missed, wrong) == join_counts(yours, mine) and right + wrong == len(yours)


def test_tables_are_read_in_six_formats_and_compared():
    texts = {
        "csv": "index,a,b\n0,1.5,x\n1,,y", "tsv": "a\tb\n1.5\tx\nNaN\ty",
        "json": '{"0": {"a": 1.5, "b": "x"}, "1": {"a": null, "b": "y"}}', "jsonl": '{"a": 1.5, "b": "x"}\n{"a": null, "b": "y"}',
        "html": "<table><tr><th>a</th><th>b</th></tr><tr><td>1.5</td><td> x</td></tr><tr><td></td><td>y</td></tr></table>",
        "markdown": "| a | b |\n|:--|---|\n| 1.5 | x |\n| nan | y |",
    }  # fmt: skip
    tables = [read_table(text, kind) for kind, text in texts.items()]
    assert all(table is not None and same_tables(tables[0], table) for table in tables)
    assert not same_tables(tables[0], Table(["a", "b"], tables[0].rows[::-1]))
    assert same_tables(Table(["a"], [[1.0]]), Table(["a"], [[1.0 + 5e-7]]))
    for text in ("", "{", "a,b\n1", "a,a\n1,2"):
        assert read_table(text, "csv") is None or text == "{"
    assert table_formats("Please convert the Input Table from CSV format to JSON format.") == ("csv", "json")
    assert table_formats("Source Format: TSV\nTarget Format: HTML") == ("tsv", "html")
    with pytest.raises(ValueError, match="names no formats"):
        table_formats("convert it")


def test_a_table_with_a_schema_is_its_data_and_one_without_a_list_is_not():
    table = read_table('{"schema": {"fields": []}, "data": [{"index": 0, "a": 1}, {"index": 1, "a": "x"}]}', "json")
    assert same_tables(table, read_table("a\n1\nx", "csv"))
    assert read_table('{"schema": {}, "data": 5}', "json") is None


def test_the_plot_score_of_a_random_order_has_the_mean_of_random_distances():
    # Score = 1 - d/n; its mean over 200 orders has a standard error below 0.01 (d/n has a spread of about 0.1), and both
    # means use the same orders, so they agree exactly.
    from workings.language_models.edit_distance import levenshtein

    rng = np.random.default_rng(0)
    sentences = [
        f"{word} goes home" for word in ("Alpha", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel")
    ]
    gold = ". ".join(sentences)
    for _ in range(200):
        order = rng.permutation(8)
        shown = ". ".join(sentences[i] for i in order)
        assert score_plot(gold, shown).score == pytest.approx(1 - levenshtein(range(8), np.argsort(order)) / 8)


@settings(max_examples=60)
@given(st.lists(st.text("abc ", min_size=1, max_size=12), min_size=1, max_size=5), st.lists(st.text("abc ", min_size=1, max_size=12), min_size=1, max_size=6))  # fmt: skip
def test_the_closest_sentences_are_those_of_difflib(sentences, candidates):
    expected = [candidates.index(difflib.get_close_matches(s, candidates, n=1, cutoff=0.0)[0]) for s in sentences]
    assert closest_sentences(sentences, candidates) == (expected, True)


INSTRUCTIONS = [
    ("include keywords", {"words": ["sea", "Bee"]}, "a bee at sea", "a sea"),
    ("forbidden words", {"words": ["art"]}, "a party", "some ART."),
    ("number of words", {"relation": "at least", "number": 3}, "one two three", "one two"),
    ("number of words", {"relation": "less than", "number": 3}, "one two", "one two three"),
    ("number of sentences", {"relation": "at least", "number": 2}, "One. Two!", "One, two"),
    ("number of paragraphs", {"number": 2}, "one\n***\ntwo", "one\n***\n***\ntwo"),
    ("first word of a paragraph", {"total": 2, "place": 2, "word": "so"}, "a\n\nSo, b", "So\n\na"),
    ("bullets", {"number": 2}, "* one\n- two", "** one\n- two"),
    ("title", {}, "<<A title>>\ntext", "<< >>\ntext"),
    ("sections", {"mark": "Part", "number": 2}, "Part 1 a Part 2 b", "Part 1 a"),
    ("json", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("two responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("repeat the prompt first", {"prompt": "Say it."}, "Say it. It.", "It. Say it."),
    ("end phrase", {"phrase": "The end."}, 'So "The end."', "The end. Really."),
    ("quotation", {}, '"all of it"', '"half" of it'),
    ("postscript", {"mark": "P.S."}, "text\nP.S. more", "text"),
    ("constrained option", {"options": ["My answer is yes."]}, "My answer is yes.", "Yes."),
]


@pytest.mark.parametrize(
    ("name", "options", "good", "bad"), INSTRUCTIONS, ids=[f"{i}-{c[0]}" for i, c in enumerate(INSTRUCTIONS)]
)
def test_an_instruction_is_followed_or_not(name, options, good, bad):
    assert follows(name, good, **options) and not follows(name, bad, **options) and not follows(name, "  ", **options)


def test_all_sixteen_instructions_are_tried_and_give_half_credit():
    assert {case[0] for case in INSTRUCTIONS} == set(CHECKS) and len(CHECKS) == 16
    truth = [("quotation", {}), ("include keywords", {"words": ["art"]})]
    grade = score_instructions(truth, '"a party"', rules=OLD)
    assert grade.score == 1.0
    assert score_instructions(truth, '"a party"', rules=OLD, strict=True).score == 0.25  # whole words only
    assert score_instructions(truth, "a party", rules=OLD).rule == "not followed: quotation"
    with pytest.raises(ValueError, match="IFBench"):
        score_instructions(truth, "x", rules="2025-11-25")
    # Without a release the checks are those of the last one that has them, not of the last one that there is.
    assert score_instructions(truth, "a party") == score_instructions(truth, "a party", rules="2025-05-30")
    with pytest.raises(ValueError, match="no instruction"):
        follows("sing", "x")
    with pytest.raises(TypeError, match="bullets"):
        follows("bullets", "x", many=2)
    assert [half_all_half_share(k, 4) for k in range(5)] == [0, 0.125, 0.25, 0.375, 1]


# --- hostile answers --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def processor_seconds(limit):
    """Ends the test where the block has taken ``limit`` seconds of its own processor time (of the clock's it may take any).

    The limits below are ten times what the slowest answer takes, and more.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise AssertionError(f"more than {limit} seconds of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


TRUTHS = {
    score_web_of_lies: "yes, no, yes", score_zebra: "1, cat", score_house_traversal: "ann bob", score_spatial: "4",
    score_connections: "a,b,c,d,e,f,g,h", score_typos: "A bee. A sea.", score_plot: "Ann wakes. Bob eats. Eve leaves.",
    score_cta: "country", score_table_join: {"a": "x"}, score_table_reformat: "a,b\n1,x", score_multiple_choice: "B",
    score_aime: "025", score_olympiad: "3,1,2", score_amps: "x^2", score_instructions: [(n, o) for n, o, *_ in INSTRUCTIONS],
}  # fmt: skip
OPTIONS = {score_table_reformat: {"target": "csv"}, score_amps: {"limit_s": 0.2}}
MILLION = 1_000_000
HOSTILE = {
    "empty": "", "blank": " \n\t\n", "bytes that are not UTF-8": b"\xff\xfe yes \x80", "a lone surrogate": "\ud800 yes",
    "a million letters": "a" * MILLION, "open tags": "<solution>" * 19_000, "tags on lines": "<solution>\n" * 18_000,
    "closing tags": "</solution>" * 18_000, "open braces": "\\boxed{" * 28_000, "braces": "{" * 100_000 + "}" * 100_000,
    "nested boxes": "\\boxed{" * 20_000 + "1" + "}" * 20_000, "stars": "*" * 200_000, "starred words": "**a " * 50_000,
    "dollars": "$" * 200_000, "brackets": "[" * 100_000, "minus signs": "-" * 199_999 + "1", "fences": "```\n" * 50_000,
    "commas": "1," * 20_000, "full stops": "a." * 100_000, "long sentences": ("abcdefgh " * 5_000 + ". ") * 4,
    "nul": "\x00" * 1000, "powers": "\\boxed{9^9^9^9^9^9}", "a huge power": "\\boxed{(x+1)^{10^{10}}}", "digits": "9" * 150_000,
    "answer lines": "answer:" * 28_000, "open think": "<think>" * 28_000, "spaces": "Here format" + " " * 190_000,
    "a tower of fractions": "\\boxed{" + "\\frac{1}{" * 3000 + "x" + "}" * 3001, "digits that are none": "\\boxed{²,³} answer: ²",
    "html": "<tr><td>" * 25_000, "quotes": '"' * 199_999, "json": '{"a":' * 30_000, "sections": "Part 1 " * 28_000,
}  # fmt: skip


@pytest.mark.parametrize("scorer", TRUTHS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("name", HOSTILE)
def test_any_answer_gets_a_score_and_never_an_exception(scorer, name):
    for strict in (False, True):
        with processor_seconds(20):
            grade = scorer(TRUTHS[scorer], HOSTILE[name], strict=strict, **OPTIONS.get(scorer, {}))
        assert 0.0 <= grade.score <= 1.0 and grade.rule


TABLES = {
    "csv": "a,b\n1,x", "tsv": "a\tb\n1\tx", "json": '{"0": {"a": 1, "b": "x"}}', "jsonl": '{"a": 1, "b": "x"}',
    "html": "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>", "markdown": "| a |\n| --- |\n| 1 |",
}  # fmt: skip
KEYS = [f'{{"k{i}":1}}' for i in range(14_000)]
RAGGED = {"json": "[" + ",".join(KEYS) + "]", "jsonl": "\n".join(KEYS)}
HOSTILE_TABLES = {
    **{f"keys that differ, as {kind}": text for kind, text in RAGGED.items()}, "one wide record": "{" + ",".join(f'"k{i}":1' for i in range(15_000)) + "}" + "\n{}" * 99,
    "one column": "a\n" + "x\n" * 90_000, "many rows": "a,b\n" + "1,x\n" * 48_000, "a header of commas": "," * 190_000,
    "pipes": "|" * 190_000, "lists": '{"a":' + "[" * 900 + "]" * 900 + "}", "an open quote": 'a,b\n"' + "x\n" * 90_000,
    "comments": "<!--" * 48_000, "declarations": "<!" * 90_000, "open tags": "<td a='" * 25_000, "ampersands": "<td>&#1" * 25_000,
    "pieces of a cell": "<td>" + "a</b>" * 38_000, "a script": "<script>" + "</scrip" * 25_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_TABLES)
def test_no_table_takes_long_in_any_format(name):
    assert set(TABLES) == set(FORMATS) and len(HOSTILE_TABLES[name]) < LONGEST
    for kind, truth in TABLES.items():
        for strict in (False, True):
            with processor_seconds(20):
                grade = score_table_reformat(truth, HOSTILE_TABLES[name], target=kind, strict=strict)
            assert grade.score == 0.0 and grade.rule


@pytest.mark.parametrize("kind", RAGGED)
def test_records_with_keys_of_their_own_are_refused_and_the_trace_says_so(kind):
    # n records of one key each: n^2 cells, of which all but n are empty.
    grade = score_table_reformat(TABLES[kind], RAGGED[kind], target=kind)
    assert (
        grade.score == 0.0
        and f"more than {MOST_CELLS:,} cells" in grade.rule
        and read_table(RAGGED[kind], kind) is None
    )
    some = KEYS[:900]  # 810,000 cells are read
    found = read_table("\n".join(some), "jsonl")
    assert (
        len(found.columns) == len(found.rows) == 900 and sum(cell == 1.0 for row in found.rows for cell in row) == 900
    )


class Counted(difflib.SequenceMatcher):
    """Counts the letters that quick ratios look at and the products of lengths that ratios may."""

    letters = products = 0

    def quick_ratio(self):
        Counted.letters += len(self.a)
        return super().quick_ratio()

    def ratio(self):
        Counted.products += len(self.a) * len(self.b)
        return super().ratio()


@pytest.mark.parametrize("size", [4, 27, 600])
def test_many_distinct_sentences_are_counted_up_to_a_limit(size, monkeypatch):
    draw = np.random.default_rng(0)
    write = lambda n: "".join("etaoin shrdlu"[k] for k in draw.integers(0, 13, n)).strip()
    said = [f"{i:04x}{write(size)}" for i in range(190_000 // (size + 6))]
    gold = [write(size) for _ in range(60)]
    monkeypatch.setattr(grading_language.difflib, "SequenceMatcher", Counted)
    Counted.letters = Counted.products = 0
    with processor_seconds(30):
        grade = score_plot(". ".join(gold), ". ".join(said))
    assert 0.0 <= grade.score <= 1.0 and "too long to compare" in grade.rule
    assert Counted.letters <= grading_language._LETTERS and Counted.products <= grading_language._WORK


def test_a_long_and_honest_plot_is_compared_in_full():
    # 66 sentences, the most that the benchmark asks for, each a little changed: difflib's own choice, and said to be exact.
    draw = np.random.default_rng(0)
    words = ["the ship leaks at night", "and her brother", "finds a letter under", "floor", "captain", "who never came"]
    gold = [" ".join(words[k] for k in draw.integers(0, len(words), 6)) for _ in range(66)]
    said = [gold[i].replace("the", "this").replace("night", "noon") for i in draw.permutation(66)]
    expected = [said.index(difflib.get_close_matches(s, said, n=1, cutoff=0.0)[0]) for s in gold]
    assert closest_sentences(gold, said) == (expected, True)


def test_spaces_in_the_mark_of_a_postscript_cost_no_time():
    truth = [("postscript", {"mark": "P. S."})]
    with processor_seconds(5):
        assert score_instructions(truth, "p." + " " * 190_000).score == 0.0
    assert score_instructions(truth, "p .  s . more").score == 1.0 and score_instructions(truth, "P.S.").score == 0.0


@pytest.mark.parametrize("scorer", TRUTHS, ids=lambda s: s.__name__)
def test_a_wrong_call_is_refused_with_a_sentence(scorer):
    rules = {"rules": LATE, **OPTIONS.get(scorer, {})}
    for answer in (None, 3, ["yes"]):
        with pytest.raises(TypeError, match="answer must be a str"):
            scorer(TRUTHS[scorer], answer, **rules)
    for truth in ("", None, 3):
        for answer in ("an answer", ""):
            with pytest.raises((ValueError, TypeError), match=r"truth"):
                scorer(truth, answer, **rules)
    with pytest.raises(ValueError, match="rules must be one of"):
        scorer(TRUTHS[scorer], "x", **{**rules, "rules": "2023-01-01"})
    with pytest.raises(TypeError, match="strict"):
        scorer(TRUTHS[scorer], "x", strict=1, **rules)


def test_releases_are_dates_in_order():
    assert list(RELEASES) == sorted(RELEASES) and check_rules(OLD) == OLD


def test_what_holds_no_right_letter_and_no_word_scores_nothing():
    wrong = score_multiple_choice("B", "I would say C.")
    assert (wrong.score, wrong.rule) == (0.0, "no letter found that is right")
    empty = score_zebra("cat", "?! ...", rules="2024-06-24")
    assert (empty.score, empty.rule) == (0.0, "no word")


def test_numbers_on_the_answer_line_may_wear_dollars_and_braces():
    for said in ("$3$, {1}, <2>", "3, 1, 2", r"\boxed{3}, 1, 2"):
        found = score_olympiad("3,1,2", f"Thus.\nAnswer: {said}")
        assert (found.score, found.rule) == (1.0, "answer line"), said


def test_of_two_tags_with_connections_the_last_words_count():
    words, mixed = "a,b,c,d,e,f,g,h", "a,e,b,f,c,g,d,h"
    said = lambda *rows: " or ".join(f"<solution>{row}</solution>" for row in rows)
    assert score_connections(words, said(mixed, words)).score == 1.0
    assert score_connections(words, said(words, mixed)).score == 0.0
