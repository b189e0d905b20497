"""The normal equations of a PSF on a pixel basis, from many stars at once.

The model of star s at pixel i is ``f_s sum_k u_sk sum_j B_kj phi((i - c_s) / step - j)``
with phi the cubic B-spline that sources are measured with.  Where the step is below a pixel,
the stars' different sub-pixel phases give the resolution (Bertin 2011, ASP Conf. Ser. 442,
435; Anderson & King 2000, PASP 112, 1360).  The matrix is never formed: `multiply` does so with it,
star by star, for a conjugate-gradient solver.  In single precision, which is far below what the
weights of pixels take a model to be exact to.  Rows are filled up with zeros to whole groups of
vector instructions: what is left over would be worked on number by number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.bspline import SplineGrid, place_axis, spline_grid

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

GROUP = 32
"""Numbers that a loop takes at once."""
_BATCH = 8
"""Stars whose models stay in a processor's cache."""


def filled_up(n: int) -> int:
    """Return the length of a row of n numbers with the zeros behind them."""
    return -(-n // GROUP) * GROUP


@helper
def place_stamp(
    cx: float, cy: float, step: float, n: int, x_low: int, y_low: int, n_x: int, n_y: int,
    grid: SplineGrid,
) -> None:  # fmt: skip
    """Place n_y x n_x pixels of a stamp, from (x_low, y_low) on, among n x n coefficients.

    The middle of the model is at pixel (cx, cy).
    """
    first_x, first_y, weight_x, weight_y, slope_x, slope_y, _, _ = grid
    middle = 0.5 * (n - 1)
    start = (x_low - cx) / step + middle
    place_axis(start, 1.0 / step, n_x, n, 1.0, first_x, weight_x, slope_x)
    start = (y_low - cy) / step + middle
    place_axis(start, 1.0 / step, n_y, n, 1.0, first_y, weight_y, slope_y)


@helper
def _local_models(coefficients: F4, terms: F8, out: F4) -> None:
    """Sum the terms of the PSF at each star; row by row, which is read once for all stars."""
    for a in range(out.shape[1]):
        for s in range(terms.shape[0]):
            line = out[s, a]
            line[:] = np.float32(0.0)
            for k in range(terms.shape[1]):
                u, row = np.float32(terms[s, k]), coefficients[k, a]
                for b in range(len(line)):
                    line[b] += u * row[b]


@helper
def _add_models(images: F4, terms: F8, out: F4) -> None:
    """Add the image of each star to all terms, times their values: the transpose of the above."""
    for a in range(out.shape[1]):
        for k in range(terms.shape[1]):
            row = out[k, a]
            for s in range(terms.shape[0]):
                u, line = np.float32(terms[s, k]), images[s, a]
                for b in range(len(row)):
                    row[b] += u * line[b]


@helper
def _along(model: F4, first: I8, weight: F8, rows: F4) -> None:
    """Evaluate the columns of coefficients at the places of pixels, a row for each of these."""
    for j in range(rows.shape[0]):
        a = first[j]
        w0, w1 = np.float32(weight[0, j]), np.float32(weight[1, j])
        w2, w3 = np.float32(weight[2, j]), np.float32(weight[3, j])
        m0, m1, m2, m3 = model[a], model[a + 1], model[a + 2], model[a + 3]
        row = rows[j]
        for b in range(len(row)):
            row[b] = w0 * m0[b] + w1 * m1[b] + w2 * m2[b] + w3 * m3[b]


@helper
def _back(rows: F4, first: I8, weight: F8, out: F4) -> None:
    """Put rows of pixels back on the coefficients `out`: the transpose of `_along`."""
    out[:] = np.float32(0.0)
    for j in range(rows.shape[0]):
        row = rows[j]
        for m in range(4):
            w = np.float32(weight[m, j])
            line = out[first[j] + m]
            for b in range(len(row)):
                line[b] += w * row[b]


@kernel
def multiply(
    coefficients: F4, terms: F8, step: float, cx: F8, cy: F8, values: F4, is_right: bool, out: F4
) -> None:
    """Multiply with the normal matrix (data part), or make the right side; add to `out`.

    Parameters
    ----------
    coefficients, out : (n_terms, n, filled_up(n)) float32
        0 behind the numbers of a row.
    terms : (n_stars, n_terms) float64
        Polynomial terms at each star.
    step : float
        Sampling of the model in pixels.
    cx, cy : (n_stars,) float64
        Centre of each star in its stamp.
    values : (n_stars, size, filled_up(size)) float32
        Of pixels [x, y], and 0 behind them: flux squared over variance, or for the right side
        flux times pixel value over variance.
    is_right : bool
        The coefficients do not count.
    """
    _, n, width = coefficients.shape
    n_stars, size, long = values.shape
    images = np.empty((_BATCH, n, width), dtype=np.float32)
    rows = np.zeros((size, width), dtype=np.float32)
    columns = np.zeros((n, long), dtype=np.float32)
    pixels = np.empty((size, long), dtype=np.float32)
    grid = spline_grid(size, 1)
    first_x, first_y, weight_x, weight_y, _, _, _, _ = grid
    for first in range(0, n_stars, _BATCH):
        here = terms[first : first + _BATCH]
        _local_models(coefficients, here, images)
        for s in range(len(here)):
            star, model = first + s, images[s]
            place_stamp(cx[star], cy[star], step, n, 0, 0, size, size, grid)
            _along(model, first_y, weight_y, rows)
            # The pixels of a column side by side: every sum runs along contiguous numbers.
            for b in range(n):
                for j in range(size):
                    columns[b, j] = rows[j, b]
            _along(columns, first_x, weight_x, pixels)
            for i in range(size):
                for j in range(long):
                    pixels[i, j] = values[star, i, j] * (
                        np.float32(1.0) if is_right else pixels[i, j]
                    )
            _back(pixels, first_x, weight_x, columns)
            for b in range(n):
                for j in range(size):
                    rows[j, b] = columns[b, j]
            _back(rows, first_y, weight_y, model)
        _add_models(images, here, out)


@kernel
def add_nearest(weight: F4, step: float, cx: F8, cy: F8, out: F8) -> None:
    """Add the weight of the pixel nearest to each coefficient, of all stars, to `out`.

    Parameters
    ----------
    weight : (n_stars, size, size) float32
        0 is added outside of a stamp.
    step, cx, cy
        As in `multiply`.
    out : (n, n) float64
    """
    n, size = out.shape[0], weight.shape[1]
    column = np.empty(n, dtype=np.int64)
    middle = 0.5 * (n - 1)
    for s in range(len(weight)):
        # Few coefficients are outside: their rows and columns are at both ends.
        low, high = n, 0
        for b in range(n):
            column[b] = math.floor(cx[s] + (b - middle) * step + 0.5)
            if 0 <= column[b] < size:
                low, high = min(low, b), b + 1
        for a in range(n):
            row = math.floor(cy[s] + (a - middle) * step + 0.5)
            if 0 <= row < size:
                line = weight[s, row]
                for b in range(low, high):
                    out[a, b] += line[column[b]]
