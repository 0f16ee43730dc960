"""What a small public language model knows about its own answers: geography and chemistry questions, asked, graded and judged.

Every block of
answers and every trained estimator is kept when it is done, so that an interrupted run goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings.calibration import auroc, bootstrap_ci, ece_positive, ece_top_label, fit_temperature
from workings.chapters.public_models import NotHere, Opened
from workings.chapters.taught_to_know.answerer import WAYS, Answerer, groups, padded
from workings.chapters.taught_to_know.packaged_questions import KINDS, Question, questions
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.language_models.lora import LoRALinear, add_lora, lora_disabled
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator, torch_generator
from workings.statistics import standard_error
from workings.training import fit, one_cycle
from workings.uncertainty.confidence_estimators import (
    ConfidenceProbe,
    jensen_shannon,
    last_token_states,
    option_logits,
)

SCALED = "asked, plain, scaled"
AGAIN = 300  # test questions, at most, that a tuned model answers again
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def answers(
    model: Answerer, store: Store, asked_for: Sequence[Question], label: str, *, sentences: bool = False
) -> list[dict[str, Any]]:
    """Graded answers to all questions, block by block; those in ``store`` are not computed again."""
    found: dict[int, dict[str, Any]] = {}
    for n, places in enumerate(progress(groups([q.kind for q in asked_for], model.s.read), label)):
        if not store.done(f"{label}/{n}"):
            store.put(f"{label}/{n}", model.answer([asked_for[i] for i in places], sentences=sentences))
        found |= zip(places, store.get(f"{label}/{n}"), strict=True)
    return [found[i] for i in range(len(asked_for))]


class Adapted(nn.Module):
    """The language model with adapters and, for LoRA, a head."""

    def __init__(self, model: nn.Module, head: ConfidenceProbe | None):
        super().__init__()
        self.model, self.head = model, head


def train_adapters(model: Answerer, rows: list[dict[str, Any]], *, prompt: bool, regulariser: float) -> Adapted:
    """Adapters on the model itself (to take them off again is the caller's task, see :func:`remove_adapters`): LoRA with a head, or LoRA + Prompt.

    One forward pass serves both parts of the loss: the question about the answer stands behind the answer, so what stands before it
    is the question as it was answered.
    """
    s = model.s
    way = "plain" if prompt else None
    tuned = Adapted(
        add_lora(model.model, s.rank, s.alpha, PROJECTIONS, generator=torch_generator(s.seed, "LoRA")), None
    )
    if not prompt:
        width = model.model.config.hidden_size
        tuned.head = ConfidenceProbe(width, generator=torch_generator(s.seed, "LoRA head")).to(s.device)
    grades = torch.tensor([float(r["right"]) for r in rows], device=s.device)
    behind = 0 if way is None else len(model.encode(WAYS[way][0]))

    def loss(tuned: nn.Module, chosen: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        group = [rows[i] for i in chosen.tolist()]
        batch = padded([model.with_answer(r, way) for r in group], model.fill, s.device)
        tail = behind + max(len(r["tokens"]) for r in group) + 1  # logits of what stands before that serve nobody
        states, logits = model.forward(*batch, logits=tail)
        if tuned.head is not None:
            odds = tuned.head.log_odds(last_token_states(states, batch.mask))
        else:
            no, yes = option_logits(logits.float(), batch.mask[:, -tail:], model.options("plain")).unbind(dim=1)
            odds = yes - no
        value = F.binary_cross_entropy_with_logits(odds, grades[chosen.to(s.device)])
        if regulariser:
            with torch.no_grad(), lora_disabled(model.model):
                _, before = model.forward(*batch, logits=tail)
            apart = 0.0
            for i, r in enumerate(group):  # the columns that predict the answer's tokens
                columns = slice(tail - behind - 1 - len(r["tokens"]), tail - behind - 1)
                apart = apart + jensen_shannon(logits[i, columns].float(), before[i, columns].float()).sum()
            value = value + regulariser * apart / len(group)
        return value

    batches = lambda step: torch.randint(len(rows), (s.batch,), generator=torch_generator(s.seed, "adapter rows", step))
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], lr=s.lr, weight_decay=0.0)
    fit(tuned, loss, batches, optimiser, s.steps, seed=s.seed, schedule=one_cycle(s.steps), progress=True)
    tuned.eval()
    return tuned


def remove_adapters(model: nn.Module) -> None:
    """Put the frozen layers back in the places of the adapters."""
    for parent in list(model.modules()):
        for child, layer in list(parent._modules.items()):
            if isinstance(layer, LoRALinear):
                setattr(parent, child, layer.base)


def train_probe(states: torch.Tensor, grades: torch.Tensor, s: ModelSettings) -> ConfidenceProbe:
    """A head on frozen states, standardised by the caller."""
    head = ConfidenceProbe(states.shape[1], generator=torch_generator(s.seed, "probe"))
    loss = lambda head, rows, _: F.cross_entropy(head(states[rows]), grades[rows])
    rows = lambda step: torch.randint(len(states), (s.batch,), generator=torch_generator(s.seed, "probe rows", step))
    optimiser = torch.optim.AdamW(head.parameters(), lr=s.probe_lr)
    fit(head, loss, rows, optimiser, s.probe_steps, seed=s.seed, schedule=one_cycle(s.probe_steps))
    return head.eval()


def run(opened: Opened, settings: ModelSettings, store: Store) -> list[dict[str, Any]]:
    """One row per (method, test set): AUROC and both ECEs with 95% bootstrap intervals. ``test`` is "seen" kinds, "held out", or one of :func:`without`.

    ``kept`` is the accuracy after tuning on (at most 300 of) the test questions and ``accuracy`` that of the model before on the
    same ones; ``lost_error`` is the standard error of their difference, ``None`` where an older store kept the share alone.
    """
    s, model = settings, Answerer(opened, settings)
    listed = questions(s)
    rows = answers(model, store, listed, "answers")
    seen = [r for r in rows if r["kind"] != s.held_out]
    train, test = seen[: s.train], seen[s.train :]
    sets = {"seen": test, "held out": [r for r in rows if r["kind"] == s.held_out]}
    if min(len(test), len(sets["held out"]), len(train)) < 10:
        raise NotHere("too few questions for a training set and two test sets; raise the setting questions.")
    grades = torch.tensor([int(r["right"]) for r in train])

    def odds_of(name: str, compute: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
        if not store.done(name):
            store.put(name, compute())
        return store.get(name)

    read = lambda of: {k: [float(v) for v in of(group)] for k, group in sets.items()}
    found: dict[str, dict[str, list[float]]] = {}
    found["likelihood"] = read(lambda group: [logit(np.exp(r["log_p"])) for r in group])
    found["likelihood per token"] = read(lambda group: [logit(np.exp(r["mean_log_p"])) for r in group])
    kinds = {k: np.mean([r["right"] for r in train if r["kind"] == k] or [0.5]) for k in KINDS}
    found["kind of question"] = read(lambda group: [logit(kinds[r["kind"]]) for r in group])
    for way in WAYS:
        found[f"asked, {way}"] = odds_of(f"asked, {way}", lambda way=way: read(lambda group: model.read(group, way)))
    found["Probe"] = odds_of("Probe", lambda: probed(model, train, grades, sets))
    found[SCALED] = _scaled(found["asked, plain"], model, train, store)
    kept, errors = {}, {}
    for name, prompt, weight in (("LoRA", False, s.regulariser), ("LoRA + Prompt", True, s.regulariser), ("LoRA + Prompt, free", True, 0.0)):  # fmt: skip
        if not store.done(name):
            store.put(name, adapted(model, train, sets, "seen", prompt=prompt, weight=weight))
        kept[name], found[name] = store.get(name)["kept"], store.get(name)["odds"]
        errors[name] = lost_error([r["right"] for r in sets["seen"][:AGAIN]], store.get(name).get("again"))
    before = float(np.mean([r["right"] for r in sets["seen"][:AGAIN]]))
    out = []
    for name, by_set in found.items():
        for which, odds in by_set.items():
            row = quality(np.array(odds), np.array([float(r["right"]) for r in sets[which]]), s, name)
            row = {"method": name, "test": which, "answers": len(odds)} | row
            if which == "seen":
                row |= {"accuracy": before, "kept": kept.get(name, before), "lost_error": errors.get(name)}
            out.append(row)
    return out + without(model, rows, s.large, store) + in_sentences(model, sets["seen"], store)


def without(model: Answerer, rows: list[dict[str, Any]], kind: str, store: Store) -> list[dict[str, Any]]:
    """Rows as in :func:`run` on answers to questions of ``kind``, for estimators trained on all other kinds; ``test`` is "held out: <kind>"."""
    s, which = model.s, f"held out: {kind}"
    train = [r for r in rows if r["kind"] != kind][: s.train]
    sets = {which: [r for r in rows if r["kind"] == kind][: s.large_rows]}
    test = sets[which]
    found = {
        "likelihood": [logit(np.exp(r["log_p"])) for r in test],
        "likelihood per token": [logit(np.exp(r["mean_log_p"])) for r in test],
    }

    def once(name: str, compute: Callable[[], list[float]]) -> None:
        if not store.done(f"{which}/{name}"):
            store.put(f"{which}/{name}", compute())
        found[name] = store.get(f"{which}/{name}")

    for way in WAYS:
        once(f"asked, {way}", lambda way=way: model.read(test, way).tolist())
    grades = torch.tensor([int(r["right"]) for r in train])
    once("Probe", lambda: probed(model, train, grades, sets)[which])
    tuned = lambda prompt: adapted(model, train, sets, None, prompt=prompt, weight=s.regulariser)["odds"][which]
    for name, prompt in (("LoRA", False), ("LoRA + Prompt", True)):
        once(name, lambda prompt=prompt: tuned(prompt))
    right = np.array([float(r["right"]) for r in test])
    told = {"test": which, "answers": len(test), "trained": len(train)}
    return [
        {"method": name} | told | quality(np.array(odds), right, s, f"{name}, {which}") for name, odds in found.items()
    ]


def in_sentences(model: Answerer, rows: list[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    """The questions of ``rows`` answered by sentences: rows as in :func:`run` for the likelihood of whole answers and per token."""
    told = answers(model, store, [model.question(r) for r in rows], "sentences", sentences=True)
    right = np.array([float(r["right"]) for r in told])
    out = []
    for name, key in (("likelihood", "log_p"), ("likelihood per token", "mean_log_p")):
        row = quality(np.array([logit(np.exp(r[key])) for r in told]), right, model.s, f"{name}, sentences")
        row |= {"accuracy": float(right.mean()), "kept": float(right.mean())}
        out.append({"method": f"{name}, sentences", "test": "seen", "answers": len(told)} | row)
    return out


def logit(p: float) -> float:
    """Log-odds of the probability ``p``, finite at 0 and 1."""
    return float(np.log(max(p, 1e-12)) - np.log(max(1 - p, 1e-12)))


def quality(odds: np.ndarray, right: np.ndarray, s: ModelSettings, name: str, by: Any = None) -> dict[str, Any]:
    """AUROC, ECE of P(correct) and of the decision, with intervals of the first two; ``by`` names groups that are drawn whole."""
    p = np.exp(-np.logaddexp(0.0, -odds))
    rng = numpy_generator(s.seed, "bootstrap", name)
    if right.min() == right.max():
        found = {"auroc": None, "low": None, "high": None}
        return found | {
            "confidence": float(p.mean()),
            "ece": ece_positive(p, right),
            "ece_decision": ece_top_label(p, right),
        }
    safe = lambda o, y: auroc(o, y) if 0 < y.sum() < len(y) else 0.5  # a resample of one class ranks nothing
    ranks = bootstrap_ci(safe, odds, right, rng=rng, resamples=s.resamples, by=by)
    errors = bootstrap_ci(ece_positive, p, right, rng=rng, resamples=s.resamples, by=by)
    return {
        "auroc": ranks.estimate, "low": ranks.low, "high": ranks.high, "confidence": float(p.mean()), "ece": errors.estimate, "ece_low": errors.low,
        "ece_high": errors.high, "ece_decision": ece_top_label(p, right),
    }  # fmt: skip


def probed(model: Answerer, train: list, grades: torch.Tensor, sets: dict[str, list]) -> dict[str, list[float]]:
    """Log-odds by test set, of a head trained on the frozen states of the answers ``train``."""
    states = model.read(train, None)
    mean, sd = states.mean(dim=0), states.std(dim=0).clamp_min(1e-6)
    head = train_probe((states - mean) / sd, grades, model.s)
    with torch.no_grad():
        return {k: head.log_odds((model.read(group, None) - mean) / sd).tolist() for k, group in sets.items()}


def lost_error(before: Sequence[bool], after: Sequence[bool] | None) -> float | None:
    """Standard error of the share of right answers lost between ``before`` and ``after``, the same questions in the same order."""
    if after is None:
        return None
    return standard_error(np.array(before, dtype=float) - np.array(after, dtype=float))


def called(row: dict[str, Any]) -> str:
    """The method of a row of :func:`run` in words: where the fitted temperature was infinite, that is what it is called."""
    flat = row["method"] == SCALED and row["auroc"] == row["confidence"] == 0.5
    return "asked, plain, T infinite: all one half" if flat else row["method"]


def _scaled(plain: dict[str, list[float]], model: Answerer, train: list, store: Store) -> dict[str, list[float]]:
    """Asking, with a temperature fitted on the first 300 training answers; an infinite one gives log-odds 0."""
    if not store.done("asked, training"):
        store.put("asked, training", model.read(train[:300], "plain").tolist())
    odds = store.get("asked, training")
    fitted = fit_temperature(np.array(odds), np.array([float(r["right"]) for r in train[: len(odds)]]))
    scale = 0.0 if fitted.at_infinity else 1.0 / max(fitted.temperature, 1e-6)
    return {k: [v * scale for v in values] for k, values in plain.items()}


def adapted(
    model: Answerer, train: list, sets: dict[str, list], kept: str | None, *, prompt: bool, weight: float
) -> dict[str, Any]:
    """``odds`` by test set, of adapters trained on the answers ``train``; and for a set ``kept`` also ``again``, 1 or 0, whether the model with
    them answers each of its first 300 questions rightly, and the share ``kept`` of these.
    """
    with global_seed(model.s.seed, "adapter"):
        tuned = train_adapters(model, train, prompt=prompt, regulariser=weight)
    try:
        with torch.no_grad():
            if prompt:
                odds = {k: model.read(group, "plain").tolist() for k, group in sets.items()}
            else:
                odds = {k: tuned.head.cpu().log_odds(model.read(group, None)).tolist() for k, group in sets.items()}
        if kept is None:
            return {"odds": odds}
        again = [int(row["right"]) for row in model.answers([model.question(r) for r in sets[kept][:AGAIN]])]
        return {"odds": odds, "kept": float(np.mean(again)), "again": again}
    finally:
        remove_adapters(model.model)


def where(folder: Path, name: str, settings: ModelSettings) -> Store:
    """The store of one model's run."""
    return Store(folder / "self_knowledge.jsonl", {"settings": repr(settings), "model": name})
