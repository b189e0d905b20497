"""Simulated crowds as the program measures them, beside their truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.measure import measure
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.crowds import FWHM, GAIN


def measured(field: Any, columns: str, fwhm: float = FWHM) -> Any:
    """Return the sources of a field, fitted with its own PSF, with these columns."""
    exposure = Exposure(
        image=field.image, mask=np.zeros(field.image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=Psf.gaussian(fwhm, PsfSource.FILE),
    )  # fmt: skip
    config = Config()
    config = replace(config, background=replace(config.background, back_size=(64,)))
    wanted = frozenset(columns.split())
    return measure(exposure, config, wanted, MeasureInputs(pixel_scale=1.0), Run(2)).sources


def matched(field: Any, sources: Any, fwhm: float = FWHM) -> tuple[Any, Any]:
    """Return which rows are which true stars, and their offsets in magnitude; (rows, stars) each.

    They match within half a FWHM and 0.75 mag.
    """
    x, y, flux = (np.asarray(sources[k]) for k in ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF"))
    distance = np.hypot(x[:, None] - 1 - field.x, y[:, None] - 1 - field.y)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = 2.5 * np.log10(flux[:, None] / field.flux)
    return (distance < 0.5 * fwhm) & (np.abs(offset) < 0.75), offset
