"""What the demo of the chapter `livebench` runs: simulated models on generated questions, and simulated refreshes.

No language model is run. A *model* here is a solver that takes each step of a question right with one probability, its
competence, and writes the answer in an unusual form with another, its slip rate. What such models score is put in by hand; what
the scorers and the arithmetic make of it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from workings.chapters.livebench.settings import Settings
from workings.checks import as_float, as_int
from workings.language_models import puzzle_questions, text_questions
from workings.language_models.benchmark_scores import aggregate, bootstrap_overall, spearman
from workings.language_models.edit_distance import levenshtein
from workings.language_models.grading import Grade
from workings.language_models.grading_language import score_connections, score_plot, score_typos
from workings.language_models.grading_mathematics import score_amps, score_olympiad
from workings.language_models.grading_reasoning import score_web_of_lies, score_zebra
from workings.language_models.grading_tables import score_table_join
from workings.language_models.puzzle_questions import Question
from workings.seeding import numpy_generator

# --- contamination -----------------------------------------------------------------------------------------------------


def measured_history(refresh: float, leak: float, skill: float, months: int = 12, questions: int = 120) -> np.ndarray:
    """Expected score of a model of true ``skill`` at releases 0 to ``months``: (months + 1,), in [0, 1].

    Each month every public question leaks with probability ``leak``, and the oldest ``refresh`` share is replaced. A leaked
    question is answered right. At release 0 nothing has leaked.
    """
    for value, name in ((refresh, "refresh"), (leak, "leak"), (skill, "skill")):
        as_float(value, name, minimum=0.0, maximum=1.0)
    ages = np.zeros(as_int(questions, "questions", minimum=1))
    replaced = round(refresh * len(ages))
    scores = [skill]
    for _ in range(as_int(months, "months", minimum=1)):
        ages = np.sort(ages + 1)[::-1]
        ages[:replaced] = 0
        leaked = 1 - (1 - leak) ** ages
        scores.append(float(np.mean(skill + (1 - skill) * leaked)))
    return np.array(scores)


def counted_leaked_share(period: int, leak: int, questions: int = 60) -> float:
    """The share of leaked questions, counted after ``4 * period`` months of replacing the oldest ``1/period``."""
    ages = np.zeros(questions, dtype=int)
    for _ in range(4 * period):
        ages = np.sort(ages + 1)[::-1]
        ages[: questions // period] = 0
    return float((ages >= leak).mean())


# --- simulated models --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A solver: ``competence`` is the chance of a right step, ``slip`` that of an unusual form of the answer."""

    name: str
    competence: float
    slip: float


MODELS = (
    Model("A: strong, tidy", 0.95, 0.0),
    Model("B: strong, untidy", 0.95, 0.4),
    Model("C: good", 0.85, 0.1),
    Model("D: middling, tidy", 0.7, 0.0),
    Model("E: middling, untidy", 0.7, 0.4),
    Model("F: weak", 0.5, 0.1),
)


class Task(NamedTuple):
    """A generator, a solver ``(rng, question, competence) -> answer``, a scorer, and how the answer is wrapped."""

    category: str
    make: Callable[[np.random.Generator], Question]
    solve: Callable[[np.random.Generator, Question, float], str]
    score: Callable[..., Grade]


def _lies(rng: np.random.Generator, question: Question, competence: float) -> str:
    """Follow the sayings from the known fact; a wrong step turns the answer and all that hangs on it."""
    m = question.meta
    known, waiting = {}, list(m["facts"])
    while waiting:
        person, value = waiting.pop()
        if person in known:
            continue
        known[person] = value
        for a, b, alike in m["sayings"]:
            if person in (a, b):
                other = b if person == a else a
                wrong = rng.random() >= competence
                waiting.append((other, (value == alike) != wrong))
    return ", ".join("yes" if known[a] else "no" for a in m["asked"])


def _zebra(rng: np.random.Generator, question: Question, competence: float) -> str:
    pools = [[w for w in options] for _, options in puzzle_questions.ATTRIBUTES]
    said = []
    for item in question.truth.split(", "):
        pool = next(options for options in pools if item in options)[: question.meta["people"]]
        said.append(item if rng.random() < competence else pool[int(rng.integers(len(pool)))])
    return ", ".join(said)


def _connections(rng: np.random.Generator, question: Question, competence: float) -> str:
    words = question.truth.split(", ")
    for i in range(len(words)):
        if rng.random() >= competence ** (1 / 4):
            j = int(rng.integers(len(words)))
            words[i], words[j] = words[j], words[i]
    return ", ".join(words)


