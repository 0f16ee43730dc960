"""The experiments of the demo of `scan`: rooms, vision models, symbols' networks, operators and a baseline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from workings.chapters.scan.settings import Settings
from workings.disentangling.concepts import (
    OPEN,
    OPERATORS,
    OperatorPairs,
    all_concepts,
    concept_accuracy,
    concept_diversity,
    includes,
    khot,
    operator_pairs,
    read_symbol,
)
from workings.disentangling.ensembles import Job, train_many
from workings.disentangling.jmvae import JMVAE, JMVAEJob, train_jmvaes
from workings.disentangling.networks import VAE, freeze
from workings.disentangling.objectives import gaussian_kl
from workings.disentangling.recombination import RecombinationJob, RecombinationNet, train_recombinations
from workings.disentangling.rooms import ATTRIBUTE_SIZES, all_rooms, read_rooms, render_rooms, room_attributes
from workings.disentangling.scan import (
    Gaussian,
    Pairs,
    ScanJob,
    SymbolVAE,
    code_pictures,
    matched_gaussian,
    train_scans,
)
from workings.seeding import torch_generator
from workings.statistics import standard_error

Decoder = Callable[[torch.Tensor], torch.Tensor]


class World(NamedTuple):
    """Pictures (N, C, H, W), their ``attributes`` (N, A) of ``sizes``, and ``read``, which says the attributes of pictures."""

    pictures: torch.Tensor
    attributes: torch.Tensor
    sizes: tuple[int, ...]
    read: Callable[[torch.Tensor], torch.Tensor]


def rooms() -> World:
    """All 768 rooms, read by the renderer's own reader."""
    classes = all_rooms()
    return World(
        render_rooms(classes), room_attributes(classes), ATTRIBUTE_SIZES, lambda x: room_attributes(read_rooms(x))
    )


@functools.cache
def held_out(sizes: tuple[int, ...]) -> torch.Tensor:
    """The combinations (4, A) that no symbol is shown with: value i of the first attribute with i + 2 of the second.

    Values are counted around. 4 of 16 combinations of four values each.
    """
    combinations = torch.full((sizes[0], len(sizes)), OPEN)
    combinations[:, 0] = torch.arange(sizes[0])
    combinations[:, 1] = (torch.arange(sizes[0]) + 2) % sizes[1]
    return combinations


def shown_concepts(sizes: tuple[int, ...]) -> torch.Tensor:
    """Which rows (C,) bool of :func:`all_concepts` symbols are trained on: those without a held-out combination."""
    return ~includes(all_concepts(sizes)[:, None], held_out(sizes)).any(dim=1)


# --- vision -----------------------------------------------------------------------------------------------------------


class Vision(NamedTuple):
    """A frozen VAE and what it makes of the world's pictures."""

    model: VAE
    pairs: Pairs


def visions(world: World, settings: Settings) -> dict[str, list[Vision]]:
    """Vision models of every seed: "disentangled" (beta of the settings) and "entangled" (a fortieth of it)."""
    betas = {"disentangled": settings.beta, "entangled": settings.entangled_beta}
    jobs = [Job(world.pictures, beta, seed) for beta in betas.values() for seed in settings.seeds]
    models = train_many(
        jobs, settings.vision_steps, latent_dim=settings.latents, hidden=(settings.hidden,) * 2,
        learning_rate=settings.vision_rate, group=len(settings.seeds),
    )  # fmt: skip
    found = [Vision(freeze(m), code_pictures(m, world.pictures, world.attributes)) for m in models]
    count = len(settings.seeds)
    return {kind: found[i * count : (i + 1) * count] for i, kind in enumerate(betas)}


