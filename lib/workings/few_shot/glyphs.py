"""Stroke glyphs: invented alphabets, characters and handwriting, for few-shot learning without a download.

The structure is that of Omniglot (Lake, Salakhutdinov and Tenenbaum, Science 2015, doi 10.1126/science.aab3050): alphabets hold
characters, and each character is drawn once by each of several drawers. An *alphabet* is eight cubic Bezier strokes, a *character*
one to four of them put together, a *drawer* a slant, a size and a pen. Characters of one alphabet share strokes, so they are
harder to tell apart than characters of different alphabets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from workings.checks import as_finite_array, as_float, as_host_array, as_int, as_numpy_generator

STROKES = 4  # of a character, at most
PRIMITIVES = 8  # strokes that an alphabet is made of
POINTS = 20  # of a stroke, where the pen leaves ink
EDGE = 1.15  # the picture shows [-EDGE, EDGE] in both directions
INK = 1.2
_STROKE_COUNTS = (2.0, 4.0, 3.0, 1.0)  # Dirichlet weights of 1, 2, 3 and 4 strokes
_BLOCK = 250  # images drawn at a time: memory does not grow with their number


class Glyphs(NamedTuple):
    """Pictures and what they show, in the order alphabet, character, drawer: N = alphabets x characters x drawers.

    ``images`` (N, 1, size, size) float32 in [0, 1], 0 is paper; ``characters`` (N,) int64 counted through all alphabets;
    ``alphabets`` (N,) and ``drawers`` (N,) int64. Every alphabet has drawers of its own.
    """

    images: np.ndarray
    characters: np.ndarray
    alphabets: np.ndarray
    drawers: np.ndarray


def make_glyphs(
    alphabets: int,
    characters: int,
    drawers: int,
    generator: np.random.Generator,
    *,
    size: int = 28,
    noise: float = 0.13,
    shift: float = 0.06,
    drawer_spread: float = 1.0,
) -> Glyphs:
    """Draw ``characters`` characters of each of ``alphabets`` alphabets, each by ``drawers`` drawers, ``size`` pixels wide.

    ``noise`` moves the control points of every single drawing and ``shift`` the whole drawing (standard deviations; the picture
    is 2.3 wide), ``drawer_spread`` scales how much drawers differ. With all three at 0 every drawing of a character is the same.
    Equal generators give equal pictures, bit for bit. Raises ``ValueError`` for a number below 1 or a negative spread.
    """
    n_alphabets = as_int(alphabets, "alphabets", minimum=1)
    n_characters = as_int(characters, "characters", minimum=1)
    n_drawers = as_int(drawers, "drawers", minimum=1)
    size = as_int(size, "size", minimum=2)
    noise = as_float(noise, "noise", minimum=0.0)
    shift = as_float(shift, "shift", minimum=0.0)
    spread = as_float(drawer_spread, "drawer_spread", minimum=0.0)
    rng = as_numpy_generator(generator)
    strokes, present = _characters(rng, n_alphabets, n_characters)
    affine, pen, sloppiness = _drawers(rng, n_alphabets, n_drawers, spread)
    shape = (n_alphabets, n_characters, n_drawers)
    count = n_alphabets * n_characters * n_drawers
    drawn = np.einsum("acskx,adxy->acdsky", strokes, affine)
    wobble = rng.standard_normal((*shape, STROKES, 1, 2)) + rng.standard_normal((*shape, STROKES, 4, 2))
    drawn += noise * sloppiness[:, None, :, None, None, None] * wobble
    drawn += shift * rng.standard_normal((*shape, 1, 1, 2))
    each = np.indices(shape).reshape(3, count)
    images = draw_strokes(
        drawn.reshape(count, STROKES, 4, 2),
        np.broadcast_to(present[:, :, None], (*shape, STROKES)).reshape(count, STROKES),
        pen[each[0], each[2]],
        size,
    )
    return Glyphs(images[:, None], each[0] * n_characters + each[1], each[0], each[2])


def draw_strokes(control: np.ndarray, present: np.ndarray, pen: np.ndarray, size: int = 28) -> np.ndarray:
    """Pictures (N, size, size) float32 in [0, 1] of cubic Bezier strokes; ink is near 1, paper 0.

    ``control`` (N, S, 4, 2): control points, x to the right and y up, of which the picture shows [-1.15, 1.15] each way.
    ``present`` (N, S) bool: which strokes are drawn. ``pen`` (N,): radius of the pen (standard deviation of its blob), above 0.
    The ink of 20 points per stroke adds up in t, and the picture is 1 - exp(-1.2 t): since a Gaussian blob is a product of a
    row and a column, t is one matrix product. Raises ``ValueError`` for other shapes.
    """
    control = as_finite_array(control, "control", ndim=4)
    n, strokes = control.shape[:2]
    if control.shape[2:] != (4, 2):
        raise ValueError(f"control must have shape (N, S, 4, 2), four points (x, y) per stroke, got {control.shape}.")
    present = as_host_array(present, "present")
    if present.dtype != bool:
        raise TypeError(f"present must hold True or False, got {present.dtype}; compare it with 0 first.")
    if present.shape != (n, strokes):
        raise ValueError(f"present must have shape {(n, strokes)}, one entry per stroke, got {present.shape}.")
    pen = as_finite_array(pen, "pen", ndim=1)
    if pen.shape != (n,) or (pen <= 0).any():
        raise ValueError(
            f"pen must hold {n} radii above 0, one per picture, got shape {pen.shape}, least {pen.min():g}."
        )
    size = as_int(size, "size", minimum=2)
    points = _curve(control).reshape(n, strokes * POINTS, 2).astype(np.float32)
    inked = np.repeat(present, POINTS, axis=1).astype(np.float32)[:, :, None]
    grid = np.linspace(-EDGE, EDGE, size).astype(np.float32)
    narrow = (1 / (pen * np.sqrt(2.0))).astype(np.float32)[:, None, None]
    images = np.empty((n, size, size), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        part = slice(start, start + _BLOCK)
        column = _blob(points[part, :, :1], grid, narrow[part])
        row = _blob(points[part, :, 1:], grid[::-1], narrow[part]) * inked[part]
        images[part] = 1 - np.exp(np.float32(-INK) * (row.transpose(0, 2, 1) @ column))
    return images


def _blob(place: np.ndarray, grid: np.ndarray, narrow: np.ndarray) -> np.ndarray:
    """One-dimensional Gaussian blobs (n, points, size) float32, height 1; ``narrow`` is 1 / (sqrt(2) sigma)."""
    distance = place - grid
    distance *= narrow
    distance *= -distance
    return np.exp(distance, out=distance)


def _curve(control: np.ndarray) -> np.ndarray:
    """Points (..., POINTS, 2) of the cubic curves of ``control`` (..., 4, 2), evenly spaced in the curve's parameter."""
    return _bernstein(np.linspace(0.0, 1.0, POINTS)) @ control


