"""Places beside point sources where these leave light of the filtered image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


class Footprints(NamedTuple):
    """Pixels of detections.

    Attributes
    ----------
    first : (n + 1,) int64
        Those of detection i are ``first[i]`` to ``first[i + 1]``.
    pixel : (m,) int64
        Index ``y * width + x``.
    filtered : (m,) float32
        The image convolved with the PSF, image units.
    width : int
        Columns of the image.
    """

    first: I8
    pixel: I8
    filtered: F4
    width: int


class Stars(NamedTuple):
    """The detections as point sources.

    Attributes
    ----------
    x, y : (n,) float64
    height : (n,) float64
        Of the peak in the filtered image.
    cell : (n,) int64
        Cell of the frame whose PSF it has.
    profiles : (n_cells, size, size) float32
        The PSF convolved with itself, of peak 1, in its middle pixel.
    fineness : int
        Samples of the profiles per pixel.
    begin : (n + 1,) int64
    neighbour : (m,) int64
        Those about detection i are ``neighbour[begin[i]:begin[i + 1]]``.
    """

    x: F8
    y: F8
    height: F8
    cell: I8
    profiles: F4
    fineness: int
    begin: I8
    neighbour: I8


class Rules(NamedTuple):
    """What is looked for.

    Attributes
    ----------
    nearest, farthest : float
        Distances from the centre, pixels.
    threshold : float
        Least height above what is left at the same distance on average, in an empty sky.
    photons : float
        Variance of one unit of light, in units of that of the sky.
    share : float
        Least height, as a share of the point sources there.
    contrast : float
        Least height, as a multiple of what is left at the same distance on average.
    apart : float
        Distance, pixels, from which on the two do not make one peak amid them, ...
    symmetry : float
        ... and so much of the height on the other side of the centre is a galaxy's.
    """

    nearest: float
    farthest: float
    threshold: float
    photons: float
    share: float
    contrast: float
    apart: float
    symmetry: float


@helper
def _light(stars: Stars, k: int, cell: int, x: float, y: float) -> float:
    """Return the light of a point source at a place of the filtered image."""
    size = stars.profiles.shape[1]
    u = (x - stars.x[k]) * stars.fineness + size // 2
    v = (y - stars.y[k]) * stars.fineness + size // 2
    if not (u >= 0.0 and v >= 0.0 and u < size - 1 and v < size - 1):
        return 0.0
    i, j = int(u), int(v)
    a, b = u - i, v - j
    p = stars.profiles
    low = (1.0 - a) * p[cell, j, i] + a * p[cell, j, i + 1]
    high = (1.0 - a) * p[cell, j + 1, i] + a * p[cell, j + 1, i + 1]
    return float(stars.height[k] * ((1.0 - b) * low + b * high))


@helper
def _highest_about(
    footprints: Footprints, begin: int, rings: I8, left: F8, place: tuple[float, float]
) -> float:
    """Return the highest that is left in the pixels beside a place; 0 where there are none."""
    highest = 0.0
    for i in range(rings.size):
        if rings[i] >= 0:
            pixel = footprints.pixel[begin + i]
            row = pixel // footprints.width
            column = pixel - row * footprints.width
            if abs(column - place[0]) <= 1.0 and abs(row - place[1]) <= 1.0:
                highest = max(highest, left[i])
    return highest


@kernel
def centre_peaks(footprints: Footprints, peak: I8, place: F8) -> None:
    """Find the vertices of parabolas through the peaks of detections.

    Parameters
    ----------
    footprints : Footprints
    peak : (n,) int64
        Pixels.
    place : (n, 3) float64
        Output: x, y and height.
    """
    around = np.empty(5)
    width = footprints.width
    for k in range(peak.size):
        around[:] = np.nan
        for i in range(footprints.first[k], footprints.first[k + 1]):
            step = footprints.pixel[i] - peak[k]
            if step == 0:
                around[0] = footprints.filtered[i]
            elif step == -1:
                around[1] = footprints.filtered[i]
            elif step == 1:
                around[2] = footprints.filtered[i]
            elif step == -width:
                around[3] = footprints.filtered[i]
            elif step == width:
                around[4] = footprints.filtered[i]
        height = around[0]
        for axis in range(2):
            place[k, axis] = peak[k] // width if axis else peak[k] % width
            low, high = around[2 * axis + 1], around[2 * axis + 2]
            bend = 2.0 * around[0] - low - high
            if bend > 0.0:
                slope = 0.5 * (high - low)
                place[k, axis] += min(max(slope / bend, -0.5), 0.5)
                height += 0.5 * min(slope * slope / bend, 0.25 * bend)
        place[k, 2] = height


@kernel
def brightest_beside(
    hosts: I8, footprints: Footprints, stars: Stars, rules: Rules, place: F8
) -> None:
    """Find the brightest place that is left beside each of some point sources.

    Parameters
    ----------
    hosts : (k,) int64
        Rows of detections.
    footprints : Footprints
    stars : Stars
    rules : Rules
    place : (k, 2) float64
        Output: x, y; NaN where there is none.
    """
    reach = int(rules.farthest) + 2
    total, number = np.zeros(reach + 1), np.zeros(reach + 1)
    farthest, nearest = rules.farthest * rules.farthest, rules.nearest * rules.nearest
    for n in range(hosts.size):
        k = hosts[n]
        place[n, 0] = place[n, 1] = np.nan
        begin, end = footprints.first[k], footprints.first[k + 1]
        models, left = np.empty((2, end - begin))
        rings = np.full(end - begin, -1)
        total[:], number[:] = 0.0, 0.0
        for i in range(begin, end):
            row = footprints.pixel[i] // footprints.width
            y = float(row)
            x = float(footprints.pixel[i] - row * footprints.width)
            square = (x - stars.x[k]) ** 2 + (y - stars.y[k]) ** 2
            if square > farthest:
                continue
            light = _light(stars, k, stars.cell[k], x, y)
            for m in range(stars.begin[k], stars.begin[k + 1]):
                light += _light(stars, stars.neighbour[m], stars.cell[k], x, y)
            ring = int(math.sqrt(square) + 0.5)
            models[i - begin] = light
            left[i - begin] = footprints.filtered[i] - light
            total[ring] += left[i - begin]
            number[ring] += 1.0
            if square >= nearest:
                rings[i - begin] = ring
        best, brightest = 0.0, -1
        for i in range(end - begin):
            ring = rings[i]
            if ring < 0:
                continue
            height, light = left[i], max(models[i], 0.0)
            mean = max((total[ring] - height) / max(number[ring] - 1.0, 1.0), 0.0)
            above = height - mean
            if (
                above > best
                and above > rules.threshold * math.sqrt(1.0 + rules.photons * (light + mean))
                and height > rules.share * light
                and height > rules.contrast * mean
            ):
                best, brightest = above, i
        if brightest < 0:
            continue
        pixel = footprints.pixel[begin + brightest]
        x, y = float(pixel % footprints.width), float(pixel // footprints.width)
        if math.hypot(x - stars.x[k], y - stars.y[k]) > rules.apart:
            beyond = 2.0 * stars.x[k] - x, 2.0 * stars.y[k] - y
            opposite = _highest_about(footprints, begin, rings, left, beyond)
            if opposite > rules.symmetry * left[brightest]:
                continue
        place[n, 0], place[n, 1] = x, y
