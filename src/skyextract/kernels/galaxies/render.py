"""Profiles convolved with the PSF, both as mixtures of Gaussians, and their derivatives.

The ellipse of a profile is the matrix ``S = rho**2 exp(2 [[e1, e2], [e2, -e1]])``: rho is the
radius of the circle of the same area, the axis ratio ``exp(-2 |e|)``, the angle
``arctan2(e2, e1) / 2``.  It is never singular, and neither is what a fit can do to e1 and e2.
Gaussian k of the profile seen through Gaussian j of the PSF has the covariance ``s_k S + P_j``.

Points are in single precision, of which a register holds twice as many; exponentials are right to
4e-6.
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
    VARIANCE,
    WEIGHT,
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

# columns of the table of a Gaussian: amplitude; inverse covariance, but for yy; place of the first
# point; rows; variance along y; columns; derivatives to ln n of logarithms of weight and variance;
# derivatives to ln rho, e1, e2 over the Gaussian, as coefficients of x**2, x y, y**2 and 1
_PEAK, _A, _B, _DX, _DY, _LOW, _HIGH, _SYY, _LEFT, _RIGHT, _WEIGHT, _VARIANCE, _SHAPE = range(13)
N_TERMS = _SHAPE + 12

# signed sums of indices would be held against zero, which keeps loops from being vectorized
_P1, _P2, _P3, _P4, _P5, _P6, _COLUMN = (np.uint64(i * SPAN) for i in range(1, 8))

# powers of two: a polynomial (Chebyshev's, to 1e-7) of what is left of the exponent by the whole
# number next to it, which the sum with _SHIFTER rounds to and has in its last bits
_LOG2_E = math.log2(math.e)
_SHIFTER, _LEAST, _MANTISSA = np.float32(12582912.0), np.float32(-86.0), np.int32(23)
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(c) for c in (1.00000008, 0.69314719, 0.24022107, 0.05550357, 0.00967603, 0.00133909)
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
    term : (N_TERMS,) float64
        A Gaussian of the profile seen through one of the PSF.
    columns : (n,) float32
        0, 1, 2 ... for the longest row and `SPARE`.
    tile : (8 * SPAN,) float32
        Rows of `STRIDE` points: a profile of unit flux, its six derivatives, and the numbers of
        the columns.
    """

    term: F8
    columns: F4
    tile: F4


@helper
def sums_of(side: int) -> Sums:
    """Return work space for rows of up to `side` points."""
    columns, tile = np.empty(side + SPARE, np.float32), np.zeros(8 * SPAN, np.float32)
    for i in range(columns.size):
        columns[i] = i
    for i in range(SPAN):
        tile[7 * SPAN + i] = i % STRIDE
    return Sums(np.empty(N_TERMS), columns, tile)


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
    terms : (>= count, TERM) float64
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
    for k in range(count):
        if _set_term(terms, k, shape, x, y, grid, flux, faintest, sums):
            _add_values(sums, grid, out, start)


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
    for k in range(count):
        if _set_term(terms, k, shape, x, y, grid, 1.0, faintest, sums):
            _shape_slopes(sums.term, terms, k, shape)
            _add_slopes(sums, grid)


@helper
def _set_term(
    terms: F8, k: int, shape: F8, x: float, y: float, grid: Grid,
    flux: float, faintest: float, sums: Sums,
) -> bool:  # fmt: skip
    """Write the table of a Gaussian; return whether it reaches the grid."""
    n_x, n_y, step = grid.n_x, grid.n_y, float(grid.step)
    spread, s = (step * step - 1.0) / 12.0, terms[k, VARIANCE]
    sxx = s * shape[0, 0] + terms[k, XX] + spread
    sxy = s * shape[0, 1] + terms[k, XY]
    syy = s * shape[0, 2] + terms[k, YY] + spread
    determinant = sxx * syy - sxy * sxy
    peak = terms[k, WEIGHT] / (2.0 * math.pi * math.sqrt(determinant))
    if abs(peak) <= faintest:
        return False
    reach = min(2.0 * math.log(abs(peak) / faintest), MAX_EXPONENT)
    x_start = grid.x + 0.5 * (step - 1.0) - x - terms[k, DX]
    y_start = grid.y + 0.5 * (step - 1.0) - y - terms[k, DY]
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
    term[_DX], term[_DY], term[_SYY] = x_start, y_start, syy
    term[_LOW], term[_HIGH], term[_LEFT], term[_RIGHT] = low, high, left, right
    return True


