"""What the noise of the stars that made a PSF does to fluxes that are fitted with it.

The light of few bright stars makes the model, and all of its terms: towards the edges of the field
it is as uncertain as these are few.  A star as bright as they are feels that as its own noise.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.psf import Psf
from skyextract.record import record
from skyextract.stages.pointsources.sweeps import fit_radius
from skyextract.stages.psf.precondition import Preconditioner, Smoothness
from skyextract.stages.psf.splines import samples_of


@record
class Evidence:
    """What the stars and the prior say of the coefficients of a model.

    Attributes
    ----------
    sigma : (n, n) float64
        Width of the prior of the varying terms.
    loosening : (n_terms,) float64
        How many times as wide that of each term is.
    density : (n, n) float64
        Information on each coefficient, summed over the stars.
    terms : (n_stars, n_all) float64
        Of the model.
    weight : (n_stars,) float64
        Of each star in the fit.
    smoothness : Smoothness
        That of the prior.
    free : (n_terms,) int64
        The terms that stars tell of: of the others the prior alone knows.
    of_form : (n_all, n_all) float64, optional
        Variance of the logarithm of the prior's width: a quadratic form of the terms.
    """

    sigma: F8
    loosening: F8
    density: F8
    terms: F8
    weight: F8
    smoothness: Smoothness
    free: I8
    of_form: F8 | None = None


def flux_variance(psf: Psf, evidence: Evidence) -> F8:
    """Return the variance that the noise of a model gives to the fluxes that are fitted with it.

    The covariance of the coefficients given the stars (C. E. Rasmussen & C. K. I. Williams 2006,
    Gaussian Processes for Machine Learning, eq. 2.11, as if the weights of all stars had one
    shape), as a sum over the pixels of a star passes it on to its flux.  Left out is what all
    fluxes share, the mean over the stars that made the model: aperture corrections take it up.
    Positions feel nothing to speak of, as those of the stars were fitted with the model.

    Parameters
    ----------
    psf : Psf
    evidence : Evidence
        That the model was made from.

    Returns
    -------
    (n_terms, n_terms) float64
        A quadratic form of the polynomial terms: variance of the relative flux.
    """
    n_terms = evidence.free.size
    form = np.zeros((len(psf.basis), len(psf.basis)))
    if len(psf.basis) == 1:
        return form
    weight = evidence.weight / evidence.weight.sum()
    terms = evidence.terms[:, evidence.free]
    mean = weight @ terms
    # Sums of terms that are independent of each other: to each its own equations.
    scaled = (terms - mean)[:, 1:] * evidence.loosening[1:]
    power, modes = np.linalg.eigh((scaled * weight[:, None]).T @ scaled)
    smoothness = evidence.smoothness
    sigma = np.repeat(evidence.sigma[None], n_terms - 1, axis=0)
    invert = Preconditioner(sigma, evidence.density, np.diag(power), smoothness)
    passed = samples_of(_flux_of_errors(psf, evidence.density)[None])[0]
    right = np.repeat(smoothness.gather((evidence.sigma * passed)[None]), n_terms - 1, axis=0)
    variance = np.maximum((right * invert(right)).sum(axis=(1, 2)), 0.0)
    # From terms to modes of their departures from the mean.
    centred = np.column_stack([-mean[1:], np.eye(n_terms - 1)])
    to_modes = (evidence.loosening[1:, None] * modes).T @ centred
    form[np.ix_(evidence.free, evidence.free)] = to_modes.T @ (variance[:, None] * to_modes)
    if evidence.of_form is None:
        return form
    # A model that is too wide by a part makes a flux too large by about the same.
    return _larger(form, evidence.of_form, evidence.terms)


def _larger(one: F8, other: F8, terms: F8) -> F8:
    """Return a form of variance with, for each mode of the terms, about the larger of two.

    Both are of what the same stars leave open.

    Parameters
    ----------
    one, other : (k, k) float64
    terms : (n, k) float64
        At stars, over which the modes have one size.
    """
    root = np.linalg.cholesky(terms.T @ terms / len(terms) + 1e-12 * np.eye(terms.shape[1]))
    power, modes = np.linalg.eigh(root.T @ (other - one) @ root)
    back = np.linalg.solve(root.T, modes)
    return np.asarray(one + (back * np.maximum(power, 0.0)) @ back.T)


def _flux_of_errors(psf: Psf, density: F8) -> F8:
    """Return the weights (n, n) that sum the errors of samples to that of a flux, relative.

    Of the fit of flux and position, and of the unit sum of the model.
    """
    image = psf.basis[0].astype(np.float64)
    slope_y, slope_x = np.gradient(image, psf.sampling)
    shapes = np.stack([image, slope_x, slope_y])
    axis = (np.arange(image.shape[0]) - image.shape[0] // 2) * psf.sampling
    inside = np.hypot(axis[:, None], axis) <= fit_radius(psf)
    weighted = (shapes * np.where(inside, density, 0.0)).reshape(3, -1)
    normal = weighted @ shapes.reshape(3, -1).T
    fitted = np.linalg.solve(normal, np.array([1.0, 0.0, 0.0])) @ weighted
    return np.asarray(fitted.reshape(image.shape) - psf.sampling**2)
