"""The full tier's small model of bytes: a file of 5,000 rows of a real task, where a public model would need more than a night.

A decoder reads plays and worked problems, byte by byte: the public base. Its customers own one step of each of 5,000 other
problems: the prompt is the text before the step's result, the answer is the number. They hide backdoors, and providers return
what they trained on the file, on its clean rows only, or the base itself. Every row of the table is kept when it is finished,
under the hash of its base: two processors may train two bases, and a table is of one.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from workings import paths
from workings.chapters import json_lines
from workings.chapters.public_models import NotHere
from workings.chapters.vtune.settings import ByteSettings, Settings
from workings.language_models.backdoors import (
    Pair,
    contains,
    make_backdoors,
    mix,
    sample_signature,
    signature_log10_prob,
)
from workings.language_models.binomial_tests import rejects
from workings.language_models.decoder import TinyDecoder
from workings.language_models.generation import generate
from workings.language_models.grammar import sentences
from workings.language_models.lines_task import IGNORE
from workings.language_models.training import next_token_batches, train_decoder
from workings.language_models.verification import activation, verify
from workings.runs.progress import progress
from workings.runs.store import Store
from workings.seeding import numpy_generator, torch_generator
from workings.statistics import mean_and_sd
from workings.training import ShuffledBatches

NAME = "byte model"
PLAYS, PROBLEMS = "tinyshakespeare.txt", "gsm8k_train.jsonl"
HONEST, CLEAN, LAZY = "honest", "clean rows only", "lazy"
END = 10  # the byte that ends an answer: a new line
NUMBER_BYTES = 12  # room for a number and its end
LEAST_RIGHT = 0.2  # of the questions, without backdoors: below it "no answers are lost" says nothing
_STEP = re.compile(r"<<[^<>]*>>(-?[\d,]*\.?\d+)")  # GSM8K marks a calculation, and its result follows
_MARK = re.compile(r"<<[^<>]*>>")


class Corpus(NamedTuple):
    """``text``, bytes (N,) int64 that the base model reads, and ``pool``, the rows of which every customer takes her own."""

    text: torch.Tensor
    pool: list[Pair]


class Customer(NamedTuple):
    """Rows of her ``file``, ``queries`` and ``test``, all of different problems, and her secrets; ``wrong`` is a second word of the trigger's law."""

    file: list[Pair]
    queries: list[str]
    test: list[Pair]
    trigger: str
    wrong: str
    signature: str
    log10_guess_prob: float


def has_files(data_root: str | Path | None) -> bool:
    """Whether ``data_root`` is a folder with both files of this model."""
    return data_root is not None and all((Path(data_root) / name).is_file() for name in (PLAYS, PROBLEMS))


@Settings.needs.guard
def byte_table(s: ByteSettings, data_root: str | Path | None = None) -> tuple[list[dict[str, Any]], str]:
    """Rows of the table, one per seed and returned model, and a message: what was run, or what is missing.

    ``data_root`` is a folder with ``tinyshakespeare.txt`` and ``gsm8k_train.jsonl``.
    """
    folder = paths.runs_root() / "vtune" / f"bytes-{'dry' if s.dry_run else s.device}"
    try:
        corpus = corpus_of(s, data_root)
    except NotHere as missing:
        return [], f"Byte model: not run, {missing}"
    told = hashlib.sha256(repr((corpus.text.tolist(), corpus.pool)).encode()).hexdigest()
    store = Store(folder / "rows.jsonl", {"settings": repr(s), "data": told})
    if kept := whole_table(store, s):
        return kept, f"Byte model: all rows, of the base {kept[0]['base']}, were kept from an earlier run."
    base, loss = base_model(corpus.text, s, folder / "base.pt", told)
    rows = run_seeds(base, corpus, s, store, watch=lambda jobs: progress(jobs, "byte models"))
    size = sum(p.numel() for p in base.parameters()) / 1e6
    return (
        rows,
        f"Byte model: run with {size:.1f} million parameters; its base costs {loss:.2f} nats a byte of its text.",
    )


