"""Places in footprints that are brighter than the other side of the centre, as stars are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.detection.companions import Footprints, Stars
from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

_N_RING = 16
"""Points of the ring about a place."""


class Blends(NamedTuple):
    """Connected isophotes.

    Attributes
    ----------
    member, begin : int64
        Detections in isophote p are ``member[begin[p]:begin[p + 1]]``.
    box : (n, 4) int64
        First and last row, first and last column of each isophote.
    bright : (n,) int64
        Detections that are looked at.
    """

    member: I8
    begin: I8
    box: I8
    bright: I8


class Sides(NamedTuple):
    """What is looked for.

    Attributes
    ----------
    nearest : float
        Distance from the centre, pixels.
    dark : float
        Most that the filtered image has outside of isophotes.
    least, most : float
        Height above the other side, in an empty sky.
    photons : float
        Variance of one unit of light, in units of that of the sky.
    share : float
        Least height, as a share of the light there, and of the point sources.
    ring, around, along : float
        Radius, pixels, at which the height has fallen below such a share of itself all around, and
        below the other one in front or behind.
    margin : float
        Distance of the other side from the edge of the frame, at least, in pixels.
    ny, nx : int
        Of the frame.
    """

    nearest: float
    dark: float
    least: float
    most: float
    photons: float
    share: float
    ring: float
    around: float
    along: float
    margin: float
    ny: int
    nx: int


@helper
def _at(light: F4, y: float, x: float, dark: float) -> float:
    """Return the light between pixels of a box; `dark` beyond it."""
    j, i = math.floor(y), math.floor(x)
    if j < 0 or i < 0 or j + 1 >= light.shape[0] or i + 1 >= light.shape[1]:
        return dark
    b, a = y - j, x - i
    low = (1.0 - a) * light[j, i] + a * light[j, i + 1]
    high = (1.0 - a) * light[j + 1, i] + a * light[j + 1, i + 1]
    value: float = (1.0 - b) * low + b * high
    return value


@helper
def _of_star(stars: Stars, k: int, cell: int, y: float, x: float) -> float:
    """Return the light of detection k, taken as a point source, in the filtered image."""
    profile = stars.profiles[cell]
    middle = profile.shape[0] // 2
    j = round((y - stars.y[k]) * stars.fineness) + middle
    i = round((x - stars.x[k]) * stars.fineness) + middle
    if j < 0 or i < 0 or j >= profile.shape[0] or i >= profile.shape[0]:
        return 0.0
    value: float = stars.height[k] * profile[j, i]
    return value


@helper
def _height(
    light: F4, top: int, left: int, y: int, x: int, k: int, stars: Stars, sides: Sides
) -> float:
    """Return how much brighter a place is than the other side, if a point source is; else 0."""
    y_centre, x_centre = stars.y[k] - top, stars.x[k] - left
    if (y - y_centre) ** 2 + (x - x_centre) ** 2 < sides.nearest**2:
        return 0.0
    value = light[y, x]
    other = max(_at(light, 2.0 * y_centre - y, 2.0 * x_centre - x, sides.dark), 0.0)
    height = value - other
    noise = math.sqrt(1.0 + sides.photons * 0.5 * (value + other))
    if not (sides.least * noise < height < sides.most and height > sides.share * value):
        return 0.0
    y_other, x_other = 2.0 * stars.y[k] - y - top, 2.0 * stars.x[k] - x - left
    if not (
        sides.margin <= y_other < sides.ny - 1 - sides.margin
        and sides.margin <= x_other < sides.nx - 1 - sides.margin
    ):
        return 0.0
    for b in range(-1, 2):
        for a in range(-1, 2):
            if not (0 <= y + b < light.shape[0] and 0 <= x + a < light.shape[1]):
                continue
            beside = light[y + b, x + a] - max(
                _at(light, 2.0 * y_centre - y - b, 2.0 * x_centre - x - a, sides.dark), 0.0
            )
            if beside > height or (beside == height and (b < 0 or (b == 0 and a < 0))):
                return 0.0
    ring = np.empty(_N_RING)
    for n in range(_N_RING):
        angle = 2.0 * math.pi * n / _N_RING
        dy, dx = sides.ring * math.sin(angle), sides.ring * math.cos(angle)
        ring[n] = _at(light, y + dy, x + dx, sides.dark) - max(
            _at(light, 2.0 * y_centre - y - dy, 2.0 * x_centre - x - dx, sides.dark), 0.0
        )
        if ring[n] > sides.around * height:
            return 0.0
    for n in range(_N_RING // 2):
        if min(ring[n], ring[n + _N_RING // 2]) > sides.along * height:
            return 0.0
    own = _of_star(stars, k, stars.cell[k], y + top, x + left)
    for m in range(stars.begin[k], stars.begin[k + 1]):
        own += _of_star(stars, stars.neighbour[m], stars.cell[k], y + top, x + left)
    return height if value - own > max(sides.share * own, 0.5 * height) else 0.0


@kernel
def lights_off_centre(
    first: int, last: int, blends: Blends, footprints: Footprints, stars: Stars, sides: Sides,
    place: F8,
) -> int:  # fmt: skip
    """Find local maxima of what footprints have above their other side; return their number.

    A galaxy looks the same when it is turned by half a circle about its centre, and so does a
    star; one more star upon them has nothing on the other side.

    Parameters
    ----------
    first, last : int
        Isophotes first to last - 1.
    blends : Blends
    footprints : Footprints
    stars : Stars
        The detections, with their centres.
    sides : Sides
    place : (m, 4) float64
        Output: detection, x, y, height above the other side; as many as there is room for.
    """
    found, width = 0, footprints.width
    least, share, dark = sides.least, sides.share, sides.dark
    for p in range(first, last):
        any_bright = False
        for m in range(blends.begin[p], blends.begin[p + 1]):
            any_bright = any_bright or blends.bright[blends.member[m]] != 0
        if not any_bright:
            continue
        top, left = blends.box[p, 0], blends.box[p, 2]
        shape = (blends.box[p, 1] - top + 1, blends.box[p, 3] - left + 1)
        light = np.full(shape, np.float32(sides.dark), np.float32)
        for m in range(blends.begin[p], blends.begin[p + 1]):
            k = blends.member[m]
            for i in range(footprints.first[k], footprints.first[k + 1]):
                row = footprints.pixel[i] // width
                light[row - top, footprints.pixel[i] - row * width - left] = footprints.filtered[i]
        for m in range(blends.begin[p], blends.begin[p + 1]):
            k = blends.member[m]
            if blends.bright[k] == 0:
                continue
            y_twice, x_twice = 2.0 * (stars.y[k] - top), 2.0 * (stars.x[k] - left)
            for i in range(footprints.first[k], footprints.first[k + 1]):
                if not footprints.filtered[i] > least:
                    continue
                y = footprints.pixel[i] // width
                x = footprints.pixel[i] - y * width
                # Nearly all pixels end here, without a call: `_at` for the other side.
                y_other, x_other = y_twice - (y - top), x_twice - (x - left)
                row, column = math.floor(y_other), math.floor(x_other)
                other = dark
                if 0 <= row < shape[0] - 1 and 0 <= column < shape[1] - 1:
                    b, a = y_other - row, x_other - column
                    low = (1.0 - a) * light[row, column] + a * light[row, column + 1]
                    high = (1.0 - a) * light[row + 1, column] + a * light[row + 1, column + 1]
                    other = (1.0 - b) * low + b * high
                value = light[y - top, x - left]
                if not value - max(other, 0.0) > max(least, share * value):
                    continue
                height = _height(light, top, left, y - top, x - left, k, stars, sides)
                if height > 0.0 and found < place.shape[0]:
                    place[found, 0], place[found, 1], place[found, 2] = k, x, y
                    place[found, 3] = height
                    found += 1
    return found
