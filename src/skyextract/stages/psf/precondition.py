"""An approximate inverse of the PSF's normal equations, for conjugate gradients."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.kernels.psf.precondition import solve_alike

STEPS = 16
"""Steps that the approximate equations are solved in."""

SPLINE_TAPS = np.array([1.0, 4.0, 1.0]) / 6.0
"""A cubic B-spline at its knots."""


class Preconditioner:
    """Solve the equations as they are if all stars have weights of the same shape.

    The matrix is then 1 + K S B (D x T) B S K: with the smoothness of the prior (K), its width
    (S), the splines between coefficients and pixels (B), the information in each pixel (D) and
    the moments of the polynomial terms (T), nothing of which asks for a sum over stars.  It is
    solved by a fixed number of conjugate gradients.

    Parameters
    ----------
    sigma : (n_terms, n, n) float64
        Width of the prior.
    density : (n, n) float64
        Information, summed over the stars.
    moments : (n_terms, n_terms) float64
        Mean products of the polynomial terms, weighted like the stars.
    taps : (2 half + 1,) float64
        Smoothness of the prior.
    """

    def __init__(self, sigma: F8, density: F8, moments: F8, taps: F8) -> None:
        n_terms, n, _ = sigma.shape
        taps = np.convolve(taps, SPLINE_TAPS)
        reach = taps.size // 2
        half = reach | 1
        self.side = np.zeros(half + 1, dtype=np.float32)
        self.side[: reach + 1] = taps[reach:]
        self.side[0] *= np.float32(0.5)
        self.moments = moments
        self.shape = n_terms, n, n + 2 * half
        self.inner = np.s_[:, :, half : half + n]
        self.factors = np.zeros((2, *self.shape), dtype=np.float32)
        self.factors[0][self.inner] = sigma
        self.factors[1][self.inner] = informed = sigma * density
        self.inverse = np.zeros(self.shape, dtype=np.float32)
        diagonal = np.diag(moments)[:, None, None]
        self.inverse[self.inner] = 1.0 / (1.0 + sigma * informed * diagonal)

    def __call__(self, right: F8) -> F8:
        """Return about what the inverse of the matrix makes of `right`, (n_terms, n, n)."""
        unit = float(np.abs(right).max())
        if not 0.0 < unit < math.inf:
            return np.zeros_like(right)
        residual, solution = np.zeros((2, *self.shape), dtype=np.float32)
        residual[self.inner] = right / unit
        n_terms, _, width = self.shape
        solve_alike(
            self.factors.reshape(2, n_terms, -1), self.inverse.reshape(-1), self.moments,
            self.side, width, STEPS, residual.reshape(-1), solution.reshape(-1),
        )  # fmt: skip
        return unit * np.asarray(solution[self.inner], dtype=np.float64)


def convolution(taps: F8, n: int) -> F8:
    """Return the matrix (n, n) that convolves with symmetric taps; zeros beyond the edges.

    Of an image, both axes: from the left and from the right.
    """
    half = taps.size // 2
    offset = np.arange(n)[:, None] - np.arange(n)
    return np.where(np.abs(offset) <= half, taps[np.clip(offset + half, 0, 2 * half)], 0.0)


def smoothing_taps(length: float) -> F8:
    """Return a Gaussian kernel that correlates white noise and keeps its variance."""
    half = max(1, math.ceil(3.0 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    out: F8 = taps / math.sqrt(float((taps**2).sum()))
    return out
