"""Errors of fits in a crowd: larger than noise makes them, by what cannot be told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F8
from skyextract.stages.crowded.rest import WIDE_RADIUS, box_mean, nearest_pixel, pairs_within
from skyextract.stages.crowded.search import MIN_SEPARATION, MIN_SHARE
from skyextract.stages.detection.matched import filter_matched

if TYPE_CHECKING:
    from skyextract.datamodel.catalog import Catalog
    from skyextract.run import Run
    from skyextract.stages.crowded.search import Hidden
    from skyextract.stages.detection.matched import MatchedFilter

AROUND = 8.0
"""Radius, in FWHM, within which the sources tell how many more there are that are not told apart:
of less than MIN_SHARE of the light, above which the search finds them."""
SELDOM = 0.1
"""Number of them upon a source that makes half of their light count: what happens to fewer is far
off, and does not widen the errors of most."""


def with_errors_of_crowds(
    sources: Catalog, hidden: Hidden, gain: float, matched: MatchedFilter, run: Run
) -> Catalog:
    """Return the sources with errors of PSF fits that contain what is not told apart.

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`.
    hidden : Hidden
    gain : float
        Electrons per image unit; 0: unknown.
    matched : MatchedFilter
    run : Run
    """
    factor = _factor(hidden, gain, matched, run)
    flux = np.abs(hidden.flux)
    scatter = _blended_scatter(hidden.x, hidden.y, flux, hidden.psf.fwhm)
    columns = {}
    if "FLUXERR_PSF" in sources:
        columns["FLUXERR_PSF"] = np.hypot(sources["FLUXERR_PSF"] * factor, scatter)
    # Light that is anywhere in a disc has this variance along each axis.
    share = scatter / np.maximum(flux, 1e-30)
    moved = (share * MIN_SEPARATION * hidden.psf.fwhm / 2.0) ** 2
    for name, more in (("ERRX2PSF_IMAGE", moved), ("ERRY2PSF_IMAGE", moved), ("ERRXYPSF_IMAGE", 0)):
        if name in sources:
            columns[name] = sources[name] * factor**2 + more
    return sources.with_columns(**columns)


def _blended_scatter(x: F8, y: F8, flux: F8, fwhm: float) -> F8:
    """Return the rms of the light of fainter sources so near to each that they are one with it.

    There are as many per area as there are around.
    """
    first, second = pairs_within(x, y, AROUND * fwhm)
    near, far = np.concatenate([first, second]), np.concatenate([second, first])
    fainter = flux[far] < MIN_SHARE * flux[near]
    near, far = near[fainter], far[fainter]
    share = (MIN_SEPARATION / AROUND) ** 2
    number = share * np.bincount(near, minlength=x.size)
    square = share * np.bincount(near, flux[far] ** 2, minlength=x.size)
    out: F8 = np.sqrt(square * number / (number + SELDOM))
    return out


def _factor(hidden: Hidden, gain: float, matched: MatchedFilter, run: Run) -> F8:
    """Return how much larger errors of the fits are than noise makes them, per source.

    That is the noise of the filtered residual about a source in units of what background and
    photons make it: the rest is of stars that could not be told apart, and of the PSF.

    Parameters
    ----------
    gain : float
        Electrons per image unit; 0: unknown.
    """
    plane = hidden.plane
    variance = plane.variance_plane(run)
    if gain > 0.0:
        variance = variance + (np.maximum(hidden.models, 0.0) / gain).astype(np.float32)
    filtered = filter_matched(
        hidden.residual, matched, run, sigma=plane.background.sigma, variance=variance,
        bad=plane.holes,
    )  # fmt: skip
    filtered /= np.float32(matched.unit(plane.background.sigma))
    half = max(1, round(WIDE_RADIUS * hidden.psf.fwhm))
    noise = np.sqrt(np.maximum(box_mean(filtered**2, half), 1.0))
    row, column = nearest_pixel(hidden.x, hidden.y, noise.shape)
    factor: F8 = noise[row, column]
    return factor
