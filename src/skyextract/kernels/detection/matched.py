"""Matched filtering with the PSF, and growing of detections.

For independent noise of variance v and a source of shape P the statistic

    S = sum(P * d / v) / sqrt(sum(P**2 / v))

is the significance in sigma of a point source (Zackay & Ofek 2017, ApJ 836, 187).  Pixels of
weight 1/v = 0 take no part: the result near bad pixels and the border is a significance too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.background.spline import Surface, interpolate_row, surface
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, I4, I8, U1


@kernel
def _separable(
    rows: F4, top: int, column: F4, line: F4, first: int, past: int, work: F4, out: F4
) -> None:
    """Correlate a ring buffer of rows with ``sum_r outer(column[r], line[r])``, add to `out`.

    `rows` holds the image row y at ``y % len(rows)``, padded by half the kernel on both
    sides; `top` is the row under the kernel's first.  The kernel's size is odd.
    """
    n_terms, size = column.shape
    n_rows = rows.shape[0]
    end = past + size - 1
    # slices, so that the compiler sees indices from 0 on and uses vector instructions; several
    # taps at a time, as memory is what it waits for
    span = work[first:end]
    into = out[first:past]
    for r in range(n_terms):
        factor = column[r, 0]
        row = rows[top % n_rows, first:end]
        for x in range(len(span)):
            span[x] = factor * row[x]
        fours = 1 + (size - 1) // 4 * 4
        for v in range(1, fours, 4):
            f1, f2, f3, f4 = column[r, v], column[r, v + 1], column[r, v + 2], column[r, v + 3]
            row1 = rows[(top + v) % n_rows, first:end]
            row2 = rows[(top + v + 1) % n_rows, first:end]
            row3 = rows[(top + v + 2) % n_rows, first:end]
            row4 = rows[(top + v + 3) % n_rows, first:end]
            for x in range(len(span)):
                span[x] += (f1 * row1[x] + f2 * row2[x]) + (f3 * row3[x] + f4 * row4[x])
        for v in range(fours, size, 2):
            f1, f2 = column[r, v], column[r, v + 1]
            row1 = rows[(top + v) % n_rows, first:end]
            row2 = rows[(top + v + 1) % n_rows, first:end]
            for x in range(len(span)):
                span[x] += f1 * row1[x] + f2 * row2[x]
        factor = line[r, 0]
        for x in range(len(into)):
            into[x] += factor * span[x]
        for u in range(1, fours, 4):
            f1, f2, f3, f4 = line[r, u], line[r, u + 1], line[r, u + 2], line[r, u + 3]
            shift1 = span[u : u + past - first]
            shift2 = span[u + 1 : u + 1 + past - first]
            shift3 = span[u + 2 : u + 2 + past - first]
            shift4 = span[u + 3 : u + 3 + past - first]
            for x in range(len(into)):
                into[x] += (f1 * shift1[x] + f2 * shift2[x]) + (f3 * shift3[x] + f4 * shift4[x])
        for u in range(fours, size, 2):
            f1, f2 = line[r, u], line[r, u + 1]
            shift1 = span[u : u + past - first]
            shift2 = span[u + 1 : u + 1 + past - first]
            for x in range(len(into)):
                into[x] += f1 * shift1[x] + f2 * shift2[x]


class Weighting(NamedTuple):
    """What weights pixels in the filter.

    Attributes
    ----------
    variance : (ny, nx), or (1, 1) without `has_variance` (then `constant` is the variance)
        Background variance; pixels at or above `worst` have no weight.
    smooth : bool
        The variance of good pixels hardly changes within the PSF: where all pixels around are
        good, that of the pixel itself stands for them.
    bad : (ny, nx), or (1, 1) without `has_bad`
        Further pixels without weight (not 0).
    nodes : (n_mesh_y, n_mesh_x), or (1, 1) without `has_mesh`
        Background rms at the centres of the meshes: the variance is the square of the spline
        through it, row by row where it is needed, and `variance` is not looked at.
    mesh_width, mesh_height : int
        Pixels.
    """

    variance: F4
    has_variance: bool
    smooth: bool
    constant: np.float32
    worst: np.float32
    bad: U1
    has_bad: bool
    nodes: F4
    mesh_width: int
    mesh_height: int
    has_mesh: bool


class PsfCells(NamedTuple):
    """The PSF and its square in cells of the image.

    Attributes
    ----------
    column, line : (n_cell_y, n_cell_x, n_terms, size)
        The PSF in each cell of the image as a sum of outer products.
    column2, line2 : (n_cell_y, n_cell_x, n_terms, size)
        The square of the PSF likewise.
    cell_x, cell_y : (n_cell_x + 1,), (n_cell_y + 1,)
        Edges of the cells in pixels.
    """

    column: F4
    line: F4
    column2: F4
    line2: F4
    cell_x: I8
    cell_y: I8


@kernel
def _load_row(
    image: F4, weighting: Weighting, mesh: Surface, y: int, weight: F4, weighted: F4
) -> tuple[np.float32, bool]:
    """Set the weights of row y, and the pixels times these.

    Parameters
    ----------
    mesh : Surface
        That through `weighting.nodes`.

    Returns
    -------
    typical : float32
        Weight of a good pixel, 0 if there is none.
    complete : bool
        All pixels are good.
    """
    variance, constant, worst = weighting.variance, weighting.constant, weighting.worst
    bad, has_bad = weighting.bad, weighting.has_bad
    nx = len(weight)
    if weighting.has_mesh:
        interpolate_row(mesh, y, weight)
        for x in range(nx):
            v = weight[x] * weight[x]
            good = (v > np.float32(0.0)) & (v < worst)
            weight[x] = np.float32(1.0) / v if good else np.float32(0.0)
    elif weighting.has_variance:
        for x in range(nx):
            v = variance[y, x]
            good = (v > np.float32(0.0)) & (v < worst)
            weight[x] = np.float32(1.0) / v if good else np.float32(0.0)
    else:
        weight[:] = np.float32(1.0) / constant
    if has_bad:
        for x in range(nx):
            if bad[y, x] != 0:
                weight[x] = np.float32(0.0)
    total = 0.0
    n_good = 0
    for x in range(0, nx, 16):  # a sample is enough
        total += np.float64(weight[x])
        n_good += int(weight[x] > np.float32(0.0))
    typical = np.float32(total / n_good) if n_good > 0 else np.float32(0.0)
    n_good = 0
    for x in range(nx):
        n_good += int(weight[x] > np.float32(0.0))
    for x in range(nx):
        weighted[x] = weight[x] * image[y, x]
    return typical, n_good == nx


@kernel
def _width_of_rows(least: int) -> int:
    """Return a width with which the same columns of 12 rows have different places in the cache.

    The places repeat after 1024 numbers; where frames have such widths, or nearly, rows that are
    read together would drive each other out.
    """
    return least + (80 - least) % 1024


@kernel
def _sums_of_squares(psf: PsfCells) -> F4:
    """Return the sum of the squared PSF in each cell."""
    column, line = psf.column2, psf.line2
    n_y, n_x, n_terms, _ = column.shape
    squares = np.zeros((n_y, n_x), np.float32)
    for i in range(n_y):
        for j in range(n_x):
            for r in range(n_terms):
                squares[i, j] += column[i, j, r].sum() * line[i, j, r].sum()
    return squares


@kernel
def _divide(
    above: F4, below: F4, middle: F4, typical: np.float32, share: np.float32, unit: np.float32,
    out: F4,
) -> None:  # fmt: skip
    """Set `out` to the significance; 0 where `below` has not a share of the weight there.

    That is the `typical` one, or the pixel's own where it is less: noisy, but no gap.
    """
    for x in range(len(out)):
        own = middle[x]
        weight = own if np.float32(0.0) < own < typical else typical
        root = np.float32(math.sqrt(below[x]))
        out[x] = unit * above[x] / root if below[x] > share * weight else np.float32(0.0)


@kernel
def matched_rows(
    image: F4, weighting: Weighting, psf: PsfCells, unit: np.float32, min_share: np.float32,
    first_row: int, past_row: int, out: F4,
) -> None:  # fmt: skip
    """Compute the significance of a point source at each pixel of the rows given.

    Parameters
    ----------
    image : (ny, nx)
        Background-subtracted image.
    unit : float32
        Factor of the result.
    min_share : float32
        Where less than this share of the sum of P**2 falls on good pixels, the result is 0.
    out : (ny, nx), output
    """
    column, line, column2, line2, cell_x, cell_y = psf
    ny, nx = image.shape
    size = column.shape[3]
    half = size // 2
    width = _width_of_rows(nx + size - 1)
    weights = np.zeros((size, width), np.float32)
    signal = np.zeros((size, width), np.float32)
    work = np.empty(nx + size - 1, np.float32)
    numerator = np.empty(nx, np.float32)
    denominator = np.empty(nx, np.float32)
    typical = np.zeros(size, np.float32)
    complete = np.zeros(size, np.bool_)
    squares = _sums_of_squares(psf)
    mesh = surface(weighting.nodes, weighting.mesh_width, weighting.mesh_height, nx)
    loaded = first_row - half
    for y in range(first_row, past_row):
        while loaded <= y + half:
            slot = loaded % size
            if loaded < 0 or loaded >= ny:
                typical[slot] = np.float32(0.0)
                weights[slot] = np.float32(0.0)
                signal[slot] = np.float32(0.0)
                complete[slot] = False
            else:
                typical[slot], complete[slot] = _load_row(
                    image, weighting, mesh, loaded, weights[slot, half : half + nx],
                    signal[slot, half : half + nx],
                )  # fmt: skip
            loaded += 1
        cy = 0
        while cell_y[cy + 1] <= y:
            cy += 1
        numerator[:] = np.float32(0.0)
        denominator[:] = np.float32(0.0)
        uniform = weighting.smooth and complete.all()
        middle = weights[y % size, half : half + nx]
        for cx in range(len(cell_x) - 1):
            a = cell_x[cx]
            b = cell_x[cx + 1]
            _separable(signal, y - half, column[cy, cx], line[cy, cx], a, b, work, numerator)
            # [c, d): away from the border, with one weight for all of the PSF
            c = max(a, half) if uniform else b
            d = max(min(b, nx - half), c) if uniform else b
            first, second = column2[cy, cx], line2[cy, cx]
            if a < c:
                _separable(weights, y - half, first, second, a, min(c, b), work, denominator)
            if d < b:
                _separable(weights, y - half, first, second, d, b, work, denominator)
            square, inside, here = squares[cy, cx], denominator[c:d], middle[c:d]
            for x in range(len(inside)):
                inside[x] = here[x] * square
            _divide(
                numerator[a:b], denominator[a:b], middle[a:b], typical.max(),
                min_share * squares[cy, cx], unit, out[y, a:b],
            )  # fmt: skip


@kernel
def smooth_at(image: F4, bad: U1, has_bad: bool, taps: F4, px: I4, py: I4, out: F4) -> None:
    """Smooth an image at some pixels only, over the good pixels around each.

    Parameters
    ----------
    image : (ny, nx)
    bad : (ny, nx), or (1, 1) without `has_bad`
        Pixels that take no part (not 0).
    taps : (k,)
        Kernel along either axis, sum 1; k odd.
    px, py : (n,)
        Columns and rows.
    out : (n,), output
        0 where no good pixel is near.
    """
    ny, nx = image.shape
    half = len(taps) // 2
    for k in range(len(px)):
        total = np.float32(0.0)
        weight = np.float32(0.0)
        for y in range(max(py[k] - half, 0), min(py[k] + half, ny - 1) + 1):
            for x in range(max(px[k] - half, 0), min(px[k] + half, nx - 1) + 1):
                if has_bad and bad[y, x] != 0:
                    continue
                tap = taps[y - py[k] + half] * taps[x - px[k] + half]
                total += tap * image[y, x]
                weight += tap
        out[k] = total / weight if weight > np.float32(0.0) else np.float32(0.0)
