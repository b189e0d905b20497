"""The error of the PSF model itself, from models of two halves of the stars.

Where in its pixel an undersampled star is follows from the model alone, and all stars of one
exposure share its error: more of them in the centre of a pixel than at its edge look like a
PSF that is a little sharper (Anderson & King 2000, PASP 112, 1360).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8
from skyextract.datamodel.psf import Psf
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.stages.psf.fit import psf_photometry
from skyextract.stages.psf.solver import StarSample

PHASES = 6
"""Stars are compared at so many places in a pixel along both axes."""

SNR = 1000.0
"""S/N of these stars: what their fit weighs is the model."""

MIN_STARS = 6
"""Fewer stars make no two halves."""


def position_error(sample: StarSample, build: Callable[[StarSample], Psf], run: Run) -> float:
    """Return the error in pixels of positions that comes from the model and not from the noise.

    Half the scatter of positions, over the phases of a pixel, that the model of one half of the
    stars gives for those of the other: the error of the model of all.  A common shift is left
    out; astrometry takes it up.

    Parameters
    ----------
    sample : StarSample
        All stars.
    build : callable
        Makes a model of some stars.

    Returns
    -------
    float
        NaN where the stars are too few.
    """
    if sample.x.size < MIN_STARS:
        return math.nan
    order = np.argsort(-sample.flux, kind="stable")
    halves = []
    for rows in (order[0::2], order[1::2]):
        part = replace(
            sample, x=sample.x[rows], y=sample.y[rows], flux=sample.flux[rows],
            height=sample.height[rows],
        )  # fmt: skip
        try:
            halves.append(build(part))
        except StepError:
            return math.nan
    one, other = (_in_the_middle(psf) for psf in halves)
    half = min(one.radius, math.ceil(3.0 * one.fwhm) + 1)
    image, x, y = _stars_of(one, half)
    variance = np.full(image.shape, 1.0, np.float32)
    fits = psf_photometry(
        image, variance, 1.0, np.zeros(image.shape, np.uint16), other, x, y, run, spread=False
    )
    offsets = np.array([fits.x - x, fits.y - y])
    offsets -= np.median(offsets, axis=1, keepdims=True)
    return 0.5 * math.sqrt(float(np.mean(offsets**2)))


def _in_the_middle(psf: Psf) -> Psf:
    """Return the model as it is in the middle of the field, for everywhere."""
    return replace(psf, basis=psf.basis[:1], degree=0)


def _stars_of(psf: Psf, half: int) -> tuple[F4, F8, F8]:
    """Return an image of bright stars at all phases of a pixel, and their positions."""
    side = 2 * half + 1
    cell = side + 2
    phase = (np.arange(PHASES) + 0.5) / PHASES - 0.5
    dy, dx = (p.ravel() for p in np.meshgrid(phase, phase, indexing="ij"))
    row, column = (c.ravel() * cell + half + 1 for c in np.indices((PHASES, PHASES)))
    stamps = psf.stamps(column + dx, row + dy, dx, dy, side)
    image = np.zeros((PHASES * cell, PHASES * cell), np.float32)
    for stamp, j, i in zip(stamps, row, column, strict=True):
        image[j - half : j + half + 1, i - half : i + half + 1] += np.float32(SNR**2) * stamp
    return image, column + dx, row + dy
