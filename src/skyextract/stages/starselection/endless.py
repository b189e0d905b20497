"""Pieces of lines that pass for trailed stars: orders of spectra, trails across the frame.

Trailed stars have ends.  A PSF made of crests of lines that go on would be fitted to every peak of
them again and again, and none of the fits would come to rest.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.psf import Psf

LONG = 0.5
"""Ellipticity above which stars are asked for their ends; they are three times as long as wide."""
BEYOND = (1.0, 1.4)
"""Where the light of a star has ended, in its length (FWHM) from its centre."""
GOES_ON = 0.3
"""Share of a star's light per pixel that is left there of a line."""
CORE = 0.3
"""Share of the PSF's peak above which its pixels tell its direction."""
LEAST = 3
"""Stars whose ends are in the image that tell, at least."""


def run_on(data: F4, psf: Psf, x: F8, y: F8) -> bool:
    """Tell whether the light of most stars goes on beyond both of their ends.

    Parameters
    ----------
    data : (ny, nx) float32
        Background-subtracted image.
    psf : Psf
        Made of the stars.
    x, y : (n,) float64
        The stars, 0-based pixels.
    """
    if not psf.ellipticity > LONG:
        return False
    stretch = math.sqrt((1.0 + psf.ellipticity) / (1.0 - psf.ellipticity))
    length, width = psf.fwhm * stretch, psf.fwhm / stretch
    angle = _angle(psf, data.shape)
    ends = np.linspace(*BEYOND, max(5, round(0.4 * length))) * length
    middle = np.linspace(-0.2, 0.2, ends.size) * length
    own, ahead, behind = (
        _light(data, x, y, along, width, angle) for along in (middle, ends, -ends)
    )
    known = np.isfinite(own + ahead + behind) & (own > 0.0)
    on = np.minimum(ahead, behind)[known] > GOES_ON * own[known]
    return bool(known.sum() >= LEAST and 2 * np.count_nonzero(on) > on.size)


def _angle(psf: Psf, shape: tuple[int, ...]) -> float:
    """Return the direction of the PSF's length, radians from x."""
    light = psf.stamp(shape[1] / 2, shape[0] / 2).astype(np.float64)
    # Of the core: light that a stamp full of lines lacks far from its middle outweighs them.
    light = np.where(light > CORE * light.max(), light, 0.0)
    y, x = np.indices(light.shape) - light.shape[0] // 2
    xx, yy, xy = ((light * term).sum() for term in (x * x, y * y, x * y))
    return 0.5 * math.atan2(2.0 * xy, xx - yy)


def _light(data: F4, x: F8, y: F8, along: F8, width: float, angle: float) -> F8:
    """Return the mean light along a piece of each star's line, the brightest within its width.

    NaN where the piece is not in the image.
    """
    n_across = math.ceil(width)
    across = np.arange(-n_across, n_across + 1)[:, None]
    dx = along * math.cos(angle) - across * math.sin(angle)
    dy = along * math.sin(angle) + across * math.cos(angle)
    column = np.rint(x[:, None, None] + dx).astype(np.int64)
    row = np.rint(y[:, None, None] + dy).astype(np.int64)
    inside = (column >= 0) & (column < data.shape[1]) & (row >= 0) & (row < data.shape[0])
    light = data[np.where(inside, row, 0), np.where(inside, column, 0)].astype(np.float64)
    brightest: F8 = light.mean(axis=2).max(axis=1)
    return np.where(inside.all(axis=(1, 2)), brightest, np.nan)
