"""Fast Gaussian-weighted moments of bright candidates for PSF stars.

The moments are taken under a circular Gaussian whose width follows the object
("adaptive" moments, Bernstein & Jarvis 2002, AJ 123, 583, section 3; Hirata & Seljak
2003, MNRAS 343, 459).  With a matched weight the size of a star does not depend on its
S/N, which is what makes the stellar locus a straight line.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U2


MAX_ITERATIONS = 40
MIN_WEIGHT = 0.6
"""Narrowest weight, pixels: under a narrower one the moments of undersampled stars do not
converge."""
MIN_SIGMA, MAX_SIGMA = 0.3, 30.0
"""Range of widths, pixels."""

# Why a candidate could not be measured, or must not be used.
NOT_CONVERGED = 1
ABOVE_SATURATION = 2
MASKED = 4
AT_EDGE = 8

# Columns of the output of `adaptive_moments`.
X, Y, SIGMA, ELLIPTICITY, FLUX, SNR, BROADENING, PEAK, ANGLE = range(9)
N_COLUMNS = 9


@summation
def _weighted_sums(
    data: F4, variance: F4, inverse_gain: float, cx: float, cy: float, sigma: float, wx: F8
) -> tuple[float, float, float, float, float, float, float]:
    """Sum 1, x, y, x^2, y^2, x y times the weighted image, and get the first's variance.

    x and y are relative to (cx, cy), the centre of the weight; `wx` is scratch for a row of it.
    """
    height, width = data.shape
    radius = math.ceil(3.5 * sigma) + 1
    x0 = max(0, math.floor(cx + 0.5) - radius)
    x1 = min(width - 1, math.floor(cx + 0.5) + radius)
    y0 = max(0, math.floor(cy + 0.5) - radius)
    y1 = min(height - 1, math.floor(cy + 0.5) + radius)
    scale = 0.5 / (sigma * sigma)
    n = x1 + 1 - x0
    weights = wx[: max(n, 0)]
    for k in range(n):
        weights[k] = math.exp(-scale * (x0 + k - cx) * (x0 + k - cx))
    s0 = sx = sy = sxx = syy = sxy = flux_variance = 0.0
    first = x0 - cx
    for row in range(y0, y1 + 1):
        dy = row - cy
        wy = math.exp(-scale * dy * dy)
        values, noises = data[row, x0 : x1 + 1], variance[row, x0 : x1 + 1]
        # Sums of a row need no branch, and take several pixels at a time.
        r0 = rx = rxx = row_variance = 0.0
        for k in range(n):
            noise = float(noises[k])
            good = noise <= MAX_VARIANCE
            value = float(values[k]) if good else 0.0
            w, dx = weights[k], first + k
            wv = w * value
            r0 += wv
            rx += wv * dx
            rxx += wv * dx * dx
            row_variance += w * w * (noise + max(value, 0.0) * inverse_gain) if good else 0.0
        s0 += wy * r0
        sx += wy * rx
        sy += wy * dy * r0
        sxx += wy * rxx
        syy += wy * dy * dy * r0
        sxy += wy * dy * rx
        flux_variance += wy * wy * row_variance
    return s0, sx, sy, sxx, syy, sxy, flux_variance


@helper
def _integrals(
    s0: float, sx: float, sy: float, sxx: float, syy: float, sxy: float,
    cx: float, cy: float, sigma: float,
) -> tuple[float, float, float, float, float, float]:  # fmt: skip
    """Flux, means and second moments of the weighted image from its sums over pixels.

    Sums over pixels are not integrals where the star is undersampled, see `adaptive_moments`.
    """
    half2 = 0.5 * sigma * sigma
    alias = math.exp(-2.0 * math.pi * math.pi * half2)
    cos_x = 2.0 * alias * math.cos(2.0 * math.pi * cx)
    cos_y = 2.0 * alias * math.cos(2.0 * math.pi * cy)
    mx = sx / s0 + 4.0 * math.pi * half2 * alias * math.sin(2.0 * math.pi * cx)
    my = sy / s0 + 4.0 * math.pi * half2 * alias * math.sin(2.0 * math.pi * cy)
    factor = 1.0 - 4.0 * math.pi * math.pi * half2
    mxx = (sxx / s0 - mx * mx) * (1.0 + cos_x) / max(1.0 + factor * cos_x, 0.2)
    myy = (syy / s0 - my * my) * (1.0 + cos_y) / max(1.0 + factor * cos_y, 0.2)
    flux = s0 / ((1.0 + cos_x) * (1.0 + cos_y))
    return flux, mx, my, mxx, myy, sxy / flux - mx * my


@helper
def _matched_gaussian(
    data: F4, variance: F4, inverse_gain: float, sigma_start: float, cx: float, cy: float, wx: F8
) -> tuple[int, float, float, float, float, float, float, float, float]:
    """Iterate centre and width of the weight until they are those of the object.

    Returns
    -------
    flag, cx, cy, sigma, measured, ellipticity, angle, flux, flux_variance
        `sigma` is the width of the weight, `measured` the object's.  The variance is that of
        the flux under the weight.
    """
    sigma = max(sigma_start, MIN_WEIGHT)
    measured = sigma
    flag = NOT_CONVERGED
    ellipticity = 1.0
    angle = 0.0
    flux = 0.0
    flux_variance = 0.0
    for _ in range(MAX_ITERATIONS):
        s0, sx, sy, sxx, syy, sxy, flux_variance = _weighted_sums(
            data, variance, inverse_gain, cx, cy, sigma, wx
        )
        if s0 <= 0.0:
            break
        s0, mx, my, mxx, myy, mxy = _integrals(s0, sx, sy, sxx, syy, sxy, cx, cy, sigma)
        determinant = mxx * myy - mxy * mxy
        if determinant <= 0.0 or mxx <= 0.0:
            break
        # inverse of the object's covariance
        inverse_weight = 1.0 / (sigma * sigma)
        ixx = myy / determinant - inverse_weight
        iyy = mxx / determinant - inverse_weight
        ixy = -mxy / determinant
        inverse = ixx * iyy - ixy * ixy
        cx += 2.0 * mx
        cy += 2.0 * my
        if inverse <= 0.0 or ixx <= 0.0:
            # As wide as the weight itself: the object is much wider.
            sigma *= 1.4
            measured = sigma
            if sigma > MAX_SIGMA:
                break
            continue
        cxx = iyy / inverse
        cyy = ixx / inverse
        cxy = -ixy / inverse
        fresh = math.sqrt(math.sqrt(1.0 / inverse))
        mean = 0.5 * (cxx + cyy)
        split = math.sqrt(0.25 * (cxx - cyy) * (cxx - cyy) + cxy * cxy)
        major = math.sqrt(mean + split)
        minor = math.sqrt(max(mean - split, 0.0))
        ellipticity = (major - minor) / (major + minor)
        angle = 0.5 * math.atan2(2.0 * cxy, cxx - cyy)
        change = abs(fresh - measured) / measured
        measured = min(max(fresh, 0.5 * measured), 2.0 * measured)
        if measured < MIN_WEIGHT and sigma <= MIN_WEIGHT:
            weight2 = sigma * sigma
            total = (cxx + weight2) * (cyy + weight2) - cxy * cxy
            flux = s0 * math.sqrt(total) / weight2
        else:
            flux = 2.0 * s0
        sigma = max(measured, MIN_WEIGHT)
        if measured < MIN_SIGMA or measured > MAX_SIGMA:
            break
        if change < 1e-3 and abs(mx) < 1e-3 * sigma and abs(my) < 1e-3 * sigma:
            flag = 0
            break
    return flag, cx, cy, sigma, measured, ellipticity, angle, flux, flux_variance


@summation
def _broad_light(values: F4, noises: F4, weights: F8) -> float:
    """Sum a row of the image, times weights, where there are data."""
    total = 0.0
    for k in range(values.size):
        total += weights[k] * float(values[k]) if noises[k] <= MAX_VARIANCE else 0.0
    return total


@helper
def _surroundings(
    data: F4, variance: F4, saturated: U2, saturated_bits: int, cx: float, cy: float, sigma: float,
    wx: F8,
) -> tuple[int, float, float]:  # fmt: skip
    """Get flags and highest pixel of the core, half the flux under twice the weight's width."""
    height, width = data.shape
    flag = 0
    peak = 0.0
    broad = 0.0
    radius = math.ceil(5.0 * sigma) + 1
    core = 2.5 * sigma
    column = math.floor(cx + 0.5)
    line = math.floor(cy + 0.5)
    margin = math.ceil(core)
    if column < margin or line < margin or column >= width - margin or line >= height - margin:
        flag |= AT_EDGE
    scale = 0.125 / (sigma * sigma)
    x0, x1 = max(0, column - radius), min(width, column + radius + 1)
    weights = wx[: max(x1 - x0, 0)]
    for k in range(weights.size):
        weights[k] = math.exp(-scale * (x0 + k - cx) * (x0 + k - cx))
    for row in range(max(0, line - radius), min(height, line + radius + 1)):
        dy = row - cy
        light = _broad_light(data[row, x0:x1], variance[row, x0:x1], weights)
        broad += math.exp(-scale * dy * dy) * light
        if abs(dy) >= core:
            continue
        for col in range(max(0, column - margin - 1), min(width, column + margin + 2)):
            if (row - cy) * (row - cy) + (col - cx) * (col - cx) < core * core:
                if variance[row, col] > MAX_VARIANCE:
                    flag |= MASKED
                    continue
                peak = max(peak, float(data[row, col]))
                if (saturated[row, col] & saturated_bits) != 0:
                    flag |= ABOVE_SATURATION
    return flag, peak, broad


