"""The full tier of the chapter `giraffe`: all that can be run where one stands, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workings.chapters.giraffe.llm import LLMSettings
from workings.chapters.giraffe.llm_tune import llm_claim_values, llm_tables
from workings.chapters.giraffe.real_text import TextSettings, text_table
from workings.chapters.giraffe.scratch import scratch_settings, scratch_tables
from workings.chapters.giraffe.settings import Settings

Tables = dict[str, list[dict[str, Any]]]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None, model_root: str | Path | None = None) -> Tables:
    """Tables by name: models from scratch, a public model on LongChat-Lines, the same fine-tuned, and real texts.

    ``lines``, ``distances``, ``layouts`` and ``characters`` are of the models from scratch; ``language model`` and ``real
    text`` of models that others trained, empty where they or their data are missing. ``values`` holds what the claims
    compare (``claim``, ``value``, ``sd`` and the number of ``seeds``), ``note`` a message on each part. ``model_root`` is a
    folder with a language model, ``data_root`` one with ``<n>_lines.jsonl`` and ``*.txt``.
    """
    language = LLMSettings.here(dry_run=settings.dry_run)
    tables = scratch_tables(scratch_settings(dry_run=settings.dry_run))
    found = llm_tables(language, model_root, data_root)
    texts = text_table(TextSettings.here(dry_run=settings.dry_run), model_root, data_root)
    tables["language model"], tables["real text"] = found.rows, texts.rows
    values = llm_claim_values(found.rows, language)
    tables["values"] += [{"claim": name, "value": value, "sd": None, "seeds": 1} for name, value in values.items()]
    tables["note"] += [{"message": found.message}, {"message": texts.message}]
    return tables
