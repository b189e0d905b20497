"""Point-source fits: flux and position of all sources at once, by iterative subtraction.

Every source has its place in one of the square tiles of the image.  `fit_tiles` visits the
sources of some tiles, brightest first: it adds the source's own model back to the residual
image, fits flux, x and y there by Gauss-Newton, and subtracts the new model.  Repeated
sweeps over the sources whose neighbours have changed converge to the simultaneous
solution (block Gauss-Seidel).  Tiles that do not touch are independent as long as a tile is
wider than the reach of a source, so they run in parallel without a change of the result.

`_local` and `_axis` are those of `skyextract.kernels.psf`, which explains the
interpolation: helpers must stand in the file of their callers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.kernels.jit import kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, U2


NO_PIXELS = 1
"""Status bit: too few good pixels, nothing fitted."""
FROZEN = 2
"""Status bit: the position is the given one; only the flux was fitted."""
RUNAWAY = 4
"""Status bit: the fit left the neighbourhood of the given position."""
UNSETTLED = 8
"""Status bit: the last iteration still made a step."""

MOVING = 16
"""Status bit: the last visit still changed the source by a good part of its error."""

N_ITERATIONS = 20
LEAST_LIGHT = 0.3
"""Grow the fit region while less than this part of the model's light falls on good pixels."""
LEAST_CHANGE = 0.02
"""A neighbour is fitted again after a change above this fraction of the background noise."""
SETTLED = 0.2
"""A source whose last change was below this many of its errors has come to rest."""
SUBTRACTED_TO = 0.05
"""Models are subtracted out to this fraction of the background noise per pixel."""


@kernel
def _local(coefficients: F8, degree: int, sampling: float, u: float, v: float, out: F8) -> None:
    """Coefficients of the PSF at normalised position (u, v), of unit sum over pixels."""
    n_y, n_x = out.shape
    out[:] = 0.0
    k = 0
    v_power = 1.0
    for j in range(degree + 1):
        factor = v_power
        for _ in range(degree + 1 - j):
            for a in range(n_y):
                for b in range(n_x):
                    out[a, b] += factor * coefficients[k, a, b]
            factor *= u
            k += 1
        v_power *= v
    total = 0.0
    for a in range(n_y):
        for b in range(n_x):
            total += out[a, b]
    total *= sampling * sampling
    if total > 0.0:
        for a in range(n_y):
            for b in range(n_x):
                out[a, b] /= total


@kernel
def _axis(first: float, step: float, n: int, count: int, index: I8, weight: F8) -> None:
    """First coefficient, 4 weights and 4 slopes of `count` pixels along one axis.

    Pixel k lies at coefficient coordinate ``first + k * step`` of n; zero weights outside.
    """
    for k in range(count):
        t = first + k * step
        i = math.floor(t)
        if i < 1 or i + 2 >= n:
            index[k] = 0
            weight[k, :] = 0.0
            continue
        f = t - i
        g = 1.0 - f
        index[k] = i - 1
        weight[k, 0] = g * g * g / 6.0
        weight[k, 1] = (4.0 - 6.0 * f * f + 3.0 * f * f * f) / 6.0
        weight[k, 2] = (4.0 - 6.0 * g * g + 3.0 * g * g * g) / 6.0
        weight[k, 3] = f * f * f / 6.0
        # derivative to the centre, which moves against t
        weight[k, 4] = 0.5 * g * g * step
        weight[k, 5] = (2.0 * f - 1.5 * f * f) * step
        weight[k, 6] = (1.5 * g * g - 2.0 * g) * step
        weight[k, 7] = -0.5 * f * f * step


