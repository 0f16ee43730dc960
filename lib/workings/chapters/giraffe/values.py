"""What the claims of the chapter `giraffe` compare, from the rows of its measurements: mean and spread over seeds.

Every value is computed for each seed first, so the spread of a difference or a ratio is that of paired seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from workings.chapters.giraffe.settings import RANDOMISED, Settings
from workings.statistics import mean_and_sd

EASY = 0.98  # two methods above this share of right answers are not told apart
LEARNT = 0.9  # a full run decides nothing when the trained model answers fewer of its questions at L
Rows = Iterable[Mapping[str, Any]]
Values = dict[str, tuple[float, float]]


def per_seed(rows: Rows, value: str, **wanted: Any) -> torch.Tensor:
    """``value`` in the rows whose entries are ``wanted``: (n,) float64, one per seed, in the order of the seeds."""
    found = [row for row in rows if all(row[key] == item for key, item in wanted.items())]
    if not found:
        raise LookupError(f"no row has {wanted}.")
    return torch.tensor([row[value] for row in sorted(found, key=lambda row: row["seed"])], dtype=torch.float64)


def over_seeds(rows: Rows, value: str, **wanted: Any) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof=1) of :func:`per_seed`."""
    return mean_and_sd(per_seed(rows, value, **wanted))


def longest_length(accuracy: Mapping[int, float], share: float = 0.5) -> int:
    """The longest multiple of L with at least ``share`` of the accuracy at L, without a gap before it."""
    longest = 1
    for multiple in sorted(accuracy):
        if accuracy[multiple] < share * accuracy[1]:
            break
        longest = multiple
    return longest


def base_accuracy(rows: Rows) -> float:
    """Mean accuracy at L of the trained models as they are: whether they learnt the task at all."""
    return over_seeds(rows, "accuracy", train="none", eval="RoPE", multiple=1)[0]


def retrieval_values(rows: Sequence[Mapping[str, Any]], settings: Settings) -> Values:
    """Mean and spread of what gir-1 to gir-6 and gir-12 compare, from rows of retrieval before and after fine-tuning.

    A claim whose rows are missing is left out.
    """

    def tuned(name: str, multiple: int, read: str | None = None) -> torch.Tensor:
        read = read or ("linear 4" if name == RANDOMISED else name)
        return per_seed(rows, "accuracy", train=name, eval=read, multiple=multiple)

    def reach() -> torch.Tensor:
        curves = torch.stack([tuned("linear 4", m) for m in settings.multiples], dim=1).tolist()  # one per seed
        return torch.tensor([longest_length(dict(zip(settings.multiples, c, strict=True))) for c in curves]).double()

    def smaller(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first if first.mean() <= second.mean() else second

    def lead() -> torch.Tensor:
        means = {name: torch.stack([tuned(name, m) for m in (1, 2, 4)]).mean(0)
                 for name in ("linear 4", "power 0.5", "truncated", RANDOMISED)}  # fmt: skip
        first = means.pop("linear 4")
        return first - max(means.values(), key=lambda value: value.mean())

    makers: dict[str, Callable[[], torch.Tensor]] = {
        "gir-1": lambda: per_seed(rows, "accuracy", train="none", eval="RoPE", multiple=4),
        "gir-2": reach,
        "gir-3": lambda: tuned("linear 4", 8, "linear 8") - tuned("linear 4", 8),
        "gir-4": lambda: smaller(tuned("truncated", 4) - tuned("RoPE", 4), tuned("linear 4", 4) - tuned("truncated", 4)),
        "gir-5": lambda: smaller(tuned("power 0.5", 1) - tuned("linear 4", 1), tuned("linear 4", 4) - tuned("power 0.5", 4)),
        "gir-6": lambda: tuned(RANDOMISED, 4) / tuned("linear 4", 4),
        "gir-12": lead,
    }  # fmt: skip
    return _of(makers)


def cannot_tell(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Claim -> why these rows cannot settle it, whatever the values are.

    gir-2 asks where a model goes blind, and in this task half of the lines at 8L stand within 4L. gir-4, gir-5, gir-6 and
    gir-12 compare methods: where both of those compared answer at least :data:`EASY` of their questions, no difference can show.
    """

    def easy(*names: str, multiples: Sequence[int]) -> bool:
        read = {name: "linear 4" if name == RANDOMISED else name for name in names}
        try:
            return all(
                over_seeds(rows, "accuracy", train=name, eval=read[name], multiple=m)[0] >= EASY
                for name in names
                for m in multiples
            )
        except LookupError:
            return False

    said = f"both answer at least {EASY:.0%} of the questions: the task is too easy to rank them"
    found = {"gir-2": "half of the lines at 8L stand within 4L, so this task cannot show a limit at 4L"}
    found |= {"gir-4": said} if easy("linear 4", "truncated", multiples=(4,)) else {}
    found |= {"gir-5": said} if easy("linear 4", "power 0.5", multiples=(1,)) else {}
    found |= {"gir-6": said} if easy("linear 4", RANDOMISED, multiples=(4,)) else {}
    others = ("power 0.5", "truncated", RANDOMISED)
    found |= {"gir-12": said} if any(easy("linear 4", name, multiples=(1, 2, 4)) for name in others) else {}
    return found


def layout_values(rows: Sequence[Mapping[str, Any]]) -> Values:
    """Mean and spread of what gir-10 compares: xPos after fine-tuning, the weights' own pairs minus the other layout."""
    after = lambda layout: per_seed(rows, "after", kind="xPos", layout=layout)
    return _of({"gir-10": lambda: after("half") - after("interleaved")})


def window_holds(text: Rows, lines: Rows) -> bool:
    """What gir-9 asks: with a window of L perplexity at 3L to 4L is within 5% of that within L, and retrieval at 4L is
    below one half. ``text`` are rows with ``near`` and ``far``, ``lines`` rows of retrieval, both of all models."""
    near, far = (over_seeds(text, place, train="window L")[0] for place in ("near", "far"))
    found, _ = over_seeds(lines, "accuracy", train="window L", multiple=4)
    return bool(abs(far / near - 1) < 0.05 and found < 0.5)


def _of(makers: Mapping[str, Callable[[], torch.Tensor]]) -> Values:
    values = {}
    for name, make in makers.items():
        try:
            per = make()
        except LookupError:  # not measured here, as in a dry run
            continue
        if torch.isfinite(per).all():
            values[name] = mean_and_sd(per)
    return values
