"""The multinomial kernels against the exact law.

Every statistical test uses one fixed seed and a threshold that a correct kernel passes with
probability 1 - 1e-6 or more over seeds (chi-square p-value above 1e-6, or 5 standard errors: 6e-7).
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from workings.robustness import multinomial as module
from workings.robustness.closed_forms import joint_survival, survival_probability
from workings.robustness.multinomial import multinomial_counts, multinomial_occupancy
from workings.seeding import torch_generator

P_VALUE = 1e-6


@pytest.fixture(params=["single draws", "Poisson route"])
def route(request, monkeypatch):
    """Both ways a row can be drawn, also for maps small enough to enumerate."""
    if request.param == "Poisson route":
        monkeypatch.setattr(module, "_FEW", 9)
    return request.param


def chi_square_p_value(observed: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's test, rare outcomes (expected below 10) pooled into one."""
    assert probability.sum() == pytest.approx(1.0, abs=1e-9)
    expected = probability * observed.sum()
    assert (observed[expected == 0] == 0).all(), "an impossible outcome was drawn"
    rare = expected < 10
    pooled_observed = np.append(observed[~rare], observed[rare].sum())
    pooled_expected = np.append(expected[~rare], expected[rare].sum())
    keep = pooled_expected > 0
    return stats.chisquare(pooled_observed[keep], pooled_expected[keep]).pvalue


def law_of_the_set(p: np.ndarray, draws: int) -> np.ndarray:
    """P(drawn set = S) for every subset S as a bit mask, by inclusion and exclusion."""
    a = len(p)
    inside = np.array([sum(p[j] for j in range(a) if s >> j & 1) ** draws for s in range(2**a)])
    return np.array(
        [sum((-1) ** (bin(s ^ t).count("1")) * inside[t] for t in range(2**a) if t & s == t) for s in range(2**a)]
    ).clip(min=0)


def law_of_the_counts(p: np.ndarray, draws: int) -> dict[tuple[int, ...], float]:
    outcomes = (n for n in itertools.product(range(draws + 1), repeat=len(p)) if sum(n) == draws)
    return {n: float(stats.multinomial.pmf(n, draws, p)) for n in outcomes}


WEIGHTS = [[0.25, 0.25, 0.25, 0.25], [0.7, 0.2, 0.1, 0.0], [0.97, 0.02, 0.009, 0.001]]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("counts", [False, True])
def test_the_drawn_set_has_its_exact_law(route, weights, counts):
    draws, rows = 12, 60_000
    p = torch.tensor([weights]).expand(rows, 4)
    g = torch_generator(1, "set", route)
    drawn = multinomial_counts(p, draws, g) > 0 if counts else multinomial_occupancy(p, draws, g)
    outcome = (drawn.long() * (2 ** torch.arange(4))).sum(dim=1)
    observed = torch.bincount(outcome, minlength=16).numpy()
    assert chi_square_p_value(observed, law_of_the_set(np.array(weights), draws)) > P_VALUE


