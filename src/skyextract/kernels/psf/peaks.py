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


_WORD = 8
"""Pixels that are asked at once."""


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


@helper
def _first_tap(tap: np.float32, line: F4, out: F4) -> None:
    """Set `out` to a tap times its row."""
    for x in range(len(out)):
        out[x] = tap * line[x]


@helper
def _two_taps(taps: F4, line1: F4, line2: F4, out: F4) -> None:
    """Add two taps times their rows, one after the other."""
    tap1, tap2 = taps[0], taps[1]
    for x in range(len(out)):
        out[x] = out[x] + tap1 * line1[x] + tap2 * line2[x]


@helper
def _four_taps(taps: F4, lines: tuple[F4, F4, F4, F4], out: F4) -> None:
    """Add four taps times their rows, one after the other."""
    tap1, tap2, tap3, tap4 = taps[0], taps[1], taps[2], taps[3]
    line1, line2, line3, line4 = lines
    for x in range(len(out)):
        two = out[x] + tap1 * line1[x] + tap2 * line2[x]
        out[x] = two + tap3 * line3[x] + tap4 * line4[x]


@kernel
def smooth_band(data: F4, variance: F4, taps: F4, first: int, last: int, out: F4) -> None:
    """Convolve rows first..last-1 of `data` with the symmetric separable kernel `taps`.

    Pixels without data (`variance` above `MAX_VARIANCE`) and outside the image count as 0.
    `out` holds these rows only, (last - first, nx).
    """
    height, width = data.shape
    n_taps = taps.shape[0]
    half = n_taps // 2
    fours = 1 + (n_taps - 1) // 4 * 4
    ring = np.zeros((n_taps, width), dtype=np.float32)
    column = np.zeros(width + 2 * half, dtype=np.float32)
    middle = column[half : half + width]
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
        # Several taps at a time, in their order: memory is what it waits for.
        _first_tap(taps[0], ring[(y - half + n_taps) % n_taps], middle)
        for t in range(1, fours, 4):
            slot = y + t - half + n_taps
            lines = (
                ring[slot % n_taps], ring[(slot + 1) % n_taps],
                ring[(slot + 2) % n_taps], ring[(slot + 3) % n_taps],
            )  # fmt: skip
            _four_taps(taps[t : t + 4], lines, middle)
        for t in range(fours, n_taps, 2):
            slot = y + t - half + n_taps
            _two_taps(taps[t : t + 2], ring[slot % n_taps], ring[(slot + 1) % n_taps], middle)
        smooth = out[y - first]
        _first_tap(taps[0], column[:width], smooth)
        for t in range(1, fours, 4):
            lines = (
                column[t : t + width], column[t + 1 : t + 1 + width],
                column[t + 2 : t + 2 + width], column[t + 3 : t + 3 + width],
            )  # fmt: skip
            _four_taps(taps[t : t + 4], lines, smooth)
        for t in range(fours, n_taps, 2):
            _two_taps(taps[t : t + 2], column[t : t + width], column[t + 1 : t + 1 + width], smooth)


@helper
def _is_highest(smooth: F4, top: int, height: int, y: int, x: int, reach: int) -> bool:
    """Tell whether no pixel around is higher, and none of those before as high."""
    here = smooth[y - top, x]
    for row in range(max(y - reach, 0), min(y + reach + 1, height)):
        for col in range(max(x - reach, 0), min(x + reach + 1, smooth.shape[1])):
            other = smooth[row - top, col]
            if other > here or (other == here and (row < y or (row == y and col < x))):
                return False
    return True


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

    A peak is the highest pixel within `reach` pixels, at least one, whose square exceeds
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
    words = np.zeros(width // _WORD + 1, dtype=np.uint64)
    high = words.view(np.uint8)[:width]
    inner = high[1:]
    for y in range(first, last):
        # Apart and without branches, which noise would take at random: vector instructions.
        line, noise = smooth[y - top], variance[y]
        for x in range(width):
            value2 = float(line[x]) * float(line[x])
            low = (line[x] <= 0.0) | (noise[x] > MAX_VARIANCE)
            high[x] = not (low | (value2 <= factor * float(noise[x])))
        # Most of these have a higher pixel beside them.
        before, after = line[: width - 1], line[1:]
        for x in range(width - 1):
            inner[x] &= not (before[x] >= after[x])
        for x in range(width - 1):
            high[x] &= not (after[x] > before[x])
        for word in range(len(words)):
            if words[word] == 0:
                continue
            for x in range(word * _WORD, min((word + 1) * _WORD, width)):
                if high[x] != 0 and _is_highest(smooth, top, height, y, x, reach):
                    if count < value.shape[0]:
                        xy[count, 0] = x
                        xy[count, 1] = y
                        value[count] = line[x]
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
