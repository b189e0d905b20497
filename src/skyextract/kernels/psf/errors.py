"""Errors of point-source fits, their chi2, and SPREAD_MODEL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.psf.fit import FROZEN
from skyextract.kernels.psf.matrix import NO_SUMS, add_cross, add_pixel, invert, store_sums
from skyextract.kernels.psf.model import PsfModel, local_model, render, term_totals
from skyextract.kernels.psf.records import (
    Fits,
    Planes,
    Positions,
    Tiles,
    is_good,
    photon_noise,
    pixels_within,
    scratch_for,
    tile_neighbours,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8
    from skyextract.kernels.psf.bspline import SplineGrid


SYSTEMATIC = 0.06
"""Error of models as a share of their light: a PSF that is 2 % too wide or too narrow leaves as
much of bright stars."""


class FitQuality(NamedTuple):
    """Results for n sources; NaN where there is none.

    Attributes
    ----------
    normal, noise : (n, 3, 3) float64
        Normal matrix of (flux, flux dx, flux dy) without neighbours, and the covariance of the
        right side of the normal equations: the same where weights are inverse variances.
    covariance : (n, 3, 3) float64
        Of (flux, x, y), with the neighbours fitted too.
    chi2 : (n,) float64
        Reduced chi2 in the fit region.
    spread, spread_error : (n,) float64
        SPREAD_MODEL.
    misfit : (n,) float64
        As chi2, with an error of the models of SYSTEMATIC of their light.
    """

    normal: F8
    noise: F8
    covariance: F8
    chi2: F8
    spread: F8
    spread_error: F8
    misfit: F8


class _Region(NamedTuple):
    """The pixels of a source: a box of them, and which count how much.

    Attributes
    ----------
    x_low, y_low, width, height : int
    weight, noise : (>= height, >= width) float64
        Of each pixel; weight 0 where it is bad or out of the circle.
    """

    x_low: int
    y_low: int
    width: int
    height: int
    weight: F8
    noise: F8


@helper
def _region(
    planes: Planes, inverse_gains: F8, x: float, y: float, radius: float, weight: F8, noise: F8
) -> _Region:
    """Weigh the pixels within `radius` of (x, y); the two arrays are memory.

    The noise is that of the background and the photons of the models.  Not of the data: their
    noise would bias the fluxes.  The weight is 1 / noise with a gain of its own, see `Planes`.
    """
    image, residual, variance, mask, bad, _ = planes
    weight_gain = inverse_gains[1]
    x_low, width = pixels_within(x, radius, image.shape[1])
    y_low, height = pixels_within(y, radius, image.shape[0])
    for j in range(height):
        yy = y_low + j
        for i in range(width):
            xx = x_low + i
            weight[j, i] = 0.0
            if (xx - x) ** 2 + (yy - y) ** 2 <= radius * radius:
                v, d = float(variance[yy, xx]), float(residual[yy, xx])
                if is_good(v, d, mask[yy, xx], bad):
                    light = max(0.0, float(image[yy, xx]) - d)
                    weight[j, i] = 1.0 / (v + light * weight_gain)
                    noise[j, i] = v + photon_noise(light, v, inverse_gains)
    return _Region(x_low, y_low, width, height, weight, noise)


@helper
def _misfit(region: _Region, planes: Planes) -> float:
    """Return the reduced chi2 of the pixels with the error of the models in their noise."""
    x_low, y_low, width, height, weights, noises = region
    total = 0.0
    count = 0
    for j in range(height):
        for i in range(width):
            if weights[j, i] == 0.0:
                continue
            left = float(planes.residual[y_low + j, x_low + i])
            wrong = SYSTEMATIC * (float(planes.image[y_low + j, x_low + i]) - left)
            total += left * left / (noises[j, i] + wrong * wrong)
            count += 1
    return total / (count - 3) if count > 3 else np.nan


@helper
def _normal_matrix(region: _Region, residual: F4, stamp: F8, normal: F8, noise: F8) -> float:
    """Sum normal matrix and its noise over the pixels; return the reduced chi2."""
    x_low, y_low, width, height, weights, noises = region
    total = 0.0
    count = 0
    sums = passed = NO_SUMS
    for j in range(height):
        for i in range(width):
            w, pixel_noise = weights[j, i], noises[j, i]
            if w == 0.0:
                continue
            p, px, py = stamp[0, j, i], stamp[1, j, i], stamp[2, j, i]
            sums = add_pixel(sums, w, p, px, py, 0.0)
            passed = add_pixel(passed, w * w * pixel_noise, p, px, py, 0.0)
            total += float(residual[y_low + j, x_low + i]) ** 2 / pixel_noise
            count += 1
    vector = np.empty(3, dtype=np.float64)
    store_sums(sums, normal, vector)
    store_sums(passed, noise, vector)
    for a in range(1, 3):
        for b in range(a):
            normal[a, b] = normal[b, a]
            noise[a, b] = noise[b, a]
    return total / (count - 3) if count > 3 else np.nan


@helper
def _spread_model(
    region: _Region, residual: F4, flux: float, point: F8, disk: F8
) -> tuple[float, float]:
    """SPREAD_MODEL and its error, from the stamps of the PSF and of the disk convolved with it."""
    x_low, y_low, width, height, weights, noises = region
    gp = pp = gd = pd = 0.0
    gg_noise = gp_noise = pp_noise = 0.0
    for j in range(height):
        for i in range(width):
            w = weights[j, i]
            if w == 0.0:
                continue
            p = point[j, i]
            g = disk[j, i]
            d = residual[y_low + j, x_low + i] + flux * p
            gp += w * g * p
            pp += w * p * p
            gd += w * g * d
            pd += w * p * d
            passed = w * w * noises[j, i]
            gg_noise += passed * g * g
            gp_noise += passed * g * p
            pp_noise += passed * p * p
    if not (pp > 0.0 and pd > 0.0):
        return np.nan, np.nan
    square = gg_noise * pd * pd + pp_noise * gd * gd - 2.0 * gp_noise * gd * pd
    return gd / pd - gp / pp, math.sqrt(max(0.0, square)) / (pd * pd)


@helper
def _draw(
    model: F8, sampling: float, x: float, y: float, region: _Region, slopes: bool, grid: SplineGrid,
    stamp: F8,
) -> None:  # fmt: skip
    """Draw a PSF at (x, y) on the pixels of a region, with its derivatives if `slopes`."""
    render(
        model, sampling, x, y, region.x_low, region.y_low, region.width, region.height, slopes,
        grid, stamp,
    )  # fmt: skip


@kernel
def describe_fits(
    first: int, last: int, planes: Planes, psf: PsfModel, disk: F8, positions: Positions,
    max_radius: int, spread_radius: int, spread_alone: bool, fits: Fits, quality: FitQuality,
) -> None:  # fmt: skip
    """Get normal matrix, its noise, reduced chi2 and SPREAD_MODEL of the sources first..last-1.

    SPREAD_MODEL compares the fitted PSF p with G, the same convolved with an exponential
    disk, on the pixels d of the source (neighbours subtracted), W the inverse variance of the sky:
    ``(G W d) / (p W d) - (G W p) / (p W p)`` (S. Desai et al. 2012, ApJ 757, 83, eq. 3; its
    error as H. Bouy et al. 2013, A&A 554, A101).  Not that of the photons, nor in SExtractor: the
    same galaxy would have a larger one where it is brighter.

    Parameters
    ----------
    planes : Planes
    psf : PsfModel
    disk : (n_terms, n_y, n_x) float64
        Coefficients of the convolved PSF.
    positions : Positions
    max_radius, spread_radius : int
        Largest radius of a fit region; pixels within the second one are compared for
        SPREAD_MODEL, which is not wanted if it is 0.
    spread_alone : bool
        SPREAD_MODEL is all that is wanted.
    fits : Fits
    quality : FitQuality
        All but the covariance are results.
    """
    disk_psf = PsfModel(disk, psf.degree, psf.sampling)
    totals, disk_totals = term_totals(psf.coefficients), term_totals(disk)
    scratch = scratch_for(psf, max_radius)
    model, grid, stamp = scratch.model, scratch.grid, scratch.stamp
    size = stamp.shape[1]
    convolved = np.empty((1, size, size), dtype=np.float64)
    weight = np.empty((size, size), dtype=np.float64)
    noise = np.empty((size, size), dtype=np.float64)
    sky_alone = np.array([planes.inverse_gains[0], 0.0, planes.inverse_gains[2]])
    for n in range(first, last):
        quality.normal[n] = 0.0
        quality.noise[n] = 0.0
        quality.chi2[n] = quality.misfit[n] = np.nan
        quality.spread[n] = quality.spread_error[n] = np.nan
        flux, x, y = fits.parameters[n, 0], fits.parameters[n, 1], fits.parameters[n, 2]
        if math.isnan(flux):
            continue
        u, v = positions.u[n], positions.v[n]
        reach = max(math.ceil(fits.radius[n]), spread_radius)
        local_model(psf, totals, u, v, reach, model)
        if not spread_alone:
            region = _region(planes, planes.inverse_gains, x, y, fits.radius[n], weight, noise)
            _draw(model, psf.sampling, x, y, region, True, grid, stamp)
            quality.chi2[n] = _normal_matrix(
                region, planes.residual, stamp, quality.normal[n], quality.noise[n]
            )
            quality.misfit[n] = _misfit(region, planes)
        if spread_radius == 0:
            continue
        region = _region(planes, sky_alone, x, y, float(spread_radius), weight, noise)
        _draw(model, psf.sampling, x, y, region, False, grid, stamp)
        local_model(disk_psf, disk_totals, u, v, reach, model)
        _draw(model, psf.sampling, x, y, region, False, grid, convolved)
        quality.spread[n], quality.spread_error[n] = _spread_model(
            region, planes.residual, flux, stamp[0], convolved[0]
        )


@helper
def _cross_matrices(region: _Region, stamp: F8, other: F8, cross: F8, cross_noise: F8) -> None:
    """Blocks of normal matrix and noise between source and neighbour, on the former's pixels."""
    _, _, width, height, weights, noises = region
    sums = passed = NO_SUMS
    for j in range(height):
        for i in range(width):
            w = weights[j, i]
            if w == 0.0:
                continue
            p, px, py = stamp[0, j, i], stamp[1, j, i], stamp[2, j, i]
            q, qx, qy = other[0, j, i], other[1, j, i], other[2, j, i]
            sums = add_cross(sums, w, p, px, py, q, qx, qy)
            passed = add_cross(passed, w * w * noises[j, i], p, px, py, q, qx, qy)
    for k in range(9):
        cross[k // 3, k % 3], cross_noise[k // 3, k % 3] = sums[k], passed[k]


@helper
def _eliminate(
    cross: F8, cross_noise: F8, inverse: F8, noise: F8, share: F8, matrix: F8, passed: F8
) -> None:
    """Take a neighbour's parameters out of a source's normal matrix and of its noise.

    `cross` (N_ab) and `cross_noise` (S_ab) are between source and neighbour, `inverse`
    (N_bb^-1) and `noise` (S_bb) of the neighbour; `share` is scratch.
    """
    for a in range(3):
        for b in range(3):
            share[a, b] = 0.0
            for c in range(3):
                share[a, b] += cross[a, c] * inverse[c, b]
    for a in range(3):
        for b in range(3):
            for c in range(3):
                matrix[a, b] -= share[a, c] * cross[b, c]
                passed[a, b] -= share[a, c] * cross_noise[b, c] + cross_noise[a, c] * share[b, c]
                for e in range(3):
                    passed[a, b] += share[a, c] * noise[c, e] * share[b, e]


@helper
def _sandwich(inverse: F8, noise: F8, flux: float, covariance: F8) -> None:
    """Covariance of (flux, x, y): inverse x noise x inverse, whose positions are times flux."""
    covariance[:] = 0.0
    for a in range(3):
        for b in range(3):
            for c in range(3):
                for e in range(3):
                    covariance[a, b] += inverse[a, c] * noise[c, e] * inverse[e, b]
            covariance[a, b] /= (1.0 if a == 0 else flux) * (1.0 if b == 0 else flux)


@kernel
def joint_errors(
    first: int, last: int, tiles: Tiles, planes: Planes, psf: PsfModel, positions: Positions,
    max_radius: int, felt: float, fits: Fits, quality: FitQuality,
) -> None:  # fmt: skip
    """Covariance of (flux, x, y) of the sources first..last-1 with their neighbours fitted too.

    The neighbours' parameters are eliminated: what is left of the normal matrix is
    ``M = N_aa - sum_b N_ab N_bb^-1 N_ba`` over the neighbours b whose fit regions overlap.
    With S the covariance of the right sides, less what the neighbours take of them, the
    parameters' covariance is ``M^-1 S M^-1``: the noise as it passes the weights, which need
    not be inverse variances.

    Parameters
    ----------
    tiles : Tiles
    planes : Planes
    psf : PsfModel
    positions : Positions
    max_radius : int
        Largest radius of a fit region.
    felt : float
        Neighbours count that are nearer than this share of the sum of both radii.
    fits : Fits
    quality : FitQuality
        The covariance is the result, `normal` and `noise` are those of `describe_fits`.
    """
    totals = term_totals(psf.coefficients)
    scratch = scratch_for(psf, max_radius)
    model, grid, stamp = scratch.model, scratch.grid, scratch.stamp
    start, members, columns, _ = tiles
    parameters, radii = fits.parameters, fits.radius
    other = np.empty_like(stamp)
    weight = np.empty_like(stamp[0])
    noise = np.empty_like(stamp[0])
    matrix = np.empty((3, 3), dtype=np.float64)
    passed = np.empty((3, 3), dtype=np.float64)
    cross = np.empty((3, 3), dtype=np.float64)
    cross_noise = np.empty((3, 3), dtype=np.float64)
    share = np.empty((3, 3), dtype=np.float64)
    inverse = np.empty((3, 3), dtype=np.float64)
    widest = 0.0
    for m in range(radii.size):
        widest = max(widest, radii[m])
    for n in range(first, last):
        quality.covariance[n] = np.nan
        flux, x, y = parameters[n, 0], parameters[n, 1], parameters[n, 2]
        if math.isnan(flux):
            continue
        matrix[:] = quality.normal[n]
        passed[:] = quality.noise[n]
        drawn = False
        radius = radii[n]
        row_low, row_high, column_low, column_high = tile_neighbours(tiles.of[n], tiles)
        for tj in range(row_low, row_high):
            for ti in range(column_low, column_high):
                tile = tj * columns + ti
                for k in range(start[tile], start[tile + 1]):
                    m = members[k]
                    x_m, y_m = parameters[m, 1], parameters[m, 2]
                    if m == n or math.isnan(parameters[m, 0]):
                        continue
                    far = felt * (radius + radii[m])
                    if abs(x_m - x) > far or abs(y_m - y) > far:
                        continue
                    if math.hypot(x_m - x, y_m - y) > far:
                        continue
                    if not drawn:
                        region = _region(planes, planes.inverse_gains, x, y, radius, weight, noise)
                        u, v = positions.u[n], positions.v[n]
                        # The farthest neighbour's model, at the far side of the region.
                        reach = math.ceil(radius + felt * (radius + widest))
                        local_model(psf, totals, u, v, reach, model)
                        _draw(model, psf.sampling, x, y, region, True, grid, stamp)
                        drawn = True
                    # The PSF of so near a neighbour is the same.
                    _draw(model, psf.sampling, x_m, y_m, region, True, grid, other)
                    _cross_matrices(region, stamp, other, cross, cross_noise)
                    normal_m = quality.normal[m]
                    if fits.status[m] & FROZEN or not invert(normal_m, inverse):
                        inverse[:] = 0.0
                        if normal_m[0, 0] > 0.0:
                            inverse[0, 0] = 1.0 / normal_m[0, 0]
                    _eliminate(cross, cross_noise, inverse, quality.noise[m], share, matrix, passed)
        if fits.status[n] & FROZEN:
            if matrix[0, 0] > 0.0:
                quality.covariance[n, 0, 0] = passed[0, 0] / matrix[0, 0] ** 2
        elif invert(matrix, inverse):
            _sandwich(inverse, passed, flux, quality.covariance[n])
