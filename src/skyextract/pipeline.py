"""The pipeline: five steps in order, from the pixels of an image to a calibrated catalogue.

    isr -> characterize -> measure -> astrometry -> photometry

`process_exposure` is the algorithm.  Around it, `process_image` reads the extensions of one
image, hands the results to the products, and turns every expected error into one line and
an exit status.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skyextract.bands import frame_filter, resolve_band
from skyextract.batch import Job
from skyextract.catalog import Catalog
from skyextract.columns import Requested, base_columns
from skyextract.config import Settings
from skyextract.derive import derive
from skyextract.errors import (
    ConfigError,
    ExitStatus,
    ImageError,
    ReferenceCatalogError,
    SkyextractError,
    StepError,
)
from skyextract.exposure import Exposure, FlagsSky
from skyextract.inputs import Frame, Inputs, read_frames, read_inputs
from skyextract.io.images import header_number, pixel_scale
from skyextract.keywords import Detector as DetectorConfig
from skyextract.photocal import PhotoCal, PhotSource
from skyextract.products import Products
from skyextract.psf import Psf, PsfSource
from skyextract.references import astrometric_reference, check_references, photometric_reference
from skyextract.run import Run, resolve_threads
from skyextract.stages.astrometry import Astrometry, solve_astrometry
from skyextract.stages.characterize import characterize
from skyextract.stages.depth import sky_of
from skyextract.stages.measure import Measured, measure
from skyextract.stages.photometry import Photometry, calibrate_photometry, failed_photometry
from skyextract.stages.sources import MeasureInputs
from skyextract.steps import Plan, Status, Step, plan_steps
from skyextract.summary import Report

log = logging.getLogger("skyextract")

POSITION_COLUMNS = frozenset(
    {
        "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE",
        "FLUX_AUTO", "FLUXERR_AUTO",
    }
)  # fmt: skip
"""What matching with a reference catalogue needs, whatever columns are requested."""

SKY_COLUMNS = ("_WORLD", "_FOCAL", "_SKY", "_J2000", "_B1950")
"""Endings of the columns that need a WCS."""


@dataclass(frozen=True)
class Result:
    """One processed image extension.

    Attributes
    ----------
    exposure : Exposure
        As the last step left it.
    report : Report
    measured : Measured or None
        None if measure did not run.
    catalog : Catalog
        The requested columns; empty if measure did not run.
    astrometric_matches, photometric_matches : Catalog
        Pairs with the reference catalogues.
    head_cards : mapping
        Cards of the fitted WCS for a .head file: TAN or TPV.
    """

    exposure: Exposure
    report: Report
    measured: Measured | None
    catalog: Catalog
    astrometric_matches: Catalog = field(default_factory=Catalog)
    photometric_matches: Catalog = field(default_factory=Catalog)
    head_cards: Mapping[str, Any] = field(default_factory=dict)


def process_exposure(
    frame: Frame, settings: Settings, plan: Plan, inputs: Inputs, run: Run
) -> Result:
    """Run the planned steps on one image extension.

    Raises
    ------
    SkyextractError
        The extension cannot be processed; a step that fails otherwise is in the report.
    """
    config = settings.config
    report = Report(plan)
    exposure = frame.exposure
    requested = inputs.requested(settings, psf=Step.CHARACTERIZE in plan or _has_psf(exposure))
    wanted = base_columns(requested)
    if Step.ASTROMETRY in plan:
        wanted |= POSITION_COLUMNS
    if Step.PHOTOMETRY in plan:
        flux_key = config.photometry.phot_flux_key
        psf = Step.CHARACTERIZE in plan or _has_psf(exposure)
        wanted |= POSITION_COLUMNS | photometry_columns(psf, flux_key)
    if needs_sky(requested, settings, plan):
        exposure = with_usable_wcs(exposure, run)
        frame = replace(frame, exposure=exposure)

    if frame.isr_metrics is not None:  # isr ran when the raw frame was read
        report.record(Step.ISR, Status.COMPLETE, frame.isr_metrics)
    elif _is_done(exposure, Step.ISR):
        report.recall(Step.ISR, {})

    if Step.CHARACTERIZE in plan:
        with run.timed("characterize"):
            characterized = characterize(exposure, config, run)
        exposure = characterized.exposure
        report.record(Step.CHARACTERIZE, Status(characterized.status), characterized.metrics)
    elif _has_psf(exposure):
        if exposure.psf and exposure.psf.source is PsfSource.MEASURED:
            report.recall(Step.CHARACTERIZE, known_psf(exposure, config.detector))
    elif Step.MEASURE in plan and inputs.needs_psf(settings):
        exposure = install_default_psf(exposure, settings, run)
    report.sources["PSFSRC"] = str(exposure.psf.source if exposure.psf else PsfSource.NONE)

    if Step.MEASURE not in plan:
        return Result(exposure, report, None, Catalog())
    with run.timed("measure"):
        measured = measure(
            exposure, config, wanted, measure_inputs(frame, settings, inputs, requested), run,
            detection=frame.detection,
        )  # fmt: skip
    exposure = measured.exposure
    report.record(Step.MEASURE, Status.COMPLETE, measured.metrics)

    used = np.zeros(measured.sources.n_rows, dtype=np.int16)
    astrometric_matches = photometric_matches = Catalog()
    head_cards: dict[str, Any] = {}
    report.sources["ASTRSRC"] = "HEADER" if exposure.wcs else "NONE"
    if Step.ASTROMETRY in plan:
        with run.timed("astrometry"):
            solution = calibrate_astrometry(exposure, measured, settings, run)
        if solution is None:
            report.record(Step.ASTROMETRY, Status.FAILED, {})
        else:
            report.record(Step.ASTROMETRY, Status(solution.status), solution.metrics)
            report.sources["ASTRSRC"] = solution.source
            exposure = replace(exposure, wcs=solution.wcs)
            report.update_seeing(pixel_scale(exposure, config.detector))
            astrometric_matches = solution.matches
            head_cards = solution.head_cards() if solution.source == "FITTED" else {}
            used[solution.used] |= FlagsSky.ASTROMETRY

    exposure = replace(exposure, photocal=configured_zero_point(exposure, settings, run))
    if Step.PHOTOMETRY in plan:
        with run.timed("photometry"):
            calibration = calibrate(exposure, measured, plan, settings, run)
        if calibration is not None:
            origin = {"catalog": calibration.photocal.catalog, "band": calibration.photocal.band}
            metrics = calibration.metrics | origin | {"checks": calibration.report}
            report.record(Step.PHOTOMETRY, Status(calibration.status), metrics)
            exposure = replace(exposure, photocal=calibration.photocal)
            photometric_matches = calibration.matches
            used[calibration.used] |= FlagsSky.ZERO_POINT
    report.sources["PHOTSRC"] = str(exposure.photocal.source)
    if exposure.photocal == PhotoCal():
        run.warn("magnitudes are instrumental: no zero point is known")

    sources = measured.sources.with_columns(
        EXT_NUMBER=np.full(measured.sources.n_rows, frame.number, dtype=np.int16),
        FLAGS_SKY=measured.sources["FLAGS_SKY"] | used,
    )
    catalog = derive(
        sources, requested, exposure.wcs, exposure.photocal, config.detector.pixel_scale,
        exposure.shape,
    )  # fmt: skip
    return Result(
        exposure, report, measured, catalog, astrometric_matches, photometric_matches, head_cards
    )


def calibrate_astrometry(
    exposure: Exposure, measured: Measured, settings: Settings, run: Run
) -> Astrometry | None:
    """Solve the astrometry; None, with a warning, if the reference catalogue is no use."""
    config = settings.config
    try:
        reference = astrometric_reference(exposure, settings)
    except ReferenceCatalogError as error:
        run.warn(f"astrometry failed: {error}")
        return None
    header = exposure.header if exposure.header is not None else {}
    scale = config.detector.pixel_scale if settings.is_set("PIXEL_SCALE") else 0.0
    return solve_astrometry(
        measured.sources, header, exposure.shape, exposure.wcs, reference, config.astrometry,
        run, scale,
    )  # fmt: skip


def calibrate(
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


def photometry_columns(psf: bool, flux_key: str) -> frozenset[str]:
    """Return what photometry measures with, whatever columns are requested."""
    kinds = ["PSF", "AUTO"] if psf else ["AUTO"]
    if flux_key.upper() != "AUTO":
        kinds = [flux_key.upper().removeprefix("FLUX_").partition("(")[0]]
    return frozenset(f"{name}_{kind}" for name in ("FLUX", "FLUXERR") for kind in kinds)


def _has_psf(exposure: Exposure) -> bool:
    return exposure.psf is not None and exposure.psf.source is not PsfSource.DEFAULT


def needs_sky(requested: Iterable[Requested], settings: Settings, plan: Plan) -> bool:
    """Whether sky positions or the pixel scale of the WCS are needed: they take astropy.wcs."""
    return (
        settings.config.detector.pixel_scale == 0.0
        or settings.config.assoc.assoccoord_type == "WORLD"
        or Step.ASTROMETRY in plan
        or Step.PHOTOMETRY in plan
        or any(name.endswith(SKY_COLUMNS) for name, _ in requested)
    )


def with_usable_wcs(exposure: Exposure, run: Run) -> Exposure:
    """Return the exposure; without its WCS, and with a warning, if wcslib refuses that."""
    if exposure.wcs is None:
        return exposure
    try:
        exposure.wcs.check()
    except ImageError as error:
        run.warn(f"extension {exposure.extension}: {error}: no sky coordinates")
        return replace(exposure, wcs=None)
    return exposure


def install_default_psf(exposure: Exposure, settings: Settings, run: Run) -> Exposure:
    """Let a Gaussian of DEFAULT_FWHM stand in for a PSF, and say so."""
    fwhm = settings.config.characterize.default_fwhm
    run.warn(
        f"NO MEASURED PSF: a Gaussian with a FWHM of {fwhm:g} pixels (DEFAULT_FWHM) stands in; "
        "detection and PSF columns depend on that guess"
    )
    return replace(exposure, psf=Psf.gaussian(fwhm, PsfSource.DEFAULT))


def known_psf(exposure: Exposure, detector: DetectorConfig) -> dict[str, float | int | None]:
    """Return the numbers of a PSF that an earlier run measured."""
    psf, background = exposure.psf, exposure.background
    assert psf is not None
    return {
        "fwhm_pix": psf.fwhm,
        "fwhm_arcsec": psf.fwhm * pixel_scale(exposure, detector),
        "ellipticity": psf.ellipticity,
        "n_psf_stars": psf.n_stars,
        "background": background.mean if background else None,
        "background_rms": background.sigma if background else None,
    }


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


def measure_inputs(
    frame: Frame, settings: Settings, inputs: Inputs, requested: list[Requested]
) -> MeasureInputs:
    """Collect what measurement needs besides the exposure."""
    exposure = frame.exposure
    scale = pixel_scale(exposure, settings.config.detector)
    associates = inputs.associates
    if associates is not None and settings.config.assoc.assoccoord_type == "WORLD":
        associates = _associates_in_pixels(associates, exposure, settings)
    return MeasureInputs(
        pixel_scale=scale,
        sizes={name: shape for name, shape in requested if shape},
        flag_maps=tuple(frame.flag_maps),
        network=inputs.network,
        filter=inputs.filter,
        associates=associates,
    )


def _associates_in_pixels(
    table: np.ndarray[tuple[int, ...], np.dtype[np.float64]], exposure: Exposure, settings: Settings
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Replace sky positions of the ASSOC list by FITS pixels."""
    if exposure.wcs is None:
        raise settings.error("ASSOCCOORD_TYPE", "the image has no celestial WCS")
    x, y = (column - 1 for column in settings.config.assoc.assoc_params[:2])
    table = table.copy()
    px, py = exposure.wcs.to_pixel(table[:, x], table[:, y])
    table[:, x], table[:, y] = px + 1.0, py + 1.0
    return table