@pytest.mark.parametrize("weights", [[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
def test_the_counts_have_their_exact_law(route, weights):
    draws, rows = 11, 60_000
    counts = multinomial_counts(torch.tensor([weights]).expand(rows, 3), draws, torch_generator(2, "counts", route))
    law = law_of_the_counts(np.array(weights), draws)
    found = {key: 0 for key in law}
    for row, times in zip(*np.unique(counts.numpy(), axis=0, return_counts=True), strict=True):
        found[tuple(int(v) for v in row)] += int(times)  # KeyError: a row that does not sum to `draws`
    assert chi_square_p_value(np.array(list(found.values())), np.array(list(law.values()))) > P_VALUE


@pytest.mark.parametrize("wrong", ["independent Bernoulli", "Poisson without the top-up", "rows above r kept"])
def test_the_exact_law_refuses_the_well_known_shortcuts(wrong):
    # The oracle must be able to fail: three samplers that have (nearly) the right marginals.
    draws, rows = 12, 60_000
    p = torch.tensor([WEIGHTS[1]])
    g = torch_generator(1, "set", wrong)
    if wrong == "independent Bernoulli":
        drawn = torch.rand((rows, 4), generator=g) < survival_probability(p, draws)
    else:
        counts = torch.poisson((draws * p).expand(rows, 4), generator=g)
        if wrong == "rows above r kept":
            missing = (draws - counts.sum(dim=1)).clamp(min=0)
            for i in range(int(missing.max())):
                extra = torch.multinomial(p[0], rows, replacement=True, generator=g)
                counts[torch.arange(rows), extra] += missing > i
        drawn = counts > 0
    observed = torch.bincount((drawn.long() * (2 ** torch.arange(4))).sum(dim=1), minlength=16).numpy()
    expected = law_of_the_set(np.array(WEIGHTS[1]), draws)
    assert observed[expected == 0].any() or chi_square_p_value(observed, expected) < P_VALUE


@pytest.mark.parametrize("kind", ["flat", "peaked", "sparse"])
def test_survivors_of_a_wide_map_have_the_right_mean_and_the_right_spread(kind):
    # Survivors of a map of 1200: the mean is sum q; the variance follows from the joint survival, and on the
    # flat map it is less than half of what independent masks would give (negative association).
    a, rows = 1200, 4000
    draws = 400 if kind == "sparse" else 1200
    base = torch.rand(1, a, generator=torch_generator(0, "map"), dtype=torch.float64)
    weights = {"flat": torch.ones_like(base), "peaked": (4 * base).exp(), "sparse": (base - 0.6).relu()}[kind]
    p = weights / weights.sum()
    q = survival_probability(p, draws)
    covariance = (joint_survival(p, draws) - q[:, :, None] * q[:, None, :])[0]
    covariance.diagonal().copy_((q * (1 - q))[0])
    mean, variance = float(q.sum()), float(covariance.sum())
    independent = float((q * (1 - q)).sum())
    number = multinomial_occupancy(p.expand(rows, a), draws, torch_generator(3, kind)).sum(dim=1).double()
    assert abs(float(number.mean()) - mean) < 5 * math.sqrt(variance / rows)
    # The number is close to normal: its sample variance has relative standard error sqrt(2 / rows) = 0.022.
    spread = 5.5 * math.sqrt(2 / rows)
    assert abs(float(number.var()) / variance - 1) < spread
    assert independent / variance > 1 + 3 * spread, "the test could not tell independent masks apart"


def test_every_pair_survives_together_as_often_as_the_closed_form_says(route):
    # 66 pairs and 12 single neurons, each within 5.5 standard errors: false alarm below 78 * 4e-8 = 3e-6.
    a, draws, rows = 12, 12, 60_000
    p = torch.linspace(1, 2, a, dtype=torch.float64)[None]
    p = p / p.sum()
    q, joint = survival_probability(p, draws)[0], joint_survival(p, draws)[0]
    kept = multinomial_occupancy(p.expand(rows, a), draws, torch_generator(4, "pairs", route)).double()
    together = kept.T @ kept / rows  # diagonal: single survival
    z = (together - joint) / (joint * (1 - joint) / rows).sqrt()
    assert z.abs().max() < 5.5
    # Independent masks with the right marginals would miss by more than that on most pairs.
    pairs = torch.triu(torch.ones(a, a), 1).bool()
    missed = ((torch.outer(q, q) - joint) / (joint * (1 - joint) / rows).sqrt())[pairs]
    assert missed.median() > 5.5


@pytest.mark.parametrize("draws", [0, 1, 7, 255, 256, 1000, 100_003])
@pytest.mark.parametrize("a", [1, 5, 300])
def test_rows_sum_to_the_number_of_draws_and_zeros_are_never_drawn(draws, a):
    p = torch.rand(7, a, generator=torch_generator(0, "p", a)).add_(0.01)
    p[:, a // 2 + 1 :: 2] = 0
    p[3] = 0
    counts = multinomial_counts(p, draws, torch_generator(5, "sums", draws))
    expected = torch.full((7,), draws)
    expected[3] = 0
    assert torch.equal(counts.sum(dim=1), expected)
    assert (counts[p == 0] == 0).all() and (counts >= 0).all()
    kept = multinomial_occupancy(p, draws, torch_generator(5, "sums", draws))
    assert kept.dtype == torch.bool and counts.dtype == torch.int64
    assert not kept[p == 0].any()
    assert (kept.sum(dim=1) <= min(draws, a)).all()
    assert (kept.sum(dim=1)[expected > 0] >= 1).all()


@pytest.mark.parametrize("draws", [1, 300, 10**9])
def test_a_row_with_one_live_category_gives_it_everything(draws):
    p = torch.zeros(3, 400, dtype=torch.float32)
    p[0, 0], p[1, 399], p[2, 17] = 1.0, 1e-30, 5e8
    counts = multinomial_counts(p, draws, torch_generator(0, "one"))
    assert torch.equal(counts, (p > 0) * draws)
    assert torch.equal(multinomial_occupancy(p, draws, torch_generator(0, "one")), p > 0)


def test_huge_numbers_of_draws_stay_exact():
    # 1e9 draws over 10: binomial counts with standard deviation 9487, and far from listing the draws.
    draws = 10**9
    counts = multinomial_counts(torch.ones(50, 10), draws, torch_generator(0, "huge"))
    assert (counts.sum(dim=1) == draws).all()
    z = (counts - draws / 10) / math.sqrt(draws * 0.09)
    assert z.abs().max() < 5.5
    assert 0.7 < float(z.std()) < 1.3  # 500 values: standard error 0.03


def test_more_categories_than_torch_multinomial_allows():
    # torch.multinomial stops at 2**24 categories; a float32 cumulative sum would also lose the tail.
    a = 2**24 + 5
    p = torch.ones(1, a)
    p[0, -3:] = a / 3  # half of the mass on the last three
    with pytest.raises(RuntimeError, match="number of categories"):
        torch.multinomial(p, 4, replacement=True)
    counts = multinomial_counts(p, 4000, torch_generator(0, "wide"))
    assert int(counts.sum()) == 4000
    tail = int(counts[0, -3:].sum())
    assert abs(tail - 2000) < 5.5 * math.sqrt(4000 / 4)
    front = int(counts[0, : a // 2].sum())
    assert abs(front - 1000) < 5.5 * math.sqrt(4000 * 3 / 16)


def test_the_same_seed_gives_the_same_draws_and_weights_need_no_normalising():
    p = torch.rand(20, 700, generator=torch_generator(0, "same"))
    first = multinomial_occupancy(p, 700, torch_generator(1, "x"))
    assert torch.equal(first, multinomial_occupancy(p, 700, torch_generator(1, "x")))
    # A power of two changes no rounding, so even the random stream is the same.
    assert torch.equal(first, multinomial_occupancy(p * 1024, 700, torch_generator(1, "x")))
    assert not torch.equal(first, multinomial_occupancy(p, 700, torch_generator(2, "x")))
    g = torch_generator(1, "x")
    assert not torch.equal(multinomial_occupancy(p, 700, g), multinomial_occupancy(p, 700, g))


def test_rows_are_independent_of_each_other():
    # Correlation between the survivor numbers of neighbouring rows: standard error 1 / sqrt(4000) = 0.016.
    number = multinomial_occupancy(torch.ones(8000, 300), 300, torch_generator(6, "rows")).sum(dim=1).double()
    pairs = number.reshape(-1, 2)
    assert abs(float(torch.corrcoef(pairs.T)[0, 1])) < 5 / math.sqrt(4000)


def test_neither_the_weights_nor_the_global_generator_are_changed():
    p = torch.rand(9, 500, generator=torch_generator(0, "p"), dtype=torch.float64)
    copy = p.clone()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    multinomial_counts(p, 500, torch_generator(0, "a"))
    multinomial_occupancy(p, 500, torch_generator(0, "a"))
    assert torch.equal(p, copy)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_dtype_is_taken(dtype):
    p = torch.tensor([[0.5, 0.25, 0.25]], dtype=dtype)
    assert int(multinomial_counts(p, 1000, torch_generator(0, "dtype")).sum()) == 1000


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
@pytest.mark.parametrize("kernel", [multinomial_counts, multinomial_occupancy])
def test_weights_that_are_no_weights_are_refused(kernel, bad):
    p = torch.ones(2, 4)
    p[1, 2] = bad
    with pytest.raises(ValueError, match="finite and not negative"):
        kernel(p, 4)


@pytest.mark.parametrize(
    ("p", "draws", "error", "message"),
    [
        (torch.ones(3), 4, ValueError, r"\(B, a\)"),
        (torch.ones(0, 3), 4, ValueError, "non-empty"),
        (torch.ones(2, 3, dtype=torch.int64), 4, ValueError, "floating-point"),
        ([[0.5, 0.5]], 4, TypeError, "tensor"),
        (torch.ones(2, 3), -1, ValueError, "draws must be at least 0"),
        (torch.ones(2, 3), 2.0, TypeError, "draws must be an integer"),
        (torch.full((1, 3), 1e308, dtype=torch.float64), 4, ValueError, "sums to infinity"),
    ],
)
def test_bad_input_is_refused(p, draws, error, message):
    with pytest.raises(error, match=message):
        multinomial_occupancy(p, draws)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_law_holds_on_cuda():
    p = torch.tensor([WEIGHTS[1]], device="cuda").expand(60_000, 4)
    drawn = multinomial_counts(p, 400, torch_generator(1, "cuda", device="cuda"))
    assert (drawn.sum(dim=1) == 400).all()
    z = (drawn.double().mean(0).cpu() - 400 * torch.tensor(WEIGHTS[1])) / (0.5 * 20 / math.sqrt(60_000))
    assert z.abs().max() < 5.5
