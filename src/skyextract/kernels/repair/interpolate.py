"""Interpolation of lost pixels from their neighbours, with the PSF's correlation length.

Best linear prediction (a Gaussian process, "kriging"; Rybicki & Press 1992, ApJ 398, 169):
the scene has the PSF's autocorrelation, a Gaussian of sqrt(2) times its width, about the
known sky level; its amplitude is measured on the neighbours themselves, so that blank sky is
filled with sky and the missing pixel of a star with what the star must have there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.cholesky import factor, solve
from skyextract.kernels.jit import kernel

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1, Bools

N_NEIGHBOURS = 12


@kernel
def predict(
    data: F4,
    variance: F4,
    state: U1,
    offsets: I8,
    correlation: F8,
    ys: I8,
    xs: I8,
    values: F4,
) -> None:
    """Predict pixels from the nearest usable ones.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Pixels without sky, variance of the sky.
    state : (ny, nx) uint8
        0 for a pixel that can be used.
    offsets : (m, 2) int64
        (dx, dy) of the neighbours to look at, nearest first.
    correlation : (r,) float64
        Correlation of two pixels by the square of their distance.
    ys, xs : (n,) int64
        Pixels to predict.
    values : (n,) float32
        Output: pixels without sky; 0 where no neighbour is usable.
    """
    ny, nx = data.shape
    near_x = np.empty(N_NEIGHBOURS, dtype=np.int64)
    near_y = np.empty(N_NEIGHBOURS, dtype=np.int64)
    flux = np.empty(N_NEIGHBOURS, dtype=np.float64)
    noise2 = np.empty(N_NEIGHBOURS, dtype=np.float64)
    matrix = np.empty((N_NEIGHBOURS, N_NEIGHBOURS), dtype=np.float64)
    for i in range(len(ys)):
        y, x = ys[i], xs[i]
        n = 0
        power = 0.0
        for k in range(len(offsets)):
            yk, xk = y + offsets[k, 1], x + offsets[k, 0]
            if yk < 0 or xk < 0 or yk >= ny or xk >= nx or state[yk, xk] != 0:
                continue
            near_x[n], near_y[n] = offsets[k, 0], offsets[k, 1]
            flux[n] = float(data[yk, xk])
            noise2[n] = float(variance[yk, xk])
            power += flux[n] * flux[n] - noise2[n]
            n += 1
            if n == N_NEIGHBOURS:
                break
        values[i] = np.float32(0.0)
        if n == 0 or power <= 0.0:
            continue
        power /= n
        for j in range(n):
            for k in range(j + 1):
                dx, dy = near_x[j] - near_x[k], near_y[j] - near_y[k]
                matrix[j, k] = correlation[dx * dx + dy * dy]
            matrix[j, j] += noise2[j] / power + 1e-4
        if not factor(matrix, n, 0.0):
            continue
        solve(matrix, n, flux, flux)
        total = 0.0
        for j in range(n):
            total += flux[j] * correlation[near_x[j] ** 2 + near_y[j] ** 2]
        values[i] = np.float32(total)


@kernel
def narrow_defects(
    bad: U1,
    trail: Bools,
    width: int,
    trail_length: int,
    ys: I8,
    xs: I8,
    narrow: U1,
) -> None:
    """Tell which lost pixels are narrow enough to interpolate over.

    A pixel is, if the run of lost pixels through it along a row or a column is at most
    `width` long and has good pixels at both ends.  A saturated one must besides lie in a
    long thin run: a bleed trail, not the core of a star.

    Parameters
    ----------
    bad : (ny, nx) uint8
        Not 0: lost.
    trail : (n,) bool
        Which of the lost pixels are saturated.
    width, trail_length : int
        Longest run interpolated over; shortest run across it of a trail, pixels.
    ys, xs : (n,) int64
        The lost pixels.
    narrow : (n,) uint8
        Output.
    """
    ny, nx = bad.shape
    for i in range(len(ys)):
        y, x = ys[i], xs[i]
        left, right, low, high = x, x, y, y
        while left > 0 and x - left < trail_length and bad[y, left - 1] != 0:
            left -= 1
        while right < nx - 1 and right - x < trail_length and bad[y, right + 1] != 0:
            right += 1
        while low > 0 and y - low < trail_length and bad[low - 1, x] != 0:
            low -= 1
        while high < ny - 1 and high - y < trail_length and bad[high + 1, x] != 0:
            high += 1
        across = right - left + 1
        along = high - low + 1
        thin_x = across <= width and left > 0 and right < nx - 1
        thin_y = along <= width and low > 0 and high < ny - 1
        if trail[i]:
            thin_x = thin_x and along >= trail_length
            thin_y = thin_y and across >= trail_length
        narrow[i] = 1 if thin_x or thin_y else 0
