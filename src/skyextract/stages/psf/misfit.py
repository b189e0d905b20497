"""What a PSF model that does not fit does to positions: measured on the stars that made it.

In a resampled image the shape of a star changes with where it was on the pixels of the detector;
no polynomial over the field follows that.  A fitted position hides what of it is a shift.  But a
change of shape is as likely to have the next form that is odd about the centre, a shift of the
core against the wings, and this is left in the residuals.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.noise import median
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAD_TO_SIGMA

STEP = 0.05
"""Pixels by which the model is displaced for its slopes."""

MIN_STARS = 10
"""Fewer stars say nothing of it."""


def odd_misfit(
    psf: Psf, places: F8, centres: F8, flux: F8, residual: F8, weight: F8, radius: float
) -> float:
    """Return the error in pixels that the shapes of stars beyond the model give to positions.

    Parameters
    ----------
    psf : Psf
    places, centres : (2, n) float64
        Of the stars in the image, and in their stamps from the middle pixel.
    flux : (n,) float64
    residual, weight : (n, k, k) float64
        Stamps less models, and the inverse of their variance.
    radius : float
        Of the pixels that positions are fitted to.

    Returns
    -------
    float
        0 where nothing beyond the noise is seen.
    """
    size = residual.shape[1]
    if flux.size < MIN_STARS:
        return 0.0

    def stamps(shift_x: float, shift_y: float) -> F8:
        x, y = centres[0] + shift_x, centres[1] + shift_y
        return psf.stamps(places[0], places[1], x, y, size).astype(np.float64)

    axis = np.arange(size) - size // 2
    r2 = (axis - centres[0][:, None])[:, None, :] ** 2 + (axis - centres[1][:, None])[
        :, :, None
    ] ** 2
    slopes = [
        (stamps(dx, dy) - stamps(-dx, -dy)) / (2.0 * STEP) for dx, dy in ((STEP, 0.0), (0.0, STEP))
    ]
    fitted = np.stack([stamps(0.0, 0.0), *slopes], axis=1).reshape(flux.size, 3, -1)
    inside = np.where(r2 <= radius**2, weight, 0.0).reshape(flux.size, 1, -1)
    weighted = fitted * inside
    normal = weighted @ fitted.transpose(0, 2, 1)
    found = []
    for shift, slope in enumerate(slopes, start=1):
        mode = (slope * r2).reshape(flux.size, 1, -1)
        mode -= (
            np.linalg.solve(normal, weighted @ mode.transpose(0, 2, 1)).transpose(0, 2, 1) @ fitted
        )
        power = (mode**2 * inside).sum(axis=(1, 2))
        light = (mode * inside * residual.reshape(flux.size, 1, -1)).sum(axis=(1, 2))
        # As the shift that has as much power.
        found.append(light / np.sqrt(power * normal[:, shift, shift]) / flux)
    errors = 1.0 / (flux * np.sqrt(normal[:, [1, 2], [1, 2]].T))
    return _beyond_noise(np.array(found), errors)


def _beyond_noise(values: F8, errors: F8) -> float:
    """Return the scatter of the values of bright stars beyond what that of faint ones explains.

    Parameters
    ----------
    values, errors : (2, n) float64
        By independent pixels.
    """
    is_bright = errors.mean(axis=0) < np.median(errors.mean(axis=0))
    faint = np.abs(values / errors)[:, ~is_bright]
    noise = MAD_TO_SIGMA * median(faint.ravel()) * median(errors[:, is_bright].ravel())
    scatter = MAD_TO_SIGMA * median(np.abs(values[:, is_bright]).ravel())
    return math.sqrt(max(scatter**2 - noise**2, 0.0))


def core_misfit(left_over: F8, variance: F8) -> float:
    """Return the mean square of what a model leaves in the core of the PSF, in variances.

    Infinite where no star has a usable pixel in the core: nothing is known to fit.
    """
    return float((left_over**2 / variance).mean()) if variance.size else math.inf
