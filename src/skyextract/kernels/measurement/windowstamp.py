"""Large Gaussian windows, summed on a copy of their pixels with vector instructions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper
from skyextract.kernels.measurement.pixel import CORRECT, left_out

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

STAMP_MARGIN = 30
"""Larger windows are summed on a copy of their pixels, with one beside for so many of the radius:
there the centroid may go without another copy, and opposite pixels are there."""


class Stamp(NamedTuple):
    """Pixels about a source, for the windows of all iterations, and work space.

    Attributes
    ----------
    values : (side, side)
        Column by column: the rows of a column side by side, for vector instructions.  NaN where
        a pixel is left out.
    n_lost : (side,)
        Number of these in each column.
    place : (4,)
        First column and row, number of columns and of rows.  0 columns: nothing is known yet.
    rows : (4, side)
        For each row of a window: square of its distance in y, sum of its weighted values, and of
        these times their distance in x; values of a column.
    """

    values: F8
    n_lost: I8
    place: I8
    rows: F8


@helper
def stamp_side(radius: float) -> int:
    """Return the side of the stamp for windows of this radius."""
    return 2 * (int(radius) + 3 + int(radius) // STAMP_MARGIN)


@helper
def fill_stamp(
    pixels: Any, labels: Any, mask: int, source: int, xmin: int, xmax: int, ymin: int, ymax: int,
    margin: int, stamp: Stamp,
) -> None:  # fmt: skip
    """Copy the pixels of a window, and some about it."""
    height, width = pixels.shape
    values, n_lost, place, _ = stamp
    x0, x1 = max(xmin - margin, 0), min(xmax + margin, width)
    y0, y1 = max(ymin - margin, 0), min(ymax + margin, height)
    # A window beyond the first column: a negative end would count from the last.
    x1, y1 = max(x1, x0), max(y1, y0)
    place[0], place[1], place[2], place[3] = x0, y0, x1 - x0, y1 - y0
    n_lost[:] = 0
    for py in range(y0, y1):
        line = pixels[py, x0:x1]
        owners = labels[py, x0:x1]
        for u in range(len(line)):
            lost = left_out(np.float64(line[u]), owners[u], mask, source)
            values[u, py - y0] = math.nan if lost else np.float64(line[u])
            n_lost[u] += int(lost)


@helper
def _completed(stamp: Stamp, mask: int, mx: float, my: float, px: int, ymin: int, n: int) -> Any:
    """Return n pixels of a column; those that are left out are `replacement` or 0."""
    values, _, place, rows = stamp
    line, out = values[px - place[0], ymin - place[1] : ymin - place[1] + n], rows[3, :n]
    for v in range(n):
        out[v] = 0.0 if line[v] != line[v] else line[v]
    u = int(2.0 * mx + 0.49999 - px) - place[0]
    if mask != CORRECT or not 0 <= u < place[2]:
        return out
    opposite = values[u]
    twice = 2.0 * my + 0.49999
    for v in range(n):
        w = int(twice - (ymin + v)) - place[1]
        if line[v] != line[v] and 0 <= w < place[3]:
            value = opposite[w]
            out[v] = 0.0 if value != value else value
    return out


@helper
def offset_of_stamp(
    stamp: Stamp, mask: int, mx: float, my: float, radius: float, exponent: float,
    xmin: int, xmax: int, ymin: int, ymax: int,
) -> Any:  # fmt: skip
    """Return what `windowed._offset` does, of a large window.

    Each row is summed from the left to the right as there, all rows at once.
    """
    inner2 = max(radius - 0.75, 0.0) ** 2
    outer2 = (radius + 0.75) ** 2
    x0, y0 = stamp.place[0], stamp.place[1]
    n = max(ymax - ymin, 0)
    height2, row, row_x = stamp.rows[0, :n], stamp.rows[1, :n], stamp.rows[2, :n]
    for v in range(n):
        height2[v] = (ymin + v - my) * (ymin + v - my)
    row[:] = 0.0
    row_x[:] = 0.0
    for px in range(xmin, xmax):
        dx = px - mx
        dx2 = dx * dx
        if dx2 >= outer2:
            continue
        light = math.exp(-exponent * dx * dx)
        if stamp.n_lost[px - x0] > 0:
            line = _completed(stamp, mask, mx, my, px, ymin, n)
        else:
            line = stamp.values[px - x0, ymin - y0 : ymin - y0 + n]
        # Rows of the window, and those of them where its edge is not.
        half = math.sqrt(outer2 - dx2)
        first = min(max(math.ceil(my - half) - ymin, 0), n)
        past = max(min(math.floor(my + half) + 1 - ymin, n), first)
        half = math.sqrt(inner2 - dx2) if dx2 < inner2 else -1.0
        inner = min(max(math.ceil(my - half) - ymin, first), past)
        outer = max(min(math.floor(my + half) + 1 - ymin, past), inner)
        for a, b in ((first, inner), (outer, past)):
            piece, up, sums, sums_x = line[a:b], height2[a:b], row[a:b], row_x[a:b]
            for v in range(len(piece)):
                ramp = min(max(0.5 + radius - math.sqrt(dx2 + up[v]), 0.0), 1.0)
                value = light * ramp * piece[v]
                sums[v] += value
                sums_x[v] += value * dx
        piece, sums, sums_x = line[inner:outer], row[inner:outer], row_x[inner:outer]
        for v in range(len(piece)):
            value = light * piece[v]
            sums[v] += value
            sums_x[v] += value * dx
    total = sx = sy = 0.0
    for v in range(n):
        dy = ymin + v - my
        light = math.exp(-exponent * dy * dy)
        total += light * row[v]
        sx += light * row_x[v]
        sy += light * row[v] * dy
    if total > 0.0:
        return total, sx / total, sy / total
    return total, 0.0, 0.0
