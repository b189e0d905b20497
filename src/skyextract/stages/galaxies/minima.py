"""Second minima: fits that begin once more, from a simpler profile.

Chi2 may have a second minimum near the upper end of the range of the index, where a disk that noise
has given wings has several times its light in them.  Of a spheroid and a disk, each may have a part
of the light of a galaxy that one of them describes better.  A fit that has come there stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.fit import Rules
from skyextract.kernels.galaxies.source import DISK, INDEX, RADIUS, SPHEROID
from skyextract.stages.galaxies.start import DE_VAUCOULEURS

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.kernels.galaxies.fit import Fits, Places
    from skyextract.stages.galaxies.fit import Profile
    from skyextract.stages.galaxies.scene import Scene

STEEP = math.log(4.0)
"""Ln n above which a profile is fitted once more."""
SURE = 4.0
"""Errors of the flux of a disk above which it is no part of a spheroid."""


def simpler(rules: Rules, start: F8, profile: Profile) -> Rules:
    """Return the rules of fits that begin once more, with fewer parameters first.

    One component begins with its index held; two with all light in a de Vaucouleurs spheroid.
    """
    held, free = [SPHEROID + INDEX], profile.free
    if profile.disk:
        held, start = [SPHEROID + INDEX, *range(DISK, DISK + INDEX + 1)], start.copy()
        start[:, SPHEROID] += start[:, DISK]
        start[:, DISK] = 0.0
        start[:, SPHEROID + RADIUS] = start[:, DISK + RADIUS]
        # a shape that no light tells, and no prior holds against
        usual = rules.prior[1, held] > 0.0
        start[:, np.array(held)[usual]] = rules.prior[0, held][usual]
        start[:, SPHEROID + INDEX] = DE_VAUCOULEURS
    return rules._replace(start=start, simpler=free[~np.isin(free, held)])


def fit_again(
    scene: Scene, fits: Fits, profile: Profile, again: Callable[[I8, Places], None]
) -> Bools:
    """Fit what may be in a second minimum once more; return who sees a neighbour change by that.

    Parameters
    ----------
    scene : Scene
    fits : Fits
        Changed.
    profile : Profile
    again : callable
        Fit some sources from where they began, and keep what is better.
    """
    p = fits.parameters
    if profile.disk:
        with np.errstate(invalid="ignore"):
            sure = p[:, DISK] > SURE * np.sqrt(fits.covariance[:, DISK, DISK])
        those = (p[:, SPHEROID] > 0.0) & (p[:, DISK] > 0.0) & ~sure
    else:
        those = p[:, SPHEROID + INDEX] > STEEP
    those &= scene.boxes[:, 2] > 0
    for members in scene.by_colour:
        scene.each(members[those[members]], again)
    stale: Bools = fits.changed == 1
    fits.changed[:] = 0
    return stale
