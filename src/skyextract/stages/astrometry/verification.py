"""Tell a true match of detections and reference stars from chance.

The number m of N reference stars on the frame that have a detection within a radius r is
compared with what the same detections would give at a wrong place.  A solution is the best
of many trials, so the probability of one trial is multiplied by their number (Bonferroni).
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.datamodel.noise import median
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.sky.angles import ARCSEC
from skyextract.sky.plate import Plate, gnomonic

MAX_FALSE_PROBABILITY = 1e-6
"""A solution that is likelier to be false than this is not believed."""

N_SHIFTS = 8
RADIUS_FRACTIONS = (1.0, 0.5, 0.25, 0.125)
LEVELS = 100.0
"""Trials are counted within the offset found, not within the limits; the choice of that
volume among nested ones costs this factor."""

MIN_AGAIN, SELF_SIMILAR, MOST_COMPARED = 6, 0.5, 200
"""Matched stars, and their share, that lie on others after one shift: they are on a lattice, where
a wrong solution matches as many. So many stars are compared, at most."""
WIDER, LEAST_SHIFT = 3.0, 4.0
"""Stars lie on each other within so many times the median distance of the matches; a shift is so
many times that."""


@record
class Verification:
    """What speaks for a solution.

    Attributes
    ----------
    n_reference : int
        Reference stars on the frame.
    n_matched : int
        Those with a detection within the radius, one to one.
    expected : float
        Number expected at a wrong place.
    probability : float
        Upper limit of the probability that the solution is false.
    """

    n_reference: int
    n_matched: int
    expected: float
    probability: float


@record
class Offset:
    """How far a solution is from what was expected, for the number of trials.

    Attributes
    ----------
    position : float
        Largest shift of the centre per axis, arcsec.
    angle : float
        Rotation in radians; pi if there was no expectation.
    log_scale : float
        Change of the log of the scale; the whole range searched if there was no expectation.
    flips : int
        Number of parities tried.
    """

    position: float
    angle: float
    log_scale: float
    flips: int


def log_chance(matched: float, n: float, p: float) -> float:
    """Upper limit of ln P(at least `matched` of `n`), probability `p` each (Chernoff)."""
    if n <= 0.0 or matched <= n * p:
        return 0.0
    share = min(matched / n, 1.0)
    result = share * math.log(p / share)
    if share < 1.0:
        result += (1.0 - share) * math.log((1.0 - p) / (1.0 - share))
    return n * result


def log_trials(offset: Offset, half: float, radius: float) -> float:
    """Return ln of the number of distinguishable solutions up to this offset.

    Parameters
    ----------
    offset : Offset
    half, radius : float
        Half diagonal of the frame and matching radius, in the same unit as the offset.
    """
    positions = max(1.0, (2.0 * (offset.position + radius)) ** 2 / (math.pi * radius**2))
    angles = max(1.0, 2.0 * offset.angle * half / radius)
    scales = max(1.0, 2.0 * offset.log_scale * half / radius)
    return math.log(positions * angles * scales * offset.flips * LEVELS)


def verify(
    plate: Plate, shape: tuple[int, int], x: F8, y: F8, ra: F8, dec: F8,
    radius: float, offset: Offset, parameters: int,
) -> Verification:  # fmt: skip
    """Weigh a solution against chance.

    Parameters
    ----------
    plate : Plate
    shape : tuple of int
        Frame [y, x].
    x, y : float64 (n,)
        All detections, 0-based pixels, the brightest first.
    ra, dec : float64 (m,)
        Reference stars, deg.
    radius : float
        Matching radius, arcsec.
    offset : Offset
        From what was expected.
    parameters : int
        Free parameters of the fit; those above a similarity's four cost half a match each.
    """
    ny, nx = shape
    xi, eta = gnomonic(ra, dec, plate.ra0, plate.dec0)
    rx, ry = _on_frame(plate, shape, xi, eta)
    n = len(rx)
    if n == 0 or len(x) == 0:
        return Verification(n, 0, 0.0, 1.0)
    px, py = (ARCSEC * v for v in plate.to_plane(x, y))
    area = nx * ny * plate.pixel_scale**2
    half = 0.5 * math.hypot(nx, ny) * plate.pixel_scale
    # Stars and galaxies cluster: ask the frame itself how many pairs a wrong place gives.
    rng = np.random.default_rng(1)
    found = 0
    for angle, length in zip(
        rng.uniform(0.0, 2.0 * np.pi, N_SHIFTS), rng.uniform(0.1, 0.4, N_SHIFTS), strict=True
    ):
        shifted = plate.to_plane(
            (x + length * np.cos(angle) * nx) % nx, (y + length * np.sin(angle) * ny) % ny
        )
        found += len(mutual_nearest(ARCSEC * shifted[0], ARCSEC * shifted[1], rx, ry, radius)[0])
    chance = -math.expm1(-len(x) * math.pi * radius**2 / area)
    clustering = max(1.0, found / N_SHIFTS / (n * chance))
    expected = n * min(chance * clustering, 1.0)
    extra = 0.5 * max(parameters - 4, 0)
    best = 0.0
    again, shift = _matched_again(px, py, rx, ry, radius)
    if offset.position + radius < 0.5 * shift:
        again = 0.0  # what was expected tells which of them
    depths = {len(x), min(len(x), 2 * n), min(len(x), 4 * n)}
    for depth in sorted(depths):
        distance = mutual_nearest(px[:depth], py[:depth], rx, ry, radius)[2]
        for fraction in RADIUS_FRACTIONS:
            r = fraction * radius
            p = max(-math.expm1(-depth * math.pi * r * r / area) * clustering, again)
            m = int(np.sum(distance <= r))
            value = log_chance(m - extra, n - extra, min(p, 1.0)) + log_trials(offset, half, r)
            best = min(best, value + math.log(len(depths) * len(RADIUS_FRACTIONS)))
    # The last depth is all detections.
    return Verification(n, len(distance), float(expected), math.exp(max(best, -700.0)))


def _matched_again(px: F8, py: F8, rx: F8, ry: F8, radius: float) -> tuple[float, float]:
    """Return the share of the matched stars that match others after a shift, and its length.

    Both are 0 for no lattice.  The highest peak of the differences of their positions but that at
    0.  Stars on a grid, as simulated ones often are, match at many places: each of them does so
    with this probability.
    """
    rows, _, distance = mutual_nearest(px, py, rx, ry, radius)
    if len(rows) < MIN_AGAIN:
        return 0.0, 0.0
    within = min(max(WIDER * median(distance), RADIUS_FRACTIONS[-1] * radius), radius)
    rows = rows[:: max(1, -(-len(rows) // MOST_COMPARED))]
    first, second = np.triu_indices(len(rows), 1)
    dx, dy = px[rows][second] - px[rows][first], py[rows][second] - py[rows][first]
    turned = np.where((dy < 0.0) | ((dy == 0.0) & (dx < 0.0)), -1.0, 1.0)
    dx, dy = turned * dx, turned * dy
    far = np.hypot(dx, dy) > LEAST_SHIFT * within
    dx, dy = dx[far] / (2.0 * within), dy[far] / (2.0 * within)
    if not dx.size:
        return 0.0, 0.0
    n_cells = math.ceil(np.ptp(dx) + 1.0) * math.ceil(np.ptp(dy) + 1.0)
    highest, shift = 0, 0.0
    for half in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)):  # no edge of cells cuts a peak
        column, row = (
            np.floor(d + h).astype(np.int64) for d, h in zip((dx, dy), half, strict=True)
        )
        row -= row.min()
        cell = column * (int(row.max()) + 1) + row
        fullest, number = _most_frequent(cell)
        if number > highest:
            highest, same = number, cell == fullest
            shift = 2.0 * within * float(np.hypot(dx[same].mean(), dy[same].mean()))
    more = highest - dx.size / n_cells
    share = more / len(rows)
    if more < MIN_AGAIN or share < SELF_SIMILAR:
        return 0.0, 0.0
    return min(share, 1.0), shift


def _most_frequent(numbers: I8) -> tuple[int, int]:
    """Return the whole number that most of some are, the lowest of several, and how many are it."""
    ordered = np.sort(numbers)
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    length = np.diff(first, append=ordered.size)
    longest = int(length.argmax())
    return int(ordered[first[longest]]), int(length[longest])


def _on_frame(plate: Plate, shape: tuple[int, int], xi: F8, eta: F8) -> tuple[F8, F8]:
    """Return the tangent-plane positions (arcsec) of the points on the frame."""
    x, y = plate.to_pixel(xi, eta)
    inside = (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    return ARCSEC * xi[inside], ARCSEC * eta[inside]
