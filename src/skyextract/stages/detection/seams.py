"""Rows and columns at which the sky steps: amplifiers, chips or exposures that were put together.

Where the noise steps as it does where each electron makes more counts, the gains differ, or a
wrong flat field was divided by, and so do the fluxes on either side.  Where it steps as photons do,
the light is another: scattered light, which leaves the stars, or a shadow, which does not.  Where
it does not step, it is an offset.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools

MIN_SIDE = 160
"""Pixels along either axis without which nothing is looked for."""
BANDS = 4
"""Parts along a seam, two of which are a half; ..."""
SAMPLE, MIN_LINES = 1 << 17, 8
"""... so many pixels of all are looked at, about, in so many lines of each, at least."""
FINE = 2048
"""Columns that are looked at, about: every second one of wider frames, ..."""
LOST, MIN_LOST = 0.8, 3
"""So few pixels left in so many columns of all parts tell that the step itself was clipped."""
WINDOW = 8
"""Columns on either side whose levels are compared."""
MARGIN = 24
"""Columns at the edges that are none of these."""
SURE = 7.0
"""The step in each part is so many times its error, and the scatter of such steps elsewhere..."""
SHARP = 0.6
"""... this part of it is between columns half as far apart, ..."""
ALONE = 0.5
"""... and no more than this part where neither side has the seam in it."""
MIN_STEP = 0.2
"""Noise of a pixel that it is, at least."""
STRIP = 48
"""Columns on either side whose noise is compared."""
MIN_LEVEL = 5.0
"""Noise of a pixel that the sky is, from which its ratio tells something."""
AS_GAIN, AS_LIGHT = (1.65, 3.2), 0.5
"""Powers of the level with which the variance rises where gains differ, 2, and from which on more
light does, 1; an offset has 0.  All are seen larger: the background follows a part of the step."""
MIN_GAIN, SURE_GAIN = 0.02, 4.0
"""Difference of gains that makes fluxes doubtful; errors from which a step of the noise counts."""
CLIPS = (3.0, 20.0)
"""Pixels so many sigma off are no sky; the second number is for steps that are as large."""

_SOME, _WILD = 500, 5.0
"""Steps elsewhere that are compared; sigma beyond which a difference of pixels is no noise."""


@record
class Seam:
    """A step of the sky.

    Attributes
    ----------
    step : float
        Image units.
    gain : float
        Of the brighter side over that of the other, where the noise goes with it; else 1.
    doubt : str
        What is to be said, in one line.
    """

    step: float
    gain: float
    doubt: str

    @property
    def are_many(self) -> bool:
        """Whether fluxes are not to be believed."""
        return self.gain != 1.0


def find_seam(subtracted: F4, level: float, sigma: float, bad: Bools) -> Seam | None:
    """Find the row or column at which the sky steps most; None if it does nowhere.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image: meshes follow a step, but not within a few pixels.
    level, sigma : float
        Of the background.
    bad : (ny, nx) bool
        Pixels without data.
    """
    if not sigma > 0.0 or min(subtracted.shape) < MIN_SIDE:
        return None
    every = max(1, max(subtracted.shape) // FINE)
    found = [
        _across(image[:, ::every], level, sigma, hole[:, ::every], name, every)
        for name, image, hole in (("column", subtracted, bad), ("row", subtracted.T, bad.T))
    ]
    seams = [seam for seam in found if seam is not None]
    return max(seams, key=lambda seam: (seam.are_many, seam.step), default=None)


def _across(
    image: F4, level: float, sigma: float, bad: Bools, name: str, every: int
) -> Seam | None:
    """Find a column at which at least half of the image steps; it is one of every so many."""
    means, number, lost = _profiles(image, CLIPS[0] * sigma, bad)
    found = _place(means, number, sigma)
    # Sources are in these, too: only steps of all parts count.
    if found is None and lost >= MIN_LOST:
        means, number, _ = _profiles(image, CLIPS[1] * sigma, bad)
        found = _place(means, number, sigma, everywhere=True)
    if found is None:
        return None
    half, column = found
    step = _step_at(means[2 * half : 2 * half + 2].mean(axis=0), column)
    if not abs(step) > MIN_STEP * sigma:
        return None
    ny = image.shape[0]
    rows = slice(half * ny // 2, (half + 1) * ny // 2)
    other = _step_at(means[2 - 2 * half : 4 - 2 * half].mean(axis=0), column)
    if other * step > 0.25 * step**2:
        rows = slice(0, ny)
    gain, is_light = _gain(image[rows], bad[rows], column, step, level, sigma)
    size, place = abs(step), column * every + 1
    if gain != 1.0:
        message = (
            f"the sky steps by {size:.3g} at {name} {place}, and its noise with it: gains of "
            f"amplifiers or chips, or flat fields, that differ by {gain - 1.0:.0%}, and so do "
            "fluxes on either side"
        )
    elif is_light:
        message = (
            f"the sky steps by {size:.3g} at {name} {place}, and its noise as that of photons "
            f"does: light that falls on one side only, or a shadow ({size / level:.0%} of the sky, "
            "and of stars then) that no flat field took off"
        )
    else:
        message = (
            f"the sky steps by {size:.3g} at {name} {place}, {size / sigma:.2g} times the "
            "noise of a pixel (offsets of amplifiers, a mosaic?): sources upon it are off"
        )
    return Seam(size, gain, message)


def _place(
    means: F8, number: F8, sigma: float, *, everywhere: bool = False
) -> tuple[int, int] | None:
    """Return the half of the image, and the column there, with the surest step; None without."""
    steps = _steps(means, WINDOW)
    if steps.shape[1] <= 2 * MARGIN:
        return None
    error = sigma * np.sqrt(2.0 / (WINDOW * np.maximum(number, 1.0)))
    some = steps[:, :: max(1, steps.shape[1] // _SOME)]
    error = np.maximum(error, [robust_sigma(row[np.isfinite(row)]) for row in some])
    steps = np.nan_to_num(steps) / error[:, None]
    sure = np.abs(steps)
    halves = np.minimum(sure[0::2], sure[1::2])
    halves[np.sign(steps[0::2]) != np.sign(steps[1::2])] = 0.0
    if everywhere:
        halves[:] = halves.min(axis=0)
        halves[:, np.ptp(np.sign(steps), axis=0) > 0.0] = 0.0
    halves[:, :MARGIN] = halves[:, -MARGIN:] = 0.0
    half, at = np.unravel_index(int(halves.argmax()), halves.shape)
    if halves[half, at] < SURE:
        return None
    return int(half), int(at) + WINDOW


def _profiles(image: F4, limit: float, bad: Bools) -> tuple[F8, F8, int]:
    """Return means of columns in some lines of each part, and how many of these count.

    And the number of columns that lost pixels to the limit in all parts.
    """
    ny, nx = image.shape
    n_lines = min(max(SAMPLE // (BANDS * nx), MIN_LINES), ny // BANDS)
    means, number, full = np.empty((BANDS, nx)), np.empty(BANDS), np.zeros(nx, np.bool_)
    for k in range(BANDS):
        first = (2 * k + 1) * ny // (2 * BANDS) - n_lines // 2
        lines = slice(first, first + n_lines)
        part, data = image[lines], ~bad[lines]
        good = (np.abs(part) < np.float32(limit)) & data
        n = np.count_nonzero(good, axis=0)
        total = np.where(good, part, np.float32(0.0)).sum(axis=0)
        means[k] = np.where(n >= n_lines // 2, total / np.maximum(n, 1), np.nan)
        number[k] = median(n)
        full |= n >= LOST * np.count_nonzero(data, axis=0)
    return means, number, int(np.count_nonzero(~full))


def _steps(means: F8, width: int) -> F8:
    """Return the mean of so many columns from each on, less that of those before it."""
    sums = np.cumsum(np.pad(means, ((0, 0), (1, 0))), axis=1)
    if np.isnan(means).any():
        known = np.isfinite(means)
        sums = np.cumsum(np.pad(np.where(known, means, 0.0), ((0, 0), (1, 0))), axis=1)
        lost = np.cumsum(np.pad(~known, ((0, 0), (1, 0))), axis=1)
        whole = (lost[:, width:] - lost[:, :-width]) == 0
    else:
        whole = np.ones((means.shape[0], means.shape[1] - width + 1), np.bool_)
    level = np.where(whole, (sums[:, width:] - sums[:, :-width]) / width, np.nan)
    steps: F8 = level[:, width:] - level[:, :-width]
    return steps


def _step_at(means: F8, column: int) -> float:
    """Return the step at a column, if it is a sharp one, of most columns on either side; else 0."""
    before, after = means[column - WINDOW : column], means[column : column + WINDOW]
    step = float(np.median(after) - np.median(before))
    half = WINDOW // 2
    near = float(np.median(after[:half]) - np.median(before[-half:]))
    aside = [_steps(means[None], WINDOW)[0, column + k * WINDOW - WINDOW] for k in (-1, 1)]
    sharp = near * step > 0.0 and abs(near) > SHARP * abs(step)
    return step if sharp and np.nanmax(np.abs(aside)) < ALONE * abs(step) else 0.0


def _gain(
    image: F4, bad: Bools, column: int, step: float, level: float, sigma: float
) -> tuple[float, bool]:
    """Return the gain of the brighter side over that of the other; 1 if noise tells none.

    And whether the noise is that of more photons.
    """
    if not level - 0.5 * abs(step) > MIN_LEVEL * sigma:
        return 1.0, False
    noise, n = [], []
    for side in (slice(column - STRIP, column), slice(column, column + STRIP)):
        good = ~bad[:, side]
        pairs = good[1:] & good[:-1]
        change = np.diff(image[:, side], axis=0)[pairs].astype(np.float64)
        if change.size < 1000:
            return 1.0, False
        change = change[np.abs(change) < _WILD * robust_sigma(change)]
        noise.append(float(change.var()))
        n.append(change.size)
    dark, bright = (0, 1) if step > 0.0 else (1, 0)
    if not noise[dark] > 0.0:
        return 1.0, False
    of_level = math.log((level + 0.5 * abs(step)) / (level - 0.5 * abs(step)))
    of_noise = math.log(noise[bright] / noise[dark])
    # Pairs share pixels: three for two.
    error = math.sqrt(2.0 * 1.5 * (1.0 / n[0] + 1.0 / n[1]))
    power = of_noise / of_level
    if of_noise < SURE_GAIN * error or not AS_LIGHT < power < AS_GAIN[1]:
        return 1.0, False
    # The background follows a step, but not its noise.
    gain = math.exp(0.5 * of_noise)
    if power <= AS_GAIN[0]:
        return 1.0, True
    return (gain if gain - 1.0 > MIN_GAIN else 1.0), False
