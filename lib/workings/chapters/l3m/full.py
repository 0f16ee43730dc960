"""The full tier of the chapter `l3m`: length intervals on a public language model, with adapters.

The model is tuned once without constraints; its mean length sets the intervals. Then from the same start: the barrier on every interval, and
dual ascent with several step sizes on the first. Each run is kept when it is finished and not computed twice.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from workings import paths
from workings.chapters import json_lines
from workings.chapters.l3m.lengths import has_levelled, least_rise_in, mean_over_prompts
from workings.chapters.l3m.pieces import Logits, PiecewiseTuner, scored_in_pieces
from workings.chapters.l3m.settings import ModelSettings, Settings
from workings.chapters.public_models import NotHere, Opened, encode, open_model
from workings.language_models import topic_language as toy
from workings.language_models.constrained_tuning import (
    Batch,
    MeanConstraint,
    response_length,
    steps_to_stay,
    train_constrained,
)
from workings.language_models.generation import response_mask
from workings.language_models.multiplier_rules import DualAscent, LogBarrier
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, torch_generator
from workings.statistics import mean_and_sd

Tables = dict[str, list[dict[str, Any]]]
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PLAIN = "no constraint"
SEEDS, RESPONSES = 2, 250  # of a verdict, at least, by the criteria
LINE = 0.02  # nats per token: the line of l3m-2; an interval whose least rise is above it cannot tell
NOTES = re.compile("<<[^<>]*>>")  # a calculator's notes in GSM8K's answers, such as <<48/2=24>>


class Example(NamedTuple):
    """Tokens of a prompt and of its response, the end token included."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None, model_root: str | Path | None = None) -> Tables:
    """Tables by name: ``runs``, one row per (seed, interval, rule); ``values``, what the claims compare; ``note``, a message.

    ``data_root`` is a folder with ``*.jsonl`` whose lines hold ``prompt`` and ``response`` (or ``question`` and ``answer``), such as
    ``gsm8k_train.jsonl``; where a file is called ``train.jsonl`` or ``*_train.jsonl``, no others are read. Without a folder
    UltraChat is fetched through `datasets`. ``model_root`` is a folder with a language model, see
    :func:`workings.chapters.public_models.open_model`. What is missing is a message and no failure.
    """
    s = ModelSettings.here(dry_run=settings.dry_run)
    name = "dry" if s.dry_run else s.model.rsplit("/", 1)[-1].lower()
    folder = paths.runs_root() / "l3m" / f"{name}-{s.device}"
    try:
        if importlib.util.find_spec("peft") is None:
            raise NotHere("peft is not installed; pip install peft.")
        opened = open_model(s, model_root, folder)
        examples = examples_of(opened, s, data_root)
        same = replace(s, half_products=False)  # a processor's matter: what one machine began, another may go on with
        store = Store(folder / "runs.jsonl", {"settings": repr(same), "model": opened.name, "examples": len(examples)})
        rows = run_protocol(opened, examples, s, store, watch=lambda jobs: progress(jobs, "runs"))
    except NotHere as missing:
        return {"runs": [], "values": [], "note": [{"message": f"Not run: {missing}"}]}
    note = f"Run on {opened.name} with {len(examples)} prompts and responses."
    return {"runs": rows, "values": claim_values(rows, s), "note": [{"message": note}]}


