"""Questions about texts, tables and formulae that a program can write together with their one right answer.

Typos, plots to unscramble, connections, joins, reformatting, derivatives, and proofs with masked formulae: the generators take
``(rng, **size)`` and return a :class:`~workings.language_models.puzzle_questions.Question`. For all of them a ``solve_*`` or a check in
the tests finds the answer from the question alone, and no other; for plots where each sentence takes a thing on from where the one before
has left it (:func:`journey`). The sentences of a free plot (:func:`plot`) are told in one order, and a reader may find another as good. Source: the task descriptions of White et al. 2024 (arXiv 2406.19314), Appendix A; texts and tables are our own.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workings.checks import as_int, as_numpy_generator, one_of
from workings.language_models.grading_tables import FORMATS, Table
from workings.language_models.puzzle_questions import Question

MISSPELLINGS = {
    "because": "becuase", "believe": "beleive", "different": "diffrent", "environment": "enviroment", "experiment": "experiement",
    "government": "goverment", "knowledge": "knowlege", "language": "langauge", "measure": "mesure", "necessary": "neccessary",
    "particular": "particuler", "people": "poeple", "probably": "probaly", "receive": "recieve", "separate": "seperate",
    "several": "severel", "their": "thier", "through": "throught", "until": "untill", "usually": "usualy", "which": "wich",
    "where": "whre", "without": "witout", "written": "writen",
}  # fmt: skip
"""A word and how it is often misspelt; no misspelling is a word of the table."""

_SUBJECTS = ("The people", "Several teams", "The authors", "Two groups", "The committee")
_VERBS = ("measure", "receive", "believe", "separate", "need")
_OBJECTS = (
    "a different language", "the particular experiment", "their written knowledge", "the necessary environment",
    "what the government said",
)  # fmt: skip
_ENDS = ("because it helps", "until the end", "without delay", "through the year", "where it is usually done")

_EVENTS = (
    "Ada finds a letter under the floor", "The letter names a ship that never arrived", "Her brother laughs at the story",
    "An old sailor remembers the captain's name", "Ada sells the family clock to pay for a boat",
    "The boat leaks on the second night", "They land on an island without trees", "A stone circle hides a rusty chest",
    "The chest holds only seeds and a map", "Her brother plants the seeds in secret", "A storm keeps them for eleven days",
    "The plants turn out to be tea", "The sailor confesses that he was the captain", "Ada forgives him at the harbour",
    "The letter goes back under the floor",
)  # fmt: skip

_CARRIERS = ("Ada", "Her brother", "The sailor", "A pedlar", "The miller", "Her aunt", "A nun", "The ferryman")
_THINGS = ("letter", "map", "lantern", "chest", "violin", "clock")
_PLACES = (
    "abbey", "bakery", "castle", "chapel", "farm", "ferry", "harbour", "inn", "island", "lighthouse", "market", "mill", "orchard",
    "school", "tower", "well",
)  # fmt: skip
_CARRIED = re.compile(r"takes the (\w+) from the (\w+) to the (\w+)")

_GROUPS = {
    "metals": ("copper", "iron", "lead", "nickel", "silver", "zinc"),
    "rivers": ("danube", "ganges", "nile", "rhine", "seine", "volga"),
    "trees": ("ash", "beech", "elm", "larch", "oak", "willow"),
    "card games": ("bridge", "hearts", "poker", "rummy", "snap", "whist"),
    "fabrics": ("cotton", "linen", "silk", "tweed", "velvet", "wool"),
    "currencies": ("dinar", "dollar", "peso", "rand", "rupee", "yen"),
}

_COLUMNS = {
    "city": ("Cairo", "Lima", "Oslo", "Paris", "Quito", "Rome", "Seoul", "Tunis", "Turin", "Vienna"),
    "animal": ("bear", "crane", "eel", "frog", "goat", "hare", "lynx", "mole", "otter", "wren"),
    "metal": ("copper", "gold", "iron", "lead", "nickel", "silver", "tin", "zinc", "cobalt", "titanium"),
    "planet": ("Ceres", "Earth", "Eris", "Jupiter", "Mars", "Mercury", "Neptune", "Saturn", "Uranus", "Venus"),
}


def typos(rng: np.random.Generator, sentences: int = 3) -> Question:
    """A short text in which each word of :data:`MISSPELLINGS` is misspelt with a chance drawn from 0.5 to 0.7.

    ``truth`` is the text before. 1 to 20 sentences.
    """
    as_numpy_generator(rng, "rng")
    sentences = as_int(sentences, "sentences", minimum=1, maximum=20)
    pick = lambda options: options[int(rng.integers(len(options)))]
    text = " ".join(f"{pick(_SUBJECTS)} {pick(_VERBS)} {pick(_OBJECTS)} {pick(_ENDS)}." for _ in range(sentences))
    chance = rng.uniform(0.5, 0.7)
    words = re.split(r"(\W+)", text)
    wrong = [MISSPELLINGS[w] if w in MISSPELLINGS and rng.random() < chance else w for w in words]
    prompt = f"Mend the spelling and change nothing else. Answer in <solution></solution>. {''.join(wrong)}"
    return Question(prompt, text, {"wrong": "".join(wrong), "chance": float(chance)})


def mend_typos(text: str) -> str:
    """``text`` with the misspellings of :data:`MISSPELLINGS` mended: the answer of :func:`typos`."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}.")
    right = {wrong: word for word, wrong in MISSPELLINGS.items()}
    return "".join(right.get(word, word) for word in re.split(r"(\W+)", text))


