"""The smooth departures of a PSF from its prior, and an approximate inverse of its equations."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.kernels.psf.precondition import multiply_both_sides, solve_alike
from skyextract.record import record

STEPS, MOST_STEPS = 16, 150
"""Steps that the approximate equations are solved in.  Of cells of several samples there are as
many more, up to the second number, as they are cheaper."""

MANY_TERMS = 6
"""Of more terms than this half as many: these steps become dearer with them, others do not."""

SPLINE_TAPS = np.array([1.0, 4.0, 1.0]) / 6.0
"""A cubic B-spline at its knots."""


class Smoothness:
    """Smooth images of n x n samples: white noise of unit variance, spread by a Gaussian.

    The white noise is that of cells as wide as the Gaussian's sigma: finer noise gives the same
    images, whose covariance is the same but for what the ends of the taps, at 3 sigma, leave out:
    less than 1 % of the variance.

    Parameters
    ----------
    length : float
        Sigma of the Gaussian in samples.
    n : int

    Attributes
    ----------
    cell : int
        Samples along the side of a cell.
    n_cells : int
        Along both axes; they cover all samples.
    taps : (2 half + 1,) float64
        The Gaussian at distances of whole samples.
    """

    def __init__(self, length: float, n: int) -> None:
        self.cell = max(1, math.floor(length))
        self.n_cells = -(-n // self.cell)
        beyond = self.n_cells * self.cell - n
        self._beyond = (beyond // 2, beyond - beyond // 2)
        reach = max(1, math.ceil(3.0 * length))
        unit = math.sqrt(float((_gaussian(np.arange(-reach, reach + 1), length) ** 2).sum()))
        unit /= math.sqrt(self.cell)
        self.taps = _gaussian(np.arange(-reach, reach + 1), length) / unit
        middle = np.arange(self.n_cells) * self.cell + 0.5 * (self.cell - 1) - self._beyond[0]
        distance = np.arange(n)[:, None] - middle
        self.matrix = np.where(np.abs(distance) <= reach, _gaussian(distance, length) / unit, 0.0)
        self._spread, self._gather = _Banded.of(self.matrix), _Banded.of(self.matrix.T)

    def spread(self, noise: F8) -> F8:
        """Return smooth images (n_images, n, n) from the noise of cells."""
        return self._spread.on_both_sides(noise)

    def gather(self, images: F8) -> F8:
        """Return sums over images for each cell, the transpose of `spread`."""
        return self._gather.on_both_sides(images)

    def means(self, images: F8) -> F8:
        """Return the means of images (..., n, n) over cells; 0 beyond their edges."""
        if self.cell == 1:
            return images
        beyond = [(0, 0)] * (images.ndim - 2) + [self._beyond] * 2
        shape = (*images.shape[:-2], self.n_cells, self.cell, self.n_cells, self.cell)
        return np.asarray(np.pad(images, beyond).reshape(shape).mean(axis=(-3, -1)))


@record
class _Banded:
    """A matrix (n, m), and the first and past-last column of each row that is not 0, (n, 2)."""

    matrix: F8
    spans: I8

    @classmethod
    def of(cls, matrix: F8) -> _Banded:
        """Find where the rows of a matrix are not 0."""
        filled = matrix != 0.0
        ends = filled.shape[1] - filled[:, ::-1].argmax(axis=1)
        spans = np.stack([filled.argmax(axis=1), ends], axis=1)
        return cls(np.ascontiguousarray(matrix), spans)

    def on_both_sides(self, images: F8) -> F8:
        """Multiply images (n_images, m, m) from the left, and with the transpose from the right."""
        n = len(self.matrix)
        out = np.empty((len(images), n, n))
        multiply_both_sides(self.matrix, self.spans, np.ascontiguousarray(images), out)
        return out


class Preconditioner:
    """Solve the equations as they are if all stars have weights of the same shape.

    The matrix is then 1 + K S B (D x T) B S K: with the smoothness of the prior (K), its width
    (S), the splines between coefficients and pixels (B), the information in each pixel (D) and
    the moments of the polynomial terms (T), nothing of which asks for a sum over stars.  Width and
    information are means over cells.  It is solved by a fixed number of conjugate gradients.

    Parameters
    ----------
    sigma : (n_terms, n, n) float64
        Width of the prior.
    density : (n, n) float64
        Information, summed over the stars.
    moments : (n_terms, n_terms) float64
        Mean products of the polynomial terms, weighted like the stars.
    smoothness : Smoothness
        That of the prior.
    """

    def __init__(self, sigma: F8, density: F8, moments: F8, smoothness: Smoothness) -> None:
        cell = smoothness.cell
        sigma = smoothness.means(sigma)
        density = cell**2 * smoothness.means(density)
        n_terms, n, _ = sigma.shape
        taps = np.convolve(smoothness.taps, SPLINE_TAPS)
        reach = taps.size // 2 // cell
        taps = taps[taps.size // 2 - reach * cell :: cell]
        half = reach | 1
        self.side = np.zeros(half + 1, dtype=np.float32)
        self.side[: reach + 1] = taps[reach:]
        self.side[0] *= np.float32(0.5)
        self.moments = moments
        self.steps = min(STEPS * cell**2, MOST_STEPS) // (2 if n_terms > MANY_TERMS else 1)
        self.shape = n_terms, n, n + 2 * half
        self.inner = np.s_[:, :, half : half + n]
        self.factors = np.zeros((2, *self.shape), dtype=np.float32)
        self.factors[0][self.inner] = sigma
        self.factors[1][self.inner] = informed = sigma * density
        self.inverse = np.zeros(self.shape, dtype=np.float32)
        diagonal = np.diag(moments)[:, None, None]
        self.inverse[self.inner] = 1.0 / (1.0 + sigma * informed * diagonal)

    def __call__(self, right: F8) -> F8:
        """Return about what the inverse makes of `right`, (n_terms, n_cells, n_cells)."""
        unit = float(np.abs(right).max())
        if not 0.0 < unit < math.inf:
            return np.zeros_like(right)
        residual, solution = np.zeros((2, *self.shape), dtype=np.float32)
        residual[self.inner] = right / unit
        n_terms, _, width = self.shape
        solve_alike(
            self.factors.reshape(2, n_terms, -1), self.inverse.reshape(-1), self.moments,
            self.side, width, self.steps, residual.reshape(-1), solution.reshape(-1),
        )  # fmt: skip
        return unit * np.asarray(solution[self.inner], dtype=np.float64)


def smoothed(image: F8, length: float) -> F8:
    """Return an image (n, n) convolved with a Gaussian of unit sum; it is 0 beyond its edges."""
    reach = max(1, math.ceil(3.0 * length))
    taps = _gaussian(np.arange(-reach, reach + 1), length)
    distance = np.arange(image.shape[0])[:, None] - np.arange(image.shape[0])
    matrix = np.where(np.abs(distance) <= reach, _gaussian(distance, length), 0.0) / taps.sum()
    return np.asarray(matrix @ image @ matrix)


def _gaussian(distance: F8 | I8, length: float) -> F8:
    """Return a Gaussian of sigma `length`, 1 at its peak."""
    return np.exp(-0.5 * (distance / length) ** 2)
