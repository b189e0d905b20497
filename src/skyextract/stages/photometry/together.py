"""Stars that are off together: clouds while a frame was read row by row, shade upon a part of it.

A fit takes few stars that are far too faint for outliers.  But outliers that are variable, blended
or falsely matched are anywhere: those of a band or a patch follow each other along x or y, or are
each other's neighbours, with hardly a good star between them.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.record import record

OFF = 2.5
"""Stars are off from so many of their errors on."""
MIN_OFF = 0.03
"""Their median residual, mag, at least."""
FEW, MANY = 3, 100
"""Stars that are together, at least, and those that are off from which on they are no outliers."""
MOST = 2000
"""Stars that are looked at; of more these, from all of the frame."""
BY_CHANCE = 3e-3
"""Probability that outliers in any order are so close together, at most."""


@record
class Together:
    """Stars that are off together; by default none.

    Attributes
    ----------
    number, among : int
        How many of how many stars there.
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

    From each of them the others are counted along x, along y and by distance (a scan statistic:
    J. I. Naus 1965, J. Am. Stat. Assoc. 60, 532, with the hypergeometric distribution).

    Parameters
    ----------
    values, errors : (n,) float64
        Residuals and their standard errors.
    x, y : (n,) float64
        0-based pixels.
    """
    step = 1 + (len(values) - 1) // MOST
    values, errors, x, y = (each[::step] for each in (values, errors, x, y))
    n, least, best = len(values), math.log(BY_CHANCE), Together()
    factorial = np.append(0.0, np.cumsum(np.log(np.arange(1.0, n + 1.0))))
    pull = values / errors
    for is_off in (pull > OFF, pull < -OFF):
        rows = np.flatnonzero(is_off)
        if not FEW <= rows.size <= MANY:
            continue
        tried = math.log(6.0 * rows.size * (rows.size - 1))  # starts, ends, orders and signs
        for first in rows:
            distance = np.hypot(x - x[first], y - y[first])
            for away in (x - x[first], y - y[first], distance):
                order = np.argsort(np.where(away < 0.0, np.inf, away), kind="stable")
                order = order[: np.count_nonzero(away >= 0.0)]
                last = np.flatnonzero(is_off[order])[FEW - 1 :]
                k = np.arange(last.size) + FEW - 1
                chance = tried + _log_as_close(k, last, rows.size - 1, n - 1, factorial)
                if chance.min(initial=0.0) < least:
                    end = int(last[chance.argmin()])
                    least, together = float(chance.min()), order[: end + 1]
                    best = _told(values, together[is_off[together]], end + 1, x, y)
    return best if abs(best.off) > MIN_OFF else Together()


def _told(values: F8, off: I8, among: int, x: F8, y: F8) -> Together:
    """Return what is said of some of the stars, `among` so many."""
    of_x, of_y = ((float(c[off].min()), float(c[off].max())) for c in (x, y))
    return Together(off.size, among, median(values[off]), of_x, of_y)


def _log_as_close(k: I8, m: I8, n_off: int, n: int, factorial: F8) -> F8:
    """Return ln of the chance that of m stars of n, of which n_off are off, k or more are.

    The tail is below its first term over 1 less the ratio of the second to it; 0 where more than
    half as many are to be expected.  `factorial` has the logarithms of factorials.
    """

    def choices(of: I8 | int, some: I8) -> F8:
        out: F8 = factorial[of] - factorial[some] - factorial[of - some]
        return out

    few = 2.0 * m * n_off < n * k
    k, m = k[few], m[few]
    ratio = (n_off - k) * (m - k) / ((k + 1.0) * (n - n_off - m + k + 1.0))
    out = np.zeros(few.size)
    out[few] = choices(n_off, k) + choices(n - n_off, m - k) - choices(n, m)
    out[few] -= np.log1p(-ratio)
    return out
