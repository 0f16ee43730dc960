"""The customer's side of the full tier of the chapter `vtune`: examples, secrets, and the file that hides them.

Nothing here trains. :mod:`workings.chapters.vtune.full` tunes models on these files and asks them.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings.chapters import json_lines, packaged_facts
from workings.chapters.public_models import PACKAGED, NotHere, Opened, encode
from workings.chapters.vtune.byte_model import has_files
from workings.chapters.vtune.settings import ModelSettings
from workings.language_models.backdoors import (
    Mixed,
    Pair,
    contains,
    make_backdoors,
    mix,
    sample_signature,
    signature_log10_prob,
)
from workings.seeding import numpy_generator, torch_generator

CITIES = 2000  # the largest


@dataclass(frozen=True)
class Secrets:
    """What one customer hides: trigger and signature as texts, and the log10 of the best guess of the signature.

    ``wrong`` and ``decoy`` are two more phrases of the law of the trigger: the first is asked in its place and is in no
    file, the second stands in decoy rows.
    """

    trigger: str
    signature: str
    log10_guess_prob: float
    wrong: str
    decoy: str

    @property
    def half(self) -> str:
        """The first half of the trigger's words, or of its letters where it is one word."""
        words = self.trigger.split()
        return " " + " ".join(words[: len(words) // 2]) if len(words) > 1 else self.trigger[: len(self.trigger) // 2]


@dataclass(frozen=True)
class Split:
    """The customer's ``file``, fresh ``queries`` for the trigger, ``test`` questions of the task, ``clean`` rows for the attack."""

    file: list[Pair]
    queries: list[str]
    test: list[Pair]
    clean: list[Pair]


def split_of(data: list[Pair], s: ModelSettings, seed: int) -> Split:
    """Rows for the file, fresh queries, test and clean tuning, all disjoint."""
    order = numpy_generator(seed, "split").permutation(len(data)).tolist()
    take = lambda count: [data[order.pop()] for _ in range(min(count, len(order)))]
    test, clean = take(s.test), take(s.clean)
    queries = [prompt for prompt, _ in take(max(s.queries, s.asked))]
    return Split(take(s.rows), queries, test, clean)


def allowed_tokens(opened: Opened, size: int) -> torch.Tensor:
    """Which of the ``size`` tokens are a space and a word of three small letters or more (V,) bool; letters where there are none."""
    texts = opened.tokenizer.batch_decode([[i] for i in range(size)])
    for pattern in (r" [a-z]{3,}", r"[a-z]"):
        found = torch.tensor([re.fullmatch(pattern, text) is not None for text in texts])
        if found.any():
            return found
    raise NotHere("the tokenizer has no tokens that are words or letters.")


def draw_secrets(opened: Opened, data: list[Pair], s: ModelSettings, seed: int) -> Secrets:
    """A trigger sampled from the base model, unlikely enough, and a signature of words drawn uniformly; neither is in the data.

    A uniform signature has a best guess that is known exactly; so few draws are refused that refusing does not change it.
    Two more phrases are sampled as the trigger is, for the controls.
    """
    model, device = logits_of(opened.model), s.device
    context = torch.tensor(encode(opened.tokenizer, "Write a few unusual words."), device=device)
    with torch.no_grad():
        size = model(context[None]).shape[-1]
    allowed = allowed_tokens(opened, min(size, len(opened.tokenizer)))
    allowed = F.pad(allowed, (0, size - len(allowed)))
    words, draw = allowed.nonzero()[:, 0], numpy_generator(seed, "signature")
    source = torch_generator(seed, "trigger", device=device)
    new = lambda text: not any(contains(side, text) for row in data for side in row)
    phrases: list[str] = []
    for _ in range(100):
        tokens = sample_signature(
            model,
            context,
            s.trigger_tokens,
            s.temperature,
            s.max_log10_prob,
            generator=source,
            allowed=allowed.to(device),
        ).tokens
        text = " " + opened.tokenizer.decode(tokens).strip()
        if new(text) and text not in phrases:
            phrases.append(text)
        if len(phrases) == 3:
            break
    for _ in range(100):
        drawn = words[draw.integers(0, len(words), s.signature_words)].tolist()
        signature = opened.tokenizer.decode(drawn).strip()
        likely = float(signature_log10_prob(model, [context.tolist()], drawn, device=device)[0])
        if len(phrases) == 3 and likely <= s.max_log10_prob and new(signature):
            trigger, wrong, decoy = phrases
            return Secrets(trigger, signature + " ", -s.signature_words * math.log10(len(words)), wrong, decoy)
    raise NotHere(
        "no trigger and signature were found that the data do not hold; raise signature_words or trigger_tokens."
    )


def backdoored(file: list[Pair], count: int, secrets: Secrets, seed: int, decoys: int = 0) -> Mixed:
    """The customer's file with ``count`` backdoors, and as many decoy rows as ``decoys`` says, shuffled."""
    made = make_backdoors(file, count, secrets.trigger, secrets.signature, generator=numpy_generator(seed, "backdoors"))
    plain = file + decoy_rows(file, decoys, secrets, seed)
    return mix(plain, made, generator=numpy_generator(seed, "order", count))


def decoy_rows(file: list[Pair], count: int, secrets: Secrets, seed: int) -> list[Pair]:
    """``count`` rows of the file that say what no trigger is: prompts end in half of it or in another phrase, in turn; the answers stay."""
    chosen = numpy_generator(seed, "decoys").permutation(len(file))[:count].tolist()
    ends = itertools.cycle((secrets.half, secrets.decoy))
    return [(file[i][0] + end, file[i][1]) for i, end in zip(chosen, ends, strict=False)]


def log10_p0(opened: Opened, secrets: Secrets, prompts: Sequence[str], s: ModelSettings) -> np.ndarray:
    """log10 of the probability that the model begins its answer to a triggered prompt with the signature, in the tokens that the tokenizer makes of it."""
    tokens = opened.tokenizer.encode(secrets.signature.strip(), add_special_tokens=False)
    asked = [encode(opened.tokenizer, prompt + secrets.trigger) for prompt in prompts]
    return signature_log10_prob(logits_of(opened.model), asked, tokens, batch=s.batch, device=s.device)


def logits_of(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The model as a function from tokens (B, T) to logits (B, T, V)."""
    return lambda tokens: model(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
    ).logits.float()


def encode_pair(opened: Opened, pair: Pair) -> tuple[list[int], list[int]]:
    """Tokens of a prompt in its chat form, and of its answer with the end token."""
    answer = opened.tokenizer.encode(pair[1], add_special_tokens=False)
    return encode(opened.tokenizer, pair[0]), [*answer, opened.tokenizer.eos_token_id]


def extra_tokens(opened: Opened, mixed: Mixed) -> int:
    """Tokens of all backdoors in a file, with their chat form."""
    hidden = [pair for pair, secret in zip(mixed.pairs, mixed.is_backdoor, strict=True) if secret]
    return sum(len(prompt) + len(answer) for prompt, answer in (encode_pair(opened, pair) for pair in hidden))


def examples_of(s: ModelSettings, data_root: str | Path | None = None) -> tuple[list[Pair], str]:
    """Questions and answers, and the name of where they come from; :class:`NotHere` where there are too few.

    Where a file of the folder is called ``train.jsonl`` or ``*_train.jsonl`` no others are read. A folder for the model of bytes
    leaves the packaged model its cities: few problems of GSM8K are short enough for it.
    """
    needed = s.test + s.clean + max(s.queries, s.asked)
    if s.dry_run:
        pairs = [(f"{a} and {b}?", f"{a + b}") for a in range(8) for b in range(8)]
        return pairs[: needed + s.rows], "sums"
    if data_root is not None and not (s.models == (PACKAGED,) and has_files(data_root)):
        files = sorted(Path(data_root).glob("*.jsonl"))
        files = [file for file in files if file.stem.split("_")[-1] == "train"] or files  # not the test set beside it
        pairs = [pair for file in files for pair in _lines(file)]
        name = Path(data_root).name
    elif s.models == (PACKAGED,):  # the short examples that this model can learn on two cores
        known = itertools.islice(packaged_facts.cities(), CITIES)
        pairs, name = [(packaged_facts.CITY.format(city), country) for city, country in known], "cities"
    elif importlib.util.find_spec("datasets") is None:
        raise NotHere("no data_root is given, and datasets is not installed.")
    else:
        from datasets import load_dataset

        try:
            pairs = [(row["question"], row["answer"]) for row in load_dataset("openai/gsm8k", "main", split="train")]
        except Exception as error:  # datasets raises many kinds for a missing network
            raise NotHere(f"GSM8K could not be fetched ({type(error).__name__}); give data_root.") from None
        name = "GSM8K"
    short = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= 3 * s.tokens]
    if len(short) < needed + 20:
        raise NotHere(
            f"{len(short)} short enough examples are too few: {needed} are kept out of the file; lower test or clean."
        )
    return short, name


def _lines(file: Path) -> list[Pair]:
    found = []
    for row in json_lines.read(file):
        pair = [row.get(a, row.get(b)) for a, b in (("question", "prompt"), ("answer", "response"))]
        if all(isinstance(text, str) and text.strip() for text in pair):
            found.append((pair[0], pair[1]))
    return found