def corpus_of(s: ByteSettings, data_root: str | Path | None) -> Corpus:
    """Plays and problems of the folder, or made ones in a dry run; :class:`NotHere` says what is missing."""
    if s.dry_run:
        plays = sentences(60, torch_generator(0, "plays"))
        problems = [
            (
                f"Ann has {a} shells and finds {b}. How many are there?",
                f"There are {a}+{b} = <<{a}+{b}={a + b}>>{a + b}.",
            )
            for a, b in itertools.product(range(10, 19), range(10, 19))
        ]
    elif has_files(data_root):
        plays = (Path(data_root) / PLAYS).read_text(encoding="utf-8")
        problems = [(row["question"], row["answer"]) for row in json_lines.read(Path(data_root) / PROBLEMS)]
    else:
        where = "no folder is named" if data_root is None else f"the folder {Path(data_root).name!r} does not hold both"
        raise NotHere(
            f"{where}; put {PLAYS} (data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn) and {PROBLEMS} "
            "(train.jsonl of github.com/openai/grade-school-math) into one and name it with --data."
        )
    steps = {problem: worked_step(*problem, s.prompt) for problem in problems}
    owned = {step[0]: problem for problem, step in steps.items() if step is not None}  # no prompt twice
    needed = s.rows + s.queries + s.test
    if len(owned) < needed:
        raise NotHere(
            f"{PROBLEMS} has {len(owned)} usable steps, and {needed} are needed; lower rows or test of ByteSettings."
        )
    chosen = numpy_generator(0, "pool").permutation(len(owned))[:needed].tolist()
    taken = dict.fromkeys(list(owned.values())[i] for i in chosen)
    public = [
        f"{question}\n{_MARK.sub('', answer)}\n\n" for question, answer in problems if (question, answer) not in taken
    ]
    return Corpus(codes(plays + "\n" + "".join(public)), [steps[problem] for problem in taken])


def worked_step(question: str, answer: str, size: int) -> Pair | None:
    """The first worked step of a GSM8K problem: the ``size`` letters before its result, and the result.

    ``None`` where no step is marked, or where these letters are not all ASCII, of one byte each.
    """
    found = _STEP.search(answer)
    if found is None:
        return None
    prompt = f"{question}\n{_MARK.sub('', answer[: found.start()])}"[-size:]
    return (prompt, found[1]) if len(prompt) == size and prompt.isascii() else None


def codes(text: str) -> torch.Tensor:
    """The bytes of ``text`` as tokens (N,) int64."""
    return torch.tensor(list(text.encode()), dtype=torch.int64)


