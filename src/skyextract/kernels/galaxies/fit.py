"""Fits of models to the pixels of sources, one source after the other.

A visit adds the source's own model back to the residual image, fits its parameters there, and
subtracts the new model.  Sources whose neighbours have changed are visited again, so that
they converge to the simultaneous solution (block Gauss-Seidel).  The weights are those of the
sky, of the neighbours' light and of the model, not of the noisy pixels, which would bias the flux.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skyextract.kernels.galaxies.odds import odds_of_point
from skyextract.kernels.galaxies.render import Grid
from skyextract.kernels.galaxies.solve import ROUGHLY_SETTLED, SETTLED, fit_source, invert
from skyextract.kernels.galaxies.source import (
    DISK,
    N_PARAMETERS,
    POINT,
    SKY,
    SPHEROID,
    LocalPsf,
    Work,
    choose_groups,
    draw_source,
    psf_at,
    work_space,
)
from skyextract.kernels.jit import helper, kernel
from skyextract.kernels.values import MAX_VARIANCE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1, U2

REBINNED = 2
"""Bit of the fit's flags, as in SExtractor: the pixels were averaged in squares."""
UNCONSTRAINED = 4
"""As in SExtractor: the pixels do not determine the parameters."""
AT_MINIMUM = 8
"""As in SExtractor: a parameter lies at the lower end of its range."""
AT_MAXIMUM = 16
"""As in SExtractor: at the upper end."""
UNSETTLED = 32
"""The last iteration still made a step."""
NO_PIXELS = 64
"""Hardly any good pixels; nothing fitted."""

STALE = 0.1
"""Neighbours are visited again after a change of this many sigma of all pixels together."""
MAX_BINS = 91
"""Squares along a side of the box of a source; the pixels of larger boxes are averaged."""
ROOM = 10
"""Squares per parameter of a rough fit, at least."""
INFINITE = 3.5e38
"""More than any number of single precision."""
LEFT_OUT = 0.0005
"""Each Gaussian is drawn out to this fraction of the noise per pixel."""


class Pixels(NamedTuple):
    """The image that is fitted.

    Attributes
    ----------
    image, residual, variance : (ny, nx) float32
        Less background; less all models, changed; background variance.
    mask : (ny, nx) uint16
    unusable : int
        Bits of pixels that must not be used.
    inverse_gain : float
        Image units per electron; 0: no photon noise.
    level_error : float
        Of the sky below the sources.
    """

    image: F4
    residual: F4
    variance: F4
    mask: U2
    unusable: int
    inverse_gain: float
    level_error: float


class Places(NamedTuple):
    """Where the sources are, and the PSF there.

    Attributes
    ----------
    boxes : (n, 4) int64
        First pixel x, y, width and height, within the image.
    gaussians : (p, j, 6) float64
        Of PSFs, as in `add_profile`.
    of_psf : (n,) int64
        Which of them a source has.
    stamps : (m, s, s) float32
        The PSF itself at each of the sources that are visited.
    corners : (m, 2) int64
        First pixel x, y of each stamp.
    centres : (m, 2) float64
        Where each stamp is centred, 0-based.
    """

    boxes: I8
    gaussians: F8
    of_psf: I8
    stamps: F4
    corners: I8
    centres: F8


class Rules(NamedTuple):
    """What is fitted.

    Attributes
    ----------
    free : (k,) int64
        Parameters.
    prior : (2, N_PARAMETERS) float64
        Mean and inverse variance (0: no prior) of each.
    limits : (n, 2, N_PARAMETERS) float64
        Lowest and highest values of each.
    point_fwhm : float
        FWHM of the PSF, where the odds of a point source are wanted; else 0.
    """

    free: I8
    prior: F8
    limits: F8
    point_fwhm: float


class Fits(NamedTuple):
    """What is found.

    Attributes
    ----------
    parameters : (n, N_PARAMETERS) float64
        Changed.
    covariance : (n, N_PARAMETERS, N_PARAMETERS) float64
        Of the free parameters.
    numbers : (n, 5) float64
        Reduced chi2; chi2 of a point source less that of an extended one; the logarithm of
        the ratio of their evidences; noise-equivalent area in pixels; the largest step of a
        parameter in the last visit, in errors.
    flags, iterations : (n,) int32
    changed : (n,) uint8
        Set to 1 where a model changed by more than a tenth of its noise.
    """

    parameters: F8
    covariance: F8
    numbers: F8
    flags: I4
    iterations: I4
    changed: U1