def _typos(rng: np.random.Generator, question: Question, competence: float) -> str:
    right = question.truth.split(" ")
    wrong = question.meta["wrong"].split(" ")
    return " ".join(a if rng.random() < competence ** (1 / 3) else b for a, b in zip(right, wrong, strict=True))


def _plot(rng: np.random.Generator, question: Question, competence: float) -> str:
    said = [s.strip() for s in question.truth.split(".") if s.strip()]
    for sentence in list(said):
        if rng.random() >= competence:
            said.remove(sentence)
            said.insert(int(rng.integers(len(said) + 1)), sentence)
    return ". ".join(said) + "."


def _join(rng: np.random.Generator, question: Question, competence: float) -> str:
    columns = list(question.meta["second"])
    said = {
        a: b if rng.random() < competence else columns[int(rng.integers(len(columns)))]
        for a, b in question.truth.items()
    }
    return str(said)


def _derivative(rng: np.random.Generator, question: Question, competence: float) -> str:
    terms = question.truth.split(" + ")
    return " + ".join(t if rng.random() < competence else t.replace("x", "2x", 1) for t in terms)


def _order(rng: np.random.Generator, question: Question, competence: float) -> str:
    return guessed_order(rng, question.truth.split(","), competence)


def guessed_order(rng: np.random.Generator, truth: list[str], competence: float) -> str:
    """Each place is known with probability ``competence``; the others are filled with what is left, in random order."""
    known = rng.random(len(truth)) < competence
    rest = [truth[i] for i in np.flatnonzero(~known)]
    rest = [rest[i] for i in rng.permutation(len(rest))]
    return ",".join(item if k else rest.pop() for item, k in zip(truth, known, strict=True))


TASKS: dict[str, Task] = {
    "web of lies": Task("reasoning", puzzle_questions.web_of_lies, _lies, score_web_of_lies),
    "zebra": Task("reasoning", lambda rng: puzzle_questions.zebra(rng, 3, 3), _zebra, score_zebra),
    "connections": Task("language", text_questions.connections, _connections, score_connections),
    "typos": Task("language", text_questions.typos, _typos, score_typos),
    "plot": Task("language", text_questions.plot, _plot, score_plot),
    "join": Task("data", text_questions.table_join, _join, score_table_join),
    "derivative": Task("mathematics", text_questions.derivative, _derivative, score_amps),
    "proof": Task("mathematics", lambda rng: text_questions.masked_order(rng, 12, 0.5), _order, score_olympiad),
}
CATEGORY = {name: task.category for name, task in TASKS.items()}


def written(task: str, content: str, form: int) -> str:
    """The answer ``content`` in the form asked for (0), or in one of three that a person would accept.

    1: bold instead of the tag. 2: the tag over several lines, with capitals. 3: bare, after a word of chat.
    """
    if form == 0:
        if task == "plot":
            return f"<PLOT_SUMMARY>{content}"
        if task == "derivative":
            return f"\\boxed{{{content}}}"
        return f"Answer: {content}" if task == "proof" else f"<solution>{content}</solution>"
    if form == 1:
        return f"I am sure: **{content}**"
    if form == 2:
        return f"<solution>\n{content.title() if task in ('web of lies', 'zebra', 'connections') else content}\n</solution>"
    return f"Here it is.\n{content}"


def grade(task: str, truth: Any, answer: str, *, strict: bool = False) -> Grade:
    """The grade of a simulated model's ``answer``: the task's scorer, by the rules of November 2024."""
    options = {"symbolic": False} if task == "derivative" else {}
    return TASKS[task].score(truth, answer, rules="2024-11-25", strict=strict, **options)


def run_models(settings: Settings, seed: int) -> dict[str, np.ndarray]:
    """Scores of :data:`MODELS` on ``settings.questions`` questions of each task: ``official`` and ``strict``, (6, 8 n)."""
    count = as_int(settings.questions, "questions", minimum=1)
    asked = [
        (name, task.make(numpy_generator(seed, "question", name, i)))
        for name, task in TASKS.items()
        for i in range(count)
    ]
    out = {"official": np.zeros((len(MODELS), len(asked))), "strict": np.zeros((len(MODELS), len(asked)))}
    for m, model in enumerate(MODELS):
        for q, (name, question) in enumerate(asked):
            rng = numpy_generator(seed, "answer", model.name, q)
            content = TASKS[name].solve(rng, question, model.competence)
            form = int(rng.integers(1, 4)) if rng.random() < model.slip else 0
            answer = written(name, content, form)
            out["official"][m, q] = grade(name, question.truth, answer).score
            out["strict"][m, q] = grade(name, question.truth, answer, strict=True).score
    return out


def task_names(count: int) -> list[str]:
    """The task of each of the questions of :func:`run_models`."""
    return [name for name in TASKS for _ in range(count)]


