"""The stars that a PSF is built from."""

from __future__ import annotations

from skyextract.datamodel.arrays import F8
from skyextract.record import record
from skyextract.stages.psf.neighbours import Neighbours

ROUND = (1.0, 1.0, 0.0)
"""Quadratic form of a circle."""


@record
class StarSample:
    """Stars to build a PSF from, and what shines beside them.

    Attributes
    ----------
    x, y, flux : (n,) float64
        0-based pixels; rough total fluxes.
    fwhm : float
        Their typical FWHM in pixels.
    narrow : float
        FWHM along the minor axis where that is clearly shorter (0: it is not).
    shape : (float, float, float)
        Quadratic form (xx, yy, xy) of their elliptical radius, unit determinant.
    neighbours : Neighbours or None
        The peaks, fitted: their light is subtracted instead of masked.
    height : (n,) float64
        Their heights in the smoothed image.
    peaks : (4, m) float64
        All peaks of the smoothed image, sorted by y: x, y, height, and how far (pixels)
        their light is to be masked.
    """

    x: F8
    y: F8
    flux: F8
    fwhm: float
    height: F8
    peaks: F8
    narrow: float = 0.0
    shape: tuple[float, float, float] = ROUND
    neighbours: Neighbours | None = None
