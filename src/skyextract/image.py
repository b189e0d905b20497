"""One image: its extensions read, processed one by one, and handed to the products."""

from __future__ import annotations

import errno
import logging
import math
import traceback
from collections.abc import Iterator
from dataclasses import replace

from skyextract.calibrate import with_corrected_detection
from skyextract.datamodel.arrays import clear_planes_ahead
from skyextract.datamodel.exposure import Exposure, FailedExtension
from skyextract.errors import (
    ConfigError,
    ExitStatus,
    NoFitsError,
    NoSuchImageError,
    OutputError,
    SkyextractError,
    about_descriptors,
)
from skyextract.inputs.frames import failure_of, read_frames
from skyextract.inputs.references import check_references
from skyextract.inputs.request import load_fits_ahead, make_request, prepare_sky
from skyextract.inputs.sidefiles import Inputs, read_inputs
from skyextract.io.checksums import begin
from skyextract.io.streams import Stream
from skyextract.jobs import Job
from skyextract.messages import LABELLED
from skyextract.outputs.failure import without_products_of_another, write_failure
from skyextract.outputs.products import Products
from skyextract.outputs.result import Result, in_image_unit
from skyextract.pipeline import process_exposure
from skyextract.record import record
from skyextract.run import Run, take_memory_at_once
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import isr_is_asked

log = logging.getLogger("skyextract")


@record
class Outcome:
    """What became of an image.

    Attributes
    ----------
    status : ExitStatus
    streams : tuple of Stream
        Products that are complete and wait to be written through to pipes and devices.
    refused : str
        Why these settings are wrong for any image.
    shortfalls : tuple of str
        Steps that fell back or failed, and a default PSF in use.
    seconds : float
        Wall time.
    headline : str
        The gist of several extensions.
    is_kept : bool
        Products of it are there, beside the summary.
    """

    status: ExitStatus
    streams: tuple[Stream, ...] = ()
    refused: str = ""
    shortfalls: tuple[str, ...] = ()
    seconds: float = 0.0
    headline: str = ""
    is_kept: bool = True


def process_image(job: Job, settings: Settings, n_threads: int) -> Outcome:
    """Process all extensions of one image and write its products.

    Every error becomes one line and the summary of an image that failed; a mistake of ours in
    one image must not cost the rest of a batch.
    """
    run = Run(n_threads, label=f"{job.label}: ", copies=job.copies)
    lines: list[str] = []
    try:
        return _process(job, settings, run)
    except ConfigError as error:
        # Nothing was done, and what an earlier run made stays as it is.
        log.error(LABELLED, "", job.shown(str(error)))
        log.debug("why", exc_info=True)
        return Outcome(ExitStatus.USAGE)
    except SkyextractError as error:
        status, message = error.exit_status, job.shown(str(error))
        log.error(LABELLED, "", message)
        log.debug("why", exc_info=True)
        if isinstance(error, NoFitsError | NoSuchImageError):
            job = without_products_of_another(job)
    except MemoryError:
        status, message = ExitStatus.IMAGE_FAILED, "not enough memory"
        log.error(LABELLED, run.label, message)
    except Exception as error:
        status = ExitStatus.IMAGE_FAILED
        message, text, lines = _unexpected(error, job)
        log.error(LABELLED, run.label, text)
        log.debug("traceback", exc_info=True)
    streams = write_failure(job, settings, run, message, status, lines)
    return Outcome(status, streams, is_kept=False)


def _process(job: Job, settings: Settings, run: Run) -> Outcome:
    """Process all extensions of one image and write its products, or raise."""
    try:
        inputs = read_side_files(job, settings, run)
        job.make_folders()
        products = Products(job, settings, run)
        if run.n_threads > 1 and job.has_summary:
            begin(job.measurement.path, run.resting)
    except ConfigError as error:
        log.debug("why", exc_info=True)
        return Outcome(ExitStatus.USAGE, refused=job.shown(str(error)))
    with products:
        keep = products.need_image
        for result in process_extensions(job, settings, inputs, run, keep_images=keep):
            if isinstance(result, FailedExtension):
                products.add_failure(result)
            else:
                products.add(in_image_unit(result))
        try:
            status = products.finish()
        except OutputError as error:
            but = " but its summary" if job.has_summary else ""
            message = f"{error}: products appear together, so none of this image is kept{but}"
            raise OutputError(message) from None
    return Outcome(
        status, products.streams, shortfalls=products.shortfalls, headline=products.headline
    )


def _unexpected(error: Exception, job: Job) -> tuple[str, str, list[str]]:
    """Return what the summary says of an error of the machine or of ours, the log, a traceback."""
    if few := about_descriptors(error):
        return few, few, []
    lines = traceback.format_exc().splitlines()
    if isinstance(error, OSError):
        if error.errno == errno.ENOMEM:  # of an import
            return "not enough memory", "not enough memory", []
        if error.errno is None:  # of llvmlite, with little memory
            message = f"a library cannot be loaded: {error}"
            return message, message, lines
    message = f"internal error: {type(error).__name__}: {error}"
    summary = job.products.get("SUMMARY_NAME")
    where = f"{summary}, which holds the traceback" if summary else "the output of --debug"
    text = f"{message}; a mistake in skyextract: please report it with {where}"
    return message, text, lines


def read_side_files(job: Job, settings: Settings, run: Run) -> Inputs:
    """Check and read the files that the settings name, whatever the image is.

    Raises
    ------
    ConfigError
        One of them is missing or wrong.
    """
    check_references(settings)
    isr = settings.config.isr
    if isr_is_asked(settings) and (isr.isr_defects or isr.isr_linearity or isr.isr_crosstalk):
        from skyextract.inputs.calibrations import check_lists

        check_lists(settings, run)
    run.note_opened(*settings.files)
    return read_inputs(settings, job.folder, run)


def process_extensions(
    job: Job, settings: Settings, inputs: Inputs, run: Run, *, keep_images: bool = True
) -> Iterator[Result | FailedExtension]:
    """Read the extensions of one image and process them, one at a time.

    Parameters
    ----------
    keep_images : bool
        If not, the exposures of the results may be without pixels.

    Raises
    ------
    ConfigError
        A file that the settings name is wrong.
    ImageError
        The image as a whole cannot be read.
    """
    for frame in read_frames(job, settings, run):
        if isinstance(frame, FailedExtension):
            yield frame
            continue
        image = frame.image
        take_memory_at_once(math.prod(image.shape))
        plane = image.plane if isinstance(image, Exposure) else None
        place = f"{image.extension}" if plane is None else f"{image.extension},{plane}"
        label = f"{job.label}: " if image.alone else f"{job.label}[{place}]: "
        failure = failure_of(image)
        with run.about(label):
            try:
                request = make_request(image, settings, inputs)
                request = replace(request, keeps_image=keep_images)
                load_fits_ahead(request, run.n_threads)
                prepare_sky(request, image)
                clear_planes_ahead(image.shape, run, has_fits=request.needs_psf)
                frames = [with_corrected_detection(frame, settings, inputs.folder, run)]
                del frame, image  # the pixels as they were read are the pipeline's to let go
                yield process_exposure(frames.pop(), request, settings, inputs, run)
            except ConfigError:
                raise
            except SkyextractError as error:
                yield failure(error)