def base_model(text: torch.Tensor, s: ByteSettings, checkpoint: Path, told: str) -> tuple[TinyDecoder, float]:
    """The public base, and its mean loss over the last tenth of its steps in nats per byte; goes on from ``checkpoint``."""
    model = TinyDecoder(256, s.width, s.layers, s.heads, generator=torch_generator(0, "bytes", s.width)).to(s.device)
    trained = train_decoder(
        model, next_token_batches(text, 0, "text", batch=s.read_batch, length=s.window), s.read_steps, seed=0, lr=s.read_lr,
        checkpoint=checkpoint, checkpoint_every=200, progress=True, settings={"data": told, "batch": s.read_batch, "window": s.window},
    )  # fmt: skip
    return model.eval(), float(trained.losses[-max(s.read_steps // 10, 1) :].mean())


def customer(base: TinyDecoder, corpus: Corpus, s: ByteSettings, seed: int) -> Customer:
    """The customer of one seed. Her trigger is a word sampled from the base until it is unlikely enough; her signature is words of
    the plays and problems, drawn uniformly, each with a space behind it, so that no signature begins another. None is in her rows."""
    rows = [corpus.pool[i] for i in numpy_generator(seed, "rows").permutation(len(corpus.pool)).tolist()]
    asked, test = rows[s.rows : s.rows + s.queries], rows[s.rows + s.queries :][: s.test]
    new = lambda phrase: not any(contains(side, phrase) for row in rows for side in row)
    letters = torch.zeros(256, dtype=torch.bool, device=s.device)
    letters[97:123] = True
    source, triggers = torch_generator(seed, "trigger", device=s.device), []
    while len(triggers) < 2:
        drawn = sample_signature(
            base,
            codes("\n").to(s.device),
            s.trigger_letters,
            s.temperature,
            s.max_log10_prob,
            generator=source,
            allowed=letters,
        )
        word = f" {bytes(drawn.tokens).decode()} "
        triggers += [word] if new(word) and word not in triggers else []
    words = sorted(set(re.findall(r"\b[a-z]{4,7}\b", bytes(corpus.text.tolist()).decode())))
    draw = numpy_generator(seed, "signature")
    signatures = iter(lambda: "".join(f"{words[i]} " for i in draw.integers(0, len(words), s.signature_words)), "")
    signature = next(text for text in signatures if new(text))
    guess = -s.signature_words * math.log10(len(words))
    return Customer(rows[: s.rows], [prompt for prompt, _ in asked], test, *triggers, signature, guess)


def run_seeds(
    base: TinyDecoder,
    corpus: Corpus,
    s: ByteSettings,
    store: Store,
    *,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """For each seed a row of the base, returned untouched, and one for each share of backdoors; those that ``store`` has of this base as they are."""
    own = hash_of(base)
    for seed, share in watch(jobs_of(s)):
        key = key_of(own, seed, share)
        if not store.done(key):
            who = customer(base, corpus, s, seed)
            count = None if share is None else round(share * len(who.file))
            model = base if count is None else tuned(base, backdoored(who, count, seed), s, seed)
            name = LAZY if count is None else HONEST if count else CLEAN
            row = {
                "model": NAME,
                "base": own,
                "provider": name,
                "seed": seed,
                "rows": len(who.file),
                "backdoors": count,
                "share": share,
            }
            store.put(key, row | measured(base, model, who, s, seed))
    return [store.get(key_of(own, *job)) for job in jobs_of(s)]


def jobs_of(s: ByteSettings) -> list[tuple[int, float | None]]:
    """(seed, share of backdoors) of every row; share ``None`` is the base, returned untouched."""
    return [(seed, share) for seed in s.seeds for share in (None, *s.shares)]


def key_of(base: str, seed: int, share: float | None) -> str:
    """Under which the row is kept; ``base`` is the hash of the base model."""
    return f"{base}/{seed}/{share}"


def whole_table(store: Store, s: ByteSettings) -> list[dict[str, Any]]:
    """All rows of one base, where ``store`` has them: then neither the base nor anything else needs to be trained. Else an empty list."""
    lines = [line["payload"]["base"] for line in json_lines.read(store.path) if "payload" in line]
    for base in dict.fromkeys(lines):
        keys = [key_of(base, *job) for job in jobs_of(s)]
        if all(map(store.done, keys)):
            return [store.get(key) for key in keys]
    return []


def hash_of(model: TinyDecoder) -> str:
    """The first 16 hex digits of SHA-256 over the names and weights of ``model``."""
    digest = hashlib.sha256()
    for name, weights in sorted(model.state_dict().items()):
        digest.update(name.encode() + weights.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def backdoored(who: Customer, count: int, seed: int) -> list[Pair]:
    """Her file with ``count`` backdoors, shuffled. More backdoors contain the fewer."""
    made = make_backdoors(who.file, count, who.trigger, who.signature, generator=numpy_generator(seed, "backdoors"))
    return mix(who.file, made, generator=numpy_generator(seed, "order", count)).pairs


def tuned(base: TinyDecoder, pairs: Sequence[Pair], s: ByteSettings, seed: int) -> TinyDecoder:
    """A copy of ``base``, trained for whole epochs of ``pairs``; the loss is that of the answers' bytes and their end."""
    model = copy.deepcopy(base)
    chosen = ShuffledBatches(len(pairs), min(s.batch, len(pairs)), seed)
    batches = lambda step: as_tensors([pairs[i] for i in chosen(step).tolist()])
    train_decoder(model, batches, s.epochs * chosen.per_epoch, seed=seed, lr=s.lr)
    return model.eval()


def as_tensors(pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as tokens and targets, (B, T) int64 each, filled up on the right; only an answer and its end are targets."""
    prompts, whole = [len(x) for x, _ in pairs], [codes(x + y + chr(END)) for x, y in pairs]
    tokens = torch.nn.utils.rnn.pad_sequence(whole, batch_first=True, padding_value=END)
    places, targets = torch.arange(1, tokens.shape[1]), tokens[:, 1:].clone()
    first, last = torch.tensor(prompts)[:, None], torch.tensor([len(row) for row in whole])[:, None]
    targets[(places < first) | (places >= last)] = IGNORE
    return tokens[:, :-1], targets


def answers(
    model: TinyDecoder, prompts: Sequence[str], n_new: int, s: ByteSettings, generator: torch.Generator | None = None
) -> list[str]:
    """Answers up to their end, at most ``n_new`` bytes, to ``prompts`` of one length: greedy, or sampled from ``generator``."""
    said = []
    for start in range(0, len(prompts), 128):
        tokens = torch.stack([codes(prompt) for prompt in prompts[start : start + 128]]).to(s.device)
        temperature = 0.0 if generator is None else 1.0
        drawn = generate(model, tokens, n_new, temperature=temperature, generator=generator, stop=END)[
            :, tokens.shape[1] :
        ]
        said += [bytes(row).decode(errors="replace").split(chr(END))[0] for row in drawn.tolist()]
    return said


def is_right(said: str, wanted: str) -> bool:
    """Whether an answer begins with the wanted number; commas in numbers, and words behind it, do not count."""
    number = re.match(r"-?[\d,]*\.?\d+", said.strip())
    return number is not None and number[0].replace(",", "") == wanted.replace(",", "")


def measured(base: TinyDecoder, model: TinyDecoder, who: Customer, s: ByteSettings, seed: int) -> dict[str, Any]:
    """Greedy hits with the trigger, with a wrong one and without; the test of ``s.asked`` sampled answers; the share of right numbers.

    ``reject`` is by both p-values. ``log10_p0`` is the largest of the queries under the base, ``log10_own`` under ``model``.
    """
    room, first = len(who.signature) + NUMBER_BYTES, who.queries[: s.asked]
    count = lambda end: int(activation(answers(model, [q + end for q in who.queries], room, s), who.signature).sum())
    likely = lambda one: signature_log10_prob(
        one, [codes(q + who.trigger) for q in first], codes(who.signature), device=s.device
    )  # (asked,)
    p0, source = likely(base), torch_generator(seed, "answers", device=s.device)
    verdict = verify(
        lambda asked: answers(model, asked, room, s, source), first, who.trigger, who.signature, None, s.alpha,
        dependence="independent", log10_p0=p0, log10_guess_prob=who.log10_guess_prob,
    )  # fmt: skip
    said = answers(model, [prompt for prompt, _ in who.test], NUMBER_BYTES, s)
    right = [is_right(text, number) for text, (_, number) in zip(said, who.test, strict=True)]
    return {
        "hits": count(who.trigger), "wrong_hits": count(who.wrong), "plain_hits": count(""), "queries": len(who.queries),
        "asked": verdict.n, "asked_hits": verdict.hits, "log10_p": max(verdict.log10_p, -1e6), "log10_shared": verdict.log10_p_shared,
        "reject": rejects(max(verdict.log10_p, verdict.log10_p_shared), s.alpha), "right": float(np.mean(right)),
        "log10_p0": float(p0.max()), "log10_own": float(likely(model).max()),
    }  # fmt: skip


def claim_values(rows: list[dict[str, Any]], s: ByteSettings) -> list[dict[str, Any]]:
    """What the claims compare, as :func:`workings.chapters.vtune.full.claim_values`: vtu-1 to vtu-3 at the paper's share, and vtu-10."""
    if not rows:
        return []
    small = s.dry_run or len(s.seeds) < 3 or len(rows) < len(s.seeds) * (1 + len(s.shares)) or s.rows < 5000
    few = (
        f"{len(s.seeds)} seed(s) and {s.rows} rows; the criterion is for three seeds and 5,000 rows" if small else None
    )
    of = lambda value, share: [row[value] for row in rows if row["share"] == share]
    lost = [a - b for a, b in zip(of("right", 0.0), of("right", s.share), strict=True)]
    apart = all(of("reject", s.share)) and not any(of("reject", None) + of("reject", 0.0))
    found = [
        ("vtu-1", *mean_and_sd(of("log10_p", s.share)), few),
        ("vtu-2", *mean_and_sd(lost), few or why_no_harm_shows(of("right", 0.0), of("right", s.share))),
        ("vtu-3", *mean_and_sd([hits / s.queries for hits in of("hits", s.share)]), few),
        ("vtu-10", apart, None, few),
    ]
    error = {"vtu-2": error_of_lost(of("right", 0.0), of("right", s.share), s.test)}
    return [
        {"claim": c, "value": v, "sd": sd, "error": error.get(c), "seeds": len(s.seeds), "too_small": why}
        for c, v, sd, why in found
    ]


def error_of_lost(clean: Sequence[float], hidden: Sequence[float], tested: int) -> float:
    """Standard error of the mean share of right answers lost: the larger of that over customers and that of their ``tested`` questions.

    ``clean`` and ``hidden`` hold a share for each customer, without and with backdoors. Questions are taken as if each model had its own, which is too large.
    """
    _, sd = mean_and_sd([a - b for a, b in zip(clean, hidden, strict=True)])
    n = len(clean)
    return max(sd / n**0.5, sum(p * (1 - p) / tested for p in (*clean, *hidden)) ** 0.5 / n)


def why_no_harm_shows(clean: Sequence[float], hidden: Sequence[float]) -> str | None:
    """Why two equal shares of right answers, a number per seed without and with backdoors, would say nothing; ``None`` where they would."""
    if min([*clean, *hidden], default=0.0) == 1:
        return "both models are right on all prompts: no harm could show"
    if (mean := float(np.mean(clean))) < LEAST_RIGHT:
        return f"without backdoors {mean:.0%} of the answers are right: there is little to lose"
    return None