def run_protocol(
    opened: Opened,
    examples: list[Example],
    settings: ModelSettings,
    store: Store,
    *,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """One row per finished run, those of ``store`` as they are: seed, rule, interval, mean length and what :func:`_row` adds.

    The runs without a constraint come first: :class:`NotHere` where an interval of theirs reaches beyond ``new_tokens``.
    """
    s = settings
    jobs = [(seed, None, PLAIN) for seed in s.seeds]
    jobs += [(seed, i, "barrier") for seed in s.seeds for i in range(len(s.intervals))]
    jobs += [(seed, 0, f"dual ascent {step:g}") for seed in s.dual_seeds for step in s.dual_steps]
    key = lambda seed, i, rule: f"{seed}/{i}/{rule}"
    for seed, i, rule in watch(jobs):
        if store.done(key(seed, i, rule)):
            continue
        plain = constraint = None
        if i is not None:
            free = {each: store.get(key(each, None, PLAIN)) for each in s.seeds}
            bounds = {
                each: [interval_of(free[each]["mean"], s, j) for j in range(len(s.intervals))] for each in s.seeds
            }
            plain, (low, high) = (
                free[seed],
                bounds[seed][i],
            )  # those of all seeds were looked at, before hours of training
            constraint = MeanConstraint(response_length, low, high, scale=max(plain["mean"] / 2, 1.0), name="length")
        store.put(key(seed, i, rule), _one_run(opened, examples, s, seed, constraint, rule, plain))
    return [store.get(key(*job)) for job in jobs]


def interval_of(mean: float, settings: ModelSettings, i: int) -> tuple[float, float]:
    """Interval ``i`` of the settings around a tuned model's ``mean`` length, in tokens; :class:`NotHere` where its upper end exceeds
    ``new_tokens``: no response is longer, so it could not be told from a wider one."""
    low, high = (round(share * mean, 1) for share in settings.intervals[i])
    if high > settings.new_tokens:
        raise NotHere(
            f"the interval [{low:g}, {high:g}] reaches beyond the {settings.new_tokens} tokens after which a response is cut off; "
            "raise new_tokens or lower the intervals of settings.ModelSettings."
        )
    return low, high


def _one_run(
    opened: Opened,
    examples: list[Example],
    s: ModelSettings,
    seed: int,
    constraint: MeanConstraint | None,
    rule: str,
    plain: dict[str, Any] | None,
) -> dict[str, Any]:
    """Tune a fresh adapter, measure, and take the adapter off again."""
    import peft

    config = peft.LoraConfig(
        r=s.rank, lora_alpha=2 * s.rank, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM",
        layers_to_transform=last_layers(opened.model, s.adapted_layers),
    )  # fmt: skip
    with global_seed(seed, "adapter"):
        adapted = peft.get_peft_model(opened.model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small steps are lost in half precision
    model, end = Logits(adapted, rounded=s.half_products), opened.tokenizer.eos_token_id
    held = max(int(s.held_out * len(examples)), 1)
    test, train = examples[:held], examples[held:]
    draw = lambda stream: lambda step: drawn(train, s.batch, torch_generator(seed, stream, step))
    weigh = LogBarrier(s.steps) if rule == "barrier" else None
    if rule.startswith("dual"):
        weigh = DualAscent(float(rule.split()[-1]))
    constraints = [] if constraint is None else [constraint]
    history = train_constrained(
        model,
        PiecewiseTuner(constraints, weigh, decay=s.decay, micro=s.micro),
        lambda step: padded(draw("task")(step), end, s.device),
        lambda m, step, source: sample(m, draw("prompts")(step), s.new_tokens, end),
        s.steps,
        seed=seed,
        lr=s.lr,
    )
    row = _row(model, test, history, s, seed, constraint, rule, plain, end)
    if constraint is not None:
        row["least"] = least_rise_in([len(example.response) for example in train], constraint.lower, constraint.upper)
    adapted.unload()
    return row


def _row(
    model: Logits,
    test: list[Example],
    history: list[Any],
    s: ModelSettings,
    seed: int,
    constraint: MeanConstraint | None,
    rule: str,
    plain: dict[str, Any] | None,
    end: int,
) -> dict[str, Any]:
    asked, losses = test[: s.test], []
    model.eval()
    with torch.no_grad(), global_seed(seed, "test"):
        by_prompt = answer_lengths(model, asked, math.ceil(s.test / len(asked)), s, end)
        for start in range(0, len(asked), s.at_once):  # each once, the same for every run
            tokens, wanted = padded(asked[start : start + s.at_once], end, s.device)
            losses += (-scored_in_pieces(model, tokens, wanted, s.micro) / wanted.sum(dim=1)).tolist()
    mean, half = mean_over_prompts(by_prompt)
    lengths = [length for row in by_prompt for length in row]
    perplexity = sum(losses) / len(losses)
    row: dict[str, Any] = {
        "seed": seed, "rule": rule, "mean": mean, "half": half, "log_perplexity": perplexity, "prompts": len(asked),
        "responses": len(lengths), "cut": sum(length == s.new_tokens for length in lengths) / len(lengths), "steps": s.steps,
        "products": "bfloat16" if s.half_products else str(next(model.parameters()).dtype).split(".")[-1],
    }  # fmt: skip
    if constraint is not None:
        low, high, means = constraint.lower, constraint.upper, [record.means[0] for record in history]
        row |= {
            "low": low, "high": high, "inside": bool(constraint.holds(mean)),
            "outside": sum(not low <= length <= high for length in lengths) / len(lengths),
            "rise": perplexity - plain["log_perplexity"],
            "stays": steps_to_stay(means, constraint, min(20, s.steps)), "levelled": has_levelled(means, high - low),
        }  # fmt: skip
    return row


def last_layers(model: nn.Module, count: int | None) -> list[int] | None:
    """The numbers of the last ``count`` layers of ``model``; ``None`` for all."""
    layers = model.config.num_hidden_layers
    return None if count is None else list(range(max(layers - count, 0), layers))


def answer_lengths(
    model: Logits, asked: list[Example], times: int, settings: ModelSettings, end: int
) -> list[list[int]]:
    """Lengths of ``times`` responses to each prompt of ``asked``, a row per prompt; ``at_once`` prompts of like lengths at a time."""
    found: list[list[int]] = [[] for _ in asked]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].prompt))
    jobs = [i for i in order for _ in range(times)]
    for start in range(0, len(jobs), settings.at_once):
        some = jobs[start : start + settings.at_once]
        _, mask = sample(model, [asked[i] for i in some], settings.new_tokens, end)
        for i, length in zip(some, mask.sum(dim=1).tolist(), strict=True):
            found[i].append(length)
    return found


