"""Frames of stars and other light as the program and sep find them, beside their truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sep

from skyextract.datamodel.exposure import Detector, Exposure
from skyextract.datamodel.psf import Psf, PsfSource
from skyextract.run import Run
from skyextract.settings.keywords import Config
from skyextract.stages.measure import measure
from skyextract.stages.measured import Measured
from skyextract.stages.measurement.sources import MeasureInputs
from tests.simulate.lights import FWHM, GAIN, LitFrame, add_star

COLUMNS = frozenset("X_IMAGE Y_IMAGE FLUX_PSF FLUXERR_PSF XPSF_IMAGE YPSF_IMAGE".split())
NEAR = 0.7
"""A source is a star that is no farther than this, in FWHM."""


def true_psf(radius: int = 20) -> Psf:
    """Return the PSF that the frames are drawn with."""
    stamp = np.zeros((2 * radius + 1, 2 * radius + 1))
    add_star(stamp, radius, radius, 1.0)
    basis = stamp[None].astype(np.float32)
    return replace(Psf.gaussian(FWHM, PsfSource.FILE), basis=basis, sampling=1.0)


def measured(frame: LitFrame, config: Config | None = None) -> Measured:
    """Return what is measured of a frame with its own PSF."""
    exposure = Exposure(
        image=frame.image, mask=np.zeros(frame.image.shape, np.uint16),
        detector=Detector(gain=GAIN), psf=true_psf(),
    )  # fmt: skip
    return measure(exposure, config or Config(), COLUMNS, MeasureInputs(pixel_scale=1.0), Run(2))


def places_by_sep(frame: LitFrame) -> tuple[Any, Any]:
    """Return 0-based positions of what SExtractor's algorithm finds with its own defaults."""
    image = frame.image.astype(np.float64)
    sky = sep.Background(image, bw=64, bh=64)
    kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    found = sep.extract(image - sky.back(), 1.5, err=sky.globalrms, minarea=5, filter_kernel=kernel)
    return found["x"], found["y"]


def scores(frame: LitFrame, x: Any, y: Any, snr: float = 10.0) -> tuple[float, float]:
    """Return completeness above an S/N, and purity."""
    distance = np.hypot(np.asarray(x)[:, None] - frame.x, np.asarray(y)[:, None] - frame.y)
    near = distance < NEAR * FWHM
    return float(near.any(axis=0)[frame.snr > snr].mean()), float(near.any(axis=1).mean())


def measured_well(frame: LitFrame, sources: Any, snr: float = 10.0) -> float:
    """Return the share of the stars above an S/N that have a row with their flux, within 0.75 mag.

    Where rows are packed side by side every star has one.
    """
    x, y, flux = (np.asarray(sources[name]) for name in ("X_IMAGE", "Y_IMAGE", "FLUX_PSF"))
    distance = np.hypot(x[:, None] - 1 - frame.x, y[:, None] - 1 - frame.y)
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = np.abs(2.5 * np.log10(flux[:, None] / frame.flux))
    right = (distance < NEAR * FWHM) & (offset < 0.75)
    return float(right.any(axis=0)[frame.snr > snr].mean())
