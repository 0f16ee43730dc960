"""Sizes of the chapter `episode_difficulty`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workings.checks import one_of
from workings.runs.needs import Needs
from workings.runs.tiers import Tiered

BN_SCOPES = ("batch", "episode")


@dataclass(frozen=True)
class Settings(Tiered):
    """Every size of the chapter.

    ``widths``: filters of the networks whose difficulties are compared, one training per entry. ``learner_*``: the small
    learner of the lesson in controls, which sees ``learner_alphabets`` alphabets only and is trained for ``learner_steps`` steps
    of ``batch`` episodes from each of ``seeds``, and stopped early at ``early``; it is looked at after each of ``looks`` steps.
    ``long_*``: the same learner trained on, in the full tier. ``full_*``: the full tier's episodes and networks on Omniglot and
    CIFAR-FS. There a training episode has ``full_query`` queries per class and ``full_way`` ways (five on CIFAR-FS); those on which
    all are compared have ``full_test_query`` and, besides the ways of training, ``full_test_ways``. ``bn_scope``: whether batch-norm
    takes its statistics in training from all episodes of a "batch" together, or from one "episode" at a time, as the authors' code.
    """

    seed: int = 0
    alphabets: int = 30
    base_alphabets: int = 20
    characters: int = 15
    drawers: int = 20
    widths: tuple[int, ...] = (20, 16, 12)
    epochs: int = 4
    way: int = 5
    shot: int = 1
    query: int = 15
    episodes: int = 1000
    class_sets: int = 100
    per_set: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    batch: int = 16
    learner_query: int = 3
    learner_alphabets: int = 6
    learner_steps: int = 600
    learner_components: int = 100
    early: int = 300
    looks: tuple[int, ...] = (100, 200, 300, 450, 600)
    test_query: int = 5
    test_episodes: int = 1500
    fresh_episodes: int = 500
    long_steps: int = 0
    long_looks: tuple[int, ...] = ()
    long_seeds: tuple[int, ...] = ()
    full_data: tuple[str, ...] = ()
    full_size: int = 28
    full_width: int = 64
    full_steps: int = 0
    full_way: int = 20
    full_query: int = 5
    full_test_ways: tuple[int, ...] = (5, 20)
    full_test_query: int = 5
    full_batch: int = 16
    full_halve: int = 0  # steps after which the learning rate is halved, again and again; 0: never
    full_episodes: int = 1000
    full_sets: int = 50
    full_per_set: int = 10
    full_seeds: tuple[int, ...] = (0, 1, 2)
    full_samplers: tuple[str, ...] = ("regular", "online", "permuted", "uniform", "easy", "hard", "curriculum")
    full_heads: tuple[str, ...] = ("sqeuclidean", "cosine")
    bn_scope: str = "batch"
    device: str = "cpu"
    dry_run: bool = False
    needs: ClassVar[Needs] = Needs(
        paper="Conv4-64 on Omniglot, 20-way episodes within an alphabet, and on CIFAR-FS with 5 ways, two heads, seven ways of sampling, three seeds, 20,000 steps of 16 episodes, and the small learner of the demo for 2,400 steps; Omniglot (MIT licence) and CIFAR-100 are fetched, or read from a folder you name",
        gpu="one CUDA GPU with about 16 GB",
        shortened="the small learner in full; on Omniglot Conv4-64 with 20-pixel images and 5-way episodes, both heads, all seven ways of sampling, three seeds, 2,000 steps of 8 episodes, tested with 5 and 20 ways; about three quarters of an hour on a free core that computes in bfloat16, twice that on a busy one, longer on another",
        settings=("settings.Settings",),
        lower={"full_batch": "episodes of a step", "full_width": "filters of the network"},
    )

    def __post_init__(self) -> None:
        one_of(self.bn_scope, "bn_scope", BN_SCOPES)

    @classmethod
    def demo(cls) -> Settings:
        return cls()

    @classmethod
    def full(cls, *, dry_run: bool = False) -> Settings:
        """The sizes of the full tier on the device that is here; ``dry_run`` keeps the shape and shrinks every number."""
        import torch

        if dry_run:
            return cls(
                alphabets=4,
                base_alphabets=3,
                characters=5,
                drawers=8,
                widths=(4, 4, 4),
                epochs=1,
                query=3,
                episodes=60,
                class_sets=6,
                per_set=3,
                seeds=(0, 1),
                batch=4,
                learner_alphabets=2,
                learner_steps=120,
                learner_components=10,
                early=60,
                looks=(60, 120),
                test_query=2,
                test_episodes=20,
                fresh_episodes=10,
                long_steps=120,
                long_looks=(60, 120),
                long_seeds=(0, 1),
                full_data=("omniglot", "cifar_fs"),
                full_width=4,
                full_steps=4,
                full_way=3,
                full_query=2,
                full_test_ways=(2, 3),
                full_test_query=2,
                full_batch=2,
                full_episodes=20,
                full_sets=4,
                full_per_set=3,
                full_seeds=(0, 1),
                dry_run=True,
            )
        long = {"long_steps": 2400, "long_looks": (300, 600, 1000, 1500, 2000, 2400), "long_seeds": (0, 1, 2, 3, 4)}
        if torch.cuda.is_available():
            return cls(full_data=("omniglot", "cifar_fs"), full_steps=20_000, device="cuda", **long)
        return cls(
            full_data=("omniglot",),
            full_size=20,
            full_steps=2_000,
            full_way=5,
            full_query=3,
            full_batch=8,
            full_halve=250,  # 2,000 episodes, as in Snell et al. (2017)
            full_sets=100,
            **long,
        )
