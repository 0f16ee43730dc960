"""Score stored public answers again and compare with the stored official scores.

Expects, in a folder, ``model_answer`` (question_id, model_id, choices[0].turns[0]), ``model_judgment`` (question_id, model, score) and ``question``
(question_id, task, ground_truth, turns, livebench_release_date), as JSON lines or Parquet (:mod:`~workings.chapters.livebench.stored_files`), with the
fields of the public data sets of those names. Competitions also need subtask, instructions need instruction_id_list and kwargs, and code needs
public_test_cases, private_test_cases, partial_solution and, where a function is called, original_json with its metadata. The tests run it on files made up in that form; the public files themselves were not at hand.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import pickle
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.livebench import stored_files
from workings.checks import as_int
from workings.language_models.grading import RELEASES, Grade
from workings.language_models.grading_code import PRELUDE, score_code
from workings.language_models.grading_instructions import score_instructions
from workings.language_models.grading_language import score_connections, score_plot, score_typos
from workings.language_models.grading_mathematics import (
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
from workings.language_models.grading_tables import score_cta, score_table_join, score_table_reformat, table_formats
from workings.language_models.sandbox import LAYERS, Sandbox, run_python

SCORERS: dict[str, Callable[..., Grade]] = {
    "web_of_lies_v2": score_web_of_lies, "web_of_lies_v3": score_web_of_lies, "zebra_puzzle": score_zebra,
    "house_traversal": score_house_traversal, "spatial": score_spatial, "connections": score_connections, "typos": score_typos,
    "plot_unscrambling": score_plot, "cta": score_cta, "tablejoin": score_table_join, "olympiad": score_olympiad,
    "AMPS_Hard": score_amps, "tablereformat": score_table_reformat,
}  # fmt: skip
"""Tasks whose stored truth is what their grader takes; :func:`grader_of` knows the others too."""

INSTRUCTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "keywords:existence": ("include keywords", {"keywords": "words"}),
    "keywords:forbidden_words": ("forbidden words", {"forbidden_words": "words"}),
    "length_constraints:number_words": ("number of words", {"relation": "relation", "num_words": "number"}),
    "length_constraints:number_sentences": ("number of sentences", {"relation": "relation", "num_sentences": "number"}),
    "length_constraints:number_paragraphs": ("number of paragraphs", {"num_paragraphs": "number"}),
    "length_constraints:nth_paragraph_first_word": (
        "first word of a paragraph", {"num_paragraphs": "total", "nth_paragraph": "place", "first_word": "word"},
    ),
    "detectable_format:number_bullet_lists": ("bullets", {"num_bullets": "number"}),
    "detectable_format:title": ("title", {}),
    "detectable_format:multiple_sections": ("sections", {"section_spliter": "mark", "num_sections": "number"}),
    "detectable_format:json_format": ("json", {}),
    "detectable_format:constrained_response": ("constrained option", {}),
    "detectable_content:postscript": ("postscript", {"postscript_marker": "mark"}),
    "combination:two_responses": ("two responses", {}),
    "combination:repeat_prompt": ("repeat the prompt first", {"prompt_to_repeat": "prompt"}),
    "startend:end_checker": ("end phrase", {"end_phrase": "phrase"}),
    "startend:quotation": ("quotation", {}),
}  # fmt: skip
"""An instruction's name in the data, ours, and for each of its options the name in the data and ours."""
OPTIONS = ["My answer is yes.", "My answer is no.", "My answer is maybe."]
_OPTION_TEXTS = {letter: re.compile(rf"\\textbf\{{\({letter}\)\s?\}}(.*?)(?:\\qquad|\$)") for letter in "ABCDE"}
CODE = ("LCB_generation", "coding_completion")


def available(root: str | Path | None) -> bool:
    """Whether the folder ``root`` holds stored answers and what they are scored with.

    ``FileNotFoundError`` names what is missing where only a part is there. Questions alone are no part: a model can be asked them.
    """
    absent = stored_files.missing(root)
    if root is None or {"model_answer", "model_judgment"} <= set(absent):
        return False
    if absent:
        raise FileNotFoundError(
            f"{paths.shown(Path(root))} holds {' and '.join(k for k in stored_files.KINDS if k not in absent)} but no "
            f"{' and no '.join(absent)} (as JSON lines or Parquet); stored answers are scored with all three. Add it, or take the others away."
        )
    return True


def rules_at(date: str) -> str:
    """The last release whose rules apply to a question released on ``date``."""
    return max((r for r in RELEASES if r <= date[:10]), default=RELEASES[0])


