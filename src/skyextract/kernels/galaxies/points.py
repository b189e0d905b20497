"""The points at which models are fitted: pixels in the middle, means of squares around it.

Away from the centre a model changes little within a pixel or two; its image there costs as much
as that of the middle, in squares of twice the side a quarter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.render import Grid
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I8

N_PARTS = 10
"""Grids at most, each with squares of twice the side; the last one covers the whole box."""
START = 9
"""Element of a part behind those of a `Grid`: its first point."""
PART = 10
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)
_0 = np.float32(0.0)
SHORTER = 0.7
"""A grid over this part of the side of the box is all there is."""


@helper
def grid_of(box: I8, step: int) -> Grid:
    """Return the squares of side `step` that fit into a box of x, y, width, height."""
    return Grid(box[0], box[1], step, box[2] // step, box[3] // step, 0, 0, 0, 0)


@helper
def part_of(parts: I8, k: int) -> Grid:
    """Return a grid of the points."""
    p = parts[k]
    return Grid(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8])


@helper
def points_in(parts: I8) -> int:
    """Return the number of points."""
    n = 0
    for k in range(N_PARTS):
        n += parts[k, 3] * parts[k, 4]
    return n


@helper
def arrange_points(box: I8, x: float, y: float, step: int, half: float, parts: I8) -> int:
    """Write grids about a position, fine ones within `half` pixels of it, and return their points.

    Parameters
    ----------
    box : (4,) int64
        First pixel x, y, width and height of what all grids together cover.
    step : int
        Side of the squares in the middle.
    half : float
        Half side of the middle; each further grid reaches twice as far, and has squares of twice
        the side.
    parts : (N_PARTS, PART) int64
        Written: grids, whose squares below the one before need not be drawn, and first points.
    """
    parts[:] = 0
    last = 0
    while last < N_PARTS - 1 and 2.0 * half * 2.0**last < SHORTER * max(box[2], box[3]):
        last += 1
    for k in range(N_PARTS):
        parts[k, 2] = step * 2 ** min(k, last)
    whole = grid_of(box, step * 2**last)
    parts[last, 3], parts[last, 4] = whole.n_x, whole.n_y
    for axis in range(2):
        # pixels that fill no square are left out at the end that is farther from the position
        middle, n = x if axis == 0 else y, box[2 + axis]
        before, behind = middle - box[axis], box[axis] + n - 1 - middle
        rest = n - parts[last, 3 + axis] * parts[last, 2]
        parts[last, axis] = box[axis] + (rest if before > behind + rest else 0)
    for k in range(last - 1, -1, -1):
        side, reach = parts[k + 1, 2], half * 2.0**k
        for axis in range(2):
            middle, first, n = x if axis == 0 else y, parts[k + 1, axis], parts[k + 1, 3 + axis]
            low = int((middle - reach - first) // side)
            high = int((middle + reach - first) // side) + 1
            low, high = min(max(low, 0), n), min(max(high, 0), n)
            parts[k + 1, 5 + 2 * axis], parts[k + 1, 6 + 2 * axis] = low, high
            parts[k, axis], parts[k, 3 + axis] = first + side * low, 2 * (high - low)
    for k in range(1, N_PARTS):
        parts[k, START] = parts[k - 1, START] + parts[k - 1, 3] * parts[k - 1, 4]
    return points_in(parts)


@helper
def arrange_within(
    box: I8, x: float, y: float, step: int, half: float, room: int, parts: I8
) -> int:
    """Do the same with squares in the middle of side `step`, or more where `room` is scarce."""
    n = arrange_points(box, x, y, step, half, parts)
    while n > room:
        step += 1
        n = arrange_points(box, x, y, step, half, parts)
    return n


@helper
def sum_squares(pixels: F4, grid: Grid, parts: I8, out: F4) -> None:
    """Write the sums of pixels, which are those of `grid`, in the squares of all points."""
    for k in range(N_PARTS):
        part, width, step = part_of(parts, k), grid.n_x, parts[k, 2]
        for iy in range(part.n_y):
            at = (part.y - grid.y + iy * step) * width + part.x - grid.x
            first, to = np.uint64(at), np.uint64(parts[k, START] + iy * part.n_x)
            if step == 1:
                for ix in range(part.n_x):
                    out[to + np.uint64(ix)] = pixels[first + np.uint64(ix)]
            elif step == 2:
                above = np.uint64(at + width)
                for ix in range(part.n_x):
                    i, j = first + np.uint64(2 * ix), above + np.uint64(2 * ix)
                    both = pixels[i] + pixels[i + _1], pixels[j] + pixels[j + _1]
                    out[to + np.uint64(ix)] = both[0] + both[1]
            elif step == 4:
                for ix in range(part.n_x):
                    out[to + np.uint64(ix)] = _0
                for jy in range(step):
                    row = first + np.uint64(jy * width)
                    for ix in range(part.n_x):
                        i = row + np.uint64(4 * ix)
                        both = pixels[i] + pixels[i + _1], pixels[i + _2] + pixels[i + _3]
                        out[to + np.uint64(ix)] += both[0] + both[1]
            elif step % 4 == 0:
                for ix in range(part.n_x):
                    out[to + np.uint64(ix)] = _0
                for jy in range(step):
                    row = first + np.uint64(jy * width)
                    for ix in range(part.n_x):
                        total = _0
                        for jx in range(ix * step, (ix + 1) * step, 4):
                            i = row + np.uint64(jx)
                            both = pixels[i] + pixels[i + _1], pixels[i + _2] + pixels[i + _3]
                            total += both[0] + both[1]
                        out[to + np.uint64(ix)] += total
            else:
                for ix in range(part.n_x):
                    total = _0
                    for jy in range(step):
                        for jx in range(step):
                            total += pixels[np.uint64(at + ix * step + jy * width + jx)]
                    out[to + np.uint64(ix)] = total


@helper
def average_squares(pixels: F4, grid: Grid, parts: I8, out: F4) -> None:
    """Write the means of pixels, which are those of `grid`, in the squares of all points."""
    sum_squares(pixels, grid, parts, out)
    for k in range(N_PARTS):
        share, start = np.float32(1.0 / parts[k, 2] ** 2), np.uint64(parts[k, START])
        for i in range(parts[k, 3] * parts[k, 4]):
            out[start + np.uint64(i)] *= share


@helper
def cover_points(parts: I8, out: F4) -> None:
    """Write the pixels that each point stands for: none if its square need not be drawn."""
    for k in range(N_PARTS):
        part, start, zero = part_of(parts, k), np.uint64(parts[k, START]), np.float32(0.0)
        area = np.float32(part.step**2)
        for i in range(part.n_x * part.n_y):
            out[start + np.uint64(i)] = area
        for iy in range(part.low, part.high):
            first = start + np.uint64(iy * part.n_x + part.left)
            for ix in range(part.right - part.left):
                out[first + np.uint64(ix)] = zero
