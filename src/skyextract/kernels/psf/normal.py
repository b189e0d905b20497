"""The normal equations of a PSF on a pixel basis, from many stars at once.

The model of star s at pixel i is ``f_s sum_k u_sk sum_j B_kj phi((i - c_s) / step - j)``
with phi the cubic B-spline that sources are measured with.  Where the step is below a pixel,
the stars' different sub-pixel phases give the resolution (Bertin 2011, ASP Conf. Ser. 442,
435; Anderson & King 2000, PASP 112, 1360).  The matrix is never formed: `product` multiplies with
it, star by star, for a conjugate-gradient solver.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.bspline import (
    SplineGrid,
    place_axis,
    spline_adjoint,
    spline_grid,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8


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
    image = np.empty((n, n), dtype=np.float64)
    pixels = np.empty((size, size), dtype=np.float64)
    grid = spline_grid(size, n)
    for s in range(terms.shape[0]):
        place_stamp(cx[s], cy[s], step, n, 0, 0, size, size, grid)
        pixels[:] = target[s]
        image[:] = 0.0
        spline_adjoint(pixels, grid, image)
        for k in range(terms.shape[1]):
            u, term = terms[s, k], out[k]
            for a in range(n):
                row, line = term[a], image[a]
                for b in range(n):
                    row[b] += u * line[b]


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
