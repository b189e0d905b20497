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
from skyextract.datamodel.noise import median, robust_sigma
from skyextract.kernels.background.mesh import BAD
from skyextract.record import record

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


@record
class Trend:
    """A surface of second degree.

    Attributes
    ----------
    level : (n_y, n_x) float32
        At the meshes.
    coefficients : (n_terms,) float64
        Of `_terms`, where the middles of the first and last mesh are at -1 and 1.
    bend : float
        Typical largest second difference between meshes along an axis, in units of the noise.
    """

    level: F4
    coefficients: F8
    bend: float

    def at_nodes(self, y: tuple[F8, F8, F8], x: tuple[F8, F8, F8]) -> F4:
        """Return the values of nodes, for which those of 1, v, v^2 and of 1, u, u^2 are known."""
        powers = _powers(*self.level.shape)
        parts = [np.multiply.outer(y[j], x[i]) for j, i in powers]
        total: F8 = np.tensordot(self.coefficients, np.stack(parts), 1)
        return total.astype(np.float32)


def steep_trend(level: F4, rms: F4) -> Trend | None:
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
    if math.sqrt(sum(slopes) / 12.0) < STEEP * median(rms[known]):
        return None
    if robust_sigma(off) > SMOOTH * float(np.std(trend[known])):
        return None
    bends = [
        abs(c) * 2.0 * (2.0 / (level.shape[0 if j else 1] - 1)) ** 2
        for c, (j, i) in zip(solved, _powers(*level.shape), strict=True)
        if 2 in {j, i}
    ]
    bend = max(bends, default=0.0) / max(median(rms[known]), 1e-30)
    return Trend(trend.astype(np.float32), solved.astype(np.float64), bend)


def _powers(n_y: int, n_x: int) -> list[tuple[int, int]]:
    """Return the powers of v and u of the terms that so many meshes along the axes can tell."""
    powers = [(0, 0)]
    for axis, n in enumerate((n_y, n_x)):
        highest = 2 if n >= MIN_MESHES else min(n - 1, 1)
        powers += [(k, 0) if axis == 0 else (0, k) for k in range(1, highest + 1)]
    return [*powers, (1, 1)] if min(n_y, n_x) > 1 else powers


def _terms(v: F8, u: F8) -> F8:
    """Return the terms that so many meshes along the axes can tell, (n_y, n_x, n)."""
    return np.stack([v**j * u**i for j, i in _powers(*u.shape)], axis=-1)
