"""Rows or columns that are read by turns: amplifiers of other gain, the fields of a video.

They have a sky of their own, and fluxes depend on where in them a star is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median, robust_sigma
from skyextract.record import record
from skyextract.stages.pixels.pixelcopies import spread_blocks

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools

PERIODS = (2, 4)
"""Lines after which the amplifiers begin anew."""
MIN_LINES = 16
"""Lines of a block that each of them has, at least."""
MIN_STEP, SURE = 0.15, 6.0
"""Their skies differ by this part of the noise of a pixel, and so many times what that explains."""
MANY_STEP, OTHER_NOISE = 0.5, 0.05
"""They change the sources where they differ by that part of the noise, or their noise by that part
of it."""
MOST_APART = 30.0
"""Noise of a pixel that they differ by, at most: more is no sky."""
LONGER = 0.4
"""Power of the period by which the step of a longer one is larger."""
CLIP = 8.0


@record
class Interleaved:
    """Rows or columns that differ by turns.

    Attributes
    ----------
    name : str
        rows or columns.
    period : int
        Lines after which they begin anew.
    step : float
        By which the sky of the highest is above that of the lowest, in image units.
    sigmas : float
        The same over the noise of a pixel.
    noise : float
        Noise of the noisiest over that of the quietest.
    doubt : str
        What is to be said, in one line.
    """

    name: str
    period: int
    step: float
    sigmas: float
    noise: float
    doubt: str

    @property
    def are_many(self) -> bool:
        """Whether the sources are not to be believed."""
        return self.sigmas > MANY_STEP or self.noise > 1.0 + OTHER_NOISE


_ORDINAL = {2: "second", 4: "fourth"}


def find_interleaved(subtracted: F4, sigma: float, bad: Bools) -> Interleaved | None:
    """Find rows or columns whose sky differs by turns; the clearest kind, None if there is none.

    Parameters
    ----------
    subtracted : (ny, nx) float32
        Background-subtracted image.
    sigma : float
        Noise of the background.
    bad : (ny, nx) bool
        Pixels without data.
    """
    if not sigma > 0.0:
        return None
    found: list[Interleaved] = []
    blocks = [(subtracted[part], bad[part]) for part in spread_blocks(subtracted.shape)]
    skies = [
        np.where(~hole & (np.abs(block) < CLIP * sigma), block, np.nan) for block, hole in blocks
    ]
    for name, axis in (("rows", 1), ("columns", 0)):
        means = [_means(sky, axis) for sky in skies]
        kinds = (_by_turns(skies, means, axis, name, period, sigma) for period in PERIODS)
        found += [what for what in kinds if what is not None]
    # What every second line shows, every fourth shows, too, a little less surely.
    return max(found, key=lambda what: what.sigmas / what.period**LONGER, default=None)


def _means(sky: F4, axis: int) -> tuple[F4, int]:
    """Return the mean of each line, and how many pixels count in the line that has fewest."""
    unknown = np.isnan(sky)
    known = sky.shape[axis] - np.count_nonzero(unknown, axis=axis)
    least = int(known.min())
    return np.where(unknown, np.float32(0.0), sky).sum(axis=axis) / np.maximum(known, 1), least


def _by_turns(
    skies: list[F4], means: list[tuple[F4, int]], axis: int, name: str, period: int, about: float
) -> Interleaved | None:
    """Compare the lines of a period, each with the mean of those beside it."""
    levels: list[list[float]] = []
    spreads: list[float] = []
    judged = []
    n = 0
    for sky, (mean, least) in zip(skies, means, strict=True):
        if mean.size < MIN_LINES * period or least < MIN_LINES:
            continue
        around = np.ones(period + 1)
        around[[0, -1]] = 0.5
        turns = _turns(mean - np.convolve(mean, around / period, "same"), period)
        levels.append([median(row) for row in turns])
        spreads.append(max(robust_sigma(row) for row in turns))
        judged.append(sky)
        n += turns[0].size
    if not levels:
        return None
    level = np.array([median(line) for line in np.transpose(levels)])
    step = float(np.ptp(level))
    if not step > 0.5 * MIN_STEP * about:
        return None
    noises = [[median(row) for row in _turns(np.nanvar(sky, axis=axis), period)] for sky in judged]
    noise = np.sqrt(np.array([median(line) for line in np.transpose(noises)]))
    sigma = float(noise.min())
    # Each block tells the same, and so does each line but for what rows differ by at random.
    apart = max(robust_sigma(row) for row in np.transpose(levels))
    explained = 1.25 * math.hypot(median(np.array(spreads)) / math.sqrt(n), apart / len(levels))
    if not max(MIN_STEP * sigma, SURE * explained) < step < MOST_APART * sigma:
        return None
    ratio = float(noise.max()) / sigma
    message = (
        f"the sky of every {_ORDINAL[period]} of the {name} is {step:.3g} above that of others, "
        f"{step / sigma:.2g} times the noise of a pixel, and its noise differs by "
        f"{ratio - 1.0:.0%} (amplifiers of other gain, fields of a video?): fluxes depend on where "
        "in them a star is"
    )
    return Interleaved(name, period, step, step / sigma, ratio, message)


def _turns(lines: F8, period: int) -> list[F8]:
    """Return the lines of each turn, without those at the edges of a block."""
    inner = np.arange(period, lines.size - period)
    return [lines[inner[inner % period == k]] for k in range(period)]
