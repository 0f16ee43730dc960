"""Pairs of a truth and an answer for the graders of the chapter `livebench`: generated truths, and answers in every form.

Right and wrong answers as a model may write them: in tags, boxes, bold or bare, in lists and tables, with chatter around, in wrong formats, empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import livebench_programs
import numpy as np

from workings.chapters.livebench.stored_answers import INSTRUCTIONS, OPTIONS
from workings.language_models import text_questions
from workings.language_models.grading_tables import table_formats
from workings.seeding import numpy_generator

REASONING = (
    "Let me go through this **step by step**. First I read the question again and list what is known. The second clue rules out "
    "two of the cases, so (yes, no) only one of them is left.\n\n**Step 1.** I write down a table: | a | b |, and $x = 3 + 4$.\n\n"
    "**Step 2.** It follows that the first item, the second item, and the third item are fixed; no other order is possible.\n\n"
)
FORMS = (
    "<solution>{a}</solution>", "So:\n<solution>{a}</solution>\nThat is all.", "<solution>\n{a}\n</solution>", "</solution>{a}</solution>",
    "<solution>maybe</solution> No: <solution>{a}</solution>", "<solution>{a}</solution> or <solution>maybe</solution>", "<solution>{a}",
    "**{a}**", "***{a}***", "The answer is **{a}**.", "**Answer:** {a}", "**{a}** as **I** said **before**", "** {a} **", "**{b}**",
    "\\boxed{{{a}}}", "Hence $\\boxed{{\\text{{{a}}}}}$.", "\\boxed{{\\textbf{{{a}}}}}", "\\fbox{{{a}}}", "$\\boxed {a}$ is it", "\\boxed{{{a}",
    "\\boxed5 and {{{a}}}", "\\boxed{{1}} no, \\boxed{{{a}}}", "{a}", "{a}.", "Answer: {a}", "The answer:\n{a}", "answer: **{a}**.", "it is ({a})",
    "(no) it is ({a})", "so\n{a}", "{a}\nI hope this helps!", "```\n{a}\n```", "```json\n{a}\n```", "```python\n{a}\n```", "```python {a}```",
    "```python\n{a}\n``` or ```json\n{{}}\n```", "```json\n{a}\n``` not ```python\n{{'a': 1}}\n```", "```\nmaybe\n``` but\n```json\n{a}\n```",
    "Here is the table in the new format:\n{a}", "one --- two --- three\nnote --- {a} --- done", "***{a}**", "**Answer: {a}** and\n**", "({a}",
    "answer:\n\n{a}", "Answer: maybe\nAnswer: {a}\n", "\\boxed{{{a}}}$ and \\fbox{{1}}", "{a}<PLOT_SUMMARY>", "<PLOT_SUMMARY>{a}</PLOT_SUMMARY>", "Sure. <PLOT_SUMMARY>\n{a}", "note --- {a} --- done", "{a} --- ",
    "so {u}", "<solution>{u}</solution>", "", " \n", "I cannot tell.", "?!",
)  # fmt: skip
"""How an answer ``a`` may be written: ``b`` is it between bold words, ``u`` in capitals."""


class Pair(NamedTuple):
    """What both sides are given: the truth, the answer, and the question's text or instructions where a scorer reads them."""

    truth: Any
    answer: str
    question: Any = None


Made = tuple[Any, list[str], Any]
"""A truth, answers to it, and what stands in ``question`` of the pair."""


def _pick(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]


def _lies(rng: np.random.Generator) -> Made:
    truth = ", ".join(_pick(rng, ("yes", "no", "unknown" if rng.random() < 0.3 else "no")) for _ in range(3))
    other = ", ".join(_pick(rng, ("yes", "no", "unknown")) for _ in range(3))
    return (
        truth,
        [truth, truth, other, truth.replace(" ", ""), f"{truth}, yes", f"It is {truth}!", "yes, no", "yes"],
        None,
    )


