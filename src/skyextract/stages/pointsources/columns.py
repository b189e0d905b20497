"""Columns of PSF photometry and of aperture-corrected fluxes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, I8, Bools, distinct
from skyextract.datamodel.beam import is_psf_of_beam
from skyextract.datamodel.flags import FlagsSky
from skyextract.kernels.psf.draw import sum_light
from skyextract.kernels.psf.model import PsfModel
from skyextract.record import record
from skyextract.stages.pointsources.apercor import (
    aperture_corrections,
    diameters_of,
    light_left,
    reference_diameter,
    usable_stars,
)
from skyextract.stages.pointsources.corrections import ApertureCorrections
from skyextract.stages.pointsources.fit import FittedImage, PsfPhotometry, psf_photometry
from skyextract.stages.pointsources.localsky import MAX_SPREAD, Subtracted, local_sky
from skyextract.stages.pointsources.ringsky import OUTER
from skyextract.stages.pointsources.sweeps import CROWDED, FINE, Accuracy, FittedSources
from skyextract.stages.pointsources.unseen import without_neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from skyextract.datamodel.arrays import AnyArray
    from skyextract.datamodel.catalog import Catalog
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.settings.keywords import Config
    from skyextract.stages.pointsources.leftlight import LeftLight
    from skyextract.stages.pointsources.localsky import LocalSky

_FLUXES = frozenset({"FLUX_PSF", "FLUXERR_PSF"})
_SPREAD = frozenset({"SPREAD_MODEL", "SPREADERR_MODEL"})
MAX_MISFIT = 2.0
"""Reduced chi2, models wrong by a share of their light, above which a source is no point source: no
star of 1300 has it with PSFs up to 2 % too wide or too narrow (S/N to 700), galaxies do."""
SHARP, SURE = -0.018, 4.0
"""SPREAD_MODEL of sources of half the width of the PSF (a single pixel has -0.035 to -0.08), and
how many of its errors it must differ from 0."""
UNDERSAMPLED = 1.5
"""FWHM (pixels) below which no cosmic ray is looked for, so that it is always measured."""


@record
class PointSources:
    """Columns, FLAGS_SKY bits, residual image and aperture corrections.

    `beneath` is the light per pixel beneath each source that its apertures have in them.
    """

    columns: dict[str, AnyArray]
    flags: I4
    beneath: F8
    residual: F4
    corrections: Catalog


@record
class _Fitted:
    """Fits to the image that they were made to, and what was taken from it before.

    Attributes
    ----------
    fits : PsfPhotometry
    subtracted : (ny, nx) float32
        Image without sky, and without `light`.
    sky : LocalSky or None
        Light beneath the sources that is still in the apertures.
    light : (ny, nx) float32 or None
        It, where it was found among the fits.
    above : (n,) bool or None
        Sources whose apertures are without it, too.
    """

    fits: PsfPhotometry
    subtracted: F4
    sky: LocalSky | None
    light: F4 | None
    above: Bools | None = None

    @property
    def is_of_clouds(self) -> bool:
        """Whether the light is that of clouds, which the search for sources has followed."""
        return self.sky is not None and self.light is None


def measure_point_sources(
    exposure: Exposure,
    subtracted: F4,
    variance: F4,
    x: F8,
    y: F8,
    aperture_fluxes: tuple[F8, F8, F8] | None,
    config: Config,
    wanted: frozenset[str],
    run: Run,
    *,
    start: tuple[FittedSources, F4] | None = None,
    sky: LocalSky | None = None,
    above: Bools | None = None,
    accuracy: Accuracy = FINE,
    per_variance: float = 0.0,
) -> PointSources:
    """Fit the PSF to all sources; bring PSF and aperture fluxes to one reference aperture.

    Where large structure lies beneath sources, it is taken away before they are fitted, and from
    the apertures of those that are not broader than the PSF (see `local_sky`).

    Parameters
    ----------
    exposure : Exposure
        With its PSF.
    subtracted, variance : (ny, nx) float32
        Background-subtracted image; background variance, 1e30 in bad pixels.
    x, y : (n,) float64
        0-based pixels.
    aperture_fluxes : (n, k) float64 thrice, or None
        FLUX_APER and FLUXERR_APER, and this error without structure of the sky, where they, or
        FLUX_APERCOR, are wanted.
    start, per_variance
        As in `psf_photometry`: the sources of a crowd; WEIGHT_GAIN.
    sky : LocalSky, optional
        Light that was taken from the image of a crowd, and is still in the apertures.
    above : (n,) bool, optional
        Sources in whose apertures it is not.
    accuracy : Accuracy
        CROWDED where the frame is, all of it; FORCED where positions are another image's.
    """
    assert exposure.psf is not None
    spread = bool(wanted & _SPREAD) or (exposure.has_psf and exposure.psf.fwhm < UNDERSAMPLED)
    fitted = _fit_points(
        exposure, subtracted, variance, x, y, config, run,
        spread=spread, start=start, sky=sky, accuracy=accuracy, per_variance=per_variance,
    )  # fmt: skip
    if sky is not None:
        fitted = replace(fitted, above=above)
    stars = _star_rows(exposure.psf_stars, x, y, exposure.psf.fwhm)
    corrections, left = _corrections(exposure, fitted, variance, stars, config, wanted, run)
    columns = _columns(
        exposure, fitted, corrections, left, x, y, aperture_fluxes,
        config.measurement.phot_apertures, wanted, run,
    )  # fmt: skip
    residual = fitted.fits.residual
    return PointSources(
        columns={name: columns[name] for name in columns if name in wanted},
        flags=_flags(exposure, fitted.fits, stars, spread=spread),
        beneath=_beneath(fitted, x, y, run),
        residual=residual if fitted.light is None else residual + fitted.light,
        corrections=corrections.to_catalog(),
    )


def _fit_points(
    exposure: Exposure,
    subtracted: F4,
    variance: F4,
    x: F8,
    y: F8,
    config: Config,
    run: Run,
    *,
    spread: bool,
    start: tuple[FittedSources, F4] | None,
    sky: LocalSky | None,
    accuracy: Accuracy,
    per_variance: float,
) -> _Fitted:
    """Fit the PSF to all sources; again without the light beneath them, where there is any."""
    psf = exposure.psf
    assert psf is not None
    fits = psf_photometry(
        subtracted, variance, exposure.detector.gain, exposure.mask, psf, x, y, run,
        spread=spread or sky is not None, start=start, accuracy=accuracy, per_variance=per_variance,
    )  # fmt: skip
    if accuracy is CROWDED or config.extraction.noise_type != "MEASURED":
        return _Fitted(fits, subtracted, sky, None)
    beneath = Subtracted(fits.residual, fits.x, fits.y, fits.flux / fits.flux_error)
    sky = local_sky(beneath, variance, exposure.mask, psf.fwhm, run)
    if sky is None:
        return _Fitted(fits, subtracted, None, None)
    light = sky.light(subtracted, run)
    subtracted = subtracted - light
    again = None if start is None else (start[0].all_stale(), start[1])
    fits = psf_photometry(
        subtracted, variance, exposure.detector.gain, exposure.mask, psf, x, y, run, start=again,
        accuracy=accuracy, per_variance=per_variance,
    )  # fmt: skip
    return _Fitted(fits, subtracted, sky, light)


def _corrections(
    exposure: Exposure,
    fitted: _Fitted,
    variance: F4,
    stars: I8,
    config: Config,
    wanted: frozenset[str],
    run: Run,
) -> tuple[ApertureCorrections, LeftLight | None]:
    """Return the aperture corrections, and the light that the sky keeps of sources' wings."""
    psf, gain, fits = exposure.psf, exposure.detector.gain, fitted.fits
    assert psf is not None
    apertures = config.measurement.phot_apertures
    corrections: ApertureCorrections | None = None
    if exposure.aperture_corrections is not None:
        corrections = ApertureCorrections.from_catalog(exposure.aperture_corrections)
    is_known = corrections is not None and corrections.covers(apertures)
    diameter = reference_diameter(config.characterize)
    bright = usable_stars(fits, stars)
    # With the ring about the aperture, where that is the sky.
    reach = 0.5 * diameter * psf.fwhm * (OUTER if fitted.is_of_clouds else 1.0)
    with without_neighbours(
        exposure.mask, fitted.subtracted, fits.residual, variance, gain, psf,
        fits.x[bright], fits.y[bright], reach, run,
    ) as own:  # fmt: skip
        left = growth = None  # the one is in fluxes, and in corrections by stars
        image = FittedImage(fitted.subtracted, own, gain, exposure.mask, psf, fits)
        if bright.size or wanted & _FLUXES:
            more = () if is_known else apertures
            diameters = diameters_of(psf, config.characterize, more)
            left, growth = light_left(image, stars, diameters, run)
        if corrections is None or not is_known:
            light = None
            if fitted.is_of_clouds:
                assert fitted.sky is not None
                light = fitted.sky.light(fitted.subtracted, run)
            corrections = aperture_corrections(
                image, stars, apertures, config.characterize, run,
                left if light is None else None, light, growth,
                of_beam=is_psf_of_beam(psf, exposure.header, exposure.wcs),
            )  # fmt: skip
    return corrections, left


