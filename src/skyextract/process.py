"""One image: its extensions read, processed one by one, and handed to the products."""

from __future__ import annotations

import logging

from skyextract.datamodel.exposure import Exposure
from skyextract.errors import ConfigError, ExitStatus, SkyextractError
from skyextract.inputs.references import check_references
from skyextract.inputs.sidefiles import Inputs, read_frames, read_inputs
from skyextract.jobs import Job
from skyextract.outputs.products import Products
from skyextract.pipeline import _is_done, process_exposure
from skyextract.run import Run, resolve_threads
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Plan, Step, plan_steps

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
