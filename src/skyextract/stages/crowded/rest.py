"""What the fits of a crowded field leave of the image: its noise, and what that says of sources."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import median, quantiles
from skyextract.kernels.psf.near import box_squares
from skyextract.kernels.values import MAX_VARIANCE
from skyextract.record import record
from skyextract.stages.detection.localmeans import local_noise
from skyextract.stages.detection.matched import filter_about, filter_matched, filter_two
from skyextract.stages.detection.noise import in_sigma, measure_scale, scale_at

if TYPE_CHECKING:
    from skyextract.datamodel.detections import Detections
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.detection.matched import MatchedFilter

NOISE_RADIUS = 0.7
"""Half side of the box, in FWHM, in which the noise of the rest about a source is taken..."""
SIGNIFICANT = 1.1
"""... of which a source is so many times the detection threshold..."""
MIN_NOISE = 1.0 / SIGNIFICANT
"""... and which counts as this many times the expected, at least: none is below the threshold."""
MIN_PLACES = 30
"""Noises of fewer places do not tell how much of their scatter is chance."""
WIDE_RADIUS = 2.0
"""The same where the noise itself is of clouds, or tells the errors of a source."""
MAX_RESIDUAL = 1e6
"""In the noise of the filtered image; no model leaves so much but where a pixel is broken."""
SHARED = (0.25, 0.5)
"""Share of the noise of pixels that neighbours have in common: from the first number on noise
counts as correlated, from the second on all of what the filtered image has."""
N_SAMPLE = 50_000
"""Pixels, in whole rows, whose noise is looked at, about."""
LIT, MIN_LIT = (2.0, 30.0), 100
"""Light upon pixels, in sigma of the sky, that tells its own noise; so many are enough."""


@record
class LeastFlux:
    """Flux of the faintest sources that are significant, by the noise where they are.

    Attributes
    ----------
    flux : float
        In independent noise, image units.
    scale : (n_y, n_x) float32
        Noise of the filtered image over that of independent pixels, in equal cells.
    shape : (int, int)
        Of the image [y, x].
    """

    flux: float
    scale: F4
    shape: tuple[int, ...]

    def at(self, x: F8, y: F8) -> F8:
        """Return the flux at some pixels."""
        return self.flux * scale_at(self.scale, self.shape, x, y)

    def times(self, factor: float) -> LeastFlux:
        """Return fluxes of another significance."""
        return replace(self, flux=self.flux * factor)


def filtered_plane(plane: Plane, image: F4, matched: MatchedFilter, run: Run) -> F4:
    """Return an image of the plane filtered with the PSF."""
    return filter_matched(
        image, matched, run, sigma=plane.background.sigma, variance=plane.variance_plane(run),
        smooth=plane.variance is None, bad=plane.holes,
    )  # fmt: skip


def filtered_together(
    plane: Plane, images: tuple[F4, F4], matched: MatchedFilter, run: Run
) -> tuple[F4, F4]:
    """Return `filtered_plane` of two images, of wide PSFs in less time than one after the other."""
    return filter_two(
        images, matched, run, sigma=plane.background.sigma, variance=plane.variance_plane(run),
        smooth=plane.variance is None, bad=plane.holes,
    )  # fmt: skip


def filtered_about(
    plane: Plane, image: F4, row: I8, column: I8, reach: int, matched: MatchedFilter, run: Run
) -> F4:
    """Return `filtered_plane` where it is within `reach` of some pixels along both axes only."""
    return filter_about(
        image, matched, row, column, reach, run, sigma=plane.background.sigma,
        variance=plane.variance_plane(run), smooth=plane.variance is None, bad=plane.holes,
    )  # fmt: skip


def noise_scale(
    filtered: F4, residual: F4, plane: Plane, unit: float, matched: MatchedFilter,
    extended: I8, run: Run, *, about: float = 0.0,
) -> F4:  # fmt: skip
    """Return the noise of the filtered residual over what independent pixels give, if they are not.

    It is that of equal cells of the frame: plates have more of it on nebulae.  Clouds are so uneven
    that what is typical of wide cells would hide stars beside their bright parts.

    Stars too faint to be found raise that noise as well, which shall not keep others from being
    found.  They add little to the noise of pixels; where most of it is shared by neighbouring
    pixels (resampled frames, photographic plates), it is the noise itself that is correlated.

    Parameters
    ----------
    extended : (k,) int64
        Pixels of extended sources, whose light is none of the noise.
    about : float
        Upon clouds it is that of small cells, for stars of this FWHM.
    """
    step = max(1, residual.size // N_SAMPLE)
    good, some = ~plane.bad[::step], residual[::step]
    row, column = np.divmod(extended, residual.shape[1])
    looked_at = row % step == 0
    good[row[looked_at] // step, column[looked_at]] = False
    pairs = good[:, 1:] & good[:, :-1]
    shared = 1.0 - (_width(np.diff(some)[pairs]) / _width(some[good])) ** 2 / 2.0
    weight = min(max((shared - SHARED[0]) / (SHARED[1] - SHARED[0]), 0.0), 1.0)
    none = np.ones((1, 1), np.float32)
    if weight == 0.0:
        return none
    light = filtered.ravel()[extended]
    filtered.ravel()[extended] = 0.0
    if about > 0.0:
        scale = local_noise(filtered / np.float32(unit), about, run)
    else:
        scale = measure_scale(filtered, unit, 1.0 / matched.square, None, run)
    filtered.ravel()[extended] = light
    return none if np.isnan(scale).any() else np.maximum(scale, none) ** np.float32(weight)


def _width(values: F4) -> float:
    """Return half the distance of the quantiles at -1 and 1 sigma."""
    if values.size == 0:
        return 1.0
    low, high = quantiles(values, (0.15866, 0.84134))
    return float(high - low) / 2.0 or 1.0


def significant_sources(
    hidden: Hidden,
    n_detected: int,
    least: LeastFlux,
    matched: MatchedFilter,
    run: Run,
    *,
    radius: float = NOISE_RADIUS,
) -> Bools:
    """Tell which added sources are significant against what the fit leaves around them.

    The noise of the filtered residual about a source has the photons of its neighbours, the
    errors of their models and stars that are too close to each other to be told apart.  A box has
    few independent pixels: what of it is chance, `_shrunk` takes away.

    Parameters
    ----------
    n_detected : int
        So many, the first ones, are taken as significant.
    least : LeastFlux
        Where nothing but noise is left.
    radius : float
        Half side of the box about a source in which the noise is taken, FWHM.
    """
    filtered = filtered_plane(hidden.plane, hidden.residual, matched, run)
    filtered /= np.float32(matched.unit(hidden.plane.background.sigma))
    in_sigma(filtered, least.scale, run)
    half = max(1, round(radius * hidden.psf.fwhm))
    row, column = nearest_pixel(hidden.x, hidden.y, filtered.shape)
    noise = np.sqrt(mean_square(filtered, row, column, half))
    noise[n_detected:] = _shrunk(noise[n_detected:], scatter_of_noise(half, hidden.psf.fwhm))
    significant: Bools = hidden.flux >= least.at(hidden.x, hidden.y) * np.maximum(noise, MIN_NOISE)
    significant[:n_detected] = True
    return significant


def _shrunk(noise: F8, chance: float) -> F8:
    """Return noises that were measured from few pixels each, as far as they tell of their places.

    Where the logarithms scatter by chance alone, all places have the typical noise; by how much
    they scatter more, their own counts (the empirical Bayes estimate of normal means: Efron and
    Morris 1973, JASA 68, 117).

    Parameters
    ----------
    noise : (n,) float64
    chance : float
        Scatter of the logarithm of one.
    """
    if noise.size < MIN_PLACES:
        return noise
    logarithm = np.log(np.maximum(noise, 1e-30))
    low, middle, high = quantiles(logarithm, (0.15866, 0.5, 0.84134))
    own = max(0.0, 1.0 - (chance / max((high - low) / 2.0, 1e-30)) ** 2)
    shrunk: F8 = np.exp(middle + own * (logarithm - middle))
    return shrunk


def scatter_of_noise(half: int, fwhm: float) -> float:
    """Return the standard deviation of ln(rms) of filtered white noise in boxes.

    To first order half the relative one of the mean square, whose pixels have the correlation of
    a Gaussian PSF with itself: exp(-r^2 / (4 sigma^2)).

    Parameters
    ----------
    half : int
        Half side of the boxes, pixels.
    fwhm : float
        Of the filter, pixels.
    """
    side = 2 * half + 1
    apart = np.arange(1 - side, side)
    sigma = fwhm / 2.3548
    along = ((side - np.abs(apart)) * np.exp(-0.5 * (apart / sigma) ** 2)).sum() / side**2
    return float(0.5 * math.sqrt(2.0) * along)


def mean_square(filtered: F4, row: I8, column: I8, half: int) -> F8:
    """Return the mean square of the pixels no farther than `half` along both axes from some.

    Pixels count as `MAX_RESIDUAL` at most, in place: the square of one that is broken is infinite.

    Parameters
    ----------
    filtered : (ny, nx) float32
        In units of its noise.
    row, column : (n,) int64
    """
    np.clip(filtered, -MAX_RESIDUAL, MAX_RESIDUAL, out=filtered)
    mean = np.empty(row.size)
    box_squares(filtered, row, column, half, mean)
    return mean


def disc_offsets(radius: float) -> I8:
    """Return the offsets (dy, dx) of the pixels of a disc, (n, 2)."""
    square = np.arange(-int(radius), int(radius) + 1) ** 2
    return np.argwhere(square[:, None] + square <= radius * radius) - int(radius)


def nearest_pixel(x: F8, y: F8, shape: tuple[int, ...]) -> tuple[I8, I8]:
    """Return the row and column of the nearest pixels of the image."""
    column = np.clip(np.rint(x), 0, shape[1] - 1).astype(np.int64)
    row = np.clip(np.rint(y), 0, shape[0] - 1).astype(np.int64)
    return row, column


def hosts_of(hidden: Hidden, found: Detections) -> I8:
    """Return the row of the detection in whose footprint each source lies, -1 for none."""
    row, column = nearest_pixel(hidden.x, hidden.y, found.image_shape)
    host = np.abs(found.labels_at(row, column)).astype(np.int64) - 1
    host[: found.n] = np.arange(found.n)
    return host


def gain_of_rest(hidden: Hidden, variance: F4) -> float:
    """Return the gain, which nothing gives, by what fits leave beneath stars; 0 if that is noise.

    Photons of the sources are noise that the sky does not have; without them what is left of
    bright stars passes for stars, above all behind a register that multiplies electrons.  Faint
    stars are left, too: no photon is noisier than those of a sky that is nothing but photons.

    Parameters
    ----------
    variance : (ny, nx) float32
        Of the background.

    Returns
    -------
    float
        Electrons per image unit, of electrons that are as noisy as photons.
    """
    plane = hidden.plane
    sigma, level = plane.background.sigma, plane.background.mean
    rows = slice(None, None, max(1, hidden.models.size // (10 * N_SAMPLE)))
    models, noise2 = hidden.models[rows], variance[rows]
    seen = (models > LIT[0] * sigma) & (models < LIT[1] * sigma) & (noise2 < MAX_VARIANCE)
    if np.count_nonzero(seen) < MIN_LIT:
        return 0.0
    light = models[seen].astype(np.float64)
    left = plane.subtracted[rows][seen] - light
    # Of a normal distribution half of the squares are below .455.
    more = median(left**2 / 0.455 - noise2[seen]) / median(light)
    if not more > 0.0:
        return 0.0
    return float(1.0 / min(more, sigma**2 / level if level > 0.0 else math.inf))
