"""The model of one source: a spheroid, a disk, a point and a level of the sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.render import N_PLANES, Grid, add_profile, ellipse
from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

X, Y, SPHEROID, DISK, POINT, SKY = 0, 1, 2, 7, 12, 13
N_PARAMETERS = 14
"""x, y; flux, ln rho, e1, e2, ln n of the spheroid and of the disk; flux of a point; sky."""
FLUX, RADIUS, E1, E2, INDEX = 0, 1, 2, 3, 4
"""From SPHEROID and from DISK on."""


class LocalPsf(NamedTuple):
    """The PSF at a source.

    Attributes
    ----------
    gaussians : (j, 6) float64
        As in `add_profile`.
    area : float
        Square root of the determinant of its second moments.
    misfit : (s, s) float64
        What the Gaussians leave of the PSF as measured, pixel by pixel.
    x, y : int
        First pixel of `misfit`.
    """

    gaussians: F8
    area: float
    misfit: F8
    x: int
    y: int


class Work(NamedTuple):
    """Arrays in which models are drawn and equations are solved, for the largest box."""

    mixture: F8
    shape: F8
    row: F8
    planes: F8
    model: F8
    jacobian: F8
    data: F8
    weight: F8
    own: F8
    gradient: F8
    hessian: F8
    lower: F8


@helper
def work_space(side: int, n_free: int) -> Work:
    """Return the arrays for boxes of `side` squares."""
    n = side * side
    return Work(
        np.empty((4, N_GAUSSIANS)),
        np.empty((4, 3)),
        np.empty(side),
        np.empty((N_PLANES, n)),
        np.empty(n),
        np.empty((n_free, n)),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty((4, N_PARAMETERS)),
        np.empty((2, N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)),
    )


@helper
def draw_source(
    parameters: F8, free: I8, psf: LocalPsf, grid: Grid, faintest: float, work: Work
) -> None:
    """Draw a source into `work.model`, its derivatives to the parameters `free` into `jacobian`.

    Of what the Gaussians leave of the PSF a profile has the share of its light that is not
    resolved.
    """
    model, jacobian, planes = work.model, work.jacobian, work.planes
    n, n_free = grid.n_x * grid.n_y, free.size
    for i in range(n):
        model[i] = parameters[SKY]
    for f in range(n_free):
        for i in range(n):
            jacobian[f, i] = 1.0 if free[f] == SKY else 0.0
    unresolved = parameters[POINT]
    for component in range(3):
        first = SPHEROID if component == 0 else DISK if component == 1 else POINT
        flux = parameters[first]
        wanted = flux != 0.0
        for f in range(n_free):
            wanted |= free[f] == first
        if not wanted:
            continue
        count, share = 1, 1.0
        if first == POINT:
            work.mixture[0, 0], work.mixture[1, 0] = 1.0, 0.0
            work.mixture[2, 0], work.mixture[3, 0] = 0.0, 0.0
            work.shape[:] = 0.0
        else:
            sersic_mixture(parameters[first + INDEX], work.mixture)
            radius = parameters[first + RADIUS]
            ellipse(radius, parameters[first + E1], parameters[first + E2], work.shape)
            count, share = N_GAUSSIANS, 0.0
            for k in range(count):
                area = work.mixture[1, k] * math.exp(2.0 * radius)
                share += work.mixture[0, k] * psf.area / (psf.area + area)
            unresolved += flux * share
        add_profile(
            work.mixture[:, :count], work.shape, psf.gaussians, parameters[X], parameters[Y],
            grid, faintest / max(abs(flux), 1e-30), n_free > 0, work.row, planes,
        )  # fmt: skip
        for i in range(n):
            model[i] += flux * planes[0, i]
        for f in range(n_free):
            own = free[f] - first
            if free[f] == X or free[f] == Y:
                p = 1 + free[f]
                for i in range(n):
                    jacobian[f, i] += flux * planes[p, i]
            elif own == FLUX:
                for i in range(n):
                    jacobian[f, i] = planes[0, i]
                _add_misfit(psf, grid, share, jacobian[f])
            elif first != POINT and RADIUS <= own <= INDEX:
                for i in range(n):
                    jacobian[f, i] = flux * planes[2 + own, i]
    _add_misfit(psf, grid, unresolved, model)


@helper
def _add_misfit(psf: LocalPsf, grid: Grid, flux: float, out: F8) -> None:
    """Add `flux` times the misfit of the PSF to the points of a grid."""
    step = grid.step
    size = psf.misfit.shape[0]
    x_low, y_low = grid.x - psf.x, grid.y - psf.y
    flux /= step * step
    for y in range(max(0, y_low), min(size, y_low + grid.n_y * step)):
        start = (y - y_low) // step * grid.n_x
        for x in range(max(0, x_low), min(size, x_low + grid.n_x * step)):
            out[start + (x - x_low) // step] += flux * psf.misfit[y, x]


@helper
def psf_at(gaussians: F8, stamp: F8, x: float, y: float, left: int, bottom: int) -> LocalPsf:
    """Return the PSF at a source: its Gaussians, and what they leave of a stamp of the PSF.

    `left` and `bottom` are the first pixel of the stamp, which is centred on (x, y).
    """
    size = stamp.shape[0]
    point = np.array([[1.0], [0.0], [0.0], [0.0]])
    planes = np.empty((1, size * size))
    grid = Grid(left, bottom, 1, size, size)
    none = np.zeros((4, 3))
    add_profile(point, none, gaussians, x, y, grid, 1e-9, False, np.empty(size), planes)
    misfit = np.empty((size, size))
    for j in range(size):
        for i in range(size):
            misfit[j, i] = stamp[j, i] - planes[0, j * size + i]
    xx = 0.0
    xy = 0.0
    yy = 0.0
    for j in range(gaussians.shape[0]):
        weight, dx, dy = gaussians[j, 0], gaussians[j, 1], gaussians[j, 2]
        xx += weight * (gaussians[j, 3] + dx * dx)
        xy += weight * (gaussians[j, 4] + dx * dy)
        yy += weight * (gaussians[j, 5] + dy * dy)
    return LocalPsf(gaussians, math.sqrt(max(xx * yy - xy * xy, 0.01)), misfit, left, bottom)
