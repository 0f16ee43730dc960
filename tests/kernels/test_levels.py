"""A level is the decimal that is meant, not the binary number that a computation left behind."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from workings.checks import exact_decimal
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import rope_frequencies
from workings.robustness.closed_forms import number_of_draws
from workings.uncertainty.conformal import conformal_rank, exact_level

HUNDREDTHS = range(1, 100)


@pytest.mark.parametrize("k", HUNDREDTHS)
def test_every_way_to_a_hundredth_is_that_hundredth(k):
    wanted = Fraction(k, 100)
    ways = {
        "literal": k / 100,
        "complement": 1 - (100 - k) / 100,
        "product": k * 0.01,
        "float32": torch.tensor(k / 100).item(),
        "float32 complement": (1 - torch.tensor((100 - k) / 100)).item(),
        "numpy float32": float(np.float32(k / 100)),
    }
    assert {name: exact_decimal(value) for name, value in ways.items()} == dict.fromkeys(ways, wanted)
    assert exact_level(np.float32(k / 100)) == wanted == exact_level(np.float64(1 - (100 - k) / 100))


def test_a_number_that_is_no_short_decimal_stays_what_it_is():
    for value in (1 / 3, 2**-0.5, 0.123456789012345, 1e-300):
        assert float(exact_decimal(value)) == value
    assert exact_decimal(0.1234567) == Fraction(1234567, 10**7)  # typed digits are meant, however many up to ten
    assert exact_decimal(0.10000001) == Fraction(10000001, 10**8)


def test_the_rank_of_one_tenth_of_nine_scores_is_nine_however_the_tenth_was_computed():
    for tenth in (0.1, 1 - 0.9, 0.3 - 0.2, torch.tensor(0.1).item(), np.float32(0.1), np.float64(1 - 0.9), "1/10"):
        assert conformal_rank(9, tenth) == 9  # ceil(0.9 * 10)
    assert conformal_rank(9, torch.tensor(0.7).item()) == conformal_rank(9, 0.7) == 3  # ceil(0.3 * 10)


def test_shares_of_a_whole_count_are_exact():
    for k in HUNDREDTHS:
        for share in (k / 100, 1 - (100 - k) / 100, torch.tensor(k / 100).item()):
            assert number_of_draws(share, 100) == k
    theta = rope_frequencies(200)
    kept = scale_frequencies(theta, "proportional", factor=2.0, fraction=0.29).theta
    assert int((kept > 0).sum()) == 29  # 0.29 * 100 is 28.999999999999996 in floating point