def plot(rng: np.random.Generator, sentences: int = 9) -> Question:
    """The sentences of a plot in random order; ``truth`` is the plot. 2 to 15 sentences. ``meta["order"]``: which one is shown where.

    That the order is the only sensible one is not proved, and cannot be by a program: a sentence may make sense in two places. :func:`journey`
    makes plots for which it can.
    """
    as_numpy_generator(rng, "rng")
    sentences = as_int(sentences, "sentences", minimum=2, maximum=len(_EVENTS))
    chosen = np.sort(rng.permutation(len(_EVENTS))[:sentences])
    order = rng.permutation(sentences)
    shown = ". ".join(_EVENTS[chosen[i]] for i in order) + "."
    truth = ". ".join(_EVENTS[i] for i in chosen) + "."
    return Question(f"Put these sentences in order, after <PLOT_SUMMARY>. {shown}", truth, {"order": order})


def journey(rng: np.random.Generator, sentences: int = 9) -> Question:
    """A plot with one order only: a thing is taken from place to place, and no place is come to twice. 2 to 15 sentences.

    As :func:`plot`; :func:`solve_journey` finds the order from the sentences alone.
    """
    as_numpy_generator(rng, "rng")
    sentences = as_int(sentences, "sentences", minimum=2, maximum=len(_PLACES) - 1)
    places = [_PLACES[i] for i in rng.permutation(len(_PLACES))[: sentences + 1]]
    thing = _THINGS[int(rng.integers(len(_THINGS)))]
    who = [_CARRIERS[i] for i in rng.integers(0, len(_CARRIERS), sentences)]
    told = [f"{who[i]} takes the {thing} from the {places[i]} to the {places[i + 1]}" for i in range(sentences)]
    order = rng.permutation(sentences)
    shown = ". ".join(told[i] for i in order) + "."
    prompt = f"Put these sentences in order, after <PLOT_SUMMARY>. {shown}"
    return Question(prompt, ". ".join(told) + ".", {"order": order, "shown": [told[i] for i in order]})


def solve_journey(shown: Sequence[str], most: int = 2) -> list[list[int]]:
    """Orders of the sentences ``shown`` in which each takes the thing from where the one before left it; at most ``most`` of them.

    One order: the question has one answer, and this is the proof. An order lists places in ``shown``. Raises ``ValueError`` for a
    sentence that does not say from where to where.
    """
    most = as_int(most, "most", minimum=1)
    found = [_CARRIED.search(sentence) for sentence in shown]
    if not found or None in found:
        raise ValueError(
            "shown must be sentences that say 'takes the ... from the ... to the ...', as those of journey."
        )
    moves = [(move[1], move[2], move[3]) for move in found]
    orders: list[list[int]] = []
    begun = [[i] for i in reversed(range(len(moves)))]
    while begun and len(orders) < most:
        order = begun.pop()
        if len(order) == len(moves):
            orders.append(order)
            continue
        thing, _, place = moves[order[-1]]
        begun += [[*order, i] for i in reversed(range(len(moves))) if i not in order and moves[i][:2] == (thing, place)]
    return orders


