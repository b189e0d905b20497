"""Steep profiles, fitted once more from exponential ones.

Chi2 may have a second minimum near the upper end of the range of the index, where a disk that noise
has given wings has several times its light in them; a fit that has come there stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from skyextract.kernels.galaxies.source import INDEX, SPHEROID

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import I8, Bools
    from skyextract.kernels.galaxies.fit import Fits, Places
    from skyextract.stages.galaxies.scene import Scene

STEEP = math.log(4.0)
"""Ln n above which a profile is fitted once more."""


def fit_steep_again(scene: Scene, fits: Fits, again: Callable[[I8, Places], None]) -> Bools:
    """Fit what has come to a steep profile once more; return who sees a neighbour change by that.

    Parameters
    ----------
    scene : Scene
    fits : Fits
        Changed.
    again : callable
        Fit some sources from where they began, and keep what is better.
    """
    steep = (fits.parameters[:, SPHEROID + INDEX] > STEEP) & (scene.boxes[:, 2] > 0)
    for members in scene.by_colour:
        scene.each(members[steep[members]], again)
    stale: Bools = fits.changed == 1
    fits.changed[:] = 0
    return stale