@helper
def _shape_slopes(term: F8, terms: F8, k: int, shape: F8) -> None:
    """Write the derivatives of a Gaussian to ln rho, e1 and e2, over the Gaussian, and to ln n.

    They are quadratic forms of the inverse covariance times the place: a x and b x + y / syy, where
    x is measured from the largest value of the row.
    """
    s, a, b, c = terms[k, VARIANCE], term[_A], term[_B], 1.0 / term[_SYY]
    term[_WEIGHT], term[_VARIANCE] = terms[k, BY_WEIGHT], terms[k, BY_VARIANCE]
    for p in range(3):
        xx, xy, yy = s * shape[p + 1, 0], s * shape[p + 1, 1], s * shape[p + 1, 2]
        at = _SHAPE + 4 * p
        term[at] = 0.5 * a * a * xx + a * b * xy + 0.5 * b * b * yy
        term[at + 1] = c * (a * xy + b * yy)
        term[at + 2] = 0.5 * c * c * yy
        term[at + 3] = -0.5 * a * xx - b * xy - 0.5 * (c + b * b / a) * yy


@fused
def _add_values(sums: Sums, grid: Grid, out: F4, start: int) -> None:
    """Add the values of a Gaussian."""
    term, columns = sums.term, sums.columns
    left, step = int(term[_LEFT]), float(grid.step)
    n = int(term[_RIGHT]) - left
    whole, end = -(-n // SPARE) * SPARE, np.float32(n)
    peak, interval = np.float32(term[_PEAK]), np.float32(step)
    square, zero = np.float32(-0.5 * _LOG2_E * term[_A]), np.float32(0.0)
    tilt, c = term[_B] / term[_A], -0.5 * _LOG2_E / term[_SYY]
    for iy in range(int(term[_LOW]), int(term[_HIGH])):
        dy = term[_DY] + iy * step
        first, level = np.float32(term[_DX] + left * step + tilt * dy), np.float32(c * dy * dy)
        to = np.uint64(start + iy * grid.n_x + left)
        for k in range(whole):
            i = np.uint64(k)
            x = first + interval * columns[i]
            exponent = max(level + square * x * x, _LEAST)
            rounded = exponent + _SHIFTER
            z = exponent - (rounded - _SHIFTER)
            power = _E0 + z * (_E1 + z * (_E2 + z * (_E3 + z * (_E4 + z * _E5))))
            bits = np.int32(np.float32(rounded).view(np.int32) << _MANTISSA)
            g = peak * np.int32(np.float32(power).view(np.int32) + bits).view(np.float32)
            out[to + i] += g if columns[i] < end else zero


@fused
def _add_slopes(sums: Sums, grid: Grid) -> None:
    """Add the values of a Gaussian and its derivatives."""
    term, tile = sums.term, sums.tile
    left, step = int(term[_LEFT]), float(grid.step)
    whole = -(-(int(term[_RIGHT]) - left) // SPARE) * SPARE
    peak, interval = np.float32(term[_PEAK]), np.float32(step)
    square, half = np.float32(-0.5 * _LOG2_E * term[_A]), np.float32(0.5 * term[_VARIANCE])
    a, b, weight = np.float32(term[_A]), np.float32(term[_B]), np.float32(term[_WEIGHT])
    r_xx, r_xy, r_yy, r_0 = _form(term, _SHAPE)
    p_xx, p_xy, p_yy, p_0 = _form(term, _SHAPE + 4)
    q_xx, q_xy, q_yy, q_0 = _form(term, _SHAPE + 8)
    tilt, c = term[_B] / term[_A], 1.0 / term[_SYY]
    c_y, log_y = np.float32(c), np.float32(-0.5 * _LOG2_E * c)
    for iy in range(int(term[_LOW]), int(term[_HIGH])):
        place = term[_DY] + iy * step
        y, first = np.float32(place), np.float32(term[_DX] + tilt * place)
        level, c_dy = log_y * y * y, c_y * y
        r_x, r_1 = r_xy * y, r_yy * y * y + r_0
        p_x, p_1 = p_xy * y, p_yy * y * y + p_0
        q_x, q_1 = q_xy * y, q_yy * y * y + q_0
        to = np.uint64(iy * STRIDE + left)
        for k in range(whole):
            j = to + np.uint64(k)
            x = first + interval * tile[j + _COLUMN]
            exponent = max(level + square * x * x, _LEAST)
            rounded = exponent + _SHIFTER
            z = exponent - (rounded - _SHIFTER)
            power = _E0 + z * (_E1 + z * (_E2 + z * (_E3 + z * (_E4 + z * _E5))))
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
def _form(term: F8, at: int) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return a quadratic form of the table in single precision."""
    return (
        np.float32(term[at]), np.float32(term[at + 1]), np.float32(term[at + 2]),
        np.float32(term[at + 3]),
    )  # fmt: skip
