"""Stacks whose pixels are no means of frames: their light depends on how bright it is.

Where frames of different seeing are combined without what departs by a few sigma from the others,
frames are left out in the images of bright stars, at each pixel others: these have noise from
pixel to pixel that faint stars and the sky have not, and another PSF.  In a maximum or a minimum
of frames stars gain or lose with their noise, and that of the sky is skewed.
"""

from __future__ import annotations

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.noise import median, quantiles
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.stages.psf.fitted import PsfFit

MIN_STARS, MIN_SNR, MOST_STARS = 5, 100.0, 60
"""So many stars of this S/N tell of noise in their cores; so many of the brightest are asked."""
CORE, SAMPLED = 0.9, 2.5
"""Radius of the cores, FWHM; stars that are narrower, pixels, differ from a model so, too."""
MORE, AS_NOISE = 2.0, 0.7
"""Median of their noise from pixel to pixel, in variances by GAIN (1.35 at most in 300 frames
of other kinds), and in units of all that the PSF leaves, which is smooth where it does not fit."""
AS_KNOWN, MIN_LEVEL = (0.5, 1.3), 10.0
"""Variance of the sky in units of that by GAIN, and level in units of its noise, at least."""
MOST_ROWS, MIN_PIXELS = 256, 20_000
"""Of the noise of the sky so many rows are looked at; pixels without which nothing is said."""
SKEWED, TAILS = 0.035, 1.3
"""Skewness of the quantiles of 5, 50, 95 % of pixels less the mean of their four neighbours (of a
maximum of 3 frames .04), and range of these over that of 10 to 90 % (of a normal distribution
1.284, of extremes of 20 frames 1.294; warm pixels and bright cores have longer tails)."""
_QUANTILES = (0.05, 0.1, 0.5, 0.9, 0.95)


def about_clipped_cores(fit: PsfFit, level: float, sigma: float, gain: float, read: float) -> str:
    """Tell that bright stars have more noise than their photons and the sky; empty if not.

    Parameters
    ----------
    fit : PsfFit
    level, sigma : float
        Of the sky, without a pedestal, and its noise, image units.
    gain, read : float
        Electrons per image unit, and read noise in electrons.
    """
    if not (gain > 0.0 and level > MIN_LEVEL * sigma and fit.psf.fwhm > SAMPLED):
        return ""
    if not AS_KNOWN[0] < sigma**2 / (level / gain + (read / gain) ** 2) < AS_KNOWN[1]:
        return ""
    noise, left = noise_in_cores(fit)
    message = ""
    if noise.size >= MIN_STARS and median(noise) > max(MORE, AS_NOISE * median(left)):
        message = (
            f"the cores of {noise.size} bright stars have {median(noise):.1f} times the noise, "
            f"from pixel to pixel, of their photons by a GAIN of {gain:g}, and the sky has not: "
            "frames of different seeing whose combination clipped stars, or their median; pixels "
            "of several colours? Fluxes are not in proportion to light"
        )
    return message


def noise_in_cores(fit: PsfFit) -> tuple[F8, F8]:
    """Return the noise in the cores of bright stars, and all that the PSF leaves, in variances.

    The noise is that of ``a - b - c + d`` of squares of 2 x 2 pixels, which a model that does not
    fit hardly has; (n,) each.
    """
    solver = fit.solver
    rows = np.flatnonzero(fit.used & (fit.flux > MIN_SNR * fit.flux_error))
    rows = np.sort(rows[np.argsort(-fit.flux[rows], kind="stable")][:MOST_STARS])
    size = solver.stamps.shape[1]
    axis = np.arange(size) - size // 2
    cx, cy = solver.cx[rows] - size // 2, solver.cy[rows] - size // 2
    shapes = fit.psf.stamps(fit.x[rows], fit.y[rows], cx, cy, size).astype(np.float64)
    models = fit.flux[rows, None, None] * shapes
    distance = np.hypot((axis - cx[:, None])[:, None, :], (axis - cy[:, None])[:, :, None])
    good = (solver.noise[rows] < MAX_VARIANCE) & (distance < CORE * fit.psf.fwhm)
    expected = solver.noise[rows] + solver.inverse_gain * np.maximum(models, 0.0)
    left = np.where(good, solver.stamps[rows] - models, 0.0)
    corners = [(slice(i, size - 1 + i), slice(j, size - 1 + j)) for i in (0, 1) for j in (0, 1)]
    whole = np.logical_and.reduce([good[:, *corner] for corner in corners])
    a, b, c, d = (left[:, *corner] for corner in corners)
    variance = np.sum([expected[:, *corner] for corner in corners], axis=0)
    number, squares = good.sum(axis=(1, 2)), whole.sum(axis=(1, 2))
    noise = np.where(whole, (a - b - c + d) ** 2 / variance, 0.0).sum(axis=(1, 2))
    total = np.where(good, left**2 / expected, 0.0).sum(axis=(1, 2))
    some = squares > 0
    return noise[some] / squares[some], total[some] / number[some]


def about_extremes(data: F4, variance: F4) -> str:
    """Tell that pixels are the highest, or the lowest, of several frames; empty if not.

    Parameters
    ----------
    data, variance : (ny, nx) float32
        Background-subtracted image, of less noise than one frame has, and background variance
        (1e30: no data).
    """
    first = max(0, (data.shape[0] - MOST_ROWS) // 2)
    rows = data[first : first + MOST_ROWS].astype(np.float64)
    good = variance[first : first + MOST_ROWS] < MAX_VARIANCE
    # Light of stars is smooth, but for their cores.
    middle = np.s_[1:-1, 1:-1]
    around = (np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:])
    good = np.logical_and.reduce([good[part] for part in (middle, *around)])
    noise = (rows[middle] - 0.25 * np.sum([rows[part] for part in around], axis=0))[good]
    if noise.size < MIN_PIXELS:
        return ""
    low, lower, half, higher, high = quantiles(noise, _QUANTILES)
    if not higher > lower or high - low > TAILS * (higher - lower):
        return ""
    skewness, message = (high + low - 2.0 * half) / (high - low), ""
    if abs(skewness) > SKEWED:
        which, more = ("highest", "more") if skewness > 0.0 else ("lowest", "less")
        message = (
            f"the noise of the sky is skewed ({skewness:+.3f}) and less than that of one frame: "
            f"are pixels the {which} of several frames? Stars have the {more} light the more noise "
            "they have: fluxes are not in proportion to light"
        )
    return message
