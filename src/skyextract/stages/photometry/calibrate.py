"""Photometric calibration: a zero point from reference stars, its error, and its verification.

MAG = zero point - 2.5 log10(flux in image units) is the reference catalogue's magnitude.
The flux is that of one column (PHOT_FLUX_KEY), whose aperture thereby defines the zero point:
light outside it is made up for, as far as stars go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from skyextract.datamodel.arrays import F8, Bools
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.matches import match_table
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.errors import StepError
from skyextract.record import record
from skyextract.settings.steps import Status
from skyextract.sky.bands import Band, column_bands, frame_filter, resolve_band
from skyextract.stages.photometry.alone import with_alone
from skyextract.stages.photometry.checks import (
    Evidence,
    Verdict,
    better_band,
    verify,
    with_doubles,
)
from skyextract.stages.photometry.depth import Sky, depth_range, flux_noise, sky_brightness
from skyextract.stages.photometry.fluxscale import flux_scale
from skyextract.stages.photometry.linearity import (
    with_bright_end,
    with_dark_corners,
    with_loss,
    with_widths,
)
from skyextract.stages.photometry.model import (
    StarModel,
    affordable_degree,
    color_term,
    fit_stars,
    varies_over_field,
)
from skyextract.stages.photometry.pairs import Pairs, pair_stars
from skyextract.stages.photometry.parts import Parts, compare_parts
from skyextract.stages.photometry.stars import Stars, choose_flux, select_stars
from skyextract.stages.photometry.uneven import with_uneven_fluxes, with_waves
from skyextract.stages.photometry.zeropoint import MIN_ERROR, ZeroPointFit

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.run import Run
    from skyextract.settings.keywords import Photometry as PhotometryConfig


METRICS = (
    "zero_point", "zero_point_error", "zero_point_1s", "flux_key", "scatter_mag", "n_stars",
    "n_rejected", "color_term", "limiting_mag_5sigma", "sky_brightness",
)  # fmt: skip


UNEVEN_DEPTH = 1.0
"""Magnitudes between the worst and the best tenth of the frame that are told of."""


@record
class Photometry:
    """The result of `calibrate_photometry`.

    Attributes
    ----------
    status : Status
        COMPLETE; FALLBACK if it rests on few of the stars; FAILED; SKIPPED where it was not
        asked for and is not possible.
    reason : str
        Why there is no zero point; empty otherwise.
    photocal : PhotoCal
        The fitted calibration.  After a failure that of the configuration, if the exposure has
        one, else with a zero point of NaN.
    metrics : dict
        Of the JSON summary; None for an unknown number.  `checks` are the numbers of the
        verification and the counts of the selection.
    matches : Catalog
        One row per star of the fit; empty after a failure before the fit.
    used : (n,) bool
        Sources that the zero point rests on: FLAGS_SKY 64.
    """

    status: Status
    reason: str
    photocal: PhotoCal
    metrics: dict[str, Any]
    matches: Catalog
    used: Bools


@dataclass
class _Metrics:
    """What became known on the way, for the report of a success or a failure."""

    values: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(METRICS))
    checks: dict[str, Any] = field(default_factory=dict)
    matches: Catalog = field(default_factory=Catalog)

    def summary(self, photocal: PhotoCal) -> dict[str, Any]:
        """Return all numbers, with the reference's name and band."""
        origin = {"catalog": photocal.catalog, "band": photocal.band}
        return self.values | origin | {"checks": self.checks}


