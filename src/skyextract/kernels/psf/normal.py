"""The normal equations of a PSF on a pixel basis, from many stars at once.

The model of star s at pixel i is ``f_s sum_k u_sk sum_j B_kj phi((i - c_s) / step - j)``
with phi the cubic B-spline that sources are measured with.  Where the step is below a pixel,
the stars' different sub-pixel phases give the resolution (Bertin 2011, ASP Conf. Ser. 442,
435; Anderson & King 2000, PASP 112, 1360).  The matrix is never formed: `apply_normal`
multiplies with it, star by star, for a conjugate-gradient solver.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.bspline import (
    SplineGrid,
    along_y,
    place_axis,
    spline_adjoint,
    spline_grid,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


_BATCH = 8
"""Stars whose models stay in a processor's cache."""


@helper
def place_stamp(
    cx: float, cy: float, step: float, n: int, x_low: int, y_low: int, n_x: int, n_y: int,
    grid: SplineGrid,
) -> None:  # fmt: skip
    """Place n_y x n_x pixels of a stamp, from (x_low, y_low) on, among n x n coefficients.

    The middle of the model is at pixel (cx, cy).
    """
    t, first_x, first_y, weight_x, weight_y, slope_x, slope_y, _ = grid
    middle = 0.5 * (n - 1)
    for k in range(n_x):
        t[k] = (x_low + k - cx) / step + middle
    place_axis(t, n_x, n, 1.0, first_x, weight_x, slope_x)
    for k in range(n_y):
        t[k] = (y_low + k - cy) / step + middle
    place_axis(t, n_y, n, 1.0, first_y, weight_y, slope_y)


@helper
def _local_models(coefficients: F8, terms: F8, out: F8) -> None:
    """Sum the terms of the PSF at each star; row by row, which is read once for all stars."""
    n_stars, n, _ = out.shape
    for a in range(n):
        for s in range(n_stars):
            line = out[s, a]
            line[:] = 0.0
            for k in range(coefficients.shape[0]):
                u = terms[s, k]
                row = coefficients[k, a]
                for b in range(n):
                    line[b] += u * row[b]


@helper
def _add_models(images: F8, terms: F8, out: F8) -> None:
    """Add the image of each star to all terms, times their values: the transpose of the above."""
    n_terms, n, _ = out.shape
    for a in range(n):
        for k in range(n_terms):
            row = out[k, a]
            for s in range(terms.shape[0]):
                u = terms[s, k]
                line = images[s, a]
                for b in range(n):
                    row[b] += u * line[b]


@helper
def _back_along_y(rows: F8, first: I8, weight: F8, out: F8) -> None:
    """Put rows of pixels back on the coefficients `out`: the transpose of `along_y`."""
    out[:] = 0.0
    for j in range(rows.shape[0]):
        for m in range(4):
            w = weight[j, m]
            line = out[first[j] + m]
            for b in range(rows.shape[1]):
                line[b] += w * rows[j, b]


@helper
def _weigh(model: F8, grid: SplineGrid, weight: F4, columns: F8, pixels: F8) -> None:
    """Replace a model by its pixels, times `weight` [x, y], put back on the coefficients.

    `spline_values` and `spline_adjoint` in one, with the pixels of a column side by side:
    every sum then runs along contiguous numbers.

    Parameters
    ----------
    columns, pixels : (n, size), (size, size) float64
        Scratch.
    """
    _, first_x, first_y, weight_x, weight_y, _, _, rows = grid
    n = model.shape[0]
    size = pixels.shape[0]
    along_y(model, first_y, weight_y, 0, n, size, rows)
    for b in range(n):
        for j in range(size):
            columns[b, j] = rows[j, b]
    along_y(columns, first_x, weight_x, 0, size, size, pixels)
    for i in range(size):
        for j in range(size):
            pixels[i, j] *= weight[i, j]
    _back_along_y(pixels, first_x, weight_x, columns)
    for b in range(n):
        for j in range(size):
            rows[j, b] = columns[b, j]
    _back_along_y(rows, first_y, weight_y, model)


