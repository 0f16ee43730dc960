"""The experiment that `workings sweep few_shot_baseline` maps over a grid."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.few_shot_baseline.demo import draw_episodes, glyph_collections, head_accuracies, train_network
from workings.chapters.few_shot_baseline.settings import Settings
from workings.checks import as_float, as_int
from workings.few_shot.evaluation import accuracy_summary, centroid_accuracy
from workings.few_shot.pretraining import network_features


def sweep_point(
    *, classes: int = 300, steps: int = 184, width: int = 16, head_lr: float = 0.01, episodes: int = 150, seed: int = 0
) -> dict[str, float]:
    """One point of ``workings sweep``: a Conv4 of ``width`` filters trained for ``steps`` on ``classes`` invented characters.

    Gives accuracies in percent: ``untuned`` 5-way 1-shot with its ``sd`` between episodes, and within alphabets, on frozen
    features, ``within`` untuned, ``entropy`` tuned by the entropy of the queries, ``marginal`` with the marginal term as well.
    """
    settings = replace(
        Settings.demo(),
        steps=as_int(steps, "steps", minimum=1),
        width=as_int(width, "width", minimum=1),
        head_lr=as_float(head_lr, "head_lr", minimum=0.0),
        heads=as_int(episodes, "episodes", minimum=2),
    )
    base, novel = glyph_collections(settings)
    net, _ = train_network(base, seed, settings, as_int(classes, "classes", minimum=2, maximum=base.classes))
    features = network_features(net, novel.images)
    found = accuracy_summary(100 * centroid_accuracy(features, draw_episodes(novel, 5, 1, 15, episodes, "sweep")))
    heads = head_accuracies(features, novel, settings)
    return {
        "untuned": found.mean,
        "sd": found.sd,
        "within": float(100 * heads["untuned"].mean()),
        "entropy": float(100 * heads["entropy"].mean()),
        "marginal": float(100 * heads["with marginal"].mean()),
    }