def calibrate_photometry(
    catalog: Catalog,
    exposure: Exposure,
    reference: RefCatalog,
    config: PhotometryConfig,
    run: Run,
    *,
    radius: float = 2.0,
    sky: Sky | None = None,
) -> Photometry:
    """Fit and verify the zero point of an exposure.

    Parameters
    ----------
    catalog : Catalog
        XWIN_IMAGE, YWIN_IMAGE or X_IMAGE, Y_IMAGE; the flux column and its error; if present
        FLAGS, FLAGS_SKY.
    exposure : Exposure
        Its header (filter, date), WCS, PSF source, exposure time and background are used.
    reference : RefCatalog
    config : skyextract.keywords.Photometry
    radius : float
        CROSSID_RADIUS, arcsec.
    sky : Sky, optional
        For the limiting magnitude; unknown without.

    Returns
    -------
    Photometry
        FAILED, with the reason, where a zero point is impossible or not believable.
    """
    metrics = _Metrics()
    try:
        result = _calibrate(catalog, exposure, reference, config, radius, sky, run, metrics)
    except StepError as error:
        run.warn(f"photometry failed: {error}")
        return failed_photometry(exposure, catalog.n_rows, str(error), metrics)
    values = result.metrics
    run.info(
        f"zero point {values['zero_point']:.4f} +- {values['zero_point_error']:.4f} mag "
        f"({values['flux_key']}, {values['n_stars']} stars, scatter "
        f"{values['scatter_mag']:.4f}), {result.photocal.catalog} {result.photocal.band}"
    )
    return result


def failed_photometry(
    exposure: Exposure, n_sources: int, reason: str, metrics: _Metrics | None = None
) -> Photometry:
    """Return a failure: the calibration of the configuration if there is one, else NaN."""
    metrics = metrics or _Metrics()
    configured = exposure.photocal.source is PhotSource.CONFIG
    metrics.values["source"] = str(PhotSource.CONFIG if configured else PhotSource.NONE)
    photocal = exposure.photocal if configured else PhotoCal(math.nan)
    if configured:
        metrics.values["zero_point"] = exposure.photocal.zero_point
    return Photometry(
        Status.FAILED, reason, photocal, metrics.summary(photocal), metrics.matches,
        np.zeros(n_sources, dtype=np.bool_),
    )  # fmt: skip


def skipped_photometry(exposure: Exposure, n_sources: int, reason: str) -> Photometry:
    """Return that there is no calibration, which nobody asked for."""
    unused = np.zeros(n_sources, dtype=np.bool_)
    return Photometry(Status.SKIPPED, reason, exposure.photocal, {}, Catalog(), unused)


@record
class _Fitted:
    """The zero point as the stars of the fit have it.

    Attributes
    ----------
    band, flux_key, pairs, model, fit
        What is compared, how sources and reference stars were paired, and the solution.
    stars, everyone : Stars
        Those of the fit; also those too bright or too faint for it.
    color : float
        The colour at which the zero point holds.
    """

    band: Band
    flux_key: str
    pairs: Pairs
    model: StarModel
    fit: ZeroPointFit
    stars: Stars
    everyone: Stars
    color: float

    @property
    def kept(self) -> Bools:
        """Which stars of the fit the zero point rests on."""
        return self.fit.good > 0.5


def _calibrate(
    catalog: Catalog, exposure: Exposure, reference: RefCatalog, config: PhotometryConfig,
    radius: float, sky: Sky | None, run: Run, metrics: _Metrics,
) -> Photometry:  # fmt: skip
    fitted = _fit(catalog, exposure, reference, config, radius, metrics)
    metrics.matches = _match_table(fitted, catalog)
    verdict = _verify(fitted, catalog, exposure, metrics.checks)
    metrics.checks.update(verdict.numbers)
    if verdict.reason:
        raise StepError(verdict.reason)
    for remark in (*verdict.remarks, *filter(None, [verdict.weak])):
        run.warn(f"photometry: {remark}")

    fit, band = fitted.fit, fitted.band
    photocal = PhotoCal(
        zero_point=fit.zero_point,
        zero_point_error=verdict.error,
        source=PhotSource.FITTED,
        polynomial=fitted.model.polynomial(fit),
        band=band.name or band.key,
        catalog=fitted.pairs.reference.name,
        system=band.system,
        scatter=fit.scatter,
    )
    used = np.zeros(catalog.n_rows, dtype=np.bool_)
    used[fitted.stars.row[fitted.kept]] = True
    limit = _limiting_magnitude(fit.zero_point, fitted.flux_key, exposure, sky, catalog, used, run)
    if sky is not None and math.isfinite(limit):
        metrics.checks.update(_depths(limit, sky, run))
    _note(metrics, fitted, photocal, limit, exposure)
    return Photometry(
        Status.FALLBACK if verdict.weak else Status.COMPLETE, verdict.weak, photocal,
        metrics.summary(photocal), metrics.matches, used,
    )  # fmt: skip


