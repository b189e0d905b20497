"""Spline models of a PSF: coefficients, samples, and what makes fluxes mean the same everywhere."""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.errors import StepError
from skyextract.kernels.psf import bspline as kernels

LEAST_LIGHT = 1e-3
"""Of the peak: the light whose photons are as many as those of the sky below a bright star."""


def coefficients_of(image: F8) -> F8:
    """B-spline coefficients of an image of samples, same shape."""
    pad = kernels.PAD
    out = np.empty((1, image.shape[0] + 2 * pad, image.shape[1] + 2 * pad))
    kernels.spline_coefficients(np.ascontiguousarray(image[None], dtype=np.float32), out)
    return np.ascontiguousarray(out[:, pad:-pad, pad:-pad])


def samples_of(coefficients: F8) -> F8:
    """Values of the model at its samples, all terms."""
    out = np.empty_like(coefficients)
    for k in range(coefficients.shape[0]):
        kernels.spline_samples(coefficients[k], out[k])
    return out


def normalise(coefficients: F8, step: float, *, undersampled: bool = False) -> F8:
    """Constant term of unit sum, the others of zero sum: fluxes mean the same everywhere."""
    if undersampled:
        coefficients = same_flux_at_all_phases(coefficients, step)
    sums = coefficients.sum(axis=(1, 2)) * step**2
    if not sums[0] > 0:
        raise StepError("the stars give no positive PSF")
    out = coefficients / sums[0]
    out[1:] -= (sums[1:] / sums[0])[:, None, None] * out[0]
    return np.ascontiguousarray(out)


def same_flux_at_all_phases(coefficients: F8, step: float) -> F8:
    """Let the pixels of a star sum to the same wherever in its pixel it is.

    Of an undersampled star the fit alone does not know: a model too bright at one phase and
    stars too faint there fit as well.

    Returns
    -------
    (n_terms, n, n) float64
        Constant term of unit sum, the others of zero sum, at every phase.
    """
    n = coefficients.shape[1]
    middle = (n - 1) / 2
    at = np.zeros((n, n))
    pixels = math.ceil(n * step)
    for pixel in range(-pixels, pixels + 1):
        t = np.arange(n) + pixel / step
        distance = np.abs(t[:, None] - np.arange(n))
        at += np.where(
            distance < 1.0,
            (4.0 - 6.0 * distance**2 + 3.0 * distance**3) / 6.0,
            np.maximum(2.0 - distance, 0.0) ** 3 / 6.0,
        )
    sums = at @ coefficients @ at.T
    inside = np.hypot(*np.mgrid[-middle : middle + 1, -middle : middle + 1]) < middle
    if not (sums[0][inside] > 0).all():
        raise StepError("the stars give no positive PSF")
    safe = np.where(sums[0] > 0, sums[0], 1.0)
    out = samples_of(coefficients) / safe
    out[1:] -= sums[1:] / safe * out[0]
    return np.concatenate([coefficients_of(image) for image in out])


def centred(coefficients: F8, weight: F8) -> tuple[F8, F8]:
    """Take the shifts out of the varying terms: the model has its centre at its middle everywhere.

    Whether a star or the model is displaced no fit can tell, as the stars' positions are free;
    what the terms have of it is noise, and what they take of other misfits.  A shift is
    what the fit of flux and position would make of a term (Gauss-Newton, about the constant term).

    Parameters
    ----------
    coefficients : (n_terms, n, n) float64
    weight : (n, n) float64
        Of each sample in the fit.

    Returns
    -------
    coefficients : (n_terms, n, n) float64
    shifts : (n_terms, 2) float64
        In x and y, samples: what the stars moved by, term by term.
    """
    shifts = np.zeros((len(coefficients), 2))
    if len(coefficients) == 1:
        return coefficients, shifts
    images = samples_of(coefficients)
    slope_y, slope_x = np.gradient(coefficients[0])
    modes = np.stack([images[0], *samples_of(np.stack([-slope_x, -slope_y]))]).reshape(3, -1)
    weighted = modes * weight.ravel()
    fits = np.linalg.solve(weighted @ modes.T, weighted @ images[1:].reshape(len(images) - 1, -1).T)
    shifts[1:] = fits[1:].T
    out = coefficients.copy()
    out[1:] += shifts[1:, 0, None, None] * slope_x + shifts[1:, 1, None, None] * slope_y
    return out, shifts


def homologous(mean: F8, terms: F8) -> F8:
    """Return what of varying terms is the mean image made wider or longer.

    The light of the whole image scales, core and wings alike: of the terms themselves noise is
    the most in the wings, where it changes the share of the light that is in the core.

    Parameters
    ----------
    mean : (n, n) float64
        Spline coefficients of the constant term.
    terms : (k, n, n) float64
        Those of the varying ones.

    Returns
    -------
    (k, n, n) float64
        Coefficients: sums of the changes of the mean by dilation, shear and a shift.
    """
    image = samples_of(mean[None])[0]
    dy, dx = np.gradient(image)
    axis = np.arange(image.shape[0]) - (image.shape[0] - 1) / 2
    x, y = axis[None, :], axis[:, None]
    modes = np.stack([2.0 * image + x * dx + y * dy, x * dx - y * dy, x * dy + y * dx, dx, dy])
    # Photons of bright stars: the noise is as the square root of the light.
    weight = 1.0 / np.sqrt(np.maximum(image, LEAST_LIGHT * image.max()))
    basis = (modes * weight).reshape(len(modes), -1)
    wanted = (samples_of(terms) * weight).reshape(len(terms), -1)
    share, *_ = np.linalg.lstsq(basis.T, wanted.T, rcond=None)
    return np.concatenate([coefficients_of(term) for term in np.tensordot(share.T, modes, 1)])