def grader_of(question: dict[str, Any], sandbox: Sandbox | None = None) -> Callable[[str], Grade] | None:
    """The grader of a stored question, ready for an answer; ``None`` where this book has none for it.

    None for: tasks that are not ours, instructions of releases from 2025-11-25, and programs on a machine where a layer of the sandbox is
    missing. Programs run in ``sandbox``, or each answer's in one of its own. ``KeyError`` names a field that the question lacks.
    """
    task, rules = question.get("task"), rules_at(str(question.get("livebench_release_date", "")))
    if task in SCORERS:
        target = {"target": table_formats(question["turns"][0])[1]} if task == "tablereformat" else {}
        truth = question["ground_truth"]
        if task == "AMPS_Hard" and isinstance(truth, list):  # the authors' program takes the last of several
            truth = truth[-1]
        return functools.partial(SCORERS[task], truth, rules=rules, **target)
    if task == "math_comp":
        truth, contest = question["ground_truth"], question["subtask"].split("_")
        if contest[0] == "aime":
            return functools.partial(score_aime, truth, rules=rules)
        if "amc" in contest[:2] or contest[0] == "smc":
            return functools.partial(
                score_multiple_choice, truth, value=option_text(question["turns"][0], truth), rules=rules
            )
    if task in ("paraphrase", "simplify", "summarize", "story_generation") and rules < "2025-11-25":
        named = zip(question["instruction_id_list"], question["kwargs"], strict=True)
        truth = [_instruction(name, options) for name, options in named]
        return None if None in truth else functools.partial(score_instructions, truth, rules=rules)
    if task in CODE and _isolated():
        tests, function = stored_tests(question)
        prefix = question.get("partial_solution") or ""
        return functools.partial(
            score_code, tests, function=function, prefix=prefix, require=LAYERS, sandbox=sandbox, rules=rules
        )
    return None


def option_text(prompt: str, letter: str) -> str | None:
    r"""The text of the option ``letter`` in a competition's question, from ``\textbf{(B)}`` to ``\qquad`` or ``$`` on the same line."""
    option = _OPTION_TEXTS.get(letter)
    found = option.findall(prompt) if option else []
    return (found[-1].strip().strip("$").strip("~") or None) if found else None


def _instruction(name: str, options: dict[str, Any] | None) -> tuple[str, dict[str, Any]] | None:
    if name not in INSTRUCTIONS:
        return None
    ours, names = INSTRUCTIONS[name]
    given = {names[key]: value for key, value in (options or {}).items() if key in names and value is not None}
    return ours, {"options": OPTIONS} if ours == "constrained option" else given


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"a stored test asks for {module}.{name}; only text is read.")


def stored_tests(question: dict[str, Any]) -> tuple[list[tuple[str, str]], str | None]:
    """(input, expected output) of all public and private tests of a coding question, and the name of the function that they call.

    The name stands in the metadata of the question's ``original_json``; ``None``: the program reads standard input. Private tests are JSON, or
    that text pickled, compressed and in base 64; of a pickle nothing but plain values is read.
    """
    tests = json.loads(question["public_test_cases"])
    private = question["private_test_cases"]
    if not private.lstrip().startswith("["):
        private = _PlainUnpickler(io.BytesIO(zlib.decompress(base64.b64decode(private)))).load()
    tests += json.loads(private)
    called = any(test["testtype"] == "functional" for test in tests)
    function = json.loads(question["original_json"]["metadata"])["func_name"] if called else None
    return [(test["input"], test["output"]) for test in tests], function


@functools.cache
def _isolated() -> bool:
    """Whether every layer of the sandbox holds here: programs of strangers are not run with less."""
    return set(LAYERS) <= run_python("pass", limit_s=60).isolation


def rescore(root: str | Path, programs: int = 200) -> list[dict[str, Any]]:
    """One row per task: answers that have an official score, the share with the same score (within 0.005), and differing rules.

    ``differences`` lists up to five of ours rules with how often each gave another score than the official one. Questions without a
    grader (:func:`grader_of`) are left out. Of each coding task at most ``programs`` answers are run, since every test of every answer is a process.
    """
    programs = as_int(programs, "programs", minimum=0)
    with Sandbox(PRELUDE) as sandbox:
        return _rescored(root, programs, sandbox)


def _rescored(root: str | Path, programs: int, sandbox: Sandbox) -> list[dict[str, Any]]:
    questions = stored_files.every_row(root, "question")
    graders = {q["question_id"]: (q["task"], grade) for q in questions if (grade := grader_of(q, sandbox))}
    official = {
        (j["question_id"], j["model"].lower()): float(j["score"])
        for j in stored_files.every_row(root, "model_judgment")
        if j["question_id"] in graders
    }
    counts: dict[str, list[int]] = {}
    rules: dict[str, dict[str, int]] = {}
    for answer in stored_files.every_row(root, "model_answer"):
        key = (answer["question_id"], answer["model_id"].lower())
        if key not in official:
            continue
        task, grader = graders[key[0]]
        total = counts.setdefault(task, [0, 0])
        if task in CODE and total[0] >= programs:
            continue
        grade = grader(answer["choices"][0]["turns"][0])
        total[0] += 1
        if abs(grade.score - official[key]) <= 0.005:
            total[1] += 1
        else:
            found = rules.setdefault(task, {})
            found[grade.rule] = found.get(grade.rule, 0) + 1
    return [
        {
            "task": task, "answers": n, "identical": same / n,
            "differences": "; ".join(f"{rule} ({k})" for rule, k in sorted(rules.get(task, {}).items(), key=lambda p: -p[1])[:5]),
        }
        for task, (n, same) in sorted(counts.items())
        if n
    ]  # fmt: skip
