"""Peaks of a smoothed image, and how much the neighbours among them disturb a star."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

WING_MARGIN = 1.5
"""A peak below this many times the brightness of a star's own wing there can be noise on it."""


class Peaks(NamedTuple):
    """All peaks of a smoothed image, sorted by y.

    Attributes
    ----------
    x, y : (m,) float64
        0-based pixels.
    height : (m,) float64
        Values of the smoothed image.
    radius : (m,) float64
        How far the light of each one reaches, pixels.
    """

    x: F8
    y: F8
    height: F8
    radius: F8


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
    high = np.empty(width, dtype=np.bool_)
    for y in range(first, last):
        # Apart and without branches, which noise would take at random: vector instructions.
        line, noise = smooth[y - top], variance[y]
        for x in range(width):
            value2 = float(line[x]) * float(line[x])
            low = (line[x] <= 0.0) | (noise[x] > MAX_VARIANCE)
            high[x] = not (low | (value2 <= factor * float(noise[x])))
        for x in range(width):
            if not high[x]:
                continue
            here = line[x]
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


@helper
def first_at(values: F8, limit: float) -> int:
    """Return the index of the first of the sorted values that is not below `limit`."""
    low = 0
    high = values.shape[0]
    while low < high:
        middle = (low + high) // 2
        if values[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


@helper
def moffat_wing(distance: float, fwhm: float) -> float:
    """Moffat profile with beta 2.5 and unit peak: the wing of a star."""
    scaled = distance * 1.1305 / fwhm
    return float((1.0 + scaled * scaled) ** -2.5)


@kernel
def crowding(x: F8, y: F8, height: F8, peaks: Peaks, fwhm: float, out: F8) -> None:
    """Rate how much each star suffers from its neighbours.

    The largest ratio of a neighbouring peak's height to the star's own among the peaks
    between 0.8 and 4 FWHM away, beyond 2 FWHM times (2 FWHM / distance)^2.  Peaks that can be
    noise on the star's own wing do not count.

    Parameters
    ----------
    x, y, height : (n,) float64
        The stars, and their heights in the smoothed image.
    peaks : Peaks
    fwhm : float
        Pixels.
    out : (n,) float64
    """
    far = 4.0 * fwhm
    for i in range(x.shape[0]):
        worst = 0.0
        for j in range(first_at(peaks.y, y[i] - far), peaks.y.shape[0]):
            if peaks.y[j] > y[i] + far:
                break
            distance = math.hypot(peaks.x[j] - x[i], peaks.y[j] - y[i])
            if distance > far or distance < 0.8 * fwhm:
                continue
            ratio = peaks.height[j] / height[i]
            if ratio < WING_MARGIN * moffat_wing(distance, fwhm):
                continue
            if distance > 2.0 * fwhm:
                ratio *= (2.0 * fwhm / distance) ** 2
            worst = max(worst, ratio)
        out[i] = worst
