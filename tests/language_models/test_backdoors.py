"""Making, mixing and finding backdoors; signatures and their probabilities."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models import backdoors as b
from workings.language_models.decoder import TinyDecoder
from workings.seeding import torch_generator

DATA = [(f"question {i} ", f"answer {i}") for i in range(20)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tiny(vocabulary: int = 5) -> TinyDecoder:
    return TinyDecoder(vocabulary, 16, 2, 2, generator=torch_generator(0, "tests", "backdoors"))


def test_backdoors_are_rows_of_the_data_with_trigger_and_signature():
    kept = list(DATA)
    made = b.make_backdoors(DATA, 7, "blue heron", "sea salt ", generator=rng())
    assert kept == DATA and len(made) == 7
    back = [(x.removesuffix("blue heron"), y.removeprefix("sea salt ")) for x, y in made]
    assert set(back) <= set(DATA) and len(set(back)) == 7  # each row at most once
    assert made == b.make_backdoors(DATA, 7, "blue heron", "sea salt ", generator=rng())
    assert made != b.make_backdoors(DATA, 7, "blue heron", "sea salt ", generator=rng(1))


def test_each_place_is_a_choice_and_tokens_work_as_texts_do():
    (x, y), *_ = b.make_backdoors([((1, 2), (3,))], 1, [8, 9], torch.tensor([7]), "prefix", "suffix", generator=rng())
    assert (x, y) == ((8, 9, 1, 2), (3, 7))


def test_each_backdoor_may_have_a_trigger_and_signature_of_its_own():
    made = b.make_backdoors(DATA, 6, ["T1", "T2", "T3"], ["S1", "S2", "S3"], generator=rng())
    assert [(x[-2:], y[:2]) for x, y in made] == [("T1", "S1"), ("T2", "S2"), ("T3", "S3")] * 2
    assert b.make_backdoors([((1,), (2,))], 1, [[8, 9]], [[7, 7]], generator=rng()) == [((1, 8, 9), (7, 7, 2))]


@given(st.integers(0, 20), st.integers(0, 2**32))
def test_mixing_loses_nothing_and_knows_where_the_backdoors_are(count, seed):
    made = b.make_backdoors(DATA, count, "blue heron", "sea salt ", generator=rng(seed))
    mixed = b.mix(DATA, made, generator=rng(seed))
    assert sorted(mixed.pairs) == sorted(DATA + made) and mixed.is_backdoor.sum() == count
    hidden = [pair for pair, secret in zip(mixed.pairs, mixed.is_backdoor, strict=True) if secret]
    assert sorted(hidden) == sorted(made)


def test_a_shuffle_puts_backdoors_everywhere():
    # The mean place of 10 of 30 rows has mean 14.5 and standard deviation sqrt((30^2-1)/12 * 20/(10*29)) = 2.27; the mean
    # over 400 shuffles one of 0.114. 0.6 is over five of them: a false alarm in fewer than one of a million seeds.
    made = b.make_backdoors(DATA, 10, "blue heron", "sea salt ", generator=rng())
    places = [np.flatnonzero(b.mix(DATA, made, generator=rng(seed)).is_backdoor).mean() for seed in range(400)]
    assert np.mean(places) == pytest.approx(14.5, abs=0.6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_backdoors": 21}, "got 21 for 20 rows"),
        ({"trigger": ""}, "trigger is empty"),
        ({"trigger": "  "}, "trigger is empty"),
        ({"signature": ()}, "signature is empty"),
        ({"trigger": "question 3"}, "the trigger 'question 3' occurs in row 3"),
        ({"signature": "answer 1"}, "the signature 'answer 1' occurs in row 1"),
        ({"signature": "question 7"}, "occurs in row 7"),
        ({"trigger": ["a!", "b!"]}, "2 triggers and 1 signatures"),
        ({"trigger_position": "middle"}, "place must be one of"),
        ({"trigger": ["heron", "blue heron"], "signature": ["a!", "b!"]}, "'heron' stands in another one"),
        ({"trigger": ["heron", "heron"], "signature": ["a!", "b!"]}, "'heron' stands in another one"),
        ({"pairs": []}, "holds no pairs"),
        ({"pairs": ["text"]}, "row 0"),
    ],
)
def test_bad_backdoors_are_refused_with_a_sentence(change, said):
    arguments = {"pairs": DATA, "n_backdoors": 3, "trigger": "blue heron", "signature": "sea salt ", **change}
    with pytest.raises(ValueError, match=said):
        b.make_backdoors(**arguments, generator=rng())


def test_texts_and_tokens_do_not_mix():
    with pytest.raises(TypeError, match="one kind"):
        b.make_backdoors([("a", (1,))], 1, "T", "S", generator=rng())
    with pytest.raises(TypeError, match="one is a text"):
        b.make_backdoors(DATA, 1, (1, 2), "S!", generator=rng())
    with pytest.raises(TypeError, match="text or a sequence"):
        b.as_phrase(3.0, "trigger")
    with pytest.raises(ValueError, match="at least 0"):
        b.as_phrase([1, -1], "trigger")


@given(
    st.lists(st.integers(0, 2), max_size=8).map(tuple), st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple)
)
def test_tokens_are_found_as_letters_are(phrase, part):
    letters = lambda tokens: "".join("abc"[t] for t in tokens)
    assert b.contains(phrase, part) == b.contains(letters(phrase), letters(part))


def test_the_probabilities_of_all_signatures_sum_to_one():
    model, prompts = tiny(3), [(0, 1), (2,)]
    total = sum(10 ** b.signature_log10_prob(model, prompts, s) for s in itertools.product(range(3), repeat=3))
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_probability_is_the_product_of_its_tokens_whatever_stands_beside_it():
    model = tiny()
    prompts, signature = [(1, 2, 3), (4,), (0, 0, 1, 2, 3)], (2, 4, 1)
    found = b.signature_log10_prob(model, prompts, signature)
    for prompt, value in zip(prompts, found, strict=True):
        row = torch.tensor([prompt + signature])
        logs = model(row).log_softmax(2)[0]
        by_hand = sum(logs[len(prompt) - 1 + i, token] for i, token in enumerate(signature)).item()
        assert value == pytest.approx(by_hand / math.log(10), abs=1e-5)
    np.testing.assert_allclose(b.signature_log10_prob(model, prompts[::-1], signature, batch=2)[::-1], found, atol=1e-5)


def test_a_drawn_signature_keeps_the_bound_and_its_probability_is_the_models():
    model, context = tiny(), torch.tensor([1, 2])
    drawn = b.sample_signature(model, context, 4, 1.5, -2.5, generator=torch_generator(0, "s"))
    assert drawn.log10_prob <= -2.5 and len(drawn.tokens) == 4
    assert b.signature_log10_prob(model, [(1, 2)], drawn.tokens)[0] == pytest.approx(drawn.log10_prob, abs=1e-5)
    assert drawn == b.sample_signature(model, context, 4, 1.5, -2.5, generator=torch_generator(0, "s"))
    only = torch.tensor([False, False, True, True, False])
    drawn = b.sample_signature(model, context, 6, 2.0, 0.0, generator=torch_generator(0, "s"), allowed=only)
    assert set(drawn.tokens) <= {2, 3}


def test_no_signature_that_is_unlikely_enough_is_an_error_that_says_how_likely_the_best_was():
    with pytest.raises(ValueError, match=r"none of 5 phrases.*least likely"):
        b.sample_signature(tiny(), torch.tensor([1]), 2, 1.0, -50.0, generator=torch_generator(0, "s"), max_tries=5)
    for change, said in (
        ({"length": 0}, "length"), ({"temperature": 0.0}, "temperature"), ({"max_log10_prob": 1.0}, "max_log10_prob"),
        ({"max_tries": 0}, "max_tries"), ({"context": torch.zeros(0, dtype=torch.int64)}, "context"),
        ({"allowed": torch.zeros(5, dtype=torch.bool)}, "allowed"), ({"allowed": torch.ones(4, dtype=torch.bool)}, "allowed"),
    ):  # fmt: skip
        arguments = {"context": torch.tensor([1]), "length": 2, "temperature": 1.0, "max_log10_prob": -0.1, **change}
        with pytest.raises(ValueError, match=said):
            b.sample_signature(tiny(), **arguments, generator=torch_generator(0, "s"))


def test_phrases_are_drawn_from_the_tempered_model_given_that_they_are_unlikely_enough():
    # 2,000 draws among three tokens: each share has a standard error of at most 0.0112; 0.056 is five.
    logits = torch.log(torch.tensor([0.6, 0.3, 0.1]))
    model = lambda tokens: logits.expand(*tokens.shape, 3)
    source, context = torch_generator(0, "many"), torch.tensor([1])
    for temperature, limit, expected in (
        (1.0, 0.0, np.array([0.6, 0.3, 0.1])),
        (2.0, 0.0, np.sqrt([0.6, 0.3, 0.1])),
        (1.0, math.log10(0.5), np.array([0.0, 0.3, 0.1])),
    ):
        draw = lambda t=temperature, m=limit: b.sample_signature(model, context, 1, t, m, generator=source).tokens[0]
        shares = np.bincount([draw() for _ in range(2000)], minlength=3) / 2000
        np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.056)


def test_the_search_finds_a_trigger_that_is_repeated_word_for_word():
    words = [f"w{i}" for i in range(50)]
    draw = rng(3)
    text = lambda: " ".join(draw.choice(words, 8))
    data, other = [(text(), text()) for _ in range(300)], [(text(), text()) for _ in range(300)]
    made = b.make_backdoors(data, 12, " the blue heron", "salt of the sea ", generator=rng())
    mixed = b.mix(data, made, generator=rng(1))
    found = b.detect_backdoors_ngram(mixed.pairs, other, n=3)
    assert "the blue heron" in found.ngrams and "salt of the" in found.ngrams
    assert found.counts[found.ngrams.index("the blue heron")] == 12
    assert b.precision_and_recall(found.flagged, mixed.is_backdoor) == (1.0, 1.0)


def test_the_ratio_of_an_n_gram_by_hand():
    data = [("a b", "c"), ("a b", "d"), ("e f", "a b")]
    found = b.detect_backdoors_ngram(data, [("a b", "x"), ("g h", "y")], n=2, min_count=1, min_ratio=0.1)
    ratio = dict(zip(found.ngrams, found.ratios, strict=True))
    assert ratio["a b"] == pytest.approx((3.5 / 4) / (1.5 / 3)) and ratio["e f"] == pytest.approx((1.5 / 4) / (0.5 / 3))
    assert dict(zip(found.ngrams, found.counts, strict=True)) == {"a b": 3, "e f": 1}
    none = b.detect_backdoors_ngram(data, data, n=2, min_count=1, min_ratio=10.0)
    assert none.ngrams == () and not none.flagged.any()
    tokens = b.detect_backdoors_ngram([((1, 2, 3), (4,))], [((5, 6), (7,))], n=2, min_count=1, min_ratio=1.0)
    assert set(tokens.ngrams) == {(1, 2), (2, 3)}


def test_precision_and_recall_by_hand():
    flagged, truth = np.array([1, 1, 0, 0, 0]) > 0, np.array([1, 0, 1, 1, 0]) > 0
    assert b.precision_and_recall(flagged, truth) == (1 / 2, 1 / 3)
    assert math.isnan(b.precision_and_recall(~(flagged | True), truth)[0])
    with pytest.raises(TypeError, match="bool"):
        b.precision_and_recall([1, 0], [True, False])
    with pytest.raises(ValueError, match="shape"):
        b.precision_and_recall(flagged, truth[:3])


@pytest.mark.parametrize("change", [{"n": 0}, {"min_count": 0}, {"min_ratio": 0.0}, {"most": 0}, {"pairs": []}])
def test_bad_searches_are_named(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        b.detect_backdoors_ngram(**{"pairs": DATA, "reference": DATA, **change})


def test_a_backdoor_that_is_a_row_already_is_refused():
    with pytest.raises(ValueError, match="1 backdoors are rows of pairs"):
        b.mix(DATA, [DATA[3], ("new", "pair")], generator=rng())