def connections(rng: np.random.Generator, groups: int = 3) -> Question:
    """Four words from each of 2 to 6 groups, shuffled; ``truth`` lists them group by group. ``meta["groups"]`` names the groups.

    A word belongs to one of the groups only, so that one grouping is right.
    """
    as_numpy_generator(rng, "rng")
    groups = as_int(groups, "groups", minimum=2, maximum=len(_GROUPS))
    names = [sorted(_GROUPS)[i] for i in rng.permutation(len(_GROUPS))[:groups]]
    words = [[_GROUPS[name][i] for i in rng.permutation(len(_GROUPS[name]))[:4]] for name in names]
    flat = [word for row in words for word in row]
    shuffled = [flat[i] for i in rng.permutation(len(flat))]
    prompt = (
        f"Sort into groups of four. Answer as one list between commas in <solution></solution>. {', '.join(shuffled)}"
    )
    return Question(prompt, ", ".join(flat), {"groups": names, "shown": shuffled})


def group_of(word: str) -> list[str]:
    """Names of all groups that hold ``word``: the proof that a grouping of :func:`connections` is the only one."""
    return [name for name, words in _GROUPS.items() if word in words]


def table_join(rng: np.random.Generator, rows: int = 10) -> Question:
    """Two tables: the second keeps half of the rows of the first, renames its columns and shuffles them among two foreign ones.

    ``truth`` maps columns of the first to columns of the second; 4 to 10 rows. ``meta`` holds both as dictionaries column -> cells.
    """
    as_numpy_generator(rng, "rng")
    rows = as_int(rows, "rows", minimum=4, maximum=10)
    names = [sorted(_COLUMNS)[i] for i in rng.permutation(len(_COLUMNS))]
    first = {name: [_COLUMNS[name][i] for i in rng.permutation(10)[:rows]] for name in names[:3]}
    first["count"] = [int(n) for n in 1000 + rng.permutation(900)[:rows]]
    kept = np.sort(rng.permutation(rows)[: rows // 2])
    joined = [*names[:2], "count"]
    second = {f"field {'xyz'[i]}": [first[name][k] for k in kept] for i, name in enumerate(joined)}
    truth = {name: f"field {'xyz'[i]}" for i, name in enumerate(joined)}
    second["field p"] = [_COLUMNS[names[3]][i] for i in rng.permutation(10)[: rows // 2]]
    second["field q"] = [int(n) for n in 5000 + rng.permutation(900)[: rows // 2]]
    order = [sorted(second)[i] for i in rng.permutation(len(second))]
    second = {name: second[name] for name in order}
    prompt = (
        "Which column of A is which column of B? Answer as a Python dictionary in <solution></solution>. "
        f"A: {json.dumps(first)} B: {json.dumps(second)}"
    )
    return Question(prompt, truth, {"first": first, "second": second})


def solve_join(first: Mapping[str, Sequence[Any]], second: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    """For each column of ``first`` the columns of ``second`` whose cells all occur in it; empty lists are left out.

    The join has one answer exactly when every list has one entry.
    """
    for name, table in (("first", first), ("second", second)):
        if not isinstance(table, Mapping):
            raise TypeError(f"{name} must map columns to cells, got {type(table).__name__}.")
    fits = {a: [b for b, cells in second.items() if set(cells) <= set(column)] for a, column in first.items()}
    return {a: found for a, found in fits.items() if found}


def write_table(table: Table, kind: str) -> str:
    """``table`` as text in the format ``kind``, one of csv, tsv, json, jsonl, html, markdown; read back by ``read_table``."""
    one_of(kind, "kind", FORMATS)
    if not isinstance(table, Table):
        raise TypeError(f"table must be a Table of columns and rows, got {type(table).__name__}.")
    rows = [[int(c) if isinstance(c, float) and c.is_integer() else c for c in row] for row in table.rows]
    records = [dict(zip(table.columns, row, strict=True)) for row in rows]
    if kind in ("csv", "tsv"):
        out = io.StringIO()
        csv.writer(out, delimiter="," if kind == "csv" else "\t", lineterminator="\n").writerows([table.columns, *rows])
        return out.getvalue()
    if kind == "json":
        return json.dumps(dict(enumerate(records)))
    if kind == "jsonl":
        return "\n".join(map(json.dumps, records))
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    if kind == "markdown":
        return "\n".join([line(table.columns), line(["---"] * len(table.columns)), *map(line, rows)])
    tag = lambda cells, name: "<tr>" + "".join(f"<{name}>{cell}</{name}>" for cell in cells) + "</tr>"
    return "<table>" + tag(table.columns, "th") + "".join(tag(row, "td") for row in rows) + "</table>"


def table_reformat(rng: np.random.Generator, rows: int = 5) -> Question:
    """A table in one format, wanted in another; ``truth`` is it in the other. 1 to 10 rows. ``meta``: source and target format."""
    as_numpy_generator(rng, "rng")
    rows = as_int(rows, "rows", minimum=1, maximum=10)
    source, target = (FORMATS[i] for i in rng.permutation(len(FORMATS))[:2])
    names = [sorted(_COLUMNS)[i] for i in rng.permutation(len(_COLUMNS))[:2]]
    picks = [rng.permutation(10)[:rows] for _ in names]
    cells = [[_COLUMNS[n][int(p[k])] for n, p in zip(names, picks, strict=True)] for k in range(rows)]
    table = Table([*names, "count"], [[*row, float(rng.integers(1, 500))] for row in cells])
    prompt = f"Please convert the Input Table from {source.upper()} format to {target.upper()} format. Input Table: {write_table(table, source)}"
    return Question(prompt, write_table(table, target), {"source": source, "target": target, "table": table})


def derivative(rng: np.random.Generator, terms: int = 2) -> Question:
    r"""Differentiate a sum of ``terms`` products ``a x^n f(bx)`` with f one of sin, cos, exp; ``truth`` in LaTeX. 1 to 5 terms."""
    as_numpy_generator(rng, "rng")
    terms = as_int(terms, "terms", minimum=1, maximum=5)
    asked, answer = [], []
    outer = {"sin": ("{b}\\cos({b}x)", ""), "cos": ("{b}\\sin({b}x)", "-"), "exp": ("{b}\\exp({b}x)", "")}
    for _ in range(terms):
        a, n, b = int(rng.integers(2, 10)), int(rng.integers(2, 6)), int(rng.integers(2, 6))
        name = ("sin", "cos", "exp")[int(rng.integers(3))]
        asked.append(f"{a}x^{{{n}}}\\{name}({b}x)")
        text, sign = outer[name]
        answer.append(f"{a * n}x^{{{n - 1}}}\\{name}({b}x) {sign or '+'} {a}x^{{{n}}}{text.format(b=b)}")
    prompt = f"Differentiate with respect to x, and put the result in \\boxed{{}}: $ {' + '.join(asked)} $"
    return Question(prompt, " + ".join(answer), {"expression": " + ".join(asked)})


def masked_order(rng: np.random.Generator, formulae: int = 20, share: float = 0.5) -> Question:
    """A proof of ``formulae`` lines, a ``share`` of which is masked and listed in random order; ``truth`` says which belongs where.

    Line t is ``s(t) = t^2 + c``, so that the text around a mask tells which formula fits. 2 to 60 formulae; at least two are masked.
    """
    as_numpy_generator(rng, "rng")
    formulae = as_int(formulae, "formulae", minimum=2, maximum=60)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
        raise ValueError(f"share must be a number in (0, 1], got {share!r}.")
    masked = max(2, round(share * formulae))
    shift = int(rng.integers(1, 50))
    hidden = np.sort(rng.permutation(formulae)[:masked])
    order = rng.permutation(masked)  # the k-th missing place takes the formula that is listed at position order[k] + 1
    listed = [""] * masked
    for place, k in zip(hidden, order, strict=True):
        listed[k] = f"s({place}) = {place**2 + shift}"
    lines = [
        f"For t = {t}: {'<missing>' if t in set(hidden.tolist()) else f's({t}) = {t**2 + shift}'}."
        for t in range(formulae)
    ]
    options = " ".join(f"<expression {i}> {text}" for i, text in enumerate(listed, start=1))
    prompt = f"{' '.join(lines)} Fill the missing formulae with the numbers of: {options}. End with 'Answer:' and the numbers."
    return Question(
        prompt, ",".join(str(int(k) + 1) for k in order), {"masked": masked, "formulae": listed, "hidden": hidden}
    )
