"""Profiles convolved with the PSF, both as mixtures of Gaussians, and their derivatives.

The ellipse of a profile is the matrix ``S = rho**2 exp(2 [[e1, e2], [e2, -e1]])``: rho is the
radius of the circle of the same area, the axis ratio ``exp(-2 |e|)``, the angle
``arctan2(e2, e1) / 2``.  It is never singular, and neither is what a fit can do to e1 and e2.
Gaussian k of the profile seen through Gaussian j of the PSF has the covariance ``s_k S + P_j``.

Points are in single precision: what rounding leaves of a Gaussian in the last row of a band is 1e-5
of it, and as many points again fit into a register.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import fused, helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8

N_PLANES = 7
"""Value; derivatives to x, y of the centre, to ln rho, e1, e2 and ln n."""
SIDE = 24
"""Columns and rows, at most, of a grid on which derivatives are drawn."""
SPARE = 8
"""Values that are written beyond the end of a row, eight being worked out at once."""
STRIDE = SIDE + SPARE
SPAN = (SIDE + 1) * STRIDE + SPARE
"""From one plane to the next.

All distances are known when the kernel is compiled: loops need not be asked whether what they write
overlaps.  Planes of this size are in the cache together.
"""
ROWS = 32
"""Rows of values that are continued from the first one."""

MAX_EXPONENT = 50.0
"""Gaussians end where they are exp(-25) of their peak, or earlier if they are faint."""
_MAX_CORNER = 60.0
"""Largest exponent in the corner of a box that rows are continued from: exp(-60) is no zero."""

# columns of the table of a Gaussian: amplitude; inverse covariance; place of the first point;
# reach; rows; variance along y; columns; change of the ratio from row to row; rows on their own;
# derivatives to ln n of logarithms of weight and variance; derivatives to ln rho, e1, e2 over
# the Gaussian, as coefficients of x**2, x y, y**2 and 1
_PEAK, _A, _B, _C, _DX, _DY, _REACH, _LOW, _HIGH, _SYY = range(10)
_LEFT, _RIGHT, _UP2, _STEEP, _WEIGHT, _VARIANCE, _SHAPE = range(10, 17)
N_TERMS = _SHAPE + 12

# signed sums of indices would be held against zero, which keeps loops from being vectorized
_1, _2, _3 = (np.uint64(i) for i in range(1, 4))
_P1, _P2, _P3, _P4, _P5, _P6, _VALUE, _RATIO, _COLUMN = (np.uint64(i * SPAN) for i in range(1, 10))
_NEXT_VALUE, _NEXT_RATIO = (np.uint64(i * SPAN + STRIDE) for i in (7, 8))


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
    left, right, low, high : int
        Squares from `left` and `low` to before `right` and `high` need not be drawn.
    """

    x: int
    y: int
    step: int
    n_x: int
    n_y: int
    left: int
    right: int
    low: int
    high: int


class Sums(NamedTuple):
    """Work space of `add_values` and `draw_slopes`.

    Attributes
    ----------
    term : (N_TERMS,) float64
        A Gaussian of the profile seen through one of the PSF.
    moving : (2 n,) float32
        It in the row that is drawn next, then its ratio to the row after that; n is the longest
        row and `SPARE`.
    tile : (10 * SPAN,) float32
        Rows of `STRIDE` points: a profile of unit flux, its six derivatives, and of a Gaussian
        values and ratios to the next row; the numbers of the columns.
    """

    term: F8
    moving: F4
    tile: F4


@helper
def sums_of(side: int) -> Sums:
    """Return work space for rows of up to `side` points."""
    tile = np.zeros(10 * SPAN, np.float32)
    for i in range(SPAN):
        tile[9 * SPAN + i] = i % STRIDE
    return Sums(np.empty(N_TERMS), np.zeros(2 * (side + SPARE), np.float32), tile)


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
def window_of(grid: Grid, left: int, low: int, columns: int, rows: int) -> Grid:
    """Return some columns and rows of a grid, or those that are left."""
    return Grid(
        grid.x + left * grid.step, grid.y + low * grid.step, grid.step,
        min(columns, grid.n_x - left), min(rows, grid.n_y - low),
        grid.left - left, grid.right - left, grid.low - low, grid.high - low,
    )  # fmt: skip


@helper
def add_values(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid,
    flux: float, faintest: float, sums: Sums, out: F4, start: int,
) -> None:  # fmt: skip
    """Add a profile to `out`, from element `start` on.

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
        Of any size.
    flux : float
    faintest : float
        Light per pixel, of unit flux, that is left out of each Gaussian.
    sums : Sums
        Work space.
    out : (>= start + n_y * n_x + SPARE,) float32
        Added to, row after row.
    """
    for first in range(0, grid.n_y, ROWS):
        band = window_of(grid, 0, first, grid.n_x, ROWS)
        for k in range(profile.shape[1]):
            for j in range(psf.shape[0]):
                if _set_term(profile, k, shape, psf, j, x, y, band, flux, faintest, sums):
                    _add_values(sums, band, out, start + first * grid.n_x)


