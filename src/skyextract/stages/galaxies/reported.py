"""What columns tell of fits: fluxes that priors do not pull, and errors of profiles that are wrong.

Priors keep the shapes of faint sources sane, and draw the flux along: steep profiles are fitted as
less steep and smaller ones, which are fainter.  To the first order a prior with means m and inverse
variances P moves parameters t by -C P (t - m), C their covariance without it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.sersic import MAX_INDEX, MIN_INDEX
from skyextract.kernels.galaxies.source import DISK, E1, E2, INDEX, RADIUS, SPHEROID

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.stages.galaxies.fit import ModelFits
    from skyextract.stages.galaxies.scene import Sky

HALF, STEEP = 15.0, 6.0
"""S/N at which half of what priors moved a flux by is given back, and power with which it grows."""
GROWTH = 0.9
"""Of the slope of the flux with ln n, along what the pixels do not tell apart: with n^GROWTH.  In
fits of galaxies of S/N 8 to 200 with n held at 0.5 to 8 that slope grows with n^0.8 to n^1.1."""
WIDEST = math.log(MAX_INDEX / MIN_INDEX) ** 2 / 12.0
"""Variance of an ln n of which its range alone is known."""
USUAL, SPREAD = 5e-5, 5e-4
"""Mean square of what profiles have wrong, over their light, and its scatter between galaxies."""
LEAST = 0.2
"""Part of the usual that no fit is better than."""
TURNED, HALF_TURNED = 0.2, 2e-3
"""Error of a shear where a profile has all wrong; mean square where half of that variance is."""
BEYOND_DOUBT = 2.0
"""Errors by which a mean square must stand out to tell of shears."""
COST = 2.0
"""Variance of flux and radius, relative, over that mean square."""


def reported(fits: ModelFits, sky: Sky) -> ModelFits:
    """Return fits as columns show them; they are not what is drawn.

    What the priors of radius and index move the flux by is given back in so far as the pixels know
    of these: half of it at a S/N of `HALF`, below which it is more noise than bias, and not where
    the index is at an end of its range, which holds it then.  That makes the flux as uncertain as
    without priors, so far.  Nor is the flux the most likely one, but the mean: along what the
    pixels do not tell apart it grows faster with ln n than in proportion.
    Models of several components are left as they are.

    Errors of fluxes, radii and shears contain what a wrong profile costs.

    Parameters
    ----------
    fits : ModelFits
    sky : Sky
        What was fitted.
    """
    profile = fits.profile
    parameters, covariance = fits.parameters.copy(), fits.covariance.copy()
    components = [c for c, on in ((SPHEROID, profile.spheroid), (DISK, profile.disk)) if on]
    if len(components) == 1 and not profile.point:
        _give_back(fits, sky, components[0], parameters, covariance)
    cost, turned = _cost_of_profile(fits), _cost_of_shape(fits)
    for first in components:
        covariance[:, first, first] += cost * parameters[:, first] ** 2
        covariance[:, first + RADIUS, first + RADIUS] += cost
        for shear in (first + E1, first + E2):
            covariance[:, shear, shear] += turned
    return replace(fits, parameters=parameters, covariance=covariance)


def _cost_of_profile(fits: ModelFits) -> F8:
    """Return the variance of ln flux and ln radius that a wrong profile costs.

    Bulges with disks, bars and thin disks leave more in the residual image than noise, and where it
    is seen, it tells; in faint galaxies it is not, and as much is taken as is usual.
    """
    wrong, error = fits.misfit.T
    seen = 1.0 / (1.0 + (error / SPREAD) ** 2)
    mean_square = np.where(seen > 0.0, seen * wrong + (1.0 - seen) * USUAL, USUAL)
    cost: F8 = COST * np.maximum(mean_square, LEAST * USUAL)
    return cost


def _cost_of_shape(fits: ModelFits) -> F8:
    """Return the variance of the components of the shear that a wrong profile costs.

    A bar turns the axes away from the disk's, and nothing but the residuals tells of it: what they
    have beyond doubt counts.  The major axis and its error follow the shear.
    """
    wrong, error = fits.misfit.T
    beyond = wrong - BEYOND_DOUBT * error
    beyond = np.where(beyond > 0.0, beyond, 0.0)
    cost: F8 = TURNED**2 * beyond / (beyond + HALF_TURNED)
    return cost


def _give_back(fits: ModelFits, sky: Sky, flux: int, parameters: F8, covariance: F8) -> None:
    """Change a flux, and its variance, by what priors of radius and index moved it.

    Without priors the shapes are C (P + P C P + ...) (t - m) from where they are, C their
    covariance with priors.  Two terms are taken: where nothing but the prior tells a shape the
    series does not converge.  The flux follows, and goes no further than to where the index is at
    an end of its range: nowhere if it is there.
    """
    mean, weight = fits.profile.prior(sky.psf.fwhm)
    shapes = [p for p in (flux + RADIUS, flux + INDEX) if p in fits.profile.free]
    value, with_flux = fits.parameters[:, shapes], fits.covariance[:, flux, shapes]
    root = np.sqrt(np.broadcast_to(weight[shapes], value.shape)).copy()
    least, most = math.log(MIN_INDEX), math.log(MAX_INDEX)
    if flux + INDEX in shapes:
        # an end of its range holds the index, not the prior
        root[~((value[:, -1] > least) & (value[:, -1] < most)), -1] = 0.0
    # in widths of the priors
    inner = fits.covariance[:, np.array(shapes)[:, None], np.array(shapes)[None, :]]
    inner = root[:, :, None] * inner * root[:, None, :]
    pull, slope = root * (value - mean[shapes]), root * with_flux
    pull, turned = (v + np.matmul(inner, v[:, :, None])[:, :, 0] for v in (pull, slope))
    moved, lost = np.sum(slope * pull, axis=1), np.sum(slope * turned, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fits.parameters[:, flux] / np.sqrt(fits.noise_area * sky.noise2())
        bright = 1.0 / (1.0 + (HALF / ratio) ** STEEP)
        if flux + INDEX in shapes:
            step = np.sum(inner[:, -1] * pull, axis=1) / root[:, -1]
            room = np.where(step > 0.0, most, least) - value[:, -1]
            moved *= np.fmin(np.fmax(room / step, 0.0), 1.0)  # 0 of NaN, at an end
            # the mean of what ln n may be, not its mode
            free = root[:, -1] > 0.0
            moved += np.where(free, 0.5 * GROWTH * with_flux[:, -1], 0.0)
            index = fits.covariance[:, flux + INDEX, flux + INDEX]
            lost += np.where(free, bright * _skewed(with_flux[:, -1], index), 0.0)
    # a variance of NaN: nothing is known of the shape, as of a source without light
    known = np.isfinite(bright * (moved + lost))
    parameters[known, flux] += (bright * moved)[known]
    covariance[known, flux, flux] += (bright * lost)[known]


def _skewed(with_flux: F8, index: F8) -> F8:
    """Return by how much the variance of a flux is larger than where it follows ln n in proportion.

    Parameters
    ----------
    with_flux, index : (n,) float64
        Covariance of flux and ln n, variance of ln n.

    Notes
    -----
    The flux grows with (n^g - 1) / g times a slope, and n^g has the variance of a log-normal
    distribution.
    """
    u = GROWTH**2 * np.minimum(index, WIDEST)
    excess: F8 = with_flux**2 / index * (np.exp(u) * np.expm1(u) / u - 1.0)
    return excess
