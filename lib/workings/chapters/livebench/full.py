"""The full tier of the chapter `livebench`: the public leaderboard tables, stored answers scored again, a model of one's
own on generated and on published questions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from workings import paths
from workings.chapters.livebench import leaderboard, own_model, published, stored_answers, stored_files
from workings.chapters.livebench.settings import Settings
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.runs.tiers import device_here
from workings.seeding import numpy_generator

TABLES = (
    "releases", "updates", "task_ties", "category_ties", "rows_v1", "rows_iclr", "scatter", "own_model", "agreement", "published",
    "masked", "files",
)  # fmt: skip


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """The full tier's tables by name.

    ``data_root`` is a folder with the public tables (or with a folder ``livebench_leaderboard`` that has them); without one they are
    fetched and checked. If it also holds the stored public answers (:mod:`~workings.chapters.livebench.stored_files`), they are scored
    again, and if it holds the published questions, the model that ``settings.own_model`` names is asked them. A dry run makes all
    of it up. What is done is kept, so that an interrupted run goes on where it stopped.
    """
    store = Store(paths.runs_root() / "livebench" / ("dry.jsonl" if settings.dry_run else "full.jsonl"), settings)
    return run_protocol(settings, store, data_root)


def run_protocol(
    settings: Settings, store: Store, data_root: str | Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """As :func:`run`, with a store of the caller's. ``agreement`` is empty where no stored answers are, ``published`` and ``masked`` where
    no published question is asked (:func:`published.why_not`); ``files`` names what was read, with SHA-256.

    Raises ``FileNotFoundError`` where only a part of the stored answers is there, before anything is run.
    """
    if settings.dry_run and data_root is None:
        with tempfile.TemporaryDirectory() as made:
            return run_protocol(settings, store, published.write_made_up(Path(made)))
    answers_here = stored_answers.available(data_root)
    boards = {}
    for release in leaderboard.RELEASES:
        if settings.dry_run:
            boards[release] = leaderboard.made_up(release, numpy_generator(settings.seeds[0], "table", release))
        else:
            boards[release] = leaderboard.load(release, data_root)
    tables = leaderboard.tables(boards, settings.draws)
    tables["files"] = stored_files.used(data_root)
    jobs = {
        "own_model": lambda: own_model.run(settings),
        "agreement": lambda: stored_answers.rescore(data_root) if answers_here else [],
        "published": lambda: _published(settings, store, data_root),
    }
    found: dict[str, Any] = {}
    for name in progress(list(jobs), "models and answers"):
        if not store.done(name) and (made := jobs[name]()):
            store.put(name, made)  # nothing is not kept: a run may go on with files that were not there before
        found[name] = store.get(name) if store.done(name) else []
    asked = found.pop("published") or {"published": [], "masked": []}
    return tables | found | asked


def _published(settings: Settings, store: Store, data_root: str | Path | None) -> dict[str, list[dict[str, Any]]]:
    if data_root is None or published.why_not(settings, data_root) is not None:
        return {}
    model = own_model.chosen(settings, device_here(), settings.published_tokens)
    return published.run(settings, data_root, store, model)
