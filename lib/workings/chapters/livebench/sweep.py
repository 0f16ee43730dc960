"""The experiment that `workings sweep livebench` maps over a grid: how far a refresh keeps measured scores from rising."""

from __future__ import annotations

from workings.chapters.livebench.demo import measured_history, refresh_experiment


def sweep_point(
    *, refresh: float = 1 / 6, leak: float = 0.1, skill: float = 0.5, months: int = 12, seed: int = 0
) -> dict[str, float]:
    """One point: the score measured after ``months``, what of it is leaked, and the rank correlation over one refresh."""
    history = measured_history(refresh, leak, skill, months)
    return {
        "measured": float(history[-1]),
        "leaked": float(history[-1] - skill),
        "rank": refresh_experiment(seed)["rank_random"],
    }
