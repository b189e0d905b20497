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
def _draw(stars: Stars, k: int, cell: int, x_low: int, y_low: int, light: F8) -> None:
    """Add a point source to a square of the filtered image.

    The pixels are whole samples apart: all have the same weights of the four samples about them.
    """
    side, fineness = light.shape[0], stars.fineness
    profile, height = stars.profiles[cell], stars.height[k]
    size = profile.shape[0]
    u = (x_low - stars.x[k]) * fineness + size // 2
    v = (y_low - stars.y[k]) * fineness + size // 2
    first, row = math.floor(u), math.floor(v)
    a, b = u - first, v - row
    begin = max(0, -(first // fineness))
    end = min(side, (size - 2 - first) // fineness + 1)
    for j in range(max(0, -(row // fineness)), min(side, (size - 2 - row) // fineness + 1)):
        low, high, out = profile[row + j * fineness], profile[row + j * fineness + 1], light[j]
        for i in range(begin, end):
            at = first + i * fineness
            out[i] += height * (
                (1.0 - b) * ((1.0 - a) * low[at] + a * low[at + 1])
                + b * ((1.0 - a) * high[at] + a * high[at + 1])
            )


@helper
def _highest_about(left: F8, x: float, y: float) -> float:
    """Return the highest that is left in the pixels beside a place of the square; at least 0."""
    highest = 0.0
    for j in range(max(0, math.ceil(y - 1.0)), min(left.shape[0], math.floor(y + 1.0) + 1)):
        for i in range(max(0, math.ceil(x - 1.0)), min(left.shape[0], math.floor(x + 1.0) + 1)):
            highest = max(highest, left[j, i])
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
    side, width = 2 * reach + 1, footprints.width
    light, left = np.empty((2, side, side))
    total, number = np.empty((2, reach + 1))
    farthest, nearest = rules.farthest * rules.farthest, rules.nearest * rules.nearest
    for n in range(hosts.size):
        k = hosts[n]
        place[n, 0] = place[n, 1] = np.nan
        x_low, y_low = round(stars.x[k]) - reach, round(stars.y[k]) - reach
        x_star, y_star = stars.x[k] - x_low, stars.y[k] - y_low
        light[:], left[:] = 0.0, -np.inf
        total[:], number[:] = 0.0, 0.0
        _draw(stars, k, stars.cell[k], x_low, y_low, light)
        for m in range(stars.begin[k], stars.begin[k + 1]):
            _draw(stars, stars.neighbour[m], stars.cell[k], x_low, y_low, light)
        row, start, highest = 0, 0, 0.0
        for i in range(footprints.first[k], footprints.first[k + 1]):
            pixel = footprints.pixel[i]
            if not start <= pixel < start + width:  # a division takes long
                row = pixel // width
                start = row * width
            x, y = pixel - start - x_low, row - y_low
            square = (x - x_star) ** 2 + (y - y_star) ** 2
            if square > farthest:
                continue
            rest = footprints.filtered[i] - light[y, x]
            ring = int(math.sqrt(square) + 0.5)
            total[ring] += rest
            number[ring] += 1.0
            if square >= nearest:
                left[y, x] = rest
                highest = max(highest, rest)
        if highest <= rules.threshold:
            continue
        best, best_x, best_y = 0.0, -1, -1
        for y in range(side):
            for x in range(side):
                height, own = left[y, x], max(light[y, x], 0.0)
                if height <= rules.threshold:
                    continue
                ring = int(math.sqrt((x - x_star) ** 2 + (y - y_star) ** 2) + 0.5)
                mean = max((total[ring] - height) / max(number[ring] - 1.0, 1.0), 0.0)
                above = height - mean
                if (
                    above > best
                    and above > rules.threshold * math.sqrt(1.0 + rules.photons * (own + mean))
                    and height > rules.share * own
                    and height > rules.contrast * mean
                ):
                    best, best_x, best_y = above, x, y
        if best_x < 0:
            continue
        if math.hypot(best_x - x_star, best_y - y_star) > rules.apart:
            opposite = _highest_about(left, 2.0 * x_star - best_x, 2.0 * y_star - best_y)
            if opposite > rules.symmetry * left[best_y, best_x]:
                continue
        place[n, 0], place[n, 1] = best_x + x_low, best_y + y_low
