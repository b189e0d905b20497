"""Isophotal sums over the pixels of each source.

Formulas of the SExtractor manual, chapters "Isophotal measurements", "Position and shape"
(error ellipse) and "Photometry"; the FWHM is that of the Gaussian that fits ln(value)
against the square of the radius, weighted with value squared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.measurement.records import Footprints, Noise, Shapes

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U1

N_LEVELS = 8
"""Isophotal areas ISO0..ISO7."""

FLUX, VARIANCE, AREA, PEAK, THRESHOLD, ERRX2, ERRY2, ERRXY, FWHM, N_SATURATED, N_BAD, ISO = range(
    12
)
"""Columns of `out`; ISO is the first of N_LEVELS."""

N_COLUMNS = ISO + N_LEVELS

_PIXEL_VARIANCE = 0.08333


@helper
def _row_of(place: int, width: int, row: int, edge: int) -> tuple[int, int]:
    """Return the row of a pixel and where it begins: mostly that before, as divisions take long."""
    if not edge <= place < edge + width:
        row = place // width
        edge = row * width
    return row, edge


@kernel
def _sum_footprint(
    pixels: F4, saturated: U1, noise: Noise, threshold: float, footprints: Footprints,
    position_noise2: float, i: int, x: float, y: float, singular: bool, sky: float, row: F8,
) -> None:  # fmt: skip
    """Sum flux, variance, area and extreme values of source i, and the errors of its position."""
    variance, mapped, noise2, gain, weight_gain = noise
    index, filtered = footprints.pixel, footprints.filtered
    begin, end = footprints.first[i], footprints.first[i + 1]
    own = begin + footprints.n_own[i]
    width = pixels.shape[1]
    factor = threshold / math.sqrt(noise2)
    flux = total_variance = area = 0.0
    peak = -math.inf
    lowest = math.inf if mapped else threshold
    weight_sum = error_sum = ex2 = ey2 = exy = 0.0
    bad = full = 0
    py = edge = 0
    for k in range(begin, end):
        py, edge = _row_of(index[k], width, py, edge)
        px = index[k] - edge
        value = np.float64(pixels[py, px])
        if value != value:
            bad += 1
            continue
        full += (saturated[py, px >> 3] >> (7 - (px & 7))) & 1
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
        total_variance += var
        if k >= own:
            continue
        if value > limit:
            area += 1.0
        light = np.float64(filtered[k])
        error = position_noise2
        if gain > 0.0 and light > 0.0:
            error += light / gain
        dx = px - x
        dy = py - y
        weight_sum += light
        error_sum += error
        ex2 += error * dx * dx
        ey2 += error * dy * dy
        exy += error * dx * dy
    flux -= (end - begin) * sky
    if not weight_gain and gain > 0.0 and flux > 0.0:
        total_variance += flux / gain
    if end - begin == bad:
        peak = lowest = math.nan
    norm = math.nan
    if weight_sum != 0.0:
        norm = 1.0 / (weight_sum * weight_sum)
    ex2 *= norm
    ey2 *= norm
    exy *= norm
    error_sum *= _PIXEL_VARIANCE * norm
    if singular and ex2 * ey2 - exy * exy < error_sum * error_sum:
        ex2 += error_sum
        ey2 += error_sum
    row[FLUX] = flux
    row[VARIANCE] = total_variance
    row[AREA] = area
    row[PEAK] = peak - sky
    row[THRESHOLD] = lowest - sky
    row[ERRX2] = ex2
    row[ERRY2] = ey2
    row[ERRXY] = exy
    row[N_SATURATED] = full
    row[N_BAD] = bad


@kernel
def _set_levels(peak: float, lowest: float, photographic: bool, levels: F8) -> None:
    """Set the levels of the isophotal areas, none below the one before; inf for what is none."""
    for j in range(N_LEVELS):
        if photographic:
            levels[j] = lowest + (peak - lowest) * j / N_LEVELS
        elif peak > 0.0 and lowest > 0.0:
            levels[j] = lowest * (peak / lowest) ** (j / N_LEVELS)
        else:
            levels[j] = 0.0
    for j in range(N_LEVELS):
        if levels[j] != levels[j]:
            levels[j] = math.inf
        levels[j] = max(levels[j], levels[max(j - 1, 0)])


@kernel
def _measure_profile(
    pixels: F4, index: I8, begin: int, own: int, levels: F8, x: float, y: float, sky: float,
    ceiling: float, min_slope: float, row: F8,
) -> None:  # fmt: skip
    """Count the pixels above each level, and fit the FWHM of a Gaussian."""
    width = pixels.shape[1]
    number = np.zeros(N_LEVELS + 1)  # of pixels above so many levels
    bottom = max(0.2 * row[PEAK], row[THRESHOLD])
    s = sx = sy = sxx = sxy = 0.0
    py = edge = 0
    for k in range(begin, own):
        py, edge = _row_of(index[k], width, py, edge)
        px = index[k] - edge
        value = np.float64(pixels[py, px])
        if value != value:
            continue
        n_above = 0
        for j in range(N_LEVELS):  # all of them: a branch would be taken at random
            n_above += int(value > levels[j])
        number[n_above] += 1.0
        value -= sky
        if bottom > 0.0 and bottom < value < ceiling:
            dx = px - x
            dy = py - y
            r2 = dx * dx + dy * dy
            weight = value * value
            log = math.log(value)
            s += weight
            sx += r2 * weight
            sxx += r2 * r2 * weight
            sy += log * weight
            sxy += log * r2 * weight
    total = 0.0
    for j in range(N_LEVELS - 1, -1, -1):
        total += number[j + 1]
        row[ISO + j] = total
    row[FWHM] = 0.0
    determinant = s * sxx - sx * sx
    if abs(determinant) > 0.0:
        slope = max(-(s * sxy - sx * sy) / determinant, min_slope)
        width_at_half = 1.6651 / math.sqrt(slope)
        # Undersampling makes the FWHM too large by this much (SExtractor's simulations).
        row[FWHM] = width_at_half - 1.0 / (4.0 * width_at_half)


@kernel
def isophotal(
    pixels: F4, saturated: U1, noise: Noise, threshold: float, footprints: Footprints,
    position_noise2: float, shapes: Shapes, sky: F8, ceiling: F8, photographic: bool, first: int,
    last: int, out: F8,
) -> None:  # fmt: skip
    """Sum over the pixel lists of sources ``first <= i < last``.

    Parameters
    ----------
    pixels : (ny, nx) float32
        Background-subtracted measurement image, NaN where bad.
    saturated : (ny, n) uint8
        A bit of each pixel, as of `mark_saturated`.
    threshold : float
        Analysis threshold for the noise sqrt(`Noise.noise2`); it scales with the noise.
    position_noise2 : float
        Background variance of the detection image.
    sky : (n,)
        Local background.
    ceiling : (n,) float64
        Background-subtracted level above which a pixel is saturated.
    photographic : bool
        DETECT_TYPE PHOTO: isophotal levels are spaced linearly.
    out : (n, N_COLUMNS) float64
        Output.  PEAK and THRESHOLD are above the local background.
    """
    x, y, a, b, _, _, _, singular = shapes
    levels = np.empty(N_LEVELS)
    for i in range(first, last):
        _sum_footprint(
            pixels, saturated, noise, threshold, footprints, position_noise2, i, x[i], y[i],
            singular[i] != 0, sky[i], out[i],
        )  # fmt: skip
        _set_levels(out[i, PEAK], out[i, THRESHOLD], photographic, levels)
        begin = footprints.first[i]
        own = begin + footprints.n_own[i]
        min_slope = 1.0 / (13.0 * a[i] * b[i])
        _measure_profile(
            pixels, footprints.pixel, begin, own, levels, x[i], y[i], sky[i], ceiling[i],
            min_slope, out[i],
        )  # fmt: skip
