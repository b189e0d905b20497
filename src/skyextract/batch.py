"""Many images: their products' names, parallel processes, and the worst exit status."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from skyextract.errors import ConfigError, ExitStatus
from skyextract.jobs import Job, check_names, plan_job
from skyextract.messages import RESULT, set_up_logging
from skyextract.settings.resolve import Settings
from skyextract.warm import compile_kernels, missing_kernels

log = logging.getLogger("skyextract")


def run_batch(
    images: Sequence[str],
    settings: Settings,
    n_jobs: int,
    strict: bool,
    output_dir: Path,
    level: str,
) -> ExitStatus:
    """Process all images and return the worst status (1 before 3).

    Raises
    ------
    ConfigError
        Before any work: two images would write the same file, a product would overwrite
        an input, or the output folder cannot be made.
    """
    jobs = [plan_job(image, settings, output_dir) for image in images]
    check_names(jobs)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output_dir}: {error.strerror}") from None
    for note in settings.notes:
        log.warning(note)
    if missing_kernels():
        log.log(RESULT, "compiling the numerical kernels, once; see skyextract --warm")
        compile_kernels(quiet=not log.isEnabledFor(RESULT))
    if n_jobs == 1 or len(jobs) == 1:
        statuses = [run_job(job, settings, strict) for job in jobs]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(n_jobs, len(jobs)), context, initializer=set_up_logging, initargs=(level,)
        ) as pool:
            statuses = list(pool.map(run_job, jobs, [settings] * len(jobs), [strict] * len(jobs)))
    for worst in (ExitStatus.USAGE, ExitStatus.IMAGE_FAILED, ExitStatus.STEP_FAILED):
        if worst in statuses:
            return worst
    return ExitStatus.OK


def run_job(job: Job, settings: Settings, strict: bool) -> ExitStatus:
    """Process one image; every expected error becomes one line and a status."""
    from skyextract.image import process_image

    try:
        return process_image(job, settings, strict)
    except MemoryError:
        log.error("%s: not enough memory", job.label)
    except Exception as error:
        # A mistake of ours in one image must not cost the rest of the batch.
        log.error("%s: internal error: %s: %s", job.label, type(error).__name__, error)
        log.debug("", exc_info=True)
    return ExitStatus.IMAGE_FAILED