def explained(codes: torch.Tensor, attributes: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Share (M, A) of the variance of each latent's mean (N, M) that lies between the values of an attribute (N, A)."""
    codes = (codes - codes.mean(0)).double()
    shares = []
    for a, k in enumerate(sizes):
        marks = torch.nn.functional.one_hot(attributes[:, a], k).double()
        count = marks.sum(0)
        means = (marks.T @ codes) / count[:, None].clamp(min=1)
        shares.append((count[:, None] * means.square()).sum(0) / codes.square().sum(0).clamp(min=1e-12))
    return torch.stack(shares, dim=1)


def active_latents(pairs: Pairs, above: float = 0.1) -> torch.Tensor:
    """Which latents (M,) bool carry more than ``above`` nats, as a mean over the pictures; at least the one with most."""
    kl = gaussian_kl(pairs.mu, pairs.logvar).mean(0)
    return kl > min(above, float(kl.max()) * 0.999)


# --- symbols ----------------------------------------------------------------------------------------------------------


def labelled_rows(attributes: torch.Tensor, sizes: Sequence[int], per_value: int, seed: int) -> torch.Tensor:
    """Row numbers of ``per_value`` random pictures for each value of each attribute, with all that is said of them."""
    source = torch_generator(seed, "scan chapter", "labelled", per_value)
    rows = []
    for a, k in enumerate(sizes):
        for value in range(k):
            there = (attributes[:, a] == value).nonzero()[:, 0]
            rows.append(there[torch.randperm(len(there), generator=source)[:per_value]])
    return torch.cat(rows)


def symbol_runs(found: dict[str, list[Vision]], world: World, settings: Settings) -> dict[str, list[SymbolVAE]]:
    """Symbols' networks of every seed, by kind, from the same starts and with the same number of steps.

    "forward" is SCAN; "reversed" has the other order of the KL; "main text" has its weights; "entangled" sits on the
    entangled vision models; an integer n means n labelled pictures per value of an attribute.
    """
    jobs: dict[str | int, list[ScanJob]] = {}
    for i, seed in enumerate(settings.seeds):
        seen, mixed = (found[kind][i].pairs for kind in ("disentangled", "entangled"))
        weights = (settings.lam, settings.symbol_beta)
        kinds = {
            "forward": ScanJob(seen, seed, *weights),
            "reversed": ScanJob(seen, seed, *weights, "reversed"),
            "main text": ScanJob(seen, seed, settings.main_lam, settings.main_beta),
            "entangled": ScanJob(mixed, seed, *weights),
        }
        for n in settings.labelled:
            few = seen.select(labelled_rows(world.attributes, world.sizes, n, seed))
            kinds[n] = ScanJob(few, seed, *weights)
        for kind, job in kinds.items():
            jobs.setdefault(kind, []).append(job)
    trained = train_scans(
        [job for group in jobs.values() for job in group], world.sizes, settings.scan_steps, batch=settings.scan_batch,
        learning_rate=settings.scan_rate, avoid=held_out(world.sizes),
    )  # fmt: skip
    return {kind: [trained.pop(0) for _ in group] for kind, group in jobs.items()}


def jmvae_runs(world: World, settings: Settings) -> list[JMVAE]:
    """The baseline, one per seed, with the vision models' sizes and number of steps, and beta 1."""
    jobs = [JMVAEJob(world.pictures, world.attributes, s, alpha=settings.jmvae_alpha) for s in settings.seeds]
    return train_jmvaes(
        jobs, world.sizes, settings.vision_steps, latent_dim=settings.latents, hidden=(settings.hidden,) * 2,
        learning_rate=settings.vision_rate, avoid=held_out(world.sizes),
    )  # fmt: skip


# --- scores -----------------------------------------------------------------------------------------------------------


def scored_concepts(sizes: tuple[int, ...], settings: Settings) -> torch.Tensor:
    """The concepts (C, A) that symbols were trained on, a random ``settings.scored`` of them where there are more."""
    concepts = all_concepts(sizes)[shown_concepts(sizes)]
    if len(concepts) <= settings.scored:
        return concepts
    return concepts[
        torch.randperm(len(concepts), generator=torch_generator(0, "scan chapter", "scored"))[: settings.scored]
    ]


class Scores(NamedTuple):
    """``accuracy`` of what is named, ``diversity`` of what is left open (KL in nats, 0 best), means over concepts."""

    accuracy: float
    diversity: float


@torch.no_grad()
def draw_pictures(q: Gaussian, decode: Decoder, count: int, seed: int) -> torch.Tensor:
    """``count`` pictures (C, count, ...) in [0, 1] for each of the Gaussians ``q`` (C, M)."""
    noise = torch.randn(len(q.mu), count, q.mu.shape[1], generator=torch_generator(seed, "scan chapter", "draw"))
    z = q.mu[:, None] + q.deviation[:, None] * noise
    return torch.sigmoid(decode(z.flatten(0, 1))).unflatten(0, (len(q.mu), count))


def score(q: Gaussian, decode: Decoder, concepts: torch.Tensor, world: World, settings: Settings, seed: int) -> Scores:
    """Scores of pictures drawn for ``concepts`` (C, A) from their Gaussians ``q`` (C, M)."""
    pictures = draw_pictures(q, decode, settings.drawn, seed)
    read = world.read(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
    free = (concepts == OPEN).any(dim=1)
    accuracy = concept_accuracy(read, concepts).mean()
    diversity = concept_diversity(read[free], concepts[free], world.sizes).mean()
    return Scores(float(accuracy), float(diversity))


@torch.no_grad()
def score_symbols(
    encode: Callable[[torch.Tensor], Gaussian], decode: Decoder, world: World, settings: Settings, seed: int
) -> Scores:
    """Scores over :func:`scored_concepts`."""
    concepts = scored_concepts(world.sizes, settings)
    return score(encode(khot(concepts, world.sizes)), decode, concepts, world, settings, seed)


@torch.no_grad()
def named_rightly(pairs: Pairs, decode_symbol: Decoder, sizes: Sequence[int], seed: int) -> torch.Tensor:
    """Share (A,) of pictures whose attribute is named rightly, from one sampled code of each."""
    noise = torch.randn(pairs.mu.shape, generator=torch_generator(seed, "scan chapter", "name"))
    said = read_symbol(decode_symbol(pairs.mu + torch.exp(0.5 * pairs.logvar) * noise), sizes)
    return (said == pairs.assignments).double().mean(0)


@torch.no_grad()
def deviations(
    symbols: SymbolVAE, pairs: Pairs, sizes: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Deviations (C, L) of the one-attribute concepts in the active latents, and which are named and which are not.

    A latent is named by a concept when half the variance of its mean lies between the values of the concept's
    attribute, and not named when at most a twentieth does; what lies between counts as neither.
    """
    concepts = all_concepts(sizes)
    concepts = concepts[(concepts != OPEN).sum(1) == 1]
    active = active_latents(pairs)
    shares = explained(pairs.mu[:, active], pairs.assignments, sizes)  # (L, A)
    of = shares.T[(concepts != OPEN).int().argmax(1)]  # (C, L)
    return symbols.encode(khot(concepts, sizes)).deviation[:, active], of >= 0.5, of <= 0.05


def as_claimed(symbols: SymbolVAE, pairs: Pairs, sizes: Sequence[int]) -> tuple[int, int]:
    """How many (concept, latent) pairs are narrow where named (below 0.5) and wide where not (0.8 to 1.1), and of how many."""
    found, named, unnamed = deviations(symbols, pairs, sizes)
    right = (named & (found < 0.5)) | (unnamed & (found >= 0.8) & (found <= 1.1))
    return int(right.sum()), int((named | unnamed).sum())


def beats(ours: np.ndarray, theirs: np.ndarray) -> tuple[bool, str | None]:
    """Whether ``ours`` (seeds, 2), accuracy and diversity, are better than ``theirs`` in both, and why that is undecided.

    Better: the difference seed by seed, as a mean, is more than its standard error. Worse likewise; one of them is enough
    for a decided no. Anything between is undecided, and the reason says which difference is too small.
    """
    gaps = (ours - theirs) * np.array([1.0, -1.0])  # of the diversity the lower is the better
    means, errors = gaps.mean(axis=0), gaps.std(axis=0, ddof=1) / len(gaps) ** 0.5
    within = [name for name, m, e in zip(("accuracy", "diversity"), means, errors, strict=True) if not abs(m) > e]
    holds = bool((means > errors).all())
    if holds or bool((means < -errors).any()):
        return holds, None
    small = f"the paired difference in {' and in '.join(within)} is within its standard error"
    return holds, f"over {len(gaps)} seeds {small}"


def ratio_and_error(above: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Mean of ``above`` over mean of ``below``, values of the same seeds, and the ratio's standard error (delta method)."""
    ratio = above.mean() / below.mean()
    left = above - ratio * below  # of mean 0
    return float(ratio), float(standard_error(left) / abs(below.mean()))


# --- operators --------------------------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Pairs of an operator for training, and for the test: of AND those whose result was never shown, else unseen pairs."""

    train: OperatorPairs
    test: OperatorPairs


def split_pairs(sizes: tuple[int, ...], settings: Settings) -> dict[str, Split]:
    """By operator. Both concepts of a pair are ones that symbols were trained on."""
    shown = shown_concepts(sizes)
    splits = {}
    for name in OPERATORS:
        pairs = operator_pairs(sizes, name)
        source = torch_generator(0, "scan chapter", "pairs", name)
        late = torch.rand(len(pairs.first), generator=source) < settings.late
        known = shown[pairs.first] & shown[pairs.second]
        test = known & (~shown[pairs.result] if name == "and" else late)
        chosen = test.nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=source)[: settings.pairs_tested]]
        train = known & shown[pairs.result] & ~late
        splits[name] = Split(OperatorPairs(*(c[train] for c in pairs)), OperatorPairs(*(c[chosen] for c in pairs)))
    return splits


@torch.no_grad()
def concept_table(symbols: SymbolVAE) -> Gaussian:
    """The Gaussians (C, M) of every concept."""
    return symbols.encode(khot(all_concepts(symbols.sizes), symbols.sizes))


def matched_table(pairs: Pairs, sizes: Sequence[int]) -> tuple[Gaussian, torch.Tensor]:
    """For every concept the Gaussian (C, M) matched to the codes of its pictures, and which (C,) have a picture.

    A concept without one has the prior.
    """
    prior = Gaussian(torch.zeros_like(pairs.mu[0]), torch.zeros_like(pairs.mu[0]))
    rows = [includes(pairs.assignments, concept) for concept in all_concepts(sizes)]
    found = [matched_gaussian(pairs.mu[row], pairs.logvar[row]) if bool(row.any()) else prior for row in rows]
    there = torch.tensor([bool(row.any()) for row in rows])
    return Gaussian(*(torch.stack(part) for part in zip(*found, strict=True))), there


def operator_runs(
    symbols: list[SymbolVAE], found: list[Vision], splits: dict[str, Split], world: World, settings: Settings
) -> list[RecombinationNet]:
    """A recombination network of every seed, trained on pictures: its targets are matched to their codes."""
    tables = [matched_table(v.pairs, world.sizes) for v in found]
    jobs = [
        RecombinationJob(concept_table(network), table, seed)
        for network, (table, _), seed in zip(symbols, tables, settings.seeds, strict=True)
    ]
    there = tables[0][1]  # the same pictures for every seed
    pairs = [OperatorPairs(*(column[there[split.train.result]] for column in split.train)) for split in splits.values()]
    return train_recombinations(jobs, pairs, settings.recombination_steps, learning_rate=settings.recombination_rate)


@torch.no_grad()
def operator_scores(
    net: RecombinationNet, symbols: SymbolVAE, vision: Vision, splits: dict[str, Split], world: World,
    settings: Settings, seed: int,
) -> dict[str, tuple[Scores, Scores]]:  # fmt: skip
    """By operator: scores of the network's results on the test pairs, and of the results' own symbols."""
    table, concepts = concept_table(symbols), all_concepts(world.sizes)
    take = lambda rows: Gaussian(table.mu[rows], table.logvar[rows])
    scores = {}
    for number, (name, split) in enumerate(splits.items()):
        first, second, result = split.test
        made = net(take(first), take(second), torch.full((len(first),), number))
        scores[name] = tuple(
            score(q, vision.model.decode, concepts[result], world, settings, seed) for q in (made, take(result))
        )
    return scores
