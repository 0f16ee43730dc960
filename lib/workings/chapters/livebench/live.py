"""What the live figure of the page (book/assets/live/livebench.js) is compared with: kernels and arguments."""

import itertools
from collections.abc import Callable, Sequence

from workings.chapters.livebench.demo import measured_history
from workings.language_models.grading_reasoning import score_web_of_lies, score_zebra

FORMS = (
    "<solution>{}</solution>",
    "<SOLUTION>\n{}\n</SOLUTION>",
    "</solution>{}</solution>",
    "<solution>no</solution> rather <solution>{}</solution>",
    "<solution></solution> \\boxed{{{}}}",
    "The answer is **{}**.",
    "***{}***",
    "**Answer:**\n**{}**, so **no** doubt.",
    "\\boxed{{\\text{{{}}}}}",
    "\\boxed {} $ and more",
    "\\textbf{{{}}}",
    "\\boxed 1{{{}}}",
    "\\boxed1{{{}}}",
    "\\boxed{{{}",
    "\\fbox{{${}$}} in $x$",
    "<think>{}</think> unknown, no, no",
    "<think>Say {}? No: ",
    "First no, no, no.\nThe final answer: {}.",
    "{}\n\n",
    "n\u00e9{}no\u00e9",
    "   ",
)  # places where an answer may stand
LIES = ("yes, no, yes", "Yes, No, Yes", "yes,no,yes", "no, unknown, yes", "yes and no", "YES no. yes")
ZEBRA = ("1, cat", "one, cat", "12, caterpillar", "position 1, Cross-Stitch", "1")
WORD = ("cat", "Cat", "cross-stitch", "1", "one")


def traced(score: Callable) -> Callable[[str, str, str, bool], list]:
    """Score, rule and what the rule looked at (an empty text for nothing)."""

    def grade(truth: str, answer: str, rules: str, strict: bool) -> list:
        found = score(truth, answer, rules=rules, strict=strict)
        return [found.score, found.rule, found.found or ""]

    return grade


def history(refresh: float, leak: float, skill: float) -> list[float]:
    """The expected scores of :func:`measured_history`."""
    return measured_history(refresh, leak, skill).tolist()


def tries(truths: Sequence[str], said: Sequence[str], releases: Sequence[str]) -> list[tuple]:
    """Every form for the first way of saying it and the first form for every way, under each of the rules."""
    answers = [form.format(said[0]) for form in FORMS] + [FORMS[i].format(one) for i in (0, 5, 16) for one in said[1:]]
    rules = [*((one, False) for one in releases), (releases[-1], True)]
    return [(truth, answer, *rule) for truth in truths for answer in answers for rule in rules]


def cases() -> dict[str, tuple[Callable, Sequence[tuple]]]:
    """Name of the function in the script -> (the same in Python, arguments to try)."""
    zebra = tries(("1, cat",), ZEBRA, ("2025-05-30",)) + tries(("cat", "one", "cross-stitch"), WORD, ("2024-08-31",))
    return {
        "lies": (traced(score_web_of_lies), tries(("yes, no, yes",), LIES, ("2024-08-31", "2025-05-30"))),
        "zebra": (traced(score_zebra), zebra),
        "history": (history, list(itertools.product((0.0, 0.17, 0.5), (0.01, 0.15, 0.5), (0.05, 0.5, 0.95)))),
    }
