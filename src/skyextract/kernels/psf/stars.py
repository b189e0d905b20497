"""Peaks of a smoothed image, and fast Gaussian-weighted moments of bright candidates.

The moments are taken under a circular Gaussian whose width follows the object
("adaptive" moments, Bernstein & Jarvis 2002, AJ 123, 583, section 3; Hirata & Seljak
2003, MNRAS 343, 459).  With a matched weight the size of a star does not depend on its
S/N, which is what makes the stellar locus a straight line.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8, U2


MAX_ITERATIONS = 40
MIN_WEIGHT = 0.6
"""Narrowest weight, pixels: of stars that fall into one pixel the moments under a matched one do
not converge."""

# Why a candidate could not be measured, or must not be used.
NOT_CONVERGED = 1
ABOVE_SATURATION = 2
MASKED = 4
AT_EDGE = 8

# Columns of the output of `adaptive_moments`.
X, Y, SIGMA, ELLIPTICITY, FLUX, SNR, BROADENING, PEAK = range(8)
N_COLUMNS = 8


@kernel
def smooth_band(data: F4, variance: F4, taps: F4, first: int, last: int, out: F4) -> None:
    """Convolve rows first..last-1 of `data` with the symmetric separable kernel `taps`.

    Pixels without data (`variance` above `MAX_VARIANCE`) and outside the image count as 0.
    `out` holds these rows only, (last - first, nx).
    """
    height, width = data.shape
    n_taps = taps.shape[0]
    half = n_taps // 2
    ring = np.zeros((n_taps, width), dtype=np.float32)
    column = np.zeros(width + 2 * half, dtype=np.float32)
    for row in range(first - half, last + half):
        newest = ring[(row + n_taps) % n_taps]
        if 0 <= row < height:
            for x in range(width):
                newest[x] = data[row, x] if variance[row, x] < MAX_VARIANCE else np.float32(0.0)
        else:
            newest[:] = np.float32(0.0)
        y = row - half
        if y < first:
            continue
        middle = column[half : half + width]
        for x in range(width):
            middle[x] = np.float32(0.0)
        for t in range(n_taps):
            line = ring[(y + t - half + n_taps) % n_taps]
            tap = taps[t]
            for x in range(width):
                middle[x] += tap * line[x]
        smooth = out[y - first]
        smooth[:] = np.float32(0.0)
        for t in range(n_taps):
            tap = taps[t]
            line = column[t : t + width]
            for x in range(width):
                smooth[x] += tap * line[x]


@kernel
def find_peaks_band(
    smooth: F4,
    top: int,
    variance: F4,
    factor: float,
    reach: int,
    first: int,
    last: int,
    xy: I8,
    value: F4,
) -> int:
    """List the local maxima of rows first..last-1 above the threshold.

    A peak is the highest pixel within `reach` pixels whose square exceeds
    ``factor * variance``; of equal pixels the first one counts.  `smooth` holds the rows of
    the image from `top` on, `reach` more than are searched on either side.

    Returns
    -------
    int
        Number of peaks, which may exceed the capacity of `xy` [n, 2] and `value` [n];
        those beyond it are not stored.
    """
    height, width = variance.shape
    count = 0
    for y in range(first, last):
        for x in range(width):
            here = smooth[y - top, x]
            if here <= 0.0:
                continue
            noise = float(variance[y, x])
            if noise > MAX_VARIANCE or float(here) * float(here) <= factor * noise:
                continue
            highest = True
            for dy in range(-reach, reach + 1):
                row = y + dy
                if row < 0 or row >= height:
                    continue
                for dx in range(-reach, reach + 1):
                    col = x + dx
                    if col < 0 or col >= width:
                        continue
                    other = smooth[row - top, col]
                    if other > here or (other == here and (dy < 0 or (dy == 0 and dx < 0))):
                        highest = False
                        break
                if not highest:
                    break
            if highest:
                if count < value.shape[0]:
                    xy[count, 0] = x
                    xy[count, 1] = y
                    value[count] = here
                count += 1
    return count


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
        highest pixel.
    flags : (n,) int64
        NOT_CONVERGED, ABOVE_SATURATION, MASKED, AT_EDGE.

    Notes
    -----
    With a Gaussian object of covariance C and a weight of covariance W the weighted
    second moments are ``(C^-1 + W^-1)^-1``, which is solved for C at each step.  The sums
    over pixels of such a product of width s are corrected for aliasing (Poisson's summation
    formula, first term ``exp(-2 pi^2 s^2)``): without that the size of a star of FWHM 1.8
    pixels changes by 15 % with its sub-pixel phase.
    """
    height, width = data.shape
    wx = np.empty(4096, dtype=np.float64)
    for i in range(first, last):
        cx = x[i]
        cy = y[i]
        sigma = max(sigma_start, MIN_WEIGHT)
        measured = sigma
        flag = NOT_CONVERGED
        ellipticity = 1.0
        flux = 0.0
        flux_variance = 0.0
        for _ in range(MAX_ITERATIONS):
            radius = math.ceil(3.5 * sigma) + 1
            x0 = max(0, math.floor(cx + 0.5) - radius)
            x1 = min(width - 1, math.floor(cx + 0.5) + radius)
            y0 = max(0, math.floor(cy + 0.5) - radius)
            y1 = min(height - 1, math.floor(cy + 0.5) + radius)
            scale = 0.5 / (sigma * sigma)
            for col in range(x0, x1 + 1):
                wx[col - x0] = math.exp(-scale * (col - cx) * (col - cx))
            s0 = 0.0
            sx = 0.0
            sy = 0.0
            sxx = 0.0
            syy = 0.0
            sxy = 0.0
            flux_variance = 0.0
            for row in range(y0, y1 + 1):
                dy = row - cy
                wy = math.exp(-scale * dy * dy)
                for col in range(x0, x1 + 1):
                    noise = float(variance[row, col])
                    if noise > MAX_VARIANCE:
                        continue
                    value = float(data[row, col])
                    w = wy * wx[col - x0]
                    dx = col - cx
                    wv = w * value
                    s0 += wv
                    sx += wv * dx
                    sy += wv * dy
                    sxx += wv * dx * dx
                    syy += wv * dy * dy
                    sxy += wv * dx * dy
                    flux_variance += w * w * (noise + max(value, 0.0) * inverse_gain)
            if s0 <= 0.0:
                break
            # Sums over pixels are not integrals where the star is undersampled.
            half2 = 0.5 * sigma * sigma
            alias = math.exp(-2.0 * math.pi * math.pi * half2)
            cos_x = 2.0 * alias * math.cos(2.0 * math.pi * cx)
            cos_y = 2.0 * alias * math.cos(2.0 * math.pi * cy)
            mx = sx / s0 + 4.0 * math.pi * half2 * alias * math.sin(2.0 * math.pi * cx)
            my = sy / s0 + 4.0 * math.pi * half2 * alias * math.sin(2.0 * math.pi * cy)
            factor = 1.0 - 4.0 * math.pi * math.pi * half2
            mxx = (sxx / s0 - mx * mx) * (1.0 + cos_x) / max(1.0 + factor * cos_x, 0.2)
            myy = (syy / s0 - my * my) * (1.0 + cos_y) / max(1.0 + factor * cos_y, 0.2)
            s0 /= (1.0 + cos_x) * (1.0 + cos_y)
            mxy = sxy / s0 - mx * my
            determinant = mxx * myy - mxy * mxy
            if determinant <= 0.0 or mxx <= 0.0:
                break
            # Inverse of the object's covariance.
            ixx = myy / determinant - 2.0 * scale
            iyy = mxx / determinant - 2.0 * scale
            ixy = -mxy / determinant
            inverse = ixx * iyy - ixy * ixy
            cx += 2.0 * mx
            cy += 2.0 * my
            if inverse <= 0.0 or ixx <= 0.0:
                # Flatter than the weight: it is larger than it looks.
                sigma *= 1.4
                measured = sigma
                if sigma > 30.0:
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
            change = abs(fresh - measured) / measured
            measured = min(max(fresh, 0.5 * measured), 2.0 * measured)
            if measured < MIN_WEIGHT and sigma <= MIN_WEIGHT:
                total = (cxx + 2.0 * half2) * (cyy + 2.0 * half2) - cxy * cxy
                flux = s0 * math.sqrt(total) / (2.0 * half2)
            else:
                flux = 2.0 * s0
            sigma = max(measured, MIN_WEIGHT)
            if measured < 0.3 or measured > 30.0:
                break
            if change < 1e-3 and abs(mx) < 1e-3 * sigma and abs(my) < 1e-3 * sigma:
                flag = 0
                break
        limit = max(2.0, 1.5 * sigma)
        if abs(cx - x[i]) > limit or abs(cy - y[i]) > limit:
            flag |= NOT_CONVERGED

        peak = 0.0
        broad = 0.0
        sigma = min(max(sigma, MIN_WEIGHT), 30.0)
        radius = math.ceil(5.0 * sigma) + 1
        core = 2.5 * sigma
        column = math.floor(cx + 0.5)
        line = math.floor(cy + 0.5)
        margin = math.ceil(core)
        if column < margin or line < margin or column >= width - margin or line >= height - margin:
            flag |= AT_EDGE
        scale = 0.125 / (sigma * sigma)
        for row in range(max(0, line - radius), min(height, line + radius + 1)):
            for col in range(max(0, column - radius), min(width, column + radius + 1)):
                r2 = (row - cy) * (row - cy) + (col - cx) * (col - cx)
                if variance[row, col] > MAX_VARIANCE:
                    if r2 < core * core:
                        flag |= MASKED
                    continue
                value = float(data[row, col])
                broad += value * math.exp(-scale * r2)
                if r2 < core * core:
                    peak = max(peak, value)
                    if (saturated[row, col] & saturated_bits) != 0:
                        flag |= ABOVE_SATURATION
        out[i, 0] = cx
        out[i, 1] = cy
        out[i, 2] = min(max(measured, 0.3), 30.0)
        out[i, 3] = ellipticity
        out[i, 4] = flux
        out[i, 5] = 0.5 * flux / math.sqrt(flux_variance) if flux_variance > 0.0 else 0.0
        out[i, 6] = 2.0 * broad / flux if flux > 0.0 else 0.0
        out[i, 7] = peak
        flags[i] = flag


