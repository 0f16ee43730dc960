"""A language model of one's own on generated questions, through `transformers`: prompts, greedy answers, grades.

``Settings.own_model`` is the folder of a model that `transformers` can read. Without one the small model of an optional Python package
answers, where that is installed; and where it is not, a tiny network with random weights that reads bytes goes the same way, which shows
that the way works and scores next to nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workings.chapters.livebench.demo import TASKS, grade
from workings.chapters.livebench.settings import Settings
from workings.chapters.public_models import PACKAGED, NotHere, encode, open_model
from workings.runs.progress import progress
from workings.seeding import global_seed, numpy_generator


class Model(NamedTuple):
    """``answers`` turns prompts and a number of tokens into texts, greedily; asked this many questions of a task, with so many tokens."""

    name: str
    answers: Callable[[Sequence[str], int], list[str]]
    questions: int
    tokens: int


class Packaged(NamedTuple):
    """What :func:`workings.chapters.public_models.open_model` asks of settings."""

    model: str
    device: str = "cpu"
    dry_run: bool = False
    trained_length: int = 2048
    seed: int = 0


def random_model(seed: int) -> Callable[[Sequence[str], int], list[str]]:
    """A tiny Llama with random weights over bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=4096
    )
    with global_seed(seed, "own model"):
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=256, bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes)
        ).eval()

    def answer(prompt: str, tokens: int) -> str:
        given = torch.tensor([list(prompt.encode())[-2000:]])
        with torch.no_grad():
            out = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=tokens, do_sample=False)
        return bytes(out[0, given.shape[1] :].tolist()).decode("utf-8", errors="replace")

    return lambda prompts, tokens: [answer(prompt, tokens) for prompt in prompts]


def real_model(model: Any, tokenizer: Any) -> Callable[[Sequence[str], int], list[str]]:
    """Answers of ``model`` in the form its tokenizer gives a talk; prompts are padded on the left and answered together."""
    import torch

    end = tokenizer.eos_token_id

    def answers(prompts: Sequence[str], tokens: int) -> list[str]:
        rows = [encode(tokenizer, prompt) for prompt in prompts]
        width = max(len(row) for row in rows)
        given = torch.tensor([[end] * (width - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
        with torch.no_grad():
            out = model.generate(
                given, attention_mask=mask, max_new_tokens=tokens, do_sample=False, eos_token_id=end, pad_token_id=end
            )
        return [tokenizer.decode(row[width:], skip_special_tokens=True) for row in out]

    return answers


def chosen(settings: Settings, device: str = "cpu", tokens: int | None = None) -> Model:
    """The model that ``settings`` name, else the packaged one, else random weights; ``FileNotFoundError`` for a folder that is none.

    It runs on ``device`` and answers with at most ``tokens`` tokens (``None``: ``settings.own_tokens``), random weights with at most 8.
    """
    tokens = settings.own_tokens if tokens is None else tokens
    seed, root = settings.seeds[0], settings.own_model
    if root and not Path(root).is_dir():
        raise FileNotFoundError(
            f"own_model must be a folder with a model that transformers can read; there is none at {root!r}."
        )
    if not settings.dry_run:
        try:
            opened = open_model(Packaged(PACKAGED, device, seed=seed), root or None)
            return Model(opened.name, real_model(opened.model, opened.tokenizer), settings.own_questions, tokens)
        except NotHere:
            if root:
                raise
    return Model("random weights", random_model(seed), min(settings.own_questions, 2), min(tokens, 8))


def run(settings: Settings) -> list[dict[str, Any]]:
    """One row per task: questions, mean official and strict score with the standard error of the first, the model, and how its first
    answer begins; empty where `transformers` is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return []
    seed, model = settings.seeds[0], chosen(settings)
    out = []
    for name in progress(list(TASKS), "a model's answers"):
        task, n = TASKS[name], model.questions
        asked = [task.make(numpy_generator(seed, "question", name, i)) for i in range(n)]
        told = model.answers([question.prompt for question in asked], model.tokens)
        grades = {
            rule: [grade(name, q.truth, text, strict=rule == "strict").score for q, text in zip(asked, told, strict=True)]
            for rule in ("official", "strict")
        }  # fmt: skip
        row = {"task": name, "questions": n} | {rule: float(np.mean(found)) for rule, found in grades.items()}
        error = float(np.std(grades["official"], ddof=1) / n**0.5) if n > 1 else None
        out.append(row | {"error": error, "model": model.name, "first": told[0][:400]})
    return out
