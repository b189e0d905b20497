"""PSF photometry: flux and position of every source as a point source, and SPREAD_MODEL.

All sources of the image are fitted together by iterative subtraction (see
`skyextract.kernels.psf.fit`): no groups have to be formed, blends of any size are
solved, and the cost grows as the number of sources.  Like SExtractor's MAG_PSF the columns are
those of point sources, whatever the source really is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np

from skyextract.datamodel.arrays import F4, F8, I4, U2, Bools, distinct
from skyextract.datamodel.psf import Psf
from skyextract.datamodel.psfshape import half_light_diameter
from skyextract.kernels.psf.bspline import PAD, spline_coefficients
from skyextract.kernels.psf.errors import FitQuality, describe_fits, joint_errors
from skyextract.kernels.psf.fit import MOVING, NO_PIXELS, RUNAWAY, UNSETTLED
from skyextract.kernels.psf.records import Fits
from skyextract.record import record
from skyextract.run import Run
from skyextract.stages.pointsources.blends import group_covariances
from skyextract.stages.pointsources.pairs import pairs_within
from skyextract.stages.pointsources.sweeps import (
    FINE,
    MAX_SWEEPS,
    Accuracy,
    FittedSources,
    PointFit,
    add_models,
    point_fit,
)

SPREAD_RADIUS = 2.0
"""Radius in FWHM of the pixels that SPREAD_MODEL compares."""

DOUBLE = 0.25
"""Sources of a crowd that are nearer to each other than this, in FWHM, are one."""

DISK_SCALE = 1 / 14.7
"""Scale length of SPREAD_MODEL's exponential disk in half-light diameters of the PSF, which are
PSFEx's FWHM.  SExtractor asks for 1/16 (Desai et al. 2012, ApJ 757, 83); the pixels of PSFEx's
model that it draws the disk on, 0.21 FWHM, make it as wide as this."""


@record
class PsfPhotometry:
    """Point-source fits, one row per given position; NaN where there is none.

    Attributes
    ----------
    flux, flux_error : (n,) float64
        Image units; the PSF sums to 1 over its model.
    x, y : (n,) float64
        0-based pixels.
    variance_x, variance_y, covariance_xy : (n,) float64
        Of the position, square pixels; NaN where the position is the given one.
    chi2 : (n,) float64
        Reduced chi2 within the fit region.
    misfit : (n,) float64
        The same where models are wrong by 6 % of their light (`SYSTEMATIC`).
    iterations : (n,) int32
        Gauss-Newton steps, all sweeps together.
    converged : (n,) bool
        False for no good pixels, a source too faint (but at positions of another image) or too odd
        for a position of its own (flux at the given position), or no end of the iterations.
    spread, spread_error : (n,) float64 or None
        SPREAD_MODEL and its error, if wanted.
    residual : (ny, nx) float32
        The image minus all models.
    sweeps : int
        Sweeps over the sources until nothing changed.
    """

    flux: F8
    flux_error: F8
    x: F8
    y: F8
    variance_x: F8
    variance_y: F8
    covariance_xy: F8
    chi2: F8
    misfit: F8
    iterations: I4
    converged: Bools
    spread: F8 | None
    spread_error: F8 | None
    residual: F4
    sweeps: int


@record
class FittedImage:
    """An image whose sources were fitted.

    Attributes
    ----------
    image, variance : (ny, nx) float32
        Background-subtracted, and the variance without the sources' photons (1e30: no data).
    gain : float
        Electrons per image unit; 0: unknown.
    mask : (ny, nx) uint16
    psf : Psf
    sources : PsfPhotometry
        Of all sources.
    """

    image: F4
    variance: F4
    gain: float
    mask: U2
    psf: Psf
    sources: PsfPhotometry


def psf_photometry(
    image: F4,
    background_variance: F4,
    gain: float,
    mask: U2,
    psf: Psf,
    x: F8,
    y: F8,
    run: Run,
    *,
    spread: bool = True,
    start: tuple[FittedSources, F4] | None = None,
    accuracy: Accuracy = FINE,
    per_variance: float = 0.0,
) -> PsfPhotometry:
    """Fit the PSF to all sources of an image.

    A position fitted to noise finds its peaks: fluxes are too large by about 1 / (S/N)^2 of
    themselves, 0.003 mag at S/N 20, as in any such fit.

    Parameters
    ----------
    image : (ny, nx) float32
        Background-subtracted.
    background_variance : (ny, nx) float32
        Variance without the sources' photons; not finite, <= 0 or >= 1e29: a bad pixel.
    gain : float
        Electrons per image unit; 0: unknown.  Errors are then those of the background, and
        weights guess a gain (`WORKING_NOISE`).
    mask : (ny, nx) uint16
        `Mask` planes.
    psf : Psf
    x, y : (n,) float64
        Starting positions, 0-based pixels; a NaN gives a row of NaN.
    run : Run
    spread : bool
        Is SPREAD_MODEL wanted?
    start : FittedSources and (ny, nx) float32, optional
        Sources and their models, from which the fit goes on instead of beginning at x, y.
    accuracy : Accuracy
        Where fits end, and their radius.
    per_variance : float
        1 / variance of the pixels that have this gain, where that of the others follows their
        weight (WEIGHT_GAIN); 0: all have it.

    Returns
    -------
    PsfPhotometry
    """
    sources, models = (FittedSources.at(x, y), None) if start is None else start
    fit = point_fit(
        image, background_variance, gain, mask, psf, sources, models, accuracy, run, per_variance
    )
    sources = fit.sweep(sources, MAX_SWEEPS, run)
    if start is not None:
        fit, sources = _without_doubles(fit, sources, run)
    quality = _quality(fit, sources, spread, accuracy.felt, run)
    parameters, covariance = sources.parameters.copy(), quality.covariance
    parameters[(sources.status & NO_PIXELS) != 0] = np.nan
    # Of sources on top of each other rounding may leave no variance.
    covariance[(np.diagonal(covariance, axis1=1, axis2=2) <= 0.0).any(axis=1)] = np.nan
    if start is not None:
        lost = np.flatnonzero(np.isnan(covariance[:, 0, 0]) & np.isfinite(parameters[:, 0]))
        covariance[lost] = group_covariances(fit, sources, lost, run)
    converged = _converged(sources, covariance, forced=accuracy.placed > 0.0)
    run.info(
        f"PSF photometry: {len(parameters)} sources, {sources.sweeps} sweeps,"
        f" {np.sum(~converged)} not converged"
    )
    return PsfPhotometry(
        flux=parameters[:, 0].copy(),
        flux_error=np.sqrt(covariance[:, 0, 0]),
        x=parameters[:, 1].copy(),
        y=parameters[:, 2].copy(),
        variance_x=covariance[:, 1, 1].copy(),
        variance_y=covariance[:, 2, 2].copy(),
        covariance_xy=covariance[:, 1, 2].copy(),
        chi2=quality.chi2,
        misfit=quality.misfit,
        iterations=sources.iterations,
        converged=converged,
        spread=quality.spread if spread else None,
        spread_error=quality.spread_error if spread else None,
        residual=fit.planes.residual,
        sweeps=sources.sweeps,
    )


def _without_doubles(
    fit: PointFit, sources: FittedSources, run: Run
) -> tuple[PointFit, FittedSources]:
    """Return the fit without sources that have moved onto one before them, which has their light.

    Two sources at one place share its light at random, each with an error as large.
    """
    _, x, y = sources.parameters.T
    first, second = pairs_within(x, y, DOUBLE * fit.psf.fwhm)
    both = (sources.reach[first] >= 0) & (sources.reach[second] >= 0)
    if not both.any():
        return fit, sources
    gone = distinct(second[both])
    add_models(fit.planes.residual, fit.psf, sources.take(gone), 1.0)
    stale, reach = sources.stale.copy(), sources.reach.copy()
    stale[first[both]], reach[gone] = 1, -1
    fit = fit.without(gone)
    return fit, fit.sweep(replace(sources, stale=stale, reach=reach), MAX_SWEEPS, run)


def spread_models(fit: PointFit, sources: FittedSources, run: Run) -> tuple[F8, F8]:
    """Return SPREAD_MODEL of fitted sources and its error, (n,) float64 each."""
    quality = _described(fit, sources, True, run, alone=True)
    return quality.spread, quality.spread_error


def flux_errors(fit: PointFit, sources: FittedSources, run: Run) -> F8:
    """Return the errors of the fluxes of fitted sources with their neighbours, (n,) float64."""
    with np.errstate(invalid="ignore"):
        error: F8 = np.sqrt(_quality(fit, sources, False, FINE.felt, run).covariance[:, 0, 0])
    return error


def _quality(
    fit: PointFit, sources: FittedSources, spread: bool, felt: float, run: Run
) -> FitQuality:
    """Errors, with neighbours as near as `joint_errors` says, chi2 and SPREAD_MODEL of the fits."""
    fits = Fits(**sources.columns())
    quality = _described(fit, sources, spread, run)

    def errors(chunk: tuple[int, int]) -> None:
        joint_errors(
            *chunk, fit.tiles, fit.planes, fit.model, fit.positions, fit.max_radius,
            felt, fits, quality,
        )  # fmt: skip

    run.map(errors, _chunks(len(sources.parameters), run))
    return quality


def _described(
    fit: PointFit, sources: FittedSources, spread: bool, run: Run, *, alone: bool = False
) -> FitQuality:
    """Chi2, SPREAD_MODEL (or it alone) and normal equations of the fits; no covariances."""
    n, psf = len(sources.parameters), fit.psf
    fits = Fits(**sources.columns())
    normal, noise, covariance = np.empty((3, n, 3, 3))
    quality = FitQuality(normal, noise, covariance, *np.empty((4, n)))
    disk = _disk_coefficients(psf) if spread else psf.coefficients
    spread_radius = min(math.ceil(SPREAD_RADIUS * psf.fwhm), fit.max_radius) if spread else 0

    def describe(chunk: tuple[int, int]) -> None:
        describe_fits(
            *chunk, fit.planes, fit.model, disk, fit.positions, fit.max_radius, spread_radius,
            alone, fits, quality,
        )  # fmt: skip

    run.map(describe, _chunks(n, run))
    return quality


def _chunks(n: int, run: Run) -> list[tuple[int, int]]:
    """Return the first and last + 1 of n sources, in pieces for the threads."""
    edges: list[int] = np.linspace(0, n, 4 * run.n_threads + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _converged(sources: FittedSources, covariance: F8, *, forced: bool) -> Bools:
    """Which fits have ended as they should: with a position, unless that is another image's."""
    converged = (sources.status & (NO_PIXELS | RUNAWAY | UNSETTLED)) == 0
    # A source that was never visited again is at rest since its first visit.
    converged &= ((sources.status & MOVING) == 0) | (sources.stale == 0)
    converged &= np.isfinite(covariance[:, 0, 0]) & (forced | np.isfinite(covariance[:, 1, 1]))
    return np.asarray(converged)


def _disk_coefficients(psf: Psf) -> F8:
    """Coefficients of the PSF convolved with SPREAD_MODEL's exponential disk.

    The transform of the disk, ``(1 + (2 pi k h)^2)^(-3/2)`` for scale length h, is exact.
    """
    n_terms, n_y, n_x = psf.basis.shape
    margin = PAD + math.ceil(psf.fwhm / psf.sampling)
    padded = np.pad(psf.basis, ((0, 0), (margin, margin), (margin, margin)))
    k_y = np.fft.fftfreq(padded.shape[1], psf.sampling)[:, None]
    k_x = np.fft.rfftfreq(padded.shape[2], psf.sampling)[None, :]
    diameter = half_light_diameter(psf.basis[0].astype(np.float64), psf.sampling)
    scale = 2 * math.pi * DISK_SCALE * diameter
    transform = (1 + scale**2 * (k_x**2 + k_y**2)) ** -1.5
    images = np.fft.irfft2(np.fft.rfft2(padded) * transform, s=padded.shape[1:])
    images = images[:, margin:-margin, margin:-margin]
    out = np.empty((n_terms, n_y + 2 * PAD, n_x + 2 * PAD))
    spline_coefficients(np.ascontiguousarray(images, dtype=np.float32), out)
    return out
