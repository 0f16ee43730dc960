"""A view is the array that it shows, and an index may count from the end."""

import numpy as np
import pytest
import torch

from workings.disentangling.dsprites import as_classes, dsprites_classes, dsprites_index
from workings.disentangling.dsprites_data import DSprites, sub_grid
from workings.disentangling.factor_grid import FactorGrid
from workings.disentangling.traversal import traversal_grid
from workings.language_models.grammar import decode, encode
from workings.language_models.rotary import as_positions


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