def _fit(
    catalog: Catalog, exposure: Exposure, reference: RefCatalog, config: PhotometryConfig,
    radius: float, metrics: _Metrics,
) -> _Fitted:  # fmt: skip
    """Pair sources with reference stars, choose those that can tell, and fit the zero point."""
    checks = metrics.checks
    band = resolve_band(frame_filter(exposure.header), reference.magnitudes, config.photref_mag_key)
    flux_key = choose_flux(catalog, exposure, config.phot_flux_key)
    metrics.values["flux_key"] = flux_key
    checks.update(band=band.name, column=band.key, system=band.system)
    color = color_term(config, band, reference)
    pairs = pair_stars(catalog, exposure, reference, radius, checks)
    stars, everyone = select_stars(
        pairs, catalog, pairs.reference, band, flux_key, color.keys, config, checks, exposure
    )
    degree = affordable_degree(config.phot_degrees, len(stars.row))
    if degree < config.phot_degrees:
        checks["degree"] = degree
    model = StarModel(color, degree, exposure.shape)
    fit, stars, pivot = fit_stars(stars, model, checks)
    return _Fitted(band, flux_key, pairs, model, fit, stars, everyone, pivot)


def _verify(
    fitted: _Fitted, catalog: Catalog, exposure: Exposure, checks: dict[str, Any]
) -> Verdict:
    """Tell whether the zero point can be believed, by all that is known of the stars."""
    fit, stars, everyone, pairs = fitted.fit, fitted.stars, fitted.everyone, fitted.pairs
    flux_key = fitted.flux_key
    scale = flux_scale(catalog, exposure, flux_key, stars.take(fitted.kept))
    residuals = fitted.model.residuals(fit, everyone, fitted.color)
    verdict = verify(
        Evidence(
            fit, stars, exposure.shape, pairs.chance, _better_band(fitted), scale,
            checks.pop("n_bright"), _parts(fitted, residuals, exposure.shape),
            checks.get("n_extended", 0), checks.pop("n_in_cluster", 0),
            varies_over_field(fit, stars, fitted.model),
        )
    )  # fmt: skip
    errors = np.maximum(everyone.errors, MIN_ERROR)
    verdict = with_loss(verdict, residuals, errors, everyone.mag, stars.mag)
    ny, nx = exposure.shape
    distance = np.hypot(everyone.x - 0.5 * nx, everyone.y - 0.5 * ny)
    verdict = with_dark_corners(verdict, residuals, errors, everyone.mag, distance)
    verdict = with_bright_end(verdict, residuals, everyone.mag, stars.mag)
    verdict = with_widths(verdict, exposure.psf_stars)
    verdict = with_doubles(verdict, pairs.doubles, fitted.band.key)
    verdict = with_alone(verdict, catalog, pairs, fit.zero_point, stars.mag, flux_key)
    verdict = with_waves(verdict, residuals, everyone, exposure)
    flags = catalog["FLAGS"] if "FLAGS" in catalog else np.zeros(catalog.n_rows, np.int16)
    return with_uneven_fluxes(verdict, exposure, flux_key, flags[stars.row[fitted.kept]])


def _note(
    metrics: _Metrics, fitted: _Fitted, photocal: PhotoCal, limit: float, exposure: Exposure
) -> None:
    """Take down the numbers of the summary."""
    fit, color = fitted.fit, fitted.model.color
    metrics.values.update(
        source=str(photocal.source),
        zero_point=fit.zero_point,
        zero_point_error=photocal.zero_point_error,
        zero_point_1s=_known(photocal.zero_point_1s(exposure.summed_time)),
        scatter_mag=fit.scatter,
        n_stars=int(fitted.kept.sum()),
        n_rejected=int((~fitted.kept).sum()),
        color_term=float(fit.slopes[0]) if color.fitted else (color.coefficient or None),
        limiting_mag_5sigma=_known(limit),
        sky_brightness=_known(_sky_brightness(fit.zero_point, exposure)),
    )
    if color.keys:
        metrics.checks.update(
            color=" - ".join(color.keys),
            color_pivot=fitted.color,
            color_term_error=float(fit.slope_errors[0]) if color.fitted else None,
        )