def _zebra_word(rng: np.random.Generator) -> Made:
    truth = _pick(rng, ("three", "cat", "cross-stitch", "action movies", "Two", "red"))
    words = {"three": "3", "Two": "2", "action movies": "action"}
    return truth, [truth, words.get(truth, truth), "5", f"the {truth}", truth.capitalize()], None


def _zebra(rng: np.random.Generator) -> Made:
    items = [_pick(rng, ("1", "2", "cat", "cross-stitch", "red", "green tea", "Brazilian")) for _ in range(4)]
    truth = ", ".join(items)
    wrong = ", ".join([*items[:3], "milk"])
    return truth, [truth, truth, wrong, truth.replace("-", " "), "position " + truth, ", ".join(items[::-1]), ",".join(items), f"12, {truth}", items[0], truth.replace("1", "one")], None  # fmt: skip


def _houses(rng: np.random.Generator) -> Made:
    names = [str(n) for n in rng.permutation(("Ann", "Bob", "Eve", "Joanne"))]
    said = ", ".join(names)
    return " ".join(names), [said, said, ", ".join(names[::-1]), "**, **".join(names), "** and **".join(names[::-1]), "***, ***".join(names), "***, **".join(names), "**\n**".join(names), " -> ".join(names)], None  # fmt: skip


def _spatial(rng: np.random.Generator) -> Made:
    truth = _pick(rng, ("4", "12", "square", "tetrahedra", "triangle", "Circle", "0"))
    words = {"4": "four", "12": "twelve", "0": "zero"}
    return truth, [truth, words.get(truth, truth), f"a big {truth}", f"{truth} and circle and triangle", "7", f"{truth} ", truth.lower()], None  # fmt: skip


def _connections(rng: np.random.Generator) -> Made:
    words = text_questions.connections(rng, int(rng.integers(2, 5))).truth.split(", ")
    groups = [words[i : i + 4] for i in range(0, len(words), 4)]
    rows = [[str(w) for w in rng.permutation(g)] for g in groups]
    swapped = [*words]
    swapped[0], swapped[-1] = swapped[-1], swapped[0]
    flat = lambda parts: ", ".join(w for part in parts for w in part)
    return ", ".join(words), [flat(rows[::-1]), flat(rows), ", ".join(swapped), flat([*rows, rows[0]]), flat([rows[0]] * len(rows)), flat([[rows[0][0]], *rows]), ",\n".join(words), flat(rows[:-1])], None  # fmt: skip


def _typos(rng: np.random.Generator) -> Made:
    question = text_questions.typos(rng)
    truth = question.truth
    return truth, [truth, truth, question.meta["wrong"], truth.replace(". ", ".\n"), truth.replace(". ", ". \n\n"), f"Mended: {truth} Good?", f"one --- two --- {truth} --- three", truth[:-1], truth.replace(". ", ".\n", 1)], None  # fmt: skip


def _plot(rng: np.random.Generator) -> Made:
    truth = text_questions.plot(rng, int(rng.integers(4, 14))).truth
    said = [s.strip() for s in truth.split(".") if s.strip()]
    shuffled = ". ".join(said[i] for i in rng.permutation(len(said))) + "."
    ending = " **End of Plot Summary**"
    changed = truth.replace("the ", "this ").replace("Ada", "She")
    return truth, [truth, truth, shuffled, changed, ". ".join(said[2:] + said[:2]) + ".", truth + ending, f"{shuffled}\n</PLOT_SUMMARY>.", f"{said[0]}. </PLOT_SUMMARY>. **End of Plot Summary**. {'. '.join(said[1:])}.", ". ".join(said[1:])], None  # fmt: skip


def _cta(rng: np.random.Generator) -> Made:
    truth = _pick(rng, ("country", "postal_code", "Date of Birth", "state", "année"))
    return truth, [truth, truth, truth.upper(), f"not a {truth}", f"{truth}s", f"'{truth}'", truth.replace("_", " "), "text"], None  # fmt: skip


