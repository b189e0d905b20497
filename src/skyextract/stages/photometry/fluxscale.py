"""How well the calibrated flux is known as the whole light of a star."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.noise import median
from skyextract.kernels.values import MAD_TO_SIGMA
from skyextract.record import record
from skyextract.stages.photometry.depth import column, split_key
from skyextract.stages.photometry.hidden import MAG_PER_RATIO, hidden_magnitudes
from skyextract.stages.photometry.pairs import zero_based_positions
from skyextract.stages.photometry.zeropoint import MIN_ERROR, MIN_STARS
from skyextract.stages.pointsources.corrections import ApertureCorrections

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8, I8, Bools
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.stages.photometry.stars import Stars

KRON_LOSS = 0.06
"""The Kron aperture of stars misses no more light than this, mag."""
WEAK_SCALE = 0.05
"""Magnitude of the calibrated flux off that of the Kron aperture, which makes it a FALLBACK."""
SURE_SCALE = 2.0
"""That difference counts as far as it exceeds so many of its errors: the Kron aperture of faint
stars is noisy, and has light of sources too faint to be told apart."""
MODEL_ERROR = 0.02
"""Error in mag of an aperture correction that is that of the PSF model."""
ALONE = 2.5
"""Sources within so many FWHM are in the Kron aperture of a star."""
MAX_NEIGHBOURS = 0.02
"""Share of light of others that a star may have there."""
APERTURE = 1.5
"""Radius of a typical aperture, FWHM."""


@record
class FluxScale:
    """How well the flux that is calibrated is known as the whole light of a star.

    Attributes
    ----------
    correction_error : float
        Error of the aperture correction, mag: all stars share it, and their scatter does not
        show it.
    above_kron : float
        Magnitude of the Kron flux minus that of the calibrated flux, median of the stars; NaN
        if there is none.  Both are of one aperture about the star: what the flux has beyond
        `KRON_LOSS` is light of a wrong PSF or aperture correction.
    kron_error : float
        Of this median, mag.
    rounding_error : float
        What rounding to whole steps may take of the light of all stars or add to it, mag.
    is_of_aperture : bool
        Whether the flux is that in a fixed aperture, which lacks light by choice.
    hidden_error : float
        Error of the light of hidden sources that was taken off, mag.
    """

    correction_error: float = 0.0
    above_kron: float = math.nan
    kron_error: float = 0.0
    rounding_error: float = 0.0
    is_of_aperture: bool = False
    hidden_error: float = 0.0

    @property
    def excess(self) -> float:
        """Light, in mag, that the flux should not have."""
        return max(self.above_kron - KRON_LOSS, 0.0) if math.isfinite(self.above_kron) else 0.0

    @property
    def lack(self) -> float:
        """Light, in mag, that the Kron aperture has and the flux has not."""
        return max(-self.above_kron, 0.0) if math.isfinite(self.above_kron) else 0.0

    @property
    def is_off(self) -> bool:
        """Whether the flux differs from that of the Kron aperture by more than the noise may."""
        lack = 0.0 if self.is_of_aperture else self.lack
        return max(self.excess, lack) - SURE_SCALE * self.kron_error > WEAK_SCALE


def flux_scale(catalog: Catalog, exposure: Exposure, flux_key: str, stars: Stars) -> FluxScale:
    """Return how well the flux of stars is known as their whole light."""
    kind, _ = split_key(flux_key)
    above_kron, kron_error = _beside_kron(catalog, exposure, flux_key, stars)
    return FluxScale(
        correction_error=_correction_error(exposure, kind, stars),
        above_kron=above_kron,
        kron_error=kron_error,
        rounding_error=_rounding_error(exposure, kind, column(catalog, flux_key)[stars.row]),
        is_of_aperture=kind == "FLUX_APER",
        hidden_error=_hidden_error(catalog, exposure, flux_key, stars),
    )


def _correction_error(exposure: Exposure, kind: str, stars: Stars) -> float:
    """Return the error of the light outside the fit or the aperture, mag."""
    error, from_stars = 0.0, False
    if kind in {"FLUX_PSF", "FLUX_APERCOR"} and exposure.aperture_corrections is not None:
        corrections = ApertureCorrections.from_catalog(exposure.aperture_corrections)
        light = corrections.growth(stars.x, stars.y)[:, 0]
        relative = float(corrections.errors[0] / median(light)) if len(light) else math.nan
        from_stars = math.isfinite(relative)
        # Without a star the PSF model stands in.
        error = MAG_PER_RATIO * abs(relative) if from_stars else MODEL_ERROR
    # Light that the model lacks is in the correction, where stars show it.
    if kind == "FLUX_PSF" and exposure.psf is not None and not from_stars:
        lacking = exposure.psf.light_error
        of_model = MAG_PER_RATIO * lacking if math.isfinite(lacking) else MODEL_ERROR
        error = math.hypot(error, of_model)
    return error


def _beside_kron(
    catalog: Catalog, exposure: Exposure, flux_key: str, stars: Stars
) -> tuple[float, float]:
    """Return the magnitude of the Kron flux minus that of the flux, and its error.

    The median of stars without neighbours, where there are enough: the Kron flux has their light.
    """
    if split_key(flux_key)[0] == "FLUX_AUTO" or "FLUX_AUTO" not in catalog:
        return math.nan, 0.0
    row = stars.row
    if exposure.psf is not None and row.size:
        alone = _alone(catalog, flux_key, row, ALONE * exposure.psf.fwhm)
        row = row[alone] if alone.mean() < 0.5 or alone.sum() >= MIN_STARS else row
    flux, kron = column(catalog, flux_key)[row], column(catalog, "FLUX_AUTO")[row]
    ratio = np.divide(flux, kron, out=np.zeros(len(row)), where=kron != 0.0)
    known = ratio[np.isfinite(ratio) & (ratio > 0.0)]
    if len(known) < max(min(MIN_STARS, len(stars.row)), 1):
        return math.nan, 0.0
    above = 2.5 * np.log10(known)
    typical = median(above)
    # 1.2533: error of a median over that of a mean (normal errors)
    spread = MAD_TO_SIGMA * median(np.abs(above - typical))
    return typical, 1.2533 * spread / math.sqrt(len(known))


def _hidden_error(catalog: Catalog, exposure: Exposure, flux_key: str, stars: Stars) -> float:
    """Return the error of what was taken off for hidden sources, mag.

    They are told by what is found, and may be none, where sources keep apart, or twice as many,
    where they come together: anything between is as likely as another.
    """
    if split_key(flux_key)[0] != "FLUX_PSF" or not len(stars.row):
        return 0.0
    mean, _ = hidden_magnitudes(catalog, exposure, flux_key, stars.row, stars.errors)
    weight = np.maximum(stars.errors, MIN_ERROR) ** -2.0
    return float(np.average(mean, weights=weight)) / math.sqrt(3.0)


def _rounding_error(exposure: Exposure, kind: str, flux: F8) -> float:
    """Return how much of the light of stars rounding may add or take, mag; 0 if it hides nothing.

    The level beneath a star is off by a part of a step in each pixel, the same for all; any part
    within the limits is as likely as another.
    """
    background, psf = exposure.background, exposure.psf
    if background is None or psf is None or not background.level_error or not len(flux):
        return 0.0
    if kind == "FLUX_PSF":
        ny, nx = exposure.shape
        pixels = 1.0 / float(np.sum(psf.stamp(0.5 * nx, 0.5 * ny).astype(np.float64) ** 2))
    else:
        pixels = math.pi * (APERTURE * psf.fwhm) ** 2
    return MAG_PER_RATIO * background.level_error * pixels / median(flux)


def _alone(catalog: Catalog, flux_key: str, rows: I8, reach: float) -> Bools:
    """Tell which sources have less light of others within reach than `MAX_NEIGHBOURS` of theirs."""
    x, y = zero_based_positions(catalog)
    flux = np.nan_to_num(column(catalog, flux_key))
    order = np.argsort(x)
    first, last = (np.searchsorted(x[order], x[rows] + side * reach) for side in (-1.0, 1.0))
    others = np.zeros(len(rows))
    for k, row in enumerate(rows):
        near = order[first[k] : last[k]]
        near = near[(np.hypot(x[near] - x[row], y[near] - y[row]) < reach) & (near != row)]
        others[k] = np.maximum(flux[near], 0.0).sum()
    alone: Bools = others < MAX_NEIGHBOURS * flux[rows]
    return alone
