"""How the arm's world can look: six factors of appearance, their values, and the domains of the transfer."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

import numpy as np

from workings.disentangling.domains import DomainSpec, assert_conjunction_heldout

FACTORS = ("table", "wall", "object", "size", "light", "camera")
HUES, OBJECT_HUES = 8, 6
SIZES = (0.03, 0.04, 0.05)  # radius of the object, m
LIGHTS = (0.4, 0.6, 0.8)  # of the lamp, in [0, 1]
AZIMUTHS = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0)  # of the camera around the table's middle, degrees
COUNTS = (HUES, HUES, OBJECT_HUES, len(SIZES), len(LIGHTS), len(AZIMUTHS))
NOMINAL = AZIMUTHS.index(0.0)


class Look(NamedTuple):
    """A look in units of the renderer: colours (red, green, blue) in [0, 1], ``size`` in m, ``azimuth`` in radians."""

    table: tuple[float, float, float]
    wall: tuple[float, float, float]
    object: tuple[float, float, float]
    size: float
    light: float
    azimuth: float


def look_of(row: np.ndarray) -> Look:
    """The look with the factor values ``row`` (6,), whole numbers in the order of :data:`FACTORS`.

    Tables and walls are pale, objects strong, so that an object stands out from a table of its own hue. ``ValueError`` for
    a value that there is not.
    """
    row = np.asarray(row)
    if row.dtype.kind not in "iu":
        raise TypeError(f"a look must hold whole numbers, got {row.dtype}.")
    if row.shape != (len(FACTORS),):
        raise ValueError(f"a look must be ({len(FACTORS)},), one value for each of {FACTORS}, got {row.shape}.")
    for name, value, count in zip(FACTORS, row, COUNTS, strict=True):
        if not 0 <= value < count:
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {value}.")
    table, wall, thing, size, light, camera = (int(value) for value in row)
    return Look(
        colorsys.hsv_to_rgb(table / HUES, 0.5, 0.6), colorsys.hsv_to_rgb(wall / HUES, 0.35, 0.9),
        colorsys.hsv_to_rgb(thing / OBJECT_HUES, 1.0, 1.0), SIZES[size], LIGHTS[light], float(np.deg2rad(AZIMUTHS[camera])),
    )  # fmt: skip


def check(domain: DomainSpec) -> DomainSpec:
    """``domain`` if it names :data:`FACTORS` with values that there are, else ``ValueError``."""
    if not isinstance(domain, DomainSpec):
        raise TypeError(f"domain must be a DomainSpec, got {type(domain).__name__}.")
    if domain.names != FACTORS:
        raise ValueError(f"domain must name the factors {FACTORS}, got {domain.names}.")
    for name, count, column in zip(FACTORS, COUNTS, domain.indices().T, strict=True):
        if column.min() < 0 or column.max() >= count:
            raise ValueError(f"{name} must be from 0 to {count - 1}, got {column.min()} to {column.max()}.")
    return domain


def domains() -> dict[str, DomainSpec]:
    """ "unsupervised" (every look), "source" and "target".

    The source has three hues of table and of wall and the nominal camera, the target three other hues of each and a
    camera turned by 10 degrees; objects, sizes and lights are all in both. So no conjunction of the target is in the
    source, nor any pair of its tables with an object, which is checked here; every single value is in the unsupervised
    pictures. The split is ours, after the simulated transfer of Higgins et al., arXiv 1707.08475.
    """
    rest = dict(zip(FACTORS[2:5], map(range, COUNTS[2:5]), strict=True))
    made = {
        "unsupervised": DomainSpec.product(**dict(zip(FACTORS, map(range, COUNTS), strict=True))),
        "source": DomainSpec.product(table=(0, 1, 2), wall=(0, 1, 2), **rest, camera=(NOMINAL,)),
        "target": DomainSpec.product(table=(4, 5, 6), wall=(4, 5, 6), **rest, camera=(AZIMUTHS.index(10.0),)),
    }
    assert_conjunction_heldout(made["source"], made["target"], made["unsupervised"])
    return made