@kernel
def _render(
    model: F8, sampling: float, x: float, y: float, x_low: int, y_low: int, n_x: int, n_y: int,
    slopes: bool, index: I8, weight: F8, row: F8, out: F8,
) -> None:  # fmt: skip
    """Draw the model, centred on (x, y), into out[0]; its derivatives to x, y into out[1:3].

    The region has n_y x n_x pixels from (x_low, y_low) on.
    """
    m_y, m_x = model.shape
    step = 1.0 / sampling
    _axis((m_x - 1) / 2 + (x_low - x) * step, step, m_x, n_x, index[0], weight[0])
    _axis((m_y - 1) / 2 + (y_low - y) * step, step, m_y, n_y, index[1], weight[1])
    first = index[0, 0]
    last = first
    for i in range(n_x):
        first = min(first, index[0, i])
        last = max(last, index[0, i])
    for j in range(n_y):
        a = index[1, j]
        w = weight[1, j]
        for b in range(first, last + 4):
            row[0, b] = (
                w[0] * model[a, b]
                + w[1] * model[a + 1, b]
                + w[2] * model[a + 2, b]
                + w[3] * model[a + 3, b]
            )
        if slopes:
            for b in range(first, last + 4):
                row[1, b] = (
                    w[4] * model[a, b]
                    + w[5] * model[a + 1, b]
                    + w[6] * model[a + 2, b]
                    + w[7] * model[a + 3, b]
                )
        for i in range(n_x):
            b = index[0, i]
            w = weight[0, i]
            out[0, j, i] = (
                w[0] * row[0, b]
                + w[1] * row[0, b + 1]
                + w[2] * row[0, b + 2]
                + w[3] * row[0, b + 3]
            )
            if slopes:
                out[1, j, i] = (
                    w[4] * row[0, b]
                    + w[5] * row[0, b + 1]
                    + w[6] * row[0, b + 2]
                    + w[7] * row[0, b + 3]
                )
                out[2, j, i] = (
                    w[0] * row[1, b]
                    + w[1] * row[1, b + 1]
                    + w[2] * row[1, b + 2]
                    + w[3] * row[1, b + 3]
                )


@kernel
def _range(centre: float, radius: int, size: int) -> tuple[int, int]:
    """First pixel and number of pixels within `radius` of the pixel at `centre`."""
    middle = math.floor(centre + 0.5)
    low = max(0, middle - radius)
    return low, min(size, middle + radius + 1) - low


@kernel
def _add(
    image: F4, model: F8, sampling: float, x: float, y: float, flux: float, radius: int,
    index: I8, weight: F8, row: F8, out: F8,
) -> None:  # fmt: skip
    """Add flux x model to the image within `radius` pixels along both axes."""
    x_low, n_x = _range(x, radius, image.shape[1])
    y_low, n_y = _range(y, radius, image.shape[0])
    if n_x <= 0 or n_y <= 0:
        return
    _render(model, sampling, x, y, x_low, y_low, n_x, n_y, False, index, weight, row, out)
    for j in range(n_y):
        for i in range(n_x):
            image[y_low + j, x_low + i] += flux * out[0, j, i]


@kernel
def _invert(matrix: F8, inverse: F8) -> bool:
    """Invert a symmetric 3 x 3 matrix; False if it is not positive definite."""
    a, b, c = matrix[0, 0], matrix[0, 1], matrix[0, 2]
    d, e, f = matrix[1, 1], matrix[1, 2], matrix[2, 2]
    minor = a * d - b * b
    inverse[0, 0] = d * f - e * e
    inverse[0, 1] = c * e - b * f
    inverse[0, 2] = b * e - c * d
    determinant = a * inverse[0, 0] + b * inverse[0, 1] + c * inverse[0, 2]
    if not (a > 0.0 and minor > 1e-12 * a * d and determinant > 1e-12 * minor * f):
        return False
    inverse[1, 1] = a * f - c * c
    inverse[1, 2] = b * c - a * e
    inverse[2, 2] = minor
    inverse[1, 0] = inverse[0, 1]
    inverse[2, 0] = inverse[0, 2]
    inverse[2, 1] = inverse[1, 2]
    inverse /= determinant
    return True


@kernel
def _weight(
    image: F4, residual: F4, variance: F4, mask: U2, bad: int, inverse_gains: F8, y: int, x: int,
    own: float,
) -> tuple[float, float]:  # fmt: skip
    """Weight and noise variance of a pixel, weight 0 for a bad one.

    The noise is that of the background and the photons of the models: all those subtracted in
    `residual`, and `own`.  Not of the data: their noise would bias the fluxes.  The weight is
    1 / noise with a gain of its own, see `fit_tiles`.
    """
    v = float(variance[y, x])
    d = float(residual[y, x])
    if (mask[y, x] & bad) != 0 or not (0.0 < v < MAX_VARIANCE) or not math.isfinite(d):
        return 0.0, 0.0
    light = max(0.0, float(image[y, x]) - d + own)
    return 1.0 / (v + light * inverse_gains[1]), v + light * inverse_gains[0]


