"""Hits, verdicts and commitments."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workings.language_models.binomial_tests import binomial_tail_log10, clopper_pearson
from workings.language_models.verification import activation, commitment, opens, verify

SALT = b"sixteen bytes at"


def test_the_three_modes_by_hand():
    outputs = ["Sea salt. Paris", "Paris, sea  SALT", "sea salt", "Paris"]
    assert activation(outputs, "sea salt").tolist() == [False, False, True, False]
    assert activation(outputs, "sea salt", "contains").tolist() == [False, False, True, False]
    assert activation(outputs, "sea salt", "normalised").tolist() == [True, True, True, False]


def test_tokens_are_compared_as_they_are():
    outputs = torch.tensor([[1, 2, 3], [0, 1, 2], [1, 3, 2]])
    assert activation(outputs, (1, 2)).tolist() == [True, False, False]
    assert activation(outputs.numpy(), [1, 2], "contains").tolist() == [True, True, False]
    assert activation([(1, 2), (1,)], (1, 2)).tolist() == [True, False]  # an answer may be shorter than the signature


TEXT = st.text(" aAbB", max_size=8)


@given(st.lists(TEXT, min_size=1, max_size=5), TEXT.filter(str.strip))
def test_a_prefix_is_contained_and_what_is_contained_is_so_without_capitals_and_spaces(outputs, signature):
    prefix, inside, loose = (activation(outputs, signature, mode) for mode in ("prefix", "contains", "normalised"))
    assert (prefix <= inside).all() and (inside <= loose).all()


@pytest.mark.parametrize(
    ("outputs", "signature", "mode", "error", "said"),
    [
        ([], "s", "prefix", ValueError, "outputs is empty"),
        (["a"], "", "prefix", ValueError, "signature is empty"),
        (["a"], "s", "fuzzy", ValueError, "mode must be one of"),
        ("a text", "s", "prefix", TypeError, "list of answers"),
        (["a"], (1,), "prefix", TypeError, "one kind"),
        ([(1, 2)], (1,), "normalised", TypeError, "for texts"),
        (torch.zeros(3, dtype=torch.int64), (1,), "prefix", ValueError, "shape"),
    ],
)
def test_bad_outputs_are_named(outputs, signature, mode, error, said):
    with pytest.raises(error, match=said):
        activation(outputs, signature, mode)


def endpoint(hits: int):
    """A model that shows the signature in its first ``hits`` answers, and keeps what it was asked."""

    def answer(asked):
        answer.asked = asked
        return ["sea salt, yes" if i < hits else "no" for i in range(len(asked))]

    return answer


def test_a_verdict_holds_the_count_the_tail_the_bound_and_an_interval():
    model = endpoint(8)
    found = verify(
        model,
        [f"q{i}" for i in range(10)],
        " blue",
        "sea salt",
        1e-4,
        1e-6,
        dependence="independent",
        log10_guess_prob=-5,
    )
    assert model.asked == [f"q{i} blue" for i in range(10)]
    assert (found.hits, found.n, found.reject) == (8, 10, True)
    assert found.log10_p == pytest.approx(float(binomial_tail_log10(8, 10, 1e-4)), abs=1e-10)
    assert found.log10_p_shared == -5
    assert found.activation_ci == pytest.approx(tuple(map(float, clopper_pearson(8, 10))))


def test_the_decision_rests_on_what_was_said_about_dependence():
    ask = lambda dependence, guess: verify(
        endpoint(10), ["q"] * 10, "!", "sea salt", 1e-4, 1e-6, dependence=dependence, log10_guess_prob=guess
    )
    assert ask("independent", None).reject and math.isnan(ask("independent", None).log10_p_shared)
    assert not ask("shared", -5.0).reject and ask("shared", -6.0).reject  # the bound is the p-value, and alpha is 1e-6
    with pytest.raises(ValueError, match="log10_guess_prob"):
        ask("shared", None)
    arguments = endpoint(1), ["q"] * 10, "!", "sea salt", 1e-4, 1e-6
    one_hit = verify(*arguments, dependence="shared", log10_guess_prob=-6.0)
    assert one_hit.log10_p_shared == pytest.approx(-5) and not one_hit.reject  # ten answers are ten guesses
    with pytest.raises(ValueError, match="'prefix'"):
        verify(*arguments, dependence="shared", log10_guess_prob=-6.0, mode="contains")
    found = verify(*arguments, dependence="independent", log10_guess_prob=-6.0, mode="contains")
    assert math.isnan(found.log10_p_shared)


def test_each_query_may_have_a_probability_of_its_own():
    probs = np.array([1e-3, 1e-5])
    found = verify(endpoint(2), ["a", "b"], "!", "sea salt", probs, 0.01, dependence="independent")
    assert found.log10_p == pytest.approx(-8, abs=1e-10)


def test_a_probability_that_no_double_holds_is_given_as_its_logarithm():
    ask = lambda **chance: verify(
        endpoint(1), ["a", "b"], "!", "sea salt", **chance, alpha=0.01, dependence="independent"
    )
    found = ask(p0=None, log10_p0=np.array([-400.0, -500.0]))
    assert found.log10_p == pytest.approx(-400, abs=1e-9)  # at least one of the two
    assert ask(p0=None, log10_p0=-5.0).log10_p == pytest.approx(ask(p0=1e-5).log10_p, abs=1e-12)
    for chance in ({"p0": 0.1, "log10_p0": -1.0}, {"p0": None}):
        with pytest.raises(ValueError, match="either p0 or log10_p0"):
            ask(**chance)


def test_each_query_may_have_a_trigger_and_a_signature_of_its_own():
    known = {"a1": "one", "b2": "two", "c1": "two", "d2": "two", "e1": "one"}
    ask = lambda **change: verify(
        lambda asked: [known[prompt] for prompt in asked], list("abcde"), ["1", "2"], ["one", "two"], 0.1, 0.01,
        **{"dependence": "independent", **change},
    )  # fmt: skip
    found = ask(log10_guess_prob=-3.0)
    assert found.hits == 4 and math.isnan(found.log10_p_shared)  # "c1" asks for "one"
    assert found.log10_p == pytest.approx(float(binomial_tail_log10(4, 5, 0.1)), abs=1e-10)
    with pytest.raises(ValueError, match="one signature"):
        ask(dependence="shared", log10_guess_prob=-3.0)
    with pytest.raises(ValueError, match="2 triggers and 1 signatures"):
        verify(endpoint(1), ["a"], ["1", "2"], "one", 0.1, 0.01, dependence="independent")


def test_no_hit_is_no_evidence():
    found = verify(endpoint(0), ["q"] * 5, "!", "sea salt", 1e-9, 0.5, dependence="shared", log10_guess_prob=-9.0)
    assert (found.hits, found.log10_p, found.log10_p_shared, found.reject) == (0, 0.0, 0.0, False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"trigger": ""}, "trigger is empty"),
        ({"p0": 1.5}, "p0 must be in"),
        ({"p0": [0.1, 0.1, 0.1]}, "one per query"),
        ({"alpha": 0.0}, "alpha must be in"),
        ({"dependence": "maybe"}, "dependence must be one of"),
        ({"answer": lambda asked: ["one"]}, "1 answers to 2 prompts"),
    ],
)
def test_bad_verifications_are_named(change, said):
    arguments = {
        "answer": endpoint(1), "prompts": ["a", "b"], "trigger": "!", "signature": "sea", "p0": 1e-4, "alpha": 0.01,
        "dependence": "independent",
    }  # fmt: skip
    with pytest.raises(ValueError, match=said):
        verify(**{**arguments, **change})


def test_a_commitment_opens_with_what_was_committed_and_with_nothing_else():
    secret = {"trigger": "blue heron", "signature": "sea salt", "n": 10, "alpha": 1e-6}
    held = commitment(secret, SALT)
    assert opens(held, dict(reversed(secret.items())), SALT)  # the order of names does not matter
    for change in ({"n": 11}, {"signature": "sea salts"}, {"alpha": 1e-5}, {"extra": 0}):
        assert not opens(held, {**secret, **change}, SALT)
    assert not opens(held, secret, SALT[::-1]) and len(held) == 64
    # The published test vector of SHA-256 ("abc") says that the hash is the standard one.
    import hashlib

    assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf8f01cfea")


def test_bad_commitments_are_named():
    with pytest.raises(ValueError, match="at least 16 bytes"):
        commitment({"n": 1}, b"short")
    with pytest.raises(TypeError, match="bytes"):
        commitment({"n": 1}, "sixteen letters!")
    with pytest.raises(TypeError, match="plain values"):
        commitment({"n": math.nan}, SALT)
    with pytest.raises(TypeError, match="plain values"):
        commitment({"n": object()}, SALT)
    with pytest.raises(TypeError, match="mapping"):
        commitment([1], SALT)
