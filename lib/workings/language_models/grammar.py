"""A tiny English: endless text from a grammar of 38 words, with its exact entropy.

Small language models learn it in seconds, and the least perplexity that any model can reach is known.
A sentence is ``the [ADJ] NOUN [ADV] VERB the [ADJ] NOUN [PREP the [ADJ] NOUN].``; each bracket is there with
probability one half, each word uniform in its class, all choices independent.
"""

from __future__ import annotations

import math

import torch

from workings.checks import as_generator, as_int, as_tensor, check_tensor

NOUNS = ("dog", "fox", "farmer", "child", "river", "house", "teacher", "bird", "tree", "boat", "king", "pilot")
ADJECTIVES = ("old", "small", "green", "quiet", "brave", "happy", "dark", "clever")
VERBS = ("sees", "likes", "follows", "helps", "finds", "paints", "watches", "carries")
PREPOSITIONS = ("near", "behind", "under", "beside", "above")
ADVERBS = ("slowly", "often", "gladly", "never")
ALPHABET = "".join(sorted(set(" .the").union(*NOUNS, *ADJECTIVES, *VERBS, *PREPOSITIONS, *ADVERBS)))
_CODES = {character: code for code, character in enumerate(ALPHABET)}
_DRAWS = 13  # random numbers per sentence, used or not; see _sentence


def sentences(n: int, generator: torch.Generator) -> str:
    """``n`` sentences of the grammar, each followed by one space; about 45 characters per sentence.

    Every sentence takes the same number of draws, so a longer text begins with the shorter one of the same generator.
    """
    as_generator(generator)
    draws = torch.rand(as_int(n, "n", minimum=1), _DRAWS, generator=generator, device=generator.device)
    return "".join(_sentence(row) for row in draws.tolist())


def _sentence(draws: list[float]) -> str:
    def word(place: int, words: tuple[str, ...]) -> str:
        return words[int(draws[place] * len(words))]

    def noun_phrase(place: int) -> list[str]:
        adjective = [word(place + 1, ADJECTIVES)] if draws[place] < 0.5 else []
        return ["the", *adjective, word(place + 2, NOUNS)]

    # One draw for presence and word: the lower half leaves the adverb out, the upper half chooses it.
    adverb = [ADVERBS[int((2 * draws[9] - 1) * len(ADVERBS))]] if draws[9] >= 0.5 else []
    words = [*noun_phrase(0), *adverb, word(10, VERBS), *noun_phrase(3)]
    if draws[11] < 0.5:
        words += [word(12, PREPOSITIONS), *noun_phrase(6)]
    return " ".join(words) + ". "


def entropy_per_character() -> float:
    """Entropy of the text in nats per character: the least cross-entropy of any model, ``exp`` of it the least perplexity.

    ``H(sentence) / E[length]``: sentences are independent, end at their full stop and have one derivation each.
    """

    def choice(words: tuple[str, ...]) -> tuple[float, float]:  # nats, mean characters with the space after the word
        return math.log(len(words)), sum(map(len, words)) / len(words) + 1

    def both(*parts: tuple[float, float]) -> tuple[float, float]:
        return sum(p[0] for p in parts), sum(p[1] for p in parts)

    def maybe(part: tuple[float, float]) -> tuple[float, float]:
        return math.log(2) + part[0] / 2, part[1] / 2

    noun_phrase = both(choice(("the",)), maybe(choice(ADJECTIVES)), choice(NOUNS))
    clause = both(noun_phrase, maybe(choice(ADVERBS)), choice(VERBS), noun_phrase)
    nats, characters = both(clause, maybe(both(choice(PREPOSITIONS), noun_phrase)))
    return nats / (characters + 1)  # the full stop


def encode(text: str) -> torch.Tensor:
    """The characters' places in :data:`ALPHABET`: (len(text),) int64. ``ValueError`` names a character outside it."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}.")
    try:
        return torch.tensor([_CODES[character] for character in text], dtype=torch.int64)
    except KeyError as error:
        place = text.index(error.args[0])
        raise ValueError(
            f"the character {error.args[0]!r} (at {place}) is not in the alphabet {ALPHABET!r}; use lower case and full stops."
        ) from None


def decode(codes: torch.Tensor) -> str:
    """The text of codes (T,); the inverse of :func:`encode`. ``ValueError`` for a code outside the alphabet."""
    codes = as_tensor(codes, "codes")
    if codes.ndim != 1 or codes.is_floating_point() or codes.dtype == torch.bool:
        raise ValueError(f"codes must be integers of shape (T,), got {codes.dtype} of shape {tuple(codes.shape)}.")
    values = codes.tolist()
    if values and (min(values) < 0 or max(values) >= len(ALPHABET)):
        raise ValueError(f"codes must be in [0, {len(ALPHABET) - 1}], got {min(values)} to {max(values)}.")
    return "".join(ALPHABET[value] for value in values)


def random_windows(codes: torch.Tensor, batch: int, length: int, generator: torch.Generator) -> torch.Tensor:
    """``batch`` windows of ``length`` codes from random places of ``codes`` (N,), with replacement: (batch, length).

    Raises ``ValueError`` when the text is shorter than a window.
    """
    batch, length = as_int(batch, "batch", minimum=1), as_int(length, "length", minimum=1)
    as_generator(generator)
    check_tensor(codes, "codes", floating=False)
    if codes.ndim != 1 or len(codes) < length:
        raise ValueError(f"codes must have shape (N,) with N >= length = {length}, got {tuple(codes.shape)}.")
    starts = torch.randint(len(codes) - length + 1, (batch, 1), generator=generator, device=generator.device)
    return codes[starts.to(codes.device) + torch.arange(length, device=codes.device)]
