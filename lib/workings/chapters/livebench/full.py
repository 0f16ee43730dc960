"""The full tier of the chapter `livebench`: the public leaderboard tables, stored answers scored again, a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.livebench import leaderboard, own_model, stored_answers
from workings.chapters.livebench.settings import Settings
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator

TABLES = (
    "releases", "updates", "task_ties", "category_ties", "rows_v1", "rows_iclr", "scatter", "own_model", "agreement",
)  # fmt: skip


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The full tier's tables by name.

    ``data_root`` is a folder with the public tables (or with a folder ``livebench_leaderboard`` that has them); without one they are
    fetched and checked. If it also holds the stored public answers (:data:`stored_answers.FILES`), they are scored again. A
    dry run makes the tables up. What is done is kept, so that an interrupted run goes on where it stopped.
    """
    store = Store(paths.runs_root() / "livebench" / ("dry.jsonl" if settings.dry_run else "full.jsonl"), settings)
    return run_protocol(settings, store, data_root)


def run_protocol(
    settings: Settings, store: Store, data_root: str | Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """As :func:`run`, with a store of the caller's. ``agreement`` is empty where no stored answers are."""
    boards = {}
    for release in leaderboard.RELEASES:
        if settings.dry_run:
            boards[release] = leaderboard.made_up(release, numpy_generator(settings.seeds[0], "table", release))
        else:
            boards[release] = leaderboard.load(release, data_root)
    tables = leaderboard.tables(boards)
    jobs = {
        "own_model": lambda: own_model.run(settings),
        "agreement": lambda: stored_answers.rescore(data_root) if stored_answers.available(data_root) else [],
    }
    for name in progress(list(jobs), "models and answers"):
        if not store.done(name):
            store.put(name, jobs[name]())
        tables[name] = store.get(name)
    return tables
