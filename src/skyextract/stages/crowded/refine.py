"""The PSF of a crowded field, corrected by what the fit of all sources leaves of bright stars.

A PSF that was built where no star is alone has their neighbours in it.  With all of them fitted
and subtracted, the mean of what is left about bright stars, over their fluxes, is its error
(Stetson 1987, PASP 99, 191; Schlafly et al. 2018, ApJS 234, 39).  The light of neighbours made its
wings too bright.  Light that is left far from all bright stars is sky; where more is left near
them, as in the core of a cluster, it is of stars that are not resolved, and tells nothing of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I8, Bools
from skyextract.datamodel.noise import typical_noise
from skyextract.datamodel.psfshape import effective_fwhm
from skyextract.errors import StepError
from skyextract.kernels.psf.fit import FROZEN, RUNAWAY
from skyextract.kernels.psf.samples import sample_stars
from skyextract.stages.crowded.rest import nearest_pixel
from skyextract.stages.pointsources.sweeps import UNUSABLE

if TYPE_CHECKING:
    from skyextract.datamodel.exposure import Exposure
    from skyextract.datamodel.psf import Psf
    from skyextract.run import Run
    from skyextract.stages.crowded.hidden import Hidden

MIN_PEAK = 20.0
"""Peaks of the stars that are used, in background noise..."""
MIN_SHARE = 0.8
"""... and their own share of the light there."""
MAX_STARS = 300
"""The brightest so many are used; ..."""
MIN_STARS = 20
"""... with fewer the PSF stays as it is."""
EQUAL = 0.01
"""Error of the PSF at a star of any brightness, of its peak: many stars count, not a few."""
CLIPPED = 3.0
"""Values farther than so many sigma from what is expected are of something else."""
ROUNDS = 3
"""Means, each without what is far from the one before."""
MAX_CHANGE = 1.25
"""A correction that changes the width by more than this factor is none of the PSF."""
NEAR, FAR = 1.0, 2.0
"""Distances in FWHM between which the PSF is wing, and beyond which it hardly is."""


def refined_psf(hidden: Hidden, exposure: Exposure, run: Run) -> Psf:
    """Return the PSF with its constant term corrected; itself if that would be no PSF of stars."""
    psf = hidden.psf
    variance = hidden.plane.variance_plane(run)
    noise = typical_noise(variance) or 1.0
    bad = (exposure.mask & np.uint16(UNUSABLE)) != 0
    peak = float(psf.basis[0].max())
    rows = _bright_stars(hidden, peak, noise, bad)
    if rows.size < MIN_STARS:
        return psf
    residual = np.where(bad | hidden.plane.bad, np.float32(0.0), hidden.residual)
    flux, x, y = hidden.sources.parameters[rows].T
    error = _at_samples(residual, psf, x, y) / flux[:, None, None]
    gain = exposure.detector.gain
    photons = flux * peak / gain if gain > 0.0 else 0.0
    weight = 1.0 / ((noise**2 + photons) / flux**2 + (EQUAL * peak) ** 2)
    mean, sigma = _clipped_mean(error, weight)
    distance = _distance(psf)
    sky = mean[distance > FAR].mean()
    if sky >= 0.0:
        if mean[(distance > NEAR) & (distance <= FAR)].mean() >= sky:
            return psf
        mean -= sky
    basis = psf.basis.astype(np.float64)
    basis[0] += _significant(mean, sigma)
    basis[0] /= basis[0].sum() * psf.sampling**2
    refined = replace(psf, basis=basis.astype(np.float32))
    return refined if _is_like(refined, psf) else psf


def _is_like(refined: Psf, psf: Psf) -> bool:
    """Tell whether a corrected PSF is one, and of about the width that it had.

    Where stars lie on light that no star has, the mean of what is left of them is anything.
    """
    if not np.isfinite(refined.basis).all():
        return False
    try:
        widths = [effective_fwhm(p.basis[0].astype(np.float64), p.sampling) for p in (refined, psf)]
    except StepError:
        return False
    return 1.0 / MAX_CHANGE < widths[0] / widths[1] < MAX_CHANGE


def _distance(psf: Psf) -> F8:
    """Return the distance of the samples from the centre, in FWHM."""
    half = psf.basis.shape[1] // 2
    offset = (np.arange(psf.basis.shape[1]) - half) * psf.sampling / psf.fwhm
    distance: F8 = np.hypot(offset[:, None], offset)
    return distance


def _bright_stars(hidden: Hidden, peak: float, noise: float, bad: Bools) -> I8:
    """Return the rows of bright stars that make most of the light where they are."""
    sources, radius = hidden.sources, hidden.psf.radius + 2
    shape = hidden.models.shape
    row, column = nearest_pixel(hidden.x, hidden.y, shape)
    good = (sources.reach >= 0) & ((sources.status & (FROZEN | RUNAWAY)) == 0)
    good &= (row >= radius) & (row < shape[0] - radius)
    good &= (column >= radius) & (column < shape[1] - radius)
    good &= ~bad[row, column]
    # The nearest pixel is up to half a pixel off: its light is somewhat less than the peak.
    good &= hidden.flux * peak > np.maximum(
        MIN_PEAK * noise, MIN_SHARE * hidden.models[row, column]
    )
    rows = np.flatnonzero(good)
    brightest: I8 = rows[np.argsort(-hidden.flux[rows], kind="stable")[:MAX_STARS]]
    return brightest


def _at_samples(image: F4, psf: Psf, x: F8, y: F8) -> F8:
    """Return the image at the samples of the PSF about each source, by cubic convolution."""
    out = np.empty((x.size, *psf.basis.shape[1:]))
    sample_stars(image, np.ascontiguousarray(x), np.ascontiguousarray(y), psf.sampling, out)
    return out


def _clipped_mean(values: F8, weight: F8) -> tuple[F8, F8]:
    """Return the weighted mean of all stars at each sample, and its error."""
    weights = np.broadcast_to(weight[:, None, None], values.shape)
    mean = np.median(values, axis=0)
    for _ in range(ROUNDS):
        used = np.where(weights * (values - mean) ** 2 < CLIPPED**2, weights, 0.0)
        total = np.maximum(used.sum(axis=0), 1e-30)
        mean = (used * values).sum(axis=0) / total
    spread = (used * (values - mean) ** 2).sum(axis=0) / total
    number = np.maximum((used > 0.0).sum(axis=0), 2)
    return mean, np.sqrt(spread / (number - 1))


def _significant(mean: F8, sigma: F8) -> F8:
    """Return the part of a correction that is more than its noise (Wiener's filter)."""
    power = _smoothed(mean**2)
    noise = _smoothed(sigma**2)
    out: F8 = mean * np.clip(1.0 - noise / np.maximum(power, 1e-30), 0.0, 1.0)
    return out


def _smoothed(image: F8) -> F8:
    """Return the mean of 3 x 3 samples."""
    padded = np.pad(image, 1, mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    out: F8 = (across[:-2] + across[1:-1] + across[2:]) / 9.0
    return out
