"""The light of stars far from their middles, where noise and structure of the sky hide it.

The sky within a large aperture is less certain than the light of a star far out, and where a PSF
has an edge (out of focus) there is none.  What is next to the core tells it: the surface brightness
of wings falls at least as the inverse square of the radius (I. R. King 1971, PASP 83, 199: -2 for
the aureole), as a Gaussian or a Moffat function does, so that rings whose radii grow by the same
factor have ever less light.  Each ring is expected to have a share of that of the one within it,
which counts by its uncertainty beside what is measured; where the two differ by more than their
errors, as in a halo, it is as uncertain as they differ.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.stages.pointsources.clippedfit import mean_of_stars
from skyextract.stages.pointsources.growth import MODEL_ERROR

INNERMOST = 1.5
"""Diameter of the innermost aperture, at least, FWHM."""
STEP = math.sqrt(2.0)
"""Ratio of the diameters of apertures."""
SHARE, SCATTER = 0.5, 0.3
"""Light of a ring over that of the ring within, and how that scatters: Moffat functions of index 2
to 4 have .3 to .8, a Gaussian less, a halo that falls as the inverse square of the radius 1."""
FALL, LEAST = 0.8, 0.15
"""The share falls from ring to ring by about this factor, and scatters at least so much."""
SURE = 2.0
"""What is measured differs from what is expected from so many errors on."""


def ring_diameters(reference: float) -> F8:
    """Return the reference diameter, and smaller ones, falling, FWHM."""
    n = max(0, math.floor(math.log(reference / INNERMOST) / math.log(STEP) + 1e-9))
    return np.asarray(reference / STEP ** np.arange(n + 1), dtype=np.float64)


def by_rings(light: F8, sigma: F8, of_model: F8, common: F8) -> tuple[float, float]:
    """Return what rings of light change of that within the reference aperture, and of its error.

    Parameters
    ----------
    light, sigma : (n, m) float64
        Light of stars within apertures, from the outermost on, less that of the model, and errors.
    of_model : (m,) float64
        Mean light of the model within them.
    common : (m,) float64
        Errors that all stars share.

    Returns
    -------
    float
        To be added to the light.
    float
        Error over that of before.
    """
    if light.shape[1] < 3 or len(light) < 2:
        return 0.0, 1.0
    light, sigma, of_model, common = (v[..., ::-1] for v in (light, sigma, of_model, common))
    noise = np.diff(sigma**2, axis=1)
    rings = np.diff(light, axis=1)
    errors = np.hypot(np.sqrt(np.maximum(noise, 0.0)), MODEL_ERROR)
    constant = np.ones((len(light), 1))
    fits = [mean_of_stars(constant, *values) for values in zip(rings.T, errors.T, strict=True)]
    first = mean_of_stars(constant, light[:, 0], sigma[:, 0])
    means = np.array([fit[0][0] for fit in fits]) + np.diff(of_model)
    unsure = np.hypot([fit[1] for fit in fits], np.diff(common))
    innermost = float(first[0][0] + of_model[0]), math.hypot(first[1], float(common[0]))
    total, error = light_within(innermost, means, unsure)
    before = math.hypot(innermost[1], float(np.sqrt(np.sum(unsure**2))))
    return total - innermost[0] - float(means.sum()), error / before


def light_within(innermost: tuple[float, float], rings: F8, errors: F8) -> tuple[float, float]:
    """Return the light within the outermost of concentric apertures, and its error.

    Parameters
    ----------
    innermost : tuple of float
        Light within the innermost aperture, and its error.
    rings, errors : (n,) float64
        Measured light of the rings about it, from the inner to the outer, and errors.

    Returns
    -------
    light, error : float
    """
    total, variance = innermost[0], innermost[1] ** 2
    inner, inner_variance, shared = math.nan, math.nan, 0.0
    share, spread = SHARE, SCATTER
    for ring, error in zip(rings.tolist(), errors.tolist(), strict=True):
        light, weight, own = ring, 1.0, error**2
        if math.isfinite(inner):
            expected = share * inner
            scatter = spread**2 * (inner**2 + inner_variance)
            known = share**2 * inner_variance
            scatter = max(scatter, (ring - expected) ** 2 - SURE**2 * (own + known))
            weight = (known + scatter) / (known + scatter + own)
            light = weight * ring + (1.0 - weight) * expected
            own = weight**2 * own + (1.0 - weight) ** 2 * (known + scatter)
        # What a ring owes to the one within is in the sum of these, too.
        common = (1.0 - weight) * share * shared
        total += light
        variance += 2.0 * common + own
        shared = common + own
        if inner > 0.0:
            ratio = min(max(light / inner, 0.0), 1.0)
            unsure = math.sqrt(own + ratio**2 * inner_variance) / inner
            share, spread = FALL * ratio, min(math.hypot(LEAST, FALL * unsure), SCATTER)
        inner, inner_variance = light, own
    return total, math.sqrt(max(variance, 0.0))
