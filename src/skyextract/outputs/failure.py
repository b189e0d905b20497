"""What an image leaves that could not be processed: its summary, and nothing of an earlier run."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from skyextract.errors import ConfigError, ExitStatus, MapSizeError, OutputError, SkyextractError
from skyextract.io.atomic import Outputs
from skyextract.io.checksums import sha256
from skyextract.io.names import parse_image_spec, without_image
from skyextract.io.streams import Stream, is_stream
from skyextract.jobs import Job
from skyextract.messages import LABELLED, NOTICE, encoded
from skyextract.outputs.frame import frame_facts
from skyextract.outputs.made import read_made
from skyextract.outputs.report import Report, summary
from skyextract.outputs.summaries import night_rows, note_night, write_summaries
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan

log = logging.getLogger("skyextract")

_LARGEST_READ_AGAIN = 2**32
"""Bytes of an input that is read to the end for its checksum after it could not be processed."""


def write_failure(
    job: Job,
    settings: Settings,
    run: Run,
    message: str,
    status: int = ExitStatus.IMAGE_FAILED,
    traceback: Sequence[str] = (),
) -> tuple[Stream, ...]:
    """Write the summary of an image that failed, and remove products of an earlier run.

    Parameters
    ----------
    message : str
        The error.
    traceback : sequence of str
        Of a mistake in the program.

    Returns
    -------
    tuple of Stream
        The summary, where it goes to a pipe.
    """
    extension = job.measurement.extension
    report = summary(
        Report(Plan(frozenset()), run, failure=message),
        image=job.measurement.name,
        extension=extension if isinstance(extension, int) else None,
        frame=frame_facts(None, math.nan, settings.config.isr.camera),
        exit_status=status,
        seconds={},
        warnings=run.warnings,
        products=product_names(job, job.products.keys() & {"SUMMARY_NAME", "REPORT_NAME"}),
        provenance=provenance(job, settings, run, failed=True) | call_facts(job, settings),
    )
    if traceback:
        report["traceback"] = list(traceback)
    try:
        return _write(job, report, settings, run)
    except OutputError as error:
        reason = str(error)
    # What an earlier run left may be what fills the disk.
    _remove_all(job)
    try:
        streams = _write(job, report, settings, run)
    except OutputError:
        log.error(LABELLED, f"{job.label}: ", f"there is no summary of it: {reason}")
        return ()
    for name in product_names(job, ["SUMMARY_NAME"]).values():
        log.log(NOTICE, LABELLED, f"{job.label}: ", f"{name} is new: it tells of the failure")
    return streams


def without_products_of_another(job: Job) -> Job:
    """Return a job that writes no files if the summary of its name is that of another image.

    For a name that no image has, and a file that is none (`image.fits.xz`): a slip of the pen
    (`image.fits[7]`) costs no catalogue.
    """
    name = job.products.get("SUMMARY_NAME")
    if name is None or is_stream(name):
        return job
    made = read_made(name)
    if made is None:
        return job
    images, folder = made.provenance["images"], Path(made.provenance["working_directory"])
    try:
        earlier = [_place(image, folder) for image in images]
    except ConfigError:  # brackets in a name of a file that is gone
        return job
    if earlier == [_place(image, Path.cwd()) for image in job.images]:
        return job
    text = f"products of {', '.join(images)} have the same names, and stay as they are"
    log.log(NOTICE, LABELLED, f"{job.label}: ", text)
    return _without_files(job)


def without_products_kept(job: Job, errors: Sequence[SkyextractError], n_extensions: int) -> Job:
    """Return a job that writes no files if a map of a wrong size is all that went wrong.

    Parameters
    ----------
    errors : sequence of SkyextractError
        Why extensions failed.
    n_extensions : int
        Of the image.

    Notes
    -----
    Nothing is known about the image that was not known before, and the catalogue that an earlier
    run with the right map has made is as good as it was.  Summary and page alone are no reason to
    keep anything: they may tell of a failure.
    """
    if len(errors) < n_extensions or not all(isinstance(e, MapSizeError) for e in errors):
        return job
    told = {"SUMMARY_NAME", "REPORT_NAME"}
    kept = [
        path.name
        for keyword, path in job.named_files.items()
        if keyword not in told and not is_stream(path) and path.is_file()
    ]
    if not kept:
        return job
    text = f"nothing was measured: products of an earlier run stay as they are ({', '.join(kept)})"
    log.log(NOTICE, LABELLED, f"{job.label}: ", text)
    return _without_files(job)


def _without_files(job: Job) -> Job:
    """Return a job that writes to pipes and devices alone."""
    streams = {keyword: path for keyword, path in job.products.items() if is_stream(path)}
    return replace(job, products=streams, check_images=())


def _place(image: str, folder: Path) -> tuple[str, str]:
    """Return the file of an image, and what of it is meant."""
    spec = parse_image_spec(image)
    return os.path.realpath(folder / spec.path), str(spec).removeprefix(spec.name)


def _write(job: Job, report: dict[str, Any], settings: Settings, run: Run) -> tuple[Stream, ...]:
    """Write the summary and the page of a failed image in place of what there was."""
    with Outputs() as outputs:
        write_summaries(job, [report], outputs.open)
        if "REPORT_NAME" in job.products:
            from skyextract.outputs.html.page import failed_section, render

            failure = without_image(report["error"], job.measurement.name)
            page = failed_section(failure, {}, run.warnings, job.label)
            with outputs.open(job.products["REPORT_NAME"]) as stream:
                made = provenance(job, settings, run, failed=True)
                stream.write(encoded(render(job.label, [page], made)))
        remove_stale(job, outputs)
        outputs.commit()
        note_night(job, night_rows(job, [report]))
        return tuple(outputs.streams)


def provenance(job: Job, settings: Settings, run: Run, failed: bool = False) -> dict[str, Any]:
    """How products were made: settings with origins, checksums of the files read.

    Of a large file of which nothing could be made (`failed`) the checksum is unknown: its header
    may claim hours of reading.
    """
    largest = _LARGEST_READ_AGAIN if failed else math.inf
    return {
        "images": job.images,
        "config": settings.provenance(),
        "config_sha256": settings.fingerprint(),
        "inputs": [
            {"path": job.shown(path), "sha256": sha256(path, largest)} for path in run.opened
        ],
    }


def call_facts(job: Job, settings: Settings) -> dict[str, Any]:
    """Return what else the same products need: folders, and options that are no keywords."""
    return {
        "working_directory": str(Path.cwd()),
        "output_dir": str(job.folder),
        "strict": settings.strict,
        "config_files": list(settings.files),
    }


def product_names(job: Job, keywords: Iterable[str]) -> dict[str, str]:
    """Return the files of some products, relative to the folder of the products."""
    return {
        keyword: os.path.relpath(path, job.folder)
        for keyword, path in job.named_files.items()
        if keyword in keywords and not is_stream(path)
    }


def _remove_all(job: Job) -> None:
    """Take away an earlier run's products where not even a summary can be written."""
    try:
        with Outputs() as outputs:
            remove_stale(job, outputs)
            outputs.commit()
    except OutputError as error:
        log.error(LABELLED, f"{job.label}: ", str(error))


def remove_stale(job: Job, outputs: Outputs) -> None:
    """Take away what an earlier run left under names that this run does not write."""
    stale = [path.name for path in job.files if outputs.remove(path)]
    if stale:
        text = f"removed, because an earlier run made it: {', '.join(stale)}"
        log.log(NOTICE, LABELLED, f"{job.label}: ", text)
