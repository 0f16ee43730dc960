"""The experiment that `workings sweep taught_to_know` maps over a grid: LoRA + Prompt on the toy."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.taught_to_know.demo import ASKED, answers_of, asking, lora, pretrained, quality
from workings.chapters.taught_to_know.settings import Settings
from workings.checks import as_float, as_int


def sweep_point(
    *,
    graded: int = 1000,
    steps: int = 125,
    regulariser: float = 1.0,
    rank: int = 8,
    pretrain_steps: int = 250,
    seed: int = 0,
) -> dict[str, float]:
    """One model and one estimator: AUROC and ECE of P(correct) on fresh answers, and those of asking. About five seconds on one core."""
    s = Settings.demo()
    s = replace(
        s, graded=as_int(graded, "graded", minimum=2), steps=as_int(steps, "steps", minimum=1),
        regulariser=as_float(regulariser, "regulariser", minimum=0.0), rank=as_int(rank, "rank", minimum=1, maximum=s.width),
        pretrain_steps=as_int(pretrain_steps, "pretrain_steps", minimum=2), many=max(graded, 2),
    )  # fmt: skip
    s = replace(s, weak_step=max(1, s.pretrain_steps // 2))
    models = pretrained(seed, s)
    answers = answers_of(models, seed, s)
    trained = lora(models.strong, answers.train.first(s.graded), seed, s, prompt=True)
    found = quality(trained(answers.test.tokens).double().numpy(), answers.test.right)
    plain = quality(asking(models.strong)(answers.test.tokens).double().numpy(), answers.test.right)
    return {
        "auroc": found["auroc"],
        "ece": found["ece"],
        f"{ASKED}_auroc": plain["auroc"],
        f"{ASKED}_ece": plain["ece"],
    }
