"""The tiny grammar: its sentences, its entropy, and its codes."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models.grammar import (
    ADJECTIVES,
    ADVERBS,
    ALPHABET,
    NOUNS,
    PREPOSITIONS,
    VERBS,
    decode,
    encode,
    entropy_per_character,
    random_windows,
    sentences,
)
from workings.seeding import torch_generator

_ADJ, _NOUN, _ADV, _VERB, _PREP = ("|".join(w) for w in (ADJECTIVES, NOUNS, ADVERBS, VERBS, PREPOSITIONS))
SENTENCE = re.compile(
    rf"the (?:(?P<a1>{_ADJ}) )?(?P<n1>{_NOUN}) (?:(?P<adv>{_ADV}) )?(?P<v>{_VERB}) the (?:(?P<a2>{_ADJ}) )?(?P<n2>{_NOUN})"
    rf"(?: (?P<p>{_PREP}) the (?:(?P<a3>{_ADJ}) )?(?P<n3>{_NOUN}))?\. "
)
N = 6000
TEXT = sentences(N, torch_generator(0, "text"))


def parsed() -> list[re.Match]:
    matches = list(SENTENCE.finditer(TEXT))
    assert len(matches) == N and "".join(m[0] for m in matches) == TEXT  # nothing between them
    return matches


def test_the_text_is_made_of_sentences_of_the_grammar_only():
    parsed()
    assert [len(w) for w in (NOUNS, ADJECTIVES, VERBS, PREPOSITIONS, ADVERBS)] == [12, 8, 8, 5, 4]
    assert len(ALPHABET) == 26 == len(set(ALPHABET)) and set(TEXT) == set(ALPHABET)


def test_no_word_belongs_to_two_classes():
    words = [*NOUNS, *ADJECTIVES, *VERBS, *PREPOSITIONS, *ADVERBS, "the"]
    assert len(words) == len(set(words))  # so a sentence has one derivation, which the entropy assumes


def test_every_choice_is_uniform_and_every_bracket_a_fair_coin():
    groups = [m.groupdict() for m in parsed()]
    checks = [(name, words) for names, words in (("a1 a2", ADJECTIVES), ("n1 n2", NOUNS)) for name in names.split()]
    checks += [("n3", NOUNS), ("a3", ADJECTIVES), ("v", VERBS), ("p", PREPOSITIONS), ("adv", ADVERBS)]
    for name, words in checks:
        drawn = [g[name] for g in groups if g[name] is not None]
        mean = len(drawn) / len(words)
        # Normal bound at 4.5 standard deviations on 81 counts: false alarm below 6e-4.
        for word in words:
            assert abs(drawn.count(word) - mean) < 4.5 * math.sqrt(mean * (1 - 1 / len(words)))
    with_place = [g for g in groups if g["p"]]
    for name, among in (("a1", groups), ("a2", groups), ("adv", groups), ("p", groups), ("a3", with_place)):
        assert abs(sum(g[name] is not None for g in among) - len(among) / 2) < 4.5 * math.sqrt(len(among)) / 2


def test_choices_are_independent_of_each_other():
    groups = [m.groupdict() for m in parsed()]
    for a, b in (("a1", "a2"), ("a1", "adv"), ("adv", "p"), ("a2", "p")):
        both = sum((g[a] is not None) == (g[b] is not None) for g in groups)
        assert abs(both - N / 2) < 4.5 * math.sqrt(N) / 2  # a fair coin again
    same = sum(g["n1"] == g["n2"] for g in groups)
    assert abs(same - N / 12) < 4.5 * math.sqrt(N / 12)


def test_the_entropy_is_the_mean_surprise_of_a_sentence_over_its_mean_length():
    lengths, surprises = [], []
    for m in parsed():
        g = m.groupdict()
        nats = 4 * math.log(2) + 2 * math.log(12) + math.log(8)  # two adjectives, adverb, place; two nouns; verb
        nats += sum(math.log(8) for name in ("a1", "a2", "a3") if g[name]) + (math.log(4) if g["adv"] else 0)
        nats += math.log(2) + math.log(5) + math.log(12) if g["p"] else 0
        lengths.append(len(m[0]))
        surprises.append(nats)
    rate = sum(surprises) / sum(lengths)
    # Error of a ratio estimate: standard deviation of (surprise - rate * length) over sqrt(N) mean length; five of those.
    spread = torch.tensor([s - rate * n for s, n in zip(surprises, lengths, strict=True)]).std().item()
    assert abs(entropy_per_character() - rate) < 5 * spread / math.sqrt(N) / (sum(lengths) / N)
    assert spread / math.sqrt(N) / (sum(lengths) / N) < 0.001  # the test is sharp: 0.3 per cent of the value
    assert math.exp(entropy_per_character()) == pytest.approx(
        1.4088, abs=5e-5
    )  # by hand: 15.5080 nats, 45.2458 characters


def test_a_longer_text_begins_with_the_shorter_one():
    assert (
        TEXT.startswith(sentences(7, torch_generator(0, "text")))
        and sentences(1, torch_generator(0, "text")).count(".") == 1
    )
    assert not TEXT.startswith(sentences(7, torch_generator(1, "text")))


@given(st.text(alphabet=ALPHABET, max_size=60))
def test_codes_and_text_are_inverse(text):
    codes = encode(text)
    assert codes.dtype == torch.int64 and codes.shape == (len(text),) and decode(codes) == text


def test_codes_are_places_in_the_alphabet():
    assert encode(ALPHABET).tolist() == list(range(26))


def test_windows_are_pieces_of_the_text_from_every_place():
    codes = torch.arange(10)
    windows = random_windows(codes, 4000, 4, torch_generator(0, "w"))
    assert windows.shape == (4000, 4) and (windows.diff(dim=1) == 1).all()
    counts = torch.bincount(windows[:, 0], minlength=7)
    # Seven places, 571 expected of each, standard deviation 22; five of those.
    assert len(counts) == 7 and ((counts - 4000 / 7).abs() < 111).all()
    assert torch.equal(random_windows(codes, 2, 10, torch_generator(0, "w")), codes.expand(2, 10))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"'J' \(at 2\)"):
        encode("a J")
    with pytest.raises(TypeError, match="str"):
        encode(b"the")
    with pytest.raises(ValueError, match="codes must be in"):
        decode(torch.tensor([0, 26]))
    with pytest.raises(ValueError, match="codes must be in"):
        decode(torch.tensor([-1]))
    with pytest.raises(ValueError, match="integers of shape"):
        decode(torch.tensor([0.5]))
    with pytest.raises(ValueError, match="N >= length"):
        random_windows(torch.arange(3), 1, 4, torch_generator(0, "w"))
    with pytest.raises(ValueError, match="n must be"):
        sentences(0, torch_generator(0, "text"))
