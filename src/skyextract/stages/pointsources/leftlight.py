"""The light of sources too faint to be found, and what the mode of the sky lacks.

A background is the mode of the pixels.  The mean lies above it: by the skewness of photon noise,
and by sources too faint to be found, half of them of less than their noise.  Fits and apertures
sum the mean.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F8, I8, Bools, each_of
from skyextract.datamodel.noise import median, typical_noise
from skyextract.datamodel.psf import Psf
from skyextract.kernels.values import MAD_TO_SIGMA, MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.pointsources.clippedfit import constant_term
from skyextract.stages.pointsources.fit import FittedImage
from skyextract.stages.pointsources.sweeps import UNUSABLE, fit_radius

CLIP = 4.0
"""Pixels beyond so many sigma are of what was not taken away well."""
SAMPLE = 250_000
"""Pixels in which the light that is left is measured, about."""
WIDER = (3.0, 2.0, 1.0)
"""Light within so many radii of the reference aperture of a bright source, and FWHM of any other,
is its own (a galaxy has wings that no PSF takes away), if that leaves enough of the frame."""
ABOUT = 2.0
"""It is measured within so many radii of the reference aperture about stars, beyond one of them,
and in the whole frame."""
MIN_LEFT = 0.1
"""Share of these pixels that is left, if that can be, and pixels that are needed."""
MIN_PIXELS = 1000
SURE = 3.0
"""Light about stars differs from that of the frame from so many errors on."""
MIN_RING = 30
MIN_RINGS = 5
MAX_WINGS = 0.02
"""Share of their light that stars may have there beyond what the model has, about."""
MAX_STARS = 300
"""Stars whose surroundings are looked at, about, at most."""
CELLS = 8
"""Cells per side of the frame in which it may differ."""
FAR_OFF = 4.0
"""Light of cells that are so many times as far from the median as others is their own, and tells
nothing of other places."""
FAINTEST = 1e-3
"""Fluxes are tabulated from this part of the noise in the fit..."""
BRIGHTEST = 1e5
"""... to so many times that noise."""


@record
class LeftLight:
    """Mean light per pixel that is left between bright sources.

    Attributes
    ----------
    level, error : float
        Image units; the error is that of the noise.
    scatter : (CELLS, CELLS) float64
        By place, in the cells of the frame.
    fluxes, areas : (k,) float64
        What a fit of a flux makes of one unit of light in each pixel, pixels.
    """

    level: float
    error: float
    scatter: F8
    fluxes: F8
    areas: F8

    def area(self, flux: F8) -> F8:
        """Return how many pixels' light a fit of each flux takes for the source's; NaN of NaN."""
        return np.asarray(np.interp(flux, self.fluxes, self.areas), dtype=np.float64)

    def scatter_at(self, x: F8, y: F8, shape: tuple[int, int]) -> F8:
        """Return by how much the light differs from the level where stars are, image units."""
        row, column = (
            np.clip(np.rint(v) * CELLS / size, 0, CELLS - 1).astype(np.int64)
            for v, size in zip((y, x), shape, strict=True)
        )
        return np.asarray(self.scatter[row, column], dtype=np.float64)

    def beneath_stars(self, level: float, error: float) -> LeftLight:
        """Return what is beneath stars, as light nearer to them shows it, as far as it does.

        Wings of galaxies, which a PSF leaves over, lie about them and not beneath stars.  What
        the two levels differ by beyond `SURE` of their errors may be wrong of the first one; less
        than that is noise, mostly of the second, which rests on far fewer pixels.
        """
        if not (math.isfinite(level) and error > 0.0):
            return self
        if self.error == 0.0:
            return replace(self, level=level, error=error)
        beyond = (level - self.level) ** 2 - SURE**2 * (error**2 + self.error**2)
        own = max(beyond, 0.0) + self.error**2
        total = own + error**2
        mean = (self.level * error**2 + level * own) / total
        return replace(self, level=mean, error=math.sqrt(own * error**2 / total))


def light_between(fitted: FittedImage, stars: I8, radius: float) -> LeftLight:
    """Measure what the sky holds between sources when all that were found are taken away.

    Parameters
    ----------
    fitted : FittedImage
    stars : (n,) int64
        Rows of its sources that are bright stars.
    radius : float
        Of the reference aperture, pixels.
    """
    photometry, psf = fitted.sources, fitted.psf
    residual, shape = photometry.residual, photometry.residual.shape
    step = max(1, residual.size // SAMPLE)
    x, y, flux = photometry.x[stars], photometry.y[stars], photometry.flux[stars]
    others = np.isfinite(photometry.x) & np.isfinite(photometry.y)
    others[stars] = False
    core = within(x, y, np.full(len(x), radius), shape, step)
    near = within(x, y, np.full(len(x), ABOUT * radius), shape, step) & ~core
    for wide in WIDER:
        is_bright = photometry.flux >= np.min(flux, initial=math.inf)
        reach = np.where(is_bright, wide * radius, wide * psf.fwhm)[others]
        free = ~within(photometry.x[others], photometry.y[others], reach, shape, step)
        n_free = np.count_nonzero(free & near)
        if wide == WIDER[-1] or n_free > MIN_LEFT * np.count_nonzero(near):
            break
    of_stars = within(x, y, np.full(len(x), wide * radius), shape, step)
    noise = fitted.variance[::step].astype(np.float64)
    values = residual[::step].astype(np.float64)
    free &= (fitted.mask[::step] & UNUSABLE) == 0
    free &= (noise > 0.0) & (noise < MAX_VARIANCE) & np.isfinite(values)
    free &= values**2 < CLIP**2 * noise
    areas = _fitted_areas(psf, typical_noise(fitted.variance) ** 2, fitted.gain)
    light = LeftLight(0.0, 0.0, np.zeros((CELLS, CELLS)), *areas)
    if np.count_nonzero(free & ~of_stars) >= MIN_PIXELS:
        light = LeftLight(*_by_cells(values, noise, free & ~of_stars), *areas)
    chosen = np.arange(0, len(x), 1 + len(x) // MAX_STARS)
    rings = mean_of_rings(values, noise, free & ~core, (x[chosen], y[chosen] / step), radius, step)
    level, error = _constant(*rings, flux[chosen], radius)
    if not math.isfinite(level):
        # Where no star shows it, light may be that of a comet.
        return replace(light, level=0.0, error=0.0)
    return light.beneath_stars(level, error)


def mean_of_rings(
    values: F8, noise: F8, use: Bools, place: tuple[F8, F8], radius: float, step: int
) -> tuple[F8, F8]:
    """Return the mean of the pixels about stars, and its error; NaN where there are few."""
    outer = ABOUT * radius
    ny, nx = use.shape
    x, y = (position[:, None, None] for position in place)
    row = (
        np.ceil(y - outer / step).astype(np.int64) + np.arange(int(2.0 * outer / step) + 1)[:, None]
    )
    column = np.ceil(x - outer).astype(np.int64) + np.arange(int(2.0 * outer) + 1)
    square = (step * (row - y)) ** 2 + (column - x) ** 2
    ring = (square > radius**2) & (square < outer**2)
    ring &= (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    star, *pixel = np.nonzero(ring)
    pixels = row[star, pixel[0], 0] * nx + column[star, 0, pixel[1]]
    kept = use.ravel()[pixels]
    star, pixels = star[kept], pixels[kept]
    number = np.bincount(star, minlength=len(x))
    means, power = (
        np.bincount(star, plane.ravel()[pixels], len(x)) / np.maximum(number, 1)
        for plane in (values, noise)
    )
    few = number * step < MIN_RING
    means[few] = np.nan
    return means, np.where(few, np.nan, np.sqrt(power / np.maximum(number, 1)))


def _constant(means: F8, errors: F8, flux: F8, radius: float) -> tuple[float, float]:
    """Return the part of the light about stars that is not theirs, and its error; NaN if unknown.

    Wings that a model lacks are the more light the brighter the star is.
    """
    known = np.isfinite(means) & np.isfinite(flux)
    if known.sum() < MIN_RINGS:
        return math.nan, math.nan
    middle = median(flux[known])
    wings = MAX_WINGS * middle / (math.pi * (ABOUT**2 - 1.0) * radius**2)
    terms = np.stack([np.ones(len(flux)), flux / middle], axis=1)[known]
    return constant_term(terms, means[known], errors[known], (0.0, wings))


def _fitted_areas(psf: Psf, variance: float, gain: float) -> tuple[F8, F8]:
    """Return fluxes and what their fits make of one unit of light in each pixel."""
    zero = np.zeros(1)
    stamp = psf.stamps(zero + psf.x_zero, zero + psf.y_zero, zero, zero)[0].astype(np.float64)
    axis = np.arange(stamp.shape[0]) - stamp.shape[0] // 2
    radius = fit_radius(psf)
    core = np.maximum(stamp[np.hypot(axis[:, None], axis) <= radius], 0.0)
    noise = math.sqrt(max(variance, 1e-300) / float(core @ core))
    fluxes = noise * np.geomspace(FAINTEST, BRIGHTEST, 60)
    photons = fluxes / gain if gain > 0.0 and math.isfinite(gain) else np.zeros(fluxes.size)
    weights = core / (1.0 + photons[:, None] / max(variance, 1e-300) * core)
    return fluxes, weights.sum(axis=1) / (weights @ core)


def _by_cells(values: F8, noise: F8, use: Bools) -> tuple[float, float, F8]:
    """Return the mean of pixels, its error, and the scatter of each cell beyond its noise.

    That is the scatter of typical cells, and for others their own distance from the mean: light
    of the Moon on one side of a frame does no harm to stars on the other.
    """
    ny, nx = values.shape
    cell = (np.arange(ny) * CELLS // ny)[:, None] * CELLS + np.arange(nx) * CELLS // nx
    of_pixel = cell[use]
    number = np.bincount(of_pixel, minlength=CELLS**2)
    total = np.bincount(of_pixel, values[use], CELLS**2)
    power = np.bincount(of_pixel, noise[use], CELLS**2)
    some = np.flatnonzero(number >= MIN_PIXELS / CELLS)
    means, expected = total[some] / number[some], power[some] / number[some] ** 2
    # The halo of a bright star is in a few cells, and not where the stars are that this is for.
    # In units of the image: the noise of cells with the Moon's limb would explain what is there.
    offset = np.abs(means - (median(means) if some.size else 0.0))
    typical = max(MAD_TO_SIGMA * median(offset), math.sqrt(median(expected))) if some.size else 0.0
    good = offset < FAR_OFF * typical
    rest = np.delete(np.arange(CELLS**2), some[~good])
    number, total, power = number[rest], total[rest], power[rest]
    level = float(total.sum() / number.sum())
    square = (means - level) ** 2 - expected
    scatter = np.full(CELLS**2, float(np.mean(square[good])) if some.size else 0.0)
    scatter[some[~good]] = square[~good]
    error = math.sqrt(float(power.sum())) / float(number.sum())
    return level, error, np.sqrt(np.maximum(scatter, 0.0)).reshape(CELLS, CELLS)


def within(x: F8, y: F8, reach: F8, shape: tuple[int, int], step: int) -> Bools:
    """Mark the pixels within reach of positions, in every step-th row."""
    n_rows, nx = -(-shape[0] // step), shape[1]
    first = np.maximum(np.ceil((y - reach) / step), 0.0).astype(np.int64)
    last = np.minimum(np.floor((y + reach) / step), n_rows - 1).astype(np.int64)
    counts = np.maximum(last - first + 1, 0)
    disc, place = each_of(counts)
    row = first[disc] + place
    half = np.sqrt(np.maximum(reach[disc] ** 2 - (row * step - y[disc]) ** 2, 0.0))
    low = np.clip(np.ceil(x[disc] - half), 0, nx).astype(np.int64)
    high = np.clip(np.floor(x[disc] + half) + 1, 0, nx).astype(np.int64)
    # Chords begin (even numbers) and end along the line of all pixels.
    ends = np.concatenate([2 * (row * nx + low), 2 * (row * nx + high) + 1])
    ends.sort()
    depth = np.cumsum(1 - 2 * (ends & 1))
    lengths = np.diff(ends >> 1, prepend=0, append=n_rows * nx)
    marked: Bools = np.repeat(np.append(0, depth) > 0, lengths)
    return marked.reshape(n_rows, nx)
