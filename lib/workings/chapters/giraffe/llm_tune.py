"""The full tier (c) of the chapter `giraffe`: LoRA fine-tuning under scaled frequencies, and the tables of (b) and (c).

Low-rank fine-tuning through `peft` on pieces of long documents, or on questions of the task itself, then LongChat-Lines
again. A finished adapter is saved and opened again by the next run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from workings.chapters import public_models
from workings.chapters.giraffe import llm
from workings.chapters.giraffe.llm import LLMSettings
from workings.chapters.giraffe.settings import Settings
from workings.chapters.public_models import NotHere, Opened
from workings.language_models.grammar import sentences
from workings.language_models.lines_task import longchat_prompt
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator, torch_generator
from workings.training import fit, one_cycle

ON_TASK = "linear 4, on the task"  # fine-tuned on questions and answers instead of plain text
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LLMTables(NamedTuple):
    """``rows`` of (b) and (c) together, and a ``message``: what was run, or why not."""

    rows: list[dict[str, Any]]
    message: str


@Settings.needs.guard
def llm_tables(
    settings: LLMSettings, model_root: str | Path | None = None, data_root: str | Path | None = None
) -> LLMTables:
    """All that can be run here of (b) and (c); never an error for what is missing, but a message.

    ``model_root`` is a folder with a model saved by `transformers` (else it is fetched by name, on a GPU only);
    ``data_root`` may hold ``<n>_lines.jsonl`` of LongChat-Lines and long documents ``*.txt``.
    """
    folder = llm.llm_folder(settings)
    try:
        opened = public_models.open_model(settings, model_root, folder)
    except NotHere as missing:
        return LLMTables([], f"Not run: {missing}")
    store = Store(folder / "cells.jsonl", {"settings": repr(settings), "model": opened.name})
    table = llm.cases_of(settings, data_root)
    watch = lambda jobs: progress(jobs, "lengths")
    rows = llm.longchat_rows(opened, settings.kinds, table, settings, store, watch=watch)
    message = f"Zero-shot on {opened.name}: run."
    if not settings.tune_steps:
        return LLMTables(rows, message + " Fine-tuning: not run, it needs a GPU.")
    if importlib.util.find_spec("peft") is None:
        return LLMTables(rows, message + " Fine-tuning: not run, peft is not installed.")
    try:
        pieces = text_pieces(opened, settings, data_root)
    except NotHere as missing:
        return LLMTables(rows, message + f" Fine-tuning: not run, {missing}")
    for name in (*settings.tuned, ON_TASK):
        examples = task_examples(opened, settings) if name == ON_TASK else pieces
        change = "linear 4" if name == ON_TASK else name
        tuned = tuned_model(opened, name, change, examples, settings, folder)
        rows += llm.longchat_rows(tuned, [change], table, settings, store, train=name, watch=watch)
        tuned.model.unload()  # the plain model again, without the adapter
    return LLMTables(rows, message + " LoRA fine-tuning: run.")


def llm_claim_values(rows: Iterable[dict[str, Any]], settings: LLMSettings) -> dict[str, float]:
    """What :func:`llm_tables` measured of claims gir-7, gir-8 and gir-11; those that were not measured are left out.

    gir-11: unscaled accuracy at ``double`` lines; left out where the model answers fewer than half of the questions on the
    shortest list, as a model that reads no list at all would pass. gir-8: mean accuracy at 100 to 300 lines at scale 4, after LoRA at that
    scale over before (a zero counts as one right answer in one length). gir-7: what tuning on the task adds at 100 lines
    minus what it adds at 400.
    """
    found = {(row["train"], row["eval"], row["lines"]): row for row in rows if row["accuracy"] is not None}

    def accuracy(train: str, name: str, lines: Iterable[int]) -> float:
        values = [found[train, name, n]["accuracy"] for n in lines]
        return sum(values) / len(values)

    values = {}
    middle = [n for n in settings.lines if 100 <= n <= 300]
    try:
        if accuracy("none", "RoPE", [min(settings.lines)]) >= 0.5:
            values["gir-11"] = accuracy("none", "RoPE", [settings.double])
        least = 1 / (sum(found["none", "linear 4", n]["cases"] for n in middle) or 1)
        before = max(accuracy("none", "linear 4", middle), least)
        values["gir-8"] = accuracy("linear 4", "linear 4", middle) / before
        gain = [accuracy(ON_TASK, "linear 4", [n]) - accuracy("linear 4", "linear 4", [n]) for n in (100, 400)]
        values["gir-7"] = gain[0] - gain[1]
    except (KeyError, ZeroDivisionError):  # something was not run here
        pass
    return values


def text_pieces(opened: Opened, settings: LLMSettings, data_root: str | Path | None = None) -> torch.Tensor:
    """Pieces of long documents with half overlap: (N, tune_tokens) int64.

    Documents are the ``*.txt`` files under ``data_root``; else WikiText-103 through `datasets`. A dry run makes a text.
    """
    if settings.dry_run:
        documents = [sentences(40, torch_generator(settings.seed, "documents"))]
    elif data_root is not None and (files := sorted(Path(data_root).glob("*.txt"))):
        documents = [file.read_text(encoding="utf-8") for file in files]
    else:
        documents = _wikitext()
    length, pieces = settings.tune_tokens, []
    needed = 2 * settings.tune_steps * settings.tune_batch
    for document in documents:
        if len(document) < settings.min_characters or len(pieces) >= needed:
            continue
        codes = torch.tensor(opened.tokenizer.encode(document))
        if len(codes) >= length:
            pieces += list(codes.unfold(0, length, length // 2))
    if not pieces:
        raise NotHere(f"no document has {settings.min_characters} characters and {length} tokens.")
    return torch.stack(pieces[:needed])


def _wikitext() -> list[str]:
    """Articles of WikiText-103, joined to documents of about 30,000 characters; :class:`NotHere` where it cannot be had."""
    if importlib.util.find_spec("datasets") is None:
        raise NotHere("no *.txt under data_root, and datasets is not installed.")
    from datasets import load_dataset

    try:
        rows = load_dataset("Salesforce/wikitext", "wikitext-103-raw-v1", split="train[:10%]")["text"]
    except Exception as error:  # datasets raises many kinds for a missing network
        raise NotHere(
            f"WikiText-103 could not be fetched ({type(error).__name__}); put *.txt under data_root."
        ) from None
    documents, part, size = [], [], 0
    for row in rows:
        part.append(row)
        size += len(row)
        if size >= 30_000:
            documents.append("".join(part))
            part, size = [], 0
    return documents


def task_examples(opened: Opened, settings: LLMSettings) -> list[tuple[list[int], list[int]]]:
    """Questions of random lengths and their answers, as tokens; none longer than ``tune_tokens``."""
    rng = numpy_generator(settings.seed, "longchat", "train")
    end = [opened.tokenizer.eos_token_id]
    examples: list[tuple[list[int], list[int]]] = []
    most = max(1, settings.tune_tokens // 24)
    for _ in range(settings.tune_steps * settings.tune_batch):
        prompt, number = longchat_prompt(rng, int(rng.integers(1, most + 1)))
        answer = opened.tokenizer.encode(str(number), add_special_tokens=False) + end
        examples.append((llm.encode(opened.tokenizer, prompt), answer))
    return examples


def tuned_model(opened: Opened, name: str, change: str, examples: Any, settings: LLMSettings, folder: Path) -> Opened:
    """``opened`` with a LoRA adapter trained under ``change``; read from ``folder`` when an earlier run finished it."""
    import peft

    place = folder / f"adapter-{name.replace(' ', '-').replace(',', '')}"
    llm.set_scaling(opened, change, settings, seq_len=settings.tune_tokens)
    if (place / "adapter_config.json").is_file():
        return opened._replace(model=peft.PeftModel.from_pretrained(opened.model, place).eval())
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=16, lora_dropout=0.05, target_modules=PROJECTIONS, task_type="CAUSAL_LM"
    )
    with global_seed(settings.seed, "weights"):
        model = peft.get_peft_model(opened.model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small steps are lost in half precision
    batches = _task_batches(examples, opened, settings) if name == ON_TASK else _text_batches(examples, settings)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=settings.tune_lr)
    dtype = next(opened.model.parameters()).dtype
    fit(
        model, _loss, batches, optimiser, settings.tune_steps, seed=settings.seed, clip_norm=1.0,
        schedule=one_cycle(settings.tune_steps, warmup=0.1), autocast=None if dtype == torch.float32 else dtype,
        progress=not settings.dry_run,
    )  # fmt: skip
    model.save_pretrained(place)
    return opened._replace(model=model.eval())


def _loss(model: torch.nn.Module, batch: dict[str, torch.Tensor], _: torch.Generator) -> torch.Tensor:
    device = next(model.parameters()).device
    return model(**{name: value.to(device) for name, value in batch.items()}, use_cache=False).loss


def _text_batches(pieces: torch.Tensor, settings: LLMSettings) -> Callable[[int], dict[str, torch.Tensor]]:
    def batches(step: int) -> dict[str, torch.Tensor]:
        chosen = torch.randint(
            len(pieces), (settings.tune_batch,), generator=torch_generator(settings.seed, "pieces", step)
        )
        return {"input_ids": pieces[chosen], "labels": pieces[chosen]}

    return batches


def _task_batches(
    examples: list[tuple[list[int], list[int]]], opened: Opened, settings: LLMSettings
) -> Callable[[int], dict[str, torch.Tensor]]:
    def batches(step: int) -> dict[str, torch.Tensor]:
        chosen = examples[step * settings.tune_batch : (step + 1) * settings.tune_batch]
        return padded(chosen, opened.tokenizer.eos_token_id)

    return batches


def padded(examples: Iterable[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Questions and answers as one batch, padded on the right; the loss counts the answers only (labels -100 elsewhere)."""
    examples = list(examples)
    longest = max(len(question) + len(answer) for question, answer in examples)
    tokens = torch.full((len(examples), longest), pad)
    labels = torch.full((len(examples), longest), -100)
    mask = torch.zeros(len(examples), longest, dtype=torch.int64)
    for i, (question, answer) in enumerate(examples):
        stop = len(question) + len(answer)
        tokens[i, :stop] = torch.tensor(question + answer)
        labels[i, len(question) : stop] = torch.tensor(answer)
        mask[i, :stop] = 1
    return {"input_ids": tokens, "labels": labels, "attention_mask": mask}
