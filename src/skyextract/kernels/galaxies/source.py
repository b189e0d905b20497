"""The model of one source: a spheroid, a disk, a point and a level of the sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.render import (
    MAX_COLUMNS,
    N_PLANES,
    N_TERMS,
    SPARE,
    Grid,
    Sums,
    add_profile,
    ellipse,
)
from skyextract.kernels.galaxies.sersic import (
    N_GAUSSIANS,
    group_gaussians,
    merge_gaussians,
    sersic_mixture,
)
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

X, Y, SPHEROID, DISK, POINT, SKY = 0, 1, 2, 7, 12, 13
N_PARAMETERS = 14
"""x, y; flux, ln rho, e1, e2, ln n of the spheroid and of the disk; flux of a point; sky."""
FLUX, RADIUS, E1, E2, INDEX = 0, 1, 2, 3, 4
"""From SPHEROID and from DISK on."""

MERGED = 12.0
"""Gaussians are merged where that changes the light by less than this times what is left out."""
MERGED_PEAK = 5e-4
"""Or by less than this part of the peak."""


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
    ends: I8
    shape: F8
    sums: Sums
    planes: F8
    model: F8
    jacobian: F8
    data: F8
    weight: F8
    own: F8
    gradient: F8
    hessian: F8
    lower: F8
    curvature: F8


@helper
def _sums_of(side: int, n_psf: int) -> Sums:
    return Sums(
        np.empty((N_GAUSSIANS * n_psf, N_TERMS)),
        np.empty(2 * N_GAUSSIANS * n_psf * (side + SPARE)),
        np.empty(side + SPARE),
        np.empty(N_PLANES * MAX_COLUMNS),
    )


@helper
def work_space(side: int, n_free: int, n_psf: int) -> Work:
    """Return the arrays for boxes of `side` squares, and PSFs of `n_psf` Gaussians."""
    n = side * side
    return Work(
        np.empty((4, N_GAUSSIANS)),
        np.empty((2, N_GAUSSIANS), np.int64),
        np.empty((4, 3)),
        _sums_of(side, n_psf),
        np.empty((N_PLANES, n)),
        np.empty(n),
        np.empty((n_free, n)),
        np.empty(n),
        np.empty(n),
        np.empty(n),
        np.empty((4, N_PARAMETERS)),
        np.empty((2, N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)),
    )


@helper
def choose_groups(parameters: F8, psf: LocalPsf, faintest: float, work: Work) -> None:
    """Choose which Gaussians of the profiles of a source are drawn as one, in ``work.ends``.

    `faintest` is the light per pixel that is left out of each Gaussian.
    """
    total = abs(parameters[SPHEROID]) + abs(parameters[DISK]) + abs(parameters[POINT])
    peak = 0.0
    for j in range(psf.gaussians.shape[0]):
        xx, xy, yy = psf.gaussians[j, 3], psf.gaussians[j, 4], psf.gaussians[j, 5]
        peak += psf.gaussians[j, 0] / (2.0 * math.pi * math.sqrt(xx * yy - xy * xy))
    for component in range(2):
        first = SPHEROID if component == 0 else DISK
        if parameters[first] == 0.0:
            work.ends[component] = np.arange(1, N_GAUSSIANS + 1)
            continue
        rho2 = math.exp(2.0 * parameters[first + RADIUS])
        stretch = math.exp(2.0 * math.hypot(parameters[first + E1], parameters[first + E2]))
        most = MERGED_PEAK / (2.0 * math.pi * rho2 + 1.0 / max(peak, 1e-30))
        sersic_mixture(parameters[first + INDEX], work.mixture)
        group_gaussians(
            work.mixture, rho2 * stretch, rho2 / stretch, psf.gaussians,
            max(most, MERGED * faintest / max(total, 1e-30)), work.ends[component],
        )  # fmt: skip


@helper
def draw_source(
    parameters: F8, free: I8, psf: LocalPsf, grid: Grid, faintest: float, work: Work
) -> None:
    """Draw a source into `work.model`, its derivatives to the parameters `free` into `jacobian`.

    Gaussians are merged as ``work.ends`` says, see `choose_groups`.
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
    total = abs(parameters[SPHEROID]) + abs(parameters[DISK]) + abs(parameters[POINT])
    for component in range(3):
        first = SPHEROID if component == 0 else DISK if component == 1 else POINT
        flux = parameters[first]
        wanted = flux != 0.0
        for f in range(n_free):
            wanted |= free[f] == first
        if not wanted:
            continue
        # the share of the light that is not resolved, and its derivatives to ln rho and ln n
        count, share, by_radius, by_index = 1, 1.0, 0.0, 0.0
        if first == POINT:
            work.mixture[0, 0], work.mixture[1, 0] = 1.0, 0.0
            work.mixture[2, 0], work.mixture[3, 0] = 0.0, 0.0
            work.shape[:] = 0.0
        else:
            sersic_mixture(parameters[first + INDEX], work.mixture)
            radius = parameters[first + RADIUS]
            ellipse(radius, parameters[first + E1], parameters[first + E2], work.shape)
            count, share = merge_gaussians(work.mixture, work.ends[component]), 0.0
            for k in range(count):
                area = work.mixture[1, k] * math.exp(2.0 * radius)
                part = psf.area / (psf.area + area)
                own_share, turn = work.mixture[0, k] * part, 1.0 - part
                share += own_share
                by_radius -= 2.0 * own_share * turn
                by_index += own_share * (work.mixture[2, k] - turn * work.mixture[3, k])
            unresolved += flux * share
        add_profile(
            work.mixture[:, :count], work.shape, psf.gaussians, parameters[X], parameters[Y],
            grid, faintest / max(total, 1e-30), n_free > 0, work.sums, planes,
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
                if own == RADIUS:
                    _add_misfit(psf, grid, flux * by_radius, jacobian[f])
                elif own == INDEX:
                    _add_misfit(psf, grid, flux * by_index, jacobian[f])
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
    sums = _sums_of(size, gaussians.shape[0])
    add_profile(point, none, gaussians, x, y, grid, 1e-9, False, sums, planes)
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
