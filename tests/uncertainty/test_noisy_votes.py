"""The task of noisy votes: its exact posterior against Bayes' rule by counting, and against its own draws."""

import itertools
import math

import pytest
import torch

from workings.seeding import torch_generator
from workings.uncertainty import noisy_votes as votes


def by_hand(domain: int, drawn: list[int]) -> list[float]:
    """Bayes' rule with a flat prior, class by class, vote by vote."""
    rho, k = votes.RELIABILITY[domain], votes.N_CLASSES
    weight = [math.prod(rho * (v == c) + (1 - rho) / k for v in drawn) for c in range(k)]
    return [w / sum(weight) for w in weight]


def test_the_posterior_is_bayes_rule_under_the_domains_own_names():
    questions = votes.vote_questions(40, range(6), torch_generator(0, "questions"))
    found, names = votes.name_posterior(questions.prompts), votes.class_names()
    for row, prompt in zip(found, questions.prompts, strict=True):
        domain = int(prompt[1]) - votes.FIRST_DOMAIN
        expected = by_hand(domain, (prompt[2:-1] - votes.FIRST_VOTE).tolist())
        got = [float(row[int(names[domain, c]) - votes.FIRST_NAME]) for c in range(votes.N_CLASSES)]
        assert got == pytest.approx(expected, abs=1e-12)
    assert torch.allclose(found.sum(dim=1), torch.ones(40, dtype=torch.float64))


def test_the_posterior_is_what_happens():
    """Over 20,000 questions the likeliest name is right as often as it says: five standard errors, false alarm 6e-7."""
    questions = votes.vote_questions(20_000, range(6), torch_generator(1, "questions"))
    best, place = votes.name_posterior(questions.prompts).max(dim=1)
    right = (place + votes.FIRST_NAME == questions.truth).double()
    error = float((best * (1 - best)).sum()) ** 0.5 / len(best)
    assert abs(float((right - best).mean())) < 5 * error


def test_questions_are_what_they_say():
    questions = votes.vote_questions(500, (1, 4), torch_generator(2, "questions"))
    assert set(questions.domains.tolist()) == {1, 4}
    assert questions.prompts.shape == (500, votes.PROMPT)
    assert (questions.prompts[:, 0] == votes.BEGIN).all() and (questions.prompts[:, -1] == votes.SEPARATOR).all()
    names = votes.class_names()
    assert all(sorted(row.tolist()) == list(range(votes.FIRST_NAME, votes.VOCABULARY)) for row in names)
    assert any(not torch.equal(a, b) for a, b in itertools.combinations(names, 2))
    again = votes.vote_questions(500, (1, 4), torch_generator(2, "questions"))
    assert all(torch.equal(a, b) for a, b in zip(questions, again, strict=True))


def test_changing_the_names_that_are_handed_out_changes_nothing():
    votes.class_names().zero_()
    assert int(votes.class_names().min()) == votes.FIRST_NAME


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, (0,)), ValueError, "n must be at least 1"),
        ((2, ()), ValueError, "domains is empty"),
        ((2, (6,)), ValueError, "domains must be at most 5"),
    ],
)
def test_bad_questions_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        votes.vote_questions(*arguments, torch_generator(0, "x"))


def test_a_prompt_of_another_task_is_refused():
    with pytest.raises(ValueError, match=r"prompts must be \(n, 11\)"):
        votes.name_posterior(torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="row 0 of prompts is no question"):
        votes.name_posterior(torch.zeros(2, votes.PROMPT, dtype=torch.int64))
    beyond = votes.vote_questions(3, (0,), torch_generator(0, "x")).prompts.clone()
    beyond[1, 1] = votes.FIRST_DOMAIN + len(votes.RELIABILITY)  # the first domain that there is not
    with pytest.raises(ValueError, match="row 1 of prompts is no question"):
        votes.name_posterior(beyond)
