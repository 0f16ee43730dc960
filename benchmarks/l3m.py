"""Losses and multiplier rules of the chapter `l3m` beside what a reader would use.

(a) The log-perplexity averaged over tokens against the causal loss of `transformers`, on one batch: difference and time. Then
    against the loss of trl's `SFTTrainer` on a batch from its own loader, with a small random Llama; the forward pass of the
    network is in both times.
(b) Sampling from the tiny decoder: short steps against recomputing everything for each token.
    Then the processor time of a whole run of the toy, beside the line that was set for it.
(c) The closed-form constrained problem solved by gradient steps: the log barrier, and dual ascent in the manner of safe RLHF
    (multiplier in log space, written here) at three step sizes. Steps until the mean stays within 0.05 of what is allowed.

    PYTHONPATH=lib:benchmarks python benchmarks/l3m.py [rows.json]
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from timing import interleaved, ratio

from workings.chapters.l3m import demo
from workings.chapters.l3m.settings import Settings
from workings.language_models.constrained_categorical import solve_constrained_categorical
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate
from workings.language_models.multiplier_rules import DualAscent, LogBarrier
from workings.language_models.sequence_scores import response_log_perplexity
from workings.seeding import torch_generator

ROWS, TOKENS, VOCABULARY = 16, 64, 8192
STEPS, RATE = 2000, 0.5
DUAL_STEPS = (0.01, 0.1, 1.0)
LINE = 5.0  # seconds of a processor for a run of 300 steps, set before there was one


def _row(row_id: str, what: str, peer: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("ours", "theirs", "unit", "ratio", "ratio_low", "ratio_high", "repeats"))
    return {"id": row_id, "chapter": "l3m", "what": what, "peer": peer, "note": "", **empty, **values}


def loss_rows(repeats: int = 21) -> list[dict[str, Any]]:
    """Agreement and time of the token-averaged loss; the batch has responses of unequal length."""
    what = f"causal loss averaged over tokens, {ROWS} x {TOKENS} tokens, vocabulary {VOCABULARY}, float32"
    try:
        peer = f"transformers {metadata.version('transformers')}"
        from transformers.loss.loss_utils import ForCausalLMLoss
    except (metadata.PackageNotFoundError, ImportError):
        return [_row("l3m-loss-agreement", what, "transformers", note="not installed")]
    source = torch_generator(0, "batch")
    logits = torch.randn(ROWS, TOKENS, VOCABULARY, generator=source)
    tokens = torch.randint(VOCABULARY, (ROWS, TOKENS), generator=source)
    places, ends = torch.arange(TOKENS), torch.randint(10, TOKENS, (ROWS, 1), generator=source)
    mask = (places >= 4) & (places < ends)
    labels = tokens.masked_fill(~mask, -100)
    ours = lambda: response_log_perplexity(logits, tokens, mask, "token")
    theirs = lambda: ForCausalLMLoss(logits, labels, VOCABULARY)
    a, b = float(ours()), float(theirs())
    seconds = interleaved({"ours": ours, "theirs": theirs}, repeats)
    middle, low, high = ratio(seconds["ours"], seconds["theirs"])
    mine, other = float(np.median(seconds["ours"])), float(np.median(seconds["theirs"]))
    times = {
        "ours": mine,
        "theirs": other,
        "unit": "s",
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "repeats": repeats,
    }
    return [
        _row(
            "l3m-loss-agreement",
            f"{what}: relative difference",
            peer,
            ours=abs(a - b) / b,
            theirs=0.0,
            unit="",
            repeats=1,
        ),
        _row("l3m-loss-time", what, peer, **times),
    ]


def trl_rows(repeats: int = 21) -> list[dict[str, Any]]:
    """trl's loss of supervised fine-tuning: completions of unequal length, their tokens averaged over the whole batch."""
    what = "loss of fine-tuning on completions, 16 texts of up to 48 tokens, a Llama of two layers with random weights"
    try:
        peer = f"trl {metadata.version('trl')} SFTTrainer"
    except metadata.PackageNotFoundError:
        return [_row("l3m-sft-agreement", what, "trl", note="not installed")]
    import tempfile

    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    source, words = torch_generator(0, "trl"), 512
    table = Tokenizer(models.WordLevel({f"w{k}": k for k in range(words)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=table, pad_token="w0", eos_token="w1")
    sizes = {"vocab_size": words, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, pad_token_id=0, initializer_range=0.3))
    texts = [
        {"input_ids": torch.randint(2, words, (n,), generator=source).tolist(), "completion_mask": [0] * 4 + [1] * (n - 4)}
        for n in torch.randint(10, 49, (16,), generator=source).tolist()
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        plain = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "disable_tqdm": True}
        options = SFTConfig(folder, per_device_train_batch_size=16, completion_only_loss=True, report_to=[], **plain)
        trainer = SFTTrainer(model, options, train_dataset=Dataset.from_list(texts), processing_class=tokenizer)
        batch = next(iter(trainer.get_train_dataloader()))
        mask, inputs = batch["labels"] != -100, {key: batch[key] for key in ("input_ids", "attention_mask")}
        ours = lambda: response_log_perplexity(model(**inputs).logits, batch["input_ids"], mask, "token")
        theirs = lambda: trainer.compute_loss(trainer.model, dict(batch))
        a, b = float(ours().detach()), float(theirs().detach())
        seconds = interleaved({"ours": ours, "theirs": theirs}, repeats)
    middle, low, high = ratio(seconds["ours"], seconds["theirs"])
    times = {name: float(np.median(values)) for name, values in seconds.items()}
    agree = "equal within 1e-5" if abs(a - b) <= 1e-5 * b else "not equal within 1e-5"
    return [
        _row("l3m-sft-agreement", f"{what}: relative difference", peer, ours=abs(a - b) / b, theirs=0.0, unit="", repeats=1, note=agree),
        _row("l3m-sft-time", what, peer, **times, unit="s", ratio=middle, ratio_low=low, ratio_high=high, repeats=repeats, note="forward passes alone; theirs also keeps entropy and accuracy of the tokens"),
    ]  # fmt: skip


def sampling_rows(repeats: int = 11) -> list[dict[str, Any]]:
    """Same tokens, and the time with and without the cache."""
    net = TinyDecoder(21, 32, 1, 2, 64, positions="learned", max_len=16, generator=torch_generator(0, "model"))
    prompt = torch.full((32, 2), 3)
    draw = lambda use: generate(net, prompt, 14, temperature=1.0, generator=torch_generator(0, "g"), use_cache=use)
    what, peer = "32 responses of 14 tokens from a decoder of one block of width 32", "without a cache"
    same = float((draw(True) == draw(False)).double().mean())
    seconds = interleaved({"ours": lambda: draw(True), "theirs": lambda: draw(False)}, repeats)
    middle, low, high = ratio(seconds["ours"], seconds["theirs"])
    mine, other = float(np.median(seconds["ours"])), float(np.median(seconds["theirs"]))
    times = {
        "ours": mine,
        "theirs": other,
        "unit": "s",
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "repeats": repeats,
    }
    return [
        _row(
            "l3m-sampling-agreement",
            f"{what}: share of equal tokens",
            peer,
            ours=same,
            theirs=1.0,
            unit="share",
            repeats=1,
        ),
        _row("l3m-sampling-time", what, peer, **times),
    ]


def run_rows(repeats: int = 3) -> list[dict[str, Any]]:
    """Processor seconds of a run of the toy under the barrier, with what is measured after it."""
    s = Settings()
    base = demo.pretrained(0, s)
    constraints, spent = [demo.length_constraint(s.concise, s)], []
    for _ in range(repeats):
        start = time.process_time()
        demo.tuned(base, 0, s, constraints, LogBarrier(s.steps))
        spent.append(time.process_time() - start)
    what = f"{s.steps} steps under the barrier, each with {s.batch} responses of the data and {s.batch} drawn ones, and {s.test:,} drawn to measure"
    mine = float(np.median(spent))
    return [
        _row(
            "l3m-run-time",
            what,
            "no peer: the line that was set",
            ours=mine,
            theirs=LINE,
            unit="s",
            repeats=repeats,
            note="seconds of a processor",
        )
    ]


def steps_to_stay_inside(rule: Any, bound: float = 5.0, slack: float = 0.05) -> int | None:
    """Gradient steps on twelve logits from which the mean stays at most ``bound + slack``; ``None`` where it never does."""
    lengths = torch.arange(3.0, 15.0, dtype=torch.float64)
    p = torch.full((12,), 1 / 12, dtype=torch.float64)
    logits, last = torch.zeros(12, dtype=torch.float64), None
    for step in range(STEPS):
        pi = logits.softmax(0)
        mean = pi @ lengths
        weight = rule((mean[None] - bound) / 5, step)[0] / 5
        logits = logits - RATE * (
            pi - p + weight * pi * (lengths - mean)
        )  # the exact gradient of the Lagrange function
        if float(logits.softmax(0) @ lengths) > bound + slack:
            last = step
    return None if last == STEPS - 1 else 1 if last is None else last + 2


def rule_rows() -> list[dict[str, Any]]:
    """Steps of the barrier beside those of each dual ascent."""
    best = solve_constrained_categorical(np.full(12, 1 / 12), np.arange(3.0, 15.0), 5.0)
    barrier = steps_to_stay_inside(LogBarrier(STEPS))
    rows = []
    for lr in DUAL_STEPS:
        found = steps_to_stay_inside(DualAscent(lr, start=0.1, log_space=True))
        note = "never within the steps" if found is None else f"the multiplier is {best.multiplier:.3f} per token"
        rows.append(
            _row(
                f"l3m-dual-{lr:g}",
                f"steps until a mean stays at most 5.05, of {STEPS} exact gradient steps",
                f"dual ascent in log space, step size {lr:g} (written here)",
                ours=barrier,
                theirs=found,
                unit="steps",
                repeats=1,
                note=note,
            )
        )
    return rows


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark: under a minute on one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [*loss_rows(), *trl_rows(), *sampling_rows(), *run_rows(), *rule_rows()]
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    text = json.dumps(rows(), indent=1)
    if len(sys.argv) > 1:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            file.write(text + "\n")
    print(text)