@kernel
def apply_normal(
    coefficients: F8, terms: F8, step: float, cx: F8, cy: F8, weight: F4, out: F8
) -> None:
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
    weight : (n_stars, size, size) float32
        Flux squared over variance, of pixels [x, y].
    """
    n = coefficients.shape[1]
    size = weight.shape[1]
    n_stars = terms.shape[0]
    models = np.empty((min(_BATCH, n_stars), n, n), dtype=np.float64)
    columns = np.empty((n, size), dtype=np.float64)
    pixels = np.empty((size, size), dtype=np.float64)
    grid = spline_grid(size, n)
    for first in range(0, n_stars, _BATCH):
        last = min(first + _BATCH, n_stars)
        batch = models[: last - first]
        _local_models(coefficients, terms[first:last], batch)
        for s in range(first, last):
            place_stamp(cx[s], cy[s], step, n, 0, 0, size, size, grid)
            _weigh(batch[s - first], grid, weight[s], columns, pixels)
        _add_models(batch, terms[first:last], out)


@kernel
def right_side(terms: F8, step: float, cx: F8, cy: F8, target: F4, out: F8) -> None:
    """Right side of the normal equations of all stars; added to `out`.

    Parameters
    ----------
    target : (n_stars, size, size) float32
        Flux times pixel value over variance.
    out : (n_terms, n, n) float64
    """
    n = out.shape[1]
    size = target.shape[1]
    image = np.empty((1, n, n), dtype=np.float64)
    pixels = np.empty((size, size), dtype=np.float64)
    grid = spline_grid(size, n)
    for s in range(terms.shape[0]):
        place_stamp(cx[s], cy[s], step, n, 0, 0, size, size, grid)
        pixels[:] = target[s]
        image[:] = 0.0
        spline_adjoint(pixels, grid, image[0])
        _add_models(image, terms[s : s + 1], out)


@kernel
def information(step: float, cx: F8, cy: F8, weight: F4, out: F8) -> None:
    """Information of all stars on each coefficient, where no other is free; added to `out`.

    The weight of the pixel nearest to a coefficient, times the pixels per coefficient.

    Parameters
    ----------
    weight : (n_stars, size, size) float32
        Flux squared over variance.
    out : (n, n) float64
    """
    n = out.shape[0]
    size = weight.shape[1]
    share = step * step
    for s in range(weight.shape[0]):
        for j in range(n):
            a = math.floor((j - 0.5 * (n - 1)) * step + cy[s] + 0.5)
            if a < 0 or a >= size:
                continue
            for i in range(n):
                b = math.floor((i - 0.5 * (n - 1)) * step + cx[s] + 0.5)
                if 0 <= b < size:
                    out[j, i] += share * weight[s, a, b]


@kernel
def smooth_terms(images: F8, taps: F8, out: F8) -> None:
    """Convolve each image with the symmetric separable kernel `taps`; zeros beyond the edges.

    Parameters
    ----------
    images, out : (n_terms, n, n) float64
    taps : (2 half + 1,) float64
    """
    n_terms, n, _ = images.shape
    half = taps.shape[0] // 2
    tall = np.zeros((n + 2 * half, n), dtype=np.float64)
    wide = np.zeros(n + 2 * half, dtype=np.float64)
    middle = wide[half : half + n]
    for k in range(n_terms):
        tall[half : half + n] = images[k]
        for a in range(n):
            line = tall[half + a]
            for b in range(n):
                middle[b] = taps[half] * line[b]
            for t in range(1, half + 1):
                tap = taps[half + t]
                above, below = tall[half + a - t], tall[half + a + t]
                for b in range(n):
                    middle[b] += tap * (above[b] + below[b])
            sums = out[k, a]
            for b in range(n):
                sums[b] = taps[half] * middle[b]
            for t in range(1, half + 1):
                tap = taps[half + t]
                left, right = wide[half - t : half - t + n], wide[half + t : half + t + n]
                for b in range(n):
                    sums[b] += tap * (left[b] + right[b])
