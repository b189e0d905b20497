"""Brightness of models of given shapes, measured on another image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, copied
from skyextract.kernels.galaxies.draw import visit_scales
from skyextract.kernels.galaxies.fit import Places
from skyextract.kernels.galaxies.source import DISK, POINT, SKY, SPHEROID, X, Y
from skyextract.record import record
from skyextract.stages.galaxies.level import levels_below
from skyextract.stages.galaxies.scene import MAX_SWEEPS, Scene

if TYPE_CHECKING:
    from skyextract.run import Run
    from skyextract.stages.galaxies.fit import ModelFits
    from skyextract.stages.galaxies.scene import Sky


@record
class Scaled:
    """Models of given shapes, their brightness measured on another image.

    Attributes
    ----------
    scale, error : (n,) float64
        Factor of the fluxes, and its error.
    chi2 : (n,) float64
        Reduced.
    iterations : int
        Sweeps over the sources.
    """

    scale: F8
    error: F8
    chi2: F8
    iterations: int


def scale_models(sky: Sky, fits: ModelFits, run: Run) -> Scaled:
    """Measure the brightness of models that were fitted to another image of the same pixels.

    Parameters
    ----------
    sky : Sky
        The image to measure.
    fits : ModelFits
        Of the other image.
    """
    n = len(fits.parameters)
    good = np.asarray(np.isfinite(fits.parameters).all(axis=1))
    parameters = np.where(good[:, None], fits.parameters, 0.0)
    parameters[:, SKY] = 0.0
    boxes = np.where(good[:, None], fits.scene.boxes, 0)
    flux = parameters[:, [SPHEROID, DISK, POINT]].sum(axis=1)
    scene = Scene(sky, boxes, parameters[:, X], parameters[:, Y], flux, run)
    scales, chi2 = np.zeros((n, 2)), np.full(n, np.nan)
    scales[~good] = np.nan
    moved, changed = np.zeros((2, n), dtype=np.uint8)
    pixels = sky.pixels(copied(sky.image, run))
    below = np.zeros((2, n))
    below[1] = sky.level_error()

    def visit(members: I8, places: Places) -> None:
        moved[members] = 0
        visit_scales(members, places, pixels, parameters, below, scales, chi2, moved)
        changed[scene.beside(members[moved[members] == 1])] = 1

    stale = np.asarray(boxes[:, 2] > 0)
    sweeps = 0
    while sweeps < MAX_SWEEPS and stale.any():
        scene.sweep(stale, changed, visit)
        sweeps += 1
        if sweeps == 1:
            _measure_sky(sky, pixels.residual, boxes, parameters, scales[:, 0], below, run)
            stale[:] = boxes[:, 2] > 0
    return Scaled(scales[:, 0], scales[:, 1], chi2, sweeps)


def _measure_sky(
    sky: Sky, residual: F4, boxes: I8, parameters: F8, scale: F8, below: F8, run: Run
) -> None:
    """Write level and error of the sky below sources, as where models are fitted, into `below`."""
    if sky.background is None:
        return
    drawn = parameters.copy()
    drawn[:, [SPHEROID, DISK, POINT]] *= np.nan_to_num(scale)[:, None]
    apart = np.zeros(len(boxes), dtype=np.bool_)
    found = levels_below(sky, residual, boxes, apart, False, drawn, run)
    if found is not None:
        below[0], below[1] = found.level - found.wings, np.hypot(found.error, found.wings)
