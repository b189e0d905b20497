"""Profiles convolved with the PSF, both as mixtures of Gaussians, and their derivatives.

The ellipse of a profile is the matrix ``S = rho**2 exp(2 [[e1, e2], [e2, -e1]])``: rho is the
radius of the circle of the same area, the axis ratio ``exp(-2 |e|)``, the angle
``arctan2(e2, e1) / 2``.  It is never singular, and neither is what a fit can do to e1 and e2.
Gaussian k of the profile seen through Gaussian j of the PSF has the covariance ``s_k S + P_j``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

N_PLANES = 7
"""Value; derivatives to x, y of the centre, to ln rho, e1, e2 and ln n."""
MAX_COLUMNS = 96
"""Columns of a grid on which derivatives are drawn, and `SPARE` more, are at most so many."""
SPARE = 3
"""Values that are written beyond the end of a row, four being worked out at once."""

MAX_EXPONENT = 50.0
"""Gaussians end where they are exp(-25) of their peak, or earlier if they are faint."""
_MAX_CORNER = 1200.0
"""Largest exponent in the corner of a box that rows are continued from: exp(-600) is no zero."""

# columns of the table of Gaussians: amplitude; inverse covariance; place of the first point;
# reach; rows; variance along y; derivatives to ln n of logarithms of weight and variance; columns;
# change of the ratio from row to row; rows on their own; derivatives to ln rho, e1, e2 over the
# Gaussian, as coefficients of x**2, x y, y**2 and 1
_PEAK, _A, _B, _C, _DX, _DY, _REACH, _LOW, _HIGH, _SYY = range(10)
_WEIGHT, _VARIANCE, _LEFT, _RIGHT, _UP2, _STEEP, _SHAPE = range(10, 17)
N_TERMS = _SHAPE + 12

# signed sums of indices would be held against zero, which keeps loops from being vectorized
_1, _2, _3, _4, _5, _6 = (np.uint64(i) for i in range(1, 7))
_COLUMNS = np.uint64(MAX_COLUMNS)


class Grid(NamedTuple):
    """Points at which a model is drawn: the means of squares of pixels.

    Attributes
    ----------
    x, y : int
        First pixel of the first square, 0-based.
    step : int
        Side of a square.
    n_x, n_y : int
        Number of squares.
    """

    x: int
    y: int
    step: int
    n_x: int
    n_y: int


class Sums(NamedTuple):
    """Work space of `add_profile`.

    Attributes
    ----------
    terms : (n, N_TERMS) float64
        A row per Gaussian of the profile seen through one of the PSF.
    moving : (2 n * (>= n_x + SPARE),) float64
        Each Gaussian in the row that is drawn next, then its ratio to the row after that.
    offsets : (>= n_x + SPARE,) float64
        Places of the points of a row, from the first.
    rows : (N_PLANES * MAX_COLUMNS,) float64
        All planes in one row.
    """

    terms: F8
    moving: F8
    offsets: F8
    rows: F8


@helper
def ellipse(log_radius: float, e1: float, e2: float, out: F8) -> None:
    """Write S and its derivatives to ln rho, e1 and e2: rows of xx, xy, yy."""
    e = math.hypot(e1, e2)
    rho2 = math.exp(2.0 * log_radius)
    cosh = math.cosh(2.0 * e)
    if e > 1e-4:
        sinh = math.sinh(2.0 * e)
        ratio = sinh / e
        slope = (2.0 * e * cosh - sinh) / (e * e * e)
        rise = 2.0 * sinh / e
    else:
        ratio, slope, rise = 2.0, 8.0 / 3.0, 4.0
    out[0, 0] = rho2 * (cosh + ratio * e1)
    out[0, 1] = rho2 * ratio * e2
    out[0, 2] = rho2 * (cosh - ratio * e1)
    for i in range(3):
        out[1, i] = 2.0 * out[0, i]
    for i in range(2):
        own = e1 if i == 0 else e2
        out[2 + i, 0] = rho2 * (rise * own + slope * own * e1)
        out[2 + i, 1] = rho2 * slope * own * e2
        out[2 + i, 2] = rho2 * (rise * own - slope * own * e1)
    out[2, 0] += rho2 * ratio
    out[2, 2] -= rho2 * ratio
    out[3, 1] += rho2 * ratio


@helper
def add_profile(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid,
    faintest: float, slopes: bool, sums: Sums, planes: F8,
) -> None:  # fmt: skip
    """Draw a profile of unit flux into `planes`, with its derivatives if `slopes`.

    Parameters
    ----------
    profile : (4, n) float64
        As `sersic_mixture` writes it; one Gaussian of no variance is a point.
    shape : (4, 3) float64
        As `ellipse` writes it.
    psf : (j, 6) float64
        Weight, centre x, y and covariance xx, xy, yy of each Gaussian.
    x, y : float
        Centre, 0-based pixels.
    grid : Grid
        With derivatives of at most ``MAX_COLUMNS - SPARE`` columns.
    faintest : float
        Light per pixel, of the unit flux, that is left out of each Gaussian.
    sums : Sums
        Work space for n * j Gaussians.
    planes : (N_PLANES, >= n_y * n_x) float64
        Written: value, and derivatives to x, y, ln rho, e1, e2, ln n.
    """
    n_x, step = grid.n_x, float(grid.step)
    terms, moving, rows = sums.terms, sums.moving, sums.rows
    length = moving.size // (2 * terms.shape[0])
    for i in range(n_x + SPARE):
        sums.offsets[i] = i * step
    count = _list_terms(profile, shape, psf, x, y, grid, faintest, sums)
    if slopes:
        for m in range(count):
            _shape_slopes(terms, m, profile, shape)
    for iy in range(grid.n_y):
        start = iy * n_x
        if slopes:
            for i in range(rows.size):
                rows[i] = 0.0
        else:
            for i in range(n_x):
                planes[0, start + i] = 0.0
        for m in range(count):
            if iy < terms[m, _LOW] or iy >= terms[m, _HIGH]:
                continue
            at = 2 * m * length
            left, right = int(terms[m, _LEFT]), int(terms[m, _RIGHT])
            if terms[m, _STEEP] > 0.0:
                left, right = _steep_row(terms, m, iy, n_x, step, moving, at)
            if right <= left:
                continue
            if slopes:
                _add_slopes(terms, m, left, right - left, iy * step, sums, at, at + length)
            else:
                _add_values(
                    moving, at, at + length, terms[m, _UP2], right - left, planes, start + left
                )
        if slopes:
            for p in range(N_PLANES):
                for i in range(n_x):
                    planes[p, start + i] = rows[p * MAX_COLUMNS + i]


@helper
def _list_terms(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid, faintest: float, sums: Sums
) -> int:
    """Write the table of the Gaussians that reach the grid, and first rows; return their number."""
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    spread = (step * step - 1.0) / 12.0
    x_first = grid.x + 0.5 * (step - 1.0) - x
    y_first = grid.y + 0.5 * (step - 1.0) - y
    length = sums.moving.size // (2 * sums.terms.shape[0])
    count = 0
    for k in range(profile.shape[1]):
        s = profile[1, k]
        for j in range(psf.shape[0]):
            sxx = s * shape[0, 0] + psf[j, 3] + spread
            sxy = s * shape[0, 1] + psf[j, 4]
            syy = s * shape[0, 2] + psf[j, 5] + spread
            determinant = sxx * syy - sxy * sxy
            peak = profile[0, k] * psf[j, 0] / (2.0 * math.pi * math.sqrt(determinant))
            if abs(peak) <= faintest:
                continue
            reach = min(2.0 * math.log(abs(peak) / faintest), MAX_EXPONENT)
            x_start, y_start = x_first - psf[j, 1], y_first - psf[j, 2]
            half_width, half_height = math.sqrt(reach * sxx), math.sqrt(reach * syy)
            left = max(0, math.ceil((-half_width - x_start) / step))
            right = min(n_x, math.floor((half_width - x_start) / step) + 1)
            low = max(0, math.ceil((-half_height - y_start) / step))
            high = min(n_y, math.floor((half_height - y_start) / step) + 1)
            if right <= left or high <= low:
                continue
            a, b, c = syy / determinant, -sxy / determinant, sxx / determinant
            term, at = sums.terms[count], 2 * count * length
            term[_PEAK], term[_A], term[_B], term[_C] = peak, a, b, c
            term[_DX], term[_DY], term[_REACH], term[_SYY] = x_start, y_start, reach, syy
            term[_LOW], term[_HIGH], term[_LEFT], term[_RIGHT] = low, high, left, right
            # which Gaussian of the profile, until the derivatives are known
            term[_SHAPE], term[_UP2] = k, math.exp(-c * step * step)
            tilt = abs(sxy) / math.sqrt(sxx * syy)
            term[_STEEP] = 1.0 if reach * (1.0 + tilt) > _MAX_CORNER * (1.0 - tilt) else 0.0
            count += 1
            if term[_STEEP] > 0.0:
                for i in range(length):
                    sums.moving[at + length + i] = 0.0
                continue
            dx, dy = x_start + left * step, y_start + low * step
            exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
            value, up = peak * math.exp(-0.5 * exponent), -c * (dy + 0.5 * step) - b * dx
            ratio = math.exp(-(a * (dx + 0.5 * step) + b * dy) * step)
            n, skew = right - left, math.exp(-b * step * step)
            _continue_row(value, ratio, math.exp(-a * step * step), n, sums.moving, at)
            _continue_row(math.exp(up * step), skew, 1.0, n, sums.moving, at + length)
    return count


@helper
def _shape_slopes(terms: F8, m: int, profile: F8, shape: F8) -> None:
    """Write the derivatives of a Gaussian to ln rho, e1 and e2, over the Gaussian, and to ln n."""
    term = terms[m]
    k = int(term[_SHAPE])
    s, a, b, c = profile[1, k], term[_A], term[_B], term[_C]
    term[_WEIGHT], term[_VARIANCE] = profile[2, k], profile[3, k]
    for p in range(3):
        xx, xy, yy = s * shape[p + 1, 0], s * shape[p + 1, 1], s * shape[p + 1, 2]
        at = _SHAPE + 4 * p
        term[at] = 0.5 * a * a * xx + a * b * xy + 0.5 * b * b * yy
        term[at + 1] = a * b * xx + (a * c + b * b) * xy + b * c * yy
        term[at + 2] = 0.5 * b * b * xx + b * c * xy + 0.5 * c * c * yy
        term[at + 3] = -0.5 * a * xx - b * xy - 0.5 * c * yy


@helper
def _steep_row(
    terms: F8, m: int, iy: int, n_x: int, step: float, moving: F8, at: int
) -> tuple[int, int]:
    """Write a Gaussian in a row, by itself; return its first column and the one after its last."""
    a, b, dy = terms[m, _A], terms[m, _B], terms[m, _DY] + iy * step
    half_width = math.sqrt(max(terms[m, _REACH] - dy * dy / terms[m, _SYY], 0.0) / a)
    middle = -b / a * dy - terms[m, _DX]
    left = max(0, math.ceil((middle - half_width) / step))
    right = min(n_x, math.floor((middle + half_width) / step) + 1)
    if right > left:
        dx = terms[m, _DX] + left * step
        exponent = a * dx * dx + 2.0 * b * dx * dy + terms[m, _C] * dy * dy
        ratio = math.exp(-a * step * (dx + 0.5 * step) - b * dy * step)
        value = terms[m, _PEAK] * math.exp(-0.5 * exponent)
        _continue_row(value, ratio, math.exp(-a * step * step), right - left, moving, at)
    return left, right


@helper
def _continue_row(value: float, ratio: float, ratio2: float, n: int, row: F8, at: int) -> None:
    """Write a Gaussian along a row: `value`, times `ratio`, which `ratio2` changes each time.

    From element `at` on, four points at once, each of which continues the one four before it.
    """
    power2 = ratio2 * ratio2
    power4 = power2 * power2
    power16 = power4 * power4 * power4 * power4
    v0 = value
    v1 = v0 * ratio
    v2 = v1 * (ratio * ratio2)
    v3 = v2 * (ratio * power2)
    r0 = (ratio * ratio) * (ratio * ratio) * (power4 * power2)
    r1 = r0 * power4
    r2 = r1 * power4
    r3 = r2 * power4
    for first in range(0, n, 4):
        i = np.uint64(at + first)
        row[i] = v0
        row[i + _1] = v1
        row[i + _2] = v2
        row[i + _3] = v3
        v0 *= r0
        v1 *= r1
        v2 *= r2
        v3 *= r3
        r0 *= power16
        r1 *= power16
        r2 *= power16
        r3 *= power16


@helper
def _add_values(
    moving: F8, values: int, ratios: int, change: float, n: int, planes: F8, out: int
) -> None:
    """Add the values of a Gaussian in a row, and move it to the next row.

    Rows are places in arrays: a view of an array takes longer to make than a row to add.
    """
    at, ratio, to, first = np.uint64(values), np.uint64(ratios), np.uint64(out), np.uint64(0)
    for k in range(n):
        i = np.uint64(k)
        g, r = moving[at + i], moving[ratio + i]
        planes[first, to + i] += g
        moving[at + i] = g * r
        moving[ratio + i] = r * change


@helper
def _add_slopes(
    terms: F8, m: int, left: int, n: int, dy: float, sums: Sums, values: int, ratios: int
) -> None:
    """Add the values of a Gaussian in a row and its derivatives, and move it to the next row."""
    moving, rows, offsets = sums.moving, sums.rows, sums.offsets
    dx, dy = terms[m, _DX], terms[m, _DY] + dy
    a, b, b_dy, c_dy = terms[m, _A], terms[m, _B], terms[m, _B] * dy, terms[m, _C] * dy
    weight, half, change = terms[m, _WEIGHT], 0.5 * terms[m, _VARIANCE], terms[m, _UP2]
    r_xx, r_x = terms[m, _SHAPE], terms[m, _SHAPE + 1] * dy
    r_1 = terms[m, _SHAPE + 2] * dy * dy + terms[m, _SHAPE + 3]
    p_xx, p_x = terms[m, _SHAPE + 4], terms[m, _SHAPE + 5] * dy
    p_1 = terms[m, _SHAPE + 6] * dy * dy + terms[m, _SHAPE + 7]
    q_xx, q_x = terms[m, _SHAPE + 8], terms[m, _SHAPE + 9] * dy
    q_1 = terms[m, _SHAPE + 10] * dy * dy + terms[m, _SHAPE + 11]
    at, ratio, to = np.uint64(values), np.uint64(ratios), np.uint64(left)
    # whole registers: what is beyond the reach goes on as the Gaussian does
    whole = -(-n // 4) * 4
    for k in range(whole):
        i = np.uint64(k)
        g, x, j = moving[at + i], dx + offsets[to + i], to + i
        by_radius = r_1 + x * (r_x + x * r_xx)
        rows[j] += g
        rows[j + _COLUMNS] += g * (a * x + b_dy)
        rows[j + _2 * _COLUMNS] += g * (b * x + c_dy)
        rows[j + _3 * _COLUMNS] += g * by_radius
        rows[j + _4 * _COLUMNS] += g * (p_1 + x * (p_x + x * p_xx))
        rows[j + _5 * _COLUMNS] += g * (q_1 + x * (q_x + x * q_xx))
        # all variances change as with the square of the radius
        rows[j + _6 * _COLUMNS] += g * (weight + half * by_radius)
    for k in range(whole):
        i = np.uint64(k)
        r = moving[ratio + i]
        moving[at + i] *= r
        moving[ratio + i] = r * change
