"""The region of pixels that point sources are fitted in: a circle, or an ellipse along trails.

The circle about a trail has a tenth of its pixels on the trail; the others have no light of the
source, cost as much, and have the light of others.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import ENDS

LIT = 0.1
"""Pixels above this share of the peak are those of the image of a source..."""
GAUSSIAN = 0.5 * math.sqrt(-math.log2(LIT))
"""... and reach so many FWHM from the middle of a Gaussian."""
PLACES = (1 / 6, 1 / 2, 5 / 6)
"""Where trails are looked at, in sizes of the image along both axes: they may turn with place."""
LONG = 0.7
"""Ellipses with a minor axis above this share of the major one are circles."""


def region_along(psf: Psf, shape: tuple[int, ...], radius: float, factor: float) -> tuple[F8, F8]:
    """Return `form` and `extent` of the `FitRules` for a PSF.

    Only where the ends of its images lie outside of `factor` FWHM they are not those of a circle.

    Parameters
    ----------
    psf : Psf
    shape : (int, int)
        Of the image.
    radius : float
        Half of the region's length, pixels.
    factor : float
        Half of its width, FWHM across the images.
    """
    circle = np.array([1.0, 0.0, 1.0]), np.ones(2)
    if not math.sqrt(1.0 - psf.ellipticity) * factor < ENDS:
        return circle
    y, x = (v.ravel() for v in np.meshgrid(*(size * np.array(PLACES) for size in shape)))
    middle = np.zeros(x.size)
    stamps = psf.stamps(x, y, middle, middle)
    lit = (stamps > LIT * stamps.max(axis=(1, 2), keepdims=True)).any(axis=0)
    dy, dx = (v - len(lit) // 2.0 for v in np.nonzero(lit))
    angle = 0.5 * math.atan2(2.0 * float(dx @ dy), float(dx @ dx - dy @ dy))
    cos, sin = math.cos(angle), math.sin(angle)
    across = float(np.abs(dy * cos - dx * sin).max())
    ratio = max(across, 1.0) * factor / GAUSSIAN / radius
    if not ratio < LONG:
        return circle
    steep = ratio**-2
    form = cos**2 + steep * sin**2, 2.0 * (1.0 - steep) * cos * sin, sin**2 + steep * cos**2
    return np.array(form), np.hypot([cos, sin], [ratio * sin, ratio * cos])
