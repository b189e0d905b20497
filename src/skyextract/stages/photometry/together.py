"""Stars that are off together: clouds while a frame was read row by row, shade upon a part of it.

A fit takes few stars that are far too faint for outliers, and many that are a little too faint for
scatter.  But stars that are variable, blended or falsely matched are anywhere: those of a band or a
patch follow each other along x or y, or are each other's neighbours.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.record import record

CLIP = 4.0
"""Residuals count as so many of their errors at most: a few outliers make no band."""
MIN_OFF = 0.03
"""Median residual of the stars, mag, at least."""
FEW, MIN_STARS, MOST = 3, 12, 300
"""Stars that are together, at least, of so many; and those that are looked at: of more these, from
all of the frame."""
BY_CHANCE = 3e-3
"""Probability that residuals in any order have such a sum somewhere, at most."""


@record
class Together:
    """Stars that are off together; by default none.

    Attributes
    ----------
    number, among : int
        How many of how many stars there are off to that side.
    off : float
        Their median residual, mag.
    x, y : (float, float)
        From where to where they are, 0-based pixels.
    """

    number: int = 0
    among: int = 0
    off: float = 0.0
    x: tuple[float, float] = (0.0, 0.0)
    y: tuple[float, float] = (0.0, 0.0)

    def __str__(self) -> str:
        """Return where they are, and by how much they are off."""
        (x0, x1), (y0, y1) = self.x, self.y
        return (
            f"{self.number} of {self.among} stars in x {x0 + 1.0:.0f} to {x1 + 1.0:.0f}, y "
            f"{y0 + 1.0:.0f} to {y1 + 1.0:.0f} are off by {self.off:+.2f} mag (median)"
        )


def off_together(values: F8, errors: F8, x: F8, y: F8) -> Together:
    """Find stars that are off to one side and follow each other, or are neighbours.

    From each star on the others are summed up along x, along y and by distance, in units of their
    errors: the largest sum in units of its own (a scan statistic with normal scores: J. Glaz,
    J. Naus & S. Wallenstein 2001, Scan Statistics, Springer).

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals and their standard errors.
    x, y : (n,) float64
        0-based pixels.
    """
    step = 1 + (len(values) - 1) // MOST
    values, errors, x, y = (each[::step] for each in (values, errors, x, y))
    n = len(values)
    if n < MIN_STARS:
        return Together()
    pull = np.clip((values - median(values)) / errors, -CLIP, CLIP)
    pull /= max(1.0, math.sqrt(float(np.mean(pull**2))))
    count = np.arange(1, n // 2 + 1)
    sigma = np.sqrt(count * (1.0 - count / n))
    highest, best = 0.0, Together()
    for order in (*(_following(along, count.size) for along in (x, y)), _nearest(x, y, count.size)):
        light = np.cumsum(np.where(order < n, pull[np.minimum(order, n - 1)], 0.0), axis=1) / sigma
        height = np.where(order < n, np.abs(light), 0.0)[:, FEW - 1 :]
        start, end = np.unravel_index(int(height.argmax()), height.shape)
        if height[start, end] > highest:
            highest = float(height[start, end])
            best = _told(values, pull, order[start, : end + FEW], x, y)
    # As of so many independent sums: along three orders, to either side.
    chance = math.log(3.0 * n * n) - 0.5 * highest**2 - math.log(2.5 * max(highest, 1.0))
    return best if chance < math.log(BY_CHANCE) and abs(best.off) > MIN_OFF else Together()


def _following(along: F8, most: int) -> I8:
    """Return each star and those that follow it in an order, (n, most); n beyond the last."""
    order = np.append(np.argsort(along, kind="stable"), len(along))
    place = np.arange(len(along))[:, None] + np.arange(most)
    following: I8 = order[np.minimum(place, len(along))]
    return following


def _nearest(x: F8, y: F8, most: int) -> I8:
    """Return each star and its nearest ones, (n, most)."""
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    nearest: I8 = np.argsort(distance, axis=1, kind="stable")[:, :most]
    return nearest


def _told(values: F8, pull: F8, rows: I8, x: F8, y: F8) -> Together:
    """Return what is said of stars that follow each other."""
    sign = 1.0 if pull[rows].sum() > 0.0 else -1.0
    of_x, of_y = ((float(c[rows].min()), float(c[rows].max())) for c in (x, y))
    number = int(np.count_nonzero(sign * pull[rows] > 0.5))
    return Together(number, rows.size, median(values[rows]), of_x, of_y)
