"""The full tier of the chapter `taught_to_know`: the authors' tables of results, real graded answers, and a small public model on itself.

Six parts, each with its own data. A part whose data or model are missing is a message and no failure; what is done is kept, so that an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.public_models import NotHere, Opened, open_model
from workings.chapters.taught_to_know import (
    choice_questions,
    embedded_answers,
    graded_mathematics,
    multiple_choice,
    public_tables,
    released_answers,
    self_knowledge,
)
from workings.chapters.taught_to_know.answerer import Answerer
from workings.chapters.taught_to_know.settings import ModelSettings, Settings
from workings.runs.fetch import FetchError
from workings.runs.store import Store
from workings.statistics import mean_and_sd

Tables = dict[str, list[dict[str, Any]]]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None, model_root: str | Path | None = None) -> Tables:
    """Tables by name: ``sampling`` and ``probe`` (the authors' results), ``graded`` and ``embedded`` (mathematics), ``self`` (a public model), ``released``
    (another model's answers), ``choice`` (the model on multiple-choice questions), ``values`` (what the claims compare) and ``note`` (messages).

    ``data_root`` is a folder with the authors' table and the graded mathematics answers; without one they are fetched and checked. The
    released answers and the multiple-choice questions are read from it only.
    ``model_root`` is a folder with a language model, see :func:`workings.chapters.public_models.open_model`.
    """
    s = ModelSettings.here(dry_run=settings.dry_run)
    name = "dry" if s.dry_run else s.model.rsplit("/", 1)[-1].lower()
    folder = paths.runs_root() / "taught_to_know" / f"{name}-{s.device}"
    return run_protocol(s, folder, data_root, model_root)


def run_protocol(
    settings: ModelSettings, folder: Path, data_root: str | Path | None = None, model_root: str | Path | None = None
) -> Tables:
    """As :func:`run`, with settings and a folder of the caller's."""
    s, notes = settings, []
    tables: Tables = {
        "sampling": [],
        "probe": [],
        "graded": [],
        "embedded": [],
        "self": [],
        "released": [],
        "choice": [],
    }

    def part(what: str, work: Callable[[], Tables]) -> None:
        try:
            tables.update(work())
            notes.append({"message": f"Run: {what}."})
        except (NotHere, FetchError, FileNotFoundError) as missing:
            notes.append({"message": f"Not run: {what}. {missing}"})

    @functools.cache
    def opened() -> Opened:
        return open_model(s, model_root, folder)

    def problems() -> list[dict[str, Any]]:
        return graded_mathematics.made_up(s.questions) if s.dry_run else graded_mathematics.load(data_root)

    def graded() -> Tables:
        store = Store(folder / "graded.jsonl", {"settings": repr(s)})
        if not store.done("graded"):
            store.put("graded", graded_mathematics.run(problems(), s))
        return {"graded": store.get("graded")}

    def embedded() -> Tables:
        store = Store(folder / "embedded.jsonl", {"settings": repr(s), "model": opened().name})
        if not store.done("embedded"):
            store.put("embedded", embedded_answers.run(Answerer(opened(), s), problems(), store))
        return {"embedded": store.get("embedded")}

    def own() -> Tables:
        return {"self": self_knowledge.run(opened(), s, self_knowledge.where(folder, opened().name, s))}

    def released() -> Tables:
        rows = released_answers.made_up(40) if s.dry_run else released_answers.load(data_root)
        store = Store(folder / "released.jsonl", {"settings": repr(s), "model": opened().name})
        return {"released": released_answers.run(opened(), s, rows, store)}

    def choice() -> Tables:
        asked = choice_questions.made_up(s.questions) if s.dry_run else choice_questions.load(data_root)
        for why, count in sorted(asked.left_out.items()):
            notes.append({"message": f"Multiple-choice questions left out, {why}: {count}."})
        store = multiple_choice.where(folder, opened().name, s, asked)
        return {"choice": multiple_choice.run(opened(), s, asked, store)}

    part(
        "the authors' tables of results",
        public_tables.made_up if s.dry_run else lambda: public_tables.tables(data_root),
    )
    part("graded answers to mathematics problems", graded)
    part("the same answers, read by a public model", embedded)
    part("a public model on its own answers", own)
    part("the authors' graded answers of another model, judged by a public one", released)
    part("a public model on multiple-choice questions", choice)
    return tables | {"values": claim_values(tables), "note": notes}


def claim_values(tables: Tables) -> list[dict[str, Any]]:
    """What the claims compare: rows of claim, value, error (standard error, or None) and ``too_small``."""
    found: list[dict[str, Any]] = []

    def add(claim: str, value: float, error: float | None = None, too_small: str | None = None) -> None:
        found.append({"claim": claim, "value": float(value), "error": error, "too_small": too_small})

    if tables["sampling"]:
        mean, sd = mean_and_sd([row["auroc_counting"] for row in tables["sampling"]])
        add("ttk-17", mean, sd / len(tables["sampling"]) ** 0.5)
    if tables["graded"]:
        mean, sd = graded_mathematics.transfer(tables["graded"])
        add("ttk-9", mean, sd / 2)  # four models
        mean, sd = mean_and_sd([row["auroc"] for row in tables["graded"] if row["reads"] == "question"])
        add("ttk-10", mean, sd / 2)
    if tables["embedded"]:
        mean, sd = mean_and_sd(embedded_answers.own(tables["embedded"], "question's states"))
        add("ttk-18", mean, sd / 2)
        states, words = (embedded_answers.own(tables["embedded"], f"answer's {reads}") for reads in ("states", "words"))
        mean, sd = mean_and_sd(states - words)
        add("ttk-19", mean, sd / 2)
    rows = {(row["method"], row["test"]): row for row in tables["self"]}
    if rows and all(row["auroc"] is not None for row in rows.values()):
        _of_the_model(rows, add)
    if tables["choice"]:
        _of_choices({(row["method"], row["subject"]): row for row in tables["choice"]}, add)
    return found


def _of_choices(rows: dict[tuple[str, str], dict[str, Any]], add: Callable[..., None]) -> None:
    tuned, plain = "LoRA + Prompt", "asked"
    pooled = multiple_choice.POOLED
    n = rows[tuned, pooled]["answers"]
    few = None if n >= 500 else f"{n} test answers; 500 were asked for"
    apart = [
        row["auroc"] - rows[plain, subject]["auroc"]
        for (method, subject), row in rows.items()
        if method == tuned and subject not in (pooled, multiple_choice.MEAN) and row["auroc"] is not None
    ]  # the same answers, so that a subject has both or none
    if apart:
        mean, sd = mean_and_sd(apart)
        add("ttk-21", mean, sd / len(apart) ** 0.5, few)
    add("ttk-22", rows[tuned, pooled]["ece"] / max(rows[plain, pooled]["ece"], 1e-9), None, few)


def _of_the_model(rows: dict[tuple[str, str], dict[str, Any]], add: Callable[..., None]) -> None:
    seen = lambda method: rows[method, "seen"]
    wide = lambda row: (row["high"] - row["low"]) / 3.92  # a 95% interval as a standard error
    both = lambda a, b: (wide(seen(a)) ** 2 + wide(seen(b)) ** 2) ** 0.5  # as if apart: too large for the same answers
    tuned, free, plain = "LoRA + Prompt", "LoRA + Prompt, free", "asked, plain"
    small = lambda row: None if row["answers"] >= 500 else f"{row['answers']} test answers; 500 were asked for"
    few = small(seen(tuned))
    ways = [seen(method) for method, test in rows if test == "seen" and method in (plain, "asked, options")]
    add("ttk-1", max(row["auroc"] for row in ways), max(wide(row) for row in ways), few)
    add("ttk-2", min(row["ece"] for row in ways), None, few)
    add("ttk-3", seen(tuned)["auroc"] - seen(plain)["auroc"], both(tuned, plain), few)
    add("ttk-4", seen(tuned)["ece"] / max(seen(plain)["ece"], 1e-9), None, few)
    add("ttk-5", seen(tuned)["auroc"] - seen("Probe")["auroc"], both(tuned, "Probe"), few)
    add("ttk-6", seen(tuned)["auroc"] - seen("likelihood")["auroc"], both(tuned, "likelihood"), few)
    held = next(row for (method, test), row in rows.items() if method == tuned and test.startswith("held out: "))
    add("ttk-8", held["auroc"], wide(held), small(held))
    said = seen("likelihood, sentences")
    add(
        "ttk-14",
        said["accuracy"] - said["confidence"],
        (said["accuracy"] * (1 - said["accuracy"]) / said["answers"]) ** 0.5,
        few,
    )
    add("ttk-20", seen("likelihood")["auroc"] - said["auroc"], both("likelihood", "likelihood, sentences"), few)
    share = lambda method: 100 * (seen(method)["accuracy"] - seen(method)["kept"])
    add("ttk-11", share(tuned), 100 * _lost_error(seen(tuned)), few)
    add("ttk-12", share(free), 100 * _lost_error(seen(free)), few)
    add("ttk-13", seen(free)["ece"] - seen(tuned)["ece"], None, few)
    add("ttk-16", max(abs(row["ece"] - row["ece_decision"]) for row in ways), None, few)


def _lost_error(row: dict[str, Any]) -> float:
    """Standard error of the share of right answers that ``row``'s method lost; where the row holds only the two shares, as if of
    different questions, which is too large.
    """
    if row.get("lost_error") is not None:
        return row["lost_error"]
    shares = (row["accuracy"], row["kept"])
    return (sum(p * (1 - p) for p in shares) / min(row["answers"], self_knowledge.AGAIN)) ** 0.5