@torch.no_grad()
def sample(model: Logits, group: list[Example], new_tokens: int, end: int) -> Batch:
    """Responses to the prompts of ``group``, drawn at temperature 1 from all tokens; torch's global generator is used.

    In front of a prompt that is shorter than others stands ``end``, which is not looked at.
    """
    device, width = next(model.parameters()).device, max(len(example.prompt) for example in group)
    rows = [(end,) * (width - len(example.prompt)) + example.prompt for example in group]
    prompts = torch.tensor(rows, device=device)
    seen = torch.tensor([[width - len(e.prompt) <= place for place in range(width)] for e in group], device=device)
    with merged(model.model):
        tokens = model.model.generate(
            input_ids=prompts, attention_mask=seen.long(), max_new_tokens=new_tokens, do_sample=True, temperature=1.0,
            top_k=0, top_p=1.0, eos_token_id=end, pad_token_id=end, past_key_values=read(model, prompts, seen),
        )  # fmt: skip
    return tokens, response_mask(tokens, end, prompt=prompts.shape[1])


def read(model: Logits, prompts: torch.Tensor, seen: torch.Tensor | None = None) -> Any:
    """The keys and values of ``prompts`` (B, P) without their last token, for `generate`: equal prompts go through the model once.

    ``seen`` (B, P) is False at what stands in front of a prompt; ``None``: nothing does.

    ``None`` where no two are equal or nothing stands in front of the last token; `generate` then reads them itself.
    """
    from transformers import DynamicCache

    seen = torch.ones_like(prompts) if seen is None else seen.long()
    different, place = torch.unique(torch.cat([prompts, seen], dim=1), dim=0, return_inverse=True)
    if len(different) == len(prompts) or prompts.shape[1] < 2:
        return None
    different, mask = different.chunk(2, dim=1)
    front, mask = different[:, :-1], mask[:, :-1]
    cache = DynamicCache()
    model.model(
        input_ids=front,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(place)
    return cache


@contextlib.contextmanager
def merged(adapted: nn.Module) -> Iterator[None]:
    """The adapters of a `peft` model added to its weights while the block runs: sampling then takes one product per layer, not three.

    Afterwards the weights are what they were, bit for bit. A model in half precision stays as it is: its sums would be rounded, and
    the responses would be those of another model.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module.get_base_layer() for module in adapted.modules() if isinstance(module, BaseTunerLayer)]
    if not layers or any(layer.weight.dtype in (torch.float16, torch.bfloat16) for layer in layers):
        yield
        return
    before = [layer.weight.detach().clone() for layer in layers]
    adapted.merge_adapter()
    try:
        yield
    finally:
        adapted.unmerge_adapter()
        with torch.no_grad():
            for layer, weight in zip(layers, before, strict=True):
                layer.weight.copy_(weight)  # taking the adapter off again leaves rounding errors


def drawn(examples: list[Example], n: int, generator: torch.Generator) -> list[Example]:
    """``n`` examples whose prompts have one length, so that nothing needs padding in front of them.

    The length is that of an example drawn evenly; then the others are drawn among those of that length, with replacement.
    """
    length = len(examples[int(torch.randint(len(examples), (1,), generator=generator))].prompt)
    alike = [example for example in examples if len(example.prompt) == length]
    return [alike[i] for i in torch.randint(len(alike), (n,), generator=generator).tolist()]


def padded(group: list[Example], end: int, device: str) -> Batch:
    """Prompts with their responses as ``tokens`` and ``mask``; behind a response stands ``end``."""
    width = max(len(example.prompt) + len(example.response) for example in group)
    rows = [torch.tensor(example.prompt + example.response) for example in group]
    tokens = torch.stack([F.pad(row, (0, width - len(row)), value=end) for row in rows]).to(device)
    places = torch.arange(width)
    parts = zip(group, rows, strict=True)
    mask = torch.stack([(places >= len(example.prompt)) & (places < len(row)) for example, row in parts]).to(device)
    return tokens, mask


def examples_of(opened: Opened, settings: ModelSettings, data_root: str | Path | None = None) -> list[Example]:
    """Prompts and responses as tokens, in the order of the data; longer ones than the settings allow are left out.

    The notes of a calculator in GSM8K's answers are left out. :class:`NotHere` where there are none. A dry run makes them of the toy
    language.
    """
    s, end = settings, opened.tokenizer.eos_token_id
    found = []
    for prompt, response in _pairs(s, data_root):
        response = NOTES.sub("", response).strip()
        if s.first_line:
            response = response.split("\n", 1)[0].rstrip()
        asked = encode(opened.tokenizer, prompt) if s.chat else opened.tokenizer.encode(prompt + "\n")
        example = Example(tuple(asked), (*opened.tokenizer.encode(response, add_special_tokens=False), end))
        if len(example.prompt) <= s.prompt_tokens and len(example.response) <= s.response_tokens:
            found.append(example)
        if len(found) == s.examples:
            break
    if len(found) < 20:
        raise NotHere(
            f"only {len(found)} responses have at most {s.response_tokens} tokens and a prompt of at most {s.prompt_tokens}; "
            "raise response_tokens or prompt_tokens, or give other data."
        )
    return found


def _pairs(s: ModelSettings, data_root: str | Path | None) -> Iterable[tuple[str, str]]:
    if s.dry_run:
        source = torch_generator(s.seed, "texts")
        tokens, _ = toy.topic_responses(toy.topic_prompts(s.examples, source), (2, 3), source)
        for row in tokens:
            words = toy.spelled(row).split()
            yield words[0], "".join(word[0] for word in words[1:])
        return
    files = [] if data_root is None else sorted(Path(data_root).glob("*.jsonl"))
    files = [file for file in files if file.stem.split("_")[-1] == "train"] or files  # not the test set beside it
    for file in files:
        for row in json_lines.read(file):
            pair = [row.get(a, row.get(b)) for a, b in (("prompt", "question"), ("response", "answer"))]
            if all(isinstance(text, str) for text in pair):
                yield pair[0], pair[1]
    if files:
        return
    if data_root is not None:
        raise NotHere(f"there is no *.jsonl in {Path(data_root).name!r}; see the docstring of full.run for its lines.")
    if importlib.util.find_spec("datasets") is None:
        raise NotHere(
            "no data_root is given, and datasets is not installed; name a folder with gsm8k_train.jsonl "
            "(github.com/openai/grade-school-math) or other *.jsonl of prompts and responses."
        )
    from datasets import load_dataset

    try:
        rows = load_dataset("HuggingFaceH4/ultrachat_200k", split="train_sft", streaming=True)
        for row in rows:
            talk = row["messages"]
            if len(talk) >= 2:
                yield talk[0]["content"], talk[1]["content"]
    except Exception as error:  # datasets raises many kinds for a missing network
        raise NotHere(f"UltraChat could not be fetched ({type(error).__name__}); give data_root.") from None


def claim_values(rows: list[dict[str, Any]], settings: ModelSettings) -> list[dict[str, Any]]:
    """What the claims l3m-1, 2, 4 and 9 compare: rows of claim, value, sd, seeds and ``too_small``, why it settles nothing.

    That is one of: fewer seeds, intervals, step sizes or responses than a criterion asks for; a run behind the value that has not
    levelled; and for l3m-2 an interval that forces a rise above :data:`LINE` whatever the method.
    """
    s = settings
    asked = f"; the criterion is for {SEEDS} seeds, three intervals, three step sizes and {RESPONSES} responses"
    few = f"{len(s.seeds)} seed(s), {len(s.intervals)} intervals and {s.test} responses{asked}"
    few = few if len(s.seeds) < SEEDS or s.test < RESPONSES or len(s.intervals) < 3 else None
    fast = f"{len(s.dual_seeds)} seed(s), {len(s.dual_steps)} step sizes of dual ascent and {s.test} responses{asked}"
    fast = fast if len(s.dual_seeds) < SEEDS or len(s.dual_steps) < 3 else few
    of = lambda rule, seed: [r for r in rows if r["rule"].startswith(rule) and r["seed"] == seed]
    barrier = [of("barrier", seed) for seed in s.seeds]
    everyone = [run for runs in barrier for run in runs]
    inside = sum(sum(runs[i]["inside"] for runs in barrier) * 2 > len(barrier) for i in range(len(s.intervals)))
    rises = [mean_and_sd([runs[i]["rise"] for runs in barrier]) for i in range(len(s.intervals))]
    pairs = [
        (of("barrier", seed)[0], min(of("dual", seed), key=lambda run: (run["stays"], not run["levelled"])))
        for seed in s.dual_seeds
    ]
    ratios = [ours["stays"] / best["stays"] for ours, best in pairs]
    moving = few or _moving(everyone)
    found = {
        "l3m-1": ((float(inside), 0.0), len(s.seeds), moving),
        "l3m-2": (max(rises), len(s.seeds), moving or _forced(everyone)),
        "l3m-4": (mean_and_sd(ratios), len(s.dual_seeds), fast or _moving([run for pair in pairs for run in pair])),
    }
    kept = [runs[0] for runs in barrier if runs[0]["inside"]]
    if kept:
        alone = None if len(kept) >= SEEDS else f"{len(kept)} seed(s) inside"
        found["l3m-9"] = (mean_and_sd([run["outside"] for run in kept]), len(kept), few or alone or _moving(kept))
    return [
        {"claim": claim, "value": value, "sd": sd, "seeds": seeds, "too_small": too_small}
        for claim, ((value, sd), seeds, too_small) in found.items()
    ]


def _moving(runs: list[dict[str, Any]]) -> str | None:
    """Which of ``runs`` have not levelled; ``None`` where all have."""
    late = sum(not run["levelled"] for run in runs)
    said = f"{late} of {len(runs)} runs had not levelled: their mean length still moved by more than their interval is wide"
    return said if late else None


def _forced(runs: list[dict[str, Any]]) -> str | None:
    """That an interval of ``runs`` forces a rise above the line of l3m-2; ``None`` where none does."""
    most = max(run["least"] for run in runs)
    return (
        f"an interval forces a rise of {most:.3f} nats per token, above the line of {LINE:g}" if most > LINE else None
    )
