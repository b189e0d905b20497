"""Tell a true match of detections and reference stars from chance.

The number m of N reference stars on the frame that have a detection within a radius r is
compared with what the same detections would give at a wrong place.  A solution is the best
of many trials, so the probability of one trial is multiplied by their number (Bonferroni).
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.kernels.astrometry.match import mutual_nearest
from skyextract.record import record
from skyextract.sky.plate import Plate, gnomonic

MAX_FALSE_PROBABILITY = 1e-6
"""A solution that is likelier to be false than this is not believed."""

N_SHIFTS = 8
RADIUS_FRACTIONS = (1.0, 0.5, 0.25, 0.125)
LEVELS = 100.0
"""Trials are counted within the offset found, not within the limits; the choice of that
volume among nested ones costs this factor."""


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
    px, py = (3600.0 * v for v in plate.to_plane(x, y))
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
        found += len(mutual_nearest(3600.0 * shifted[0], 3600.0 * shifted[1], rx, ry, radius)[0])
    chance = -math.expm1(-len(x) * math.pi * radius**2 / area)
    clustering = max(1.0, found / N_SHIFTS / (n * chance))
    expected = n * min(chance * clustering, 1.0)
    extra = 0.5 * max(parameters - 4, 0)
    best = 0.0
    depths = {len(x), min(len(x), 2 * n), min(len(x), 4 * n)}
    for depth in sorted(depths):
        distance = mutual_nearest(px[:depth], py[:depth], rx, ry, radius)[2]
        for fraction in RADIUS_FRACTIONS:
            r = fraction * radius
            p = -math.expm1(-depth * math.pi * r * r / area) * clustering
            m = int(np.sum(distance <= r))
            value = log_chance(m - extra, n - extra, min(p, 1.0)) + log_trials(offset, half, r)
            best = min(best, value + math.log(len(depths) * len(RADIUS_FRACTIONS)))
    # The last depth is all detections.
    return Verification(n, len(distance), float(expected), math.exp(max(best, -700.0)))


def _on_frame(plate: Plate, shape: tuple[int, int], xi: F8, eta: F8) -> tuple[F8, F8]:
    """Return the tangent-plane positions (arcsec) of the points on the frame."""
    x, y = plate.to_pixel(xi, eta)
    inside = (x > -0.5) & (x < shape[1] - 0.5) & (y > -0.5) & (y < shape[0] - 0.5)
    return 3600.0 * xi[inside], 3600.0 * eta[inside]
