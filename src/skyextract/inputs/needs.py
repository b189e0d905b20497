"""The kernels that a run calls, so that a first run does not wait for others."""

from __future__ import annotations

from skyextract.columns.families import MODEL
from skyextract.columns.request import PSF_COLUMNS
from skyextract.columns.table import COLUMNS
from skyextract.inputs.request import request_of
from skyextract.inputs.sidefiles import Inputs, read_columns
from skyextract.kernels.store import declared
from skyextract.run import Run
from skyextract.settings.resolve import Settings
from skyextract.settings.steps import Step, plan_steps

_ALWAYS = frozenset({"background", "detection", "measurement", "repair", "rice"})


def needed_kernels(settings: Settings) -> frozenset[str]:
    """Return the modules of kernels that images call which nothing was done to so far.

    What one of them calls besides is compiled by its first call.

    Raises
    ------
    ConfigError
        PARAMETERS_NAME is missing, or its content is wrong.
    """
    inputs = Inputs(read_columns(settings, Run()), None, None, None, [])
    plan = plan_steps(
        settings, isr_done=False, char_done=False, psf_wanted=inputs.needs_psf(settings)
    )
    fits_psf = Step.CHARACTERIZE in plan
    request = request_of(plan, settings, inputs, has_psf=fits_psf)
    columns = [COLUMNS[name] for name in request.wanted if name in COLUMNS]
    is_calibrated = Step.ASTROMETRY in plan or Step.PHOTOMETRY in plan
    optional = {
        "isr": Step.ISR in plan,
        "psf": fits_psf or request.needs_psf or bool(request.wanted & PSF_COLUMNS),
        "galaxies": any(column.stage == MODEL for column in columns),
        "astrometry": is_calibrated,
    }
    packages = _ALWAYS | {name for name, is_needed in optional.items() if is_needed}
    is_local = settings.config.measurement.backphoto_type == "LOCAL"
    rare = {
        "measurement.localsky": is_local,
        "measurement.vignettes": bool(request.wanted & {"VIGNET", "VIGNET_SHIFT"}),
    }
    return frozenset(
        module for module in declared()
        if module.partition(".")[0] in packages and rare.get(module, True)
    )  # fmt: skip
