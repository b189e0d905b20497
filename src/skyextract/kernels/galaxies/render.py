"""Profiles convolved with the PSF, both as mixtures of Gaussians, and their derivatives.

The ellipse of a profile is the matrix ``S = rho**2 exp(2 [[e1, e2], [e2, -e1]])``: rho is the
radius of the circle of the same area, the axis ratio ``exp(-2 |e|)``, the angle
``arctan2(e2, e1) / 2``.  It is never singular, and neither is what a fit can do to e1 and e2.
Gaussian k of the profile seen through Gaussian j of the PSF has the covariance ``s_k S + P_j``.

Points are in single precision, of which a register holds twice as many; exponentials are right to
5e-6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.convolution import (
    BY_VARIANCE,
    BY_WEIGHT,
    DX,
    DY,
    LANES,
    TERM,
    VARIANCE,
    WEIGHT,
    WIDTH,
    XX,
    XY,
    YY,
)
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

MAX_EXPONENT = 50.0
"""Gaussians end where they are exp(-25) of their peak, or earlier if they are faint."""

# behind the numbers of `convolve`: amplitude; inverse covariance, but for yy; place of the first
# point that is drawn; 1 / variance along y; from and to before which row and column; derivatives to
# ln rho, e1, e2 over the Gaussian, as coefficients of x**2, and from there of x y, y**2 and 1
_PEAK, _A, _B, _DX, _DY, _C, _LOW, _HIGH, _LEFT, _RIGHT, _BY_RADIUS = (
    np.uint64(row * LANES) for row in range(TERM, TERM + 11)
)
_X_Y, _Y_Y, _1, _FORM = (np.uint64(row * LANES) for row in range(1, 5))
_BY_E1, _BY_E2 = _BY_RADIUS + _FORM, _BY_RADIUS + _FORM + _FORM
# the bits of a number of single precision are its logarithm to base 2, right to 0.043
_OCTAVE, _PER_BIT, _OF_ONE = 2.0 * math.log(2.0), 2.0**-23, 127.0 - 0.043

# signed sums of indices would be held against zero, which keeps loops from being vectorized
_P1, _P2, _P3, _P4, _P5, _P6, _COLUMN, _R0 = (np.uint64(i * SPAN) for i in range(1, 9))
_R1, _R2, _R3, _R4, _R5, _R6, _R7, _R8 = (np.uint64(8 * SPAN + i * SIDE) for i in range(1, 9))

# powers of two: a polynomial (minimax, to 2.6e-6) of what is left of the exponent by the whole
# number next to it, which the sum with _SHIFTER rounds to and has in its last bits
_PER_SQUARE = np.float32(-0.5 * math.log2(math.e))
_SHIFTER, _LEAST, _MANTISSA = np.float32(12582912.0), np.float32(-86.0), np.int32(23)
_E0, _E1, _E2, _E3, _E4 = (
    np.float32(c) for c in (0.99999926, 0.69312181, 0.24024745, 0.05591786, 0.0095701)
)


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
    columns : (n,) float32
        0, 1, 2 ... for the longest row and `SPARE`.
    tile : (9 * SPAN,) float32
        Rows of `STRIDE` points: a profile of unit flux, its six derivatives, and the numbers of
        the columns; nine numbers for each row.
    """

    columns: F4
    tile: F4


