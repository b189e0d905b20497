"""A sky that is steep within its meshes: taken off as a smooth surface before they are measured.

Vignetting, twilight and the moon make the sky of one mesh span many times its noise.  The mode of
such pixels is uncertain by a good part of that span, their scatter is not that of the noise, and
the median of neighbouring meshes moves those at the edges of the frame.  A surface of second degree
through the meshes has most of it; what is left is measured as any other sky.
"""

from __future__ import annotations

import math

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.noise import robust_sigma
from skyextract.kernels.background.mesh import BAD

STEEP = 0.25
"""Part of the scatter in a mesh that its slope makes, from which the surface is taken off."""
MIN_MESHES = 4
"""Meshes along an axis that it bends over; two give a straight line."""
SMOOTH = 0.15
"""Scatter of the meshes about the surface, in units of its own: a sky has below 0.1, the light of
large sources, and steps between amplifiers, above 0.2."""
PER_TERM = 2
"""Meshes per coefficient, at least."""
CLIP = 3.0
_ROUNDS = 6


def steep_trend(level: F4, rms: F4) -> F4 | None:
    """Return the surface of second degree through the meshes; None if it is not steep.

    Parameters
    ----------
    level, rms : (n_y, n_x) float32
        Of the meshes, `BAD` where they are not known.
    """
    known = (level > BAD) & (rms > BAD)
    if not known.any():
        return None
    v, u = (np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1) for n in level.shape)
    terms = _terms(*np.broadcast_arrays(v[:, None], u[None, :]))
    if known.sum() < PER_TERM * terms.shape[-1]:
        return None
    design, values = terms[known], level[known].astype(np.float64)
    weight = np.ones(len(values))
    for _ in range(_ROUNDS):
        # Terms of second degree on (-1, 1) are far from dependent: normal equations will do.
        weighted = (design * weight[:, None]).T
        solved = np.linalg.lstsq(weighted @ design, weighted @ values, rcond=None)[0]
        off = values - design @ solved
        limit = CLIP * robust_sigma(off)
        weight = 1.0 / (1.0 + (off / limit) ** 2) if limit > 0.0 else weight
    trend: F8 = terms @ solved
    slopes = [np.mean(np.diff(trend, axis=axis) ** 2) for axis in (0, 1) if level.shape[axis] > 1]
    if math.sqrt(sum(slopes) / 12.0) < STEEP * float(np.median(rms[known])):
        return None
    if robust_sigma(off) > SMOOTH * float(np.std(trend[known])):
        return None
    return trend.astype(np.float32)


def _terms(v: F8, u: F8) -> F8:
    """Return the terms that so many meshes along the axes can tell, (n_y, n_x, n)."""
    columns = [np.ones_like(u)]
    for axis, values in enumerate((v, u)):
        if values.shape[axis] > 1:
            columns.append(values)
        if values.shape[axis] >= MIN_MESHES:
            columns.append(values**2)
    if min(u.shape) > 1:
        columns.append(u * v)
    return np.stack(columns, axis=-1)
