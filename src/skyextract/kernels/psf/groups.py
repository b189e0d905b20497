"""Errors of a source that is fitted together with several others.

The matrices are small, and made here rather than by BLAS: its threads, where nobody has limited
them, take several times as long for these, and a product of them is symmetric.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.cholesky import factor, solve
from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.psf.fit import FROZEN
from skyextract.kernels.psf.model import PsfModel, local_model, render, term_totals
from skyextract.kernels.psf.records import (
    Fits,
    Planes,
    Positions,
    Tiles,
    is_good,
    photon_noise,
    scratch_for,
    tile_neighbours,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8

MAX_GROUP = 12
"""The nearest so many neighbours are in a group."""
MAX_CONDITION = 1e10
"""Of a normal matrix, whose diagonal is 1: beyond it the sources cannot be told apart."""

_ITERATIONS = 20
"""Of the power method: more than enough to tell whether a matrix is close to singular."""


@summation
def _product(a: F8, b: F8) -> float:
    """Return the scalar product."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@helper
def _condition(normal: F8, lower: F8, n: int, vector: F8, image: F8) -> float:
    """Return the condition of a symmetric matrix whose Cholesky factor is `lower`.

    Power method, for the matrix and for its inverse; the last two arguments are work space.
    """
    extremes = 1.0
    for inverse in range(2):
        for i in range(n):
            vector[i] = math.sin(1.0 + i)  # in no special direction
        length = 1.0
        for _ in range(_ITERATIONS):
            if inverse:
                solve(lower, n, vector, image)
            else:
                for i in range(n):
                    image[i] = _product(normal[i], vector)
            length = math.sqrt(_product(image, image) / _product(vector, vector))
            for i in range(n):
                vector[i] = image[i] / length
        extremes *= length
    return extremes


@helper
def first_covariance(
    design: F8, trusted: F8, noise: F8, n_wanted: int, max_condition: float, out: F8
) -> bool:
    """Return the covariance of the first parameters of linear equations with all others.

    Parameters
    ----------
    design : (n, m) float64
        Derivatives of the model to n parameters in m pixels; written over.
    trusted, noise : (m,) float64
        Variance of the pixels that they are weighted by, and that they have.
    n_wanted : int
        So many parameters.
    max_condition : float
        Of the normal matrix, whose diagonal is 1.
    out : (n_wanted, n_wanted) float64, output

    Returns
    -------
    bool
        False, and nothing in `out`, if the parameters cannot be told apart.
    """
    n, m = design.shape
    normal = np.empty((n, n))
    lower = np.empty((n, n))
    scale = np.empty(n)
    for k in range(m):
        trusted[k] = math.sqrt(trusted[k])
    for i in range(n):
        for k in range(m):
            design[i, k] /= trusted[k]
        scale[i] = max(math.sqrt(_product(design[i], design[i])), 1e-30)
        for k in range(m):
            design[i, k] /= scale[i]
        for j in range(i + 1):
            normal[i, j] = normal[j, i] = _product(design[i], design[j])
    lower[:] = normal
    row = np.empty(n)
    work = np.empty(n)
    if not factor(lower, n, 0.0) or _condition(normal, lower, n, row, work) > max_condition:
        return False
    # what a parameter is: the sum of the pixels with these weights
    weights = np.zeros((n_wanted, m))
    for i in range(n_wanted):
        work[:] = 0.0
        work[i] = 1.0
        solve(lower, n, work, row)
        for j in range(n):
            for k in range(m):
                weights[i, k] += row[j] * design[j, k]
        for k in range(m):
            weights[i, k] *= math.sqrt(noise[k]) / trusted[k]
    for i in range(n_wanted):
        for j in range(n_wanted):
            out[i, j] = _product(weights[i], weights[j]) / (scale[i] * scale[j])
    return True


@helper
def _nearest(n: int, tiles: Tiles, fits: Fits, group: I8, distances: F8) -> int:
    """Write the rows of source n and of its nearest neighbours, and return their number.

    Neighbours are those whose fit regions overlap with that of the source.
    """
    parameters, radii = fits.parameters, fits.radius
    x, y = parameters[n, 1], parameters[n, 2]
    top, bottom, left, right = tile_neighbours(tiles.of[n], tiles)
    group[0] = n
    size = 1
    for j in range(top, bottom):
        for i in range(left, right):
            tile = j * tiles.columns + i
            for k in range(tiles.start[tile], tiles.start[tile + 1]):
                m = tiles.members[k]
                distance = math.hypot(parameters[m, 1] - x, parameters[m, 2] - y)
                if m == n or fits.reach[m] < 0 or not distance < radii[n] + radii[m]:
                    continue
                place = min(size, MAX_GROUP)
                if size > MAX_GROUP and not distance < distances[place]:
                    continue
                while place > 1 and distance < distances[place - 1]:
                    group[place], distances[place] = group[place - 1], distances[place - 1]
                    place -= 1
                group[place], distances[place] = m, distance
                size = min(size + 1, MAX_GROUP + 1)
    return size


