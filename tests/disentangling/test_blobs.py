"""The blobs: a Gaussian profile in x times one in y, about a centre that is a linear function of the position."""

import numpy as np
import pytest
import torch

from workings.disentangling.blobs import blob_images


def test_a_blob_is_a_gaussian_about_its_centre():
    position, width = torch.tensor([[0.25, 0.75], [0.0, 0.5]]), 2.0
    for (x, y), picture in zip(position.tolist(), blob_images(position, width), strict=True):
        column, row = 3.2 + 9.6 * x, 3.2 + 9.6 * y  # in pixels, from the rim
        for i, j in np.ndindex(16, 16):
            away = (j + 0.5 - column) ** 2 + (i + 0.5 - row) ** 2
            assert picture[0, i, j].item() == pytest.approx(np.exp(-away / (2 * width**2)), abs=1e-6)


def test_turning_the_square_by_a_half_turns_the_picture():
    position = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blob_images(1 - position), blob_images(position).flip(-1, -2))
    torch.testing.assert_close(blob_images(position.flip(1)), blob_images(position).transpose(-1, -2))


def test_no_positions_give_no_pictures():
    assert blob_images(torch.empty(0, 2)).shape == (0, 1, 16, 16)


@pytest.mark.parametrize(
    ("position", "width", "why"),
    [
        (torch.zeros(2), 1.5, r"\(N, 2\)"),
        (torch.tensor([[0.5, 1.2]]), 1.5, r"\[0, 1\]"),
        (torch.zeros(1, 2), 0.0, "width"),
    ],
)
def test_blobs_that_cannot_be_drawn_are_refused(position, width, why):
    with pytest.raises(ValueError, match=why):
        blob_images(position, width)
