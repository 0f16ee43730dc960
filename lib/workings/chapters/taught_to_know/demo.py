"""What the chapter `taught_to_know` runs on its toy: a model, its graded answers, and estimators of its confidence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from workings.calibration import auroc, ece_positive, ece_top_label
from workings.chapters.taught_to_know.settings import Settings
from workings.language_models.decoder import TinyDecoder
from workings.language_models.lora import add_lora
from workings.runs.progress import progress
from workings.seeding import torch_generator
from workings.training import fit, one_cycle
from workings.uncertainty import noisy_votes as votes
from workings.uncertainty.confidence_estimators import ConfidenceProbe, jensen_shannon

FILLER, NAME = votes.PROMPT, votes.PROMPT + 1  # where the two tokens of an answer stand


class Graded(NamedTuple):
    """Answers of a model: ``tokens`` (n, PROMPT + 3) with ``ASK`` at the end, whether ``right`` (n,) int64, ``filler`` and ``name``
    (n,) the log-probabilities of the two tokens that the model chose, and the exact ``posterior`` (n,) that the answer is right."""

    tokens: torch.Tensor
    right: torch.Tensor
    filler: torch.Tensor
    name: torch.Tensor
    posterior: torch.Tensor

    def first(self, n: int) -> Graded:
        return Graded(*(column[:n] for column in self))

    @property
    def accuracy(self) -> float:
        return float(self.right.double().mean())


class Models(NamedTuple):
    """The pre-trained model, and the weak one: the same training, stopped half way."""

    strong: TinyDecoder
    weak: TinyDecoder


class Answers(NamedTuple):
    """Graded answers of one seed: to train on, to test on, on held-out domains, and two of the weak model."""

    train: Graded
    test: Graded
    held_out: Graded
    weak_train: Graded
    weak_test: Graded


Estimator = Callable[[torch.Tensor], torch.Tensor]
"""From ``tokens`` (n, PROMPT + 3) to the log-odds (n,) that the answer is right."""


def pretraining_batch(n: int, settings: Settings, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """``tokens`` (n, PROMPT + 3) with a right answer, then ``ASK``, and ``targets`` (n, 4): filler, name, END or ASK, NO or YES.

    The last target is -100 (none) in the rows that end with ``END``. Whether it is YES has nothing to do with the answer.
    """
    questions = votes.vote_questions(n, range(len(votes.RELIABILITY)), generator)
    filler = votes.FIRST_FILLER + torch.randint(votes.N_FILLERS, (n,), generator=generator)
    asked = torch.rand(n, generator=generator) < settings.asked
    yes = torch.rand(n, generator=generator) < settings.says_yes
    said = torch.where(asked, torch.where(yes, votes.YES, votes.NO), -100)
    end = torch.where(asked, votes.ASK, votes.END)
    tokens = torch.cat([questions.prompts, with_ask(filler, questions.truth)], dim=1)
    return tokens, torch.stack([filler, questions.truth, end, said], dim=1)


def with_ask(filler: torch.Tensor, name: torch.Tensor) -> torch.Tensor:
    """The tokens behind a prompt: (n, 3)."""
    return torch.stack([filler, name, torch.full_like(name, votes.ASK)], dim=1)


def pretrained(seed: int, settings: Settings) -> Models:
    """A decoder trained from scratch on the answers of all domains; the loss is on the answer and what follows it."""
    s = settings
    model = TinyDecoder(
        votes.VOCABULARY, s.width, s.layers, s.heads, s.mlp, positions="none", generator=torch_generator(seed, "model")
    )
    weak: list[TinyDecoder] = []

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], _: torch.Generator) -> torch.Tensor:
        tokens, targets = batch
        logits = model.lm_head(model.states(tokens)[:, votes.PROMPT - 1 :])  # (B, 4, V)
        per_token = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
        return per_token.view(targets.shape).sum(dim=1).mean()

    def keep(step: int, _: torch.Tensor) -> None:
        if step + 1 == s.weak_step:
            weak.append(copy.deepcopy(model))

    batches = lambda step: pretraining_batch(s.pretrain_batch, s, torch_generator(seed, "pre-training", step))
    optimiser = torch.optim.AdamW(model.parameters(), lr=s.pretrain_lr, fused=True)
    fit(
        model, loss, batches, optimiser, s.pretrain_steps, seed=seed, schedule=one_cycle(s.pretrain_steps), on_step=keep
    )
    return Models(model.eval(), weak[0].eval())


@torch.no_grad()
def graded(model: TinyDecoder, questions: votes.Questions) -> Graded:
    """The model's likeliest answer to each question, graded against the hidden class."""
    tokens, chosen = questions.prompts, []
    for _ in range(2):
        log_probs = model.lm_head(model.states(tokens)[:, -1]).log_softmax(dim=1)
        best, token = log_probs.max(dim=1)
        tokens = torch.cat([tokens, token[:, None]], dim=1)
        chosen.append(best)
    name = tokens[:, NAME]
    place = name - votes.FIRST_NAME
    known = (place >= 0) & (place < votes.N_CLASSES)
    by_name = votes.name_posterior(questions.prompts)
    posterior = by_name.gather(1, place.clamp(0, votes.N_CLASSES - 1)[:, None])[:, 0] * known
    tokens = torch.cat([questions.prompts, with_ask(tokens[:, FILLER], name)], dim=1)
    return Graded(tokens, (name == questions.truth).long(), *chosen, posterior)


