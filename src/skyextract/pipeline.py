"""The pipeline: five steps in order, from the pixels of an image to a calibrated catalogue.

    isr -> characterize -> measure -> astrometry -> photometry

`process_exposure` is the algorithm.  Around it, `process_image` reads the extensions of one
image, hands the results to the products, and turns every expected error into one line and
an exit status.  isr runs as the frames are read, because it makes one image of the amplifiers
of a file, and weights, flags and PSF belong to that (`rawinputs`).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from importlib import import_module

import numpy as np

from skyextract.calibrate import calibrate_astrometry, calibrate_zero_point, configured_zero_point
from skyextract.columns.derive import derive
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.photocal import PhotSource
from skyextract.datamodel.psf import Psf, PsfSource, default_psf_warning
from skyextract.errors import ImageError
from skyextract.inputs.request import make_request, measure_inputs
from skyextract.inputs.sidefiles import Frame, Inputs
from skyextract.io.images.images import pixel_scale
from skyextract.outputs.report import Report
from skyextract.outputs.result import Result
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan, Status, Step
from skyextract.stages.characterize import characterize
from skyextract.stages.measure import measure

log = logging.getLogger("skyextract")


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
    has_psf = Step.CHARACTERIZE in plan or _has_psf(exposure)
    request = make_request(settings, plan, inputs, has_psf=has_psf)
    if request.needs_sky and exposure.wcs is not None:
        # It takes a third of a second, which passes while the kernels run.
        threading.Thread(target=import_module, args=("astropy.wcs",)).start()

    if frame.isr_metrics is not None:
        report.record(Step.ISR, Status.COMPLETE, frame.isr_metrics)
    elif _is_done(exposure, Step.ISR):
        report.record(Step.ISR, Status.COMPLETE, {})

    if Step.CHARACTERIZE in plan:
        with run.timed("characterize"):
            characterized = characterize(exposure, config, run)
        exposure = characterized.exposure
        report.record(Step.CHARACTERIZE, Status(characterized.status), characterized.metrics)
    elif _has_psf(exposure):
        done = Status.COMPLETE if _is_done(exposure, Step.CHARACTERIZE) else Status.SKIPPED
        report.record(Step.CHARACTERIZE, done, known_psf(exposure))
    elif Step.MEASURE in plan and inputs.needs_psf(settings):
        exposure = install_default_psf(exposure, settings, run)
    if request.needs_sky:
        exposure = with_usable_wcs(exposure, run)
        report.update_seeing(pixel_scale(exposure, config.detector))
    report.sources["PSFSRC"] = str(exposure.psf.source if exposure.psf else PsfSource.NONE)
    report.sources["ASTRSRC"] = "HEADER" if exposure.wcs else "NONE"

    if not {Step.CHARACTERIZE, Step.MEASURE} & plan.steps:
        return Result(exposure, report)
    # Aperture corrections belong to the PSF; they take a measurement, of the PSF's flux alone.
    wanted = request.wanted if Step.MEASURE in plan else frozenset({"FLUX_PSF"})
    with run.timed("measure" if Step.MEASURE in plan else "characterize"):
        measured = measure(
            exposure, config, wanted,
            measure_inputs(replace(frame, exposure=exposure), settings, inputs, request.columns),
            run, detection=frame.detection,
        )  # fmt: skip
    if Step.MEASURE not in plan:
        corrections = measured.exposure.aperture_corrections if _has_psf(exposure) else None
        return Result(replace(exposure, aperture_corrections=corrections), report, measured)
    exposure = measured.exposure
    report.record(Step.MEASURE, Status.COMPLETE, measured.metrics)
    used = np.zeros(measured.sources.n_rows, dtype=np.int16)

    solution = None
    if Step.ASTROMETRY in plan:
        with run.timed("astrometry"):
            solution = calibrate_astrometry(exposure, measured, settings, run)
        report.record(Step.ASTROMETRY, Status(solution.status), solution.metrics)
        report.sources["ASTRSRC"] = solution.source
        exposure = replace(exposure, wcs=solution.wcs)
        report.update_seeing(pixel_scale(exposure, config.detector))
        used[solution.used] |= FlagsSky.ASTROMETRY

    calibration = None
    exposure = replace(exposure, photocal=configured_zero_point(exposure, settings, run))
    if Step.PHOTOMETRY in plan:
        with run.timed("photometry"):
            calibration = calibrate_zero_point(exposure, measured, plan, settings, run)
    if calibration is not None:
        report.record(Step.PHOTOMETRY, Status(calibration.status), calibration.summary)
        exposure = replace(exposure, photocal=calibration.photocal)
        used[calibration.used] |= FlagsSky.ZERO_POINT
    report.note_zero_point(exposure.photocal, exposure.detector.exposure_time)
    if exposure.photocal.source is PhotSource.NONE and exposure.photocal.zero_point == 0.0:
        run.warn("magnitudes are instrumental: no zero point is known")

    sources = measured.sources.with_columns(
        EXT_NUMBER=np.full(measured.sources.n_rows, frame.number, dtype=np.int16),
        FLAGS_SKY=measured.sources["FLAGS_SKY"] | used,
    )
    catalog = derive(
        sources, request.columns, exposure.wcs, exposure.photocal, config.detector.pixel_scale,
        exposure.shape, solution.floor if solution else 0.0,
    )  # fmt: skip
    return Result(exposure, report, measured, catalog, solution, calibration)


def _has_psf(exposure: Exposure) -> bool:
    return exposure.psf is not None and exposure.psf.source is not PsfSource.DEFAULT


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
    run.warn(default_psf_warning(fwhm, "the image was not characterized"))
    return replace(exposure, psf=Psf.gaussian(fwhm, PsfSource.DEFAULT))


def known_psf(exposure: Exposure) -> dict[str, float | int | None]:
    """Return the numbers of a PSF that an earlier run measured."""
    psf, background = exposure.psf, exposure.background
    assert psf is not None
    return {
        "fwhm_pix": psf.fwhm,
        "ellipticity": psf.ellipticity,
        "n_psf_stars": psf.n_stars,
        "background": background.mean if background else None,
        "background_rms": background.sigma if background else None,
    }


def _is_done(exposure: Exposure, step: Step) -> bool:
    """Tell whether the header says that an earlier run completed a step."""
    header = exposure.header
    return header is not None and header.get(step.card) == Status.COMPLETE
