"""Point-source fits: flux and position of all sources at once, by iterative subtraction.

Every source has its place in one of the square tiles of the image.  `fit_tiles` visits the
sources of some tiles, brightest first: it adds the source's own model back to the residual
image, fits flux, x and y there by Gauss-Newton, and subtracts the new model.  Repeated
sweeps over the sources whose neighbours have changed converge to the simultaneous
solution (block Gauss-Seidel).  Tiles that do not touch are independent as long as a tile is
wider than the reach of a source, so they run in parallel without a change of the result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.jit import helper, kernel, summation
from skyextract.kernels.psf.beside import mark_neighbours, needed_reach
from skyextract.kernels.psf.matrix import NO_SUMS, add_pixel, invert, store_sums
from skyextract.kernels.psf.model import WHOLE, PsfModel, local_model, render, term_totals
from skyextract.kernels.psf.records import (
    FitRules,
    Fits,
    Planes,
    Positions,
    Scratch,
    Tiles,
    is_good,
    pixel_range,
    pixels_within,
    scratch_for,
)

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I8


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
LEFT = 32
"""What a visit tells, no status: the source is at rest and left as it is."""

N_ITERATIONS, HELD_STEPS = 20, 4
MIN_LIGHT = 0.3
"""Grow the fit region while less than this part of the model's light falls on good pixels."""
MAX_WALK = 1.5
"""Sources that go farther than so many pixels need all of their model."""
SETTLED = 0.2
"""A source whose last change was below this many of its errors is at rest."""


class FitPixels(NamedTuple):
    """Memory for the pixels of the box about a fit region, row by row without gaps.

    Steps go through them again and again: through all, so that vector instructions do.

    Attributes
    ----------
    value, light, variance : (room,) float64
        Residual, with the source itself; models of all others; background variance.
    used : (room,) float64
        1 for good pixels of the region; 0 for others, of which the first three are 0, 0 and 1.
    stamp : (3 * room,) float64
        The PSF, its derivatives along x, and along y, one after the other.
    """

    value: F8
    light: F8
    variance: F8
    used: F8
    stamp: F8


class NewtonStep(NamedTuple):
    """Memory for one step: normal matrix, its inverse and right side of (flux, dx, dy)."""

    matrix: F8
    inverse: F8
    vector: F8


@helper
def add_model(
    image: F4, sampling: float, x: float, y: float, flux: float, radius: int, scratch: Scratch
) -> None:
    """Add flux x model to the image within `radius` pixels along both axes."""
    x_low, n_x = pixel_range(x, radius, image.shape[1])
    y_low, n_y = pixel_range(y, radius, image.shape[0])
    if n_x <= 0 or n_y <= 0:
        return
    stamp = scratch.stamp
    render(scratch.model, sampling, x, y, x_low, y_low, n_x, n_y, False, scratch.grid, stamp)
    for j in range(n_y):
        row, light = image[y_low + j, x_low : x_low + n_x], stamp[0, j, :n_x]
        for i in range(n_x):
            row[i] += flux * light[i]


@helper
def _gather(
    planes: Planes, x_centre: float, y_centre: float, radius: float, form: F8, x_low: int,
    y_low: int, n_x: int, n_y: int, pixels: FitPixels,
) -> int:  # fmt: skip
    """Collect the pixels of the box about a fit region; return the number of good ones in it.

    The residual image must contain the source itself.
    """
    image, residual, variance, mask, bad, _ = planes
    value, light, noise, used, _ = pixels
    of_x, of_both, of_y = form[0], form[1], form[2]
    n = k = 0
    for j in range(n_y):
        yy = y_low + j
        dy = yy - y_centre
        for i in range(n_x):
            xx = x_low + i
            dx = xx - x_centre
            value[k], light[k], noise[k], used[k] = 0.0, 0.0, 1.0, 0.0
            if of_x * dx * dx + of_both * dx * dy + of_y * dy * dy <= radius * radius:
                v, d = float(variance[yy, xx]), float(residual[yy, xx])
                if is_good(v, d, mask[yy, xx], bad):
                    value[k], light[k], noise[k], used[k] = d, float(image[yy, xx]) - d, v, 1.0
                    n += 1
            k += 1
    return n


