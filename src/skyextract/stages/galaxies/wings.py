"""What the wings of a galaxy add to the background that is measured about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.galaxies.source import INDEX, RADIUS
from skyextract.stages.galaxies.quantities import COMPONENTS, surface_brightness

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8

MAX_LIGHT = 0.03
"""In sigma of a pixel, about twice the error of the level of a mesh: meshes that have more light of
a source stand out, and the background leaves them out."""


def own_background(parameters: F8, mesh: float, noise: float) -> F8:
    """Return the light of each model that the background below it has.

    A mesh is filtered with those around it, so that the level below a galaxy is about that of its
    neighbours among the meshes: the light of the model, as a circle, at that distance.

    Parameters
    ----------
    parameters : (n, N_PARAMETERS) float64
        As `skyextract.kernels.galaxies.source` orders them.
    mesh : float
        Pixels of a mesh; 0: the background is known.
    noise : float
        Of the background of a pixel, image units.

    Returns
    -------
    (n,) float64
        Image units, 0 or more.
    """
    light = np.zeros(len(parameters))
    if mesh <= 0.0:
        return light
    for first in COMPONENTS.values():
        own = np.flatnonzero(parameters[:, first] > 0.0)
        p = parameters[own]
        peak, effective, _ = surface_brightness(p, first)
        distance = 0.5 * math.log(mesh) - p[:, first + RADIUS]
        with np.errstate(over="ignore", under="ignore"):
            steps = np.exp(distance * np.exp(-p[:, first + INDEX]))
            light[own] += peak * np.exp(steps * np.log(effective / peak))
    return np.minimum(light, MAX_LIGHT * noise)
