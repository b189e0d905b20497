"""A sky that bends within its meshes: nodes that are closer than these, for its smooth surface.

A natural spline has no curvature at its ends, and so none in the outer half of the meshes at the
edges of the frame; SExtractor's is damped everywhere.  On a twilight sky that is up to twice the
noise of a pixel.  With nodes twice as close, and placed such that the spline through them is the
surface at the pixels, an eighth of that is left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.background import BackgroundMap
from skyextract.run import Run
from skyextract.stages.background.interpolate import background_image
from skyextract.stages.background.trend import Trend

BENT = 0.25
"""Second difference between meshes, in units of the noise, from which nodes are closer: the spline
is off by a third of it at the edge."""
CLOSER = 2
"""Nodes per mesh along an axis."""
SMALLEST = 32
"""Pixels on a side of a mesh that is parted, at least."""


def surface_of(trend: Trend, coarse: BackgroundMap, run: Run) -> BackgroundMap:
    """Return the surface as a map, of closer nodes where it bends within the meshes."""
    width, height = coarse.mesh_width, coarse.mesh_height
    can = min(width, height) >= SMALLEST and width % CLOSER == 0 and height % CLOSER == 0
    if trend.bend < BENT or not can:
        return replace(coarse, level=trend.level)
    ny, nx = coarse.shape
    y = _nodes(ny, height, trend.level.shape[0], run)
    x = _nodes(nx, width, trend.level.shape[1], run)
    fine = with_nodes_of(coarse, (height // CLOSER, width // CLOSER))
    return replace(fine, level=trend.at_nodes(y, x))


def with_nodes_of(background: BackgroundMap, mesh: tuple[int, int]) -> BackgroundMap:
    """Return the background with nodes in the middle of meshes of height and width `mesh`."""
    own = background.mesh_height, background.mesh_width
    if mesh == own:
        return background
    level, rms = background.level, background.rms
    for axis in (0, 1):
        n = -(-background.shape[axis] // mesh[axis])
        place = (np.arange(n) + 0.5) * mesh[axis] / own[axis] - 0.5
        level = _along(level, place, axis)
        rms = _along(rms, np.clip(place, 0.0, rms.shape[axis] - 1.0), axis)
    return replace(background, level=level, rms=rms, mesh_height=mesh[0], mesh_width=mesh[1])


def _along(nodes: F4, place: F8, axis: int) -> F4:
    """Return nodes at places between them along an axis, on straight lines."""
    n = nodes.shape[axis]
    low = np.clip(np.floor(place).astype(np.int64), 0, max(n - 2, 0))
    part = np.expand_dims(place - low, 1 - axis) if n > 1 else np.float64(0.0)
    lower, upper = (np.take(nodes, k, axis) for k in (low, np.minimum(low + 1, n - 1)))
    between: F4 = (lower + part * (upper - lower)).astype(np.float32)
    return between


def _nodes(size: int, mesh: int, n: int, run: Run) -> tuple[F8, F8, F8]:
    """Return nodes whose spline is 1, t, t^2 at the pixels of an axis, by least squares.

    t is -1 and 1 in the middle of the first and of the last of n meshes.
    """
    step = mesh // CLOSER
    n_nodes = -(-size // step)
    basis = np.empty((size, n_nodes))
    for k in range(n_nodes):
        level = np.zeros((1, n_nodes), np.float32)
        level[0, k] = 1.0
        unit = BackgroundMap(level, np.ones_like(level), step, 1, (1, size), 0.0, 1.0)
        basis[:, k] = background_image(unit, run)[0]
    t = 2.0 * ((np.arange(size) + 0.5) / mesh - 0.5) / max(n - 1, 1) - 1.0
    powers = np.stack([np.ones(size), t, t * t], axis=1)
    one, first, second = np.linalg.lstsq(basis, powers, rcond=None)[0].T.astype(np.float64)
    return one, first, second
