"""The pipeline: from the pixels of one image to a calibrated catalogue.

    isr -> characterize -> measure -> astrometry -> photometry -> derive columns

Aperture corrections (the light outside the PSF's core and the apertures) come from the PSF fits of
measure; where the plan ends with characterize they are a second part of that step.
`process_exposure` is the algorithm; its second half, from the sources on, is `calibrate_sources`,
with which the Python API calibrates sources that were measured before.  What surrounds them stands
elsewhere: `batch` runs many images, `image` reads the extensions of one and hands the results to
the products (`outputs`), `settings.steps` says which steps run, `inputs` reads what goes with the
pixels, `calibrate` finds calibration frames and reference catalogues for the steps.  Each step is
a function in `stages` that returns a frozen object with `status` and `metrics`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.calibrate import (
    calibrate_astrometry,
    calibrate_zero_point,
    compare_pixel_scale,
    config_of_image,
    configured_zero_point,
    correct_raw,
    note_other_zero_point,
    ready_to_detect,
    ready_to_measure,
)
from skyextract.columns.derive import derive
from skyextract.columns.request import UNITS
from skyextract.datamodel.catalog import Catalog
from skyextract.datamodel.exposure import Exposure
from skyextract.datamodel.flags import FlagsSky
from skyextract.datamodel.mosaic import on_full_frame
from skyextract.datamodel.positions import positions
from skyextract.datamodel.rawframe import RawFrame
from skyextract.inputs.frames import Frame, with_maps
from skyextract.inputs.request import Request, measure_inputs, sky_scale
from skyextract.inputs.sidefiles import Inputs
from skyextract.io.images.scale import given_scale
from skyextract.outputs.report import Report
from skyextract.outputs.result import Result
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Step
from skyextract.stages.measure import measure
from skyextract.stages.measured import Measured

if TYPE_CHECKING:
    from skyextract.datamodel.arrays import F8
    from skyextract.stages.astrometry.solve import Astrometry
    from skyextract.stages.photometry.calibrate import Photometry


def process_exposure(
    frame: Frame, request: Request, settings: Settings, inputs: Inputs, run: Run
) -> Result:
    """Run the planned steps on one image extension; SkyextractError if it cannot be processed.

    Every step is a block `with report.step(...) as done`: it is timed, `done` takes down status
    and metrics of what the step returns and gives it back, and a StepError makes the step FAILED
    and leaves the exposure as it was before.

    Parameters
    ----------
    frame : Frame
        The image extension as it was read, raw or an `Exposure` (pixels, mask, variance and
        what is known of them); in dual-image mode also the image to detect on.
    request : Request
        The plan (which steps), and columns for the catalogue and for the steps.
    settings : Settings
    inputs : Inputs
        What was read of the side files: column list, filter, PSF model ...
    run : Run
        Takes warnings, times and the names of files that are read; has the threads.
    """
    config, plan = settings.config, request.plan
    report = Report(plan, run)
    measured = plane = None

    # Raw pixels become an image in one unit, with variance and mask; nothing goes on without.
    if isinstance(frame.image, RawFrame):
        with report.step(Step.ISR) as done:
            image = done(correct_raw(frame.image, settings, inputs.folder, run)).exposure
            frame = replace(frame, image=image)
    # Weight maps, flag maps and a given PSF belong to the corrected image.
    exposure, detection, flag_maps = with_maps(frame, settings, inputs, run)
    is_dual, number = frame.detection is not None, frame.number
    del frame  # the pixels as they were read need not stay when there are repaired ones
    report.note_earlier(exposure)  # steps of an earlier run, as its cards say

    # Background, cosmic rays and PSF, each with the others' help.
    if Step.CHARACTERIZE in plan:
        from skyextract.stages.characterize import characterize

        with report.step(Step.CHARACTERIZE) as done:
            own = config if detection is None else config_of_image(config, 1)
            exposure = done(characterize(exposure, own, run)).exposure
    exposure = ready_to_measure(exposure, request, settings, run)
    # The image to detect on has defects and a PSF of its own.
    detection, reason = ready_to_detect(is_dual, detection, exposure, request, settings, run)
    report.note_detection(detection if is_dual else None, reason)
    auxiliary = measure_inputs(exposure, flag_maps, request, settings, inputs)

    # Aperture corrections for later runs; measure, if it runs, finds them in its own PSF fits.
    if Step.CHARACTERIZE in plan and Step.MEASURE not in plan:
        from skyextract.stages.aperturecorrections import correct_apertures

        with report.step(Step.CHARACTERIZE):
            corrected = correct_apertures(exposure, config, auxiliary, run, detection=detection)
            exposure, plane = corrected.exposure, corrected.plane

    # Sources: detected, taken apart, and measured in pixels and in the unit of the image.
    if Step.MEASURE in plan:
        with report.step(Step.MEASURE) as done:
            found = measure(
                exposure, config, request.wanted, auxiliary, run,
                detection=detection, keep_image=request.keeps_image,
            )  # fmt: skip
            measured = done(found)
            exposure = measured.exposure
    if measured is None:
        report.describe(exposure, sky_scale(exposure, request, settings))
        return Result(exposure, report, plane=plane)
    result = Result(exposure, report, measured, plane=measured.plane, number=number)
    return calibrate_sources(result, request, settings, run)


def calibrate_sources(result: Result, request: Request, settings: Settings, run: Run) -> Result:
    """Run those of astrometry and photometry that the request plans, and make the catalogue.

    Parameters
    ----------
    result : Result
        Measured sources, maybe with a calibration from before; its report is continued.
    """
    plan, report, exposure, measured = request.plan, result.report, result.exposure, result.measured
    astrometry, photometry = result.astrometry, result.photometry
    assert measured is not None

    # Where on the sky: a fit to reference stars, verified on others.
    if Step.ASTROMETRY in plan:
        with report.step(Step.ASTROMETRY) as done:
            astrometry = done(calibrate_astrometry(exposure, measured, settings, run))
            exposure = replace(exposure, wcs=astrometry.wcs)

    if request.needs_sky:
        compare_pixel_scale(exposure, settings, run)

    # How bright: a zero point from reference stars, else that of the configuration.
    if Step.PHOTOMETRY in plan or photometry is None:
        configured = configured_zero_point(measured.exposure, plan, settings, run)
        exposure = replace(exposure, photocal=configured)
    if Step.PHOTOMETRY in plan:
        unsolved = astrometry is not None and astrometry.source == "HEADER"
        about = run.about(f"{run.label}with the WCS of the header: ") if unsolved else nullcontext()
        with report.step(Step.PHOTOMETRY) as done, about:
            photometry = done(calibrate_zero_point(exposure, measured, plan, settings, run))
            note_other_zero_point(exposure.photocal, photometry, run)
            exposure = replace(exposure, photocal=photometry.photocal)

    # The columns that were asked for, with the final WCS and zero point.
    report.describe(exposure, sky_scale(exposure, request, settings))
    report.note_zero_point(exposure.photocal, exposure.summed_time)
    sources = with_use_flags(measured, result.number, astrometry, photometry)
    catalog = derive_columns(sources, exposure, request, settings, astrometry)
    return replace(
        result, exposure=exposure, catalog=catalog, astrometry=astrometry, photometry=photometry
    )


def derive_columns(
    sources: Catalog,
    exposure: Exposure,
    request: Request,
    settings: Settings,
    astrometry: Astrometry | None,
) -> Catalog:
    """Make the columns that were asked for of those measured.

    The astrometric fit adds its own error, in arcsec, to those of positions on the sky.
    """
    floor: float | F8 = 0.0
    place = positions(sources)
    if astrometry is not None and place is not None:
        floor = astrometry.error_at(place[0] - 1.0, place[1] - 1.0)
    scale = given_scale(exposure, settings.config.detector)
    catalog = derive(
        sources, request.columns, exposure.wcs, exposure.photocal, scale, exposure.shape, floor
    )
    return on_full_frame(catalog, exposure.header, UNITS)


def with_use_flags(
    measured: Measured, number: int, astrometry: Astrometry | None, photometry: Photometry | None
) -> Catalog:
    """Return the sources with EXT_NUMBER, and the uses that were made of them in FLAGS_SKY."""
    sources = measured.sources
    flags = sources["FLAGS_SKY"].copy()
    if astrometry is not None:
        flags[astrometry.used] |= FlagsSky.ASTROMETRY
    if photometry is not None:
        flags[photometry.used] |= FlagsSky.ZERO_POINT
    numbers = np.full(sources.n_rows, number, dtype=np.int16)
    return sources.with_columns(EXT_NUMBER=numbers, FLAGS_SKY=flags)
