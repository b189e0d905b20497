"""Light of clouds that passes for faint stars, known by the errors that all have in the end.

Structure of a nebula goes on at the scale of the PSF.  What the fitted sky does not follow of it is
noise to stars there, with more far peaks than normal noise has.  How much it is, the image tells,
filtered with the PSF, without bright stars and the mean about each place: of sources that are no
higher above that nearly all are knots, and these are broader than stars.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.noise import median
from skyextract.stages.crowded.errors import BRIGHT
from skyextract.stages.crowded.rest import filtered_plane
from skyextract.stages.detection.noise import in_sigma, scale_at
from skyextract.stages.detection.structure import (
    CELL,
    CLIP,
    local_scale,
    mean_around,
    without_structure,
)
from skyextract.stages.pointsources.sweeps import add_models
from skyextract.stages.psf.knots import knots_among

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I4, I8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden
    from skyextract.stages.detection.matched import MatchedFilter

AROUND = 1.0
"""Width of the Gaussian within which the mean about each place is taken off, in FWHM."""
LIT = 20.0
"""Pixels with so many sigma of the light of bright stars tell nothing of the clouds."""
LEAST = 0.3
"""Pixels farther than CLIP times the rms about a place are left out, which is less then: not below
this part."""
SURE = 10.0
"""S/N from which a source is none of the clouds."""
KEPT = 0.75
"""Part of the least S/N that stars have in the end: the sky beneath a place, and what is left about
it, are in the errors of the last fits alone."""
EXTENDED = 3.0
"""SPREAD_MODEL of sources that are none the less, galaxies, is so many times its error."""


def structure_beneath(sources: Catalog, hidden: Hidden, matched: MatchedFilter, run: Run) -> F8:
    """Return the flux that structure and noise of the clouds about each source pass for, (n,).

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`, with the errors of crowds.
    hidden : Hidden
        With the sky of clouds.
    matched : MatchedFilter
    run : Run
    """
    assert hidden.sky is not None
    plane, psf = hidden.plane, hidden.psf
    with np.errstate(invalid="ignore"):
        bright = sources["FLUX_PSF"] >= SURE * sources["FLUXERR_PSF"]
    bright &= hidden.sources.reach >= 0
    light = np.zeros_like(hidden.models)
    add_models(light, psf, hidden.sources.take(bright), 1.0)
    image = plane.subtracted + hidden.sky.light(plane.subtracted, run)
    image -= light
    unit = matched.unit(plane.background.sigma)
    filtered = filtered_plane(plane, image, matched, run)
    filtered /= np.float32(unit)
    free = (light < np.float32(LIT * plane.background.sigma)) & (filtered != 0.0)
    cell = max(1, round(CELL * psf.fwhm))
    rest = filtered
    for _ in range(2):
        # What a mean flattens is in what it leaves (Tukey 1977: twicing).
        rest = without_structure(rest, mean_around(rest, free, cell, AROUND * psf.fwhm), run)
    # Clipped at the rms about each place: where a nebula is bright that is many times the usual.
    none = np.ones((1, 1), np.float32)
    scale = local_scale(rest, free, none, psf.fwhm, clip=math.inf)
    in_sigma(rest, scale, run)
    scale = scale * local_scale(rest, free, none * np.float32(LEAST), psf.fwhm, clip=CLIP)
    known = np.isfinite(hidden.x) & np.isfinite(hidden.y)
    x, y = (np.where(known, at, 0.0) for at in (hidden.x, hidden.y))
    flux: F8 = scale_at(scale, rest.shape, x, y) * unit / matched.square
    return flux


def knots_of_clouds(sources: Catalog, hidden: Hidden, matched: MatchedFilter, run: Run) -> I4:
    """Return NO_POINT for sources that are rather light of the clouds beneath them than stars.

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`, with the errors of crowds.
    hidden : Hidden
    matched : MatchedFilter
    run : Run
    """
    flags = np.zeros(hidden.x.size, np.int32)
    if hidden.sky is None:
        return flags
    level, _ = hidden.sky.at(hidden.x, hidden.y, run)
    upon = np.flatnonzero(np.isfinite(level) & (level != 0.0))
    flux, error = sources["FLUX_PSF"][upon], sources["FLUXERR_PSF"][upon]
    height = flux / structure_beneath(sources, hidden, matched, run)[upon]
    knots = knots_among(sources["SPREAD_MODEL"][upon], sources["SPREADERR_MODEL"][upon], height)
    knots |= _is_lost(flux, error, hidden)
    flags[upon[knots]] = int(FlagsSky.NO_POINT)
    return flags


def knots_beneath(sources: Catalog, hidden: Hidden) -> I8:
    """Return the rows upon clouds that are rather knots or noise of these than sources.

    Detected ones, too, are as lost as those beneath others, if they are no galaxies and not bright:
    they stand out of the noise of the sky, and not of what the clouds leave.

    Parameters
    ----------
    sources : Catalog
        One row per source of `hidden`.
    hidden : Hidden
        With the sky of clouds.
    """
    flags, flux, error = sources["FLAGS_SKY"], sources["FLUX_PSF"], sources["FLUXERR_PSF"]
    knots: Bools = ((flags & np.int16(FlagsSky.HIDDEN)) != 0) & (
        (flags & np.int16(FlagsSky.NO_POINT)) != 0
    )
    with np.errstate(invalid="ignore"):
        extended = sources["SPREAD_MODEL"] > EXTENDED * sources["SPREADERR_MODEL"]
    bright = flux > BRIGHT * median(error[np.isfinite(error)])
    lost = _is_lost(flux, error, hidden) & ~extended & ~bright
    return np.flatnonzero((knots & (flux < SURE * error)) | lost)


def _is_lost(flux: F8, error: F8, hidden: Hidden) -> Bools:
    """Tell which sources their errors in the end leave too little of."""
    lost: Bools = flux < KEPT * hidden.least_snr * error
    return lost
