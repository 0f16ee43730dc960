"""Every generated question has the answer it comes with, and no other."""

import itertools

import numpy as np
import pytest

from workings.language_models import text_questions as text
from workings.language_models.equivalence import evaluate_expression, parse_expression
from workings.language_models.grading_language import score_plot, score_typos
from workings.language_models.grading_tables import read_table, same_tables, score_table_join
from workings.language_models.puzzle_questions import (
    solve_web_of_lies,
    web_of_lies,
    web_of_lies_answers,
    zebra,
    zebra_solutions,
)

SEEDS = range(12)
rng = np.random.default_rng


@pytest.mark.parametrize("seed", SEEDS)
def test_a_web_of_lies_has_one_answer_and_propagation_finds_it(seed):
    question = web_of_lies(rng(seed), people=4 + seed, herrings=seed)
    m = question.meta
    answers = web_of_lies_answers(m["people"], m["facts"], m["sayings"], m["asked"])
    found = solve_web_of_lies(m["people"], m["facts"], m["sayings"])
    assert answers == {tuple(found[a] for a in m["asked"])}
    assert question.truth == ", ".join("yes" if found[a] else "no" for a in m["asked"])


def test_without_its_fact_a_web_of_lies_has_two_answers_and_nothing_follows():
    m = web_of_lies(rng(0)).meta
    assert len(web_of_lies_answers(m["people"], [], m["sayings"], m["asked"])) == 2
    assert solve_web_of_lies(m["people"], [], m["sayings"]) == [None] * m["people"]
    with pytest.raises(ValueError, match="contradict"):
        solve_web_of_lies(2, [(0, True)], [(0, 1, True), (1, 0, False)])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_zebra_puzzle_has_one_solution_and_no_clue_to_spare(seed):
    people, attributes = 2 + seed % 3, 2 + seed % 2
    question = zebra(rng(seed), people, attributes, asked=2)
    clues = question.meta["clues"]
    found = zebra_solutions(people, attributes, clues)
    assert len(found) == 1 and np.array_equal(found[0], question.meta["solution"])
    for clue in clues:
        assert len(zebra_solutions(people, attributes, [c for c in clues if c is not clue])) > 1


def test_the_search_is_that_of_three_loops():
    clues = [
        ("left of", (0, 0), (1, 2)),
        ("same", (0, 1), (1, 1)),
        ("not at", (1, 0), (2, 0)),
        ("next to", (0, 2), (0, 1)),
        ("just left of", (1, 1), (1, 2)),
    ]
    count = 0
    for a, b in itertools.product(itertools.permutations(range(3)), repeat=2):
        count += a[0] < b[2] and a[1] == b[1] and b[0] != 2 and abs(a[2] - a[1]) == 1 and b[1] + 1 == b[2]
    assert len(zebra_solutions(3, 2, clues)) == count > 0
    assert len(zebra_solutions(3, 2, [])) == 36


@pytest.mark.parametrize("seed", SEEDS)
def test_texts_tables_and_formulae_have_their_answer(seed):
    q = text.typos(rng(seed))
    assert text.mend_typos(q.meta["wrong"]) == q.truth and score_typos(q.truth, q.truth, strict=True).score == 1
    q = text.plot(rng(seed), 6)
    assert sorted(q.meta["order"]) == list(range(6)) and score_plot(q.truth, q.truth).score == 1
    q = text.connections(rng(seed), 4)
    words = q.truth.split(", ")
    assert sorted(words) == sorted(q.meta["shown"]) and all(len(text.group_of(word)) == 1 for word in words)
    assert all(len({text.group_of(w)[0] for w in words[i : i + 4]}) == 1 for i in range(0, 16, 4))
    q = text.table_join(rng(seed))
    assert (
        text.solve_join(**q.meta) == {a: [b] for a, b in q.truth.items()}
        and score_table_join(q.truth, str(q.truth)).score == 1
    )
    q = text.table_reformat(rng(seed))
    for kind in ("csv", "tsv", "json", "jsonl", "html", "markdown"):
        assert same_tables(read_table(text.write_table(q.meta["table"], kind), kind), q.meta["table"])
    q = text.derivative(rng(seed), terms=1 + seed % 3)
    f, g = parse_expression(q.meta["expression"]), parse_expression(q.truth)
    for x in (0.3, 0.8):  # central difference: error of order h^2 f''' / 6
        h = 1e-5
        slope = (evaluate_expression(f, {"x": x + h}) - evaluate_expression(f, {"x": x - h})).real / (2 * h)
        assert slope == pytest.approx(evaluate_expression(g, {"x": x}).real, rel=1e-5)
    q = text.masked_order(rng(seed), 12, 0.5)
    listed = [q.meta["formulae"][int(k) - 1] for k in q.truth.split(",")]
    assert [int(line.split("(")[1].split(")")[0]) for line in listed] == q.meta["hidden"].tolist()


def test_no_misspelling_is_a_word_of_the_table():
    assert not set(text.MISSPELLINGS) & set(text.MISSPELLINGS.values())
    assert len(set(text.MISSPELLINGS.values())) == len(text.MISSPELLINGS)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: web_of_lies(rng(0), people=3), "people"), (lambda: web_of_lies(rng(0), asked=10), "asked"),
        (lambda: zebra(rng(0), 5, 4), "assignments"), (lambda: zebra_solutions(3, 2, [("odd", (0, 0), (1, 0))]), "kind"),
        (lambda: zebra_solutions(3, 2, [("same", (0, 3), (1, 0))]), "value"), (lambda: text.plot(rng(0), 1), "sentences"),
        (lambda: text.masked_order(rng(0), 5, 0.0), "share"), (lambda: text.connections(rng(0), 7), "groups"),
        (lambda: text.table_join(rng(0), 3), "rows"), (lambda: solve_web_of_lies(2, [(2, True)], []), "person"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_are_named(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_a_seed_is_no_generator():
    for make in (
        web_of_lies,
        zebra,
        text.typos,
        text.plot,
        text.connections,
        text.table_join,
        text.table_reformat,
        text.derivative,
        text.masked_order,
    ):
        with pytest.raises(TypeError, match="Generator"):
            make(0)
