"""Score stored public answers again and compare with the stored official scores.

Expects, in a folder, JSON lines ``model_answer.jsonl`` (question_id, model_id, choices[0].turns[0]), ``model_judgment.jsonl``
(question_id, model, score) and ``question.jsonl`` (question_id, task, ground_truth, turns, livebench_release_date), the fields of the public data sets of
those names. Read line by line. The tests run it on files made up in that form; the public files themselves were not at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workings import paths
from workings.language_models.grading import RELEASES, Grade
from workings.language_models.grading_language import score_connections, score_plot, score_typos
from workings.language_models.grading_mathematics import score_amps, score_olympiad
from workings.language_models.grading_reasoning import (
    score_house_traversal,
    score_spatial,
    score_web_of_lies,
    score_zebra,
)
from workings.language_models.grading_tables import score_cta, score_table_join, score_table_reformat, table_formats

SCORERS: dict[str, Callable[..., Grade]] = {
    "web_of_lies_v2": score_web_of_lies, "web_of_lies_v3": score_web_of_lies, "zebra_puzzle": score_zebra,
    "house_traversal": score_house_traversal, "spatial": score_spatial, "connections": score_connections, "typos": score_typos,
    "plot_unscrambling": score_plot, "cta": score_cta, "tablejoin": score_table_join, "olympiad": score_olympiad,
    "AMPS_Hard": score_amps, "tablereformat": score_table_reformat,
}  # fmt: skip
FILES = ("model_answer.jsonl", "model_judgment.jsonl", "question.jsonl")


def available(root: str | Path | None) -> bool:
    """Whether the folder ``root`` holds the three files."""
    return root is not None and all((Path(root) / name).is_file() for name in FILES)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, one at a time; ``ValueError`` names the line that is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                found = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{paths.shown(path)}:{number} is not JSON: {error}.") from None
            if not isinstance(found, dict):
                raise ValueError(f"{paths.shown(path)}:{number} is no object.")
            yield found


def rules_at(date: str) -> str:
    """The last release whose rules apply to a question released on ``date``."""
    return max((r for r in RELEASES if r <= date[:10]), default=RELEASES[0])


def rescore(root: str | Path) -> list[dict[str, Any]]:
    """One row per task: answers that have an official score, the share with the same score (within 0.005), and differing rules.

    ``differences`` lists up to five of ours rules with how often each gave another score than the official one. Tasks without a
    scorer here (instructions, code, competitions) are left out.
    """
    folder = Path(root)
    questions = {q["question_id"]: q for q in rows(folder / "question.jsonl") if q.get("task") in SCORERS}
    official = {
        (j["question_id"], j["model"].lower()): float(j["score"])
        for j in rows(folder / "model_judgment.jsonl")
        if j["question_id"] in questions
    }
    counts: dict[str, list[int]] = {}
    rules: dict[str, dict[str, int]] = {}
    for answer in rows(folder / "model_answer.jsonl"):
        key = (answer["question_id"], answer["model_id"].lower())
        if key not in official:
            continue
        question = questions[key[0]]
        grade = _grade(question, answer["choices"][0]["turns"][0])
        total = counts.setdefault(question["task"], [0, 0])
        total[0] += 1
        if abs(grade.score - official[key]) <= 0.005:
            total[1] += 1
        else:
            found = rules.setdefault(question["task"], {})
            found[grade.rule] = found.get(grade.rule, 0) + 1
    return [
        {
            "task": task, "answers": n, "identical": same / n,
            "differences": "; ".join(f"{rule} ({k})" for rule, k in sorted(rules.get(task, {}).items(), key=lambda p: -p[1])[:5]),
        }
        for task, (n, same) in sorted(counts.items())
    ]  # fmt: skip


def _grade(question: dict[str, Any], answer: str) -> Grade:
    task, options = question["task"], {}
    if task == "tablereformat":
        options["target"] = table_formats(question["turns"][0])[1]
    rules = rules_at(str(question["livebench_release_date"]))
    return SCORERS[task](question["ground_truth"], answer, rules=rules, **options)