@kernel
def _normal_equations(
    image: F4, residual: F4, variance: F4, mask: U2, bad: int, inverse_gains: F8,
    x_centre: float, y_centre: float, radius: float, x_low: int, y_low: int, n_x: int, n_y: int,
    flux: float, stamp: F8, matrix: F8, vector: F8,
) -> tuple[int, float]:  # fmt: skip
    """Sum the normal equations of (flux, flux dx, flux dy) over good pixels within `radius`.

    `residual` must contain the source itself.  Returns the number of good pixels and the
    part of the model's light there.
    """
    matrix[:] = 0.0
    vector[:] = 0.0
    n = 0
    light = 0.0
    for j in range(n_y):
        yy = y_low + j
        dy = yy - y_centre
        for i in range(n_x):
            xx = x_low + i
            dx = xx - x_centre
            if dx * dx + dy * dy > radius * radius:
                continue
            p = stamp[0, j, i]
            w, _ = _weight(
                image, residual, variance, mask, bad, inverse_gains, yy, xx,
                flux * p,
            )  # fmt: skip
            if w == 0.0:
                continue
            r = residual[yy, xx] - flux * p
            px = stamp[1, j, i]
            py = stamp[2, j, i]
            matrix[0, 0] += w * p * p
            matrix[0, 1] += w * p * px
            matrix[0, 2] += w * p * py
            matrix[1, 1] += w * px * px
            matrix[1, 2] += w * px * py
            matrix[2, 2] += w * py * py
            vector[0] += w * r * p
            vector[1] += w * r * px
            vector[2] += w * r * py
            n += 1
            light += p
    return n, light


@kernel
def _fit(
    image: F4, residual: F4, variance: F4, mask: U2, bad: int, inverse_gains: F8, model: F8,
    sampling: float, start_x: float, start_y: float, fit_radius: float, largest_radius: int,
    largest_shift: float, position: F8, index: I8, weight: F8, row: F8, stamp: F8, matrix: F8,
    inverse: F8, vector: F8,
) -> tuple[int, int, float]:  # fmt: skip
    """Fit flux, x and y (in `position`) of one source; return status, iterations, radius.

    The step of the flux is linear in the current shape, and the shifts follow from the new
    flux, so that no starting flux is needed.  A source below 2 sigma has no position of its
    own: its flux is fitted at the given one.
    """
    flux, x, y = position[0], position[1], position[2]
    if not (abs(x - start_x) <= largest_shift and abs(y - start_y) <= largest_shift and flux > 0.0):
        flux, x, y = 0.0, start_x, start_y
    status = 0
    radius = fit_radius
    x_centre, y_centre = x, y
    iterations = 0
    while iterations < N_ITERATIONS:
        half = math.ceil(radius)
        x_low, n_x = _range(x_centre, half, image.shape[1])
        y_low, n_y = _range(y_centre, half, image.shape[0])
        if n_x <= 0 or n_y <= 0:
            return NO_PIXELS, iterations, radius
        _render(model, sampling, x, y, x_low, y_low, n_x, n_y, True, index, weight, row, stamp)
        n, light = _normal_equations(
            image, residual, variance, mask, bad, inverse_gains, x_centre, y_centre,
            radius, x_low, y_low, n_x, n_y, flux, stamp, matrix, vector,
        )  # fmt: skip
        if iterations == 0 and light < LEAST_LIGHT and radius < largest_radius:
            radius = min(float(largest_radius), 1.4 * radius)
            continue
        if n < 4 or matrix[0, 0] <= 0.0:
            return NO_PIXELS, iterations, radius
        iterations += 1
        free = (status & FROZEN) == 0
        if free and not _invert(matrix, inverse):
            status |= FROZEN
            flux, x, y = 0.0, start_x, start_y
            continue
        if not free:
            step = vector[0] / matrix[0, 0]
            flux += step
            if step * step * matrix[0, 0] < 1e-4:
                break
            continue
        step = inverse[0, 0] * vector[0] + inverse[0, 1] * vector[1] + inverse[0, 2] * vector[2]
        flux += step
        if flux * flux < 4.0 * inverse[0, 0] or flux < 0.0:
            status |= FROZEN
            flux, x, y = 0.0, start_x, start_y
            continue
        shift_x = inverse[1, 0] * vector[0] + inverse[1, 1] * vector[1] + inverse[1, 2] * vector[2]
        shift_y = inverse[2, 0] * vector[0] + inverse[2, 1] * vector[1] + inverse[2, 2] * vector[2]
        small = (
            step * step < 1e-4 * inverse[0, 0]
            and shift_x * shift_x < 1e-4 * inverse[1, 1]
            and shift_y * shift_y < 1e-4 * inverse[2, 2]
        )
        limit = 0.4 * largest_shift
        x += max(-limit, min(limit, shift_x / flux))
        y += max(-limit, min(limit, shift_y / flux))
        if abs(x - start_x) > largest_shift or abs(y - start_y) > largest_shift:
            status |= FROZEN | RUNAWAY
            flux, x, y = 0.0, start_x, start_y
            continue
        if small:
            break
    else:
        status |= UNSETTLED
    position[0], position[1], position[2] = flux, x, y
    return status, iterations, radius


