"""Errors of fits in a crowd: larger than noise makes them, by what cannot be told apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.noise import median, quantiles
from skyextract.stages.crowded.hidden import MIN_SEPARATION
from skyextract.stages.crowded.rest import WIDE_RADIUS, mean_square, nearest_pixel
from skyextract.stages.detection.matched import filter_matched
from skyextract.stages.pointsources.pairs import pairs_within

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.detection.matched import MatchedFilter

AROUND = 8.0
"""Radius, in FWHM, within which the sources tell how many more there are that are not told apart:
as near as MIN_SEPARATION, ..."""
FELT = 0.6
"""... and within this, in FWHM, those of less than the share of the light that the search
finds: light at a distance r adds exp(-r^2 / 4 sigma^2) of itself to a flux, in the mean square
as much as all of it within this radius."""
NEAR, BEYOND = 0.6, 2.0
"""Share of the box about a source, by its sides, that tells what is left beneath the source itself;
that of all of the box counts as so many times that, or the noise, at most: one corner may have a
galaxy in it, which no point source takes away."""
MAX_ABSORBED = 0.6
"""Share of the noise that fits take up, at most, where they are dense."""
APART = 1.5
"""FWHM within which chance would bring sources together, in as many pairs as there are about."""
NO_CROWD, CROWD = 0.2, 0.4
"""Share of these that are seen: where none hide, at most, and in a crowd, at least (.45 to .75 of
those of stars at random, some of which are not told apart)."""
NO_PAIR = 3.0
"""Of none that are seen there may be so many (19 of 20 times)."""
OUTLYING = 3.0
"""What fits of sources that are apart leave, in units of the median, is from here on of them."""
_WIDTHS = np.linspace(1.0, 3.0, 201)
_WITHIN = np.array([math.erf(width / math.sqrt(2.0)) for width in _WIDTHS])
"""Share of a Gaussian within so many of its sigmas."""


LEAST_SNR = 1.5
"""Of what was found beneath others, in the end..."""
LOST, LOST_SNR = 10.0, 5.0
"""... of what is no point source either, where errors are so many times the usual ones: a coma is
taken apart into knots that are no more significant than what fits leave of it..."""
SPARSE, SPARSE_SNR = 5.0, 3.0
"""... and with fewer sources than so many per 100 FWHM^2 within AROUND and in the frame, ..."""
BRIGHT = 20.0
"""... below so many of the usual errors..."""
PIECES = 1.5
"""... if no other source is within this, in FWHM, or a more significant one that was found so, too:
what meshes leave of reflected light, smooth profiles of a galaxy, is taken for stars; in a crowd
nine of ten so faint are, and beside a star it is its companion."""
STRUCTURE_SNR, STRUCTURE = 3.0, 1.5
"""Fluxes of less than so many of their errors are rather of structure of the sky than of stars, as
what is detected has more of the noise; and pieces of it where errors are so many times those of the
best quarter, ..."""
MAIN = 0.25
"""... but for what has such a share of the light of its blend: a galaxy as wide as a mesh has next
to nothing in a PSF at its centre."""


def insignificant(sources: Catalog, x: F8, y: F8, fwhm: float, shape: tuple[int, ...]) -> I8:
    """Return the rows found beneath others that are lost in the errors that they have in the end.

    The search knows the noise; what neighbours and galaxies add to it shows in the last fit.

    Parameters
    ----------
    sources : Catalog
        One row per source.
    x, y : (n,) float64
        0-based pixels.
    fwhm : float
        Of the PSF, pixels.
    shape : (int, int)
        Of the frame.
    """
    beneath = (sources["FLAGS_SKY"] & np.int16(FlagsSky.HIDDEN)) != 0
    known = np.isfinite(sources["FLUXERR_PSF"])
    typical = median(sources["FLUXERR_PSF"][known])
    bright = sources["FLUX_PSF"] > BRIGHT * typical
    first, second = pairs_within(x, y, PIECES * fwhm)
    is_alone = np.bincount(np.concatenate([first, second]), minlength=x.size) == 0
    both = beneath[first] & beneath[second]
    first, second = first[both], second[both]
    snr = sources["FLUX_PSF"] / sources["FLUXERR_PSF"]
    is_piece = np.zeros(x.size, np.bool_)
    is_piece[np.where(snr[first] < snr[second], first, second)] = True
    is_faint = is_piece | (is_alone & ~bright & (not _is_crowd(x.size, fwhm, shape)))
    is_faint &= _is_sparse(x, y, fwhm)
    least = np.where(is_faint, SPARSE_SNR, LEAST_SNR)
    lost = sources["FLUXERR_PSF"] > LOST * typical
    least[lost & ((sources["FLAGS_SKY"] & np.int16(FlagsSky.NO_POINT)) != 0)] = LOST_SNR
    kept = sources["FLUX_PSF"] >= least * sources["FLUXERR_PSF"]
    return np.flatnonzero(beneath & ~kept)


def _company(x: F8, y: F8, radius: float) -> I8:
    """Return how many others are within a radius of each."""
    return np.bincount(np.concatenate(pairs_within(x, y, radius)), minlength=x.size)


def _is_sparse(x: F8, y: F8, fwhm: float) -> Bools:
    """Tell about which sources few others are."""
    return _company(x, y, AROUND * fwhm) < SPARSE * math.pi * AROUND**2 / 100.0


def _is_crowd(n: int, fwhm: float, shape: tuple[int, ...]) -> bool:
    """Tell whether a frame with so many sources is crowded as a whole."""
    return n > SPARSE * math.prod(shape) / fwhm**2 / 100.0


def of_structure(
    sources: Catalog, parent: I4, light: F8, x: F8, y: F8, fwhm: float, shape: tuple[int, ...]
) -> tuple[I8, I8]:
    """Return the rows that are light of a nebula, a halo: pieces of larger ones, and whole ones.

    They stand out of the noise of the sky, which is what they were detected against, and not out
    of what is about them.  Of a blend that has nothing else the brightest is whole, and so are
    galaxies, bright ones and what no point source describes, whose errors are as large, what has
    a good part of the light of its blend, and what is beside another source.  Crowds, where stars
    are the structure, have none.

    Parameters
    ----------
    sources : Catalog
        One row per source.
    parent : (n,) int32
        Numbers of the blends that they are of; 0: of none.
    light : (n,) float64
        All of their pixels'.
    x, y : (n,) float64
        0-based pixels.
    fwhm : float
        Of the PSF, pixels.
    shape : (int, int)
        Of the frame.
    """
    flux, error = sources["FLUX_PSF"], sources["FLUXERR_PSF"]
    known = np.isfinite(error)
    usual = quantiles(error[known], [0.25])[0] if known.any() else 0.0
    lost = flux < STRUCTURE_SNR * error
    if not lost.any() or _is_crowd(flux.size, fwhm, shape):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lost &= _is_sparse(x, y, fwhm)
    faint = lost & (error > STRUCTURE * usual)
    order = np.lexsort((np.where(faint, flux, np.inf), parent))
    brightest = np.ones(flux.size, np.bool_)
    brightest[order[:-1]] = (parent[order[1:]] != parent[order[:-1]]) | (parent[order[:-1]] == 0)
    no_point = (sources["FLAGS_SKY"] & np.int16(FlagsSky.NO_POINT)) != 0
    piece = faint & ~brightest & ~no_point & (flux < BRIGHT * usual)
    piece &= _company(x, y, PIECES * fwhm) == 0
    of_blend = np.bincount(parent, np.maximum(np.nan_to_num(light), 0.0))
    piece &= ~(light >= MAIN * of_blend[parent])
    return np.flatnonzero(piece), np.flatnonzero(lost & ~piece)


def with_errors_of_crowds(
    sources: Catalog, hidden: Hidden, variance: F4, gain: float, matched: MatchedFilter, run: Run,
    *, spare: F4 | None = None,
) -> Catalog:  # fmt: skip
    """Return the sources with errors of PSF fits that contain what is not told apart.

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`.
    hidden : Hidden
    variance : (ny, nx) float32
        Background variance that the fits weighted by.
    gain : float
        Electrons per image unit; 0: unknown.
    matched : MatchedFilter
    run : Run
    spare : (ny, nx) float32, optional
        Memory that is written to.
    """
    if hidden.is_of_companions:
        return sources
    mean = _mean_of_rest(hidden, variance, gain, matched, spare, run)
    crowd = crowded_by_pairs(hidden.x, hidden.y, hidden.psf.fwhm)
    if crowd < 1.0:
        mean = crowd * mean + (1.0 - crowd) * mean_if_apart(mean, sources["FLUXERR_PSF"])
    factor: F8 = np.sqrt(np.maximum(mean, 1.0))
    if hidden.local is not None:
        factor = np.where(hidden.local, factor, 1.0)
    flux = np.abs(hidden.flux)
    columns = {}
    own = sources["FLUXERR_PSF"] * factor
    error = blended_errors(hidden.x, hidden.y, flux, own, hidden.psf.fwhm, hidden.least_share)
    if crowd < 1.0:
        error = np.sqrt(crowd * error**2 + (1.0 - crowd) * own**2)
    if hidden.local is not None:
        error = np.where(hidden.local, error, own)
    columns["FLUXERR_PSF"] = error
    # Light that is anywhere in a disc has this variance along each axis.
    share = np.sqrt(np.maximum(error**2 - own**2, 0.0)) / np.maximum(flux, 1e-30)
    moved = (share * MIN_SEPARATION * hidden.psf.fwhm / 2.0) ** 2
    for name, more in (("ERRX2PSF_IMAGE", moved), ("ERRY2PSF_IMAGE", moved), ("ERRXYPSF_IMAGE", 0)):
        if name in sources:
            columns[name] = sources[name] * of_positions(factor) ** 2 + more
    return sources.with_columns(**columns)


def of_positions(factor: F8) -> F8:
    """Return how much larger errors of positions are where those of fluxes are by a factor.

    The light of faint stars is smooth as the PSF is. Of as much of such noise as flux errors tell a
    position feels half, compared with noise of pixels, as its weights are the PSF's slopes:
    of a Gaussian's spectrum P(k)^2 that is sum(k^2 P^4) / sum(k^2 P^2) = 1/4, and 1/2 for fluxes.
    """
    out: F8 = np.sqrt(0.5 * (1.0 + factor**2))
    return out


def blended_errors(x: F8, y: F8, flux: F8, error: F8, fwhm: float, least_share: float) -> F8:
    """Return errors of fluxes with the light of fainter sources that cannot be told apart.

    There are as many per area as there are around, within MIN_SEPARATION of each, or within FELT
    if they are too faint to be found there, below `least_share` of its light. The light of those
    below the error is more noise. What is brighter leaves the errors of sources without such
    company as they are, but 68 % of all are then within a larger multiple of these: of a share
    ``a`` of sources alone, ``0.68 / a`` must be within it.  No error is larger than that with the
    variance of all light.
    """
    first, second = pairs_within(x, y, AROUND * fwhm)
    near, far = np.concatenate([first, second]), np.concatenate([second, first])
    fainter = flux[far] < flux[near]
    near, light = near[fainter], flux[far[fainter]]
    unseen = light < least_share * flux[near]
    share = (np.where(unseen, FELT, MIN_SEPARATION) / AROUND) ** 2
    below = np.where(light < error[near], share, 0.0)
    noise = np.bincount(near, below * light**2, minlength=x.size)
    everything = np.bincount(near, share * light**2, minlength=x.size)
    alone = np.exp(-np.bincount(near, share - below, minlength=x.size))
    width = np.interp(_WITHIN[0] / alone, _WITHIN, _WIDTHS)
    out: F8 = np.minimum(
        width * np.hypot(error, np.sqrt(noise)), np.hypot(error, np.sqrt(everything))
    )
    return out


def crowded_by_pairs(x: F8, y: F8, fwhm: float) -> float:
    """Tell whether sources are a crowd, 1, or all keep apart, 0, by their pairs.

    Where chance would have brought some together and none are seen, none hide either.

    Parameters
    ----------
    x, y : (n,) float64
        0-based pixels.
    fwhm : float
    """
    expected = pairs_within(x, y, AROUND * fwhm)[0].size * (APART / AROUND) ** 2
    seen = pairs_within(x, y, APART * fwhm)[0].size
    most = (seen + 2.0 * math.sqrt(seen) + NO_PAIR) / max(expected, 1e-30)
    return min(max((most - NO_CROWD) / (CROWD - NO_CROWD), 0.0), 1.0)


def mean_if_apart(mean: F8, error: F8) -> F8:
    """Return the noise about sources that are apart, in units of what makes their errors.

    The few areas of the PSF about one tell its noise but roughly, and as errors are never smaller
    than noise makes them, chance would make them larger.  What faint sources have in common is of
    the sky, and as much, in image units, beneath bright ones.  What these leave beyond it is of the
    PSF, which all fluxes share.

    Parameters
    ----------
    mean : (n,) float64
        Mean square of the rest about each source, in units of its noise.
    error : (n,) float64
        Of the fluxes, as noise makes it.
    """
    known = np.isfinite(mean) & (error > 0.0)
    if not known.any():
        return mean
    faint = known & (error <= median(error[known]))
    some = mean[faint]
    more = max(float(some[some <= OUTLYING * median(some)].mean()) - 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        out: F8 = 1.0 + more * np.minimum(median(error[faint]) / error, 1.0) ** 2
    return out


def _mean_of_rest(
    hidden: Hidden, variance: F4, gain: float, matched: MatchedFilter, spare: F4 | None, run: Run
) -> F8:
    """Return how much more variance fits have than noise gives them, per source.

    That is the noise of the filtered residual about a source in units of what background and
    photons make it: the rest is of stars that could not be told apart, and of the PSF.

    Parameters
    ----------
    gain : float
        Electrons per image unit; 0: unknown.
    """
    filtered = _filtered_rest(hidden, variance, gain, matched, spare, run)
    half = max(1, round(WIDE_RADIUS * hidden.psf.fwhm))
    return mean_square_of_rest(filtered, hidden.x, hidden.y, half, matched.square)


def _filtered_rest(
    hidden: Hidden, variance: F4, gain: float, matched: MatchedFilter, spare: F4 | None, run: Run
) -> F4:
    """Return what fits leave, filtered with the PSF, in units of what the sky and photons make it.

    The planes that this takes are let go.
    """
    plane = hidden.plane
    if gain > 0.0:
        light = np.maximum(hidden.models, 0.0)
        light /= np.float32(gain)
        variance = np.add(light, variance, out=light)
    rest = np.subtract(plane.subtracted, hidden.models, out=spare)
    filtered = filter_matched(
        rest, matched, run, sigma=plane.background.sigma, variance=variance, bad=plane.holes
    )
    filtered /= np.float32(matched.unit(plane.background.sigma))
    return filtered


def mean_square_of_rest(filtered: F4, x: F8, y: F8, half: int, square: float) -> F8:
    """Return the mean square of the noise about sources, of what their fits have left of it.

    A fit of flux, x and y takes up what the filter makes of as much noise as there is on the area
    1 / `square`: half of that for the flux, a quarter for each coordinate (of a Gaussian PSF).  Of
    the light of faint stars, which is smooth, it takes up to twice as much: errors are then up to a
    sixth too small.  What is far off in the box, and not near the source, is of another source.

    Parameters
    ----------
    filtered : (ny, nx) float32
        Residual of all fits, filtered with the PSF; changed where it is far off.
    half : int
        Pixels no farther than this along both axes count.
    square : float
        Sum of P**2.
    """
    row, column = nearest_pixel(x, y, filtered.shape)
    mean = mean_square(filtered, row, column, half)
    near = mean_square(filtered, row, column, max(1, round(NEAR * half)))
    mean = np.minimum(mean, BEYOND * np.maximum(near, 1.0))
    number = np.zeros(filtered.shape, np.float32)
    np.add.at(number, (row, column), np.float32(1.0))
    density = mean_square(np.sqrt(number, out=number), row, column, half)
    free: F8 = mean / (1.0 - np.minimum(density / square, MAX_ABSORBED))
    return free
