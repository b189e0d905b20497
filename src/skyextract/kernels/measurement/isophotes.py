"""Isophotal sums over the pixels of each source.

Formulas of the SExtractor manual, chapters "Isophotal measurements", "Position and shape"
(error ellipse) and "Photometry"; the FWHM is that of the Gaussian that fits ln(value)
against the square of the radius, weighted with value squared.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skyextract.kernels.jit import kernel

N_LEVELS = 8
"""Isophotal areas ISO0..ISO7."""

FLUX, VARIANCE, AREA, PEAK, THRESHOLD, ERRX2, ERRY2, ERRXY, FWHM, LEVEL, N_BAD, ISO = range(12)
"""Columns of `out`; ISO is the first of N_LEVELS."""

N_COLUMNS = ISO + N_LEVELS

_PIXEL_VARIANCE = 0.08333


@kernel
def isophotal(
    pixels: Any, image: Any, variance: Any, mapped: bool, noise2: float, gain: float,
    weight_gain: bool, threshold: float, starts: Any, n_own: Any, index: Any, filtered: Any,
    position_noise2: float, x: Any, y: Any, a: Any, b: Any, singular: Any,
    sky: Any, ceiling: Any, photographic: bool, first: int, last: int, out: Any,
) -> None:  # fmt: skip
    """Sum over the pixel lists of sources ``first <= i < last``.

    Parameters
    ----------
    pixels : (ny, nx) float32
        Background-subtracted measurement image, NaN where bad.
    image : (ny, nx) float32
        The same, background not subtracted, for the saturation.
    variance : (ny, nx) float32
        Background variance; used if `mapped`, else `noise2` holds everywhere.
    noise2 : float
        Square of the representative background noise.
    gain, weight_gain
        e-/ADU, 0: no photon noise; whether it is modulated with the weights.
    threshold : float
        Analysis threshold for the noise sqrt(`noise2`); it scales with the noise.
    starts : (n + 1,) int64, n_own : (n,) int32, index : (m,) int64, filtered : (m,) float32
        Pixel lists as in `Detections`.
    position_noise2 : float
        Background variance of the detection image.
    x, y, a, b, singular, sky : (n,)
        Barycentre, semi-axes, singular flag, local background.
    ceiling : (n,) float64
        Background-subtracted level above which a pixel is saturated.
    photographic : bool
        DETECT_TYPE PHOTO: isophotal levels are spaced linearly.
    out : (n, N_COLUMNS) float64
        Output.  PEAK and THRESHOLD are above the local background, LEVEL is the highest
        value of `image`.
    """
    width = pixels.shape[1]
    steps = np.empty(N_LEVELS)
    factor = threshold / math.sqrt(noise2)
    for i in range(first, last):
        begin, end = starts[i], starts[i + 1]
        own = begin + n_own[i]
        flux = noise = area = 0.0
        peak = level = -math.inf
        lowest = math.inf if mapped else threshold
        weight_sum = error_sum = ex2 = ey2 = exy = 0.0
        bad = 0
        for k in range(begin, end):
            py = index[k] // width
            px = index[k] - py * width
            value = np.float64(pixels[py, px])
            if value != value:
                bad += 1
                continue
            level = max(level, np.float64(image[py, px]))
            peak = max(peak, value)
            var = noise2
            limit = threshold
            if mapped:
                var = np.float64(variance[py, px])
                limit = factor * math.sqrt(var)
                lowest = min(lowest, limit)
            if weight_gain and gain > 0.0 and value > 0.0:
                var += value / gain * var / noise2
            flux += value
            noise += var
            if k >= own:
                continue
            if value > limit:
                area += 1.0
            light = np.float64(filtered[k])
            error = position_noise2
            if gain > 0.0 and light > 0.0:
                error += light / gain
            dx = px - x[i]
            dy = py - y[i]
            weight_sum += light
            error_sum += error
            ex2 += error * dx * dx
            ey2 += error * dy * dy
            exy += error * dx * dy
        flux -= (end - begin) * sky[i]
        if not weight_gain and gain > 0.0 and flux > 0.0:
            noise += flux / gain
        if end - begin == bad:
            peak = level = lowest = math.nan
        peak -= sky[i]
        lowest -= sky[i]
        norm = math.nan
        if weight_sum != 0.0:
            norm = 1.0 / (weight_sum * weight_sum)
        ex2 *= norm
        ey2 *= norm
        exy *= norm
        error_sum *= _PIXEL_VARIANCE * norm
        if singular[i] and ex2 * ey2 - exy * exy < error_sum * error_sum:
            ex2 += error_sum
            ey2 += error_sum
        out[i, FLUX] = flux
        out[i, VARIANCE] = noise
        out[i, AREA] = area
        out[i, PEAK] = peak
        out[i, THRESHOLD] = lowest
        out[i, ERRX2] = ex2
        out[i, ERRY2] = ey2
        out[i, ERRXY] = exy
        out[i, LEVEL] = level
        out[i, N_BAD] = bad

        for j in range(N_LEVELS):
            if photographic:
                steps[j] = lowest + (peak - lowest) * j / N_LEVELS
            elif peak > 0.0 and lowest > 0.0:
                steps[j] = lowest * (peak / lowest) ** (j / N_LEVELS)
            else:
                steps[j] = 0.0
            out[i, ISO + j] = 0.0
        bottom = max(0.2 * peak, lowest)
        s = sx = sy = sxx = sxy = 0.0
        for k in range(begin, own):
            py = index[k] // width
            px = index[k] - py * width
            value = np.float64(pixels[py, px])
            if value != value:
                continue
            for j in range(N_LEVELS):
                if not value > steps[j]:
                    break
                out[i, ISO + j] += 1.0
            value -= sky[i]
            if bottom > 0.0 and bottom < value < ceiling[i]:
                dx = px - x[i]
                dy = py - y[i]
                r2 = dx * dx + dy * dy
                weight = value * value
                log = math.log(value)
                s += weight
                sx += r2 * weight
                sxx += r2 * r2 * weight
                sy += log * weight
                sxy += log * r2 * weight
        width_at_half = 0.0
        determinant = s * sxx - sx * sx
        if abs(determinant) > 0.0:
            slope = max(-(s * sxy - sx * sy) / determinant, 1.0 / (13.0 * a[i] * b[i]))
            width_at_half = 1.6651 / math.sqrt(slope)
            # Undersampling makes the FWHM too large by this much (SExtractor's simulations).
            width_at_half -= 1.0 / (4.0 * width_at_half)
        out[i, FWHM] = width_at_half