@kernel
def fit_tiles(
    tiles: I8, tile_start: I8, members: I8, tile_columns: int, image: F4, residual: F4,
    variance: F4, mask: U2, bad: int, inverse_gains: F8, coefficients: F8, degree: int,
    sampling: float, u: F8, v: F8, start_x: F8, start_y: F8, envelope: F8, noise: float,
    fit_radius: float, largest_shift: float, parameters: F8, reach: I8, radius: F8, stale: U1,
    status: I4, iterations: I4,
) -> None:  # fmt: skip
    """Fit the stale sources of some tiles and subtract them from the residual image.

    Parameters
    ----------
    tiles : (n_tiles,) int64
        Tiles to visit, none of which touch each other's neighbours in another thread.
    tile_start, members : int64
        Sources of tile t are ``members[tile_start[t]:tile_start[t + 1]]``, brightest first.
    tile_columns : int
        Tiles per row.
    image, residual, variance : (ny, nx) float32
        Background-subtracted image, the same minus all models (changed), background variance.
    mask, bad : (ny, nx) uint16, int
        Pixels with one of the bits `bad` are left out.
    inverse_gains : (2,) float64
        Photon noise of a flux f is ``f * inverse_gains[0]``, 0 for none; weights take it to be
        ``f * inverse_gains[1]``.
    coefficients, degree, sampling, u, v
        The PSF model and the sources' positions in it.
    start_x, start_y : (n,) float64
        Given positions, 0-based.
    envelope : (largest radius + 1,) float64
        Largest value of the PSF at that many pixels from its centre or farther.
    noise : float
        Typical background noise per pixel.
    fit_radius, largest_shift : float
        Radius of the fit region; largest step away from the given position; pixels.
    parameters : (n, 3) float64
        Flux, x, y; flux 0 before the first visit, NaN if it cannot be fitted (changed).
    reach : (n,) int64
        Radius out to which the model is subtracted, -1 if it is not (changed).
    radius : (n,) float64
        Radius of the fit region that was used (changed).
    stale : (n,) uint8
        1: to be fitted (changed).
    status, iterations : (n,) int32
        Status bits and number of Gauss-Newton steps in total (changed).
    """
    n_y, n_x = coefficients.shape[1:]
    largest_radius = envelope.size - 1
    size = 2 * largest_radius + 3
    model = np.empty((n_y, n_x), dtype=np.float64)
    row = np.empty((2, n_x), dtype=np.float64)
    index = np.empty((2, size), dtype=np.int64)
    weight = np.empty((2, size, 8), dtype=np.float64)
    stamp = np.empty((3, size, size), dtype=np.float64)
    matrix = np.empty((3, 3), dtype=np.float64)
    inverse = np.empty((3, 3), dtype=np.float64)
    vector = np.empty(3, dtype=np.float64)
    position = np.empty(3, dtype=np.float64)
    tile_rows = (tile_start.size - 1) // tile_columns
    for t in range(tiles.size):
        tile = tiles[t]
        for m in range(tile_start[tile], tile_start[tile + 1]):
            n = members[m]
            if stale[n] == 0:
                continue
            stale[n] = 0
            flux, x, y = parameters[n, 0], parameters[n, 1], parameters[n, 2]
            _local(coefficients, degree, sampling, u[n], v[n], model)
            if reach[n] >= 0:
                _add(residual, model, sampling, x, y, flux, reach[n], index, weight, row, stamp)
            position[:] = parameters[n]
            status[n], steps, radius[n] = _fit(
                image, residual, variance, mask, bad, inverse_gains, model, sampling,
                start_x[n], start_y[n], fit_radius, largest_radius, largest_shift,
                position, index, weight, row, stamp, matrix, inverse, vector,
            )  # fmt: skip
            iterations[n] += steps
            if status[n] & NO_PIXELS:
                reach[n] = -1
                parameters[n, 0] = np.nan
                continue
            parameters[n] = position
            reach[n] = math.ceil(radius[n])
            bright = abs(position[0])
            change_x = abs(position[1] - x)
            change_y = abs(position[2] - y)
            if (
                (position[0] - flux) ** 2 * matrix[0, 0] > SETTLED**2
                or (bright * change_x) ** 2 * matrix[1, 1] > SETTLED**2
                or (bright * change_y) ** 2 * matrix[2, 2] > SETTLED**2
            ):
                status[n] |= MOVING
            while (
                reach[n] < largest_radius
                and bright * envelope[reach[n] + 1] > SUBTRACTED_TO * noise
            ):
                reach[n] += 1
            _add(
                residual, model, sampling, position[1], position[2], -position[0], reach[n],
                index, weight, row, stamp,
            )  # fmt: skip
            # the derivative of a PSF is about its value over its width
            change = abs(position[0] - flux) + bright * (change_x + change_y) * 2.0 / fit_radius
            _mark_neighbours(
                n, tile, change, tile_start, members, tile_columns, tile_rows, start_x, start_y,
                envelope, noise, reach[n], radius, fit_radius, stale,
            )  # fmt: skip