@helper
def grid_of(box: I8, step: int) -> Grid:
    """Return the squares of side `step` that fit into a box of x, y, width, height."""
    return Grid(box[0], box[1], step, box[2] // step, box[3] // step)


@helper
def add_model(pixels: Pixels, grid: Grid, sign: float, model: F8, sky: float) -> None:
    """Add `sign` times a model less its sky to the residual image."""
    for y in range(grid.n_y):
        for x in range(grid.n_x):
            light = model[y * grid.n_x + x] - sky
            pixels.residual[grid.y + y, grid.x + x] += np.float32(sign * light)


@helper
def noise_in(pixels: Pixels, box: I8) -> float:
    """Return the mean background noise of the good pixels of a box; 1 without any."""
    total, count = 0.0, 0
    for y in range(box[1], box[1] + box[3]):
        for x in range(box[0], box[0] + box[2]):
            v = float(pixels.variance[y, x])
            if v > 0.0 and v < MAX_VARIANCE:
                total += v
                count += 1
    return math.sqrt(total / count) if count > 0 else 1.0


@helper
def gather(pixels: Pixels, grid: Grid, work: Work) -> int:
    """Average the residual in squares into `work.data` and `weight`; count those with weight.

    `work.own` is the model of the source, which is not in the residual: image less residual
    is the light of the neighbours, whose photon noise counts.
    """
    if grid.step == 1:
        return _gather_pixels(pixels, grid, work)
    good = 0
    step = grid.step
    for iy in range(grid.n_y):
        for ix in range(grid.n_x):
            total, noise, count = 0.0, 0.0, 0
            for y in range(grid.y + iy * step, grid.y + (iy + 1) * step):
                for x in range(grid.x + ix * step, grid.x + (ix + 1) * step):
                    v = float(pixels.variance[y, x])
                    value = float(pixels.residual[y, x])
                    usable = v > 0.0 and v < MAX_VARIANCE and math.isfinite(value)
                    if not usable or pixels.mask[y, x] & pixels.unusable:
                        continue
                    total += value
                    light = float(pixels.image[y, x]) - value
                    noise += v + pixels.inverse_gain * max(light, 0.0)
                    count += 1
            i = iy * grid.n_x + ix
            work.data[i] = 0.0
            work.weight[i] = 0.0
            if 2 * count > step * step:
                noise += pixels.inverse_gain * count * max(work.own[i], 0.0)
                work.data[i] = total / count
                work.weight[i] = count * count / noise
                good += 1
    return good


@helper
def _gather_pixels(pixels: Pixels, grid: Grid, work: Work) -> int:
    """Gather single pixels, without a branch, which keeps the loop from being vectorized."""
    image, residual, variance, mask = pixels.image, pixels.residual, pixels.variance, pixels.mask
    data, weight, own, lost = work.data, work.weight, work.own, pixels.unusable
    good = 0
    for iy in range(grid.n_y):
        y = np.uint64(grid.y + iy)
        for ix in range(grid.n_x):
            x, i = np.uint64(grid.x + ix), np.uint64(iy * grid.n_x + ix)
            v, value = float(variance[y, x]), float(residual[y, x])
            usable = (v > 0.0) & (v < MAX_VARIANCE) & (abs(value) < INFINITE)
            usable = usable & ((mask[y, x] & lost) == 0)
            light = max(float(image[y, x]) - value, 0.0) + max(own[i], 0.0)
            noise = v + pixels.inverse_gain * light
            data[i] = value if usable else 0.0
            weight[i] = 1.0 / noise if usable else 0.0
            good += 1 if usable else 0
    return good


@helper
def _at_limits(parameters: F8, free: I8, limits: F8) -> int:
    """Return the flags of free parameters that lie at an end of their range."""
    flags = 0
    for f in range(free.size):
        p = free[f]
        if parameters[p] <= limits[0, p]:
            flags |= AT_MINIMUM
        if parameters[p] >= limits[1, p]:
            flags |= AT_MAXIMUM
    return flags


@helper
def local_psf(places: Places, at: int, i: int) -> LocalPsf:
    """Return the PSF of source i, whose stamp is number `at`."""
    x, y = places.centres[at]
    gaussians = places.gaussians[places.of_psf[i]]
    return psf_at(gaussians, places.stamps[at], x, y, places.corners[at, 0], places.corners[at, 1])


@helper
def largest_box(members: I8, places: Places) -> int:
    """Return the longest side of the boxes of some sources."""
    side = 1
    for i in members:
        side = max(side, places.boxes[i, 2], places.boxes[i, 3])
    return side


@kernel
def visit_sources(
    members: I8, places: Places, pixels: Pixels, rules: Rules, fits: Fits, rough: int
) -> None:
    """Fit some sources; the models that all sources have so far are out of the residual.

    Parameters
    ----------
    members : (m,) int64
        Sources whose boxes do not overlap.
    rough : int
        Not 0 for the first visit, with the photon noise of a model to start from: a rough fit to
        squares of so many pixels along a side, which is done again.
    """
    free, prior = rules.free, rules.prior
    side = largest_box(members, places)
    work = work_space(side, max(free.size, 3), places.gaussians.shape[1])
    nothing, before = free[:0], np.empty(N_PARAMETERS)
    for at in range(members.size):
        i = members[at]
        own, box, limits = fits.parameters[i], places.boxes[i], rules.limits[i]
        psf = local_psf(places, at, i)
        faintest = noise_in(pixels, box) * LEFT_OUT
        fine = grid_of(box, 1)
        step = -(-max(box[2], box[3]) // MAX_BINS)
        grid = grid_of(box, max(step, rough))
        if grid.n_x * grid.n_y < ROOM * free.size:
            grid = grid_of(box, step)
        choose_groups(own, psf, faintest, work)
        if grid.step > 1:
            draw_source(own, nothing, psf, fine, faintest, work)
            add_model(pixels, fine, 1.0, work.model, own[SKY])
        draw_source(own, free, psf, grid, faintest, work)
        if grid.step == 1:
            add_model(pixels, fine, 1.0, work.model, own[SKY])
        for k in range(grid.n_x * grid.n_y):
            work.own[k] = work.model[k] - own[SKY]
        good = gather(pixels, grid, work)
        fits.flags[i], fits.iterations[i] = REBINNED if grid.step > 1 else 0, 0
        if good <= free.size:
            fits.flags[i] |= NO_PIXELS
            own[SPHEROID], own[DISK], own[POINT], own[SKY] = 0.0, 0.0, 0.0, 0.0
            continue
        end = ROUGHLY_SETTLED if rough else SETTLED
        before[:] = own
        _, done, settled = fit_source(
            own, free, prior, limits, psf, grid, faintest, end, math.inf, work
        )
        fits.iterations[i] += done
        fits.flags[i] |= _at_limits(own, free, limits) | (0 if settled else UNSETTLED)
        determinant = invert(work, own, free, limits, fits.covariance[i])
        fits.numbers[i, 4] = _step(before, own, free, fits.covariance[i])
        if not math.isfinite(determinant):
            fits.flags[i] |= UNCONSTRAINED
        choose_groups(own, psf, faintest, work)
        draw_source(own, nothing, psf, grid, faintest, work)
        _describe(own, grid, work, good - free.size, fits.numbers[i])
        if _change(own[SKY], grid, work) > STALE * STALE:
            fits.changed[i] = 1
        if grid.step > 1:
            draw_source(own, nothing, psf, fine, faintest, work)
        add_model(pixels, fine, -1.0, work.model, own[SKY])
        if rules.point_fwhm > 0.0 and not rough:
            worse, log_odds = odds_of_point(
                own, limits, psf, grid, faintest, rules.point_fwhm, work
            )
            fits.numbers[i, 1], fits.numbers[i, 2] = worse, log_odds


@helper
def _describe(parameters: F8, grid: Grid, work: Work, freedom: int, numbers: F8) -> None:
    """Write reduced chi2 and noise-equivalent area of the model that is drawn."""
    total, squares, chi2 = 0.0, 0.0, 0.0
    for k in range(grid.n_x * grid.n_y):
        light = work.model[k] - parameters[SKY]
        total += light
        squares += light * light
        chi2 += work.weight[k] * (work.data[k] - work.model[k]) ** 2
    numbers[0] = chi2 / max(freedom, 1)
    numbers[3] = grid.step * grid.step * total * total / squares if squares > 0.0 else math.nan


@helper
def _step(before: F8, parameters: F8, free: I8, covariance: F8) -> float:
    """Return the largest change of a parameter over its error."""
    largest = 0.0
    for p in free:
        if covariance[p, p] > 0.0:
            step = abs(parameters[p] - before[p]) / math.sqrt(covariance[p, p])
            largest = max(largest, step)
    return largest


@helper
def _change(sky: float, grid: Grid, work: Work) -> float:
    """Return the sum of squares of the change of a model from ``work.own`` over the noise."""
    total = 0.0
    for k in range(grid.n_x * grid.n_y):
        total += work.weight[k] * (work.model[k] - sky - work.own[k]) ** 2
    return total
