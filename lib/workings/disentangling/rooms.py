"""Small rooms: a coloured object before a coloured wall, drawn and read back.

Three factors make a room of 10 x 10 RGB pixels: the hues of wall and object (sixteen each, from red to cyan; the circle
of hues is cut, so that a single number can order them) and the object's shape (three). The floor is grey. There are 768
rooms. A symbol names up to three attributes: each hue in four bins of four, and the shape.

Our own, after the visual primitives of Higgins et al., arXiv 1707.03389, Fig. 1, without their fourth, the floor's colour.
"""

from __future__ import annotations

import functools

import torch

from workings.checks import check_tensor, values_hidden

SIDE = 10
HUES = 16
FACTOR_NAMES = ("wall", "object", "shape")
FACTOR_SIZES = (HUES, HUES, 3)
ATTRIBUTE_SIZES = (4, 4, 3)
VALUE_NAMES = (("red", "yellow", "green", "cyan"), ("red", "yellow", "green", "cyan"), ("pillar", "box", "beam"))
LAST_HUE = 0.5  # cyan
FLOOR = 0.5  # grey
_FLOOR_ROWS, _FIRST = 2, 2  # rows of floor at the bottom; the object's first row and column
_PATTERNS = (("011100",) * 6, ("111111",) * 6, ("000000", "111111", "111111", "111111", "000000", "000000"))


def hsv_to_rgb(hsv: torch.Tensor) -> torch.Tensor:
    """Hue, saturation and value (..., 3), each in [0, 1], to red, green and blue (..., 3) in [0, 1].

    Hue 0 is red, 1/3 green, 2/3 blue, and 1 is red again. Raises ``ValueError`` for another last dimension or numbers
    outside [0, 1]. Smith, "Color gamut transform pairs", SIGGRAPH 1978, written without branches.
    """
    check_tensor(hsv, "hsv")
    if hsv.dim() < 1 or hsv.shape[-1] != 3:
        raise ValueError(f"hsv must be (..., 3), got {tuple(hsv.shape)}; the last dimension is hue, saturation, value.")
    if hsv.numel() and not values_hidden(hsv) and not bool(((hsv >= 0) & (hsv <= 1)).all()):
        raise ValueError(f"hsv must be in [0, 1], got {hsv.min():g} to {hsv.max():g}; divide degrees by 360.")
    hue, saturation, value = (part[..., None] for part in hsv.unbind(-1))
    k = (hsv.new_tensor([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    return value * (1.0 - saturation * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))


def all_rooms() -> torch.Tensor:
    """The classes (768, 3) int64 of every room, in the order of :data:`FACTOR_NAMES`, the last factor fastest."""
    return torch.cartesian_prod(*(torch.arange(size) for size in FACTOR_SIZES))


def room_colours() -> torch.Tensor:
    """The colours (2, 16, 3) of walls and of objects by hue, red, green and blue in [0, 1]. Walls are paler."""
    hue = torch.linspace(0.0, LAST_HUE, HUES)
    saturation_and_value = ((0.4, 1.0), (1.0, 0.9))
    tables = [
        torch.stack([hue, hue.new_full((HUES,), s), hue.new_full((HUES,), v)], 1) for s, v in saturation_and_value
    ]
    return hsv_to_rgb(torch.stack(tables))


@functools.cache
def _masks() -> torch.Tensor:
    masks = torch.zeros(len(_PATTERNS), SIDE, SIDE, dtype=torch.bool)
    for shape, pattern in enumerate(_PATTERNS):
        drawn = torch.tensor([[pixel == "1" for pixel in row] for row in pattern])
        masks[shape, _FIRST : _FIRST + len(drawn), _FIRST : _FIRST + drawn.shape[1]] = drawn
    return masks


def object_masks() -> torch.Tensor:
    """Which pixels (3, 10, 10) bool the object covers, by shape."""
    return _masks().clone()


def render_rooms(classes: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Rooms (N, 3, 10, 10) in [0, 1] of ``classes`` (N, 3), integers in the order of :data:`FACTOR_NAMES`.

    Raises ``TypeError`` for classes that are no integers and ``ValueError`` for a wrong shape or a class out of range.
    """
    classes = _check_classes(classes)
    wall, thing = (table[hue] for table, hue in zip(room_colours(), classes[:, :2].unbind(1), strict=True))
    room = torch.where(_masks()[classes[:, 2]][:, None], thing[:, :, None, None], wall[:, :, None, None])
    room[:, :, SIDE - _FLOOR_ROWS :] = FLOOR
    return room.to(dtype)


def read_rooms(pictures: torch.Tensor) -> torch.Tensor:
    """The classes (N, 3) int64 of the drawable rooms that are nearest to ``pictures`` (N, 3, 10, 10).

    The wall is the nearest colour to the top rows, where no object can be. Given the wall, object and shape are the
    pair of least squared error, all 48 tried. On rooms as they are drawn the answer is exact; on the blurred
    pictures of a decoder it is the room that they resemble most.
    Raises ``ValueError`` for another shape or numbers that are not finite.
    """
    check_tensor(pictures, "pictures")
    if pictures.dim() != 4 or tuple(pictures.shape[1:]) != (3, SIDE, SIDE):
        raise ValueError(f"pictures must be (N, 3, {SIDE}, {SIDE}), got {tuple(pictures.shape)}; draw rooms.")
    if not bool(torch.isfinite(pictures).all()):
        raise ValueError("pictures must be finite; look at the decoder that drew them.")
    x = pictures.flatten(2).to(torch.promote_types(pictures.dtype, torch.float32))  # (N, 3, pixels)
    walls, things = room_colours().to(x)
    top = x[:, :, : _FIRST * SIDE].mean(2)
    wall = (top[:, None] - walls).square().sum(2).argmin(1)
    # |x - thing|^2 - |x - wall|^2 at each pixel: what covering it with the object would change
    change = (things.square().sum(1)[:, None] - 2 * torch.einsum("ncp,hc->nhp", x, things)) - (
        walls[wall].square().sum(1)[:, None] - 2 * torch.einsum("ncp,nc->np", x, walls[wall])
    )[:, None]
    masks = _masks().flatten(1).to(x)
    best = (change @ masks.T).flatten(1).argmin(1)  # over (hue, shape)
    return torch.stack([wall, best // len(masks), best % len(masks)], dim=1)


def room_attributes(classes: torch.Tensor) -> torch.Tensor:
    """What a symbol can say of rooms: attributes (N, 3) int64 of ``classes`` (N, 3), hues in bins of four.

    Errors as :func:`render_rooms`.
    """
    classes = _check_classes(classes)
    return torch.cat([classes[:, :2] * ATTRIBUTE_SIZES[0] // HUES, classes[:, 2:]], dim=1)


def _check_classes(classes: torch.Tensor) -> torch.Tensor:
    check_tensor(classes, "classes", floating=False)
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise TypeError(f"classes must be integers, got {classes.dtype}; they count from 0.")
    if classes.dim() != 2 or classes.shape[1] != len(FACTOR_SIZES):
        raise ValueError(f"classes must be (N, 3) for {', '.join(FACTOR_NAMES)}, got {tuple(classes.shape)}.")
    classes = classes.long()
    wrong = (classes < 0) | (classes >= classes.new_tensor(FACTOR_SIZES))
    if bool(wrong.any()):
        row, column = (int(i) for i in wrong.nonzero()[0])
        raise ValueError(
            f"classes[{row}] has {FACTOR_NAMES[column]} {int(classes[row, column])}; "
            f"it must be in 0..{FACTOR_SIZES[column] - 1}."
        )
    return classes
