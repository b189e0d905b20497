"""Light that is steep within the meshes of a part of the frame: the Moon beside it, a planet in it.

No surface of the whole frame follows that, but the spline through the levels of the meshes does to
a few per cent.  What it leaves is measured again: it scatters by the noise, and its mode is what
the levels lack.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skyextract.datamodel.arrays import F4, Bools
from skyextract.datamodel.background import BackgroundMap
from skyextract.kernels.background.grid import fill_bad_meshes
from skyextract.kernels.background.mesh import BAD, Meshes
from skyextract.run import Run
from skyextract.stages.background.interpolate import subtract_background

STEEP = 0.5
"""Part of the scatter in a mesh that its slope makes, from which it is measured again."""


def steep_rest(
    image: F4,
    meshes: Meshes,
    measure: Callable[[F4], Meshes],
    filtered: Callable[[F4, F4], tuple[F4, F4]],
    above: float,
    run: Run,
) -> F4 | None:
    """Return what the levels of steep meshes lack; None without such meshes.

    Parameters
    ----------
    image : (ny, nx) float32
    meshes : Meshes
        Their noise is changed in place, where they are steep.
    measure : callable
        Measures the meshes of an image.
    filtered : callable
        Takes outliers from level and noise, as it is done with the background itself.
    above : float
        How much a level is higher than the mode.

    Returns
    -------
    (n_y, n_x) float32 or None
        In units of the image; 0 where meshes are not steep.
    """
    width, height, level, rms, _ = meshes
    filled = level.copy(), rms.copy()
    if not fill_bad_meshes(*filled):
        return None
    smooth, _ = filtered(*filled)
    steep = _steep_meshes(smooth, rms)
    if not steep.any():
        return None
    surface = BackgroundMap(smooth, rms, width, height, image.shape, 0.0, 1.0)
    rest = measure(subtract_background(image, None, surface, run))
    steep &= rest.rms > BAD
    rms[steep] = np.minimum(rms, rest.rms)[steep]
    lacks = np.where(steep, rest.level + np.float32(above), np.float32(0.0))
    return filtered(lacks, rms)[0]


def _steep_meshes(level: F4, rms: F4) -> Bools:
    """Tell in which meshes, of those whose noise is known, the scatter is that of the slope."""
    squares = np.zeros(level.shape)
    for axis in (axis for axis in (0, 1) if level.shape[axis] > 1):
        squares += np.gradient(level.astype(np.float64), axis=axis) ** 2 / 12.0
    steep: Bools = (rms > BAD) & (squares > (STEEP * rms.astype(np.float64)) ** 2)
    return steep
