"""A language model of one's own on the published questions: those of a release are read, asked, graded and averaged.

The folder of the public tables may also hold the questions (:mod:`~workings.chapters.livebench.stored_files`): the six public data sets
``livebench/<category>``, split "test". A question has the fields that :func:`~workings.chapters.livebench.stored_answers.grader_of` reads, and
category, livebench_removal_date (empty: not removed) and, for the proofs of "olympiad", hardness: the masked share of the formulae. Asked as the
paper says: one turn, greedy, and the rules of the question's own release. The questions were not at hand; the tests and the dry run make files
up in their form.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workings.chapters.livebench import stored_files
from workings.chapters.livebench.demo import SHARES
from workings.chapters.livebench.own_model import Model
from workings.chapters.livebench.settings import Settings
from workings.chapters.livebench.stored_answers import CODE, grader_of
from workings.language_models.benchmark_scores import active_questions, aggregate
from workings.language_models.grading import Grade
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.statistics import standard_error

RELEASE = "2024-06-24"
COUNTS = {
    "AMPS_Hard": 100, "math_comp": 96, "olympiad": 36, "LCB_generation": 50, "coding_completion": 38, "web_of_lies_v2": 50,
    "zebra_puzzle": 50, "connections": 50, "typos": 50, "plot_unscrambling": 40, "cta": 50, "tablejoin": 50, "tablereformat": 50,
    "paraphrase": 50, "simplify": 50, "summarize": 50, "story_generation": 50,
}  # fmt: skip
"""Questions of each task at :data:`RELEASE`: 17 tasks (paper, v1)."""
PAPERS_MODEL = "qwen2-1.5b-instruct"
"""The model of lb-8."""
TOGETHER = 8  # prompts that are answered at once
_NEAR = 0.05  # a hardness this close to a share of SHARES is that share


def why_not(settings: Settings, root: str | Path | None) -> str | None:
    """Why no published question is asked, in words; ``None`` where they are."""
    if importlib.util.find_spec("transformers") is None:
        return "transformers is not installed"
    if settings.dry_run:
        return None
    if not stored_files.find(root, "question"):
        return "no published questions are in the data folder"
    return None if settings.own_model else "the setting own_model names no folder with a model"


def active(root: str | Path, release: str) -> Iterator[dict[str, Any]]:
    """The questions of the files in ``root`` that count at ``release``; ``ValueError`` for one that lacks a field, or stands twice."""
    seen: set[str] = set()
    for question in stored_files.every_row(root, "question"):
        absent = [name for name in ("question_id", "task", "category", "turns", "livebench_release_date") if not question.get(name)]  # fmt: skip
        if absent:
            raise ValueError(f"question {question.get('question_id')!r} has no {', '.join(absent)}.")
        dates = {"released": question["livebench_release_date"], "removed": question.get("livebench_removal_date")}
        if not active_questions([{key: value and str(value)[:10] for key, value in dates.items()}], release):
            continue
        if question["question_id"] in seen:
            raise ValueError(f"question {question['question_id']!r} stands twice.")
        seen.add(question["question_id"])
        yield question


def level(question: dict[str, Any]) -> str | None:
    """Whether a proof with masked formulae is "easy", "medium" or "hard", after its share of them (its hardness); ``None`` for anything else."""
    hardness = question.get("hardness")
    if question["task"] != "olympiad" or hardness is None:
        return None
    return next((name for name, share in SHARES.items() if abs(float(hardness) - share) <= _NEAR), None)


def run(settings: Settings, root: str | Path, store: Store, model: Model) -> dict[str, list[dict[str, Any]]]:
    """Tables ``published`` and ``masked``: the model's scores on the questions of ``settings.release``.

    At most ``settings.published_questions`` of a task are asked. Each score is put into ``store`` when it is known, so that an interrupted run
    goes on. A question without a grader is counted and not asked.
    """
    chosen: list[tuple[dict[str, Any], Callable[[str], Grade]]] = []
    asked: dict[str, dict[str, Any]] = {}
    for question in active(root, settings.release):
        task = asked.setdefault(
            question["task"], {"category": question["category"], "active": 0, "asked": 0, "scores": []}
        )
        task["active"] += 1
        if task["asked"] < settings.published_questions and (grade := grader_of(question)) is not None:
            task["asked"] += 1
            chosen.append((question, grade))
    for question, grade in chosen:
        _check_truth(question, grade)
    key = lambda question: f"published {settings.release} {question['question_id']}"
    waiting = [(question, grade) for question, grade in chosen if not store.done(key(question))]
    for begin in progress(range(0, len(waiting), TOGETHER), "published questions"):
        part = waiting[begin : begin + TOGETHER]
        told = model.answers([question["turns"][0] for question, _ in part], model.tokens)
        for (question, grade), text in zip(part, told, strict=True):
            found = grade(text)
            store.put(key(question), {"score": float(found.score), "rule": found.rule})
    scored = [(question["task"], level(question), store.get(key(question))["score"]) for question, _ in chosen]
    for task, _, score in scored:
        asked[task]["scores"].append(score)
    masked = {name: [score for _, found, score in scored if found == name] for name in SHARES}
    return {"published": summary(asked, model.name, settings.release), "masked": levels(masked, model.name)}


def _check_truth(question: dict[str, Any], grade: Callable[[str], Grade]) -> None:
    """Grade an empty answer, so that a truth that no grader reads is found before the model has worked for hours."""
    if question["task"] in CODE:
        return  # its truth is its tests, which are read already
    try:
        grade("")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"question {question['question_id']!r} ({question['task']}) cannot be graded: {error}"
        ) from None


def summary(asked: dict[str, dict[str, Any]], model: str, release: str) -> list[dict[str, Any]]:
    """One row per task, then one per category, then "overall": score in points, its standard error over questions, how many were asked.

    Tasks of which nothing was asked have no score, and are left out of the means.
    """
    known = {name: task for name, task in asked.items() if task["scores"]}
    names = [name for name, task in known.items() for _ in task["scores"]]
    scores = [score for task in known.values() for score in task["scores"]]
    category = {name: task["category"] for name, task in known.items()}
    found = aggregate(scores, names, category) if known else None
    error = {name: _error(task["scores"]) for name, task in known.items()}
    mean_error = lambda errors: None if None in errors else float(np.sqrt(np.sum(np.square(errors))) / len(errors))
    row = lambda kind, name, group, parts, score, spread: {
        "kind": kind, "name": name, "category": group, "questions": sum(part["active"] for part in parts),
        "asked": sum(part["asked"] for part in parts), "score": None if score is None else 100 * score,
        "error": None if spread is None else 100 * spread, "model": model, "release": release,
    }  # fmt: skip
    out = [
        row("task", name, task["category"], [task], found.tasks[name] if found and name in known else None, error.get(name))
        for name, task in asked.items()
    ]  # fmt: skip
    if found is None:
        return out
    group_error = {}
    for group, score in found.categories.items():
        group_error[group] = mean_error([error[name] for name, its in category.items() if its == group])
        parts = [task for task in asked.values() if task["category"] == group]
        out.append(row("category", group, group, parts, score, group_error[group]))
    overall = row(
        "overall", "overall", None, list(asked.values()), found.overall, mean_error(list(group_error.values()))
    )
    return [*out, overall]


def _error(scores: Sequence[float]) -> float | None:
    return standard_error(scores) if len(scores) > 1 else None


def levels(masked: dict[str, list[float]], model: str) -> list[dict[str, Any]]:
    """One row per share of masked formulae that has a question: mean score in points and its standard error."""
    rows = []
    for name, scores in masked.items():
        if scores:
            error = _error(scores)
            score, spread = 100 * float(np.mean(scores)), None if error is None else 100 * error
            rows.append({"level": name, "questions": len(scores), "score": score, "error": spread, "model": model})
    return rows


def overall_too_small(rows: Sequence[dict[str, Any]]) -> str | None:
    """Why the rows of :func:`summary` cannot settle lb-8, or ``None``: not every question of :data:`RELEASE` was asked."""
    tasks = {row["name"]: row for row in rows if row["kind"] == "task"}
    short = [name for name, count in COUNTS.items() if name not in tasks or tasks[name]["asked"] < count]
    other = sorted(set(tasks) - set(COUNTS))
    if any(row["release"] != RELEASE for row in rows):
        return f"the questions are not those of {RELEASE}"
    if short or other:
        told = [f"not all questions of {', '.join(short)} were asked"] if short else []
        return "; ".join([*told, *([f"{', '.join(other)} are no tasks of {RELEASE}"] if other else [])])
    return None


def masking_order(rows: Sequence[dict[str, Any]]) -> tuple[bool, str | None] | None:
    """Whether the scores of :func:`levels` fall from easy to medium to hard, and why that settles nothing (or ``None``).

    ``None`` for the whole where a level has no question. Two levels that differ by less than a standard error of their difference settle nothing.
    """
    found = {row["level"]: row for row in rows}
    if set(found) != set(SHARES):
        return None
    easy, medium, hard = (found[name] for name in SHARES)
    falls = easy["score"] > medium["score"] > hard["score"]
    for one, other in ((easy, medium), (medium, hard)):
        if one["error"] is None or other["error"] is None:
            return falls, "a level has a single question"
        if abs(one["score"] - other["score"]) <= np.hypot(one["error"], other["error"]):
            return falls, f"{one['level']} and {other['level']} differ by less than one standard error"
    return falls, None


# --- made up ------------------------------------------------------------------------------------------------------------


def made_up() -> dict[str, list[dict[str, Any]]]:
    """Invented rows of all three kinds, in the form of the public data: a question of every task and level, one removed, one to come."""
    choice = r"What is $6 \cdot 7$? $\textbf{(A) }41\qquad\textbf{(B) }42\qquad\textbf{(C) }43$"
    tests = json.dumps([{"input": "1 2", "output": "3", "testtype": "stdin"}])
    told = [("keywords:existence", {"keywords": ["art"]}), ("detectable_format:title", {})]
    follow = {
        "ground_truth": "", "instruction_id_list": [name for name, _ in told], "kwargs": [options for _, options in told],
    }  # fmt: skip
    code = {"ground_truth": "", "public_test_cases": tests, "private_test_cases": tests}
    calls = json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}])
    named = {"metadata": json.dumps({"func_name": "add"})}
    called = {"ground_truth": "", "public_test_cases": calls, "private_test_cases": calls, "original_json": named}
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("math", "AMPS_Hard", {"ground_truth": "x^2"}),
        ("math", "math_comp", {"ground_truth": "B", "subtask": "amc_12a_2023", "turns": [choice]}),
        *[("math", "olympiad", {"ground_truth": "2,1,3", "subtask": "imo", "hardness": h}) for h in SHARES.values()],
        ("coding", "LCB_generation", called),
        ("coding", "coding_completion", code | {"partial_solution": "row = input().split()"}),
        ("reasoning", "web_of_lies_v2", {"ground_truth": "yes, no, yes"}),
        ("reasoning", "zebra_puzzle", {"ground_truth": "cat"}),
        ("language", "connections", {"ground_truth": "oak, elm, ash, yew, tin, zinc, lead, gold"}),
        ("language", "typos", {"ground_truth": "The people receive it."}),
        ("language", "plot_unscrambling", {"ground_truth": "Ann wakes. Bob eats."}),
        ("data_analysis", "cta", {"ground_truth": "country"}),
        ("data_analysis", "tablejoin", {"ground_truth": {"a": "x"}}),
        ("data_analysis", "tablereformat", {"ground_truth": "a\tb\n1\t2", "turns": ["Please convert the Input Table from CSV format to TSV format."]}),
        *[("instruction_following", task, follow) for task in ("paraphrase", "simplify", "summarize", "story_generation")],
    ]  # fmt: skip
    dates = {"livebench_release_date": RELEASE, "livebench_removal_date": ""}
    questions = [
        {"question_id": f"q{i}", "category": group, "task": task, "turns": [f"A made-up {task}."]} | dates | fields
        for i, (group, task, fields) in enumerate(kinds)
    ]
    plain = questions[-1] | {"turns": ["Not active."]}
    questions += [
        plain | {"question_id": "removed", "livebench_removal_date": RELEASE},
        plain | {"question_id": "to come", "livebench_release_date": "2024-07-26"},
    ]
    answers = [{"question_id": q["question_id"], "model_id": "made-up", "choices": [{"turns": ["no answer"]}]} for q in questions]  # fmt: skip
    judged = [{"question_id": q["question_id"], "model": "made-up", "score": 0.0} for q in questions]
    return {"question": questions, "model_answer": answers, "model_judgment": judged}


def write_made_up(folder: Path) -> Path:
    """Write :func:`made_up` to ``folder`` as JSON lines; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, rows in made_up().items():
        (folder / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder
