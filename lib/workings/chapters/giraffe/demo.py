"""What the chapter `giraffe` measures: training, retrieval and perplexity under every scaling of the frequencies.

Every function measures one trained model and returns rows: which seed, how it was fine-tuned (``train``), how it is read
(``eval``), at which length, and the number. A scaling is a name of :data:`~workings.chapters.giraffe.settings.SCALINGS`;
:func:`scaling_options` makes position options of it. Lengths are multiples of the trained length L. The demo and the
runs from scratch of the full tier (:mod:`~workings.chapters.giraffe.scratch`) differ only in their :class:`Settings`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from workings.chapters.giraffe import models
from workings.chapters.giraffe.settings import BLOCKS, LAYOUT_CASES, RANDOMISED, SCALINGS, Settings
from workings.language_models.decoder import TinyDecoder
from workings.language_models.evaluation import answer_hits, retrieval_accuracy, token_nll
from workings.language_models.grammar import random_windows
from workings.language_models.lines_task import IGNORE, Lines, lines_batch, lines_in
from workings.language_models.rope_scaling import scale_frequencies
from workings.runs.parallel import thread_map
from workings.seeding import torch_generator


def scaling_options(name: str, theta: torch.Tensor, length: int) -> dict[str, Any]:
    """The scaling ``name`` for frequencies ``theta`` (d/2,) trained on ``length`` tokens, as options of a model's forward pass."""
    if name not in SCALINGS:
        raise ValueError(f"there is no scaling {name!r}; there are: {', '.join(SCALINGS)}.")
    kind, options = SCALINGS[name]
    return scale_frequencies(theta, kind, orig_len=length, **options)._asdict()


def linear_name(scale: int) -> str:
    """The name of linear scaling by ``scale``: ``"RoPE"`` for 1, else ``"linear 4"`` and so on."""
    return "RoPE" if scale == 1 else f"linear {scale}"


class TrainedModel(NamedTuple):
    """A model trained at length L, and the seed it came from."""

    seed: int
    model: TinyDecoder


def trained_lines_model(
    seed: int, settings: Settings, checkpoint: Path | None = None, every: int | None = None
) -> TrainedModel:
    """The lines model of one seed; with ``checkpoint`` an interrupted training goes on from it."""
    s = settings
    model = models.lines_model(
        torch_generator(seed, "model"), n_keys=s.n_keys, width=s.width, n_layers=s.layers, n_heads=s.heads, mlp_width=s.mlp,
        rope_base=s.base,
    ).to(s.device)  # fmt: skip
    if s.warm_steps:
        models.train_lines(
            model, seed, s.warm_steps, length=s.length // 4, n_queries=max(1, s.length // 32), n_keys=s.n_keys,
            batch=2 * s.batch, lr=s.warm_lr, stream="lines, warm",
            checkpoint=checkpoint.with_suffix(".warm.pt") if checkpoint else None,
            checkpoint_every=every if checkpoint else None,
        )  # fmt: skip
    models.train_lines(
        model, seed, s.steps, length=s.length, n_queries=s.queries, n_keys=s.n_keys, batch=s.batch, lr=s.lr,
        checkpoint=checkpoint, checkpoint_every=every if checkpoint else None,
    )  # fmt: skip
    return TrainedModel(seed, model)


def trained_character_model(
    seed: int, settings: Settings, checkpoint: Path | None = None, every: int | None = None
) -> TrainedModel:
    """The character model of one seed, trained on a text of its own."""
    s = settings
    model = models.character_model(
        torch_generator(seed, "characters"), width=s.width, n_layers=s.char_layers, n_heads=s.heads, mlp_width=s.mlp,
        rope_base=s.base,
    ).to(s.device)  # fmt: skip
    codes = models.character_corpus(seed, n_sentences=s.char_sentences)
    models.train_characters(
        model, codes, seed, s.char_steps, length=s.length, batch=s.char_batch, lr=s.char_lr,
        checkpoint=checkpoint, checkpoint_every=every if checkpoint else None,
    )  # fmt: skip
    return TrainedModel(seed, model)


def train_all_models(settings: Settings) -> tuple[list[TrainedModel], list[TrainedModel]]:
    """The lines models and the character models of all seeds, two trainings at a time."""
    jobs = [(make, seed) for make in (trained_lines_model, trained_character_model) for seed in settings.seeds]
    bases = thread_map(lambda job: job[0](job[1], settings), jobs)
    return bases[: len(settings.seeds)], bases[len(settings.seeds) :]


def lines_for_testing(seed: int, multiple: int, settings: Settings) -> Lines:
    """The test sequences of one seed at ``multiple`` times L tokens: the same for every scaling and fine-tuning."""
    s = settings
    n_lines = lines_in(multiple * s.length, s.queries)
    source = torch_generator(seed, "test", multiple)
    return lines_batch(s.sequences, n_lines, s.queries, n_keys=s.n_keys, generator=source)


def retrieval_rows(
    base: TrainedModel, names: Iterable[str], settings: Settings, *, train: str = "none", multiples: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Accuracy of one lines model under each scaling of ``names``, at each length: one row per (scaling, multiple)."""
    rows = []
    for multiple in multiples or settings.multiples:
        lines = lines_for_testing(base.seed, multiple, settings)
        for name in names:
            options = scaling_options(name, base.model.theta, settings.length)
            value = retrieval_accuracy(base.model, lines, **options)
            rows.append({"seed": base.seed, "train": train, "eval": name, "multiple": multiple, "accuracy": value})
    return rows


def fine_tuned_model(base: TrainedModel, name: str, settings: Settings) -> TrainedModel:
    """A copy of a lines model fine-tuned at 2L under the scaling ``name`` (or with randomised positions)."""
    s = settings
    randomised = name == RANDOMISED
    options = {} if randomised else scaling_options(name, base.model.theta, s.length)
    tuned, _ = models.fine_tune_lines(
        base.model, base.seed, s.tune_steps, length=2 * s.length, n_queries=2 * s.queries, n_keys=s.n_keys,
        batch=s.tune_batch, lr=s.tune_lr, random_positions=randomised, **options,
    )  # fmt: skip
    return TrainedModel(base.seed, tuned)


def scalings_to_read(name: str, settings: Settings) -> tuple[str, ...]:
    """The scalings under which a model fine-tuned under ``name`` is evaluated: all scales for a linear one.

    Randomised positions leave the frequencies alone; as in the paper's plot they are evaluated at linear scale 4, and as
    they are.
    """
    if name == RANDOMISED:
        return ("linear 4", "RoPE")
    scales = [linear_name(scale) for scale in settings.scales]
    return tuple(scales) if name in scales else (name,)


def fine_tuned_retrieval(base: TrainedModel, name: str, settings: Settings) -> list[dict[str, Any]]:
    """Fine-tune under ``name``, then measure: rows of :func:`retrieval_rows`. Scales other than its own at the last length only."""
    tuned = fine_tuned_model(base, name, settings)
    own = "linear 4" if name == RANDOMISED else name
    others = [other for other in scalings_to_read(name, settings) if other != own]
    rows = retrieval_rows(tuned, [own], settings, train=name)
    return rows + (
        retrieval_rows(tuned, others, settings, train=name, multiples=settings.multiples[-1:]) if others else []
    )


def windowed_retrieval(base: TrainedModel, settings: Settings) -> list[dict[str, Any]]:
    """The control: the same weights with attention to the last L tokens only. Within L nothing changes.

    So no training is needed, and no distance beyond L ever occurs. (In a model of several layers information still
    travels, L tokens per layer.)
    """
    return retrieval_rows(
        TrainedModel(base.seed, windowed(base.model, settings.length)), ["RoPE"], settings, train="window L"
    )


def windowed(model: TinyDecoder, window: int) -> TinyDecoder:
    """A copy of ``model`` in which a token sees itself and the ``window - 1`` before it."""
    model = copy.deepcopy(model)
    model.window = window
    return model


def compare_layouts(base: TrainedModel, settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """The pairing experiment: RoPE and xPos weights, rotated in their own layout ("half") or in the other one.

    ``rows``: accuracy at L before and after fine-tuning at L; ``curves``: the fine-tuning losses.
    """
    s = settings
    lines = lines_for_testing(base.seed, 1, s)
    rows, curves = [], []
    for kind, layout in LAYOUT_CASES:
        options = {"layout": layout, "xpos_gamma": s.gamma if kind == "xPos" else None}
        before = retrieval_accuracy(base.model, lines, **options)
        tuned, trained = models.fine_tune_lines(
            base.model, base.seed, s.layout_steps, length=s.length, n_queries=s.queries, n_keys=s.n_keys,
            batch=s.tune_batch, lr=s.tune_lr, **options,
        )  # fmt: skip
        after = retrieval_accuracy(tuned, lines, **options)
        rows.append({"seed": base.seed, "kind": kind, "layout": layout, "before": before, "after": after})
        curves.append({"seed": base.seed, "kind": kind, "layout": layout, "losses": trained.losses.tolist()})
    return {"rows": rows, "curves": curves}


def perplexity_rows(
    base: TrainedModel, names: Iterable[str], settings: Settings, *, train: str = "none"
) -> list[dict[str, Any]]:
    """Held-out loss of one character model by position, to 4L, in blocks of L/4: rows with ``nll``, 16 numbers in nats."""
    s = settings
    held = models.character_corpus(base.seed, "held-out", max(60, s.char_sentences // 6))
    windows = random_windows(held, s.char_windows, 4 * s.length + 1, torch_generator(base.seed, "windows"))
    rows = []
    for name in names:
        loss = token_nll(base.model, windows, **scaling_options(name, base.model.theta, s.length))  # (B, 4L)
        blocks = loss.mean(dim=0).reshape(4 * BLOCKS, -1).mean(dim=1)
        rows.append({"seed": base.seed, "train": train, "eval": name, "nll": blocks.tolist()})
    return rows


def fine_tuned_perplexity(base: TrainedModel, name: str, settings: Settings) -> list[dict[str, Any]]:
    """Fine-tune a character model at 2L under ``name``, then measure: rows of :func:`perplexity_rows`.

    ``"none"`` measures the model as it is, under every scaling of ``char_zero_shot`` and with the window of L.
    """
    s = settings
    if name == "none":
        narrow = TrainedModel(base.seed, windowed(base.model, s.length))
        return perplexity_rows(base, s.char_zero_shot, s) + perplexity_rows(narrow, ["RoPE"], s, train="window L")
    randomised = name == RANDOMISED
    codes = models.character_corpus(base.seed, n_sentences=s.char_sentences)
    options = {} if randomised else scaling_options(name, base.model.theta, s.length)
    tuned, _ = models.fine_tune_characters(
        base.model, codes, base.seed, s.char_tune_steps, length=2 * s.length, batch=s.char_tune_batch, lr=s.tune_lr,
        random_positions=randomised, **options,
    )  # fmt: skip
    return perplexity_rows(
        TrainedModel(base.seed, tuned), ["linear 4", "RoPE"] if randomised else [name], s, train=name
    )


def over_models(work: Any, bases: Sequence[TrainedModel], *names: Sequence[str]) -> list[Any]:
    """``work(base, name)`` (or ``work(base)``) for every base and name, two at a time; lists of rows are joined."""
    jobs = [(base, name) for name in names[0] for base in bases] if names else [(base,) for base in bases]
    return [row for rows in thread_map(lambda job: work(*job), jobs) for row in rows]


def perplexity_at(row: Mapping[str, Any], start: float, stop: float) -> float:
    """Perplexity over positions ``start`` L to ``stop`` L of a row of :func:`perplexity_rows`."""
    return float(torch.tensor(row["nll"][round(start * BLOCKS) : round(stop * BLOCKS)]).mean().exp())


def retrieval_by_distance(
    base: TrainedModel, settings: Settings, name: str = "RoPE", multiple: int = 4
) -> list[dict[str, Any]]:
    """Accuracy at ``multiple`` L by the distance from question to line, in bins of L/2: rows from, to, accuracy.

    Without training of its own; bins without a question are left out.
    """
    lines = lines_for_testing(base.seed, multiple, settings)
    hits = answer_hits(base.model, lines, **scaling_options(name, base.model.theta, settings.length)).double().flatten()
    bins = answer_distances(lines).flatten() * 2 // settings.length
    return [
        {"seed": base.seed, "eval": name, "from": i / 2, "to": (i + 1) / 2, "accuracy": float(hits[bins == i].mean())}
        for i in range(2 * multiple)
        if (bins == i).any()
    ]


def answer_distances(lines: Lines) -> torch.Tensor:
    """How many tokens back the answer of each question stands: (B, q) int64.

    The question is the key at position t; the answer is the value behind the first place of that key.
    """
    asked = lines.targets != IGNORE  # (B, T)
    places = asked.nonzero()[:, 1].view(len(asked), -1)  # (B, q)
    keys = lines.tokens.gather(1, places)
    first = (lines.tokens[:, None, :] == keys[:, :, None]).int().argmax(dim=2)  # (B, q)
    return places - (first + 1)