def _join(rng: np.random.Generator) -> Made:
    truth = text_questions.table_join(rng).truth
    keys = list(truth)
    wrong = {**truth, keys[0]: "field q"}
    double = repr(truth).replace("'", '"')
    more = {**truth, "extra": None, "planet x": "field p"}
    blank = {**truth, keys[1]: "", keys[0]: "null"}
    return repr(truth), [repr(truth), double, repr(wrong), repr(dict(list(truth.items())[1:])), repr(more), repr(blank), double[:-1] + ', "extra": true}', double[:-1] + ', "extra": null}', "{}", f"[{truth!r}]", repr(truth).replace(", ", ",\n "), "{'a': ['x']}", f"mapping = {truth!r}", repr(truth)[:-1]], None  # fmt: skip


def _later_table(rng: np.random.Generator) -> Made:
    truth, variants, prompt = _table(rng)
    source, target = table_formats(prompt)
    return truth, variants, f"Reformat the table.\nSource Format: {source.upper()}\nTarget Format: {target.upper()}\n"


def _table(rng: np.random.Generator) -> Made:
    question = text_questions.table_reformat(rng)
    kind, table = question.meta["target"], question.meta["table"]
    write = lambda rows, columns=table.columns: text_questions.write_table(type(table)(columns, rows), kind)
    changed = [[*row[:-1], row[-1] + 1.0] for row in table.rows]
    turned = write([row[::-1] for row in table.rows], table.columns[::-1])
    records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    holes = [[*row[:-1], ""] for row in table.rows]
    numbered = text_questions.write_table(
        type(table)(["index", *table.columns], [[float(i), *row] for i, row in enumerate(table.rows)]), kind
    )
    extra = {
        "json": [json.dumps(records), json.dumps({"data": records}), json.dumps({n: [r[n] for r in records] for n in table.columns}), json.dumps(records[0])],
        "jsonl": [json.dumps(records), question.truth.replace("\n", "\n\n"), question.truth + "\n{broken}", json.dumps(records[0])],
        "html": [question.truth.replace("th>", "td>"), question.truth * 2, f"<html><body>{question.truth}</body></html>", question.truth.replace(" ", "")],
        "csv": ["\n".join(f"{i or ''},{line}".lstrip(",") for i, line in enumerate(question.truth.strip().split("\n"))), question.truth.replace(",", ", "), question.truth.replace("\n", "\n\n"), question.truth + "one,two,three,four\n"],
        "tsv": [question.truth.replace("\t", ","), question.truth.replace("\n", "\n\n"), question.truth + "a\tb\tc\td\te\n", "So:\nit is\n" + question.truth],
        "markdown": [question.truth.replace("---", ":--"), question.truth.replace("| ", "|"), question.truth.replace("\n| ---", "\n|---"), "\n".join(line.strip("| ") for line in question.truth.split("\n"))],
    }[kind]  # fmt: skip
    variants = [question.truth, question.truth, turned, write(table.rows[::-1]), write(changed), write(table.rows[:-1] or changed), write(holes), write(table.rows, ["one", *table.columns[1:]]), "no table", numbered, f"Sure!\n{question.truth}", f"{question.truth}\nDone.", f"{question.truth}\nThis, I think, is it.", *extra]  # fmt: skip
    return question.truth, variants, question.prompt


def _choice(rng: np.random.Generator) -> Made:
    values = [str(n) for n in rng.permutation(90)[:5] + 10]
    letters = "ABCDE"
    prompt = (
        "What is it? $" + " \\qquad ".join(f"\\textbf{{({a})}} {v}" for a, v in zip(letters, values, strict=True)) + "$"
    )
    right, wrong = (letters[i] for i in rng.permutation(5)[:2])
    return right, [right, right * 5, wrong * 5, f"({right})", f"{right}) {values[letters.index(right)]}", values[letters.index(right)], wrong, right.lower() * 5, f"{right} {right}", f"{right * 4}, not {wrong}"], prompt  # fmt: skip