@helper
def _lift(pixels: FitPixels, n: int, flux: float) -> None:
    """Add the source itself to n pixels of a residual from which it is subtracted."""
    value, light, stamp = pixels.value[:n], pixels.light[:n], pixels.stamp[:n]
    for k in range(n):
        own = flux * stamp[k]
        value[k] += own
        light[k] -= own


@summation
def _normal_equations(
    pixels: FitPixels, n: int, flux: float, gain: float, matrix: F8, vector: F8
) -> float:
    """Sum the normal equations of (flux, flux dx, flux dy) over n pixels.

    Weights are 1 / (background variance + photons of all models times `gain`): not those of the
    data, whose noise would bias the fluxes.  Returns the part of the model's light on the pixels.
    """
    value, light, variance, used = pixels.value, pixels.light, pixels.variance, pixels.used
    psf, along_x, along_y = pixels.stamp[:n], pixels.stamp[n : 2 * n], pixels.stamp[2 * n : 3 * n]
    sums = NO_SUMS
    covered = 0.0
    for k in range(n):
        p = psf[k]
        own = flux * p
        photons = light[k] + own
        w = used[k] / (variance[k] + (photons if photons > 0.0 else 0.0) * gain)
        sums = add_pixel(sums, w, p, along_x[k], along_y[k], value[k] - own)
        covered += used[k] * p
    store_sums(sums, matrix, vector)
    return covered