def _limiting_magnitude(
    zero_point: float, flux_key: str, exposure: Exposure, sky: Sky | None, catalog: Catalog,
    used: Bools, run: Run,
) -> float:  # fmt: skip
    """Return the magnitude of five times the noise; NaN if unknown."""
    if sky is None:
        return math.nan
    try:
        noise = flux_noise(flux_key, exposure, sky, catalog, used, run)
    except StepError as error:
        run.warn(f"no limiting magnitude: {error}")
        return math.nan
    return zero_point - 2.5 * math.log10(5.0 * noise) if noise > 0.0 else math.nan


def _depths(limit: float, sky: Sky, run: Run) -> dict[str, float]:
    """Return the limiting magnitudes of the worst and the best tenth of the frame."""
    less, more = depth_range(sky)
    worst, best = limit - less, limit + more
    if best - worst > UNEVEN_DEPTH:
        run.warn(
            f"the depth varies over the frame: 5 sigma are magnitude {worst:.1f} in its worst and "
            f"{best:.1f} in its best tenth"
        )
    return {"limiting_mag_worst_tenth": worst, "limiting_mag_best_tenth": best}


def _sky_brightness(zero_point: float, exposure: Exposure) -> float:
    """Return the surface brightness of the sky, mag/arcsec^2; NaN if unknown."""
    if exposure.background is None or exposure.wcs is None:
        return math.nan
    level = exposure.background.mean - exposure.detector.pedestal
    return sky_brightness(zero_point, level, exposure.wcs.pixel_scale())


def _parts(fitted: _Fitted, residuals: F8, shape: tuple[int, int]) -> Parts:
    """Compare parts of the stars; those too bright for the fit count where they agree."""
    fit, stars, everyone = fitted.fit, fitted.stars, fitted.everyone
    errors = np.maximum(everyone.errors, MIN_ERROR)
    good = everyone.mag >= stars.mag.min()
    return compare_parts(
        (fit.residuals, np.maximum(stars.errors, MIN_ERROR), stars.mag),
        (residuals[good], errors[good], everyone.x[good], everyone.y[good]),
        (residuals[~good], errors[~good], everyone.mag[~good]),
        fit.intrinsic, shape,
    )  # fmt: skip


def _better_band(fitted: _Fitted) -> str:
    """Tell whether the stars of the fit agree far better with another band; empty if not."""
    fit, stars, key = fitted.fit, fitted.stars, fitted.band.key
    magnitudes = fitted.pairs.reference.magnitudes
    bands = column_bands(magnitudes)
    others = {
        name: magnitudes[name][stars.star] - stars.instrumental
        for name, other in bands.items()
        if other != bands.get(key)
    }
    # Only where a colour term does not explain the scatter already.
    corrected = fit.residuals if len(fit.slopes) else stars.mag - stars.instrumental
    return better_band((key, corrected), others)


def _match_table(fitted: _Fitted, catalog: Catalog) -> Catalog:
    """Return one row per star of the fit.

    Columns of its own: instrumental magnitude, error of its difference from the star's, colour
    and residual; the probability that the star is no outlier, and whether the fit used it.
    """
    stars, fit = fitted.stars, fitted.fit
    return match_table(
        catalog, stars.row, stars.x, stars.y, fitted.pairs.reference, stars.star, stars.mag,
        MAG_INSTRUMENTAL=stars.instrumental, MAGERR=stars.errors, COLOR=stars.color,
        RESIDUAL=fit.residuals, PROBABILITY=fit.good, USED=fitted.kept,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
