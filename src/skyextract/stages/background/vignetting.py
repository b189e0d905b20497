"""A sky that falls or rises from the middle to all corners: no flat, or one of too much.

Vignetting dims the stars as it dims the sky, so that the sky tells by how much.  The moon, twilight
and a nebula make a slope, or a hump of their own form, but no bowl about the middle of the frame.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import robust_sigma

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, Bools
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
AS_MULTIPLIED = (1.6, 2.6)
"""Powers of the level with which the variance rises where pixels were multiplied."""
MIN_PIXELS = 500
"""Of a mesh that tell its noise."""
MIN_MESHES = 5
"""Meshes along each axis."""
_TURNS, _CLIP = 3, 4.0


def sky_of_corners(
    background: BackgroundMap, subtracted: F4, bad: Bools, largest: int = 0
) -> tuple[float, float]:
    """Return the part of the sky that the corners lack, and that by which they have too much.

    A surface with a slope and terms of r^2 and r^4 about the middle is fitted to the meshes.

    Parameters
    ----------
    background : BackgroundMap
    subtracted : (ny, nx) float32
        The image less that.
    bad : (ny, nx) bool
    largest : int
        Pixels of the largest source.

    Returns
    -------
    missing : float
        Part of the sky of the middle that is missing in the corners; 0 if it is not so.
    excess : float
        Part by which pixels of the corners were multiplied too much; 0 if they were not.
    """
    part = _part_of_corners(background, largest)
    # The surface may end below zero, where a round field does.
    missing = min(max(part, 0.0), 1.0)
    return missing, _too_much(background, subtracted, bad, -part)


def _too_much(background: BackgroundMap, subtracted: F4, bad: Bools, part: float) -> float:
    """Return the part by which corners are brighter, if their pixels were multiplied; else 0.

    A sky that is brighter there has the noise of its light, whose variance goes with the level;
    of pixels that were multiplied it goes with the square.
    """
    if not part > 0.0:
        return 0.0
    levels, variances = [], []
    for j, rows in enumerate(_slices(background.shape[0], background.level.shape[0])):
        for i, columns in enumerate(_slices(background.shape[1], background.level.shape[1])):
            pixels, good = subtracted[rows, columns], ~bad[rows, columns]
            # Of neighbours, which a slope of the sky hardly moves.
            both = good[:, 1:] & good[:, :-1]
            difference = np.diff(pixels, axis=1)[both].astype(np.float64)
            if background.level[j, i] > 0.0 and difference.size > MIN_PIXELS:
                levels.append(math.log(background.level[j, i]))
                variances.append(2.0 * math.log(max(robust_sigma(difference), 1e-30)))
    if not levels:
        return 0.0
    level = np.array(levels)
    level -= level.mean()
    power = float(level @ variances) / float(level @ level)
    return part if AS_MULTIPLIED[0] < power < AS_MULTIPLIED[1] else 0.0


def _slices(size: int, n: int) -> list[slice]:
    """Return at most 64 rows, or columns, of each mesh."""
    edges = np.linspace(0, size, n + 1).astype(np.int64)
    return [slice(int(low), min(int(high), int(low) + 64)) for low, high in pairwise(edges)]


def _part_of_corners(background: BackgroundMap, largest: int) -> float:
    """Return the part of the sky that corners lack, or have more if negative; 0 if not all do."""
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
    whole = float(lacks.mean())
    halfway = middle - float(np.mean((_terms(*0.5 * signs) @ solved)[1:]))
    part = whole / middle if middle > 0.0 and whole else 0.0
    if not abs(part) > TOLD or halfway / whole > INNER or (lacks / whole).min() < ALIKE:
        return 0.0
    scatter = math.sqrt(float(np.mean(off**2)))
    return float(part) if scatter < SMOOTH * abs(whole) else 0.0


def about_vignetting(missing: float) -> str:
    """Return what is to be said of that, in one line; empty if nothing is missing."""
    message = ""
    if missing:
        message = (
            f"the sky falls by {missing:.0%} from the middle to all corners, as where no flat was "
            "applied: stars lack as much there"
        )
    return message


def about_flat(excess: float) -> str:
    """Return what is to be said of pixels that were multiplied; empty if they were not."""
    message = ""
    if excess:
        message = (
            f"the sky rises by {excess:.0%} from the middle to all corners, and its noise as if "
            "pixels were multiplied: a flat field that corrects too much (stars are as much too "
            "bright there), or light between the lenses?"
        )
    return message


def _terms(u: F8, v: F8) -> F8:
    r2 = u * u + v * v
    return np.stack([np.ones_like(u), u, v, r2, r2 * r2], axis=-1)
