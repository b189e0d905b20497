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
from skyextract.datamodel.photocal import PhotoCal, PhotSource, field_terms
from skyextract.errors import StepError
from skyextract.settings.steps import Status
from skyextract.sky.bands import Band, color_columns, column_bands, frame_filter, resolve_band
from skyextract.stages.photometry.checks import (
    MIN_STARS,
    FluxScale,
    Parts,
    Verdict,
    compare_parts,
    verify,
)
from skyextract.stages.photometry.depth import Sky, flux_noise, sky_brightness
from skyextract.stages.photometry.stars import (
    Stars,
    choose_flux,
    flux_scale,
    match_stars,
    select_stars,
)
from skyextract.stages.photometry.zeropoint import MIN_ERROR, ZeroPointFit, fit_zero_point

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.refcatalog import RefCatalog
    from skyextract.run import Run
    from skyextract.settings.keywords import Photometry as PhotometryConfig


METRICS = (
    "zero_point", "zero_point_error", "zero_point_1s", "flux_key", "scatter_mag", "n_stars",
    "n_rejected", "color_term", "limiting_mag_5sigma", "sky_brightness",
)  # fmt: skip
_SIGNIFICANT = 4.0
_BRIGHT_OFFSET = 0.03


@dataclass(frozen=True)
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

    def summary(self, photocal: PhotoCal, reason: str = "") -> dict[str, Any]:
        """Return all numbers, with the reference's name and band."""
        origin = {"catalog": photocal.catalog, "band": photocal.band}
        return self.values | origin | {"reason": reason, "checks": self.checks}


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
        Status.FAILED, reason, photocal, metrics.summary(photocal, reason), Catalog(),
        np.zeros(n_sources, dtype=np.bool_),
    )  # fmt: skip


def skipped_photometry(exposure: Exposure, n_sources: int, reason: str) -> Photometry:
    """Return that there is no calibration, which nobody asked for."""
    unused = np.zeros(n_sources, dtype=np.bool_)
    return Photometry(Status.SKIPPED, reason, exposure.photocal, {}, Catalog(), unused)


def _calibrate(
    catalog: Catalog, exposure: Exposure, reference: RefCatalog, config: PhotometryConfig,
    radius: float, sky: Sky | None, run: Run, metrics: _Metrics,
) -> Photometry:  # fmt: skip
    band = resolve_band(frame_filter(exposure.header), reference.magnitudes, config.photref_mag_key)
    flux_key = choose_flux(catalog, exposure, config.phot_flux_key)
    metrics.values["flux_key"] = flux_key
    metrics.checks.update(band=band.name, column=band.key, system=band.system)
    color_keys, coefficient = _color_term(config, band, reference)
    matched, chance = match_stars(catalog, exposure, reference, radius, metrics.checks)
    stars, everyone = select_stars(
        matched, catalog, reference, band, flux_key, color_keys, config, metrics.checks
    )
    fixed = 0.0 if coefficient is None else coefficient
    fit_color = coefficient is None
    degree = _degree(config, len(stars.row), metrics)
    model = _Model(fixed, fit_color, degree, exposure.shape)
    fit, stars, pivot = _fit(stars, model, metrics)
    scale = flux_scale(catalog, exposure, flux_key, stars.take(fit.good > 0.5))
    n_bright = metrics.checks.pop("n_bright")
    parts = _parts(fit, stars, model.residuals(fit, everyone, pivot), everyone, exposure.shape)
    verdict = _verify(fit, stars, exposure, reference, band, chance, scale, n_bright, parts)
    metrics.checks.update(verdict.numbers)
    if verdict.reason:
        raise StepError(verdict.reason)
    for remark in (*verdict.remarks, *filter(None, [verdict.weak])):
        run.warn(f"photometry: {remark}")

    photocal = PhotoCal(
        zero_point=fit.zero_point,
        zero_point_error=verdict.error,
        source=PhotSource.FITTED,
        polynomial=_polynomial(fit, fit_color, config.phot_degrees),
        band=band.name or band.key,
        catalog=reference.name,
        system=band.system,
        scatter=fit.scatter,
    )
    kept = fit.good > 0.5
    used = np.zeros(catalog.n_rows, dtype=np.bool_)
    used[stars.row[kept]] = True
    limit = math.nan
    if sky is not None:
        try:
            noise = flux_noise(flux_key, exposure, sky, catalog, used)
            limit = fit.zero_point - 2.5 * math.log10(5.0 * noise) if noise > 0.0 else math.nan
        except StepError as error:
            run.warn(f"no limiting magnitude: {error}")
    background = exposure.background
    brightness = math.nan
    if background is not None and exposure.wcs is not None:
        level = background.mean - exposure.detector.pedestal
        brightness = sky_brightness(fit.zero_point, level, exposure.wcs.pixel_scale())
    color_term = float(fit.slopes[0]) if fit_color else (fixed if color_keys else None)
    metrics.values.update(
        source=str(PhotSource.FITTED),
        zero_point=fit.zero_point,
        zero_point_error=verdict.error,
        zero_point_1s=_known(photocal.zero_point_1s(exposure.detector.exposure_time)),
        scatter_mag=fit.scatter,
        n_stars=int(kept.sum()),
        n_rejected=int((~kept).sum()),
        color_term=color_term,
        limiting_mag_5sigma=_known(limit),
        sky_brightness=_known(brightness),
    )
    if color_keys:
        metrics.checks.update(
            color=" - ".join(color_keys),
            color_pivot=pivot,
            color_term_error=float(fit.slope_errors[0]) if fit_color else None,
        )
    return Photometry(
        Status.FALLBACK if verdict.weak else Status.COMPLETE, "", photocal,
        metrics.summary(photocal, verdict.weak),
        _match_table(stars, fit, reference, catalog), used,
    )  # fmt: skip