@kernel
def adaptive_moments(
    data: F4,
    variance: F4,
    saturated: U2,
    saturated_bits: int,
    inverse_gain: float,
    sigma_start: float,
    x: F8,
    y: F8,
    first: int,
    last: int,
    out: F8,
    flags: I8,
) -> None:
    """Measure candidates first..last-1: centroid, size, ellipticity, flux, S/N, broadening.

    Parameters
    ----------
    data : (ny, nx) float32
        Background-subtracted image.
    variance : (ny, nx) float32
        Background variance; above `MAX_VARIANCE`: no data.
    saturated, saturated_bits : (ny, nx) uint16, int
        Mask, and its bits that mean a saturated pixel.
    inverse_gain : float
        Photon noise variance per image unit; 0 if unknown.
    sigma_start : float
        Width (pixels) from which the weight starts.
    x, y : (n,) float64
        Start positions, 0-based pixels.
    out : (n, N_COLUMNS) float64
        x, y, sigma (pixels, fourth root of the determinant of the covariance),
        (A-B)/(A+B), flux (total of the matched Gaussian), S/N of that flux,
        broadening (flux under twice the weight's width over the flux under the weight),
        highest pixel, direction of the major axis (radians from x towards y).
    flags : (n,) int64
        NOT_CONVERGED; ABOVE_SATURATION, MASKED, AT_EDGE of what converged.

    Notes
    -----
    With a Gaussian object of covariance C and a weight of covariance W the weighted
    second moments are ``(C^-1 + W^-1)^-1``, which is solved for C at each step.  The sums
    over pixels of such a product of width s are corrected for aliasing (Poisson's summation
    formula, first term ``exp(-2 pi^2 s^2)``): without that the size of a star of FWHM 1.8
    pixels changes by 15 % with its sub-pixel phase.
    """
    wx = np.empty(4096, dtype=np.float64)
    for i in range(first, last):
        flag, cx, cy, sigma, measured, ellipticity, angle, flux, flux_variance = _matched_gaussian(
            data, variance, inverse_gain, sigma_start, x[i], y[i], wx
        )
        limit = max(2.0, 1.5 * sigma)
        if abs(cx - x[i]) > limit or abs(cy - y[i]) > limit:
            flag |= NOT_CONVERGED
        sigma = min(max(sigma, MIN_WEIGHT), MAX_SIGMA)
        around, peak, broad = 0, 0.0, 0.0
        if flag == 0:  # what has no width, as nebulae have none, has no surroundings either
            around, peak, broad = _surroundings(
                data, variance, saturated, saturated_bits, cx, cy, sigma, wx
            )
        out[i, X] = cx
        out[i, Y] = cy
        out[i, SIGMA] = min(max(measured, MIN_SIGMA), MAX_SIGMA)
        out[i, ELLIPTICITY] = ellipticity
        out[i, ANGLE] = angle
        out[i, FLUX] = flux
        out[i, SNR] = 0.5 * flux / math.sqrt(flux_variance) if flux_variance > 0.0 else 0.0
        out[i, BROADENING] = 2.0 * broad / flux if flux > 0.0 else 0.0
        out[i, PEAK] = peak
        flags[i] = flag | around
