"""Astrometry and photometry of a measured exposure: the reference catalogues and the stages."""

from __future__ import annotations

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.errors import ReferenceCatalogError, StepError
from skyextract.inputs.references import astrometric_reference, photometric_reference
from skyextract.io.images.images import header_number
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan
from skyextract.sky.bands import frame_filter, resolve_band
from skyextract.stages.astrometry.solve import Astrometry, failed_astrometry, solve_astrometry
from skyextract.stages.measure import Measured
from skyextract.stages.photometry.calibrate import (
    Photometry,
    calibrate_photometry,
    failed_photometry,
)
from skyextract.stages.photometry.depth import sky_of


def calibrate_astrometry(
    exposure: Exposure, measured: Measured, settings: Settings, run: Run
) -> Astrometry:
    """Solve the astrometry; FAILED, with a warning, if the reference catalogue is no use."""
    config = settings.config
    try:
        reference = astrometric_reference(exposure, settings)
    except ReferenceCatalogError as error:
        run.warn(f"astrometry failed: {error}")
        return failed_astrometry(exposure.wcs, measured.sources.n_rows, str(error))
    scale = config.detector.pixel_scale if settings.is_set("PIXEL_SCALE") else 0.0
    return solve_astrometry(
        measured.sources, exposure.header or {}, exposure.shape, exposure.wcs, reference,
        config.astrometry, run, scale,
    )  # fmt: skip


def calibrate_zero_point(
    exposure: Exposure, measured: Measured, plan: Plan, settings: Settings, run: Run
) -> Photometry | None:
    """Fit the zero point; None, with a warning, if it was not asked for and has no band."""
    config = settings.config
    try:
        reference = photometric_reference(exposure, settings)
        if plan.opportunistic_photometry:
            key = config.photometry.photref_mag_key
            resolve_band(frame_filter(exposure.header), reference.magnitudes, key)
    except (ReferenceCatalogError, StepError) as error:
        if plan.opportunistic_photometry:
            run.warn(f"no photometry: {error}")
            return None
        run.warn(f"photometry failed: {error}")
        return failed_photometry(exposure, measured.sources.n_rows, str(error))
    return calibrate_photometry(
        measured.sources, exposure, reference, config.photometry, run,
        radius=config.astrometry.crossid_radius,
        sky=sky_of(measured, config.measurement.phot_apertures, run),
    )  # fmt: skip


def configured_zero_point(exposure: Exposure, settings: Settings, run: Run) -> PhotoCal:
    """Return the zero point of the header (MAGZP_KEY) or of MAG_ZEROPOINT, if one is set."""
    photometry = settings.config.photometry
    value = None
    if photometry.magzp_key and exposure.header is not None:
        value = header_number(exposure.header.get(photometry.magzp_key))
        if value is None:
            run.warn(f"no number in the header card MAGZP_KEY {photometry.magzp_key}")
    if value is None and photometry.mag_zeropoint != 0.0:
        value = photometry.mag_zeropoint
    if value is not None:
        return PhotoCal(float(value), source=PhotSource.CONFIG)
    return exposure.photocal