def _bernstein(t: np.ndarray) -> np.ndarray:
    """Weights (len(t), 4) of the four control points at the curve's parameter ``t``."""
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=-1)


def _characters(rng: np.random.Generator, n_alphabets: int, n_characters: int) -> tuple[np.ndarray, np.ndarray]:
    """Control points (A, C, STROKES, 4, 2) of the characters, and which strokes they have (A, C, STROKES)."""
    primitives = _primitives(rng, n_alphabets)
    law = rng.dirichlet(_STROKE_COUNTS, n_alphabets).cumsum(axis=1)[:, None, :-1]  # (A, 1, 3)
    shape = (n_alphabets, n_characters, STROKES)
    count = 1 + (rng.random((*shape[:2], 1)) > law).sum(axis=2)
    present = np.arange(STROKES) < count[:, :, None]
    chosen = primitives[np.arange(n_alphabets)[:, None, None], rng.integers(PRIMITIVES, size=shape)]
    chosen[..., 0] *= np.where(rng.random(shape) < 0.5, -1.0, 1.0)[..., None]  # half of them mirrored
    attached = rng.random(shape) < 0.6
    end = 3 * rng.integers(2, size=shape)  # which end of the new stroke touches
    at = _bernstein(np.array([0.0, 0.5, 1.0]))[rng.integers(3, size=shape)]  # start, middle or end of the old one
    loose = rng.uniform(-0.35, 0.35, (*shape, 2))
    earlier = rng.random(shape)
    a, c = np.indices(shape[:2])
    for stroke in range(1, STROKES):
        old = chosen[a, c, (earlier[:, :, stroke] * stroke).astype(int)]  # (A, C, 4, 2)
        touched = (at[:, :, stroke, None] @ old)[:, :, 0]
        move = np.where(
            attached[:, :, stroke, None], touched - chosen[a, c, stroke, end[:, :, stroke]], loose[:, :, stroke]
        )
        chosen[:, :, stroke] += move[:, :, None]
    drawn = np.where(present[..., None, None], _curve(chosen), np.nan)
    low, high = np.nanmin(drawn, axis=(2, 3)), np.nanmax(drawn, axis=(2, 3))  # (A, C, 2)
    longer = (high - low).max(axis=2)[:, :, None, None, None]
    return (chosen - ((low + high) / 2)[:, :, None, None]) * (1.5 / longer), present


def _primitives(rng: np.random.Generator, n_alphabets: int) -> np.ndarray:
    """The strokes (A, PRIMITIVES, 4, 2) that alphabets are made of, centred: a chord, its thirds moved sideways."""
    shape = (n_alphabets, PRIMITIVES)
    angle, length = rng.uniform(0.0, np.pi, shape), rng.uniform(0.5, 1.1, shape)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (A, 8, 2)
    aside = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    bulge = np.zeros((*shape, 4))
    bulge[..., 1:3] = rng.normal(0.0, 0.55, (*shape, 2))
    place = np.array([-1 / 2, -1 / 6, 1 / 6, 1 / 2])
    return length[..., None, None] * (place[:, None] * along[..., None, :] + bulge[..., None] * aside[..., None, :])


def _drawers(
    rng: np.random.Generator, n_alphabets: int, n_drawers: int, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each drawer's matrix (A, D, 2, 2), from the right, radius of the pen (A, D) and sloppiness (A, D)."""
    shape = (n_alphabets, n_drawers)
    turn, shear = spread * rng.normal(0.0, 0.13, shape), spread * rng.normal(0.0, 0.15, shape)
    scale = np.exp(spread * rng.normal(0.0, 0.12, (*shape, 2)))
    pen = np.maximum(0.0725 + spread * rng.uniform(-0.0175, 0.0175, shape), 0.02)
    sloppiness = np.exp(spread * rng.normal(0.0, 0.35, shape))
    cos, sin = np.cos(turn), np.sin(turn)
    first = scale[..., 0, None] * np.stack([cos, sin], axis=-1)
    second = scale[..., 1, None] * np.stack([shear * cos - sin, shear * sin + cos], axis=-1)
    return np.stack([first, second], axis=-2), pen, sloppiness