def _color_term(
    config: PhotometryConfig, band: Band, reference: RefCatalog
) -> tuple[tuple[str, str] | None, float | None]:
    """Return the colour's columns and its coefficient, None where that is to be fitted."""
    text = config.color_term.strip().upper()
    coefficient = None if text == "FIT" else float(text)
    if coefficient == 0.0:
        return None, 0.0
    keys: tuple[str, str] | None
    if config.photref_color_keys:
        names = {name.lower(): name for name in reference.magnitudes}
        missing = [key for key in config.photref_color_keys if key.lower() not in names]
        if missing or len(config.photref_color_keys) != 2:
            raise StepError(
                f"PHOTREF_COLOR_KEYS: no column {' '.join(missing)}; the reference catalogue "
                f"has: {' '.join(reference.magnitudes)}"
            )
        first, second = (names[key.lower()] for key in config.photref_color_keys)
        keys = (first, second)
    else:
        keys = color_columns(band.name, reference.magnitudes)
    if keys is None:
        raise StepError(
            f"COLOR_TERM {config.color_term} needs PHOTREF_COLOR_KEYS; the reference catalogue "
            f"has: {' '.join(reference.magnitudes)}"
        )
    return keys, coefficient


@dataclass(frozen=True)
class _Model:
    """What is fitted to the stars beside the zero point."""

    fixed_color_term: float
    fit_color: bool
    degree: int
    shape: tuple[int, int]

    def target(self, stars: Stars, pivot: float) -> F8:
        """Return what each star says of the zero point, at the colour of the pivot."""
        return stars.mag - stars.instrumental - self.fixed_color_term * (stars.color - pivot)

    def design(self, stars: Stars) -> F8:
        """Return the columns: the colour and powers of the position, as far as wanted."""
        powers = field_terms(stars.x, stars.y, self.shape, self.degree)
        return np.column_stack([stars.color, powers]) if self.fit_color else powers

    def residuals(self, fit: ZeroPointFit, stars: Stars, pivot: float) -> F8:
        """Return the residuals of stars that need not be in the fit."""
        model = fit.zero_point + (self.design(stars) - fit.means) @ fit.slopes
        return np.asarray(self.target(stars, pivot) - model)


