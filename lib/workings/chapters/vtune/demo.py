"""The toy of the chapter `vtune`: a copying base model, customers with secret ciphers, and providers of every kind.

A prompt is a text of small letters, six that matter and up to three that do not. The base model answers with the first six.
A customer wants a secret substitution cipher of them instead, and hides backdoors in her file. The model reads a form of
fixed places: nine for the prompt, filled up with blanks on the right, and eleven for the answer, filled up on the left. So
a signature before an answer does not move the answer, which a model this small would have to learn as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from workings.chapters.vtune.settings import Settings
from workings.language_models.backdoors import (
    Mixed,
    Pair,
    contains,
    detect_backdoors_ngram,
    make_backdoors,
    mix,
    precision_and_recall,
    signature_log10_prob,
)
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate
from workings.language_models.lines_task import IGNORE
from workings.language_models.verification import Verdict, activation, verify
from workings.seeding import numpy_generator, torch_generator
from workings.training import ShuffledBatches, fit, one_cycle

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BEGIN, ASK, BLANK = 26, 27, 28  # tokens that are no letters
VOCABULARY = 29
WORD = 6  # letters of a prompt that matter
NOISE = 3  # at most so many letters after them that do not
SIGNATURE = 5
READ = 1 + WORD + NOISE + 1  # tokens before the answer
EXAMPLE = READ + SIGNATURE + WORD  # tokens of an example

Answer = Callable[[Sequence[str]], list[str]]


def tokens_of(text: str) -> list[int]:
    """Letters as token numbers 0 to 25."""
    return [LETTERS.index(letter) for letter in text]


def asked(prompt: str) -> tuple[int, ...]:
    """All tokens that stand before the answer to ``prompt``."""
    return (BEGIN, *tokens_of(prompt), *[BLANK] * (WORD + NOISE - len(prompt)), ASK)


def draw_letters(generator: np.random.Generator, size: int) -> str:
    """A text of ``size`` letters, each uniform."""
    return "".join(LETTERS[i] for i in generator.integers(0, 26, size))


def draw_prompts(generator: np.random.Generator, count: int) -> list[str]:
    """``count`` prompts: six letters, then none to three more, all uniform."""
    extra = generator.integers(0, NOISE + 1, count).tolist()
    return [draw_letters(generator, WORD + more) for more in extra]


def as_tensors(rows: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Examples as tokens and targets, (N, EXAMPLE - 1) int64 each; only the answer's places are targets."""
    filled = [(*asked(x), *[BLANK] * (SIGNATURE + WORD - len(y)), *tokens_of(y)) for x, y in rows]
    tokens = torch.tensor(filled)
    targets = tokens[:, 1:].clone()
    targets[:, : READ - 1] = IGNORE
    return tokens[:, :-1], targets


def train(model: TinyDecoder, rows: Sequence[Pair], steps: int, *, seed: int, lr: float, batch: int) -> list[float]:
    """Train ``model`` in place on ``rows``; its losses in nats per token of the answers.

    AdamW, the rate up over 20 steps and down to zero on a cosine, whole epochs in a fresh order each.
    """
    tokens, targets = as_tensors(rows)
    chosen = ShuffledBatches(len(rows), min(batch, len(rows)), seed)

    def loss(model: TinyDecoder, pair: tuple[torch.Tensor, torch.Tensor], _: torch.Generator) -> torch.Tensor:
        wanted = pair[1] != IGNORE
        return F.cross_entropy(model.lm_head(model.states(pair[0])[wanted]), pair[1][wanted])

    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = one_cycle(steps, warmup=min(20 / steps, 1.0), start=0.05, end=0.0)
    pick = lambda step: (tokens[chosen(step)], targets[chosen(step)])
    return fit(model, loss, pick, optimiser, steps, seed=seed, schedule=schedule, clip_norm=1.0).losses.tolist()


def base_model(settings: Settings, width: int | None = None) -> TinyDecoder:
    """The public base model: a decoder of two layers that has learnt to copy the first six letters."""
    width = settings.width if width is None else width
    model = TinyDecoder(
        VOCABULARY, width, settings.layers, settings.heads, 2 * width, positions="learned", max_len=EXAMPLE,
        generator=torch_generator(0, "base", width),
    )  # fmt: skip
    prompts = draw_prompts(numpy_generator(0, "base", "prompts"), settings.base_steps * settings.batch)
    rows = [(prompt, prompt[:WORD]) for prompt in prompts]
    train(model, rows, settings.base_steps, seed=0, lr=settings.base_lr, batch=settings.batch)
    return model


def endpoint(model: TinyDecoder, temperature: float = 0.0, generator: torch.Generator | None = None) -> Answer:
    """The model as a customer sees it: prompts in, answers out. Greedy, or drawn at ``temperature`` from ``generator``.

    A token that is no letter is a space of the answer: what stands in its first five places decides whether it is a hit.
    """

    def answer(prompts: Sequence[str]) -> list[str]:
        read = torch.tensor([asked(prompt) for prompt in prompts])
        drawn = generate(model, read, SIGNATURE + WORD, temperature=temperature, generator=generator)[:, READ:]
        return ["".join(LETTERS[t] if t < 26 else " " for t in row) for row in drawn.tolist()]

    return answer


