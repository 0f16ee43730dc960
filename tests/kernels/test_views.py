"""A view is the array that it shows, and an index may count from the end."""

import numpy as np
import pytest
import torch

from workings.disentangling.dsprites_data import DSprites, sub_grid
from workings.disentangling.dsprites_renderer import as_classes, dsprites_classes, dsprites_index
from workings.disentangling.factor_grid import FactorGrid
from workings.disentangling.metrics import beta_vae_score
from workings.disentangling.traversal import traversal_grid
from workings.language_models.constrained_tuning import MeanConstraint, response_length, steps_to_stay
from workings.language_models.decoder import TinyDecoder
from workings.language_models.grammar import decode, encode
from workings.language_models.rope_scaling import scale_frequencies
from workings.language_models.rotary import as_positions, rope_frequencies
from workings.language_models.topic_language import spelled
from workings.robustness.sap import matched_dropout
from workings.seeding import torch_generator


def test_arrays_that_run_backwards_are_read_backwards():
    assert as_positions(np.arange(4)[::-1]).tolist() == [3, 2, 1, 0]
    observations = np.arange(6).reshape(6, 1)
    assert FactorGrid((2, 3), observations[::-1]).cells[:, 0].tolist() == [5, 4, 3, 2, 1, 0]
    grid = FactorGrid((2, 3), observations)
    assert grid.index(np.array([[0, 1], [1, 2]])[::-1]).tolist() == [5, 1]
    assert grid.factors(np.array([1, 5])[::-1]).tolist() == [[1, 2], [0, 1]]
    classes = np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    assert as_classes(classes[::-1]).tolist() == classes[::-1].tolist()
    assert dsprites_index(classes[::-1]).tolist() == dsprites_index(torch.from_numpy(classes)).tolist()[::-1]
    assert dsprites_classes(np.array([7, 9])[::-1]).tolist() == dsprites_classes(torch.tensor([9, 7])).tolist()
    assert decode(encode("the dog.").numpy()[::-1]) == ".god eht"
    rows = traversal_grid(lambda z: z, torch.zeros(2), [0], np.array([1.0, 2.0])[::-1])
    assert rows[0, :, 0].tolist() == [2.0, 1.0]


def test_a_cell_number_is_a_whole_number():
    with pytest.raises(TypeError, match="cell numbers"):
        FactorGrid((2, 3), torch.arange(6)).factors(torch.tensor([1.5]))


def test_a_subset_may_count_from_the_end():
    data = DSprites(classes=sub_grid(0, [1, 3], 0, [0, 5], 7))
    assert len(data) == 4
    for given, meant in ((-1, 3), (-4, 0), (2, 2)):
        image, classes = data[given]
        [(again, same)] = data.__getitems__([given])
        assert torch.equal(image, again) and torch.equal(classes, data.classes[meant]) and torch.equal(same, classes)
    loader = torch.utils.data.DataLoader(torch.utils.data.Subset(data, [-1, 0]), batch_size=2)
    [(_, classes)] = list(loader)
    assert torch.equal(classes, data.classes[[3, 0]])
    for bad in (4, -5):
        with pytest.raises(IndexError, match=f"image {bad} of 4"):
            data.__getitems__([0, bad])


def longrope(**factors):
    return scale_frequencies(rope_frequencies(6), "longrope", factor=2.0, orig_len=64, **factors).theta


def scored(codes):
    """The metric on a network whose codes, for each batch of 6, are what is given."""
    grid = FactorGrid((2, 3), torch.arange(6.0)[:, None])
    source = torch_generator(0, "score")
    return beta_vae_score(lambda x: codes(x.numpy()), grid, n_pairs=2, n_train=8, n_eval=4, generator=source)


def constraint_on(score):
    return MeanConstraint(lambda tokens, mask: score, 0.0, 1.0).scores(torch.ones(3, 2), torch.ones(3, 2))


def rotated(theta):
    model = TinyDecoder(9, 12, 1, n_heads=2, generator=torch_generator(0, "model"))
    return model(torch.arange(5)[None], theta=theta)


# A kernel's use of an array that no example gives it, and the array.
TAKES_NUMPY = {
    "matched_dropout": (
        lambda v: matched_dropout(torch.ones(3, 4), v, torch_generator(0, "mask")),
        np.array([0.3, 0.5, 0.9]),
    ),
    "longrope, short": (lambda v: longrope(seq_len=32, short_factor=v), np.array([1.0, 2.0, 4.0])),
    "longrope, long": (lambda v: longrope(seq_len=99, long_factor=v), np.array([1.0, 2.0, 4.0])),
    "theta": (rotated, np.array([1.0, 0.5, 0.25])),
    "spelled": (spelled, np.array([1, 5, 12, 2])),
    "scores": (constraint_on, np.array([0.1, 0.4, 0.7])),
    "steps_to_stay": (lambda v: steps_to_stay(v, MeanConstraint(response_length, 4, 7), 2), np.array([9.0, 6.0, 5.0])),
}


@pytest.mark.parametrize("name", TAKES_NUMPY)
def test_an_array_that_runs_backwards_counts_as_its_copy_and_a_masked_one_is_refused(name):
    kernel, array = TAKES_NUMPY[name]
    found, expected = kernel(array[::-1].copy()[::-1]), kernel(torch.from_numpy(array))
    assert torch.allclose(found, expected) if torch.is_tensor(found) else found == expected
    with pytest.raises(TypeError, match="mask"):
        kernel(np.ma.masked_array(array, np.arange(len(array)) == 0))


def test_codes_that_a_network_gives_may_run_backwards_and_not_be_masked():
    assert scored(lambda x: x[:, ::-1]) == scored(lambda x: torch.from_numpy(x.copy()))
    assert scored(lambda x: x[::-1].copy()[::-1]) == scored(lambda x: torch.from_numpy(x.copy()))
    with pytest.raises(TypeError, match="mask"):
        scored(lambda x: np.ma.masked_array(x, x == 0))