@helper
def draw_slopes(
    profile: F8, shape: F8, psf: F8, x: float, y: float, grid: Grid, faintest: float, sums: Sums
) -> None:
    """Draw a profile of unit flux into ``sums.tile``, with its derivatives.

    Parameters are those of `add_values`, but that the grid has up to `SIDE` columns and rows.
    """
    tile = sums.tile
    for i in range(N_PLANES * SPAN):
        tile[i] = 0.0
    for k in range(profile.shape[1]):
        for j in range(psf.shape[0]):
            if _set_term(profile, k, shape, psf, j, x, y, grid, 1.0, faintest, sums):
                _shape_slopes(sums.term, k, profile, shape)
                _add_slopes(sums, grid)


@helper
def _set_term(
    profile: F8, k: int, shape: F8, psf: F8, j: int, x: float, y: float, grid: Grid,
    flux: float, faintest: float, sums: Sums,
) -> bool:  # fmt: skip
    """Write the table of a Gaussian; return whether it reaches the grid."""
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    spread, s = (step * step - 1.0) / 12.0, profile[1, k]
    sxx = s * shape[0, 0] + psf[j, 3] + spread
    sxy = s * shape[0, 1] + psf[j, 4]
    syy = s * shape[0, 2] + psf[j, 5] + spread
    determinant = sxx * syy - sxy * sxy
    peak = profile[0, k] * psf[j, 0] / (2.0 * math.pi * math.sqrt(determinant))
    if abs(peak) <= faintest:
        return False
    reach = min(2.0 * math.log(abs(peak) / faintest), MAX_EXPONENT)
    x_start = grid.x + 0.5 * (step - 1.0) - x - psf[j, 1]
    y_start = grid.y + 0.5 * (step - 1.0) - y - psf[j, 2]
    half_width, half_height = math.sqrt(reach * sxx), math.sqrt(reach * syy)
    left = max(0, math.ceil((-half_width - x_start) / step))
    right = min(n_x, math.floor((half_width - x_start) / step) + 1)
    low = max(0, math.ceil((-half_height - y_start) / step))
    high = min(n_y, math.floor((half_height - y_start) / step) + 1)
    if right <= left or high <= low:
        return False
    if left >= grid.left and right <= grid.right and low >= grid.low and high <= grid.high:
        return False
    term = sums.term
    term[_PEAK], term[_A], term[_B] = flux * peak, syy / determinant, -sxy / determinant
    term[_C], term[_DX], term[_DY] = sxx / determinant, x_start, y_start
    term[_REACH], term[_SYY] = reach, syy
    term[_LOW], term[_HIGH], term[_LEFT], term[_RIGHT] = low, high, left, right
    term[_UP2] = math.exp(-term[_C] * step * step)
    tilt = abs(sxy) / math.sqrt(sxx * syy)
    term[_STEEP] = 1.0 if reach > _MAX_CORNER * (1.0 - tilt) else 0.0
    return True