def _aime(rng: np.random.Generator) -> Made:
    truth = f"{int(rng.integers(1, 999)):03d}"
    return truth, [truth, truth, str(int(truth)), "777", f"{truth[0]},{truth[1:]}", f"{truth} of all the many numbers that one might have thought of here", "1" + truth], None  # fmt: skip


def _order(rng: np.random.Generator) -> Made:
    truth = text_questions.masked_order(rng, int(rng.integers(6, 40))).truth
    items = truth.split(",")
    swapped = ",".join([*items[1:], items[0]])
    spaced = ", ".join(items)
    return truth, [truth, spaced, swapped, f"{spaced}.", ", ".join(f"${i}$" for i in items), ", ".join(f"<expression {i}>" for i in items), f"the order is {spaced}", ",".join(items[:-2]), f"{items[0]}, ?, {', '.join(items[2:])}", "none"], None  # fmt: skip


def _expression(rng: np.random.Generator) -> Made:
    a, b = (int(n) for n in rng.integers(2, 9, 2))
    truth, said = _pick(
        rng,
        (
            (f"{a}x^{{{b}}}", [f"x^{{{b}}} \\cdot {a}", f"{a}x^{b} + C", f"-{a}x^{{{b}}}", f"{a}x^{{{b + 1}}}", f"{a}x^{{{b}}} + 5"]),
            (f"\\frac{{{a}}}{{{a * b}}}", [f"\\dfrac{{1}}{{{b}}}", f"\\frac1{b}", f"{1 / b:.4f}", f"\\frac{{{b}}}{{1}}"]),
            (f"{a} \\sqrt{{2}}", [f"{a}\\sqrt2", f"\\sqrt{{{2 * a * a}}}", f"{a * 2 ** 0.5:.3f}", f"{a}"]),
            (f"\\sin {{\\left(x \\right)}} + {a}", [f"{a} + \\sin(x)", f"\\sin\\left(x\\right)+{a}", f"\\cos(x) + {a}", f"\\sin x + {a}"]),
            (f"\\left(x + {a}\\right)^{{2}}", [f"x^2 + {2 * a}x + {a * a}", f"(x+{a})(x+{a})", f"x^2 + {a * a}", f"y = (x+{a})^{{2}}"]),
            (f"{1000 * a}", [f"{a},000", f"{1000 * a}", f"{a}000.0", f"{a}"]),
        ),
    )  # fmt: skip
    return truth, [truth, *said], None


_PROSE = {
    "detectable_format:title": "<<A title>>\ntext", "detectable_format:json_format": '```json\n{"a": 1}\n```',
    "startend:quotation": '"all of it"', "combination:two_responses": "one\n******\ntwo", "detectable_content:postscript": "text\nP.S. more",
    "detectable_format:number_bullet_lists": "* one\n- two", "detectable_format:multiple_sections": "Section 1 one\nSection 2 two",
    "length_constraints:number_paragraphs": "one\n***\ntwo", "length_constraints:nth_paragraph_first_word": "one\n\nSo, two",
    "detectable_format:constrained_response": "My answer is yes.", "startend:end_checker": "Done. The end.",
    "combination:repeat_prompt": "Say it. It.", "keywords:existence": "a bee by the sea", "keywords:forbidden_words": "a party of ART.",
    "length_constraints:number_words": "one two three four",
}  # fmt: skip
_GIVEN: dict[str, dict[str, Any]] = {
    "keywords:existence": {"keywords": ["sea", "bee"]}, "keywords:forbidden_words": {"forbidden_words": ["art", "storm"]},
    "length_constraints:number_words": {"relation": "at least", "num_words": 4}, "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"},
    "detectable_format:number_bullet_lists": {"num_bullets": 2}, "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 2},
    "detectable_content:postscript": {"postscript_marker": "P.S."}, "combination:repeat_prompt": {"prompt_to_repeat": "Say it."},
    "startend:end_checker": {"end_phrase": "The end."},
}  # fmt: skip
TEXTS = (
    "{a}", "{a}\n\n{b}", "{a}\n \n{b}", "{b}\n\n\n'{a}'", "*\n* {a}", "{b} *", "my{a}", "```JSON\n{{}}\n```", "```jSon\n{{}}```", "\n\n  * {a}\r\n-{b}",
    "p.s. {a}", "P. S. {a}", "P .S. {b}", "<<{a}>> <<{b}>>", "<< > >>{a}", "<<>>", "<<>>>", "<<a > b>>", "{a} p.p.s", "Section 12\nsection 3\nSection2", "******{a}******{b}",
    "{a}***{b}", "***", "{a}.'", "{b}\n\n{a}", "{b}\n***\n{a}\n***", "***\n{a}\n***\n{b}", "{a}\n******\n{b}", "  {a}  ", "{b} {a}", "* {a}\n* {b}", "- {a}",
    "Section 1\n{a}\nSection 2\n{b}", "```\n{a}\n```", '"{a}"', "{a}\n\n\n\n{b}", "* * {a}", "", " ", "Yes.",
)  # fmt: skip