def process_image(job: Job, settings: Settings, strict: bool) -> ExitStatus:
    """Process all extensions of one image and write its products.

    Returns
    -------
    ExitStatus
        OK, IMAGE_FAILED or STEP_FAILED; USAGE if a file that the settings name is wrong.
    """
    run = Run(resolve_threads(settings.config.pipeline.nthreads), label=f"{job.measurement}: ")
    try:
        check_references(settings)
        inputs = read_inputs(settings, run)
        with Products(job, settings, run) as products:
            for frame in read_frames(job, settings, inputs, run):
                if isinstance(frame, tuple):
                    extension, error = frame
                    products.add_failure(extension, str(error))
                    continue
                plan = _plan(frame.exposure, settings, inputs)
                try:
                    products.add(process_exposure(frame, settings, plan, inputs, run))
                except ConfigError:
                    raise
                except SkyextractError as error:
                    products.add_failure(frame.exposure.extension, str(error))
            return products.finish(strict)
    except SkyextractError as error:
        log.error("%s", error)
        return error.exit_status


def _plan(exposure: Exposure, settings: Settings, inputs: Inputs) -> Plan:
    return plan_steps(
        settings,
        isr_done=_is_done(exposure, Step.ISR),
        char_done=_is_done(exposure, Step.CHARACTERIZE),
        psf_wanted=inputs.needs_psf(settings),
    )


def _is_done(exposure: Exposure, step: Step) -> bool:
    """Tell whether the header says that an earlier run completed a step."""
    header = exposure.header
    return header is not None and header.get(step.card) == Status.COMPLETE