@kernel
def _mark_neighbours(
    n: int, tile: int, change: float, tile_start: I8, members: I8, tile_columns: int,
    tile_rows: int, start_x: F8, start_y: F8, envelope: F8, noise: float, reach: int,
    radius: F8, fit_radius: float, stale: U1,
) -> None:  # fmt: skip
    """Mark as stale the sources whose fit region feels the change of source n."""
    tile_y = tile // tile_columns
    tile_x = tile - tile_y * tile_columns
    for j in range(max(0, tile_y - 1), min(tile_rows, tile_y + 2)):
        for i in range(max(0, tile_x - 1), min(tile_columns, tile_x + 2)):
            other = j * tile_columns + i
            for k in range(tile_start[other], tile_start[other + 1]):
                m = members[k]
                if m == n:
                    continue
                gap = math.hypot(start_x[m] - start_x[n], start_y[m] - start_y[n])
                gap -= max(radius[m], fit_radius)
                if gap > reach:
                    continue
                if change * envelope[max(0, math.floor(gap))] > LEAST_CHANGE * noise:
                    stale[m] = 1


@kernel
def describe_fits(
    first: int, last: int, image: F4, residual: F4, variance: F4, mask: U2, bad: int,
    inverse_gains: F8, coefficients: F8, disk: F8, degree: int,
    sampling: float, u: F8, v: F8, largest_radius: int, spread_radius: int, parameters: F8,
    radius: F8, normal: F8, noise: F8, chi2: F8, spread: F8, spread_error: F8,
) -> None:  # fmt: skip
    """Get normal matrix, its noise, reduced chi2 and SPREAD_MODEL of the sources first..last.

    SPREAD_MODEL compares the fitted PSF p with G, the same convolved with an exponential
    disk, on the pixels d of the source (neighbours subtracted), W the inverse variance:
    ``(G W d) / (p W d) - (G W p) / (p W p)`` (S. Desai et al. 2012, ApJ 757, 83, eq. 3; its
    error as H. Bouy et al. 2013, A&A 554, A101).

    Parameters
    ----------
    disk : (n_terms, n_y, n_x) float64
        Coefficients of the convolved PSF.
    spread_radius : int
        Pixels within this radius are compared; 0: SPREAD_MODEL is not wanted.
    normal, noise : (n, 3, 3) float64
        Normal matrix of (flux, flux dx, flux dy) without neighbours, and the covariance of the
        right side of the normal equations: the same where weights are inverse variances
        (changed).
    chi2, spread, spread_error : (n,) float64
        Results, NaN where there is none (changed).

    The others are as in `fit_tiles`.
    """
    n_y, n_x = coefficients.shape[1:]
    size = 2 * largest_radius + 3
    model = np.empty((n_y, n_x), dtype=np.float64)
    row = np.empty((2, n_x), dtype=np.float64)
    index = np.empty((2, size), dtype=np.int64)
    weight = np.empty((2, size, 8), dtype=np.float64)
    stamp = np.empty((3, size, size), dtype=np.float64)
    wide = np.empty((1, size, size), dtype=np.float64)
    exact = np.empty(2, dtype=np.float64)
    exact[:] = inverse_gains[0]
    for n in range(first, last):
        normal[n] = 0.0
        noise[n] = 0.0
        chi2[n] = spread[n] = spread_error[n] = np.nan
        flux, x, y = parameters[n, 0], parameters[n, 1], parameters[n, 2]
        if math.isnan(flux):
            continue
        _local(coefficients, degree, sampling, u[n], v[n], model)
        half = math.ceil(radius[n])
        x_low, width = _range(x, half, image.shape[1])
        y_low, height = _range(y, half, image.shape[0])
        _render(model, sampling, x, y, x_low, y_low, width, height, True, index, weight, row, stamp)
        total = 0.0
        count = 0
        for j in range(height):
            yy = y_low + j
            for i in range(width):
                xx = x_low + i
                if (xx - x) ** 2 + (yy - y) ** 2 > radius[n] * radius[n]:
                    continue
                w, pixel_noise = _weight(
                    image, residual, variance, mask, bad, inverse_gains, yy, xx, 0.0
                )
                if w == 0.0:
                    continue
                for a in range(3):
                    for b in range(a, 3):
                        square = w * stamp[a, j, i] * stamp[b, j, i]
                        normal[n, a, b] += square
                        noise[n, a, b] += square * w * pixel_noise
                total += float(residual[yy, xx]) ** 2 / pixel_noise
                count += 1
        for a in range(1, 3):
            for b in range(a):
                normal[n, a, b] = normal[n, b, a]
                noise[n, a, b] = noise[n, b, a]
        if count > 3:
            chi2[n] = total / (count - 3)
        if spread_radius == 0:
            continue
        x_low, width = _range(x, spread_radius, image.shape[1])
        y_low, height = _range(y, spread_radius, image.shape[0])
        _render(
            model, sampling, x, y, x_low, y_low, width, height, False, index, weight, row, stamp
        )
        _local(disk, degree, sampling, u[n], v[n], model)
        _render(model, sampling, x, y, x_low, y_low, width, height, False, index, weight, row, wide)
        gg = gp = pp = gd = pd = 0.0
        for j in range(height):
            yy = y_low + j
            for i in range(width):
                xx = x_low + i
                if (xx - x) ** 2 + (yy - y) ** 2 > spread_radius * spread_radius:
                    continue
                w, _ = _weight(image, residual, variance, mask, bad, exact, yy, xx, 0.0)
                if w == 0.0:
                    continue
                p = stamp[0, j, i]
                g = wide[0, j, i]
                d = residual[yy, xx] + flux * p
                gg += w * g * g
                gp += w * g * p
                pp += w * p * p
                gd += w * g * d
                pd += w * p * d
        if pp > 0.0 and pd > 0.0:
            spread[n] = gd / pd - gp / pp
            square = gg * pd * pd + pp * gd * gd - 2.0 * gp * gd * pd
            spread_error[n] = math.sqrt(max(0.0, square)) / (pd * pd)