@helper
def sums_of(side: int) -> Sums:
    """Return work space for rows of up to `side` points."""
    columns, tile = np.empty(side + SPARE, np.float32), np.zeros(9 * SPAN, np.float32)
    for i in range(columns.size):
        columns[i] = i
    for i in range(SPAN):
        tile[7 * SPAN + i] = i % STRIDE
    return Sums(columns, tile)


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
    terms: F8, count: int, shape: F8, x: float, y: float, grid: Grid,
    flux: float, faintest: float, sums: Sums, out: F4, start: int,
) -> None:  # fmt: skip
    """Add a profile to `out`, from element `start` on.

    Parameters
    ----------
    terms : (n,) float64
        Its Gaussians as `convolve` writes them.
    count : int
    shape : (4, 3) float64
        As `ellipse` writes it.
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
    for first in range(0, count, LANES):
        _set_table(terms, first, shape, x, y, grid, flux, faintest)
        for k in range(min(LANES, count - first)):
            at = np.uint64(first * WIDTH + k)
            if _is_seen(terms, at, grid):
                _add_values(terms, at, sums, grid, out, start)


@helper
def draw_slopes(
    terms: F8, count: int, shape: F8, x: float, y: float, grid: Grid, faintest: float, sums: Sums
) -> None:
    """Draw a profile of unit flux into ``sums.tile``, with its derivatives.

    Parameters are those of `add_values`, but that the grid has up to `SIDE` columns and rows.
    """
    tile, end = sums.tile, min(grid.n_y * STRIDE + SPARE, SPAN)
    for plane in range(N_PLANES):
        for i in range(end):
            tile[np.uint64(plane * SPAN + i)] = 0.0
    for first in range(0, count, LANES):
        _set_table(terms, first, shape, x, y, grid, 1.0, faintest)
        _set_slopes(terms, first, shape)
        for k in range(min(LANES, count - first)):
            at = np.uint64(first * WIDTH + k)
            if _is_seen(terms, at, grid):
                _add_slopes(terms, at, sums, grid)


@fused
def _set_table(
    terms: F8, first: int, shape: F8, x: float, y: float, grid: Grid,
    flux: float, faintest: float,
) -> None:  # fmt: skip
    """Write what `LANES` Gaussians are drawn with on a grid, but for their derivatives."""
    n_x, n_y, step = float(grid.n_x), float(grid.n_y), float(grid.step)
    spread, per_step = (step * step - 1.0) / 12.0, 1.0 / step
    x_start, y_start = grid.x + 0.5 * (step - 1.0) - x, grid.y + 0.5 * (step - 1.0) - y
    xx, xy, yy = shape[0, 0], shape[0, 1], shape[0, 2]
    for lane in range(LANES):
        i = np.uint64(first * WIDTH + lane)
        s = terms[VARIANCE + i]
        sxx, sxy = s * xx + terms[XX + i] + spread, s * xy + terms[XY + i]
        syy = s * yy + terms[YY + i] + spread
        determinant = sxx * syy - sxy * sxy
        peak = terms[WEIGHT + i] / (2.0 * math.pi * math.sqrt(determinant))
        bits = np.float32(abs(peak) / faintest).view(np.int32)
        reach = min(_OCTAVE * (float(bits) * _PER_BIT - _OF_ONE), MAX_EXPONENT)
        seen, reach = reach > 0.0, max(reach, 0.0)
        dx, dy = x_start - terms[DX + i], y_start - terms[DY + i]
        half_width, half_height = math.sqrt(reach * sxx), math.sqrt(reach * syy)
        left = max(0.0, np.ceil((-half_width - dx) * per_step))
        low = max(0.0, np.ceil((-half_height - dy) * per_step))
        right = min(n_x, np.floor((half_width - dx) * per_step) + 1.0)
        terms[_PEAK + i], terms[_A + i] = flux * peak, syy / determinant
        terms[_B + i], terms[_C + i] = -sxy / determinant, 1.0 / syy
        terms[_DX + i], terms[_DY + i] = dx + left * step, dy + low * step
        terms[_LEFT + i], terms[_RIGHT + i] = left, right if seen else 0.0
        terms[_LOW + i] = low
        terms[_HIGH + i] = min(n_y, np.floor((half_height - dy) * per_step) + 1.0)


@helper
def _is_seen(terms: F8, at: np.uint64, grid: Grid) -> bool:
    """Tell whether a Gaussian reaches points of the grid that are to be drawn."""
    left, right = terms[_LEFT + at], terms[_RIGHT + at]
    low, high = terms[_LOW + at], terms[_HIGH + at]
    if right <= left or high <= low:
        return False
    spared: bool = left >= grid.left and right <= grid.right and low >= grid.low
    return not (spared and high <= grid.high)


@fused
def _set_slopes(terms: F8, first: int, shape: F8) -> None:
    """Write the derivatives of Gaussians to ln rho, e1 and e2, over the Gaussian, and to ln n.

    They are quadratic forms of the inverse covariance times the place: a x and b x + c y, where x
    is measured from the largest value of the row.
    """
    r_xx, r_xy, r_yy = shape[1, 0], shape[1, 1], shape[1, 2]
    p_xx, p_xy, p_yy = shape[2, 0], shape[2, 1], shape[2, 2]
    q_xx, q_xy, q_yy = shape[3, 0], shape[3, 1], shape[3, 2]
    for lane in range(LANES):
        i = np.uint64(first * WIDTH + lane)
        s, a, b, c = terms[VARIANCE + i], terms[_A + i], terms[_B + i], terms[_C + i]
        form = _form_of(s, a, b, c, r_xx, r_xy, r_yy)
        terms[_BY_RADIUS + i], terms[_BY_RADIUS + _X_Y + i] = form[0], form[1]
        terms[_BY_RADIUS + _Y_Y + i], terms[_BY_RADIUS + _1 + i] = form[2], form[3]
        form = _form_of(s, a, b, c, p_xx, p_xy, p_yy)
        terms[_BY_E1 + i], terms[_BY_E1 + _X_Y + i] = form[0], form[1]
        terms[_BY_E1 + _Y_Y + i], terms[_BY_E1 + _1 + i] = form[2], form[3]
        form = _form_of(s, a, b, c, q_xx, q_xy, q_yy)
        terms[_BY_E2 + i], terms[_BY_E2 + _X_Y + i] = form[0], form[1]
        terms[_BY_E2 + _Y_Y + i], terms[_BY_E2 + _1 + i] = form[2], form[3]


@fused
def _form_of(
    s: float, a: float, b: float, c: float, xx: float, xy: float, yy: float
) -> tuple[float, float, float, float]:
    bend = a * xx + 2.0 * b * xy
    return (
        0.5 * s * (a * bend + b * b * yy), s * c * (a * xy + b * yy), 0.5 * s * c * c * yy,
        -0.5 * s * (bend + (c + b * b / a) * yy),
    )  # fmt: skip


@fused
def _add_values(terms: F8, at: np.uint64, sums: Sums, grid: Grid, out: F4, start: int) -> None:
    """Add the values of a Gaussian."""
    columns = sums.columns
    left, interval = int(terms[_LEFT + at]), np.float32(grid.step)
    n = int(terms[_RIGHT + at]) - left
    whole, end = -(-n // SPARE) * SPARE, np.float32(n)
    peak, zero = np.float32(terms[_PEAK + at]), np.float32(0.0)
    x_first, y_first = np.float32(terms[_DX + at]), np.float32(terms[_DY + at])
    square, c = _PER_SQUARE * np.float32(terms[_A + at]), _PER_SQUARE * np.float32(terms[_C + at])
    tilt, low = np.float32(terms[_B + at]) / np.float32(terms[_A + at]), int(terms[_LOW + at])
    for iy in range(low, int(terms[_HIGH + at])):
        dy = y_first + interval * np.float32(iy - low)
        first, level = x_first + tilt * dy, c * dy * dy
        to = np.uint64(start + iy * grid.n_x + left)
        for k in range(whole):
            i = np.uint64(k)
            x = first + interval * columns[i]
            exponent = max(level + square * x * x, _LEAST)
            rounded = exponent + _SHIFTER
            z = exponent - (rounded - _SHIFTER)
            power = _E0 + z * (_E1 + z * (_E2 + z * (_E3 + z * _E4)))
            bits = np.int32(np.float32(rounded).view(np.int32) << _MANTISSA)
            g = peak * np.int32(np.float32(power).view(np.int32) + bits).view(np.float32)
            out[to + i] += g if columns[i] < end else zero


@fused
def _add_slopes(terms: F8, at: np.uint64, sums: Sums, grid: Grid) -> None:
    """Add the values of a Gaussian and its derivatives."""
    tile = sums.tile
    left, low, interval = int(terms[_LEFT + at]), int(terms[_LOW + at]), np.float32(grid.step)
    whole = -(-(int(terms[_RIGHT + at]) - left) // SPARE) * SPARE
    rows = int(terms[_HIGH + at]) - low
    peak, weight = np.float32(terms[_PEAK + at]), np.float32(terms[BY_WEIGHT + at])
    a, b, c = np.float32(terms[_A + at]), np.float32(terms[_B + at]), np.float32(terms[_C + at])
    r_xx, r_xy, r_yy, r_0 = _form(terms, _BY_RADIUS + at)
    p_xx, p_xy, p_yy, p_0 = _form(terms, _BY_E1 + at)
    q_xx, q_xy, q_yy, q_0 = _form(terms, _BY_E2 + at)
    square, log_y, tilt = _PER_SQUARE * a, _PER_SQUARE * c, b / a
    half = np.float32(0.5 * terms[BY_VARIANCE + at])
    x_first = np.float32(terms[_DX + at] - grid.step * terms[_LEFT + at])
    y_first = np.float32(terms[_DY + at])
    for k in range(-(-rows // SPARE) * SPARE):
        j = np.uint64(k)
        y = y_first + interval * tile[j + _COLUMN]
        y2 = y * y
        tile[j + _R0], tile[j + _R1] = x_first + tilt * y, log_y * y2
        tile[j + _R2], tile[j + _R3] = c * y, r_xy * y
        tile[j + _R4], tile[j + _R5] = r_yy * y2 + r_0, p_xy * y
        tile[j + _R6], tile[j + _R7] = p_yy * y2 + p_0, q_xy * y
        tile[j + _R8] = q_yy * y2 + q_0
    for row in range(rows):
        m = np.uint64(row)
        first, level, c_dy = tile[m + _R0], tile[m + _R1], tile[m + _R2]
        r_x, r_1, p_x, p_1 = tile[m + _R3], tile[m + _R4], tile[m + _R5], tile[m + _R6]
        q_x, q_1, to = tile[m + _R7], tile[m + _R8], np.uint64((low + row) * STRIDE + left)
        for k in range(whole):
            j = to + np.uint64(k)
            x = first + interval * tile[j + _COLUMN]
            exponent = max(level + square * x * x, _LEAST)
            rounded = exponent + _SHIFTER
            z = exponent - (rounded - _SHIFTER)
            power = _E0 + z * (_E1 + z * (_E2 + z * (_E3 + z * _E4)))
            bits = np.int32(np.float32(rounded).view(np.int32) << _MANTISSA)
            g = peak * np.int32(np.float32(power).view(np.int32) + bits).view(np.float32)
            by_radius = r_1 + x * (r_x + x * r_xx)
            tile[j] += g
            tile[j + _P1] += g * (a * x)
            tile[j + _P2] += g * (b * x + c_dy)
            tile[j + _P3] += g * by_radius
            tile[j + _P4] += g * (p_1 + x * (p_x + x * p_xx))
            tile[j + _P5] += g * (q_1 + x * (q_x + x * q_xx))
            # all variances change as with the square of the radius
            tile[j + _P6] += g * (weight + half * by_radius)


@helper
def _form(terms: F8, at: np.uint64) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return a quadratic form in single precision."""
    return (
        np.float32(terms[at]), np.float32(terms[_X_Y + at]), np.float32(terms[_Y_Y + at]),
        np.float32(terms[_1 + at]),
    )  # fmt: skip
