"""From scores of questions to a leaderboard: equal weights, intervals, releases, correlations, and a judge's two errors.

Source: White et al. 2024 (arXiv 2406.19314): section 2 (weights, releases), Figures 1 and 5 (intervals; what is resampled is
our choice), section 3 (correlations), Tables 2 and 5 of v1 (judge).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from workings.checks import as_finite_array, as_int, as_numpy_generator, as_probability


class Scores(NamedTuple):
    """Means in [0, 1]: of all categories, by category, and by task."""

    overall: float
    categories: dict[str, float]
    tasks: dict[str, float]


def _checked(scores: Any, task: Sequence[str], category: Mapping[str, str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores (n,) in [0, 1] and the places of each task's questions, tasks in the order of ``category``."""
    values = as_finite_array(scores, "scores")
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores must be (n,) with n >= 1, got shape {values.shape}.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"scores must lie in [0, 1], got {values.min():g} to {values.max():g}; divide points by 100.")
    if not isinstance(category, Mapping) or not category:
        raise TypeError(f"category must map each task to its category, got {type(category).__name__}.")
    if isinstance(task, str):
        raise TypeError("task must be a list with the task of each question, not one text.")
    names = [str(name) for name in task]
    if len(names) != len(values):
        raise ValueError(f"{len(values)} scores but {len(names)} tasks; give the task of each question.")
    unknown = sorted(set(names) - set(category))
    if unknown:
        raise ValueError(f"no category for the tasks {unknown}; add them to category.")
    listed = np.array(names)
    places = {name: np.flatnonzero(listed == name) for name in category}
    empty = [name for name, found in places.items() if len(found) == 0]
    if empty:
        raise ValueError(f"no question of the tasks {empty}: their means are undefined; leave them out of category.")
    return values, places


def _groups(category: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, group in category.items():
        groups.setdefault(group, []).append(name)
    return groups


def aggregate(scores: Any, task: Sequence[str], category: Mapping[str, str]) -> Scores:
    """Task means, the plain mean of tasks for each category, and the plain mean of categories.

    ``scores`` (n,) in [0, 1], ``task`` (n,) the task of each question, ``category`` task -> category. A task counts the same
    however many questions it has. Raises ``ValueError`` for a task without questions, an unknown task, NaN, or a score outside [0, 1].
    """
    values, places = _checked(scores, task, category)
    means = {name: float(values[found].mean()) for name, found in places.items()}
    groups = {group: float(np.mean([means[name] for name in names])) for group, names in _groups(category).items()}
    return Scores(float(np.mean(list(groups.values()))), groups, means)


def bootstrap_overall(
    scores: Any,
    task: Sequence[str],
    category: Mapping[str, str],
    n: int = 2000,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the overall score: questions are resampled within their task, ``n`` times.

    Arguments as for :func:`aggregate`. Time and memory grow with ``n`` times the number of questions of a task.
    """
    values, places = _checked(scores, task, category)
    as_numpy_generator(rng, "rng")
    n, level = as_int(n, "n", minimum=1), as_probability(level, "level")
    groups = _groups(category)
    total = np.zeros(n)
    for names in groups.values():
        for name in names:
            found = values[places[name]]
            drawn = found[rng.integers(0, len(found), (n, len(found)))].mean(axis=1)
            total += drawn / (len(names) * len(groups))
    low, high = np.quantile(total, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def active_questions(questions: Sequence[Mapping[str, Any]], release: str) -> list[Mapping[str, Any]]:
    """The questions that count at ``release``: released on or before it, and not removed on or before it.

    Each question has ``"released"`` and may have ``"removed"`` (None or empty: not yet), dates as ``YYYY-MM-DD``, which compare as text.
    """
    at = _date(release, "release")
    kept = []
    for number, question in enumerate(questions):
        if not isinstance(question, Mapping) or "released" not in question:
            raise ValueError(f"question {number} has no 'released' date.")
        begun, ended = _date(question["released"], "released"), question.get("removed")
        if begun <= at and (not ended or _date(ended, "removed") > at):
            kept.append(question)
    return kept


def _date(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError(f"{name} must be a date such as '2024-06-24', got {value!r}.")
    return value


def leaked_share(period: int, leak: int) -> float:
    """Share of leaked questions when ``1/period`` of them is replaced each month, oldest first, and each leaks ``leak`` months later.

    Right after a refresh the ages 0, 1, ..., period - 1 (months) hold equal shares, so ``(period - leak)/period``, and 0 for a
    later leak.
    """
    period, leak = as_int(period, "period", minimum=1), as_int(leak, "leak", minimum=0)
    return max(period - leak, 0) / period


def judge_confusion(true_rate: Any, judged_rate: Any, error_rate: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both kinds of a judge's errors, as shares of all answers: wrong ones passed, right ones failed.

    From the share that is right ``g``, the share that is judged right ``j`` and the share judged wrongly ``e``:
    ``((e + j - g)/2, (e - j + g)/2)``, because the two add to ``e`` and differ by ``j - g``. All in [0, 1], of any shapes that broadcast.
    Raises ``ValueError`` where no judge can have those rates.
    """
    g, j, e = (
        as_finite_array(v, name)
        for v, name in ((true_rate, "true_rate"), (judged_rate, "judged_rate"), (error_rate, "error_rate"))
    )
    for values, name in ((g, "true_rate"), (j, "judged_rate"), (e, "error_rate")):
        if values.size and (values.min() < 0 or values.max() > 1):
            raise ValueError(f"{name} must lie in [0, 1], got {values.min():g} to {values.max():g}.")
    try:
        passed, failed = (e + (j - g)) / 2, (e - (j - g)) / 2
    except ValueError:
        raise ValueError(f"the rates have shapes {g.shape}, {j.shape}, {e.shape}, which do not broadcast.") from None
    slack = 1e-12
    if np.any(np.minimum(passed, failed) < -slack):
        raise ValueError("error_rate is below |judged_rate - true_rate|: no judge can be wrong that rarely.")
    if np.any(passed > 1 - g + slack) or np.any(failed > g + slack):
        raise ValueError("error_rate is too high: more answers would be judged wrongly than there are of a kind.")
    return np.maximum(passed, 0.0), np.maximum(failed, 0.0)


def _two(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_finite_array(x, "x"), as_finite_array(y, "y")
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"x and y must both be (n,) with n >= 2, got {x.shape} and {y.shape}.")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("a constant has no correlation with anything.")
    return x, y


def pearson(x: Any, y: Any) -> float:
    """Pearson's correlation of ``x`` (n,) and ``y`` (n,): in [-1, 1]. Raises ``ValueError`` for a constant."""
    x, y = _two(x, y)
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def spearman(x: Any, y: Any) -> float:
    """Spearman's rank correlation of ``x`` (n,) and ``y`` (n,): Pearson's of the ranks, ties at their mean rank."""
    x, y = _two(x, y)
    return pearson(stats.rankdata(x), stats.rankdata(y))