def _instructed(rng: np.random.Generator) -> Made:
    names = [str(n) for n in rng.permutation(list(_PROSE))[: int(rng.integers(1, 4))]]
    text = lambda: _PROSE[_pick(rng, names if rng.random() < 0.7 else list(_PROSE))]
    truth = []
    for name in names:
        own, options = INSTRUCTIONS[name]
        given = {options[key]: value for key, value in _GIVEN.get(name, {}).items()}
        truth.append((own, {"options": OPTIONS} if own == "constrained option" else given))
    return truth, [_pick(rng, TEXTS).format(a=text(), b=text())], (names, [_GIVEN.get(name, {}) for name in names])


PROGRAM_FORMS = (
    "```python\n{a}\n```", "```python\n{a}\n```", "Here it is:\n```python\n{a}\n```\nIt reads all of the input first.", "```\n{a}\n```",
    "A first try:\n```\nprint(0)\n```\nand a better one:\n```python\n{a}\n```", "So:\n\n  ```python\n{a}\n  ```", "```python\n{a}\n```\n", "{a}",
)  # fmt: skip


def _in_form(rng: np.random.Generator, made: Made) -> Made:
    tests, programs, question = made
    return tests, [_pick(rng, PROGRAM_FORMS).format(a=_pick(rng, programs))], question


def _program(rng: np.random.Generator) -> Made:
    return _in_form(rng, livebench_programs.script(rng))


def _function(rng: np.random.Generator) -> Made:
    return _in_form(rng, livebench_programs.function(rng))


VARIANTS: dict[str, Callable[[np.random.Generator], Made]] = {
    "lies-v2": _lies,
    "lies-v3": _lies,
    "zebra-old": _zebra_word,
    "zebra": _zebra,
    "houses": _houses,
    "spatial": _spatial,
    "connections-old": _connections,
    "connections": _connections,
    "typos": _typos,
    "plot": _plot,
    "cta": _cta,
    "join": _join,
    "table-old": _table,
    "table": _later_table,
    "choice": _choice,
    "aime": _aime,
    "olympiad": _order,
    "amps": _expression,
    "instructions": _instructed,
    "program": _program,
    "function": _function,
}


def pairs(name: str, count: int) -> list[Pair]:
    """The first ``count`` pairs for the scorer ``name``, every second one after a page of reasoning. The same at every call.

    Without think blocks, which the frame of a scorer takes out.
    """
    rng = numpy_generator(0, "benchmark", "official", name)
    out: list[Pair] = []
    order: list[int] = []
    while len(out) < count:
        truth, variants, question = VARIANTS[name](rng)
        answer = _pick(rng, variants)
        if name not in ("instructions", "program", "function"):  # these are whole answers
            order = order or [int(i) for i in rng.permutation(len(FORMS))]
            form = FORMS[order.pop()]
            answer = form.format(a=answer, b="** **".join(answer.split()), u=answer.upper())
        if rng.random() < 0.5 and answer.strip():
            answer = REASONING * int(rng.integers(1, 4)) + answer
        out.append(Pair(truth, answer, question))
    return out