@helper
def _fit(
    planes: Planes, psf: PsfModel, totals: F8, positions: Positions, source: int, rules: FitRules,
    position: F8, reach: int, held: bool, scratch: Scratch, pixels: FitPixels, newton: NewtonStep,
) -> tuple[int, int, float, bool]:  # fmt: skip
    """Fit flux, x and y (in `position`) of one source.

    The step of the flux is linear in the current shape, and the shifts follow from the new
    flux, so that no starting flux is needed.  A source below 2 sigma has no position of its
    own: its flux is fitted at the given one; where that is another image's (``rules.placed``),
    before all else.

    Parameters
    ----------
    reach : int
        Radius out to which the source is subtracted from the residual image, -1 if it is not.
    held : bool
        It keeps its position, and makes fewer steps.

    Returns
    -------
    status, iterations, radius
    lifted : bool
        Whether the source was added to the residual image; if not it is still subtracted.
    """
    image = planes.image
    stamp = pixels.stamp.reshape((3, 1, -1))  # of no region yet
    start_x, start_y = positions.x[source], positions.y[source]
    gain = planes.inverse_gains[1]
    small_square = rules.tolerance * rules.tolerance
    matrix, inverse, vector = newton
    max_radius, max_shift = rules.envelope.size - 1, rules.max_shift
    flux, x, y = position[0], position[1], position[2]
    forced = rules.placed > 0.0
    known = not forced and abs(x - start_x) <= max_shift and abs(y - start_y) <= max_shift
    known &= flux > 0.0
    lifted = not (rules.rests and known and reach >= 0)  # what may stay is not moved for a look
    if lifted and reach >= 0:
        add_model(planes.residual, psf.sampling, x, y, flux, reach, scratch)
    if not known:
        flux, x, y = 0.0, start_x, start_y
    status = FROZEN if held or forced else 0
    radius = rules.fit_radius
    x_centre, y_centre = x, y
    drawn_x, drawn_y = x, y
    iterations = room = 0
    n = -1
    whole = False
    while iterations < N_ITERATIONS:
        fresh = n < 0
        if fresh:
            x_low, n_x = pixels_within(x_centre, radius * rules.extent[0], image.shape[1])
            y_low, n_y = pixels_within(y_centre, radius * rules.extent[1], image.shape[0])
            if n_x <= 0 or n_y <= 0:
                return NO_PIXELS, iterations, radius, lifted
            n = _gather(
                planes, x_centre, y_centre, radius, rules.form, x_low, y_low, n_x, n_y, pixels
            )
            room = n_x * n_y
            stamp = pixels.stamp[: 3 * room].reshape((3, n_y, n_x))
        walk = max(abs(x - x_centre), abs(y - y_centre))
        if not whole and (walk > MAX_WALK or radius > rules.fit_radius):
            whole = True
            local_model(psf, totals, positions.u[source], positions.v[source], WHOLE, scratch.model)
        if fresh or x != drawn_x or y != drawn_y:
            render(
                scratch.model, psf.sampling, x, y, x_low, y_low, n_x, n_y, True, scratch.grid, stamp
            )
            drawn_x, drawn_y = x, y
        if fresh and not lifted:
            _lift(pixels, room, flux)
        light = _normal_equations(pixels, room, flux, gain, matrix, vector)
        if iterations == 0 and light < MIN_LIGHT and radius < max_radius:
            radius = min(float(max_radius), 1.4 * radius)
            n = -1
            if not lifted:
                add_model(planes.residual, psf.sampling, x, y, flux, reach, scratch)
                lifted = True
            continue
        if n < 4 or matrix[0, 0] <= 0.0:
            return NO_PIXELS, iterations, radius, lifted
        iterations += 1
        free = (status & FROZEN) == 0
        if free and not invert(matrix, inverse):
            status |= FROZEN
            flux, x, y = 0.0, start_x, start_y
            continue
        if not free:
            step = vector[0] / matrix[0, 0]
            flux += step
            if step * step * matrix[0, 0] < small_square or (held and iterations == HELD_STEPS):
                if not forced or flux * flux * matrix[0, 0] < rules.placed * rules.placed:
                    break
                forced, status = False, 0
            continue
        step = inverse[0, 0] * vector[0] + inverse[0, 1] * vector[1] + inverse[0, 2] * vector[2]
        shift_x = inverse[1, 0] * vector[0] + inverse[1, 1] * vector[1] + inverse[1, 2] * vector[2]
        shift_y = inverse[2, 0] * vector[0] + inverse[2, 1] * vector[1] + inverse[2, 2] * vector[2]
        small = (
            step * step < small_square * inverse[0, 0]
            and shift_x * shift_x < small_square * inverse[1, 1]
            and shift_y * shift_y < small_square * inverse[2, 2]
        )
        if small and iterations == 1 and not lifted:
            return LEFT, iterations, radius, lifted
        flux += step
        if flux * flux < 4.0 * inverse[0, 0] or (flux < 0.0 and rules.placed == 0.0):
            status |= FROZEN
            flux, x, y = 0.0, start_x, start_y
            continue
        limit = 0.4 * max_shift
        x += max(-limit, min(limit, shift_x / flux))
        y += max(-limit, min(limit, shift_y / flux))
        if abs(x - start_x) > max_shift or abs(y - start_y) > max_shift:
            status |= FROZEN | RUNAWAY
            flux, x, y = 0.0, start_x, start_y
            continue
        if small:
            break
    else:
        status |= UNSETTLED
    position[0], position[1], position[2] = flux, x, y
    return status, iterations, radius, lifted


