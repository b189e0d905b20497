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
# reach; rows; variances; derivatives to ln n of logarithms of weight and variance; columns;
# value at the first point of a row, ratio along it, and the ratios of these from row to row
_PEAK, _A, _B, _C, _DX, _DY, _REACH, _LOW, _HIGH, _S, _SYY = range(11)
_WEIGHT, _VARIANCE, _LEFT, _RIGHT, _VALUE, _RATIO, _UP, _UP2, _SKEW, _STEEP = range(11, 21)
N_TERMS = 21

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
    row : (>= n_x + 2 * SPARE,) float64
        One Gaussian in one row.
    rows : (N_PLANES * MAX_COLUMNS,) float64
        All planes in one row.
    """

    terms: F8
    row: F8
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
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    count = _list_terms(profile, shape, psf, x, y, grid, faintest, sums.terms)
    rows, row = sums.rows, sums.row
    for iy in range(n_y):
        start = iy * n_x
        if slopes:
            rows[:] = 0.0
        else:
            planes[0, start : start + n_x] = 0.0
        for m in range(count):
            term = sums.terms[m]
            if iy < term[_LOW] or iy >= term[_HIGH]:
                continue
            left, right = int(term[_LEFT]), int(term[_RIGHT])
            dy = term[_DY] + iy * step
            value, ratio = term[_VALUE], term[_RATIO]
            if term[_STEEP] > 0.0:
                left, right, value, ratio = _steep_row(term, dy, n_x, step)
            else:
                term[_VALUE] *= term[_UP]
                term[_UP] *= term[_UP2]
                term[_RATIO] *= term[_SKEW]
            if right <= left:
                continue
            _continue_row(value, ratio, math.exp(-term[_A] * step * step), right - left, row)
            if slopes:
                dx = term[_DX] + left * step
                _add_slopes(
                    term, dx, dy, step, shape, row, -(-(right - left) // 4) * 4, rows[left:]
                )
            else:
                out = planes[0, start + left : start + right]
                for i in range(out.size):
                    out[i] += row[i]
        if slopes:
            _to_parameters(shape, rows, n_x, planes[:, start : start + n_x])


@helper
def _list_terms(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid, faintest: float, terms: F8
) -> int:
    """Write the table of the Gaussians that reach the grid; return their number."""
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    spread = (step * step - 1.0) / 12.0
    x_first = grid.x + 0.5 * (step - 1.0) - x
    y_first = grid.y + 0.5 * (step - 1.0) - y
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
            dx, dy = x_start + left * step, y_start + low * step
            term = terms[count]
            count += 1
            term[_PEAK], term[_A], term[_B], term[_C] = peak, a, b, c
            term[_DX], term[_DY], term[_REACH], term[_SYY] = x_start, y_start, reach, syy
            term[_LOW], term[_HIGH], term[_LEFT], term[_RIGHT] = low, high, left, right
            term[_S], term[_WEIGHT], term[_VARIANCE] = s, profile[2, k], profile[3, k]
            exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
            tilt = abs(sxy) / math.sqrt(sxx * syy)
            term[_STEEP] = 1.0 if reach * (1.0 + tilt) > _MAX_CORNER * (1.0 - tilt) else 0.0
            term[_VALUE] = peak * math.exp(-0.5 * exponent)
            term[_RATIO] = math.exp(-a * step * (dx + 0.5 * step) - b * dy * step)
            term[_UP] = math.exp(-c * step * (dy + 0.5 * step) - b * dx * step)
            term[_UP2], term[_SKEW] = math.exp(-c * step * step), math.exp(-b * step * step)
    return count


@helper
def _steep_row(term: F8, dy: float, n_x: int, step: float) -> tuple[int, int, float, float]:
    """Return first and last column of a Gaussian in a row, the value there and the first ratio."""
    a, b = term[_A], term[_B]
    half_width = math.sqrt(max(term[_REACH] - dy * dy / term[_SYY], 0.0) / a)
    middle = -b / a * dy - term[_DX]
    left = max(0, math.ceil((middle - half_width) / step))
    right = min(n_x, math.floor((middle + half_width) / step) + 1)
    dx = term[_DX] + left * step
    exponent = a * dx * dx + 2.0 * b * dx * dy + term[_C] * dy * dy
    ratio = math.exp(-a * step * (dx + 0.5 * step) - b * dy * step)
    return left, right, term[_PEAK] * math.exp(-0.5 * exponent), ratio


@helper
def _continue_row(value: float, ratio: float, ratio2: float, n: int, row: F8) -> None:
    """Write a Gaussian along a row: `value`, times `ratio`, which `ratio2` changes each time.

    Four points at once, each of which continues the one four before it.
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
        i = np.uint64(first)
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
def _add_slopes(
    term: F8, dx: float, dy: float, step: float, shape: F8, row: F8, n: int, rows: F8
) -> None:
    """Add the values of a Gaussian in a row, and what derivatives are made of."""
    a, b, c, s = term[_A], term[_B], term[_C], term[_S]
    weight, variance = term[_WEIGHT], term[_VARIANCE]
    to_xx, to_xy, to_yy = variance * shape[0, 0], variance * shape[0, 1], variance * shape[0, 2]
    b_dy, c_dy, half = b * dy, c * dy, 0.5 * s
    for k in range(n):
        i = np.uint64(k)
        g = row[i]
        x = dx + k * step
        u = a * x + b_dy
        v = b * x + c_dy
        dxx = half * g * (u * u - a)
        dxy = s * g * (u * v - b)
        dyy = half * g * (v * v - c)
        rows[i] += g
        rows[i + _COLUMNS] += g * u
        rows[i + _2 * _COLUMNS] += g * v
        rows[i + _3 * _COLUMNS] += dxx
        rows[i + _4 * _COLUMNS] += dxy
        rows[i + _5 * _COLUMNS] += dyy
        rows[i + _6 * _COLUMNS] += weight * g + (dxx * to_xx + dxy * to_xy + dyy * to_yy)


@helper
def _to_parameters(shape: F8, rows: F8, n: int, planes: F8) -> None:
    """Write one row of all planes, derivatives to S turned into those to ln rho, e1 and e2."""
    for p in (0, 1, 2, 6):
        start = p * MAX_COLUMNS
        for i in range(n):
            planes[p, i] = rows[start + i]
    xx, xy, yy = 3 * MAX_COLUMNS, 4 * MAX_COLUMNS, 5 * MAX_COLUMNS
    for p in range(1, 4):
        for i in range(n):
            planes[2 + p, i] = (
                rows[xx + i] * shape[p, 0] + rows[xy + i] * shape[p, 1] + rows[yy + i] * shape[p, 2]
            )