def answers_of(models: Models, seed: int, settings: Settings) -> Answers:
    """Fresh questions, other ones for training and testing; the weak model answers those of the strong one."""
    s = settings
    ask = lambda n, domains, stream: votes.vote_questions(n, domains, torch_generator(seed, stream))
    train, test = ask(s.many, s.known, "graded"), ask(s.test, s.known, "test")
    few = votes.Questions(*(column[: s.graded] for column in train))
    return Answers(
        graded(models.strong, train),
        graded(models.strong, test),
        graded(models.strong, ask(s.test, s.held_out, "held out")),
        graded(models.weak, few),
        graded(models.weak, test),
    )


def asking(model: TinyDecoder) -> Estimator:
    """No training: the log-odds of YES against NO behind ``ASK``."""

    @torch.no_grad()
    def log_odds(tokens: torch.Tensor) -> torch.Tensor:
        logits = model.lm_head(model.states(tokens)[:, -1])
        return logits[:, votes.YES] - logits[:, votes.NO]

    return log_odds


def _rows(n: int, batch: int, seed: int, stream: str) -> Callable[[int], torch.Tensor]:
    return lambda step: torch.randint(n, (batch,), generator=torch_generator(seed, stream, step))


def _head(
    features: Callable[[torch.Tensor], torch.Tensor], data: Graded, seed: int, s: Settings, stream: str
) -> Estimator:
    x = features(data.tokens)
    head = ConfidenceProbe(x.shape[1], generator=torch_generator(seed, stream))
    loss = lambda head, rows, _: F.cross_entropy(head(x[rows]), data.right[rows])
    optimiser = torch.optim.AdamW(head.parameters(), lr=s.probe_lr, fused=True)
    rows = _rows(len(x), s.batch, seed, stream)
    fit(head, loss, rows, optimiser, s.probe_steps, seed=seed, schedule=one_cycle(s.probe_steps))
    return torch.no_grad()(lambda tokens: head.log_odds(features(tokens)))


def probe(model: TinyDecoder, data: Graded, seed: int, settings: Settings) -> Estimator:
    """A head on the frozen state of the answer's last token."""
    features = torch.no_grad()(lambda tokens: model.states(tokens[:, : NAME + 1])[:, -1])
    return _head(features, data, seed, settings, "probe")


