"""The experiment that `workings sweep giraffe` maps over a grid: one change of the frequencies, without fine-tuning."""

from __future__ import annotations

from dataclasses import replace

from workings.chapters.giraffe.demo import lines_for_testing, trained_lines_model
from workings.chapters.giraffe.settings import Settings
from workings.checks import as_float, as_int, one_of
from workings.language_models.evaluation import retrieval_accuracy
from workings.language_models.rope_scaling import scale_frequencies

KINDS = {  # kind of scale_frequencies -> whether it takes a factor
    "default": False, "linear": True, "ntk": True, "ntk_by_parts": True, "yarn": True, "power": False, "truncated": False,
}  # fmt: skip
_RAMP = {"ntk_by_parts": {"beta": 4.0}, "yarn": {"beta_fast": 4.0}}  # as in the chapter: nothing makes 32 turns here


def sweep_point(
    *, kind: str = "linear", factor: float = 4.0, steps: int = 600, sequences: int = 24, seed: int = 0
) -> dict[str, float]:
    """Accuracy ``at_1``, ``at_2``, ``at_4``, ``at_8`` times the trained length, of a lines model whose frequencies were changed.

    ``kind`` is one of :data:`KINDS`; ``factor`` is that of linear, NTK, by-parts and YaRN and does nothing to the others. About 11 s on one core.
    """
    one_of(kind, "kind", tuple(KINDS))
    as_float(factor, "factor", minimum=1.0)
    settings = replace(
        Settings.demo(), steps=as_int(steps, "steps", minimum=1), sequences=as_int(sequences, "sequences", minimum=1)
    )
    base = trained_lines_model(seed, settings)
    options = {"factor": factor, **_RAMP.get(kind, {})} if KINDS[kind] else {}
    changed = scale_frequencies(base.model.theta, kind, orig_len=settings.length, **options)._asdict()
    return {
        f"at_{multiple}": float(retrieval_accuracy(base.model, lines_for_testing(seed, multiple, settings), **changed))
        for multiple in settings.multiples
    }
