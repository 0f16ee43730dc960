"""Questions on geography and chemistry from two optional Python packages, how they are asked, and which answers are right."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from workings.chapters import packaged_facts
from workings.chapters.taught_to_know.settings import ModelSettings
from workings.seeding import numpy_generator
from workings.uncertainty.answer_confidence import grade_answers

KINDS = {
    "country": packaged_facts.CITY,
    "capital": "What is the capital of {}?",
    "symbol": "What is the chemical symbol of {}?",
    "number": "What is the atomic number of {}?",
}
EXAMPLES = {  # four of each kind, shown before every question; they are not asked
    "country": (("Paris", "France"), ("Lima", "Peru"), ("Osaka", "Japan"), ("Lagos", "Nigeria")),
    "capital": (("France", "Paris"), ("Peru", "Lima"), ("Japan", "Tokyo"), ("Nigeria", "Abuja")),
    "symbol": (("oxygen", "O"), ("iron", "Fe"), ("gold", "Au"), ("neon", "Ne")),
    "number": (("oxygen", "8"), ("iron", "26"), ("gold", "79"), ("neon", "10")),
}
SENTENCES = {  # the same examples, each answered by a sentence, in four ways
    "country": ("Paris is in France.", "It is a city in Peru.", "You will find it in Japan.", "That one is in Nigeria."),
    "capital": ("The capital is Paris.", "It is Lima.", "Tokyo is its capital.", "That would be Abuja."),
    "symbol": ("The symbol is O.", "Chemists write Fe.", "It is Au.", "Ne is its symbol."),
    "number": ("The number is 8.", "It has number 26.", "It is 79.", "That would be 10."),
}  # fmt: skip


class Question(NamedTuple):
    """Its kind, the words that are asked about, and the right answer."""

    kind: str
    about: str
    gold: str


def questions(settings: ModelSettings) -> list[Question]:
    """At most ``settings.questions`` questions in a drawn order, the largest cities first; :class:`~workings.chapters.public_models.NotHere` without the two packages."""
    s = settings
    if s.dry_run:
        found = [
            Question(kind, f"{name} {i}", name)
            for i in range(s.questions // 4)
            for kind, name in zip(KINDS, "abc7", strict=True)
        ]
    else:
        found = _packaged(s.questions)
    known = {(kind, about.casefold()) for kind, pairs in EXAMPLES.items() for about, _ in pairs}
    found = [q for q in found if (q.kind, q.about.casefold()) not in known]
    order = numpy_generator(s.seed, "questions").permutation(len(found))
    return [found[i] for i in order][: s.questions]


def _packaged(n: int) -> list[Question]:
    found = [Question("capital", *pair) for pair in packaged_facts.capitals()]
    elements = packaged_facts.elements()
    found += [Question("symbol", name, symbol) for name, symbol, _ in elements]
    found += [Question("number", name, str(number)) for name, _, number in elements]
    more = max(n - len(found), 0)
    return found + [Question("country", *pair) for pair in itertools.islice(packaged_facts.cities(), more)]


def plain(answer: str) -> str:
    """Without a leading "the": "The Netherlands" and "Netherlands" are one answer."""
    return answer[4:] if answer[:4].casefold() == "the " else answer


def asked(question: Question, examples: int = 4, *, sentences: bool = False) -> str:
    """The text before an answer: up to four solved examples of the kind, and the question."""
    pairs = EXAMPLES[question.kind]
    if sentences:
        pairs = [(about, said) for (about, _), said in zip(pairs, SENTENCES[question.kind], strict=True)]
    shown = [f"Q: {KINDS[question.kind].format(about)}\nA: {answer}\n\n" for about, answer in pairs[:examples]]
    return "".join(shown) + f"Q: {KINDS[question.kind].format(question.about)}\nA:"


def is_right(text: str, question: Question, *, sentences: bool = False) -> bool:
    """Whether the answer ``text`` is the right one, or a sentence that holds it as whole words."""
    if question.kind == "number":
        return bool(grade_answers([text], [question.gold], "numeric")[0])
    if sentences and question.kind == "symbol":  # "In" is indium, "in" is not
        return question.gold in re.findall(r"\w+", text)
    return bool(grade_answers([plain(text)], [plain(question.gold)], "substring" if sentences else "exact")[0])
