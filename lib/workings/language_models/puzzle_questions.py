"""Two kinds of puzzle that a program can write and prove to have one answer: webs of lies and zebra puzzles.

A web of lies is a set of equations over yes and no; a zebra puzzle is a set of constraints on orders. Both come with a solver and
with an exhaustive count of answers. Zebra puzzles that are too large for the count go to a search that stops at the second solution. Source: the task descriptions of White et al. 2024
(arXiv 2406.19314), Appendix A; prompts and clues are our own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from workings.checks import as_int, as_numpy_generator

_PLACES = [
    "airport",
    "aquarium",
    "bakery",
    "bridge",
    "castle",
    "cinema",
    "farm",
    "forum",
    "gallery",
    "gym",
    "harbour",
    "hotel",
    "library",
    "market",
    "museum",
    "observatory",
    "park",
    "restaurant",
    "school",
    "skate-park",
    "stadium",
    "station",
    "theater",
    "zoo",
]
_HERRINGS = (
    "The person at the {} has seen a firetruck.", "The person at the {} is thirsty.", "The person at the {} lost a glove.",
    "The person at the {} met an old friend.", "The person at the {} will leave at noon.",
)  # fmt: skip
ATTRIBUTES = (
    ("pet", ("cat", "dog", "parrot", "rabbit", "turtle")),
    ("hobby", ("chess", "drawing", "gardening", "running", "singing")),
    ("food", ("bread", "curry", "pasta", "salad", "soup")),
    ("job", ("baker", "doctor", "judge", "pilot", "teacher")),
)
_CELLS = 2_000_000  # assignments that are counted one by one

Fact = tuple[int, bool]  # this person tells the truth: yes or no
Saying = tuple[int, int, bool]  # this person says of that one: tells the truth (True) or lies
Clue = tuple[str, tuple[int, int], tuple[int, int]]  # kind, (attribute, value), (attribute, value) or (place, 0)


class Question(NamedTuple):
    """A prompt, its one right answer as the graders want it, and what the solver needs."""

    prompt: str
    truth: Any
    meta: dict[str, Any]


def solve_web_of_lies(people: int, facts: Sequence[Fact], sayings: Sequence[Saying]) -> list[bool | None]:
    """Who tells the truth, by unit propagation: True, False, or None where nothing follows.

    "A says that B tells the truth" means that A and B are alike, "A says that B lies" that they differ; what is known of one is
    known of the other. Raises ``ValueError`` where the statements contradict each other.
    """
    known: list[bool | None] = [None] * as_int(people, "people", minimum=1)
    links: dict[int, list[tuple[int, bool]]] = {}
    for a, b, alike in sayings:
        for one, other in ((a, b), (b, a)):
            links.setdefault(_person(one, people), []).append((_person(other, people), bool(alike)))
    waiting = [(_person(a, people), bool(value)) for a, value in facts]
    while waiting:
        person, value = waiting.pop()
        if known[person] is not None:
            if known[person] != value:
                raise ValueError(f"the statements contradict each other about person {person}.")
            continue
        known[person] = value
        waiting += [(other, value == alike) for other, alike in links.get(person, ())]
    return known


def _person(value: int, people: int) -> int:
    return as_int(value, "person", minimum=0, maximum=people - 1)


def web_of_lies_answers(
    people: int, facts: Sequence[Fact], sayings: Sequence[Saying], asked: Sequence[int]
) -> set[tuple[bool, ...]]:
    """Every answer about the people ``asked`` that some assignment allows, by trying all ``2**people``. Up to 16 people."""
    people = as_int(people, "people", minimum=1, maximum=16)
    asked = [_person(a, people) for a in asked]
    codes = np.arange(2**people)
    truth = (codes[:, None] >> np.arange(people)) & 1 == 1  # (2**people, people)
    good = np.ones(len(codes), dtype=bool)
    for a, value in facts:
        good &= truth[:, _person(a, people)] == bool(value)
    for a, b, alike in sayings:
        good &= (truth[:, _person(a, people)] == truth[:, _person(b, people)]) == bool(alike)
    return {tuple(bool(v) for v in row) for row in truth[good][:, asked]}


def web_of_lies(rng: np.random.Generator, people: int = 9, herrings: int = 4, asked: int = 3) -> Question:
    """A web of lies: who is where, who says what of whom, ``herrings`` sentences that say nothing, and ``asked`` people.

    One person's honesty is told; a random tree of sayings carries it to everybody, so that exactly one answer follows. ``truth`` is like
    ``"yes, no, yes"``; ``meta`` holds facts, sayings and asked for the solvers. 4 to 16 people.
    """
    as_numpy_generator(rng, "rng")
    people = as_int(people, "people", minimum=4, maximum=16)
    herrings = as_int(herrings, "herrings", minimum=0, maximum=19)
    asked = as_int(asked, "asked", minimum=1, maximum=people)
    places = [_PLACES[i] for i in rng.permutation(len(_PLACES))[:people]]
    honest = rng.random(people) < 0.5
    order = [int(i) for i in rng.permutation(people)]
    sayings: list[Saying] = []
    for i in range(1, people):
        other = order[int(rng.integers(i))]
        a, b = (order[i], other) if rng.random() < 0.5 else (other, order[i])
        sayings.append((a, b, bool(honest[a] == honest[b])))
    facts: list[Fact] = [(order[0], bool(honest[order[0]]))]
    chosen = [int(i) for i in rng.permutation(people)[:asked]]
    word = lambda yes: "tells the truth" if yes else "lies"
    lines = [
        f"The person at the {places[a]} says the person at the {places[b]} {word(alike)}." for a, b, alike in sayings
    ]
    lines += [f"The person at the {places[a]} {word(value)}." for a, value in facts]
    for _ in range(herrings):
        lines.append(_HERRINGS[int(rng.integers(len(_HERRINGS)))].format(places[int(rng.integers(people))]))
    lines = [lines[i] for i in rng.permutation(len(lines))]
    wanted = " ".join(f"Does the person at the {places[a]} tell the truth?" for a in chosen)
    prompt = (
        "Each person always tells the truth or always lies. "
        + " ".join(lines)
        + f" {wanted} Answer yes or no for each, "
        "between commas, in <solution></solution>."
    )
    truth = ", ".join("yes" if honest[a] else "no" for a in chosen)
    return Question(
        prompt, truth, {"people": people, "facts": facts, "sayings": sayings, "asked": chosen, "places": places}
    )


def _orders(people: int) -> np.ndarray:
    """All orders: (people!, people), the place of each value."""
    return np.array(list(itertools.permutations(range(people))))


def _holds(kind: str, a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    tests = {
        "same": lambda: a == b, "not same": lambda: a != b, "left of": lambda: a < b, "just left of": lambda: a + 1 == b,
        "next to": lambda: np.abs(a - b) == 1, "at": lambda: a == b, "not at": lambda: a != b,
    }  # fmt: skip
    if kind not in tests:
        raise ValueError(f"a clue's kind must be one of {', '.join(tests)}, got {kind!r}.")
    return tests[kind]()


def zebra_solutions(people: int, attributes: int, clues: Sequence[Clue]) -> np.ndarray:
    """Every assignment that fits all ``clues``: (solutions, attributes, people), the place of each value, by exhaustive search.

    A clue is ``(kind, (attribute, value), (attribute, value))``, or with kind "at" or "not at" ``(kind, (attribute, value), (place, 0))``. At
    most two million assignments ``(people!)**attributes`` are searched; ``ValueError`` beyond.
    """
    people, attributes = as_int(people, "people", minimum=1), as_int(attributes, "attributes", minimum=1)
    if people > 8 or math.factorial(people) ** attributes > _CELLS:
        raise ValueError(
            f"{people} people with {attributes} attributes have more than {_CELLS:,} assignments; take fewer, or search_zebra."
        )
    orders = _orders(people)
    fits = np.ones((len(orders),) * attributes, dtype=bool)
    along = lambda values, axis: values.reshape([-1 if i == axis else 1 for i in range(attributes)])
    for kind, (i, v), other in clues:
        first = along(
            orders[:, as_int(v, "value", minimum=0, maximum=people - 1)],
            as_int(i, "attribute", minimum=0, maximum=attributes - 1),
        )
        if kind in ("at", "not at"):
            fits &= _holds(kind, first, as_int(other[0], "place", minimum=0, maximum=people - 1))
        else:
            j, w = other
            fits &= _holds(
                kind,
                first,
                along(
                    orders[:, as_int(w, "value", minimum=0, maximum=people - 1)],
                    as_int(j, "attribute", minimum=0, maximum=attributes - 1),
                ),
            )
    return orders[np.argwhere(fits)]


def search_zebra(people: int, attributes: int, clues: Sequence[Clue], most: int = 2) -> np.ndarray:
    """Assignments that fit all ``clues``, at most ``most`` of them: (found, attributes, people), the place of each value.

    Clues are those of :func:`zebra_solutions`, and with ``most`` large enough the same assignments are found, in another order. Places that a
    clue rules out are struck; where that leaves a choice, the value with the fewest places is tried in each of them, and a try that
    leaves a value without a place is taken back. With ``most=2``, one assignment found is the proof that it is the only one. Up to 8
    people and 8 attributes; the time is short for puzzles with one solution, and has no useful bound in general.
    """
    people, attributes = (
        as_int(people, "people", minimum=1, maximum=8),
        as_int(attributes, "attributes", minimum=1, maximum=8),
    )
    most = as_int(most, "most", minimum=1)
    value = lambda pair: (
        as_int(pair[0], "attribute", minimum=0, maximum=attributes - 1) * people
        + as_int(pair[1], "value", minimum=0, maximum=people - 1)
    )
    places = np.arange(people)
    start = [2**people - 1] * (attributes * people)  # bit p of a value's number: it may stand in place p
    links = []  # (value, value, places of the first -> places left to the second)
    for kind, first, other in clues:
        x = value(first)
        if kind in ("at", "not at"):
            start[x] &= _bits(_holds(kind, places, as_int(other[0], "place", minimum=0, maximum=people - 1)))
            continue
        fits, y = _holds(kind, places[:, None], places), value(other)
        if x == y:
            start[x] &= _bits(fits.diagonal())
        else:
            links += [(x, y, _left(fits)), (y, x, _left(fits.T))]
    rows = [range(i * people, (i + 1) * people) for i in range(attributes)]
    apart = _left(places[:, None] != places)
    links += [(x, y, apart) for row in rows for x, y in itertools.permutations(row, 2)]
    found: list[list[int]] = []

    def visit(left: list[int]) -> None:
        if not _strike(left, links):
            return
        choices = [(bits.bit_count(), x) for x, bits in enumerate(left) if bits.bit_count() > 1]
        if not choices:
            found.append([bits.bit_length() - 1 for bits in left])
            return
        _, x = min(choices)
        for p in range(people):
            if left[x] >> p & 1 and len(found) < most:
                visit([1 << p if y == x else bits for y, bits in enumerate(left)])

    visit(start)
    return np.array(found, dtype=int).reshape(-1, attributes, people)


def _bits(flags: np.ndarray) -> int:
    return sum(1 << int(p) for p in np.flatnonzero(flags))


def _left(fits: np.ndarray) -> list[int]:
    """For every set of places of one value the places that it leaves to the other; ``fits`` (people, people)."""
    rows = [_bits(row) for row in fits]
    table = [0] * 2 ** len(rows)
    for places in range(1, len(table)):
        lowest = places & -places
        table[places] = table[places ^ lowest] | rows[lowest.bit_length() - 1]
    return table


def _strike(left: list[int], links: Sequence[tuple[int, int, list[int]]]) -> bool:
    """Strike from ``left``, in place, what no link allows, until nothing changes; whether every value keeps a place."""
    changed = True
    while changed:
        changed = False
        for x, y, allowed in links:
            kept = left[y] & allowed[left[x]]
            if kept != left[y]:
                left[y], changed = kept, True
                if not kept:
                    return False
    return all(left)


def _chosen_by_count(people: int, attributes: int, pool: Sequence[Clue], order: np.ndarray) -> tuple[list[Clue], bool]:
    """Clues of ``pool`` that leave one solution, and whether they do: each taken one lowers the number of solutions."""
    clues: list[Clue] = []
    left = None
    for at in order:
        found = zebra_solutions(people, attributes, [*clues, pool[at]])
        if left is None or len(found) < left:  # a clue that says nothing new is not taken
            clues.append(pool[at])
            left = len(found)
        if left == 1:
            break
    return clues, left == 1


def _chosen_by_search(people: int, attributes: int, pool: Sequence[Clue], order: np.ndarray, solution: np.ndarray) -> tuple[list[Clue], bool]:  # fmt: skip
    """As :func:`_chosen_by_count`, without counting: each clue taken refutes another solution that was found."""
    clues: list[Clue] = []
    while True:
        others = [s for s in search_zebra(people, attributes, clues) if not np.array_equal(s, solution)]
        if not others:
            return clues, True
        new = next((pool[at] for at in order if not _fits(pool[at], others[0])), None)
        if new is None:
            return clues, False
        clues.append(new)


def _fits(clue: Clue, places: np.ndarray) -> bool:
    kind, first, other = clue
    return bool(_holds(kind, places[first], other[0] if kind in ("at", "not at") else places[other]))


def zebra(rng: np.random.Generator, people: int = 4, attributes: int = 3, asked: int = 4) -> Question:
    """A zebra puzzle with exactly one solution and no clue to spare: taking any clue away leaves several solutions.

    2 to 5 people in a row with 2 to 4 attributes. ``truth`` lists ``asked`` answers between commas. ``meta`` holds clues and
    solution (attributes, people): the place of each value. Solutions are counted (:func:`zebra_solutions`) where there are at most two
    million assignments, and searched for (:func:`search_zebra`) where there are more: 5 people with 4 attributes.
    """
    as_numpy_generator(rng, "rng")
    people = as_int(people, "people", minimum=2, maximum=5)
    attributes = as_int(attributes, "attributes", minimum=2, maximum=4)
    asked = as_int(asked, "asked", minimum=1, maximum=people * attributes)
    solution = np.array([rng.permutation(people) for _ in range(attributes)])
    values = [(i, v) for i in range(attributes) for v in range(people)]
    pool: list[Clue] = []
    for (i, v), (j, w) in itertools.permutations(values, 2):
        a, b = solution[i, v], solution[j, w]
        kinds = ("same", "left of", "just left of", "next to") if i != j else ("left of", "just left of", "next to")
        if (i, v) < (j, w) or "left" in "".join(kinds):
            pool += [
                (kind, (i, v), (j, w))
                for kind in kinds
                if _holds(kind, a, b) and not (kind in ("same", "next to") and (i, v) > (j, w))
            ]
    pool += [
        (kind, (i, v), (p, 0)) for i, v in values for p in range(people) for kind in ("not at",) if solution[i, v] != p
    ]
    order = rng.permutation(len(pool))
    if math.factorial(people) ** attributes <= _CELLS:
        clues, single = _chosen_by_count(people, attributes, pool, order)
        solve = zebra_solutions
    else:
        clues, single = _chosen_by_search(people, attributes, pool, order, solution)
        solve = search_zebra
    if not single:  # mirror images may fit every clue about neighbours: one place settles it
        clues.append(("at", (0, 0), (int(solution[0, 0]), 0)))
    for clue in list(clues):
        rest = [other for other in clues if other is not clue]
        if len(solve(people, attributes, rest)) == 1:
            clues = rest
    names = [ATTRIBUTES[i] for i in range(attributes)]
    who = lambda value: f"the person with the {names[value[0]][0]} {names[value[0]][1][value[1]]}"
    text = {
        "same": "is also", "left of": "stands somewhere to the left of", "just left of": "stands directly to the left of",
        "next to": "stands next to",
    }  # fmt: skip
    lines = [
        f"{who(a).capitalize()} {'is' if kind == 'at' else 'is not'} in place {b[0] + 1}." if kind in ("at", "not at")
        else f"{who(a).capitalize()} {text[kind]} {who(b)}."
        for kind, a, b in clues
    ]  # fmt: skip
    cells = [divmod(int(c), people) for c in rng.permutation(people * attributes)[:asked]]
    wanted = " ".join(f"What is the {names[i][0]} of the person in place {p + 1}?" for i, p in cells)
    by_place = np.argsort(solution, axis=1)
    truth = ", ".join(names[i][1][by_place[i, p]] for i, p in cells)
    domain = " ".join(f"{name.capitalize()}: {', '.join(options[:people])}." for name, options in names)
    prompt = (
        f"{people} people stand in a row, places 1 to {people} from left to right. Each has one of each, all different. {domain} "
        + " ".join(lines) + f" {wanted} Answer between commas in <solution></solution>."
    )  # fmt: skip
    return Question(prompt, truth, {"people": people, "attributes": attributes, "clues": clues, "solution": solution})
