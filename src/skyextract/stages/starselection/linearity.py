"""Whether stars have one shape at any brightness, as they have where pixels are linear in light.

A gamma, a square root, asinh or a logarithm, the curve of a photographic plate, and clipped peaks
press bright cores down: the brighter a star the wider it is, and its light is not the sum of its
pixels.  What a detector does to bright stars (brighter-fatter effect, 1 to 2 %) is far below that.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.datamodel.noise import median, quantiles, robust_sigma

MIN_STARS = 12
MIN_CHANGE = 0.06
"""Relative change of the width over the brightness of the stars, at least."""
MIN_RATIO = 3.0
"""... in units of the scatter of the widths about it..."""
TIGHT = 8.0
"""... and where the sources may be galaxies, of which the brighter are the larger, too."""
MIN_CORRELATION = 0.55
"""Of the ranks of width and brightness."""
SURE = 4.0
"""... in units of its error, that of Fisher's transform."""
SLIGHT_CHANGE, SLIGHTLY_SURE = 0.02, 3.0
"""Change and its error's multiple that count where magnitudes say the same."""
MIN_STEP = 0.1
"""Pairs of stars nearer in log10 flux say nothing about the slope."""
_ENDS = (0.05, 0.95)


def widening(flux: F8, fwhm: F8, least: float = MIN_RATIO) -> float:
    """Return by which part bright stars are wider than faint ones; 0 if that is not clear.

    The slope of log width over log flux is the median of those of all pairs (Sen 1968, J. Am.
    Stat. Assoc. 63, 1379).

    Parameters
    ----------
    flux, fwhm : (n,) float64
        Of isolated stars.
    least : float
        Change of the width over the brightness in units of the scatter about it.
    """
    change, scatter, correlation, n = _trend_of_width(flux, fwhm)
    if n < MIN_STARS:
        return 0.0
    certain = max(MIN_CORRELATION, math.tanh(SURE / math.sqrt(n - 3)))
    if change < least * scatter or correlation < certain:
        return 0.0
    widened = float(10.0**change) - 1.0
    return widened if widened > MIN_CHANGE else 0.0


def slight_widening(flux: F8, fwhm: F8) -> float:
    """Return by which part bright stars are wider, be it little; 0 where that may be chance.

    Alone it says little: a PSF that varies over the field, or the detector itself, may do so.
    """
    change, _, correlation, n = _trend_of_width(flux, fwhm)
    if n < MIN_STARS or correlation < math.tanh(SLIGHTLY_SURE / math.sqrt(n - 3)):
        return 0.0
    widened = float(10.0**change) - 1.0
    return widened if widened > SLIGHT_CHANGE else 0.0


def _trend_of_width(flux: F8, fwhm: F8) -> tuple[float, float, float, int]:
    """Return change of log10 width over the brightness, scatter, correlation of ranks, number."""
    known = (flux > 0.0) & (fwhm > 0.0)
    x, y = np.log10(flux[known]), np.log10(fwhm[known])
    first, second = np.triu_indices(x.size, 1)
    step = x[second] - x[first]
    far = np.abs(step) > MIN_STEP
    if x.size < MIN_STARS or not far.any():
        return 0.0, 0.0, 0.0, 0
    slope = median((y[second] - y[first])[far] / step[far])
    low, high = quantiles(x, _ENDS)
    scatter = robust_sigma(y - slope * x)
    correlation = float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])
    return slope * (high - low), scatter, correlation, x.size


def doubt_of_linearity(flux: F8, fwhm: F8) -> str:
    """Tell that pixel values are not linear in light, as the widths of stars say; else empty."""
    return not_linear(widening(flux, fwhm))


def not_linear(wider: float) -> str:
    """Say that bright stars are wider than faint ones by that part of the width; empty for 0."""
    message = (
        f"bright stars are {100.0 * wider:.0f} % wider than faint ones: the pixel values are not "
        "linear in light (a stretched image, a photographic plate, clipped peaks?): magnitudes "
        "depend on brightness"
    )
    return message if wider else ""


def _ranks(values: F8) -> F8:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
