"""What columns tell of fits: profiles that priors do not pull, and errors of those that are wrong.

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
from skyextract.stages.galaxies.beneath import POINT_ALONE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.stages.galaxies.fit import ModelFits
    from skyextract.stages.galaxies.scene import Sky

HALF, STEEP = 15.0, 6.0
"""S/N at which half of what priors moved a profile by is given back, and power of its growth."""
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
TURNS, BY_CHANCE = 6.0, 5.0
"""Error of a shear over its change from an isophote to the next; the square of that change over
its variance that noise alone reaches in one galaxy of twelve.  Of barred galaxies of S/N above
100 shears are wrong by 4.5 to 6.7 times that change."""
WINGS, RADIUS_WINGS, WINGS_ERROR = 2.3, 0.8, 0.3
"""Light that a model has wrong over what is wrong within the isophote; what ln radius has wrong
over what ln flux has; error of both, of themselves.  Of bulges with disks and of barred galaxies of
S/N above 150."""
DOUBTED = 1.5
"""Errors of the light within the isophote below which nothing is changed."""
MOST_LEFT = 0.3
"""Of a flux, that is changed by no more."""
COST_ALONG, ALONG, LEAST_ERROR = 80.0, (8e-5, 2e-4), 0.0045
"""Error of ln flux over the mean square of what is left along isophotes, over their light; what is
usual of that, and its scatter between galaxies; least error."""
COST = 2.0
"""Variance of ln radius over that mean square."""


def reported(fits: ModelFits, sky: Sky) -> ModelFits:
    """Return fits as columns show them; they are not what is drawn.

    What the priors of radius and index move these and the flux by is given back in so far as the
    pixels know of them: half of it at a S/N of `HALF`, below which it is more noise than bias, and
    not where the index is at an end of its range, which holds it then.  That makes them as
    uncertain as without priors, so far.  Nor is the flux the most likely one, but the mean: along
    what the pixels do not tell apart it grows faster with ln n than in proportion.
    Models of several components are left as they are.

    Flux and radius follow what the model leaves in its wings.  What was fitted as a point beneath
    another source has no shape, and what is left about it is that one's.
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
        _follow_wings(fits, components[0], parameters, covariance)
    of_flux, of_radius, turned = _cost_of_flux(fits), _cost_of_radius(fits), _cost_of_shape(fits)
    for first in components:
        covariance[:, first, first] += of_flux * parameters[:, first] ** 2
        covariance[:, first + RADIUS, first + RADIUS] += of_radius
        for shear in (first + E1, first + E2):
            covariance[:, shear, shear] += turned
    points = np.flatnonzero(fits.flags & POINT_ALONE)
    for first in components:
        parameters[points[:, None], first + np.array([RADIUS, E1, E2, INDEX])] = np.nan
    return replace(fits, parameters=parameters, covariance=covariance)


def _cost_of_flux(fits: ModelFits) -> F8:
    """Return the variance of ln flux that a wrong profile costs.

    Bulges with disks and bars leave more in the residual image than noise; to the flux that counts
    which is left along whole isophotes.  In faint galaxies it is not seen, and as much is taken as
    is usual.
    """
    wrong, error = fits.misfit[:, 2:].T
    known = np.isfinite(wrong + error)
    seen = np.where(known, 1.0 / (1.0 + (error / ALONG[1]) ** 2), 0.0)
    mean_square = seen * np.where(known, np.maximum(wrong, 0.0), 0.0) + (1.0 - seen) * ALONG[0]
    cost: F8 = np.maximum(COST_ALONG * mean_square, LEAST_ERROR) ** 2
    return cost


def _cost_of_radius(fits: ModelFits) -> F8:
    """Return the variance of ln radius that a wrong profile costs: all that is left counts."""
    wrong, error = fits.misfit[:, :2].T
    seen = 1.0 / (1.0 + (error / SPREAD) ** 2)
    mean_square = np.where(seen > 0.0, seen * wrong + (1.0 - seen) * USUAL, USUAL)
    cost: F8 = COST * np.maximum(mean_square, LEAST * USUAL)
    return cost


def _cost_of_shape(fits: ModelFits) -> F8:
    """Return the variance of the components of the shear that a wrong profile costs.

    A bar turns the axes away from the disk's, and nothing but the residuals tells of it: what they
    have beyond doubt counts, or isophotes that turn.  The major axis and its error follow the
    shear.
    """
    wrong, error = fits.misfit[:, :2].T
    beyond = wrong - BEYOND_DOUBT * error
    beyond = np.where(beyond > 0.0, beyond, 0.0)
    turn2, variance = fits.turn.T
    turned = 0.5 * TURNS**2 * (turn2 - BY_CHANCE * variance)
    turned = np.fmin(np.fmax(turned, 0.0), TURNED**2)  # 0 of NaN
    cost: F8 = np.maximum(TURNED**2 * beyond / (beyond + HALF_TURNED), turned)
    return cost


