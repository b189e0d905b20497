"""Sources that were found beneath others: points, unless the pixels show that they are more.

What point sources leave of a galaxy may be the galaxy.  A profile of its own would share the light
of its host in any proportion, as both describe the pixels; a point at a given place does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.source import DISK, E1, E2, INDEX, RADIUS, SPHEROID, X, Y
from skyextract.kernels.values import FWHM_PER_SIGMA
from skyextract.record import record
from skyextract.stages.galaxies.start import EXPONENTIAL, hold_near, reach_of
from skyextract.stages.galaxies.swallowed import STAR, free_of_points, light_of

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.kernels.galaxies.fit import Fits, Places
    from skyextract.kernels.galaxies.pixels import Pixels
    from skyextract.stages.galaxies.fit import Profile
    from skyextract.stages.galaxies.scene import Scene

POINT_ALONE = 512
"""Bit of the flags: found beneath others, and fitted as a point source."""
HELD = 0.1
"""Distance from where it was found that a point may go, in FWHM: farther on is its host."""
OWN = 0.5
"""Share of the light at its place that a source of its own has as a point, at least..."""
BETTER = 24.0
"""... and what its shape takes off chi2: of four parameters the logarithm of the number of pixels
each (Schwarz 1978, Ann. Stat. 6, 461)."""
RADIUS_BEFORE, LIGHT_BEFORE = 0.5, 1.3
"""Half-light radius, in FWHM, and light, over that of the point, from which a shape is fitted."""


@record
class Beneath:
    """Sources that were found beneath others.

    Attributes
    ----------
    points : (n,) bool
    lost : (n,) bool
        Those that are not fitted: light of what they were found beneath.
    """

    points: Bools
    lost: Bools

    def start(self, parameters: F8, limits: F8, profile: Profile, fwhm: float, noise2: float) -> I8:
        """Make points of hardly any light of them: what is not their host's comes to them.

        Parameters
        ----------
        parameters : (n, N_PARAMETERS) float64
        limits : (n, 2, N_PARAMETERS) float64
            Both changed.
        noise2 : float
            Variance of a pixel.

        Returns
        -------
        (n,) int64
            Number of free parameters of all.
        """
        those, free = self.points, free_of_points(profile)
        first = int(free[-1])
        for component in (SPHEROID, DISK):
            parameters[those, component] = 0.0
            for p in (component + E1, component + E2):
                parameters[those, p] = 0.0
        parameters[those, first] = math.sqrt(4.0 * math.pi * noise2) * fwhm / FWHM_PER_SIGMA
        parameters[those, first + RADIUS] = math.log(STAR * fwhm)
        parameters[those, SPHEROID + INDEX] = EXPONENTIAL
        hold_near(parameters, limits, HELD * fwhm, those)
        return np.where(those, free.size, profile.free.size)


def give_shapes(
    n_free: I8, start: F8, limits: F8, scene: Scene, pixels: Pixels, fits: Fits,
    profile: Profile, fwhm: float, again: Callable[[I8, Places, F8], None],
) -> Bools:  # fmt: skip
    """Fit profiles to points that are sources of their own, and keep what is better beyond doubt.

    Such a source has most of the light at its place: what is found beneath a galaxy because points
    do not describe that has little, once the galaxy has a profile.

    Parameters
    ----------
    n_free : (n,) int64
        Numbers of free parameters; changed.
    start : (n, N_PARAMETERS) float64
        Where fits began.
    limits : (n, 2, N_PARAMETERS) float64
        Changed.
    pixels : Pixels
        With the image less all models.
    fits : Fits
        Changed.
    again : callable
        Fit some sources from parameters that are given, and keep what is better by `BETTER`.

    Returns
    -------
    (n,) bool
        Sources that are to be visited.
    """
    points = n_free < profile.free.size
    tried = points & (light_of(fits.parameters) > 0.0) & (scene.boxes[:, 2] > 0)
    tried &= _own_share(scene, pixels, fits.parameters) > OWN
    first = int(free_of_points(profile)[-1])
    shaped = fits.parameters.copy()
    shaped[:, first] *= LIGHT_BEFORE
    shaped[:, first + RADIUS] = math.log(RADIUS_BEFORE * fwhm)
    shaped[:, SPHEROID + INDEX] = EXPONENTIAL if profile.index is None else profile.index
    hold_near(start, limits, reach_of(fwhm), tried)
    for members in scene.by_colour:
        scene.each(members[tried[members]], lambda some, places: again(some, places, shaped))
    kept = tried & (fits.parameters[:, first + RADIUS] != start[:, first + RADIUS])
    n_free[kept] = profile.free.size
    hold_near(start, limits, HELD * fwhm, tried & ~kept)
    stale: Bools = kept | (fits.changed == 1)
    fits.changed[:] = 0
    return stale


def _own_share(scene: Scene, pixels: Pixels, parameters: F8) -> F8:
    """Return which share of the models at its place a source has that is a point."""
    n_y, n_x = pixels.image.shape
    share = np.ones(len(parameters))
    beside = np.diff(scene.first) > 0  # of others the residual has no pixels
    own = parameters[beside]
    column = np.clip(np.rint(own[:, X]), 0, n_x - 1).astype(np.int64)
    row = np.clip(np.rint(own[:, Y]), 0, n_y - 1).astype(np.int64)
    models = pixels.image[row, column] - pixels.residual[row, column]
    peak = light_of(own) * float(scene.psf.basis[0].max())
    share[beside] = peak / np.maximum(models, 1e-30)
    return share
