"""The experiment of the chapter `taught_to_know`."""

import pytest

from workings.chapters.taught_to_know.demo import run_protocol
from workings.chapters.taught_to_know.settings import Settings
from workings.chapters.taught_to_know.sweep import sweep_point


@pytest.mark.parametrize("sample", [2, 5, 50])
def test_95_intervals_in_100_hold_the_truth_whatever_the_size_of_the_sample(sample):
    # 4500 samples: the share has a standard error of sqrt(0.95 * 0.05 / 4500) = 0.0033; 0.015 is 4.6 of them.
    found = run_protocol(Settings(repeats=4500, sample=sample))
    assert found["share"] == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("setting", "value"), [("sample", 1), ("repeats", 0)])
def test_a_setting_that_cannot_be_is_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        sweep_point(**{setting: value})


def test_an_unknown_tier_is_refused():
    with pytest.raises(ValueError, match="tier"):
        Settings.for_tier("medium")