def _give_back(fits: ModelFits, sky: Sky, flux: int, parameters: F8, covariance: F8) -> None:
    """Change flux, radius and index, and their variances, by what priors of the latter moved them.

    Without priors parameters are C P (1 + C P + ...) (t - m) from where they are, C their
    covariance with priors.  Two terms are taken: where nothing but the prior tells a shape the
    series does not converge.  They go no further than to where the index is at an end of its range:
    nowhere if it is there.
    """
    mean, weight = fits.profile.prior(sky.psf.fwhm)
    shapes = [p for p in (flux + RADIUS, flux + INDEX) if p in fits.profile.free]
    value, moving = fits.parameters[:, shapes], [flux, *shapes]
    root = np.sqrt(np.broadcast_to(weight[shapes], value.shape)).copy()
    least, most = math.log(MIN_INDEX), math.log(MAX_INDEX)
    if flux + INDEX in shapes:
        # an end of its range holds the index, not the prior
        root[~((value[:, -1] > least) & (value[:, -1] < most)), -1] = 0.0
    # in widths of the priors
    slope = fits.covariance[:, np.array(moving)[:, None], np.array(shapes)] * root[:, None, :]
    inner = root[:, :, None] * slope[:, 1:]
    pull = root * (value - mean[shapes])
    pull = pull + np.matmul(inner, pull[:, :, None])[:, :, 0]
    moved = np.matmul(slope, pull[:, :, None])[:, :, 0]
    lost = np.sum(slope * (slope + np.matmul(slope, inner)), axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fits.parameters[:, flux] / np.sqrt(fits.noise_area * sky.noise2)
        bright = 1.0 / (1.0 + (HALF / ratio) ** STEEP)
        if flux + INDEX in shapes:
            room = np.where(moved[:, -1] > 0.0, most, least) - value[:, -1]
            moved *= np.fmin(np.fmax(room / moved[:, -1], 0.0), 1.0)[:, None]  # 0 of NaN, at an end
            # the mean of what ln n may be, not its mode
            free, with_flux = root[:, -1] > 0.0, fits.covariance[:, flux, flux + INDEX]
            moved[:, 0] += np.where(free, 0.5 * GROWTH * with_flux, 0.0)
            index = fits.covariance[:, flux + INDEX, flux + INDEX]
            lost[:, 0] += np.where(free, bright * _skewed(with_flux, index), 0.0)
    # a variance of NaN: nothing is known of the shape, as of a source without light
    known = np.isfinite(bright[:, None] * (moved + lost)).all(axis=1)
    for k, p in enumerate(moving):
        parameters[known, p] += (bright * moved[:, k])[known]
        covariance[known, p, p] += (bright * lost[:, k])[known]


def _follow_wings(fits: ModelFits, flux: int, parameters: F8, covariance: F8) -> None:
    """Change flux and radius, and their variances, by light that a model has wrong in its wings.

    A profile follows the bright middle of a galaxy, and what it has wrong there, a bulge or a bar
    upon a disk, is wrong in the wings: what it leaves within the faintest isophote that is seen, it
    leaves as much of again, and more, beyond.  Not so where the index is held, or at an end of its
    range: that profile does not follow.
    """
    if flux + INDEX not in fits.profile.free:
        return
    index = fits.parameters[:, flux + INDEX]
    follows = (fits.flags & POINT_ALONE) == 0
    follows &= (index > math.log(MIN_INDEX)) & (index < math.log(MAX_INDEX))
    light, (left, error) = np.abs(parameters[:, flux]), fits.left.T
    with np.errstate(invalid="ignore", divide="ignore"):
        sure = np.maximum(1.0 - (DOUBTED * error / left) ** 2, 0.0)
        change = np.fmin(np.fmax(WINGS * sure * left / light, -MOST_LEFT), MOST_LEFT)
        variance = (WINGS * sure * error / light) ** 2 + (WINGS_ERROR * change) ** 2
    known = follows & np.isfinite(change + variance)
    change, variance = np.where(known, change, 0.0), np.where(known, variance, 0.0)
    parameters[:, flux] += change * light
    covariance[:, flux, flux] += variance * light**2
    parameters[:, flux + RADIUS] += RADIUS_WINGS * change
    covariance[:, flux + RADIUS, flux + RADIUS] += RADIUS_WINGS**2 * variance


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
