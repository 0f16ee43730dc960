"""Every generated question has the answer it comes with, and no other."""

import itertools
import re

import numpy as np
import pytest

from workings.language_models import text_questions as text
from workings.language_models.equivalence import evaluate_expression, parse_expression
from workings.language_models.grading_language import score_plot, score_typos
from workings.language_models.grading_mathematics import score_amps, score_olympiad
from workings.language_models.grading_tables import (
    Table,
    read_table,
    same_tables,
    score_table_join,
    score_table_reformat,
    table_formats,
)
from workings.language_models.puzzle_questions import (
    ATTRIBUTES,
    search_zebra,
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


@pytest.mark.parametrize("seed", range(60))
def test_the_search_finds_what_the_exhaustive_count_finds(seed):
    draw, (people, attributes) = rng(seed), [(2, 2), (3, 2), (3, 3), (4, 2), (4, 3), (5, 2)][seed % 6]
    all_clues = zebra(draw, people, attributes).meta["clues"]
    kept = [all_clues[i] for i in draw.permutation(len(all_clues))[: int(draw.integers(len(all_clues) + 1))]]
    one, other, place = ((int(draw.integers(attributes)), int(draw.integers(people))) for _ in range(3))
    kind = ("same", "not same", "left of", "just left of", "next to")[seed % 5]
    loose = [(kind, one, other), (("at", "not at")[seed % 2], one, (place[1], 0))]  # may contradict the others
    for clues in (kept, [*kept, *loose], loose):
        counted = zebra_solutions(people, attributes, clues)
        found = search_zebra(people, attributes, clues, most=len(counted) + 1)
        assert sorted(map(np.ndarray.tolist, found)) == sorted(map(np.ndarray.tolist, counted))
        assert len(search_zebra(people, attributes, clues)) == min(len(counted), 2)


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
    q = text.journey(rng(seed), 2 + seed % 14)
    sentences = q.prompt.split("<PLOT_SUMMARY>. ")[1].rstrip(".").split(". ")  # as a reader gets them
    (only,) = text.solve_journey(sentences, most=5)
    assert ". ".join(sentences[i] for i in only) + "." == q.truth and score_plot(q.truth, q.truth).score == 1
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


# --- solved from the prompt alone, as a model has to ------------------------------------------------------------------


def both(score, truth, answer, **options):
    return [score(truth, answer, strict=strict, **options).score for strict in (False, True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_read_from_its_prompt_is_the_one_that_is_right(seed):
    q = text.table_reformat(rng(seed), rows=2 + seed % 5)
    source, target = table_formats(q.prompt)
    table = read_table(q.prompt.split("Input Table: ")[1], source)
    assert both(score_table_reformat, q.truth, text.write_table(table, target), target=target) == [1, 1]
    changed = [list(row) for row in table.rows]
    changed[0][-1] += 1.0
    for wrong in (table.rows[::-1], table.rows[1:], [*table.rows, table.rows[0]], changed):
        written = text.write_table(Table(table.columns, wrong), target)
        assert both(score_table_reformat, q.truth, written, target=target) == [0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_derivative_follows_from_its_prompt_and_no_neighbour_is_equal_to_it(seed):
    q = text.derivative(rng(seed), terms=1 + seed % 3)
    terms = re.findall(r"(\d+)x\^\{(\d+)\}\\(sin|cos|exp)\((\d+)x\)", q.prompt)
    assert len(terms) == 1 + seed % 3
    slope = {"sin": "{}*cos({}x)", "cos": "(-{})*sin({}x)", "exp": "{}*exp({}x)"}  # the chain rule
    ours = [f"{a}x^{{{n}}}*({n}/x*\\{f}({b}x) + {slope[f].format(b, b)})" for a, n, f, b in terms]  # the product rule
    answer = " + ".join(ours).replace("*cos", "*\\cos").replace("*sin", "*\\sin").replace("*exp", "*\\exp")
    assert both(score_amps, q.truth, f"\\boxed{{{answer}}}", symbolic=False) == [1, 1]
    for number in re.finditer(r"\d+", q.truth):  # each number of the answer one larger, alone
        wrong = q.truth[: number.start()] + str(int(number[0]) + 1) + q.truth[number.end() :]
        assert both(score_amps, q.truth, f"\\boxed{{{wrong}}}", symbolic=False) == [0, 0]


@pytest.mark.parametrize(("formulae", "share"), [(8, 0.5), (6, 1.0), (20, 0.3), (2, 0.5)])
def test_of_all_orders_of_masked_formulae_one_makes_the_proof_hold(formulae, share):
    q = text.masked_order(rng(formulae), formulae, share)
    lines = re.findall(r"For t = (\d+): (?:s\(\d+\) = (\d+)|<missing>)\.", q.prompt)
    options = [int(value) for value in re.findall(r"<expression \d+> s\(\d+\) = (\d+)", q.prompt)]
    places = [int(t) for t, value in lines if not value]
    assert len(lines) == formulae and len(places) == len(options)
    shifts = {int(value) - int(t) ** 2 for t, value in lines if value}
    fits = [
        order
        for order in itertools.permutations(range(len(options)))
        if len(shifts | {options[k] - t**2 for t, k in zip(places, order, strict=True)}) == 1  # s(t) = t^2 + c, one c
    ]
    assert [",".join(str(k + 1) for k in order) for order in fits] == [q.truth]
    assert both(score_olympiad, q.truth, f"Answer: {q.truth}") == [1, 1]


@pytest.mark.parametrize(("people", "attributes"), [(5, 3), (4, 4), (5, 4)])
def test_the_largest_zebras_have_one_solution_which_their_prompt_gives(people, attributes):
    q = zebra(rng(0), people, attributes)
    names = [name for name, _ in ATTRIBUTES]
    value = lambda name, word: (names.index(name), ATTRIBUTES[names.index(name)][1].index(word))
    kinds = {"is also": "same", "stands somewhere to the left of": "left of", "stands directly to the left of": "just left of", "stands next to": "next to"}  # fmt: skip
    pairs = re.findall(
        rf"The person with the (\w+) (\w+) ({'|'.join(kinds)}) the person with the (\w+) (\w+)\.", q.prompt
    )
    clues = [(kinds[kind], value(a, b), value(c, d)) for a, b, kind, c, d in pairs]
    for a, b, word, place in re.findall(r"The person with the (\w+) (\w+) (is|is not) in place (\d)\.", q.prompt):
        clues.append(("at" if word == "is" else "not at", value(a, b), (int(place) - 1, 0)))
    assert sorted(clues) == sorted(q.meta["clues"])
    (found,) = search_zebra(people, attributes, clues)  # (attributes, people)
    assert np.array_equal(found, q.meta["solution"])
    for clue in clues:
        assert len(search_zebra(people, attributes, [c for c in clues if c is not clue])) == 2
    asked = re.findall(r"What is the (\w+) of the person in place (\d)\?", q.prompt)
    said = [ATTRIBUTES[names.index(a)][1][found[names.index(a)].tolist().index(int(p) - 1)] for a, p in asked]
    assert ", ".join(said) == q.truth


def test_no_misspelling_is_a_word_of_the_table():
    assert not set(text.MISSPELLINGS) & set(text.MISSPELLINGS.values())
    assert len(set(text.MISSPELLINGS.values())) == len(text.MISSPELLINGS)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: web_of_lies(rng(0), people=3), "people"), (lambda: web_of_lies(rng(0), asked=10), "asked"),
        (lambda: zebra_solutions(5, 4, []), "assignments"), (lambda: zebra_solutions(3, 2, [("odd", (0, 0), (1, 0))]), "kind"),
        (lambda: zebra_solutions(3, 2, [("same", (0, 3), (1, 0))]), "value"),
        (lambda: search_zebra(3, 2, [("odd", (0, 0), (1, 0))]), "kind"), (lambda: search_zebra(3, 2, [("at", (0, 0), (3, 0))]), "place"),
        (lambda: search_zebra(3, 2, [], most=0), "most"), (lambda: search_zebra(9, 2, []), "people"), (lambda: zebra(rng(0), 6, 4), "people"), (lambda: text.plot(rng(0), 1), "sentences"),
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


def test_neighbours_may_stand_on_either_side():
    # of the 6 orders of three people 4 put the first two next to each other, 3 the first left of the second, 2 just left
    count = lambda kind: len(zebra_solutions(3, 1, [(kind, (0, 0), (0, 1))]))
    assert [count(kind) for kind in ("next to", "left of", "just left of")] == [4, 3, 2]


def test_derivatives_have_every_factor_and_every_power_that_they_may_have():
    prompts = [text.derivative(rng(k)).prompt for k in range(200)]  # 400 terms, 4 values each
    terms = [term for prompt in prompts for term in re.findall(r"\d+x\^\{(\d+)\}\\\w+\((\d+)x\)", prompt)]
    assert [set(map(int, column)) for column in zip(*terms, strict=True)] == [{2, 3, 4, 5}] * 2


def test_orders_of_a_journey_are_those_of_all_permutations():
    for seed in range(30):
        draw = rng(seed)
        size, places = int(draw.integers(1, 6)), ("inn", "mill", "well")
        moves = [(int(draw.integers(2)), *draw.permutation(3)[:2].tolist()) for _ in range(size)]
        told = [f"Ada takes the {('map', 'clock')[t]} from the {places[a]} to the {places[b]}" for t, a, b in moves]
        follows = lambda one, two: one[0] == two[0] and one[2] == two[1]
        every = [
            list(order)
            for order in itertools.permutations(range(size))
            if all(follows(moves[i], moves[j]) for i, j in itertools.pairwise(order))
        ]
        assert sorted(text.solve_journey(told, most=len(every) + 1)) == sorted(every)
        assert len(text.solve_journey(told)) == min(len(every), 2)
    for bad in ([], ["Ada sleeps"], ["Ada takes the map from the inn"]):
        with pytest.raises(ValueError, match="takes the"):
            text.solve_journey(bad)
