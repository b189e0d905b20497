"""What sources that hide in the images of stars add to their magnitudes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.flags import FlagsSky
from skyextract.stages.photometry.depth import column
from skyextract.stages.pointsources.hidden import DEBLENDED, TOGETHER, HiddenLight, shares_in_fit
from skyextract.stages.pointsources.unseen import MIN_SHARE

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure

MAG_PER_RATIO = 2.5 / math.log(10.0)


def hidden_magnitudes(
    catalog: Catalog, exposure: Exposure, flux_key: str, rows: I8, errors: F8
) -> tuple[F8, F8]:
    """Return by how much fluxes of the PSF are too bright in the mean, and the scatter, mag.

    Parameters
    ----------
    catalog : Catalog
        All sources.
    exposure : Exposure
    flux_key : str
        Their fluxes.
    rows : (n,) int64
        The stars.
    errors : (n,) float64
        How far a star may be off, mag, until it is known to be.
    """
    psf, flux = exposure.psf, column(catalog, flux_key)
    if psf is None:
        return np.zeros(len(rows)), np.zeros(len(rows))
    others = HiddenLight.of_sources(flux, exposure.shape, psf.fwhm)
    shares, pixels = shares_in_fit(psf, DEBLENDED)
    most = None
    if "FLAGS_SKY" in catalog and np.any(catalog["FLAGS_SKY"] & int(FlagsSky.HIDDEN)):
        # What the fits left was searched for peaks of this part of the models there.
        most = np.where(shares > TOGETHER, math.inf, MIN_SHARE * shares * flux[rows, None])
    mean, scatter = others.within(errors / MAG_PER_RATIO * flux[rows], shares, pixels, most)
    return MAG_PER_RATIO * mean / flux[rows], MAG_PER_RATIO * scatter / flux[rows]
