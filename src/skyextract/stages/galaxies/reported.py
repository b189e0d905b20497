"""What columns tell of fits: fluxes that priors do not pull, and errors of profiles that are wrong.

Priors keep the shapes of faint sources sane, and draw the flux along: steep profiles are fitted as
less steep and smaller ones, which are fainter.  To the first order a prior with means m and inverse
variances P moves parameters t by -C P (t - m), C their covariance.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.sersic import MAX_INDEX, MIN_INDEX
from skyextract.kernels.galaxies.source import DISK, INDEX, RADIUS, SPHEROID

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.stages.galaxies.fit import ModelFits
    from skyextract.stages.galaxies.scene import Sky

HALF = 12.0
"""S/N from which on what priors moved a flux by is given back, about."""
PROFILE_ERROR = 0.01
"""Of flux and radius, relative: what profiles, the PSF and neighbours that are not seen have
wrong in fields of galaxies with bulges, bars or thin disks; it is noise above S/N 100."""


def reported(fits: ModelFits, sky: Sky) -> ModelFits:
    """Return fits as columns show them; they are not what is drawn.

    What the priors of radius and index move the flux by is given back in so far as the pixels know
    of these: not where a parameter is known from its prior alone, half of it at a S/N of `HALF`,
    below which it is more noise than bias, and not where the index is at an end of its range, which
    holds it then.  That makes the flux as uncertain as without priors, so far.
    Models of several components are left as they are.

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
    for first in components:
        covariance[:, first, first] += (PROFILE_ERROR * parameters[:, first]) ** 2
        covariance[:, first + RADIUS, first + RADIUS] += PROFILE_ERROR**2
    return replace(fits, parameters=parameters, covariance=covariance)


def _give_back(fits: ModelFits, sky: Sky, flux: int, parameters: F8, covariance: F8) -> None:
    """Change a flux, and its variance, by what priors of radius and index moved it."""
    mean, weight = fits.profile.prior(sky.psf.fwhm)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = fits.parameters[:, flux] / np.sqrt(fits.noise_area * sky.noise2())
        bright = 1.0 / (1.0 + (HALF / ratio) ** 4)
    least, most = math.log(MIN_INDEX), math.log(MAX_INDEX)
    for shape in (flux + RADIUS, flux + INDEX):
        if shape not in fits.profile.free or weight[shape] == 0.0:
            continue
        value, together = fits.parameters[:, shape], fits.covariance[:, flux, shape]
        with np.errstate(invalid="ignore"):
            of_prior = np.clip(fits.covariance[:, shape, shape] * weight[shape], 0.0, 1.0)
            share = weight[shape] * bright * (1.0 - of_prior**2)
            if shape == flux + INDEX:
                share = np.where((value > least) & (value < most), share, 0.0)
        # a variance of NaN: nothing is known of the shape, as of a source without light
        share = np.where(np.isfinite(share), share, 0.0)
        parameters[:, flux] += share * together * (value - mean[shape])
        covariance[:, flux, flux] += share * together**2
