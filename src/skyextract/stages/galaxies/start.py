"""Where fits of models start, and how far they may go."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.sersic import MAX_INDEX, MIN_INDEX
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    E2,
    INDEX,
    N_PARAMETERS,
    POINT,
    RADIUS,
    SPHEROID,
    X,
    Y,
)
from skyextract.kernels.values import FWHM_PER_SIGMA

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.datamodel.detections import Detections
    from skyextract.stages.galaxies.fit import Profile
    from skyextract.stages.galaxies.scene import Sky

EXPONENTIAL, DE_VAUCOULEURS = math.log(1.0), math.log(4.0)
"""Ln n of these profiles."""
MIN_RADIUS = 0.02
"""Smallest half-light radius, in FWHM of the PSF."""
MAX_SHIFT = 0.7
"""Largest distance from the detected position, in FWHM, beside a pixel."""
CUT_SHIFT = 0.1
"""How much farther that is where the edge of the image cuts the light off, over the side of what is
left of it."""
MOST_NEGATIVE = 2.0
"""Least flux of a source is less than none by so many sigma of a point."""
MOST_CUT = 0.7
"""Threshold over peak, at most, for which fits start with the light below it."""
SHAPED = 0.15
"""Threshold over peak below which moments tell size and shape: others start as a star."""
BLURRED = 1.5
"""Variance of a star as detected, over that of the PSF."""
SHARP = 0.07
"""Square of the radius, over that variance, that fits of what seems a star start with."""
MOST_STRETCHED = 0.9
"""Difference over sum of the variances along both axes, at most."""


def start_of(found: Detections, flux: F8, fwhm: float, profile: Profile) -> F8:
    """Return parameters to start from: the moments of the light above the threshold.

    Of a Gaussian a threshold of u times its peak leaves 1 - u of the light, and
    1 + u ln u / (1 - u) of the variance; the PSF and the filter of the detection have theirs.
    """
    parameters = np.zeros((found.n, N_PARAMETERS))
    parameters[:, X], parameters[:, Y] = found.x, found.y
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = np.nan_to_num(found.dthresh.astype(np.float64) / found.fdpeak, nan=MOST_CUT)
    cut = np.clip(cut, 1e-6, MOST_CUT)
    seen = 1.0 + cut * np.log(cut) / (1.0 - cut)
    point = BLURRED * (fwhm / FWHM_PER_SIGMA) ** 2
    x2, y2, xy = found.x2 / seen - point, found.y2 / seen - point, found.xy / seen
    middle, stretch = 0.5 * (x2 + y2), np.hypot(0.5 * (x2 - y2), xy)
    resolved = (middle > point) & (cut < SHAPED)
    stretch = np.minimum(stretch, MOST_STRETCHED * middle)
    area = np.where(resolved, middle * middle - stretch * stretch, 0.0)
    log_radius = 0.25 * np.log(np.maximum(area, (SHARP * point) ** 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        shear = np.where(resolved, 0.5 * np.arctanh(stretch / middle), 0.0)
    angle = np.arctan2(xy, 0.5 * (x2 - y2))
    components = [first for first, on in ((SPHEROID, profile.spheroid), (DISK, profile.disk)) if on]
    for first in components:
        parameters[:, first] = flux / (1.0 - cut) / len(components)
        parameters[:, first + RADIUS] = log_radius
        parameters[:, first + E1], parameters[:, first + E2] = (
            shear * np.cos(angle), shear * np.sin(angle)
        )  # fmt: skip
        parameters[:, first + INDEX] = EXPONENTIAL
    if profile.spheroid:
        start = EXPONENTIAL if profile.index is None else profile.index
        parameters[:, SPHEROID + INDEX] = start
    if len(components) == 2:
        parameters[:, SPHEROID + RADIUS] -= math.log(2.0)
    return parameters


def reach_of(fwhm: float) -> float:
    """Return how far a centre may go from where its source was found, in pixels."""
    return MAX_SHIFT * fwhm + 1.0


def hold_near(parameters: F8, limits: F8, reach: float, those: Bools | slice = slice(None)) -> None:
    """Let the centres of some sources go no farther than `reach`, pixels, from where they are."""
    for p in (X, Y):
        place = parameters[those, p]
        limits[those, 0, p], limits[those, 1, p] = place - reach, place + reach


def limits_of(parameters: F8, boxes: I8, sky: Sky, noise2: float, profile: Profile) -> F8:
    """Return the lowest and highest values of all parameters, (n, 2, N_PARAMETERS)."""
    fwhm = sky.psf.fwhm
    limits = np.empty((len(parameters), 2, N_PARAMETERS))
    limits[:, 0], limits[:, 1] = -np.inf, np.inf
    hold_near(parameters, limits, reach_of(fwhm))
    side = boxes[:, 2:].max(axis=1, initial=1)
    for first in (SPHEROID, DISK):
        limits[:, 0, first + RADIUS] = math.log(MIN_RADIUS * fwhm)
        limits[:, 1, first + RADIUS] = np.log(side + fwhm)
    limits[:, 0, SPHEROID + INDEX] = math.log(MIN_INDEX)
    limits[:, 1, SPHEROID + INDEX] = math.log(MAX_INDEX)
    # in a blend one source must not make up for another with negative light
    least = -MOST_NEGATIVE * math.sqrt(4.0 * math.pi * noise2) * fwhm / FWHM_PER_SIGMA
    limits[:, 0, [SPHEROID, DISK, POINT]] = least
    if profile.spheroid + profile.disk + profile.point > 1:
        # one component must not make up for another with negative light
        limits[:, 0, [SPHEROID, DISK, POINT]] = 0.0
    return limits


def go_to_peaks(parameters: F8, limits: F8, found: Detections, sky: Sky) -> None:
    """Start at the peak, and let a fit go there, where the edge of the image cuts the light off.

    The middle of what is left of a galaxy is off its centre, its highest pixel may be another's.
    """
    n_y, n_x = sky.image.shape
    cut = (found.xmin <= 0) | (found.ymin <= 0) | (found.xmax >= n_x - 1) | (found.ymax >= n_y - 1)
    reach = reach_of(sky.psf.fwhm)
    for p, peaks, low, high, n in (
        (X, found.xpeak, found.xmin, found.xmax, n_x), (Y, found.ypeak, found.ymin, found.ymax, n_y)
    ):  # fmt: skip
        peak, farther = peaks[cut].astype(np.float64), CUT_SHIFT * (high - low)[cut]
        # not farther out of the image, where nothing holds a fit
        least = np.minimum(peak - reach, np.maximum(peak - reach - farther, 0.0))
        most = np.maximum(peak + reach, np.minimum(peak + reach + farther, n - 1.0))
        limits[cut, 0, p] = np.minimum(limits[cut, 0, p], least)
        limits[cut, 1, p] = np.maximum(limits[cut, 1, p], most)
        parameters[cut, p] = peak


def revive_components(parameters: F8, limits: F8, shaped: Bools) -> None:
    """Give components that have lost their light a third of it, and a shape that is not hopeless.

    Without light, of a size that nothing tells, a component that a rough fit gave up stays so: the
    disk is made twice as large as the spheroid.  Not of what is not `shaped`, but a point.
    """
    for first, other, larger in ((SPHEROID, DISK, -math.log(2.0)), (DISK, SPHEROID, math.log(2.0))):
        lost = shaped & (parameters[:, first] <= limits[:, 0, first])
        lost &= parameters[:, other] > 0.0
        light = parameters[lost, other]
        parameters[lost, first], parameters[lost, other] = light / 3.0, light * (2.0 / 3.0)
        parameters[lost, first + RADIUS] = parameters[lost, other + RADIUS] + larger
        for shear in (E1, E2):
            parameters[lost, first + shear] = parameters[lost, other + shear]
    np.clip(parameters, limits[:, 0], limits[:, 1], out=parameters)
