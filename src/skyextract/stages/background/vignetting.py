"""A sky that falls from the middle to all corners: a frame that no flat has corrected.

Vignetting dims the stars as it dims the sky, so that the sky tells by how much.  The moon, twilight
and a nebula make a slope, or a hump of their own form, but no bowl about the middle of the frame.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import robust_sigma

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.datamodel.background import BackgroundMap

TOLD, DOUBTED = 0.1, 0.2
"""Part of the sky in the middle that is missing in the corners, from which it is told, and from
which the fluxes are doubtful."""
ALIKE = 0.6
"""Each corner lacks this part of what all lack in the mean."""
SMOOTH = 0.08
"""Scatter of the meshes about the surface, over what the corners lack, at most: a galaxy is steeper
in its middle."""
INNER = 0.45
"""Part of what the corners lack that is missing halfway to them, at most: vignetting begins slowly
(a quarter with r^2), and the light of a comet or a galaxy falls steeply."""
HUGE = 0.015
"""Part of the frame that one source covers, from which the hump may be its light."""
SKY = 10.0
"""Sky in units of its noise, at least: less may be what a subtraction has left."""
MIN_MESHES = 5
"""Meshes along each axis."""
_TURNS, _CLIP = 3, 4.0


def missing_in_corners(background: BackgroundMap, largest: int = 0) -> float:
    """Return the part of the sky of the middle that is missing in the corners; 0 if it is not so.

    A surface with a slope and terms of r^2 and r^4 about the middle is fitted to the meshes.

    Parameters
    ----------
    background : BackgroundMap
    largest : int
        Pixels of the largest source.
    """
    if largest > HUGE * math.prod(background.shape):
        return 0.0
    level = background.level.astype(np.float64)
    if min(level.shape) < MIN_MESHES or not background.mean > SKY * background.sigma > 0.0:
        return 0.0
    y, x = (
        ((np.arange(n) + 0.5) * size - 0.5 * whole) / (0.5 * whole)
        for n, size, whole in zip(
            level.shape,
            (background.mesh_height, background.mesh_width),
            background.shape,
            strict=True,
        )
    )
    v, u = (plane.ravel() for plane in np.meshgrid(y, x, indexing="ij"))
    values, terms = level.ravel(), _terms(u, v)
    keep = np.isfinite(values)
    for _ in range(_TURNS):
        solved = np.linalg.lstsq(terms[keep], values[keep], rcond=None)[0]
        off = values - terms @ solved
        keep = np.abs(off) < _CLIP * max(robust_sigma(off[keep]), 1e-6 * background.mean)
    signs = np.array([[0, -1, -1, 1, 1], [0, -1, 1, -1, 1]], np.float64)
    middle, *corners = _terms(*signs) @ solved
    lacks = middle - np.array(corners)
    halfway = middle - float(np.mean((_terms(*0.5 * signs) @ solved)[1:]))
    if halfway > INNER * float(lacks.mean()):
        return 0.0
    part = float(lacks.mean() / middle) if middle > 0.0 else 0.0
    scatter = math.sqrt(float(np.mean(off**2)))
    if not part > TOLD or lacks.min() < ALIKE * lacks.mean():
        return 0.0
    return part if scatter < SMOOTH * float(lacks.mean()) else 0.0


def about_vignetting(missing: float) -> str:
    """Return what is to be said of that, in one line; empty if nothing is missing."""
    message = ""
    if missing:
        message = (
            f"the sky falls by {missing:.0%} from the middle to all corners, as where no flat was "
            "applied: stars lack as much there"
        )
    return message


def _terms(u: F8, v: F8) -> F8:
    r2 = u * u + v * v
    return np.stack([np.ones_like(u), u, v, r2, r2 * r2], axis=-1)