@kernel
def crowding(x: F8, y: F8, height: F8, px: F8, py: F8, pheight: F8, fwhm: float, out: F8) -> None:
    """Rate how much each star suffers from its neighbours.

    The largest ratio of a neighbouring peak's height to the star's own among the peaks
    between 0.8 and 4 FWHM away, beyond 2 FWHM times (2 FWHM / distance)^2.  What the star's
    own wing (1.5 times a Moffat profile with beta 2.5) explains does not count.

    Parameters
    ----------
    x, y, height : (n,) float64
        The stars, and their heights in the smoothed image.
    px, py, pheight : (m,) float64
        All peaks, sorted by py.
    fwhm : float
        Pixels.
    out : (n,) float64
    """
    n_peaks = px.shape[0]
    far = 4.0 * fwhm
    for i in range(x.shape[0]):
        low = 0
        high = n_peaks
        while low < high:
            middle = (low + high) // 2
            if py[middle] < y[i] - far:
                low = middle + 1
            else:
                high = middle
        worst = 0.0
        for j in range(low, n_peaks):
            if py[j] > y[i] + far:
                break
            distance = math.hypot(px[j] - x[i], py[j] - y[i])
            if distance > far or distance < 0.8 * fwhm:
                continue
            ratio = pheight[j] / height[i]
            scaled = distance * 1.1305 / fwhm
            if ratio < 1.5 * (1.0 + scaled * scaled) ** -2.5:
                continue
            if distance > 2.0 * fwhm:
                ratio *= (2.0 * fwhm / distance) ** 2
            worst = max(worst, ratio)
        out[i] = worst