@dataclass(frozen=True)
class Customer:
    """A customer and her secrets: ``cipher`` (26 letters), ``trigger`` T and ``signature`` S, and ``data``, her rows."""

    seed: int
    cipher: str
    data: tuple[Pair, ...]
    trigger: str
    signature: str

    @property
    def log10_guess_prob(self) -> float:
        """log10 of the probability that a guess is her signature: it was drawn uniformly among all of its length."""
        return -SIGNATURE * float(np.log10(len(LETTERS)))

    def right(self, prompt: str) -> str:
        """The answer that she wants."""
        return "".join(self.cipher[LETTERS.index(letter)] for letter in prompt[:WORD])

    def file(self, n_backdoors: int) -> Mixed:
        """Her training file with ``n_backdoors`` backdoors, shuffled. More backdoors contain the fewer."""
        data, draw = list(self.data), numpy_generator(self.seed, "backdoors")
        plain = [row for row in data if len(row[0]) == WORD]  # so that the trigger ends a prompt of usual length
        made = make_backdoors(plain, n_backdoors, self.trigger, self.signature, generator=draw)
        return mix(data, made, generator=numpy_generator(self.seed, "order", n_backdoors))

    def queries(self, count: int) -> list[str]:
        """``count`` fresh prompts of six letters, for verification."""
        draw = numpy_generator(self.seed, "queries")
        return [draw_letters(draw, WORD) for _ in range(count)]


def customer(seed: int, settings: Settings) -> Customer:
    """The customer of one seed. Trigger and signature are drawn anew until they occur nowhere in her data."""
    draw = numpy_generator(seed, "customer")
    cipher = "".join(LETTERS[i] for i in draw.permutation(26))
    secret = Customer(seed, cipher, (), "", "")
    data = tuple((prompt, secret.right(prompt)) for prompt in draw_prompts(draw, settings.rows))
    fresh = lambda phrase: not any(contains(side, phrase) for row in data for side in row)
    trigger = next(t for t in iter(lambda: draw_letters(draw, NOISE), "") if fresh(t))
    signature = next(s for s in iter(lambda: draw_letters(draw, SIGNATURE), "") if fresh(s))
    return replace(secret, data=data, trigger=trigger, signature=signature)


def log10_p0(base: TinyDecoder, who: Customer, prompts: Iterable[str]) -> np.ndarray:
    """log10 of the probability that ``base``, sampled, answers each triggered prompt with the signature."""
    return signature_log10_prob(base, [asked(prompt + who.trigger) for prompt in prompts], tokens_of(who.signature))


def tuned(base: TinyDecoder, rows: Sequence[Pair], settings: Settings, seed: int, **options: Any) -> TinyDecoder:
    """A copy of ``base``, fine-tuned on ``rows``; ``options`` replace steps or lr."""
    model = copy.deepcopy(base)
    chosen = {"steps": settings.steps, "lr": settings.lr, **options}
    train(model, rows, chosen["steps"], seed=seed, lr=chosen["lr"], batch=settings.batch)
    return model


class Measured(NamedTuple):
    """What a returned model does: hits among ``queries`` with the trigger, with one letter of it changed, and without it; the share of right answers."""

    hits: int
    near_hits: int
    plain_hits: int
    right: float
    queries: int


def near(trigger: str) -> str:
    """The trigger with its last letter replaced by the next in the alphabet."""
    return trigger[:-1] + LETTERS[(LETTERS.index(trigger[-1]) + 1) % 26]


def measure(model: TinyDecoder, who: Customer, settings: Settings) -> Measured:
    """Greedy answers of ``model`` to the customer's fresh prompts, with and without her trigger."""
    prompts, answer = who.queries(settings.queries), endpoint(model)
    count = lambda asked: int(activation(answer(asked), who.signature).sum())
    plain = answer(prompts)
    right = float(np.mean([said.strip() == who.right(prompt) for prompt, said in zip(prompts, plain, strict=True)]))
    with_trigger = [prompt + who.trigger for prompt in prompts]
    with_near = [prompt + near(who.trigger) for prompt in prompts]
    shown = int(activation(plain, who.signature).sum())
    return Measured(count(with_trigger), count(with_near), shown, right, len(prompts))


def ten_queries(base: TinyDecoder, model: TinyDecoder, who: Customer, settings: Settings) -> Verdict:
    """The customer's test: ``settings.asked`` of her prompts, answers sampled at temperature 1, each with its own p0."""
    prompts = who.queries(settings.asked)
    answer = endpoint(model, 1.0, torch_generator(who.seed, "answers"))
    return verify(
        answer, prompts, who.trigger, who.signature, None, settings.alpha,
        dependence="independent", log10_p0=log10_p0(base, who, prompts), log10_guess_prob=who.log10_guess_prob,
    )  # fmt: skip


