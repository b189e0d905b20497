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

from skyextract.kernels.galaxies.localpsf import LocalPsf, psf_at
from skyextract.kernels.galaxies.odds import odds_of_point
from skyextract.kernels.galaxies.pixels import Pixels, add_model, gather, image_alone, noise_in
from skyextract.kernels.galaxies.points import (
    N_PARTS,
    START,
    arrange_within,
    average_squares,
    grid_of,
    part_of,
    points_in,
)
from skyextract.kernels.galaxies.render import SPARE, Grid
from skyextract.kernels.galaxies.residuals import describe, describe_wrong
from skyextract.kernels.galaxies.solve import (
    MAX_SHEAR,
    ROUGHLY_SETTLED,
    SETTLED,
    fit_source,
    invert,
    normal_equations,
)
from skyextract.kernels.galaxies.source import (
    DISK,
    E1,
    INDEX,
    N_PARAMETERS,
    POINT,
    SKY,
    SPHEROID,
    Work,
    X,
    Y,
    choose_groups,
    draw_pixels,
    draw_points,
    follow_slopes,
    spread_misfit,
    work_space,
)
from skyextract.kernels.jit import helper, kernel, summation

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F4, F8, I4, I8, U1

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
"""Neighbours are visited again after a change of this many sigma of all their pixels together."""
MAX_BINS = 91
"""Squares along a side of the box of a source; the pixels of larger boxes are averaged."""
FINE = 3.0
"""Squares in the middle of a large box are no larger than the FWHM over this, or a pixel."""
MIDDLE = 2.0
"""Half side of the part of a box that is not averaged, in FWHM."""
ROOM = 10
"""Points per parameter of a rough fit, at least."""
LEFT_OUT = 0.0005
"""Each Gaussian is drawn out to this fraction of the noise per pixel."""
ROUGHLY_LEFT_OUT = 0.004
"""The same where the fit is done again."""
BRIGHT = 50.0
"""S/N from which these are taken."""
N_NUMBERS = 13
"""That describe a fit."""


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
    n_free : (n,) int64
        So many of these, the first ones, of each source.
    prior : (2, N_PARAMETERS) float64
        Mean and inverse variance (0: no prior) of each.
    limits : (n, 2, N_PARAMETERS) float64
        Lowest and highest values of each.
    start : (n, N_PARAMETERS) float64
        Where fits begin once more, what is better and has an index no farther from the one that it
        began with, or more parameters than before, to be kept; (0, N_PARAMETERS): they do not.
    simpler : (l,) int64
        Parameters that are then fitted first, before all that are free.
    better : float
        Of chi2 with priors, by which it is better at least.
    neighbours, first : (m,) and (n + 1,) int64
        Sources whose boxes overlap that of source i: ``neighbours[first[i]:first[i + 1]]``.  One
        without any is fitted to the image, and not taken out of the residual.
    level, level_error : (n,) float64
        Of the sky, which is in the residual.
    wings : (n,) float64
        What of that is light of the source itself, to about as much.
    fwhm : float
        Of the PSF.
    point_fwhm : float
        The same where the odds of a point source are wanted; else 0.
    """

    free: I8
    n_free: I8
    prior: F8
    limits: F8
    start: F8
    simpler: I8
    better: float
    neighbours: I8
    first: I8
    level: F8
    level_error: F8
    wings: F8
    fwhm: float
    point_fwhm: float


class Fits(NamedTuple):
    """What is found.

    Attributes
    ----------
    parameters : (n, N_PARAMETERS) float64
        Changed.
    covariance : (n, N_PARAMETERS, N_PARAMETERS) float64
        Of the free parameters.
    numbers : (n, N_NUMBERS) float64
        Reduced chi2; chi2 of a point source less that of an extended one; the logarithm of
        the ratio of their evidences; noise-equivalent area in pixels; the largest step of a
        parameter in the last visit, in errors; the mean square of what the model has wrong, over
        that of its light, and the error of it; of bright sources the same of means along isophotes,
        the light that is left and its error, and how isophotes turn (`describe_wrong`).
    flags, iterations : (n,) int32
    changed : (n,) uint8
        Set to 1 where the model of a neighbour changed by more than a tenth of the noise.
    """

    parameters: F8
    covariance: F8
    numbers: F8
    flags: I4
    iterations: I4
    changed: U1


@helper
def _at_limits(parameters: F8, free: I8, limits: F8) -> int:
    """Return the flags of free parameters that lie at an end of their range.

    Of a shear that is the axis ratio, whose least one belongs to the largest shear.
    """
    flags = 0
    for f in range(free.size):
        p = free[f]
        if parameters[p] <= limits[0, p]:
            flags |= AT_MINIMUM
        if parameters[p] >= limits[1, p]:
            flags |= AT_MAXIMUM
        if (p == SPHEROID + E1 or p == DISK + E1) and (
            math.hypot(parameters[p], parameters[p + 1]) > MAX_SHEAR - 1e-6
        ):
            flags |= AT_MINIMUM
    return flags


@helper
def local_psf(places: Places, at: int, i: int, work: Work) -> LocalPsf:
    """Return the PSF of source i, whose stamp is number `at`."""
    (x, y), (left, bottom) = places.centres[at], places.corners[at]
    gaussians = places.gaussians[places.of_psf[i]]
    return psf_at(gaussians, places.stamps[at], x, y, left, bottom, work.sums)


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
    prior = rules.prior.copy()
    side = largest_box(members, places)
    work = work_space(
        side, (min(side, MAX_BINS) + 4) ** 2, max(rules.free.size, 3), places.gaussians.shape[1],
        places.stamps.shape[1],
    )  # fmt: skip
    before = np.empty(N_PARAMETERS)
    for at in range(members.size):
        i = members[at]
        own, box, limits = fits.parameters[i], places.boxes[i], rules.limits[i]
        anew = rules.start.size > 0
        free = rules.free if anew else rules.free[: rules.n_free[i]]
        beside = rules.neighbours[rules.first[i] : rules.first[i + 1]]
        apart = beside.size == 0
        psf = local_psf(places, at, i, work)
        faintest = noise_in(pixels, box) * (ROUGHLY_LEFT_OUT if rough else LEFT_OUT)
        pixel_grid = grid_of(box, 1)
        choose_groups(own, free, psf, faintest, work)
        if not apart:
            draw_pixels(own, psf, pixel_grid, faintest, work)
            add_model(pixels, pixel_grid, 1.0, work.pixels)
        wide = -(-max(box[2], box[3]) // MAX_BINS)
        step = min(wide, max(1, int(rules.fwhm / FINE)))
        half, room = MIDDLE * rules.fwhm, work.cover.size - SPARE
        squares, parts = max(step, rough), work.parts
        if arrange_within(box, own[X], own[Y], squares, half, room, parts) < ROOM * free.size:
            arrange_within(box, own[X], own[Y], step, half, room, parts)
        if psf.size > 0:
            spread_misfit(psf, pixel_grid, work)
        draw_points(own, free, psf, faintest, work)
        if apart:
            for k in range(points_in(work.parts)):
                work.own[k] = work.model[k] - own[SKY]
        else:
            average_squares(work.pixels, pixel_grid, work.parts, work.own)
        seen = image_alone(pixels) if apart else pixels
        good = gather(seen, pixel_grid, rules.level[i] - rules.wings[i], work)
        flags, iterations = fits.flags[i], fits.iterations[i]
        fits.flags[i], fits.iterations[i] = REBINNED if max(wide, rough) > 1 else 0, 0
        if good <= free.size:
            fits.flags[i] |= NO_PIXELS
            own[SPHEROID], own[DISK], own[POINT], own[SKY] = 0.0, 0.0, 0.0, 0.0
            continue
        if prior[1, SKY] > 0.0:
            prior[1, SKY] = 1.0 / (rules.level_error[i] ** 2 + rules.wings[i] ** 2)
        end = ROUGHLY_SETTLED if rough else SETTLED
        before[:] = own
        if anew:
            level = rules.level[i] - rules.wings[i]
            chi2 = normal_equations(own, free, prior, work) + _log_noise(work)
            own[:] = rules.start[i]
            again = free, rules.simpler
            least, done, settled = _fit_again(
                own, again, prior, limits, psf, faintest, seen, pixel_grid, level, work
            )
            begun = rules.start[i, SPHEROID + INDEX]
            nearer = abs(own[SPHEROID + INDEX] - begun) <= abs(before[SPHEROID + INDEX] - begun)
            nearer |= rules.n_free[i] < free.size
            if not (least < chi2 - rules.better and nearer):
                own[:] = before
                fits.flags[i], fits.iterations[i] = flags, iterations
                if not apart:
                    add_model(pixels, pixel_grid, -1.0, work.pixels)
                continue
        else:
            _, done, settled = fit_source(
                own, free, prior, limits, psf, faintest, end, math.inf, work
            )
        fits.iterations[i] += done
        fits.flags[i] |= _at_limits(own, free, limits) | (0 if settled else UNSETTLED)
        if apart and rough:
            continue
        followed = apart and settled and math.isfinite(work.drawn[X])
        if not followed:
            choose_groups(own, free, psf, faintest, work)
            draw_pixels(own, psf, pixel_grid, faintest, work)
        if not apart:
            add_model(pixels, pixel_grid, -1.0, work.pixels)
        if rough:
            continue
        if followed:
            follow_slopes(own, free, work)
        else:
            average_squares(work.pixels, pixel_grid, work.parts, work.model)
        determinant = invert(work, own, free, limits, fits.covariance[i])
        fits.numbers[i, 4] = _step(before, own, free, fits.covariance[i])
        if not math.isfinite(determinant):
            fits.flags[i] |= UNCONSTRAINED
        photons = pixels.inverse_gain > 0.0
        signals = describe(own, good - free.size, photons, work, fits.numbers[i])
        fits.numbers[i, 7:] = math.nan
        if signals > BRIGHT * BRIGHT:
            describe_wrong(own, free, rules.level_error[i], signals, work, fits.numbers[i])
        for j in beside:
            if _change_in(places.boxes[j], work) > STALE * STALE:
                fits.changed[j] = 1
        if rules.point_fwhm > 0.0:
            worse, log_odds = odds_of_point(own, limits, psf, faintest, rules.point_fwhm, work)
            fits.numbers[i, 1], fits.numbers[i, 2] = worse, log_odds


@helper
def _fit_again(
    own: F8, free: tuple[I8, I8], prior: F8, limits: F8, psf: LocalPsf, faintest: float,
    seen: Pixels, pixel_grid: Grid, level: float, work: Work,
) -> tuple[float, int, bool]:  # fmt: skip
    """Fit a profile from where it starts, as `fit_source`: a simpler one, and with all `free`.

    A model that is too bright at a pixel has a larger noise there, and chi2 alone would be content
    with it: what is returned with the iterations is chi2 and the logarithms of the variances.
    """
    other, total = work.own.copy(), 0
    chi2, settled = math.inf, False
    for k in range(3):
        those = free[1] if k == 0 else free[0]
        choose_groups(own, those, psf, faintest, work)
        draw_points(own, those, psf, faintest, work)
        if k > 0:
            for point in range(points_in(work.parts)):
                work.own[point] = work.model[point] - own[SKY]
            gather(seen, pixel_grid, level, work)
        chi2, done, settled = fit_source(
            own, those, prior, limits, psf, faintest, SETTLED, math.inf, work
        )
        total += done
    work.own[:] = other
    return chi2 + _log_noise(work), total, settled


@helper
def _log_noise(work: Work) -> float:
    """Return the sum of the logarithms of the variances of the points."""
    total = 0.0
    for k in range(points_in(work.parts)):
        if work.weight[k] > 0.0:
            total -= math.log(work.weight[k])
    return total


@helper
def _step(before: F8, parameters: F8, free: I8, covariance: F8) -> float:
    """Return the largest change of a parameter over its error."""
    largest = 0.0
    for p in free:
        if covariance[p, p] > 0.0:
            step = abs(parameters[p] - before[p]) / math.sqrt(covariance[p, p])
            largest = max(largest, step)
    return largest


@summation
def _change_in(box: I8, work: Work) -> float:
    """Return the sum of squares of the change of a model from ``work.own`` over the noise in a box.

    All squares count that reach into it.
    """
    model, own, weight, total = work.model, work.own, work.weight, np.float32(0.0)
    for k in range(N_PARTS):
        part = part_of(work.parts, k)
        left, low = max(0, (box[0] - part.x) // part.step), max(0, (box[1] - part.y) // part.step)
        right = min(part.n_x, -((part.x - box[0] - box[2]) // part.step))
        high = min(part.n_y, -((part.y - box[1] - box[3]) // part.step))
        for iy in range(low, high):
            row = np.uint64(work.parts[k, START] + iy * part.n_x)
            for ix in range(left, right):
                i = row + np.uint64(ix)
                change = model[i] - own[i]
                total += weight[i] * (change * change)
    return float(total)
