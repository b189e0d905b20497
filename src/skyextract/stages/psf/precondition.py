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
        self.sigma = sigma
        self.density = density
        self.moments = moments
        self.taps = np.convolve(taps, SPLINE_TAPS)

    def __call__(self, right: F8) -> F8:
        """Return about what the inverse of the matrix makes of `right`, (n_terms, n, n)."""
        out = np.empty_like(right)
        solve_alike(right, self.sigma, self.density, self.moments, self.taps, STEPS, out)
        return out


def smoothing_taps(length: float) -> F8:
    """Return a Gaussian kernel that correlates white noise and keeps its variance."""
    half = max(1, math.ceil(3.0 * length))
    taps = np.exp(-0.5 * (np.arange(-half, half + 1) / length) ** 2)
    out: F8 = taps / math.sqrt(float((taps**2).sum()))
    return out
