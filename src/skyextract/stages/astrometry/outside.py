"""Stars that have no partner: farther out than those that have one, or all displaced alike.

Where a plate is wrong by more than the matching radius no pair is made, and what is left agrees.
Reference stars and sources that are as bright as matched ones then have no partner, both, and
stand farther from the middle of the matched ones.  A part of the frame without data has no such
sources, and an incomplete catalogue no such reference stars.
Where parts of the frame are out of place by more than the radius (blocks of another exposure,
panels of a panorama), one vector leads from stars without a partner to sources without one.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools
from skyextract.datamodel.noise import median, quantiles
from skyextract.record import record
from skyextract.sky.plate import gnomonic
from skyextract.stages.astrometry.solution import Solution
from skyextract.stages.astrometry.sources import Sources
from skyextract.stages.chance import log_as_many
from skyextract.stages.vectors import in_fullest_cell

MIN_ALONE = 3
"""Stars without a partner, at least, of the reference and of the sources, ..."""
MIN_SHARE = 0.2
"""... and their share of those that are as bright as matched ones, ..."""
FARTHER = 1.64
"""... which stand farther out by so many sigma, both (Mann and Whitney 1947)."""
FAINT = 0.9
"""As bright as matched ones: as this part of them is, at least."""
MIN_ALIKE, FALSE_ALARM = 4, 1e-5
"""Stars that have a source at one vector from them, at least, and the probability that sources at
random have as many at any."""
MOST = 80
"""Stars and sources, each, whose vectors are looked at: the brightest."""
ALIKE = 0.3
"""Matching radii within which vectors are one."""


@record
class Outside:
    """Stars without a partner.

    Attributes
    ----------
    alone, total, sources_alone, sources : int
        How many of how many reference stars and sources stand outside; 0 for none.
    alike : int
        Reference stars that have a source at one vector; 0 for none.
    x, y : float
        That vector, pixels.
    """

    alone: int = 0
    total: int = 0
    sources_alone: int = 0
    sources: int = 0
    alike: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def told(self) -> str:
        """Say so; empty where there are none."""
        if self.alike:
            message = (
                f"{self.alike} bright reference stars have their sources {self.x:+.1f}, "
                f"{self.y:+.1f} pixels away: parts of the frame are out of place (blocks of "
                "another exposure, panels of a panorama?)"
            )
        elif self.alone:
            message = (
                f"{self.alone} of {self.total} bright reference stars and {self.sources_alone} of "
                f"{self.sources} bright sources have no partner, away from those that have one: a "
                "distortion that the fit does not follow?"
            )
        else:
            message = ""
        return message


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
    of_stars, of_sources = bright & ~paired, own & ~has_star
    brightest = np.flatnonzero(of_stars)
    brightest = brightest[np.argsort(mag[brightest], kind="stable")][:MOST]
    others = np.flatnonzero(of_sources)[:MOST]
    vectors = np.stack(
        [
            np.subtract.outer(of_source, of_star).ravel()
            for of_source, of_star in (
                (sources.x[others], x[brightest]), (sources.y[others], y[brightest])
            )
        ]
    )  # fmt: skip
    alike = _alike(vectors, solution.radius / plate.pixel_scale, float(ny * nx))
    found = []
    for far, some, alone in (
        (np.hypot(x - x0, y - y0), bright, of_stars),
        (np.hypot(sources.x - x0, sources.y - y0), own, of_sources),
    ):
        n, n_alone = int(some.sum()), int(alone.sum())
        if n_alone < max(MIN_ALONE, MIN_SHARE * n) or n_alone == n:
            return alike
        if not _farther(far[some], alone[some]) > FARTHER:
            return alike
        found += [n_alone, n]
    return replace(alike, alone=found[0], total=found[1], sources_alone=found[2], sources=found[3])


def _alike(vectors: F8, radius: float, area: float) -> Outside:
    """Return how many vectors are one, farther than the radius, and that; none by default."""
    vectors = vectors[:, np.hypot(vectors[0], vectors[1]) > radius]
    tolerance = ALIKE * radius
    if vectors.shape[1] < MIN_ALIKE:
        return Outside()
    near = in_fullest_cell(vectors[0], vectors[1], 4.0 * tolerance)
    for _ in range(2):
        dx, dy = median(vectors[0, near]), median(vectors[1, near])
        distance = np.hypot(vectors[0] - dx, vectors[1] - dy)
        near = distance <= tolerance
    n = int(near.sum())
    around = np.count_nonzero((distance > 4.0 * tolerance) & (distance <= 12.0 * tolerance))
    by_chance = max(around / (12.0**2 - 4.0**2), vectors.shape[1] * math.pi * tolerance**2 / area)
    if n < MIN_ALIKE or 2.0 * by_chance > n - 1:
        return Outside()
    chance = math.log(vectors.shape[1]) + log_as_many(n - 1, by_chance)
    return Outside(alike=n, x=dx, y=dy) if chance < math.log(FALSE_ALARM) else Outside()


def _farther(distance: F8, alone: Bools) -> float:
    """Return by how many sigma some distances rank above the others."""
    rank = np.argsort(np.argsort(distance)) + 1.0
    n, m = int(alone.sum()), int(np.sum(~alone))
    excess = float(rank[alone].sum()) - 0.5 * n * (n + m + 1)
    return excess / math.sqrt(n * m * (n + m + 1) / 12.0)
