"""Numbers of another type are computed right or refused: they never wrap around, lose a mask or a half."""

import numpy as np
import pytest
import torch
from torch import nn

from workings.calibration import bootstrap_ci, brier_score, expected_calibration_error
from workings.checks import all_finite, as_array, as_tensor
from workings.disentangling.dsprites_renderer import render_dsprites
from workings.disentangling.networks import BurgessEncoder
from workings.disentangling.objectives import squared_error
from workings.disentangling.rate_distortion import shuffled_code_nll
from workings.language_models.rotary import rope_frequencies, rotary_tables, rotate
from workings.robustness.attacks import fgsm
from workings.robustness.cifar import accuracy
from workings.robustness.closed_forms import survival_probability
from workings.robustness.sap import matched_dropout, stochastic_activation_pruning
from workings.seeding import torch_generator
from workings.statistics import mean_and_sd, standard_error
from workings.uncertainty.conformal import conformal_threshold, threshold_exceedance
from workings.uncertainty.scores import aps, residual_cum_factor, set_size


def test_bytes_do_not_wrap_around():
    a, b = torch.tensor([[0]], dtype=torch.uint8), torch.tensor([[20]], dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"floating point, got torch\.uint8"):
        squared_error(a, b)
    assert squared_error(a.float(), b.float()).tolist() == [400.0]
    with pytest.raises(TypeError, match="floating point"):
        shuffled_code_nll(torch.zeros(3, 4, dtype=torch.uint8), [1.0], torch.arange(3))
    with pytest.raises(TypeError, match="uint8"):
        BurgessEncoder()(render_dsprites(torch.zeros(1, 5, dtype=torch.int64))[:, None])
    with pytest.raises(TypeError, match="x must be floating point"):
        rotate(torch.ones(2, 4, dtype=torch.int64), *rotary_tables(range(2), rope_frequencies(4)))


def test_labels_of_another_shape_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 2))
    images = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    labels = torch.zeros(4, dtype=torch.int64)
    assert 0.0 <= accuracy(net, images, labels) <= 1.0
    for bad in (labels[:, None], labels[:3], labels.float(), labels[:0]):
        with pytest.raises(ValueError, match=r"labels must be \(4,\) integers"):
            accuracy(net, images, bad)


def test_lists_in_the_place_of_labels_are_refused_by_name():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4, 2))
    with pytest.raises(TypeError, match="labels must be a torch tensor, got list"):
        accuracy(net, torch.zeros(2, 3, 2, 2, dtype=torch.uint8), [0, 1])
    with pytest.raises(TypeError, match="must be a torch tensor, got list"):
        fgsm(net, torch.zeros(2, 3, 2, 2), [0, 1], 0.1)


def test_a_probability_beyond_one_by_rounding_is_one():
    over = np.array([1.0000002, -1e-8, 0.5], dtype=np.float32)
    assert brier_score(over, [1, 0, 1]) == pytest.approx(0.25 / 3)
    assert expected_calibration_error(over[:2], [1, 0]) == 0.0
    assert threshold_exceedance(over[:2], 9, 0.1).tolist() == [0.0, 1.0]
    assert aps([[0.5, 0.5]], np.array([[1.0000002, 0.0]], dtype=np.float32)).max() <= 1.0
    half = torch.tensor([1.0, 0.5]).bfloat16() * 1.004  # one step of bfloat16 above 1
    assert brier_score(half, [1, 1]) == pytest.approx(0.125, abs=2e-3)
    for bad in ([1.01, 0.5], [-0.01, 0.5], [3.0, -2.0]):
        with pytest.raises(ValueError, match="not logits"):
            brier_score(bad, [1, 0])


