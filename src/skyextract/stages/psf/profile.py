"""The mean radial profile of a PSF: a Moffat function times a smooth correction."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.psf import pixel_gaussian_sigma
from skyextract.errors import StepError
from skyextract.record import record

_BETAS = np.array([1.6, 1.8, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0, 7.0, 12.0, 40.0])

LEAST_RINGS = 4


@record
class SmoothProfile:
    """A Moffat profile times a smooth correction.

    Moffat (1969, A&A 3, 455): ``amplitude (1 + (r / alpha)^2)^-beta``.  The correction is a
    running mean of measured over Moffat, as smooth as the PSF itself.

    Attributes
    ----------
    alpha, beta, amplitude : float
        Of the Moffat function.
    knots, correction : (n,) float64
        The correction at ``log(1 + r / width)``.
    width : float
        FWHM of the Moffat function.
    """

    alpha: float
    beta: float
    amplitude: float
    knots: F8
    correction: F8
    width: float

    @classmethod
    def fit(cls, r: F8, value: F8, error: F8, fwhm: float) -> SmoothProfile:
        """Fit to binned values with errors; `fwhm` is a rough FWHM in the unit of `r`."""
        weight = 1.0 / (error**2 + (0.02 * np.abs(value)) ** 2)
        fwhms = fwhm * np.exp(np.linspace(-0.5, 0.5, 21))
        span = 0.05
        for _ in range(3):
            alphas = 0.5 * fwhms[:, None] / np.sqrt(2.0 ** (1.0 / _BETAS) - 1.0)
            shapes = np.exp(-_BETAS[:, None] * np.log1p((r / alphas[:, :, None]) ** 2))
            amplitudes = (shapes @ (weight * value)) / (shapes**2 @ weight)
            misfits = (value - amplitudes[:, :, None] * shapes) ** 2 @ weight
            at = np.unravel_index(np.argmin(misfits), misfits.shape)
            width, beta, amplitude = (
                float(fwhms[at[0]]),
                float(_BETAS[at[1]]),
                float(amplitudes[at]),
            )
            fwhms = width * np.exp(np.linspace(-span, span, 11))
            span /= 5.0
        alpha = 0.5 * width / math.sqrt(2.0 ** (1.0 / beta) - 1.0)
        moffat = amplitude * (1.0 + (r / alpha) ** 2) ** -beta
        # Where the Moffat function is fainter than the noise the ratio says nothing.
        scatter = np.hypot(error / np.maximum(moffat, 1e-30), 0.01)
        knots = np.linspace(0.0, math.log1p(r.max() / width), 60)
        place = np.log1p(r / width)
        near = np.exp(-0.5 * ((knots[:, None] - place) / 0.12) ** 2) / scatter**2
        ratio = np.clip(value / np.maximum(moffat, 1e-30), -10.0, 10.0)
        # A pull to 1 with 30 % error where nothing is known.
        correction = ((near * ratio).sum(axis=1) + 10.0) / (near.sum(axis=1) + 10.0)
        return cls(alpha, beta, amplitude, knots, np.maximum(correction, 0.0), width)

    @classmethod
    def of_sums(cls, sums: F8, fwhm: float) -> SmoothProfile:
        """Fit to weighted sums in rings, (n, 3) of weight, weight * value and weight * radius.

        Raises
        ------
        StepError
            Fewer than `LEAST_RINGS` rings have any weight.
        """
        sums = sums[sums[:, 0] > 0]
        if len(sums) < LEAST_RINGS:
            raise StepError("the stars have no usable pixels")
        weight = sums[:, 0]
        return cls.fit(sums[:, 2] / weight, sums[:, 1] / weight, 1.0 / np.sqrt(weight), fwhm)

    def __call__(self, r: F8) -> F8:
        """Value at radius `r`."""
        moffat = self.amplitude * (1.0 + (r / self.alpha) ** 2) ** -self.beta
        out: F8 = moffat * np.interp(np.log1p(r / self.width), self.knots, self.correction)
        return out


def squared_edges(reach: float, fwhm: float) -> F8:
    """Return the squares of the radii of rings that become wider outwards, up to a reach."""
    radius = [0.0]
    while radius[-1] < reach:
        radius.append(radius[-1] + max(0.08 * fwhm, 0.12 * radius[-1]))
    return np.array(radius) ** 2


@lru_cache(maxsize=4)
def squareness(n: int, step: float, fwhm: float) -> F8:
    """Return what the shape of pixels adds to a round star: a Gaussian less its round mean.

    All models of one sample ask for the same.

    Parameters
    ----------
    n : int
        Samples along both axes.
    step : float
        From one to the next, pixels.
    fwhm : float
        Of the star, with its pixels.

    Returns
    -------
    (n, n) float64
        Of a star of unit sum; its own sum is 0.  Not to be written to.
    """
    axis = ((np.arange(n) - (n - 1) / 2) * step).astype(np.float64)
    scale = pixel_gaussian_sigma(fwhm) * math.sqrt(2.0)

    def line(at: F8) -> F8:
        edges = ((at[:, None] + np.array([-0.5, 0.5])) / scale).ravel()
        integral = np.array([math.erf(edge) for edge in edges]).reshape(-1, 2)
        return np.asarray(0.5 * (integral[:, 1] - integral[:, 0]))

    radius = np.linspace(0.0, math.sqrt(2.0) * float(axis[-1]), 20 * axis.size)
    angle = (np.arange(16) + 0.5) * math.pi / 64.0
    mean = sum(line(radius * math.cos(t)) * line(radius * math.sin(t)) for t in angle) / angle.size
    out: F8 = np.outer(line(axis), line(axis)) - np.interp(
        np.hypot(axis[:, None], axis), radius, mean
    )
    out.flags.writeable = False
    return out
