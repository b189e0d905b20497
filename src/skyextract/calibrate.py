"""The steps that take more than the exposure: raw frames, maps and reference catalogues.

Each function finds what its stage needs, calls the stage, and returns what that returns.  It
imports the stage, so that a run starts without those of steps that it does not take.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import Mask
from skyextract.datamodel.header import header_number
from skyextract.datamodel.mosaic import frame_pixels
from skyextract.datamodel.photocal import PhotoCal, PhotSource
from skyextract.datamodel.psf import Psf, PsfSource, default_psf_warning
from skyextract.datamodel.rawframe import RawFrame
from skyextract.datamodel.statedzeropoint import StatedZeroPoint, stated_zero_point
from skyextract.errors import ImageError, ReferenceCatalogError, StepError
from skyextract.inputs.frames import Frame
from skyextract.inputs.references import astrometric_reference, photometric_reference
from skyextract.inputs.request import Request
from skyextract.io.images.scale import given_scale, pixel_scale
from skyextract.run import Run
from skyextract.settings.keywords import Config, of_image
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan, Status, Step, explicit_steps, is_done
from skyextract.sky.bands import frame_filter, resolve_band

if TYPE_CHECKING:
    from skyextract.stages.astrometry.solve import Astrometry
    from skyextract.stages.isr.signature import Signature
    from skyextract.stages.measured import Measured
    from skyextract.stages.photometry.calibrate import Photometry

MAX_SCALE_OFFSET = 0.05
"""Relative; the scale of distorted fields varies by a few per cent."""
MAX_OFF = 0.1
"""Zero points of header and reference stars differ by no more, mag (apertures, colours), ..."""
SURE = 5.0
"""... nor by more errors of the fitted one."""


def correct_raw(raw: RawFrame, settings: Settings, folder: Path, run: Run) -> Signature:
    """Find the calibration frames of a raw frame and correct it.

    Parameters
    ----------
    folder : Path
        Of the products, for the masters that are made.
    """
    from skyextract.inputs.calibrations import load_calibrations
    from skyextract.stages.isr.signature import remove_signature

    calibrations = load_calibrations(raw, settings, folder, run)
    return remove_signature(raw, calibrations, settings.config, run)


def with_corrected_detection(frame: Frame, settings: Settings, folder: Path, run: Run) -> Frame:
    """Correct the detection image of a frame, if it is raw."""
    if not isinstance(frame.detection, RawFrame):
        return frame
    with run.timed(Step.ISR):
        corrected = correct_raw(frame.detection, settings, folder, run)
    return replace(frame, detection=corrected.exposure)


def ready_to_measure(
    exposure: Exposure, request: Request, settings: Settings, run: Run
) -> Exposure:
    """Let a default PSF stand in where one is needed; drop a WCS that wcslib refuses."""
    if exposure.psf is None and request.needs_psf:
        fwhm = settings.config.characterize.default_fwhm
        run.warn(default_psf_warning(fwhm, "the image was not characterized"))
        exposure = replace(exposure, psf=Psf.gaussian(fwhm, PsfSource.DEFAULT))
    if request.needs_sky and exposure.wcs is not None:
        try:
            exposure.wcs.check()
        except ImageError as error:
            run.warn(f"extension {exposure.extension}: {error}: no sky coordinates")
            exposure = replace(exposure, wcs=None)
    return exposure


def ready_to_detect(
    is_dual: bool,
    detection: Exposure | None,
    exposure: Exposure,
    request: Request,
    settings: Settings,
    run: Run,
) -> tuple[Exposure | None, str]:
    """Give the image to detect on its PSF and repaired pixels; what is found depends on it alone.

    Parameters
    ----------
    is_dual : bool
        The image to detect on is another one, not the same pixels with another weight map.
    detection : Exposure or None
        As from `with_maps`.
    exposure : Exposure
        The image to measure, as it will be.

    Returns
    -------
    detection : Exposure or None
    reason : str
        Why its PSF is no measurement, or in doubt; empty if there is nothing to say.
    """
    if detection is None:
        return None, ""
    if not is_dual:
        repaired = exposure.mask & np.uint16(Mask.CR | Mask.INTRP)
        same = replace(
            detection, image=exposure.image, variance=exposure.variance, psf=exposure.psf,
            mask=detection.mask | repaired, background=exposure.background,
        )  # fmt: skip
        return same, ""
    if detection.has_psf or not request.needs_detection_psf:
        return detection, ""
    if Step.CHARACTERIZE not in request.plan and explicit_steps(settings.config.pipeline.steps):
        fwhm = settings.config.characterize.default_fwhm
        run.warn(default_psf_warning(fwhm, f"{detection.name} was not characterized"))
        return replace(detection, psf=Psf.gaussian(fwhm, PsfSource.DEFAULT)), ""
    from skyextract.stages.characterize import characterize

    name, before = Path(detection.name).name, len(run.warnings)
    with run.timed(Step.CHARACTERIZE), run.about(f"{name}: "):
        found = characterize(detection, config_of_image(settings.config, 0), run)
    run.warnings[before:] = [f"{name}: {warning}" for warning in run.warnings[before:]]
    return found.exposure, f"{name}: {found.reason}" if found.reason else ""


def config_of_image(config: Config, index: int) -> Config:
    """Return the configuration with only the values for one image of a pair in its lists.

    Parameters
    ----------
    index : {0, 1}
        0 detection, 1 measurement.
    """
    background, weights = config.background, config.weights
    return replace(
        config,
        background=replace(
            background,
            back_type=(of_image(background.back_type, index),),
            back_value=(of_image(background.back_value, index),),
        ),
        weights=replace(
            weights,
            weight_type=(of_image(weights.weight_type, index),),
            rescale_weights=(of_image(weights.rescale_weights, index),),
        ),
    )


def calibrate_astrometry(
    exposure: Exposure, measured: Measured, settings: Settings, run: Run
) -> Astrometry:
    """Solve the astrometry; FAILED, with a warning, if the reference catalogue is no use."""
    from skyextract.stages.astrometry.solve import failed_astrometry, solve_astrometry
    from skyextract.stages.psf.pixelphase import is_undersampled, with_psf_positions

    config = settings.config
    try:
        reference = astrometric_reference(exposure, settings, run)
    except ReferenceCatalogError as error:
        run.warn(f"astrometry failed: {error}")
        return failed_astrometry(exposure.wcs, measured.sources.n_rows, run.shown(str(error)))
    given = given_scale(exposure, config.detector)
    scale = given if settings.is_set("PIXEL_SCALE") else 0.0
    sources = measured.sources
    if is_undersampled(exposure):
        sources = with_psf_positions(sources)
    found = solve_astrometry(
        sources, exposure.header or {}, exposure.shape, exposure.wcs, reference,
        config.astrometry, run, scale,
    )  # fmt: skip
    size, along = found.metrics["pixel_scale"], frame_pixels(exposure.header)
    if size is not None and along > 1:  # of the full frame, as is the FWHM
        found = replace(found, metrics=found.metrics | {"pixel_scale": size / along})
    if measured.seen_twice and found.status == Status.COMPLETE:
        return replace(found, status=Status.FALLBACK, reason=measured.seen_twice)
    return found


def compare_pixel_scale(exposure: Exposure, settings: Settings, run: Run) -> None:
    """Warn of a PIXEL_SCALE that is not that of the final WCS: arcseconds are of PIXEL_SCALE."""
    given = settings.config.detector.pixel_scale
    if exposure.wcs is None or not given > 0.0 or not settings.is_set("PIXEL_SCALE"):
        return
    scale = exposure.wcs.pixel_scale() / frame_pixels(exposure.header)
    if abs(given - scale) > MAX_SCALE_OFFSET * scale:
        run.warn(
            f"PIXEL_SCALE {given:g} contradicts the WCS, which has {scale:.4g} arcsec/pixel: "
            "sizes in arcsec are those of PIXEL_SCALE"
        )


def calibrate_zero_point(
    exposure: Exposure, measured: Measured, plan: Plan, settings: Settings, run: Run
) -> Photometry:
    """Fit the zero point; SKIPPED, with a warning, if the catalogue has no band for the frame.

    FAILED if photometry was asked for, or if the catalogue cannot be read.
    """
    from skyextract.stages.background.blackpoint import about_black_point
    from skyextract.stages.photometry.calibrate import (
        calibrate_photometry,
        failed_photometry,
        skipped_photometry,
    )
    from skyextract.stages.photometry.depth import sky_of

    config = settings.config
    try:
        reference = photometric_reference(exposure, settings, run)
        if plan.opportunistic_photometry:
            key = config.photometry.photref_mag_key
            resolve_band(frame_filter(exposure.header), reference.magnitudes, key)
    except (ReferenceCatalogError, StepError) as error:
        # a catalogue that cannot be read was asked for all the same
        if plan.opportunistic_photometry and isinstance(error, StepError):
            run.warn(f"no photometry: {error}")
            return skipped_photometry(exposure, measured.sources.n_rows, run.shown(str(error)))
        run.warn(f"photometry failed: {error}")
        return failed_photometry(exposure, measured.sources.n_rows, run.shown(str(error)))
    found = calibrate_photometry(
        measured.sources, exposure, reference, config.photometry, run,
        radius=config.astrometry.crossid_radius,
        sky=sky_of(measured, config.measurement.phot_apertures, run),
    )  # fmt: skip
    doubt = measured.seen_twice or measured.about_sky or exposure.denoised
    doubt = doubt or about_black_point(measured.background)
    if doubt and found.status == Status.COMPLETE:
        return replace(found, status=Status.FALLBACK, reason=doubt)
    return found


def configured_zero_point(exposure: Exposure, plan: Plan, settings: Settings, run: Run) -> PhotoCal:
    """Return the zero point of MAGZP_KEY's card, of MAG_ZEROPOINT, or that the header states.

    The last with MAGZP_KEY AUTO, unless isr has changed the unit of the pixels.
    """
    photometry, header = settings.config.photometry, exposure.header
    key, value, system, origin = photometry.magzp_key, None, "", ""
    if key.upper() not in ("", "AUTO", "NONE") and header is not None:
        value, origin = header_number(header.get(key)), f"MAGZP_KEY {key}"
        if value is None:
            run.warn(f"no number in the header card MAGZP_KEY {key}")
    if value is None and photometry.mag_zeropoint != 0.0:
        value, origin = photometry.mag_zeropoint, "MAG_ZEROPOINT"
    if value is None and key.upper() == "AUTO" and exposure.photocal.source is PhotSource.NONE:
        stated = None if Step.ISR in plan else _stated(exposure, settings)
        if stated is not None:
            value, system, origin = stated.value, stated.system, stated.origin
            run.tell(
                f"{exposure.name}: zero point {' '.join(filter(None, [f'{value:.3f}', system]))} "
                f"of the header ({origin}); MAGZP_KEY NONE leaves it out"
            )
    if value is None:
        return exposure.photocal
    value -= 2.5 * math.log10(exposure.unit)
    return PhotoCal(float(value), source=PhotSource.CONFIG, system=system, origin=origin)


def _stated(exposure: Exposure, settings: Settings) -> StatedZeroPoint | None:
    """Return the zero point that the header states for the pixels as they are."""
    header = exposure.header
    if header is None or is_done(header, Step.ISR):
        return None
    return stated_zero_point(
        header,
        exposure.detector.exposure_time,
        lambda: pixel_scale(exposure, settings.config.detector),
    )


def note_other_zero_point(configured: PhotoCal, photometry: Photometry, run: Run) -> None:
    """Warn if a fitted zero point is another one than header or configuration have."""
    fitted = photometry.photocal
    if configured.source is not PhotSource.CONFIG or fitted.source is not PhotSource.FITTED:
        return
    off = configured.zero_point - fitted.zero_point
    systems = {configured.system, fitted.system} - {""}
    if len(systems) < 2 and abs(off) > max(MAX_OFF, SURE * fitted.zero_point_error):
        run.warn(
            f"{configured.origin} gives a zero point that is {off:+.2f} mag off that of the "
            "reference stars, which is used"
        )
