"""Stars on clouds: the sky beneath them, and those that are not significant against it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.stages.crowded.rest import WIDE_RADIUS, LeastFlux, significant_sources
from skyextract.stages.psf.localsky import Subtracted, local_sky
from skyextract.stages.psf.sweeps import FittedSources

if TYPE_CHECKING:
    from collections.abc import Callable

    from skyextract.datamodel.arrays import F4
    from skyextract.datamodel.detections import Detections
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.stages.background.planes import Plane
    from skyextract.stages.crowded.search import Hidden
    from skyextract.stages.detection.matched import MatchedFilter

CLOUDS = 2.0
"""Structure of the sky that raises the noise of the filtered image by more than this..."""
CLOUD_CELL = 2.5
"""... is followed by meshes of this size, in FWHM, in what the fits leave, each for itself, while
sources are looked for."""
SWEEPS = 6
"""Sweeps of the fits on the sky that is left at the end."""


def has_clouds(found: Detections) -> bool:
    """Tell whether structure of the sky is most of the noise that detection met."""
    return found.around is not None and median(found.full_noise_scale) > CLOUDS


def above_clouds(
    exposure: Exposure, hidden: Hidden, least: LeastFlux,
    fitted: Callable[[Plane, Psf, FittedSources, F4 | None, int], Hidden], matched: MatchedFilter,
    run: Run,
) -> Hidden:  # fmt: skip
    """Mark sources that are noise, and return all as they are above the light about each.

    Small meshes, with which they were found, follow the wings of bright stars, too.

    Parameters
    ----------
    hidden : Hidden
        With its plane of wide meshes.
    least : LeastFlux
        Where nothing but noise is left.
    fitted : callable
        Fits sources in so many sweeps, from the models of earlier ones on.
    """
    clear = significant_sources(hidden, 0, least, matched, run, radius=WIDE_RADIUS)
    hidden = replace(hidden, faded=np.flatnonzero((hidden.sources.reach >= 0) & ~clear))
    plane = hidden.wide
    assert plane is not None
    fits = fitted(plane, hidden.psf, FittedSources.at(hidden.x, hidden.y), None, SWEEPS)
    snr = fits.flux * (matched.square / matched.unit(plane.background.sigma))
    left = Subtracted(fits.residual, fits.x, fits.y, snr)
    sky = local_sky(
        left, plane.variance_plane(run), exposure.mask, hidden.psf.fwhm, run, everywhere=True
    )
    if sky is None:
        return hidden
    above = replace(plane, subtracted=plane.subtracted - sky.light(plane.subtracted, run))
    fits = fitted(above, hidden.psf, fits.sources.all_stale(), fits.models, SWEEPS)
    return replace(hidden, plane=above, sources=fits.sources, models=fits.models, sky=sky)