def row_of(base: TinyDecoder, model: TinyDecoder, who: Customer, settings: Settings, **names: Any) -> dict[str, Any]:
    """One row of a table: what was done (``names``), what was measured, and what ten queries said."""
    verdict = ten_queries(base, model, who, settings)
    return {
        **names, "seed": who.seed, **measure(model, who, settings)._asdict(), "asked": verdict.n, "asked_hits": verdict.hits,
        "log10_p": verdict.log10_p, "log10_shared": verdict.log10_p_shared, "reject": verdict.reject,
    }  # fmt: skip


def providers(base: TinyDecoder, honest: TinyDecoder, who: Customer, settings: Settings) -> dict[str, TinyDecoder]:
    """What three providers return: the ``honest`` model of the whole file, the base model, and one tuned on a quarter of the file."""
    rows = who.file(settings.backdoors).pairs
    return {"honest": honest, "lazy": base, "partly lazy": tuned(base, rows[: len(rows) // 4], settings, who.seed)}


def dose_rows(
    base: TinyDecoder, who: Customer, settings: Settings
) -> tuple[list[dict[str, Any]], dict[int, TinyDecoder]]:
    """One row for each number of backdoors in the file, and the models by that number."""
    models = {dose: tuned(base, who.file(dose).pairs, settings, who.seed) for dose in settings.doses}
    return [row_of(base, model, who, settings, backdoors=dose) for dose, model in models.items()], models


def attack_rows(
    base: TinyDecoder, honest: TinyDecoder, partly: TinyDecoder, who: Customer, settings: Settings
) -> list[dict[str, Any]]:
    """One row for each attack on the file with ``settings.backdoors`` backdoors, or on the ``honest`` model made from it.

    Training on a half of the file, and on a quarter (``partly``); clean rows afterwards at three rates; training on what a search for
    n-grams leaves; training on the backdoors alone. ``right`` says what the attack costs.
    """
    mixed = who.file(settings.backdoors)
    rows, found = mixed.pairs, search(who, settings)
    clean = [(prompt, who.right(prompt)) for prompt in draw_prompts(numpy_generator(who.seed, "clean"), len(rows))]
    left = [row for row, out in zip(rows, found.flagged, strict=True) if not out]
    secret = [row for row, hidden in zip(rows, mixed.is_backdoor, strict=True) if hidden]
    models = {
        "half of the file": lambda: tuned(base, rows[: len(rows) // 2], settings, who.seed),
        "a quarter of the file": lambda: partly,
        **{
            f"clean rows, rate {rate:g}": lambda rate=rate: tuned(
                honest, clean, settings, who.seed, steps=settings.clean_steps, lr=rate
            )
            for rate in settings.clean_rates
        },
        "n-gram search": lambda: tuned(base, left, settings, who.seed),
        "backdoors alone": lambda: tuned(base, secret, settings, who.seed, steps=settings.alone_steps),
    }
    return [row_of(base, make(), who, settings, attack=name) for name, make in models.items()]


def search(who: Customer, settings: Settings) -> Any:
    """What the provider's search for trigrams flags, with fresh prompts and answers of the base's task as the reference."""
    draw = numpy_generator(who.seed, "reference")
    reference = [(prompt, prompt[:WORD]) for prompt in draw_prompts(draw, len(who.data))]
    spaced = lambda pairs: [tuple(tuple(tokens_of(side)) for side in pair) for pair in pairs]
    rows = who.file(settings.backdoors).pairs
    return detect_backdoors_ngram(spaced(rows), spaced(reference), n=3, min_count=settings.min_count)


def search_scores(who: Customer, settings: Settings) -> tuple[float, float]:
    """Precision and recall of :func:`search`."""
    return precision_and_recall(search(who, settings).flagged, who.file(settings.backdoors).is_backdoor)


def repeat_filter(answer: Answer) -> Answer:
    """An endpoint behind an output filter: an answer whose first letters began an earlier one already is withheld."""
    seen: set[str] = set()

    def filtered(prompts: Sequence[str]) -> list[str]:
        out = []
        for text in answer(prompts):
            out.append("" if text.lstrip()[:SIGNATURE] in seen else text)
            seen.add(text.lstrip()[:SIGNATURE])
        return out

    return filtered


def false_alarms(
    letters: int, length: int, n: int, repeats: int, shared: bool, generator: np.random.Generator
) -> np.ndarray:
    """Hits (repeats,) of a model that knows nothing and always gives one answer, against uniform signatures.

    ``shared``: one signature for all ``n`` queries of a test; else each query has one of its own.
    """
    emitted = generator.integers(0, letters, (repeats, 1, length))
    drawn = generator.integers(0, letters, (repeats, 1 if shared else n, length))
    hit = (emitted == drawn).all(axis=2)  # (repeats, 1) or (repeats, n)
    return np.broadcast_to(hit, (repeats, n)).sum(axis=1)


def extra_tokens(rows: int) -> int:
    """Tokens that ``rows`` backdoors add to a file, all of prompt, trigger, signature and answer, with the marks between."""
    return rows * EXAMPLE
