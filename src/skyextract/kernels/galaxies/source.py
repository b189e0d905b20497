"""The model of one source: a spheroid, a disk, a point and a level of the sky."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.convolution import (
    WIDTH,
    convolve,
    convolve_point,
    group_gaussians,
)
from skyextract.kernels.galaxies.localpsf import LocalPsf
from skyextract.kernels.galaxies.points import (
    N_PARTS,
    PART,
    START,
    average_squares,
    part_of,
    points_in,
)
from skyextract.kernels.galaxies.render import (
    SIDE,
    SPAN,
    SPARE,
    STRIDE,
    Grid,
    Sums,
    add_values,
    draw_slopes,
    ellipse,
    sums_of,
    window_of,
)
from skyextract.kernels.galaxies.sersic import N_GAUSSIANS, sersic_mixture
from skyextract.kernels.jit import helper

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8

X, Y, SPHEROID, DISK, POINT, SKY = 0, 1, 2, 7, 12, 13
N_PARAMETERS = 14
"""x, y; flux, ln rho, e1, e2, ln n of the spheroid and of the disk; flux of a point; sky."""
FLUX, RADIUS, E1, E2, INDEX = 0, 1, 2, 3, 4
"""From SPHEROID and from DISK on."""

MERGED = 40.0
"""Gaussians are merged where that changes the light by less than this times what is left out."""
MERGED_PEAK = 1e-3
"""Or by less than this part of the peak."""


class Work(NamedTuple):
    """Arrays in which models are drawn and equations are solved.

    Attributes
    ----------
    mixture : (4, N_GAUSSIANS) float64
        Of the profile of a component.
    split : (2,) int64
    ends : (2, j + 1, N_GAUSSIANS) int64
        Groups of the Gaussians of each component, from `group_gaussians`.
    terms : (j * N_GAUSSIANS * WIDTH,) float64
        Gaussians that a component is drawn with.
    shape : (4, 3) float64
        As `ellipse` writes it.
    parts : (N_PARTS, PART) int64
        The points, as `arrange_points` writes them.
    pixels, values, noise, good : (n,) float32
        At each pixel of the box: a model without sky; the residual, its variance and 1 where the
        pixel is good, else 0.
    model, data, weight, own, cover, misfit : (m,) float32
        At the points: model; pixels and their inverse variance; a model from before; the pixels
        that a point stands for; what is left of the PSF.
    jacobian : (k, m) float32
        Derivatives of the model to the free parameters.
    left, slope : (m,) float32
    drawn : (N_PARAMETERS,) float64
        What `model` and `jacobian` were drawn with.
    """

    mixture: F8
    split: I8
    ends: I8
    terms: F8
    shape: F8
    sums: Sums
    parts: I8
    pixels: F4
    values: F4
    noise: F4
    good: F4
    model: F4
    jacobian: F4
    data: F4
    weight: F4
    own: F4
    cover: F4
    misfit: F4
    left: F4
    slope: F4
    gradient: F8
    hessian: F8
    lower: F8
    curvature: F8
    drawn: F8


@helper
def work_space(side: int, points: int, n_free: int, n_psf: int, stamp: int) -> Work:
    """Return the arrays for boxes of up to `side` pixels, and fits to up to so many points.

    `n_psf` is the number of Gaussians of a PSF, `stamp` the side of its image.
    """
    n = points + SPARE
    return Work(
        np.empty((4, N_GAUSSIANS)),
        np.empty(2, np.int64),
        np.empty((2, n_psf + 1, N_GAUSSIANS), np.int64),
        np.empty(n_psf * N_GAUSSIANS * WIDTH),
        np.empty((4, 3)),
        sums_of(max(side, stamp)),
        np.zeros((N_PARTS, PART), np.int64),
        np.empty(side * side + SPARE, np.float32),
        np.empty(side * side, np.float32),
        np.empty(side * side, np.float32),
        np.empty(side * side, np.float32),
        np.empty(n, np.float32),
        np.empty((n_free, n), np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty((5, N_PARAMETERS)),
        np.empty((2, N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)),
        np.empty((N_PARAMETERS, N_PARAMETERS)),
        np.empty(N_PARAMETERS),
    )


@helper
def choose_groups(parameters: F8, free: I8, psf: LocalPsf, faintest: float, work: Work) -> None:
    """Choose which Gaussians of the profiles of a source are drawn as one.

    `faintest` is the light per pixel that is left out of each Gaussian; components without light
    are drawn if that is among the `free` parameters.
    """
    total, peak = _total(parameters), 0.0
    for j in range(psf.gaussians.shape[0] - 1):
        xx, xy, yy = psf.gaussians[j, 3], psf.gaussians[j, 4], psf.gaussians[j, 5]
        peak += psf.gaussians[j, 0] / (2.0 * math.pi * math.sqrt(xx * yy - xy * xy))
    for component in range(2):
        first = SPHEROID if component == 0 else DISK
        if not _is_drawn(parameters, free, first):
            continue
        rho2 = math.exp(2.0 * parameters[first + RADIUS])
        most = MERGED_PEAK / (2.0 * math.pi * rho2 + 1.0 / max(peak, 1e-30))
        sersic_mixture(parameters[first + INDEX], work.mixture)
        ellipse(
            parameters[first + RADIUS], parameters[first + E1], parameters[first + E2], work.shape
        )
        work.split[component] = group_gaussians(
            work.mixture, work.shape[0], psf.gaussians,
            max(most, MERGED * faintest / total), work.ends[component],
        )  # fmt: skip


@helper
def _is_drawn(parameters: F8, free: I8, first: int) -> bool:
    """Tell whether a component has light, or may have."""
    drawn: bool = parameters[first] != 0.0
    for f in range(free.size):
        drawn |= free[f] == first
    return drawn


@helper
def _total(parameters: F8) -> float:
    """Return the light of all components, at least a little."""
    total: float = abs(parameters[SPHEROID]) + abs(parameters[DISK]) + abs(parameters[POINT])
    return max(total, 1e-30)


@helper
def _set_profile(
    parameters: F8, component: int, psf: LocalPsf, work: Work
) -> tuple[int, float, float, float]:
    """Write ``work.terms`` and ``shape`` of a component, Gaussians grouped as was chosen.

    Returns
    -------
    Number of Gaussians; the share of the light that is not resolved, and its derivatives to ln rho
    and ln n.
    """
    if component == 2:
        work.shape[:] = 0.0
        return convolve_point(psf.gaussians, work.terms), 1.0, 0.0, 0.0
    first, mixture = SPHEROID if component == 0 else DISK, work.mixture
    sersic_mixture(parameters[first + INDEX], mixture)
    radius = parameters[first + RADIUS]
    ellipse(radius, parameters[first + E1], parameters[first + E2], work.shape)
    share, by_radius, by_index = 0.0, 0.0, 0.0
    rho2 = math.exp(2.0 * radius)
    for k in range(N_GAUSSIANS):
        part = psf.area / (psf.area + mixture[1, k] * rho2)
        own_share, turn = mixture[0, k] * part, 1.0 - part
        share += own_share
        by_radius -= 2.0 * own_share * turn
        by_index += own_share * (mixture[2, k] - turn * mixture[3, k])
    count = convolve(
        mixture, psf.gaussians, work.split[component], work.ends[component], work.terms
    )
    return count, share, by_radius, by_index


@helper
def draw_pixels(parameters: F8, psf: LocalPsf, grid: Grid, faintest: float, work: Work) -> None:
    """Draw a source, without its sky, at each pixel of a grid into ``work.pixels``.

    Of what the Gaussians leave of the PSF a profile has the share of its light that is not
    resolved.
    """
    n, out = grid.n_x * grid.n_y, work.pixels
    for i in range(n):
        out[i] = 0.0
    unresolved, total = 0.0, _total(parameters)
    for component in range(3):
        flux = parameters[SPHEROID if component == 0 else DISK if component == 1 else POINT]
        if flux == 0.0:
            continue
        count, share, _, _ = _set_profile(parameters, component, psf, work)
        unresolved += flux * share
        add_values(
            work.terms, count, work.shape, parameters[X], parameters[Y], grid, flux,
            faintest / total, work.sums, out, 0,
        )  # fmt: skip
    _add_misfit(psf, grid, unresolved, out)


@helper
def _add_misfit(psf: LocalPsf, grid: Grid, factor: float, out: F4) -> None:
    """Add `factor` times what the Gaussians leave of the PSF at each pixel of a grid."""
    x_low, y_low = grid.x - psf.x, grid.y - psf.y
    left, right = max(0, x_low), min(psf.size, x_low + grid.n_x)
    part = np.float32(factor)
    for y in range(max(0, y_low), min(psf.size, y_low + grid.n_y)):
        to, at = (y - y_low) * grid.n_x - x_low, y * psf.size
        for x in range(left, right):
            out[np.uint64(to + x)] += part * psf.misfit[np.uint64(at + x)]


@helper
def draw_points(parameters: F8, free: I8, psf: LocalPsf, faintest: float, work: Work) -> None:
    """Draw a source at the points into ``work.model``, its derivatives into ``work.jacobian``.

    ``work.misfit`` is what the Gaussians leave of the PSF, see `spread_misfit`, if that is known.
    """
    model, jacobian = work.model, work.jacobian
    n, n_free = points_in(work.parts), free.size
    sky = np.float32(parameters[SKY])
    for i in range(n):
        model[i] = sky
    for f in range(n_free):
        level = np.float32(1.0 if free[f] == SKY else 0.0)
        for i in range(n):
            jacobian[f, i] = level
    unresolved, faint = parameters[POINT], faintest / _total(parameters)
    for component in range(3):
        first = SPHEROID if component == 0 else DISK if component == 1 else POINT
        flux = parameters[first]
        if not _is_drawn(parameters, free, first):
            continue
        count, share, by_radius, by_index = _set_profile(parameters, component, psf, work)
        if first != POINT:
            unresolved += flux * share
        for k in range(N_PARTS):
            grid = part_of(work.parts, k)
            for low in range(0, grid.n_y, SIDE):
                for left in range(0, grid.n_x, SIDE):
                    window = window_of(grid, left, low, SIDE, SIDE)
                    draw_slopes(
                        work.terms, count, work.shape, parameters[X], parameters[Y], window,
                        faint, work.sums,
                    )  # fmt: skip
                    start = work.parts[k, START] + low * grid.n_x + left
                    _take_planes(flux, first, free, window, start, grid.n_x, work)
        if psf.size == 0:
            continue
        for f in range(n_free):
            own = free[f] - first
            if own == FLUX:
                _add(share, work.misfit, n, jacobian[f])
            elif first != POINT and own == RADIUS:
                _add(flux * by_radius, work.misfit, n, jacobian[f])
            elif first != POINT and own == INDEX:
                _add(flux * by_index, work.misfit, n, jacobian[f])
    if psf.size > 0:
        _add(unresolved, work.misfit, n, model)


@helper
def _take_planes(
    flux: float, first: int, free: I8, window: Grid, start: int, columns: int, work: Work
) -> None:
    """Add a component that is drawn to model and derivatives, from point `start` on."""
    tile, jacobian, light = work.sums.tile, work.jacobian, np.float32(flux)
    _add_plane(tile, 0, light, window, work.model, start, columns)
    for f in range(free.size):
        own, plane, factor = free[f] - first, 0, light
        if free[f] == X or free[f] == Y:
            plane = 1 + free[f]
        elif own == FLUX:
            factor = np.float32(1.0)
        elif first != POINT and RADIUS <= own <= INDEX:
            plane = 2 + own
        else:
            continue
        _add_plane(tile, plane * SPAN, factor, window, jacobian[f], start, columns)


@helper
def _add_plane(
    tile: F4, plane: int, factor: np.float32, window: Grid, out: F4, start: int, columns: int
) -> None:
    for iy in range(window.n_y):
        to, at = np.uint64(start + iy * columns), np.uint64(plane + iy * STRIDE)
        for ix in range(window.n_x):
            i = np.uint64(ix)
            out[to + i] += factor * tile[at + i]


@helper
def _add(factor: float, values: F4, n: int, out: F4) -> None:
    """Add `factor` times some values."""
    part = np.float32(factor)
    for i in range(n):
        out[i] += part * values[i]


@helper
def follow_slopes(parameters: F8, free: I8, work: Work) -> None:
    """Bring ``work.model`` from ``work.drawn`` to parameters nearby, and take its sky away."""
    n = points_in(work.parts)
    for f in range(free.size):
        _add(parameters[free[f]] - work.drawn[free[f]], work.jacobian[f], n, work.model)
    sky = np.float32(parameters[SKY])
    for i in range(n):
        work.model[i] -= sky


@helper
def spread_misfit(psf: LocalPsf, grid: Grid, work: Work) -> None:
    """Write what the Gaussians leave of the PSF at the points, means of pixels, of unit flux.

    `grid` is that of the pixels of the box; ``work.values`` is written to.
    """
    for i in range(grid.n_x * grid.n_y):
        work.values[i] = 0.0
    _add_misfit(psf, grid, 1.0, work.values)
    average_squares(work.values, grid, work.parts, work.misfit)
