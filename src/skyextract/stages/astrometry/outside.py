"""Stars that have no partner, farther out than those that have one.

Where a plate is wrong by more than the matching radius no pair is made, and what is left agrees.
Reference stars and sources that are as bright as matched ones then have no partner, both, and
stand farther from the middle of the matched ones.  A part of the frame without data has no such
sources, and an incomplete catalogue no such reference stars.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import quantiles
from skyextract.record import record
from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry.solution import Solution
from skyextract.stages.astrometry.sources import Sources

MIN_ALONE = 3
"""Stars without a partner, at least, of the reference and of the sources, ..."""
MIN_SHARE = 0.2
"""... and their share of those that are as bright as matched ones, ..."""
FARTHER = 1.64
"""... which stand farther out by so many sigma, both (Mann and Whitney 1947)."""
FAINT = 0.9
"""As bright as matched ones: as this part of them is, at least."""


@record
class Outside:
    """Stars without a partner: how many of how many reference stars and sources; 0 for none."""

    alone: int = 0
    total: int = 0
    sources_alone: int = 0
    sources: int = 0

    @property
    def told(self) -> str:
        """Say so; empty where there are none."""
        message = (
            f"{self.alone} of {self.total} bright reference stars and {self.sources_alone} of "
            f"{self.sources} bright sources have no partner, away from those that have one: a "
            "distortion that the fit does not follow?"
        )
        return message if self.alone else ""


def find_outside(
    solution: Solution, sources: Sources, pairs: tuple[I8, I8], shape: tuple[int, int]
) -> Outside:
    """Find out whether stars without a partner stand outside.

    Parameters
    ----------
    solution : Solution
    sources : Sources
    pairs : (I8, I8)
        Sources and reference stars within the matching radius of each other.
    shape : tuple of int
        Frame [y, x].
    """
    plate, region = solution.fit.plate, solution.region
    ny, nx = shape
    x, y = plate.to_pixel(*gnomonic(region.ra, region.dec, plate.ra0, plate.dec0))
    on_frame = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    paired, has_star = np.zeros(region.n_stars, bool), np.zeros(len(sources.x), bool)
    has_star[pairs[0]], paired[pairs[1]] = True, True
    mag = region.mag
    if not sources.ordered or not np.isfinite(mag[paired]).sum() >= MIN_ALONE:
        return Outside()
    limit = quantiles(mag[paired & np.isfinite(mag)], [FAINT])[0]
    bright = on_frame & (mag <= limit)
    # Sources stand in order of brightness.
    last = int(quantiles(np.flatnonzero(has_star), [FAINT])[0])
    own = np.arange(len(sources.x)) <= last
    x0, y0 = float(np.mean(x[paired])), float(np.mean(y[paired]))
    found = []
    for far, some, partner in (
        (np.hypot(x - x0, y - y0), bright, paired),
        (np.hypot(sources.x - x0, sources.y - y0), own, has_star),
    ):
        alone = ~partner[some]
        if alone.sum() < max(MIN_ALONE, MIN_SHARE * alone.size) or alone.all():
            return Outside()
        if not _farther(far[some], alone) > FARTHER:
            return Outside()
        found += [int(alone.sum()), alone.size]
    return Outside(*found)


def _farther(distance: F8, alone: Bools) -> float:
    """Return by how many sigma some distances rank above the others."""
    rank = np.argsort(np.argsort(distance)) + 1.0
    n, m = int(alone.sum()), int(np.sum(~alone))
    excess = float(rank[alone].sum()) - 0.5 * n * (n + m + 1)
    return excess / math.sqrt(n * m * (n + m + 1) / 12.0)
