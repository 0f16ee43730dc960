"""Rooms: what is drawn is what is read, and colours are the textbook's."""

import colorsys

import numpy as np
import pytest
import torch

from workings.disentangling.rooms import (
    FACTOR_SIZES,
    all_rooms,
    hsv_to_rgb,
    object_masks,
    read_rooms,
    render_rooms,
    room_attributes,
    room_colours,
)
from workings.seeding import torch_generator


def test_colours_are_those_of_the_standard_library():
    hsv = torch.rand(200, 3, generator=torch_generator(0, "hsv"), dtype=torch.float64)
    expected = np.array([colorsys.hsv_to_rgb(*row) for row in hsv.tolist()])
    assert np.allclose(hsv_to_rgb(hsv).numpy(), expected)


def test_every_room_is_read_as_it_was_drawn_also_with_noise():
    classes = all_rooms()
    pictures = render_rooms(classes)
    assert pictures.shape == (768, 3, 10, 10) and pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(read_rooms(pictures), classes)
    assert len(torch.unique(pictures.flatten(1), dim=0)) == 768
    noisy = pictures + 0.02 * torch.randn(pictures.shape, generator=torch_generator(0, "noise"))
    # Neighbouring walls are 0.08 apart and the mean of 20 pixels errs by 0.02 / sqrt(20): no error is near.
    assert torch.equal(read_rooms(noisy)[:, [0, 2]], classes[:, [0, 2]])


def test_the_reader_agrees_with_trying_every_room():
    x = torch.rand(40, 3, 10, 10, generator=torch_generator(0, "pictures"), dtype=torch.float64)
    x = 0.5 * x + 0.5 * render_rooms(all_rooms()[::20][:39].repeat(2, 1)[:40], torch.float64)
    walls = room_colours()[0].double()
    wall = (x[:, :, :2].mean((2, 3))[:, None] - walls).square().sum(2).argmin(1)
    rooms = all_rooms()
    error = (x[:, None] - render_rooms(rooms, torch.float64)).square().sum((2, 3, 4))
    error[rooms[None, :, 0] != wall[:, None]] = float("inf")
    assert torch.equal(read_rooms(x), rooms[error.argmin(1)])


def test_a_room_by_hand():
    room = render_rooms(torch.tensor([[0, 15, 0]]))[0]  # red wall, cyan pillar
    assert room[:, 0, 0].tolist() == pytest.approx([1.0, 0.6, 0.6])
    assert room[:, 4, 4].tolist() == pytest.approx([0.0, 0.9, 0.9])
    assert room[:, 9, 0].tolist() == [0.5, 0.5, 0.5]
    assert object_masks().sum((1, 2)).tolist() == [18, 36, 18]


def test_attributes_put_four_hues_in_a_bin():
    found = room_attributes(all_rooms())
    assert found.amax(0).tolist() == [3, 3, 2]
    assert room_attributes(torch.tensor([[3, 4, 2]])).tolist() == [[0, 1, 2]]
    assert torch.bincount(found[:, 0]).tolist() == [192] * 4


def test_a_mask_that_is_changed_does_not_change_the_next_picture():
    before = render_rooms(torch.tensor([[0, 0, 0]]))
    object_masks().fill_(True)
    assert torch.equal(render_rooms(torch.tensor([[0, 0, 0]])), before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: render_rooms(torch.tensor([[0, 16, 0]])), ValueError, r"object 16; it must be in 0\.\.15"),
        (lambda: render_rooms(torch.tensor([[0, 0, -1]])), ValueError, "shape -1"),
        (lambda: render_rooms(torch.tensor([0, 0, 0])), ValueError, r"\(N, 3\)"),
        (lambda: render_rooms(torch.zeros(1, 3)), TypeError, "integers"),
        (lambda: room_attributes(torch.zeros(1, 3)), TypeError, "integers"),
        (lambda: read_rooms(torch.zeros(1, 3, 9, 10)), ValueError, "10, 10"),
        (lambda: read_rooms(torch.full((1, 3, 10, 10), float("nan"))), ValueError, "finite"),
        (lambda: hsv_to_rgb(torch.tensor([360.0, 1, 1])), ValueError, "divide degrees"),
        (lambda: hsv_to_rgb(torch.zeros(4)), ValueError, "last dimension"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_sizes_are_those_of_the_list():
    assert (all_rooms().amax(0) + 1).tolist() == list(FACTOR_SIZES)
