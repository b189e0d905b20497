"""Points on a grid: nearest ones, patterns of neighbours, scores of similarities."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.astrometry.points import Cells, Patterns
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8


@kernel
def _clamped(value: float, origin: float, size: float, n: int) -> int:
    """Return the cell of a coordinate, clamped to the grid."""
    cell = (value - origin) / size
    if cell < 0.0:
        return 0
    if cell >= n:
        return n - 1
    return int(cell)


@kernel
def _column(cells: Cells, x: float) -> int:
    return _clamped(x, cells.left, cells.size, cells.nx)


@kernel
def _row(cells: Cells, y: float) -> int:
    return _clamped(y, cells.low, cells.size, cells.ny)


@kernel
def _cell(cells: Cells, x: float, y: float) -> int:
    return _row(cells, y) * cells.nx + _column(cells, x)


@kernel
def fill_cells(cells: Cells) -> None:
    """Sort points into cells: fill `start` and `order`."""
    x, y, nx, start = cells.x, cells.y, cells.nx, cells.start
    n = x.shape[0]
    for c in range(start.shape[0]):
        start[c] = 0
    for i in range(n):
        c = _cell(cells, x[i], y[i])
        start[c + 1] += 1
    for c in range(nx * cells.ny):
        start[c + 1] += start[c]
    for i in range(n - 1, -1, -1):
        c = _cell(cells, x[i], y[i])
        start[c + 1] -= 1
        cells.order[start[c + 1]] = i
    for c in range(nx * cells.ny):
        start[c] = start[c + 1]
    start[nx * cells.ny] = n


@kernel
def nearest_of(px: float, py: float, limit: float, cells: Cells) -> tuple[int, float]:
    """Return the nearest point within `limit` and its squared distance; -1 if none."""
    best = limit * limit
    index = -1
    x, y, nx = cells.x, cells.y, cells.nx
    i0 = _column(cells, px - limit)
    i1 = _column(cells, px + limit)
    j0 = _row(cells, py - limit)
    j1 = _row(cells, py + limit)
    for j in range(j0, j1 + 1):
        for k in range(cells.start[j * nx + i0], cells.start[j * nx + i1 + 1]):
            m = cells.order[k]
            d2 = (x[m] - px) * (x[m] - px) + (y[m] - py) * (y[m] - py)
            if d2 <= best and (d2 < best or index < 0 or m < index):
                best = d2
                index = m
    return index, best


@kernel
def nearest(px: F8, py: F8, limit: F8, cells: Cells, index: I8, distance2: F8) -> None:
    """For each (px, py) find the nearest grid point within `limit`.

    `index` is -1 where there is none; NaN coordinates have none.
    """
    for i in range(px.shape[0]):
        index[i] = -1
        distance2[i] = np.inf
        if px[i] == px[i] and py[i] == py[i]:
            m, d2 = nearest_of(px[i], py[i], limit[i], cells)
            index[i] = m
            if m >= 0:
                distance2[i] = d2


@kernel
def neighbour_patterns(at: I8, least: float, cells: Cells, patterns: Patterns) -> None:
    """Find the nearest neighbours of the points `at`.

    Parameters
    ----------
    at : int64 (m,)
        Points whose pattern is wanted.
    least : float
        Neighbours closer than this do not count: their direction is noise.
    patterns : Patterns
        Result (changed).
    """
    x, y, nx, ny = cells.x, cells.y, cells.nx, cells.ny
    k = patterns.log_r.shape[1]
    d2 = np.empty(k)
    who = np.empty(k, np.int64)
    for a in range(at.shape[0]):
        p = at[a]
        ci = _column(cells, x[p])
        cj = _row(cells, y[p])
        n = 0
        ring = 0
        while ring <= nx or ring <= ny:
            # Everything nearer than (ring - 1) cells has been seen.
            reach = (ring - 1) * cells.size
            if n == k and ring > 0 and reach > 0.0 and d2[k - 1] <= reach * reach:
                break
            for j in range(cj - ring, cj + ring + 1):
                if j < 0 or j >= ny:
                    continue
                step = 1 if (j == cj - ring or j == cj + ring or ring == 0) else 2 * ring
                for i in range(ci - ring, ci + ring + 1, step):
                    if i < 0 or i >= nx:
                        continue
                    for q in range(cells.start[j * nx + i], cells.start[j * nx + i + 1]):
                        m = cells.order[q]
                        dx = x[m] - x[p]
                        dy = y[m] - y[p]
                        r2 = dx * dx + dy * dy
                        if m == p or r2 < least * least:
                            continue
                        if n == k and r2 >= d2[k - 1]:
                            continue
                        pos = n if n < k else k - 1
                        while pos > 0 and d2[pos - 1] > r2:
                            d2[pos] = d2[pos - 1]
                            who[pos] = who[pos - 1]
                            pos -= 1
                        d2[pos] = r2
                        who[pos] = m
                        if n < k:
                            n += 1
            ring += 1
        patterns.size[a] = n
        for i in range(n):
            patterns.log_r[a, i] = 0.5 * math.log(d2[i])
            patterns.angle[a, i] = math.atan2(y[who[i]] - y[p], x[who[i]] - x[p])


@kernel
def score_similarities(
    px: F8, py: F8, hypotheses: F8, tolerance: F8, density: float, share: float, cells: Cells,
    score: F8, matched: I8,
) -> None:  # fmt: skip
    """Log likelihood ratio of each similarity against chance.

    A point whose image has a reference star within its tolerance t counts
    ln(1 - share + share / (density pi t^2)), any other ln(1 - share): `share` of the points
    are expected in the reference, and the others meet it by chance.

    Parameters
    ----------
    hypotheses : float64 (h, 7)
        Origin (x, y) in the plane of the points, its image (x, y), scale times cosine and
        sine of the rotation, and 1 if mirrored (x -> -x first).
    tolerance : float64 (2,)
        Constant part, and part proportional to the distance from the origin; both in units
        of the image plane.
    density : float
        Reference stars per unit area.
    score, matched : (h,)
    """
    for h in range(hypotheses.shape[0]):
        cosine = hypotheses[h, 4]
        sine = hypotheses[h, 5]
        total = 0.0
        n = 0
        for i in range(px.shape[0]):
            dx = px[i] - hypotheses[h, 0]
            dy = py[i] - hypotheses[h, 1]
            if hypotheses[h, 6] > 0.5:
                dx = -dx
            u = cosine * dx - sine * dy
            v = sine * dx + cosine * dy
            t = tolerance[0] + tolerance[1] * math.sqrt(u * u + v * v)
            chance = density * math.pi * t * t
            if chance > 0.5:
                continue
            m, _ = nearest_of(hypotheses[h, 2] + u, hypotheses[h, 3] + v, t, cells)
            if m >= 0:
                total += math.log(1.0 - share + share / chance)
                n += 1
            else:
                total += math.log(1.0 - share)
        score[h] = total
        matched[h] = n


class Grid:
    """Points sorted into square cells, for searches by position.

    Parameters
    ----------
    x, y : float64 (n,)
        Finite coordinates.
    per_cell : float
        Points per cell, on average.
    """

    def __init__(self, x: F8, y: F8, per_cell: float = 2.0) -> None:
        x, y = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64)
        n = max(len(x), 1)
        left, right = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
        low, high = (float(y.min()), float(y.max())) if len(x) else (0.0, 1.0)
        width, height = right - left, high - low
        size = math.sqrt(width * height * per_cell / n)
        # A degenerate distribution (one column of points) still gets at most n cells.
        size = max(size, (width + height) / n, 1e-12)
        nx, ny = int(width / size) + 1, int(height / size) + 1
        start, order = np.zeros(nx * ny + 1, np.int64), np.zeros(len(x), np.int64)
        self.cells = Cells(x, y, left, low, size, nx, ny, start, order)
        fill_cells(self.cells)

    def nearest(self, px: F8, py: F8, limit: F8 | float) -> tuple[I8, F8]:
        """Return the index of the nearest point within `limit` (or -1) and the distance."""
        n = len(px)
        index, distance2 = np.empty(n, np.int64), np.empty(n)
        nearest(
            np.ascontiguousarray(px, np.float64), np.ascontiguousarray(py, np.float64),
            np.array(np.broadcast_to(np.asarray(limit, np.float64), n)),
            self.cells, index, distance2,
        )  # fmt: skip
        return index, np.sqrt(distance2)

    def patterns(self, at: I8, least: float, k: int) -> Patterns:
        """Return the k nearest neighbours of points, none closer than `least`."""
        n = len(at)
        patterns = Patterns(np.empty(n, np.int64), np.zeros((n, k)), np.zeros((n, k)))
        neighbour_patterns(np.asarray(at, np.int64), least, self.cells, patterns)
        return patterns


def mutual_nearest(px: F8, py: F8, x: F8, y: F8, limit: F8 | float) -> tuple[I8, I8, F8]:
    """One-to-one pairs: each the nearest of the other, within `limit`.

    Parameters
    ----------
    px, py : float64 (m,)
    x, y : float64 (n,)
        Finite.
    limit : float or float64 (m,)

    Returns
    -------
    first, second : int64
        Indices into (px, py) and (x, y), in order of `first`.
    distance : float64
    """
    empty = np.zeros(0, np.int64)
    if len(px) == 0 or len(x) == 0:
        return empty, empty, np.zeros(0)
    index, distance = Grid(x, y).nearest(px, py, limit)
    first = np.flatnonzero(index >= 0)
    # Of the points that chose the same star the nearest keeps it; ties go to the first.
    by_distance = first[np.lexsort((first, distance[first], index[first]))]
    chosen = index[by_distance]
    keep = np.ones(len(chosen), bool)
    keep[1:] = chosen[1:] != chosen[:-1]
    first = np.sort(by_distance[keep])
    return first, index[first], distance[first]