@kernel
def group_covariances(
    rows: I8, tiles: Tiles, planes: Planes, psf: PsfModel, positions: Positions, fits: Fits, out: F8
) -> None:
    """Get the covariance of flux, x, y of some sources, fitted with their neighbours.

    Parameters
    ----------
    rows : (k,) int64
    tiles, planes, psf, positions, fits
        As of `skyextract.kernels.psf.errors.joint_errors`; the residual is that of the fits.
    out : (k, 3, 3) float64
        Stays as it is where sources cannot be told apart, and for positions that were not fitted.
    """
    group = np.empty(MAX_GROUP + 1, dtype=np.int64)
    distances = np.empty(MAX_GROUP + 1, dtype=np.float64)
    found = np.empty((3, 3), dtype=np.float64)
    of_flux = np.empty((1, 1), dtype=np.float64)
    totals = term_totals(psf.coefficients)
    ny, nx = planes.image.shape
    widest = 0.0
    for m in range(fits.radius.size):
        widest = max(widest, fits.radius[m])
    scratch = scratch_for(psf, math.ceil(3.0 * widest) + 1)
    side = scratch.stamp.shape[1]
    pixel = np.empty((side, side), dtype=np.int64)
    for k in range(rows.size):
        n = rows[k]
        if fits.reach[n] < 0:
            continue
        size = _nearest(n, tiles, fits, group, distances)
        reach = fits.radius[n]
        for a in range(size):
            reach = max(reach, fits.radius[n] + 2.0 * fits.radius[group[a]])
        half = math.ceil(reach)
        x_middle = math.floor(fits.parameters[n, 1] + 0.5)
        y_middle = math.floor(fits.parameters[n, 2] + 0.5)
        x_low, y_low = max(0, x_middle - half), max(0, y_middle - half)
        width, height = min(nx, x_middle + half + 1) - x_low, min(ny, y_middle + half + 1) - y_low
        count = 0
        for j in range(height):
            for i in range(width):
                x, y = x_low + i, y_low + j
                used = False
                for a in range(size):
                    m = group[a]
                    dx, dy = x - fits.parameters[m, 1], y - fits.parameters[m, 2]
                    used = used or dx * dx + dy * dy <= fits.radius[m] ** 2
                used = used and is_good(
                    float(planes.variance[y, x]), float(planes.residual[y, x]), planes.mask[y, x],
                    planes.bad,
                )  # fmt: skip
                pixel[j, i] = count if used else -1
                count += used
        if count == 0:
            continue
        trusted = np.empty(count, dtype=np.float64)
        noise = np.empty(count, dtype=np.float64)
        for j in range(height):
            for i in range(width):
                if pixel[j, i] >= 0:
                    y, x = y_low + j, x_low + i
                    light = max(float(planes.image[y, x]) - float(planes.residual[y, x]), 0.0)
                    variance = float(planes.variance[y, x])
                    noise[pixel[j, i]] = variance + photon_noise(
                        light, variance, planes.inverse_gains
                    )
                    trusted[pixel[j, i]] = variance + light * planes.inverse_gains[1]
        n_free = 0
        for a in range(size):
            n_free += 1 if fits.status[group[a]] & FROZEN else 3
        design = np.empty((n_free, count), dtype=np.float64)
        row = 0
        for a in range(size):
            m = group[a]
            flux, x, y = fits.parameters[m, 0], fits.parameters[m, 1], fits.parameters[m, 2]
            far = half + math.ceil(max(abs(x - x_middle), abs(y - y_middle)))
            local_model(psf, totals, positions.u[m], positions.v[m], far, scratch.model)
            render(
                scratch.model, psf.sampling, x, y, x_low, y_low, width, height, True, scratch.grid,
                scratch.stamp,
            )  # fmt: skip
            for p in range(1 if fits.status[m] & FROZEN else 3):
                scale = flux if p else 1.0
                for j in range(height):
                    for i in range(width):
                        if pixel[j, i] >= 0:
                            design[row, pixel[j, i]] = scale * scratch.stamp[p, j, i]
                row += 1
        if fits.status[n] & FROZEN:
            if first_covariance(design, trusted, noise, 1, MAX_CONDITION, of_flux):
                out[k, 0, 0] = of_flux[0, 0]
        elif first_covariance(design, trusted, noise, 3, MAX_CONDITION, found):
            out[k] = found
