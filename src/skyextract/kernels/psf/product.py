"""Multiplication with the normal matrix of a PSF (`normal`), star by star.

In single precision, which is far below what the weights of pixels take a model to be exact to.
Rows are filled up with zeros to whole groups of vector instructions: what is left over would be
worked on number by number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.bspline import spline_grid
from skyextract.kernels.psf.normal import place_stamp

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

GROUP = 32
"""Numbers that a loop takes at once."""
_BATCH = 8
"""Stars whose models stay in a processor's cache."""
_PIECE = 8 * GROUP


def filled_up(n: int) -> int:
    """Return the length of a row of n numbers with the zeros behind them."""
    return -(-n // GROUP) * GROUP


@helper
def _local_models(coefficients: F4, terms: F4, out: F4) -> None:
    """Sum the terms of the PSF at each star; piece by piece, which is read once for all stars."""
    n_stars, size = out.shape
    n_terms = terms.shape[1]
    for low in range(0, size, _PIECE):
        high = min(low + _PIECE, size)
        for s in range(n_stars):
            line = out[s, low:high]
            u, row = terms[s, 0], coefficients[0, low:high]
            for b in range(high - low):
                line[b] = u * row[b]
            for k in range(1, n_terms - 1, 2):
                u, v = terms[s, k], terms[s, k + 1]
                row, other = coefficients[k, low:high], coefficients[k + 1, low:high]
                for b in range(high - low):
                    line[b] += u * row[b] + v * other[b]
            if n_terms % 2 == 0:
                u, row = terms[s, n_terms - 1], coefficients[n_terms - 1, low:high]
                for b in range(high - low):
                    line[b] += u * row[b]


@helper
def _add_models(images: F4, terms: F4, out: F4) -> None:
    """Add the image of each star to all terms, times their values: the transpose of the above."""
    n_terms, size = out.shape
    n_stars = images.shape[0]
    for low in range(0, size, _PIECE):
        high = min(low + _PIECE, size)
        for k in range(n_terms):
            row = out[k, low:high]
            for s in range(0, n_stars - 1, 2):
                u, v = terms[s, k], terms[s + 1, k]
                line, other = images[s, low:high], images[s + 1, low:high]
                for b in range(high - low):
                    row[b] += u * line[b] + v * other[b]
            if n_stars % 2 == 1:
                u, line = terms[n_stars - 1, k], images[n_stars - 1, low:high]
                for b in range(high - low):
                    row[b] += u * line[b]


@helper
def _along(model: F4, first: I8, weight: F8, rows: F4) -> None:
    """Evaluate the columns of coefficients at the places of pixels, a row for each of these."""
    for j in range(rows.shape[0]):
        a = first[j]
        w0, w1 = np.float32(weight[j, 0]), np.float32(weight[j, 1])
        w2, w3 = np.float32(weight[j, 2]), np.float32(weight[j, 3])
        m0, m1, m2, m3 = model[a], model[a + 1], model[a + 2], model[a + 3]
        row = rows[j]
        for b in range(len(row)):
            row[b] = w0 * m0[b] + w1 * m1[b] + w2 * m2[b] + w3 * m3[b]


@helper
def _back(rows: F4, first: I8, weight: F8, out: F4) -> None:
    """Put rows of pixels back on the coefficients `out`: the transpose of `_along`."""
    out[:] = np.float32(0.0)
    for j in range(rows.shape[0]):
        a, row = first[j], rows[j]
        w0, w1 = np.float32(weight[j, 0]), np.float32(weight[j, 1])
        w2, w3 = np.float32(weight[j, 2]), np.float32(weight[j, 3])
        m0, m1, m2, m3 = out[a], out[a + 1], out[a + 2], out[a + 3]
        for b in range(len(row)):
            value = row[b]
            m0[b] += w0 * value
            m1[b] += w1 * value
            m2[b] += w2 * value
            m3[b] += w3 * value


@kernel
def multiply(coefficients: F8, terms: F8, step: float, cx: F8, cy: F8, weight: F4, out: F8) -> None:
    """Multiply with the normal matrix (data part); add to `out`.

    Parameters
    ----------
    coefficients, out : (n_terms, n, n) float64
    terms : (n_stars, n_terms) float64
        Polynomial terms at each star.
    step : float
        Sampling of the model in pixels.
    cx, cy : (n_stars,) float64
        Centre of each star in its stamp.
    weight : (n_stars, size, filled_up(size)) float32
        Flux squared over variance, of pixels [x, y]; 0 behind them.
    """
    n_terms, n, _ = coefficients.shape
    n_stars, size, long = weight.shape
    width = -(-n // GROUP) * GROUP
    terms4 = terms.astype(np.float32)
    given = np.zeros((n_terms, n, width), dtype=np.float32)
    given[:, :, :n] = coefficients
    sums = np.zeros((n_terms, n, width), dtype=np.float32)
    models = np.empty((min(_BATCH, n_stars), n, width), dtype=np.float32)
    rows = np.empty((size, width), dtype=np.float32)
    columns = np.zeros((n, long), dtype=np.float32)
    pixels = np.empty((size, long), dtype=np.float32)
    flat_given, flat_sums = given.reshape(n_terms, -1), sums.reshape(n_terms, -1)
    flat_models = models.reshape(len(models), -1)
    grid = spline_grid(size, 1)
    first_x, first_y, weight_x, weight_y = (
        grid.first_x, grid.first_y, grid.weight_x, grid.weight_y
    )  # fmt: skip
    for first in range(0, n_stars, _BATCH):
        n_here = min(_BATCH, n_stars - first)
        _local_models(flat_given, terms4[first : first + n_here], flat_models[:n_here])
        for s in range(n_here):
            star, model = first + s, models[s]
            place_stamp(cx[star], cy[star], step, n, 0, 0, size, size, grid)
            _along(model, first_y, weight_y, rows)
            # The pixels of a column side by side: every sum runs along contiguous numbers.
            for b in range(n):
                for j in range(size):
                    columns[b, j] = rows[j, b]
            _along(columns, first_x, weight_x, pixels)
            for i in range(size):
                line, factor = pixels[i], weight[star, i]
                for j in range(long):
                    line[j] *= factor[j]
            _back(pixels, first_x, weight_x, columns)
            for b in range(n):
                for j in range(size):
                    rows[j, b] = columns[b, j]
            _back(rows, first_y, weight_y, model)
        _add_models(flat_models[:n_here], terms4[first : first + n_here], flat_sums)
    for k in range(n_terms):
        for a in range(n):
            for b in range(n):
                out[k, a, b] += sums[k, a, b]
