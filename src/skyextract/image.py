"""One image: its extensions read, processed one by one, and handed to the products."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from skyextract.calibrate import with_corrected_detection
from skyextract.datamodel.exposure import FailedExtension
from skyextract.errors import ConfigError, ExitStatus, SkyextractError
from skyextract.inputs.frames import failed, read_frames
from skyextract.inputs.references import check_references
from skyextract.inputs.request import make_request, prepare_sky
from skyextract.inputs.sidefiles import read_inputs
from skyextract.jobs import Job
from skyextract.outputs.products import Products
from skyextract.outputs.result import Result
from skyextract.pipeline import process_exposure
from skyextract.run import Run, resolve_threads
from skyextract.settings.resolve import Settings

log = logging.getLogger("skyextract")


def process_image(job: Job, settings: Settings, strict: bool) -> ExitStatus:
    """Process all extensions of one image and write its products.

    Returns
    -------
    ExitStatus
        OK, IMAGE_FAILED or STEP_FAILED; USAGE if a file that the settings name is wrong.
    """
    run = Run(resolve_threads(settings.config.pipeline.nthreads), label=f"{job.label}: ")
    try:
        with Products(job, settings, run) as products:
            for result in process_extensions(job, settings, run):
                if isinstance(result, FailedExtension):
                    products.add_failure(result)
                else:
                    products.add(result)
            return products.finish(strict)
    except SkyextractError as error:
        log.error("%s", error)
        return error.exit_status


def process_extensions(
    job: Job, settings: Settings, run: Run
) -> Iterator[Result | FailedExtension]:
    """Read the extensions of one image and process them, one at a time.

    Raises
    ------
    ConfigError
        A file that the settings name is wrong.
    ImageError
        The image as a whole cannot be read.
    """
    check_references(settings)
    run.note_opened(*settings.files)
    inputs = read_inputs(settings, job.folder, run)
    for frame in read_frames(job, settings, run):
        if isinstance(frame, FailedExtension):
            yield frame
            continue
        image = frame.image
        label = f"{job.label}: " if image.alone else f"{job.label}[{image.extension}]: "
        with run.about(label):
            try:
                request = make_request(image, settings, inputs)
                prepare_sky(request, image)
                paired = with_corrected_detection(frame, settings, inputs.folder, run)
                yield process_exposure(paired, request, settings, inputs, run)
            except ConfigError:
                raise
            except SkyextractError as error:
                yield failed(image, error)
