"""The variance of the sky beneath sources, with which a filter weighs their pixels.

A variance plane holds the photons of the sources.  Taken off with the gain of the frame, they leave
what flat field and its own noise make of them: a part of a hundredth of a bright star is many times
the noise of the sky, and differs from pixel to pixel.  Weight maps have steps, where exposures end.
Errors want all of that, a filter none: its image of a bright star is drawn to pixels of more
weight, and with it the position of the star.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8, whole
from skyextract.kernels.background.skyvariance import Light, fill_light, sum_dark_weights
from skyextract.run import Run
from skyextract.stages.background.means import smoothed

SIDE = 8
"""Pixels on a side of a cell."""
LIGHT = 4.0
"""Pixels farther above the sky, in sigma, hold light."""
WIDTH = 3.0
"""Radii of the PSF's core that are the sigma of the mean about a pixel."""
ENOUGH = 16.0
"""Pixels that tell a mean; where they are fewer it is taken twice as wide."""
PHOTONS = 3.0
"""Light has so many times the variance that the gain gives it, at most: behind a dark part of a
flat field, or where a gain is that of a sum of exposures and the image their mean."""
FLAT_ERROR = 0.01
"""Of a flat field at most."""
STEPS = 3.0
"""Where exposures end the variance changes by no more than this factor; beyond, pixels are noisy,
and light on them tells as little as their variance says."""


def sky_variance(variance: F4, subtracted: F4, gain: float, radius: float, run: Run) -> F4:
    """Return a background variance that is the mean of what is about it where light is.

    Parameters
    ----------
    variance : (ny, nx) float32
        Background variance, image units squared, 1e30 where it is not known.
    subtracted : (ny, nx) float32
        Image without its background.
    gain : float
        Electrons per image unit; 0: unknown.
    radius : float
        Of the core of the PSF, pixels.

    Returns
    -------
    (ny, nx) float32
        Pixels without light keep theirs, and those that are noisy, or of which nothing is known.
    """
    n_y, n_x = (math.ceil(size / SIDE) for size in variance.shape)
    total, number = np.zeros((2, n_y, n_x))

    def look(band: tuple[int, int]) -> None:
        sum_dark_weights(variance, subtracted, LIGHT, SIDE, *band, total, number)

    run.map(look, run.bands(n_y, least=8))
    if not number.any():
        return variance
    weights = _means(total, number, WIDTH * radius / SIDE)
    light = Light(LIGHT, PHOTONS / gain if gain > 0.0 else 0.0, FLAT_ERROR, STEPS)
    out: F4 = whole(variance.shape, np.float32)

    def fill(band: tuple[int, int]) -> None:
        fill_light(variance, subtracted, weights, SIDE, light, *band, out)

    run.map(fill, run.bands(len(out)))
    return out


def _means(total: F8, number: F8, sigma: float) -> F8:
    """Return the means about cells, weighted with a Gaussian that is as wide as it has to be."""
    mean = np.full(total.shape, total.sum() / number.sum())
    unknown = np.ones(total.shape, np.bool_)
    while unknown.any() and sigma < max(total.shape):
        n = smoothed(number, sigma)
        known = unknown & (n >= ENOUGH)
        mean[known] = smoothed(total, sigma)[known] / n[known]
        unknown &= ~known
        sigma *= 2.0
    return mean
