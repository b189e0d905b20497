"""Brightness of models of given shapes, measured on another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, copied
from skyextract.datamodel.noise import sparse
from skyextract.kernels.galaxies.draw import visit_scales
from skyextract.kernels.galaxies.fit import Places
from skyextract.kernels.galaxies.source import DISK, POINT, SKY, SPHEROID, X, Y
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.galaxies.fit import signal_to_noise2
from skyextract.stages.galaxies.level import levels_below
from skyextract.stages.galaxies.scene import MAX_SWEEPS, Scene
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from skyextract.run import Run
    from skyextract.stages.galaxies.fit import ModelFits
    from skyextract.stages.galaxies.scene import Sky

MAX_PIXELS, MIN_PIXELS = 100_000, 1000
"""Pixels whose noise is compared, about, and at least."""
CLIP = 2.5
"""Sigma beyond which pixels have light of sources."""
SURE = 5.0
"""Correlation of noise, over that of chance, that is one."""


@record
class Scaled:
    """Models of given shapes, their brightness measured on another image.

    Attributes
    ----------
    scale, error : (n,) float64
        Factor of the fluxes, and its error.
    chi2 : (n,) float64
        Reduced.
    iterations : int
        Sweeps over the sources.
    """

    scale: F8
    error: F8
    chi2: F8
    iterations: int


def scale_models(sky: Sky, fits: ModelFits, run: Run, *, fitted: Sky | None = None) -> Scaled:
    """Measure the brightness of models that were fitted to another image of the same pixels.

    Parameters
    ----------
    sky : Sky
        The image to measure.
    fits : ModelFits
        Of the other image.
    fitted : Sky, optional
        The other image, whose noise may be in this one, too.
    """
    n = len(fits.parameters)
    good = np.asarray(np.isfinite(fits.parameters).all(axis=1))
    parameters = np.where(good[:, None], fits.parameters, 0.0)
    parameters[:, SKY] = 0.0
    boxes = np.where(good[:, None], fits.scene.boxes, 0)
    flux = parameters[:, [SPHEROID, DISK, POINT]].sum(axis=1)
    scene = Scene(sky, boxes, parameters[:, X], parameters[:, Y], flux, run)
    scales, chi2 = np.zeros((n, 2)), np.full(n, np.nan)
    scales[~good] = np.nan
    moved, changed = np.zeros((2, n), dtype=np.uint8)
    pixels = sky.pixels(copied(sky.image, run))
    below = np.zeros((2, n))
    below[1] = sky.level_error()

    def visit(members: I8, places: Places) -> None:
        moved[members] = 0
        visit_scales(members, places, pixels, parameters, below, scales, chi2, moved)
        changed[scene.beside(members[moved[members] == 1])] = 1

    stale = np.asarray(boxes[:, 2] > 0)
    sweeps = 0
    while sweeps < MAX_SWEEPS and stale.any():
        scene.sweep(stale, changed, visit)
        sweeps += 1
        if sweeps == 1:
            _measure_sky(sky, pixels.residual, boxes, parameters, scales[:, 0], below, run)
            stale[:] = boxes[:, 2] > 0
    scale = scales[:, 0]
    if fitted is not None:
        scale = scale - shared_noise(sky, fitted) * _light_of_noise(fits, fitted)
    return Scaled(scale, scales[:, 1], chi2, sweeps)


def shared_noise(sky: Sky, fitted: Sky) -> float:
    """Return the part of an image's noise that is in another one: 1 of the same, 0 of no kin.

    It is the slope of pixels between the sources of one with those of the other; less of it than
    single pixels tell is none.
    """
    if fitted is sky:
        return 1.0
    here = sparse(sky.image.shape, MAX_PIXELS)
    pixels, usable = [], np.ones(sky.image[here].shape, np.bool_)
    for each in (fitted, sky):
        value, variance = each.image[here].astype(np.float64), each.variance[here]
        usable &= (variance > 0.0) & (variance < MAX_VARIANCE)
        usable &= (value**2 < CLIP**2 * variance) & ((each.mask[here] & UNUSABLE) == 0)
        pixels.append(value)
    first, second = (value[usable] for value in pixels)
    if first.size < MIN_PIXELS:
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    squares = (first @ first) * (second @ second)
    if not (first @ second) ** 2 > SURE**2 * squares / first.size:
        return 0.0
    return float((first @ second) / (first @ first))


def _light_of_noise(fits: ModelFits, fitted: Sky) -> F8:
    """Return the light, of that of a model, that its shape has by following the noise.

    Of a shape that is fitted, the product with the noise is as many times the variance of the flux,
    over the flux, as it has parameters; those that priors tell count in part.
    """
    profile, free = fits.profile, fits.profile.free
    shape = free[~np.isin(free, [SPHEROID, DISK, POINT, SKY])]
    weight = profile.prior(fitted.psf.fwhm)[1, shape]
    by_prior = weight * np.diagonal(fits.covariance, axis1=1, axis2=2)[:, shape]
    # a variance of NaN: nothing is known of it
    by_pixels = 1.0 - np.fmin(np.where(np.isfinite(by_prior), by_prior, 1.0), 1.0)
    n_fluxes = np.count_nonzero(np.isin(free, [SPHEROID, DISK, POINT]))
    number = by_pixels.sum(axis=1) + n_fluxes - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        snr2 = signal_to_noise2(fits.parameters, fits.noise_area, fitted)
        light: F8 = number / (number + snr2)
    return np.where(np.isfinite(light), light, 0.0)


def _measure_sky(
    sky: Sky, residual: F4, boxes: I8, parameters: F8, scale: F8, below: F8, run: Run
) -> None:
    """Write level and error of the sky below sources, as where models are fitted, into `below`."""
    if sky.background is None:
        return
    drawn = parameters.copy()
    drawn[:, [SPHEROID, DISK, POINT]] *= np.nan_to_num(scale)[:, None]
    apart = np.zeros(len(boxes), dtype=np.bool_)
    found = levels_below(sky, residual, boxes, apart, False, drawn, run)
    if found is not None:
        below[0], below[1] = found.level - found.wings, np.hypot(found.error, found.wings)