def wrong_puzzles(count: int, seed: int = 0) -> int:
    """How many of ``count`` generated puzzles (half webs of lies, half zebras) have not exactly one answer, counted exhaustively."""
    wrong = 0
    for i in range(count):
        if i % 2 == 0:
            m = puzzle_questions.web_of_lies(numpy_generator(seed, "lies", i)).meta
            wrong += len(puzzle_questions.web_of_lies_answers(m["people"], m["facts"], m["sayings"], m["asked"])) != 1
        else:
            m = puzzle_questions.zebra(numpy_generator(seed, "zebra", i), 4, 3).meta
            wrong += len(puzzle_questions.zebra_solutions(m["people"], m["attributes"], m["clues"])) != 1
    return wrong


def coverage(sets: int, draws: int = 300, questions: int = 40, seed: int = 0) -> float:
    """Share of 95% bootstrap intervals that hold the expected overall score, over ``sets`` simulated models on eight tasks."""
    names, held = task_names(questions), 0
    for i in range(sets):
        rng = numpy_generator(seed, "coverage", i)
        chance = np.repeat(rng.uniform(0.2, 0.8, len(TASKS)), questions)
        scores = (rng.random(len(chance)) < chance).astype(float)
        low, high = bootstrap_overall(scores, names, CATEGORY, draws, rng=rng)
        held += low <= aggregate(chance, names, CATEGORY).overall <= high
    return held / sets


# --- refresh, masks ----------------------------------------------------------------------------------------------------


def refresh_experiment(seed: int, models: int = 20, questions: int = 240) -> dict[str, float]:
    """Replace a sixth of the questions, at random or the easiest: rank correlation and change of the mean, in points.

    A question of difficulty d is solved by a model of skill s with probability 1/(1 + exp(d - s)), s and d normal with
    spreads 1 and 1.5. New questions have the old ones' distribution.
    """
    rng = numpy_generator(seed, "refresh")
    skill, old = rng.normal(0, 1, models), rng.normal(0, 1.5, questions)
    new = rng.normal(0, 1.5, questions // 6)
    answer = lambda d: (rng.random((models, len(d))) < 1 / (1 + np.exp(d - skill[:, None]))).astype(float)
    before, fresh = answer(old), answer(new)
    at_random, easiest = rng.permutation(questions), np.argsort(-before.mean(0))
    out = {}
    for name, order in (("random", at_random), ("easiest", easiest)):
        after = np.concatenate([before[:, order[len(new) :]], fresh], axis=1)
        out[f"rank_{name}"] = spearman(before.mean(1), after.mean(1))
        out[f"change_{name}"] = 100 * float((after.mean(1) - before.mean(1)).mean())
    return out


SHARES = {"easy": 0.1, "medium": 0.5, "hard": 0.8}


def masking(seed: int, competence: float, formulae: int = 30, problems: int = 40) -> dict[str, float]:
    """Mean score in points with 10, 50 and 80% of ``formulae`` masked, for a solver that knows each place with ``competence``."""
    out = {}
    for name, share in SHARES.items():
        scores = []
        for i in range(problems):
            question = text_questions.masked_order(numpy_generator(seed, "proof", name, i), formulae, share)
            rng = numpy_generator(seed, "proof answer", name, i)
            answer = "Answer: " + guessed_order(rng, question.truth.split(","), competence)
            scores.append(score_olympiad(question.truth, answer).score)
        out[name] = 100 * float(np.mean(scores))
    return out


def plot_after_swaps(seed: int, swaps: int, sentences: int = 20, repeats: int = 50) -> float:
    """Mean plot score after ``swaps`` exchanges of two random sentences."""
    rng, total = numpy_generator(seed, "swaps", swaps), 0.0
    for _ in range(repeats):
        order = np.arange(sentences)
        for _ in range(swaps):
            i, j = rng.integers(0, sentences, 2)
            order[[i, j]] = order[[j, i]]
        total += 1 - levenshtein(range(sentences), np.argsort(order).tolist()) / sentences
    return total / repeats


def judge_errors(seed: int, answers: int = 200) -> float:
    """Largest difference between a simulated judge's counted errors and those computed from its three rates."""
    from workings.language_models.benchmark_scores import judge_confusion

    rng, worst = numpy_generator(seed, "judge"), 0.0
    for _ in range(20):
        right = rng.random(answers) < rng.random()
        said = np.where(rng.random(answers) < rng.uniform(0, 0.5), ~right, right)
        counted = np.array([(said & ~right).mean(), (right & ~said).mean()])
        found = np.array(judge_confusion(right.mean(), said.mean(), (right != said).mean()))
        worst = max(worst, float(np.abs(counted - found).max()))
    return worst
