"""Errors of point sources that have several others within their fit regions.

The kernel of errors takes each neighbour's parameters out of a source's normal matrix as if the
neighbour had no others.  Of stars in the core of a cluster that takes too much, and no matrix is
left; for these the normal equations of the whole group are solved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8, I8
from skyextract.kernels.psf.fit import FROZEN
from skyextract.kernels.psf.groups import first_covariance
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.stages.psf.sweeps import FittedSources, PointFit

MAX_GROUP = 12
"""The nearest so many neighbours are in a group."""
STEP = 0.05
"""Pixels over which slopes of the PSF are taken."""
MAX_CONDITION = 1e10
"""Of a normal matrix, whose diagonal is 1: beyond it the sources cannot be told apart."""


def group_covariances(fit: PointFit, sources: FittedSources, rows: I8) -> F8:
    """Return the covariance of flux, x, y of some sources, fitted with all of their neighbours.

    Parameters
    ----------
    fit : PointFit
        With the residual of the fit.
    sources : FittedSources
    rows : (k,) int64

    Returns
    -------
    (k, 3, 3) float64
        NaN where sources cannot be told apart, and of positions that were not fitted.
    """
    x, y = sources.parameters[:, 1:].T
    fitted = np.flatnonzero(sources.reach >= 0)
    fitted = fitted[np.argsort(y[fitted], kind="stable")]
    reach = 2.0 * sources.radius.max(initial=0.0)
    first, past = np.searchsorted(y[fitted], (y[rows] - reach, y[rows] + reach))
    out = np.full((rows.size, 3, 3), np.nan)
    for k, row in enumerate(rows):
        near = fitted[first[k] : past[k]]
        distance = np.hypot(x[near] - x[row], y[near] - y[row])
        far = sources.radius[row] + sources.radius[near]
        near = near[np.lexsort((near != row, distance))][: (distance < far).sum()][: MAX_GROUP + 1]
        if near.size and near[0] == row:
            out[k] = _covariance_of_first(fit, sources, near)
    return out


def _covariance_of_first(fit: PointFit, sources: FittedSources, group: I8) -> F8:
    """Return the covariance of flux, x, y of the first source of a group."""
    out = np.full((3, 3), np.nan)
    flux, x, y = sources.parameters[group].T
    half = math.ceil(2.0 * sources.radius[group].max() + sources.radius[group[0]])
    middle = np.rint([y[0], x[0]]).astype(np.int64)
    offset = np.arange(-half, half + 1)
    rows, columns = middle[0] + offset, middle[1] + offset
    planes = fit.planes
    ny, nx = planes.image.shape
    inside = ((rows >= 0) & (rows < ny))[:, None] & ((columns >= 0) & (columns < nx))
    there = np.ix_(np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1))
    variance, residual = planes.variance[there], planes.residual[there]
    used = inside & (variance > 0.0) & (variance < MAX_VARIANCE) & np.isfinite(residual)
    used &= (planes.mask[there] & np.uint16(planes.bad)) == 0
    square = (columns - x[:, None, None]) ** 2 + (rows[:, None] - y[:, None, None]) ** 2
    used &= (square <= sources.radius[group, None, None] ** 2).any(axis=0)
    if not used.any():
        return out
    light = np.maximum(planes.image[there] - residual, 0.0)[used].astype(np.float64)
    noise, trusted = (variance[used] + light * gain for gain in planes.inverse_gains)
    terms = _terms(fit, flux, x, y, middle, 2 * half + 1)[:, :, used]
    moves = (sources.status[group] & FROZEN) == 0
    wanted = np.column_stack([np.ones_like(moves), moves, moves]).ravel()
    design = terms.reshape(-1, noise.size)[wanted]
    n_wanted = 3 if moves[0] else 1
    found = np.empty((n_wanted, n_wanted))
    if first_covariance(design, trusted, noise, n_wanted, MAX_CONDITION, found):
        out[:n_wanted, :n_wanted] = found
    return out


def _terms(fit: PointFit, flux: F8, x: F8, y: F8, middle: I8, side: int) -> F8:
    """Return derivatives of the models of sources to flux, x and y, (n, 3, side, side)."""
    dx, dy = x - middle[1], y - middle[0]
    centre, right, up = (
        fit.psf.stamps(x, y, dx + STEP * a, dy + STEP * b, side).astype(np.float64)
        for a, b in ((0, 0), (1, 0), (0, 1))
    )
    slope = flux[:, None, None] / STEP
    return np.stack([centre, slope * (right - centre), slope * (up - centre)], axis=1)