def _columns(
    exposure: Exposure,
    fitted: _Fitted,
    corrections: ApertureCorrections,
    left: LeftLight | None,
    x: F8,
    y: F8,
    aperture_fluxes: tuple[F8, F8, F8] | None,
    apertures: Sequence[float],
    wanted: frozenset[str],
    run: Run,
) -> dict[str, AnyArray]:
    """Return the columns of the fits, and of the apertures in the light of the reference one."""
    psf, fits, sky = exposure.psf, fitted.fits, fitted.sky
    assert psf is not None
    at_x, at_y = np.where(np.isfinite(fits.x), fits.x, x), np.where(np.isfinite(fits.y), fits.y, y)
    factor = corrections.psf_factor(at_x, at_y)
    level, area = (0.0, np.zeros(x.size)) if left is None else (left.level, left.area(fits.flux))
    error = np.hypot(fits.flux_error, psf.flux_error(at_x, at_y) * fits.flux)
    if exposure.background is not None and exposure.background.level_error:
        error = np.hypot(error, exposure.background.level_error * area)
        # Pixels in the light of a star are neither rounded up nor raised to a black point.
        level -= exposure.background.rounding + exposure.background.clipped_shift
    if sky is not None:
        below = sky.at(at_x, at_y, run)
        error = np.hypot(error, below[1] * area)
        if aperture_fluxes is not None:
            level_below, error_below = below
            if fitted.above is not None:
                level_below = np.where(fitted.above, 0.0, level_below)
            aperture_fluxes = above_sky(aperture_fluxes, apertures, fits, level_below, error_below)
    columns: dict[str, AnyArray] = {
        "FLUX_PSF": (fits.flux - level * area) * factor,
        "FLUXERR_PSF": error * factor,
        "XPSF_IMAGE": fits.x + 1.0,
        "YPSF_IMAGE": fits.y + 1.0,
        "ERRX2PSF_IMAGE": fits.variance_x + psf.position_error**2,
        "ERRY2PSF_IMAGE": fits.variance_y + psf.position_error**2,
        "ERRXYPSF_IMAGE": fits.covariance_xy,
        "FWHMPSF_IMAGE": np.full(x.size, psf.fwhm),
        "NITER_PSF": fits.iterations.astype(np.int16),
        "CHI2_PSF": fits.chi2,
    }
    if "FRACFLUX_PSF" in wanted:
        columns["FRACFLUX_PSF"] = own_share(fitted.subtracted - fits.residual, psf, fits)
    if fits.spread is not None and fits.spread_error is not None:
        columns.update(SPREAD_MODEL=fits.spread, SPREADERR_MODEL=fits.spread_error)
    if aperture_fluxes is not None:
        factors = corrections.aperture_factors(x, y)
        columns.update(
            FLUX_APERCOR=aperture_fluxes[0] * factors, FLUXERR_APERCOR=aperture_fluxes[1] * factors
        )
        if sky is not None:
            columns.update(FLUX_APER=aperture_fluxes[0], FLUXERR_APER=aperture_fluxes[1])
    return columns


