"""Sources without light whose neighbour has been fitted to the light of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.source import DISK, E1, E2, POINT, RADIUS, SPHEROID, X, Y
from skyextract.record import record

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, U1, Bools
    from skyextract.kernels.galaxies.fit import Places
    from skyextract.stages.galaxies.fit import Profile
    from skyextract.stages.galaxies.scene import Scene

NEAR = 2.0
"""Distance in FWHM within which one source takes the light of another."""
STAR = 0.14
"""Half-light radius in FWHM that both start with again."""
_LIGHTS = [SPHEROID, DISK, POINT]
SWEEPS = 6
"""In which their places and fluxes alone are fitted, at most."""


@record
class Restart:
    """Sources that are fitted as points first.

    Attributes
    ----------
    those : (n,) bool
    free : (3,) int64
        The parameters that are fitted: place and flux.
    """

    those: Bools
    free: I8

    def fit(
        self, scene: Scene, changed: U1, visit: Callable[[I8, Places], None], sweeps: int = SWEEPS
    ) -> None:
        """Visit them until they do not change any more; `visit` and `changed` as in a sweep."""
        stale = self.those.copy()
        for _ in range(sweeps):
            scene.sweep(stale, changed, visit)
            stale &= self.those
            if not stale.any():
                break


def restart_swallowed(
    parameters: F8, start: F8, scene: Scene, profile: Profile, fwhm: float
) -> Restart | None:
    """Start sources that have lost all light anew, with the neighbours that may have it.

    One extended source fits two of which the other has none nearly as well as two sources, and a
    fit that has come there stays.  Both begin again as stars, with the light that they have
    together in the shares of their detections; None if there are none.

    Parameters
    ----------
    parameters : (n, N_PARAMETERS) float64
        Changed.
    start : (n, N_PARAMETERS) float64
        Where fits began.
    """
    light, seen = light_of(parameters), light_of(start)
    share = np.zeros(len(parameters))
    for i in np.flatnonzero((light <= 0.0) & (np.diff(scene.first) > 0)).tolist():
        beside = scene.neighbours[scene.first[i] : scene.first[i + 1]]
        apart = np.hypot(*(start[beside][:, [X, Y]] - start[i, [X, Y]]).T)
        beside = beside[(apart < NEAR * fwhm) & (light[beside] > 0.0)]
        if beside.size:
            pair = [i, beside[np.argmax(light[beside])]]
            share[pair] = light[pair].sum() * seen[pair] / seen[pair].sum()
    return as_points(parameters, start, share, profile, fwhm) if share.any() else None


def light_of(parameters: F8) -> F8:
    """Return the flux of all components."""
    light: F8 = parameters[:, _LIGHTS].sum(axis=1)
    return light


def free_of_points(profile: Profile) -> I8:
    """Return the parameters of a model that are fitted to a point: its place and flux."""
    return np.array([X, Y, SPHEROID if profile.spheroid else DISK], dtype=np.int64)


def as_points(parameters: F8, start: F8, share: F8, profile: Profile, fwhm: float) -> Restart:
    """Make stars, where fits began, of sources with a share of light."""
    those, free = share > 0.0, free_of_points(profile)
    rows, first = np.flatnonzero(those), int(free[-1])
    again = start[rows]
    again[:, [*_LIGHTS, first + E1, first + E2]] = 0.0
    again[:, first], again[:, first + RADIUS] = share[rows], math.log(STAR * fwhm)
    parameters[rows] = again
    return Restart(those, free)