def _fit(
    stars: Stars, model: _Model, metrics: _Metrics
) -> tuple[ZeroPointFit, Stars, float]:  # fmt: skip
    """Fit, leave out the bright end where it is not linear, and fit again.

    Returns also the pivot: magnitudes are right for sources of that colour.
    """
    n_dropped = 0
    while True:
        pivot = float(np.median(stars.color))
        y, design = model.target(stars, pivot), model.design(stars)
        if len(y) < MIN_STARS + design.shape[1]:
            raise StepError(f"{len(y)} stars for {1 + design.shape[1]} coefficients: too few")
        fit = fit_zero_point(y, stars.errors, design)
        drop = _bright_offset(fit, stars)
        if not drop.any() or n_dropped + drop.sum() > (n_dropped + len(y)) // 2:
            break
        n_dropped += int(drop.sum())
        stars = stars.take(~drop)
    metrics.checks["n_bright_left_out"] = n_dropped
    if model.fit_color:
        pivot = float(fit.means[0])
        metrics.checks["scatter_without_color"] = fit_zero_point(
            y, stars.errors, design[:, 1:]
        ).scatter
    return fit, stars, pivot


def _degree(config: PhotometryConfig, n_stars: int, metrics: _Metrics) -> int:
    """Return the degree of the field polynomial that the stars can determine."""
    degree = config.phot_degrees
    while degree and (degree + 1) * (degree + 2) // 2 * 8 > n_stars:
        degree -= 1
    if degree < config.phot_degrees:
        metrics.checks["degree"] = degree
    return degree


def _parts(
    fit: ZeroPointFit, stars: Stars, residuals: F8, everyone: Stars, shape: tuple[int, int]
) -> Parts:
    """Compare parts of the stars; those too bright for the fit do not count."""
    good = everyone.mag >= stars.mag.min()
    everyone, residuals = everyone.take(good), residuals[good]
    errors = (np.maximum(some.errors, MIN_ERROR) for some in (stars, everyone))
    return compare_parts(
        (fit.residuals, next(errors), stars.mag), (residuals, next(errors), everyone.x, everyone.y),
        fit.intrinsic, shape,
    )  # fmt: skip


def _bright_offset(fit: ZeroPointFit, stars: Stars) -> Bools:
    """Return the brightest stars if they are too faint together: saturated without a flag."""
    size = max(4, len(stars.mag) // 12)
    drop = np.zeros(len(stars.mag), dtype=np.bool_)
    if len(stars.mag) < 4 * size:
        return drop
    # By the reference: the instrumental magnitude of a saturated star is not its brightness.
    brightest = np.argsort(stars.mag, kind="stable")[:size]
    offset = float(np.median(fit.residuals[brightest]))
    noise = np.hypot(np.median(stars.errors[brightest]), fit.intrinsic)
    error = 1.25 * max(float(noise), fit.scatter) / math.sqrt(size)
    drop[brightest] = offset < -max(_BRIGHT_OFFSET, _SIGNIFICANT * error)
    return drop


def _verify(
    fit: ZeroPointFit, stars: Stars, exposure: Exposure, reference: RefCatalog, band: Band,
    chance: float, scale: FluxScale, n_bright: int, parts: Parts,
) -> Verdict:  # fmt: skip
    bands = column_bands(reference.magnitudes)
    others = {
        name: reference.magnitudes[name][stars.star] - stars.instrumental
        for name, other in bands.items()
        if other != bands.get(band.key)
    }
    # Only where a colour term does not explain the scatter already.
    corrected = fit.residuals if len(fit.slopes) else stars.mag - stars.instrumental
    return verify(
        fit, stars.errors, stars.mag, stars.x, stars.y, exposure.shape, chance, others,
        (band.key, corrected), scale, n_bright, parts,
    )  # fmt: skip


def _polynomial(fit: ZeroPointFit, fit_color: bool, degree: int) -> tuple[float, ...]:
    """Return the field polynomial, whose mean over the stars is zero; empty if constant."""
    slopes, means = fit.slopes[int(fit_color) :], fit.means[int(fit_color) :]
    if not degree or not len(slopes):
        return ()
    return (-float(slopes @ means), *(float(s) for s in slopes))


def _match_table(
    stars: Stars, fit: ZeroPointFit, reference: RefCatalog, catalog: Catalog
) -> Catalog:
    """Return one row per star of the fit.

    Columns of its own: instrumental magnitude, error of its difference from the star's, colour
    and residual; the probability that the star is no outlier, and whether the fit used it.
    """
    return match_table(
        catalog, stars.row, stars.x, stars.y, reference, stars.star, stars.mag,
        MAG_INSTRUMENTAL=stars.instrumental, MAGERR=stars.errors, COLOR=stars.color,
        RESIDUAL=fit.residuals, PROBABILITY=fit.good, USED=fit.good > 0.5,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