def _beneath(fitted: _Fitted, x: F8, y: F8, run: Run) -> F8:
    if fitted.sky is None:
        return np.zeros(x.size)
    light = fitted.sky.at(x, y, run)[0]
    return light if fitted.above is None else np.where(fitted.above, 0.0, light)


def _flags(exposure: Exposure, fits: PsfPhotometry, stars: I8, *, spread: bool) -> I4:
    """Return the bits of FLAGS_SKY that the fits give."""
    flags = np.where(fits.converged, 0, int(FlagsSky.PSF_NOT_CONVERGED)).astype(np.int32)
    if spread and exposure.has_psf and fits.spread is not None and fits.spread_error is not None:
        sharp = (fits.spread < SHARP) & (fits.spread < -SURE * fits.spread_error)
        flags[sharp] |= int(FlagsSky.SHARP)
    if exposure.has_psf:
        flags[fits.misfit > MAX_MISFIT] |= int(FlagsSky.NO_POINT)
    # Stars that a given PSF was compared with did not make it.
    if exposure.psf_stars is not None and "FLUX_PSF" in exposure.psf_stars:
        flags[stars] |= int(FlagsSky.PSF_STAR)
    return flags


def above_sky(
    fluxes: tuple[F8, F8, F8], diameters: Sequence[float], fits: PsfPhotometry, level: F8, error: F8
) -> tuple[F8, F8, F8]:
    """Return aperture fluxes and errors, of point sources without the light beneath them.

    Parameters
    ----------
    fluxes
        As `aperture_fluxes` of `measure_point_sources`.
    diameters : sequence of float
        Of the k apertures, pixels.
    fits : PsfPhotometry
        With SPREAD_MODEL.
    level, error : (n,) float64
        Of the light, image units per pixel.
    """
    assert fits.spread is not None
    assert fits.spread_error is not None
    with np.errstate(invalid="ignore"):
        points = np.abs(fits.spread) < MAX_SPREAD + 3.0 * fits.spread_error
    flux, with_structure, without = (f if f.ndim == 2 else f[:, None] for f in fluxes)
    area = 0.25 * math.pi * np.square(diameters)[: flux.shape[1]]
    points = points[:, None]
    flux = np.where(points, flux - level[:, None] * area, flux)
    errors = np.where(points, np.hypot(without, error[:, None] * area), with_structure)
    shape = fluxes[0].shape
    return flux.reshape(shape), errors.reshape(shape), without.reshape(shape)


