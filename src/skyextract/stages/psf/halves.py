"""The error of the PSF model itself, from models of parts of the stars.

Where in its pixel an undersampled star is follows from the model alone, and all stars of one
exposure share its error: more of them in the centre of a pixel than at its edge look like a
PSF that is a little sharper (Anderson & King 2000, PASP 112, 1360).  And how much of its light a
star has in its wings follows from the model: of few and faint stars it is that of the sky and the
neighbours beneath them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8
from skyextract.datamodel.psf import Psf
from skyextract.errors import StepError
from skyextract.run import Run
from skyextract.stages.pointsources.fit import psf_photometry
from skyextract.stages.psf.doubt import is_too_long
from skyextract.stages.psf.modelerrors import Evidence, flux_variance
from skyextract.stages.psf.sample import StarSample

PHASE_ERRORS = 2.0
"""FWHM in pixels below which positions have an error that the model makes."""

PHASES = 6
"""Stars are compared at so many places in a pixel along both axes."""

SNR = 1000.0
"""S/N of these stars: what their fit weighs is the model."""

MIN_STARS = 6
"""Fewer stars make no two halves."""


FEW_STARS = 16
"""Of more stars than that the light in the wings is taken for known."""

GROUPS = 5
"""So many models are made, without a group of the stars each."""

CORE = 0.75
"""What is within so many FWHM is the core, whose light a fit measures."""


def with_errors(
    psf: Psf, evidence: Evidence, sample: StarSample, build: Callable[[StarSample], Psf], run: Run
) -> Psf:
    """Return a model with the errors that it gives to fluxes and positions.

    Parameters
    ----------
    psf : Psf
    evidence : Evidence
        That it was made from.
    sample : StarSample
        The stars.
    build : callable
        Makes a model of some stars.
    run : Run
    """
    psf = replace(psf, flux_variance=flux_variance(psf, evidence))
    if psf.fwhm < PHASE_ERRORS:
        by_phases = position_error(sample, build, run)
        psf = replace(psf, position_error=max(psf.position_error, by_phases))
    if psf.n_stars <= FEW_STARS:
        # Of lines, which are no stars, nothing is known.
        error = math.nan if is_too_long(psf) else light_error(sample, build)
        psf = replace(psf, light_error=error)
    return psf


def light_error(sample: StarSample, build: Callable[[StarSample], Psf]) -> float:
    """Return the relative error of fluxes that comes from the model: of the light in its wings.

    By the jackknife, without one group of stars after the other: J. W. Tukey 1958, Ann. Math.
    Stat. 29, 614; groups, because each model takes its time.

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
    group = np.argsort(np.argsort(-sample.flux, kind="stable")) % GROUPS
    groups = min(GROUPS, sample.x.size)
    parts = [np.flatnonzero(group != left_out) for left_out in range(groups)]
    shares = [_light_of_core(psf) for psf in _models(sample, parts, build)]
    n = len(shares)
    if n < 3:
        return math.nan
    return math.sqrt((n - 1) * float(np.var(shares))) / float(np.mean(shares))


def _light_of_core(psf: Psf) -> float:
    """Return the share of the light in the core of a model at the middle of the field."""
    image = psf.basis[0].astype(np.float64)
    axes = [(np.arange(n) - n // 2) * psf.sampling for n in image.shape]
    inside = np.hypot(axes[0][:, None], axes[1]) < CORE * psf.fwhm
    return float(image[inside].sum() / image.sum())


def _models(
    sample: StarSample, parts: Sequence[I8], build: Callable[[StarSample], Psf]
) -> list[Psf]:
    """Return the models that parts of the stars give, as far as they give any."""
    models = []
    for rows in parts:
        with suppress(StepError):
            models.append(build(_part(sample, rows)))
    return models


def _part(sample: StarSample, rows: I8) -> StarSample:
    """Return some of the stars."""
    return replace(
        sample, x=sample.x[rows], y=sample.y[rows], flux=sample.flux[rows],
        height=sample.height[rows],
    )  # fmt: skip


def position_error(sample: StarSample, build: Callable[[StarSample], Psf], run: Run) -> float:
    """Return the error in pixels of positions that comes from the model and not from the noise.

    Half the scatter of positions, over the phases of a pixel and the field, that the model of
    one half of the stars gives for those of the other: the error of the model of all.  A common
    shift is left out; astrometry takes it up.

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
    halves = _models(sample, [order[0::2], order[1::2]], build)
    if len(halves) < 2:
        return math.nan
    half = min(halves[0].radius, math.ceil(3.0 * halves[0].fwhm) + 1)
    cell = 2 * half + 3
    one, other = (_on_a_frame(psf, PHASES * cell) for psf in halves)
    image, x, y = _stars_of(one, half, cell)
    fits = psf_photometry(
        image, np.ones_like(image), 1.0, np.zeros(image.shape, np.uint16), other, x, y, run,
        spread=False,
    )  # fmt: skip
    offsets = np.array([fits.x - x, fits.y - y])
    offsets -= np.median(offsets, axis=1, keepdims=True)
    return 0.5 * math.sqrt(float(np.mean(offsets**2)))


def _on_a_frame(psf: Psf, size: int) -> Psf:
    """Return the model for a frame of another size, over which it varies as over its own."""
    middle = (size - 1) / 2
    return replace(psf, x_zero=middle, y_zero=middle, x_scale=float(size), y_scale=float(size))


def _stars_of(psf: Psf, half: int, cell: int) -> tuple[F4, F8, F8]:
    """Return an image of bright stars all over the field, each at a phase of its own.

    The phase along an axis runs through all values anew for each place in the field.
    """
    place = np.arange(PHASES)
    row, column = (c.ravel() for c in np.indices((PHASES, PHASES)))
    phase = (place + 0.5) / PHASES - 0.5
    dx, dy = phase[(column + 2 * row) % PHASES], phase[(row + 2 * column) % PHASES]
    row, column = row * cell + half + 1, column * cell + half + 1
    side = 2 * half + 1
    stamps = psf.stamps(column + dx, row + dy, dx, dy, side)
    image = np.zeros((PHASES * cell, PHASES * cell), np.float32)
    for stamp, j, i in zip(stamps, row, column, strict=True):
        image[j - half : j + half + 1, i - half : i + half + 1] += np.float32(SNR**2) * stamp
    return image, column + dx, row + dy
