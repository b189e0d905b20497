"""Evaluation of a PSF model: polynomial in position, cubic B-spline between samples.

The samples of a `Psf` are values of the pixel-integrated PSF on a grid of step `sampling`
pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.psf.bspline import SplineGrid, place_axis, spline_grid, spline_values

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


WHOLE = 1 << 20
"""Radius within which there is all of any model."""


class PsfModel(NamedTuple):
    """A PSF that varies over the image.

    Attributes
    ----------
    coefficients : (n_terms, n_y, n_x) float64
        B-spline coefficients of each polynomial term, from `spline_coefficients`.
    degree : int
        Of the polynomial.
    sampling : float
        Step of the coefficients in pixels.
    """

    coefficients: F8
    degree: int
    sampling: float


@helper
def combine_terms(coefficients: F8, terms: F8, low: int, out: F8) -> None:
    """Sum the images `coefficients` (n_terms, n_y, n_x), times the values of their terms.

    `low` rows and columns at each edge stay as they are.  There are 1, 3, 6, 10 ... terms: three at
    a time, a row is read and written less often.
    """
    n_y, n_x = out.shape
    n_terms = coefficients.shape[0]
    if n_terms == 6:
        _combine_six(coefficients, terms, low, out)
        return
    single = n_terms % 3
    for a in range(low, n_y - low):
        row = out[a, low : n_x - low]
        row[:] = 0.0
        for k in range(single):
            factor = terms[k]
            first = coefficients[k, a, low : n_x - low]
            for b in range(row.size):
                row[b] += factor * first[b]
        for k in range(single, n_terms, 3):
            f0, f1, f2 = terms[k], terms[k + 1], terms[k + 2]
            first = coefficients[k, a, low : n_x - low]
            second = coefficients[k + 1, a, low : n_x - low]
            third = coefficients[k + 2, a, low : n_x - low]
            for b in range(row.size):
                row[b] = row[b] + f0 * first[b] + f1 * second[b] + f2 * third[b]


@helper
def _combine_six(coefficients: F8, terms: F8, low: int, out: F8) -> None:
    """Do what `combine_terms` does for the six terms of degree 2, the usual case."""
    n_y, n_x = out.shape
    f0, f1, f2, f3, f4, f5 = terms[0], terms[1], terms[2], terms[3], terms[4], terms[5]
    for a in range(low, n_y - low):
        row = out[a, low : n_x - low]
        c0 = coefficients[0, a, low : n_x - low]
        c1 = coefficients[1, a, low : n_x - low]
        c2 = coefficients[2, a, low : n_x - low]
        c3 = coefficients[3, a, low : n_x - low]
        c4 = coefficients[4, a, low : n_x - low]
        c5 = coefficients[5, a, low : n_x - low]
        for b in range(row.size):
            first = f0 * c0[b] + f1 * c1[b] + f2 * c2[b]
            row[b] = first + f3 * c3[b] + f4 * c4[b] + f5 * c5[b]


@summation
def _sum_of_row(row: F8) -> float:
    total = 0.0
    for b in range(row.shape[0]):
        total += row[b]
    return total


@helper
def term_totals(coefficients: F8) -> F8:
    """Return the sum of each term's coefficients, as `local_model` wants them.

    Few sources are fitted in less time than 30,000 numbers take that are added one after the other.
    """
    totals = np.zeros(coefficients.shape[0], dtype=np.float64)
    for k in range(coefficients.shape[0]):
        for a in range(coefficients.shape[1]):
            totals[k] += _sum_of_row(coefficients[k, a])
    return totals


@helper
def local_model(psf: PsfModel, totals: F8, u: float, v: float, radius: int, out: F8) -> None:
    """Coefficients of the PSF at normalised position (u, v), of unit sum over pixels.

    `totals` are the sums of the terms: with them the sum is known before any is drawn.  What the
    pixels within `radius` of the source's own along both axes do not need is left out; `WHOLE`:
    nothing is.
    """
    terms = np.empty(psf.coefficients.shape[0], dtype=np.float64)
    k = 0
    total = 0.0
    v_power = 1.0
    for j in range(psf.degree + 1):
        term = v_power
        for _ in range(psf.degree + 1 - j):
            terms[k] = term
            total += term * totals[k]
            term *= u
            k += 1
        v_power *= v
    total *= psf.sampling * psf.sampling
    if total > 0.0:
        for k in range(terms.size):
            terms[k] /= total
    size = min(out.shape[0], out.shape[1])
    needed = 2 * math.floor((radius + 0.5) / psf.sampling + 1e-6) + 5
    combine_terms(psf.coefficients, terms, max(0, (size - needed) // 2), out)


@helper
def render(
    model: F8, sampling: float, x: float, y: float, x_low: int, y_low: int, n_x: int, n_y: int,
    slopes: bool, grid: SplineGrid, out: F8,
) -> None:  # fmt: skip
    """Draw the model, centred on (x, y), into out[0]; its derivatives to x, y into out[1:3].

    The region has n_y x n_x pixels from (x_low, y_low) on.
    """
    first_x, first_y, weight_x, weight_y, slope_x, slope_y, _, _ = grid
    m_y, m_x = model.shape
    step = 1.0 / sampling
    # The centre moves against the coordinates of the pixels.
    start = (m_x - 1) / 2 + (x_low - x) * step
    place_axis(start, step, n_x, m_x, -step, first_x, weight_x, slope_x)
    start = (m_y - 1) / 2 + (y_low - y) * step
    place_axis(start, step, n_y, m_y, -step, first_y, weight_y, slope_y)
    spline_values(model, grid, n_y, n_x, slopes, out)


@kernel
def psf_stamps(
    coefficients: F8, degree: int, sampling: float, u: F8, v: F8, dx: F8, dy: F8, out: F4
) -> None:
    """Render the PSF on the pixel grid, for many sources.

    Parameters
    ----------
    coefficients, degree, sampling
        As in `PsfModel`.
    u, v : (n,) float64
        Normalised positions, where the polynomial is evaluated.
    dx, dy : (n,) float64
        Centre of the PSF relative to the middle pixel of the stamp.
    out : (n, k, k) float32
        Stamps; the whole model sums to 1, pixels beyond it are 0.
    """
    psf = PsfModel(coefficients, degree, sampling)
    size = out.shape[1]
    half = size // 2
    model = np.empty(coefficients.shape[1:], dtype=np.float64)
    grid = spline_grid(size, coefficients.shape[2])
    stamp = np.empty((1, size, size), dtype=np.float64)
    totals = term_totals(coefficients)
    for n in range(u.size):
        reach = half + math.ceil(max(abs(dx[n]), abs(dy[n])))
        local_model(psf, totals, u[n], v[n], reach, model)
        render(model, sampling, dx[n], dy[n], -half, -half, size, size, False, grid, stamp)
        for j in range(size):
            for i in range(size):
                out[n, j, i] = stamp[0, j, i]