def test_masked_complex_and_dated_numbers_are_refused_and_bfloat16_is_read():
    with pytest.raises(TypeError, match="mask"):
        conformal_threshold(np.ma.masked_array([1.0, 1e9], mask=[0, 1]), 0.5)
    with pytest.raises(TypeError, match="mask"):
        set_size(np.ma.masked_array([[True, False]], mask=[[0, 1]]))
    with pytest.raises(TypeError, match="mask"):
        bootstrap_ci(np.mean, np.ma.masked_array([1.0, 2.0], mask=[0, 1]), rng=np.random.default_rng(0))
    for bad in (np.array([1 + 2j]), torch.tensor([1j]), np.array(["2026-01-01"], "M8[D]"), np.array([5], "m8[s]")):
        with pytest.raises(TypeError, match="real numbers"):
            as_array(bad, "x")
    with pytest.raises(TypeError, match="to_dense"):
        as_array(torch.eye(2).to_sparse(), "x")
    values = torch.tensor([0.5, 1.5, 2.5])
    assert conformal_threshold(values.bfloat16().requires_grad_(), 0.5) == 1.5
    assert as_array(torch.tensor([1 + 2j]).conj().imag, "x").tolist() == [-2.0]  # a view that negates


def test_numpy_arrays_of_any_kind_become_tensors():
    x = np.arange(6.0).reshape(2, 3)
    x.flags.writeable = False
    for view in (x, x[::-1], x[:, ::-1], x.T, x[:, ::2]):
        assert torch.equal(as_tensor(view, "x"), torch.from_numpy(view.copy()))
    assert as_tensor([torch.tensor(1), torch.tensor(2)], "x").tolist() == [1, 2]
    with pytest.raises(TypeError, match="mask"):
        as_tensor(np.ma.masked_array([1], mask=[1]), "x")
    with pytest.raises(TypeError, match="array of numbers"):
        as_tensor(["a"], "x")


def test_what_float16_cannot_hold_is_refused_and_not_infinite():
    h = torch.full((1, 4096), 30.0, dtype=torch.float16)  # the map sums to 122,880; one draw puts it on one neuron
    with pytest.raises(ValueError, match=r"1\.23e\+05, which float16 cannot hold"):
        stochastic_activation_pruning(h, 1 / 4096, generator=torch_generator(0, "draw"))
    with pytest.raises(ValueError, match="float16 cannot hold"):
        matched_dropout(torch.full((1, 4096), 6e4, dtype=torch.float16), 0.5, torch_generator(0, "draw"))
    out = stochastic_activation_pruning(h.bfloat16(), 1 / 4096, generator=torch_generator(0, "draw"))
    assert float(out.max()) == pytest.approx(122_880, rel=2**-8)


def test_whole_numbers_of_draws_may_be_floats():
    p = torch.tensor([0.25, 0.75])
    assert torch.equal(survival_probability(p, 1e4), survival_probability(p, 10_000))
    with pytest.raises(TypeError, match="r must be an integer"):
        survival_probability(p, 1.5)


def test_a_volume_beyond_float64_times_a_power_beyond_it_is_their_product():
    # Volume of the ball of radius 10 in 1000 dimensions: pi^500 / 500! * 10^1000 = e^(500 ln pi - ln 500! + 1000 ln 10).
    from math import exp, lgamma, log, pi

    wanted = exp(500 * log(pi) - lgamma(501) + 1000 * log(10))
    assert residual_cum_factor(1000, 2)(100.0) == pytest.approx(wanted, rel=1e-10)
    assert residual_cum_factor(1000, 2)([0.0, 100.0]).tolist() == pytest.approx([0.0, wanted], rel=1e-10)
    assert residual_cum_factor()(3.0) == 6.0 and residual_cum_factor()(np.inf) == np.inf


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="empty"):
        mean_and_sd([])
    assert mean_and_sd([2.0]) == (2.0, 0.0)
    assert mean_and_sd([1.0, 3.0]) == pytest.approx((2.0, 2**0.5))
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="two values or more"):
        standard_error([2.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_entries_are_finite_also_where_their_sum_is_not(dtype):
    large = torch.full((3,), torch.finfo(dtype).max, dtype=dtype)
    assert not large.sum().isfinite() and all_finite(large) and all_finite(-large) and all_finite(large[:0])
    for bad in ([torch.inf], [-torch.inf], [torch.nan], [torch.inf, -torch.inf]):
        assert not all_finite(torch.cat([large, torch.tensor(bad, dtype=dtype)]))
        assert not all_finite(torch.tensor([0.0, *bad], dtype=dtype))