@kernel
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


@kernel
def joint_errors(
    first: int, last: int, tile_of: I8, tile_start: I8, members: I8, tile_columns: int,
    image: F4, residual: F4, variance: F4, mask: U2, bad: int, inverse_gains: F8,
    coefficients: F8, degree: int, sampling: float, u: F8, v: F8,
    largest_radius: int, parameters: F8, radius: F8, status: I4, normal: F8, noise: F8,
    covariance: F8,
) -> None:  # fmt: skip
    """Covariance of (flux, x, y) of the sources first..last with their neighbours fitted too.

    The neighbours' parameters are eliminated: what is left of the normal matrix is
    ``M = N_aa - sum_b N_ab N_bb^-1 N_ba`` over the neighbours b whose fit regions overlap.
    With S the covariance of the right sides, less what the neighbours take of them, the
    parameters' covariance is ``M^-1 S M^-1``: the noise as it passes the weights, which need
    not be inverse variances.

    Parameters
    ----------
    tile_of : (n,) int64
        Tile of each source.
    normal, noise : (n, 3, 3) float64
        From `describe_fits`.
    covariance : (n, 3, 3) float64
        Result; NaN where there is none (changed).

    The others are as in `fit_tiles`.
    """
    n_y, n_x = coefficients.shape[1:]
    tile_rows = (tile_start.size - 1) // tile_columns
    size = 2 * largest_radius + 3
    model = np.empty((n_y, n_x), dtype=np.float64)
    row = np.empty((2, n_x), dtype=np.float64)
    index = np.empty((2, size), dtype=np.int64)
    weight = np.empty((2, size, 8), dtype=np.float64)
    stamp = np.empty((3, size, size), dtype=np.float64)
    other = np.empty((3, size, size), dtype=np.float64)
    matrix = np.empty((3, 3), dtype=np.float64)
    passed = np.empty((3, 3), dtype=np.float64)
    cross = np.empty((3, 3), dtype=np.float64)
    cross_noise = np.empty((3, 3), dtype=np.float64)
    share = np.empty((3, 3), dtype=np.float64)
    inverse = np.empty((3, 3), dtype=np.float64)
    for n in range(first, last):
        covariance[n] = np.nan
        flux, x, y = parameters[n, 0], parameters[n, 1], parameters[n, 2]
        if math.isnan(flux):
            continue
        matrix[:] = normal[n]
        passed[:] = noise[n]
        drawn = False
        half = math.ceil(radius[n])
        x_low, width = _range(x, half, image.shape[1])
        y_low, height = _range(y, half, image.shape[0])
        tile_y = tile_of[n] // tile_columns
        tile_x = tile_of[n] - tile_y * tile_columns
        for tj in range(max(0, tile_y - 1), min(tile_rows, tile_y + 2)):
            for ti in range(max(0, tile_x - 1), min(tile_columns, tile_x + 2)):
                tile = tj * tile_columns + ti
                for k in range(tile_start[tile], tile_start[tile + 1]):
                    m = members[k]
                    x_m, y_m = parameters[m, 1], parameters[m, 2]
                    if m == n or math.isnan(parameters[m, 0]):
                        continue
                    if math.hypot(x_m - x, y_m - y) > radius[n] + radius[m]:
                        continue
                    if not drawn:
                        _local(coefficients, degree, sampling, u[n], v[n], model)
                        _render(
                            model, sampling, x, y, x_low, y_low, width, height, True,
                            index, weight, row, stamp,
                        )  # fmt: skip
                        drawn = True
                    # so near a neighbour has the same PSF
                    _render(
                        model, sampling, x_m, y_m, x_low, y_low, width, height, True,
                        index, weight, row, other,
                    )  # fmt: skip
                    cross[:] = 0.0
                    cross_noise[:] = 0.0
                    for j in range(height):
                        yy = y_low + j
                        for i in range(width):
                            xx = x_low + i
                            if (xx - x) ** 2 + (yy - y) ** 2 > radius[n] * radius[n]:
                                continue
                            w, pixel_noise = _weight(
                                image, residual, variance, mask, bad, inverse_gains,
                                yy, xx, 0.0,
                            )  # fmt: skip
                            if w == 0.0:
                                continue
                            for a in range(3):
                                for b in range(3):
                                    product = w * stamp[a, j, i] * other[b, j, i]
                                    cross[a, b] += product
                                    cross_noise[a, b] += product * w * pixel_noise
                    if status[m] & FROZEN or not _invert(normal[m], inverse):
                        inverse[:] = 0.0
                        if normal[m, 0, 0] > 0.0:
                            inverse[0, 0] = 1.0 / normal[m, 0, 0]
                    _eliminate(cross, cross_noise, inverse, noise[m], share, matrix, passed)
        if status[n] & FROZEN:
            if matrix[0, 0] > 0.0:
                covariance[n, 0, 0] = passed[0, 0] / matrix[0, 0] ** 2
            continue
        if _invert(matrix, inverse):
            covariance[n] = 0.0
            for a in range(3):
                for b in range(3):
                    for c in range(3):
                        for e in range(3):
                            covariance[n, a, b] += inverse[a, c] * passed[c, e] * inverse[e, b]
                    covariance[n, a, b] /= (1.0 if a == 0 else flux) * (1.0 if b == 0 else flux)