@helper
def _visit(
    n: int, planes: Planes, psf: PsfModel, totals: F8, positions: Positions, rules: FitRules,
    fits: Fits, position: F8, scratch: Scratch, pixels: FitPixels, newton: NewtonStep,
) -> float:  # fmt: skip
    """Fit source n again and subtract its new model; return by how much its pixels changed."""
    parameters, reach = fits.parameters, fits.reach
    flux, x, y = parameters[n, 0], parameters[n, 1], parameters[n, 2]
    u, v = positions.u[n], positions.v[n]
    # The model is drawn where it is needed, if the source stays about where it is.
    drawn = max(int(reach[n]), math.ceil(rules.fit_radius + MAX_WALK - 0.5))
    local_model(psf, totals, u, v, drawn, scratch.model)
    position[:] = parameters[n]
    held = fits.iterations[n] >= rules.most_steps
    status, steps, radius, lifted = _fit(
        planes, psf, totals, positions, n, rules, position, reach[n], held, scratch, pixels, newton
    )  # fmt: skip
    fits.iterations[n] += steps
    if status & LEFT:
        fits.status[n] &= ~MOVING
        return 0.0
    if not lifted:
        add_model(planes.residual, psf.sampling, x, y, flux, reach[n], scratch)
    fits.radius[n] = radius
    if status & NO_PIXELS:
        fits.status[n] = status
        reach[n] = -1
        parameters[n, 0] = np.nan
        return 0.0
    parameters[n] = position
    bright = abs(position[0])
    change_x = abs(position[1] - x)
    change_y = abs(position[2] - y)
    matrix = newton.matrix
    if (
        (position[0] - flux) ** 2 * matrix[0, 0] > SETTLED**2
        or (bright * change_x) ** 2 * matrix[1, 1] > SETTLED**2
        or (bright * change_y) ** 2 * matrix[2, 2] > SETTLED**2
    ):
        status |= MOVING
    fits.status[n] = status
    reach[n] = needed_reach(math.ceil(radius), bright, rules)
    if reach[n] > drawn:
        local_model(psf, totals, u, v, WHOLE, scratch.model)
    add_model(
        planes.residual, psf.sampling, position[1], position[2], -position[0], reach[n], scratch
    )
    # The derivative of a PSF is about its value over its width.
    return float(abs(position[0] - flux) + bright * (change_x + change_y) * 2.0 / rules.fit_radius)


@kernel
def fit_tiles(
    visited: I8, tiles: Tiles, planes: Planes, psf: PsfModel, positions: Positions,
    rules: FitRules, fits: Fits,
) -> None:  # fmt: skip
    """Fit the stale sources of some tiles and subtract them from the residual image.

    Parameters
    ----------
    visited : (n_tiles,) int64
        Tiles to visit, none of which touch each other's neighbours in another thread.
    tiles : Tiles
    planes : Planes
        The residual image is changed.
    psf : PsfModel
    positions : Positions
    rules : FitRules
    fits : Fits
        Changed.
    """
    scratch = scratch_for(psf, rules.envelope.size - 1)
    totals = term_totals(psf.coefficients)
    room = scratch.stamp.shape[1] * scratch.stamp.shape[2]
    pixels = FitPixels(
        np.empty(room, dtype=np.float64),
        np.empty(room, dtype=np.float64),
        np.empty(room, dtype=np.float64),
        np.empty(room, dtype=np.float64),
        np.empty(3 * room, dtype=np.float64),
    )
    newton = NewtonStep(
        np.empty((3, 3), dtype=np.float64),
        np.empty((3, 3), dtype=np.float64),
        np.empty(3, dtype=np.float64),
    )
    position = np.empty(3, dtype=np.float64)
    widest = rules.fit_radius
    for radius in fits.radius:
        widest = max(widest, radius)
    for t in range(visited.size):
        tile = visited[t]
        for m in range(tiles.start[tile], tiles.start[tile + 1]):
            n = tiles.members[m]
            if fits.stale[n] == 0:
                continue
            fits.stale[n] = 0
            change = _visit(
                n, planes, psf, totals, positions, rules, fits, position, scratch, pixels, newton
            )
            widest = max(widest, fits.radius[n])
            if not fits.status[n] & NO_PIXELS:
                mark_neighbours(n, tile, change, widest, tiles, positions, rules, fits)