@helper
def _first_rows(term: F8, step: float, rows: F4, values: int, ratios: int) -> None:
    """Write the first row of a Gaussian, and its ratio to the next one; none if rows are steep."""
    n = int(term[_RIGHT]) - int(term[_LEFT])
    if term[_STEEP] > 0.0:
        for i in range(-(-n // SPARE) * SPARE):
            rows[ratios + i] = 0.0
        return
    a, b, c = term[_A], term[_B], term[_C]
    dx, dy = term[_DX] + term[_LEFT] * step, term[_DY] + term[_LOW] * step
    exponent = a * dx * dx + 2.0 * b * dx * dy + c * dy * dy
    value, up = term[_PEAK] * math.exp(-0.5 * exponent), -c * (dy + 0.5 * step) - b * dx
    ratio = math.exp(-(a * (dx + 0.5 * step) + b * dy) * step)
    _continue_row(value, ratio, math.exp(-a * step * step), n, rows, values)
    _continue_row(math.exp(up * step), math.exp(-b * step * step), 1.0, n, rows, ratios)


@helper
def _shape_slopes(term: F8, k: int, profile: F8, shape: F8) -> None:
    """Write the derivatives of a Gaussian to ln rho, e1 and e2, over the Gaussian, and to ln n."""
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
def _steep_row(term: F8, iy: int, step: float, rows: F4, at: int) -> None:
    """Write a Gaussian in a row, by itself, from its first column, which is element `at`, on."""
    a, b, dy = term[_A], term[_B], term[_DY] + iy * step
    first, end = int(term[_LEFT]), int(term[_RIGHT])
    half_width = math.sqrt(max(term[_REACH] - dy * dy / term[_SYY], 0.0) / a)
    middle = -b / a * dy - term[_DX]
    left = max(first, math.ceil((middle - half_width) / step))
    right = min(end, math.floor((middle + half_width) / step) + 1)
    for i in range(-(-(end - first) // SPARE) * SPARE):
        rows[at + i] = 0.0
    if right > left:
        dx = term[_DX] + left * step
        exponent = a * dx * dx + 2.0 * b * dx * dy + term[_C] * dy * dy
        ratio = math.exp(-a * step * (dx + 0.5 * step) - b * dy * step)
        value, n = term[_PEAK] * math.exp(-0.5 * exponent), right - left
        _continue_row(value, ratio, math.exp(-a * step * step), n, rows, at + left - first)


@helper
def _continue_row(value: float, ratio: float, ratio2: float, n: int, row: F4, at: int) -> None:
    """Write a Gaussian along a row: `value`, times `ratio`, which `ratio2` changes each time.

    From element `at` on, four points at once, each of which continues the one four before it; none
    beyond the n-th, up to the end of a register: single precision would soon have no numbers there.
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
    for k in range(n, -(-n // SPARE) * SPARE):
        row[np.uint64(at + k)] = 0.0


@fused
def _add_values(sums: Sums, grid: Grid, out: F4, start: int) -> None:
    """Add the values of a Gaussian."""
    term, moving = sums.term, sums.moving
    left, step, ratios = int(term[_LEFT]), float(grid.step), moving.size // 2
    whole = -(-(int(term[_RIGHT]) - left) // SPARE) * SPARE
    ratio, change = np.uint64(ratios), np.float32(term[_UP2])
    _first_rows(term, step, moving, 0, ratios)
    for iy in range(int(term[_LOW]), int(term[_HIGH])):
        if term[_STEEP] > 0.0:
            _steep_row(term, iy, step, moving, 0)
        to = np.uint64(start + iy * grid.n_x + left)
        for k in range(whole):
            i = np.uint64(k)
            g, r = moving[i], moving[ratio + i]
            out[to + i] += g
            moving[i] = g * r
            moving[ratio + i] = r * change


@fused
def _add_slopes(sums: Sums, grid: Grid) -> None:
    """Add the values of a Gaussian and its derivatives."""
    term, tile = sums.term, sums.tile
    low, left, step = int(term[_LOW]), int(term[_LEFT]), float(grid.step)
    whole = -(-(int(term[_RIGHT]) - left) // SPARE) * SPARE
    a, b, dx, interval = (
        np.float32(term[_A]), np.float32(term[_B]), np.float32(term[_DX]), np.float32(step)
    )  # fmt: skip
    weight, half = np.float32(term[_WEIGHT]), np.float32(0.5 * term[_VARIANCE])
    change = np.float32(term[_UP2])
    r_xx, p_xx, q_xx = (
        np.float32(term[_SHAPE]), np.float32(term[_SHAPE + 4]), np.float32(term[_SHAPE + 8])
    )  # fmt: skip
    at = low * STRIDE + left
    _first_rows(term, step, tile, 7 * SPAN + at, 8 * SPAN + at)
    for iy in range(low, int(term[_HIGH])):
        at = iy * STRIDE + left
        if term[_STEEP] > 0.0:
            _steep_row(term, iy, step, tile, 7 * SPAN + at)
        dy = term[_DY] + iy * step
        b_dy, c_dy = np.float32(term[_B] * dy), np.float32(term[_C] * dy)
        r_x, r_1 = (
            np.float32(term[_SHAPE + 1] * dy),
            np.float32(term[_SHAPE + 2] * dy * dy + term[_SHAPE + 3]),
        )
        p_x, p_1 = (
            np.float32(term[_SHAPE + 5] * dy),
            np.float32(term[_SHAPE + 6] * dy * dy + term[_SHAPE + 7]),
        )
        q_x, q_1 = (
            np.float32(term[_SHAPE + 9] * dy),
            np.float32(term[_SHAPE + 10] * dy * dy + term[_SHAPE + 11]),
        )
        to = np.uint64(at)
        for k in range(whole):
            j = to + np.uint64(k)
            g, r, x = tile[j + _VALUE], tile[j + _RATIO], dx + interval * tile[j + _COLUMN]
            by_radius = r_1 + x * (r_x + x * r_xx)
            tile[j] += g
            tile[j + _P1] += g * (a * x + b_dy)
            tile[j + _P2] += g * (b * x + c_dy)
            tile[j + _P3] += g * by_radius
            tile[j + _P4] += g * (p_1 + x * (p_x + x * p_xx))
            tile[j + _P5] += g * (q_1 + x * (q_x + x * q_xx))
            # all variances change as with the square of the radius
            tile[j + _P6] += g * (weight + half * by_radius)
            tile[j + _NEXT_VALUE] = g * r
            tile[j + _NEXT_RATIO] = r * change