def own_share(models: F4, psf: Psf, fits: PsfPhotometry) -> F8:
    """Return the share of the light in each source's PSF that is its own.

    Of the models M of all sources, weighted with its PSF P: flux sum(P**2) / sum(P M), as the
    fracflux of Schlafly et al. (2018, ApJS 234, 39).  1 for a source alone; NaN without a fit.

    Parameters
    ----------
    models : (ny, nx) float32
        All fitted point sources.
    """
    share = np.full(fits.flux.size, np.nan)
    good = np.isfinite(fits.flux) & np.isfinite(fits.x) & np.isfinite(fits.y)
    good &= (np.rint(fits.x) >= 0) & (np.rint(fits.x) < models.shape[1])
    good &= (np.rint(fits.y) >= 0) & (np.rint(fits.y) < models.shape[0])
    x, y, sums = fits.x[good], fits.y[good], np.empty((np.count_nonzero(good), 3))
    sum_light(
        PsfModel(psf.coefficients, psf.degree, float(psf.sampling)), *psf.normalised(x, y), x, y,
        min(psf.radius, math.ceil(2.0 * psf.fwhm)), models, sums,
    )  # fmt: skip
    total, squares, light = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.clip(fits.flux[good] * squares / (total * light), 0.0, 1.0)
        share[good] = np.where(light > 0.0, own, np.nan)
    return share


def _star_rows(stars: Catalog | None, x: F8, y: F8, fwhm: float) -> I8:
    """Return the rows of the sources nearest to the PSF stars, within half a FWHM."""
    if stars is None or stars.n_rows == 0 or x.size == 0:
        return np.zeros(0, dtype=np.int64)
    rows = []
    order = np.argsort(y, kind="stable")
    star_x, star_y = stars["X_IMAGE"] - 1.0, stars["Y_IMAGE"] - 1.0
    # A little more along y than half a FWHM, and in it the same distances as among all.
    begin, end = (np.searchsorted(y[order], star_y + sign * fwhm) for sign in (-1.0, 1.0))
    for k in range(stars.n_rows):
        near = np.sort(order[begin[k] : end[k]])
        if not near.size:
            continue
        distance2 = (x[near] - star_x[k]) ** 2 + (y[near] - star_y[k]) ** 2
        nearest = int(distance2.argmin())
        if distance2[nearest] <= (0.5 * fwhm) ** 2:
            rows.append(int(near[nearest]))
    return distinct(np.array(rows, dtype=np.int64))