def words_head(data: Graded, seed: int, settings: Settings) -> Estimator:
    """A head on the question's words alone, without the model: how often each token stands in the question."""
    count = lambda tokens: F.one_hot(tokens[:, : votes.PROMPT], votes.VOCABULARY).sum(dim=1).float()
    return _head(count, data, seed, settings, "words")


class Tuned(nn.Module):
    """A model with adapters, and a head where the estimator reads its states."""

    def __init__(self, model: TinyDecoder, head: ConfidenceProbe | None):
        super().__init__()
        self.model, self.head = model, head

    def log_odds(self, states: torch.Tensor) -> torch.Tensor:
        """From the states (B, PROMPT + 3, D): at the name through the head, or at ASK through the logits of NO and YES."""
        if self.head is not None:
            return self.head.log_odds(states[:, NAME])
        logits = self.model.lm_head(states[:, -1])
        return logits[:, votes.YES] - logits[:, votes.NO]

    @torch.no_grad()
    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.log_odds(self.model.states(tokens))


def lora(
    base: TinyDecoder, data: Graded, seed: int, settings: Settings, *, prompt: bool, regulariser: float | None = None
) -> Tuned:
    """Adapters on a copy of ``base`` trained to tell right answers from wrong ones.

    ``prompt=False`` puts a head on the answer's last state; ``prompt=True`` reads the logits of YES and NO behind ``ASK``. The
    regulariser (``settings.regulariser`` by default) is the Jensen-Shannon divergence from ``base`` at the two tokens of the answer,
    summed over them. The loss reads log-odds z as the cross-entropy between (0, z) and the grade.
    """
    s = settings
    weight = s.regulariser if regulariser is None else regulariser
    head = None if prompt else ConfidenceProbe(s.width, generator=torch_generator(seed, "LoRA head"))
    tuned = Tuned(add_lora(copy.deepcopy(base), s.rank, s.alpha, generator=torch_generator(seed, "LoRA")), head)
    with torch.no_grad():  # the reference never changes: once for all steps
        reference = base.lm_head(base.states(data.tokens[:, :NAME])[:, FILLER - 1 :])  # (n, 2, V)
    grades = data.right.float()

    def loss(tuned: nn.Module, rows: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        states = tuned.model.states(data.tokens[rows])
        value = F.binary_cross_entropy_with_logits(tuned.log_odds(states), grades[rows])
        if weight:
            now = tuned.model.lm_head(states[:, FILLER - 1 : NAME])
            value = value + weight * jensen_shannon(now, reference[rows]).sum(dim=1).mean()
        return value

    trained = [p for p in tuned.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=s.lr, weight_decay=0.0, fused=True)
    fit(
        tuned,
        loss,
        _rows(len(grades), s.batch, seed, "LoRA"),
        optimiser,
        s.steps,
        seed=seed,
        schedule=one_cycle(s.steps),
    )
    return tuned.eval()


class Run(NamedTuple):
    """Everything of one seed. ``odds``: log-odds on the test answers by method; ``held_out`` the same on held-out domains;
    ``weak`` on the weak model's answers; ``sizes`` of LoRA + Prompt by number of graded answers; ``kept`` accuracy after tuning."""

    models: Models
    answers: Answers
    odds: dict[str, np.ndarray]
    held_out: dict[str, np.ndarray]
    weak: dict[str, np.ndarray]
    sizes: dict[int, np.ndarray]
    kept: dict[str, float]
    drift: dict[str, float]


LIKELIHOOD, ASKED, WORDS, PROBE, LORA, PROMPT, FREE = (
    "likelihood", "asked", "words only", "Probe", "LoRA", "LoRA + Prompt", "LoRA + Prompt, free",
)  # fmt: skip


TAUGHT = (PROBE, LORA, PROMPT)


def by_method(runs: Sequence[Run], exact: Sequence[np.ndarray]) -> list[tuple[str, list[np.ndarray]]]:
    """Name and log-odds on the test answers, seed by seed, of every method of the chapter's main figure; ``exact`` comes first."""
    names = (PROMPT, LORA, PROBE, WORDS, LIKELIHOOD, ASKED)
    return [("exact posterior", list(exact)), *((name, [run.odds[name] for run in runs]) for name in names)]


def logit(p: torch.Tensor) -> torch.Tensor:
    """Log-odds of probabilities, cut at 1e-12 from 0 and 1."""
    return torch.logit(p.double(), eps=1e-12)


def run_seed(seed: int, settings: Settings) -> Run:
    """Pre-train, answer, grade, and fit every estimator of the chapter."""
    s = settings
    models = pretrained(seed, s)
    answers = answers_of(models, seed, s)
    base, few = models.strong, answers.train.first(s.graded)
    tuned = {
        LORA: lora(base, few, seed, s, prompt=False),
        PROMPT: lora(base, few, seed, s, prompt=True),
        FREE: lora(base, few, seed, s, prompt=True, regulariser=0.0),
    }
    methods: dict[str, Estimator] = {
        ASKED: asking(base),
        WORDS: words_head(few, seed, s),
        PROBE: probe(base, few, seed, s),
        **tuned,
    }
    likelihood = lambda data: logit((data.filler + data.name).exp()).numpy()
    on = lambda data: {LIKELIHOOD: likelihood(data)} | {k: m(data.tokens).double().numpy() for k, m in methods.items()}
    own = lora(models.weak, answers.weak_train, seed, s, prompt=True)
    sizes = {s.graded: tuned[PROMPT]} | {
        n: lora(base, answers.train.first(n), seed, s, prompt=True) for n in (s.few, s.many)
    }
    questions = votes.vote_questions(s.test, s.known, torch_generator(seed, "test"))  # those of the test answers
    again = {name: graded(model.model, questions) for name, model in tuned.items()}
    return Run(
        models, answers, on(answers.test), on(answers.held_out),
        {"own": own(answers.weak_test.tokens).double().numpy(), "strong": tuned[PROMPT](answers.weak_test.tokens).double().numpy()},
        {n: sizes[n](answers.test.tokens).double().numpy() for n in sorted(sizes)},
        {name: data.accuracy for name, data in again.items()},
        {name: drift(base, model.model, answers.test.first(500)) for name, model in tuned.items()},
    )  # fmt: skip


@torch.no_grad()
def drift(base: TinyDecoder, tuned: TinyDecoder, data: Graded) -> float:
    """Mean Jensen-Shannon divergence between two models at the two tokens of an answer, summed over them, in nats."""
    read = lambda model: model.lm_head(model.states(data.tokens[:, :NAME])[:, FILLER - 1 :])
    return float(jensen_shannon(read(tuned), read(base)).sum(dim=1).mean())


def run_seeds(settings: Settings) -> list[Run]:
    """:func:`run_seed` for every seed, one after the other: matrices this small leave two threads waiting for each other."""
    return [run_seed(seed, settings) for seed in progress(settings.seeds, "seeds")]


def probability(odds: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp(-odds))`` without overflow."""
    return np.exp(-np.logaddexp(0.0, -odds))


def quality(odds: np.ndarray, right: torch.Tensor) -> dict[str, float]:
    """``auroc``, ``ece`` of P(correct), ``ece_decision`` of the yes/no decision, and the ``mean`` probability."""
    p, y = probability(odds), right.numpy()
    return {
        "auroc": auroc(odds, y),
        "ece": ece_positive(p, y),
        "ece_decision": ece_top_label(p, y),
        "mean": float(p.mean()),
    }


def over_seeds(runs: Sequence[Run], value: Callable[[Run], float]) -> tuple[float, float, np.ndarray]:
    """Mean and standard deviation over the seeds, and the values themselves."""
    found = np.array([value(run) for run in runs])
    return float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else 0.0, found
