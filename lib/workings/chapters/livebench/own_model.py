"""A language model of one's own on generated questions, through `transformers`: prompt, greedy answer, grade.

``Settings.own_model`` is the folder of a model that `transformers` can read. Without one, a small network with random weights that reads
bytes goes the same way, which shows that the way works and scores next to nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workings.chapters.livebench.demo import TASKS, grade
from workings.chapters.livebench.settings import Settings
from workings.seeding import global_seed, numpy_generator


def random_model(seed: int) -> Callable[[str, int], str]:
    """A tiny Llama with random weights over bytes: ``(prompt, tokens) -> text``, greedy."""
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

    return answer


def stored_model(folder: str | Path) -> Callable[[str, int], str]:
    """The model in ``folder`` with its own tokenizer and chat template: ``(prompt, tokens) -> text``, greedy."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"own_model must be a folder with a model that transformers can read; there is none at {str(folder)!r}."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def answer(prompt: str, tokens: int) -> str:
        if getattr(tokenizer, "chat_template", None):
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
        given = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**given, max_new_tokens=tokens, do_sample=False)
        return tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True)

    return answer


def run(settings: Settings) -> list[dict[str, Any]]:
    """One row per task: questions, mean official and strict score, and the model; empty where `transformers` is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return []
    seed = settings.seeds[0]
    answer = stored_model(settings.own_model) if settings.own_model else random_model(seed)
    out = []
    for name, task in TASKS.items():
        official, strict = 0.0, 0.0
        for i in range(settings.own_questions):
            question = task.make(numpy_generator(seed, "question", name, i))
            text = answer(question.prompt, settings.own_tokens)
            official += grade(name, question.truth, text).score
            strict += grade(name, question.truth, text, strict=True).score
        n = settings.own_questions
        label = Path(settings.own_model).name if settings.own_model else "random weights"
        out.append({"task": name, "questions": n, "official": official / n, "strict": strict / n, "model": label})
    return out
